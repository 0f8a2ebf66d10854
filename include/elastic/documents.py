"""The documents of `orders` and `downloads`, built by the engine from the snapshot's views.

    views sessions, customers, [basket], [deliveries]  ->  bulk operations as bytes, a bounded number at a time

The engine writes the JSON itself: a Python object per document would cost more than everything else together. A missing
value is left out, an instant is ISO 8601 in UTC, money is written with its decimals and never passes through a float.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from include.schemas.indexes import SCORE_FIELDS, ActionKind
from include.schemas.source_kinds import ACTION_PREFIX, DIMENSION_PREFIX
from include.staging.sql import literal, quoted

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

ALL = "all"
UNKNOWN = "(unknown)"  # the value of a dimension column that is empty
BATCH_ROWS = 20_000
CUSTOMERS_AT_ONCE = 500_000
RETRY_ON_CONFLICT = 3  # partial updates of one customer by two tasks at once

Columns = dict[str, str]


def columns(connection: duckdb.DuckDBPyConnection, view: str) -> Columns:
    """Name and type of the columns of a view; none where there is no such view."""
    found = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index", [view]
    ).fetchall()
    return dict(found)


def action_kinds(connection: duckdb.DuckDBPyConnection, view: str) -> dict[str, ActionKind]:
    """The action columns of a view and what they hold."""
    return {
        name.removeprefix(ACTION_PREFIX): "boolean" if kind == "BOOLEAN" else "date"
        for name, kind in columns(connection, view).items()
        if name.startswith(ACTION_PREFIX)
    }


def session_months(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The months (`YYYY-MM`) that have sessions."""
    found = connection.execute("SELECT DISTINCT strftime(session_day, '%Y-%m') FROM sessions ORDER BY 1").fetchall()
    return [month for (month,) in found]


def order_documents(
    connection: duckdb.DuckDBPyConnection, *, months: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[bytes]:
    """One operation per session of `months` (`YYYY-MM`; None: all), a month at a time so that memory stays bounded.

    Where sessions say when they changed, an older version never overwrites a newer one.
    """
    sql = _orders_sql(connection)
    for month in session_months(connection) if months is None else months:
        yield from _operations(connection, sql, [f"{month}-01", f"{month}-01"], batch_rows)


def download_documents(connection: duckdb.DuckDBPyConnection, *, batch_rows: int = BATCH_ROWS) -> Iterator[bytes]:
    """One operation per customer: an update of the fields the sources give, so that the scores beside them stay.

    A customer's dimension values are those of their first session.
    """
    sql = _downloads_sql(connection)
    ((lowest, highest),) = connection.execute("SELECT min(client_code), max(client_code) FROM customers").fetchall()
    if lowest is None:
        return
    for first in range(lowest, highest + 1, CUSTOMERS_AT_ONCE):
        yield from _operations(connection, sql, [first, first + CUSTOMERS_AT_ONCE] * 2, batch_rows)


def score_documents(scores: pd.DataFrame) -> Iterator[bytes]:
    """One operation per customer that updates their scores.

    `scores` has `client` and any of SCORE_FIELDS. A missing value removes what an earlier run wrote there.
    """
    names = [str(name) for name in scores if name != "client"]
    unknown = [name for name in names if name not in SCORE_FIELDS]
    if unknown:
        raise ValueError(f"not declared in SCORE_FIELDS: {', '.join(unknown)}")
    kinds = [SCORE_FIELDS[name].type for name in names]
    missing = scores[names].isna()
    for client, values, gone in zip(
        scores["client"], scores[names].itertuples(index=False), missing.itertuples(index=False), strict=True
    ):
        document = {
            name: None if absent else _plain(value, kind)
            for name, kind, value, absent in zip(names, kinds, values, gone, strict=True)
        }
        action = {"update": {"_id": client, "retry_on_conflict": RETRY_ON_CONFLICT}}
        yield orjson.dumps(action) + b"\n" + orjson.dumps({"doc": {"scores": document}}) + b"\n"


def _plain(value: Any, kind: str) -> object:
    if kind == "long":
        return int(value)
    if kind == "double":
        return float(value)
    if kind == "boolean":
        return bool(value)
    if kind == "date":
        return value.isoformat()[:10]  # scores are for a day
    return str(value)


def _operations(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any], batch_rows: int
) -> Iterator[bytes]:
    reader: Any = connection.sql(sql, params=parameters).to_arrow_reader(batch_rows)
    try:
        for batch in reader:
            yield from batch.column(0).to_pylist()
    finally:
        reader.close()  # an unread result would block the connection


