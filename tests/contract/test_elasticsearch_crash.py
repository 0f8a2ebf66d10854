"""Elasticsearch is killed (as a power cut would) while it is written to; repeating the work ends in the same state."""

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pandas as pd
import pytest
from elasticsearch import Elasticsearch

import configs
from include.elastic.client import ElasticsearchProblem, connect
from include.elastic.documents import order_documents
from include.elastic.indexes import ensure_reports
from include.elastic.load import load_orders
from include.elastic.node import EmbeddedNode
from include.elastic.reports import publish_reports, read_rows, recover_reports, write_report
from include.schemas.reports import Report, ReportType
from tests.checksums import checksum
from tests.include.elastic.snapshot import session, snapshot
from tests.servers import elasticsearch_node

pytestmark = pytest.mark.contract

SESSIONS = 20_000
WEEKLY = ReportType("weekly", "Orders", ("dimension", "orders"), ("orders",))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNode]:
    """A node of its own: other tests' would not like to be killed."""
    with elasticsearch_node(tmp_path_factory.mktemp("elasticsearch"), heap_mb=256) as running:
        yield running


@pytest.fixture
def client(node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elasticsearch]:
    monkeypatch.setattr(configs, "BULK_REQUEST_BYTES", 50_000)
    monkeypatch.setattr(configs, "BULK_RETRY_DELAY_SECONDS", 0.05)
    with connect(node.url) as connected:
        yield connected


class KilledAfter:
    """Kills the node once so many documents have been written; and starts it again where `restart` says so."""

    def __init__(self, node: EmbeddedNode, documents: int, *, restart: bool) -> None:
        self.node, self.documents, self.restart = node, documents, restart
        self.done = 0
        self.thread: threading.Thread | None = None

    def __call__(self, count: int) -> None:
        self.done += count
        if self.done >= self.documents and self.thread is None:
            self.node.kill()
            self.thread = threading.Thread(target=self.node.start if self.restart else lambda: None)
            self.thread.start()


def test_a_load_that_is_interrupted_and_repeated_ends_in_the_same_checksum(
    node: EmbeddedNode, client: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = snapshot([session(f"s{i}", dimension_region=f"r{i % 5}") for i in range(SESSIONS)])
    loaded = load_orders(client, connection, snapshot="v1")
    expected = checksum(node.url, "orders")
    client.indices.delete(index=loaded.index)

    monkeypatch.setattr(configs, "BULK_RETRIES", 1)
    killed = KilledAfter(node, SESSIONS // 3, restart=False)
    with pytest.raises(ElasticsearchProblem, match="did not answer while writing") as raised:
        load_orders(client, connection, snapshot="v1", progress=killed)
    assert raised.value.retry
    node.start()
    again = load_orders(client, connection, snapshot="v1")
    assert 0 < again.created < SESSIONS  # some had arrived and outlived the kill
    assert again.documents == SESSIONS
    assert checksum(node.url, "orders") == expected


def test_a_node_that_comes_back_in_time_is_not_even_noticed(
    node: EmbeddedNode, client: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer's own retries carry the load through a restart."""
    monkeypatch.setattr(configs, "BULK_RETRIES", 200)
    monkeypatch.setattr(configs, "BULK_RETRY_DELAY_SECONDS", 0.01)
    monkeypatch.setattr("include.elastic.bulk.LONGEST_PAUSE_SECONDS", 0.5)
    connection = snapshot([session(f"s{i}", dimension_region=f"r{i % 5}") for i in range(SESSIONS)])
    loaded = load_orders(client, connection, snapshot="v1")
    expected = checksum(node.url, "orders")
    client.indices.delete(index=loaded.index)
    killed = KilledAfter(node, SESSIONS // 3, restart=True)
    loaded = load_orders(client, connection, snapshot="v1", progress=killed)
    assert killed.thread is not None
    killed.thread.join()
    assert loaded.retries > 0
    assert loaded.documents == SESSIONS
    assert checksum(node.url, "orders") == expected


def test_reports_are_whole_after_a_kill_at_any_step(node: EmbeddedNode, client: Elasticsearch) -> None:
    ensure_reports(client, {})

    def write(count: int, day: int) -> str:
        frame = pd.DataFrame({"dimension": ["all"] * count, "orders": range(count)})
        return write_report(
            client, "cohorts", WEEKLY, Report(frame), report_date=date(2024, 1, day), run_id="run",
            written_at=datetime(2024, 2, 1, tzinfo=UTC), parameters={},
        ).version  # fmt: skip

    old = write(50, day=1)
    publish_reports(client)
    new = write(70, day=2)
    node.kill()  # after the writing, before the publishing
    node.start()
    recover_reports(client)
    assert {(row["version"], row["is_latest"]) for row in read_rows(client, "cohorts", "weekly")} == {(new, True)}
    assert len(read_rows(client, "cohorts", "weekly")) == 70
    assert write(70, day=2) == new
    publish_reports(client)
    assert len(read_rows(client, "cohorts", "weekly")) == 70
    # One row a document, and a header for each date: nothing doubled.
    assert client.count(index="reports")["count"] == 51 + 71
    assert old != new


def test_the_documents_are_the_same_whoever_builds_them() -> None:
    """The checksums above rest on it."""
    rows = [session(f"s{i}", dimension_region=f"r{i % 5}") for i in range(100)]
    assert sorted(order_documents(snapshot(rows))) == sorted(order_documents(snapshot(rows[::-1])))
