"""CSV files on a disk or an object store, streamed as Arrow batches.

Memory stays at a few times `block_bytes`, whatever the size of a file. Every value is read as bytes and only then as
text, so that one bad byte costs one row and not the file. Line numbers are exact: the parser numbers records, and the
line breaks inside quoted values and inside malformed rows are counted on top.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import logging
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from airflow.sdk import ObjectStoragePath
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

import configs
from include.problem import Problem
from include.sources.csv_format import (
    Ambiguous,
    Unreadable,
    detect_date_format,
    detect_decimal,
    detect_delimiter,
    detect_encoding,
    header,
)
from include.sources.definition import CsvOptions, Source, nearest
from include.sources.raw_batch import (
    NOT_VALID_TEXT,
    QUOTE_NOT_CLOSED,
    ROW_COLUMN,
    WRONG_NUMBER_OF_COLUMNS,
    MalformedRow,
    RawBatch,
)

log = logging.getLogger(__name__)

SAMPLE_BYTES = 1_000_000  # how much of the first file the detection looks at
MALFORMED_TEXT_CHARACTERS = 10_000  # a malformed row is kept up to here; it can be as long as a block
GZIP_MAGIC = b"\x1f\x8b"
LEADING_BLANK_LINES = re.compile(rb"(?:[ \t]*(?:\r\n|\n|\r))*")
UNDECODABLE = "undecodable_byte_stays_invalid"


class SourceError(Problem):
    """One sentence on what is wrong with a source's data and what to do about it."""


class SourceUnreachable(SourceError):
    """The place where a source lives does not answer; it may later."""

    retry = True


@dataclass(frozen=True)
class CsvFile:
    """One file of a source: `name` is for people and holds no credentials; `size` is in bytes, as stored."""

    path: ObjectStoragePath
    name: str
    size: int


def csv_files(source: Source) -> list[CsvFile]:
    """The files that the source's path means (a file, a folder's CSV files, or a pattern's), by name."""
    assert source.path is not None
    url = source.path if "://" in source.path else f"file://{source.base_dir}/{source.path}"
    if source.path.startswith("/"):
        url = f"file://{source.path}"
    if source.connection is not None:
        try:
            BaseHook.get_connection(source.connection)
        except AirflowNotFoundException:
            raise SourceError(
                f"{source.name}: Airflow has no connection {source.connection!r}; "
                "add it, or correct `connection` in sources.yaml."
            ) from None
    with said_plainly(source.name, source.path):
        root = ObjectStoragePath(url, conn_id=source.connection)
        files = root.fs
        found = {url: files.info(root.path)} if files.isfile(root.path) else {}
        if not found and re.search(r"[*?\[]", source.path):
            fixed = glob_escaped(str(source.base_dir)) if url.startswith("file://") else ""
            pattern = f"{fixed}/{source.path}" if fixed and not source.path.startswith("/") else root.path
            matches: Mapping[str, Any] = files.glob(pattern, detail=True)
            found = {name: info for name, info in matches.items() if info["type"] == "file"}
        elif not found:
            inside = files.ls(root.path, detail=True)
            names = {info["name"]: info for info in inside if info["type"] == "file"}
            found = {name: info for name, info in names.items() if name.lower().endswith((".csv", ".csv.gz"))}
        if not found:
            raise SourceError(f"{source.name}: no CSV file is at {source.path}; correct `path` in sources.yaml.")
        return [_file(source, root, found[name]) for name in sorted(found)]


