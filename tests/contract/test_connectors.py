"""Every connector against the same contract: the same data give the same landed rows, byte for byte, as from CSV."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import configs
from include.quality.extract import Extracted, extract_rows
from include.sources.definition import Sources, load_sources
from include.sources.read import check_source, read_source
from include.staging.merge import merge
from include.staging.storage import storage
from tests.csv_connector import FORMAT, csv_text

pytestmark = pytest.mark.contract

CONNECTORS = ("postgres", "redshift", "redshift_unload", "bigquery", "bigquery_storage", "csv_on_s3", "csv_on_gcs")
UTC_TIME = datetime(2024, 3, 31, 1, 30, 0, 123456, tzinfo=UTC)
COLUMNS = {
    "sessions": {
        "no": "bigint",
        "visit": "text",
        "client": "text",
        "started": "timestamptz",
        "ended": "timestamp",
        "status": "text",
        "total": "numeric",
        "discount": "double",
        "region": "text",
        "is_new": "boolean",
        "viewed": "boolean",
        "changed": "timestamptz",
    },
    "customers": {"client": "text", "arrived": "date", "signed_up": "timestamp", "joined": "timestamptz"},
    "products": {"no": "text", "product": "text", "price": "text", "category": "text", "quantity": "double"},
    "deliveries": {"no": "text", "delivered": "timestamptz", "latitude": "double", "longitude": "text"},
}
MAPPING: dict[str, dict[str, Any]] = {
    "sessions": {
        "columns": {
            "id": ["no", "visit"],
            "client": "client",
            "session_start_date": "started",
            "end_date": "ended",
            "has_purchased": {"column": "status", "is": ["paid", "sent"]},
            "payment_amount": "total",
            "discount_amount": "discount",
        },
        "dimensions": ["region", "is_new"],
        "actions": ["viewed"],
        "changed_at": "changed",
    },
    "customers": {
        "columns": {"client": "client", "download_date": "arrived", "signup_date": "signed_up"},
        "actions": ["joined"],
    },
    "products": {
        "columns": {
            "order_id": "no",
            "product": "product",
            "price": "price",
            "category": "category",
            "quantity": "quantity",
        }
    },
    "deliveries": {
        "columns": {"order_id": "no", "delivery_date": "delivered", "latitude": "latitude", "longitude": "longitude"}
    },
}
ENDED = datetime(2024, 5, 31, 12, 0, 0)
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "sessions": [
        (1, "a", "ünï – 客", UTC_TIME, ENDED, "paid", Decimal("10.50"), 0.1, 'Ost "1", x', True, True, UTC_TIME),
        (2, "b", "c2", UTC_TIME, None, "sent", Decimal("7.12345"), 1.00005, " West ", False, None, UTC_TIME),
        (3, None, "c2", UTC_TIME, ENDED, "paid", Decimal(1), 0.5, "West", True, False, UTC_TIME),
        (4, "d", "c2", None, ENDED, "open", None, None, "", None, False, UTC_TIME),
        (5, "e", "c2", UTC_TIME, ENDED, "open", Decimal(-1), 2.0, "Zeile\nzwei", None, False, UTC_TIME),
        (6, "f", "c2", UTC_TIME, ENDED, "paid", None, None, None, None, False, None),
    ],
    "customers": [
        ("ünï – 客", date(2024, 1, 2), datetime(2024, 3, 31, 3, 30), UTC_TIME),
        ("c2", date(2024, 1, 3), None, None),
        (None, date(2024, 1, 3), None, None),
    ],
    "products": [
        ("1-a", "tea", "2.50", "drinks", 2.0),
        ("1-a", "milk", "zwei", None, 0.1),
        ("2-b", "milk", "-3", None, None),
        ("2-b", "milk", "1e2", "", -1.0),
    ],
    "deliveries": [("1-a", UTC_TIME, 52.123456789, "13.4"), ("2-b", None, 91.0, "east")],
}


def placed_in_files(folder: Path) -> Sources:
    sections: dict[str, Any] = {}
    for kind, columns in COLUMNS.items():
        (folder / f"{kind}.csv").write_text(csv_text(columns, ROWS[kind]), newline="")
        sections[kind] = {"connector": "csv", "path": f"{kind}.csv", **MAPPING[kind], "csv": FORMAT}
    (folder / "sources.yaml").write_text(yaml.safe_dump(sections))
    return load_sources(folder / "sources.yaml")


def placed_in(connector: Any, folder: Path, *, as_query: bool = False) -> Sources:
    sections = {}
    for kind, columns in COLUMNS.items():
        connector.load(kind, columns, ROWS[kind])
        place = connector.place_query(kind) if as_query else connector.place(kind)
        zone = {} if "csv" in place else {"timezone": FORMAT["timezone"]}
        sections[kind] = {**place, **MAPPING[kind], **zone}
    (folder / "sources.yaml").write_text(yaml.safe_dump(sections))
    return load_sources(folder / "sources.yaml")


def extracted(sources: Sources, folder: Path) -> dict[str, Extracted]:
    found = {}
    for source in sources.all:
        options = check_source(source).options
        target, latest = storage(folder), datetime(2025, 6, 1)
        found[source.name] = extract_rows(
            source, read_source(source, options), options, target=target, run_id="r", latest=latest
        )
    return found


def rules(found: dict[str, Extracted]) -> dict[str, tuple[int, int, dict[str, int]]]:
    return {kind: (one.good, one.quarantined, one.by_rule) for kind, one in found.items()}


def staged(found: dict[str, Extracted], url: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    monkeypatch.setattr(configs, "STAGING_URL", str(url))
    merge({kind: one.files for kind, one in found.items()}, run_key="r", time_zone="Europe/Berlin")
    return {str(file.relative_to(url)): file.read_bytes() for file in url.rglob("*.parquet")}


@pytest.mark.parametrize("as_query", [False, True])
@pytest.mark.parametrize("name", CONNECTORS)
def test_the_same_data_are_staged_the_same_byte_for_byte(
    name: str, as_query: bool, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(tmp_path / "tmp"))
    from_files = extracted(placed_in_files(tmp_path), tmp_path / "files")
    connector = request.getfixturevalue(name)
    from_database = extracted(placed_in(connector, tmp_path, as_query=as_query), tmp_path / "database")
    if name == "bigquery_storage":
        assert [path for _, path, _ in connector.server.requests].count("CreateReadSession") == len(COLUMNS)
    assert rules(from_files) == rules(from_database)
    assert all(one.good for one in from_files.values())
    assert sum(one.quarantined for one in from_files.values()) > 6
    for kind, one in from_files.items():
        landed = [
            pq.read_table(storage(each.files[0]).path).drop_columns(["_file", "_row"])
            for each in (one, from_database[kind])
        ]
        assert landed[0].equals(landed[1]), kind
    expected = staged(from_files, tmp_path / "staged files", monkeypatch)
    assert len(expected) >= 4
    assert staged(from_database, tmp_path / "staged database", monkeypatch) == expected


# ── several actions in one column ───────────────────────────────────────────────────────────────────────────────────
EVENTS: list[Any] = [["viewed", "paid"], ["paid"], ["viewed ", "a, b", 'ünï – "客"', "it's"], [], None]
OBJECTS: list[Any] = [{"viewed": True, "paid": False}, {"it's": True, 'ünï – "客"': 1}, {}, "viewed", 7, ["viewed"]]
LISTS = {
    "postgres": ("text[]", "step[]", "jsonb"),
    "redshift": ("json",),  # as which SUPER comes from the stand-in
    "redshift_unload": ("json",),
    "bigquery": ("VARCHAR[]", "json"),
    "bigquery_storage": ("VARCHAR[]",),
    "csv_on_disk": ("text",),
    "csv_on_s3": ("text",),
    "csv_on_gcs": ("text",),
}
WITH_ACTIONS = {
    **MAPPING["sessions"],
    "actions": [
        {"name": "viewed", "column": "events", "contains": "viewed"},
        {"name": "paid", "column": "events", "contains": ["paid", "a, b"]},
        {"name": "odd", "column": "events", "contains": ["it's", 'ünï – "客"']},
        {"name": "any", "column": "events", "not_empty": True},
    ],
}


def with_events(place: dict[str, object], folder: Path) -> Sources:
    zone = {} if "csv" in place else {"timezone": FORMAT["timezone"]}
    customers = {"connector": "csv", "path": "customers.csv", **MAPPING["customers"], "csv": FORMAT}
    (folder / "customers.csv").write_text(csv_text(COLUMNS["customers"], ROWS["customers"]), newline="")
    sections = {"sessions": {**place, **WITH_ACTIONS, **zone}, "customers": customers}
    (folder / "sources.yaml").write_text(yaml.safe_dump(sections))
    return load_sources(folder / "sources.yaml")


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in LISTS.items() for kind in kinds])
def test_lists_are_staged_the_same_whatever_holds_them(
    name: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(tmp_path / "tmp"))
    connector = request.getfixturevalue(name)
    if kind == "step[]":
        steps = sorted({one for events in EVENTS for one in events or ()})
        names = ", ".join("'{}'".format(one.replace("'", "''")) for one in steps)
        connector.server.execute(f"DROP TYPE IF EXISTS step CASCADE; CREATE TYPE step AS ENUM ({names})")
    is_json = not kind.endswith("[]")
    values = [*EVENTS, *(OBJECTS if is_json else ())]
    columns = {**COLUMNS["sessions"], "events": kind}
    rows = [(no, *ROWS["sessions"][0][1:], one) for no, one in enumerate(values, start=10)]
    as_json = [(*row[:-1], None if row[-1] is None else json.dumps(row[-1], ensure_ascii=False)) for row in rows]
    (tmp_path / "events.csv").write_text(csv_text(columns, as_json), newline="")
    from_files = extracted(
        with_events({"connector": "csv", "path": "events.csv", "csv": FORMAT}, tmp_path), tmp_path / "files"
    )
    connector.load("events", columns, as_json if is_json else rows)
    from_database = extracted(with_events(connector.place("events"), tmp_path), tmp_path / "database")
    assert rules(from_database) == rules(from_files)
    not_a_list = {f"action_{one}_not_a_boolean": 2 for one in ("odd", "paid", "viewed")}
    assert from_files["sessions"].by_rule == (not_a_list if is_json else {})
    landed = pq.read_table(storage(from_database["sessions"].files[0]).path).sort_by("id").to_pylist()
    found = [tuple(row[f"action_{one}"] for one in ("viewed", "paid", "odd", "any")) for row in landed]
    assert found[:5] == [
        (True, True, False, True),
        (False, True, False, True),
        (False, True, True, True),
        (False, False, False, True),
        (False, False, False, False),
    ]
    expected = staged(from_files, tmp_path / "staged files", monkeypatch)
    assert staged(from_database, tmp_path / "staged database", monkeypatch) == expected
