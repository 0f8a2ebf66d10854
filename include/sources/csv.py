"""CSV files on a disk or an object store, streamed as Arrow batches.

Memory stays below about fifty times `block_bytes` (the parser reads ahead), whatever the size of a file. One byte that
is no text costs one row, not the file. Line numbers are exact: the parser numbers records, and the line breaks inside
quoted values, inside malformed rows and before the header are counted on top.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import logging
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

import configs
from include.sources.blanks import blank, null_where, places_and_bytes
from include.sources.csv_files import CsvFile, csv_files
from include.sources.csv_format import (
    Ambiguous,
    Unreadable,
    detect_date_format,
    detect_decimal,
    detect_delimiter,
    detect_encoding,
)
from include.sources.definition import CsvOptions, Source, nearest
from include.sources.problems import SourceError, said_plainly
from include.sources.raw_batch import (
    MALFORMED_TEXT_CHARACTERS,
    NOT_VALID_TEXT,
    QUOTE_NOT_CLOSED,
    ROW_COLUMN,
    WRONG_NUMBER_OF_COLUMNS,
    MalformedRow,
    RawBatch,
)

log = logging.getLogger(__name__)

SAMPLE_BYTES = 1_000_000  # how much of the first files the detection looks at
PIECE_BYTES = 16_384
SAMPLE_FILES = 20  # how many of them at most
MALFORMED_IN_A_ROW_CHARACTERS = 64_000_000  # a file with more malformed rows than this on end is not worth reading
BLANK_LINES = re.compile(r"(?:[ \t]*(?:\r\n|\n|\r))*")

# A byte that is no text becomes one of 256 characters that nobody uses, so that the parser reads on and the row can be
# found; the parser itself gives up at such a byte.
FIRST_STAND_IN = 0x10FF00
STAND_IN = re.compile("[\U0010ff00-\U0010ffff]")
STAND_IN_BYTES = b"\xf4\x8f"  # what they begin with in UTF-8: quick to look for
STAND_IN_HANDLER = "customer_analytics_stand_in"


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(FIRST_STAND_IN + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(STAND_IN_HANDLER, _stand_in)


def read_csv(
    source: Source,
    *,
    batch_rows: int,
    block_bytes: int,
    options: CsvOptions | None = None,
    files: list[CsvFile] | None = None,
) -> Iterator[RawBatch]:
    """The rows of all files of a source, at most `batch_rows` at once.

    `options` are those of `resolve_csv_options`, which is asked where they are left out; so are `files`. Values are
    text, and null where they are empty or blank; lines without any value are counted and left out. A row with more or
    fewer values than the header, or with bytes that are no text, comes as a malformed one.
    """
    files = csv_files(source) if files is None else files
    options = resolve_csv_options(source, files) if options is None else options
    for file in files:
        with said_plainly(source.name, file.name), file.opened() as stream:
            yield from _CsvReader(stream, source, file.name, options, block_bytes).batches(batch_rows)


def csv_header(source: Source, file: CsvFile, options: CsvOptions) -> list[str]:
    """The column names of a file; raises where one that is needed is missing or there twice."""
    with said_plainly(source.name, file.name), file.opened() as stream:
        return _CsvReader(stream, source, file.name, options, SAMPLE_BYTES).names


def estimated_rows(source: Source, files: list[CsvFile], options: CsvOptions) -> int:
    """About how many rows the files have: as many for each byte stored as at their beginning."""
    assert options.encoding is not None
    assert options.delimiter is not None
    rows, sampled, left = 0, 0, SAMPLE_BYTES
    for file in files[:SAMPLE_FILES]:
        with said_plainly(source.name, file.name), file.opened() as stream:
            sample = stream.read(left)
            is_whole = len(sample) < left
            sampled += file.size if is_whole else getattr(stream, "fileobj", stream).tell()
        text = codecs.getincrementaldecoder(options.encoding)(errors="replace").decode(sample)
        try:
            records = sum(any(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=options.delimiter))
        except csv.Error:  # a value of over 128 kB
            records = line_breaks(text)
        rows += max(records - 1, 0)
        left -= len(sample)
        if not left:
            break
    return round(rows * sum(file.size for file in files) / sampled) if sampled else 0


def resolve_csv_options(source: Source, files: list[CsvFile] | None = None) -> CsvOptions:
    """The source's CSV options with everything filled in that was left open, told from the beginning of its files."""
    files = csv_files(source) if files is None else files
    given, samples, left = source.csv, [], SAMPLE_BYTES
    # The first file is enough, unless it is small: the one for a quiet day may have no row at all.
    for file in files[:SAMPLE_FILES]:
        with said_plainly(source.name, file.name), file.opened() as stream:
            samples.append(stream.read(left))
        left -= len(samples[-1])
        if not left:
            break
    options = _resolved(source, files[0].name, samples, is_cut_off=not left)
    found = {
        name: getattr(options, name) for name in ("delimiter", "encoding", "decimal") if getattr(given, name) is None
    }
    dates = {name: form or "ISO 8601" for name, form in options.date_format.items() if name not in given.date_format}
    if found or dates:
        log.info("%s: told from the beginning of %s: %s", source.name, files[0].name, found | dates)
    return options


