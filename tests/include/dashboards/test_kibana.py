"""The saved objects keep every rule of Kibana's own exports, and each check sees its defect."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from elasticsearch import Elasticsearch

import configs
from include.dashboards.dashboard import dashboards, fields_of, placed_panels
from include.dashboards.kibana import (
    DATA,
    SavedObject,
    dashboard_id,
    mappings,
    ndjson,
    object_id,
    render,
    saved_objects,
    worded_fields,
)
from include.dashboards.kibana_checks import changed_ids, controls, deaf_panels, grid, panel_ids, references, troubles
from include.dashboards.kibana_checks import columns as columns_of
from include.dashboards.kibana_lens import attributes, description, kuery, lens_can_draw
from include.dashboards.kibana_maps import attributes as map_attributes
from include.dashboards.kibana_vega import specification
from include.dashboards.panel import Panel
from include.dashboards.vega import TONES
from include.elastic.reports import values_in_reports
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


@pytest.mark.contract
def test_names_of_the_data_are_shown_as_words(client: Elasticsearch) -> None:
    names = values_in_reports(client, worded_fields())
    assert {"funnel_step", "series", "method", "report"} <= names.keys()
    assert {"first_order", "purchase"} <= set(names["funnel_step"])
    objects = saved_objects(names)
    assert troubles(objects, MAPPINGS) == []
    assert changed_ids(OBJECTS, objects) == []
    changed = [new for old, new in zip(OBJECTS, objects, strict=True) if old != new]
    assert {one["attributes"]["title"] for one in changed} == {"reports", "reports-latest"}
    for one in changed:
        formats = json.loads(one["attributes"]["fieldFormatMap"])
        assert formats["rate"]["id"] == "percent"
        told = {
            field: {entry["key"]: entry["value"] for entry in formats[field]["params"]["lookupEntries"]}
            for field, form in formats.items()
            if form["id"] == "static_lookup"
        }
        assert told.keys() == names.keys()
        assert told["funnel_step"]["first_order"] == "First order"
        assert told["method"]["mann_whitney"] == "Mann-Whitney"


@pytest.mark.contract
def test_before_the_first_run_there_are_no_names(client: Elasticsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "INDEX_PREFIX", "empty-")
    assert values_in_reports(client, worded_fields()) == {}


def test_every_panel_is_on_its_dashboard() -> None:
    for dashboard in dashboards():
        shown = panels(DASHBOARDS[dashboard_id(dashboard.name)])
        placed_here = placed_panels(dashboard)
        assert [panel["title"] for panel in shown[1:]] == [one.panel.title for one in placed_here]
        for panel, placed in zip(shown[1:], placed_here, strict=True):
            drawn_by = "map" if placed.panel.mark == "map" else "visualization"
            assert panel["type"] == ("lens" if lens_can_draw(placed.panel) else drawn_by)
            told = panel["embeddableConfig"].get("attributes") or panel["embeddableConfig"]["savedVis"]
            assert told["description"].startswith(placed.panel.how_to_read)
            assert panel["gridData"]["w"] == placed.panel.width * 4


def test_maps_are_for_places_and_vega_only_for_what_lens_has_no_mark_for() -> None:
    for dashboard in dashboards():
        shown = {panel["panelIndex"]: panel["type"] for panel in panels(DASHBOARDS[dashboard_id(dashboard.name)])}
        for placed in placed_panels(dashboard):
            kind = shown[object_id("panel", placed.id)]
            assert (kind == "map") == (placed.panel.mark == "map")
            if kind == "visualization":
                assert placed.panel.mark == "scatter" or (placed.panel.mark == "line" and placed.panel.band)


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
            elif placed.panel.mark == "map":
                state = map_attributes(placed.panel, placed.report_name, placed.report_type, layer_id="l")
                _, layer = json.loads(state["layerListJSON"])
                assert layer["query"]["query"].startswith(f'report_name: "{placed.report_name}" and type: ')
                assert "dimension" not in layer["query"]["query"]


def test_a_click_in_lens_opens_discover_once() -> None:
    """With an id that no other panel of the dashboard has; nothing else on a dashboard has such a way."""
    for dashboard in dashboards():
        shown = {panel["panelIndex"]: panel for panel in panels(DASHBOARDS[dashboard_id(dashboard.name)])}
        seen: list[str] = []
        for placed in placed_panels(dashboard):
            panel = shown.pop(object_id("panel", placed.id))
            enhancements = panel["embeddableConfig"]["enhancements"]
            if panel["type"] != "lens":
                assert enhancements == {}, placed.id
                continue
            (event,) = enhancements["dynamicActions"]["events"]
            assert event["eventId"] == object_id("drilldown", placed.id), placed.id
            assert event["triggers"] == ["FILTER_TRIGGER"], placed.id
            assert event["action"]["factoryId"] == "OPEN_IN_DISCOVER_DRILLDOWN", placed.id
            seen.append(event["eventId"])
        assert len(seen) == len(set(seen))
        assert [panel["embeddableConfig"]["enhancements"] for panel in shown.values()] == [{}]  # the links


def test_links_reach_every_other_dashboard_and_filters_go_along_to_the_data_alone() -> None:
    data = dashboard_id(DATA)
    titles = {id_: one["attributes"]["title"].removeprefix("[Customer analytics] ") for id_, one in DASHBOARDS.items()}
    assert data in titles
    assert len(DASHBOARDS) == len(dashboards()) + 1
    for id_, one in DASHBOARDS.items():
        (bar,) = (panel for panel in panels(one) if panel["type"] == "links")
        links = bar["embeddableConfig"]["attributes"]["links"]
        targets = {reference["name"]: reference for reference in one["references"]}
        reached = [targets[f"{bar['panelIndex']}:{link['destinationRefName']}"] for link in links]
        assert {reference["type"] for reference in reached} == {"dashboard"}
        assert sorted(reference["id"] for reference in reached) == sorted(set(DASHBOARDS) - {id_})
        assert [link["order"] for link in links] == list(range(len(links)))
        assert len({link["id"] for link in links}) == len(links)
        for link, reference in zip(links, reached, strict=True):
            assert link["label"] == titles[reference["id"]]
            goes_along = {name: link["options"][name] for name in ("useCurrentFilters", "useCurrentDateRange")}
            assert goes_along == {"useCurrentFilters": reference["id"] == data, "useCurrentDateRange": False}


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


# ── How a panel becomes Maps's ──────────────────────────────────────────────────────────────────────────────────────

PLACES = ReportType("places", "Places", ("dimension", "longitude", "latitude", "location", "kind", "orders"), ("kind",))


def map_of(**more: Any) -> Panel:
    return Panel("Places", "map", "latitude", "Read.", x="longitude", location="location", **more)


def points_of(panel: Panel) -> dict[str, Any]:
    """The layer of points; the other one is the basemap."""
    basemap, points = json.loads(map_attributes(panel, "shop", PLACES, layer_id="layer")["layerListJSON"])
    assert basemap["sourceDescriptor"]["type"] == "EMS_TMS"
    assert isinstance(points, dict)
    return points


def test_a_map_asks_for_all_documents_of_its_report_where_they_lie() -> None:
    points = points_of(map_of(where={"kind": "slow"}))
    source = points["sourceDescriptor"]
    assert (source["type"], source["scalingType"], source["geoField"]) == ("ES_SEARCH", "LIMIT", "location")
    assert (source["applyGlobalQuery"], source["filterByMapBounds"]) == (True, False)
    assert points["query"] == {
        "language": "kuery",
        "query": 'report_name: "shop" and type: "places" and is_header: false and kind: "slow"',
    }


def test_a_map_tells_what_the_table_has_but_for_where_the_point_lies() -> None:
    assert points_of(map_of())["sourceDescriptor"]["tooltipProperties"] == ["kind", "orders"]
    chosen = points_of(map_of(columns=("orders", "latitude")))["sourceDescriptor"]["tooltipProperties"]
    assert chosen == ["orders"]


def test_colours_of_a_map_are_those_of_the_declaration_where_it_has_some() -> None:
    one, of_maps, own = (
        points_of(map_of(**more))["style"]["properties"]["fillColor"]
        for more in ({}, {"breakdown": "kind"}, {"breakdown": "kind", "tones": {"slow": "bad", "too few": "faint"}})
    )
    assert one == {"type": "STATIC", "options": {"color": "#0072B2"}}
    assert of_maps["options"]["field"] == own["options"]["field"] == {"name": "kind", "origin": "source"}
    assert (of_maps["options"]["type"], of_maps["options"]["useCustomColorPalette"]) == ("CATEGORICAL", False)
    assert own["options"]["customColorPalette"] == [
        {"stop": "slow", "color": TONES["bad"]},
        {"stop": "too few", "color": TONES["faint"]},
    ]


@pytest.mark.parametrize("panel", [Panel("P", "map", "latitude", "R.", x="longitude"), Panel("P", "line", "a", "R.")])
def test_what_maps_cannot_draw_is_refused(panel: Panel) -> None:
    with pytest.raises(ValueError, match=f"is a {panel.mark} that Maps cannot draw"):
        map_attributes(panel, "shop", PLACES, layer_id="layer")


def test_vega_draws_no_map() -> None:
    with pytest.raises(ValueError, match="is a map that is not drawn with Vega"):
        specification(map_of(), "shop", PLACES, FIELDS, index="reports-latest")


# ── Each check sees its defect ──────────────────────────────────────────────────────────────────────────────────────


def panels(dashboard: SavedObject) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dashboard["attributes"]["panelsJSON"])
    return found


def funnels(objects: list[SavedObject]) -> SavedObject:
    return named(objects, "funnels")


def named(objects: list[SavedObject], name: str) -> SavedObject:
    return next(one for one in objects if one["id"] == dashboard_id(name))


def in_panels(
    change: Callable[[list[dict[str, Any]]], None], name: str = "funnels"
) -> Callable[[list[SavedObject]], None]:
    """A defect in the panels of a dashboard; the first is the bar of links, the second Lens's."""

    def plant(objects: list[SavedObject]) -> None:
        dashboard = named(objects, name)
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


