"""What has changed between two fits of one model.

    parameters of the earlier fit, parameters of this one  ->  those that changed beyond a factor, with both values

From one report date to the next nearly all of the data are the same, so parameters hardly move by chance: one that
jumps means that customers changed, or the data did. Not for fits to different data, or of different models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

LIMIT = 1.5  # a value that changed by more than this factor, up or down


def drifted(before: Mapping[str, Any], now: Mapping[str, Any], *, names: Mapping[str, str]) -> list[str]:
    """`alpha from 4.414 to 9.2` for each of `names` (field: what to call it) that both have above zero, and that moved.

    Values that are missing, zero or negative in either are not compared.
    """
    found = []
    for field, name in names.items():
        old, new = known(before.get(field)), known(now.get(field))
        if old > 0 and new > 0 and not 1 / LIMIT < new / old < LIMIT:
            found.append(f"{name} from {old:.4g} to {new:.4g}")
    return found


def since(rows: Iterable[Mapping[str, Any]]) -> str:
    """Which report these rows are of, as the end of a sentence."""
    days = sorted({str(row["report_date"]) for row in rows if row.get("report_date")})
    return f"since the report of {days[-1]}" if days else "since the last report"


def known(value: Any) -> float:
    """The value as a number; NaN where it is missing."""
    return float("nan") if value is None else float(np.asarray(value, dtype="float64"))
