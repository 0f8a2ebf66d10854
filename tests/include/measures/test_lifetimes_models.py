"""The buying models against published figures, plain lifetimes, simulation, and data that break plain lifetimes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad

from include.datasets.cdnow import master_file
from include.measures.holdout import errors
from include.measures.lifetimes_models import (
    ORDER_KINDS,
    OrderKind,
    OrderModel,
    SpendModel,
    fit_orders,
    fit_spend,
)
from include.measures.purchase_model import MOST_PATTERNS

CUT = pd.Timestamp("1997-09-30")
# DATA_SETS=1000 .venv/bin/pytest tests/include/measures/test_lifetimes_models.py -k data_set
DATA_SETS = int(os.environ.get("DATA_SETS", "60"))


def lines_of(name: str) -> pd.DataFrame:
    rows = [line.split() for line in master_file().with_name(name).read_text().splitlines()]
    rows = [row for row in rows if row and row[-3].isdigit()]  # without the heading
    return pd.DataFrame(
        {
            "client": [row[-4] for row in rows],
            "day": pd.to_datetime([row[-3] for row in rows], format="%Y%m%d"),
            "amount": [float(row[-1]) for row in rows],
        }
    )


def customers_of(lines: pd.DataFrame) -> pd.DataFrame:
    """Calibration up to the cut, and the order days of the 39 weeks after it."""
    days = lines.groupby(["client", "day"], as_index=False)["amount"].sum()
    days = days.assign(first=days.groupby("client")["day"].transform("min"))
    early = days[days["day"] <= CUT]
    own = early.groupby("client")["day"].agg(["min", "max", "size"])
    again = early[early["day"] > early["first"]]
    paid = again[again["amount"] > 0].groupby("client")["amount"].agg(["size", "mean"]).reindex(own.index)
    later = days[days["day"] > CUT].groupby("client").size().reindex(own.index, fill_value=0)
    return pd.DataFrame(
        {
            "further_orders": own["size"] - 1,
            "recency_days": (own["max"] - own["min"]).dt.days,
            "age_days": (CUT - own["min"]).dt.days,
            "number": 1,
            "actual": later,
            "spend_orders": paid["size"].fillna(0).astype(int),
            "mean_amount": paid["mean"],
        }
    ).reset_index(drop=True)


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    found = customers_of(lines_of("CDNOW_sample.txt"))
    assert len(found) == 2_357
    return found


@pytest.fixture(scope="module")
def master() -> pd.DataFrame:
    found = customers_of(lines_of("CDNOW_master.txt"))
    assert len(found) == 23_570
    return found


def in_weeks(customers: pd.DataFrame) -> list[Any]:
    units = (("further_orders", 1), ("recency_days", 7), ("age_days", 7))
    return [customers[name] / unit for name, unit in units]


def plain_lifetimes(customers: pd.DataFrame, fitter: str, tolerance: float = 1e-9) -> tuple[Any, pd.DataFrame]:
    """What it comes to with a finer tolerance than its own, and the customers by pattern on which it was fitted."""
    import lifetimes

    counted = customers.groupby(["further_orders", "recency_days", "age_days"], as_index=False)["number"].sum()
    return getattr(lifetimes, fitter)().fit(*in_weeks(counted), weights=counted["number"], tol=tolerance), counted


def pattern(customers: pd.DataFrame) -> tuple[Any, Any, Any]:
    return customers["further_orders"], customers["recency_days"], customers["age_days"]


def model_of(customers: pd.DataFrame, kind: OrderKind) -> OrderModel:
    fit = fit_orders(customers, kind)
    assert fit.warnings == []
    assert fit.model is not None
    return fit.model


def test_published_bg_nbd(sample: pd.DataFrame) -> None:
    """Fader, Hardie & Lee (2005), table 2: r .243, alpha 4.414, a .793, b 2.426, log-likelihood -9582.4."""
    model = model_of(sample, "bg_nbd")
    assert model.parameters == pytest.approx({"r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259}, rel=2e-4)
    assert model.log_likelihood == pytest.approx(-9582.429, abs=5e-4)


def test_published_pareto_nbd(sample: pd.DataFrame) -> None:
    """The same, table 2: r .553, alpha 10.578, s .606, beta 11.669, log-likelihood -9595.0."""
    model = model_of(sample, "pareto_nbd")
    assert model.parameters == pytest.approx({"r": 0.553, "alpha": 10.578, "s": 0.606, "beta": 11.669}, abs=1e-3)
    assert model.log_likelihood == pytest.approx(-9594.976, abs=5e-3)


def test_published_gamma_gamma(sample: pd.DataFrame) -> None:
    """Fader & Hardie (2013): p 6.25, q 3.74, gamma 15.44, from the 946 customers with a repeat purchase."""
    fit = fit_spend(sample)
    assert fit.warnings == []
    assert fit.model is not None
    assert fit.model.n == 946
    assert fit.model.parameters == pytest.approx({"p": 6.25, "q": 3.744, "v": 15.444}, abs=1e-3)


def test_published_customer() -> None:
    """Fader, Hardie & Lee (2005), section 5: 1.226 orders in 39 weeks. P(alive): Fader & Hardie, note 21, by hand."""
    published = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}
    model = OrderModel("bg_nbd", published, 0.0)
    customer = (2, 30.43 * 7, 38.86 * 7)
    assert model.expected_orders(39 * 7, *customer)[0] == pytest.approx(1.226, abs=5e-4)
    odds = 0.793 / (2.426 + 1) * ((4.414 + 38.86) / (4.414 + 30.43)) ** 2.243
    assert model.probability_alive(*customer)[0] == pytest.approx(1 / (1 + odds))
    assert model.probability_alive(*customer)[0] == pytest.approx(0.7266, abs=5e-5)


@pytest.mark.parametrize(
    ("kind", "of_sample", "of_master"),
    [("pareto_nbd", 0.7546, 0.7938), ("modified_bg_nbd", 0.7648, 0.7946), ("bg_nbd", 0.7855, 0.8188)],
)
def test_holdout_of_cdnow(
    kind: OrderKind, of_sample: float, of_master: float, sample: pd.DataFrame, master: pd.DataFrame
) -> None:
    """39 weeks; known of the sample: 0.7545 by Pareto/NBD, and the naive rate's 1.0237."""
    days = 39 * 7
    found = errors(model_of(sample, kind).expected_orders(days, *pattern(sample)), sample["actual"], sample["number"])
    assert found["mean_absolute_error"] <= of_sample
    assert abs(found["bias"]) < 0.15
    whole = fit_orders(master, kind).model
    assert whole is not None
    found = errors(whole.expected_orders(days, *pattern(master)), master["actual"], master["number"])
    assert found["mean_absolute_error"] <= of_master
    naive = sample["further_orders"] / sample["age_days"] * days
    assert errors(naive, sample["actual"], sample["number"])["mean_absolute_error"] == pytest.approx(1.0237, abs=2e-4)


