"""Every test on offer that statsmodels has too, and what intervals and curves rest on: equal to 1e-9."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.nonparametric import rank_compare_2indep
from statsmodels.stats.power import NormalIndPower, TTestIndPower
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    proportions_chisquare,
    proportions_ztest,
)
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from include.experiments.comparisons import Comparison, mann_whitney, paired, proportions, welch, winsorised
from include.experiments.corrections import benjamini_hochberg, holm
from include.experiments.cuped import adjusted, cuped
from include.experiments.difference_in_differences import difference_in_differences
from include.experiments.power import power
from include.experiments.ratios import ratio_difference
from include.measures.rates import wilson_interval
from include.measures.survival import kaplan_meier

CLOSE = 1e-9


def amounts(seed: int, n: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(random.random(n) < 0.35, 0, np.round(random.lognormal(3, 1.1, n), 0))


OWN, OTHER = amounts(1, 340), amounts(2, 417)
OWN_BEFORE, OTHER_BEFORE = OWN + amounts(3, 340), OTHER + amounts(4, 417)


def assert_is(found: Comparison, statistic: float, p_value: float, ends: tuple[float, float] | None = None) -> None:
    assert found.effect / found.standard_error == pytest.approx(statistic, rel=CLOSE)
    assert found.p_value == pytest.approx(p_value, rel=CLOSE)
    if ends is not None:
        assert (found.ci_low, found.ci_high) == pytest.approx(ends, rel=CLOSE)


@pytest.mark.parametrize("confidence_level", [0.8, 0.95])
def test_welch_winsorised_and_cuped(confidence_level: float) -> None:
    limit = np.quantile(np.concatenate([OWN, OTHER]), 0.99)
    both = adjusted(np.concatenate([OWN, OTHER]), np.concatenate([OWN_BEFORE, OTHER_BEFORE]))
    for found, own, other in (
        (welch(OWN, OTHER, confidence_level=confidence_level), OWN, OTHER),
        (winsorised(OWN, OTHER, confidence_level=confidence_level), OWN.clip(max=limit), OTHER.clip(max=limit)),
        (cuped(OWN, OTHER, OWN_BEFORE, OTHER_BEFORE, confidence_level=confidence_level)[0], both[:340], both[340:]),
    ):
        theirs = CompareMeans(DescrStatsW(own), DescrStatsW(other))
        statistic, p_value, degrees = theirs.ttest_ind(usevar="unequal")
        assert_is(found, statistic, p_value, theirs.tconfint_diff(alpha=1 - confidence_level, usevar="unequal"))
        assert found.degrees_of_freedom == pytest.approx(degrees, rel=CLOSE)


def test_cuped_takes_away_the_slope_of_least_squares() -> None:
    value, past = np.concatenate([OWN, OTHER]), np.concatenate([OWN_BEFORE, OTHER_BEFORE])
    fit = sm.OLS(value, sm.add_constant(past)).fit()
    assert adjusted(value, past) - value.mean() == pytest.approx(fit.resid, abs=1e-9)


def test_before_and_after() -> None:
    before, after = OTHER[:340], OWN
    theirs = DescrStatsW(after - before)
    statistic, p_value, _ = theirs.ttest_mean()
    assert_is(paired(before, after), statistic, p_value, theirs.tconfint_mean())


@pytest.mark.parametrize("counts", [(56, 70, 48, 80), (3, 400, 11, 380), (250, 1_000, 250, 1_000)])
def test_proportions(counts: tuple[int, int, int, int]) -> None:
    found = proportions(*counts)
    statistic, p_value = proportions_ztest(counts[::2], counts[1::2])
    assert_is(found, float(statistic), float(p_value))
    assert found.p_value == pytest.approx(proportions_chisquare(counts[::2], counts[1::2])[1], rel=CLOSE)
    ends = confint_proportions_2indep(*counts, method="newcomb", compare="diff")
    assert (found.ci_low, found.ci_high) == pytest.approx(ends, rel=CLOSE)


def test_wilsons_interval() -> None:
    counts, totals = np.array([0, 1, 3, 81, 15, 20]), np.array([20, 1, 10, 263, 148, 20])
    for level in (0.8, 0.95, 0.99):
        ends = wilson_interval(counts, totals, level)
        theirs = proportion_confint(counts, totals, alpha=1 - level, method="wilson")
        for own, known in zip(ends, theirs, strict=True):
            assert own == pytest.approx(known, rel=CLOSE, abs=1e-12)


def test_ranks_and_their_interval() -> None:
    """Brunner and Munzel's variance is DeLong's; the p-value there is of their test, not of Mann and Whitney's."""
    found, theirs = mann_whitney(OWN, OTHER), rank_compare_2indep(OWN, OTHER, use_t=False)
    assert found.effect == pytest.approx(theirs.prob1 - 0.5, rel=CLOSE)
    assert (found.ci_low + 0.5, found.ci_high + 0.5) == pytest.approx(theirs.conf_int(alpha=0.05), rel=CLOSE)


