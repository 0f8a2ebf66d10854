"""What was planted in a simulated shop comes out of the analyses: with the right sign and size, within chance.

The shop has no weekly rhythm, no season and no growth here, so that what must come out has a closed form. Where a
report gives an interval, the truth may lie outside it, but not by more than its own width again; and the interval must
be narrow beside what was planted, as a wide one would agree with anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest

from include.analytics.churn import customer_scores
from include.analytics.cohorts import cohorts
from include.analytics.funnels import funnels
from include.analytics.product_analytics import product_analytics
from include.analytics.promotion_analytics import promotion_analytics
from include.datasets.shop.block import simulate
from include.datasets.shop.parameters import Channel, Shop
from include.datasets.shop.rhythm import Rhythm
from include.datasets.shop.tables import customers_table, lines_table, sessions_table
from include.schemas.reports import Report
from include.staging.tables import Tables, tables_from_frames

EVEN = replace(
    Shop(),
    weekday_weights=(1.0,) * 7,
    hour_weights=(1.0,) * 24,
    growth_per_year=0.0,
    season_amplitude=0.0,
    anomalies=(),
)
WITHIN = 4.0  # standard errors
SHOP_NAMES = {
    "session_id": "id",
    "customer_no": "client",
    "started_at": "session_start_date",
    "bought": "has_purchased",
    "total": "payment_amount",
    "discount": "discount_amount",
    "promotion": "promotion_id",
    "downloaded_at": "download_date",
    "signed_up_at": "signup_date",
    **{name: f"dimension_{name}" for name in ("region", "device", "channel")},
    **{step: f"action_{step}" for step in EVEN.steps},
}


def staged(shop: Shop, *, seed: int, blocks: int = 1, dimensions: tuple[str, ...] = ()) -> Tables:
    """So many blocks of the shop, at 16,384 customers each."""
    rhythm = Rhythm(shop)
    sessions, customers, lines = [], [], []
    for number in range(blocks):
        block = simulate(shop, rhythm, seed=seed, number=number, most_sessions=10**9)
        table = sessions_table(shop, block)
        sessions.append(table.drop_columns(["ended_at", "updated_at"]))
        customers.append(customers_table(shop, rhythm, block).drop_columns(["email_confirmed_at"]))
        lines.append(lines_table(shop, block, table["session_id"].chunk(0)))
    basket = frame(lines).rename(columns={"id": "order_id"})
    return tables_from_frames(frame(sessions), frame(customers), basket=basket, dimensions=dimensions)


def frame(tables: list[pa.Table]) -> pd.DataFrame:
    """All rows, codes as texts and money as floating-point numbers."""
    plain = {"dictionary": pa.string(), "decimal64": pa.float64()}

    def of_plain_types(table: pa.Table) -> pa.Table:
        types = [plain.get(str(one.type).partition("<")[0].partition("(")[0], one.type) for one in table.schema]
        return table.cast(pa.schema(list(zip(table.column_names, types, strict=True))))

    whole = pa.concat_tables([of_plain_types(table) for table in tables])
    found: pd.DataFrame = whole.to_pandas().rename(columns=SHOP_NAMES)
    return found


def within(found: float, planted: float, low: float, high: float, *, most_width: float) -> None:
    """The interval is narrow, and holds the truth or misses it by no more than its width."""
    width = high - low
    assert 0 < width <= most_width
    assert low - width <= planted <= high + width, f"{found:.4g} ({low:.4g} to {high:.4g}) instead of {planted:.4g}"


@pytest.fixture(scope="module")
def tables() -> Tables:
    return staged(EVEN, seed=5, blocks=2, dimensions=("region", "device", "channel"))


@pytest.fixture(scope="module")
def funnel(tables: Tables) -> dict[str, Report]:
    return funnels(tables, as_of=EVEN.last_day)


def median(share_by: Callable[[float], float], until: float) -> float:
    """When half of those have come who come by `until`; `share_by` grows."""
    low, high = 0.0, until
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if share_by(middle) < share_by(until) / 2 else (low, middle)
    return low


def first_order_by(hours: float) -> float:
    """Signup and first order, one exponential delay after the other, by so many hours after the download."""
    slow, fast = 1 / (EVEN.first_order_delay_weeks * 168), 1 / (EVEN.signup_delay_weeks * 168)
    return float(1 - (fast * np.exp(-slow * hours) - slow * np.exp(-fast * hours)) / (fast - slow))


# A download lies anywhere in its day, and the window ends with the thirtieth day after it.
WINDOWS = 24 * (30 + np.linspace(0.025, 0.975, 20))
IN_TIME = float(np.mean([first_order_by(hours) for hours in WINDOWS]))


def test_conversion_and_time_to_convert(funnel: dict[str, Report]) -> None:
    rows: Any = funnel["conversion"].rows.set_index(["dimension", "funnel_step"])
    signup, order = rows.loc[("all", "signup")], rows.loc[("all", "first_order")]
    within(signup["rate"], EVEN.signup_share, signup["ci_low"], signup["ci_high"], most_width=0.02)
    # An exponential delay, of those who sign up at all: its median is the mean times log 2.
    hours = EVEN.signup_delay_weeks * 168
    ends = (signup["converted_median_low_hours"], signup["converted_median_high_hours"])
    within(signup["converted_median_hours"], hours * np.log(2), *ends, most_width=1.5)
    assert signup["mean_hours"] == pytest.approx(hours, rel=0.03)
    buys = sum(one.share * one.first_order_share for one in EVEN.channels)
    planted = EVEN.signup_share * buys * IN_TIME
    ends = (order["overall_ci_low"], order["overall_ci_high"])
    within(order["overall_rate"], planted, *ends, most_width=0.02)
    ends = (order["entry_median_low_hours"], order["entry_median_high_hours"])
    within(order["entry_median_hours"], median(first_order_by, 30.5 * 24), *ends, most_width=15)


def test_channels_convert_as_planted(funnel: dict[str, Report]) -> None:
    """Each rate within its interval, and in their order: partner, organic, search, social."""
    rows: Any = funnel["conversion"].rows.set_index(["dimension", "funnel_step"])
    rates = {}
    for one in EVEN.channels:
        row = rows.loc[(f"channel: {one.name or '(unknown)'}", "first_order")]
        planted = EVEN.signup_share * one.first_order_share * IN_TIME
        ends = (row["overall_ci_low"], row["overall_ci_high"])
        within(row["overall_rate"], planted, *ends, most_width=0.05 if one.name else 0.1)
        rates[one.name] = ends
    for better, worse in (("partner", "organic"), ("organic", "search"), ("search", "social")):
        assert rates[better][0] > rates[worse][1]


def test_steps_and_devices_of_sessions(funnel: dict[str, Report]) -> None:
    """The actions of sessions without an order, which every order has; and the odds of an order on each device."""
    rows = funnel["session_funnel"].rows
    monthly = rows[rows["granularity"] == "month"]
    counts = monthly.groupby(["dimension", "funnel_step"])["sessions"].sum()
    orders = counts["all", "purchase"]
    before = counts["all", "session"] - orders
    for name, share in EVEN.browsing.steps:
        here = counts["all", name] - orders
        assert abs(here / before - share) < WITHIN * np.sqrt(share * (1 - share) / before)
        before = here

    def odds(device: str) -> tuple[float, float]:
        bought, left = (
            counts[f"device: {device}", "purchase"],
            counts[f"device: {device}", "session"] - counts[f"device: {device}", "purchase"],
        )
        return float(np.log(bought / left)), float(1 / bought + 1 / left)

    planted = {one.name: np.log(one.share_of_orders / one.share_of_browsing) for one in EVEN.devices}
    for name in ("desktop", "tablet"):
        error = np.sqrt(odds(name)[1] + odds("phone")[1])
        assert abs(odds(name)[0] - odds("phone")[0] - (planted[name] - planted["phone"])) < WITHIN * error
        assert error < 0.05


def test_retention_curve() -> None:
    """Sessions at the download, then Poisson many, their mean exponential over customers, each exponentially later.

    Of those who downloaded u weeks into their week, p = exp(-(k - u) / d) - exp(-(k + 1 - u) / d) of the later sessions
    are in week k after it. With a mean m of such sessions that differs exponentially, none is there with 1 / (1 + m p).
    """
    nobody_buys = tuple(Channel(one.name, one.share, 0.0) for one in EVEN.channels)
    tables = staged(replace(EVEN, channels=nobody_buys, promotions=()), seed=8)
    rows = cohorts(tables, as_of=EVEN.last_day)["average_curves"].rows
    curve = rows[(rows["curve"] == "retention, n-day") & (rows["granularity"] == "week")].set_index("offset")
    mean, delay, begun = EVEN.browsing.mean_sessions, EVEN.browsing.mean_delay_weeks, np.linspace(0.005, 0.995, 100)
    assert curve.loc[0, "rate"] == 1
    for week in range(1, 16):
        here = np.exp(-(week - begun) / delay) - np.exp(-(week + 1 - begun) / delay)
        planted = float(np.mean(1 - 1 / (1 + mean * here)))
        row = curve.loc[week]
        within(row["rate"], planted, row["ci_low"], row["ci_high"], most_width=0.02)
    assert curve["rate"].is_monotonic_decreasing


def test_products_bought_together(tables: Tables) -> None:
    """The planted pairs come first, in their order; of all others an interval excludes 1 about as often as it may."""
    rows = product_analytics(replace(tables, dimensions=()), as_of=EVEN.last_day, pairs_kept=1_000)[
        "product_pairs"
    ].rows
    small = {one.name for one in EVEN.products}
    rows = rows[rows["product"].isin(small) & rows["other_product"].isin(small)].reset_index(drop=True)
    planted = {frozenset((one.first, one.second)): one.lift for one in EVEN.pairs}
    names = [frozenset(pair) for pair in zip(rows["product"], rows["other_product"], strict=True)]
    assert names[:3] == [pair for pair, lift in planted.items() if lift > 1]
    assert names[-1] == next(pair for pair, lift in planted.items() if lift < 1)
    assert len(rows) == len(small) * (len(small) - 1) // 2
    covered = 0
    for pair, low, value, high in zip(names, rows["lift_ci_low"], rows["lift"], rows["lift_ci_high"], strict=True):
        lift = planted.get(pair, 1.0)
        if pair in planted:
            within(value, lift, low, high, most_width=0.5 * lift)
        covered += low <= lift <= high
    # 95 % of 231 are 219, with a standard deviation of 3.3.
    assert 206 <= covered <= 231


def test_regions_differ_in_what_a_basket_is_worth(tables: Tables) -> None:
    rows = product_analytics(replace(tables, dimensions=("region",)), as_of=EVEN.last_day)["baskets"].rows
    worth = rows.set_index("dimension")["revenue_per_basket"]
    for one in EVEN.regions:
        assert worth[f"region: {one.name}"] / worth["region: North"] == pytest.approx(one.order_value_factor, rel=0.06)


@pytest.fixture(scope="module")
def promoted(tables: Tables) -> dict[str, Report]:
    return promotion_analytics(replace(tables, dimensions=()), as_of=EVEN.last_day)


def test_promotions_give_their_discount_and_bring_back_whom_they_bring_back(promoted: dict[str, Report]) -> None:
    """Those that bring further orders (SPRING15, BLACK20) have a higher repeat rate than those that bring none."""
    rows: Any = promoted["promotions"].rows.set_index("promotion_id")
    assert set(rows.index) == {one.name for one in EVEN.promotions}
    for one in EVEN.promotions:
        assert rows.loc[one.name, "discount_depth"] == pytest.approx(one.discount_share, rel=0.002)
        assert one.first_day <= rows.loc[one.name, "first_used"] <= rows.loc[one.name, "last_used"] <= one.last_day
    for strong in ("SPRING15", "BLACK20"):
        for none in ("AUTUMN10", "SUMMER5"):
            assert rows.loc[strong, "ci_low"] > rows.loc[none, "ci_high"]


def test_uplift_shows_in_the_weeks_of_the_promotion(promoted: dict[str, Report]) -> None:
    """Orders of the window beside those of the two weeks on either side: up where planted, by about as much."""
    rows = promoted["promoted_share"].rows
    weekly = rows[rows["granularity"] == "week"].set_index("period")["orders"]
    for one in EVEN.promotions:
        inside = weekly.loc[[one.first_day + timedelta(weeks=week) for week in range(one.weeks)]].sum() / one.weeks
        beside = [*(one.first_day - timedelta(weeks=week) for week in (1, 2)),
                  *(one.last_day + timedelta(days=1, weeks=week) for week in (0, 1))]  # fmt: skip
        usual = weekly.loc[beside].mean()
        error = (1 + one.uplift) * np.sqrt((1 + one.uplift) / (usual * one.weeks) + 1 / (4 * usual))
        assert abs(inside / usual - 1 - one.uplift) < WITHIN * error
        assert (inside / usual - 1 > 2 * error) == (one.uplift > 0)


def test_who_is_said_to_be_active_orders_again(tables: Tables) -> None:
    """P(alive) half a year before the end, and who of them orders in that half year: more, the higher it is."""
    earlier = EVEN.last_day - timedelta(weeks=26)
    later = tables.sessions.filter((tables.sessions.session_day > earlier) & tables.sessions.has_purchased)
    again = set(later.select("client").distinct().to_pyarrow()["client"].to_pylist())
    scores = customer_scores(tables, as_of=earlier)
    shares = scores["client"].isin(again).groupby(pd.cut(scores["probability_alive"], [0, 0.25, 0.5, 0.75, 1])).mean()
    assert shares.is_monotonic_increasing
    overdue = scores["client"].isin(again).groupby(scores["is_overdue"]).mean()
    assert overdue[False] > 2 * overdue[True]
    # Who has left does not order, so no more can than are still there.
    assert shares.iloc[0] < 0.25


# ── Two hundred small shops: a dimension value each, so that one run makes two hundred independent reports ────────────

SHOPS, CUSTOMERS, PURCHASE, SIGNUP, SIGNUP_HOURS = 200, 120, 0.5, 0.6, 40.0
BEGIN, END = date(2024, 1, 1), date(2024, 3, 31)


@pytest.fixture(scope="module")
def small_shops() -> Tables:
    """Each shop: downloads over thirteen weeks with a session at once, an order in half of these, 60 % sign up later;
    Tea in 60 % and Cake in 50 % of the orders, together by chance alone.
    """
    chance = np.random.default_rng(11)
    count = SHOPS * CUSTOMERS
    at = pd.Timestamp(BEGIN) + pd.to_timedelta(chance.integers(0, 91 * 24 * 60, count), unit="min")
    client = pd.Series([f"c{number:05}" for number in range(count)], dtype="str")
    signup = at + pd.to_timedelta(chance.exponential(SIGNUP_HOURS, count), unit="h")
    bought = chance.random(count) < PURCHASE
    sessions = pd.DataFrame(
        {
            "id": client,
            "client": client,
            "session_start_date": at.astype("datetime64[us]"),
            "has_purchased": bought,
            "payment_amount": 1.0,
            "dimension_shop": [f"{number % SHOPS:03}" for number in range(count)],
        }
    )
    customers = pd.DataFrame({"client": client, "download_date": sessions["session_start_date"]})
    customers["signup_date"] = pd.Series(signup).where(chance.random(count) < SIGNUP).astype("datetime64[us]")
    lines = [
        pd.DataFrame({"order_id": client[mine], "product": name, "price": 1.0, "quantity": 1.0})
        for name, share in (("Tea", 0.6), ("Cake", 0.5), ("Bag", 1.0))
        if (mine := bought & (chance.random(count) < share)).any()
    ]
    return tables_from_frames(sessions, customers, basket=pd.concat(lines, ignore_index=True))


def covering(rows: pd.DataFrame, truth: float, low: str, high: str) -> int:
    """In how many of the two hundred shops the interval holds the truth."""
    own = rows[rows["dimension"].str.startswith("shop: ") & ~rows["dimension"].str.contains(r"\(")]
    assert len(own) == SHOPS
    ends: npt.NDArray[np.float64] = own[[low, high]].to_numpy("float64")
    assert np.isfinite(ends).all()
    return int(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).sum())


# 95 % of 200 are 190, with a standard deviation of 3.1; the intervals of few observations are approximate.
def test_intervals_hold_the_truth_as_often_as_they_claim(small_shops: Tables) -> None:
    reports = funnels(small_shops, as_of=END, top_values=SHOPS, kept_days=1)
    sessions = reports["session_funnel"].rows
    first = sessions[(sessions["granularity"] == "month") & (sessions["period"] == BEGIN)]
    assert 178 <= covering(first[first["step_number"] == 2], PURCHASE, "ci_low", "ci_high") <= 199
    conversion = reports["conversion"].rows
    signup = conversion[conversion["funnel_step"] == "signup"]
    assert 178 <= covering(signup, SIGNUP, "ci_low", "ci_high") <= 199
    half = ("converted_median_low_hours", "converted_median_high_hours")
    assert 178 <= covering(signup, SIGNUP_HOURS * np.log(2), *half) <= 199


def test_intervals_of_lifts_hold_the_truth_as_often_as_they_claim(small_shops: Tables) -> None:
    reports = product_analytics(
        small_shops, as_of=END, top_values=SHOPS, pair_product_min_orders=1, pair_min_orders=1, series_kept=1
    )
    pairs = reports["product_pairs"].rows
    pairs = pairs[(pairs["product"] == "Cake") & (pairs["other_product"] == "Tea")]
    assert 178 <= covering(pairs, 1.0, "lift_ci_low", "lift_ci_high") <= 199