def _resolved(source: Source, file: str, samples: list[bytes], *, is_cut_off: bool) -> CsvOptions:
    def undecided(option: str, error: Exception, *columns: str) -> SourceError:
        where = "".join(f", column {column!r}" for column in columns)
        return SourceError(f"{source.name}: {file}{where}: {error}; set {source.name}.csv.{option} in sources.yaml.")

    given = source.csv
    try:
        encoding = given.encoding or detect_encoding(b"".join(samples))
    except Unreadable as error:
        raise undecided("encoding", error) from None
    decoded = [codecs.getincrementaldecoder(encoding)(errors="replace").decode(sample) for sample in samples]
    texts = [text[_blank_beginning(text) :] for text in (text.removeprefix("\ufeff") for text in decoded)]
    delimiter = given.delimiter or detect_delimiter(texts[0], source.needed_columns)
    columns: dict[str, list[str]] = {}
    for text in texts:
        for name, values in _columns_of(text, delimiter, is_cut_off=is_cut_off and text is texts[-1]).items():
            columns.setdefault(name, []).extend(values)
    decimal = given.decimal
    if decimal is None:
        numbers = source.number_columns
        try:
            decimal = detect_decimal(value for column in numbers for value in columns.get(column, ())) or "."
        except Ambiguous as error:
            raise undecided("decimal", error, *numbers) from None
    formats = dict(given.date_format)
    for name, (kind, column) in source.typed_columns.items():
        if kind == "instant" and name not in formats:
            try:
                formats[name] = detect_date_format(columns.get(column, ())).format
            except (Ambiguous, Unreadable) as error:
                raise undecided("date_format", error, column) from None
    return CsvOptions(delimiter, encoding, decimal, formats, given.timezone or configs.BUSINESS_TIMEZONE)


def _columns_of(text: str, delimiter: str, *, is_cut_off: bool) -> dict[str, list[str]]:
    """The values of a sample by column. Misshapen rows are left out, and the last one where the sample cuts it off."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:  # a value of over 128 kB: most likely a quote that is not closed, which reading will report
        return {}
    names = [name.strip() for name in rows[0]] if rows else []
    fitting = [row for row in rows[1 : len(rows) - is_cut_off] if len(row) == len(names)]
    return {name: [row[number] for row in fitting] for number, name in enumerate(names)}


def _blank_beginning(text: str) -> int:
    beginning = BLANK_LINES.match(text)
    return beginning.end() if beginning else 0


def line_breaks(text: str) -> int:
    """How many times a text goes to a new line, by any system's habit."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


