"""The first task: can everything be used that the run needs?"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import configs
from include import catalogue
from include.dashboards.notes import ensure_notes
from include.elastic.client import check_elasticsearch, connect
from include.elastic.indexes import ensure_reports
from include.elastic.reports import recover_reports
from include.pipeline.alone import require_alone, require_turn
from include.pipeline.record import recorded
from include.pipeline.run import Run, run_from_context
from include.problem import Problem
from include.sources.definition import Sources, load_sources
from include.sources.read import check_source
from include.sources.source_check import SourceCheck
from include.staging.storage import storage, written_aside

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)


def check(context: Context, *, not_beside: str, retry: bool) -> dict[str, Any]:
    """What was found of Elasticsearch and of each source; one `Problem` that lists all troubles, one line each.

    `not_beside` is the DAG of which no run may be at work, and `retry` whether this one waits for it.
    """
    troubles: list[Problem] = []

    def attempt(what: str, look: Callable[[], Any], tell: Callable[[Any], Sequence[str]] = _as_it_is) -> Any:
        try:
            found = look()
        except Problem as problem:
            log.error("%s: %s", what, problem)
            troubles.append(problem)
            return None
        for sentence in tell(found):
            log.info("%s: %s", what, sentence)
        return found

    with recorded(context):
        require_alone(context, not_beside, retry=retry)
        require_turn(context)
        attempt("parameters", lambda: run_from_context(context), _of_run)
        elasticsearch = attempt("Elasticsearch", lambda: check_elasticsearch(connect()), _of_cluster)
        attempt("staging", lambda: require_writable(configs.STAGING_URL))
        attempt("temporary folder", lambda: require_room(Path(configs.TEMPORARY_DIR)))
        sources = attempt("sources.yaml", lambda: load_sources(configs.SOURCES_FILE), _of_sources)
        found: dict[str, SourceCheck | None] = {}
        for source in sources.all if sources else ():
            found[source.name] = attempt(source.name, partial(check_source, source), SourceCheck.sentences)
        if troubles:
            gathered = Problem("\n".join(str(trouble) for trouble in troubles))
            gathered.retry = all(trouble.retry for trouble in troubles)
            raise gathered
        if not run_from_context(context).dry_run:
            _prepare_reports()
    return {"elasticsearch": elasticsearch, "sources": {name: one.summary() for name, one in found.items() if one}}


def _as_it_is(found: object) -> list[str]:
    return [str(found)]


def _of_run(run: Run) -> list[str]:
    told = [
        f"{run.run_type} run {run.run_id}",
        "dry run" if run.dry_run else "",
        "full refresh" if run.full_refresh else "",
        f"days from {run.start or 'the first'} to {run.end or 'the last'}" if run.start or run.end else "",
        f"report date {run.as_of}" if run.as_of else "",
        f"dimensions {', '.join(run.dimensions) or 'none'}",
        f"analyses {', '.join(run.analyses) or 'none'}",
    ]
    return ["; ".join(part for part in told if part)]


def _of_cluster(found: dict[str, Any]) -> list[str]:
    nodes = "one node" if found["nodes"] == 1 else f"{found['nodes']} nodes"
    return [f"{found['address']}, version {found['version']}, {found['status']}, {nodes}"]


def _of_sources(sources: Sources) -> list[str]:
    return [f"{configs.SOURCES_FILE} has {', '.join(source.name for source in sources.all)}"]


def _prepare_reports() -> None:
    """Make the index `reports` with the fields of every report, and heal what a crash left in it."""
    client = connect()
    ensure_reports(client, {one.name: getattr(one.module, "FIELDS", {}) for one in catalogue.reporting()})
    ensure_notes(client)  # Kibana's charts ask for notes, and complain where there is no such index
    healed = recover_reports(client)
    if healed:
        log.warning("%d reports of an interrupted run were put right.", healed)


def require_writable(url: str) -> str:
    """Write and delete a small file below `url`; raises a `Problem` when that cannot be done."""
    probe = storage(url) / f".probe-{uuid.uuid4().hex}"
    try:
        with written_aside(probe) as file:
            file.write_bytes(b"probe")
        probe.unlink()
    except Exception as error:  # every object store has exceptions of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Problem(
            f"STAGING_URL ({url}) cannot be written to: {reason}. "
            "Give this user the right to write there, or set another."
        ) from error
    return "writable"


def require_room(folder: Path) -> str:
    """Make the folder and look how much is free; raises a `Problem` below TEMPORARY_FREE_BYTES."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".probe").write_bytes(b"probe")
        (folder / ".probe").unlink()
    except OSError as error:
        raise Problem(
            f"TEMPORARY_DIR ({folder}) cannot be written to: {error.strerror}. "
            "Give this user the right to write there, or set another."
        ) from error
    free = shutil.disk_usage(folder).free
    if free < configs.TEMPORARY_FREE_BYTES:
        raise Problem(
            f"TEMPORARY_DIR ({folder}) has {free / 1e9:.1f} GB free and {configs.TEMPORARY_FREE_BYTES / 1e9:.1f} GB "
            "are wanted; make room, set another folder, or lower TEMPORARY_FREE_BYTES."
        )
    return f"{free / 1e9:.0f} GB free"
