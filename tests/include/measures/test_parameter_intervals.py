"""Parameters that are known are recovered, and their intervals hold them as often as they claim."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.stats import binom

from include.measures.lifetimes_models import OrderKind, fit_orders, fit_spend

Floats = npt.NDArray[np.float64]
CUSTOMERS = 2_000
MOST_ORDERS = 120
SEEDS = 100
# Times in weeks; rates are low beside a day, because whoever orders twice on one day has ordered once here.
TRUE: dict[OrderKind, dict[str, float]] = {
    "bg_nbd": {"r": 0.8, "alpha": 12.0, "a": 0.8, "b": 2.5},
    "modified_bg_nbd": {"r": 0.8, "alpha": 12.0, "a": 0.8, "b": 2.5},
    "pareto_nbd": {"r": 0.8, "alpha": 12.0, "s": 0.8, "beta": 30.0},
}
SPEND = {"p": 6.0, "q": 4.0, "v": 15.0}


def customers_of(kind: OrderKind, seed: int) -> pd.DataFrame:
    """Order days of customers of a model who came in twelve weeks about two years ago."""
    chance, true = np.random.default_rng(seed), TRUE[kind]
    week = chance.integers(0, 12, CUSTOMERS)
    age = (100.0 - week) * 7 - chance.random(CUSTOMERS)  # in days; the first order is at some time of its day
    rate = chance.gamma(true["r"], 1 / true["alpha"] / 7, CUSTOMERS)
    orders = np.cumsum(chance.exponential(1, (CUSTOMERS, MOST_ORDERS)) / rate[:, None], axis=1)
    if kind == "pareto_nbd":
        lasts = chance.exponential(1, CUSTOMERS) / chance.gamma(true["s"], 1 / true["beta"] / 7, CUSTOMERS)
        there = orders <= lasts[:, None]
    else:
        leaves = chance.beta(true["a"], true["b"], CUSTOMERS)
        # The order after which a customer leaves, counted from the first order (0), or from the one after it.
        last = chance.geometric(np.maximum(leaves, 1e-12)) - (1 if kind == "modified_bg_nbd" else 0)
        there = np.arange(1, MOST_ORDERS + 1) <= last[:, None]
    there &= orders <= age[:, None]
    assert not there[:, -1].any()
    begin = np.ceil(age) - age
    day = np.where(there, np.floor(begin[:, None] + orders), 0)
    further = np.array([len(set(one[one > 0])) for one in day])
    ages = np.ceil(age).astype(int)
    return pd.DataFrame(
        {"further_orders": further, "recency_days": day.max(axis=1).astype(int), "age_days": ages, "number": 1}
    )


def spenders(seed: int) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    orders = 1 + chance.poisson(chance.gamma(1, 2, CUSTOMERS))
    level = chance.gamma(SPEND["q"], 1 / SPEND["v"], CUSTOMERS)
    mean = chance.gamma(SPEND["p"] * orders, 1 / level) / orders
    return pd.DataFrame({"spend_orders": orders, "mean_amount": mean, "number": 1})


def held(fit: Any, true: dict[str, float], level: float) -> set[str]:
    assert fit.warnings == []
    ends = fit.intervals(level)
    assert set(ends) == set(true)
    return {name for name, (low, high) in ends.items() if low <= true[name] <= high}


def assert_covers(counts: Counter[tuple[str, float]], names: Any) -> None:
    """Within what so many seeds may come to, twice in a thousand not."""
    for level in (0.5, 0.95):
        low, high = binom.ppf([0.001, 0.999], SEEDS, level)
        for name in names:
            assert low <= counts[name, level] <= high, (name, level, counts[name, level])


@pytest.mark.parametrize("kind", TRUE)
def test_intervals_of_order_models_cover(kind: OrderKind) -> None:
    counts: Counter[tuple[str, float]] = Counter()
    logarithms: dict[str, list[float]] = {name: [] for name in TRUE[kind]}
    for seed in range(SEEDS):
        fit = fit_orders(customers_of(kind, seed), kind)
        assert fit.model is not None
        for level in (0.5, 0.95):
            counts.update((name, level) for name in held(fit, TRUE[kind], level))
        for name, value in fit.model.parameters.items():
            logarithms[name].append(float(np.log(value / TRUE[kind][name])))
    assert_covers(counts, TRUE[kind])
    for values in logarithms.values():
        assert abs(np.mean(values)) < 0.1  # over many shops, the parameters come out


def test_intervals_of_the_spend_model_cover() -> None:
    counts: Counter[tuple[str, float]] = Counter()
    for seed in range(SEEDS):
        fit = fit_spend(spenders(seed))
        for level in (0.5, 0.95):
            counts.update((name, level) for name in held(fit, SPEND, level))
    assert_covers(counts, SPEND)


@pytest.mark.parametrize("kind", TRUE)
def test_four_times_the_customers_halve_the_intervals(kind: OrderKind) -> None:
    customers = customers_of(kind, 1)
    once, four = fit_orders(customers, kind), fit_orders(customers.assign(number=4), kind)
    for name, (low, high) in four.intervals(0.9).items():
        wide = once.intervals(0.9)[name]
        assert np.log(high / low) == pytest.approx(np.log(wide[1] / wide[0]) / 2, rel=1e-2)


def test_where_the_data_do_not_determine_a_parameter_there_is_no_interval() -> None:
    # Everybody orders at the same pace and nobody leaves.
    steady = pd.DataFrame({"further_orders": [10], "recency_days": [300], "age_days": [300], "number": [500]})
    fit = fit_orders(steady, "bg_nbd")
    assert fit.warnings
    assert fit.intervals(0.95) == {}
    nobody = fit_orders(steady.assign(further_orders=0, recency_days=0), "bg_nbd")
    assert (nobody.model, nobody.intervals(0.95)) == (None, {})
    assert fit_spend(pd.DataFrame({"spend_orders": [2], "mean_amount": [9.0], "number": [2]})).intervals(0.95) == {}
