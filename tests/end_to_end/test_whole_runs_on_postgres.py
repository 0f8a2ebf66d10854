"""Whole runs of the DAG on a PostgreSQL database: what changes there between two runs reaches indexes and reports."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import configs
from include.elastic.node import EmbeddedNode
from include.pipeline.run import run_key
from tests.checksums import documents
from tests.end_to_end.conftest import run, skipped, states
from tests.postgres_server import PostgresServer, postgres_server

pytestmark = pytest.mark.end_to_end

SOURCES = """
sessions:
  connector: postgres
  connection: shop
  table: public.visits
  changed_at: changed
  columns: {id: id, client: customer, session_start_date: began, has_purchased: bought, payment_amount: paid}
  dimensions: {region: region}
customers:
  connector: postgres
  connection: shop
  query: SELECT customer, min(began) AS came FROM public.visits GROUP BY customer
  columns: {client: customer, download_date: came}
products:
  connector: postgres
  connection: shop
  table: public.lines
  changed_at: changed
  columns: {order_id: visit, line_id: line, product: product, price: price}
"""
TABLES = """
CREATE TABLE visits (id text PRIMARY KEY, customer text, began timestamptz, bought boolean, paid numeric(12, 2),
                     region text, changed timestamptz);
CREATE TABLE lines (visit text, line int, product text, price numeric(12, 2), changed timestamptz);
INSERT INTO visits
    SELECT 's' || n, 'c' || n % 40, began, true, 10 + n % 7, CASE n % 2 WHEN 0 THEN 'north' ELSE 'south' END, began
    FROM (SELECT n, timestamptz '2024-01-01 12:00+00' + n * interval '6 hours' AS began
          FROM generate_series(1, 400) AS n) AS numbered;
INSERT INTO lines SELECT id, 1, 'tea', paid, changed FROM visits;
"""
# In April: an order of January is worth 100 more and so is its line, one of February never was, and two are new: one of
# a day in January that is known only now.
CHANGES = """
UPDATE visits SET paid = paid + 100, changed = '2024-04-10 14:00+00' WHERE id = 's8';
UPDATE lines SET price = price + 100, changed = '2024-04-10 14:00+00' WHERE visit = 's8';
UPDATE visits SET bought = false, paid = NULL, changed = '2024-04-10 14:00+00' WHERE id = 's130';
INSERT INTO visits VALUES
    ('late', 'c3', '2024-01-20 12:00+00', true, 1000, 'south', '2024-04-10 14:00+00'),
    ('new', 'c99', '2024-04-11 12:00+00', true, 7, 'north', '2024-04-11 12:00+00');
INSERT INTO lines VALUES ('late', 1, 'mug', 1000, '2024-04-10 14:00+00');
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


def monthly(url: str, *fields: str) -> dict[tuple[str, str], Any]:
    """Orders and revenue per dimension value and month, as the newest report has them."""
    wanted = {"bool": {"filter": [{"term": {"type": "activity"}}, {"term": {"granularity": "month"}}]}}
    rows = documents(url, "reports-latest", wanted).values()
    return {
        (row["dimension"], row["period"][:7]): tuple(row[name] for name in fields) for row in rows if "period" in row
    }


def counted(server: PostgresServer, until: str) -> dict[tuple[str, str], Any]:
    """The same, asked of the database."""
    statement = """
        SELECT label, to_char(began, 'YYYY-MM'), count(*) FILTER (WHERE bought), sum(coalesce(paid, 0))::float
        FROM visits CROSS JOIN LATERAL (VALUES ('all'), ('region: ' || region)) AS labels(label)
        WHERE began < %s GROUP BY 1, 2
    """
    with server.connected() as connection:
        connection.execute("SET TimeZone TO 'UTC'")
        return {(label, month): (orders, paid) for label, month, orders, paid in connection.execute(statement, [until])}


def test_a_correction_and_a_late_order_reach_the_reports_of_their_periods(
    folder: Path, node: EmbeddedNode, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", "UTC")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", server.airflow_connection())
    folder.mkdir(parents=True)
    (folder / "sources.yaml").write_text(SOURCES, encoding="utf-8")
    server.execute(TABLES)
    analyses = ["descriptive_statistics", "product_analytics"]

    first = run(analyses=analyses)
    assert states(first)["publish"] == "success"
    assert "exploratory.product_analytics" not in skipped(first)
    assert len(documents(node.url, "orders")) == 400
    assert monthly(node.url, "orders", "revenue") == counted(server, "2024-04-10")

    server.execute(CHANGES)
    second = run(analyses=analyses)
    assert states(second)["publish"] == "success"
    summary = Path(configs.STAGING_URL) / "runs" / run_key(second.run_id) / "summary.json"
    read = json.loads(summary.read_text())["sources"]["sessions"]["read"]
    assert read == 4 + 13, "what changed, and the twelve hours and the three days that are looked back upon"
    orders = documents(node.url, "orders")
    assert len(orders) == 402
    assert orders["s8"]["payment_amount"] == orders["s8"]["basket"][0]["price"] == 111.0
    assert orders["s130"]["has_purchased"] is False
    assert orders["late"]["basket"][0]["product"] == "mug"
    # As of 10 April: the day of the newest order may go on.
    assert monthly(node.url, "orders", "revenue") == counted(server, "2024-04-11")
