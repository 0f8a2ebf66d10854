"""Every declared panel, on the real reports of every analysis in a real Elasticsearch."""

from typing import Any

import pytest
import vl_convert
from elasticsearch import Elasticsearch

import configs
from include import catalogue
from include.dashboards.boards import PlacedPanel, UnknownDimension, fields_of, panels_of, read_dashboard
from include.dashboards.vega import theme
from include.elastic.client import ElasticsearchProblem, connect
from include.elastic.reports import read_rows
from include.schemas.indexes import reports_mapping
from tests.kibana_requests import check_lens, check_vega
from tests.published_reports import AS_OF, EVIL, RUN_ID

PANELS = [(analysis, placed) for analysis in catalogue.analyses() for placed in panels_of(analysis)]
DIMENSIONS = ("all", "region: North", f"region: {EVIL}")
every_panel = pytest.mark.parametrize(("analysis", "placed"), PANELS, ids=[placed.id for _, placed in PANELS])
every_dashboard = pytest.mark.parametrize("analysis", catalogue.analyses(), ids=lambda analysis: analysis.name)


# The shop has no experiment, few use a promotion before others do, and hardly any day or delivery stands out.
MAY_FIND_NOTHING = ("ab_test", "anomaly_detection", "delivery_analytics")


@pytest.fixture(scope="module")
def dashboards(elasticsearch_url: str) -> dict[str, dict[str, Any]]:
    """Each dashboard for `all`, read once."""
    with connect(elasticsearch_url) as client:
        return {analysis.name: read_dashboard(client, analysis) for analysis in catalogue.analyses()}


@every_panel
def test_its_fields_are_declared_and_can_be_charted(analysis: catalogue.Analysis, placed: PlacedPanel) -> None:
    panel = placed.panel
    mapped = reports_mapping({analysis.name: fields_of(analysis)})["properties"]
    named = (panel.x, panel.breakdown, panel.color, *panel.series, *(panel.band or ()), *panel.columns, *panel.where)
    for name in filter(None, named):
        assert name in placed.report_type.fields, name
        assert mapped[name]["type"] in ("keyword", "date", "boolean", "long", "double")
    if panel.mark not in ("table", "metric"):
        for name in panel.series if panel.mark != "heatmap" else (panel.color or panel.series[0],):
            assert mapped[name]["type"] in ("long", "double"), name
    assert panel.how_to_read.endswith(".")
    assert 1 <= panel.width <= 12


@every_panel
def test_it_is_drawn(dashboards: dict[str, dict[str, Any]], analysis: catalogue.Analysis, placed: PlacedPanel) -> None:
    panel = next(panel for panel in dashboards[analysis.name]["panels"] if panel["id"] == placed.id)
    if analysis.name in MAY_FIND_NOTHING and panel["reason"]:
        assert not panel["rows"]
        return
    assert panel["reason"] == ""
    if placed.panel.mark == "metric":
        assert [tile["value"] for tile in panel["tiles"]] != []
    if placed.panel.mark in ("metric", "table"):
        assert panel["spec"] is None
        assert panel["rows"]
        return
    for dark in (False, True):
        spec = {**panel["spec"], "config": theme(dark=dark), "width": 500}
        assert vl_convert.vegalite_to_vega(spec)["marks"]
    assert vl_convert.vegalite_to_png(spec).startswith(b"\x89PNG")


@every_dashboard
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_its_numbers_are_those_of_the_reports(
    client: Elasticsearch, analysis: catalogue.Analysis, dimension: str
) -> None:
    """Read a second way, report by report: the same rows, in the same order, none more."""
    panels = {panel["id"]: panel for panel in read_dashboard(client, analysis, dimension)["panels"]}
    for placed in panels_of(analysis):
        panel, names = placed.panel, placed.report_type.fields
        stored = read_rows(client, analysis.name, placed.report_type.type, dimension, panel.where)
        rows = [{name: row[name] for name in names if name in row} for row in stored]
        if panel.sort == "report":
            assert panels[placed.id]["rows"] == rows[: panel.limit], placed.id
        else:
            assert all(row in rows for row in panels[placed.id]["rows"]), placed.id
        spec = panels[placed.id]["spec"]
        if spec and panel.sort == "report" and panel.limit is None:
            series = (panel.color or panel.series[0],) if panel.mark == "heatmap" else panel.series
            drawn = [row["value"] for row in spec["data"]["values"] if row["value"] is not None]
            expected = [row[name] for row in rows for name in series if row.get(name) is not None]
            assert drawn == expected, placed.id


@every_dashboard
def test_a_dashboard_tells_what_it_shows(client: Elasticsearch, analysis: catalogue.Analysis) -> None:
    found = read_dashboard(client, analysis)
    assert found["dimensions"][0] == "all"
    assert set(DIMENSIONS) <= set(found["dimensions"])
    assert {report["report_date"] for report in found["reports"].values()} == {AS_OF.isoformat()}
    assert {report["run_id"] for report in found["reports"].values()} == {RUN_ID}
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))


@every_dashboard
def test_an_unknown_dimension_value(client: Elasticsearch, analysis: catalogue.Analysis) -> None:
    with pytest.raises(UnknownDimension, match="'region: Atlantis'") as raised:
        read_dashboard(client, analysis, "region: Atlantis")
    assert "region: North" in raised.value.known


@every_dashboard
def test_before_the_first_run(
    client: Elasticsearch, analysis: catalogue.Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "INDEX_PREFIX", "another-")
    found = read_dashboard(client, analysis, "region: North")
    assert not found["has_reports"]
    assert {panel["reason"] for panel in found["panels"]} == {"No run has written this report yet."}


def test_elasticsearch_is_away() -> None:
    with connect("http://127.0.0.1:9") as nobody, pytest.raises(ElasticsearchProblem, match="did not answer"):
        read_dashboard(nobody, catalogue.analyses()[0])


@every_dashboard
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_what_kibana_asks_for_are_the_numbers_of_the_reports(
    client: Elasticsearch, analysis: catalogue.Analysis, dimension: str
) -> None:
    check_lens(client, analysis, dimension)
    check_vega(client, analysis, dimension)
