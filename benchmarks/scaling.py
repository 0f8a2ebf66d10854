"""How the time grows with the data: the exponent b of seconds = a * sessions ** b, fitted by least squares on logs.

1 is proportional; n log n is about 1.07 between 100 thousand and 10 million. Fixed costs pull small sizes towards 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The fitted exponent; needs two different sizes."""
    slope, _ = np.polyfit(np.log(sizes), np.log(seconds), 1)
    return float(slope)


def scaling(measurements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per family and case with several sizes: the sizes, our median seconds, and the exponent."""
    series: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for one in measurements:
        ours = one["contenders"][one["ours"]]
        if ours["rows"] >= one["sessions"] // 2:  # some measure a part of the data, the same at every size
            series.setdefault((one["family"], one["name"]), []).append((one["sessions"], ours["median_seconds"]))
    found = []
    for (family, name), points in series.items():
        sizes, seconds = (list(values) for values in zip(*sorted(points), strict=True))
        if len(set(sizes)) > 1:
            fitted = round(exponent(sizes, seconds), 2)
            found.append({"family": family, "name": name, "sizes": sizes, "seconds": seconds, "exponent": fitted})
    return found
