"""Each file of these tests has its own index names on the node."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import configs
from include.elastic.node import EmbeddedNode


@pytest.fixture(scope="module")
def node_url(shared_node: EmbeddedNode, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the node is, and what the client of a task connects to."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(configs, "INDEX_PREFIX", f"{Path(request.node.name).stem}-")
        changed.setattr(configs, "ELASTICSEARCH_URL", shared_node.url)
        changed.setattr(configs, "NUMBER_OF_SHARDS", 1)
        yield shared_node.url
