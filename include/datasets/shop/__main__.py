"""Write a simulated shop.

python -m include.datasets.shop [--sessions 100000] [--seed 1] [--folder FOLDER]
"""

import argparse
import logging
import sys
import time
from pathlib import Path

import configs
from include.datasets.shop.writing import write_shop
from include.problem import Problem


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo-data", description="Write a simulated shop whose truth is known.")
    parser.add_argument("--sessions", type=int, default=100_000, help="how many sessions, 1000 to 100 million")
    parser.add_argument("--seed", type=int, default=1, help="another number is another shop of the same kind")
    parser.add_argument("--folder", type=Path, default=Path(configs.VAR_DIR) / "data" / "shop", help="where to")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    started = time.monotonic()
    try:
        truth = write_shop(arguments.folder, sessions=arguments.sessions, seed=arguments.seed)
    except (Problem, OSError) as problem:  # no room, no right to write there: the system says which and where
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; what was written so far is gone.", file=sys.stderr)
        return 130
    totals = truth["totals"]
    print(
        f"{arguments.folder}: {totals['sessions']:,} sessions, {totals['orders']:,} orders, "
        f"{totals['customers']:,} customers, in {time.monotonic() - started:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
