"""The reports of A/B tests: small shops worked out by hand, and the simulated shop with what was planted in it."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timedelta
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from include import catalogue
from include.analytics.rfm import customer_scores
from include.dashboards.vega import draw
from include.datasets.shop.block import Block, simulate
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import Rhythm
from include.elastic.reports import json_rows
from include.experiments.comparisons import Estimate, difference_of
from include.experiments.difference_in_differences import changes_compared, design_of
from include.experiments.earlier_periods import change_from_earlier
from include.experiments.exposures import DAY_SPAN, first_orders, order_history, units_of
from include.ml import ab_test as module
from include.ml.ab_test import BEFORE_AFTER, BETWEEN, EARLIER, MATCHED, REPORTS, ab_test
from include.schemas.reports import SHARED_FIELDS, Report
from include.staging.tables import Tables, tables_from_frames

AS_OF = date(2024, 6, 30)
QUICK = {"permutations": 200, "resamples": 99}
CHECKED = {"permutations": 5_000, "resamples": 199}
NO_SUCH_COLUMN = (
    "Skipped: AB_TEST_GROUP_COLUMN is 'a', which is no dimension of the sessions nor promotion_id; there are: b."
)


def tables(sessions: list[dict[str, Any]], basket: list[tuple[str, str]] | None = None, **calendar: Any) -> Tables:
    """Sessions as dicts: client, day of 2024 (from 1 January, 0), amount (None: no order), further columns."""
    frame = pd.DataFrame(
        sessions, columns=list(dict.fromkeys(["client", "day", "amount", *(k for s in sessions for k in s)]))
    )
    instants = [datetime(2024, 1, 1, 12) + timedelta(days=float(day)) for day in frame.pop("day")]
    frame = frame.assign(
        id=[f"s{number:06}" for number in range(len(frame))],
        client=frame["client"].astype("str"),
        session_start_date=pd.Series(instants, dtype="datetime64[us]"),
        has_purchased=frame["amount"].notna(),
        payment_amount=frame.pop("amount").astype("float64"),
    )
    first = frame.groupby("client", as_index=False)["session_start_date"].min()
    products = None
    if basket is not None:
        products = pd.DataFrame(basket, columns=["order_id", "product"]).assign(price=1.0, quantity=1.0)
    downloads = first.rename(columns={"session_start_date": "download_date"})
    return tables_from_frames(frame, downloads, basket=products, **calendar)


def experiment(seed: int, sizes: dict[str, int], lift: float = 0.0) -> list[dict[str, Any]]:
    """Customers with own rates: sessions in May without a group, in June with one; `lift` is of orders in `new`."""
    random = np.random.default_rng(seed)
    sessions = []
    for group, size in sizes.items():
        for number in range(size):
            rate = random.gamma(2, 1.5)
            for month, own in ((121, None), (152, group)):
                factor = 1 + lift if own == "new" else 1
                orders = random.poisson(rate * factor)
                amounts = [float(one) for one in np.round(random.gamma(4, 6, orders), 2)]
                sessions += [
                    {
                        "client": f"{group}{number}",
                        "day": month + random.random() * 25,
                        "amount": amount,
                        "dimension_variant": own,
                    }
                    for amount in [*amounts, None]
                ]
    return sessions


def all_rows(report: Report) -> pd.DataFrame:
    return report.rows[report.rows["dimension"] == "all"].reset_index(drop=True)


def as_written(reports: dict[str, Report]) -> dict[str, Any]:
    fields = {**SHARED_FIELDS, **module.FIELDS}
    return {one.type: json_rows(one, reports[one.type].rows, fields, "ab_test") for one in REPORTS}


@pytest.fixture(scope="module")
def new_checkout() -> dict[str, Report]:
    sessions = experiment(1, {"control": 600, "new": 600}, lift=0.25)
    return ab_test(tables(sessions), as_of=AS_OF, group_column="variant", **CHECKED)


# ── Experiments ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_experiment_finds_what_was_planted(new_checkout: dict[str, Report]) -> None:
    rows = all_rows(new_checkout["experiment"])
    assert rows["method"].iloc[0] == "sample_ratio"
    assert rows["p_value"][0] == 1
    tests = rows.set_index(["outcome", "method"])
    assert set(tests["n_treated"]) == {600}
    assert set(tests["n_control"]) == {600}
    for method in ("welch", "winsorised", "bootstrap", "cuped", "always_valid"):
        one = tests.loc[("orders per customer", method)]
        assert one["ci_low"] <= 0.25 * 3 <= one["ci_high"], method
        assert one["p_value_holm"] < 0.05
        assert one["p_value"] <= one["p_value_bh"] <= one["p_value_holm"]
    # The rate of each customer is known from May: about half of the variance, by the negative binomial.
    cuped = tests.loc[("orders per customer", "cuped")]
    assert 0.2 < cuped["variance_reduction"] < 0.6
    assert cuped["minimum_detectable_effect"] < tests.loc[("orders per customer", "welch"), "minimum_detectable_effect"]
    ratio = tests.loc[("revenue per order", "delta_method")]
    assert ratio["p_value"] > 0.05
    assert ratio["control_value"] == pytest.approx(24, rel=0.05)
    assert not rows["is_descriptive"].any()
    assert 0 < tests.loc[("orders per customer", "welch"), "power"] < 0.5


def test_it_is_scipys_test_of_the_customers(new_checkout: dict[str, Report]) -> None:
    frame = pd.DataFrame(experiment(1, {"control": 600, "new": 600}, lift=0.25))
    own = frame[frame["dimension_variant"].notna()]
    orders = own.groupby("client")["amount"].count()
    is_new = orders.index.str.startswith("new")
    known = stats.ttest_ind(orders[is_new], orders[~is_new], equal_var=False)
    rows = all_rows(new_checkout["experiment"]).set_index(["outcome", "method"])
    assert rows.loc[("orders per customer", "welch"), "p_value"] == pytest.approx(known.pvalue, rel=1e-9)
    table = [[(orders[side] > 0).sum(), (orders[side] == 0).sum()] for side in (is_new, ~is_new)]
    share = stats.chi2_contingency(table, correction=False)
    assert rows.loc[("customers with an order", "proportions"), "p_value"] == pytest.approx(share.pvalue, rel=1e-9)


def test_a_sample_ratio_mismatch_is_first_and_makes_all_else_descriptive() -> None:
    reports = ab_test(tables(experiment(2, {"control": 400, "new": 280})), as_of=AS_OF, group_column="variant", **QUICK)
    rows = all_rows(reports["experiment"])
    assert rows["method"][0] == "sample_ratio"
    assert rows["p_value"][0] == pytest.approx(stats.chisquare([400, 280]).pvalue)
    assert rows["is_descriptive"][1:].all()
    assert reports["experiment"].warnings[0].startswith("Sample-ratio mismatch: the groups have not the intended")
    intended = ab_test(
        tables(experiment(2, {"control": 400, "new": 280})),
        as_of=AS_OF,
        group_column="variant",
        group_shares={"control": 60, "new": 40},
        **QUICK,
    )
    assert all_rows(intended["experiment"])["p_value"][0] > 0.3
    assert not any("mismatch" in one for one in intended["experiment"].warnings)


def test_several_groups_and_who_is_in_two() -> None:
    sessions = experiment(3, {"control": 60, "blue": 60, "red": 60})
    moved = {**sessions[-1], "client": "red0", "day": 179.0, "dimension_variant": "blue", "amount": 1e6}
    reports = ab_test(tables([*sessions, moved]), as_of=AS_OF, group_column="variant", **QUICK)
    rows = all_rows(reports["experiment"])
    assert rows["experiment_group"].tolist()[:2] == ["blue", "red"]
    assert set(rows["against"]) == {"control"}
    assert "1 customers have sessions in several groups; each counts for the group of the first." in (
        reports["experiment"].warnings
    )
    # Red keeps its customer, and the million.
    revenue = rows.set_index(["experiment_group", "outcome", "method"])["treated_value"]
    assert revenue.loc[("red", "revenue per customer", "welch")] > 1e6 / 60
    assert revenue.loc[("blue", "revenue per customer", "welch")] < 1e3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Skipped: AB_TEST_GROUP_COLUMN names no column that assigns customers to groups."),
        (
            {"group_column": "a"},
            NO_SUCH_COLUMN,
        ),
        (
            {"group_column": "variant", "control_group": "old"},
            "No group is called 'old' (AB_TEST_CONTROL_GROUP); 'control' is the control.",
        ),
        (
            {"group_column": "variant", "group_shares": {"control": 1}},
            "AB_TEST_GROUP_SHARES has no share for new: the sizes of the groups were not tested.",
        ),
    ],
)
def test_what_is_missing_is_said(settings: dict[str, Any], said: str) -> None:
    sessions = experiment(4, {"control": 4, "new": 4})
    if settings.get("group_column") == "a":
        sessions = [{**one, "dimension_b": None} for one in sessions]
        for one in sessions:
            del one["dimension_variant"]
    reports = ab_test(tables(sessions), as_of=AS_OF, **settings, **QUICK)
    assert said in reports["experiment"].warnings


def test_one_group_is_nothing_to_compare() -> None:
    reports = ab_test(tables(experiment(5, {"control": 9})), as_of=AS_OF, group_column="variant", **QUICK)
    assert len(reports["experiment"].rows) == 0
    assert "All customers are in one group, control: there is nothing to compare." in reports["experiment"].warnings


def test_a_promotion_may_assign() -> None:
    sessions = [{**one, "promotion_id": one["dimension_variant"]} for one in experiment(6, {"control": 50, "new": 50})]
    reports = ab_test(tables(sessions), as_of=AS_OF, group_column="promotion_id", **QUICK)
    assert set(all_rows(reports["experiment"])["experiment_group"]) == {"new"}


def test_the_self_check_checks_every_test_on_these_customers(new_checkout: dict[str, Report]) -> None:
    rows = all_rows(new_checkout["self_check"])
    tested = set(all_rows(new_checkout["experiment"])["method"]) - {"sample_ratio"}
    assert tested <= set(rows["method"])
    assert (rows["denominator"] == np.where(rows["method"] == "bootstrap", 2_000, 5_000)).all()
    assert (rows["rate"] <= 0.065).all()
    assert (rows.loc[rows["method"] != "always_valid", "rate"] >= 0.035).all()
    assert set(rows["verdict"]) == {"holds"}


# ── Promotions and products ─────────────────────────────────────────────────────────────────────────────────────────


def shop_frame(seed: int, shop: Shop) -> tuple[Block, dict[str, np.ndarray]]:
    """A block of the shop, and its orders sorted by customer and time."""
    block = simulate(shop, Rhythm(shop), seed=seed, number=0, most_sessions=10**9)
    found = block.sessions
    at = np.flatnonzero(found.bought)
    at = at[np.lexsort((found.start[at], found.customer[at]))]
    cents = found.cents[at] - found.discount_cents[at]
    return block, {
        "client": found.customer[at].astype("int64"),
        "second": found.start[at],
        "day": (found.start[at] // 86_400).astype("int64"),
        "cents": cents,
        "promotion": found.promotion[at],
    }


@pytest.fixture(scope="module")
def shop_reports() -> dict[str, Report]:
    """The reports on a shop of 16,384 customers."""
    shop = Shop()
    _, orders = shop_frame(5, shop)
    names = np.array([*(one.name for one in shop.promotions), None], dtype=object)
    sessions = pd.DataFrame(
        {
            "id": [f"s{number:06}" for number in range(len(orders["client"]))],
            "client": "c" + pd.Series(orders["client"]).astype("str"),
            "session_start_date": (pd.Timestamp(shop.first_day) + pd.to_timedelta(orders["second"], unit="s")).astype(
                "datetime64[us]"
            ),
            "has_purchased": True,
            "payment_amount": orders["cents"] / 100,
            "promotion_id": names[orders["promotion"]],
        }
    )
    first = sessions.groupby("client", as_index=False)["session_start_date"].min()
    staged = tables_from_frames(sessions, first.rename(columns={"session_start_date": "download_date"}))
    return ab_test(staged, as_of=shop.last_day, recent_days=740, **CHECKED)


def test_planted_uplifts_of_the_shop_are_found_and_no_others(shop_reports: dict[str, Report]) -> None:
    rows = all_rows(shop_reports["promotion"])
    earlier = rows[rows["comparison"] == EARLIER].set_index("promotion_id")
    planted = {one.name: one.uplift for one in Shop().promotions}
    assert set(earlier.index) == set(planted)
    for name, uplift in planted.items():
        assert earlier.loc[name, "ci_low"] <= uplift <= earlier.loc[name, "ci_high"]
        assert (earlier.loc[name, "p_value_holm"] < 0.05) == (uplift > 0)
    assert not earlier["is_descriptive"].any()
    # Its code changes nothing for whoever has it: extra orders come from all who order while it runs.
    matched = rows[rows["comparison"] == MATCHED]
    assert (matched["p_value_holm"] > 0.05).all()
    assert shop_reports["promotion"].kpis["promotions_with_effect"] == 0
    # The plain before and after finds something in each, and is descriptive.
    plain = rows[rows["comparison"] == BEFORE_AFTER]
    assert plain["is_descriptive"].all()
    assert (plain.loc[plain["outcome"] == "orders", "p_value"] < 0.05).mean() >= 0.8
    assert plain["p_value_holm"].isna().all()


def test_both_effects_of_a_promotion_are_those_of_its_two_rows(shop_reports: dict[str, Report]) -> None:
    rows = shop_reports["promotion"].rows.query("comparison == @MATCHED").set_index(["dimension", "promotion_id"])
    both = shop_reports["promotion_effects"].rows.set_index(["dimension", "promotion_id"])
    assert len(both) == len(rows) / 2 > 0
    assert both.index.equals(rows.index[rows["outcome"] == "orders"])
    for outcome in ("orders", "revenue"):
        own = rows[rows["outcome"] == outcome]
        for end, name in {"": "effect", "_ci_low": "ci_low", "_ci_high": "ci_high"}.items():
            assert both[f"{outcome}_effect{end}"].tolist() == pytest.approx(own[name].tolist(), nan_ok=True)
        for name in ("n_treated", "n_control"):
            assert both[name].tolist() == own[name].tolist()
    assert both["is_descriptive"].tolist() == rows.groupby(level=[0, 1], sort=False)["is_descriptive"].any().tolist()


def test_pairs_are_corrected_for_their_number(shop_reports: dict[str, Report]) -> None:
    rows = all_rows(shop_reports["promotion"])
    pairs = rows[(rows["comparison"] == BETWEEN) & (rows["outcome"] == "revenue")]
    assert len(pairs) == 10
    smallest = pairs.loc[pairs["p_value"].idxmin()]
    assert smallest["p_value_holm"] == pytest.approx(min(1, 10 * smallest["p_value"]))
    assert smallest["p_value_bh"] <= smallest["p_value_holm"]
    matched = rows[(rows["comparison"] == MATCHED) & (rows["outcome"] == "revenue")].set_index("promotion_id")["effect"]
    difference = matched[smallest["promotion_id"]] - matched[smallest["against"]]
    assert smallest["effect"] == pytest.approx(difference, abs=1e-8)


def test_the_self_check_of_the_shop(shop_reports: dict[str, Report]) -> None:
    rows = all_rows(shop_reports["self_check"]).set_index(["method", "outcome"])
    plain = rows.xs(BEFORE_AFTER)
    assert plain["is_descriptive"].all()
    assert (plain["rate"] > 0.5).all()
    others = rows[rows.index.get_level_values("method") != BEFORE_AFTER]
    assert set(others.index.get_level_values(0)) == {
        MATCHED, EARLIER, "welch", "winsorised", "mann_whitney", "bootstrap", "cuped", "always_valid", "proportions",
        "delta_method",
    }  # fmt: skip
    assert set(others["verdict"]) == {"holds"}
    thousand = others[(others["denominator"] >= 2_000) & (others.index.get_level_values("method") != "always_valid")]
    assert thousand["rate"].between(0.035, 0.065).all()
    assert (rows.xs("always_valid")["rate"] <= 0.05).all()


def test_over_many_shops_intervals_cover_and_what_has_no_effect_is_not_found() -> None:
    """16 shops of five promotions: uplifts by earlier periods, and the effect of the code alone, which is none."""
    shop = Shop()
    covered, found, false, matched, between = [], [], [], [], []
    for seed in range(100, 116):
        _, orders = shop_frame(seed, shop)
        history = order_history(orders["client"], orders["day"], orders["cents"])
        units = units_of(history, window_days=7, history_days=28, first_day=0, last_day=shop.weeks * 7 - 1)
        keys, firsts = np.unique(orders["client"] * DAY_SPAN + orders["day"], return_index=True)
        assert (keys == units.key).all()
        effects: dict[str, list[Estimate]] = {"orders": [], "amount": []}
        for number, one in enumerate(shop.promotions):
            with_code = orders["promotion"] == number
            begin, end = int(orders["day"][with_code].min()), int(orders["day"][with_code].max())
            days = (end - begin) // 7 * 7 + 7
            now, *earlier = (
                module._orders_per_customer(history, begin - back * days, end - back * days) for back in range(5)
            )
            change = change_from_earlier(now, earlier)
            covered.append(change.ci_low <= one.uplift <= change.ci_high)
            (found if one.uplift > 0.1 else false).append(change.p_value < 0.05)
            used = np.isin(units.key, keys[np.isin(keys, (orders["client"] * DAY_SPAN + orders["day"])[with_code])])
            chosen, exposed = first_orders(units, used, used_first=with_code[firsts], from_day=begin, until_day=end)
            design = design_of(exposed, units.stratum[chosen])
            for outcome, own in effects.items():
                change = (getattr(units, f"after_{outcome}") - getattr(units, f"before_{outcome}"))[chosen]
                one_effect = changes_compared(change, exposed, design)
                matched.append(one_effect.p_value < 0.05)
                own.append(
                    Estimate(one_effect.effect, one_effect.standard_error, one_effect.degrees_of_freedom, math.nan)
                )
        for own in effects.values():
            between += [float(difference_of(*pair).p_value) < 0.05 for pair in combinations(own, 2)]
    assert np.mean(covered) >= 0.92
    assert np.mean(found) == 1  # at these sizes the power is far beyond 80 %
    assert np.mean(false) <= 0.13  # 32 of them: 5 % and two standard errors
    assert np.mean(matched) <= 0.09  # 160 of them
    assert len(between) == 320
    assert 0.02 <= np.mean(between) <= 0.09


def bought_together(seed: int, effect: float) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Customers order about weekly; a third use the promotion on day 100, and order `effect` more in the week after."""
    random = np.random.default_rng(seed)
    sessions: list[dict[str, Any]] = []
    basket = []
    for number in range(900):
        uses = random.random() < 1 / 3
        client = f"c{number}"
        days = [day for day in range(60, 130) if day != 100 and random.random() < 0.12]
        days += [101 + int(random.integers(0, 7)) for _ in range(random.poisson(effect))] if uses else []
        for day in [*days, 100]:
            here = uses and day == 100
            if here:
                basket.append((f"s{len(sessions):06}", "Tea"))
            sessions.append(
                {
                    "client": client,
                    "day": day,
                    "amount": float(random.integers(10, 30)),
                    "promotion_id": "TEA" if here else None,
                    "dimension_region": "North" if number % 3 else "South",
                }
            )
    return sessions, basket


