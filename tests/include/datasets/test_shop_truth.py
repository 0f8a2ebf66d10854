"""What was planted is in the files: refitted, counted and compared from what was written, not from what was drawn.

A statistic may be off by WITHIN of its standard errors: with about a hundred of them, chance alone goes beyond that in
less than one of a hundred shops, and the seed is fixed. Each check also asks for a standard error that is small beside
what was planted, as a wide one would agree with anything.
"""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifetimes import BetaGeoFitter, GammaGammaFitter
from scipy.special import gammaln
from scipy.stats import chi2

from tests.include.datasets.conftest import BEGIN, WEEK, WrittenShop

WITHIN = 4.0
DAY = pd.Timedelta(days=1)


def agrees(found: float, planted: float, error: float, *, most_error: float = np.inf) -> None:
    assert error <= most_error
    assert abs(found - planted) <= WITHIN * error, f"{found:.4g} instead of {planted:.4g} ± {error:.2g}"


def share_agrees(hits: pd.Series, planted: float, *, most_error: float = 0.05) -> None:
    agrees(hits.mean(), planted, np.sqrt(planted * (1 - planted) / len(hits)), most_error=most_error)


@pytest.fixture(scope="session")
def orders(written_shop: WrittenShop) -> pd.DataFrame:
    """Orders with `gross`, `is_extra` and `amount`: gross without the region's factor."""
    found = written_shop.sessions[written_shop.sessions["bought"]].copy()
    factor = {one["name"]: one["order_value_factor"] for one in written_shop.planted["regions"]}
    found["gross"] = found["total"] + found["discount"]
    found["amount"] = found["gross"] / found["region"].map(factor)
    found["is_extra"] = found["session_id"].str[-4:].astype(int) > 9000
    return found


@pytest.fixture(scope="session")
def buyers(written_shop: WrittenShop, orders: pd.DataFrame) -> pd.DataFrame:
    """Frequency, recency and T in weeks, without the orders that promotions brought."""
    own = orders[~orders["is_extra"]].groupby("customer_no")["started_at"].agg(["size", "min", "max"])
    return pd.DataFrame(
        {
            "frequency": own["size"] - 1,
            "recency": (own["max"] - own["min"]) / WEEK,
            "T": (written_shop.end - own["min"]) / WEEK,
        }
    )


def fitted(
    model: Any, planted: dict[str, float], names: dict[str, str], log_likelihood: Callable[..., pd.Series]
) -> None:
    """The estimates agree with what was planted: each by its standard error, and all together by the likelihood ratio,
    as they are correlated, and far more certain together than each alone.
    """
    wanted = {name: planted[planted_name] for name, planted_name in names.items()}
    for name, value in wanted.items():
        agrees(model.summary.loc[name, "coef"], value, model.summary.loc[name, "se(coef)"], most_error=0.12 * value)
    ratio = 2 * (log_likelihood(**model.params_[[*names]]) - log_likelihood(**wanted)).sum()
    assert 0 <= ratio < chi2(len(wanted)).ppf(0.9999)


def bg_nbd_log_likelihood(buyers: pd.DataFrame, r: float, alpha: float, a: float, b: float) -> pd.Series:
    """Fader, Hardie & Lee (2005), equation 6."""
    x, recency, age = buyers["frequency"], buyers["recency"], buyers["T"]
    alive = -(r + x) * np.log(alpha + age)
    gone = np.log(a) - np.log(b + x.clip(lower=1) - 1) - (r + x) * np.log(alpha + recency)
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    common += gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    return common + np.where(x > 0, np.logaddexp(alive, gone), alive)


def gamma_gamma_log_likelihood(spend: pd.DataFrame, p: float, q: float, v: float) -> pd.Series:
    """Fader & Hardie (2013), equation 1a."""
    shape, total = p * spend["size"], spend["size"] * spend["mean"]
    constant = gammaln(shape + q) - gammaln(shape) - gammaln(q) + q * np.log(v)
    return (
        constant + (shape - 1) * np.log(spend["mean"]) + shape * np.log(spend["size"]) - (shape + q) * np.log(v + total)
    )


