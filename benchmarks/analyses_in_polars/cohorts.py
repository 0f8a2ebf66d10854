"""The reports of `cohorts` in plain polars: steps between orders, retention, revenue, and their averages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pandas as pd
import polars as pl

from benchmarks.analyses_in_polars.breakdown import (
    Files,
    collected,
    held,
    period_number,
    rate,
    ratio,
    repeated,
    sessions,
)
from benchmarks.analyses_in_polars.customers import by_first_session, customers

CONFIDENCE_LEVEL = 0.95
MAX_OFFSET_DAYS, MAX_OFFSET_WEEKS, MAX_OFFSET_MONTHS = 15, 15, 24
KEPT_DAYS, KEPT_WEEKS, KEPT_MONTHS = 30, 26, 24
MAX_OFFSETS = {"day": MAX_OFFSET_DAYS, "week": MAX_OFFSET_WEEKS, "month": MAX_OFFSET_MONTHS}
KEPT = {"day": KEPT_DAYS, "week": KEPT_WEEKS, "month": KEPT_MONTHS}
RECENT = 15
STEPS = ("download_to_first_order", "first_to_second", "second_to_third", "third_to_fourth")
CLIENT = ("dimension", "client_code")
COHORT = ("dimension", "step", "cohort")
CELL = ("dimension", "granularity", "period", "offset", "cohort_customers")
NEWNESS = ("is_complete", "is_recent")


def reports(files: Files, dimensions: Sequence[str], as_of: date) -> dict[str, pd.DataFrame]:
    """Every report, without texts."""
    seen = sessions(files, as_of, dimensions)
    known, visits = held(
        by_first_session(customers(files, as_of), seen, dimensions),
        pl.concat(repeated(seen, dimensions)).select(
            *CLIENT, "session_day", "session_start_date", "id", "is_order", "amount"
        ),
    )
    (since_download,) = held(visits.join(known, on=CLIENT).filter(pl.col("session_day") >= pl.col("download_day")))
    (made,) = held(_transitions(visits, since_download, known))
    steps = held(*(_step_cells(made, granularity, as_of) for granularity in ("day", "week")))
    returns = held(*(_return_cells(since_download, known, granularity, as_of) for granularity in MAX_OFFSETS))
    of_steps = {name: [one.filter(pl.col("step") == place) for one in steps] for place, name in enumerate(STEPS)}

    curves = [
        *(_average(one, "customers", name) for name, parts in of_steps.items() for one in parts),
        *(_average(one, "customers", "retention, n-day") for one in returns),
        *(_average(one, "unbounded_customers", "retention, unbounded") for one in returns),
    ]
    paid = [_average(one, "cumulative_revenue", "").rename({"customers": "cumulative_revenue"}) for one in returns]
    rates = rate("customers", "cohort_customers", CONFIDENCE_LEVEL, known=pl.col("is_complete"))
    unbounded = ratio(pl.col("unbounded_customers"), pl.col("cohort_customers"))
    value = ratio(pl.col("cumulative_revenue"), pl.col("cohort_customers"))
    kept = [one.filter("is_kept") for one in returns]
    return collected(
        {
            "average_curves": [
                one.with_columns(rate("customers", "cohort_customers", CONFIDENCE_LEVEL)) for one in curves
            ],
            "average_revenue": [one.drop("curve").with_columns(cumulative_revenue_per_customer=value) for one in paid],
            **{
                name: [one.filter("is_kept").select(*CELL, "customers", *NEWNESS, *rates) for one in parts]
                for name, parts in of_steps.items()
            },
            "retention": [
                one.select(
                    *(*CELL, "customers", "unbounded_customers", *NEWNESS, *rates),
                    unbounded_rate=pl.when("is_complete").then(unbounded),
                )
                for one in kept
            ],
            "revenue": [
                one.select(
                    *(*CELL, "orders", "revenue", "cumulative_revenue", *NEWNESS),
                    cumulative_revenue_per_customer=pl.when("is_complete").then(value),
                )
                for one in kept
            ],
        }
    )


def _transitions(visits: pl.LazyFrame, since_download: pl.LazyFrame, known: pl.LazyFrame) -> pl.LazyFrame:
    """dimension, step, since, until: from the download to the first order, and from order to order."""
    orders = visits.filter("is_order").sort("session_start_date", "id")
    further = orders.select(
        "dimension",
        step=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(CLIENT),
        since=pl.col("session_day"),
        until=pl.col("session_day").shift(-1).over(CLIENT),
    ).filter(pl.col("step") < len(STEPS))
    first = since_download.filter("is_order").group_by(CLIENT).agg(until=pl.col("session_day").min())
    downloads = known.join(first, on=CLIENT, how="left").select(
        "dimension", step=pl.lit(0, pl.Int64), since=pl.col("download_day"), until=pl.col("until")
    )
    return pl.concat([downloads, further])


def _step_cells(made: pl.LazyFrame, granularity: str, as_of: date) -> pl.LazyFrame:
    numbered = made.select("dimension", "step", cohort=_number("since", granularity), offset=_between(granularity))
    counted = numbered.group_by(*COHORT, "offset").agg(customers=pl.len())
    sizes = counted.group_by(COHORT).agg(cohort_customers=pl.col("customers").sum())
    grid = _grid(sizes, granularity, as_of)
    return grid.join(counted, on=[*COHORT, "offset"], how="left").with_columns(pl.col("customers").fill_null(0))


def _return_cells(since_download: pl.LazyFrame, known: pl.LazyFrame, granularity: str, as_of: date) -> pl.LazyFrame:
    step = pl.lit(0, pl.Int64)
    sizes = known.group_by("dimension", step=step, cohort=_number("download_day", granularity)).agg(
        cohort_customers=pl.len()
    )
    renamed = since_download.rename({"download_day": "since", "session_day": "until"})
    active = (
        renamed.with_columns(step=step, cohort=_number("since", granularity), offset=_between(granularity))
        .filter(pl.col("offset") <= MAX_OFFSETS[granularity])
        .group_by(*COHORT, "offset")
        .agg(
            customers=pl.col("client_code").n_unique(),
            orders=pl.col("is_order").sum(),
            revenue=pl.col("amount").sum(),
        )
    )
    newest = renamed.group_by(CLIENT).agg(pl.col("since").first(), pl.col("until").max())
    last_seen = (
        newest.with_columns(step=step, cohort=_number("since", granularity), offset=_between(granularity))
        .group_by(*COHORT, pl.col("offset").clip(upper_bound=MAX_OFFSETS[granularity]))
        .agg(unbounded_customers=pl.len())
    )
    cell = [*COHORT, "offset"]
    grid = _grid(sizes, granularity, as_of).join(active, on=cell, how="left").join(last_seen, on=cell, how="left")
    return (
        grid.with_columns(pl.col("customers", "orders", "revenue", "unbounded_customers").fill_null(0))
        .sort(cell)
        .with_columns(
            unbounded_customers=pl.col("unbounded_customers").cum_sum(reverse=True).over(COHORT),
            cumulative_revenue=pl.col("revenue").cum_sum().over(COHORT),
        )
    )


def _grid(sizes: pl.LazyFrame, granularity: str, as_of: date) -> pl.LazyFrame:
    """Every cohort from the first to the newest with customers, at every offset that has begun."""
    spans = sizes.group_by("dimension", "step").agg(
        oldest=pl.col("cohort").min(), newest=pl.col("cohort").max(), as_of=pl.lit(as_of)
    )
    cohort, begun = pl.col("cohort"), _number("as_of", granularity) - pl.col("cohort")
    age = pl.col("newest") - cohort
    return (
        spans.with_columns(cohort=pl.int_ranges("oldest", pl.col("newest") + 1))
        .explode("cohort")
        .with_columns(offset=pl.int_ranges(0, begun.clip(upper_bound=MAX_OFFSETS[granularity]) + 1))
        .explode("offset")
        .join(sizes, on=COHORT, how="left")
        .with_columns(
            pl.col("cohort_customers").fill_null(0),
            granularity=pl.lit(granularity),
            period=_first_day(cohort, granularity),
            is_complete=_first_day(cohort + pl.col("offset") + 1, granularity) <= as_of + timedelta(days=1),
            is_recent=age < RECENT,
            is_kept=age < KEPT[granularity],
        )
    )


def _average(cells: pl.LazyFrame, measure: str, curve: str) -> pl.LazyFrame:
    """Sums over the complete cells of all cohorts, `measure` as `customers`, and the number of cohorts `n`."""
    return (
        cells.filter(pl.col("is_complete") & (pl.col("cohort_customers") > 0))
        .group_by("dimension", "granularity", "offset")
        .agg(customers=pl.col(measure).sum(), cohort_customers=pl.col("cohort_customers").sum(), n=pl.len())
        .with_columns(curve=pl.lit(curve))
    )


def _number(column: str, granularity: str) -> pl.Expr:
    return period_number(column, granularity).cast(pl.Int64)


def _between(granularity: str) -> pl.Expr:
    return _number("until", granularity) - _number("since", granularity)


def _first_day(number: pl.Expr, granularity: str) -> pl.Expr:
    """The first day of a period by its number."""
    if granularity == "month":
        return pl.date((number - 1) // 12, (number - 1) % 12 + 1, 1)
    return (number if granularity == "day" else number * 7 - 3).cast(pl.Int32).cast(pl.Date)
