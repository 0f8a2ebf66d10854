"""The bulk writer against a real node, through a proxy that breaks what the network and the node may break."""

import threading
from collections.abc import Iterator

import orjson
import pytest
from elasticsearch import Elasticsearch

import configs
from include.elastic.bulk import DocumentsRejected, bulk_write
from include.elastic.client import ElasticsearchProblem, index_name
from tests.servers import Answer, BusyItems, FaultyProxy, Reset

pytestmark = pytest.mark.contract


def operation(id_: object, document: dict[str, object] | None = None, **meta: object) -> bytes:
    source = {"number": id_} if document is None else document
    return orjson.dumps({"index": {"_id": str(id_), **meta}}) + b"\n" + orjson.dumps(source) + b"\n"


@pytest.fixture
def index(client: Elasticsearch) -> str:
    name = index_name("bulk")
    client.indices.create(index=name, mappings={"dynamic": "strict", "properties": {"number": {"type": "long"}}})
    return name


def count(client: Elasticsearch, index: str) -> int:
    client.indices.refresh(index=index)
    return int(client.count(index=index)["count"])


def test_created_and_updated_are_counted_and_progress_is_told(client: Elasticsearch, index: str) -> None:
    told: list[int] = []
    first = bulk_write(client, map(operation, range(1_000)), index=index, request_bytes=5_000, progress=told.append)
    again = bulk_write(client, map(operation, range(500, 1_500)), index=index)
    assert (first.created, first.updated, first.retries) == (1_000, 0, 0)
    assert (again.created, again.updated) == (500, 500)
    assert sum(told) == 1_000
    assert len(told) > 5
    assert count(client, index) == 1_500


def test_nothing_to_write_sends_nothing(through_proxy: Elasticsearch, proxy: FaultyProxy, index: str) -> None:
    assert bulk_write(through_proxy, [], index=index).accepted == 0
    assert proxy.requests == []


def test_older_versions_are_counted_as_stale(client: Elasticsearch, index: str) -> None:
    def versioned(number: int, version: int) -> bytes:
        return operation("a", {"number": number}, version=version, version_type="external_gte")

    assert bulk_write(client, [versioned(1, 10)], index=index).created == 1
    assert bulk_write(client, [versioned(2, 9)], index=index).stale == 1
    assert client.get(index=index, id="a")["_source"] == {"number": 1}
    assert bulk_write(client, [versioned(3, 10)], index=index).updated == 1


def test_rejected_documents_are_named_and_the_others_written(client: Elasticsearch, index: str) -> None:
    bad = [operation("b1", {"number": "x"}), operation("b2", {"number": "y"}), operation("b3", {"nmuber": 1})]
    with pytest.raises(DocumentsRejected) as raised:
        bulk_write(client, [operation(1), *bad, operation(2)], index=index)
    message = str(raised.value)
    assert "rejected 3 documents" in message
    assert "2 × document_parsing_exception, e.g. `b1`" in message
    assert "1 × strict_dynamic_mapping_exception, e.g. `b3`" in message
    assert "nmuber" in message
    assert not raised.value.retry
    assert count(client, index) == 2


def test_rejections_can_be_looked_at_instead(client: Elasticsearch, index: str) -> None:
    result = bulk_write(
        client, [operation(i, {"number": "x"}) for i in range(8)], index=index, raise_rejected=False, request_bytes=80
    )
    rejection = result.rejections["document_parsing_exception"]
    assert (result.rejected, rejection.count, len(rejection.examples)) == (8, 8, 5)


def test_an_id_that_is_too_long_is_rejected_alone(client: Elasticsearch, index: str) -> None:
    # 300 characters of two bytes: too long; 512 bytes: just right.
    with pytest.raises(DocumentsRejected, match=r"1 × id_too_long, e.g. `ööö.*600"):
        bulk_write(client, [operation("ö" * 300, {}), operation("x" * 512, {}), operation("z", {})], index=index)
    assert count(client, index) == 2


@pytest.mark.parametrize("fault", [Answer(429), Answer(503), Answer(502), Reset(), Reset(after=True)])
def test_a_refused_or_lost_request_is_sent_again(
    through_proxy: Elasticsearch, proxy: FaultyProxy, index: str, fault: Answer | Reset
) -> None:
    proxy.faults.extend([fault] * 3)
    result = bulk_write(through_proxy, map(operation, range(100)), index=index)
    assert result.retries == 3
    assert result.accepted == 100
    assert len(proxy.requests) == 4
    assert count(through_proxy, index) == 100


