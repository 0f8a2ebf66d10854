"""Small snapshots for these tests: a DuckDB with the views that staging gives."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

MONEY = pa.decimal128(18, 4)
INSTANT = pa.timestamp("us")

SESSION_TYPES = {
    "id": pa.string(),
    "client": pa.string(),
    "client_code": pa.int32(),
    "session_start_date": INSTANT,
    "session_day": pa.date32(),
    "has_purchased": pa.bool_(),
    "payment_amount": MONEY,
    "end_date": INSTANT,
    "discount_amount": MONEY,
    "promotion_id": pa.string(),
    "changed_at": INSTANT,
}
CUSTOMER_TYPES = {
    "client": pa.string(),
    "client_code": pa.int32(),
    "download_date": INSTANT,
    "download_day": pa.date32(),
    "signup_date": INSTANT,
}
BASKET_TYPES = {
    "order_id": pa.string(),
    "product": pa.string(),
    "category": pa.string(),
    "price": MONEY,
    "quantity": pa.float64(),
}
DELIVERY_TYPES = {
    "order_id": pa.string(),
    "delivery_date": INSTANT,
    "prepare_date": INSTANT,
    "return_date": INSTANT,
    "latitude": pa.float64(),
    "longitude": pa.float64(),
}
Row = dict[str, Any]


def session(id_: str = "s1", **more: Any) -> Row:
    started = more.get("session_start_date", datetime(2024, 1, 2, 10, 30))
    row = {"id": id_, "client": "c1", "client_code": 1, "session_start_date": started, "session_day": started.date()}
    return {**row, "has_purchased": True, "payment_amount": Decimal("12.5000"), **more}


def customer(client: str = "c1", client_code: int = 1, **more: Any) -> Row:
    days = {"download_date": datetime(2023, 5, 1), "download_day": date(2023, 5, 1)}
    return {"client": client, "client_code": client_code, **days, **more}


def snapshot(
    sessions: list[Row],
    customers: list[Row] | None = None,
    basket: list[Row] | None = None,
    deliveries: list[Row] | None = None,
) -> duckdb.DuckDBPyConnection:
    """Only the columns that some row has exist, as only mapped columns are staged."""
    connection = duckdb.connect()
    tables = {
        "sessions": (sessions, SESSION_TYPES),
        "customers": ([customer()] if customers is None else customers, CUSTOMER_TYPES),
        "basket": (basket, BASKET_TYPES),
        "deliveries": (deliveries, DELIVERY_TYPES),
    }
    for name, (rows, types) in tables.items():
        if rows is None:
            continue
        found = dict.fromkeys(column for row in rows for column in row)
        required = [column for column in types if column in found or (not rows and column != "changed_at")]
        more = [column for column in found if column not in types]
        fields = [pa.field(column, types[column]) for column in required]
        for column in more:
            values = [row[column] for row in rows if row.get(column) is not None]
            kind = pa.bool_() if values and isinstance(values[0], bool) else INSTANT
            fields.append(pa.field(column, pa.string() if column.startswith("dimension_") else kind))
        connection.register(f"{name}_rows", pa.Table.from_pylist(rows, schema=pa.schema(fields)))
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {name}_rows")
        connection.unregister(f"{name}_rows")
    return connection
