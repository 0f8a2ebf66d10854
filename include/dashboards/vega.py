"""A panel and the rows of its report, as a drawing: a Vega-Lite specification, tiles or a table.

    panel, rows, fields  ->  Drawing

Nothing here reads a server, a file or the clock. Colours come from `theme`, apart from the specification, so that one
specification serves light and dark. The palette is Okabe and Ito's and viridis: both can be told apart with any kind of
colour vision.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from include.catalogue import TITLES as TITLES_OF_ANALYSES
from include.dashboards.panel import Format, Panel, Tone
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

UNIT_IN_NAME = re.compile(r"(?<=\D)_(hours|days)$")  # but `revenue_30_days` is no revenue without its days
ENDS = {"_ci_low": "from", "_ci_high": "to", "_low": "from", "_high": "to"}
TITLES = {
    "abc_class": "ABC class",
    "ci_low": "Interval from",
    "ci_high": "Interval to",
    "client": "Customer",
    "clv": "Lifetime value",
    "clv_segment": "Segment",
    "clv_share": "Share of lifetime value",
    "departure_rate": "Departure",
    "has_regression_to_mean": "Regression to the mean",
    "is_descriptive": "Only descriptive",
    "km_median_hours": "Kaplan-Meier median",
    "ks_distance": "Kolmogorov-Smirnov distance",
    "mean_clv": "Mean lifetime value",
    "mean_monetary": "Mean order amount",
    "mean_monetary_total": "Mean revenue",
    "mean_probability_alive": "Mean P(alive)",
    "n": "n",
    "n_control": "n of controls",
    "n_treated": "n of users",
    "order_days_before": "Order days before",
    "order_days_made": "Order days made",
    "order_id": "Order",
    "p90_hours": "90th percentile",
    "p_value": "p-value",
    "place_verdict": "Verdict",
    "p_value_bh": "p-value (BH)",
    "p_value_holm": "p-value (Holm)",
    "product_revenue_share": "Share of revenue",
    "promotion_id": "Promotion",
    "q_value": "q-value",
    "revenue_share": "Share of revenue",
    "unusual_days": "Unusual days",
    "waited_hours": "Hours waited",
}
# Values that are more than words.
NAMES = {**TITLES_OF_ANALYSES, "cuped": "CUPED", "kpis": "KPIs", "mann_whitney": "Mann-Whitney"}
INSTANT = "instant"  # the format of dates that have a time of day: fields ending in `_at`, all of them in UTC
P_VALUE = "p_value"  # the format of probabilities that are small where it matters
P_VALUES = ("p_value", "p_value_holm", "p_value_bh", "q_value")
OWN_UNIT = ("ci_low", "ci_high")  # an interval has the unit of what it is of

# What a colour says where a value is good or bad in itself; each can be read on the light and on the dark page.
TONES: dict[Tone, str] = {"good": "#12a37a", "bad": "#de6210", "plain": "#2f8bc9", "faint": "#89929c"}

POINT_SIZE = 50  # square pixels
LINE_WIDTH, WIDER = 2, 2.5  # of a line, and by how much one is wider that has another upon it
SHAPES = ["circle", "square", "cross", "diamond", "triangle-up"]

HEIGHT = 260
MAP_HEIGHT = 360
KM_PER_DEGREE = 111.195  # of latitude, and of longitude at the equator
MAP_SPAN_DEGREES = 0.02  # at least so much is shown, about two kilometres
MAP_MARGIN = 1.15
BAR_STEP = 26
CELL_STEP = 22
WHISKER_REACH = 8  # an interval is drawn up to so many times the longest bar
FEW_ROWS, CELL_STEP_OF_FEW = 7, 32
TALLEST = 720
POINTS_SHOWN = 60  # a line with more points than this is drawn without them
CELLS_LABELLED = 400  # a heatmap with more cells than this carries no numbers
LEGEND_ENTRIES = 12
LEGEND_LABEL_PIXELS = 280  # a longer name is cut; names of products often differ at their end
LEGEND_SYMBOL_PIXELS, LEGEND_LETTER_PIXELS = 26, 7  # about what an entry takes
MONTHS_TICKED = timedelta(days=330)  # over so many days an axis has no ticks within months, however wide it is
FLUSH_PIXELS = 20  # a label whose tick is so close to the right end of its axis ends there
BARS_SHOWN = 140  # more bars than this over time are drawn as lines: they would be thinner than a hair
LINE_LETTERS, LINE_PIXELS = 26, 12  # of a name beside its bar; a longer one takes several lines
LINES_GAP, MOST_LINES = 6, 6
FEW_BARS = 4  # so few stand apart
FEW_UNITS = 2  # up to so many, each has its tick
NAMES_STANDING = 20  # so many names have room below standing bars on a telephone
LEANING_PIXELS = 19  # between two names that lean; closer ones stand upright
LABEL_STANDING = 14  # bars of names with more letters than this lie down


@dataclass(frozen=True)
class Column:
    """A column of the table behind a chart.

    `format` is a `Format`, `p_value`, `date` for days, `instant` for a minute of a day, or None for text. `words` says
    how each name of the column is shown: the rows, and the files made of them, have the names as they are.
    """

    name: str
    title: str
    format: str | None
    words: dict[str, str] = field(default_factory=dict)


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

    `only_zeros` says so of a chart all of whose values are zero: whoever shows it may say that instead. `rows` and
    `columns` are the table: the drawing itself for a table panel, behind the chart for others.
    """

    rows: list[Row]
    columns: tuple[Column, ...]
    spec: Spec | None = None
    tiles: tuple[Tile, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""
    only_zeros: str = ""


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
    drawers = {
        "line": _line,
        "area": _line,
        "bar": _bar,
        "heatmap": _heatmap,
        "scatter": _scatter,
        "map": _map,
    }
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
    return Drawing(
        chosen, columns, spec=spec, notes=_notes(panel, chosen), only_zeros=_only_zeros(panel, chosen, fields)
    )


def theme(*, dark: bool) -> Spec:
    """The Vega-Lite `config` of the light or the dark page."""
    text, faint, palette = ("#e6e8eb", "#3a4048", OKABE_ITO_ON_DARK) if dark else ("#24292f", "#e3e6ea", OKABE_ITO)
    muted = "#a5adb8" if dark else "#57606a"
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
    return {
        "background": "transparent",
        "font": font,
        "padding": {"left": 5, "top": 5, "right": 14, "bottom": 5},  # room for half of the last label of an axis
        "view": {"stroke": None},
        "mark": {"color": palette[0]},
        "bar": {"color": palette[0]},
        "line": {"color": palette[0], "strokeWidth": LINE_WIDTH},
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
            "labelSeparation": 6,
        },
        "legend": {
            "labelColor": text,
            "titleColor": muted,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "titleFontSize": 12,
            "labelLimit": LEGEND_LABEL_PIXELS,
            "titleLimit": 320,
            "orient": "top",
            "symbolLimit": LEGEND_ENTRIES,
        },
    }


