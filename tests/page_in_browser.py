"""The page in Chromium: opened past Airflow's login, waited for, and judged by axe."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Frame, Page, StorageState

from include.launch.screenshots import NARROW, WIDE, Product, Scheme
from include.launch.screenshots import logged_in as through_the_login_form
from tests.airflow_server import ROOT

__all__ = ["NARROW", "PAGE", "SCREENSHOTS", "WIDE", "Scheme", "logged_in", "serious", "shown"]

SCREENSHOTS = ROOT / "test-results"
PAGE = "customer-analytics/"
MILLISECONDS_TO_LOAD = 180_000
RUN_AXE = """async exclude => {
  const { violations } = await axe.run({ exclude }, { resultTypes: ["violations"] });
  return violations;
}"""


@contextmanager
def logged_in(
    browser: Browser, url: str, login: tuple[str, str], size: tuple[int, int], scheme: Scheme
) -> Iterator[Page]:
    """A fresh browser profile with a login of Airflow's form. The page may not complain in the console."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        timezone_id="America/Los_Angeles",  # days must not shift where the reader is
        accept_downloads=True,
        storage_state=_after_the_login_form(browser, url, login),
    )
    context.set_default_timeout(MILLISECONDS_TO_LOAD)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if _is_ours(line) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert sorted(set(complaints)) == []


@cache
def _after_the_login_form(browser: Browser, url: str, login: tuple[str, str]) -> StorageState:
    """The cookies of somebody who filled in the form. Once a server: Airflow's own pages take seconds to open."""
    _, password = login  # there is one user who may log in to all that is opened here
    with through_the_login_form(browser, Product(url, password), WIDE, "light") as page:
        return page.context.storage_state()


def _is_ours(line: Any) -> bool:
    url = line.location.get("url", "")
    # What the API refuses is told on the page; Chromium puts it on the console as well. How the frame is sandboxed is
    # Airflow's affair.
    others = "/api/dashboards/" in url or "/api/profiles/" in url or "sandbox attribute" in line.text
    return line.type in ("error", "warning") and PAGE in url and not others


def shown(frame: Page | Frame) -> Page | Frame:
    """The page, once all its charts are drawn."""
    frame.wait_for_selector('#main[aria-busy="false"]')
    return frame


def serious(page: Page, *, without: str = "") -> list[str]:
    """What axe finds that keeps somebody from using the page: the rule, what is wrong, and the first places.

    `without` is a selector of what it leaves out.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(RUN_AXE, [without] if without else [])
    return [
        f"{one['id']}: {one['help']}, as in {[node['target'] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
