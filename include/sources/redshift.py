"""Tables and queries of an Amazon Redshift database, as Arrow: through a cursor, or through `UNLOAD` and S3.

The whole result is one statement in one transaction and so one snapshot. The driver holds every row that a statement
returns, whatever its own fetch size, so the rows are asked for piece by piece: `DECLARE … CURSOR`, then
`FETCH FORWARD` again and again. Redshift keeps the result of a cursor on its leader node and limits its size by the
type of node. `UNLOAD`, which writes the result to S3 as Parquet, knows no such limit; it is used where
`REDSHIFT_UNLOAD_URL` names a bucket.

Columns keep their type over the wire only where every way preserves it (integers, booleans, texts, a double as a
number); all else the server turns into text, in the form that PostgreSQL has, and Arrow reads that.

Values are written into the statements, not bound: the query of an `UNLOAD` is itself a text and takes no parameters,
and whether Redshift takes them in the query of a cursor, as PostgreSQL does, is not documented. They are instants and
the places on S3, and only `_instant` and `_text` write them.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import configs
from include.sources.database_problems import (
    CONNECTION_LOST,
    QUERY_CANCELLED,
    database_problem,
    no_connection,
    plain_reason,
)
from include.sources.database_types import (
    INTEGERS,
    NEWEST_TIMEOUT_SECONDS,
    TEXTS,
    TIMES,
    arrow_type,
    refuse_same_names,
    type_name,
)
from include.sources.definition import DatabaseOptions, Source
from include.sources.problems import SourceError, said_plainly
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
from include.staging.storage import engine_url, remove_tree, storage

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from redshift_connector.core import Connection
    from redshift_connector.cursor import Cursor

SUPER = 4000  # the number of Redshift's type for documents, which the server sends as JSON text
SENT_AS_THEY_ARE = (*TEXTS, "super")
REMEDIES = {
    "fetch size": "set REDSHIFT_FETCH_ROWS to no more than it allows, which is 1000 on a single node",
    "cursor data": "set REDSHIFT_UNLOAD_URL to a bucket, or select fewer rows",
    "s3serviceexception": "let the IAM role of the cluster write to the bucket of REDSHIFT_UNLOAD_URL",
    "iam role": "attach the role that REDSHIFT_UNLOAD_IAM_ROLE or `iam_role` names to the cluster",
}  # what the server says of the limits that only Redshift has -> what to do


@dataclass(frozen=True)
class _Column:
    """A column of a table or query as the server describes it; `precision` is 0 where it has none."""

    name: str
    type: str
    precision: int
    scale: int


def read_redshift(
    source: Source,
    *,
    batch_rows: int,
    start: date | None = None,
    end: date | None = None,
    changed_since: datetime | None = None,
) -> Iterator[RawBatch]:
    """The rows of a table or query, at most `batch_rows` at once; `relation.bounds` says how far a period reaches.

    A column has an Arrow type where that is what it is needed as; all else is text, as is a column in a batch with a
    value of it that no Arrow type holds (`infinity`). A row of an unloaded file with bytes that are no text comes as a
    malformed one; over the wire the driver reads no further than to such a row.
    """
    with _said_plainly(source), _connected(source) as (connection, role):
        cursor = connection.cursor()
        there = _described(cursor, source)
        found = located_columns(source, display_name(source), list(there))
        types = {}
        for column, kinds in uses(source).items():
            one = there[found[column]]
            types[column] = arrow_type(one.type, kinds, precision=one.precision, scale=one.scale)
        times = {column: TIMES[there[name].type] for column, name in found.items() if there[name].type in TIMES}
        limits = bounds(source, times, start=start, end=end, changed_since=changed_since)
        raw = {column: _sent_type(there[found[column]], wanted) for column, wanted in types.items()}
        select = _select(source, there, found, limits, raw)
        if configs.REDSHIFT_UNLOAD_URL:
            pieces = _unloaded(cursor, source, select, role, batch_rows)
        else:
            pieces = _fetched(cursor, select, list(raw.values()), batch_rows)
        first = 1
        with closing(pieces):  # also when the reader of these rows stops early
            for piece in pieces:
                yield _raw_batch(piece, types, first, display_name(source))
                first += piece.num_rows
        if first == 1:
            yield _raw_batch(pa.schema(raw).empty_table(), types, first, display_name(source))


def check_redshift(source: Source) -> SourceCheck:
    """What there is of a table or query, without reading it: the number of rows is the planner's."""
    with _said_plainly(source), _connected(source) as (connection, _):
        cursor = connection.cursor()
        there = _described(cursor, source)
        found = located_columns(source, display_name(source), list(there))
        cursor.execute(f"EXPLAIN SELECT * FROM {_relation(source)}")
        plan = re.search(r"rows=(\d+)", cursor.fetchall()[0][0])
        newest = source.changed_at or date_column(source)
        value = None
        if newest and there[found[newest]].type in TIMES:
            value = _newest(cursor, source, found[newest])
        return SourceCheck(
            source=source.name,
            files=(display_name(source),),
            bytes=None,
            columns=tuple(there),
            unused_columns=tuple(name for name in there if name not in found.values()),
            options=DatabaseOptions(timezone=source.timezone),
            rows=int(plan[1]) if plan else None,
            types={column: there[name].type for column, name in found.items()},
            newest=value,
            mapping=mapped(source, found),
        )


