"""Items taken ahead by a thread: the same ones, in order, with their errors, and nothing left behind."""

import threading
from collections.abc import Iterator

import pytest

from include.ahead import ahead, side_by_side


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


def test_what_is_made_comes_in_the_order_of_the_items_and_no_more_of_them_is_held() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    slow = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            slow.wait(10)  # the others are done before
        return -number

    made = side_by_side(work, items(), 3)
    release = threading.Timer(0.2, slow.set)
    release.start()
    assert next(made) == 0
    assert len(taken) == 4
    assert list(made) == [-number for number in range(1, 20)]
    release.join()


def test_work_that_fails_is_told_in_its_place() -> None:
    made = side_by_side(lambda number: 6 // number, iter([3, 0, 1]), 2)
    assert next(made) == 2
    with pytest.raises(ZeroDivisionError):
        next(made)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("side_by_side")]
