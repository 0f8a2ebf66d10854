"""Daily revenue ahead beside the seasonal-naive forecast, from rolling origins of all three data sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from include.datasets.cdnow import master_file, purchase_lines
from include.datasets.completejourney import tables_folder
from include.ml.clv_prediction import clv_prediction
from include.staging.tables import Tables
from tests.tables_of_orders import tables_of

AHEAD = 91  # days
ORDERS = """
SELECT household_id AS client, transaction_timestamp::DATE::TIMESTAMP AS day, sum(sales_value)::DOUBLE AS amount
FROM read_parquet('{0}/transactions.parquet') GROUP BY basket_id, client, day ORDER BY ALL
"""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Mean absolute errors of a day, one per origin: of our forecast, and of the newest week again and again."""

    ours: Floats
    naive: Floats

    @property
    def better(self) -> int:
        return int((self.ours < self.naive).sum())


def errors(tables: Tables, first: date, last: date, *, weeks: int) -> Errors:
    """From an origin each so many weeks: `first`, and as long as all days ahead are known by `last`."""
    orders = tables.sessions.filter(tables.sessions.has_purchased)
    sums = orders.group_by("session_day").agg(revenue=orders.payment_amount.sum()).to_pandas()
    known = pd.Series(sums["revenue"].to_numpy("float64"), index=pd.to_datetime(sums["session_day"]))
    known = known.reindex(pd.date_range(known.index.min(), pd.Timestamp(last)), fill_value=0.0)
    ours, naive = [], []
    origin = first
    while origin + timedelta(days=AHEAD) <= last:
        rows = clv_prediction(tables, as_of=origin, forecast_days=AHEAD, history_days=1)["daily_clv"].rows
        predicted = rows[rows["is_forecast"].astype(bool)]["predicted_revenue"].to_numpy("float64")
        came = known[known.index > pd.Timestamp(origin)].to_numpy()[:AHEAD]
        week = known[known.index <= pd.Timestamp(origin)].to_numpy()[-7:]
        ours.append(np.abs(predicted - came).mean())
        naive.append(np.abs(np.resize(week, AHEAD) - came).mean())
        origin += timedelta(weeks=weeks)
    return Errors(np.array(ours), np.array(naive))


def test_cdnow() -> None:
    lines = pd.DataFrame(purchase_lines(master_file()), columns=["client", "day", "amount"])
    lines["amount"] = lines["amount"].astype(float)
    tables = tables_of(lines.groupby(["client", "day"], as_index=False)["amount"].sum())
    found = errors(tables, date(1997, 5, 28), date(1998, 6, 30), weeks=8)
    assert len(found.ours) == 6
    assert found.ours.mean() < 0.85 * found.naive.mean()
    assert found.better >= 5
    # Nobody new came after March, and a forecast of April believes that they go on coming.
    april = errors(tables, date(1997, 4, 30), date(1997, 7, 30), weeks=8)
    assert april.ours[0] > 2 * april.naive[0]


def test_the_complete_journey() -> None:
    with duckdb.connect() as engine:
        tables = tables_of(engine.execute(ORDERS.format(tables_folder())).df())
    found = errors(tables, date(2017, 4, 30), date(2017, 12, 31), weeks=4)
    assert len(found.ours) == 6
    assert found.ours.mean() < 0.9 * found.naive.mean()
    assert found.better == 6


def test_the_simulated_shop(simulated_shop: Any) -> None:
    tables = replace(simulated_shop.tables, dimensions=())
    found = errors(tables, date(2025, 1, 5), simulated_shop.as_of, weeks=8)
    assert len(found.ours) == 9
    assert found.ours.mean() < 0.85 * found.naive.mean()
    assert found.better >= 8
