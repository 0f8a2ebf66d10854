"""What the reports share: the rows per dimension value, calendars, rates with their interval, and the collecting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from statistics import NormalDist

import pandas as pd
import polars as pl

from benchmarks.analyses_peers import EVERY, Files, label, period_number

__all__ = ["EVERY", "Files", "calendar", "collected", "label", "period_number", "rate", "ratio", "repeated", "sessions"]

TOP_VALUES = 25
OTHER = "(other)"


def sessions(files: Files, as_of: date, dimensions: Sequence[str]) -> pl.LazyFrame:
    """The sessions up to `as_of`, with `is_order`, and `amount` (currency): zero where it is unknown or no order.

    Of each dimension column the values with the most sessions stay, ties by name; the others are OTHER.
    """
    seen = pl.scan_parquet(list(files["sessions"])).filter(pl.col("session_day") <= as_of)
    columns = [f"dimension_{name}" for name in dimensions]
    largest = pl.collect_all(
        [
            seen.drop_nulls(column)
            .group_by(column)
            .len()
            .sort("len", column, descending=[True, False])
            .head(TOP_VALUES)
            .select(column)
            for column in columns
        ]
    )
    folded = [
        pl.when(pl.col(column).is_in(top[column].to_list()) | pl.col(column).is_null())
        .then(column)
        .otherwise(pl.lit(OTHER))
        .alias(column)
        for column, top in zip(columns, largest, strict=True)
    ]
    is_order = pl.col("has_purchased").fill_null(False)
    amount = pl.col("payment_amount").cast(pl.Float64).fill_null(0)
    return seen.with_columns(*folded, is_order=is_order, amount=pl.when(is_order).then(amount).otherwise(0.0))


def repeated(frame: pl.LazyFrame, dimensions: Iterable[str]) -> list[pl.LazyFrame]:
    """The rows with their label in `dimension`: one frame for `all`, and one per dimension column.

    They are cached by hand, and so is what several reports use: each use reads other columns, and polars shares only
    plans that are equal after it left out the columns that are not read.
    """
    return [frame.with_columns(dimension=label(name).cast(pl.Categorical)).cache() for name in (None, *dimensions)]


def calendar(first_days: pl.LazyFrame, granularity: str, as_of: date) -> pl.LazyFrame:
    """dimension, first_day  ->  dimension, period: every period from that of `first_day` to that of `as_of`."""
    every = EVERY[granularity]
    begin = pl.col("first_day").dt.truncate(every)
    return (
        first_days.select("dimension", period=pl.date_ranges(begin, pl.lit(as_of), every))
        .explode("period")
        .drop_nulls("period")
    )


def ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """numerator / denominator, missing where the denominator is zero."""
    return pl.when(denominator != 0).then(numerator / denominator)


def rate(numerator: str, denominator: str, confidence_level: float, *, known: pl.Expr | bool = True) -> list[pl.Expr]:
    """numerator, denominator, rate, ci_low and ci_high (Wilson's interval); the last three only where `known`."""
    z = NormalDist().inv_cdf((1 + confidence_level) / 2)
    above, n = pl.col(numerator), pl.col(denominator).cast(pl.Float64)
    share = ratio(above, n)
    within = pl.when((share >= 0) & (share <= 1)).then(share)
    centre = (within + z * z / (2 * n)) / (1 + z * z / n)
    half = z * (within * (1 - within) / n + z * z / (4 * n * n)).sqrt() / (1 + z * z / n)
    low = pl.when(within == 0).then(0.0).otherwise((centre - half).clip(0, 1))
    high = pl.when(within == 1).then(1.0).otherwise((centre + half).clip(0, 1))
    shown = {"rate": share, "ci_low": low, "ci_high": high}
    return [
        above.alias("numerator"),
        n.alias("denominator"),
        *(pl.when(known).then(expression).alias(name) for name, expression in shown.items()),
    ]


def collected(reports: Mapping[str, Sequence[pl.LazyFrame]]) -> dict[str, pd.DataFrame]:
    """The rows of each report, of which the parts are given: all of them are computed at once, shared ones once."""
    frames = iter(pl.collect_all([part for parts in reports.values() for part in parts]))
    return {
        name: pl.concat([next(frames) for _ in parts], how="diagonal_relaxed").to_pandas()
        for name, parts in reports.items()
    }


def held(*frames: pl.LazyFrame) -> list[pl.LazyFrame]:
    """The frames, computed: what many reports go on from is not computed once for each of them."""
    return [frame.lazy() for frame in pl.collect_all(frames)]
