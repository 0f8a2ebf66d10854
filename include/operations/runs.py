"""Runs: how long the pipeline took, what it read and rejected, where it failed, and how old each report is.

    facts of the newest runs, the reports that stand  ->  runs, their tasks and sources, and the reports' freshness

A run is one run of `customer_analytics` or `replay_quarantine`; the newest 100 are kept. Instants are in UTC. The run
that writes this report is in it with the tasks before its `publish`; what comes after, the next run tells.

| state of a run | what happened |
|---|---|
| complete | published, and no task failed |
| incomplete | published, but a task failed: the reports of an analysis are missing, or what follows did not go well |
| dry run | read and validated, as was asked for |
| nothing to do | a replay in which no row passed |
| failed | a task failed, and nothing was published |
| interrupted | a task was killed, or never followed the one before it; nothing was published |
| in progress | began after this run, and is not over |

*Busy* seconds are those in which at least one task was at work; `run_seconds` reach from the start of the first task to
the end of the last one, and so include what a person waited before clearing a task. Only the last try of a task counts.
The *usual* seconds of a task are the median of its successes in the 20 runs before, of the same DAG.

A report is *fresh* when the newest run wrote it, *older* when that run left it out (its rows are as of an earlier day),
*skipped* when a source it needs is not there, *failed* when its analysis failed and an earlier report stands or none,
*missing* when there never was one. Its age is counted from its report date to that of the run that writes this report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any

import pandas as pd

from include.dashboards.panel import Panel
from include.schemas.reports import Field, Report, ReportType
from include.schemas.run_facts import RunFacts, SourceFacts, StandingReport, TaskFacts

READS = ()  # no staged table: what a run leaves about itself is all it needs
PUBLISH = "publish"
USUAL_RUNS = 20  # runs before, whose median is the usual
TASK_RUNS = 20  # newest runs whose tasks are listed
ENDED_WELL = ("success", "skipped")
ALL = "all"

Row = dict[str, Any]

FIELDS: dict[str, Field] = {
    "run": Field("keyword", "the run's id in Airflow"),
    "run_label": Field("keyword", "when the run's first task began, in UTC, as a label"),
    "is_newest_run": Field("boolean", "whether the run is the one that began last"),
    "pipeline": Field("keyword", "the DAG: customer_analytics or replay_quarantine"),
    "run_kind": Field("keyword", "manual, scheduled, backfill or asset_triggered"),
    "run_state": Field(
        "keyword", "complete, incomplete, dry run, nothing to do, failed, interrupted or in progress; see above"
    ),
    "started_at": Field("date", "when the first task of the run, or the task, began, in UTC"),
    "ended_at": Field("date", "when the last of the run's tasks ended, in UTC"),
    "run_seconds": Field("double", "from the start of the first task to the end of the last", "seconds"),
    "busy_seconds": Field("double", "time in which at least one task of the run was at work", "seconds"),
    "failed_task": Field("keyword", "the first task that failed or was interrupted"),
    "failure": Field("keyword", "why the task failed or was skipped, in its own words"),
    "tasks_done": Field("long", "tasks that ended well", "tasks"),
    "tasks_failed": Field("long", "tasks that failed, were interrupted, or did not run for another's failure", "tasks"),
    "tasks_skipped": Field("long", "tasks that were skipped", "tasks"),
    "tasks_retried": Field("long", "tasks that needed more than one try", "tasks"),
    "rows_read": Field("long", "rows read from the source or sources", "rows"),
    "rows_accepted": Field("long", "rows that passed all rules", "rows"),
    "rows_quarantined": Field("long", "rows set aside, or still aside after a replay", "rows"),
    "rows_outside": Field("long", "good rows outside of the period asked for", "rows"),
    "documents_indexed": Field("long", "documents in the indexes at the run's end", "documents"),
    "reports_written": Field("long", "reports that the run wrote", "reports"),
    "report_rows": Field("long", "rows of those reports", "rows"),
    "reports_as_of": Field("date", "the report date of the run's analyses"),
    "data_until": Field("date", "the newest complete day in the data"),
    "runs_failed": Field("long", "runs failed, interrupted or incomplete, of all that are listed", "runs"),
    "runs_listed": Field("long", "runs listed", "runs"),
    "task": Field("keyword", "the task's id in Airflow"),
    "task_state": Field("keyword", "success, failed, skipped, interrupted, in progress or not run"),
    "task_seconds": Field("double", "how long the last try of the task took", "seconds"),
    "usual_seconds": Field("double", f"median of its successes in the {USUAL_RUNS} runs before", "seconds"),
    "task_rows": Field("long", "rows, documents or report rows that went through the task", "rows"),
    "rows_per_second": Field("double", "task rows / task seconds", "rows per second"),
    "try_number": Field("long", "the task's last try"),
    "source": Field("keyword", "the source, by its name in sources.yaml"),
    "source_kind": Field("keyword", "sessions, customers, products or deliveries"),
    "analysis": Field("keyword", "the analysis, by its name", in_words=True),
    "report": Field("keyword", "the report type", in_words=True),
    "report_day": Field("date", "the report date of the report that stands"),
    "report_written_at": Field("date", "when that report was written: the start of its run, in UTC"),
    "report_age_days": Field(
        "long", "days from that report's date to that of the run; below zero: it is of a later date", "days"
    ),
    "freshness_state": Field("keyword", "fresh, older, skipped, failed or missing; see above"),
}

NONE_QUARANTINED = "No row was quarantined in any of the runs that are kept."
RUN_SHARE = ("rate", "numerator", "denominator")
OF_RUN = ("dimension", "run", "run_label")

REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "newest",
        "Newest run",
        (
            *OF_RUN,
            "run_state",
            "started_at",
            "busy_seconds",
            "run_seconds",
            "rows_read",
            "rows_quarantined",
            *RUN_SHARE,
            "documents_indexed",
            "reports_written",
            "report_rows",
            "reports_as_of",
            "data_until",
            "runs_failed",
            "runs_listed",
        ),
        ("dimension",),
        (
            Panel(
                title="Newest run",
                mark="metric",
                y=(
                    "busy_seconds",
                    "rows_read",
                    "rows_quarantined",
                    "documents_indexed",
                    "reports_written",
                    "runs_failed",
                ),
                series_titles={
                    "busy_seconds": "Seconds at work",
                    "rows_read": "Rows read",
                    "rows_quarantined": "Rows quarantined",
                    "documents_indexed": "Documents indexed",
                    "reports_written": "Reports written",
                    "runs_failed": "Runs not complete, of those listed",
                },
                format="decimal",
                width=12,
                how_to_read="What the run that began last did; the last number counts all runs of the table below.",
            ),
        ),
    ),
    ReportType(
        "runs",
        "Runs",
        (
            *OF_RUN,
            "pipeline",
            "run_kind",
            "run_state",
            "started_at",
            "ended_at",
            "run_seconds",
            "busy_seconds",
            "failed_task",
            "failure",
            "tasks_done",
            "tasks_failed",
            "tasks_skipped",
            "tasks_retried",
            "rows_read",
            "rows_quarantined",
            *RUN_SHARE,
            "documents_indexed",
            "reports_written",
            "report_rows",
            "reports_as_of",
            "data_until",
        ),
        ("dimension", "run"),
        (
            Panel(
                title="How long the runs took",
                mark="bar",
                x="run_label",
                y="busy_seconds",
                x_title="Run, by its start (UTC)",
                y_title="Seconds at work",
                format="decimal",
                width=12,
                how_to_read="Seconds in which at least one task was at work, the newest run last; a run that failed "
                "early is short for that reason.",
            ),
            Panel(
                title="Rows read and quarantined",
                mark="bar",
                x="run_label",
                y=("rows_read", "rows_quarantined"),
                series_titles={"rows_read": "Read", "rows_quarantined": "Quarantined"},
                tones={"rows_read": "plain", "rows_quarantined": "bad"},
                x_title="Run, by its start (UTC)",
                y_title="Rows",
                width=12,
                how_to_read="What each run read from all sources, and how much of it was set aside.",
            ),
            Panel(
                title="Share quarantined",
                mark="bar",
                x="run_label",
                y="rate",
                x_title="Run, by its start (UTC)",
                y_title="Share of the rows read",
                format="percent",
                width=12,
                how_to_read="Quarantined rows out of the rows read; a jump means that a source or its mapping changed.",
                when_zero=NONE_QUARANTINED,
            ),
            Panel(
                title="Runs",
                mark="table",
                y="busy_seconds",
                columns=(
                    "started_at",
                    "pipeline",
                    "run_kind",
                    "run_state",
                    "busy_seconds",
                    "rows_read",
                    "rows_quarantined",
                    "documents_indexed",
                    "reports_written",
                    "reports_as_of",
                    "failed_task",
                    "failure",
                ),
                format="decimal",
                width=12,
                how_to_read="Every run that is kept, the newest last; only a complete run has brought all reports.",
            ),
        ),
    ),
    ReportType(
        "tasks",
        "Tasks",
        (
            *OF_RUN,
            "is_newest_run",
            "task",
            "task_state",
            "started_at",
            "task_seconds",
            "usual_seconds",
            "n",
            "task_rows",
            "rows_per_second",
            "try_number",
            "failure",
        ),
        ("dimension", "run", "task"),
        (
            Panel(
                title="Slowest tasks",
                mark="bar",
                x="task",
                y=("task_seconds", "usual_seconds"),
                series_titles={"task_seconds": "Newest run", "usual_seconds": "Usual"},
                where={"is_newest_run": True},
                x_title="Task",
                y_title="Seconds",
                format="decimal",
                sort="descending",
                limit=12,
                width=12,
                how_to_read=f"The tasks of the newest run that took longest, beside their median in the {USUAL_RUNS} "
                "runs before.",
            ),
            Panel(
                title="Tasks of the newest run",
                mark="table",
                y="task_seconds",
                columns=(
                    "task",
                    "task_state",
                    "task_seconds",
                    "usual_seconds",
                    "n",
                    "task_rows",
                    "rows_per_second",
                    "try_number",
                    "failure",
                ),
                where={"is_newest_run": True},
                format="decimal",
                sort="descending",
                width=12,
                how_to_read="Every task before the run's end; n is how many earlier runs the usual seconds rest on.",
            ),
        ),
    ),
    ReportType(
        "sources",
        "Sources of each run",
        (
            *OF_RUN,
            "is_newest_run",
            "source",
            "source_kind",
            "rows_read",
            "rows_accepted",
            "rows_quarantined",
            "rows_outside",
            *RUN_SHARE,
        ),
        ("dimension", "run", "source"),
        (
            Panel(
                title="Rows read per run",
                mark="bar",
                x="run_label",
                y="rows_read",
                breakdown="source",
                x_title="Run, by its start (UTC)",
                y_title="Rows read",
                how_to_read="How many rows each source gave in each run, the newest run last.",
            ),
            Panel(
                title="Rows quarantined per run",
                mark="bar",
                x="run_label",
                y="rows_quarantined",
                breakdown="source",
                x_title="Run, by its start (UTC)",
                y_title="Rows quarantined",
                how_to_read="How many rows of each source broke a rule; the page Quarantine shows which rows and why.",
                when_zero=NONE_QUARANTINED,
            ),
            Panel(
                title="Sources of the newest run",
                mark="table",
                y="rows_read",
                columns=(
                    "source",
                    "source_kind",
                    "rows_read",
                    "rows_accepted",
                    "rows_quarantined",
                    "rows_outside",
                    "rate",
                ),
                where={"is_newest_run": True},
                width=12,
                how_to_read="Rows read are those accepted, quarantined and outside of the period asked for; the rate "
                "is quarantined out of read.",
            ),
        ),
    ),
    ReportType(
        "freshness",
        "Freshness of the reports",
        (
            "dimension",
            "analysis",
            "report",
            "freshness_state",
            "report_day",
            "report_age_days",
            "report_written_at",
            "failure",
        ),
        ("dimension", "analysis", "report"),
        (
            Panel(
                title="Freshness of the reports",
                mark="table",
                y="report_age_days",
                columns=(
                    "analysis",
                    "report",
                    "freshness_state",
                    "report_day",
                    "report_age_days",
                    "report_written_at",
                    "failure",
                ),
                width=12,
                how_to_read="How old each report is against the report date of the newest run, and why one is not "
                "fresh.",
            ),
        ),
    ),
)


def runs(
    history: Sequence[RunFacts],
    *,
    current: str,
    as_of: date,
    declared: Mapping[str, Sequence[str]],
    standing: Sequence[StandingReport],
    written_at: datetime,
) -> dict[str, Report]:
    """The reports of this module. `history` is the newest run last, `current` the id of the run that is about to end.

    `declared` are the report types of each analysis, `standing` the latest reports that the index shows, those of
    `current` possibly not among them; that run's are of `as_of` and `written_at`.
    """
    this = next(one for one in history if one.run == current)
    labels = _labels(history)
    listed = [_run_row(one, this, labels[one.run]) for one in history]
    frames: dict[str, list[Row]] = {
        "newest": [
            {
                **listed[-1],
                "runs_failed": sum(one["run_state"] in ("failed", "interrupted", "incomplete") for one in listed),
                "runs_listed": len(listed),
            }
        ],
        "runs": listed,
        "tasks": list(_task_rows(history, this, labels)),
        "sources": [
            {
                **_named(one, labels[one.run]),
                "is_newest_run": one is history[-1],
                "source": source.name,
                "source_kind": source.kind,
                **_counted([source]),
            }
            for one in history
            for source in sources_of(one)
        ],
        "freshness": list(_freshness(this, as_of, declared, standing, written_at)),
    }
    newest = frames["newest"][0]
    kpis = {name: float(newest[name]) for name in ("busy_seconds", "rows_read", "rows_quarantined", "runs_failed")
            if newest.get(name) is not None}  # fmt: skip
    said = {
        "runs": f"the newest {len(history)} runs that left records",
        "tasks": f"those of the newest {TASK_RUNS} runs; the last try of each",
        "usual": f"median of the successes in the {USUAL_RUNS} runs before, of the same DAG",
        "time": "instants are in UTC",
    }
    return {
        one.type: Report(_frame(one, frames[one.type]), kpis=kpis, definition=said, warnings=_warnings(listed[-1]))
        for one in REPORTS
    }


def run_state(facts: RunFacts, this: RunFacts) -> str:
    """The state of a run, told at the end of the run `this`; the module's table says what each means."""
    states = {_task_state(task, facts, this) for task in facts.tasks}
    broken = _first_broken(facts, this)
    publish = next((task for task in facts.tasks if task.task == PUBLISH), None)
    if facts is this:
        return "incomplete" if broken else "complete"
    if _is_later(facts, this) and ("in progress" in states or (publish is None and not broken)):
        return "in progress"
    if _published(publish):
        return "incomplete" if broken else "complete"
    if broken:
        return "interrupted" if _task_state(broken, facts, this) == "interrupted" else "failed"
    if publish is not None and publish.state == "skipped":
        return "dry run" if facts.is_dry_run else "nothing to do"
    return "interrupted"


