"""The buying models of the lifetimes library, behind the one door through which anything of it comes in.

    further orders, recency, age per customer   ->  OrderModel: P(alive), expected orders, their spread
    orders with an amount, their mean amount    ->  SpendModel: expected amount of an order

BG/NBD [1]_, modified BG/NBD [2]_ and Pareto/NBD [3]_ say when customers order, Gamma-Gamma [4]_ for how much. The
likelihoods and expectations are those of lifetimes; fitting is not, because its `fit` raises, prints or runs away where
the data do not determine a parameter. Here

- customers with the same figures are one row with a weight;
- where times were put into cells, because there are many customers, the fit goes on from there to the day;
- the likelihood of Pareto/NBD is that of `pareto_nbd`, whose slope is exact and whose digits are all there;
- parameters stay within bounds. Starts are tried in a fixed order, then the same with a small penalty; the first that
  ends inside the bounds is taken, else the best. What went wrong is in `warnings`, never an exception;
- `intervals` of the parameters follow from how sharply the likelihood falls off around them (observed information in
  the logarithms of the parameters, so that no interval reaches below zero). Where it does not fall off in some
  direction, or a parameter lies at a bound, there are none;
- expectations that overflow or cancel out are replaced by what a customer who does not leave would order, weighed with
  P(alive), and none is ever above that, which is their mathematical limit.

Parameters are for times in weeks, as published. All of it assumes that customers order at random at rates of their own,
that these rates do not change while a customer stays, and that nobody who left comes back: seasons, contracts and
regular deliveries are none of that.

.. [1] Fader, Hardie & Lee (2005), Marketing Science 24, 275-284.
.. [2] Batislam, Denizel & Filiztekin (2007), International Journal of Research in Marketing 24, 201-209.
.. [3] Schmittlein, Morrison & Colombo (1987), Management Science 33, 1-24.
.. [4] Fader & Hardie (2013), The Gamma-Gamma model of monetary value, brucehardie.com/notes/025.
"""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import nbinom, norm
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from include.measures import pareto_nbd
from include.measures.purchase_model import MOST_PATTERNS, Patterns, fit_purchase_model, log_likelihood, patterns

Floats = npt.NDArray[np.float64]
OrderKind = Literal["bg_nbd", "modified_bg_nbd", "pareto_nbd"]
ORDER_KINDS: dict[OrderKind, str] = {
    "bg_nbd": "BG/NBD",
    "modified_bg_nbd": "modified BG/NBD",
    "pareto_nbd": "Pareto/NBD",
}
PARAMETERS: dict[OrderKind, tuple[str, ...]] = {
    "bg_nbd": ("r", "alpha", "a", "b"),
    "modified_bg_nbd": ("r", "alpha", "a", "b"),
    "pareto_nbd": ("r", "alpha", "s", "beta"),
}
SPEND_PARAMETERS = ("p", "q", "v")
DAYS = 7  # in the unit of time of the parameters
LONGEST_AGE = 10.0  # time is scaled so while fitting
BOUND = 6.0  # of the logarithm of each parameter, in scaled units
PENALTIES = (0.0, 1e-3)  # on the squared logarithms of the parameters
MOST_STEPS = 300
MOST_EVALUATIONS = 400  # of a likelihood, those for its slope among them
NO_VALUE = 1e10  # of a likelihood that cannot be computed
LOWEST_Q = 1.05  # below 1 the Gamma-Gamma model has no mean
SPEND_PATTERNS = 50_000  # beyond it, mean amounts are rounded to three significant digits
SPEND_AGREES_WITHIN = 2.0  # a Gamma-Gamma mean further than this factor from the observed one is not believed
FEWEST_FOR_SPEND = 3
SINGULAR = 1e-5  # the formulas divide by a - 1 and s - 1
SLOPE_STEP = 1e-4  # of a logarithm, between which slopes are compared
LEAST_CURVATURE = 1e-10  # of the flattest direction beside the sharpest; below it, the likelihood is flat


