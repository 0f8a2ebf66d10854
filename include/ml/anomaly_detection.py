"""Days that are not as they should have been: which series, how far off, and what explains it.

    sessions, customers  ->  daily series with their expectation, the anomalies, odd funnel days, the newest day's state

The series are the sessions, each step of the funnel (sessions that did it and every step before it), orders, revenue,
downloads, and the first orders of each day's downloads within ANOMALY_COHORT_DAYS days. Sessions whose order used a
promotion are left out of all of them: a campaign changes its own orders by intention. What it does to the other ones
(they are fewer, as some would have come anyway) is part of the expectation.

What a day should have been is a product of the level around it (a running median, which follows trends, seasons and
jumps), its weekday, its day of the month where that shows, and what recurs each year; campaigns and holidays
(ANOMALY_HOLIDAYS) are groups of days with a level of their own. `daily_expectation` says how, and how a day's departure
becomes a p-value: counts by the negative binomial, revenue by the gamma distribution, both with the variance that the
series shows. Days of a holiday or campaign of which there are fewer than five are shown and not judged.

A day of a series is an anomaly when both hold: the generalised ESD test [1]_ with median and median absolute
deviation (the test of S-H-ESD [2]_), on the series' scores, names it; and its q-value is at most
ANOMALY_FALSE_DISCOVERY_RATE. The q-value controls the share of false ones among the *days* found, over all days and
series of the dimension value: a day's p-value is Simes' of its series and its funnel, Benjamini and Hochberg's
procedure [3]_ chooses among the days, and again among the series of a chosen day [4]_. In data without anomalies it is
the probability of finding any.

`funnel_days` takes the steps of a day together: each step's number out of the step before is compared with the expected
share (binomial), the first with its own expectation, and the sum of the squared deviates is chi-square distributed.
So a checkout that fails shows even where orders are too few to be judged by themselves. `main_step` departs most.

An anomaly of `all` is explained by a dimension value that accounts for at least half of the departure, and for at least
a quarter more of it than for the expectation. `newest_period` has one line per series, for its newest complete day.

`customer_departures` are customers whose newest ANOMALY_CUSTOMER_DAYS days (a third of all days, where there are fewer)
are not as the days before let expect. Models are fitted on the days before alone, and Benjamini and Hochberg's
procedure chooses among all customers of a dimension value, for each measure by itself:

- *frequency*, and with it recency: a modified BG/NBD says how probable so many or more, and so few or fewer, days with
  an order are;
- *monetary*, of customers with an order before: the mean amount a day with an order. `amount_forecast` says how
  probable one so large or larger, and so small or smaller, is by Gamma-Gamma and by the spread of the customer's own
  amounts; the larger of both probabilities counts. Where departures are wider throughout than these allow for, because
  something moves everybody's amounts, they are measured in their median. Amounts of one day are one; a day whose amount
  is unknown, or not above zero after refunds, is left out. Where fewer than 20 customers have two such days before, or
  Gamma-Gamma does not fit, amounts are not judged.

A day without any session between busy ones was not recorded rather than bad: it is left out, and a warning says which.
The report date is not complete where ten sessions a day or more usually come in hours after that of its last session.
Series shorter than ANOMALY_MIN_DAYS or with fewer than ANOMALY_MIN_PER_DAY a day are not judged.

.. [1] Rosner (1983), Technometrics 25, 165-172.
.. [2] Hochenbaum, Vallis & Kejariwal (2017), arXiv:1704.07706.
.. [3] Benjamini & Hochberg (1995), JRSS B 57, 289-300; under positive dependence: Benjamini & Yekutieli (2001).
.. [4] Benjamini & Bogomolov (2014), Selective inference on multiple families of hypotheses, JRSS B 76, 297-318.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binom, chi2, false_discovery_control, norm

import configs
from include.dashboards.panel import Panel
from include.measures.amount_forecast import AmountSpread, fit_amount_spread, gamma_gamma_tails
from include.measures.customer_value import UNITS
from include.measures.daily_expectation import LARGEST_SCORE, ORDINARY, Expectation, daily_expectation
from include.measures.dimension import ALL, CODE, by_dimension
from include.measures.lifetimes_models import SpendModel, fit_spend
from include.measures.observed import Observed, clients_by_code, definition, observed
from include.measures.order_forecast import expected_orders, probability_of_at_least
from include.measures.periods import WEEKDAYS, as_dates, day_number, first_days
from include.measures.purchase_model import NAMES, PurchaseModel, fit_purchase_model
from include.measures.reporting import finished_report
from include.measures.results import held, ratio, records, result
from include.measures.row_limit import fitting
from include.measures.running_median import median_of, running_median
from include.measures.seasonal_esd import MAD_TO_DEVIATION, generalised_esd
from include.problem import Problem
from include.schemas.reports import Field, Report, ReportType
from include.schemas.source_kinds import ACTION_PREFIX

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

READS = ("sessions", "customers")
STEP = "step: "
FIRST_ORDERS = "first orders of downloads"
FUNNEL = "funnel as a whole"
THROUGH = "(through the funnel)"  # orders that did every step before: for the funnel days, not a series of the report
OF_CUSTOMERS = ("downloads", FIRST_ORDERS)
BUSY_SESSIONS = 20  # e^-20: with so many a day, none at all is not chance
GAP_DAYS = 61
RECENT_DAYS, BUSY_EVENING = 28, 10  # where ten a day come after an hour, none at all is not chance
SHORTEST_FORECAST = 14  # days; what customers do in fewer says little
NO_FORECAST: dict[str, Any] = {"predicted": 0.0, "p_value": 0.0, "q_value": 0.0, "direction": ""}
FEWEST_WITH_SPREAD = 20  # customers whose amounts before vary; how those of fewer vary is a guess
MEASURES = ("frequency", "monetary")
DEPARTURE = {
    "dimension": "int64",
    "measure": "str",
    "client_code": "int64",
    "order_days_before": "int64",
    "order_days_predicted": "float64",
    "order_days_made": "int64",
    "amount_before": "float64",
    "amount_predicted": "float64",
    "amount_made": "float64",
    "direction": "str",
    "p_value": "float64",
    "q_value": "float64",
}
LOG_STEPS = 10_000  # of the logarithm of an amount: whole numbers add up to the same in any order
SHARE_TREND = 3  # shares of a step change more slowly than volumes: their level is taken over a longer window
CAMPAIGN_SHARE = 0.05  # of the orders of its days; what is rarer moves no daily series
EXPLAINED_SHARE, MORE_THAN_EXPECTED = 0.5, 0.25
NAMED = 5  # days or series that a warning lists

FIELDS: dict[str, Field] = {
    "series": Field("keyword", "what is counted per day", in_words=True),
    "series_group": Field("keyword", "funnel, orders, revenue or downloads: what is drawn together"),
    "actual": Field("double", "the day's value, without sessions whose order used a promotion"),
    "expected": Field("double", "what it should have been"),
    "band_low": Field("double", "lower end of where CONFIDENCE_LEVEL of ordinary days lie"),
    "band_high": Field("double", "upper end of where CONFIDENCE_LEVEL of ordinary days lie"),
    "departure_rate": Field("double", "actual / expected - 1", "share"),
    "score": Field("double", "departure in standard deviations, with its sign; of funnel days always positive"),
    "q_value": Field("double", "smallest false discovery rate at which it is found"),
    "direction": Field("keyword", "above or below what was expected"),
    "is_judged": Field("boolean", "whether the day has a score: its series has enough a day, and is long enough"),
    "is_anomaly": Field("boolean", "whether the day is an anomaly"),
    "explained_by": Field(
        "keyword",
        "dimension value behind the departure (its share of it, and its usual share); for the funnel its main step",
    ),
    "client": Field("keyword", "the customer"),
    "measure": Field("keyword", "recency (days), frequency (orders) or monetary (mean order amount)"),
    "order_days_predicted": Field("double", "days with an order that the model expected of the customer", "days"),
    "order_days_made": Field("long", "days with an order in the newest ANOMALY_CUSTOMER_DAYS days", "days"),
    "order_days_before": Field("long", "days with an order before them", "days"),
    "amount_predicted": Field("double", "mean amount a day with an order that the model expected", "currency"),
    "amount_made": Field("double", "mean amount a day with an order above zero in the newest days", "currency"),
    "amount_before": Field("double", "mean amount a day with an order above zero before them", "currency"),
    "main_step": Field("keyword", "step of the funnel that departs most", in_words=True),
}

VALUES = ("actual", "expected", "band_low", "band_high")


def _line(title: str, series: str, unit: str, **where: str | int | bool) -> Panel:
    return Panel(
        title=title,
        mark="line",
        x="period",
        y=("actual", "expected"),
        series_titles={"actual": "Actual", "expected": "Expected"},
        band=("band_low", "band_high"),
        marked="is_anomaly",
        x_title="Day",
        y_title=unit,
        where={"series": series, **where},
        how_to_read="The band holds all but a few ordinary days (95 % by default); large points are the anomalies.",
    )


def _scores(title: str, series: str) -> Panel:
    return Panel(
        title=title,
        mark="line",
        x="period",
        y="score",
        where={"series": series, "is_judged": True},
        when_empty="No day is judged: ANOMALY_MIN_DAYS and ANOMALY_MIN_PER_DAY say how much that takes.",
        x_title="Day",
        y_title="Standard deviations",
        format="decimal",
        how_to_read="How far each day was from its expectation: within 2 on 19 of 20 ordinary days.",
    )


REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "newest_period",
        "Newest day",
        (
            "dimension",
            "series",
            "period",
            *VALUES,
            "departure_rate",
            "score",
            "p_value",
            "q_value",
            "direction",
            "is_anomaly",
            "explained_by",
        ),
        ("dimension", "series"),
        (
            Panel(
                title="Alerts of the newest day",
                mark="table",
                y="score",
                columns=("series", "period", *VALUES, "score", "direction", "explained_by"),
                where={"is_anomaly": True},
                format="decimal",
                width=12,
                how_to_read="What is odd on each series' newest complete day; an empty table is good news.",
                when_empty="Nothing is odd on the newest complete day of any series.",
            ),
            Panel(
                title="Newest day of each series",
                mark="table",
                y="score",
                columns=("series", "period", *VALUES, "departure_rate", "score", "is_anomaly"),
                format="decimal",
                width=12,
                how_to_read="How far the newest complete day of each series is from what it should have been.",
            ),
        ),
    ),
    ReportType(
        "anomalies",
        "Anomalies",
        (
            "dimension",
            "period",
            "series",
            *VALUES,
            "departure_rate",
            "score",
            "p_value",
            "q_value",
            "direction",
            "explained_by",
        ),
        ("dimension", "period", "series"),
        (
            Panel(
                title="Anomalies",
                mark="scatter",
                x="period",
                y="score",
                breakdown="series",
                x_title="Day",
                y_title="Standard deviations",
                format="decimal",
                width=12,
                how_to_read="A point is an odd day of a series: above zero where it was too high, below where too low.",
            ),
            Panel(
                title="List of anomalies",
                mark="table",
                y="score",
                columns=("period", "series", *VALUES, "departure_rate", "score", "q_value", "explained_by"),
                format="decimal",
                width=12,
                how_to_read="Every anomaly, what was expected, and the dimension value behind it where one stands out.",
            ),
        ),
    ),
    ReportType(
        "daily_series",
        "Daily series and their expectation",
        (
            "dimension",
            "series_group",
            "series",
            "period",
            "is_complete",
            *VALUES,
            "score",
            "q_value",
            "is_judged",
            "is_anomaly",
        ),
        ("dimension", "series", "period"),
        (
            _line("Sessions", "sessions", "Sessions"),
            _line("Orders", "orders", "Orders"),
            _line("Revenue", "revenue", "Revenue (currency)"),
            _line("Downloads", "downloads", "Customers"),
            _line("First orders of each day's downloads", FIRST_ORDERS, "Customers"),
            Panel(
                title="Scores of the funnel's steps",
                mark="line",
                x="period",
                y="score",
                breakdown="series",
                where={"series_group": "funnel"},
                x_title="Day",
                y_title="Standard deviations",
                format="decimal",
                how_to_read="How far each step was from its expectation: within 2 on 19 of 20 ordinary days.",
            ),
            _scores("Scores of orders", "orders"),
            _scores("Scores of the downloads' first orders", FIRST_ORDERS),
        ),
    ),
    ReportType(
        "funnel_days",
        "Funnel days",
        ("dimension", "period", "score", "p_value", "q_value", "is_anomaly", "main_step", "direction"),
        ("dimension", "period"),
        (
            Panel(
                title="Odd funnel days",
                mark="line",
                x="period",
                y="score",
                x_title="Day",
                y_title="Standard deviations",
                format="decimal",
                how_to_read="How odd a day's volume and conversions are together: above about 5 is an anomaly.",
            ),
            Panel(
                title="List of odd funnel days",
                mark="table",
                y="score",
                columns=("period", "score", "q_value", "main_step", "direction"),
                where={"is_anomaly": True},
                format="decimal",
                how_to_read="The step named departs most from what it should have been, out of the step before it.",
            ),
        ),
    ),
    ReportType(
        "customer_departures",
        "Customers who depart from their forecast",
        (
            "dimension",
            "measure",
            "client",
            "order_days_before",
            "order_days_predicted",
            "order_days_made",
            "amount_before",
            "amount_predicted",
            "amount_made",
            "direction",
            "p_value",
            "q_value",
        ),
        ("dimension", "measure", "client"),
        (
            Panel(
                title="Orders predicted and made",
                mark="scatter",
                x="order_days_predicted",
                y="order_days_made",
                breakdown="direction",
                where={"measure": "frequency"},
                x_title="Days with an order, predicted",
                y_title="Days with an order, made",
                format="decimal",
                how_to_read="A point is a customer who ordered far more or less often than the model let expect.",
            ),
            Panel(
                title="List of customers who depart",
                mark="table",
                y="order_days_made",
                columns=(
                    "client",
                    "order_days_before",
                    "order_days_predicted",
                    "order_days_made",
                    "direction",
                    "q_value",
                ),
                where={"measure": "frequency"},
                format="decimal",
                limit=50,
                how_to_read="The least probable first; a customer that is a company or a reseller often is among them.",
            ),
            Panel(
                title="Amounts predicted and paid",
                mark="scatter",
                x="amount_predicted",
                y="amount_made",
                breakdown="direction",
                where={"measure": "monetary"},
                x_title="Mean amount, predicted",
                y_title="Mean amount, paid",
                format="money",
                how_to_read="A point is a customer who paid far more or less an order than those before let expect.",
                when_empty="Nobody's amounts depart from what their orders before let expect.",
            ),
            Panel(
                title="List of customers whose amounts depart",
                mark="table",
                y="amount_made",
                columns=(
                    "client",
                    "order_days_before",
                    "order_days_made",
                    "amount_before",
                    "amount_predicted",
                    "amount_made",
                    "direction",
                    "q_value",
                ),
                where={"measure": "monetary"},
                format="decimal",
                limit=50,
                how_to_read="The least probable first; look for a typing error, a reseller, or a change of basket.",
                when_empty="Nobody's amounts depart from what their orders before let expect.",
            ),
        ),
    ),
)

SETTINGS: dict[str, object] = {
    "customer_days": configs.ANOMALY_CUSTOMER_DAYS,
    "customers_kept": configs.ANOMALY_CUSTOMERS_KEPT,
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "false_discovery_rate": configs.ANOMALY_FALSE_DISCOVERY_RATE,
    "max_share": configs.ANOMALY_MAX_SHARE,
    "trend_days": configs.ANOMALY_TREND_DAYS,
    "min_days": configs.ANOMALY_MIN_DAYS,
    "min_per_day": configs.ANOMALY_MIN_PER_DAY,
    "holidays": configs.ANOMALY_HOLIDAYS,
    "cohort_days": configs.ANOMALY_COHORT_DAYS,
    "campaign_max_days": configs.ANOMALY_CAMPAIGN_MAX_DAYS,
    "kept_days": configs.ANOMALY_KEPT_DAYS,
    "most_rows": configs.REPORT_MAX_ROWS,
}


@dataclass(frozen=True)
class Rules:
    """What decides that a day is an anomaly."""

    false_discovery_rate: float = 0.02
    max_share: float = 0.1
    trend_days: int = 21
    min_days: int = 56
    min_per_day: float = 5.0
    confidence_level: float = 0.95


@dataclass(frozen=True)
class DailySeries:
    """The series of one dimension value: `values` are series x days. `known` is where a value can be judged (its period
    is over, and it was recorded); `events` the group of each day per series; `funnel` the rows of the funnel's steps in
    order, none where there is no funnel.
    """

    names: tuple[str, ...]
    days: Integers
    values: Floats
    known: Booleans
    events: Integers
    funnel: tuple[int, ...] = ()


@dataclass(frozen=True)
class Verdicts:
    """What was found in a `DailySeries`: arrays of series x days, and of days for the funnel."""

    expectation: Expectation
    q_value: Floats
    is_anomaly: Booleans
    funnel_score: Floats
    funnel_p_value: Floats
    funnel_q_value: Floats
    is_funnel_anomaly: Booleans
    main_step: Integers
    main_score: Floats


@dataclass(frozen=True)
class AmountModel:
    """What the amounts of a dimension value's customers may be."""

    spend: SpendModel
    spread: AmountSpread


