"""Customer segmentation: groups of customers who are alike in recency, frequency and monetary value.

    sessions  ->  segments with size, profile and revenue; how their number was chosen; movements between them
    (`customer_scores`: one row per customer)

Features are those of RFM: days since the last order, number of orders, mean order amount. Each is taken as log(1 + x),
because all three have long tails, and standardised; k-means then groups customers around centres. Only customers with
an order are grouped, and a negative mean amount counts as zero here.

The number of segments is the one with the best silhouette between SEGMENTATION_SEGMENTS_MIN and _MAX, on
SEGMENTATION_SAMPLE_CUSTOMERS drawn with a fixed seed. How much the segments hang on the draw is reported beside: the
adjusted Rand index between them and those of bootstrap resamples (1: not at all).

Segments are numbered by their revenue per customer: segment 1 is the most valuable, today and tomorrow. The answer does
not depend on the order of the rows or on customers' names.

`metric_clusters` groups the customers by each of the three alone. Movements compare the segments at the report date
with those SEGMENTATION_MIGRATION_DAYS earlier, by the centres of the report date both times. Where the number of
segments, or the means of one of them, are not those of the report before (of the latest earlier report date), a warning
says so.

k-means finds groups in a single heap too. Where the silhouette is low, the segments are a useful cut through a
continuum, not kinds of customers; docs/segmentation.md says more. RFM segments, whose rules can be read, are beside in
their own report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd

import configs
from include.dashboards.panel import Panel
from include.measures.clusters import Choice, Clusters, choose, clusters
from include.measures.dimension import by_dimension
from include.measures.drift import drifted, since
from include.measures.observed import client_names, definition, observed
from include.measures.periods import day_number
from include.measures.rates import with_rate
from include.measures.reporting import finished_report, of_values
from include.measures.results import ratio, result
from include.schemas.reports import Field, Report, ReportType

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

READS = ("sessions",)
SCORES = ("customer_segment", "recency_cluster", "frequency_cluster", "monetary_cluster")
NOT_YET = "(not yet a customer)"
UNITS = 10_000  # of money in one unit of currency: amounts have four decimals
METRICS = ("recency", "frequency", "monetary")
COLUMNS = {"recency": "recency_days", "frequency": "frequency", "monetary": "monetary_units"}
WEAK_SILHOUETTE = 0.25
WEAK_STABILITY = 0.6

FIELDS: dict[str, Field] = {
    "customer_segment": Field("keyword", "the segment by k-means; segment 1 has the most revenue per customer"),
    "previous_customer_segment": Field("keyword", "the segment SEGMENTATION_MIGRATION_DAYS earlier, by k-means"),
    "revenue_share": Field("double", "revenue / revenue of all segments", "share"),
    "average_order_value": Field("double", "revenue / orders", "currency"),
    "mean_recency_days": Field("double", "mean days since the last order", "days"),
    "mean_frequency": Field("double", "mean orders of a customer", "orders"),
    "mean_monetary": Field("double", "mean of the customers' mean order amounts", "currency"),
    "mean_monetary_total": Field("double", "revenue per customer", "currency"),
    "segments_tried": Field("long", "a number of segments that was tried", "segments"),
    "silhouette": Field("double", "how much nearer customers are to their own segment than to the next: 1 much, 0 not"),
    "stability": Field("double", "mean adjusted Rand index with the segments of resamples: 1 the same, 0 by chance"),
    "least_stability": Field("double", "lowest adjusted Rand index among the resamples"),
    "is_in_use": Field("boolean", "whether this number of segments is the one in use"),
    "measure": Field("keyword", "recency (days), frequency (orders) or monetary (mean order amount)"),
    "cluster": Field("long", "cluster of that measure, 1 the best: most recent, most frequent, highest amount"),
    "lowest": Field("double", "lowest value in the cluster"),
    "highest": Field("double", "highest value in the cluster"),
    "mean_value": Field("double", "mean value in the cluster"),
}

MEANS = ("mean_recency_days", "mean_frequency", "mean_monetary", "mean_monetary_total")
RATE = ("rate", "numerator", "denominator", "ci_low", "ci_high")
METRIC_TITLES = {
    "recency": "Days since the last order",
    "frequency": "Orders per customer",
    "monetary": "Mean order amount (currency)",
}
REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "segments",
        "Customer segments",
        (
            "dimension",
            "customer_segment",
            "customers",
            *RATE,
            "orders",
            "revenue",
            "revenue_share",
            "average_order_value",
            *MEANS,
        ),
        ("dimension", "customer_segment"),
        (
            Panel(
                title="Customers per segment",
                mark="bar",
                x="customer_segment",
                y=("rate", "revenue_share"),
                series_titles={"rate": "Share of customers", "revenue_share": "Share of revenue"},
                x_title="Segment",
                y_title="Share (%)",
                format="percent",
                how_to_read="Segment 1 brings most per customer; where revenue towers over customers, few carry much.",
            ),
            Panel(
                title="Where the segments lie",
                mark="scatter",
                x="mean_frequency",
                y="mean_recency_days",
                breakdown="customer_segment",
                x_title="Orders per customer",
                y_title="Days since the last order",
                format="decimal",
                how_to_read="A point is a segment at its means: to the right it orders often, below recently.",
            ),
            Panel(
                title="Profile of the segments",
                mark="table",
                y="customers",
                columns=(
                    "customer_segment",
                    "customers",
                    "rate",
                    "orders",
                    "revenue",
                    "revenue_share",
                    "average_order_value",
                    *MEANS,
                ),
                format="decimal",
                width=12,
                how_to_read="Who is in each segment, and what it has brought in since the beginning.",
            ),
        ),
    ),
    ReportType(
        "segments_tried",
        "Numbers of segments tried",
        ("dimension", "segments_tried", "is_in_use", "silhouette", "stability", "least_stability", "n"),
        ("dimension", "segments_tried"),
        (
            Panel(
                title="How many segments there are",
                mark="line",
                x="segments_tried",
                y=("silhouette", "stability"),
                series_titles={"silhouette": "Silhouette", "stability": "Stability"},
                x_title="Number of segments",
                y_title="Index, 1 is best",
                format="decimal",
                how_to_read="The number with the highest silhouette is used; a stability below 0.8 says that borders "
                "between segments are partly chance.",
            ),
            Panel(
                title="Numbers of segments tried",
                mark="table",
                y="silhouette",
                columns=("segments_tried", "is_in_use", "silhouette", "stability", "least_stability", "n"),
                format="decimal",
                how_to_read="The silhouette says how separate the segments are, the stability how reproducible.",
            ),
        ),
    ),
    ReportType(
        "metric_clusters",
        "Clusters of recency, frequency and monetary value",
        ("dimension", "measure", "cluster", "customers", *RATE, "lowest", "highest", "mean_value"),
        ("dimension", "measure", "cluster"),
        (
            *(
                Panel(
                    title=f"{metric.capitalize()} clusters",
                    mark="bar",
                    x="cluster",
                    y="customers",
                    x_title=f"Cluster of {metric}, 1 the best",
                    y_title="Customers",
                    where={"measure": metric},
                    width=4,
                    how_to_read=f"{METRIC_TITLES[metric]}, grouped by itself; the table says from where to where.",
                )
                for metric in METRICS
            ),
            Panel(
                title="Borders of the clusters",
                mark="table",
                y="customers",
                columns=("measure", "cluster", "customers", "rate", "lowest", "highest", "mean_value"),
                format="decimal",
                width=12,
                how_to_read="Recency in days, frequency in orders, monetary value as mean order amount.",
            ),
        ),
    ),
    ReportType(
        "migration",
        "Movements between customer segments",
        ("dimension", "previous_customer_segment", "customer_segment", "customers", *RATE),
        ("dimension", "previous_customer_segment", "customer_segment"),
        (
            Panel(
                title="Movements between segments",
                mark="heatmap",
                x="customer_segment",
                y="rate",
                breakdown="previous_customer_segment",
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
    "segments_min": configs.SEGMENTATION_SEGMENTS_MIN,
    "segments_max": configs.SEGMENTATION_SEGMENTS_MAX,
    "metric_clusters": configs.SEGMENTATION_METRIC_CLUSTERS,
    "fit_customers": configs.SEGMENTATION_FIT_CUSTOMERS,
    "sample_customers": configs.SEGMENTATION_SAMPLE_CUSTOMERS,
    "resamples": configs.SEGMENTATION_RESAMPLES,
    "migration_days": configs.SEGMENTATION_MIGRATION_DAYS,
    "random_state": configs.SEGMENTATION_RANDOM_STATE,
}

PREVIOUS = {"previous_segments": "segments"}  # argument: the report of the latest earlier date whose rows it takes


@dataclass(frozen=True)
class Segmentation:
    """How customers are told apart: segments numbered from 0 by value, and per metric clusters from 0, the best."""

    segments: Clusters
    tried: list[Choice]
    metrics: dict[str, Clusters]


def customer_segmentation(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    segments_min: int = 3,
    segments_max: int = 8,
    metric_clusters: int = 5,
    fit_customers: int = 20_000,
    sample_customers: int = 1_000,
    resamples: int = 10,
    migration_days: int = 30,
    random_state: int = 0,
    previous_segments: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`.

    `previous_segments` are the rows of an earlier `segments` report, with which the segments are compared.
    """
    seen = observed(tables, as_of=as_of, top_values=top_values)
    orders = seen.sessions.filter(seen.sessions.is_order).drop("instant", "id", "hour")
    values = _values(by_dimension(orders, seen.dimensions), as_of, migration_days)
    parts: dict[str, list[pd.DataFrame]] = {one.type: [] for one in REPORTS}
    warnings: dict[int, list[str]] = {}
    for code, own in values.groupby("dimension"):
        number = int(str(code))
        found = _segmentation(
            own,
            segments_min=segments_min,
            segments_max=segments_max,
            metric_clusters=metric_clusters,
            fit_customers=fit_customers,
            sample_customers=sample_customers,
            resamples=resamples,
            random_state=random_state,
        )
        frames = _frames(own, found, confidence_level, min(sample_customers, len(own)))
        for name, frame in frames.items():
            parts[name].append(frame.assign(dimension=number))
        before = [row for row in previous_segments if row["dimension"] == seen.labels[number]]
        warnings[number] = [*_warnings(found), *_changes(frames["segments"], before, since(previous_segments))]
    said = definition(
        tables,
        as_of=as_of,
        features="log(1 + days since the last order), log(1 + orders), log(1 + mean order amount), standardised",
        method="k-means; segments numbered by revenue per customer",
        chosen_by=f"best silhouette between {segments_min} and {segments_max} segments",
        movements=f"since {migration_days} days before, by the same centres",
        libraries={name: version(name) for name in ("scikit-learn", "numpy")},
        seed=random_state,
    )
    of_all = parts["segments"][0] if 0 in warnings else pd.DataFrame({"customers": []})
    headline = {"customers": float(of_all["customers"].sum())}
    if 0 in warnings:
        headline["segments"] = float(len(of_all))
    if 0 in warnings and len(parts["segments_tried"][0]):
        used = parts["segments_tried"][0]
        for row in used[used["is_in_use"].astype(bool)].to_dict("records"):
            known = {name: row[name] for name in ("silhouette", "stability") if np.isfinite(row[name])}
            headline |= {name: round(value, 6) for name, value in known.items()}
    segment_names = [NOT_YET, *_named(range(segments_max))]
    orders_of = {
        "measure": list(METRICS),
        "customer_segment": segment_names,
        "previous_customer_segment": segment_names,
    }
    reports = {}
    for report_type in REPORTS:
        usable = [part for part in parts[report_type.type] if len(part)]
        frame = pd.concat(usable, ignore_index=True) if usable else _empty(report_type)
        told = {code: own for code, own in warnings.items() if code == 0 or report_type.type == "segments_tried"}
        reports[report_type.type] = finished_report(
            report_type,
            frame,
            seen.labels,
            report_type.key,
            as_of=as_of,
            kpis=headline,
            said=said,
            warnings=of_values(told, seen.labels),
            order=orders_of,
        )
    return reports


