"""How many orders customers may make in the days ahead, as a distribution, by a fitted BG/NBD or modified BG/NBD.

    PurchaseModel, further orders, recency, age, days ahead  ->  P(at least n orders), expected orders

Of a customer who is still there, the rate of ordering is Gamma(r + x, alpha + T) and the probability of leaving after
an order Beta(a, b + chances to leave that were not taken) [1]_. At least n orders in t days need: to be there, n orders
at that rate (negative binomial), and to stay after each of the first n - 1:

    P(N >= n) = P(alive) x P(negative binomial >= n) x B(a, b' + n - 1) / B(a, b')

It holds exactly under the model. What is unsure about the parameters is not in it.

.. [1] Fader, Hardie & Lee (2005), Marketing Science 24, 275-284.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaln
from scipy.stats import nbinom

from include.measures.purchase_model import PurchaseModel

Floats = npt.NDArray[np.float64]


def probability_of_at_least(
    model: PurchaseModel, orders: Any, further_orders: Any, recency_days: Any, age_days: Any, *, days: float
) -> Floats:
    """P(N >= `orders`) in the next `days` days, of customers with so many order days after the first; 1 for none."""
    n, x, age = (np.asarray(one, "float64") for one in (orders, further_orders, age_days))
    alive = model.probability_alive(x, recency_days, age)
    since = model.alpha_days + age
    as_many = nbinom.sf(n - 1, model.r + x, since / (since + days))
    stayed = model.b + x + (1 if model.kind == "modified_bg_nbd" else 0)
    staying = np.exp(betaln(model.a, stayed + np.maximum(n - 1, 0)) - betaln(model.a, stayed))
    return np.where(n <= 0, 1.0, alive * as_many * staying)


def expected_orders(
    model: PurchaseModel, further_orders: Any, recency_days: Any, age_days: Any, *, days: int
) -> Floats:
    """The mean number of orders, at most one a day, in the next `days` days."""
    x = np.asarray(further_orders, "float64")
    total: Floats = np.zeros(x.shape)
    for number in range(1, days + 1):
        total += probability_of_at_least(model, number, x, recency_days, age_days, days=days)
    return total