def in_map(change: Callable[[dict[str, Any]], None]) -> Callable[[list[SavedObject]], None]:
    """A defect in what the first map of the deliveries is given."""

    def plant(shown: list[dict[str, Any]]) -> None:
        change(next(panel["embeddableConfig"] for panel in shown if panel["type"] == "map"))

    return in_panels(plant, "delivery_analytics")


def in_text(part: str, change: Callable[[Any], None]) -> Callable[[list[SavedObject]], None]:
    """A defect in one of the map's JSON texts."""

    def plant(shown: dict[str, Any]) -> None:
        found = json.loads(shown["attributes"][part])
        change(found)
        shown["attributes"][part] = json.dumps(found)

    return in_map(plant)


def in_points(change: Callable[[dict[str, Any]], None]) -> Callable[[list[SavedObject]], None]:
    return in_text("layerListJSON", lambda layers: change(layers[1]))


def in_source(**values: Any) -> Callable[[list[SavedObject]], None]:
    return in_points(lambda layer: layer["sourceDescriptor"].update(values))


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


def shifted(shown: list[dict[str, Any]]) -> None:
    """The last panel is as wide as before, but does not end where the grid does."""
    place = shown[-1]["gridData"]
    place["x"] = 48 - place["w"] + 1


def without_context(shown: list[dict[str, Any]]) -> None:
    (panel, *_) = (panel for panel in shown if panel["type"] == "visualization")
    params = panel["embeddableConfig"]["savedVis"]["params"]
    params["spec"] = params["spec"].replace("%dashboard_context-filter_clause%", "nothing")


