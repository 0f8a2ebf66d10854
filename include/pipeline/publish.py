"""What ends a run: its reports become visible, the scores are written, and the run is summed up."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import configs
from include import catalogue
from include.elastic.client import connect
from include.elastic.load import write_scores
from include.elastic.reports import publish_reports
from include.pipeline.alert import send_alerts
from include.pipeline.analyse import why_skipped
from include.pipeline.record import recorded
from include.pipeline.run import Run, run_from_context
from include.pipeline.run_reports import write_run_reports
from include.pipeline.stage import staged_snapshot
from include.pipeline.window import window
from include.problem import Problem
from include.progress import Progress
from include.sources.definition import load_sources
from include.staging.snapshot import Snapshot
from include.staging.storage import written_aside
from include.staging.watermark import move_watermarks, read_watermark

if TYPE_CHECKING:
    import pandas as pd
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)


def publish(
    context: Context,
    staged: dict[str, Any] | None,
    validated: list[dict[str, Any] | None],
    indexed: list[dict[str, Any] | None],
    analysed: dict[str, dict[str, Any] | None],
    *,
    moves_watermarks: bool = True,
) -> dict[str, Any]:
    """Show the reports, that of the runs among them, write the scores, and return the run's sum: rows, documents,
    reports of analyses.

    `analysed` is what each analysis returned, None where it was skipped or failed. Raises a `Problem` that names the
    analyses that failed, after the others' reports are out.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    with recorded(context) as record:
        run = run_from_context(context)
        if run.dry_run:
            raise AirflowSkipException("A dry run publishes nothing.")
        if staged is None or any(one is None for one in indexed):
            raise Problem("There is nothing to publish, because a task before failed; its log says why.")
        snapshot = staged_snapshot(staged)
        if moves_watermarks:
            _move_watermarks(run, snapshot)
        chosen = [name for name in run.analyses if not why_skipped(name, snapshot)]
        done = {name: result for name, result in analysed.items() if result is not None}
        _write_scores(snapshot, [name for name in chosen if name in done], as_of=date.fromisoformat(staged["as_of"]))
        summary = _summary(run, staged, validated, indexed, done)
        write_run_reports(context, run, summary)
        publish_reports(connect())
        record.handled(summary["report_rows"])
        send_alerts(context, [sentence for result in done.values() for sentence in result.get("alerts", [])])
        with written_aside(run.folder / "summary.json") as file:
            file.write_text(json.dumps(summary, indent=2), encoding="utf-8")
        failed = [name for name in chosen if name not in done]
        if failed:
            raise Problem(f"Published, but without {', '.join(failed)}: their logs say why; clear them to try again.")
        return summary


def _move_watermarks(run: Run, snapshot: Snapshot) -> None:
    """The next run goes on from what is indexed now, for the sources of which this run left out nothing before it."""
    sources = load_sources(configs.SOURCES_FILE).all
    moving = [one for one in sources if window(run, one, read_watermark(one)).moves_watermark]
    for name, newest in move_watermarks(moving, snapshot).items():
        log.info("%s: loaded up to %s UTC", name, newest)


def _write_scores(snapshot: Snapshot, names: list[str], *, as_of: date) -> None:
    """The customers' scores of every analysis that computes some, as one partial update of each of `downloads`."""
    scoring = [name for name in names if hasattr(catalogue.analysis(name).module, "customer_scores")]
    if not scoring:
        return
    tables = snapshot.analysis_tables(dimensions=(), week_start=configs.WEEK_START)
    found = []
    for name in scoring:
        scores = catalogue.analysis(name).module.customer_scores(tables, as_of=as_of)
        scores[f"{name}_as_of"] = as_of
        found.append(scores)
        log.info("%s: scores of %s customers", name, f"{len(scores):,}")
    together = side_by_side(found)
    with Progress("publish", unit="customers' scores", total=len(together)) as progress:
        result = write_scores(connect(), together, progress=progress.advance)
    log.info("scores of %s customers written", f"{result.accepted:,}")


def side_by_side(found: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row per client of any of the frames, with the columns of all.

    A column that several have is that of the last: P(alive) that of `clv_prediction`, whose model the holdout chose.
    """
    together = found[0].set_index("client")
    for scores in found[1:]:
        own = scores.set_index("client")
        together = together.drop(columns=[name for name in own if name in together]).join(own, how="outer")
    return together.reset_index(names="client")


def _summary(
    run: Run,
    staged: dict[str, Any],
    validated: list[dict[str, Any] | None],
    indexed: list[dict[str, Any] | None],
    done: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "as_of": staged["as_of"],
        "newest_day": staged.get("newest_day"),
        "snapshot": staged["version"],
        "sources": {one["name"]: one for one in validated if one},
        "staged": staged["counts"],
        "indexed": {one["name"]: one["documents"] for one in indexed if one},
        "reports": sum(len(result["rows"]) for result in done.values()),
        "report_rows": sum(sum(result["rows"].values()) for result in done.values()),
    }
