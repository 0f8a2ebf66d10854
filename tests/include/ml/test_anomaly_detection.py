"""Planted anomalies are found, ordinary days are not, and every report says what it says."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betaprime, norm, t

from include import catalogue
from include.elastic.reports import json_rows
from include.measures.customer_value import UNITS
from include.ml import anomaly_detection as module
from include.ml.anomaly_detection import (
    FIRST_ORDERS,
    FUNNEL,
    LOG_STEPS,
    anomaly_detection,
    departing_amounts,
    fit_amounts,
)
from include.pipeline import analyse
from include.problem import Problem
from include.schemas.reports import SHARED_FIELDS, Report
from include.staging.tables import Tables, tables_from_frames
from tests.tables_of_orders import tables_of

FIRST_DAY, AS_OF = date(2024, 1, 1), date(2024, 5, 19)  # twenty weeks from a Monday
DAYS = (AS_OF - FIRST_DAY).days + 1
PLANTED = date(2024, 4, 10)


def busy_shop(
    seed: int = 3, *, per_day: int = 110, lost: dict[date, str] | None = None, promoted: Any = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sessions and customers of a shop in UTC: a third views a product and half of those order.

    `lost` are days without nine in ten sessions of a region (`*`: without any); `promoted` says of a day which share of
    orders has a promotion.
    """
    random = np.random.default_rng(seed)
    rows = []
    for place in range(DAYS):
        day = FIRST_DAY + timedelta(days=place)
        for _ in range(random.poisson(per_day * (1.3 if day.weekday() == 5 else 1.0))):
            region = "North" if random.random() < 0.6 else "South"
            viewed = random.random() < 0.34
            bought = viewed and random.random() < 0.5
            gone = (lost or {}).get(day)
            if gone == "*" or (gone == region and random.random() < 0.9):
                continue
            uses = bought and promoted is not None and random.random() < promoted(day)
            at = datetime(day.year, day.month, day.day) + timedelta(seconds=int(random.integers(86_400)))
            amount = float(random.gamma(4, 6)) if bought else 0.0
            rows.append((at, f"c{random.integers(20_000):05}", bought, amount, region, viewed, "P1" if uses else None))
    names = ["session_start_date", "client", "has_purchased", "payment_amount", "dimension_region", "action_viewed"]
    sessions = pd.DataFrame(rows, columns=[*names, "promotion_id"])
    sessions["session_start_date"] = sessions["session_start_date"].astype("datetime64[us]")
    sessions["id"] = [f"s{place:06}" for place in range(len(sessions))]
    first = sessions.groupby("client", as_index=False)["session_start_date"].min()
    return sessions, first.rename(columns={"session_start_date": "download_date"})


def run(tables: Tables, as_of: date = AS_OF, **options: Any) -> dict[str, Report]:
    return anomaly_detection(tables, as_of=as_of, **options)


def as_written(reports: dict[str, Report]) -> dict[str, list[dict[str, Any]]]:
    fields = {**SHARED_FIELDS, **module.FIELDS}
    return {one.type: json_rows(one, reports[one.type].rows, fields, "anomaly_detection") for one in module.REPORTS}


def found(reports: dict[str, Report], dimension: str = "all") -> list[tuple[date, str, str, Any]]:
    rows = reports["anomalies"].rows
    rows = rows[rows["dimension"] == dimension]
    return list(zip(rows["period"], rows["series"], rows["direction"], rows["explained_by"], strict=True))


def odd_funnel_days(reports: dict[str, Report], dimension: str = "all") -> list[tuple[date, str, str]]:
    rows = reports["funnel_days"].rows
    rows = rows[(rows["dimension"] == dimension) & rows["is_anomaly"].astype(bool)]
    return list(zip(rows["period"], rows["main_step"], rows["direction"], strict=True))


@pytest.fixture(scope="module")
def quiet_shop() -> tuple[pd.DataFrame, pd.DataFrame]:
    return busy_shop()


@pytest.fixture(scope="module")
def odd_shop() -> tuple[pd.DataFrame, pd.DataFrame]:
    return busy_shop(lost={PLANTED: "North"})


