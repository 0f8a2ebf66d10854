"""The dashboards as one HTML file that can be sent: no script, nothing fetched, charts drawn beforehand.

    dashboards as the page reads them  ->  one HTML text, the same bytes for the same reports

Whatever comes from the data is escaped: in text by the templates, in charts by the writer of their SVG.
"""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include import catalogue
from include.dashboards.vega import theme
from include.problem import Problem

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
ROWS_SHOWN = 30
KEY_FIGURES = 12  # in the text of a mail
COLUMN_PIXELS, MARGIN_PIXELS = 93, 55  # one of the page's 12 columns, and what a panel has around its chart
SVG_CHARACTERS_AT_MOST = 250_000  # a chart of very many points is smaller as an image

FONT = "Arial, Helvetica, sans-serif"  # here as where it is read, so that labels are as long as they were measured

DIGITS = {"number": 2, "decimal": 2, "money": 2, "percent": 1, "hours": 1, "days": 1}
UNITS = {"hours": " h", "days": " d"}
AS_THE_PAGE = Context(prec=400, rounding=ROUND_HALF_UP)  # a browser rounds 0.125 up, Python to the even neighbour

# What a drawn chart consists of; anything else is left out of it.
SVG_ELEMENTS = (
    *("svg", "g", "defs", "clipPath", "linearGradient", "stop"),
    *("path", "line", "rect", "circle", "text", "tspan", "image"),
)
NOTHING_DRAWN = ("", "M0,0h0v0h0Z")
TO_ELEMENT = re.compile(r"url\(#([^)]+)\)")
LONG_DECIMAL = re.compile(r"(\d\.\d)\d+(?![\d.]*e)")  # of a pixel: a tenth is not seen
COORDINATES = ("d", "transform", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "cx", "cy", "r")


class NothingToSend(Problem):
    """No run has written any of the dashboards yet."""


@dataclass(frozen=True)
class Report:
    """One HTML file. `dashboards` are the titles in it; `left_out` says of others why they are not."""

    html: str
    dashboards: tuple[str, ...]
    left_out: tuple[str, ...]
    key_figures: tuple[str, ...]
    report_dates: tuple[str, ...]


