"""A shop that is loaded again and again: the CSV files of its sources, and what a run of the DAG does with them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import configs
from include.pipeline.run import Run
from include.pipeline.window import window
from include.quality.extract import Extracted, extract_rows
from include.sources.definition import Source, load_sources
from include.sources.read import read_source, value_format
from include.staging.merge import Merged, merge
from include.staging.snapshot import load_snapshot
from include.staging.storage import storage
from include.staging.watermark import keep_watermarks, move_watermarks, read_watermark

SOURCES = """
sessions:
  connector: csv
  path: sessions.csv
  columns: {id: id, client: client, session_start_date: began, has_purchased: {constant: true}, payment_amount: paid}
  changed_at: changed
  csv: {delimiter: ",", date_format: iso, timezone: UTC}
customers:
  connector: csv
  path: customers.csv
  columns: {client: client, download_date: came}
  csv: {delimiter: ",", date_format: iso, timezone: UTC}
products:
  connector: csv
  path: lines.csv
  columns: {order_id: order, line_id: line, product: product, price: price}
  changed_at: changed
  csv: {delimiter: ",", date_format: iso, timezone: UTC}
"""
BEGIN = datetime(2024, 1, 1)


NONE: dict[tuple[str, int], dict[str, Any]] = {}


class Shop:
    """A folder with sources.yaml and the CSV files of its sources, and a staging of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.landed: dict[str, Extracted] = {}
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "sources.yaml").write_text(SOURCES, encoding="utf-8")

    def write(self, sessions: dict[str, dict[str, Any]], lines: dict[tuple[str, int], dict[str, Any]] = NONE) -> None:
        began = [
            f"{id_},{row['client']},{row['began']},{row['paid']},{row['changed']}" for id_, row in sessions.items()
        ]
        text = "\n".join(["id,client,began,paid,changed", *began]) + "\n"
        (self.folder / "data" / "sessions.csv").write_text(text, encoding="utf-8")
        clients = "".join(f"c{number},2024-01-01\n" for number in range(4))
        (self.folder / "data" / "customers.csv").write_text(f"client,came\n{clients}", encoding="utf-8")
        sold = "".join(f"{order},{line},tea,{one['price']},{one['changed']}\n" for (order, line), one in lines.items())
        (self.folder / "data" / "lines.csv").write_text(f"order,line,product,price,changed\n{sold}", encoding="utf-8")

    def sources(self) -> tuple[Source, ...]:
        return load_sources(self.folder / "data" / "sources.yaml").all

    def load(self, run: Run, index: Callable[[Merged], bool] = lambda _: True) -> int:
        """What a run of the DAG does with the sources up to the watermark; the sessions landed.

        `index` says whether it came to its end, or was killed.
        """
        landed = self.landed = {}
        windows = {}
        for source in self.sources():
            wanted = windows[source.name] = window(run, source, read_watermark(source))
            options = value_format(source)
            landed[source.name] = extract_rows(
                source,
                read_source(source, options, **wanted.bounds),
                options,
                target=storage(configs.STAGING_URL) / "runs" / run.key,
                run_id=run.run_id,
                latest=datetime(2025, 1, 1),
                **wanted.bounds,
            )
        keep_watermarks([] if run.full_refresh else landed)
        files = {name: one.files for name, one in landed.items()}
        merged = merge(files, run_key=run.key, time_zone="UTC", full_refresh=run.full_refresh)
        if index(merged):
            moving = [source for source in self.sources() if windows[source.name].moves_watermark]
            move_watermarks(moving, merged.snapshot)
        return landed["sessions"].good

    def staged(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT * EXCLUDE (client_code) FROM sessions ORDER BY id")

    def lines(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT * FROM basket ORDER BY order_id, line_id")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        snapshot = load_snapshot()
        assert snapshot is not None
        with snapshot.connect() as connection:
            return connection.execute(query).fetchall()


def place(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Shop:
    monkeypatch.setattr(configs, "STAGING_URL", str(folder / "staging"))
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(folder / "tmp"))
    return Shop(folder)


def row(day: int, paid: int, changed_day: int, client: str = "c0") -> dict[str, Any]:
    return {
        "client": client,
        "began": (BEGIN + timedelta(days=day)).isoformat(),
        "paid": paid,
        "changed": (BEGIN + timedelta(days=changed_day)).isoformat(),
    }


def line(price: int, changed_day: int) -> dict[str, Any]:
    return {"price": price, "changed": (BEGIN + timedelta(days=changed_day)).isoformat()}
