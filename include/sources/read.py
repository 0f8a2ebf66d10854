"""Reading a source, whatever its connector is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import configs
from include.sources.csv import csv_header, read_csv, resolve_csv_options
from include.sources.csv_files import csv_files
from include.sources.definition import CsvOptions, Source
from include.sources.problems import SourceError
from include.sources.raw_batch import RawBatch


@dataclass(frozen=True)
class SourceCheck:
    """What a source turned out to be: its files with their size as stored, its columns, and how it is read.

    `columns` are those of the first file; `unused_columns` are those among them that sources.yaml does not mention.
    """

    source: str
    files: tuple[str, ...]
    bytes: int
    columns: tuple[str, ...]
    unused_columns: tuple[str, ...]
    options: CsvOptions

    def summary(self) -> dict[str, Any]:
        """The same in a form that JSON can hold, short enough for a task's result."""
        return {
            "files": len(self.files),
            "first_file": self.files[0],
            "bytes": self.bytes,
            "columns": list(self.columns),
            "unused_columns": list(self.unused_columns),
            "options": {**asdict(self.options), "date_format": dict(self.options.date_format)},
        }


def read_source(source: Source, options: CsvOptions | None = None) -> Iterator[RawBatch]:
    """The rows of a source as raw batches; `options` as `resolve_csv_options` gives them, which is asked without."""
    _refuse_unreadable(source)
    return read_csv(source, batch_rows=configs.EXTRACT_BATCH_ROWS, block_bytes=configs.CSV_BLOCK_BYTES, options=options)


def check_source(source: Source) -> SourceCheck:
    """Whether a source can be reached and has what sources.yaml says; raises `SourceError` with one sentence if not."""
    _refuse_unreadable(source)
    files = csv_files(source)
    options = resolve_csv_options(source, files)
    columns = [csv_header(source, file, options) for file in files]
    return SourceCheck(
        source=source.name,
        files=tuple(file.name for file in files),
        bytes=sum(file.size for file in files),
        columns=tuple(columns[0]),
        unused_columns=tuple(column for column in columns[0] if column not in source.needed_columns),
        options=options,
    )


def _refuse_unreadable(source: Source) -> None:
    if source.connector != "csv":
        raise SourceError(
            f"{source.name}: the connector {source.connector!r} cannot be read by this version; "
            "export to CSV, or remove it."
        )
