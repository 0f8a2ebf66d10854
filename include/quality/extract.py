"""Streaming a source through the row rules.

    raw batches  ->  landed rows (our columns and types, and the place of each)  +  quarantined rows

What was read is always what was landed, plus what was quarantined, plus what lies outside the wanted period.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import configs
from include.ahead import ahead, side_by_side
from include.progress import Progress
from include.quality.conversion import column_types, landing_schema, prepared, select_list
from include.quality.quarantine import QuarantinedRow, QuarantineWriter, Quarantining, place_of
from include.schemas.rules import Rule, row_rules
from include.sources.definition import CHANGED_AT, Source, ValueFormat
from include.sources.raw_batch import ROW_COLUMN, MalformedRow, RawBatch
from include.staging.sql import literal, quoted
from include.staging.storage import engine, remove_tree, written_aside

if TYPE_CHECKING:
    import duckdb
    from airflow.sdk import ObjectStoragePath

log = logging.getLogger(__name__)

PART_ROWS = 2_000_000
GATHERED_BYTES = 64_000_000  # batches are put together up to here: a few rows may hold large values
BATCHES_AHEAD = 1  # read while others are judged
JUDGES = 2  # batches judged at the same time: much of it runs in one thread of the engine
FILE = "_file"
BROKEN, OUTSIDE = "_broken", "_outside"


@dataclass
class Extracted:
    """What became of the rows of one source. `by_rule` counts broken rules; a row may break several."""

    kind: str
    name: str = ""
    read: int = 0
    good: int = 0
    quarantined: int = 0
    outside_window: int = 0
    blank_lines: int = 0
    by_rule: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def as_reference(self) -> dict[str, Any]:
        return asdict(self)


def extract_rows(
    source: Source,
    batches: Iterable[RawBatch],
    options: ValueFormat,
    *,
    target: ObjectStoragePath,
    run_id: str,
    latest: datetime,
    start: date | None = None,
    end: date | None = None,
    changed_since: datetime | None = None,
) -> Extracted:
    """Land the good rows of `batches` below `target` and quarantine the others.

    `latest` is the last instant (UTC, without a zone) that is not in the future; `start` and `end` are the first and
    the last day, in the business time zone, of the sessions wanted; good rows that changed before `changed_since` (UTC
    without a zone) are not wanted either, those that do not say when they changed are.
    """
    name = source.name
    remove_tree(target / "landing" / name)
    remove_tree(target / "quarantine" / name)
    found = Extracted(source.kind.name, name)
    rules = {rule.name: rule for rule in row_rules(source.kind, column_types(source), latest)}
    quarantining = Quarantining.of(source, run_id=run_id, latest=latest)
    zone = options.timezone or configs.BUSINESS_TIMEZONE
    with (
        engine() as connection,
        _Parts(target / "landing" / name, landing_schema(source)) as parts,
        QuarantineWriter(target / "quarantine" / name / "rows.parquet") as quarantine,
        Progress(f"{name}.extract", unit="rows") as progress,
    ):
        outside = _outside(source, start, end, changed_since)
        idle: SimpleQueue[duckdb.DuckDBPyConnection] = SimpleQueue()
        for _ in range(JUDGES):
            cursor = connection.cursor()
            cursor.execute(f"SET TimeZone = '{zone}'")
            idle.put(cursor)

        def split(batch: _Gathered) -> _Split:
            cursor = idle.get()
            try:
                return _split(cursor, source, options, batch, rules, outside)
            finally:
                idle.put(cursor)

        # Reading, judging and writing side by side. What is closed ends before the engine that it uses.
        with closing(ahead(_gathered(batches), BATCHES_AHEAD)) as gathered:
            for done in side_by_side(split, gathered, JUDGES):
                found.read += done.batch.read
                found.good += done.good.num_rows
                found.outside_window += done.outside
                found.quarantined += done.bad.num_rows + len(done.batch.malformed)
                found.blank_lines += done.batch.blank_lines
                parts.write(done.good)
                quarantine.write(_quarantined(done, source, quarantining, rules, found))
                progress.advance(done.batch.read)
        found.files = parts.finish()
    for rule, examples in found.examples.items():
        log.warning(
            "%s: rows that broke %s: %s, such as: %s", name, rule, f"{found.by_rule[rule]:,}", "; ".join(examples)
        )
    return found


@dataclass(frozen=True)
class _Gathered:
    """Several batches of the same columns as one, with the file of each row: a file of a day each makes small ones."""

    rows: pa.Table
    malformed: tuple[tuple[str, MalformedRow], ...]
    blank_lines: int

    @property
    def read(self) -> int:
        """Rows of any kind."""
        return int(self.rows.num_rows) + len(self.malformed)


def _gathered(batches: Iterable[RawBatch]) -> Iterator[_Gathered]:
    held: list[RawBatch] = []
    rows = size = 0
    try:
        for batch in batches:
            rows, size = rows + batch.rows.num_rows, size + batch.rows.nbytes
            is_full = rows > configs.EXTRACT_BATCH_ROWS or size > GATHERED_BYTES
            if held and (is_full or batch.rows.schema != held[0].rows.schema):
                yield _together(held)
                held, rows, size = [], batch.rows.num_rows, batch.rows.nbytes
            held.append(batch)
        if held:
            yield _together(held)
    finally:
        if isinstance(batches, Generator):
            batches.close()  # whoever stops early lets go of the source: its connection, its files in a bucket


def _together(batches: list[RawBatch]) -> _Gathered:
    files = pa.chunked_array([pa.repeat(one.file, one.rows.num_rows) for one in batches], pa.string())
    return _Gathered(
        # In one piece: several are read by several threads, and then come out in any order.
        pa.Table.from_batches([one.rows for one in batches]).append_column(FILE, files).combine_chunks(),
        tuple((one.file, line) for one in batches for line in one.malformed),
        sum(one.blank_lines for one in batches),
    )


@dataclass(frozen=True)
class _Split:
    """The landed rows of a batch; its bad rows as they came, with the rules they broke, and their keys."""

    batch: _Gathered
    good: pa.Table
    bad: pa.Table
    keys: list[str | None]
    outside: int


def _split(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    options: ValueFormat,
    batch: _Gathered,
    rules: dict[str, Rule],
    outside: str,
) -> _Split:
    raw = batch.rows.drop_columns([FILE])
    connection.register("raw", prepared(raw))
    select = f"SELECT {select_list(source, options, raw.schema)} FROM raw"
    converted = judged(connection, select, source, rules, outside)
    for place in (FILE, ROW_COLUMN):
        converted = converted.append_column(place, batch.rows[place])
    broken = pc.greater(pc.list_value_length(converted[BROKEN]), 0)
    unwanted = pc.and_(pc.invert(broken), pc.fill_null(converted[OUTSIDE], False))
    wanted = pc.invert(pc.or_(broken, unwanted))
    landed = converted if pc.all(wanted).as_py() else converted.filter(wanted)
    schema = landing_schema(source)
    broken_rows = converted.filter(broken)
    bad = batch.rows.filter(broken).append_column(BROKEN, broken_rows[BROKEN])
    keys = broken_rows[identity(source)].to_pylist()
    return _Split(batch, landed.select(schema.names).cast(schema), bad, keys, pc.sum(unwanted).as_py() or 0)


def identity(source: Source) -> str:
    """Our column by which people know a row: the session, the client, the order."""
    return source.kind.columns[0].name


def judged(
    connection: duckdb.DuckDBPyConnection, select: str, source: Source, rules: dict[str, Rule], outside: str = "false"
) -> pa.Table:
    """Our columns of the converted rows that `select` gives, the rules each breaks, and whether it is not wanted.

    The engine keeps the order of the rows.
    """
    ours = ", ".join(quoted(name) for name in column_types(source))
    names = ", ".join(f"CASE WHEN {rule.condition} THEN '{rule.name}' END" for rule in rules.values())
    rows = connection.sql(
        f"""
        SELECT {ours},
               list_filter([{names}], lambda name: name IS NOT NULL) AS {BROKEN},
               {outside} AS {OUTSIDE}
        FROM ({select})
        """
    )
    assert rows is not None  # it is a query
    table: pa.Table = rows.to_arrow_table()
    return table


def _outside(source: Source, start: date | None, end: date | None, changed_since: datetime | None) -> str:
    """SQL: whether a row is not wanted: a session that began on another day, or a row that changed before."""
    bounds = [f"{CHANGED_AT} < TIMESTAMP '{changed_since}'"] if changed_since and source.changed_at else []
    if source.kind.name == "sessions":
        day = f"timezone({literal(configs.BUSINESS_TIMEZONE)}, timezone('UTC', session_start_date))::DATE"
        bounds += [f"{day} < DATE '{start}'"] if start else []
        bounds += [f"{day} > DATE '{end}'"] if end else []
    return " OR ".join(bounds) or "false"


def _quarantined(
    done: _Split,
    source: Source,
    quarantining: Quarantining,
    rules: dict[str, Rule],
    found: Extracted,
) -> Iterator[QuarantinedRow]:
    counts: Counter[str] = Counter(found.by_rule)
    blamed = {name: _theirs(source, rule.columns[0]) for name, rule in rules.items()}
    for values, key in zip(done.bad.to_pylist(), done.keys, strict=True):
        broken, row, file = values.pop(BROKEN), values.pop(ROW_COLUMN), values.pop(FILE)
        for name in broken:
            counts[name] += 1
            column = blamed[name]
            held = f" (it holds {str(values[column])[:100]!r})" if values.get(column) is not None else ""
            _remember(found, name, f"{place_of(source, file, row, key)}: {rules[name].sentence}{held}")
        raw = orjson.dumps(values, default=str).decode()
        yield quarantining.row(file, row, key, broken, "raw", raw)
    for file, line in done.batch.malformed:
        counts[line.rule] += 1
        place = place_of(source, file, line.row, None)
        _remember(found, line.rule, f"{place}: {line.rule.replace('_', ' ')} ({line.text[:100]!r})")
        yield quarantining.row(file, line.row, None, [line.rule], "text", line.text)
    found.by_rule = dict(sorted(counts.items()))


def _theirs(source: Source, column: str) -> str:
    """The user's name of one of our columns; our own where several fill it."""
    if column in source.typed_columns:
        return source.typed_columns[column][1]
    if column in source.conditions:
        return source.conditions[column].column
    mapping = source.columns.get(column)
    return mapping.needs[0] if mapping and len(mapping.needs) == 1 else column


