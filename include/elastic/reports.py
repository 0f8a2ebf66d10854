"""The report writer: rows and a header per report, replaced so that a reader never sees half of one, nor two.

    report frame  ->  documents of `reports`, read through the alias `reports-latest`

A report is written in two steps. First its rows, with `is_latest: false`. Then one bulk request gives the new rows
`is_latest: true`, takes it from the rows of the report before (or deletes them, where they are of the same date), and
writes the header last: a header tells that all of its version is there. The documents of an analysis are on one shard
by routing, and the index is refreshed by `publish_reports` alone, so all reports of a run appear at one moment.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from numbers import Integral
from typing import TYPE_CHECKING, Any

import orjson
from elasticsearch import Elasticsearch, NotFoundError

import configs
from include.elastic.bulk import bulk_write
from include.elastic.client import index_name, plainly
from include.elastic.indexes import REPORTS, REPORTS_LATEST
from include.schemas.reports import SHARED_FIELDS, Field, Report, ReportType

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"
# The second step is one request up to here, about 50,000 rows: in the node's memory it takes three times that, and a
# node refuses what is larger than a tenth of its heap. A longer report takes several requests, one after the other.
# Readers see no difference, as only `publish_reports` refreshes; but should Elasticsearch itself be killed between
# them, they see a part of each version until the task is tried again or `recover_reports` is called.
STEP_BYTES = 8_000_000
KEEP_OPEN = "1m"
MOST_VALUES = 1_000  # of a field of names
JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS

Row = dict[str, Any]


@dataclass(frozen=True)
class WrittenReport:
    """One written report: `is_latest` is False where a report of a later date is there already."""

    report_name: str
    type: str
    rows: int
    version: str
    is_latest: bool


@dataclass(frozen=True)
class _Stored:
    """A report as its header tells: enough to name all of its documents."""

    report_date: str
    version: str
    rows: int


def write_report(
    client: Elasticsearch,
    analysis_name: str,
    report_type: ReportType,
    report: Report,
    *,
    report_date: date,
    run_id: str,
    written_at: datetime,
    parameters: Mapping[str, Any],
    fields: Mapping[str, Field] | None = None,
) -> WrittenReport:
    """Write one report; it is seen after `publish_reports`. Writing the same report again changes nothing but `run_id`.

    `fields` are the analysis's own FIELDS: with the shared ones they say which numbers are whole.
    """
    rows = json_rows(report_type, report.rows, {**SHARED_FIELDS, **(fields or {})}, analysis_name)
    content: Row = {
        "title": report_type.title,
        "kpis": {name: _number(value) for name, value in report.kpis.items() if not _is_missing(value)},
        "definition": report.definition,
        "warnings": report.warnings,
        "parameters": dict(parameters),
    }
    return _write(client, analysis_name, report_type.type, rows, content, report_date, run_id, written_at)


def write_skipped(
    client: Elasticsearch,
    analysis_name: str,
    report_type: ReportType,
    *,
    reason: str,
    report_date: date,
    run_id: str,
    written_at: datetime,
    parameters: Mapping[str, Any],
) -> WrittenReport:
    """Write the header of a report that could not be made, with the reason."""
    content: Row = {"title": report_type.title, "skipped": reason, "parameters": dict(parameters)}
    return _write(client, analysis_name, report_type.type, [], content, report_date, run_id, written_at)


def publish_reports(client: Elasticsearch) -> None:
    """Make everything written so far visible, all at once."""
    index = index_name(REPORTS)
    with plainly(client, f"refreshing `{index}`"):
        client.indices.refresh(index=index)


def latest_header(client: Elasticsearch, analysis_name: str, report_type: str) -> Row | None:
    """The header of the latest report, None where there is none."""
    with plainly(client, "reading the header of a report"):
        found = client.search(
            index=index_name(REPORTS_LATEST),
            routing=analysis_name,
            query=_all_of(report_name=analysis_name, type=report_type, is_header=True),
            size=1,
        )["hits"]["hits"]
    return dict(found[0]["_source"]) if found else None


def read_rows(
    client: Elasticsearch,
    analysis_name: str,
    report_type: str,
    dimension: str | None = None,
    where: Mapping[str, str | int | bool] | None = None,
) -> list[Row]:
    """The rows of the latest report in its own order; only those of `dimension`, and with the values in `where`."""
    wanted: Row = {"report_name": analysis_name, "type": report_type, "is_header": False, **(where or {})}
    if dimension is not None:
        wanted["dimension"] = dimension
    with plainly(client, "reading a report"):
        hits = _search_all(client, REPORTS_LATEST, _all_of(**wanted), routing=analysis_name, sort="row")
        return [hit["_source"] for hit in hits]


def values_in_reports(client: Elasticsearch, fields: Sequence[str]) -> dict[str, list[str]]:
    """The values that each of these keyword fields has in the latest reports; fields without any are left out."""
    with plainly(client, "reading the names in the reports"):
        answer = client.search(
            index=index_name(REPORTS_LATEST),
            aggregations={name: {"terms": {"field": name, "size": MOST_VALUES}} for name in fields},
            size=0,
            ignore_unavailable=True,
        )
    found = {
        name: [str(bucket["key"]) for bucket in one["buckets"]] for name, one in answer.get("aggregations", {}).items()
    }
    return {name: values for name, values in found.items() if values}


def rows_before(client: Elasticsearch, analysis_name: str, report_type: str, day: date) -> list[Row]:
    """The rows of the report of the latest date before `day`, in its own order; none where there is no such report."""
    wanted: Row = {"report_name": analysis_name, "type": report_type}
    headers = _all_of(**wanted, is_header=True)
    headers["bool"]["filter"].append({"range": {"report_date": {"lt": day.isoformat()}}})
    with plainly(client, "reading the report before"):
        found = client.search(
            index=index_name(REPORTS),
            routing=analysis_name,
            query=headers,
            sort=[{"report_date": "desc"}],
            source_includes=["report_date", "version"],
            size=1,
        )["hits"]["hits"]
        if not found:
            return []
        version = found[0]["_source"]
        query = _all_of(**wanted, is_header=False, report_date=version["report_date"], version=version["version"])
        hits = _search_all(client, REPORTS, query, routing=analysis_name, sort="row")
        return [hit["_source"] for hit in hits]


def recover_reports(client: Elasticsearch) -> int:
    """Put right what a crash left half done, and make it visible; how many reports needed it.

    Rows without their header (a report that was not finished) are deleted, and of each report exactly one version is
    the latest. Not to be called while reports are being written.
    """
    publish_reports(client)
    healed = 0
    with plainly(client, "looking for unfinished reports"):
        by_report: dict[tuple[str, str], list[Row]] = {}
        for version in _versions(client):
            by_report.setdefault((version["report_name"], version["type"]), []).append(version)
        for (name, report_type), versions in by_report.items():
            finished = [version for version in versions if version["headers"]]
            newest = max((version["report_date"] for version in finished), default=None)
            operations: list[bytes] = []
            for version in versions:
                is_latest = bool(version["headers"]) and version["report_date"] == newest
                if version["headers"] and version["latest"] == (version["documents"] if is_latest else 0):
                    continue
                ids = _ids_of_version(client, name, report_type, version)
                change = {"is_latest": is_latest} if version["headers"] else None
                operations += [_delete(id_) if change is None else _update(id_, change) for id_ in ids]
            if operations:
                healed += 1
                _in_order(client, name, operations)
    if healed:
        publish_reports(client)
    return healed


def json_rows(
    report_type: ReportType, frame: pd.DataFrame, fields: Mapping[str, Field], analysis_name: str
) -> list[Row]:
    """The rows of a report as JSON-able dicts, missing values left out.

    Raises ValueError where the frame is not what the report type declares: that is a mistake in the analysis.
    """
    place = f"{analysis_name}: the report `{report_type.type}`"
    found = [str(column) for column in frame]
    missing = [name for name in report_type.fields if name not in found]
    extra = [name for name in found if name not in report_type.fields]
    if missing or extra or len(set(found)) != len(found):
        raise ValueError(f"{place} lacks the fields {missing} and has the undeclared or repeated fields {extra}")
    undeclared = [name for name in found if name not in fields]
    if undeclared:
        raise ValueError(f"{place} has fields that neither SHARED_FIELDS nor FIELDS describes: {undeclared}")
    if report_type.key and bool(frame.duplicated(list(report_type.key)).any()):
        raise ValueError(f"{place} has several rows with the same {', '.join(report_type.key)}")
    values = {name: _column(frame[name], fields[name], f"{place}, field `{name}`") for name in report_type.fields}
    return [
        {name: column[row] for name, column in values.items() if column[row] is not None} for row in range(len(frame))
    ]


def _column(column: pd.Series[Any], field: Field, place: str) -> list[Any]:
    missing = column.isna().to_numpy(dtype=bool)
    return [
        None if gone else _value(value, field, place)
        for value, gone in zip(column.astype(object), missing, strict=True)
    ]


def _value(value: Any, field: Field, place: str) -> Any:
    try:
        match field.type:
            case "long":
                if int(value) != value:
                    raise ValueError("is not whole")
                return int(value)
            case "double":
                return _number(value)
            case "boolean":
                if value not in (True, False):
                    raise ValueError("is neither true nor false")
                return bool(value)
            case "date":
                return _date(value)
            case _:
                return str(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{place}: {value!r} {error}") from None


def _number(value: Any) -> float | int:
    if isinstance(value, Integral):
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("is not a finite number")
    return number


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # NaN, NaT


def _date(value: Any) -> str:
    if isinstance(value, datetime):  # a pandas Timestamp is one; without a zone it is UTC
        if value.time() == time.min and value.tzinfo is None:
            return value.date().isoformat()
        return value.isoformat() + ("" if value.tzinfo else "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise ValueError("is not a date")


def _write(
    client: Elasticsearch,
    name: str,
    report_type: str,
    rows: list[Row],
    content: Row,
    report_date: date,
    run_id: str,
    written_at: datetime,
) -> WrittenReport:
    day = report_date.isoformat()
    version = hashlib.sha256(_canonical({"rows": rows, **content})).hexdigest()[:12]
    common = {"report_name": name, "type": report_type, "report_date": day, "version": version, "run_id": run_id}
    common["written_at"] = written_at.isoformat(timespec="seconds")
    new = _Stored(day, version, len(rows))
    with plainly(client, f"writing the report `{name}` {report_type}"):
        same_date = _stored(client, name, report_type, day)
        others = [stored for stored in _stored_latest(client, name, report_type) if stored.report_date != day]
        is_latest = all(stored.report_date < day for stored in others)
        if same_date is None or same_date["version"] != version:
            marks = {**common, "is_header": False, "is_latest": False}
            documents = (
                _index(_row_id(name, report_type, new, row), {**values, **marks, "row": row})
                for row, values in enumerate(rows)
            )
            bulk_write(client, documents, index=index_name(REPORTS), routing=name)
        else:
            common["written_at"] = same_date["written_at"]
        change = {"is_latest": is_latest, "run_id": run_id}
        operations = [_update(id_, change) for id_ in _row_ids(name, report_type, new)]
        if is_latest:
            for stored in others:
                ids = (*_row_ids(name, report_type, stored), _header_id(name, report_type, stored.report_date))
                operations += [_update(id_, {"is_latest": False}) for id_ in ids]
        if same_date is not None and same_date["version"] != version:
            replaced = _Stored(day, same_date["version"], same_date["rows"])
            operations += [_delete(id_) for id_ in _row_ids(name, report_type, replaced)]
        dimensions = dict.fromkeys([ALL, *(row["dimension"] for row in rows if "dimension" in row)])
        header = {
            **content,
            **common,
            "dimension": list(dimensions),
            "rows": len(rows),
            "is_header": True,
            "is_latest": is_latest,
        }
        operations.append(_index(_header_id(name, report_type, day), header))
        _in_order(client, name, operations)
    return WrittenReport(name, report_type, len(rows), version, is_latest)


def _in_order(client: Elasticsearch, name: str, operations: list[bytes]) -> None:
    bulk_write(client, operations, index=index_name(REPORTS), routing=name, request_bytes=STEP_BYTES, in_flight=1)


def _stored(client: Elasticsearch, name: str, report_type: str, day: str) -> Row | None:
    """The header of a report of a date. A GET by id sees what no search sees yet."""
    try:
        found = client.get(index=index_name(REPORTS), id=_header_id(name, report_type, day), routing=name)
    except NotFoundError as error:
        if isinstance(error.body, dict) and "error" in error.body:  # no such index
            raise
        return None
    return dict(found["_source"])


def _stored_latest(client: Elasticsearch, name: str, report_type: str) -> list[_Stored]:
    """The reports that a reader sees as the latest: one, or none."""
    found = client.search(
        index=index_name(REPORTS),
        routing=name,
        query=_all_of(report_name=name, type=report_type, is_header=True, is_latest=True),
        source={"includes": ["report_date", "version", "rows"]},
        size=100,
    )["hits"]["hits"]
    return [_Stored(**hit["_source"]) for hit in found]


def _versions(client: Elasticsearch) -> Iterator[Row]:
    """Every version of every report: how many documents it has, how many are headers, how many say they are latest."""
    day = {"date_histogram": {"field": "report_date", "calendar_interval": "day", "format": "yyyy-MM-dd"}}
    sources: list[Row] = [
        *({name: {"terms": {"field": name}}} for name in ("report_name", "type", "version")),
        {"report_date": day},
    ]
    after: Row = {}
    while True:
        found = client.search(
            index=index_name(REPORTS),
            size=0,
            aggs={
                "versions": {
                    "composite": {"size": 1_000, "sources": sources, **({"after": after} if after else {})},
                    "aggs": {
                        "headers": {"filter": {"term": {"is_header": True}}},
                        "latest": {"filter": {"term": {"is_latest": True}}},
                    },
                }
            },
        )["aggregations"]["versions"]
        for bucket in found["buckets"]:
            counts = {name: bucket[name]["doc_count"] for name in ("headers", "latest")}
            yield {**bucket["key"], **counts, "documents": bucket["doc_count"]}
        if "after_key" not in found:
            return
        after = found["after_key"]


def _ids_of_version(client: Elasticsearch, name: str, report_type: str, version: Row) -> list[str]:
    wanted = {"report_date": version["report_date"], "version": version["version"]}
    query = _all_of(report_name=name, type=report_type, **wanted)
    return [hit["_id"] for hit in _search_all(client, REPORTS, query, routing=name, sort="row", source=False)]


def _search_all(
    client: Elasticsearch, index: str, query: Row, *, routing: str, sort: str, source: bool = True
) -> Iterator[Row]:
    """Every hit of one state of the index, sorted."""
    opened = client.open_point_in_time(index=index_name(index), routing=routing, keep_alive=KEEP_OPEN)["id"]
    size = min(configs.MAX_RESULT_WINDOW, 10_000)
    after: list[Any] | None = None
    try:
        while True:
            hits = client.search(
                pit={"id": opened, "keep_alive": KEEP_OPEN},
                query=query,
                size=size,
                sort=[{sort: {"order": "asc", "missing": "_last"}}],
                source=source,
                search_after=after,
                track_total_hits=False,
            )["hits"]["hits"]
            yield from hits
            if len(hits) < size:
                return
            after = hits[-1]["sort"]
    finally:
        client.close_point_in_time(id=opened)


def _all_of(**wanted: Any) -> Row:
    return {"bool": {"filter": [{"term": {name: value}} for name, value in wanted.items()]}}


def _row_ids(name: str, report_type: str, stored: _Stored) -> Iterable[str]:
    return (_row_id(name, report_type, stored, row) for row in range(stored.rows))


def _row_id(name: str, report_type: str, stored: _Stored, row: int) -> str:
    return f"{name}:{report_type}:{stored.report_date}:{stored.version}:{row}"


def _header_id(name: str, report_type: str, day: str) -> str:
    # Without the version: a report has one header per date, found by id before any search can see it.
    return f"{name}:{report_type}:{day}:header"


def _index(id_: str, document: Row) -> bytes:
    return orjson.dumps({"index": {"_id": id_}}) + b"\n" + _json(document) + b"\n"


def _update(id_: str, change: Row) -> bytes:
    return orjson.dumps({"update": {"_id": id_}}) + b"\n" + orjson.dumps({"doc": change}) + b"\n"


def _delete(id_: str) -> bytes:
    return orjson.dumps({"delete": {"_id": id_}}) + b"\n"


def _json(value: object) -> bytes:
    return orjson.dumps(value, default=_readable, option=JSON_OPTIONS)


def _canonical(value: object) -> bytes:
    return orjson.dumps(value, default=_readable, option=JSON_OPTIONS | orjson.OPT_SORT_KEYS)


def _readable(value: Any) -> object:
    """What a definition or a parameter may hold beside plain JSON."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
