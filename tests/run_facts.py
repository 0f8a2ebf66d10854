"""Made-up facts of six runs, and the reports of them: one of each way in which a run can end.

All of a run's tasks follow each other, `seconds` each, from its start on.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from include.operations.runs import runs
from include.schemas.reports import Report
from include.schemas.run_facts import RunFacts, SourceFacts, StandingReport, TaskFacts

AS_OF = date(2024, 5, 29)
DECLARED = {"rfm": ["segments"], "churn": ["curve", "gaps"], "delivery_analytics": ["hours"], "cohorts": ["months"]}
SUMMARY = {
    "as_of": "2024-05-29",
    "newest_day": "2024-05-29",
    "indexed": {"orders": 900, "downloads": 90, "quarantine": 10},
    "reports": 3,
    "report_rows": 40,
}


def sessions(read: int, quarantined: int) -> SourceFacts:
    return SourceFacts("sessions", "sessions", read, read - quarantined - 5, quarantined, 5)


def run_of(day: int, run: str, *tasks: tuple[str, float | None, dict[str, Any]], **facts: Any) -> RunFacts:
    """A run that began at 06:30 on a day of May 2024; a task without seconds has no end."""
    at = datetime(2024, 5, day, 6, 30, tzinfo=UTC)
    found = []
    for name, seconds, more in tasks:
        started = None if more.get("state") == "not run" else at
        found.append(TaskFacts(**{"task": name, "state": "success", "started_at": started, "seconds": seconds, **more}))
        at += timedelta(seconds=seconds or 0)
    given = {"pipeline": "customer_analytics", "kind": "manual", "is_dry_run": False, **facts}
    return RunFacts(run=run, tasks=tuple(found), **given)


CUSTOMERS = SourceFacts("customers", "customers", 100, 90, 10)
GOOD = run_of(
    20,
    "good",
    ("check", 1.0, {}),
    ("sessions.extract", 10.0, {"rows": 1_000, "sources": (sessions(1_000, 20),)}),
    ("sessions.validate", 2.0, {"rows": 1_000, "sources": (sessions(1_000, 25),)}),
    ("customers.extract", 1.0, {"rows": 100, "sources": (CUSTOMERS,)}),
    ("machine_learning.churn", 4.0, {"rows": 40}),
    ("publish", 3.0, {"rows": 40}),
    summary=SUMMARY,
)
DRY = run_of(
    21,
    "dry",
    ("check", 1.0, {}),
    ("stage", 0.0, {"state": "skipped", "reason": "A dry run stops here: nothing is loaded."}),
    ("publish", 0.0, {"state": "skipped", "reason": "A dry run publishes nothing."}),
    is_dry_run=True,
)
FAILED = run_of(
    22,
    "failed",
    ("check", 1.0, {}),
    ("sessions.extract", 5.0, {"state": "failed", "reason": "sessions: s.csv is not there; put it back."}),
    ("publish", 0.0, {"state": "failed", "reason": "There is nothing to publish, because a task before failed."}),
)
KILLED = run_of(23, "killed", ("check", 1.0, {}), ("sessions.extract", None, {"state": "running"}))
INCOMPLETE = run_of(
    24,
    "incomplete",
    ("check", 3.0, {"try_number": 2}),
    ("sessions.extract", 20.0, {"rows": 1_000, "sources": (sessions(1_000, 0),)}),
    ("machine_learning.churn", 1.0, {"state": "failed", "reason": "MemoryError; the task's log says more."}),
    ("publish", 3.0, {"rows": 30, "state": "failed", "reason": "Published, but without churn: …"}),
    summary={**SUMMARY, "reports": 2},
)
NEWEST = run_of(
    30,
    "newest",
    ("check", 1.0, {}),
    ("sessions.extract", 8.0, {"rows": 2_000, "sources": (sessions(2_000, 100),)}),
    ("exploratory.rfm", 2.0, {"rows": 10}),
    ("machine_learning.churn", 6.0, {"state": "failed", "reason": "The model does not converge; use more data."}),
    ("machine_learning.delivery_analytics", 0.1, {"state": "skipped", "reason": "It needs the source deliveries."}),
    ("exploratory.cohorts", 0.1, {"state": "skipped", "reason": "cohorts was not chosen for this run."}),
    summary=SUMMARY,
)
HISTORY = (GOOD, DRY, FAILED, KILLED, INCOMPLETE, NEWEST)
STANDING = (
    StandingReport("rfm", "segments", "2024-05-20", "2024-05-21T00:00:00+00:00"),
    StandingReport("churn", "curve", "2024-05-20", "2024-05-21T00:00:00+00:00"),
    StandingReport("delivery_analytics", "hours", "2024-05-20", "2024-05-21T00:00:00+00:00", "It needs a source."),
    StandingReport("cohorts", "months", "2024-05-19", "2024-05-20T00:00:00+00:00"),
)
WRITTEN_AT = datetime(2024, 5, 30, 6, 29, 59, tzinfo=UTC)


def sample_reports(
    history: tuple[RunFacts, ...] = HISTORY,
    current: str = "newest",
    standing: tuple[StandingReport, ...] = STANDING,
) -> dict[str, Report]:
    """Every report of `include/operations/runs.py`, with rows in each."""
    return runs(history, current=current, as_of=AS_OF, declared=DECLARED, standing=standing, written_at=WRITTEN_AT)
