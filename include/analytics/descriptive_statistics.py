"""How much happens: sessions, orders, revenue and active customers, and how they are spread.

    sessions, customers  ->  activity per day, week and month; averages per hour of day; means per customer and week;
                             new, returning, resurrected and dormant customers; distribution of payments; customers by
                             number of orders; the customer journey; KPIs with their change

A customer is *active* in a period with at least one session in it, a *buyer* with at least one order. Of the active
customers of a period, those are *new* who have no earlier session, *returning* who were active within the
ACTIVE_WINDOW_PERIODS periods before, and *resurrected* the others; *dormant* are those who complete their
ACTIVE_WINDOW_PERIODS-th period in a row without a session. So active = new + returning + resurrected, and with a window
of one, active = active before − dormant + new + resurrected.

Every calendar runs without gaps from the first session to the report date: a period in which nothing happened is a row
of zeros, and hourly averages are divided by all days. Daily tables keep the newest ACTIVITY_KEPT_DAYS days. A KPI is
compared with the equally long period directly before; where the data do not reach back that far, there is no change.

The payment distribution chooses its bins by Freedman and Diaconis' rule [1]_ up to the 99th percentile, rounded to a
width people can read; amounts above share one open bin. The rule assumes a smooth distribution: a shop with three fixed
prices has three bars.

In the customer journey step n rests on the customers who got as far as order n. The later the step, the more it speaks
of regulars only. An order on a day before the download is left out of the first step's duration.

.. [1] Freedman & Diaconis (1981), Probability Theory and Related Fields 57, 453-476.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd

import configs
from include.dashboards.panel import Format, Panel
from include.measures.dimension import CODE, by_dimension
from include.measures.kpi_window import kpi_window
from include.measures.observed import Observed, definition, observed
from include.measures.periods import (
    GRANULARITIES,
    Granularity,
    are_complete,
    as_dates,
    calendar,
    day_number,
    first_days,
    period_of,
)
from include.measures.rates import with_rate
from include.measures.reporting import finished_report
from include.measures.results import held, ratio, records, result
from include.schemas.reports import Field, Report, ReportType

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

READS = ("sessions", "customers")
ALL_TIME = "all time"
UNITS = 10_000  # of money in one unit of currency: amounts have four decimals
WIDTHS = sorted({step * 10**power // 10 for power in range(1, 19) for step in (10, 20, 25, 50)} - {2})


LATEST = kpi_window(configs.KPI_PERIOD_DAYS)

FIELDS: dict[str, Field] = {
    "buyers": Field("long", "distinct customers with an order", "customers"),
    "average_order_value": Field("double", "revenue / orders", "currency"),
    "sessions_per_day": Field("double", "mean sessions in this hour of a day, over all days", "sessions"),
    "orders_per_day": Field("double", "mean orders in this hour of a day, over all days", "orders"),
    "revenue_per_day": Field("double", "mean revenue in this hour of a day, over all days", "currency"),
    "customers_per_day": Field("double", "mean active customers in this hour of a day, over all days", "customers"),
    "sessions_per_customer": Field("double", "sessions / active customers", "sessions"),
    "orders_per_customer": Field("double", "orders / active customers", "orders"),
    "orders_per_buyer": Field("double", "orders / buyers", "orders"),
    "revenue_per_customer": Field("double", "revenue / customers", "currency"),
    "new_customers": Field("long", "active for the first time", "customers"),
    "returning_customers": Field("long", "active, and active within the window before", "customers"),
    "resurrected_customers": Field("long", "active again after longer than the window", "customers"),
    "dormant_customers": Field("long", "not active, for just as long as the window by now", "customers"),
    "bin": Field("long", "position of the bin, from 0"),
    "bin_label": Field("keyword", "the bin's amounts: from, up to but not including"),
    "bin_start": Field("double", "smallest amount in the bin", "currency"),
    "bin_end": Field("double", "end of the bin, not included; absent where it is open", "currency"),
    "order_count": Field("long", "orders of a customer", "orders"),
    "order_count_label": Field("keyword", "orders of a customer; the last one stands for that many or more"),
    "metric": Field("keyword", "which KPI"),
    "window": Field("keyword", f"`last … days` (KPI_PERIOD_DAYS, up to and including the report date) or `{ALL_TIME}`"),
    "value": Field("double", "the KPI in the window"),
    "previous_value": Field("double", "the KPI in the equally long window before"),
    "change_rate": Field("double", "(value - previous value) / previous value", "share"),
    "order_number": Field("long", "the customer's first, second, … order"),
    "step": Field("keyword", "from where to where in the customer journey"),
    "median_hours": Field("double", "median time since the step before", "hours"),
    "median_amount": Field("double", "median payment amount at this step", "currency"),
}

# What the tiles say of each KPI.
MEANT = {
    "orders": "Sessions with a purchase",
    "revenue": "Payment amount of the orders",
    "visitors": "Customers with a session, each once,",
    "buyers": "Customers with an order, each once,",
    "sessions": "Sessions",
    "conversion": "Orders out of the sessions",
    "average_order_value": "Revenue per order",
    "discount": "Discount given on the orders",
}
WHEN_UNKNOWN = {"discount": "Unknown: no column of the sessions is mapped to discount_amount."}

ACTIVITY_FIELDS = (
    "dimension", "granularity", "period", "is_complete", "sessions", "orders", "revenue", "discount", "customers",
    "buyers", "average_order_value", "rate", "numerator", "denominator", "ci_low", "ci_high",
)  # fmt: skip
ORDERS_TEXT = "Each point is one {0}; the last one is lower while the {0} is not over."


def _activity_panels() -> tuple[Panel, ...]:
    lines = [
        Panel(
            title=f"{name} orders",
            mark="line",
            x="period",
            y="orders",
            x_title=granularity.capitalize(),
            y_title="Orders",
            where={"granularity": granularity},
            how_to_read=ORDERS_TEXT.format(granularity),
        )
        for name, granularity in (("Daily", "day"), ("Weekly", "week"), ("Monthly", "month"))
    ]
    return (
        *lines,
        Panel(
            title="Weekly revenue",
            mark="bar",
            x="period",
            y=("revenue", "discount"),
            x_title="Week",
            y_title="Amount (currency)",
            format="money",
            where={"granularity": "week"},
            how_to_read="Payments of the week's orders, and beside them the discount that was given on them.",
        ),
        Panel(
            title="Weekly visitors and buyers",
            mark="line",
            x="period",
            y=("customers", "buyers"),
            x_title="Week",
            y_title="Customers",
            where={"granularity": "week"},
            how_to_read="The upper line are customers with a session, the lower those who ordered; each counts once.",
        ),
        Panel(
            title="Weekly conversion",
            mark="line",
            x="period",
            y="rate",
            x_title="Week",
            y_title="Orders per session (%)",
            format="percent",
            band=("ci_low", "ci_high"),
            where={"granularity": "week", "is_complete": True},
            how_to_read="The share of sessions that became orders; changes within the band may be chance.",
        ),
    )


def _kpi_panels() -> tuple[Panel, ...]:
    """A tile per KPI: each has its own unit, and its change beside it."""
    shown: tuple[tuple[str, str, Format], ...] = (
        ("orders", "Orders", "number"),
        ("revenue", "Revenue", "money"),
        ("visitors", "Visitors", "number"),
        ("buyers", "Buyers", "number"),
        ("sessions", "Sessions", "number"),
        ("conversion", "Conversion", "percent"),
        ("average_order_value", "Average order value", "money"),
        ("discount", "Discount", "money"),
    )
    windows = (
        (LATEST, f"in the {LATEST}; below it the change"),
        (ALL_TIME, "since the beginning of the data"),
    )
    return tuple(
        Panel(
            title=f"{title}, {window}",
            mark="metric",
            y="value",
            format=unit,
            where={"metric": metric, "window": window},
            width=3,
            how_to_read=f"{MEANT[metric]} {told}.",
            when_empty=WHEN_UNKNOWN.get(metric, ""),
        )
        for window, told in windows
        for metric, title, unit in shown
    )


def _lifecycle_panel(name: str, granularity: Granularity) -> Panel:
    return Panel(
        title=f"Customers coming and going, {name}",
        mark="bar",
        x="period",
        y=("new_customers", "returning_customers", "resurrected_customers", "dormant_customers"),
        series_titles={
            "new_customers": "New",
            "returning_customers": "Returning",
            "resurrected_customers": "Resurrected",
            "dormant_customers": "Dormant",
        },
        x_title=granularity.capitalize(),
        y_title="Customers",
        where={"granularity": granularity, "is_complete": True},
        how_to_read="The business grows while new and resurrected customers together outnumber the dormant ones.",
    )


REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "kpis",
        "Key figures",
        ("dimension", "window", "metric", "value", "previous_value", "change_rate", "numerator", "denominator"),
        ("dimension", "window", "metric"),
        _kpi_panels(),
    ),
    ReportType(
        "activity",
        "Sessions, orders, revenue and customers per day, week and month",
        ACTIVITY_FIELDS,
        ("dimension", "granularity", "period"),
        _activity_panels(),
    ),
    ReportType(
        "hour_of_day",
        "Average hours of a day",
        (
            "dimension",
            "hour_of_day",
            "sessions_per_day",
            "orders_per_day",
            "revenue_per_day",
            "customers_per_day",
            "n",
        ),
        ("dimension", "hour_of_day"),
        (
            Panel(
                title="Hourly orders",
                mark="line",
                x="hour_of_day",
                y=("sessions_per_day", "orders_per_day"),
                x_title="Hour of day (0-23)",
                y_title="Mean per day",
                format="decimal",
                how_to_read="What a usual day brings in each hour, averaged over all days, those without any included.",
            ),
            Panel(
                title="Hourly revenue",
                mark="bar",
                x="hour_of_day",
                y="revenue_per_day",
                x_title="Hour of day (0-23)",
                y_title="Mean revenue per day (currency)",
                format="money",
                how_to_read="What a usual day earns in each hour.",
            ),
        ),
    ),
    ReportType(
        "weekly_per_customer",
        "Weekly means per customer",
        (
            "dimension",
            "period",
            "is_complete",
            "sessions_per_customer",
            "orders_per_customer",
            "orders_per_buyer",
            "revenue_per_customer",
            "average_order_value",
            "customers",
            "buyers",
        ),
        ("dimension", "period"),
        tuple(
            Panel(
                title=title,
                mark="line",
                x="period",
                y=y,
                x_title="Week",
                y_title=unit,
                format=shown,  # type: ignore[arg-type]
                width=4,
                where={"is_complete": True},
                how_to_read=text,
            )
            for title, y, unit, shown, text in (
                (
                    "Weekly average sessions per customer",
                    "sessions_per_customer",
                    "Sessions per active customer",
                    "decimal",
                    "How often a customer who came at all came in that week.",
                ),
                (
                    "Weekly average orders per customer",
                    ("orders_per_customer", "orders_per_buyer"),
                    "Orders per customer",
                    "decimal",
                    "Orders per customer who came, and per customer who bought.",
                ),
                (
                    "Weekly average payment",
                    ("average_order_value", "revenue_per_customer"),
                    "Amount (currency)",
                    "money",
                    "The mean payment of an order, and the mean revenue of a customer who came.",
                ),
            )
        ),
    ),
    ReportType(
        "customer_lifecycle",
        "New, returning, resurrected and dormant customers",
        (
            "dimension",
            "granularity",
            "period",
            "is_complete",
            "customers",
            "new_customers",
            "returning_customers",
            "resurrected_customers",
            "dormant_customers",
        ),
        ("dimension", "granularity", "period"),
        (_lifecycle_panel("weekly", "week"), _lifecycle_panel("monthly", "month")),
    ),
    ReportType(
        "payment_distribution",
        "Payment amount distribution",
        (
            "dimension",
            "bin",
            "bin_label",
            "bin_start",
            "bin_end",
            "orders",
            "rate",
            "numerator",
            "denominator",
            "ci_low",
            "ci_high",
        ),
        ("dimension", "bin"),
        (
            Panel(
                title="Payment amount distribution",
                mark="bar",
                x="bin_label",
                y="orders",
                x_title="Payment amount (currency)",
                y_title="Orders",
                how_to_read="How many orders had an amount within each range; the last bar may stand for all above.",
            ),
        ),
    ),
    ReportType(
        "customers_by_orders",
        "Customers by number of orders",
        (
            "dimension",
            "order_count",
            "order_count_label",
            "customers",
            "rate",
            "numerator",
            "denominator",
            "ci_low",
            "ci_high",
        ),
        ("dimension", "order_count"),
        (
            Panel(
                title="Customers by number of orders",
                mark="bar",
                x="order_count_label",
                y="customers",
                x_title="Orders of a customer",
                y_title="Customers",
                how_to_read="How many customers with a session have ordered that often; 0 came but never ordered.",
            ),
        ),
    ),
    ReportType(
        "customer_journey",
        "Customer journey",
        ("dimension", "order_number", "step", "customers", "n", "median_hours", "average_order_value", "median_amount"),
        ("dimension", "order_number"),
        (
            Panel(
                title="Customer journey: time",
                mark="bar",
                x="order_number",
                y="median_hours",
                x_title="Order number",
                y_title="Median time since the step before (hours)",
                format="hours",
                how_to_read="Half of the customers who made this step needed less time for it than the bar says.",
            ),
            Panel(
                title="Customer journey: amount",
                mark="line",
                x="order_number",
                y=("average_order_value", "median_amount"),
                x_title="Order number",
                y_title="Payment amount (currency)",
                format="money",
                how_to_read="What customers pay at their first, second, … order; later steps rest on fewer customers.",
            ),
        ),
    ),
)

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "payment_bins_min": configs.PAYMENT_BINS_MIN,
    "payment_bins_max": configs.PAYMENT_BINS_MAX,
    "order_count_max": configs.ORDER_COUNT_MAX,
    "kept_days": configs.ACTIVITY_KEPT_DAYS,
    "kpi_period_days": configs.KPI_PERIOD_DAYS,
    "active_window_periods": configs.ACTIVE_WINDOW_PERIODS,
    "journey_max_orders": configs.JOURNEY_MAX_ORDERS,
}


def descriptive_statistics(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    payment_bins_min: int = 5,
    payment_bins_max: int = 50,
    order_count_max: int = 20,
    kept_days: int = 730,
    kpi_period_days: int = 7,
    active_window_periods: int = 1,
    journey_max_orders: int = 10,
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`."""
    seen = observed(tables, as_of=as_of, top_values=top_values)
    week_start = tables.week_start
    with ExitStack() as computed:
        sessions = computed.enter_context(held(seen.sessions.drop("instant", "id")))
        orders = computed.enter_context(held(seen.orders))
        # One dimension column after the other: sorting them all at once would need that many times the memory.
        parts = [
            (computed.enter_context(held(_visits(part, active_window_periods))), _purchases(part.filter(part.is_order)))
            for part in _each_dimension(sessions, seen.dimensions)
        ]
        visits = ibis.union(*(visited for visited, _ in parts)) if len(parts) > 1 else parts[0][0]
        purchases = pd.concat([result(bought) for _, bought in parts], ignore_index=True)
        started = result(visits.group_by("dimension").agg(first_day=visits.day.min())).set_index("dimension")
        first_day = started["first_day"].sort_index()
        periods = {
            granularity: _per_period(
                visits, purchases, granularity, active_window_periods, first_day, as_of, week_start
            )
            for granularity in GRANULARITIES
        }
        hours = _hour_of_day(visits, first_day, as_of)
        totals = _totals(visits, by_dimension(sessions, seen.dimensions), purchases, as_of, kpi_period_days)
        kpis = _kpis(totals, first_day, as_of, kpi_period_days, has_discount=seen.has_discount)
        ordered = by_dimension(orders, seen.dimensions)
        by_orders = _customers_by_orders(ordered, totals, order_count_max, confidence_level)
        bins = _payment_distribution(ordered, payment_bins_min, payment_bins_max)
        journey, early = _customer_journey(orders, seen, journey_max_orders)

    activity = pd.concat([periods[granularity] for granularity in GRANULARITIES], ignore_index=True)
    is_old = (activity["granularity"] == "day") & (activity["period"] <= as_of - timedelta(days=kept_days))
    activity = activity[~is_old].reset_index(drop=True)
    if not seen.has_discount:
        activity["discount"] = np.nan
    activity["average_order_value"] = ratio(activity["revenue"], activity["orders"])
    activity = with_rate(activity, "orders", "sessions", confidence_level, known=activity["is_complete"].to_numpy(bool))
    weekly = activity[activity["granularity"] == "week"].copy()
    over = weekly["is_complete"].to_numpy(bool)
    for name, above, below in (
        ("sessions_per_customer", "sessions", "customers"),
        ("orders_per_customer", "orders", "customers"),
        ("orders_per_buyer", "orders", "buyers"),
        ("revenue_per_customer", "revenue", "customers"),
        ("average_order_value", "revenue", "orders"),
    ):
        weekly[name] = np.where(over, ratio(weekly[above], weekly[below]), np.nan)
    in_all_bins = bins.groupby("dimension")["orders"].transform("sum")
    frames = {
        "kpis": kpis,
        "activity": activity,
        "hour_of_day": hours,
        "weekly_per_customer": weekly,
        "customer_lifecycle": activity,
        "payment_distribution": with_rate(bins.assign(total=in_all_bins), "orders", "total", confidence_level),
        "customers_by_orders": by_orders,
        "customer_journey": journey,
    }
    said = definition(
        tables,
        as_of=as_of,
        kpi_period=f"the {kpi_period_days} days up to {as_of.isoformat()}, and the {kpi_period_days} days before them",
        active="a customer with a session in the period",
        dormant_after_periods=active_window_periods,
        newest_days_kept=kept_days,
    )
    headline = _headline(kpis)
    warnings = [] if seen.has_discount else ["The sessions have no discount column, so discounts are unknown."]
    reports = {}
    for report_type in REPORTS:
        frame = frames[report_type.type]
        if "granularity" in report_type.key:
            frame = frame.assign(order=[GRANULARITIES.index(name) for name in frame["granularity"]])
        key = ["order" if name == "granularity" else name for name in report_type.key]
        if report_type.type == "kpis":
            key = ["dimension"]
        reports[report_type.type] = finished_report(
            report_type, frame, seen.labels, key, as_of=as_of, kpis=headline, said=said, warnings=warnings
        )
    if early:
        reports["customer_journey"].warnings.append(
            f"{early:,} customers have their first order on a day before their download; "
            "they are left out of the time from download to order 1."
        )
    return reports


