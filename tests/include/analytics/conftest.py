"""Small event lists, random ones for hypothesis, and CDNOW."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from include.datasets.cdnow import master_file, purchase_lines
from include.staging.tables import Tables, tables_from_frames


def pytest_configure(config: pytest.Config) -> None:
    # Ibis 12 asks DuckDB 2.0 for a result by its former name.
    config.addinivalue_line("filterwarnings", "ignore:fetch_arrow_table:DeprecationWarning")


def build(
    sessions: Sequence[dict[str, Any]],
    customers: Sequence[tuple[str, datetime]],
    *,
    dimensions: Sequence[str] = (),
    **calendar: Any,
) -> Tables:
    """Tables from event dicts and downloads.

    An event has id, client, at, bought, amount, promotion, dimension values by name, and lines of product, category,
    price and quantity.
    """
    columns: dict[str, Any] = {
        "id": pd.Series([one["id"] for one in sessions], dtype="str"),
        "client": pd.Series([one["client"] for one in sessions], dtype="str"),
        "session_start_date": pd.Series([one["at"] for one in sessions], dtype="datetime64[us]"),
        "has_purchased": pd.Series([one["bought"] for one in sessions], dtype="bool"),
        "payment_amount": pd.Series([one["amount"] for one in sessions], dtype="float64"),
        "promotion_id": pd.Series([one.get("promotion") for one in sessions], dtype="object"),
    }
    for name in dimensions:
        columns[f"dimension_{name}"] = pd.Series([one.get(name) for one in sessions], dtype="object")
    downloads = pd.DataFrame(
        {
            "client": pd.Series([client for client, _ in customers], dtype="str"),
            "download_date": pd.Series([at for _, at in customers], dtype="datetime64[us]"),
        }
    )
    lines = [(one["id"], *line) for one in sessions for line in one.get("lines", ())]
    basket = pd.DataFrame(lines, columns=["order_id", "product", "category", "price", "quantity"])
    texts = {"order_id": "str", "product": "str", "category": "str"}
    basket = basket.astype({**texts, "price": "float64", "quantity": "float64"})
    return tables_from_frames(pd.DataFrame(columns), downloads, basket=basket, **calendar)


@pytest.fixture(scope="session")
def cdnow_orders() -> pd.DataFrame:
    """CDNOW as client, day, amount: one order per client and day, its lines added up."""
    lines = pd.DataFrame(purchase_lines(master_file()), columns=["client", "day", "amount"])
    assert len(lines) == 69_659
    return lines.groupby(["client", "day"], as_index=False)["amount"].agg(lambda amounts: sum(amounts, Decimal(0)))


@pytest.fixture(scope="session")
def cdnow(cdnow_orders: pd.DataFrame) -> Tables:
    orders = cdnow_orders
    sessions = pd.DataFrame(
        {
            "id": orders["client"] + "-" + orders["day"].astype(str),
            "client": orders["client"],
            "session_start_date": pd.to_datetime(orders["day"]).astype("datetime64[us]"),
            "has_purchased": True,
            "payment_amount": orders["amount"].astype("float64"),
        }
    )
    first = sessions.groupby("client", as_index=False)["session_start_date"].min()
    return tables_from_frames(sessions, first.rename(columns={"session_start_date": "download_date"}))


@pytest.fixture(scope="session")
def cdnow_end() -> date:
    return date(1998, 6, 30)


@pytest.fixture
def tables_of() -> Any:
    return build