def customer_scores(
    tables: Tables,
    *,
    as_of: date,
    segments_min: int = configs.SEGMENTATION_SEGMENTS_MIN,
    segments_max: int = configs.SEGMENTATION_SEGMENTS_MAX,
    metric_clusters: int = configs.SEGMENTATION_METRIC_CLUSTERS,
    fit_customers: int = configs.SEGMENTATION_FIT_CUSTOMERS,
    sample_customers: int = configs.SEGMENTATION_SAMPLE_CUSTOMERS,
    random_state: int = configs.SEGMENTATION_RANDOM_STATE,
) -> pd.DataFrame:
    """One row per customer with an order, sorted by `client`: `client` and the columns of SCORES."""
    seen = observed(replace(tables, dimensions=()), as_of=as_of, top_values=0)
    orders = seen.sessions.filter(seen.sessions.is_order).drop("instant", "id", "hour")
    values = _values(by_dimension(orders, ()), as_of, 0)
    sessions = tables.sessions.filter(tables.sessions.session_day <= as_of)
    names = result(client_names(sessions))
    if not len(values):
        return pd.DataFrame({name: pd.Series(dtype="object") for name in ("client", *SCORES)})
    found = _segmentation(
        values,
        segments_min=segments_min,
        segments_max=segments_max,
        metric_clusters=metric_clusters,
        fit_customers=fit_customers,
        sample_customers=sample_customers,
        resamples=0,
        random_state=random_state,
    )
    scores: dict[str, Any] = {"customer_segment": _named(found.segments.of(_features(values)))}
    for metric, own in found.metrics.items():
        scores[f"{metric}_cluster"] = own.of(_features(values, metric)) + 1
    client = values["client_code"].map(names.set_index("client_code")["client"])
    return pd.DataFrame({"client": client, **scores}).sort_values("client", ignore_index=True)


