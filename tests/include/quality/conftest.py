"""Sources of each kind, read from files that a test writes, into a staging of the test's own."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import configs
from include.quality.extract import Extracted, extract_rows
from include.schemas.source_kinds import SOURCE_KINDS
from include.sources.csv import read_csv
from include.sources.definition import Action, ColumnMapping, CsvOptions, Source
from include.staging.storage import storage

LATEST = datetime(2025, 6, 1)
ISO_EVERYWHERE = dict.fromkeys(
    [
        *("session_start_date", "end_date", "changed_at", "download_date", "signup_date", "action_joined"),
        *("delivery_date", "prepare_date", "return_date"),
    ]
)
OPTIONS = CsvOptions(delimiter=",", encoding="utf-8", decimal=".", date_format=ISO_EVERYWHERE, timezone="Europe/Berlin")
SESSIONS = ("id", "client", "session_start_date", "has_purchased", "payment_amount", "end_date", "discount_amount")
COLUMNS = {
    "sessions": (*SESSIONS, "promotion_id"),
    "customers": ("client", "download_date", "signup_date"),
    "products": ("order_id", "product", "price", "category", "quantity"),
    "deliveries": ("order_id", "delivery_date", "prepare_date", "return_date", "latitude", "longitude"),
}

MakeSource = Callable[..., Source]
Extract = Callable[..., Extracted]


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(configs, "STAGING_URL", str(tmp_path / "staging"))
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(configs, "DATA_DOCS_DIR", str(tmp_path / "data_docs"))
    return tmp_path / "staging"


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """A source of this kind whose columns have our names with `their_` before them, read from `<kind>.csv`."""

    def make(kind: str, **more: Any) -> Source:
        defaults: dict[str, Any] = {
            "columns": {name: ColumnMapping(columns=(f"their_{name}",)) for name in COLUMNS[kind]},
            "path": f"{kind}.csv",
            "csv": OPTIONS,
        }
        if kind == "customers":
            defaults["actions"] = (Action("joined", "their_joined", "instant"),)
        if kind == "sessions":
            defaults |= {
                "actions": (Action("viewed", "their_viewed", "boolean"),),
                "dimensions": {"region": "their_region"},
            }
        return Source(kind=SOURCE_KINDS[kind], connector="csv", base_dir=tmp_path, **{**defaults, **more})

    return make


@pytest.fixture
def extract(tmp_path: Path) -> Extract:
    """Write the text as the source's file and extract it."""

    def run(source: Source, text: str | bytes, *, batch_rows: int = 1000, **more: Any) -> Extracted:
        assert source.path is not None
        (tmp_path / source.path).write_bytes(text if isinstance(text, bytes) else text.encode())
        batches = read_csv(source, batch_rows=batch_rows, block_bytes=100_000, options=source.csv)
        return extract_rows(
            source,
            batches,
            source.csv,
            **{"target": storage(configs.STAGING_URL) / "run", "run_id": "manual__1", "latest": LATEST, **more},
        )

    return run


def rows_of(files: list[str]) -> list[dict[str, Any]]:
    """The rows of Parquet files, with the times of day without a zone as Python has them."""
    return [row for file in files for row in pq.read_table(storage(file).path).to_pylist()]


def quarantined(kind: str) -> list[dict[str, Any]]:
    """All quarantined rows of a source, by line."""
    found = (Path(configs.STAGING_URL) / "run" / "quarantine" / kind).glob("*.parquet")
    tables = [pq.read_table(file) for file in sorted(found)]
    return sorted(pa.concat_tables(tables).to_pylist() if tables else [], key=lambda row: row["row"])


def leftovers(folder: Path) -> Iterator[Path]:
    """Files in the making that nobody finished."""
    return folder.rglob("*.part")
