"""A panel as Kibana's Maps draws it: by value, one point for each row of the report, on Elastic's basemap.

    panel, its report  ->  the attributes of a map

The points are the report's documents themselves, found by their geo_point in one search with the panel's own query and
the dashboard's control. The basemap comes from the Elastic Maps Service, by way of the reader's browser; where that
cannot be reached the points are drawn without it.
"""

from __future__ import annotations

from typing import Any

import orjson

from include.dashboards.kibana_lens import description, kuery, wanted
from include.dashboards.panel import Panel
from include.dashboards.vega import OKABE_ITO, TONES
from include.schemas.reports import ReportType

State = dict[str, Any]

# Kibana names the reference of a layer's data view after the layer's place in the list; the basemap is number 0.
SOURCE_REFERENCE = "layer_1_source_index_pattern"
POINT_SIZE = 8
ZOOM = {"minZoom": 0, "maxZoom": 24}  # every zoom that Maps has


def attributes(panel: Panel, report_name: str, report_type: ReportType, *, layer_id: str) -> State:
    """The attributes of the panel's map. Raises ValueError for a panel without a geo_point, or with another mark."""
    if panel.mark != "map" or panel.location is None:
        raise ValueError(f"The panel {panel.title!r} is a {panel.mark} that Maps cannot draw: it needs a location.")
    layers = [_basemap(f"{layer_id}-basemap"), _points(panel, report_name, report_type, layer_id)]
    state = {
        "adHocDataViews": [],
        # Where the map begins; it moves to the points once they are there.
        "center": {"lat": 0, "lon": 0},
        "zoom": 1,
        "timeFilters": {"from": "now-30y", "to": "now"},
        "refreshConfig": {"isPaused": True, "interval": 60_000},
        "query": {"query": "", "language": "kuery"},
        "filters": [],
        "settings": {"autoFitToDataBounds": True, "showScaleControl": True},
    }
    return {
        "title": panel.title,
        "description": description(panel, report_type),
        "layerListJSON": _text(layers),
        "mapStateJSON": _text(state),
        "uiStateJSON": _text(legend(layer_id)),
    }


def legend(layer_id: str) -> State:
    """The list of layers is open, and in it what the colours mean."""
    return {"isLayerTOCOpen": True, "openTOCDetails": [layer_id]}


def _basemap(id_: str) -> State:
    return {
        "id": id_,
        "type": "EMS_VECTOR_TILE",
        "label": None,
        "locale": "autoselect",
        "sourceDescriptor": {"type": "EMS_TMS", "isAutoSelect": True, "lightModeDefault": "road_map_desaturated"},
        "style": {"type": "EMS_VECTOR_TILE", "color": ""},
        "alpha": 1,
        "visible": True,
        "includeInFitToBounds": True,
        **ZOOM,
    }


def _points(panel: Panel, report_name: str, report_type: ReportType, layer_id: str) -> State:
    source = {
        "id": f"{layer_id}-source",
        "type": "ES_SEARCH",
        "indexPatternRefName": SOURCE_REFERENCE,
        "geoField": panel.location,
        "scalingType": "LIMIT",  # up to index.max_result_window points, which no report reaches on a map
        "filterByMapBounds": False,
        "applyGlobalQuery": True,  # the dashboard's control
        "applyGlobalTime": False,  # a report tells its own period
        "applyForceRefresh": True,
        "tooltipProperties": list(_told(panel, report_type)),
        "sortField": "row",
        "sortOrder": "asc",  # Maps draws the first one on top: what a report begins with matters most
        "topHitsGroupByTimeseries": False,
        "topHitsSplitField": "",
        "topHitsSize": 1,
    }
    return {
        "id": layer_id,
        "type": "GEOJSON_VECTOR",
        "label": panel.title,
        "sourceDescriptor": source,
        "query": {"query": kuery(wanted(report_name, report_type, panel)), "language": "kuery"},
        "joins": [],
        "style": {"type": "VECTOR", "isTimeAware": True, "properties": _style(panel)},
        "alpha": 0.8,
        "visible": True,
        "includeInFitToBounds": True,
        "disableTooltips": False,
        **ZOOM,
    }


def _told(panel: Panel, report_type: ReportType) -> tuple[str, ...]:
    """What the pointer tells of a point: the table's columns, else all the report has, but for where it lies."""
    named = panel.columns or report_type.fields
    return tuple(name for name in named if name not in (panel.x, *panel.series, panel.location, "dimension"))


def _style(panel: Panel) -> State:
    """Every property that Maps has for points, as it writes them itself."""
    return {
        "symbolizeAs": {"options": {"value": "circle"}},
        "icon": _static(value="marker"),
        "iconSize": _static(size=POINT_SIZE),
        "iconOrientation": _static(orientation=0),
        "fillColor": _color(panel),
        "lineColor": _static(color="#FFFFFF"),
        "lineWidth": _static(size=1),
        "labelText": _static(value=""),
        "labelColor": _static(color="#000000"),
        "labelSize": _static(size=14),
        "labelBorderColor": _static(color="#FFFFFF"),
        "labelBorderSize": {"options": {"size": "SMALL"}},
        "labelPosition": {"options": {"position": "CENTER"}},
        "labelZoomRange": {"options": {"useLayerZoomRange": True, **ZOOM}},
    }


def _color(panel: Panel) -> State:
    """One colour for each value of the breakdown: those of the declaration, else those of Maps."""
    if panel.breakdown is None:
        return _static(color=OKABE_ITO[0])
    options: State = {
        "type": "CATEGORICAL",
        "field": {"name": panel.breakdown, "origin": "source"},
        "colorCategory": "palette_0",
        "otherCategoryColor": OKABE_ITO[-1],
        "useCustomColorPalette": False,
        # The values are those of the points that are there: no search of its own for them.
        "fieldMetaOptions": {"isEnabled": False},
    }
    if panel.tones:
        palette = [{"stop": value, "color": TONES[tone]} for value, tone in panel.tones.items()]
        options |= {"useCustomColorPalette": True, "customColorPalette": palette}
    return {"type": "DYNAMIC", "options": options}


def _static(**options: str | int) -> State:
    return {"type": "STATIC", "options": options}


def _text(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
