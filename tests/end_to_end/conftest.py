"""`make run` as a person starts it: a process, its terminal, and what it leaves behind."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_FINISH = 420


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class MakeRun:
    """A started `make run`. `var_dir` is its data folder."""

    process: subprocess.Popen[str]
    var_dir: Path
    airflow_port: int
    elasticsearch_port: int
    lines: list[str] = field(default_factory=list)

    @property
    def airflow(self) -> str:
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def elasticsearch(self) -> str:
        return f"http://127.0.0.1:{self.elasticsearch_port}"

    @property
    def text(self) -> str:
        return "".join(self.lines)

    @property
    def login(self) -> tuple[str, str]:
        found = re.search(r"Login\s+(\S+) / (\S+)", self.text)
        assert found, self.text
        return found[1], found[2]

    def wait_for(self, sign: str | Callable[[], bool], seconds: float = SECONDS_TO_FINISH) -> None:
        """Until the terminal shows `sign`, or the condition holds."""
        deadline = time.monotonic() + seconds
        while not (sign() if callable(sign) else sign in self.text):
            assert time.monotonic() < deadline, f"{sign} did not come:\n{self.text}"
            assert self.process.poll() is None or (isinstance(sign, str) and sign in self.text), self.text
            time.sleep(0.2)

    def interrupt(self) -> int:
        """Ctrl-C: the signal reaches the whole foreground group. Returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout=120)


def processes_of(var_dir: Path) -> list[psutil.Process]:
    """Every process whose environment or command says that it belongs to this data folder."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(var_dir) in text for text in told):
            found.append(process)
    return found


@contextmanager
def make_run(var_dir: Path, *arguments: str, **settings: str) -> Iterator[MakeRun]:
    """`make run` with ports of its own; whatever of it is still there at the end of the block is stopped."""
    ports = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment |= {
        "VAR_DIR": str(var_dir),
        "AIRFLOW_PORT": str(ports[0]),
        "ELASTICSEARCH_PORT": str(ports[1]),
        "TASK_RETRY_DELAY_SECONDS": "1",
        **settings,
    }
    process = subprocess.Popen(
        ["make", "run", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    running = MakeRun(process, var_dir, *ports)
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: running.lines.extend(process.stdout or ()), daemon=True)
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            running.interrupt()
        reader.join(timeout=10)
        process.stdout.close()
