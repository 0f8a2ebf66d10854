"""What the odd days did to the traffic.

Traffic, an anomaly  ->  Traffic, and the customers whose sessions were concerned (once per session)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from include.datasets.shop.parameters import Anomaly, Shop
from include.datasets.shop.rhythm import DAY_SECONDS, Booleans, Integers, day_number


@dataclass(frozen=True)
class Traffic:
    """Sessions without an order: whose and when. And the orders: when, and whether they went through."""

    customer: Integers
    start: Integers
    order_start: Integers
    went_through: Booleans


def disturbed(
    shop: Shop, random: np.random.Generator, traffic: Traffic, order_customer: Integers, anomaly: Anomaly
) -> tuple[Traffic, Integers]:
    """The traffic after this anomaly. Parameters say what each kind does."""
    begin = day_number(shop, anomaly.day) * DAY_SECONDS
    end = begin + DAY_SECONDS
    if anomaly.kind == "checkout_failure":
        placed = np.flatnonzero((traffic.order_start >= begin) & (traffic.order_start < end))
        failed = placed[random.random(len(placed)) < anomaly.size]
        went_through = traffic.went_through.copy()
        went_through[failed] = False
        return replace(traffic, went_through=went_through), order_customer[failed]

    customer, start = traffic.customer, traffic.start
    inside = np.flatnonzero((start >= begin) & (start < end))
    if anomaly.kind == "tracking_loss":
        lost = inside[random.random(len(inside)) < anomaly.size]
        left = replace(traffic, customer=np.delete(customer, lost), start=np.delete(start, lost))
        return left, customer[lost]
    if anomaly.kind == "traffic_spike":
        more = inside[np.repeat(np.arange(len(inside)), random.poisson(anomaly.size - 1, len(inside)))]
        later = start[more] + (random.random(len(more)) * (end - start[more])).astype(np.int64)
        grown = replace(
            traffic, customer=np.concatenate([customer, customer[more]]), start=np.concatenate([start, later])
        )
        return grown, customer[more]
    raise ValueError(f"no anomaly is called {anomaly.kind!r}")