@dataclass(frozen=True)
class OrderModel:
    """A fitted model of when customers order; `log_likelihood` is of all customers, in weeks."""

    kind: OrderKind
    parameters: dict[str, float]
    log_likelihood: float

    def probability_alive(self, further_orders: Any, recency_days: Any, age_days: Any) -> Floats:
        """P(alive) of customers with so many order days after the first.

        The last of them was `recency_days` after the first, and the first is `age_days` ago.
        """
        x, recency, age = _in_weeks(further_orders, recency_days, age_days)
        if self.kind == "pareto_nbd":
            return np.asarray(expit(pareto_nbd.log_odds_alive(x, recency, age, *self._values)), "float64")
        with _quietly():
            alive = np.asarray(self._fitter.conditional_probability_alive(x, recency, age), "float64")
        return np.clip(np.where(np.isfinite(alive), alive, 0.0), 0, 1)

    def expected_orders(self, days: float, further_orders: Any, recency_days: Any, age_days: Any) -> Floats:
        """Order days expected of each such customer in the next `days` days."""
        x, recency, age = _in_weeks(further_orders, recency_days, age_days)
        if days <= 0:
            return np.zeros(x.shape)
        time = days / DAYS
        alive = self.probability_alive(further_orders, recency_days, age_days)
        limit = alive * (self.parameters["r"] + x) / (self.parameters["alpha"] + age) * time
        if self.kind == "pareto_nbd":
            # The same as lifetimes has, from a P(alive) that is always there.
            s, since = max(self._values[2] - 1, SINGULAR, key=abs), self._values[3] + age
            staying: Floats = since * -np.expm1(s * np.log(since / (since + time))) / s  # time within, if alive
            return np.clip(limit / time * staying, 0, limit)
        with _quietly():
            found = np.asarray(
                self._fitter.conditional_expected_number_of_purchases_up_to_time(time, x, recency, age),
                "float64",
            )
        return np.clip(np.where(np.isfinite(found), found, limit), 0, limit)

    def median_orders(self, days: float, further_orders: Any, recency_days: Any, age_days: Any) -> Floats:
        """The number of order days of each such customer in the next `days` days that is as often passed as missed."""
        own = further_orders, recency_days, age_days
        return self.spread(self.expected_orders(days, *own), self.probability_alive(*own), further_orders).quantile(0.5)

    def expected_orders_of_new(self, days: Any) -> Floats:
        """Order days expected of somebody within so many days after the first order."""
        time = np.atleast_1d(np.asarray(days, "float64")) / DAYS
        limit = self.parameters["r"] / self.parameters["alpha"] * time
        with _quietly():
            found = np.asarray(self._fitter.expected_number_of_purchases_up_to_time(time), "float64")
        return np.clip(np.where(np.isfinite(found), found, limit), 0, limit)

    def spread(self, expected: Any, alive: Any, further_orders: Any) -> OrderSpread:
        """How the orders of customers spread around what is expected of them."""
        x = np.asarray(further_orders, "float64")
        return OrderSpread(np.asarray(expected, "float64"), np.asarray(alive, "float64"), self.parameters["r"] + x)

    @property
    def _values(self) -> Floats:
        return np.array([self.parameters[name] for name in PARAMETERS[self.kind]])

    @property
    def _fitter(self) -> Any:
        """The fitter of lifetimes with these parameters."""
        fitter = getattr(_lifetimes(), _FITTERS[self.kind])()
        own = dict(self.parameters)
        for name in ("a", "s"):
            if name in own and abs(own[name] - 1) < SINGULAR:
                own[name] = 1 + SINGULAR
        fitter.params_ = pd.Series(own)
        return fitter


