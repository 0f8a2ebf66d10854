"""Which texts of a column (`string` or `large_string`) are blank, or have blanks at their ends.

Told from single bytes, as nearly none are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]
LAST_ASCII_BLANK, FIRST_BEYOND_ASCII = 0x20, 0x80


def blank(column: pa.Array) -> Mask:
    """Per value: whether it is null, empty or holds nothing but blanks."""
    found = empty(column)
    suspects = may_begin_blank(column)
    if suspects.any():
        found[suspects] = _flags(pc.utf8_is_space(column.filter(pa.array(suspects))).fill_null(True))
    return found


def empty(column: pa.Array) -> Mask:
    """Per value: whether it is null or empty."""
    places, _ = places_and_bytes(column)
    return _nulls(column) | _are_empty(places)


def may_begin_blank(column: pa.Array) -> Mask:
    """Per value that is not empty: whether its first character may be a blank. Beyond ASCII a byte does not tell."""
    places, data = places_and_bytes(column)
    return _may_be_blank(data, places[:-1]) & ~_are_empty(places)


def may_end_blank(column: pa.Array) -> Mask:
    """Per value that is not empty: whether its last character may be a blank."""
    places, data = places_and_bytes(column)
    return _may_be_blank(data, places[1:] - 1) & ~_are_empty(places)


def null_where(column: pa.Array, mask: Mask) -> pa.Array:
    """The column with nulls where the mask says so: the same texts, none of them copied."""
    if not mask.any():
        return column
    valid = np.concatenate([np.zeros(column.offset, bool), ~(mask | _nulls(column))])
    bits = pa.py_buffer(np.packbits(valid, bitorder="little"))
    _, offsets, data = column.buffers()
    return pa.Array.from_buffers(column.type, len(column), [bits, offsets, data], offset=column.offset)


def _nulls(column: pa.Array) -> Mask:
    return _flags(column.is_null()) if column.null_count else np.zeros(len(column), bool)


def _are_empty(places: npt.NDArray[np.intp]) -> Mask:
    found: Mask = places[1:] == places[:-1]
    return found


def _flags(mask: pa.BooleanArray) -> Mask:
    found: Mask = mask.to_numpy(zero_copy_only=False)
    return found


def places_and_bytes(column: pa.Array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]:
    """Where each value begins (and the last one ends), and the bytes of all."""
    _, offsets, data = column.buffers()
    width = np.int64 if pa.types.is_large_string(column.type) else np.int32
    places = np.frombuffer(offsets, dtype=width)[column.offset : column.offset + len(column) + 1].astype(np.intp)
    return places, np.frombuffer(data or b"", dtype=np.uint8)


def _may_be_blank(data: npt.NDArray[np.uint8], places: npt.NDArray[np.intp]) -> Mask:
    if not len(data):
        return np.zeros(len(places), bool)
    found = data.take(places, mode="clip")  # of an empty value, a place may lie outside
    return (found <= LAST_ASCII_BLANK) | (found >= FIRST_BEYOND_ASCII)
