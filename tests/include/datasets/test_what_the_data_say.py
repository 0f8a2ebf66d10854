"""The page about the real data sets says what the reports say, and its pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import configs
from include.datasets.what_the_data_say import (
    CDNOW,
    CDNOW_ANALYSES,
    CDNOW_END,
    COMPLETE_JOURNEY,
    IMAGES,
    PAGE,
    cdnow_tables,
    cdnow_text,
    drawn,
    reports_of,
)

MOST_BYTES = 60_000


def test_the_figures_and_pictures_of_cdnow_are_those_of_the_reports(tmp_path: Path) -> None:
    reports = reports_of(cdnow_tables(tmp_path), CDNOW_END, CDNOW_ANALYSES)
    page = (configs.PROJECT_ROOT / PAGE).read_text(encoding="utf-8")
    assert cdnow_text(reports) in page, "stale: run `make pictures`"
    assert re.search(r"<svg .*</svg>", drawn(CDNOW[1], reports), flags=re.DOTALL)


def test_the_pictures_are_there_and_small() -> None:
    page = (configs.PROJECT_ROOT / PAGE).read_text(encoding="utf-8")
    named = re.findall(r"\]\(images/([^)]+)\)", page)
    assert named == [f"{picture.file}.svg" for picture in (*CDNOW, *COMPLETE_JOURNEY)]
    for name in named:
        path = configs.PROJECT_ROOT / IMAGES / name
        assert path.read_text(encoding="utf-8").startswith("<svg")
        assert path.stat().st_size < MOST_BYTES
