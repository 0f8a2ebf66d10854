"""Extraction to Parquet beside the limit of its source, and its memory at two sizes.

Ours reads the shop's sessions, converts every value, puts every row through the row rules and writes Parquet, as the
task `extract` does. From PostgreSQL the limit is a bare `COPY … TO` of the same columns whose rows nobody looks at. The
server's memory is not counted. Beside CSV stands polars' CSV to Parquet, with types: dates, booleans and numbers told
from the first rows, what does not fit becoming null in silence. The limit is polars writing the text of every column.

Apart from that, how the rows of PostgreSQL come into Arrow, before anybody judges them: by ADBC, as ours; by a COPY of
text whose rows psycopg hands on one by one, parsed by Arrow; by a server-side cursor of psycopg. All from one table.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv

import configs
from benchmarks.measure import Case, Outcome
from benchmarks.staged_shop import extracted, sources
from include.launch import executor
from include.quality.conversion import landing_schema
from include.sources.definition import Source, load_sources
from include.sources.postgres import read_postgres
from include.staging.sql import literal
from include.staging.storage import engine

if TYPE_CHECKING:
    from psycopg import Connection

LIBRARIES = (*executor.LIBRARIES, "airflow.providers.postgres.hooks.postgres", "adbc_driver_postgresql.dbapi")
OURS = "extract"
COPY = "bare COPY … TO"
POLARS, TYPED = "polars, text as it is", "polars, with types"
POSTGRES, CSV, WAYS = "from PostgreSQL", "from CSV", "ways to read PostgreSQL"
LARGEST_FOR_CURSOR = 1_000_000  # beyond, it takes minutes
ADBC, LINES, CURSOR = "ADBC, binary COPY", "psycopg, COPY of text", "psycopg, server-side cursor"
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
    """The shop's sessions from both, and the ways to read them from the database."""
    shared: dict[str, Any] = {"family": "extraction", "sessions": sessions, "unit": "rows"}
    whole = [
        Case(**shared, name=name, ours=OURS, contenders=(OURS, *peers), limit=peers[-1])
        for name, peers in ((POSTGRES, (COPY,)), (CSV, (TYPED, POLARS)))
    ]
    ways = (ADBC, LINES, *((CURSOR,) if sessions <= LARGEST_FOR_CURSOR else ()))
    return [*whole, Case(**shared, name=WAYS, ours=ADBC, contenders=ways)]


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
    if case.name == WAYS:
        return _read(case, contender, folder)
    if contender == OURS:
        if case.name == POSTGRES:
            source = _of_database(case, folder)
        else:
            source = next(one for one in sources(folder).all if one.name == "sessions")
        begun = time.perf_counter()
        found = extracted(source)
        return Outcome(time.perf_counter() - begun, found.read)
    return _copy(case) if contender == COPY else _polars(folder, with_types=contender == TYPED)


def _of_database(case: Case, folder: Path) -> Source:
    os.environ["AIRFLOW_CONN_BENCHMARK"] = case.detail["connection"]
    return load_sources(str(folder / "shop" / "postgres.yaml")).sessions


def _read(case: Case, way: str, folder: Path) -> Outcome:
    """The needed columns of every row as Arrow batches, one after the other."""
    if way == ADBC:
        source = _of_database(case, folder)
        begun = time.perf_counter()
        rows = sum(batch.rows.num_rows for batch in read_postgres(source, batch_rows=configs.EXTRACT_BATCH_ROWS))
        return Outcome(time.perf_counter() - begun, rows)
    names = case.detail["columns"]
    columns = ", ".join(f'"{name}"' for name in names)
    rows, size = 0, configs.EXTRACT_BATCH_ROWS
    with _connected(case) as connection:
        begun = time.perf_counter()
        if way == LINES:
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY (SELECT {columns} FROM sessions) TO STDOUT (FORMAT csv)") as copy,
            ):
                lines = map(bytes, copy)
                while block := b"".join(islice(lines, size)):
                    rows += pa.csv.read_csv(pa.BufferReader(block), pa.csv.ReadOptions(column_names=names)).num_rows
        else:
            with connection.cursor(name="sessions") as cursor:
                cursor.execute(f"SELECT {columns} FROM sessions")
                while fetched := cursor.fetchmany(size):
                    rows += pa.table([pa.array(column) for column in zip(*fetched, strict=True)], names=names).num_rows
        return Outcome(time.perf_counter() - begun, rows)


def _connected(case: Case) -> Connection[Any]:
    import psycopg

    login = json.loads(case.detail["connection"])
    address = {"host": login["host"], "port": login["port"], "user": login["login"], "password": login["password"]}
    return psycopg.connect(dbname=login["schema"], **address)


def _copy(case: Case) -> Outcome:
    columns = ", ".join(f'"{name}"' for name in case.detail["columns"])
    rows = 0
    with _connected(case) as connection, connection.cursor() as cursor:
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