def _each_dimension(sessions: ir.Table, dimensions: tuple[str, ...]) -> list[ir.Table]:
    """The sessions once for `all` and once per dimension column, with its code in `dimension`."""
    codes = [CODE + name for name in dimensions]
    every = [ibis.literal(0, "int32"), *(sessions[code] for code in codes)]
    return [sessions.mutate(dimension=code).drop(*codes) for code in every]


def _visits(sessions: ir.Table, window: int) -> ir.Table:
    """Per dimension, day and hour of day: sums, and how many customers this was the first or last sign of.

    A customer counts on the day of their first session in a week, so that the week's customers are the sum over its
    days: one pass in the order of time gives the distinct customers of every day, week, month and hour, and whether
    they are new, returning, resurrected or leaving.
    """
    by_client = ibis.window(group_by=["dimension", "client_code"], order_by=["day", "hour"])
    beside = {f"previous_{name}": sessions[name].lag().over(by_client) for name in ("hour", *GRANULARITIES)}
    beside |= {f"next_{name}": sessions[name].lead().over(by_client) for name in GRANULARITIES}
    seen = sessions.mutate(**beside)
    is_first = seen.previous_day.isnull()
    sums: dict[str, Any] = {
        "sessions": seen.count(),
        "orders": seen.is_order.sum(),
        "revenue": seen.amount.sum(),
        "new_customers": is_first.sum(),
        "hour_customers": (is_first | (seen.previous_day != seen.day) | (seen.previous_hour != seen.hour)).sum(),
    }
    if "discount" in seen.columns:
        sums["discount"] = seen.discount.sum()
    for name in GRANULARITIES:
        since, until = seen[name] - seen[f"previous_{name}"], seen[f"next_{name}"] - seen[name]
        sums[f"{name}_customers"] = (is_first | (since > 0)).sum()
        sums[f"{name}_returning"] = ((since > 0) & (since <= window)).fill_null(False).sum()
        sums[f"{name}_resurrected"] = (since > window).fill_null(False).sum()
        sums[f"{name}_leaving"] = (until.isnull() | (until > window)).sum()
    return seen.group_by(["dimension", "day", "week", "month", "hour"]).agg(**sums)


