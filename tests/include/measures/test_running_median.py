"""Running medians against the definition."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.measures.running_median import median_of, running_median

numbers = st.one_of(st.none(), st.integers(-9, 9).map(float))


@given(st.lists(numbers, max_size=30), st.integers(0, 5), st.integers(1, 4))
def test_as_defined(values: list[float | None], half: int, fewest: int) -> None:
    found = running_median(np.array(values, dtype="float64"), 2 * half + 1, fewest=fewest)
    for place, one in enumerate(found):
        window = [value for value in values[max(0, place - half) : place + half + 1] if value is not None]
        expected = statistics.median(window) if len(window) >= fewest else float("nan")
        assert one == pytest.approx(expected, nan_ok=True)


def test_the_median_of_nothing_is_missing() -> None:
    assert np.isnan(median_of(np.zeros((2, 0)))).tolist() == [True, True]
