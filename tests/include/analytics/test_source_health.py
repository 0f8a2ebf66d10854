"""Source health against arithmetic by hand, and against the same told a second way in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.analytics.source_health import RECENT_DAYS, expectation, source_health
from include.staging.tables import Tables, tables_from_frames

AS_OF = date(2024, 5, 5)  # a Sunday
DAY = timedelta(days=1)
Days = list[tuple[str, int]]  # source, days before AS_OF


def at(days_before: int) -> datetime:
    return datetime.combine(AS_OF - days_before * DAY, datetime.min.time()) + timedelta(hours=12)


def tables_with(sessions: Days, customers: Days = (), lines: Days = (), changed_hours: int | None = None) -> Tables:
    """Sessions and customers of sources on days; `lines` are of the order of that day."""
    frame = pd.DataFrame(
        {
            "id": pd.Series([f"s{number}" for number in range(len(sessions))], dtype="str"),
            "client": "a",
            "session_start_date": pd.Series([at(day) for _, day in sessions], dtype="datetime64[us]"),
            "has_purchased": True,
            "payment_amount": 1.0,
            "source": pd.Series([source for source, _ in sessions], dtype="str"),
        }
    )
    if changed_hours is not None:
        frame["changed_at"] = frame["session_start_date"] + pd.Timedelta(hours=changed_hours)
    downloads = pd.DataFrame(
        {
            "client": pd.Series([f"c{number}" for number in range(len(customers))], dtype="str"),
            "download_date": pd.Series([at(day) for _, day in customers], dtype="datetime64[us]"),
            "source": pd.Series([source for source, _ in customers], dtype="str"),
        }
    )
    orders = {day: f"s{number}" for number, (_, day) in enumerate(sessions)}
    basket = pd.DataFrame(
        [(orders.get(day, "unknown"), "tea", 1.0, 1.0, source) for source, day in lines],
        columns=["order_id", "product", "price", "quantity", "source"],
    )
    return tables_from_frames(frame, downloads, basket=basket if len(lines) else None)


def reported(tables: Tables, **settings_: Any) -> dict[str, list[dict[str, Any]]]:
    reports = source_health(tables, as_of=AS_OF, **settings_)
    return {
        name: [
            {field: value for field, value in row.items() if not pd.isna(value)}
            for row in report.rows.to_dict(orient="records")
        ]
        for name, report in reports.items()
    }


def test_a_day_is_compared_with_its_weekday_and_silence_is_late() -> None:
    sundays = [30, 10, 12, 9, 11, 10, 13, 8, 10]  # the newest first
    north = [("north", 7 * week) for week, number in enumerate(sundays) for _ in range(number)]
    south = [("south", day) for day in range(3, 70) for _ in range(5)]
    tables = tables_with([*north, *south])
    first, second = reported(tables)["sources"]
    # North: the median of the eight is 10. Distances 0 2 1 1 0 3 2 0, their median 1, so that the Poisson scatter
    # sqrt(10) = 3.1623 is the larger; 10 + 4 x 3.1623 = 22.6. Below there would be -2.6, but no Sunday was ever empty.
    assert first == {
        "dimension": "all",
        "source": "north",
        "source_kind": "sessions",
        "newest_day": AS_OF,
        "days_since_newest": 0,
        "usual_silence_days": 6,
        "is_late": False,
        "source_rows": 30,
        "expected_rows": 10.0,
        "expected_low": 1.0,
        "expected_high": 22.0,
        "is_unusual": True,
        "n": 8,
        "unusual_days": 1,
    }
    # South: five a day, none for three days; 5 - 4 x sqrt(5) is below zero, and one is the least.
    assert second == {
        "dimension": "all",
        "source": "south",
        "source_kind": "sessions",
        "newest_day": AS_OF - 3 * DAY,
        "days_since_newest": 3,
        "usual_silence_days": 0,
        "is_late": True,
        "source_rows": 0,
        "expected_rows": 5.0,
        "expected_low": 1.0,
        "expected_high": 13.0,
        "is_unusual": True,
        "n": 8,
        "unusual_days": 3,
    }
    report = source_health(tables, as_of=AS_OF)["sources"]
    assert report.warnings == [
        "north: 30 rows on 2024-05-05, and 1 to 22 were to be expected.",
        "south: no row for 3 days; in the weeks before it was never silent for more than 0.",
        "south: 0 rows on 2024-05-05, and 1 to 13 were to be expected.",
    ]
    assert report.kpis == {"sources": 2.0, "late_sources": 1.0, "unusual_sources": 2.0}
    (newest,) = [one for one in reported(tables)["days"] if one["source"] == "north" and one["period"] == AS_OF]
    assert newest["deviation"] == newest["distance"] == pytest.approx(20 / math.sqrt(10))


def test_a_source_that_scatters_widely_is_expected_to() -> None:
    # Median 115; distances 15 45 55 35 35 25 15 65, their median 35; 1.4826 x 35 = 51.891.
    found = expectation([100, 160, 60, 80, 150, 90, 130, 180], 4)
    assert (found.expected, found.spread, found.n) == (115.0, pytest.approx(1.4826 * 35), 8)
    assert (found.low, found.high) == (1.0, math.floor(115 + 4 * 1.4826 * 35))


def test_of_young_sources_nothing_is_expected() -> None:
    rows = reported(tables_with([("north", day) for day in range(27)]))
    assert {name for row in rows["days"] for name in row} == {
        "dimension", "source", "source_kind", "period", "source_rows", "n",
    }  # fmt: skip
    assert [row["n"] for row in rows["days"]] == [day // 7 for day in range(27)]
    assert "is_late" not in rows["sources"][0]
    assert source_health(tables_with([("north", 3)]), as_of=AS_OF)["sources"].warnings == []


def test_lines_count_on_the_day_of_their_order_and_customers_on_their_own() -> None:
    sessions = [("till", day) for day in (0, 2)]
    rows = reported(tables_with(sessions, [("crm", 1), ("crm", 1)], [("web", 2), ("web", 2), ("web", 9)]))["days"]
    assert [(row["source"], row["source_kind"], row["source_rows"]) for row in rows if row["source_rows"]] == [
        ("till", "sessions", 1),
        ("till", "sessions", 1),
        ("crm", "customers", 2),
        ("web", "products", 2),
    ]


def test_sources_without_rows_are_shown_and_those_that_are_there_no_more_are_not() -> None:
    tables = replace(
        tables_with([("old", 0), ("new", 1)]), sources={"sessions": ("new", "none"), "customers": ("crm",)}
    )
    report = source_health(tables, as_of=AS_OF, kept_days=10, weeks=2)["sources"]
    assert report.rows["source"].tolist() == ["new", "none", "crm"]
    assert report.rows["is_late"].astype(object).where(report.rows["is_late"].notna(), None).tolist() == [
        None, True, True,
    ]  # fmt: skip
    assert report.warnings == ["none: no row up to 2024-05-05.", "crm: no row up to 2024-05-05."]


def test_of_sources_that_fell_silent_long_ago_the_newest_row_is_told() -> None:
    # Ten days are shown and two weeks before them looked at: from 2024-04-12 on, 24 days. All but one end before.
    sessions = [("new", 1), ("old", 40), ("old", 400)]
    tables = tables_with(sessions, [("crm", 1_000), ("crm", 33)], [("web", 400), ("web", 40)])
    tables = replace(tables, sources={"sessions": ("new", "old"), "customers": ("crm",), "basket": ("web",)})
    report = source_health(tables, as_of=AS_OF, kept_days=10, weeks=2)["sources"]
    days = [1, 40, 33, 40]
    assert report.rows["source"].tolist() == ["new", "old", "crm", "web"]
    assert report.rows["newest_day"].tolist() == [AS_OF - day * DAY for day in days]
    assert report.rows["days_since_newest"].tolist() == days
    assert report.rows["is_late"].tolist()[1:] == [True, True, True]
    assert report.warnings == [
        "old: no row since 2024-03-26, for 40 days.",
        "crm: no row since 2024-04-02, for 33 days.",
        "web: no row since 2024-03-26, for 40 days.",
    ]
    assert report.kpis["late_sources"] == 3.0


def test_what_changed_after_the_report_date_is_not_known_yet() -> None:
    days = [("north", day) for day in range(3)]
    assert reported(tables_with(days, changed_hours=1))["sources"][0]["newest_change"] == AS_OF
    # The newest session changes the day after, so the newest change is that of the one before.
    assert reported(tables_with(days, changed_hours=13))["sources"][0]["newest_change"] == AS_OF
    assert reported(tables_with(days[1:], changed_hours=37))["sources"][0]["newest_change"] == AS_OF


def test_noise_is_not_unusual_and_a_lost_half_is() -> None:
    random = np.random.default_rng(11)
    for mean in (3, 30, 300):
        days = random.poisson(mean, (2_000, 9)).tolist()
        found = [(expectation(day[1:], 4), day[0]) for day in days]
        assert np.mean([not one.low <= today <= one.high for one, today in found]) < 0.01
    assert np.mean([not one.low <= today / 2 <= one.high for one, today in found]) > 0.99
    # Scatter of 20 % beyond Poisson's, as shops have it.
    wide = (random.poisson(random.lognormal(np.log(300), 0.2, (2_000, 9)))).tolist()
    assert np.mean([not (e := expectation(day[1:], 4)).low <= day[0] <= e.high for day in wide]) < 0.05


# ── A second way ─────────────────────────────────────────────────────────────────────────────────────────────────────


def told_plainly(days: Days, weeks: int, weeks_min: int, kept_days: int) -> dict[tuple[str, date], dict[str, Any]]:
    """Source and day: what the report `days` should say, from a count per date."""
    found = {}
    oldest_looked_at = kept_days - 1 + 7 * weeks
    for source in {source for source, _ in days}:
        counts = Counter(AS_OF - before * DAY for one, before in days if one == source and before <= oldest_looked_at)
        begin = min((day for day in counts if day <= AS_OF), default=None)
        for before in range(kept_days):
            day = AS_OF - before * DAY
            if begin is None or day < begin:
                continue
            like = [counts[day - timedelta(weeks=week)] for week in range(1, weeks + 1)]
            like = [number for week, number in enumerate(like, start=1) if day - timedelta(weeks=week) >= begin]
            row: dict[str, Any] = {"source_rows": counts[day], "n": len(like)}
            if len(like) >= weeks_min:
                middle = median(like)
                spread = max(1.4826 * median([abs(one - middle) for one in like]), middle**0.5, 1)
                allowed = [
                    number
                    for number in range(1_000)
                    if abs(number - middle) <= 3 * spread and (number or middle < 5 or 0 in like)
                ]
                row |= {"expected_rows": middle, "expected_low": allowed[0], "expected_high": allowed[-1]}
                row["is_unusual"] = counts[day] not in allowed
            found[source, day] = row
    return found


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    days=st.lists(
        st.tuples(st.sampled_from(["north", "south"]), st.integers(-3, 45), st.sampled_from([1, 1, 2, 7, 20])),
        min_size=1,
        max_size=60,
    ),
    weeks=st.integers(2, 4),
)
def test_any_days_are_judged_as_plain_python_judges_them(days: list[tuple[str, int, int]], weeks: int) -> None:
    events = [(source, before) for source, before, number in days for _ in range(number)]
    rows = reported(tables_with(events), weeks=weeks, weeks_min=2, limit=3, kept_days=20)
    names = ("source_rows", "n", "expected_rows", "expected_low", "expected_high", "is_unusual")
    found = {(row["source"], row["period"]): {name: row[name] for name in names if name in row} for row in rows["days"]}
    expected = told_plainly(events, weeks, 2, 20)
    assert found == expected
    for row in rows["sources"]:
        own = {day: one for (source, day), one in expected.items() if source == row["source"]}
        newest = sorted(own)[-RECENT_DAYS:]
        assert row["unusual_days"] == sum(own[day].get("is_unusual", False) for day in newest)
        assert row["days_since_newest"] == min(
            before for source, before in events if source == row["source"] and before >= 0
        )