class _Utf8(io.RawIOBase):
    """A stream as UTF-8 from the header on: without a byte order mark or blank lines before it (`skipped` counts them).

    `beginning` is what the first read will return; `has_stand_ins` is whether a byte so far was no text, `has_quotes`
    whether there was a quote.
    """

    def __init__(self, stream: IO[bytes], encoding: str, block_bytes: int) -> None:
        self._stream, self._block_bytes = stream, block_bytes
        self._decoder = codecs.getincrementaldecoder(encoding)(errors=STAND_IN_HANDLER)
        self._is_utf8 = codecs.lookup(encoding).name == "utf-8"
        self._ready, self._ended, self.skipped = b"", False, 0
        self.has_stand_ins = self.has_quotes = False
        self.tail = b""
        while not self._ready and not self._ended:
            block = self._block().removeprefix(codecs.BOM_UTF8)
            text = block.decode()
            blank = _blank_beginning(text)  # characters, and as many bytes
            self.skipped += line_breaks(text[:blank])
            self._ready = block[blank:]
        self._fill(block_bytes)
        if self._ended and self._ready and not self._ready.endswith((b"\n", b"\r")):
            self._ready += b"\n"  # the parser refuses a header without an end
        self.beginning = self._ready[:block_bytes]

    def _raw_block(self) -> bytes:
        raw = self._stream.read(self._block_bytes)
        self._ended = not raw
        return raw

    def _encoded(self, text: str) -> bytes:
        encoded = text.encode(errors="replace")  # an encoding can make lone surrogates, which UTF-8 cannot hold
        if not self.has_stand_ins and STAND_IN_BYTES in encoded:
            self.has_stand_ins = STAND_IN.search(text) is not None
        return encoded

    def _fill(self, size: int) -> None:
        while len(self._ready) < size and not self._ended:
            self._ready += self._block()

    def _block(self) -> bytes:
        raw = self._raw_block()
        # In pieces: where few rows are beyond ASCII, few are decoded.
        block = b"".join(self._piece(raw[at : at + PIECE_BYTES]) for at in range(0, max(len(raw), 1), PIECE_BYTES))
        self.has_quotes = self.has_quotes or b'"' in block
        return block

    def _piece(self, raw: bytes) -> bytes:
        if self._is_utf8 and raw.isascii() and not self._ended and not self._decoder.getstate()[0]:
            return raw  # as it would come out again
        return self._encoded(self._decoder.decode(raw, final=self._ended))

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        self._fill(size)
        piece, self._ready = self._ready[:size], self._ready[size:]
        self.tail = (self.tail + piece[-3:])[-3:]
        return piece


class _LineNumbers:
    """Turns the parser's record numbers into line numbers. `line` is where the next record begins."""

    def __init__(self, line: int) -> None:
        self.record, self.line = 2, line  # record 1 is the header

    def place(
        self, breaks: npt.NDArray[np.int64], malformed: list[tuple[int, str]]
    ) -> tuple[npt.NDArray[np.int64], list[tuple[int, str]]]:
        """The lines of the next rows, given the line breaks within each, and of the malformed records among them.

        `malformed` are record numbers and texts in order; those placed are removed from it, the rest come later.
        """
        known = np.array([number for number, _ in malformed], dtype=np.int64)
        candidates = np.arange(self.record, self.record + len(breaks) + len(known))
        rows = np.setdiff1d(candidates, known, assume_unique=True)[: len(breaks)]
        end = int(rows[-1]) + 1 if len(rows) else self.record
        taken = 0
        while taken < len(malformed) and malformed[taken][0] <= end:
            end = max(end, malformed[taken][0] + 1)
            taken += 1
        here = malformed[:taken]
        del malformed[:taken]
        within = np.zeros(end - self.record, dtype=np.int64)
        within[rows - self.record] = breaks
        for number, text in here:
            within[number - self.record] = line_breaks(text)
        starts = self.line + np.arange(len(within)) + np.cumsum(within) - within
        lines = starts[rows - self.record]
        placed = [(int(starts[number - self.record]), text) for number, text in here]
        self.line += len(within) + int(within.sum())
        self.record = end
        return lines, placed


