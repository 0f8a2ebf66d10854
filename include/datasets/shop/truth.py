"""What is true of a shop that was written: counted while it is made, written to `truth.json`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from include.datasets.shop.block import Block
from include.datasets.shop.customers import NEVER
from include.datasets.shop.deliveries import NOT_RETURNED
from include.datasets.shop.dirt import Dirtying
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import DAY_SECONDS, WEEK_SECONDS, Integers, day_number
from include.datasets.shop.tables import product_names

LAYOUT = 1  # of the files and of the truth; rises when either changes
NOTES = {
    "time": "UTC; the calendar is whole weeks; repeat.* are per week, T is the time from the first order to its end",
    "extra_orders": "orders that a promotion brought: the last four digits of their session_id are 9001 or more. They "
    "are not of the BG/NBD process, so leave them out before fitting it exactly; their amounts are gamma-gamma",
    "amounts": "(total + discount) / the region's order_value_factor is gamma-gamma, in units of currency",
    "devices": "drawn per session; the odds of an order on one device to those on another are the ratio of their "
    "share_of_orders / share_of_browsing",
    "pairs": "lift is P(both) / (P(first) P(second)); all other small products are independent. An order has exactly "
    "one box and, nearly always, loose goods",
    "duplicates": "the row that stays is the one counted here: the newest by updated_at (sessions), else the last",
    "funnel": "sessions that did the step; step_shares are of sessions without an order that did the step before",
    "dimensions": "region and channel belong to the customer, device to the session; an empty channel is under the "
    "empty text",
    "revenue": "orders' total; discount is what was let off: both sums are exact, as texts",
}


def money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


class Truth:
    """Adds up blocks. Money is summed as whole cents, so the sums are exact."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.totals: Counter[str] = Counter()
        self.funnel: Counter[str] = Counter()
        self.dimensions: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self.promotions = [Counter[str]() for _ in shop.promotions]
        self.incidents = [0] * len(shop.anomalies)
        self.anomaly_days = [Counter[str]() for _ in shop.anomalies]
        self.products: Counter[str] = Counter()
        self.together = [0] * len(shop.pairs)
        self.deliveries: Counter[str] = Counter()

    def add(self, block: Block) -> None:
        found, who = block.sessions, block.customers
        paid = np.where(found.bought, found.cents - found.discount_cents, 0)
        let_off = np.where(found.bought, found.discount_cents, 0)
        order_customers = found.customer[block.orders]
        orders_each = np.bincount(order_customers, minlength=len(who))
        self.totals.update(
            sessions=len(found),
            orders=len(block.orders),
            customers=len(who),
            signed_up=int((who.signup < NEVER).sum()),
            buyers=int((orders_each > 0).sum()),
            repeat_buyers=int((orders_each > 1).sum()),
            extra_orders=int((found.is_extra & found.bought).sum()),
            lines=len(block.lines),
            units=int(block.lines.quantity.sum()),
            deliveries=len(block.deliveries),
            revenue_cents=int(paid.sum()),
            discount_cents=int(let_off.sum()),
        )
        for number, name in enumerate(self.shop.steps):
            self.funnel[name] += int((found.steps > number).sum())
        self._add_dimensions(block, paid, let_off)
        self._add_promotions(block)
        self._add_anomalies(block)
        self._add_products(block)
        self.deliveries.update(
            delivered=len(block.deliveries),
            delayed=int(block.deliveries.is_delayed.sum()),
            returned=int((block.deliveries.returned != NOT_RETURNED).sum()),
        )

    def _add_dimensions(self, block: Block, paid: Integers, let_off: Integers) -> None:
        found, shop = block.sessions, self.shop
        codes = {
            "region": ([one.name for one in shop.regions], block.customers.region[found.customer]),
            "device": ([one.name for one in shop.devices], block.device),
            "channel": ([one.name or "" for one in shop.channels], block.customers.channel[found.customer]),
        }
        for dimension, (names, code) in codes.items():
            for number, name in enumerate(names):
                mine = code == number
                self.dimensions[dimension][name].update(
                    sessions=int(mine.sum()),
                    orders=int((mine & found.bought).sum()),
                    revenue_cents=int(paid[mine].sum()),
                    discount_cents=int(let_off[mine].sum()),
                )

    def _add_promotions(self, block: Block) -> None:
        found = block.sessions
        for number, one in enumerate(self.shop.promotions):
            begin = day_number(self.shop, one.first_day) * DAY_SECONDS
            window = found.bought & (found.start >= begin) & (found.start < begin + one.weeks * WEEK_SECONDS)
            with_code = found.bought & (found.promotion == number)
            self.promotions[number].update(
                orders_in_window=int(window.sum()),
                extra_orders=int((window & found.is_extra).sum()),
                orders_with_code=int(with_code.sum()),
                discount_cents=int(found.discount_cents[with_code].sum()),
                revenue_cents=int((found.cents - found.discount_cents)[with_code].sum()),
            )

    def _add_anomalies(self, block: Block) -> None:
        found = block.sessions
        for number, one in enumerate(self.shop.anomalies):
            that_day = found.start // DAY_SECONDS == day_number(self.shop, one.day)
            self.incidents[number] += block.incidents[number]
            self.anomaly_days[number].update(sessions=int(that_day.sum()), orders=int((that_day & found.bought).sum()))

    def _add_products(self, block: Block) -> None:
        names = list(product_names(self.shop))
        counted = np.bincount(block.lines.product, minlength=len(names))
        self.products.update(dict(zip(names, counted.tolist(), strict=True)))
        for number, pair in enumerate(self.shop.pairs):
            first, second = (
                block.lines.order[block.lines.product == names.index(name)] for name in (pair.first, pair.second)
            )
            self.together[number] += len(np.intersect1d(first, second, assume_unique=True))

    def document(self, *, seed: int, sessions: int, dirt: Mapping[str, Dirtying]) -> dict[str, Any]:
        """The whole truth, ready for JSON."""
        shop = self.shop
        return {
            "made_from": made_from(shop, seed=seed, sessions=sessions),
            "notes": NOTES,
            "totals": _said(self.totals),
            "sources": {
                source: {
                    "read": one.rows + one.quarantined,
                    "good": one.rows,
                    "quarantined": one.quarantined,
                    "by_rule": one.by_rule,
                }
                for source, one in dirt.items()
            },
            "funnel": {
                "sessions": self.totals["sessions"],
                **{name: self.funnel[name] for name in shop.steps},
                "orders": self.totals["orders"],
                "step_shares": dict(shop.browsing.steps),
            },
            "dimensions": {
                name: {value: _said(counts) for value, counts in values.items()}
                for name, values in self.dimensions.items()
            },
            "promotions": [
                {
                    "name": one.name,
                    "first_day": one.first_day.isoformat(),
                    "last_day": one.last_day.isoformat(),
                    "uplift": one.uplift,
                    "discount_share": one.discount_share,
                    **_said(counts),
                }
                for one, counts in zip(shop.promotions, self.promotions, strict=True)
            ],
            "anomalies": [
                {
                    "kind": one.kind,
                    "day": one.day.isoformat(),
                    "size": one.size,
                    "sessions_concerned": concerned,
                    **counts,
                }
                for one, concerned, counts in zip(shop.anomalies, self.incidents, self.anomaly_days, strict=True)
            ],
            "orders_with_product": dict(self.products),
            "pairs": [
                {**asdict(one), "orders": together} for one, together in zip(shop.pairs, self.together, strict=True)
            ],
            "deliveries": dict(self.deliveries),
        }


def made_from(shop: Shop, *, seed: int, sessions: int) -> dict[str, Any]:
    """All that decides the bytes of the data."""
    return {"layout": LAYOUT, "seed": seed, "sessions": sessions, "shop": asdict(shop)}


def _said(counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        name.removesuffix("_cents"): money(count) if name.endswith("_cents") else count
        for name, count in counts.items()
    }
