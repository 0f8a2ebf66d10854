"""What is wrong with a set of saved objects, before Kibana is asked: written from what Kibana exports itself.

They are stricter than Kibana where ours promise more: docs/kibana.md tells where. Maps and visualisations are
only looked into as they are made here: by value, and Vega's with a search of its own.

saved objects, the mappings behind their data views  ->  sentences, none where all is well
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from include.dashboards.kibana import CORE_VERSION, GRID_COLUMNS, TYPE_VERSIONS, SavedObject
from include.dashboards.kibana_lens import ANNOTATIONS_REFERENCE
from include.dashboards.kibana_vega import CONTEXT
from include.elastic.reports import ALL

Mappings = Mapping[str, Mapping[str, Any]]

AGGREGATABLE = ("keyword", "date", "boolean", "long", "double")
# What an operation can work on. `max` of a date exists too; none is declared here.
TYPES_OF_OPERATIONS = {
    "date_histogram": ("date",),
    "terms": ("keyword", "boolean", "long", "double"),
    "max": ("long", "double"),
    "min": ("long", "double"),
    "last_value": AGGREGATABLE,
}
LAYER_REFERENCE = "indexpattern-datasource-layer-"
# Of a layer of documents: how Maps asks for them, and what it makes of the answer.
LAYER_OF_SCALING = {"LIMIT": "GEOJSON_VECTOR", "TOP_HITS": "GEOJSON_VECTOR", "MVT": "MVT_VECTOR"}
QUERIED_FIELD = re.compile(r"(?:^|[ (])(\w+): ")  # in queries of our own, whose values are quoted


def troubles(objects: Sequence[SavedObject], mappings: Mappings) -> list[str]:
    """Every trouble of every check; `mappings` has the fields behind each data view by its id."""
    dashboards = [one for one in objects if one["type"] == "dashboard"]
    found = [*duplicate_ids(objects), *unresolved(objects), *orphans(objects), *versions(objects)]
    for dashboard in dashboards:
        found += [*references(dashboard), *panel_ids(dashboard), *grid(dashboard)]
        found += [
            *controls(dashboard, mappings),
            *columns(dashboard, mappings),
            *deaf_panels(dashboard),
            *annotation_layers(dashboard, mappings),
            *map_layers(dashboard, mappings),
        ]
    found += [trouble for one in objects if one["type"] == "search" for trouble in search_columns(one, mappings)]
    return found


def duplicate_ids(objects: Sequence[SavedObject]) -> Iterator[str]:
    """Two objects of one type and id: the second would overwrite the first."""
    for (kind, id_), count in Counter((one["type"], one["id"]) for one in objects).items():
        if count > 1:
            yield f"{kind} {id_} is there {count} times."


def changed_ids(before: Sequence[SavedObject], after: Sequence[SavedObject]) -> list[str]:
    """Objects, panels, layers and controls whose ids two generations do not share."""
    return sorted(_all_ids(before) ^ _all_ids(after))


def unresolved(objects: Sequence[SavedObject]) -> Iterator[str]:
    """A reference to an object that is not here."""
    known = {(one["type"], one["id"]) for one in objects}
    for one in objects:
        for reference in one["references"]:
            if (reference["type"], reference["id"]) not in known:
                yield f"{_named(one)}: {reference['name']} refers to a {reference['type']} that is not there."


def orphans(objects: Sequence[SavedObject]) -> Iterator[str]:
    """A data view that nothing uses. Dashboards and saved searches are where people begin."""
    used = {reference["id"] for one in objects for reference in one["references"]}
    for one in objects:
        if one["type"] == "index-pattern" and one["id"] not in used:
            yield f"{_named(one)} is used by nothing."


def versions(objects: Sequence[SavedObject]) -> Iterator[str]:
    """An object without the versions by which Kibana knows its structure."""
    for one in objects:
        if one.get("coreMigrationVersion") != CORE_VERSION:
            yield f"{_named(one)} has the coreMigrationVersion {one.get('coreMigrationVersion')}."
        if one.get("typeMigrationVersion") != TYPE_VERSIONS.get(one["type"]):
            yield f"{_named(one)} has the typeMigrationVersion {one.get('typeMigrationVersion')}."


def references(dashboard: SavedObject) -> Iterator[str]:
    """A name that a panel or control uses and no reference has, and the other way round."""
    names = [reference["name"] for reference in dashboard["references"]]
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{_named(dashboard)}: {count} references are called {name}."
    used = set(_used_names(dashboard))
    for name in sorted(used - set(names)):
        yield f"{_named(dashboard)}: the reference {name} is missing."
    for name in sorted(set(names) - used):
        yield f"{_named(dashboard)}: no panel uses the reference {name}."


def panel_ids(dashboard: SavedObject) -> Iterator[str]:
    """Panels that share an id, and a grid place that belongs to another panel."""
    panels = _panels(dashboard)
    for id_, count in Counter(panel["panelIndex"] for panel in panels).items():
        if count > 1:
            yield f"{_named(dashboard)}: {count} panels have the id {id_}."
    for panel in panels:
        if panel["gridData"]["i"] != panel["panelIndex"]:
            yield f"{_named(dashboard)}: the place of the panel {_called(panel)!r} belongs to another one."


def grid(dashboard: SavedObject) -> Iterator[str]:
    """Panels that stick out of the columns of the grid, have no size, or lie on each other."""
    places = [(_called(panel), panel["gridData"]) for panel in _panels(dashboard)]
    for title, place in places:
        if place["w"] < 1 or place["h"] < 1 or place["x"] < 0 or place["y"] < 0:
            yield f"{_named(dashboard)}: the panel {title!r} has no size, or lies outside."
        if place["x"] + place["w"] > GRID_COLUMNS:
            yield f"{_named(dashboard)}: the panel {title!r} is wider than the {GRID_COLUMNS} columns of the grid."
    for (title, one), (other_title, other) in combinations(places, 2):
        apart_across = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_down = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        if not (apart_across or apart_down):
            yield f"{_named(dashboard)}: the panels {title!r} and {other_title!r} overlap."


def controls(dashboard: SavedObject, mappings: Mappings) -> Iterator[str]:
    """A dashboard without its dimension control, and a control that lists nothing or begins with too much."""
    found = _controls(dashboard)
    if [control["explicitInput"]["fieldName"] for control in found.values()] != ["dimension"]:
        yield f"{_named(dashboard)} has not exactly one control, of the dimension."
    targets = {one["name"]: one for one in dashboard["references"]}
    for id_, control in found.items():
        given = control["explicitInput"]
        target = targets.get(f"controlGroup_{id_}:optionsListDataView")
        if target is None or target["type"] != "index-pattern":
            yield f"{_named(dashboard)}: the control of {given['fieldName']} refers to no data view."
        elif mappings.get(target["id"], {}).get(given["fieldName"], {}).get("type") != "keyword":
            yield f"{_named(dashboard)}: the control's field {given['fieldName']} is no keyword of its data view."
        if given["id"] != id_:
            yield f"{_named(dashboard)}: the control of {given['fieldName']} has the id of another one."
        if given.get("selectedOptions") != [ALL] or not given.get("singleSelect"):
            yield f"{_named(dashboard)}: the control of {given['fieldName']} does not begin with the one value `all`."


def columns(dashboard: SavedObject, mappings: Mappings) -> Iterator[str]:
    """Columns of fields that the index has not, or whose type the operation cannot work on, or that nothing shows."""
    targets = {one["name"]: one["id"] for one in dashboard["references"]}
    for panel in _panels(dashboard):
        place = f"{_named(dashboard)}, panel {_called(panel)!r}"
        for layer_id, layer in _layers(panel).items():
            fields = mappings.get(targets.get(f"{panel['panelIndex']}:{LAYER_REFERENCE}{layer_id}", ""), {})
            if sorted(layer["columnOrder"]) != sorted(layer["columns"]):
                yield f"{place}: columnOrder does not list the columns."
            for column in _with_order(layer):
                name = column.get("sourceField")
                mapping = fields.get(name or "")
                if name is None:
                    yield f"{place}: {column['operationType']} works on no field."
                elif mapping is None:
                    yield f"{place}: there is no field {name}."
                elif not _can(column["operationType"], mapping):
                    yield f"{place}: {column['operationType']} cannot work on {name}."
            order = [_params(column).get("orderBy", {}).get("columnId") for column in layer["columns"].values()]
            for name in {*filter(None, order), *_shown(panel["embeddableConfig"]["attributes"])}:
                if name not in layer["columns"]:
                    yield f"{place}: there is no column {name}."
        for name in _vega_fields(panel):
            if not any(_is_aggregatable(fields.get(name)) for fields in mappings.values()):
                yield f"{place}: there is no field {name} to draw."


def deaf_panels(dashboard: SavedObject) -> Iterator[str]:
    """Panels that show the same whatever the control says: of Lens and of Vega; maps are `map_layers`' own."""
    for panel in _panels(dashboard):
        place = f"{_named(dashboard)}, panel {_called(panel)!r}"
        if any(layer.get("ignoreGlobalFilters") is not False for layer in _layers(panel).values()):
            yield f"{place}: Lens's layer does not follow the control."
        if panel["type"] == "visualization" and CONTEXT["filter"] not in _vega_search(panel)["query"]["bool"]["filter"]:
            yield f"{place}: Vega's search does not follow the control."


