"""The forecast of a customer's orders against customers drawn from the model."""

from __future__ import annotations

import numpy as np
import pytest

from include.measures.order_forecast import expected_orders, probability_of_at_least
from include.measures.purchase_model import Kind, PurchaseModel

AGE, AHEAD, DRAWN = 120, 60, 400_000


@pytest.mark.parametrize("kind", ["bg_nbd", "modified_bg_nbd"])
def test_as_many_orders_as_customers_of_the_model_make(kind: Kind) -> None:
    """Of drawn customers with one further order between day 30 and 60, count what they do in the days ahead."""
    model = PurchaseModel(kind, r=1.2, alpha_days=40.0, a=0.8, b=2.5, log_likelihood=0.0)
    random = np.random.default_rng(1)
    rate = random.gamma(model.r, 1 / model.alpha_days, DRAWN)
    leaving = random.beta(model.a, model.b, DRAWN)
    here = random.random(DRAWN) >= leaving if kind == "modified_bg_nbd" else np.ones(DRAWN, dtype=bool)
    at, before, last, later = np.zeros(DRAWN), np.zeros(DRAWN), np.zeros(DRAWN), np.zeros(DRAWN)
    while here.any():
        at = at + random.exponential(1 / rate)
        early, late = here & (at <= AGE), here & (at > AGE) & (at <= AGE + AHEAD)
        before, later = before + early, later + late
        last = np.where(early, at, last)
        here = (early | late) & (random.random(DRAWN) >= leaving)
    chosen = (before == 1) & (last > 30) & (last <= 60)
    recency = last[chosen]
    x, age = np.ones(len(recency)), np.full(len(recency), float(AGE))
    for number in (1, 2, 3, 5):
        forecast = probability_of_at_least(model, number, x, recency, age, days=AHEAD).mean()
        seen = (later[chosen] >= number).mean()
        assert forecast == pytest.approx(seen, abs=4 * np.sqrt(seen / len(recency)))
    mean = expected_orders(model, x, recency, age, days=AHEAD).mean()
    assert mean == pytest.approx(later[chosen].mean(), rel=0.04)
    assert probability_of_at_least(model, 0, x, recency, age, days=AHEAD).min() == 1
