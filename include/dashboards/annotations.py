"""Notes as marks on a chart over days: a rule with a numbered marker, told in full where it is pointed at.

    a Vega-Lite specification, notes  ->  the specification with the notes on it

The numbers are the places of the notes in the list, so that the list below the chart says the same in print.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from include.dashboards.notes import EVERY, Note
from include.dashboards.vega import Drawing

Spec = dict[str, Any]

COLOR = "#8250df"  # no colour of a series; white numbers can be read on it, and it on the light and on the dark page
MARKER_PIXELS = 300  # the area of the circle
MARKER_DOWN = 11  # pixels from the top of the plot
NUMBERS_SHOWN = 2  # a marker of more notes than this says how many they are


@dataclass(frozen=True)
class _Periods:
    """The periods of a chart: the first day of each, where it is drawn, and how long one lasts."""

    drawn_at: dict[date, str]
    step: str  # day, week, month

    def place(self, day: date) -> str | None:
        """Where a day is drawn: in its period; None outside of what the chart shows."""
        begin = self._begin(day)
        if begin is not None:
            return self.drawn_at[begin]
        # A day without a row, between others that have one.
        return day.isoformat() if min(self.drawn_at) <= day <= max(self.drawn_at) else None

    def _begin(self, day: date) -> date | None:
        begun = [begin for begin in self.drawn_at if begin <= day]
        if not begun:
            return None
        begin = max(begun)
        lasts = {"day": day == begin, "week": day < begin + timedelta(7), "month": _month(day) == _month(begin)}
        return begin if lasts[self.step] else None


def has_days(spec: Spec | None) -> bool:
    """Whether a chart has days across: an axis of time, or a heatmap's columns."""
    return spec is not None and (_time_axis(spec) is not None or _has_columns_of_days(spec))


def shown_with_notes(drawing: Drawing, panel: str, found: Sequence[Note], left_out: int, of: str) -> dict[str, Any]:
    """A drawing as it is shown with those of the notes `found` that are pinned to `panel` or to every chart.

    `left_out` is how many older ones the search for notes did not give, `of` the view that they are on. A chart of
    zeros only is not drawn, and keeps its notes: they may say why.
    """
    takes_notes = has_days(drawing.spec)
    pinned = [note for note in found if note.panel in (panel, EVERY)] if takes_notes else []
    says_so = takes_notes and left_out
    return {
        "spec": None if drawing.spec is None or drawing.only_zeros else annotate(drawing.spec, pinned),
        "takes_notes": takes_notes,
        "pinned": [asdict(note) for note in pinned],
        "notes": [
            *drawing.notes,
            *([f"Older notes on the charts of this {of} are left out: {left_out:,}."] if says_so else []),
        ],
    }


def annotate(spec: Spec, notes: Sequence[Note]) -> Spec:
    """The chart with its notes, numbered from 1. Where it has no axis of time, or no note is on it: as it was."""
    axis = _time_axis(spec)
    periods = _periods(spec) if axis is not None else None
    if axis is None or periods is None:
        return spec
    marked: dict[str, list[tuple[int, Note]]] = {}
    for number, note in enumerate(notes, start=1):
        place = periods.place(date.fromisoformat(note.day))
        if place is not None:
            marked.setdefault(place, []).append((number, note))
    if not marked:
        return spec
    x = {**{name: value for name, value in axis.items() if name not in ("field", "bin", "timeUnit")}, "field": "at"}
    told = [
        {"field": "days", "type": "nominal", "title": "Day"},
        {"field": "told", "type": "nominal", "title": "Note"},
    ]
    down = {"value": MARKER_DOWN}
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "color": COLOR, "strokeDash": [4, 3], "strokeWidth": 1.5, "aria": False},
            "encoding": {"x": x},
        },
        {
            "mark": {"type": "point", "shape": "circle", "filled": True, "color": COLOR, "opacity": 1},
            "encoding": {
                "x": x,
                "y": down,
                "size": {"value": MARKER_PIXELS},
                "tooltip": told,
                "description": {"field": "told", "type": "nominal"},
            },
        },
        {
            "mark": {"type": "text", "color": "#ffffff", "fontSize": 10, "fontWeight": "bold", "aria": False},
            "encoding": {"x": x, "y": down, "text": {"field": "label", "type": "nominal"}, "tooltip": {"value": None}},
        },
    ]
    pinned = {"data": {"name": "notes", "values": [_marker(at, here) for at, here in marked.items()]}, "layer": layers}
    outer, inner = _split(spec)
    return {**outer, "layer": [inner, pinned]}


def _marker(at: str, here: Sequence[tuple[int, Note]]) -> dict[str, Any]:
    numbers = ",".join(str(number) for number, _ in here) if len(here) <= NUMBERS_SHOWN else f"{len(here)}×"
    days = sorted({note.day for _, note in here})
    return {
        "at": at,
        "label": numbers,
        "days": days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
        "told": " · ".join(f"{number}. {_told(note)}" for number, note in here),
        "ids": [note.id for _, note in here],
    }


def _told(note: Note) -> str:
    of = "" if note.dimension == EVERY else f", on {note.dimension}"
    return f"{' '.join(note.text.split())} ({note.author}{of})"


def _split(spec: Spec) -> tuple[Spec, Spec]:
    """What belongs to the whole drawing, and what is drawn: the notes must not inherit the chart's encoding."""
    drawn: Spec = {name: spec[name] for name in ("layer", "mark", "encoding", "transform") if name in spec}
    return {name: value for name, value in spec.items() if name not in drawn}, drawn


def _encodings(spec: Spec) -> Iterator[Spec]:
    yield spec.get("encoding", {})
    for layer in spec.get("layer", ()):
        yield from _encodings(layer)


def _time_axis(spec: Spec) -> Spec | None:
    across = next((encoding["x"] for encoding in _encodings(spec) if "x" in encoding), None)
    return across if across is not None and across.get("type") == "temporal" else None


def _has_columns_of_days(spec: Spec) -> bool:
    rows = spec.get("data", {}).get("values", ())
    is_heatmap = any("color" in one and one["color"].get("field") == "value" for one in _encodings(spec))
    return is_heatmap and bool(rows) and all(_day(row.get("x")) is not None for row in rows)


def _periods(spec: Spec) -> _Periods | None:
    drawn: dict[date, set[str]] = {}
    for row in spec.get("data", {}).get("values", ()):
        begin = _day(row.get("x"))
        if begin is not None:
            drawn.setdefault(begin, set()).update((row["start"], row["end"]) if "start" in row else (str(row["x"]),))
    if not drawn:
        return None
    return _Periods({begin: _middle(corners) for begin, corners in drawn.items()}, _step(sorted(drawn)))


def _middle(corners: set[str]) -> str:
    """The middle of the bars of a period; a point is its own."""
    first, last = min(corners), max(corners)
    return first if first == last else _between(first, last)


def _between(first: str, last: str) -> str:
    begin, end = (datetime.fromisoformat(one) for one in (first, last))
    return (begin + (end - begin) / 2).strftime("%Y-%m-%dT%H:%M:%SZ")


def _step(begins: Sequence[date]) -> str:
    """How long a period lasts, by the distances of their first days: some may be missing."""
    if len(begins) > 1 and all(begin.day == 1 for begin in begins):
        return "month"
    if len(begins) > 1 and len({begin.weekday() for begin in begins}) == 1:
        return "week"
    return "day"


def _month(day: date) -> tuple[int, int]:
    return day.year, day.month


def _day(value: object) -> date | None:
    """The day that a row is at, None where it is at something else."""
    try:
        return date.fromisoformat(str(value)[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
