"""The reports of `funnels` in plain polars: sessions and customers per step, conversion, and the time it takes.

The steps are the action columns of the shop: those of the sessions say whether, those of the customers say when. Other
kinds of columns, windows between two steps, and time zones other than UTC would take more code.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from statistics import NormalDist

import pandas as pd
import polars as pl

from benchmarks.analyses_in_polars.breakdown import Files, calendar, collected, held, rate, ratio, repeated, sessions
from benchmarks.analyses_in_polars.customers import by_first_session, customers
from benchmarks.analyses_peers import EVERY

CONFIDENCE_LEVEL = 0.95
WINDOW_DAYS = 30
KEPT_DAYS = 180
SESSION_COLUMNS = ("action_viewed_product", "action_added_to_basket", "action_began_checkout")
CUSTOMER_COLUMNS = ("signup_date", "action_email_confirmed")
SESSION_STEPS = ("session", "viewed_product", "added_to_basket", "began_checkout", "purchase")
CUSTOMER_STEPS = ("download", "signup", "email_confirmed", "first_session", "first_order")
STEP = ("dimension", "step_number")
IN_TIME = ("dimension", "granularity", "period", "hour_of_day", "is_complete", "n")
HALF = 0.5
ROUNDING = 1e-12


def reports(files: Files, dimensions: Sequence[str], as_of: date) -> dict[str, pd.DataFrame]:
    """Every report, without texts."""
    seen = sessions(files, as_of, dimensions)
    (journey,) = held(by_first_session(_journeys(files, seen, as_of), seen, dimensions))
    visits = pl.concat(repeated(_depths(seen), dimensions))
    until = as_of - timedelta(days=WINDOW_DAYS)
    return collected(
        {
            "session_funnel": _per_period(visits, SESSION_STEPS, "sessions", as_of, as_of),
            "customer_funnel": _per_period(journey, CUSTOMER_STEPS, "customers", as_of, until),
            "conversion": [_conversion(journey, as_of, until)],
        }
    )


def _depths(seen: pl.LazyFrame) -> pl.LazyFrame:
    """The sessions with `did_<number>` of each step, and `depth`: the steps made in order."""
    did = [pl.lit(True), *(pl.col(name).fill_null(False) for name in SESSION_COLUMNS), pl.col("is_order")]
    return seen.with_columns(
        day=pl.col("session_day"),
        hour=pl.col("session_hour").cast(pl.Int64),
        depth=_depth(did),
        in_progress=pl.lit(False),
        **{f"did_{number}": one for number, one in enumerate(did, start=1)},
    )


def _depth(made: Sequence[pl.Expr]) -> pl.Expr:
    """How many of the conditions hold before the first that does not."""
    so_far, reached = pl.lit(True), []
    for one in made:
        so_far = so_far & one
        reached.append(so_far.cast(pl.Int64))
    return pl.sum_horizontal(reached)


def _journeys(files: Files, seen: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """One row per customer: day and hour of the download, `at_<number>` of each step made in order and in time, …"""
    known = customers(files, as_of, "download_date", *CUSTOMER_COLUMNS).rename({"download_day": "day"})
    deadline = pl.col("day") + pl.duration(days=WINDOW_DAYS)
    known = known.with_columns(at_1=pl.col("download_date"), did_1=pl.lit(True))
    for number, name in enumerate(CUSTOMER_COLUMNS, start=2):
        at, before = pl.col(name), pl.col(f"at_{number - 1}")
        did = (at.dt.date() <= as_of).fill_null(False)
        made = did & (at >= before) & (at.dt.date() <= deadline)
        known = known.with_columns(pl.when(made).then(at).alias(f"at_{number}"), did.alias(f"did_{number}"))
    last = len(CUSTOMER_COLUMNS) + 1
    at, is_order = pl.col("session_start_date"), pl.col("is_order")
    is_after = at >= pl.col("since")
    found = (
        seen.join(known.select("client_code", since=f"at_{last}"), on="client_code")
        .group_by("client_code")
        .agg(
            pl.lit(True).alias(f"did_{last + 1}"),
            is_order.any().alias(f"did_{last + 2}"),
            session_at=at.filter(is_after).min(),
            session_day=pl.col("session_day").filter(is_after).min(),
            order_at=at.filter(is_after & is_order).min(),
            order_day=pl.col("session_day").filter(is_after & is_order).min(),
        )
    )
    session_at = pl.when(pl.col("session_day") <= deadline).then("session_at")
    order_at = pl.when((pl.col("order_day") <= deadline) & session_at.is_not_null()).then("order_at")
    steps = len(CUSTOMER_STEPS)
    return (
        known.join(found, on="client_code", how="left")
        .with_columns(session_at.alias(f"at_{last + 1}"), order_at.alias(f"at_{last + 2}"))
        .with_columns(
            pl.col(f"did_{last + 1}", f"did_{last + 2}").fill_null(False),
            hour=pl.col("download_date").dt.hour().cast(pl.Int64),
            depth=pl.sum_horizontal(pl.col(f"at_{number}").is_not_null() for number in range(1, steps + 1)),
        )
        .with_columns(in_progress=(pl.col("depth") < steps) & (deadline > as_of))
        .drop("session_day")
    )


def _per_period(
    frame: pl.LazyFrame, steps: Sequence[str], counted: str, as_of: date, until: date
) -> list[pl.LazyFrame]:
    """One row per dimension value, granularity, period (or hour) and step; periods that end by `until` are complete."""
    numbers = range(1, len(steps) + 1)
    sums = {
        **{f"reached_{number}": (pl.col("depth") >= number).sum() for number in numbers},
        **{
            f"in_progress_{number}": (pl.col("in_progress") & (pl.col("depth") == number - 1)).sum()
            for number in numbers
        },
        **{f"did_{number}": pl.col(f"did_{number}").sum() for number in numbers},
    }
    (per_hour,) = held(frame.group_by("dimension", "day", "hour").agg(**sums))
    first_days = per_hour.group_by("dimension").agg(first_day=pl.col("day").min())
    of_hours = (
        first_days.filter(pl.col("first_day") <= until)
        .select(
            "dimension",
            hour_of_day=pl.int_ranges(0, 24),
            n=(pl.lit(until) - pl.col("first_day")).dt.total_days() + 1,
        )
        .explode("hour_of_day")
        .join(
            per_hour.filter(pl.col("day") <= until)
            .group_by("dimension", hour_of_day=pl.col("hour"))
            .agg(pl.col(list(sums)).sum()),
            on=["dimension", "hour_of_day"],
            how="left",
        )
        .with_columns(granularity=pl.lit("hour"), period=pl.lit(None, pl.Date), is_complete=pl.lit(True))
    )
    wide = [of_hours]
    for granularity, every in EVERY.items():
        found = per_hour.group_by("dimension", period=pl.col("day").dt.truncate(every)).agg(pl.col(list(sums)).sum())
        full = calendar(first_days, granularity, as_of).join(found, on=["dimension", "period"], how="left")
        if granularity == "day":
            full = full.filter(pl.col("period") > as_of - timedelta(days=KEPT_DAYS))
        wide.append(
            full.with_columns(
                granularity=pl.lit(granularity),
                is_complete=pl.col("period").dt.offset_by(every) <= until + timedelta(days=1),
                hour_of_day=pl.lit(None, pl.Int64),
                n=pl.lit(None, pl.Int64),
            )
        )
    filled = held(*(one.with_columns(pl.col(list(sums)).fill_null(0)) for one in wide))
    return [
        one.select(
            *IN_TIME,
            step_number=pl.lit(number),
            funnel_step=pl.lit(step),
            reached=pl.col(f"reached_{number}"),
            previous=pl.col(f"reached_{number - 1}") if number > 1 else pl.lit(None, pl.Int64),
            entered=pl.col("reached_1"),
            in_progress=pl.col(f"in_progress_{number}"),
            in_any_order=pl.col(f"did_{number}"),
        )
        .with_columns(*_rates(pl.col("is_complete")), mean_per_day=ratio(pl.col("reached"), pl.col("n")))
        .drop("previous", "entered")
        .rename({"reached": counted})
        for number, step in enumerate(steps, start=1)
        for one in filled
    ]


def _rates(known: pl.Expr | bool) -> list[pl.Expr]:
    """Of `reached`, out of the step `previous` and out of all who `entered`."""
    numerator, *others = rate("reached", "previous", CONFIDENCE_LEVEL, known=known)
    _, entered, share, low, high = rate("reached", "entered", CONFIDENCE_LEVEL, known=known)
    is_first = pl.col("previous").is_null()
    return [
        pl.when(~is_first).then(numerator).alias("numerator"),
        *others,
        share.alias("overall_rate"),
        entered.alias("overall_denominator"),
        pl.when(~is_first).then(low).alias("overall_ci_low"),
        pl.when(~is_first).then(high).alias("overall_ci_high"),
    ]


def _conversion(journey: pl.LazyFrame, as_of: date, until: date) -> pl.LazyFrame:
    """One row per dimension value and step: customers, rates of those whose window is over, hours since the step."""
    is_over, depth = pl.col("day") <= until, pl.col("depth")
    parts = []
    for number, step in enumerate(CUSTOMER_STEPS, start=1):
        parts.append(
            journey.group_by("dimension").agg(
                step_number=pl.lit(number),
                funnel_step=pl.lit(step),
                customers=(depth >= number).sum(),
                in_progress=(pl.col("in_progress") & (depth == number - 1)).sum(),
                reached=((depth >= number) & is_over).sum(),
                previous=((depth >= number - 1) & is_over).sum() if number > 1 else pl.lit(None, pl.UInt32),
                entered=is_over.sum(),
                n=(depth >= number - 1).sum() if number > 1 else pl.lit(None, pl.UInt32),
            )
        )
    later = range(2, len(CUSTOMER_STEPS) + 1)
    since_previous, since_entry = held(
        pl.concat([_durations(journey, number, number - 1, as_of) for number in later]),
        pl.concat([_durations(journey, number, 1, as_of) for number in later]),
    )
    of_all = _medians(since_previous)
    of_entry = _medians(since_entry).select(
        *STEP, pl.col("^converted_.*$").name.map(lambda name: name.replace("converted", "entry"))
    )
    event_over = pl.col("is_event") & (pl.col("day") <= until)
    means = since_previous.group_by(STEP).agg(
        mean_hours=pl.col("took").filter(event_over).dt.total_microseconds().mean() / 3.6e9
    )
    return (
        pl.concat(parts)
        .with_columns(*_rates(True))
        .join(of_all, on=STEP, how="left")
        .join(of_entry, on=STEP, how="left")
        .join(means, on=STEP, how="left")
        .drop("reached", "previous", "entered")
    )


def _durations(journey: pl.LazyFrame, number: int, since: int, as_of: date) -> pl.LazyFrame:
    """How long the customers at step `since` took to step `number`, or are known not to have made it."""
    is_event = pl.col("depth") >= number
    last_day = pl.min_horizontal(pl.col("day") + pl.duration(days=WINDOW_DAYS), pl.lit(as_of))
    censored_at = (last_day + pl.duration(days=1)).cast(pl.Datetime("us"))
    took = pl.when(is_event).then(pl.col(f"at_{number}")).otherwise(censored_at) - pl.col(f"at_{since}")
    return journey.filter(pl.col("depth") >= since).select(
        "dimension", "day", step_number=pl.lit(number), is_event=is_event, took=took
    )


def _medians(durations: pl.LazyFrame) -> pl.LazyFrame:
    """Per dimension value and step the medians of the Kaplan-Meier curve, in hours, each with both ends."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    events, at_risk = pl.col("events"), pl.col("at_risk")
    now, variance = pl.col("survival"), pl.col("log_variance")
    inside = now < 1  # and above zero: where nobody is left, the ends are zero too
    power = (z * variance.sqrt() / -now.log()).exp()
    last, last_variance = now.last().over(STEP), variance.last().over(STEP)
    share, later = (1 - now) / (1 - last), pl.when(now > 0).then(last / now).otherwise(0.0)
    before = pl.when(now > 0).then(now**2 * variance).otherwise(0.0)
    after = now**2 * (1 - now) ** 2 * later**2 * (last_variance - variance)
    of_share = pl.when(last > 0).then(((1 - later) ** 2 * before + after) / (1 - last) ** 4).otherwise(before)
    half = z * of_share.clip(lower_bound=0).sqrt()
    hours = pl.col("hours")
    reached = {
        "km_median_hours": now <= HALF + ROUNDING,
        "km_median_low_hours": pl.col("low") <= HALF + ROUNDING,
        "km_median_high_hours": pl.col("high") <= HALF + ROUNDING,
        "converted_median_hours": pl.col("share") >= HALF - ROUNDING,
        "converted_median_low_hours": pl.col("share") + pl.col("half") >= HALF,
        "converted_median_high_hours": pl.col("share") - pl.col("half") >= HALF,
    }
    return (
        durations.group_by(*STEP, hours=pl.col("took").dt.total_minutes() / 60)
        .agg(leaving=pl.len(), events=pl.col("is_event").sum().cast(pl.Float64))
        .sort(*STEP, "hours")
        .with_columns(at_risk=pl.col("leaving").cum_sum(reverse=True).over(STEP).cast(pl.Float64))
        .filter(events > 0)
        .with_columns(
            survival=(1 - events / at_risk).cum_prod().over(STEP),
            log_variance=(events / (at_risk * (at_risk - events))).cum_sum().over(STEP),
        )
        .with_columns(
            low=pl.when(inside & (now > 0)).then(now**power).otherwise(now),
            high=pl.when(inside & (now > 0)).then(now ** (1 / power)).otherwise(now),
            share=share,
            half=half,
        )
        .group_by(STEP)
        .agg(hours.filter(condition).min().alias(name) for name, condition in reached.items())
    )
