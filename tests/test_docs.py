"""Documentation keeps up with the code: generated files are fresh, links lead somewhere, commands exist."""

import re
import subprocess
from pathlib import Path

import pytest

from include.generate import rendered

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("name", sorted(rendered()))
def test_generated_files_are_fresh(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == rendered()[name], "stale: run `make generate`"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    dead = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert dead == []


def test_make_targets_in_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE)
    }
    assert named <= targets


def test_make_help_lists_the_commands() -> None:
    shown = subprocess.run(["make", "help"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert all(f"make {name}" in shown for name in ("run", "demo-data", "test", "lint", "generate", "lock", "up"))


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    assert all(path.name in index for path in folder.glob("[0-9]*.md"))


def test_every_requirement_has_its_reason() -> None:
    for file in ("requirements.txt", "requirements-dev.txt", "deploy/requirements.txt"):
        lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith(("#", "-r"))]
        unexplained = [line for line in lines if "#" not in line]
        assert unexplained == []
