"""Wilson's interval against published numbers, and what happens at the edges."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from include.measures.rates import wilson_interval, with_rate
from include.measures.results import ratio, significant


@pytest.mark.parametrize(("numerator", "denominator"), [(0, 1), (1, 1), (3, 10), (81, 263), (15, 148), (0, 20)])
def test_equals_scipys_interval(numerator: int, denominator: int) -> None:
    low, high = wilson_interval([numerator], [denominator], 0.95)
    expected = binomtest(numerator, denominator).proportion_ci(0.95, method="wilson")
    assert (low[0], high[0]) == (pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high, abs=1e-12))


def test_published_values() -> None:
    # Newcombe (1998), Statistics in Medicine 17, 857-872, table I: 81 of 263 and 0 of 20, without correction.
    low, high = wilson_interval([81, 0], [263, 20], 0.95)
    assert low.round(4).tolist() == [0.2553, 0]
    assert high.round(4).tolist() == [0.3662, 0.1611]


def test_out_of_nothing_there_is_no_rate() -> None:
    frame = with_rate(pd.DataFrame({"above": [0, 2], "below": [0, 4]}), "above", "below", 0.95, known=[True, False])
    assert frame[["rate", "ci_low", "ci_high"]].isna().all().all()
    assert frame["numerator"].tolist() == [0, 2]
    assert np.isnan(ratio([1, 1], [0, np.nan])).all()


def test_twelve_digits_remain() -> None:
    noisy = [0.1 + 0.2, 1 / 3, 1e15 + 0.3, -2.5e-9, 0, np.inf]
    assert significant(noisy)[:5].tolist() == [0.3, 0.333333333333, 1e15, -2.5e-9, 0]
    assert np.isnan(significant(noisy)[5])