def _values(orders: ir.Table, as_of: date, migration_days: int) -> pd.DataFrame:
    """Per dimension and customer: recency, frequency and money (in 1 / 10,000), now and `migration_days` before.

    Before the first order the earlier values are missing. Sorted by the values, so that nothing depends on names.
    """
    today = day_number(as_of)
    before = orders.day <= today - migration_days
    found = result(
        orders.group_by(["dimension", "client_code"]).agg(
            recency_days=today - orders.day.max(),
            frequency=orders.count(),
            total_units=(orders.amount.sum() * UNITS).cast("int64"),
            previous_recency_days=today - migration_days - ibis.ifelse(before, orders.day, ibis.null()).max(),
            previous_frequency=before.sum(),
            previous_total_units=(ibis.ifelse(before, orders.amount, 0).sum() * UNITS).cast("int64"),
        )
    ).astype({"previous_recency_days": "float64"})
    for prefix in ("", "previous_"):
        found[f"{prefix}monetary_units"] = ratio(found[f"{prefix}total_units"], found[f"{prefix}frequency"])
    found = found.astype(dict.fromkeys(("dimension", "recency_days", "frequency", "total_units"), "int64"))
    return found.sort_values([str(name) for name in found if name != "client_code"], ignore_index=True)


def _features(values: pd.DataFrame, metric: str | None = None, prefix: str = "") -> npt.NDArray[np.float64]:
    """The logarithms of all three, or of one."""
    names = [COLUMNS[one] for one in METRICS] if metric is None else [COLUMNS[metric]]
    columns = []
    for name in names:
        numbers = values[prefix + name].to_numpy("float64")
        columns.append(np.log1p(np.maximum(numbers / (UNITS if name == "monetary_units" else 1), 0)))
    return np.column_stack(columns)


