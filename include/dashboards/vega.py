"""A panel and the rows of its report, as a drawing: a Vega-Lite specification, tiles or a table.

    panel, rows, fields  ->  Drawing

Nothing here reads a server, a file or the clock. Colours come from `theme`, apart from the specification, so that one
specification serves light and dark. The palette is Okabe and Ito's and viridis: both can be told apart with any kind of
colour vision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from include.dashboards.panel import Format, Panel
from include.schemas.reports import Field

Row = dict[str, Any]
Spec = dict[str, Any]

D3_FORMATS: dict[Format, str] = {
    "number": ",.2~f",
    "decimal": ",.2f",
    "money": ",.2f",
    "percent": ".1%",
    "hours": ",.1f",
    "days": ",.1f",
}
FORMAT_UNITS: dict[Format, str] = {"hours": "hours", "days": "days"}
ADDITIVE: tuple[Format, ...] = ("number", "money")  # a breakdown of these is stacked, of others put side by side
EVIDENCE = ("numerator", "denominator", "n", "customers", "ci_low", "ci_high", "p_value")  # shown with every value

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#666666")
OKABE_ITO_ON_DARK = ("#56B4E9", "#E69F00", "#2CC295", "#E79BC4", "#5C9BE6", "#FF7F3F", "#F0E442", "#BBBBBB")

SHAPES = ["circle", "square", "cross", "diamond", "triangle-up"]

HEIGHT = 260
BAR_STEP = 26
CELL_STEP = 22
TALLEST = 720
POINTS_SHOWN = 60  # a line with more points than this is drawn without them
CELLS_LABELLED = 400  # a heatmap with more cells than this carries no numbers
LEGEND_ENTRIES = 12
LEGEND_SYMBOL_PIXELS, LEGEND_LETTER_PIXELS, ONE_ROW_PIXELS = 30, 7, 520  # about what an entry takes, and a card has
BARS_SHOWN = 140  # more bars than this over time are drawn as lines: they would be thinner than a hair
LABEL_STANDING = 14  # bars of names with more letters than this lie down


@dataclass(frozen=True)
class Column:
    """A column of the table behind a chart; `format` is None for text, `date` for days."""

    name: str
    title: str
    format: str | None


@dataclass(frozen=True)
class Tile:
    """One number of a metric panel."""

    label: str
    value: float | None
    format: Format
    note: str = ""


@dataclass(frozen=True)
class Drawing:
    """What a panel shows: one of `spec`, `tiles` and a table, or a `reason` why there is nothing to show.

    `rows` and `columns` are the table: the drawing itself for a table panel, behind the chart for others.
    """

    rows: list[Row]
    columns: tuple[Column, ...]
    spec: Spec | None = None
    tiles: tuple[Tile, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""


def draw(panel: Panel, rows: Iterable[Row], fields: Mapping[str, Field]) -> Drawing:
    """Draw the rows of one report and one dimension value, given in the report's order.

    `fields` describes every field of the report. Raises ValueError for a panel that cannot be drawn whatever the rows.
    """
    chosen = _chosen(panel, rows)
    columns = _columns(panel, chosen, fields)
    if not chosen:
        return Drawing([], columns, reason="There are no rows to show.")
    if panel.mark == "table":
        return Drawing(chosen, columns, notes=_notes(panel, chosen))
    if all(row.get(name) is None for row in chosen for name in _values(panel)):
        reason = (
            "There are rows, but no values yet: their periods are not over, or too few customers stand behind them."
        )
        return Drawing(chosen, columns, reason=reason)
    if panel.mark == "metric":
        return Drawing(chosen, columns, tiles=_tiles(panel, chosen, fields), notes=_notes(panel, chosen))
    drawers = {"line": _line, "area": _line, "bar": _bar, "heatmap": _heatmap, "scatter": _scatter}
    if panel.mark not in drawers:
        raise ValueError(f"The panel {panel.title!r} has the mark {panel.mark!r}, which is not drawn here.")
    if panel.x is None:
        raise ValueError(f"The panel {panel.title!r} is a {panel.mark} and needs an x.")
    if _has_too_many_bars(panel, chosen, fields):
        panel = replace(panel, mark="line")
    spec = drawers[panel.mark](_Chart(panel, chosen, fields))
    spec["$schema"] = "https://vega.github.io/schema/vega-lite/v6.json"
    spec["description"] = f"{panel.title}. {panel.how_to_read}"
    spec.setdefault("width", "container")
    spec["autosize"] = {"type": "fit-x", "contains": "padding", "resize": True}
    return Drawing(chosen, columns, spec=spec, notes=_notes(panel, chosen))


def theme(*, dark: bool) -> Spec:
    """The Vega-Lite `config` of the light or the dark page."""
    text, faint, palette = ("#e6e8eb", "#3a4048", OKABE_ITO_ON_DARK) if dark else ("#24292f", "#e3e6ea", OKABE_ITO)
    muted = "#a5adb8" if dark else "#57606a"
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
    return {
        "background": "transparent",
        "font": font,
        "view": {"stroke": None},
        "mark": {"color": palette[0]},
        "bar": {"color": palette[0]},
        "line": {"color": palette[0], "strokeWidth": 2},
        "area": {"color": palette[0]},
        "point": {"color": palette[0]},
        "rule": {"color": muted},
        "text": {"color": text, "font": font},
        "range": {"category": list(palette), "ordinal": {"scheme": "viridis"}, "heatmap": {"scheme": "viridis"}},
        "axis": {
            "labelColor": muted,
            "titleColor": muted,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "titleFontSize": 12,
            "domainColor": faint,
            "tickColor": faint,
            "gridColor": faint,
            "labelLimit": 200,
            "maxExtent": 240,  # the title stands behind the longest label
            "labelOverlap": True,
        },
        "legend": {
            "labelColor": text,
            "titleColor": muted,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "titleFontSize": 12,
            "labelLimit": 180,
            "titleLimit": 320,
            "orient": "top",
            "symbolLimit": LEGEND_ENTRIES,
            "columns": {"expr": "max(1, floor(width / 150))"},
        },
    }


def title_of(name: str) -> str:
    """A field's name as a person reads it."""
    words = name.replace("_", " ").replace("rfm", "RFM")
    return words[:1].upper() + words[1:]


