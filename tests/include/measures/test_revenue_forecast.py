"""The rhythm of the week, the curve between the nodes, and the band, on series whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from include.measures.revenue_forecast import band, daily, level_error, nodes, weekly_rhythm

SHAPE = np.array([0.5, 0.8, 0.9, 1.0, 1.1, 1.3, 1.4])  # by day number modulo 7


def series(days: int, first: int, noise: float, seed: int = 1) -> np.ndarray:
    mean = 200 * SHAPE[np.arange(first, first + days) % 7]
    if not noise:
        return mean
    return np.random.default_rng(seed).gamma(mean / noise, noise)


@pytest.mark.parametrize("first", [19_000, 19_003])
def test_the_rhythm_is_found_whatever_day_the_series_begins_with(first: int) -> None:
    exact = weekly_rhythm(series(150, first, 0), first + 149)
    assert exact.factors == pytest.approx(SHAPE / SHAPE.mean())
    assert exact.noise == pytest.approx(0, abs=1e-9)
    noisy = weekly_rhythm(series(182, first, 30), first + 181)
    assert noisy.factors == pytest.approx(SHAPE / SHAPE.mean(), abs=0.25)
    assert noisy.noise == pytest.approx(30, rel=0.3)
    assert noisy.of([first, first + 7]).tolist() == [noisy.factors[first % 7]] * 2


def test_short_and_empty_series_have_none() -> None:
    for values in ([], [0.0] * 5, [3.0], [1.0] * 13, [0.0] * 60, [-5.0] * 60):
        found = weekly_rhythm(values, 19_000)
        assert found.factors.tolist() == [1.0] * 7
        assert np.isfinite(found.noise)


def test_days_add_up_to_what_is_known_at_the_nodes() -> None:
    ahead = nodes(182)
    assert ahead == [7, 14, 28, 56, 91, 126, 182]
    assert nodes(5) == [5]
    known = [100 * (1 - np.exp(-day / 60)) for day in ahead]
    each = daily(ahead, known)
    assert len(each) == 182
    assert np.cumsum(each)[[day - 1 for day in ahead]] == pytest.approx(known)
    truth = np.diff(100 * (1 - np.exp(-np.arange(183) / 60)))
    assert np.abs(each - truth).max() < 0.06 * truth.max()


def test_the_band_holds_as_many_days_as_it_says() -> None:
    mean, noise = np.full(2_000, 200.0), 40.0
    low, high = band(mean, noise, 0.0, known_horizon_days=2_000, confidence_level=0.9)
    came = np.random.default_rng(3).gamma(mean / noise, noise)
    assert ((came >= low) & (came <= high)).mean() == pytest.approx(0.9, abs=0.02)
    wide = band(mean[:300], noise, 0.2, known_horizon_days=90, confidence_level=0.9)
    assert (wide[0] < low[:300]).all()
    assert (wide[1] > high[:300]).all()
    assert (np.diff(wide[1][90:]) > 0).all()  # the error of the level grows where nothing is known of it
    assert band([0.0], 1.0, 0.1, known_horizon_days=1, confidence_level=0.9)[1].tolist() == [0.0]


def test_the_error_of_the_level_is_that_of_weeks() -> None:
    predicted = np.full(28, 10.0)
    actual = np.repeat([11.0, 9.0, 12.0, 10.0], 7)
    assert level_error(predicted, actual, 0.0) == pytest.approx(np.sqrt((0.01 + 0.01 + 0.04) / 4))
    assert level_error(predicted, actual, 0.35) == pytest.approx(np.sqrt(0.06 / 4 - 0.35 / 70))
    assert level_error(predicted, actual, 70.0) == pytest.approx(0.05)  # that of the whole
    assert level_error(np.zeros(28), actual, 1.0) == 0
    assert level_error([], [], 1.0) == 0
