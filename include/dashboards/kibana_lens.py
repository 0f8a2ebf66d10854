"""A panel as Kibana's Lens draws it: by value, from the report's documents.

    panel, its report, fields  ->  the attributes of a Lens visualisation

Every row of a report is a document of its own, so a bucket holds one document and `max` is its value. What is shown
depends on nothing but the panel's own query and the dashboard's controls: no date histogram follows the time picker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.dashboards.annotations import COLOR
from include.dashboards.notes import EVERY
from include.dashboards.panel import Format, Panel
from include.dashboards.vega import ADDITIVE, OKABE_ITO, format_of, title_of
from include.schemas.reports import Field, ReportType

State = dict[str, Any]

MARKS = ("metric", "line", "bar", "area", "heatmap", "table")  # what Lens can draw
ROWS_AT_MOST = 1_000  # Lens shows no more values of a field
SERIES_AT_MOST = 50
UNFINISHED_COLOR = "#808890"
ANNOTATIONS_REFERENCE = "xy-visualization-layer-"
VIRIDIS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
FORMATS: dict[Format, State] = {
    "number": {"id": "number", "params": {"decimals": 2}},
    "decimal": {"id": "number", "params": {"decimals": 2}},
    "money": {"id": "number", "params": {"decimals": 2}},
    "percent": {"id": "percent", "params": {"decimals": 1}},
    "hours": {"id": "number", "params": {"decimals": 1, "suffix": " h"}},
    "days": {"id": "number", "params": {"decimals": 1, "suffix": " d"}},
}
WHOLE: State = {"id": "number", "params": {"decimals": 0}}
DATA_TYPES = {"keyword": "string", "boolean": "boolean", "date": "date", "long": "number", "double": "number"}


def lens_can_draw(panel: Panel) -> bool:
    """Whether Lens has the panel's mark: it has no points in a plane or on a map, and no band around a line."""
    return panel.mark in MARKS and panel.band is None


def wanted(report_name: str, report_type: ReportType, panel: Panel) -> dict[str, str | int | bool]:
    """The fields and values that the documents of a panel have, but for the dimension: the control has that."""
    return {"report_name": report_name, "type": report_type.type, "is_header": False, **panel.where}


def kuery(values: Mapping[str, str | int | bool]) -> str:
    """A query in Kibana's language for documents that have all of these values."""
    return " and ".join(f"{name}: {_literal(value)}" for name, value in values.items())


