"""Rosner's test on his own data, and S-H-ESD against implementations that share no code with it."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t
from statsmodels.tsa.seasonal import STL

from include.measures.seasonal_esd import generalised_esd, seasonal_component, seasonal_hybrid_esd

# The data, statistics and critical values of Rosner (1983) as the NIST/SEMATECH e-Handbook of Statistical Methods,
# section 1.3.5.17.3, prints them: at most 10 outliers, alpha 0.05; there are three.
ROSNER = [
    -0.25, 0.68, 0.94, 1.15, 1.20, 1.26, 1.26, 1.34, 1.38, 1.43, 1.49, 1.49, 1.55, 1.56, 1.58, 1.65, 1.69, 1.70,
    1.76, 1.77, 1.81, 1.91, 1.94, 1.96, 1.99, 2.06, 2.09, 2.10, 2.14, 2.15, 2.23, 2.24, 2.26, 2.35, 2.37, 2.40,
    2.47, 2.54, 2.62, 2.64, 2.90, 2.92, 2.92, 2.93, 3.21, 3.26, 3.30, 3.59, 3.68, 4.30, 4.64, 5.34, 5.42, 6.01,
]  # fmt: skip
STATISTICS = [3.118, 2.942, 3.179, 2.810, 2.815, 2.848, 2.279, 2.310, 2.101, 2.067]
CRITICAL_VALUES = [3.158, 3.151, 3.143, 3.136, 3.128, 3.120, 3.111, 3.103, 3.094, 3.085]


def plain_esd(values: list[float], most: int, alpha: float, *, robust: bool) -> list[int]:
    """Generalised ESD as the paper words it, one value after the other."""
    left = dict(enumerate(values))
    taken: list[int] = []
    found = 0
    for step in range(1, most + 1):
        numbers = list(left.values())
        if robust:
            centre = statistics.median(numbers)
            # 1.4826 to its digits: the inverse of the third quartile of the normal distribution.
            spread = statistics.median(abs(one - centre) for one in numbers) / 0.6744897501960817
        else:
            centre, spread = statistics.fmean(numbers), statistics.stdev(numbers)
        if spread == 0:
            break
        farthest = max(left, key=lambda place: (abs(left[place] - centre), left[place], place))
        n = len(values)
        quantile = float(t.ppf(1 - alpha / (2 * (n - step + 1)), n - step - 1))
        critical = (n - step) * quantile / math.sqrt((n - step - 1 + quantile**2) * (n - step + 1))
        taken.append(farthest)
        if abs(left.pop(farthest) - centre) / spread > critical:
            found = step
    return taken[:found]


def plain_seasonal_hybrid_esd(values: list[float], period: int, most: int, alpha: float) -> list[int]:
    """S-H-ESD: season and median off, then the robust test."""
    length = len(values)
    around = [values[max(0, place - period) : place + period + 1] for place in range(length)]
    detrended = [value - statistics.median(window) for value, window in zip(values, around, strict=True)]
    phases = [statistics.median(detrended[phase::period]) for phase in range(period)]
    middle = statistics.fmean(phases)
    whole = statistics.median(values)
    residuals = [value - (phases[place % period] - middle) - whole for place, value in enumerate(values)]
    return plain_esd(residuals, most, alpha, robust=True)


def test_rosners_own_example() -> None:
    found = generalised_esd(ROSNER, most=10, alpha=0.05)
    assert found.statistics == pytest.approx(STATISTICS, abs=0.0015)
    assert [math.floor(1_000 * one) / 1_000 for one in found.critical_values] == CRITICAL_VALUES  # cut off, not rounded
    assert [ROSNER[place] for place in found.positions] == [6.01, 5.42, 5.34]


# Whole numbers of halves: sums are exact, so that both implementations see the same ties.
halves = st.integers(-40, 40).map(lambda one: one / 2)


@settings(max_examples=150)
@given(st.lists(halves, min_size=3, max_size=60), st.booleans(), st.integers(1, 12))
def test_as_in_plain_python(values: list[float], robust: bool, most: int) -> None:
    most = min(most, len(values) - 2)
    found = generalised_esd(values, most=most, alpha=0.05, robust=robust)
    expected = plain_esd(values, most, 0.05, robust=robust)
    # Equal values may be taken in any order.
    assert sorted(values[place] for place in found.positions) == sorted(values[place] for place in expected)


def seasonal_series(
    seed: int, smallest: float = 25, largest: float = 60, length: int = 28 * 24
) -> tuple[list[float], list[int]]:
    """Hourly values with a daily season, noise, and twelve odd hours."""
    random = np.random.default_rng(seed)
    hour = np.arange(length)
    values = 100 + 30 * np.sin(2 * np.pi * hour / 24) + 8 * np.sin(4 * np.pi * hour / 24) + random.normal(0, 3, length)
    odd = random.choice(length, 12, replace=False)
    values[odd] += random.choice([-1, 1], 12) * random.uniform(smallest, largest, 12)
    return values.tolist(), sorted(int(place) for place in odd)


@pytest.mark.parametrize("seed", range(5))
def test_seasonal_hybrid_esd_agrees_with_an_independent_implementation(seed: int) -> None:
    values, odd = seasonal_series(seed)
    found = seasonal_hybrid_esd(values, period=24, most_share=0.05)
    assert found.positions.tolist() == plain_seasonal_hybrid_esd(values, 24, int(0.05 * len(values)), 0.05)
    assert sorted(found.positions.tolist()) == odd


def season_of_stl(values: list[float], period: int) -> Any:
    """As the authors have it: statsmodels' STL, robust and periodic."""
    fitted = STL(np.array(values), period=period, robust=True, seasonal=10 * len(values) + 1, seasonal_deg=0).fit()
    return fitted.seasonal


