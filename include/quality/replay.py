"""Judging quarantined rows again, by the mapping and the rules of now.

    the quarantine of runs  +  what is staged  ->  rows to stage, and a verdict on every row: the rules it breaks now

A row passes when it would pass as part of a load; then it meets what is staged. A key that is not staged comes in. Of a
key that is staged, the row comes in only where it says that it changed later: an older row never takes the place of a
newer one, and of two that do not say when they changed the staged one stays, the other being its duplicate. A row that
equals the staged one is loaded already: so a replay that was killed, or is repeated, ends in the same state.

Lines of orders have no key, and a load replaces all that an order has. A line is added to its order only while that has
exactly the lines that were loaded together with it (and others that a replay added since).
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

import configs
from include.progress import Progress
from include.quality.conversion import ARROW_TYPES, SQL_TYPES, column_types, landing_schema, prepared, select_list
from include.quality.extract import BROKEN, judged
from include.quality.gate import require_expectations
from include.quality.quarantine import SCHEMA, SIBLINGS, QuarantinedRun, batches, mapping_of
from include.quality.validate import (
    LINES,
    find_duplicates,
    find_rows_of_others,
    find_too_many_values,
    find_unknown_clients,
    read_files,
)
from include.schemas.rules import (
    COLUMN_NOT_READ,
    MAPPING_CHANGED,
    ORDER_CHANGED,
    Rule,
    given,
    row_rules,
    set_rules,
    text_of,
)
from include.sources.csv import csv_header
from include.sources.csv_files import csv_files
from include.sources.definition import CHANGED_AT, CsvOptions, Source, ValueFormat
from include.sources.raw_batch import MALFORMED_TEXT_CHARACTERS, ROW_COLUMN, WRONG_NUMBER_OF_COLUMNS
from include.staging.merge import SOURCE, STAGED_IS_NEWER, TABLE_OF_KIND
from include.staging.snapshot import Snapshot
from include.staging.sql import literal, quoted
from include.staging.storage import engine, engine_url, remove_tree, storage, written_aside

if TYPE_CHECKING:
    import duckdb
    from airflow.sdk import ObjectStoragePath

log = logging.getLogger(__name__)

RUN, FILE, BEGAN, DONE = "_run", "_in_file", "_began", "_done"
PLACE = "_file"  # tells rows of several runs apart and sorts by their age; `_file` to the rules about whole loads
VERDICTS = pa.schema(
    [("run", pa.string()), ("file", pa.string()), ("row", pa.int64()), ("rules", pa.list_(pa.string()))]
)


@dataclass
class Replayed:
    """What became of the quarantined rows of one source.

    `considered` = `loaded` (staged now, or already) + `left`; `staged` are those that are new, `by_rule` counts what
    the left ones break. `files` are to be staged, `verdicts` is a Parquet file of `VERDICTS`.
    """

    kind: str
    name: str
    considered: int = 0
    loaded: int = 0
    left: int = 0
    staged: int = 0
    by_rule: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    verdicts: str = ""

    def as_reference(self) -> dict[str, Any]:
        return asdict(self)


def revalidate(
    source: Source,
    options: ValueFormat,
    runs: Sequence[QuarantinedRun],
    *,
    rules: Collection[str],
    customer_files: Sequence[str],
    earlier: Mapping[str, Sequence[str]],
    snapshot: Snapshot,
    target: ObjectStoragePath,
    run_id: str,
    latest: datetime,
) -> Replayed:
    """Judge what `runs` quarantined of a source and no replay has loaded; of `rules` only, unless there are none.

    `customer_files` are the customers that this replay loads, `earlier` what it loads of the sources of the same kind
    that come before this one in sources.yaml. Writes below `target` only. Raises `GateFailed`.
    """
    found = Replayed(source.kind.name, source.name)
    folder = target / "validated" / source.name
    remove_tree(folder)
    candidates, broken, file = folder / "candidates.parquet", folder / "broken.parquet", folder / "part-00000.parquet"
    zone = options.timezone or configs.BUSINESS_TIMEZONE
    with (
        engine(target) as connection,
        _Judged(candidates, broken, source) as judgements,
        Progress(f"{source.name}.revalidate", unit="rows") as progress,
    ):
        connection.execute(f"SET TimeZone = '{zone}'")
        reading = _Reading(connection, source, options, latest)
        for run in runs:
            for quarantined in run.files.get(source.name, ()):
                for batch in batches(quarantined):
                    rows = [row for row in batch.to_pylist() if _is_wanted(row, rules, keyless=not source.key)]
                    reading.judge(run.key, rows, judgements)
                    progress.advance(batch.num_rows)
    with engine(target) as connection:
        connection.execute(f"CREATE VIEW judged AS SELECT * FROM {read_files([str(candidates)])}")
        connection.execute(f"CREATE TABLE verdicts AS SELECT * FROM {read_files([str(broken)])}")
        connection.execute(f"CREATE TABLE broken ({PLACE} VARCHAR, {ROW_COLUMN} BIGINT, rule VARCHAR)")
        if source.key:
            _settle_rows(connection, source, snapshot, customer_files, earlier)
        else:
            _settle_lines(connection, source, snapshot, runs)
        found.staged = _write(connection, "SELECT * FROM to_stage", landing_schema(source), file)
        found.verdicts = str(folder / "verdicts.parquet")
        _write(connection, "SELECT run, file, row, rules FROM verdicts", VERDICTS, storage(found.verdicts))
        query = "SELECT count(*), count(*) FILTER (len(rules) = 0) FROM verdicts"
        ((found.considered, found.loaded),) = connection.execute(query).fetchall()
        query = "SELECT rule, count(*) FROM (SELECT unnest(rules) AS rule FROM verdicts) GROUP BY 1 ORDER BY 1"
        found.by_rule = dict(connection.execute(query).fetchall())
    found.left = found.considered - found.loaded
    found.files = [str(file)]
    candidates.unlink()
    broken.unlink()
    if found.staged:
        types = column_types(source)
        require_expectations(source.kind, types, found.files, run_id=run_id, latest=latest, source_name=source.name)
    return found


def runs_of(verdicts: str) -> list[str]:
    """The keys of the runs whose rows were judged."""
    with engine(storage(verdicts)) as connection:
        found = connection.execute(f"SELECT DISTINCT run FROM {read_files([verdicts])} ORDER BY 1").fetchall()
    return [str(run) for (run,) in found]


def mark(run: QuarantinedRun, source: str, verdicts: str) -> int:
    """Write the verdicts of one run's rows into its quarantine, file by file; how many of them are new.

    A row that is loaded is marked as replayed and keeps the rules it broke; another has the rules it breaks now.
    """
    changed = 0
    for file in run.files.get(source, ()):
        with engine(file) as connection:
            connection.execute(
                f"""
                CREATE VIEW found AS
                SELECT quarantined.* EXCLUDE (rules, is_replayed),
                       CASE WHEN len(verdict.rules) > 0 THEN verdict.rules ELSE quarantined.rules END AS rules,
                       coalesce(len(verdict.rules) = 0, quarantined.is_replayed) AS is_replayed,
                       verdict.rules IS NOT NULL AND (
                           (len(verdict.rules) = 0) != quarantined.is_replayed
                           OR (len(verdict.rules) > 0 AND verdict.rules != quarantined.rules)
                       ) AS is_changed
                FROM read_parquet({literal(engine_url(file))}, file_row_number = true) quarantined
                LEFT JOIN (
                    SELECT file, row, rules FROM {read_files([verdicts])} WHERE run = {literal(run.key)}
                ) verdict USING (file, row)
                """
            )
            ((new,),) = connection.execute("SELECT count(*) FILTER (is_changed) FROM found").fetchall()
            if new:
                _write(connection, "SELECT * FROM found ORDER BY file_row_number", SCHEMA, file)
                changed += int(new)
    return changed


def _is_wanted(row: dict[str, Any], rules: Collection[str], *, keyless: bool) -> bool:
    """Lines without a key that were loaded before are needed to know what their order had without them."""
    if row["form"] is None:
        return False  # an older version wrote it
    if row["is_replayed"]:
        return keyless
    return not rules or not {*rules}.isdisjoint(row["rules"])


# ── Each row by itself ──────────────────────────────────────────────────────────────────────────────────────────────


class _Judged:
    """Rows that break no rule of rows, with where each is from, and verdicts on the others."""

    def __init__(self, candidates: ObjectStoragePath, broken: ObjectStoragePath, source: Source) -> None:
        places = [(RUN, pa.string()), (BEGAN, pa.timestamp("us")), (FILE, pa.string())]
        places += [(PLACE, pa.string()), (ROW_COLUMN, pa.int64()), (DONE, pa.bool_())]
        ours = [(name, ARROW_TYPES[kind]) for name, kind in column_types(source).items()]
        self.schema = pa.schema([*ours, *places])
        self._targets = candidates, broken
        self._stack = ExitStack()

    def __enter__(self) -> _Judged:
        self._candidates, self._broken = (
            self._stack.enter_context(
                pq.ParquetWriter(self._stack.enter_context(written_aside(target)), schema, compression="zstd")
            )
            for target, schema in zip(self._targets, (self.schema, VERDICTS), strict=True)
        )
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def passed(self, run: str, converted: pa.Table, rows: Sequence[dict[str, Any]]) -> None:
        places: dict[str, list[Any]] = {
            RUN: [run] * len(rows),
            BEGAN: [row["quarantined_at"] for row in rows],
            FILE: [row["file"] for row in rows],
            PLACE: [f"{row['quarantined_at']:%Y-%m-%d %H:%M:%S.%f} {run} {row['file']}" for row in rows],
            ROW_COLUMN: [row["row"] for row in rows],
            DONE: [row["is_replayed"] for row in rows],
        }
        table = converted
        for name, values in places.items():
            table = table.append_column(name, pa.array(values, self.schema.field(name).type))
        self._candidates.write_table(table.select(self.schema.names).cast(self.schema))

    def failed(self, run: str, rows: Iterable[tuple[dict[str, Any], list[str]]]) -> None:
        verdicts = [
            {"run": run, "file": row["file"], "row": row["row"], "rules": rules}
            for row, rules in rows
            if not row["is_replayed"]
        ]
        if verdicts:
            self._broken.write_table(pa.Table.from_pylist(verdicts, schema=VERDICTS))


class _Reading:
    """Reads quarantined rows as a source would give them, and applies the rules about rows."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, source: Source, options: ValueFormat, latest: datetime
    ) -> None:
        self.connection, self.source, self.options = connection, source, options
        self.rules: dict[str, Rule] = {rule.name: rule for rule in row_rules(source.kind, column_types(source), latest)}
        self.mapping = mapping_of(source)
        self._headers: dict[str, list[str]] | None = None

    def judge(self, run: str, rows: Sequence[dict[str, Any]], judgements: _Judged) -> None:
        raw: list[tuple[dict[str, Any], dict[str, str | None]]] = []
        typed = []
        failed: list[tuple[dict[str, Any], list[str]]] = []
        for row in rows:
            if row["form"] == "typed":
                if row["mapping"] == self.mapping:
                    typed.append(row)
                else:
                    failed.append((row, [MAPPING_CHANGED]))
                continue
            values = self._split(row) if row["form"] == "text" else _texts(orjson.loads(row["raw"]))
            if values is None:
                failed.append((row, row["rules"]))
            elif not {*self.source.needed_columns} <= values.keys():
                failed.append((row, [COLUMN_NOT_READ]))
            else:
                raw.append((row, values))
        judgements.failed(run, failed)
        if raw:
            self._judge(run, [row for row, _ in raw], self._raw([values for _, values in raw]), judgements)
        if typed:
            self._judge(run, typed, self._typed(typed), judgements)

    def _judge(self, run: str, rows: Sequence[dict[str, Any]], select: str, judgements: _Judged) -> None:
        converted = judged(self.connection, select, self.source, self.rules)
        broken = converted[BROKEN].to_pylist()
        judgements.failed(run, [(row, rules) for row, rules in zip(rows, broken, strict=True) if rules])
        passing = [not rules for rules in broken]
        if any(passing):
            kept = [row for row, passes in zip(rows, passing, strict=True) if passes]
            judgements.passed(run, converted.filter(pa.array(passing)), kept)

    def _raw(self, rows: Sequence[dict[str, str | None]]) -> str:
        schema = pa.schema([(column, pa.string()) for column in self.source.needed_columns])
        table = pa.Table.from_pylist(list(rows), schema=schema)
        # A source may be made of constants alone.
        table = table.append_column(ROW_COLUMN, pa.array(range(len(rows)), pa.int64()))
        self.connection.register("raw", prepared(table))
        return f"SELECT {select_list(self.source, self.options, table.schema)} FROM raw"

    def _typed(self, rows: Sequence[dict[str, Any]]) -> str:
        types = column_types(self.source)
        held = [orjson.loads(row["raw"]) for row in rows]
        columns = {name: pa.array([one.get(name) for one in held], pa.string()) for name in types}
        self.connection.register("typed", pa.table(columns))
        parts = []
        for name, kind in types.items():
            parts += [f"{quoted(name)}::{SQL_TYPES[kind]} AS {quoted(name)}"]
            parts += [f"{quoted(name)} IS NOT NULL AS {given(name)}"]
            parts += [f"NULL::VARCHAR AS {text_of(name)}"] if kind == "money" else []
        return f"SELECT {', '.join(parts)} FROM typed"

    def _split(self, row: dict[str, Any]) -> dict[str, str | None] | None:
        """The values of a line under the file's column names; None while it cannot be split.

        Of a line with bytes that are no text, or one that swallowed the rest of its file, not all was kept.
        """
        text, options = row["raw"], self.options
        if row["rules"] != [WRONG_NUMBER_OF_COLUMNS] or len(text) > MALFORMED_TEXT_CHARACTERS:
            return None
        names = self._columns_of(row["file"])
        if names is None or not isinstance(options, CsvOptions):
            return None
        try:
            lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=options.delimiter or ",", strict=True))
        except csv.Error:
            return None
        if len(lines) != 1 or len(lines[0]) != len(names):
            return None
        return {name: value or None for name, value in zip(names, lines[0], strict=True)}

    def _columns_of(self, file: str) -> list[str] | None:
        """The column names of a file as it is now; None when it is there no more."""
        if self._headers is None:
            self._headers = {}
            if isinstance(self.options, CsvOptions):
                for found in csv_files(self.source):
                    self._headers[found.name] = csv_header(self.source, found, self.options)
        return self._headers.get(file)


