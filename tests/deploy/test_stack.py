"""The stack's processes without containers, with the compose file's commands and environment."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from elasticsearch import Elasticsearch

from deploy.secure_elasticsearch import PIPELINE
from include.dashboards.kibana import saved_objects
from include.launch.services import stop_family
from tests.deploy.compose import ROOT, dockerfile_environment, services
from tests.deploy.conftest import SecuredNode
from tests.kibana_server import KibanaServer, kibana_server
from tests.postgres_server import BIN
from tests.servers import free_port

pytestmark = [pytest.mark.contract, pytest.mark.end_to_end]

ORDERS = 60
SECONDS_TO_HAPPEN = 600  # so that only what hangs fails, on a machine with much else to do too
DAG = "customer_analytics"
PROCESSES = ("api-server", "scheduler", "dag-processor", "triggerer", "worker")


@dataclass
class Stack:
    """The running stack; `logs` has a file per service."""

    url: str
    logs: Path
    environments: dict[str, dict[str, str]]
    processes: dict[str, subprocess.Popen[bytes]]
    token: str = ""

    def told(self) -> str:
        """The end of every log, for a test that fails."""
        logs = sorted(self.logs.glob("*.log"))
        return "\n".join(f"== {log.name}\n{log.read_text('utf-8', 'replace')[-3000:]}" for log in logs)

    def log_in(self, password: str) -> bool:
        login = {"username": "admin", "password": password}
        try:
            answer = httpx.post(f"{self.url}/auth/token", json=login, timeout=30)
        except httpx.TransportError:
            return False  # still starting
        if answer.is_success:
            self.token = answer.json()["access_token"]
        return answer.is_success

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=60)

    def wait_for(self, condition: Any) -> None:
        deadline = time.monotonic() + SECONDS_TO_HAPPEN
        while not condition():
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not ended, f"{ended} ended\n{self.told()}"
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.5)


def write_data(folder: Path) -> None:
    """Orders of 20 customers, three each, on successive days; and their sources.yaml."""
    folder.mkdir()
    first = date(2024, 1, 1)
    orders = [f"{number},c{number % 20},{first + timedelta(days=number)},{10 + number}" for number in range(ORDERS)]
    (folder / "orders.csv").write_text("\n".join(["id,client,day,total", *orders]) + "\n", encoding="utf-8")
    customers = [f"c{number},2024-01-01" for number in range(20)]
    (folder / "customers.csv").write_text("\n".join(["client,day", *customers]) + "\n", encoding="utf-8")
    (folder / "sources.yaml").write_text(
        """
sessions:
  connector: csv
  path: orders.csv
  columns: {id: id, client: client, session_start_date: day, has_purchased: {constant: true}, payment_amount: total}
customers:
  connector: csv
  path: customers.csv
  columns: {client: client, download_date: day}
