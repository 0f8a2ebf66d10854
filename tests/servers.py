"""Real servers for tests, started on free loopback ports and stopped by who started them."""

import http.client
import json
import shutil
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from include.elastic.node import EmbeddedNode, account, embedded_node, reachable_folder


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


@dataclass
class Answer:
    """What the proxy says instead of the server."""

    status: int
    body: dict[str, object] = field(default_factory=dict)


class Reset:
    """The proxy breaks the connection: before the server has the request, or after it has carried it out."""

    def __init__(self, *, after: bool = False) -> None:
        self.after = after


@dataclass
class BusyItems:
    """The proxy keeps the last `count` documents of a bulk request back and says the server was too busy for them."""

    count: int


Fault = Answer | Reset | BusyItems


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on to a server, except where `faults` (used up one a request) or `rule` say otherwise."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target)
        self.faults: deque[Fault] = deque()
        self.rule: Callable[[bytes], Fault | None] | None = None
        self.only = "/"  # faults hit requests whose path has this in it
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.gate: threading.Barrier | None = None
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def next_fault(self, path: str, body: bytes) -> Fault | None:
        if self.only not in path:
            return None
        with self._lock:
            return self.faults.popleft() if self.faults else self.rule(body) if self.rule else None


class _Handler(BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        with self.server.counted():
            if self.server.gate is not None and "_bulk" in self.path:
                self.server.gate.wait(timeout=30)
            fault = self.server.next_fault(self.path, body)
            if isinstance(fault, Answer):
                return self._reply(fault.status, json.dumps(fault.body).encode())
            if isinstance(fault, Reset):
                if fault.after:
                    self._pass_on(body)
                # A zero linger makes closing the socket a reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return None
            kept: list[bytes] = []
            if isinstance(fault, BusyItems):
                lines = body.splitlines(keepends=True)
                operations = [b"".join(pair) for pair in zip(lines[::2], lines[1::2], strict=True)]
                body, kept = b"".join(operations[: -fault.count]), operations[-fault.count :]
            status, answer = self._pass_on(body)
            if kept:
                said = json.loads(answer)
                error = {"type": "es_rejected_execution_exception", "reason": "queue is full"}
                said["errors"] = True
                said["items"] += [{"index": {"status": 429, "error": error}}] * len(kept)
                answer = json.dumps(said).encode()
        return self._reply(status, answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _pass_on(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.server.target.hostname or "", self.server.target.port, timeout=60)
        try:
            names = ("content-type", "accept")
            headers = {name: value for name, value in self.headers.items() if name.lower() in names}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/vnd.elasticsearch+json;compatible-with=8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def faulty_proxy(target: str, *, tls: ssl.SSLContext | None = None) -> Iterator[FaultyProxy]:
    """A proxy before the server at `target` that can break what passes."""
    with FaultyProxy(target) as proxy:
        if tls is not None:
            proxy.socket = tls.wrap_socket(proxy.socket, server_side=True)
            proxy.scheme = "https"
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
