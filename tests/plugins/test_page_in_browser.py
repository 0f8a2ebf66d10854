"""The page as a person uses it: Chromium, the real Airflow with its login form, the real Elasticsearch."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser, Frame, Page, Route, expect

from include.dashboards.boards import read_dashboard
from include.dashboards.dashboard import dashboard, dashboards, fields_of, reports_of
from include.elastic.client import connect
from include.elastic.reports import publish_reports, read_rows, write_report
from include.schemas.reports import Report
from tests.airflow_server import AirflowServer
from tests.drawn_panels import check_dimension_value, check_drawn
from tests.looks import LOOKS, Look, check, take_on, walk
from tests.page_in_browser import NARROW, PAGE, SCREENSHOTS, WIDE, logged_in, serious, shown
from tests.published_reports import AS_OF, EVIL, REGIONS, WRITTEN_AT, remove_reports

pytestmark = pytest.mark.browser

WEEKLY_ORDERS = "descriptive_statistics.activity.2"


@pytest.fixture
def page(browser: Browser, airflow: AirflowServer) -> Iterator[Page]:
    with logged_in(browser, airflow.url, airflow.login, WIDE, "light") as opened:
        yield opened


def drawn(frame: Page | Frame, panel: str) -> list[dict[str, Any]]:
    """The rows that a chart draws."""
    rows: list[dict[str, Any]] = frame.eval_on_selector(f'[data-panel-id="{panel}"]', "card => card.view.data('rows')")
    return rows


def stored(url: str, dimension: str, field: str) -> list[tuple[str, Any]]:
    with connect(url) as client:
        found = read_rows(client, "descriptive_statistics", "activity", dimension, {"granularity": "week"})
    return [(row["period"], row[field]) for row in found]


def test_the_numbers_are_those_of_elasticsearch(page: Page, airflow: AirflowServer, elasticsearch_url: str) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/descriptive_statistics")
    shown(page)
    expect(page.locator("#dimension")).to_have_value("all")
    expect(page.locator("#run")).to_contain_text(AS_OF.isoformat())
    of_all = [(row["x"], row["value"]) for row in drawn(page, WEEKLY_ORDERS)]
    assert of_all == stored(elasticsearch_url, "all", "orders")

    with page.expect_response(lambda answer: "dimension=region" in answer.url):
        page.locator("#dimension").select_option("region: North")
    shown(page)
    page.wait_for_function("() => document.querySelectorAll('.panel').length > 0")
    of_north = [(row["x"], row["value"]) for row in drawn(page, WEEKLY_ORDERS)]
    assert of_north == stored(elasticsearch_url, "region: North", "orders")
    assert of_north != of_all
    assert page.url.endswith("#/descriptive_statistics?dimension=region%3A%20North")


def test_inside_the_airflow_ui(page: Page, airflow: AirflowServer, elasticsearch_url: str) -> None:
    page.goto(airflow.url)
    page.get_by_role("link", name="Customer Analytics").click()
    frame = page.wait_for_selector("iframe").content_frame()
    assert frame is not None
    frame.locator("#tabs a").filter(has_text="Descriptive statistics").click()
    frame.wait_for_url("**#/descriptive_statistics")
    shown(frame)
    frame.locator(f'[data-panel-id="{WEEKLY_ORDERS}"] svg').wait_for()
    rows = [(row["x"], row["value"]) for row in drawn(frame, WEEKLY_ORDERS)]
    assert rows == stored(elasticsearch_url, "all", "orders")
    assert page.url.endswith("/plugin/customer-analytics/customer-analytics/#/descriptive_statistics")
    page.screenshot(path=SCREENSHOTS / "airflow.png")
    # The address is one to share: it opens the same dashboard.
    page.reload()
    again = page.wait_for_selector("iframe").content_frame()
    assert again is not None
    shown(again)
    expect(again.locator("#tabs a[aria-current]")).to_have_text("Descriptive statistics")


def test_names_from_the_data_are_text(page: Page, airflow: AirflowServer) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/descriptive_statistics")
    shown(page)
    page.locator("#dimension").select_option(f"region: {EVIL}")
    page.wait_for_url("**dimension=**")
    shown(page)
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked") is None
    assert page.locator("#dimension").input_value() == f"region: {EVIL}"


def test_the_table_and_the_file_behind_a_chart(page: Page, airflow: AirflowServer, elasticsearch_url: str) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/descriptive_statistics")
    shown(page)
    card = page.locator(f'[data-panel-id="{WEEKLY_ORDERS}"]')
    toggle = card.get_by_role("button", name="Table of")
    toggle.focus()
    page.keyboard.press("Enter")
    expect(toggle).to_have_attribute("aria-expanded", "true")
    weeks = stored(elasticsearch_url, "all", "orders")
    expect(card.locator("tbody tr")).to_have_count(len(weeks))
    expect(card.locator("tbody tr").first.locator("td").first).to_have_text(weeks[0][0])
    with page.expect_download() as saved:
        card.get_by_role("button", name="CSV").click()
    lines = saved.value.path().read_text(encoding="utf-8-sig").splitlines()
    assert saved.value.suggested_filename == f"{WEEKLY_ORDERS}.all.csv"
    assert len(lines) == len(weeks) + 1
    assert {"period", "orders"} <= set(lines[0].split(","))


def test_a_dimension_value_that_is_gone(page: Page, airflow: AirflowServer) -> None:
    """An old address: the reason is told, and the choice is still there."""
    with page.expect_response(lambda answer: "Atlantis" in answer.url) as answer:
        page.goto(f"{airflow.url}/{PAGE}#/descriptive_statistics?dimension=region%3A%20Atlantis")
    assert answer.value.status == 404
    shown(page)
    expect(page.locator("#message")).to_contain_text("have no dimension value 'region: Atlantis'")
    page.locator("#dimension").select_option("all")
    page.locator(".panel").first.wait_for()


def test_the_quarantine_by_keyboard(page: Page, airflow: AirflowServer) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/quarantine")
    shown(page)
    expect(page.locator("#dimension")).to_be_hidden()
    rule = page.locator('[data-rule="client_unknown"]')
    rule.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(rule.locator(".remedy")).to_contain_text("once its customer is loaded, replay_quarantine takes it back")
    expect(rule.locator("tbody tr")).to_have_count(10)
    expect(rule.locator("tbody tr").first).to_contain_text(f"total: {EVIL}")
    expect(rule.locator(".note")).to_contain_text("Shown are 10 of 12 rows; all are in runs/manual__2/quarantine")
    expect(page.get_by_role("link", name="replay_quarantine")).to_have_attribute("href", "../dags/replay_quarantine")
    assert page.evaluate("window.hacked") is None
    page.screenshot(path=SCREENSHOTS / "quarantine-opened.png", full_page=True)
    # A run without any: why there is nothing to see. And back to a dashboard, with its choice of dimensions.
    page.get_by_label("Run").select_option("manual__1")
    page.wait_for_url("**#/quarantine?run=manual__1")
    expect(page.locator(".empty")).to_have_text("This run read 100 rows and none of them broke a rule.")
    page.locator("#tabs a").first.click()
    page.locator("#dimension").wait_for()
    expect(page.locator('[data-panel-id="quarantine"]')).to_have_count(0)


def test_the_overview_and_where_its_panels_come_from(
    page: Page, airflow: AirflowServer, elasticsearch_url: str
) -> None:
    page.goto(f"{airflow.url}/{PAGE}")
    shown(page)
    expect(page.locator("h1")).to_have_text("Overview")
    expect(page.locator("#tabs h2")).to_have_text(["Dashboards", "Exploratory", "Machine learning", "Data"])
    with connect(elasticsearch_url) as client:
        (orders,) = (
            row
            for row in read_rows(client, "descriptive_statistics", "kpis", "region: North", {"metric": "orders"})
            if row["window"].startswith("last")
        )
    page.locator("#dimension").select_option("region: North")
    page.wait_for_url("**#/overview?dimension=region%3A%20North")
    shown(page)
    tile = page.locator(".panel", has=page.get_by_role("heading", name="Orders, last 7 days")).locator("dd")
    expect(tile).to_contain_text(f"{orders['value']:,.0f}")
    expect(tile).to_contain_text(f"{orders['change_rate']:+.1%}")
    # The way to the analysis keeps the choice, and so does the way through the navigation.
    page.locator("#tabs a").filter(has_text="RFM").click()
    page.wait_for_url("**#/rfm?dimension=region%3A%20North")
    page.go_back()
    page.get_by_role("link", name="Churn, where Customers overdue comes from").click()
    page.wait_for_url("**#/churn?dimension=region%3A%20North")
    shown(page)
    expect(page.locator("#dimension")).to_have_value("region: North")
    assert page.locator('[data-panel-id="churn.overdue.1"] .from').count() == 0


def rows_of_cards(page: Page) -> list[list[tuple[str, float, float]]]:
    """Title, width and height of the cards in each row, in columns and in pixels; narrower rows than the page fail."""
    found = page.eval_on_selector_all(
        "#panels > .panel",
        """cards => cards.map(card => {
             const { top, left, right, height } = card.getBoundingClientRect();
             return [card.querySelector("h2").textContent, Math.round(top), left, right, height];
           })""",
    )
    around = page.locator("#panels").bounding_box()
    assert around is not None
    left, right = around["x"], around["x"] + around["width"]
    rows: dict[int, list[Any]] = {}
    for title, top, begin, end, height in found:
        rows.setdefault(top, []).append((title, begin, end, height))
    for cards in rows.values():
        assert (cards[0][1], cards[-1][2]) == pytest.approx((left, right), abs=1), [card[0] for card in cards]
    return [
        [(title, round(12 * (end - begin) / (right - left)), height) for title, begin, end, height in cards]
        for cards in rows.values()
    ]


@pytest.mark.parametrize(
    ("emptied", "expected"),
    [
        ({"Alerts of the newest day"}, [["Data freshness"], ["Alerts of the newest day"]]),
        ({"Data freshness"}, [["Alerts of the newest day"], ["Data freshness"]]),
        (
            {"Alerts of the newest day", "Data freshness"},
            [["Alerts of the newest day"], ["Data freshness"]],
        ),
        (set(), [["Alerts of the newest day", "Data freshness"]]),
    ],
    ids=["first", "second", "both", "none"],
)
def test_an_empty_panel_is_one_line_and_leaves_no_hole(
    page: Page, airflow: AirflowServer, emptied: set[str], expected: list[list[str]]
) -> None:
    def empty(route: Route) -> None:
        answer = route.fetch()
        content = answer.json()
        for panel in content["panels"]:
            if panel["title"] in ("Alerts of the newest day", "Data freshness", "Orders, last 7 days"):
                is_empty = panel["title"] in {*emptied, "Orders, last 7 days"}
                panel |= {"reason": "Nothing is odd.", "rows": [], "tiles": []} if is_empty else {"reason": ""}
        route.fulfill(response=answer, json=content)

    page.route("**/api/dashboards/overview?*", empty)
    page.goto(f"{airflow.url}/{PAGE}")
    shown(page)
    rows = rows_of_cards(page)
    titles = [[title for title, _, _ in row] for row in rows]
    place = titles.index(expected[0])
    assert titles[place : place + len(expected)] == expected
    heights = {title: height for row in rows for title, _, height in row}
    assert all(heights[title] < 50 for title in emptied)
    assert all(height > 80 for title, height in heights.items() if title not in emptied)
    # An empty figure stays among the others.
    assert rows[0][0][:2] == ("Orders, last 7 days", 3)
    assert len(rows[0]) == 4


def test_a_chart_of_zeros_is_a_line_with_its_table(page: Page, airflow: AirflowServer) -> None:
    def emptied(route: Route) -> None:
        answer = route.fetch()
        content = answer.json()
        for panel in content["panels"]:
            if panel["title"] == "Daily orders":
                panel |= {"reason": "Everything here is zero.", "spec": None}
        route.fulfill(response=answer, json=content)

    page.route("**/api/dashboards/overview?*", emptied)
    page.goto(f"{airflow.url}/{PAGE}")
    shown(page)
    card = page.locator(".panel.line", has=page.get_by_role("heading", name="Daily orders"))
    expect(card.locator(".empty")).to_have_text("Everything here is zero.")
    expect(card.locator(".add-note")).to_have_count(1)
    card.get_by_role("button", name="Table of").click()
    expect(card.locator("tbody tr").first).to_be_visible()
    wide = card.locator(".scroll").bounding_box()
    around = card.bounding_box()
    assert wide is not None
    assert around is not None
    assert around["width"] - 40 < wide["width"] < around["width"]
    expect(card.get_by_role("button", name="CSV")).to_be_visible()
    assert serious(page) == []
    rows_of_cards(page)


def test_runs_tell_when_they_began_to_the_minute(page: Page, airflow: AirflowServer, elasticsearch_url: str) -> None:
    """In UTC, as their names and the labels of the charts do, wherever the reader is."""
    page.goto(f"{airflow.url}/{PAGE}#/runs")
    shown(page)
    with connect(elasticsearch_url) as client:
        began = [row["started_at"] for row in read_rows(client, "runs", "runs", "all", {})]
    table = page.locator(".panel", has=page.get_by_role("heading", name="Runs", exact=True)).locator("table")
    expect(table.locator("th").first).to_have_text("Started at (UTC)")
    expect(table.locator("tr td:first-child")).to_have_text([f"{day[:10]} {day[11:16]}" for day in began])
    assert "2024-05-20 06:30" in table.inner_text()


def test_an_earlier_report_date(page: Page, airflow: AirflowServer, elasticsearch_url: str) -> None:
    day = AS_OF - timedelta(days=7)
    (report_type,) = (one for one in reports_of("rfm") if one.type == "cut_points")
    values = {"dimension": "all", "measure": "recency", "cut_number": 1, "cut_point": 12345.0, "n": 10}
    with connect(elasticsearch_url) as client:
        try:
            write_report(
                client, "rfm", report_type, Report(pd.DataFrame([values])), report_date=day, run_id="earlier",
                written_at=WRITTEN_AT, parameters={}, fields=fields_of("rfm"),
            )  # fmt: skip
            publish_reports(client)
            page.goto(f"{airflow.url}/{PAGE}#/rfm")
            shown(page)
            assert page.locator("#date option").all_text_contents() == ["Latest", AS_OF.isoformat(), day.isoformat()]
            page.get_by_label("Report date").select_option(day.isoformat())
            page.wait_for_url(f"**#/rfm?date={day}")
            shown(page)
            expect(page.locator("#run")).to_have_text(f"As of {day} · run earlier")
            expect(page.locator('[data-panel-id="rfm.cut_points.1"] tbody')).to_contain_text("12,345")
            expect(page.locator('[data-panel-id="rfm.segments.1"] .empty')).to_have_text(
                f"There is no such report of {day}."
            )
            page.locator("#date").select_option("")
            page.wait_for_url("**#/rfm")
        finally:
            remove_reports(client, day)


def test_the_menu_of_a_narrow_window_by_keyboard(browser: Browser, airflow: AirflowServer) -> None:
    with logged_in(browser, airflow.url, airflow.login, NARROW, "light") as page:
        page.goto(f"{airflow.url}/{PAGE}")
        shown(page)
        menu = page.get_by_role("button", name="Dashboards")
        expect(page.locator("#tabs")).to_be_hidden()
        menu.focus()
        page.keyboard.press("Enter")
        expect(menu).to_have_attribute("aria-expanded", "true")
        page.screenshot(path=SCREENSHOTS / "menu-390-light.png")
        page.keyboard.press("Escape")
        expect(page.locator("#tabs")).to_be_hidden()
        expect(menu).to_be_focused()
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Cohorts", exact=True).press("Enter")
        page.wait_for_url("**#/cohorts")
        expect(page.locator("h1")).to_have_text("Cohorts")
        expect(page.locator("#tabs")).to_be_hidden()


def test_every_panel_is_drawn(page: Page, airflow: AirflowServer, elasticsearch_url: str) -> None:
    """In one of the looks, every number of it too: in charts, figures, tables and files.

    The other two looks are taken on and judged on the simulated shop (`tests/end_to_end/test_data_sets.py`).
    """
    charts: dict[str, int] = {}
    with connect(elasticsearch_url) as client:
        for name in walk(page, airflow.url, SCREENSHOTS, looks=LOOKS[::2]):
            if name != "quarantine":
                charts[name] = check_drawn(page, read_dashboard(client, dashboard(name)), presses=True)
    assert [one.name for one in dashboards()] == list(charts)
    assert all(charts.values()), charts


# What is to be read in each chart, the colours of that, and how large it is. Where the room is found in several steps,
# the last pixels depend on where they began.
PICTURES = """cards => Object.fromEntries(cards.filter(card => card.view).map(card => {
  const picture = card.querySelector(".chart > svg, .chart > canvas");
  const words = [...picture.querySelectorAll("text")]
    .filter(word => word.getAttribute("opacity") !== "0")
    .map(word => `${word.textContent} ${word.getAttribute("fill")}`);
  const { width, height } = picture.getBoundingClientRect();
  return [card.dataset.panelId, { words: words.sort(), size: [width, height] }];
}))"""


def test_a_look_is_the_same_opened_in_it_and_changed_to_it(page: Page, airflow: AirflowServer) -> None:
    """Who turns a tablet, or reads into the night, sees what they would see on a new page."""
    opened: dict[Look, dict[str, Any]] = {}
    for look in LOOKS:
        page.goto("about:blank")
        page.set_viewport_size({"width": look[0][0], "height": look[0][1]})
        page.emulate_media(color_scheme=look[1])
        page.goto(f"{airflow.url}/{PAGE}#/customers")
        shown(page)
        check(page, look, "customers-opened", SCREENSHOTS)
        opened[look] = page.eval_on_selector_all(".panel", PICTURES)
    for look in LOOKS:
        take_on(page, look)
        changed = page.eval_on_selector_all(".panel", PICTURES)
        assert changed.keys() == opened[look].keys()
        for panel, picture in changed.items():
            assert picture["words"] == opened[look][panel]["words"], (look, panel)
            assert picture["size"] == pytest.approx(opened[look][panel]["size"], abs=5), (look, panel)
    # Every look differs from the others: else this would compare nothing.
    assert len({str(pictures) for pictures in opened.values()}) == len(LOOKS)


def test_what_is_opened_stays_when_it_gets_dark(page: Page, airflow: AirflowServer) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/descriptive_statistics")
    shown(page)
    card = page.locator(f'[data-panel-id="{WEEKLY_ORDERS}"]')
    card.get_by_role("button", name="Table of").click()
    card.get_by_role("button", name="Add a note").click()
    card.get_by_label("Text", exact=True).fill("Half of a sent")
    light = card.locator("svg").inner_html()
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    shown(page)
    expect(card.locator("tbody tr").first).to_be_visible()
    expect(card.get_by_label("Text", exact=True)).to_be_focused()
    expect(card.get_by_label("Text", exact=True)).to_have_value("Half of a sent")
    assert card.locator("svg").inner_html() != light


def test_every_number_of_a_dimension_value_is_drawn(page: Page, airflow: AirflowServer, elasticsearch_url: str) -> None:
    """Of every value but `all`, which is looked at above."""
    drawn_of: set[str] = set()
    page.goto(f"{airflow.url}/{PAGE}")
    shown(page)
    with connect(elasticsearch_url) as client:
        for one in dashboards():
            for value in read_dashboard(client, one)["dimensions"]:
                if value != "all" and check_dimension_value(page, client, one.name, value):
                    drawn_of.add(value)
    assert {f"region: {region}" for region in REGIONS} <= drawn_of


@pytest.mark.parametrize("what", ["chart", "mark", "figure", "table"])
def test_a_number_that_changes_on_the_way_is_seen(
    page: Page, airflow: AirflowServer, elasticsearch_url: str, what: str
) -> None:
    """Else `check_drawn` would compare nothing."""

    def changed(route: Route) -> None:
        answer = route.fetch()
        content = answer.json()
        panels = content["panels"]
        spec = next(panel["spec"] for panel in panels if panel["spec"])
        row = next(row for row in spec["data"]["values"] if row["value"] and not row["open"])
        match what:
            case "chart":
                row["value"] += 1
            case "mark":  # the chart has the row, but does not draw it
                spec["transform"] = [{"filter": f"datum.label !== '{row['label']}'"}]
            case "figure":
                next(panel["tiles"] for panel in panels if panel["tiles"])[0]["value"] += 1
            case "table":
                rows = next(panel["rows"] for panel in panels if panel["mark"] == "table" and panel["rows"])
                rows.insert(0, rows.pop())
        route.fulfill(response=answer, json=content)

    page.route("**/api/dashboards/overview?*", changed)
    page.goto(f"{airflow.url}/{PAGE}#/overview")
    shown(page)
    with connect(elasticsearch_url) as client:
        read = read_dashboard(client, dashboard("overview"))
    with pytest.raises(AssertionError, match=r"'all', '\w+\.\w+\.\d'"):
        check_drawn(page, read, presses=False)
