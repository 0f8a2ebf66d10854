"""RFM: how recently, how often and for how much each customer ordered, scored, and named.

    sessions  ->  segments with size and revenue, cut points, counts per score, movements between segments
    (`customer_scores`: one row per customer)

Recency is the number of days from the day of the last order to the report date, frequency the number of orders, and the
monetary value the mean order amount, rounded to four decimals: the total would count frequency a second time (it is
reported beside). Only customers with an order are scored.

Each score runs from 1 (worst) to RFM_SCORES (best): recent, frequent and high amounts score high. The cut points are
the quantiles 1/5, 2/5, … of the values, interpolated linearly. A value *at* a cut point counts as below it, so that
equal values always get equal scores: where a third of all customers ordered once, all of them have the same frequency
score, and some scores stay empty. The limit of quantiles is that they grade on a curve: the shop's best fifth
scores 5 even where nobody is good. Where all customers are equal, frequency and monetary value score 1 and
recency scores best.

The eleven segments are those of the published grid over the recency score R and FM, the mean of the frequency and the
monetary score, rounded half up [1]_. There the regions overlap; here each of the cells belongs to exactly one segment,
and each segment's `rule` says which. With another number of scores than five, scores are stretched to five first.

Movements compare the segments at the report date with those RFM_MIGRATION_DAYS earlier, by the cut points of the report
date both times: a customer moves because the customer changed, not because the yardstick did.

.. [1] Putler, "RFM analysis for customer segmentation" (putler.com/rfm-analysis): the eleven names over R and F&M.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import ibis
import pandas as pd
import pyarrow as pa

import configs
from include.dashboards.panel import Panel
from include.measures.dimension import CODE, by_dimension
from include.measures.observed import Observed, client_names, definition, observed
from include.measures.periods import day_number
from include.measures.rates import with_rate
from include.measures.reporting import finished_report
from include.measures.results import held, ratio, records, result
from include.schemas.reports import Field, Report, ReportType

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

READS = ("sessions",)
SCORES = (
    "recency_days",
    "frequency",
    "monetary_mean",
    "monetary_total",
    "recency_score",
    "frequency_score",
    "monetary_score",
    "rfm_segment",
)
NOT_YET = "(not yet a customer)"
SUMS = ["customers", "orders", "recency_total", "monetary_units", "revenue_units"]  # what is known of a cell of scores
UNITS = 10_000  # of money in one unit of currency: amounts have four decimals
GRID = 5  # the segments are defined on a grid of five by five

# Segment: scores of recency, scores of frequency and monetary value together (both from, to).
SEGMENTS: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "champions": ((5, 5), (4, 5)),
    "loyal": ((3, 4), (4, 5)),
    "potential loyalists": ((4, 5), (2, 3)),
    "new": ((5, 5), (1, 1)),
    "promising": ((4, 4), (1, 1)),
    "need attention": ((3, 3), (3, 3)),
    "about to sleep": ((3, 3), (1, 2)),
    "at risk": ((1, 2), (3, 4)),
    "cannot lose": ((1, 2), (5, 5)),
    "hibernating": ((2, 2), (1, 2)),
    "lost": ((1, 1), (1, 2)),
}
MEASURES = {"recency": "recency_days", "frequency": "frequency", "monetary": "monetary_mean"}
PAIRS = {
    "frequency and recency": ("frequency", "recency"),
    "monetary and frequency": ("monetary", "frequency"),
    "recency and monetary": ("recency", "monetary"),
}

FIELDS: dict[str, Field] = {
    "rfm_segment": Field("keyword", "the RFM segment"),
    "previous_segment": Field("keyword", "the RFM segment RFM_MIGRATION_DAYS days earlier"),
    "rule": Field("keyword", "which scores make the segment: R is recency, FM the rounded mean of the other two"),
    "revenue_share": Field("double", "revenue / revenue of all segments", "share"),
    "average_order_value": Field("double", "revenue / orders", "currency"),
    "mean_recency_days": Field("double", "mean days since the last order", "days"),
    "mean_frequency": Field("double", "mean orders of a customer", "orders"),
    "mean_monetary": Field("double", "mean of the customers' mean order amounts", "currency"),
    "recency_score": Field("long", "1 (long ago) to RFM_SCORES (recent)"),
    "frequency_score": Field("long", "1 (rare) to RFM_SCORES (frequent)"),
    "monetary_score": Field("long", "1 (low) to RFM_SCORES (high)"),
    "measure": Field("keyword", "recency (days), frequency (orders) or monetary (mean order amount)"),
    "cut_number": Field("long", "which cut point, from 1"),
    "cut_point": Field("double", "values up to and including it are on its lower side"),
    "pair": Field("keyword", "which two measures"),
    "first_score": Field("long", "score of the pair's first measure"),
    "second_score": Field("long", "score of the pair's second measure"),
}

MEANS = ("mean_recency_days", "mean_frequency", "mean_monetary")


def _scatter(title: str, x: str, y: str, x_title: str, y_title: str) -> Panel:
    return Panel(
        title=title,
        mark="scatter",
        x=x,
        y=y,
        breakdown="rfm_segment",
        x_title=x_title,
        y_title=y_title,
        format="decimal",
        width=4,
        how_to_read="A point is the customers with the same three scores, at their mean values; colour is segment.",
    )


REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "segments",
        "RFM segments",
        (
            "dimension",
            "rfm_segment",
            "rule",
            "customers",
            "rate",
            "numerator",
            "denominator",
            "ci_low",
            "ci_high",
            "orders",
            "revenue",
            "revenue_share",
            "average_order_value",
            *MEANS,
        ),
        ("dimension", "rfm_segment"),
        (
            Panel(
                title="Customers per segment",
                mark="bar",
                x="rfm_segment",
                y="customers",
                x_title="Segment",
                y_title="Customers",
                how_to_read="How many customers are in each segment, from the most to the least valuable behaviour.",
            ),
            Panel(
                title="Revenue share per segment",
                mark="bar",
                x="rfm_segment",
                y=("rate", "revenue_share"),
                series_titles={"rate": "Share of customers", "revenue_share": "Share of revenue"},
                x_title="Segment",
                y_title="Share (%)",
                format="percent",
                how_to_read="Where the share of revenue stands above the share of customers, few carry much.",
            ),
            Panel(
                title="Segments",
                mark="table",
                y="customers",
                columns=("rfm_segment", "rule", "customers", "orders", "revenue", "average_order_value", *MEANS),
                format="decimal",
                width=12,
                how_to_read="What each segment means, how large it is, and what it brought in since the beginning.",
            ),
        ),
    ),
    ReportType(
        "cut_points",
        "RFM cut points",
        ("dimension", "measure", "cut_number", "cut_point", "n"),
        ("dimension", "measure", "cut_number"),
        (
            Panel(
                title="Cut points",
                mark="table",
                y="cut_point",
                columns=("measure", "cut_number", "cut_point"),
                format="decimal",
                how_to_read="The values between one score and the next; a value equal to a cut point is below it.",
            ),
        ),
    ),
    ReportType(
        "score_pairs",
        "RFM scores in pairs",
        ("dimension", "pair", "first_score", "second_score", "customers", "rate", "numerator", "denominator", *MEANS),
        ("dimension", "pair", "first_score", "second_score"),
        tuple(
            Panel(
                title=f"{pair.capitalize()} scores",
                mark="heatmap",
                x="first_score",
                y="customers",
                breakdown="second_score",
                color="customers",
                x_title=f"{first.capitalize()} score (1-{configs.RFM_SCORES})",
                y_title=f"{second.capitalize()} score (1-{configs.RFM_SCORES})",
                where={"pair": pair},
                how_to_read="How many customers have both scores; the best are in the corner where both are highest.",
            )
            for pair, (first, second) in PAIRS.items()
        ),
    ),
    ReportType(
        "score_cells",
        "RFM cells",
        (
            "dimension",
            "recency_score",
            "frequency_score",
            "monetary_score",
            "rfm_segment",
            "customers",
            "revenue",
            *MEANS,
        ),
        ("dimension", "recency_score", "frequency_score", "monetary_score"),
        (
            _scatter(
                "Frequency and recency",
                "mean_frequency",
                "mean_recency_days",
                "Orders per customer",
                "Days since last order",
            ),
            _scatter(
                "Monetary and frequency",
                "mean_monetary",
                "mean_frequency",
                "Mean order amount (currency)",
                "Orders per customer",
            ),
            _scatter(
                "Recency and monetary",
                "mean_recency_days",
                "mean_monetary",
                "Days since last order",
                "Mean order amount (currency)",
            ),
        ),
    ),
    ReportType(
        "migration",
        "Movements between RFM segments",
        (
            "dimension",
            "previous_segment",
            "rfm_segment",
            "customers",
            "rate",
            "numerator",
            "denominator",
            "ci_low",
            "ci_high",
        ),
        ("dimension", "previous_segment", "rfm_segment"),
        (
            Panel(
                title="Movements between segments",
                mark="heatmap",
                x="rfm_segment",
                y="rate",
                breakdown="previous_segment",
                color="rate",
                x_title="Segment now",
                y_title="Segment before",
                format="percent",
                width=12,
                how_to_read="Each row is a segment as it was before; its cells say where its customers are now.",
            ),
        ),
    ),
)

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "scores": configs.RFM_SCORES,
    "migration_days": configs.RFM_MIGRATION_DAYS,
}

# Per measure the cut points in rising order, in days, orders and units of currency.
CutPoints = dict[str, tuple[float, ...]]


def rfm(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    scores: int = 5,
    migration_days: int = 30,
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`."""
    seen = observed(tables, as_of=as_of, top_values=top_values)
    with held(_orders(seen)) as orders:
        repeated = by_dimension(orders, seen.dimensions)
        with held(_values(repeated, as_of, migration_days)) as values:
            cuts = _cut_points(values, scores)
            scored = _scored(values, cuts)
            current = [f"{name}_score" for name in MEASURES]
            previous = [f"previous_{name}_score" for name in MEASURES]
            moves = result(
                scored.group_by(["dimension", *current, *previous]).agg(
                    customers=scored.count(),
                    orders=scored.frequency.sum().cast("int64"),
                    recency_total=scored.recency_days.sum().cast("int64"),
                    monetary_units=scored.monetary_units.sum().cast("int64"),
                    revenue_units=scored.total_units.sum().cast("int64"),
                )
            ).astype(dict.fromkeys(("dimension", *current, *SUMS), "int64"))
    moves["rfm_segment"] = _names(moves[current], scores)
    moves["previous_segment"] = _names(moves[previous], scores)
    cells = moves.groupby(["dimension", *current, "rfm_segment"], as_index=False)[SUMS].sum()
    cells["revenue"] = cells["revenue_units"] / UNITS
    pairs = []
    for pair, (first, second) in PAIRS.items():
        named = cells.assign(pair=pair, first_score=cells[f"{first}_score"], second_score=cells[f"{second}_score"])
        pairs.append(_summed(named, ["dimension", "pair", "first_score", "second_score"]))
    frames: dict[str, pd.DataFrame] = {
        "segments": _segments(cells, confidence_level),
        "cut_points": cuts,
        "score_pairs": _shares(pd.concat(pairs, ignore_index=True), ["dimension", "pair"], confidence_level),
        "score_cells": _with_means(cells),
        "migration": _migration(moves, confidence_level),
    }
    said = definition(
        tables,
        as_of=as_of,
        monetary="mean order amount",
        scores=f"1 to {scores}, by quantiles of the customers with an order; equal values have equal scores",
        segments={name: rule(name) for name in SEGMENTS},
        movements=f"since {migration_days} days before, by the same cut points",
    )
    of_all = frames["segments"][frames["segments"]["dimension"] == 0]
    headline = {str(row.rfm_segment): float(row.customers) for row in records(of_all)}
    headline["customers"] = float(of_all["customers"].sum())
    order = [*SEGMENTS, NOT_YET]
    reports = {}
    for report_type in REPORTS:
        reports[report_type.type] = finished_report(
            report_type,
            frames[report_type.type],
            seen.labels,
            report_type.key,
            as_of=as_of,
            kpis=headline,
            said=said,
            order={"rfm_segment": order, "previous_segment": order, "measure": list(MEASURES), "pair": list(PAIRS)},
        )
    if headline["customers"] and headline["customers"] < scores:
        for report in reports.values():
            report.warnings.append(f"There are fewer than {scores} customers with an order: scores mean little.")
    return reports