def annotation_layers(dashboard: SavedObject, mappings: Mappings) -> Iterator[str]:
    """Annotations without a data view, of fields that it has not, or on a chart without an axis of time."""
    targets = {one["name"]: one["id"] for one in dashboard["references"]}
    for panel in _panels(dashboard):
        place = f"{_named(dashboard)}, panel {_called(panel)!r}"
        for layer in _annotation_layers(panel):
            fields = mappings.get(targets.get(f"{panel['panelIndex']}:{ANNOTATIONS_REFERENCE}{layer['layerId']}", ""))
            if fields is None:
                yield f"{place}: its annotations refer to no data view."
                continue
            for one in layer["annotations"]:
                if fields.get(one["timeField"], {}).get("type") != "date":
                    yield f"{place}: the annotations' field {one['timeField']} is no date of their data view."
                queried = QUERIED_FIELD.findall(one["filter"]["query"])
                for name in (one["textField"], *one["extraFields"], *queried):
                    if not _is_aggregatable(fields.get(name)):
                        yield f"{place}: there is no field {name} to annotate with."
            if not any(column["operationType"] == "date_histogram" for column in _columns_of(panel)):
                yield f"{place}: there are annotations, but no axis of time."


def map_layers(dashboard: SavedObject, mappings: Mappings) -> Iterator[str]:
    """Maps that show nothing or not all of it, and layers of what is no data view, no geo_point or no field."""
    targets = {one["name"]: one["id"] for one in dashboard["references"]}
    for panel in _panels(dashboard):
        if panel["type"] != "map":
            continue
        place = f"{_named(dashboard)}, panel {_called(panel)!r}"
        layers = _map_layers(panel)
        ids = [layer["id"] for layer in layers]
        shown = panel["embeddableConfig"]
        for state in (shown, json.loads(shown["attributes"]["uiStateJSON"])):
            if not set(state["openTOCDetails"]) <= set(ids) or not state["isLayerTOCOpen"]:
                yield f"{place}: its legend is closed, or that of a layer that is not there."
        if len(set(ids)) < len(ids):
            yield f"{place}: two layers have one id."
        if not json.loads(shown["attributes"]["mapStateJSON"])["settings"].get("autoFitToDataBounds"):
            yield f"{place}: the map does not move to its points."
        of_data = [(number, layer) for number, layer in enumerate(layers) if _is_of_data(layer)]
        if not of_data:
            yield f"{place}: the map has no layer of documents."
        for number, layer in of_data:
            source = layer["sourceDescriptor"]
            if source["indexPatternRefName"] != f"layer_{number}_source_index_pattern":
                yield f"{place}: the reference of layer {number} is called {source['indexPatternRefName']}."
            fields = mappings.get(targets.get(f"{panel['panelIndex']}:{source['indexPatternRefName']}", ""))
            if fields is None:
                yield f"{place}: layer {number} refers to no data view."
                continue
            yield from (f"{place}: {trouble}" for trouble in _troubles_of_layer(layer, fields))