def test_a_planted_effect_is_found_with_its_controls_and_per_dimension_value() -> None:
    sessions, basket = bought_together(1, 0.5)
    staged = tables(sessions, basket)
    reports = ab_test(staged, as_of=AS_OF, **QUICK)
    for name, field in (("promotion", "promotion_id"), ("product", "product")):
        rows = reports[name].rows
        orders = rows[(rows["comparison"] == MATCHED) & (rows["outcome"] == "orders")].set_index("dimension")
        assert orders.loc["all", field] in ("TEA", "Tea")
        assert orders.loc["all", "ci_low"] <= 0.5 <= orders.loc["all", "ci_high"]
        assert orders.loc["all", "p_value_holm"] < 0.001
        parts = orders.drop(index="all")
        assert set(parts.index) == {"region: North", "region: South"}
        users = orders["n_treated"] + orders["unmatched_customers"]
        assert users["all"] == users[parts.index].sum() == len(basket)
    promotion = all_rows(reports["promotion"])
    assert promotion["comparison"].tolist() == [MATCHED, MATCHED, EARLIER, BEFORE_AFTER, BEFORE_AFTER]
    # There are too few weeks to check the comparison with earlier periods.
    assert promotion["is_descriptive"].tolist() == [False, False, True, True, True]
    # Nobody assigns products.
    assert all_rows(reports["product"])["is_descriptive"].all()
    only_north = [one for one in sessions if one["dimension_region"] == "North"]
    alone = ab_test(tables(only_north), as_of=AS_OF, **QUICK)["promotion"].rows
    north = reports["promotion"].rows[reports["promotion"].rows["dimension"] == "region: North"]
    compared = ["effect", "ci_low", "p_value", "n_treated", "n_control"]
    whole = alone.loc[alone["dimension"] == "all", compared].to_numpy()
    assert north[compared].to_numpy() == pytest.approx(whole, rel=1e-9, nan_ok=True)


