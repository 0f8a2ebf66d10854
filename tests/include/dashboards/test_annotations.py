"""Notes as marks on charts, drawn by Vega itself; and as layers of Lens, with each check on them."""

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import date, timedelta
from typing import Any

import pytest
import vl_convert

from include.dashboards.annotations import annotate, has_days
from include.dashboards.dashboard import dashboards, fields_of, placed_panels
from include.dashboards.kibana import SavedObject, dashboard_id, mappings, object_id, saved_objects
from include.dashboards.kibana_checks import annotation_layers, changed_ids, troubles
from include.dashboards.notes import EVERY, NOTES, Note
from include.dashboards.panel import Mark, Panel
from include.dashboards.vega import draw, theme
from include.schemas.reports import Field

FIELDS = {
    "period": Field("date", "day"),
    "orders": Field("long", "orders", "orders"),
    "kind": Field("keyword", "kind"),
    "granularity": Field("keyword", "day, week or month"),
    "is_complete": Field("boolean", "over"),
}
MONDAY = date(2024, 4, 1)  # the first of a month too


def note(day: str, text: str = "Television spot", *, id_: str = "note-0001", dimension: str = EVERY) -> Note:
    return Note(id_, EVERY, dimension, day, text, "ada", "2024-05-30", "2024-05-30", "1.1")


def chart(mark: Mark, granularity: str = "day", count: int = 6, **more: Any) -> dict[str, Any]:
    panel = Panel("Orders", mark, "orders", "Read.", x="period", **more)
    rows = [
        {"period": begin(granularity, place), "granularity": granularity, "orders": 10 + place, "kind": kind}
        for place in range(count)
        for kind in ("a", "b")[: 2 if panel.breakdown else 1]
    ]
    rows[-1]["is_complete"] = False
    spec = draw(panel, rows, FIELDS).spec
    assert spec is not None
    return spec


def begin(granularity: str, place: int) -> str:
    if granularity == "month":
        return date(2024, 4 + place, 1).isoformat()
    return (MONDAY + timedelta(days=place * (7 if granularity == "week" else 1))).isoformat()


def markers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """What the notes' data are; none where nothing was added."""
    found = [layer["data"]["values"] for layer in spec.get("layer", ()) if layer.get("data", {}).get("name") == "notes"]
    return found[0] if found else []


def svg(spec: dict[str, Any]) -> str:
    return str(vl_convert.vegalite_to_svg({**spec, "width": 500, "config": theme(dark=False)}))


# ── On the page ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("breakdown", [None, "kind"])
@pytest.mark.parametrize("mark", ["line", "area", "bar", "scatter"])
def test_notes_are_drawn_and_the_rest_stays(mark: Mark, breakdown: str | None) -> None:
    plain = chart(mark, breakdown=breakdown)
    before = deepcopy(plain)
    pinned = annotate(plain, [note("2024-04-03", 'a <b> & "c"'), note("2024-04-05", id_="note-0002")])
    assert plain == before
    assert [one["label"] for one in markers(pinned)] == ["1", "2"]
    drawn, without = svg(pinned), svg(plain)
    assert (">1</text>" in drawn, drawn.count("#8250df")) == (True, 4)
    assert "#8250df" not in without
    # The axes keep their titles and their extent: the same words, less the numbers of the markers.
    words = [line for line in texts(drawn) if line not in ("1", "2")]
    assert words == [line for line in texts(without) if line not in ("1", "2")]


def texts(drawn: str) -> list[str]:
    return [part.partition("</text>")[0].rpartition(">")[2] for part in drawn.split("<text")[1:]]


@pytest.mark.parametrize(
    ("granularity", "day", "at"),
    [
        ("day", "2024-04-03", "2024-04-03"),
        ("week", "2024-04-08", "2024-04-08"),
        ("week", "2024-04-14", "2024-04-08"),  # Sunday: still that week
        ("week", "2024-05-12", "2024-05-06"),  # the last day of the last week
        ("week", "2024-05-13", None),
        ("month", "2024-06-30", "2024-06-01"),
        ("month", "2024-09-30", "2024-09-01"),
        ("month", "2024-10-01", None),
        ("day", "2024-03-31", None),
        ("day", "2024-04-07", None),
    ],
)
def test_a_note_stands_in_its_period(granularity: str, day: str, at: str | None) -> None:
    found = markers(annotate(chart("line", granularity), [note(day)]))
    assert [one["at"] for one in found] == ([at] if at else [])


