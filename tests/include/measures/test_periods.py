"""Calendar periods as numbers."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.measures.periods import GRANULARITIES, WEEKDAYS, are_complete, calendar, first_days, period_of


@given(st.dates(date(1950, 1, 1), date(2100, 1, 1)), st.sampled_from(GRANULARITIES), st.sampled_from(WEEKDAYS))
def test_a_day_lies_in_its_period(day: date, granularity: str, week_start: str) -> None:
    number = period_of(day, granularity, week_start)  # type: ignore[arg-type]
    first, following = first_days([number, number + 1], granularity, week_start).astype(object)  # type: ignore[arg-type]
    assert first <= day < following
    if granularity == "week":
        assert WEEKDAYS[first.weekday()] == week_start
        assert following - first == timedelta(days=7)
    if granularity == "month":
        assert first.day == 1
    last = following - timedelta(days=1)
    assert are_complete([number], granularity, week_start, last)[0]  # type: ignore[arg-type]
    assert not are_complete([number], granularity, week_start, last - timedelta(days=1))[0]  # type: ignore[arg-type]


def test_a_calendar_has_no_gaps() -> None:
    full = calendar(pd.Series({0: 3, 7: 5}), 6)
    assert full.to_numpy().tolist() == [[0, 3], [0, 4], [0, 5], [0, 6], [7, 5], [7, 6]]


@pytest.mark.parametrize(
    ("day", "months"), [(date(2024, 1, 31), 648), (date(2024, 2, 1), 649), (date(1969, 12, 31), -1)]
)
def test_months_are_counted_from_1970(day: date, months: int) -> None:
    assert period_of(day, "month", "monday") == months
    assert first_days([months], "month", "monday")[0] == np.datetime64(day.replace(day=1))
