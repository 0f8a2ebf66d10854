"""Read one source: good rows to this run's landing files, bad ones to quarantine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import configs
from include.pipeline.record import recorded
from include.pipeline.run import run_from_context
from include.pipeline.window import window
from include.quality.extract import Extracted, extract_rows
from include.schemas.run_facts import SourceFacts
from include.sources.definition import Source, load_sources
from include.sources.read import read_source, value_format
from include.staging.watermark import read_watermark
from include.termination import ended_by_sigterm

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)


def extract(context: Context, name: str) -> dict[str, Any]:
    """What became of the rows of the source `name`, and where the good ones are."""
    with recorded(context) as record, ended_by_sigterm():
        run = run_from_context(context)
        source = configured_source(name)
        options = value_format(source)
        wanted = window(run, source, read_watermark(source))
        log.info("%s: %s", name, wanted)
        found = extract_rows(
            source,
            read_source(source, options, **wanted.bounds),
            options,
            target=run.folder,
            run_id=run.run_id,
            latest=run.latest_instant,
            **wanted.bounds,
        )
        record.handled(found.read, [source_facts(found)])
        return found.as_reference()


def source_facts(found: Extracted) -> SourceFacts:
    """The counts of a source, as the report of the runs has them."""
    return SourceFacts(found.name, found.kind, found.read, found.good, found.quarantined, found.outside_window)


def configured_source(name: str) -> Source:
    """The definition of one source in sources.yaml."""
    return load_sources(configs.SOURCES_FILE).named(name)
