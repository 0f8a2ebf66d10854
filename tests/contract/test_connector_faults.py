"""What can go wrong with a source, for every connector: one clear sentence or quarantine, nothing changed by it, and
the next run goes on where the last good one ended."""

import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
import requests
import yaml

import configs
from include.pipeline.window import window
from include.quality.extract import Extracted, extract_rows
from include.sources.definition import Source, load_sources
from include.sources.problems import SourceError, SourceUnreachable
from include.sources.raw_batch import NOT_VALID_TEXT
from include.sources.read import check_source, read_source, value_format
from include.staging.merge import merge
from include.staging.snapshot import load_snapshot
from include.staging.storage import storage
from include.staging.watermark import keep_watermarks, move_watermarks, read_watermark
from tests.bigquery_server import Fault
from tests.csv_connector import csv_text
from tests.cutting_relay import cutting_relay
from tests.postgres_server import PASSWORD
from tests.redshift_proxy import BUCKET, unload_url
from tests.runs import BY_HAND

pytestmark = pytest.mark.contract

CSV_CONNECTORS = ("csv_on_disk", "csv_on_s3", "csv_on_gcs")
CONNECTORS = ("postgres", "redshift", "redshift_unload", "bigquery", *CSV_CONNECTORS)
TABLE = "orders"
COLUMNS = {
    "no": "bigint",
    "client": "text",
    "started": "timestamptz",
    "total": "numeric",
    "region": "text",
    "changed": "timestamptz",
}
MAPPING: dict[str, Any] = {
    "columns": {
        "id": "no",
        "client": "client",
        "session_start_date": "started",
        "has_purchased": {"constant": True},
        "payment_amount": "total",
    },
    "dimensions": ["region"],
    "changed_at": "changed",
}
CUSTOMERS = {"connector": "csv", "path": "customers.csv", "columns": {"client": "client", "download_date": "came"}}
BEGIN = datetime(2024, 5, 1, 12, tzinfo=UTC)
WIDE = "west " * 200  # so that a result is no single piece of a stream


def orders(count: int, day: int = 0) -> list[tuple[Any, ...]]:
    """So many orders; the last of them changed so many days after the beginning."""
    changed = BEGIN + timedelta(days=day)
    return [(no, "c1", BEGIN, Decimal(no), WIDE, changed if no > count // 2 else BEGIN) for no in range(count)]


class Shop:
    """A folder with sources.yaml, whose sessions are where `place` says, and a staging of its own."""

    def __init__(self, folder: Path, place: dict[str, object]) -> None:
        self.folder = folder
        (folder / "customers.csv").write_text("client,came\nc1,2024-01-01\n")
        self.move(place)

    def move(self, place: dict[str, object]) -> None:
        zone = {} if "csv" in place else {"timezone": "Europe/Berlin"}
        sections = {"sessions": {**place, **MAPPING, **zone}, "customers": CUSTOMERS}
        (self.folder / "sources.yaml").write_text(yaml.safe_dump(sections))

    @property
    def sessions(self) -> Source:
        return load_sources(self.folder / "sources.yaml").sessions

    def load(self, run_id: str) -> Extracted:
        """What a run does with the sources up to the watermark; what became of the sessions."""
        run, landed, sources = replace(BY_HAND, run_id=run_id), {}, load_sources(self.folder / "sources.yaml").all
        for source in sources:
            options = value_format(source)
            wanted = window(run, source, read_watermark(source))
            landed[source.name] = extract_rows(
                source,
                read_source(source, options, **wanted.bounds),
                options,
                target=storage(configs.STAGING_URL) / "runs" / run.key,
                run_id=run_id,
                latest=datetime(2025, 1, 1),
                **wanted.bounds,
            )
        keep_watermarks(landed)
        files = {name: one.files for name, one in landed.items()}
        move_watermarks(sources, merge(files, run_key=run.key, time_zone="Europe/Berlin").snapshot)
        return landed["sessions"]

    def files(self, *, of_runs: bool = False) -> dict[str, bytes]:
        """What staging holds: the tables, which of them count, and how far each source was loaded."""
        staging = Path(configs.STAGING_URL)
        found = {str(file.relative_to(staging)): file for file in staging.rglob("*") if file.is_file()}
        return {name: file.read_bytes() for name, file in found.items() if name.startswith("runs/") == of_runs}

    def staged(self) -> list[str]:
        snapshot = load_snapshot()
        assert snapshot is not None
        with snapshot.connect() as connection:
            return [id_ for (id_,) in connection.execute("SELECT id FROM sessions ORDER BY id::BIGINT").fetchall()]


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "STAGING_URL", str(tmp_path / "staging"))
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", "Europe/Berlin")
    monkeypatch.setattr(configs, "EXTRACT_BATCH_ROWS", 100)
    monkeypatch.setattr(configs, "BIGQUERY_RETRY_SECONDS", 0.2)

    async def at_once(_: float) -> None:
        """Google's file system waits half a minute before it gives up."""

    monkeypatch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=at_once))