def test_bg_nbd_refitted(written_shop: WrittenShop, buyers: pd.DataFrame) -> None:
    """lifetimes' maximum likelihood. The weekly rhythm moves no order by more than about half a day, against weeks
    between orders; a day of failed checkouts takes one order in a thousand. Neither shows beside the standard errors.
    """
    model = BetaGeoFitter().fit(buyers["frequency"], buyers["recency"], buyers["T"])
    fitted(
        model,
        written_shop.planted["repeat"],
        {name: name for name in ("r", "alpha", "a", "b")},
        partial(bg_nbd_log_likelihood, buyers),
    )


def test_bg_nbd_refitted_with_the_orders_that_promotions_brought(
    written_shop: WrittenShop, orders: pd.DataFrame
) -> None:
    """Somebody who does not know of them finds a process hardly different: they are two in a hundred orders."""
    assert 0.005 < orders["is_extra"].mean() < 0.03
    times = orders.groupby("customer_no")["started_at"].agg(["size", "min", "max"])
    age = (written_shop.end - times["min"]) / WEEK
    model = BetaGeoFitter().fit(times["size"] - 1, (times["max"] - times["min"]) / WEEK, age)
    planted = written_shop.planted["repeat"]
    rate = model.params_["r"] / model.params_["alpha"]
    assert rate == pytest.approx(planted["r"] / planted["alpha"], rel=0.1)


def test_repeat_buyers_are_as_many_as_bg_nbd_says(written_shop: WrittenShop, buyers: pd.DataFrame) -> None:
    """P(no order within T) = (alpha / (alpha + T))^r."""
    planted = written_shop.planted["repeat"]
    none = (planted["alpha"] / (planted["alpha"] + buyers["T"])) ** planted["r"]
    error = np.sqrt((none * (1 - none)).sum()) / len(buyers)
    agrees((buyers["frequency"] > 0).mean(), 1 - none.mean(), error, most_error=0.01)


def test_gamma_gamma_refitted(written_shop: WrittenShop, orders: pd.DataFrame) -> None:
    spend = orders.groupby("customer_no")["amount"].agg(["size", "mean"])
    model = GammaGammaFitter().fit(spend["size"], spend["mean"])
    fitted(
        model,
        written_shop.planted["value"],
        {"p": "p", "q": "q", "v": "gamma"},
        partial(gamma_gamma_log_likelihood, spend),
    )


def test_regions_differ_in_the_value_of_orders_and_in_nothing_else(
    written_shop: WrittenShop, orders: pd.DataFrame
) -> None:
    """By customers' mean log amount: a customer's orders are alike, so customers are what can be averaged."""
    by_customer = np.log(orders["gross"]).groupby(orders["customer_no"]).mean()
    region = orders.groupby("customer_no")["region"].first()
    found = by_customer.groupby(region).agg(["mean", "sem"])
    factors = {one["name"]: one["order_value_factor"] for one in written_shop.planted["regions"]}
    for name in ("East", "South", "West"):
        error = float(np.hypot(found.loc[name, "sem"], found.loc["North", "sem"]))
        difference = found.loc[name, "mean"] - found.loc["North", "mean"]
        agrees(difference, np.log(factors[name] / factors["North"]), error, most_error=0.05)
    homes = written_shop.sessions.groupby("customer_no")["region"].agg(["first", "nunique"])
    assert set(homes["nunique"]) == {1}
    bought = homes.index.isin(orders["customer_no"])
    for one in written_shop.planted["regions"]:
        share_agrees(homes["first"] == one["name"], one["share"])
        share_agrees(homes.loc[bought, "first"] == one["name"], one["share"])


def test_devices_differ_in_conversion(written_shop: WrittenShop) -> None:
    sessions = written_shop.sessions
    orders = sessions.loc[sessions["bought"], "device"].value_counts()
    browsing = sessions.loc[~sessions["bought"], "device"].value_counts()
    devices = {one["name"]: one for one in written_shop.planted["devices"]}
    for name in ("desktop", "tablet"):
        odds = np.log(orders[name] / browsing[name]) - np.log(orders["phone"] / browsing["phone"])
        planted = np.log(
            devices[name]["share_of_orders"]
            / devices[name]["share_of_browsing"]
            / (devices["phone"]["share_of_orders"] / devices["phone"]["share_of_browsing"])
        )
        error = np.sqrt(sum(1 / counts[one] for counts in (orders, browsing) for one in (name, "phone")))
        agrees(odds, planted, error, most_error=0.05)


