"""Write `.env` with new secrets for docker-compose.yaml.

    python3 deploy/generate_env.py [FILE]

Readable by its owner only; a file that is there is never overwritten. Standard library only.
"""

import base64
import os
import secrets
import sys
from pathlib import Path

# Letters and digits only: a secret is put into addresses and JSON as it stands.
SECRETS = (
    "AIRFLOW_ADMIN_PASSWORD",
    "AIRFLOW_API_SECRET_KEY",
    "AIRFLOW_JWT_SECRET",
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    "ELASTIC_PASSWORD",
    "KIBANA_SYSTEM_PASSWORD",
    "KIBANA_ENCRYPTION_KEY",
    "PIPELINE_PASSWORD",
)
# Shown with their defaults, to be uncommented and changed.
SETTINGS = {
    "DATA_DIR": "./data",
    "SCHEDULE": "manual",
    "BUSINESS_TIMEZONE": "UTC",
    "TASKS_AT_ONCE": "2",
    "ENGINE_MEMORY_MB": "2048",
    "WORKER_MEMORY": "8g",
    "ELASTICSEARCH_HEAP": "1g",
    "ELASTICSEARCH_MEMORY": "2g",
    "BIND_ADDRESS": "127.0.0.1",
    "AIRFLOW_PORT": "8080",
    "KIBANA_PORT": "5601",
    "ELASTICSEARCH_PORT": "9200",
    "ELASTIC_VERSION": "8.19.21",
    "IMAGE_TAG": "latest",
}


def content() -> str:
    """The text of a new `.env`."""
    lines = ["# Secrets of this stack, and its settings. Do not commit this file; keep a copy in a safe place."]
    lines += [f"{name}={secrets.token_hex(32)}" for name in SECRETS]
    # Fernet takes 32 bytes in this very encoding.
    lines += [f"AIRFLOW_FERNET_KEY={base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}", ""]
    lines += [f"# {name}={value}" for name, value in SETTINGS.items()]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    target = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent / ".env"
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(
            f"{target} is already there and was left as it is; move it away first to get new secrets.", file=sys.stderr
        )
        return 1
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content())
    print(f"Wrote {target}; the login to Airflow is admin with the AIRFLOW_ADMIN_PASSWORD in it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