@pytest.mark.parametrize("kind", ORDER_KINDS)
def test_the_median_of_what_a_customer_may_order(kind: OrderKind, sample: pd.DataFrame, master: pd.DataFrame) -> None:
    """The absolute error asks for medians: theirs is lower than any model's mean has, and than "nobody comes back"."""
    for customers, most, nobody in ((sample, 0.67, 0.7985), (master, 0.71, 0.8351)):
        medians = model_of(customers, kind).median_orders(39 * 7, *pattern(customers))
        assert (medians == np.round(medians)).all()
        found = errors(medians, customers["actual"], customers["number"])
        assert found["mean_absolute_error"] <= most
        assert customers["actual"].mean() == pytest.approx(nobody, abs=1e-4)
        assert found["bias"] < -0.3  # and so they are nothing to add up


@pytest.mark.parametrize(
    ("kind", "fitter"),
    [("bg_nbd", "BetaGeoFitter"), ("modified_bg_nbd", "ModifiedBetaGeoFitter"), ("pareto_nbd", "ParetoNBDFitter")],
)
def test_equals_plain_lifetimes_on_every_day(kind: OrderKind, fitter: str, master: pd.DataFrame) -> None:
    """More patterns than the first estimate looks at: the last digits come from the days themselves."""
    theirs, counted = plain_lifetimes(master, fitter)
    ours = fit_orders(master, kind).model
    assert ours is not None
    assert len(counted) > MOST_PATTERNS
    assert ours.parameters == pytest.approx(dict(theirs.params_), rel=1e-4)
    columns = in_weeks(counted)
    expected = theirs.conditional_expected_number_of_purchases_up_to_time(13, *columns)
    assert ours.expected_orders(91, *pattern(counted)) == pytest.approx(expected, rel=1e-3, abs=1e-6)
    alive = theirs.conditional_probability_alive(*columns)
    assert ours.probability_alive(*pattern(counted)) == pytest.approx(alive, abs=1e-4)


def test_pareto_nbd_of_many_customers() -> None:
    """Its s and beta can grow together with hardly another likelihood: the hardest to find."""
    customers = simulated(np.random.default_rng(7), 20_000, 400, 0)
    theirs, counted = plain_lifetimes(customers, "ParetoNBDFitter", 1e-7)
    ours = model_of(customers, "pareto_nbd")
    assert len(counted) > 10_000
    assert ours.parameters == pytest.approx(dict(theirs.params_), rel=1e-4)
    names = ("r", "alpha", "s", "beta")
    each = theirs._conditional_log_likelihood([ours.parameters[name] for name in names], *in_weeks(counted))
    assert ours.log_likelihood == pytest.approx(float((counted["number"] * each).sum()), rel=1e-10)