def _series_title(panel: Panel, name: str) -> str:
    return panel.series_titles.get(name, title_of(name))


def format_of(field: Field) -> str | None:
    """How a field's values are written: a `Format`, `date`, or None for text."""
    match field.type:
        case "date":
            return "date"
        case "long":
            return "number"
        case "double":
            return {"share": "percent", "currency": "money", "hours": "hours", "days": "days"}.get(
                field.unit, "decimal"
            )
        case _:
            return None


def short_format(shape: Format, values: Iterable[float | None]) -> str:
    """The d3 format of numbers on an axis, a legend or a cell, where there is little room."""
    largest = max((abs(value) for value in values if value is not None), default=0)
    if shape == "percent":
        return ".0~%" if largest >= 0.05 else ".1~%"
    # Thousands and millions in short; never below, where d3 would write 0.2 as 200m.
    return ".3~s" if largest >= 10_000 else ",.2~f" if largest < 10 else ",.1~f"


def period_label(value: str, granularity: str | None) -> str:
    """A period's first day as its name: `2024-03`, `week of 2024-03-04`, `2024-03-04`."""
    day = str(value)[:10]
    if granularity == "month":
        return day[:7]
    return f"week of {day}" if granularity == "week" else day


def _chosen(panel: Panel, rows: Iterable[Row]) -> list[Row]:
    chosen = [row for row in rows if all(row.get(name) == value for name, value in panel.where.items())]
    if panel.sort != "report":
        by = _values(panel)[0]
        known = [row for row in chosen if row.get(by) is not None]
        unknown = [row for row in chosen if row.get(by) is None]
        chosen = sorted(known, key=lambda row: row[by], reverse=panel.sort == "descending") + unknown
    return chosen if panel.limit is None else chosen[: panel.limit]


