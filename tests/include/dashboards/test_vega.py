"""Panels on hand-made rows: what is drawn, and what is said where nothing can be."""

import re
from dataclasses import replace
from typing import Any

import pytest
import vl_convert

from include.catalogue import analyses
from include.dashboards.panel import Panel
from include.dashboards.vega import (
    KM_PER_DEGREE,
    MAP_HEIGHT,
    MAP_SPAN_DEGREES,
    NAMES_STANDING,
    TONES,
    Drawing,
    draw,
    format_of,
    in_words,
    period_label,
    short_format,
    theme,
    title_of,
)
from include.operations.runs import FIELDS as OWN_OF_RUNS
from include.operations.runs import REPORTS as RUNS
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


def test_the_slowest_tasks_are_named_whole() -> None:
    """A task of an analysis has its group before its name: together they are longer than one line has room for."""
    (slowest,) = (one for report in RUNS for one in report.panels if one.title == "Slowest tasks")
    names = [*(f"{one.group}.{one.name}" for one in analyses()), "index_orders", "a_source_of_its_own_kind.validate"]
    for start in range(0, len(names), slowest.limit or 1):
        tasks = names[start : start + (slowest.limit or 1)]
        rows = [
            {"task": name, "task_seconds": 90.0 - place, "usual_seconds": 60.0, "is_newest_run": True}
            for place, name in enumerate(tasks)
        ]
        drawn = svg(draw(slowest, rows, {**FIELDS, **OWN_OF_RUNS}))
        assert "…" not in drawn
        lines = re.findall(r"<text[^>]*>(?:<tspan>)?([^<]+)(?:</tspan><tspan[^>]*>([^<]+)</tspan>)?</text>", drawn)
        assert set(tasks) <= {"".join(parts) for parts in lines}


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


def zeros(**changes: Any) -> str:
    """What is said of two days of zeros, and what of a chart of the same rows but a one."""
    rows = [{"period": f"2024-01-0{day}", "segment": "a", "orders": 0, "ci_low": 0, "ci_high": 0} for day in (1, 2)]
    drawing = draw(panel(**changes), rows, FIELDS)
    assert (drawing.spec is None, drawing.reason) == (False, "")
    known = [*rows, {"period": "2024-01-03", "segment": "b", "orders": None}]
    assert draw(panel(**changes), known, FIELDS).only_zeros.startswith(drawing.only_zeros[:20])
    one = [*rows, {"period": "2024-01-03", "segment": "b", "orders": 1}]
    assert draw(panel(**changes), one, FIELDS).only_zeros == ""
    return drawing.only_zeros


@pytest.mark.parametrize("mark", ["line", "area", "bar"])
def test_zeros_are_said(mark: Any) -> None:
    """Whatever chart it is: by its values, not by its name."""
    assert zeros(mark=mark) == "Everything here is zero: 2 days from 2024-01-01 to 2024-01-02."
    assert zeros(mark=mark, x="segment") == "Everything here is zero."
    assert zeros(mark=mark, when_zero="No order.") == "No order."
    cells = {"mark": "heatmap", "x": "period", "y": "segment", "color": "orders"}
    assert zeros(**cells) == "Everything here is zero: 2 days from 2024-01-01 to 2024-01-02."


def test_zeros_of_weeks_and_of_one_month_are_counted_as_such() -> None:
    weekly = [{**row, "orders": 0} for row in weeks(3)]
    assert draw(panel(), weekly, FIELDS).only_zeros == "Everything here is zero: 3 weeks from 2024-01-01 to 2024-01-15."
    monthly = [{"granularity": "month", "period": "2024-01-01", "orders": 0}]
    said = "Everything here is zero: 1 month from 2024-01-01 to 2024-01-01."
    assert draw(panel(mark="bar"), monthly, FIELDS).only_zeros == said