def drop_reference(part_of_name: str, name: str = "funnels") -> Callable[[list[SavedObject]], None]:
    def plant(objects: list[SavedObject]) -> None:
        references = named(objects, name)["references"]
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


def to_slider(objects: list[SavedObject]) -> None:
    group = funnels(objects)["attributes"]["controlGroupInput"]
    group["panelsJSON"] = group["panelsJSON"].replace("optionsListControl", "rangeSliderControl")


def map_of_customers(objects: list[SavedObject]) -> None:
    """The map's documents are those of an index without the report's fields."""
    for reference in named(objects, "delivery_analytics")["references"]:
        if reference["name"].endswith(":layer_1_source_index_pattern"):
            reference.update(id=object_id("index-pattern", "downloads"))


def map_of_a_dashboard(objects: list[SavedObject]) -> None:
    for reference in named(objects, "delivery_analytics")["references"]:
        if reference["name"].endswith(":layer_1_source_index_pattern"):
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
    ("left of the grid", in_panels(lambda shown: shown[1]["gridData"].update(x=-1)), "lies outside"),
    ("above the grid", in_panels(lambda shown: shown[1]["gridData"].update(y=-1)), "lies outside"),
    ("shifted out of the grid", in_panels(shifted), "wider than the 48 columns"),
    ("overlap", in_panels(lambda shown: shown[1]["gridData"].update(y=0)), "overlap"),
    ("control of a non-data view", to_dashboard, "refers to no data view"),
    ("control of no field", in_control(set_in(fieldName="nothing")), "has not exactly one control"),
    ("control of a number", in_control(set_in(fieldName="orders")), "is no keyword"),
    ("control of another id", in_control(set_in(id="other")), "has the id of another one"),
    ("nothing chosen", in_control(set_in(selectedOptions=[])), "does not begin with the one value"),
    ("several values", in_control(set_in(singleSelect=False)), "does not begin with the one value"),
    ("choice unsaid", in_control(lambda given: given.pop("selectedOptions")), "does not begin with the one value"),
    ("number of choices unsaid", in_control(lambda given: given.pop("singleSelect")), "does not begin with the one"),
    ("control of another type", to_slider, "rangeSliderDataView is missing"),
    (
        "no control",
        lambda objects: funnels(objects)["attributes"]["controlGroupInput"].update(panelsJSON="{}"),
        "has not exactly one control",
    ),
    ("Lens deaf to the control", in_columns(set_in(ignoreGlobalFilters=True)), "Lens's layer does not follow"),
    ("Lens as it likes", in_columns(lambda layer: layer.pop("ignoreGlobalFilters")), "Lens's layer does not follow"),
    ("Vega deaf to the control", in_panels(without_context, "rfm"), "Vega's search does not follow"),
    ("order incomplete", in_columns(lambda layer: layer["columnOrder"].clear()), "columnOrder does not list"),
    ("no such field", in_columns(lambda layer: layer["columns"]["x"].update(sourceField="gone")), "no field gone"),
    (
        "formula",
        in_columns(lambda layer: layer["columns"]["sessions"].pop("sourceField")),
        "max works on no field",
    ),
    (
        "Lens of the library",
        in_panels(lambda shown: shown[1].update(embeddableConfig={})),
        "no panel uses the reference",
    ),
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
    (
        "map's reference missing",
        drop_reference("layer_1_source_index_pattern", "delivery_analytics"),
        "layer_1_source_index_pattern is missing",
    ),
    ("map without a data view", map_of_a_dashboard, "layer 1 refers to no data view"),
    ("map of another index", map_of_customers, "location is no geo_point of its data view"),
    ("map by no geo_point", in_source(geoField="place"), "place is no geo_point of its data view"),
    ("map by a field that is not there", in_source(geoField="gone"), "gone is no geo_point of its data view"),
    (
        "reference under another name",
        in_source(indexPatternRefName="layer_0_source_index_pattern"),
        "reference of layer 1 is called layer_0",
    ),
    ("layers in another order", in_text("layerListJSON", lambda layers: layers.reverse()), "reference of layer 0 is"),
    ("no points", in_text("layerListJSON", lambda layers: layers.pop()), "has no layer of documents"),
    (
        "layer twice",
        in_text("layerListJSON", lambda layers: layers[0].update(id=layers[1]["id"])),
        "two layers have one id",
    ),
    ("tiles of few documents", in_source(scalingType="MVT"), "GEOJSON_VECTOR cannot show what is asked for by MVT"),
    ("deaf to the control", in_source(applyGlobalQuery=False), "does not follow the control"),
    ("hidden layer", in_points(set_in(visible=False)), "the layer is hidden"),
    ("all reports", in_points(lambda layer: layer["query"].update(query="")), "not limited to a report"),
    (
        "query of a missing field",
        in_points(lambda layer: layer["query"].update(query=f"{layer['query']['query']} and gone: 1")),
        "no field gone for the map",
    ),
    ("tooltip of a missing field", in_source(tooltipProperties=["n", "gone"]), "no field gone for the map"),
    ("sorted by a missing field", in_source(sortField="gone"), "no field gone for the map"),
    (
        "colour of a missing field",
        in_points(lambda layer: layer["style"]["properties"]["fillColor"]["options"]["field"].update(name="gone")),
        "no field gone for the map",
    ),
    (
        "map stays where it is",
        in_text("mapStateJSON", lambda state: state["settings"].update(autoFitToDataBounds=False)),
        "does not move to its points",
    ),
    ("legend of no layer", in_map(set_in(openTOCDetails=["gone"])), "legend is closed"),
    ("legend closed", in_text("uiStateJSON", set_in(isLayerTOCOpen=False)), "legend is closed"),
]


