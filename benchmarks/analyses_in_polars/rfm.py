"""RFM in plain polars: all its reports, whose amounts are rounded to four decimals before they are scored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pandas as pd
import polars as pl

from benchmarks.analyses_in_polars.breakdown import Files, collected, rate, ratio, repeated, sessions

CONFIDENCE_LEVEL = 0.95
SCORES = 5
MIGRATION_DAYS = 30

UNITS = 10_000
MEASURES = ("recency", "frequency", "monetary")
NOT_YET = "(not yet a customer)"
SEGMENTS = {  # recency score from, to; mean of the other two from, to
    "champions": (5, 5, 4, 5),
    "loyal": (3, 4, 4, 5),
    "potential loyalists": (4, 5, 2, 3),
    "new": (5, 5, 1, 1),
    "promising": (4, 4, 1, 1),
    "need attention": (3, 3, 3, 3),
    "about to sleep": (3, 3, 1, 2),
    "at risk": (1, 2, 3, 4),
    "cannot lose": (1, 2, 5, 5),
    "hibernating": (2, 2, 1, 2),
    "lost": (1, 1, 1, 2),
}
PAIRS = {
    "frequency and recency": ("frequency", "recency"),
    "monetary and frequency": ("monetary", "frequency"),
    "recency and monetary": ("recency", "monetary"),
}
NOW = tuple(f"{measure}_score" for measure in MEASURES)
BEFORE = tuple(f"previous_{measure}_score" for measure in MEASURES)


def reports(files: Files, dimensions: Sequence[str], as_of: date) -> dict[str, pd.DataFrame]:
    """The numbers of each report of `rfm`."""
    found: dict[str, list[pl.LazyFrame]] = {
        name: [] for name in ("segments", "cut_points", "score_pairs", "score_cells", "migration")
    }
    for orders in repeated(sessions(files, as_of, dimensions).filter("is_order"), dimensions):
        values = _values(orders, as_of).cache()
        cuts = values.group_by("dimension").agg(
            pl.len().alias("n"),
            *(
                pl.col(measure).quantile(number / SCORES, "linear").round(3).alias(f"{measure}_{number}")
                for measure in MEASURES
                for number in range(1, SCORES)
            ),
        )
        scored = _scored(values.join(cuts, on="dimension")).cache()
        cells = (
            scored.group_by("dimension", *NOW)
            .agg(pl.len().alias("customers"), pl.col(*MEASURES, "revenue").sum())
            .with_columns(rfm_segment=_segment(""))
            .cache()
        )
        found["segments"].append(_segments(cells))
        found["cut_points"].append(_cut_points(cuts))
        found["score_pairs"] += [_pair(cells, pair) for pair in PAIRS]
        found["score_cells"].append(cells.select("dimension", *NOW, "rfm_segment", "customers", "revenue", *_means()))
        found["migration"].append(_migration(scored))
    return collected(found)


def _values(orders: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Per dimension and customer: recency (days), frequency, money (1 / 10,000), now and MIGRATION_DAYS before."""
    before = as_of - timedelta(days=MIGRATION_DAYS)
    is_earlier = pl.col("session_day") <= before
    per_client = (
        orders.with_columns(
            is_earlier=is_earlier,
            earlier_day=pl.when(is_earlier).then("session_day"),
            earlier_amount=pl.when(is_earlier).then("amount").otherwise(0.0),
        )
        .group_by("dimension", "client_code")
        .agg(
            last=pl.col("session_day").max(),
            frequency=pl.len().cast(pl.Int64),
            revenue=pl.col("amount").sum(),
            previous_last=pl.col("earlier_day").max(),
            previous_frequency=pl.col("is_earlier").sum().cast(pl.Int64),
            previous_revenue=pl.col("earlier_amount").sum(),
        )
    )
    return per_client.with_columns(
        recency=(pl.lit(as_of) - pl.col("last")).dt.total_days(),
        monetary=_mean_units("revenue", "frequency"),
        previous_recency=(pl.lit(before) - pl.col("previous_last")).dt.total_days(),
        previous_monetary=_mean_units("previous_revenue", "previous_frequency"),
    )


def _mean_units(total: str, number: str) -> pl.Expr:
    units = (pl.col(total) * UNITS).round()
    return ratio(units, pl.col(number)).round(mode="half_away_from_zero")


