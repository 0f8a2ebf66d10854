"""Cohorts against arithmetic by hand, a second implementation over event lists, and CDNOW in plain pandas."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.analytics.cohorts import STEPS, cohorts
from include.measures.periods import WEEKDAYS
from include.schemas.reports import Report
from include.staging.tables import Tables


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
        "1 order lies on a day before the customer's download, and no order of such a day is in this table."
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


def test_as_many_offsets_as_one_likes(tables_of: Any) -> None:
    came = [0, 1, 61, 62, 63, 123, 124, 130]  # at the edges of whatever numbers of two powers a machine likes
    sessions = [
        event(str(day), "a", (datetime(2024, 1, 1, 10) + timedelta(days=day)).isoformat(), bought=False)
        for day in [*came, 131]
    ]
    tables = tables_of(sessions, [("a", datetime(2024, 1, 1))])
    retention = cohorts(tables, as_of=date(2024, 6, 30), max_offset_days=130, kept_days=200)["retention"].rows
    daily = retention[(retention["dimension"] == "all") & (retention["granularity"] == "day")].set_index("offset")
    assert list(daily.index) == list(range(131))
    assert daily.index[daily["customers"] == 1].tolist() == came
    assert set(daily["unbounded_customers"]) == {1}


Event = tuple[str, datetime, str, bool, int, str | None]  # client, instant, id, bought, amount, region
Cell = tuple[str, date, int]  # granularity, cohort, offset
LIMITS = {"day": 4, "week": 3, "month": 2}


def start_of(day: date, granularity: str, first_weekday: int) -> date:
    starts = {
        "day": day,
        "week": day - timedelta(days=(day.weekday() - first_weekday) % 7),
        "month": day.replace(day=1),
    }
    return starts[granularity]


def following(start: date, granularity: str) -> date:
    """The start of the next period."""
    return (start + timedelta(days={"day": 1, "week": 7, "month": 31}[granularity])).replace(
        **({"day": 1} if granularity == "month" else {})
    )


class Plain:
    """Cohorts over event lists: for every cell, look at every customer."""

    def __init__(
        self, events: list[Event], downloads: dict[str, datetime], zone: str, as_of: date, first_weekday: int
    ) -> None:
        self.as_of, self.first_weekday = as_of, first_weekday

        def day(at: datetime) -> date:
            return at.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(zone)).date()

        seen = sorted((one for one in events if day(one[1]) <= as_of), key=lambda one: (one[1], one[2]))
        self.visits = [(client, day(at), bought, amount, region) for client, at, _, bought, amount, region in seen]
        self.downloads = {client: day(at) for client, at in downloads.items() if day(at) <= as_of}
        self.first_region = {visit[0]: visit[4] for visit in reversed(self.visits)}
        self.labels = {"all": lambda region: True}
        for value in {visit[4] for visit in self.visits} | {self.first_region.get(one) for one in self.downloads}:
            self.labels[f"region: {value or '(unknown)'}"] = lambda region, value=value: region == value

    def of_label(self, label: str) -> tuple[list[Any], dict[str, date]]:
        """The sessions carrying the value, and the downloads of those whose first session carries it."""
        belongs = self.labels[label]
        members = {one: day for one, day in self.downloads.items() if belongs(self.first_region.get(one))}
        return [visit for visit in self.visits if belongs(visit[4])], members

    def cells(self, starts: dict[Any, date], granularity: str) -> Any:
        """Every cell that has begun: its key, its cohort's members, first and last day of its period."""
        cohort_of = {one: start_of(day, granularity, self.first_weekday) for one, day in starts.items()}
        cohort = min(cohort_of.values(), default=None)
        while cohort is not None and cohort <= max(cohort_of.values()):
            begin = cohort
            for offset in range(LIMITS[granularity] + 1):
                end = following(begin, granularity) - timedelta(days=1)
                if begin <= self.as_of:
                    yield (granularity, cohort, offset), [one for one in starts if cohort_of[one] == cohort], begin, end
                begin = following(begin, granularity)
            cohort = following(cohort, granularity)

    def step(self, label: str, number: int) -> dict[Cell, tuple[Any, ...]]:
        """Cohort customers, customers, complete: of the step from event `number` to the next, 0 being the download."""
        visits, members = self.of_label(label)
        orders: dict[str, list[date]] = {}
        for client, day, bought, _, _ in visits:
            if bought:
                orders.setdefault(client, []).append(day)
        if number == 0:
            starts = members
            ends = {one: [day for day in orders.get(one, []) if day >= members[one]][:1] for one in members}
        else:
            starts = {one: days[number - 1] for one, days in orders.items() if len(days) >= number}
            ends = {one: orders[one][number : number + 1] for one in starts}
        return {
            key: (len(cohort), sum(begin <= day <= end for one in cohort for day in ends[one]), end <= self.as_of)
            for granularity in ("day", "week")
            for key, cohort, begin, end in self.cells(starts, granularity)
        }

    def after_download(self, label: str) -> dict[Cell, tuple[Any, ...]]:
        """Cohort customers, active, active then or later, orders, revenue, revenue so far, complete."""
        visits, members = self.of_label(label)
        found = {}
        for granularity in ("day", "week", "month"):
            for key, cohort, begin, end in self.cells(members, granularity):
                later = [visit for visit in visits if visit[0] in cohort and visit[1] >= members[visit[0]]]
                within = [visit for visit in later if begin <= visit[1] <= end]
                bought = [visit[3] for visit in within if visit[2]]
                found[key] = (
                    len(cohort),
                    len({visit[0] for visit in within}),
                    len({visit[0] for visit in later if visit[1] >= begin}),
                    len(bought),
                    sum(bought),
                    sum(visit[3] for visit in later if visit[2] and visit[1] <= end),
                    end <= self.as_of,
                )
        return found