# ── what refuses or breaks off ──────────────────────────────────────────────────────────────────────────────────────
Break = Callable[[pytest.FixtureRequest, pytest.MonkeyPatch, Shop], AbstractContextManager[None]]


@contextmanager
def changed_connection(monkeypatch: pytest.MonkeyPatch, name: str, connection: str) -> Iterator[None]:
    with monkeypatch.context() as variables:
        variables.setenv(f"AIRFLOW_CONN_{name.upper()}", connection)
        yield


@contextmanager
def wrong_password(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shop: Shop) -> Iterator[None]:
    name = shop.sessions.connector
    if name == "postgres":
        server = request.getfixturevalue("postgres").server
        with changed_connection(monkeypatch, "contract_postgres", server.airflow_connection(password="not-it")):
            yield
    elif name == "redshift":
        proxy = request.getfixturevalue("redshift_server")
        with changed_connection(monkeypatch, "contract_redshift", proxy.airflow_connection(password="not-it")):
            yield
    elif name == "bigquery":
        with bigquery_faults(request, *[Fault(401, "authError", "Invalid Credentials")] * 9):
            yield
    elif (shop.sessions.path or "").startswith("s3://"):
        with s3_logins_count(request):  # and this server knows none
            yield
    else:
        with google_refuses(request, 401):
            yield


@contextmanager
def no_permission(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shop: Shop) -> Iterator[None]:
    name = shop.sessions.connector
    if name in ("postgres", "redshift"):
        server = request.getfixturevalue("postgres").server
        server.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
        of_guest = server if name == "postgres" else request.getfixturevalue("redshift_server")
        try:
            with changed_connection(monkeypatch, f"contract_{name}", of_guest.airflow_connection(login="guest")):
                yield
        finally:
            server.execute("DROP ROLE guest")
    elif name == "bigquery":
        refusal = Fault(403, "accessDenied", "Access Denied: Permission bigquery.tables.getData denied", "/jobs")
        with bigquery_faults(request, *[refusal] * 9):
            yield
    elif (shop.sessions.path or "").startswith("s3://"):
        iam = boto3.client("iam", endpoint_url=request.getfixturevalue("s3_server").meta.endpoint_url, **GUEST)
        iam.create_user(UserName="guest")
        key = iam.create_access_key(UserName="guest")["AccessKey"]
        login = {"login": key["AccessKeyId"], "password": key["SecretAccessKey"]}
        extra = {"endpoint_url": iam.meta.endpoint_url, "region_name": "us-east-1"}
        place = {"connector": "csv", "connection": "contract_guest", "path": shop.sessions.path}
        before = (shop.folder / "sources.yaml").read_text()
        connection = json.dumps({"conn_type": "aws", **login, "extra": extra})
        with changed_connection(monkeypatch, "contract_guest", connection), s3_logins_count(request):
            shop.move({**place, "csv": {}})
            yield
        (shop.folder / "sources.yaml").write_text(before)
        iam.close()
    elif (shop.sessions.path or "").startswith("gs://"):
        with google_refuses(request, 403):
            yield
    else:
        file = Path(shop.sessions.path or "")
        file.chmod(0)
        # Root reads everything, so it has to be somebody else for a while.
        root = os.geteuid() == 0
        for folder in [*shop.folder.parents, *file.parents][::-1] if root else []:
            folder.chmod(folder.stat().st_mode | 0o111)
        shop.folder.chmod(0o755)
        if root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
            file.chmod(0o644)


