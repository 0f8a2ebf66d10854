"""The saved objects keep every rule of Kibana's own exports, and each check sees its defect."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

import configs
from include.dashboards.dashboard import dashboards, fields_of, placed_panels
from include.dashboards.kibana import SavedObject, dashboard_id, mappings, ndjson, render, saved_objects
from include.dashboards.kibana_checks import changed_ids, troubles
from include.dashboards.kibana_lens import attributes, description, kuery, lens_can_draw
from include.dashboards.panel import Panel
from include.schemas.reports import Field, ReportType

OBJECTS = saved_objects()
MAPPINGS = mappings()
DASHBOARDS = {one["id"]: one for one in OBJECTS if one["type"] == "dashboard"}
FIELDS = {
    "period": Field("date", "day"),
    "orders": Field("long", "orders", "orders"),
    "rate": Field("double", "share", "share"),
    "hours": Field("double", "hours", "hours"),
    "kind": Field("keyword", "kind"),
    "is_complete": Field("boolean", "over"),
    "place": Field("long", "place"),
}
REPORT = ReportType("daily", "Daily", tuple(FIELDS), ("period",))


def lens(panel: Panel, **more: Any) -> dict[str, Any]:
    return attributes(panel, "shop", REPORT, FIELDS, layer_id="layer", data_view="view", **more)


def columns(found: dict[str, Any]) -> dict[str, Any]:
    layer: dict[str, Any] = found["state"]["datasourceStates"]["formBased"]["layers"]["layer"]
    assert sorted(layer["columns"]) == sorted(layer["columnOrder"])
    return {name: layer["columns"][name] for name in layer["columnOrder"]}


# ── What is generated ───────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_wrong_with_the_objects() -> None:
    assert troubles(OBJECTS, MAPPINGS) == []


def test_two_generations_are_the_same() -> None:
    assert changed_ids(OBJECTS, saved_objects()) == []
    assert render() == ndjson(OBJECTS)


def test_every_panel_is_on_its_dashboard() -> None:
    for dashboard in dashboards():
        shown = panels(DASHBOARDS[dashboard_id(dashboard.name)])
        placed_here = placed_panels(dashboard)
        assert [panel["title"] for panel in shown[1:]] == [one.panel.title for one in placed_here]
        for panel, placed in zip(shown[1:], placed_here, strict=True):
            assert panel["type"] == ("lens" if lens_can_draw(placed.panel) else "visualization")
            told = panel["embeddableConfig"].get("attributes") or panel["embeddableConfig"]["savedVis"]
            assert told["description"].startswith(placed.panel.how_to_read)
            assert panel["gridData"]["w"] == placed.panel.width * 4


def test_vega_is_only_for_what_lens_has_no_mark_for() -> None:
    for dashboard in dashboards():
        for placed in placed_panels(dashboard):
            if not lens_can_draw(placed.panel):
                assert placed.panel.mark in ("scatter", "map") or (placed.panel.mark == "line" and placed.panel.band)


def test_every_search_is_limited_to_its_report_and_left_to_the_control() -> None:
    for dashboard in dashboards():
        for placed in placed_panels(dashboard):
            if lens_can_draw(placed.panel):
                found = attributes(
                    placed.panel,
                    placed.report_name,
                    placed.report_type,
                    fields_of(placed.report_name),
                    layer_id="l",
                    data_view="v",
                )
                query = found["state"]["query"]["query"]
                begin = (
                    f'report_name: "{placed.report_name}" and type: "{placed.report_type.type}" and is_header: false'
                )
                assert query.startswith(begin)
                assert "dimension" not in query


def test_another_prefix_is_another_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "INDEX_PREFIX", "staging-")
    others = saved_objects()
    assert troubles(others, mappings()) == []
    assert not {one["id"] for one in others} & {one["id"] for one in OBJECTS}
    titles = [one["attributes"]["title"] for one in others]
    assert "staging-reports-latest" in titles
    assert "[Customer analytics (staging)] Funnels" in titles
    assert '"index": "reports-latest"' not in ndjson(others).replace("\\", "")


# ── How a panel becomes Lens's ──────────────────────────────────────────────────────────────────────────────────────


def test_a_query_keeps_any_text_a_value_may_have() -> None:
    values: dict[str, str | int | bool] = {"a": 'say "hi" \\ and: b', "b": True, "c": 5}
    assert kuery(values) == r'a: "say \"hi\" \\ and: b" and b: true and c: 5'


def test_a_line_over_time_takes_each_day_and_marks_what_is_not_over() -> None:
    found = lens(Panel("Orders", "line", "orders", "Read.", x="period", where={"granularity": "week"}))
    x, over, open_ = columns(found).values()
    assert x["params"] == {
        "interval": "1d",
        "includeEmptyRows": False,
        "dropPartials": False,
        "ignoreTimeRange": True,
    }
    assert (over["operationType"], over["sourceField"], over["label"]) == ("max", "orders", "Orders")
    assert (over["filter"]["query"], open_["filter"]["query"]) == ("is_complete: true", "is_complete: false")
    assert open_["label"] == "Orders, not over yet"
    assert found["visualizationType"] == "lnsXY"
    assert found["state"]["visualization"]["layers"][0]["seriesType"] == "line"


@pytest.mark.parametrize(
    ("granularity", "week_start", "interval"),
    [("week", "monday", "1w"), ("week", "sunday", "1d"), ("month", "sunday", "1M"), ("day", "monday", "1d")],
)
def test_a_bar_is_as_wide_as_its_period_where_kibana_has_that_period(
    granularity: str, week_start: str, interval: str
) -> None:
    panel = Panel("Orders", "bar", "orders", "Read.", x="period", where={"granularity": granularity})
    assert columns(lens(panel, week_start=week_start))["x"]["params"]["interval"] == interval


def test_names_keep_the_order_of_the_report_or_that_of_the_values() -> None:
    in_order = columns(lens(Panel("Kinds", "bar", "orders", "Read.", x="kind", limit=20)))["x"]["params"]
    assert (in_order["size"], in_order["orderBy"], in_order["orderDirection"]) == (20, {"type": "custom"}, "asc")
    assert (in_order["orderAgg"]["operationType"], in_order["orderAgg"]["sourceField"]) == ("min", "row")
    panel = Panel("Kinds", "bar", "orders", "Read.", x="kind", sort="descending", where={"is_complete": True})
    sorted_ = columns(lens(panel))["x"]["params"]
    assert (sorted_["orderBy"], sorted_["orderDirection"]) == ({"type": "column", "columnId": "orders"}, "desc")


def test_a_table_has_a_row_per_document_in_the_order_of_the_report() -> None:
    found = lens(Panel("All", "table", "orders", "Read.", columns=("kind", "period", "orders", "is_complete")))
    row, kind, period, orders, is_complete = columns(found).values()
    assert (row["sourceField"], row["params"]["orderBy"]["type"]) == ("row", "alphabetical")
    assert [one["operationType"] for one in (kind, period, orders, is_complete)] == [
        "last_value",
        "last_value",
        "max",
        "last_value",
    ]
    shown = found["state"]["visualization"]["columns"]
    assert [one["columnId"] for one in shown if not one.get("hidden")] == ["kind", "period", "orders", "is_complete"]


def test_units_become_formats() -> None:
    panel = Panel("All", "table", "rate", "Read.", columns=("orders", "rate", "hours"))
    formats = [column["params"]["format"] for name, column in columns(lens(panel)).items() if name != "row"]
    assert formats == [
        {"id": "number", "params": {"decimals": 0}},
        {"id": "percent", "params": {"decimals": 1}},
        {"id": "number", "params": {"decimals": 1, "suffix": " h"}},
    ]


def test_where_kibana_cannot_mark_what_is_not_over_it_says_so() -> None:
    split = Panel("Orders", "line", "orders", "Read.", x="period", breakdown="kind")
    assert description(split, REPORT) == "Read. The newest period may not be over yet."
    assert description(Panel("Orders", "line", "orders", "Read.", x="period"), REPORT) == "Read."


@pytest.mark.parametrize("panel", [Panel("P", "scatter", "rate", "R.", x="hours"), Panel("P", "map", "rate", "R.")])
def test_what_lens_cannot_draw_is_refused(panel: Panel) -> None:
    with pytest.raises(ValueError, match=f"is a {panel.mark} that Lens cannot draw"):
        lens(panel)


# ── Each check sees its defect ──────────────────────────────────────────────────────────────────────────────────────


def panels(dashboard: SavedObject) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dashboard["attributes"]["panelsJSON"])
    return found


def funnels(objects: list[SavedObject]) -> SavedObject:
    return next(one for one in objects if one["id"] == dashboard_id("funnels"))


def in_panels(change: Callable[[list[dict[str, Any]]], None]) -> Callable[[list[SavedObject]], None]:
    """A defect in the panels of a dashboard; the first is the bar of links, the second Lens's."""

    def plant(objects: list[SavedObject]) -> None:
        dashboard = funnels(objects)
        shown = panels(dashboard)
        change(shown)
        dashboard["attributes"]["panelsJSON"] = json.dumps(shown)

    return plant