@pytest.mark.parametrize(("x", "recency", "age"), [(89, 270, 270), (130, 274, 280), (73, 150, 290), (40, 268, 290)])
def test_pareto_nbd_where_lifetimes_loses_its_digits(x: int, recency: int, age: int) -> None:
    """Customers who order every third day, against P(alive) integrated numerically."""
    r, alpha, s, beta = 1.4123, 1.3749, 1.0221, 1234.03
    model = OrderModel("pareto_nbd", {"r": r, "alpha": alpha, "s": s, "beta": beta}, 0.0)
    top = -(r + x) * np.log(alpha + recency / 7)

    def leaves(at: float) -> float:
        return s * float(np.exp(-(r + x) * np.log(alpha + at) - (s + 1) * np.log(beta + at) - top))

    left, _ = quad(leaves, recency / 7, age / 7, epsabs=0, epsrel=1e-10)
    stays = np.exp(-(r + x) * np.log(alpha + age / 7) - s * np.log(beta + age / 7) - top)
    alive = model.probability_alive(x, recency, age)[0]
    assert alive == pytest.approx(stays / (stays + left), rel=1e-6)
    longest = (r + x) / (alpha + age / 7) * 13
    # 13 weeks are short beside the lifetimes that beta and s mean, so nearly nobody who is there leaves within.
    assert 0.99 * alive * longest < model.expected_orders(91, x, recency, age)[0] <= alive * longest


def test_an_earlier_fit_is_a_start_and_not_an_answer(sample: pd.DataFrame) -> None:
    fresh = model_of(sample, "pareto_nbd")
    again = fit_orders(sample, "pareto_nbd", start={"r": 2.0, "alpha": 5.0, "s": 1.5, "beta": 20.0}).model
    assert again is not None
    assert again.parameters == pytest.approx(fresh.parameters, rel=1e-3)
    spend = fit_spend(sample, start={"p": 1.0, "q": 2.0, "v": 30.0}).model
    assert spend is not None
    assert spend.parameters == pytest.approx({"p": 6.25, "q": 3.744, "v": 15.444}, rel=1e-3)


def test_numbers_stand_for_customers(sample: pd.DataFrame) -> None:
    keys = ["further_orders", "recency_days", "age_days"]
    counted = sample.groupby(keys, as_index=False)["number"].sum()
    for kind in ORDER_KINDS:
        once, again = fit_orders(sample, kind).model, fit_orders(counted, kind).model
        assert once is not None
        assert again is not None
        assert again.parameters == pytest.approx(once.parameters, rel=1e-6)


def simulated(chance: np.random.Generator, customers: int, days: int, ahead: int) -> pd.DataFrame:
    """Customers of BG/NBD with r 0.8, alpha 6 weeks, a 0.7, b 2.5, and what they order in the days after."""
    rows = []
    for _ in range(customers):
        age = int(chance.integers(1, days))
        rate, leaves = chance.gamma(0.8, 1 / 42), chance.beta(0.7, 2.5)
        at, times = 0.0, []
        while (at := at + chance.exponential(1 / rate)) <= age + ahead:
            times.append(int(np.ceil(at)))
            if chance.random() < leaves:
                break
        own = sorted(set(times))
        early = [one for one in own if one <= age]
        rows.append((len(early), early[-1] if early else 0, age, 1, len(own) - len(early)))
    return pd.DataFrame(rows, columns=["further_orders", "recency_days", "age_days", "number", "actual"])


def test_intervals_cover_what_customers_do() -> None:
    customers = simulated(np.random.default_rng(5), 4_000, 400, 90)
    model = model_of(customers, "bg_nbd")
    assert model.parameters == pytest.approx({"r": 0.8, "alpha": 6.0, "a": 0.7, "b": 2.5}, rel=0.3)
    own = pattern(customers)
    expected, alive = model.expected_orders(90, *own), model.probability_alive(*own)
    assert expected.sum() == pytest.approx(customers["actual"].sum(), rel=0.06)
    spread = model.spread(expected, alive, own[0])
    assert spread.none.mean() == pytest.approx((customers["actual"] == 0).mean(), abs=0.02)
    low, high = spread.interval(0.9)
    # Whole numbers: an interval holds at least what it promises.
    held = (customers["actual"] >= low) & (customers["actual"] <= high)
    assert 0.9 <= held.mean() <= 0.985
    busy = customers["further_orders"] >= 3
    assert 0.87 <= held[busy].mean() <= 0.97
    # By the mean square: the variance of the whole is that of its parts.
    variance = (spread.mean_square - expected**2).sum()
    assert abs(expected.sum() - customers["actual"].sum()) < 3.5 * np.sqrt(variance)


