"""Extraction to Parquet beside the limit of its source, and its memory at two sizes.

Ours reads the shop's sessions, converts every value, puts every row through the row rules and writes Parquet, as the
task `extract` does. From PostgreSQL the limit is a bare `COPY … TO` of the same columns whose rows nobody looks at. The
server's memory is not counted. Beside CSV stands polars' CSV to Parquet, with types: dates, booleans and numbers told
from the first rows, what does not fit becoming null in silence. The limit is polars writing the text of every column.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Case, Outcome
from benchmarks.staged_shop import extracted, sources
from include.quality.conversion import landing_schema
from include.sources.definition import load_sources
from include.staging.sql import literal
from include.staging.storage import engine

OURS = "extract"
COPY = "bare COPY … TO"
POLARS, TYPED = "polars, text as it is", "polars, with types"
POSTGRES, CSV = "from PostgreSQL", "from CSV"
SOURCES = """\
sessions:
  connector: postgres
  connection: benchmark
  table: sessions
  changed_at: changed_at
  columns: {{{columns}}}
  dimensions: [region, device, channel]
  actions: [viewed_product, added_to_basket, began_checkout]
customers: {{connector: csv, path: customers.csv, columns: {{client: customer_no, download_date: downloaded_at}}}}
"""
TYPES = {"timestamp[us]": "timestamptz", "decimal128(18, 4)": "numeric(18,4)", "bool": "boolean", "string": "text"}


def cases(sessions: int) -> list[Case]:
    """The shop's sessions from both."""
    return [
        Case(
            family="extraction",
            name=name,
            sessions=sessions,
            unit="rows",
            ours=OURS,
            contenders=(OURS, *peers),
            limit=peers[-1],
        )
        for name, peers in ((POSTGRES, (COPY,)), (CSV, (TYPED, POLARS)))
    ]


@contextmanager
def around(case: Case, folder: Path) -> Iterator[dict[str, Any]]:
    """A server with the shop's good sessions in a table, where the case needs one."""
    if case.name == CSV:
        yield {}
        return
    from tests.postgres_server import postgres_server

    with postgres_server() as server:
        landed = _landed(folder)
        names = landed["names"]
        columns = ", ".join(f'"{name}" {TYPES[kind]}' for name, kind in zip(names, landed["types"], strict=True))
        server.execute(f"CREATE TABLE sessions ({columns})")
        export = folder / "sessions.csv"
        with engine() as connection:
            files = ", ".join(map(literal, landed["files"]))
            listed = ", ".join(f'"{name}"' for name in landed["ours"])
            connection.execute(
                f"COPY (SELECT {listed} FROM read_parquet([{files}])) TO {literal(str(export))} (HEADER)"
            )
        with (
            server.connected() as connected,
            connected.cursor() as cursor,
            export.open("rb") as stream,
            cursor.copy("COPY sessions FROM STDIN (FORMAT csv, HEADER)") as copy,
        ):
            while data := stream.read(1 << 20):
                copy.write(data)
        export.unlink()
        mapped = ", ".join(f"{name}: {name}" for name in landed["mapped"])
        (folder / "shop" / "postgres.yaml").write_text(SOURCES.format(columns=mapped), encoding="utf-8")
        yield {"connection": server.airflow_connection(), "columns": names}


def run(case: Case, contender: str, folder: Path) -> Outcome:
    """Read the sessions the way of the contender."""
    if contender == OURS:
        if case.name == POSTGRES:
            os.environ["AIRFLOW_CONN_BENCHMARK"] = case.detail["connection"]
            source = next(iter(load_sources(str(folder / "shop" / "postgres.yaml")).all))
        else:
            source = next(one for one in sources(folder).all if one.name == "sessions")
        begun = time.perf_counter()
        found = extracted(source)
        return Outcome(time.perf_counter() - begun, found.read)
    return _copy(case) if contender == COPY else _polars(folder, with_types=contender == TYPED)


def _copy(case: Case) -> Outcome:
    import psycopg

    login = json.loads(case.detail["connection"])
    columns = ", ".join(f'"{name}"' for name in case.detail["columns"])
    address = {"host": login["host"], "port": login["port"], "user": login["login"], "password": login["password"]}
    rows = 0
    with psycopg.connect(dbname=login["schema"], **address) as connection, connection.cursor() as cursor:
        begun = time.perf_counter()
        with cursor.copy(f"COPY (SELECT {columns} FROM sessions) TO STDOUT (FORMAT csv)".encode()) as copy:
            for _ in copy:
                rows += 1
        return Outcome(time.perf_counter() - begun, rows)


def _polars(folder: Path, *, with_types: bool) -> Outcome:
    import polars as pl
    import pyarrow.parquet as pq

    target = folder / "polars_sessions"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    typed: dict[str, Any] = {"try_parse_dates": True, "ignore_errors": True, "truncate_ragged_lines": True}
    begun = time.perf_counter()
    pl.scan_csv(
        folder / "shop" / "sessions" / "*.csv",
        encoding="utf8-lossy",
        **(typed if with_types else {"infer_schema": False}),
    ).sink_parquet(target / "sessions.parquet")
    seconds = time.perf_counter() - begun
    return Outcome(seconds, pq.read_metadata(target / "sessions.parquet").num_rows)


def _landed(folder: Path) -> dict[str, Any]:
    """The good sessions as files, with our names of their columns and the names and types they have in the table."""
    source = next(one for one in sources(folder).all if one.name == "sessions")
    found = extracted(source)
    fields = [field for field in landing_schema(source) if not field.name.startswith("_")]
    return {
        "files": found.files,
        "ours": [field.name for field in fields],
        "names": [field.name.removeprefix("dimension_").removeprefix("action_") for field in fields],
        "types": [str(field.type) for field in fields],
        "mapped": [field.name for field in fields if field.name in source.columns],
    }
