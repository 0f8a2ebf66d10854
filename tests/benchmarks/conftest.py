"""A small staged shop for the analyses and their peers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import configs
from benchmarks.staged_shop import keep_apart, shop, staged
from include.staging.snapshot import Snapshot


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Snapshot]]:
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as changed:
        for name in ("STAGING_URL", "TEMPORARY_DIR", "DATA_DOCS_DIR"):
            changed.setattr(configs, name, "")  # so that they come back
        keep_apart(folder)
        shop(folder, 3_000)
        yield folder, staged(folder)
