"""Set rules and gate on the sessions, beside Great Expectations alone on the same rows.

Ours finds duplicates and unknown clients, quarantines them, and has Great Expectations validate what is left and write
its data docs. `Great Expectations` validates what is left with the same suite and the same result format, in
one frame, without data docs. `COMPLETE` is the result format that lists every unexpected row; at small sizes only.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Literal

import configs
from benchmarks.measure import Case, Outcome
from benchmarks.staged_shop import LATEST, extracted, shop, sources, validated
from include.quality.conversion import column_types
from include.quality.gate import expectations, frames
from include.sources.definition import Source

OURS, ALONE, COMPLETE = "set rules and gate", "Great Expectations", "Great Expectations, COMPLETE"
LARGEST_FOR_COMPLETE = 100_000
LARGEST_IN_ONE_FRAME = 1_000_000
LARGEST_REPEATED = 1_000_000  # a larger one takes minutes


def cases(sessions: int) -> list[Case]:
    """The sessions of the shop."""
    alone = (ALONE,) if sessions <= LARGEST_IN_ONE_FRAME else ()
    complete = (COMPLETE,) if sessions <= LARGEST_FOR_COMPLETE else ()
    return [
        Case(
            family="quality_gate",
            name="sessions",
            sessions=sessions,
            unit="rows",
            ours=OURS,
            contenders=(OURS, *alone, *complete),
            repetitions=1 if sessions > LARGEST_REPEATED else None,
        )
    ]


def run(case: Case, contender: str, folder: Path) -> Outcome:
    """Judge the landed sessions."""
    shop(folder, case.sessions)
    everything = {source.name: source for source in sources(folder).all}
    sessions, customers = (extracted(everything[name]) for name in ("sessions", "customers"))
    if contender == OURS:
        begun = time.perf_counter()
        checked = validated(everything["sessions"], sessions, customers)
        return Outcome(time.perf_counter() - begun, checked.good)
    checked = validated(everything["sessions"], sessions, customers)
    seconds = _alone(everything["sessions"], checked.files, "COMPLETE" if contender == COMPLETE else "SUMMARY")
    return Outcome(seconds, checked.good)


def _alone(source: Source, files: list[str], result_format: Literal["COMPLETE", "SUMMARY"]) -> float:
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations as gx
    import pandas as pd

    types = column_types(source)
    frame = pd.concat(frames(types, files), ignore_index=True)
    begun = time.perf_counter()
    context = gx.get_context(mode="ephemeral")
    suite = context.suites.add(gx.ExpectationSuite(name="sessions", expectations=expectations(source.kind, types)))
    asset = context.data_sources.add_pandas("sessions").add_dataframe_asset("sessions")
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(data=asset.add_batch_definition_whole_dataframe("all"), suite=suite, name="sessions")
    )
    done = definition.run(
        batch_parameters={"dataframe": frame},
        expectation_parameters={"earliest": datetime.fromisoformat(configs.EARLIEST_DATE), "latest": LATEST},
        result_format=result_format,
    )
    if not done.success:
        raise ValueError("the validated sessions do not meet the suite")
    return time.perf_counter() - begun
