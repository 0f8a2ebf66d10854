"""Churn against arithmetic by hand, and a second implementation over event lists."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from include.analytics.churn import churn, customer_scores
from include.schemas.indexes import SCORE_FIELDS


def event(id_: str, client: str, at: str, bought: bool = True) -> dict[str, Any]:
    return {"id": id_, "client": client, "at": datetime.fromisoformat(at), "bought": bought, "amount": 1}


def test_windows_by_hand(tables_of: Any) -> None:
    # Week of 1 January: a, b, c. Week of the 8th: a, and d, who is new and neither retained nor lost. 15th: b.
    sessions = [
        event("1", "a", "2024-01-01T10:00"),
        event("2", "b", "2024-01-02T10:00", bought=False),
        event("3", "c", "2024-01-07T23:00"),
        event("4", "a", "2024-01-08T10:00"),
        event("5", "d", "2024-01-09T10:00"),
        event("6", "b", "2024-01-15T10:00"),
    ]
    rows = churn(tables_of(sessions, []), as_of=date(2024, 1, 24))["window_churn"].rows
    weekly = rows[(rows["granularity"] == "week") & (rows["activity"] == "session")].set_index("period")
    # 8th: b and c of three lost. 15th: a and d of two. 22nd: b so far, but the week is not over.
    assert weekly["previous_customers"].tolist() == [3, 2, 1]
    assert weekly["retained_customers"].tolist() == [1, 0, 0]
    assert weekly["rate"].tolist()[:2] == pytest.approx([2 / 3, 1])
    assert weekly["is_complete"].tolist() == [True, True, False]
    assert pd.isna(weekly["rate"].iloc[2])
    assert pd.isna(weekly["lost_customers"].iloc[2])
    # b did not order in the first week: one of two is lost by orders.
    orders = rows[(rows["granularity"] == "week") & (rows["activity"] == "order")]
    assert orders[["lost_customers", "previous_customers"]].iloc[0].tolist() == [1, 2]


def test_a_hundred_customers_who_come_every_week_do_not_churn(tables_of: Any) -> None:
    start = datetime(2024, 1, 1, 12)
    sessions = [
        {"id": f"{c}-{w}", "client": f"c{c}", "at": start + timedelta(weeks=w), "bought": True, "amount": 1}
        for c in range(100)
        for w in range(10)
    ]
    reports = churn(tables_of(sessions, []), as_of=date(2024, 3, 10))
    rows = reports["window_churn"].rows
    assert set(rows.loc[rows["is_complete"], "rate"]) == {0.0}
    assert reports["overdue"].rows.set_index("status")["customers"].to_dict() == {"on time": 100, "overdue": 0}
    assert reports["overdue"].kpis["usual_gap_days"] == 7


def test_gaps_by_hand(tables_of: Any) -> None:
    # a: gaps of 10 and 20 days (two orders on the 11th are one), then 60 days without. b: one order 80 days ago.
    sessions = [
        event("1", "a", "2024-01-01T10:00"),
        event("2", "a", "2024-01-11T10:00"),
        event("3", "a", "2024-01-11T12:00"),
        event("4", "a", "2024-01-31T10:00"),
        event("5", "b", "2024-01-11T10:00"),
    ]
    tables = tables_of(sessions, [])
    reports = churn(tables, as_of=date(2024, 3, 31), gap_step_days=10, gap_max_days=100)
    curve = reports["gap_survival"].rows
    curve = curve[curve["acquisition"] == "all"].set_index("days")
    # Four order days: S(10) = 3/4, S(20) = 3/4 * 2/3 = 1/2. The last is seen until day 80.
    assert curve["survival"].to_dict() == pytest.approx({0: 1, 10: 0.75, **dict.fromkeys(range(20, 90, 10), 0.5)})
    assert curve["at_risk"].tolist() == [4, 4, 3, 2, 2, 2, 2, 1, 1]
    # Half of all by day 20; half of those that end by day 10: the usual gap.
    gaps: Any = reports["usual_gaps"].rows.set_index("acquisition")
    assert gaps.loc["all", ["median_gap_days", "usual_gap_days", "events", "n"]].tolist() == [20, 10, 2, 4]
    own = customer_scores(tables, as_of=date(2024, 3, 31)).set_index("client")
    # a: (10 + 10 + 20) / 3 days, away 60; b: the usual 10 days, away 80.
    assert own["expected_gap_days"].to_dict() == pytest.approx({"a": 40 / 3, "b": 10})
    assert own["is_overdue"].to_dict() == {"a": True, "b": True}
    assert own["probability_alive"].between(0, 1).all()
    assert set(own) < set(SCORE_FIELDS)
    late = reports["overdue"].rows.set_index("status")
    assert late["customers"].to_dict() == {"on time": 0, "overdue": 2}
    assert late.loc["overdue", "mean_days_since_order"] == 70
    assert late.loc["overdue", "mean_probability_alive"] == pytest.approx(own["probability_alive"].mean())


def test_nobody_came_back_is_said(tables_of: Any) -> None:
    reports = churn(tables_of([event("1", "a", "2024-01-01T10:00")], []), as_of=date(2024, 3, 31))
    assert reports["overdue"].rows[["status", "customers"]].to_numpy().tolist()[-1] == ["not known", 1]
    assert reports["probability_alive"].warnings == [
        "There is nothing to report up to 2024-03-31.",
        "all: No customer ordered on a second day, so there is no model of who is still active.",
    ]
    own = customer_scores(tables_of([event("1", "a", "2024-01-01T10:00")], []), as_of=date(2024, 3, 31))
    assert own[["expected_gap_days", "is_overdue", "probability_alive"]].isna().all(axis=None)


def test_a_warning_names_few_of_many_values(tables_of: Any) -> None:
    sessions = [{**event(name, name, "2024-01-01T10:00"), "region": name} for name in "abcdefg"]
    reports = churn(tables_of(sessions, [], dimensions=("region",)), as_of=date(2024, 3, 31))
    assert reports["probability_alive"].warnings[1] == (
        "all, region: a, region: b, region: c, region: d and 3 more: "
        "No customer ordered on a second day, so there is no model of who is still active."
    )


HOURS = st.one_of(st.sampled_from([0, 1, 2, 26]), st.integers(0, 45 * 24))
VISITS = st.lists(st.tuples(st.sampled_from("abcd"), HOURS, st.booleans(), st.sampled_from(["N", "S"])), max_size=30)
AS_OF = date(2024, 4, 20)


@settings(max_examples=8, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VISITS, st.sampled_from(["UTC", "Europe/Berlin"]))
def test_equals_a_second_implementation(tables_of: Any, visits: list[Any], zone: str) -> None:
    start = datetime(2024, 3, 10, 22)  # Berlin changes its clocks on 31 March
    sessions = [
        {"id": f"{n:02}", "client": client, "at": start + timedelta(hours=hour), "bought": bought, "amount": 1,
         "region": region}
        for n, (client, hour, bought, region) in enumerate(visits)
    ]  # fmt: skip
    tables = tables_of(sessions, [], dimensions=("region",), time_zone=zone)
    reports = churn(tables, as_of=AS_OF, gap_step_days=1, gap_max_days=60)

    def day(at: datetime) -> date:
        return at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()

    for label in ("all", "region: N", "region: S"):
        seen = [one for one in sessions if day(one["at"]) <= AS_OF and label in ("all", f"region: {one['region']}")]
        for activity in ("session", "order"):
            days = defaultdict(set)
            for one in seen:
                if activity == "session" or one["bought"]:
                    days[one["client"]].add(day(one["at"]))
            check_windows(reports["window_churn"].rows, label, activity, days)
        check_gaps(reports, label, days)


def check_windows(rows: pd.DataFrame, label: str, activity: str, days: dict[str, set[date]]) -> None:
    own = rows[(rows["dimension"] == label) & (rows["activity"] == activity) & (rows["granularity"] == "week")]
    found = dict(zip(own["period"], own[["previous_customers", "retained_customers"]].to_numpy().tolist(), strict=True))
    expected = {}
    every = [one for own_days in days.values() for one in own_days]
    week = min(every) - timedelta(days=min(every).weekday()) if every else AS_OF
    while every and week + timedelta(days=7) <= AS_OF:
        later = week + timedelta(days=7)
        before = {c for c, own_days in days.items() if any(week <= one < later for one in own_days)}
        again = {c for c in before if any(later <= one < later + timedelta(days=7) for one in days[c])}
        expected[later] = [len(before), len(again)]
        week = later
    assert found == expected


def check_gaps(reports: dict[str, Any], label: str, days: dict[str, set[date]]) -> None:
    gaps: list[tuple[int, bool]] = []
    for own_days in days.values():
        ordered = sorted(own_days)
        gaps += [((after - before).days, True) for before, after in pairwise(ordered)]
        gaps.append(((AS_OF - ordered[-1]).days, False))
    curve = reports["gap_survival"].rows
    curve = curve[(curve["dimension"] == label) & (curve["acquisition"] == "all")].set_index("days")
    left = Fraction(1)
    expected = {}
    for time in range(max((gap for gap, _ in gaps), default=-1) + 1):
        at_risk = sum(gap >= time for gap, _ in gaps)
        left *= 1 - Fraction(sum(gap == time and ended for gap, ended in gaps), at_risk)
        expected[time] = float(left)
    assert curve["survival"].to_dict() == pytest.approx(expected)
    ended = [gap for gap, is_event in gaps if is_event]
    status = reports["overdue"].rows
    status = status[status["dimension"] == label].set_index("status")["customers"]
    if not ended:
        assert status.sum() == len(days) == status.get("not known", 0)
        return
    usual = next(time for time, level in expected.items() if 1 - level >= (1 - left) / 2 - 1e-12)
    late = 0
    for own_days in days.values():
        own_gap = Fraction(usual + (max(own_days) - min(own_days)).days, len(own_days))
        late += (AS_OF - max(own_days)).days > 2 * own_gap
    assert status.to_dict() == {"on time": len(days) - late, "overdue": late}
    alive = reports["probability_alive"].rows
    assert alive.loc[alive["dimension"] == label, "customers"].sum() == len(days)
