"""Whole runs of the DAG on the ready-made data sets: every row of the input is accounted for, every sum is equal."""

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser

import configs
from include import catalogue
from include.dashboards.boards import read_dashboard
from include.dashboards.dashboard import dashboards
from include.datasets.completejourney import SHOP_TIMEZONE, tables_folder, write_completejourney
from include.datasets.shop.parameters import Shop
from include.datasets.shop.writing import write_shop
from include.elastic.client import connect
from include.elastic.node import EmbeddedNode
from include.measures.dimension import OTHER, UNKNOWN
from tests.airflow_server import AirflowServer
from tests.checksums import documents
from tests.drawn_panels import check_dimension_value
from tests.end_to_end.conftest import WITHOUT_KIBANA, look_at_every_dashboard, run, skipped, states
from tests.looks import LOOKS
from tests.page_in_browser import PAGE, logged_in, shown
from tests.read_back import check_analyses_of_snapshot

pytestmark = pytest.mark.end_to_end

DIMENSIONS = ("region", "device", "channel")  # all that the simulated shop has


def money(documents: list[dict[str, Any]], field: str) -> Decimal:
    """The sum to the cent: a double's shortest text is the amount that was written."""
    return sum((Decimal(str(one[field])) for one in documents if field in one), Decimal(0))


def quarantined() -> dict[str, dict[str, Any]]:
    """Per source: the rows set aside, and how many broke each rule, counted from the files."""
    found: dict[str, dict[str, Any]] = {}
    for file in Path(configs.STAGING_URL).rglob("quarantine/**/*.parquet"):
        for row in pq.read_table(file).to_pylist():
            one = found.setdefault(row["source"], {"rows": 0, "by_rule": Counter()})
            one["rows"] += 1
            one["by_rule"].update(row["rules"])
    return found


@pytest.mark.timeout(7200)  # a whole run, and some 170 dashboards drawn
def test_the_simulated_shop(
    folder: Path, node: EmbeddedNode, airflow: AirflowServer, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", "UTC")
    truth = write_shop(folder, sessions=20_000, seed=5)
    assert skipped(run(dimensions=list(DIMENSIONS))) == WITHOUT_KIBANA

    orders, downloads = documents(node.url, "orders"), documents(node.url, "downloads")
    totals = truth["totals"]
    bought = [order for order in orders.values() if order["has_purchased"]]
    assert len(orders) == totals["sessions"] == truth["sources"]["sessions"]["good"]
    assert len(bought) == totals["orders"]
    assert len(downloads) == totals["customers"] == truth["sources"]["customers"]["good"]
    assert money(bought, "payment_amount") == Decimal(totals["revenue"])
    assert money(bought, "discount_amount") == Decimal(totals["discount"])
    lines = [line for order in orders.values() for line in order.get("basket", [])]
    assert len(lines) == totals["lines"] == truth["sources"]["products"]["good"]
    assert sum(line["quantity"] for line in lines) == totals["units"]
    paid_for = sum(Decimal(str(line["price"])) * Decimal(str(line["quantity"])) for line in lines)
    assert paid_for == Decimal(totals["revenue"]) + Decimal(totals["discount"])
    assert sum("delivery" in order for order in orders.values()) == totals["deliveries"]

    found = quarantined()
    for source, known in truth["sources"].items():
        assert found[source]["rows"] == known["quarantined"] == known["read"] - known["good"], source
        assert found[source]["by_rule"] == known["by_rule"], source

    look_at_every_dashboard(browser, airflow.url, airflow.login, node.url, "demo", judged=LOOKS[1::2])
    with connect(node.url) as client, logged_in(browser, airflow.url, airflow.login, *LOOKS[0]) as page:
        of_each = check_analyses_of_snapshot(client, DIMENSIONS)
        assert of_each.keys() == {one.name for one in catalogue.analyses()}
        page.goto(f"{airflow.url}/{PAGE}")
        shown(page)
        # Each dashboard that is broken down with all regions, and with one value of each other column in turn.
        drawn_of: Counter[str] = Counter()
        for number, one in enumerate(dashboards()):
            offered = read_dashboard(client, one)["dimensions"]
            for column in DIMENSIONS:
                own = [value for value in offered if value.startswith(f"{column}: ")]
                turn = number % max(len(own), 1)
                for value in own if column == "region" else own[turn : turn + 1]:
                    drawn_of[value] += check_dimension_value(page, client, one.name, value) > 0
        shop = Shop()
        names = {"region": shop.regions, "device": shop.devices, "channel": shop.channels}
        values = {f"{name}: {one.name}" for name, own in names.items() for one in own if one.name is not None}
        assert {value for value in drawn_of if not value.endswith((OTHER, UNKNOWN))} == values
        assert min(drawn_of[value] for value in values) > 1
        assert min(drawn_of[f"region: {region.name}"] for region in shop.regions) > 10


def test_the_complete_journey(
    folder: Path, node: EmbeddedNode, airflow: AirflowServer, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", SHOP_TIMEZONE)
    write_completejourney(folder)
    finished = states(run(dimensions=["income"]))
    assert "failed" not in finished.values()
    assert finished["machine_learning.clv_prediction"] == finished["publish"] == "success"

    tables = tables_folder()
    assert tables is not None
    names = ["basket_id", "household_id", "quantity", "sales_value", "retail_disc", "coupon_match_disc"]
    lines = pq.read_table(tables / "transactions.parquet", columns=names).to_pandas()
    cents = {name: int((lines[name] * 100).round().sum()) for name in names[3:]}
    assert (len(lines), lines.basket_id.nunique(), lines.household_id.nunique()) == (1_469_307, 155_848, 2_469)

    orders = list(documents(node.url, "orders").values())
    assert len(orders) == 155_848
    assert len(documents(node.url, "downloads")) == 2_469
    assert money(orders, "payment_amount") * 100 == cents["sales_value"]
    assert money(orders, "discount_amount") * 100 == cents["retail_disc"] + cents["coupon_match_disc"]
    without_quantity = int((lines.quantity <= 0).sum())
    assert sum(len(order.get("basket", [])) for order in orders) == len(lines) - without_quantity
    assert quarantined() == {"products": {"rows": without_quantity, "by_rule": {"quantity_not_positive": 8_869}}}

    looks = LOOKS[::2]  # wide and light, narrow and dark
    empty = {"delivery_analytics"}
    look_at_every_dashboard(browser, airflow.url, airflow.login, node.url, "completejourney", looks=looks, empty=empty)
