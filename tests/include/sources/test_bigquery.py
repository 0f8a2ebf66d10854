"""The real hook and client against a local server that speaks BigQuery's API: what is read, what it may cost, and each
mistake in one sentence."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth.credentials import AnonymousCredentials
from google.oauth2 import service_account

import configs
from include.quality.extract import Extracted, extract_rows
from include.schemas.source_kinds import SOURCE_KINDS
from include.sources.bigquery import _storage_client, check_bigquery, read_bigquery
from include.sources.definition import ColumnMapping, Condition, DatabaseOptions, Source
from include.sources.problems import SourceError, SourceUnreachable
from include.sources.raw_batch import ROW_COLUMN
from include.sources.read import check_source, read_source
from include.staging.storage import storage
from tests.bigquery_server import (
    CONNECTION,
    DATASET,
    PROJECT,
    BigQueryServer,
    Fault,
    airflow_connection,
    bigquery_server,
    environment,
    storage_server,
)

pytestmark = pytest.mark.contract

COLUMNS = {"id": "bigint", "client": "text", "started": "timestamptz", "amount": "numeric", "unused": "text"}
MAPPED = {"id": "id", "client": "client", "session_start_date": "started", "payment_amount": "amount"}
TABLE = f"{PROJECT}.{DATASET}.sessions"
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SECRET = "c2VjcmV0IGtleQ"


@pytest.fixture(scope="module")
def started() -> Iterator[BigQueryServer]:
    with bigquery_server() as server:
        yield server


@pytest.fixture
def server(started: BigQueryServer, monkeypatch: pytest.MonkeyPatch) -> BigQueryServer:
    """The server with a table of seven sessions, one a day, and what makes the hook talk to it."""
    for name, value in environment(started).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(configs, "BIGQUERY_RETRY_SECONDS", 2.0)
    rows = [(day, f"c{day % 3}", NOON + timedelta(days=day), Decimal(f"{day}.5"), "-") for day in range(7)]
    started.load("sessions", COLUMNS, rows)
    started.forget()
    return started


def sessions(table: str | None = TABLE, *, connection: str = CONNECTION, **more: Any) -> Source:
    columns = {**MAPPED, **more.pop("mapped", {})}
    mapping = {ours: ColumnMapping(columns=(theirs,)) for ours, theirs in columns.items() if theirs}
    mapping["has_purchased"] = more.pop("has_purchased", ColumnMapping(constant=True))
    kind = SOURCE_KINDS["sessions"]
    return Source(kind, "bigquery", mapping, Path(), connection=connection, table=table, **more)


def of_query(query: str, **more: Any) -> Source:
    return sessions(None, query=query, **more)


def rows(source: Source, batch_rows: int = 1000, **window: Any) -> list[dict[str, Any]]:
    batches = read_bigquery(source, batch_rows=batch_rows, **window)
    return [row for batch in batches for row in batch.rows.to_pylist()]


def ids(source: Source, **window: Any) -> list[str]:
    return [row["id"] for row in rows(source, **window)]


def extracted(source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Extracted:
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(folder / "tmp"))
    target, latest = storage(folder / "run"), datetime(2026, 1, 1)
    options = DatabaseOptions(timezone=source.timezone)
    return extract_rows(source, read_source(source, options), options, target=target, run_id="r", latest=latest)


def said(source: Source, *, retry: bool = False) -> str:
    with pytest.raises(SourceError) as caught:
        rows(source)
    message = str(caught.value)
    assert message.startswith("sessions: ")
    assert "\n" not in message
    assert SECRET not in message
    assert caught.value.retry is retry
    return message


def jobs(server: BigQueryServer) -> list[dict[str, Any]]:
    """The jobs that were asked for, the dry runs among them, in order."""
    return [body for method, path, body in server.requests if method == "POST" and path.split("?")[0].endswith("/jobs")]


def dry(job: dict[str, Any]) -> bool:
    return bool(job["configuration"].get("dryRun"))


def test_a_table_is_read_in_pages_with_its_types_and_rows_numbered(server: BigQueryServer) -> None:
    batches = list(read_bigquery(sessions(), batch_rows=3))
    assert [batch.rows.num_rows for batch in batches] == [3, 3, 1]
    assert {batch.file for batch in batches} == {TABLE}
    found = pa.Table.from_batches([batch.rows for batch in batches])
    assert dict(zip(found.schema.names, found.schema.types, strict=True)) == {
        "id": pa.string(),
        "client": pa.string(),
        "started": pa.timestamp("us", tz="UTC"),
        "amount": pa.decimal128(38, 9),
        ROW_COLUMN: pa.int64(),
    }
    assert found[ROW_COLUMN].to_pylist() == [1, 2, 3, 4, 5, 6, 7]
    assert found["id"].to_pylist() == ["0", "1", "2", "3", "4", "5", "6"]
    assert found["started"][6].as_py() == NOON + timedelta(days=6)


def test_a_query_gives_the_same_rows_as_the_table(server: BigQueryServer) -> None:
    query = of_query(f"SELECT * FROM `{TABLE}` -- all of them\n;\n")
    assert rows(query) == rows(sessions())
    (batch,) = read_bigquery(query, batch_rows=1000)
    assert batch.file == "query of sessions"


def test_the_job_is_standard_sql_located_limited_and_labelled(server: BigQueryServer) -> None:
    rows(sessions(name="Shop_North-1" + "x" * 52))
    first, second = jobs(server)
    assert (dry(first), dry(second)) == (True, False)
    assert {job["jobReference"]["location"] for job in (first, second)} == {"EU"}
    query = second["configuration"]["query"]
    assert query["useLegacySql"] is False
    assert query["maximumBytesBilled"] == str(configs.BIGQUERY_MAX_BYTES_BILLED)
    assert second["configuration"]["jobTimeoutMs"] == str(configs.BIGQUERY_QUERY_SECONDS * 1000)
    labels = {"application": "customer-analytics", "source": "shop_north-1" + "x" * 51}  # 63 characters at most
    assert second["configuration"]["labels"] == labels
    assert "unused" not in query["query"]
    assert "*" not in query["query"]


def test_the_bytes_and_their_cost_are_logged_and_too_many_are_refused_before_the_query_runs(
    server: BigQueryServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "BIGQUERY_PRICE_PER_TIB", 2.0**40 / 224)
    monkeypatch.setattr(configs, "BIGQUERY_MAX_BYTES_BILLED", 223)
    with caplog.at_level(logging.INFO, logger="include.sources.bigquery"):
        assert "would read 224 bytes, and BIGQUERY_MAX_BYTES_BILLED allows 223" in said(sessions())
    assert "takes BigQuery 224 bytes, about 1.00 at" in caplog.text  # 7 rows of 4 columns of 8 bytes
    assert [dry(job) for job in jobs(server)] == [True]


def test_a_period_goes_to_bigquery_as_bound_values_with_a_margin(server: BigQueryServer) -> None:
    server.load("dated", COLUMNS, [(day, "c", NOON + timedelta(days=day), None, "-") for day in range(9)])
    server.database.execute(f'INSERT INTO "{PROJECT}".{DATASET}.dated (id) VALUES (99)')
    found = ids(sessions(f"{DATASET}.dated"), start=date(2024, 5, 5), end=date(2024, 5, 5))
    query = jobs(server)[-1]["configuration"]["query"]
    assert found == ["2", "3", "4", "5", "6", "99"]
    assert "2024" not in query["query"]
    assert [one["parameterType"]["type"] for one in query["queryParameters"]] == ["TIMESTAMP", "TIMESTAMP"]


@pytest.mark.parametrize(("kind", "first"), [("timestamptz", "5"), ("timestamp", "3"), ("date", "3")])
def test_changes_are_exact_where_the_column_has_a_zone(server: BigQueryServer, kind: str, first: str) -> None:
    begin = datetime(2024, 5, 1)
    values = [(day, begin + timedelta(days=day)) for day in range(7)]
    if kind == "timestamptz":
        values = [(day, value.replace(tzinfo=UTC)) for day, value in values]
    server.load("changes", {"id": "text", "changed": kind}, [*values, ("none", None)])
    only_id = dict.fromkeys(("client", "session_start_date", "payment_amount"), "")
    source = sessions(f"{DATASET}.changes", mapped=only_id, changed_at="changed")
    found = ids(source, changed_since=datetime(2024, 5, 6))
    assert (found[0], found[-1]) == (first, "none")


def test_a_date_that_became_text_is_read_whole_and_left_to_the_rules(
    server: BigQueryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {**COLUMNS, "started": "text"}
    server.load("sessions", columns, [(1, "c", "soon", Decimal(1), "-"), (2, "c", "2024-01-02", Decimal(1), "-")])
    assert ids(sessions(), start=date(2024, 5, 5)) == ["1", "2"]
    assert extracted(sessions(), tmp_path, monkeypatch).by_rule == {"session_start_date_not_a_date": 1}


def test_missing_keys_and_values_that_are_no_numbers_go_to_quarantine(
    server: BigQueryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = (1, "c", NOON, 1.25, "-")
    bad = [(None, None, None, float("nan"), "-"), (2, "c", NOON, float("inf"), "-")]
    server.load("sessions", {**COLUMNS, "amount": "double"}, [good, *bad])
    found = extracted(sessions(), tmp_path, monkeypatch)
    assert (found.read, found.good, found.quarantined) == (3, 1, 2)
    assert found.by_rule == {
        "client_missing": 1,
        "id_missing": 1,
        "payment_amount_not_a_number": 2,
        "session_start_date_missing": 1,
    }


def test_timestamps_without_a_zone_are_read_in_that_of_the_source(
    server: BigQueryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [datetime(2024, 3, 31, 1, 59), datetime(2024, 3, 31, 3), datetime(2024, 10, 27, 1, 59)]
    server.load("sessions", {**COLUMNS, "started": "timestamp"}, [(1, "c", time, Decimal(1), "-") for time in times])
    found = extracted(sessions(timezone="Europe/Berlin"), tmp_path, monkeypatch)
    landed = [str(one) for one in pq.read_table(storage(found.files[0]).path)["session_start_date"].to_pylist()]
    assert landed == ["2024-03-31 00:59:00", "2024-03-31 01:00:00", "2024-10-26 23:59:00"]


def test_what_a_column_is_not_needed_as_comes_as_text(server: BigQueryServer) -> None:
    columns = {
        "id": "bigint",
        "client": "numeric",
        "started": "date",
        "amount": "bignumeric",
        "json": "json",
        "array": "VARCHAR[]",
        "struct": "STRUCT(part VARCHAR)",
        "bytes": "bytes",
        "date": "date",
        "double": "double",
        "boolean": "boolean",
        "time": "timestamptz",
    }
    day = date(2024, 1, 2)
    one = (1, Decimal("12.50"), day, Decimal("0.1"), '{"x":[1]}', ["p", "q"], {"part": "z"}, b"\xff", day, 1.5)
    server.load("odd", columns, [(*one, True, NOON), (None,) * 12])
    source = sessions(f"{DATASET}.odd", dimensions={name: name for name in list(columns)[4:]})
    found = rows(source)
    assert found[0] == {
        "id": "1",
        "client": "12.5",
        "started": day,
        "amount": "0.1",
        "json": '{"x":[1]}',
        "array": '["p","q"]',
        "struct": '{"part":"z"}',
        "bytes": "/w==",
        "date": "2024-01-02",
        "double": "1.5",
        "boolean": "true",
        "time": "2024-05-01 12:00:00+00",
        ROW_COLUMN: 1,
    }
    assert set(found[1].values()) == {None, 2}


def test_a_number_compared_in_a_condition_is_read_as_one(server: BigQueryServer) -> None:
    server.load("sessions", {**COLUMNS, "unused": "double"}, [(1, "c", NOON, None, 0.1)])
    condition = ColumnMapping(condition=Condition("unused", "greater_than", 0.0))
    assert rows(sessions(has_purchased=condition))[0]["unused"] == 0.1


def test_a_table_without_rows_500_columns_and_a_value_of_10_mb(server: BigQueryServer) -> None:
    server.load("sessions", COLUMNS, [])
    (batch,) = read_bigquery(sessions(), batch_rows=10)
    assert batch.rows.num_rows == 0
    assert batch.rows.schema.names == ["id", "client", "started", "amount", ROW_COLUMN]
    columns = {f"column {number}": "text" for number in range(500)}
    server.load("wide", {**COLUMNS, **columns}, [(1, "x" * 10_000_000, NOON, None, "-", *["y"] * 500)] * 2)
    wide = sessions(f"{DATASET}.wide", dimensions={str(number): name for number, name in enumerate(columns)})
    batches = list(read_bigquery(wide, batch_rows=1))
    assert [(batch.rows.num_columns, len(batch.rows["client"][0].as_py())) for batch in batches] == [(505, 10**7)] * 2


def test_check_reads_nothing_of_a_query_and_one_column_of_a_table(
    server: BigQueryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = check_source(sessions(mapped={"client": "CLIENT"}))
    assert (found.rows, found.bytes, found.newest) == (7, 280, "2024-05-07T12:00:00+00:00")
    assert (found.columns, found.unused_columns, found.files) == (tuple(COLUMNS), ("unused",), (TABLE,))
    assert found.types == {"id": "INTEGER", "CLIENT": "STRING", "started": "TIMESTAMP", "amount": "NUMERIC"}
    assert json.loads(json.dumps(found.summary()))["newest"] == found.newest
    assert found.summary()["mapping"] == {
        "id": "id",
        "client": "client",  # as the table has it
        "session_start_date": "started",
        "payment_amount": "amount",
        "has_purchased": {"constant": True},
    }
    (billed,) = [job["configuration"]["query"]["query"] for job in jobs(server) if not dry(job)]
    assert billed.startswith("SELECT MAX(`started`)")
    server.forget()
    monkeypatch.setattr(configs, "BIGQUERY_MAX_BYTES_BILLED", 55)
    assert check_source(sessions()).newest is None  # 56 bytes
    of_a_query = check_source(of_query(f"SELECT * FROM `{TABLE}`"))
    assert (of_a_query.rows, of_a_query.bytes, of_a_query.newest) == (None, 280, None)
    assert of_a_query.types["amount"] == "NUMERIC"
    assert all(dry(job) for job in jobs(server))


def test_a_view_is_read_as_a_table_and_has_no_known_size(server: BigQueryServer) -> None:
    server.database.execute(f'CREATE VIEW "{PROJECT}".{DATASET}.seen AS SELECT * FROM "{PROJECT}".{DATASET}.sessions')
    view = sessions(f"{DATASET}.seen")
    assert len(rows(view)) == 7
    found = check_bigquery(view)
    assert (found.rows, found.newest) == (None, "2024-05-07T12:00:00+00:00")


@pytest.mark.parametrize("table", ["a`b.c.d", "sessions", "a.b.c.d", "a.b.c; DROP TABLE x`", "a.b\\.c", "a:b.c"])
def test_a_table_that_cannot_be_one_is_refused(server: BigQueryServer, table: str) -> None:
    assert "write project.dataset.table" in said(sessions(table))
    assert server.requests == []


def test_a_name_cannot_break_out_of_its_quotes(server: BigQueryServer) -> None:
    server.load("sessions", {**COLUMNS, "x`; DROP": "text"}, [])
    assert "'x`; DROP' cannot be a name in BigQuery" in said(sessions(mapped={"client": "x`; DROP"}))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (sessions(connection="absent"), "there is no Airflow connection 'absent'"),
        (sessions(f"{DATASET}.sesions"), "Not found: .*correct `table` in sources.yaml"),
        (sessions("nowhere.sessions"), "Not found: .*correct `table` in sources.yaml"),
        (of_query("SELECT * FROM `nowhere.sessions`"), "Not found: .*correct `query` in sources.yaml or `location` in"),
        (of_query("SELEC 1"), "query of sessions .*correct `query` in sources.yaml"),
        (of_query("SELECT 1 AS a, 2 AS A"), "the query gives two columns the same name .*rename one of them with AS"),
        (sessions(mapped={"client": "cliemt"}), r"has no column 'cliemt' \(did you mean 'client'\?\)"),
        (of_query("SELECT 1 AS id"), "query of sessions has no column 'client'"),
    ],
)
def test_each_mistake_is_said_in_one_sentence(server: BigQueryServer, source: Source, sentence: str) -> None:
    said(source)
    for ask in (check_source, lambda one: list(read_source(one))):
        with pytest.raises(SourceError, match=f"^sessions: .*{sentence}") as caught:
            ask(source)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("connection", "sentence"),
    [
        (airflow_connection(is_anonymous=None, keyfile_dict=json.dumps({"private_key": SECRET})), "no valid Google"),
        (airflow_connection(is_anonymous=None, keyfile_dict=SECRET), "the key cannot be used"),
        (airflow_connection(is_anonymous=None, key_path="/nowhere/key.json"), "correct `key_path` in it"),
        (airflow_connection(project=None), "set `project` in the Airflow connection"),
        (airflow_connection("postgres", password=SECRET), "BigQuery needs one of the type google_cloud_platform"),
    ],
)
def test_a_login_that_is_none(
    server: BigQueryServer, monkeypatch: pytest.MonkeyPatch, connection: str, sentence: str
) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", connection)
    assert sentence in said(sessions())


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    """A service account's key such as Google makes them."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    written = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "client_email": "analytics@shop-project.iam",
        "private_key": written,
        "private_key_id": "1",
        "token_uri": "",
    }


