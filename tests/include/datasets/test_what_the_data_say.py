"""The page about the real data sets says what the reports say, and its pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import configs
from include import catalogue
from include.datasets.what_the_data_say import (
    CDNOW,
    CDNOW_ANALYSES,
    CDNOW_END,
    COMPLETE_JOURNEY,
    IMAGES,
    PAGE,
    PICTURES,
    cdnow_tables,
    cdnow_text,
    drawn,
    reports_of,
)
from include.launch.screenshots import CHOSEN

MOST_BYTES = 60_000


def test_the_figures_and_pictures_of_cdnow_are_those_of_the_reports(tmp_path: Path) -> None:
    reports = reports_of(cdnow_tables(tmp_path), CDNOW_END, CDNOW_ANALYSES)
    page = (configs.PROJECT_ROOT / PAGE).read_text(encoding="utf-8")
    assert cdnow_text(reports) in page, "stale: run `make pictures`"
    assert re.search(r"<svg .*</svg>", drawn(CDNOW[1], reports), flags=re.DOTALL)


def test_every_picture_of_the_documentation_is_written_by_a_command() -> None:
    """`make pictures` or `make screenshots`: what neither writes would stay as it once was."""
    written = [*(picture.name for picture in PICTURES), *(chosen.file for chosen in CHOSEN)]
    assert sorted(written) == sorted(path.name for path in (configs.PROJECT_ROOT / IMAGES).iterdir())


def test_every_picture_is_of_one_panel() -> None:
    for picture in PICTURES:
        reports = catalogue.analysis(picture.analysis).module.REPORTS
        assert [panel.title for report in reports for panel in report.panels].count(picture.title) == 1, picture


def test_the_pictures_are_there_and_small() -> None:
    page = (configs.PROJECT_ROOT / PAGE).read_text(encoding="utf-8")
    named = re.findall(r"\]\(images/([^)]+)\)", page)
    assert named == [f"{picture.file}.svg" for picture in (*CDNOW, *COMPLETE_JOURNEY)]
    for name in named:
        path = configs.PROJECT_ROOT / IMAGES / name
        assert path.read_text(encoding="utf-8").startswith("<svg")
        assert path.stat().st_size < MOST_BYTES
