"""Who leaves: three views side by side, because whether a customer without a contract has left is never seen.

    sessions  ->  window rates per week and month; the curve of the gap between orders; P(alive); who is overdue

`window_churn` counts, of the customers active in one week or month, those who are not active in the next: a rate of
the period in which they stayed away. Customers who are new in it are in neither count, so they are never "retained".
*Active* is a customer with a session, and beside it one with an order. Somebody who comes every other week counts as
lost each time: the rate depends on the window, and says more the shorter the usual gap.

`gap_survival` follows the days from each order to the customer's next. Orders without a next one count as far as they
are known to have none, so customers who are gone pull the curve up instead of dropping out (Kaplan-Meier). It is shown
for all, and by the month of the first order (the newest CHURN_COHORTS_KEPT with an order). Several orders of a day are
one. A customer with many orders has many gaps in it, so the bands are somewhat too narrow.

`overdue` compares each customer's days since the last order with their own expected gap, which is

    (usual gap + sum of own gaps) / (1 + number of own gaps)

where the usual gap is the median of those gaps that did end, read off that same curve. Somebody away longer than
CHURN_OVERDUE_FACTOR expected gaps is overdue. Whoever has a single order is measured by the usual gap.

`probability_alive` spreads the customers over their P(alive) by the modified BG/NBD model (see
`include/measures/purchase_model.py`), which counts on leaving after each order, the first one included: the probability
of not having left yet. Each dimension value has its own model. Where the data cannot determine one, the report says so.

A customer's expected gap, whether they are overdue, and their P(alive) are also among the scores of `downloads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd

import configs
from include.dashboards.panel import Panel
from include.measures.dimension import by_dimension
from include.measures.observed import client_names, definition, observed
from include.measures.periods import (
    Granularity,
    are_complete,
    as_dates,
    calendar,
    day_number,
    first_days,
    period_of,
)
from include.measures.purchase_model import Fit, fit_purchase_model
from include.measures.rates import with_rate
from include.measures.reporting import finished_report
from include.measures.results import held, ratio, result
from include.measures.survival import Survival, kaplan_meier
from include.schemas.reports import Field, Report, ReportType

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

Integers = npt.NDArray[np.int64]
READS = ("sessions",)
WINDOWS: tuple[Granularity, ...] = ("week", "month")
ACTIVITIES = ("session", "order")
ALL_COHORTS = "all"
BINS = 10
OVERDUE, ON_TIME, NOT_KNOWN = "overdue", "on time", "not known"
STATUSES = (ON_TIME, OVERDUE, NOT_KNOWN)
VALUES_NAMED = 5  # in a warning
CLIENTS, PERIODS = 1 << 31, 1 << 16  # more than there are

FIELDS: dict[str, Field] = {
    "activity": Field("keyword", "what makes a customer active: a session, or an order"),
    "previous_customers": Field("long", "customers active in the period before", "customers"),
    "retained_customers": Field("long", "of those, the ones active in this period too", "customers"),
    "lost_customers": Field("long", "of those, the ones not active in this period", "customers"),
    "acquisition": Field("keyword", f"month of the customers' first order, or `{ALL_COHORTS}`"),
    "days": Field("long", "days since an order", "days"),
    "survival": Field("double", "share of orders not followed by another within so many days", "share"),
    "at_risk": Field("long", "orders known to be without another one just before that day", "orders"),
    "events": Field("long", "orders followed by another up to that day", "orders"),
    "median_gap_days": Field("double", "days by which half of all orders were followed by another", "days"),
    "median_gap_low_days": Field("double", "lower end of the confidence interval of that median", "days"),
    "median_gap_high_days": Field("double", "upper end of the confidence interval of that median", "days"),
    "usual_gap_days": Field("double", "days by which half of those were followed that ever are", "days"),
    "usual_gap_low_days": Field("double", "lower end of the confidence interval of the usual gap", "days"),
    "usual_gap_high_days": Field("double", "upper end of the confidence interval of the usual gap", "days"),
    "status": Field("keyword", "whether the customer is overdue, by the expected gap of their own"),
    "mean_expected_gap_days": Field("double", "mean expected gap of these customers", "days"),
    "mean_days_since_order": Field("double", "mean days since their last order", "days"),
    "mean_probability_alive": Field("double", "mean P(alive) of these customers", "share"),
    "alive_bin": Field("long", "position of the bin of P(alive), from 0"),
    "alive_label": Field("keyword", "P(alive): from, up to (the last one includes its end)"),
}

RATE = ("rate", "numerator", "denominator", "ci_low", "ci_high")
WINDOW_TEXT = "Of the customers with {0} in the {1} before, the share that had none in this one, with its interval."
REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "window_churn",
        "Customers lost from one period to the next",
        (
            "dimension", "activity", "granularity", "period", "is_complete", "previous_customers",
            "retained_customers", "lost_customers", *RATE,
        ),
        ("dimension", "activity", "granularity", "period"),
        tuple(
            Panel(
                title=f"{name} churn, by {activity}s",
                mark="line",
                x="period",
                y="rate",
                band=("ci_low", "ci_high"),
                x_title=granularity.capitalize(),
                y_title="Lost customers (%)",
                format="percent",
                where={"granularity": granularity, "activity": activity, "is_complete": True},
                how_to_read=WINDOW_TEXT.format("an order" if activity == "order" else "a session", granularity),
            )
            for activity in ACTIVITIES
            for name, granularity in (("Weekly", "week"), ("Monthly", "month"))
        ),
    ),
    ReportType(
        "gap_survival",
        "Time until the next order",
        ("dimension", "acquisition", "days", "survival", "ci_low", "ci_high", "at_risk", "events", "n"),
        ("dimension", "acquisition", "days"),
        (
            Panel(
                title="Orders not followed by another yet",
                mark="line",
                x="days",
                y="survival",
                band=("ci_low", "ci_high"),
                x_title="Days since the order",
                y_title="Orders without a next one (%)",
                format="percent",
                where={"acquisition": ALL_COHORTS},
                how_to_read="Where the curve goes flat, whoever has not ordered again by then hardly ever does.",
            ),
            Panel(
                title="Orders not followed by another yet, by acquisition",
                mark="heatmap",
                x="days",
                y="survival",
                breakdown="acquisition",
                color="survival",
                x_title="Days since the order",
                y_title="Month of the first order",
                format="percent",
                how_to_read="Each row are the customers of one month; the faster it falls, the sooner they reorder.",
            ),
        ),
    ),
    ReportType(
        "usual_gaps",
        "Usual gap between orders",
        (
            "dimension", "acquisition", "median_gap_days", "median_gap_low_days", "median_gap_high_days",
            "usual_gap_days", "usual_gap_low_days", "usual_gap_high_days", "events", "n",
        ),
        ("dimension", "acquisition"),
        (
            Panel(
                title="Usual gap between orders",
                mark="table",
                y="usual_gap_days",
                columns=(
                    "acquisition", "usual_gap_days", "usual_gap_low_days", "usual_gap_high_days", "median_gap_days",
                    "events", "n",
                ),
                format="decimal",
                width=12,
                how_to_read="Half of the orders that have a next one have it within the usual gap; n are all orders.",
            ),
        ),
    ),
    ReportType(
        "overdue",
        "Customers overdue by their own rhythm",
        (
            "dimension", "status", "customers", *RATE, "mean_days_since_order", "mean_expected_gap_days",
            "mean_probability_alive",
        ),
        ("dimension", "status"),
        (
            Panel(
                title="Customers overdue",
                mark="bar",
                x="status",
                y="customers",
                x_title="Status",
                y_title="Customers",
                how_to_read="Overdue is who has been away longer than their own orders so far make likely.",
            ),
        ),
    ),
    ReportType(
        "probability_alive",
        "Customers by P(alive)",
        ("dimension", "alive_bin", "alive_label", "customers", *RATE, "mean_probability_alive", "n"),
        ("dimension", "alive_bin"),
        (
            Panel(
                title="Customers by the probability that they are still active",
                mark="bar",
                x="alive_label",
                y="customers",
                x_title="P(alive)",
                y_title="Customers",
                how_to_read="Those on the left have most likely left, those on the right are most likely active.",
            ),
        ),
    ),
)  # fmt: skip

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "gap_max_days": configs.CHURN_GAP_MAX_DAYS,
    "gap_step_days": configs.CHURN_GAP_STEP_DAYS,
    "cohorts_kept": configs.CHURN_COHORTS_KEPT,
    "overdue_factor": configs.CHURN_OVERDUE_FACTOR,
}


def churn(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    gap_max_days: int = 182,
    gap_step_days: int = 7,
    cohorts_kept: int = 12,
    overdue_factor: float = 2.0,
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`."""
    seen = observed(tables, as_of=as_of, top_values=top_values)
    today = day_number(as_of)
    with held(seen.sessions.drop("instant", "id", "hour", "amount")) as sessions:
        repeated = by_dimension(sessions, seen.dimensions)
        windows = _windows(repeated, as_of, tables.week_start)
        with held(_order_days(repeated)) as days:
            gaps = _gaps(days, today)
            cells = _cells(days, today)
    curves, medians = _survival(gaps, cohorts_kept, range(0, gap_max_days + 1, gap_step_days), confidence_level)
    cells, fits = _with_model(_with_gap(cells, _usual_gaps(medians), overdue_factor))

    over = windows["is_complete"].to_numpy(bool)
    frames = {
        "window_churn": with_rate(windows, "lost_customers", "previous_customers", confidence_level, known=over),
        "gap_survival": curves,
        "usual_gaps": medians,
        "overdue": _overdue(cells, confidence_level),
        "probability_alive": _probability(cells, confidence_level),
    }
    said = definition(
        tables,
        as_of=as_of,
        active="a customer with a session (or, under `order`, an order) in the period",
        same_day_orders="count as one",
        expected_gap="(usual gap + sum of own gaps) / (1 + number of own gaps)",
        overdue=f"away longer than {overdue_factor:g} expected gaps",
        model="modified BG/NBD, fitted on order days; times in days",
    )
    model = fits[0].model if 0 in fits else None
    if model:
        said["model_of_all"] = {name: float(f"{getattr(model, name):.6g}") for name in ("r", "alpha_days", "a", "b")}
    headline = _headline(frames)
    warnings = {"probability_alive": _about_models(fits, seen.labels)}
    keys = {
        "window_churn": ["dimension", "activity", "granularity", "period"],
        "gap_survival": ["dimension", "cohort_order", "days"],
        "usual_gaps": ["dimension", "cohort_order"],
        "overdue": ["dimension", "status"],
        "probability_alive": ["dimension", "alive_bin"],
    }
    return {
        one.type: finished_report(
            one,
            frames[one.type],
            seen.labels,
            keys[one.type],
            as_of=as_of,
            kpis=headline,
            said=said,
            warnings=warnings.get(one.type, ()),
            order={"activity": ACTIVITIES, "granularity": WINDOWS, "status": STATUSES},
        )
        for one in REPORTS
    }