def title_of(name: str) -> str:
    """A field's name as a person reads it, without the unit: that stands with the values, or is added on an axis."""
    if name in TITLES:
        return TITLES[name]
    words = UNIT_IN_NAME.sub("", name)
    for end, told in ENDS.items():
        if words.endswith(end):
            return f"{title_of(words.removesuffix(end))}, {told}"
    if is_instant(name):
        words += "_(UTC)"
    return _sentence(words.removeprefix("is_").replace("_", " ").replace("rfm", "RFM").replace("clv", "CLV"))


def is_instant(name: str) -> bool:
    """Whether a date is more than a day: its name says when something was *at*."""
    return name.endswith("_at")


def in_words(name: str) -> str:
    """A name from the data as a person reads it: `Add to cart` for `add_to_cart`."""
    return NAMES.get(name) or _sentence(name.replace("_", " "))


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
    if 0 < largest < 0.1:
        return ".2~g"
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
    return tuple(
        Column(name, title_of(name), _column_format(panel, name, fields), _words(name, rows, fields)) for name in shown
    )


def _words(name: str, rows: Sequence[Row], fields: Mapping[str, Field]) -> dict[str, str]:
    if not fields[name].in_words:
        return {}
    return {row[name]: in_words(row[name]) for row in rows if row.get(name) is not None}


def _column_format(panel: Panel, name: str, fields: Mapping[str, Field]) -> str | None:
    if name in P_VALUES:
        return P_VALUE
    found = format_of(fields[name])
    if found == "date" and is_instant(name):
        return INSTANT
    if name in OWN_UNIT:
        # Where a table has the rate, they are its; whatever the table is about.
        of = format_of(fields["rate" if "rate" in panel.columns else _values(panel)[0]])
        return panel.format if of in (None, "decimal", "date") else of
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
        "map": "Hollow points are",
        "heatmap": "Faded and empty cells are",
    }.get(panel.mark)
    if marked is None:
        return ("Some rows are for periods that were not over at the report date; they may still change.",)
    return (f"{marked} for periods that were not over at the report date; they may still change.",)


