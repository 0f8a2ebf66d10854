"""Runs that would write at the same time: which of them waits."""

from types import SimpleNamespace
from typing import Any

import pytest

from include.pipeline.alone import require_turn
from include.problem import Problem


def context(run_id: str, states: dict[str, dict[str, str | None]], runs: dict[str, str]) -> Any:
    """Of the run `run_id`, among runs whose tasks and which themselves have these states."""

    def task_states(dag_id: str, task_ids: list[str]) -> dict[str, dict[str, str | None]]:
        assert (dag_id, task_ids) == ("customer_analytics", ["check", "publish"])
        return states

    ti = SimpleNamespace(
        dag_id="customer_analytics",
        run_id=run_id,
        get_task_states=task_states,
        get_dagrun_state=lambda _, other: runs[other],
    )
    return {"ti": ti}


OWN = {"mine": {"check": "running", "publish": None}}


@pytest.mark.parametrize(
    ("name", "check", "publish", "state"),
    [
        ("a", "success", None, "running"),
        ("z", "success", "queued", "running"),
        ("z", "success", "up_for_retry", "running"),
        ("a", "running", None, "running"),  # it comes first
    ],
)
def test_who_meets_a_run_at_work_waits(name: str, check: str, publish: str | None, state: str) -> None:
    states = {**OWN, name: {"check": check, "publish": publish}}
    with pytest.raises(Problem, match=f"The run {name} is at work.*start this when it is done") as caught:
        require_turn(context("mine", states, {name: state}))
    assert caught.value.retry


@pytest.mark.parametrize(
    ("name", "check", "publish", "state"),
    [
        ("a", "success", "success", "running"),  # it only writes its report yet
        ("a", "success", "upstream_failed", "failed"),
        ("a", "failed", "upstream_failed", "failed"),
        ("a", "up_for_retry", None, "running"),  # it waits itself
        ("z", "running", None, "running"),  # it comes after this one
        ("a", "success", None, "failed"),  # somebody ended it
    ],
)
def test_others_are_no_hindrance(name: str, check: str, publish: str | None, state: str) -> None:
    require_turn(context("mine", {**OWN, name: {"check": check, "publish": publish}}, {name: state}))


def test_of_two_that_begin_together_just_one_goes_on() -> None:
    both = {name: {"check": "running", "publish": None} for name in ("first", "second")}
    running = dict.fromkeys(both, "running")
    require_turn(context("first", both, running))
    with pytest.raises(Problem):
        require_turn(context("second", both, running))
