"""How much of a long table is kept, so that no report has more rows than people and indexes can use."""

from __future__ import annotations


def fitting(wanted: int, *, rows_each: int, most_rows: int) -> int:
    """How many of `wanted` entries (days, names) fit into `most_rows` at `rows_each` rows an entry; at least one."""
    return max(1, min(wanted, most_rows // max(rows_each, 1)))
