"""A server for as much of the Google Cloud Storage JSON API as reading takes; the real client talks to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LISTING, DOWNLOAD = "/storage/v1/b/", "/download/storage/v1/b/"


@dataclass
class GcsServer:
    """A running server; `objects` is what the buckets hold, by `bucket/name`. `refusal` is a status for all."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    refusal: int | None = None

    def airflow_connection(self, url: str = "") -> str:
        extra = {"is_anonymous": True, "project": "contract", "gcs.endpoint": url or self.url}
        return json.dumps({"conn_type": "google_cloud_platform", "extra": extra})

    def described(self, bucket: str, name: str) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "size": str(len(self.objects[f"{bucket}/{name}"])),
            "generation": "1",
            "timeCreated": "2024-01-01T00:00:00.000Z",
            "updated": "2024-01-01T00:00:00.000Z",
        }


@contextmanager
def gcs_server() -> Iterator[GcsServer]:
    """A server on a free loopback port, for as long as the block lasts."""
    held = GcsServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            prefix = DOWNLOAD if parts.path.startswith(DOWNLOAD) else LISTING
            bucket, _, rest = parts.path.removeprefix(prefix).partition("/o")
            name = unquote(rest.removeprefix("/"))
            if held.refusal is not None:
                said = {"code": held.refusal, "message": "Invalid Credentials" if held.refusal == 401 else "no access"}
                self.answer(held.refusal, json.dumps({"error": said}).encode())
            elif name and f"{bucket}/{name}" not in held.objects:
                self.answer(404, json.dumps({"error": {"code": 404, "message": f"No such object: {name}"}}).encode())
            elif prefix == DOWNLOAD:
                self.send_piece(held.objects[f"{bucket}/{name}"])
            elif name:
                self.answer(200, json.dumps(held.described(bucket, name)).encode())
            else:
                self.answer(200, json.dumps(listed(bucket, parse_qs(parts.query))).encode())

        def send_piece(self, data: bytes) -> None:
            asked = self.headers.get("Range")
            if asked is None:
                self.answer(200, data)
                return
            first, last = asked.removeprefix("bytes=").split("-")
            piece = data[int(first) : int(last or len(data)) + 1]
            self.answer(206, piece, {"Content-Range": f"bytes {first}-{int(first) + len(piece) - 1}/{len(data)}"})

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: the output is the tests'."""

    def listed(bucket: str, query: dict[str, list[str]]) -> dict[str, Any]:
        start, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        names = sorted(key.removeprefix(f"{bucket}/") for key in held.objects if key.startswith(f"{bucket}/{start}"))
        deeper = [name for name in names if delimiter and delimiter in name[len(start) :]]
        folders = {start + name[len(start) :].split(delimiter)[0] + delimiter for name in deeper}
        items = [held.described(bucket, name) for name in names if name not in deeper]
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