def in_columns(change: Callable[[dict[str, Any]], None]) -> Callable[[list[SavedObject]], None]:
    def plant(shown: list[dict[str, Any]]) -> None:
        (layer,) = shown[1]["embeddableConfig"]["attributes"]["state"]["datasourceStates"]["formBased"][
            "layers"
        ].values()
        change(layer)

    return in_panels(plant)


def in_control(change: Callable[[dict[str, Any]], None]) -> Callable[[list[SavedObject]], None]:
    def plant(objects: list[SavedObject]) -> None:
        group = funnels(objects)["attributes"]["controlGroupInput"]
        found = json.loads(group["panelsJSON"])
        (control,) = found.values()
        change(control["explicitInput"])
        group["panelsJSON"] = json.dumps(found)

    return plant


def set_in(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda part: part.update(values)


def drop_reference(part_of_name: str) -> Callable[[list[SavedObject]], None]:
    def plant(objects: list[SavedObject]) -> None:
        references = funnels(objects)["references"]
        references.remove(next(one for one in references if part_of_name in one["name"]))

    return plant


def drop_object(kind: str) -> Callable[[list[SavedObject]], None]:
    return lambda objects: objects.remove(next(one for one in objects if one["type"] == kind))


def orphan(objects: list[SavedObject]) -> None:
    lone = deepcopy(next(one for one in objects if one["type"] == "index-pattern"))
    objects.append({**lone, "id": "lone"})


def to_dashboard(objects: list[SavedObject]) -> None:
    """The control lists the values of something that is no data view."""
    for reference in funnels(objects)["references"]:
        if reference["name"].startswith("controlGroup_"):
            reference.update(type="dashboard", id=dashboard_id("rfm"))


DEFECTS: list[tuple[str, Callable[[list[SavedObject]], None], str]] = [
    ("object twice", lambda objects: objects.append(deepcopy(objects[0])), "is there 2 times"),
    ("data view missing", drop_object("index-pattern"), "refers to a index-pattern that is not there"),
    ("dashboard missing", drop_object("dashboard"), "refers to a dashboard that is not there"),
    ("orphan", orphan, "is used by nothing"),
    ("no core version", lambda objects: objects[0].pop("coreMigrationVersion"), "coreMigrationVersion None"),
    ("old type", lambda objects: objects[-1].update(typeMigrationVersion="7.0.0"), "typeMigrationVersion 7.0.0"),
    ("layer's reference missing", drop_reference("indexpattern-datasource-layer"), "datasource-layer-.* is missing"),
    ("link's reference missing", drop_reference(":link_"), "link_.*_dashboard is missing"),
    ("control's reference missing", drop_reference("controlGroup_"), "refers to no data view"),
    ("reference left over", in_panels(lambda shown: shown.__delitem__(1)), "no panel uses the reference"),
    (
        "reference twice",
        lambda objects: funnels(objects)["references"].append(funnels(objects)["references"][0]),
        "2 references are called",
    ),
    ("panel twice", in_panels(lambda shown: shown.append(shown[1])), "2 panels have the id"),
    ("place of another", in_panels(lambda shown: shown[1]["gridData"].update(i="x")), "belongs to another one"),
    ("too wide", in_panels(lambda shown: shown[1]["gridData"].update(w=49)), "wider than the 48 columns"),
    ("no size", in_panels(lambda shown: shown[1]["gridData"].update(h=0)), "has no size"),
    ("overlap", in_panels(lambda shown: shown[1]["gridData"].update(y=0)), "overlap"),
    ("control of a non-data view", to_dashboard, "refers to no data view"),
    ("control of no field", in_control(set_in(fieldName="nothing")), "has not exactly one control"),
    ("control of a number", in_control(set_in(fieldName="orders")), "is no keyword"),
    ("nothing chosen", in_control(set_in(selectedOptions=[])), "does not begin with the one value"),
    ("several values", in_control(set_in(singleSelect=False)), "does not begin with the one value"),
    (
        "no control",
        lambda objects: funnels(objects)["attributes"]["controlGroupInput"].update(panelsJSON="{}"),
        "has not exactly one control",
    ),
    ("order incomplete", in_columns(lambda layer: layer["columnOrder"].clear()), "columnOrder does not list"),
    ("no such field", in_columns(lambda layer: layer["columns"]["x"].update(sourceField="gone")), "no field gone"),
    (
        "wrong type",
        in_columns(lambda layer: layer["columns"]["sessions"].update(sourceField="funnel_step")),
        "max cannot work on funnel_step",
    ),
    (
        "not aggregatable",
        in_columns(lambda layer: layer["columns"]["breakdown"].update(sourceField="warnings")),
        "terms cannot work on warnings",
    ),
    (
        "ordered by what is not there",
        in_columns(lambda layer: layer["columns"]["breakdown"]["params"]["orderAgg"].update(sourceField="gone")),
        "no field gone",
    ),
    (
        "shown column missing",
        in_columns(lambda layer: layer["columns"].update(other=layer["columns"].pop("sessions"))),
        "there is no column sessions",
    ),
    (
        "search of a missing field",
        lambda objects: next(one for one in objects if one["type"] == "search")["attributes"]["columns"].append("gone"),
        "there is no field gone",
    ),
]


@pytest.mark.parametrize(("plant", "said"), [defect[1:] for defect in DEFECTS], ids=[defect[0] for defect in DEFECTS])
def test_a_planted_defect_is_found(plant: Callable[[list[SavedObject]], None], said: str) -> None:
    broken = deepcopy(OBJECTS)
    plant(broken)
    assert re.search(said, "\n".join(troubles(broken, MAPPINGS)))


def test_a_field_that_vega_draws_and_the_index_has_not_is_found() -> None:
    broken = deepcopy(OBJECTS)
    dashboard = next(one for one in broken if one["id"] == dashboard_id("rfm"))
    dashboard["attributes"]["panelsJSON"] = dashboard["attributes"]["panelsJSON"].replace("mean_frequency", "gone")
    assert any("no field gone to draw" in trouble for trouble in troubles(broken, MAPPINGS))


def test_ids_that_change_are_found() -> None:
    broken = deepcopy(OBJECTS)
    in_panels(lambda shown: shown[1].update(panelIndex="new"))(broken)
    assert len(changed_ids(OBJECTS, broken)) == 2
    broken[0]["id"] = "new"
    assert len(changed_ids(OBJECTS, broken)) == 4
