"""Following a run in the terminal: which task, how many rows, how fast; and the table at its end."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

import configs
from include.launch.airflow_stack import DAG_ID, AirflowApi

SECONDS_BETWEEN_LOOKS = 1.5
FINISHED = ("success", "failed", "skipped", "upstream_failed", "removed")
SIGNS = {
    "success": "[green]done[/]",
    "failed": "[red]failed[/]",
    "skipped": "[yellow]skipped[/]",
    "upstream_failed": "[yellow]not run[/]",
}


def follow(console: Console, api: AirflowApi, run_id: str, progress_dir: Path) -> str:
    """Print a line when a task starts, moves on or ends, until the run has ended; the run's final state."""
    said: dict[str, Any] = {}
    while True:
        api.services.require_alive()
        try:
            state = str(api.get(f"/dags/{DAG_ID}/dagRuns/{run_id}")["state"])
            tasks = api.get(f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances?limit=200")["task_instances"]
        except httpx.TransportError:  # a busy API server: the next look will tell
            time.sleep(SECONDS_BETWEEN_LOOKS)
            continue
        for task in sorted(tasks, key=lambda task: (task["end_date"] or "~", task["start_date"] or "~")):
            line = _line(task, progress_dir)
            if line and said.get(task["task_id"]) != line:
                said[task["task_id"]] = line
                console.print(line, highlight=False, soft_wrap=True)
        if state in ("success", "failed"):
            return state
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _line(task: dict[str, Any], progress_dir: Path) -> str:
    name, state = task["task_id"], task["state"]
    done = _progress(progress_dir / f"{name}.json")
    if state in FINISHED:
        seconds = f"{task['duration']:.1f} s" if task["duration"] else ""
        return f"  {SIGNS.get(state, state):<20} {name:<40} {seconds:>9}  {done}"
    if state == "running":
        attempt = f" (try {task['try_number']})" if task["try_number"] > 1 else ""
        return f"  [cyan]running[/]        {name + attempt:<40} {'':>9}  {done}"
    if state == "up_for_retry":
        return f"  [yellow]will retry[/]     {name}"
    return ""


def _progress(file: Path) -> str:
    if not file.exists():
        return ""
    state = json.loads(file.read_text(encoding="utf-8"))
    total = f" of {state['total']:,}" if state["total"] else ""
    return f"{state['done']:,}{total} {state['unit']}, {state['per_second']:,} a second"


def failures(api: AirflowApi, run_id: str) -> list[str]:
    """For each failed task the sentence it failed with, from its log."""
    tasks = api.get(f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances?limit=200")["task_instances"]
    found = []
    for task in tasks:
        if task["state"] != "failed":
            continue
        path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
        events = api.get(path).get("content", [])
        reasons = [
            error["exc_value"]
            for event in events
            if isinstance(event, dict)
            for error in event.get("error_detail") or []
            if error.get("exc_value")
        ]
        found.append(f"{task['task_id']}: {reasons[-1] if reasons else 'see its log in the Airflow UI'}")
    return found


def summary_table(summary: dict[str, Any], seconds: float) -> Table:
    """Rows read, quarantined and staged per source; documents indexed; reports written; seconds."""
    table = Table(title="This run", title_justify="left")
    for column in ("", "rows read", "quarantined", "not wanted", "good"):
        table.add_column(column, justify="left" if not column else "right")
    for kind, counts in summary["sources"].items():
        numbers = (counts[name] for name in ("read", "quarantined", "outside_window", "good"))
        table.add_row(kind, *(f"{number:,}" for number in numbers))
    table.add_section()
    for index, documents in summary["indexed"].items():
        table.add_row(f"indexed in {index}", "", "", "", f"{documents:,}")
    table.add_row("reports written", "", "", "", f"{summary['reports']:,}")
    table.add_row("seconds", "", "", "", f"{seconds:,.1f}")
    told = ["Not wanted: before what was loaded already, or outside the period asked for."]
    quarantined = sum(counts["quarantined"] for counts in summary["sources"].values())
    if summary["indexed"].get("quarantine", quarantined) < quarantined:
        most = configs.QUARANTINE_INDEXED_ROWS_MAX
        told.append(f"Of each reason {most:,} quarantined rows are indexed; the Parquet files have them all.")
    table.caption = "\n".join(told)
    return table
