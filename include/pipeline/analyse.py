"""One analysis: read the snapshot, compute, write its reports."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import configs
from include import catalogue
from include.elastic.client import connect
from include.elastic.reports import rows_before, write_report, write_skipped
from include.pipeline.record import recorded
from include.pipeline.run import Run, run_from_context
from include.pipeline.stage import staged_snapshot
from include.problem import Problem
from include.schemas.reports import Report
from include.staging.snapshot import Snapshot
from include.staging.tables import Tables

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)


def analyse(context: Context, name: str, staged: dict[str, Any]) -> dict[str, Any]:
    """Run the analysis `name` on the staged snapshot; the rows written per report.

    Skipped, with the reason in the log and in the report's header, when a source it needs is not configured.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    with recorded(context) as record:
        run = run_from_context(context)
        snapshot = staged_snapshot(staged)
        report_date = date.fromisoformat(staged["as_of"])
        reason = why_skipped(name, snapshot)
        if reason:
            skip(name, reason, run=run, report_date=report_date)
            raise AirflowSkipException(reason)
        tables = snapshot.analysis_tables(dimensions=run.dimensions, week_start=configs.WEEK_START)
        reports = compute(name, tables, as_of=report_date, previous=previous_rows(name, report_date))
        written = write(name, reports, run=run, report_date=report_date)
        record.handled(sum(written["rows"].values()))
        return written


def why_skipped(name: str, snapshot: Snapshot) -> str:
    """Why the analysis cannot run on this snapshot; empty when it can."""
    sources = {"basket": "products", "deliveries": "deliveries", "sessions": "sessions", "customers": "customers"}
    reads = catalogue.analysis(name).reads
    missing = [table for table in reads if "." not in table and table not in snapshot.table_names]
    if missing:
        needed = " and ".join(sources[table] for table in missing)
        return f"{name} needs the source {needed}, which sources.yaml does not have."
    for table, column in (entry.split(".") for entry in reads if "." in entry):
        if column not in snapshot.tables[table].columns:
            return f"{name} needs the column {column} of the {sources[table]}, which sources.yaml does not map."
    return ""


def previous_rows(name: str, report_date: date) -> dict[str, Any]:
    """What an analysis with PREVIOUS compares itself with: per argument, the rows of its report before this one.

    That is the one of the latest earlier report date, not the one that ran last: so a run of the same date, repeated,
    gives the same reports.
    """
    asked: dict[str, str] = getattr(catalogue.analysis(name).module, "PREVIOUS", {})
    if not asked:
        return {}
    client = connect()
    return {argument: rows_before(client, name, report_type, report_date) for argument, report_type in asked.items()}


def compute(name: str, tables: Tables, *, as_of: date, previous: Mapping[str, Any] | None = None) -> dict[str, Report]:
    """The reports of one analysis, with its settings from configs.py and what `previous_rows` found."""
    module = catalogue.analysis(name).module
    function = getattr(module, name)
    reports: dict[str, Report] = function(tables, as_of=as_of, **getattr(module, "SETTINGS", {}), **(previous or {}))
    declared = {report_type.type for report_type in module.REPORTS}
    if set(reports) != declared:
        raise Problem(
            f"{inspect.getfile(module)}: {name}() returned the reports {sorted(reports)}, "
            f"declared are {sorted(declared)}."
        )
    return reports


def write(name: str, reports: dict[str, Report], *, run: Run, report_date: date) -> dict[str, Any]:
    """Write all reports of one analysis; they show when `publish` runs."""
    client = connect()
    module = catalogue.analysis(name).module
    written = {}
    for report_type in module.REPORTS:
        report = reports[report_type.type]
        for warning in report.warnings:
            log.warning("%s.%s: %s", name, report_type.type, warning)
        done = write_report(
            client,
            name,
            report_type,
            report,
            report_date=report_date,
            run_id=run.run_id,
            written_at=run.started_at,
            parameters={**getattr(module, "SETTINGS", {}), "dimensions": list(run.dimensions)},
            fields=getattr(module, "FIELDS", {}),
        )
        log.info("%s.%s: %s rows", name, report_type.type, f"{done.rows:,}")
        written[report_type.type] = done.rows
    alerts = module.alerts(reports) if hasattr(module, "alerts") else []
    return {"rows": written, "alerts": alerts}


def skip(name: str, reason: str, *, run: Run, report_date: date) -> None:
    """Leave headers that say why there is no report."""
    client = connect()
    for report_type in catalogue.analysis(name).module.REPORTS:
        write_skipped(
            client,
            name,
            report_type,
            reason=reason,
            report_date=report_date,
            run_id=run.run_id,
            written_at=run.started_at,
            parameters={},
        )
