"""What every analysis has returned is what is read back from Elasticsearch, report type by report type."""

import pytest
from elasticsearch import Elasticsearch

from include.dashboards.dashboard import report_names, reports_of
from include.schemas.reports import ReportType
from tests.published_reports import Published
from tests.read_back import check_read_back

TYPES = [(name, report_type) for name in report_names() for report_type in reports_of(name)]


@pytest.mark.parametrize(("name", "report_type"), TYPES, ids=[f"{name}-{one.type}" for name, one in TYPES])
def test_what_is_read_is_what_the_analysis_has_returned(
    client: Elasticsearch, published: Published, name: str, report_type: ReportType
) -> None:
    check_read_back(client, name, report_type, published.reports[name, report_type.type].rows)
