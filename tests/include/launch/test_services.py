"""What was started is stopped, with its descendants, and nothing else is."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from include.launch.services import Services
from include.problem import Problem

# A process that starts a child which ignores SIGTERM's default path through its parent: both must end.
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])",
]


def wait_until(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def test_leaving_the_block_stops_the_whole_family_and_nothing_else(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        others = set(psutil.Process().children())
        with Services(tmp_path / "processes.json", tmp_path / "logs") as services:
            services.start("parent", PARENT, os.environ)
            started = [child for child in psutil.Process().children() if child not in others]
            wait_until(lambda: started[0].children())
            family = [*started, *started[0].children()]
        assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert not (tmp_path / "processes.json").exists()


def test_a_service_that_ended_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Services(tmp_path / "processes.json", tmp_path / "logs") as services:
        services.start("scheduler", [sys.executable, "-c", "print('out of paper'); raise SystemExit(3)"], os.environ)

        def ended() -> bool:
            try:
                services.require_alive()
            except Problem:
                return True
            return False

        wait_until(ended)
        with pytest.raises(Problem, match=r"The scheduler ended with exit code 3; .* Its last words: out of paper"):
            services.require_alive()


def test_a_start_after_a_crash_stops_what_the_crashed_one_left(tmp_path: Path) -> None:
    crashing = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        from include.launch.services import Services
        services = Services(Path({str(tmp_path / "processes.json")!r}), Path({str(tmp_path / "logs")!r})).__enter__()
        services.start("left", [sys.executable, "-c", "import time; time.sleep(600)"], os.environ)
        print(services._running[0][1].pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    crashed = subprocess.run([sys.executable, "-c", crashing], capture_output=True, text=True, check=False)
    left = psutil.Process(int(crashed.stdout))
    assert left.is_running()
    with Services(tmp_path / "processes.json", tmp_path / "logs"):
        wait_until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE)


def test_a_second_start_beside_a_running_one_is_refused(tmp_path: Path) -> None:
    with (
        Services(tmp_path / "processes.json", tmp_path / "logs"),
        pytest.raises(Problem, match="already running here"),
        Services(tmp_path / "processes.json", tmp_path / "logs"),
    ):
        pass
