"""The customers as the reports count them, and the dimension value that each belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from benchmarks.analyses_in_polars.breakdown import Files, repeated


def customers(files: Files, as_of: date, *columns: str) -> pl.LazyFrame:
    """client_code, download_day and `columns`, the earliest of each, of who had downloaded by `as_of`."""
    known = pl.scan_parquet(list(files["customers"])).filter(pl.col("download_day") <= as_of)
    return known.group_by("client_code").agg(pl.col("download_day", *columns).min())


def by_first_session(known: pl.LazyFrame, seen: pl.LazyFrame, dimensions: Sequence[str]) -> pl.LazyFrame:
    """The customers once for `all` and once per dimension column, under the value of the first of the sessions."""
    if dimensions:
        values = [pl.col(f"dimension_{name}").first() for name in dimensions]
        first = seen.sort("session_start_date", "id").group_by("client_code").agg(values)
        known = known.join(first, on="client_code", how="left")
    return pl.concat(repeated(known, dimensions)).drop([f"dimension_{name}" for name in dimensions])
