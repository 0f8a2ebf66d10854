"""`make run` on the real CDNOW data, as a new user meets it: run, look, break, run again."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, Page

from include.datasets.cdnow import master_file, purchase_lines
from include.elastic.node import EmbeddedNode, embedded_node
from include.launch.airflow_stack import DAG_ID
from include.pipeline.run import run_key
from tests.checksums import checksum, documents
from tests.end_to_end.conftest import (
    SECONDS_TO_FINISH,
    THE_REQUIRED_ONLY,
    WITHOUT_KIBANA,
    MakeRun,
    look_at_every_dashboard,
    make_run,
    processes_of,
)
from tests.looks import LOOKS

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def var_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("make-run") / "var"


@pytest.fixture(scope="module")
def running(var_dir: Path) -> Iterator[MakeRun]:
    with make_run(var_dir, "DATA=cdnow") as run:
        run.wait_for("Press Ctrl-C")
        yield run


@pytest.fixture(scope="module")
def first_checksum(running: MakeRun) -> str:
    return checksum(running.elasticsearch, "orders", "downloads")


class Api:
    """The REST API of the running Airflow."""

    def __init__(self, run: MakeRun) -> None:
        username, password = run.login
        answer = httpx.post(f"{run.airflow}/auth/token", json={"username": username, "password": password}, timeout=60)
        self.client = httpx.Client(
            base_url=f"{run.airflow}/api/v2/dags/{DAG_ID}",
            headers={"Authorization": f"Bearer {answer.json()['access_token']}"},
            timeout=60,
        )

    def trigger(self, **conf: object) -> str:
        answer = self.client.post("/dagRuns", json={"logical_date": None, "conf": conf})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["dag_run_id"])

    def task(self, run_id: str, task_id: str) -> dict[str, object]:
        found: dict[str, object] = self.client.get(f"/dagRuns/{run_id}/taskInstances/{task_id}").json()
        return found

    def wait(self, run_id: str) -> str:
        deadline = time.monotonic() + SECONDS_TO_FINISH
        while True:
            state = str(self.client.get(f"/dagRuns/{run_id}").json()["state"])
            if state in ("success", "failed"):
                return state
            assert time.monotonic() < deadline, f"{run_id} did not end"
            time.sleep(1)


@pytest.fixture(scope="module")
def api(running: MakeRun) -> Iterator[Api]:
    found = Api(running)
    yield found
    found.client.close()


def test_the_terminal_shows_progress_the_table_and_where_to_look(running: MakeRun) -> None:
    assert re.search(r"done\s+index_orders\s+[\d.]+ s\s+67,591 documents, [\d,]+ a second", running.text)
    assert re.search(r"sessions\s+│\s+67,591 │\s+0 │\s+0 │ 67,591", running.text)
    assert re.search(r"indexed in downloads\s+│\s+│\s+│\s+│ 23,570", running.text)
    assert f"Dashboards   {running.airflow}/" in running.text


def test_every_line_of_the_file_is_in_the_indexes(running: MakeRun, first_checksum: str) -> None:
    """A second count of the file: all lines of a client on one day are one order, its amount their sum."""
    lines = list(purchase_lines(master_file()))
    assert len(lines) == 69_659
    orders = documents(running.elasticsearch, "orders")
    downloads = documents(running.elasticsearch, "downloads")
    assert len(orders) == len({(client, day) for client, day, _ in lines}) == 67_591
    assert len(downloads) == len({client for client, _, _ in lines}) == 23_570
    total = sum(Decimal(str(order["payment_amount"])) for order in orders.values())
    assert total == sum(amount for _, _, amount in lines)
    assert sum(download["scores"]["frequency"] for download in downloads.values()) == 67_591


def test_the_page_shows_what_elasticsearch_holds(running: MakeRun, page: Page) -> None:
    username, password = running.login
    page.goto(running.text.split("Dashboards")[1].split()[0])
    page.fill("input[name=username]", username)
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="RFM").click()
    frame.locator("[data-panel-id^='rfm.segments'] canvas, [data-panel-id^='rfm.segments'] svg").first.wait_for()
    frame.get_by_role("cell", name="champions", exact=True).first.wait_for()
    shown = frame.locator("tr", has=frame.get_by_role("cell", name="champions", exact=True)).first.inner_text()
    query = {
        "bool": {
            "filter": [
                {"term": {"report_name": "rfm"}},
                {"term": {"rfm_segment": "champions"}},
                {"term": {"type": "segments"}},
            ]
        }
    }
    (row,) = documents(running.elasticsearch, "reports-latest", query).values()
    assert f"{row['customers']:,}" in shown
    assert f"{row['revenue']:,.2f}" in shown
    Path("test-results").mkdir(exist_ok=True)
    page.screenshot(path="test-results/make-run-rfm.png")


def test_every_dashboard_wide_and_light_and_narrow_and_dark(running: MakeRun, browser: Browser) -> None:
    empty = {task.rpartition(".")[2] for task in THE_REQUIRED_ONLY - WITHOUT_KIBANA}
    looks = LOOKS[::2]
    look_at_every_dashboard(
        browser, running.airflow, running.login, running.elasticsearch, "cdnow", looks=looks, empty=empty
    )


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1440, "height": 1000})
    yield opened
    opened.close()


def test_without_a_login_the_page_is_closed(running: MakeRun) -> None:
    for path in ("", "api/dashboards", "data-docs/index.html"):
        assert httpx.get(f"{running.airflow}/customer-analytics/{path}").status_code == 401


def test_the_form_refuses_a_wrong_value_with_its_reason(api: Api) -> None:
    answer = api.client.post("/dagRuns", json={"logical_date": None, "conf": {"analyses": ["rmf"]}})
    assert answer.status_code == 400
    assert "'rmf' is not one of" in answer.text


def test_a_dry_run_changes_nothing(running: MakeRun, api: Api, first_checksum: str) -> None:
    run_id = api.trigger(dry_run=True)
    assert api.wait(run_id) == "success"
    assert api.task(run_id, "sessions.validate")["state"] == "success"
    assert api.task(run_id, "stage")["state"] == "skipped"
    assert api.task(run_id, "publish")["state"] == "skipped"
    assert checksum(running.elasticsearch, "orders", "downloads") == first_checksum


def test_a_worker_killed_while_indexing_is_retried_to_the_same_documents(
    running: MakeRun, api: Api, first_checksum: str
) -> None:
    run_id = api.trigger(full_refresh=True, analyses=["rfm"])
    victim = wait_for_task_process(running, api, run_id, "index_orders")
    victim.send_signal(signal.SIGKILL)
    assert api.wait(run_id) == "success"
    assert api.task(run_id, "index_orders")["try_number"] == 2
    assert checksum(running.elasticsearch, "orders", "downloads") == first_checksum
    the_report_of_the_runs_is_right(running, api, run_id)


def the_report_of_the_runs_is_right(running: MakeRun, api: Api, run_id: str) -> None:
    """As Airflow knows the run's tasks, and as `publish` summed it up; the dry run before is told as one."""
    query = {"bool": {"filter": [{"term": {"report_name": "runs"}}, {"term": {"is_header": False}}]}}
    rows = list(documents(running.elasticsearch, "reports-latest", query).values())
    tasks = {one["task"]: one for one in rows if one["type"] == "tasks" and one["run"] == run_id}
    known = api.client.get(f"/dagRuns/{run_id}/taskInstances?limit=200").json()["task_instances"]
    assert set(tasks) == {one["task_id"] for one in known} - {"publish", "import_dashboards", "write_report"}
    assert (tasks["index_orders"]["try_number"], tasks["index_orders"]["task_rows"]) == (2, 67_591)
    told = {one["run"]: one for one in rows if one["type"] == "runs"}
    assert [one["run_state"] for one in sorted(told.values(), key=lambda one: one["started_at"])] == [
        "complete", "dry run", "complete",
    ]  # fmt: skip
    (file,) = (running.var_dir / "staging" / "runs").glob(f"{run_key(run_id)}/summary.json")
    summary = json.loads(file.read_text(encoding="utf-8"))
    assert told[run_id]["rows_read"] == sum(one["read"] for one in summary["sources"].values())
    assert told[run_id]["rows_quarantined"] == sum(one["quarantined"] for one in summary["sources"].values())
    assert told[run_id]["documents_indexed"] == sum(summary["indexed"].values())
    assert (told[run_id]["reports_written"], told[run_id]["reports_as_of"]) == (summary["reports"], summary["as_of"])


