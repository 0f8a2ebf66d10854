"""Whole runs of the DAG on hand-made folders: all four kinds of source, and the two required ones alone."""

import re
import threading
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models import DagRun
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType

import configs
from include.dashboards.quarantine import read_quarantine as quarantine_shown
from include.elastic.client import connect
from include.elastic.node import EmbeddedNode
from include.quality.quarantine import SCHEMA
from tests.checksums import checksum, documents
from tests.end_to_end.conftest import THE_REQUIRED_ONLY, WITHOUT_KIBANA, run, skipped, states
from tests.read_back import check_analyses_of_snapshot

pytestmark = pytest.mark.end_to_end

EVERYTHING = {
    "sources.yaml": """
        sessions:
          connector: csv
          path: sessions/*.csv
          columns:
            id: session
            client: customer
            session_start_date: began
            has_purchased: {column: status, is: [paid, shipped]}
            payment_amount: total
            discount_amount: rebate
            promotion_id: coupon
            end_date: ended
          dimensions: {region: shop_region, device: device}
          actions: [viewed, added]
          csv: {timezone: Europe/Berlin}
        customers:
          connector: csv
          path: customers.csv
          columns: {client: customer, download_date: downloaded, signup_date: signed_up}
          actions: [first_login]
        products:
          connector: csv
          path: products.csv
          columns: {order_id: session, product: name, price: price, category: category, quantity: quantity}
        deliveries:
          connector: csv
          path: deliveries.csv
          columns:
            order_id: session
            delivery_date: delivered
            prepare_date: prepared
            latitude: lat
            longitude: lon
    """,
    "sessions/1.csv": """
        session;customer;began;ended;status;total;rebate;coupon;shop_region;device;viewed;added
        s1;ann;2024-03-01 10:00;2024-03-01 10:20;paid;20,50;1,00;SPRING;North;phone;yes;yes
        s2;bob;2024-03-02 11:00;2024-03-02 11:05;open;;;;South;desktop;yes;no
        s3;ann;2024-03-09 12:00;2024-03-09 12:30;shipped;30,00;;;North;phone;yes;yes
    """,
    "sessions/2.csv": """
        customer;session;began;ended;status;total;rebate;coupon;shop_region;device;viewed;added
        cyd;s4;2024-03-31 23:30;2024-03-31 23:40;paid;5,25;0,25;SPRING;;phone;no;yes
        cyd;s5;2024-04-02 08:00;2024-04-02 08:10;paid;abc;;;South;phone;yes;yes
    """,
    "customers.csv": """
        customer,downloaded,signed_up,first_login
        ann,2024-02-20,2024-02-21,2024-02-21 09:00
        bob,2024-02-25,,
        cyd,2024-03-30,2024-03-30,
    """,
    "products.csv": """
        session,name,category,price,quantity
        s1,tea,drinks,8.25,2
        s1,mug,kitchen,5.00,1
        s3,mug,kitchen,30.00,1
    """,
    "deliveries.csv": """
        session,prepared,delivered,lat,lon
        s1,2024-03-01 12:00,2024-03-02 12:00,52.5,13.4
    """,
}
REQUIRED_ONLY = {
    "sources.yaml": """
        sessions:
          connector: csv
          path: s.csv
          columns: {id: id, client: c, session_start_date: d, has_purchased: {constant: true}, payment_amount: a}
        customers: {connector: csv, path: c.csv, columns: {client: c, download_date: d}}
    """,
    "s.csv": "id,c,d,a\n1,x,2024-01-01,10\n2,x,2024-01-05,20\n3,y,2024-01-05,30\n",
    "c.csv": "c,d\nx,2024-01-01\ny,2024-01-02\n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        lines = text.strip("\n").splitlines()
        margin = len(lines[0]) - len(lines[0].lstrip())
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(line[margin:] for line in lines if line.strip()) + "\n", encoding="utf-8")


