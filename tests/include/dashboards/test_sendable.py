"""The report that is sent: one file that holds what the dashboards show, and nothing that runs or is fetched."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from elasticsearch import Elasticsearch

import configs
from include import catalogue
from include.dashboards.annotations import COLOR
from include.dashboards.boards import read_dashboard
from include.dashboards.dashboard import dashboard
from include.dashboards.notes import EVERY, Content, save_note
from include.dashboards.sendable import (
    ROWS_SHOWN,
    NothingToSend,
    Report,
    in_column,
    mail_text,
    read_and_render,
    render,
    written,
)
from include.elastic.client import connect
from include.problem import Problem
from tests.published_reports import AS_OF, EVIL, RUN_ID

MAY_EXECUTE = {"script", "iframe", "object", "embed", "link", "base", "form", "foreignobject", "video", "audio"}
REFERENCES = {"src", "href", "xlink:href", "action", "background", "poster", "srcset", "data"}
BYTES = 8_000_000
ANALYSES = [one.name for one in catalogue.analyses()]


class Read(HTMLParser):
    """Tags and attributes of a page, its texts by element, and the rows of its tables by the id of their panel."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.titles: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.labels: list[str] = []
        self._panel, self._cell, self._title = "", False, False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append((tag, told))
        if tag == "article":
            self._panel = told["id"] or ""
        elif tag == "tbody":
            self.tables[self._panel] = []
        elif tag == "tr" and self._panel in self.tables:
            self.tables[self._panel].append([])
        elif tag == "td":
            self.tables[self._panel][-1].append("")
            self._cell = True
        elif tag == "h3":
            self.titles.append("")
            self._title = True
        if tag in ("svg", "img"):
            self.labels.append(told.get("aria-label") or told.get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._cell = False
        elif tag == "h3":
            self._title = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.tables[self._panel][-1][-1] += data
        elif self._title:
            self.titles[-1] += data


@pytest.fixture(scope="module")
def dashboards(elasticsearch_url: str) -> list[dict[str, Any]]:
    with connect(elasticsearch_url) as client:
        return [read_dashboard(client, dashboard(name)) for name in ("overview", *ANALYSES)]


@pytest.fixture(scope="module")
def report(elasticsearch_url: str) -> Report:
    with connect(elasticsearch_url) as client:
        return read_and_render(client, (), "all", bytes_at_most=BYTES)


@pytest.fixture(scope="module")
def page(report: Report) -> Read:
    return Read(report.html)


def test_it_holds_every_panel_and_the_numbers_of_its_rows(
    report: Report, page: Read, dashboards: list[dict[str, Any]]
) -> None:
    shown = [one for one in dashboards if one["title"] in report.dashboards]
    panels = [{**panel, "place": f"{one['name']}.{panel['id']}"} for one in shown for panel in one["panels"]]
    assert len(shown) >= 10
    for panel in panels:
        assert panel["title"] in page.titles
        if panel["reason"] or panel["tiles"]:
            assert panel["place"] not in page.tables
            continue
        expected = [
            [in_column(row.get(column["name"]), column) for column in panel["columns"]]
            for row in panel["rows"][:ROWS_SHOWN]
        ]
        assert page.tables[panel["place"]] == expected, panel["place"]
        if len(panel["rows"]) > ROWS_SHOWN:
            assert f"The first {ROWS_SHOWN} of {len(panel['rows']):,} rows." in report.html
    charts = [panel for panel in panels if panel["spec"] and not panel["reason"]]
    assert page.labels == [f"Chart: {panel['title']}. {panel['how_to_read']}" for panel in charts]


def test_nothing_runs_and_nothing_is_fetched(page: Read, report: Report) -> None:
    ids = [told["id"] for _, told in page.tags if told.get("id")]
    assert len(ids) == len(set(ids))
    for tag, told in page.tags:
        assert tag not in MAY_EXECUTE
        assert not [name for name in told if name.startswith("on")]
        for name in REFERENCES & set(told):
            value = told[name] or ""
            assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value[:80])
            if value.startswith("#") and len(value) > 1:
                assert value[1:] in ids
    style = report.html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "<script" not in report.html
    assert "xmlns" not in report.html


