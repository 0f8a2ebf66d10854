"""Quarantined rows judged again, by the mapping and the rules of now, and those loaded that pass."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import configs
from include.elastic.client import connect
from include.pipeline.publish import publish
from include.pipeline.quarantine import index_again
from include.pipeline.record import recorded
from include.pipeline.run import run_from_context
from include.pipeline.stage import stage
from include.problem import Problem
from include.quality.quarantine import QuarantinedRun, quarantined_run, quarantined_runs
from include.quality.replay import Replayed, mark, revalidate, runs_of
from include.schemas.run_facts import SourceFacts
from include.sources.definition import load_sources
from include.sources.read import value_format
from include.staging.snapshot import load_snapshot

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)


def revalidate_all(context: Context) -> list[dict[str, Any]]:
    """What became of the quarantined rows of each configured source: customers first, as sessions refer to them."""
    with recorded(context) as record:
        run = run_from_context(context)
        params = context["params"]
        snapshot = load_snapshot()
        if snapshot is None:
            raise Problem("Nothing is loaded yet that rows could be added to; run customer_analytics first.")
        chosen = _chosen_runs(tuple(params["runs"] or ()))
        found: list[Replayed] = []
        for source in sorted(load_sources(configs.SOURCES_FILE).all, key=lambda one: one.kind.name != "customers"):
            replayed = revalidate(
                source,
                value_format(source),
                chosen if not params["sources"] or source.name in params["sources"] else [],
                rules=tuple(params["rules"] or ()),
                customer_files=[file for one in found if one.kind == "customers" for file in one.files],
                earlier={one.name: one.files for one in found if one.kind == source.kind.name},
                snapshot=snapshot,
                target=run.folder,
                run_id=run.run_id,
                latest=run.latest_instant,
            )
            found.append(replayed)
            log.info(
                "%s: %s quarantined rows, of which %s pass (%s of them new) and %s stay: %s",
                source.name, f"{replayed.considered:,}", f"{replayed.loaded:,}", f"{replayed.staged:,}",
                f"{replayed.left:,}", ", ".join(f"{n:,} × {rule}" for rule, n in replayed.by_rule.items()) or "none",
            )  # fmt: skip
        facts = [SourceFacts(one.name, one.kind, one.considered, one.loaded, one.left) for one in found]
        record.handled(sum(one.considered for one in found), facts)
        return [one.as_reference() for one in found]


def _chosen_runs(run_ids: tuple[str, ...]) -> list[QuarantinedRun]:
    kept = quarantined_runs()
    unknown = [run_id for run_id in run_ids if run_id not in {run.run_id for run in kept}]
    if unknown:
        there = ", ".join(run.run_id for run in kept[:20]) or "none"
        raise Problem(f"There is no quarantine of the run {unknown[0]}; those kept, the newest first, are: {there}.")
    return [run for run in kept if not run_ids or run.run_id in run_ids]


def stage_replayed(context: Context, replayed: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge the rows that pass into the snapshot. Skipped where none does, and with it all that would follow."""
    from airflow.sdk.exceptions import AirflowSkipException

    # Rows that are staged already count: whoever staged them may have been killed before they were indexed.
    if not any(one["loaded"] for one in replayed):
        with recorded(context):
            raise AirflowSkipException(
                "No quarantined row passes, so nothing is to be loaded; the log before says why."
            )
    return stage(context, replayed)


def publish_replayed(
    context: Context,
    staged: dict[str, Any] | None,
    replayed: list[dict[str, Any]] | None,
    indexed: list[dict[str, Any] | None],
    analysed: dict[str, dict[str, Any] | None],
) -> dict[str, Any]:
    """As after a load; but how far the sources were read is as it was: a replay reads none of them."""
    from airflow.sdk.exceptions import AirflowSkipException

    if staged is None and replayed is not None and not any(one["loaded"] for one in replayed):
        with recorded(context):
            raise AirflowSkipException("Nothing was loaded, so the reports are as they were.")
    return publish(context, staged, [*(replayed or ())], indexed, analysed, moves_watermarks=False)


def mark_all(context: Context, replayed: list[dict[str, Any]]) -> dict[str, int]:
    """Write into the quarantine, and into its index, what is loaded now and why the rest is not; how many rows each."""
    from airflow.sdk.exceptions import AirflowSkipException

    with recorded(context) as record:
        if run_from_context(context).dry_run:
            raise AirflowSkipException("A dry run changes nothing.")
        touched: dict[str, None] = {}
        for one in replayed:
            for key in runs_of(one["verdicts"]):
                run = quarantined_run(key)
                if run is not None:
                    mark(run, one["name"], one["verdicts"])
                    touched[key] = None
        index_again(connect(), touched)
        marked = {name: sum(one[name] for one in replayed) for name in ("considered", "loaded", "left")}
        record.handled(marked["considered"])
        return marked
