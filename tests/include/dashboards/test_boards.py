"""Every declared panel, on the real reports of every analysis in a real Elasticsearch."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import vl_convert
from elasticsearch import Elasticsearch

import configs
from include import catalogue
from include.dashboards.boards import UnknownDate, UnknownDimension, in_kibana, list_dashboards, read_dashboard
from include.dashboards.compositions import COMPOSITIONS
from include.dashboards.dashboard import (
    Dashboard,
    PlacedPanel,
    Shown,
    UnknownDashboard,
    dashboard,
    dashboards,
    fields_of,
    placed_panels,
    report_names,
    reports_of,
)
from include.dashboards.kibana import dashboard_id
from include.dashboards.notes import Content, save_note
from include.dashboards.panel import Panel
from include.dashboards.sendable import render
from include.dashboards.vega import theme
from include.elastic.client import ElasticsearchProblem, connect, index_name
from include.elastic.indexes import REPORTS
from include.elastic.reports import publish_reports, read_rows, write_report
from include.schemas.indexes import reports_mapping
from include.schemas.reports import Report
from tests.kibana_requests import check_lens, check_maps, check_sorted, check_vega
from tests.published_reports import AS_OF, EVIL, RUN_ID, WRITTEN_AT, remove_reports

PLACED = [(shown, placed) for shown in dashboards() for placed in placed_panels(shown)]
DIMENSIONS = ("all", "region: North", f"region: {EVIL}")
every_panel = pytest.mark.parametrize(
    ("shown", "placed"), PLACED, ids=[f"{shown.name}:{placed.id}" for shown, placed in PLACED]
)
every_dashboard = pytest.mark.parametrize("shown", dashboards(), ids=lambda shown: shown.name)
every_dashboard_and_dimension = pytest.mark.parametrize(
    ("shown", "dimension"),
    [
        pytest.param(shown, dimension, id=f"{shown.name}-{dimension}")
        for shown in dashboards()
        for dimension in DIMENSIONS
        if dimension == "all" or shown.name != "runs"  # a run has no dimension
    ],
)


FINDS_NOTHING = {
    # The shop assigns nobody to a group.
    *(f"ab_test.experiment.{number}" for number in (1, 2, 3)),
    # It opened in January: four months before May nobody was in a segment yet.
    *(f"ab_test.segment_change.{number}" for number in (5, 6)),
    # Its slow place is slow at any time.
    "delivery_analytics.abnormal_groups.2",
    # It has fewer than ANOMALY_MIN_PER_DAY orders on most days.
    *(f"anomaly_detection.daily_series.{number}" for number in (7, 8)),
}


@pytest.fixture(scope="module")
def read(elasticsearch_url: str) -> dict[str, dict[str, Any]]:
    """Each dashboard for `all`, read once."""
    with connect(elasticsearch_url) as client:
        return {shown.name: read_dashboard(client, shown) for shown in dashboards()}


# ── What is declared ────────────────────────────────────────────────────────────────────────────────────────────────


@every_panel
def test_its_fields_are_declared_and_can_be_charted(shown: Dashboard, placed: PlacedPanel) -> None:
    panel = placed.panel
    mapped = reports_mapping({name: fields_of(name) for name in report_names()})["properties"]
    named = (
        panel.x,
        panel.breakdown,
        panel.color,
        panel.marked,
        *panel.series,
        *(panel.band or ()),
        *(panel.whisker or ()),
        *panel.columns,
        *panel.where,
    )
    for name in filter(None, named):
        assert name in placed.report_type.fields, name
        assert mapped[name]["type"] in ("keyword", "date", "boolean", "long", "double")
    if panel.mark not in ("table", "metric"):
        for name in panel.series if panel.mark != "heatmap" else (panel.color or panel.series[0],):
            assert mapped[name]["type"] in ("long", "double"), name
    assert (panel.location is not None) == (panel.mark == "map")
    if panel.location:
        assert panel.location in placed.report_type.fields
        assert mapped[panel.location]["type"] == "geo_point"
    assert panel.how_to_read.endswith(".")
    assert "`" not in panel.how_to_read  # it is text on the page
    assert 1 <= panel.width <= 12


def test_the_overview_comes_first_and_every_analysis_has_a_dashboard_of_its_own() -> None:
    names = [one["name"] for one in list_dashboards()]
    assert names[0] == "overview"
    assert len(names) == len(set(names))
    assert names[len(COMPOSITIONS) :] == [one.name for one in catalogue.analyses()]
    assert set(report_names()) <= set(names)


def test_every_report_of_the_models_and_of_the_runs_has_panels() -> None:
    names = [one.name for one in catalogue.analyses() if one.group == "machine_learning"]
    names += [one.name for one in catalogue.operations()]
    bare = [f"{name}.{one.type}" for name in names for one in reports_of(name) if not one.panels]
    assert names[-1] == "runs"
    assert bare == []


def test_what_finds_nothing_is_a_panel() -> None:
    assert {placed.id for _, placed in PLACED} >= FINDS_NOTHING


@every_dashboard
def test_titles_and_ids_tell_the_panels_of_a_dashboard_apart(shown: Dashboard) -> None:
    placed = placed_panels(shown)
    for what in ([one.id for one in placed], [one.panel.title for one in placed]):
        assert len(what) == len(set(what))


def test_a_panel_keeps_its_id_where_another_dashboard_shows_it() -> None:
    (daily,) = (one for one in placed_panels(dashboard("overview")) if one.panel.title == "Daily orders")
    (orders,) = (one for one in placed_panels(dashboard("anomaly_detection")) if one.id == daily.id)
    assert (orders.panel.title, daily.panel.width) == ("Orders", 12)
    assert orders.panel.where == daily.panel.where


def test_a_panel_of_a_dashboards_own() -> None:
    own = Panel("Busy hours", "line", "orders_per_day", "Read.", x="hour_of_day")
    shows = (Shown("descriptive_statistics", "hour_of_day"), Shown("descriptive_statistics", "hour_of_day", own))
    ids = [one.id for one in placed_panels(Dashboard("mine", "Mine", "Dashboards", "About.", shows))]
    assert ids[-1] == "mine.descriptive_statistics.hour_of_day.1"
    assert ids[0] == "descriptive_statistics.hour_of_day.1"


@pytest.mark.parametrize(
    ("shows", "said"),
    [
        ((Shown("rfm", "gone"),), "rfm has no report 'gone'"),
        ((Shown("rfm", "segments", "Gone"),), "rfm segments has no panel 'Gone'"),
        ((Shown("rfm"), Shown("rfm", "segments", "Segments")), "shows rfm.segments.3 twice"),
        ((Shown("gone"),), "There is no analysis 'gone'"),
    ],
)
def test_a_wrong_declaration_is_named(shows: tuple[Shown, ...], said: str) -> None:
    with pytest.raises((ValueError, catalogue.CatalogueError), match=said):
        placed_panels(Dashboard("mine", "Mine", "Dashboards", "About.", shows))


def test_an_unknown_dashboard_is_named() -> None:
    with pytest.raises(UnknownDashboard, match="There is no dashboard 'gone'; there are overview, customers, "):
        dashboard("gone")


def test_the_list_of_dashboards_imports_no_analysis() -> None:
    code = (
        "import sys; from include.dashboards.boards import list_dashboards; assert list_dashboards(); "
        "print(*(name for name in sys.modules if name.startswith(('include.analytics.', 'include.ml.', 'pandas'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("url", "space", "address"),
    [
        ("", "team", ""),
        ("https://kibana.example/base/", "", "https://kibana.example/base/app/dashboards#/view/"),
        ("https://kibana.example", "team a", "https://kibana.example/s/team%20a/app/dashboards#/view/"),
    ],
)
def test_each_dashboard_has_its_twin_in_kibana(
    monkeypatch: pytest.MonkeyPatch, url: str, space: str, address: str
) -> None:
    monkeypatch.setattr(configs, "KIBANA_URL", url)
    monkeypatch.setattr(configs, "KIBANA_SPACE", space)
    assert in_kibana(dashboard("overview")) == (address and address + dashboard_id("overview"))


# ── What is read ────────────────────────────────────────────────────────────────────────────────────────────────────


@every_panel
def test_it_is_drawn(read: dict[str, dict[str, Any]], shown: Dashboard, placed: PlacedPanel) -> None:
    panel = next(panel for panel in read[shown.name]["panels"] if panel["id"] == placed.id)
    if placed.id in FINDS_NOTHING:
        assert panel["reason"]
        assert not panel["rows"]
        return
    assert panel["reason"] == ""
    assert panel["rows"]
    if placed.panel.mark == "metric":
        assert [tile["value"] for tile in panel["tiles"]] != []
    if placed.panel.mark in ("metric", "table"):
        assert panel["spec"] is None
        assert panel["rows"]
        return
    if placed.report_name != shown.name and panel["from"]:
        return  # drawn on the dashboard of its analysis
    for dark in (False, True):
        spec = {**panel["spec"], "config": theme(dark=dark), "width": 500}
        assert vl_convert.vegalite_to_vega(spec)["marks"]
    assert vl_convert.vegalite_to_png(spec).startswith(b"\x89PNG")


@every_dashboard_and_dimension
def test_its_numbers_are_those_of_the_reports(client: Elasticsearch, shown: Dashboard, dimension: str) -> None:
    """Read a second way, report by report: the same rows, in the same order, none more."""
    panels = {panel["id"]: panel for panel in read_dashboard(client, shown, dimension)["panels"]}
    for placed in placed_panels(shown):
        panel, names = placed.panel, placed.report_type.fields
        stored = read_rows(client, placed.report_name, placed.report_type.type, dimension, panel.where)
        rows = [{name: row[name] for name in names if name in row} for row in stored]
        shown_rows = panels[placed.id]["rows"]
        if panel.sort == "report":
            assert shown_rows == rows[: panel.limit], placed.id
        else:
            assert all(row in rows for row in shown_rows), placed.id
            check_sorted(shown_rows, rows, panel)
        spec = panels[placed.id]["spec"]
        if spec:
            series = (panel.color or panel.series[0],) if panel.mark == "heatmap" else panel.series
            drawn = [row["value"] for row in spec["data"]["values"] if row["value"] is not None]
            expected = [row[name] for row in shown_rows for name in series if row.get(name) is not None]
            assert drawn == expected, placed.id


@every_dashboard
def test_a_dashboard_tells_what_it_shows(read: dict[str, dict[str, Any]], shown: Dashboard) -> None:
    found = read[shown.name]
    assert found["dimensions"][0] == "all"
    assert set(DIMENSIONS) <= set(found["dimensions"]) or shown.name == "runs"
    assert {report["report_date"] for report in found["reports"].values()} == {AS_OF.isoformat()}
    assert {report["run_id"] for report in found["reports"].values()} == {RUN_ID}
    assert (found["date"], found["dates"]) == (None, [AS_OF.isoformat()])
    for panel in found["panels"]:
        assert panel["report_id"] in found["reports"]
        comes_from = panel["from"]["name"] if panel["from"] else shown.name
        assert comes_from == panel["report_name"]


def test_what_a_report_has_not_is_told_beside_what_others_have(client: Elasticsearch) -> None:
    """Data quality has runs, which have no dimension, beside sources, which do."""
    panels = read_dashboard(client, dashboard("data_quality"), "region: North")["panels"]
    reasons = {panel["report_name"]: panel["reason"] for panel in panels}
    assert reasons == {"source_health": "", "runs": "This report is not broken down by region: North; choose `all`."}


def test_a_report_without_rows_is_empty_for_the_reason_that_it_tells(read: dict[str, dict[str, Any]]) -> None:
    reasons = {panel["id"]: panel["reason"] for panel in read["ab_test"]["panels"]}
    said = "Skipped: AB_TEST_GROUP_COLUMN names no column that assigns customers to groups."
    assert reasons["ab_test.experiment.1"] == f"There is nothing to report up to {AS_OF}. {said}"
    assert reasons["ab_test.promotion.1"] == ""


@every_dashboard
def test_an_unknown_dimension_value(client: Elasticsearch, shown: Dashboard) -> None:
    with pytest.raises(UnknownDimension, match="'region: Atlantis'") as raised:
        read_dashboard(client, shown, "region: Atlantis")
    assert "region: North" in raised.value.dimensions or shown.name == "runs"


@every_dashboard
def test_before_the_first_run(client: Elasticsearch, shown: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "INDEX_PREFIX", "another-")
    found = read_dashboard(client, shown, "region: North")
    assert not found["has_reports"]
    assert {panel["reason"] for panel in found["panels"]} == {"No run has written this report yet."}


def test_elasticsearch_is_away() -> None:
    with connect("http://127.0.0.1:9") as nobody, pytest.raises(ElasticsearchProblem, match="did not answer"):
        read_dashboard(nobody, dashboard("overview"))


@every_dashboard_and_dimension
def test_what_kibana_asks_for_are_the_numbers_of_the_reports(
    client: Elasticsearch, shown: Dashboard, dimension: str
) -> None:
    check_lens(client, shown, dimension)
    check_vega(client, shown, dimension)
    check_maps(client, shown, dimension)


def test_kibanas_maps_find_places(client: Elasticsearch) -> None:
    """Else nothing above would be compared."""
    points = check_maps(client, dashboard("delivery_analytics"), "all")
    assert points["delivery_analytics.places.1"] > 1


# ── Earlier dates ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_reports_of_an_earlier_date(client: Elasticsearch) -> None:
    """Two earlier dates, of one of which a killed run left rows that no header tells of."""
    early, earlier = AS_OF - timedelta(days=7), AS_OF - timedelta(days=14)
    (report_type,) = (one for one in catalogue.analysis("rfm").module.REPORTS if one.type == "cut_points")
    fields = fields_of("rfm")

    def write(day: date, cut_point: float) -> None:
        values = {"dimension": "all", "measure": "recency", "cut_number": 1, "cut_point": cut_point, "n": 10}
        write_report(
            client, "rfm", report_type, Report(pd.DataFrame([values])), report_date=day, run_id=f"run of {day}",
            written_at=WRITTEN_AT, parameters={}, fields=fields,
        )  # fmt: skip

    try:
        write(early, 5.0)
        write(earlier, 3.0)
        left = {"report_name": "rfm", "type": "cut_points", "report_date": early.isoformat(), "version": "unfinished",
                "dimension": "all", "cut_point": 99.0, "row": 0, "is_header": False, "is_latest": False}  # fmt: skip
        client.index(index=index_name(REPORTS), id="left", document=left, routing="rfm")
        publish_reports(client)
        shown = dashboard("rfm")
        found = read_dashboard(client, shown, report_date=early)
        dates = [AS_OF.isoformat(), early.isoformat(), earlier.isoformat()]
        assert (found["date"], found["dates"]) == (early.isoformat(), dates)
        panels = {panel["id"]: panel for panel in found["panels"]}
        assert [row["cut_point"] for row in panels["rfm.cut_points.1"]["rows"]] == [5.0]
        assert {report["run_id"] for report in found["reports"].values()} == {f"run of {early}"}
        assert panels["rfm.segments.1"]["reason"] == f"There is no such report of {early}."
        assert [
            row["cut_point"] for row in read_dashboard(client, shown, report_date=earlier)["panels"][3]["rows"]
        ] == [3.0]
        latest = read_dashboard(client, shown)
        assert {report["report_date"] for report in latest["reports"].values()} == {AS_OF.isoformat()}
        assert read_dashboard(client, shown, report_date=AS_OF)["panels"] == latest["panels"]
        with pytest.raises(UnknownDate, match="RFM has no reports of 2020-01-01") as raised:
            read_dashboard(client, shown, report_date=date(2020, 1, 1))
        assert raised.value.dates == dates
        with pytest.raises(UnknownDimension, match=f"The reports of {early} of RFM have no dimension value"):
            read_dashboard(client, shown, "region: North", early)
    finally:
        for day in (early, earlier):
            remove_reports(client, day)


@pytest.mark.usefixtures("no_notes")
def test_a_chart_of_zeros_only_says_so_and_keeps_its_table_and_its_notes(client: Elasticsearch) -> None:
    """Two days without a row of any source: one panel with a sentence of its own, and one without."""
    early = AS_OF - timedelta(days=7)
    types = {one.type: one for one in catalogue.analysis("source_health").module.REPORTS}
    shared = {"dimension": "all", "source": "sessions", "source_kind": "sessions"}
    days = [
        {
            **shared,
            "period": date(2024, 5, day),
            "source_rows": 0,
            "expected_rows": 3.0,
            "deviation": 1.0,
            "distance": 1.0,
        }
        for day in (20, 21)
    ]
    rows = {"days": days, "sources": [{**shared, "days_since_newest": 0, "unusual_days": 2}]}
    note = Content("source_health.days.1", "all", "2024-05-20", "The shop was closed")
    try:
        for name, found in rows.items():
            write_report(
                client, "source_health", types[name], Report(pd.DataFrame(found, columns=types[name].fields)),
                report_date=early, run_id="early", written_at=WRITTEN_AT, parameters={},
                fields=fields_of("source_health"),
            )  # fmt: skip
        publish_reports(client)
        save_note(client, "note-0001", note, author="ada", now=datetime(2024, 5, 30, tzinfo=UTC))
        read = read_dashboard(client, dashboard("source_health"), report_date=early)
    finally:
        remove_reports(client, early)
    panels = {one["title"]: one for one in read["panels"]}
    shown = panels["Rows per day"]
    assert shown["reason"] == "Everything here is zero: 2 days from 2024-05-20 to 2024-05-21."
    assert (shown["spec"], len(shown["rows"])) == (None, 2)
    assert [one["text"] for one in shown["pinned"]] == [note.text]
    assert panels["Days since the newest row"]["reason"] == "Every source that has rows has some of the report date."
    assert (panels["Unusual days lately"]["reason"], panels["Unlike other days"]["reason"]) == ("", "")
    html = render([read], bytes_at_most=1_000_000).html
    assert f'<p class="empty">{shown["reason"]}</p>' in html
    assert "The shop was closed" in html
