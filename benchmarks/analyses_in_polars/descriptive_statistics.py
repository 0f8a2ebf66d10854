"""Descriptive statistics in plain polars: all its reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pandas as pd
import polars as pl

from benchmarks.analyses_in_polars.breakdown import (
    EVERY,
    Files,
    calendar,
    collected,
    period_number,
    rate,
    ratio,
    repeated,
    sessions,
)

CONFIDENCE_LEVEL = 0.95
PAYMENT_BINS_MIN = 5
PAYMENT_BINS_MAX = 50
ORDER_COUNT_MAX = 20
KEPT_DAYS = 730
KPI_PERIOD_DAYS = 7
ACTIVE_WINDOW_PERIODS = 1
JOURNEY_MAX_ORDERS = 10

UNITS = 10_000
OWN = ["dimension", "client_code"]
METRICS = ["orders", "revenue", "visitors", "buyers", "sessions", "conversion", "average_order_value", "discount"]
# 1, 2, 2.5 and 5 times a power of ten, in 1 / 10,000 of a unit of currency.
WIDTHS = sorted({step * 10**power // 10 for power in range(1, 19) for step in (10, 20, 25, 50)} - {2})
PER_CUSTOMER = {
    "sessions_per_customer": ("sessions", "customers"),
    "orders_per_customer": ("orders", "customers"),
    "orders_per_buyer": ("orders", "buyers"),
    "revenue_per_customer": ("revenue", "customers"),
    "average_order_value": ("revenue", "orders"),
}
COMING_AND_GOING = ("new_customers", "returning_customers", "resurrected_customers", "dormant_customers")


def reports(files: Files, dimensions: Sequence[str], as_of: date) -> dict[str, pd.DataFrame]:
    """The numbers of each report of `descriptive_statistics`."""
    names = ("kpis", "activity", "hour_of_day", "weekly_per_customer", "customer_lifecycle")
    more = ("payment_distribution", "customers_by_orders", "customer_journey")
    found: dict[str, list[pl.LazyFrame]] = {name: [] for name in (*names, *more)}
    known = pl.scan_parquet(list(files["customers"])).filter(pl.col("download_day") <= as_of)
    downloads = known.group_by("client_code").agg(pl.col("download_day", "download_date").min())
    amount = pl.col("discount_amount").cast(pl.Float64).fill_null(0)
    discount = pl.when("is_order").then(amount).otherwise(0.0)
    for part in repeated(sessions(files, as_of, dimensions).with_columns(discount=discount), dimensions):
        orders = part.filter("is_order")
        begun = part.group_by("dimension").agg(first_day=pl.col("session_day").min()).cache()
        for granularity in EVERY:
            periods = _periods(part, begun, granularity, as_of).cache()
            if granularity == "week":
                found["weekly_per_customer"].append(_per_customer(periods))
            if granularity == "day":
                periods = periods.filter(pl.col("period") > as_of - timedelta(days=KEPT_DAYS))
            found["activity"].append(_activity(periods))
            found["customer_lifecycle"].append(
                periods.select("dimension", "granularity", "period", "customers", *COMING_AND_GOING)
            )
        found["kpis"] += _kpis(part, begun, as_of)
        found["hour_of_day"].append(_hour_of_day(part, begun, as_of))
        found["payment_distribution"].append(_payment_distribution(orders))
        found["customers_by_orders"].append(_customers_by_orders(part))
        found["customer_journey"].append(_customer_journey(orders, downloads))
    return collected(found)


def _periods(part: pl.LazyFrame, begun: pl.LazyFrame, granularity: str, as_of: date) -> pl.LazyFrame:
    """Per period of the calendar: sums, distinct customers, and customers coming and going."""
    every = EVERY[granularity]
    per_client = part.group_by(*OWN, number=period_number("session_day", granularity)).agg(
        pl.len().alias("sessions"),
        pl.col("is_order").sum().alias("orders"),
        pl.col("amount").sum().alias("revenue"),
        pl.col("discount").sum(),
    )
    number = pl.col("number")
    since = number - number.shift(1).over(OWN, order_by="number")
    until = number.shift(-1).over(OWN, order_by="number") - number
    counted = (
        per_client.with_columns(since=since, until=until)
        .group_by("dimension", "number")
        .agg(
            pl.col("sessions", "orders").sum().cast(pl.Int64),
            pl.col("revenue", "discount").sum(),
            customers=pl.len(),
            buyers=(pl.col("orders") > 0).sum(),
            new_customers=pl.col("since").is_null().sum(),
            returning_customers=(pl.col("since") <= ACTIVE_WINDOW_PERIODS).sum(),
            resurrected_customers=(pl.col("since") > ACTIVE_WINDOW_PERIODS).sum(),
            leaving=(pl.col("until").is_null() | (pl.col("until") > ACTIVE_WINDOW_PERIODS)).sum(),
        )
        .cache()
    )
    dormant = counted.select("dimension", number=number + ACTIVE_WINDOW_PERIODS, dormant_customers="leaving")
    is_complete = pl.col("period").dt.offset_by(every) <= as_of + timedelta(days=1)
    return (
        calendar(begun, granularity, as_of)
        .with_columns(number=period_number("period", granularity))
        .join(counted.drop("leaving"), on=["dimension", "number"], how="left")
        .join(dormant, on=["dimension", "number"], how="left")
        .with_columns(pl.exclude("dimension", "period", "number").fill_null(0))
        .with_columns(granularity=pl.lit(granularity), is_complete=is_complete)
        .with_columns(dormant_customers=pl.when("is_complete").then("dormant_customers"))
    )


def _activity(periods: pl.LazyFrame) -> pl.LazyFrame:
    """Per period: counts, and orders out of sessions."""
    return periods.select(
        "dimension",
        "granularity",
        "period",
        "sessions",
        "orders",
        "revenue",
        "discount",
        "customers",
        "buyers",
        ratio(pl.col("revenue"), pl.col("orders")).alias("average_order_value"),
        *rate("orders", "sessions", CONFIDENCE_LEVEL, known=pl.col("is_complete")),
    )


def _per_customer(weeks: pl.LazyFrame) -> pl.LazyFrame:
    """Per week: means per customer, once the week is over."""
    means = {
        name: pl.when("is_complete").then(ratio(pl.col(above), pl.col(below)))
        for name, (above, below) in PER_CUSTOMER.items()
    }
    return weeks.select("dimension", "period", "customers", "buyers", **means)


def _hour_of_day(part: pl.LazyFrame, begun: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """24 rows: means per day, over all days since the first."""
    keys = ["dimension", "session_hour"]
    counted = part.group_by(keys).agg(
        sessions=pl.len(), orders=pl.col("is_order").sum(), revenue=pl.col("amount").sum()
    )
    active = part.select(*OWN, "session_day", "session_hour").unique().group_by(keys).agg(customers=pl.len())
    hours = pl.LazyFrame({"session_hour": range(24)}, schema={"session_hour": pl.Int8})
    totals = ("sessions", "orders", "revenue", "customers")
    days = (pl.lit(as_of) - pl.col("first_day")).dt.total_days() + 1
    return (
        begun.with_columns(n=days)
        .join(hours, how="cross")
        .join(counted, on=keys, how="left")
        .join(active, on=keys, how="left")
        .select(
            "dimension",
            "n",
            pl.col("session_hour").alias("hour_of_day"),
            *((pl.col(name).fill_null(0) / pl.col("n")).alias(f"{name}_per_day") for name in totals),
        )
    )


def _kpis(part: pl.LazyFrame, begun: pl.LazyFrame, as_of: date) -> list[pl.LazyFrame]:
    """Per KPI: its value in the KPI period, compared with the one before it, and its value of all time."""
    age = (pl.lit(as_of) - pl.col("session_day")).dt.total_days()
    compared = pl.col("first_day") <= as_of + timedelta(days=1 - 2 * KPI_PERIOD_DAYS)
    latest = _figures(part.filter(age < KPI_PERIOD_DAYS), begun)
    earlier = _figures(part.filter(age.is_between(KPI_PERIOD_DAYS, 2 * KPI_PERIOD_DAYS, closed="left")), begun)
    previous = earlier.select("dimension", "metric", previous_value=pl.when(compared).then("value"))
    change = ratio(pl.col("value") - pl.col("previous_value"), pl.col("previous_value").abs())
    nothing = pl.lit(None, pl.Float64)
    return [
        latest.join(previous, on=["dimension", "metric"])
        .with_columns(window=pl.lit(f"last {KPI_PERIOD_DAYS} days"), change_rate=change)
        .drop("first_day"),
        _figures(part, begun)
        .with_columns(window=pl.lit("all time"), previous_value=nothing, change_rate=nothing)
        .drop("first_day"),
    ]


def _figures(part: pl.LazyFrame, begun: pl.LazyFrame) -> pl.LazyFrame:
    """dimension, first_day, metric, value, numerator, denominator: the KPIs of these sessions."""
    summed = part.group_by("dimension").agg(
        pl.len().alias("sessions"),
        pl.col("is_order").sum().alias("orders"),
        pl.col("amount").sum().alias("revenue"),
        pl.col("discount").sum(),
        pl.col("client_code").n_unique().alias("visitors"),
        pl.col("client_code").filter("is_order").n_unique().alias("buyers"),
    )
    orders, of_sessions = pl.col("orders"), pl.col("sessions")
    long = (
        begun.join(summed, on="dimension", how="left")
        .with_columns(pl.exclude("dimension", "first_day").fill_null(0))
        .with_columns(
            conversion=ratio(orders, of_sessions),
            average_order_value=ratio(pl.col("revenue"), orders),
            numerator=orders,
            denominator=of_sessions,
        )
        .with_columns(pl.col(METRICS).cast(pl.Float64))
        .unpivot(
            METRICS,
            index=["dimension", "first_day", "numerator", "denominator"],
            variable_name="metric",
            value_name="value",
        )
    )
    return long.with_columns(pl.when(pl.col("metric") == "conversion").then(pl.col("numerator", "denominator")))


def _customers_by_orders(part: pl.LazyFrame) -> pl.LazyFrame:
    """Customers by their number of orders, from 0 to the largest that occurs."""
    keys = ["dimension", "order_count"]
    orders = pl.col("orders").cast(pl.Int64).clip(upper_bound=ORDER_COUNT_MAX)
    counted = (
        part.group_by(OWN)
        .agg(orders=pl.col("is_order").sum())
        .group_by("dimension", order_count=orders)
        .agg(customers=pl.len())
        .cache()
    )
    largest = counted.group_by("dimension").agg(pl.col("order_count").max())
    every = largest.with_columns(order_count=pl.int_ranges(0, pl.col("order_count") + 1)).explode("order_count")
    return (
        every.join(counted, on=keys, how="left")
        .with_columns(pl.col("customers").fill_null(0))
        .with_columns(total=pl.col("customers").sum().over("dimension"))
        .select(*keys, "customers", *rate("customers", "total", CONFIDENCE_LEVEL))
    )


def _payment_distribution(orders: pl.LazyFrame) -> pl.LazyFrame:
    """Orders per bin of their amount, empty bins included."""
    amounts = orders.select("dimension", amount=(pl.col("amount") * UNITS).round().cast(pl.Int64)).cache()
    edges = _edges(amounts).cache()
    start, width, bins, place = (pl.col(name) for name in ("start", "width", "bins", "bin"))
    number = pl.min_horizontal((pl.col("amount") - start) // width, bins)
    counted = amounts.join(edges, on="dimension").group_by("dimension", bin=number).agg(orders=pl.len()).cache()
    last = counted.group_by("dimension").agg(pl.col("bin").max())
    every = last.with_columns(bin=pl.int_ranges(0, place + 1)).explode("bin")
    return (
        every.join(counted, on=["dimension", "bin"], how="left")
        .join(edges, on="dimension")
        .with_columns(pl.col("orders").fill_null(0))
        .with_columns(total=pl.col("orders").sum().over("dimension"))
        .select(
            "dimension",
            "bin",
            ((start + place * width) / UNITS).alias("bin_start"),
            pl.when(place < bins).then((start + (place + 1) * width) / UNITS).alias("bin_end"),
            "orders",
            *rate("orders", "total", CONFIDENCE_LEVEL),
        )
    )


def _edges(amounts: pl.LazyFrame) -> pl.LazyFrame:
    """Per dimension: start, width and number of bins, by Freedman and Diaconis' rule, of the width that is round."""
    amount = pl.col("amount")
    low, high, width = pl.col("low"), pl.col("high"), pl.col("width")
    span = high - low
    wanted = (2 * (pl.col("three_quarters") - pl.col("quarter")) / pl.col("n").cast(pl.Float64) ** (1 / 3)).clip(
        span / PAYMENT_BINS_MAX, span / PAYMENT_BINS_MIN
    )
    narrowest = width.filter(width <= pl.col("wanted")).max().over("dimension").fill_null(WIDTHS[0])
    shapes = amounts.group_by("dimension").agg(
        n=pl.len(),
        low=amount.min(),
        quarter=amount.quantile(0.25, "linear"),
        three_quarters=amount.quantile(0.75, "linear"),
        high=amount.quantile(0.99, "linear"),
    )
    shape = shapes.cache()
    spread = (
        shape.filter(span > 0)
        .with_columns(wanted=wanted)
        .join(pl.LazyFrame({"width": WIDTHS}, schema={"width": pl.Int64}), how="cross")
        .filter(width >= narrowest)
        .with_columns(start=low // width * width)
        .with_columns(bins=((high - pl.col("start")) // width).cast(pl.Int64) + 1)
        .filter(pl.col("bins") <= PAYMENT_BINS_MAX)
        .group_by("dimension")
        .agg(pl.col("start", "width", "bins").sort_by("width").first())
    )
    equal = shape.filter(span <= 0).select(
        "dimension", start="low", width=pl.lit(UNITS, pl.Int64), bins=pl.lit(1, pl.Int64)
    )
    return pl.concat([spread, equal])


def _customer_journey(orders: pl.LazyFrame, downloads: pl.LazyFrame) -> pl.LazyFrame:
    """Per first, second, … order: customers, time since the step before, and amounts."""
    number, instant = pl.col("order_number"), pl.col("session_start_date")
    is_early = pl.col("session_day") < pl.col("download_day")
    since = pl.when(number > 1).then("before").when(~is_early).then("download_date")
    return (
        orders.sort(*OWN, "session_start_date", "id")
        .with_columns(order_number=pl.int_range(1, pl.len() + 1).over(OWN), before=instant.shift(1).over(OWN))
        .filter(number <= JOURNEY_MAX_ORDERS)
        .join(downloads, on="client_code", how="left")
        .with_columns(hours=(instant - since).dt.total_seconds().clip(0) / 3600)
        .group_by("dimension", "order_number")
        .agg(
            customers=pl.len(),
            n=pl.col("hours").count(),
            median_hours=pl.col("hours").median(),
            average_order_value=pl.col("amount").mean(),
            median_amount=pl.col("amount").median(),
        )
    )
