"""Promotion analytics against arithmetic by hand and a second implementation."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.analytics.promotion_analytics import promotion_analytics
from include.measures.results import records
from include.pipeline.analyse import why_skipped
from include.staging.snapshot import Snapshot, Table
from include.staging.tables import Tables, tables_from_frames

AS_OF = date(2024, 4, 30)
Event = dict[str, Any]


def event(id_: str, client: str, at: str, amount: float, promotion: str | None, discount: float = 0) -> Event:
    return {
        "id": id_, "client": client, "at": datetime.fromisoformat(at), "bought": True, "amount": amount,
        "promotion": promotion, "discount": discount, "region": None,
    }  # fmt: skip


def tables_from(events: list[Event], **calendar: Any) -> Tables:
    sessions = pd.DataFrame(
        {
            "id": pd.Series([one["id"] for one in events], dtype="str"),
            "client": pd.Series([one["client"] for one in events], dtype="str"),
            "session_start_date": pd.Series([one["at"] for one in events], dtype="datetime64[us]"),
            "has_purchased": pd.Series([one["bought"] for one in events], dtype="bool"),
            "payment_amount": pd.Series([one["amount"] for one in events], dtype="float64"),
            "discount_amount": pd.Series([one["discount"] for one in events], dtype="float64"),
            "promotion_id": pd.Series([one["promotion"] for one in events], dtype="object"),
            "dimension_region": pd.Series([one["region"] for one in events], dtype="object"),
        }
    )
    customers = pd.DataFrame({"client": pd.Series(dtype="str"), "download_date": pd.Series(dtype="datetime64[us]")})
    return tables_from_frames(sessions, customers, **calendar)


BY_HAND = [
    event("1", "a", "2024-03-01T10", 90, "SPRING", 10),
    event("2", "a", "2024-03-11T11", 50, None),
    event("3", "a", "2024-03-12T11", 45, "SPRING", 5),
    event("4", "b", "2024-03-01T10", 30, None),
    event("5", "b", "2024-03-20T10", 60, "SPRING", 40),
    event("6", "c", "2024-04-10T10", 80, "SPRING", 20),
    event("7", "c", "2024-04-11T10", 20, "VIP"),
    {**event("8", "d", "2024-03-01T10", 0, "SPRING"), "bought": False},
    event("9", "d", "2024-05-01T10", 99, "SPRING"),  # after the report date
]


def test_by_hand() -> None:
    reports = promotion_analytics(tables_from(BY_HAND, dimensions=()), as_of=AS_OF, gross_margin=0.5)
    rows = reports["promotions"].rows.set_index("promotion_id")
    spring = rows.loc["SPRING"]
    # Orders 1, 3, 5, 6 by a, b, c: 90 + 45 + 60 + 80 paid, 10 + 5 + 40 + 20 let off.
    assert (spring["orders"], spring["customers"], spring["revenue"], spring["discount"]) == (4, 3, 275, 75)
    assert spring["discount_depth"] == pytest.approx(75 / 350)
    assert spring["kind_orders_per_customer"] == pytest.approx(4 / 3)
    # First orders of their customers are 1 and 6; b's first was organic.
    assert (spring["first_orders"], spring["first_order_rate"]) == (2, 0.5)
    # Of SPRING's customers a (since 1 March) came back after 10 days, b (since 20 March) did not within 30; c began on
    # 10 April, and 30 days later is after the report date, so that the order of 11 April does not count.
    assert (spring["numerator"], spring["denominator"], spring["censored_customers"]) == (1, 2, 1)
    assert spring["rate"] == 0.5
    # Out of 350 half is margin: 75 / 175 of the orders must be additional, or 4 x that many.
    assert spring["break_even_rate"] == pytest.approx(75 / 175)
    assert spring["break_even_orders"] == pytest.approx(4 * 75 / 175)
    # Additional orders then earn as much as the others lose.
    share = spring["break_even_rate"]
    assert share * (0.5 * 350 - 75) == pytest.approx((1 - share) * 75)
    assert (spring["first_used"], spring["last_used"]) == (date(2024, 3, 1), date(2024, 4, 10))
    assert (rows.loc["VIP", "discount_depth"], rows.loc["VIP", "break_even_rate"]) == (0, 0)
    kinds = reports["order_kinds"].rows.set_index("order_kind")
    assert kinds["orders"].to_dict() == {"organic": 2, "promoted": 5}
    months = reports["promoted_share"].rows.query("granularity == 'month'")
    # March: orders 1 to 5, three of them promoted. April: 6 and 7.
    assert months[["promoted_orders", "orders"]].values.tolist() == [[3, 5], [2, 2]]
    assert months["rate"].tolist() == [0.6, 1]
    assert reports["promotions"].kpis["promoted_share"] == pytest.approx(5 / 7, abs=1e-6)
    hours = reports["promoted_hours"].rows.set_index("hour_of_day")
    # 61 days from 1 March to 30 April; at 11 o'clock orders 2 (organic) and 3.
    assert hours.loc[11, "organic_orders_per_day"] == pytest.approx(1 / 61)
    assert (hours.loc[11, "rate"], hours.loc[10, "promoted_orders"]) == (0.5, 4)


def test_the_smaller_promotions_are_together() -> None:
    reports = promotion_analytics(
        tables_from(BY_HAND, dimensions=()), as_of=AS_OF, promotions_kept=1, daily_promotions=1
    )
    rows = reports["promotions"].rows
    assert rows[["promotion_id", "orders"]].values.tolist() == [["SPRING", 4], ["(other)", 1]]
    assert reports["promotions"].definition["promotions_counted_together_as_other"] == 1
    assert any("There are 2 promotions" in text for text in reports["promotions"].warnings)
    assert set(reports["promotion_days"].rows["promotion_id"]) == {"SPRING"}


def test_rows_are_limited() -> None:
    reports = promotion_analytics(tables_from(BY_HAND), as_of=AS_OF, most_rows=40)
    assert len(reports["promotion_days"].rows) <= 40
    assert len(reports["promotions"].rows) <= 40
    assert (reports["promoted_share"].rows["granularity"] == "day").sum() <= 40
    assert reports["promoted_share"].definition["newest_days_kept"] == 6  # 20 rows for 3 labels


def test_without_promotions_it_is_skipped() -> None:
    columns = {"id": "VARCHAR", "promotion_id": "VARCHAR"}
    assert why_skipped("promotion_analytics", Snapshot("UTC", {"sessions": Table(columns)})) == ""
    reason = "promotion_analytics needs the column promotion_id of the sessions, which sources.yaml does not map."
    without = Snapshot("UTC", {"sessions": Table({"id": "VARCHAR"})})
    assert why_skipped("promotion_analytics", without) == reason
    tables = tables_from(BY_HAND)
    bare = Tables(tables.sessions.drop("promotion_id"), tables.customers)
    for report in promotion_analytics(bare, as_of=AS_OF).values():
        assert len(report.rows) == 0
        assert report.warnings == [reason]


def test_without_discounts_they_are_unknown() -> None:
    tables = tables_from(BY_HAND)
    bare = Tables(tables.sessions.drop("discount_amount"), tables.customers)
    rows = promotion_analytics(bare, as_of=AS_OF)["promotions"].rows
    assert rows[["discount", "discount_depth", "break_even_rate", "break_even_orders"]].isna().all().all()
    assert rows["orders"].tolist() == [4, 1]


def plainly(events: list[Event], zone: str, repeat_days: int) -> dict[str, Any]:
    """Counts per promotion, per kind, per day and per hour, from a list of events."""
    local = [
        {**one, "local": one["at"].replace(tzinfo=UTC).astimezone(ZoneInfo(zone))} for one in events if one["bought"]
    ]
    orders = sorted((one for one in local if one["local"].date() <= AS_OF), key=lambda one: (one["at"], one["id"]))
    by_client: dict[str, list[Event]] = {}
    for one in orders:
        by_client.setdefault(one["client"], []).append(one)

    def measured(chosen: list[Event]) -> tuple[Any, ...]:
        came_back = over = 0
        for client in {one["client"] for one in chosen}:
            own = by_client[client]
            place = next(number for number, one in enumerate(own) if one in chosen)
            since = own[place]["local"].date()
            if since + timedelta(days=repeat_days) <= AS_OF:
                over += 1
                came_back += any((one["local"].date() - since).days <= repeat_days for one in own[place + 1 :])
        firsts = sum(by_client[one["client"]][0] is one for one in chosen)
        customers = len({one["client"] for one in chosen})
        revenue, discount = (round(sum(one[name] for one in chosen), 4) for name in ("amount", "discount"))
        return customers, len(chosen), firsts, came_back, over, customers - over, revenue, discount

    promotions = {one["promotion"] for one in orders} - {None}
    kinds = {"organic": [one for one in orders if one["promotion"] is None]}
    kinds["promoted"] = [one for one in orders if one["promotion"] is not None]
    return {
        "promotions": {name: measured([one for one in orders if one["promotion"] == name]) for name in promotions},
        "order_kinds": {kind: measured(chosen) for kind, chosen in kinds.items() if chosen},
        "days": Counter((one["local"].date(), one["promotion"] is not None) for one in orders),
        "hours": Counter((one["local"].hour, one["promotion"] is not None) for one in orders),
        "series": Counter((one["promotion"], one["local"].date()) for one in orders if one["promotion"]),
    }


COUNTS = [
    "customers",
    "orders",
    "first_orders",
    "numerator",
    "denominator",
    "censored_customers",
    "revenue",
    "discount",
]


def compared(reports: dict[str, Any], label: str, events: list[Event], zone: str) -> None:
    expected = plainly(events, zone, 10)
    own = {name: report.rows[report.rows["dimension"] == label] for name, report in reports.items()}
    for name, key in (("promotions", "promotion_id"), ("order_kinds", "order_kind")):
        assert {row[0]: tuple(row[1:]) for row in own[name][[key, *COUNTS]].values.tolist()} == expected[name]
    days = own["promoted_share"].query("granularity == 'day'")
    found = {
        (row.period, promoted): count
        for row in records(days)
        for promoted, count in ((True, row.promoted_orders), (False, row.organic_orders))
        if count
    }
    assert found == expected["days"]
    hours = {
        (row.hour_of_day, promoted): count
        for row in records(own["promoted_hours"])
        for promoted, count in ((True, row.promoted_orders), (False, row.organic_orders))
        if count
    }
    assert hours == expected["hours"]
    series = own["promotion_days"]
    assert {(row.promotion_id, row.period): row.orders for row in records(series) if row.orders} == expected["series"]
    if events:
        first = min(one["at"].replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date() for one in events)
        assert len(days) == (AS_OF - first).days + 1  # no day is missing


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "client": st.sampled_from("abcd"),
            "hours": st.integers(0, 40 * 24),
            "bought": st.sampled_from([True, True, False]),
            "amount": st.sampled_from([0, 9.99, 20, -5]),
            "discount": st.sampled_from([0, 1.5, 20]),
            "promotion": st.sampled_from([None, "P1", "P2", "P3"]),
            "region": st.sampled_from(["North", "South", None]),
        }
    ),
    max_size=25,
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]))
def test_equals_a_second_implementation(drawn: list[Event], zone: str) -> None:
    begin = datetime(2024, 3, 22, 12)  # over the clock changes
    events = [
        {**one, "id": str(number), "at": begin + timedelta(hours=one["hours"])} for number, one in enumerate(drawn)
    ]
    reports = promotion_analytics(tables_from(events, time_zone=zone), as_of=AS_OF, repeat_days=10)
    compared(reports, "all", events, zone)
    for label, region in (("North", "North"), ("South", "South"), ("(unknown)", None)):
        compared(reports, f"region: {label}", [one for one in events if one["region"] == region], zone)
    for row in records(reports["promotions"].rows):
        value = row.revenue + row.discount
        if value > 0:
            assert row.discount_depth == pytest.approx(row.discount / value)
            assert row.break_even_rate == pytest.approx(row.discount / value / 0.3)