def _tiles(panel: Panel, rows: Sequence[Row], fields: Mapping[str, Field]) -> tuple[Tile, ...]:
    several = len(panel.series) > 1
    tiles = []
    for row in rows:
        group = _text(row.get(panel.breakdown), fields[panel.breakdown]) if panel.breakdown else ""
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


def _only_zeros(panel: Panel, rows: Sequence[Row], fields: Mapping[str, Field]) -> str:
    """The sentence for a chart of zeros only; empty for any other. An interval around zero is more than that."""
    if panel.mark in ("scatter", "map"):  # zero is a place there
        return ""
    drawn = (*_values(panel), *(panel.band or ()), *(panel.whisker or ()))
    if any(row.get(name) for row in rows for name in drawn):
        return ""
    if panel.when_zero:
        return panel.when_zero
    places = sorted({row[panel.x] for row in rows if panel.x and row.get(panel.x) is not None})
    if panel.x is None or fields[panel.x].type != "date" or not places:
        return "Everything here is zero."
    steps = {row.get("granularity", "day") for row in rows}
    many = f"{len(places):,} {steps.pop() if len(steps) == 1 else 'period'}{'s' if len(places) > 1 else ''}"
    return f"Everything here is zero: {many} from {places[0][:10]} to {places[-1][:10]}."


