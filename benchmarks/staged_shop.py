"""What the measurements work on: a simulated shop, and the snapshot that the pipeline's own steps make of it."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path

import configs
from include.datasets.shop.writing import write_shop
from include.quality.extract import Extracted, extract_rows
from include.quality.validate import validate_rows
from include.sources.definition import Source, Sources, load_sources
from include.sources.read import check_source, read_source
from include.staging.merge import merge
from include.staging.snapshot import Snapshot, load_snapshot
from include.staging.storage import storage

SEED = 1
RUN = "benchmark"
LATEST = datetime(2027, 1, 1)  # noqa: DTZ001 # instants are UTC without a zone; only dirty rows are later


def keep_apart(folder: Path) -> None:
    """From now on this process stages below `folder`, and not where the user's own data are."""
    configs.STAGING_URL = str(folder / "var" / "staging")
    configs.TEMPORARY_DIR = str(folder / "var" / "tmp")
    configs.DATA_DOCS_DIR = str(folder / "var" / "data_docs")


def shop(folder: Path, sessions: int) -> Path:
    """The folder of a shop of that size, written the first time it is asked for."""
    place = folder / "shop"
    if not (place / "sources.yaml").exists():
        write_shop(place, sessions=sessions, seed=SEED)
    return place


def sources(folder: Path) -> Sources:
    """The shop's sources, their paths made absolute."""
    return load_sources(str(folder / "shop" / "sources.yaml"))


def extracted(source: Source) -> Extracted:
    """One source read and put through the row rules, as the task does it."""
    options = check_source(source).options
    target = storage(configs.STAGING_URL) / "runs" / RUN
    return extract_rows(source, read_source(source, options), options, target=target, run_id=RUN, latest=LATEST)


def validated(source: Source, found: Extracted, customers: Extracted | None) -> Extracted:
    """One source put through set rules and gate, as the task does it."""
    return validate_rows(
        source,
        found,
        customer_files=customers.files if customers else (),
        snapshot=None,
        target=storage(configs.STAGING_URL) / "runs" / RUN,
        run_id=RUN,
        latest=LATEST,
    )


def staged(folder: Path) -> Snapshot:
    """The shop from CSV to staged Parquet, all sources, gate included."""
    everything = {source.name: source for source in sources(folder).all}
    customers = extracted(everything["customers"])
    parts = {
        name: validated(source, customers if name == "customers" else extracted(source), customers).files
        for name, source in everything.items()
    }
    return merge(parts, run_key=RUN, time_zone=configs.BUSINESS_TIMEZONE, full_refresh=True).snapshot


@cache
def snapshot(folder: Path) -> Snapshot:
    """The staged shop, staged the first time it is asked for."""
    return load_snapshot() or staged(folder)
