"""Playwright leaves its event loop running in this thread, where other libraries take it for their caller's."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_the_loop_of_the_browser() -> Iterator[None]:
    """A block in which no event loop seems to run; the browser cannot be used in it."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