def _purchases(orders: ir.Table) -> ir.Table:
    """Per dimension and day: how many customers bought for the first time in their day, week, month, and at all."""
    by_client = ibis.window(group_by=["dimension", "client_code"], order_by="day")
    seen = orders.mutate(**{f"previous_{name}": orders[name].lag().over(by_client) for name in GRANULARITIES})
    is_first = seen.previous_day.isnull()
    buyers = {f"{name}_buyers": (is_first | (seen[f"previous_{name}"] != seen[name])).sum() for name in GRANULARITIES}
    return seen.group_by(["dimension", "day", "week", "month"]).agg(new_buyers=is_first.sum(), **buyers)


def _per_period(
    visits: ir.Table,
    purchases: pd.DataFrame,
    granularity: Granularity,
    window: int,
    first_day: pd.Series,
    as_of: date,
    week_start: str,
) -> pd.DataFrame:
    """One row per dimension and period of the calendar: sums, distinct customers, and customers coming and going."""
    keys = ["dimension", "period"]
    sums = {
        "sessions": visits.sessions.sum(),
        "orders": visits.orders.sum(),
        "revenue": visits.revenue.sum().cast("float64"),
        "customers": visits[f"{granularity}_customers"].sum(),
        "new_customers": visits.new_customers.sum(),
        "returning_customers": visits[f"{granularity}_returning"].sum(),
        "resurrected_customers": visits[f"{granularity}_resurrected"].sum(),
        "leaving": visits[f"{granularity}_leaving"].sum(),
    }
    if "discount" in visits.columns:
        sums["discount"] = visits.discount.sum().cast("float64")
    counted = result(visits.group_by(dimension=visits.dimension, period=visits[granularity]).agg(**sums))
    bought = purchases.assign(period=purchases[granularity], buyers=purchases[f"{granularity}_buyers"])
    counted = counted.merge(bought.groupby(keys, as_index=False)["buyers"].sum(), how="left", on=keys)
    last = period_of(as_of, granularity, week_start)
    starts = {code: _period_of_day(day, granularity, week_start) for code, day in first_day.items()}
    full = calendar(pd.Series(starts, dtype="int64"), last).merge(counted, how="left", on=["dimension", "period"])
    full = full.fillna(0)
    leaving = full[["dimension", "period", "leaving"]].assign(period=full["period"] + window)
    leaving = leaving.rename(columns={"leaving": "dormant_customers"})
    full = full.merge(leaving, how="left", on=["dimension", "period"]).fillna({"dormant_customers": 0})
    complete = are_complete(full["period"], granularity, week_start, as_of)
    counts = [str(name) for name in full if name not in ("dimension", "period", "revenue", "discount")]
    full[counts] = full[counts].astype("int64")
    return full.assign(
        granularity=granularity,
        is_complete=complete,
        # Whether somebody stays away shows when the period is over.
        dormant_customers=full["dormant_customers"].astype("Int64").where(complete),
        period=as_dates(first_days(full["period"], granularity, week_start)),
    )