def test_zero_is_no_emptiness_where_it_says_something() -> None:
    """An interval around it, a figure, a place on a map, the zeros beside other values."""
    around = [{"period": "2024-01-01", "rate": 0.0, "ci_low": 0.0, "ci_high": 0.02}]
    for more in ({"band": ("ci_low", "ci_high")}, {"mark": "bar", "whisker": ("ci_low", "ci_high")}):
        assert draw(panel(y="rate", **more), around, FIELDS).only_zeros == ""
    figure = draw(panel(mark="metric", x=None), [{"orders": 0}], FIELDS)
    assert (figure.only_zeros, figure.tiles[0].value) == ("", 0)
    assert draw(panel(mark="scatter", x="customers"), [{"customers": 0, "orders": 0}], FIELDS).only_zeros == ""
    both = [{"period": "2024-01-01", "orders": 0, "customers": 3}]
    assert draw(panel(y=("orders", "customers")), both, FIELDS).only_zeros == ""


def test_a_band_of_which_no_end_is_known_is_not_drawn() -> None:
    """Vega warns of an axis without any value."""
    rows = [{"period": f"2024-01-0{day}", "rate": 0.1} for day in (1, 2)]
    banded = panel(y="rate", band=("ci_low", "ci_high"))
    for ends, areas in (({}, 0), ({"ci_low": 0.05, "ci_high": 0.2}, 1)):
        spec = draw(banded, [{**row, **ends} for row in rows], FIELDS).spec
        assert spec is not None
        assert [layer["mark"]["type"] for layer in spec["layer"]].count("area") == areas


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


PLACES = {
    **FIELDS,
    "longitude": Field("double", "of the place", "degrees"),
    "latitude": Field("double", "of the place", "degrees"),
}


def places(*points: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"longitude": x, "latitude": y, "segment": f"place {n}"} for n, (x, y) in enumerate(points)]


def shown_degrees(rows: list[dict[str, Any]], width: int) -> tuple[float, float]:
    """How many degrees of longitude and latitude a map of that width shows: the domains of the drawn scales."""
    spec = draw(panel(mark="map", x="longitude", y="latitude"), rows, PLACES).spec
    assert spec is not None
    # What Vega computes from these expressions in the browser, Python computes here.
    scales = {scale["name"]: scale for scale in vl_convert.vegalite_to_vega({**spec, "width": width})["scales"]}
    ends = []
    for name in ("x", "y"):
        signals = [scales[name][end]["signal"] for end in ("domainMin", "domainMax")]
        low, high = (eval(signal, {"max": max, "width": width}) for signal in signals)
        ends.append(high - low)
    return ends[0], ends[1]


@pytest.mark.parametrize("width", [300, 900])
def test_a_map_is_true_to_scale_and_shows_every_place(width: int) -> None:
    """At 60 degrees north a degree of longitude is half as long as one of latitude (cos 60° = 0.5)."""
    rows = places((10.0, 59.0), (13.0, 61.0))
    across, up = shown_degrees(rows, width)
    assert (across * 0.5 / width) / (up / MAP_HEIGHT) == pytest.approx(1, rel=1e-4)
    assert across >= 3
    assert up >= 2


def test_a_map_of_one_place_is_no_point_of_nothing() -> None:
    across, up = shown_degrees(places((13.4, 52.5)), 600)
    assert up >= MAP_SPAN_DEGREES
    assert across > up


def test_the_scale_bar_of_a_map_is_as_long_as_it_says() -> None:
    spec = draw(panel(mark="map", x="longitude", y="latitude"), places((0, 0), (0, 1)), PLACES).spec
    assert spec is not None
    line, text = spec["layer"][-2:]
    assert text["data"]["values"] == [{"text": "20 km"}]  # of 1.15 degrees or 128 km no more than three tenths
    begin = line["encoding"]["x"]["value"]
    end = eval(line["encoding"]["x2"]["value"]["expr"], {"max": max, "width": 400})
    degrees_per_pixel = 1.15 / MAP_HEIGHT  # the places are one degree apart from south to north
    assert (end - begin) * degrees_per_pixel * KM_PER_DEGREE == pytest.approx(20, rel=1e-3)


def test_colours_say_what_their_values_mean() -> None:
    rows = [{**row, "segment": name} for row, name in zip(places((0, 0), (1, 1)), ("as others", "slow"), strict=True)]
    told = panel(
        mark="map", x="longitude", y="latitude", breakdown="segment", tones={"slow": "bad", "as others": "plain"}
    )
    spec = draw(told, rows, PLACES).spec
    assert spec is not None
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {
        "slow": TONES["bad"],
        "as others": TONES["plain"],
    }


