"""The search box and the profiles as a person uses them, by keyboard, in Chromium."""

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from include.dashboards.profiles import read_profile
from include.elastic.client import connect
from tests.airflow_server import AirflowServer
from tests.page_in_browser import PAGE, SCREENSHOTS, serious, shown
from tests.plugins.test_page_in_browser import drawn, page
from tests.published_reports import EVIL

__all__ = ["page"]  # the fixture

pytestmark = pytest.mark.browser


def told(url: str, kind: str, name: str) -> dict[str, Any]:
    with connect(url) as client:
        return read_profile(client, kind, name)


def test_from_a_typo_to_a_profile_by_keyboard(page: Page, airflow: AirflowServer, elasticsearch_url: str) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/quarantine")
    shown(page)
    box = page.get_by_role("combobox", name="Search clients")
    page.keyboard.press("/")
    expect(box).to_be_focused()
    expect(box).to_have_value("")
    page.keyboard.type("prodct 2")
    options = page.locator("#search-list [role=option]")
    expect(options.first).to_contain_text("product 2")
    expect(box).to_have_attribute("aria-expanded", "true")
    found = options.count()
    expect(page.locator("#search-count")).to_have_text(f"{found} results; choose with the arrow keys")
    expect(page.get_by_role("group", name="Products")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    assert box.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    page.keyboard.press("ArrowUp")  # around the end
    expect(options.last).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    assert serious(page) == []
    page.screenshot(path=SCREENSHOTS / "search.png")
    page.keyboard.press("Enter")
    page.wait_for_url("**#/profile/product?name=product%202")
    expect(page.locator("#title")).to_have_text("product 2")
    expect(box).to_have_attribute("aria-expanded", "false")
    page.locator('[data-panel-id="profile.product.1"]').wait_for()
    shown(page)
    stored = told(elasticsearch_url, "product", "product 2")
    tiles = stored["panels"][0]["tiles"]
    expect(page.locator(".tile dd").first).to_have_text(f"{tiles[0]['value']:,}")
    for panel in stored["panels"]:
        if panel["spec"]:
            values = [(row["x"], row["value"]) for row in drawn(page, panel["id"])]
            assert values == [(row["x"], row["value"]) for row in panel["spec"]["data"]["values"]]
    expect(page.locator('[data-panel-id="profile.product.6"] tbody tr')).to_have_count(len(stored["panels"][5]["rows"]))
    assert serious(page) == []
    page.screenshot(path=SCREENSHOTS / "profile-product.png", full_page=True)

    # Names are text, and a dimension value leads to the dashboards of its choice.
    page.keyboard.press("/")
    page.keyboard.type("<IMG src")
    expect(options.filter(has_text=EVIL).first).to_be_visible()
    expect(options.filter(has_text="region:")).to_have_count(1)
    options.filter(has_text="region:").click()
    page.get_by_role("navigation", name="Dashboards of region").get_by_role("link", name="Cohorts").click()
    shown(page)
    expect(page.locator("#dimension")).to_have_value(f"region: {EVIL}")
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_a_client_and_what_is_not_found(page: Page, airflow: AirflowServer) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/profile/client?name=c012")
    shown(page)
    timeline = page.locator('[data-panel-id="profile.client.7"]')
    expect(timeline.locator("tbody tr").last).to_contain_text("Download")
    # Above what happened there is what is expected, one row per horizon.
    expect(timeline.locator("tbody tr").first).to_contain_text("in 180 days:")
    expect(timeline.locator("tbody tr").nth(4)).to_contain_text("Scored")
    page.screenshot(path=SCREENSHOTS / "profile-client.png", full_page=True)
    box = page.get_by_role("combobox", name="Search clients")
    box.fill("zzzz")
    message = page.locator("#search-message")
    expect(message).to_contain_text("Nothing is called anything like this")
    page.keyboard.press("Escape")
    expect(message).to_be_hidden()
    expect(box).to_have_value("zzzz")
    page.keyboard.press("Escape")
    expect(box).to_have_value("")
    page.goto(f"{airflow.url}/{PAGE}#/profile/client?name=gone%2F%3Cb%3E")
    expect(page.locator("#message")).to_contain_text("Nothing that is loaded has the client 'gone/<b>' (any more)")


def test_an_answer_that_comes_too_late_is_not_shown(page: Page, airflow: AirflowServer) -> None:
    page.goto(f"{airflow.url}/{PAGE}#/quarantine")
    shown(page)
    held: list[Route] = []
    page.route("**/api/search?q=spring", lambda route: held.append(route))
    box = page.get_by_role("combobox", name="Search clients")
    with page.expect_request("**/api/search?q=spring"):
        box.fill("spring")
    box.fill("category 1")
    options = page.locator("#search-list [role=option]")
    expect(options.first).to_contain_text("category 1")
    for route in held:
        route.continue_()
    box.press("Enter")
    page.wait_for_url("**#/profile/category?name=category%201")
    expect(page.locator("#title")).to_have_text("category 1")