def _period_of_day(day: int, granularity: Granularity, week_start: str) -> int:
    return period_of(np.datetime64(int(day), "D").astype(object), granularity, week_start)


def _hour_of_day(visits: ir.Table, first_day: pd.Series, as_of: date) -> pd.DataFrame:
    """24 rows per dimension: totals per hour divided by all days of the calendar."""
    totals = visits.group_by(dimension=visits.dimension, hour_of_day=visits.hour).agg(
        sessions=visits.sessions.sum(),
        orders=visits.orders.sum(),
        revenue=visits.revenue.sum().cast("float64"),
        customers=visits.hour_customers.sum(),
    )
    every = pd.MultiIndex.from_product([first_day.index, range(24)], names=["dimension", "hour_of_day"])
    full = every.to_frame(index=False).merge(result(totals), how="left", on=["dimension", "hour_of_day"]).fillna(0)
    days = day_number(as_of) + 1 - full["dimension"].map(first_day).astype("int64")
    means = {f"{name}_per_day": ratio(full[name], days) for name in ("sessions", "orders", "revenue", "customers")}
    return full.assign(n=days, **means)


def _totals(visits: ir.Table, sessions: ir.Table, purchases: pd.DataFrame, as_of: date, days: int) -> pd.DataFrame:
    """One row per dimension: sums and distinct customers of all time (`_0`), the KPI period (`_1`), the one before."""
    last = day_number(as_of)
    age = last - visits.day
    windows = {0: age >= 0, 1: age < days, 2: (age >= days) & (age < 2 * days)}
    sums: dict[str, Any] = {"visitors_0": visits.new_customers.sum()}
    for number, inside in windows.items():
        for name in ("sessions", "orders", "revenue", "discount"):
            if name in visits.columns:
                sums[f"{name}_{number}"] = ibis.ifelse(inside, visits[name], 0).sum().cast("float64")
    recent = sessions.filter(sessions.day > last - 2 * days)
    is_latest = recent.day > last - days
    per_customer = recent.group_by(["dimension", "client_code"]).agg(
        visited_1=is_latest.any(),
        visited_2=(~is_latest).any(),
        bought_1=(is_latest & recent.is_order).any(),
        bought_2=(~is_latest & recent.is_order).any(),
    )
    distinct = per_customer.group_by("dimension").agg(
        visitors_1=per_customer.visited_1.sum(),
        visitors_2=per_customer.visited_2.sum(),
        buyers_1=per_customer.bought_1.sum(),
        buyers_2=per_customer.bought_2.sum(),
    )
    first_orders = purchases.groupby("dimension", as_index=False).agg(buyers_0=("new_buyers", "sum"))
    wide = result(visits.group_by("dimension").agg(**sums)).sort_values("dimension", ignore_index=True)
    for more in (result(distinct), first_orders):
        wide = wide.merge(more, how="left", on="dimension")
    counts = [str(name) for name in wide if str(name).startswith(("visitors", "buyers"))]
    wide[counts] = wide[counts].fillna(0).astype("int64")
    return wide


