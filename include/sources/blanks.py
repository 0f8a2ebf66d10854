"""Which texts of a column can be blank, or have blanks at their ends: told from single bytes, as nearly none are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Mask = npt.NDArray[np.bool_]
LAST_ASCII_BLANK, FIRST_BEYOND_ASCII = 0x20, 0x80


def ends(column: pa.StringArray | pa.LargeStringArray) -> tuple[Mask, Mask, Mask]:
    """Per value: whether it is empty (or null), and whether a blank may be its first, and its last character.

    Beyond ASCII a byte does not tell: those may be, and are to be looked at.
    """
    _, offsets, data = column.buffers()
    width = np.int64 if pa.types.is_large_string(column.type) else np.int32
    begins = np.frombuffer(offsets, dtype=width)[column.offset : column.offset + len(column) + 1]
    empty = begins[1:] == begins[:-1]
    if data is None or empty.all():
        return empty, np.zeros(len(empty), bool), np.zeros(len(empty), bool)
    values = np.frombuffer(data, dtype=np.uint8)
    maybe = (np.arange(256) <= LAST_ASCII_BLANK) | (np.arange(256) >= FIRST_BEYOND_ASCII)
    first = maybe[values[np.minimum(begins[:-1], len(values) - 1)]] & ~empty
    last = maybe[values[np.maximum(begins[1:], 1) - 1]] & ~empty
    return empty, first, last