def _has_too_many_bars(panel: Panel, rows: Sequence[Row], fields: Mapping[str, Field]) -> bool:
    if panel.mark != "bar" or panel.x is None or fields[panel.x].type != "date":
        return False
    bars = len(rows) if not _is_stacked(panel) else len({row.get(panel.x) for row in rows})
    return bars * len(panel.series) > BARS_SHOWN


def _values(panel: Panel) -> tuple[str, ...]:
    """The fields whose values the panel is about."""
    if panel.mark == "heatmap":
        return (panel.color or panel.series[0],)
    return panel.series


def _columns(panel: Panel, rows: Sequence[Row], fields: Mapping[str, Field]) -> tuple[Column, ...]:
    shown = panel.columns
    if not shown:
        named = (panel.x, panel.breakdown, *panel.series, panel.color, *(panel.band or ()), *EVIDENCE, "is_complete")
        present = {name for row in rows for name in row}
        shown = tuple(dict.fromkeys(name for name in named if name is not None and name in present))
    return tuple(Column(name, title_of(name), _column_format(panel, name, fields)) for name in shown)


def _column_format(panel: Panel, name: str, fields: Mapping[str, Field]) -> str | None:
    found = format_of(fields[name])
    # The panel's format is its author's own word on values that have no unit.
    return panel.format if name in _values(panel) and found == "decimal" else found


def _notes(panel: Panel, rows: Sequence[Row]) -> tuple[str, ...]:
    unfinished = [row for row in rows if row.get("is_complete") is False]
    if not unfinished:
        return ()
    marked = {
        "line": "Dashed lines and hollow points are",
        "area": "The lighter part with the dashed edge is",
        "bar": "Lighter bars with a dashed edge are",
        "scatter": "Hollow points are",
        "heatmap": "Faded and empty cells are",
    }.get(panel.mark)
    if marked is None:
        return ("Some rows are for periods that were not over at the report date; they may still change.",)
    return (f"{marked} for periods that were not over at the report date; they may still change.",)


def _tiles(panel: Panel, rows: Sequence[Row], fields: Mapping[str, Field]) -> tuple[Tile, ...]:
    several = len(panel.series) > 1
    tiles = []
    for row in rows:
        group = _text(row.get(panel.breakdown)) if panel.breakdown else ""
        notes = ["not over yet"] if row.get("is_complete") is False else []
        if row.get("change_rate") is not None and not several:
            notes.append(f"{row['change_rate']:+.1%} on the period before")
        for name in panel.series:
            label = " · ".join(part for part in (group, _series_title(panel, name) if several else "") if part)
            tiles.append(Tile(label, row.get(name), _tile_format(panel, name, fields), ", ".join(notes)))
    return tuple(tiles)


def _tile_format(panel: Panel, name: str, fields: Mapping[str, Field]) -> Format:
    found = format_of(fields[name])
    return panel.format if found in (None, "date", "decimal") else found  # type: ignore[return-value]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "(none)" if value is None else str(value)


