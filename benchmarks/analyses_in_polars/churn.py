"""Churn in plain polars: all its reports but those of the purchase model.

P(alive) needs a model to be fitted, which the family `machine_learning` measures. So there is neither the report
`probability_alive` nor the field `mean_probability_alive` of `overdue`, which flatters this peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from statistics import NormalDist

import pandas as pd
import polars as pl

from benchmarks.analyses_in_polars.breakdown import (
    EVERY,
    Files,
    calendar,
    collected,
    period_number,
    rate,
    repeated,
    sessions,
)

CONFIDENCE_LEVEL = 0.95
GAP_MAX_DAYS = 182
GAP_STEP_DAYS = 7
COHORTS_KEPT = 12
OVERDUE_FACTOR = 2.0

WINDOWS = ("week", "month")
ACTIVITIES = ("session", "order")
CURVE = ["dimension", "acquisition"]
OWN = ["dimension", "client_code"]
ALMOST = 1e-12
ON_TIME, OVERDUE, NOT_KNOWN = "on time", "overdue", "not known"


def reports(files: Files, dimensions: Sequence[str], as_of: date) -> dict[str, pd.DataFrame]:
    """The numbers of each report of `churn` that needs no model."""
    found: dict[str, list[pl.LazyFrame]] = {
        name: [] for name in ("window_churn", "gap_survival", "usual_gaps", "overdue")
    }
    for part in repeated(sessions(files, as_of, dimensions), dimensions):
        orders = part.filter("is_order")
        for activity, active in zip(ACTIVITIES, (part, orders), strict=True):
            found["window_churn"] += [_window(active, activity, granularity, as_of) for granularity in WINDOWS]
        days = orders.select(*OWN, day="session_day").unique().cache()
        gaps = _by_acquisition(_gaps(days, as_of)).cache()
        curve = _curve(gaps).cache()
        usual = _usual_gaps(curve, gaps).cache()
        found["gap_survival"].append(_on_grid(curve, gaps))
        found["usual_gaps"].append(usual)
        found["overdue"].append(_overdue(days, usual, as_of))
    return collected(found)


def _window(active: pl.LazyFrame, activity: str, granularity: str, as_of: date) -> pl.LazyFrame:
    """Per period after the first: active in the one before, and of those active again or not."""
    every = EVERY[granularity]
    number = period_number("session_day", granularity)
    seen = active.select(*OWN, period=pl.col("session_day").dt.truncate(every), number=number).unique()
    following = pl.col("number").shift(-1).over(OWN, order_by="number")
    counted = (
        seen.with_columns(stays=(following == pl.col("number") + 1).fill_null(False))
        .group_by("dimension", "period")
        .agg(previous_customers=pl.len().cast(pl.Int64), retained_customers=pl.col("stays").sum().cast(pl.Int64))
        .with_columns(period=pl.col("period").dt.offset_by(every))
        .cache()
    )
    begun = counted.group_by("dimension").agg(first_day=pl.col("period").min())
    is_complete = pl.col("period").dt.offset_by(every) <= as_of + timedelta(days=1)
    lost = pl.col("previous_customers") - pl.col("retained_customers")
    return (
        calendar(begun, granularity, as_of)
        .join(counted, on=["dimension", "period"], how="left")
        .with_columns(pl.col("previous_customers", "retained_customers").fill_null(0))
        .with_columns(lost_customers=pl.when(is_complete).then(lost))
        .with_columns(
            pl.lit(activity).alias("activity"),
            pl.lit(granularity).alias("granularity"),
            *rate("lost_customers", "previous_customers", CONFIDENCE_LEVEL, known=is_complete),
        )
    )


def _gaps(days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Order days per month of the first order and days to the next one, or to `as_of`: how many, how many with one."""
    following = pl.col("following")
    return (
        days.with_columns(
            following=pl.col("day").shift(-1).over(OWN, order_by="day"),
            cohort=pl.col("day").min().over(OWN).dt.truncate("1mo"),
        )
        .group_by("dimension", "cohort", gap=(following.fill_null(as_of) - pl.col("day")).dt.total_days())
        .agg(number=pl.len().cast(pl.Int64), events=following.count().cast(pl.Int64))
    )


def _by_acquisition(gaps: pl.LazyFrame) -> pl.LazyFrame:
    """The gaps of all and of the newest months, with those that last as long or longer."""
    gaps = gaps.cache()
    of_all = gaps.with_columns(acquisition=pl.lit("all"))
    newest = pl.col("cohort").rank("dense", descending=True).over("dimension") <= COHORTS_KEPT
    own = gaps.filter(newest).with_columns(acquisition=pl.col("cohort").dt.strftime("%Y-%m"))
    return (
        pl.concat([of_all, own])
        .group_by(*CURVE, "gap")
        .agg(pl.col("number", "events").sum())
        .sort(*CURVE, "gap")
        .with_columns(at_risk=pl.col("number").cum_sum(reverse=True).over(CURVE))
    )


