"""A panel as Kibana's Vega draws it, for what Lens has no mark for: points in a plane, a line with its band.

    panel, its report, fields  ->  a Vega-Lite specification whose data is a search

The search is the panel's own; the dashboard's controls and filters reach it through Kibana's placeholders. Over days a
second search finds the notes that are pinned to the panel: on a layer of their own, and left alone by the controls, as
in the charts of Lens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from include.dashboards.annotations import COLOR, MARKER_DOWN
from include.dashboards.kibana_lens import description, wanted
from include.dashboards.notes import EVERY, NOTES_AT_MOST
from include.dashboards.panel import Panel
from include.dashboards.vega import D3_FORMATS, EVIDENCE, OKABE_ITO, SHAPES, TONES, title_of
from include.schemas.reports import Field, ReportType

Spec = dict[str, Any]

ROWS_AT_MOST = 10_000
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"  # what Kibana 8.19 brings
ROWS = "rows"  # what Vega calls the data of the panel
NOTE_FIELDS = ("day", "text", "author", "dimension")
PERIOD_DAYS = {"day": 1, "week": 7, "month": 31}
MILLISECONDS_PER_DAY = 86_400_000
CONTEXT = {kind: f"%dashboard_context-{kind}_clause%" for kind in ("must", "filter", "must_not")}


@dataclass(frozen=True)
class Pinned:
    """Where notes are, and the id of the panel that they are pinned to."""

    index: str
    panel_id: str


def saved_visualization(
    panel: Panel,
    report_name: str,
    report_type: ReportType,
    fields: Mapping[str, Field],
    *,
    index: str,
    pinned: Pinned | None = None,
) -> Spec:
    """The visualisation as a dashboard keeps it by value; the specification is a text in it."""
    spec = specification(panel, report_name, report_type, fields, index=index, pinned=pinned)
    return {
        "title": panel.title,
        "description": description(panel, report_type),
        "type": "vega",
        "params": {"spec": orjson.dumps(spec, option=orjson.OPT_INDENT_2).decode()},
        "uiState": {},
        "data": {"aggs": [], "searchSource": {"query": {"query": "", "language": "kuery"}, "filter": []}},
    }


def specification(
    panel: Panel,
    report_name: str,
    report_type: ReportType,
    fields: Mapping[str, Field],
    *,
    index: str,
    pinned: Pinned | None = None,
) -> Spec:
    """The Vega-Lite specification, over days with its notes where it is said where they are.

    Raises ValueError for a panel without an x, or with another mark.
    """
    if panel.x is None or panel.mark not in ("scatter", "line"):
        raise ValueError(f"The panel {panel.title!r} is a {panel.mark} that is not drawn with Vega.")
    spec: Spec = {
        "$schema": SCHEMA,
        "description": f"{panel.title}. {panel.how_to_read}",
        "data": {
            "name": ROWS,
            "url": {"index": index, "body": search_body(panel, report_name, report_type)},
            "format": {"property": "hits.hits"},
        },
        "width": "container",
        "height": "container",
        "autosize": {"type": "fit", "contains": "padding"},
        "encoding": {"x": _x(panel, fields)},
        "config": {"range": {"category": list(OKABE_ITO)}},
    }
    spec["layer"] = _points(panel, fields) if panel.mark == "scatter" else _lines(panel, fields)
    if pinned is not None and fields[panel.x].type == "date":
        spec["layer"].append(_notes(panel, fields, pinned))
    return spec


def search_body(panel: Panel, report_name: str, report_type: ReportType) -> Spec:
    """The search of a panel, in the report's order."""
    terms = [{"term": {name: value}} for name, value in wanted(report_name, report_type, panel).items()]
    return {
        "size": min(panel.limit or ROWS_AT_MOST, ROWS_AT_MOST),
        "sort": [{"row": "asc"}],
        "_source": list(fields_shown(panel, report_type)),
        "query": {
            "bool": {
                "must": [CONTEXT["must"]],
                "filter": [CONTEXT["filter"], *terms],
                "must_not": [CONTEXT["must_not"]],
            }
        },
    }


def notes_body(panel_id: str) -> Spec:
    """The search for the notes on a panel, the newest first."""
    return {
        "size": NOTES_AT_MOST,
        "sort": [{"day": "desc"}],
        "_source": list(NOTE_FIELDS),
        "query": {"bool": {"filter": [{"terms": {"panel": [panel_id, EVERY]}}]}},
    }


def fields_shown(panel: Panel, report_type: ReportType) -> tuple[str, ...]:
    """The fields that the panel draws or tells."""
    told = [name for name in EVIDENCE if name in report_type.fields]
    named = (panel.x, panel.breakdown, *panel.series, *(panel.band or ()), panel.marked, *told)
    return tuple(dict.fromkeys(name for name in named if name))


