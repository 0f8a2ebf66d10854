"""Against scipy to the last digits, against published examples, and by simulation where there is neither."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from include.experiments.assignment import sample_ratio_p_value
from include.experiments.comparisons import (
    bootstrap,
    mann_whitney,
    paired,
    proportions,
    welch,
    winsorised,
)
from include.experiments.corrections import benjamini_hochberg, holm
from include.experiments.cuped import cuped
from include.experiments.power import minimum_detectable_effect, power, sample_size
from include.experiments.ratios import paired_ratio_change, ratio_difference

CLOSE = 1e-9


def money(seed: int, n: int, factor: float = 1.0) -> np.ndarray:
    """Amounts as they are: a third nothing, the rest skewed, many of them equal."""
    random = np.random.default_rng(seed)
    return np.where(random.random(n) < 0.35, 0, np.round(factor * random.lognormal(3, 1.1, n), 0))


OWN, OTHER = money(1, 340, 1.15), money(2, 417)


def test_welch_is_scipys() -> None:
    found, known = welch(OWN, OTHER), stats.ttest_ind(OWN, OTHER, equal_var=False)
    ends = known.confidence_interval(0.95)
    assert found.p_value == pytest.approx(known.pvalue, rel=CLOSE)
    assert (found.ci_low, found.ci_high) == pytest.approx((ends.low, ends.high), rel=CLOSE)
    assert found.degrees_of_freedom == pytest.approx(known.df, rel=CLOSE)
    assert found.effect == pytest.approx(OWN.mean() - OTHER.mean(), rel=CLOSE)
    assert (found.n_treated, found.n_control) == (340, 417)
    assert found.relative_effect == pytest.approx(OWN.mean() / OTHER.mean() - 1, rel=CLOSE)


def test_winsorised_is_scipys_on_cut_values() -> None:
    limit = np.quantile(np.concatenate([OWN, OTHER]), 0.98)
    known = stats.ttest_ind(OWN.clip(max=limit), OTHER.clip(max=limit), equal_var=False)
    assert winsorised(OWN, OTHER, share=0.02).p_value == pytest.approx(known.pvalue, rel=CLOSE)
    assert winsorised(OWN, OTHER, share=0).p_value == welch(OWN, OTHER).p_value


def test_paired_is_scipys() -> None:
    before, after = OTHER[:300], OWN[:300]
    found, known = paired(before, after), stats.ttest_rel(after, before)
    ends = known.confidence_interval(0.9)
    assert found.p_value == pytest.approx(known.pvalue, rel=CLOSE)
    narrow = paired(before, after, confidence_level=0.9)
    assert (narrow.ci_low, narrow.ci_high) == pytest.approx((ends.low, ends.high), rel=CLOSE)


def test_mann_whitney_is_scipys_with_ties() -> None:
    found = mann_whitney(OWN, OTHER)
    known = stats.mannwhitneyu(OWN, OTHER, method="asymptotic")
    assert found.p_value == pytest.approx(known.pvalue, rel=CLOSE)
    assert found.effect == pytest.approx(known.statistic / (len(OWN) * len(OTHER)) - 0.5, rel=CLOSE)


def test_the_interval_of_mann_whitney_is_delongs() -> None:
    """By its definition, pair by pair."""
    own, other = OWN[:40], OTHER[:50]
    above = (own[:, None] > other).astype(float) + 0.5 * (own[:, None] == other)
    error = math.sqrt(above.mean(axis=1).var(ddof=1) / 40 + above.mean(axis=0).var(ddof=1) / 50)
    found = mann_whitney(own, other)
    assert found.ci_low == pytest.approx(above.mean() - 0.5 - stats.norm.ppf(0.975) * error, rel=CLOSE)
    assert found.ci_high == pytest.approx(above.mean() - 0.5 + stats.norm.ppf(0.975) * error, rel=CLOSE)


def test_proportions_are_scipys_chi_squared_and_newcombes_example() -> None:
    found = proportions(56, 70, 48, 80)
    known = stats.chi2_contingency([[56, 14], [48, 32]], correction=False)
    assert found.p_value == pytest.approx(known.pvalue, rel=CLOSE)
    # Newcombe (1998), table II, contrast (a), method 10.
    assert (found.effect, found.ci_low, found.ci_high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_group_sizes_are_scipys_chi_squared() -> None:
    assert sample_ratio_p_value([5210, 4790]) == pytest.approx(stats.chisquare([5210, 4790]).pvalue, rel=CLOSE)
    known = stats.chisquare([880, 95, 110], [868, 108.5, 108.5]).pvalue
    assert sample_ratio_p_value([880, 95, 110], [8, 1, 1]) == pytest.approx(known, rel=CLOSE)
    assert math.isnan(sample_ratio_p_value([3]))
    assert math.isnan(sample_ratio_p_value([0, 0]))
    with pytest.raises(ValueError, match="intended share above zero"):
        sample_ratio_p_value([1, 2], [1, 0])


def test_corrections_are_scipys_and_rs() -> None:
    p_values = [0.001, 0.8, 0.03, 0.04, 0.0301, 0.5]
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values), rel=CLOSE)
    # R: p.adjust(c(0.05, 0.01, 0.03, 0.02, 0.04), "holm")
    assert holm([0.05, 0.01, 0.03, 0.02, 0.04]) == pytest.approx([0.09, 0.05, 0.09, 0.08, 0.09], rel=CLOSE)
    with_missing = holm([0.01, float("nan"), 0.04])
    assert with_missing[[0, 2]] == pytest.approx([0.02, 0.04])
    assert math.isnan(with_missing[1])
    assert len(holm([])) == 0


def test_power_is_cohens() -> None:
    """Cohen (1988), table 2.4.1: customers a group for 80 % at 5 %, for small, medium and large effects."""
    assert [sample_size(effect, 1.0) for effect in (0.2, 0.5, 0.8)] == [394, 64, 26]
    error = math.sqrt(2 / 64)
    assert power(0.5, error, 126) == pytest.approx(0.8015, abs=1e-4)
    assert power(minimum_detectable_effect(error, 126), error, 126) == pytest.approx(0.8)
    assert power(0, error, 126) == pytest.approx(0.05, abs=1e-9)
    assert power(minimum_detectable_effect(2.0, wanted_power=0.9), 2.0) == pytest.approx(0.9)
    assert minimum_detectable_effect(1.0) == pytest.approx(stats.norm.ppf(0.975) + stats.norm.ppf(0.8), abs=1e-4)
    with pytest.raises(ValueError, match="other than zero"):
        sample_size(0, 1)


def test_a_ratio_with_one_each_is_a_mean() -> None:
    ones = np.ones(len(OWN)), np.ones(len(OTHER))
    found, mean = ratio_difference(OWN, ones[0], OTHER, ones[1]), welch(OWN, OTHER)
    assert found.standard_error == pytest.approx(mean.standard_error, rel=CLOSE)
    assert found.effect == pytest.approx(mean.effect, rel=CLOSE)


def test_intervals_of_ratios_cover_where_orders_of_a_customer_are_alike() -> None:
    """Customers with own levels and 1 to 6 orders: the true ratios differ by 2; independent orders would not cover."""
    random = np.random.default_rng(5)
    covered = too_narrow = 0
    for _ in range(300):
        groups = []
        for shift in (2.0, 0.0):
            orders = random.integers(1, 7, 300)
            level = random.gamma(4, 5, 300) + shift
            per_order = [random.normal(one, 2, number) for one, number in zip(level, orders, strict=True)]
            groups.append((np.array([one.sum() for one in per_order]), orders, np.concatenate(per_order)))
        (own, own_n, own_orders), (other, other_n, other_orders) = groups
        found = ratio_difference(own, own_n, other, other_n)
        covered += found.ci_low <= 2 <= found.ci_high
        naive = welch(own_orders, other_orders)
        too_narrow += not naive.ci_low <= 2 <= naive.ci_high
    assert 0.92 <= covered / 300 <= 0.98
    assert too_narrow / 300 > 0.2


def test_the_change_of_a_ratio_of_the_same_customers() -> None:
    random = np.random.default_rng(6)
    covered = 0
    for _ in range(300):
        level = random.gamma(4, 5, 200)
        before_n, after_n = random.poisson(2, 200), random.poisson(2, 200)
        before, after = level * before_n, (level + 1) * after_n
        found = paired_ratio_change(before, before_n, after, after_n)
        covered += found.ci_low <= 1 <= found.ci_high
    assert 0.92 <= covered / 300 <= 0.98


def test_cuped_takes_away_what_the_past_explains() -> None:
    random = np.random.default_rng(7)
    past = random.gamma(2, 10, 4000)
    now = 0.8 * past + random.normal(0, past.std() * 0.6, 4000)  # correlation 0.8
    found, reduction = cuped(now[:2000] + 1, now[2000:], past[:2000], past[2000:])
    assert reduction == pytest.approx(0.64, abs=0.03)
    assert found.ci_low < 1 < found.ci_high
    assert found.standard_error < welch(now[:2000], now[2000:]).standard_error
    same, nothing = cuped(OWN, OTHER, np.ones(len(OWN)), np.ones(len(OTHER)))
    assert nothing == 0
    assert same.p_value == pytest.approx(welch(OWN, OTHER).p_value, rel=CLOSE)


def test_the_bootstrap_is_seeded_covers_and_agrees_with_itself() -> None:
    found = bootstrap(OWN, OTHER, seed=4)
    shuffled = bootstrap(OWN[::-1], np.random.default_rng(1).permutation(OTHER), seed=4)
    assert found == shuffled
    assert bootstrap(OWN, OTHER, seed=5).ci_low != found.ci_low
    plain = welch(OWN, OTHER)
    assert found.standard_error == pytest.approx(plain.standard_error, rel=0.1)
    random, covered = np.random.default_rng(8), 0
    for number in range(200):
        own, other = random.exponential(2, 120) + 0.5, random.exponential(2, 120)
        one = bootstrap(own, other, resamples=399, seed=number)
        covered += one.ci_low <= 0.5 <= one.ci_high
        assert (one.p_value < 0.05) == (not one.ci_low <= 0 <= one.ci_high) or 0.03 < one.p_value < 0.07
    assert 0.90 <= covered / 200 <= 0.985


def test_many_customers_are_drawn_in_bunches() -> None:
    random = np.random.default_rng(9)
    own, other = random.lognormal(3, 1, 30_000), random.lognormal(3, 1, 20_000)
    found, plain = bootstrap(own, other), welch(own, other)
    assert (found.n_treated, found.n_control) == (30_000, 20_000)
    assert found.standard_error == pytest.approx(plain.standard_error, rel=0.1)


@pytest.mark.parametrize(
    "values", [([], []), ([1.0], []), ([1.0], [2.0]), ([3.0] * 5, [3.0] * 6), ([3.0] * 5, [1.0] * 6)]
)
def test_what_cannot_be_said_is_missing(values: tuple[list[float], list[float]]) -> None:
    own, other = np.array(values[0]), np.array(values[1])
    for found in (
        welch(own, other),
        bootstrap(own, other),
        ratio_difference(own, own * 0 + 1, other, other * 0 + 1),
        cuped(own, other, own * 0, other * 0)[0],
    ):
        assert math.isnan(found.p_value)
        assert math.isnan(found.ci_low)
        assert math.isnan(found.ci_high)
        assert (found.n_treated, found.n_control) == (len(own), len(other))
    ranks = mann_whitney(own, other)
    assert math.isnan(ranks.p_value) or 0 <= ranks.p_value <= 1
    assert math.isnan(proportions(0, len(own), 0, len(other)).p_value)
    assert math.isnan(power(1, float("nan")))
    assert math.isnan(minimum_detectable_effect(0.0))
