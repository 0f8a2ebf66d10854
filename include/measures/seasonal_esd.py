"""Outliers of a series: the generalised ESD test, and S-H-ESD, which applies it to what season and median leave over.

    values  ->  Outliers: where they are, and the statistic and critical value of each that was tried

*Generalised ESD* [1]_ takes away, one at a time, the value farthest from the centre, in units of the spread of the
values still there. There are as many outliers as the last of these distances that exceeds its critical value says: so
several outliers that hide each other by their own spread are still found. The level `alpha` is the probability of
finding any in values that are normal and independent. Its only other parameter is the most outliers there may be.

*S-H-ESD* (seasonal hybrid ESD) [2]_ subtracts the seasonal component of a decomposition and the median of the series
(not its trend, which a long anomaly bends), and uses median and median absolute deviation as centre and spread, which
stand up to many outliers. The authors take the seasonal component of STL with a periodic window: whoever has it, of
statsmodels for instance, gives it as `seasonal`, and the test is that of the paper. Without one it is the median of
each phase of the season around a running median. Both estimate the same pattern; the median needs no inner and outer
loops, and on a series of 10,000 points takes milliseconds.

When not to use S-H-ESD: where the level rises or falls by more than the noise, since only the median of the whole
series is subtracted; where there is more than one season; for small counts, which are not normal. `daily_expectation`
is made for those.

.. [1] Rosner (1983), Percentage points for a generalized ESD many-outlier procedure, Technometrics 25, 165-172.
.. [2] Hochenbaum, Vallis & Kejariwal (2017), Automatic anomaly detection in the cloud via statistical learning,
   arXiv:1704.07706.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from include.measures.running_median import median_of, running_median

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
MAD_TO_DEVIATION = float(1 / norm.ppf(0.75))  # of normal values: 1.4826


@dataclass(frozen=True)
class Outliers:
    """`positions` in the series, the most extreme first. `statistics` and `critical_values` are of every value that
    was tried; the last one above its critical value says how many outliers there are.
    """

    positions: Integers
    statistics: Floats
    critical_values: Floats


def generalised_esd(values: Any, *, most: int, alpha: float = 0.05, robust: bool = False) -> Outliers:
    """The outliers among `values`, at most `most` of them; missing values (NaN) are left out.

    `robust` measures by median and median absolute deviation instead of mean and standard deviation. Of two values
    equally far, the one above goes first.
    """
    numbers = np.asarray(values, dtype="float64")
    known = np.flatnonzero(np.isfinite(numbers))
    order = known[np.argsort(numbers[known], kind="stable")]
    ordered = numbers[order]
    count = len(ordered)
    tried: list[int] = []
    statistics: list[float] = []
    # What is left after taking away extremes is a slice of the sorted values.
    low, high = 0, count
    for _ in range(min(most, count - 2)):
        centre, spread = _centre_and_spread(ordered[low:high], robust=robust)
        if not spread > 0:
            break
        below, above = centre - ordered[low], ordered[high - 1] - centre
        statistics.append(float(max(below, above) / spread))
        if below > above:
            tried.append(int(order[low]))
            low += 1
        else:
            high -= 1
            tried.append(int(order[high]))
    critical = _critical_values(count, len(tried), alpha)
    beyond = np.flatnonzero(np.array(statistics) > critical)
    found = int(beyond[-1]) + 1 if len(beyond) else 0
    return Outliers(np.array(tried[:found], dtype="int64"), np.array(statistics), critical)


def seasonal_hybrid_esd(
    values: Any, *, period: int, most_share: float = 0.1, alpha: float = 0.05, seasonal: Any = None
) -> Outliers:
    """The outliers of a series with a season of `period` values, at most `most_share` (below 0.5) of them.

    `seasonal` is the seasonal component, one number a value; None: `seasonal_component`'s.
    """
    numbers = np.asarray(values, dtype="float64")
    if not 0 < most_share < 0.5:
        raise ValueError("most_share is above 0 and below 0.5: half of the values cannot be outliers")
    if not np.isfinite(numbers).any():
        return generalised_esd(numbers, most=0)
    season = seasonal_component(numbers, period) if seasonal is None else np.asarray(seasonal, dtype="float64")
    residuals = numbers - season - float(median_of(numbers))
    most = int(most_share * np.isfinite(numbers).sum())
    return generalised_esd(residuals, most=most, alpha=alpha, robust=True)


def seasonal_component(values: Any, period: int) -> Floats:
    """The median of each phase around the running median of two seasons, repeated along the series; its mean is 0."""
    numbers = np.asarray(values, dtype="float64")
    length = len(numbers)
    detrended = numbers - running_median(numbers, 2 * period + 1)
    seasons = -(-length // period)
    padded = np.full(seasons * period, np.nan)
    padded[:length] = detrended
    phases = np.nan_to_num(median_of(padded.reshape(seasons, period).T))
    found: Floats = np.tile(phases - phases.mean(), seasons)[:length]
    return found


def _centre_and_spread(ordered: Floats, *, robust: bool) -> tuple[float, float]:
    if not robust:
        return float(ordered.mean()), float(ordered.std(ddof=1))
    count = len(ordered)
    centre = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    away = np.abs(ordered - centre)
    middle = np.partition(away, ((count - 1) // 2, count // 2))
    return float(centre), MAD_TO_DEVIATION * float((middle[(count - 1) // 2] + middle[count // 2]) / 2)


def _critical_values(count: int, tried: int, alpha: float) -> Floats:
    """Rosner's lambda for the first, second, … value taken away of `count`."""
    left = count - np.arange(tried, dtype="float64")  # values there before each is taken away
    quantile = t.ppf(1 - alpha / (2 * left), left - 2)
    found: Floats = (left - 1) * quantile / np.sqrt((left - 2 + quantile**2) * left)
    return found
