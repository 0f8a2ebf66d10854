"""Rows that were set aside: where each came from, what it held, and the rules it broke.

STAGING_URL/runs/<run>/quarantine/<source>/*.parquet
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.parquet as pq

from include.staging.storage import written_aside

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("rules", pa.list_(pa.string())),
        ("raw", pa.string()),
        ("run_id", pa.string()),
    ]
)


@dataclass(frozen=True)
class QuarantinedRow:
    """One row. `raw` is its values as JSON, or the text of a line that could not be split into values."""

    source: str
    file: str
    row: int
    rules: list[str]
    raw: str
    run_id: str


class QuarantineWriter:
    """Writes quarantined rows to one file, which appears when the block ends well; without rows there is none."""

    def __init__(self, target: ObjectStoragePath) -> None:
        self._target = target
        self._stack = ExitStack()
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, rows: Iterable[QuarantinedRow]) -> None:
        listed = [asdict(row) for row in rows]
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
