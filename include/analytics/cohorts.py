"""How customers of the same start behave afterwards: first and further orders, retention, and revenue.

    sessions, customers  ->  per cohort and offset: customers, rate, revenue; average curves over all cohorts

A cohort are the customers who downloaded (or made their first, second, third order) in the same day, week or month. The
*offset* is the whole number of days, weeks or months between that period and the one in which the next thing happened:
an order fourteen days later is at offset 14 of the daily and offset 2 of the weekly table. The denominator is always
the whole cohort, those included who never came back.

`download_to_first_order` looks at the first order on or after the day of the download; orders on an earlier day are
left out, and a warning counts them. `retention` counts a customer at an offset for a session in exactly that period
(n-day), and beside it for a session in that period or later (unbounded); sessions before the download do not count.
`revenue` is what the cohort paid at each offset; added up and divided by the whole cohort it is the observed lifetime
value.

A cell is complete when its period is over at the report date. Cells under way show what was counted so far but no rate,
cells that have not begun are left out. The tables end with the newest cohort that has customers and keep as many before
it as COHORTS_KEPT_… say. The averages rest on the complete cells of all cohorts, weighted by size, so each of their
points may rest on other cohorts (`n` says how many).

For a dimension value a customer who downloaded belongs to the value of the first session, `(unknown)` where there is
none, and only sessions that carry the value count.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd

import configs
from include.dashboards.panel import Panel
from include.measures.clocks import date_of
from include.measures.dimension import CODE, by_dimension
from include.measures.observed import Observed, definition, observed
from include.measures.periods import (
    GRANULARITIES,
    Granularity,
    are_complete,
    as_dates,
    calendar,
    first_days,
    numbered,
    period_of,
)
from include.measures.rates import with_rate
from include.measures.reporting import finished_report
from include.measures.results import held, ratio, result
from include.schemas.reports import Field, Report, ReportType

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

READS = ("sessions", "customers")
STEPS = ("download_to_first_order", "first_to_second", "second_to_third", "third_to_fourth")
STEP_GRANULARITIES: tuple[Granularity, ...] = ("day", "week")
RECENT = 15  # cohorts in a heatmap
NEVER = -1
WORD_BITS = 62  # of a signed integer of 64

FIELDS: dict[str, Field] = {
    "offset": Field("long", "periods after the cohort's own, which is 0"),
    "cohort_customers": Field("long", "all customers of the cohort, or of the cohorts averaged", "customers"),
    "is_recent": Field("boolean", f"whether this is one of the {RECENT} newest cohorts of its granularity"),
    "unbounded_customers": Field("long", "customers with a session in this period or a later one", "customers"),
    "unbounded_rate": Field("double", "unbounded customers / cohort customers", "share"),
    "cumulative_revenue": Field("double", "revenue from offset 0 to this one", "currency"),
    "cumulative_revenue_per_customer": Field(
        "double", "cumulative revenue / cohort customers: the observed lifetime value", "currency"
    ),
    "curve": Field("keyword", "whose average this is: a step between orders, or a kind of retention"),
}

CELL = ("dimension", "granularity", "period", "offset", "cohort_customers", "customers")
RATE = ("rate", "numerator", "denominator", "ci_low", "ci_high")
KEY = ("dimension", "granularity", "period", "offset")
UNITS = {"day": "days", "week": "weeks", "month": "months"}
ADJECTIVES = {"day": "Daily", "week": "Weekly", "month": "Monthly"}
STEP_TITLES = {
    "download_to_first_order": "Download to 1st order",
    "first_to_second": "1st to 2nd order",
    "second_to_third": "2nd to 3rd order",
    "third_to_fourth": "3rd to 4th order",
}


def _heatmap(title: str, granularity: str, color: str, how_to_read: str, shown: str = "percent") -> Panel:
    return Panel(
        title=title,
        mark="heatmap",
        x="offset",
        y=color,
        breakdown="period",
        color=color,
        x_title=f"{UNITS[granularity].capitalize()} later",
        y_title=f"Cohort ({granularity})",
        format=shown,  # type: ignore[arg-type]
        where={"granularity": granularity, "is_recent": True},
        how_to_read=how_to_read,
    )


def _curve(title: str, curve: str, granularity: str, how_to_read: str) -> Panel:
    return Panel(
        title=title,
        mark="line",
        x="offset",
        y="rate",
        band=("ci_low", "ci_high"),
        x_title=f"{UNITS[granularity].capitalize()} later",
        y_title="Share of customers (%)",
        format="percent",
        where={"granularity": granularity, "curve": curve},
        how_to_read=how_to_read,
    )


STEP_TEXT = "Each row is a cohort; each cell the share of it that made the step exactly that many {0} later."
REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "average_curves",
        "Average curves",
        ("dimension", "curve", "granularity", "offset", "cohort_customers", "customers", *RATE, "n"),
        ("dimension", "curve", "granularity", "offset"),
        (
            *(
                _curve(
                    f"{STEP_TITLES[step]}, on average",
                    step,
                    "week",
                    "The share of customers who made the step that many weeks later, over all cohorts old enough.",
                )
                for step in STEPS
            ),
            _curve(
                "Weekly retention, on average",
                "retention, n-day",
                "week",
                "The share of customers with a session exactly that many weeks after their download.",
            ),
            _curve(
                "Weekly retention, unbounded, on average",
                "retention, unbounded",
                "week",
                "The share of customers with a session that many weeks after their download or later.",
            ),
        ),
    ),
    ReportType(
        "average_revenue",
        "Average lifetime value curve",
        (
            "dimension",
            "granularity",
            "offset",
            "cohort_customers",
            "cumulative_revenue",
            "cumulative_revenue_per_customer",
            "n",
        ),
        ("dimension", "granularity", "offset"),
        (
            Panel(
                title="Observed lifetime value, on average",
                mark="line",
                x="offset",
                y="cumulative_revenue_per_customer",
                x_title="Weeks later",
                y_title="Revenue per customer (currency)",
                format="money",
                where={"granularity": "week"},
                width=12,
                how_to_read="What a customer has paid by that many weeks after the download, over cohorts old enough.",
            ),
        ),
    ),
    *(
        ReportType(
            step,
            STEP_TITLES[step],
            (*CELL, *RATE, "is_complete", "is_recent"),
            KEY,
            tuple(
                _heatmap(
                    f"{STEP_TITLES[step]}, {ADJECTIVES[granularity].lower()} cohorts",
                    granularity,
                    "rate",
                    STEP_TEXT.format(UNITS[granularity]),
                )
                for granularity in STEP_GRANULARITIES
            ),
        )
        for step in STEPS
    ),
    ReportType(
        "retention",
        "Retention",
        (*CELL, *RATE, "unbounded_customers", "unbounded_rate", "is_complete", "is_recent"),
        KEY,
        (
            *(
                _heatmap(
                    f"{ADJECTIVES[granularity]} retention",
                    granularity,
                    "rate",
                    f"The share of those who came that {granularity} (row) and had a session that many "
                    f"{UNITS[granularity]} later (column).",
                )
                for granularity in GRANULARITIES
            ),
            _heatmap(
                "Weekly retention, unbounded",
                "week",
                "unbounded_rate",
                "The share of those who came that week and had a session that many weeks later or at any time since.",
            ),
        ),
    ),
    ReportType(
        "revenue",
        "Revenue per cohort",
        (
            "dimension",
            "granularity",
            "period",
            "offset",
            "cohort_customers",
            "orders",
            "revenue",
            "cumulative_revenue",
            "cumulative_revenue_per_customer",
            "is_complete",
            "is_recent",
        ),
        KEY,
        tuple(
            _heatmap(
                f"Observed lifetime value, {ADJECTIVES[granularity].lower()} cohorts",
                granularity,
                "cumulative_revenue_per_customer",
                "What a customer of the cohort (row) has paid on average until then (column), non-buyers included.",
                "money",
            )
            for granularity in ("week", "month")
        ),
    ),
)

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "max_offset_days": configs.COHORT_MAX_OFFSET_DAYS,
    "max_offset_weeks": configs.COHORT_MAX_OFFSET_WEEKS,
    "max_offset_months": configs.COHORT_MAX_OFFSET_MONTHS,
    "kept_days": configs.COHORTS_KEPT_DAYS,
    "kept_weeks": configs.COHORTS_KEPT_WEEKS,
    "kept_months": configs.COHORTS_KEPT_MONTHS,
}


def cohorts(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    max_offset_days: int = 15,
    max_offset_weeks: int = 15,
    max_offset_months: int = 24,
    kept_days: int = 30,
    kept_weeks: int = 26,
    kept_months: int = 24,
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`."""
    seen = observed(tables, as_of=as_of, top_values=top_values)
    week_start = tables.week_start
    offsets = {"day": max_offset_days, "week": max_offset_weeks, "month": max_offset_months}
    kept = {"day": kept_days, "week": kept_weeks, "month": kept_months}
    last = {granularity: period_of(as_of, granularity, week_start) for granularity in GRANULARITIES}

    def complete(frame: pd.DataFrame, granularity: Granularity) -> pd.DataFrame:
        over = are_complete(frame["cohort"] + frame["offset"], granularity, week_start, as_of)
        newest = {"is_kept": frame["age"] < kept[granularity], "is_recent": frame["age"] < RECENT}
        return frame.assign(granularity=granularity, is_complete=over, **newest)

    cells: dict[str, list[pd.DataFrame]] = {name: [] for name in (*STEPS, "retention")}
    with ExitStack() as stack:
        customers = stack.enter_context(held(_customers(seen, week_start)))
        since = stack.enter_context(held(_since_download(seen, customers)))
        visits = by_dimension(since, seen.dimensions)
        visits = visits.filter(visits.dimension.notnull())
        returns = stack.enter_context(held(_returns(visits, offsets, week_start)))
        codes = (CODE + name for name in seen.dimensions)
        orders = stack.enter_context(held(seen.orders.select("client_code", "position", "day", "week", *codes)))
        further = stack.enter_context(held(_further_orders(orders, seen)))
        early = _early_orders(orders, customers)
        each = by_dimension(customers, seen.dimensions)
        for granularity in GRANULARITIES:
            most = offsets[granularity]
            arrived = _arrived(each, granularity)
            grid = _grid(arrived, most, last[granularity])
            if granularity in STEP_GRANULARITIES:
                first = _counted(returns, granularity, f"{granularity}s_to_order", most)
                cells[STEPS[0]].append(complete(_filled(grid, first, ["customers"]), granularity))
                counted = _counted_transitions(further, granularity, most)
                for number, step in enumerate(STEPS[1:], start=1):
                    own = counted[counted["step"] == number]
                    table = _grid(_sizes(own), most, last[granularity])
                    cells[step].append(complete(_filled(table, own, ["customers"]), granularity))
            table = _filled(grid, _active(returns, granularity, most), ["customers"])
            table = _filled(table, _paid(visits, granularity, most), ["orders", "revenue"])
            lasting = _counted(returns, granularity, f"{granularity}s_to_last")
            table = _filled(table, _at_or_after(lasting, most), ["unbounded_customers"])
            table["cumulative_revenue"] = table.groupby(["dimension", "cohort"])["revenue"].cumsum()
            cells["retention"].append(complete(table, granularity))

    said = definition(
        tables,
        as_of=as_of,
        offset="whole days, weeks or months between the periods in which the two events lie",
        offset_limits={UNITS[name]: limit for name, limit in offsets.items()},
        newest_cohorts_kept={UNITS[name]: limit for name, limit in kept.items()},
        retained="a customer with a session in the period",
    )
    every = {name: pd.concat(parts, ignore_index=True) for name, parts in cells.items()}
    curves = [
        _average(frame, "customers").assign(curve=name if name != "retention" else "retention, n-day")
        for name, frame in every.items()
    ]
    curves.append(_average(every["retention"], "unbounded_customers").assign(curve="retention, unbounded"))
    average = with_rate(pd.concat(curves, ignore_index=True), "customers", "cohort_customers", confidence_level)
    paid = _average(every["retention"], "cumulative_revenue").rename(columns={"customers": "cumulative_revenue"})
    paid["cumulative_revenue_per_customer"] = ratio(paid["cumulative_revenue"], paid["cohort_customers"])
    curve_order = [*STEPS, "retention, n-day", "retention, unbounded"]

    headline = _headline(average)
    frames = {**every, "revenue": every["retention"], "average_curves": average, "average_revenue": paid}
    reports = {}
    for report_type in REPORTS:
        frame = frames[report_type.type]
        if "period" in report_type.key:
            frame = frame[frame["is_kept"]].reset_index(drop=True)
            over = frame["is_complete"].to_numpy(bool)
            frame = with_rate(frame, "customers", "cohort_customers", confidence_level, known=over)
            if report_type.type in ("retention", "revenue"):
                frame["unbounded_rate"] = np.where(
                    over, ratio(frame["unbounded_customers"], frame["cohort_customers"]), np.nan
                )
                per_customer = ratio(frame["cumulative_revenue"], frame["cohort_customers"])
                frame["cumulative_revenue_per_customer"] = np.where(over, per_customer, np.nan)
            frame["period"] = _cohort_days(frame, week_start)
        reports[report_type.type] = finished_report(
            report_type,
            frame,
            seen.labels,
            report_type.key,
            as_of=as_of,
            kpis=headline,
            said=said,
            order={"granularity": GRANULARITIES, "curve": curve_order},
        )
    if early:
        reports["download_to_first_order"].warnings.append(
            f"{early:,} {'order lies' if early == 1 else 'orders lie'} on a day before the customer's download, "
            "and no order of such a day is in this table."
        )
    return reports


