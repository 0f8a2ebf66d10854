"""`make run`: the whole product on this machine, from nothing to dashboards.

    python -m include.launch --data demo|cdnow|completejourney|FOLDER [--once]

Starts the embedded Elasticsearch (unless a cluster is configured) and Airflow, runs the pipeline on the data, shows how
it goes, and stays in the foreground until Ctrl-C, which stops what was started here. With `--once` it ends when the run
does: exit code 0 when the run succeeded, else 1.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

import configs
from include.launch import watch
from include.launch.airflow_stack import DAG_ID, USER, AirflowApi, airflow_environment, has_connection, start_airflow
from include.launch.ports import require_free
from include.launch.services import Services
from include.problem import Problem


def main() -> int:
    parser = argparse.ArgumentParser(prog="make run", description="Run customer analytics on this machine.")
    parser.add_argument("--data", default="demo", help="demo, cdnow, completejourney, or a folder with a sources.yaml")
    parser.add_argument("--once", action="store_true", help="stop when the run has ended")
    arguments = parser.parse_args()
    console = Console()
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell starts background jobs with SIGINT ignored
        signal.signal(number, _interrupt)
    try:
        return _run(console, arguments.data, once=arguments.once)
    except Problem as problem:
        console.print(f"[red]{problem}[/]", highlight=False, markup=True, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(console: Console, data: str, *, once: bool) -> int:
    from include.datasets.prepare import prepare, require_same_data, time_zone

    var_dir = Path(configs.VAR_DIR).resolve()
    var_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(var_dir / "progress", ignore_errors=True)
    with contextlib.ExitStack() as stack:
        services = stack.enter_context(Services(var_dir / "processes.json", var_dir / "logs"))
        sources_file = prepare(data, var_dir)
        require_same_data(data, sources_file, var_dir)
        if not os.environ.get("BUSINESS_TIMEZONE") and (zone := time_zone(data)):
            os.environ["BUSINESS_TIMEZONE"] = zone
        environment = airflow_environment(
            var_dir, sources_file=sources_file, elasticsearch_url=None, port=configs.AIRFLOW_PORT
        )
        os.environ["PATH"] = environment["PATH"]
        embedded = not configs.ELASTICSEARCH_URL and not has_connection(environment, configs.ELASTICSEARCH_CONN_ID)
        ports = {"AIRFLOW_PORT": configs.AIRFLOW_PORT}
        if embedded:
            ports["ELASTICSEARCH_PORT"] = configs.ELASTICSEARCH_PORT
        require_free(ports)
        if embedded:
            environment["ELASTICSEARCH_URL"] = _start_elasticsearch(console, stack, var_dir)
        started = time.monotonic()
        console.print("Starting Airflow")
        start_airflow(services, environment)
        api = AirflowApi(f"http://127.0.0.1:{configs.AIRFLOW_PORT}", Path(environment["AIRFLOW_HOME"]), services)
        api.wait_until_healthy()
        api.wait_for_dag()
        console.print(f"Airflow is up after {time.monotonic() - started:.0f} s; running the pipeline on {data}")
        succeeded = _run_pipeline(console, api, var_dir)
        _say_where(console, api)
        if once:
            return 0 if succeeded else 1
        console.print("Press Ctrl-C to stop.")
        while True:
            services.require_alive()
            time.sleep(2)


def _start_elasticsearch(console: Console, stack: contextlib.ExitStack, var_dir: Path) -> str:
    from include.elastic.node import embedded_node

    version = configs.EMBEDDED_ELASTICSEARCH_VERSION
    console.print(f"Starting the embedded Elasticsearch {version} (fetched once, 107 MB)")
    node = stack.enter_context(embedded_node(var_dir, port=configs.ELASTICSEARCH_PORT))
    return node.url


def _run_pipeline(console: Console, api: AirflowApi, var_dir: Path) -> bool:
    started = time.monotonic()
    run_id = api.trigger({})
    state = watch.follow(console, api, run_id, var_dir / "progress")
    seconds = time.monotonic() - started
    if state != "success":
        for sentence in watch.failures(api, run_id):
            console.print(f"[red]{sentence}[/]", highlight=False, soft_wrap=True)
        return False
    path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/publish/xcomEntries/return_value"
    value: Any = api.get(path)["value"]
    summary = json.loads(value) if isinstance(value, str) else value
    console.print(watch.summary_table(summary, seconds))
    return True


def _say_where(console: Console, api: AirflowApi) -> None:
    console.print(f"Dashboards   {api.url}/plugin/customer-analytics", highlight=False)
    console.print(f"Airflow      {api.url}/dags/{DAG_ID}", highlight=False)
    console.print(f"Login        {USER} / {api.password}", highlight=False, markup=False)


if __name__ == "__main__":
    sys.exit(main())
