"""One block of customers with everything that belongs to them: what is simulated, and held in memory, at once.

A block's random numbers follow from the seed and its number alone, so it does not matter what was made before it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from include.datasets.shop.baskets import Lines, baskets
from include.datasets.shop.customers import Customers, customers
from include.datasets.shop.deliveries import Deliveries, deliveries
from include.datasets.shop.orders import organic_orders
from include.datasets.shop.parameters import Shop
from include.datasets.shop.promotions import promoted
from include.datasets.shop.rhythm import Integers, Rhythm
from include.datasets.shop.sessions import Sessions, devices, sessions

BLOCK_CUSTOMERS = 16_384
LONGEST_SESSION_SECONDS = 4 * 3600
DURATION_SIGMA = 0.9


@dataclass(frozen=True)
class Block:
    """`orders` are the places in `sessions` of those with an order; `lines` and `deliveries` refer to them.

    `incidents` counts, for each anomaly of the shop, the sessions that it lost, failed or brought.
    """

    first_customer: int
    customers: Customers
    sessions: Sessions
    end: Integers
    updated: Integers
    device: Integers
    orders: Integers
    lines: Lines
    deliveries: Deliveries
    incidents: tuple[int, ...]
    random: np.random.Generator


def simulate(shop: Shop, rhythm: Rhythm, *, seed: int, number: int, most_sessions: int) -> Block:
    """Block `number` of the shop, cut after the customer with whom `most_sessions` are reached."""
    random = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=(number,))))
    who = customers(shop, rhythm, random, BLOCK_CUSTOMERS)
    orders_placed = promoted(shop, random, organic_orders(shop, random, who), who)
    found, concerned = sessions(shop, rhythm, random, who, orders_placed)
    per_customer = np.cumsum(np.bincount(found.customer, minlength=len(who)))
    kept = min(int(np.searchsorted(per_customer, most_sessions)) + 1, len(who))
    found = found.take(slice(0, int(per_customer[kept - 1])))
    who = Customers(*(getattr(who, one.name)[:kept] for one in fields(who)))

    seconds = random.lognormal(np.log(shop.browsing.median_minutes * 60), DURATION_SIGMA, len(found))
    end = found.start + np.minimum(seconds, LONGEST_SESSION_SECONDS).astype(np.int64)
    orders = np.flatnonzero(found.bought)
    customer = found.customer[orders]
    return Block(
        first_customer=number * BLOCK_CUSTOMERS,
        customers=who,
        sessions=found,
        end=end,
        updated=end + random.integers(0, 3600, len(found)),
        device=devices(shop, random, found.bought),
        orders=orders,
        lines=baskets(shop, random, found.cents[orders]),
        deliveries=deliveries(shop, random, found.start[orders], who.region[customer], who.city[customer]),
        incidents=tuple(int((one < kept).sum()) for one in concerned),
        random=random,
    )
