"""The bulk writer: pre-serialised documents in requests of bounded size, several in flight, nothing swallowed.

    lines of one operation each (action line, source line)  ->  how many were created, updated, stale, rejected

Why not `elasticsearch.helpers`: it serialises every document again and reads every result back, which costs more than
half of the throughput, and its parallel form does not retry.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import orjson
from elasticsearch import ApiError, Elasticsearch, TransportError

import configs
from include.elastic.client import ElasticsearchProblem, explained, problem

LONGEST_ID_BYTES = 512  # Elasticsearch refuses longer ones, and with them the whole request
LONGEST_PAUSE_SECONDS = 60.0
EXAMPLES_PER_REASON = 5
ANSWER = "errors,items.*.status,items.*.error"  # items come in the order they were sent: no need to repeat their ids
UNSENDABLE = "id_too_long"
TOO_LARGE = "document_too_large"


@dataclass
class Rejection:
    """Documents refused for one reason: how many, and the first of them as (`_id`, why)."""

    count: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class BulkResult:
    """What became of the operations. `stale` lost to a newer version; `missing` were deletions of what is not there.

    A request that was carried out but whose answer was lost is sent again, so its documents may count as updated.
    """

    created: int = 0
    updated: int = 0
    deleted: int = 0
    stale: int = 0
    missing: int = 0
    retries: int = 0
    rejections: dict[str, Rejection] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        return sum(rejection.count for rejection in self.rejections.values())

    @property
    def accepted(self) -> int:
        return self.created + self.updated + self.deleted

    def reject(self, reason: str, id_: str, why: str, count: int = 1) -> None:
        rejection = self.rejections.setdefault(reason, Rejection())
        rejection.count += count
        if len(rejection.examples) < EXAMPLES_PER_REASON:
            rejection.examples.append((id_, why))

    def add(self, other: BulkResult) -> None:
        for name in ("created", "updated", "deleted", "stale", "missing", "retries"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, rejection in other.rejections.items():
            mine = self.rejections.setdefault(reason, Rejection())
            mine.count += rejection.count
            mine.examples.extend(rejection.examples[: EXAMPLES_PER_REASON - len(mine.examples)])


class DocumentsRejected(ElasticsearchProblem):
    """Elasticsearch refused documents; all the others were written. `result` has the details."""

    def __init__(self, index: str, result: BulkResult) -> None:
        self.result = result
        reasons = [
            f"{rejection.count:,} × {reason}, e.g. `{id_[:100]}`: {why}"
            for reason, rejection in sorted(result.rejections.items(), key=lambda item: -item[1].count)
            for id_, why in rejection.examples[:1]
        ]
        super().__init__(
            f"Elasticsearch rejected {result.rejected:,} document{'s' * (result.rejected != 1)} of `{index}` "
            f"({'; '.join(reasons)}); correct them in the source and run again."
        )


def bulk_write(
    client: Elasticsearch,
    operations: Iterable[bytes],
    *,
    index: str,
    routing: str | None = None,
    request_bytes: int | None = None,
    in_flight: int | None = None,
    progress: Callable[[int], None] | None = None,
    raise_rejected: bool = True,
) -> BulkResult:
    """Send every operation, in no particular order between requests.

    `operations` yields one operation each: its action line and, but for deletions, its source line, each ended by a
    newline. It is read lazily: at most `in_flight` + 1 requests of `request_bytes` are held at once. Requests and
    single documents that the cluster is too busy for, and requests whose connection breaks, are sent again. `progress`
    is called with the number of operations done since. Raises `DocumentsRejected` after everything was sent, unless
    told not to, and `ElasticsearchProblem` where the cluster does not recover.
    """
    in_flight = in_flight or configs.BULK_REQUESTS_IN_FLIGHT
    sender = _Sender(client, index, routing)
    total = BulkResult()
    pending: dict[Future[BulkResult], int] = {}

    def collect(at_most: int) -> None:
        while len(pending) > at_most:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                count = pending.pop(future)
                total.add(future.result())
                if progress:
                    progress(count)

    with ThreadPoolExecutor(in_flight, thread_name_prefix="bulk") as threads:
        try:
            for batch in _batches(operations, request_bytes or configs.BULK_REQUEST_BYTES):
                collect(in_flight - 1)
                pending[threads.submit(sender.send, batch)] = len(batch)
            collect(0)
        finally:
            sender.stopped.set()  # after an error: nobody waits to try again,
            if isinstance(operations, Generator):
                operations.close()  # and what it reads from is free for others, while the error is still handled
    if total.rejected and raise_rejected:
        raise DocumentsRejected(index, total)
    return total


def _batches(operations: Iterable[bytes], request_bytes: int) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for operation in operations:
        if batch and size + len(operation) > request_bytes:
            yield batch
            batch, size = [], 0
        batch.append(operation)
        size += len(operation)
    if batch:
        yield batch


class _Sender:
    """Sends one batch until each of its operations is settled. Used by several threads at once."""

    def __init__(self, client: Elasticsearch, index: str, routing: str | None) -> None:
        # Retries are ours: the client's know neither pauses nor single documents.
        self.client = client.options(max_retries=0, retry_on_timeout=False)
        self.index, self.routing = index, routing
        self.stopped = threading.Event()

    def send(self, batch: list[bytes]) -> BulkResult:
        result = BulkResult()
        left = batch
        attempt = 0
        while left:
            before = len(left)
            refused: ElasticsearchProblem
            try:
                answer = self.client.bulk(
                    operations=[b"".join(left)],  # type: ignore[list-item] # bytes are sent as they are
                    index=self.index,
                    routing=self.routing,
                    filter_path=ANSWER,
                )
            except TransportError as error:
                refused = problem(error, self.client, f"writing to `{self.index}`")
            except ApiError as error:
                status = error.meta.status
                if status == 413:
                    return self._in_halves(left, result)
                if status == 400 and (sendable := _without_bad_ids(left, result)) and len(sendable) < before:
                    left = sendable
                    continue
                if status == 400 and not sendable:
                    return result
                refused = problem(error, self.client, f"writing to `{self.index}`")
                if not refused.retry:
                    raise refused from None
            else:
                left = _settled(left, answer["items"], result)
                if not left:
                    return result
                if len(left) < before:
                    attempt = 0  # it gets on, if slowly
                refused = ElasticsearchProblem(
                    f"Elasticsearch was too busy for {len(left):,} documents of `{self.index}`; "
                    "try again later, or give it more memory.",
                    retry=True,
                )
            if attempt == configs.BULK_RETRIES:
                raise refused
            # Jitter, so that writers that were refused together do not come back together.
            pause = min(configs.BULK_RETRY_DELAY_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.5)
            if self.stopped.wait(pause):
                raise refused
            attempt += 1
            result.retries += 1
        return result

    def _in_halves(self, batch: list[bytes], result: BulkResult) -> BulkResult:
        if len(batch) == 1:
            result.reject(
                TOO_LARGE, _id(batch[0]), f"it has {len(batch[0]):,} bytes, more than the cluster takes at once"
            )
            return result
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            result.add(self.send(half))
        return result


def _without_bad_ids(batch: list[bytes], result: BulkResult) -> list[bytes]:
    sendable = []
    for operation in batch:
        # The action line holds little beside the id: where that is short, so is the id.
        if operation.index(b"\n") > LONGEST_ID_BYTES and len((id_ := _id(operation)).encode()) > LONGEST_ID_BYTES:
            result.reject(
                UNSENDABLE, id_, f"an id may have {LONGEST_ID_BYTES} bytes, this one has {len(id_.encode()):,}"
            )
        else:
            sendable.append(operation)
    return sendable


def _settled(batch: list[bytes], items: list[dict[str, dict[str, Any]]], result: BulkResult) -> list[bytes]:
    """Count what became of each operation; those to send again come back."""
    again = []
    for operation, item in zip(batch, items, strict=True):
        ((action, outcome),) = item.items()
        status = outcome["status"]
        if status == 201:
            result.created += 1
        elif status == 200:
            if action == "delete":
                result.deleted += 1
            else:
                result.updated += 1
        elif status == 409 and action != "update":
            result.stale += 1
        elif status == 404 and action == "delete":
            result.missing += 1
        elif status == 429 or status >= 500 or status == 409:  # a 409 of an update: somebody else was changing it
            again.append(operation)
        else:
            error = outcome.get("error", {})
            result.reject(str(error.get("type", status)), _id(operation), explained(error)[:300].rstrip("."))
    return again


def _id(operation: bytes) -> str:
    ((_, meta),) = orjson.loads(operation[: operation.index(b"\n")]).items()
    return str(meta.get("_id", ""))
