"""One contender in a process of its own: `python -m benchmarks.contender ASKED ANSWER_FILE`, called by `measure`."""

import gc
import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks.measure import Case
from include import catalogue
from include.launch.executor import LIBRARIES


def main() -> int:
    asked = json.loads(sys.argv[1])
    case = Case(**{**asked["case"], "contenders": tuple(asked["case"]["contenders"])})
    family = import_module(f"benchmarks.{case.family}")
    # A task finds them imported; a peer's module imports its own library.
    if asked["contender"] in (case.ours, *case.also_ours):
        for name in getattr(family, "LIBRARIES", LIBRARIES):
            import_module(name)
        # Airflow forks tasks with all that frozen: no collection of garbage looks through it.
        gc.collect()
        gc.freeze()
        catalogue.analyses()  # a task has read them with its DAG
    outcome = family.run(case, asked["contender"], Path(asked["folder"]))
    Path(sys.argv[2]).write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
