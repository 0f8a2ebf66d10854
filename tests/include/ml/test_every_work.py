"""What holds for every machine-learning work: order, files, unasked-for columns and names change no number."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

from include import catalogue
from include.elastic.reports import json_rows
from include.schemas.reports import SHARED_FIELDS
from include.staging.tables import Tables, tables_from_frames

AS_OF = date(2024, 5, 5)
WORKS = [one for one in catalogue.analyses() if one.group == "machine_learning"]
SETTINGS: dict[str, dict[str, Any]] = {
    "ab_test": {"permutations": 200},
    "customer_segmentation": {"resamples": 2},
}
NAME = re.compile(r"\b[cx]\d\d\b")
CLIENTS = {f"c{number:02}": f"x{99 - number}" for number in range(60)}


def frames() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Sessions, customers, products and deliveries of sixty customers over sixteen weeks."""
    chance = np.random.default_rng(4)
    rows = []
    for client in CLIENTS:
        at = datetime(2024, 1, 14, 12) + timedelta(hours=int(chance.integers(0, 1_500)))
        while at < datetime(2024, 5, 6):
            bought = bool(chance.random() < 0.6)
            rows.append(
                {
                    "id": f"s{len(rows):04}",
                    "client": client,
                    "session_start_date": at,
                    "has_purchased": bought,
                    "payment_amount": round(float(chance.gamma(3, 8)), 2) if bought else 0.0,
                    "promotion_id": "SPRING" if chance.random() < 0.2 else None,
                    "dimension_region": chance.choice(["North", "South"]),
                }
            )
            at += timedelta(hours=float(chance.exponential(190)))
    sessions = pd.DataFrame(rows).astype({"session_start_date": "datetime64[us]"})
    first = sessions.groupby("client", as_index=False)["session_start_date"].min()
    customers = first.rename(columns={"session_start_date": "download_date"})
    orders = sessions[sessions["has_purchased"]]
    products = orders["id"].str[-1].map(lambda digit: f"product {int(digit) % 3}")
    basket = pd.DataFrame({"order_id": orders["id"], "product": products, "price": 5.0, "quantity": 1.0})
    prepared = orders["session_start_date"] + pd.to_timedelta(chance.exponential(2, len(orders)).round(2), unit="h")
    deliveries = pd.DataFrame(
        {
            "order_id": orders["id"],
            "prepare_date": prepared.astype("datetime64[us]"),
            "delivery_date": (prepared + pd.to_timedelta(chance.gamma(4, 2, len(orders)).round(2), unit="h")).astype(
                "datetime64[us]"
            ),
            "latitude": 52.5 + chance.integers(0, 3, len(orders)) / 20,
            "longitude": 13.4,
        }
    )
    return sessions, customers, basket, deliveries


def lines(one: catalogue.Analysis, tables: Tables, names: dict[str, str] | None = None) -> dict[str, list[str]]:
    """The rows of each report as text, clients under their first names, in an order that their names do not decide."""
    reports = getattr(one.module, one.name)(tables, as_of=AS_OF, top_values=5, **SETTINGS.get(one.name, {}))
    fields = {**SHARED_FIELDS, **one.module.FIELDS}
    found = {}
    for report_type in one.module.REPORTS:
        rows = json_rows(report_type, reports[report_type.type].rows, fields, one.name)
        texts = (json.dumps(row, sort_keys=True) for row in rows)
        # Sentences have names in them too.
        found[report_type.type] = sorted(
            NAME.sub(lambda name: (names or {}).get(name[0], name[0]), one) for one in texts
        )
    assert sum(map(len, found.values())) > 20
    return found


@pytest.mark.parametrize("one", WORKS, ids=lambda one: one.name)
def test_order_files_columns_and_names_do_not_matter(one: catalogue.Analysis) -> None:
    sessions, customers, basket, deliveries = frames()
    expected = lines(one, tables_from_frames(sessions, customers, basket=basket, deliveries=deliveries))

    shuffled = sessions.sample(frac=1, random_state=1)
    shuffled["client"], customers["client"] = shuffled["client"].map(CLIENTS), customers["client"].map(CLIENTS)
    tables = tables_from_frames(
        shuffled, customers[::-1], basket=basket[::-1], deliveries=deliveries.sample(frac=1, random_state=2)
    )
    more = tables.sessions.mutate(colour=tables.sessions.id)
    parts = (more.filter(more.client >= "x70"), more.filter(more.client < "x70"))
    found = lines(one, replace(tables, sessions=ibis.union(*parts)), {new: old for old, new in CLIENTS.items()})
    assert found == expected
