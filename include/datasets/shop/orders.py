"""What customers order of their own accord.

Customers  ->  Orders (one entry each: the first orders, then the repeat orders by customer and time)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from include.datasets.shop.customers import NEVER, Customers
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import Booleans, Floats, Integers

NO_PROMOTION = -1


@dataclass(frozen=True)
class Orders:
    """`customer` is a place in Customers, `weeks` on the even clock, `cents` before discount; `nu` is the customer's
    own parameter of amounts. `promotion` is a place in the shop's promotions; `is_extra` marks orders that there would
    not be without it.
    """

    customer: Integers
    weeks: Floats
    nu: Floats
    cents: Integers
    promotion: Integers
    discount_cents: Integers
    is_extra: Booleans

    def __len__(self) -> int:
        return len(self.customer)


def organic_orders(shop: Shop, random: np.random.Generator, who: Customers) -> Orders:
    """First and repeat orders (BG/NBD), each with its amount (gamma-gamma); none promoted yet."""
    buyers = np.flatnonzero(who.first_order < NEVER)
    first = who.first_order[buyers]
    span = shop.weeks - first
    rate = random.gamma(shop.repeat.r, 1 / shop.repeat.alpha, len(buyers))
    leaving = np.maximum(random.beta(shop.repeat.a, shop.repeat.b, len(buyers)), 1e-12)
    # Repeat orders until the customer leaves; how many there would be until the end of the calendar is Poisson, and
    # when, given how many, is uniform.
    until_leaving = random.geometric(leaving)
    wanted = random.poisson(rate * span)
    place = np.repeat(np.arange(len(buyers)), wanted)
    # Whole part and fraction sort by buyer, then by time.
    sorted_times = np.sort(place + random.random(len(place)))
    rank = np.arange(len(place)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    kept = rank < until_leaving[place]
    place = place[kept]
    repeats = first[place] + (sorted_times[kept] - place) * span[place]

    buyer = np.concatenate([np.arange(len(buyers)), place])
    weeks = np.minimum(np.concatenate([first, repeats]), np.nextafter(shop.weeks, 0))
    # How dear a customer's orders are stays the same.
    nu = random.gamma(shop.value.q, 1 / shop.value.gamma, len(buyers))
    cents = order_cents(shop, random, nu[buyer], who.region[buyers[buyer]])
    return Orders(
        customer=buyers[buyer],
        weeks=weeks,
        nu=nu[buyer],
        cents=cents,
        promotion=np.full(len(buyer), NO_PROMOTION),
        discount_cents=np.zeros(len(buyer), np.int64),
        is_extra=np.zeros(len(buyer), np.bool_),
    )


def order_cents(shop: Shop, random: np.random.Generator, nu: Floats, region: Integers) -> Integers:
    """Amounts before discount, rounded to cents after the region's factor."""
    factor = np.array([one.order_value_factor for one in shop.regions])[region]
    amount = random.gamma(shop.value.p, 1.0, len(nu)) / nu * factor
    cents: Integers = np.maximum(np.rint(amount * 100).astype(np.int64), shop.value.smallest_cents)
    return cents
