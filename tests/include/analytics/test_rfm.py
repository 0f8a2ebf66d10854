"""RFM against arithmetic by hand, a second implementation, and CDNOW."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.analytics import rfm as module
from include.analytics.rfm import NOT_YET, SCORES, SEGMENTS, customer_scores, rfm, segment
from include.staging.tables import Tables

AS_OF = date(2024, 3, 31)


def order(id_: str, client: str, day: str, amount: float, bought: bool = True) -> dict[str, Any]:
    return {"id": id_, "client": client, "at": datetime.fromisoformat(day), "bought": bought, "amount": amount}


def test_every_one_of_the_125_cells_is_in_exactly_one_segment() -> None:
    for recency, frequency, monetary in itertools.product(range(1, 6), repeat=3):
        both = (frequency + monetary + 1) // 2
        inside = [name for name, ((a, b), (c, d)) in SEGMENTS.items() if a <= recency <= b and c <= both <= d]
        assert inside == [segment(recency, frequency, monetary)]
    named = {segment(*cell) for cell in itertools.product(range(1, 6), repeat=3)}
    assert named == set(SEGMENTS)


@pytest.mark.parametrize("scores", [2, 3, 4, 7, 10])
def test_other_numbers_of_scores_reach_the_same_corners(scores: int) -> None:
    assert segment(scores, scores, scores, scores) == "champions"
    assert all(segment(*cell, scores) in SEGMENTS for cell in itertools.product(range(1, scores + 1), repeat=3))


def test_by_hand(tables_of: Any) -> None:
    # Five customers; last orders 0, 10, 20, 30, 40 days before 31 March; orders 3, 2, 1, 1, 1.
    sessions = [
        order("1", "a", "2024-03-31", 30),
        order("2", "a", "2024-03-01", 20),
        order("3", "a", "2024-02-01", 10),
        order("4", "b", "2024-03-21", 50),
        order("5", "b", "2024-02-20", 50),
        order("6", "c", "2024-03-11", 5),
        order("7", "d", "2024-03-01", 100),
        order("8", "e", "2024-02-20", 1),
        order("9", "e", "2024-03-30", 0, bought=False),
        order("10", "f", "2024-04-01", 99),  # after the report date
    ]
    tables = tables_of(sessions, [])
    scores = customer_scores(tables, as_of=AS_OF).set_index("client")
    assert list(scores.columns) == list(SCORES)
    assert scores["recency_days"].to_dict() == {"a": 0, "b": 10, "c": 20, "d": 30, "e": 40}
    assert scores["frequency"].to_dict() == {"a": 3, "b": 2, "c": 1, "d": 1, "e": 1}
    assert scores["monetary_mean"].to_dict() == {"a": 20, "b": 50, "c": 5, "d": 100, "e": 1}
    assert scores["monetary_total"].to_dict() == {"a": 60, "b": 100, "c": 5, "d": 100, "e": 1}
    # Recency cut at 8, 16, 24, 32 days: one customer per score, the most recent has 5.
    assert scores["recency_score"].to_dict() == {"a": 5, "b": 4, "c": 3, "d": 2, "e": 1}
    # Frequencies 1 1 1 2 3 are cut at 1, 1, 1.4, 2.2: 1 exceeds none, 2 exceeds three, 3 exceeds four.
    assert scores["frequency_score"].to_dict() == {"a": 5, "b": 4, "c": 1, "d": 1, "e": 1}
    # Means 1 5 20 50 100: high amounts score high.
    assert scores["monetary_score"].to_dict() == {"a": 3, "b": 4, "c": 2, "d": 5, "e": 1}
    # FM: a (5+3)/2 = 4, b 4, c 1.5 -> 2, d 3, e 1.
    assert scores["rfm_segment"].to_dict() == {
        "a": "champions", "b": "loyal", "c": "about to sleep", "d": "at risk", "e": "lost",
    }  # fmt: skip
    reports = rfm(tables, as_of=AS_OF)
    shares = reports["segments"].rows.set_index("rfm_segment")
    assert shares.loc["champions", "customers"] == 1
    assert shares.loc["champions", "rate"] == pytest.approx(1 / 5)
    assert shares["revenue"].sum() == 266
    assert shares.loc["new", "customers"] == 0
    # 1 March is 30 days before: a, b, d and e had ordered by then, c had not.
    moves = reports["migration"].rows
    assert moves[moves["previous_segment"] == NOT_YET][["rfm_segment", "customers"]].values.tolist() == [
        ["about to sleep", 1]
    ]
    assert moves.groupby("previous_segment")["rate"].sum().round(9).eq(1).all()


def test_given_cut_points_are_used(tables_of: Any) -> None:
    tables = tables_of([order("1", "a", "2024-03-21", 15), order("2", "b", "2024-03-31", 25)], [])
    points = {"recency": (10.0, 20, 30, 40), "frequency": (0.0, 0, 1, 1), "monetary": (5.0, 15, 20, 25)}
    scores = customer_scores(tables, as_of=AS_OF, cut_points=points).set_index("client")
    # A value at a cut point is below it: 10 days score 5; one order exceeds two cut points; 15 exceeds one, 25 three.
    assert scores["recency_score"].to_dict() == {"a": 5, "b": 5}
    assert scores["frequency_score"].to_dict() == {"a": 3, "b": 3}
    assert scores["monetary_score"].to_dict() == {"a": 2, "b": 4}


def quantile(values: list[int], share: Fraction) -> float:
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return round(float(ordered[low] + (place - low) * (ordered[high] - ordered[low])), 3)


Measures = tuple[dict[str, int], dict[str, int], dict[str, int]]


def measured(orders: list[tuple[str, date, int]], as_of: date) -> Measures:
    """Recency, frequency and mean amount per client from (client, day, ten-thousandths), in plain Python."""
    by_client: dict[str, list[tuple[date, int]]] = {}
    for client, day, units in orders:
        if day <= as_of:
            by_client.setdefault(client, []).append((day, units))

    def mean(units: list[int]) -> int:  # halves away from zero
        total = sum(units)
        return (2 * abs(total) + len(units)) // (2 * len(units)) * (1 if total >= 0 else -1)

    return (
        {client: (as_of - max(day for day, _ in own)).days for client, own in by_client.items()},
        {client: len(own) for client, own in by_client.items()},
        {client: mean([units for _, units in own]) for client, own in by_client.items()},
    )


def own_points(orders: list[tuple[str, date, int]], as_of: date) -> list[list[float]]:
    """The four cut points of each measure."""
    return [
        [quantile(list(values.values()), Fraction(k, 5)) for k in range(1, 5)] if values else []
        for values in measured(orders, as_of)
    ]


def plainly(
    orders: list[tuple[str, date, int]], as_of: date, points_of: list[list[float]] | None = None
) -> dict[str, tuple[int, int, int]]:
    """Scores per client; by the cut points given, or else their own."""
    points = points_of or own_points(orders, as_of)
    recency, frequency, money = (
        {client: sum(value > point for point in cuts) for client, value in values.items()}
        for values, cuts in zip(measured(orders, as_of), points, strict=True)
    )
    return {client: (5 - recency[client], 1 + frequency[client], 1 + money[client]) for client in recency}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefg"), st.integers(0, 100), st.sampled_from([0, 10, 10, 25, 99.99])), max_size=30
    )
)
def test_equals_a_second_implementation(tables_of: Any, events: list[tuple[str, int, float]]) -> None:
    start = date(2024, 1, 1)
    sessions = [
        order(str(number), client, (start + timedelta(days=day)).isoformat(), amount)
        for number, (client, day, amount) in enumerate(events)
    ]
    tables = tables_of(sessions, [])
    expected = plainly([(c, start + timedelta(days=d), round(a * 10_000)) for c, d, a in events], AS_OF)
    scores = customer_scores(tables, as_of=AS_OF)
    found = {row.client: (row.recency_score, row.frequency_score, row.monetary_score) for row in scores.itertuples()}
    assert found == expected
    assert list(scores["client"]) == sorted(expected)
    counted = rfm(tables, as_of=AS_OF)["segments"].rows
    assert dict(zip(counted["rfm_segment"], counted["customers"], strict=True)) == (
        dict.fromkeys(SEGMENTS, 0) | Counter(segment(*cell) for cell in expected.values()) if expected else {}
    )


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdefg"),
            st.integers(0, 100),
            st.sampled_from([-5, 0, 10, 25, 99.99]),
            st.sampled_from(["North", "South", None]),
        ),
        min_size=1,
        max_size=40,
    ),
)
def test_dimension_values_and_movements_equal_a_second_implementation(
    tables_of: Any, events: list[tuple[str, int, float, str | None]]
) -> None:
    start = date(2024, 1, 1)
    sessions = [
        {**order(str(number), client, (start + timedelta(days=day)).isoformat(), amount), "region": region}
        for number, (client, day, amount, region) in enumerate(events)
    ]
    reports = rfm(tables_of(sessions, [], dimensions=("region",)), as_of=AS_OF, migration_days=40)
    pairs, moves, cells = (reports[name].rows for name in ("score_pairs", "migration", "score_cells"))
    for label, region in (
        ("all", ...),
        ("region: North", "North"),
        ("region: South", "South"),
        ("region: (unknown)", None),
    ):
        own = [
            (client, start + timedelta(days=day), round(amount * 10_000))
            for client, day, amount, value in events
            if region in (..., value)
        ]
        now = plainly(own, AS_OF)
        counted = cells[cells["dimension"] == label]
        found = counted.set_index(["recency_score", "frequency_score", "monetary_score"])["customers"].to_dict()
        assert found == Counter(now.values())
        both = Counter((frequency, recency) for recency, frequency, _ in now.values())
        ours = pairs[(pairs["dimension"] == label) & (pairs["pair"] == "frequency and recency")]
        assert ours.set_index(["first_score", "second_score"])["customers"].to_dict() == both
        # The yardstick is today's: the earlier state is scored by the cut points of all orders so far.
        before = plainly(own, AS_OF - timedelta(days=40), points_of=own_points(own, AS_OF))
        movements = Counter(
            (segment(*before[client]) if client in before else NOT_YET, segment(*cell)) for client, cell in now.items()
        )
        ours = moves[moves["dimension"] == label]
        assert ours.set_index(["previous_segment", "rfm_segment"])["customers"].to_dict() == movements
        leavers = Counter(previous for previous, _ in movements.elements())
        assert all(row.denominator == leavers[row.previous_segment] for row in ours.itertuples())


def test_cut_points_of_a_report_can_be_used_again(cdnow: Tables, cdnow_end: date) -> None:
    rows = rfm(cdnow, as_of=cdnow_end)["cut_points"].rows
    points = {name: tuple(own["cut_point"]) for name, own in rows.groupby("measure")}
    again = customer_scores(cdnow, as_of=cdnow_end, cut_points=points)
    pd.testing.assert_frame_equal(again, customer_scores(cdnow, as_of=cdnow_end))


def test_cdnow(cdnow: Tables, cdnow_orders: pd.DataFrame, cdnow_end: date) -> None:
    scores = customer_scores(cdnow, as_of=cdnow_end)
    assert len(scores) == 23_570
    by_client = cdnow_orders.assign(amount=cdnow_orders["amount"].astype(float)).groupby("client")
    expected = by_client.agg(last=("day", "max"), frequency=("amount", "size"), mean=("amount", "mean")).sort_index()
    assert (scores["frequency"].to_numpy() == expected["frequency"].to_numpy()).all()
    assert scores["monetary_mean"].to_numpy() == pytest.approx(expected["mean"].to_numpy(), abs=1e-4)
    assert scores["recency_days"].tolist() == [(cdnow_end - day).days for day in expected["last"]]
    # More than half bought once: one score for all of them.
    assert scores.loc[scores["frequency"] == 1, "frequency_score"].nunique() == 1
    champions = scores[scores["rfm_segment"] == "champions"]
    assert champions["monetary_mean"].mean() > scores["monetary_mean"].mean()
    reports = rfm(cdnow, as_of=cdnow_end)
    assert reports["segments"].rows["customers"].sum() == 23_570
    assert reports["segments"].kpis["customers"] == 23_570


def test_settings_are_keywords() -> None:
    assert set(module.SETTINGS) <= set(rfm.__kwdefaults__)
