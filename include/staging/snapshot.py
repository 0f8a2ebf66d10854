"""One version of the staged tables: immutable Parquet files, named by a manifest.

    STAGING_URL/tables/<table>/[month=YYYY-MM/]<hash of the content>.parquet
    STAGING_URL/snapshots/<version>.json     the manifest
    STAGING_URL/CURRENT                      the version that the next load builds upon

A file or a manifest never changes once it is there, so whoever reads a version reads the same until its files are
deleted as too old. `CURRENT` is replaced last, in one step: a load that is killed leaves the version before it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Self

import ibis

import configs
from include.schemas.source_kinds import ACTION_PREFIX, DIMENSION_PREFIX
from include.staging.sql import literal, quoted
from include.staging.storage import engine, engine_url, storage, written_aside
from include.staging.tables import Tables

if TYPE_CHECKING:
    import duckdb
    from airflow.sdk import ObjectStoragePath

TABLES = ("sessions", "customers", "basket", "deliveries")  # what analyses and documents see
CLIENTS = "clients"  # client, client_code: every client's code, kept from load to load


@dataclass(frozen=True)
class StagedFile:
    """One Parquet file. `path` is below STAGING_URL; `month` and what follows are those of a sessions file."""

    path: str
    rows: int
    month: str | None = None
    oldest_day: str | None = None
    newest_day: str | None = None
    dates_only: bool | None = None  # every session of the file begins at local midnight


@dataclass(frozen=True)
class Table:
    """One table: its columns with their DuckDB types, its files (none: it is empty), and the sources it was made of."""

    columns: dict[str, str]
    files: tuple[StagedFile, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)


@dataclass(frozen=True)
class Snapshot:
    """One version. `tables` has those of the configured sources, and `clients`."""

    time_zone: str
    tables: dict[str, Table] = field(repr=False)
    sequence: int = 1  # counts versions; newest is highest
    run_key: str = ""  # the run that made it

    @property
    def version(self) -> str:
        """Follows from the content alone: the same data gives the same version."""
        content = {"time_zone": self.time_zone, "tables": {name: asdict(one) for name, one in self.tables.items()}}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def table_names(self) -> tuple[str, ...]:
        return tuple(name for name in TABLES if name in self.tables)

    @property
    def counts(self) -> dict[str, int]:
        return {name: self.tables[name].rows for name in self.table_names}

    @property
    def dimensions(self) -> tuple[str, ...]:
        return _without_prefix(DIMENSION_PREFIX, self.tables["sessions"].columns)

    def connect(self, *, threads: int | None = None, memory_mb: int | None = None) -> duckdb.DuckDBPyConnection:
        """A DuckDB with a view for each table."""
        root = storage(configs.STAGING_URL)
        connection = engine(root, threads=threads, memory_mb=memory_mb)
        for name, table in self.tables.items():
            connection.execute(f"CREATE VIEW {name} AS {select(table, root)}")
        return connection

    def analysis_tables(self, *, dimensions: tuple[str, ...], week_start: str) -> Tables:
        """The tables as Ibis expressions, to be broken down by `dimensions`; their rows are in no particular order."""
        own = self.connect()
        # An analysis reads the same files many times, and nothing in it hangs on the order of rows.
        own.execute("SET parquet_metadata_cache = true")
        own.execute("SET preserve_insertion_order = false")
        connection = ibis.duckdb.from_connection(own)
        found = {name: connection.table(name) for name in self.table_names}
        return Tables(
            sessions=found["sessions"],
            customers=found["customers"],
            basket=found.get("basket"),
            deliveries=found.get("deliveries"),
            dimensions=dimensions,
            time_zone=self.time_zone,
            week_start=week_start,
            actions=_without_prefix(ACTION_PREFIX, self.tables["sessions"].columns),
            sources={name: self.tables[name].sources for name in self.table_names},
        )

    def newest_complete_day(self) -> date | None:
        """The newest day of which all sessions can be there; None without sessions.

        Where every session begins at local midnight the source carries dates only, and its newest day is taken for
        complete. Otherwise the newest session lies somewhere within a day that may go on, so the day before it is
        taken, unless the data begin on that very day.
        """
        files = self.tables["sessions"].files
        if not files:
            return None
        newest = max(date.fromisoformat(file.newest_day) for file in files if file.newest_day)
        oldest = min(date.fromisoformat(file.oldest_day) for file in files if file.oldest_day)
        if all(file.dates_only for file in files) or newest == oldest:
            return newest
        return newest - timedelta(days=1)

    def manifest(self) -> dict[str, Any]:
        return {"version": self.version, **asdict(self)}

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Self:
        tables = {
            name: Table(
                one["columns"], tuple(StagedFile(**file) for file in one["files"]), tuple(one.get("sources", ()))
            )
            for name, one in manifest["tables"].items()
        }
        return cls(manifest["time_zone"], tables, manifest["sequence"], manifest["run_key"])


def select(table: Table, root: ObjectStoragePath) -> str:
    """SQL that reads the table's files; an empty table has its columns and no rows."""
    names = ", ".join(quoted(name) for name in table.columns)
    if not table.files:
        empty = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in table.columns.items())
        return f"SELECT {empty} WHERE false"
    # From the rows of the first file the engine estimates those of all, and so which side of a join is the smaller one.
    largest_first = sorted(table.files, key=lambda file: -file.rows)
    files = ", ".join(literal(engine_url(root / file.path)) for file in largest_first)
    return f"SELECT {names} FROM read_parquet([{files}], hive_partitioning = false)"


def load_snapshot(version: str | None = None) -> Snapshot | None:
    """The version asked for, else the current one; None where there is none."""
    root = storage(configs.STAGING_URL)
    if version is None:
        current = root / "CURRENT"
        if not current.exists():
            return None
        version = current.read_text(encoding="utf-8").strip()
    manifest = root / "snapshots" / f"{version}.json"
    return Snapshot.from_manifest(json.loads(manifest.read_text(encoding="utf-8"))) if manifest.exists() else None


def save_snapshot(snapshot: Snapshot) -> Snapshot:
    """Make `snapshot` the current version; as it is stored, with the next sequence number."""
    root = storage(configs.STAGING_URL)
    numbered = replace(snapshot, sequence=1 + max((one.sequence for one in all_snapshots()), default=0))
    with written_aside(root / "snapshots" / f"{numbered.version}.json") as file:
        file.write_text(json.dumps(numbered.manifest(), indent=1), encoding="utf-8")
    with written_aside(root / "CURRENT") as file:
        file.write_text(numbered.version, encoding="utf-8")
    return numbered


def all_snapshots() -> list[Snapshot]:
    """Every version there is, the newest first."""
    folder = storage(configs.STAGING_URL) / "snapshots"
    if not folder.exists():
        return []
    manifests = [json.loads(file.read_text(encoding="utf-8")) for file in folder.iterdir() if file.suffix == ".json"]
    return sorted(map(Snapshot.from_manifest, manifests), key=lambda one: one.sequence, reverse=True)


def _without_prefix(prefix: str, columns: dict[str, str]) -> tuple[str, ...]:
    return tuple(name.removeprefix(prefix) for name in columns if name.startswith(prefix))