@dataclass(frozen=True)
class OrderSpread:
    """The number of orders of each customer as a distribution: none with 1 - P(alive), else negative binomial.

    The rate of a customer who is alive is Gamma distributed with shape r + x, whatever the model; a negative binomial
    with that shape, around the mean that the model expects, neglects only that the moment of leaving varies too.
    """

    expected: Floats
    alive: Floats
    shape: Floats

    @property
    def none(self) -> Floats:
        """The probability of no order."""
        return np.asarray(1 - self.alive + self.alive * self._success**self.shape, "float64")

    @property
    def mean_square(self) -> Floats:
        mean = self._mean
        return np.asarray(self.alive * (mean + mean**2 * (1 + 1 / self.shape)), "float64")

    def interval(self, confidence_level: float) -> tuple[Floats, Floats]:
        """The whole numbers between which the orders of a customer lie with at least this probability."""
        tail = (1 - confidence_level) / 2
        return self.quantile(tail), self.quantile(1 - tail)

    def quantile(self, share: float) -> Floats:
        left = (share - (1 - self.alive)) / np.maximum(self.alive, 1e-12)
        asked = (share > self.none) & (self._mean > 0)
        found = np.zeros(self.expected.shape)
        with _quietly():
            found[asked] = nbinom.ppf(np.clip(left[asked], 0, 1 - 1e-12), self.shape[asked], self._success[asked])
        return np.where(np.isfinite(found), found, self.expected)

    @property
    def _mean(self) -> Floats:
        return np.divide(self.expected, self.alive, out=np.zeros_like(self.expected), where=self.alive > 1e-12)

    @property
    def _success(self) -> Floats:
        return np.asarray(self.shape / (self.shape + self._mean), "float64")


@dataclass(frozen=True)
class SpendModel:
    """A fitted model of what customers spend on an order; without parameters, everybody spends `mean_amount`."""

    parameters: dict[str, float] | None
    log_likelihood: float | None
    n: int
    mean_amount: float

    def expected_amount(self, orders: Any, mean_amount: Any) -> Floats:
        """The amount of an order that is expected of customers whose `orders` orders had this mean amount."""
        x = np.asarray(orders, "float64")
        if self.parameters is None:
            return np.full(x.shape, self.mean_amount)
        p, q, v = (self.parameters[name] for name in SPEND_PARAMETERS)
        total = np.where(x > 0, x * np.where(x > 0, np.asarray(mean_amount, "float64"), 0.0), 0.0)
        return np.asarray(p * (v + total) / (p * x + q - 1), "float64")

    def mean_square_factors(self, orders: Any, mean_amount: Any) -> tuple[Floats, Floats]:
        """c, d so that the mean square of the revenue of N orders is c N^2 + d N.

        With one amount for everybody that is its square; where the model has no variance, that of a slightly thinner
        tail is taken.
        """
        x = np.asarray(orders, "float64")
        if self.parameters is None:
            return np.full(x.shape, self.mean_amount**2), np.zeros(x.shape)
        p, q, _ = (self.parameters[name] for name in SPEND_PARAMETERS)
        shape = p * x + q
        expected = self.expected_amount(x, mean_amount)
        inverse_square = (expected / p) ** 2 * (shape - 1) / np.maximum(shape - 2, 0.5)
        return np.asarray(p * p * inverse_square, "float64"), np.asarray(p * inverse_square, "float64")


Intervals = dict[str, tuple[float, float]]


@dataclass
class OrderFit:
    """What fitting came to; there is no model where nobody came back.

    `curvature` has the second derivatives of the negative log-likelihood in the logarithms of the parameters; it takes
    a moment, and is missing where the data do not determine the parameters.
    """

    model: OrderModel | None
    warnings: list[str] = field(default_factory=list)
    curvature: Callable[[], Floats] | None = None

    def intervals(self, confidence_level: float) -> Intervals:
        """Both ends of each parameter's interval; empty where there is none."""
        return _intervals(self.model.parameters if self.model else None, self.curvature, confidence_level)


@dataclass
class SpendFit:
    """What fitting came to; there is no model where nothing was ever paid. `curvature`: as in `OrderFit`."""

    model: SpendModel | None
    warnings: list[str] = field(default_factory=list)
    curvature: Callable[[], Floats] | None = None

    def intervals(self, confidence_level: float) -> Intervals:
        """Both ends of each parameter's interval; empty where there is none."""
        return _intervals(self.model.parameters if self.model else None, self.curvature, confidence_level)