def by_stl(values: list[float], period: int, most: int) -> list[int]:
    """As published: the season of STL, the median, and the test in plain Python."""
    numbers = np.array(values)
    residuals = numbers - season_of_stl(values, period) - np.median(numbers)
    return plain_esd(residuals.tolist(), most, 0.05, robust=True)


@pytest.mark.parametrize("seed", range(5))
def test_with_the_season_of_stl_it_is_the_published_test(seed: int) -> None:
    values, _ = seasonal_series(seed, 6, 30)
    season = season_of_stl(values, 24)
    found = seasonal_hybrid_esd(values, period=24, most_share=0.05, seasonal=season)
    assert found.positions.tolist() == by_stl(values, 24, int(0.05 * len(values)))
    assert len(found.positions) > 0


def test_the_median_stands_in_for_stl() -> None:
    found, differing = 0, 0
    for seed in range(5):
        for smallest, largest in ((25, 60), (6, 30)):
            values, odd = seasonal_series(seed, smallest, largest)
            ours = set(seasonal_hybrid_esd(values, period=24, most_share=0.05).positions.tolist())
            theirs = set(by_stl(values, 24, int(0.05 * len(values))))
            assert smallest == 6 or ours == theirs == set(odd)
            found, differing = found + len(theirs), differing + len(ours ^ theirs)
    assert found > 100
    assert differing <= 2  # which lie at the limit


def test_what_a_mean_hides_the_median_finds() -> None:
    # A quarter of all values are far off: mean and deviation move with them, median and MAD do not.
    values = [*np.linspace(-1, 1, 60), *([50.0] * 20)]
    # The ten most extreme are still among the others when the test ends.
    assert len(generalised_esd(values, most=10).positions) == 0
    assert len(generalised_esd(values, most=10, robust=True).positions) == 10


def test_nothing_is_found_more_often_than_alpha_says_where_there_is_nothing() -> None:
    random = np.random.default_rng(7)
    hits = sum(bool(len(generalised_esd(random.normal(size=200), most=10, alpha=0.05).positions)) for _ in range(400))
    assert hits <= 33  # 20 expected; more than 33 would be three standard deviations


def test_missing_values_are_left_out_and_keep_their_places() -> None:
    values = np.array([1, 2, np.nan, 3, 2, 1, 2, 50, 2, 3, 1, np.nan, 2, 3])
    assert generalised_esd(values, most=3, robust=True).positions.tolist() == [7]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [3.0] * 40, [float("nan")] * 5])
def test_too_little_to_say_anything(values: list[float]) -> None:
    assert generalised_esd(values, most=5).positions.tolist() == []
    assert seasonal_hybrid_esd(values, period=7).positions.tolist() == []


def test_half_of_the_values_cannot_be_outliers() -> None:
    with pytest.raises(ValueError, match=r"below 0\.5"):
        seasonal_hybrid_esd([1.0, 2.0], period=7, most_share=0.5)


def test_the_season_is_found_around_a_trend() -> None:
    phases = np.array([-3.0, 1, 0, 4, -1, 2, -3])
    values: Any = np.tile(phases, 30) + 0.01 * np.arange(210)
    assert seasonal_component(values, 7)[:7] == pytest.approx(phases, abs=0.07)
