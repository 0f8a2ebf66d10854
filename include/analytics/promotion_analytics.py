"""Promotions: how many orders use one, what each costs, and who comes back after it.

    sessions with promotion_id  ->  organic and promoted orders per day, week, month and hour of day; both kinds of
                                    order beside each other; per promotion customers, orders, revenue, discount,
                                    discount depth, first orders, repeat rate, break-even; daily series

An order is *promoted* when it has a promotion_id, otherwise *organic*; the promotion of a session without an order does
not count. *Discount depth* is discount / (revenue + discount): the part of the undiscounted value that was let off.
A *first order* is the earliest of its customer.

The *repeat rate* is out of the customers of a promotion, each from the first order with it: the share who order again,
with or without a promotion, within PROMOTION_REPEAT_DAYS. Customers for whom these days are not over at the report date
are `censored_customers` and in neither numerator nor denominator, also where they have already ordered again: counting
only those would make young promotions look better.

*Break-even* answers: which part of a promotion's orders must be additional (would not have been placed without it), so
that it pays for its discount? With the margin m (PROMOTION_GROSS_MARGIN, the part of the undiscounted value that is
left after the cost of goods), value V = revenue + discount and discount D, an additional order earns its margin less
its discount, and any other order loses its discount:

    share * (m * V - D) = (1 - share) * D   =>   share = D / (m * V) = discount depth / m

It assumes that additional orders are as large as the others, that the margin is the same for all goods, and that
nothing changes later (no order brought forward, nobody won for good). Above 100 % the discount exceeds the margin: the
promotion could not pay even if all of its orders were additional.

Nothing here says what a promotion caused. Who uses one differs from who does not, and how many orders are additional
cannot be counted from orders alone: that takes a control group.

For a dimension value a customer's first order is the first that carries the value.
"""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd

import configs
from include.dashboards.panel import Panel
from include.measures.dimension import CODE, OTHER, by_dimension
from include.measures.observed import Observed, definition, observed
from include.measures.periods import (
    GRANULARITIES,
    are_complete,
    as_dates,
    calendar,
    day_number,
    every_day,
    first_days,
    period_of,
)
from include.measures.rates import wilson_interval, with_rate
from include.measures.reporting import finished_report, without_rows
from include.measures.results import held, ratio, result
from include.measures.row_limit import fitting
from include.schemas.reports import Field, Report, ReportType

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

READS = ("sessions", "sessions.promotion_id")
KINDS = ("organic", "promoted")
NEVER = 1_000_000  # days to an order that has not happened

FIELDS: dict[str, Field] = {
    "order_kind": Field("keyword", "`promoted` (with a promotion_id) or `organic`"),
    "promotion_id": Field("keyword", f"the promotion; `{OTHER}` are those that are not among the largest"),
    "organic_orders": Field("long", "orders without a promotion", "orders"),
    "promoted_orders": Field("long", "orders with a promotion", "orders"),
    "promoted_revenue": Field("double", "payment amount of orders with a promotion", "currency"),
    "promoted_discount": Field("double", "discount amount of orders with a promotion", "currency"),
    "organic_orders_per_day": Field("double", "mean organic orders in this hour of a day, over all days", "orders"),
    "promoted_orders_per_day": Field("double", "mean promoted orders in this hour of a day, over all days", "orders"),
    "average_order_value": Field("double", "revenue / orders", "currency"),
    "discount_depth": Field("double", "discount / (revenue + discount)", "share"),
    "kind_orders_per_customer": Field("double", "orders of this promotion or kind / its customers", "orders"),
    "first_orders": Field("long", "orders that are the first of their customer", "orders"),
    "first_order_rate": Field("double", "first orders / orders", "share"),
    "first_order_ci_low": Field("double", "lower end of the interval of the first order rate", "share"),
    "first_order_ci_high": Field("double", "upper end of the interval of the first order rate", "share"),
    "censored_customers": Field("long", "customers whose time to order again is not over", "customers"),
    "break_even_rate": Field("double", "share of the orders that must be additional to pay for the discount", "share"),
    "break_even_orders": Field("double", "break-even rate x orders", "orders"),
    "first_used": Field("date", "day of the first order"),
    "last_used": Field("date", "day of the last order"),
}