GUEST: dict[str, Any] = {"region_name": "us-east-1", "aws_access_key_id": "key", "aws_secret_access_key": "a-secret"}


@contextmanager
def missing_table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shop: Shop) -> Iterator[None]:
    before = (shop.folder / "sources.yaml").read_text()
    (shop.folder / "sources.yaml").write_text(before.replace(TABLE, "ordres"))
    yield
    (shop.folder / "sources.yaml").write_text(before)


@contextmanager
def missing_column(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shop: Shop) -> Iterator[None]:
    connector = request.getfixturevalue(request.node.callspec.params["name"])
    renamed = {("totals" if name == "total" else name): kind for name, kind in COLUMNS.items()}
    connector.load(TABLE, renamed, orders(9))
    yield


@contextmanager
def lost(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shop: Shop) -> Iterator[None]:
    name = shop.sessions.connector
    path = shop.sessions.path or ""
    if name == "bigquery":
        first = Fault(0, only="/queries/", after=3)  # when it is done, its schema, one page
        with bigquery_faults(request, first, *[Fault(0, only="/queries/")] * 99):
            yield
    elif configs.REDSHIFT_UNLOAD_URL:
        proxy = request.getfixturevalue("redshift_server")
        proxy.rows_until_cut = 0  # when the files are written
        yield
        proxy.rows_until_cut = None
    elif name == "csv" and "://" not in path:
        zipped = gzip.compress(csv_text(COLUMNS, orders(9)).encode())
        Path(path).write_bytes(zipped[: len(zipped) // 2])  # a copy that broke off
        yield
    else:
        with relayed(request, monkeypatch, shop) as cut, cut:
            yield


@contextmanager
def relayed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shop: Shop
) -> Iterator[AbstractContextManager[None]]:
    """The source's server behind a line that will break."""
    name, path = shop.sessions.connector, shop.sessions.path or ""
    before = (shop.folder / "sources.yaml").read_text()
    if name in ("postgres", "redshift"):
        server = request.getfixturevalue("postgres" if name == "postgres" else "redshift_server")
        server = server.server if name == "postgres" else server
        with (
            cutting_relay(server.port) as relay,
            changed_connection(monkeypatch, f"contract_{name}", server.airflow_connection(port=relay.port)),
        ):
            yield relay.cut_after(200_000)
        return
    if path.startswith("s3://"):
        url = request.getfixturevalue("s3_server").meta.endpoint_url
    else:
        url = request.getfixturevalue("google_storage").url
    with cutting_relay(int(url.rpartition(":")[2])) as relay:
        behind = f"http://127.0.0.1:{relay.port}"
        if path.startswith("s3://"):
            once = {"retries": {"max_attempts": 1}}
            extra = {"endpoint_url": behind, "region_name": "us-east-1", "config_kwargs": once}
            connection = json.dumps({"conn_type": "aws", "login": "key", "password": "a-secret", "extra": extra})
        else:
            connection = request.getfixturevalue("google_storage").airflow_connection(behind)
        # Airflow keeps the file system of a connection, so this one has a name of its own.
        with changed_connection(monkeypatch, "contract_relayed_" + path[:2], connection):
            (shop.folder / "sources.yaml").write_text(
                before.replace("connection: contract_files", "connection: contract_relayed_s3").replace(
                    "connection: contract_gcs", "connection: contract_relayed_gs"
                )
            )
            yield relay.cut_after(200_000)
    (shop.folder / "sources.yaml").write_text(before)


@contextmanager
def cancelled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shop: Shop) -> Iterator[None]:
    name = shop.sessions.connector
    if name == "bigquery":
        server = request.getfixturevalue("bigquery").server
        server.job_error = ("stopped", "Job execution was cancelled: User requested cancellation")
        yield
        server.forget()
    elif name == "redshift":
        proxy = request.getfixturevalue("redshift_server")
        statement = "UNLOAD" if configs.REDSHIFT_UNLOAD_URL else "FETCH"
        proxy.refusal = (statement, "57014", "Query (7) cancelled on user's request")
        yield
        proxy.refusal = None
    else:
        server = request.getfixturevalue("postgres").server
        server.execute("ALTER ROLE owner SET statement_timeout TO '300ms'")
        server.execute(f"ALTER TABLE {TABLE} RENAME TO whole")
        server.execute(f"CREATE VIEW {TABLE} AS SELECT * FROM whole WHERE no < 9 OR pg_sleep(0.01) IS NOT NULL")
        yield
        server.execute(f"DROP VIEW {TABLE}")
        server.execute(f"ALTER TABLE whole RENAME TO {TABLE}")
        server.execute("ALTER ROLE owner RESET statement_timeout")


