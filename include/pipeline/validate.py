"""Judge the whole load of one source: set rules, the share of bad rows, the Great Expectations gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.pipeline.extract import configured_source, source_facts
from include.pipeline.record import recorded
from include.pipeline.run import run_from_context
from include.quality.extract import Extracted
from include.quality.validate import validate_rows
from include.staging.snapshot import load_snapshot

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


def validate(
    context: Context,
    name: str,
    extracted: dict[str, Any],
    customers: list[dict[str, Any]],
    earlier: list[dict[str, Any]],
) -> dict[str, Any]:
    """The counts of `extract` with what was found now, and the files that may be staged.

    `customers` are all validated sources of customers (for sessions), `earlier` the validated sources of the same kind
    that come before this one in sources.yaml.
    """
    with recorded(context) as record:
        run = run_from_context(context)
        found = validate_rows(
            configured_source(name),
            Extracted(**extracted),
            customer_files=[file for one in customers for file in one["files"]],
            snapshot=None if run.full_refresh else load_snapshot(),
            target=run.folder,
            run_id=run.run_id,
            latest=run.latest_instant,
            earlier={one["name"]: one["files"] for one in earlier},
        )
        record.handled(found.read, [source_facts(found)])
        return found.as_reference()
