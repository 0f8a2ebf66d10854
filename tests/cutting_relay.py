"""A relay before any server on the loopback: the connection breaks after so many bytes of its answers."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE = 16_384


class CuttingRelay(socketserver.ThreadingTCPServer):
    """Passes everything on until `bytes_until_cut` of the answers have gone, and from then on nothing."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.target = port
        self.bytes_until_cut: int | None = None

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @contextmanager
    def cut_after(self, count: int) -> Iterator[None]:
        """The line is bad from so many bytes on, for as long as the block lasts."""
        self.bytes_until_cut = count
        try:
            yield
        finally:
            self.bytes_until_cut = None


class _Session(socketserver.BaseRequestHandler):
    server: CuttingRelay

    def handle(self) -> None:
        if self.server.bytes_until_cut == 0:
            return
        with socket.create_connection(("127.0.0.1", self.server.target)) as self.backend:
            asked = threading.Thread(target=self._ask, daemon=True)
            asked.start()
            with suppress(OSError):  # one side has gone
                while piece := self.backend.recv(PIECE):
                    left = self.server.bytes_until_cut
                    if left is not None:
                        piece = piece[:left]
                        self.server.bytes_until_cut = left - len(piece)
                    self.request.sendall(piece)
                    if self.server.bytes_until_cut == 0:
                        break
            for side in (self.request, self.backend):
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
            asked.join()

    def _ask(self) -> None:
        with suppress(OSError):
            while piece := self.request.recv(PIECE):
                self.backend.sendall(piece)
            self.backend.shutdown(socket.SHUT_WR)


@contextmanager
def cutting_relay(port: int) -> Iterator[CuttingRelay]:
    """A relay to this port of the loopback, for as long as the block lasts."""
    with CuttingRelay(port) as relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
