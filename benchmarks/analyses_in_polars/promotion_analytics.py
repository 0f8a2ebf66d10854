"""The reports of `promotion_analytics` in plain polars: organic and promoted orders, and what promotions brought."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pandas as pd
import polars as pl

from benchmarks.analyses_in_polars.breakdown import (
    OTHER,
    Files,
    calendar,
    collected,
    held,
    rate,
    ratio,
    repeated,
    sessions,
)
from benchmarks.analyses_peers import EVERY

CONFIDENCE_LEVEL = 0.95
KEPT_DAYS = 730
PROMOTIONS_KEPT = 50
DAILY_PROMOTIONS, DAILY_DAYS = 8, 90
REPEAT_DAYS = 30
GROSS_MARGIN = 0.3
CLIENT = ("dimension", "client_code")
MONEY_DECIMALS = 4


def reports(files: Files, dimensions: Sequence[str], as_of: date) -> dict[str, pd.DataFrame]:
    """Every report, without texts."""
    seen = sessions(files, as_of, dimensions)
    every = pl.concat(repeated(seen, dimensions))
    first_days, orders = held(
        every.group_by("dimension").agg(first_day=pl.col("session_day").min()), _orders(seen, dimensions)
    )
    promoted = orders.filter(pl.col("promotion_id").is_not_null())
    largest = _largest(promoted, PROMOTIONS_KEPT).with_columns(shown=pl.col("promotion_id"))
    named = promoted.join(largest, on=["dimension", "promotion_id"], how="left").with_columns(
        promotion_id=pl.col("shown").fill_null(OTHER)
    )
    kind = pl.when(pl.col("promotion_id").is_null()).then(pl.lit("organic")).otherwise(pl.lit("promoted"))
    return collected(
        {
            "order_kinds": [_measured(orders.with_columns(order_kind=kind), "order_kind", as_of)],
            "promoted_share": [_per_period(orders, first_days, granularity, as_of) for granularity in EVERY],
            "promoted_hours": [_per_hour(orders, first_days, as_of)],
            "promotions": [_measured(named, "promotion_id", as_of)],
            "promotion_days": [_per_day(orders, first_days, as_of)],
        }
    )


def _orders(seen: pl.LazyFrame, dimensions: Sequence[str]) -> pl.LazyFrame:
    """Orders, each client's in their sequence, with `is_first` and the days to the client's next (`gap`)."""
    promotion = pl.col("promotion_id")
    orders = (
        seen.filter("is_order")
        .with_columns(
            promotion_id=pl.when(promotion != "").then(promotion),
            discount=pl.col("discount_amount").cast(pl.Float64).fill_null(0),
            day=pl.col("session_day"),
            hour_of_day=pl.col("session_hour").cast(pl.Int64),
        )
        .sort("session_start_date", "id")
    )
    return (
        pl.concat(repeated(orders, dimensions))
        .select(*CLIENT, "promotion_id", "amount", "discount", "day", "hour_of_day")
        .with_columns(
            is_first=pl.int_range(pl.len()).over(CLIENT) == 0,
            gap=(pl.col("day").shift(-1).over(CLIENT) - pl.col("day")).dt.total_days(),
        )
    )


def _largest(promoted: pl.LazyFrame, most: int) -> pl.LazyFrame:
    """dimension, promotion_id: those with most orders, ties by revenue, then by name."""
    totals = promoted.group_by("dimension", "promotion_id").agg(
        orders=pl.len(), revenue=pl.col("amount").sum().round(MONEY_DECIMALS)
    )
    ordered = totals.sort("orders", "revenue", "promotion_id", descending=[True, True, False])
    return ordered.group_by("dimension").head(most).select("dimension", "promotion_id")


def _measured(orders: pl.LazyFrame, group: str, as_of: date) -> pl.LazyFrame:
    """One row per dimension value and group: sums, customers, first orders, and who came back."""
    per_customer = orders.group_by(*CLIENT, group).agg(
        orders=pl.len(),
        first_orders=pl.col("is_first").sum(),
        revenue=pl.col("amount").sum(),
        discount=pl.col("discount").sum(),
        first_used=pl.col("day").min(),
        last_used=pl.col("day").max(),
        gap=pl.col("gap").first(),
    )
    is_over = pl.col("first_used") <= as_of - timedelta(days=REPEAT_DAYS)
    counted = per_customer.group_by("dimension", group).agg(
        pl.col("orders", "first_orders", "revenue", "discount").sum(),
        pl.col("first_used").min(),
        pl.col("last_used").max(),
        customers=pl.len(),
        observed_customers=is_over.sum(),
        repeat_customers=(is_over & (pl.col("gap") <= REPEAT_DAYS)).sum(),
    )
    value = pl.col("revenue") + pl.col("discount")
    depth = pl.when(value > 0).then(pl.col("discount") / value)
    _, _, first_rate, first_low, first_high = rate("first_orders", "orders", CONFIDENCE_LEVEL)
    return counted.with_columns(
        *rate("repeat_customers", "observed_customers", CONFIDENCE_LEVEL),
        discount_depth=depth,
        average_order_value=ratio(pl.col("revenue"), pl.col("orders")),
        kind_orders_per_customer=ratio(pl.col("orders"), pl.col("customers")),
        first_order_rate=first_rate,
        first_order_ci_low=first_low,
        first_order_ci_high=first_high,
        censored_customers=pl.col("customers") - pl.col("observed_customers"),
        break_even_rate=depth / GROSS_MARGIN,
        break_even_orders=depth / GROSS_MARGIN * pl.col("orders"),
    ).drop("observed_customers", "repeat_customers")


def _sums() -> dict[str, pl.Expr]:
    """Orders and money of both kinds."""
    is_promoted = pl.col("promotion_id").is_not_null()
    return {
        "orders": pl.len(),
        "promoted_orders": is_promoted.sum(),
        "revenue": pl.col("amount").sum(),
        "promoted_revenue": pl.col("amount").filter(is_promoted).sum(),
        "discount": pl.col("discount").sum(),
        "promoted_discount": pl.col("discount").filter(is_promoted).sum(),
    }


def _per_period(orders: pl.LazyFrame, first_days: pl.LazyFrame, granularity: str, as_of: date) -> pl.LazyFrame:
    """One row per dimension value and period since the first session; of the days the newest."""
    every, sums = EVERY[granularity], _sums()
    counted = orders.group_by("dimension", period=pl.col("day").dt.truncate(every)).agg(**sums)
    full = calendar(first_days, granularity, as_of)
    if granularity == "day":
        full = full.filter(pl.col("period") > as_of - timedelta(days=KEPT_DAYS))
    return (
        full.join(counted, on=["dimension", "period"], how="left")
        .with_columns(
            pl.col(list(sums)).fill_null(0),
            granularity=pl.lit(granularity),
            is_complete=pl.col("period").dt.offset_by(every) <= as_of + timedelta(days=1),
        )
        .with_columns(
            *rate("promoted_orders", "orders", CONFIDENCE_LEVEL, known=pl.col("is_complete")),
            organic_orders=pl.col("orders") - pl.col("promoted_orders"),
        )
    )


def _per_hour(orders: pl.LazyFrame, first_days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """24 rows per dimension value."""
    sums = _sums()
    hours = first_days.select(
        "dimension", hour_of_day=pl.int_ranges(0, 24), n=(pl.lit(as_of) - pl.col("first_day")).dt.total_days() + 1
    ).explode("hour_of_day")
    counted = orders.group_by("dimension", "hour_of_day").agg(**sums)
    return (
        hours.join(counted, on=["dimension", "hour_of_day"], how="left")
        .with_columns(pl.col(list(sums)).fill_null(0))
        .with_columns(organic_orders=pl.col("orders") - pl.col("promoted_orders"))
        .with_columns(
            *rate("promoted_orders", "orders", CONFIDENCE_LEVEL),
            organic_orders_per_day=ratio(pl.col("organic_orders"), pl.col("n")),
            promoted_orders_per_day=ratio(pl.col("promoted_orders"), pl.col("n")),
        )
    )


def _per_day(orders: pl.LazyFrame, first_days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """One row per dimension value, promotion and day, for the promotions with most orders in these days."""
    recent = orders.filter(pl.col("day") > as_of - timedelta(days=DAILY_DAYS))
    promoted = recent.filter(pl.col("promotion_id").is_not_null())
    counted = promoted.group_by("dimension", "promotion_id", "day").agg(
        orders=pl.len(),
        customers=pl.col("client_code").n_unique(),
        revenue=pl.col("amount").sum(),
        discount=pl.col("discount").sum(),
    )
    of_day = recent.group_by("dimension", "day").agg(all_orders=pl.len())
    start = pl.max_horizontal("first_day", pl.lit(as_of - timedelta(days=DAILY_DAYS - 1)))
    return (
        _largest(promoted, DAILY_PROMOTIONS)
        .join(first_days, on="dimension")
        .select("dimension", "promotion_id", day=pl.date_ranges(start, pl.lit(as_of)))
        .explode("day")
        .join(counted, on=["dimension", "promotion_id", "day"], how="left")
        .join(of_day, on=["dimension", "day"], how="left")
        .with_columns(pl.col("orders", "customers", "revenue", "discount", "all_orders").fill_null(0))
        .with_columns(
            *rate("orders", "all_orders", CONFIDENCE_LEVEL),
            granularity=pl.lit("day"),
            period=pl.col("day"),
            is_complete=pl.lit(True),
        )
    )
