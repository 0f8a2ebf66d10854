"""What an analysis is compared with: its report of the latest earlier date, in a real Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from elasticsearch import Elasticsearch

from include import catalogue
from include.elastic.client import connect, index_name
from include.elastic.indexes import ensure_reports
from include.elastic.reports import publish_reports, read_rows
from include.pipeline.analyse import compute, previous_rows, write
from include.pipeline.run import Run
from include.staging.tables import Tables, tables_from_frames

FIRST = date(2024, 3, 1)
NAMES = ("clv_prediction", "customer_segmentation")


@pytest.fixture(scope="module")
def client(node_url: str) -> Iterator[Elasticsearch]:
    with connect(node_url) as connected:
        ensure_reports(connected, {name: catalogue.analysis(name).module.FIELDS for name in NAMES})
        yield connected


def shop(later_amount: float) -> Tables:
    """120 days of orders up to FIRST, and 30 days in which everybody spends `later_amount` times as much."""
    chance = np.random.default_rng(2)
    rows = []
    for number in range(120):
        at, level = float(chance.integers(-119, 0)), chance.gamma(4, 5)
        while at <= 30:
            amount = level * chance.gamma(6, 1 / 6) * (later_amount if at > 0 else 1)
            rows.append((f"c{number:03}", FIRST + timedelta(days=int(at)), round(float(amount), 2)))
            if chance.random() < 0.1:
                break
            at += chance.exponential(12)
    orders = pd.DataFrame(rows, columns=["client", "day", "amount"])
    sessions = pd.DataFrame(
        {
            "id": [f"o{number}" for number in range(len(orders))],
            "client": orders["client"],
            "session_start_date": pd.to_datetime(orders["day"]).astype("datetime64[us]"),
            "has_purchased": True,
            "payment_amount": orders["amount"],
        }
    )
    customers = sessions.groupby("client", as_index=False)["session_start_date"].min()
    return tables_from_frames(sessions, customers.rename(columns={"session_start_date": "download_date"}))


def run(client: Elasticsearch, name: str, tables: Tables, day: date, number: int) -> None:
    """What the task does, and `publish` after it."""
    one = Run(
        run_id=f"run {number}", run_type="manual", started_at=datetime(2024, 6, number, tzinfo=UTC),
        interval_start=None, interval_end=None, as_of=day, start=None, end=None, dimensions=(), analyses=NAMES,
        full_refresh=False, dry_run=False,
    )  # fmt: skip
    write(name, compute(name, tables, as_of=day, previous=previous_rows(name, day)), run=one, report_date=day)
    publish_reports(client)


def documents(client: Elasticsearch, name: str, day: date) -> dict[str, dict[str, Any]]:
    """Everything of the reports of a date, by id, but for which run wrote it."""
    query = {"bool": {"filter": [{"term": {"report_name": name}}, {"term": {"report_date": day.isoformat()}}]}}
    hits = client.search(index=index_name("reports"), query=query, size=5_000)["hits"]["hits"]
    return {hit["_id"]: {key: value for key, value in hit["_source"].items() if key != "run_id"} for hit in hits}


def warnings(found: dict[str, dict[str, Any]]) -> list[str]:
    return [warning for one in found.values() if one["is_header"] for warning in one["warnings"]]


@pytest.mark.contract
@pytest.mark.parametrize("name", NAMES)
def test_the_report_of_an_earlier_date_is_compared_with_and_a_repeated_run_changes_nothing(
    name: str, client: Elasticsearch
) -> None:
    second = FIRST + timedelta(days=30)
    steady, changed = shop(1), shop(8)
    assert all(rows == [] for rows in previous_rows(name, FIRST).values())
    run(client, name, steady, FIRST, 1)
    assert not any("drifted" in one for one in warnings(documents(client, name, FIRST)))
    (report_type,) = catalogue.analysis(name).module.PREVIOUS.values()
    (before,) = previous_rows(name, second).values()
    assert before == read_rows(client, name, report_type) != []
    assert all(rows == [] for rows in previous_rows(name, FIRST).values())

    run(client, name, changed, second, 2)
    found = documents(client, name, second)
    told = [one for one in warnings(found) if "since the report of 2024-03-01" in one]
    assert told
    if name == "clv_prediction":
        now = {row["model"]: row for row in read_rows(client, name, "models") if row["data_window"] == "all days"}
        then = {row["model"]: row for row in before if row["data_window"] == "all days"}
        old, new = then["Gamma-Gamma"]["model_v"], now["Gamma-Gamma"]["model_v"]
        assert not 1 / 1.5 < new / old < 1.5
        assert any(f"v from {old:.4g} to {new:.4g}" in one for one in told)

    # Of the second date there is a report by now; the repetition is compared with the first all the same.
    run(client, name, changed, second, 3)
    assert documents(client, name, second) == found
