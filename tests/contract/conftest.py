"""The connectors' sides of the contract tests: one real server each, for as long as the tests run."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

import configs
from tests.bigquery_server import BigQueryConnector, bigquery_server, environment, storage_server
from tests.csv_connector import CsvConnector
from tests.gcs_server import GcsServer, gcs_server
from tests.postgres_server import PostgresConnector, postgres_server
from tests.redshift_proxy import BUCKET, RedshiftConnector, RedshiftProxy, exchange_bucket, redshift_proxy, unload_url


@pytest.fixture
def collected() -> Iterator[None]:
    """What the test leaves open is collected while its warning is ignored, and not while some later test runs."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresConnector]:
    with postgres_server() as server, pytest.MonkeyPatch.context() as variables:
        variables.setenv("AIRFLOW_CONN_CONTRACT_POSTGRES", server.airflow_connection())
        yield PostgresConnector(server)


@pytest.fixture(scope="session")
def redshift_server(postgres: PostgresConnector) -> Iterator[RedshiftProxy]:
    with (
        exchange_bucket("contract_bucket") as s3,
        redshift_proxy(postgres.server, s3) as proxy,
        pytest.MonkeyPatch.context() as variables,
    ):
        variables.setenv("AIRFLOW_CONN_CONTRACT_REDSHIFT", proxy.airflow_connection())
        yield proxy


@pytest.fixture(scope="session")
def redshift(redshift_server: RedshiftProxy) -> RedshiftConnector:
    return RedshiftConnector(redshift_server.postgres)


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


@pytest.fixture
def bigquery_storage(bigquery: BigQueryConnector, monkeypatch: pytest.MonkeyPatch) -> Iterator[BigQueryConnector]:
    """The same, but results of more than one row come through the Storage Read API."""
    with storage_server(bigquery.server) as client:
        monkeypatch.setattr("include.sources.bigquery._storage_client", lambda credentials: client())
        monkeypatch.setattr(configs, "EXTRACT_BATCH_ROWS", 1)
        bigquery.server.forget()
        yield bigquery


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    """A client of the S3 server to which the Airflow connection `contract_files` leads."""
    with exchange_bucket("contract_files") as s3:
        yield s3


@pytest.fixture(scope="session")
def csv_on_s3(s3_server: Any) -> CsvConnector:
    def put(name: str, data: bytes) -> object:
        return s3_server.put_object(Bucket=BUCKET, Key=name, Body=data)

    return CsvConnector(f"s3://{BUCKET}", "contract_files", put)


@pytest.fixture(scope="session")
def google_storage() -> Iterator[GcsServer]:
    with gcs_server() as server, pytest.MonkeyPatch.context() as variables:
        variables.setenv("AIRFLOW_CONN_CONTRACT_GCS", server.airflow_connection())
        yield server


@pytest.fixture(scope="session")
def csv_on_gcs(google_storage: GcsServer) -> CsvConnector:
    def put(name: str, data: bytes) -> None:
        google_storage.objects[f"shop/{name}"] = data

    return CsvConnector("gs://shop", "contract_gcs", put)


@pytest.fixture(scope="session")
def csv_on_disk(tmp_path_factory: pytest.TempPathFactory) -> CsvConnector:
    folder = tmp_path_factory.mktemp("files")

    def put(name: str, data: bytes) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    return CsvConnector(str(folder), None, put)