class _Chart:
    """A panel's rows under the names that the specifications use.

    x, label (x as text), value, series (the colour), open (not over yet), low, high, and what else the tooltip tells.
    """

    def __init__(self, panel: Panel, rows: Sequence[Row], fields: Mapping[str, Field]) -> None:
        assert panel.x is not None
        self.panel, self.fields = panel, fields
        self.x = panel.x
        self.x_type = fields[panel.x].type
        heatmap = panel.mark == "heatmap"
        self.group = (panel.breakdown or panel.series[0]) if heatmap else panel.breakdown
        self.value_names = _values(panel)
        self.is_split = self.group is not None or len(self.value_names) > 1
        listed = (self.x, self.group, *self.value_names, *(panel.band or ()))
        present = {name for row in rows for name in row}
        extra = [name for name in (*panel.series, *EVIDENCE) if name not in listed and name in present]
        self.extra = tuple(dict.fromkeys(extra))
        self.drawn = [
            self._drawn(row, name) for row in rows if row.get(self.x) is not None for name in self.value_names
        ]
        self.has_open = any(row["open"] for row in self.drawn)

    def _drawn(self, row: Row, name: str) -> Row:
        drawn: Row = {
            "x": row[self.x],
            "label": self._label(self.x, row),
            "value": row.get(name),
            "open": row.get("is_complete") is False,
        }
        parts = [self._label(self.group, row)] if self.group else []
        if len(self.value_names) > 1:
            parts.append(_series_title(self.panel, name))
        if parts:
            drawn["series"] = " · ".join(parts)
        if self.panel.band:
            drawn["low"], drawn["high"] = (row.get(end) for end in self.panel.band)
        drawn.update({extra: row.get(extra) for extra in self.extra})
        return drawn

    def _label(self, name: str, row: Row) -> str:
        if self.fields[name].type == "date" and row.get(name) is not None:
            label = period_label(row[name], row.get("granularity"))
            # On the axis of a heatmap there is no room for more than the day.
            return label.removeprefix("week of ") if self.panel.mark == "heatmap" else label
        return _text(row.get(name))

    @property
    def short_format(self) -> str:
        return short_format(self.panel.format, [row["value"] for row in self.drawn])

    @property
    def data(self) -> Spec:
        return {"name": "rows", "values": self.drawn}

    @property
    def x_title(self) -> str:
        return self.panel.x_title or self._title(self.x)

    @property
    def y_title(self) -> str:
        if self.panel.y_title:
            return self.panel.y_title
        if len(self.value_names) > 1:
            units = {self.fields[name].unit for name in self.value_names}
            return _sentence(units.pop()) if len(units) == 1 else FORMAT_UNITS.get(self.panel.format, "")
        return self._title(self.value_names[0])

    def _title(self, name: str) -> str:
        unit, title = self.fields[name].unit, title_of(name)
        told = unit in ("", "share", "currency") or unit in title.lower()
        return title if told else f"{title} ({unit})"

    @property
    def value_title(self) -> str:
        return self._title(self.value_names[0])

    @property
    def series_title(self) -> str | None:
        return title_of(self.group) if self.group and len(self.value_names) == 1 else None

    def x_encoding(self) -> Spec:
        axis: Spec = {"title": self.x_title, "grid": False}
        if self.x_type == "date":
            time = {"format": self._day_format(), "tickCount": {"expr": "ceil(width / 110)"}, "labelFlush": True}
            return {"field": "x", "type": "temporal", "scale": {"type": "utc"}, "axis": {**axis, **time}}
        if self.x_type in ("long", "double"):
            whole = {"tickMinStep": 1} if self.x_type == "long" else {}
            scale = {"zero": False, "nice": False}
            return {"field": "x", "type": "quantitative", "scale": scale, "axis": {**axis, **whole, "format": "~s"}}
        return {"field": "label", "type": "ordinal", "sort": None, "axis": axis}

    def _day_format(self) -> str:
        are_months = self.x == "period" and all(len(row["label"]) == len("2024-01") for row in self.drawn)
        return "%b %Y" if are_months else "%d %b %Y"

    def y_encoding(self, *, stack: str | None = None) -> Spec:
        axis = {"title": self.y_title, "format": self.short_format, **self._whole_ticks()}
        return {"field": "value", "type": "quantitative", "axis": axis, "stack": stack}

    def _whole_ticks(self) -> Spec:
        whole = all(self.fields[name].type == "long" for name in self.value_names)
        return {"tickMinStep": 1} if whole else {}

    def color_encoding(self) -> Spec:
        if not self.is_split:
            return {}
        names = {row["series"] for row in self.drawn}
        count = len(names)
        legend: Spec = {"title": self.series_title, "symbolOpacity": 1}  # else as pale as a band, or a hidden point
        if sum(LEGEND_SYMBOL_PIXELS + LEGEND_LETTER_PIXELS * len(name) for name in names) <= ONE_ROW_PIXELS:
            # One row, whatever the width: with columns that follow it, Vega leaves no room for a second row.
            legend["columns"] = count
        if self.group and self.fields[self.group].type in ("date", "long") and len(self.value_names) == 1:
            return {"color": {"field": "series", "type": "ordinal", "sort": None, "legend": legend}}
        many = count > len(OKABE_ITO) and self.panel.mark != "scatter"
        scale = {"scale": {"scheme": "tableau20"}} if many else {}
        return {"color": {"field": "series", "type": "nominal", "sort": None, "legend": legend, **scale}}

    def tooltip(self) -> list[Spec]:
        tips: list[Spec] = [{"field": "label", "type": "nominal", "title": self.x_title or title_of(self.x)}]
        if self.is_split:
            tips.append({"field": "series", "type": "nominal", "title": self.series_title or "Series"})
        shape = D3_FORMATS[self.panel.format]
        title = self.y_title or "Value"
        if self.panel.mark == "heatmap":
            title = self.value_title
        tips.append({"field": "value", "type": "quantitative", "title": title, "format": shape})
        if self.panel.band:
            ends = zip(("low", "high"), self.panel.band, strict=True)
            tips += [
                {"field": end, "type": "quantitative", "title": title_of(name), "format": shape} for end, name in ends
            ]
        for name in self.extra:
            told = format_of(self.fields[name])
            tip: Spec = {"field": name, "type": "nominal", "title": title_of(name)}
            if told in D3_FORMATS:
                tip |= {"type": "quantitative", "format": D3_FORMATS[told]}
            tips.append(tip)
        return tips


