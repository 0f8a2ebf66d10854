"""The first dashboard of the page in Chromium, beside the home page of the Airflow UI on the same server.

Both are opened at their own address in a wide window, by a browser that is logged in, several times; each number is the
median. *Again* is from the browser's cache, which has every file from the load before; else it has forgotten them all.
The server is warm and runs on the same machine, as after `make run`.

The seconds are those until the *largest contentful paint*: when the largest text or image was painted; a chart is
neither. It, the first contentful paint and the *blocking*, what tasks took beyond 50 ms each, are the browser's own
numbers, as in Lighthouse. The first chart is there when its drawing was painted, everything when no chart is left to
draw. Bytes are those on the wire, headers included; requests are those that reached the server. Memory is the browser's
with its driver.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import CDPSession, Page, sync_playwright

from benchmarks.measure import Case, Outcome
from benchmarks.pipeline import free_port
from benchmarks.staged_shop import shop
from include.launch.screenshots import BROWSER_ARGUMENTS, PAGE, WIDE, Product, browser_path, logged_in, running

OURS, AIRFLOW = "the overview", "Airflow's home page"
AGAIN = ", again"
CONTENDERS = (OURS, AIRFLOW, f"{OURS}{AGAIN}", f"{AIRFLOW}{AGAIN}")
LIBRARIES = ()  # the work is the browser's and no task's
LOADS = 5
SETTLED_MS = 500  # the browser tells of a paint a little later
WATCH = """
window.seen = { largest: 0, blocking: 0, chart: null };
function watch(type, take) {
  new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true });
}
watch("largest-contentful-paint", (entry) => (seen.largest = entry.startTime));
watch("longtask", (entry) => (seen.blocking += Math.max(0, entry.duration - 50)));
new MutationObserver((_, observer) => {
  if (!document.querySelector(".chart svg, .chart canvas")) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => (seen.chart = performance.now())));
}).observe(document, { childList: true, subtree: true });
"""
TOLD = """() => ({
  first_contentful_paint_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime,
  largest_contentful_paint_ms: seen.largest,
  ...(seen.chart === null ? {} : { first_chart_ms: seen.chart }),
  blocking_ms: seen.blocking,
})"""


def cases(sessions: int) -> list[Case]:
    """Both pages, with and without a cache."""
    return [
        Case(
            family="page_load",
            name="opening the first dashboard",
            sessions=sessions,
            unit="requests",
            ours=OURS,
            contenders=CONTENDERS,
            detail={"facts_of_all": True},
        )
    ]


@contextmanager
def around(case: Case, folder: Path) -> Iterator[dict[str, Any]]:
    """The product with the shop loaded, as `make run` leaves it."""
    ports = {name: str(free_port()) for name in ("AIRFLOW_PORT", "ELASTICSEARCH_PORT")}
    with running(str(shop(folder, case.sessions)), folder / "served", **ports) as product:
        yield {"url": product.url, "password": product.password}


def run(case: Case, contender: str, folder: Path) -> Outcome:
    """Open the contender's page some times; seconds are those to its largest contentful paint."""
    product = Product(case.detail["url"], case.detail["password"])
    address = f"{product.url}/{PAGE}/" if contender.startswith(OURS) else f"{product.url}/"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=BROWSER_ARGUMENTS)
        with logged_in(browser, product, WIDE, "light") as page:
            page.add_init_script(WATCH)
            # The first load fills the browser's cache, and what the server makes when it is asked first.
            loads = [load(page, address, is_cold=not contender.endswith(AGAIN)) for _ in range(LOADS + 1)][1:]
        browser.close()
    facts = {name: round(median(one[name] for one in loads)) for name in loads[0]}
    return Outcome(facts["largest_contentful_paint_ms"] / 1_000, facts["requests"], facts)


def load(page: Page, address: str, *, is_cold: bool) -> dict[str, float]:
    """Open an address until nothing is left to do; when what was painted, and what it took."""
    page.goto("about:blank")
    session = page.context.new_cdp_session(page)
    counted = _count_requests(session)
    if is_cold:
        session.send("Network.clearBrowserCache")
    page.goto(address)
    if PAGE in address:
        page.wait_for_selector('#main[aria-busy="false"]')
        everything = {"everything_drawn_ms": page.evaluate("performance.now()")}
    else:
        page.get_by_test_id("nav-sidebar").or_(page.get_by_role("link", name="Customer Analytics")).first.wait_for()
        everything = {}
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(SETTLED_MS)
    told: dict[str, float] = page.evaluate(TOLD)
    session.detach()
    return {**told, **everything, **counted}


def _count_requests(session: CDPSession) -> dict[str, float]:
    """The requests that reach the server and their bytes, counted while the session lasts."""
    counted = {"requests": 0.0, "bytes": 0.0}
    cached: set[str] = set()

    def received(event: dict[str, Any]) -> None:
        answer = event["response"]
        if answer.get("fromDiskCache") or not answer["url"].startswith("http"):
            cached.add(event["requestId"])

    def finished(event: dict[str, Any]) -> None:
        if event["requestId"] not in cached:
            counted["requests"] += 1
            counted["bytes"] += event["encodedDataLength"]

    session.on("Network.requestServedFromCache", lambda event: cached.add(event["requestId"]))
    session.on("Network.responseReceived", received)
    session.on("Network.loadingFinished", finished)
    session.send("Network.enable")
    return counted
