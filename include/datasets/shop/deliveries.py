"""How orders are delivered.

orders: instants and regions  ->  Deliveries (one entry each; those that arrive after the calendar are not there)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import DAY_SECONDS, HOUR_SECONDS, WEEK_SECONDS, Booleans, Floats, Integers

NOT_RETURNED = -1


@dataclass(frozen=True)
class Deliveries:
    """`order` is a place in the orders; instants are seconds from the beginning; degrees."""

    order: Integers
    prepared: Integers
    delivered: Integers
    returned: Integers
    latitude: Floats
    longitude: Floats
    is_delayed: Booleans

    def __len__(self) -> int:
        return len(self.order)


def deliveries(
    shop: Shop, random: np.random.Generator, ordered: Integers, region: Integers, city: Integers
) -> Deliveries:
    """Deliveries of orders placed at these instants, to customers in these regions and cities."""
    count, plan = len(ordered), shop.delivery

    def seconds(mean_hours: float) -> Integers:
        hours = random.gamma(plan.shape, mean_hours / plan.shape, count)
        return np.rint(hours * HOUR_SECONDS).astype(np.int64)

    delayed = is_delayed(shop, ordered, region)
    prepared = ordered + seconds(plan.prepare_mean_hours)
    delivered = prepared + seconds(plan.ride_mean_hours) + delayed * round(shop.delay.hours * HOUR_SECONDS)
    returned = delivered + seconds(plan.return_mean_hours)
    comes_back = random.random(count) < plan.returned_share
    end = shop.weeks * WEEK_SECONDS
    returned = np.where(comes_back & (returned < end), returned, NOT_RETURNED)
    widest = max(len(one.cities) for one in shop.regions)
    places = np.zeros((len(shop.regions), widest, 2))
    for number, one in enumerate(shop.regions):
        places[number, : len(one.cities)] = [(town.latitude, town.longitude) for town in one.cities]
    where = places[region, city] + random.normal(0, plan.scatter_degrees, (count, 2))
    there = np.flatnonzero(delivered < end)
    return Deliveries(
        there,
        prepared[there],
        delivered[there],
        returned[there],
        np.round(where[there, 0], 5),
        np.round(where[there, 1], 5),
        delayed[there],
    )


def is_delayed(shop: Shop, ordered: Integers, region: Integers) -> Booleans:
    """Whether the planted delay meets orders of these instants and regions."""
    weekday = ordered % WEEK_SECONDS // DAY_SECONDS
    hour = ordered % DAY_SECONDS // HOUR_SECONDS
    delay = shop.delay
    names = [one.name for one in shop.regions]
    found: Booleans = (
        (region == names.index(delay.region))
        & np.isin(weekday, delay.weekdays)
        & (hour >= delay.from_hour)
        & (hour < delay.to_hour)
    )
    return found