OPEN = "datum.open"
FINISHED = {"transform": [{"filter": f"!{OPEN}"}]}


def _line(chart: _Chart) -> Spec:
    """Lines and areas: the finished part, the unfinished part joined to it, and the points."""
    is_area = chart.panel.mark == "area"
    stack = "zero" if is_area and chart.is_split else None
    color = chart.color_encoding()
    encoding = {"x": chart.x_encoding(), "y": chart.y_encoding(stack=stack), **color}
    solid: Spec = {"type": "area", "opacity": 0.75, "line": not chart.is_split} if is_area else {"type": "line"}
    dashed: Spec = (
        {"type": "area", "opacity": 0.3, "line": {"strokeDash": [5, 4]}}
        if is_area
        else {"type": "line", "strokeDash": [5, 4]}
    )
    layers: list[Spec] = []
    if chart.panel.band:
        ends = {
            "x": encoding["x"],
            "y": {"field": "low", "type": "quantitative", "axis": encoding["y"]["axis"]},
            "y2": {"field": "high"},
            **color,
        }
        layers.append({"mark": {"type": "area", "opacity": 0.18}, "encoding": ends})
    layers.append({**FINISHED, "mark": solid, "encoding": encoding})
    if chart.has_open:
        joined = {"name": "unfinished", "values": _unfinished(chart.drawn)}
        layers.append({"data": joined, "mark": dashed, "encoding": encoding})
    per_series = len(chart.drawn) / max(1, len({row.get("series") for row in chart.drawn}))
    shown = 1 if per_series <= POINTS_SHOWN and not (is_area and chart.is_split) else 0
    # With more points than that they are still there, unseen, to be pointed at.
    layers += _points(chart, encoding, size=34, opacity=shown)
    return {"data": chart.data, "height": HEIGHT, "layer": layers}


def _points(chart: _Chart, encoding: Spec, *, size: int, opacity: float) -> list[Spec]:
    """Filled points for what is over, hollow ones for what is not."""
    told = {**encoding, "tooltip": chart.tooltip()}
    mark = {"type": "point", "size": size, "opacity": opacity}
    layers: list[Spec] = [{**FINISHED, "mark": {**mark, "filled": True}, "encoding": told}]
    if chart.has_open:
        unfinished = {"transform": [{"filter": OPEN}], "mark": {**mark, "filled": False}, "encoding": told}
        layers.append(unfinished)
    return layers


def _unfinished(drawn: Sequence[Row]) -> list[Row]:
    """The rows that are not over, each run of them with the finished row before it, so that the line does not tear."""
    by_series: dict[Any, list[Row]] = {}
    for row in drawn:
        by_series.setdefault(row.get("series"), []).append(row)
    joined = []
    for rows in by_series.values():
        if rows[0]["open"]:
            joined.append(rows[0])
        for before, after in pairwise(rows):
            if after["open"]:
                joined += [after] if before["open"] else [before, after]
    return joined