def customer_scores(
    tables: Tables, *, as_of: date, overdue_factor: float = configs.CHURN_OVERDUE_FACTOR
) -> pd.DataFrame:
    """One row per customer with an order, sorted by `client`: `client`, `expected_gap_days`, `is_overdue`,
    `probability_alive`; the last three are missing where they are not known."""
    seen = observed(replace(tables, dimensions=()), as_of=as_of, top_values=0)
    today = day_number(as_of)
    sessions = tables.sessions.filter(tables.sessions.session_day <= as_of)
    names = client_names(sessions)
    with held(_order_days(by_dimension(seen.sessions, ()))) as days:
        gaps = _gaps(days, today)
        found = result(_span(days, today).join(names, "client_code")).sort_values("client", ignore_index=True)
    curve = kaplan_meier(gaps["gap"], gaps["is_event"], gaps["number"], configs.CONFIDENCE_LEVEL)
    usual = pd.Series({0: curve.median_of_events()[0]})
    spans = found.drop(columns=["client_code", "client"]).astype("int64")
    rated, _ = _with_model(_with_gap(spans.assign(number=1), usual, overdue_factor))
    return pd.DataFrame(
        {
            "client": found["client"],
            "expected_gap_days": rated["expected_gap"],
            "is_overdue": rated["status"].map({OVERDUE: True, ON_TIME: False}).astype("boolean"),
            "probability_alive": rated["alive"],
        }
    )


