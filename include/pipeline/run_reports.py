"""The reports about the runs themselves, written at the end of each: see `include/operations/runs.py`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from elasticsearch import Elasticsearch

import configs
from include import catalogue
from include.elastic.client import connect, index_name, plainly
from include.elastic.indexes import REPORTS_LATEST
from include.elastic.reports import write_report
from include.pipeline.history import run_history
from include.pipeline.run import Run
from include.schemas.run_facts import StandingReport

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)

HEADERS_AT_MOST = 1_000


def write_run_reports(context: Context, run: Run, summary: Mapping[str, Any]) -> None:
    """Write the reports `runs`, up to this end of `run`; they show when the others do.

    Their date is the business day on which the newest run began, whatever day it reports: so the newest state of things
    is the latest report, even after a backfill of an old day.
    """
    task: Any = context["task"]
    history = run_history(run, task.get_flat_relative_ids(upstream=True), summary)
    if run.run_id not in {facts.run for facts in history}:
        log.warning("The tasks of this run left no records, so the reports of the runs stay as they were.")
        return
    client = connect()
    module = catalogue.analysis("runs").module
    reports = module.runs(
        history,
        current=run.run_id,
        as_of=date.fromisoformat(summary["as_of"]),
        declared={one.name: [report.type for report in one.module.REPORTS] for one in catalogue.analyses()},
        standing=_standing(client),
        written_at=run.started_at,
    )
    newest = history[-1].began_at.astimezone(ZoneInfo(configs.BUSINESS_TIMEZONE)).date()
    for report_type in module.REPORTS:
        write_report(
            client,
            "runs",
            report_type,
            reports[report_type.type],
            report_date=newest,
            run_id=run.run_id,
            written_at=run.started_at,
            parameters={},
            fields=module.FIELDS,
        )
    log.info("runs: reports of the newest %d runs", len(history))


def _standing(client: Elasticsearch) -> list[StandingReport]:
    """The latest report of each type as a search sees it now: this run's own show only after the refresh."""
    with plainly(client, "looking which reports there are"):
        hits = client.search(
            index=index_name(REPORTS_LATEST),
            query={"bool": {"filter": [{"term": {"is_header": True}}]}},
            source={"includes": ["report_name", "type", "report_date", "written_at", "skipped"]},
            size=min(configs.MAX_RESULT_WINDOW, HEADERS_AT_MOST),
        )["hits"]["hits"]
    found = [hit["_source"] for hit in hits]
    return [
        StandingReport(one["report_name"], one["type"], one["report_date"], one["written_at"], one.get("skipped", ""))
        for one in found
    ]
