"""Merge the validated rows into the snapshot, and settle the run's report date."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import configs
from include.pipeline.record import recorded
from include.pipeline.run import run_from_context
from include.problem import Problem
from include.staging.merge import merge
from include.staging.snapshot import Snapshot, load_snapshot
from include.staging.watermark import keep_watermarks

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)


def stage(context: Context, validated: list[dict[str, Any]]) -> dict[str, Any]:
    """The new snapshot's version, what changed in it, and the `as_of` of every analysis."""
    from airflow.sdk.exceptions import AirflowSkipException

    with recorded(context) as record:
        run = run_from_context(context)
        if run.dry_run:
            raise AirflowSkipException("A dry run stops here: nothing is loaded.")
        names = [one["name"] for one in validated]
        # A source that went takes its rows along in time, and a full refresh replaces everything, at once: whoever is
        # killed before the indexes are written, or asked for a period only, must not take what went for loaded.
        keep_watermarks([] if run.full_refresh else names)
        merged = merge(
            {one["name"]: one["files"] for one in validated},
            kinds={one["name"]: one["kind"] for one in validated},
            run_key=run.key,
            time_zone=configs.BUSINESS_TIMEZONE,
            full_refresh=run.full_refresh,
        )
        snapshot = merged.snapshot
        newest = snapshot.newest_complete_day()
        if newest is None:
            raise Problem("No session is staged, so there is nothing to report; look at the quarantine and the period.")
        as_of = run.report_date(newest)
        log.info("snapshot %s: %s; reports as of %s", snapshot.version, snapshot.counts, as_of)
        for table, rows in merged.orders_unknown.items():
            if rows:
                log.warning("%s: %s rows are for orders that are not there yet; they are kept", table, f"{rows:,}")
        record.handled(sum(snapshot.counts.values()))
        return {
            "version": snapshot.version,
            "previous_version": merged.previous_version,
            "changed_months": list(merged.changed_months),
            "counts": snapshot.counts,
            "orders_unknown": merged.orders_unknown,
            "as_of": as_of.isoformat(),
            "newest_day": newest.isoformat(),
        }


def staged_snapshot(staged: dict[str, Any]) -> Snapshot:
    """The snapshot that `stage` made for this run, whatever a later run made of it."""
    version = staged["version"]
    snapshot = load_snapshot(version)
    if snapshot is None:
        raise Problem(f"The snapshot {version} is no longer in {configs.STAGING_URL}; run the DAG again from `stage`.")
    return snapshot
