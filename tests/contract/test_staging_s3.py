"""Staging on a real S3 server: the same loads give the same versions as on a disk, and nothing is left behind."""

import hashlib
import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
from moto.server import ThreadedMotoServer

import configs
from include.staging.merge import merge
from include.staging.snapshot import Snapshot, all_snapshots, load_snapshot
from include.staging.storage import engine, engine_url, storage, written_aside
from tests.include.staging.conftest import customer, session, write_load

pytestmark = pytest.mark.contract

ON_S3 = "s3://staging_bucket@data/shop/staging"  # the connection's name, then the bucket


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A client of an S3 server with the bucket `data`; the Airflow connection `staging_bucket` leads to it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "http_proxy", "HTTP_PROXY"):
            environment.delenv(name, raising=False)
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        extra = {"endpoint_url": url, "region_name": "us-east-1"}
        connection = {"conn_type": "aws", "login": "key", "password": "a-secret", "extra": extra}
        environment.setenv("AIRFLOW_CONN_STAGING_BUCKET", json.dumps(connection))
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="a-secret"
        )
        client.create_bucket(Bucket="data")
        yield client
        client.close()
    server.stop()


def staged_history(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """Three loads, one of them twice: rows that come, change and move to another month, and a basket."""
    monkeypatch.setattr(configs, "STAGING_URL", url)
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(folder / "tmp"))
    monkeypatch.setattr(configs, "STAGING_SNAPSHOTS_KEPT", 2)
    line = {"product": "tea", "price": Decimal(2), "quantity": 1.0}
    for run, (amount, month) in {"one": ("1.5", 1), "two": ("2.5", 2), "again": ("2.5", 2), "three": ("4", 2)}.items():
        parts = write_load(
            folder / run,
            sessions=[session("s1", "a", f"2024-0{month}-05 10:00", amount), session("s2", "b", "2024-03-01 23:30")],
            customers=[customer("a"), customer("b")],
            products=[{"order_id": "s1", **line, "quantity": float(month)}, {"order_id": "s1", **line}],
        )
        # The load itself lies in staging too, as validation leaves it.
        placed = {
            kind: [str(_put(storage(url) / "runs" / run / "validated", Path(files[0])))]
            for kind, files in parts.items()
        }
        merged = merge(placed, run_key=run, time_zone="Europe/Berlin")
    return merged.snapshot


def _put(folder: Any, file: Path) -> Any:
    target = folder / file.name
    with written_aside(target) as scratch:
        scratch.write_bytes(file.read_bytes())
    return target


def test_an_object_store_holds_what_a_disk_holds(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk = staged_history(str(tmp_path / "staging"), tmp_path / "disk", monkeypatch)
    files = {
        f"shop/staging/{path.relative_to(tmp_path / 'staging')}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "staging" / "tables").rglob("*.parquet")
    }
    on_s3 = staged_history(ON_S3, tmp_path / "s3", monkeypatch)
    assert on_s3 == on_disk
    assert load_snapshot() == on_s3
    assert len(all_snapshots()) == 2
    objects = {
        one["Key"]: hashlib.sha256(bucket.get_object(Bucket="data", Key=one["Key"])["Body"].read()).hexdigest()
        for one in bucket.list_objects_v2(Bucket="data", Prefix="shop/staging/tables/")["Contents"]
    }
    assert objects == files
    # Loads of versions that are kept stay, the first one's went.
    left = bucket.list_objects_v2(Bucket="data", Prefix="shop/staging/runs/")["Contents"]
    assert {one["Key"].split("/")[3] for one in left} == {"two", "three"}
    with on_s3.connect() as connection:
        query = "SELECT id, session_day, session_hour, payment_amount FROM sessions ORDER BY id"
        assert connection.execute(query).fetchall() == [
            ("s1", date(2024, 2, 5), 11, Decimal(4)),
            ("s2", date(2024, 3, 2), 0, Decimal(1)),
        ]
        basket = connection.execute("SELECT order_id, quantity FROM basket ORDER BY ALL").fetchall()
    assert basket == [("s1", 1.0), ("s1", 2.0)]
    tables = on_s3.analysis_tables(dimensions=(), week_start="monday")
    assert tables.sessions.session_start_date.max().execute() == datetime(2024, 3, 1, 23, 30)


def test_the_engine_says_so_when_an_object_is_not_there(bucket: Any) -> None:
    missing = storage(ON_S3) / "tables" / "nothing.parquet"
    with engine(missing) as connection, pytest.raises(duckdb.IOException, match=r"No files found .*nothing\.parquet"):
        connection.execute(f"SELECT * FROM read_parquet('{engine_url(missing)}')")
