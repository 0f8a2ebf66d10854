"""`make run` as a person starts it: a process, its terminal, what it leaves behind. And runs of the DAG by itself."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models import DagRun
from playwright.sync_api import Browser

import configs
from include.dashboards.boards import read_dashboard
from include.dashboards.dashboard import dashboard, dashboards
from include.elastic.client import connect
from include.elastic.node import EmbeddedNode
from include.launch.screenshots import QUARANTINE
from tests.airflow_server import AirflowServer, airflow_api_server
from tests.drawn_panels import check_drawn
from tests.looks import LOOKS, Look, walk
from tests.loop_of_the_browser import without_the_loop_of_the_browser
from tests.page_in_browser import SCREENSHOTS, logged_in
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_FINISH = 900  # so that only what hangs fails, on a machine with much else to do too


@dataclass
class MakeRun:
    """A started `make run`. `var_dir` is its data folder."""

    process: subprocess.Popen[str]
    var_dir: Path
    airflow_port: int
    elasticsearch_port: int
    lines: list[str] = field(default_factory=list)

    @property
    def airflow(self) -> str:
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def elasticsearch(self) -> str:
        return f"http://127.0.0.1:{self.elasticsearch_port}"

    @property
    def text(self) -> str:
        return "".join(self.lines)

    @property
    def login(self) -> tuple[str, str]:
        found = re.search(r"Login\s+(\S+) / (\S+)", self.text)
        assert found, self.text
        return found[1], found[2]

    def wait_for(self, sign: str | Callable[[], bool]) -> None:
        """Until the terminal shows `sign`, or the condition holds."""
        deadline = time.monotonic() + SECONDS_TO_FINISH
        while not (sign() if callable(sign) else sign in self.text):
            assert time.monotonic() < deadline, f"{sign} did not come:\n{self.text}"
            assert self.process.poll() is None or (isinstance(sign, str) and sign in self.text), self.text
            time.sleep(0.2)

    def wait_to_end(self) -> int:
        """The exit code, once it has ended by itself."""
        try:
            return self.process.wait(timeout=SECONDS_TO_FINISH)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end:\n{self.text}")

    def interrupt(self) -> int:
        """Ctrl-C: the signal reaches the whole foreground group. Returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout=120)


def processes_of(var_dir: Path) -> list[psutil.Process]:
    """Every process whose environment or command says that it belongs to this data folder."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(var_dir) in text for text in told):
            found.append(process)
    return found


@contextmanager
def make_run(var_dir: Path, *arguments: str, **settings: str) -> Iterator[MakeRun]:
    """`make run` with ports of its own; whatever of it is still there at the end of the block is stopped."""
    ports = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment |= {
        "VAR_DIR": str(var_dir),
        "AIRFLOW_PORT": str(ports[0]),
        "ELASTICSEARCH_PORT": str(ports[1]),
        "TASK_RETRY_DELAY_SECONDS": "1",
        **settings,
    }
    process = subprocess.Popen(
        ["make", "run", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    running = MakeRun(process, var_dir, *ports)
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: running.lines.extend(process.stdout or ()), daemon=True)
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            running.interrupt()
        reader.join(timeout=10)
        process.stdout.close()


@pytest.fixture(scope="session")
def metadata_database() -> None:
    """Airflow's own database, in the scratch home of the tests."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True, env=os.environ)


@pytest.fixture(scope="session")
def airflow(shared_node: EmbeddedNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowServer]:
    """Shows what is in the node, whoever ran the DAG."""
    settings = {"ELASTICSEARCH_URL": shared_node.url}
    with airflow_api_server(tmp_path_factory.mktemp("airflow-server"), settings) as server:
        yield server


@pytest.fixture
def node(shared_node: EmbeddedNode) -> EmbeddedNode:
    """The node without what an earlier test left in it."""
    names = httpx.get(f"{shared_node.url}/_cat/indices?h=index").text.split()
    for name in names:
        httpx.delete(f"{shared_node.url}/{name}").raise_for_status()
    return shared_node


@pytest.fixture
def folder(tmp_path: Path, node: EmbeddedNode, metadata_database: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the data, with every setting pointing into the test's own folder."""
    monkeypatch.setattr(configs, "SOURCES_FILE", str(tmp_path / "data" / "sources.yaml"))
    monkeypatch.setattr(configs, "STAGING_URL", str(tmp_path / "staging"))
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(configs, "DATA_DOCS_DIR", str(tmp_path / "data_docs"))
    monkeypatch.setattr(configs, "ELASTICSEARCH_URL", node.url)
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", "Europe/Berlin")
    monkeypatch.setattr(configs, "MAX_QUARANTINED_SHARE", 0.25)
    monkeypatch.setattr(configs, "TASK_RETRIES", 0)
    monkeypatch.setattr(configs, "BULK_RETRIES", 2)
    return tmp_path / "data"


def run(**conf: Any) -> DagRun:
    dag = DagBag(str(configs.PROJECT_ROOT / "dags")).dags["customer_analytics"]
    with without_the_loop_of_the_browser():
        finished: DagRun = dag.test(run_conf=conf)
    return finished


def look_at_every_dashboard(
    browser: Browser,
    url: str,
    login: tuple[str, str],
    elasticsearch_url: str,
    data: str,
    *,
    looks: Sequence[Look] = LOOKS,
    empty: Collection[str] = (),
    judged: Collection[Look] = (),
) -> None:
    """Walk over them in those looks; in the first all numbers are held against what is stored.

    Those in `empty` say why they are. Axe judges the looks in `judged`. The pictures are in test-results/`data`.
    """
    names = []
    with logged_in(browser, url, login, *LOOKS[0]) as page, connect(elasticsearch_url) as client:
        for name in walk(page, url, SCREENSHOTS / data, looks=looks, empty=empty, judged=judged):
            names.append(name)
            if name != QUARANTINE and name not in empty:
                check_drawn(page, read_dashboard(client, dashboard(name)), presses=False)
    assert names == [*(one.name for one in dashboards()), QUARANTINE]


WITHOUT_KIBANA = {"import_dashboards"}
THE_REQUIRED_ONLY = {
    *WITHOUT_KIBANA,
    "exploratory.product_analytics",
    "exploratory.promotion_analytics",
    "machine_learning.delivery_analytics",
}


def states(finished: DagRun) -> dict[str, str]:
    return {one.task_id: str(one.state) for one in finished.get_task_instances()}


def skipped(finished: DagRun) -> set[str]:
    """The tasks that were skipped; all the others succeeded."""
    found = states(finished)
    assert set(found.values()) <= {"success", "skipped"}
    return {name for name, state in found.items() if state == "skipped"}