@contextmanager
def bigquery_faults(request: pytest.FixtureRequest, *faults: Fault) -> Iterator[None]:
    server = request.getfixturevalue("bigquery").server
    server.faults.extend(replace(fault) for fault in faults)
    yield
    server.forget()


@contextmanager
def s3_logins_count(request: pytest.FixtureRequest) -> Iterator[None]:
    """The S3 server asks who one is, which it does not otherwise."""
    url = f"{request.getfixturevalue('s3_server').meta.endpoint_url}/moto-api/reset-auth"
    requests.post(url, data="0", timeout=10).raise_for_status()
    yield
    requests.post(url, data="inf", timeout=10).raise_for_status()


@contextmanager
def google_refuses(request: pytest.FixtureRequest, status: int) -> Iterator[None]:
    server = request.getfixturevalue("google_storage")
    server.refusal = status
    yield
    server.refusal = None


FORBIDDEN = r"there is no permission to read .*orders\.csv; grant it, or correct `connection`"
SILENT = "the database of the connection '.*' does not answer, or no longer .*; check the network"
CASES: list[tuple[Break, dict[str, str], bool]] = [
    (
        wrong_password,
        {
            **dict.fromkeys(CONNECTORS[:3], "the database refused the login .*; correct the connection"),
            "bigquery": "Google does not accept the key .*; create a new key",
            **dict.fromkeys(("csv_on_s3", "csv_on_gcs"), FORBIDDEN),
        },
        False,
    ),
    (
        missing_table,
        {
            **dict.fromkeys(CONNECTORS[:3], 'relation "public.ordres" does not exist; correct it in sources.yaml'),
            "bigquery": "ordres is not there .*; correct `table` in sources.yaml",
            **dict.fromkeys(CSV_CONNECTORS, r"there is no .*ordres\.csv; correct `path` in sources.yaml"),
        },
        False,
    ),
    (
        missing_column,
        dict.fromkeys(CONNECTORS, r"no column 'total' \(did you mean 'totals'\?\).*Correct sessions in sources.yaml"),
        False,
    ),
    (
        no_permission,
        {
            **dict.fromkeys(CONNECTORS[:3], "permission denied for .*; grant SELECT on it"),
            "bigquery": "may not read .*; grant its service account the role BigQuery Data Viewer",
            **dict.fromkeys(CSV_CONNECTORS, FORBIDDEN),
        },
        False,
    ),
    (
        cancelled,
        {
            **dict.fromkeys(CONNECTORS[:3], "was stopped by the database .*; run it again"),
            "bigquery": "was cancelled .*; run the task again",
        },
        True,
    ),
    (
        lost,
        {
            **dict.fromkeys(CONNECTORS[:3], SILENT),
            "bigquery": "BigQuery does not answer, or no longer, while reading .*; check the network",
            **dict.fromkeys(("csv_on_s3", "csv_on_gcs"), r"orders\.csv cannot be read .*; check the network"),
        },
        True,
    ),
    (lost, {"csv_on_disk": "is damaged, it is not a whole gzip file; copy it again"}, False),
]