def customer_scores(
    tables: Tables, *, as_of: date, scores: int = configs.RFM_SCORES, cut_points: CutPoints | None = None
) -> pd.DataFrame:
    """One row per customer with an order, sorted by `client`: `client` and the columns of SCORES.

    `cut_points` are per measure (recency in days, frequency in orders, monetary in currency) those of another report,
    to score by the same yardstick; by default the customers' own quantiles.
    """
    seen = observed(replace(tables, dimensions=()), as_of=as_of, top_values=0)
    sessions = tables.sessions.filter(tables.sessions.session_day <= as_of)
    names = client_names(sessions)
    with held(_values(by_dimension(_orders(seen), ()), as_of, 0)) as values:
        cuts = _cut_points(values, scores) if cut_points is None else _given(cut_points)
        scored = result(_scored(values, cuts).join(names, "client_code"))
    scored["monetary_mean"] = scored["monetary_units"] / UNITS
    scored["monetary_total"] = scored["total_units"] / UNITS
    cell = ["recency_score", "frequency_score", "monetary_score"]
    scored[cell] = scored[cell].astype("int64")
    scored["rfm_segment"] = _names(scored[cell], scores)
    return scored.sort_values("client", ignore_index=True)[["client", *SCORES]]


def segment(recency_score: int, frequency_score: int, monetary_score: int, scores: int = GRID) -> str:
    """The name of the segment that three scores make."""
    recency, frequency, monetary = (
        -(-GRID * int(score) // scores) for score in (recency_score, frequency_score, monetary_score)
    )
    both = (frequency + monetary + 1) // 2
    return next(
        name
        for name, ((recency_from, recency_to), (both_from, both_to)) in SEGMENTS.items()
        if recency_from <= recency <= recency_to and both_from <= both <= both_to
    )


def rule(name: str) -> str:
    """A segment's rule as text."""

    def span(low: int, high: int) -> str:
        return str(low) if low == high else f"{low}-{high}"

    recency, both = SEGMENTS[name]
    return f"R {span(*recency)} and FM {span(*both)}"


def _orders(seen: Observed) -> ir.Table:
    """client_code, day and money (`units`, in 1 / 10,000) of each order, and its dimension codes."""
    orders = seen.sessions.filter(seen.sessions.is_order)
    codes = (CODE + name for name in seen.dimensions)
    return orders.select("client_code", "day", *codes, units=(orders.amount * UNITS).cast("int64"))


def _wide_sum(units: Any) -> Any:
    """The engine's sum of whole numbers: it has 128 bits. Ibis takes it for 64 and would leave out a cast to them."""


_builtin: Any = ibis.udf.agg.builtin
_wide_sum = _builtin(name="sum", signature=(("int64",), "decimal(38, 0)"))(_wide_sum)


def _values(orders: ir.Table, as_of: date, migration_days: int) -> ir.Table:
    """Per dimension and customer: recency, frequency and money (in 1 / 10,000), now and `migration_days` before."""
    today = day_number(as_of)
    before = orders.day <= today - migration_days

    totals = orders.group_by(["dimension", "client_code"]).agg(
        last_day=orders.day.max(),
        frequency=orders.count(),
        total_units=_wide_sum(orders.units).cast("int64"),
        previous_last_day=ibis.ifelse(before, orders.day, ibis.null()).max(),
        previous_frequency=before.sum(),
        previous_total_units=_wide_sum(ibis.ifelse(before, orders.units, 0)).cast("int64"),
    )

    def mean(total: ir.IntegerColumn, number: ir.IntegerColumn) -> ir.IntegerColumn:
        return (total / number.nullif(0)).round().cast("int64")

    return totals.select(
        "dimension",
        "client_code",
        "frequency",
        "total_units",
        "previous_frequency",
        recency_days=today - totals.last_day,
        monetary_units=mean(totals.total_units, totals.frequency),
        previous_recency_days=today - migration_days - totals.previous_last_day,
        previous_monetary_units=mean(totals.previous_total_units, totals.previous_frequency),
    )


def _cut_points(values: ir.Table, scores: int) -> pd.DataFrame:
    """dimension, measure, cut_number, cut_point, n: the quantiles of each measure."""
    columns = {"recency": values.recency_days, "frequency": values.frequency, "monetary": values.monetary_units}
    shares = [number / scores for number in range(1, scores)]
    quantiles = {name: column.cast("float64").quantile(shares) for name, column in columns.items()}
    wide = result(values.group_by("dimension").agg(n=values.count(), **quantiles))
    # Three decimals (for money: of a 1 / 10,000) keep an interpolation of equal values equal to them.
    rows = [
        (row.dimension, name, number, round(point, 3) / (UNITS if name == "monetary" else 1), row.n)
        for name in columns
        for row in records(wide)
        for number, point in enumerate(getattr(row, name), start=1)
    ]
    cuts = pd.DataFrame(rows, columns=["dimension", "measure", "cut_number", "cut_point", "n"])
    whole = dict.fromkeys(("dimension", "cut_number", "n"), "int64")
    return cuts.astype({**whole, "measure": "str", "cut_point": "float64"})


def _given(cut_points: CutPoints) -> pd.DataFrame:
    rows = [
        (0, name, number, float(value))
        for name, points in cut_points.items()
        for number, value in enumerate(points, start=1)
    ]
    return pd.DataFrame(rows, columns=["dimension", "measure", "cut_number", "cut_point"])


def _scored(values: ir.Table, cuts: pd.DataFrame) -> ir.Table:
    """`values` with the three scores now and before; those before are missing where there was no order yet."""
    numbers = sorted(set(cuts["cut_number"]))
    dimensions = sorted(set(cuts["dimension"]))
    points = {
        (row.dimension, f"{row.measure}_cut_{row.cut_number}"): (
            round(row.cut_point * UNITS, 3) if row.measure == "monetary" else row.cut_point
        )
        for row in records(cuts)
    }
    names = [f"{measure}_cut_{number}" for measure in MEASURES for number in numbers]
    own = {name: pa.array([points.get((code, name)) for code in dimensions], pa.float64()) for name in names}
    wide = pa.table({"dimension": pa.array(dimensions, pa.int32()), **own})
    joined = values.join(ibis.memtable(wide), "dimension")
    columns = {"recency": "recency_days", "frequency": "frequency", "monetary": "monetary_units"}
    scores: dict[str, Any] = {}
    for prefix in ("", "previous_"):
        for measure, column in columns.items():
            value = joined[prefix + column].cast("float64")
            above: Any = ibis.literal(0)
            for number in numbers:
                above = above + (value > joined[f"{measure}_cut_{number}"]).cast("int64")
            score = len(numbers) + 1 - above if measure == "recency" else above + 1
            if prefix:
                score = ibis.ifelse(joined.previous_frequency > 0, score, ibis.null())
            scores[f"{prefix}{measure}_score"] = score.cast("int64")
    return joined.mutate(**scores).drop(*names)


def _with_means(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.assign(
        mean_recency_days=ratio(cells["recency_total"], cells["customers"]),
        mean_frequency=ratio(cells["orders"], cells["customers"]),
        mean_monetary=ratio(cells["monetary_units"] / UNITS, cells["customers"]),
    )


def _summed(cells: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Cells added up over everything but `keys`; integers, so that the order of addition does not matter."""
    return _with_means(cells.groupby(keys, as_index=False)[SUMS].sum())


def _shares(frame: pd.DataFrame, keys: list[str], confidence_level: float) -> pd.DataFrame:
    """With the share of customers among all rows that agree in `keys`."""
    total = frame.groupby(keys)["customers"].transform("sum")
    return with_rate(frame.assign(total=total), "customers", "total", confidence_level)


def _segments(cells: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """One row per dimension and segment, those without customers too."""
    found = cells.groupby(["dimension", "rfm_segment"], as_index=False)[SUMS].sum()
    every = pd.MultiIndex.from_product([sorted(set(cells["dimension"])), SEGMENTS], names=["dimension", "rfm_segment"])
    full = every.to_frame(index=False).merge(found, how="left", on=["dimension", "rfm_segment"]).fillna(0)
    full = _with_means(full.astype(dict.fromkeys(("dimension", *SUMS), "int64")))
    full["rule"] = [rule(name) for name in full["rfm_segment"]]
    full["revenue"] = full["revenue_units"] / UNITS
    full["average_order_value"] = ratio(full["revenue"], full["orders"])
    full["revenue_share"] = ratio(full["revenue_units"], full.groupby("dimension")["revenue_units"].transform("sum"))
    return _shares(full, ["dimension"], confidence_level)


def _names(own: pd.DataFrame, scores: int) -> pd.Series:
    """The segments that rows of three scores make; NOT_YET where there are none."""
    every = range(1, scores + 1)
    names = {(r, f, m): segment(r, f, m, scores) for r in every for f in every for m in every}
    triples = own.astype("Int64").itertuples(index=False, name=None)
    return pd.Series([names.get(three, NOT_YET) for three in triples], dtype="str")


def _migration(moves: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """One row per dimension and pair of segments that occurs; rates are out of the previous segment."""
    keys = ["dimension", "previous_segment", "rfm_segment"]
    summed = moves.groupby(keys, as_index=False)[["customers"]].sum()
    return _shares(summed, ["dimension", "previous_segment"], confidence_level)