def table_of(report: Report, label: str, names: list[str]) -> dict[Cell, tuple[Any, ...]]:
    rows = report.rows[report.rows["dimension"] == label]
    keys = rows[["granularity", "period", "offset"]].itertuples(index=False, name=None)
    return dict(zip(keys, rows[names].itertuples(index=False, name=None), strict=True))


HOURS = st.one_of(st.sampled_from([0, 1, 2, 26, 21 * 24 + 1]), st.integers(0, 50 * 24))
VISITS = st.tuples(
    st.sampled_from("abcd"), HOURS, st.booleans(), st.integers(-5, 50), st.sampled_from(["North", "South", None])
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(VISITS, max_size=25),
    st.dictionaries(st.sampled_from("abcde"), HOURS),
    st.sampled_from(["UTC", "Europe/Berlin"]),
    st.sampled_from(["monday", "sunday"]),
)
def test_equals_a_second_implementation(
    tables_of: Any, visits: list[Any], arrivals: dict[str, int], zone: str, week_start: str
) -> None:
    start = datetime(2024, 3, 10, 22)  # Berlin changes its clocks on 31 March, 21 days and an hour later
    events = [
        (client, start + timedelta(hours=hour), f"{n:03}", bought, amount, region)
        for n, (client, hour, bought, amount, region) in enumerate(visits)
    ]
    downloads = {client: start + timedelta(hours=hour) for client, hour in arrivals.items()}
    names = ("client", "at", "id", "bought", "amount", "region")
    sessions = [dict(zip(names, one, strict=True)) for one in events]
    as_of = date(2024, 4, 15)
    tables = tables_of(sessions, list(downloads.items()), dimensions=("region",), time_zone=zone, week_start=week_start)
    reports = cohorts(
        tables,
        as_of=as_of,
        max_offset_days=LIMITS["day"],
        max_offset_weeks=LIMITS["week"],
        max_offset_months=LIMITS["month"],
        kept_days=99,
        kept_weeks=99,
        kept_months=99,
    )
    plain = Plain(events, downloads, zone, as_of, WEEKDAYS.index(week_start))
    for report in reports.values():
        assert set(report.rows["dimension"]) <= set(plain.labels)
    for label in plain.labels:
        steps = {step: plain.step(label, number) for number, step in enumerate(STEPS)}
        for step, expected in steps.items():
            assert table_of(reports[step], label, ["cohort_customers", "customers", "is_complete"]) == expected
        expected = plain.after_download(label)
        retained = ["cohort_customers", "customers", "unbounded_customers", "is_complete"]
        assert table_of(reports["retention"], label, retained) == {
            key: (size, active, since, complete) for key, (size, active, since, _, _, _, complete) in expected.items()
        }
        paid = ["cohort_customers", "orders", "revenue", "cumulative_revenue", "is_complete"]
        assert table_of(reports["revenue"], label, paid) == {
            key: (size, orders, revenue, so_far, complete)
            for key, (size, _, _, orders, revenue, so_far, complete) in expected.items()
        }
        curves = {
            **{step: {key: cell[:2] for key, cell in table.items() if cell[2]} for step, table in steps.items()},
            "retention, n-day": {key: cell[:2] for key, cell in expected.items() if cell[-1]},
            "retention, unbounded": {key: (cell[0], cell[2]) for key, cell in expected.items() if cell[-1]},
        }
        average = reports["average_curves"].rows
        average = average[average["dimension"] == label]
        assert {
            (row.curve, row.granularity, row.offset): (row.cohort_customers, row.customers, row.n)
            for row in average.itertuples()
        } == {key: value for name, cells in curves.items() for key, value in averaged(name, cells).items()}
    for name in (*STEPS, "retention"):
        rows = reports[name].rows
        assert rows["rate"].notna().eq(rows["is_complete"] & (rows["cohort_customers"] > 0)).all()