def _text(value: Any, field: Field) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "(none)"
    return in_words(str(value)) if field.in_words else str(value)


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
        told = (*panel.series, *panel.columns, *EVIDENCE)
        extra = [name for name in told if name not in listed and name in present]
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
        ends = self.panel.band or self.panel.whisker
        if ends:
            drawn["low"], drawn["high"] = (row.get(end) for end in ends)
        if self.panel.marked and name == self.value_names[0]:
            drawn["marked"] = row.get(self.panel.marked) is True
        for extra in self.extra:
            told = row.get(extra)
            drawn[extra] = in_words(told) if told is not None and self.fields[extra].in_words else told
        return drawn

    def _label(self, name: str, row: Row) -> str:
        if self.fields[name].type == "date" and row.get(name) is not None:
            label = period_label(row[name], row.get("granularity"))
            # On the axis of a heatmap there is no room for more than the day.
            return label.removeprefix("week of ") if self.panel.mark == "heatmap" else label
        return _text(row.get(name), self.fields[name])

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
            axis |= {
                "format": self._day_format(),
                "tickCount": {"expr": "ceil(width / 75)"},
                "labelFlush": False,
                "labelAlign": WITHIN_THE_CHART,
            }
            return {"field": "x", "type": "temporal", "scale": {"type": "utc"}, "axis": axis}
        if self.x_type in ("long", "double"):
            whole = {"tickMinStep": 1} if self.x_type == "long" else {}
            scale = {"zero": False, "nice": False, **({"padding": 8} if self.panel.mark == "scatter" else {})}
            shape: Format = "percent" if format_of(self.fields[self.x]) == "percent" else "number"
            axis |= {**whole, **NUMBERS_ACROSS, "format": short_format(shape, [row["x"] for row in self.drawn])}
            return {"field": "x", "type": "quantitative", "scale": scale, "axis": axis}
        return {"field": "label", "type": "ordinal", "sort": None, "axis": axis}

    def _day_format(self) -> str:
        are_months = self.x == "period" and all(len(row["label"]) == len("2024-01") for row in self.drawn)
        days = [_instant(row["x"]) for row in self.drawn]
        return "%b %Y" if are_months or max(days) - min(days) > MONTHS_TICKED else "%d %b %Y"

    def y_encoding(self, *, stack: str | None = None) -> Spec:
        axis = {"title": self.y_title, "format": self.short_format, **self._whole_ticks(stack)}
        encoding: Spec = {"field": "value", "type": "quantitative", "axis": axis, "stack": stack}
        if all(row["value"] in (0, None) for row in self.drawn):
            encoding["scale"] = {"domain": [0, 1]}  # else zero would float in the middle
        return encoding

    def _whole_ticks(self, stack: str | None) -> Spec:
        if not self._are_counts():
            return {}
        numbers = [row["value"] or 0 for row in self.drawn]
        # Up to so few Vega puts halves between them all the same. How high a stack is, is not known here.
        if stack is None and min(numbers, default=0) >= 0 and 0 < max(numbers, default=0) <= FEW_UNITS:
            return {"values": list(range(int(max(numbers)) + 1))}
        return {"tickMinStep": 1}

    def _are_counts(self) -> bool:
        """Whether whole numbers are drawn, be it beside an expectation of them, which is none."""
        first, *_ = self.value_names
        if all(self.fields[name].type == "long" for name in self.value_names):
            return True
        numbers = [row["value"] for row in self.drawn[:: len(self.value_names)] if row["value"] is not None]
        is_plain = _column_format(self.panel, first, self.fields) in ("number", "decimal")
        return is_plain and all(float(number).is_integer() for number in numbers)

    def color_encoding(self) -> Spec:
        if not self.is_split:
            return {}
        names = {row["series"] for row in self.drawn}
        count = len(names)
        legend: Spec = {"title": self.series_title, "symbolOpacity": 1}  # else as pale as a band, or a hidden point
        in_one_row = sum(LEGEND_SYMBOL_PIXELS + LEGEND_LETTER_PIXELS * len(name) for name in names)
        entry = LEGEND_SYMBOL_PIXELS + min(LEGEND_LABEL_PIXELS, LEGEND_LETTER_PIXELS * max(map(len, names), default=0))
        legend["columns"] = {"expr": f"{self.room} >= {in_one_row} ? {count} : max(1, floor({self.room} / {entry}))"}
        if self.group and self.fields[self.group].type in ("date", "long") and len(self.value_names) == 1:
            return {"color": {"field": "series", "type": "ordinal", "sort": None, "legend": legend}}
        if names <= set(self.panel.tones):
            # In the order of the declaration, whatever the report begins with.
            shown = [name for name in self.panel.tones if name in names]
            tones = {"domain": shown, "range": [TONES[self.panel.tones[name]] for name in shown]}
            return {"color": {"field": "series", "type": "nominal", "sort": None, "legend": legend, "scale": tones}}
        many = count > len(OKABE_ITO) and self.panel.mark not in ("scatter", "map")
        scale = {"scale": {"scheme": "tableau20"}} if many else {}
        return {"color": {"field": "series", "type": "nominal", "sort": None, "legend": legend, **scale}}

    @property
    def room(self) -> str:
        """An expression for about how wide the chart itself is.

        From the card's width, not the chart's: that one changes once the axes are laid out, and Vega would keep the
        room of the first guess. `width` stands in it so that it is asked for again when the window changes.
        """
        return f"(isFinite(containerSize()[0]) ? containerSize()[0] - {self._pixels_of_axis} : width)"

    @property
    def _pixels_of_axis(self) -> int:
        """About how far the chart itself begins from the left."""
        if self.panel.mark == "heatmap":
            longest = max(len(row["series"]) for row in self.drawn)
            return 50 + LEGEND_LETTER_PIXELS * min(longest, LINE_LETTERS)
        longest = max(len(row["label"]) for row in self.drawn)
        lies = self.panel.mark == "bar" and self.x_type != "date" and longest > LABEL_STANDING
        return 50 + LEGEND_LETTER_PIXELS * (min(longest, LINE_LETTERS) if lies else 3)

    def tooltip(self) -> list[Spec]:
        tips: list[Spec] = [{"field": "label", "type": "nominal", "title": self.x_title or title_of(self.x)}]
        if self.is_split:
            tips.append({"field": "series", "type": "nominal", "title": self.series_title or "Series"})
        shape = D3_FORMATS[self.panel.format]
        title = self.y_title or "Value"
        if self.panel.mark == "heatmap":
            title = self.value_title
        if self.panel.mark == "map":
            title, shape = "Latitude", ".4f"
            tips[0] = {"field": "x", "type": "quantitative", "title": "Longitude", "format": shape}
        tips.append({"field": "value", "type": "quantitative", "title": title, "format": shape})
        if self.panel.band:
            ends = zip(("low", "high"), self.panel.band, strict=True)
            tips += [
                {"field": end, "type": "quantitative", "title": title_of(name), "format": shape} for end, name in ends
            ]
        for name in self.extra:
            told = _column_format(self.panel, name, self.fields)
            tip: Spec = {"field": name, "type": "nominal", "title": title_of(name)}
            if told in D3_FORMATS:
                tip |= {"type": "quantitative", "format": D3_FORMATS[told]}
            elif told == P_VALUE:
                tip |= {"type": "quantitative", "format": ".2~g"}
            tips.append(tip)
        return tips


