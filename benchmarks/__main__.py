"""`make bench`: measure, show a table, write benchmarks/results.json and docs/benchmarks.md.

    python -m benchmarks [--sizes 100k,1m] [--only bulk,analyses] [--repetitions 3]

What is not measured anew keeps the result it has, unless that is from another machine, other versions or settings; each
result is written as soon as it is there.
"""

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import configs
from benchmarks import machine, page
from benchmarks.measure import Case, Outcome, measured
from benchmarks.scaling import scaling
from benchmarks.staged_shop import keep_apart, shop
from include.problem import Problem

FAMILIES = tuple(page.TITLES)
SUFFIXES = {"k": 1_000, "m": 1_000_000}
ONE_SIZE = ("bulk", "page_load")  # families whose work is the same however large the shop is
SMALL = 100_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure how fast this is, beside its peers.")
    parser.add_argument("--sizes", type=sizes, default="100k,1m", help="sessions of the shops, such as 100k,1m,10m")
    parser.add_argument("--only", type=families, default=FAMILIES, help=f"families: {', '.join(FAMILIES)}")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each contender")
    parser.add_argument("--folder", type=Path, help="keep shops and snapshots here; else they are deleted afterwards")
    arguments = parser.parse_args()
    console = Console()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=arguments.folder or "/var/tmp") as scratch:
        folder = arguments.folder or Path(scratch)
        try:
            measure_all(console, folder, arguments.sizes, arguments.only, arguments.repetitions)
        except Problem as problem:
            console.print(f"[red]{problem}[/]", highlight=False, soft_wrap=True)
            return 1
    console.print(f"Written: {page.RESULTS.relative_to(configs.PROJECT_ROOT)}, {page.PAGE}", highlight=False)
    return 0


def sizes(text: str) -> tuple[int, ...]:
    """`100k,1m` as numbers."""
    parts = [part.strip().lower() for part in text.split(",")]
    try:
        return tuple(int(part.rstrip("km")) * SUFFIXES.get(part[-1:], 1) for part in parts)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no list of sizes such as 100k,1m") from None


def families(text: str) -> tuple[str, ...]:
    """`bulk,analyses` as names of families."""
    chosen = tuple(part.strip() for part in text.split(","))
    unknown = [name for name in chosen if name not in FAMILIES]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    return chosen


def measure_all(
    console: Console, folder: Path, sizes: tuple[int, ...], only: tuple[str, ...], repetitions: int
) -> None:
    """Measure every case of the chosen families at every size, and write the results after each."""
    described = machine.described()
    done: list[dict[str, Any]] = []
    for family in only:
        module = import_module(f"benchmarks.{family}")
        for size in (min((SMALL, *sizes)),) if family in ONE_SIZE else sizes:
            place = folder / str(size)
            keep_apart(place)
            shop(place, size)
            for case in module.cases(size):
                before = {
                    "measured_at": datetime.now(UTC).isoformat(timespec="minutes"),
                    "load_average": round(os.getloadavg()[0], 2),
                }
                told = _teller(console, case)
                found = measured(
                    case, place, repetitions=repetitions, told=told, around=getattr(module, "around", None)
                )
                done.append({**found, **before})
                console.print(_table(done[-1]))
                write(described, done)


def write(described: dict[str, Any], done: list[dict[str, Any]]) -> None:
    """Write results and page; what was measured before on the same machine, and not anew, stays."""
    kept: list[dict[str, Any]] = []
    if page.RESULTS.exists():
        anew = {(one["family"], one["name"], one["sessions"]) for one in done}
        before = json.loads(page.RESULTS.read_text(encoding="utf-8"))
        if before["machine"] == described:
            kept = [one for one in before["measurements"] if (one["family"], one["name"], one["sessions"]) not in anew]
    results = {"machine": described, "measurements": done + kept, "scaling": scaling(done + kept)}
    page.RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (configs.PROJECT_ROOT / page.PAGE).write_text(page.render(results), encoding="utf-8")


def _teller(console: Console, case: Case) -> Any:
    def told(name: str, outcome: Outcome, peak_mb: float) -> None:
        console.print(
            f"  {case.family}: {case.name}, {case.sessions:,}: {name}: {outcome.seconds:.2f} s, {peak_mb:,.0f} MB",
            highlight=False,
            soft_wrap=True,
        )

    return told


def _table(one: dict[str, Any]) -> Table:
    table = Table(title=f"{one['family']}: {one['name']}, {one['sessions']:,} sessions", title_justify="left")
    for column in ("", "seconds", f"{one['unit']} per second", "ours is × as fast", "peak memory"):
        table.add_column(column, justify="right" if column else "left")
    for name, found in one["contenders"].items():
        table.add_row(
            name,
            f"{found['median_seconds']:.2f}",
            f"{found['rows_per_second']:,}",
            f"{found['ours_is_times_as_fast']:.2f}",
            f"{found['peak_memory_mb']:,} MB",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
