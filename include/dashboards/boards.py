"""The dashboards with what their panels show: the rows of the latest reports, or of those of an earlier date.

    a dashboard, a dimension value, a report date  ->  its panels with what they show

A dashboard is read from one state of the index, whatever analyses its panels are of: a report that is replaced
meanwhile is shown as it was, or as it is, never half and half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any
from urllib.parse import quote

from elasticsearch import Elasticsearch, NotFoundError

import configs
from include.dashboards.annotations import shown_with_notes
from include.dashboards.dashboard import Dashboard, PlacedPanel, dashboards, fields_of, placed_panels
from include.dashboards.notes import Note, notes_found, search_for_notes
from include.dashboards.vega import Drawing, Row, draw
from include.elastic.client import ElasticsearchProblem, index_name, plainly
from include.elastic.indexes import REPORTS
from include.elastic.reports import ALL, KEEP_OPEN

ROWS_AT_MOST = 10_000
DATES_LISTED = 1_000
SECONDS_TO_ANSWER = 20.0  # a person waits for the page; a task can wait longer
EVIDENCE_OF_HEADER = ("report_date", "run_id", "written_at", "warnings", "skipped", "definition", "parameters", "rows")


class UnknownChoice(LookupError):
    """A choice that no report of the dashboard has; its text is for people, beside it what there is to choose."""

    def __init__(self, sentence: str, *, dimensions: Sequence[str] = (ALL,), dates: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.dimensions, self.dates = list(dimensions), list(dates)


class UnknownDimension(UnknownChoice):
    """A dimension value that no report of the dashboard has."""


class UnknownDate(UnknownChoice):
    """A report date of which the dashboard has no report."""


@dataclass(frozen=True)
class _Found:
    """What the searches gave: headers by report id, per panel its rows and how many there are, the report dates, and
    the notes with how many more there are."""

    headers: dict[str, Row]
    rows: dict[str, tuple[list[Row], int]]
    dates: list[str]
    notes: tuple[list[Note], int]


def list_dashboards() -> list[dict[str, str]]:
    """Name, title, group and first sentence of each dashboard, and where it is in Kibana, where there is one."""
    return [
        {"name": one.name, "title": one.title, "group": one.group, "summary": one.summary, "kibana": in_kibana(one)}
        for one in dashboards()
    ]


def in_kibana(dashboard: Dashboard) -> str:
    """The address of the dashboard in Kibana; empty where no Kibana is configured."""
    from include.dashboards.kibana import dashboard_id

    if not configs.KIBANA_URL:
        return ""
    space = f"/s/{quote(configs.KIBANA_SPACE)}" if configs.KIBANA_SPACE else ""
    return f"{configs.KIBANA_URL.rstrip('/')}{space}/app/dashboards#/view/{dashboard_id(dashboard.name)}"


def read_dashboard(
    client: Elasticsearch, dashboard: Dashboard, dimension: str = ALL, report_date: date | None = None
) -> dict[str, Any]:
    """A dashboard as the page shows it, JSON-ready; without a date, the latest reports.

    Raises `UnknownDimension`, `UnknownDate`, and `ElasticsearchProblem` when Elasticsearch does not answer.
    """
    placed = placed_panels(dashboard)
    found = _read(client, dashboard, placed, dimension, report_date)
    values = list(dict.fromkeys([ALL, *(value for header in found.headers.values() for value in header["dimension"])]))
    if report_date is not None and found.dates and not found.headers:
        raise UnknownDate(f"{dashboard.title} has no reports of {report_date}.", dates=found.dates)
    if found.headers and dimension not in values:
        which = "latest reports" if report_date is None else f"reports of {report_date}"
        raise UnknownDimension(
            f"The {which} of {dashboard.title} have no dimension value {dimension!r}.",
            dimensions=values,
            dates=found.dates,
        )
    return {
        "name": dashboard.name,
        "title": dashboard.title,
        "about": dashboard.about,
        "see_also": list(dashboard.see_also),
        "dimension": dimension,
        "dimensions": values,
        "date": None if report_date is None else report_date.isoformat(),
        "dates": found.dates,
        "has_reports": bool(found.headers),
        "reports": {id_: _told(header) for id_, header in found.headers.items()},
        "panels": [{**_shown(one, found, dimension, report_date), "from": _origin(one, dashboard)} for one in placed],
    }


def _read(
    client: Elasticsearch,
    dashboard: Dashboard,
    placed: Sequence[PlacedPanel],
    dimension: str,
    report_date: date | None,
) -> _Found:
    nothing: dict[str, tuple[list[Row], int]] = {one.id: ([], 0) for one in placed}
    for_notes = search_for_notes([one.id for one in placed], dimension)
    patient = client.options(request_timeout=SECONDS_TO_ANSWER, max_retries=1)
    names = list(dashboard.report_names)
    version: Row = {"is_latest": True} if report_date is None else {"report_date": report_date.isoformat()}
    header: Row = {"terms": {"report_name": names}}
    headers = {"query": _all_of(version, header, is_header=True), "size": 1_000, "sort": [{"type": "asc"}]}
    dates = {"query": _all_of({}, header, is_header=True), "size": 0, "aggs": {"dates": _DATES}}
    with plainly(client, "reading the reports"):
        try:
            opened = patient.open_point_in_time(
                index=index_name(REPORTS), routing=",".join(names), keep_alive=KEEP_OPEN
            )
        except NotFoundError:  # no run has made the index yet
            return _Found({}, nothing, [], ([], 0))
        try:
            if report_date is None:
                first, of_dates, *others, of_notes = _ask(
                    patient,
                    opened["id"],
                    [headers, dates, *(_search_of(one, dimension, version) for one in placed)],
                    for_notes,
                )
            else:
                # Beside the version that a date's header names, a run that was killed may have left rows of another.
                first, of_dates = _ask(patient, opened["id"], [headers, dates])
                versions = {_report_id(hit["_source"]): hit["_source"]["version"] for hit in first["hits"]["hits"]}
                *others, of_notes = _ask(
                    patient,
                    opened["id"],
                    [
                        _search_of(one, dimension, {**version, "version": versions.get(one.report_id, "")})
                        for one in placed
                    ],
                    for_notes,
                )
        finally:
            patient.close_point_in_time(id=opened["id"])
    shown = {one.report_id for one in placed}
    found = {_report_id(hit["_source"]): hit["_source"] for hit in first["hits"]["hits"]}
    return _Found(
        headers={id_: header for id_, header in found.items() if id_ in shown},
        rows={
            one.id: ([hit["_source"] for hit in answer["hits"]["hits"]], int(answer["hits"]["total"]["value"]))
            for one, answer in zip(placed, others, strict=True)
        },
        dates=[bucket["key_as_string"] for bucket in of_dates["aggregations"]["dates"]["buckets"]],
        notes=notes_found(of_notes),
    )


_DATES: Row = {
    "terms": {"field": "report_date", "size": DATES_LISTED, "order": {"_key": "desc"}, "format": "yyyy-MM-dd"}
}


def _ask(client: Elasticsearch, point_in_time: str, searches: Sequence[Row], others: Sequence[Row] = ()) -> list[Row]:
    """The answers to searches of one point in time, and to `others` of other indexes, in one request."""
    bodies: list[Row] = []
    for search in searches:
        bodies += [{}, {**search, "pit": {"id": point_in_time, "keep_alive": KEEP_OPEN}}]
    answers: list[Row] = client.msearch(searches=[*bodies, *others])["responses"]
    for answer in answers:
        if "error" in answer:
            reason = answer["error"].get("reason") or answer["error"].get("type")
            raise ElasticsearchProblem(f"Elasticsearch could not read the reports: {reason}.", retry=True)
    return answers


def _search_of(placed: PlacedPanel, dimension: str, version: Row) -> Row:
    wanted = {"report_name": placed.report_name, "type": placed.report_type.type, "dimension": dimension}
    return {
        "query": _all_of({**version, **wanted, **placed.panel.where}, is_header=False),
        "_source": list(placed.report_type.fields),
        "size": min(configs.MAX_RESULT_WINDOW, ROWS_AT_MOST),
        "sort": [{"row": "asc"}],
        "track_total_hits": True,
    }


def _all_of(wanted: Mapping[str, Any], *more: Row, **also: Any) -> Row:
    return {"bool": {"filter": [{"term": {name: value}} for name, value in {**wanted, **also}.items()] + list(more)}}


def _report_id(header: Row) -> str:
    return f"{header['report_name']}.{header['type']}"


def _told(header: Row) -> Row:
    """What the page tells about a report, whatever panel shows it."""
    return {name: header[name] for name in ("title", *EVIDENCE_OF_HEADER) if name in header}


def _origin(placed: PlacedPanel, dashboard: Dashboard) -> dict[str, str] | None:
    """The dashboard that has all panels of the report's analysis, where this is another one."""
    if placed.report_name == dashboard.name:
        return None
    return next(
        ({"name": one.name, "title": one.title} for one in dashboards() if one.name == placed.report_name), None
    )


