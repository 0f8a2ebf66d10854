"""`make run` on the real CDNOW data, as a new user meets it: run, look, break, run again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checksums import checksum
from tests.end_to_end.conftest import MakeRun, make_run

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def var_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("make-run") / "var"


@pytest.fixture(scope="module")
def running(var_dir: Path) -> Iterator[MakeRun]:
    with make_run(var_dir, "DATA=cdnow") as run:
        run.wait_for("Press Ctrl-C")
        yield run


@pytest.fixture(scope="module")
def first_checksum(running: MakeRun) -> str:
    return checksum(running.elasticsearch, "orders", "downloads")
