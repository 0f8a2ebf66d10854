"""What is known of a run of the pipeline: what each of its tasks did, and the sum at its end.

A task leaves its facts as JSON in the run's folder; see `include/pipeline/record.py`, and `history.py` for the reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self

# `running`: it began, and no end is known. `not run`: it never began, as a task before it failed.
TaskState = Literal["running", "success", "failed", "skipped", "not run"]


@dataclass(frozen=True)
class SourceFacts:
    """Rows of one source: `read` = `accepted` + `quarantined` + `outside` of the period that was asked for."""

    name: str
    kind: str
    read: int
    accepted: int
    quarantined: int
    outside: int = 0


@dataclass(frozen=True)
class TaskFacts:
    """The last try of one task. `reason`: why it failed or was skipped; `rows`: those it handled, None where it has
    none or did not get so far; `started_at` is in UTC, None where the task did not run."""

    task: str
    state: TaskState
    started_at: datetime | None = None
    seconds: float | None = None
    try_number: int = 1
    reason: str = ""
    rows: int | None = None
    sources: tuple[SourceFacts, ...] = ()

    @property
    def ended_at(self) -> datetime | None:
        if self.started_at is None or self.seconds is None:
            return None
        return self.started_at + timedelta(seconds=self.seconds)

    def as_json(self) -> dict[str, Any]:
        """`from_json` makes the same of it."""
        return {**asdict(self), "started_at": self.started_at and self.started_at.isoformat()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        started_at = datetime.fromisoformat(found["started_at"]) if found["started_at"] else None
        sources = tuple(SourceFacts(**one) for one in found["sources"])
        return cls(**{**found, "started_at": started_at, "sources": sources})


@dataclass(frozen=True)
class RunFacts:
    """One run of the DAG `pipeline`. `summary` is what `publish` summed up, None where it did not get so far."""

    run: str
    pipeline: str
    kind: str
    is_dry_run: bool
    tasks: tuple[TaskFacts, ...]
    summary: Mapping[str, Any] | None = None

    @property
    def began_at(self) -> datetime:
        """The start of its first task."""
        return min(task.started_at for task in self.tasks if task.started_at)


@dataclass(frozen=True)
class StandingReport:
    """The latest report of one type that stands in the index: its date, and since when it is so.

    `skipped` is why it has no rows, empty where it has."""

    analysis: str
    report: str
    day: str
    written_at: str
    skipped: str = ""
