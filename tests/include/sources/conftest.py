"""Sources made of files that a test writes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from include.schemas.source_kinds import SOURCE_KINDS
from include.sources.definition import ColumnMapping, CsvOptions, Source

MakeSource = Callable[..., Source]


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """A sessions source that needs the given columns, under `tmp_path` unless `base_dir` says otherwise."""

    def make(path: str, *needed: str, csv: CsvOptions | None = None, **more: object) -> Source:
        return Source(
            **{
                "kind": SOURCE_KINDS["sessions"],
                "connector": "csv",
                "columns": {"id": ColumnMapping(columns=needed)},
                "base_dir": tmp_path,
                "path": path,
                "csv": csv or CsvOptions(),
                **more,
            }
        )

    return make