UNFINISHED_BAR: Spec = {
    "stroke": {"value": "#808890"},
    "opacity": {"condition": {"test": OPEN, "value": 0.45}, "value": 1},
    "strokeDash": {"condition": {"test": OPEN, "value": [4, 3]}, "value": [0, 0]},
    "strokeWidth": {"condition": {"test": OPEN, "value": 1.5}, "value": 0},
}


def _bar(chart: _Chart) -> Spec:
    """Bars: over time as wide as their period, of long names lying down, of others standing.

    A breakdown into parts of a sum is stacked; several fields need not add up and stand side by side.
    """
    is_stacked = _is_stacked(chart.panel)
    color = chart.color_encoding()
    shared = {**color, **UNFINISHED_BAR, "tooltip": chart.tooltip()}
    if chart.x_type == "date":
        _add_corners(chart.drawn, stacked=is_stacked)
        # A bar with two ends across is one that Vega-Lite would neither stack nor stand on zero.
        upright = {"y": {**chart.y_encoding(), "field": "top"}, "y2": {"field": "bottom"}}
        across = {"x": {**chart.x_encoding(), "field": "start"}, "x2": {"field": "end"}}
        return {"data": chart.data, "height": HEIGHT, "mark": "bar", "encoding": {**across, **upright, **shared}}
    stack = "zero" if is_stacked else None
    side_by_side = {"field": "series", "sort": None} if chart.is_split and not is_stacked else None
    longest = max(len(row["label"]) for row in chart.drawn)
    if longest > LABEL_STANDING:
        return _lying_bars(chart, shared, side_by_side, stack)
    axis = {"title": chart.x_title, "grid": False, "labelAngle": 0 if longest <= 3 else -40}
    across = {"x": {"field": "label", "type": "ordinal", "sort": None, "axis": axis}}
    if side_by_side:
        across["xOffset"] = side_by_side
    encoding = {**across, "y": chart.y_encoding(stack=stack), **shared}
    return {"data": chart.data, "height": HEIGHT, "mark": "bar", "encoding": encoding}


def _is_stacked(panel: Panel) -> bool:
    return panel.breakdown is not None and len(panel.series) == 1 and panel.format in ADDITIVE


def _lying_bars(chart: _Chart, shared: Spec, side_by_side: Spec | None, stack: str | None) -> Spec:
    across = chart.y_encoding(stack=stack)
    axis = {"title": chart.panel.x_title or None, "grid": False}
    names = {"field": "label", "type": "nominal", "sort": None, "axis": axis}
    encoding: Spec = {"y": names, "x": across}
    if side_by_side:
        encoding["yOffset"] = side_by_side
    bars: Spec = {"mark": {"type": "bar"}, "encoding": shared}
    written: Spec = {
        "mark": {"type": "text", "align": "left", "baseline": "middle", "dx": 4, "fontSize": 11},
        "encoding": {"text": {"field": "value", "type": "quantitative", "format": D3_FORMATS[chart.panel.format]}},
    }
    layers = [bars] if chart.is_split else [bars, written]
    height = BAR_STEP * len({row["label"] for row in chart.drawn})
    return {"data": chart.data, "height": height, "encoding": encoding, "layer": layers}


def _add_corners(drawn: list[Row], *, stacked: bool) -> None:
    """Give each row the corners of its bar: together nine tenths of the shortest period wide."""
    starts = sorted({_instant(row["x"]) for row in drawn})
    step = min((after - before for before, after in pairwise(starts)), default=timedelta(days=1)) * 0.9
    places = {name: place for place, name in enumerate(dict.fromkeys(row.get("series") for row in drawn))}
    share = step if stacked else step / len(places)
    heights: dict[str, float] = {}
    for row in drawn:
        start = _instant(row["x"]) + (timedelta(0) if stacked else share * places[row.get("series")])
        row["start"], row["end"] = _written(start), _written(start + share)
        row["bottom"] = heights.get(row["x"], 0) if stacked else 0
        row["top"] = heights[row["x"]] = row["bottom"] + (row["value"] or 0)