def wait_for_task_process(running: MakeRun, api: Api, run_id: str, task_id: str) -> psutil.Process:
    """The process that runs the task, once it has begun to send documents."""
    progress = running.var_dir / "progress" / f"{task_id}.json"
    before = progress.stat().st_mtime_ns
    deadline = time.monotonic() + SECONDS_TO_FINISH
    while progress.stat().st_mtime_ns == before:
        assert time.monotonic() < deadline, f"{task_id} did not begin"
        time.sleep(0.02)
    pid = int(str(api.task(run_id, task_id)["pid"]))
    return psutil.Process(pid)


def test_ctrl_c_stops_everything_it_started(running: MakeRun, var_dir: Path) -> None:
    assert len(processes_of(var_dir)) > 3
    running.interrupt()
    deadline = time.monotonic() + 30
    while processes_of(var_dir):
        assert time.monotonic() < deadline, processes_of(var_dir)
        time.sleep(0.2)
    assert "Traceback" not in running.text


def test_a_second_run_ends_in_the_same_state_and_leaves_nothing_running(var_dir: Path, first_checksum: str) -> None:
    # No download: whoever tried would fail at these addresses.
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "PIP_INDEX_URL": "http://127.0.0.1:9", "ANALYSES": "rfm,cohorts"}
    with make_run(var_dir, "DATA=cdnow", "ONCE=1", **nowhere) as again:
        assert again.wait_to_end() == 0, again.text
    assert processes_of(var_dir) == []
    with embedded_node(var_dir, port=0) as node:
        assert checksum(node.url, "orders", "downloads") == first_checksum


