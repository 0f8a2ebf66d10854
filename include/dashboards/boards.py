"""The dashboards: one per analysis, its panels as declared there, with the rows of the latest reports.

    an analysis's name, a dimension value  ->  its panels with what they show

A dashboard is read from one state of the index in one round of searches: a report that is replaced meanwhile is shown
as it was, or as it is, never half and half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

import configs
from include import catalogue
from include.dashboards.panel import Panel
from include.dashboards.vega import Drawing, Row, draw
from include.elastic.client import ElasticsearchProblem, index_name, plainly
from include.elastic.indexes import REPORTS_LATEST
from include.elastic.reports import ALL, KEEP_OPEN
from include.schemas.reports import SHARED_FIELDS, Field, ReportType

ROWS_AT_MOST = 10_000
SECONDS_TO_ANSWER = 20.0  # a person waits for the page; a task can wait longer
EVIDENCE_OF_HEADER = ("report_date", "run_id", "written_at", "warnings", "skipped", "definition", "parameters", "rows")


@dataclass(frozen=True)
class PlacedPanel:
    """A panel and the report it shows. `id` is stable: `<analysis>.<type>.<number within the type>`."""

    id: str
    report_type: ReportType
    panel: Panel


class UnknownDimension(LookupError):
    """A dimension value that no report of the dashboard has; `known` are those there are."""

    def __init__(self, sentence: str, known: Sequence[str]) -> None:
        super().__init__(sentence)
        self.known = list(known)


def panels_of(analysis: catalogue.Analysis) -> tuple[PlacedPanel, ...]:
    """All panels of an analysis, in the order of its REPORTS."""
    return tuple(
        PlacedPanel(f"{analysis.name}.{report_type.type}.{number}", report_type, panel)
        for report_type in analysis.module.REPORTS
        for number, panel in enumerate(report_type.panels, start=1)
    )


def fields_of(analysis: catalogue.Analysis) -> dict[str, Field]:
    """Every field that the reports of an analysis may have."""
    return {**SHARED_FIELDS, **getattr(analysis.module, "FIELDS", {})}


def list_dashboards() -> list[dict[str, str]]:
    """Name, title, group and first sentence of each dashboard."""
    return [
        {"name": one.name, "title": one.title, "group": one.group, "summary": one.doc.strip().partition("\n\n")[0]}
        for one in catalogue.analyses()
    ]


def read_dashboard(client: Elasticsearch, analysis: catalogue.Analysis, dimension: str = ALL) -> dict[str, Any]:
    """A dashboard as the page shows it, JSON-ready.

    Raises `UnknownDimension`, and `ElasticsearchProblem` when Elasticsearch does not answer.
    """
    placed = panels_of(analysis)
    searches = {one.id: _search_of(one, dimension) for one in placed}
    headers, found = _read(client, analysis.name, searches)
    values = list(dict.fromkeys([ALL, *(value for header in headers.values() for value in header["dimension"])]))
    if headers and dimension not in values:
        raise UnknownDimension(f"The latest reports of {analysis.title} have no dimension value {dimension!r}.", values)
    fields = fields_of(analysis)
    return {
        "name": analysis.name,
        "title": analysis.title,
        "about": analysis.doc,
        "dimension": dimension,
        "dimensions": values,
        "has_reports": bool(headers),
        "reports": {name: _told(header) for name, header in headers.items()},
        "panels": [_shown(one, found[one.id], headers.get(one.report_type.type), dimension, fields) for one in placed],
    }


def _search_of(placed: PlacedPanel, dimension: str) -> dict[str, Any]:
    wanted = {"type": placed.report_type.type, "is_header": False, "dimension": dimension, **placed.panel.where}
    return {
        "query": {"bool": {"filter": [{"term": {name: value}} for name, value in wanted.items()]}},
        "_source": list(placed.report_type.fields),
        "size": min(configs.MAX_RESULT_WINDOW, ROWS_AT_MOST),
        "sort": [{"row": "asc"}],
        "track_total_hits": True,
    }


def _read(
    client: Elasticsearch, name: str, searches: Mapping[str, dict[str, Any]]
) -> tuple[dict[str, Row], dict[str, tuple[list[Row], int]]]:
    """The header of each report type, and per panel the rows and how many there are in all."""
    nothing: dict[str, tuple[list[Row], int]] = {panel: ([], 0) for panel in searches}
    patient = client.options(request_timeout=SECONDS_TO_ANSWER, max_retries=1)
    headers = {"query": {"bool": {"filter": [{"term": {"is_header": True}}]}}, "size": 1_000, "sort": [{"type": "asc"}]}
    with plainly(client, "reading the reports"):
        try:
            opened = patient.open_point_in_time(index=index_name(REPORTS_LATEST), routing=name, keep_alive=KEEP_OPEN)
        except NotFoundError:  # no run has made the index yet
            return {}, nothing
        try:
            bodies: list[dict[str, Any]] = []
            for search in (headers, *searches.values()):
                ours = {"bool": {"filter": [{"term": {"report_name": name}}, search["query"]]}}
                bodies += [{}, {**search, "query": ours, "pit": {"id": opened["id"], "keep_alive": KEEP_OPEN}}]
            answers = patient.msearch(searches=bodies)["responses"]
        finally:
            patient.close_point_in_time(id=opened["id"])
    for answer in answers:
        if "error" in answer:
            reason = answer["error"].get("reason") or answer["error"].get("type")
            raise ElasticsearchProblem(f"Elasticsearch could not read the reports of {name}: {reason}.", retry=True)
    first, *others = ([hit["_source"] for hit in answer["hits"]["hits"]] for answer in answers)
    totals = [int(answer["hits"]["total"]["value"]) for answer in answers[1:]]
    return (
        {header["type"]: header for header in first},
        {panel: (rows, total) for panel, rows, total in zip(searches, others, totals, strict=True)},
    )


def _told(header: Row) -> Row:
    """What the page tells about a report, whatever panel shows it."""
    return {name: header[name] for name in ("title", *EVIDENCE_OF_HEADER) if name in header}


def _shown(
    placed: PlacedPanel,
    found: tuple[list[Row], int],
    header: Row | None,
    dimension: str,
    fields: Mapping[str, Field],
) -> dict[str, Any]:
    rows, total = found
    drawing = draw(placed.panel, rows, fields)
    notes = list(drawing.notes)
    if total > len(rows):
        notes.append(f"Shown are the first {len(rows):,} of {total:,} rows.")
    return {
        "id": placed.id,
        "type": placed.report_type.type,
        "report": placed.report_type.title,
        "title": placed.panel.title,
        "how_to_read": placed.panel.how_to_read,
        "mark": placed.panel.mark,
        "width": placed.panel.width,
        "spec": drawing.spec,
        "tiles": [asdict(tile) for tile in drawing.tiles],
        "notes": notes,
        "columns": [asdict(column) for column in drawing.columns],
        "rows": drawing.rows,
        "reason": _reason(drawing, header, dimension),
    }


def _reason(drawing: Drawing, header: Row | None, dimension: str) -> str:
    """Why the panel is empty; empty when it is not."""
    if not drawing.reason:
        return ""
    if header is None:
        return "No run has written this report yet."
    if header.get("skipped"):
        return f"Skipped: {header['skipped']}"
    if drawing.rows:
        return drawing.reason
    if header["rows"] and dimension not in header["dimension"]:
        return f"This report is not broken down by {dimension}; choose `all`."
    return "The report has no rows here: nothing of the kind had happened by the report date."
