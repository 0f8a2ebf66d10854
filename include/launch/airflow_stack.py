"""The local Airflow: its settings, its processes, and its REST API as far as `make run` needs it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

import configs
from include.launch.services import Services
from include.problem import Problem

DAG_ID = "customer_analytics"
USER = "admin"
SECONDS_TO_START = 180
# A request that meets a busy scheduler on SQLite may take a while; a lost one is asked again by the caller.
HTTP_TIMEOUT_SECONDS = 30.0


def airflow_environment(
    var_dir: Path, *, sources_file: Path, elasticsearch_url: str | None, port: int
) -> dict[str, str]:
    """The environment of every Airflow process. `elasticsearch_url` None: the user's own setting is left as it is."""
    home = var_dir / "airflow"
    root = str(configs.PROJECT_ROOT)
    # A task runs two threads of the engine; on a small machine more tasks at once only wait for each other.
    parallel = str(configs.TASKS_AT_ONCE)
    environment = {
        **os.environ,
        **_secrets(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": root,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": f"{root}/dags",
        "AIRFLOW__CORE__EXECUTOR": "include.launch.executor.LocalExecutor",
        "AIRFLOW__CORE__PLUGINS_FOLDER": f"{root}/plugins",
        "AIRFLOW__CORE__PARALLELISM": parallel,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{home}/logs",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        # A task's process that takes some milliseconds to end is looked at again this many seconds later, 5 by default.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # On a busy machine the API server answers its first task late: after 5 s, the default, that would have failed.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "SOURCES_FILE": str(sources_file),
        "VAR_DIR": str(var_dir),
        "PROGRESS_DIR": str(var_dir / "progress"),
        "GX_ANALYTICS_ENABLED": "False",
    }
    if elasticsearch_url is not None:
        environment["ELASTICSEARCH_URL"] = elasticsearch_url
    return environment


def _secrets(home: Path) -> dict[str, str]:
    """Keys that all Airflow processes share, made once and kept readable for this user only."""
    kept = home / "secrets.json"
    if not kept.exists():
        home.mkdir(parents=True, exist_ok=True)
        names = ("AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET")
        kept.touch(mode=0o600)
        kept.write_text(json.dumps({name: secrets.token_urlsafe(48) for name in names}), encoding="utf-8")
    found: dict[str, str] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def has_connection(environment: dict[str, str], conn_id: str) -> bool:
    """Whether the user gave Airflow this connection, in the environment or in the local metadata database."""
    if f"AIRFLOW_CONN_{conn_id.upper()}" in environment:
        return True
    if not (Path(environment["AIRFLOW_HOME"]) / "airflow.db").exists():
        return False
    asked = subprocess.run(
        ["airflow", "connections", "get", conn_id], env=environment, capture_output=True, check=False
    )
    return asked.returncode == 0


def start_airflow(services: Services, environment: dict[str, str]) -> None:
    """Migrate the metadata database and start the API server, the scheduler and the DAG processor."""
    migrated = subprocess.run(
        ["airflow", "db", "migrate"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if migrated.returncode != 0:
        log = services.log("airflow-db-migrate")
        log.write_bytes(migrated.stdout)
        raise Problem(f"Airflow's metadata database could not be prepared; see {log}.")
    services.start("airflow-api-server", ["airflow", "api-server"], environment)
    services.start("airflow-scheduler", ["airflow", "scheduler"], environment)
    services.start("airflow-dag-processor", ["airflow", "dag-processor"], environment)


@dataclass
class AirflowApi:
    """The REST API of the local Airflow. `password` is what the simple auth manager generated."""

    url: str
    home: Path
    services: Services
    _token: str = ""

    @property
    def password(self) -> str:
        kept = self.home / "simple_auth_manager_passwords.json.generated"
        passwords: dict[str, str] = json.loads(kept.read_text(encoding="utf-8"))
        return passwords[USER]

    def wait_until_healthy(self) -> None:
        """Until the API server answers and the scheduler and the DAG processor are alive."""

        def healthy() -> bool:
            state = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=HTTP_TIMEOUT_SECONDS).json()
            return all(state[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))

        self._wait_for(healthy, "Airflow did not become healthy")

    def wait_for_dag(self) -> None:
        """Until the DAG is parsed; a `Problem` with the first line of its import error when it cannot be."""

        def parsed() -> bool:
            errors = self.get("/importErrors")["import_errors"]
            if errors:
                raise Problem(
                    f"{errors[0]['filename']} cannot be parsed: {errors[0]['stack_trace'].strip().splitlines()[-1]}"
                )
            return any(dag["dag_id"] == DAG_ID for dag in self.get("/dags")["dags"])

        self._wait_for(parsed, f"The DAG {DAG_ID} did not appear")

    def _wait_for(self, condition: Any, failure: str) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            self.services.require_alive()
            try:
                if condition():
                    return
            except (httpx.TransportError, KeyError, ValueError):  # still starting: no answer, or not yet a whole one
                pass
            time.sleep(1)
        raise Problem(f"{failure} within {SECONDS_TO_START} seconds; see the logs in {self.services.log('x').parent}.")

    def trigger(self, parameters: dict[str, Any]) -> str:
        """Un-pause the DAG and start a run; its run id."""
        self.request("PATCH", f"/dags/{DAG_ID}", {"is_paused": False})
        run: dict[str, Any] = self.request(
            "POST", f"/dags/{DAG_ID}/dagRuns", {"logical_date": None, "conf": parameters}
        )
        return str(run["dag_run_id"])

    def get(self, path: str) -> dict[str, Any]:
        return self.request("GET", path, None)

    def request(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        for fresh in (False, True):
            if fresh or not self._token:
                login = {"username": USER, "password": self.password}
                answer = httpx.post(f"{self.url}/auth/token", json=login, timeout=HTTP_TIMEOUT_SECONDS)
                self._token = answer.json()["access_token"]
            response = httpx.request(
                method,
                f"{self.url}/api/v2{path}",
                json=body,
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=HTTP_TIMEOUT_SECONDS,
            )
            if response.status_code != httpx.codes.UNAUTHORIZED:  # else the token ran out
                break
        if response.is_error:
            raise Problem(f"Airflow answered {response.status_code} to {method} {path}: {response.text[:500]}")
        found: dict[str, Any] = response.json()
        return found
