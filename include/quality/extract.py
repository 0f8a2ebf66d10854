"""Streaming a source through the row rules.

    raw batches  ->  landed rows (our columns and types, and the place of each)  +  quarantined rows

What was read is always what was landed, plus what was quarantined, plus what lies outside the wanted period.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import configs
from include.progress import Progress
from include.quality.conversion import column_types, landing_schema, prepared, select_list
from include.quality.quarantine import QuarantinedRow, QuarantineWriter
from include.schemas.rules import Rule, row_rules
from include.sources.definition import CHANGED_AT, Source, ValueFormat
from include.sources.raw_batch import ROW_COLUMN, RawBatch
from include.staging.sql import literal
from include.staging.storage import engine, remove_tree, written_aside

if TYPE_CHECKING:
    import duckdb
    from airflow.sdk import ObjectStoragePath

log = logging.getLogger(__name__)

PART_ROWS = 2_000_000
BROKEN, OUTSIDE = "_broken", "_outside"


@dataclass
class Extracted:
    """What became of the rows of one source. `by_rule` counts broken rules; a row may break several."""

    kind: str
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
    kind = source.kind.name
    remove_tree(target / "landing" / kind)
    remove_tree(target / "quarantine" / kind)
    found = Extracted(kind)
    rules = {rule.name: rule for rule in row_rules(source.kind, column_types(source), latest)}
    zone = options.timezone or configs.BUSINESS_TIMEZONE
    with (
        engine() as connection,
        _Parts(target / "landing" / kind, landing_schema(source)) as parts,
        QuarantineWriter(target / "quarantine" / kind / "rows.parquet") as quarantine,
        Progress(f"{kind}.extract", unit="rows") as progress,
    ):
        connection.execute(f"SET TimeZone = '{zone}'")
        outside = _outside(source, start, end, changed_since)
        for batch in batches:
            good, bad = _split(connection, source, options, batch, rules, outside, found)
            parts.write(good)
            quarantine.write(_quarantined(bad, batch, source, run_id, rules, found))
            progress.advance(batch.rows.num_rows + len(batch.malformed))
        found.files = parts.finish()
    for rule, examples in found.examples.items():
        log.warning("%s: %s rows broke %s, such as: %s", kind, f"{found.by_rule[rule]:,}", rule, "; ".join(examples))
    return found


def _split(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    options: ValueFormat,
    batch: RawBatch,
    rules: dict[str, Rule],
    outside: str,
    found: Extracted,
) -> tuple[pa.Table, pa.Table]:
    """The landed rows of a batch, and (row, broken rules, raw values) of the bad ones; counts both."""
    raw = pa.Table.from_batches([batch.rows])
    connection.register("raw", prepared(raw))
    conditions = ", ".join(f"CASE WHEN {rule.condition} THEN '{rule.name}' END" for rule in rules.values())
    rows = connection.sql(
        f"""
        SELECT *, list_filter([{conditions}], lambda name: name IS NOT NULL) AS {BROKEN},
               {outside} AS {OUTSIDE}
        FROM (SELECT {select_list(source, options, raw.schema)} FROM raw)
        """
    )
    assert rows is not None  # it is a query
    converted = rows.to_arrow_table().append_column(ROW_COLUMN, raw[ROW_COLUMN])  # the engine keeps the order
    broken = pc.greater(pc.list_value_length(converted[BROKEN]), 0)
    outside = pc.and_(pc.invert(broken), pc.fill_null(converted[OUTSIDE], False))
    landed = converted.filter(pc.invert(pc.or_(broken, outside)))
    landed = landed.append_column("_file", pa.array([batch.file] * landed.num_rows, pa.string()))
    schema = landing_schema(source)
    bad = raw.filter(broken).append_column(BROKEN, converted.filter(broken)[BROKEN])
    found.read += raw.num_rows + len(batch.malformed)
    found.good += landed.num_rows
    found.outside_window += pc.sum(outside).as_py() or 0
    found.quarantined += bad.num_rows + len(batch.malformed)
    found.blank_lines += batch.blank_lines
    return landed.select(schema.names).cast(schema), bad


def _outside(source: Source, start: date | None, end: date | None, changed_since: datetime | None) -> str:
    """SQL: whether a row is not wanted: a session that began on another day, or a row that changed before."""
    bounds = [f"{CHANGED_AT} < TIMESTAMP '{changed_since}'"] if changed_since and source.changed_at else []
    if source.kind.name == "sessions":
        day = f"timezone({literal(configs.BUSINESS_TIMEZONE)}, timezone('UTC', session_start_date))::DATE"
        bounds += [f"{day} < DATE '{start}'"] if start else []
        bounds += [f"{day} > DATE '{end}'"] if end else []
    return " OR ".join(bounds) or "false"


def _quarantined(
    bad: pa.Table, batch: RawBatch, source: Source, run_id: str, rules: dict[str, Rule], found: Extracted
) -> Iterator[QuarantinedRow]:
    counts: Counter[str] = Counter(found.by_rule)
    for values in bad.to_pylist():
        broken, row = values.pop(BROKEN), values.pop(ROW_COLUMN)
        for name in broken:
            counts[name] += 1
            column = _theirs(source, rules[name].columns[0])
            held = f" (it holds {str(values[column])[:100]!r})" if values.get(column) is not None else ""
            _remember(found, name, f"{batch.file} line {row}: {rules[name].sentence}{held}")
        raw = orjson.dumps(values, default=str).decode()
        yield QuarantinedRow(source.name, batch.file, row, broken, raw, run_id)
    for line in batch.malformed:
        counts[line.rule] += 1
        _remember(
            found, line.rule, f"{batch.file} line {line.row}: {line.rule.replace('_', ' ')} ({line.text[:100]!r})"
        )
        yield QuarantinedRow(source.name, batch.file, line.row, [line.rule], line.text, run_id)
    found.by_rule = dict(sorted(counts.items()))


def _theirs(source: Source, column: str) -> str:
    """The user's name of one of our columns; our own where several fill it."""
    if column in source.typed_columns:
        return source.typed_columns[column][1]
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
        self._writer = self._open.enter_context(pq.ParquetWriter(scratch, self._schema, compression="zstd"))
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
