"""Statistics against arithmetic by hand, a second implementation over event lists, and CDNOW."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.analytics.descriptive_statistics import UNITS, descriptive_statistics, payment_bins
from include.staging.tables import MONEY, Tables


def event(id_: str, client: str, at: str, bought: bool = True, amount: float = 10) -> dict[str, Any]:
    return {"id": id_, "client": client, "at": datetime.fromisoformat(at), "bought": bought, "amount": amount}


SESSIONS = [
    event("1", "a", "2024-01-01T10:00", amount=10),
    event("2", "a", "2024-01-02T10:00", amount=30),
    event("3", "b", "2024-01-02T11:00", bought=False),
    event("4", "b", "2024-01-09T10:30", amount=20),
    event("5", "c", "2024-01-10T10:00", bought=False),
    event("6", "a", "2024-01-15T09:00", amount=40),
    event("7", "c", "2024-01-16T23:00", amount=60),
]
DOWNLOADS = [("a", datetime(2024, 1, 1, 4)), ("b", datetime(2024, 1, 2)), ("c", datetime(2024, 1, 17))]


def test_by_hand(tables_of: Any) -> None:
    reports = descriptive_statistics(tables_of(SESSIONS, DOWNLOADS), as_of=date(2024, 1, 18))
    activity = reports["activity"].rows
    weeks = activity[activity["granularity"] == "week"]
    assert weeks["sessions"].tolist() == [3, 2, 2]
    assert weeks["orders"].tolist() == [2, 1, 2]
    assert weeks["revenue"].tolist() == [40, 20, 100]
    assert weeks["customers"].tolist() == [2, 2, 2]
    assert weeks["buyers"].tolist() == [1, 1, 2]
    assert weeks["is_complete"].tolist() == [True, True, False]
    assert weeks["rate"].tolist()[:2] == [pytest.approx(2 / 3), 0.5]
    assert pd.isna(weeks["rate"].iloc[2])
    assert activity["discount"].isna().all()
    days = activity[activity["granularity"] == "day"]
    assert len(days) == 18
    assert days["sessions"].iloc[2] == 0
    # Week 1: a and b are new. Week 2: b returns, c is new, a is away. Week 3, not over: a is back, c returns.
    cycle = reports["customer_lifecycle"].rows
    cycle = cycle[cycle["granularity"] == "week"]
    assert cycle["new_customers"].tolist() == [2, 1, 0]
    assert cycle["returning_customers"].tolist() == [0, 1, 1]
    assert cycle["resurrected_customers"].tolist() == [0, 0, 1]
    assert cycle["dormant_customers"].tolist()[:2] == [0, 1]
    assert pd.isna(cycle["dormant_customers"].iloc[2])
    # Hour 10: sessions 1, 2, 4 and 5 over 18 days.
    hours = reports["hour_of_day"].rows.set_index("hour_of_day")
    assert hours.loc[10, "sessions_per_day"] == pytest.approx(4 / 18)
    assert hours.loc[10, "revenue_per_day"] == pytest.approx(60 / 18)
    assert len(hours) == 24
    # 12 to 18 January: two orders worth 100; 5 to 11 January: one order worth 20.
    kpis = reports["kpis"].rows
    latest = kpis[kpis["window"] == "last 7 days"].set_index("metric")
    assert latest.loc["orders", ["value", "previous_value", "change_rate"]].tolist() == [2, 1, 1]
    assert latest.loc["revenue", ["value", "previous_value", "change_rate"]].tolist() == [100, 20, 4]
    assert latest.loc["conversion", ["value", "previous_value", "change_rate"]].tolist() == [1, 0.5, 1]
    assert latest.loc["visitors", ["value", "previous_value", "change_rate"]].tolist() == [2, 2, 0]
    totals = kpis[kpis["window"] == "all time"].set_index("metric")
    assert totals.loc["average_order_value", "value"] == 160 / 5
    assert totals["previous_value"].isna().all()
    counts = reports["customers_by_orders"].rows
    assert counts[["order_count", "customers"]].values.tolist() == [[0, 0], [1, 2], [2, 0], [3, 1]]
    # a orders 6 h after the download, b 7 days and 10.5 h; c a day before it: left out of the median, not of the mean.
    journey = reports["customer_journey"].rows
    assert journey.loc[0, ["customers", "n", "median_hours", "average_order_value"]].tolist() == [3, 2, 92.25, 30]
    assert journey.loc[1, ["customers", "median_hours", "average_order_value"]].tolist() == [1, 24, 30]
    assert journey.loc[2, ["customers", "median_hours"]].tolist() == [1, 13 * 24 - 1]
    assert any("1 customers have their first order" in text for text in reports["customer_journey"].warnings)


def test_without_enough_history_there_is_no_change(tables_of: Any) -> None:
    kpis = descriptive_statistics(tables_of(SESSIONS, DOWNLOADS), as_of=date(2024, 1, 10))["kpis"].rows
    assert kpis["change_rate"].isna().all()
    assert kpis["value"].notna().all()


def test_only_the_newest_days_are_kept(tables_of: Any) -> None:
    rows = descriptive_statistics(tables_of(SESSIONS, DOWNLOADS), as_of=date(2024, 1, 18), kept_days=3)["activity"].rows
    days = rows.loc[rows["granularity"] == "day", "period"].tolist()
    assert days == [date(2024, 1, 16), date(2024, 1, 17), date(2024, 1, 18)]
    assert rows.loc[rows["granularity"] == "week", "sessions"].tolist() == [3, 2, 2]


@pytest.mark.parametrize(
    ("n", "low", "quarter", "three_quarters", "high"),
    [(1, 5, 5, 5, 5), (10, 0, 0, 0, 90), (10**6, 0, 10, 20, 500), (100, -50, 10, 20, 10**6), (4, 1, 1, 2, 3)],
)
def test_bins_cover_the_amounts_and_are_few(
    n: int, low: float, quarter: float, three_quarters: float, high: float
) -> None:
    scaled = [one * UNITS for one in (low, quarter, three_quarters, high)]
    start, width, bins = payment_bins(n, *scaled, fewest=5, most=50)
    assert start <= scaled[0]
    assert scaled[3] < start + width * bins
    assert 1 <= bins <= 50


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.booleans(), st.sampled_from([0, 0.01, 9.99, 250])),
        min_size=1,
        max_size=25,
    )
)
def test_equals_a_second_implementation(tables_of: Any, visits: list[tuple[str, int, bool, float]]) -> None:
    start, as_of = date(2024, 1, 3), date(2024, 2, 18)
    sessions = [
        event(f"{n:03}", client, (start + timedelta(days=day)).isoformat(), bought, amount)
        for n, (client, day, bought, amount) in enumerate(visits)
    ]
    seen = [one for one in sessions if one["at"].date() <= as_of]
    reports = descriptive_statistics(tables_of(sessions, []), as_of=as_of)
    if not seen:
        assert all(len(report.rows) == 0 for report in reports.values())
        return

    def week(day: date) -> date:
        return day - timedelta(days=day.weekday())

    weeks = defaultdict(list)
    for one in seen:
        weeks[week(one["at"].date())].append(one)
    active = {client: {week(one["at"].date()) for one in seen if one["client"] == client} for client in "abc"}
    rows = reports["activity"].rows
    cycle = reports["customer_lifecycle"].rows
    cycle = cycle[cycle["granularity"] == "week"].set_index("period")
    expected_start = week(min(one["at"].date() for one in seen))
    rows = rows[rows["granularity"] == "week"]
    assert rows["period"].tolist() == [
        expected_start + timedelta(days=7 * n) for n in range((week(as_of) - expected_start).days // 7 + 1)
    ]
    for row in rows.itertuples():
        inside = weeks[row.period]
        orders = [one for one in inside if one["bought"]]
        assert (row.sessions, row.orders) == (len(inside), len(orders))
        assert row.revenue == pytest.approx(sum(one["amount"] for one in orders))
        assert row.customers == len({one["client"] for one in inside})
        assert row.buyers == len({one["client"] for one in orders})
        before = row.period - timedelta(days=7)
        here = {client for client, own in active.items() if row.period in own}
        new = {client for client in here if min(active[client]) == row.period}
        returning = {client for client in here if before in active[client]}
        found = cycle.loc[row.period]
        assert found[["new_customers", "returning_customers", "resurrected_customers"]].tolist() == [
            len(new), len(returning), len(here - new - returning),
        ]  # fmt: skip
        dormant = {client for client, own in active.items() if before in own} - here
        assert found["dormant_customers"] == len(dormant)  # 18 February is a Sunday: every week is over
    distribution = reports["payment_distribution"].rows
    assert distribution["orders"].sum() == sum(one["bought"] for one in seen)


def test_discounts_count_on_orders_only(tables_of: Any) -> None:
    tables = tables_of(SESSIONS, DOWNLOADS)
    # Five for every session but the first, whose discount is unknown and adds nothing; 3 and 5 are no orders.
    some = ibis.ifelse(tables.sessions.id == "1", None, 5).cast(MONEY)
    with_discount = replace(tables, sessions=tables.sessions.mutate(discount_amount=some))
    reports = descriptive_statistics(with_discount, as_of=date(2024, 1, 18))
    weeks = reports["activity"].rows.query("granularity == 'week'")
    assert weeks["discount"].tolist() == [5, 5, 10]
    assert reports["kpis"].kpis["discount"] == 20
    assert reports["activity"].warnings == []


BERLIN = ZoneInfo("Europe/Berlin")


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.integers(0, 20 * 24),
            st.booleans(),
            st.sampled_from([-5, 0, 9.99, 20, 250]),
            st.sampled_from(["app", "web", None]),
        ),
        min_size=1,
        max_size=30,
    ),
    st.lists(st.integers(0, 15 * 24), min_size=3, max_size=3),
)
def test_hours_journey_and_payments_per_dimension_value(
    tables_of: Any, visits: list[tuple[str, int, bool, float, str | None]], arrivals: list[int]
) -> None:
    start, as_of = datetime(2024, 3, 20, 22), date(2024, 4, 14)  # Berlin changes its clocks on 31 March
    sessions = [
        {
            "id": f"{n:03}",
            "client": client,
            "at": start + timedelta(hours=hour),
            "bought": bought,
            "amount": amount,
            "device": device,
        }
        for n, (client, hour, bought, amount, device) in enumerate(visits)
    ]
    downloads = {client: start + timedelta(hours=hour) for client, hour in zip("abc", arrivals, strict=True)}
    tables = tables_of(sessions, list(downloads.items()), dimensions=("device",), time_zone="Europe/Berlin")
    reports = descriptive_statistics(tables, as_of=as_of)

    def local(at: datetime) -> datetime:
        return at.replace(tzinfo=UTC).astimezone(BERLIN)

    def shown(name: str, label: str, key: str) -> Any:
        rows = reports[name].rows
        return rows[rows["dimension"] == label].set_index(key)

    labels = {"all": ...} | {f"device: {one['device'] or '(unknown)'}": one["device"] for one in sessions}
    for label, device in labels.items():
        own = [one for one in sessions if device in (..., one["device"])]
        days = (as_of - min(local(one["at"]).date() for one in own)).days + 1
        hours = shown("hour_of_day", label, "hour_of_day")
        assert hours["n"].eq(days).all()
        visited = {(local(one["at"]).hour, local(one["at"]).date(), one["client"]) for one in own}
        for hour in range(24):
            inside = [one for one in own if local(one["at"]).hour == hour]
            assert hours.loc[hour, "sessions_per_day"] == pytest.approx(len(inside) / days)
            assert hours.loc[hour, "customers_per_day"] == pytest.approx(sum(h == hour for h, _, _ in visited) / days)
        steps = defaultdict(list)
        for client in "abcd":
            before = downloads.get(client)
            orders = sorted(
                (one["at"], one["id"], one["amount"]) for one in own if one["client"] == client and one["bought"]
            )
            for number, (at, _, amount) in enumerate(orders, start=1):
                hours_since = None if before is None else max((at - before).total_seconds() / 3600, 0)
                if number == 1 and before is not None and local(at).date() < local(before).date():
                    hours_since = None
                steps[number].append((hours_since, amount))
                before = at
        journey = shown("customer_journey", label, "order_number")
        assert journey.index.tolist() == [number for number in sorted(steps) if number <= 10]
        for number in journey.index:
            known = [since for since, _ in steps[number] if since is not None]
            assert journey.loc[number, "customers"] == len(steps[number])
            assert journey.loc[number, "n"] == len(known)
            if known:
                assert journey.loc[number, "median_hours"] == pytest.approx(median(known))
            assert journey.loc[number, "median_amount"] == pytest.approx(median(amount for _, amount in steps[number]))
        amounts = [Decimal(str(one["amount"])) for one in own if one["bought"]]
        bins = shown("payment_distribution", label, "bin")
        assert bins["orders"].sum() == len(amounts)
        for one in bins.itertuples():
            low, high = Decimal(str(one.bin_start)), Decimal(str(one.bin_end))
            assert one.orders == sum(low <= amount and (high.is_nan() or amount < high) for amount in amounts)


def test_cdnow(cdnow: Tables, cdnow_orders: pd.DataFrame, cdnow_end: date) -> None:
    reports = descriptive_statistics(cdnow, as_of=cdnow_end)
    orders = cdnow_orders.assign(amount=cdnow_orders["amount"].astype(float), day=pd.to_datetime(cdnow_orders["day"]))
    assert reports["kpis"].kpis["visitors"] == 23_570
    assert reports["kpis"].kpis["orders"] == len(orders)
    assert reports["kpis"].kpis["revenue"] == pytest.approx(orders["amount"].sum())
    activity = reports["activity"].rows
    monthly = activity[activity["granularity"] == "month"]
    by_month = orders.groupby(orders["day"].dt.to_period("M"))
    assert monthly["orders"].tolist() == by_month.size().tolist()
    assert monthly["customers"].tolist() == by_month["client"].nunique().tolist()
    assert monthly["revenue"].to_numpy() == pytest.approx(by_month["amount"].sum().to_numpy())
    counts = reports["customers_by_orders"].rows.set_index("order_count")["customers"]
    per_client = orders.groupby("client").size().clip(upper=20).value_counts()
    assert counts[counts > 0].to_dict() == per_client.to_dict()
    journey = reports["customer_journey"].rows
    gaps = orders.sort_values(["client", "day"]).groupby("client")["day"].diff().dt.total_seconds() / 3600
    second = gaps[orders.sort_values(["client", "day"]).groupby("client").cumcount() == 1]
    assert journey.loc[1, "median_hours"] == second.median()