def _kpis(wide: pd.DataFrame, first_day: pd.Series, as_of: date, days: int, *, has_discount: bool) -> pd.DataFrame:
    """One row per dimension, window and KPI."""
    reaches_back = wide["dimension"].map(first_day).astype("int64") <= day_number(as_of) + 1 - 2 * days
    metrics = ["orders", "revenue", "visitors", "buyers", "sessions", "conversion", "average_order_value"]
    metrics += ["discount"] if has_discount else []

    def values(metric: str, number: int) -> Any:
        if metric == "conversion":
            return ratio(wide[f"orders_{number}"], wide[f"sessions_{number}"])
        if metric == "average_order_value":
            return ratio(wide[f"revenue_{number}"], wide[f"orders_{number}"])
        return wide[f"{metric}_{number}"].to_numpy("float64")

    parts = []
    for window, number in ((kpi_window(days), 1), (ALL_TIME, 0)):
        for metric in metrics:
            value = values(metric, number)
            compared = reaches_back.to_numpy() if number else np.zeros(len(wide), dtype=bool)
            previous = np.where(compared, values(metric, 2), np.nan)
            share = metric == "conversion"
            parts.append(
                pd.DataFrame(
                    {
                        "dimension": wide["dimension"],
                        "window": window,
                        "metric": metric,
                        "value": value,
                        "previous_value": previous,
                        "change_rate": ratio(value - previous, np.abs(previous)),
                        "numerator": wide[f"orders_{number}"].astype("Int64") if share else pd.NA,
                        "denominator": wide[f"sessions_{number}"].astype("Int64") if share else pd.NA,
                    }
                ).astype({"numerator": "Int64", "denominator": "Int64"})
            )
    return pd.concat(parts, ignore_index=True)


