"""Rows that were set aside: where each came from, what it held, and the rules it broke.

    STAGING_URL/runs/<run>/quarantine/<source>/*.parquet     every rejected row of a run
    STAGING_URL/runs/<run>/siblings/<source>.parquet         of lines without a key: what else their orders had

`raw` has one of three forms. What a row rule rejects keeps the values of the source (`raw`). What a rule about the
whole load rejects was converted by then, and keeps our columns (`typed`): as texts from which exactly the same values
come back. A line that could not be split is kept as it is (`text`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import configs
from include.staging.storage import is_local, remove_tree, storage, written_aside

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from include.sources.definition import Source

Form = Literal["raw", "typed", "text"]
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("key", pa.string()),
        ("rules", pa.list_(pa.string())),
        ("form", pa.string()),
        ("raw", pa.string()),
        ("run_id", pa.string()),
        ("quarantined_at", pa.timestamp("us")),
        ("mapping", pa.string()),
        ("is_replayed", pa.bool_()),
    ]
)
FOLDER = "quarantine"
SIBLINGS = "siblings"
ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class QuarantinedRow:
    """One row. `raw` is its values as JSON, or the text of a line that could not be split into values."""

    source: str
    file: str
    row: int
    key: str | None
    rules: list[str]
    form: Form
    raw: str
    run_id: str
    quarantined_at: datetime
    mapping: str
    is_replayed: bool = False


@dataclass(frozen=True)
class Quarantining:
    """What the quarantined rows of one source in one run share; `quarantined_at` is when the run began, in UTC."""

    source: str
    run_id: str
    quarantined_at: datetime
    mapping: str

    @classmethod
    def of(cls, source: Source, *, run_id: str, latest: datetime) -> Self:
        """`latest` is the last instant that is not in the future, for a run's rows."""
        began = latest - timedelta(hours=configs.FUTURE_TOLERANCE_HOURS)
        return cls(source.name, run_id, began, mapping_of(source))

    def row(self, file: str, row: int, key: str | None, rules: list[str], form: Form, raw: str) -> QuarantinedRow:
        return QuarantinedRow(
            self.source, file, row, key, rules, form, raw, self.run_id, self.quarantined_at, self.mapping
        )


def place_of(source: Source, file: str, row: int, key: str | None) -> str:
    """Where a row is, in words: its line in a file; of a table, which has no order, its key too."""
    if source.connector == "csv":
        return f"{file} line {row}"
    return f"{file} row {row}" if key is None else f"{file} row {row}, key {key}"


def mapping_of(source: Source) -> str:
    """A hash of what turns a source's values into ours; where the source lies does not matter."""
    nowhere = replace(source, base_dir=Path(), connection=None, path=None, table=None, query=None)
    return hashlib.sha256(repr(nowhere).encode()).hexdigest()[:16]


class QuarantineWriter:
    """Writes quarantined rows to one file, which appears when the block ends well; without rows there is none."""

    def __init__(self, target: ObjectStoragePath) -> None:
        self._target = target
        self._stack = ExitStack()
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, rows: Iterable[QuarantinedRow]) -> None:
        listed = [vars(row) for row in rows]
        if not listed:
            return
        if self._writer is None:
            scratch = self._stack.enter_context(written_aside(self._target))
            self._writer = self._stack.enter_context(pq.ParquetWriter(scratch, SCHEMA, compression="zstd"))
        self._writer.write_table(pa.Table.from_pylist(listed, schema=SCHEMA))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


# ── Reading and marking ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class QuarantinedRun:
    """The quarantine of one run: its key (the name of its folder) and the files of each source, in their order."""

    key: str
    files: dict[str, tuple[ObjectStoragePath, ...]]
    run_id: str
    quarantined_at: datetime | None


def quarantined_run(key: str) -> QuarantinedRun | None:
    """The quarantine of the run whose folder is `key`; None where it has none."""
    folder = storage(configs.STAGING_URL) / "runs" / key / FOLDER
    files: dict[str, tuple[ObjectStoragePath, ...]] = {}
    for source in sorted(folder.iterdir(), key=str) if folder.exists() else ():
        found = tuple(sorted((file for file in source.iterdir() if file.suffix == ".parquet"), key=str))
        if found:
            files[source.name] = found
    if not files:
        return None
    first = next(next(iter(batches(file))) for listed in files.values() for file in listed)
    return QuarantinedRun(key, files, first["run_id"][0].as_py(), first["quarantined_at"][0].as_py())


def quarantined_runs() -> list[QuarantinedRun]:
    """Every run whose quarantine is kept, the newest first."""
    runs = storage(configs.STAGING_URL) / "runs"
    found = [quarantined_run(folder.name) for folder in (runs.iterdir() if runs.exists() else ())]
    return sorted(
        (one for one in found if one is not None),
        key=lambda one: (one.quarantined_at or datetime.min, one.key),  # noqa: DTZ901 - UTC without a zone
        reverse=True,
    )


def batches(file: ObjectStoragePath) -> Iterator[pa.RecordBatch]:
    """The rows of one file, a bounded number at a time; a column that an older version did not write is empty."""
    dataset = ds.dataset(file.path, schema=SCHEMA, format="parquet", filesystem=None if is_local(file) else file.fs)
    for batch in dataset.to_batches(batch_size=ROWS_AT_ONCE, use_threads=False):
        if batch.num_rows:
            yield batch


def rows_of(file: ObjectStoragePath) -> Iterator[dict[str, Any]]:
    for batch in batches(file):
        yield from batch.to_pylist()


def rewrite(file: ObjectStoragePath, change: Callable[[pa.RecordBatch], pa.RecordBatch]) -> None:
    """Put what `change` makes of its rows in the place of a file, in one step."""
    with written_aside(file) as scratch, pq.ParquetWriter(scratch, SCHEMA, compression="zstd") as writer:
        for batch in batches(file):
            writer.write_batch(change(batch))


def forget_old(before: datetime) -> list[str]:
    """Delete the quarantine of runs that began before that instant (UTC without a zone); their keys."""
    forgotten = []
    for run in quarantined_runs():
        if run.quarantined_at is not None and run.quarantined_at < before:
            for name in (FOLDER, SIBLINGS):
                remove_tree(storage(configs.STAGING_URL) / "runs" / run.key / name)
            forgotten.append(run.key)
    return forgotten
