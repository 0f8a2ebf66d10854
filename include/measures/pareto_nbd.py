"""The likelihood of Pareto/NBD, with its slope: customers order at random, and may leave at any moment [1]_.

    further orders, recency, age  ->  both parts of a customer's likelihood  ->  P(alive), log-likelihood of all

The part of those who have left is an integral over the moment they did. Published as a difference of hypergeometric
functions, it costs most of a fit, and loses its digits where customers order often. Here it is integrated numerically,
in the logarithm of time since just before the first order, up to where nothing more comes: the integrand is smooth
there, and POINTS points of Gauss-Legendre quadrature have ten digits. The slope is that of the same sum.

.. [1] Schmittlein, Morrison & Colombo (1987), Management Science 33, 1-24.
.. [2] Fader & Hardie (2005), A note on deriving the Pareto/NBD model, brucehardie.com/notes/009.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, expit, gammaln

from include.measures.purchase_model import Patterns

Floats = npt.NDArray[np.float64]
POINTS = 32
NEGLIGIBLE = 25.0  # minus the logarithm of what is cut off the integral, of the whole
AT_ONCE = 2_000  # patterns, so that what is in the making stays in the processor's cache


@dataclass(frozen=True)
class _Left:
    """The logarithm of the integral, and the means over it of what the slope needs."""

    logarithm: Floats
    log_alpha: Floats
    per_alpha: Floats
    log_beta: Floats
    per_beta: Floats


def log_likelihood(found: Patterns, r: float, alpha: float, s: float, beta: float) -> tuple[float, Floats]:
    """Of all customers (equation 18 of [2]_), and its slope in r, alpha, s, beta. Times have the unit of alpha."""
    sums = np.zeros(5)
    for begin in range(0, len(found.number), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        x = found.x[found.place[part]]
        each = _log_likelihoods(x, found.recency[part], found.age[part], r, alpha, s, beta)
        sums += each @ found.number[part]
    return float(sums[0]), sums[1:]


def log_odds_alive(x: Floats, recency: Floats, age: Floats, r: float, alpha: float, s: float, beta: float) -> Floats:
    """The logarithm of P(alive) / (1 - P(alive)) of each customer."""
    found = np.empty(x.shape)
    for begin in range(0, len(x), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        left = np.log(s) + _left(r + x[part], recency[part], age[part], alpha, s + 1, beta).logarithm
        found[part] = _stays(r + x[part], age[part], alpha, s, beta) - left
    return found


def _log_likelihoods(x: Floats, recency: Floats, age: Floats, r: float, alpha: float, s: float, beta: float) -> Floats:
    """A row of each customer's, and one of its slope in each parameter."""
    shape = r + x
    stays = _stays(shape, age, alpha, s, beta)
    integral = _left(shape, recency, age, alpha, s + 1, beta)
    left = np.log(s) + integral.logarithm
    shared = gammaln(shape) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    value = shared + np.logaddexp(stays, left)
    gone = expit(left - stays)
    here = 1 - gone
    in_r = digamma(shape) - digamma(r) + np.log(alpha) - here * np.log(alpha + age) - gone * integral.log_alpha
    in_alpha = r / alpha - shape * (here / (alpha + age) + gone * integral.per_alpha)
    in_s = np.log(beta) - here * np.log(beta + age) + gone * (1 / s - integral.log_beta)
    in_beta = s / beta - here * s / (beta + age) - gone * (s + 1) * integral.per_beta
    return np.array([value, in_r, in_alpha, in_s, in_beta])


def _stays(shape: Floats, age: Floats, alpha: float, s: float, beta: float) -> Floats:
    return np.asarray(-shape * np.log(alpha + age) - s * np.log(beta + age), "float64")


def _left(shape: Floats, recency: Floats, age: Floats, alpha: float, power: float, beta: float) -> _Left:
    """The integral of (alpha + t)^-shape (beta + t)^-power from recency to age."""
    before = min(alpha, beta)
    # What comes after t is, of the whole, at most as much as either of these has fallen.
    with np.errstate(over="ignore", divide="ignore"):
        fallen = [
            (alpha + recency) * np.expm1(NEGLIGIBLE / np.maximum(shape - 1, 0)),
            (beta + recency) * np.expm1(NEGLIGIBLE / np.float64(power - 1)),
        ]
    length = np.minimum(age - recency, np.minimum(*fallen))
    first = before + recency
    width = np.log1p(length / first)
    points, weights = _points_and_weights()
    since = width[:, None] * points  # of log(before + t), from recency
    rise = first[:, None] * np.expm1(since)  # t less recency
    of_alpha, of_beta = (since if one == before else np.log1p(rise / (one + recency)[:, None]) for one in (alpha, beta))
    each = np.exp(since - shape[:, None] * of_alpha - power * of_beta) * weights
    total = each.sum(axis=1)
    each /= total[:, None]
    from_alpha, from_beta = alpha + recency, beta + recency
    with np.errstate(divide="ignore"):
        logarithm = np.log(first * width) - shape * np.log(from_alpha) - power * np.log(from_beta) + np.log(total)
    return _Left(
        logarithm,
        np.log(from_alpha) + (each * of_alpha).sum(axis=1),
        (each / (from_alpha[:, None] + rise)).sum(axis=1),
        np.log(from_beta) + (each * of_beta).sum(axis=1),
        (each / (from_beta[:, None] + rise)).sum(axis=1),
    )


@cache
def _points_and_weights() -> tuple[Floats, Floats]:
    """Of Gauss-Legendre quadrature between 0 and 1."""
    points, weights = np.polynomial.legendre.leggauss(POINTS)
    return (points + 1) / 2, weights / 2
