"""PostgreSQL on a real server: what is read, how a period narrows it, and each mistake in one sentence."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import configs
from include.quality.extract import Extracted, extract_rows
from include.schemas.source_kinds import SOURCE_KINDS
from include.sources.definition import ColumnMapping, DatabaseOptions, Source
from include.sources.postgres import read_postgres
from include.sources.problems import SourceError, SourceUnreachable
from include.sources.raw_batch import BATCH_BYTES, NOT_VALID_TEXT, ROW_COLUMN
from include.sources.read import check_source, read_source
from include.staging.storage import storage
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server

pytestmark = pytest.mark.contract

MAPPED = {"id": "id", "client": "client", "session_start_date": "started", "payment_amount": "amount"}
TABLE = "CREATE TABLE {} (id bigint, client text, started timestamptz, amount numeric(10,2))"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW_CONN_SHOP", server.airflow_connection())
        environment.setenv("AIRFLOW_CONN_WRONG_PASSWORD", server.airflow_connection(password="not-it"))
        environment.setenv("AIRFLOW_CONN_SILENT", server.airflow_connection(port=9))
        environment.setenv("AIRFLOW_CONN_NO_DATABASE", server.airflow_connection(schema="shpo"))
        environment.setenv("AIRFLOW_CONN_GUEST", server.airflow_connection(login="guest"))
        environment.setenv("AIRFLOW_CONN_BYTES", server.airflow_connection(schema="bytes"))
        server.execute(TABLE.format("sessions"))
        server.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
        server.execute(
            "INSERT INTO sessions SELECT i, 'c' || i, timestamptz '2024-01-01 12:00Z' + i * interval '1 day',"
            " i / 4.0 FROM generate_series(1, 100) i"
        )
        server.execute("INSERT INTO sessions VALUES (101, 'c', NULL, 1), (NULL, NULL, '2024-01-09 12:00Z', 'NaN')")
        yield server


def sessions(table: str | None = "sessions", *, connection: str = "shop", **more: Any) -> Source:
    mapping = {name: ColumnMapping(columns=(column,)) for name, column in {**MAPPED, **more.pop("mapped", {})}.items()}
    mapping["has_purchased"] = ColumnMapping(constant=True)
    kind = SOURCE_KINDS["sessions"]
    return Source(kind, "postgres", mapping, Path(), connection=connection, table=table, **more)


def rows(source: Source, batch_rows: int = 1000, **window: Any) -> list[dict[str, Any]]:
    batches = read_postgres(source, batch_rows=batch_rows, **window)
    return [row for batch in batches for row in batch.rows.to_pylist()]


def extracted(source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Extracted:
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(folder / "tmp"))
    target, latest = storage(folder / "run"), datetime(2026, 1, 1)
    options = DatabaseOptions(timezone=source.timezone)
    return extract_rows(source, read_source(source, options), options, target=target, run_id="r", latest=latest)


def test_rows_are_numbered_whatever_the_batches(server: PostgresServer) -> None:
    regular = sessions(None, query="SELECT * FROM sessions WHERE id <= 100;")
    whole = rows(regular)
    assert [row[ROW_COLUMN] for row in whole] == list(range(1, 101))
    assert rows(regular, batch_rows=7) == whole


def test_a_period_is_read_with_a_margin_and_with_rows_that_have_no_date(server: PostgresServer) -> None:
    found = rows(sessions(), start=date(2024, 2, 1), end=date(2024, 2, 2))
    days = sorted(row["started"].astimezone(UTC).date() for row in found if row["started"])
    assert (days[0], days[-1], len(days)) == (date(2024, 1, 30), date(2024, 2, 4), 6)
    assert [row["id"] for row in found if row["started"] is None] == ["101"]


def test_changes_are_read_from_the_instant_on(server: PostgresServer) -> None:
    server.execute("CREATE TABLE changing AS SELECT *, started AS changed FROM sessions WHERE id <= 100")
    found = rows(sessions("changing", changed_at="changed"), changed_since=datetime(2024, 4, 9, 12))
    assert [row["id"] for row in found] == ["99", "100"]


def test_missing_keys_and_values_that_are_no_numbers_go_to_quarantine(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = extracted(sessions(), tmp_path, monkeypatch)
    assert (found.read, found.good, found.quarantined) == (102, 100, 2)
    assert found.by_rule == {
        "client_missing": 1,
        "id_missing": 1,
        "payment_amount_not_a_number": 1,
        "session_start_date_missing": 1,
    }


def test_timestamps_without_a_zone_are_read_in_that_of_the_source(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.execute("CREATE TABLE local (id text, client text, started timestamp, amount numeric(10,2))")
    times = ("2024-03-31 01:59", "2024-03-31 03:00", "2024-10-27 01:59", "2024-10-27 03:00", "infinity")
    for time in times:
        server.execute(f"INSERT INTO local VALUES ('{time}', 'c', '{time}', 1)")
    found = extracted(sessions("local", timezone="Europe/Berlin"), tmp_path, monkeypatch)
    landed = [str(one) for one in pq.read_table(storage(found.files[0]).path)["session_start_date"].to_pylist()]
    utc = ["2024-03-31 00:59:00", "2024-03-31 01:00:00", "2024-10-26 23:59:00", "2024-10-27 02:00:00"]
    assert landed == utc
    assert found.by_rule == {"session_start_date_not_a_date": 1}


YEARS = ("0001-01-01", "9999-12-31", "infinity", "-infinity", "0001-12-31 BC", "10000-01-01", "200000-01-01")


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [
        ("date", "0001-01-01", "9999-12-31"),
        ("timestamp", "0001-01-01 00:00:00.000000", "9999-12-31 00:00:00.000000"),
        ("timestamptz", "0001-01-01 00:00:00.000000Z", "9999-12-31 00:00:00.000000Z"),
    ],
)
def test_instants_that_no_calendar_here_holds_are_texts(
    server: PostgresServer, kind: str, first: str, last: str
) -> None:
    values = ", ".join(f"('{year}'::{kind})" for year in [*YEARS, "294276-12-31"])
    query = f"SELECT 1 AS id, 'c' AS client, started, 1 AS amount FROM (VALUES {values}, (NULL)) AS years(started)"
    (batch,) = read_postgres(sessions(None, query=query), batch_rows=10)
    out = "out of range"
    found = [first, last, "infinity", "-infinity", out, out, out, out, None]
    assert batch.rows["started"].to_pylist() == found
    usual = f"SELECT * FROM ({query}) AS every WHERE started BETWEEN '0001-01-01' AND '9999-12-31'"
    (batch,) = read_postgres(sessions(None, query=usual), batch_rows=10)
    assert [str(one)[:10] for one in batch.rows["started"].to_pylist()] == list(YEARS[:2])


def test_numbers_have_the_digits_that_the_server_writes(server: PostgresServer) -> None:
    query = "SELECT {} AS amount, 1 AS id, 'c' AS client, timestamptz '2024-01-01 12:00Z' AS started"
    for value, expected in (
        ("0.1::float4", "0.1"), ("1e-7::float8", "1e-07"), ("0.10::numeric(10, 2)", "0.10"), ("7::int2", "7"),
        ("'NaN'::numeric", "NaN"), ("12345678901234567890.5", "12345678901234567890.5"),
        ("'1,50 €'::char(9)", "1,50 €   "),
    ):  # fmt: skip
        (batch,) = read_postgres(sessions(None, query=query.format(value)), batch_rows=10)
        assert str(batch.rows["amount"][0].as_py()) == expected


def test_a_table_without_rows_500_columns_and_a_value_of_10_mb(server: PostgresServer) -> None:
    columns = ", ".join(f"column_{number} text" for number in range(500))
    server.execute(f"CREATE TABLE wide (id text, client text, started timestamptz, amount numeric, {columns})")
    (batch,) = read_postgres(sessions("wide"), batch_rows=10)
    assert batch.rows.num_rows == 0
    assert batch.rows.schema.names == ["id", "client", "started", "amount", ROW_COLUMN]
    text = 'a"b,\r\n' * 1_700_000
    server.execute(
        "INSERT INTO wide (id, client) SELECT i, repeat(E'a\"b,\\r\\n', 1700000) FROM generate_series(1, 2) i"
    )
    batches = list(read_postgres(sessions("wide"), batch_rows=10))
    assert len(text) > BATCH_BYTES
    assert [(batch.rows.num_rows, batch.rows["client"][0].as_py() == text) for batch in batches] == [(1, True)] * 2


def test_bytes_that_are_no_text_cost_one_row(server: PostgresServer) -> None:
    server.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0")
    server.execute(TABLE.format("sessions"), "bytes")
    server.execute("SET client_encoding TO 'SQL_ASCII'; INSERT INTO sessions VALUES (1, 'é')", "bytes")
    with server.connected("bytes") as connection:
        connection.execute(b"INSERT INTO sessions VALUES (2, E'\\xff'), (3, 'z')")
    (batch,) = read_postgres(sessions(connection="bytes"), batch_rows=10)
    assert [(row["client"], row[ROW_COLUMN]) for row in batch.rows.to_pylist()] == [("é", 1), ("z", 3)]
    assert [(one.row, one.rule) for one in batch.malformed] == [(2, NOT_VALID_TEXT)]


@pytest.mark.parametrize(
    ("source", "sentence", "retry"),
    [
        (sessions(connection="wrong_password"), "sessions: the database refused the login .*correct the conn", False),
        (sessions(connection="no_database"), 'sessions: the database refused .*"shpo" does not exist', False),
        (sessions(connection="silent"), "sessions: the database of the connection 'silent' does not answer", True),
        (sessions(connection="nowhere"), "sessions: there is no Airflow connection 'nowhere'", False),
        (sessions("sesions"), 'sessions: relation "sesions" does not exist; correct it in sources.yaml', False),
        (sessions("x.sessions"), 'sessions: relation "x.sessions" does not exist; correct it', False),
        (sessions(connection="guest"), "sessions: permission denied for table sessions; grant SELECT", False),
        (sessions(mapped={"client": "cliemt"}), r"has no column 'cliemt' \(did you mean 'client'\?\)", False),
        (sessions(None, query="SELEC 1"), "sessions: query of sessions cannot be read .*syntax error", False),
        (sessions(None, query="SELECT 1 AS a, 2 AS a"), "sessions: the query gives two columns the same name", False),
    ],
)
def test_each_mistake_is_said_in_one_sentence(
    server: PostgresServer, source: Source, sentence: str, retry: bool
) -> None:
    for ask in (check_source, lambda one: list(read_source(one))):
        with pytest.raises(SourceError, match=sentence) as caught:
            ask(source)
        assert caught.value.retry is retry
        assert PASSWORD not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("end", "sentence"), [("pg_terminate_backend", "does not answer, or no longer"), ("pg_cancel_backend", "stopped")]
)
def test_what_breaks_off_while_reading_may_be_tried_again(server: PostgresServer, end: str, sentence: str) -> None:
    slow = sessions(None, query="SELECT s.* FROM sessions s, generate_series(1, 20000)")
    batches = read_postgres(slow, batch_rows=100)
    next(batches)
    server.execute(f"SELECT {end}(pid) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%'")
    with pytest.raises(SourceUnreachable, match=sentence) as caught:
        list(batches)
    assert "\n" not in str(caught.value)


def test_check_tells_what_is_there(server: PostgresServer) -> None:
    server.execute("ANALYZE sessions")
    check = check_source(sessions())
    assert (check.rows, check.newest, check.unused_columns) == (102, "2024-04-10 12:00:00+00", ())
    assert check.types == {"id": "int8", "client": "text", "started": "timestamptz", "amount": "numeric"}
    assert check.summary()["first_file"] == "sessions"
    assert check.summary()["mapping"] == {**MAPPED, "has_purchased": {"constant": True}}
