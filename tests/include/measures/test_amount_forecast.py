"""The forecast of a customer's amounts by hand, by numerical integration, and for customers drawn from the models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import f as f_distribution
from scipy.stats import gamma, invgamma, kstest, norm

from include.measures.amount_forecast import LEAST_SPREAD, AmountSpread, fit_amount_spread, gamma_gamma_tails
from include.measures.lifetimes_models import SpendModel


def spend_model(p: float, q: float, v: float) -> SpendModel:
    return SpendModel({"p": p, "q": q, "v": v}, None, 100, p * v / (q - 1))


def test_gamma_gamma_by_hand() -> None:
    """p = 1, q = 1.5, v = 2; one order of 3, then one of 15.

    nu is Gamma(2.5, 5), an order Exponential(nu): P(Y >= 15) = (5 / (5 + 15))^2.5 = 0.25^2.5 = 1 / 32.
    """
    tails = gamma_gamma_tails(spend_model(1, 1.5, 2), 1, 3, 1, 15)
    assert float(tails.as_much) == pytest.approx(1 / 32)
    assert float(tails.as_little) == pytest.approx(31 / 32)


def test_own_spread_by_hand() -> None:
    """a = b = 1; two orders with squared deviations of 1, then two whose mean logarithm is sqrt(3) above.

    Freedom 2 + 2 - 1 = 3, variance (2 + 1) / 3 = 1, standard error sqrt(1/2 + 1/2) = 1: t = sqrt(3). With three degrees
    of freedom P(T <= t) = 1/2 + (u / (1 + u^2) + arctan u) / pi at u = t / sqrt(3) = 1: 3/4 + 1 / (2 pi).
    """
    tails = AmountSpread(1.0, 1.0).tails(2, 1.0, np.sqrt(3), 2)
    assert float(tails.as_little) == pytest.approx(0.75 + 1 / (2 * np.pi))
    assert float(tails.as_much) == pytest.approx(0.25 - 1 / (2 * np.pi))


@pytest.mark.parametrize(
    ("orders", "total", "made", "made_total"), [(1, 20, 1, 300), (7, 300, 3, 40), (40, 900, 12, 5)]
)
def test_gamma_gamma_is_the_integral_over_what_the_customer_may_be(
    orders: int, total: float, made: int, made_total: float
) -> None:
    p, q, v = 6.25, 3.744, 15.444
    own = gamma(q + p * orders, scale=1 / (v + total))
    ends = own.ppf([1e-14, 1 - 1e-14])

    def integral(tail: Any) -> float:
        return float(
            quad(lambda nu: own.pdf(nu) * tail(made_total, p * made, scale=1 / nu), *ends, epsrel=1e-10, epsabs=0)[0]
        )

    tails = gamma_gamma_tails(spend_model(p, q, v), orders, total, made, made_total)
    assert float(tails.as_much) == pytest.approx(integral(gamma.sf), rel=1e-6, abs=1e-12)
    assert float(tails.as_little) == pytest.approx(integral(gamma.cdf), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("orders", "squares", "difference", "made"), [(1, 0.0, 1.2, 1), (4, 0.7, -2.0, 3), (30, 9, 0.4, 2)]
)
def test_own_spread_is_the_integral_over_what_the_variance_may_be(
    orders: int, squares: float, difference: float, made: int
) -> None:
    spread = AmountSpread(2.5, 0.6)
    variance = invgamma(spread.shape + (orders - 1) / 2, scale=spread.scale + squares / 2)

    def integrand(logarithm: float) -> float:
        s2 = np.exp(logarithm)
        return float(variance.pdf(s2) * s2 * norm.sf(difference / np.sqrt(s2 * (1 / made + 1 / orders))))

    as_much = quad(integrand, -12, 12, limit=400)[0]
    tails = spread.tails(orders, squares, difference, made)
    assert float(tails.as_much) == pytest.approx(as_much, rel=1e-6)
    assert float(tails.as_little) == pytest.approx(1 - as_much, rel=1e-6)


def test_of_customers_of_the_models_every_probability_is_as_frequent_as_it_says() -> None:
    random = np.random.default_rng(3)
    drawn = 20_000
    x, n = random.integers(1, 9, drawn), random.integers(1, 5, drawn)
    nu = random.gamma(3.744, 1 / 15.444, drawn)
    total, made_total = random.gamma(6.25 * x) / nu, random.gamma(6.25 * n) / nu
    by_gamma_gamma = gamma_gamma_tails(spend_model(6.25, 3.744, 15.444), x, total, n, made_total)
    variance = invgamma.rvs(2.5, scale=0.6, size=drawn, random_state=random)
    difference = random.normal(0, np.sqrt(variance * (1 / x + 1 / n)))
    squares = variance * random.chisquare(np.maximum(x - 1, 1)) * (x > 1)
    by_spread = AmountSpread(2.5, 0.6).tails(x, squares, difference, n)
    for tails in (by_gamma_gamma, by_spread):
        assert tails.as_much + tails.as_little == pytest.approx(np.ones(drawn))
        assert kstest(tails.as_much, "uniform").pvalue > 0.01


def test_the_spread_is_the_most_likely_one() -> None:
    """Squares / freedom over b / a is F(freedom, 2 a) distributed: scipy's density of it, climbed without a slope."""
    random = np.random.default_rng(5)
    x = random.integers(2, 12, 4_000)
    variance = invgamma.rvs(3.0, scale=0.5, size=len(x), random_state=random)
    squares = variance * random.chisquare(x - 1)
    fit = fit_amount_spread(x, squares)
    assert fit.shape == pytest.approx(3.0, rel=0.1)
    assert fit.scale / fit.shape == pytest.approx(0.5 / 3, rel=0.05)
    kept = np.maximum(squares, (x - 1) * LEAST_SPREAD**2)

    def loss(logarithms: Any) -> float:
        a, unit = np.exp(logarithms)
        return -float(f_distribution.logpdf(kept / (x - 1) / unit, x - 1, 2 * a).sum() - len(x) * np.log(unit))

    best = minimize(loss, np.log([1.0, 1.0]), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-7})
    assert np.exp(best.x) == pytest.approx([fit.shape, fit.scale / fit.shape], rel=1e-3)


def test_fixed_prices_have_the_least_spread() -> None:
    x = np.array([2, 3, 5, 8] * 10)
    spread = fit_amount_spread(x, np.zeros(len(x)))
    assert spread.scale / spread.shape == pytest.approx(LEAST_SPREAD**2, rel=0.02)
    tails = spread.tails(6, 0.0, np.log([1.05, 2.0, 0.5]), 1)
    assert tails.as_much[0] > 0.1
    assert max(tails.as_much[1], tails.as_little[2]) < 1e-6


def test_a_model_without_parameters_judges_nobody() -> None:
    with pytest.raises(ValueError, match="everybody spends the mean"):
        gamma_gamma_tails(SpendModel(None, None, 2, 10.0), 1, 10, 1, 100)
