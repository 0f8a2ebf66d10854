"""Redshift's own hook and driver on a real server: what is read, through a cursor and through S3, and each mistake."""

import gc
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import configs
from include.quality.extract import Extracted, extract_rows
from include.schemas.source_kinds import SOURCE_KINDS
from include.sources.definition import ColumnMapping, DatabaseOptions, Source
from include.sources.postgres import read_postgres
from include.sources.problems import SourceError, SourceUnreachable
from include.sources.raw_batch import BATCH_BYTES, ROW_COLUMN
from include.sources.read import check_source, read_source
from include.sources.redshift import read_redshift
from include.staging.storage import storage
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server
from tests.redshift_proxy import BUCKET, RedshiftProxy, exchange_bucket, redshift_proxy, unload_url

pytestmark = pytest.mark.contract

MAPPED = {"id": "id", "client": "client", "session_start_date": "started", "payment_amount": "amount"}
TABLE = "CREATE TABLE {} (id bigint, client varchar, started timestamptz, amount numeric(10,2))"
UNLOAD_URL = unload_url("redshift_bucket")
ROLE = "arn:aws:iam::123456789012:role/unloader"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        server.execute(TABLE.format("sessions"))
        server.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
        server.execute(f"CREATE ROLE hurried LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
        server.execute("ALTER ROLE hurried SET statement_timeout TO '200ms'")
        server.execute(
            "INSERT INTO sessions SELECT i, 'c' || i, timestamptz '2024-01-01 12:00Z' + i * interval '1 day',"
            " i / 4.0 FROM generate_series(1, 100) i"
        )
        server.execute("INSERT INTO sessions VALUES (101, 'c', NULL, 1), (NULL, NULL, '2024-01-09 12:00Z', 'NaN')")
        yield server


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with exchange_bucket("redshift_bucket") as client:
        yield client


@pytest.fixture(scope="module")
def running_proxy(server: PostgresServer, s3: Any) -> Iterator[RedshiftProxy]:
    with redshift_proxy(server, s3) as proxy, pytest.MonkeyPatch.context() as environment:
        connections = {
            "shop": proxy.airflow_connection(),
            "shop_postgres": server.airflow_connection(),
            "wrong_password": proxy.airflow_connection(password="not-it"),
            "silent": proxy.airflow_connection(port=9),
            "no_database": proxy.airflow_connection(schema="shpo"),
            "guest": proxy.airflow_connection(login="guest"),
            "hurried": proxy.airflow_connection(login="hurried"),
            "analytics": proxy.airflow_connection(login="analytics", password="Choose-1-of-your-own"),
            "bytes": proxy.airflow_connection(schema="bytes"),
            "with_role": proxy.airflow_connection(extra={"iam_role": ROLE}),
            "unknown_extra": proxy.airflow_connection(extra={"iamrole": ROLE}),
            "no_work_group": proxy.airflow_connection(extra={"iam": True, "is_serverless": True}),
        }
        for name, connection in connections.items():
            environment.setenv(f"AIRFLOW_CONN_{name.upper()}", connection)
        yield proxy


@pytest.fixture
def proxy(running_proxy: RedshiftProxy) -> RedshiftProxy:
    running_proxy.statements.clear()
    running_proxy.rows_until_cut, running_proxy.loses_a_file, running_proxy.refusal = None, False, None
    return running_proxy


@pytest.fixture
def unloading(proxy: RedshiftProxy, monkeypatch: pytest.MonkeyPatch) -> RedshiftProxy:
    monkeypatch.setattr(configs, "REDSHIFT_UNLOAD_URL", UNLOAD_URL)
    return proxy


def sessions(table: str | None = "sessions", *, connection: str = "shop", **more: Any) -> Source:
    connector = more.pop("connector", "redshift")
    mapping = {name: ColumnMapping(columns=(column,)) for name, column in {**MAPPED, **more.pop("mapped", {})}.items()}
    mapping.setdefault("has_purchased", ColumnMapping(constant=True))
    kind = SOURCE_KINDS["sessions"]
    return Source(kind, connector, mapping, Path(), connection=connection, table=table, **more)


def rows(source: Source, batch_rows: int = 1000, **window: Any) -> list[dict[str, Any]]:
    batches = read_redshift(source, batch_rows=batch_rows, **window)
    return [row for batch in batches for row in batch.rows.to_pylist()]


def extracted(source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Extracted:
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(folder / "tmp"))
    target, latest = storage(folder / "run"), datetime(2026, 1, 1)
    options = DatabaseOptions(timezone=source.timezone)
    return extract_rows(source, read_source(source, options), options, target=target, run_id="r", latest=latest)


def left_in(s3: Any) -> list[str]:
    # Local S3 servers of one process share their buckets; what others put there is theirs.
    return [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix="unloaded").get("Contents", [])]


