"""The directory is the registry, and says early what is wrong with a file in it."""

import subprocess
import sys
from pathlib import Path

import pytest

import configs
from include import catalogue


def test_the_catalogue_is_the_directory() -> None:
    folders = [configs.PROJECT_ROOT / "include" / folder for folder in catalogue.GROUPS.values()]
    files = {path.stem for folder in folders for path in folder.glob("*.py") if path.stem != "__init__"}
    assert {one.name for one in catalogue.analyses()} == files


def test_names_are_unique_and_modules_are_what_they_say() -> None:
    names = [one.name for one in catalogue.analyses()]
    assert len(names) == len(set(names))
    for one in catalogue.analyses():
        assert one.reads == one.module.READS
        assert one.title
        assert one.doc


def test_reading_the_catalogue_imports_nothing_heavy() -> None:
    code = "import sys; from include import catalogue; catalogue.analyses(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=configs.PROJECT_ROOT
    )
    assert not {"pandas", "ibis", "airflow", "duckdb"} & set(done.stdout.split())


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(catalogue.CatalogueError, match="There is no analysis 'rmf'; there are "):
        catalogue.analysis("rmf")


@pytest.mark.parametrize(
    "text",
    [
        "READS = ()\nREPORTS = ()\ndef odd(): ...\n",
        '"""Odd."""\nREADS = ()\ndef odd(): ...\n',
        '"""Odd."""\nREADS = ()\nREPORTS = ()\n',
    ],
)
def test_an_incomplete_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.py").write_text(text)
    with pytest.raises(catalogue.CatalogueError, match=r"odd\.py: an analysis needs a docstring, READS, REPORTS"):
        catalogue._read(tmp_path / "odd.py", "exploratory")