def _headline(kpis: pd.DataFrame) -> dict[str, float]:
    of_all = kpis[(kpis["dimension"] == 0) & kpis["value"].notna()]
    return {
        row.metric if row.window == ALL_TIME else f"{row.metric}_latest_period": round(float(row.value), 6)
        for row in records(of_all)
    }


def _customers_by_orders(orders: ir.Table, totals: pd.DataFrame, most: int, confidence_level: float) -> pd.DataFrame:
    """Customers with a session by their number of orders, every number from 0 to the largest that occurs."""
    customers = orders.group_by(["dimension", "client_code"]).agg(orders=orders.count())
    capped = ibis.least(customers.orders, most).cast("int64")
    with_orders = result(
        customers.group_by(dimension=customers.dimension, order_count=capped).agg(customers=customers.count())
    )
    without = totals[["dimension"]].assign(order_count=0, customers=totals["visitors_0"] - totals["buyers_0"])
    keys = ["dimension", "order_count"]
    counted = pd.concat([without, with_orders], ignore_index=True).groupby(keys, as_index=False)["customers"].sum()
    largest = counted.groupby("dimension")["order_count"].max().astype("int64")
    every = pd.DataFrame(
        [(code, number) for code, top in largest.items() for number in range(int(top) + 1)],
        columns=["dimension", "order_count"],
    ).astype("int64")
    full = every.merge(counted, how="left", on=["dimension", "order_count"])
    full["customers"] = full["customers"].fillna(0).astype("int64")
    full["total"] = full.groupby("dimension")["customers"].transform("sum")
    full["order_count_label"] = [f"{number}+" if number == most else str(number) for number in full["order_count"]]
    return with_rate(full, "customers", "total", confidence_level)


