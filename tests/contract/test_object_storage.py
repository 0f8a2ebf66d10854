"""The same data from a disk, zipped, and from a real S3 server gives the same rows."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from include.sources.definition import Source, SourcesError, load_sources
from include.sources.problems import SourceError, SourceUnreachable
from include.sources.raw_batch import ROW_COLUMN
from include.sources.read import check_source, read_source

pytestmark = pytest.mark.contract

FILES = {
    "sessions/2024-01.csv": 'id,client,date,amount\n1,a,2024-01-05,10.50\n2,b,2024-01-06,"7,000.25"\n',
    "sessions/2024-02.csv": "client,id,amount,date\na,3,,2024-02-01\n\nb\nc,4,1.00,2024-02-03\n",
}
SOURCES = """
sessions:
  connector: csv
  path: {path}
  columns:
    id: id
    client: client
    session_start_date: date
    has_purchased: {{column: amount, not_empty: true}}
    payment_amount: amount
{connection}
customers: {{connector: csv, path: unused.csv, columns: {{client: client, download_date: date}}}}
"""
ROWS = [
    {"id": "1", "client": "a", "date": "2024-01-05", "amount": "10.50", ROW_COLUMN: 2},
    {"id": "2", "client": "b", "date": "2024-01-06", "amount": "7,000.25", ROW_COLUMN: 3},
    {"id": "3", "client": "a", "date": "2024-02-01", "amount": None, ROW_COLUMN: 2},
    {"id": "4", "client": "c", "date": "2024-02-03", "amount": "1.00", ROW_COLUMN: 5},
]


@pytest.fixture(scope="module")
def shop_bucket() -> Iterator[str]:
    """An S3 server with the bucket `shop`, and the Airflow connection of this name to it.

    One for all tests: Airflow keeps the file system of a connection as long as the process lives.
    """
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as environment:
        # Neither a proxy nor an account of whoever runs the tests may come into play.
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "http_proxy", "HTTP_PROXY"):
            environment.delenv(name, raising=False)
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        environment.setenv("AIRFLOW_CONN_SHOP_BUCKET", connection(url))
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="a-secret"
        )
        client.create_bucket(Bucket="shop")
        for name, text in FILES.items():
            client.put_object(Bucket="shop", Key=name, Body=text.encode())
            client.put_object(Bucket="shop", Key=f"zipped/{name}.gz", Body=gzip.compress(text.encode()))
        client.put_object(Bucket="shop", Key="sessions/readme.txt", Body=b"no data")
        client.close()
        yield "shop_bucket"
    server.stop()


def connection(url: str) -> str:
    extra = {"endpoint_url": url, "region_name": "us-east-1", "config_kwargs": {"retries": {"max_attempts": 1}}}
    return json.dumps({"conn_type": "aws", "login": "key", "password": "a-secret", "extra": extra})


def sessions(folder: Path, path: str, connection_id: str | None = None) -> Source:
    named = f"  connection: {connection_id}" if connection_id else ""
    (folder / "sources.yaml").write_text(SOURCES.format(path=path, connection=named))
    return load_sources(folder / "sources.yaml").sessions


def everything(source: Source) -> tuple[list[dict[str, object]], list[tuple[str, int, str]], int]:
    batches = list(read_source(source))
    rows = [row for batch in batches for row in batch.rows.to_pylist()]
    malformed = [(Path(batch.file).name[:7], one.row, one.text) for batch in batches for one in batch.malformed]
    return rows, malformed, sum(batch.blank_lines for batch in batches)


def test_a_disk_and_a_bucket_give_the_same_rows(tmp_path: Path, shop_bucket: str) -> None:
    for name, text in FILES.items():
        for path, content in ((name, text.encode()), (f"zipped/{name}.gz", gzip.compress(text.encode()))):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
    places = {
        "a folder": sessions(tmp_path, "sessions"),
        "a pattern": sessions(tmp_path, "sessions/*.csv"),
        "zipped": sessions(tmp_path, "zipped/sessions/*.csv.gz"),
        "a folder in a bucket": sessions(tmp_path, "s3://shop/sessions", shop_bucket),
        "a pattern in a bucket": sessions(tmp_path, "s3://shop/sessions/*.csv", shop_bucket),
        "zipped in a bucket": sessions(tmp_path, "s3://shop/zipped/**/*.csv.gz", shop_bucket),
    }
    for place, source in places.items():
        assert everything(source) == (ROWS, [("2024-02", 4, "b")], 1), place
    check = check_source(places["a folder in a bucket"])
    assert check.files == ("s3://shop/sessions/2024-01.csv", "s3://shop/sessions/2024-02.csv")
    assert check.bytes == sum(map(len, FILES.values()))


def test_what_is_wrong_with_a_bucket_is_said_plainly(tmp_path: Path, shop_bucket: str) -> None:
    cases = {
        "s3://shop/nothing.csv": r"sessions: there is no s3://shop/nothing.csv; correct `path`",
        "s3://shop/nothing/*.csv": r"sessions: no CSV file is at s3://shop/nothing/\*.csv; correct `path`",
        "s3://shpo/sessions/2024-01.csv": r"sessions: there is no s3://shpo/sessions/2024-01.csv; correct `path`",
        "s3://shpo/sessions/*.csv": r"sessions: .* s3://shpo/sessions/\*.csv; correct `path`",
    }
    for path, sentence in cases.items():
        with pytest.raises(SourceError, match=sentence) as caught:
            check_source(sessions(tmp_path, path, shop_bucket))
        assert "\n" not in str(caught.value)


def test_a_bucket_that_does_not_answer_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens on the discard port.
    monkeypatch.setenv("AIRFLOW_CONN_SILENT", connection("http://127.0.0.1:9"))
    with pytest.raises(SourceUnreachable, match=r"sessions: s3://shop/x.csv cannot be read \(.*\); check") as caught:
        check_source(sessions(tmp_path, "s3://shop/x.csv", "silent"))
    assert "\n" not in str(caught.value)
    assert caught.value.retry
    assert "a-secret" not in str(caught.value)


def test_credentials_have_no_place_in_a_path(tmp_path: Path) -> None:
    with pytest.raises(SourcesError, match="no credentials or connection in the path"):
        sessions(tmp_path, "s3://key:a-secret@shop/x.csv")