def test_names_from_the_data_are_text(elasticsearch_url: str) -> None:
    """As a dimension value, as a product in tables, and as a label within a drawn chart."""
    with connect(elasticsearch_url) as client:
        report = read_and_render(
            client, ("product_analytics", "promotion_analytics"), f"region: {EVIL}", bytes_at_most=BYTES
        )
    assert EVIL not in report.html
    assert "&lt;img src=x onerror=window.hacked=1&gt;" in report.html
    drawn = report.html.partition("<svg")[2].partition("</main>")[0]
    assert any("&lt;img" in svg.partition("</svg>")[0] for svg in drawn.split("<svg"))
    page = Read(report.html)
    assert not [told for tag, told in page.tags if told.get("src") == "x" or "onerror" in told]
    assert any(EVIL in cell for rows in page.tables.values() for row in rows for cell in row)


def test_it_tells_date_run_contents_and_definitions(
    report: Report, page: Read, dashboards: list[dict[str, Any]]
) -> None:
    assert report.report_dates == (AS_OF.isoformat(),)
    assert f"As of {AS_OF}" in " ".join(report.html.split())
    assert RUN_ID in report.html
    links = [told["href"] for tag, told in page.tags if tag == "a" and told["href"] != "#"]
    assert links == [f"#{one['name']}" for one in dashboards if one["title"] in report.dashboards]
    assert "How this is computed" in report.html
    for one in dashboards:
        for stored in one["reports"].values():
            for name in stored.get("parameters") or {}:
                assert f"<dt>{name.replace('_', ' ')}</dt>" in report.html


def test_the_same_reports_are_the_same_bytes(client: Elasticsearch, report: Report) -> None:
    names = ("descriptive_statistics", "cohorts")
    again = [read_and_render(client, names, "all", bytes_at_most=BYTES).html for _ in range(2)]
    assert again[0] == again[1]
    whole = report.html.partition('<section class="dashboard" id="cohorts">')[2].partition("</section>")[0]
    assert whole
    assert whole in again[0]  # whatever was drawn before it


@pytest.mark.usefixtures("no_notes")
def test_notes_are_on_their_charts_and_below_them(client: Elasticsearch) -> None:
    weekly = "descriptive_statistics.activity.2"
    contents = (
        Content(weekly, "all", "2024-05-14", f"Spot {EVIL}"),
        Content(EVERY, EVERY, "2024-05-21", "New prices"),
        Content(weekly, "region: North", "2024-05-21", "Only in the north"),
        Content(weekly, "all", "2030-01-01", "Later than the chart"),
    )
    for number, content in enumerate(contents):
        save_note(client, f"note-000{number}", content, author="ada", now=datetime(2024, 5, 30, tzinfo=UTC))
    html = read_and_render(client, ("descriptive_statistics",), "all", bytes_at_most=BYTES).html
    assert EVIL not in html

    def article(panel: str) -> str:
        return html.partition(f'id="descriptive_statistics.{panel}">')[2].partition("</article>")[0]

    def told(panel: str) -> list[str]:
        """Each note in the list, as it reads."""
        listed = article(panel).partition('<ol class="pinned"')[2].partition("</ol>")[0].split("<li>")[1:]
        return ["".join(part.partition(">")[2] for part in f">{one}".split("<")).strip() for one in listed]

    def marks(panel: str) -> list[str]:
        """The numbers in the markers: white, on a circle each."""
        drawn = article(panel).partition("<svg")[2].partition("</svg>")[0]
        assert drawn.count(f'fill="{COLOR}"') == drawn.count(f'stroke="{COLOR}"')  # a circle and a line each
        return [part.partition("</text>")[0].rpartition(">")[2] for part in drawn.split("<text") if "#ffffff" in part]

    every = "2024-05-21 New prices (ada, on every chart over days)"
    escaped = EVIL.replace("<", "&lt;").replace(">", "&gt;")
    assert told(weekly) == [f"2024-05-14 Spot {escaped} (ada)", every, "2030-01-01 Later than the chart (ada)"]
    assert marks(weekly) == ["1", "2"]
    assert (told("descriptive_statistics.activity.1"), marks("descriptive_statistics.activity.1")) == ([every], ["1"])
    assert told("descriptive_statistics.hour_of_day.1") == []  # hours are no days
    north = read_and_render(client, ("descriptive_statistics",), "region: North", bytes_at_most=BYTES).html
    assert "Only in the north</span> <small>(ada, region: North)" in north
    assert "Only in the north" not in html


def test_its_size_is_bounded_and_what_is_left_out_is_said(report: Report, dashboards: list[dict[str, Any]]) -> None:
    assert len(report.html.encode()) < 5_000_000
    small = render(dashboards[:4], bytes_at_most=400_000)
    assert len(small.html.encode()) <= 400_000
    assert 0 < len(small.dashboards) < 4
    said = [one for one in small.left_out if one.endswith("the report would be larger than 0.4 MB.")]
    assert len(said) == len(small.left_out) == 4 - len(small.dashboards)
    assert all(one in small.html for one in said)


