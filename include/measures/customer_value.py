"""What each customer will order and spend, from the models of when and how much.

    customers, their models  ->  per customer P(alive), expected orders and revenue with intervals, lifetime value

Customers are given by the days of their first and last order (day numbers), `order_days`, and number and sum of their
orders after the first with an amount above zero (`spend_orders`, `spend_units` in 1 / 10,000). Intervals hold what the
customer may do; that parameters are estimates too is not in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaincinv

from include.measures.lifetimes_models import OrderModel, SpendModel
from include.measures.results import ratio

Floats = npt.NDArray[np.float64]
HORIZONS_DAYS = (7, 30, 90, 180)
CHURN_RISK_DAYS = 90  # one of the horizons
VALUE_STEP_DAYS = 30  # lifetime value is discounted step by step
SEGMENTS = ("highest", "high", "middle", "low", "lowest")  # fifths of the customers by lifetime value
UNITS = 10_000  # of money in one unit of currency: amounts have four decimals


@dataclass(frozen=True)
class CustomerModel:
    """When customers order, what they spend, and the share of it that refunds and free orders leave."""

    orders: OrderModel
    spend: SpendModel
    paid_share: float


def predicted(
    customers: pd.DataFrame,
    today: int,
    model: CustomerModel,
    *,
    value_days: int,
    annual_discount_rate: float,
    confidence_level: float | None = None,
) -> pd.DataFrame:
    """Per customer, per horizon expected orders and revenue; P(alive), churn risk, lifetime value and its segment.

    Intervals come with a confidence level only. `revenue_variance` is that of the longest horizon.
    """
    orders, spend, paid_share = model.orders, model.spend, model.paid_share
    patterns, place = distinct(order_history(customers, today))
    own = pattern(patterns)
    alive = orders.probability_alive(*own)
    mean_amount = ratio(customers["spend_units"], customers["spend_orders"]) / UNITS
    amount = spend.expected_amount(customers["spend_orders"], mean_amount) * paid_share
    square, single = (
        factor * paid_share**2 for factor in spend.mean_square_factors(customers["spend_orders"], mean_amount)
    )
    found: dict[str, Any] = {"probability_alive": alive[place]}
    for days in HORIZONS_DAYS:
        expected = orders.expected_orders(days, *own)
        spread = orders.spread(expected, alive, own[0])
        none, mean_square = spread.none, spread.mean_square
        if days == CHURN_RISK_DAYS:
            found["churn_risk"] = none[place]
        revenue = expected[place] * amount
        found[f"expected_orders_{days}_days"] = expected[place]
        found[f"expected_revenue_{days}_days"] = revenue
        revenue_square = square * mean_square[place] + single * expected[place]
        if days == HORIZONS_DAYS[-1]:
            found["revenue_variance"] = np.maximum(revenue_square - revenue**2, 0)
        if confidence_level is not None:
            tail = (1 - confidence_level) / 2
            for end, share in (("low", tail), ("high", 1 - tail)):
                found[f"expected_orders_{days}_days_{end}"] = spread.quantile(share)[place]
                found[f"expected_revenue_{days}_days_{end}"] = _revenue_quantile(
                    share, none[place], revenue, revenue_square
                )
    value = np.zeros(len(customers))
    before = np.zeros(len(patterns))
    for step in [*range(VALUE_STEP_DAYS, value_days, VALUE_STEP_DAYS), value_days]:
        until = orders.expected_orders(step, *own)
        middle = max(step - VALUE_STEP_DAYS / 2, step / 2)
        value += (until - before)[place] * amount / (1 + annual_discount_rate) ** (middle / 365)
        before = until
    found["clv"] = np.maximum(value, 0)
    found["clv_segment"] = fifth(found["clv"])
    return pd.DataFrame(found, index=customers.index)


def order_history(customers: pd.DataFrame, today: int) -> pd.DataFrame:
    """What the order models are fitted on: one row per customer."""
    return pd.DataFrame(
        {
            "further_orders": customers["order_days"] - 1,
            "recency_days": customers["last"] - customers["first"],
            "age_days": today - customers["first"],
            "number": 1,
        }
    )


def pattern(cells: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    x, recency, age = (cells[name].to_numpy("float64") for name in ("further_orders", "recency_days", "age_days"))
    return x, recency, age


def distinct(patterns: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """The different rows, and for each row the place of its like."""
    groups = patterns.groupby(list(patterns.columns), sort=True)
    place = np.asarray(groups.ngroup(), "int64")
    return groups.size().reset_index()[list(patterns.columns)], place


def _revenue_quantile(share: float, none: Floats, mean: Floats, mean_square: Floats) -> Floats:
    """Of revenue that is nothing with probability `none`, and otherwise Gamma distributed."""
    some = np.maximum(1 - none, 1e-12)
    middle = mean / some
    variance = np.maximum(mean_square / some - middle**2, 1e-12)
    asked = (share > none) & (middle > 0)
    found = np.zeros(len(mean))
    shape, scale = middle[asked] ** 2 / variance[asked], variance[asked] / middle[asked]
    found[asked] = gammaincinv(shape, (share - none[asked]) / some[asked]) * scale
    return found


def fifth(value: Floats) -> npt.NDArray[np.object_]:
    """The segment of each customer; a value at a cut point counts with those below it: equal values stay together."""
    shown = np.round(value, 6)
    cuts = np.quantile(shown, [number / len(SEGMENTS) for number in range(1, len(SEGMENTS))]).round(6)
    place = len(SEGMENTS) - 1 - (shown[:, None] > cuts[None, :]).sum(axis=1)
    names: npt.NDArray[np.object_] = np.array(SEGMENTS, dtype=object)[place]
    return names