OPEN = "datum.open"
AS_GIVEN: Spec = {"field": "size", "type": "quantitative", "scale": None, "legend": None}
# The last label ends at its tick where half of it has no room beyond the chart.
WITHIN_THE_CHART = {"expr": f"scale('x', datum.value) > width - {FLUSH_PIXELS} ? 'right' : 'center'"}
# Numbers stand under their ticks, and no closer than they are wide.
NUMBERS_ACROSS: Spec = {
    "labelFlush": False,
    "labelAlign": WITHIN_THE_CHART,
    "tickCount": {"expr": "max(2, floor(width / 60))"},
}
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
    if chart.panel.band and any(row[end] is not None for row in chart.drawn for end in ("low", "high")):
        ends = {
            "x": encoding["x"],
            "y": {"field": "low", "type": "quantitative", "axis": encoding["y"]["axis"]},
            "y2": {"field": "high"},
        }
        band: Spec = {"mark": {"type": "area", "opacity": 0.18}, "encoding": {**ends, **color}}
        if len(chart.value_names) > 1 and not chart.group:
            # One band that belongs to all of them, and to none of their colours.
            one = {"name": "band", "values": chart.drawn[:: len(chart.value_names)]}
            band = {"data": one, "mark": {**band["mark"], "color": TONES["faint"], "opacity": 0.3}, "encoding": ends}
        layers.append(band)
    lines = encoding if is_area else {**encoding, **_widths(chart.drawn)}
    layers.append({**FINISHED, "mark": solid, "encoding": lines})
    if chart.has_open:
        joined = {"name": "unfinished", "values": _unfinished(chart.drawn)}
        layers.append({"data": joined, "mark": dashed, "encoding": lines})
    per_series = len(chart.drawn) / max(1, len({row.get("series") for row in chart.drawn}))
    shown = 1 if per_series <= POINTS_SHOWN and not (is_area and chart.is_split) else 0
    # With more points than that they are still there, unseen, to be pointed at.
    layers += _points(chart, encoding, size=34, opacity=shown)
    if any(row.get("marked") for row in chart.drawn):
        standing_out = {"type": "point", "filled": True, "size": 80, "opacity": 1, "color": TONES["bad"]}
        told = {"x": encoding["x"], "y": encoding["y"], "tooltip": chart.tooltip()}
        layers.append({"transform": [{"filter": "datum.marked"}], "mark": standing_out, "encoding": told})
    return {"data": chart.data, "height": HEIGHT, "layer": layers}


def _widths(drawn: Sequence[Row]) -> Spec:
    """The widths of lines, where several are the same: the later within the earlier, else only the last is seen."""
    lines: dict[Any, list[tuple[Any, Any]]] = {}
    for row in drawn:
        lines.setdefault(row.get("series"), []).append((row["x"], row["value"]))
    same: dict[tuple[Any, ...], list[Any]] = {}
    for name, points in lines.items():
        same.setdefault(tuple(points), []).append(name)
    if all(len(names) == 1 for names in same.values()):
        return {}
    widths = {
        name: LINE_WIDTH + WIDER * (len(names) - 1 - place)
        for names in same.values()
        for place, name in enumerate(names)
    }
    for row in drawn:
        row["size"] = widths[row.get("series")]
    return {"size": AS_GIVEN}


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
    shared |= _color_of_sign(chart)
    longest = max(len(row["label"]) for row in chart.drawn)
    if longest > LABEL_STANDING:
        return _lying_bars(chart, shared, side_by_side, stack)
    labels = {row["label"] for row in chart.drawn}
    axis: Spec = {"title": chart.x_title, "grid": False, "labelAngle": 0 if longest <= 3 else -40}
    if chart.x_type == "keyword":
        axis |= _every_name(chart, labels, places=max(len(labels), FEW_BARS + 0.5) if len(labels) > 1 else 1)
    across = {"x": {"field": "label", "type": "ordinal", "sort": None, "axis": axis}}
    if len(labels) <= FEW_BARS:
        # As wide as those of one more than a few: else three bars would fill the card, and one alone half of it.
        across["x"]["scale"] = {"paddingInner": 0.5, "paddingOuter": (FEW_BARS + 1 - len(labels)) / 2}
    if side_by_side:
        across["xOffset"] = side_by_side
    upright = {"y": _within_reach(chart, chart.y_encoding(stack=stack))}
    layers: list[Spec] = [{"mark": "bar", "encoding": {**upright, **shared}}]
    if chart.panel.whisker:
        layers.append(_whiskers(upright["y"], "y"))
    return {"data": chart.data, "height": HEIGHT, "encoding": across, "layer": layers}


