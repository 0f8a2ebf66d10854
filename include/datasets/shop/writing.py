"""Writing a shop: block after block to CSV files, in memory that the block decides and not the shop.

seed, number of sessions  ->  sessions/<month>.csv, customers.csv, order_lines.csv, deliveries.csv, truth.json,
                              sources.yaml
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from include.datasets.shop.block import Block, simulate
from include.datasets.shop.dirt import PLAIN, Dirtying
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import Integers, Rhythm
from include.datasets.shop.tables import (
    CUSTOMER_COLUMNS,
    DELIVERY_COLUMNS,
    LINE_COLUMNS,
    customers_table,
    deliveries_table,
    lines_table,
    months,
    session_columns,
    session_months,
    sessions_table,
)
from include.datasets.shop.truth import Truth, made_from
from include.problem import Problem
from include.progress import Progress

SMALLEST, LARGEST = 1_000, 100_000_000
TRUTH, SOURCES = "truth.json", "sources.yaml"
FILES = {"customers": "customers.csv", "products": "order_lines.csv", "deliveries": "deliveries.csv"}
FILE_BUFFER_BYTES = 1_000_000
SHOP = Shop()

CSV_OPTIONS = 'csv: {delimiter: ",", encoding: utf-8, decimal: ".", date_format: iso, timezone: UTC}'
SOURCES_YAML = f"""\
# Written by the project: a simulated shop. truth.json beside it says what is in it; docs/sources.md explains every key.
sessions:
  connector: csv
  path: sessions/*.csv
  columns:
    id: session_id
    client: customer_no
    session_start_date: started_at
    end_date: ended_at
    has_purchased: bought
    payment_amount: total
    discount_amount: discount
    promotion_id: promotion
  dimensions: [region, device, channel]
  actions: [{{actions}}]
  changed_at: updated_at
  {CSV_OPTIONS}

customers:
  connector: csv
  path: {FILES["customers"]}
  columns: {{client: customer_no, download_date: downloaded_at, signup_date: signed_up_at}}
  actions:
    - {{name: email_confirmed, column: email_confirmed_at}}
  {CSV_OPTIONS}

products:
  connector: csv
  path: {FILES["products"]}
  columns: {{order_id: session_id, product: product, category: category, price: price, quantity: quantity}}
  {CSV_OPTIONS}

deliveries:
  connector: csv
  path: {FILES["deliveries"]}
  columns:
    order_id: session_id
    delivery_date: delivered_at
    prepare_date: prepared_at
    return_date: returned_at
    latitude: latitude
    longitude: longitude
  {CSV_OPTIONS}
"""


def write_shop(folder: Path, *, sessions: int, seed: int, shop: Shop = SHOP) -> dict[str, Any]:
    """Write a shop of this many sessions into `folder`, instead of one that is there; the truth that stands beside it.

    The good rows of `sessions` are as many as asked for, or up to one customer's sessions more. The same arguments
    give the same bytes.
    """
    _require_sizes(sessions, seed)
    folder = folder.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise Problem(f"{folder} is a file; give a folder for the shop.")
    if folder.exists() and any(folder.iterdir()) and not (folder / TRUTH).exists():
        raise Problem(f"{folder} holds something other than a simulated shop; give a new or an empty folder.")
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "sessions").mkdir(parents=True)
    try:
        truth = _write_files(aside, sessions=sessions, seed=seed, shop=shop)
        _move(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return truth


def is_written(folder: Path, *, sessions: int, seed: int, shop: Shop = SHOP) -> bool:
    """Whether the folder holds this very shop, complete."""
    if not (folder / SOURCES).is_file() or not (folder / TRUTH).is_file():
        return False
    try:
        found = json.loads((folder / TRUTH).read_text(encoding="utf-8"))
    except ValueError:
        return False
    wanted = json.loads(_json(made_from(shop, seed=seed, sessions=sessions)))
    return isinstance(found, dict) and found.get("made_from") == wanted


def _require_sizes(sessions: int, seed: int) -> None:
    if not SMALLEST <= sessions <= LARGEST:
        raise Problem(f"A shop has between {SMALLEST:,} and {LARGEST:,} sessions, not {sessions:,}.")
    if seed < 0:
        raise Problem(f"The seed is a number from 0 on, not {seed}.")


def _move(aside: Path, folder: Path) -> None:
    """Put what was written in its place, sources.yaml last: where it is, the data is whole."""
    (folder / "sessions").mkdir(parents=True, exist_ok=True)
    (folder / SOURCES).unlink(missing_ok=True)
    names = sorted(path.relative_to(aside) for path in aside.rglob("*") if path.is_file())
    for name in sorted(names, key=lambda name: name == Path(SOURCES)):
        (aside / name).replace(folder / name)


def _write_files(folder: Path, *, sessions: int, seed: int, shop: Shop) -> dict[str, Any]:
    rhythm, truth = Rhythm(shop), Truth(shop)
    dirt = {source: Dirtying(source, shop.dirty_share) for source in ("sessions", *FILES)}
    with ExitStack() as stack, Progress("demo-data", unit="sessions", total=sessions) as progress:

        def opened(name: str, columns: tuple[str, ...]) -> IO[bytes]:
            file = stack.enter_context((folder / name).open("wb", buffering=FILE_BUFFER_BYTES))
            file.write((",".join(columns) + "\n").encode())
            return file

        by_month = [opened(f"sessions/{one:%Y-%m}.csv", session_columns(shop)) for one in months(shop)]
        headers = {"customers": CUSTOMER_COLUMNS, "products": LINE_COLUMNS, "deliveries": DELIVERY_COLUMNS}
        files = {source: opened(name, headers[source]) for source, name in FILES.items()}
        left, number = sessions, 0
        while left > 0:
            block = simulate(shop, rhythm, seed=seed, number=number, most_sessions=left)
            table = sessions_table(shop, block)
            _write_sessions(by_month, table, session_months(shop, block), dirt["sessions"], block)
            identifiers = table["session_id"].chunk(0)
            tables = {
                "customers": customers_table(shop, rhythm, block),
                "products": lines_table(shop, block, identifiers),
                "deliveries": deliveries_table(shop, block, identifiers),
            }
            _write_others(files, tables, dirt, block.random)
            truth.add(block)
            left -= len(block.sessions)
            number += 1
            progress.advance(len(block.sessions))
    document = truth.document(seed=seed, sessions=sessions, dirt=dirt)
    (folder / TRUTH).write_text(_json(document) + "\n", encoding="utf-8")
    (folder / SOURCES).write_text(SOURCES_YAML.replace("{actions}", ", ".join(shop.steps)), encoding="utf-8")
    return json.loads(_json(document))  # type: ignore[no-any-return]


def _write_sessions(files: list[IO[bytes]], table: pa.Table, month: Integers, dirt: Dirtying, block: Block) -> None:
    """Each row into the file of its month; dirty rows into that of the row they resemble, after the good ones."""
    dirty = dirt.rows_for(table, block.random)
    order = np.argsort(month.astype(np.int8), kind="stable")
    ends = np.cumsum(np.bincount(month, minlength=len(files)))
    sorted_rows = table.take(pa.array(order))
    begin = 0
    for file, end in zip(files, ends.tolist(), strict=True):
        if end > begin:
            pyarrow.csv.write_csv(sorted_rows.slice(begin, end - begin), file, PLAIN)
        begin = end
    for place, line in dirty:
        files[int(month[place])].write(line)


def _write_others(
    files: Mapping[str, IO[bytes]],
    tables: Mapping[str, pa.Table],
    dirt: Mapping[str, Dirtying],
    random: np.random.Generator,
) -> None:
    """Dirty rows before the good ones: of two rows with one key the later stays."""
    for source, table in tables.items():
        for _, line in dirt[source].rows_for(table, random):
            files[source].write(line)
        pyarrow.csv.write_csv(table, files[source], PLAIN)


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, default=str)
