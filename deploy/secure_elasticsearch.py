"""Give Kibana its password and the pipeline a user that may do what it needs and no more. Can be repeated.

Run by docker-compose.yaml with ELASTICSEARCH_URL, ELASTIC_PASSWORD, KIBANA_SYSTEM_PASSWORD and PIPELINE_PASSWORD set.
"""

import os
import sys

from elasticsearch import ApiError, Elasticsearch, TransportError

PIPELINE = "customer_analytics"  # the user and its role
# What importing the dashboards into Kibana's default space takes, and setting that space's time zone.
KIBANA_FEATURES = ["feature_savedObjectsManagement.all", "feature_advancedSettings.all"]
ROLE = {
    "cluster": ["monitor", "manage_index_templates"],
    "indices": [{"names": ["orders*", "downloads*", "reports*", "quarantine*", "notes*"], "privileges": ["all"]}],
    "applications": [{"application": "kibana-.kibana", "privileges": KIBANA_FEATURES, "resources": ["space:default"]}],
}


def secure(url: str, *, elastic_password: str, kibana_system_password: str, pipeline_password: str) -> None:
    """Set both passwords, as the superuser `elastic`, and write the role of the pipeline."""
    with Elasticsearch(url, basic_auth=("elastic", elastic_password)) as client:
        client.security.change_password(username="kibana_system", password=kibana_system_password)
        client.security.put_role(name=PIPELINE, body=ROLE)
        client.security.put_user(username=PIPELINE, password=pipeline_password, roles=[PIPELINE])


def main() -> int:
    url = os.environ["ELASTICSEARCH_URL"]
    try:
        secure(
            url,
            elastic_password=os.environ["ELASTIC_PASSWORD"],
            kibana_system_password=os.environ["KIBANA_SYSTEM_PASSWORD"],
            pipeline_password=os.environ["PIPELINE_PASSWORD"],
        )
    except (ApiError, TransportError) as error:
        print(f"Elasticsearch at {url} could not be given its users: {error}.", file=sys.stderr)
        return 1
    print("Elasticsearch: the password of kibana_system and the user and role of the pipeline are set.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