def test_an_effect_shows_its_interval_and_whether_it_is_one() -> None:
    """Grey where the interval holds zero, else green above and vermilion below; the sign moves no label into a bar."""
    ends = {"sure": (1.0, 3.0, 2.0), "unsure": (-1.0, 3.0, 1.0), "harmful": (-3.0, -1.0, -2.0)}
    rows = [
        {"segment": name, "ci_low": low, "ci_high": high, "rate": value} for name, (low, high, value) in ends.items()
    ]
    bars = panel(mark="bar", x="segment", y="rate", format="decimal", whisker=("ci_low", "ci_high"))
    drawn = svg(draw(bars, rows, FIELDS))
    assert all(drawn.count(f'fill="{TONES[tone]}"') == 1 for tone in ("good", "faint", "bad"))
    spec = draw(bars, rows, FIELDS).spec
    assert spec is not None
    assert [layer["mark"] if isinstance(layer["mark"], str) else layer["mark"]["type"] for layer in spec["layer"]] == [
        "bar",
        "rule",
    ]


def test_a_huge_interval_does_not_dwarf_the_others() -> None:
    """The axis ends at eight times the longest bar; without such an interval it is left to Vega."""
    bars = panel(mark="bar", x="segment", y="rate", format="decimal", whisker=("ci_low", "ci_high"))
    usual = {"segment": "usual", "ci_low": 1.0, "ci_high": 3.0, "rate": 2.0}
    for name in ("few customers", LONG):
        huge = {"segment": name, "ci_low": -500.0, "ci_high": 900.0, "rate": 0.5}
        spec = draw(bars, [usual, huge], FIELDS).spec
        assert spec is not None
        (bar, _) = (layer["encoding"] for layer in spec["layer"])
        assert bar["y" if "y" in bar else "x"]["scale"] == {"domain": [-16, 16]}
    spec = draw(bars, [usual], FIELDS).spec
    assert spec is not None
    assert "scale" not in spec["layer"][0]["encoding"]["y"]


def test_a_long_name_takes_two_lines() -> None:
    drawn = svg(draw(panel(mark="bar", x="segment"), [{"segment": LONG, "orders": 3}], FIELDS))
    assert "<tspan>a name that is much</tspan>" in drawn  # the last space within 26 letters is before `longer`
    assert ">short name, long enough<" in svg(
        draw(panel(mark="bar", x="segment"), [{"segment": "short name, long enough", "orders": 3}], FIELDS)
    )


FUNNEL = {**FIELDS, "funnel_step": Field("keyword", "a step", in_words=True)}


def test_names_of_the_data_are_shown_as_words_and_stay_what_they_are_in_the_rows() -> None:
    rows = [{"funnel_step": "add_to_cart", "period": f"2024-01-0{day}", "orders": day} for day in (1, 2)]
    drawing = draw(panel(mark="bar", x="funnel_step"), rows, FUNNEL)
    assert ">Add to cart<" in svg(drawing)
    assert drawing.rows == rows
    assert [column.words for column in drawing.columns] == [{"add_to_cart": "Add to cart"}, {}]
    lines = svg(draw(panel(breakdown="funnel_step"), rows, FUNNEL))
    assert ">Add to cart<" in lines
    assert "add_to_cart" not in lines
    told = svg(draw(panel(columns=("funnel_step",)), rows, FUNNEL))
    assert "Funnel step: Add to cart" in told
    (tile, _) = draw(panel(mark="metric", x=None, breakdown="funnel_step"), rows, FUNNEL).tiles
    assert tile.label == "Add to cart"
    assert (in_words("cuped"), in_words("mann_whitney")) == ("CUPED", "Mann-Whitney")
    assert [in_words(name) for name in ("rfm", "ab_test", "window_churn")] == ["RFM", "A/B test", "Window churn"]


PAIR = "SFT DRNK 2 LITER BTL CARB INCL, 2 L (1132770) + SFT DRNK 2 LITER BTL CARB INCL, 2 L (882441)"