def test_names_of_clients_and_order_of_rows_do_not_matter() -> None:
    sessions = [
        {**one, "promotion_id": "P" if one["amount"] and one["amount"] > 40 else None}
        for one in experiment(7, {"control": 80, "new": 80}, lift=0.5)
    ]
    names = {one["client"] for one in sessions}
    other = {name: f"x{999 - number}" for number, name in enumerate(sorted(names))}
    settings = {"group_column": "variant", "min_customers": 5, **QUICK}
    staged = tables(sessions)
    first = as_written(ab_test(staged, as_of=AS_OF, **settings))
    renamed = as_written(
        ab_test(tables([{**one, "client": other[one["client"]]} for one in sessions]), as_of=AS_OF, **settings)
    )
    for name in ("promotion", "experiment", "segment_change", "self_check"):
        assert first[name]
        for one, two in zip(first[name], renamed[name], strict=True):
            assert one.keys() == two.keys()
            for field, value in one.items():
                assert value == (
                    pytest.approx(two[field], rel=1e-6, abs=1e-9) if isinstance(value, float) else two[field]
                )


# ── Segments ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_segments_are_those_of_rfm() -> None:
    staged = tables(experiment(8, {"control": 300}))
    scores = customer_scores(staged, as_of=AS_OF).set_index("client")
    orders = staged.sessions.filter(staged.sessions.has_purchased).to_pandas()
    units = (orders["payment_amount"].astype(float) * 10_000).round()
    days = pd.to_datetime(orders["session_day"]).to_numpy().astype("datetime64[D]").astype("int64")
    history = order_history(orders["client_code"], days, units)
    codes = orders.drop_duplicates("client_code").set_index("client_code")["client"]
    clients = np.array(sorted(codes.index))
    place = module._segments_until(history, clients, (AS_OF - date(1970, 1, 1)).days)
    found = {codes[code]: module._NAMES[one] for code, one in zip(clients, place, strict=True)}
    assert found == scores["rfm_segment"].to_dict()


