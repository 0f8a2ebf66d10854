"""Panels on hand-made rows: what is drawn, and what is said where nothing can be."""

from dataclasses import replace
from typing import Any

import pytest
import vl_convert

from include.dashboards.panel import Panel
from include.dashboards.vega import Drawing, draw, format_of, period_label, short_format, theme
from include.schemas.reports import SHARED_FIELDS, Field

FIELDS = {**SHARED_FIELDS, "segment": Field("keyword", "a name"), "offset": Field("long", "how much later", "weeks")}
LONG = "a name that is much longer than anybody would have thought a name could be"


def weeks(count: int, unfinished: int = 1) -> list[dict[str, Any]]:
    return [
        {"granularity": "week", "period": f"2024-01-{1 + 7 * week:02}", "orders": 10 + week, "customers": 5 + week,
         "revenue": 99.5 * week, "rate": 0.25, "ci_low": 0.2, "ci_high": 0.3, "is_complete": week < count - unfinished}
        for week in range(count)
    ]  # fmt: skip


def panel(**changes: Any) -> Panel:
    return replace(Panel(title="Orders", mark="line", x="period", y="orders", how_to_read="More is more."), **changes)


def svg(drawing: Drawing) -> str:
    return str(vl_convert.vegalite_to_svg({**(drawing.spec or {}), "width": 500, "config": theme(dark=False)}))


@pytest.mark.parametrize("mark", ["line", "area", "bar"])
def test_the_unfinished_period_is_drawn_differently_and_said(mark: Any) -> None:
    drawing = draw(panel(mark=mark), weeks(4), FIELDS)
    assert "not over at the report date" in drawing.notes[0]
    assert "stroke-dasharray" in svg(drawing)
    finished = draw(panel(mark=mark), weeks(4, unfinished=0), FIELDS)
    assert finished.notes == ()
    assert 'stroke-dasharray="5' not in svg(finished)
    assert 'stroke-dasharray="4' not in svg(finished)


def test_the_dashed_part_is_joined_to_the_last_finished_point() -> None:
    layers = draw(panel(), weeks(4, unfinished=2), FIELDS).spec["layer"]  # type: ignore[index]
    dashed = next(layer for layer in layers if "data" in layer)
    assert [row["x"] for row in dashed["data"]["values"]] == ["2024-01-08", "2024-01-15", "2024-01-22"]


def test_days_stay_days_west_of_greenwich() -> None:
    spec = draw(panel(mark="bar"), weeks(2), FIELDS).spec
    assert spec is not None
    assert spec["encoding"]["x"]["scale"] == {"type": "utc"}
    assert [row["start"] for row in spec["data"]["values"]] == ["2024-01-01T00:00:00Z", "2024-01-08T00:00:00Z"]


def test_several_fields_stand_side_by_side_from_zero() -> None:
    """They need not add up: customers of whom some ordered are no sum with their orders."""
    spec = draw(panel(mark="bar", y=("orders", "customers")), weeks(2), FIELDS).spec
    assert spec is not None
    rows = spec["data"]["values"]
    assert [(row["series"], row["bottom"], row["top"]) for row in rows[:2]] == [("Orders", 0, 10), ("Customers", 0, 5)]
    assert rows[0]["end"] <= rows[1]["start"]


def test_parts_of_a_sum_are_stacked() -> None:
    rows = [{"period": "2024-01-01", "segment": name, "orders": orders} for name, orders in (("a", 3), ("b", 4))]
    spec = draw(panel(mark="bar", breakdown="segment"), rows, FIELDS).spec
    assert [(row["bottom"], row["top"]) for row in spec["data"]["values"]] == [(0, 3), (3, 7)]  # type: ignore[index]


def test_long_names_lie_down() -> None:
    rows = [{"segment": LONG, "orders": 3}, {"segment": "short", "orders": 1}]
    spec = draw(panel(mark="bar", x="segment"), rows, FIELDS).spec
    assert spec is not None
    assert spec["encoding"]["y"]["field"] == "label"
    assert theme(dark=False)["axis"]["labelLimit"] <= 200


def test_a_cell_without_a_value_is_left_empty() -> None:
    rows = [
        {"period": f"2024-0{month}-01", "granularity": "month", "offset": offset, "is_complete": month + offset < 3,
         **({"rate": 0.5} if month + offset < 3 else {})}
        for month in (1, 2) for offset in (0, 1)
    ]  # fmt: skip
    cohorts = panel(mark="heatmap", x="offset", y="rate", color="rate", breakdown="period", format="percent")
    spec = draw(cohorts, rows, FIELDS).spec
    assert spec is not None
    cells = [(row["series"], row["x"], row["value"]) for row in spec["data"]["values"]]
    assert cells == [("2024-01", 0, 0.5), ("2024-01", 1, 0.5), ("2024-02", 0, 0.5)]


def test_nothing_to_draw_has_a_reason() -> None:
    assert draw(panel(), [], FIELDS).reason == "There are no rows to show."
    unknown = [{"period": "2024-01-01", "is_complete": False}]
    drawing = draw(panel(y="rate"), unknown, FIELDS)
    assert (drawing.spec, drawing.rows) == (None, unknown)
    assert "no values yet" in drawing.reason


def test_zero_is_drawn() -> None:
    drawing = draw(panel(), [{"period": "2024-01-01", "orders": 0}], FIELDS)
    assert drawing.reason == ""
    assert drawing.spec is not None


def test_where_sort_and_limit() -> None:
    rows = [{"segment": name, "orders": orders} for name, orders in (("a", 1), ("b", 3), ("c", 2))]
    best = draw(panel(mark="table", sort="descending", limit=2, columns=("segment", "orders")), rows, FIELDS)
    assert [row["segment"] for row in best.rows] == ["b", "c"]
    assert [row["segment"] for row in draw(panel(mark="table", where={"segment": "c"}), rows, FIELDS).rows] == ["c"]


def test_tiles_tell_the_number_and_its_change() -> None:
    rows = [{"segment": "orders", "orders": 12, "change_rate": -0.25, "is_complete": True}]
    (tile,) = draw(panel(mark="metric", x=None, breakdown="segment"), rows, FIELDS).tiles
    assert (tile.label, tile.value, tile.note) == ("orders", 12, "-25.0% on the period before")


def test_a_panel_that_cannot_be_drawn_is_named() -> None:
    with pytest.raises(ValueError, match="'Orders' is a line and needs an x"):
        draw(panel(x=None), weeks(2), FIELDS)


def test_names_are_values_of_the_data_only() -> None:
    """A name never becomes part of an expression or a title."""
    evil = "'); alert(1); ('"
    rows = [{"segment": evil, "orders": 3, "period": "2024-01-01"}]
    spec = draw(panel(breakdown="segment"), rows, FIELDS).spec
    assert spec is not None
    assert evil not in str(spec["layer"])


def test_words_and_numbers() -> None:
    assert period_label("2024-03-01", "month") == "2024-03"
    assert period_label("2024-03-04", "week") == "week of 2024-03-04"
    assert format_of(FIELDS["rate"]) == "percent"
    assert format_of(FIELDS["revenue"]) == "money"
    assert format_of(FIELDS["period"]) == "date"
    assert format_of(FIELDS["segment"]) is None
    assert short_format("money", [0.2]) == ",.2~f"
    assert short_format("number", [25_000.0, None]) == ".3~s"
