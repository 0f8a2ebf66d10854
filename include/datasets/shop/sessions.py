"""The sessions of a block of customers, with what was done in each.

Customers, Orders  ->  Sessions (one entry each, by customer and time)
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from include.datasets.shop.customers import Customers, Orders, draw
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import DAY_SECONDS, Booleans, Floats, Integers, Rhythm, day_number

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


@dataclass(frozen=True)
class Incidents:
    """What the anomalies did, as the customers concerned, by place of the anomaly in the shop."""

    customers: tuple[Integers, ...]


def sessions(
    shop: Shop, rhythm: Rhythm, random: np.random.Generator, who: Customers, orders: Orders
) -> tuple[Sessions, Incidents]:
    """All sessions of these customers, anomalies included."""
    customer, weeks = _browsing(shop, rhythm, random, who)
    start = rhythm.instants(weeks)
    order_start = rhythm.instants(orders.weeks)
    bought = np.ones(len(orders), np.bool_)
    incidents = []
    for one in shop.anomalies:
        begin = day_number(shop, one.day) * DAY_SECONDS
        end = begin + DAY_SECONDS
        inside = np.flatnonzero((start >= begin) & (start < end))
        if one.kind == "tracking_loss":
            lost = inside[random.random(len(inside)) < one.size]
            incidents.append(customer[lost])
            customer, start = np.delete(customer, lost), np.delete(start, lost)
        elif one.kind == "traffic_spike":
            more = inside[np.repeat(np.arange(len(inside)), random.poisson(one.size - 1, len(inside)))]
            incidents.append(customer[more])
            later = start[more] + (random.random(len(more)) * (end - start[more])).astype(np.int64)
            customer, start = np.concatenate([customer, customer[more]]), np.concatenate([start, later])
        elif one.kind == "checkout_failure":
            placed = np.flatnonzero((order_start >= begin) & (order_start < end))
            failed = placed[random.random(len(placed)) < one.size]
            incidents.append(orders.customer[failed])
            bought[failed] = False
        else:
            raise ValueError(f"no anomaly is called {one.kind!r}")

    count = len(customer)
    steps = np.concatenate([_steps(shop, random, count), np.full(len(orders), len(shop.steps))])
    nothing = np.zeros(count, np.int64)
    found = Sessions(
        customer=np.concatenate([customer, orders.customer]),
        start=np.concatenate([start, order_start]),
        bought=np.concatenate([np.zeros(count, np.bool_), bought]),
        steps=steps,
        cents=np.concatenate([nothing, orders.cents]),
        discount_cents=np.concatenate([nothing, orders.discount_cents]),
        promotion=np.concatenate([nothing - 1, np.where(bought, orders.promotion, -1)]),
        is_extra=np.concatenate([np.zeros(count, np.bool_), orders.is_extra]),
        visit=np.concatenate([nothing, np.zeros(len(orders), np.int64)]),
    )
    by_time = np.argsort(found.customer * (rhythm.days * DAY_SECONDS) + found.start, kind="stable")
    found = found.take(by_time)
    per_customer = np.bincount(found.customer, minlength=len(who))
    found.visit[:] = np.arange(len(found)) - np.repeat(np.cumsum(per_customer) - per_customer, per_customer) + 1
    found.visit[found.is_extra] += FIRST_EXTRA_VISIT
    return found, Incidents(tuple(incidents))


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