def lines_beside(drawn: str) -> list[list[str]]:
    """The lines of each label that has several."""
    found = re.findall(r"<text[^>]*>((?:<tspan[^>]*>[^<]*</tspan>)+)</text>", drawn)
    return [re.findall(r"<tspan[^>]*>([^<]*)</tspan>", one) for one in found]


def test_both_products_of_a_pair_are_named_whole() -> None:
    rows = [{"segment": PAIR, "orders": 3}, {"segment": "MILK, 1 GA (10) + EGGS, 1 DZ (981760)", "orders": 2}]
    drawn = svg(draw(panel(mark="bar", x="segment"), rows, FIELDS))
    assert "…" not in drawn
    assert lines_beside(drawn) == [
        ["SFT DRNK 2 LITER BTL CARB", "INCL, 2 L (1132770)", "+ SFT DRNK 2 LITER BTL", "CARB INCL, 2 L (882441)"],
        ["MILK, 1 GA (10)", "+ EGGS, 1 DZ (981760)"],
    ]
    heights = [float(high) for high in re.findall(r'aria-roledescription="bar" d="M[^v]*v([\d.]+)', drawn)]
    assert min(heights) > 4 * 11  # so that no label reaches into the next
    tops = [float(top) for top in re.findall(r'<text[^>]*translate\([-\d.]+,([-\d.]+)\)"[^>]*><tspan>', drawn)]
    middles = [54 / 2, 54 * 3 / 2]  # of the bars; a text begins half a letter lower
    assert tops == pytest.approx([middles[0] - 18 + 3, middles[1] - 6 + 3], abs=1)


def test_more_lines_than_there_is_room_for_are_cut_in_the_last() -> None:
    drawn = svg(draw(panel(mark="bar", x="segment"), [{"segment": f"{PAIR} {LONG}", "orders": 3}], FIELDS))
    ((*whole, last),) = lines_beside(drawn)
    assert whole[:3] == ["SFT DRNK 2 LITER BTL CARB", "INCL, 2 L (1132770)", "+ SFT DRNK 2 LITER BTL"]
    assert whole[3:] == ["CARB INCL, 2 L (882441) a", "name that is much longer"]
    assert last.startswith("than anybody would have")
    assert last.endswith("…")


@pytest.mark.parametrize(("offset", "light"), [(0, "#ffffff"), (9, "#101418")])
def test_numbers_can_be_read_on_their_cells(offset: int, light: str) -> None:
    """White on dark cells and black on bright ones, long names beside them or not."""
    for name in ("short", LONG):
        rows = [{"segment": name, "offset": place, "orders": 1 + 10 * place} for place in (0, 4, 9)]
        grid = panel(mark="heatmap", x="offset", y="orders", color="orders", breakdown="segment")
        drawn = svg(draw(grid, rows, FIELDS))
        assert re.search(rf'fill="{light}"[^>]*>{1 + 10 * offset}</text>', drawn)


def test_small_numbers_across_are_no_thousandths() -> None:
    rows = [{"segment": name, "rate": rate, "orders": 3} for name, rate in (("a", -0.15), ("b", -0.29))]
    fields = {**FIELDS, "rate": Field("double", "an effect")}
    drawn = svg(draw(panel(mark="scatter", x="rate", breakdown="segment"), rows, fields))
    ticks = re.findall(r">(−?[\d.]+m?)</text>", drawn)
    assert "−0.2" in ticks
    assert not [tick for tick in ticks if tick.endswith("m")]
    assert ">−20%<" in svg(draw(panel(mark="scatter", x="rate", breakdown="segment"), rows, FIELDS))


def test_points_at_the_same_place_are_all_seen() -> None:
    rows = [{"segment": name, "period": "2024-01-01", "orders": 3} for name in "abc"]
    rows.append({"segment": "a", "period": "2024-01-02", "orders": 4})
    spec = draw(panel(mark="scatter", breakdown="segment"), rows, FIELDS).spec
    assert spec is not None
    largest, middle, smallest, alone = (row["size"] for row in spec["data"]["values"])
    assert largest > middle > smallest == alone
    assert spec["layer"][0]["encoding"]["size"]["field"] == "size"
    apart = draw(panel(mark="scatter", breakdown="segment"), rows[2:], FIELDS).spec
    assert apart is not None
    assert "size" not in apart["layer"][0]["encoding"]


