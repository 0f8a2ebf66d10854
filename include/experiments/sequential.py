"""P-values and intervals that hold however often somebody looks: the mixture sequential probability ratio test.

    effect and its standard error at a look  ->  p-value and interval that are valid at any time

Looking twenty times at a usual test, and stopping when it says p < 0.05, finds an effect where there is none in a
quarter of all experiments. Here the likelihood of the data is averaged over effects ~ Normal(0, scale^2) and set
against no effect [1]_, [2]_:

    L = sqrt(v / (v + s^2)) exp(s^2 effect^2 / (2 v (v + s^2))),   v = standard error^2, s = scale

Under no effect L exceeds 1 / alpha at any time with probability alpha at most, so 1 / L is a p-value at any look, and
the smallest so far too. The price: the interval is wider than the usual one at a fixed time, about 1.3 to 2 times.

`scale` is the size of an effect that is worth finding, in the unit of the effect. It must be set before the data are
seen; a bad choice costs power, never validity. It rests on the mean being near normal at each look: begin to look at a
hundred customers a group. Not for ratios of few orders, and not together with a correction for looks (Pocock's, say):
it needs none.

.. [1] Robbins (1970), Annals of Mathematical Statistics 41, 1397-1409.
.. [2] Johari, Koomen, Pekelis and Walsh (2022), Always valid inference, Operations Research 70, 1806-1821.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from include.experiments.comparisons import Comparison, Estimate, Floats, compared, sample, welch_of
from include.measures.results import ratio

FIRST_LOOK = 100  # customers a group


def always_valid_p_value(effect: Any, standard_error: Any, scale: Any) -> Floats:
    """1 / L, at most 1, of one look or of an array of them; missing without a standard error."""
    variance, spread = np.square(np.asarray(standard_error, dtype="float64")), np.square(scale)
    both = variance + spread
    exponent = ratio(spread * np.square(effect), 2 * variance * both)
    log_likelihood = exponent + 0.5 * np.log(np.where(variance > 0, ratio(variance, both), 1.0))
    p_value: Floats = np.exp(-np.maximum(log_likelihood, 0))
    return np.where(variance > 0, p_value, np.nan)


def always_valid_half_width(standard_error: Any, scale: Any, confidence_level: float) -> Floats:
    """Half the width of the interval that belongs to the p-value."""
    variance, spread = np.square(np.asarray(standard_error, dtype="float64")), np.square(scale)
    both = variance + spread
    log_limit = np.log(np.where(variance > 0, ratio(both, variance), 1.0)) - 2 * np.log(1 - confidence_level)
    return np.where(variance > 0, np.sqrt(ratio(variance * both, spread) * log_limit), np.nan)


def always_valid(treated: Any, control: Any, *, scale: float, confidence_level: float = 0.95) -> Comparison:
    """The difference of means at this look; missing p-value and interval below FIRST_LOOK customers a group."""
    first, second = sample(treated), sample(control)
    found = welch_of(first, second)
    enough = min(first.n, second.n) >= FIRST_LOOK and scale > 0
    error = float(found.standard_error) if enough else float("nan")
    half = float(always_valid_half_width(error, scale, confidence_level))
    p_value = float(always_valid_p_value(found.effect, error, scale))
    shown = compared("always_valid", Estimate(found.effect, np.nan, np.inf, p_value), first, second, confidence_level)
    return Comparison(**{**vars(shown), "ci_low": shown.effect - half, "ci_high": shown.effect + half})