def _orders_sql(connection: duckdb.DuckDBPyConnection) -> str:
    sessions = columns(connection, "sessions")
    basket = columns(connection, "basket")
    deliveries = columns(connection, "deliveries")
    joins = ""
    fields = [
        _field("client", _text("s.client")),
        _field("session_start_date", _instant("s.session_start_date")),
        _field("has_purchased", _exact("s.has_purchased")),
        _field("payment_amount", _exact("s.payment_amount")),
    ]
    for name, rendered in (("end_date", _instant), ("discount_amount", _exact), ("promotion_id", _text)):
        if name in sessions:
            fields.append(_field(name, rendered(f"s.{name}")))
    fields.append(_field("dimension", _dimension([(name, f"s.{quoted(name)}") for name in _dimensions(sessions)])))
    fields.append(_object("actions", _actions(sessions, "s", keep_nulls=False)))
    if basket:
        # Lines are ordered by their own text, so that the document is the same whatever order they were read in.
        line = [
            _field("product", _text("product")),
            *([_field("category", _text("category"))] if "category" in basket else []),
            _field("price", _exact("price")),
            _field("quantity", _number("quantity", basket["quantity"])),
        ]
        joins += f"""
        LEFT JOIN (
            SELECT order_id, '[' || string_agg(line, ',' ORDER BY line) || ']' AS lines,
                   CAST(CAST(sum(units) AS DOUBLE) AS VARCHAR) AS units
            FROM (
                SELECT order_id, '{{' || concat_ws(',', {", ".join(line)}) || '}}' AS line,
                       TRY_CAST(quantity AS DECIMAL(18, 4)) AS units
                FROM basket WHERE order_id IN (SELECT id FROM chosen)
            ) GROUP BY order_id
        ) b ON b.order_id = s.id"""
        fields += [_field("basket", "b.lines"), _field("total_products", "b.units")]
    if deliveries:
        joins += (
            "\nLEFT JOIN (SELECT * FROM deliveries WHERE order_id IN (SELECT id FROM chosen)) d ON d.order_id = s.id"
        )
        fields.append(_object("delivery", _delivery(deliveries)))
    version = ""
    if "changed_at" in sessions:
        # A version is at least 0: changes of before 1970 all count as equally old.
        version = """ || CASE WHEN s.changed_at IS NULL THEN '' ELSE ',"version":'
                      || greatest(epoch_ms(s.changed_at), 0) || ',"version_type":"external_gte"' END"""
    return f"""
        WITH chosen AS (
            SELECT * FROM sessions
            WHERE session_day >= CAST(? AS DATE) AND session_day < CAST(? AS DATE) + INTERVAL 1 MONTH
        )
        SELECT encode('{{"index":{{"_id":' || {_text("s.id")}{version} || '}}}}' || chr(10)
               || '{{' || concat_ws(',', {", ".join(fields)}) || '}}' || chr(10)) AS operation
        FROM chosen s {joins}"""


def _delivery(deliveries: Columns) -> list[str]:
    dates = [name for name in ("delivery_date", "prepare_date", "return_date") if name in deliveries]
    fields = [_field(name, _instant(f"d.{name}")) for name in dates]
    if {"latitude", "longitude"} <= deliveries.keys():
        latitude, longitude = (_number(f"d.{name}", deliveries[name]) for name in ("latitude", "longitude"))
        fields.append(f"""'"location":{{"lat":' || {latitude} || ',"lon":' || {longitude} || '}}'""")
    durations = {
        "prepare_hours": ("s.session_start_date", "prepare_date"),
        "ride_hours": ("d.prepare_date", "delivery_date"),
        "delivery_hours": ("s.session_start_date", "delivery_date"),
        "return_hours": ("d.delivery_date", "return_date"),
    }
    for name, (begin, end) in durations.items():
        if end in dates and (begin.startswith("s.") or begin.removeprefix("d.") in dates):
            hours = f"round((epoch_us(d.{end}) - epoch_us({begin})) / 3.6e9, 4)"
            fields.append(_field(name, f"CAST({hours} AS VARCHAR)"))
    return fields


