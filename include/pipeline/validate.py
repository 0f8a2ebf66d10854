"""Judge the whole load of one source: set rules, the share of bad rows, the Great Expectations gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.pipeline.extract import configured_source
from include.pipeline.run import run_from_context, said_plainly
from include.quality.extract import Extracted
from include.quality.validate import validate_rows
from include.staging.snapshot import load_snapshot

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


def validate(
    context: Context, kind: str, extracted: dict[str, Any], customers: dict[str, Any] | None
) -> dict[str, Any]:
    """The counts of `extract` with what was found now, and the files that may be staged."""
    with said_plainly():
        run = run_from_context(context)
        found = validate_rows(
            configured_source(kind),
            Extracted(**extracted),
            customer_files=customers["files"] if customers else (),
            snapshot=None if run.full_refresh else load_snapshot(),
            target=run.folder,
            run_id=run.run_id,
            latest=run.latest_instant,
        )
        return found.as_reference()