def _segmentation(
    values: pd.DataFrame,
    *,
    segments_min: int,
    segments_max: int,
    metric_clusters: int,
    fit_customers: int,
    sample_customers: int,
    resamples: int,
    random_state: int,
) -> Segmentation:
    features = _features(values)
    found, tried = choose(
        features,
        fewest=segments_min,
        most=segments_max,
        fit_rows=fit_customers,
        sample_rows=sample_customers,
        resamples=resamples,
        random_state=random_state,
    )
    place = found.of(features)
    groups = len(found.centres)
    sizes = np.bincount(place, minlength=groups)
    worth = ratio(np.bincount(place, weights=values["total_units"], minlength=groups), sizes)
    # Most revenue per customer first; a segment that nobody is in would come last.
    segments = found.ordered(np.argsort(-np.where(np.isfinite(worth), worth, -np.inf), kind="stable"))
    metrics = {}
    for metric in METRICS:
        own = clusters(_features(values, metric), metric_clusters, fit_rows=fit_customers, random_state=random_state)
        best_first = np.argsort(own.centres[:, 0] * (1 if metric == "recency" else -1), kind="stable")
        metrics[metric] = own.ordered(best_first)
    return Segmentation(segments, tried, metrics)


def _frames(values: pd.DataFrame, found: Segmentation, confidence_level: float, sample: int) -> dict[str, pd.DataFrame]:
    """The reports of one dimension value, without it."""
    place = found.segments.of(_features(values))
    known = values["previous_frequency"].to_numpy("int64") > 0
    earlier = np.full(len(values), NOT_YET, dtype=object)
    earlier[known] = _named(found.segments.of(_features(values[known], prefix="previous_")))
    rows = values.assign(customer_segment=_named(place), previous_customer_segment=earlier)
    segments = rows.groupby("customer_segment", as_index=False).agg(
        customers=("frequency", "size"),
        orders=("frequency", "sum"),
        units=("total_units", "sum"),
        mean_recency_days=("recency_days", "mean"),
        mean_frequency=("frequency", "mean"),
        mean_monetary_units=("monetary_units", "mean"),
    )
    segments["revenue"] = segments["units"] / UNITS
    segments["revenue_share"] = ratio(segments["units"], segments["units"].sum())
    segments["average_order_value"] = ratio(segments["revenue"], segments["orders"])
    segments["mean_monetary"] = segments["mean_monetary_units"] / UNITS
    segments["mean_monetary_total"] = ratio(segments["revenue"], segments["customers"])
    moves = rows.groupby(["previous_customer_segment", "customer_segment"], as_index=False).agg(
        customers=("frequency", "size")
    )
    left = moves.groupby("previous_customer_segment")["customers"].transform("sum")
    tried = pd.DataFrame(
        [
            {
                "segments_tried": one.groups,
                "is_in_use": one.groups == len(found.segments.centres),
                "silhouette": one.silhouette,
                "stability": one.stability,
                "least_stability": one.least_stability,
                "n": sample,
            }
            for one in found.tried
        ]
    )
    singles = [_metric(values, metric, own) for metric, own in found.metrics.items()]
    return {
        "segments": with_rate(segments.assign(all=len(values)), "customers", "all", confidence_level),
        "segments_tried": tried,
        "metric_clusters": with_rate(
            pd.concat(singles, ignore_index=True).assign(all=len(values)), "customers", "all", confidence_level
        ),
        "migration": with_rate(moves.assign(left=left), "customers", "left", confidence_level),
    }


