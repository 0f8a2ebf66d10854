"""
# Customer analytics

Takes your sessions and customers (and products and deliveries, where you have them) to dashboards.

1. **check** asks whether Elasticsearch, staging and every source can be used. Each trouble is one line that says what
   to do.
2. One group per source: **extract** streams the source through the row rules, **validate** applies the rules that need
   the whole load and lets Great Expectations gate it. Bad rows are quarantined with their reasons; too many of them
   fail the run before anything is loaded. Either way **index_quarantine** shows them on the page *Quarantine*; the DAG
   `replay_quarantine` loads those that pass after the mapping or the rules were changed.
3. **stage** merges the good rows into the Parquet snapshot that everything later reads.
4. **index_orders** and **index_downloads** bring it to Elasticsearch, and count it there.
5. One task per analysis, in the groups **exploratory** and **machine_learning**, each writing its reports.
6. **publish** makes the new reports visible all at once, writes the customers' scores and sums up the run.
7. **import_dashboards** brings the dashboards to Kibana, where `KIBANA_URL` names one.
8. **write_report** writes the dashboards as one HTML file to staging, and mails it where `REPORT_RECIPIENTS` names
   somebody.

Every task can be cleared and run again, and a run repeated: the indexes end up the same. Trigger it with *dry run* to
see what would be read and rejected.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, TaskGroup, TriggerRule, dag, get_current_context, task

import configs
from include.pipeline.from_snapshot import Reference, from_snapshot
from include.pipeline.parameters import configured_sources, cron, parameters


def schedule() -> Any:
    expression = cron()
    if expression is None or expression == "once":
        return expression and "@once"
    # With an interval: a backfill reads the days of its own.
    return CronDataIntervalTimetable(expression, timezone=configs.BUSINESS_TIMEZONE)


@task
def check() -> Reference:
    """Can everything be used that this run needs?

    Elasticsearch: reachable, version and health, credentials, rights. Staging and temporary folder: writable, with
    room. Each source: reachable, with the columns its mapping names. All troubles are listed at once, one line each.
    """
    from include.pipeline.check import check

    return check(get_current_context(), not_beside="replay_quarantine", retry=True)


@task
def extract(name: str) -> Reference:
    """Stream the source through the row rules.

    Good rows go to this run's landing files; a bad one to quarantine, with its file, line, values and the rules it
    broke.
    """
    from include.pipeline.extract import extract

    return extract(get_current_context(), name)


@task
def validate(name: str, extracted: Reference, customers: list[Reference], earlier: list[Reference]) -> Reference:
    """Apply the rules that need the whole load (duplicates, unknown clients) and the Great Expectations suite.

    Of several sources of a kind, each waits for those before it: a key belongs to the first that has it.
    Fails when a larger share of the rows than `MAX_QUARANTINED_SHARE` is bad, or an expectation does not hold for the
    good ones. The data docs of the suite are linked on the Customer Analytics page.
    """
    from include.pipeline.validate import validate

    return validate(get_current_context(), name, extracted, customers, earlier)


@task(trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)
def index_quarantine(extracted: list[Reference]) -> Reference:
    """Index the rejected rows of this run, with their values and reasons, for the page *Quarantine*.

    Runs on a dry run too, and when a source failed, most of all when too much of it was bad.
    """
    from include.pipeline.quarantine import index_quarantine

    return index_quarantine(get_current_context(), extracted)


@task
def stage(validated: list[Reference]) -> Reference:
    """Merge the good rows into the snapshot: by key, the newest version of a row wins; nothing older is lost.

    Skipped on a dry run, and with it everything after.
    """
    from include.pipeline.stage import stage

    return stage(get_current_context(), validated)


@task(trigger_rule=TriggerRule.ALL_DONE)
def publish(
    staged: Reference, validated: list[Reference], indexed: list[Reference], analysed: dict[str, Reference]
) -> Reference:
    """Show the new reports all at once, write the customers' scores, and sum up the run.

    Runs even when an analysis failed, so that the others' reports are not held back, and then fails with its name.
    """
    from include.pipeline.publish import publish

    return publish(get_current_context(), staged, validated, indexed, analysed)


@task
def import_dashboards() -> Reference:
    """Import data views, saved searches and dashboards into the Kibana space `KIBANA_SPACE`, replacing earlier ones.

    Every object's result is checked. Skipped where `KIBANA_URL` is empty.
    """
    from include.pipeline.kibana import import_dashboards

    return import_dashboards(get_current_context())


@task
def write_report(published: Reference) -> Reference:
    """Write the dashboards as one HTML file to `reports/<report date>` in staging, and mail it to `REPORT_RECIPIENTS`.

    A repeat overwrites the file and mails nobody twice. Skipped where `WRITE_REPORT` is off.
    """
    from include.pipeline.sendable_report import write_report

    return write_report(get_current_context(), published)


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

    sources = configured_sources()
    read: list[Any] = []
    validated: dict[str, list[Any]] = {kind: [] for kind in ("customers", *sources.values())}
    # The customers first: sessions are held against them.
    for name, kind in sorted(sources.items(), key=lambda source: source[1] != "customers"):
        with TaskGroup(name, tooltip=f"Read and validate the {kind}" + (f" of {name}" if name != kind else "")):
            extracted = extract(name)
            checked >> extracted
            read.append(extracted)
            customers = validated["customers"] if kind == "sessions" else []
            validated[kind].append(validate(name, extracted, customers, list(validated[kind])))
    every = [one for of_one_kind in validated.values() for one in of_one_kind]

    quarantined = index_quarantine(read)
    every >> quarantined
    staged = stage(every)
    indexed, analysed = from_snapshot(staged)
    published = publish(staged, every, [*indexed, quarantined], analysed)
    published >> import_dashboards()
    write_report(published)


customer_analytics()
