"""From CSV to staged Parquet, beside polars reading the same CSV files and writing Parquet.

Ours reads the four sources of the shop, puts every row through the row rules, the set rules and the gate, quarantines
the bad ones, and merges the others into a sorted, content-named snapshot. Polars writes the text of every column as it
reads it: it converts, checks and sorts nothing, and stands for the cost of reading and writing alone.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

import configs
from benchmarks.measure import Case, Outcome
from benchmarks.staged_shop import RUN, extracted, shop, sources, validated
from include.staging.merge import merge

OURS, POLARS = "rules, gate, merge", "polars sink_parquet"
LARGEST_REPEATED = 1_000_000  # a larger one takes minutes


def cases(sessions: int) -> list[Case]:
    """All four sources of the shop."""
    return [
        Case(
            family="csv_to_parquet",
            name="four sources",
            sessions=sessions,
            unit="rows",
            ours=OURS,
            contenders=(OURS, POLARS),
            repetitions=1 if sessions > LARGEST_REPEATED else None,
        )
    ]


def run(case: Case, contender: str, folder: Path) -> Outcome:
    """The shop's CSV files to Parquet."""
    place = shop(folder, case.sessions)
    if contender == POLARS:
        return _polars(place, folder / "polars")
    shutil.rmtree(configs.STAGING_URL, ignore_errors=True)
    everything = {source.name: source for source in sources(folder).all}
    begun = time.perf_counter()
    found = {name: extracted(source) for name, source in everything.items()}
    read = time.perf_counter()
    checked = {name: validated(source, found[name], found["customers"]) for name, source in everything.items()}
    judged = time.perf_counter()
    parts = {name: one.files for name, one in checked.items()}
    merge(parts, run_key=RUN, time_zone=configs.BUSINESS_TIMEZONE, full_refresh=True)
    done = time.perf_counter()
    facts = {
        "extract_seconds": round(read - begun, 2),
        "validate_seconds": round(judged - read, 2),
        "merge_seconds": round(done - judged, 2),
    }
    return Outcome(done - begun, sum(one.read for one in checked.values()), facts)


def _polars(place: Path, target: Path) -> Outcome:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    begun = time.perf_counter()
    for name in ("sessions/*.csv", "customers.csv", "order_lines.csv", "deliveries.csv"):
        # As text: a type inferred from the first rows fails at the first dirty one after them.
        scanned = pl.scan_csv(place / name, infer_schema=False, encoding="utf8-lossy")
        scanned.sink_parquet(target / f"{name.split('/')[0]}.parquet")
    seconds = time.perf_counter() - begun
    return Outcome(seconds, sum(pq.read_metadata(file).num_rows for file in target.iterdir()))