def _texts(values: dict[str, Any]) -> dict[str, str | None]:
    """Values as the texts that mean the same to the conversion."""
    return {
        name: value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in values.items()
    }


# ── All of them together, and what is staged ────────────────────────────────────────────────────────────────────────


def _settle_rows(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    snapshot: Snapshot,
    customer_files: Sequence[str],
    earlier: Mapping[str, Sequence[str]],
) -> None:
    """Fill `to_stage` and `verdicts` for a source whose rows have a key."""
    ours = ", ".join(quoted(name) for name in column_types(source))
    place = f"{PLACE}, {ROW_COLUMN}"
    # Several runs may have set the same row aside: the last one stands for all.
    connection.execute(
        f"""
        CREATE TABLE twins AS
        SELECT *, first_value({PLACE}) OVER same AS twin_file, first_value({ROW_COLUMN}) OVER same AS twin_row
        FROM judged WINDOW same AS (PARTITION BY {ours} ORDER BY {PLACE} DESC, {ROW_COLUMN} DESC)
        """
    )
    connection.execute(
        f"CREATE VIEW landed AS SELECT {ours}, {place} FROM twins WHERE ({place}) = (twin_file, twin_row)"
    )
    if source.kind.name == "sessions":
        find_unknown_clients(connection, customer_files, snapshot)
        find_too_many_values(connection, source, snapshot)
    if source.kind.key and earlier:
        find_rows_of_others(connection, source, earlier, snapshot)
    rules = set_rules(source.kind, column_types(source))
    (duplicate,) = (rule.name for rule in rules if rule.name.startswith("duplicate_"))
    staged = _staged(connection, source, snapshot)
    key = ", ".join(quoted(column) for column in source.key)
    same = " AND ".join(f"old.{quoted(name)} IS NOT DISTINCT FROM new.{quoted(name)}" for name in staged)
    is_newer = f"NOT ({STAGED_IS_NEWER}) AND old.{CHANGED_AT} IS DISTINCT FROM new.{CHANGED_AT}"
    is_newer = is_newer if CHANGED_AT in staged and CHANGED_AT in column_types(source) else "false"
    connection.execute(
        f"""
        CREATE TABLE met AS
        SELECT new.{PLACE}, new.{ROW_COLUMN}, {same or "false"} AS is_same, {is_newer} AS is_newer
        FROM landed new JOIN old USING ({key})
        """
    )
    connection.execute(
        f"""
        INSERT INTO broken
        SELECT {place}, '{duplicate}' FROM met ANTI JOIN broken USING ({place}) WHERE NOT is_same AND NOT is_newer
        """
    )
    connection.execute(f"CREATE TABLE loaded AS SELECT {place} FROM met ANTI JOIN broken USING ({place}) WHERE is_same")
    connection.execute(f"INSERT INTO broken SELECT {place}, '_loaded' FROM loaded")
    find_duplicates(connection, source)
    connection.execute(
        f"""
        CREATE TABLE removed AS
        SELECT {place}, list(rule ORDER BY rule) AS rules FROM broken GROUP BY ALL
        """
    )
    connection.execute(f"CREATE VIEW to_stage AS SELECT * FROM landed ANTI JOIN removed USING ({place})")
    connection.execute(
        f"""
        INSERT INTO verdicts
        SELECT twins.{RUN}, twins.{FILE}, twins.{ROW_COLUMN},
               list_filter(coalesce(removed.rules, []), lambda name: name != '_loaded')
        FROM twins LEFT JOIN removed
            ON twins.twin_file = removed.{PLACE} AND twins.twin_row = removed.{ROW_COLUMN}
        """
    )


