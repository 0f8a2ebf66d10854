"""How long things take when not all of them have happened yet: the Kaplan-Meier curve, its band and its medians.

    duration, event or not, how many  ->  times, at risk, events, survival with its band

Whoever has not had the event yet is *censored* at the time for which it is known not to have happened, and counts among
those at risk until then; leaving them out would make everything look faster than it is. The estimate is Kaplan and
Meier's [1]_, its band the log-log transformation of Greenwood's variance, which stays within 0 and 1.

`scipy.stats.ecdf` has the same estimate for one list of observations. Here observations come counted by duration, out
of the engine, so that a million customers are some thousand rows.

.. [1] Kaplan & Meier (1958), JASA 53, 457-481; the interval of a median: Brookmeyer & Crowley (1982), Biometrics 38.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float, float]  # estimate, lower end, upper end; missing (NaN) where the data do not reach
UNKNOWN: Interval = (float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Survival:
    """The curve at each time with an event; it stays level until the next one.

    `log_variance` is Greenwood's variance of log survival; infinite once nobody is left.
    """

    times: Floats
    at_risk: Floats
    events: Floats
    survival: Floats
    log_variance: Floats
    ci_low: Floats
    ci_high: Floats
    z: float
    last_time: float  # until when anybody was observed

    def median(self) -> Interval:
        """The time by which half of all have had the event; missing where fewer than half have."""
        return self._first(self.survival), self._first(self.ci_low), self._first(self.ci_high)

    def median_of_events(self) -> Interval:
        """The time by which half of those have had the event who have it at all within the time observed.

        That is where 1 - survival reaches half of its last value. The interval holds the times at which half cannot be
        excluded; its variance follows by the delta method from Greenwood's, whose increments are independent.
        """
        if not len(self.times):
            return UNKNOWN
        now, last = self.survival, self.survival[-1]
        share = (1 - now) / (1 - last)
        later = np.divide(last, now, out=np.zeros_like(now), where=now > 0)
        before = now**2 * np.where(now > 0, self.log_variance, 0)
        if last > 0:
            after = now**2 * (1 - now) ** 2 * later**2 * (self.log_variance[-1] - self.log_variance)
            variance = ((1 - later) ** 2 * before + after) / (1 - last) ** 4
        else:
            variance = before
        half = self.z * np.sqrt(np.clip(variance, 0, None))
        high = self.times[share - half >= 0.5]
        middle = float(self.times[np.argmax(share >= 0.5 - 1e-12)])
        return middle, float(self.times[np.argmax(share + half >= 0.5)]), float(high[0]) if len(high) else float("nan")

    def at(self, times: Any) -> npt.NDArray[np.int64]:
        """For each time the position in the curve that holds then; -1 before the first event."""
        places: npt.NDArray[np.int64] = np.searchsorted(self.times, np.asarray(times, dtype="float64"), "right") - 1
        return places

    def _first(self, curve: Floats) -> float:
        reached = curve <= 0.5 + 1e-12
        return float(self.times[np.argmax(reached)]) if reached.any() else float("nan")


def kaplan_meier(durations: Any, is_event: Any, counts: Any, confidence_level: float) -> Survival:
    """The curve of `counts` observations of each duration, in any order; censored ones leave after events of then."""
    duration = np.asarray(durations, dtype="float64")
    event = np.asarray(is_event, dtype=bool)
    number = np.asarray(counts, dtype="float64")
    every, place = np.unique(duration, return_inverse=True)
    leaving = np.bincount(place, weights=number, minlength=len(every))
    happened: Floats = np.bincount(place, weights=number * event, minlength=len(every)).astype("float64")
    at_risk: Floats = leaving[::-1].cumsum()[::-1].astype("float64")
    kept = happened > 0
    times, at_risk, happened = every[kept], at_risk[kept], happened[kept]
    survival: Floats = np.cumprod(1 - happened / at_risk).astype("float64")
    left = at_risk - happened
    terms = np.divide(happened, at_risk * left, out=np.full(len(times), np.inf), where=left > 0)
    variance: Floats = np.cumsum(terms).astype("float64")
    z = float(norm.ppf((1 + confidence_level) / 2))
    low, high = _band(survival, variance, z)
    last = float(every[-1]) if len(every) else float("nan")
    return Survival(times, at_risk, happened, survival, variance, low, high, z, last)


def _band(survival: Floats, log_variance: Floats, z: float) -> tuple[Floats, Floats]:
    inside = (survival > 0) & (survival < 1)
    log = np.log(np.where(inside, survival, 0.5))
    width = np.where(inside, z * np.sqrt(np.where(inside, log_variance, 0)) / -log, 0)
    return np.where(inside, survival ** np.exp(width), survival), np.where(inside, survival ** np.exp(-width), survival)