def _newest(cursor: Cursor, source: Source, column: str) -> str | None:
    """The last statement of a transaction: one that is cancelled ends it."""
    from redshift_connector.error import ProgrammingError

    try:
        cursor.execute(f"SET statement_timeout TO {NEWEST_TIMEOUT_SECONDS * 1000}")
        cursor.execute(f"SELECT CAST(max({_quoted(column)}) AS varchar) FROM {_relation(source)}")
        value: str | None = cursor.fetchall()[0][0]
    except ProgrammingError as error:
        if _state_and_reason(error)[0] != QUERY_CANCELLED:
            raise
        return None
    return value


@contextmanager
def _connected(source: Source) -> Iterator[tuple[Connection, str]]:
    """A connection, and the IAM role with which the server may write to S3."""
    from airflow.providers.amazon.aws.hooks.redshift_sql import RedshiftSQLHook
    from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
    from tenacity import stop_after_attempt

    hook = RedshiftSQLHook(redshift_conn_id=source.connection or "")
    try:
        extra = dict(hook.conn.extra_dejson)
    except AirflowNotFoundException:
        raise no_connection(source) from None
    # The driver is called with all extras and refuses one that it does not know.
    role = extra.pop("iam_role", configs.REDSHIFT_UNLOAD_IAM_ROLE)
    hook.conn.extra = json.dumps(extra)
    connect: Any = RedshiftSQLHook.get_conn
    try:
        # Once: the hook would try a wrong password five times, and Airflow tries the task again.
        connection = connect.retry_with(stop=stop_after_attempt(1))(hook)
    except (AirflowException, BotoCoreError, ClientError, TypeError, ValueError) as error:
        raise SourceError(
            f"{source.name}: the connection {source.connection!r} cannot be used ({plain_reason(str(error))}); "
            "correct it, above all its extra fields."
        ) from None
    try:
        cursor = connection.cursor()
        cursor.execute("SET timezone TO 'UTC'")
        cursor.execute("SET datestyle TO 'ISO'")
        yield connection, role
    finally:
        connection.close()


def _described(cursor: Cursor, source: Source) -> dict[str, _Column]:
    """The columns of the table or query, by name."""
    cursor.execute(f"SELECT * FROM {_relation(source)} LIMIT 0")
    columns = []
    for field in (cursor.ps or {})["row_desc"]:
        modifier = field["type_modifier"]  # `description` leaves it out
        precision, scale = ((modifier - 4) >> 16, (modifier - 4) & 0xFFFF) if modifier >= 4 else (0, 0)
        kind = "super" if field["type_oid"] == SUPER else type_name(field["type_oid"])
        columns.append(_Column(field["label"].decode(), kind, precision, scale))
    refuse_same_names(source, [column.name for column in columns])
    return {column.name: column for column in columns}