RATE = ("rate", "numerator", "denominator", "ci_low", "ci_high")
MEASURES = (
    "customers", "orders", "revenue", "discount", "discount_depth", "average_order_value", "kind_orders_per_customer",
    "first_orders", "first_order_rate", "first_order_ci_low", "first_order_ci_high", "censored_customers", *RATE,
    "break_even_rate", "break_even_orders", "first_used", "last_used",
)  # fmt: skip
SHARE_TEXT = "The share of the {0}'s orders that used a promotion; changes within the band may be chance."
REPEAT = f"within {configs.PROMOTION_REPEAT_DAYS} days"


_bar = partial(Panel, mark="bar", x="promotion_id", x_title="Promotion", limit=20)

REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "order_kinds",
        "Organic and promoted orders compared",
        ("dimension", "order_kind", *MEASURES),
        ("dimension", "order_kind"),
        (
            Panel(
                title="Organic and promoted orders compared",
                mark="table",
                y="orders",
                columns=(
                    "order_kind", "customers", "orders", "revenue", "discount", "discount_depth",
                    "average_order_value", "first_order_rate", "rate", "ci_low", "ci_high", "censored_customers",
                ),
                width=12,
                how_to_read=f"Both kinds of order side by side; the rate is of customers who ordered again {REPEAT}.",
            ),
        ),
    ),
    ReportType(
        "promoted_share",
        "Organic and promoted orders per day, week and month",
        (
            "dimension", "granularity", "period", "is_complete", "orders", "organic_orders", "promoted_orders",
            "revenue", "promoted_revenue", "discount", "promoted_discount", *RATE,
        ),
        ("dimension", "granularity", "period"),
        (
            *(
                Panel(
                    title=f"{name} organic and promoted orders",
                    mark="line",
                    x="period",
                    y=("organic_orders", "promoted_orders"),
                    x_title=granularity.capitalize(),
                    y_title="Orders",
                    series_titles={"organic_orders": "Organic", "promoted_orders": "Promoted"},
                    where={"granularity": granularity},
                    how_to_read=f"Orders of each {granularity} without and with a promotion; together they are all.",
                )
                for name, granularity in (("Daily", "day"), ("Weekly", "week"))
            ),
            *(
                Panel(
                    title=f"{name} share of promoted orders",
                    mark="line",
                    x="period",
                    y="rate",
                    x_title=granularity.capitalize(),
                    y_title="Share of orders (%)",
                    format="percent",
                    band=("ci_low", "ci_high"),
                    where={"granularity": granularity, "is_complete": True},
                    how_to_read=SHARE_TEXT.format(granularity),
                )
                for name, granularity in (("Daily", "day"), ("Weekly", "week"))
            ),
        ),
    ),
    ReportType(
        "promoted_hours",
        "Organic and promoted orders per hour of a day",
        (
            "dimension", "hour_of_day", "orders", "organic_orders", "promoted_orders", "organic_orders_per_day",
            "promoted_orders_per_day", *RATE, "n",
        ),
        ("dimension", "hour_of_day"),
        (
            Panel(
                title="Hourly organic and promoted orders",
                mark="line",
                x="hour_of_day",
                y=("organic_orders_per_day", "promoted_orders_per_day"),
                x_title="Hour of day (0-23)",
                y_title="Mean orders per day",
                format="decimal",
                series_titles={"organic_orders_per_day": "Organic", "promoted_orders_per_day": "Promoted"},
                how_to_read="What a usual day brings in each hour, averaged over all days, those without any included.",
            ),
            Panel(
                title="Hourly share of promoted orders",
                mark="line",
                x="hour_of_day",
                y="rate",
                x_title="Hour of day (0-23)",
                y_title="Share of orders (%)",
                format="percent",
                band=("ci_low", "ci_high"),
                how_to_read=SHARE_TEXT.format("hour"),
            ),
        ),
    ),
    ReportType(
        "promotions",
        "Promotions",
        ("dimension", "promotion_id", *MEASURES),
        ("dimension", "promotion_id"),
        (
            _bar(
                "Orders per promotion",
                y="orders",
                y_title="Orders",
                how_to_read="Orders that used the promotion; most first.",
            ),
            _bar(
                "Customers per promotion",
                y="customers",
                y_title="Customers",
                how_to_read="Customers who used the promotion at least once.",
            ),
            _bar(
                "Revenue per promotion",
                y="revenue",
                y_title="Amount (currency)",
                format="money",
                how_to_read="What the promotion's orders paid, after the discount; not what it brought in addition.",
            ),
            _bar(
                "Discount depth per promotion",
                y="discount_depth",
                y_title="Discount / value before it (%)",
                format="percent",
                how_to_read="The part of the undiscounted value that was let off.",
            ),
            _bar(
                "Orders per customer and promotion",
                y="kind_orders_per_customer",
                y_title="Orders per customer",
                format="decimal",
                how_to_read="How often a customer who used the promotion used it.",
            ),
            _bar(
                "First orders per promotion",
                y="first_order_rate",
                y_title="Share of orders (%)",
                format="percent",
                how_to_read="The share of the promotion's orders that were the first of their customer.",
            ),
            _bar(
                "Customers who came back",
                y="rate",
                y_title="Share of customers (%)",
                format="percent",
                how_to_read=f"Of its customers, those who ordered again {REPEAT}; the tooltip has the interval.",
            ),
            _bar(
                "Break-even",
                y="break_even_rate",
                y_title="Share of orders (%)",
                format="percent",
                how_to_read="So many of its orders would have to be additional to pay for the discount, at a margin of "
                f"{configs.PROMOTION_GROSS_MARGIN:.0%}; above 100 % it cannot pay.",
            ),
        ),
    ),
    ReportType(
        "promotion_days",
        "Promotions per day",
        (
            "dimension", "promotion_id", "granularity", "period", "is_complete", "customers", "orders", "revenue",
            "discount", *RATE,
        ),
        ("dimension", "promotion_id", "granularity", "period"),
        tuple(
            Panel(
                title=title,
                mark="line",
                x="period",
                y=y,
                breakdown="promotion_id",
                x_title="Day",
                y_title=y_title,
                format=shape,  # type: ignore[arg-type]
                width=4,
                how_to_read=f"{text} of the promotions with most orders in the days shown.",
            )
            for title, y, y_title, shape, text in (
                ("Daily orders per promotion", "orders", "Orders", "number", "Orders per day"),
                ("Daily revenue per promotion", "revenue", "Amount (currency)", "money", "Revenue per day"),
                ("Daily discount per promotion", "discount", "Amount (currency)", "money", "Discount per day"),
            )
        ),
    ),
)  # fmt: skip

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "kept_days": configs.ACTIVITY_KEPT_DAYS,
    "promotions_kept": configs.PROMOTIONS_KEPT,
    "daily_promotions": configs.PROMOTION_SERIES_KEPT,
    "daily_days": configs.PROMOTION_SERIES_DAYS,
    "repeat_days": configs.PROMOTION_REPEAT_DAYS,
    "gross_margin": configs.PROMOTION_GROSS_MARGIN,
    "most_rows": configs.REPORT_MAX_ROWS,
}