def _windows(sessions: ir.Table, as_of: date, week_start: str) -> pd.DataFrame:
    """One row per dimension, activity, granularity and period after the first."""
    parts = []
    for activity in ACTIVITIES:
        active = sessions.filter(sessions.is_order) if activity == "order" else sessions
        for granularity in WINDOWS:
            part = _window(active, granularity, as_of, week_start)
            parts.append(part.assign(activity=activity, granularity=granularity))
    return pd.concat(parts, ignore_index=True)


def _window(active: ir.Table, granularity: Granularity, as_of: date, week_start: str) -> pd.DataFrame:
    """One row per dimension and period after the first: active before, and of those active again or not."""
    # Dimension, customer and period as one number, so that the period after it is the number after it.
    before = (active.dimension.cast("int64") * CLIENTS + active.client_code) * PERIODS
    number = before + active[granularity] + PERIODS // 2  # periods before 1970 are negative
    with held(active.select(number=number).distinct()) as was_active:
        again = was_active.view()
        joined = was_active.left_join(again, was_active.number + 1 == again.number)
        periods = joined.select(
            dimension=was_active.number // (PERIODS * CLIENTS),
            period=was_active.number % PERIODS - PERIODS // 2,
            stays=again.number.notnull(),
        )
        found = result(
            periods.group_by(["dimension", "period"]).agg(
                previous_customers=periods.count(), retained_customers=periods.stays.sum()
            )
        ).astype("int64")
    first = found.groupby("dimension")["period"].min() + 1
    last = period_of(as_of, granularity, week_start)
    full = calendar(first, last).astype("int64")
    earlier = found.assign(period=found["period"] + 1)
    full = full.merge(earlier, how="left", on=["dimension", "period"]).fillna(0).astype("int64")
    over = are_complete(full["period"], granularity, week_start, as_of)
    lost = full["previous_customers"] - full["retained_customers"]
    return full.assign(
        is_complete=over,
        # Whether somebody stays away shows when the period is over.
        lost_customers=lost.astype("Int64").where(over),
        period=as_dates(first_days(full["period"], granularity, week_start)),
    )