def test_the_current_week_against_the_last_four_by_hand() -> None:
    """Ten customers order each Monday for 5; in the current week, to its Wednesday, also on Tuesday for 11."""
    wednesday = date(2024, 6, 26)  # day 177; its Monday is 175
    sessions = [
        {"client": f"c{number}", "day": day, "amount": 5.0} for number in range(10) for day in range(105, 176, 7)
    ] + [{"client": f"c{number}", "day": 176, "amount": 11.0} for number in range(10)]
    later = [{"client": f"c{number}", "day": 178, "amount": 99.0} for number in range(10)]
    reports = ab_test(tables([*sessions, *later]), as_of=wednesday, **QUICK)
    rows = all_rows(reports["segment_change"])
    assert rows["is_descriptive"].all()
    week = rows[rows["granularity"] == "week"].set_index("outcome")
    assert week["period"].tolist() == [date(2024, 6, 24)] * 2
    assert not week["is_complete"].any()
    assert week.loc["orders", ["treated_value", "control_value", "effect", "n_treated"]].tolist() == [2, 1, 1, 10]
    assert week.loc["payment", ["treated_value", "control_value", "effect"]].tolist() == [8, 5, 3]
    assert week["p_value"].isna().all()  # all did the same: there is no variance to judge by
    day = rows[rows["granularity"] == "day"].set_index("outcome")
    assert day.loc["orders", ["treated_value", "control_value"]].tolist() == [0, 0]
    assert math.isnan(day.loc["payment", "treated_value"])