class _CsvReader:
    """Reads one file; see `read_csv`. `names` are its column names, checked against what the source needs."""

    def __init__(self, stream: IO[bytes], source: Source, file: str, options: CsvOptions, block_bytes: int) -> None:
        assert options.encoding is not None
        assert options.delimiter is not None
        self.source, self.file, self.block_bytes = source, file, block_bytes
        self._place = f"{source.name}: {file}"  # as a sentence on what is wrong begins
        self.encoding, self.delimiter = options.encoding, options.delimiter
        self.stream = _Utf8(stream, options.encoding, block_bytes)
        self.raw_names = self._header()
        self.names = [name.strip() for name in self.raw_names]
        self._check_names()
        self.positions = {column: self.names.index(column) for column in source.needed_columns}
        self.numbers = _LineNumbers(2 + self.stream.skipped + sum(map(line_breaks, self.raw_names)))
        self.malformed: list[tuple[int, str]] = []  # the parser is ahead of the batches: not all belong to the next one
        self.malformed_characters = 0

    def _header(self) -> list[str]:
        if not self.stream.beginning:
            raise SourceError(f"{self._place} is empty: it has not even a line with column names.")
        beginning = self.stream.beginning[:SAMPLE_BYTES].decode(errors="replace")
        try:
            return next(csv.reader(io.StringIO(beginning, newline=""), delimiter=self.delimiter, strict=True))
        except csv.Error:
            raise SourceError(f"{self._place}: the column names cannot be read; is a quote not closed there?") from None

    def _check_names(self) -> None:
        if any(STAND_IN.search(name) for name in self.names):
            remedy = f"set {self.source.name}.csv.encoding in sources.yaml"
            raise SourceError(f"{self._place}: the column names are not {self.encoding} text; {remedy}.")
        mistakes = []
        for column in self.source.needed_columns:
            if column not in self.names:
                near = nearest(column, filter(None, self.names))
                mistakes.append(f"no column {column!r}" + (f" (did you mean {near!r}?)" if near else ""))
            elif self.names.count(column) > 1:
                mistakes.append(f"{self.names.count(column)} columns called {column!r}, of which only one may stay")
        if mistakes:
            there = ", ".join(repr(name) for name in self.names[:50])
            raise SourceError(
                f"{self._place} has {' and '.join(mistakes)}; read with the delimiter {self.delimiter!r} "
                f"its columns are {there}. Correct {self.source.name} in sources.yaml."
            )

    def batches(self, batch_rows: int) -> Iterator[RawBatch]:
        failure: pa.ArrowInvalid | None = None
        parser: Iterator[pa.RecordBatch] = iter(())
        try:
            parser = self._parser()
            batch = next(parser, None)
        except pa.ArrowInvalid as error:
            batch, failure = None, error
        while batch is not None:
            # One batch ahead: only the last one can end in a quote that nothing closes.
            try:
                following = next(parser, None)
            except pa.ArrowInvalid as error:
                following, failure = None, error
            raw = self._raw_batch(batch, is_last=following is None and failure is None)
            yield from _sliced(raw, batch_rows)
            batch = following
        if failure is not None:
            raise self._said(failure) from None
        _, rest = self.numbers.place(np.zeros(0, dtype=np.int64), self.malformed)
        if rest:
            nothing = pa.RecordBatch.from_pylist([], schema=self._schema())
            malformed, blank_lines = self._sorted_out(rest)
            yield RawBatch(nothing, self.file, tuple(malformed), blank_lines)

    def _parser(self) -> Iterator[pa.RecordBatch]:
        reader: Iterator[pa.RecordBatch] = pyarrow.csv.open_csv(
            pa.PythonFile(self.stream, mode="r"),
            # With threads the parser does not know row numbers.
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=self.block_bytes),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=self.delimiter,
                newlines_in_values=True,
                ignore_empty_lines=False,  # they come as rows without values then, and the numbers stay right
                invalid_row_handler=self._set_aside,
            ),
            # All columns, needed or not: any of them can hold line breaks.
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(self.raw_names, pa.string()), strings_can_be_null=False, check_utf8=False
            ),
        )
        return reader

    def _set_aside(self, row: Any) -> str:
        self.malformed.append((row.number, row.text))
        self.malformed_characters += len(row.text)
        return "skip" if self.malformed_characters <= MALFORMED_IN_A_ROW_CHARACTERS else "error"

    def _said(self, failure: pa.ArrowInvalid) -> SourceError:
        line, text = self.numbers.line, str(failure)
        if self.malformed_characters > MALFORMED_IN_A_ROW_CHARACTERS:
            return SourceError(
                f"{self._place}: from line {line} on, no row has as many values as there are column names "
                f"({len(self.names)}, with the delimiter {self.delimiter!r}); correct the file or "
                f"{self.source.name}.csv.delimiter in sources.yaml."
            )
        if "straddling" in text or "block size" in text:
            return SourceError(
                f"{self._place}: a row at or after line {line} is longer than {self.block_bytes:,} bytes; "
                "is a quote not closed there? If not, raise CSV_BLOCK_BYTES."
            )
        return SourceError(f"{self._place}: from line {line} on this cannot be read as CSV: {text.splitlines()[0]}")

    def _schema(self) -> pa.Schema:
        fields = [pa.field(column, pa.string()) for column in self.positions]
        return pa.schema([*fields, pa.field(ROW_COLUMN, pa.int64())])

    def _raw_batch(self, batch: pa.RecordBatch, *, is_last: bool) -> RawBatch:
        columns = batch.columns
        quoted = columns if self.stream.has_quotes else []  # without a quote no value holds a line break
        lines, placed = self.numbers.place(_breaks_within(quoted, batch.num_rows), self.malformed)
        self.malformed_characters = sum(len(text) for _, text in self.malformed)
        malformed, blank_lines = self._sorted_out(placed)
        blanks = {position: blank(columns[position]) for position in self.positions.values()}
        empty = np.logical_and.reduce(list(blanks.values()))
        if empty.any():
            others = [blank(column) for position, column in enumerate(columns) if position not in blanks]
            empty = np.logical_and.reduce([empty, *others])
        is_last = is_last and len(lines) > 0 and not self.malformed  # a batch may be empty
        ends_the_file = is_last and (not placed or placed[-1][0] < lines[-1])
        unreadable = self._unreadable(columns, ends_the_file=ends_the_file)
        for rule, rows in unreadable.items():
            for row in np.flatnonzero(rows & ~empty):
                text = self.delimiter.join(column[int(row)].as_py() for column in columns)
                malformed.append(MalformedRow(int(lines[row]), _kept(text), rule))
        keep = ~np.logical_or.reduce([empty, *unreadable.values()])
        arrays = [null_where(columns[position], blanks[position]) for position in self.positions.values()]
        rows = pa.RecordBatch.from_arrays([*arrays, pa.array(lines)], schema=self._schema())
        if not keep.all():
            rows = rows.filter(pa.array(keep))
        malformed.sort(key=lambda one: one.row)
        return RawBatch(rows, self.file, tuple(malformed), blank_lines + int(empty.sum()))

    def _unreadable(self, columns: list[pa.Array], *, ends_the_file: bool) -> dict[str, npt.NDArray[np.bool_]]:
        """Which rows cannot be taken as they are, by rule."""
        rows = len(columns[0])
        found = {}
        if self.stream.has_stand_ins:
            needed = [columns[position] for position in self.positions.values()]
            found[NOT_VALID_TEXT] = np.logical_or.reduce([np.zeros(rows, bool), *map(_with_stand_ins, needed)])
        # What swallows the rest of the file is the last value of the last row, and no quote ends it.
        if ends_the_file and line_breaks(columns[-1][-1].as_py()) and not self.stream.tail.rstrip().endswith(b'"'):
            found[QUOTE_NOT_CLOSED] = np.arange(rows) == rows - 1
        return found

    def _sorted_out(self, placed: Iterable[tuple[int, str]]) -> tuple[list[MalformedRow], int]:
        """The rows that could not be split, without those that hold nothing but delimiters; how many those are."""
        placed = list(placed)
        nothing = f'{self.delimiter}" \t\r\n'
        told = [
            MalformedRow(line, _kept(text), WRONG_NUMBER_OF_COLUMNS) for line, text in placed if text.strip(nothing)
        ]
        return told, len(placed) - len(told)