def test_all_four_kinds(folder: Path, node: EmbeddedNode) -> None:
    write(folder, EVERYTHING)
    finished = run()
    assert skipped(finished) == WITHOUT_KIBANA

    orders = documents(node.url, "orders")
    assert sorted(orders) == ["s1", "s2", "s3", "s4"]  # s5's amount is no number
    assert orders["s1"] == {
        "client": "ann",
        "session_start_date": "2024-03-01T09:00:00Z",
        "end_date": "2024-03-01T09:20:00Z",
        "has_purchased": True,
        "payment_amount": 20.5,
        "discount_amount": 1.0,
        "promotion_id": "SPRING",
        "dimension": ["all", "region: North", "device: phone"],
        "actions": {"viewed": True, "added": True},
        "basket": [
            {"product": "mug", "category": "kitchen", "price": 5.0, "quantity": 1.0},
            {"product": "tea", "category": "drinks", "price": 8.25, "quantity": 2.0},
        ],
        "total_products": 3.0,
        "delivery": {
            "delivery_date": "2024-03-02T11:00:00Z",
            "prepare_date": "2024-03-01T11:00:00Z",
            "location": {"lat": 52.5, "lon": 13.4},
            "prepare_hours": 2.0,
            "ride_hours": 24.0,
            "delivery_hours": 26.0,
        },
    }
    assert orders["s2"]["has_purchased"] is False
    assert "payment_amount" not in orders["s2"]
    assert orders["s4"]["dimension"] == ["all", "region: (unknown)", "device: phone"]

    downloads = documents(node.url, "downloads")
    assert sorted(downloads) == ["ann", "bob", "cyd"]
    assert downloads["ann"]["dimension"] == ["all", "region: North", "device: phone"]
    assert downloads["ann"]["scores"]["monetary_total"] == 50.5
    assert "scores" not in downloads["bob"]  # never ordered

    # As of 30 March: the newest session is on 31 March, a day that may go on.
    activity = {"bool": {"filter": [{"term": {"type": "activity"}}, {"term": {"granularity": "month"}}]}}
    march = {one["dimension"]: one for one in documents(node.url, "reports-latest", activity).values()}
    assert {name: one["orders"] for name, one in march.items() if one["period"] == "2024-03-01"} == {
        "all": 2,
        "region: North": 2,
        "region: South": 0,
        "device: phone": 2,
        "device: desktop": 0,
    }
    assert march["all"]["revenue"] == 50.5
    assert march["all"]["is_complete"] is False

    quarantined = sorted(Path(configs.STAGING_URL).rglob("quarantine/**/*.parquet"))
    rows = [row for path in quarantined for row in read_quarantine(path)]
    assert [(row["source"], row["row"], row["rules"]) for row in rows] == [
        ("sessions", 3, ["payment_amount_not_a_number"])
    ]
    assert (Path(configs.DATA_DOCS_DIR) / "index.html").exists()

    # The same again: the same documents. With fewer dimensions and one analysis: those alone change.
    before = checksum(node.url, "orders", "downloads")
    assert states(run(analyses=["rfm"]))["publish"] == "success"
    assert checksum(node.url, "orders", "downloads") == before
    narrowed = states(run(dimensions=["region"], analyses=["rfm"], as_of="2024-03-15"))
    assert narrowed["exploratory.rfm"] == "success"
    assert narrowed["exploratory.cohorts"] == "skipped"


