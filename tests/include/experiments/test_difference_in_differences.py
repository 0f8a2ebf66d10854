"""Effects without randomisation: planted ones are found, regression to the mean is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from include.experiments.comparisons import difference_of, paired, welch
from include.experiments.difference_in_differences import (
    centred,
    design_of,
    difference_in_differences,
    estimated,
    strata_of,
)
from include.experiments.exposures import first_orders, first_uses, order_history, units_of
from include.experiments.permutation import calibration, difference_in_differences_p_values, random_labels_within

Frame = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def test_one_stratum_is_welchs_test_of_the_changes() -> None:
    random = np.random.default_rng(1)
    before, after = random.poisson(3, 500), random.poisson(4, 500)
    exposed = random.random(500) < 0.2
    found = difference_in_differences(before, after, exposed, np.zeros(500))
    change = after - before
    known = stats.ttest_ind(change[exposed], change[~exposed], equal_var=False)
    ends = known.confidence_interval()
    assert found.p_value == pytest.approx(known.pvalue, rel=1e-9)
    assert (found.ci_low, found.ci_high) == pytest.approx((ends.low, ends.high), rel=1e-9)
    assert found.treated_value - found.control_value == pytest.approx(found.effect)
    assert found.treated_value == pytest.approx(change[exposed].mean())


def test_the_effect_is_that_of_least_squares_with_a_mean_per_stratum() -> None:
    random = np.random.default_rng(2)
    strata, exposed = random.integers(0, 12, 400), random.random(400) < 0.3
    change = random.normal(strata, 2) + 0.7 * exposed
    found = difference_in_differences(np.zeros(400), change, exposed, strata)
    matrix = np.column_stack([exposed, *(strata == one for one in range(12))]).astype(float)
    inverse = np.linalg.inv(matrix.T @ matrix)
    coefficients = inverse @ matrix.T @ change
    residual = change - matrix @ coefficients
    leverage = np.einsum("ij,jk,ik->i", matrix, inverse, matrix)
    meat = matrix.T @ (matrix * (residual**2 / (1 - leverage))[:, None])
    assert found.effect == pytest.approx(coefficients[0], rel=1e-9)
    assert found.standard_error == pytest.approx(math.sqrt((inverse @ meat @ inverse)[0, 0]), rel=1e-9)


def regressing(seed: int, effect: float = 0.0) -> Frame:
    """Customers with own rates; after a week with many orders the promotion is used more often. before, after,
    exposed, stratum: the week's orders."""
    random = np.random.default_rng(seed)
    rate = random.gamma(1.0, 1.0, 3000)
    before = random.poisson(rate)
    exposed = random.random(3000) < 0.05 + 0.1 * np.minimum(before, 4)
    after = random.poisson(rate) + random.poisson(effect, 3000) * exposed
    return before, after, exposed, before


def test_regression_to_the_mean_is_no_effect_but_before_and_after_says_so() -> None:
    wrong = held = 0
    for seed in range(300):
        before, after, exposed, stratum = regressing(seed)
        wrong += paired(before[exposed], after[exposed]).p_value < 0.05
        held += difference_in_differences(before, after, exposed, stratum).p_value < 0.05
    assert wrong / 300 > 0.8
    assert held / 300 <= 0.085  # 5 % and twice the standard error of 300 draws and a bit


def test_planted_effects_are_found_with_the_promised_power_and_intervals_cover() -> None:
    """The smallest effect found with 80 %, by its own standard error, is planted."""
    from include.experiments.power import minimum_detectable_effect

    errors = [difference_in_differences(*regressing(seed)).standard_error for seed in range(20)]
    planted = minimum_detectable_effect(float(np.mean(errors)) * 1.05)  # the effect varies between customers itself
    found = [difference_in_differences(*regressing(seed, planted)) for seed in range(400, 700)]
    assert np.mean([one.p_value < 0.05 for one in found]) == pytest.approx(0.8, abs=0.07)
    assert np.mean([one.ci_low <= planted <= one.ci_high for one in found]) >= 0.92
    assert np.mean([one.effect for one in found]) == pytest.approx(planted, rel=0.08)


def test_whoever_has_nobody_to_compare_with_is_left_out() -> None:
    before, after = np.array([0, 0, 0, 0, 0, 0, 9]), np.array([1, 2, 0, 1, 0, 1, 99])
    exposed = np.array([1, 1, 0, 0, 0, 0, 1], dtype=bool)
    found = difference_in_differences(before, after, exposed, [0, 0, 0, 0, 0, 0, 1])
    assert (found.n_treated, found.n_control, found.effect) == (2, 4, pytest.approx(1.0))


