"""The dashboards as Kibana's saved objects: data views, saved searches, and every dashboard of the page.

    every panel of every dashboard  ->  saved objects, one JSON a line (NDJSON), to import into Kibana 8.19 or newer

The panels are those of the page, so both show the same numbers. Ids are made from names: importing again replaces what
was imported before. Names of indexes and ids follow INDEX_PREFIX, so that two installations can share a Kibana.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

import configs
from include.dashboards.dashboard import Dashboard, PlacedPanel, dashboards, fields_of, placed_panels, report_names
from include.dashboards.kibana_lens import attributes, lens_can_draw, with_notes
from include.dashboards.kibana_maps import SOURCE_REFERENCE, legend
from include.dashboards.kibana_maps import attributes as map_attributes
from include.dashboards.kibana_vega import Pinned, saved_visualization
from include.dashboards.notes import NOTES
from include.dashboards.vega import in_words, is_instant
from include.elastic.client import index_name
from include.elastic.indexes import REPORTS, REPORTS_LATEST
from include.elastic.reports import ALL
from include.schemas.indexes import (
    downloads_mapping,
    notes_mapping,
    orders_mapping,
    quarantine_mapping,
    reports_mapping,
)

SavedObject = dict[str, Any]

NAMESPACE = uuid.UUID("6f5f5b0e-3c1d-5a39-9a57-0d1f6c2f8b11")  # of all ids here; never to be changed
CORE_VERSION = "8.8.0"
# The versions of the objects' own structures that Kibana 8.19 writes or still reads: it brings older ones up to date
# at import, and refuses newer ones.
TYPE_VERSIONS = {"index-pattern": "8.0.0", "search": "8.0.0", "dashboard": "10.2.0"}

GRID_COLUMNS = 48
PAGE_COLUMNS = 12  # a panel's width is out of these
HEIGHTS = {"metric": 7, "table": 16, "heatmap": 18, "map": 18}
HEIGHT = 15
LINKS_HEIGHT = 4
EVERYTHING = {"timeFrom": "now-30y", "timeTo": "now", "refreshInterval": {"pause": True, "value": 60_000}}

# Of what is on the reports' dashboards, the time picker filters the notes alone: those of a forecast's days too.
ALL_NOTES = {**EVERYTHING, "timeTo": "now+5y"}

# Data view: its index, its name for people, and the field that Discover's time picker filters. The reports' panels
# have none: a report tells its own period, and a time picker would cut a part out of it unsaid.
DATA_VIEWS: dict[str, tuple[str, str | None]] = {
    "orders": ("Sessions and orders", "session_start_date"),
    "downloads": ("Customers", "download_date"),
    REPORTS_LATEST: ("Latest reports", None),
    REPORTS: ("All reports", "report_date"),
    "quarantine": ("Quarantine", "quarantined_at"),
    NOTES: ("Notes", "day"),
}
# Saved search: data view, title, what it shows, query, columns, the field it is sorted by.
SEARCHES: dict[str, tuple[str, str, str, str, tuple[str, ...], str]] = {
    "orders": (
        "orders",
        "Sessions and orders",
        "Every session, newest first; those with a purchase are orders.",
        "",
        (
            "client",
            "has_purchased",
            "payment_amount",
            "discount_amount",
            "promotion_id",
            "basket.product",
            "total_products",
            "dimension",
        ),
        "session_start_date",
    ),
    "customers": (
        "downloads",
        "Customers",
        "Every customer with the latest scores, newest download first.",
        "",
        (
            "client",
            "signup_date",
            "scores.rfm_segment",
            "scores.customer_segment",
            "scores.probability_alive",
            "scores.churn_risk",
            "scores.clv",
            "scores.is_overdue",
            "dimension",
        ),
        "download_date",
    ),
    "reports": (
        REPORTS,
        "Reports written",
        "The header of every report: its rows, or the reason why it was skipped.",
        "is_header: true",
        ("report_name", "type", "title", "rows", "skipped", "is_latest", "run_id"),
        "report_date",
    ),
    "quarantine": (
        "quarantine",
        "Rejected rows",
        "The rows that were rejected, with the rules they broke.",
        "is_header: false",
        ("source", "rules", "key", "file", "row", "is_replayed", "run_id"),
        "quarantined_at",
    ),
}
DATA = "data"  # the dashboard of the saved searches


def saved_objects(names: Mapping[str, Iterable[str]] | None = None) -> list[SavedObject]:
    """All saved objects: data views, then saved searches, then dashboards.

    `names` are the values that fields have which are shown in words (`worded_fields`), as far as they are known.
    """
    titles = {one.name: one.title for one in dashboards()} | {DATA: "Orders and customers"}
    return [
        *(_data_view(name, names or {}) for name in DATA_VIEWS),
        *(_search(name) for name in SEARCHES),
        *(_dashboard_of(one, titles) for one in dashboards()),
        _data_dashboard(titles),
    ]


def render() -> str:
    """The saved objects as the file that Kibana imports."""
    return ndjson(saved_objects())


def ndjson(objects: Iterable[SavedObject]) -> str:
    """One JSON a line, always in the same order."""
    return "".join(f"{orjson.dumps(one, option=orjson.OPT_SORT_KEYS).decode()}\n" for one in objects)


def mappings() -> dict[str, dict[str, Any]]:
    """What the index behind each data view holds: data view id → field → its mapping."""
    of_reports = reports_mapping({name: fields_of(name) for name in report_names()})
    by_name = {
        "orders": orders_mapping({}),
        "downloads": downloads_mapping({}),
        REPORTS_LATEST: of_reports,
        REPORTS: of_reports,
        "quarantine": quarantine_mapping(),
        NOTES: notes_mapping(),
    }
    return {object_id("index-pattern", name): _flat(mapping["properties"]) for name, mapping in by_name.items()}


def object_id(kind: str, name: str) -> str:
    """The id of a saved object, or of a part of one: the same for the same name, now and later."""
    return str(uuid.uuid5(NAMESPACE, f"{configs.INDEX_PREFIX}{kind}:{name}"))


def dashboard_id(name: str) -> str:
    """The id of a dashboard."""
    return object_id("dashboard", name)


# ── Data views and saved searches ───────────────────────────────────────────────────────────────────────────────────


def worded_fields() -> list[str]:
    """The fields of reports whose values are names, such as `add_to_cart`, that a reader is shown as words."""
    return sorted({name for one in report_names() for name, field in fields_of(one).items() if field.in_words})


def _data_view(name: str, names: Mapping[str, Iterable[str]]) -> SavedObject:
    title, time_field = DATA_VIEWS[name]
    formats = _report_formats() | _wordings(names) if name in (REPORTS, REPORTS_LATEST) else {}
    data_view = {
        "title": index_name(name),
        "name": _titled(title),
        "fieldAttrs": "{}",
        "fieldFormatMap": _text(formats),
        "fields": "[]",
        "runtimeFieldMap": "{}",
        "sourceFilters": "[]",
        "typeMeta": "{}",
    }
    if time_field is not None:
        data_view["timeFieldName"] = time_field
    return _object("index-pattern", object_id("index-pattern", name), data_view, [])


def _report_formats() -> dict[str, Any]:
    """How Discover and tables write days and shares: a day is midnight UTC, whatever the reader's time zone."""
    formats: dict[str, Any] = {}
    for report_name in report_names():
        for name, field in fields_of(report_name).items():
            if field.type == "date":
                pattern = "YYYY-MM-DD HH:mm" if is_instant(name) else "YYYY-MM-DD"
                formats[name] = {"id": "date", "params": {"pattern": pattern, "timezone": "UTC"}}
            elif field.unit == "share":
                formats[name] = {"id": "percent", "params": {"pattern": "0,0.[0]%"}}
    formats["report_date"] = formats["period"]
    return formats


