"""Rates with their interval.

    numerator, denominator  ->  rate, ci_low, ci_high

The interval is Wilson's score interval [1]_: unlike the textbook interval it stays within 0 and 1, and a rate of zero
out of three has one too. It assumes that the units counted are independent of each other.

.. [1] Wilson (1927), JASA 22, 209-212; recommended by Brown, Cai and DasGupta (2001), Statistical Science 16, 101-133.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from include.measures.results import ratio

Floats = npt.NDArray[np.float64]


def wilson_interval(numerator: Any, denominator: Any, confidence_level: float) -> tuple[Floats, Floats]:
    """Both ends of the interval, missing where the denominator is zero or the numerator is no part of it."""
    z = float(norm.ppf((1 + confidence_level) / 2))
    n = np.asarray(denominator, dtype="float64")
    rate = ratio(numerator, denominator)
    rate = np.where((rate >= 0) & (rate <= 1), rate, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
        half = z * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = np.where(rate == 0, 0.0, np.clip(centre - half, 0, 1))
    high = np.where(rate == 1, 1.0, np.clip(centre + half, 0, 1))
    return np.where(np.isnan(rate), np.nan, low), np.where(np.isnan(rate), np.nan, high)


def with_rate(
    frame: pd.DataFrame, numerator: str, denominator: str, confidence_level: float, *, known: Any = True
) -> pd.DataFrame:
    """`frame` with numerator, denominator, rate, ci_low and ci_high; the last three only where `known`."""
    low, high = wilson_interval(frame[numerator], frame[denominator], confidence_level)
    return frame.assign(
        numerator=frame[numerator],
        denominator=frame[denominator],
        rate=np.where(known, ratio(frame[numerator], frame[denominator]), np.nan),
        ci_low=np.where(known, low, np.nan),
        ci_high=np.where(known, high, np.nan),
    )
