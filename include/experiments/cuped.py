"""CUPED: less noise in an experiment by what was known of each customer before it [1]_.

    values, the same customers' values before  ->  values without what the past explains

    adjusted = value - theta (before - mean before),  theta = cov(value, before) / var(before) over both groups

The expected difference of the groups stays the same, the variance falls by the squared correlation. `before` must have
been fixed before assignment: a covariate that the treatment may have changed takes away a part of the effect. It helps
little where most customers are new, and does nothing where nothing is known of them. Not a cure for groups that were
not drawn at random.

.. [1] Deng, Xu, Kohavi and Walker (2013), Improving the sensitivity of online controlled experiments, WSDM.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from include.experiments.comparisons import Comparison, Floats, welch
from include.measures.results import ratio


def adjusted(values: Any, before: Any) -> Floats:
    """`values` of all groups together, adjusted by `before`; as they are where `before` does not vary."""
    value, past = np.asarray(values, dtype="float64"), np.asarray(before, dtype="float64")
    deviation = past - past.mean() if len(past) else past
    spread = float(deviation @ deviation)
    theta = float(deviation @ (value - value.mean())) / spread if spread > 0 else 0.0
    result: Floats = value - theta * deviation
    return result


def cuped(
    treated: Any, control: Any, treated_before: Any, control_before: Any, *, confidence_level: float = 0.95
) -> tuple[Comparison, float]:
    """Welch's test of the adjusted values, and the reduction really achieved.

    The reduction is 1 - (standard error after / before the adjustment)^2: 0.5 is worth twice as many customers. It may
    be slightly negative where the past tells nothing.
    """
    size = len(treated)
    values = adjusted(np.concatenate([treated, control]), np.concatenate([treated_before, control_before]))
    found = welch(values[:size], values[size:], confidence_level=confidence_level, method="cuped")
    plain = welch(treated, control, confidence_level=confidence_level)
    return found, 1 - float(ratio(found.standard_error, plain.standard_error)) ** 2
