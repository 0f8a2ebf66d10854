"""A local server that speaks as much of BigQuery's REST API as its Python client uses; DuckDB runs the SQL.

Point the client at it with BIGQUERY_EMULATOR_HOST and an Airflow connection with `is_anonymous`. `storage_server` hands
out the results of its jobs as the Storage Read API does.
"""

import base64
import json
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import grpc
import pyarrow as pa
import sqlglot
from google.cloud.bigquery_storage import BigQueryReadClient, ReadSession, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from sqlglot import exp

PROJECT, DATASET, LOCATION, CONNECTION = "shop-project", "shop", "EU", "shop_bigquery"
BYTES_PER_VALUE = 8
SECONDS_PER_POLL = 0.25  # how long a request for the result of a running job is kept waiting
TYPES = {
    "text": "VARCHAR",
    "timestamptz": "TIMESTAMPTZ",
    "timestamp": "TIMESTAMP",
    "date": "DATE",
    "numeric": "DECIMAL(38, 9)",
    "bignumeric": "DECIMAL(38, 20)",
    "double": "DOUBLE",
    "bigint": "BIGINT",
    "boolean": "BOOLEAN",
    "json": "JSON",
    "bytes": "BLOB",
}
FIELD_TYPES = {
    "VARCHAR": "STRING",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "TIMESTAMP": "DATETIME",
    "DATE": "DATE",
    "DOUBLE": "FLOAT",
    "BIGINT": "INTEGER",
    "INTEGER": "INTEGER",
    "BOOLEAN": "BOOLEAN",
    "JSON": "JSON",
    "BLOB": "BYTES",
    "DECIMAL(38,9)": "NUMERIC",
}
# BigQuery writes 12.50 as 12.5 and 2.0 as 2.
MACROS = """
CREATE MACRO memory.main.bigquery_text(x) AS CASE
    WHEN typeof(x) LIKE 'DECIMAL%' THEN regexp_replace(regexp_replace(x::VARCHAR, '(\\.\\d*?)0+$', '\\1'), '\\.$', '')
    WHEN typeof(x) = 'DOUBLE' THEN regexp_replace(x::VARCHAR, '\\.0$', '')
    ELSE x::VARCHAR END;
CREATE MACRO memory.main.bigquery_json(x) AS coalesce(to_json(x)::VARCHAR, 'null');
"""


@dataclass
class Fault:
    """An answer instead of the server's own, for requests whose method and path hold `only`; `status` 0 is a reset."""

    status: int
    reason: str = ""
    message: str = ""
    only: str = "/"
    after: int = 0  # requests let through before


@dataclass
class _Job:
    resource: dict[str, Any]
    result: pa.Table
    fields: list[dict[str, Any]]
    polls_left: int = 0

    def described(self) -> dict[str, Any]:
        if self.polls_left:
            return {**self.resource, "status": {"state": "RUNNING"}}
        return self.resource


