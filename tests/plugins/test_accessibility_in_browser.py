"""What stands beside the dashboards can be used by everybody; of those `test_every_panel_is_drawn` says so."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from include.dashboards.profiles import read_profile
from include.dashboards.sendable import read_and_render
from include.elastic.client import connect
from tests.airflow_server import AirflowServer
from tests.drawn_panels import check_drawn
from tests.page_in_browser import PAGE, SCREENSHOTS, WIDE, serious, shown
from tests.plugins.test_page_in_browser import WEEKLY_ORDERS, page

__all__ = ["page"]  # the fixture

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("kind", "name"),
    [("client", "c187"), ("category", "category 0"), ("promotion", "SPRING"), ("dimension", "region: North")],
)
def test_profiles(page: Page, airflow: AirflowServer, elasticsearch_url: str, kind: str, name: str) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/profile/{kind}?name={name}")
    shown(page)
    expect(page.locator("h1")).to_have_text(name)
    with connect(elasticsearch_url) as client:
        read = {**read_profile(client, kind, name), "dimension": name}
    assert check_drawn(page, read, presses=True) > 0
    assert serious(page) == []


def test_an_open_form_of_a_note(page: Page, airflow: AirflowServer) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/descriptive_statistics")
    shown(page)
    card = page.locator(f'[data-panel-id="{WEEKLY_ORDERS}"]')
    card.locator(".add-note").click()
    expect(card.get_by_role("form")).to_be_visible()
    assert serious(page) == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("profile/client?name=nobody", "nobody"),
        ("profile/planet?name=Mars", "planet"),
        ("overview?dimension=region%3A%20Atlantis", "have no dimension value 'region: Atlantis'"),
    ],
)
def test_addresses_that_do_not_exist(page: Page, airflow: AirflowServer, address: str, said: str) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/{address}")
    shown(page)
    expect(page.locator("#message")).to_contain_text(said)
    expect(page.locator(".panel")).to_have_count(0)
    assert serious(page) == []


def test_a_dashboard_that_does_not_exist(page: Page, airflow: AirflowServer) -> None:
    """The first one stands in for it."""
    page.goto(f"{airflow.url}/{PAGE}#/gone")
    shown(page)
    expect(page.locator("h1")).to_have_text("Overview")
    assert serious(page) == []


def test_the_report_that_is_sent(browser: Browser, elasticsearch_url: str, tmp_path: Path) -> None:
    with connect(elasticsearch_url) as client:
        sent = read_and_render(client, ["overview", "rfm", "delivery_analytics"], "all", bytes_at_most=10_000_000)
    assert len(sent.dashboards) == 3
    file = tmp_path / "report.html"
    file.write_text(sent.html, encoding="utf-8")
    page = browser.new_page(viewport={"width": WIDE[0], "height": WIDE[1]})
    page.goto(file.as_uri())
    expect(page.get_by_role("img").first).to_be_visible()
    assert serious(page) == []
    page.screenshot(path=SCREENSHOTS / "report.png", full_page=True)
    page.close()
