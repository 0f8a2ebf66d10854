"""Planted slow places, times, places at a time and customers are named for what they are."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.measures.slow_groups import NO_PLACE, SlowGroups, group_medians, slow_groups

PLACES, TIMES, CUSTOMERS = 8, 14, 300
FRIDAY = (10, 11)


@dataclass
class Deliveries:
    logs: npt.NDArray[np.float64]
    place: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    customer: npt.NDArray[np.int64]

    def judged(self) -> SlowGroups:
        return slow_groups(self.logs, self.place, self.time, self.customer, times=TIMES)


def deliveries(seed: int, count: int = 6_000) -> Deliveries:
    """Gamma durations; some times and places take a little longer (by less than the factor that counts)."""
    random = np.random.default_rng(seed)
    place = random.choice(PLACES, count, p=np.array([5, 4, 3, 2, 2, 2, 1, 1]) / 20)
    time = random.choice(TIMES, count, p=np.arange(1, TIMES + 1) / (TIMES * (TIMES + 1) / 2))
    logs = np.log(random.gamma(4, 0.5, count)) + 0.05 * (place % 3) + 0.05 * (time % 2)
    return Deliveries(logs, place, time, random.integers(0, CUSTOMERS, count))


def named(found: SlowGroups) -> dict[str, list[int]]:
    kinds = {"places": found.places, "times": found.times, "cells": found.cells, "customers": found.customers}
    return {name: np.flatnonzero(one.is_slow).tolist() for name, one in kinds.items() if one.is_slow.any()}


def cells(place: int, times: tuple[int, ...]) -> list[int]:
    return [place * TIMES + time for time in times]


@pytest.mark.parametrize("seed", range(4))
def test_a_place_at_a_time_is_neither_a_place_nor_a_time(seed: int) -> None:
    some = deliveries(seed)
    slow = np.isin(some.place, (0, 1)) & np.isin(some.time, FRIDAY)  # 45 % of all deliveries at these times
    some.logs[slow] = np.log(np.exp(some.logs[slow]) + 5)
    assert named(some.judged()) == {"cells": [*cells(0, FRIDAY), *cells(1, FRIDAY)]}


@pytest.mark.parametrize("seed", range(4))
def test_a_place_a_time_and_a_customer_are_told_apart(seed: int) -> None:
    some = deliveries(seed)
    some.logs[some.place == 3] += np.log(2)
    some.logs[some.time == 12] += np.log(1.8)
    some.logs[some.customer == 7] += np.log(4)
    found = some.judged()
    assert named(found) == {"places": [3], "times": [12], "customers": [7]}
    assert np.exp(found.places.effect[3]) == pytest.approx(2, rel=0.12)
    assert np.exp(found.times.effect[12]) == pytest.approx(1.8, rel=0.12)
    # What is expected is what it would take if nothing were slow.
    assert np.exp(np.median(found.expected[some.place == 3])) == pytest.approx(
        np.exp(np.median(found.expected)), rel=0.2
    )


def test_a_customer_who_orders_when_it_is_slow_is_not_slow() -> None:
    some = deliveries(5)
    some.customer[np.flatnonzero((some.place == 0) & (some.time == FRIDAY[0]))[:12]] = 999
    slow = (some.place == 0) & np.isin(some.time, FRIDAY)
    some.logs[slow] += np.log(3)
    assert named(some.judged()) == {"cells": cells(0, FRIDAY)}


def test_where_nothing_is_slow_little_is_named() -> None:
    hits = sum(bool(named(deliveries(seed, 2_000).judged())) for seed in range(60))
    assert hits <= 6  # four kinds at 5 % each would be 12; the smallest factor that counts makes it far fewer


def test_unknown_places_tell_about_times_and_customers_only() -> None:
    some = deliveries(6)
    some.place[:] = NO_PLACE
    some.logs[some.time == 12] += np.log(2)
    found = some.judged()
    assert named(found) == {"times": [12]}
    assert len(found.places.number) == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_handful_says_nothing(count: int) -> None:
    some = deliveries(7, count)
    found = some.judged()
    assert named(found) == {}
    assert found.expected.shape == (count,)


def test_all_alike_says_nothing() -> None:
    some = deliveries(8, 400)
    some.logs[:] = 0.7
    assert named(some.judged()) == {}


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 4)), max_size=40))
def test_group_medians_are_medians(rows: list[tuple[int, int]]) -> None:
    found = group_medians(
        np.array([value for value, _ in rows], dtype="float64"), np.array([one for _, one in rows], dtype="int64"), 5
    )
    for group, median in enumerate(found):
        own = [value for value, one in rows if one == group]
        assert median == pytest.approx(statistics.median(own) if own else float("nan"), nan_ok=True)
