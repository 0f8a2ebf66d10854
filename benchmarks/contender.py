"""One contender in a process of its own: `python -m benchmarks.contender ASKED ANSWER_FILE`, called by `measure`."""

import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks.measure import Case


def main() -> int:
    asked = json.loads(sys.argv[1])
    case = Case(**{**asked["case"], "contenders": tuple(asked["case"]["contenders"])})
    family = import_module(f"benchmarks.{case.family}")
    outcome = family.run(case, asked["contender"], Path(asked["folder"]))
    Path(sys.argv[2]).write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
