"""The bulk writer beside `elasticsearch.helpers` and beside bare posting, on one real node.

Everyone gets the documents in memory before the clock starts: ours and bare posting as the bytes in which the engine
writes them, the helpers as the dicts they take. Each fills a fresh index with the settings and the mapping of `orders`,
and the clock stops when all documents can be found.

- `bare posting` sends the same bytes in ready requests over as many plain HTTP connections and looks at no answer: the
  node's own speed, and so the limit of any writer.
- `helpers.bulk` and `helpers.parallel_bulk` as their documentation shows them; `parallel_bulk` with as many threads as
  ours has requests in flight. `tuned` has chunks of as many bytes as ours.
"""

from __future__ import annotations

import http.client
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from elasticsearch import Elasticsearch, helpers

import configs
from benchmarks.measure import Case, Outcome
from benchmarks.staged_shop import shop, snapshot
from include.elastic.bulk import bulk_write
from include.elastic.client import connect
from include.elastic.documents import action_kinds, order_documents
from include.elastic.node import embedded_node
from include.schemas.indexes import orders_mapping, settings

WARM_UP_LOADS = 5
CONTENDERS = (
    "bulk_write",
    "bare posting",
    "helpers.bulk",
    "helpers.bulk, tuned",
    "helpers.parallel_bulk",
    "helpers.parallel_bulk, tuned",
)
PLAIN, SHOP = "documents of 300 bytes", "the shop's orders"
PLAIN_MAPPING: dict[str, Any] = {
    "dynamic": "strict",
    "properties": {
        **{name: {"type": "keyword"} for name in ("client", "page", "referrer", "campaign", "device")},
        "at": {"type": "date"},
        "seconds": {"type": "long"},
        "amount": {"type": "double"},
        "note": {"type": "keyword", "index": False, "doc_values": False},
    },
}


def cases(sessions: int) -> list[Case]:
    """Both kinds of documents."""
    return [
        Case(
            family="bulk",
            name=documents,
            sessions=sessions,
            unit="documents",
            ours="bulk_write",
            contenders=CONTENDERS,
            limit="bare posting",
        )
        for documents in (PLAIN, SHOP)
    ]


def operations(case: Case, folder: Path) -> tuple[list[bytes], dict[str, Any]]:
    """The operations of a case, and the mapping of their index."""
    count = case.sessions
    if case.name == PLAIN:
        return [plain_operation(number) for number in range(count)], PLAIN_MAPPING
    shop(folder, case.sessions)
    with snapshot(folder).connect() as connection:
        documents = order_documents(connection)
        taken = [operation for operation, _ in zip(documents, range(count), strict=False)]
        documents.close()  # type: ignore[attr-defined]
        return taken, orders_mapping(action_kinds(connection, "sessions"))


def plain_operation(number: int) -> bytes:
    """One operation with a document of about 300 bytes, without a version."""
    document = {
        "client": f"client-{number % 9973:08d}",
        "page": f"/catalogue/{number % 131}/product/{number % 7919}",
        "referrer": f"https://example.org/{number % 61}",
        "campaign": f"campaign-{number % 17}",
        "device": ("phone", "desktop", "tablet")[number % 3],
        "at": f"2024-{1 + number % 12:02d}-{1 + number % 28:02d}T{number % 24:02d}:00:00Z",
        "seconds": number % 1801,
        "amount": number % 10_007 / 100,
        "note": "x" * 70,
    }
    return orjson.dumps({"index": {"_id": f"{number:012d}"}}) + b"\n" + orjson.dumps(document) + b"\n"


@contextmanager
def around(case: Case, folder: Path) -> Iterator[dict[str, Any]]:
    """One warm node for all contenders."""
    lines, mapping = operations(case, folder)
    with embedded_node(folder / "node", port=0) as node, connect(node.url) as client:
        warm_up(client, mapping, lines)
        yield {"url": node.url}