def _written(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _instant(value: str) -> datetime:
    if len(value) == len("2024-01-01"):
        return datetime.combine(date.fromisoformat(value), datetime.min.time(), tzinfo=UTC)
    return datetime.fromisoformat(value)


def _heatmap(chart: _Chart) -> Spec:
    """Cells: x across, the breakdown downwards, the value as colour; a cell without a value is left empty."""
    values = [row["value"] for row in chart.drawn if row["value"] is not None]
    chart.drawn = [row for row in chart.drawn if row["value"] is not None]
    low, high = min(values), max(values)
    scale: Spec = {"scheme": "viridis"}
    if low < 0 < high:
        scale = {"scheme": "purpleorange", "domainMid": 0}
    elif low >= 0:
        # A first column of 100 % would leave one dark shade for all others.
        median = sorted(values)[len(values) // 2]
        scale |= {"type": "sqrt"} if high > 4 * median else {}
        scale["domain"] = [0, high or 1]
    group_title = chart.panel.y_title or chart.series_title or ""
    columns, names = _order_of_columns(chart), list(dict.fromkeys(row["series"] for row in chart.drawn))
    if chart.group and chart.fields[chart.group].type in ("long", "double"):
        names.sort(key=float, reverse=True)  # numbers grow upwards, as on every other chart
    rows = len(names)
    step = max(8, min(CELL_STEP, TALLEST // rows))
    across: Spec = {"title": chart.x_title, "labelAngle": 0 if chart.x_type in ("long", "double") else -40}
    encoding: Spec = {
        "x": {"field": "label", "type": "ordinal", "sort": columns, "axis": across},
        "y": {"field": "series", "type": "ordinal", "sort": names, "axis": {"title": group_title}},
    }
    color_title = chart.value_title
    legend = {
        "title": color_title,
        "format": chart.short_format,
        "gradientLength": 160,
        "direction": "horizontal",
    }
    cells: Spec = {
        "mark": {"type": "rect"},
        "encoding": {
            "color": {"field": "value", "type": "quantitative", "scale": scale, "legend": legend},
            "opacity": {"condition": {"test": OPEN, "value": 0.55}, "value": 1},
            "tooltip": chart.tooltip(),
        },
    }
    layers = [cells]
    if len(chart.drawn) <= CELLS_LABELLED and step >= 16:
        short = ".0%" if chart.panel.format == "percent" else chart.short_format
        middle = high / 4 if scale.get("type") == "sqrt" else (low + high) / 2
        bright = f"datum.value > {middle}" if low >= 0 else f"abs(datum.value) < {max(-low, high) / 2}"
        layers.append(
            {
                # Numbers only where they have room: some 30 pixels a cell.
                "mark": {"type": "text", "fontSize": 10, "opacity": {"expr": f"width / {len(columns)} < 30 ? 0 : 1"}},
                "encoding": {
                    "text": {"field": "value", "type": "quantitative", "format": short},
                    "color": {"condition": {"test": bright, "value": "#101418"}, "value": "#ffffff"},
                },
            }
        )
    return {
        "data": {"name": "rows", "values": chart.drawn},
        "height": step * rows,
        "encoding": encoding,
        "layer": layers,
    }


def _order_of_columns(chart: _Chart) -> list[str]:
    """Numbers and days ascending; names as in the report, or as in the rows where both are the same names."""
    found = {row["label"]: row["x"] for row in chart.drawn}
    if chart.x_type in ("long", "double", "date"):
        return sorted(found, key=lambda label: found[label])
    names = list(dict.fromkeys(row["series"] for row in chart.drawn))
    shared = [name for name in names if name in found]
    return shared + [label for label in found if label not in shared] if shared else list(found)


def _scatter(chart: _Chart) -> Spec:
    color = chart.color_encoding()
    # Colours repeat after eight, shapes after five: together they tell forty apart.
    shape = {"shape": {**color["color"], "scale": {"range": SHAPES}}} if color else {}
    y = {**chart.y_encoding(), "scale": {"zero": False}}  # latitudes of a town would lie on one line
    encoding = {"x": chart.x_encoding(), "y": y, **color, **shape}
    return {"data": chart.data, "height": HEIGHT, "layer": _points(chart, encoding, size=50, opacity=0.7)}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
