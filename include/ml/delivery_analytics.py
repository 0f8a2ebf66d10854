"""Deliveries: how long each leg takes, when, where and for whom it is slow, and how long customers wait.

    sessions, deliveries  ->  durations, on-time and returned shares, hours of the week, places, slow groups, waiting

The legs are `prepare` (order to prepared), `ride` (prepared to delivered), `deliver` (order to delivered) and `return`
(delivered to returned), in hours of elapsed time, by the weekday and hour of the order. A leg whose end lies before its
beginning is unknown, and a warning counts them; so is what happened after the report date.

A place is a cell of a grid (a geohash of DELIVERY_GEOHASH_LENGTH characters). `abnormal_groups` are places, hours of
the week, customers, and places at an hour of the week that are slower than the rest by more than the factor
DELIVERY_MIN_SLOWDOWN, each named for what it is: a place that is only slow on Friday evenings is not a slow place, and
a customer who only orders then is not a slow customer. `slow_groups` says how. Consecutive slow hours of a place are
one row. `abnormal_deliveries` are single ones, slower than noise explains (Benjamini-Hochberg over all), with the group
they belong to as the reason, where they belong to one. Both look at the ride and at the preparation, or at the whole
where the source does not say when an order was prepared. Without coordinates there are hours and customers only.

`waiting` is the share of orders not yet delivered, by hours since the order (Kaplan-Meier). Orders that are still under
way count for as long as they have waited: leaving them out would flatter the shop. An order without a delivery is under
way for DELIVERY_OPEN_DAYS days; after that it is taken as never to be delivered, left out, and counted in a warning.

Where a promise exists (DELIVERY_PROMISE_HOURS), the on-time share is of the orders whose promised time is over,
delivered or not; otherwise it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binom, false_discovery_control, norm

import configs
from include.dashboards.panel import Panel
from include.measures.clocks import are_dates_only, start_of_day
from include.measures.dimension import CODE
from include.measures.geohash import cell_middle, cell_name, cell_number
from include.measures.observed import Observed, clients_by_code, definition, observed
from include.measures.periods import WEEKDAYS, as_dates, day_number, first_days
from include.measures.rates import with_rate
from include.measures.reporting import finished_report, without_rows
from include.measures.results import result
from include.measures.row_limit import fitting
from include.measures.slow_groups import NO_PLACE, SlowGroups, Tested, group_medians, slow_groups
from include.measures.survival import kaplan_meier
from include.schemas.reports import Field, Report, ReportType

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

READS = ("sessions", "deliveries")
LEGS = ("prepare", "ride", "deliver", "return")
MICROSECONDS_PER_HOUR = 3_600_000_000
HOURS_PER_DAY = 24
HOURS_PER_WEEK = len(WEEKDAYS) * HOURS_PER_DAY
SHORTEST_HOURS = 1 / 60  # a leg of no time at all has no logarithm: it counts as a minute
WAITING_POINTS = 120
NAMES = tuple(day.capitalize() for day in WEEKDAYS)
CAUSES = ("place", "hour of the week", "customer", "place at an hour of the week")
VERDICTS = ("slow", "as others", "too few")

FIELDS: dict[str, Field] = {
    "duration": Field("keyword", "prepare (from the order), ride (from there to the door), deliver (both), return"),
    "mean_taken_hours": Field("double", "mean duration", "hours"),
    "median_taken_hours": Field("double", "median duration", "hours"),
    "median_taken_low_hours": Field("double", "lower end of the confidence interval of that median", "hours"),
    "median_taken_high_hours": Field("double", "upper end of the confidence interval of that median", "hours"),
    "p90_hours": Field("double", "nine in ten take no longer", "hours"),
    "delivery_outcome": Field("keyword", "on time (within DELIVERY_PROMISE_HOURS of the order) or returned"),
    "weekday": Field("keyword", "weekday of the order"),
    "until_hour": Field("long", "the hour of day at which the slow hours end", "1-24"),
    "place": Field("keyword", "geohash of the cell that the delivery went to"),
    "latitude": Field("double", "of the middle of the cell", "degrees"),
    "longitude": Field("double", "of the middle of the cell", "degrees"),
    "places": Field("long", "places that deliveries went to", "places"),
    "location": Field("geo_point", "the middle of the cell, for maps"),
    "place_verdict": Field(
        "keyword", "slow: slower than other places at the same hours, by DELIVERY_MIN_SLOWDOWN or more"
    ),
    "cause": Field("keyword", "what is slow: a place, an hour of the week, a customer, a place at an hour of the week"),
    "client": Field("keyword", "the customer"),
    "order_id": Field("keyword", "the order"),
    "taken_hours": Field("double", "duration of this delivery", "hours"),
    "expected_hours": Field("double", "typical duration, if nothing were slow", "hours"),
    "slowdown": Field("double", "how many times as long as expected"),
    "q_value": Field("double", "smallest false discovery rate at which it is found"),
    "reason": Field("keyword", "what is slow about it, in words"),
    "waited_hours": Field("double", "hours since the order", "hours"),
}

RATE = ("rate", "numerator", "denominator", "ci_low", "ci_high")


def _hours_panel(leg: str, what: str) -> Panel:
    return Panel(
        title=f"{leg.capitalize()}: median hours by weekday and hour",
        mark="heatmap",
        x="hour_of_day",
        y="median_taken_hours",
        breakdown="weekday",
        color="median_taken_hours",
        x_title="Hour of the order",
        y_title="Weekday",
        format="hours",
        where={"duration": leg},
        how_to_read=f"How long {what}, by when the order came in; single bright cells may rest on a few orders.",
    )


SLOW = ("place", "duration", "taken_hours", "expected_hours", "slowdown", "reason")  # what is told of one delivery

REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "durations",
        "Delivery durations",
        (
            "dimension",
            "duration",
            "n",
            "mean_taken_hours",
            "median_taken_hours",
            "median_taken_low_hours",
            "median_taken_high_hours",
            "p90_hours",
        ),
        ("dimension", "duration"),
        (
            Panel(
                title="Median hours",
                mark="metric",
                y="median_taken_hours",
                breakdown="duration",
                format="hours",
                how_to_read="Half of the deliveries take no longer than this.",
            ),
            Panel(
                title="Durations",
                mark="table",
                y="median_taken_hours",
                columns=(
                    "duration",
                    "n",
                    "median_taken_hours",
                    "median_taken_low_hours",
                    "median_taken_high_hours",
                    "mean_taken_hours",
                    "p90_hours",
                ),
                format="hours",
                how_to_read="Where the mean is far above the median, some take very long; nine in ten are within p90.",
            ),
        ),
    ),
    ReportType(
        "outcomes",
        "Delivery outcomes",
        ("dimension", "delivery_outcome", *RATE),
        ("dimension", "delivery_outcome"),
        (
            Panel(
                title="Shares on time and returned",
                mark="metric",
                y="rate",
                breakdown="delivery_outcome",
                format="percent",
                width=3,
                how_to_read="On time is out of orders whose promised time is over, returned out of those delivered.",
            ),
        ),
    ),
    ReportType(
        "locations",
        "Number of delivery places",
        ("dimension", "places", "n"),
        ("dimension",),
        (
            Panel(
                title="Locations",
                mark="metric",
                y="places",
                width=3,
                how_to_read="Places with a delivery, slow or not; the map shows those with most deliveries.",
            ),
        ),
    ),
    ReportType(
        "weekday_hours",
        "Delivery durations by weekday and hour",
        ("dimension", "duration", "weekday", "hour_of_day", "n", "median_taken_hours"),
        ("dimension", "duration", "weekday", "hour_of_day"),
        (
            _hours_panel("prepare", "preparing takes"),
            _hours_panel("ride", "the ride takes"),
            _hours_panel("deliver", "it takes from order to door"),
        ),
    ),
    ReportType(
        "places",
        "Delivery places",
        (
            "dimension",
            "place",
            "latitude",
            "longitude",
            "location",
            "n",
            "customers",
            "median_taken_hours",
            "slowdown",
            "q_value",
            "place_verdict",
        ),
        ("dimension", "place"),
        (
            Panel(
                title="Places",
                mark="map",
                x="longitude",
                y="latitude",
                location="location",
                breakdown="place_verdict",
                x_title="Longitude",
                y_title="Latitude",
                format="decimal",
                columns=(
                    "place",
                    "place_verdict",
                    "n",
                    "customers",
                    "median_taken_hours",
                    "slowdown",
                    "longitude",
                    "latitude",
                ),
                tones={"slow": "bad", "as others": "plain", "too few": "faint"},
                how_to_read="A point is a place, north up; slow ones are slow at all hours of the week.",
            ),
            Panel(
                title="Slowest places",
                mark="table",
                y="slowdown",
                columns=("place", "n", "customers", "median_taken_hours", "slowdown", "q_value", "place_verdict"),
                format="decimal",
                sort="descending",
                limit=20,
                how_to_read="How many times as long as other places a place takes, at the same hours of the week.",
            ),
        ),
    ),
    ReportType(
        "abnormal_groups",
        "Slow places, hours and customers",
        (
            "dimension",
            "cause",
            "duration",
            "place",
            "latitude",
            "longitude",
            "location",
            "client",
            "weekday",
            "hour_of_day",
            "until_hour",
            "n",
            "slowdown",
            "expected_hours",
            "q_value",
            "reason",
        ),
        ("dimension", "cause", "duration", "place", "client", "weekday", "hour_of_day"),
        (
            Panel(
                title="What is slow, and why",
                mark="table",
                y="slowdown",
                columns=("reason", "cause", "duration", "n", "slowdown", "expected_hours", "q_value"),
                format="decimal",
                width=12,
                how_to_read="Each row is slow by itself, after the others are taken out: nothing is named twice.",
            ),
            Panel(
                title="Slow places at their hours",
                mark="map",
                x="longitude",
                y="latitude",
                location="location",
                breakdown="weekday",
                where={"cause": CAUSES[3]},
                x_title="Longitude",
                y_title="Latitude",
                format="decimal",
                columns=(
                    "place",
                    "weekday",
                    "hour_of_day",
                    "until_hour",
                    "duration",
                    "n",
                    "slowdown",
                    "longitude",
                    "latitude",
                ),
                how_to_read="A point is a place that is slow at some hours of the weekday in its colour.",
            ),
        ),
    ),
    ReportType(
        "abnormal_deliveries",
        "Slow deliveries",
        (
            "dimension",
            "order_id",
            "client",
            "period",
            "weekday",
            "hour_of_day",
            "place",
            "latitude",
            "longitude",
            "location",
            "duration",
            "taken_hours",
            "expected_hours",
            "slowdown",
            "q_value",
            "reason",
        ),
        ("dimension", "order_id", "duration"),
        (
            Panel(
                title="Slowest deliveries",
                mark="table",
                y="slowdown",
                columns=("order_id", "client", "period", *SLOW),
                format="decimal",
                limit=50,
                width=12,
                how_to_read="Single deliveries slower than noise explains, worst first, and what they belong to.",
            ),
            Panel(
                title="Where they went",
                mark="map",
                x="longitude",
                y="latitude",
                location="location",
                breakdown="duration",
                x_title="Longitude",
                y_title="Latitude",
                format="decimal",
                columns=("order_id", *SLOW, "longitude", "latitude"),
                how_to_read="A point is the place of a slow delivery, north up; its colour is the slow leg.",
            ),
        ),
    ),
    ReportType(
        "waiting",
        "Waiting for the delivery",
        ("dimension", "waited_hours", "rate", "ci_low", "ci_high", "n"),
        ("dimension", "waited_hours"),
        (
            Panel(
                title="Orders not yet delivered",
                mark="line",
                x="waited_hours",
                y="rate",
                band=("ci_low", "ci_high"),
                x_title="Hours since the order",
                y_title="Still waiting",
                format="percent",
                how_to_read="The share still waiting after so many hours; the others are those a promise would keep.",
            ),
        ),
    ),
)

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "promise_hours": configs.DELIVERY_PROMISE_HOURS,
    "open_days": configs.DELIVERY_OPEN_DAYS,
    "geohash_length": configs.DELIVERY_GEOHASH_LENGTH,
    "min_slowdown": configs.DELIVERY_MIN_SLOWDOWN,
    "false_discovery_rate": configs.DELIVERY_FALSE_DISCOVERY_RATE,
    "min_deliveries": configs.DELIVERY_MIN_DELIVERIES,
    "kept": configs.DELIVERY_KEPT,
    "most_rows": configs.REPORT_MAX_ROWS,
}


@dataclass(frozen=True)
class Rules:
    """What decides that something is slow, and how much is listed."""

    geohash_length: int
    min_slowdown: float
    false_discovery_rate: float
    min_deliveries: int
    kept: int


def delivery_analytics(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    promise_hours: float = 0.0,
    open_days: int = 14,
    geohash_length: int = 4,
    min_slowdown: float = 1.2,
    false_discovery_rate: float = 0.05,
    min_deliveries: int = 5,
    kept: int = 100,
    most_rows: int = 100_000,
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`.

    Without deliveries there are no rows, and a warning that says so.
    """
    said = definition(
        tables,
        as_of=as_of,
        place=f"geohash of {geohash_length} characters",
        promise_hours=promise_hours or "none",
        slow=f"by a factor of {min_slowdown:g} or more, at a false discovery rate of {false_discovery_rate:g} "
        "(Benjamini-Hochberg) within each kind of group and leg",
        waiting=f"Kaplan-Meier; an order without a delivery is under way for {open_days} days",
    )
    if tables.deliveries is None:
        reason = "delivery_analytics needs the source deliveries, which sources.yaml does not have."
        return without_rows(REPORTS, said, reason)
    seen = observed(tables, as_of=as_of, top_values=top_values)
    kept = fitting(kept, rows_each=len(seen.labels), most_rows=most_rows)
    rules = Rules(geohash_length, min_slowdown, false_discovery_rate, min_deliveries, kept)
    orders = _orders(tables.deliveries, seen, tables.time_zone, as_of, geohash_length)
    warnings = _warnings(tables.deliveries, seen, orders, tables.time_zone, as_of, open_days)
    week_start = WEEKDAYS.index(tables.week_start)

    # Of each dimension value the places of its orders; those without a delivery that is still to come are left out.
    is_open = (
        ~orders["is_delivered"] & ~orders["is_wrong_deliver"] & (orders["waited_hours"] <= open_days * HOURS_PER_DAY)
    )
    orders = orders[orders["is_delivered"] | is_open].reset_index(drop=True)
    frames: dict[str, list[pd.DataFrame]] = {one.type: [] for one in REPORTS}
    for number, own in _by_dimension(orders, seen):
        delivered = own[own["is_delivered"]].reset_index(drop=True)
        frames["waiting"].append(_waiting(own, confidence_level).assign(dimension=number))
        frames["outcomes"].append(_outcomes(own, delivered, promise_hours).assign(dimension=number))
        frames["durations"].append(_durations(delivered, confidence_level).assign(dimension=number))
        frames["weekday_hours"].append(_weekday_hours(delivered, week_start).assign(dimension=number))
        places, groups, single = _abnormal(delivered, rules)
        frames["locations"].append(_locations(delivered).assign(dimension=number))
        frames["places"].append(places.assign(dimension=number))
        frames["abnormal_groups"].append(groups.assign(dimension=number))
        frames["abnormal_deliveries"].append(single.assign(dimension=number))
    together = {name: _joined(parts, name) for name, parts in frames.items()}
    together["outcomes"] = with_rate(together["outcomes"], "numerator", "denominator", confidence_level)
    for name in ("abnormal_groups", "abnormal_deliveries"):
        together[name] = _with_names(together[name], tables, seen)
    keys = {
        "durations": ["dimension", "place_number"],
        "outcomes": ["dimension", "delivery_outcome"],
        "locations": ["dimension"],
        "weekday_hours": ["dimension", "leg_number", "weekday_number", "hour_of_day"],
        "places": ["dimension", "place_number"],
        "abnormal_groups": ["dimension", "place_number"],
        "abnormal_deliveries": ["dimension", "place_number"],
        "waiting": ["dimension", "waited_hours"],
    }
    headline = _headline(together)
    return {
        one.type: finished_report(
            one,
            together[one.type],
            seen.labels,
            keys[one.type],
            as_of=as_of,
            kpis=headline,
            said=said,
            warnings=warnings,
        )
        for one in REPORTS
    }