def test_a_key_that_was_deleted(server: BigQueryServer, monkeypatch: pytest.MonkeyPatch, key: dict[str, str]) -> None:
    key = {**key, "type": "service_account", "token_uri": f"{server.url}/token"}
    connection = airflow_connection(is_anonymous=None, keyfile_dict=json.dumps(key))
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", connection)
    server.faults.append(Fault(400, "invalid_grant", "Invalid JWT Signature.", "/token"))
    assert "Google does not accept the key of the Airflow connection 'shop_bigquery'" in said(sessions())
    assert not server.faults


def test_the_storage_read_api_needs_a_key_and_can_be_switched_off(
    monkeypatch: pytest.MonkeyPatch, key: dict[str, str]
) -> None:
    credentials = service_account.Credentials.from_service_account_info(key)
    client = _storage_client(credentials)
    assert client is not None
    client.transport.close()
    assert _storage_client(AnonymousCredentials()) is None
    monkeypatch.setattr(configs, "BIGQUERY_STORAGE_API", False)
    assert _storage_client(credentials) is None


def test_a_query_needs_a_location(server: BigQueryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", airflow_connection("gcpbigquery", location=None))
    query = of_query(f"SELECT * FROM `{TABLE}`")
    assert "set `location`" in said(query)
    assert len(rows(sessions())) == 7  # a table has one
    monkeypatch.setattr(configs, "BIGQUERY_LOCATION", "US")
    assert len(rows(query)) == 7
    assert jobs(server)[-1]["jobReference"]["location"] == "US"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault(401, "authError", "Request had invalid authentication credentials."), "does not accept the key"),
        (Fault(403, "accessDenied", "Access Denied: Permission bigquery.tables.get denied"), "bigquery.dataViewer"),
        (Fault(403, "accessDenied", "User does not have bigquery.jobs.create permission", "/jobs"), "bigquery.jobUser"),
        (Fault(403, "quotaExceeded", "Quota exceeded: bytes per day", "/jobs"), "a quota of BigQuery is used up"),
        (Fault(403, "billingNotEnabled", "Billing has not been enabled", "/jobs"), "enable it"),
        (Fault(403, "responseTooLarge", "Response too large to return", "/queries"), "read a shorter period"),
        (Fault(400, "invalidQuery", "Cannot query without a filter", "/jobs"), "write a `query` that it accepts"),
    ],
)
def test_refusals_name_their_remedy(server: BigQueryServer, fault: Fault, sentence: str) -> None:
    server.faults.append(replace(fault))
    assert sentence in said(sessions())
    assert not server.faults


