"""A server that behaves as Kibana's saved-objects and settings APIs document, on a free loopback port.

It keeps what it is given, per space. Spaces, logins, types and the newest versions it knows are attributes to set;
`faults` and `answers` are what it says instead, one a request.
"""

import base64
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]
NEWEST = {"index-pattern": "8.0.0", "search": "10.5.0", "dashboard": "10.2.0", "links": "10.1.0"}


class KibanaServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spaces: dict[str, dict[tuple[str, str], Json]] = {"default": {}}
        self.settings: dict[str, Json] = {}
        self.logins: dict[str, str] | None = None  # None: without security
        self.api_keys: set[str] = set()
        self.types: dict[str, str] = dict(NEWEST)
        self.unknown: set[tuple[str, str]] = set()  # objects whose references are not found
        self.lost: set[tuple[str, str]] = set()  # objects that go missing without a word
        self.faults: deque[tuple[int, str]] = deque()
        self.answers: deque[Any] = deque()  # bodies of successful answers, instead of its own
        self.forbidden = ""  # a path that no user may have
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def may_enter(self, authorization: str) -> bool:
        if self.logins is None:
            return True
        kind, _, value = authorization.partition(" ")
        if kind == "ApiKey":
            return value in self.api_keys
        user, _, password = base64.b64decode(value or "").decode().partition(":")
        return bool(user) and self.logins.get(user) == password

    def take(self, space: str, objects: list[Json], *, overwrite: bool) -> tuple[int, Json]:
        """Import: nothing where an object cannot be, else those that can."""
        stored = self.spaces[space]
        errors = [self._error(one, "unsupported_type") for one in objects if one["type"] not in self.types]
        newer = [one for one in objects if _version(one) > _parts(self.types.get(one["type"], "99.0.0"))]
        if newer:
            (first, *_) = newer
            message = f'Document "{first["id"]}" belongs to a more recent version of Kibana.'
            return 422, {"statusCode": 422, "error": "Unprocessable Entity", "message": message}
        known = {(one["type"], one["id"]) for one in objects} - self.unknown | set(stored)
        for one in objects:
            missing = [
                {"type": target["type"], "id": target["id"]}
                for target in one["references"]
                if (target["type"], target["id"]) not in known
            ]
            if missing:
                errors.append(self._error(one, "missing_references", references=missing))
        failed = {(one["type"], one["id"]) for one in errors}
        taken: list[Json] = []
        for one in objects:
            key = (one["type"], one["id"])
            if (
                key in failed
                or key in self.lost
                or any(error["error"]["type"] == "unsupported_type" for error in errors)
            ):
                continue
            if key in stored and not overwrite:
                errors.append(self._error(one, "conflict"))
                continue
            meta = {"title": one["attributes"]["title"], "icon": "dashboardApp"}
            taken.append({"type": key[0], "id": key[1], "meta": meta, **({"overwrite": True} if key in stored else {})})
            stored[key] = one
        answer: Json = {"success": not errors, "successCount": len(taken)}
        if taken:
            answer["successResults"] = taken
        if errors:
            answer["errors"] = errors
        return 200, answer

    def _error(self, one: Json, kind: str, **more: Any) -> Json:
        title = one["attributes"]["title"]
        return {"type": one["type"], "id": one["id"], "title": title, "meta": {}, "error": {"type": kind, **more}}


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _version(one: Json) -> tuple[int, ...]:
    return _parts(one.get("typeMigrationVersion", "0.0.0"))


class _Handler(BaseHTTPRequestHandler):
    server: KibanaServer
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.server.requests.append((self.command, self.path))
        if self.server.faults:
            status, message = self.server.faults.popleft()
            return self._reply(status, {"statusCode": status, "error": "Error", "message": message})
        if self.server.answers:
            return self._reply(200, self.server.answers.popleft())
        if not self.server.may_enter(self.headers.get("Authorization", "")):
            return self._refuse(401, "Unauthorized")
        path, space = parts.path, "default"
        if path.startswith("/s/"):
            space, _, path = path.removeprefix("/s/").partition("/")
            space, path = unquote(space), f"/{path}"
        if space not in self.server.spaces:
            return self._refuse(404, "Not Found")
        if path == self.server.forbidden:
            return self._refuse(403, "Forbidden")
        if self.command == "POST" and "kbn-xsrf" not in self.headers:
            return self._refuse(400, "Request must contain a kbn-xsrf header.")
        match self.command, path:
            case "POST", "/api/saved_objects/_import":
                return self._import(space, parse_qs(parts.query), body)
            case "GET", "/api/kibana/settings":
                return self._reply(200, {"settings": self.server.settings.get(space, {})})
            case "POST", "/api/kibana/settings":
                changed = {name: {"userValue": value} for name, value in json.loads(body)["changes"].items()}
                self.server.settings.setdefault(space, {}).update(changed)
                return self._reply(200, {"settings": self.server.settings[space]})
        return self._refuse(404, "Not Found")

    do_GET = do_POST = _handle  # noqa: N815

    def _import(self, space: str, query: dict[str, list[str]], body: bytes) -> None:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = BytesParser().parsebytes(head + body)
        found = [part for part in message.walk() if part.get_param("name", header="content-disposition") == "file"]
        if not found:
            return self._refuse(400, "[request body.file]: expected value of type [Stream] but got [undefined]")
        (file,) = found
        if not str(file.get_filename()).endswith(".ndjson"):
            return self._refuse(400, f"Invalid file extension {file.get_filename()}")
        text = bytes(file.get_payload(decode=True)).decode()
        objects = [json.loads(line) for line in text.splitlines() if line]
        return self._reply(*self.server.take(space, objects, overwrite=query.get("overwrite") == ["true"]))

    def _refuse(self, status: int, message: str) -> None:
        self._reply(status, {"statusCode": status, "error": message, "message": message})

    def _reply(self, status: int, body: Any) -> None:
        said = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def kibana_server() -> Iterator[KibanaServer]:
    """A Kibana with the default space, without security until `logins` is set."""
    with KibanaServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