@pytest.mark.parametrize(
    ("name", "broken", "sentence", "retry"),
    [
        pytest.param(name, broken, sentence, retry, id=f"{broken.__name__}-{name}")
        for broken, sentences, retry in CASES
        for name, sentence in sentences.items()
    ],
)
@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of a login that the driver was refused
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # and that is when it is said
def test_a_fault_changes_nothing_and_the_next_run_goes_on(
    name: str,
    broken: Break,
    sentence: str,
    retry: bool,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connector = request.getfixturevalue(name)
    connector.load(TABLE, COLUMNS, orders(20))
    shop = Shop(tmp_path, connector.place(TABLE))
    assert shop.load("one").good == 20
    before = shop.files()
    watermark = read_watermark(shop.sessions)
    connector.load(TABLE, COLUMNS, orders(1000, day=9))
    with broken(request, monkeypatch, shop), pytest.raises(SourceError) as caught:
        shop.load("two")
    said = str(caught.value)
    assert re.search(sentence, said), said
    assert "sessions" in said
    assert "\n" not in said
    assert caught.value.retry is retry
    assert not [secret for secret in (PASSWORD, "not-it") if secret in said]
    assert shop.files() == before
    assert read_watermark(shop.sessions) == watermark
    assert not [file for file in shop.files(of_runs=True) if "two" in file]
    assert not list((tmp_path / "tmp").rglob("*.part"))
    if configs.REDSHIFT_UNLOAD_URL:
        assert unloaded(request) == []

    connector.load(TABLE, COLUMNS, orders(1000, day=9))
    assert shop.load("two").read >= 500  # those that changed
    assert shop.staged() == [str(no) for no in range(1000)]
    assert read_watermark(shop.sessions) == (BEGIN + timedelta(days=9)).replace(tzinfo=None)


def unloaded(request: pytest.FixtureRequest) -> list[str]:
    """What is left of the files that Redshift wrote."""
    s3 = request.getfixturevalue("redshift_server").s3
    return [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix="unloaded").get("Contents", [])]