def test_channels_differ_in_first_orders(written_shop: WrittenShop, orders: pd.DataFrame) -> None:
    """Of those who signed up thirty weeks before the end: the wait for the first order, two weeks, is over."""
    customers, end = written_shop.customers, written_shop.end
    channel = written_shop.sessions.groupby("customer_no")["channel"].first()
    early = customers[customers["signed_up_at"] < end - 30 * WEEK].set_index("customer_no")
    early = early.assign(channel=channel.reindex(early.index), bought=early.index.isin(orders["customer_no"]))
    for one in written_shop.planted["channels"]:
        mine = early["channel"].isna() if one["name"] is None else early["channel"] == one["name"]
        share_agrees(early.loc[mine, "bought"], one["first_order_share"])


def test_the_way_to_the_first_order(written_shop: WrittenShop, orders: pd.DataFrame) -> None:
    customers, planted, end = written_shop.customers, written_shop.planted, written_shop.end
    early = customers[customers["downloaded_at"] < end - 10 * WEEK]
    share_agrees(early["signed_up_at"].notna(), planted["signup_share"])
    signed_up = customers[customers["signed_up_at"] < end - 10 * WEEK]
    share_agrees(signed_up["email_confirmed_at"].notna(), planted["confirmed_share"])
    first = orders.groupby("customer_no")["started_at"].min()
    waits = (first - customers.set_index("customer_no")["signed_up_at"])[lambda wait: wait.notna()] / WEEK
    early_waits = waits[customers.set_index("customer_no")["signed_up_at"].reindex(waits.index) < end - 30 * WEEK]
    mean = planted["first_order_delay_weeks"]
    agrees(early_waits.mean(), mean, mean / np.sqrt(len(early_waits)), most_error=0.05)


def test_the_funnel_of_sessions_without_an_order(written_shop: WrittenShop) -> None:
    failed = pd.Timestamp(anomaly(written_shop, "checkout_failure")["day"])
    sessions = written_shop.sessions
    left = sessions[~sessions["bought"] & (sessions["started_at"].dt.normalize() != failed)]
    for name, share in written_shop.planted["browsing"]["steps"]:
        share_agrees(left[name], share, most_error=0.005)
        left = left[left[name]]


def anomaly(shop: WrittenShop, kind: str) -> dict[str, Any]:
    return next(one for one in shop.truth["anomalies"] if one["kind"] == kind)


