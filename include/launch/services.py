"""Processes that are started together and stopped together, and nothing else with them."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from include.problem import Problem

SECONDS_TO_STOP = 10.0


class Services:
    """Long-running processes with a log file each. Leaving the block stops them, the last started first.

    Their process ids are kept in `record`, so that a start after a crash of this program first stops what the crashed
    one left: those processes and no others (a process id that was given to somebody else since has another start time).
    """

    def __init__(self, record: Path, logs: Path) -> None:
        self._record, self._logs = record, logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._stop_leftovers()
        self._write_record()
        return self

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start `command` in a session of its own, so that Ctrl-C in the terminal reaches only us."""
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append((name, process))
        self._write_record()

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def require_alive(self) -> None:
        """Raise a `Problem` with the last line of its log when a service has ended."""
        for name, process in self._running:
            if process.poll() is not None:
                lines = self.log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
                last = f" Its last words: {lines[-1]}" if lines else ""
                raise Problem(f"The {name} ended with exit code {process.returncode}; see {self.log(name)}.{last}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, process in reversed(self._running):
            stop_family(psutil.Process(process.pid) if process.poll() is None else None, process.pid)
            process.wait()
        self._record.unlink(missing_ok=True)

    def _write_record(self) -> None:
        ours = [os.getpid(), *(process.pid for _, process in self._running)]
        started = {pid: psutil.Process(pid).create_time() for pid in ours if psutil.pid_exists(pid)}
        self._record.write_text(json.dumps({"owner": os.getpid(), "started": started}), encoding="utf-8")

    def _stop_leftovers(self) -> None:
        if not self._record.exists():
            return
        record = json.loads(self._record.read_text(encoding="utf-8"))
        alive = {}
        for pid, started in record["started"].items():
            if psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).create_time() == started:
                alive[int(pid)] = psutil.Process(int(pid))
        if record["owner"] in alive:
            raise Problem(f"`make run` is already running here (process {record['owner']}); stop that one with Ctrl-C.")
        for pid, process in alive.items():
            stop_family(process, pid)


def stop_family(process: psutil.Process | None, group: int) -> None:
    """Stop a process, its descendants and its process group: asked first, killed after SECONDS_TO_STOP."""
    family = [] if process is None else [process, *process.children(recursive=True)]
    _signal_group(group, signal.SIGTERM)
    for member in family:
        _signal(member, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(family, timeout=SECONDS_TO_STOP)
    for member in stubborn:
        _signal(member, signal.SIGKILL)
    _signal_group(group, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=SECONDS_TO_STOP)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS answers PermissionError for a group of zombies
        return