@dataclass(frozen=True)
class Departures:
    """Customers who depart, with the columns of DEPARTURE; what to warn of; the models of all customers in words."""

    rows: pd.DataFrame
    warnings: list[str]
    order_model: dict[str, Any]
    amount_model: dict[str, Any]


def anomaly_detection(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    false_discovery_rate: float = 0.02,
    max_share: float = 0.1,
    trend_days: int = 21,
    min_days: int = 56,
    min_per_day: float = 5.0,
    holidays: tuple[str, ...] = (),
    cohort_days: int = 7,
    campaign_max_days: int = 28,
    customer_days: int = 90,
    customers_kept: int = 100,
    kept_days: int = 180,
    most_rows: int = 100_000,
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`."""
    rules = Rules(false_discovery_rate, max_share, trend_days, min_days, min_per_day, confidence_level)
    today = day_number(as_of)
    has_promotion = "promotion_id" in tables.sessions.columns
    columns = [ACTION_PREFIX + action for action in tables.actions]
    seen = observed(
        tables, as_of=as_of, top_values=top_values, also=[*columns, *(["promotion_id"] if has_promotion else [])]
    )
    daily, campaigns, hours = _counted(seen, columns, has_promotion, today)
    partial = _partial(hours)
    cohorts = _cohorts(seen, cohort_days)
    starts = pd.concat([daily, cohorts]).groupby("dimension")["day"].min()
    parts: dict[int, DailySeries] = {}
    gaps: dict[int, Integers] = {}
    for code, first in starts.items():
        number = int(str(code))
        days = np.arange(int(first), today + 1)
        events = _events(campaigns[campaigns["dimension"] == number], daily, number, days, campaign_max_days, holidays)
        parts[number], gaps[number] = _series(
            daily[daily["dimension"] == number],
            cohorts[cohorts["dimension"] == number],
            days,
            tables.actions,
            events,
            last_cohort=today - cohort_days,
            last_day=today - 1 if number in partial else today,
        )
    found = {number: judged(one, rules) for number, one in parts.items()}
    frames = _frames(parts, found, seen.labels)
    shown = sum(len(one.names) for one in parts.values())
    kept = fitting(kept_days, rows_each=shown, most_rows=most_rows)
    for name in ("daily_series", "funnel_days"):
        frames[name] = frames[name][frames[name]["day"] > today - kept].reset_index(drop=True)
    customers_kept = fitting(customers_kept, rows_each=len(MEASURES) * len(seen.labels), most_rows=most_rows)
    departures = _departures(seen, today, customer_days, false_discovery_rate)
    frames["customer_departures"] = _with_clients(departures.rows, tables, customers_kept)
    said = definition(
        tables,
        as_of=as_of,
        customers=f"held to a forecast over the newest {customer_days} days, or a third of all days",
        customer_model=departures.order_model or "none",
        amount_model=departures.amount_model or "none",
        libraries={name: version(name) for name in ("scipy", "numpy")},
        seed="none: nothing is drawn",
        series="without sessions whose order used a promotion",
        false_discovery_rate=f"{false_discovery_rate:g} of the days found, per dimension value",
        interval=f"where {confidence_level:.0%} of ordinary days lie",
        cohort_window_days=cohort_days,
        holidays=list(holidays),
        newest_days_kept=kept,
    )
    of_all = {name: frame[frame["dimension"] == 0] for name, frame in frames.items()}
    newest = of_all["newest_period"]
    headline = {
        "anomalies": float(len(of_all["anomalies"])),
        "odd_funnel_days": float(found[0].is_funnel_anomaly.sum()) if 0 in found else 0.0,
        "newest_anomalies": float(newest["is_anomaly"].astype(bool).sum()),
        "customers_departing": float(of_all["customer_departures"]["client"].nunique()),
        "series_judged": float(newest["score"].notna().sum()),
    }
    warnings = _warnings(parts, found, gaps, rules)
    if 0 in partial:
        late = "sessions usually come later than its last one, so it is shown as not over, and not judged"
        warnings.append(f"{as_of} was not loaded to its end: {late}.")
    places = {
        "newest_period": ["dimension", "place"],
        "anomalies": ["dimension", "day", "place"],
        "daily_series": ["dimension", "place", "day"],
        "funnel_days": ["dimension", "day"],
        "customer_departures": ["dimension", "measure", "q_value", "client"],
    }
    return {
        one.type: finished_report(
            one,
            frames[one.type],
            seen.labels,
            places[one.type],
            as_of=as_of,
            kpis=headline,
            said=said,
            warnings=departures.warnings if one.type == "customer_departures" else warnings,
        )
        for one in REPORTS
    }


def alerts(reports: dict[str, Report]) -> list[str]:
    """A sentence for each anomaly of the newest day, of all customers together."""
    rows = reports["newest_period"].rows
    odd = rows[(rows["dimension"] == ALL) & rows["is_anomaly"].astype(bool)]
    return [
        f"{row.series} on {row.period}: "
        + (f"{row.actual:,.0f}, expected {row.expected:,.0f} " if row.actual == row.actual else f"{row.direction} ")
        + f"({row.score:+.1f} standard deviations"
        + (f"; {row.explained_by})" if isinstance(row.explained_by, str) else ")")
        for row in records(odd)
    ]


def judged(series: DailySeries, rules: Rules) -> Verdicts:
    """Which days of which series are anomalies, and which days of the funnel."""
    expectation = daily_expectation(
        np.where(series.known, series.values, np.nan),
        series.days,
        is_count=[name != "revenue" for name in series.names],
        events=series.events,
        trend_days=rules.trend_days,
        fewest_days=rules.min_days,
        fewest_per_day=rules.min_per_day,
        confidence_level=rules.confidence_level,
    )
    reported = np.array([name != THROUGH for name in series.names])
    is_judged = expectation.is_judged & reported[:, None]
    deviates = _funnel_deviates(series, expectation, rules)
    squares = np.nansum(deviates**2, axis=0)
    features = np.isfinite(deviates).sum(axis=0)
    funnel_p = np.where(features > 0, chi2.sf(squares, np.maximum(features, 1)), np.nan)
    p_values = np.vstack([np.where(is_judged, expectation.p_value, np.nan), funnel_p])
    *q_values, funnel_q = _q_values(p_values, rules.false_discovery_rate)
    candidate = np.zeros(series.values.shape, dtype=bool)
    for row, score in enumerate(expectation.score):
        number = int(is_judged[row].sum())
        if number:
            most = max(1, int(rules.max_share * number))
            tried = generalised_esd(score, most=most, alpha=rules.false_discovery_rate, robust=True)
            candidate[row, tried.positions] = True
    main = np.argmax(np.nan_to_num(np.abs(deviates), nan=-1), axis=0)
    return Verdicts(
        expectation=expectation,
        q_value=np.array(q_values),
        is_anomaly=candidate & is_judged & (np.array(q_values) <= rules.false_discovery_rate),
        funnel_score=np.clip(norm.isf(funnel_p / 2), 0, LARGEST_SCORE),
        funnel_p_value=funnel_p,
        funnel_q_value=funnel_q,
        is_funnel_anomaly=funnel_q <= rules.false_discovery_rate,
        main_step=main,
        main_score=deviates[main, np.arange(deviates.shape[1])],
    )


def _funnel_deviates(series: DailySeries, expectation: Expectation, rules: Rules) -> Floats:
    """steps x days: the first step's score, then each step's number out of the step before it, as normal deviates."""
    steps = series.funnel
    deviates = np.full((max(len(steps), 1), len(series.days)), np.nan)
    if len(steps) < 2:
        return deviates
    before, after = list(steps[:-1]), list(steps[1:])
    entered, made = (np.where(series.known[rows], series.values[rows], np.nan) for rows in (before, after))
    shares = daily_expectation(
        np.where(entered > 0, made, np.nan),
        series.days,
        is_count=True,
        events=series.events[after],
        exposure=np.nan_to_num(entered),
        trend_days=SHARE_TREND * rules.trend_days,
        fewest_days=rules.min_days,
        fewest_per_day=1,
    )
    deviates[0] = expectation.score[steps[0]]
    usable = (shares.expected > 0) & (entered > 0) & np.isfinite(made) & expectation.is_judged[before]
    for place in range(len(after)):
        mine = usable[place]
        if shares.is_short[place] or shares.is_sparse[place] or not mine.any():
            continue
        number, out_of = made[place][mine], entered[place][mine]
        share = np.clip(shares.expected[place][mine] / out_of, 1e-9, 1 - 1e-9)
        half = binom.pmf(number, out_of, share) / 2
        below, above = binom.cdf(number - 1, out_of, share) + half, binom.sf(number, out_of, share) + half
        deviate = np.where(below < above, -1, 1) * np.clip(norm.isf(np.minimum(below, above)), 0, LARGEST_SCORE)
        # A share that varies by itself departs further than chance alone.
        spread = MAD_TO_DEVIATION * float(median_of(np.abs(deviate)))
        deviates[place + 1, mine] = deviate / max(spread, 1.0)
    return np.where(np.isnan(deviates[0]), np.nan, deviates)


def _q_values(p_values: Floats, rate: float) -> Floats:
    """The q-value of each p-value (tests x days): of its day among all days, and of itself within its day.

    A day's p-value is that of Simes' test of all its own. Days are found by Benjamini and Hochberg's procedure; within
    a day it is applied again, at `rate` x the share of days found (Benjamini & Bogomolov 2014).
    """
    known = np.isfinite(p_values)
    number = known.sum(axis=0)
    judged_days = number > 0
    if not judged_days.any():
        return np.full(p_values.shape, np.nan)
    order = np.argsort(np.where(known, p_values, 2.0), axis=0)
    rank = np.arange(1, len(p_values) + 1)[:, None]
    # What was not judged comes last and is larger than any p-value.
    scaled = np.take_along_axis(np.where(known, p_values, 2.0), order, axis=0) * np.maximum(number, 1) / rank
    # Adjusted within the day, each at least as large as the one before it; the smallest is Simes'.
    adjusted = np.minimum.accumulate(scaled[::-1], axis=0)[::-1]
    within = np.empty(p_values.shape)
    np.put_along_axis(within, order, adjusted, axis=0)
    days = np.full(p_values.shape[1], np.nan)
    days[judged_days] = false_discovery_control(np.minimum(adjusted[0, judged_days], 1), method="bh")
    found = max(int((days <= rate).sum()), 1)
    q_values = np.maximum(days, np.minimum(within * judged_days.sum() / found, 1))
    return np.where(known, q_values, np.nan)


def _counted(
    seen: Observed, columns: list[str], has_promotion: bool, today: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Per dimension and day: all sessions and orders, and those of the series; per promotion its days and orders.

    And per hour of the day the sessions of today and of the RECENT_DAYS days before.
    """
    sessions = seen.sessions
    promoted = sessions.is_order & sessions.promotion_id.notnull() if has_promotion else ibis.literal(False)
    reached: Any = ~promoted
    steps = {}
    for place, name in enumerate(columns, start=1):
        column = sessions[name]
        reached = reached & (column.fill_null(False) if column.type().is_boolean() else column.notnull())
        steps[f"step_{place}"] = reached
    flags = {"is_plain": ~promoted, **steps, "is_through": reached & sessions.is_order}
    promotion = sessions.promotion_id if has_promotion else ibis.null("string")
    dropped = [*columns, "instant", "id", "week", "month", "client_code"]
    wide = sessions.mutate(promotion=ibis.ifelse(promoted, promotion, ibis.null("string")), **flags).drop(*dropped)
    with held(by_dimension(wide, seen.dimensions)) as table:
        plain_order = table.is_plain & table.is_order
        daily = result(
            table.group_by(["dimension", "day"]).agg(
                all_sessions=table.count(),
                all_orders=table.is_order.sum(),
                sessions=table.is_plain.sum(),
                orders=plain_order.sum(),
                revenue=ibis.ifelse(plain_order, table.amount, 0).sum().cast("float64"),
                through=table.is_through.sum(),
                **{name: table[name].sum() for name in steps},
            )
        ).sort_values(["dimension", "day"], ignore_index=True)
        used = table.filter(table.promotion.notnull())
        campaigns = result(
            used.group_by(["dimension", "promotion"]).agg(
                first=used.day.min(), last=used.day.max(), orders=used.count()
            )
        ).sort_values(["dimension", "first", "promotion"], ignore_index=True)
        recent = table.filter(table.day >= today - RECENT_DAYS)
        is_today = recent.day == today
        hours = result(
            recent.group_by(["dimension", "hour"]).agg(today=is_today.sum(), before=(~is_today).sum())
        ).astype("int64")
    return daily.astype({"dimension": "int64", "day": "int64"}), campaigns, hours


def _partial(hours: pd.DataFrame) -> set[int]:
    """The dimension values whose newest day was not loaded to its end: sessions that always come later are missing."""
    found = set()
    for number, own in hours.groupby("dimension"):
        there = own.loc[own["today"] > 0, "hour"]
        if len(there) and own.loc[own["hour"] > there.max(), "before"].sum() >= BUSY_EVENING * RECENT_DAYS:
            found.add(int(str(number)))
    return found


def _cohorts(seen: Observed, cohort_days: int) -> pd.DataFrame:
    """Per dimension and day: downloads, and how many of them ordered within `cohort_days` days."""
    customers = seen.customers_by_dimension.select("dimension", "client_code", "download_day")
    sessions = seen.sessions.filter(seen.sessions.is_order)
    with held(by_dimension(sessions.drop("instant", "id", "week", "month", "hour"), seen.dimensions)) as orders:
        later = customers.join(orders.select("dimension", "client_code", "day"), ["dimension", "client_code"])
        day = later.download_day.epoch_days()
        within = later.filter((later.day >= day) & (later.day <= day + cohort_days))
        buyers = within.group_by(["dimension", "client_code"]).agg(has_ordered=True)
        every = customers.left_join(buyers, ["dimension", "client_code"]).select(
            "dimension", "has_ordered", day=customers.download_day.epoch_days().cast("int32")
        )
        found = result(
            every.group_by(["dimension", "day"]).agg(
                downloads=every.count(), first_orders=every.has_ordered.fill_null(False).sum()
            )
        )
    return found.astype("int64").sort_values(["dimension", "day"], ignore_index=True)


def _departures(seen: Observed, today: int, customer_days: int, rate: float) -> Departures:
    """The customers who depart from their forecast, in days with an order and in amounts."""
    orders = by_dimension(
        seen.sessions.filter(seen.sessions.is_order).select(*_codes(seen), "client_code", "day", "amount"),
        seen.dimensions,
    )
    summed = orders.group_by(["dimension", "client_code", "day"]).agg(units=(orders.amount.sum() * UNITS).cast("int64"))
    with held(summed) as days:
        starts = result(days.group_by("dimension").agg(first=days.day.min())).astype("int64")
        windows = starts.assign(window=np.minimum(customer_days, (today - starts["first"] + 1) // 3))
        windows = windows[windows["window"] >= SHORTEST_FORECAST]
        cut = ibis.memtable(
            pd.DataFrame({"dimension": windows["dimension"], "cut": today - windows["window"]}).astype("int32")
        )
        known = days.join(cut, "dimension")
        ahead = {int(one.dimension): int(one.window) for one in records(windows)}
        by_days, told, order_model = _frequency(known, ahead, today, rate)
        by_amounts, told_of_amounts, amount_model = _monetary(known, ahead, today, rate)
    if 0 not in ahead and len(starts):
        told.append(
            f"There are fewer than {3 * SHORTEST_FORECAST} days of orders, too few to hold customers to a forecast."
        )
    frames = [by_days.assign(measure="frequency"), by_amounts.assign(measure="monetary")]
    return Departures(
        pd.concat([frame.reindex(columns=list(DEPARTURE)).astype(DEPARTURE) for frame in frames], ignore_index=True),
        [*told, *told_of_amounts],
        order_model,
        amount_model,
    )


def _frequency(
    known: ir.Table, ahead: dict[int, int], today: int, rate: float
) -> tuple[pd.DataFrame, list[str], dict[str, Any]]:
    """By the days with an order; `ahead` has the number of days after the cut, per dimension value.

    Customers with the same days before and the same number after are one pattern, so that many cost little.
    """
    found: list[pd.DataFrame] = []
    told: list[str] = []
    model: dict[str, Any] = {}
    before = known.day <= known.cut
    customers = known.group_by(["dimension", "client_code"]).agg(
        first=known.day.min(),
        last=ibis.ifelse(before, known.day, ibis.null("int32")).max(),
        cut=known.cut.min(),
        further_orders=before.sum() - 1,
        made=(~before).sum(),
    )
    customers = customers.filter(customers["first"] <= customers.cut)
    customers = customers.select(
        "dimension",
        "client_code",
        "further_orders",
        "made",
        recency_days=customers["last"] - customers["first"],
        age_days=customers.cut - customers["first"],
    )
    with held(customers) as each:
        pattern = ["further_orders", "recency_days", "age_days", "made"]
        counted = result(each.group_by(["dimension", *pattern]).agg(number=each.count())).astype("int64")
        counted = counted.sort_values(["dimension", *pattern], ignore_index=True)
        for code, own in counted.groupby("dimension"):
            number = int(str(code))
            fit = fit_purchase_model(own)
            told += fit.warnings if number == 0 else []
            if fit.model is not None:
                found.append(_improbable(own, fit.model, ahead[number], rate))
                model |= _in_words(fit.model, today - ahead[number]) if number == 0 else {}
        chosen = pd.concat(found, ignore_index=True) if found else counted[:0].assign(**NO_FORECAST)
        keys = ibis.memtable(chosen[["dimension", *pattern]].astype("int64"))
        named = result(each.cast(dict.fromkeys(("dimension", *pattern), "int64")).join(keys, ["dimension", *pattern]))
    named = named.astype(dict.fromkeys(("dimension", "client_code", *pattern), "int64"))
    rows = chosen.drop(columns="number").merge(named, on=["dimension", *pattern])
    rows = rows.assign(
        order_days_predicted=rows["predicted"],
        order_days_made=rows["made"],
        order_days_before=rows["further_orders"] + 1,
    )
    return rows, told, model


def _monetary(
    known: ir.Table, ahead: dict[int, int], today: int, rate: float
) -> tuple[pd.DataFrame, list[str], dict[str, Any]]:
    """By the amounts of days with an order, of customers who had one with an amount above zero before the cut."""
    before = known.day <= known.cut
    paid = known.units > 0
    log = (ibis.greatest(known.units, 1).cast("float64").ln() * LOG_STEPS).round().cast("int64")

    def over(where: Any) -> dict[str, Any]:
        return {"number": where.sum(), "units": known.units.sum(where=where), "logs": log.sum(where=where)}

    customers = known.group_by(["dimension", "client_code"]).agg(
        order_days_before=before.sum(),
        order_days_made=(~before).sum(),
        log_squares=(log * log).sum(where=paid & before),
        **{f"{name}_before": value for name, value in over(paid & before).items()},
        **{f"{name}_made": value for name, value in over(paid & ~before).items()},
    )
    each = result(customers.filter(customers.number_before > 0)).fillna(0).astype("int64")
    # Sorted by what is known of a customer, never by the code, so that sums do not depend on anybody's name.
    each = each.sort_values([str(name) for name in each if name != "client_code"], ignore_index=True)
    found: list[pd.DataFrame] = []
    told: list[str] = []
    model: dict[str, Any] = {}
    for number in sorted(ahead):
        own = each[each["dimension"] == number].reset_index(drop=True)
        fit, warnings = fit_amounts(own)
        told += warnings if number == 0 else []
        if fit is None:
            continue
        found.append(departing_amounts(own, fit, rate))
        if number == 0:
            model = {
                "model": "Gamma-Gamma, and the spread of own amounts",
                "fitted_up_to": _as_text(today - ahead[number]),
                **_six_digits({**(fit.spend.parameters or {}), "log_likelihood": fit.spend.log_likelihood}),
                **_six_digits({"spread_shape": fit.spread.shape, "spread_scale": fit.spread.scale}),
            }
    return pd.concat(found, ignore_index=True) if found else each[:0], told, model


def fit_amounts(customers: pd.DataFrame) -> tuple[AmountModel | None, list[str]]:
    """Fit on `number_before` days with an amount above zero, one or more, that came to `units_before` (1 / 10,000),
    and the sums of their logarithms in LOG_STEPS and of its squares, `logs_before` and `log_squares`; warnings.
    """
    not_judged = "Amounts of customers are not judged:"
    x, total = customers["number_before"].to_numpy("float64"), customers["units_before"].to_numpy("float64") / UNITS
    again = x > 1
    if again.sum() < FEWEST_WITH_SPREAD:
        return None, [f"{not_judged} fewer than {FEWEST_WITH_SPREAD} customers paid on two days before."]
    fit = fit_spend(pd.DataFrame({"spend_orders": x, "mean_amount": total / x, "number": 1}))
    if fit.model is None or fit.model.parameters is None:
        return None, [f"{not_judged} Gamma-Gamma does not fit them."]
    return AmountModel(fit.model, fit_amount_spread(x[again], _squares(customers)[again])), fit.warnings


def departing_amounts(customers: pd.DataFrame, model: AmountModel, rate: float) -> pd.DataFrame:
    """Those whose mean amount after the cut is too large or too small for both distributions; `rate`: of false ones.

    Beside the columns of `fit_amounts` there are `number_made`, `units_made` and `logs_made` of the days after the cut.
    """
    customers = customers[customers["number_made"] > 0]
    x, n, before, made = (
        customers[name].to_numpy("float64") for name in ("number_before", "number_made", "units_before", "units_made")
    )
    difference = (customers["logs_made"] / n - customers["logs_before"] / x).to_numpy("float64") / LOG_STEPS
    alike = gamma_gamma_tails(model.spend, x, before / UNITS, n, made / UNITS)
    own = model.spread.tails(x, _squares(customers), difference, n)
    as_much = np.maximum(alike.as_much, own.as_much)
    as_little = np.maximum(alike.as_little, own.as_little)
    score = np.clip(norm.isf(np.minimum(np.minimum(as_much, as_little), 0.5)), 0, LARGEST_SCORE)
    # What moves everybody's amounts, a season or new prices, moves them further than chance alone.
    common = MAD_TO_DEVIATION * float(median_of(score)) if len(score) else 1.0
    p_value = 2 * norm.sf(score / max(common, 1.0))
    q_value = false_discovery_control(p_value, method="bh") if len(score) else p_value
    judged_so = customers.assign(
        amount_before=before / x / UNITS,
        amount_predicted=model.spend.expected_amount(x, before / x / UNITS),
        amount_made=made / n / UNITS,
        p_value=p_value,
        q_value=q_value,
        direction=np.where(as_much < as_little, "above", "below"),
    )
    found: pd.DataFrame = judged_so[q_value <= rate]
    return found


def _squares(customers: pd.DataFrame) -> Floats:
    """The squared deviations of the logarithms of amounts before from their mean, summed; exactly 0 of equal ones."""
    number, logs, squares = (
        customers[name].to_numpy("int64") for name in ("number_before", "logs_before", "log_squares")
    )
    found: Floats = (number * squares - logs**2) / number / LOG_STEPS**2
    return found


def _in_words(model: PurchaseModel, last_day: int) -> dict[str, Any]:
    """What the header says of the fit, to six digits."""
    values = {"r": model.r, "alpha_days": model.alpha_days, "a": model.a, "b": model.b}
    return {
        "model": NAMES[model.kind],
        "fitted_up_to": _as_text(last_day),
        **_six_digits(values | {"log_likelihood": model.log_likelihood}),
    }


def _as_text(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _six_digits(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in values.items()}


def _codes(seen: Observed) -> list[str]:
    return [CODE + name for name in seen.dimensions]


def _improbable(customers: pd.DataFrame, model: PurchaseModel, days: int, rate: float) -> pd.DataFrame:
    """The patterns of `customers` whose orders after the cut are too many or too few for the model."""
    x, recency, age, made, number = (
        customers[name].to_numpy("float64") for name in ("further_orders", "recency_days", "age_days", "made", "number")
    )
    as_many = probability_of_at_least(model, made, x, recency, age, days=days)
    as_few = 1 - probability_of_at_least(model, made + 1, x, recency, age, days=days)
    p_value = np.clip(2 * np.minimum(as_many, as_few), 0, 1)
    # Every customer of a pattern is a test of its own.
    q_value = false_discovery_control(np.repeat(p_value, number.astype("int64")), method="bh")
    q_value = q_value[np.cumsum(number).astype("int64") - 1]
    chosen = q_value <= rate
    own = customers[chosen].reset_index(drop=True)
    with_forecast: pd.DataFrame = own.assign(
        predicted=expected_orders(model, x[chosen], recency[chosen], age[chosen], days=days),
        p_value=p_value[chosen],
        q_value=q_value[chosen],
        direction=np.where(as_many < as_few, "above", "below")[chosen],
    )
    return with_forecast


def _with_clients(departures: pd.DataFrame, tables: Tables, kept: int) -> pd.DataFrame:
    """With the clients behind the codes; per dimension value and measure the `kept` least probable."""
    names = clients_by_code(tables, departures["client_code"])
    clients = pd.Series([names[int(code)] for code in departures["client_code"]], dtype="str", index=departures.index)
    ordered = departures.assign(client=clients).sort_values(["dimension", "measure", "q_value", "client"])
    place = ordered.groupby(["dimension", "measure"]).cumcount()
    shown: pd.DataFrame = ordered[place < kept].reset_index(drop=True)
    return shown


def _events(
    campaigns: pd.DataFrame,
    daily: pd.DataFrame,
    number: int,
    days: Integers,
    campaign_max_days: int,
    holidays: tuple[str, ...],
) -> Integers:
    """The group of each day: days with the same campaigns and holidays are one group."""
    own = daily[daily["dimension"] == number]
    orders = np.zeros(len(days))
    orders[own["day"].to_numpy() - days[0]] = own["all_orders"].to_numpy()
    marks = np.zeros((len(days), 1), dtype="int64")
    flags = []
    for one in records(campaigns):
        inside = (days >= one.first) & (days <= one.last)
        is_short = one.last - one.first < campaign_max_days
        if is_short and one.orders >= max(CAMPAIGN_SHARE * orders[inside].sum(), 1):
            flags.append(inside)
    flags += [mine for mine in (_on_holiday(text, days) for text in holidays) if mine.any()]
    if not flags:
        return np.full(len(days), ORDINARY)
    marks = np.array(flags, dtype="int64").T
    _, group = np.unique(marks, axis=0, return_inverse=True)
    found: Integers = np.where(marks.any(axis=1), group.reshape(-1), ORDINARY)
    return found


def _on_holiday(text: str, days: Integers) -> Booleans:
    """Where a holiday falls: `YYYY-MM-DD`, or `MM-DD` for every year."""
    dates = days.astype("datetime64[D]").astype(str)
    if re.fullmatch(r"\d\d-\d\d", text):
        try:
            date.fromisoformat(f"2024-{text}")
        except ValueError:
            raise Problem(_unknown_holiday(text)) from None
        return np.array([one[5:] == text for one in dates], dtype=bool)
    try:
        wanted = date.fromisoformat(text).isoformat()
    except ValueError:
        raise Problem(_unknown_holiday(text)) from None
    return np.array(dates == wanted, dtype=bool)


def _unknown_holiday(text: str) -> str:
    return f"ANOMALY_HOLIDAYS has {text!r}, which is no day; write 2025-12-25, or 12-25 for every year."


def _series(
    daily: pd.DataFrame,
    cohorts: pd.DataFrame,
    days: Integers,
    actions: tuple[str, ...],
    events: Integers,
    last_cohort: int,
    last_day: int,
) -> tuple[DailySeries, Integers]:
    """The series of one dimension value, and the days that were not recorded."""

    def over_days(frame: pd.DataFrame, column: str) -> Floats:
        values = np.zeros(len(days))
        values[frame["day"].to_numpy() - days[0]] = frame[column].to_numpy("float64")
        return values

    columns = {
        "sessions": "sessions",
        **{STEP + action: f"step_{place}" for place, action in enumerate(actions, start=1)},
        "orders": "orders",
        "revenue": "revenue",
        THROUGH: "through",
    }
    values = {name: over_days(daily, column) for name, column in columns.items()}
    values["downloads"] = over_days(cohorts, "downloads")
    values[FIRST_ORDERS] = over_days(cohorts, "first_orders")
    gap = _not_recorded(over_days(daily, "all_sessions"), days)
    gap_of_downloads = _not_recorded(values["downloads"], days)
    names, known = [], []
    for name in [*columns, *OF_CUSTOMERS]:
        begun = np.cumsum(np.abs(values[name])) > 0
        if not begun.any():
            continue
        own = begun & ~(gap_of_downloads if name in OF_CUSTOMERS else gap)
        own &= days <= (last_cohort if name == FIRST_ORDERS else last_day)
        names.append(name)
        known.append(own)
    of_customers = np.array([name in OF_CUSTOMERS for name in names])
    funnel = [name for name in ("sessions", *(STEP + action for action in actions), THROUGH) if name in names]
    series = DailySeries(
        names=tuple(names),
        days=days,
        values=np.array([values[name] for name in names]),
        known=np.array(known),
        # A campaign concerns customers' orders; it says nothing about who downloads.
        events=np.where(of_customers[:, None], ORDINARY, events),
        funnel=tuple(names.index(name) for name in funnel),
    )
    return series, days[gap]


def _not_recorded(values: Floats, days: Integers) -> Booleans:
    """Days without anything among days with plenty; not the weekday on which there never is anything."""
    there = np.where(values > 0, values, np.nan)
    busy = np.nan_to_num(running_median(there, GAP_DAYS)) >= BUSY_SESSIONS
    weekday = days % len(WEEKDAYS)
    closed = np.array([float(median_of(values[weekday == one])) == 0 for one in range(len(WEEKDAYS))])
    gap: Booleans = (values == 0) & busy & ~closed[weekday]
    return gap


def _frames(
    parts: dict[int, DailySeries], found: dict[int, Verdicts], labels: tuple[str, ...]
) -> dict[str, pd.DataFrame]:
    """The rows of every report, with `day` and the `place` of the series."""
    every = [_long(number, parts[number], found[number]) for number in sorted(parts)]
    funnels = [_funnel_rows(number, parts[number], found[number]) for number in sorted(parts)]
    series = pd.concat(every, ignore_index=True) if every else _long(0, NOTHING, judged(NOTHING, Rules()))
    funnel_days = pd.concat(funnels, ignore_index=True) if every else _funnel_rows(0, NOTHING, judged(NOTHING, Rules()))
    series["explained_by"] = None
    odd = series.index[series["is_anomaly"].astype(bool) & (series["dimension"] == 0)]
    for row, name, day in zip(odd, series.loc[odd, "series"], series.loc[odd, "day"], strict=True):
        series.loc[row, "explained_by"] = _explained(str(name), int(day), parts, found, labels)
    complete = series[series["is_complete"]]
    newest = complete.groupby(["dimension", "series"])["day"].transform("max") == complete["day"]
    main_step = funnel_days["main_step"].astype(object).where(funnel_days["is_anomaly"].astype(bool), None)
    of_funnel = funnel_days.assign(series=FUNNEL, place=len(series), explained_by=main_step)
    of_funnel = of_funnel[of_funnel.groupby("dimension")["day"].transform("max") == of_funnel["day"]]
    newest_period = pd.concat([complete[newest], of_funnel], ignore_index=True) if len(of_funnel) else complete[newest]
    return {
        "daily_series": series,
        "anomalies": series[series["is_anomaly"].astype(bool)].reset_index(drop=True),
        "funnel_days": funnel_days,
        "newest_period": newest_period.reset_index(drop=True),
    }


NOTHING = DailySeries(
    ("sessions",),
    np.zeros(0, "int64"),
    np.zeros((1, 0)),
    np.zeros((1, 0), dtype=bool),
    np.zeros((1, 0), "int64"),
)


def _group_of(name: str) -> str:
    if name == "sessions" or name.startswith(STEP):
        return "funnel"
    return "downloads" if name in OF_CUSTOMERS else name


def _long(number: int, series: DailySeries, verdicts: Verdicts) -> pd.DataFrame:
    """One row per series and day on which it was recorded, or is still under way."""
    rows = [row for row, name in enumerate(series.names) if name != THROUGH]
    length = len(series.days)
    newest_known = np.array([series.known[row].nonzero()[0].max(initial=-1) for row in rows])
    begun = np.array([series.known[row].cumsum() > 0 for row in rows]).reshape(len(rows), length)
    under_way = np.arange(length) > newest_known[:, None]
    under_way &= (series.values[rows] > 0) | np.array([[series.names[row] == FIRST_ORDERS] for row in rows])
    shown = (begun & (series.known[rows] | under_way)).ravel()

    def column(values: Any) -> Any:
        return np.asarray(values)[rows].ravel()[shown]

    expectation = verdicts.expectation
    actual, expected = column(series.values), column(expectation.expected)
    names = np.repeat([series.names[row] for row in rows], length)[shown]
    days = np.tile(series.days, len(rows))[shown]
    score, is_judged = column(expectation.score), column(expectation.is_judged)
    return pd.DataFrame(
        {
            "dimension": number,
            "place": np.repeat(rows, length)[shown],
            "day": days,
            "series": pd.Series(names, dtype="str"),
            "series_group": pd.Series([_group_of(name) for name in names], dtype="str"),
            "period": as_dates(first_days(days, "day", "monday")),
            "is_complete": ~under_way.ravel()[shown],
            "actual": actual,
            "expected": expected,
            "band_low": column(expectation.low),
            "band_high": column(expectation.high),
            "departure_rate": ratio(actual, expected) - 1,
            "score": score,
            "is_judged": pd.Series([bool(one) for one in np.isfinite(score)], dtype=object),
            "p_value": column(expectation.p_value),
            "q_value": column(verdicts.q_value),
            "direction": pd.Series(_direction(score), dtype=object),
            "is_anomaly": pd.Series(
                [
                    bool(odd) if known else None
                    for odd, known in zip(column(verdicts.is_anomaly), is_judged, strict=True)
                ],
                dtype=object,
            ),
        }
    )


def _funnel_rows(number: int, series: DailySeries, verdicts: Verdicts) -> pd.DataFrame:
    """One row per day on which the funnel was judged."""
    shown = np.isfinite(verdicts.funnel_p_value)
    days = series.days[shown]
    titles = ["sessions", *(f"{_step(series, place)} out of {_step(series, place - 1)}" for place in _later(series))]
    return pd.DataFrame(
        {
            "dimension": number,
            "day": days,
            "period": as_dates(first_days(days, "day", "monday")),
            "is_complete": True,
            "score": verdicts.funnel_score[shown],
            "p_value": verdicts.funnel_p_value[shown],
            "q_value": verdicts.funnel_q_value[shown],
            "is_anomaly": pd.Series(verdicts.is_funnel_anomaly[shown].tolist(), dtype=object),
            "main_step": pd.Series([titles[place] for place in verdicts.main_step[shown]], dtype="str"),
            "direction": pd.Series(_direction(verdicts.main_score[shown]), dtype=object),
        }
    )


def _later(series: DailySeries) -> range:
    return range(1, len(series.funnel))


def _step(series: DailySeries, place: int) -> str:
    name = series.names[series.funnel[place]]
    return "orders" if name == THROUGH else name.removeprefix(STEP)


def _direction(score: Floats) -> list[str | None]:
    return [None if np.isnan(one) else "above" if one > 0 else "below" for one in score]


def _explained(
    name: str, day: int, parts: dict[int, DailySeries], found: dict[int, Verdicts], labels: tuple[str, ...]
) -> str | None:
    """The dimension value that accounts for most of the departure of `all`, where one stands out."""

    def at(number: int) -> tuple[float, float] | None:
        part = parts[number]
        if name not in part.names or day < part.days[0]:
            return None
        row, place = part.names.index(name), day - int(part.days[0])
        expected = float(found[number].expectation.expected[row, place])
        return (float(part.values[row, place]) - expected, expected) if np.isfinite(expected) else None

    whole = at(0)
    if whole is None or whole[0] == 0:
        return None
    best, said = 0.0, None
    for number in sorted(set(parts) - {0}):
        own = at(number)
        if own is None:
            continue
        share, usual = own[0] / whole[0], own[1] / whole[1]
        if share >= EXPLAINED_SHARE and share - usual > max(best, MORE_THAN_EXPECTED):
            best, said = share - usual, f"{labels[number]} ({min(share, 1):.0%} of it, usually {usual:.0%})"
    return said


def _warnings(
    parts: dict[int, DailySeries], found: dict[int, Verdicts], gaps: dict[int, Integers], rules: Rules
) -> list[str]:
    """What was not judged, and why."""
    if 0 not in parts:
        return []
    said = []
    days = gaps[0]
    if len(days):
        listed = ", ".join(str(day) for day in days[:NAMED].astype("datetime64[D]"))
        said.append(
            f"{len(days):,} {'day has' if len(days) == 1 else 'days have'} no session at all ({listed}"
            f"{', …' if len(days) > NAMED else ''}) and {'is' if len(days) == 1 else 'are'} taken as not recorded."
        )
    reasons = {
        "is_short": f"fewer than {rules.min_days} days",
        "is_sparse": f"fewer than {rules.min_per_day:g} a day on most days",
    }
    for reason, words in reasons.items():
        flags = {number: getattr(found[number].expectation, reason) for number in parts}
        names = [name for name, flag in zip(parts[0].names, flags[0], strict=True) if flag and name != THROUGH]
        if names:
            said.append(f"Not judged, because there are {words}: {', '.join(names)}.")
        others = sum(int(flag.sum()) for number, flag in flags.items() if number)
        if others:
            said.append(f"Of the dimension values' series {others:,} are not judged: there are {words}.")
    expectation = found[0].expectation
    series = parts[0]
    if "sessions" in series.names:
        row = series.names.index("sessions")
        unknown = series.known[row] & ~expectation.is_judged[row] & (series.events[row] != ORDINARY)
        if unknown.any() and not (expectation.is_short[row] or expectation.is_sparse[row]):
            said.append(f"{int(unknown.sum()):,} days of holidays or short campaigns are shown and not judged.")
    return said