def _remember(found: Extracted, rule: str, example: str) -> None:
    examples = found.examples.setdefault(rule, [])
    if len(examples) < configs.MAX_QUARANTINED_ROWS_LOGGED:
        examples.append(example)


class _Parts:
    """Landed rows in files of at most about PART_ROWS, each appearing whole."""

    def __init__(self, folder: ObjectStoragePath, schema: pa.Schema) -> None:
        self._folder, self._schema = folder, schema
        self._files: list[str] = []
        self._rows = 0
        self._open: ExitStack | None = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        self._next()
        return self

    def write(self, rows: pa.Table) -> None:
        if self._rows >= PART_ROWS:
            self._close()
            self._next()
        if rows.num_rows and self._writer is not None:
            self._writer.write_table(rows)
            self._rows += rows.num_rows

    def finish(self) -> list[str]:
        """Close the last part; the files. There is always one, so that the columns are known."""
        self._close()
        return self._files

    def _next(self) -> None:
        target = self._folder / f"part-{len(self._files):05d}.parquet"
        self._open = ExitStack()
        scratch = self._open.enter_context(written_aside(target))
        self._writer = self._open.enter_context(
            # Read once and whole: nobody asks for the smallest and largest values.
            pq.ParquetWriter(scratch, self._schema, compression="zstd", use_dictionary=False, write_statistics=False)
        )
        self._files.append(str(target))
        self._rows = 0

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            self._open.__exit__(kind, error, trace)
