"""Notes over the real Airflow: who may write them and from where, and how a person pins one to a chart."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from elasticsearch import Elasticsearch
from playwright.sync_api import Browser, Page, expect

from include.dashboards.notes import EVERY, NOTES, ensure_notes
from include.elastic.client import connect, index_name
from tests.airflow_server import USER, AirflowServer
from tests.page_in_browser import PAGE, WIDE, logged_in, shown
from tests.plugins.conftest import READER
from tests.plugins.test_page_in_browser import WEEKLY_ORDERS
from tests.published_reports import EVIL

DAILY_ORDERS = "descriptive_statistics.activity.1"
WRITES = {"X-Customer-Analytics": "write", "Content-Type": "application/json"}
NOTE = {"panel": WEEKLY_ORDERS, "dimension": "all", "day": "2024-05-14", "text": "Television spot"}
PATH = "api/notes/note-0001"


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    """No notes yet."""
    with connect(elasticsearch_url) as connected:
        connected.indices.delete(index=f"{index_name(NOTES)}-first", ignore_unavailable=True)
        ensure_notes(connected)
        yield connected


def stored(client: Elasticsearch) -> list[dict[str, Any]]:
    client.indices.refresh(index=index_name(NOTES))
    return [hit["_source"] for hit in client.search(index=index_name(NOTES), size=100)["hits"]["hits"]]


def token(airflow: AirflowServer, user: str) -> str:
    password = json.loads((airflow.home / "passwords.json").read_text(encoding="utf-8"))[user]
    login = {"username": user, "password": password}
    return str(httpx.post(f"{airflow.url}/auth/token", json=login, timeout=60).json()["access_token"])


def browser_of(airflow: AirflowServer, user: str | None) -> httpx.Client:
    """A client with the login as a browser keeps it: in a cookie."""
    cookies = {"_token": token(airflow, user)} if user else {}
    return httpx.Client(base_url=f"{airflow.url}/customer-analytics/", cookies=cookies, timeout=60)


def test_who_may_trigger_the_dag_may_write(client: Elasticsearch, airflow: AirflowServer) -> None:
    with browser_of(airflow, USER) as own:
        assert own.get("api/dashboards").json()["writer"] == USER
        answer = own.put(PATH, json=NOTE, headers=WRITES)
        assert answer.status_code == 200, answer.text
        note = answer.json()["note"]
        assert {name: note[name] for name in NOTE} == NOTE
        assert (note["author"], len(stored(client))) == (USER, 1)
        # With a token, as a script; trying again writes nothing twice.
        bearer = {**WRITES, "Authorization": f"Bearer {airflow.token()}"}
        assert httpx.put(f"{own.base_url}{PATH}", json=NOTE, headers=bearer, timeout=60).json()["note"] == note
        assert own.delete(PATH, params={"version": note["version"]}, headers=WRITES).status_code == 200
        assert stored(client) == []


def test_a_viewer_reads_notes_and_writes_none(client: Elasticsearch, airflow: AirflowServer) -> None:
    with browser_of(airflow, USER) as author, browser_of(airflow, READER) as viewer:
        version = author.put(PATH, json=NOTE, headers=WRITES).json()["note"]["version"]
        assert viewer.get("api/dashboards").json()["writer"] is None
        panels = viewer.get("api/dashboards/descriptive_statistics").json()["panels"]
        assert [note["text"] for panel in panels for note in panel["pinned"]] == [NOTE["text"]]
        for answer in (
            viewer.put(PATH, json=NOTE, headers=WRITES),
            viewer.put("api/notes/note-0002", json=NOTE, headers=WRITES),
            viewer.delete(PATH, params={"version": version}, headers=WRITES),
        ):
            assert answer.status_code == 403
            assert answer.json()["detail"].startswith("Notes are for people who may trigger the DAG")
    assert len(stored(client)) == 1


def test_nobody_writes_without_a_login(client: Elasticsearch, airflow: AirflowServer) -> None:
    with browser_of(airflow, None) as visitor:
        assert visitor.put(PATH, json=NOTE, headers=WRITES).status_code == 401
        assert visitor.delete(PATH, params={"version": "1.1"}, headers=WRITES).status_code == 401
    assert stored(client) == []


@pytest.mark.parametrize(
    "headers",
    [
        {**WRITES, "Sec-Fetch-Site": "cross-site"},
        {**WRITES, "Sec-Fetch-Site": "same-site"},
        {**WRITES, "Sec-Fetch-Site": "none"},
        {**WRITES, "Origin": "https://evil.example"},
        {**WRITES, "Origin": "null"},
        {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"},
        {**WRITES, "X-Customer-Analytics": "yes"},
    ],
    ids=["cross-site", "same-site", "by hand", "other origin", "no origin", "no header", "other header"],
)
def test_another_site_writes_nothing(client: Elasticsearch, airflow: AirflowServer, headers: dict[str, str]) -> None:
    """With the very cookie that the page has."""
    with browser_of(airflow, USER) as own:
        assert own.put(PATH, json=NOTE, headers=headers).status_code == 403
        assert own.put(PATH, json=NOTE, headers={**WRITES, "Origin": airflow.url}).status_code == 200
        version = own.put(PATH, json=NOTE, headers=WRITES).json()["note"]["version"]
        assert own.delete(PATH, params={"version": version}, headers=headers).status_code == 403
    assert len(stored(client)) == 1


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({"content": b"{", "headers": WRITES}, 400, "That is no JSON"),
        ({"content": b"[]", "headers": WRITES}, 400, "is a JSON object"),
        ({"content": b'{"text": "\\ud800"}', "headers": WRITES}, 400, "That is no JSON"),
        ({"content": b" " * 30_000, "headers": WRITES}, 413, "too long for a note"),
        ({"json": NOTE, "headers": {**WRITES, "Content-Type": "text/plain"}}, 415, "as application/json"),
        ({"json": {**NOTE, "day": "soon"}, "headers": WRITES}, 400, "a date like 2024-05-29"),
        ({"json": {**NOTE, "version": 1}, "headers": WRITES}, 400, "no version of a note"),
        ({"json": {**NOTE, "version": "7.1"}, "headers": WRITES}, 404, "was deleted meanwhile"),
    ],
)
def test_what_cannot_be_written_is_said(
    client: Elasticsearch, airflow: AirflowServer, more: dict[str, Any], status: int, said: str
) -> None:
    with browser_of(airflow, USER) as own:
        answer = own.put(PATH, **more)
    assert answer.status_code == status
    assert said in answer.json()["detail"]
    assert stored(client) == []


def marks(page: Page, panel: str) -> list[list[str]]:
    """What the markers on a chart say, as they are drawn."""
    told: list[list[str]] = page.eval_on_selector(
        f'[data-panel-id="{panel}"]',
        """card => {
             const known = Object.keys(card.view.getState({ data: () => true }).data);
             return known.includes("notes") ? card.view.data("notes").map(one => [one.label, one.told]) : [];
           }""",
    )
    return told


@pytest.mark.browser
def test_a_note_is_pinned_by_keyboard(
    client: Elasticsearch, browser: Browser, airflow: AirflowServer, elasticsearch_url: str
) -> None:
    with logged_in(browser, airflow.url, airflow.login, WIDE, "light") as page:
        page.goto(f"{airflow.url}/{PAGE}#/descriptive_statistics?dimension=region%3A%20North")
        shown(page)
        card = page.locator(f'[data-panel-id="{WEEKLY_ORDERS}"]')
        assert marks(page, WEEKLY_ORDERS) == []
        card.get_by_role("button", name="Add a note").focus()
        page.keyboard.press("Enter")
        expect(card.get_by_label("Day", exact=True)).to_be_focused()
        expect(card.get_by_label("Day", exact=True)).to_have_value("2024-05-29")
        card.get_by_label("Day", exact=True).fill("2024-05-14")
        page.keyboard.press("Escape")
        expect(card.locator(".note-form")).to_have_count(0)
        expect(card.get_by_role("button", name="Add a note")).to_be_focused()

        page.keyboard.press("Enter")
        card.get_by_label("Day", exact=True).fill("2024-05-14")
        card.get_by_label("Text", exact=True).focus()
        page.keyboard.type(f"Spot {EVIL}")
        for _ in range(3):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        note = card.locator(".notes li")
        expect(note).to_have_count(1)
        expect(note).to_be_focused()
        shown(page)
        expect(note).to_contain_text(f"2024-05-14 Spot {EVIL} ({USER}, region: North)")
        assert marks(page, WEEKLY_ORDERS) == [["1", f"1. Spot {EVIL} ({USER}, on region: North)"]]
        assert page.evaluate("window.hacked") is None
        (document,) = stored(client)
        assert (document["day"], document["dimension"], document["panel"]) == (
            "2024-05-14",
            "region: North",
            WEEKLY_ORDERS,
        )
        assert marks(page, DAILY_ORDERS) == []

        # Another dimension value does not show it, until it is about every one.
        page.goto(f"{airflow.url}/{PAGE}#/descriptive_statistics")
        shown(page)
        expect(page.locator(".notes li")).to_have_count(0)
        page.goto(f"{airflow.url}/{PAGE}#/descriptive_statistics?dimension=region%3A%20North")
        shown(page)
        card.get_by_role("button", name="Change the note").click()
        card.get_by_label("Text", exact=True).fill("Radio spot")
        card.get_by_label("On", exact=True).select_option(EVERY)
        card.get_by_label("About", exact=True).select_option(EVERY)
        card.get_by_role("button", name="Save", exact=True).click()
        expect(note.locator(".note-text")).to_have_text("Radio spot")
        page.goto(f"{airflow.url}/{PAGE}#/descriptive_statistics")
        shown(page)
        expect(card.locator(".notes li")).to_have_count(1)
        page.wait_for_function("() => document.querySelectorAll('.panel .chart').length > 0")
        for panel in (WEEKLY_ORDERS, DAILY_ORDERS):
            page.wait_for_function("id => document.querySelector(`[data-panel-id='${id}']`)?.view", arg=panel)
            assert marks(page, panel) == [["1", f"1. Radio spot ({USER})"]]
        expect(card.locator("svg")).to_contain_text("1")
        card.screenshot(path="test-results/note.png")

        card.get_by_role("button", name="Delete the note").click()
        assert len(stored(client)) == 1
        card.get_by_role("button", name="for good").click()
        expect(card.locator(".notes li")).to_have_count(0)
        expect(card.get_by_role("button", name="Add a note")).to_be_focused()
        assert stored(client) == []


@pytest.mark.browser
def test_a_note_is_pinned_to_a_profiles_chart(client: Elasticsearch, browser: Browser, airflow: AirflowServer) -> None:
    units = "profile.product.4"
    with logged_in(browser, airflow.url, airflow.login, WIDE, "dark") as page:
        page.goto(f"{airflow.url}/{PAGE}#/profile/product?name=product%201")
        shown(page)
        card = page.locator(f'[data-panel-id="{units}"]')
        expect(card.get_by_role("heading")).to_have_text("Daily units")
        expect(page.locator('[data-panel-id="profile.product.1"] .add-note')).to_have_count(0)  # figures, no days
        card.get_by_role("button", name="Add a note").click()
        expect(card.get_by_label("About", exact=True).locator("option")).to_have_text(
            ["product: product 1", "every product"]
        )
        card.get_by_label("Day", exact=True).fill("2024-05-14")
        card.get_by_label("Text", exact=True).fill("On the shelf by the door")
        card.get_by_role("button", name="Save", exact=True).click()
        expect(card.locator(".notes li")).to_contain_text(f"On the shelf by the door ({USER}, product: product 1)")
        shown(page)
        page.wait_for_function("id => document.querySelector(`[data-panel-id='${id}']`)?.view", arg=units)
        assert marks(page, units) == [["1", f"1. On the shelf by the door ({USER}, on product: product 1)"]]
        card.screenshot(path="test-results/note-on-profile.png")
        (document,) = stored(client)
        assert (document["panel"], document["dimension"]) == (units, "product: product 1")

        # Another product does not show it, until it is about every one.
        page.goto(f"{airflow.url}/{PAGE}#/profile/product?name=product%202")
        expect(page.locator("#title")).to_have_text("product 2")
        shown(page)
        expect(card.get_by_role("heading")).to_have_text("Daily units")
        expect(page.locator(".notes li")).to_have_count(0)
