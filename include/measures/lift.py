"""Lift: how much more often two things occur together than they would if they were independent.

    orders with both, with the first, with the second, all orders  ->  lift, ci_low, ci_high

    lift = both * all / (first * second)

1 is independence, 2 is twice as often. The interval is that of the logarithm by the delta method, the four kinds of
order (both, only the first, only the second, neither) being a multinomial sample [1]_:

    variance of log lift = 1 / both - 1 / first - 1 / second + 2 * both / (first * second) - 1 / all

It assumes that orders are independent of each other. Where few customers make most of the orders, it is too narrow;
with fewer than about five orders with both it is rough.

.. [1] Agresti (2013), Categorical Data Analysis, 3rd edition, section 16.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from include.measures.results import ratio

Floats = npt.NDArray[np.float64]


def lift(both: Any, first: Any, second: Any, every: Any, confidence_level: float) -> tuple[Floats, Floats, Floats]:
    """Lift and both ends of its interval; without an order that has both there is a lift of zero and no interval."""
    b, f, s, n = (np.asarray(count, dtype="float64") for count in (both, first, second, every))
    value = ratio(b * n, f * s)
    variance = ratio(1, b) - ratio(1, f) - ratio(1, s) + 2 * ratio(b, f * s) - ratio(1, n)
    z = float(norm.ppf((1 + confidence_level) / 2))
    factor = np.exp(z * np.sqrt(np.maximum(variance, 0)))
    return value, value / factor, value * factor