def test_lines_that_are_the_same_are_all_seen() -> None:
    rows = [
        {"segment": name, "period": f"2024-01-0{day}", "orders": day + (name == "other")}
        for name in ("first", "second", "other")
        for day in (1, 2)
    ]
    widths = dict(
        re.findall(
            r'series: (\w+)[^"]*"[^>]*aria-roledescription="line mark"[^>]*stroke-width="([\d.]+)"',
            svg(draw(panel(breakdown="segment"), rows, FIELDS)),
        )
    )
    assert widths == {"first": "4.5", "second": "2", "other": "2"}


def test_half_a_year_has_several_days_below_it_on_a_telephone() -> None:
    rows = [{"period": f"2024-{month:02}-{day:02}", "orders": day} for month in range(1, 7) for day in range(1, 28)]
    spec = draw(panel(), rows, FIELDS).spec
    drawn = vl_convert.vegalite_to_svg({**(spec or {}), "width": 320, "config": theme(dark=False)})
    assert len(re.findall(r'opacity="1">(\d\d \w+ 2024)</text>', drawn)) >= 3


def test_years_have_months_below_them() -> None:
    """So that they have room: it is always the first of a month that is marked."""
    rows = [{"period": f"{year}-{month:02}-03", "orders": month} for year in (2023, 2024) for month in range(1, 13)]
    for width in (320, 1600):
        spec = draw(panel(), rows, FIELDS).spec
        drawn = vl_convert.vegalite_to_svg({**(spec or {}), "width": width, "config": theme(dark=False)})
        shown = re.findall(r'opacity="1">([^<]*202[34])</text>', drawn)
        assert len(shown) >= 4
        assert len(set(shown)) == len(shown)
        assert all(re.fullmatch(r"\w{3} 202[34]", one) for one in shown)


def test_zeros_stand_on_the_axis() -> None:
    spec = draw(panel(mark="bar", x="segment"), [{"segment": "a", "orders": 0}], FIELDS).spec
    assert spec is not None
    assert spec["layer"][0]["encoding"]["y"]["scale"] == {"domain": [0, 1]}


def test_few_bars_do_not_fill_the_card() -> None:
    def widest(count: int) -> float:
        drawn = svg(
            draw(panel(mark="bar", x="segment"), [{"segment": n * "x", "orders": 1} for n in range(1, count)], FIELDS)
        )
        return max(
            float(width) for width in re.findall(r'aria-roledescription="bar" d="M[-\d.]+,[-\d.]+h([\d.]+)', drawn)
        )

    assert widest(3) < 500 / 2 * 0.6
    assert widest(8) > 500 / 8 * 0.6


@pytest.mark.parametrize("most", [1, 2, 3, 6])
def test_what_is_counted_has_no_halves_on_its_axis(most: int) -> None:
    rows = [{"segment": name, "customers": number} for name, number in (("a", most), ("b", 0))]
    drawn = svg(draw(panel(mark="bar", x="segment", y="customers"), rows, FIELDS))
    ticks = re.findall(r">(\d+(?:\.\d+)?)</text>", drawn)
    assert {"0", str(most)} <= set(ticks)
    assert not [tick for tick in ticks if "." in tick]


def test_a_count_beside_its_expectation_has_no_halves_either() -> None:
    fields = {**FIELDS, "actual": Field("double", "a count"), "expected": Field("double", "of it")}

    def ticks(*counts: float) -> list[str]:
        rows = [
            {"period": f"2024-01-0{day}", "actual": count, "expected": 0.7, "customers": 1}
            for day, count in enumerate(counts, start=1)
        ]
        drawn = draw(panel(mark="line", y=("actual", "expected"), x_title="Day", y_title="Customers"), rows, fields)
        return re.findall(r">(\d+(?:\.\d+)?)</text>", svg(drawn))

    assert {"0", "1", "2", "3", "4"} <= set(ticks(4.0, 0.0, 2.0))
    assert not [tick for tick in ticks(4.0, 0.0, 2.0) if "." in tick]
    assert [tick for tick in ticks(4.5, 0.0, 2.0) if "." in tick]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, NAMES_STANDING])