def test_only_the_documents_the_node_was_too_busy_for_are_sent_again(
    through_proxy: Elasticsearch, proxy: FaultyProxy, index: str
) -> None:
    proxy.faults.extend([BusyItems(30), BusyItems(10)])
    result = bulk_write(through_proxy, map(operation, range(100)), index=index)
    sizes = [int(headers["Content-Length"]) for _, _, headers in proxy.requests]
    assert (result.created, result.updated, result.retries) == (100, 0, 2)  # an update would have been sent twice
    assert sizes[0] > 3 * sizes[1] > 3 * sizes[2]


def test_it_gives_up_in_a_sentence(
    through_proxy: Elasticsearch, proxy: FaultyProxy, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "BULK_RETRIES", 2)
    proxy.faults.extend([Answer(503, {"error": {"type": "x", "reason": "no master"}})] * 3)
    with pytest.raises(ElasticsearchProblem, match=r"answered 503 while writing to .*no master; try again") as raised:
        bulk_write(through_proxy, [operation(1)], index=index)
    assert raised.value.retry
    assert len(proxy.requests) == 3


def test_a_lasting_refusal_is_not_repeated(through_proxy: Elasticsearch, proxy: FaultyProxy, index: str) -> None:
    proxy.faults.extend([Answer(403, {"error": {"type": "security_exception", "reason": "not allowed"}})])
    with pytest.raises(ElasticsearchProblem, match="does not allow"):
        bulk_write(through_proxy, [operation(1)], index=index)
    assert len(proxy.requests) == 1


def test_a_request_that_is_too_large_is_halved(through_proxy: Elasticsearch, proxy: FaultyProxy, index: str) -> None:
    proxy.rule = lambda body: Answer(413) if len(body) > 1_000 else None
    huge = orjson.dumps({"index": {"_id": "huge"}}) + b"\n" + b'{"number":' + b" " * 2_000 + b"1}\n"
    with pytest.raises(DocumentsRejected, match=r"1 × document_too_large, e.g. `huge`"):
        bulk_write(through_proxy, [*map(operation, range(200)), huge], index=index)
    assert count(through_proxy, index) == 200


def test_as_many_requests_are_in_flight_as_allowed(
    through_proxy: Elasticsearch, proxy: FaultyProxy, index: str
) -> None:
    # The gate opens for three requests at a time: fewer in flight and it would never open.
    proxy.gate = threading.Barrier(3)
    operations = [operation(i) for i in range(100, 112)]
    bulk_write(through_proxy, operations, index=index, request_bytes=len(operations[0]), in_flight=3)
    assert proxy.most_at_once == 3
    assert len(proxy.requests) == 12


def test_the_input_is_read_no_further_than_needed(through_proxy: Elasticsearch, proxy: FaultyProxy, index: str) -> None:
    read_before_done: list[int] = []
    done = 0

    def operations() -> Iterator[bytes]:
        for i in range(100, 160):
            read_before_done.append(i - 100 + 1 - done)
            yield operation(i)

    def progress(count: int) -> None:
        nonlocal done
        done += count

    size = len(operation(100))
    bulk_write(through_proxy, operations(), index=index, request_bytes=5 * size, in_flight=2, progress=progress)
    # Two requests of five in flight, five gathered and the one that does not fit any more.
    assert max(read_before_done) <= 16


def test_an_error_in_the_input_stops_and_surfaces(client: Elasticsearch, index: str) -> None:
    def operations() -> Iterator[bytes]:
        yield operation(1)
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        bulk_write(client, operations(), index=index)


def test_an_error_in_a_worker_ends_the_waiting_of_the_others(
    through_proxy: Elasticsearch, proxy: FaultyProxy, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "BULK_RETRY_DELAY_SECONDS", 3_600.0)  # the test would not end before
    proxy.gate = threading.Barrier(2)
    proxy.faults.extend([Answer(429), Answer(401)])
    with pytest.raises(ElasticsearchProblem, match="refused the login"):
        bulk_write(through_proxy, [operation(1), operation(2)], index=index, request_bytes=1, in_flight=2)
