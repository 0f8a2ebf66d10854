"""Daily series without gaps: a day on which nothing happened is a row of zeros."""

from __future__ import annotations

import numpy as np
import pandas as pd


def every_day(entries: pd.DataFrame, first_day: pd.Series, last_day: int) -> pd.DataFrame:
    """Each row of `entries` once for each `day` from its own first day (a number, see `periods`) to `last_day`."""
    first = first_day.to_numpy("int64")
    lengths = np.maximum(last_day - first + 1, 0)
    repeated = entries.loc[np.repeat(entries.index.to_numpy(), lengths)].reset_index(drop=True)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return repeated.assign(day=np.repeat(first, lengths) + within)
