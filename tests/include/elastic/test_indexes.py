"""The life of the indexes on a real node."""

from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch

import configs
from include.elastic.client import ElasticsearchProblem, index_name
from include.elastic.indexes import (
    begin_refresh,
    concrete_index,
    ensure,
    ensure_reports,
    finish_refresh,
    note,
    notes,
    verify_counts,
)
from include.schemas.indexes import downloads_mapping, orders_mapping
from include.schemas.reports import Field

pytestmark = pytest.mark.contract
ORDERS = orders_mapping({"viewed": "boolean"})


def ours(client: Elasticsearch) -> set[str]:
    return {index.removeprefix(configs.INDEX_PREFIX) for index in client.indices.get(index=index_name("*"))}


def properties(client: Elasticsearch, name: str) -> dict[str, Any]:
    ((_, found),) = client.indices.get_mapping(index=index_name(name)).body.items()
    return dict(found["mappings"]["properties"])


def test_an_index_is_made_behind_its_alias_and_found_again(client: Elasticsearch) -> None:
    assert concrete_index(client, "orders") is None
    made = ensure(client, "orders", ORDERS)
    assert ensure(client, "orders", ORDERS) == made == concrete_index(client, "orders") == index_name("orders-first")
    settings = client.indices.get_settings(index=made, flat_settings=True)[made]["settings"]
    assert settings["index.max_result_window"] == str(configs.MAX_RESULT_WINDOW)
    assert settings["index.number_of_replicas"] == "0"


def test_a_hand_made_index_gets_the_mapping_from_the_template(client: Elasticsearch) -> None:
    ensure(client, "downloads", downloads_mapping({"opened": "date"}))
    client.indices.create(index=index_name("downloads-by-hand"))
    assert properties(client, "downloads-by-hand") == properties(client, "downloads")
    with pytest.raises(BadRequestError, match="strict_dynamic_mapping_exception"):
        client.index(index=index_name("downloads-by-hand"), document={"unknown": 1})


def test_new_fields_and_settings_are_added(client: Elasticsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ensure(client, "orders", ORDERS)
    monkeypatch.setattr(configs, "MAX_RESULT_WINDOW", 20_000)
    assert ensure(client, "orders", orders_mapping({"added": "date"})) == made
    assert properties(client, "orders")["actions"]["properties"].keys() == {"viewed", "added"}
    settings = client.indices.get_settings(index=made, flat_settings=True)[made]["settings"]
    assert settings["index.max_result_window"] == "20000"


def test_a_field_that_changes_its_type_is_told_in_a_sentence(client: Elasticsearch) -> None:
    ensure(client, "orders", ORDERS)
    with pytest.raises(ElasticsearchProblem, match=r"holds `actions.viewed` as boolean, but it is date now; run once"):
        ensure(client, "orders", orders_mapping({"viewed": "date"}))


def test_too_many_fields_are_told_in_a_sentence(client: Elasticsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(client, "orders", ORDERS)
    monkeypatch.setattr(configs, "TOTAL_FIELDS_LIMIT", 40)
    with pytest.raises(ElasticsearchProblem, match=r"orders` would have too many fields; raise TOTAL_FIELDS_LIMIT"):
        ensure(client, "orders", orders_mapping({f"action {i}": "date" for i in range(40)}))


def test_an_index_that_is_not_ours_is_left_alone(client: Elasticsearch) -> None:
    client.indices.create(index=index_name("orders"))
    with pytest.raises(ElasticsearchProblem, match=r"There is an index `.*orders` that is not from here; set INDEX"):
        ensure(client, "orders", ORDERS)


def test_a_full_refresh_swaps_and_removes_only_what_is_ours(client: Elasticsearch) -> None:
    client.indices.create(index=index_name("orders-of-2019"))  # before our template: somebody else's
    before = ensure(client, "orders", ORDERS)
    client.index(index=index_name("orders"), id="old", document={"client": "a"}, refresh=True)
    killed = begin_refresh(client, "orders", ORDERS, key="a run that was killed")
    fresh = begin_refresh(client, "orders", orders_mapping({"viewed": "date"}), key="run 2")
    client.index(index=fresh, id="new", document={"client": "b"}, refresh=True)
    assert client.exists(index=index_name("orders"), id="old")
    assert ours(client) == {name.removeprefix(configs.INDEX_PREFIX) for name in (before, killed, fresh)} | {
        "orders-of-2019"
    }
    finish_refresh(client, "orders", fresh)
    assert concrete_index(client, "orders") == fresh
    assert [hit["_id"] for hit in client.search(index=index_name("orders"))["hits"]["hits"]] == ["new"]
    assert ours(client) == {fresh.removeprefix(configs.INDEX_PREFIX), "orders-of-2019"}


def test_a_repeated_refresh_begins_anew_until_it_is_finished(client: Elasticsearch) -> None:
    first = begin_refresh(client, "orders", ORDERS, key="run")
    client.index(index=first, id="half", document={}, refresh=True)
    assert begin_refresh(client, "orders", ORDERS, key="run") == first
    assert not client.exists(index=first, id="half")
    client.index(index=first, id="whole", document={}, refresh=True)
    finish_refresh(client, "orders", first)
    assert begin_refresh(client, "orders", ORDERS, key="run") == first  # a retry after the swap: nothing may be lost
    assert client.exists(index=index_name("orders"), id="whole")
    finish_refresh(client, "orders", first)
    assert concrete_index(client, "orders") == first


def test_what_was_noted_about_an_index_is_read_back(client: Elasticsearch) -> None:
    made = ensure(client, "orders", ORDERS)
    note(client, made, {"snapshot": "v1"})
    ensure(client, "orders", ORDERS)
    assert notes(client, made) == {"made_by": "customer-analytics", "snapshot": "v1"}
    note(client, made, {})
    assert notes(client, made) == {"made_by": "customer-analytics"}


def test_reports_are_seen_through_their_filtered_alias_after_a_refresh_only(client: Elasticsearch) -> None:
    for _ in range(2):
        ensure_reports(client, {"rfm": {"segment": Field("keyword", "")}})
    ensure_reports(client, {"rfm": {"segment": Field("keyword", ""), "score": Field("long", "")}})
    assert properties(client, "reports")["score"] == {"type": "long"}
    for id_, latest in (("old", False), ("new", True)):
        client.index(index=index_name("reports"), id=id_, document={"is_latest": latest})
    assert client.count(index=index_name("reports"))["count"] == 0
    client.indices.refresh(index=index_name("reports"))
    assert client.count(index=index_name("reports"))["count"] == 2
    hits = client.search(index=index_name("reports-latest"))["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == ["new"]


def test_a_lost_alias_of_reports_is_put_back(client: Elasticsearch) -> None:
    ensure_reports(client, {})
    client.indices.delete_alias(index=index_name("reports"), name=index_name("reports-latest"))
    ensure_reports(client, {})
    assert client.indices.exists_alias(name=index_name("reports-latest"))


def test_counts_that_differ_are_both_named(client: Elasticsearch) -> None:
    made = ensure(client, "orders", ORDERS)
    client.index(index=made, id="1", document={})
    assert verify_counts(client, made, 1, what="sessions") == 1
    with pytest.raises(ElasticsearchProblem, match="holds 1 documents, but 1,000 sessions are staged"):
        verify_counts(client, made, 1_000, what="sessions")