def _scored(values: pl.LazyFrame) -> pl.LazyFrame:
    """With the scores now and before, by the same cut points; those before are missing where there was no order."""
    scores = {}
    for prefix in ("", "previous_"):
        for measure in MEASURES:
            value = pl.col(prefix + measure)
            above = pl.sum_horizontal(
                (value > pl.col(f"{measure}_{number}")).cast(pl.Int64) for number in range(1, SCORES)
            )
            score = SCORES - above if measure == "recency" else above + 1
            scores[f"{prefix}{measure}_score"] = pl.when(pl.col(f"{prefix}frequency") > 0).then(score)
    return values.with_columns(**scores)


def _segment(prefix: str) -> pl.Expr:
    """The name of the segment that three scores make; without scores, that the customer is none yet."""
    recency, frequency, monetary = (pl.col(f"{prefix}{measure}_score") for measure in MEASURES)
    both = (frequency + monetary + 1) // 2
    name: Any = pl.when(recency.is_null()).then(pl.lit(NOT_YET))
    for segment, (recency_from, recency_to, both_from, both_to) in SEGMENTS.items():
        within = recency.is_between(recency_from, recency_to) & both.is_between(both_from, both_to)
        name = name.when(within).then(pl.lit(segment))
    named: pl.Expr = name
    return named


def _means() -> list[pl.Expr]:
    customers = pl.col("customers")
    return [
        ratio(pl.col("recency"), customers).alias("mean_recency_days"),
        ratio(pl.col("frequency"), customers).alias("mean_frequency"),
        ratio(pl.col("monetary") / UNITS, customers).alias("mean_monetary"),
    ]


def _segments(cells: pl.LazyFrame) -> pl.LazyFrame:
    """One row per dimension and segment, those without customers too."""
    keys = ["dimension", "rfm_segment"]
    summed = cells.group_by(keys).agg(pl.col("customers", *MEASURES, "revenue").sum())
    every = cells.select("dimension").unique().join(pl.LazyFrame({"rfm_segment": list(SEGMENTS)}), how="cross")
    full = every.join(summed, on=keys, how="left").with_columns(pl.col("customers", *MEASURES, "revenue").fill_null(0))
    return full.with_columns(total=pl.col("customers").sum().over("dimension")).select(
        *keys,
        "customers",
        *rate("customers", "total", CONFIDENCE_LEVEL),
        pl.col("frequency").alias("orders"),
        "revenue",
        ratio(pl.col("revenue"), pl.col("revenue").sum().over("dimension")).alias("revenue_share"),
        ratio(pl.col("revenue"), pl.col("frequency")).alias("average_order_value"),
        *_means(),
    )


def _cut_points(cuts: pl.LazyFrame) -> pl.LazyFrame:
    """One row per dimension, measure and cut point."""
    long = cuts.unpivot(index=["dimension", "n"], variable_name="cut", value_name="cut_point")
    parts = pl.col("cut").str.split("_")
    measure = parts.list.get(0)
    return long.select(
        "dimension",
        "n",
        measure=measure,
        cut_number=parts.list.get(1).cast(pl.Int64),
        cut_point=pl.col("cut_point") / pl.when(measure == "monetary").then(UNITS).otherwise(1),
    )


def _pair(cells: pl.LazyFrame, pair: str) -> pl.LazyFrame:
    """Customers per combination of two scores, out of all."""
    first, second = PAIRS[pair]
    scores = {"first_score": pl.col(f"{first}_score"), "second_score": pl.col(f"{second}_score")}
    summed = cells.group_by("dimension", **scores).agg(pl.col("customers", *MEASURES).sum())
    return summed.with_columns(total=pl.col("customers").sum().over("dimension")).select(
        "dimension",
        pl.lit(pair).alias("pair"),
        *scores,
        "customers",
        *rate("customers", "total", CONFIDENCE_LEVEL)[:3],
        *_means(),
    )


def _migration(scored: pl.LazyFrame) -> pl.LazyFrame:
    """Customers per pair of segments, out of those in the previous one."""
    keys = ["dimension", "previous_segment", "rfm_segment"]
    moved = (
        scored.group_by("dimension", *NOW, *BEFORE)
        .agg(customers=pl.len())
        .group_by("dimension", previous_segment=_segment("previous_"), rfm_segment=_segment(""))
        .agg(pl.col("customers").sum())
    )
    return moved.with_columns(total=pl.col("customers").sum().over("dimension", "previous_segment")).select(
        *keys, "customers", *rate("customers", "total", CONFIDENCE_LEVEL)
    )
