"""What docs/sources.md tells the reader to type does what it says: its grants, connections, examples and commands."""

import json
import re
import shlex
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
import requests
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import configs
from include.launch.airflow_stack import DAG_ID
from include.pipeline.parameters import parameters
from include.sources.definition import Source, load_sources
from include.sources.problems import SourceError
from include.sources.read import check_source, read_source
from tests.bigquery_server import BigQueryConnector
from tests.gcs_server import GcsServer
from tests.postgres_server import PostgresConnector, PostgresServer
from tests.redshift_proxy import RedshiftProxy

pytestmark = pytest.mark.contract

PAGE = (Path(configs.PROJECT_ROOT) / "docs" / "sources.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)}
COLUMNS = {
    "id": "no",
    "client": "client",
    "session_start_date": "placed_at",
    "has_purchased": {"constant": True},
    "payment_amount": "total",
}
CSV = "no,client,placed_at,total\n1,c1,2024-05-01,10.50\n2,c2,2024-05-02,7.00\n"
CUSTOMERS = {"connector": "csv", "path": "c.csv", "columns": {"client": "client", "download_date": "came"}}
TABLE = """
CREATE TABLE public.sessions (no bigint, client text, placed_at timestamptz, total numeric, updated_at timestamptz);
INSERT INTO public.sessions VALUES (1, 'c1', '2024-05-01', 10.50, '2024-05-01');
INSERT INTO public.sessions VALUES (2, 'c2', '2024-05-02', 7, '2024-05-02');
CREATE TABLE public.customers (client text);
CREATE TABLE public.salaries (amount numeric);
"""
PRIVILEGES = "permission denied|may not|does not exist|refused the login"


def blocks(section: str, language: str) -> list[str]:
    """The code blocks of a language in a section."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", SECTIONS[section], flags=re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for _, text in found]


def exported(section: str, name: str, number: int = 0) -> dict[str, Any]:
    """The connection that a block exports under this name, as a shell would read it."""
    found = [shlex.split(block) for block in blocks(section, "sh") if block.startswith(f"export AIRFLOW_CONN_{name}=")]
    ((_, assignment),) = [found[number]]
    connection: dict[str, Any] = json.loads(assignment.removeprefix(f"AIRFLOW_CONN_{name}="))
    return connection


def example(section: str, folder: Path, **changes: Any) -> Source:
    """The sessions of the section's sources.yaml, with the columns that it leaves to the reader."""
    written = yaml.safe_load(blocks(section, "yaml")[0])["sessions"]
    sections = {"sessions": {**written, "columns": COLUMNS, **changes}, "customers": CUSTOMERS}
    (folder / "sources.yaml").write_text(yaml.safe_dump(sections))
    return load_sources(folder / "sources.yaml").sessions


def ids(source: Source) -> list[str]:
    return [str(row["no"]) for batch in read_source(source) for row in batch.rows.to_pylist()]


# ── databases ───────────────────────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def shop_of(server: PostgresServer) -> Iterator[None]:
    """A database `shop` in which nobody may do anything that was not granted."""
    server.execute("CREATE DATABASE shop")
    try:
        server.execute(TABLE, "shop")
        server.execute("REVOKE ALL ON DATABASE shop FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC", "shop")
        yield
    finally:
        server.execute("DROP DATABASE shop WITH (FORCE)")
        server.execute("DROP ROLE IF EXISTS analytics")


def statements(section: str) -> list[str]:
    return [one.strip() for one in blocks(section, "sql")[0].split(";") if one.strip()]


def read_with_the_grants(
    section: str, granted: list[str], server: PostgresServer, port: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    name = "SHOP_POSTGRES" if section == "PostgreSQL" else "SHOP_REDSHIFT"
    here = {**exported(section, name), "host": "127.0.0.1", "port": port}
    if name == "SHOP_REDSHIFT":
        here["extra"] = {"ssl": False}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(here))
    with shop_of(server):
        if name == "SHOP_REDSHIFT":  # which has no such privilege
            server.execute("GRANT CONNECT ON DATABASE shop TO PUBLIC")
        for statement in granted:
            server.execute(statement, "shop")
        source = example(section, folder)
        found = ids(source)
        check = check_source(source)
        assert check.newest == "2024-05-02 00:00:00+00"
        assert check.unused_columns == ()
        return found


@pytest.mark.parametrize("section", ["PostgreSQL", "Amazon Redshift"])
@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of a login that the driver was refused
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # and that is when it is said
def test_the_grants_the_connection_and_the_example_are_enough_and_none_too_many(
    section: str,
    postgres: PostgresConnector,
    redshift_server: RedshiftProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = postgres.server.port if section == "PostgreSQL" else redshift_server.port
    granted = statements(section)
    assert len(granted) == (4 if section == "PostgreSQL" else 3)
    assert read_with_the_grants(section, granted, postgres.server, port, tmp_path, monkeypatch) == ["1", "2"]
    for left_out in granted:
        fewer = [one for one in granted if one != left_out]
        if left_out.startswith("CREATE"):
            fewer = []  # nobody to grant anything to
        with pytest.raises(SourceError, match=PRIVILEGES) as caught:
            read_with_the_grants(section, fewer, postgres.server, port, tmp_path, monkeypatch)
        assert "\n" not in str(caught.value), left_out


def test_the_account_of_the_documentation_can_do_nothing_else(postgres: PostgresConnector) -> None:
    connection = exported("PostgreSQL", "SHOP_POSTGRES")
    with shop_of(postgres.server):
        for statement in statements("PostgreSQL"):
            postgres.server.execute(statement, "shop")
        account = PostgresServer(postgres.server.port, connection["login"], connection["password"])
        account.execute("SELECT FROM sessions, customers", connection["schema"])
        for statement in (
            "SELECT FROM salaries",
            "INSERT INTO sessions VALUES (3)",
            "DELETE FROM sessions",
            "CREATE TABLE mine (a int)",
            "CREATE SCHEMA mine",
            "CREATE ROLE other",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                account.execute(statement, connection["schema"])


def test_the_example_of_bigquery(bigquery: BigQueryConnector, tmp_path: Path) -> None:
    at = datetime(2024, 5, 1, tzinfo=UTC)
    kinds = {"no": "bigint", "client": "text", "placed_at": "timestamptz", "total": "numeric"}
    bigquery.load("sessions", {**kinds, "updated_at": "timestamptz"}, [(1, "c1", at, 10, at), (2, "c2", at, 7, at)])
    source = example("BigQuery", tmp_path)
    assert check_source(source).unused_columns == ()
    assert ids(source) == ["1", "2"]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The key of a service account as Google writes it."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    written = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    email, address = "analytics@shop-project.iam.gserviceaccount.com", "https://127.0.0.1:9/token"
    key = {"type": "service_account", "client_email": email, "private_key": written, "token_uri": address}
    (tmp_path / "analytics.json").write_text(json.dumps(key))
    return tmp_path / "analytics.json"


@pytest.mark.parametrize(("section", "name"), [("BigQuery", "SHOP_BIGQUERY"), ("Buckets", "SHOP_BUCKET")])
def test_google_connections_find_the_key_and_the_project(
    section: str, name: str, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

    connection = exported(section, name, number=-1)
    assert Path(connection["extra"]["key_path"]).name == key_file.name
    connection["extra"]["key_path"] = str(key_file)
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))
    credentials, project = GoogleBaseHook(gcp_conn_id=name.lower()).get_credentials_and_project_id()
    assert (credentials.service_account_email, project) == (
        "analytics@shop-project.iam.gserviceaccount.com",
        "shop-project",
    )
    if section == "BigQuery":
        assert connection["extra"]["location"] == "EU"


# ── buckets ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def my_bucket(s3_server: Any) -> Iterator[Any]:
    """The bucket of the documentation, on a server that asks who one is."""
    s3_server.create_bucket(Bucket="my-bucket")
    for name in ("shop/sessions/1.csv", "other/2.csv"):
        s3_server.put_object(Bucket="my-bucket", Key=name, Body=CSV.encode())
    url = s3_server.meta.endpoint_url
    iam = boto3.client(
        "iam", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="a-secret"
    )
    yield iam
    iam.close()
    requests.post(f"{url}/moto-api/reset-auth", data="inf", timeout=10).raise_for_status()


def allowed(iam: Any, name: str, policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """The Airflow connection of a new user with this policy."""
    requests.post(f"{iam.meta.endpoint_url}/moto-api/reset-auth", data="inf", timeout=10).raise_for_status()
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="reads", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    connection = exported("Buckets", "SHOP_BUCKET")
    assert connection["conn_type"] == "aws"
    connection |= {"login": key["AccessKeyId"], "password": key["SecretAccessKey"]}
    connection["extra"]["endpoint_url"] = iam.meta.endpoint_url
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
    requests.post(f"{iam.meta.endpoint_url}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()
    return name


def test_the_permissions_on_a_bucket_are_enough_and_none_too_many(
    my_bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = json.loads(blocks("Buckets", "json")[0])
    here = {"path": "s3://my-bucket/shop/sessions/*.csv"}
    assert example("Buckets", tmp_path).path == "s3://my-bucket/shop/sessions/*.csv.gz"
    reader = allowed(my_bucket, "bucket_reader", policy, monkeypatch)
    for path in (here["path"], "s3://my-bucket/shop/sessions", "s3://my-bucket/shop/sessions/1.csv"):
        assert ids(example("Buckets", tmp_path, connection=reader, path=path)) == ["1", "2"]
    for number, left_out in enumerate(policy["Statement"]):
        fewer = {**policy, "Statement": [one for one in policy["Statement"] if one != left_out]}
        guest = allowed(my_bucket, f"bucket_guest_{number}", fewer, monkeypatch)
        with pytest.raises(SourceError, match="there is no permission to read") as caught:
            ids(example("Buckets", tmp_path, connection=guest, **here))
        assert "\n" not in str(caught.value)
    with pytest.raises(SourceError, match="there is no permission to read"):
        ids(example("Buckets", tmp_path, connection=reader, path="s3://my-bucket/other/2.csv"))


def test_the_same_example_with_gs(google_storage: GcsServer, tmp_path: Path) -> None:
    google_storage.objects["my-bucket/shop/sessions/1.csv"] = CSV.encode()
    (other,) = re.findall(r"or  (gs://\S+)", blocks("Buckets", "yaml")[0])
    path = other.removesuffix(".gz")
    assert ids(example("Buckets", tmp_path, connection="contract_gcs", path=path)) == ["1", "2"]


# ── all of the page ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_example_of_several_sources(tmp_path: Path) -> None:
    (written,) = blocks("Several sources of one kind", "yaml")
    (tmp_path / "sources.yaml").write_text(written + yaml.safe_dump({"customers": CUSTOMERS}))
    sources = load_sources(tmp_path / "sources.yaml")
    assert [one.name for one in sources.of_kind("sessions")] == ["north", "south"]
    assert sources.dimensions == ("region", "shop", "device")


def test_the_example_of_actions(tmp_path: Path) -> None:
    (written,) = blocks("Dimensions and actions", "yaml")
    changes = {"connector": "csv", "path": "s.csv", "connection": None, **yaml.safe_load(written)}
    sections = {"sessions": {"columns": COLUMNS, **{k: v for k, v in changes.items() if v}}, "customers": CUSTOMERS}
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump(sections))
    actions = load_sources(tmp_path / "sources.yaml").sessions.actions
    assert [one.name for one in actions] == ["viewed_product", "added_to_basket", "used_voucher"]


def test_every_form_of_a_column(tmp_path: Path) -> None:
    forms = re.findall(r"^\| `(\w+: [\[{].*?[\]}]|client: \w+)` \|", SECTIONS["Columns"], flags=re.MULTILINE)
    assert len(forms) == 8
    for form in forms:
        sections = {
            "sessions": {"connector": "csv", "path": "s.csv", "columns": {**COLUMNS, **yaml.safe_load(form)}},
            "customers": CUSTOMERS,
        }
        (tmp_path / "sources.yaml").write_text(yaml.safe_dump(sections))
        assert load_sources(tmp_path / "sources.yaml").sessions.columns


def test_every_code_block_of_yaml_is_tried_here() -> None:
    tried = ("Several sources of one kind", "Dimensions and actions", "Buckets", "PostgreSQL", "Amazon Redshift")
    assert {name for name in SECTIONS if "```yaml" in SECTIONS[name]} == {*tried, "BigQuery"}


@pytest.mark.parametrize("section", ["First runs", "Buckets", "PostgreSQL", "Amazon Redshift", "BigQuery"])
def test_the_commands_of_the_first_runs(section: str) -> None:
    from airflow.cli.cli_parser import get_parser

    lines = [line for block in blocks(section, "sh") for line in block.splitlines() if line.startswith("airflow ")]
    asked = [get_parser().parse_args(shlex.split(line)[1:]) for line in lines]
    assert all(one.dag_id == DAG_ID for one in asked)
    runs = [json.loads(one.conf or "{}") for one in asked if one.subcommand == "trigger"]
    assert runs == [{"dry_run": True}, {}]
    assert all(parameters()[name].schema["type"] == "boolean" for run in runs for name in run)