def _orders(deliveries: ir.Table, seen: Observed, zone: str, as_of: date, geohash_length: int) -> pd.DataFrame:
    """One row per order: hours of each leg (missing where unknown), `waited_hours` until delivered or the report date.

    `is_wrong_<leg>` marks legs that end before they begin; `cell` is the place, NO_PLACE without coordinates.
    """
    end = start_of_day(ibis.literal(day_number(as_of) + 1, "int32"), zone)
    orders = seen.sessions.filter(seen.sessions.is_order)
    joined = orders.left_join(deliveries, orders.id == deliveries.order_id)

    def known(name: str) -> Any:
        if name not in deliveries.columns:
            return ibis.null("timestamp(6)")
        instant = joined[name].cast("timestamp(6)")
        return ibis.ifelse(instant < end, instant, ibis.null("timestamp(6)"))

    ordered, prepared = joined.instant.cast("timestamp(6)"), known("prepare_date")
    arrived, returned = known("delivery_date"), known("return_date")
    legs = {
        "prepare": (ordered, prepared),
        "ride": (prepared, arrived),
        "deliver": (ordered, arrived),
        "return": (arrived, returned),
    }
    columns: dict[str, Any] = {}
    for leg, (begin, finish) in legs.items():
        hours = finish.delta(begin, unit="microsecond").cast("float64") / MICROSECONDS_PER_HOUR
        columns[leg] = ibis.ifelse(hours >= 0, hours, ibis.null("float64"))
        columns[f"is_wrong_{leg}"] = (hours < 0).fill_null(False)
    waited = end.delta(ordered, unit="microsecond").cast("float64") / MICROSECONDS_PER_HOUR
    place: Any = ibis.literal(NO_PLACE, "int64")
    if {"latitude", "longitude"} <= set(deliveries.columns):
        latitude, longitude = joined.latitude.cast("float64"), joined.longitude.cast("float64")
        there = latitude.between(-90, 90) & longitude.between(-180, 180)
        place = ibis.ifelse(there.fill_null(False), cell_number(latitude, longitude, geohash_length), NO_PLACE)
    frame = result(
        joined.select(
            "id",
            "client_code",
            "day",
            *(CODE + name for name in seen.dimensions),
            hour=joined.hour.cast("int64"),
            cell=ibis.coalesce(place, NO_PLACE).cast("int64"),
            is_delivered=columns["deliver"].notnull(),
            has_delivery=joined.order_id.notnull(),
            is_returned=returned.notnull(),
            waited_hours=ibis.coalesce(columns["deliver"], waited),
            until_end_hours=waited,
            **columns,
        )
    ).sort_values("id", ignore_index=True)
    frame["weekday"] = (frame["day"].astype("int64") + WEEKDAYS.index("thursday")) % len(WEEKDAYS)
    return frame.astype({"client_code": "int64", "day": "int64", "hour": "int64", "cell": "int64"})


