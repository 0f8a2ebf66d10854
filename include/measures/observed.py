"""What was known at the end of a day: the sessions and customers an analysis with that `as_of` may see.

    Tables, as_of  ->  sessions:   client_code, day, week, month, hour, instant, id, is_order, amount, [discount],
                                   dimension_code_<name>…
                       customers:  client_code, download_day, download_instant

`day`, `week` and `month` are numbers (see `periods`). An order without an amount counts with an amount of zero, and so
does a session without an order. A customer listed twice counts once, with the earliest download.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ibis

from include.measures.dimension import CODE, UNKNOWN, by_dimension, coded
from include.measures.periods import numbered
from include.measures.results import result
from include.staging.tables import MONEY, Tables

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

ORDER_DEFINITION = "a session with has_purchased true, with its payment_amount as it is: negative ones lower the sum"


@dataclass(frozen=True)
class Observed:
    """Sessions and customers up to `as_of`, and the labels of the dimension codes."""

    sessions: ir.Table
    customers: ir.Table
    labels: tuple[str, ...]
    dimensions: tuple[str, ...]
    has_discount: bool

    @cached_property
    def orders(self) -> ir.Table:
        """Sessions that are orders, with `position`: 1 for a client's first, by (instant, id)."""
        orders = self.sessions.filter(self.sessions.is_order)
        window = ibis.window(group_by="client_code", order_by=["instant", "id"])
        return orders.mutate(position=(ibis.row_number().over(window) + 1).cast("int32")).drop("id")

    @cached_property
    def first_days(self) -> pd.Series:
        """The day of the first session, per dimension code."""
        # The few rows that differ in day or value are repeated instead of all sessions.
        days = self.sessions.select("day", *(CODE + name for name in self.dimensions)).distinct()
        repeated = by_dimension(days, self.dimensions)
        started = result(repeated.group_by("dimension").agg(first_day=repeated.day.min()))
        return started.astype("int64").set_index("dimension")["first_day"].sort_index()

    @cached_property
    def customers_with_first_values(self) -> ir.Table:
        """Customers with a `dimension_code_<name>` per dimension column: the value of their first session.

        The first session is the earliest by (instant, id). The code is that of `(unknown)` where there is none.
        """
        if not self.dimensions:
            return self.customers
        codes = [CODE + name for name in self.dimensions]
        sessions = self.sessions.select("client_code", "instant", "id", *codes)
        earliest = sessions.group_by("client_code").agg(instant=sessions.instant.min())
        at_first = sessions.join(earliest, ["client_code", "instant"])
        first = at_first.group_by("client_code").agg(**{code: at_first[code].argmin(at_first.id) for code in codes})
        joined = self.customers.left_join(first, "client_code").drop("client_code_right")
        unknown = {CODE + name: self.labels.index(f"{name}: {UNKNOWN}") for name in self.dimensions}
        return joined.mutate(**{code: ibis.coalesce(joined[code], unknown[code]).cast("int32") for code in codes})

    @cached_property
    def customers_by_dimension(self) -> ir.Table:
        """Customers once for `all` and once per dimension column, under the value of their first session."""
        return by_dimension(self.customers_with_first_values, self.dimensions)


def observed(tables: Tables, *, as_of: date, top_values: int, also: Sequence[str] = ()) -> Observed:
    """The sessions and customers of `tables` up to the last moment of `as_of`, dimensions coded.

    `also` names further columns of the sessions to carry along.
    """
    sessions, labels = coded(
        tables.sessions.filter(tables.sessions.session_day <= as_of), tables.dimensions, top_values=top_values
    )
    amount = ibis.ifelse(sessions.has_purchased, ibis.coalesce(sessions.payment_amount, ibis.literal(0, MONEY)), 0)
    has_discount = "discount_amount" in sessions.columns
    columns: dict[str, Any] = {
        "client_code": sessions.client_code,
        **{str(name): number for name, number in numbered(sessions.session_day, tables.week_start).items()},
        "hour": sessions.session_hour,
        "instant": sessions.session_start_date,
        "id": sessions.id,
        "is_order": sessions.has_purchased.fill_null(False),
        "amount": amount.cast(MONEY),
    }
    if has_discount:
        discount = ibis.coalesce(sessions.discount_amount, ibis.literal(0, MONEY))
        columns["discount"] = ibis.ifelse(sessions.has_purchased, discount, 0).cast(MONEY)
    columns |= {name: sessions[name] for name in also}
    columns |= {CODE + name: sessions[CODE + name] for name in tables.dimensions}
    known = tables.customers.filter(tables.customers.download_day <= as_of)
    customers = known.group_by("client_code").agg(
        download_day=known.download_day.min(), download_instant=known.download_date.min()
    )
    return Observed(sessions.select(**columns), customers, labels, tables.dimensions, has_discount)


def client_names(sessions: ir.Table) -> ir.Table:
    """The client of each client_code of the sessions."""
    return sessions.group_by("client_code").agg(client=sessions.client.min())


def clients_by_code(tables: Tables, codes: Iterable[int]) -> dict[int, str]:
    """The clients behind these codes."""
    wanted = sorted(set(codes))
    if not wanted:
        return {}
    found = result(client_names(tables.sessions.filter(tables.sessions.client_code.isin(wanted))))
    return dict(zip(found["client_code"].astype("int64"), found["client"], strict=True))


def definition(tables: Tables, *, as_of: date, **more: Any) -> dict[str, Any]:
    """What every report header says: the window, the calendar, and what an order is."""
    return {
        "window": f"everything up to and including {as_of.isoformat()}",
        "time_zone": tables.time_zone,
        "week_start": tables.week_start,
        "order": ORDER_DEFINITION,
        **more,
    }
