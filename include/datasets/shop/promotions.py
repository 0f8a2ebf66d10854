"""What promotions change: codes and discounts on orders that happen anyway, and extra orders.

Orders  ->  Orders, the extra ones last
"""

from __future__ import annotations

import numpy as np

from include.datasets.shop.customers import Customers
from include.datasets.shop.orders import Orders, order_cents
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import Floats, Integers


def promoted(shop: Shop, random: np.random.Generator, orders: Orders, who: Customers) -> Orders:
    """The orders with promotion codes and discounts, and after them the extra orders that promotions brought.

    An extra order comes after the one that it is due to, so a promotion changes nobody's first order.
    """
    promotion, using = orders.promotion.copy(), random.random(len(orders))
    extra: list[Integers] = [np.zeros(0, np.int64)]
    extra_weeks: list[Floats] = []
    for number, one in enumerate(shop.promotions):
        begin, end = shop.week_of(one.first_day), shop.week_of(one.first_day) + one.weeks
        inside = np.flatnonzero((orders.weeks >= begin) & (orders.weeks < end))
        promotion[inside[using[inside] < one.share_using]] = number
        again = inside[random.random(len(inside)) < one.uplift]
        extra.append(again)
        extra_weeks.append(orders.weeks[again] + random.random(len(again)) * (end - orders.weeks[again]))
    source = np.concatenate(extra)
    number_of_extra = np.repeat(np.arange(len(shop.promotions)), [len(one) for one in extra[1:]])
    nu = orders.nu[source]
    extra_cents = order_cents(shop, random, nu, who.region[orders.customer[source]])
    promotion = np.concatenate([promotion, number_of_extra])
    cents = np.concatenate([orders.cents, extra_cents])
    # NO_PROMOTION is -1, so the last: nothing off.
    discount_share = np.array([*(one.discount_share for one in shop.promotions), 0.0])[promotion]
    return Orders(
        customer=np.concatenate([orders.customer, orders.customer[source]]),
        weeks=np.concatenate([orders.weeks, *extra_weeks]),
        nu=np.concatenate([orders.nu, nu]),
        cents=cents,
        promotion=promotion,
        discount_cents=np.rint(cents * discount_share).astype(np.int64),
        is_extra=np.arange(len(cents)) >= len(orders),
    )
