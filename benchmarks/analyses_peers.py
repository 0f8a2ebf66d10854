"""One report of each analysis, written straightforwardly in plain pandas and in plain polars.

    files of the staged tables by name, dimension columns, as_of  ->  the report's counts, long

The analyses compute these reports and several more; the peers compute nothing else, so a ratio flatters the peers. They
hold everything in memory at once and keep money as floating-point numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq

Files = Mapping[str, Sequence[str]]
OFFSETS = {"day": 15, "week": 15, "month": 24}
SCORES = 5
UNKNOWN = "(unknown)"
ALL = "all"


def read_pandas(files: Sequence[str], columns: list[str]) -> pd.DataFrame:
    frame: pd.DataFrame = pq.read_table(list(files), columns=columns).to_pandas(date_as_object=False)
    return frame


def session_columns(dimensions: Sequence[str], *more: str) -> list[str]:
    return ["client_code", "session_day", *more, *(f"dimension_{name}" for name in dimensions)]


# ── pandas ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _labels(frame: pd.DataFrame, dimensions: Sequence[str]) -> list[pd.Series]:
    every = [pd.Series(ALL, index=frame.index)]
    return [*every, *(f"{name}: " + frame[f"dimension_{name}"].fillna(UNKNOWN) for name in dimensions)]


def _begin(days: pd.Series, granularity: str) -> pd.Series:
    if granularity == "week":
        days = days - pd.to_timedelta(days.dt.day_of_week, unit="D")
    elif granularity == "month":
        days = days.dt.to_period("M").dt.to_timestamp()
    return days


def _number(days: pd.Series, granularity: str) -> pd.Series:
    number: pd.Series = (days - pd.Timestamp(0)).dt.days
    if granularity == "week":
        number = (number + 3) // 7
    elif granularity == "month":
        number = days.dt.year * 12 + days.dt.month
    return number


def activity_pandas(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """Sessions, orders, revenue, active customers and buyers per day, week and month."""
    frame = read_pandas(files["sessions"], session_columns(dimensions, "has_purchased", "payment_amount"))
    frame = frame[frame["session_day"] <= pd.Timestamp(as_of)]
    frame["order"] = frame["has_purchased"].fillna(False).astype(bool)
    frame["revenue"] = frame["payment_amount"].astype("float64").where(frame["order"], 0).fillna(0)
    parts = []
    for label in _labels(frame, dimensions):
        for granularity in OFFSETS:
            period = _begin(frame["session_day"], granularity)
            keys = [label.rename("dimension"), period.rename("period")]
            counted = frame.groupby(keys).agg(
                sessions=("order", "size"),
                orders=("order", "sum"),
                revenue=("revenue", "sum"),
                customers=("client_code", "nunique"),
            )
            bought = frame[frame["order"]]
            buyers = bought.groupby([key[frame["order"]] for key in keys])["client_code"].nunique()
            counted["buyers"] = buyers.reindex(counted.index, fill_value=0)
            parts.append(counted.reset_index().assign(granularity=granularity))
    return pd.concat(parts, ignore_index=True)


def retention_pandas(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """Customers with a session so many days, weeks and months after their download, per cohort."""
    until = pd.Timestamp(as_of)
    frame = read_pandas(files["sessions"], session_columns(dimensions, "session_start_date", "id"))
    frame = frame[frame["session_day"] <= until]
    started = read_pandas(files["customers"], ["client_code", "download_day"])
    started = started[started["download_day"] <= until]
    started = started.groupby("client_code", as_index=False).agg(download_day=("download_day", "min"))
    first = frame.sort_values(["client_code", "session_start_date", "id"]).drop_duplicates("client_code")
    parts = []
    for label, own in zip(_labels(frame, dimensions), _labels(first, dimensions), strict=True):
        at_first = pd.DataFrame({"client_code": first["client_code"], "own": own})
        joined = frame.assign(dimension=label).merge(started, on="client_code").merge(at_first, on="client_code")
        joined = joined[(joined["dimension"] == joined["own"]) & (joined["session_day"] >= joined["download_day"])]
        for granularity, most in OFFSETS.items():
            offset = _number(joined["session_day"], granularity) - _number(joined["download_day"], granularity)
            cells = joined.assign(period=_begin(joined["download_day"], granularity), offset=offset)
            cells = cells[cells["offset"] <= most].drop_duplicates(["dimension", "client_code", "offset"])
            sizes = cells.groupby(["dimension", "period", "offset"]).size().reset_index(name="customers")
            parts.append(sizes.assign(granularity=granularity))
    return pd.concat(parts, ignore_index=True)


def scores_pandas(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """Customers per combination of recency, frequency and monetary score."""
    frame = read_pandas(files["sessions"], session_columns(dimensions, "has_purchased", "payment_amount"))
    bought = frame["has_purchased"].fillna(False).astype(bool) & (frame["session_day"] <= pd.Timestamp(as_of))
    orders = frame[bought]
    orders = orders.assign(amount=orders["payment_amount"].astype("float64").fillna(0))
    parts = []
    for label in _labels(orders, dimensions):
        per_client = orders.groupby([label.rename("dimension"), "client_code"]).agg(
            last=("session_day", "max"), frequency=("amount", "size"), monetary=("amount", "mean")
        )
        per_client["recency"] = (pd.Timestamp(as_of) - per_client["last"]).dt.days
        per_client["monetary"] = per_client["monetary"].round(4)
        for name in ("recency", "frequency", "monetary"):
            above = pd.Series(0, index=per_client.index)
            for number in range(1, SCORES):
                cut = per_client.groupby("dimension")[name].transform("quantile", number / SCORES)
                above += (per_client[name] > cut.round(7)).astype("int64")
            per_client[f"{name}_score"] = SCORES - above if name == "recency" else above + 1
        keys = ["dimension", "recency_score", "frequency_score", "monetary_score"]
        parts.append(per_client.groupby(keys).size().reset_index(name="customers"))
    return pd.concat(parts, ignore_index=True)


STEPS = ("action_viewed_product", "action_added_to_basket", "action_began_checkout", "has_purchased")


def funnel_pandas(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """Sessions per step of the funnel and day, week and month of their start."""
    frame = read_pandas(files["sessions"], session_columns(dimensions, *STEPS))
    frame = frame[frame["session_day"] <= pd.Timestamp(as_of)]
    reached = pd.DataFrame({1: np.ones(len(frame), bool)}, index=frame.index)
    for number, step in enumerate(STEPS, start=2):
        reached[number] = reached[number - 1] & frame[step].fillna(False).astype(bool)
    parts = []
    for label in _labels(frame, dimensions):
        for granularity in OFFSETS:
            period = _begin(frame["session_day"], granularity)
            counted = reached.groupby([label.rename("dimension"), period.rename("period")]).sum()
            long = counted.rename_axis("step_number", axis=1).stack().rename("sessions").reset_index()
            parts.append(long.assign(granularity=granularity))
    return pd.concat(parts, ignore_index=True)


def churn_pandas(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """Customers active in one week or month, and how many of them also in the next."""
    frame = read_pandas(files["sessions"], session_columns(dimensions, "has_purchased"))
    frame = frame[frame["session_day"] <= pd.Timestamp(as_of)]
    bought = frame["has_purchased"].fillna(False).astype(bool)
    parts = []
    for label in _labels(frame, dimensions):
        for activity, active in (("session", slice(None)), ("order", bought)):
            for granularity in ("week", "month"):
                seen = pd.DataFrame(
                    {
                        "dimension": label,
                        "client_code": frame["client_code"],
                        "number": _number(frame["session_day"], granularity),
                    }
                )[active].drop_duplicates()
                moved = seen.assign(number=seen["number"] + 1)
                both = moved.merge(seen, on=["dimension", "client_code", "number"])
                counted = pd.DataFrame(
                    {
                        "previous_customers": moved.groupby(["dimension", "number"]).size(),
                        "retained_customers": both.groupby(["dimension", "number"]).size(),
                    }
                )
                counted = counted.fillna(0).reset_index()
                parts.append(counted.assign(activity=activity, granularity=granularity))
    return pd.concat(parts, ignore_index=True)


def promotions_pandas(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """Customers, orders, revenue and discount of each promotion."""
    columns = session_columns(dimensions, "has_purchased", "payment_amount", "discount_amount", "promotion_id")
    frame = read_pandas(files["sessions"], columns)
    bought = frame["has_purchased"].fillna(False).astype(bool) & (frame["session_day"] <= pd.Timestamp(as_of))
    frame = frame[bought & frame["promotion_id"].notna()]
    for name in ("payment_amount", "discount_amount"):
        frame[name] = frame[name].astype("float64").fillna(0)
    parts = []
    for label in _labels(frame, dimensions):
        counted = frame.groupby([label.rename("dimension"), "promotion_id"]).agg(
            customers=("client_code", "nunique"),
            orders=("client_code", "size"),
            revenue=("payment_amount", "sum"),
            discount=("discount_amount", "sum"),
        )
        parts.append(counted.reset_index())
    return pd.concat(parts, ignore_index=True)


def pairs_pandas(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """Orders that hold both of two products, for every pair."""
    frame = read_pandas(files["sessions"], session_columns(dimensions, "id", "has_purchased"))
    bought = frame["has_purchased"].fillna(False).astype(bool) & (frame["session_day"] <= pd.Timestamp(as_of))
    lines = read_pandas(files["basket"], ["order_id", "product"]).drop_duplicates()
    joined = lines.merge(frame[bought], left_on="order_id", right_on="id")
    pairs = joined.merge(lines, on="order_id", suffixes=("", "_other"))
    pairs = pairs[pairs["product"] < pairs["product_other"]].rename(columns={"product_other": "other_product"})
    parts = []
    for label in _labels(pairs, dimensions):
        counted = pairs.groupby([label.rename("dimension"), "product", "other_product"]).size()
        parts.append(counted.reset_index(name="orders"))
    return pd.concat(parts, ignore_index=True)


# ── polars ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def label(name: str | None) -> pl.Expr:
    """A dimension column's values as a report names them; `all` where `name` is None."""
    if name is None:
        return pl.lit(ALL)
    return pl.lit(f"{name}: ") + pl.col(f"dimension_{name}").fill_null(UNKNOWN)


