"""Under no effect: real coupon users, split at random a thousand times, in every test on offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.experiments import permutation
from include.experiments.comparisons import bootstrap, mann_whitney, proportions, welch, winsor_limit
from include.experiments.cuped import adjusted, cuped
from include.experiments.permutation import Labels, calibration, random_labels
from include.experiments.power import minimum_detectable_effect
from include.experiments.ratios import ratio_difference

PERMUTATIONS = 1_000
Offered = dict[str, Callable[[pd.DataFrame, Labels], Any]]

OFFERED: Offered = {
    "welch, orders": lambda one, labels: permutation.welch_p_values(one["orders"], labels),
    "welch, revenue": lambda one, labels: permutation.welch_p_values(one["revenue"], labels),
    "winsorised": lambda one, labels: permutation.welch_p_values(
        one["revenue"].clip(upper=winsor_limit(one["revenue"], 0.01)), labels
    ),
    "cuped": lambda one, labels: permutation.welch_p_values(adjusted(one["revenue"], one["revenue_before"]), labels),
    "mann-whitney, orders": lambda one, labels: permutation.mann_whitney_p_values(one["orders"], labels),
    "mann-whitney, revenue": lambda one, labels: permutation.mann_whitney_p_values(one["revenue"], labels),
    "proportions": lambda one, labels: permutation.proportions_p_values(one["orders"] > 8, labels),
    "ratio": lambda one, labels: permutation.ratio_p_values(one["revenue"], one["orders"], labels),
    "bootstrap": lambda one, labels: permutation.bootstrap_p_values(one["revenue"], labels, resamples=999, seed=1),
}


@pytest.mark.parametrize("test", OFFERED)
def test_five_per_cent_of_splits_of_coupon_users_are_rejected(test: str, coupon_users: pd.DataFrame) -> None:
    n = len(coupon_users)
    labels = random_labels(n // 2, n, permutations=PERMUTATIONS, seed=17)
    assert set(labels.sum(axis=1)) == {n // 2}
    found = calibration(test, OFFERED[test](coupon_users, labels), n=n)
    assert found.permutations == PERMUTATIONS
    assert 0.035 <= found.rejections / PERMUTATIONS <= 0.065
    assert found.holds


def test_looking_twenty_times_rejects_no_more(coupon_users: pd.DataFrame) -> None:
    n = len(coupon_users)
    labels = random_labels(n // 2, n, permutations=PERMUTATIONS, seed=18)
    p_values = permutation.always_valid_p_values(coupon_users["revenue"], labels, looks=20, scale=20.0)
    assert np.isfinite(p_values).all()
    assert calibration("always_valid", p_values, n=n, at_most=True).holds
    assert (p_values < 0.05).mean() <= 0.05


def test_planted_effects_on_coupon_users_are_found_with_the_promised_power(coupon_users: pd.DataFrame) -> None:
    """The smallest effect that each test is said to find with 80 % is added to a random half, 400 times."""
    revenue, orders, before = (coupon_users[name].to_numpy() for name in ("revenue", "orders", "revenue_before"))
    n = len(revenue)
    labels = random_labels(n // 2, n, permutations=400, seed=23)
    nothing = {
        "welch": welch(revenue[: n // 2], revenue[n // 2 :]),
        "cuped": cuped(revenue[: n // 2], revenue[n // 2 :], before[: n // 2], before[n // 2 :])[0],
        "ratio": ratio_difference(revenue[: n // 2], orders[: n // 2], revenue[n // 2 :], orders[n // 2 :]),
    }
    effects = {
        name: minimum_detectable_effect(one.standard_error, one.degrees_of_freedom) for name, one in nothing.items()
    }
    assert effects["cuped"] < 0.8 * effects["welch"]
    found: dict[str, list[tuple[bool, bool]]] = {name: [] for name in effects}
    for row in labels:
        more = revenue[row] + effects["welch"]
        made = {
            "welch": welch(more, revenue[~row]),
            "cuped": cuped(revenue[row] + effects["cuped"], revenue[~row], before[row], before[~row])[0],
            "ratio": ratio_difference(
                revenue[row] + effects["ratio"] * orders[row], orders[row], revenue[~row], orders[~row]
            ),
        }
        for name, one in made.items():
            found[name].append((one.p_value < 0.05, one.ci_low <= effects[name] <= one.ci_high))
    for power, coverage in (np.mean(rows, axis=0) for rows in found.values()):
        assert power == pytest.approx(0.8, abs=0.06)  # three standard errors of 400 splits
        assert coverage >= 0.92


def test_the_splits_are_the_single_tests(coupon_users: pd.DataFrame) -> None:
    labels = random_labels(150, len(coupon_users), permutations=3, seed=19)
    revenue, orders = (coupon_users[name].to_numpy() for name in ("revenue", "orders"))
    single: dict[str, Callable[[Any], float]] = {
        "welch, revenue": lambda row: welch(revenue[row], revenue[~row]).p_value,
        "mann-whitney, orders": lambda row: mann_whitney(orders[row], orders[~row]).p_value,
        "proportions": lambda row: (
            proportions(int((orders[row] > 8).sum()), row.sum(), int((orders[~row] > 8).sum()), (~row).sum()).p_value
        ),
        "ratio": lambda row: ratio_difference(revenue[row], orders[row], revenue[~row], orders[~row]).p_value,
    }
    for name, one in single.items():
        assert OFFERED[name](coupon_users, labels) == pytest.approx([one(row) for row in labels], rel=1e-9)
    drawn = permutation.bootstrap_p_values(revenue, labels, resamples=1999, seed=1)
    assert drawn == pytest.approx([bootstrap(revenue[row], revenue[~row]).p_value for row in labels], abs=0.1)


def test_a_test_that_does_not_hold_is_told() -> None:
    """Orders of a customer counted as though they were customers: what the delta method is there for."""
    random = np.random.default_rng(20)
    customers, orders = 200, 12
    values = np.repeat(random.normal(0, 1, customers), orders) + random.normal(0, 0.3, customers * orders)
    labels = random_labels(customers // 2, customers, permutations=PERMUTATIONS, seed=21)
    wrong = calibration("orders", permutation.welch_p_values(values, np.repeat(labels, orders, axis=1)), n=len(values))
    assert not wrong.holds
    assert wrong.rejections / PERMUTATIONS > 0.3
    assert wrong.ks_distance > 0.2


def test_one_huge_customer_is_told() -> None:
    values = np.append(np.ones(99) + np.arange(99) / 1e6, 1e6)
    labels = random_labels(50, 100, permutations=PERMUTATIONS, seed=22)
    assert not calibration("welch", permutation.welch_p_values(values, labels), n=100).holds


def test_values_without_variance_reject_nothing() -> None:
    labels = random_labels(5, 10, permutations=50, seed=1)
    constant = np.ones(10)
    for p_values in (
        permutation.welch_p_values(constant, labels),
        permutation.mann_whitney_p_values(constant, labels),
        permutation.proportions_p_values(constant, labels),
        permutation.ratio_p_values(constant, constant, labels),
    ):
        assert np.isnan(p_values).all()
        assert calibration("constant", p_values, n=10).rejections == 0
    assert not calibration("nothing", [], n=0).holds