def _sliced(raw: RawBatch, batch_rows: int) -> Iterator[RawBatch]:
    yield RawBatch(raw.rows.slice(0, batch_rows), raw.file, raw.malformed, raw.blank_lines)
    for start in itertools.takewhile(lambda start: start < raw.rows.num_rows, itertools.count(batch_rows, batch_rows)):
        yield RawBatch(raw.rows.slice(start, batch_rows), raw.file)


def _kept(text: str) -> str:
    """A malformed row as it is shown: not endless, and with bytes that are no text as \\xNN."""
    shown = STAND_IN.sub(lambda one: f"\\x{ord(one[0]) - FIRST_STAND_IN:02x}", text[:MALFORMED_TEXT_CHARACTERS])
    return shown if len(text) <= MALFORMED_TEXT_CHARACTERS else f"{shown}…"


def _numpy(mask: pa.Array) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = mask.to_numpy(zero_copy_only=False)
    return found


def _with_stand_ins(column: pa.StringArray) -> npt.NDArray[np.bool_]:
    places, data = places_and_bytes(column)
    found = np.zeros(len(column), bool)
    found[np.searchsorted(places, np.flatnonzero(data == STAND_IN_BYTES[0]), side="right") - 1] = True
    if found.any():
        found[found] = _numpy(pc.match_substring_regex(column.filter(pa.array(found)), STAND_IN.pattern))
    return found


def _bytes(column: pa.Array) -> bytes:
    """All values of a column as the parser made it, one behind the other."""
    data = column.buffers()[2]
    return b"" if data is None else data.to_pybytes()


def _breaks_within(columns: list[pa.Array], rows: int) -> npt.NDArray[np.int64]:
    """How many line breaks are in each row's values."""
    found = np.zeros(rows, dtype=np.int64)
    for column in columns:
        text = _bytes(column)
        if b"\n" not in text and b"\r" not in text:
            continue  # nearly always, and far cheaper than counting
        count = [pc.count_substring(column, pattern).to_numpy() for pattern in ("\n", "\r", "\r\n")]
        found += count[0] + count[1] - count[2]
    return found