def _every_name(chart: _Chart, names: Collection[str], *, places: float) -> Spec:
    """What an axis of names below needs to have all of them: they lie, lean or stand, as there is room.

    Vega would leave out every other one, which nobody can guess. Nothing for more names than have room.
    """
    if len(names) > NAMES_STANDING:
        return {}
    room = f"{chart.room} / {places:g}"
    lies = f"{room} >= {LEGEND_LETTER_PIXELS * max(map(len, names))}"
    return {
        "labelOverlap": False,
        "labelAngle": {"expr": f"{lies} ? 0 : {room} >= {LEANING_PIXELS} ? 320 : 270"},
        "labelAlign": {"expr": f"{lies} ? 'center' : 'right'"},
        "labelBaseline": {"expr": f"{lies} ? 'top' : 'middle'"},
    }


def _color_of_sign(chart: _Chart) -> Spec:
    """Of values with a sign: below zero, above zero, and not known to be either, where an interval holds zero."""
    if chart.is_split or not any((row.get(name) or 0) < 0 for row in chart.drawn for name in ("value", "low")):
        return {}
    below = {"test": "datum.value < 0", "value": TONES["bad"]}
    if not chart.panel.whisker:
        return {"color": {"condition": below, "value": TONES["plain"]}}
    undecided = {"test": "!(datum.low > 0 || datum.high < 0)", "value": TONES["faint"]}
    return {"color": {"condition": [undecided, below], "value": TONES["good"]}}


def _whiskers(encoding: Spec, direction: str) -> Spec:
    """The interval of each bar as a line along it."""
    ends = {direction: {**encoding, "field": "low", "stack": None}, f"{direction}2": {"field": "high"}}
    return {"mark": {"type": "rule", "strokeWidth": 1.5, "clip": True}, "encoding": ends}


def _within_reach(chart: _Chart, encoding: Spec) -> Spec:
    """With an axis that ends where the bars would become too small beside their intervals: those are cut there."""
    values = [abs(row["value"]) for row in chart.drawn if row["value"] is not None]
    ends = [row[name] for row in chart.drawn for name in ("low", "high") if row.get(name) is not None]
    if not chart.panel.whisker or not ends or not any(values):
        return encoding
    reach = WHISKER_REACH * max(values)
    if max(map(abs, ends)) <= reach:
        return encoding
    return {**encoding, "scale": {"domain": [max(min(0, *ends), -reach), min(max(0, *ends), reach)]}}


def _is_stacked(panel: Panel) -> bool:
    return panel.breakdown is not None and len(panel.series) == 1 and panel.format in ADDITIVE


# A line ends at a space, or, as a task's id has none, behind a point; the second of a pair begins one.
PAIRED = " [+] "
LINE = rf"(.{{1,{LINE_LETTERS - 1}}})(?:\s+|$)|(.{{1,{LINE_LETTERS - 1}}}[.])(?=.)"


def _lines_of(label: str) -> list[str]:
    """The lines that `_in_lines` makes of a label, to know how much room they take."""
    if len(label) <= LINE_LETTERS:
        return [label]
    return re.sub(LINE, r"\1\2\n", re.sub(PAIRED, "\n+ ", label)).strip().split("\n")


def _in_lines(most: int) -> tuple[str, str]:
    """Expressions for an axis: its label in up to so many lines, what is left over in the last; and how many it has."""
    pattern = LINE.replace("\\", "\\\\")
    paired = f"replace(datum.label, regexp('{PAIRED}', 'g'), '\\n+ ')"
    lines = f"split(trim(replace({paired}, regexp('{pattern}', 'g'), '$1$2\\n')), '\\n')"
    kept = ", ".join(f"{lines}[{place}]" for place in range(most - 1))
    is_short = f"length(datum.label) <= {LINE_LETTERS}"
    shown = (
        f"{is_short} ? datum.label : length({lines}) <= {most} ? {lines} "
        f": [{kept}, join(slice({lines}, {most - 1}), ' ')]"
    )
    return shown, f"({is_short} ? 1 : min({most}, length({lines})))"


def _wrapped(labels: Iterable[str], most: int = MOST_LINES) -> tuple[Spec, int]:
    """What an axis needs for these labels, and how high each of them is; nothing for short ones."""
    lines = min(most, max((len(_lines_of(label)) for label in labels), default=1))
    if lines < 2:
        return {}, 0
    shown, count = _in_lines(lines)
    # Vega puts the first line, not the middle one, beside the tick.
    offset = {"expr": f"{-LINE_PIXELS / 2:g} * ({count} - 1)"}
    axis = {"labelExpr": shown, "labelLineHeight": LINE_PIXELS, "labelOffset": offset}
    return axis, lines * LINE_PIXELS + LINES_GAP


