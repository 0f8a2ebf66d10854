"""The client on a real node with security on: the pipeline's user may do its work and nothing else."""

import json
import subprocess
import sys

import pytest
from elasticsearch import AuthenticationException, AuthorizationException, Elasticsearch

import configs
from include.dashboards.notes import ensure_notes
from include.elastic.client import ElasticsearchProblem, check_elasticsearch, connect
from include.elastic.indexes import ensure_reports
from tests.deploy.compose import ROOT, services
from tests.deploy.conftest import SecuredNode

pytestmark = pytest.mark.contract


def use_connection(monkeypatch: pytest.MonkeyPatch, secrets: dict[str, str], node: SecuredNode, **more: str) -> None:
    """The compose file's connection, on the test's node."""
    connection = json.loads(services(secrets)["airflow-worker"]["environment"]["AIRFLOW_CONN_ELASTICSEARCH_DEFAULT"])
    connection |= {"host": "127.0.0.1", "port": node.port, **more}
    monkeypatch.setenv("AIRFLOW_CONN_ELASTICSEARCH_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(configs, "ELASTICSEARCH_URL", "")


def test_the_role_is_enough(
    elasticsearch: SecuredNode, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_connection(monkeypatch, secrets, elasticsearch)
    with connect() as client:
        assert check_elasticsearch(client)["status"] == "green"
        ensure_reports(client, {})
        ensure_notes(client)


def test_the_role_is_not_more_than_enough(
    elasticsearch: SecuredNode, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_connection(monkeypatch, secrets, elasticsearch)
    with connect() as client:
        with pytest.raises(AuthorizationException):
            client.index(index="payroll", document={})
        with pytest.raises(AuthorizationException):
            client.security.get_user()


def test_a_wrong_password_is_told_as_such(
    elasticsearch: SecuredNode, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_connection(monkeypatch, secrets, elasticsearch, password="wrong")
    with connect() as client, pytest.raises(ElasticsearchProblem, match="refused the login") as raised:
        check_elasticsearch(client)
    assert not raised.value.retry
    assert "wrong" not in str(raised.value)


def test_nobody_gets_in_without_a_login(elasticsearch: SecuredNode) -> None:
    with Elasticsearch(elasticsearch.url) as client, pytest.raises(AuthenticationException):
        client.security.authenticate()


def test_the_setup_step_says_in_one_line_what_failed(elasticsearch: SecuredNode, secrets: dict[str, str]) -> None:
    setup = services(secrets)["elasticsearch-setup"]
    environment = {**setup["environment"], "ELASTICSEARCH_URL": elasticsearch.url, "ELASTIC_PASSWORD": "wrong"}
    _, script = setup["command"]
    command = [sys.executable, str(ROOT / script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "401" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert secrets["PIPELINE_PASSWORD"] not in done.stderr