def _x(panel: Panel, fields: Mapping[str, Field]) -> Spec:
    assert panel.x is not None
    encoding: Spec = {"field": f"_source.{panel.x}", "title": panel.x_title or title_of(panel.x)}
    if fields[panel.x].type == "date":
        # Days are written without a time of day, which is midnight UTC: so are the axis and its labels.
        return {**encoding, "type": "temporal", "scale": {"type": "utc"}, "axis": {"format": "%d %b %Y"}}
    if fields[panel.x].type in ("long", "double"):
        return {**encoding, "type": "quantitative", "scale": {"zero": False}}
    return {**encoding, "type": "ordinal", "sort": None}


def _y(panel: Panel, name: str) -> Spec:
    title = panel.y_title or title_of(panel.series[0])
    axis = {"format": D3_FORMATS[panel.format]}
    scale = {"zero": panel.mark != "scatter"}
    return {"field": f"_source.{name}", "type": "quantitative", "title": title, "axis": axis, "scale": scale}


def _lines(panel: Panel, fields: Mapping[str, Field]) -> list[Spec]:
    layers: list[Spec] = []
    if panel.band:
        low, high = panel.band
        ends = {"y": _y(panel, low), "y2": {"field": f"_source.{high}"}}
        layers.append({"mark": {"type": "area", "opacity": 0.2, "color": OKABE_ITO[0]}, "encoding": ends})
    for name in panel.series:
        several = len(panel.series) > 1
        named = panel.series_titles.get(name, title_of(name))
        color: Spec = {"color": {"datum": named, "title": None}} if several else {"color": {"value": OKABE_ITO[0]}}
        drawn = {"y": _y(panel, name), **color, "tooltip": _tooltip(panel, fields)}
        layers.append({"mark": {"type": "line", "point": {"size": 20}}, "encoding": drawn})
    if panel.marked:
        standing_out = {"type": "point", "filled": True, "size": 80, "color": TONES["bad"]}
        told = {"y": _y(panel, panel.series[0]), "tooltip": _tooltip(panel, fields)}
        layers.append(
            {"transform": [{"filter": f"datum._source.{panel.marked}"}], "mark": standing_out, "encoding": told}
        )
    return layers


def _notes(panel: Panel, fields: Mapping[str, Field], pinned: Pinned) -> Spec:
    """A rule at each note's day, dashed where it is about one dimension value, and a point that tells it.

    Only those from the first day of the chart to the end of its last period, as others would stretch its axis.
    """
    days = f"extent(pluck(data('{ROWS}'), '_source.{panel.x}'))"
    lasts = PERIOD_DAYS.get(str(panel.where.get("granularity")), 1) * MILLISECONDS_PER_DAY
    day, first, last = (f"time(toDate({one}))" for one in ("datum._source.day", f"{days}[0]", f"{days}[1]"))
    x = {**_x(panel, fields), "field": "_source.day"}
    told: list[Spec] = [
        {"field": f"_source.{name}", "type": "nominal", "title": title}
        for name, title in (("text", "Note"), ("author", "By"), ("dimension", "About"))
    ]
    when = {"field": "_source.day", "type": "temporal", "timeUnit": "utcyearmonthdate", "title": "Day"}
    is_of_all = f"datum._source.dimension === '{EVERY}'"
    dash = {"condition": {"test": is_of_all, "value": [1, 0]}, "value": [4, 3]}
    point = {"type": "point", "shape": "triangle-down", "filled": True, "size": 90, "color": COLOR, "opacity": 1}
    return {
        "data": {
            "url": {"index": pinned.index, "body": notes_body(pinned.panel_id)},
            "format": {"property": "hits.hits"},
        },
        "transform": [{"filter": f"{first} <= {day} && {day} < {last} + {lasts}"}],
        "layer": [
            {"mark": {"type": "rule", "color": COLOR}, "encoding": {"x": x, "strokeDash": dash}},
            {"mark": point, "encoding": {"x": x, "y": {"value": MARKER_DOWN}, "tooltip": [when, *told]}},
        ],
    }


def _points(panel: Panel, fields: Mapping[str, Field]) -> list[Spec]:
    encoding: Spec = {"y": _y(panel, panel.series[0]), "tooltip": _tooltip(panel, fields)}
    if panel.breakdown:
        group = {"field": f"_source.{panel.breakdown}", "type": "nominal", "sort": None}
        encoding["color"] = {**group, "title": title_of(panel.breakdown)}
        encoding["shape"] = {**encoding["color"], "scale": {"range": SHAPES}}
    return [{"mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.7}, "encoding": encoding}]


def _tooltip(panel: Panel, fields: Mapping[str, Field]) -> list[Spec]:
    tips: list[Spec] = []
    for name in dict.fromkeys(filter(None, (panel.x, panel.breakdown, *panel.series, *(panel.band or ())))):
        tip: Spec = {"field": f"_source.{name}", "type": "nominal", "title": title_of(name)}
        if fields[name].type == "date":
            tip |= {"type": "temporal", "timeUnit": "utcyearmonthdate"}
        elif fields[name].type in ("long", "double"):
            tip |= {"type": "quantitative", "format": D3_FORMATS[panel.format] if name != panel.x else ",.2~f"}
        tips.append(tip)
    return tips
