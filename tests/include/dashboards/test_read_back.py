"""What every analysis has returned is what is read back from Elasticsearch, report type by report type."""

from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pytest
from elasticsearch import Elasticsearch

from include.dashboards.dashboard import fields_of, report_names, reports_of
from include.elastic.reports import ALL, read_rows
from include.schemas.reports import Field, ReportType
from tests.published_reports import Published

TYPES = [(name, report_type) for name in report_names() for report_type in reports_of(name)]
OF_EVERY_ROW = {
    *("report_name", "type", "report_date", "version", "run_id", "written_at"),
    *("is_header", "is_latest", "row"),
}


@pytest.mark.parametrize(("name", "report_type"), TYPES, ids=[f"{name}-{one.type}" for name, one in TYPES])
def test_what_is_read_is_what_the_analysis_has_returned(
    client: Elasticsearch, published: Published, name: str, report_type: ReportType
) -> None:
    """In its order, of all dimension values together and of each; what is unknown is left out."""
    frame, fields = published.reports[name, report_type.type].rows, fields_of(name)
    assert sorted(frame) == sorted(report_type.fields)
    columns = {field: [_told(value, fields[field]) for value in frame[field]] for field in report_type.fields}
    rows = [
        {field: values[place] for field, values in columns.items() if values[place] is not None}
        for place in range(len(frame))
    ]
    of_dimensions = {row["dimension"]: None for row in rows}
    assert next(iter(of_dimensions), ALL) == ALL
    for dimension in (None, *of_dimensions, "region: Atlantis"):
        read = read_rows(client, name, report_type.type, dimension)
        assert all(row.keys() - report_type.fields == OF_EVERY_ROW for row in read)
        told = [
            {field: _told(row[field], fields[field]) for field in report_type.fields if field in row} for row in read
        ]
        assert told == [row for row in rows if dimension in (None, row["dimension"])], dimension


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
