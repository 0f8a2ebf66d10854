"""Items taken ahead by a thread: the same ones, in order, with their errors, and nothing left behind."""

import threading
from collections.abc import Iterator

import pytest

from include.ahead import ahead


def test_the_same_items_in_the_same_order() -> None:
    assert list(ahead(iter(range(1_000)), 3)) == list(range(1_000))
    assert list(ahead(iter(()), 1)) == []


def test_they_are_fetched_before_they_are_asked_for_but_not_without_limit() -> None:
    taken: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            if number == 2:
                third.set()
            yield number

    reader = ahead(items(), 2)
    assert next(reader) == 0
    assert third.wait(10)  # nobody asked for it
    assert len(taken) <= 4  # one was read, two are ready, one waits for room
    reader.close()


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    reader = ahead(items(), 5)
    assert next(reader) == 1
    with pytest.raises(ValueError, match="no more"):
        next(reader)


def test_a_reader_that_stops_early_closes_the_items_in_their_own_thread() -> None:
    closed: list[str] = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    reader = ahead(items(), 1)
    next(reader)
    reader.close()
    assert closed == ["ahead"]
    assert "ahead" not in {thread.name for thread in threading.enumerate()}
