"""The peers compute what the analyses compute: the same numbers on a small shop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

import configs
from benchmarks import analyses
from benchmarks.analyses import DIMENSIONS
from benchmarks.analyses_peers import PEERS, REPORT
from include.pipeline.analyse import compute
from include.staging.snapshot import Snapshot

FULL = ("rfm", "promotion_analytics")  # the others keep the newest periods, or the strongest pairs, only
KEYS = {
    "descriptive_statistics": ["dimension", "granularity", "period"],
    "cohorts": ["dimension", "granularity", "period", "offset"],
    "rfm": ["dimension", "recency_score", "frequency_score", "monetary_score"],
    "funnels": ["dimension", "granularity", "period", "step_number"],
    "churn": ["dimension", "activity", "granularity", "period"],
    "promotion_analytics": ["dimension", "promotion_id"],
    "product_analytics": ["dimension", "product", "other_product"],
}
VALUES = {
    "descriptive_statistics": ["sessions", "orders", "revenue", "customers", "buyers"],
    "cohorts": ["customers"],
    "rfm": ["customers"],
    "funnels": ["sessions"],
    "churn": ["previous_customers", "retained_customers"],
    "promotion_analytics": ["customers", "orders", "revenue", "discount"],
    "product_analytics": ["orders"],
}


def as_comparable(frame: pd.DataFrame, analysis: str, columns: Sequence[str]) -> pd.DataFrame:
    if "number" in frame:
        months = frame["granularity"] == "month"
        weeks = pd.to_datetime((frame["number"].where(~months, 0) * 7 - 3), unit="D")
        number = frame["number"].where(months, 12) - 1
        begin = pd.to_datetime({"year": number // 12, "month": number % 12 + 1, "day": 1})
        frame = frame.assign(period=begin.where(months, weeks))
    frame = frame[frame["granularity"] != "hour"] if "granularity" in frame else frame
    frame = frame[[*KEYS[analysis], *columns]].copy()
    if "period" in frame:
        frame["period"] = pd.to_datetime(frame["period"]).dt.date.astype(str)
    frame["dimension"] = frame["dimension"].astype(str)
    return frame.set_index(KEYS[analysis]).astype("float64").sort_index()


@pytest.mark.parametrize("peer", ["pandas", "polars"])
@pytest.mark.parametrize("analysis", sorted(PEERS))
def test_equal_numbers(small: tuple[Path, Snapshot], analysis: str, peer: str) -> None:
    folder, snapshot = small
    as_of = snapshot.newest_complete_day()
    assert isinstance(as_of, date)
    tables = snapshot.analysis_tables(dimensions=DIMENSIONS, week_start="monday")
    ours = as_comparable(compute(analysis, tables, as_of=as_of)[REPORT[analysis]].rows, analysis, VALUES[analysis])
    files = {
        name: [f"{folder}/var/staging/{file.path}" for file in table.files] for name, table in snapshot.tables.items()
    }
    frame = PEERS[analysis][peer](files, DIMENSIONS, as_of)
    theirs = as_comparable(frame, analysis, VALUES[analysis])
    if analysis in FULL:
        assert theirs.index.isin(ours.index).all()
    else:
        theirs = theirs[theirs.index.isin(ours.index)]
    assert len(theirs) > 20
    found = theirs.reindex(ours.index).fillna(0)  # ours says zero where the peers have no row
    pd.testing.assert_frame_equal(found, ours.fillna(0), check_exact=False, rtol=1e-9)


def test_what_the_breakdown_costs_is_measured_on_as_many_values_as_said(small: tuple[Path, Snapshot]) -> None:
    case = next(one for one in analyses.cases(3_000) if one.name == "rfm, 20 values of a dimension")
    found = {name: analyses.run(case, name, small[0]) for name in case.contenders}
    assert {name: one.facts["dimension_values"] for name, one in found.items()} == {
        "the analysis": 20,
        "for all alone": 0,
    }
    assert len({one.rows for one in found.values()}) == 1


def test_the_peers_import_nothing_of_ours() -> None:
    named = "print([name for name in sys.modules if name.startswith('include')])"
    code = f"import sys, benchmarks.analyses_peers, benchmarks.analyses_in_polars; {named}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=configs.PROJECT_ROOT,
        env=os.environ,
    )
    assert done.stdout.strip() == "[]"
