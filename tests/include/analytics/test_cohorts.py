"""Cohorts against arithmetic by hand, a second implementation over event lists, and CDNOW in plain pandas."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.analytics.cohorts import STEPS, cohorts
from include.staging.tables import Tables

BERLIN = ZoneInfo("Europe/Berlin")


def event(id_: str, client: str, at: str, bought: bool = True, amount: float = 10) -> dict[str, Any]:
    return {"id": id_, "client": client, "at": datetime.fromisoformat(at), "bought": bought, "amount": amount}


def cell(rows: pd.DataFrame, granularity: str, period: str, offset: int) -> Any:
    found = rows[
        (rows["dimension"] == "all")
        & (rows["granularity"] == granularity)
        & (rows["period"] == date.fromisoformat(period))
        & (rows["offset"] == offset)
    ]
    assert len(found) == 1
    return found.iloc[0]


def test_by_hand(tables_of: Any) -> None:
    # Monday 1 January 2024 is the first day of a week. Three customers arrive that week, one in the next.
    sessions = [
        event("1", "a", "2024-01-01T10:00"),  # the day of the download: offset 0
        event("2", "a", "2024-01-15T10:00", amount=30),  # 14 days and 2 weeks after the first order
        event("3", "b", "2024-01-07T10:00", bought=False),
        event("4", "b", "2024-01-08T10:00", amount=20),  # 6 days but 1 week after the download on the 2nd
        event("5", "d", "2024-01-08T10:00", amount=5),  # before d's download on the 9th
    ]
    downloads = [
        ("a", datetime(2024, 1, 1, 9)),
        ("b", datetime(2024, 1, 2, 9)),
        ("c", datetime(2024, 1, 3, 9)),
        ("d", datetime(2024, 1, 9, 9)),
    ]
    reports = cohorts(tables_of(sessions, downloads), as_of=date(2024, 1, 21))
    first = reports["download_to_first_order"].rows
    assert cell(first, "week", "2024-01-01", 0)[["cohort_customers", "customers"]].tolist() == [3, 1]
    assert cell(first, "week", "2024-01-01", 1)[["customers", "rate"]].tolist() == [1, pytest.approx(1 / 3)]
    assert cell(first, "day", "2024-01-02", 6)["customers"] == 1
    assert cell(first, "week", "2024-01-08", 0)[["cohort_customers", "customers"]].tolist() == [1, 0]
    assert reports["download_to_first_order"].warnings == [
        "1 orders lie on a day before their customer's download; they are left out of this table."
    ]
    second = reports["first_to_second"].rows
    assert cell(second, "day", "2024-01-01", 14)["customers"] == 1
    assert cell(second, "week", "2024-01-01", 2)[["cohort_customers", "customers", "rate"]].tolist() == [1, 1, 1]
    assert len(second[(second["granularity"] == "day") & (second["offset"] > 15)]) == 0
    # Week of 1 January: a comes in weeks 0 and 2, b in weeks 0 (7 January) and 1, c never.
    retention = reports["retention"].rows
    weekly = [cell(retention, "week", "2024-01-01", offset) for offset in (0, 1, 2)]
    assert [one["customers"] for one in weekly] == [2, 1, 1]
    assert [one["unbounded_customers"] for one in weekly] == [2, 2, 1]
    assert cell(retention, "month", "2024-01-01", 0)[["is_complete", "customers"]].tolist() == [False, 2]
    assert pd.isna(cell(retention, "month", "2024-01-01", 0)["rate"])
    # 10 in week 0, 20 in week 1, 30 in week 2, over three customers.
    revenue = reports["revenue"].rows
    assert [cell(revenue, "week", "2024-01-01", offset)["cumulative_revenue_per_customer"] for offset in (0, 1, 2)] == [
        pytest.approx(10 / 3),
        10,
        20,
    ]
    # Complete cells at offset 1: weeks of 1 January (1 of 3) and 8 January (0 of 1).
    curve = reports["average_curves"].rows
    one = curve[
        (curve["curve"] == "download_to_first_order") & (curve["granularity"] == "week") & (curve["offset"] == 1)
    ].iloc[0]
    assert one[["customers", "cohort_customers", "n", "rate"]].tolist() == [1, 4, 2, 0.25]


def plainly(
    events: list[tuple[str, datetime, str, bool]], downloads: dict[str, datetime], zone: ZoneInfo, as_of: date
) -> dict[str, Counter[tuple[str, date, int]]]:
    """Customers per step, granularity, cohort and offset, over lists."""

    def day(at: datetime) -> date:
        return at.replace(tzinfo=ZoneInfo("UTC")).astimezone(zone).date()

    def starts(when: date) -> dict[str, date]:
        return {"day": when, "week": when - timedelta(days=when.weekday())}

    found: dict[str, Counter[tuple[str, date, int]]] = {step: Counter() for step in STEPS}

    def note(step: str, before: date, after: date) -> None:
        for granularity, length in (("day", 1), ("week", 7)):
            start, end = starts(before)[granularity], starts(after)[granularity]
            found[step][granularity, start, (end - start).days // length] += 1

    for client, arrived in downloads.items():
        orders = sorted((at, id_) for who, at, id_, bought in events if who == client and bought and day(at) <= as_of)
        days = [day(at) for at, _ in orders]
        if day(arrived) <= as_of:
            later = [one for one in days if one >= day(arrived)]
            if later:
                note(STEPS[0], day(arrived), later[0])
        for number, step in enumerate(STEPS[1:]):
            if len(days) > number + 1:
                note(step, days[number], days[number + 1])
    return found


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 40 * 24), st.booleans()), max_size=25),
    st.lists(st.integers(0, 30 * 24), min_size=4, max_size=4),
    st.sampled_from(["UTC", "Europe/Berlin"]),
)
def test_equals_a_second_implementation(
    tables_of: Any, visits: list[tuple[str, int, bool]], arrivals: list[int], zone: str
) -> None:
    start = datetime(2024, 3, 10, 22)  # Berlin changes its clocks on 31 March
    events = [
        (client, start + timedelta(hours=hour), f"{n:03}", bought) for n, (client, hour, bought) in enumerate(visits)
    ]
    downloads = {client: start + timedelta(hours=hour) for client, hour in zip("abcd", arrivals, strict=True)}
    sessions = [{"id": i, "client": c, "at": at, "bought": b, "amount": 1} for c, at, i, b in events]
    as_of = date(2024, 4, 15)
    reports = cohorts(tables_of(sessions, list(downloads.items()), time_zone=zone), as_of=as_of)
    expected = plainly(events, downloads, ZoneInfo(zone), as_of)
    for step in STEPS:
        rows = reports[step].rows
        found = Counter(
            {
                (row.granularity, row.period, row.offset): row.customers
                for row in rows.itertuples()
                if row.customers and row.dimension == "all"
            }
        )
        assert found == Counter({key: count for key, count in expected[step].items() if key[2] <= 15})
        assert rows["rate"].notna().eq(rows["is_complete"] & (rows["cohort_customers"] > 0)).all()


def test_cdnow(cdnow: Tables, cdnow_orders: pd.DataFrame, cdnow_end: date) -> None:
    reports = cohorts(cdnow, as_of=cdnow_end, kept_weeks=100)
    orders = cdnow_orders.assign(day=pd.to_datetime(cdnow_orders["day"])).sort_values(["client", "day"])
    orders["week"] = orders["day"].dt.to_period("W-SUN").dt.start_time
    first = orders.groupby("client")["week"].min()
    second = orders.groupby("client")["week"].nth(1)
    sizes = first.value_counts()
    retention = reports["retention"].rows
    weekly = retention[(retention["granularity"] == "week") & (retention["offset"] == 0)]
    assert weekly["cohort_customers"].sum() == 23_570
    counted = weekly[weekly["cohort_customers"] > 0].set_index("period")["cohort_customers"]
    assert {pd.Timestamp(day): size for day, size in counted.items()} == sizes.to_dict()
    gaps = (second - first.reindex(orders.loc[second.index, "client"]).to_numpy()).dt.days // 7
    rows = reports["first_to_second"].rows
    rows = rows[rows["granularity"] == "week"]
    for offset in range(16):
        assert rows.loc[rows["offset"] == offset, "customers"].sum() == (gaps == offset).sum()
    # Every customer's first order is the download.
    first_order = reports["download_to_first_order"].rows
    assert set(first_order.loc[first_order["offset"] > 0, "customers"]) <= {0}
