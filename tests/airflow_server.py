"""A real Airflow API server for tests: its own home and metadata database, a free loopback port, a known login."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from include.launch.services import stop_family

ROOT = Path(__file__).resolve().parents[1]
SECONDS_TO_START = 300.0
USER = "admin"


@dataclass(frozen=True)
class AirflowServer:
    """A running API server. `log` is what it and the migration said."""

    url: str
    home: Path
    log: Path

    @property
    def login(self) -> tuple[str, str]:
        passwords: dict[str, str] = json.loads((self.home / "passwords.json").read_text(encoding="utf-8"))
        return USER, passwords[USER]

    def token(self) -> str:
        """A token as a script gets one."""
        user, password = self.login
        answer = httpx.post(f"{self.url}/auth/token", json={"username": user, "password": password}, timeout=30)
        return str(answer.raise_for_status().json()["access_token"])


@contextmanager
def airflow_api_server(folder: Path, settings: Mapping[str, str]) -> Iterator[AirflowServer]:
    """Migrate a database in `folder` and serve it; `settings` are further variables (ELASTICSEARCH_URL…)."""
    home = folder / "airflow"
    home.mkdir(parents=True)
    log = folder / "api-server.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__SECRET_KEY": "a secret for tests, long enough for the signature",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": "another secret for tests, long enough for the signature, and then some",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "VAR_DIR": str(folder / "var"),
        **settings,
    }
    with log.open("wb") as output:
        subprocess.run(
            ["airflow", "db", "migrate"], env=environment, stdout=output, stderr=subprocess.STDOUT, check=True
        )
        process = subprocess.Popen(
            ["airflow", "api-server"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = AirflowServer(f"http://127.0.0.1:{port}", home, log)
    try:
        _wait_until_it_answers(server, process)
        yield server
    finally:
        stop_family(psutil.Process(process.pid) if process.poll() is None else None, process.pid)
        process.wait()


def _wait_until_it_answers(server: AirflowServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        assert process.poll() is None, server.log.read_text(encoding="utf-8", errors="replace")
        with suppress(httpx.TransportError):  # it does not listen from the beginning
            if httpx.get(f"{server.url}/api/v2/version", timeout=5).is_success:
                return
        time.sleep(0.3)
    raise AssertionError(f"Airflow did not answer:\n{server.log.read_text(encoding='utf-8', errors='replace')}")