def test_who_changed_segment_is_left_out() -> None:
    """Of twenty, one stopped ordering weeks ago and so has another segment now."""
    sessions = [
        {"client": f"c{number:02}", "day": day, "amount": 5.0 + number}
        for number in range(20)
        for day in range(7, 176 if number else 120, 1 + number % 5)
    ]
    rows = all_rows(ab_test(tables(sessions), as_of=date(2024, 6, 23), **QUICK)["segment_change"])
    month = rows[(rows["granularity"] == "month") & (rows["outcome"] == "orders")]
    assert 0 < month["n_treated"].sum() < 20


# ── Whatever comes ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_reports_are_as_declared(new_checkout: dict[str, Report], shop_reports: dict[str, Report]) -> None:
    declared = {one.type: one for one in REPORTS}
    for reports in (new_checkout, shop_reports):
        assert list(reports) == list(declared)
        for name, report in reports.items():
            assert tuple(report.rows.columns) == declared[name].fields
            assert {"window", "time_zone", "week_start", "order"} <= set(report.definition)
            assert report.kpis["tests_checked"] > 0
        json.dumps(as_written(reports), allow_nan=False)
    for one in REPORTS:
        for panel in one.panels:
            used = {*panel.series, panel.x, panel.breakdown, *panel.columns, *panel.where}
            assert {name for name in used if name} <= set(one.fields)
            assert panel.how_to_read.endswith(".")
    assert catalogue.analysis("ab_test").reads == ("sessions",)


