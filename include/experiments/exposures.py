"""From orders and uses of a promotion (or product) to units for `difference_in_differences`.

    orders: client, day, amount  ->  units: a client on a day with an order, its orders and money before and after
    units, which of them used it  ->  who is exposed, who is a control, and their strata

Controls ordered in the same calendar week without it, and had not used it until then: on that day nobody could know who
would use it later, so a later use does not take a control out. Before and after are whole days; the day itself belongs
to neither, because everybody ordered on it.

Matched are the calendar week, whether it was the client's first order, orders and money in the days before, and orders
in the longer history. Of products also what was paid on the day: a large basket holds more of everything, and whoever
has a full larder comes back later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from include.experiments.comparisons import Floats
from include.experiments.difference_in_differences import Booleans, Integers, strata_of

DAY_SPAN = 1_000_000  # more days than any calendar has: client and day in one number
MOST_ORDERS_APART = 4  # orders before: 0, 1, 2, 3, 4 or more
HISTORY_STEPS = (1, 3, 6)  # orders in the history: none, 1-2, 3-5, 6 or more
NEVER = np.iinfo(np.int64).max

Chosen = tuple[npt.NDArray[np.intp], Booleans]  # places among the units, and which of them are exposed


@dataclass(frozen=True)
class OrderHistory:
    """Orders sorted by client and day. Amounts are whole numbers, so that sums do not depend on their order."""

    client: Integers
    day: Integers
    key: Integers
    running_amount: Integers  # of all orders before each, and at the end of all

    def between(self, client: Any, first_day: Any, last_day: Any) -> tuple[Integers, Integers]:
        """Orders and amount of each client from `first_day` to `last_day`, both included."""
        begin = np.searchsorted(self.key, np.asarray(client) * DAY_SPAN + first_day, side="left")
        end = np.searchsorted(self.key, np.asarray(client) * DAY_SPAN + last_day, side="right")
        return (end - begin).astype("int64"), self.running_amount[end] - self.running_amount[begin]

    def until(self, client: Any, last_day: int) -> tuple[Integers, Integers, Integers]:
        """Orders, amount and day of the last order of each client up to `last_day`; day -1 without an order."""
        begin = np.searchsorted(self.key, np.asarray(client) * DAY_SPAN, side="left")
        end = np.searchsorted(self.key, np.asarray(client) * DAY_SPAN + last_day, side="right")
        last = np.where(end > begin, self.day[np.maximum(end - 1, 0)] if len(self.day) else -1, -1)
        return (end - begin).astype("int64"), self.running_amount[end] - self.running_amount[begin], last


def order_history(client: Any, day: Any, amount: Any) -> OrderHistory:
    """The history of orders given in any order: client codes, day numbers, amounts as whole numbers."""
    clients, days = np.asarray(client, dtype="int64"), np.asarray(day, dtype="int64")
    order = np.lexsort((days, clients))
    running = np.concatenate([[0], np.cumsum(np.asarray(amount, dtype="int64")[order])]).astype("int64")
    return OrderHistory(clients[order], days[order], clients[order] * DAY_SPAN + days[order], running)


@dataclass(frozen=True)
class Units:
    """One entry per client and day with an order, sorted so. Money is in units of the amounts.

    `stratum` is what is matched, `stratum_by_amount` the same with the quartile of what was paid on the day itself.
    `usual_orders` is the mean number of orders in as many days of the history before `before`. `is_observed`: the days
    before and after are within the data.
    """

    client: Integers
    day: Integers
    before_orders: Floats
    before_amount: Floats
    after_orders: Floats
    after_amount: Floats
    usual_orders: Floats
    stratum: Integers
    stratum_by_amount: Integers
    is_observed: Booleans

    @property
    def key(self) -> Integers:
        key: Integers = self.client * DAY_SPAN + self.day
        return key


def units_of(history: OrderHistory, *, window_days: int, history_days: int, first_day: int, last_day: int) -> Units:
    """Every client on every day with an order; `first_day` and `last_day` are those of the data."""
    key = np.unique(history.key)
    client, day = key // DAY_SPAN, key % DAY_SPAN
    before, before_amount = history.between(client, day - window_days, day - 1)
    after, after_amount = history.between(client, day + 1, day + window_days)
    long_before = history.between(client, day - history_days, day - 1)[0]
    rest_days = history_days - window_days
    rest = long_before - before
    usual = rest * (window_days / rest_days) if rest_days > 0 else np.full(len(key), np.nan)
    is_first = np.ones(len(key), dtype=bool)
    is_first[1:] = client[1:] != client[:-1]
    spent = before_amount[before > 0]
    is_high = before_amount > (np.median(spent) if len(spent) else 0)
    stratum = strata_of(
        (day + 3) // 7,  # calendar weeks from Monday; which day they begin on does not matter
        np.minimum(before, MOST_ORDERS_APART),
        np.searchsorted(HISTORY_STEPS, long_before, side="right"),
        is_high,
        is_first,
    )
    amount = history.between(client, day, day)[1]
    steps = np.quantile(amount, (0.25, 0.5, 0.75)) if len(amount) else np.zeros(3)
    return Units(
        client=client,
        day=day,
        before_orders=before.astype("float64"),
        before_amount=before_amount.astype("float64"),
        after_orders=after.astype("float64"),
        after_amount=after_amount.astype("float64"),
        usual_orders=np.asarray(usual, dtype="float64"),
        stratum=stratum,
        stratum_by_amount=strata_of(stratum, np.searchsorted(steps, amount)),
        is_observed=(day - window_days >= first_day) & (day + window_days <= last_day),
    )


def first_uses(units: Units, used: Booleans, *, from_day: int) -> Chosen:
    """Each client's first use, for what is always there (a product), and controls who had not used it until then.

    To be compared within `stratum_by_amount`. Nobody assigned it, so what comes out describes: customers who buy
    peppers for the first time are about to cook, and differ from others in more than is known here.
    `used` says of each unit whether it was used on that day; uses before `from_day` only count as known before.
    """
    first_use = _first_use(units, used)
    known = units.is_observed & (units.day >= from_day)
    exposed = known & used & (units.day == first_use)
    control = known & ~used & (units.day < first_use)
    return _with_exposed_strata(units.stratum_by_amount, exposed, control)


def first_orders(units: Units, used: Booleans, *, used_first: Booleans, from_day: int, until_day: int) -> Chosen:
    """Each client's first order while something ran (a promotion), with it or without it.

    `used` says of each unit whether any order of that day used it, `used_first` whether the first one did. Later orders
    are left out on both sides: an order that the promotion brought comes after another one and has the code, so to
    choose users by it would be to choose them by the effect.
    """
    inside = (units.day >= from_day) & (units.day <= until_day)
    is_first = np.zeros(len(inside), dtype=bool)
    is_first[np.flatnonzero(inside)[np.unique(units.client[inside], return_index=True)[1]]] = True
    known = units.is_observed & is_first & (_first_use(units, used) >= units.day)
    return _with_exposed_strata(units.stratum, known & used_first, known & ~used_first)


def _first_use(units: Units, used: Booleans) -> Integers:
    """The day of the client's first use, per unit."""
    if not len(units.client):
        return units.day
    place = np.cumsum(np.diff(units.client, prepend=units.client[0]) != 0)
    first_use = np.full(place[-1] + 1, NEVER)
    users = np.flatnonzero(used)[::-1]
    first_use[place[users]] = units.day[users]  # from the end, so that the earliest stays
    found: Integers = first_use[place]
    return found


def _with_exposed_strata(strata: Integers, exposed: Booleans, control: Booleans) -> Chosen:
    with_exposed = np.zeros(int(strata.max(initial=-1)) + 1, dtype=bool)
    with_exposed[strata[exposed]] = True
    chosen = np.flatnonzero(exposed | (control & with_exposed[strata]))
    return chosen, exposed[chosen]