def promotion_analytics(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    kept_days: int = 730,
    promotions_kept: int = 50,
    daily_promotions: int = 8,
    daily_days: int = 90,
    repeat_days: int = 30,
    gross_margin: float = 0.3,
    most_rows: int = 100_000,
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`.

    Without a column `promotion_id` there are no rows, and a warning that says so.
    """
    today = day_number(as_of)
    said = definition(
        tables,
        as_of=as_of,
        promoted="an order with a promotion_id",
        repeat=f"another order of the customer within {repeat_days} days after the first order with the promotion",
        break_even=f"discount / (gross margin {gross_margin:g} x (revenue + discount)); no statement about causes",
    )
    if "promotion_id" not in tables.sessions.columns:
        reason = "promotion_analytics needs the column promotion_id of the sessions, which sources.yaml does not map."
        return without_rows(REPORTS, said, reason)
    seen = observed(tables, as_of=as_of, top_values=top_values, also=("promotion_id",))
    dimensions = len(seen.labels)
    kept_days = fitting(kept_days, rows_each=dimensions, most_rows=most_rows // 2)
    promotions_kept = fitting(promotions_kept, rows_each=dimensions, most_rows=most_rows - dimensions)
    daily_promotions = fitting(daily_promotions, rows_each=dimensions, most_rows=most_rows)
    daily_days = fitting(daily_days, rows_each=dimensions * daily_promotions, most_rows=most_rows)
    first_day = seen.first_days
    with held(_orders(seen)) as each:
        orders = by_dimension(each, seen.dimensions, own=("is_first", "gap"))
        promoted = orders.filter(orders.promotion_id.notnull())
        activity = _per_period(orders, first_day, tables.week_start, as_of)
        hours = _per_hour(orders, first_day, today)
        with held(_ranked(promoted, promotions_kept)) as largest:
            joined = promoted.left_join(largest, ["dimension", "promotion_id"])
            place = ibis.coalesce(joined.place, promotions_kept)
            placed = joined.select(promoted, place=place.cast("int64"))
            promotions = _measured(placed, "place", today, repeat_days)
            names = result(largest).rename(columns={"promotion_id": "name"}).astype({"dimension": "int64"})
        kinds = _measured(orders.mutate(place=orders.promotion_id.notnull().cast("int64")), "place", today, repeat_days)
        days = _per_day(orders, first_day, today, daily_promotions, daily_days)
        number = int(promoted.filter(promoted.dimension == 0).promotion_id.nunique().to_pyarrow().as_py())
    kinds["order_kind"] = [KINDS[place] for place in kinds["place"]]
    promotions = promotions.merge(names, how="left", on=["dimension", "place"])
    promotions["promotion_id"] = promotions["name"].fillna(OTHER)
    frames = {
        "order_kinds": _finished(kinds, confidence_level, gross_margin),
        "promoted_share": _newest(activity, as_of, kept_days),
        "promoted_hours": hours,
        "promotions": _finished(promotions, confidence_level, gross_margin),
        "promotion_days": days,
    }
    for name in ("promoted_share", "promoted_hours"):
        over: Any = frames[name]["is_complete"].to_numpy(bool) if name == "promoted_share" else True
        frames[name] = with_rate(frames[name], "promoted_orders", "orders", confidence_level, known=over)
    frames["promotion_days"] = with_rate(days, "orders", "all_orders", confidence_level)
    said |= {
        "promotions": number,
        "promotions_kept": promotions_kept,
        "promotions_counted_together_as_other": max(0, number - promotions_kept),
        "daily_series": f"the {daily_promotions} promotions with most orders in the {daily_days} days shown",
        "newest_days_kept": kept_days,
    }
    warnings = []
    if not seen.has_discount:
        warnings.append("The sessions have no discount column, so discounts, their depth and break-even are unknown.")
    headline = _headline(kinds, number, seen)
    reports = {}
    keys = {
        "order_kinds": ["dimension", "place"],
        "promoted_share": ["dimension", "granularity_order", "period"],
        "promoted_hours": ["dimension", "hour_of_day"],
        "promotions": ["dimension", "place"],
        "promotion_days": ["dimension", "place", "period"],
    }
    for report_type in REPORTS:
        frame = frames[report_type.type]
        if not seen.has_discount:
            unknown = ("discount", "promoted_discount", "discount_depth", "break_even_rate", "break_even_orders")
            frame = frame.assign(**{name: np.nan for name in unknown if name in report_type.fields})
        key = keys[report_type.type]
        reports[report_type.type] = finished_report(
            report_type, frame, seen.labels, key, as_of=as_of, kpis=headline, said=said, warnings=warnings
        )
    if number > promotions_kept:
        reports["promotions"].warnings.append(
            f"There are {number:,} promotions; those beyond the {promotions_kept} with most orders are in {OTHER}."
        )
    if seen.has_discount:
        reports["promotions"].warnings.append(
            f"Break-even assumes a gross margin of {gross_margin:.0%}; set PROMOTION_GROSS_MARGIN to your own."
        )
    return reports


def _orders(seen: Observed) -> ir.Table:
    """Orders with `is_first_<n>` of the customer and the days to the customer's next (`gap_<n>`).

    n is 0 among all orders, 1 among those with the same value of the first dimension column, …: found here, before the
    orders are repeated.
    """
    orders = seen.orders
    if not seen.has_discount:
        orders = orders.mutate(discount=ibis.literal(0, "decimal(18, 4)"))
    orders = orders.mutate(promotion_id=orders.promotion_id.nullif("")).drop("instant", "is_order")
    among: dict[str, Any] = {}
    for number, own in enumerate([[], *([CODE + name] for name in seen.dimensions)]):
        window = ibis.window(group_by=["client_code", *own], order_by="position")
        among[f"is_first_{number}"] = ibis.row_number().over(window) == 0
        among[f"gap_{number}"] = ibis.coalesce(orders.day.lead().over(window) - orders.day, NEVER)
    return orders.mutate(**among)


def _ranked(promoted: ir.Table, most: int) -> ir.Table:
    """dimension, promotion_id, place (0: most orders; ties by revenue, then by name) of the `most` largest."""
    totals = promoted.group_by(["dimension", "promotion_id"]).agg(orders=promoted.count(), amount=promoted.amount.sum())
    by_size = ibis.window(
        group_by="dimension", order_by=[ibis.desc("orders"), ibis.desc("amount"), ibis.asc("promotion_id")]
    )
    placed = totals.mutate(place=ibis.row_number().over(by_size))
    return placed.filter(placed.place < most).select("dimension", "promotion_id", "place")


def _measured(orders: ir.Table, group: str, today: int, repeat_days: int) -> pd.DataFrame:
    """One row per dimension and group: sums, customers, first orders, and who came back."""
    per_customer = orders.group_by(["dimension", group, "client_code"]).agg(
        orders=orders.count(),
        first_orders=orders.is_first.sum(),
        amount=orders.amount.sum(),
        discount=orders.discount.sum(),
        since=orders.day.min(),
        until=orders.day.max(),
        gap=orders.gap.argmin(orders.position),
    )
    is_over = per_customer.since + repeat_days <= today
    found = result(
        per_customer.group_by(["dimension", group]).agg(
            customers=per_customer.count(),
            orders=per_customer.orders.sum().cast("int64"),
            first_orders=per_customer.first_orders.sum().cast("int64"),
            revenue=per_customer.amount.sum().cast("float64"),
            discount=per_customer.discount.sum().cast("float64"),
            first_day=per_customer.since.min(),
            last_day=per_customer.until.max(),
            observed_customers=is_over.sum(),
            repeat_customers=(is_over & (per_customer.gap <= repeat_days)).sum(),
        )
    )
    whole = [str(name) for name in found if name not in ("revenue", "discount")]
    return found.astype(dict.fromkeys(whole, "int64"))


def _finished(measured: pd.DataFrame, confidence_level: float, gross_margin: float) -> pd.DataFrame:
    """With ratios, rates and dates."""
    low, high = wilson_interval(measured["first_orders"], measured["orders"], confidence_level)
    value = measured["revenue"] + measured["discount"]
    depth = ratio(measured["discount"], value.where(value > 0))
    break_even = depth / gross_margin if gross_margin > 0 else np.full(len(depth), np.nan)
    finished = measured.assign(
        discount_depth=depth,
        average_order_value=ratio(measured["revenue"], measured["orders"]),
        kind_orders_per_customer=ratio(measured["orders"], measured["customers"]),
        first_order_rate=ratio(measured["first_orders"], measured["orders"]),
        first_order_ci_low=low,
        first_order_ci_high=high,
        censored_customers=measured["customers"] - measured["observed_customers"],
        break_even_rate=break_even,
        break_even_orders=break_even * measured["orders"],
        first_used=as_dates(first_days(measured["first_day"], "day", "monday")).to_numpy(),
        last_used=as_dates(first_days(measured["last_day"], "day", "monday")).to_numpy(),
    )
    return with_rate(finished, "repeat_customers", "observed_customers", confidence_level)


def _sums(orders: ir.Table) -> dict[str, Any]:
    """Orders and money of both kinds."""
    is_promoted = orders.promotion_id.notnull()
    return {
        "orders": orders.count(),
        "promoted_orders": is_promoted.sum(),
        "revenue": orders.amount.sum().cast("float64"),
        "promoted_revenue": ibis.ifelse(is_promoted, orders.amount, 0).sum().cast("float64"),
        "discount": orders.discount.sum().cast("float64"),
        "promoted_discount": ibis.ifelse(is_promoted, orders.discount, 0).sum().cast("float64"),
    }


def _zero_where_missing(full: pd.DataFrame) -> pd.DataFrame:
    full = full.fillna(dict.fromkeys([str(name) for name in full if name not in ("dimension", "period")], 0))
    counts = [name for name in ("orders", "promoted_orders", "customers", "all_orders") if name in full]
    return full.astype(dict.fromkeys(counts, "int64"))


def _per_period(orders: ir.Table, first_day: pd.Series, week_start: str, as_of: date) -> pd.DataFrame:
    """One row per dimension, granularity and period since the first session."""
    parts = []
    for place, granularity in enumerate(GRANULARITIES):
        counted = result(orders.group_by(dimension=orders.dimension, period=orders[granularity]).agg(**_sums(orders)))
        days: list[date] = list(first_days(first_day, "day", week_start).astype(object))
        starts = pd.Series([period_of(day, granularity, week_start) for day in days], first_day.index, dtype="int64")
        full = calendar(starts, period_of(as_of, granularity, week_start))
        full = _zero_where_missing(full.merge(counted, how="left", on=["dimension", "period"]))
        parts.append(
            full.assign(
                granularity=granularity,
                granularity_order=place,
                organic_orders=full["orders"] - full["promoted_orders"],
                is_complete=are_complete(full["period"], granularity, week_start, as_of),
                period=as_dates(first_days(full["period"], granularity, week_start)),
            )
        )
    return pd.concat(parts, ignore_index=True)


def _newest(activity: pd.DataFrame, as_of: date, kept_days: int) -> pd.DataFrame:
    """Without the days that are too old; weeks and months are all kept."""
    age = pd.Series([(as_of - period).days for period in activity["period"]], dtype="int64")
    return activity[(activity["granularity"] != "day") | (age < kept_days)].reset_index(drop=True)


def _per_hour(orders: ir.Table, first_day: pd.Series, today: int) -> pd.DataFrame:
    """24 rows per dimension."""
    counted = result(orders.group_by(dimension=orders.dimension, hour_of_day=orders.hour).agg(**_sums(orders)))
    every = pd.MultiIndex.from_product([first_day.index, range(24)], names=["dimension", "hour_of_day"])
    full = _zero_where_missing(
        every.to_frame(index=False).astype("int64").merge(counted, how="left", on=["dimension", "hour_of_day"])
    )
    days = today + 1 - full["dimension"].map(first_day).astype("int64")
    organic = full["orders"] - full["promoted_orders"]
    return full.assign(
        n=days,
        organic_orders=organic,
        organic_orders_per_day=ratio(organic, days),
        promoted_orders_per_day=ratio(full["promoted_orders"], days),
    )


def _per_day(orders: ir.Table, first_day: pd.Series, today: int, most: int, days: int) -> pd.DataFrame:
    """One row per dimension, day and promotion, for the promotions with most orders in these days."""
    recent = orders.filter(orders.day > today - days)
    promoted = recent.filter(recent.promotion_id.notnull())
    with held(_ranked(promoted, most)) as largest:
        largest_here = result(largest).astype({"dimension": "int64", "place": "int64"})
        joined = promoted.join(largest, ["dimension", "promotion_id"])
        counted = result(
            joined.group_by(["dimension", "place", "day"]).agg(
                orders=joined.count(),
                customers=joined.client_code.nunique(),
                revenue=joined.amount.sum().cast("float64"),
                discount=joined.discount.sum().cast("float64"),
            )
        )
    of_day = result(recent.group_by(["dimension", "day"]).agg(all_orders=recent.count()))
    starts = largest_here["dimension"].map(first_day).fillna(today).astype("int64").clip(lower=today - days + 1)
    full = every_day(largest_here, starts, today)
    full = full.merge(counted, how="left", on=["dimension", "place", "day"])
    full = _zero_where_missing(full.merge(of_day, how="left", on=["dimension", "day"]))
    return full.assign(
        granularity="day",
        is_complete=True,  # the report date is the last day, and over
        period=as_dates(first_days(full["day"], "day", "monday")),
    )


def _headline(kinds: pd.DataFrame, promotions: int, seen: Observed) -> dict[str, float]:
    of_all = kinds[kinds["dimension"] == 0]
    used = of_all[of_all["place"] == 1]
    orders, promoted = float(of_all["orders"].sum()), float(used["orders"].sum())
    known = {"promotions": float(promotions), "orders": orders, "promoted_orders": promoted}
    if orders:
        known["promoted_share"] = round(promoted / orders, 6)
    if seen.has_discount:
        known["discount"] = round(float(of_all["discount"].sum()), 4)
    return known
