"""One measurement: every contender in a process of its own, in turn, several times.

    case, contender  ->  seconds and rows (median and spread over the repetitions), peak memory of the process tree

The clock runs inside the contender's process, around the work alone: libraries are imported before it starts, as a
worker of the local Airflow has them before a task does. Memory is sampled from outside, over the process and everything
it started, and counts a page that several of them share once (PSS; on systems without it, RSS).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from include.launch.services import stop_family
from include.problem import Problem

SECONDS_BETWEEN_SAMPLES = 0.1
LARGEST_SHARE = 0.1  # of a core, for looking at the memory
BYTES_PER_MB = 1_000_000
# What would lead a contender to somebody's own data or cluster.
PLACES = ("SOURCES_FILE", "STAGING_URL", "TEMPORARY_DIR", "DATA_DOCS_DIR", "PROGRESS_DIR", "ELASTICSEARCH_URL")


@dataclass(frozen=True)
class Case:
    """What is measured: `contenders` do the same work; `ours` is one of them, `limit` what none can beat.

    `also_ours` are contenders that are our own code too: libraries are imported for them as for `ours`.
    """

    family: str
    name: str
    sessions: int
    unit: str
    ours: str
    contenders: tuple[str, ...]
    limit: str | None = None
    also_ours: tuple[str, ...] = ()
    repetitions: int | None = None  # None: as many as the whole run has
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """One run of one contender: seconds for `rows`, and what else is worth telling."""

    seconds: float
    rows: int
    facts: dict[str, float] = field(default_factory=dict)


class MeasurementFailed(Problem):
    """A contender ended with an error."""


def measured(
    case: Case,
    folder: Path,
    *,
    repetitions: int,
    told: Callable[[str, Outcome, float], None],
    around: Callable[[Case, Path], AbstractContextManager[dict[str, Any]]] | None = None,
) -> dict[str, Any]:
    """The case's record for results.json. Contenders take turns, so that a busy moment of the machine hits them all.

    `around` is what all contenders share (a server): it gives what they must know of it.
    """
    runs: dict[str, list[tuple[Outcome, float]]] = {name: [] for name in case.contenders}
    with around(case, folder) if around else nullcontext({}) as shared:
        equipped = replace(case, detail={**case.detail, **shared})
        for _ in range(case.repetitions or repetitions):
            for name in case.contenders:
                outcome, peak_mb = apart(equipped, name, folder)
                runs[name].append((outcome, peak_mb))
                told(name, outcome, peak_mb)
    return record(case, runs)


def record(case: Case, runs: dict[str, list[tuple[Outcome, float]]]) -> dict[str, Any]:
    """What results.json keeps of a case: per contender its runs, medians of seconds and facts, its ratio to ours."""
    medians = {name: statistics.median(one.seconds for one, _ in mine) for name, mine in runs.items()}
    return {
        **{name: value for name, value in asdict(case).items() if name != "contenders"},
        "contenders": {
            name: {
                "seconds": [round(one.seconds, 3) for one, _ in mine],
                "median_seconds": round(medians[name], 3),
                "rows": mine[-1][0].rows,
                "rows_per_second": round(mine[-1][0].rows / medians[name]),
                "peak_memory_mb": round(max(peak for _, peak in mine)),
                "ours_is_times_as_fast": round(medians[name] / medians[case.ours], 2),
                "facts": {name: statistics.median(one.facts[name] for one, _ in mine) for name in mine[-1][0].facts},
            }
            for name, mine in runs.items()
        },
    }


def apart(case: Case, contender: str, folder: Path) -> tuple[Outcome, float]:
    """Run one contender in its own process; its outcome and the peak memory of its process tree in MB."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"case": asdict(case), "contender": contender, "folder": str(folder)}
    with tempfile.TemporaryDirectory() as place:
        answer, log = Path(place) / "outcome.json", Path(place) / "output.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.contender", json.dumps(asked), str(answer)],
                env=environment(folder),
                cwd=Path(__file__).resolve().parent.parent,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                with MemorySampler(process.pid) as sampler:
                    code = process.wait()
            finally:
                if process.returncode is None:  # interrupted: nothing that was started here may stay
                    stop_family(psutil.Process(process.pid), process.pid)
        if code:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise MeasurementFailed(
                f"{case.family}, {case.name}: {contender} ended with exit code {code}: {lines[-1] if lines else ''}"
            )
        return Outcome(**json.loads(answer.read_text(encoding="utf-8"))), sampler.peak_bytes / BYTES_PER_MB


def environment(folder: Path) -> dict[str, str]:
    """The variables of this process, but with every place below `folder`."""
    kept = {
        name: value for name, value in os.environ.items() if name not in PLACES and not name.startswith("AIRFLOW_CONN_")
    }
    return {**kept, "VAR_DIR": str(folder / "var"), "AIRFLOW_HOME": str(folder / "var" / "airflow")}


class MemorySampler:
    """The peak memory of a process and its descendants, while the block lasts."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = SECONDS_BETWEEN_SAMPLES
        while not self._over.wait(pause):
            begun = time.thread_time()
            self.peak_bytes = max(self.peak_bytes, tree_bytes(self._pid))
            # Looking at dozens of processes takes long, and what it takes is missing to those that are looked at.
            pause = max(SECONDS_BETWEEN_SAMPLES, (time.thread_time() - begun) / LARGEST_SHARE)


def tree_bytes(pid: int) -> int:
    """Memory of a process and its descendants now."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_bytes, family))


def _bytes(process: psutil.Process) -> int:
    try:
        # PSS costs the kernel a walk over the whole address space: only where several processes may share pages.
        found = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return int(getattr(found, "pss", found.rss))