def fit_orders(customers: pd.DataFrame, kind: OrderKind, *, start: Mapping[str, float] | None = None) -> OrderFit:
    """Fit on `further_orders`, `recency_days`, `age_days` and `number` (of customers who have them).

    `start` are the parameters of an earlier fit of the same kind. It is tried last, where no other start ends well, so
    that the same data have the same answer whatever was fitted before.
    """
    keys = ["further_orders", "recency_days", "age_days"]
    counted = customers[[*keys, "number"]].astype("int64").groupby(keys)["number"].sum().reset_index()
    estimate = fit_purchase_model(counted, "modified_bg_nbd" if kind == "modified_bg_nbd" else "bg_nbd")
    first = estimate.model
    if first is None:
        return OrderFit(None, estimate.warnings)
    earlier = [dict(start)] if start else []
    exact = _weekly(_by_the_day(counted))
    if kind == "pareto_nbd":
        alpha = first.alpha_days / DAYS
        starts = [
            {"r": first.r, "alpha": alpha, "s": 0.5, "beta": alpha},
            {"r": 1.0, "alpha": alpha, "s": 1.0, "beta": alpha},
        ]
        return _fit_pareto(_weekly(patterns(counted)), exact, [*starts, *earlier])
    own = {"r": first.r, "alpha": first.alpha_days / DAYS, "a": first.a, "b": first.b}
    if len(exact.number) <= MOST_PATTERNS or estimate.warnings:
        likelihood = log_likelihood(exact, kind, **own)[0]
        curvature = None if estimate.warnings else _order_curvature(exact, kind, own)
        return OrderFit(OrderModel(kind, own, likelihood), _in_our_words(estimate.warnings), curvature)
    return _fit_to(exact, kind, [own, *earlier])


def fit_spend(customers: pd.DataFrame, *, start: Mapping[str, float] | None = None) -> SpendFit:
    """Fit on `spend_orders` (orders with an amount above zero), `mean_amount` and `number` of customers.

    Customers without such an order are left out. `start`: as in `fit_orders`.
    """
    paid = customers[(customers["spend_orders"] > 0) & (customers["mean_amount"] > 0)]
    if not len(paid):
        return SpendFit(None, ["No order after the first had an amount, so there is no model of what customers spend."])
    amount = paid["mean_amount"]
    if len(paid) > SPEND_PATTERNS:
        digits = 10 ** (np.floor(np.log10(amount)) - 2)
        amount = (amount / digits).round() * digits
    keys = {"x": paid["spend_orders"].astype("float64"), "m": amount.astype("float64")}
    each = pd.DataFrame({**keys, "number": paid["number"].astype("float64")})
    alike = each.groupby(["x", "m"], as_index=False)["number"].sum()
    x, m, number = (alike[name].to_numpy("float64") for name in ("x", "m", "number"))
    n = int(number.sum())
    mean = float((x * m * number).sum() / (x * number).sum())
    everybody_alike = SpendModel(None, None, n, mean)
    if n < FEWEST_FOR_SPEND:
        return SpendFit(everybody_alike, [f"Only {n} customers paid again: everybody is expected to spend the mean."])
    likelihood = _lifetimes().GammaGammaFitter._negative_log_likelihood
    scaled = m / mean

    from autograd import value_and_grad  # type: ignore[import-untyped]

    loss = value_and_grad(lambda logarithms: likelihood(logarithms, x, scaled, number, 0.0))
    bounds = [(-BOUND, BOUND + 2), (float(np.log(LOWEST_Q)), BOUND), (-BOUND, BOUND + 2)]
    starts = [np.log([6.0, 4.0, 0.5]), np.log([1.0, 2.0, 1.0])]
    starts += [_logarithms(start, SPEND_PARAMETERS, {"v": mean})] if start else []
    done = _minimised(loss, starts, bounds)
    p, q, v = (float(value) for value in np.exp(done.at))
    found = []
    if not done.inside:
        found.append("The data do not determine the Gamma-Gamma model of what customers spend: amounts are rough.")
    middle = p * v / (q - 1)
    observed = float((scaled * number).sum() / n)
    if not (1 / SPEND_AGREES_WITHIN < middle / observed < SPEND_AGREES_WITHIN) or done.at[1] <= bounds[1][0] + 1e-6:
        found.append("The Gamma-Gamma model does not fit the amounts: everybody is expected to spend the mean.")
        return SpendFit(everybody_alike, found)
    parameters = {"p": p, "q": q, "v": v * mean}
    with _quietly():
        whole = -float(likelihood(np.log([p, q, v * mean]), x, m, number, 0.0)) * n
    curvature = partial(_curvature_of_slope, lambda at: n * loss(at)[1], done.at) if done.certain else None
    return SpendFit(SpendModel(parameters, whole, n, mean), found, curvature)


