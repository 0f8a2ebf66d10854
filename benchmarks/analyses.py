"""The analyses beside plain pandas and plain polars, with and without two dimension columns.

Ours is the whole analysis, all its reports, from the staged Parquet, within ENGINE_MEMORY_MB. A peer computes one of
these reports (see `analyses_peers`), without a bound on its memory.
"""

from __future__ import annotations

import time
from pathlib import Path

import configs
from benchmarks.analyses_peers import PEERS, REPORT
from benchmarks.measure import Case, Outcome
from benchmarks.staged_shop import snapshot
from include.pipeline.analyse import compute
from include.staging.storage import storage

DIMENSIONS = ("region", "device")
OURS = "the analysis"
LARGEST_FOR_PANDAS = 1_000_000  # beyond, it alone would take the machine's memory


def cases(sessions: int) -> list[Case]:
    """Each analysis, without dimensions and with two."""
    return [
        Case(
            family="analyses",
            name=f"{analysis}, {len(dimensions)} dimension columns",
            sessions=sessions,
            unit="sessions",
            ours=OURS,
            contenders=(OURS, "polars", *(("pandas",) if sessions <= LARGEST_FOR_PANDAS else ())),
            detail={"analysis": analysis, "dimensions": list(dimensions), "peers_report": REPORT[analysis]},
        )
        for analysis in PEERS
        for dimensions in ((), DIMENSIONS)
    ]


def run(case: Case, contender: str, folder: Path) -> Outcome:
    """One analysis, or its peer."""
    staged = snapshot(folder)
    as_of = staged.newest_complete_day()
    if as_of is None:
        raise ValueError("the shop has no sessions")
    analysis, dimensions = case.detail["analysis"], tuple(case.detail["dimensions"])
    rows = staged.counts["sessions"]
    root = storage(configs.STAGING_URL)
    files = {name: [(root / file.path).path for file in table.files] for name, table in staged.tables.items()}
    begun = time.perf_counter()
    if contender == OURS:
        tables = staged.analysis_tables(dimensions=dimensions, week_start="monday")
        compute(analysis, tables, as_of=as_of)
    else:
        PEERS[analysis][contender](files, dimensions, as_of)
    return Outcome(time.perf_counter() - begun, rows)
