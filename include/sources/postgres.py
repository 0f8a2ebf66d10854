"""Tables and queries of a PostgreSQL database, streamed through `COPY … TO STDOUT` into Arrow.

Airflow's hook opens the connection, and the columns are looked up on it. The rows come over a second one with the same
parameters, that of the ADBC driver: it reads the answer to a binary COPY into Arrow without a Python object per row
(docs/adr/0006-adbc-reads-postgresql.md). The whole result is one snapshot: one statement in a read-only transaction.
Memory is that of one batch, whatever the size of the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.sources.database_problems import (
    CONNECTION_LOST,
    LOGIN_REFUSED,
    database_problem,
    no_connection,
)
from include.sources.database_types import (
    NEWEST_TIMEOUT_SECONDS,
    TEXTS,
    TIMES,
    UNKNOWN_TYPE,
    arrow_type,
    refuse_same_names,
    type_name,
)
from include.sources.definition import DatabaseOptions, Source
from include.sources.raw_batch import (
    BATCH_BYTES,
    MALFORMED_TEXT_CHARACTERS,
    NOT_VALID_TEXT,
    ROW_COLUMN,
    MalformedRow,
    RawBatch,
)
from include.sources.relation import bounds, date_column, display_name, located_columns, uses
from include.sources.source_check import SourceCheck, mapped

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composable

SESSION = ("LOCAL TimeZone TO 'UTC'", "LOCAL DateStyle TO 'ISO'")  # of the transaction, so a pooler may sit between
DAYS_TO_2000 = 10_957  # since 1970
DAY = {pa.int32(): 1, pa.int64(): 86_400_000_000}  # in the unit of a date, and of an instant
# The years 1 to 9999, which Python and ISO 8601 know: their first day, and the first after them, since 1970.
FIRST_DAY, DAY_AFTER = -719_162, 2_932_897
OUT_OF_RANGE = "out of range"


def read_postgres(
    source: Source,
    *,
    batch_rows: int,
    start: date | None = None,
    end: date | None = None,
    changed_since: datetime | None = None,
) -> Iterator[RawBatch]:
    """The rows of a table or query, at most `batch_rows` at once; `relation.bounds` says how far a period reaches.

    A column has an Arrow type where that is what it is needed as; all else is text, as is a column with a value that
    no Arrow type holds (`infinity`, `NaN`) for one batch. A row with bytes that are no text, which only a database
    without an encoding can hold, comes as a malformed one.
    """
    with _said_plainly(source):
        with _connected(source) as connection:
            there = _described(connection, source)
            without_encoding = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
            parameters = _parameters(connection)
        found = located_columns(source, display_name(source), list(there))
        types = {}
        for column, kinds in uses(source).items():
            one = there[found[column]]
            types[column] = arrow_type(one.type, kinds, precision=one.precision, scale=one.scale)
        times = {column: TIMES[there[name].type] for column, name in found.items() if there[name].type in TIMES}
        limits = bounds(source, times, start=start, end=end, changed_since=changed_since)
        if without_encoding:
            types = dict.fromkeys(types, pa.string())
        select = _select(source, there, found, types, limits)
        text = select.as_string()
        name = display_name(source)
        yield from _streamed(parameters, text, types, name, batch_rows, without_encoding=without_encoding)


def check_postgres(source: Source) -> SourceCheck:
    """What there is of a table or query, without reading it: the number of rows is the planner's."""
    from psycopg.errors import QueryCanceled
    from psycopg.sql import SQL, Identifier

    with _said_plainly(source), _connected(source) as connection:
        there = _described(connection, source)
        found = located_columns(source, display_name(source), list(there))
        select = _select(source, there, found, dict.fromkeys(found, pa.string()), [])
        plan = connection.execute(SQL("EXPLAIN (FORMAT JSON) {}").format(select)).fetchone()
        newest = source.changed_at or date_column(source)
        value = None
        if newest and there[found[newest]].type in TIMES:
            try:
                with connection.transaction():
                    connection.execute(SQL(f"SET LOCAL statement_timeout = '{NEWEST_TIMEOUT_SECONDS}s'"))
                    wanted = SQL("SELECT max({})::text FROM {}").format(Identifier(found[newest]), _relation(source))
                    row = connection.execute(wanted).fetchone()
                    value = row[0] if row else None
            except QueryCanceled:
                value = None  # it is worth no more than that
        return SourceCheck(
            source=source.name,
            files=(display_name(source),),
            bytes=None,
            columns=tuple(there),
            unused_columns=tuple(name for name in there if name not in found.values()),
            options=DatabaseOptions(timezone=source.timezone),
            rows=int(plan[0][0]["Plan"]["Plan Rows"]) if plan else None,
            types={column: there[name].type for column, name in found.items()},
            newest=value,
            mapping=mapped(source, found),
        )