_FITTERS: dict[OrderKind, str] = {
    "bg_nbd": "BetaGeoFitter",
    "modified_bg_nbd": "ModifiedBetaGeoFitter",
    "pareto_nbd": "ParetoNBDFitter",
}


@dataclass(frozen=True)
class _Minimum:
    at: Floats
    value: float
    inside: bool
    penalty: float
    still_improving: bool

    @property
    def certain(self) -> bool:
        """Whether this is where the likelihood itself is highest."""
        return self.inside and not self.penalty and not self.still_improving


def _fit_pareto(cells: Patterns, exact: Patterns, starts: Sequence[Mapping[str, float]]) -> OrderFit:
    """Where customers were put into cells, by the day from where these have led."""
    fit = _fit_to(cells, "pareto_nbd", starts)
    if len(cells.number) == len(exact.number):
        return fit
    assert fit.model is not None
    return _fit_to(exact, "pareto_nbd", [fit.model.parameters, *starts])


def _fit_to(found: Patterns, kind: OrderKind, starts: Sequence[Mapping[str, float]]) -> OrderFit:
    scaled, scale = _scaled(found)

    def loss(logarithms: Floats) -> tuple[float, Floats]:
        value, slope = _order_likelihood(scaled, kind, np.exp(logarithms))
        return -value, -slope * np.exp(logarithms)

    names, title = PARAMETERS[kind], ORDER_KINDS[kind]
    units = dict.fromkeys(("alpha", "beta"), 1 / scale)
    done = _minimised(
        loss,
        [_logarithms(start, names, units) for start in starts],
        [(-BOUND, BOUND)] * len(names),
    )
    own = {name: float(value) * units.get(name, 1) for name, value in zip(names, np.exp(done.at), strict=True)}
    warnings = []
    if not done.inside:
        warnings.append(f"The data do not determine all parameters of the {title} model: it is a rough guess.")
    elif done.penalty:
        warnings.append(f"The {title} model could only be fitted with a penalty on extreme parameters.")
    if done.still_improving:
        warnings.append(f"The {title} model was still improving when it stopped: it is a rough guess.")
    curvature = _order_curvature(found, kind, own) if done.certain else None
    value = _order_likelihood(found, kind, np.array(list(own.values())))[0]
    return OrderFit(OrderModel(kind, own, value), warnings, curvature)


def _minimised(
    loss: Callable[[Any], Any],
    starts: Sequence[Floats],
    bounds: Sequence[tuple[float, float]],
) -> _Minimum:
    """The first minimum inside the bounds, over starts and then penalties; else the lowest found.

    `loss` gives a value and its slope.
    """
    low, high = np.array(bounds).T
    best: _Minimum | None = None
    for penalty in PENALTIES:

        def penalised(at: Floats, penalty: float = penalty) -> Any:
            extra, slope = penalty * float((at**2).sum()), 2 * penalty * at
            value, first = loss(at)
            usable = np.isfinite(value) and np.isfinite(first).all()
            return (float(value) + extra, first + slope) if usable else (NO_VALUE, np.zeros(len(at)))

        for start in starts if best is None else [best.at]:
            # Threads of the linear algebra cost more than they save on so few parameters.
            with _quietly(), _threads().limit(limits=1):
                done = minimize(
                    penalised,
                    np.clip(start, low, high),
                    method="L-BFGS-B",
                    jac=True,
                    bounds=bounds,
                    options={"maxiter": MOST_STEPS, "maxfun": MOST_EVALUATIONS, "ftol": 1e-13, "gtol": 1e-7},
                )
            value = float(done.fun)
            inside = bool(value < NO_VALUE and (done.x > low + 0.01).all() and (done.x < high - 0.01).all())
            stopped = done.nit >= MOST_STEPS or done.nfev >= MOST_EVALUATIONS
            one = _Minimum(np.asarray(done.x), value, inside, penalty, stopped)
            if inside and not one.still_improving:
                return one
            if best is None or value < best.value:
                best = one
    assert best is not None
    return best


