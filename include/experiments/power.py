"""What a comparison can find at all.

    standard error, degrees of freedom  ->  power for an effect; the smallest effect found with a given power

Before an experiment: with the variance of past data, `sample_size` says how many customers a group it takes. After it:
the smallest effect that would have been found with 80 % says what "no significant difference" is worth. Never compute
the power *for the effect that was found*: it is the p-value once more [1]_. Not for sequential tests, which need more.

The t-test's power is exact (noncentral t) with normal values; with counts and money it is close in large groups.

.. [1] Hoenig and Heisey (2001), The American Statistician 55, 19-24.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct, norm
from scipy.stats import t as student

NORMAL_FROM = 1_000.0  # degrees of freedom: beyond, t and normal differ by less than anybody plans


def power(effect: float, standard_error: float, degrees_of_freedom: float = np.inf, *, alpha: float = 0.05) -> float:
    """The probability that a two-sided test at `alpha` finds this effect; missing without a standard error."""
    if not standard_error > 0 or not degrees_of_freedom > 0:
        return float("nan")
    shift = abs(effect) / standard_error
    if degrees_of_freedom >= NORMAL_FROM:
        limit = float(norm.ppf(1 - alpha / 2))
        return float(norm.sf(limit - shift) + norm.cdf(-limit - shift))
    limit = float(student.ppf(1 - alpha / 2, degrees_of_freedom))
    other = float(nct.cdf(-limit, degrees_of_freedom, shift)) if shift < 3 else 0.0
    return float(nct.sf(limit, degrees_of_freedom, shift)) + other


def minimum_detectable_effect(
    standard_error: float, degrees_of_freedom: float = np.inf, *, alpha: float = 0.05, wanted_power: float = 0.8
) -> float:
    """The smallest effect that a test at `alpha` finds with the wanted power, in the unit of the standard error."""
    if not standard_error > 0 or not degrees_of_freedom > 0:
        return float("nan")
    most = 10.0
    while power(most, 1.0, degrees_of_freedom, alpha=alpha) < wanted_power:
        most *= 2
    shift = brentq(lambda one: power(one, 1.0, degrees_of_freedom, alpha=alpha) - wanted_power, 0.0, most)
    return float(shift) * standard_error


def sample_size(effect: float, standard_deviation: float, *, alpha: float = 0.05, wanted_power: float = 0.8) -> int:
    """Customers in each of two equal groups, so that a difference of means of `effect` is found with this power.

    For a share p, the standard deviation is sqrt(p (1 - p)). Raises ValueError for an effect or deviation of zero.
    """
    if not abs(effect) > 0 or not standard_deviation > 0:
        raise ValueError("a sample size needs an effect and a standard deviation other than zero")

    def enough(n: int) -> bool:
        error = standard_deviation * float(np.sqrt(2 / n))
        return power(effect, error, 2 * n - 2, alpha=alpha) >= wanted_power

    high = 2
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle >= 2 and enough(middle) else (middle, high)
    return high
