"""Reading a source, whatever its connector is. Connectors are imported where they are used: hooks are slow to load."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

import configs
from include.sources.csv import csv_header, estimated_rows, read_csv, resolve_csv_options
from include.sources.csv_files import csv_files
from include.sources.definition import CsvOptions, DatabaseOptions, Source, ValueFormat
from include.sources.raw_batch import RawBatch
from include.sources.source_check import SourceCheck, mapped


def read_source(
    source: Source,
    options: ValueFormat | None = None,
    *,
    start: date | None = None,
    end: date | None = None,
    changed_since: datetime | None = None,
) -> Iterator[RawBatch]:
    """The rows of a source as raw batches; `options` as `value_format` gives them, which CSV is asked for without.

    A database leaves out most of what is not wanted: sessions that began before the day `start` or after `end`, and
    rows that changed before `changed_since` (UTC without a zone). A few more come; files come whole.
    """
    if source.connector == "csv":
        return read_csv(
            source,
            batch_rows=configs.EXTRACT_BATCH_ROWS,
            block_bytes=configs.CSV_BLOCK_BYTES,
            options=options if isinstance(options, CsvOptions) else None,
        )
    if source.connector == "postgres":
        from include.sources.postgres import read_postgres as read
    elif source.connector == "redshift":
        from include.sources.redshift import read_redshift as read
    else:
        from include.sources.bigquery import read_bigquery as read
    return read(source, batch_rows=configs.EXTRACT_BATCH_ROWS, start=start, end=end, changed_since=changed_since)


def value_format(source: Source) -> ValueFormat:
    """How a source writes its values: told from its files, or the time zone of a database's times that carry none."""
    return resolve_csv_options(source) if source.connector == "csv" else DatabaseOptions(timezone=source.timezone)


def check_source(source: Source) -> SourceCheck:
    """Whether a source can be reached and has what sources.yaml says; raises `SourceError` with one sentence if not."""
    if source.connector == "csv":
        return _check_csv(source)
    if source.connector == "postgres":
        from include.sources.postgres import check_postgres as check
    elif source.connector == "redshift":
        from include.sources.redshift import check_redshift as check
    else:
        from include.sources.bigquery import check_bigquery as check
    return check(source)


def _check_csv(source: Source) -> SourceCheck:
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
        rows=estimated_rows(source, files, options),
        newest=max((f"{file.written:%Y-%m-%d %H:%M:%S%z}" for file in files if file.written), default=None),
        mapping=mapped(source),
    )