def _downloads_sql(connection: duckdb.DuckDBPyConnection) -> str:
    customers = columns(connection, "customers")
    names = _dimensions(columns(connection, "sessions"))
    first = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in names)
    fields = [
        _field("client", _text("c.client")),
        _field("download_date", _instant("c.download_date")),
        # Null, not left out: an update leaves alone what it does not name.
        _field("signup_date", _or_null(_instant("c.signup_date") if "signup_date" in customers else "NULL")),
        _field("dimension", _dimension([(name, f"f.first.{quoted(name)}") for name in names])),
    ]
    actions = _actions(customers, "c", keep_nulls=True)
    if actions:
        fields.append(_object("actions", actions))
    firsts = (
        f"""SELECT client_code, arg_min(struct_pack({first}), (session_start_date, id)) AS first
            FROM sessions WHERE client_code >= ? AND client_code < ? GROUP BY client_code"""
        if names
        else "SELECT NULL AS client_code, NULL AS first WHERE ? > ?"
    )
    return f"""
        SELECT encode('{{"update":{{"_id":' || {_text("c.client")} || ',"retry_on_conflict":{RETRY_ON_CONFLICT}}}}}'
               || chr(10) || '{{"doc":{{' || concat_ws(',', {", ".join(fields)}) || '}},"doc_as_upsert":true}}'
               || chr(10)) AS operation
        FROM customers c LEFT JOIN ({firsts}) f ON f.client_code = c.client_code
        WHERE c.client_code >= ? AND c.client_code < ?"""


# Each of these gives an SQL expression for a piece of JSON text that is NULL where the value is: `||` with NULL is NULL
# and concat_ws leaves NULL out, so a missing value leaves no trace.
def _field(name: str, value: str) -> str:
    return f"{literal(orjson.dumps(name).decode() + ':')} || {value}"


def _object(name: str, fields: list[str]) -> str:
    inner = f"nullif(concat_ws(',', {', '.join(fields)}), '')" if fields else "NULL"
    return _field(name, f"('{{' || {inner} || '}}')")


def _dimension(named: list[tuple[str, str]]) -> str:
    labels = "".join(
        f" || ',' || to_json({literal(name.removeprefix(DIMENSION_PREFIX) + ': ')} || coalesce({value}, '{UNKNOWN}'))"
        for name, value in named
    )
    return f"""('["{ALL}"'{labels} || ']')"""


def _actions(found: Columns, table: str, *, keep_nulls: bool) -> list[str]:
    fields = []
    for name, kind in found.items():
        if name.startswith(ACTION_PREFIX):
            value = f"{table}.{quoted(name)}"
            rendered = _exact(value) if kind == "BOOLEAN" else _instant(value)
            fields.append(_field(name.removeprefix(ACTION_PREFIX), _or_null(rendered) if keep_nulls else rendered))
    return fields


def _dimensions(found: Columns) -> list[str]:
    return [name for name in found if name.startswith(DIMENSION_PREFIX)]


def _text(value: str) -> str:
    return f"to_json({value})"


def _instant(value: str) -> str:
    return f"""('"' || replace(CAST({value} AS VARCHAR), ' ', 'T') || 'Z"')"""


def _exact(value: str) -> str:
    """Booleans, integers and decimals: their text is JSON already."""
    return f"CAST({value} AS VARCHAR)"


def _number(value: str, kind: str) -> str:
    if kind in ("DOUBLE", "FLOAT"):
        return f"CASE WHEN isfinite({value}) THEN CAST({value} AS VARCHAR) END"
    return _exact(value)


def _or_null(value: str) -> str:
    return f"coalesce({value}, 'null')"
