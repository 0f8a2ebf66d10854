"""P-values of several comparisons made together.

    p-values  ->  p-values to be read as though there had been one comparison; a missing one stays missing

Of twenty tests without any effect one has p < 0.05. `holm` bounds the chance of *any* false find; take it where one
false find is costly, as when prices are changed. `benjamini_hochberg` bounds the share of false finds among the finds;
take it for a list to look through. Both are for one family that was fixed beforehand: correcting only the comparisons
that looked good corrects nothing.

References: Holm (1979), Scandinavian Journal of Statistics 6, 65-70; Benjamini and Hochberg (1995), JRSS B 57, 289-300.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from include.experiments.comparisons import Floats


def holm(p_values: Any) -> Floats:
    """Adjusted p-values, valid whatever the dependence between the comparisons."""
    return _stepwise(p_values, is_holm=True)


def benjamini_hochberg(p_values: Any) -> Floats:
    """Adjusted p-values (false-discovery rate), for comparisons that are independent or positively dependent."""
    return _stepwise(p_values, is_holm=False)


def _stepwise(p_values: Any, *, is_holm: bool) -> Floats:
    found = np.asarray(p_values, dtype="float64")
    known = np.flatnonzero(~np.isnan(found))
    order = known[np.argsort(found[known], kind="stable")]
    number, rank = len(order), np.arange(1, len(order) + 1)
    if is_holm:
        steps = np.maximum.accumulate(found[order] * (number + 1 - rank))
    else:
        steps = np.minimum.accumulate((found[order] * number / rank)[::-1])[::-1]
    result = np.full(found.shape, np.nan)
    result[order] = np.minimum(steps, 1.0)
    return result
