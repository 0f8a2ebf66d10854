"""The likelihood of Pareto/NBD against hypergeometric functions, adaptive quadrature and differences."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln, hyp2f1

from include.measures.pareto_nbd import log_likelihood, log_odds_alive
from include.measures.purchase_model import Patterns


def parameters(chance: np.random.Generator, width: float) -> list[float]:
    """r, alpha, s, beta: around 1, 10, 1, 10."""
    return [float(one) for one in np.exp(chance.uniform(-width, width, 4)) * (1, 10, 1, 10)]


def customers(chance: np.random.Generator, number: int, most: float) -> Patterns:
    x = np.arange(number, dtype="float64")
    age = chance.uniform(1, most, number)
    recency = np.where(x > 0, age * chance.uniform(0, 1, number), 0)
    return Patterns(x, np.arange(number), recency, age, chance.integers(1, 9, number).astype("float64"))


def published(found: Patterns, r: float, alpha: float, s: float, beta: float) -> float:
    """Fader & Hardie (2005), equations 18 to 20."""
    x, low, high = found.x, min(alpha, beta), max(alpha, beta)
    all_of_it, second = r + s + x, (s + 1 if alpha >= beta else r + x)

    def part(time: np.ndarray) -> np.ndarray:
        ratio = (high - low) / (high + time)
        return np.asarray(hyp2f1(all_of_it, second, all_of_it + 1, ratio) / (high + time) ** all_of_it)

    stays = (alpha + found.age) ** -(r + x) * (beta + found.age) ** -s
    left = s / all_of_it * (part(found.recency) - part(found.age))
    shared = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    return float((found.number * (shared + np.log(stays + left))).sum())


@pytest.mark.parametrize("seed", range(10))
def test_the_published_likelihood(seed: int) -> None:
    chance = np.random.default_rng(seed)
    found, own = customers(chance, 6, 60), parameters(chance, 0.7)
    assert log_likelihood(found, *own)[0] == pytest.approx(published(found, *own), rel=1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_any_integral_to_ten_digits(seed: int) -> None:
    """Parameters up to a factor of 400 from the usual, and customers of a week or of ten years."""
    chance = np.random.default_rng(seed)
    r, alpha, s, beta = parameters(chance, 6)
    x = float(chance.choice([0, 1, 3, 30, 300]))
    age = float(np.exp(chance.uniform(0, 6.2)))
    recency = age * float(chance.uniform(0, 1)) if x else 0.0
    start = min(alpha, beta) + recency
    length = np.log1p((age - recency) / start)

    def leaves(log_time: float) -> float:
        rise = start * np.expm1(log_time)
        alike = (r + x) * np.log1p(rise / (alpha + recency)) + (s + 1) * np.log1p(rise / (beta + recency))
        return float(np.exp(log_time - alike))

    # In pieces, each as long as those before it: how fast it falls may be of any order.
    edges = [0.0, *(length / 2.0**power for power in range(20, -1, -1))]
    pieces = [quad(leaves, *ends, epsabs=0, epsrel=1e-13)[0] for ends in pairwise(edges)]
    left = np.log(s * start * sum(pieces)) - (r + x) * np.log(alpha + recency) - (s + 1) * np.log(beta + recency)
    stays = -(r + x) * np.log(alpha + age) - s * np.log(beta + age)
    odds = log_odds_alive(*(np.array([one]) for one in (x, recency, age)), r, alpha, s, beta)
    assert odds[0] == pytest.approx(stays - left, abs=1e-10 * max(1.0, abs(stays)))


@pytest.mark.parametrize("seed", range(10))
def test_the_slope_is_that_of_the_likelihood(seed: int) -> None:
    chance = np.random.default_rng(seed)
    found, own = customers(chance, 2_500, 200), np.array(parameters(chance, 2))  # more than are computed at once
    slope = log_likelihood(found, *own)[1]
    for place, step in enumerate(np.eye(4) * own * 1e-4):
        difference = log_likelihood(found, *(own + step))[0] - log_likelihood(found, *(own - step))[0]
        expected = difference / (2 * step[place])
        assert slope[place] == pytest.approx(expected, rel=1e-5, abs=1e-5 * np.abs(slope * own).max() / own[place])


def test_who_ordered_today_is_there() -> None:
    today = np.array([5.0])
    assert log_odds_alive(np.array([3.0]), today, today, 0.5, 10, 0.6, 11)[0] == np.inf
    found = Patterns(np.array([3.0]), np.array([0]), today, today, np.array([1.0]))
    value, slope = log_likelihood(found, 0.5, 10, 0.6, 11)
    assert np.isfinite([value, *slope]).all()
