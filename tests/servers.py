"""Real servers for tests, started on free loopback ports and stopped by who started them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from include.elastic.node import EmbeddedNode, account, embedded_node, reachable_folder


@contextmanager
def elasticsearch_node(folder: Path, *, heap_mb: int = 384) -> Iterator[EmbeddedNode]:
    """A running embedded node whose data are in `folder`, and gone with it afterwards: `node.url` is its address."""
    reachable = reachable_folder(folder, account())
    try:
        with embedded_node(folder, port=0, heap_mb=heap_mb) as node:
            yield node
    finally:
        if reachable != folder.resolve():  # the node could not enter pytest's folder and kept its files elsewhere
            shutil.rmtree(reachable)