class BigQueryError(Exception):
    """What the server answers instead of a result."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class BigQueryServer(ThreadingHTTPServer):
    """`requests` are (method, path, body) in order; `faults` are used up. The next query job fails with `job_error` and
    is done after `polls` requests for its result."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.database = duckdb.connect(":memory:")
        self.database.execute("SET TimeZone = 'UTC'")
        self.database.execute(MACROS)
        self.database.execute(f"ATTACH ':memory:' AS \"{PROJECT}\"")
        self.database.execute(f'CREATE SCHEMA "{PROJECT}".{DATASET}')
        self.lock = threading.Lock()
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.faults: deque[Fault] = deque()
        self.jobs: dict[str, _Job] = {}
        self.job_error: tuple[str, str] | None = None
        self.polls = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def forget(self) -> None:
        """What was asked, and what should go wrong."""
        self.requests.clear()
        self.faults.clear()
        self.jobs.clear()
        self.job_error, self.polls = None, 0

    def load(self, table: str, columns: dict[str, str], rows: list[tuple[Any, ...]]) -> None:
        """Replace the table by rows of the neutral column types that TYPES names."""
        name = f'"{PROJECT}".{DATASET}."{table}"'
        listed = ", ".join(f'"{column}" {TYPES.get(kind, kind)}' for column, kind in columns.items())
        with self.lock:
            self.database.execute(f"CREATE OR REPLACE TABLE {name} ({listed})")
            if rows:
                self.database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})", rows)

    # ── what the client asks ───────────────────────────────────────────────────────────────────────────────────────
    def table(self, project: str, dataset: str, name: str) -> dict[str, Any]:
        with self.lock:
            found = self.database.execute(
                "SELECT table_type FROM information_schema.tables "
                "WHERE (table_catalog, table_schema, table_name) = (?, ?, ?)",
                [project, dataset, name],
            ).fetchall()
            if not found:
                raise BigQueryError(404, "notFound", f"Not found: Table {project}:{dataset}.{name}")
            relation = self.database.sql(f'SELECT * FROM "{project}"."{dataset}"."{name}"')
            fields = _fields(relation)
            is_view = found == [("VIEW",)]
            rows = 0 if is_view else len(relation)
        return {
            "tableReference": {"projectId": project, "datasetId": dataset, "tableId": name},
            "schema": {"fields": fields},
            "numRows": str(rows),
            "numBytes": str(rows * len(fields) * BYTES_PER_VALUE),
            "type": "VIEW" if is_view else "TABLE",
            "location": LOCATION,
        }

    def insert(self, project: str, body: dict[str, Any]) -> dict[str, Any]:
        configuration, reference = body["configuration"], body["jobReference"]
        query = configuration["query"]
        parsed, parameters = _translated(query)
        size = self._bytes(parsed)
        destination = {"projectId": project, "datasetId": "_results", "tableId": reference.get("jobId")}
        resource: dict[str, Any] = {
            "jobReference": {"projectId": project, "location": LOCATION, **reference},
            "configuration": {**configuration, "query": {**query, "destinationTable": destination}},
            "status": {"state": "DONE"},
            "statistics": {"totalBytesProcessed": str(size), "query": {"totalBytesProcessed": str(size)}},
        }
        with self.lock:
            try:
                relation = self.database.sql(parsed.sql("duckdb"), params=parameters)
                fields = _fields(relation)
                if configuration.get("dryRun"):
                    resource["statistics"]["query"]["schema"] = {"fields": fields}
                    return resource
                result = relation.to_arrow_table()
            except (duckdb.CatalogException, duckdb.BinderException) as error:
                first = str(error).splitlines()[0]
                if "does not exist" in first and "column" not in first:
                    raise BigQueryError(404, "notFound", f"Not found: {first}") from None
                raise BigQueryError(400, "invalidQuery", first) from None
        failed, self.job_error = self.job_error, None
        limit = int(query["maximumBytesBilled"])
        if failed is None and size > limit:
            said = f"Query exceeded limit for bytes billed: {limit}. {size} or higher required."
            failed = ("bytesBilledLimitExceeded", said)
        if failed is not None:
            answer = {"reason": failed[0], "message": failed[1]}
            resource["status"] = {"state": "DONE", "errorResult": answer, "errors": [answer]}
        job = _Job(resource, result, fields, self.polls)
        self.jobs[reference["jobId"]] = job
        return job.described()

    def _bytes(self, parsed: exp.Expression) -> int:
        columns = {column.name for column in parsed.find_all(exp.Column)}
        size = 0
        for table in parsed.find_all(exp.Table):
            found = self.table(table.catalog or PROJECT, table.db, table.name)
            there = {one["name"] for one in found["schema"]["fields"]}
            read = there if parsed.find(exp.Star) else there & columns
            size += int(found["numRows"]) * len(read) * BYTES_PER_VALUE
        return size

    def results(self, job_id: str, parameters: dict[str, list[str]]) -> dict[str, Any]:
        job = self.jobs[job_id]
        if job.polls_left:
            time.sleep(SECONDS_PER_POLL)
            job.polls_left -= 1
            return {"jobReference": job.resource["jobReference"], "jobComplete": False}
        failed = job.resource["status"].get("errorResult")
        if failed:
            raise BigQueryError(400, failed["reason"], failed["message"])
        first = int(parameters.get("pageToken", ["0"])[0])
        count = int(parameters.get("maxResults", ["100000"])[0])
        answer: dict[str, Any] = {
            "jobReference": job.resource["jobReference"],
            "jobComplete": True,
            "schema": {"fields": job.fields},
            "totalRows": str(job.result.num_rows),
            "totalBytesProcessed": job.resource["statistics"]["totalBytesProcessed"],
        }
        page = job.result.slice(first, count)
        if page.num_rows:
            columns = [[_cell(value) for value in column.to_pylist()] for column in page.columns]
            answer["rows"] = [{"f": [{"v": value} for value in row]} for row in zip(*columns, strict=True)]
        if 0 < count < job.result.num_rows - first:
            answer["pageToken"] = str(first + count)
        return answer

    def fault(self, request: str) -> Fault | None:
        for fault in self.faults:
            if fault.only in request:
                if fault.after:
                    fault.after -= 1
                    return None
                self.faults.remove(fault)
                return fault
        return None