def _warnings(
    deliveries: ir.Table, seen: Observed, orders: pd.DataFrame, zone: str, as_of: date, open_days: int
) -> list[str]:
    """What was left out, and what the source does not say."""
    said = []

    def counted(count: int, one: str, many: str, rest: str) -> None:
        if count:
            said.append(f"{count:,} {one if count == 1 else many} {rest}.")

    ordered = seen.sessions.filter(seen.sessions.is_order)
    strangers = deliveries.anti_join(ordered, deliveries.order_id == ordered.id)
    end = start_of_day(ibis.literal(day_number(as_of) + 1, "int32"), zone)
    unknown = strangers.filter((strangers.delivery_date < end).fill_null(True)).count().to_pyarrow().as_py()
    counted(int(unknown), "delivery belongs", "deliveries belong", "to no order, and count nowhere")
    for leg in LEGS:
        wrong = int(orders[f"is_wrong_{leg}"].sum())
        counted(wrong, "delivery has", "deliveries have", f"a {leg} that ends before it begins: unknown")
    lost = ~orders["is_delivered"] & ~orders["has_delivery"] & (orders["waited_hours"] > open_days * HOURS_PER_DAY)
    counted(int(lost.sum()), "order has", "orders have", f"had no delivery for {open_days} days, taken as none to come")
    if not len(orders) or not orders["is_delivered"].any():
        return [*said, "No order has been delivered yet."] if len(orders) else said
    if are_dates_only(deliveries.delivery_date.cast("timestamp(6)"), zone):
        said.append("Deliveries have days and no hours: durations are whole days, and what is slow is only a hint.")
    if "prepare_date" not in deliveries.columns:
        said.append("The deliveries have no prepare_date, so preparation and ride are not told apart.")
    placed = orders.loc[orders["is_delivered"], "cell"] != NO_PLACE
    if not placed.any():
        said.append("The deliveries have no usable coordinates, so there are no places.")
    else:
        counted(int((~placed).sum()), "delivery has", "deliveries have", "no usable coordinates, and no place")
    return said


