"""How often customers order while they are customers, and whether they still are: BG/NBD and modified BG/NBD.

    first, last and number of order days per customer  ->  a fitted model  ->  P(alive) per customer

A customer orders at random at a rate of their own and after each order may leave for good [1]_; in the modified model
also after the first one [2]_, without which everybody who ordered once would count as alive for ever. Fitting is by
maximum likelihood, with exact gradients, on the patterns (further orders, recency, age) with the number of customers
that have each, so that many customers cost little more than few and every dimension value can have its model. Where
there are more than MOST_PATTERNS, times are put into cells of a week or more, and each cell counts at its mean times.
(lifetimes has the same estimate, but takes several times as long and raises where a parameter runs off to its
boundary.)

A fit always ends: parameters stay within fixed bounds, and `warnings` say when one lies at a bound. There is no model
where nobody came back.

.. [1] Fader, Hardie & Lee (2005), Marketing Science 24, 275-284.
.. [2] Batislam, Denizel & Filiztekin (2007), International Journal of Research in Marketing 24, 201-209.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import betaln, digamma, expit, gammaln
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float64]
Kind = Literal["bg_nbd", "modified_bg_nbd"]
NAMES: dict[Kind, str] = {"bg_nbd": "BG/NBD", "modified_bg_nbd": "modified BG/NBD"}
PARAMETERS = ("r", "alpha", "a", "b")
CELLS_DAYS = (1, 7, 14, 28, 56)  # width of the cells of recency and age; the first with few enough patterns
MOST_PATTERNS = 2_000
LONGEST_AGE = 10.0  # time is scaled so while fitting
BOUND = 6.0  # of the logarithm of each parameter, alpha in scaled time
MOST_STEPS = 500


@dataclass(frozen=True)
class PurchaseModel:
    """A fitted model. Times are in days, the log-likelihood is that of all customers."""

    kind: Kind
    r: float
    alpha_days: float
    a: float
    b: float
    log_likelihood: float

    def probability_alive(self, further_orders: Any, recency_days: Any, age_days: Any) -> Floats:
        """P(alive) of customers with so many order days after the first.

        The last one was `recency_days` after the first, and the first one is `age_days` ago.
        """
        x = np.asarray(further_orders, "float64")
        since_first = self.alpha_days + np.asarray(age_days, "float64")
        growth = (self.r + x) * np.log(since_first / (self.alpha_days + np.asarray(recency_days, "float64")))
        log_odds_gone = np.log(self.a) - np.log(_stayed(x, self.kind, self.b)) + growth
        return np.asarray(expit(-log_odds_gone), "float64")


@dataclass
class Fit:
    """What fitting came to."""

    model: PurchaseModel | None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Patterns:
    """Customers by pattern; `x` holds each number of further orders once, and `place` is its position there."""

    x: Floats
    place: npt.NDArray[np.int64]
    recency: Floats
    age: Floats
    number: Floats


def fit_purchase_model(customers: pd.DataFrame, kind: Kind = "modified_bg_nbd") -> Fit:
    """Fit on `further_orders`, `recency_days`, `age_days` and `number` (of customers who have them)."""
    if not (len(customers) and customers["further_orders"].max() > 0):
        return Fit(None, ["No customer ordered on a second day, so there is no model of who is still active."])
    found = patterns(customers)
    customers_in_all = found.number.sum()
    scale = LONGEST_AGE / max(float(found.age.max()), 1.0)
    shares = found.number / customers_in_all
    scaled = Patterns(found.x, found.place, found.recency * scale, found.age * scale, shares)

    def loss(logarithms: Floats) -> tuple[float, Floats]:
        parameters = np.exp(logarithms)
        value, slope = log_likelihood(scaled, kind, *parameters)
        return -value, -slope * parameters

    with _linear_algebra().limit(limits=1):
        done = minimize(
            loss,
            np.zeros(len(PARAMETERS)),
            method="L-BFGS-B",
            jac=True,
            bounds=[(-BOUND, BOUND)] * len(PARAMETERS),
            options={"maxiter": MOST_STEPS, "ftol": 1e-15, "gtol": 1e-9},
        )
    r, alpha, a, b = (float(value) for value in np.exp(done.x))
    # Scaled times make densities of another unit: each further order counts the scale once.
    further_orders = float((found.x[found.place] * found.number).sum())
    in_days = -float(done.fun) * customers_in_all + further_orders * np.log(scale)
    model = PurchaseModel(kind, r, alpha / scale, a, b, float(in_days))
    at_bound = [name for name, value in zip(PARAMETERS, done.x, strict=True) if abs(value) > BOUND - 0.01]
    warnings = []
    if at_bound:
        names = ", ".join(at_bound)
        warnings.append(f"The data do not determine {names} of the {NAMES[kind]} model: P(alive) is a rough guess.")
    if done.nit >= MOST_STEPS:
        warnings.append(f"The {NAMES[kind]} model was still improving when it stopped: P(alive) is a rough guess.")
    return Fit(model, warnings)


@cache
def _linear_algebra() -> ThreadpoolController:
    """The threads of the linear algebra; on four parameters they wait for each other longer than the fit takes."""
    return ThreadpoolController()


def patterns(customers: pd.DataFrame, *, most: int | None = None) -> Patterns:
    """Customers by further orders and cell of recency and age, at the means of the cell.

    There are at most `most` patterns, or MOST_PATTERNS, unless the widest cells have more.
    """
    enough = MOST_PATTERNS if most is None else most
    names = ("further_orders", "recency_days", "age_days", "number")
    x, recency, age, number = (customers[name].to_numpy("int64") for name in names)
    for width in CELLS_DAYS:
        cells = age.max() // width + 1
        cell = (x * cells + recency // width) * cells + age // width
        _, first, place = np.unique(cell, return_index=True, return_inverse=True)
        if len(first) <= enough:
            break
    customers_of, recencies, ages = (
        np.bincount(place, weights=weight).astype("float64") for weight in (number, number * recency, number * age)
    )
    distinct, at = np.unique(x[first], return_inverse=True)
    return Patterns(distinct.astype("float64"), at, recencies / customers_of, ages / customers_of, customers_of)


def log_likelihood(found: Patterns, kind: Kind, r: float, alpha: float, a: float, b: float) -> tuple[float, Floats]:
    """Of all customers (Fader, Hardie & Lee, equation 6), and its slope in r, alpha, a, b.

    alpha is in the unit of the times. In the modified model there is one more chance to leave.
    """
    x, at, number = found.x, found.place, found.number
    # What depends on nothing but the further orders is computed once for each number of them.
    customers = np.bincount(at, weights=number, minlength=len(x))
    chances, stayed = _chances(x, kind), _stayed(x, kind, b)
    of_orders = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    of_staying = betaln(a, b + chances) - betaln(a, b)
    shape = r + x[at]
    until_now, until_last = alpha + found.age, alpha + found.recency
    stays = -shape * np.log(until_now)
    left = (np.log(a) - np.log(stayed))[at] - shape * np.log(until_last)
    value = (customers * (of_orders + of_staying)).sum() + (number * np.logaddexp(stays, left)).sum()

    gone = number * expit(left - stays)
    here = number - gone
    times = here * np.log(until_now) + gone * np.log(until_last)
    in_r = (customers * (digamma(r + x) - digamma(r) + np.log(alpha))).sum() - times.sum()
    in_alpha = number.sum() * r / alpha - (shape * (here / until_now + gone / until_last)).sum()
    in_both = (customers * (digamma(a + b) - digamma(a + b + chances))).sum()
    in_a = in_both + gone.sum() / a
    in_b = in_both + (customers * (digamma(b + chances) - digamma(b))).sum() - (gone / stayed[at]).sum()
    return float(value), np.array([in_r, in_alpha, in_a, in_b])


def _chances(x: Floats, kind: Kind) -> Floats:
    """How often somebody with so many further orders may have left."""
    return x + 1 if kind == "modified_bg_nbd" else x


def _stayed(x: Floats, kind: Kind, b: float) -> Floats:
    """b and the chances but the last, at which the customer is known to have stayed; infinite without a chance."""
    chances = _chances(x, kind)
    return np.where(chances > 0, b + chances - 1, np.inf)
