"""BG/NBD against published figures and against lifetimes; fits that always end."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.datasets.cdnow import master_file
from include.measures.purchase_model import Kind, PurchaseModel, fit_purchase_model, log_likelihood, patterns


@pytest.fixture(scope="module")
def cdnow_sample() -> pd.DataFrame:
    """The 2,357 customers of the 1/10 sample up to 1997-09-30."""
    lines = [line.split() for line in master_file().with_name("CDNOW_sample.txt").read_text().splitlines() if line]
    orders = pd.DataFrame({"client": [one[1] for one in lines], "day": pd.to_datetime([one[2] for one in lines])})
    orders = orders[orders["day"] <= "1997-09-30"].drop_duplicates()
    own = orders.groupby("client")["day"].agg(["min", "max", "size"])
    assert len(own) == 2_357
    end = pd.Timestamp(date(1997, 9, 30))
    return pd.DataFrame(
        {
            "further_orders": own["size"] - 1,
            "recency_days": (own["max"] - own["min"]).dt.days,
            "age_days": (end - own["min"]).dt.days,
            "number": 1,
        }
    )


def test_published_figures(cdnow_sample: pd.DataFrame) -> None:
    """Fader, Hardie & Lee (2005), in weeks: r .2426, alpha 4.4136, a .7929, b 2.4259, log-likelihood -9582.429."""
    fit = fit_purchase_model(cdnow_sample, "bg_nbd")
    model = fit.model
    assert model is not None
    assert fit.warnings == []
    found = [round(value, 4) for value in (model.r, model.alpha_days / 7, model.a, model.b)]
    assert found == [0.2426, 4.4136, 0.7929, 2.4259]
    in_weeks = model.log_likelihood + np.log(7) * cdnow_sample["further_orders"].sum()
    assert in_weeks == pytest.approx(-9582.429, abs=0.001)
    # Their example of a customer: x = 2, t_x = 30.43, T = 38.86 weeks.
    theirs = PurchaseModel("bg_nbd", 0.243, 4.414 * 7, 0.793, 2.426, 0.0)
    alive = theirs.probability_alive(2, 30.43 * 7, 38.86 * 7)
    odds = 0.793 / (2.426 + 1) * ((4.414 + 38.86) / (4.414 + 30.43)) ** 2.243
    assert float(alive) == pytest.approx(1 / (1 + odds))
    assert theirs.probability_alive(0, 0, 3_000) == 1


@pytest.mark.parametrize("kind", ["bg_nbd", "modified_bg_nbd"])
def test_slopes_are_those_of_the_likelihood(cdnow_sample: pd.DataFrame, kind: Any) -> None:
    """By central differences: their error is of the order of 1e-6 of the slope, and of rounding."""
    found = patterns(cdnow_sample)
    for at in ([0.25, 30.0, 0.8, 2.5], [2.0, 5.0, 0.3, 0.4], [0.05, 900.0, 40.0, 0.02]):
        _, slopes = log_likelihood(found, kind, *at)
        for place, slope in enumerate(slopes):
            step = 1e-4 * at[place]
            up, down = (
                log_likelihood(
                    found, kind, *(value + sign * step * (number == place) for number, value in enumerate(at))
                )
                for sign in (1, -1)
            )
            assert slope == pytest.approx((up[0] - down[0]) / (2 * step), rel=1e-4, abs=1e-4)


def test_few_patterns_are_enough(cdnow_sample: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """In cells of weeks, at their mean times, P(alive) is the same but for some thousandths."""
    columns = ["further_orders", "recency_days", "age_days"]
    exact = fit_purchase_model(cdnow_sample).model
    monkeypatch.setattr("include.measures.purchase_model.MOST_PATTERNS", 900)
    coarse = fit_purchase_model(cdnow_sample).model
    assert exact is not None
    assert coarse is not None
    assert coarse != exact
    alive: Any = exact.probability_alive(*(cdnow_sample[name] for name in columns))
    again: Any = coarse.probability_alive(*(cdnow_sample[name] for name in columns))
    assert abs(alive - again).max() < 0.005


def test_probabilities_are_calibrated() -> None:
    """Of customers who are known to have left or not, those with a P(alive) of about p are p of them still there.

    20,000 customers of the model itself, watched for 100 to 700 days.
    """
    chance = np.random.default_rng(4)
    age = chance.integers(100, 700, 20_000)
    rate, leaving = chance.gamma(0.7, 1 / 60, len(age)), chance.beta(0.9, 2.4, len(age))
    orders, last, alive = np.zeros(len(age), int), np.zeros(len(age)), chance.random(len(age)) >= leaving
    at = chance.exponential(1 / rate)
    while (going := alive & (at <= age)).any():
        orders, last = orders + going, np.where(going, at, last)
        alive = np.where(going, chance.random(len(age)) >= leaving, alive)
        at = np.where(going, at + chance.exponential(1 / rate), at)
    customers = pd.DataFrame({"further_orders": orders, "recency_days": last.astype(int), "age_days": age, "number": 1})
    model = fit_purchase_model(customers).model
    assert model is not None
    known = model.probability_alive(*(customers[name] for name in ("further_orders", "recency_days", "age_days")))
    for tenth in range(10):
        mine = np.minimum((known * 10).astype(int), 9) == tenth
        error = np.sqrt(np.maximum((known[mine] * (1 - known[mine])).sum(), 1)) / max(mine.sum(), 1)
        assert mine.sum() < 50 or abs(known[mine].mean() - alive[mine].mean()) < 4 * error
    assert abs(known.mean() - alive.mean()) < 0.03  # how many have left at all is the hardest to know


@pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option")
def test_equals_lifetimes(cdnow_sample: pd.DataFrame) -> None:
    from lifetimes import ModifiedBetaGeoFitter

    columns = [cdnow_sample[name] for name in ("further_orders", "recency_days", "age_days")]
    theirs = ModifiedBetaGeoFitter().fit(*columns)
    model = fit_purchase_model(cdnow_sample).model
    assert model is not None
    ours = {"r": model.r, "alpha": model.alpha_days, "a": model.a, "b": model.b}
    assert ours == pytest.approx(dict(theirs.params_), rel=1e-3)
    found = model.probability_alive(*columns)
    assert found == pytest.approx(theirs.conditional_probability_alive(*columns), abs=1e-3)


def test_numbers_stand_for_customers(cdnow_sample: pd.DataFrame) -> None:
    keys = ["further_orders", "recency_days", "age_days"]
    counted = cdnow_sample.groupby(keys, as_index=False)["number"].sum()
    once, again = fit_purchase_model(cdnow_sample), fit_purchase_model(counted)
    doubled = fit_purchase_model(counted.assign(number=2 * counted["number"]))
    assert once == again
    assert once.model is not None
    assert doubled.model is not None
    assert doubled.model.alpha_days == pytest.approx(once.model.alpha_days)
    assert doubled.model.log_likelihood == pytest.approx(2 * once.model.log_likelihood)


@pytest.mark.parametrize(
    "rows",
    [
        [(1, 5, 10, 1)],
        [(1, 0, 0, 3)],
        [(3, 30, 30, 2), (0, 0, 0, 5)],
        [(400, 400, 400, 1), (0, 0, 4_000, 1)],
        [(n, n, 40, 1) for n in range(30)],
    ],
)
def test_a_fit_always_ends(rows: list[tuple[int, ...]]) -> None:
    customers = pd.DataFrame(rows, columns=["further_orders", "recency_days", "age_days", "number"])
    kinds: tuple[Kind, ...] = ("bg_nbd", "modified_bg_nbd")
    for kind in kinds:
        model = fit_purchase_model(customers, kind).model
        assert model is not None
        alive: Any = model.probability_alive(*(customers[name] for name in customers.columns[:3]))
        assert ((alive >= 0) & (alive <= 1)).all()


def test_nobody_came_back() -> None:
    for rows in ([], [(0, 0, 10, 4)]):
        customers = pd.DataFrame(rows, columns=["further_orders", "recency_days", "age_days", "number"])
        fit = fit_purchase_model(customers)
        assert fit.model is None
        assert fit.warnings == ["No customer ordered on a second day, so there is no model of who is still active."]


def test_one_customer_alone_says_that_little_is_known() -> None:
    customers = pd.DataFrame([(1, 5, 10, 1)], columns=["further_orders", "recency_days", "age_days", "number"])
    assert "P(alive) is a rough guess." in fit_purchase_model(customers).warnings[0]
