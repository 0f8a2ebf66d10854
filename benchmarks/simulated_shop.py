"""The simulated shop written to disk, beside copying files of the same bytes.

Ours draws customers, sessions, baskets and deliveries and writes their CSV files, as `make demo-data` does. Copying
them is what the disk alone takes.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.measure import Case, Outcome
from benchmarks.staged_shop import SEED, shop
from include.datasets.shop.writing import write_shop

OURS, COPY = "write_shop", "copying the files"


def cases(sessions: int) -> list[Case]:
    """A shop of that size."""
    return [
        Case(
            family="simulated_shop",
            name="all its files",
            sessions=sessions,
            unit="sessions",
            ours=OURS,
            contenders=(OURS, COPY),
            limit=COPY,
        )
    ]


def run(case: Case, contender: str, folder: Path) -> Outcome:
    """A new folder with the shop's files; deleted again."""
    written = shop(folder, case.sessions)
    target = folder / "another_shop"
    shutil.rmtree(target, ignore_errors=True)
    begun = time.perf_counter()
    if contender == OURS:
        write_shop(target, sessions=case.sessions, seed=SEED)
    else:
        shutil.copytree(written, target)
    seconds = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    shutil.rmtree(target)
    return Outcome(seconds, case.sessions, {"megabytes": round(size / 1e6)})