def _shown(placed: PlacedPanel, found: _Found, dimension: str, report_date: date | None) -> dict[str, Any]:
    rows, total = found.rows[placed.id]
    drawing = draw(placed.panel, rows, fields_of(placed.report_name))
    if total > len(rows):
        drawing = replace(drawing, notes=(*drawing.notes, f"Shown are the first {len(rows):,} of {total:,} rows."))
    return {
        "id": placed.id,
        "report_id": placed.report_id,
        "report_name": placed.report_name,
        "type": placed.report_type.type,
        "report": placed.report_type.title,
        "title": placed.panel.title,
        "how_to_read": placed.panel.how_to_read,
        "mark": placed.panel.mark,
        "width": placed.panel.width,
        **shown_with_notes(drawing, placed.id, *found.notes, of="dashboard"),
        "tiles": [asdict(tile) for tile in drawing.tiles],
        "columns": [asdict(column) for column in drawing.columns],
        "rows": drawing.rows,
        "reason": _reason(
            placed.panel.when_empty, drawing, found.headers.get(placed.report_id), dimension, report_date
        ),
    }


def _reason(when_empty: str, drawing: Drawing, header: Row | None, dimension: str, report_date: date | None) -> str:
    """Why the panel is empty; empty when it is not."""
    if not drawing.reason:
        return drawing.only_zeros
    if header is None:
        return (
            "No run has written this report yet."
            if report_date is None
            else f"There is no such report of {report_date}."
        )
    if header.get("skipped"):
        return f"Skipped: {header['skipped']}"
    if drawing.rows:
        return drawing.reason
    if header["rows"] and dimension not in header["dimension"]:
        return f"This report is not broken down by {dimension}; choose `all`."
    if when_empty:
        return when_empty
    if not header["rows"] and header.get("warnings"):
        return " ".join(header["warnings"])  # such as a source that it needs
    return "The report has no rows here: nothing of the kind had happened by the report date."