def _settle_lines(
    connection: duckdb.DuckDBPyConnection, source: Source, snapshot: Snapshot, runs: Sequence[QuarantinedRun]
) -> None:
    """Fill `to_stage` and `verdicts` for lines of orders that have no key of their own."""
    types = column_types(source)
    ours = ", ".join(quoted(name) for name in types)
    staged = _staged(connection, source, snapshot)
    old_columns = ", ".join(
        quoted(name) if name in staged else f"NULL::{SQL_TYPES[kind]} AS {quoted(name)}" for name, kind in types.items()
    )
    noted = {
        run.key: str(file)
        for run in runs
        if (file := storage(configs.STAGING_URL) / "runs" / run.key / SIBLINGS / f"{source.name}.parquet").exists()
    }
    known = ", ".join(map(literal, noted)) or "NULL"
    siblings = [
        f"SELECT {literal(run)} AS run, order_id, lines FROM {read_files([file])}" for run, file in noted.items()
    ]
    nothing = "SELECT NULL::VARCHAR AS run, NULL::VARCHAR AS order_id, NULL::VARCHAR AS lines WHERE false"
    connection.execute(f"CREATE VIEW siblings AS {' UNION ALL '.join([*siblings, nothing])}")
    same_line = f"row_number() OVER (PARTITION BY {ours}) AS copy"
    connection.execute(
        f"""
        CREATE TABLE newest AS  -- of each order, the lines of the last run that set any of them aside
        SELECT {ours}, {RUN}, {same_line} FROM judged
        QUALIFY rank() OVER (PARTITION BY order_id ORDER BY {BEGAN} DESC, {RUN} DESC) = 1
        """
    )
    connection.execute(
        f"CREATE TABLE before AS SELECT {old_columns}, {same_line} FROM old SEMI JOIN newest USING (order_id)"
    )
    connection.execute(
        f"""
        CREATE TABLE without AS
        SELECT before.* FROM before
        ANTI JOIN newest ON {_equal(types, "before", "newest")} AND before.copy = newest.copy
        """
    )
    connection.execute(
        f"""
        CREATE TABLE orders AS
        WITH asked AS (SELECT DISTINCT order_id, {RUN} AS run FROM newest WHERE {RUN} IN ({known})),
             all_lines AS (SELECT order_id, {LINES} AS lines FROM before GROUP BY order_id),
             other_lines AS (SELECT order_id, {LINES} AS lines FROM without GROUP BY order_id)
        SELECT asked.order_id,
               all_lines.lines IS NOT DISTINCT FROM siblings.lines AS has_none,
               other_lines.lines IS NOT DISTINCT FROM siblings.lines AS has_some
        FROM asked LEFT JOIN siblings USING (run, order_id)
        LEFT JOIN all_lines USING (order_id) LEFT JOIN other_lines USING (order_id)
        """
    )
    connection.execute(
        f"""
        CREATE TABLE whole AS  -- the orders that get lines, with all that they have then
        WITH base AS (
                 SELECT before.* FROM before JOIN orders USING (order_id) WHERE has_none
                 UNION ALL
                 SELECT without.* FROM without JOIN orders USING (order_id) WHERE has_some AND NOT has_none
             )
        SELECT {ours} FROM base
        UNION ALL
        SELECT {ours} FROM newest JOIN orders USING (order_id) WHERE has_none OR has_some
        """
    )
    counts = "SELECT order_id, count(*) AS lines FROM {} GROUP BY order_id"
    connection.execute(
        f"""
        CREATE VIEW to_stage AS
        SELECT whole.*, '' AS {PLACE}, 0::BIGINT AS {ROW_COLUMN} FROM whole
        SEMI JOIN (
            SELECT order_id FROM ({counts.format("whole")}) whole_orders
            LEFT JOIN ({counts.format("before")}) staged_orders USING (order_id)
            WHERE whole_orders.lines IS DISTINCT FROM staged_orders.lines
        ) changed USING (order_id)
        """
    )
    connection.execute(
        f"""
        INSERT INTO verdicts
        SELECT {RUN}, {FILE}, {ROW_COLUMN}, CASE WHEN is_there THEN []::VARCHAR[] ELSE ['{ORDER_CHANGED}'] END
        FROM (
            SELECT judged.*, EXISTS (
                SELECT 1 FROM (SELECT {ours} FROM whole UNION ALL SELECT {ours} FROM before) there
                WHERE {_equal(types, "there", "judged")}
            ) AS is_there
            FROM judged WHERE NOT {DONE}
        )
        """
    )


