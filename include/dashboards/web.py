"""The dashboards page: a small FastAPI app that Airflow mounts, and its own files. No file comes from elsewhere.

Who may see it is the caller's decision: `create_app` takes the dependencies that every route runs first.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import mimetypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.params import Depends
from fastapi.responses import RedirectResponse, Response

import configs
from include import catalogue
from include.dashboards.vega import theme

STATIC = Path(__file__).parent / "static"
FILES = {file.name: file for file in STATIC.iterdir() if file.is_file()}
VEGA_FILE = "vega-embed.js"
A_YEAR_SECONDS = 31_536_000

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


def create_app(dependencies: Sequence[Depends]) -> FastAPI:
    """The page and its API. Every route, files included, runs `dependencies` first."""
    app = FastAPI(
        title="Customer Analytics", dependencies=dependencies, openapi_url=None, docs_url=None, redoc_url=None
    )
    app.add_api_route("/", _page, methods=["GET"])
    app.add_api_route("/static/{name}", _static, methods=["GET"])
    app.add_api_route("/api/dashboards", _dashboards, methods=["GET"])
    app.add_api_route("/api/dashboards/{name}", _dashboard, methods=["GET"])
    app.add_api_route("/api/quarantine", _quarantine, methods=["GET"])
    app.add_api_route("/data-docs", _to_data_docs, methods=["GET"])
    app.add_api_route("/data-docs/{path:path}", _data_docs, methods=["GET"])
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


def _dashboards() -> Response:
    from include.dashboards.boards import list_dashboards

    return _json(
        {
            "dashboards": list_dashboards(),
            "themes": {"light": theme(dark=False), "dark": theme(dark=True)},
            "has_data_docs": (Path(configs.DATA_DOCS_DIR) / "index.html").is_file(),
        }
    )


def _dashboard(name: str, dimension: str = "all") -> Response:
    from include.dashboards.boards import UnknownDimension, read_dashboard
    from include.elastic.client import ElasticsearchProblem, connect

    try:
        analysis = catalogue.analysis(name)
    except catalogue.CatalogueError as error:
        return _sorry(404, str(error))
    try:
        with connect() as client:
            return _json(read_dashboard(client, analysis, dimension))
    except UnknownDimension as error:
        return _json({"detail": str(error), "dimensions": error.known}, status=404)
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


def _to_data_docs(request: Request) -> Response:
    return RedirectResponse(f"{request.url.path}/index.html")


def _data_docs(request: Request, path: str) -> Response:
    root = Path(configs.DATA_DOCS_DIR).resolve()
    file = (root / (path or "index.html")).resolve()  # follows links and `..`: what counts is where it ends
    if not file.is_relative_to(root) or not file.is_file():
        return _sorry(404, "There is no such page; data docs are written by the next run that validates a source.")
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return _content(request, file.read_bytes(), kind, policy=DATA_DOCS_POLICY)


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