def averaged(curve: str, cells: dict[Cell, tuple[int, int]]) -> dict[tuple[str, str, int], tuple[int, int, int]]:
    """Sums of sizes and of customers, and how many cohorts, over the complete cells of cohorts with customers."""
    found: dict[tuple[str, str, int], tuple[int, int, int]] = {}
    for (granularity, _, offset), (size, customers) in cells.items():
        if size:
            so_far = found.get((curve, granularity, offset), (0, 0, 0))
            found[curve, granularity, offset] = (so_far[0] + size, so_far[1] + customers, so_far[2] + 1)
    return found


def test_dates_before_1970_and_a_month_of_28_days(tables_of: Any) -> None:
    # Downloaded on 31 January 1969, back on 1 March: a day and 28 days later, but two months.
    sessions = [event("1", "a", "1969-03-01T10:00")]
    rows = cohorts(tables_of(sessions, [("a", datetime(1969, 1, 31))]), as_of=date(1969, 3, 31))["retention"].rows
    monthly = [cell(rows, "month", "1969-01-01", offset)["customers"] for offset in (0, 1, 2)]
    assert monthly == [0, 0, 1]


def test_the_newest_cohorts_with_customers_are_kept(tables_of: Any) -> None:
    # The last customer came on 10 January; a table of the newest two days ends there, a year later too.
    downloads = [("a", datetime(2024, 1, 1)), ("b", datetime(2024, 1, 10))]
    reports = cohorts(tables_of([], downloads), as_of=date(2025, 1, 31), kept_days=2)
    daily = reports["retention"].rows.query("granularity == 'day'")
    assert sorted(set(daily["period"])) == [date(2024, 1, 9), date(2024, 1, 10)]
    assert daily["is_recent"].all()
    # The averages still rest on both customers.
    average = reports["average_curves"].rows.query("granularity == 'day' and curve == 'retention, n-day'")
    assert set(average["cohort_customers"]) == {2}


def test_nothing_found_is_said(tables_of: Any) -> None:
    reports = cohorts(tables_of([event("1", "a", "2024-01-01T10:00")], []), as_of=date(2024, 1, 31))
    assert reports["retention"].warnings == ["There is nothing to report up to 2024-01-31."]
    assert reports["first_to_second"].warnings == []


def test_cdnow(cdnow: Tables, cdnow_orders: pd.DataFrame, cdnow_end: date) -> None:
    """In plain pandas. Every customer's first order is the download, and weeks begin on Monday."""
    reports = cohorts(cdnow, as_of=cdnow_end, kept_weeks=100)
    orders = cdnow_orders.assign(
        day=pd.to_datetime(cdnow_orders["day"]), amount=cdnow_orders["amount"].astype("float64")
    ).sort_values(["client", "day"])
    orders["week"] = orders["day"].dt.to_period("W-SUN").dt.start_time
    orders["cohort"] = orders.groupby("client")["week"].transform("min")
    orders["offset"] = (orders["week"] - orders["cohort"]).dt.days // 7
    sizes = orders.groupby("cohort")["client"].nunique()
    assert sizes.sum() == 23_570

    def weekly(type_: str, measure: str) -> pd.Series:
        rows = reports[type_].rows
        rows = rows[(rows["granularity"] == "week") & (rows[measure] != 0)]
        return rows.set_index([pd.to_datetime(rows["period"]), "offset"])[measure]

    def expect(found: pd.Series, expected: pd.Series) -> None:
        assert found.to_dict() == pytest.approx(expected.to_dict())

    shown = orders[orders["offset"] <= 15]
    cells = shown.groupby(["cohort", "offset"])
    expect(weekly("retention", "customers"), cells["client"].nunique())
    expect(weekly("revenue", "orders"), cells.size())
    expect(weekly("revenue", "revenue"), cells["amount"].sum()[lambda sums: sums != 0])
    last = orders.groupby("client").agg(cohort=("cohort", "first"), offset=("offset", "max"))
    since = pd.concat([last[last["offset"] >= k].groupby("cohort").size().rename(k) for k in range(16)], axis=1)
    expect(weekly("retention", "unbounded_customers"), since.stack())
    assert weekly("retention", "cohort_customers").xs(0, level="offset").to_dict() == sizes.to_dict()

    orders["gap"] = (orders.groupby("client")["week"].shift(-1) - orders["week"]).dt.days // 7
    number = orders.groupby("client").cumcount()
    for position, step in enumerate(STEPS[1:]):
        of_step = orders[(number == position) & (orders["gap"] <= 15)]
        expect(weekly(step, "customers"), of_step.groupby(["week", "gap"]).size())
    first_order = reports["download_to_first_order"].rows
    assert set(first_order.loc[first_order["offset"] > 0, "customers"]) <= {0}
    # Their downloads are of early 1997, and it is the newest of those weeks that the heatmaps show.
    recent = first_order[(first_order["granularity"] == "week") & first_order["is_recent"]]
    assert recent["cohort_customers"].gt(0).all()
