"""A staging of its own for each test, and loads written as validation writes them."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import configs

TYPES = {
    "id": pa.string(),
    "client": pa.string(),
    "session_start_date": pa.timestamp("us"),
    "has_purchased": pa.bool_(),
    "payment_amount": pa.decimal128(18, 4),
    "changed_at": pa.timestamp("us"),
    "dimension_region": pa.string(),
    "action_viewed": pa.bool_(),
    "download_date": pa.timestamp("us"),
    "order_id": pa.string(),
    "product": pa.string(),
    "category": pa.string(),
    "price": pa.decimal128(18, 4),
    "quantity": pa.float64(),
    "line_id": pa.string(),
    "delivery_date": pa.timestamp("us"),
    "_file": pa.string(),
    "_row": pa.int64(),
}

Load = Callable[..., dict[str, list[str]]]


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(configs, "STAGING_URL", str(tmp_path / "staging"))
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(tmp_path / "tmp"))
    return tmp_path / "staging"


def session(identifier: str, client: str, start: str, amount: str = "1", **more: Any) -> dict[str, Any]:
    row = {"id": identifier, "client": client, "session_start_date": datetime.fromisoformat(start)}
    return {**row, "has_purchased": True, "payment_amount": Decimal(amount), **more}


def customer(client: str, download: str = "2024-01-01", **more: Any) -> dict[str, Any]:
    return {"client": client, "download_date": datetime.fromisoformat(download), **more}


def write_load(folder: Path, **kinds: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Rows per source kind as Parquet files; all rows of a kind have the same columns."""
    folder.mkdir(parents=True, exist_ok=True)
    line = {"order_id": "", "product": "", "price": Decimal(0), "quantity": 1.0}
    defaults = {"sessions": session("", "", "2024-01-01"), "customers": customer(""), "products": line}
    found = {}
    for kind, rows in kinds.items():
        names = [*(rows[0] if rows else defaults[kind]), "_file", "_row"]
        # An action may be a boolean or an instant: as the rows have it.
        found_types = {name: pa.timestamp("us") for name in names if rows and isinstance(rows[0].get(name), datetime)}
        schema = pa.schema([(name, {**TYPES, **found_types}[name]) for name in names])
        placed = [{**row, "_file": f"{kind}.csv", "_row": number} for number, row in enumerate(rows, start=2)]
        pq.write_table(pa.Table.from_pylist(placed, schema=schema), folder / f"{kind}.parquet")
        found[kind] = [str(folder / f"{kind}.parquet")]
    return found