def _literal(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def attributes(
    panel: Panel,
    report_name: str,
    report_type: ReportType,
    fields: Mapping[str, Field],
    *,
    layer_id: str,
    data_view: str,
    week_start: str = "monday",
) -> State:
    """The attributes of the panel's visualisation; `data_view` is the id of the data view that it reads.

    Raises ValueError for a panel that Lens cannot draw.
    """
    if not lens_can_draw(panel):
        raise ValueError(f"The panel {panel.title!r} is a {panel.mark} that Lens cannot draw.")
    layer = _Layer(panel, report_type, fields, layer_id, week_start)
    draw = {"metric": layer.metric, "table": layer.table, "heatmap": layer.heatmap}.get(panel.mark, layer.xy)
    if panel.mark == "metric" and len(panel.series) > 1:
        draw = layer.table  # Lens's metric has one value: several are the columns of a table
    kind, visualization = draw()
    reference = {"type": "index-pattern", "id": data_view, "name": f"indexpattern-datasource-layer-{layer_id}"}
    return {
        "title": panel.title,
        "description": description(panel, report_type),
        "visualizationType": kind,
        "type": "lens",
        "references": [reference],
        "state": {
            "visualization": visualization,
            "query": {"language": "kuery", "query": kuery(wanted(report_name, report_type, panel))},
            "filters": [],
            "datasourceStates": {
                "formBased": {
                    "layers": {
                        layer_id: {
                            "columns": layer.columns,
                            "columnOrder": layer.order,
                            "incompleteColumns": {},
                            "sampling": 1,
                            "ignoreGlobalFilters": False,
                        }
                    }
                }
            },
            "internalReferences": [],
            "adHocDataViews": {},
        },
    }


def with_notes(state: State, panel_id: str, *, layer_id: str, notes: str) -> State:
    """The attributes with a layer of the panel's notes, where there is an axis of time; `notes` is their data view.

    The layer leaves the dashboard's filters and query alone: with them Lens would apply the panel's own query, and no
    note is a row of a report. So the control does not choose among the notes; the pointer tells what each is about.
    """
    visualization = state["state"]["visualization"]
    (columns,) = (layer["columns"] for layer in state["state"]["datasourceStates"]["formBased"]["layers"].values())
    if state["visualizationType"] != "lnsXY" or columns["x"]["operationType"] != "date_histogram":
        return state
    of_panel = f'panel: ({_literal(panel_id)} or "{EVERY}")'
    annotations = [
        _note_query(layer_id, "every", "Note", f'{of_panel} and dimension: "{EVERY}"', "solid"),
        _note_query(layer_id, "one", "Note on one value", f'{of_panel} and not dimension: "{EVERY}"', "dashed"),
    ]
    layer = {
        "layerId": layer_id,
        "layerType": "annotations",
        "persistanceType": "byValue",  # as Kibana spells it
        "ignoreGlobalFilters": True,
        "annotations": annotations,
    }
    reference = {"type": "index-pattern", "id": notes, "name": f"{ANNOTATIONS_REFERENCE}{layer_id}"}
    return {
        **state,
        "references": [*state["references"], reference],
        "state": {
            **state["state"],
            "visualization": {**visualization, "layers": [*visualization["layers"], layer]},
        },
    }


def _note_query(layer_id: str, name: str, label: str, query: str, line: str) -> State:
    return {
        "type": "query",
        "id": f"{layer_id}-{name}",
        "label": label,
        "key": {"type": "point_in_time"},
        "filter": {"type": "kibana_query", "query": query, "language": "kuery"},
        "timeField": "day",
        "textField": "text",
        "textVisibility": False,  # shown beside the marker it would cover the chart; the pointer shows it
        "extraFields": ["text", "author", "dimension"],
        "icon": "flag",
        "color": COLOR,
        "lineStyle": line,
        "lineWidth": 1,
        "isHidden": False,
    }


def description(panel: Panel, report_type: ReportType) -> str:
    """How to read the panel, and what else to know where Kibana cannot show it."""
    unmarked = _may_be_unfinished(panel, report_type) and not _marks_unfinished(panel, report_type)
    return panel.how_to_read + (" The newest period may not be over yet." if unmarked else "")


def _may_be_unfinished(panel: Panel, report_type: ReportType) -> bool:
    return "is_complete" in report_type.fields and "is_complete" not in panel.where and panel.mark != "table"


def _marks_unfinished(panel: Panel, report_type: ReportType) -> bool:
    """A series of its own for what is not over yet, where that does not double a legend."""
    is_series = panel.mark in ("line", "bar", "area") and panel.breakdown is None
    return _may_be_unfinished(panel, report_type) and is_series


class _Layer:
    """The columns of the one layer that a visualisation has; a column's id says what it is for."""

    def __init__(
        self, panel: Panel, report_type: ReportType, fields: Mapping[str, Field], layer_id: str, week_start: str
    ) -> None:
        self.panel, self.report_type, self.fields, self.layer_id = panel, report_type, fields, layer_id
        self.week_start = week_start
        self.columns: dict[str, State] = {}

    @property
    def order(self) -> list[str]:
        """Buckets first, as Lens wants them."""
        buckets = [name for name, column in self.columns.items() if column["isBucketed"]]
        return buckets + [name for name in self.columns if name not in buckets]

    # ── The visualisations ──────────────────────────────────────────────────────────────────────────────────────────

    def metric(self) -> tuple[str, State]:
        (name,) = self.panel.series
        visualization: State = {"layerId": self.layer_id, "layerType": "data", "metricAccessor": "value"}
        if self.panel.breakdown:
            self.columns["breakdown"] = self._bucket(self.panel.breakdown, size=SERIES_AT_MOST)
            visualization |= {"breakdownByAccessor": "breakdown", "maxCols": 3}
        self.columns["value"] = self._value(name)
        if "change_rate" in self.report_type.fields:
            self.columns["change"] = self._value("change_rate")
            visualization |= {"secondaryMetricAccessor": "change", "secondaryPrefix": "on the period before"}
        return "lnsMetric", visualization

    def table(self) -> tuple[str, State]:
        """One row per document, by its number: the report's own order, whatever its key is."""
        panel = self.panel
        size = min(panel.limit or ROWS_AT_MOST, ROWS_AT_MOST)
        order = {"type": "alphabetical", "fallback": False}
        direction = "asc"
        if panel.sort != "report":
            order, direction = {"type": "column", "columnId": panel.series[0]}, _direction(panel)
        names = panel.columns or tuple(dict.fromkeys((*filter(None, (panel.x, panel.breakdown)), *panel.series)))
        self.columns["row"] = _terms("row", "Row", "number", size, order, direction)
        for name in names:
            self.columns[name] = self._value(name) if self._is_number(name) else self._text(name)
        hidden = ["row"]
        if panel.sort != "report" and panel.series[0] not in names:
            self.columns[panel.series[0]] = self._value(panel.series[0])
            hidden.append(panel.series[0])
        shown: list[State] = [{"columnId": name, "isTransposed": False, "hidden": True} for name in hidden]
        shown += [{"columnId": name, "isTransposed": False} for name in names]
        visualization = {
            "layerId": self.layer_id,
            "layerType": "data",
            "columns": shown,
            "rowHeight": "auto",
            "headerRowHeight": "auto",
            "paging": {"size": 20, "enabled": True},
        }
        return "lnsDatatable", visualization

    def heatmap(self) -> tuple[str, State]:
        panel = self.panel
        if panel.x is None or panel.breakdown is None:
            raise ValueError(f"The panel {panel.title!r} is a heatmap and needs an x and a breakdown.")
        self.columns["x"] = self._bucket(panel.x, size=ROWS_AT_MOST)
        self.columns["y"] = self._bucket(panel.breakdown, size=ROWS_AT_MOST)
        self.columns["value"] = self._value(panel.color or panel.series[0])
        stops = [{"color": color, "stop": 20 * place} for place, color in enumerate(VIRIDIS, start=1)]
        visualization = {
            "shape": "heatmap",
            "layerId": self.layer_id,
            "layerType": "data",
            "xAccessor": "x",
            "yAccessor": "y",
            "valueAccessor": "value",
            "legend": {"isVisible": True, "position": "right", "type": "heatmap_legend"},
            "gridConfig": {
                "type": "heatmap_grid",
                "isCellLabelVisible": False,
                "isXAxisLabelVisible": True,
                "isXAxisTitleVisible": True,
                "isYAxisLabelVisible": True,
                "isYAxisTitleVisible": True,
            },
            "palette": {
                "accessor": "value",
                "name": "custom",
                "type": "palette",
                "params": {
                    "name": "custom",
                    "continuity": "all",
                    "progression": "fixed",
                    "rangeType": "percent",
                    "rangeMin": None,
                    "rangeMax": None,
                    "reverse": False,
                    "steps": len(VIRIDIS),
                    "stops": stops,
                    "colorStops": [{**stop, "stop": 20 * place} for place, stop in enumerate(stops)],
                },
            },
        }
        return "lnsHeatmap", visualization

    def xy(self) -> tuple[str, State]:
        panel = self.panel
        if panel.x is None:
            raise ValueError(f"The panel {panel.title!r} is a {panel.mark} and needs an x.")
        if panel.breakdown:
            self.columns["breakdown"] = self._bucket(panel.breakdown, size=SERIES_AT_MOST)
        self.columns["x"] = self._bucket(panel.x, size=min(panel.limit or ROWS_AT_MOST, ROWS_AT_MOST))
        colors: list[State] = []
        for place, name in enumerate(panel.series):
            column = self._value(name)
            color = OKABE_ITO[place % len(OKABE_ITO)]
            if not _marks_unfinished(panel, self.report_type):
                self.columns[name] = column
            else:
                over, open_ = ({"language": "kuery", "query": f"is_complete: {state}"} for state in ("true", "false"))
                self.columns[name] = {**column, "filter": over}
                label = f"{column['label']}, not over yet"
                self.columns[f"{name}-unfinished"] = {**column, "label": label, "filter": open_}
                colors.append({"forAccessor": f"{name}-unfinished", "color": UNFINISHED_COLOR, "axisMode": "left"})
            colors.append({"forAccessor": name, "color": color, "axisMode": "left"})
        values = [name for name, column in self.columns.items() if not column["isBucketed"]]
        series_type = self._series_type()
        layer: State = {
            "layerId": self.layer_id,
            "layerType": "data",
            "accessors": values,
            "position": "top",
            "seriesType": series_type,
            "showGridlines": False,
            "xAccessor": "x",
        }
        if panel.breakdown:
            layer |= {"splitAccessor": "breakdown", "palette": {"type": "palette", "name": "default"}}
        else:
            layer["yConfig"] = colors
        every = {"x": True, "yLeft": True, "yRight": True}
        y_title = panel.y_title or self._title(panel.series[0])
        visualization: State = {
            "legend": {"isVisible": bool(panel.breakdown) or len(values) > 1, "position": "bottom"},
            "valueLabels": "hide",
            "fittingFunction": "None",
            "axisTitlesVisibilitySettings": every,
            "tickLabelsVisibilitySettings": every,
            "gridlinesVisibilitySettings": {**every, "x": False},
            "labelsOrientation": {"x": 0, "yLeft": 0, "yRight": 0},
            "preferredSeriesType": series_type,
            "layers": [layer],
            "xTitle": panel.x_title or self._title(panel.x),
            "yTitle": y_title if len(panel.series) == 1 or panel.y_title else "",
        }
        return "lnsXY", visualization

    def _series_type(self) -> str:
        panel = self.panel
        is_stacked = panel.breakdown is not None and len(panel.series) == 1 and panel.format in ADDITIVE
        match panel.mark:
            case "area":
                return "area_stacked" if panel.breakdown else "area"
            case "bar":
                lies = self.fields[str(panel.x)].type == "keyword" and panel.limit is not None
                return ("bar_horizontal" if lies else "bar") + ("_stacked" if is_stacked else "")
            case _:
                return "line"

    # ── The columns ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _bucket(self, name: str, *, size: int) -> State:
        kind = self.fields[name].type
        if kind == "date":
            return self._days(name)
        label = self.panel.x_title if name == self.panel.x and self.panel.x_title else self._title(name)
        if kind in ("long", "double"):
            return _terms(name, label, "number", size, {"type": "alphabetical", "fallback": False}, "asc")
        if name == self.panel.x and self.panel.sort != "report":
            order = {"type": "column", "columnId": self.panel.series[0]}
            return _terms(name, label, DATA_TYPES[kind], size, order, _direction(self.panel))
        bucket = _terms(name, label, DATA_TYPES[kind], size, {"type": "custom"}, "asc")
        # The report's own order: by the number of the first row that has the value.
        bucket["params"]["orderAgg"] = {
            "label": "First row",
            "dataType": "number",
            "operationType": "min",
            "isBucketed": False,
            "scale": "ratio",
            "sourceField": "row",
        }
        return bucket

    def _days(self, name: str) -> State:
        granularity = str(self.panel.where.get("granularity", "day"))
        # A line needs only its points. A bar is as wide as its bucket; Kibana's weeks begin on Monday.
        wide = self.panel.mark == "bar" and (granularity == "month" or self.week_start == "monday")
        interval = {"week": "1w", "month": "1M"}.get(granularity, "1d") if wide else "1d"
        return {
            "label": self.panel.x_title or self._title(name),
            "customLabel": True,
            "dataType": "date",
            "operationType": "date_histogram",
            "sourceField": name,
            "isBucketed": True,
            "scale": "interval",
            "params": {
                "interval": interval,
                "includeEmptyRows": False,
                "dropPartials": False,
                "ignoreTimeRange": True,
            },
        }

    def _value(self, name: str) -> State:
        field = self.fields[name]
        title = self.panel.series_titles.get(name) or self._title(name)
        found = format_of(field)
        # The panel's format is its author's own word on values that have no unit.
        shape: Any = self.panel.format if found in (None, "decimal") and name in self.panel.series else found
        is_whole = field.type == "long" and shape == "number"
        return {
            "label": title,
            "customLabel": True,
            "dataType": "number",
            "operationType": "max",
            "sourceField": name,
            "isBucketed": False,
            "scale": "ratio",
            "params": {"emptyAsNull": True, "format": WHOLE if is_whole else FORMATS[shape]},
        }

    def _text(self, name: str) -> State:
        """A text, a day, yes or no: what the row's only document has."""
        return {
            "label": self._title(name),
            "customLabel": True,
            "dataType": DATA_TYPES[self.fields[name].type],
            "operationType": "last_value",
            "sourceField": name,
            "isBucketed": False,
            "scale": "ordinal",
            "filter": {"language": "kuery", "query": f'"{name}": *'},
            "params": {"sortField": "report_date", "showArrayValues": True},
        }

    def _is_number(self, name: str) -> bool:
        return self.fields[name].type in ("long", "double")

    def _title(self, name: str) -> str:
        unit, title = self.fields[name].unit, title_of(name)
        told = unit in ("", "share", "currency") or unit in title.lower()
        return title if told else f"{title} ({unit})"


def _direction(panel: Panel) -> str:
    return "asc" if panel.sort == "ascending" else "desc"


def _terms(name: str, label: str, data_type: str, size: int, order: State, direction: str) -> State:
    return {
        "label": label,
        "customLabel": True,
        "dataType": data_type,
        "operationType": "terms",
        "sourceField": name,
        "isBucketed": True,
        "scale": "ordinal",
        "params": {
            "size": size,
            "orderBy": order,
            "orderDirection": direction,
            "otherBucket": False,
            "missingBucket": False,
            "parentFormat": {"id": "terms"},
            "include": [],
            "exclude": [],
            "includeIsRegex": False,
            "excludeIsRegex": False,
        },
    }