@pytest.mark.parametrize(("plant", "said"), [defect[1:] for defect in DEFECTS], ids=[defect[0] for defect in DEFECTS])
def test_a_planted_defect_is_found(plant: Callable[[list[SavedObject]], None], said: str) -> None:
    broken = deepcopy(OBJECTS)
    plant(broken)
    assert re.search(said, "\n".join(troubles(broken, MAPPINGS)))


def test_what_only_other_dashboards_have_can_be_read() -> None:
    """Panels without a title or from the library, ES|QL, columns without parameters, a slider: Kibana writes these."""
    formula = {"columns": {"a": {"operationType": "time_range"}}, "columnOrder": ["a"], "ignoreGlobalFilters": False}
    states = [
        {"datasourceStates": {"formBased": {"layers": {"one": formula}}}, "visualization": {"metricAccessor": "a"}},
        {"datasourceStates": {"textBased": {"layers": {}}}, "visualization": {"layerId": "two"}},
    ]
    configs_ = [{"attributes": {"state": state}} for state in states]
    shown: list[dict[str, Any]] = [
        *({"type": "lens", "embeddableConfig": config} for config in configs_),
        *({"type": kind, "embeddableConfig": {}, "panelRefName": "panel_x"} for kind in ("lens", "map", "search")),
    ]
    for place, panel in enumerate(shown):
        id_ = f"p{place}"
        panel |= {"panelIndex": id_, "gridData": {"x": 0, "y": place, "w": 48, "h": 1, "i": id_}}
    slider = {"type": "rangeSliderControl", "explicitInput": {"id": "c", "fieldName": "price"}}
    attributes_ = {
        "title": "Other",
        "panelsJSON": json.dumps(shown),
        "controlGroupInput": {"panelsJSON": json.dumps({"c": slider})},
    }
    library = [f"p{place}:panel_x" for place in (2, 3, 4)]
    names = ["p0:indexpattern-datasource-layer-one", *library, "controlGroup_c:rangeSliderDataView"]
    other: SavedObject = {
        "type": "dashboard",
        "attributes": attributes_,
        "references": [{"name": name, "type": "index-pattern", "id": "view"} for name in names],
    }
    assert [*references(other), *panel_ids(other), *grid(other), *deaf_panels(other)] == []
    assert list(columns_of(other, {"view": {}})) == ["dashboard 'Other', panel 'p0': time_range works on no field."]
    assert any("not exactly one control" in trouble for trouble in controls(other, {"view": {}}))
    shown[1]["gridData"]["y"] = 0
    attributes_["panelsJSON"] = json.dumps(shown)
    assert list(grid(other)) == ["dashboard 'Other': the panels 'p0' and 'p1' overlap."]


def test_a_field_that_vega_draws_and_the_index_has_not_is_found() -> None:
    broken = deepcopy(OBJECTS)
    dashboard = next(one for one in broken if one["id"] == dashboard_id("rfm"))
    dashboard["attributes"]["panelsJSON"] = dashboard["attributes"]["panelsJSON"].replace("mean_frequency", "gone")
    assert any("no field gone to draw" in trouble for trouble in troubles(broken, MAPPINGS))


def test_layers_of_maps_whose_ids_change_are_found() -> None:
    broken = deepcopy(OBJECTS)
    in_points(set_in(id="new"))(broken)
    assert len(changed_ids(OBJECTS, broken)) == 2


def test_ids_that_change_are_found() -> None:
    broken = deepcopy(OBJECTS)
    in_panels(lambda shown: shown[1].update(panelIndex="new"))(broken)
    assert len(changed_ids(OBJECTS, broken)) == 2
    broken[0]["id"] = "new"
    assert len(changed_ids(OBJECTS, broken)) == 4