@pytest.mark.parametrize(
    ("reason", "message", "sentence", "retry"),
    [
        ("stopped", "Job execution was cancelled: User requested cancellation", "was cancelled", True),
        ("stopped", "Job timed out after 3600s", "took longer than BIGQUERY_QUERY_SECONDS", True),
        ("backendError", "The job encountered an internal error", "has trouble reading", True),
        ("invalidQuery", "Division by zero", "(Division by zero)", False),
        (
            "bytesBilledLimitExceeded",
            "Query exceeded limit for bytes billed: 1. 10485760 or higher required.",
            "10,485,760 bytes, and BIGQUERY_MAX_BYTES_BILLED",
            False,
        ),
    ],
)
def test_a_query_that_fails_while_running(
    server: BigQueryServer, reason: str, message: str, sentence: str, retry: bool
) -> None:
    server.job_error = (reason, message)
    assert sentence in said(sessions(), retry=retry)


def test_a_query_may_take_longer_than_a_request_but_not_than_it_is_given(
    server: BigQueryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "BIGQUERY_REQUEST_SECONDS", 0.5)
    server.polls = 5
    assert len(rows(sessions())) == 7
    monkeypatch.setattr(configs, "BIGQUERY_QUERY_SECONDS", 1)
    server.polls = 1000
    assert "took longer than BIGQUERY_QUERY_SECONDS (1) and was cancelled" in said(sessions(), retry=True)
    assert server.requests[-1][1].split("?")[0].endswith("/cancel")