@contextmanager
def _connected(source: Source) -> Iterator[Connection[Any]]:
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from psycopg import IsolationLevel

    connection: Any = PostgresHook(postgres_conn_id=source.connection or "", log_sql=False).get_conn()
    try:
        connection.read_only = True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        for setting in SESSION:
            connection.execute(f"SET {setting}")
        yield connection
    finally:
        connection.close()


def _parameters(connection: Connection[Any]) -> str:
    """What libpq needs to connect once more, the password among it: the hook may have asked for a token."""
    from psycopg.conninfo import make_conninfo

    return make_conninfo(**connection.info.get_parameters(), password=connection.info.password)


def _relation(source: Source) -> Composable:
    from psycopg.sql import SQL, Identifier

    if source.table is not None:
        return Identifier(*source.table.split("."))
    query = (source.query or "").strip().rstrip(";")
    return SQL("({}\n) AS source").format(SQL(query))  # the query is the user's own


@dataclass(frozen=True)
class _Column:
    """A column of a table or query as the server describes it."""

    type: str
    precision: int | None
    scale: int | None


def _described(connection: Connection[Any], source: Source) -> dict[str, _Column]:
    """The columns of the table or query, by name."""
    from psycopg.sql import SQL

    columns = connection.execute(SQL("SELECT * FROM {} LIMIT 0").format(_relation(source))).description or []
    refuse_same_names(source, [column.name for column in columns])
    names = {column.type_code: type_name(column.type_code) for column in columns}
    # A type of the database's own (an enum) and lists of it have a name only there.
    unknown = [code for code, name in names.items() if name == UNKNOWN_TYPE.format(code)]
    if unknown:
        asked = "SELECT oid::bigint, format_type(oid, NULL) FROM pg_catalog.pg_type WHERE oid = ANY(%s)"
        names |= dict(connection.execute(asked, [unknown]).fetchall())
    return {one.name: _Column(names[one.type_code], one.precision, one.scale) for one in columns}


def _select(
    source: Source,
    there: dict[str, _Column],
    found: dict[str, str],
    types: dict[str, pa.DataType],
    limits: list[tuple[str, str, datetime]],
) -> Composable:
    """The needed columns only, so that they come as `types`. COPY takes no parameters: the driver quotes the values."""
    from psycopg.sql import SQL, Composed, Identifier, Literal

    columns = [SQL(_sent(there[name].type, types[column])).format(Identifier(name)) for column, name in found.items()]
    conditions: list[Composable] = []
    for column, comparison, value in limits:
        has_zone = TIMES[there[found[column]].type]
        bound = SQL("{} AT TIME ZONE 'UTC'").format(Literal(value)) if has_zone else Literal(value)
        conditions.append(
            SQL("({name} IS NULL OR {name} " + comparison + " {bound})").format(
                name=Identifier(found[column]), bound=bound
            )
        )
    select = SQL("SELECT {} FROM {}").format(SQL(", ").join(columns), _relation(source))
    return Composed([select, SQL(" WHERE "), SQL(" AND ").join(conditions)]) if conditions else select


def _sent(there: str, wanted: pa.DataType) -> str:
    """SQL: a column `{}` of the server's type `there` in the form in which `wanted` is made of it."""
    if there.endswith("[]"):
        return "to_json({})::text"  # as the other databases write a list
    if pa.types.is_int64(wanted):
        return "{}::int8"
    if pa.types.is_float64(wanted):
        return "{}::text::float8"  # a float4 as it is written: its own digits, not those of its bits
    if there in TEXTS or pa.types.is_temporal(wanted) or pa.types.is_boolean(wanted):
        return "{}"
    return "{}::text"