def _order_days(sessions: ir.Table) -> ir.Table:
    """dimension, client_code, day: the days with an order."""
    orders = sessions.filter(sessions.is_order)
    return orders.select("dimension", "client_code", "day", "month").distinct()


def _gaps(days: ir.Table, today: int) -> pd.DataFrame:
    """Order days per dimension and month of the customer's first order, by the days to the next one, if any."""
    own = ibis.window(group_by=["dimension", "client_code"], order_by="day")
    whole = ibis.window(group_by=["dimension", "client_code"])
    following = days.day.lead().over(own)
    spans = days.select(
        "dimension",
        cohort=days.month.min().over(whole),
        gap=ibis.coalesce(following, today) - days.day,
        is_event=following.notnull(),
    )
    return result(spans.group_by(["dimension", "cohort", "gap", "is_event"]).agg(number=spans.count())).astype(
        {"dimension": "int64", "cohort": "int64", "gap": "int64", "number": "int64"}
    )


def _span(days: ir.Table, today: int) -> ir.Table:
    """Per dimension and customer: order days after the first, recency (first to last) and age (first to now)."""
    own = days.group_by(["dimension", "client_code"]).agg(
        first=days.day.min(), last=days.day.max(), orders=days.count()
    )
    return own.select(
        "dimension",
        "client_code",
        further_orders=own.orders - 1,
        recency_days=own.last - own.first,
        age_days=today - own.first,
    )


