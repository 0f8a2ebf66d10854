"""Read one source: good rows to this run's landing files, bad ones to quarantine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import configs
from include.pipeline.run import run_from_context, said_plainly
from include.pipeline.window import window
from include.quality.extract import extract_rows
from include.sources.definition import Source, load_sources
from include.sources.read import read_source, value_format
from include.staging.watermark import read_watermark

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)


def extract(context: Context, name: str) -> dict[str, Any]:
    """What became of the rows of the source `name`, and where the good ones are."""
    with said_plainly():
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
        return found.as_reference()


def configured_source(name: str) -> Source:
    """The definition of one source in sources.yaml."""
    return load_sources(configs.SOURCES_FILE).named(name)
