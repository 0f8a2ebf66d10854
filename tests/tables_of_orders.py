"""Staged tables of a frame of orders: every session an order, every client there since the first."""

import pandas as pd

from include.staging.tables import Tables, tables_from_frames


def tables_of(orders: pd.DataFrame) -> Tables:
    """`orders` has client, day and amount, and may have dimension_region."""
    sessions = pd.DataFrame(
        {
            "id": [f"o{number}" for number in range(len(orders))],
            "client": orders["client"].astype("str"),
            "session_start_date": pd.to_datetime(orders["day"]).astype("datetime64[us]"),
            "has_purchased": True,
            "payment_amount": orders["amount"].astype("float64"),
        }
    )
    if "dimension_region" in orders:
        sessions["dimension_region"] = orders["dimension_region"].astype("object")
    customers = sessions.groupby("client", as_index=False)["session_start_date"].min()
    return tables_from_frames(sessions, customers.rename(columns={"session_start_date": "download_date"}))