@pytest.fixture(scope="module")
def odd_reports(odd_shop: tuple[pd.DataFrame, pd.DataFrame]) -> dict[str, Report]:
    return run(tables_from_frames(*odd_shop))


def test_the_catalogue_knows_it() -> None:
    assert catalogue.analysis("anomaly_detection").reads == ("sessions", "customers")


def test_reports_are_as_declared(odd_reports: dict[str, Report]) -> None:
    for one in module.REPORTS:
        report = odd_reports[one.type]
        assert tuple(report.rows.columns) == one.fields
        assert len(report.rows) or one.type == "customer_departures"
        assert not report.rows.duplicated(list(one.key)).any()
        assert {"window", "time_zone", "week_start", "order"} <= set(report.definition)
    for rows in as_written(odd_reports).values():
        assert all(value is not None and value == value for row in rows for value in row.values())


def test_panels_are_over_fields_of_their_report(odd_reports: dict[str, Report]) -> None:
    for one in module.REPORTS:
        rows = odd_reports[one.type].rows
        for panel in one.panels:
            used = {*panel.series, panel.x, panel.breakdown, panel.color, *(panel.band or ()), *panel.columns}
            assert {name for name in used if name} | set(panel.where) <= set(one.fields)
            assert panel.how_to_read.endswith(".")
            shown = rows[rows["dimension"] == "all"]
            for name, value in panel.where.items():
                shown = shown[shown[name] == value]
            assert len(shown) <= 1_000


