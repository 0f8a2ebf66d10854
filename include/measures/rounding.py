"""Numbers that come out the same in every order of addition.

Adding floats in another order changes their last digits, and an engine with several threads adds in any order. Money
is therefore added as exact decimals and turned into floats once, at the end (`to_float`); what can only be computed in
floats is rounded to 12 significant digits (`significant`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

SIGNIFICANT_DIGITS = 12


def significant(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`values` rounded to 12 significant digits; missing stays missing."""
    numbers = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(numbers) & (numbers != 0)
    # Through text: multiplying by a power of ten would bring back the very last digits this is to remove.
    rounded = np.array([float(f"{one:.{SIGNIFICANT_DIGITS}g}") for one in numbers[finite]], dtype=np.float64)
    result = numbers.copy()
    result[finite] = rounded
    return result


def to_float(values: pd.Series) -> pd.Series:
    """A column of decimals (or of anything numeric) as floats; missing (None) becomes NaN."""
    return values.astype("float64")
