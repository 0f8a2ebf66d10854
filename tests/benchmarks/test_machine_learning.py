"""The machine-learning measurements on a tiny shop: every contender does what it says. No assertion about speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import configs
from benchmarks import machine_learning
from benchmarks.machine_learning import ESD, FIT, KINDS, LIFETIMES, MOST_SHARE, PERIOD, POINTS, STL
from benchmarks.machine_learning_peers import SEGMENTS, esd_after_stl, lifetimes_parameters, segment_sizes
from benchmarks.measure import Case
from include.measures.lifetimes_models import fit_orders
from include.measures.seasonal_esd import seasonal_hybrid_esd
from include.pipeline.analyse import compute
from include.staging.snapshot import Snapshot
from include.staging.storage import storage

SESSIONS = 3_000


def case_of(name: str) -> Case:
    (found,) = (one for one in machine_learning.cases(SESSIONS) if one.name == name)
    return found


def test_every_analysis_is_measured(small: tuple[Path, Snapshot]) -> None:
    names = {"ab_test", "anomaly_detection", "clv_prediction", "customer_segmentation", "delivery_analytics"}
    found = [one for one in machine_learning.cases(SESSIONS) if "analysis" in one.detail]
    assert {one.name for one in found} == names
    for one in found:
        for contender in one.contenders:
            assert machine_learning.run(one, contender, small[0]).rows > SESSIONS * 0.9
    assert len(machine_learning.cases(1_000_000)) == len(machine_learning.cases(SESSIONS)) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_lifetimes_finds_the_same_parameters(kind: Any) -> None:
    customers = machine_learning.customers(10_000)
    ours = fit_orders(customers.assign(number=1), kind).model
    assert ours is not None
    assert ours.parameters == pytest.approx(lifetimes_parameters(customers, kind), rel=1e-3)
    facts = [machine_learning.run(case_of(f"fitting {kind}"), name, Path()).facts for name in (FIT, LIFETIMES)]
    assert facts[0] == pytest.approx(facts[1], rel=1e-3)
    assert case_of(f"fitting {kind}").contenders == (FIT, LIFETIMES)


def test_both_find_the_planted_outliers() -> None:
    values = machine_learning.series()
    rhythm = 100 + 20 * np.sin(2 * np.pi * np.arange(POINTS) / PERIOD)
    planted = set(np.flatnonzero(values - rhythm > 20).tolist())
    ours = set(seasonal_hybrid_esd(values, period=PERIOD, most_share=MOST_SHARE).positions.tolist())
    theirs = set(esd_after_stl(values, period=PERIOD, most=200))
    assert len(planted) == POINTS // 100
    assert planted <= ours & theirs
    assert len(ours | theirs) <= 1.03 * len(planted)
    case = case_of(f"outliers of {POINTS:,} points")
    assert machine_learning.run(case, ESD, Path()).facts["outliers"] == len(ours)
    assert machine_learning.run(case, STL, Path()).facts["outliers"] == len(theirs)


def test_scikit_learn_segments_the_same_customers(small: tuple[Path, Snapshot]) -> None:
    _, staged = small
    as_of = staged.newest_complete_day()
    assert as_of is not None
    root = storage(configs.STAGING_URL)
    sizes = segment_sizes([str((root / file.path).path) for file in staged.tables["sessions"].files], as_of)
    tables = staged.analysis_tables(dimensions=(), week_start="monday")
    ours = compute("customer_segmentation", tables, as_of=as_of)["segments"].rows
    assert sum(sizes) == ours["customers"].sum()
    assert len(sizes) in SEGMENTS
