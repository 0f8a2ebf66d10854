"""The whole DAG on the shop, as `make run ONCE=1` runs it, with Airflow's own share apart.

From a folder of CSV files to searchable documents and reports: Elasticsearch, Airflow's three processes and every task
are started by the contender, and their memory counts together. `no task running` is the time of the run between tasks,
in which Airflow schedules and starts them: its own share. What a task's process imports counts to the task.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import Case, Outcome
from benchmarks.staged_shop import shop

OURS = "the DAG"


def cases(sessions: int) -> list[Case]:
    """One run from nothing."""
    return [
        Case(
            family="pipeline",
            name="CSV to searchable, with all analyses",
            sessions=sessions,
            unit="sessions",
            ours=OURS,
            contenders=(OURS,),
            repetitions=1,
        )
    ]


def run(case: Case, contender: str, folder: Path) -> Outcome:
    """Run the DAG once in a fresh environment; seconds from its trigger to its end."""
    place = shop(folder, case.sessions)
    var_dir = folder / "run"
    shutil.rmtree(var_dir, ignore_errors=True)
    ports = {name: str(free_port()) for name in ("AIRFLOW_PORT", "ELASTICSEARCH_PORT")}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "include.launch", "--data", str(place), "--once"],
        env={**os.environ, **ports, "VAR_DIR": str(var_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    whole = time.perf_counter() - begun
    if done.returncode:
        raise ValueError(f"{contender} ended with exit code {done.returncode}: {done.stdout[-2000:]}")
    started, ended, tasks = _task_times(var_dir / "airflow" / "airflow.db")
    seconds = (ended - started).total_seconds()
    working = seconds_covered([(begin, end) for _, begin, end in tasks])
    summary = next(iter(sorted((var_dir / "staging" / "runs").glob("*/summary.json"))))
    indexed = json.loads(summary.read_text(encoding="utf-8"))["indexed"]
    facts = {
        "from_nothing_seconds": round(whole, 1),
        "no_task_running_seconds": round(seconds - working, 1),
        "no_task_running_share": round((seconds - working) / seconds, 3),
        "documents": sum(indexed.values()),
        **{f"task {name}": round((end - begin).total_seconds(), 1) for name, begin, end in tasks},
    }
    shutil.rmtree(var_dir, ignore_errors=True)
    return Outcome(seconds, case.sessions, facts)


def seconds_covered(spans: list[tuple[datetime, datetime]]) -> float:
    """The length of the time in which at least one span was under way."""
    covered = 0.0
    until: datetime | None = None
    for begin, end in sorted(spans):
        start = begin if until is None else max(begin, until)
        if end > start:
            covered += (end - start).total_seconds()
            until = end
    return covered


def _task_times(database: Path) -> tuple[datetime, datetime, list[tuple[str, datetime, datetime]]]:
    """Start and end of the only run, and of each task that worked."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        ((started, ended),) = connection.execute("SELECT start_date, end_date FROM dag_run").fetchall()
        found: list[Any] = connection.execute(
            "SELECT task_id, start_date, end_date FROM task_instance WHERE start_date IS NOT NULL ORDER BY start_date"
        ).fetchall()
    return _instant(started), _instant(ended), [(name, _instant(begin), _instant(end)) for name, begin, end in found]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"(\.\d{6}).*$", r"\1", text)).replace(tzinfo=UTC)


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
