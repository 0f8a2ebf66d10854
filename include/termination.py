"""The end of a task that is told to end: its files are put away, its connections closed, and nothing waits for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """A SIGTERM raises SystemExit (143) in the block, which Airflow takes for a failure that may be tried again.

    Airflow's own handler asks the operator to stop its work and lets a Python function go on until it is killed, which
    leaves scratch files, and on the server of a source a query that nobody waits for. Only the main thread of a process
    hears signals; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
