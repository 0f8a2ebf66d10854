"""Places on a grid: the geohash cell [1]_ that a latitude and longitude lie in.

    latitude, longitude  ->  the cell's number  ->  its name, and its middle

A geohash of n characters has 5 n bits that halve longitude and latitude in turn, longitude first. The cells of one
length are therefore a regular grid, and a cell's number is found by two divisions: cheap in the engine, so that names
are needed for the distinct cells only. A cell of 3, 4, 5 or 6 characters is 156, 39, 4.9 or 1.2 km wide at the equator,
and narrower towards the poles.

.. [1] Niemeyer (2008), geohash.org; the alphabet has no a, i, l and o.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"
BITS = 5


def grid(length: int) -> tuple[int, int]:
    """Rows (of latitude) and columns (of longitude) of the grid of names with `length` characters."""
    bits = BITS * length
    return 1 << bits // 2, 1 << (bits + 1) // 2


def cell_number(latitude: Any, longitude: Any, length: int) -> Any:
    """The number of the cell, row x columns + column, of Ibis columns; pole and date line belong to the last one."""
    import ibis

    rows, columns = grid(length)
    row = ((latitude + 90) / 180 * rows).floor().cast("int64")
    column = ((longitude + 180) / 360 * columns).floor().cast("int64")
    return ibis.least(row, rows - 1) * columns + ibis.least(column, columns - 1)


def cell_name(number: int, length: int) -> str:
    """The geohash of a cell."""
    row, column = divmod(int(number), grid(length)[1])
    bits = BITS * length
    interleaved = 0
    for place in range(bits):
        # From the last bit backwards; the very first one is of longitude.
        of_longitude = (bits - 1 - place) % 2 == 0
        source = column if of_longitude else row
        interleaved |= (source & 1) << place
        if of_longitude:
            column >>= 1
        else:
            row >>= 1
    return "".join(ALPHABET[interleaved >> BITS * place & 31] for place in reversed(range(length)))


def cell_middle(numbers: Any, length: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Latitude and longitude of the middle of each cell."""
    rows, columns = grid(length)
    row, column = np.divmod(np.asarray(numbers, dtype="int64"), columns)
    return (row + 0.5) / rows * 180 - 90, (column + 0.5) / columns * 360 - 180
