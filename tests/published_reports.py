"""A small made-up shop with the reports of every analysis, in a real Elasticsearch: what dashboards are tested on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from elasticsearch import Elasticsearch

from include import catalogue
from include.elastic.client import connect, index_name
from include.elastic.indexes import REPORTS, ensure_reports
from include.elastic.load import load_downloads, load_orders, write_scores
from include.elastic.reports import publish_reports, write_report
from include.operations import runs
from include.pipeline.publish import side_by_side
from include.schemas.reports import Report
from include.staging.tables import Tables, tables_from_frames
from tests.run_facts import sample_reports
from tests.servers import elasticsearch_node

AS_OF = date(2024, 5, 29)  # a Wednesday: week and month are not over
WRITTEN_AT = datetime(2024, 5, 30, tzinfo=UTC)
RUN_ID = "manual__2024-05-30"
EVIL = "<img src=x onerror=window.hacked=1>"  # a name as a customer might have given it
REGIONS = ("North", "South", EVIL)

CAMPAIGN, CAMPAIGN_BEGINS, CAMPAIGN_DAYS = "ONE WEEK", pd.Timestamp("2024-02-12"), 7
OTHER_PROMOTIONS_BEGIN = pd.Timestamp("2024-02-20")  # before, there are weeks without any, to compare the campaign with
ODD_DAY = pd.Timestamp(AS_OF)  # on which one in five customers comes
REGULAR, REGULAR_DAYS = "c187", 45  # the newest days, on each of which that customer orders
DEARER, ORDINARY_AMOUNT, DEARER_AMOUNT = "c132", 20.0, 300.0  # what that customer pays, and pays in the newest weeks
SLOW_PLACE, SLOWER = (53.5, 15.4), 4  # where one in six deliveries goes, and how many times as long the ride there is


def shop() -> Tables:
    """300 customers, some 1,400 sessions in 150 days; half of the sessions are orders.

    So that every analysis has something to find, a campaign, an odd day, a customer who became a regular, one who pays
    more and a slow place are planted in what is otherwise random.
    """
    random = np.random.default_rng(7)
    begin = pd.Timestamp("2024-01-01")
    downloads = begin + pd.to_timedelta(random.uniform(0, 140, 300), unit="D")
    customers = pd.DataFrame({"client": [f"c{number:03}" for number in range(300)], "download_date": downloads})
    rows = []
    for number, downloaded in enumerate(downloads):
        visits = downloaded + pd.to_timedelta(np.cumsum(random.exponential(12, random.poisson(4))), unit="D")
        for visit in visits[visits < pd.Timestamp("2024-05-30")]:
            bought = bool(random.random() < 0.5)
            rows.append(
                {
                    "client": f"c{number:03}",
                    "session_start_date": visit,
                    "has_purchased": bought,
                    "payment_amount": round(float(random.lognormal(3, 0.6)), 2) if bought else 0.0,
                    "discount_amount": round(float(random.uniform(0, 5)), 2) if bought else 0.0,
                    "dimension_region": REGIONS[number % 3],
                }
            )
    promotions = [
        (None, None, "SPRING", EVIL)[number % 4] if row["session_start_date"] >= OTHER_PROMOTIONS_BEGIN else None
        for number, row in enumerate(rows)
    ]
    planted = list(_planted(downloads))
    sessions = pd.DataFrame(rows + planted)
    sessions.insert(0, "id", [f"s{number:05}" for number in range(len(sessions))])
    sessions["promotion_id"] = [*promotions, *(row.get("promotion_id") for row in planted)]
    basket = pd.DataFrame(
        [
            {
                "order_id": order_id,
                "product": f"{EVIL}{product}" if product == 3 else f"product {product}",
                "price": 5.0 + product + number % 2,
                "quantity": 1 + number % 3,
                "category": f"category {product % 2}",
            }
            for number, order_id in enumerate(sessions["id"])
            for product in {number % 2, number % 3 + 1, number % 5}
        ]
    )
    orders = sessions[sessions["has_purchased"]]
    prepared = orders["session_start_date"] + pd.to_timedelta(random.exponential(3, len(orders)), unit="h")
    is_slow = np.arange(len(orders)) % 6 == 0
    ride = random.exponential(20, len(orders)) * np.where(is_slow, SLOWER, 1)
    middle = [52.5, 13.4] + random.integers(0, 3, (len(orders), 2)) / 20
    delivered = prepared + pd.to_timedelta(ride, unit="h")
    deliveries = pd.DataFrame(
        {
            "order_id": orders["id"],
            "prepare_date": prepared,
            "delivery_date": delivered,
            "return_date": (delivered + pd.Timedelta(days=3)).where(np.arange(len(orders)) % 15 == 0),
            "latitude": np.where(is_slow, SLOW_PLACE[0], middle[:, 0]),
            "longitude": np.where(is_slow, SLOW_PLACE[1], middle[:, 1]),
        }
    )
    return tables_from_frames(
        sessions.astype({"session_start_date": "datetime64[us]"}),
        customers.astype({"download_date": "datetime64[us]"}),
        basket=basket,
        deliveries=deliveries.astype(dict.fromkeys(("prepare_date", "delivery_date", "return_date"), "datetime64[us]")),
    )


def _planted(downloads: pd.DatetimeIndex) -> Iterator[dict[str, Any]]:
    """Sessions beside the random ones: those of the campaign and after it, of the odd day, of the two odd customers."""
    for number, downloaded in enumerate(downloads):
        days = []
        if downloaded < CAMPAIGN_BEGINS and number % 2 == 0:
            used = CAMPAIGN_BEGINS + pd.Timedelta(days=number % CAMPAIGN_DAYS, hours=12)
            days += [(used, CAMPAIGN), (used + pd.Timedelta(days=2), None)]  # its effect is that they come again
        if number % 5 == 0:
            days.append((ODD_DAY + pd.Timedelta(minutes=4 * number), None))
        if f"c{number:03}" == REGULAR:
            days += [(ODD_DAY - pd.Timedelta(days=day, hours=-8), None) for day in range(REGULAR_DAYS)]
        for at, promotion in days:
            yield {
                "client": f"c{number:03}",
                "session_start_date": at,
                "has_purchased": True,
                "payment_amount": 20.0 + number % 7,
                "discount_amount": 4.0 if promotion else 0.0,
                "dimension_region": REGIONS[number % 3],
                "promotion_id": promotion,
            }
    for day, amount in [
        *((day, ORDINARY_AMOUNT) for day in (95, 85, 75, 65)),
        (34, DEARER_AMOUNT),
        (20, DEARER_AMOUNT),
    ]:
        yield {
            "client": DEARER,
            "session_start_date": ODD_DAY - pd.Timedelta(days=day, hours=-8),
            "has_purchased": True,
            "payment_amount": amount,
            "discount_amount": 0.0,
            "dimension_region": REGIONS[int(DEARER[1:]) % 3],
            "promotion_id": None,
        }


Reports = dict[tuple[str, str], Report]  # by the name of the analysis and the type of the report


@dataclass(frozen=True)
class Published:
    """A node that holds the reports, and the reports as the analyses have returned them."""

    url: str
    reports: Reports


def write_all_reports(url: str, tables: Tables, as_of: date) -> Reports:
    """Run every analysis and publish its reports; what they have returned."""
    written: Reports = {}
    with connect(url) as client:
        modules = {one.name: one.module for one in catalogue.analyses()} | {"runs": runs}
        ensure_reports(client, {name: getattr(module, "FIELDS", {}) for name, module in modules.items()})
        for name, module in modules.items():
            settings = getattr(module, "SETTINGS", {})
            reports = sample_reports() if module is runs else getattr(module, name)(tables, as_of=as_of, **settings)
            for report_type in module.REPORTS:
                written[name, report_type.type] = reports[report_type.type]
                write_report(
                    client,
                    name,
                    report_type,
                    reports[report_type.type],
                    report_date=as_of,
                    run_id=RUN_ID,
                    written_at=WRITTEN_AT,
                    parameters=settings,
                    fields=getattr(module, "FIELDS", {}),
                )
        publish_reports(client)
    return written


def remove_reports(client: Elasticsearch, day: date) -> None:
    """Delete every report of a date; the node has no delete-by-query."""
    query = {"term": {"report_date": day.isoformat()}}
    for hit in client.search(index=index_name(REPORTS), query=query, size=1_000)["hits"]["hits"]:
        client.delete(index=index_name(REPORTS), id=hit["_id"], routing=hit["_routing"])
    client.indices.refresh(index=index_name(REPORTS))


def load(url: str, tables: Tables, as_of: date) -> None:
    """Fill `orders` and `downloads`, with the customers' scores."""
    with connect(url) as client, duckdb.connect() as connection:
        for name in ("sessions", "customers", "basket", "deliveries"):
            connection.register(f"{name}_rows", getattr(tables, name).to_pyarrow())
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {name}_rows")
        load_orders(client, connection, snapshot="shop")
        load_downloads(client, connection, snapshot="shop")
        write_scores(client, customer_scores(tables, as_of))


def customer_scores(tables: Tables, as_of: date) -> pd.DataFrame:
    """The scores of every analysis that has some, one row per customer."""
    scoring = [one for one in catalogue.analyses() if hasattr(one.module, "customer_scores")]
    found = [one.module.customer_scores(tables, as_of=as_of).assign(**{f"{one.name}_as_of": as_of}) for one in scoring]
    return side_by_side(found)


@contextmanager
def published_reports(folder: Path) -> Iterator[Published]:
    """A node that holds the sessions, customers and reports of the shop."""
    with elasticsearch_node(folder) as node:
        tables = shop()
        load(node.url, tables, AS_OF)
        yield Published(node.url, write_all_reports(node.url, tables, AS_OF))
