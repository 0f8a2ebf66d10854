"""What the mean amount of a customer's coming orders may be, given the amounts before, as two distributions.

    orders and amounts before, and after, per customer  ->  P(as much or more), P(as little or less)

*Gamma-Gamma* [1]_: a customer's amounts are Gamma(p, nu), nu is Gamma(q, v) over the customers. After x orders of
together S, nu is Gamma(q + p x, v + S), and of the total Y of n orders to come Y / (Y + v + S) is
Beta(p n, p x + q) distributed, exactly. It draws customers with few orders towards the others, and holds amounts of
all customers to vary alike.

*Own spread*: the logarithms of a customer's amounts are normal around a level and with a variance of their own; the
variance is inverse gamma over the customers [2]_, its shape a and scale b by maximum likelihood on the squared
deviations of customers with two orders or more. The difference of the mean logarithms, n orders against x, is
Student's t with 2 a + x - 1 degrees of freedom. A customer whose amounts always varied widely may vary; one whose
amounts never did departs sooner.

Each is wrong in its way: large amounts are likelier than a gamma distribution has them where logarithms are normal,
small ones likelier than normal logarithms have them where amounts are gamma. Who departs in both departs in either.
Amounts are above zero; what is unsure about p, q, v, a and b is in neither.

.. [1] Fader & Hardie (2013), The Gamma-Gamma model of monetary value, brucehardie.com/notes/025.
.. [2] Smyth (2004), Linear models and empirical Bayes methods, Statistical Applications in Genetics 3, article 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betainc, digamma, gammaln, stdtr

from include.measures.lifetimes_models import SPEND_PARAMETERS, SpendModel

Floats = npt.NDArray[np.float64]
LEAST_SPREAD = 0.05  # of the logarithm of amounts; fixed prices vary less, and change by more when they do
SHAPES = (0.5, 500.0)  # bounds of a
VARIANCES = (LEAST_SPREAD**2 / 4, 100.0)  # bounds of b / a


@dataclass(frozen=True)
class Tails:
    """Per customer the probability of a mean amount as large or larger, and as small or smaller, than the one made."""

    as_much: Floats
    as_little: Floats


@dataclass(frozen=True)
class AmountSpread:
    """The variance of the logarithm of a customer's amounts, inverse gamma distributed over the customers."""

    shape: float
    scale: float

    def tails(self, orders: Any, squares: Any, difference: Any, made: Any) -> Tails:
        """Of `difference`, the mean logarithm of `made` orders less that of the `orders` before.

        `squares` is the sum of squared deviations of the logarithms before from their mean.
        """
        x, n = (np.asarray(one, "float64") for one in (orders, made))
        freedom = 2 * self.shape + x - 1
        variance = (2 * self.scale + _at_least(squares, x - 1)) / freedom
        deviate = np.asarray(difference, "float64") / np.sqrt(variance * (1 / n + 1 / x))
        return Tails(stdtr(freedom, -deviate), stdtr(freedom, deviate))


def fit_amount_spread(orders: Any, squares: Any) -> AmountSpread:
    """Fit on customers with two orders or more: their number, and the squared deviations as in `AmountSpread.tails`."""
    x = np.asarray(orders, "float64")
    deviations = _at_least(squares, x - 1) / 2
    # What depends on nothing but the number of orders is computed once for each.
    distinct, place, customers = np.unique((x - 1) / 2, return_inverse=True, return_counts=True)
    half, share = distinct[place], customers / len(x)

    def loss(logarithms: Floats) -> tuple[float, Floats]:
        a, variance = np.exp(logarithms)
        b = a * variance
        of_number = gammaln(a + distinct) - gammaln(a) + a * np.log(b)
        by_number = digamma(a + distinct) - digamma(a) + np.log(b)
        logs = np.log(b + deviations)
        value = float((share * of_number).sum() - ((a + half) * logs).mean())
        in_a = float((share * by_number).sum() - logs.mean())
        in_b = a / b - float(((a + half) / (b + deviations)).mean())
        return -value, -np.array([a * (in_a + variance * in_b), b * in_b])

    bounds = np.log([SHAPES, VARIANCES])
    start = np.log([2.0, float(deviations.sum() / half.sum())])
    done = minimize(
        loss, np.clip(start, *bounds.T), method="L-BFGS-B", jac=True, bounds=bounds, options={"ftol": 1e-14}
    )
    a, variance = (float(value) for value in np.exp(done.x))
    return AmountSpread(a, a * variance)


def gamma_gamma_tails(model: SpendModel, orders: Any, total: Any, made: Any, made_total: Any) -> Tails:
    """Of `made_total`, the sum of `made` orders, after `orders` that came to `total`, by a model with parameters."""
    if model.parameters is None:
        raise ValueError("without parameters everybody spends the mean, and nobody departs")
    p, q, v = (model.parameters[name] for name in SPEND_PARAMETERS)
    x, before, n, after = (np.asarray(one, "float64") for one in (orders, total, made, made_total))
    known = v + before
    return Tails(betainc(p * x + q, p * n, known / (known + after)), betainc(p * n, p * x + q, after / (known + after)))


def _at_least(squares: Any, freedom: Floats) -> Floats:
    """Squared deviations, no smaller than those of LEAST_SPREAD."""
    found: Floats = np.maximum(np.asarray(squares, "float64"), freedom * LEAST_SPREAD**2)
    return found
