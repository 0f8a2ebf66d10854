"""One Elasticsearch with the reports of every analysis."""

from collections.abc import Iterator

import pytest
from elasticsearch import Elasticsearch

from include.dashboards.notes import NOTES, ensure_notes
from include.elastic.client import connect, index_name
from tests.published_reports import Published


@pytest.fixture(scope="session")
def elasticsearch_url(published: Published) -> str:
    return published.url


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with connect(elasticsearch_url) as connected:
        yield connected


@pytest.fixture
def no_notes(client: Elasticsearch) -> Iterator[None]:
    """The index of notes without any, before and after."""
    gone = {"index": f"{index_name(NOTES)}-first", "ignore_unavailable": True}
    client.indices.delete(**gone)
    ensure_notes(client)
    yield
    client.indices.delete(**gone)
