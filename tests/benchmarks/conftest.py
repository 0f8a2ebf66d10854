"""A node for the writers."""

from collections.abc import Iterator

import pytest

from tests.servers import elasticsearch_node


@pytest.fixture(scope="module")
def node_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with elasticsearch_node(tmp_path_factory.mktemp("elasticsearch")) as node:
        yield node.url