def _sent_type(column: _Column, wanted: pa.DataType) -> pa.DataType:
    """What comes over the wire, before it becomes what is wanted."""
    if column.type in INTEGERS:
        return pa.int64()
    if column.type == "bool":
        return pa.bool_()
    return wanted if column.type == "float8" and wanted == pa.float64() else pa.string()


def _select(
    source: Source,
    there: dict[str, _Column],
    found: dict[str, str],
    limits: list[tuple[str, str, datetime]],
    raw: dict[str, pa.DataType],
) -> str:
    """The needed columns only, under names that every Parquet writer accepts."""
    columns = []
    for number, (column, name) in enumerate(found.items()):
        as_sent = raw[column] != pa.string() or there[name].type in SENT_AS_THEY_ARE
        columns.append(f"{_quoted(name) if as_sent else f'CAST({_quoted(name)} AS varchar)'} AS column_{number}")
    conditions = []
    for column, comparison, value in limits:
        name = _quoted(found[column])
        bound = _instant(value, with_zone=TIMES[there[found[column]].type])
        conditions.append(f"({name} IS NULL OR {name} {comparison} {bound})")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {', '.join(columns)} FROM {_relation(source)}{where}"


def _relation(source: Source) -> str:
    if source.table is not None:
        return ".".join(_quoted(part) for part in source.table.split("."))
    query = (source.query or "").strip().rstrip(";")
    return f"({query}\n) AS source"  # the query is the user's own


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _instant(value: datetime, *, with_zone: bool) -> str:
    """An instant in UTC as a value in a statement."""
    text = value.isoformat(sep=" ")
    return f"CAST('{text}+00' AS timestamptz)" if with_zone else f"CAST('{text}' AS timestamp)"


def _text(value: str) -> str:
    """A text as a value in a statement of Redshift, for which a backslash in it begins an escape."""
    doubled = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{doubled}'"


def _fetched(cursor: Cursor, select: str, raw: list[pa.DataType], batch_rows: int) -> Generator[pa.Table]:
    schema = pa.schema([(f"column_{number}", kind) for number, kind in enumerate(raw)])
    cursor.execute(f"DECLARE needed_rows CURSOR FOR {select}")
    pieces: list[pa.Table] = []
    rows = 0
    while True:
        cursor.execute(f"FETCH FORWARD {min(configs.REDSHIFT_FETCH_ROWS, batch_rows - rows)} FROM needed_rows")
        fetched = cursor.fetchall()
        if fetched:
            columns = zip(*fetched, strict=True)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, raw, strict=True)]
            pieces.append(pa.table(arrays, schema=schema))
            rows += len(fetched)
        if pieces and (not fetched or rows >= batch_rows or sum(piece.nbytes for piece in pieces) >= BATCH_BYTES):
            yield pa.concat_tables(pieces)
            pieces, rows = [], 0
        if not fetched:
            return


def _unloaded(cursor: Cursor, source: Source, select: str, role: str, batch_rows: int) -> Generator[pa.Table]:
    """The result by way of files on S3, in the order in which the server lists them; none of them stays."""
    folder = _new_folder(source)
    url = engine_url(folder)
    try:
        by_role = role if role == "default" else _text(role)
        cursor.execute(f"UNLOAD ({_text(select)}) TO {_text(f'{url}/')} IAM_ROLE {by_role} FORMAT AS PARQUET MANIFEST")
        cursor.execute("SELECT pg_last_unload_count()")
        expected, rows = cursor.fetchall()[0][0], 0
        with said_plainly(source.name, url):
            # An empty result has no files.
            entries = json.loads((folder / "manifest").read_text())["entries"] if expected else []
            for entry in entries:
                file = folder / entry["url"].rpartition("/")[2]
                with file.open("rb") as opened, pq.ParquetFile(opened) as parquet:
                    for batch in parquet.iter_batches(batch_size=batch_rows):
                        rows += batch.num_rows
                        yield pa.Table.from_batches([batch])
        if rows != expected:
            raise SourceError(
                f"{source.name}: {expected} rows were written to {url} and {rows} came back; run it again, and let "
                "nothing else write or delete there."
            )
    finally:
        with said_plainly(source.name, url):
            folder.fs.invalidate_cache()  # the server wrote past it
            remove_tree(folder)


