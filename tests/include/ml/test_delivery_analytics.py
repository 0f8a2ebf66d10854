"""Deliveries worked out by hand, planted delays, and what sources get wrong."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include import catalogue
from include.elastic.reports import json_rows
from include.ml import delivery_analytics as module
from include.ml.delivery_analytics import delivery_analytics
from include.schemas.reports import SHARED_FIELDS, Report
from include.staging.tables import Tables, tables_from_frames

AS_OF = date(2024, 3, 31)
MONDAY = datetime(2024, 3, 4)
MUNICH, HAMBURG = (48.14, 11.58), (53.55, 9.99)
COLUMNS = ["id", "client", "session_start_date", "has_purchased", "payment_amount", "dimension_region"]


def tables_of(
    orders: list[tuple[str, str, datetime, str]],
    deliveries: list[dict[str, Any]],
    *,
    without: tuple[str, ...] = (),
    **calendar: Any,
) -> Tables:
    """Orders (id, client, instant, region) and deliveries (id, then prepared, delivered, returned, place)."""
    rows = [(one, client, at, True, 10.0, region) for one, client, at, region in orders]
    sessions = pd.DataFrame(rows, columns=COLUMNS).astype({"id": "str", "client": "str", "has_purchased": "bool"})
    sessions["session_start_date"] = pd.to_datetime(sessions["session_start_date"]).astype("datetime64[us]")
    customers = sessions.groupby("client", as_index=False)["session_start_date"].min()
    sent = pd.DataFrame(
        {
            "order_id": pd.Series([one["id"] for one in deliveries], dtype="str"),
            **{
                name: pd.Series([one.get(name) for one in deliveries], dtype="datetime64[us]")
                for name in ("prepare_date", "delivery_date", "return_date")
            },
            "latitude": pd.Series([one.get("place", (None, None))[0] for one in deliveries], dtype="float64"),
            "longitude": pd.Series([one.get("place", (None, None))[1] for one in deliveries], dtype="float64"),
        }
    )
    customers = customers.rename(columns={"session_start_date": "download_date"})
    return tables_from_frames(sessions, customers, deliveries=sent.drop(columns=list(without)), **calendar)


def run(tables: Tables, as_of: date = AS_OF, **options: Any) -> dict[str, Report]:
    return delivery_analytics(tables, as_of=as_of, **options)


def rows_of(reports: dict[str, Report], name: str, dimension: str = "all") -> pd.DataFrame:
    rows = reports[name].rows
    return rows[rows["dimension"] == dimension].drop(columns="dimension").reset_index(drop=True)


def as_written(reports: dict[str, Report]) -> dict[str, list[dict[str, Any]]]:
    fields = {**SHARED_FIELDS, **module.FIELDS}
    return {one.type: json_rows(one, reports[one.type].rows, fields, "delivery_analytics") for one in module.REPORTS}


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


@pytest.fixture
def by_hand() -> Tables:
    """Four orders on a Monday: three delivered (one returned), one under way since the 30th."""
    orders = [
        ("1", "a", MONDAY + hours(9), "North"),
        ("2", "a", MONDAY + hours(9.5), "North"),
        ("3", "b", MONDAY + hours(18), "South"),
        ("4", "c", datetime(2024, 3, 30, 12), "South"),
    ]
    deliveries = [
        {"id": "1", "prepare_date": MONDAY + hours(10), "delivery_date": MONDAY + hours(12), "place": HAMBURG},
        {"id": "2", "prepare_date": MONDAY + hours(12.5), "delivery_date": MONDAY + hours(13.5), "place": HAMBURG},
        {
            "id": "3",
            "prepare_date": MONDAY + hours(20),
            "delivery_date": MONDAY + hours(26),
            "return_date": MONDAY + hours(74),
            "place": MUNICH,
        },
    ]
    return tables_of(orders, deliveries)


@pytest.fixture(scope="module")
def shop_reports(simulated_shop: Any) -> dict[str, Report]:
    return run(simulated_shop.tables, as_of=simulated_shop.as_of, promise_hours=8.0)


def test_the_catalogue_knows_it() -> None:
    assert catalogue.analysis("delivery_analytics").reads == ("sessions", "deliveries")


def test_durations_by_hand(by_hand: Tables) -> None:
    rows = rows_of(run(by_hand), "durations").set_index("duration")
    # Prepare 1, 3, 2; ride 2, 1, 6; deliver 3, 4, 8; return 48 hours.
    assert rows["n"].to_dict() == {"prepare": 3, "ride": 3, "deliver": 3, "return": 1}
    assert rows["median_taken_hours"].to_dict() == {"prepare": 2, "ride": 2, "deliver": 4, "return": 48}
    assert rows["mean_taken_hours"].to_dict() == {"prepare": 2, "ride": 3, "deliver": 5, "return": 48}
    assert rows.loc["deliver", "p90_hours"] == pytest.approx(4 + 0.8 * 4)
    assert rows["median_taken_low_hours"].isna().all()  # three values bound no median
    assert run(by_hand)["durations"].kpis["median_deliver_hours"] == 4


def test_outcomes_by_hand(by_hand: Tables) -> None:
    rows = rows_of(run(by_hand, promise_hours=5), "outcomes").set_index("delivery_outcome")
    # Delivered within 5 hours: two of three; the fourth has waited 36 hours without a delivery, so it is late.
    assert tuple(rows.loc["on time", ["numerator", "denominator", "rate"]]) == (2, 4, 0.5)
    assert tuple(rows.loc["returned", ["numerator", "denominator"]]) == (1, 3)
    assert rows_of(run(by_hand), "outcomes")["delivery_outcome"].tolist() == ["returned"]
    # A promise of 48 hours is not over for the fourth.
    late = rows_of(run(by_hand, promise_hours=48), "outcomes").set_index("delivery_outcome")
    assert tuple(late.loc["on time", ["numerator", "denominator"]]) == (3, 3)


def test_waiting_by_hand(by_hand: Tables) -> None:
    rows = rows_of(run(by_hand), "waiting")
    # Three of four arrive after 3, 4 and 8 hours; the fourth still waits after 36.
    assert rows["waited_hours"].tolist() == [0, 3, 4, 8]
    assert rows["rate"].tolist() == [1, 0.75, 0.5, 0.25]
    assert rows["n"].tolist() == [4, 4, 3, 2]


def test_weekday_and_hour_by_hand(by_hand: Tables) -> None:
    rows = rows_of(run(by_hand), "weekday_hours")
    found = list(
        rows[["duration", "weekday", "hour_of_day", "n", "median_taken_hours"]].itertuples(index=False, name=None)
    )
    assert found == [
        ("prepare", "Monday", 9, 2, 2.0),
        ("prepare", "Monday", 18, 1, 2.0),
        ("ride", "Monday", 9, 2, 1.5),
        ("ride", "Monday", 18, 1, 6.0),
        ("deliver", "Monday", 9, 2, 3.5),
        ("deliver", "Monday", 18, 1, 8.0),
    ]


def test_places_by_hand(by_hand: Tables) -> None:
    rows = rows_of(run(by_hand), "places").set_index("place")
    # geohash.org: Hamburg is in u1x0, Munich in u281.
    assert rows["n"].to_dict() == {"u1x0": 2, "u281": 1}
    assert rows["customers"].to_dict() == {"u1x0": 1, "u281": 1}
    assert rows["place_verdict"].unique().tolist() == ["too few"]
    assert abs(rows.loc["u281", "latitude"] - MUNICH[0]) < 0.09
    assert abs(rows.loc["u281", "longitude"] - MUNICH[1]) < 0.18
    counted = rows_of(run(by_hand), "locations")
    assert counted[["places", "n"]].to_numpy().tolist() == [[2, 3]]
    # As Elasticsearch reads a geo_point: latitude first.
    for row in rows.itertuples():
        assert row.location == f"{row.latitude},{row.longitude}"


def test_what_sources_get_wrong_is_left_out_and_said() -> None:
    at = MONDAY + hours(9)
    orders = [(str(number), "a", at, "North") for number in range(5)]
    orders.append(("old", "b", datetime(2024, 3, 1), "North"))
    deliveries: list[dict[str, Any]] = [
        {"id": "0", "prepare_date": at + hours(1), "delivery_date": at + hours(2), "place": HAMBURG},
        {"id": "1", "prepare_date": at + hours(1), "delivery_date": at - hours(1), "place": HAMBURG},
        {"id": "2", "prepare_date": at - hours(1), "delivery_date": at + hours(2)},
        {"id": "3", "delivery_date": datetime(2024, 4, 2), "place": HAMBURG},  # after the report date
        {"id": "4", "prepare_date": at, "delivery_date": at, "place": (91.0, 0.0)},
        {"id": "nobody's", "delivery_date": at},
    ]
    reports = run(tables_of(orders, deliveries))
    rows = rows_of(reports, "durations").set_index("duration")
    assert rows["n"].to_dict() == {"prepare": 2, "ride": 3, "deliver": 3}
    assert rows.loc["deliver", "median_taken_hours"] == 2
    assert rows_of(reports, "places")["n"].tolist() == [1]
    assert reports["durations"].warnings == [
        "1 delivery belongs to no order, and count nowhere.",
        "1 delivery has a prepare that ends before it begins: unknown.",
        "1 delivery has a ride that ends before it begins: unknown.",
        "1 delivery has a deliver that ends before it begins: unknown.",
        "1 order has had no delivery for 14 days, taken as none to come.",
        "2 deliveries have no usable coordinates, and no place.",
    ]


def test_places_that_are_not_kept_are_counted() -> None:
    at = MONDAY + hours(9)
    orders = [(str(number), "a", at, "North") for number in range(6)]
    there = [(50.0 + number, 8.0) for number in range(3)]
    sent = [{"id": str(number), "delivery_date": at + hours(1), "place": there[number % 3]} for number in range(6)]
    reports = run(tables_of(orders, sent), kept=2)
    assert len(rows_of(reports, "places")) == 2
    assert rows_of(reports, "locations")[["places", "n"]].to_numpy().tolist() == [[3, 6]]


@pytest.mark.parametrize("without", [("latitude", "longitude"), ("prepare_date",), ("return_date",)])
def test_columns_that_are_not_mapped(without: tuple[str, ...]) -> None:
    at = MONDAY + hours(9)
    sent = [{"id": "1", "prepare_date": at, "delivery_date": at + hours(2), "place": HAMBURG}]
    reports = run(tables_of([("1", "a", at, "North")], sent, without=without))
    legs = rows_of(reports, "durations")["duration"].tolist()
    assert legs == (["deliver"] if "prepare_date" in without else ["prepare", "ride", "deliver"])
    for one in ("places", "locations"):
        assert len(rows_of(reports, one)) == (0 if "latitude" in without else 1)
    said = " ".join(reports["places"].warnings)
    assert ("no usable coordinates" in said) == ("latitude" in without)
    assert ("not told apart" in said) == ("prepare_date" in without)


def test_no_delivery_no_order_and_no_source(by_hand: Tables) -> None:
    nothing = run(tables_of([], []))
    for report in nothing.values():
        assert len(report.rows) == 0
        assert "There is nothing to report up to 2024-03-31." in report.warnings
    waiting = run(tables_of([("1", "a", datetime(2024, 3, 31), "North")], []))
    assert "No order has been delivered yet." in waiting["durations"].warnings
    assert len(waiting["durations"].rows) == 0
    for report in run(Tables(by_hand.sessions, by_hand.customers)).values():
        assert len(report.rows) == 0
        assert report.warnings == ["delivery_analytics needs the source deliveries, which sources.yaml does not have."]


def test_a_source_that_knows_days_only_says_so() -> None:
    orders = [(str(day), "a", MONDAY + timedelta(days=day), "North") for day in range(4)]
    sent = [{"id": str(day), "delivery_date": MONDAY + timedelta(days=day + 1)} for day in range(4)]
    reports = run(tables_of(orders, sent, without=("prepare_date",)))
    assert any("days and no hours" in one for one in reports["durations"].warnings)


def test_weeks_begin_when_the_user_says() -> None:
    orders = [(str(day), "a", MONDAY + timedelta(days=day, hours=23.5), "North") for day in range(7)]
    sent = [{"id": one, "delivery_date": at + hours(1)} for one, _, at, _ in orders]
    tables = tables_of(orders, sent, week_start="sunday", time_zone="Europe/Berlin")
    rows = rows_of(run(tables), "weekday_hours").query("duration == 'deliver'")
    assert rows["weekday"].tolist()[:2] == ["Sunday", "Monday"]
    assert set(rows["hour_of_day"]) == {0}


# Hours from order to prepared to delivered; a place or none; a customer.
delivery = st.tuples(
    st.integers(0, 200), st.integers(0, 400), st.sampled_from([HAMBURG, MUNICH, None]), st.sampled_from("abc")
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(delivery, min_size=1, max_size=12))
def test_as_in_plain_python(sent: list[tuple[int, int, tuple[float, float] | None, str]]) -> None:
    orders, deliveries = [], []
    for number, (prepare, ride, place, client) in enumerate(sent):
        at = MONDAY + hours(number)
        orders.append((f"{number:02}", client, at, "North"))
        prepared = at + hours(prepare / 10)
        one: dict[str, Any] = {
            "id": f"{number:02}",
            "prepare_date": prepared,
            "delivery_date": prepared + hours(ride / 10),
        }
        deliveries.append(one | ({"place": place} if place else {}))
    reports = run(tables_of(orders, deliveries))
    rows = rows_of(reports, "durations").set_index("duration")
    for leg, taken in {
        "prepare": [one[0] / 10 for one in sent],
        "ride": [one[1] / 10 for one in sent],
        "deliver": [(one[0] + one[1]) / 10 for one in sent],
    }.items():
        assert rows.loc[leg, "n"] == len(sent)
        assert rows.loc[leg, "median_taken_hours"] == pytest.approx(float(np.median(taken)))
        assert rows.loc[leg, "mean_taken_hours"] == pytest.approx(float(np.mean(taken)))
    placed = [one for one in sent if one[2]]
    places = rows_of(reports, "places")
    assert places["n"].sum() == len(placed)
    assert len(places) == len({one[2] for one in placed})
    counted = rows_of(reports, "locations")[["places", "n"]].to_numpy().tolist()
    assert counted == ([[len({one[2] for one in placed}), len(placed)]] if placed else [])
    last = rows_of(reports, "waiting").iloc[-1]
    assert last["rate"] == 0
    assert last["waited_hours"] == pytest.approx(max(one[0] + one[1] for one in sent) / 10)


def test_reports_are_as_declared(shop_reports: dict[str, Report]) -> None:
    for one in module.REPORTS:
        report = shop_reports[one.type]
        assert tuple(report.rows.columns) == one.fields
        assert len(report.rows) or one.type == "abnormal_deliveries"
        assert not report.rows.duplicated(list(one.key)).any()
        assert {"window", "time_zone", "week_start", "order"} <= set(report.definition)
        assert report.kpis
        for panel in one.panels:
            used = {*panel.series, panel.x, panel.breakdown, panel.color, *(panel.band or ()), *panel.columns}
            assert {name for name in used if name} | set(panel.where) <= set(one.fields)
            assert panel.how_to_read.endswith(".")
    for rows in as_written(shop_reports).values():
        assert all(value is not None and value == value for row in rows for value in row.values())


def test_the_shops_delay_is_named_for_what_it_is(simulated_shop: Any, shop_reports: dict[str, Report]) -> None:
    """A region on two evenings: no place is slow, no hour, no customer; its places at these hours are."""
    rows = rows_of(shop_reports, "abnormal_groups")
    delay = simulated_shop.shop.delay
    assert set(rows["cause"]) == {"place at an hour of the week"}
    assert set(rows["duration"]) == {"ride"}
    assert set(rows["weekday"]) == {"Friday", "Saturday"}
    assert rows["hour_of_day"].min() >= delay.from_hour
    assert rows["until_hour"].max() <= delay.to_hour
    south = next(one for one in simulated_shop.shop.regions if one.name == delay.region)
    for city in south.cities:
        near = (rows["latitude"] - city.latitude).abs().lt(0.2) & (rows["longitude"] - city.longitude).abs().lt(0.4)
        evenings = rows[near].groupby("weekday").apply(lambda own: (own["until_hour"] - own["hour_of_day"]).sum())
        assert (evenings >= delay.to_hour - delay.from_hour).all()
        rows = rows[~near]
    assert len(rows) == 0
    assert set(rows_of(shop_reports, "places")["place_verdict"]) <= {"as others", "too few"}
    reason = rows_of(shop_reports, "abnormal_groups")["reason"].iloc[0]
    assert reason.startswith("The ride takes ")
    assert reason.endswith("o'clock, and only there and then.")


def test_a_slow_place_customer_and_hour_are_told_apart() -> None:
    random = np.random.default_rng(1)
    places = [(50.0 + number, 8.0) for number in range(6)]
    orders, sent = [], []
    for number in range(4_000):
        day, hour = int(random.integers(28)), int(random.integers(8, 20))
        at = datetime(2024, 3, 1) + timedelta(days=day, hours=hour)
        place, client = int(random.integers(6)), int(random.integers(300))
        ride, prepare = random.gamma(4, 0.5), random.gamma(4, 0.5)
        ride *= 2.0 if place == 2 else 1.0
        ride *= 3.0 if client == 17 else 1.0
        prepare *= 2.5 if at.weekday() == 4 and hour in (18, 19) else 1.0
        orders.append((f"{number:04}", f"c{client:03}", at, "North"))
        prepared = at + hours(prepare)
        sent.append(
            {
                "id": f"{number:04}",
                "prepare_date": prepared,
                "delivery_date": prepared + hours(ride),
                "place": places[place],
            }
        )
    reports = run(tables_of(orders, sent))
    rows = rows_of(reports, "abnormal_groups")
    assert list(rows[["cause", "duration"]].itertuples(index=False, name=None)) == [
        ("place", "ride"),
        ("hour of the week", "prepare"),
        ("customer", "ride"),
    ]
    assert rows["client"][2] == "c017"
    assert (rows["weekday"][1], rows["hour_of_day"][1], rows["until_hour"][1]) == ("Friday", 18, 20)
    assert rows["slowdown"].tolist() == pytest.approx([2.0, 2.5, 3.0], rel=0.25)
    slow = rows_of(reports, "places").query("place_verdict == 'slow'")
    assert slow["place"].tolist() == [rows["place"][0]]
    assert rows["reason"][2].endswith("as long for customer c017, wherever and whenever.")


def test_one_very_slow_delivery_is_listed_by_itself() -> None:
    random = np.random.default_rng(2)
    orders = [(f"{number:03}", f"c{number}", MONDAY + hours(number / 2), "North") for number in range(300)]
    sent = [
        {"id": one, "delivery_date": at + hours(float(random.gamma(4, 0.5))), "place": HAMBURG}
        for one, _, at, _ in orders
    ]
    sent[7]["delivery_date"] = orders[7][2] + hours(90)
    rows = rows_of(run(tables_of(orders, sent, without=("prepare_date",))), "abnormal_deliveries")
    assert rows["order_id"].tolist() == ["007"]
    assert rows["client"].tolist() == ["c7"]
    assert rows["taken_hours"].tolist() == [90]
    assert rows["reason"].tolist() == ["by itself: neither its place, its hour nor its customer is slow"]


def test_a_dimension_value_is_as_though_only_its_orders_existed(by_hand: Tables) -> None:
    whole = run(by_hand)
    own = [("3", "b", MONDAY + hours(18), "South"), ("4", "c", datetime(2024, 3, 30, 12), "South")]
    sent = [
        {
            "id": "3",
            "prepare_date": MONDAY + hours(20),
            "delivery_date": MONDAY + hours(26),
            "return_date": MONDAY + hours(74),
            "place": MUNICH,
        }
    ]
    alone = run(tables_of(own, sent))
    for name in whole:
        part = rows_of(whole, name, "region: South")
        pd.testing.assert_frame_equal(part, rows_of(alone, name), check_dtype=False)


def test_the_order_of_rows_and_what_comes_later_do_not_matter() -> None:
    random = np.random.default_rng(3)
    orders = [
        (f"{number:03}", f"c{random.integers(20)}", MONDAY + hours(float(random.integers(600))), "North")
        for number in range(200)
    ]
    sent: list[dict[str, Any]] = [
        {"id": one, "delivery_date": at + hours(float(random.gamma(4, 0.5))), "place": HAMBURG}
        for one, _, at, _ in orders
    ]
    once = as_written(run(tables_of(orders, sent)))
    later = [("later", "c1", datetime(2024, 4, 1), "North")]
    more = [{"id": "later", "delivery_date": datetime(2024, 4, 1, 1), "place": MUNICH}]
    assert as_written(run(tables_of([*later, *orders[::-1]], [*sent[::-1], *more]))) == once