""",
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def kibana(secrets: dict[str, str]) -> Iterator[KibanaServer]:
    with kibana_server() as server:
        server.logins = {PIPELINE: secrets["PIPELINE_PASSWORD"]}
        yield server


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    secrets: dict[str, str],
    postgres_port: int,
    redis_port: int,
    elasticsearch: SecuredNode,
    kibana: KibanaServer,
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    write_data(folder / "data")
    port = free_port()
    # Host names and paths of the containers, and what they are here.
    here = {
        "@postgres:5432": f"@127.0.0.1:{postgres_port}",
        "@redis:6379": f"@127.0.0.1:{redis_port}",
        '"host": "elasticsearch", "port": 9200': f'"host": "127.0.0.1", "port": {elasticsearch.port}',
        "http://kibana:5601": kibana.url,
        "airflow-api-server:8080": f"127.0.0.1:{port}",
        "localhost:8080": f"127.0.0.1:{port}",
        "/opt/customer-analytics": str(ROOT),
        "/opt/airflow": str(folder / "home"),
        "/var/lib/customer-analytics": str(folder / "var"),
        "/data/": f"{folder / 'data'}/",
        "/opt/venv/bin:$PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    more = {
        "HOME": str(folder),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        # Each container has ports of its own, the processes here share one set.
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
    }
    found = services(secrets)
    environments = {}
    for name in ("init", *PROCESSES, "kibana-setup"):
        service = found.get(f"airflow-{name}") or found[name]
        environments[name] = {**dockerfile_environment(), **service["environment"]}
        for setting, value in environments[name].items():
            value = str(value)
            for there, instead in here.items():
                value = value.replace(there, instead)
            environments[name][setting] = value
        environments[name] |= more
    logs = folder / "logs"
    logs.mkdir()
    running = Stack(f"http://127.0.0.1:{port}", logs, environments, {})
    try:
        with (logs / "init.log").open("wb") as sink:
            initialise = {"cwd": ROOT, "env": environments["init"], "stdout": sink, "stderr": subprocess.STDOUT}
            done = subprocess.run(found["airflow-init"]["command"], check=False, **initialise)
        assert done.returncode == 0, running.told()
        for name in PROCESSES:
            with (logs / f"{name}.log").open("wb") as sink:
                running.processes[name] = subprocess.Popen(
                    found[f"airflow-{name}"]["command"],
                    env=environments[name],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        yield running
    finally:
        for process in reversed(running.processes.values()):
            stop_family(psutil.Process(process.pid) if process.poll() is None else None, process.pid)
            process.wait()


def test_the_dashboards_are_in_kibana_before_the_first_run(
    stack: Stack, secrets: dict[str, str], kibana: KibanaServer
) -> None:
    """While the services start: this one needs none of them."""
    command, environment = services(secrets)["kibana-setup"]["command"], stack.environments["kibana-setup"]
    kibana.faults.append((503, "Kibana server is not ready yet"))
    codes = []
    for _ in range(2):  # it is started again after a failure
        with (stack.logs / "kibana-setup.log").open("ab") as sink:
            done = subprocess.run(
                command, check=False, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT
            )
        codes.append(done.returncode)
    assert codes == [1, 0], stack.told()
    assert set(kibana.spaces["default"]) == {(one["type"], one["id"]) for one in saved_objects()}
    assert kibana.settings["default"]["dateFormat:tz"]["userValue"] == "UTC"
    kibana.spaces["default"].clear()  # what comes now is the task's


def test_the_stack_runs_the_pipeline_and_shows_it(
    stack: Stack, secrets: dict[str, str], elasticsearch: SecuredNode, kibana: KibanaServer
) -> None:
    stack.wait_for(lambda: stack.log_in(secrets["AIRFLOW_ADMIN_PASSWORD"]))
    assert not stack.log_in("wrong")
    assert httpx.get(f"{stack.url}/customer-analytics/", timeout=30).status_code == 401

    def healthy() -> bool:
        state = stack.request("GET", "/api/v2/monitor/health").json()
        parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return all(state[part]["status"] == "healthy" for part in parts)

    stack.wait_for(healthy)
    # What forks the tasks' processes has the libraries; a file that is mapped into memory shows it.
    worker = psutil.Process(stack.processes["worker"].pid)
    stack.wait_for(lambda: any("/_duckdb." in one.path for one in worker.memory_maps()))
    stack.wait_for(lambda: stack.request("GET", f"/api/v2/dags/{DAG}").is_success)
    stack.request("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": False}).raise_for_status()
    asked = {"logical_date": None, "conf": {"analyses": ["rfm"]}}
    run = stack.request("POST", f"/api/v2/dags/{DAG}/dagRuns", asked).raise_for_status().json()
    path = f"/api/v2/dags/{DAG}/dagRuns/{run['dag_run_id']}"
    stack.wait_for(lambda: stack.request("GET", path).json()["state"] in ("success", "failed"))
    tasks = stack.request("GET", f"{path}/taskInstances?limit=100").json()["task_instances"]
    states = {task["task_id"]: task["state"] for task in tasks}
    assert stack.request("GET", path).json()["state"] == "success", f"{states}\n{stack.told()}"

    with Elasticsearch(elasticsearch.url, basic_auth=("elastic", secrets["ELASTIC_PASSWORD"])) as client:
        assert client.count(index="orders*")["count"] == ORDERS
    # The dashboards are in Kibana's place.
    assert states["import_dashboards"] == "success"
    assert {kind for kind, _ in kibana.spaces["default"]} == {"index-pattern", "search", "dashboard"}
    # With the names that the reports have now, in words.
    formats = [one["attributes"].get("fieldFormatMap", "") for one in kibana.spaces["default"].values()]
    assert sum('{"key":"rfm","value":"RFM"}' in one for one in formats) == 2
    # The API server has the plugin, and reaches the cluster with the connection of its environment.
    page = stack.request("GET", "/customer-analytics/")
    assert (page.status_code, "<html" in page.text) == (200, True)
    boards = stack.request("GET", "/customer-analytics/api/dashboards")
    assert boards.status_code == 200, boards.text
    # The worker's log is shown by the API server: that of the last try, should a slow machine have needed another.
    (tries,) = (task["try_number"] for task in tasks if task["task_id"] == "check")
    log = stack.request("GET", f"{path}/taskInstances/check/logs/{tries}")
    assert "Elasticsearch" in log.text, log.text[:2000]
    # No secret is in what the services say.
    said = "".join(file.read_text("utf-8", "replace") for file in stack.logs.glob("*.log"))
    assert not [name for name, value in secrets.items() if value in said]


def test_the_health_checks_see_what_runs_and_what_does_not(
    stack: Stack, secrets: dict[str, str], elasticsearch: SecuredNode, redis_port: int, postgres_port: int
) -> None:
    """The compose file's own commands; only the ports are those of here."""
    scheduler = stack.environments["scheduler"]["AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT"]
    here = {
        "127.0.0.1:8080": stack.url.removeprefix("http://"),
        "127.0.0.1:8974": f"127.0.0.1:{scheduler}",
        "127.0.0.1:9200": f"127.0.0.1:{elasticsearch.port}",
        "redis-cli": f"redis-cli -p {redis_port}",
        "pg_isready": f"{BIN / 'pg_isready'}",
    }
    found = services(secrets)

    def checking(name: str) -> subprocess.Popen[bytes]:
        kind, *command = found[name]["healthcheck"]["test"]
        for there, instead in here.items():
            command = [part.replace(there, instead) for part in command]
        if name == "postgres":
            command += ["--port", str(postgres_port)]
        own = stack.environments.get(
            name.removeprefix("airflow-"), {**os.environ, **found[name].get("environment", {})}
        )
        shell = ["sh", "-c"] if kind == "CMD-SHELL" else []
        return subprocess.Popen([*shell, *command], env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    checks = {name: checking(name) for name, service in found.items() if "healthcheck" in service and name != "kibana"}
    assert checks.keys() == {"postgres", "redis", "elasticsearch", *(f"airflow-{name}" for name in PROCESSES)}
    said = {name: check.communicate(timeout=120)[0] for name, check in checks.items()}
    assert {name: said[name] for name, check in checks.items() if check.returncode} == {}

    for name in ("triggerer", "scheduler"):
        process = stack.processes.pop(name)
        stop_family(psutil.Process(process.pid), process.pid)
        process.wait()
    stopped = [checking("airflow-triggerer"), checking("airflow-scheduler")]
    assert [check.communicate(timeout=120) and check.returncode for check in stopped] == [1, 1]
