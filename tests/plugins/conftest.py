"""A real Airflow API server and a real Elasticsearch with reports, shared by all tests of the page."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

import configs
from include.elastic.client import connect
from include.pipeline.quarantine import index_run
from include.quality.quarantine import QuarantineWriter, Quarantining
from include.staging.storage import storage
from tests.airflow_server import USER, AirflowServer, airflow_api_server
from tests.published_reports import EVIL, Published

NEWEST_RUN, CLEAN_RUN = "manual__2", "manual__1"
READER = "reader"  # may see the page, but write nothing


@pytest.fixture(scope="session")
def elasticsearch_url(published: Published, tmp_path_factory: pytest.TempPathFactory) -> str:
    index_quarantines(published.url, tmp_path_factory.mktemp("staging"))
    return published.url


def index_quarantines(url: str, folder: Path) -> None:
    """A run that set nothing aside, and after it one with 13 rows."""
    shared = Quarantining("sessions", NEWEST_RUN, datetime(2024, 5, 30), "")
    with pytest.MonkeyPatch.context() as settings, connect(url) as client:
        settings.setattr(configs, "STAGING_URL", str(folder))
        with QuarantineWriter(
            storage(folder) / "runs" / NEWEST_RUN / "quarantine" / "sessions" / "rows.parquet"
        ) as out:
            values = json.dumps({"total": EVIL, "customer": "c1"})
            out.write(shared.row("s.csv", row, f"s{row}", ["client_unknown"], "raw", values) for row in range(2, 14))
            out.write([shared.row("s.csv", 20, None, ["wrong_number_of_columns"], "text", f"1;2;{EVIL}")])
        for key, day in ((CLEAN_RUN, 29), (NEWEST_RUN, 30)):
            index_run(client, key, read={"sessions": 100}, run_id=key, quarantined_at=datetime(2024, 5, day))


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory, elasticsearch_url: str) -> Iterator[AirflowServer]:
    folder = tmp_path_factory.mktemp("airflow-server")
    data_docs = folder / "data_docs"
    data_docs.mkdir()
    (data_docs / "index.html").write_text("<!doctype html><title>Data docs</title>", encoding="utf-8")
    (folder / "secret.txt").write_text("not for the page", encoding="utf-8")
    (data_docs / "link.txt").symlink_to(folder / "secret.txt")
    settings = {
        "ELASTICSEARCH_URL": elasticsearch_url,
        "DATA_DOCS_DIR": str(data_docs),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,{READER}:viewer",
    }
    with airflow_api_server(folder, settings) as server:
        yield server