def test_rows_are_numbered_whatever_the_batches(proxy: RedshiftProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    regular = sessions(None, query="SELECT * FROM sessions WHERE id <= 100;")
    whole = rows(regular)
    assert [row[ROW_COLUMN] for row in whole] == list(range(1, 101))
    assert rows(regular, batch_rows=7) == whole
    monkeypatch.setattr(configs, "REDSHIFT_FETCH_ROWS", 3)
    batches = [batch.rows.num_rows for batch in read_redshift(regular, batch_rows=8)]
    assert batches == [8] * 12 + [4]
    assert max(statement.count("FETCH FORWARD 3 ") for statement in proxy.statements) == 1


def test_a_period_is_read_with_a_margin_and_with_rows_that_have_no_date(proxy: RedshiftProxy) -> None:
    found = rows(sessions(), start=date(2024, 2, 1), end=date(2024, 2, 2))
    days = sorted(row["started"].astimezone(UTC).date() for row in found if row["started"])
    assert (days[0], days[-1], len(days)) == (date(2024, 1, 30), date(2024, 2, 4), 6)
    assert [row["id"] for row in found if row["started"] is None] == ["101"]


def test_changes_are_read_from_the_instant_on(proxy: RedshiftProxy, server: PostgresServer) -> None:
    server.execute("CREATE TABLE changing AS SELECT *, started AS changed FROM sessions WHERE id <= 100")
    server.execute("CREATE TABLE dated AS SELECT *, started::date AS changed FROM sessions WHERE id <= 100")
    found = rows(sessions("changing", changed_at="changed"), changed_since=datetime(2024, 4, 9, 12))
    assert [row["id"] for row in found] == ["99", "100"]
    found = rows(sessions("dated", changed_at="changed"), changed_since=datetime(2024, 4, 10))
    assert [row["id"] for row in found] == ["98", "99", "100"]


TYPES = {
    "small": ("smallint", "7"),
    "wide": ("bigint", "-9007199254740993"),
    "padded": ("char(5)", "'ab'"),
    "written": ("text", "E'a\\\\b''c\"\\n'"),
    "exact": ("numeric(20,4)", "10.5"),
    "free": ("numeric", "0.10000000000000000001"),
    "single": ("real", "0.1"),
    "double": ("double precision", "1e20"),
    "third": ("double precision", "0.1::float8 + 0.2"),
    "yes": ("boolean", "true"),
    "day": ("date", "'2024-02-29'"),
    "clock": ("time", "'12:30:00.5'"),
    "local": ("timestamp", "'2024-03-31 02:30:00.123456'"),
    "instant": ("timestamptz", "'2024-03-31 02:30:00.120000+01'"),
    "endless": ("timestamptz", "'infinity'"),
    "nothing": ("timestamptz", "NULL"),
    "document": ("json", """'{"a": [1, "ü"]}'"""),
}


@pytest.mark.parametrize("through", ["a cursor", "S3"])
def test_every_type_comes_as_from_postgres(
    proxy: RedshiftProxy, server: PostgresServer, s3: Any, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = ", ".join(f'"{name}" {kind}' for name, (kind, _) in TYPES.items())
    server.execute(f"DROP TABLE IF EXISTS typed; CREATE TABLE typed ({columns})")
    server.execute(f"INSERT INTO typed VALUES ({', '.join(value for _, value in TYPES.values())})")
    server.execute(f"INSERT INTO typed VALUES ({', '.join(['NULL'] * len(TYPES))})")
    if through == "S3":
        monkeypatch.setattr(configs, "REDSHIFT_UNLOAD_URL", UNLOAD_URL)
    usual = {"id": "small", "client": "written", "session_start_date": "instant", "payment_amount": "exact"}
    as_texts = {"dimensions": {name: name for name in TYPES}}
    uses: list[dict[str, Any]] = [{"mapped": usual, **as_texts}]
    for ours, theirs in {
        "session_start_date": ("day", "local", "instant", "nothing", "written"),
        "payment_amount": ("small", "wide", "exact", "free", "third", "single"),
        "has_purchased": ("yes", "written"),
    }.items():
        several = theirs if through == "a cursor" else theirs[:2]  # what is done with a column comes after the way
        uses += [{"mapped": {**usual, ours: column}} for column in several]
    for use in uses:
        by_copy = read_postgres(
            sessions("typed", connector="postgres", connection="shop_postgres", **use), batch_rows=9
        )
        by_proxy = read_redshift(sessions("typed", **use), batch_rows=9)
        expected, found = (pa.Table.from_batches([one.rows for one in batches]) for batches in (by_copy, by_proxy))
        assert found.equals(expected), use
    (row, empty) = rows(sessions("typed", mapped={**usual, "session_start_date": "endless"}))
    assert (row["endless"], empty["endless"]) == ("infinity", None)
    assert left_in(s3) == []


def test_missing_keys_and_values_that_are_no_numbers_go_to_quarantine(
    proxy: RedshiftProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    proxy: RedshiftProxy, server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_table_without_rows_500_columns_and_a_value_of_10_mb(proxy: RedshiftProxy, server: PostgresServer) -> None:
    columns = ", ".join(f"column_{number} text" for number in range(500))
    server.execute(
        f'CREATE TABLE "a ""wide"" one" (id text, client text, started timestamptz, amount numeric, {columns})'
    )
    wide = sessions('a "wide" one')
    (batch,) = read_redshift(wide, batch_rows=10)
    assert batch.rows.num_rows == 0
    assert batch.rows.schema.names == ["id", "client", "started", "amount", ROW_COLUMN]
    assert batch.rows.schema.field("started").type == pa.timestamp("us", tz="UTC")
    text = 'a"b,\r\n' * 1_700_000
    server.execute(
        'INSERT INTO "a ""wide"" one" (id, client)'
        " SELECT i, repeat(E'a\"b,\\r\\n', 1700000) FROM generate_series(1, 2) i"
    )
    batches = list(read_redshift(wide, batch_rows=1))
    assert len(text) > BATCH_BYTES
    assert [(batch.rows.num_rows, batch.rows["client"][0].as_py() == text) for batch in batches] == [(1, True)] * 2


def test_bytes_that_are_no_text_are_said_to_be(proxy: RedshiftProxy, server: PostgresServer) -> None:
    server.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0")
    server.execute(TABLE.format("sessions"), "bytes")
    with server.connected("bytes") as connection:
        connection.execute(b"INSERT INTO sessions VALUES (2, E'\\xff')")
    with pytest.raises(
        SourceError, match=r"sessions: sessions has a text that is not UTF-8 \(.*\); correct it there"
    ) as caught:
        rows(sessions(connection="bytes"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "sentence", "retry"),
    [
        (sessions(connection="wrong_password"), "sessions: the database refused the login .*correct the conn", False),
        (sessions(connection="no_database"), 'sessions: the database refused .*"shpo" does not exist', False),
        (sessions(connection="silent"), "sessions: the database of the connection 'silent' does not answer", True),
        (sessions(connection="nowhere"), "sessions: there is no Airflow connection 'nowhere'", False),
        (sessions(connection="unknown_extra"), "'unknown_extra' cannot be used .*'iamrole'.*its extra fields", False),
        (sessions(connection="no_work_group"), "'no_work_group' cannot be used .*serverless_work_group", False),
        (sessions("sesions"), 'sessions: relation "sesions" does not exist; correct it in sources.yaml', False),
        (sessions("x.sessions"), 'sessions: relation "x.sessions" does not exist; correct it', False),
        (sessions(connection="guest"), "sessions: permission denied for table sessions; grant SELECT", False),
        (sessions(mapped={"client": "cliemt"}), r"has no column 'cliemt' \(did you mean 'client'\?\)", False),
        (sessions(None, query="SELEC 1"), "sessions: query of sessions cannot be read .*syntax error", False),
        (sessions(None, query="SELECT 1 AS a, 2 AS a"), "sessions: the query gives two columns the same name", False),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the driver does not close a refused login
def test_each_mistake_is_said_in_one_sentence(proxy: RedshiftProxy, source: Source, sentence: str, retry: bool) -> None:
    for ask in (check_source, lambda one: list(read_source(one))):
        with pytest.raises(SourceError, match=sentence) as caught:
            ask(source)
        assert caught.value.retry is retry
        assert PASSWORD not in str(caught.value)
        assert "\n" not in str(caught.value)
    if source.connection in ("wrong_password", "no_database"):
        del caught
        gc.collect()  # while the warning is ignored


@pytest.mark.parametrize(
    ("refusal", "sentence", "retry"),
    [
        (("FETCH", "57014", "Query (7) cancelled on user's request"), "sessions was stopped by the database", True),
        (
            ("FETCH", "XX000", "Exceeded the maximum size allowed for the total set of cursor data: 8000MB"),
            "cursor data: 8000MB.*set REDSHIFT_UNLOAD_URL",
            False,
        ),
        (("DECLARE", "28000", 'password authentication failed for user "owner"'), "refused the login", False),
        (("DECLARE", "53300", "too many connections"), "does not answer, or no longer", True),
    ],
)
def test_what_only_redshift_refuses(
    proxy: RedshiftProxy, refusal: tuple[str, str, str], sentence: str, retry: bool
) -> None:
    proxy.refusal = refusal
    with pytest.raises(SourceError, match=sentence) as caught:
        rows(sessions())
    assert "\n" not in str(caught.value)
    assert caught.value.retry is retry


def test_a_query_that_takes_too_long_may_be_run_again(proxy: RedshiftProxy) -> None:
    slow = sessions(None, query="SELECT s.* FROM sessions s, pg_sleep(30)", connection="hurried")
    with pytest.raises(
        SourceUnreachable, match=r"query of sessions was stopped by the database \(canceling statement"
    ) as caught:
        rows(slow)
    assert "\n" not in str(caught.value)


def test_the_privileges_of_the_documentation_are_enough(proxy: RedshiftProxy, server: PostgresServer) -> None:
    section = (Path(configs.PROJECT_ROOT) / "docs" / "sources.md").read_text().partition("## Amazon Redshift")[2]
    server.execute("CREATE TABLE customers (client varchar)")
    server.execute(section.partition("```sql")[2].partition("```")[0])
    assert check_source(sessions("public.sessions", connection="analytics")).unused_columns == ()
    assert len(rows(sessions("public.sessions", connection="analytics"))) == 102


def test_more_rows_at_once_than_a_single_node_allows(proxy: RedshiftProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "REDSHIFT_FETCH_ROWS", 1001)
    with pytest.raises(
        SourceError, match=r"sessions: sessions cannot be read \(Fetch size 1001 .* set REDSHIFT_FETCH"
    ) as caught:
        rows(sessions(), batch_rows=2000)
    assert "\n" not in str(caught.value)


def test_what_breaks_off_while_reading_may_be_tried_again(proxy: RedshiftProxy, server: PostgresServer) -> None:
    source = sessions()
    batches = read_redshift(source, batch_rows=10)
    next(batches)
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'FETCH FORWARD%'")
    with pytest.raises(SourceUnreachable, match="does not answer, or no longer") as caught:
        list(batches)
    assert "\n" not in str(caught.value)
    proxy.rows_until_cut = 50
    batches = read_redshift(source, batch_rows=10)
    assert [next(batches).rows.num_rows for _ in range(5)] == [10] * 5
    with pytest.raises(SourceUnreachable, match="does not answer, or no longer") as caught:
        next(batches)
    assert "\n" not in str(caught.value)
    proxy.rows_until_cut = None
    assert len(rows(source)) == 102


def test_check_tells_what_is_there(proxy: RedshiftProxy, server: PostgresServer) -> None:
    server.execute("ANALYZE sessions")
    check = check_source(sessions())
    assert (check.rows, check.newest, check.unused_columns) == (102, "2024-04-10 12:00:00+00", ())
    assert check.types == {"id": "int8", "client": "varchar", "started": "timestamptz", "amount": "numeric"}
    assert check.summary()["first_file"] == "sessions"
    assert check.summary()["mapping"] == {**MAPPED, "has_purchased": {"constant": True}}
    proxy.refusal = ("SELECT CAST(max(", "57014", "Query (8) cancelled on user's request")
    assert check_source(sessions()).newest is None


def test_unloaded_rows_are_those_of_the_cursor(
    unloading: RedshiftProxy, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "SELECT * FROM sessions WHERE client <> 'it''s \\ \"quoted\"' -- not all"
    source = sessions(None, query=query, connection="with_role")
    unloaded = rows(source, batch_rows=30, start=date(2024, 1, 5))
    (statement,) = (one for one in unloading.statements if one.startswith("UNLOAD"))
    assert statement.endswith(f"' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST")
    assert "TO 's3://exchange/unloaded/sessions/" in statement
    assert "''it''''s \\\\ \"quoted\"''" in statement
    assert not any(one.startswith("DECLARE") for one in unloading.statements)
    assert left_in(s3) == []
    monkeypatch.setattr(configs, "REDSHIFT_UNLOAD_URL", "")
    assert rows(source, batch_rows=30, start=date(2024, 1, 5)) == unloaded
    assert len(unloaded) == 100


def test_an_empty_result_is_unloaded_without_files(unloading: RedshiftProxy) -> None:
    (batch,) = read_redshift(sessions(None, query="SELECT * FROM sessions WHERE id < 0"), batch_rows=10)
    assert batch.rows.num_rows == 0
    assert batch.rows.schema.names == ["id", "client", "started", "amount", ROW_COLUMN]
    assert any(" IAM_ROLE default " in statement for statement in unloading.statements)


def test_nothing_stays_in_the_bucket_when_reading_ends_early(unloading: RedshiftProxy, s3: Any) -> None:
    batches = read_redshift(sessions(), batch_rows=10)
    next(batches)
    assert len(left_in(s3)) == 3
    batches.close()
    assert left_in(s3) == []
    unloading.loses_a_file = True
    with pytest.raises(
        SourceError, match=r"sessions: 102 rows were written to s3://exchange/.* and 51 came back; run"
    ) as caught:
        rows(sessions())
    assert "\n" not in str(caught.value)
    assert left_in(s3) == []


def test_what_is_wrong_with_the_bucket_is_said_plainly(
    unloading: RedshiftProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = {
        "s3://redshift_bucket@nowhere/x": r"bucket does not exist\); let the IAM role of the cluster write",
        "s3://nobody@exchange/x": "there is no Airflow connection 'nobody'; create it, or correct REDSHIFT_UNLOAD_URL",
        "gs://exchange/x": "sessions: Redshift unloads to S3 only; set REDSHIFT_UNLOAD_URL",
    }
    for url, sentence in cases.items():
        monkeypatch.setattr(configs, "REDSHIFT_UNLOAD_URL", url)
        with pytest.raises(SourceError, match=sentence) as caught:
            rows(sessions())
        assert "\n" not in str(caught.value)