@pytest.mark.parametrize("prefix", ["segment ", "p"])
def test_every_bar_has_its_name_on_a_telephone(count: int, prefix: str) -> None:
    names = [f"{prefix}{number}" for number in range(1, count + 1)]
    spec = draw(panel(mark="bar", x="segment"), [{"segment": name, "orders": 1} for name in names], FIELDS).spec
    assert spec is not None
    drawn = vl_convert.vegalite_to_svg({**spec, "width": 230, "config": theme(dark=False)})
    assert re.findall(rf'opacity="1">({prefix}\d+)</text>', drawn) == names


@pytest.mark.parametrize(
    ("count", "width", "angle"),
    [(3, 600, None), (3, 230, "320"), (NAMES_STANDING, 600, "320"), (NAMES_STANDING, 230, "270")],
)
def test_names_lie_or_lean_or_stand_as_there_is_room(count: int, width: int, angle: str | None) -> None:
    """Lying they are in the middle below their bars, else they end there; of bars and of a grid's columns."""
    rows = [{"segment": f"segment {number}", "kind": "a", "orders": 1} for number in range(1, count + 1)]
    fields = {**FIELDS, "kind": Field("keyword", "another name")}
    for one in (panel(mark="bar", x="segment"), panel(mark="heatmap", x="segment", color="orders", breakdown="kind")):
        spec = draw(one, rows, fields).spec
        drawn = vl_convert.vegalite_to_svg({**(spec or {}), "width": width, "config": theme(dark=False)})
        found = re.findall(r'<text text-anchor="(\w+)" transform="([^"]*)"[^>]*opacity="1">segment \d+<', drawn)
        assert len(found) == count
        assert {anchor for anchor, _ in found} == {"end" if angle else "middle"}
        assert {(re.findall(r"rotate\((\d+)\)", where) or [None])[0] for _, where in found} == {angle}


def test_an_interval_has_the_unit_of_what_it_is_of() -> None:
    """And small probabilities are not rounded to nothing."""
    table = panel(mark="table", x=None, y="rate", columns=("rate", "ci_low", "p_value"), format="decimal")
    columns = draw(table, [{"rate": 0.5, "ci_low": 0.4, "p_value": 0.0004}], FIELDS).columns
    assert [column.format for column in columns] == ["percent", "percent", "p_value"]


def test_the_interval_of_a_rate_is_one_of_shares_whatever_the_table_is_about() -> None:
    table = panel(mark="table", x=None, y="orders", columns=("orders", "rate", "ci_low", "ci_high"))
    columns = draw(table, [{"orders": 5, "rate": 0.5, "ci_low": 0.4, "ci_high": 1.0}], FIELDS).columns
    assert [column.format for column in columns] == ["number", "percent", "percent", "percent"]


def test_a_moment_has_its_time_of_day_and_a_day_has_none() -> None:
    fields = {**FIELDS, "started_at": Field("date", "when it began"), "reports_as_of": Field("date", "a day")}
    table = panel(mark="table", x=None, y="orders", columns=("started_at", "reports_as_of", "period", "orders"))
    columns = draw(table, [{"orders": 1}], fields).columns
    assert [column.format for column in columns] == ["instant", "date", "date", "number"]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("median_taken_hours", "Median taken"),  # the values say their unit
        ("median_taken_low_hours", "Median taken, from"),
        ("lift_ci_high", "Lift, to"),
        ("expected_revenue_30_days", "Expected revenue 30 days"),
        ("is_complete", "Complete"),
        ("days_since_newest", "Days since newest"),
        ("ci_low", "Interval from"),
        ("started_at", "Started at (UTC)"),
        ("reports_as_of", "Reports as of"),
    ],
)
def test_a_title_is_for_people(name: str, title: str) -> None:
    assert title_of(name) == title


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
    assert short_format("decimal", [0.03]) == ".2~g"