@pytest.mark.usefixtures("collected")
def test_s3_that_is_lost_while_unloaded_rows_are_read_changes_nothing(
    redshift_unload: Any,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redshift wrote all of its files; the line to S3 breaks in the midst of the first."""
    random = Random(1)
    rows = [(*row[:4], random.randbytes(1000).hex(), row[5]) for row in orders(1000, day=9)]  # not to be compressed
    redshift_unload.load(TABLE, COLUMNS, orders(20))
    shop = Shop(tmp_path, redshift_unload.place(TABLE))
    assert shop.load("one").good == 20
    before, watermark = shop.files(), read_watermark(shop.sessions)
    redshift_unload.load(TABLE, COLUMNS, rows)
    s3 = request.getfixturevalue("redshift_server").s3
    with cutting_relay(int(s3.meta.endpoint_url.rpartition(":")[2])) as relay:
        extra = {
            "endpoint_url": f"http://127.0.0.1:{relay.port}",
            "region_name": "us-east-1",
            "config_kwargs": {"retries": {"max_attempts": 1}},
        }
        connection = json.dumps({"conn_type": "aws", "login": "key", "password": "a-secret", "extra": extra})
        with changed_connection(monkeypatch, "relayed_bucket", connection), monkeypatch.context() as settings:
            settings.setattr(configs, "REDSHIFT_UNLOAD_URL", unload_url("relayed_bucket"))
            with relay.cut_after(200_000), pytest.raises(SourceUnreachable) as caught:
                shop.load("two")
    said = str(caught.value)
    assert re.search(r"sessions: s3://exchange/unloaded/\S+ cannot be read \(.*\); check the network", said), said
    assert "\n" not in said
    assert "a-secret" not in said
    assert caught.value.retry
    assert shop.files() == before
    assert read_watermark(shop.sessions) == watermark
    assert not [file for file in shop.files(of_runs=True) if "two" in file]
    left = unloaded(request)
    assert len(left) == 3  # nobody can delete over a line that is broken
    assert shop.load("two").good >= 500
    assert shop.staged() == [str(no) for no in range(1000)]
    assert unloaded(request) == left
    for name in left:
        s3.delete_object(Bucket=BUCKET, Key=name)


# ── data that are not what they were ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", CONNECTORS)
def test_a_type_that_changed_costs_the_rows_that_no_longer_fit(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    connector = request.getfixturevalue(name)
    connector.load(TABLE, COLUMNS, orders(20))
    shop = Shop(tmp_path, connector.place(TABLE))
    shop.load("one")
    texts = {**COLUMNS, "no": "text", "started": "text", "total": "text"}
    rows = [(str(no), "c1", "2024-05-01 12:00:00+00:00", str(no), "west", BEGIN) for no in range(30)]
    rows[7] = ("7", "c1", "yesterday", "1", "west", BEGIN)
    rows[8] = ("8", "c1", "2024-05-01", "much", "west", BEGIN)
    rows[25] = ("A25", "c1", "2024-05-01", "1", "west", BEGIN)
    connector.load(TABLE, texts, rows)
    found = shop.load("two")
    assert (found.read, found.good) == (30, 28)
    assert found.by_rule == {"payment_amount_not_a_number": 1, "session_start_date_not_a_date": 1}
    snapshot = load_snapshot()
    assert snapshot is not None
    with snapshot.connect() as connection:
        ids = {id_ for (id_,) in connection.execute("SELECT id FROM sessions").fetchall()}
    assert ids == {*(str(no) for no in range(30) if no != 25), "A25"}  # 7 and 8 stay as they were


@pytest.mark.parametrize("name", CONNECTORS)
def test_a_table_that_became_empty_takes_nothing_away(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    connector = request.getfixturevalue(name)
    connector.load(TABLE, COLUMNS, orders(20))
    shop = Shop(tmp_path, connector.place(TABLE))
    shop.load("one")
    watermark = read_watermark(shop.sessions)
    connector.load(TABLE, COLUMNS, [])
    found = shop.load("two")
    assert (found.read, found.good, found.quarantined) == (0, 0, 0)
    assert len(shop.staged()) == 20
    assert read_watermark(shop.sessions) == watermark
    connector.load(TABLE, COLUMNS, orders(30, day=1))
    shop.load("three")
    assert len(shop.staged()) == 30


@pytest.mark.parametrize("name", CONNECTORS)
def test_500_columns_and_rows_without_a_key(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    connector = request.getfixturevalue(name)
    columns = {**COLUMNS, **{f"more_{number}": "text" for number in range(494)}}
    rows = [(*row, *["x"] * 494) for row in orders(12)]
    rows[3] = (None, *rows[3][1:])
    rows[4] = (rows[4][0], None, *rows[4][2:])
    connector.load(TABLE, columns, rows)
    shop = Shop(tmp_path, connector.place(TABLE))
    assert len(check_source(shop.sessions).columns) == 500
    found = shop.load("one")
    assert (found.good, found.by_rule) == (10, {"client_missing": 1, "id_missing": 1})
    assert shop.staged() == [str(no) for no in range(12) if no not in (3, 4)]


@pytest.mark.parametrize("name", CONNECTORS)
def test_times_without_a_zone_across_a_clock_change(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """In Berlin 02:30 is skipped on 31 March 2024, and comes twice on 27 October."""
    times = [datetime(2024, 3, 31, 1, 59), datetime(2024, 3, 31, 2, 30), datetime(2024, 3, 31, 3, 0)]
    times += [datetime(2024, 10, 27, 1, 59), datetime(2024, 10, 27, 2, 30), datetime(2024, 10, 27, 3, 0)]
    connector = request.getfixturevalue(name)
    rows = [(no, "c1", time, Decimal(1), "west", BEGIN) for no, time in enumerate(times)]
    connector.load(TABLE, {**COLUMNS, "started": "timestamp"}, rows)
    shop = Shop(tmp_path, connector.place(TABLE))
    found = shop.load("one")
    landed = pq.read_table(storage(found.files[0]).path).sort_by("id")["session_start_date"].to_pylist()
    assert [f"{time:%m-%d %H:%M}" for time in landed] == [
        *("03-31 00:59", "03-31 01:30", "03-31 01:00"),
        *("10-26 23:59", "10-27 01:30", "10-27 02:00"),
    ]


@pytest.mark.parametrize("name", CONNECTORS)
def test_10_mb_of_text_in_one_cell(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = request.getfixturevalue(name)
    shop = Shop(tmp_path, connector.place(TABLE))
    connector.load(TABLE, COLUMNS, orders(5))
    shop.load("one")
    before = shop.files()
    rows = orders(20)
    text = 'a "b",\n' * 1_500_000 + "c"
    rows[5] = (5, text, *rows[5][2:])
    connector.load(TABLE, COLUMNS, rows)
    if name in CSV_CONNECTORS:
        sentence = r"sessions: .*orders\.csv: a row at or after line \d+ is longer than 2,000,000 .* CSV_BLOCK_BYTES"
        with pytest.raises(SourceError, match=sentence) as caught:
            shop.load("two")
        assert "\n" not in str(caught.value)
        assert shop.files() == before
        monkeypatch.setattr(configs, "CSV_BLOCK_BYTES", 30_000_000)
    assert shop.load("two").good == 20
    snapshot = load_snapshot()
    assert snapshot is not None
    with snapshot.connect() as connection:
        ((client,),) = connection.execute("SELECT client FROM sessions WHERE id = '5'").fetchall()
    assert client == text


@pytest.mark.parametrize("name", CSV_CONNECTORS)
def test_bytes_that_are_no_text_in_a_file(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    connector = request.getfixturevalue(name)
    text = csv_text(COLUMNS, orders(20)).replace("7,c1", "7,\N{PILCROW SIGN}")
    connector.put(f"contract/{TABLE}.csv", text.encode().replace("\N{PILCROW SIGN}".encode(), b"\xff\xfe"))
    place = connector.place(TABLE)
    shop = Shop(tmp_path, {**place, "csv": {**place["csv"], "encoding": "utf-8"}})
    found = shop.load("one")
    assert (found.good, found.by_rule) == (18, {NOT_VALID_TEXT: 2})


@pytest.mark.parametrize("name", CONNECTORS[:3])
def test_bytes_that_are_no_text_in_a_database(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost a single row, but of Redshift without UNLOAD: its driver reads no further."""
    connector = request.getfixturevalue(name)
    server = connector.server
    connector.load(TABLE, COLUMNS, orders(20))
    shop = Shop(tmp_path, connector.place(TABLE))
    shop.load("one")
    before = shop.files()
    asked = server if name == "postgres" else request.getfixturevalue("redshift_server")
    server.execute("CREATE DATABASE no_encoding ENCODING 'SQL_ASCII' TEMPLATE template0")
    try:
        columns = ", ".join(f"{column} {kind}" for column, kind in COLUMNS.items())
        server.execute(f"CREATE TABLE {TABLE} ({columns})", "no_encoding")
        with server.connected("no_encoding") as connection:
            for no in range(25):
                client = "E'\\xff'" if no == 3 else "'c1'"
                values = f"{no}, {client}, '2024-05-01 12:00Z', 1, 'west', '2024-05-01 12:00Z'"
                connection.execute(f"INSERT INTO {TABLE} VALUES ({values})".encode())
        connection_id = f"contract_{shop.sessions.connector}"
        with changed_connection(monkeypatch, connection_id, asked.airflow_connection(schema="no_encoding")):
            if name != "redshift":
                found = shop.load("two")
                assert (found.good, found.by_rule) == (24, {NOT_VALID_TEXT: 1})
                assert len(shop.staged()) == 25  # order 3 stays as it was
            else:
                with pytest.raises(SourceError, match=r"sessions: .* has a text that is not UTF-8") as caught:
                    shop.load("two")
                assert "\n" not in str(caught.value)
                assert shop.files() == before
                server.execute(f"UPDATE {TABLE} SET client = 'c1'", "no_encoding")
                shop.load("two")
                assert len(shop.staged()) == 25
    finally:
        server.execute("DROP DATABASE no_encoding WITH (FORCE)")
