"""One run of the pipeline: its parameters and its place in time, taken from Airflow's context once per task."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import configs
from include.problem import Problem

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.definitions.context import Context

SCHEDULED = ("scheduled", "backfill")  # the run types whose date means something


@dataclass(frozen=True)
class Run:
    """`interval_start` and `interval_end` bound the period of a scheduled run or a backfill; a run by hand has none."""

    run_id: str
    run_type: str
    started_at: datetime
    interval_start: datetime | None
    interval_end: datetime | None
    as_of: date | None
    start: date | None
    end: date | None
    dimensions: tuple[str, ...]
    analyses: tuple[str, ...]
    full_refresh: bool
    dry_run: bool

    @property
    def is_scheduled(self) -> bool:
        return self.run_type == "scheduled"

    @property
    def is_backfill(self) -> bool:
        return self.run_type == "backfill"

    @property
    def key(self) -> str:
        """The run id as a folder name."""
        return run_key(self.run_id)

    @property
    def folder(self) -> ObjectStoragePath:
        """Where this run keeps what it extracted: read again by its own later tasks only."""
        return run_folder(self.run_id)

    @property
    def latest_instant(self) -> datetime:
        """The last instant that is not in the future for this run's rows: UTC without a zone."""
        started = self.started_at.astimezone(UTC).replace(tzinfo=None)
        return started + timedelta(hours=configs.FUTURE_TOLERANCE_HOURS)

    def report_date(self, newest_complete_day: date) -> date:
        """The `as_of` of every analysis: the parameter, else a scheduled run's last day, else the newest data's."""
        if self.as_of is not None:
            return self.as_of
        if self.interval_end is not None:
            return (
                (self.interval_end - timedelta(microseconds=1)).astimezone(ZoneInfo(configs.BUSINESS_TIMEZONE)).date()
            )
        return newest_complete_day


def run_key(run_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", run_id)


def run_folder(run_id: str) -> ObjectStoragePath:
    """The folder of a run, whatever its parameters."""
    from include.staging.storage import storage

    return storage(configs.STAGING_URL) / "runs" / run_key(run_id)


def run_from_context(context: Context) -> Run:
    """The run a task belongs to."""
    dag_run: Any = context["dag_run"]
    params = context["params"]

    def day(name: str) -> date | None:
        return date.fromisoformat(params[name]) if params.get(name) else None

    run_type = dag_run.run_type.value
    has_period = run_type in SCHEDULED
    run = Run(
        run_id=dag_run.run_id,
        run_type=run_type,
        started_at=dag_run.start_date or dag_run.run_after,
        interval_start=dag_run.data_interval_start if has_period else None,
        interval_end=dag_run.data_interval_end if has_period else None,
        as_of=day("as_of"),
        start=day("start"),
        end=day("end"),
        dimensions=tuple(params["dimensions"]),
        analyses=tuple(params["analyses"]),
        full_refresh=bool(params.get("full_refresh")),
        dry_run=bool(params["dry_run"]),
    )
    if run.start and run.end and run.start > run.end:
        raise Problem(f"The parameter start ({run.start}) is after end ({run.end}); swap them, or leave one empty.")
    return run


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn a `Problem` into Airflow's own failure: its sentence is the message, and only what may heal is retried."""
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    try:
        yield
    except Problem as problem:
        kind = AirflowException if problem.retry else AirflowFailException
        raise kind(str(problem)) from None