def test_a_ratio_is_that_of_weighted_least_squares() -> None:
    """Amount per order, weighted by orders, with a variance robust to unlike customers (HC1): the delta method."""
    orders = 1 + np.random.default_rng(5).poisson(2, len(OWN))
    others = 1 + np.random.default_rng(6).poisson(2, len(OTHER))
    found = ratio_difference(OWN, orders, OTHER, others)
    variance = 0.0
    for amount, number in ((OWN, orders), (OTHER, others)):
        fit = sm.WLS(amount / number, np.ones(len(amount)), weights=number).fit(cov_type="HC1")
        variance += float(fit.bse[0] ** 2)
    assert found.standard_error == pytest.approx(np.sqrt(variance), rel=CLOSE)


def test_difference_in_differences_is_least_squares_with_a_robust_variance() -> None:
    random = np.random.default_rng(7)
    n = 600
    strata, exposed = random.integers(0, 5, n), random.random(n) < 0.4
    before = random.gamma(2, 5, n) + strata
    after = before + exposed * 2 + random.normal(0, 3 + strata, n)
    found = difference_in_differences(before, after, exposed, strata)
    columns = np.column_stack([exposed, *(strata == one for one in range(5))]).astype("float64")
    fit = sm.OLS(after - before, columns).fit(cov_type="HC2")
    assert found.effect == pytest.approx(float(fit.params[0]), rel=CLOSE)
    assert found.standard_error == pytest.approx(float(fit.bse[0]), rel=CLOSE)


def test_corrections() -> None:
    p_values = np.random.default_rng(8).beta(0.4, 2, 40)
    p_values[7] = p_values[30]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], rel=CLOSE)
    assert benjamini_hochberg(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1], rel=CLOSE)


@pytest.mark.parametrize("effect", [0.05, 0.2, 0.5])
def test_power(effect: float) -> None:
    for n in (30, 64, 200):
        own = power(effect, float(np.sqrt(2 / n)), 2 * n - 2)
        assert own == pytest.approx(TTestIndPower().power(effect, n, 0.05), rel=CLOSE)
    n = 5_000
    own = power(effect, float(np.sqrt(2 / n)))
    assert own == pytest.approx(NormalIndPower().power(effect, n, 0.05), rel=CLOSE)


def test_kaplan_meier() -> None:
    random = np.random.default_rng(9)
    times, events = random.integers(1, 30, 500).astype("float64"), random.random(500) < 0.6
    curve, theirs = kaplan_meier(times, events, np.ones(500), 0.95), SurvfuncRight(times, events.astype(int))
    assert curve.times.tolist() == theirs.surv_times.tolist()
    assert curve.at_risk.tolist() == theirs.n_risk.tolist()
    assert curve.survival == pytest.approx(theirs.surv_prob, rel=CLOSE)
    inside = curve.survival > 0
    greenwood = np.sqrt(curve.log_variance[inside]) * curve.survival[inside]
    assert greenwood == pytest.approx(theirs.surv_prob_se[inside], rel=CLOSE)
    low, high = theirs.quantile_ci(0.5, method="cloglog")
    assert curve.median() == (theirs.quantile(0.5), low, high)
