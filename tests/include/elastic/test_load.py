"""Loading a snapshot into a real node."""

from datetime import datetime
from decimal import Decimal

import pandas as pd
import pytest
from elasticsearch import Elasticsearch

from include.elastic.bulk import DocumentsRejected, bulk_write
from include.elastic.client import ElasticsearchProblem, index_name
from include.elastic.indexes import concrete_index
from include.elastic.load import load_downloads, load_orders, write_scores
from tests.include.elastic.snapshot import customer, session, snapshot
from tests.servers import Answer, FaultyProxy

pytestmark = pytest.mark.contract


def sources(client: Elasticsearch, name: str) -> dict[str, dict[str, object]]:
    hits = client.search(index=index_name(name), size=1_000)["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


def test_orders_arrive_and_can_be_searched(client: Elasticsearch) -> None:
    rows = [
        session("s1", dimension_region='No"rth', action_viewed=True, promotion_id="x" * 40_000),
        session('s"2\n😀', dimension_region=None, action_viewed=None, has_purchased=False),
    ]
    basket = [{"order_id": "s1", "product": "tea", "price": Decimal("1.2500"), "quantity": 2.0}]
    deliveries = [
        {"order_id": "s1", "delivery_date": datetime(2024, 1, 3), "latitude": 52.5, "longitude": 13.4},
    ]
    loaded = load_orders(client, snapshot(rows, basket=basket, deliveries=deliveries), snapshot="v1")
    assert (loaded.documents, loaded.sent, loaded.created) == (2, 2, 2)
    assert sources(client, "orders").keys() == {"s1", 's"2\n😀'}
    found = client.search(
        index=index_name("orders"),
        query={"term": {"dimension": 'region: No"rth'}},
        aggs={"paid": {"sum": {"field": "payment_amount"}}, "products": {"sum": {"field": "total_products"}}},
    )
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["s1"]
    assert found["aggregations"]["paid"]["value"] == 12.5
    assert found["aggregations"]["products"]["value"] == 2.0


def test_loading_again_changes_nothing(client: Elasticsearch) -> None:
    connection = snapshot([session(f"s{i}", changed_at=datetime(2024, 3, 1)) for i in range(100)])
    load_orders(client, connection, snapshot="v1")
    before = sources(client, "orders")
    again = load_orders(client, connection, snapshot="v1")
    assert (again.created, again.updated, again.stale, again.documents) == (0, 100, 0, 100)
    assert sources(client, "orders") == before


def test_only_changed_months_are_sent_where_the_index_holds_the_snapshot_before(client: Elasticsearch) -> None:
    old = [session("a", session_start_date=datetime(2024, 1, 1)), session("b", session_start_date=datetime(2024, 2, 1))]
    load_orders(client, snapshot(old), snapshot="v1")
    new = snapshot([*old, session("c", session_start_date=datetime(2024, 2, 2))])
    assert load_orders(client, new, snapshot="v2", changed_since="v1", months=["2024-02"]).sent == 2
    # A retry of the same: the index holds v2 by now.
    assert load_orders(client, new, snapshot="v2", changed_since="v1", months=["2024-02"]).sent == 2
    # The snapshot before is not the one the index holds (a run was left out): everything is sent.
    assert load_orders(client, new, snapshot="v4", changed_since="v3", months=["2024-02"]).sent == 3
    client.indices.delete(index=str(concrete_index(client, "orders")))
    assert load_orders(client, new, snapshot="v5", changed_since="v4", months=["2024-02"]).sent == 3


def test_after_a_broken_load_everything_is_sent(through_proxy: Elasticsearch, proxy: FaultyProxy) -> None:
    old = [session("a", session_start_date=datetime(2024, 1, 1)), session("b", session_start_date=datetime(2024, 2, 1))]
    load_orders(through_proxy, snapshot(old), snapshot="v1")
    proxy.only = "_bulk"
    proxy.faults.append(Answer(403))
    changed = snapshot([{**old[0], "has_purchased": False}, old[1]])
    with pytest.raises(ElasticsearchProblem):
        load_orders(through_proxy, changed, snapshot="v2", changed_since="v1", months=["2024-01"])
    assert load_orders(through_proxy, changed, snapshot="v3", changed_since="v2", months=[]).sent == 2
    assert sources(through_proxy, "orders")["a"]["has_purchased"] is False


def test_a_row_that_changed_earlier_does_not_overwrite(client: Elasticsearch) -> None:
    load_orders(client, snapshot([session(changed_at=datetime(2024, 3, 2), has_purchased=True)]), snapshot="v1")
    late = snapshot([session(changed_at=datetime(2024, 3, 1), has_purchased=False)])
    assert load_orders(client, late, snapshot="v2").stale == 1
    assert sources(client, "orders")["s1"]["has_purchased"] is True


def test_documents_that_are_too_many_are_an_error_with_both_numbers(client: Elasticsearch) -> None:
    loaded = load_orders(client, snapshot([session("a"), session("b")]), snapshot="v1")
    with pytest.raises(ElasticsearchProblem, match=r"holds 2 documents, but 1 sessions are staged"):
        load_orders(client, snapshot([session("a")]), snapshot="v2")
    again = load_orders(client, snapshot([session("a")]), snapshot="v2", refresh_key="run 2")
    assert (again.documents, again.index != loaded.index) == (1, True)
    assert not client.indices.exists(index=loaded.index)


def test_an_id_too_long_is_named_and_the_others_are_there(client: Elasticsearch) -> None:
    with pytest.raises(DocumentsRejected, match=r"rejected 1 document of .*id_too_long.*`yyy"):
        load_orders(client, snapshot([session("a"), session("y" * 513)]), snapshot="v1")
    client.indices.refresh(index=index_name("orders"))
    assert sources(client, "orders").keys() == {"a"}


def test_scores_survive_a_reload_and_a_full_refresh(client: Elasticsearch) -> None:
    customers = [customer("c1", 1, signup_date=datetime(2024, 1, 1)), customer("c2", 2), customer("gone", 3)]
    load_downloads(client, snapshot([session()], customers), snapshot="v1")
    scores = pd.DataFrame({"client": ["c1", "gone"], "recency_days": [5, 6], "rfm_segment": ["best", "lost"]})
    assert write_scores(client, scores).updated == 2
    expected = {"recency_days": 5, "rfm_segment": "best"}
    fewer = snapshot([session()], [customer("c1", 1), customer("c2", 2), customer("c3", 3)])
    client.delete(index=index_name("downloads"), id="gone")
    load_downloads(client, fewer, snapshot="v2")
    found = sources(client, "downloads")
    assert found["c1"]["scores"] == expected
    assert found["c1"]["signup_date"] is None  # it was there before, and the source has it no more
    load_downloads(client, fewer, snapshot="v2", refresh_key="run 3")
    found = sources(client, "downloads")
    assert found["c1"]["scores"] == expected
    assert found.keys() == {"c1", "c2", "c3"}
    assert "scores" not in found["c3"]


def test_a_score_of_an_unknown_customer_is_named(client: Elasticsearch) -> None:
    load_downloads(client, snapshot([session()]), snapshot="v1")
    with pytest.raises(DocumentsRejected, match=r"document_missing_exception, e.g. `nobody`"):
        write_scores(client, pd.DataFrame({"client": ["nobody"], "frequency": [1]}))


def test_a_reader_never_sees_a_full_refresh_half_done(client: Elasticsearch) -> None:
    load_orders(client, snapshot([session("a"), session("b")]), snapshot="v1")
    fresh = snapshot([session("c"), session("y" * 600)])
    with pytest.raises(DocumentsRejected):
        load_orders(client, fresh, snapshot="v2", refresh_key="run 2")
    assert sources(client, "orders").keys() == {"a", "b"}


def test_progress_is_told(client: Elasticsearch) -> None:
    told: list[int] = []
    load_orders(client, snapshot([session(f"s{i}") for i in range(10)]), snapshot="v1", progress=told.append)
    assert sum(told) == 10


def test_concurrent_updates_of_one_customer_all_arrive(client: Elasticsearch) -> None:
    load_downloads(client, snapshot([session()]), snapshot="v1")
    update = b'{"update":{"_id":"c1"}}\n{"doc":{"scores":{"frequency":%d}}}\n'
    operations = [update % i for i in range(200)]
    result = bulk_write(client, operations, index=index_name("downloads"), request_bytes=1, in_flight=8)
    assert (result.stale, result.updated) == (0, 200)