def test_a_note_stands_in_the_middle_of_its_bar() -> None:
    spec = chart("bar", "week", breakdown="kind", y_title="Orders")
    (found,) = markers(annotate(spec, [note("2024-04-10")]))
    corners = [row for row in spec["data"]["values"] if row["x"] == "2024-04-08"]
    assert min(row["start"] for row in corners) < found["at"] < max(row["end"] for row in corners)


def test_a_day_without_a_row_has_its_own_place() -> None:
    rows = [{"period": day, "orders": 1} for day in ("2024-04-01", "2024-04-02", "2024-04-09")]
    spec = draw(Panel("Orders", "line", "orders", "Read.", x="period"), rows, FIELDS).spec
    assert spec is not None
    assert [one["at"] for one in markers(annotate(spec, [note("2024-04-05")]))] == ["2024-04-05"]


def test_notes_at_one_place_share_a_marker() -> None:
    spec = chart("line", "week")
    two = markers(annotate(spec, [note("2024-04-08", "a"), note("2024-04-09", "b", dimension="all")]))
    assert [(one["label"], one["days"], one["told"]) for one in two] == [
        ("1,2", "2024-04-08 to 2024-04-09", "1. a (ada) · 2. b (ada, on all)")
    ]
    three = markers(annotate(spec, [note(f"2024-04-{day:02}") for day in (8, 9, 10)]))
    assert [one["label"] for one in three] == ["3×"]


def test_other_charts_are_left_as_they_are() -> None:
    bars = draw(Panel("Kinds", "bar", "orders", "R.", x="kind"), [{"kind": "2024", "orders": 1}], FIELDS).spec
    assert bars is not None
    assert not has_days(bars)
    assert annotate(bars, [note("2024-04-03")]) == bars
    assert not has_days(None)


def test_a_heatmap_of_days_has_its_notes_in_the_list_only() -> None:
    spec = chart("heatmap", breakdown="kind")
    assert has_days(spec)
    assert annotate(spec, [note("2024-04-03")]) == spec


# ── In Kibana ───────────────────────────────────────────────────────────────────────────────────────────────────────

OBJECTS = saved_objects()
MAPPINGS = mappings()
WEEKLY = "descriptive_statistics.activity.2"


def panels(objects: list[SavedObject]) -> tuple[SavedObject, list[dict[str, Any]]]:
    dashboard = next(one for one in objects if one["id"] == dashboard_id("descriptive_statistics"))
    found: list[dict[str, Any]] = json.loads(dashboard["attributes"]["panelsJSON"])
    return dashboard, found


