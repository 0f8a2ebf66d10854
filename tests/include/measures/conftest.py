"""A few sessions with two dimension columns, one of them with missing values."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pytest

from include.staging.tables import Tables, tables_from_frames


@pytest.fixture
def tables() -> Tables:
    rows = [
        # id, client, at (UTC), bought, amount, region, device
        ("1", "a", "2024-03-30T22:30", True, 10, "North", "app"),  # 23:30 in Berlin
        ("2", "a", "2024-03-30T23:30", True, None, "South", "app"),  # half past midnight on the day of the clock change
        ("4", "b", "2024-03-31T10:00", False, 99, None, "app"),
        ("3", "b", "2024-03-31T10:00", True, 5, "East", "app"),  # the same instant; the smaller id is the first
        ("5", "c", "2024-03-31T22:00", True, 7, "North", "app"),  # midnight in Berlin: 1 April
    ]
    columns = ["id", "client", "at", "has_purchased", "payment_amount", "dimension_region", "dimension_device"]
    sessions = pd.DataFrame(rows, columns=columns)
    sessions["session_start_date"] = pd.to_datetime(sessions.pop("at")).astype("datetime64[us]")
    customers = pd.DataFrame(
        {
            "client": ["a", "a", "b", "d", "c"],  # a is there twice
            "download_date": [datetime(2024, 3, 30), datetime(2024, 3, 29), *[datetime(2024, 3, 31)] * 2,
                              datetime(2024, 3, 31, 22)],
        }
    )  # fmt: skip
    customers["download_date"] = customers["download_date"].astype("datetime64[us]")
    return tables_from_frames(sessions, customers, time_zone="Europe/Berlin")
