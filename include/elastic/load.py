"""Loading `orders`, `downloads` and the customers' scores from a snapshot, and seeing to it that all of it arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from elasticsearch import Elasticsearch

import configs
from include.elastic.bulk import BulkResult, bulk_write
from include.elastic.client import index_name, plainly
from include.elastic.documents import (
    RETRY_ON_CONFLICT,
    action_kinds,
    download_documents,
    order_documents,
    score_documents,
)
from include.elastic.indexes import begin_refresh, concrete_index, ensure, finish_refresh, note, notes, verify_counts
from include.schemas.indexes import downloads_mapping, orders_mapping

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

ORDERS = "orders"
DOWNLOADS = "downloads"
SNAPSHOT = "snapshot"  # noted with the index: the snapshot it was last loaded from, completely
KEEP_OPEN = "5m"

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Loaded:
    """What a load did: `documents` in the index afterwards, and what became of those sent."""

    index: str
    documents: int
    sent: int
    created: int
    updated: int
    stale: int
    retries: int


def load_orders(
    client: Elasticsearch,
    connection: duckdb.DuckDBPyConnection,
    *,
    snapshot: str,
    changed_since: str | None = None,
    months: Sequence[str] | None = None,
    refresh_key: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Bring `orders` to the state of `snapshot`, whose views `connection` has.

    `months` are those in which anything of an order changed since the snapshot `changed_since`; they are enough where
    the index holds that snapshot, else everything is loaded. `refresh_key` asks for a full refresh: everything goes
    into a new index, which takes the old one's place when its count is right; the same key carries an interrupted
    refresh through.
    """
    mapping = orders_mapping(action_kinds(connection, "sessions"))

    def documents(partly: bool) -> Iterable[bytes]:
        return order_documents(connection, months=months if partly else None)

    return _load(
        client, ORDERS, mapping, documents, _count(connection, "sessions"), "sessions",
        snapshot, changed_since if months is not None else None, refresh_key, progress,
    )  # fmt: skip


def load_downloads(
    client: Elasticsearch,
    connection: duckdb.DuckDBPyConnection,
    *,
    snapshot: str,
    refresh_key: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Bring `downloads` to the state of `snapshot`; customers keep their scores, through a full refresh too."""
    mapping = downloads_mapping(action_kinds(connection, "customers"))

    def documents(_: bool) -> Iterable[bytes]:
        return download_documents(connection)

    return _load(
        client, DOWNLOADS, mapping, documents, _count(connection, "customers"), "customers",
        snapshot, None, refresh_key, progress,
    )  # fmt: skip


def write_scores(client: Elasticsearch, scores: pd.DataFrame, *, progress: Progress | None = None) -> BulkResult:
    """Put the customers' latest scores into `downloads` (see `score_documents`) and make them visible."""
    index = index_name(DOWNLOADS)
    result = bulk_write(client, score_documents(scores), index=index, progress=progress)
    with plainly(client, f"refreshing `{index}`"):
        client.indices.refresh(index=index)
    return result


def _load(
    client: Elasticsearch,
    name: str,
    mapping: Mapping[str, Any],
    documents: Callable[[bool], Iterable[bytes]],
    expected: int,
    what: str,
    snapshot: str,
    changed_since: str | None,
    refresh_key: str | None,
    progress: Progress | None,
) -> Loaded:
    before = concrete_index(client, name)
    if refresh_key is not None:
        index = begin_refresh(client, name, mapping, key=refresh_key)
    else:
        index = ensure(client, name, mapping)
    held = notes(client, index).get(SNAPSHOT)
    partly = changed_since is not None and held in (changed_since, snapshot)
    # Until all of it has arrived the index holds neither the old snapshot nor the new one.
    note(client, index, {})
    result = bulk_write(client, documents(partly), index=index, progress=progress)
    if refresh_key is not None and before not in (None, index):
        bulk_write(client, _scores_of(client, str(before)), index=index, raise_rejected=False)
    found = verify_counts(client, index, expected, what=what)
    if refresh_key is not None:
        finish_refresh(client, name, index)
    note(client, index, {SNAPSHOT: snapshot})
    return Loaded(
        index, found, result.accepted + result.stale, result.created, result.updated, result.stale, result.retries
    )


def _count(connection: duckdb.DuckDBPyConnection, view: str) -> int:
    ((count,),) = connection.execute(f"SELECT count(*) FROM {view}").fetchall()
    return int(count)


def _scores_of(client: Elasticsearch, index: str) -> Iterator[bytes]:
    """Operations that write the scores of `index` again; those of customers who are gone will be refused."""
    with plainly(client, f"reading the scores of `{index}`"):
        client.indices.refresh(index=index)
        opened = client.open_point_in_time(index=index, keep_alive=KEEP_OPEN)["id"]
        after: list[Any] | None = None
        try:
            while True:
                page = client.search(
                    pit={"id": opened, "keep_alive": KEEP_OPEN},
                    query={"exists": {"field": "scores"}},
                    source={"includes": ["scores"]},
                    size=min(configs.MAX_RESULT_WINDOW, 10_000),
                    sort=[{"_shard_doc": "asc"}],
                    search_after=after,
                    track_total_hits=False,
                )["hits"]["hits"]
                for hit in page:
                    action = {"update": {"_id": hit["_id"], "retry_on_conflict": RETRY_ON_CONFLICT}}
                    yield orjson.dumps(action) + b"\n" + orjson.dumps({"doc": hit["_source"]}) + b"\n"
                if not page:
                    return
                after = page[-1]["sort"]
        finally:
            client.close_point_in_time(id=opened)