def _intervals(
    parameters: Mapping[str, float] | None, curvature: Callable[[], Floats] | None, confidence_level: float
) -> Intervals:
    """Of each parameter, by the normal approximation to its logarithm."""
    if parameters is None or curvature is None:
        return {}
    with _quietly():
        half = float(norm.ppf((1 + confidence_level) / 2)) * _standard_errors(curvature())
        ends = {
            name: (value * float(np.exp(-width)), value * float(np.exp(width)))
            for (name, value), width in zip(parameters.items(), half, strict=True)
        }
    return {name: pair for name, pair in ends.items() if np.isfinite(pair).all()}


def _standard_errors(curvature: Floats) -> Floats:
    """The roots of the diagonal of the inverse; missing where it is flat, or bends the wrong way, in some direction."""
    if np.isfinite(curvature).all():
        sharpness, directions = np.linalg.eigh((curvature + curvature.T) / 2)
        if sharpness[0] > LEAST_CURVATURE * sharpness[-1]:
            return np.asarray(np.sqrt((directions**2 / sharpness).sum(axis=1)), "float64")
    return np.full(len(curvature), np.nan)


def _order_curvature(found: Patterns, kind: OrderKind, parameters: Mapping[str, float]) -> Callable[[], Floats]:
    """What computes the curvature at these parameters, times of both in weeks."""
    at = np.log([parameters[name] for name in PARAMETERS[kind]])

    def slope(logarithms: Floats) -> Floats:
        return np.asarray(-_order_likelihood(found, kind, np.exp(logarithms))[1] * np.exp(logarithms), "float64")

    return partial(_curvature_of_slope, slope, at)


def _order_likelihood(found: Patterns, kind: OrderKind, parameters: Floats) -> tuple[float, Floats]:
    """The log-likelihood of all customers and its slope in the parameters."""
    if kind == "pareto_nbd":
        return pareto_nbd.log_likelihood(found, *parameters)
    return log_likelihood(found, kind, *parameters)


def _curvature_of_slope(slope: Callable[[Floats], Floats], at: Floats) -> Floats:
    steps = SLOPE_STEP * np.eye(len(at))
    return np.array([(slope(at + step) - slope(at - step)) / (2 * SLOPE_STEP) for step in steps])


def _by_the_day(counted: pd.DataFrame) -> Patterns:
    """Customers by pattern, not put into cells."""
    x, place = np.unique(counted["further_orders"].to_numpy("float64"), return_inverse=True)
    recency, age, number = (counted[name].to_numpy("float64") for name in ("recency_days", "age_days", "number"))
    return Patterns(x, place, recency, age, number)


def _weekly(found: Patterns) -> Patterns:
    return replace(found, recency=found.recency / DAYS, age=found.age / DAYS)


def _scaled(found: Patterns) -> tuple[Patterns, float]:
    """Patterns with times stretched so that the oldest customer is LONGEST_AGE old, and shares instead of numbers."""
    scale = LONGEST_AGE / max(float(found.age.max()), 1 / DAYS)
    shares = found.number / found.number.sum()
    return replace(found, recency=found.recency * scale, age=found.age * scale, number=shares), scale


def _in_weeks(further_orders: Any, recency_days: Any, age_days: Any) -> tuple[Floats, Floats, Floats]:
    x, recency, age = (np.atleast_1d(np.asarray(one, "float64")) for one in (further_orders, recency_days, age_days))
    return x, recency / DAYS, age / DAYS


def _logarithms(start: Mapping[str, float], names: Sequence[str], units: Mapping[str, float]) -> Floats:
    return np.log([max(float(start[name]) / units.get(name, 1), 1e-12) for name in names])


def _in_our_words(found: Sequence[str]) -> list[str]:
    return [one.replace("P(alive) is", "what it expects is") for one in found]


@cache
def _lifetimes() -> ModuleType:
    """The library. Importing it sets an option of pandas that is going away, and mutes all warnings of one kind."""
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        import lifetimes

    module: ModuleType = lifetimes
    return module


@cache
def _threads() -> ThreadpoolController:
    """Looked up once: finding the libraries that have threads takes longer than many a fit."""
    return ThreadpoolController()


@contextmanager
def _quietly() -> Iterator[None]:
    """What overflows in here is looked at afterwards."""
    with python_warnings.catch_warnings(), np.errstate(all="ignore"):
        python_warnings.simplefilter("ignore")
        yield
