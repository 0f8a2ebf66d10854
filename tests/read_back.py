"""What is read from Elasticsearch, held against the frames that the analyses have returned."""

from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
from elasticsearch import Elasticsearch

import configs
from include import catalogue
from include.dashboards.dashboard import fields_of, reports_of
from include.elastic.reports import ALL, read_rows
from include.pipeline.analyse import compute, previous_rows, why_skipped
from include.schemas.reports import Field, ReportType
from include.staging.snapshot import load_snapshot

OF_EVERY_ROW = {
    *("report_name", "type", "report_date", "version", "run_id", "written_at"),
    *("is_header", "is_latest", "row"),
}


def check_read_back(client: Elasticsearch, name: str, report_type: ReportType, frame: pd.DataFrame) -> list[str]:
    """The rows of a report are read as they were returned: in their order, all together and of each dimension value.

    What is unknown is left out. Returns the dimension values.
    """
    fields = fields_of(name)
    assert sorted(frame) == sorted(report_type.fields)
    columns = {field: [_told(value, fields[field]) for value in frame[field]] for field in report_type.fields}
    rows = [
        {field: values[place] for field, values in columns.items() if values[place] is not None}
        for place in range(len(frame))
    ]
    of_dimensions = {row["dimension"]: None for row in rows}
    assert ALL not in of_dimensions or next(iter(of_dimensions)) == ALL
    for dimension in (None, *of_dimensions, "region: Atlantis"):
        read = read_rows(client, name, report_type.type, dimension)
        assert all(row.keys() - report_type.fields == OF_EVERY_ROW for row in read)
        told = [
            {field: _told(row[field], fields[field]) for field in report_type.fields if field in row} for row in read
        ]
        assert told == [row for row in rows if dimension in (None, row["dimension"])], (
            name,
            report_type.type,
            dimension,
        )
    return list(of_dimensions)


def check_analyses_of_snapshot(client: Elasticsearch, dimensions: tuple[str, ...]) -> dict[str, set[str]]:
    """The reports of the staged snapshot are what every analysis that has its sources returns for it, computed anew.

    Returns the dimension values by analysis.
    """
    snapshot = load_snapshot()
    assert snapshot is not None
    as_of = snapshot.newest_complete_day()
    assert as_of is not None
    found: dict[str, set[str]] = {}
    for name in [one.name for one in catalogue.analyses() if not why_skipped(one.name, snapshot)]:
        tables = snapshot.analysis_tables(dimensions=dimensions, week_start=configs.WEEK_START)
        reports = compute(name, tables, as_of=as_of, previous=previous_rows(name, as_of))
        for report_type in reports_of(name):
            values = check_read_back(client, name, report_type, reports[report_type.type].rows)
            found.setdefault(name, set()).update(values)
    return found


def _told(value: Any, field: Field) -> Any:
    """A value by its meaning: an instant, a number, a text; None where there is none."""
    if value is None or pd.isna(value):
        return None
    match field.type:
        case "date":
            at = datetime.fromisoformat(value) if isinstance(value, str) else value
            if not isinstance(at, datetime):
                assert isinstance(at, date)
                return datetime(at.year, at.month, at.day, tzinfo=UTC)
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        case "long":
            assert int(value) == value
            return int(value)
        case "double":
            return float(value)
        case "boolean":
            return bool(value)
        case _:
            return str(value)
