"""A run of the pipeline for tests: by hand, with every parameter left alone."""

from datetime import UTC, datetime

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
