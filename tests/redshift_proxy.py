"""Amazon Redshift for tests: a real PostgreSQL behind a proxy that speaks as Redshift does.

The driver asks for things that PostgreSQL does not know, and Redshift has a statement that it does not know: `UNLOAD`,
whose query runs on the PostgreSQL and whose files go to an S3 server. All else is PostgreSQL's own answer. JSON passes
for Redshift's type for documents, and a `FETCH` of more rows than a single node allows is refused.
"""

import io
import json
import re
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import boto3
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer
from psycopg.sql import SQL
from psycopg.types.string import TextLoader

from tests.postgres_server import PostgresConnector, PostgresServer

BUCKET = "exchange"
KNOWN_TO_POSTGRES = ("user", "database", "application_name", "client_encoding")
VERSION = b"server_version\x008.0.2\x00"
SASL = struct.pack("!i", 10)
JSON, SUPER = 114, 4000
MOST_ROWS_PER_FETCH = 1000
FETCH = re.compile(r"FETCH FORWARD (\d+) FROM needed_rows")
UNLOAD = re.compile(
    r"UNLOAD \('(.*)'\) TO 's3://([^/]+)/([^']+)' IAM_ROLE (default|'[^']+') FORMAT AS PARQUET MANIFEST", re.DOTALL
)
ARROW = {16: pa.bool_(), 20: pa.int64(), 21: pa.int16(), 23: pa.int32(), 701: pa.float64()}


class RedshiftProxy(socketserver.ThreadingTCPServer):
    """Passes messages on. `statements` are those asked for; the other attributes say what is to go wrong next."""

    daemon_threads = True

    def __init__(self, server: PostgresServer, s3: Any = None) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.postgres = server
        self.s3 = s3
        self.statements: list[str] = []
        self.rows_until_cut: int | None = None  # then the connection breaks, in the midst of a message
        self.loses_a_file = False  # the manifest of an UNLOAD leaves one out
        self.refusal: tuple[str, str, str] | None = None  # start of a statement, SQLSTATE, message

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def airflow_connection(self, **changes: Any) -> str:
        """The connection as Airflow has it; `extra` is added to what the driver needs to do without TLS."""
        extra = {"ssl": False, **changes.pop("extra", {})}
        return self.postgres.airflow_connection(
            **{"conn_type": "redshift", "port": self.port, "extra": extra, **changes}
        )