def _customers(seen: Observed, week_start: str) -> ir.Table:
    """Customers with the number of the day, week and month of their download, and their dimension codes."""
    customers = seen.customers_with_first_values
    starts = {f"from_{name}": number for name, number in numbered(customers.download_day, week_start).items()}
    return customers.select("client_code", *(CODE + name for name in seen.dimensions), **starts)


def _since_download(seen: Observed, customers: ir.Table) -> ir.Table:
    """Sessions on or after the day of the client's download, with the days, weeks and months between.

    A dimension code is missing where the session carries another value than the customer's first.
    """
    joined = seen.sessions.join(customers, "client_code", rname="first_{name}")
    codes = {
        CODE + name: ibis.ifelse(
            joined[CODE + name] == joined[f"first_{CODE}{name}"], joined[CODE + name], ibis.null("int32")
        )
        for name in seen.dimensions
    }
    between = {f"{name}s_since": joined[name] - joined[f"from_{name}"] for name in GRANULARITIES}
    starts = [f"from_{name}" for name in GRANULARITIES]
    return joined.filter(joined.day >= joined.from_day).select(
        "client_code", "is_order", "amount", *starts, **codes, **between
    )


def _returns(visits: ir.Table, offsets: dict[str, int], week_start: str) -> ir.Table:
    """Per dimension and customer with a session since the download: when there were sessions, the last one, an order.

    Columns: dimension, from_…, `<granularity>s_to_last`, `<granularity>s_to_order` (the first order,
    missing where there is none), and `<granularity>_active_<word>`, whose bit b says whether there was a session at the
    offset word * WORD_BITS + b.
    """
    active: dict[str, Any] = {}
    for granularity in GRANULARITIES:
        since = visits[f"{granularity}s_since"]
        for word in range(offsets[granularity] // WORD_BITS + 1):
            bit = since - word * WORD_BITS
            is_here = (bit >= 0) & (bit < WORD_BITS)
            flag = ibis.ifelse(is_here, ibis.literal(1).cast("int64") << bit, 0)
            active[f"{granularity}_active_{word}"] = flag.bit_or()
    found = visits.group_by(["dimension", "client_code"]).agg(
        start=visits.from_day.min(),
        last=visits.from_day.min() + visits.days_since.max(),
        order=visits.from_day.min() + visits.days_since.min(where=visits.is_order),
        **active,
    )
    start, last, order = (numbered(date_of(found[name]), week_start) for name in ("start", "last", "order"))
    return found.select(
        "dimension",
        *active,
        **{f"from_{name}": start[name] for name in GRANULARITIES},
        **{f"{name}s_to_last": last[name] - start[name] for name in GRANULARITIES},
        **{f"{name}s_to_order": order[name] - start[name] for name in GRANULARITIES},
    )


def _active(returns: ir.Table, granularity: str, most: int) -> pd.DataFrame:
    """Customers with a session, per dimension, cohort and offset up to `most`."""
    flags = {}
    for offset in range(most + 1):
        word, bit = divmod(offset, WORD_BITS)
        flags[str(offset)] = (returns[f"{granularity}_active_{word}"] >> bit) & 1
    cohort = returns[f"from_{granularity}"]
    sums = {name: flag.sum().cast("int64") for name, flag in flags.items()}
    wide = result(returns.group_by(dimension=returns.dimension, cohort=cohort).agg(**sums))
    return wide.melt(["dimension", "cohort"], var_name="offset", value_name="customers").astype("int64")


def _paid(visits: ir.Table, granularity: str, most: int) -> pd.DataFrame:
    """Orders and revenue per dimension, cohort and offset up to `most`."""
    within = visits.filter(visits[f"{granularity}s_since"] <= most)
    keys = {
        "dimension": within.dimension,
        "cohort": within[f"from_{granularity}"],
        "offset": within[f"{granularity}s_since"],
    }
    orders, revenue = within.is_order.sum().cast("int64"), within.amount.sum().cast("float64")
    return result(within.group_by(**keys).agg(orders=orders, revenue=revenue))


def _counted(returns: ir.Table, granularity: str, offset: str, most: int | None = None) -> pd.DataFrame:
    """Customers per dimension, cohort and value of the column `offset`, up to `most`, where it is known."""
    known = returns.filter(returns[offset].notnull() if most is None else returns[offset] <= most)
    keys = {"dimension": known.dimension, "cohort": known[f"from_{granularity}"], "offset": known[offset]}
    return result(known.group_by(**keys).agg(customers=known.count())).astype("int64")


def _arrived(customers: ir.Table, granularity: str) -> pd.DataFrame:
    """The size of each cohort."""
    keys = {"dimension": customers.dimension, "cohort": customers[f"from_{granularity}"]}
    return result(customers.group_by(**keys).agg(cohort_customers=customers.count())).astype("int64")


def _early_orders(orders: ir.Table, customers: ir.Table) -> int:
    joined = orders.join(customers, "client_code")
    early = joined.filter(joined.day < joined.from_day)
    return int(early.count().to_pyarrow().as_py())


def _further_orders(orders: ir.Table, seen: Observed) -> ir.Table:
    """Per dimension and customer, from order n to order n + 1 (step n): step, from_day, from_week, to_day, to_week.

    `to_…` is missing where the next order has not happened.
    """
    repeated = by_dimension(orders, seen.dimensions)
    window = ibis.window(group_by=["dimension", "client_code"], order_by="position")
    further = repeated.select(
        "dimension",
        step=(ibis.row_number().over(window) + 1).cast("int32"),
        from_day=repeated.day,
        from_week=repeated.week,
        to_day=repeated.day.lead().over(window),
        to_week=repeated.week.lead().over(window),
    )
    return further.filter(further.step < len(STEPS))


def _counted_transitions(transitions: ir.Table, granularity: str, most: int) -> pd.DataFrame:
    """Customers per dimension, step, cohort and offset; the offset is NEVER where it is missing or above `most`."""
    offset = transitions[f"to_{granularity}"] - transitions[f"from_{granularity}"]
    keys = {
        "dimension": transitions.dimension,
        "step": transitions.step,
        "cohort": transitions[f"from_{granularity}"],
        "offset": ibis.ifelse((offset <= most).fill_null(False), offset, NEVER),
    }
    return result(transitions.group_by(**keys).agg(customers=transitions.count())).astype("int64")


def _sizes(counted: pd.DataFrame) -> pd.DataFrame:
    return counted.groupby(["dimension", "cohort"], as_index=False).agg(cohort_customers=("customers", "sum"))


def _at_or_after(latest: pd.DataFrame, most: int) -> pd.DataFrame:
    """From customers by the offset of their last session to customers with a session at each offset or later."""
    limited = latest.assign(offset=latest["offset"].clip(upper=most + 1))
    wide = limited.pivot_table(
        index=["dimension", "cohort"], columns="offset", values="customers", aggfunc="sum", fill_value=0
    ).reindex(columns=range(most + 2), fill_value=0)
    at_or_after = wide.iloc[:, ::-1].cumsum(axis=1).iloc[:, ::-1]
    long = at_or_after.reset_index().melt(["dimension", "cohort"], value_name="unbounded_customers")
    return long.astype("int64")


def _grid(sizes: pd.DataFrame, most: int, last: int) -> pd.DataFrame:
    """Every cell that has begun at period `last`: all cohorts from the dimension's first to its newest, empty ones too.

    `age` counts the cohorts from the newest, which is 0.
    """
    spans = sizes.groupby("dimension")["cohort"].agg(["min", "max"])
    table = calendar(spans["min"], spans["max"]).rename(columns={"period": "cohort"}).astype("int64")
    table["age"] = table["dimension"].map(spans["max"]).astype("int64") - table["cohort"]
    offsets = np.minimum(most, last - table["cohort"].to_numpy()) + 1
    grid = table.loc[table.index.repeat(offsets)]
    grid = grid.assign(offset=grid.groupby(level=0).cumcount()).reset_index(drop=True)
    return _filled(grid, sizes, ["cohort_customers"], on=["dimension", "cohort"])


def _filled(grid: pd.DataFrame, counted: pd.DataFrame, names: list[str], on: list[str] | None = None) -> pd.DataFrame:
    """`grid` with the columns `names` of `counted`, zero where nothing was counted."""
    keys = on or ["dimension", "cohort", "offset"]
    joined = grid.merge(counted[[*keys, *names]].astype(dict.fromkeys(keys, "int64")), how="left", on=keys)
    kinds = {name: "float64" if name == "revenue" else "int64" for name in names}
    return joined.fillna(dict.fromkeys(names, 0)).astype(kinds)


def _average(cells: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Sums of `measure` (as `customers`) and of cohort sizes over complete cells, and the number of cohorts, `n`."""
    complete = cells[cells["is_complete"] & (cells["cohort_customers"] > 0)]
    return complete.groupby(["dimension", "granularity", "offset"], as_index=False).agg(
        customers=(measure, "sum"), cohort_customers=("cohort_customers", "sum"), n=("cohort_customers", "size")
    )


def _cohort_days(cells: pd.DataFrame, week_start: str) -> pd.Series:
    """The first day of each cell's cohort."""
    days = pd.Series(index=cells.index, dtype=object)
    for granularity in GRANULARITIES:
        own = (cells["granularity"] == granularity).to_numpy()
        days[own] = as_dates(first_days(cells.loc[own, "cohort"], granularity, week_start)).to_numpy()
    return days


def _headline(average: pd.DataFrame) -> dict[str, float]:
    """Of all customers: the share back one week later, and the share that made each step in the cohort's own week."""
    known: dict[str, float] = {}
    weekly: Any = average[(average["dimension"] == 0) & (average["granularity"] == "week")]
    retained = weekly[(weekly["curve"] == "retention, n-day") & (weekly["offset"] == 1)]
    if len(retained):
        known["retention_week_1"] = round(float(retained["rate"].iloc[0]), 6)
    for step in STEPS:
        at_once = weekly[(weekly["curve"] == step) & (weekly["offset"] == 0)]
        if len(at_once):
            known[f"{step}_same_week"] = round(float(at_once["rate"].iloc[0]), 6)
    return known
