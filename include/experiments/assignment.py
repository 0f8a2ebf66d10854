"""Whether the groups are as large as they should be: the sample-ratio mismatch test.

    customers per group, intended shares  ->  p-value

Look at it before anything else. Where customers were assigned half and half, and 5,210 to 4,790 came out, something
lost customers on the way (a redirect, a bot filter, a slow page in one group), and those who got lost differ from those
who did not: no test of the outcome can be believed. The usual limit is 0.001, as the test is made again and again.

Not for groups that customers choose themselves, nor for shares that changed on the way: test each phase by itself.

Reference: Fabijan et al. (2019), Diagnosing sample ratio mismatch in online controlled experiments, KDD.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import chi2

MISMATCH_BELOW = 0.001


def sample_ratio_p_value(sizes: Any, shares: Any = None) -> float:
    """The chi-squared test of group sizes against the intended shares (any scale; equal by default).

    Missing with fewer than two groups or nobody in them. Raises ValueError for shares that are not all positive.
    """
    observed = np.asarray(sizes, dtype="float64")
    wanted = np.ones(len(observed)) if shares is None else np.asarray(shares, dtype="float64")
    if len(wanted) != len(observed) or not (wanted > 0).all():
        raise ValueError("each group needs an intended share above zero")
    if len(observed) < 2 or not observed.sum():
        return float("nan")
    expected = wanted / wanted.sum() * observed.sum()
    return float(chi2.sf(((observed - expected) ** 2 / expected).sum(), len(observed) - 1))
