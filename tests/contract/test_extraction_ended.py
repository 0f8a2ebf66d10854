"""A task that is told to end while it reads a slow source: it ends at once, and the retry is as if it had not been."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import configs
from include.quality.extract import extract_rows
from include.sources.definition import load_sources
from include.sources.read import read_source, value_format
from include.staging.storage import storage
from tests.postgres_server import PostgresConnector
from tests.runs import BY_HAND

pytestmark = pytest.mark.contract

TASK = """
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from airflow.sdk.api.datamodels._generated import DagRun
from airflow.utils.types import DagRunType
from include.pipeline.extract import extract

now = datetime(2025, 1, 1, tzinfo=UTC)
dag_run = DagRun.model_construct(run_id="one", run_type=DagRunType.MANUAL, start_date=now, run_after=now)
params = {"dimensions": [], "analyses": [], "full_refresh": False, "dry_run": False}
ti = SimpleNamespace(task_id="sessions.extract", try_number=1, dag_id="customer_analytics", start_date=now)
print(extract({"dag_run": dag_run, "params": params, "ti": ti, "task_instance": ti}, "sessions")["good"])
"""
MAPPED = {"id": "no", "client": "client", "session_start_date": "started", "payment_amount": "total"}
CUSTOMERS = {"connector": "csv", "path": "c.csv", "columns": {"client": "client", "download_date": "came"}}
SECONDS_TO_END = 60  # far less than what is left of the rows would take, on a machine with other things to do


def task(folder: Path) -> subprocess.Popen[str]:
    settings = {
        "STAGING_URL": str(folder / "staging"),
        "TEMPORARY_DIR": str(folder / "tmp"),
        "SOURCES_FILE": str(folder / "sources.yaml"),
        "EXTRACT_BATCH_ROWS": "500",
        "VAR_DIR": str(folder / "var"),
    }
    return subprocess.Popen(
        [sys.executable, "-c", TASK], env={**os.environ, **settings}, cwd=configs.PROJECT_ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def landed(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The good and the quarantined rows, in order."""
    found = []
    for name, key in (("landing", "_row"), ("quarantine", "row")):
        files = [file for file in folder.rglob("*.parquet") if f"/{name}/" in str(file)]
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        found.append(sorted(rows, key=itemgetter(key)))
    return found[0], found[1]


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_task_that_is_told_to_end_ends_and_its_retry_is_as_if_it_had_not_been(
    postgres: PostgresConnector, tmp_path: Path
) -> None:
    server = postgres.server
    (tmp_path / "c.csv").write_text("client,came\nc,2024-01-01\n")
    server.execute("DROP TABLE IF EXISTS visits CASCADE")
    server.execute(
        # Long values: the driver hands on what has come when it is some megabytes.
        "CREATE TABLE visits AS SELECT no, CASE WHEN no % 50 <> 0 THEN repeat('c', 5000) END AS client,"
        " timestamptz '2024-05-01 12:00Z' AS started, 1.5 AS total FROM generate_series(1, 5000) no"
    )
    server.execute("CREATE VIEW slow AS SELECT * FROM visits WHERE no < 2000 OR pg_sleep(0.1) IS NOT NULL")
    columns = {**MAPPED, "has_purchased": {"constant": True}}
    place = {"connector": "postgres", "connection": "contract_postgres", "table": "slow", "columns": columns}
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"sessions": place, "customers": CUSTOMERS}))
    source = replace(load_sources(tmp_path / "sources.yaml").sessions, table="visits")
    latest, options = BY_HAND.latest_instant, value_format(source)
    undisturbed = storage(tmp_path / "undisturbed")
    extract_rows(source, read_source(source, options), options, target=undisturbed, run_id="one", latest=latest)
    expected = landed(tmp_path / "undisturbed")
    assert (len(expected[0]), len(expected[1])) == (4_900, 100)

    ended = task(tmp_path)
    try:
        deadline = time.monotonic() + 120
        # What is written aside has rows in it: the three threads are at work.
        while not any(part.stat().st_size > 4 for part in (tmp_path / "staging").rglob(".rows.parquet.*.part")):
            assert ended.poll() is None, ended.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ended.send_signal(signal.SIGTERM)
        _, log = ended.communicate(timeout=SECONDS_TO_END)
    finally:
        ended.kill()
    assert ended.returncode == 143, log
    assert not re.search("Fatal|terminate called|Segmentation", log)
    assert landed(tmp_path / "staging") == ([], [])
    assert not [name for name in files(tmp_path / "staging") if name.endswith((".part", ".parquet"))]

    server.execute("CREATE OR REPLACE VIEW slow AS SELECT * FROM visits")
    again = task(tmp_path)
    _, log = again.communicate(timeout=120)
    assert again.returncode == 0, log
    good, quarantined = landed(tmp_path / "staging")
    assert [{**row, "_file": "visits"} for row in good] == expected[0]
    assert [{**row, "file": "visits", "mapping": ""} for row in quarantined] == [
        {**row, "mapping": ""} for row in expected[1]
    ]
    assert sum(name.endswith(".parquet") for name in files(tmp_path / "staging")) == 2
