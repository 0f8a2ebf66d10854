"""Which groups are slower than the rest, each named for what it is: places, times, places at a time, or customers.

    log durations, place, time and customer of each  ->  SlowGroups: the slow ones with factor and q-value

The model is additive in the logarithm, so effects are factors: log duration = typical + place + time + noise, where the
noise of some groups is not centred. Place and time effects come from a median polish [1]_ of the table of cell medians
(place x time), every cell counting the same: a place slow at a few times, or a time slow at a few places, does not
move them, and stays in the residuals of its own cells. So what is slow everywhere at a time is a time, what is slow
always at a place is a place, and what is slow only there and then is a place at a time. Customers are tested on what
these leave over, and the cells on what slow customers leave over, twice in turn: a customer who only orders when a
place is slow is not slow, and a place with one slow customer is not either.

Each group with `fewest` observations or more is tested for being slower than the rest by more than the factor
`min_factor` (a difference nobody would act on is not worth a name, however certain): the mean of its residuals, drawn
in to 2.5 deviations so that single odd ones count for little, against its standard error, one-sided. The deviation is
that of all residuals (by their median absolute deviation). Within each kind of group the false discovery rate is
controlled (Benjamini-Hochberg).

Assumes that observations are independent given their groups and equally spread in the logarithm. Not for durations that
come in a few values only, such as whole days.

.. [1] Tukey (1977), Exploratory Data Analysis, chapter 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control, norm

from include.measures.running_median import median_of
from include.measures.seasonal_esd import MAD_TO_DEVIATION

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

DRAWN_IN = 2.5
POLISHES = 4
NO_PLACE = -1


@dataclass(frozen=True)
class Tested:
    """One kind of group: arrays by its code. Missing p-values were not tested, for lack of observations."""

    number: Integers
    effect: Floats
    p_value: Floats
    q_value: Floats
    is_slow: Booleans


@dataclass(frozen=True)
class SlowGroups:
    """What was tested, and for each observation what is expected of it if nothing were slow.

    `cells` are by place x times + time. `deviation` is that of the noise, in the logarithm.
    """

    places: Tested
    times: Tested
    cells: Tested
    customers: Tested
    expected: Floats
    deviation: float


def slow_groups(
    logs: Any,
    place: Any,
    time: Any,
    customer: Any,
    *,
    times: int,
    min_factor: float = 1.2,
    fewest: int = 5,
    false_discovery_rate: float = 0.05,
) -> SlowGroups:
    """`place` (NO_PLACE: unknown), `time` (below `times`) and `customer` are the codes of each observation, from 0."""
    value = np.asarray(logs, dtype="float64")
    places, when, who = (np.asarray(one, dtype="int64") for one in (place, time, customer))
    known_place = places != NO_PLACE
    number_of_places = int(places.max(initial=NO_PLACE)) + 1
    # Deliveries to nobody knows where still tell about times and customers: as a place of their own, never tested.
    row = np.where(known_place, places, number_of_places)
    cell = row * times + when
    rules = _Rules(np.log(min_factor), fewest, false_discovery_rate)

    place_effect, time_effect, typical = _polished(value, cell, number_of_places + 1, times)
    residual = value - typical - place_effect[row] - time_effect[when]
    deviation = MAD_TO_DEVIATION * float(median_of(np.abs(residual))) if len(value) else float("nan")
    # Noise that is skewed in the logarithm has a median of zero and another mean, which is no group's doing.
    ordinary = np.abs(residual) <= DRAWN_IN * deviation
    residual = residual - (float(residual[ordinary].mean()) if ordinary.any() else 0.0)
    testable = np.where(known_place, cell, -1)

    # In turn: cells without slow customers, customers without slow cells.
    customers = _tested(residual, who, deviation, rules)
    cells = _tested(residual - _slow_effect(customers, who), testable, deviation, rules)
    customers = _tested(residual - _slow_effect(cells, testable), who, deviation, rules)
    cells = _tested(residual - _slow_effect(customers, who), testable, deviation, rules)
    unsuspected = ~(_of(cells.is_slow, testable) | _of(customers.is_slow, who))

    of_place = np.where(unsuspected & known_place, places, -1)
    of_time = np.where(unsuspected, when, -1)
    tested_places = _tested(residual + place_effect[row], of_place, deviation, rules, also=place_effect[:-1])
    tested_times = _tested(residual + time_effect[when], of_time, deviation, rules, also=time_effect)
    expected = (
        typical
        + np.where(_of(tested_places.is_slow, places), 0, place_effect[row])
        + np.where(_of(tested_times.is_slow, when), 0, time_effect[when])
    )
    return SlowGroups(tested_places, tested_times, cells, customers, expected, deviation)


def group_medians(values: Floats, groups: Integers, count: int) -> Floats:
    """The median of each group 0 … count - 1; missing where it has no values."""
    order = np.lexsort((values, groups))
    ordered = values[order]
    sizes = np.bincount(groups, minlength=count)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    there = sizes > 0
    found = np.full(count, np.nan)
    lower, upper = starts + (sizes - 1) // 2, starts + sizes // 2
    found[there] = (ordered[lower[there]] + ordered[upper[there]]) / 2
    return found


@dataclass(frozen=True)
class _Rules:
    smallest: float
    fewest: int
    false_discovery_rate: float


def _polished(value: Floats, cell: Integers, rows: int, columns: int) -> tuple[Floats, Floats, float]:
    """Row effects, column effects and the typical value of the table of cell medians; both have a median of zero."""
    table = group_medians(value, cell, rows * columns).reshape(rows, columns)
    row_effect, column_effect, typical = np.zeros(rows), np.zeros(columns), 0.0
    for _ in range(POLISHES):
        by_row = np.nan_to_num(median_of(table))
        table = table - by_row[:, None]
        row_effect += by_row
        by_column = np.nan_to_num(median_of(table.T))
        table = table - by_column
        column_effect += by_column
        there = np.isfinite(table)
        for effect, present in ((row_effect, there.any(axis=1)), (column_effect, there.any(axis=0))):
            if present.any():
                middle = float(np.median(effect[present]))
                effect[present] -= middle
                typical += middle
    return row_effect, column_effect, typical


def _tested(residual: Floats, group: Integers, deviation: float, rules: _Rules, also: Floats | None = None) -> Tested:
    """Each group's mean drawn-in residual against `smallest`; `also` is another estimate that must be above it."""
    count = max(int(group.max(initial=-1)) + 1, 0 if also is None else len(also))
    mine = group >= 0
    number = np.bincount(group[mine], minlength=count)
    if not deviation > 0:
        nothing = np.full(count, np.nan)
        return Tested(number, nothing, nothing, nothing, np.zeros(count, dtype=bool))
    # Around the group's own median, so that a slow group is not drawn in towards the others.
    middle = group_medians(residual[mine], group[mine], count)
    away = np.clip(residual[mine] - middle[group[mine]], -DRAWN_IN * deviation, DRAWN_IN * deviation)
    total = np.bincount(group[mine], weights=away, minlength=count)
    effect = middle + np.divide(total, number, out=np.zeros(count), where=number > 0)
    enough = number >= rules.fewest
    score = (effect[enough] - rules.smallest) * np.sqrt(number[enough]) / deviation
    p_value, q_value = np.full(count, np.nan), np.full(count, np.nan)
    p_value[enough] = norm.sf(score)
    if enough.any():
        q_value[enough] = false_discovery_control(p_value[enough], method="bh")
    is_slow = q_value <= rules.false_discovery_rate
    return Tested(number, effect, p_value, q_value, is_slow if also is None else is_slow & (also > rules.smallest))


def _of(flags: Booleans, group: Integers) -> Booleans:
    """The flag of each observation's group; False for those without one."""
    if not len(flags):
        return np.zeros(len(group), dtype=bool)
    found: Booleans = flags[group] & (group >= 0)
    return found


def _slow_effect(tested: Tested, group: Integers) -> Floats:
    slow = _of(tested.is_slow, group)
    effect = np.zeros(len(group))
    effect[slow] = tested.effect[group[slow]]
    return effect
