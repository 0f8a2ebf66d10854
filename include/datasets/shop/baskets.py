"""What is in the orders: lines whose sum is the order's amount, to the cent.

    amounts in cents  ->  Lines: order, product, cents, quantity (by order)

Which products are in a basket does not depend on its amount, so that two products outside a planted pair are together
exactly as often as chance has it. The amount is met by the size of the box and by loose goods for what is left over.
Where the products alone would cost more than MOST_OF_AMOUNT, they are sold at a half, a quarter, … of their price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from include.datasets.shop.customers import draw
from include.datasets.shop.parameters import BOX_SIZES_CENTS, Shop
from include.datasets.shop.rhythm import Booleans, Integers

MOST_OF_AMOUNT = 0.7


@dataclass(frozen=True)
class Lines:
    """`order` is a place in the amounts, `product` one in `product_names`."""

    order: Integers
    product: Integers
    cents: Integers
    quantity: Integers

    def __len__(self) -> int:
        return len(self.order)


def box_prices(shop: Shop) -> list[Integers]:
    """The sizes of each box, in cents; full ten cents."""
    return [np.rint(np.array(BOX_SIZES_CENTS) * one.size_factor / 10).astype(np.int64) * 10 for one in shop.boxes]


def baskets(shop: Shop, random: np.random.Generator, amounts: Integers) -> Lines:
    """The lines of orders with these amounts (before discount)."""
    order, product = np.nonzero(_chosen(shop, random, len(amounts)))
    quantity = 1 + (random.random(len(order)) < shop.two_units_share)
    listed = np.array([one.cents for one in shop.products])[product]
    cost = np.bincount(order, listed * quantity, minlength=len(amounts))
    halvings = np.ceil(np.log2(np.maximum(cost / (amounts * MOST_OF_AMOUNT), 1))).astype(np.int64)
    cents = np.maximum(listed >> halvings[order], 1)
    left = amounts - np.bincount(order, cents * quantity, minlength=len(amounts)).astype(np.int64)

    box = draw(random, [one.share for one in shop.boxes], len(amounts))
    box_cents = left.copy()
    for number, prices in enumerate(box_prices(shop)):
        mine = np.flatnonzero((box == number) & (left >= prices[0]))
        box_cents[mine] = prices[np.searchsorted(prices, left[mine], side="right") - 1]
    loose = np.flatnonzero(left > box_cents)

    orders = np.arange(len(amounts))
    first_box = len(shop.products)
    lines = Lines(
        np.concatenate([orders, order, loose]),
        np.concatenate([first_box + box, product, np.full(len(loose), first_box + len(shop.boxes))]),
        np.concatenate([box_cents, cents, (left - box_cents)[loose]]),
        np.concatenate([np.ones(len(orders), np.int64), quantity, np.ones(len(loose), np.int64)]),
    )
    by_order = np.argsort(lines.order, kind="stable")
    return Lines(lines.order[by_order], lines.product[by_order], lines.cents[by_order], lines.quantity[by_order])


def _chosen(shop: Shop, random: np.random.Generator, count: int) -> Booleans:
    """Which products are in which basket: each by its share; the second of a pair by whether the first is."""
    names = [one.name for one in shop.products]
    shares = [one.share for one in shop.products]
    drawn = random.random((count, len(names)))
    chosen = drawn < np.array(shares)
    for pair in shop.pairs:
        first, second = names.index(pair.first), names.index(pair.second)
        with_first = pair.lift * shares[second]
        without = shares[second] * (1 - pair.lift * shares[first]) / (1 - shares[first])
        chosen[:, second] = drawn[:, second] < np.where(chosen[:, first], with_first, without)
    return chosen
