"""The analyses beside plain pandas and plain polars, with and without two dimension columns.

Ours is the whole analysis, all its reports, from the staged Parquet, within ENGINE_MEMORY_MB. *All reports* are the
numbers of all of them too, in plain polars (see `analyses_in_polars`); of churn without the purchase model, which
flatters that peer. *One report* computes one of them (see `analyses_peers`). No peer has a bound on its memory.

Whatever the size, 0.2 to 1 s of ours go into building the expressions and their SQL and into the small tables that are
left. Where plain polars needs half a second in all, that is most of the difference.

What the breakdown costs is measured apart: the analysis for 20 groups of customers and `all`, beside the same analysis
for `all` alone. And so is what all of them take together, one after the other in one process.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import configs
from benchmarks.analyses_in_polars import PEERS_OF_ALL
from benchmarks.analyses_peers import PEERS, REPORT
from benchmarks.measure import Case, Outcome
from benchmarks.staged_shop import snapshot
from include import catalogue
from include.pipeline.analyse import compute
from include.staging.storage import storage

DIMENSIONS = ("region", "device")
OURS, FOR_ALL, EVERY = "the analysis", "for all alone", "every analysis"
ALL_REPORTS, ONE_IN_POLARS, ONE_IN_PANDAS = "polars, all reports", "polars, one report", "pandas, one report"
VALUES = 20
LARGEST_FOR_PANDAS = 1_000_000  # beyond, it alone would take the machine's memory


def cases(sessions: int) -> list[Case]:
    """Each analysis, without dimensions and with two; what 20 values of a dimension cost; and all together."""
    shared: dict[str, Any] = {"family": "analyses", "sessions": sessions, "unit": "sessions", "ours": OURS}
    beside_peers = [
        Case(
            **shared,
            name=f"{analysis}, {len(dimensions)} dimension columns",
            contenders=(
                OURS,
                ALL_REPORTS,
                ONE_IN_POLARS,
                *((ONE_IN_PANDAS,) if sessions <= LARGEST_FOR_PANDAS else ()),
            ),
            detail={"analysis": analysis, "dimensions": list(dimensions), "peers_report": REPORT[analysis]},
        )
        for analysis in PEERS
        for dimensions in ((), DIMENSIONS)
    ]
    beside_all = [
        Case(
            **shared,
            name=f"{analysis}, {VALUES} values of a dimension",
            contenders=(OURS, FOR_ALL),
            also_ours=(FOR_ALL,),
            detail={"analysis": analysis, "dimensions": [], "values": VALUES},
        )
        for analysis in PEERS
    ]
    together = Case(
        **{**shared, "ours": EVERY},
        name=f"all {len(PEERS)} together, {len(DIMENSIONS)} dimension columns",
        contenders=(EVERY,),
        detail={"dimensions": list(DIMENSIONS)},
    )
    return [*beside_peers, *beside_all, together]


def run(case: Case, contender: str, folder: Path) -> Outcome:
    """One analysis, one of its peers, or all analyses."""
    staged = snapshot(folder)
    as_of = staged.newest_complete_day()
    if as_of is None:
        raise ValueError("the shop has no sessions")
    dimensions, rows = tuple(case.detail["dimensions"]), staged.counts["sessions"]
    if contender in (ALL_REPORTS, ONE_IN_POLARS, ONE_IN_PANDAS):
        root = storage(configs.STAGING_URL)
        files = {name: [(root / file.path).path for file in table.files] for name, table in staged.tables.items()}
        analysis = case.detail["analysis"]
        one = PEERS[analysis]["pandas" if contender == ONE_IN_PANDAS else "polars"]
        peer = PEERS_OF_ALL[analysis] if contender == ALL_REPORTS else one
        begun = time.perf_counter()
        peer(files, dimensions, as_of)
        return Outcome(time.perf_counter() - begun, rows)
    for analysis in PEERS:  # the peers are imported, too, before their clock starts
        assert catalogue.analysis(analysis).module
    begun = time.perf_counter()
    if contender == EVERY:
        seconds = {}
        for analysis in PEERS:
            before = time.perf_counter()
            compute(analysis, staged.analysis_tables(dimensions=dimensions, week_start="monday"), as_of=as_of)
            seconds[analysis] = round(time.perf_counter() - before, 2)
        return Outcome(time.perf_counter() - begun, rows, seconds)
    analysis = case.detail["analysis"]
    tables = staged.analysis_tables(dimensions=dimensions, week_start="monday")
    if contender == OURS and "values" in case.detail:
        group = (tables.sessions.client_code % case.detail["values"]).cast("string")
        tables = replace(tables, sessions=tables.sessions.mutate(dimension_group=group), dimensions=("group",))
    reports = compute(analysis, tables, as_of=as_of)
    values = reports[REPORT[analysis]].rows["dimension"].nunique() - 1
    return Outcome(time.perf_counter() - begun, rows, {"dimension_values": values})
