"""Real customers to split at random: the coupon users of The Complete Journey."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from include.datasets.completejourney import tables_folder

TRIPS = """
SELECT household_id AS household, transaction_timestamp::DATE - DATE '2017-01-01' AS day,
       count(DISTINCT basket_id) AS trips, sum(sales_value::DECIMAL(12, 2))::DOUBLE AS spent,
       household_id IN (SELECT household_id FROM read_parquet('{0}/coupon_redemptions.parquet')) AS uses_coupons
FROM read_parquet('{0}/transactions.parquet') GROUP BY ALL ORDER BY household, day
"""


@pytest.fixture(scope="session")
def trips() -> pd.DataFrame:
    """Household, day of 2017 (from 0), shopping trips and money spent on it."""
    folder = tables_folder()
    assert isinstance(folder, Path)
    with duckdb.connect() as engine:
        return engine.execute(TRIPS.format(folder)).df()


@pytest.fixture(scope="session")
def coupon_users(trips: pd.DataFrame) -> pd.DataFrame:
    """The 410 households that redeemed coupons and came in these eight weeks: what they did in the second four."""
    users = trips[trips["uses_coupons"] & trips["day"].between(140, 195)]
    later = users["day"] >= 168
    frame = pd.DataFrame(
        {
            "orders": users[later].groupby("household")["trips"].sum(),
            "revenue": users[later].groupby("household")["spent"].sum(),
            "orders_before": users[~later].groupby("household")["trips"].sum(),
            "revenue_before": users[~later].groupby("household")["spent"].sum(),
        }
    ).fillna(0.0)
    assert len(frame) > 400
    # In an order that has nothing to do with the values.
    return frame.iloc[np.random.default_rng(3).permutation(len(frame))].reset_index(drop=True)
