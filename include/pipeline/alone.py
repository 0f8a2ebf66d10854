"""Only one DAG at a time writes the snapshot and the indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.problem import Problem

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


def require_alone(context: Context, other: str, *, retry: bool) -> None:
    """Raise a `Problem` while a run of the DAG `other` is at work.

    Of two that began at the same moment the one with `retry` comes later, and the other one gives way.
    """
    if context["ti"].get_dr_count(other, states=["running"]):
        problem = Problem(f"A run of {other} is at work, and both write the same indexes; start this when it is done.")
        problem.retry = retry
        raise problem