def read_quarantine(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    assert table.schema.names == SCHEMA.names
    return list(table.to_pylist())


def test_the_two_required_sources_and_nothing_else(
    folder: Path, node: EmbeddedNode, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, REQUIRED_ONLY)
    finished = run()
    assert skipped(finished) == THE_REQUIRED_ONLY
    parameters, cluster, *found = [one.getMessage() for one in caplog.records if one.name == "include.pipeline.check"]
    assert re.fullmatch(r"parameters: manual run \S+; dimensions none; analyses churn, cohorts, .*", parameters)
    assert re.fullmatch(rf"Elasticsearch: {node.url}, version 8\.19\.\d+, green, one node", cluster)
    assert f"sources.yaml: {folder}/sources.yaml has sessions, customers" in found
    of_sessions = [line for line in found if line.startswith("sessions: ")]
    assert of_sessions[0].startswith("sessions: s.csv, 0.0 MB, about 3 rows, last written 20")
    assert of_sessions[1:] == [
        (
            "sessions: ours = yours: id = id, client = c, session_start_date = d, has_purchased = {constant: true}, "
            "payment_amount = a"
        ),
        (
            'sessions: read with delimiter ",", encoding utf-8, times without a zone as of Europe/Berlin, '
            'decimal ".", dates iso (session_start_date)'
        ),
    ]
    assert len(documents(node.url, "orders")) == 3
    assert len(documents(node.url, "downloads")) == 2
    headers = documents(node.url, "reports-latest", {"term": {"is_header": True}}).values()
    assert {
        header["dimension"] if isinstance(header["dimension"], str) else tuple(header["dimension"])
        for header in headers
    } <= {"all", ("all",)}
    of_the_data = [header for header in headers if header["report_name"] != "runs"]  # those are of the run's own day
    assert {date.fromisoformat(header["report_date"]) for header in of_the_data} == {date(2024, 1, 5)}
    with connect(node.url) as client:
        of_each = check_analyses_of_snapshot(client, ())
    assert set().union(*of_each.values()) == {"all"}
    assert not {"product_analytics", "promotion_analytics", "delivery_analytics"} & of_each.keys()


def test_what_is_wrong_is_said_at_once_and_nothing_is_loaded(
    folder: Path, node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = dict(REQUIRED_ONLY)
    files["sources.yaml"] = files["sources.yaml"].replace("payment_amount: a}", "payment_amount: amount}")
    write(folder, files)
    (folder / "c.csv").unlink()
    monkeypatch.setattr(configs, "TEMPORARY_FREE_BYTES", 10**18)
    found = states(run())
    assert found["check"] == "failed"
    assert {state for name, state in found.items() if name not in ("check", "publish")} == {"upstream_failed"}
    said = caplog.text
    assert "s.csv has no column 'amount'" in said
    assert "c.csv" in said
    assert "TEMPORARY_DIR" in said


def test_elasticsearch_killed_while_indexing_ends_in_the_same_documents(
    folder: Path, node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{number},c{number % 500},2024-01-{number % 28 + 1:02d},{number % 97}" for number in range(20_000)]
    write(folder, REQUIRED_ONLY)
    (folder / "s.csv").write_text("\n".join(["id,c,d,a", *rows]) + "\n", encoding="utf-8")
    clients = [f"c{number},2024-01-01" for number in range(500)]
    (folder / "c.csv").write_text("\n".join(["c,d", *clients]) + "\n", encoding="utf-8")
    assert states(run(analyses=[]))["publish"] == "success"
    expected = checksum(node.url, "orders", "downloads")

    # Small requests, so that there is time to kill it between two of them.
    monkeypatch.setattr(configs, "BULK_REQUEST_BYTES", 20_000)
    progress = folder.parent / "progress"
    monkeypatch.setattr(configs, "PROGRESS_DIR", str(progress))

    def kill_while_indexing() -> None:
        while not (progress / "index_orders.json").exists():
            stop.wait(0.005)
        node.kill()

    stop = threading.Event()
    killer = threading.Thread(target=kill_while_indexing)
    killer.start()
    broken = states(run(full_refresh=True, analyses=[]))
    killer.join()
    node.start()
    assert "failed" in {broken["index_orders"], broken["index_downloads"]}
    assert states(run(full_refresh=True, analyses=[]))["publish"] == "success"
    assert checksum(node.url, "orders", "downloads") == expected


def replay(**conf: Any) -> dict[str, str]:
    finished: DagRun = DagBag(str(configs.PROJECT_ROOT / "dags")).dags["replay_quarantine"].test(run_conf=conf)
    return states(finished)


def rules_of_the_first_run(node: EmbeddedNode) -> dict[str, int]:
    """What the page shows of the oldest run: rows by rule."""
    with connect(node.url) as client:
        oldest = quarantine_shown(client)["runs"][-1]["key"]
        shown = quarantine_shown(client, oldest)["sources"]
    return {rule["rule"]: rule["rows"] for one in shown for rule in one["rules"]}


# The tests before wrote other versions of the DAG, and a run that Airflow did not make belongs to none of them.
@pytest.mark.filterwarnings("ignore:Multiple rows returned:sqlalchemy.exc.SAWarning")
def test_what_was_set_aside_comes_in_later(folder: Path, node: EmbeddedNode) -> None:
    """A load that is stopped for its bad rows, one that goes well, and replays of what was set aside."""
    write(folder, REQUIRED_ONLY)
    (folder / "s.csv").write_text("id,c,d,a\n1,x,2024-01-01,10\n2,x,2024-01-05,20 EUR\n3,z,2024-01-05,30.10\n")
    stopped = states(run(analyses=[], dry_run=True))
    assert (stopped["sessions.validate"], stopped["index_quarantine"]) == ("failed", "success")
    assert rules_of_the_first_run(node) == {"payment_amount_with_currency": 1, "client_unknown": 1}

    # The next files have other sessions, and the customer who was unknown.
    (folder / "s.csv").write_text("id,c,d,a\n4,x,2024-01-06,40\n")
    (folder / "c.csv").write_text("c,d\nx,2024-01-01\nz,2024-01-02\n")
    assert states(run(analyses=[]))["publish"] == "success"
    assert sorted(documents(node.url, "orders")) == ["4"]

    watermarks = (Path(configs.STAGING_URL) / "watermarks.json").read_text()
    done = replay(analyses=["rfm"])
    assert {state for name, state in done.items() if "." not in name} == {"success"}
    orders = documents(node.url, "orders")
    assert sorted(orders) == ["3", "4"]
    assert orders["3"]["payment_amount"] == 30.1
    assert documents(node.url, "downloads")["z"]["scores"]["monetary_total"] == 30.1
    assert rules_of_the_first_run(node) == {"payment_amount_with_currency": 1}
    assert (Path(configs.STAGING_URL) / "watermarks.json").read_text() == watermarks  # no source was read

    before = checksum(node.url, "orders", "downloads", "quarantine")
    again = replay(analyses=["rfm"])
    assert (again["stage"], again["publish"], again["mark"]) == ("skipped", "skipped", "success")
    assert checksum(node.url, "orders", "downloads", "quarantine") == before

    # While a load is at work, a replay does not begin.
    with create_session() as session:
        at_work = DagRun(
            dag_id="customer_analytics",
            run_id="at-work",
            run_type=DagRunType.MANUAL,
            run_after=datetime(2024, 1, 1, tzinfo=UTC),
            state="running",
        )
        session.add(at_work)
    try:
        stopped = replay()
    finally:
        with create_session() as session:
            session.delete(at_work)
    assert (stopped["check"], stopped["revalidate"]) == ("failed", "upstream_failed")