def test_the_same_customers_many_times_are_one_cluster() -> None:
    random = np.random.default_rng(4)
    before, after = np.zeros(600), random.normal(0, 1, 600)
    exposed, strata = random.random(600) < 0.3, np.zeros(600)
    once = difference_in_differences(before, after, exposed, strata, clusters=np.arange(600))
    assert once == difference_in_differences(before, after, exposed, strata)
    four = difference_in_differences(
        np.tile(before, 4), np.tile(after, 4), np.tile(exposed, 4), np.zeros(2400), clusters=np.tile(np.arange(600), 4)
    )
    assert four.effect == pytest.approx(once.effect)
    assert four.standard_error == pytest.approx(once.standard_error, rel=0.01)


@pytest.mark.parametrize(("size", "exposed"), [(0, 0), (1, 1), (1, 0), (2, 1), (5, 0), (5, 5), (3, 1)])
def test_too_few_say_nothing(size: int, exposed: int) -> None:
    labels = np.arange(size) < exposed
    found = difference_in_differences(np.zeros(size), np.zeros(size), labels, np.zeros(size))
    assert math.isnan(found.p_value)
    assert math.isnan(found.ci_low)
    p_values, plain = difference_in_differences_p_values(np.zeros(size), labels, np.zeros(size), permutations=5, seed=1)
    assert np.isnan(p_values).all()
    assert np.isnan(plain).all()


def test_strata_number_combinations() -> None:
    found = strata_of(["a", "b", "a", "a"], [1, 1, 1, 2])
    assert found.tolist() == [0, 2, 0, 1]


def test_labels_are_permuted_within_strata_and_the_tests_are_the_single_ones() -> None:
    random = np.random.default_rng(5)
    strata, exposed = random.integers(0, 6, 200), random.random(200) < 0.3
    change, clusters = random.normal(0, 1, 200), random.integers(0, 120, 200)
    design = design_of(exposed, strata, clusters)
    own = exposed[design.order]
    labels = random_labels_within(own, design.strata, permutations=4, seed=3)
    for row in labels:
        assert np.bincount(design.strata, weights=row).tolist() == np.bincount(design.strata, weights=own).tolist()
    assert (labels != own).any()
    together = estimated(centred(change, design), design, labels)
    for number, row in enumerate(labels):
        everybody = exposed.copy()
        everybody[design.order] = row
        alone = difference_in_differences(np.zeros(200), change, everybody, strata, clusters=clusters)
        assert together.p_value[number] == pytest.approx(alone.p_value, rel=1e-9)
        assert together.effect[number] == pytest.approx(alone.effect, rel=1e-9)


@pytest.fixture(scope="module")
def coupon_use(trips: pd.DataFrame) -> dict[str, Any]:
    """Households on days with a trip, and on which of them coupons were used first."""
    codes = trips["household"].astype("category").cat.codes
    history = order_history(codes, trips["day"], (trips["spent"] * 100).round())
    units = units_of(history, window_days=7, history_days=28, first_day=0, last_day=364)
    assert len(units.client) == len(trips)
    used = np.zeros(len(trips), dtype=bool)
    used[np.random.default_rng(1).choice(np.flatnonzero(trips["uses_coupons"]), 900, replace=False)] = True
    chosen, exposed = first_uses(units, used, from_day=0)
    random = np.random.default_rng(2)
    kept = np.flatnonzero(exposed | (random.random(len(exposed)) < 0.06))
    return {"units": units, "chosen": chosen[kept], "exposed": exposed[kept]}


@pytest.mark.parametrize("outcome", ["orders", "amount"])
def test_uses_given_to_others_are_rejected_in_five_per_cent(outcome: str, coupon_use: dict[str, Any]) -> None:
    """Real households, uses permuted among those alike; the plain before and after of them is far off."""
    units, chosen, exposed = coupon_use["units"], coupon_use["chosen"], coupon_use["exposed"]
    change = getattr(units, f"after_{outcome}") - getattr(units, f"before_{outcome}")
    matched, plain = difference_in_differences_p_values(
        change[chosen],
        exposed,
        units.stratum[chosen],
        clusters=units.client[chosen],
        permutations=1_000,
        seed=6,
    )
    found = calibration("matched", matched, n=len(chosen))
    assert found.holds
    assert 0.035 <= found.rejections / 1_000 <= 0.065
    assert len(plain) == 1_000


