"""The Elasticsearch client, and whether the cluster behind it can be worked with."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow.providers.elasticsearch.hooks.elasticsearch import ElasticsearchPythonHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from elasticsearch import ApiError, Elasticsearch, NotFoundError, TransportError

import configs
from include.problem import Problem

OLDEST_VERSION = (8, 19)
NEWEST_MAJOR = 8  # of the server; the client library's major version must be the same
PASSED_ON = ("verify_certs", "ca_certs", "api_key")  # what a connection's extra may say
WRITE_CHECK = "orders-write-check"  # below `orders-`, where whoever may load orders may write


class ElasticsearchProblem(Problem):
    """Elasticsearch does not do what it is asked to."""

    def __init__(self, sentence: str, *, retry: bool = False) -> None:
        super().__init__(sentence)
        self.retry = retry


def index_name(name: str) -> str:
    """The name of an index or alias in the cluster: with the configured prefix."""
    return f"{configs.INDEX_PREFIX}{name}"


def connect(url: str | None = None) -> Elasticsearch:
    """A client of the cluster at `url`, else at ELASTICSEARCH_URL, else of the Airflow connection."""
    url = url or configs.ELASTICSEARCH_URL
    host, arguments = _from_url(url) if url else _from_connection(configs.ELASTICSEARCH_CONN_ID)
    arguments["request_timeout"] = configs.REQUEST_TIMEOUT_SECONDS
    arguments["connections_per_node"] = configs.BULK_REQUESTS_IN_FLIGHT + 2
    if arguments.get("verify_certs") is False:
        arguments["ssl_show_warn"] = False  # whoever turned it off knows
    try:
        client = ElasticsearchPythonHook([host], arguments).get_conn
    except (ValueError, OSError) as error:
        raise ElasticsearchProblem(f"The Elasticsearch at {host} cannot be connected to: {error}.") from None
    logging.getLogger("elastic_transport.transport").setLevel(logging.WARNING)  # a line per request helps nobody
    reconnecting: Elasticsearch = client.options(retry_on_timeout=True)
    return reconnecting


def _from_url(url: str) -> tuple[str, dict[str, Any]]:
    # The address may hold a password: no message may repeat it as it stands.
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 9200)
    except ValueError:
        valid = False
    if not valid:
        raise ElasticsearchProblem(
            "ELASTICSEARCH_URL is not an address like https://user:password@host:9200; correct it."
        )
    login = {"basic_auth": (unquote(parts.username), unquote(parts.password or ""))} if parts.username else {}
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}", login


def _from_connection(connection_id: str) -> tuple[str, dict[str, Any]]:
    try:
        connection = BaseHook.get_connection(connection_id)
    except AirflowNotFoundException:
        raise ElasticsearchProblem(
            f"There is no Airflow connection `{connection_id}`: create it (host, port, schema http or https, login, "
            "password), or set ELASTICSEARCH_URL."
        ) from None
    if not connection.host:
        raise ElasticsearchProblem(f"The Airflow connection `{connection_id}` has no host; enter the cluster's.")
    arguments = {name: value for name, value in connection.extra_dejson.items() if name in PASSED_ON}
    if connection.login and "api_key" not in arguments:
        arguments["basic_auth"] = (connection.login, connection.password or "")
    return f"{connection.schema or 'http'}://{connection.host}:{connection.port or 9200}", arguments


def address(client: Elasticsearch) -> str:
    """Where the client connects to; never with a password."""
    return ", ".join(node.base_url for node in client.transport.node_pool.all())


def problem(error: ApiError | TransportError, client: Elasticsearch, doing: str) -> ElasticsearchProblem:
    """What went wrong while `doing` something, and what to do about it, in one sentence."""
    place = f"Elasticsearch at {address(client)}"
    if isinstance(error, TransportError):
        reason = re.sub(r"\s+", " ", str(error.message))[:300].rstrip(".")
        return ElasticsearchProblem(
            f"{place} did not answer while {doing} ({reason}); start it, or correct its address.", retry=True
        )
    status, reason = error.meta.status, reason_of(error)
    if status == 401:
        return ElasticsearchProblem(
            f"{place} refused the login while {doing}; correct the user name and password (or API key) in the Airflow "
            f"connection `{configs.ELASTICSEARCH_CONN_ID}` or in ELASTICSEARCH_URL."
        )
    if status == 403:
        return ElasticsearchProblem(
            f"{place} does not allow this user {doing}: {reason}; grant it the cluster privileges `monitor` and "
            f"`manage_index_templates`, and `all` on the indexes {index_name('orders*')}, {index_name('downloads*')}, "
            f"{index_name('reports*')}, {index_name('quarantine*')} and {index_name('notes*')}."
        )
    busy = status == 429 or status >= 500
    advice = "; try again later, or give it more memory" if busy else ""
    return ElasticsearchProblem(f"{place} answered {status} while {doing}: {reason}{advice}.", retry=busy)


def reason_of(error: ApiError) -> str:
    """The reason in an error's body, one line."""
    body = error.body
    said = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(said, dict):
        said = explained(said)
    return re.sub(r"\s+", " ", str(said or error.message))[:300].rstrip(".;")


def explained(error: dict[str, Any]) -> str:
    """An error object's reason with that of its first cause."""
    own = cause = str(error.get("reason") or error.get("type"))
    while error := error.get("caused_by", {}):
        cause = str(error.get("reason") or cause)
    return own if cause in own else f"{own} ({cause})"


@contextmanager
def plainly(client: Elasticsearch, doing: str) -> Iterator[None]:
    """Turn the client library's errors into an `ElasticsearchProblem`."""
    try:
        yield
    except (ApiError, TransportError) as error:
        raise problem(error, client, doing) from None


def check_elasticsearch(client: Elasticsearch) -> dict[str, Any]:
    """Whether the cluster is reachable, of the right version, healthy and writable.

    Returns its address, version, status and number of nodes. Raises `ElasticsearchProblem`.
    """
    place = f"Elasticsearch at {address(client)}"
    with plainly(client, "being asked for its version"):
        # Not `GET /`: the embedded node has none.
        nodes = client.nodes.info(filter_path="nodes.*.version")
        versions = sorted({str(node["version"]) for node in nodes["nodes"].values()})
    for version in versions:
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if numbers < OLDEST_VERSION or numbers[0] > NEWEST_MAJOR:
            raise ElasticsearchProblem(f"{place} is version {version}; use one from 8.19 up to, but not including, 9.")
    with plainly(client, "being asked for its health"):
        health = client.cluster.health()
    if health["status"] == "red":
        raise ElasticsearchProblem(
            f"{place} is red (shards that are missing: {health['unassigned_shards']}); "
            "GET _cluster/allocation/explain says why: repair that first.",
            retry=True,
        )
    _try_to_write(client)
    return {
        "address": address(client),
        "version": versions[0],
        "status": health["status"],
        "nodes": health["number_of_nodes"],
    }


def _try_to_write(client: Elasticsearch) -> None:
    name = index_name(WRITE_CHECK)
    with plainly(client, "trying to write"):
        client.options(ignore_status=400).indices.create(index=name)  # 400: another check at this very moment
        client.index(index=name, id="check", document={})
        with contextlib.suppress(NotFoundError):
            client.indices.delete(index=name)
