"""Small results: from an Ibis expression to pandas, and numbers that can be relied on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    import ibis.expr.types as ir

SIGNIFICANT_DIGITS = 12  # beyond these a mean may depend on the order of addition, and so on the number of threads
_numbers = count(1)
# Selects on top of each other stay apart. Put into one, an expression stands as often as later ones refer to it, and
# columns that build on each other double the work with each of them.
ibis.options.sql.fuse_selects = False


def result(table: ir.Table) -> pd.DataFrame:
    """The rows of an expression as pandas, dates as `datetime.date`, in no particular order."""
    frame: pd.DataFrame = table.to_pyarrow().to_pandas(date_as_object=True)
    return frame


@contextmanager
def held(table: ir.Table) -> Iterator[ir.Table]:
    """The expression's rows as a temporary table of the engine, so that several measures share one computation."""
    backend = table.get_backend()
    name = f"held_{next(_numbers)}"
    # Registers the in-memory tables that the expression joins with.
    backend._run_pre_execute_hooks(table)
    backend.con.execute(f"CREATE TEMP TABLE {name} AS {backend.compile(table)}")
    try:
        yield backend.table(name, database="temp.main")
    finally:
        backend.con.execute(f"DROP TABLE temp.main.{name}")


def significant(values: Any) -> npt.NDArray[np.float64]:
    """Numbers rounded to twelve significant digits; missing and infinite ones become missing."""
    numbers = np.asarray(values, dtype="float64")
    usable = np.isfinite(numbers)
    magnitude = np.zeros(numbers.shape)
    np.log10(np.abs(numbers), out=magnitude, where=usable & (numbers != 0))
    decimals = SIGNIFICANT_DIGITS - 1 - np.floor(magnitude)
    shown = [
        round(float(number), int(places)) if good else float("nan")
        for number, places, good in zip(numbers.ravel(), decimals.ravel(), usable.ravel(), strict=True)
    ]
    return np.array(shown, dtype="float64").reshape(numbers.shape)


def ratio(numerator: Any, denominator: Any) -> npt.NDArray[np.float64]:
    """numerator / denominator, missing where the denominator is zero or missing."""
    above, below = np.asarray(numerator, dtype="float64"), np.asarray(denominator, dtype="float64")
    defined = np.isfinite(above) & np.isfinite(below) & (below != 0)
    shares = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=shares, where=defined)
    return shares


def records(frame: pd.DataFrame) -> list[Any]:
    """The rows as named tuples."""
    return list(frame.itertuples(index=False))
