"""What all tests share: a scratch Airflow home, and a browser.

The home is set before anything imports airflow: no test reads or writes a person's own.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright
from xdist.scheduler import LoadScopeScheduling

from tests.loop_of_the_browser import without_the_loop_of_the_browser

if TYPE_CHECKING:
    from include.elastic.node import EmbeddedNode
    from tests.published_reports import Published

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROOT = Path(__file__).resolve().parent.parent
SCRATCH = Path(tempfile.mkdtemp(prefix="customer-analytics-tests-"))
os.environ.update(
    {
        "AIRFLOW_HOME": str(SCRATCH / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{SCRATCH / 'airflow.db'}",
        "VAR_DIR": str(SCRATCH / "var"),
        "GX_ANALYTICS_ENABLED": "False",
        # Else the client asks over gRPC what kind of bucket this is, which the tests' server does not speak.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        # These nodes live for minutes: the compiler that takes long to make fast code would not pay.
        "ES_JAVA_OPTS": "-XX:TieredStopAtLevel=1",
        "PYTHONPATH": str(ROOT),
    }
)
# No example is too slow: how long one takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# A person's own settings must not reach the tests.
PLACES = ("ELASTICSEARCH_URL", "KIBANA_URL", "SOURCES_FILE", "STAGING_URL")
for name in (*PLACES, "INDEX_PREFIX", "BUSINESS_TIMEZONE", "SCHEDULE"):
    os.environ.pop(name, None)


# Files that share what takes long to start and to fill: one process runs them all.
SHARED = {
    "tests/end_to_end/test_whole_runs_on_": "an Airflow home",
    "tests/plugins": "published reports",
    "tests/include/dashboards": "published reports",
    "tests/include/elastic": "a node",
    "tests/include/pipeline": "a node",
}
# The longest come first, so that no process is left alone with one of them at the end.
LONGEST_FIRST = ("tests/end_to_end", "tests/plugins", "tests/deploy", "tests/contract", "tests/include/dashboards")


class FilesTogether(LoadScopeScheduling):
    """Hands the processes of pytest-xdist whole files, or whole folders that share a server."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((shared for start, shared in SHARED.items() if file.startswith(start)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FilesTogether:
    return FilesTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in LONGEST_FIRST])


def pytest_collection_finish() -> None:
    """What is imported and collected stays; the collector of garbage need not look through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """In every process that read this file, the one that only hands out the tests among them."""
    gc.unfreeze()  # DuckDB complains of what is left at the end
    shutil.rmtree(SCRATCH, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNode]:
    """An Elasticsearch for every file of the process. Who uses it has a prefix of its own, or empties it first."""
    from tests.servers import elasticsearch_node

    with elasticsearch_node(tmp_path_factory.mktemp("elasticsearch")) as running:
        yield running


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """An Elasticsearch with the sessions, customers and reports of a made-up shop."""
    from tests.published_reports import published_reports

    with published_reports(tmp_path_factory.mktemp("published")) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. One for all tests: Playwright does not start twice in a process."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield started
        started.close()


def _where_no_browser_is_used(item: pytest.Item) -> AbstractContextManager[None]:
    return nullcontext() if "browser" in getattr(item, "fixturenames", ()) else without_the_loop_of_the_browser()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    with _where_no_browser_is_used(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    with _where_no_browser_is_used(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test fails: what does not run here rots."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped ({report.longrepr}); tests of this project run or fail."
    return report