def state(panel: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = panel["embeddableConfig"]["attributes"]["state"]
    return found


def notes_layers(panel: dict[str, Any]) -> list[dict[str, Any]]:
    if panel["type"] != "lens":
        return []
    return [one for one in state(panel)["visualization"].get("layers", ()) if one["layerType"] == "annotations"]


def test_every_chart_of_lens_with_an_axis_of_time_asks_for_its_notes() -> None:
    seen = 0
    for dashboard in (one for one in OBJECTS if one["type"] == "dashboard"):
        for panel in json.loads(dashboard["attributes"]["panelsJSON"]):
            if panel["type"] != "lens":
                continue
            (layer,) = state(panel)["datasourceStates"]["formBased"]["layers"].values()
            is_over_time = layer["columns"].get("x", {}).get("operationType") == "date_histogram"
            is_xy = panel["embeddableConfig"]["attributes"]["visualizationType"] == "lnsXY"
            assert len(notes_layers(panel)) == (1 if is_over_time and is_xy else 0), panel["title"]
            seen += len(notes_layers(panel))
    assert seen > 20


def test_a_layer_of_notes_is_as_kibana_writes_it() -> None:
    dashboard, shown = panels(OBJECTS)
    panel = next(one for one in shown if one["panelIndex"] == object_id("panel", WEEKLY))
    (layer,) = notes_layers(panel)
    assert {name: value for name, value in layer.items() if name not in ("annotations", "layerId")} == {
        "layerType": "annotations",
        "persistanceType": "byValue",
        "ignoreGlobalFilters": True,
    }
    every, one = layer["annotations"]
    assert every["filter"] == {
        "type": "kibana_query",
        "language": "kuery",
        "query": f'panel: ("{WEEKLY}" or "every") and dimension: "every"',
    }
    assert one["filter"]["query"] == f'panel: ("{WEEKLY}" or "every") and not dimension: "every"'
    assert (every["type"], every["key"], every["timeField"]) == ("query", {"type": "point_in_time"}, "day")
    name = f"{panel['panelIndex']}:xy-visualization-layer-{layer['layerId']}"
    (reference,) = (reference for reference in dashboard["references"] if reference["name"] == name)
    assert (reference["type"], reference["id"]) == ("index-pattern", object_id("index-pattern", NOTES))
    # Kibana asks for annotations of the dashboard's time only.
    assert dashboard["attributes"]["timeRestore"] is True
    assert dashboard["attributes"]["timeFrom"] == "now-30y"


def test_every_chart_of_vega_over_days_asks_for_its_notes() -> None:
    placed = {object_id("panel", one.id): one for shown in dashboards() for one in placed_panels(shown)}
    asked = []
    for dashboard in (one for one in OBJECTS if one["type"] == "dashboard"):
        for panel in json.loads(dashboard["attributes"]["panelsJSON"]):
            if panel["type"] != "visualization" or panel["panelIndex"] not in placed:
                continue
            own = placed[panel["panelIndex"]]
            spec = json.loads(panel["embeddableConfig"]["savedVis"]["params"]["spec"])
            searches = [layer["data"]["url"] for layer in spec["layer"] if "data" in layer]
            is_over_days = fields_of(own.report_name)[str(own.panel.x)].type == "date"
            assert len(searches) == (1 if is_over_days else 0), panel["title"]
            for search in searches:
                assert search["index"] == "notes"
                assert search["body"]["query"] == {"bool": {"filter": [{"terms": {"panel": [own.id, "every"]}}]}}
                asked.append(own.id)
    assert {"anomaly_detection.daily_series.2", "churn.window_churn.1"} <= set(asked)


def planted(change: Callable[[dict[str, Any]], None]) -> tuple[list[SavedObject], SavedObject]:
    broken = deepcopy(OBJECTS)
    dashboard, shown = panels(broken)
    change(next(one for one in shown if notes_layers(one)))
    dashboard["attributes"]["panelsJSON"] = json.dumps(shown)
    return broken, dashboard


def first(panel: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = notes_layers(panel)[0]["annotations"][0]
    return found


def without_time(panel: dict[str, Any]) -> None:
    (layer,) = state(panel)["datasourceStates"]["formBased"]["layers"].values()
    layer["columns"]["x"]["operationType"] = "terms"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda panel: first(panel).update(timeField="text"), "field text is no date"),
        (lambda panel: first(panel).update(textField="gone"), "no field gone to annotate with"),
        (lambda panel: first(panel)["extraFields"].append("gone"), "no field gone to annotate with"),
        (lambda panel: first(panel)["filter"].update(query='gone: "x"'), "no field gone to annotate with"),
        (without_time, "annotations, but no axis of time"),
    ],
    ids=["no date", "no text", "no extra field", "no queried field", "no time"],
)
def test_a_planted_defect_of_a_layer_is_found(change: Callable[[dict[str, Any]], None], said: str) -> None:
    broken, dashboard = planted(change)
    assert any(said in trouble for trouble in annotation_layers(dashboard, MAPPINGS))
    assert any(said in trouble for trouble in troubles(broken, MAPPINGS))


def test_a_layer_without_its_data_view_is_found() -> None:
    broken, dashboard = planted(lambda panel: None)
    gone = next(one for one in dashboard["references"] if ":xy-visualization-layer-" in one["name"])
    dashboard["references"].remove(gone)
    found = troubles(broken, MAPPINGS)
    assert any("its annotations refer to no data view" in trouble for trouble in found)
    assert any(f"the reference {gone['name']} is missing" in trouble for trouble in found)
    # Another data view than that of the notes has not their fields.
    dashboard["references"].append({**gone, "id": object_id("index-pattern", "orders")})
    assert any(
        "field day is no date of their data view" in trouble for trouble in annotation_layers(dashboard, MAPPINGS)
    )


def test_a_layer_whose_id_changes_is_found() -> None:
    broken, _ = planted(lambda panel: notes_layers(panel)[0].update(layerId="new"))
    assert len(changed_ids(OBJECTS, broken)) == 2