def sources_of(facts: RunFacts) -> list[SourceFacts]:
    """What became of each source's rows: as the task that looked at them last has it, in the order they were read."""
    found: dict[str, SourceFacts] = {}
    for task in sorted(facts.tasks, key=_order):
        found |= {source.name: source for source in task.sources}
    return list(found.values())


def busy_seconds(tasks: Iterable[TaskFacts]) -> float:
    """Seconds in which at least one of the tasks was at work: the length of the union of their times."""
    total, reached = timedelta(), None
    for began, ended in sorted((task.started_at, task.ended_at) for task in tasks if task.started_at and task.ended_at):
        if reached is None or began > reached:
            reached = began
        if ended > reached:
            total, reached = total + (ended - reached), ended
    return round(total.total_seconds(), 3)


def _run_row(facts: RunFacts, this: RunFacts, label: str) -> Row:
    states = [_task_state(task, facts, this) for task in facts.tasks]
    broken = _first_broken(facts, this)
    publish = next((task for task in facts.tasks if task.task == PUBLISH), None)
    summary = facts.summary if facts.summary and (facts is this or _published(publish)) else {}
    ended = max((task.ended_at for task in facts.tasks if task.ended_at), default=None)
    sources = sources_of(facts)
    counts = _counted(sources) if sources else {}
    return {
        **_named(facts, label),
        "pipeline": facts.pipeline,
        "run_kind": facts.kind,
        "run_state": run_state(facts, this),
        "started_at": facts.began_at,
        "ended_at": ended,
        "run_seconds": round((ended - facts.began_at).total_seconds(), 3) if ended else None,
        "busy_seconds": busy_seconds(facts.tasks),
        "failed_task": broken.task if broken else None,
        "failure": _failure(broken, facts, this) if broken else None,
        "tasks_done": states.count("success"),
        "tasks_failed": sum(states.count(one) for one in ("failed", "interrupted", "not run")),
        "tasks_skipped": states.count("skipped"),
        "tasks_retried": sum(task.try_number > 1 for task in facts.tasks),
        **counts,
        "documents_indexed": sum(summary["indexed"].values()) if summary else None,
        "reports_written": summary.get("reports"),
        "report_rows": summary.get("report_rows"),
        "reports_as_of": _day(summary.get("as_of")),
        "data_until": _day(summary.get("newest_day")),
    }


