"""Who comes, and what they order.

random numbers  ->  Customers (one entry each)  ->  Orders (one entry each, by customer)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import Booleans, Floats, Integers, Rhythm

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


@dataclass(frozen=True)
class Orders:
    """`customer` is a place in Customers, `weeks` on the even clock, `cents` before discount. `promotion` is a place
    in the shop's promotions, -1 for none; `is_extra` marks orders that there would not be without it.
    """

    customer: Integers
    weeks: Floats
    cents: Integers
    promotion: Integers
    discount_cents: Integers
    is_extra: Booleans

    def __len__(self) -> int:
        return len(self.customer)


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


def organic_orders(shop: Shop, random: np.random.Generator, who: Customers) -> Orders:
    """First and repeat orders (BG/NBD), each with its amount (gamma-gamma)."""
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
    nothing = np.full(len(buyer), -1)
    orders = Orders(
        buyers[buyer], weeks, cents, nothing, np.zeros(len(buyer), np.int64), np.zeros(len(buyer), np.bool_)
    )
    return promoted(shop, random, orders, nu[buyer], who)


def order_cents(shop: Shop, random: np.random.Generator, nu: Floats, region: Integers) -> Integers:
    """Amounts before discount, rounded to cents after the region's factor."""
    factor = np.array([one.order_value_factor for one in shop.regions])[region]
    amount = random.gamma(shop.value.p, 1.0, len(nu)) / nu * factor
    cents: Integers = np.maximum(np.rint(amount * 100).astype(np.int64), shop.value.smallest_cents)
    return cents


def promoted(shop: Shop, random: np.random.Generator, orders: Orders, nu: Floats, who: Customers) -> Orders:
    """The orders with promotion codes and discounts, and after them the extra orders that promotions brought."""
    promotion, using = orders.promotion.copy(), random.random(len(orders))
    extra: list[Integers] = []
    extra_weeks: list[Floats] = []
    for number, one in enumerate(shop.promotions):
        begin, end = shop.week_of(one.first_day), shop.week_of(one.first_day) + one.weeks
        inside = np.flatnonzero((orders.weeks >= begin) & (orders.weeks < end))
        promotion[inside[using[inside] < one.share_using]] = number
        again = inside[random.random(len(inside)) < one.uplift]
        extra.append(again)
        extra_weeks.append(orders.weeks[again] + random.random(len(again)) * (end - orders.weeks[again]))
    source = np.concatenate(extra)
    extra_number = np.repeat(np.arange(len(extra)), [len(one) for one in extra])
    extra_cents = order_cents(shop, random, nu[source], who.region[orders.customer[source]])
    promotion = np.concatenate([promotion, extra_number])
    cents = np.concatenate([orders.cents, extra_cents])
    off = np.array([*(one.discount_share for one in shop.promotions), 0.0])[promotion]  # -1 is the last: no promotion
    return Orders(
        np.concatenate([orders.customer, orders.customer[source]]),
        np.concatenate([orders.weeks, *extra_weeks]),
        cents,
        promotion,
        np.rint(cents * off).astype(np.int64),
        np.arange(len(cents)) >= len(orders),
    )
