"""The machine-learning analyses, and the fits inside them beside the libraries that one would take otherwise.

Each analysis as a whole, all its reports, from the staged Parquet of the shop, without dimension columns and within
ENGINE_MEMORY_MB. Beside customer_segmentation stands a plain scikit-learn script on the same files (pandas, k-means for
each number of segments, silhouette): the segments alone, without their stability, movements and single metrics.

Lifetime models are fitted to as many simulated BG/NBD customers as the shop has sessions, beside plain lifetimes on the
same arrays (Pareto/NBD beside the small shop only: a million take it minutes). Our parameters and theirs are among the
facts of the results. S-H-ESD looks at 10,000 hourly points,
whatever the shop, beside the same test on what statsmodels' robust STL leaves over.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

import configs
from benchmarks.machine_learning_peers import esd_after_stl, lifetimes_parameters, segment_sizes
from benchmarks.measure import Case, Outcome
from benchmarks.staged_shop import snapshot
from include import catalogue
from include.measures.lifetimes_models import fit_orders
from include.measures.seasonal_esd import seasonal_hybrid_esd
from include.pipeline.analyse import compute
from include.staging.storage import storage

OURS = "the analysis"
SCIKIT_LEARN = "pandas and scikit-learn"
FIT, LIFETIMES = "fit_orders", "lifetimes"
ESD, STL = "seasonal_hybrid_esd", "statsmodels STL, then ESD"
KINDS = ("bg_nbd", "modified_bg_nbd", "pareto_nbd")
POINTS, PERIOD, MOST_SHARE = 10_000, 24, 0.02
SMALL = 100_000  # sessions of the shop beside which the series is looked at, and Pareto/NBD by lifetimes
Floats = npt.NDArray[np.float64]


def cases(sessions: int) -> list[Case]:
    """Each analysis; each lifetime model; and, beside the small shop, the series."""
    shared: dict[str, Any] = {"family": "machine_learning", "sessions": sessions}
    found = [
        Case(
            **shared,
            name=one.name,
            unit="sessions",
            ours=OURS,
            contenders=(OURS, *((SCIKIT_LEARN,) if one.name == "customer_segmentation" else ())),
            detail={"analysis": one.name},
        )
        for one in catalogue.analyses()
        if one.group == "machine_learning"
    ]
    found += [
        Case(
            **shared,
            name=f"fitting {kind}",
            unit="customers",
            ours=FIT,
            contenders=(FIT, LIFETIMES) if kind != "pareto_nbd" or sessions <= SMALL else (FIT,),
            detail={"kind": kind, "customers": sessions},
        )
        for kind in KINDS
    ]
    if sessions <= SMALL:
        found.append(
            Case(**shared, name=f"outliers of {POINTS:,} points", unit="points", ours=ESD, contenders=(ESD, STL))
        )
    return found


def run(case: Case, contender: str, folder: Path) -> Outcome:
    """One analysis, one fit or one series, by one contender."""
    if "analysis" in case.detail:
        return _analysis(case.detail["analysis"], contender, folder)
    if "kind" in case.detail:
        return _fit(case.detail["kind"], case.detail["customers"], contender)
    values = series()
    begun = time.perf_counter()
    if contender == ESD:
        found = seasonal_hybrid_esd(values, period=PERIOD, most_share=MOST_SHARE).positions
    else:
        found = esd_after_stl(values, period=PERIOD, most=int(MOST_SHARE * POINTS))
    return Outcome(time.perf_counter() - begun, POINTS, {"outliers": len(found)})


def _analysis(name: str, contender: str, folder: Path) -> Outcome:
    staged = snapshot(folder)
    as_of = staged.newest_complete_day()
    if as_of is None:
        raise ValueError("the shop has no sessions")
    root = storage(configs.STAGING_URL)
    files = [str((root / file.path).path) for file in staged.tables["sessions"].files]
    begun = time.perf_counter()
    if contender == OURS:
        compute(name, staged.analysis_tables(dimensions=(), week_start="monday"), as_of=as_of)
    else:
        segment_sizes(files, as_of)
    return Outcome(time.perf_counter() - begun, staged.counts["sessions"])


def _fit(kind: Any, number: int, contender: str) -> Outcome:
    figures = customers(number)
    begun = time.perf_counter()
    if contender == FIT:
        fit = fit_orders(figures.assign(number=1), kind)
        if fit.model is None or fit.warnings:
            raise ValueError(f"the fit of {kind} came to {fit.warnings}")
        parameters = fit.model.parameters
    else:
        parameters = lifetimes_parameters(figures, kind)
    seconds = time.perf_counter() - begun
    return Outcome(seconds, number, {name: float(f"{value:.6g}") for name, value in parameters.items()})


def customers(number: int, seed: int = 1) -> pd.DataFrame:
    """What is known of so many customers of BG/NBD (r 0.8, alpha 10 weeks, a 0.7, b 2.5) who came within two years."""
    chance = np.random.default_rng(seed)
    age = chance.integers(1, 730, number).astype("float64")
    rate = chance.gamma(0.8, 1 / 70, number)
    leaves = chance.beta(0.7, 2.5, number)
    further, last, at = np.zeros(number, "int64"), np.zeros(number), np.zeros(number)
    there = np.arange(number)
    while len(there):
        at[there] += np.maximum(chance.exponential(1, len(there)) / rate[there], 1)  # at most one order a day
        there = there[at[there] <= age[there]]
        further[there] += 1
        last[there] = at[there]
        there = there[chance.random(len(there)) >= leaves[there]]
    return pd.DataFrame(
        {"further_orders": further, "recency_days": last.astype("int64"), "age_days": age.astype("int64")}
    )


def series() -> Floats:
    """Hours with the rhythm of the day, and a hundred that are far off."""
    chance = np.random.default_rng(1)
    hours = np.arange(POINTS)
    values: Floats = 100 + 20 * np.sin(2 * np.pi * hours / PERIOD) + chance.normal(0, 3, POINTS)
    values[chance.choice(POINTS, POINTS // 100, replace=False)] += 40
    return values
