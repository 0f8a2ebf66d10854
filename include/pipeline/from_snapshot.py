"""The tasks that follow a staged snapshot: every DAG that stages something indexes it and computes the reports anew."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, TaskGroup, get_current_context, task

from include import catalogue

Reference = Any  # a dict of paths, counts and ids: all that travels between tasks; XComArg while Airflow parses


@task(outlets=[Asset("orders")])
def index_orders(staged: Reference) -> Reference:
    """Bulk-index the sessions of the months that changed, with baskets and deliveries; count them there."""
    from include.pipeline.index import index_orders

    return index_orders(get_current_context(), staged)


@task(outlets=[Asset("downloads")])
def index_downloads(staged: Reference) -> Reference:
    """Bulk-index the customers, keeping the scores they have; count them there."""
    from include.pipeline.index import index_downloads

    return index_downloads(get_current_context(), staged)


def analyse(name: str, staged: Reference) -> Reference:
    from airflow.sdk.exceptions import AirflowSkipException

    from include.pipeline.record import recorded

    context = get_current_context()
    if name not in context["params"]["analyses"]:  # before anything heavy is imported for nothing
        with recorded(context):
            raise AirflowSkipException(f"{name} was not chosen for this run; its latest reports stay.")
    from include.pipeline.analyse import analyse

    return analyse(context, name, staged)


def from_snapshot(staged: Reference) -> tuple[list[Reference], dict[str, Reference]]:
    """Add the tasks that index `staged` and, after them, one per analysis; what the former return, and the latter."""
    indexed = [index_orders(staged), index_downloads(staged)]
    analysed: dict[str, Any] = {}
    for group_name in catalogue.GROUPS:
        members = [one for one in catalogue.analyses() if one.group == group_name]
        if members:
            with TaskGroup(group_name):
                for one in members:
                    outlets = [Asset(f"reports/{one.name}")]
                    analysis = task(task_id=one.name, doc_md=one.doc, outlets=outlets)(analyse)(one.name, staged)
                    indexed >> analysis
                    analysed[one.name] = analysis
    return indexed, analysed