def _by_dimension(orders: pd.DataFrame, seen: Observed) -> list[tuple[int, pd.DataFrame]]:
    """The orders of `all` and of each dimension value that has some, by its code."""
    parts = [(0, orders)] if len(orders) else []
    for name in seen.dimensions:
        parts += [(int(str(code)), own.reset_index(drop=True)) for code, own in orders.groupby(CODE + name, sort=True)]
    return parts


def _waiting(orders: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """The Kaplan-Meier curve from the order to the delivery, at no more than WAITING_POINTS times."""
    curve = kaplan_meier(orders["waited_hours"], orders["is_delivered"], np.ones(len(orders)), confidence_level)
    if not len(curve.times):
        return pd.DataFrame({"waited_hours": [], "rate": [], "ci_low": [], "ci_high": [], "n": []}, dtype="float64")
    # As many points between two shares of orders as between any two others.
    steps = np.linspace(0, len(curve.times) - 1, min(WAITING_POINTS, len(curve.times))).round().astype("int64")
    return pd.DataFrame(
        {
            "waited_hours": np.append(0.0, curve.times[steps]),
            "rate": np.append(1.0, curve.survival[steps]),
            "ci_low": np.append(1.0, curve.ci_low[steps]),
            "ci_high": np.append(1.0, curve.ci_high[steps]),
            "n": np.append(len(orders), curve.at_risk[steps]).astype("int64"),
        }
    ).drop_duplicates("waited_hours", keep="last")


def _outcomes(orders: pd.DataFrame, delivered: pd.DataFrame, promise_hours: float) -> pd.DataFrame:
    """Shares on time (where there is a promise) and returned."""
    rows = []
    if promise_hours > 0:
        over = orders["until_end_hours"] >= promise_hours
        on_time = over & orders["is_delivered"] & (orders["waited_hours"] <= promise_hours)
        rows.append(("on time", int(on_time.sum()), int(over.sum())))
    if delivered["is_returned"].any():
        rows.append(("returned", int(delivered["is_returned"].sum()), len(delivered)))
    return pd.DataFrame(rows, columns=["delivery_outcome", "numerator", "denominator"]).astype(
        {"delivery_outcome": "str", "numerator": "int64", "denominator": "int64"}
    )


def _durations(delivered: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """Per leg: how many are known, mean, median with its interval, and the ninth tenth."""
    rows = []
    for number, leg in enumerate(LEGS):
        hours = np.sort(delivered[leg].dropna().to_numpy("float64"))
        if len(hours):
            low, high = _median_interval(hours, confidence_level)
            middle, ninth = np.quantile(hours, [0.5, 0.9])
            rows.append((number, leg, len(hours), hours.mean(), middle, low, high, ninth))
    names = ["place_number", "duration", "n", "mean_taken_hours", "median_taken_hours"]
    names += ["median_taken_low_hours", "median_taken_high_hours", "p90_hours"]
    return pd.DataFrame(rows, columns=names).astype({"duration": "str", "n": "int64", "place_number": "int64"})


def _median_interval(ordered: Floats, confidence_level: float) -> tuple[float, float]:
    """The order statistics between which the median lies, whatever the distribution; missing for a few values."""
    count = len(ordered)
    below = int(binom.ppf((1 - confidence_level) / 2, count, 0.5))
    if below == 0:
        return float("nan"), float("nan")
    return float(ordered[below - 1]), float(ordered[count - below])


def _weekday_hours(delivered: pd.DataFrame, week_start: int) -> pd.DataFrame:
    """Per leg but the return, and hour of the week with deliveries: how many, and their median."""
    parts = []
    for number, leg in enumerate(LEGS[:3]):
        known = delivered[delivered[leg].notna()]
        slot = _slot(known)
        there = np.unique(slot)
        medians = group_medians(known[leg].to_numpy("float64"), slot, HOURS_PER_WEEK)
        weekday, hour = np.divmod(there, HOURS_PER_DAY)
        parts.append(
            pd.DataFrame(
                {
                    "leg_number": number,
                    "duration": leg,
                    "weekday_number": (weekday - week_start) % len(WEEKDAYS),
                    "weekday": pd.Series([NAMES[one] for one in weekday], dtype="str"),
                    "hour_of_day": hour,
                    "n": np.bincount(slot, minlength=HOURS_PER_WEEK)[there],
                    "median_taken_hours": medians[there],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _slot(frame: pd.DataFrame) -> Integers:
    """The hour of the week of each order, from Monday."""
    found: Integers = (frame["weekday"] * HOURS_PER_DAY + frame["hour"]).to_numpy("int64")
    return found


@dataclass(frozen=True)
class _Leg:
    """One leg of the deliveries that have it, with the codes of their places and customers, and what is slow."""

    name: str
    own: pd.DataFrame
    cells: Integers
    customers: Integers
    place: Integers
    customer: Integers
    slot: Integers
    found: SlowGroups

    @property
    def usual_hours(self) -> float:
        return float(np.exp(np.median(self.found.expected))) if len(self.own) else float("nan")


def _leg(delivered: pd.DataFrame, name: str, rules: Rules) -> _Leg:
    own = delivered[delivered[name].notna()].reset_index(drop=True)
    cells = np.unique(own.loc[own["cell"] != NO_PLACE, "cell"].to_numpy("int64"))
    cell = own["cell"].to_numpy("int64")
    place = np.where(cell == NO_PLACE, NO_PLACE, np.searchsorted(cells, cell))
    customers, customer = np.unique(own["client_code"].to_numpy("int64"), return_inverse=True)
    slot = _slot(own)
    found = slow_groups(
        np.log(np.maximum(own[name].to_numpy("float64"), SHORTEST_HOURS)),
        place,
        slot,
        customer,
        times=HOURS_PER_WEEK,
        min_factor=rules.min_slowdown,
        fewest=rules.min_deliveries,
        false_discovery_rate=rules.false_discovery_rate,
    )
    return _Leg(name, own, cells, customers, place, customer, slot, found)


def _abnormal(delivered: pd.DataFrame, rules: Rules) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The places, the slow groups and the slow deliveries of one dimension value, largest or worst first."""
    split = delivered["ride"].notna().any()
    legs = [_leg(delivered, name, rules) for name in (("prepare", "ride") if split else ("deliver",))]
    groups = pd.concat([_groups(leg, rules) for leg in legs], ignore_index=True)
    groups = groups.sort_values(
        ["cause_number", "slowdown", "n", "place", "client_code", "slot"],
        ascending=[True, False, False, True, True, True],
    )[: rules.kept].reset_index(drop=True)
    single = pd.concat([_single(leg, rules) for leg in legs], ignore_index=True)
    single = single.sort_values(["slowdown", "order_id", "duration"], ascending=[False, True, True])
    single = single[: rules.kept].reset_index(drop=True)
    return (
        _places(delivered, legs[-1], rules),
        groups.assign(place_number=np.arange(len(groups))),
        single.assign(place_number=np.arange(len(single))),
    )


def _locations(delivered: pd.DataFrame) -> pd.DataFrame:
    """How many places deliveries went to, however few went to each; no row where none has coordinates."""
    placed = delivered.loc[delivered["cell"] != NO_PLACE, "cell"]
    counted = pd.DataFrame({"places": [placed.nunique()], "n": [len(placed)]}, dtype="int64")
    return counted if len(placed) else counted.iloc[:0]


def _places(delivered: pd.DataFrame, leg: _Leg, rules: Rules) -> pd.DataFrame:
    """The places with most deliveries, and every slow one; the slowdown is of the leg to the place."""
    placed = delivered[delivered["cell"] != NO_PLACE]
    grouped = placed.groupby("cell")
    frame = grouped.agg(
        n=("deliver", "size"), customers=("client_code", "nunique"), median_taken_hours=("deliver", "median")
    ).reset_index()
    tested = leg.found.places
    where = np.searchsorted(leg.cells, frame["cell"].to_numpy("int64")).clip(max=max(len(leg.cells) - 1, 0))
    present = np.isin(frame["cell"], leg.cells)

    def of_place(values: npt.NDArray[Any]) -> Floats:
        return np.where(present, values[where] if len(values) else np.nan, np.nan).astype("float64")

    q_value = of_place(tested.q_value)
    slow = of_place(tested.is_slow.astype("float64")) == 1
    verdict = np.where(slow, VERDICTS[0], np.where(np.isnan(q_value), VERDICTS[2], VERDICTS[1]))
    frame = frame.assign(
        q_value=q_value,
        slowdown=np.where(np.isnan(q_value), np.nan, np.exp(of_place(tested.effect))),
        place_verdict=pd.Series(verdict, index=frame.index, dtype="str"),
        is_slow=slow,
    )
    frame = frame.sort_values(["is_slow", "n", "cell"], ascending=[False, False, True])[: rules.kept]
    return _located(frame.reset_index(drop=True), rules.geohash_length).assign(place_number=np.arange(len(frame)))


def _located(frame: pd.DataFrame, geohash_length: int) -> pd.DataFrame:
    """With place, latitude, longitude and location from `cell`; missing where it is NO_PLACE."""
    cells = frame["cell"].to_numpy("int64")
    known = cells != NO_PLACE
    latitude, longitude = cell_middle(np.where(known, cells, 0), geohash_length)
    names = {int(cell): cell_name(int(cell), geohash_length) for cell in np.unique(cells[known])}
    points = [
        f"{north},{east}" if is_known else None
        for north, east, is_known in zip(latitude.tolist(), longitude.tolist(), known, strict=True)
    ]
    return frame.assign(
        place=pd.Series([names.get(int(cell)) for cell in cells], index=frame.index, dtype=object),
        latitude=np.where(known, latitude, np.nan),
        longitude=np.where(known, longitude, np.nan),
        location=pd.Series(points, index=frame.index, dtype=object),
    )


def _groups(leg: _Leg, rules: Rules) -> pd.DataFrame:
    """One row per slow place, hour of the week, customer, and place at consecutive hours; cause, codes and reason."""
    found = leg.found
    rows: list[dict[str, Any]] = []

    def add(cause: int, tested: Tested, codes: Integers, **more: Any) -> None:
        number, weights = int(tested.number[codes].sum()), tested.number[codes]
        slowdown = float(np.exp(np.average(tested.effect[codes], weights=weights)))
        slot = more.get("slot", -1)
        rows.append(
            {
                "cause_number": cause,
                "cause": CAUSES[cause],
                "duration": leg.name,
                "cell": NO_PLACE,
                "client_code": -1,
                "slot": slot,
                "weekday": NAMES[slot // HOURS_PER_DAY] if slot >= 0 else None,
                "hour_of_day": slot % HOURS_PER_DAY if slot >= 0 else None,
                "until_hour": slot % HOURS_PER_DAY + len(codes) if slot >= 0 else None,
                "n": number,
                "slowdown": slowdown,
                "expected_hours": leg.usual_hours,
                "q_value": float(tested.q_value[codes].max()),
                **more,
            }
        )

    for code in np.flatnonzero(found.places.is_slow):
        add(0, found.places, np.array([code]), cell=int(leg.cells[code]))
    for run in _runs(np.flatnonzero(found.times.is_slow)):
        add(1, found.times, run, slot=int(run[0]))
    for code in np.flatnonzero(found.customers.is_slow):
        add(2, found.customers, np.array([code]), client_code=int(leg.customers[code]))
    for run in _runs(np.flatnonzero(found.cells.is_slow)):
        place, slot = divmod(int(run[0]), HOURS_PER_WEEK)
        add(3, found.cells, run, cell=int(leg.cells[place]), slot=slot)
    names = ["cause_number", "cause", "duration", "cell", "client_code", "slot", "weekday", "hour_of_day", "until_hour"]
    frame = pd.DataFrame(rows, columns=[*names, "n", "slowdown", "expected_hours", "q_value"]).astype(
        {
            **dict.fromkeys(("cause_number", "cell", "client_code", "slot", "n"), "int64"),
            **dict.fromkeys(("hour_of_day", "until_hour"), "Int64"),
            **dict.fromkeys(("slowdown", "expected_hours", "q_value"), "float64"),
            **dict.fromkeys(("cause", "duration"), "str"),
            "weekday": object,
        }
    )
    return _located(frame, rules.geohash_length)


def _runs(codes: Integers) -> list[Integers]:
    """Consecutive codes of one day together."""
    return [
        np.array([code for _, code in run], dtype="int64")
        for _, run in groupby(enumerate(codes), key=lambda one: (one[1] - one[0], one[1] // HOURS_PER_DAY))
    ]


def _single(leg: _Leg, rules: Rules) -> pd.DataFrame:
    """The deliveries that are slower than noise explains, with the slow group they belong to."""
    own, found = leg.own, leg.found
    hours = own[leg.name].to_numpy("float64")
    away = np.log(np.maximum(hours, SHORTEST_HOURS)) - found.expected
    if len(own) and found.deviation > 0:
        q_value = false_discovery_control(norm.sf(away / found.deviation), method="bh")
    else:
        q_value = np.full(len(own), np.nan)
    places = np.flatnonzero((q_value <= rules.false_discovery_rate) & (away > np.log(rules.min_slowdown)))
    belongs = np.full(len(own), len(CAUSES))
    for cause, tested, code in (
        (2, found.customers, leg.customer),
        (1, found.times, leg.slot),
        (0, found.places, leg.place),
        (3, found.cells, np.where(leg.place == NO_PLACE, -1, leg.place * HOURS_PER_WEEK + leg.slot)),
    ):
        if len(tested.is_slow):
            belongs[tested.is_slow[code] & (code >= 0)] = cause
    reasons = [f"belongs to a slow {cause}" for cause in CAUSES]
    reasons.append("by itself: neither its place, its hour nor its customer is slow")
    chosen = own.iloc[places].reset_index(drop=True)
    expected = np.exp(found.expected[places])
    frame = pd.DataFrame(
        {
            "order_id": chosen["id"].astype("str"),
            "client_code": chosen["client_code"],
            "period": as_dates(first_days(chosen["day"], "day", "monday")),
            "weekday": pd.Series([NAMES[one] for one in chosen["weekday"]], dtype=object),
            "hour_of_day": chosen["hour"],
            "cell": chosen["cell"],
            "duration": pd.Series([leg.name] * len(places), dtype="str"),
            "taken_hours": hours[places],
            "expected_hours": expected,
            "slowdown": hours[places] / expected,
            "q_value": q_value[places],
            "reason": pd.Series([reasons[one] for one in belongs[places]], dtype="str"),
        }
    )
    return _located(frame, rules.geohash_length)


def _joined(parts: list[pd.DataFrame], name: str) -> pd.DataFrame:
    """The parts of all dimension values; without any, no rows under the report's names."""
    filled = [part for part in parts if len(part)]
    if filled:
        return pd.concat(filled, ignore_index=True)
    fields = next(one.fields for one in REPORTS if one.type == name)
    more = ("place_number", "leg_number", "weekday_number", "client_code")
    return pd.DataFrame({field: pd.Series([], dtype="float64") for field in (*fields, *more)})


def _with_names(frame: pd.DataFrame, tables: Tables, seen: Observed) -> pd.DataFrame:
    """With the clients behind their codes, and the reasons of groups in words."""
    names = clients_by_code(tables, (int(code) for code in frame["client_code"] if code >= 0))
    frame = frame.assign(client=pd.Series([names.get(int(code)) for code in frame["client_code"]], dtype=object))
    if len(frame) and "cause" in frame:
        frame["reason"] = pd.Series([_reason(row) for row in frame.to_dict("records")], dtype="str")
    return frame


def _reason(row: dict[Any, Any]) -> str:
    leg = {"prepare": "Preparing", "ride": "The ride", "deliver": "From order to door it"}[row["duration"]]
    times = f"takes {row['slowdown']:.1f} times as long"
    hours = ""
    if pd.notna(row["hour_of_day"]):
        hours = f"on {row['weekday']} from {row['hour_of_day']:02} to {row['until_hour']:02} o'clock"
    if row["cause"] == CAUSES[0]:
        return f"{leg} {times} at {row['place']}, at all hours of the week."
    if row["cause"] == CAUSES[1]:
        return f"{leg} {times} {hours}, at all places."
    if row["cause"] == CAUSES[2]:
        return f"{leg} {times} for customer {row['client']}, wherever and whenever."
    return f"{leg} {times} at {row['place']} {hours}, and only there and then."


def _headline(frames: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Of all: deliveries, median hours of each leg, shares, and how much is slow."""
    of_all = {name: frame[frame["dimension"] == 0] for name, frame in frames.items()}
    known: dict[str, float] = {"places": float(len(of_all["places"]))}
    for leg, count, hours in zip(
        of_all["durations"]["duration"],
        of_all["durations"]["n"],
        of_all["durations"]["median_taken_hours"],
        strict=True,
    ):
        known[f"median_{leg}_hours"] = round(float(hours), 6)
        if leg == "deliver":
            known["deliveries"] = float(count)
    for outcome, rate in zip(of_all["outcomes"]["delivery_outcome"], of_all["outcomes"]["rate"], strict=True):
        if np.isfinite(rate):
            known[f"share_{outcome.replace(' ', '_')}"] = round(float(rate), 6)
    known["slow_groups"] = float(len(of_all["abnormal_groups"]))
    return known
