"""CDNOW: every purchase of the customers who first bought at an online music shop in the first quarter of 1997.

69,659 purchase lines of 23,570 customers up to the end of June 1998 [1]_, as they come with the lifetimes library.
As in the literature, all lines of one customer on one day are one order, and its amount is their sum. An order of 0.00
stays an order. A customer arrives on the day of the first order: the data knows nothing earlier.

    CDNOW_master.txt: customer, day, CDs, dollars  ->  sessions.csv: client, date, amount
                                                       customers.csv: client, first_order
                                                       sources.yaml

.. [1] Fader & Hardie (2001), Interfaces 31(3), S94-S107; the master data set is at brucehardie.com/datasets.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

from include.problem import Problem

SOURCES_YAML = """\
# Written by the project: the CDNOW purchases. docs/sources.md explains every key.
sessions:
  connector: csv
  path: sessions.csv
  columns:
    id: [client, date]
    client: client
    session_start_date: date
    has_purchased: {constant: true}
    payment_amount: amount
  csv: {delimiter: ",", encoding: utf-8, decimal: ".", date_format: iso, timezone: UTC}

customers:
  connector: csv
  path: customers.csv
  columns:
    client: client
    download_date: first_order
  csv: {delimiter: ",", encoding: utf-8, date_format: iso, timezone: UTC}
"""


def write_cdnow(folder: Path) -> None:
    """Write sessions.csv, customers.csv and sources.yaml into `folder`; the same bytes every time."""
    orders: dict[tuple[str, date], Decimal] = {}
    for client, day, dollars in purchase_lines(master_file()):
        orders[client, day] = orders.get((client, day), Decimal(0)) + dollars
    first_orders: dict[str, date] = {}
    for client, day in orders:
        first_orders[client] = min(day, first_orders.get(client, day))
    folder.mkdir(parents=True, exist_ok=True)
    rows = ((client, day.isoformat(), f"{dollars:.2f}") for (client, day), dollars in sorted(orders.items()))
    _write(folder / "sessions.csv", _table(("client", "date", "amount"), rows))
    _write(
        folder / "customers.csv",
        _table(("client", "first_order"), ((client, day.isoformat()) for client, day in sorted(first_orders.items()))),
    )
    # Last, because it is what a reader looks for: where it is, the data is whole.
    _write(folder / "sources.yaml", SOURCES_YAML)


def master_file() -> Path:
    """Where the lifetimes library keeps the data. (Importing its `datasets` would need setuptools.)"""
    package = find_spec("lifetimes")
    folders = list(package.submodule_search_locations or ()) if package else []
    for folder in folders:
        path = Path(folder) / "datasets" / "CDNOW_master.txt"
        if path.is_file():
            return path
    raise Problem("The CDNOW data comes with the Python package lifetimes, which is not installed; run `make setup`.")


def purchase_lines(path: Path) -> Iterator[tuple[str, date, Decimal]]:
    """Customer, day and dollars of every line."""
    with path.open(encoding="ascii") as lines:
        next(lines)
        for line in lines:
            if line.strip():
                client, day, _, dollars = line.split()
                yield client, datetime.strptime(day, "%Y%m%d").date(), Decimal(dollars)  # noqa: DTZ007 -- a calendar day


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(text, encoding="utf-8", newline="")
    aside.replace(path)