def _lying_bars(chart: _Chart, shared: Spec, side_by_side: Spec | None, stack: str | None) -> Spec:
    across = _within_reach(chart, chart.y_encoding(stack=stack))
    across["axis"] = {**across["axis"], **NUMBERS_ACROSS, "titleAnchor": "end"}  # it may be longer than the axis
    labels = {row["label"] for row in chart.drawn if row["value"] is not None}  # Vega leaves the others out
    in_lines, pixels = _wrapped(labels)
    step = max(BAR_STEP, pixels)
    axis: Spec = {"title": chart.panel.x_title or None, "grid": False, **in_lines}
    encoding: Spec = {"y": {"field": "label", "type": "nominal", "sort": None, "axis": axis}}
    if side_by_side:
        encoding["yOffset"] = side_by_side
    layers: list[Spec] = [{"mark": {"type": "bar"}, "encoding": {"x": across, **shared}}]
    if chart.panel.whisker:
        layers.append(_whiskers(across, "x"))
    elif not chart.is_split:
        across |= _room_for_values(chart)
        layers += _written_values(chart, across)
    return {"data": chart.data, "height": step * len(labels), "encoding": encoding, "layer": layers}


def _room_for_values(chart: _Chart) -> Spec:
    """A scale on which the longest bar leaves room for its value, however narrow the card is."""
    values = [row["value"] or 0 for row in chart.drawn]
    low, high = min(0, *values), max(0, *values)
    if low == high:
        return {}
    pixels = LEGEND_LETTER_PIXELS * len(f"{max(values, key=abs):,.2f}") + 6
    ends = [pixels if high > 0 else 0, pixels if low < 0 else 0]
    stretch = f"width / max(0.4 * width, width - {sum(ends)})"  # of what is drawn, beside what is written
    domain = {"domainMin": {"expr": f"{low:g} * {stretch}"}, "domainMax": {"expr": f"{high:g} * {stretch}"}}
    return {"scale": {"nice": False, **domain}}