def _metric(values: pd.DataFrame, metric: str, found: Clusters) -> pd.DataFrame:
    unit = UNITS if metric == "monetary" else 1
    shown = values.assign(
        cluster=found.of(_features(values, metric)) + 1, value=values[COLUMNS[metric]].astype("float64") / unit
    )
    return (
        shown.groupby("cluster", as_index=False)
        .agg(
            customers=("value", "size"), lowest=("value", "min"), highest=("value", "max"), mean_value=("value", "mean")
        )
        .assign(measure=metric)
    )


def _named(places: Any) -> npt.NDArray[np.object_]:
    names: npt.NDArray[np.object_] = np.array([f"segment {place + 1}" for place in places], dtype=object)
    return names


def _warnings(found: Segmentation) -> list[str]:
    if not found.tried:
        return ["The customers are too alike to choose a number of segments: each kind of customer is one."]
    used = next(one for one in found.tried if one.groups == len(found.segments.centres))
    said = []
    if used.silhouette < WEAK_SILHOUETTE:
        said.append(f"The segments are not separate (silhouette {used.silhouette:.2f}): they cut through one heap.")
    if used.stability < WEAK_STABILITY:
        said.append(f"The segments are not stable (adjusted Rand index {used.stability:.2f} over resamples).")
    return said


def _changes(segments: pd.DataFrame, before: Sequence[Mapping[str, Any]], since_when: str) -> list[str]:
    """What is different from the report before: other segments, or the same with other customers in them."""
    if not before:
        return []
    if len(segments) != len(before):
        number = f"There are {len(segments)} segments instead of {len(before)} {since_when}"
        return [f"{number}: segments of one number are not the same customers."]
    earlier = {str(row["customer_segment"]): row for row in before}
    said = []
    for row in segments.to_dict("records"):
        names = {name: name.replace("_", " ") for name in MEANS}
        now = {str(name): value for name, value in row.items()}
        moved = drifted(earlier.get(str(row["customer_segment"]), {}), now, names=names)
        if moved:
            said.append(f"Means of {row['customer_segment']} have drifted {since_when}: {', '.join(moved)}.")
    return said


def _empty(report_type: ReportType) -> pd.DataFrame:
    frame = pd.DataFrame({name: pd.Series(dtype="float64") for name in report_type.fields})
    return frame.astype({"dimension": "int64"})
