"""
# Replay the quarantine

Judges quarantined rows again after the rules, the mapping in `sources.yaml` or the data they refer to have changed, and
loads those that pass now.

1. **check** asks whether everything can be used that this needs, and that no load is at work.
2. **revalidate** reads the rows from the Parquet files of the runs whose quarantine is kept, applies the mapping and
   the rules as they are now, and holds what passes against what is loaded: a row never takes the place of a newer one.
   Customers come first, so that sessions whose client has arrived since are loaded.
3. **stage**, **index_orders**, **index_downloads**, the analyses and **publish** are those of `customer_analytics`.
   They are skipped when nothing passes.
4. **mark** writes into the quarantine which rows are loaded now, and the new reasons of those that are not. The
   *Quarantine* page shows both.

It can be repeated, and cleared and run again at any task: nothing is loaded twice. Trigger it with *dry run* to see
what would pass.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, task

import configs
from include.pipeline.from_snapshot import Reference, from_snapshot
from include.pipeline.replay_parameters import replay_parameters


@task
def check() -> Reference:
    """Can everything be used that a replay needs, and is no run of `customer_analytics` at work?"""
    from include.pipeline.check import check

    return check(get_current_context(), not_beside="customer_analytics", retry=False)


@task
def revalidate() -> Reference:
    """Judge the quarantined rows by the mapping and the rules of now, and by what is loaded."""
    from include.pipeline.replay import revalidate_all

    return revalidate_all(get_current_context())


@task
def stage(replayed: Reference) -> Reference:
    """Merge the rows that pass into the snapshot. Skipped when none does, and on a dry run."""
    from include.pipeline.replay import stage_replayed

    return stage_replayed(get_current_context(), replayed)


@task(trigger_rule=TriggerRule.ALL_DONE)
def publish(staged: Reference, replayed: Reference, indexed: list[Reference], analysed: dict[str, Any]) -> Reference:
    """Show the new reports all at once, and write the customers' scores."""
    from include.pipeline.replay import publish_replayed

    return publish_replayed(get_current_context(), staged, replayed, indexed, analysed)


@task(trigger_rule=TriggerRule.NONE_FAILED)
def mark(replayed: Reference) -> Reference:
    """Write into the quarantine which rows are loaded now, and why the others are not."""
    from include.pipeline.replay import mark_all

    return mark_all(get_current_context(), replayed)


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    max_active_tasks=configs.TASKS_AT_ONCE,
    params=replay_parameters(),
    doc_md=__doc__,
    tags=["customer-analytics"],
    default_args={
        "owner": "customer-analytics",
        "retries": configs.TASK_RETRIES,
        "retry_delay": timedelta(seconds=configs.TASK_RETRY_DELAY_SECONDS),
    },
)
def replay_quarantine() -> None:
    replayed = revalidate()
    check() >> replayed
    staged = stage(replayed)
    indexed, analysed = from_snapshot(staged)
    publish(staged, replayed, indexed, analysed) >> mark(replayed)


replay_quarantine()
