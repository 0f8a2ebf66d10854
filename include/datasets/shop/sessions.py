"""The sessions of a block of customers, with what was done in each.

Customers, Orders  ->  Sessions (one entry each, by customer and time)
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from include.datasets.shop.anomalies import Traffic, disturbed
from include.datasets.shop.customers import Customers, draw
from include.datasets.shop.orders import NO_PROMOTION, Orders
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import DAY_SECONDS, Booleans, Floats, Integers, Rhythm

FIRST_EXTRA_VISIT = 9000  # the visit numbers of extra orders begin here: a mark that the truth names


@dataclass(frozen=True)
class Sessions:
    """`start` is in seconds from the beginning; `steps` is how many actions of the funnel were done."""

    customer: Integers
    start: Integers
    bought: Booleans
    steps: Integers
    cents: Integers
    discount_cents: Integers
    promotion: Integers
    is_extra: Booleans
    visit: Integers

    def __len__(self) -> int:
        return len(self.customer)

    def take(self, places: Integers | Booleans | slice) -> Sessions:
        return Sessions(*(getattr(self, one.name)[places] for one in fields(self)))


def sessions(
    shop: Shop, rhythm: Rhythm, random: np.random.Generator, who: Customers, orders: Orders
) -> tuple[Sessions, list[Integers]]:
    """All sessions of these customers, and for each anomaly whose sessions it lost, brought or failed."""
    browsing, weeks = _browsing(shop, rhythm, random, who)
    traffic = Traffic(browsing, rhythm.instants(weeks), rhythm.instants(orders.weeks), np.ones(len(orders), np.bool_))
    concerned = []
    for one in shop.anomalies:
        traffic, customers_concerned = disturbed(shop, random, traffic, orders.customer, one)
        concerned.append(customers_concerned)

    customer, start, bought = traffic.customer, traffic.start, traffic.went_through
    count = len(customer)
    steps = np.concatenate([_steps(shop, random, count), np.full(len(orders), len(shop.steps))])
    nothing = np.zeros(count, np.int64)
    found = Sessions(
        customer=np.concatenate([customer, orders.customer]),
        start=np.concatenate([start, traffic.order_start]),
        bought=np.concatenate([np.zeros(count, np.bool_), bought]),
        steps=steps,
        cents=np.concatenate([nothing, orders.cents]),
        discount_cents=np.concatenate([nothing, orders.discount_cents]),
        promotion=np.concatenate([nothing + NO_PROMOTION, np.where(bought, orders.promotion, NO_PROMOTION)]),
        is_extra=np.concatenate([np.zeros(count, np.bool_), orders.is_extra]),
        visit=np.concatenate([nothing, np.zeros(len(orders), np.int64)]),
    )
    by_time = np.argsort(found.customer * (rhythm.days * DAY_SECONDS) + found.start, kind="stable")
    found = found.take(by_time)
    per_customer = np.bincount(found.customer, minlength=len(who))
    visit = np.arange(len(found)) - np.repeat(np.cumsum(per_customer) - per_customer, per_customer) + 1
    return replace(found, visit=visit + np.where(found.is_extra, FIRST_EXTRA_VISIT, 0)), concerned


def _browsing(shop: Shop, rhythm: Rhythm, random: np.random.Generator, who: Customers) -> tuple[Integers, Floats]:
    """Sessions without an order: whose, and when on the even clock."""
    more = random.poisson(shop.browsing.mean_sessions * random.exponential(1.0, len(who)))
    customer = np.repeat(np.arange(len(who)), more)
    weeks = who.download[customer] + random.exponential(shop.browsing.mean_delay_weeks, len(customer))
    inside = weeks < shop.weeks
    customer, weeks = customer[inside], weeks[inside]
    kept = rhythm.in_season(random, weeks)
    return (
        np.concatenate([np.arange(len(who)), customer[kept]]),
        np.concatenate([who.download, weeks[kept]]),
    )


def _steps(shop: Shop, random: np.random.Generator, count: int) -> Integers:
    """How far down the funnel sessions without an order get: one draw for all steps, so none is left out."""
    reached = np.cumprod([share for _, share in shop.browsing.steps])
    drawn = random.random(count)
    steps: Integers = np.sum([drawn < share for share in reached], axis=0, dtype=np.int64)
    return steps


def devices(shop: Shop, random: np.random.Generator, bought: Booleans) -> Integers:
    """A device for each session, by whether it ends in an order."""
    with_order = draw(random, [one.share_of_orders for one in shop.devices], len(bought))
    without = draw(random, [one.share_of_browsing for one in shop.devices], len(bought))
    return np.where(bought, with_order, without)