def read_and_render(client: Elasticsearch, names: Sequence[str], dimension: str, *, bytes_at_most: int) -> Report:
    """The report on the latest published reports.

    `names` of dashboards, in order; none: the overview and every analysis that has something to say. Raises `Problem`
    for an unknown name and a dimension value that no dashboard has, `NothingToSend` before the first reports.
    """
    from include.dashboards.boards import UnknownDimension, read_dashboard
    from include.dashboards.dashboard import dashboards

    known = {one.name: one for one in dashboards()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Problem(
            f"REPORT_DASHBOARDS names {', '.join(unknown)}, which are no dashboards; there are {', '.join(known)}."
        )
    read: list[dict[str, Any]] = []
    left_out: list[str] = []
    for name in names or _by_default():
        try:
            read.append(read_dashboard(client, known[name], dimension))
        except UnknownDimension as problem:
            left_out.append(str(problem))
    if not read:
        raise Problem(f"REPORT_DIMENSION is {dimension!r}, which no report has; choose `all` or another value.")
    if not any(one["has_reports"] for one in read):
        raise NothingToSend("There is no report to send: no run has written one of these dashboards yet.")
    return render(read, bytes_at_most=bytes_at_most, keeps_empty=bool(names), left_out=left_out)


def render(
    dashboards: Iterable[Mapping[str, Any]],
    *,
    bytes_at_most: int,
    keeps_empty: bool = False,
    left_out: Sequence[str] = (),
) -> Report:
    """Dashboards, as `read_dashboard` gives them, as one HTML file of at most so many bytes.

    A dashboard that would make it larger is left out and said to be, and one without any chart unless `keeps_empty`.
    """
    shown: list[dict[str, Any]] = []
    missing = list(left_out)
    room = bytes_at_most - len(_page([], missing, []).encode()) - 20_000  # for the contents and what is left out
    for dashboard in dashboards:
        if not keeps_empty and all(panel["reason"] for panel in dashboard["panels"]):
            missing.append(f"{dashboard['title']}: {_why_empty(dashboard)}")
            continue
        html = _section(dashboard)
        if len(html.encode()) > room:
            missing.append(f"{dashboard['title']}: the report would be larger than {bytes_at_most / 1e6:,.1f} MB.")
            continue
        room -= len(html.encode())
        shown.append({**dashboard, "html": html})
    dates = sorted({report["report_date"] for one in shown for report in one["reports"].values()})
    return Report(
        html=_page(shown, missing, dates),
        dashboards=tuple(one["title"] for one in shown),
        left_out=tuple(missing),
        key_figures=_key_figures(shown),
        report_dates=tuple(dates),
    )


def mail_text(report: Report, file_name: str) -> str:
    """The text of the mail that carries the report, as HTML."""
    return _templates().get_template("mail.html").render(report=report, file_name=file_name)


def written(value: Any, shape: str | None) -> str:
    """A value as a person reads it: `1,234.5`, `12.3%`, `4.0 h`, `2024-03-04 05:06`, `–` where there is none.

    The page writes the same: `written` in its `elements.js`.
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if shape == "date":
        return str(value)[:10]
    if shape == "instant":
        return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M}"
    if not isinstance(value, int | float) or not shape:
        return str(value)
    if shape == "p_value":
        return "< 0.001" if value < 0.001 else _two_digits(value)
    if shape == "decimal" and 0 < abs(value) < 0.1:  # two digits after the point would make nothing of it
        return _two_digits(value)
    digits = DIGITS.get(shape, 2)
    number = Decimal(repr(value)) * (100 if shape == "percent" else 1)
    text = f"{number.quantize(Decimal(10) ** -digits, context=AS_THE_PAGE):,f}"
    if shape == "number" or (shape == "decimal" and float(value).is_integer()):
        text = text.rstrip("0").rstrip(".")
    return text + ("%" if shape == "percent" else UNITS.get(shape, ""))


def in_column(value: Any, column: Mapping[str, Any]) -> str:
    """A value of a table's column as a person reads it."""
    return column["words"].get(value) or written(value, column["format"])


def _two_digits(value: float) -> str:
    """A small number by its first two digits that are not zero."""
    rounded = Context(prec=2, rounding=ROUND_HALF_UP).create_decimal(value)
    power = rounded.adjusted()
    return f"{rounded:.1e}" if power < -6 else f"{rounded:.{max(0, 1 - power)}f}"


def _by_default() -> list[str]:
    """The overview, then every analysis; what other dashboards show is among these, or about the pipeline itself."""
    return ["overview", *(analysis.name for analysis in catalogue.analyses())]


def _why_empty(dashboard: Mapping[str, Any]) -> str:
    reasons = list(dict.fromkeys(panel["reason"] for panel in dashboard["panels"]))
    return reasons[0] if len(reasons) == 1 else "none of its charts has anything to show."


def _page(shown: Sequence[Mapping[str, Any]], left_out: Sequence[str], dates: Sequence[str]) -> str:
    runs = sorted({report["run_id"] for one in shown for report in one["reports"].values()})
    dimensions = sorted({one["dimension"] for one in shown})
    return (
        _templates()
        .get_template("report.html")
        .render(dashboards=shown, left_out=left_out, dates=dates, runs=runs, dimensions=dimensions)
    )


def _section(dashboard: Mapping[str, Any]) -> str:
    dates = {report["report_date"] for report in dashboard["reports"].values()}
    panels = [
        {
            **panel,
            "chart": _chart(panel, dashboard["name"]) if panel["spec"] and not panel["reason"] else "",
            "of_date": dashboard["reports"].get(panel["report_id"], {}).get("report_date") if len(dates) > 1 else None,
        }
        for panel in dashboard["panels"]
    ]
    return (
        _templates()
        .get_template("dashboard.html")
        .render(
            dashboard=dashboard,
            panels=panels,
            warnings=_warnings(dashboard),
            definitions=_definitions(dashboard),
            rows_shown=ROWS_SHOWN,
        )
    )


def _warnings(dashboard: Mapping[str, Any]) -> list[str]:
    """Each sentence once, with the reports it is about unless it is about all."""
    told: dict[str, list[str]] = {}
    for report in dashboard["reports"].values():
        for warning in report.get("warnings") or []:
            told.setdefault(warning, []).append(report["title"])
    everything = len(dashboard["reports"])
    return [
        warning if len(titles) == everything else f"{', '.join(titles)}: {warning}" for warning, titles in told.items()
    ]


def _definitions(dashboard: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    found = []
    for report in dashboard["reports"].values():
        told = {**(report.get("definition") or {}), **(report.get("parameters") or {})}
        pairs = [
            (name.replace("_", " "), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for name, value in told.items()
        ]
        if pairs:
            found.append((report["title"], pairs))
    return found


def _key_figures(shown: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The numbers of the first dashboard that has some."""
    for dashboard in shown:
        figures = [
            f"{panel['title'] if not tile['label'] else panel['title'] + ' · ' + tile['label']}: "
            f"{written(tile['value'], tile['format'])}{' (' + tile['note'] + ')' if tile['note'] else ''}"
            for panel in dashboard["panels"]
            for tile in panel["tiles"]
        ]
        if figures:
            return tuple(figures[:KEY_FIGURES])
    return ()


def _chart(panel: Mapping[str, Any], dashboard: str) -> str:
    """The chart as SVG, or as an image in the file where that is smaller. Escaped, without any reference outwards."""
    import vl_convert
    from markupsafe import Markup, escape

    width = panel["width"] * COLUMN_PIXELS - MARGIN_PIXELS
    config = theme(dark=False)
    config |= {"background": "white", "font": FONT, "text": {**config["text"], "font": FONT}}
    spec = {**panel["spec"], "config": config, "width": width}
    label = f"Chart: {panel['title']}. {panel['how_to_read']}"
    svg = _inline_svg(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]), f"{dashboard}-{panel['id']}", label)
    if len(svg) <= SVG_CHARACTERS_AT_MOST:
        return Markup(svg)
    png = base64.b64encode(vl_convert.vegalite_to_png(spec, scale=1.5, allowed_base_urls=[])).decode()
    return Markup('<img width="{}" alt="{}" src="data:image/png;base64,{}">').format(width, escape(label), png)


def _inline_svg(drawn: str, name: str, label: str) -> str:
    """An SVG file as an element of an HTML page: ids of its own, no namespaces, no more than what is seen."""
    root = ElementTree.fromstring(drawn)
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", name)
    # Whoever draws counts its ids up as long as it runs; counted from here, the same chart is the same text.
    names = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    _strip(root, {name: f"{prefix}-{number}" for number, name in enumerate(names, start=1)})
    root.attrib.pop("class", None)
    root.set("font-family", FONT)
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def _strip(element: ElementTree.Element, ids: Mapping[str, str]) -> None:
    """Leave what is seen, without namespaces, and under the new `ids`."""
    element.tag = element.tag.rpartition("}")[2]
    kept = {}
    for name, value in element.attrib.items():
        bare = name.rpartition("}")[2]
        if bare.startswith(("aria-", "on")) or bare in ("role", "class", "pointer-events", "cursor"):
            continue
        if bare == "font-family" or (bare, value) == ("opacity", "1"):  # once for all, and as it is without saying
            continue
        if bare == "href" and not value.startswith("data:image/png;"):
            continue
        if bare == "id":
            value = ids[value]
        elif bare in COORDINATES and "scale" not in value:
            value = LONG_DECIMAL.sub(r"\1", value)
        else:
            value = TO_ELEMENT.sub(lambda found: f"url(#{ids[found[1]]})", value)
        kept[bare] = value
    element.attrib.clear()
    element.attrib.update(kept)
    for child in list(element):
        is_seen = child.get("opacity") != "0" and child.get("d") not in NOTHING_DRAWN  # points to hover over are not
        if is_seen and child.tag.rpartition("}")[2] in SVG_ELEMENTS:
            _strip(child, ids)
        else:
            element.remove(child)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["written"] = written
    environment.filters["in_column"] = in_column
    return environment
