"""Each of these tests has its own index names on the node."""

import uuid
from collections.abc import Iterator

import pytest
from elasticsearch import Elasticsearch

import configs
from include.elastic.client import connect
from include.elastic.node import EmbeddedNode
from tests.servers import FaultyProxy, faulty_proxy


@pytest.fixture
def client(shared_node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elasticsearch]:
    """A client; the indexes of this test have a prefix of their own and one shard."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    monkeypatch.setattr(configs, "INDEX_PREFIX", prefix)
    monkeypatch.setattr(configs, "NUMBER_OF_SHARDS", 1)
    monkeypatch.setattr(configs, "BULK_RETRY_DELAY_SECONDS", 0.01)
    with connect(shared_node.url) as connected:
        yield connected
        for index in connected.indices.get(index=f"{prefix}*"):
            connected.indices.delete(index=index)


@pytest.fixture
def proxy(shared_node: EmbeddedNode) -> Iterator[FaultyProxy]:
    with faulty_proxy(shared_node.url) as started:
        yield started


@pytest.fixture
def through_proxy(proxy: FaultyProxy, client: Elasticsearch) -> Iterator[Elasticsearch]:
    """A client whose requests pass the faulty proxy."""
    with connect(proxy.url) as connected:
        yield connected
