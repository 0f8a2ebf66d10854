"""What a task leaves about itself: when it began, how long it took, what it handled, how it ended.

    STAGING_URL/runs/<run>/tasks/<task>.json     the last try of the task, as `TaskFacts`, with what its run is

Tasks are processes of their own, killed and tried again at any time. So the file is there from the task's first moment,
as `running`, and each try writes over the one before: of a task that was killed it stays so, and is never taken for one
that went well. A record that cannot be written is a warning in the log: the task does not fail for it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.pipeline.run import run_folder, said_plainly
from include.problem import Problem
from include.schemas.run_facts import SourceFacts, TaskFacts

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)

TASKS = "tasks"
GATHERED = "tasks.json"  # see history.py


class TaskRecord:
    """The facts of the task at work; its body says what it handled."""

    def __init__(self, context: Context) -> None:
        self._context: Any = context
        self._began = time.monotonic()
        instance = self._context["ti"]
        self.facts = TaskFacts(
            instance.task_id, "running", started_at=datetime.now(UTC), try_number=instance.try_number
        )

    def handled(self, rows: int, sources: Iterable[SourceFacts] = ()) -> None:
        """So many rows (or documents, or rows of reports) went through this task, and those of `sources` so."""
        self.facts = replace(self.facts, rows=rows, sources=tuple(sources))

    def leave(self, **ended: Any) -> None:
        """Write the facts; `ended` is how the task ended, nothing while it is at work."""
        from include.staging.storage import written_aside

        if ended:
            self.facts = replace(self.facts, seconds=round(time.monotonic() - self._began, 3), **ended)
        dag_run = self._context["dag_run"]
        of_run = {
            "run": dag_run.run_id,
            "pipeline": self._context["ti"].dag_id,
            "kind": dag_run.run_type.value,
            "is_dry_run": bool(self._context["params"].get("dry_run")),
        }
        folder = run_folder(dag_run.run_id)
        try:
            (folder / GATHERED).unlink(missing_ok=True)  # what was gathered of the run's tasks is no longer so
            with written_aside(folder / TASKS / f"{self.facts.task}.json") as file:
                file.write_text(json.dumps({**of_run, **self.facts.as_json()}), encoding="utf-8")
        except Exception as error:  # every object store has exceptions of its own, and `check` says what is wrong there
            log.warning("The record of this task could not be written: %s", type(error).__name__)


@contextmanager
def recorded(context: Context) -> Iterator[TaskRecord]:
    """The body of a task: it leaves its record, and a `Problem` in it is said plainly.

    The sentence of a `Problem` is made to be shown. Of any other exception the record has the kind alone: its text may
    hold anything, and is in the log.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    record = TaskRecord(context)
    record.leave()
    with said_plainly():
        try:
            yield record
        except Problem as problem:
            record.leave(state="failed", reason=str(problem))
            raise
        except AirflowSkipException as skipped:
            record.leave(state="skipped", reason=str(skipped))
            raise
        except BaseException as error:
            record.leave(state="failed", reason=f"{type(error).__name__}; the task's log says more.")
            raise
        record.leave(state="success")