def _written_values(chart: _Chart, across: Spec) -> list[Spec]:
    """Each bar's value at its end, outside of it."""
    small = chart.short_format == ".2~g"
    text = {"field": "value", "type": "quantitative", "format": ".2~g" if small else D3_FORMATS[chart.panel.format]}
    mark = {"type": "text", "baseline": "middle", "fontSize": 11}
    sides: list[Spec] = [{"transform": [{"filter": "datum.value >= 0"}], "mark": {**mark, "align": "left", "dx": 4}}]
    if any((row["value"] or 0) < 0 for row in chart.drawn):
        sides.append({"transform": [{"filter": "datum.value < 0"}], "mark": {**mark, "align": "right", "dx": -4}})
    return [{**side, "encoding": {"x": across, "text": text}} for side in sides]


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
    step = max(8, min(CELL_STEP if rows > FEW_ROWS else CELL_STEP_OF_FEW, TALLEST // rows))
    in_lines, pixels = _wrapped(names, min(MOST_LINES, (TALLEST // rows - LINES_GAP) // LINE_PIXELS))
    step = max(step, pixels)
    down: Spec = {"title": group_title, **in_lines}
    across: Spec = {"title": chart.x_title, "labelAngle": 0 if chart.x_type in ("long", "double") else -40}
    if chart.x_type == "keyword":
        across |= {"labelOverlap": False, **_every_name(chart, columns, places=len(columns))}
    encoding: Spec = {
        "x": {"field": "label", "type": "ordinal", "sort": columns, "axis": across},
        "y": {"field": "series", "type": "ordinal", "sort": names, "axis": down},
    }
    color_title = chart.value_title
    legend = {
        "title": color_title,
        "format": chart.short_format,
        "gradientLength": {"expr": "max(60, min(160, width - 10))"},
        "direction": "horizontal",
        "labelSeparation": 8,
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
        # Half of the way from dark to bright; the scale begins at zero.
        middle = high * (0.55**2 if scale.get("type") == "sqrt" else 0.55)
        bright = f"datum.value > {middle}" if low >= 0 else f"abs(datum.value) < {max(-low, high) / 2}"
        layers.append(
            {
                # Of a grid full of zeros the others are to be seen; the colour says zero well enough.
                "transform": [{"filter": "datum.value !== 0"}],
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
    encoding = {"x": chart.x_encoding(), "y": y, **color, **shape, **_nested(chart.drawn)}
    return {"data": chart.data, "height": HEIGHT, "layer": _points(chart, encoding, size=POINT_SIZE, opacity=0.7)}


def _nested(drawn: Sequence[Row]) -> Spec:
    """The sizes of points, where several series have one at the same place: the later within the earlier."""
    there: dict[tuple[Any, Any], list[Row]] = {}
    for row in drawn:
        there.setdefault((row["x"], row["value"]), []).append(row)
    if not any(len({row.get("series") for row in rows}) > 1 for rows in there.values()):
        return {}
    for rows in there.values():
        series = list(dict.fromkeys(row.get("series") for row in rows))
        for row in rows:
            row["size"] = POINT_SIZE * (len(series) - series.index(row.get("series"))) ** 2
    return {"size": AS_GIVEN}


def _map(chart: _Chart) -> Spec:
    """Points where they lie, north up: x is the longitude and the value the latitude, in degrees.

    An equirectangular projection that is true to scale in the middle of the data, with a graticule and a scale bar.
    The page's width is known to the browser only, so what is to be seen follows from the signal `width`.
    """
    chart.drawn = [row for row in chart.drawn if row["value"] is not None]
    longitudes, latitudes = ([row[name] for row in chart.drawn] for name in ("x", "value"))
    across, up = (_middle_and_span(degrees) for degrees in (longitudes, latitudes))
    shrink = max(0.05, math.cos(math.radians(up[0])))  # a degree of longitude beside one of latitude
    wide, tall = (max(span, MAP_SPAN_DEGREES) * MAP_MARGIN for span in (across[1] * shrink, up[1]))
    per_pixel = f"max({tall:.6g} / {MAP_HEIGHT}, {wide:.6g} / width)"  # degrees of latitude
    half_width, half_height = f"width / 2 * {per_pixel} / {shrink:.6g}", f"{MAP_HEIGHT / 2:g} * {per_pixel}"
    color = chart.color_encoding()
    encoding = {
        "x": _degrees("x", "Longitude", "WE", across[0], half_width),
        "y": _degrees("value", "Latitude", "SN", up[0], half_height),
        **color,
    }
    points = _points(chart, encoding, size=70, opacity=0.8)
    kilometres = _round_below(0.3 * max(wide, tall) * KM_PER_DEGREE)
    scale = _scale_bar(kilometres, f"{kilometres / KM_PER_DEGREE:.6g} / {per_pixel}")
    return {"data": chart.data, "height": MAP_HEIGHT, "layer": [*points, *scale]}


def _middle_and_span(degrees: Sequence[float]) -> tuple[float, float]:
    return (min(degrees) + max(degrees)) / 2, max(degrees) - min(degrees)


def _degrees(field: str, title: str, signs: str, middle: float, half: str) -> Spec:
    """The encoding of one direction: `half` is an expression for the degrees from the middle to the edge."""
    hemisphere = f"datum.value < 0 ? '° {signs[0]}' : datum.value > 0 ? '° {signs[1]}' : '°'"
    axis = {
        "title": title,
        "grid": True,
        "tickCount": 5,
        "labelExpr": f"format(abs(datum.value), '.6~f') + ({hemisphere})",
    }
    scale = {
        "zero": False,
        "nice": False,
        "domainMin": {"expr": f"{middle:.6f} - {half}"},
        "domainMax": {"expr": f"{middle:.6f} + {half}"},
    }
    return {"field": field, "type": "quantitative", "axis": axis, "scale": scale}


def _round_below(value: float) -> float:
    """The largest of 1, 2, 5, 10, 20, … (and 0.5, 0.2, …) that is not above `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (5, 2, 1) if step * power <= value)


def _scale_bar(kilometres: float, pixels: str) -> list[Spec]:
    """A line as long as so many kilometres in the middle of the map, and what it stands for."""
    one: Spec = {
        "name": "scale",
        "values": [{"text": f"{kilometres:g} km" if kilometres >= 1 else f"{kilometres * 1000:g} m"}],
    }
    begin, bottom = 12, MAP_HEIGHT - 12
    line = {
        "x": {"value": begin},
        "x2": {"value": {"expr": f"{begin} + {pixels}"}},
        "y": {"value": bottom},
    }
    text = {"x": {"value": begin}, "y": {"value": bottom - 6}, "text": {"field": "text", "type": "nominal"}}
    return [
        {"data": one, "mark": {"type": "rule", "strokeWidth": 2, "tooltip": None, "aria": False}, "encoding": line},
        {
            "data": one,
            "mark": {
                "type": "text",
                "align": "left",
                "baseline": "bottom",
                "fontSize": 11,
                "tooltip": None,
                "aria": False,
            },
            "encoding": text,
        },
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