def test_spend_is_drawn_to_the_mean() -> None:
    model = SpendModel({"p": 6.25, "q": 3.744, "v": 15.444}, None, 946, 35.0)
    middle = 6.25 * 15.444 / 2.744
    assert model.expected_amount(0, np.nan) == pytest.approx(middle)
    amounts = model.expected_amount([1, 5, 500], [100.0, 100.0, 100.0])
    assert (np.diff([middle, *amounts]) > 0).all()
    assert amounts[-1] == pytest.approx(100, rel=0.01)
    square, single = model.mean_square_factors([0, 10], [0.0, 20.0])
    draws = np.random.default_rng(1).gamma(6.25 * 10 + 3.744, 1 / (15.444 + 200), 200_000)  # the rate of one customer
    totals = np.random.default_rng(2).gamma(6.25 * 4, 1 / draws)  # of four orders
    assert square[1] * 16 + single[1] * 4 == pytest.approx((totals**2).mean(), rel=0.01)


def degenerate(number: int) -> pd.DataFrame:
    """A data set of every kind that real shops have and models do not like."""
    chance = np.random.default_rng(number)
    customers = int(chance.choice([1, 2, 3, 10, 60, 300]))
    age = chance.integers(0, int(chance.choice([1, 8, 60, 400, 4_000])), customers)
    further = chance.poisson(chance.gamma(0.5, chance.choice([0.1, 2, 30]), customers))
    recency = (age * chance.beta(2, 1, customers)).astype(int)
    amount = chance.lognormal(3, chance.choice([0.0, 0.5, 3.0]), customers)
    match number % 10:
        case 0:
            further[:] = 0  # all one-timers
        case 1:
            age[:] = recency[:] = further[:] = 0  # all on the same day
        case 2:
            amount[0] = 1e12  # one who spends without measure
        case 3:
            further, recency = age.copy(), age.copy()  # every day, to the last
        case 4:
            amount[:] = 0  # nothing is ever paid
        case 5:
            age[:] = age.max()  # all on one day, long ago
        case 6:
            amount[:] = 19.99
        case 7:
            further[0], age[0], recency[0] = 5_000, 6_000, 6_000  # a reseller
        case _:
            pass
    further = np.minimum(further, age)
    recency = np.where(further > 0, np.maximum(recency, np.minimum(further, age)), 0)
    return pd.DataFrame(
        {
            "further_orders": further,
            "recency_days": recency,
            "age_days": age,
            "number": 1,
            "spend_orders": further,
            "mean_amount": np.where(further > 0, amount, np.nan),
        }
    )


@pytest.mark.parametrize("first", range(0, DATA_SETS, 10))
def test_every_data_set_is_fitted(first: int) -> None:
    for number in range(first, min(first + 10, DATA_SETS)):
        customers = degenerate(number)
        own = pattern(customers)
        for kind in ORDER_KINDS:
            fit = fit_orders(customers, kind)
            if not (customers["further_orders"] > 0).any():
                assert fit.model is None
                assert fit.warnings
                continue
            assert fit.model is not None
            assert all(np.isfinite(value) and value > 0 for value in fit.model.parameters.values())
            alive = fit.model.probability_alive(*own)
            assert ((alive >= 0) & (alive <= 1)).all()
            before = np.zeros(len(customers))
            for days in (7, 180, 3_650):
                expected = fit.model.expected_orders(days, *own)
                assert (np.isfinite(expected) & (expected >= before * (1 - 1e-6) - 1e-9)).all(), (number, kind, days)
                before = expected
            spread = fit.model.spread(expected, alive, own[0])
            low, high = spread.interval(0.95)
            assert ((low >= 0) & (high >= low) & np.isfinite(high)).all()
            assert ((spread.none >= -1e-12) & (spread.none <= 1 + 1e-12)).all()
            assert np.isfinite(fit.model.expected_orders_of_new([1, 100])).all()
        spend = fit_spend(customers)
        if spend.model is None:
            assert spend.warnings
        else:
            amounts = spend.model.expected_amount(customers["spend_orders"], customers["mean_amount"])
            assert (np.isfinite(amounts) & (amounts > 0)).all()
            assert all(
                np.isfinite(one).all()
                for one in spend.model.mean_square_factors(customers["spend_orders"], customers["mean_amount"])
            )
