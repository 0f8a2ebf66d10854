"""Work that waits and work that computes side by side: items are taken, or worked on, by threads of their own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")
Made = TypeVar("Made")
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_STOP = 1.0  # a thread that waits for a silent server is left behind: who was told to end has no more time
_END = object()


def ahead(items: Iterator[T], count: int) -> Generator[T]:
    """The same items in the same order; up to `count` of them are fetched before they are asked for.

    `items` runs from its first to its last step in the thread, and is closed there when the reader stops early. What
    it raises is raised here, after the items before it. Who may stop early closes what this gives (`closing`), or the
    thread goes on until the garbage collection.
    """
    ready: Queue[object] = Queue(count)
    over = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> None:
        while not over.is_set():
            try:
                ready.put(item, timeout=SECONDS_BETWEEN_LOOKS)
            except Full:
                continue
            return

    def fetch() -> None:
        try:
            for item in items:
                put(item)
                if over.is_set():
                    break
        except BaseException as error:  # raised again by the reader
            failure.append(error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            put(_END)

    thread = threading.Thread(target=fetch, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            yield item  # type: ignore[misc] # what was put is a T
    finally:
        over.set()
        thread.join(SECONDS_TO_STOP)
    if failure:
        raise failure[0]


def side_by_side(work: Callable[[T], Made], items: Iterable[T], count: int) -> Iterator[Made]:
    """What `work` makes of each item, in their order, `count` of them at the same time.

    The items are taken in the reader's own thread, while others are worked on.
    """
    pending: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="side_by_side")
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