def _cells(days: ir.Table, today: int) -> pd.DataFrame:
    """Customers per dimension and span."""
    spans = _span(days, today)
    keys = ["dimension", "further_orders", "recency_days", "age_days"]
    found = result(spans.group_by(keys).agg(number=spans.count())).astype("int64")
    return found.sort_values(keys, ignore_index=True)


def _survival(
    gaps: pd.DataFrame, cohorts_kept: int, grid: range, confidence_level: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The curve on the grid of days, and its medians, per dimension and acquisition."""
    curves: list[dict[str, Any]] = []
    medians: list[dict[str, Any]] = []
    for code, own in gaps.groupby("dimension"):
        cohort, gap, is_event, number = (own[name].to_numpy() for name in ("cohort", "gap", "is_event", "number"))
        newest = np.unique(cohort)[-cohorts_kept:].tolist() if cohorts_kept else []
        parts = [(ALL_COHORTS, np.full(len(own), True))]
        parts += [(str(np.datetime64(month, "M")), cohort == month) for month in newest]
        for place, (name, mine) in enumerate(parts):
            curve = kaplan_meier(gap[mine], is_event[mine], number[mine], confidence_level)
            where = {"dimension": int(str(code)), "acquisition": name, "cohort_order": place, "n": number[mine].sum()}
            curves.append({**where, **_on_grid(curve, gap[mine], number[mine], grid)})
            row = {**where, "events": int(curve.events.sum())}
            for prefix, values in (("median_gap", curve.median()), ("usual_gap", curve.median_of_events())):
                row |= {f"{prefix}{end}_days": one for end, one in zip(("", "_low", "_high"), values, strict=True)}
            medians.append(row)
    if not medians:
        names = {"cohort_order", *REPORTS[1].fields, *REPORTS[2].fields}
        empty = pd.DataFrame({name: pd.Series(dtype="float64") for name in names}).astype({"dimension": "int64"})
        return empty, empty.copy()
    points = [len(one["days"]) for one in curves]
    columns = {
        name: np.concatenate([np.broadcast_to(one[name], size) for one, size in zip(curves, points, strict=True)])
        for name in curves[0]
    }
    return pd.DataFrame(columns), pd.DataFrame(medians)


def _on_grid(curve: Survival, gap: Integers, number: Integers, grid: range) -> dict[str, Any]:
    """The curve at each day of the grid up to which anybody was observed."""
    days = np.array([day for day in grid if day <= curve.last_time], dtype="int64")
    place = curve.at(days) + 1
    return {
        "days": days,
        "survival": np.concatenate([[1.0], curve.survival])[place],
        "ci_low": np.concatenate([[1.0], curve.ci_low])[place],
        "ci_high": np.concatenate([[1.0], curve.ci_high])[place],
        "at_risk": number @ (gap[:, None] >= days),
        "events": np.concatenate([[0.0], np.cumsum(curve.events)])[place].astype("int64"),
    }


def _usual_gaps(medians: pd.DataFrame) -> pd.Series:
    """The usual gap of all customers, by dimension."""
    return medians[medians["acquisition"] == ALL_COHORTS].set_index("dimension")["usual_gap_days"]


def _with_gap(cells: pd.DataFrame, usual: pd.Series, factor: float) -> pd.DataFrame:
    """With the expected gap of the customers of each cell, and their status."""
    typical = cells["dimension"].map(usual).astype("float64")
    # The gaps between the order days of a customer add up to the days from the first to the last.
    expected = (typical + cells["recency_days"]) / (1 + cells["further_orders"])
    since = cells["age_days"] - cells["recency_days"]
    status = np.where(expected.isna(), NOT_KNOWN, np.where(since > factor * expected, OVERDUE, ON_TIME))
    return cells.assign(expected_gap=expected, since=since, status=status)


def _with_model(cells: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, Fit]]:
    """With `alive`, missing where there is no model; and what fitting came to, per dimension."""
    alive = pd.Series(np.nan, index=cells.index, dtype="float64")
    fits = {}
    for code, own in cells.groupby("dimension"):
        fit = fit_purchase_model(own)
        fits[int(str(code))] = fit
        if fit.model:
            alive[own.index] = fit.model.probability_alive(own["further_orders"], own["recency_days"], own["age_days"])
    return cells.assign(alive=alive), fits


def _about_models(fits: dict[int, Fit], labels: Sequence[str]) -> list[str]:
    """Each warning once, with the dimension values it is about."""
    about: dict[str, list[str]] = {}
    for code, fit in fits.items():
        for warning in fit.warnings:
            about.setdefault(warning, []).append(labels[code])
    said = []
    for warning, names in about.items():
        others = f" and {len(names) - VALUES_NAMED:,} more" if len(names) > VALUES_NAMED else ""
        said.append(f"{', '.join(names[:VALUES_NAMED])}{others}: {warning}")
    return said


def _overdue(cells: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """One row per dimension and status; `not known` only where there is anybody."""
    means = {
        "mean_days_since_order": "since", "mean_expected_gap_days": "expected_gap", "mean_probability_alive": "alive",
    }  # fmt: skip
    totals = {name: cells[column] * cells["number"] for name, column in means.items()}
    weighed = cells[["dimension", "status"]].assign(customers=cells["number"], **totals)
    sums = weighed.groupby(["dimension", "status"]).sum(min_count=1)
    every = pd.MultiIndex.from_product([sorted(set(cells["dimension"])), STATUSES], names=["dimension", "status"])
    full = (
        sums.reindex(every).reset_index().fillna({"customers": 0}).astype({"dimension": "int64", "customers": "int64"})
    )
    full["total"] = full.groupby("dimension")["customers"].transform("sum")
    full = full.assign(**{name: ratio(full[name], full["customers"]) for name in means})
    occurs = (full["status"] != NOT_KNOWN) | (full["customers"] > 0)
    return with_rate(full[occurs].reset_index(drop=True), "customers", "total", confidence_level)


def _probability(cells: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """Ten rows per dimension with a model: the customers of each tenth of P(alive)."""
    known = cells[cells["alive"].notna()]
    place = np.minimum((known["alive"].round(9) * BINS).astype("int64"), BINS - 1)
    weighed = known.assign(alive_bin=place, customers=known["number"], alive_total=known["alive"] * known["number"])
    sums = weighed.groupby(["dimension", "alive_bin"])[["customers", "alive_total"]].sum()
    every = pd.MultiIndex.from_product([sorted(set(known["dimension"])), range(BINS)], names=["dimension", "alive_bin"])
    full = sums.reindex(every, fill_value=0).reset_index().astype({"dimension": "int64", "customers": "int64"})
    full["alive_label"] = [f"{number / BINS:.1f}-{(number + 1) / BINS:.1f}" for number in full["alive_bin"]]
    full["n"] = full.groupby("dimension")["customers"].transform("sum")
    full["mean_probability_alive"] = ratio(full["alive_total"], full["customers"])
    return with_rate(full, "customers", "n", confidence_level)


def _headline(frames: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Of all: the newest complete rates, the usual gap, the share overdue, and how many are expected to be active."""
    known: dict[str, float] = {}
    windows = frames["window_churn"]
    for granularity in WINDOWS:
        of_all = (windows["dimension"] == 0) & (windows["activity"] == "session")
        rates = windows[of_all & (windows["granularity"] == granularity)].sort_values("period")["rate"].dropna()
        if len(rates):
            known[f"churn_rate_last_{granularity}"] = round(float(rates.iloc[-1]), 6)
    medians = frames["usual_gaps"]
    usual = medians.loc[(medians["dimension"] == 0) & (medians["acquisition"] == ALL_COHORTS), "usual_gap_days"]
    for value in usual.dropna():
        known["usual_gap_days"] = round(float(value), 6)
    overdue = frames["overdue"]
    late = overdue.loc[(overdue["dimension"] == 0) & (overdue["status"] == OVERDUE)]
    for value in late["customers"]:
        known["overdue_customers"] = float(value)
    alive = frames["probability_alive"]
    expected = alive[alive["dimension"] == 0]
    if len(expected):
        known["customers_with_orders"] = float(expected["customers"].sum())
        known["expected_active_customers"] = round(float(expected["alive_total"].sum()), 3)
    return known
