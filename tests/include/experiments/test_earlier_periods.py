"""A period against those before it: planted changes are covered, and periods that differ anyway widen the interval."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from include.experiments.comparisons import Sample, sample
from include.experiments.earlier_periods import change_from_earlier


def periods(random: np.random.Generator, uplift: float, spread: float) -> list[Sample]:
    levels = np.exp(random.normal(0, spread, 5)) * np.array([1 + uplift, 1, 1, 1, 1])
    return [sample(random.gamma(2, level / 2, 400)) for level in levels]


@pytest.mark.parametrize("uplift", [0.0, 0.15])
def test_intervals_cover_where_periods_are_alike(uplift: float) -> None:
    random = np.random.default_rng(1)
    found = [change_from_earlier(now, earlier) for now, *earlier in (periods(random, uplift, 0) for _ in range(400))]
    assert np.mean([one.ci_low <= uplift <= one.ci_high for one in found]) >= 0.935
    rejected = np.mean([one.p_value < 0.05 for one in found])
    assert rejected > 0.8 if uplift else rejected <= 0.065


def test_weeks_of_coupon_users_that_do_not_differ_are_rejected_in_five_per_cent_at_most(trips: pd.DataFrame) -> None:
    """Real households' trips of the weeks in which they came, dealt to five periods 1,000 times."""
    users = trips[trips["uses_coupons"] & trips["day"].between(140, 174)]
    each = users.groupby([users["household"], users["day"] // 7])["trips"].sum().to_numpy()
    random = np.random.default_rng(5)
    found = []
    for _ in range(1_000):
        now, *earlier = (sample(part) for part in np.array_split(random.permutation(each), 5))
        found.append(change_from_earlier(now, earlier).p_value)
    # How much periods differ is estimated from four, and never as less than nothing: a little wide, where they do not.
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.065


def test_periods_that_differ_widen_the_interval() -> None:
    random = np.random.default_rng(2)
    found = [change_from_earlier(now, earlier) for now, *earlier in (periods(random, 0, 0.2) for _ in range(400))]
    assert np.mean([one.heterogeneity_p_value < 0.05 for one in found]) > 0.7
    assert np.mean([one.p_value < 0.05 for one in found]) < 0.2  # four periods tell their own spread only roughly
    naive = np.mean([abs(one.effect) > 1.96 * math.sqrt(0.5 / 400 * 1.25) for one in found])
    assert naive > 0.6


def test_by_hand() -> None:
    """Means 3 against 2 and 2, variances 4: v = 4/(100 x 9) and 4/(100 x 4) each."""
    found = change_from_earlier(Sample(100, 3.0, 4.0), [Sample(100, 2.0, 4.0), Sample(100, 2.0, 4.0)])
    error = math.sqrt(4 / 900 + 0.01 / 2)
    assert found.effect == pytest.approx(0.5)
    assert found.ci_low == pytest.approx(1.5 * math.exp(-1.959963984540054 * error) - 1)
    assert (found.n_period, found.n_earlier, found.period_value, found.earlier_value) == (
        100,
        200,
        3.0,
        pytest.approx(2),
    )
    assert found.heterogeneity_p_value == 1


@pytest.mark.parametrize("earlier", [[], [Sample(9, 1.0, 1.0)], [Sample(0, math.nan, math.nan)] * 3])
def test_too_few_periods_say_nothing(earlier: list[Sample]) -> None:
    found = change_from_earlier(Sample(9, 1.0, 1.0), earlier)
    assert math.isnan(found.p_value)
    assert math.isnan(found.ci_low)