def test_a_folder_of_ones_own_on_a_cluster_of_ones_own(tmp_path: Path, node: EmbeddedNode) -> None:
    data = tmp_path / "my shop"
    data.mkdir()
    (data / "s.csv").write_text("id;who;day;sum\n1;x;31.12.2023;1.200,50\n2;y;05.01.2024;7\n", encoding="utf-8")
    (data / "c.csv").write_text("who,day\nx,2023-12-01\ny,2024-01-02\n", encoding="utf-8")
    (data / "sources.yaml").write_text(
        """
        sessions:
          connector: csv
          path: s.csv
          columns: {id: id, client: who, session_start_date: day, has_purchased: {constant: true}, payment_amount: sum}
          csv: {date_format: "%d.%m.%Y"}
        customers: {connector: csv, path: c.csv, columns: {client: who, download_date: day}}
        """,
        encoding="utf-8",
    )
    settings = {"ELASTICSEARCH_URL": node.url, "ANALYSES": "descriptive_statistics"}
    with make_run(tmp_path / "var", f"DATA={data}", "ONCE=1", **settings) as run:
        assert run.wait_to_end() == 0, run.text
    assert "Starting the embedded Elasticsearch" not in run.text
    orders = documents(node.url, "orders")
    assert {name: order["payment_amount"] for name, order in orders.items()} == {"1": 1200.5, "2": 7.0}
    assert processes_of(tmp_path / "var") == []


def test_a_busy_port_is_named_before_anything_starts(tmp_path: Path, var_dir: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with make_run(tmp_path / "var", "ONCE=1", AIRFLOW_PORT=str(port)) as refused:
            assert refused.wait_to_end() != 0
        assert f"port {port} (AIRFLOW_PORT) is in use by process {os.getpid()}" in refused.text
    assert not (tmp_path / "var" / "airflow" / "airflow.db").exists()