def _new_folder(source: Source) -> ObjectStoragePath:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    folder = storage(configs.REDSHIFT_UNLOAD_URL) / source.name / uuid4().hex
    if folder.protocol != "s3":
        raise SourceError(
            f"{source.name}: Redshift unloads to S3 only; set REDSHIFT_UNLOAD_URL to s3://connection@bucket/folder, or "
            "leave it empty."
        )
    try:
        if folder.conn_id:  # else the login of the machine counts, as it would for an unknown connection
            BaseHook.get_connection(folder.conn_id)
    except AirflowNotFoundException:
        raise SourceError(
            f"{source.name}: there is no Airflow connection {folder.conn_id!r}; create it, or correct "
            "REDSHIFT_UNLOAD_URL."
        ) from None
    return folder


def _raw_batch(piece: pa.Table, types: dict[str, pa.DataType], first: int, file: str) -> RawBatch:
    unreadable = np.logical_or.reduce([np.zeros(piece.num_rows, bool), *map(_not_text, piece.columns)])
    numbers = np.arange(first, first + piece.num_rows)
    malformed = []
    if unreadable.any():
        for number, values in zip(numbers[unreadable], _as_bytes(piece.filter(pa.array(unreadable))), strict=True):
            text = b",".join(values).decode(errors="replace")[:MALFORMED_TEXT_CHARACTERS]
            malformed.append(MalformedRow(int(number), text, NOT_VALID_TEXT))
        piece, numbers = piece.filter(pa.array(~unreadable)), numbers[~unreadable]
    columns = [_converted(column, wanted) for column, wanted in zip(piece.columns, types.values(), strict=True)]
    rows = pa.RecordBatch.from_arrays([*columns, pa.array(numbers, pa.int64())], names=[*types, ROW_COLUMN])
    return RawBatch(rows, file, tuple(malformed))


def _not_text(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which values are bytes that are no text: nobody looked at them on their way through a file."""
    found = np.zeros(len(column), bool)
    if pa.types.is_string(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            for row, value in enumerate(column.cast(pa.binary()).to_pylist()):
                found[row] = value is not None and value.decode(errors="ignore").encode() != value
    return found


def _as_bytes(piece: pa.Table) -> Iterator[tuple[bytes, ...]]:
    """The rows, their texts as the bytes they are."""
    columns = [
        column.cast(pa.binary()).to_pylist()
        if pa.types.is_string(column.type)
        else [str(value).encode() for value in column.to_pylist()]
        for column in piece.columns
    ]
    return ((*(value or b"" for value in row),) for row in zip(*columns, strict=True))


def _converted(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.Array:
    whole = column.combine_chunks()
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    try:
        return whole.cast(wanted)
    except pa.ArrowInvalid:  # a value that no Arrow type holds: the rules will judge the texts
        return whole.cast(pa.string())


@contextmanager
def _said_plainly(source: Source) -> Iterator[None]:
    """Errors of the driver and the server as `SourceError`s."""
    from redshift_connector.error import Error

    try:
        yield
    except Error as error:
        state, reason = _state_and_reason(error)
        for sign, remedy in REMEDIES.items():
            if sign in reason.lower():
                said = f"{source.name}: {display_name(source)} cannot be read ({plain_reason(reason)}); {remedy}."
                raise SourceError(said) from None
        raise database_problem(source, state, reason) from None
    except (OSError, struct.error, IndexError) as error:  # what becomes of a message that breaks off in the driver
        raise database_problem(source, CONNECTION_LOST, str(error) or type(error).__name__) from None
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{source.name}: {display_name(source)} has a text that is not UTF-8 ({plain_reason(str(error))}); correct "
            "it there, or leave the column out."
        ) from None


def _state_and_reason(error: Exception) -> tuple[str, str]:
    """What the server says comes as a dictionary of the fields of its message; what the driver says, as a text."""
    said = error.args[0] if error.args else ""
    if isinstance(said, dict):
        return said.get("C", ""), said.get("M", "")
    return CONNECTION_LOST, " ".join(map(str, error.args)).partition(". ")[0] or type(error).__name__
