"""Only one run at a time writes the snapshot and the indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.problem import Problem

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

FIRST, LAST = "check", "publish"  # a run writes after the one has passed, and until the other is done
DONE = {"success", "failed", "skipped", "upstream_failed", "removed"}


def require_alone(context: Context, other: str, *, retry: bool) -> None:
    """Raise a `Problem` while a run of the DAG `other` is at work.

    Of two that began at the same moment the one with `retry` comes later, and the other one gives way.
    """
    if context["ti"].get_dr_count(other, states=["running"]):
        problem = Problem(f"A run of {other} is at work, and both write the same indexes; start this when it is done.")
        problem.retry = retry
        raise problem


def require_turn(context: Context) -> None:
    """Raise a `Problem`, to be tried again, while another run of the same DAG is at work.

    `max_active_runs` of the DAG holds for all runs but those of a backfill, of which Airflow starts ten at once. Of
    several whose `check` runs at the same moment, the one with the first run id goes on.
    """
    ti = context["ti"]
    for run_id, states in sorted(ti.get_task_states(ti.dag_id, task_ids=[FIRST, LAST]).items()):
        if run_id == ti.run_id or states.get(LAST) in DONE:
            continue
        has_begun = states.get(FIRST) == "success" or (states.get(FIRST) == "running" and run_id < ti.run_id)
        if has_begun and ti.get_dagrun_state(ti.dag_id, run_id) == "running":
            problem = Problem(
                f"The run {run_id} is at work, and both write the same indexes; start this when it is done, and a "
                "backfill with --max-active-runs 1."
            )
            problem.retry = True
            raise problem
