"""`make screenshots`: pictures of every dashboard, on the data that come with the project.

    demo, cdnow, completejourney  ->  FOLDER/<data>/<dashboard>-<width>-<light or dark>.png, docs/images/<chosen>.png

Each data set is loaded by `make run` itself, in a folder of its own, and looked at through Airflow's login in Chromium:
wide and narrow, light and dark. The pictures in the documentation are taken again each time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from playwright.sync_api import Browser, Page, sync_playwright

import configs
from include.launch.airflow_stack import USER
from include.problem import Problem

Scheme = Literal["light", "dark"]

IMAGES = configs.PROJECT_ROOT / "docs" / "images"
WIDE, NARROW = (1500, 1000), (390, 844)
PAGE = "customer-analytics"
QUARANTINE = "quarantine"
MILLISECONDS_TO_LOAD = 60_000
BROWSER_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Chosen:
    """A picture of the documentation: the top of a dashboard, as the Airflow UI shows it."""

    file: str
    data: str
    dashboard: str
    scheme: Scheme
    size: tuple[int, int] = (1440, 1000)


CHOSEN = (
    Chosen("page.png", "demo", "overview", "light"),
    Chosen("page-dark.png", "completejourney", "customers", "dark"),
)


@dataclass(frozen=True)
class Product:
    """The running product: where it is, and how to log in."""

    url: str
    password: str


@contextmanager
def running(data: str, folder: Path, **settings: str) -> Iterator[Product]:
    """The product with `data` loaded, as `make run` starts it; stopped afterwards. Its files stay in `folder`."""
    command = [sys.executable, "-m", "include.launch", "--data", data]
    shown = {"VAR_DIR": str(folder), "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env={**os.environ, **shown, **settings}, stdout=subprocess.PIPE, text=True)
    try:
        yield _when_loaded(data, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait()


def _when_loaded(data: str, process: subprocess.Popen[str]) -> Product:
    url = password = ""
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if line.startswith("Dashboards "):
            url = line.split()[-1].partition("/plugin/")[0]
        if line.startswith("Login "):
            password = line.rpartition(f"{USER} / ")[2].strip()
        if line.startswith("Press Ctrl-C"):
            return Product(url, password)
    raise Problem(f"The product did not start with {data}; what it said is above.")


@contextmanager
def logged_in(browser: Browser, product: Product, size: tuple[int, int], scheme: Scheme) -> Iterator[Page]:
    """A new browser profile that has been through Airflow's login form."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    context.set_default_timeout(MILLISECONDS_TO_LOAD)
    page = context.new_page()
    page.goto(product.url)
    page.locator("input[name=username]").fill(USER)
    page.locator("input[name=password]").fill(product.password)
    page.locator("button[type=submit]").click()
    page.get_by_test_id("nav-sidebar").or_(page.get_by_role("link", name="Customer Analytics")).first.wait_for()
    yield page
    context.close()


def dashboards(page: Page, product: Product) -> list[str]:
    """The names of all dashboards, the quarantine among them."""
    answer = page.request.get(f"{product.url}/{PAGE}/api/dashboards").json()
    return [*dict.fromkeys([*(one["name"] for one in answer["dashboards"]), QUARANTINE])]


def take(page: Page, product: Product, dashboard: str, file: Path) -> None:
    """The whole dashboard, from its top to its end, once all its charts are drawn."""
    page.goto("about:blank")  # else only the part after `#` would change, and what was drawn before would still stand
    page.goto(f"{product.url}/{PAGE}/#/{dashboard}")
    page.wait_for_selector('#main[aria-busy="false"]')
    page.screenshot(path=file, full_page=True, animations="disabled")


def take_chosen(browser: Browser, product: Product, chosen: Chosen) -> None:
    """One picture of the documentation, within the Airflow UI."""
    with logged_in(browser, product, chosen.size, chosen.scheme) as page:
        page.goto(f"{product.url}/plugin/{PAGE}/{PAGE}/#/{chosen.dashboard}")
        frame = page.frame_locator("iframe")
        frame.locator('#main[aria-busy="false"] .panel').first.wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=IMAGES / chosen.file, animations="disabled")


def take_all(browser: Browser, product: Product, data: str, folder: Path) -> int:
    """Every dashboard in every size and scheme; how many pictures that are."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for size in (WIDE, NARROW):
        for scheme in get_args(Scheme):
            with logged_in(browser, product, size, scheme) as page:
                for dashboard in dashboards(page, product):
                    take(page, product, dashboard, folder / f"{dashboard}-{size[0]}-{scheme}.png")
                    count += 1
    for chosen in CHOSEN:
        if chosen.data == data:
            take_chosen(browser, product, chosen)
    return count


def browser_path() -> str:
    """The system's Chromium. Raises a `Problem` where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise Problem("The pictures need Chromium, which is not installed; run `make system-packages`.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make screenshots", description="Take pictures of every dashboard.")
    parser.add_argument("--data", default="demo,cdnow,completejourney", help="data sets, with commas between them")
    parser.add_argument("--folder", type=Path, default=Path(configs.VAR_DIR) / "screenshots", help="where they go")
    asked = parser.parse_args(arguments)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path(), args=BROWSER_ARGUMENTS)
            for data in asked.data.split(","):
                with running(data, (asked.folder / ".loaded" / data).resolve()) as product:
                    count = take_all(browser, product, data, asked.folder / data)
                print(f"{count} pictures of {data} are in {asked.folder / data}")
            browser.close()
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
