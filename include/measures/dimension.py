"""The breakdown of a report: `all`, and each value of each dimension column.

A dimension value's report is computed as though only the sessions carrying the value existed. Sessions are therefore
repeated, once per dimension column and once for `all`, under a small integer code; every measure then groups by that
code, so that distinct counts, medians and retention are computed per value in one pass and never added up.

Of each column the values with the most sessions are kept (ties by name), the rest counts as `(other)`, and a missing
value as `(unknown)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ibis
import pandas as pd
import pyarrow as pa

from include.measures.results import result
from include.schemas.source_kinds import DIMENSION_PREFIX

if TYPE_CHECKING:
    import ibis.expr.types as ir

ALL = "all"
OTHER = "(other)"
UNKNOWN = "(unknown)"
CODE = "dimension_code_"


def coded(sessions: ir.Table, dimensions: Sequence[str], *, top_values: int) -> tuple[ir.Table, tuple[str, ...]]:
    """Sessions with a column `dimension_code_<name>` per dimension, and the label of each code.

    Code 0 is `all`. The order of the codes is the order of the report: by column, most sessions first, `(other)` and
    `(unknown)` last.
    """
    labels = [ALL]
    for name in dimensions:
        column = DIMENSION_PREFIX + name
        own = [*_largest(sessions[column], top_values), OTHER, UNKNOWN]
        codes = {value: len(labels) + position for position, value in enumerate(own)}
        values = pa.table(
            {
                f"{column}_value": pa.array(list(codes), pa.string()),
                f"{column}_known": pa.array(list(codes.values()), pa.int16()),
            }
        )
        lookup = ibis.memtable(values)
        sessions = sessions.left_join(lookup, sessions[column] == lookup[f"{column}_value"])
        known_code = sessions[f"{column}_known"]
        code = ibis.ifelse(sessions[column].isnull(), codes[UNKNOWN], ibis.coalesce(known_code, codes[OTHER]))
        sessions = sessions.mutate(code.cast("int32").name(CODE + name)).drop(f"{column}_value", f"{column}_known")
        labels += [f"{name}: {value}" for value in own]
    return sessions, tuple(labels)


def _largest(column: ir.StringColumn, top_values: int) -> list[str]:
    """The values with the most sessions, the largest first, ties by name.

    A value that is itself called `(other)` or `(unknown)` counts with those.
    """
    named = column.name("value").as_table().filter(column.notnull() & column.notin([OTHER, UNKNOWN]))
    sizes = named.group_by("value").agg(size=named.count())
    largest = sizes.order_by(ibis.desc("size"), ibis.asc("value")).limit(top_values)
    return [str(value) for value in result(largest)["value"]]


def by_dimension(table: ir.Table, dimensions: Sequence[str], own: Sequence[str] = ()) -> ir.Table:
    """Every row once for `all` and once per dimension column, with its code in `dimension`.

    What differs from one to the next is named in `own`: `<name>_0` is that of `all`, `<name>_1` of the first column, ….
    """
    codes = [CODE + name for name in dimensions]
    places = [ibis.literal(0, "int32"), *(table[code] for code in codes)]
    passing = [*codes, *(f"{name}_{number}" for name in own for number in range(len(places)))]
    parts = [
        table.mutate(dimension=place, **{name: table[f"{name}_{number}"] for name in own}).drop(*passing)
        for number, place in enumerate(places)
    ]
    return ibis.union(*parts) if codes else parts[0]


def labelled(frame: pd.DataFrame, labels: Sequence[str], key: Sequence[str]) -> pd.DataFrame:
    """The rows in the order of `key` (which begins with `dimension`), codes replaced by their labels."""
    ordered = frame.sort_values(list(key), kind="stable", ignore_index=True)
    return ordered.assign(dimension=[labels[code] for code in ordered["dimension"]])
