"""What the tasks of the local Airflow find imported already, seen from a process that is forked as theirs is."""

import json
import os
import subprocess
import sys

from include.launch.executor import LIBRARIES

FORKED = """
import json, os, sys
from include.launch.executor import LocalExecutor

executor = LocalExecutor(parallelism=1)
executor.start()
(worker,) = executor.workers
executor.end()  # waits for the worker
print(json.dumps({"worker": worker, "imported": sorted(sys.modules)}))
"""


def test_libraries_are_there_and_nothing_of_this_project() -> None:
    """A file of this project that was changed counts from the next task on, so the scheduler may not have read it."""
    done = subprocess.run([sys.executable, "-c", FORKED], env=os.environ, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(LIBRARIES) <= set(found["imported"])
    own = {name for name in found["imported"] if name.partition(".")[0] in ("include", "configs")}
    assert own == {"include", "include.launch", "include.launch.executor"}
    assert found["worker"] > 0
