"""Who comes, and what they order.

random numbers  ->  Customers (one entry each)  ->  Orders (one entry each, by customer)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import Floats, Integers, Rhythm

NEVER = np.inf


@dataclass(frozen=True)
class Customers:
    """Weeks on the even clock, NEVER where it does not happen within the calendar; codes are places in the shop."""

    download: Floats
    signup: Floats
    confirmed: Floats
    first_order: Floats
    channel: Integers
    region: Integers
    city: Integers

    def __len__(self) -> int:
        return len(self.download)


def customers(shop: Shop, rhythm: Rhythm, random: np.random.Generator, count: int) -> Customers:
    """Customers with their way up to the first order."""
    download = rhythm.download_weeks(random, count)
    channel = draw(random, [one.share for one in shop.channels], count)
    region = draw(random, [one.share for one in shop.regions], count)
    city = random.integers(0, np.array([len(one.cities) for one in shop.regions])[region])

    def later(than: Floats, share: float | Floats, mean_weeks: float) -> Floats:
        happens = random.random(count) < share
        at = than + random.exponential(mean_weeks, count)
        return np.where(happens & (at < shop.weeks), at, NEVER)

    signup = later(download, shop.signup_share, shop.signup_delay_weeks)
    confirmed = later(signup, shop.confirmed_share, shop.confirmed_delay_weeks)
    first_order_share = np.array([one.first_order_share for one in shop.channels])[channel]
    first_order = later(signup, first_order_share, shop.first_order_delay_weeks)
    return Customers(download, signup, confirmed, first_order, channel, region, city)


def draw(random: np.random.Generator, shares: list[float], count: int) -> Integers:
    """Places in `shares`, each as often as its share says."""
    bounds = np.cumsum(shares)
    places: Integers = np.searchsorted(bounds[:-1] / bounds[-1], random.random(count), side="right")
    return places