def run(case: Case, contender: str, folder: Path) -> Outcome:
    """Load the case's documents the way of the contender."""
    lines, mapping = operations(case, folder)
    load = prepared(contender, lines)
    index = f"bench-{uuid.uuid4().hex[:8]}"
    with connect(case.detail["url"]) as client:
        client.indices.create(index=index, mappings=mapping, settings={"index": settings()})
        begun = time.perf_counter()
        load(client, index)
        client.indices.refresh(index=index)
        seconds = time.perf_counter() - begun
        found = int(client.count(index=index)["count"])
        client.indices.delete(index=index)
    if found != len(lines):
        raise ValueError(f"{contender} indexed {found:,} of {len(lines):,} documents")
    return Outcome(seconds, found, {"bytes_per_document": round(sum(map(len, lines)) / found)})


def warm_up(client: Elasticsearch, mapping: dict[str, Any], lines: list[bytes]) -> None:
    """Let the node's compiler see the work: a cold node is so slow that every writer waits for it."""
    client.indices.create(index="warm", mappings=mapping, settings={"index": settings()})
    for _ in range(WARM_UP_LOADS):
        bulk_write(client, lines, index="warm")
    client.indices.delete(index="warm")


def prepared(contender: str, lines: list[bytes]) -> Callable[[Elasticsearch, str], None]:
    """The load, with its documents in the form it takes them in."""
    if contender == "bulk_write":
        return lambda client, index: _ours(client, index, lines)
    if contender == "bare posting":
        requests = deque(_requests(lines))
        return lambda client, index: _post(client, index, requests)
    actions = [action(line) for line in lines]
    chunks: dict[str, Any] = (
        {"chunk_size": len(actions), "max_chunk_bytes": configs.BULK_REQUEST_BYTES} if "tuned" in contender else {}
    )
    if contender.startswith("helpers.parallel_bulk"):
        threads = configs.BULK_REQUESTS_IN_FLIGHT

        def parallel(client: Elasticsearch, index: str) -> None:
            for accepted, item in helpers.parallel_bulk(client, actions, index=index, thread_count=threads, **chunks):
                if not accepted:
                    raise ValueError(f"rejected: {item}")

        return parallel
    return lambda client, index: _bulk(client, index, actions, chunks)


def action(line: bytes) -> dict[str, Any]:
    """An operation as the dict that the helpers take."""
    head, body = line.split(b"\n", 1)
    ((kind, meta),) = orjson.loads(head).items()
    names = {"_id": "_id", "version": "version", "version_type": "version_type"}
    return {"_op_type": kind, **{names[key]: value for key, value in meta.items()}, "_source": orjson.loads(body)}


def _ours(client: Elasticsearch, index: str, lines: list[bytes]) -> None:
    bulk_write(client, lines, index=index)


def _bulk(client: Elasticsearch, index: str, actions: list[dict[str, Any]], chunks: dict[str, Any]) -> None:
    helpers.bulk(client, actions, index=index, **chunks)


def _requests(lines: list[bytes]) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if size + len(line) > configs.BULK_REQUEST_BYTES and batch:
            yield b"".join(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield b"".join(batch)


def _post(client: Elasticsearch, index: str, requests: deque[bytes]) -> None:
    place = urlsplit(next(iter(client.transport.node_pool.all())).base_url)
    failures: list[int] = []

    def poster() -> None:
        connection = http.client.HTTPConnection(str(place.hostname), place.port)
        while requests:
            try:
                body = requests.popleft()
            except IndexError:  # another thread was faster
                break
            headers = {"Content-Type": "application/x-ndjson"}
            connection.request("POST", f"/{index}/_bulk?filter_path=errors", body, headers)
            answer = connection.getresponse()
            if answer.read() != b'{"errors":false}':
                failures.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=poster) for _ in range(configs.BULK_REQUESTS_IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise ValueError(f"{len(failures)} requests failed")