def _troubles_of_layer(layer: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[str]:
    source = layer["sourceDescriptor"]
    if fields.get(source["geoField"], {}).get("type") != "geo_point":
        yield f"the field {source['geoField']} is no geo_point of its data view."
    if LAYER_OF_SCALING.get(source["scalingType"]) != layer["type"]:
        yield f"a {layer['type']} cannot show what is asked for by {source['scalingType']}."
    if not source["applyGlobalQuery"]:
        yield "the layer does not follow the control."
    if not layer["visible"]:
        yield "the layer is hidden."
    queried = QUERIED_FIELD.findall(layer["query"]["query"])
    if "report_name" not in queried:
        yield "the layer is not limited to a report."
    styled = [one["options"]["field"]["name"] for one in layer["style"]["properties"].values() if _is_dynamic(one)]
    for name in (*queried, *styled, *source["tooltipProperties"], source["sortField"]):
        if not _is_aggregatable(fields.get(name)):
            yield f"there is no field {name} for the map."


def search_columns(search: SavedObject, mappings: Mappings) -> Iterator[str]:
    """Columns of a saved search that its index has not."""
    (reference,) = search["references"]
    fields = mappings.get(reference["id"], {})
    for name in (*search["attributes"]["columns"], *(name for name, _ in search["attributes"]["sort"])):
        if name not in fields:
            yield f"{_named(search)}: there is no field {name}."


def _all_ids(objects: Sequence[SavedObject]) -> set[str]:
    found = {f"{one['type']} {one['id']}" for one in objects}
    for one in objects:
        if one["type"] == "dashboard":
            found |= {f"control {id_}" for id_ in _controls(one)}
            for panel in _panels(one):
                layers = (
                    *_layers(panel),
                    *(layer["layerId"] for layer in _annotation_layers(panel)),
                    *(layer["id"] for layer in _map_layers(panel)),
                )
                found |= {f"panel {panel['panelIndex']}", *(f"layer {id_}" for id_ in layers)}
    return found


def _used_names(dashboard: SavedObject) -> Iterator[str]:
    for panel in _panels(dashboard):
        id_ = panel["panelIndex"]
        shown = panel["embeddableConfig"]
        if "panelRefName" in panel:
            yield f"{id_}:{panel['panelRefName']}"
        for layer_id in _layers(panel):
            yield f"{id_}:{LAYER_REFERENCE}{layer_id}"
        for layer in _annotation_layers(panel):
            yield f"{id_}:{ANNOTATIONS_REFERENCE}{layer['layerId']}"
        for layer in filter(_is_of_data, _map_layers(panel)):
            yield f"{id_}:{layer['sourceDescriptor']['indexPatternRefName']}"
        for link in shown.get("attributes", {}).get("links", ()):
            yield f"{id_}:{link['destinationRefName']}"
    for id_, control in _controls(dashboard).items():
        yield f"controlGroup_{id_}:{control['type'].removesuffix('Control')}DataView"


def _panels(dashboard: SavedObject) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(dashboard["attributes"]["panelsJSON"])
    return panels


def _controls(dashboard: SavedObject) -> dict[str, Any]:
    controls_: dict[str, Any] = json.loads(dashboard["attributes"].get("controlGroupInput", {}).get("panelsJSON", "{}"))
    return controls_


def _layers(panel: Mapping[str, Any]) -> dict[str, Any]:
    """The layers of Lens's own searches; ES|QL and visualisations of the library have none here."""
    layers: dict[str, Any] = _lens_state(panel).get("datasourceStates", {}).get("formBased", {}).get("layers", {})
    return layers


def _annotation_layers(panel: Mapping[str, Any]) -> list[dict[str, Any]]:
    shown = _lens_state(panel).get("visualization", {})
    return [layer for layer in shown.get("layers", ()) if layer["layerType"] == "annotations"]


def _lens_state(panel: Mapping[str, Any]) -> dict[str, Any]:
    """What Lens is given by value; nothing of other panels."""
    if panel["type"] != "lens":
        return {}
    state: dict[str, Any] = panel["embeddableConfig"].get("attributes", {}).get("state", {})
    return state


def _map_layers(panel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All layers of a map, the basemap too."""
    if panel["type"] != "map":
        return []
    given = panel["embeddableConfig"].get("attributes", {})
    layers: list[dict[str, Any]] = json.loads(given.get("layerListJSON", "[]"))
    return layers


def _is_of_data(layer: Mapping[str, Any]) -> bool:
    return "indexPatternRefName" in layer["sourceDescriptor"]


def _is_dynamic(style: Mapping[str, Any]) -> bool:
    return style.get("type") == "DYNAMIC"


def _columns_of(panel: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for layer in _layers(panel).values():
        yield from layer["columns"].values()


def _with_order(layer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for column in layer["columns"].values():
        yield column
        if "orderAgg" in _params(column):
            yield _params(column)["orderAgg"]


def _params(column: Mapping[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = column.get("params", {})
    return params


def _shown(attributes: Mapping[str, Any]) -> Iterator[str]:
    """The columns that a visualisation shows."""
    state = attributes["state"]["visualization"]
    for part in (state, *state.get("layers", ())):
        for key, value in part.items():
            if key.endswith("Accessor"):
                yield value
        yield from part.get("accessors", ())
        yield from (column["columnId"] for column in part.get("columns", ()))


def _vega_fields(panel: Mapping[str, Any]) -> list[str]:
    if panel["type"] != "visualization":
        return []
    fields: list[str] = _vega_search(panel)["_source"]
    return fields


def _vega_search(panel: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(panel["embeddableConfig"]["savedVis"]["params"]["spec"])["data"]["url"]["body"]
    return body


def _can(operation: str, mapping: Mapping[str, Any]) -> bool:
    return mapping["type"] in TYPES_OF_OPERATIONS.get(operation, ()) and _is_aggregatable(mapping)


def _is_aggregatable(mapping: Mapping[str, Any] | None) -> bool:
    return mapping is not None and mapping["type"] in AGGREGATABLE and mapping.get("doc_values", True)


def _called(panel: Mapping[str, Any]) -> str:
    """What a panel is called in a sentence: not each one that Kibana exports has a title."""
    return str(panel.get("title", panel["panelIndex"]))


def _named(one: Mapping[str, Any]) -> str:
    return f"{one['type']} {one['attributes']['title']!r}"