def period_number(column: str, granularity: str) -> pl.Expr:
    """The number of the day, week or month that the days of a column lie in: the next one's is greater by one."""
    day = pl.col(column)
    if granularity == "month":
        return day.dt.year().cast(pl.Int32) * 12 + day.dt.month()
    number = day.cast(pl.Int32)
    return number if granularity == "day" else (number + 3) // 7


EVERY = {"day": "1d", "week": "1w", "month": "1mo"}


def activity_polars(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """The same as `activity_pandas`."""
    order = pl.col("has_purchased").fill_null(False)
    frame = (
        pl.scan_parquet(list(files["sessions"]))
        .filter(pl.col("session_day") <= as_of)
        .with_columns(order=order, revenue=pl.when(order).then(pl.col("payment_amount").cast(pl.Float64)).otherwise(0))
    )
    parts = [
        frame.group_by(dimension=label(name), period=pl.col("session_day").dt.truncate(every))
        .agg(
            sessions=pl.len(),
            orders=pl.col("order").sum(),
            revenue=pl.col("revenue").sum(),
            customers=pl.col("client_code").n_unique(),
            buyers=pl.col("client_code").filter(pl.col("order")).n_unique(),
        )
        .with_columns(granularity=pl.lit(granularity))
        for name in (None, *dimensions)
        for granularity, every in EVERY.items()
    ]
    return _pandas(parts)


def retention_polars(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """The same as `retention_pandas`."""
    frame = pl.scan_parquet(list(files["sessions"])).filter(pl.col("session_day") <= as_of)
    known = pl.scan_parquet(list(files["customers"])).filter(pl.col("download_day") <= as_of)
    started = known.group_by("client_code").agg(pl.col("download_day").min())
    parts = []
    for name in (None, *dimensions):
        labelled = frame.with_columns(dimension=label(name))
        first = labelled.group_by("client_code").agg(
            own=pl.col("dimension").sort_by("session_start_date", "id").first()
        )
        joined = (
            labelled.select("client_code", "dimension", "session_day")
            .join(started, on="client_code")
            .join(first, on="client_code")
            .filter((pl.col("dimension") == pl.col("own")) & (pl.col("session_day") >= pl.col("download_day")))
        )
        for granularity, most in OFFSETS.items():
            offset = period_number("session_day", granularity) - period_number("download_day", granularity)
            parts.append(
                joined.with_columns(period=pl.col("download_day").dt.truncate(EVERY[granularity]), offset=offset)
                .filter(pl.col("offset") <= most)
                .group_by("dimension", "period", "offset")
                .agg(customers=pl.col("client_code").n_unique())
                .with_columns(granularity=pl.lit(granularity))
            )
    return _pandas(parts)


def scores_polars(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """The same as `scores_pandas`."""
    orders = pl.scan_parquet(list(files["sessions"])).filter(pl.col("has_purchased") & (pl.col("session_day") <= as_of))
    orders = orders.with_columns(amount=pl.col("payment_amount").cast(pl.Float64).fill_null(0))
    parts = []
    for name in (None, *dimensions):
        per_client = orders.group_by("client_code", dimension=label(name)).agg(
            recency=(pl.lit(as_of) - pl.col("session_day").max()).dt.total_days(),
            frequency=pl.len().cast(pl.Int64),
            monetary=pl.col("amount").mean().round(4),
        )
        scores = {}
        for measure in ("recency", "frequency", "monetary"):
            above: Any = pl.lit(0)
            for number in range(1, SCORES):
                cut = pl.col(measure).quantile(number / SCORES, "linear").over("dimension").round(7)
                above = above + (pl.col(measure) > cut).cast(pl.Int64)
            scores[f"{measure}_score"] = SCORES - above if measure == "recency" else above + 1
        parts.append(per_client.with_columns(**scores).group_by("dimension", *scores).agg(customers=pl.len()))
    return _pandas(parts)


def funnel_polars(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """The same as `funnel_pandas`."""
    reached: list[Any] = [pl.lit(True)]
    for step in STEPS:
        reached.append(reached[-1] & pl.col(step).fill_null(False))
    frame = pl.scan_parquet(list(files["sessions"])).filter(pl.col("session_day") <= as_of)
    numbered = {str(number): one for number, one in enumerate(reached, start=1)}
    parts = [
        frame.group_by(dimension=label(name), period=pl.col("session_day").dt.truncate(every))
        .agg(pl.len().alias("1"), **{number: one.sum() for number, one in numbered.items() if number != "1"})
        .unpivot(index=["dimension", "period"], variable_name="step_number", value_name="sessions")
        .with_columns(granularity=pl.lit(granularity), step_number=pl.col("step_number").cast(pl.Int64))
        for name in (None, *dimensions)
        for granularity, every in EVERY.items()
    ]
    return _pandas(parts)


def churn_polars(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """The same as `churn_pandas`."""
    frame = pl.scan_parquet(list(files["sessions"])).filter(pl.col("session_day") <= as_of)
    keys = ["dimension", "client_code", "number"]
    parts = []
    for name in (None, *dimensions):
        for activity in ("session", "order"):
            active = frame if activity == "session" else frame.filter(pl.col("has_purchased"))
            for granularity in ("week", "month"):
                number = period_number("session_day", granularity).cast(pl.Int64)
                seen = active.select("client_code", dimension=label(name), number=number).unique()
                moved = seen.with_columns(number=pl.col("number") + 1)
                stayed = moved.join(seen, on=keys, how="semi").group_by("dimension", "number")
                before = moved.group_by("dimension", "number").agg(previous_customers=pl.len())
                parts.append(
                    before.join(stayed.agg(retained_customers=pl.len()), on=["dimension", "number"], how="left")
                    .with_columns(pl.col("retained_customers").fill_null(0))
                    .with_columns(activity=pl.lit(activity), granularity=pl.lit(granularity))
                )
    return _pandas(parts)


def promotions_polars(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """The same as `promotions_pandas`."""
    orders = pl.scan_parquet(list(files["sessions"])).filter(
        pl.col("has_purchased") & (pl.col("session_day") <= as_of) & pl.col("promotion_id").is_not_null()
    )
    parts = [
        orders.group_by("promotion_id", dimension=label(name)).agg(
            customers=pl.col("client_code").n_unique(),
            orders=pl.len(),
            revenue=pl.col("payment_amount").cast(pl.Float64).sum(),
            discount=pl.col("discount_amount").cast(pl.Float64).sum(),
        )
        for name in (None, *dimensions)
    ]
    return _pandas(parts)


def pairs_polars(files: Files, dimensions: Sequence[str], as_of: date) -> pd.DataFrame:
    """The same as `pairs_pandas`."""
    orders = pl.scan_parquet(list(files["sessions"])).filter(pl.col("has_purchased") & (pl.col("session_day") <= as_of))
    lines = pl.scan_parquet(list(files["basket"])).select("order_id", "product").unique()
    pairs = (
        lines.join(orders, left_on="order_id", right_on="id")
        .join(lines.rename({"product": "other_product"}), on="order_id")
        .filter(pl.col("product") < pl.col("other_product"))
    )
    parts = [
        pairs.group_by("product", "other_product", dimension=label(name)).agg(orders=pl.len())
        for name in (None, *dimensions)
    ]
    return _pandas(parts)


def _pandas(parts: list[pl.LazyFrame]) -> pd.DataFrame:
    frame: pd.DataFrame = pl.concat(pl.collect_all(parts), how="vertical_relaxed").to_pandas()
    return frame


Peer = Callable[[Files, Sequence[str], date], pd.DataFrame]
PEERS: dict[str, dict[str, Peer]] = {
    "descriptive_statistics": {"pandas": activity_pandas, "polars": activity_polars},
    "cohorts": {"pandas": retention_pandas, "polars": retention_polars},
    "rfm": {"pandas": scores_pandas, "polars": scores_polars},
    "funnels": {"pandas": funnel_pandas, "polars": funnel_polars},
    "churn": {"pandas": churn_pandas, "polars": churn_polars},
    "promotion_analytics": {"pandas": promotions_pandas, "polars": promotions_polars},
    "product_analytics": {"pandas": pairs_pandas, "polars": pairs_polars},
}
REPORT = {
    "descriptive_statistics": "activity",
    "cohorts": "retention",
    "rfm": "score_cells",
    "funnels": "session_funnel",
    "churn": "window_churn",
    "promotion_analytics": "promotions",
    "product_analytics": "product_pairs",
}