def test_a_shop_without_anomalies_has_none(quiet_shop: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    reports = run(tables_from_frames(*quiet_shop))
    assert found(reports) == []
    assert odd_funnel_days(reports) == []
    assert reports["anomalies"].kpis["newest_anomalies"] == 0
    assert module.alerts(reports) == []
    assert len(reports["daily_series"].rows) > 500
    judged = reports["daily_series"].rows.query("is_judged")
    assert judged["score"].notna().all()
    assert len(judged) == reports["daily_series"].rows["score"].notna().sum() > 0


def test_an_anomaly_is_explained_by_the_dimension_value_behind_it(odd_reports: dict[str, Report]) -> None:
    [(day, series, direction, explained)] = [one for one in found(odd_reports) if one[1] == "sessions"]
    assert (day, series, direction) == (PLANTED, "sessions", "below")
    assert explained is not None
    assert explained.startswith("region: North (")
    assert {one[0] for one in found(odd_reports)} == {PLANTED}
    assert (PLANTED, "sessions") in [one[:2] for one in found(odd_reports, "region: North")]
    assert found(odd_reports, "region: South") == []
    row = odd_reports["anomalies"].rows.query("dimension == 'all' and series == 'sessions'").iloc[0]
    assert row["actual"] < row["band_low"] < row["expected"] < row["band_high"]
    assert row["departure_rate"] == pytest.approx(row["actual"] / row["expected"] - 1)
    assert row["q_value"] <= 0.05


def test_a_failure_of_everybody_is_explained_by_nobody() -> None:
    sessions, customers = busy_shop()
    lost = (sessions["session_start_date"].dt.date == PLANTED) & (np.arange(len(sessions)) % 4 > 0)
    reports = run(tables_from_frames(sessions[~lost], customers))
    [explained] = [one[3] for one in found(reports) if one[1] == "sessions"]
    assert explained is None


def test_a_checkout_that_fails_shows_as_its_step() -> None:
    sessions, customers = busy_shop(seed=4, per_day=150)
    failed = (sessions["session_start_date"].dt.date == PLANTED) & (np.arange(len(sessions)) % 10 > 0)
    sessions.loc[failed, ["has_purchased", "payment_amount"]] = [False, 0.0]
    reports = run(tables_from_frames(sessions, customers))
    assert odd_funnel_days(reports) == [(PLANTED, "orders out of viewed", "below")]
    assert "orders" in {one[1] for one in found(reports)}
    assert {one[0] for one in found(reports)} == {PLANTED}


def test_the_newest_day_is_a_report_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, customers = busy_shop()
    spike = sessions[sessions["session_start_date"].dt.date == AS_OF]
    twice = [spike.assign(id=spike["id"] + f"-{again}") for again in range(2)]
    reports = run(tables_from_frames(pd.concat([sessions, *twice]), customers))
    rows = reports["newest_period"].rows.query("dimension == 'all'").set_index("series")
    assert rows.loc["sessions", "period"] == AS_OF
    assert rows.loc["sessions", "is_anomaly"]
    assert rows.loc["sessions", "direction"] == "above"
    # The newest cohort whose window is over.
    assert rows.loc[FIRST_ORDERS, "period"] == AS_OF - timedelta(days=7)
    assert FUNNEL in rows.index
    assert reports["newest_period"].kpis["newest_anomalies"] >= 1
    said = module.alerts(reports)
    assert len(said) == reports["newest_period"].kpis["newest_anomalies"]
    values = rows.loc["sessions"]
    deviations = f"({values['score']:+.1f} standard deviations)"
    assert f"sessions on 2024-05-19: {values['actual']:,.0f}, expected {values['expected']:,.0f} {deviations}" in said
    # They are what the task hands to the one that ends the run.
    monkeypatch.setattr(analyse, "connect", lambda: None)
    monkeypatch.setattr(analyse, "write_report", lambda *_, **__: SimpleNamespace(rows=0))
    here: Any = SimpleNamespace(run_id="a", started_at=datetime(2024, 5, 20, tzinfo=UTC), dimensions=())
    assert analyse.write("anomaly_detection", reports, run=here, report_date=AS_OF)["alerts"] == said


def test_a_day_that_is_loaded_in_part_is_no_alert(quiet_shop: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    sessions, customers = quiet_shop
    noon = datetime(AS_OF.year, AS_OF.month, AS_OF.day, 12)
    reports = run(
        tables_from_frames(
            sessions[sessions["session_start_date"] < noon], customers[customers["download_date"] < noon]
        )
    )
    assert module.alerts(reports) == []
    newest = reports["newest_period"].rows.query("dimension == 'all' and series == 'sessions'")
    assert newest["period"].tolist() == [AS_OF - timedelta(days=1)]
    rows = reports["daily_series"].rows.query("dimension == 'all' and series == 'sessions'")
    assert rows["is_complete"].tolist() == [True] * (len(rows) - 1) + [False]
    assert any("2024-05-19 was not loaded to its end" in one for one in reports["newest_period"].warnings)


def test_a_customer_who_orders_far_more_than_predicted_is_named() -> None:
    random = np.random.default_rng(6)
    rows = []
    for number in range(300):
        rate = random.gamma(1.5, 0.02)
        days = [0, *np.flatnonzero(random.random(DAYS) < rate)]
        rows += [(f"c{number:03}", FIRST_DAY + timedelta(days=int(day)), "North") for day in sorted(set(days))]
    # Once before the last 46 days (a third of all), then every other day; and another every day until then, then never.
    eager = [0, *range(DAYS - 44, DAYS, 2)]
    rows += [("eager", FIRST_DAY + timedelta(days=day), "South") for day in eager]
    rows += [("gone", FIRST_DAY + timedelta(days=day), "South") for day in range(DAYS - 47)]
    sessions = pd.DataFrame(rows, columns=["client", "day", "dimension_region"])
    sessions["session_start_date"] = pd.to_datetime(sessions.pop("day")).astype("datetime64[us]")
    sessions = sessions.assign(
        id=[str(place) for place in range(len(sessions))], has_purchased=True, payment_amount=9.0
    )
    first = sessions.groupby("client", as_index=False)["session_start_date"].min()
    tables = tables_from_frames(sessions, first.rename(columns={"session_start_date": "download_date"}))
    report = run(tables)["customer_departures"]
    rows_of_all = report.rows.query("dimension == 'all'")
    named = rows_of_all.set_index("client")
    assert set(named.index) == {"eager", "gone"}
    assert (named.loc["eager", "order_days_made"], named.loc["eager", "order_days_before"]) == (22, 1)
    assert named.loc["eager", "direction"] == "above"
    assert (named.loc["gone", "order_days_made"], named.loc["gone", "order_days_before"]) == (0, DAYS - 47)
    assert named.loc["gone", "direction"] == "below"
    assert named.loc["gone", "order_days_predicted"] > 20
    fitted = dict(report.definition["customer_model"])
    assert fitted.pop("model") == "modified BG/NBD"
    assert fitted.pop("fitted_up_to") == (AS_OF - timedelta(days=DAYS // 3)).isoformat()
    assert fitted.pop("log_likelihood") < 0
    assert set(fitted) == {"r", "alpha_days", "a", "b"}
    assert min(fitted.values()) > 0
    assert set(report.definition["libraries"]) == {"scipy", "numpy"}
    assert run(tables, customers_kept=1)["customer_departures"].rows.query("dimension == 'all'")["client"].tolist() == [
        rows_of_all["client"].iloc[0]
    ]


CUT = DAYS - DAYS // 3  # the first day of the newest third, in which customers are held to what they did before


def orders_of_customers(seed: int, *, customers: int = 250, spread: str = "gamma") -> pd.DataFrame:
    """client, day, amount, dimension_region of customers with a level of their own and no change of it.

    Around the level amounts are Gamma, log-normal, or log-normal with a deviation of the customer's own.
    """
    random = np.random.default_rng(seed)
    rows = []
    for number in range(customers):
        level = 1 / random.gamma(3.744, 1 / 15.444)
        deviation = {"gamma": 0.0, "lognormal": 0.5, "own": np.exp(random.uniform(np.log(0.1), 0))}[spread]
        before = random.choice(CUT, 1 + random.poisson(4), replace=False)
        after = CUT + random.choice(DAYS - CUT, random.poisson(2), replace=False)
        for day in sorted([*before, *after]):
            amount = random.gamma(6.25) if spread == "gamma" else 6 * np.exp(random.normal(0, deviation))
            rows.append((f"c{number:03}", day, round(level * amount, 2), "North" if number % 2 else "South"))
    return _dated(rows)


def _dated(rows: list[tuple[str, Any, float | None, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["client", "day", "amount", "dimension_region"])
    days = frame["day"].astype("int64")
    return frame.assign(day=pd.Timestamp(FIRST_DAY) + pd.to_timedelta(days, unit="D"))


def changed(name: str, before: list[float | None], after: list[float | None]) -> pd.DataFrame:
    """A customer with one order each three days before the cut, and each three days from it."""
    rows = [(name, CUT - 3 * place - 1, amount, "North") for place, amount in enumerate(before)]
    rows += [(name, CUT + 3 * place, amount, "North") for place, amount in enumerate(after)]
    return _dated(rows)


def departing(orders: pd.DataFrame, dimension: str = "all", **options: Any) -> tuple[pd.DataFrame, Report]:
    """The rows of customers whose amounts depart, by client, and their report."""
    report = run(tables_of(orders), **options)["customer_departures"]
    rows = report.rows[(report.rows["dimension"] == dimension) & (report.rows["measure"] == "monetary")]
    return rows.set_index("client"), report


def test_customers_who_suddenly_pay_ten_times_as_much_or_a_tenth_are_named() -> None:
    found = changed("tenfold", [30, 50, 25, 40, 35], [400, 300, 380])
    lost = changed("tenth", [30, 50, 25, 40, 35], [4, 3, 3.8])
    named, report = departing(pd.concat([orders_of_customers(1), found, lost]))
    assert set(named.index) == {"tenfold", "tenth"}
    assert named["direction"].to_dict() == {"tenfold": "above", "tenth": "below"}
    # (30 + 50 + 25 + 40 + 35) / 5 = 36, (400 + 300 + 380) / 3 = 360, and a hundredth of that.
    assert named["amount_before"].to_dict() == {"tenfold": 36, "tenth": 36}
    assert named["amount_made"].to_dict() == {"tenfold": 360, "tenth": 3.6}
    assert named[["order_days_before", "order_days_made"]].to_numpy().tolist() == [[5, 3], [5, 3]]
    assert named["order_days_predicted"].isna().all()
    assert (named["q_value"] <= 0.02).all()
    model = report.definition["amount_model"]
    # What is expected is drawn from their own mean towards that of all: p (v + S) / (p x + q - 1), x = 5, S = 180.
    drawn_in = model["p"] * (model["v"] + 180) / (model["p"] * 5 + model["q"] - 1)
    assert named["amount_predicted"].to_numpy() == pytest.approx([drawn_in, drawn_in], rel=1e-4)
    assert model["fitted_up_to"] == (FIRST_DAY + timedelta(days=CUT - 1)).isoformat()
    assert report.kpis["customers_departing"] == report.rows.query("dimension == 'all'")["client"].nunique()


def test_what_is_judged_is_not_what_the_model_was_fitted_on() -> None:
    """Amounts after the cut move no parameter; those before do."""
    orders = orders_of_customers(2)
    later = is_later(orders)
    _, report = departing(orders)
    _, of_other_days = departing(orders.assign(amount=orders["amount"].where(~later, 7 * orders["amount"])))
    _, of_other_history = departing(orders.assign(amount=orders["amount"].where(later, 7 * orders["amount"])))
    assert of_other_days.definition["amount_model"] == report.definition["amount_model"]
    assert of_other_history.definition["amount_model"] != report.definition["amount_model"]


def test_which_customers_amounts_are_judged() -> None:
    """Nobody without a paid order before, and no refunds and no amounts that are unknown; who ordered once is."""
    steady = [12.0] * 8
    special = [
        changed("new", [], [900, 900, 900]),
        changed("never paid", [0, None, -5], [900, 900, 900]),
        changed("refunded", steady, [12.5, -4_000, 12]),
        changed("unknown", steady, [None, None]),
        changed("quiet", steady, []),
        changed("as ever", steady, [12, 12, 12]),
        changed("once", [20], [1_500, 1_600, 1_400]),
        changed("fixed price", steady, [120, 120, 120]),
    ]
    orders = pd.concat([orders_of_customers(3), *special])
    named, _ = departing(orders)
    assert set(named.index) == {"once", "fixed price"}
    assert named.loc["once", "amount_before"] == 20
    # Two orders of a day are one: 6 and 6 are 12, as ever; 60 and 60 are 120.
    is_split = orders["client"].isin(["as ever", "fixed price"])
    halved = orders.assign(amount=orders["amount"].where(~is_split, orders["amount"] / 2))
    pd.testing.assert_frame_equal(departing(pd.concat([halved, halved[is_split]]))[0], named)


def test_a_second_computation_of_the_amounts() -> None:
    orders = pd.concat(
        [
            orders_of_customers(4),
            changed("tenfold", [30, 50, 25, 40, 35], [400, 300, 380]),
            changed("tenth", [30, 50, 25], [4, 3, 3.8]),
        ]
    )
    named, report = departing(orders)
    model = report.definition["amount_model"]
    p, q, v = model["p"], model["q"], model["v"]
    a, b = model["spread_shape"], model["spread_scale"]
    daily = orders.groupby(["client", "day"])["amount"].sum().reset_index()
    cut = pd.Timestamp(FIRST_DAY) + pd.Timedelta(days=CUT)
    p_values, expected = {}, {}
    for client, own in daily.groupby("client"):
        before, after = own.loc[own["day"] < cut, "amount"], own.loc[own["day"] >= cut, "amount"]
        x, n = len(before), len(after)
        if not n:
            continue
        total = betaprime(p * n, p * x + q, scale=v + before.sum())
        squares = max(((np.log(before) - np.log(before).mean()) ** 2).sum(), (x - 1) * 0.05**2)
        freedom = 2 * a + x - 1
        error = np.sqrt((2 * b + squares) / freedom * (1 / n + 1 / x))
        difference = t(freedom, loc=np.log(before).mean(), scale=error)
        as_much = max(total.sf(after.sum()), difference.sf(np.log(after).mean()))
        as_little = max(total.cdf(after.sum()), difference.cdf(np.log(after).mean()))
        p_values[client] = min(2 * min(as_much, as_little), 1)
        expected[client] = p * (v + before.sum()) / (p * x + q - 1)
    deviates = norm.isf(np.array(list(p_values.values())) / 2)
    assert np.median(np.abs(deviates)) / norm.ppf(0.75) < 1  # so that nothing is to be corrected for
    ranked = sorted((value, client) for client, value in p_values.items())
    q_values = {
        client: min(later * len(ranked) / (place + ahead) for ahead, (later, _) in enumerate(ranked[place - 1 :]))
        for place, (_, client) in enumerate(ranked, start=1)
    }
    assert set(named.index) == {client for client, value in q_values.items() if value <= 0.02} >= {"tenfold", "tenth"}
    for client, row in named.iterrows():
        assert row["p_value"] == pytest.approx(p_values[client], rel=0.02)  # amounts are logarithms to four digits
        assert row["q_value"] == pytest.approx(q_values[client], rel=0.02)
        assert row["amount_predicted"] == pytest.approx(expected[client], rel=1e-4)


def sums_of(orders: pd.DataFrame) -> pd.DataFrame:
    """Per customer what `fit_amounts` and `departing_amounts` take; of customers with an order before the cut."""
    units = (orders["amount"] * UNITS).round().astype("int64")
    logs = (np.log(units) * LOG_STEPS).round().astype("int64")
    later = is_later(orders)
    columns = {
        "number_before": ~later,
        "units_before": units.where(~later, 0),
        "logs_before": logs.where(~later, 0),
        "log_squares": (logs**2).where(~later, 0),
        "number_made": later,
        "units_made": units.where(later, 0),
        "logs_made": logs.where(later, 0),
    }
    return pd.DataFrame(columns).astype("int64").groupby(orders["client"]).sum()


def is_later(orders: pd.DataFrame) -> pd.Series:
    return orders["day"] >= pd.Timestamp(FIRST_DAY) + pd.Timedelta(days=CUT)


@pytest.mark.parametrize("spread", ["gamma", "lognormal", "own"])
def test_nobodys_amounts_depart_in_shops_without_a_change(spread: str) -> None:
    """At a rate of 2 % one of the fifty shops may show somebody; five or more of them have a chance of 0.3 %."""
    shows = 0
    for seed in range(50):
        customers = sums_of(orders_of_customers(100 + seed, spread=spread))
        model, warnings = fit_amounts(customers)
        assert model is not None
        assert warnings == []
        shows += len(departing_amounts(customers, model, 0.02)) > 0
    assert shows < 5


@pytest.mark.parametrize(("spread", "fewest"), [("gamma", 0.95), ("lognormal", 0.9)])
def test_of_many_planted_customers_nearly_all_are_found_and_hardly_anybody_else(spread: str, fewest: float) -> None:
    """Ten customers in each of ten shops pay ten times as much, and ten others a tenth; with three orders and two."""
    hits, named, there = 0, 0, 0
    for seed in range(10):
        orders = orders_of_customers(200 + seed, spread=spread)
        counts = sums_of(orders)
        able = counts.index[(counts["number_before"] >= 3) & (counts["number_made"] >= 2)]
        chosen = np.random.default_rng(seed).choice(able, 20, replace=False)
        factor = orders["client"].map(dict.fromkeys(chosen[:10], 10.0) | dict.fromkeys(chosen[10:], 0.1)).fillna(1.0)
        customers = sums_of(orders.assign(amount=orders["amount"] * factor.where(is_later(orders), 1.0)))
        model, _ = fit_amounts(customers)
        assert model is not None
        found = departing_amounts(customers, model, 0.02)
        right = dict.fromkeys(chosen[:10], "above") | dict.fromkeys(chosen[10:], "below")
        hits += sum(right.get(client) == direction for client, direction in found["direction"].items())
        named += len(found)
        there += len(chosen)
    assert hits / there >= fewest
    assert hits / named >= 0.95


@pytest.mark.parametrize("dearer", [1.4, 3.0])
def test_what_moves_everybody_is_no_departure(dearer: float) -> None:
    """From the cut on everything costs more; who pays ten times as much still departs where it is not far more."""
    orders = orders_of_customers(5)
    later = is_later(orders)
    moved = orders.assign(amount=orders["amount"].where(~later, dearer * orders["amount"]))
    assert len(departing(moved)[0]) == 0
    if dearer < 2:
        tenfold = changed("tenfold", [30, 50, 25, 40, 35], [400, 300, 380])
        assert set(departing(pd.concat([moved, tenfold]))[0].index) == {"tenfold"}


def test_amounts_of_a_tiny_shop_and_of_one_without_amounts_are_not_judged() -> None:
    tenfold = changed("tenfold", [30, 50, 25, 40, 35], [400, 300, 380])
    named, report = departing(pd.concat([orders_of_customers(6, customers=12), tenfold]))
    said = "Amounts of customers are not judged: fewer than 20 customers paid on two days before."
    assert (len(named), report.definition["amount_model"]) == (0, "none")
    assert said in report.warnings
    named, report = departing(orders_of_customers(6).assign(amount=None))
    assert len(named) == 0
    assert said in report.warnings


def test_amounts_per_dimension_value_and_how_many_are_kept() -> None:
    orders = pd.concat(
        [
            orders_of_customers(7),
            changed("first", [30, 50, 25, 40, 35], [4_000, 3_000, 3_800]),
            changed("second", [30, 50, 25, 40, 35], [400, 300, 380]),
        ]
    )
    named, _ = departing(orders, "region: North")
    own = orders[orders["dimension_region"] == "North"].drop(columns="dimension_region")
    pd.testing.assert_frame_equal(named.drop(columns="dimension"), departing(own)[0].drop(columns="dimension"))
    assert list(named.index) == ["first", "second"]
    assert len(departing(orders, "region: South")[0]) == 0
    assert list(departing(orders, customers_kept=1)[0].index) == ["first"]


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_neither_the_order_of_rows_nor_names_decide_whose_amounts_depart(seed: int) -> None:
    orders = pd.concat(
        [
            orders_of_customers(8, customers=60),
            changed("tenfold", [30, 50, 25, 40, 35], [400, 300, 380]),
            changed("tenth", [30, 50, 25, 40, 35], [4, 3, 3.8]),
        ]
    )
    expected, _ = departing(orders)
    assert len(expected) > 0
    random = np.random.default_rng(seed)
    clients = orders["client"].unique()
    names = dict(zip(clients, [f"x{place:03}" for place in random.permutation(len(clients))], strict=True))
    shuffled = orders.iloc[random.permutation(len(orders))]
    found, _ = departing(shuffled.assign(client=shuffled["client"].map(names)))
    pd.testing.assert_frame_equal(
        found.loc[[names[client] for client in expected.index]].reset_index(drop=True), expected.reset_index(drop=True)
    )


def test_days_without_any_session_were_not_recorded() -> None:
    gone = {date(2024, 3, 6): "*", date(2024, 3, 7): "*"}
    reports = run(tables_from_frames(*busy_shop(lost=gone)))
    assert found(reports) == []
    rows = reports["daily_series"].rows.query("dimension == 'all' and series == 'sessions'")
    assert not set(rows["period"]) & set(gone)
    said = "2 days have no session at all (2024-03-06, 2024-03-07) and are taken as not recorded."
    assert said in reports["anomalies"].warnings


def test_a_campaign_and_a_holiday_are_no_anomalies() -> None:
    def promoted(day: date) -> float:
        return 0.6 if date(2024, 3, 4) <= day <= date(2024, 3, 13) else 0.0

    sessions, customers = busy_shop(per_day=150, promoted=promoted)
    at = sessions["session_start_date"].dt.date == PLANTED
    kept = ~at | (np.arange(len(sessions)) % 4 == 0)
    tables = tables_from_frames(sessions[kept], customers)
    assert {one[0] for one in found(run(tables))} == {PLANTED}
    reports = run(tables, holidays=("04-10", "2024-12-25"))
    assert found(reports) == []
    assert any("holidays or short campaigns are shown and not judged" in one for one in reports["anomalies"].warnings)


@pytest.mark.parametrize("text", ["25.12.", "2024-02-30", "02-30", "christmas"])
def test_a_holiday_that_is_no_day_is_named(quiet_shop: tuple[pd.DataFrame, pd.DataFrame], text: str) -> None:
    with pytest.raises(Problem, match=r"ANOMALY_HOLIDAYS has '.*', which is no day; write 2025-12-25"):
        run(tables_from_frames(*quiet_shop), holidays=(text,))


def test_a_short_series_is_shown_and_not_judged(quiet_shop: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    reports = run(tables_from_frames(*quiet_shop), as_of=FIRST_DAY + timedelta(days=30))
    assert found(reports) == []
    rows = reports["daily_series"].rows
    assert rows["expected"].isna().all()
    assert not rows["is_judged"].any()
    assert rows["actual"].notna().all()
    assert any("fewer than 56 days: sessions" in one for one in reports["daily_series"].warnings)


def test_the_order_of_rows_and_the_names_of_clients_do_not_matter(
    odd_shop: tuple[pd.DataFrame, pd.DataFrame], odd_reports: dict[str, Report]
) -> None:
    sessions, customers = odd_shop
    names = {client: f"x{99_999 - place}" for place, client in enumerate(sorted(customers["client"]))}
    shuffled = sessions.sample(frac=1, random_state=1).assign(client=lambda frame: frame["client"].map(names))
    renamed = customers.assign(client=customers["client"].map(names))[::-1]
    assert as_written(run(tables_from_frames(shuffled, renamed))) == as_written(odd_reports)


def test_a_dimension_value_is_as_though_only_its_sessions_existed(
    odd_shop: tuple[pd.DataFrame, pd.DataFrame], odd_reports: dict[str, Report]
) -> None:
    sessions, customers = odd_shop
    ordered = sessions.sort_values(["session_start_date", "id"])
    first = ordered.drop_duplicates("client").set_index("client")["dimension_region"]
    own = sessions[sessions["dimension_region"] == "South"].drop(columns="dimension_region")
    members = customers[customers["client"].map(first) == "South"]
    alone = run(tables_from_frames(own, members))
    for name, report in alone.items():
        rows = odd_reports[name].rows
        part = rows[rows["dimension"] == "region: South"].drop(columns=["dimension", "explained_by"], errors="ignore")
        expected = report.rows.drop(columns=["dimension", "explained_by"], errors="ignore")
        pd.testing.assert_frame_equal(part.reset_index(drop=True), expected, check_dtype=False)


def test_what_comes_after_the_report_date_does_not_count(odd_shop: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    sessions, customers = odd_shop
    cut = datetime(AS_OF.year, AS_OF.month, AS_OF.day) - timedelta(days=6)
    early = run(
        tables_from_frames(sessions[sessions["session_start_date"] < cut], customers[customers["download_date"] < cut]),
        as_of=(cut - timedelta(days=1)).date(),
    )
    late = run(tables_from_frames(sessions, customers), as_of=(cut - timedelta(days=1)).date())
    assert as_written(early) == as_written(late)


def test_nothing_gives_no_rows_and_one_customer_works() -> None:
    sessions, customers = busy_shop(per_day=1)
    for report in run(tables_from_frames(sessions[:0], customers[:0])).values():
        assert len(report.rows) == 0
        assert f"There is nothing to report up to {AS_OF}." in report.warnings
    one = run(tables_from_frames(sessions[:1], customers[customers["client"] == sessions["client"][0]]))
    assert len(one["daily_series"].rows) > 0
    assert found(one) == []


def test_time_zones_decide_what_a_day_is() -> None:
    at = datetime(2024, 1, 1, 23, 30, tzinfo=UTC).replace(tzinfo=None)
    sessions = pd.DataFrame(
        {
            "id": ["1"],
            "client": ["a"],
            "session_start_date": pd.Series([at], dtype="datetime64[us]"),
            "has_purchased": [False],
            "payment_amount": [0.0],
        }
    )
    customers = pd.DataFrame({"client": ["a"], "download_date": pd.Series([at], dtype="datetime64[us]")})
    reports = run(tables_from_frames(sessions, customers, time_zone="Europe/Berlin"), as_of=date(2024, 1, 2))
    assert reports["daily_series"].rows.query("series == 'sessions'")["period"].tolist() == [date(2024, 1, 2)]


def test_the_simulated_shop(simulated_shop: Any) -> None:
    """Found in the tables of a whole shop, campaigns and all: the planted days."""
    reports = run(simulated_shop.tables, as_of=simulated_shop.as_of)
    planted = {one.day for one in simulated_shop.shop.anomalies}
    days = {one[0] for one in found(reports)} | {one[0] for one in odd_funnel_days(reports)}
    assert planted <= days
    assert len(days - planted) <= 1  # of 6,000 days of series, at a rate of 2 %
    named = {day: (step, direction) for day, step, direction in odd_funnel_days(reports)}
    failure = next(one.day for one in simulated_shop.shop.anomalies if one.kind == "checkout_failure")
    assert named[failure] == ("orders out of began_checkout", "below")
