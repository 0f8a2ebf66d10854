"""The running median: a level that neither a single odd day nor a lasting jump bends.

    values, along the last axis  ->  the median of the values around each one

A running mean spreads one odd value over its whole window and rounds off a jump; the median does neither, as long as
fewer than half of the values in the window are odd. Missing values (NaN) are left out of their windows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def running_median(values: Any, window: int, *, fewest: int = 1) -> Floats:
    """The median of the `window` (odd) values around each; missing where fewer than `fewest` of them are known.

    At both ends the window is cut off, so the first value's holds half of it.
    """
    numbers = np.asarray(values, dtype="float64")
    half = window // 2
    if numbers.shape[-1] == 0:
        return numbers.copy()
    beyond = [(0, 0)] * (numbers.ndim - 1) + [(half, half)]
    padded = np.pad(numbers, beyond, constant_values=np.nan)
    return median_of(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=-1), fewest=fewest)


def median_of(values: Any, *, fewest: int = 1) -> Floats:
    """The median of the known values along the last axis; missing where there are fewer than `fewest`."""
    ordered = np.sort(np.asarray(values, dtype="float64"), axis=-1)  # missing values come last
    known = (~np.isnan(ordered)).sum(axis=-1)
    if ordered.shape[-1] == 0:
        return np.full(ordered.shape[:-1], np.nan)
    upper = np.take_along_axis(ordered, (known // 2)[..., None].clip(max=ordered.shape[-1] - 1), axis=-1)[..., 0]
    lower = np.take_along_axis(ordered, ((known - 1) // 2)[..., None].clip(min=0), axis=-1)[..., 0]
    return np.where(known >= max(fewest, 1), (lower + upper) / 2, np.nan)