def payment_bins(
    n: int, low: float, quarter: float, three_quarters: float, high: float, *, fewest: int, most: int
) -> tuple[int, int, int]:
    """Start, width and number of bins (1 / 10,000 of a unit of currency) for amounts from `low` to `high` or above.

    Freedman and Diaconis' width, held so that there are about `fewest` to at most `most` bins, then rounded to 1, 2,
    2.5 or 5 times a power of ten.
    """
    span = high - low
    if span <= 0:
        return int(low), UNITS, 1
    wanted = 2 * (three_quarters - quarter) / n ** (1 / 3)
    wanted = min(max(wanted, span / most), span / fewest)
    position = max(int(np.searchsorted(WIDTHS, wanted, side="right")) - 1, 0)
    while True:
        width = WIDTHS[position]
        start = int(low // width) * width
        bins = int((high - start) // width) + 1
        if bins <= most:
            return start, width, bins
        position += 1


def _payment_distribution(orders: ir.Table, fewest: int, most: int) -> pd.DataFrame:
    """Orders per bin of their amount, empty bins included."""
    orders = orders.select("dimension", amount=(orders.amount * UNITS).cast("int64"))
    amount = orders.amount.cast("float64")
    shape = result(
        orders.group_by("dimension").agg(
            n=orders.count(),
            low=amount.min(),
            quarter=amount.quantile(0.25),
            three_quarters=amount.quantile(0.75),
            high=amount.quantile(0.99),
        )
    )
    chosen = [
        (
            row.dimension,
            *payment_bins(row.n, row.low, row.quarter, row.three_quarters, row.high, fewest=fewest, most=most),
        )
        for row in records(shape)
    ]
    edges = pd.DataFrame(chosen, columns=["dimension", "start", "width", "bins"]).astype(
        {"dimension": "int32", "start": "int64", "width": "int64", "bins": "int64"}
    )
    joined = orders.join(ibis.memtable(edges), "dimension")
    number = ibis.least((joined.amount - joined.start) // joined.width, joined.bins).cast("int64")
    counted = result(joined.group_by(dimension=joined.dimension, bin=number).agg(orders=joined.count()))
    last = counted.groupby("dimension")["bin"].max()
    rows = [
        (code, place, (start + place * width) / UNITS, (start + (place + 1) * width) / UNITS if place < bins else None)
        for code, start, width, bins in edges.itertuples(index=False)
        for place in range(int(last[code]) + 1)
    ]
    full = pd.DataFrame(rows, columns=["dimension", "bin", "bin_start", "bin_end"]).astype(
        {"dimension": "int64", "bin": "int64", "bin_start": "float64", "bin_end": "float64"}
    )
    full = full.merge(counted, how="left", on=["dimension", "bin"])
    full["orders"] = full["orders"].fillna(0).astype("int64")
    full["bin_label"] = [
        f"{start:g} and more" if np.isnan(end) else f"{start:g} – {end:g}"
        for start, end in zip(full["bin_start"], full["bin_end"], strict=True)
    ]
    return full


def _customer_journey(orders: ir.Table, seen: Observed, most: int) -> tuple[pd.DataFrame, int]:
    """One row per dimension and order number, and how many first orders of all are before their download."""
    repeated = by_dimension(orders, seen.dimensions)
    by_client = ibis.window(group_by=["dimension", "client_code"], order_by="position")
    numbered = repeated.mutate(
        order_number=ibis.row_number().over(by_client) + 1, before=repeated.instant.lag().over(by_client)
    )
    numbered = numbered.filter(numbered.order_number <= most)
    joined = numbered.left_join(seen.customers, "client_code")
    download = joined.download_day.epoch_days()
    is_first = joined.order_number == 1
    is_early = is_first & (joined.day < download).fill_null(False)
    since = ibis.ifelse(is_first, ibis.ifelse(is_early, ibis.null(), joined.download_instant), joined.before)
    # Where only the day of an order is known, it may seem to precede a download of the same day.
    hours = ibis.greatest(joined.instant.delta(since, unit="second"), 0) / 3600
    hours = ibis.ifelse(since.isnull(), ibis.null(), hours)
    timed = joined.select("dimension", "order_number", "amount", hours=hours, is_early=is_early)
    steps = result(
        timed.group_by(["dimension", "order_number"]).agg(
            customers=timed.count(),
            n=timed.hours.count(),
            median_hours=timed.hours.quantile(0.5),
            total=timed.amount.sum().cast("float64"),
            median_amount=timed.amount.cast("float64").quantile(0.5),
            early=timed.is_early.sum(),
        )
    )
    steps["average_order_value"] = ratio(steps["total"], steps["customers"])
    steps["step"] = [
        "download to order 1" if number == 1 else f"order {number - 1} to order {number}"
        for number in steps["order_number"]
    ]
    return steps, int(steps.loc[steps["dimension"] == 0, "early"].sum())
