"""A run of the pipeline for tests: by hand, with every parameter left alone."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from airflow.sdk.api.datamodels._generated import DagRun, DagRunType

from include.pipeline.run import Run

BY_HAND = Run(
    run_id="manual",
    run_type="manual",
    started_at=datetime(2025, 1, 1, tzinfo=UTC),
    interval_start=None,
    interval_end=None,
    as_of=None,
    start=None,
    end=None,
    dimensions=(),
    analyses=(),
    full_refresh=False,
    dry_run=False,
)


def context_of(task_id: str, run_id: str = "one", *, try_number: int = 1, **params: Any) -> Any:
    """What Airflow gives to the body of a task, as far as ours look at it."""
    began = datetime(2025, 1, 1, tzinfo=UTC)
    return {
        "dag_run": DagRun.model_construct(run_id=run_id, run_type=DagRunType.MANUAL, start_date=began, run_after=began),
        "params": {"dimensions": [], "analyses": [], "full_refresh": False, "dry_run": False, **params},
        "ti": SimpleNamespace(task_id=task_id, dag_id="customer_analytics", try_number=try_number),
    }