@pytest.mark.parametrize("bought", [True, False])
def test_weekdays_and_hours(bought: bool, written_shop: WrittenShop) -> None:
    """All 168 hours of the week at once, in the weeks without an anomaly or an order that a promotion brought."""
    sessions = written_shop.sessions
    weeks = (sessions["started_at"] - BEGIN) // WEEK
    odd = {(pd.Timestamp(one["day"]) - BEGIN) // WEEK for one in written_shop.truth["anomalies"]}
    for one in written_shop.truth["promotions"]:
        odd |= {
            *range(
                (pd.Timestamp(one["first_day"]) - BEGIN) // WEEK, (pd.Timestamp(one["last_day"]) - BEGIN) // WEEK + 1
            )
        }
    times = sessions.loc[~weeks.isin(odd) & (sessions["bought"] == bought), "started_at"]
    found = np.bincount(times.dt.day_of_week * 24 + times.dt.hour, minlength=168)
    planted = written_shop.planted
    weights = np.outer(planted["weekday_weights"], planted["hour_weights"]).ravel()
    expected = weights / weights.sum() * len(times)
    assert expected.min() >= 5
    assert ((found - expected) ** 2 / expected).sum() < chi2(167).ppf(0.9999)


def test_growth_and_season_of_downloads(written_shop: WrittenShop) -> None:
    """The second year over the first, and each quarter of a year (1 + amplitude × cos …, averaged) over all four."""
    planted = written_shop.planted
    days = (written_shop.customers["downloaded_at"] - BEGIN) // DAY
    years = days // 364
    counts = [int((years == year).sum()) for year in (0, 1)]
    error = np.sqrt(sum(1 / count for count in counts))
    growth = 364 / 365.25 * np.log(1 + planted["growth_per_year"])
    agrees(np.log(counts[1] / counts[0]), growth, error, most_error=0.03)
    calendar = pd.date_range(BEGIN, periods=728)
    angle = 2 * np.pi * (calendar.day_of_year.to_numpy() - planted["season_peak_day"]) / 365.25
    weights = (1 + planted["growth_per_year"]) ** (np.arange(728) / 365.25)
    weights = weights * (1 + planted["season_amplitude"] * np.cos(angle))
    for quarter in range(1, 5):
        share = weights[np.asarray(calendar.quarter) == quarter].sum() / weights.sum()
        share_agrees(written_shop.customers["downloaded_at"].dt.quarter == quarter, share)


def test_promotions(written_shop: WrittenShop, orders: pd.DataFrame) -> None:
    planted = {one["name"]: one for one in written_shop.planted["promotions"]}
    for one in written_shop.truth["promotions"]:
        plan = planted[one["name"]]
        begin, end = pd.Timestamp(one["first_day"]), pd.Timestamp(one["last_day"]) + DAY
        inside = orders[(orders["started_at"] >= begin) & (orders["started_at"] < end)]
        own, extra = inside[~inside["is_extra"]], inside[inside["is_extra"]]
        using = orders[orders["promotion"] == one["name"]]
        assert (len(inside), len(extra), len(using)) == (
            one["orders_in_window"],
            one["extra_orders"],
            one["orders_with_code"],
        )
        assert using.index.isin(inside.index).all()
        assert set(extra["promotion"]) <= {one["name"]}
        assert (using["discount"] - using["gross"] * plan["discount_share"]).abs().max() <= 0.0051
        assert f"{using['discount'].sum():.2f}" == one["discount"]
        share_agrees(own["promotion"] == one["name"], plan["share_using"])
        agrees(len(extra) / len(own), plan["uplift"], np.sqrt(plan["uplift"] / len(own)))
        # What somebody sees who does not know the marks: orders per week, against the two weeks on either side.
        around = orders[(orders["started_at"] >= begin - 2 * WEEK) & (orders["started_at"] < end + 2 * WEEK)]
        usual = (len(around) - len(inside)) / 4
        error = np.sqrt((1 + plan["uplift"]) / (usual * plan["weeks"]) + 1 / (4 * usual)) * (1 + plan["uplift"])
        agrees(len(inside) / plan["weeks"] / usual, 1 + plan["uplift"], error, most_error=0.15)
    assert orders["promotion"].notna().sum() == sum(one["orders_with_code"] for one in written_shop.truth["promotions"])


def test_products_bought_together(written_shop: WrittenShop, orders: pd.DataFrame) -> None:
    """The lift of every pair of small products: the planted ones as planted, all others one."""
    lines, planted = written_shop.lines, written_shop.planted
    names = [one["name"] for one in planted["products"]]
    baskets = pd.crosstab(lines["session_id"], lines["product"])
    assert len(baskets) == len(orders)
    for one in planted["products"]:
        share_agrees(baskets[one["name"]] > 0, one["share"])
    lifts = {frozenset((one["first"], one["second"])): one["lift"] for one in planted["pairs"]}
    together = (baskets[names] > 0).astype(int).T @ (baskets[names] > 0).astype(int)
    for first, second in combinations(names, 2):
        expected = together.loc[first, first] * together.loc[second, second] / len(baskets)
        lift = lifts.get(frozenset((first, second)), 1.0)
        agrees(together.loc[first, second] / expected, lift, np.sqrt(lift / expected), most_error=0.6)
    boxes = baskets[[one["name"] for one in planted["boxes"]]]
    assert set(boxes.sum(axis=1)) == {1}
    for one in planted["boxes"]:
        share_agrees(boxes[one["name"]] > 0, one["share"])


def test_products_have_few_prices(written_shop: WrittenShop) -> None:
    lines = written_shop.lines
    prices = lines.groupby("product")["price"].nunique()
    for one in written_shop.planted["products"]:
        mine = lines[lines["product"] == one["name"]]
        assert prices[one["name"]] <= 6
        assert (mine["price"] == one["cents"] / 100).mean() > 0.8
    assert lines.groupby("product")["category"].nunique().max() == 1


def test_deliveries(written_shop: WrittenShop, orders: pd.DataFrame) -> None:
    planted, delay = written_shop.planted["delivery"], written_shop.planted["delay"]
    found = written_shop.deliveries.merge(orders, on="session_id")
    hours = {
        "prepare": (found["prepared_at"] - found["started_at"]) / pd.Timedelta(hours=1),
        "ride": (found["delivered_at"] - found["prepared_at"]) / pd.Timedelta(hours=1),
        "return": (found["returned_at"] - found["delivered_at"]) / pd.Timedelta(hours=1),
    }
    late = (
        (found["region"] == delay["region"])
        & found["started_at"].dt.day_of_week.isin(delay["weekdays"])
        & found["started_at"].dt.hour.between(delay["from_hour"], delay["to_hour"] - 1)
    )
    assert late.sum() == written_shop.truth["deliveries"]["delayed"]
    for durations, mean, more in (
        (hours["prepare"], planted["prepare_mean_hours"], 0.0),
        (hours["ride"][~late], planted["ride_mean_hours"], 0.0),
        (hours["ride"][late], planted["ride_mean_hours"], delay["hours"]),
    ):
        error = mean / np.sqrt(planted["shape"] * len(durations))
        agrees(durations.mean(), mean + more, error, most_error=0.1)
    settled = found["delivered_at"] < written_shop.end - 4 * WEEK
    share_agrees(found.loc[settled, "returned_at"].notna(), planted["returned_share"])
    returned = hours["return"][settled].dropna()
    error = planted["return_mean_hours"] / np.sqrt(planted["shape"] * len(returned))
    agrees(returned.mean(), planted["return_mean_hours"], error, most_error=3.0)
    missing = orders[~orders["session_id"].isin(found["session_id"])]
    assert (missing["started_at"] > written_shop.end - WEEK).all()
    cities = {one["name"]: one["cities"] for one in written_shop.planted["regions"]}
    for region, mine in found.groupby("region"):
        distances = [
            np.hypot(mine["latitude"] - city["latitude"], mine["longitude"] - city["longitude"])
            for city in cities[region]
        ]
        assert np.min(distances, axis=0).max() < 8 * planted["scatter_degrees"]


def test_anomalies(written_shop: WrittenShop) -> None:
    """Each day against the same weekday three weeks before and after, in what it concerns and in what it does not."""
    sessions = written_shop.sessions
    daily = sessions.groupby([sessions["started_at"].dt.normalize(), "bought"]).size().unstack(fill_value=0)
    for one in written_shop.truth["anomalies"]:
        day = pd.Timestamp(one["day"])
        usual = daily.loc[[day + weeks * WEEK for weeks in (-3, -2, -1, 1, 2, 3)]].mean()
        browsing, bought = daily.loc[day, False], daily.loc[day, True]
        size = one["size"]
        factors = {
            "tracking_loss": (1 - size, 1.0),
            "traffic_spike": (size, 1.0),
            "checkout_failure": (1.0, 1 - size),
        }[one["kind"]]
        if one["kind"] == "checkout_failure":
            browsing -= one["sessions_concerned"]  # they end without an order
        assert one["sessions_concerned"] > 20
        # Every session of the spike brings a Poisson number of others: the variance is that of their squares.
        variance = {"traffic_spike": size**2 + size - 1}.get(one["kind"], factors[0])
        error = np.sqrt(variance / usual[False] + factors[0] ** 2 / (6 * usual[False]))
        agrees(browsing / usual[False], factors[0], error, most_error=0.3)
        error = np.sqrt(factors[1] / usual[True] + factors[1] ** 2 / (6 * usual[True]))
        agrees(bought / usual[True], factors[1], error, most_error=0.3)
        assert (one["sessions"], one["orders"]) == (int(daily.loc[day].sum()), bought)


def test_no_other_day_is_odd(written_shop: WrittenShop) -> None:
    """Sessions without an order per day against the mean of the weekday's neighbours: within chance but for the
    planted days.
    """
    sessions = written_shop.sessions[~written_shop.sessions["bought"]]
    daily = sessions.groupby(sessions["started_at"].dt.normalize()).size()
    weekly = pd.concat({weeks: daily.shift(7 * weeks) for weeks in (-2, -1, 1, 2)}, axis=1).median(axis=1)
    deviation = ((daily - weekly) / np.sqrt(1.4 * weekly))[weekly > 50].dropna()
    odd = {str(day.date()) for day in deviation[deviation.abs() > 5].index}
    planted = {one["day"] for one in written_shop.truth["anomalies"] if one["kind"] != "checkout_failure"}
    assert odd == planted
