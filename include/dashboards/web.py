"""The dashboards page: a small FastAPI app that Airflow mounts, and its own files. No file comes from elsewhere.

Who may see it and who may write notes is the caller's decision: `create_app` takes the dependencies that every route
runs first, and one that tells who is asking.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import mimetypes
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fastapi
import orjson
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.params import Depends
from fastapi.responses import RedirectResponse, Response

import configs
from include.dashboards.dashboard import load
from include.dashboards.vega import theme

STATIC = Path(__file__).parent / "static"
FILES = {file.name: file for file in STATIC.iterdir() if file.is_file()}
VEGA_FILE = "vega-embed.js"
A_YEAR_SECONDS = 31_536_000
NOTE_BYTES = 20_000  # of a request: the text, the name of a dimension value, and what JSON makes of both
WRITING_HEADER, WRITING_VALUE = "X-Customer-Analytics", "write"

# vega-embed is told to interpret its expressions, so no `unsafe-eval`.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
# The pages of Great Expectations quote what the data hold: nothing in them may run. Their style sheets are on a CDN.
DATA_DOCS_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline' https:; font-src 'self' https: data:; "
    "img-src 'self' data: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
# The report brings its style and its images along, and nothing in it may run.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def create_app(dependencies: Sequence[Depends], writer: Callable[..., str | None]) -> FastAPI:
    """The page and its API. Every route, files included, runs `dependencies` first.

    `writer` is a dependency too: the name of who asks, where they may write notes, else None.
    """

    def remember_writer(request: Request, name: str | None = fastapi.Depends(writer)) -> None:
        request.state.writer = name

    may_write = [fastapi.Depends(remember_writer)]
    app = FastAPI(
        title="Customer Analytics", dependencies=dependencies, openapi_url=None, docs_url=None, redoc_url=None
    )
    app.add_api_route("/", _page, methods=["GET"])
    app.add_api_route("/static/{name}", _static, methods=["GET"])
    app.add_api_route("/api/dashboards", _dashboards, methods=["GET"], dependencies=may_write)
    app.add_api_route("/api/dashboards/{name}", _dashboard, methods=["GET"])
    app.add_api_route("/api/quarantine", _quarantine, methods=["GET"])
    app.add_api_route("/api/search", _search, methods=["GET"])
    app.add_api_route("/api/profiles/{kind}", _profile, methods=["GET"])
    app.add_api_route("/api/notes/{note_id}", _put_note, methods=["PUT"], dependencies=may_write)
    app.add_api_route("/api/notes/{note_id}", _delete_note, methods=["DELETE"], dependencies=may_write)
    app.add_api_route("/report.html", _report, methods=["GET"])
    app.add_api_route("/data-docs", _to_data_docs, methods=["GET"])
    app.add_api_route("/data-docs/{path:path}", _data_docs, methods=["GET"])
    # The panels are declared beside the analyses, whose libraries take seconds to import: not while a reader waits.
    threading.Thread(target=load, name="dashboards", daemon=True).start()
    return app


def _page(request: Request) -> Response:
    html = FILES["index.html"].read_text(encoding="utf-8").replace("{vega_version}", vega_version())
    return _content(request, html.encode(), "text/html; charset=utf-8")


def _static(request: Request, name: str) -> Response:
    if name == VEGA_FILE:
        return _content(request, vega_embed(), "text/javascript; charset=utf-8", max_age=A_YEAR_SECONDS)
    if name not in FILES or name == "index.html":
        return _sorry(404, f"There is no file {name!r} here.")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    return _content(request, FILES[name].read_bytes(), f"{kind}{charset}")


def _dashboards(request: Request) -> Response:
    from include.dashboards.boards import list_dashboards

    return _json(
        {
            "dashboards": list_dashboards(),
            "themes": {"light": theme(dark=False), "dark": theme(dark=True)},
            "writer": request.state.writer,
            "has_data_docs": (Path(configs.DATA_DOCS_DIR) / "index.html").is_file(),
        }
    )


def _dashboard(name: str, dimension: str = "all", date: str = "") -> Response:
    from include.dashboards.boards import UnknownChoice, read_dashboard
    from include.dashboards.dashboard import UnknownDashboard, dashboard
    from include.elastic.client import ElasticsearchProblem, connect

    try:
        report_date = datetime.fromisoformat(date).date() if date else None
    except ValueError:
        return _sorry(400, f"{date!r} is no date; write it as 2024-05-31, or choose one of the list.")
    try:
        with connect() as client:
            return _json(read_dashboard(client, dashboard(name), dimension, report_date))
    except UnknownDashboard as error:
        return _sorry(404, str(error))
    except UnknownChoice as error:
        return _json({"detail": str(error), "dimensions": error.dimensions, "dates": error.dates}, status=404)
    except ElasticsearchProblem as error:
        return _sorry(503, str(error))


def _quarantine(run: str | None = None) -> Response:
    from include.dashboards.quarantine import UnknownRun, read_quarantine
    from include.elastic.client import ElasticsearchProblem, connect

    try:
        with connect() as client:
            return _json(read_quarantine(client, run))
    except UnknownRun as error:
        return _sorry(404, str(error))
    except ElasticsearchProblem as error:
        return _sorry(503, str(error))


async def _put_note(request: Request, note_id: str) -> Response:
    from include.dashboards.notes import NoteProblem, content_of, save_note

    def save(given: Any) -> Response:
        content = content_of(given)
        version = given.get("version")
        if version is not None and not isinstance(version, str):
            raise NoteProblem("That is no version of a note; reload the page.")
        with connect() as client:
            now = datetime.now(UTC)
            saved = save_note(client, note_id, content, author=request.state.writer, now=now, version=version)
        return _json({"note": asdict(saved)})

    from include.elastic.client import connect

    refused = _refused_to_write(request)
    if refused is not None:
        return refused
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _sorry(415, "A note is sent as application/json.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > NOTE_BYTES:
            return _sorry(413, "That is too long for a note; make it shorter.")
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _sorry(400, "That is no JSON; reload the page and try again.")
    return await run_in_threadpool(_said_plainly, save, given)


def _delete_note(request: Request, note_id: str, version: str = "") -> Response:
    from include.dashboards.notes import delete_note
    from include.elastic.client import connect

    def delete() -> Response:
        with connect() as client:
            delete_note(client, note_id, author=request.state.writer, version=version)
        return _json({})

    return _refused_to_write(request) or _said_plainly(delete)


def _said_plainly(write: Callable[..., Response], *given: Any) -> Response:
    from include.dashboards.notes import NoteProblem
    from include.elastic.client import ElasticsearchProblem

    try:
        return write(*given)
    except NoteProblem as problem:
        return _sorry(problem.status, str(problem))
    except ElasticsearchProblem as error:
        return _sorry(503, str(error))


def _refused_to_write(request: Request) -> Response | None:
    """Why this request may not write; None where it may.

    Airflow's login is a cookie too, which a browser may send along with what another site asks for. So a request that
    writes has to have a header that only the page's own script can add, and may not come from another site.
    """
    if request.headers.get(WRITING_HEADER) != WRITING_VALUE:
        return _sorry(403, f"Whoever writes notes sends the header {WRITING_HEADER}: {WRITING_VALUE}.")
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    # A browser that tells the site cannot be made to lie. Of others the origin says the same, except behind a proxy
    # that gives another host.
    is_ours = site == "same-origin" if site else not origin or urlsplit(origin).netloc == request.headers.get("host")
    if not is_ours:
        return _sorry(403, "Notes are written from the Customer Analytics page only, not from another site.")
    if request.state.writer is None:
        return _sorry(
            403, "Notes are for people who may trigger the DAG customer_analytics; ask an administrator of Airflow."
        )
    return None


def _search(q: str = "") -> Response:
    from include.dashboards.search import QueryTooLong, search
    from include.elastic.client import ElasticsearchProblem, connect

    try:
        with connect() as client:
            return _json(search(client, q))
    except QueryTooLong as error:
        return _sorry(400, str(error))
    except ElasticsearchProblem as error:
        return _sorry(503, str(error))


def _profile(kind: str, name: str = "") -> Response:
    from include.dashboards.profiles import UnknownProfile, read_profile
    from include.elastic.client import ElasticsearchProblem, connect

    try:
        with connect() as client:
            return _json(read_profile(client, kind, name))
    except UnknownProfile as error:
        return _sorry(404, str(error))
    except ElasticsearchProblem as error:
        return _sorry(503, str(error))


def _to_data_docs(request: Request) -> Response:
    return RedirectResponse(f"{request.url.path}/index.html")


def _data_docs(request: Request, path: str) -> Response:
    root = Path(configs.DATA_DOCS_DIR).resolve()
    file = (root / (path or "index.html")).resolve()  # follows links and `..`: what counts is where it ends
    if not file.is_relative_to(root) or not file.is_file():
        return _sorry(404, "There is no such page; data docs are written by the next run that validates a source.")
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return _content(request, file.read_bytes(), kind, policy=DATA_DOCS_POLICY)


def _report(request: Request) -> Response:
    from include.pipeline.sendable_report import latest_report

    try:
        html = latest_report()
    except Exception as error:  # every object store has exceptions of its own
        return _sorry(503, f"The report cannot be read from staging ({type(error).__name__}); is STAGING_URL right?")
    if html is None:
        return _sorry(404, "There is no report yet; the next run writes one, unless WRITE_REPORT is off.")
    return _content(request, html, "text/html; charset=utf-8", policy=REPORT_POLICY)


@cache
def vega_version() -> str:
    """Changes whenever the bundle does."""
    return importlib.metadata.version("vl-convert-python")


@cache
def vega_embed() -> bytes:
    """vega, vega-lite and vega-embed as one script that sets `window.vegaEmbed`; made once, in a second or two."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).encode()


def _json(content: dict[str, Any], *, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(orjson.dumps(content), status_code=status, media_type="application/json", headers=headers)


def _sorry(status: int, sentence: str) -> Response:
    return _json({"detail": sentence}, status=status)


def _content(
    request: Request, body: bytes, kind: str, *, max_age: int | None = None, policy: str = PAGE_POLICY
) -> Response:
    """A file, or 304 where the browser has this very one."""
    headers = {
        "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        "Cache-Control": "private, no-cache" if max_age is None else f"private, max-age={max_age}, immutable",
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)
