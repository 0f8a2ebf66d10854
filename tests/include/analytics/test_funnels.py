"""Funnels against arithmetic by hand, a second implementation over event lists, and invariants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from include.analytics.funnels import funnels
from include.staging.tables import Tables, tables_from_frames

AS_OF = date(2024, 4, 7)
Row = dict[str, Any]


def build(sessions: Sequence[Row], customers: Sequence[Row], zone: str = "UTC", region: bool = True) -> Tables:
    """Tables from dicts: sessions with id, client, at, bought, view (instant), basket (true or false), region;
    customers with client, at, signup, tutorial (instants)."""
    visits = {
        "id": pd.Series([one["id"] for one in sessions], dtype="str"),
        "client": pd.Series([one["client"] for one in sessions], dtype="str"),
        "session_start_date": pd.Series([one["at"] for one in sessions], dtype="datetime64[us]"),
        "has_purchased": pd.Series([one["bought"] for one in sessions], dtype="bool"),
        "payment_amount": pd.Series([1.0 for _ in sessions], dtype="float64"),
    }
    if region:
        visits["dimension_region"] = pd.Series([one.get("region") for one in sessions], dtype="object")
    if any("view" in one for one in sessions):
        visits["action_view"] = pd.Series([one["view"] for one in sessions], dtype="datetime64[us]")
    if any("basket" in one for one in sessions):
        visits["action_basket"] = pd.Series([one["basket"] for one in sessions], dtype="boolean")
    arrivals = {
        "client": pd.Series([one["client"] for one in customers], dtype="str"),
        "download_date": pd.Series([one["at"] for one in customers], dtype="datetime64[us]"),
    }
    if any("signup" in one for one in customers):
        arrivals["signup_date"] = pd.Series([one["signup"] for one in customers], dtype="datetime64[us]")
    for name in ("tutorial", "agreed"):
        if any(name in one for one in customers):
            kind = "boolean" if name == "agreed" else "datetime64[us]"
            arrivals[f"action_{name}"] = pd.Series([one[name] for one in customers], dtype=kind)
    return tables_from_frames(pd.DataFrame(visits), pd.DataFrame(arrivals), time_zone=zone)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def steps_of(rows: pd.DataFrame, granularity: str, period: str, *names: str) -> list[tuple[Any, ...]]:
    own = rows[(rows["dimension"] == "all") & (rows["granularity"] == granularity)]
    own = own[own["period"] == date.fromisoformat(period)]
    return list(own[list(names)].itertuples(index=False, name=None))


def test_sessions_by_hand() -> None:
    day = "2024-04-01T"
    sessions = [
        # Everything in order; the basket is true or false and has no time.
        {"id": "1", "client": "a", "at": at(day + "10:00"), "view": at(day + "10:05"), "basket": True, "bought": True},
        # The view at the very start of the session counts.
        {"id": "2", "client": "a", "at": at(day + "11:00"), "view": at(day + "11:00"), "basket": True, "bought": False},
        # Bought without a basket: got as far as the view.
        {"id": "3", "client": "b", "at": at(day + "12:00"), "view": at(day + "12:01"), "basket": False, "bought": True},
        # A view before the session began is not in order.
        {"id": "4", "client": "b", "at": at(day + "13:00"), "view": at(day + "12:59"), "basket": True, "bought": True},
        {"id": "5", "client": "c", "at": at(day + "10:30"), "view": None, "basket": None, "bought": False},
    ]
    rows = funnels(build(sessions, []), as_of=AS_OF)["session_funnel"].rows
    # In order: 5 sessions, 3 views (1, 2, 3), 2 baskets (1, 2), 1 purchase (1). In any order: 4, 3 and 3.
    found = steps_of(rows, "week", "2024-04-01", "funnel_step", "sessions", "in_any_order")
    assert found == [("session", 5, 5), ("view", 3, 4), ("basket", 2, 3), ("purchase", 1, 3)]
    rates = steps_of(rows, "week", "2024-04-01", "numerator", "denominator", "rate", "overall_rate")
    assert rates[1] == (3, 5, 0.6, 0.6)
    assert rates[3] == (1, 2, 0.5, 0.2)
    # The month is not over, so it has counts and no rates; 2 April has zeros, and no rate of them.
    assert steps_of(rows, "month", "2024-04-01", "sessions", "is_complete")[0] == (5, False)
    assert pd.isna(steps_of(rows, "month", "2024-04-01", "rate")[1][0])
    assert steps_of(rows, "day", "2024-04-02", "sessions", "is_complete") == [(0, True)] * 4
    # Seven days; at 10 o'clock two sessions began, one of which bought.
    ten = rows[(rows["granularity"] == "hour") & (rows["hour_of_day"] == 10) & (rows["dimension"] == "all")]
    assert ten["sessions"].tolist() == [2, 1, 1, 1]
    assert ten["mean_per_day"].tolist() == pytest.approx([2 / 7, 1 / 7, 1 / 7, 1 / 7])
    assert set(ten["n"]) == {7}


def test_customers_by_hand() -> None:
    def visit(id_: str, client: str, when: str, bought: bool) -> Row:
        return {"id": id_, "client": client, "at": at(when), "bought": bought}

    customers = [
        {"client": "a", "at": at("2024-03-01T10:00"), "signup": at("2024-03-01T11:00")},
        {"client": "b", "at": at("2024-03-01T10:00"), "signup": at("2024-03-01T10:00")},
        {"client": "c", "at": at("2024-03-02T10:00"), "signup": at("2024-03-03T10:00")},
        {"client": "d", "at": at("2024-03-02T10:00"), "signup": None},
        {"client": "e", "at": at("2024-04-01T10:00"), "signup": at("2024-04-02T10:00")},
    ]
    sessions = [
        visit("1", "a", "2024-03-02T11:00", True),  # session and order a day after the signup
        visit("2", "a", "2024-03-20T11:00", True),
        visit("3", "b", "2024-03-01T10:00", False),  # download, signup and session at one instant, in this order
        visit("4", "b", "2024-03-11T23:59", True),  # on the tenth day after the download: the last of the window
        visit("5", "c", "2024-03-02T11:00", True),  # before the signup
        visit("6", "c", "2024-03-13T00:00", True),  # on the eleventh day
        visit("7", "d", "2024-03-02T11:00", True),  # never signed up
    ]
    as_of = date(2024, 4, 10)  # the last day of March's last window
    reports = funnels(build(sessions, customers), as_of=as_of, window_days=10)
    rows = reports["customer_funnel"].rows
    count = ("funnel_step", "customers", "in_progress", "in_any_order", "is_complete")
    # March: a to d downloaded, a b c signed up, a and b had a session in time, both ordered. c and d are lost.
    assert steps_of(rows, "month", "2024-03-01", *count) == [
        ("download", 4, 0, 4, True),
        ("signup", 3, 0, 3, True),
        ("first_session", 2, 0, 4, True),
        ("first_order", 2, 0, 4, True),
    ]
    assert steps_of(rows, "month", "2024-03-01", "numerator", "denominator", "overall_rate")[1:] == [
        (3, 4, 0.75),
        (2, 3, 0.5),
        (2, 2, 0.5),
    ]
    # April: e may still have a session until the 11th, so nobody is lost, and the month has no rates.
    assert [one[1:3] for one in steps_of(rows, "month", "2024-04-01", *count)] == [(1, 0), (1, 0), (0, 1), (0, 0)]
    assert all(pd.isna(one[0]) for one in steps_of(rows, "month", "2024-04-01", "overall_rate"))
    step: Any = reports["conversion"].rows.set_index(["dimension", "funnel_step"]).loc["all"]
    assert step["customers"].tolist() == [5, 4, 2, 2]
    assert step["overall_denominator"].tolist() == [4] * 4
    assert step["overall_rate"].tolist() == [1, 0.75, 0.5, 0.5]
    # Signup after 1, 0 and 24 hours, e after 24; d is watched to the end of the window, 10 days and 14 hours.
    # S: 4/5 at 0, 3/5 at 1, 1/5 at 24: half of all, and of those four, by hour 24 and by hour 1.
    assert step.loc["signup", ["km_median_hours", "converted_median_hours"]].tolist() == [24, 1]
    # The mean is that of those whose window is over: (1 + 0 + 24) / 3.
    assert step.loc["signup", "mean_hours"] == pytest.approx(25 / 3)
    # Session to order: a at once, b after 10 days 13:59.
    assert step.loc["first_order", "mean_hours"] == pytest.approx((10 * 24 + 13 + 59 / 60) / 2)
    # With a day from session to order only a converts; b is lost though the window is as it was.
    short = funnels(
        build(sessions, customers), as_of=as_of, window_days=10, step_window_days={"first_order": 1, "frist_order": 2}
    )
    assert steps_of(short["customer_funnel"].rows, "month", "2024-03-01", "customers") == [(4,), (3,), (2,), (1,)]
    assert short["conversion"].warnings == [
        (
            "FUNNEL_STEP_WINDOW_DAYS names frist_order, unknown to the customer funnel; "
            "there are signup, first_session, first_order."
        )
    ]


def test_days_without_hours_and_booleans_without_time() -> None:
    # The signup column holds days; b signed up the day before the download. `agreed` has no time.
    customers = [
        {"client": "a", "at": at("2024-03-01T10:00"), "signup": at("2024-03-01"), "agreed": True},
        {"client": "b", "at": at("2024-03-02T10:00"), "signup": at("2024-03-01"), "agreed": True},
        {"client": "c", "at": at("2024-03-02T10:00"), "signup": at("2024-03-02"), "agreed": None},
    ]
    sessions = [{"id": "1", "client": "a", "at": at("2024-03-01T10:00"), "bought": False}]
    reports = funnels(build(sessions, customers), as_of=AS_OF)
    step: Any = reports["conversion"].rows.set_index(["dimension", "funnel_step"]).loc["all"]
    assert step["customers"].to_dict() == {
        "download": 3, "signup": 2, "agreed": 1, "first_session": 1, "first_order": 0,
    }  # fmt: skip
    assert pd.isna(step.loc["agreed", "mean_hours"])
    assert step.loc["first_session", "mean_hours"] == 0
    assert reports["conversion"].warnings == [
        (
            "The columns agreed say whether and not when: such a step counts as made together with the step before "
            "it, and has no time to convert."
        )
    ]


def test_what_is_absent_is_left_out() -> None:
    sessions = [{"id": "1", "client": "a", "at": at("2024-04-06T10:00"), "bought": True}]
    customers = [{"client": "a", "at": at("2024-04-06T11:00"), "signup": None}]
    reports = funnels(build(sessions, customers), as_of=AS_OF, session_actions=("view",))
    assert reports["session_funnel"].definition["session_steps"] == ["session", "purchase"]
    assert reports["session_funnel"].warnings == [
        "FUNNEL_SESSION_ACTIONS names view, unknown to the sessions; there are none."
    ]
    assert reports["customer_funnel"].definition["customer_steps"] == ["download", "first_session", "first_order"]
    assert reports["customer_funnel"].warnings == [
        "No customer has a signup date, so the step is left out.",
        "1 customer has an order before the download; only sessions and orders after it count.",
        "No customer's window of 30 days is over yet, so there are no rates.",
    ]


def test_actions_are_those_named_in_that_order() -> None:
    base = {"client": "a", "at": at("2024-04-06T10:00"), "bought": True}
    sessions = [{**base, "id": "1", "view": at("2024-04-06T10:01"), "basket": True}]
    for actions in (("basket", "view"), ("basket",)):
        reports = funnels(build(sessions, []), as_of=AS_OF, session_actions=actions)
        assert reports["session_funnel"].definition["session_steps"] == ["session", *actions, "purchase"]


def test_a_day_with_a_clock_change_is_one_day() -> None:
    # Berlin, 31 March 2024: 2:00 becomes 3:00. Downloaded the day before at 12:00 local, a window of one day ends on
    # 31 March at 24:00 local, which is 22:00 UTC and 35 hours later.
    customers = [{"client": name, "at": at("2024-03-30T11:00")} for name in "abc"]
    sessions = [
        {"id": "1", "client": "a", "at": at("2024-03-31T21:59"), "bought": True},
        {"id": "2", "client": "b", "at": at("2024-03-31T22:00"), "bought": True},
    ]
    tables = build(sessions, customers, "Europe/Berlin")
    step = funnels(tables, as_of=AS_OF, window_days=1)["conversion"].rows
    step = step[step["dimension"] == "all"].set_index("funnel_step")
    assert step["customers"].tolist() == [3, 1, 1]
    assert step.loc["first_session", "mean_hours"] == pytest.approx(34 + 59 / 60)


def test_a_customer_belongs_as_a_whole_to_the_region_of_the_first_session() -> None:
    customers = [{"client": name, "at": at("2024-03-01T10:00")} for name in "abc"]
    sessions = [
        # a comes in the North and buys in the South; b does both in the South; c never comes.
        {"id": "1", "client": "a", "at": at("2024-03-01T11:00"), "bought": False, "region": "North"},
        {"id": "2", "client": "a", "at": at("2024-03-02T11:00"), "bought": True, "region": "South"},
        {"id": "3", "client": "b", "at": at("2024-03-01T11:00"), "bought": True, "region": "South"},
    ]
    reports = funnels(build(sessions, customers), as_of=AS_OF)
    rows = reports["conversion"].rows
    counts = rows.pivot(index="dimension", columns="funnel_step", values="customers")
    assert counts[["download", "first_session", "first_order"]].to_dict("index") == {
        "all": {"download": 3, "first_session": 2, "first_order": 2},
        "region: North": {"download": 1, "first_session": 1, "first_order": 1},
        "region: South": {"download": 1, "first_session": 1, "first_order": 1},
        "region: (unknown)": {"download": 1, "first_session": 0, "first_order": 0},
    }
    # From the session in the North at 11 o'clock to the order in the South a day later.
    north = rows[(rows["dimension"] == "region: North") & (rows["funnel_step"] == "first_order")]
    assert north["mean_hours"].tolist() == [24]
    assert "by that of the first session" in reports["conversion"].definition["dimension_values"]
    # A session counts by its own region: two of the three are the South's, and both orders.
    own = reports["session_funnel"].rows
    march = own[(own["granularity"] == "month") & (own["period"] == date(2024, 3, 1))]
    assert march[march["dimension"] == "region: South"]["sessions"].tolist() == [2, 2]
    assert march[march["dimension"] == "region: North"]["sessions"].tolist() == [1, 0]


# ── A second implementation ──────────────────────────────────────────────────────────────────────────────────────────

WINDOW, STEP_WINDOWS = 4, {"signup": 1, "first_order": 2}
START = datetime(2024, 3, 28, 22)  # Berlin changes its clocks on 31 March
Moment = tuple[datetime, date]


class Plain:
    """The definition, customer by customer and session by session."""

    def __init__(self, sessions: list[Row], customers: list[Row], zone: str) -> None:
        self.zone = ZoneInfo(zone)
        self.sessions = [one for one in sessions if self.day(one["at"]) <= AS_OF]
        self.customers = [one for one in customers if self.day(one["at"]) <= AS_OF]
        self.sessions_are_days = self.days_only([one["at"] for one in self.sessions])
        signups = [one["signup"] for one in self.customers]
        self.steps = ["download"] + (["signup"] if any(signups) else []) + ["tutorial", "first_session", "first_order"]
        self.are_days = {name: self.days_only([one[name] for one in self.customers]) for name in ("signup", "tutorial")}
        self.views_are_days = self.days_only([one["view"] for one in self.sessions])

    def local(self, moment: datetime) -> datetime:
        return moment.replace(tzinfo=UTC).astimezone(self.zone)

    def day(self, moment: datetime) -> date:
        return self.local(moment).date()

    def midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC).replace(tzinfo=None)

    def days_only(self, moments: list[datetime | None]) -> bool:
        return all(self.midnight(self.day(one)) == one for one in moments if one)

    def depth_of_session(self, one: Row) -> tuple[int, list[bool]]:
        viewed = one["view"] is not None and (
            one["view"] >= one["at"] or (self.views_are_days and self.day(one["view"]) >= self.day(one["at"]))
        )
        in_order = [True, viewed, bool(one["basket"]), one["bought"]]
        did = [True, one["view"] is not None, bool(one["basket"]), one["bought"]]
        return [*in_order, False].index(False), did

    def way(self, customer: Row) -> tuple[list[datetime], list[bool], date | None]:
        """Instants of the steps made, which steps were done at all, and until when the next one may be made."""
        own = [one for one in self.sessions if one["client"] == customer["client"]]
        candidates: dict[str, list[datetime]] = {
            "signup": [customer["signup"]] if customer["signup"] else [],
            "tutorial": [customer["tutorial"]] if customer["tutorial"] else [],
            "first_session": [one["at"] for one in own],
            "first_order": [one["at"] for one in own if one["bought"]],
        }
        entry, made, going = self.day(customer["at"]), [customer["at"]], True
        did, deadline = [True], None
        for step in self.steps[1:]:
            known = [one for one in candidates[step] if self.day(one) <= AS_OF]
            did.append(bool(known))
            if not going:
                continue
            days = self.are_days.get(step, self.sessions_are_days)
            before = made[-1]
            after = [one for one in known if one >= before or (days and self.day(one) >= self.day(before))]
            last = entry + timedelta(days=WINDOW)
            if step in STEP_WINDOWS:
                last = min(last, self.day(before) + timedelta(days=STEP_WINDOWS[step]))
            if after and self.day(min(after)) <= last:
                made.append(max(min(after), before))
            else:
                going, deadline = False, last
        return made, did, deadline

    def label(self, customer: Row) -> str:
        own = sorted(
            (one["at"], one["id"], one["region"]) for one in self.sessions if one["client"] == customer["client"]
        )
        return f"region: {own[0][2] if own else '(unknown)'}"


def median_of(observations: list[tuple[Fraction, bool]]) -> tuple[Fraction | None, Fraction | None]:
    """Of all and of those who convert, from the curve as Kaplan and Meier define it."""
    left, curve = Fraction(1), {}
    for time in sorted({time for time, event in observations if event}):
        at_risk = sum(other >= time for other, _ in observations)
        events = sum(other == time and event for other, event in observations)
        left *= 1 - Fraction(events, at_risk)
        curve[time] = left
    of_all = next((time for time, level in curve.items() if level <= Fraction(1, 2)), None)
    of_converted = next((time for time, level in curve.items() if (1 - level) * 2 >= 1 - left), None)
    return of_all, of_converted


HOURS = st.one_of(st.sampled_from([0, 1, 2, 24, 26]), st.integers(0, 10 * 24))
MAYBE = st.one_of(st.none(), st.integers(-3, 60))
VISITS = st.lists(
    st.tuples(st.sampled_from("abcd"), HOURS, MAYBE, st.sampled_from([True, False, None]), st.booleans(),
              st.sampled_from(["N", "S"])),
    max_size=16,
)  # fmt: skip
ARRIVALS = st.dictionaries(st.sampled_from("abcde"), st.tuples(HOURS, MAYBE, MAYBE))


@settings(max_examples=12, phases=[Phase.generate])
@given(VISITS, ARRIVALS, st.sampled_from(["UTC", "Europe/Berlin"]), st.booleans())
def test_equals_a_second_implementation(
    visits: list[Any], arrivals: dict[str, Any], zone: str, days_without_hours: bool
) -> None:
    def moment(hours: int) -> datetime:
        instant = START + timedelta(hours=hours)
        if not days_without_hours:
            return instant
        local = instant.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
        return local.replace(hour=0).astimezone(UTC).replace(tzinfo=None)

    def later(hours: int, more: int | None) -> datetime | None:
        return None if more is None else START + timedelta(hours=hours + more)

    sessions = [
        {"id": f"{n:02}", "client": client, "at": moment(hour), "view": later(hour, view), "basket": basket,
         "bought": bought, "region": region}
        for n, (client, hour, view, basket, bought, region) in enumerate(visits)
    ]  # fmt: skip
    customers = [
        {"client": client, "at": START + timedelta(hours=hour), "signup": later(hour, signup),
         "tutorial": later(hour, tutorial)}
        for client, (hour, signup, tutorial) in arrivals.items()
    ]  # fmt: skip
    if not sessions or not customers:
        reports = funnels(build(sessions, customers, zone), as_of=AS_OF)
        assert len(reports["session_funnel"].rows) > 0 or not sessions
        assert len(reports["customer_funnel"].rows) > 0 or not customers
        return
    reports = funnels(build(sessions, customers, zone), as_of=AS_OF, window_days=WINDOW, step_window_days=STEP_WINDOWS)
    plain = Plain(sessions, customers, zone)
    check_sessions(plain, reports["session_funnel"].rows)
    check_customers(plain, reports["customer_funnel"].rows)
    check_conversion(plain, reports["conversion"].rows)


def start_of(day: date, granularity: str) -> date:
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[granularity]


def counted(rows: pd.DataFrame, granularity: str, names: list[str]) -> dict[Any, list[int]]:
    """Rows that count anything, by dimension, period or hour, and step."""
    own = rows[rows["granularity"] == granularity]
    where = own["hour_of_day" if granularity == "hour" else "period"]
    keys = zip(own["dimension"], where, own["step_number"], strict=True)
    values = own[names].astype(int).to_numpy().tolist()
    return {key: list(one) for key, one in zip(keys, values, strict=True) if any(one)}


def check_sessions(plain: Plain, rows: pd.DataFrame) -> None:
    for granularity in ("hour", "day", "week", "month"):
        expected: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
        for one in plain.sessions:
            depth, did = plain.depth_of_session(one)
            local = plain.local(one["at"])
            period = local.hour if granularity == "hour" else start_of(local.date(), granularity)
            for number in range(1, 5):
                for label in ("all", f"region: {one['region']}"):
                    expected[label, period, number][0] += depth >= number
                    expected[label, period, number][1] += did[number - 1]
        found = counted(rows, granularity, ["sessions", "in_any_order"])
        assert found == {key: one for key, one in expected.items() if any(one)}
    check_shape(rows, "sessions")


def check_customers(plain: Plain, rows: pd.DataFrame) -> None:
    for granularity in ("hour", "day", "week", "month"):
        expected: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
        for one in plain.customers:
            made, did, deadline = plain.way(one)
            local = plain.local(one["at"])
            if granularity == "hour" and local.date() + timedelta(days=WINDOW) > AS_OF:
                continue
            period = local.hour if granularity == "hour" else start_of(local.date(), granularity)
            for number in range(1, len(plain.steps) + 1):
                waits = len(made) == number - 1 and deadline is not None and deadline > AS_OF
                for label in ("all", plain.label(one)):
                    expected[label, period, number][0] += len(made) >= number
                    expected[label, period, number][1] += waits
                    expected[label, period, number][2] += did[number - 1]
        found = counted(rows, granularity, ["customers", "in_progress", "in_any_order"])
        assert found == {key: one for key, one in expected.items() if any(one)}
    check_shape(rows, "customers")


def check_shape(rows: pd.DataFrame, name: str) -> None:
    """Steps are monotone, rates are those of complete periods, and the regions add up to `all`."""
    keys = ["dimension", "granularity", "period", "hour_of_day"]
    assert (rows.groupby(keys, dropna=False)[name].diff().fillna(0) <= 0).all()
    later = rows[rows["step_number"] > 1]
    assert later["rate"].notna().eq(later["is_complete"] & (later["denominator"] > 0).fillna(False)).all()
    rows = rows.assign(period=rows["period"].astype(str), hour_of_day=rows["hour_of_day"].fillna(-1))
    by_step = ["granularity", "period", "hour_of_day", "step_number"]
    is_all = rows["dimension"] == "all"
    sums = [part.groupby(by_step, dropna=False)[name].sum() for part in (rows[is_all], rows[~is_all])]
    assert sums[0][sums[0] > 0].to_dict() == sums[1][sums[1] > 0].to_dict()


def check_conversion(plain: Plain, rows: pd.DataFrame) -> None:
    for label in {"all"} | {plain.label(one) for one in plain.customers}:
        own = rows[rows["dimension"] == label].set_index("step_number")
        mine = [one for one in plain.customers if label in ("all", plain.label(one))]
        ways = [(one, *plain.way(one)) for one in mine]
        assert own["funnel_step"].tolist() == plain.steps
        for number in range(1, len(plain.steps) + 1):
            row = own.loc[number]
            reached = [way for way in ways if len(way[1]) >= number]
            over = [way for way in reached if plain.day(way[0]["at"]) + timedelta(days=WINDOW) <= AS_OF]
            waits = [way for way in ways if len(way[1]) == number - 1 and way[3] is not None and way[3] > AS_OF]
            assert [row["customers"], row["in_progress"]] == [len(reached), len(waits)]
            if number == 1:
                assert row["overall_denominator"] == len(over)
                continue
            assert row["numerator"] == len(over)
            for since, names in (
                (number - 1, ("km_median_hours", "converted_median_hours")),
                (1, ("", "entry_median_hours")),
            ):
                observations = []
                for _, made, _, deadline in ways:
                    if len(made) < since:
                        continue
                    if len(made) >= number:
                        end = made[number - 1]
                    else:
                        assert deadline is not None
                        end = plain.midnight(min(deadline, AS_OF) + timedelta(days=1))
                    minutes = (end - made[since - 1]) // timedelta(minutes=1)
                    observations.append((Fraction(minutes, 60), len(made) >= number))
                for name, expected in zip(names, median_of(observations), strict=True):
                    if name and expected is None:
                        assert pd.isna(row[name])
                    elif name:
                        assert row[name] == pytest.approx(float(expected or 0))
            hours = [(way[1][number - 1] - way[1][number - 2]) / timedelta(hours=1) for way in over]
            assert (row["mean_hours"] if hours else 0) == pytest.approx(sum(hours) / len(hours) if hours else 0)
