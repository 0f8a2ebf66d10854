"""One embedded node for these tests; each test has its own index names on it."""

import uuid
from collections.abc import Iterator

import pytest
from elasticsearch import Elasticsearch

import configs
from include.elastic.client import connect
from include.elastic.node import EmbeddedNode
from tests.servers import FaultyProxy, elasticsearch_node, faulty_proxy


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNode]:
    with elasticsearch_node(tmp_path_factory.mktemp("elasticsearch")) as running:
        yield running


@pytest.fixture
def client(node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elasticsearch]:
    """A client; the indexes of this test have a prefix of their own and one shard."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    monkeypatch.setattr(configs, "INDEX_PREFIX", prefix)
    monkeypatch.setattr(configs, "NUMBER_OF_SHARDS", 1)
    monkeypatch.setattr(configs, "BULK_RETRY_DELAY_SECONDS", 0.01)
    with connect(node.url) as connected:
        yield connected
        for index in connected.indices.get(index=f"{prefix}*"):
            connected.indices.delete(index=index)


@pytest.fixture
def proxy(node: EmbeddedNode) -> Iterator[FaultyProxy]:
    with faulty_proxy(node.url) as started:
        yield started


@pytest.fixture
def through_proxy(proxy: FaultyProxy, client: Elasticsearch) -> Iterator[Elasticsearch]:
    """A client whose requests pass the faulty proxy."""
    with connect(proxy.url) as connected:
        yield connected
