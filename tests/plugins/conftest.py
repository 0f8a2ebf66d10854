"""A real Airflow API server and a real Elasticsearch with reports, shared by all tests of the page."""

from collections.abc import Iterator

import pytest

from tests.airflow_server import AirflowServer, airflow_api_server
from tests.published_reports import published_reports


@pytest.fixture(scope="session")
def elasticsearch_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with published_reports(tmp_path_factory.mktemp("elasticsearch")) as url:
        yield url


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory, elasticsearch_url: str) -> Iterator[AirflowServer]:
    folder = tmp_path_factory.mktemp("airflow-server")
    data_docs = folder / "data_docs"
    data_docs.mkdir()
    (data_docs / "index.html").write_text("<!doctype html><title>Data docs</title>", encoding="utf-8")
    (folder / "secret.txt").write_text("not for the page", encoding="utf-8")
    (data_docs / "link.txt").symlink_to(folder / "secret.txt")
    settings = {"ELASTICSEARCH_URL": elasticsearch_url, "DATA_DOCS_DIR": str(data_docs)}
    with airflow_api_server(folder, settings) as server:
        yield server
