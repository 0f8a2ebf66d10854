"""How far long work is and how fast: a line in the task's log every few seconds, and a file for the terminal.

with Progress("sessions.extract", unit="rows", total=None) as progress:
    for batch in batches:
        progress.advance(batch.num_rows)
"""

import json
import logging
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import configs

log = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts `unit`s of work and reports them; `total` is None where it is not known beforehand."""

    def __init__(self, task: str, *, unit: str, total: int | None = None) -> None:
        self.task, self.unit, self.total, self.done = task, unit, total, 0
        self._file = Path(configs.PROGRESS_DIR) / f"{task}.json" if configs.PROGRESS_DIR else None
        self._started = self._reported = time.monotonic()

    def __enter__(self) -> Self:
        self._write()
        return self

    def advance(self, count: int) -> None:
        self.done += count
        if time.monotonic() - self._reported >= SECONDS_BETWEEN_LINES:
            self.report()

    def report(self) -> None:
        """Say now how far the work is."""
        self._reported = time.monotonic()
        share = f" of {self.total:,} ({self.done / self.total:.0%})" if self.total else ""
        log.info("%s: %s%s %s, %s a second", self.task, f"{self.done:,}", share, self.unit, f"{self.per_second:,.0f}")
        self._write()

    @property
    def per_second(self) -> float:
        return self.done / max(time.monotonic() - self._started, 1e-3)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.report()

    def _write(self) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        aside = self._file.with_suffix(f".{os.getpid()}.part")
        state = {"task": self.task, "unit": self.unit, "done": self.done, "total": self.total}
        aside.write_text(json.dumps({**state, "per_second": round(self.per_second)}), encoding="utf-8")
        aside.replace(self._file)
