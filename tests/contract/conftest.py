"""The connectors' sides of the contract tests: one real server each, for as long as the tests run."""

from collections.abc import Iterator

import pytest

import configs
from tests.bigquery_server import BigQueryConnector, bigquery_server, environment
from tests.csv_connector import CsvConnector
from tests.gcs_server import gcs_server
from tests.postgres_server import PostgresConnector, postgres_server
from tests.redshift_proxy import BUCKET, RedshiftConnector, exchange_bucket, redshift_proxy, unload_url


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresConnector]:
    with postgres_server() as server, pytest.MonkeyPatch.context() as variables:
        variables.setenv("AIRFLOW_CONN_CONTRACT_POSTGRES", server.airflow_connection())
        yield PostgresConnector(server)


@pytest.fixture(scope="session")
def redshift(postgres: PostgresConnector) -> Iterator[RedshiftConnector]:
    with (
        exchange_bucket("contract_bucket") as s3,
        redshift_proxy(postgres.server, s3) as proxy,
        pytest.MonkeyPatch.context() as variables,
    ):
        variables.setenv("AIRFLOW_CONN_CONTRACT_REDSHIFT", proxy.airflow_connection())
        yield RedshiftConnector(postgres.server)


@pytest.fixture
def redshift_unload(redshift: RedshiftConnector, monkeypatch: pytest.MonkeyPatch) -> RedshiftConnector:
    """The same, but read by way of S3."""
    monkeypatch.setattr(configs, "REDSHIFT_UNLOAD_URL", unload_url("contract_bucket"))
    return redshift


@pytest.fixture(scope="session")
def bigquery() -> Iterator[BigQueryConnector]:
    with bigquery_server() as server, pytest.MonkeyPatch.context() as variables:
        for name, value in environment(server).items():
            variables.setenv(name, value)
        yield BigQueryConnector(server)


@pytest.fixture(scope="session")
def csv_on_s3() -> Iterator[CsvConnector]:
    with exchange_bucket("contract_files") as s3:

        def put(name: str, data: bytes) -> object:
            return s3.put_object(Bucket=BUCKET, Key=name, Body=data)

        yield CsvConnector(f"s3://{BUCKET}", "contract_files", put)


@pytest.fixture(scope="session")
def csv_on_gcs() -> Iterator[CsvConnector]:
    with gcs_server() as server, pytest.MonkeyPatch.context() as variables:
        variables.setenv("AIRFLOW_CONN_CONTRACT_GCS", server.airflow_connection())

        def put(name: str, data: bytes) -> None:
            server.objects[f"shop/{name}"] = data

        yield CsvConnector("gs://shop", "contract_gcs", put)