def _translated(query: dict[str, Any]) -> tuple[exp.Expression, dict[str, Any]]:
    """The statement in DuckDB's terms, and the values of its named parameters."""
    assert query["useLegacySql"] is False
    try:
        parsed = sqlglot.parse_one(query["query"], read="bigquery")
    except sqlglot.errors.ParseError as error:
        first = error.errors[0]
        said = f"Syntax error: {first['description']} at [{first['line']}:{first['col']}]"
        raise BigQueryError(400, "invalidQuery", said) from None
    for select in parsed.find_all(exp.Select):
        names = [one.alias_or_name.lower() for one in select.expressions]
        twice = sorted({name for name in names if name != "*" and names.count(name) > 1})
        if twice:
            said = "Duplicate column names in the result are not supported. Found duplicate(s): " + ", ".join(twice)
            raise BigQueryError(400, "invalidQuery", said)

    def ours(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Cast) and node.is_type("text"):
            return exp.Anonymous(this="memory.main.bigquery_text", expressions=[node.this])
        if isinstance(node, exp.JSONFormat):
            return exp.Anonymous(this="memory.main.bigquery_json", expressions=[node.this])
        return node

    values = {}
    for parameter in query.get("queryParameters", []):
        kind, raw = parameter["parameterType"]["type"], parameter["parameterValue"]["value"]
        values[parameter["name"]] = date.fromisoformat(raw) if kind == "DATE" else datetime.fromisoformat(raw)
    return parsed.transform(ours), values