def glob_escaped(path: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", path)


def _file(source: Source, root: ObjectStoragePath, info: dict[str, Any]) -> CsvFile:
    path = root.fs.unstrip_protocol(info["name"])
    local = Path(info["name"])
    name = path
    if root.protocol in ("", "file", "local"):
        name = str(local.relative_to(source.base_dir)) if local.is_relative_to(source.base_dir) else str(local)
    return CsvFile(ObjectStoragePath(path, conn_id=source.connection), name, int(info["size"]))


def read_csv(
    source: Source,
    *,
    batch_rows: int,
    block_bytes: int,
    options: CsvOptions | None = None,
    files: list[CsvFile] | None = None,
) -> Iterator[RawBatch]:
    """The rows of all files of a source.

    `options` are those of `resolve_csv_options`, which is asked where they are left out. Values are text, null where
    they are empty or blank; lines without any value are counted and left out. A row with more or fewer values than the
    header, or with bytes that are no text, comes as a malformed one.
    """
    files = csv_files(source) if files is None else files
    options = resolve_csv_options(source, files) if options is None else options
    for file in files:
        with said_plainly(source.name, file.name), opened(file) as stream:
            yield from _read_stream(
                stream, source, file.name, options, batch_rows=batch_rows, block_bytes=block_bytes
            )


def resolve_csv_options(source: Source, files: list[CsvFile] | None = None) -> CsvOptions:
    """The source's CSV options with everything filled in that was left open, told from the first file's beginning."""
    file = (csv_files(source) if files is None else files)[0]
    with said_plainly(source.name, file.name), opened(file) as stream:
        sample = _filled(stream, SAMPLE_BYTES)
    options = _resolved(source, file.name, sample)
    found = {
        name: getattr(options, name)
        for name in ("delimiter", "encoding", "decimal")
        if getattr(source.csv, name) is None
    }
    dates = {name: text or "ISO 8601" for name, text in options.date_format.items() if name not in source.csv.date_format}
    log.info("%s: detected in %s: %s", source.name, file.name, found | dates)
    return options


def _resolved(source: Source, file: str, sample: bytes) -> CsvOptions:
    def asked(option: str, error: Ambiguous | Unreadable, column: str = "") -> SourceError:
        where = f" of column {column!r}" if column else ""
        return SourceError(f"{file}{where}: {error}; set {source.name}.csv.{option} in sources.yaml.")

    given = source.csv
    try:
        encoding = given.encoding or detect_encoding(sample)
    except Unreadable as error:
        raise asked("encoding", error) from None
    text = _text_of(sample, encoding).lstrip("\ufeff \t\r\n")
    delimiter = given.delimiter or detect_delimiter(text, source.needed_columns)
    columns = _columns_of(text, delimiter)
    typed = source.typed_columns
    numbers = [column for kind, column in typed.values() if kind in ("money", "number")]
    decimal = given.decimal
    try:
        for column in numbers if decimal is None else ():
            decimal = detect_decimal(columns.get(column, ())) or decimal
    except Ambiguous as error:
        raise asked("decimal", error, column) from None
    formats: dict[str, str | None] = dict(given.date_format)
    for name, (kind, column) in typed.items():
        if kind == "instant" and name not in formats:
            try:
                formats[name] = detect_date_format(columns.get(column, ())).format
            except (Ambiguous, Unreadable) as error:
                raise asked("date_format", error, column) from None
    return CsvOptions(
        delimiter=delimiter,
        encoding=encoding,
        decimal=decimal or ".",
        date_format=formats,
        timezone=given.timezone or configs.BUSINESS_TIMEZONE,
    )


def _text_of(sample: bytes, encoding: str) -> str:
    return codecs.getincrementaldecoder(encoding)(errors="replace").decode(sample)


def _columns_of(text: str, delimiter: str) -> dict[str, list[str]]:
    """The values of a sample by column; the last row, which may be cut off, and misshapen rows are left out."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip() for name in next(rows, [])]
        whole = list(rows)
    except csv.Error:  # a value of over 128 kB: most likely a quote that is not closed, which reading will report
        return {}
    if len(text) >= SAMPLE_BYTES // 4:
        whole = whole[:-1]
    fitting = [row for row in whole if len(row) == len(names)]
    return {name: [row[number] for row in fitting] for number, name in enumerate(names)}


@contextmanager
def opened(file: CsvFile) -> Iterator[IO[bytes]]:
    """The bytes of a file, unzipped where they are gzipped, whatever the file is called."""
    with file.path.fs.open(file.path.path, "rb") as raw:
        zipped = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        if not zipped:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
            yield stream  # type: ignore[misc]


def read_header(file: CsvFile, source: Source, options: CsvOptions, *, block_bytes: int) -> list[str]:
    """The column names of a file; raises where a needed one is missing or there twice."""
    assert options.encoding is not None
    with said_plainly(source.name, file.name), opened(file) as stream:
        return _header(_Lines(stream, options.encoding, block_bytes), source, file.name, options)


def _header(lines: _Lines, source: Source, file: str, options: CsvOptions) -> list[str]:
    assert options.delimiter is not None
    if not lines.beginning:
        raise SourceError(f"{file} is empty: it has not even a line with column names.")
    try:
        names = header(lines.beginning[:SAMPLE_BYTES].decode("utf-8", errors="replace"), options.delimiter)
    except csv.Error:
        raise SourceError(f"{file}: the line with the column names cannot be read; is a quote not closed?") from None
    shown = ", ".join(names)
    if any("\ufffd" in name for name in names):
        raise SourceError(
            f"{file}: the column names are not {options.encoding} text; set {source.name}.csv.encoding in sources.yaml."
        )
    problems = []
    for column in source.needed_columns:
        if column not in names:
            near = nearest(column, [name for name in names if name])
            meant = f"; did you mean {near!r}?" if near else "."
            problems.append(f"{file} has no column {column!r}{meant}")
        elif names.count(column) > 1:
            problems.append(f"{file} has {names.count(column)} columns called {column!r}; rename one of them.")
    if problems:
        raise SourceError(f"{' '.join(problems)} Its columns: {shown}. (The delimiter is {options.delimiter!r}.)")
    return names


def _read_stream(
    stream: IO[bytes], source: Source, file: str, options: CsvOptions, *, batch_rows: int, block_bytes: int
) -> Iterator[RawBatch]:
    assert options.encoding is not None
    assert options.delimiter is not None
    lines = _Lines(stream, options.encoding, block_bytes)
    names = _header(lines, source, file, options)
    malformed: list[tuple[int, str]] = []  # record number and text, in the order of the file

    def set_aside(row: Any) -> str:
        malformed.append((row.number, row.text))
        return "skip"

    raw_header = next(csv.reader(io.StringIO(lines.beginning[:SAMPLE_BYTES].decode("utf-8"), newline=""), delimiter=options.delimiter))
    numbering = _Numbering(lines.skipped + sum(map(line_breaks, raw_header)))
    try:
        reader = pyarrow.csv.open_csv(
            pa.PythonFile(lines, mode="r"),
            # Threads would leave the parser without row numbers.
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=block_bytes),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=options.delimiter,
                newlines_in_values=True,
                ignore_empty_lines=False,  # they come as empty rows then, and the numbers stay right
                invalid_row_handler=set_aside,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(raw_header, pa.binary()), strings_can_be_null=False
            ),
        )
        batches = itertools.chain(reader, [None])
        batch = next(batches)
        while batch is not None:
            following = next(batches)
            yield from _raw_batches(batch, names, source, file, options, numbering, malformed, batch_rows, lines if following is None else None)
            batch = following
    except pa.ArrowInvalid as error:
        text = str(error)
        if "straddling object" in text or "block size" in text:
            raise SourceError(
                f"{file}: a row after line {numbering.line} is longer than {block_bytes:,} bytes; "
                "is a quote not closed there? Else raise CSV_BLOCK_BYTES."
            ) from None
        raise SourceError(f"{file}: after line {numbering.line} this is no CSV: {text.splitlines()[0]}") from None
    left_over = numbering.rest(malformed)
    if left_over:
        empty = pa.RecordBatch.from_pylist([], schema=_schema(source))
        yield _with_malformed(empty, file, left_over, options, blank_lines=0)
