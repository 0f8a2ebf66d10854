"""Which analyses there are: the files of `include/analytics` and `include/ml`, read without importing them.

A file is an analysis when its name does not begin with an underscore. Its name is the task, the `report_name`, the
dashboard and the anchor in the documentation; its docstring documents all of them. Reading the syntax tree keeps the
DAG file light: an analysis imports pandas and Ibis, the list of them does not.
"""

import ast
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

INCLUDE = Path(__file__).parent
GROUPS = {"exploratory": "analytics", "machine_learning": "ml"}  # task group: folder
OPERATIONS = "operations"  # the group, and the folder, of the reports about the pipeline itself: no task computes them
TITLES = {"ab_test": "A/B test", "clv_prediction": "CLV prediction", "rfm": "RFM"}  # others are their file's name
FOLDERS = {**GROUPS, OPERATIONS: OPERATIONS}


class CatalogueError(Exception):
    """A file in `include/analytics` or `include/ml` that is not a complete analysis."""


@dataclass(frozen=True)
class Analysis:
    """One analysis: `reads` are the staged tables, and columns as `table.column`, that it cannot do without."""

    name: str
    group: str
    title: str
    doc: str
    reads: tuple[str, ...]

    @property
    def module(self) -> ModuleType:
        """The analysis's code. Importing it is not free; call this inside a task only."""
        return importlib.import_module(f"include.{FOLDERS[self.group]}.{self.name}")


@cache
def analyses() -> tuple[Analysis, ...]:
    """All analyses, by group and name."""
    return tuple(
        _read(path, group) for group, folder in GROUPS.items() for path in sorted((INCLUDE / folder).glob("[!_]*.py"))
    )


@cache
def operations() -> tuple[Analysis, ...]:
    """The reports about the pipeline itself, by name: written at the end of a run, from the facts of its tasks."""
    return tuple(_read(path, OPERATIONS) for path in sorted((INCLUDE / OPERATIONS).glob("[!_]*.py")))


def reporting() -> tuple[Analysis, ...]:
    """All that writes reports: the analyses, then the operations."""
    return (*analyses(), *operations())


def analysis(name: str) -> Analysis:
    """The analysis, or the report about the pipeline, of that name."""
    for one in reporting():
        if one.name == name:
            return one
    raise CatalogueError(f"There is no analysis {name!r}; there are {', '.join(one.name for one in analyses())}.")


def _read(path: Path, group: str) -> Analysis:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    doc = ast.get_docstring(tree)
    assigned = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    missing = [name for name in ("READS", "REPORTS") if name not in assigned]
    if doc is None or missing or path.stem not in functions:
        wanted = f"a docstring, READS, REPORTS and a function {path.stem}()"
        raise CatalogueError(f"{path}: an analysis needs {wanted}. If this is not one, move it out of this folder.")
    return Analysis(
        name=path.stem,
        group=group,
        title=TITLES.get(path.stem, path.stem.replace("_", " ").capitalize()),
        doc=doc,
        reads=tuple(ast.literal_eval(assigned["READS"])),
    )