def test_every_panel_can_be_drawn(new_checkout: dict[str, Report], shop_reports: dict[str, Report]) -> None:
    shown = {**as_written(shop_reports), "experiment": as_written(new_checkout)["experiment"]}
    for one in REPORTS:
        rows = [row for row in shown[one.type] if row["dimension"] == "all"]
        for panel in one.panels:
            drawing = draw(panel, rows, {**SHARED_FIELDS, **module.FIELDS})
            assert (drawing.reason == "") == (one.type != "product"), panel.title  # the shop here has no products


@pytest.mark.parametrize("sessions", [[], [{"client": "a", "day": 10.0, "amount": None}]])
def test_without_orders_there_is_nothing_but_the_reason(sessions: list[dict[str, Any]]) -> None:
    for report in ab_test(tables(sessions), as_of=AS_OF, **QUICK).values():
        assert len(report.rows) == 0
        assert "There is nothing to report up to 2024-06-30." in report.warnings


def test_one_customer_works() -> None:
    one = {"client": "a", "day": 100.0, "amount": 9.0, "promotion_id": "P", "dimension_variant": "new"}
    staged = tables([one, {**one, "day": 160.0}], [("s000000", "Tea")])
    reports = ab_test(staged, as_of=AS_OF, group_column="variant", **QUICK)
    json.dumps(as_written(reports), allow_nan=False)
    assert len(reports["experiment"].rows) == 0
    assert "There are fewer than 60 customers to split: nothing checked." in reports["self_check"].warnings


