"""`docs/benchmarks.md`, from `benchmarks/results.json` and the measurements' own docstrings.

`python -m benchmarks.page` writes it again without measuring.
"""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import configs

RESULTS = Path(__file__).resolve().parent / "results.json"
PAGE = "docs/benchmarks.md"
TITLES = {
    "simulated_shop": "Simulated shop",
    "bulk": "Bulk writer",
    "extraction": "Extraction",
    "csv_to_parquet": "CSV to staged Parquet",
    "quality_gate": "Rules and gate",
    "analyses": "Analyses",
    "machine_learning": "Machine learning",
    "pipeline": "The whole DAG",
    "page_load": "The page",
}
HEAD = """\
<!-- Written by `make bench` from benchmarks/results.json; do not edit. -->

# Benchmarks

`make bench` measures again on your machine (`make bench SIZES=100k,1m,10m`, `make bench ONLY=bulk,analyses`) and writes
`benchmarks/results.json`, from which this page is made. The data are the simulated shop.

Seconds are medians, with the fastest and the slowest run in brackets; contenders take turns, each in a process of its
own. *Ours is × as fast* compares the medians: above 1 ours is faster. Memory is the peak of the whole process tree, a
page shared by several processes counted once.
"""


def render(results: dict[str, Any]) -> str:
    """The text of the page."""
    machine = results["machine"]
    parts = [HEAD, _machine(machine)]
    for family, title in TITLES.items():
        measurements = [one for one in results["measurements"] if one["family"] == family]
        if not measurements:
            continue
        parts.append(f"## {title}\n\n{inspect.getdoc(import_module(f'benchmarks.{family}'))}\n")
        by_name = sorted(measurements, key=lambda one: (one["name"], one["sessions"]))
        for name, sizes in groupby(by_name, key=lambda one: str(one["name"])):
            parts += [f"### {name[0].upper()}{name[1:].replace('_', ' ')}\n", _table(list(sizes))]
    if results["scaling"]:
        parts.append(_scaling(results["scaling"]))
    return "\n".join(parts)


def render_file() -> str:
    """The text of the page from results.json."""
    return render(json.loads(RESULTS.read_text(encoding="utf-8")))


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    settings = ", ".join(f"{name} {value:,}" for name, value in machine["settings"].items())
    return (
        f"Measured on {machine['cores']} cores ({machine['processor']}) with {machine['memory_gb']} GB of memory, "
        f"{machine['system']}. A load average that is more than what the measurement before left behind means that "
        "others were using the machine.\n\n"
        f"Versions: {versions}.\n\nSettings: {settings}.\n"
    )


def _table(sizes: list[dict[str, Any]]) -> str:
    """One measurement at each of its sizes."""
    unit = sizes[0]["unit"]
    lines = [
        f"| sessions | | seconds | {unit} per second | ours is × as fast | peak memory |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    told = []
    for one in sizes:
        for name, found in one["contenders"].items():
            runs = found["seconds"]
            spread = f" ({min(runs):.2f} – {max(runs):.2f})" if len(runs) > 1 else ""
            role = " (ours)" if name == one["ours"] else " (the limit)" if name == one["limit"] else ""
            ratio = "" if name == one["ours"] else f"{found['ours_is_times_as_fast']:.2f}"
            lines.append(
                f"| {one['sessions']:,} | {name}{role} | {found['median_seconds']:.2f}{spread} | "
                f"{found['rows_per_second']:,} | {ratio} | {found['peak_memory_mb']:,} MB |"
            )
        facts = {} if one["detail"].get("facts_of_all") else one["contenders"][one["ours"]]["facts"]
        said = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in facts.items())
        told.append(
            f"- {one['sessions']:,}: measured {one['measured_at'][:10]}, load average just before "
            f"{one['load_average']:.1f}{f'; of ours: {said}' if said else ''}."
        )
    tables = ["\n" + _table_of_facts(one["contenders"]) for one in sizes if one["detail"].get("facts_of_all")]
    return "\n".join([*lines, "", *told, *tables]) + "\n"


def _table_of_facts(contenders: dict[str, Any]) -> str:
    """A row per contender; what one of them has not is left empty."""
    names = list(dict.fromkeys(name for found in contenders.values() for name in found["facts"]))
    lines = [f"| | {' | '.join(name.replace('_', ' ') for name in names)} |", "|---|" + "--:|" * len(names)]
    for contender, found in contenders.items():
        values = [f"{found['facts'][name]:,}" if name in found["facts"] else "" for name in names]
        lines.append(f"| {contender} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def _scaling(found: list[dict[str, Any]]) -> str:
    doc = inspect.getdoc(import_module("benchmarks.scaling"))
    lines = [f"## Growth\n\n{doc}\n", "| | sessions | seconds | exponent |", "|---|--:|--:|--:|"]
    for one in found:
        sizes = ", ".join(f"{size:,}" for size in one["sizes"])
        seconds = ", ".join(f"{value:.2f}" for value in one["seconds"])
        lines.append(f"| {TITLES[one['family']]}: {one['name']} | {sizes} | {seconds} | {one['exponent']:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (configs.PROJECT_ROOT / PAGE).write_text(render_file(), encoding="utf-8")
