"""Calendar periods as whole numbers: days, weeks and months of the business time zone.

A day is its distance from 1970-01-01, a week or month is numbered likewise, so that "three weeks later" is `+ 3`, a
clock change or a month of 28 days is nothing special, and a calendar without gaps is a range of numbers.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    import ibis.expr.types as ir

Granularity = Literal["day", "week", "month"]
GRANULARITIES: tuple[Granularity, ...] = ("day", "week", "month")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
EPOCH = date(1970, 1, 1)


def day_number(day: date) -> int:
    return (day - EPOCH).days


def week_shift(week_start: str) -> int:
    """What to add to a day's number so that weeks begin at multiples of seven. 1970-01-01 was a Thursday."""
    return WEEKDAYS.index("thursday") - WEEKDAYS.index(week_start)


def numbered(days: ir.DateColumn, week_start: str) -> dict[Granularity, ir.IntegerColumn]:
    """The number of the day, week and month of each day."""
    day = days.epoch_days()
    return {
        "day": day.cast("int32"),
        "week": ((day + week_shift(week_start)) // 7).cast("int32"),
        "month": ((days.year() - EPOCH.year) * 12 + days.month() - 1).cast("int32"),
    }


def period_of(day: date, granularity: Granularity, week_start: str) -> int:
    """The number of the period a day lies in."""
    match granularity:
        case "day":
            return day_number(day)
        case "week":
            return (day_number(day) + week_shift(week_start)) // 7
        case "month":
            return (day.year - EPOCH.year) * 12 + day.month - 1


def first_days(numbers: Any, granularity: Granularity, week_start: str) -> npt.NDArray[np.datetime64]:
    """The first day of each period."""
    periods = np.asarray(numbers, dtype="int64")
    match granularity:
        case "day":
            return periods.astype("datetime64[D]")
        case "week":
            return (periods * 7 - week_shift(week_start)).astype("datetime64[D]")
        case "month":
            return periods.astype("datetime64[M]").astype("datetime64[D]")


def are_complete(numbers: Any, granularity: Granularity, week_start: str, as_of: date) -> npt.NDArray[np.bool_]:
    """Whether each period was over at the end of `as_of`: its last day is not after it."""
    following = first_days(np.asarray(numbers, dtype="int64") + 1, granularity, week_start)
    complete: npt.NDArray[np.bool_] = following <= np.datetime64(as_of) + np.timedelta64(1, "D")
    return complete


def as_dates(days: npt.NDArray[np.datetime64]) -> pd.Series:
    """Days as `datetime.date`, which is what a report holds."""
    return pd.Series(days.astype("datetime64[D]").astype(object), dtype=object)


def calendar(first: pd.Series, last: int | pd.Series) -> pd.DataFrame:
    """`period` from `first` to `last` for each entry of `first` (whose index is `dimension`): no period is left out.

    `last` is one for all, or has the index of `first`.
    """
    place, period = _counted_up(first, last)
    return pd.DataFrame({"dimension": first.index.to_numpy()[place], "period": period})


def every_day(entries: pd.DataFrame, first_day: pd.Series, last_day: int) -> pd.DataFrame:
    """Each row of `entries` once for each `day` from its own first day to `last_day`: a series without gaps."""
    place, day = _counted_up(first_day, last_day)
    return entries.iloc[place].reset_index(drop=True).assign(day=day)


def _counted_up(first: pd.Series, last: int | pd.Series) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The place of each entry and the numbers from its `first` to its `last`; none where `last` comes before."""
    starts = first.to_numpy(dtype="int64")
    lengths = np.maximum((last - first + 1).to_numpy(dtype="int64"), 0)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(np.arange(len(starts)), lengths), np.repeat(starts, lengths) + within