@pytest.mark.parametrize("outcome", ["orders", "amount"])
def test_two_promotions_without_effect_differ_in_five_per_cent(outcome: str, coupon_use: dict[str, Any]) -> None:
    """The same uses, permuted, dealt to two promotions: each against those who used neither, and then the two.

    Rejections are a little below 5 %, because what both have in common in their controls cancels out.
    """
    units, chosen, exposed = coupon_use["units"], coupon_use["chosen"], coupon_use["exposed"]
    change = (getattr(units, f"after_{outcome}") - getattr(units, f"before_{outcome}"))[chosen]
    strata, clusters = units.stratum[chosen], units.client[chosen]
    random = np.random.default_rng(7)
    p_values = []
    for used in random_labels_within(exposed, strata, permutations=3_000, seed=8):
        is_first = random.random(len(used)) < 0.5
        effects = []
        for own in (used & is_first, used & ~is_first):
            kept = own | ~used
            design = design_of(own[kept], strata[kept], clusters[kept])
            effects.append(estimated(centred(change[kept], design), design, own[kept][design.order]))
        p_values.append(float(difference_of(*effects).p_value[0]))
    found = calibration("between", p_values, n=len(chosen))
    assert found.holds
    assert 0.035 <= found.rejections / found.permutations <= 0.065


def test_units_are_days_with_orders_and_windows_leave_the_day_out() -> None:
    """One client: orders on days 3 (two), 9, 10 and 16; another: day 10."""
    history = order_history([1, 1, 1, 1, 1, 7], [10, 3, 3, 9, 16, 10], [5, 1, 2, 4, 8, 100])
    units = units_of(history, window_days=7, history_days=14, first_day=0, last_day=20)
    assert list(zip(units.client, units.day, strict=True)) == [(1, 3), (1, 9), (1, 10), (1, 16), (7, 10)]
    assert units.before_orders.tolist() == [0, 2, 3, 2, 0]
    assert units.before_amount.tolist() == [0, 3, 7, 9, 0]
    assert units.after_orders.tolist() == [2, 2, 1, 0, 0]
    assert units.after_amount.tolist() == [9, 13, 8, 0, 0]
    assert units.usual_orders.tolist() == [0, 0, 0, 2, 0]
    assert units.is_observed.tolist() == [False, True, True, False, True]
    assert history.until([1, 7, 3], 9)[0].tolist() == [3, 0, 0]
    assert history.until([1, 7, 3], 9)[2].tolist() == [9, -1, -1]


def test_the_first_use_counts_and_who_used_before_is_no_control() -> None:
    """Clients a..d order on days 30 and 32 of one week: a uses on both, b on 32, c never, d used it on day 28."""
    clients = [0, 0, 1, 1, 2, 2, 3, 3, 3]
    days = [30, 32, 30, 32, 30, 32, 28, 30, 32]
    history = order_history(clients, days, [1] * 9)
    units = units_of(history, window_days=1, history_days=1, first_day=0, last_day=60)
    used = np.array([True, True, False, True, False, False, True, False, False])
    chosen, exposed = first_uses(units, used, from_day=29)
    kinds = {
        (int(units.client[place]), int(units.day[place])): bool(one) for place, one in zip(chosen, exposed, strict=True)
    }
    # b is a control on day 30, two days before using it; d's use was too long ago to count, and d is no control.
    assert kinds[(0, 30)]
    assert kinds[(1, 32)]
    assert not kinds[(1, 30)]
    assert not kinds[(2, 30)]
    assert not kinds[(2, 32)]
    assert (0, 32) not in kinds
    assert all(client != 3 for client, _ in kinds)


def test_of_a_promotion_the_first_order_while_it_ran_decides() -> None:
    """It ran on days 29 to 40. a used it at once; b at the second order, c at the second of the same day; d before."""
    clients, days = [0, 0, 1, 1, 2, 2, 3, 3, 4], [30, 32, 30, 32, 30, 30, 28, 30, 41]
    history = order_history(clients, days, [1] * 9)
    units = units_of(history, window_days=1, history_days=1, first_day=0, last_day=60)
    assert list(zip(units.client, units.day, strict=True)) == [
        *((0, 30), (0, 32), (1, 30), (1, 32), (2, 30), (3, 28), (3, 30), (4, 41)),
    ]
    used = np.array([True, False, False, True, True, True, False, False])
    used_first = used & (units.client != 2)
    chosen, exposed = first_orders(units, used, used_first=used_first, from_day=29, until_day=40)
    kinds = {(int(units.client[at]), int(units.day[at])): bool(one) for at, one in zip(chosen, exposed, strict=True)}
    assert kinds == {(0, 30): True, (1, 30): False, (2, 30): False}


def test_nobody_at_all() -> None:
    history = order_history([], [], [])
    units = units_of(history, window_days=7, history_days=28, first_day=0, last_day=9)
    nobody = np.zeros(0, dtype=bool)
    for chosen, exposed in (
        first_uses(units, nobody, from_day=0),
        first_orders(units, nobody, used_first=nobody, from_day=0, until_day=9),
    ):
        assert len(chosen) == len(exposed) == 0


def test_welch_of_changes_is_wider_without_strata() -> None:
    before, after, exposed, stratum = regressing(9)
    change = after - before
    matched = difference_in_differences(before, after, exposed, stratum)
    assert matched.standard_error < welch(change[exposed], change[~exposed]).standard_error * 1.2