def _fields(relation: duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    return [_field(name, str(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)]


def _field(name: str, kind: str) -> dict[str, Any]:
    if kind.endswith("[]"):
        return {**_field(name, kind[:-2]), "mode": "REPEATED"}
    if kind.startswith("STRUCT"):
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": [{"name": "part", "type": "STRING"}]}
    found = FIELD_TYPES.get(kind) or ("BIGNUMERIC" if kind.startswith("DECIMAL") else "INTEGER")  # NULL is of the last
    return {"name": name, "type": found, "mode": "NULLABLE"}


def _cell(value: Any) -> str | None:
    """A value as BigQuery writes it in JSON, timestamps as integers."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime) and value.tzinfo is not None:
        since = value - datetime(1970, 1, 1, tzinfo=UTC)
        return str((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(str(value), repr(value))
    return format(value, "f") if isinstance(value, Decimal) else str(value)


class _Handler(BaseHTTPRequestHandler):
    server: BigQueryServer
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if "json" in self.headers.get("Content-Type", "") else {}  # a form asks for a token
        self.server.requests.append((self.command, self.path, body))
        fault = self.server.fault(f"{self.command} {self.path}")
        if fault is not None and fault.status == 0:
            # A zero linger makes closing the socket a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        try:
            if fault is not None:
                raise BigQueryError(fault.status, fault.reason, fault.message)
            self._reply(200, self._answer(body))
        except BigQueryError as error:
            said = {"reason": error.reason, "message": error.message, "domain": "global"}
            self._reply(error.status, {"error": {"code": error.status, "message": error.message, "errors": [said]}})

    do_GET = do_POST = _handle  # noqa: N815

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        split = urlsplit(self.path)
        path, parameters = split.path.removeprefix("/bigquery/v2"), parse_qs(split.query)
        if found := re.fullmatch(r"/projects/([^/]+)/jobs", path):
            return self.server.insert(found[1], body)
        if found := re.fullmatch(r"/projects/[^/]+/jobs/([^/]+)", path):
            return self.server.jobs[found[1]].described()
        if found := re.fullmatch(r"/projects/[^/]+/jobs/([^/]+)/cancel", path):
            return {"job": self.server.jobs[found[1]].described()}
        if found := re.fullmatch(r"/projects/[^/]+/queries/([^/]+)", path):
            return self.server.results(found[1], parameters)
        if found := re.fullmatch(r"/projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)", path):
            return self.server.table(found[1], found[2], found[3])
        raise BigQueryError(404, "notFound", f"no such method: {self.command} {path}")

    def _reply(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class BigQueryConnector:
    """What the contract tests ask of a connector: rows into a table, and the keys of sources.yaml that read it."""

    name = "bigquery"

    def __init__(self, server: BigQueryServer) -> None:
        self.server = server

    def load(self, table: str, columns: dict[str, str], rows: list[tuple[Any, ...]]) -> None:
        self.server.load(table, columns, rows)

    def place(self, table: str) -> dict[str, object]:
        return {"connector": "bigquery", "connection": CONNECTION, "table": f"{PROJECT}.{DATASET}.{table}"}

    def place_query(self, table: str) -> dict[str, object]:
        query = f"SELECT * FROM `{PROJECT}.{DATASET}.{table}` WHERE '%' = '%' -- all of them"
        return {"connector": "bigquery", "connection": CONNECTION, "query": query}


def environment(server: BigQueryServer) -> dict[str, str]:
    """The environment variables that make Airflow's hook talk to `server`."""
    return {"BIGQUERY_EMULATOR_HOST": server.url, f"AIRFLOW_CONN_{CONNECTION.upper()}": airflow_connection()}


def airflow_connection(conn_type: str = "google_cloud_platform", **changes: Any) -> str:
    extra = {"project": PROJECT, "location": LOCATION, "is_anonymous": True, **changes}
    kept = {key: value for key, value in extra.items() if value is not None}
    return json.dumps({"conn_type": conn_type, "extra": kept})


@contextmanager
def bigquery_server() -> Iterator[BigQueryServer]:
    """A running server with the empty dataset PROJECT.DATASET."""
    with BigQueryServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.database.close()


# ── the Storage Read API ────────────────────────────────────────────────────────────────────────────────────────────
STORAGE_SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"
STORAGE_ROWS_PER_MESSAGE = 2
STORAGE_CODES = {403: grpc.StatusCode.PERMISSION_DENIED, 503: grpc.StatusCode.UNAVAILABLE}


@contextmanager
def storage_server(server: BigQueryServer) -> Iterator[Callable[[], BigQueryReadClient]]:
    """Hands out the results of `server`'s jobs over gRPC; gives a function that makes clients of it.

    The server's faults whose `only` is CreateReadSession or ReadRows are for it, the latter once a message.
    """

    def broken(method: str, context: grpc.ServicerContext) -> None:
        server.requests.append(("RPC", method, {}))
        if fault := server.fault(f"RPC {method}"):
            context.abort(STORAGE_CODES[fault.status], fault.message)

    def create(request: types.CreateReadSessionRequest, context: grpc.ServicerContext) -> ReadSession:
        broken("CreateReadSession", context)
        assert request.max_stream_count == 1
        job_id = request.read_session.table.rpartition("/")[2]
        schema = server.jobs[job_id].result.schema.serialize().to_pybytes()
        return ReadSession(name="session", streams=[{"name": job_id}], arrow_schema={"serialized_schema": schema})

    def read(request: types.ReadRowsRequest, context: grpc.ServicerContext) -> Iterator[types.ReadRowsResponse]:
        rows = server.jobs[request.read_stream].result.slice(request.offset)
        for batch in rows.combine_chunks().to_batches(max_chunksize=STORAGE_ROWS_PER_MESSAGE):
            broken("ReadRows", context)
            yield types.ReadRowsResponse(
                row_count=batch.num_rows,
                arrow_record_batch={"serialized_record_batch": batch.serialize().to_pybytes()},
            )

    handlers = {
        "CreateReadSession": grpc.unary_unary_rpc_method_handler(
            create, types.CreateReadSessionRequest.deserialize, ReadSession.serialize
        ),
        "ReadRows": grpc.unary_stream_rpc_method_handler(
            read, types.ReadRowsRequest.deserialize, types.ReadRowsResponse.serialize
        ),
    }
    with ThreadPoolExecutor(2) as pool:
        storage = grpc.server(pool)
        storage.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(STORAGE_SERVICE, handlers),))
        port = storage.add_insecure_port("127.0.0.1:0")
        storage.start()

        def client() -> BigQueryReadClient:
            channel = grpc.insecure_channel(f"127.0.0.1:{port}")
            return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))

        try:
            yield client
        finally:
            storage.stop(None).wait()
