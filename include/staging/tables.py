"""The staged tables as the analyses see them: Ibis expressions on a local DuckDB.

Columns (a timestamp is UTC without a zone; a day is in the business time zone; money is decimal(18, 4), so that sums
are exact and the same in every order of addition):

    sessions    id, client, client_code, session_start_date, session_day, session_hour, has_purchased, payment_amount,
                [end_date], [discount_amount], [promotion_id], dimension_<name>…, action_<name>…
    customers   client, client_code, download_date, download_day, [signup_date], action_<name>…
    basket      order_id, product, price, quantity, [category], [line_id]
    deliveries  order_id, delivery_date, [prepare_date], [return_date], [latitude], [longitude]
    each        source (the name of the source a row is from), [changed_at]

`client_code` is an integer that stands for the client: cheaper to group and join by than a long text. It means nothing
outside one snapshot, so it never goes into a report. Columns in brackets exist only where the user mapped them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import ibis
import pyarrow as pa

from include.schemas.source_kinds import ACTION_PREFIX, DIMENSION_PREFIX

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

MONEY = "decimal(18, 4)"


@dataclass(frozen=True)
class Tables:
    """The tables of one snapshot. `basket` and `deliveries` are None where the source is not configured.

    `dimensions` are the dimension columns to break down by (their names without the prefix), in the user's order;
    `sources` says for each table which sources it is made of, those without a row among them.
    """

    sessions: ir.Table
    customers: ir.Table
    basket: ir.Table | None = None
    deliveries: ir.Table | None = None
    dimensions: tuple[str, ...] = ()
    time_zone: str = "UTC"
    week_start: str = "monday"
    actions: tuple[str, ...] = field(default=())
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def tables_from_frames(
    sessions: pd.DataFrame,
    customers: pd.DataFrame,
    *,
    basket: pd.DataFrame | None = None,
    deliveries: pd.DataFrame | None = None,
    dimensions: tuple[str, ...] | None = None,
    time_zone: str = "UTC",
    week_start: str = "monday",
) -> Tables:
    """Tables over pandas frames, for tests and notebooks.

    `sessions` needs id, client, session_start_date (UTC), has_purchased, payment_amount; `customers` needs client and
    download_date; `basket` order_id, product, price, quantity; `deliveries` order_id, delivery_date. Codes, days and
    hours are derived here just as staging derives them.
    """
    connection = ibis.duckdb.connect()
    codes = {client: code for code, client in enumerate(sorted({*sessions["client"], *customers["client"]}))}

    def derived(frame: pd.DataFrame, instant: str, day: str, hour: str | None) -> pd.DataFrame:
        local = frame[instant].dt.tz_localize("UTC").dt.tz_convert(time_zone)
        columns = {"client_code": frame["client"].map(codes).astype("int32"), day: local.dt.date}
        return frame.assign(**columns, **({hour: local.dt.hour.astype("int8")} if hour else {}))

    def table(name: str, frame: pd.DataFrame, types: dict[str, str]) -> ir.Table:
        connection.con.register(name, pa.Table.from_pandas(frame, preserve_index=False))
        raw = connection.table(name)
        return raw.mutate(**{column: raw[column].cast(kind) for column, kind in types.items() if column in raw.columns})

    columns = [str(column) for column in sessions]
    found = tuple(name.removeprefix(DIMENSION_PREFIX) for name in columns if name.startswith(DIMENSION_PREFIX))
    session_types = {
        "id": "string",
        "client": "string",
        "session_start_date": "timestamp(6)",
        "session_day": "date",
        "has_purchased": "boolean",
        "payment_amount": MONEY,
        "discount_amount": MONEY,
        "promotion_id": "string",
        **{DIMENSION_PREFIX + name: "string" for name in found},
    }
    basket_types = {
        "order_id": "string",
        "product": "string",
        "price": MONEY,
        "quantity": "float64",
        "category": "string",
    }
    delivery_types = {
        "order_id": "string",
        **dict.fromkeys(("prepare_date", "delivery_date", "return_date"), "timestamp(6)"),
        **dict.fromkeys(("latitude", "longitude"), "float64"),
    }
    customer_types = {"client": "string", "download_date": "timestamp(6)", "download_day": "date"}
    return Tables(
        sessions=table(
            "sessions", derived(sessions, "session_start_date", "session_day", "session_hour"), session_types
        ),
        customers=table("customers", derived(customers, "download_date", "download_day", None), customer_types),
        basket=None if basket is None else table("basket", basket, basket_types),
        deliveries=None if deliveries is None else table("deliveries", deliveries, delivery_types),
        dimensions=found if dimensions is None else dimensions,
        time_zone=time_zone,
        week_start=week_start,
        actions=tuple(name.removeprefix(ACTION_PREFIX) for name in columns if name.startswith(ACTION_PREFIX)),
    )