def _task_rows(history: Sequence[RunFacts], this: RunFacts, labels: Mapping[str, str]) -> Iterable[Row]:
    for place, facts in list(enumerate(history))[-TASK_RUNS:]:
        before = [one for one in history[:place] if one.pipeline == facts.pipeline][-USUAL_RUNS:]
        for task in sorted(facts.tasks, key=_order):
            seconds = [
                other.seconds
                for one in before
                for other in one.tasks
                if other.task == task.task and other.state == "success" and other.seconds is not None
            ]
            yield {
                **_named(facts, labels[facts.run]),
                "is_newest_run": facts is history[-1],
                "task": task.task,
                "task_state": _task_state(task, facts, this),
                "started_at": task.started_at,
                "task_seconds": task.seconds,
                "usual_seconds": round(median(seconds), 3) if seconds else None,
                "n": len(seconds),
                "task_rows": task.rows,
                "rows_per_second": round(task.rows / task.seconds, 3) if task.rows and task.seconds else None,
                "try_number": task.try_number if task.state != "not run" else None,
                "failure": _failure(task, facts, this),
            }


def _freshness(
    this: RunFacts,
    as_of: date,
    declared: Mapping[str, Sequence[str]],
    standing: Sequence[StandingReport],
    written_at: datetime,
) -> Iterable[Row]:
    tasks = {task.task.rpartition(".")[2]: task for task in this.tasks}
    stands = {(one.analysis, one.report): one for one in standing}
    for analysis, report in ((name, one) for name, types in declared.items() for one in types):
        task = tasks.get(analysis)
        state, found = task.state if task else "not run", stands.get((analysis, report))
        wrote = state == "success"
        # A run of an earlier report date than the one that stands does not take its place.
        if wrote and (found is None or found.day <= as_of.isoformat()):
            found = StandingReport(analysis, report, as_of.isoformat(), written_at.isoformat())
        day = _day(found.day) if found else None
        # The header of a report that was skipped for want of a source says so, of whatever run it is.
        has_rows = found is not None and (wrote or not found.skipped)
        if wrote:
            freshness, why = "fresh", None
        elif state in ("failed", "running", "not run"):
            freshness, why = "failed", task.reason if task and task.reason else "It was interrupted, or did not run."
        elif not has_rows:
            freshness, why = ("skipped", found.skipped) if found else ("missing", task.reason if task else None)
        else:
            freshness, why = "older", task.reason if task else None
        yield {
            "dimension": ALL,
            "analysis": analysis,
            "report": report,
            "freshness_state": freshness,
            "report_day": day if has_rows else None,
            "report_age_days": (as_of - day).days if has_rows and day else None,
            "report_written_at": datetime.fromisoformat(found.written_at) if has_rows and found else None,
            "failure": why or None,
        }