def test_without_promotions_products_and_controls() -> None:
    plain = ab_test(tables([{"client": "a", "day": 100.0, "amount": 9.0}]), as_of=AS_OF, **QUICK)
    assert "The report needs the column promotion_id of the sessions, which sources.yaml does not map." in (
        plain["promotion"].warnings
    )
    assert plain["promotion_effects"].warnings[1:] == plain["promotion"].warnings[1:]
    assert "The report needs the source products, which sources.yaml does not have." in plain["product"].warnings
    everybody = [
        {"client": f"c{number}", "day": day, "amount": 9.0, "promotion_id": "P"}
        for number in range(40)
        for day in (80, 100, 120)
    ]
    rows = all_rows(ab_test(tables(everybody), as_of=AS_OF, **QUICK)["promotion"])
    matched = rows[rows["comparison"] == MATCHED]
    assert matched["p_value"].isna().all()
    assert matched["is_descriptive"].all()
    assert (matched["n_treated"] == 0).all()
    assert (matched["unmatched_customers"] == 40).all()


def test_constant_values_have_no_p_value() -> None:
    sessions = [
        {"client": f"{group}{number}", "day": 160.0, "amount": 10.0, "dimension_variant": group}
        for group in ("control", "new")
        for number in range(50)
    ]
    rows = all_rows(ab_test(tables(sessions), as_of=AS_OF, group_column="variant", **QUICK)["experiment"])
    tests = rows[rows["method"] != "sample_ratio"]
    assert tests["p_value"].isna().all()
    assert (tests["effect"] == 0).all()
