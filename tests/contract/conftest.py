"""The connectors' sides of the contract tests: one real server each, for as long as the tests run."""

from collections.abc import Iterator

import pytest

from tests.postgres_server import PostgresConnector, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresConnector]:
    with postgres_server() as server, pytest.MonkeyPatch.context() as variables:
        variables.setenv("AIRFLOW_CONN_CONTRACT_POSTGRES", server.airflow_connection())
        yield PostgresConnector(server)