def _equal(types: Iterable[str], left: str, right: str) -> str:
    return " AND ".join(f"{left}.{quoted(name)} IS NOT DISTINCT FROM {right}.{quoted(name)}" for name in types)


def _staged(connection: duckdb.DuckDBPyConnection, source: Source, snapshot: Snapshot) -> list[str]:
    """Make the view `old` of what is staged of this kind; which of the source's columns it has."""
    table = snapshot.tables.get(TABLE_OF_KIND[source.kind.name])
    types = column_types(source)
    if table is None or not table.files:
        empty = ", ".join(f"NULL::{SQL_TYPES[kind]} AS {quoted(name)}" for name, kind in types.items())
        connection.execute(f"CREATE VIEW old AS SELECT {empty} WHERE false")
        return [*types]
    files = [str(storage(configs.STAGING_URL) / file.path) for file in table.files]
    # Lines of an order are those of one source; a key is staged once, whichever source it is from.
    mine = f" WHERE {SOURCE} = {literal(source.name)}" if not source.key and SOURCE in table.columns else ""
    connection.execute(f"CREATE VIEW old AS SELECT * FROM {read_files(files)}{mine}")
    return [name for name in types if name in table.columns]


def _write(connection: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema, target: ObjectStoragePath) -> int:
    """Write the rows of `query` to a Parquet file of this schema, in their order; how many there are."""
    rows = 0
    with (
        written_aside(target) as scratch,
        pq.ParquetWriter(scratch, schema, compression="zstd") as writer,
        connection.sql(query).to_arrow_reader(100_000) as reader,
    ):
        for batch in reader:
            writer.write_table(pa.Table.from_batches([batch]).select(schema.names).cast(schema))
            rows += batch.num_rows
    return rows