def test_a_chart_of_very_many_points_is_an_image(
    dashboards: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.dashboards.sendable.SVG_CHARACTERS_AT_MOST", 1_000)
    rendered = render(dashboards[:1], bytes_at_most=BYTES)
    assert "<svg" not in rendered.html
    page = Read(rendered.html)
    assert [label for label in page.labels if label.startswith("Chart: ")] == page.labels != []


def test_empty_dashboards_are_named_with_the_reason(
    client: Elasticsearch, dashboards: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = {**dashboards[0], "panels": [{**dashboards[0]["panels"][0], "reason": "Skipped: there are no <products>."}]}
    rendered = render([empty], bytes_at_most=BYTES)
    assert rendered.left_out == (f"{empty['title']}: Skipped: there are no <products>.",)
    assert "Skipped: there are no &lt;products&gt;." in rendered.html
    asked_for = render([empty], bytes_at_most=BYTES, keeps_empty=True)
    assert asked_for.dashboards == (empty["title"],)
    assert '<p class="empty">Skipped: there are no &lt;products&gt;.</p>' in asked_for.html
    monkeypatch.setattr(configs, "INDEX_PREFIX", "another-")
    with pytest.raises(NothingToSend, match="There is no report to send: no run has written"):
        read_and_render(client, (), "all", bytes_at_most=BYTES)


@pytest.mark.parametrize(
    ("names", "dimension", "said"),
    [
        (("rfm", "nonsense"), "all", "REPORT_DASHBOARDS names nonsense, which are no dashboards; there are .*rfm"),
        (("rfm",), "region: Atlantis", "REPORT_DIMENSION is 'region: Atlantis', which no report has"),
    ],
)
def test_wrong_settings_are_named(client: Elasticsearch, names: tuple[str, ...], dimension: str, said: str) -> None:
    with pytest.raises(Problem, match=said):
        read_and_render(client, names, dimension, bytes_at_most=BYTES)


def test_the_mail_has_the_key_figures(report: Report) -> None:
    text = mail_text(report, "file.html")
    assert "file.html" in text
    assert report.key_figures
    assert all(figure in text for figure in report.key_figures)
    evil = Report("", (EVIL,), (), (f"{EVIL}: 3",), ("2024-05-29",))
    assert EVIL not in mail_text(evil, "file.html")


@pytest.mark.parametrize(
    ("value", "shape", "text"),
    [
        (None, "money", "–"),
        (True, None, "yes"),
        (1234.5, "money", "1,234.50"),
        (1200, "number", "1,200"),
        (0.25, "number", "0.25"),
        (3.0, "decimal", "3"),
        (0.1234, "percent", "12.3%"),
        (0.0625, "percent", "6.3%"),
        (20.125, "money", "20.13"),
        (0.0123, "decimal", "0.012"),
        (-0.05, "decimal", "-0.050"),
        (0.00000012, "decimal", "1.2e-7"),
        (0, "decimal", "0"),
        (0.04, "p_value", "0.040"),
        (0.0004, "p_value", "< 0.001"),
        (1.0, "p_value", "1.0"),
        (4, "hours", "4.0 h"),
        ("2024-05-29T00:00:00", "date", "2024-05-29"),
        ("2024-05-29T23:59:58.123456+00:00", "instant", "2024-05-29 23:59"),
        ("2024-05-30T01:30:00+02:00", "instant", "2024-05-29 23:30"),
        (None, "instant", "–"),
        (EVIL, None, EVIL),
    ],
)
def test_values_are_written_as_on_the_page(value: Any, shape: str | None, text: str) -> None:
    assert written(value, shape) == text


def test_a_name_of_a_table_is_shown_in_its_words_and_others_as_they_are() -> None:
    column = {"name": "funnel_step", "format": None, "words": {"add_to_cart": "Add to cart"}}
    assert [in_column(value, column) for value in ("add_to_cart", "a_b", None)] == ["Add to cart", "a_b", "–"]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_and_is_told_of_nothing_wrong(report: Report, browser: Any, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("request", lambda request: wrong.append(request.url[:80]) if "data:" not in request.url[:5] else None)
    page.set_content(report.html)
    fits = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    charts = page.evaluate("[...document.querySelectorAll('.chart > *')].filter(one => one.clientWidth > 100).length")
    page.close()
    assert wrong == []
    assert fits
    assert charts == len(Read(report.html).labels)
