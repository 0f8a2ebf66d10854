"""A simulated shop, read back from its files by a reader that knows nothing of how it was made."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include.datasets.shop.writing import write_shop

BEGIN = pd.Timestamp("2024-07-01")  # no stale version of a session was changed later
WEEK = pd.Timedelta(weeks=1)


@dataclass(frozen=True)
class WrittenShop:
    """The good rows of each file, and the truth beside them. `boxes` and `loose goods` are lines like any other."""

    folder: Path
    truth: dict[str, Any]
    sessions: pd.DataFrame
    customers: pd.DataFrame
    lines: pd.DataFrame
    deliveries: pd.DataFrame

    @property
    def planted(self) -> dict[str, Any]:
        found: dict[str, Any] = self.truth["made_from"]["shop"]
        return found

    @property
    def end(self) -> pd.Timestamp:
        return BEGIN + self.planted["weeks"] * WEEK


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a file that have all its columns, whatever is in them."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        names = next(csv.reader([file.readline()]))
        for row in csv.reader(file):
            if len(row) == len(names):
                yield dict(zip(names, row, strict=True))


def good_rows(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The good rows of each source: those with the id of a shop's row, without what is wrong in copies of them.

    Of two rows with the same id the one that changed last stays for sessions, the last one for the others.
    """
    sessions: dict[str, dict[str, str]] = {}
    for file in sorted((folder / "sessions").glob("*.csv")):
        for row in rows_of(file):
            kept = sessions.get(row["session_id"])
            if row["session_id"].startswith("s") and (kept is None or kept["updated_at"] < row["updated_at"]):
                sessions[row["session_id"]] = row
    customers = {
        row["customer_no"]: row for row in rows_of(folder / "customers.csv") if row["customer_no"].startswith("c")
    }
    deliveries = {
        row["session_id"]: row
        for row in rows_of(folder / "deliveries.csv")
        if row["session_id"] and row["delivered_at"][:2] == "20" and row["delivered_at"] < "2090"
        if not row["prepared_at"] or row["prepared_at"] <= row["delivered_at"]
        if not row["returned_at"] or row["returned_at"] >= row["delivered_at"]
        if float(row["latitude"]) < 90 and row["longitude"] != "east"
    }
    lines = [
        row
        for row in rows_of(folder / "order_lines.csv")
        if row["session_id"] and row["product"] and row["price"][:1].isdigit() and row["quantity"] in ("1", "2")
    ]
    return {
        "sessions": [*sessions.values()],
        "customers": [*customers.values()],
        "products": lines,
        "deliveries": [*deliveries.values()],
    }


def frame(rows: list[dict[str, str]], *, times: str, numbers: str) -> pd.DataFrame:
    table = pd.DataFrame(rows).replace("", None)
    for name in times.split():
        table[name] = pd.to_datetime(table[name], format="%Y-%m-%d %H:%M:%S")
    for name in numbers.split():
        table[name] = table[name].astype("float64")
    return table


@pytest.fixture(scope="session")
def written_shop(tmp_path_factory: pytest.TempPathFactory) -> WrittenShop:
    """A shop of 250,000 sessions, about 7,700 buyers."""
    folder = tmp_path_factory.mktemp("shop") / "data"
    write_shop(folder, sessions=250_000, seed=20)
    rows = good_rows(folder)
    sessions = frame(rows["sessions"], times="started_at ended_at updated_at", numbers="total discount")
    for name in ("bought", "viewed_product", "added_to_basket", "began_checkout"):
        sessions[name] = sessions[name] == "true"
    return WrittenShop(
        folder=folder,
        truth=json.loads((folder / "truth.json").read_text(encoding="utf-8")),
        sessions=sessions,
        customers=frame(rows["customers"], times="downloaded_at signed_up_at email_confirmed_at", numbers=""),
        lines=frame(rows["products"], times="", numbers="price quantity"),
        deliveries=frame(
            rows["deliveries"], times="prepared_at delivered_at returned_at", numbers="latitude longitude"
        ),
    )