class _Session(socketserver.BaseRequestHandler):
    server: RedshiftProxy

    def handle(self) -> None:
        address = ("127.0.0.1", self.server.postgres.port)
        with socket.create_connection(address) as self.backend, self.request.makefile("rb") as asked:
            for side in (self.backend, self.request):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.unloaded_rows = 0
            self.backend.sendall(self._start_up(asked))
            answers = threading.Thread(target=self._answer, daemon=True)
            answers.start()
            with suppress(OSError):  # one side has gone
                for code, body in _messages(asked):
                    self.backend.sendall(_message(code, self._question(body) if code == b"P" else body))
            _shut(self.backend)
            answers.join()

    def _start_up(self, asked: BinaryIO) -> bytes:
        (length,) = struct.unpack("!i", asked.read(4))
        body = asked.read(length - 4)
        words = body[4:].decode().rstrip("\x00").split("\x00")
        known = {name: value for name, value in zip(words[::2], words[1::2], strict=True) if name in KNOWN_TO_POSTGRES}
        self.database = known["database"]
        kept = body[:4] + b"".join(f"{name}\x00{value}\x00".encode() for name, value in known.items()) + b"\x00"
        return struct.pack("!i", len(kept) + 4) + kept

    def _answer(self) -> None:
        with suppress(OSError), self.backend.makefile("rb") as answered:  # one side has gone
            for code, body in _messages(answered):
                message = _message(code, _as_redshift(code, body))
                if code == b"D" and self.server.rows_until_cut is not None:
                    self.server.rows_until_cut -= 1
                    if self.server.rows_until_cut < 0:
                        self.request.sendall(message[: len(message) // 2])
                        break
                self.request.sendall(message)
        _shut(self.request)

    def _question(self, body: bytes) -> bytes:
        name, statement, rest = body.split(b"\x00", 2)
        self.server.statements.append(statement.decode())
        return b"\x00".join((name, self._for_postgres(statement.decode()).encode(), rest))

    def _for_postgres(self, statement: str) -> str:
        if self.server.refusal is not None and statement.startswith(self.server.refusal[0]):
            return _refusal(*self.server.refusal[1:])
        if (fetch := FETCH.fullmatch(statement)) and int(fetch[1]) > MOST_ROWS_PER_FETCH:
            return _refusal(
                "XX000",
                f"Fetch size {fetch[1]} exceeds the limit of {MOST_ROWS_PER_FETCH} for a single node configuration. "
                "Reduce the client fetch/cache size or upgrade to a multi node installation.",
            )
        if statement == "SELECT pg_last_unload_count()":
            return f"SELECT {self.unloaded_rows}::bigint"
        if unload := UNLOAD.fullmatch(statement):
            select = re.sub(r"\\(.)|''", lambda found: found[1] or "'", unload[1])
            return self._unload(select, bucket=unload[2], prefix=unload[3])
        return statement

    def _unload(self, select: str, *, bucket: str, prefix: str) -> str:
        """The statement that stands for it: one that does nothing, or fails as it did."""
        try:
            table = self._table(select)
        except psycopg.Error:
            return select  # it fails with the same error
        half = table.num_rows // 2
        # Named against their order: only the manifest has it.
        parts = {"0001_part_00.parquet": table[:half], "0000_part_00.parquet": table[half:]}
        try:
            for name, part in parts.items():
                if part.num_rows:
                    content = io.BytesIO()
                    pq.write_table(part, content)
                    self.server.s3.put_object(Bucket=bucket, Key=prefix + name, Body=content.getvalue())
            entries = [{"url": f"s3://{bucket}/{prefix}{name}"} for name, part in parts.items() if part.num_rows]
            if self.server.loses_a_file:
                del entries[0]
            if entries:
                manifest = json.dumps({"entries": entries})
                self.server.s3.put_object(Bucket=bucket, Key=f"{prefix}manifest", Body=manifest.encode())
        except ClientError as error:
            return _refusal("XX000", f"S3ServiceException:{error.response['Error']['Message']}")
        self.unloaded_rows = table.num_rows
        return "SET client_min_messages TO notice"

    def _table(self, select: str) -> pa.Table:
        with self.server.postgres.connected(self.database) as connection:
            connection.execute("SET timezone TO 'UTC'")
            connection.adapters.register_loader("json", TextLoader)
            cursor = connection.execute(select.encode())
            rows, columns = cursor.fetchall(), cursor.description or []
        types = [ARROW.get(column.type_code, pa.string()) for column in columns]
        values = list(zip(*rows, strict=True)) or [()] * len(columns)
        arrays = [_array(one, kind) for one, kind in zip(values, types, strict=True)]
        return pa.table(arrays, names=[column.name for column in columns])


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """As the type says, but nobody looks whether bytes, which a database without an encoding gives, are text."""
    if any(isinstance(value, bytes) for value in values):
        return pa.array(values, pa.binary()).view(pa.string())
    return pa.array(values, kind)


def _messages(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while len(head := stream.read(5)) == 5:
        (length,) = struct.unpack("!i", head[1:])
        yield head[:1], stream.read(length - 4)


def _message(code: bytes, body: bytes) -> bytes:
    return code + struct.pack("!i", len(body) + 4) + body


def _as_redshift(code: bytes, body: bytes) -> bytes:
    if code == b"S" and body.startswith(b"server_version\x00"):
        return VERSION
    if code == b"R" and body.startswith(SASL):
        return body[:-1]  # the driver would take the end of the list for a mechanism without a name
    if code != b"T":
        return body
    described, place = bytearray(body), 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        place = body.index(b"\x00", place) + 1
        if struct.unpack_from("!i", body, place + 6)[0] == JSON:
            struct.pack_into("!i", described, place + 6, SUPER)
        place += 18
    return bytes(described)


def _refusal(state: str, message: str) -> str:
    raising = SQL("BEGIN RAISE EXCEPTION USING ERRCODE = {}, MESSAGE = {}; END").format(state, message)
    return SQL("DO {}").format(raising.as_string()).as_string()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # it may be closed already
        connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class RedshiftConnector(PostgresConnector):
    """The side of the contract tests: PostgreSQL's tables, seen through the proxy."""

    name: str = "redshift"

    def place(self, table: str) -> dict[str, object]:
        return {**super().place(table), "connector": "redshift", "connection": "contract_redshift"}

    def place_query(self, table: str) -> dict[str, object]:
        return {**super().place_query(table), "connector": "redshift", "connection": "contract_redshift"}


def unload_url(connection: str) -> str:
    """What REDSHIFT_UNLOAD_URL is to be: the connection's name, then the bucket."""
    return f"s3://{connection}@{BUCKET}/unloaded"


@contextmanager
def exchange_bucket(connection: str) -> Iterator[Any]:
    """A client of an S3 server with the bucket that `unload_url(connection)` names.

    Airflow keeps the file system of a connection as long as the process lives: each server needs a name of its own.
    """
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "http_proxy", "HTTP_PROXY"):
            environment.delenv(name, raising=False)
        host, port = server.get_host_and_port()
        url, region, login = f"http://{host}:{port}", "us-east-1", {"login": "key", "password": "a-secret"}
        extra = {"endpoint_url": url, "region_name": region}
        named = f"AIRFLOW_CONN_{connection.upper()}"
        environment.setenv(named, json.dumps({"conn_type": "aws", **login, "extra": extra}))
        client = boto3.client(
            "s3", endpoint_url=url, region_name=region, aws_access_key_id="key", aws_secret_access_key="a-secret"
        )
        client.create_bucket(Bucket=BUCKET)
        yield client
        client.close()
    server.stop()


@contextmanager
def redshift_proxy(server: PostgresServer, s3: Any = None) -> Iterator[RedshiftProxy]:
    """A proxy before the server; `s3` is a boto3 client of where `UNLOAD` writes."""
    with RedshiftProxy(server, s3) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
