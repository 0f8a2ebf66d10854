"""Daily revenue ahead: what known customers are expected to bring, what new ones will, and the rhythm of the week.

    daily revenue so far, expected level per day  ->  expected revenue per day with its band

The level of a day comes from a customer model; here it gets the shape of the week, and the band around it. The band has
two parts: the noise of single days (their variance grows with their mean, by a factor seen in the past weeks) and the
error of the level (as large as the weekly errors of a forecast made earlier, whose days are over by now; beyond their
horizon it grows with the square root of the time). A day's revenue is taken as Gamma distributed, so it is never below
zero. Neither trend nor yearly season is foreseen: the forecast says what comes if customers go on as they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.stats import gamma

Floats = npt.NDArray[np.float64]
WEEK = 7
RHYTHM_WEEKS = 26  # newest weeks that the rhythm and the noise are read off
FEWEST_WEEKS = 4  # with fewer, every weekday counts the same
NODES_DAYS = (7, 14, 28, 56, 91, 126, 182, 273, 365)  # expectations are computed for these and interpolated between


@dataclass(frozen=True)
class Rhythm:
    """`factors` of the seven weekdays, by day number modulo 7, around 1; `noise` is variance / mean of a day."""

    factors: Floats
    noise: float

    def of(self, days: Any) -> Floats:
        return np.asarray(self.factors[np.asarray(days, "int64") % WEEK], "float64")


def weekly_rhythm(revenue: Any, last_day: int) -> Rhythm:
    """The rhythm of a series of daily revenue that ends with `last_day` (a day number)."""
    values = np.asarray(revenue, "float64")
    weeks = min(len(values) // WEEK, RHYTHM_WEEKS)
    if weeks == 0:
        return Rhythm(np.ones(WEEK), float(values.mean()) if len(values) and values.mean() > 0 else 0.0)
    newest = np.maximum(values[-weeks * WEEK :].reshape(weeks, WEEK), 0)  # columns: the days since last_day - 6
    means = newest.mean(axis=0)
    shape = np.ones(WEEK)
    if weeks >= FEWEST_WEEKS and means.mean() > 0:
        shape = means / means.mean()
    fitted = newest.mean(axis=1, keepdims=True) * shape
    seen = fitted > 0
    degrees = max(weeks * (WEEK - 1) - (WEEK - 1), WEEK - 1)
    noise = float(((newest - fitted)[seen] ** 2 / fitted[seen]).sum() / degrees)
    factors = np.ones(WEEK)
    factors[np.arange(last_day - WEEK + 1, last_day + 1) % WEEK] = shape
    return Rhythm(factors, noise)


def daily(days: Any, cumulative: Any) -> Floats:
    """What comes on each of the days 1, 2, …, up to the last of `days`, where `cumulative` is known after `days`."""
    known_days, known = np.asarray(days, "int64"), np.asarray(cumulative, "float64")
    # Between the nodes a curve that is as smooth and, like what it follows, never falls.
    curve = PchipInterpolator(np.concatenate([[0], known_days]), np.concatenate([[0.0], known]))
    return np.asarray(np.maximum(np.diff(curve(np.arange(known_days[-1] + 1))), 0), "float64")


def nodes(last: int) -> list[int]:
    """Days ahead for which to compute an expectation: the nodes before `last`, and it."""
    return [node for node in NODES_DAYS if node < last] + [last]


def level_error(predicted: Any, actual: Any, noise: float) -> float:
    """The root mean square of the relative errors of whole weeks, less the noise of their days.

    It is at least the relative error of the whole, and 0 where nothing was predicted.
    """
    expected, found = np.asarray(predicted, "float64"), np.asarray(actual, "float64")
    weeks = len(expected) // WEEK
    sums = expected[: weeks * WEEK].reshape(weeks, WEEK).sum(axis=1)
    came = found[: weeks * WEEK].reshape(weeks, WEEK).sum(axis=1)
    usable = sums > 0
    if not usable.any():
        return 0.0
    mean_square = float(np.mean((came[usable] / sums[usable] - 1) ** 2 - noise / sums[usable]))
    whole = float(came[usable].sum() / sums[usable].sum() - 1)
    return float(np.sqrt(max(mean_square, whole**2)))


def band(
    expected: Any, noise: float, level: float, *, known_horizon_days: int, confidence_level: float
) -> tuple[Floats, Floats]:
    """Both ends of each day's interval; `expected` are the days ahead in order."""
    mean = np.asarray(expected, "float64")
    ahead = np.arange(1, len(mean) + 1)
    growth = np.sqrt(np.maximum(ahead / max(known_horizon_days, 1), 1))
    variance = noise * mean + (level * growth * mean) ** 2
    usable = (mean > 0) & (variance > 0)
    low, high = mean.copy(), mean.copy()
    shape, scale = mean[usable] ** 2 / variance[usable], variance[usable] / mean[usable]
    tail = (1 - confidence_level) / 2
    low[usable], high[usable] = gamma.ppf(tail, shape, scale=scale), gamma.ppf(1 - tail, shape, scale=scale)
    return low, high