def _streamed(
    parameters: str,
    select: str,
    types: dict[str, pa.DataType],
    file: str,
    batch_rows: int,
    *,
    without_encoding: bool,
) -> Iterator[RawBatch]:
    """The rows of `select` on a connection of their own; `parameters` are libpq's."""
    import adbc_driver_postgresql.dbapi as adbc
    from adbc_driver_postgresql import StatementOptions

    with adbc.connect(parameters) as connection, connection.cursor() as cursor:
        for setting in ("TRANSACTION READ ONLY", *SESSION):
            cursor.execute(f"SET {setting}")
        if without_encoding:  # else the server would end the whole result at the first such byte
            cursor.execute("SET LOCAL client_encoding TO 'SQL_ASCII'")
        cursor.adbc_statement.set_options(**{StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BATCH_BYTES)})
        cursor.execute(select)
        first = 1
        # What the cursor itself gives out loses the SQLSTATE of an error between two batches.
        for received in cursor._results.reader:
            for start in range(0, received.num_rows, batch_rows):
                part = received.slice(start, batch_rows)
                yield _raw_batch(part, first, types, file, decodes=without_encoding)
                first += part.num_rows
        if first == 1:
            yield _raw_batch(None, first, types, file, decodes=False)


def _raw_batch(
    received: pa.RecordBatch | None, first: int, types: dict[str, pa.DataType], file: str, *, decodes: bool
) -> RawBatch:
    columns = received.columns if received else [pa.array([], kind) for kind in types.values()]
    numbers, malformed = np.arange(first, first + len(columns[0])), []
    if decodes:
        sent = [column.cast(pa.binary()) for column in columns]
        is_text = np.logical_and.reduce([_is_text(column) for column in sent])
        for place in np.flatnonzero(~is_text).tolist():
            values = [(column[place].as_py() or b"").decode(errors="replace") for column in sent]
            malformed.append(MalformedRow(first + place, ",".join(values)[:MALFORMED_TEXT_CHARACTERS], NOT_VALID_TEXT))
        columns = [column.filter(pa.array(is_text)) for column in columns]
        numbers = numbers[is_text]
    arrays = [_typed(column, kind) for column, kind in zip(columns, types.values(), strict=True)]
    rows = pa.RecordBatch.from_arrays([*arrays, pa.array(numbers, pa.int64())], names=[*types, ROW_COLUMN])
    return RawBatch(rows, file, tuple(malformed))


def _is_text(column: pa.BinaryArray) -> npt.NDArray[np.bool_]:
    """Of each value, whether its bytes are UTF-8; the driver does not look."""
    found = np.full(len(column), True)
    try:
        column.cast(pa.string())
    except pa.ArrowInvalid:
        for place, value in enumerate(column.to_pylist()):
            try:
                (value or b"").decode()
            except UnicodeDecodeError:
                found[place] = False
    return found


def _typed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column as `kind`, or as text where it has a value that `kind` does not hold: the rules will judge that."""
    if pa.types.is_temporal(kind):
        return _with_usual_years(column, kind)
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        return column


def _with_usual_years(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column as `kind`; as text where a value is infinite, or its year is not within 1 to 9999.

    The driver counts from 1970 where the server counts from 2000, and lets what is too large for that overflow.
    """
    integer = pa.int32() if pa.types.is_date(column.type) else pa.int64()
    numbers, day = column.view(integer), DAY[integer]
    is_usual = pc.and_(pc.greater_equal(numbers, FIRST_DAY * day), pc.less(numbers, DAY_AFTER * day)).fill_null(True)
    if is_usual.false_count == 0:
        return column.cast(kind)
    lowest = -(1 << (integer.bit_width - 1)) + DAYS_TO_2000 * day
    infinite = {lowest - 1: "infinity", lowest: "-infinity"}
    texts = pc.if_else(is_usual, column, None).cast(pa.string()).to_pylist()
    for place in pc.indices_nonzero(pc.invert(is_usual)).to_pylist():
        texts[place] = infinite.get(numbers[place].as_py(), OUT_OF_RANGE)
    return pa.array(texts, pa.string())


# ADBC tells an error of the server with what it was doing before it, and with the query after it.
WORDS = re.compile(r"(?:.*(?:ERROR|FATAL|PANIC): +|.*?\[libpq\] )(.*)")
LOGIN = ("password authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")


@contextmanager
def _said_plainly(source: Source) -> Iterator[None]:
    """Errors of the drivers and the server as `SourceError`s."""
    import adbc_driver_manager
    import psycopg
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        yield
    except AirflowNotFoundException:
        raise no_connection(source) from None
    except psycopg.Error as error:
        reason = error.diag.message_primary or str(error) or type(error).__name__
        state = error.sqlstate or ""
        if not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            # A login that fails has no code, only words.
            state = LOGIN_REFUSED if any(sign in reason for sign in LOGIN) else CONNECTION_LOST
        raise database_problem(source, state, reason) from None
    except adbc_driver_manager.Error as error:
        words = WORDS.match(str(error))
        reason = words[1] if words else str(error)
        raise database_problem(source, error.sqlstate or CONNECTION_LOST, reason) from None
