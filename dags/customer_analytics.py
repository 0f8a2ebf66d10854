"""
# Customer analytics

Takes your sessions and customers (and products and deliveries, where you have them) to dashboards.

1. **check** asks whether Elasticsearch, staging and every source can be used. Each trouble is one line that says what
   to do.
2. One group per source: **extract** streams the source through the row rules, **validate** applies the rules that need
   the whole load and lets Great Expectations gate it. Bad rows are quarantined with their reasons; too many of them
   fail the run before anything is loaded.
3. **stage** merges the good rows into the Parquet snapshot that everything later reads.
4. **index_orders** and **index_downloads** bring it to Elasticsearch, and count it there.
5. One task per analysis, in the groups **exploratory** and **machine_learning**, each writing its reports.
6. **publish** makes the new reports visible all at once, writes the customers' scores and sums up the run.

Every task can be cleared and run again, and a run repeated: the indexes end up the same. Trigger it with *dry run* to
see what would be read and rejected.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, CronTriggerTimetable, TaskGroup, TriggerRule, dag, get_current_context, task

import configs
from include import catalogue
from include.pipeline.parameters import configured_kinds, cron, parameters

Reference = Any  # a dict of paths, counts and ids: all that travels between tasks; XComArg while Airflow parses


def schedule() -> Any:
    expression = cron()
    if expression is None or expression == "once":
        return expression and "@once"
    return CronTriggerTimetable(expression, timezone=configs.BUSINESS_TIMEZONE)


@task
def check() -> Reference:
    """Can everything be used that this run needs?

    Elasticsearch: reachable, version and health, credentials, rights. Staging and temporary folder: writable, with
    room. Each source: reachable, with the columns its mapping names. All troubles are listed at once, one line each.
    """
    from include.pipeline.check import check

    return check(get_current_context())


@task
def extract(kind: str) -> Reference:
    """Stream the source through the row rules.

    Good rows go to this run's landing files; a bad one to quarantine, with its file, line, values and the rules it
    broke.
    """
    from include.pipeline.extract import extract

    return extract(get_current_context(), kind)


@task
def validate(kind: str, extracted: Reference, customers: Reference | None) -> Reference:
    """Apply the rules that need the whole load (duplicates, unknown clients) and the Great Expectations suite.

    Fails when a larger share of the rows than `MAX_QUARANTINED_SHARE` is bad, or an expectation does not hold for the
    good ones. The data docs of the suite are linked on the Customer Analytics page.
    """
    from include.pipeline.validate import validate

    return validate(get_current_context(), kind, extracted, customers)


@task
def stage(validated: list[Reference]) -> Reference:
    """Merge the good rows into the snapshot: by key, the newest version of a row wins; nothing older is lost.

    Skipped on a dry run, and with it everything after.
    """
    from include.pipeline.stage import stage

    return stage(get_current_context(), validated)


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
    from include.pipeline.analyse import analyse

    return analyse(get_current_context(), name, staged)


@task(trigger_rule=TriggerRule.ALL_DONE)
def publish(
    staged: Reference, validated: list[Reference], indexed: list[Reference], analysed: dict[str, Reference]
) -> Reference:
    """Show the new reports all at once, write the customers' scores, and sum up the run.

    Runs even when an analysis failed, so that the others' reports are not held back, and then fails with its name.
    """
    from include.pipeline.publish import publish

    return publish(get_current_context(), staged, validated, indexed, analysed)


@dag(
    schedule=schedule(),
    start_date=datetime.fromisoformat(configs.START_DATE).replace(tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # two runs at once would write the same indexes
    max_active_tasks=configs.TASKS_AT_ONCE,
    params=parameters(),
    doc_md=__doc__,
    tags=["customer-analytics"],
    default_args={
        "owner": "customer-analytics",
        "retries": configs.TASK_RETRIES,
        "retry_delay": timedelta(seconds=configs.TASK_RETRY_DELAY_SECONDS),
    },
)
def customer_analytics() -> None:
    checked = check()

    def source_group(kind: str, customers: Any) -> Any:
        with TaskGroup(kind, tooltip=f"Read and validate the {kind}"):
            extracted = extract(kind)
            checked >> extracted
            return validate(kind, extracted, customers)

    validated: dict[str, Any] = {"customers": source_group("customers", None)}
    for kind in configured_kinds():
        if kind != "customers":
            validated[kind] = source_group(kind, validated["customers"] if kind == "sessions" else None)

    staged = stage(list(validated.values()))
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

    publish(staged, list(validated.values()), indexed, analysed)


customer_analytics()
