"""Errors of predictions, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from include.measures.holdout import errors, normalised_gini, tenths


def test_errors_by_hand() -> None:
    found = errors([1.0, 2.0], [0, 4], [3, 1])
    assert found["mean_absolute_error"] == pytest.approx((3 * 1 + 2) / 4)
    assert found["root_mean_square_error"] == pytest.approx(np.sqrt((3 * 1 + 4) / 4))
    assert found["bias"] == pytest.approx((3 * 1 - 2) / 4)
    assert found["poisson_deviance"] == pytest.approx((3 * 2 * 1 + 2 * (4 * np.log(2) - 4 + 2)) / 4)
    assert errors([0.0], [1], [1])["poisson_deviance"] != errors([0.0], [1], [1])["poisson_deviance"]  # not a number
    assert errors([0.0], [0], [1])["poisson_deviance"] == 0
    assert all(np.isnan(value) for value in errors([], [], []).values())


def test_the_true_mean_has_the_lowest_deviance() -> None:
    chance = np.random.default_rng(1)
    rate = chance.gamma(0.3, 2, 20_000)
    actual = chance.poisson(rate)
    ones = np.ones(len(rate))
    true, low = errors(rate, actual, ones), errors(rate * 0.6, actual, ones)
    assert true["poisson_deviance"] < low["poisson_deviance"]
    assert true["poisson_deviance"] < errors(rate * 1.6, actual, ones)["poisson_deviance"]
    assert abs(true["bias"]) < 0.02


def test_gini_is_one_for_a_perfect_ranking_and_none_by_chance() -> None:
    chance = np.random.default_rng(2)
    actual = chance.poisson(1.0, 5_000).astype(float)
    ones = np.ones(5_000)
    assert normalised_gini(actual * 3 + 1, actual, ones) == pytest.approx(1)
    assert normalised_gini(-actual, actual, ones) == pytest.approx(-1)
    assert normalised_gini(ones, actual, ones) == pytest.approx(0)
    assert abs(normalised_gini(chance.random(5_000), actual, ones)) < 0.05
    assert np.isnan(normalised_gini(ones, ones * 0, ones))
    # Two alike customers are one row with the number two.
    assert normalised_gini(np.array([3.0, 1.0]), np.array([2.0, 0.0]), np.array([2.0, 2.0])) == normalised_gini(
        np.array([3.0, 3.0, 1.0, 1.0]), np.array([2.0, 2.0, 0.0, 0.0]), np.ones(4)
    )


def test_tenths_hold_together_what_is_equal() -> None:
    found = tenths(np.arange(100, 0, -1), np.arange(100, 0, -1), np.ones(100))
    assert found["decile"].tolist() == list(range(1, 11))
    assert found["customers"].tolist() == [10] * 10
    assert found["predicted_mean"].iloc[0] == found["actual_mean"].iloc[0] == pytest.approx(95.5)
    equal = tenths([1.0, 1.0, 5.0], [0, 2, 4], [50, 40, 10])
    assert equal["customers"].tolist() == [10, 90]
    assert equal["actual_mean"].tolist() == pytest.approx([4, 80 / 90])
