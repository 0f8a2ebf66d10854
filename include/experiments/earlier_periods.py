"""A period against the periods before it, where everybody was exposed at once and nobody is left to compare with.

    mean per customer of the period, the same of several earlier periods  ->  relative change with its interval

The periods before are never quite alike: weather, pay day, holidays. How much they differ beyond chance
(their heterogeneity) is estimated from them and goes into the interval, as for the prediction of one more study in a
meta-analysis [1]_, [2]_:

    change = mean / pooled mean - 1,   var log = v + tau^2 + 1 / sum(1 / (v_k + tau^2))

Take a mean that the growth of the shop does not move, as orders per *ordering* customer. What an effect on the number
of customers is, this cannot say. When not to use it: in a season of its own (Christmas against November), with fewer
than three earlier periods, or where another promotion ran in them. The same customers may be in several periods, which
makes the interval too wide rather than too narrow.

.. [1] DerSimonian and Laird (1986), Controlled Clinical Trials 7, 177-188.
.. [2] Higgins, Thompson and Spiegelhalter (2009), JRSS A 172, 137-159.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from include.experiments.comparisons import Sample, estimate_of, interval
from include.measures.results import ratio


@dataclass(frozen=True)
class Change:
    """`effect` is relative: 0.1 is ten per cent more. `heterogeneity_p_value` is small where the earlier periods differ
    among themselves by more than chance.
    """

    effect: float
    ci_low: float
    ci_high: float
    p_value: float
    n_period: int
    n_earlier: int
    period_value: float
    earlier_value: float
    heterogeneity_p_value: float


def change_from_earlier(period: Sample, earlier: Sequence[Sample], *, confidence_level: float = 0.95) -> Change:
    """The relative change of a mean above zero; missing with fewer than two earlier periods or without variance."""
    groups = [period, *earlier]
    means = np.array([one.mean for one in groups], dtype="float64")
    variances = ratio(
        ratio([one.variance for one in groups], [one.n for one in groups]), np.where(means > 0, means, np.nan) ** 2
    )
    logs = np.log(np.where(means > 0, means, np.nan))
    own, others = variances[0], variances[1:]
    weights = ratio(1, others)
    pooled = float(ratio((weights * logs[1:]).sum(), weights.sum()))
    spread = float((weights * (logs[1:] - pooled) ** 2).sum())
    degrees = len(earlier) - 1
    scale = float(weights.sum() - ratio((weights**2).sum(), weights.sum()))
    between = max(0.0, float(ratio(spread - degrees, scale))) if degrees > 0 else float("nan")
    weights = ratio(1, others + between)
    pooled = float(ratio((weights * logs[1:]).sum(), weights.sum()))
    error = float(np.sqrt(own + between + ratio(1, weights.sum())))
    found = estimate_of(logs[0] - pooled, error)
    low, high = interval(found, confidence_level)
    return Change(
        effect=float(np.expm1(logs[0] - pooled)),
        ci_low=float(np.expm1(low)),
        ci_high=float(np.expm1(high)),
        p_value=float(found.p_value),
        n_period=int(period.n),
        n_earlier=int(sum(one.n for one in earlier)),
        period_value=float(period.mean),
        earlier_value=float(np.exp(pooled)),
        heterogeneity_p_value=float(chi2.sf(spread, degrees)) if degrees > 0 else float("nan"),
    )