def _curve(gaps: pl.LazyFrame) -> pl.LazyFrame:
    """The Kaplan-Meier curve at each gap that ended, with its band and Greenwood's variance of its logarithm."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    events, at_risk = (pl.col(name).cast(pl.Float64) for name in ("events", "at_risk"))
    survival, variance = pl.col("survival"), pl.col("log_variance")
    is_inside = (survival > 0) & (survival < 1)
    width = z * variance.sqrt() / -survival.log()
    return (
        gaps.filter(pl.col("events") > 0)
        .with_columns(
            survival=(1 - events / at_risk).cum_prod().over(CURVE),
            log_variance=(events / (at_risk * (at_risk - events))).cum_sum().over(CURVE),
            so_far=pl.col("events").cum_sum().over(CURVE),
        )
        .with_columns(
            ci_low=pl.when(is_inside).then(survival ** width.exp()).otherwise(survival),
            ci_high=pl.when(is_inside).then(survival ** (-width).exp()).otherwise(survival),
        )
    )


def _on_grid(curve: pl.LazyFrame, gaps: pl.LazyFrame) -> pl.LazyFrame:
    """The curve every GAP_STEP_DAYS, for as long as anybody was observed."""
    grid = pl.LazyFrame({"days": range(0, GAP_MAX_DAYS + 1, GAP_STEP_DAYS)}, schema={"days": pl.Int64})
    points = (
        gaps.group_by(CURVE)
        .agg(n=pl.col("number").sum(), last=pl.col("gap").max())
        .join(grid, how="cross")
        .filter(pl.col("days") <= pl.col("last"))
        .sort(*CURVE, "days")
    )
    shown = curve.select(*CURVE, "gap", "survival", "ci_low", "ci_high", events="so_far")
    waiting = gaps.select(*CURVE, "gap", "at_risk")
    return (
        points.join_asof(shown, left_on="days", right_on="gap", by=CURVE, check_sortedness=False)
        .join_asof(waiting, left_on="days", right_on="gap", by=CURVE, strategy="forward", check_sortedness=False)
        .select(
            *CURVE,
            "days",
            pl.col("survival", "ci_low", "ci_high").fill_null(1.0),
            "at_risk",
            pl.col("events").fill_null(0),
            "n",
        )
    )


def _usual_gaps(curve: pl.LazyFrame, gaps: pl.LazyFrame) -> pl.LazyFrame:
    """Per curve its median and the median of the gaps that ended, each with its interval."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    now, variance = pl.col("survival"), pl.col("log_variance")
    last, last_variance = pl.col("last"), pl.col("last_variance")
    later = pl.when(now > 0).then(last / now).otherwise(0.0)
    before = pl.when(now > 0).then(now**2 * variance).otherwise(0.0)
    after = now**2 * (1 - now) ** 2 * later**2 * (last_variance - variance)
    spread = pl.when(last > 0).then(((1 - later) ** 2 * before + after) / (1 - last) ** 4).otherwise(before)
    share, half = pl.col("share"), z * pl.col("spread").clip(0).sqrt()

    def first(reached: pl.Expr) -> pl.Expr:
        return pl.col("gap").filter(reached).min().cast(pl.Float64)

    medians = (
        curve.with_columns(last=now.min().over(CURVE), last_variance=variance.max().over(CURVE))
        .with_columns(share=(1 - now) / (1 - last), spread=spread)
        .group_by(CURVE)
        .agg(
            events=pl.col("events").sum(),
            median_gap_days=first(now <= 0.5 + ALMOST),
            median_gap_low_days=first(pl.col("ci_low") <= 0.5 + ALMOST),
            median_gap_high_days=first(pl.col("ci_high") <= 0.5 + ALMOST),
            usual_gap_days=first(share >= 0.5 - ALMOST),
            usual_gap_low_days=first(share + half >= 0.5),
            usual_gap_high_days=first(share - half >= 0.5),
        )
    )
    observed = gaps.group_by(CURVE).agg(n=pl.col("number").sum())
    return observed.join(medians, on=CURVE, how="left").with_columns(pl.col("events").fill_null(0))


def _overdue(days: pl.LazyFrame, usual: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Customers by whether they have been away longer than OVERDUE_FACTOR of their expected gaps."""
    first, last, orders = pl.col("day").min(), pl.col("day").max(), pl.len()
    expected, since = pl.col("expected"), pl.col("since")
    of_all = usual.filter(pl.col("acquisition") == "all").select("dimension", "usual_gap_days")
    status = pl.when(expected.is_null()).then(pl.lit(NOT_KNOWN)).when(since > OVERDUE_FACTOR * expected)
    counted = (
        days.group_by(OWN)
        .agg(
            orders=orders,
            span=(last - first).dt.total_days(),
            since=(pl.lit(as_of) - last).dt.total_days(),
        )
        .join(of_all, on="dimension")
        .with_columns(expected=(pl.col("usual_gap_days") + pl.col("span")) / pl.col("orders"))
        .group_by("dimension", status=status.then(pl.lit(OVERDUE)).otherwise(pl.lit(ON_TIME)))
        .agg(
            customers=pl.len().cast(pl.Int64),
            mean_days_since_order=since.mean(),
            mean_expected_gap_days=expected.mean(),
        )
    )
    statuses = pl.LazyFrame({"status": [ON_TIME, OVERDUE, NOT_KNOWN]})
    return (
        of_all.select("dimension")
        .join(statuses, how="cross")
        .join(counted, on=["dimension", "status"], how="left")
        .with_columns(pl.col("customers").fill_null(0))
        .filter((pl.col("status") != NOT_KNOWN) | (pl.col("customers") > 0))
        .with_columns(total=pl.col("customers").sum().over("dimension"))
        .with_columns(rate("customers", "total", CONFIDENCE_LEVEL))
    )