def _task_state(task: TaskFacts, facts: RunFacts, this: RunFacts) -> str:
    """A task without an end was killed, as only one run is at work at a time, unless its run began after this one."""
    if task.state == "running":
        return "in progress" if _is_later(facts, this) else "interrupted"
    return task.state


def _first_broken(facts: RunFacts, this: RunFacts) -> TaskFacts | None:
    broken = [task for task in facts.tasks if _task_state(task, facts, this) in ("failed", "interrupted", "not run")]
    return min(broken, key=_order, default=None)


def _failure(task: TaskFacts, facts: RunFacts, this: RunFacts) -> str | None:
    if _task_state(task, facts, this) == "interrupted":
        return "The task was killed, or its machine went; it left no reason."
    return task.reason or None


def _published(publish: TaskFacts | None) -> bool:
    """`publish` says how many rows of reports it showed before it says that some are missing."""
    return publish is not None and publish.rows is not None


def _is_later(facts: RunFacts, this: RunFacts) -> bool:
    return facts is not this and facts.began_at > this.began_at


def _order(task: TaskFacts) -> tuple[bool, float, str]:
    return task.started_at is None, task.started_at.timestamp() if task.started_at else 0.0, task.task


def _counted(sources: Sequence[SourceFacts]) -> Row:
    read, quarantined = sum(one.read for one in sources), sum(one.quarantined for one in sources)
    return {
        "rows_read": read,
        "rows_accepted": sum(one.accepted for one in sources),
        "rows_quarantined": quarantined,
        "rows_outside": sum(one.outside for one in sources),
        "rate": quarantined / read if read else None,
        "numerator": quarantined,
        "denominator": read,
    }


def _named(facts: RunFacts, label: str) -> Row:
    return {"dimension": ALL, "run": facts.run, "run_label": label}


def _labels(history: Sequence[RunFacts]) -> dict[str, str]:
    """A short label for each run, to the second where several began in the same minute."""
    began = {one.run: one.began_at.astimezone(UTC) for one in history}
    minutes = {run: f"{at:%d %b %H:%M}" for run, at in began.items()}
    often = list(minutes.values())
    return {run: label if often.count(label) == 1 else f"{began[run]:%d %b %H:%M:%S}" for run, label in minutes.items()}


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _warnings(newest: Row) -> list[str]:
    if newest["run_state"] in ("failed", "interrupted", "incomplete"):
        return [f"The newest run is {newest['run_state']}: {newest['failed_task']}: {newest['failure'] or 'no reason'}"]
    return []


def _frame(report_type: ReportType, rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in report_type.fields})