PASSING = [
    Fault(503, "backendError", "Try later", "/queries"),
    Fault(429, "rateLimitExceeded", "Slow", "/jobs"),
    Fault(0, only="/queries"),
]


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_is_not_noticed(server: BigQueryServer, fault: Fault) -> None:
    server.faults.append(replace(fault))
    assert len(rows(sessions(), batch_rows=3)) == 7
    assert not server.faults


@pytest.mark.parametrize("fault", [PASSING[0], PASSING[2]])
def test_a_connection_lost_for_good_in_mid_stream_may_be_tried_again(
    server: BigQueryServer, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(configs, "BIGQUERY_RETRY_SECONDS", 0.2)
    batches = read_bigquery(sessions(), batch_rows=3)
    assert next(batches).rows.num_rows == 3
    server.faults.extend(replace(fault) for _ in range(100))
    with pytest.raises(SourceUnreachable, match=TABLE) as caught:
        list(batches)
    assert "\n" not in str(caught.value)
    server.faults.clear()
    assert len(rows(sessions())) == 7


def test_a_server_that_does_not_answer(server: BigQueryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "BIGQUERY_RETRY_SECONDS", 0.2)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    assert "BigQuery does not answer" in said(sessions(), retry=True)


@pytest.fixture
def through_storage(server: BigQueryServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[BigQueryServer]:
    """The same server with the Storage Read API beside it, which a login without a key would not use."""
    with storage_server(server) as client:
        monkeypatch.setattr("include.sources.bigquery._storage_client", lambda credentials: client())
        yield server


def test_both_ways_to_a_result_give_the_same_rows(
    through_storage: BigQueryServer, caplog: pytest.LogCaptureFixture
) -> None:
    one_page = rows(sessions())
    assert [path for _, path, _ in through_storage.requests if path == "ReadRows"] == []
    through_storage.faults.append(Fault(503, only="ReadRows", after=2))
    with caplog.at_level(logging.INFO, logger="include.sources.bigquery"):
        assert rows(sessions(), batch_rows=3) == one_page  # and taken up again where it broke off
    assert "reading 7 rows through the Storage Read API" in caplog.text
    assert not through_storage.faults


def test_where_the_storage_read_api_is_not_allowed_rest_is_used(
    through_storage: BigQueryServer, caplog: pytest.LogCaptureFixture
) -> None:
    through_storage.faults.append(Fault(403, message="no readsessions.create", only="CreateReadSession"))
    with caplog.at_level(logging.INFO, logger="include.sources.bigquery"):
        assert len(rows(sessions(), batch_rows=3)) == 7
    assert "cannot be used (403 no readsessions.create), and REST is slower; grant the role" in caplog.text
    assert "reading 7 rows through REST" in caplog.text


def test_a_storage_stream_that_is_lost_may_be_tried_again(
    through_storage: BigQueryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "BIGQUERY_RETRY_SECONDS", 0.2)
    through_storage.faults.extend(Fault(503, only="ReadRows") for _ in range(100))
    with pytest.raises(SourceUnreachable, match="has trouble reading") as caught:
        rows(sessions(), batch_rows=3)
    assert "\n" not in str(caught.value)