def _wordings(names: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Kibana has no rule that makes words of a name, only a list of both; a name that is not on it stays as it is."""
    return {
        field: {
            "id": "static_lookup",
            "params": {
                "lookupEntries": [{"key": name, "value": in_words(name)} for name in sorted(values)],
                "unknownKeyValue": None,
            },
        }
        for field, values in names.items()
    }


def _search(name: str) -> SavedObject:
    data_view, title, about, query, columns, sorted_by = SEARCHES[name]
    reference = "kibanaSavedObjectMeta.searchSourceJSON.index"
    source = {"query": {"query": query, "language": "kuery"}, "filter": [], "indexRefName": reference}
    search = {
        "title": _titled(title),
        "description": about,
        "columns": list(columns),
        "sort": [[sorted_by, "desc"]],
        "grid": {},
        "hideChart": False,
        "isTextBasedQuery": False,
        "timeRestore": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": _text(source)},
    }
    references = [{"type": "index-pattern", "id": object_id("index-pattern", data_view), "name": reference}]
    return _object("search", object_id("search", name), search, references)


# ── Dashboards ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _dashboard_of(dashboard: Dashboard, titles: Mapping[str, str]) -> SavedObject:
    name = dashboard.name
    panels, references = [_links(name, titles)], _link_references(name, titles)
    shown_panels = placed_panels(dashboard)
    for placed, grid in zip(shown_panels, _grid(shown_panels), strict=True):
        id_ = object_id("panel", placed.id)
        kind, shown, of_panel = _drawn(placed)
        panels.append(_panel(kind, id_, placed.panel.title, grid, shown))
        references += [{**one, "name": f"{id_}:{one['name']}"} for one in of_panel]
    made = _dashboard(name, titles[name], dashboard.summary, panels, references, REPORTS_LATEST)
    made["attributes"] |= {"timeRestore": True, **ALL_NOTES}
    return made


def _drawn(placed: PlacedPanel) -> tuple[str, dict[str, Any], list[dict[str, str]]]:
    """What draws a panel, what that is given, and its references: Lens, else Maps for places, else Vega."""
    panel, fields = placed.panel, fields_of(placed.report_name)
    data_view = object_id("index-pattern", REPORTS_LATEST)
    layer_id = object_id("layer", placed.id)
    if lens_can_draw(panel):
        state = attributes(
            panel,
            placed.report_name,
            placed.report_type,
            fields,
            layer_id=layer_id,
            data_view=data_view,
            week_start=configs.WEEK_START,
        )
        notes = object_id("index-pattern", NOTES)
        state = with_notes(state, placed.id, layer_id=object_id("notes", placed.id), notes=notes)
        return "lens", {"attributes": state, "enhancements": _open_in_discover(placed)}, state["references"]
    if panel.mark == "map":
        state = map_attributes(panel, placed.report_name, placed.report_type, layer_id=layer_id)
        shown = {"attributes": state, "enhancements": {}, "hiddenLayers": [], **legend(layer_id)}
        return "map", shown, [{"type": "index-pattern", "id": data_view, "name": SOURCE_REFERENCE}]
    latest = index_name(REPORTS_LATEST)
    pinned = Pinned(index_name(NOTES), placed.id)
    drawn = saved_visualization(panel, placed.report_name, placed.report_type, fields, index=latest, pinned=pinned)
    return "visualization", {"savedVis": drawn, "enhancements": {}}, []


def _data_dashboard(titles: Mapping[str, str]) -> SavedObject:
    panels, references = [_links(DATA, titles)], _link_references(DATA, titles)
    for place, name in enumerate(("orders", "customers")):
        id_ = object_id("panel", f"{DATA}.{name}")
        grid = {"x": 0, "y": LINKS_HEIGHT + 20 * place, "w": GRID_COLUMNS, "h": 20}
        panel = _panel("search", id_, SEARCHES[name][1], grid, {"enhancements": {}})
        panels.append({**panel, "panelRefName": f"panel_{id_}"})
        references.append({"type": "search", "id": object_id("search", name), "name": f"{id_}:panel_{id_}"})
    about = "The sessions and customers behind the reports."
    made = _dashboard(DATA, titles[DATA], about, panels, references, "orders")
    made["attributes"] |= {"timeRestore": True, **EVERYTHING}
    return made


def _dashboard(
    name: str,
    title: str,
    about: str,
    panels: Sequence[dict[str, Any]],
    references: Iterable[dict[str, str]],
    controlled: str,
) -> SavedObject:
    """A dashboard with the dimension control, which lists the values of the data view `controlled`."""
    control = object_id("control", name)
    source = {"query": {"query": "", "language": "kuery"}, "filter": []}
    options = {
        "useMargins": True,
        "syncColors": False,
        "syncCursor": True,
        "syncTooltips": False,
        "hidePanelTitles": False,
    }
    dashboard = {
        "title": _titled(title),
        "description": about,
        "version": 1,
        "timeRestore": False,
        "panelsJSON": _text(panels),
        "optionsJSON": _text(options),
        "controlGroupInput": _dimension_control(control),
        "kibanaSavedObjectMeta": {"searchSourceJSON": _text(source)},
    }
    data_view = {
        "type": "index-pattern",
        "id": object_id("index-pattern", controlled),
        "name": f"controlGroup_{control}:optionsListDataView",
    }
    return _object("dashboard", dashboard_id(name), dashboard, [*references, data_view])


def _dimension_control(id_: str) -> dict[str, Any]:
    """A list of the dimension's values with `all` chosen. One value at a time: those of two do not add up."""
    control = {
        "type": "optionsListControl",
        "order": 0,
        "width": "large",
        "grow": True,
        "explicitInput": {
            "id": id_,
            "fieldName": "dimension",
            "title": "Dimension",
            "searchTechnique": "prefix",
            "selectedOptions": [ALL],
            "singleSelect": True,
            "existsSelected": False,
            "exclude": False,
            "sort": {"by": "_key", "direction": "asc"},
            "enhancements": {},
        },
    }
    nothing_ignored = {
        "ignoreFilters": False,
        "ignoreQuery": False,
        "ignoreTimerange": False,
        "ignoreValidations": False,
    }
    return {
        "chainingSystem": "HIERARCHICAL",
        "controlStyle": "oneLine",
        "ignoreParentSettingsJSON": _text(nothing_ignored),
        "panelsJSON": _text({id_: control}),
    }


def _links(name: str, titles: Mapping[str, str]) -> dict[str, Any]:
    """A bar of links to the other dashboards.

    Filters go along to the sessions and customers, which carry all of their dimension values. A row of a report has
    one: the filter, with the `all` that the other dashboard's control begins with, would leave nothing.
    """
    id_ = object_id("panel", f"{name}.links")
    links = [
        {
            "type": "dashboardLink",
            "id": _link_id(name, target),
            "order": place,
            "label": titles[target],
            "destinationRefName": f"link_{_link_id(name, target)}_dashboard",
            "options": {"openInNewTab": False, "useCurrentFilters": target == DATA, "useCurrentDateRange": False},
        }
        for place, target in enumerate(target for target in titles if target != name)
    ]
    shown = {"attributes": {"layout": "horizontal", "links": links}, "enhancements": {}, "hidePanelTitles": True}
    return _panel("links", id_, "Dashboards", {"x": 0, "y": 0, "w": GRID_COLUMNS, "h": LINKS_HEIGHT}, shown)


def _link_references(name: str, titles: Mapping[str, str]) -> list[dict[str, str]]:
    id_ = object_id("panel", f"{name}.links")
    return [
        {"type": "dashboard", "id": dashboard_id(target), "name": f"{id_}:link_{_link_id(name, target)}_dashboard"}
        for target in titles
        if target != name
    ]


def _link_id(name: str, target: str) -> str:
    return object_id("link", f"{name}.{target}")


def _open_in_discover(placed: PlacedPanel) -> dict[str, Any]:
    """A click on a value opens the rows behind it in Discover, with the panel's query and every filter."""
    event = {
        "eventId": object_id("drilldown", placed.id),
        "triggers": ["FILTER_TRIGGER"],
        "action": {
            "factoryId": "OPEN_IN_DISCOVER_DRILLDOWN",
            "name": "Open in Discover",
            "config": {"openInNewTab": True},
        },
    }
    return {"dynamicActions": {"events": [event]}}


def _grid(placed: Sequence[PlacedPanel]) -> list[dict[str, int]]:
    """Where each panel goes, row by row below the links."""
    grids: list[dict[str, int]] = []
    x, y, tallest = 0, LINKS_HEIGHT, 0
    for one in placed:
        width = one.panel.width * GRID_COLUMNS // PAGE_COLUMNS
        height = HEIGHTS.get(one.panel.mark, HEIGHT)
        if x + width > GRID_COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        grids.append({"x": x, "y": y, "w": width, "h": height})
        x, tallest = x + width, max(tallest, height)
    return grids


def _panel(kind: str, id_: str, title: str, grid: Mapping[str, int], shown: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": kind,
        "title": title,
        "panelIndex": id_,
        "gridData": {**grid, "i": id_},
        "embeddableConfig": shown,
    }


def _object(kind: str, id_: str, attributes_: dict[str, Any], references: Sequence[dict[str, str]]) -> SavedObject:
    return {
        "type": kind,
        "id": id_,
        "attributes": attributes_,
        "references": list(references),
        "managed": False,
        "coreMigrationVersion": CORE_VERSION,
        "typeMigrationVersion": TYPE_VERSIONS[kind],
    }


def _titled(title: str) -> str:
    of_which = f" ({configs.INDEX_PREFIX.rstrip('-_')})" if configs.INDEX_PREFIX else ""
    return f"[Customer analytics{of_which}] {title}"


def _text(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _flat(properties: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, mapping in properties.items():
        if "properties" in mapping:
            flat |= _flat(mapping["properties"], f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = mapping
    return flat
