"""Merging a load's good rows into the staged tables, as a new version of them.

    validated Parquet parts (per source)  +  the current snapshot  ->  a new snapshot

A row replaces the one with the same key; where both say when they changed, the newer wins. The lines of an order's
basket have a key where `line_id` is mapped. Else they come together: a load that brings some replaces all lines of that
order that came from the same source. Nothing else is touched: of the sessions only the months are written again in
which a row came, went or changed. Files are sorted and named after their content, so the same rows give the same files,
and merging the same load twice changes nothing.

The sources of one kind share a table, whose column `source` says where a row is from; a column that only some of them
have is empty in the others' rows. Which of two sources a key belongs to was settled when they were validated.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

import configs
from include.problem import Problem
from include.progress import Progress
from include.staging.snapshot import (
    CLIENTS,
    Snapshot,
    StagedFile,
    Table,
    all_snapshots,
    load_snapshot,
    save_snapshot,
    select,
)
from include.staging.sql import literal, quoted
from include.staging.storage import engine, engine_url, remove_tree, storage, written_aside

if TYPE_CHECKING:
    import duckdb

TABLE_OF_KIND = {"sessions": "sessions", "customers": "customers", "products": "basket", "deliveries": "deliveries"}
KEYS = {"sessions": "id", "customers": "client", "basket": "order_id", "deliveries": "order_id"}
PLACE_COLUMNS = ("_file", "_row")  # where a row came from: for messages before staging, not for analyses
CHANGED_AT = "changed_at"
SOURCE = "source"
LINE_ID = "line_id"
# Never NULL: a row whose change has no time counts as the oldest.
STAGED_IS_NEWER = (
    f"coalesce(old.{CHANGED_AT} > new.{CHANGED_AT}, old.{CHANGED_AT} IS NOT NULL AND new.{CHANGED_AT} IS NULL)"
)
CLIENT_COLUMNS = {"client": "VARCHAR", "client_code": "INTEGER"}
ROW_GROUP_ROWS = 122_880


class StagingProblem(Problem):
    """The load and what is staged already do not fit together."""


@dataclass(frozen=True)
class Merged:
    """What a merge did. `changed_months` are those with an order that is not what it was in `previous_version`."""

    snapshot: Snapshot
    previous_version: str | None
    changed_months: tuple[str, ...]
    orders_unknown: dict[str, int]  # rows of products and deliveries whose session is not staged (yet)


def merge(
    parts: Mapping[str, Sequence[str]],
    *,
    run_key: str,
    time_zone: str,
    full_refresh: bool = False,
    kinds: Mapping[str, str] | None = None,
) -> Merged:
    """Merge the Parquet files of each source into the current snapshot, or replace it on a full refresh.

    `parts`: source name → files, and `kinds` the kind of each source that is not called like its kind. A kind of which
    there is no source is no longer configured: its table goes.
    """
    tables: dict[str, dict[str, Sequence[str]]] = {}
    for name, files in parts.items():
        tables.setdefault(TABLE_OF_KIND[(kinds or {}).get(name, name)], {})[name] = files
    previous = None if full_refresh else load_snapshot()
    if previous is not None and previous.time_zone != time_zone:
        raise StagingProblem(
            f"Days were staged in the time zone {previous.time_zone} and BUSINESS_TIMEZONE is now {time_zone}; "
            "run with full_refresh to stage them anew."
        )
    with _Merge(tables, previous, time_zone) as work:
        merged = work.tables()
        changed_months = work.changed_months(merged["sessions"])
        orders_unknown = work.orders_unknown(merged)
    current = load_snapshot()
    snapshot = Snapshot(time_zone, merged, run_key=run_key)
    if current is None or snapshot.version != current.version:
        current = save_snapshot(snapshot)
    forget_old(current, run_key)
    return Merged(current, previous.version if previous else None, changed_months, orders_unknown)


def forget_old(current: Snapshot, run_key: str) -> None:
    """Keep the newest STAGING_SNAPSHOTS_KEPT versions, and delete older ones, their loads and files none of them names.

    The manifests go first: a version that is still there has all its files. What no version names includes the files
    of merges that were killed before they had a manifest.
    """
    root = storage(configs.STAGING_URL)
    versions = all_snapshots()
    kept = [current, *(one for one in versions if one.version != current.version)][: configs.STAGING_SNAPSHOTS_KEPT]
    for one in versions:
        if one.version not in {snapshot.version for snapshot in kept}:
            (root / "snapshots" / f"{one.version}.json").unlink(missing_ok=True)
    # By their names alone, which follow from the content: what another spelling of the folder hides is kept.
    in_use = {_name(file.path) for one in kept for table in one.tables.values() for file in table.files}
    for path in root.fs.find((root / "tables").path):
        if _name(path) not in in_use:
            root.fs.rm_file(path)
    runs = root / "runs"
    loads_kept = {run_key, *(one.run_key for one in kept)}
    for run in runs.iterdir() if runs.exists() else ():
        if run.name not in loads_kept:
            remove_tree(run / "landing")
            remove_tree(run / "validated")


def _name(path: str) -> str:
    return path.rpartition("/")[2]


class _Merge:
    """One merge at work: a DuckDB with what was staged (`old_<table>`) and what came (`new_<table>`)."""

    def __init__(
        self, parts: Mapping[str, Mapping[str, Sequence[str]]], previous: Snapshot | None, time_zone: str
    ) -> None:
        self.root = storage(configs.STAGING_URL)
        self.previous, self.time_zone = previous, time_zone
        self.parts = parts  # table → source → files
        place = hashlib.sha256(str(self.root).encode()).hexdigest()[:8]
        self.scratch = Path(configs.TEMPORARY_DIR) / f"merge-{place}-{uuid.uuid4().hex}"
        self.left_behind = f"merge-{place}-*"

    def __enter__(self) -> _Merge:
        # One merge at a time works on a staging: what others left here, they were killed over.
        for folder in self.scratch.parent.glob(self.left_behind):
            shutil.rmtree(folder, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.connection = engine(self.root)
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _open(self) -> None:
        for table, sources in self.parts.items():
            incoming = [self._incoming(table, name, files) for name, files in sources.items()]
            self.connection.execute(f"CREATE VIEW new_{table} AS {' UNION ALL BY NAME '.join(incoming)}")
            self._require_same_types(table)
            self.connection.execute(f"CREATE VIEW old_{table} AS {self._staged(table)}")

    def tables(self) -> dict[str, Table]:
        """The tables of the new version. Clients first: the others refer to their codes."""
        found = {CLIENTS: self._clients()}
        with Progress("stage", unit="rows") as progress:
            for table in self.parts:
                found[table] = self._sessions() if table == "sessions" else self._whole(table)
                progress.advance(found[table].rows)
        return found

    # ── What comes and what is there ────────────────────────────────────────────────────────────────────────────────

    def _incoming(self, table: str, name: str, files: Sequence[str]) -> str:
        urls = ", ".join(literal(engine_url(storage(file))) for file in files)
        source = f"read_parquet([{urls}], hive_partitioning = false)"
        columns = [f"* EXCLUDE ({', '.join(PLACE_COLUMNS)})"]
        if table == "sessions":
            local = self._local("session_start_date")
            columns += [f"{local}::DATE AS session_day", f"date_part('hour', {local})::TINYINT AS session_hour"]
        if table == "customers":
            columns.append(f"{self._local('download_date')}::DATE AS download_day")
        return f"SELECT {', '.join(columns)}, {literal(name)} AS {SOURCE} FROM {source}"

    def _of_the_same_source(self, table: str) -> str:
        """SQL: whether `old` is of the source of `new`, or of one that is there no more: it may have a new name."""
        names = ", ".join(literal(name) for name in self.parts[table])
        return f"(old.{SOURCE} IS NULL OR old.{SOURCE} = new.{SOURCE} OR old.{SOURCE} NOT IN ({names}))"

    def _stays(self, table: str) -> str:
        """SQL: whether `old` is not replaced by `new`, being newer; a key that changed hands is the new source's."""
        if CHANGED_AT not in self._staged_columns(table):
            return "false"
        return f"{STAGED_IS_NEWER} AND {self._of_the_same_source(table)}"

    def _local(self, column: str) -> str:
        """SQL: an instant as the clocks of the business time zone show it."""
        return f"timezone({literal(self.time_zone)}, timezone('UTC', {column}))"

    def _columns(self, view: str) -> dict[str, str]:
        described = self.connection.execute(f"DESCRIBE {view}").fetchall()
        return {str(name): str(kind) for name, kind, *_ in described}

    def _old_table(self, table: str) -> Table | None:
        return self.previous.tables.get(table) if self.previous else None

    def _require_same_types(self, table: str) -> None:
        old = self._old_table(table)
        for name, kind in self._columns(f"new_{table}").items() if old else ():
            before = old.columns.get(name, kind) if old else kind
            if before != kind:
                raise StagingProblem(
                    f"{table}: the column {name} was staged as {before} and is now {kind}; "
                    "run with full_refresh to stage it anew, or set its type back in sources.yaml."
                )

    def _staged(self, table: str) -> str:
        """What was staged, in the columns of what comes: a column that is new is empty, one that went is left out."""
        old = self._old_table(table)
        columns = self._columns(f"new_{table}")
        if old is None:
            return f"SELECT * FROM new_{table} WHERE false"
        chosen = ", ".join(
            quoted(name) if name in old.columns else f"NULL::{kind} AS {quoted(name)}" for name, kind in columns.items()
        )
        return f"SELECT {chosen} FROM ({select(old, self.root)})"

    def _same_columns(self, table: str) -> bool:
        old = self._old_table(table)
        return old is not None and [*old.columns] == [*self._staged_columns(table)]

    def _staged_columns(self, table: str) -> dict[str, str]:
        columns = self._columns(f"new_{table}")
        return {"client_code": "INTEGER", **columns} if table in ("sessions", "customers") else columns

    # ── Clients ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _clients(self) -> Table:
        """Every client's code: those there are keep theirs, new ones follow in the order of their names."""
        old = self._old_table(CLIENTS) or Table(CLIENT_COLUMNS)
        self.connection.execute(f"CREATE VIEW old_clients AS {select(old, self.root)}")
        self.connection.execute(
            """
            CREATE TABLE clients AS
            WITH seen AS (SELECT client FROM new_sessions UNION SELECT client FROM new_customers),
                 added AS (SELECT client FROM seen ANTI JOIN old_clients USING (client))
            SELECT client, client_code FROM old_clients
            UNION ALL
            SELECT client,
                   ((SELECT coalesce(max(client_code) + 1, 0) FROM old_clients)
                    + row_number() OVER (ORDER BY client) - 1)::INTEGER
            FROM added
            """
        )
        return Table(CLIENT_COLUMNS, self._written("SELECT * FROM clients ORDER BY client_code", CLIENTS))

    # ── Sessions, by month ──────────────────────────────────────────────────────────────────────────────────────────

    def _sessions(self) -> Table:
        columns = self._staged_columns("sessions")
        # The staged versions of the sessions that came: where they were, and whether they are the newer ones.
        self.connection.execute(
            f"""
            CREATE TABLE replaced AS
            SELECT old.id, strftime(old.session_day, '%Y-%m') AS month, {self._stays("sessions")} AS stays
            FROM old_sessions old JOIN new_sessions new USING (id)
            """
        )
        self._split_by_month(columns)
        files = {} if not self._same_columns("sessions") else {one.month: one for one in self._old_files("sessions")}
        months = self._months("SELECT DISTINCT month FROM replaced WHERE NOT stays")
        months |= {folder.name.removeprefix("month=") for folder in self.scratch.glob("sessions/month=*")}
        if not self._same_columns("sessions"):
            months |= {str(one.month) for one in self._old_files("sessions")}
        for month in sorted(months):
            written = self._written(self._month(month, columns), "sessions", month)
            files.pop(month, None)
            files |= {file.month: file for file in written}
        return Table(columns, tuple(files[month] for month in sorted(files, key=str)), tuple(self.parts["sessions"]))

    def _split_by_month(self, columns: Mapping[str, str]) -> None:
        """Put what came aside by month, in one pass, so that no month has to read all of it."""
        named = ", ".join(quoted(name) for name in columns)
        self.connection.execute(
            f"""
            COPY (
                SELECT {named}, strftime(session_day, '%Y-%m') AS month
                FROM new_sessions JOIN clients USING (client)
                WHERE id NOT IN (SELECT id FROM replaced WHERE stays)
            ) TO {literal(str(self.scratch / "sessions"))}
            (FORMAT parquet, PARTITION_BY (month), WRITE_PARTITION_COLUMNS false)
            """
        )

    def _month(self, month: str, columns: Mapping[str, str]) -> str:
        named = ", ".join(quoted(name) for name in columns)
        came = [literal(str(file)) for file in sorted((self.scratch / "sessions" / f"month={month}").glob("*.parquet"))]
        rows = []
        old = [one for one in self._old_files("sessions") if one.month == month]
        if old:
            table = Table(self._old_columns("sessions"), tuple(old))
            staged = ", ".join(
                quoted(name) if name in table.columns else f"NULL::{kind} AS {quoted(name)}"
                for name, kind in columns.items()
            )
            rows.append(
                f"SELECT {staged} FROM ({select(table, self.root)}) "
                f"WHERE id NOT IN (SELECT id FROM replaced WHERE NOT stays AND month = {literal(month)})"
            )
        if came:
            rows.append(f"SELECT {named} FROM read_parquet([{', '.join(came)}], hive_partitioning = false)")
        return f"SELECT * FROM ({' UNION ALL '.join(rows)}) ORDER BY client_code, session_start_date, id"

    def _old_files(self, table: str) -> tuple[StagedFile, ...]:
        old = self._old_table(table)
        return old.files if old else ()

    def _old_columns(self, table: str) -> dict[str, str]:
        old = self._old_table(table)
        return old.columns if old else {}

    def _months(self, query: str) -> set[str]:
        return {str(month) for (month,) in self.connection.execute(query).fetchall()}

    def changed_months(self, sessions: Table) -> tuple[str, ...]:
        """Months in which a session, its basket or its delivery is not what it was; all of them where columns are."""
        before = {file.path for file in self._old_files("sessions")}
        months = {str(file.month) for file in sessions.files if file.path not in before}
        self.connection.execute(f"CREATE VIEW now_sessions AS {select(sessions, self.root)}")
        for table in ("basket", "deliveries"):
            if table in self.parts and self._same_columns(table):
                months |= self._months(
                    f"SELECT DISTINCT strftime(session_day, '%Y-%m') FROM now_sessions "
                    f"SEMI JOIN new_{table} ON now_sessions.id = new_{table}.order_id"
                )
            elif table in self.parts or self._old_table(table) is not None:
                months |= {str(file.month) for file in sessions.files}
        return tuple(sorted(months))

    def orders_unknown(self, tables: Mapping[str, Table]) -> dict[str, int]:
        """Rows of baskets and deliveries whose session is not staged: kept, and joined when it comes."""
        found = {}
        for table in ("basket", "deliveries"):
            if table in tables:
                query = (
                    f"SELECT count(*) FROM ({select(tables[table], self.root)}) lines "
                    "ANTI JOIN now_sessions ON now_sessions.id = lines.order_id"
                )
                ((count,),) = self.connection.execute(query).fetchall()
                found[table] = int(count)
        return found

    # ── The other tables, whole ─────────────────────────────────────────────────────────────────────────────────────

    def _whole(self, table: str) -> Table:
        columns, key = self._staged_columns(table), KEYS[table]
        named = ", ".join(quoted(name) for name in columns)
        codes = "JOIN clients USING (client)" if table == "customers" else ""
        order = ", ".join(quoted(name) for name in dict.fromkeys([key, *columns]))
        query = f"""
            WITH winning AS ({self._winning_lines(columns) if table == "basket" else self._winning(table, key)}),
                 merged AS (
                     SELECT * FROM winning
                     UNION ALL BY NAME
                     SELECT old.* FROM old_{table} old ANTI JOIN winning new
                         ON old.{key} = new.{key}{self._and_the_same_line(columns) if table == "basket" else ""}
                 )
            SELECT {named} FROM merged {codes} ORDER BY {order}
        """
        return Table(columns, self._written(query, table), tuple(self.parts[table]))

    def _winning(self, table: str, key: str) -> str:
        """SQL: the rows that came, without those of which a newer version is staged."""
        return f"""
            SELECT * FROM new_{table} WHERE {key} NOT IN (
                SELECT new.{key} FROM old_{table} old JOIN new_{table} new USING ({key}) WHERE {self._stays(table)}
            )
        """

    def _winning_lines(self, columns: Mapping[str, str]) -> str:
        if LINE_ID not in columns:
            return "SELECT * FROM new_basket"
        return f"""
            SELECT new.* FROM new_basket new ANTI JOIN old_basket old
                ON old.order_id = new.order_id AND old.{LINE_ID} = new.{LINE_ID} AND {self._stays("basket")}
        """

    def _and_the_same_line(self, columns: Mapping[str, str]) -> str:
        """SQL: whether of one order's lines `new` replaces `old`: that with its key and those staged without one, or,
        where lines have no key, all."""
        line = f" AND (old.{LINE_ID} = new.{LINE_ID} OR old.{LINE_ID} IS NULL)" if LINE_ID in columns else ""
        return f"{line} AND {self._of_the_same_source('basket')}"

    # ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _written(self, query: str, table: str, month: str | None = None) -> tuple[StagedFile, ...]:
        """The rows of `query` as a file named after its content; none where there are no rows."""
        scratch = self.scratch / f"{table}.parquet"
        rows = write_parquet(self.connection.sql(query), scratch)
        if not rows:
            return ()
        folder = f"tables/{table}/month={month}" if month else f"tables/{table}"
        path = f"{folder}/{_content_hash(scratch)}.parquet"
        if not (self.root / path).exists():
            with written_aside(self.root / path) as file:
                shutil.copyfile(scratch, file)
        if table != "sessions":
            return (StagedFile(path, rows),)
        local = self._local("session_start_date")
        ((oldest, newest, dates_only),) = self.connection.execute(
            f"SELECT min(session_day), max(session_day), bool_and(date_trunc('day', {local}) = {local}) "
            f"FROM read_parquet({literal(str(scratch))})"
        ).fetchall()
        return (StagedFile(path, rows, month, str(oldest), str(newest), bool(dates_only)),)


def write_parquet(rows: duckdb.DuckDBPyRelation, target: Path) -> int:
    """Write the rows in their order, in row groups of ROW_GROUP_ROWS, and count them.

    The bytes follow from the values alone; DuckDB's own writer encodes a column without empty values in two ways,
    depending on how it was computed.
    """
    reader = rows.to_arrow_reader(ROW_GROUP_ROWS)
    with reader, pq.ParquetWriter(target, reader.schema, compression="zstd") as writer:
        pending = reader.schema.empty_table()
        for batch in reader:
            pending = pa.concat_tables([pending, pa.Table.from_batches([batch])])
            while pending.num_rows >= ROW_GROUP_ROWS:
                writer.write_table(pending.slice(0, ROW_GROUP_ROWS).combine_chunks())
                pending = pending.slice(ROW_GROUP_ROWS)
        if pending.num_rows:
            writer.write_table(pending.combine_chunks())
    return pq.read_metadata(target).num_rows  # type: ignore[no-any-return]


def _content_hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:20]
