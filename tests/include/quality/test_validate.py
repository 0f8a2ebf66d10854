"""Set rules over whole loads, from files to validated files, through the gate."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import configs
from include.quality.extract import Extracted
from include.quality.validate import TooManyBadRows, validate_rows
from include.sources.definition import ColumnMapping, Source
from include.staging.merge import merge
from include.staging.snapshot import load_snapshot
from include.staging.storage import storage
from tests.include.quality.conftest import LATEST, Extract, MakeSource, leftovers, quarantined, rows_of

SESSIONS = {
    "id": ColumnMapping(columns=("i",)),
    "client": ColumnMapping(columns=("c",)),
    "session_start_date": ColumnMapping(columns=("d",)),
    "has_purchased": ColumnMapping(constant=True),
    "payment_amount": ColumnMapping(columns=("p",)),
}
PLAIN: dict[str, Any] = {"columns": SESSIONS, "actions": (), "dimensions": {}}
CUSTOMERS = "their_client,their_download_date,their_signup_date,their_joined\n"


@pytest.fixture(autouse=True)
def every_share_of_bad_rows_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "MAX_QUARANTINED_SHARE", 1.0)


@pytest.fixture
def customers(make_source: MakeSource, extract: Extract) -> Extracted:
    """The customers a and b."""
    source = make_source("customers")
    return validated(source, extract(source, f"{CUSTOMERS}a,2024-01-01,,\nb,2024-01-01,,\n"))


def validated(source: Source, found: Extracted, customers: Extracted | None = None) -> Extracted:
    return validate_rows(
        source,
        found,
        customer_files=customers.files if customers else (),
        snapshot=load_snapshot(),
        target=storage(configs.STAGING_URL) / "run",
        run_id="manual__1",
        latest=LATEST,
    )


def kept(found: Extracted) -> list[int]:
    return sorted(row["_row"] for row in rows_of(found.files))


def test_files_without_anything_to_remove_are_kept_as_they_are(
    make_source: MakeSource, extract: Extract, customers: Extracted
) -> None:
    source = make_source("sessions", **PLAIN)
    found = extract(source, "i,c,d,p\n1,a,2024-07-01,1\n2,b,2024-07-01,1\n")
    done = validated(source, found, customers)
    assert done == found
    assert not (Path(configs.STAGING_URL) / "run" / "validated").exists()


def test_the_last_of_rows_with_the_same_key_is_kept(
    tmp_path: Path, make_source: MakeSource, extract: Extract, customers: Extracted
) -> None:
    (tmp_path / "s").mkdir()
    source = make_source("sessions", **PLAIN, path="s")
    (tmp_path / "s" / "b.csv").write_text("i,c,d,p\n1,a,2024-07-01,4\n")
    source = make_source("sessions", **PLAIN, path="s/*.csv")
    text = "i,c,d,p\n1,a,2024-07-01,1\n2,a,2024-07-01,2\n2,b,2024-07-01,3\n3,a,2024-07-01,9\n"
    (tmp_path / "s" / "a.csv").write_text(text)
    found = extract_folder(source, extract)
    assert found.good == 5
    done = validated(source, found, customers)
    amounts = {row["id"]: int(row["payment_amount"]) for row in rows_of(done.files)}
    assert amounts == {"1": 4, "2": 3, "3": 9}
    assert done.by_rule == {"duplicate_id": 2}
    assert (done.read, done.good, done.quarantined) == (5, 3, 2)
    rows = quarantined("sessions")
    assert [(os.path.basename(row["file"]), row["row"], row["rules"]) for row in rows] == [  # noqa: PTH119
        ("a.csv", 2, ["duplicate_id"]),
        ("a.csv", 3, ["duplicate_id"]),
    ]
    raw = json.loads(rows[1]["raw"])
    assert (raw["id"], raw["client"], raw["payment_amount"]) == ("2", "a", "2.0000")
    assert (rows[1]["form"], rows[1]["key"]) == ("typed", "2")
    assert raw["session_start_date"].startswith("2024-06-30 22:00:00")
    assert (
        "line 2: id occurs again; of its rows the newest, or else the last, was kept"
        in done.examples["duplicate_id"][0]
    )


def extract_folder(source: Source, extract: Extract) -> Extracted:
    """Extract what is in the source's folder already."""
    from include.quality.extract import extract_rows
    from include.sources.csv import read_csv

    return extract_rows(
        source,
        read_csv(source, batch_rows=2, block_bytes=1000, options=source.csv),
        source.csv,
        target=storage(configs.STAGING_URL) / "run",
        run_id="manual__1",
        latest=LATEST,
    )


def test_the_newest_changed_at_is_kept(make_source: MakeSource, extract: Extract, customers: Extracted) -> None:
    source = make_source("sessions", **PLAIN, changed_at="u")
    text = (
        "i,c,d,p,u\n1,a,2024-07-01,1,2024-07-03\n1,a,2024-07-01,2,2024-07-02\n1,a,2024-07-01,3,\n"
        "2,a,2024-07-01,1,2024-07-02\n2,a,2024-07-01,2,2024-07-02\n3,a,2024-07-01,1,\n3,a,2024-07-01,2,\n"
    )
    assert kept(validated(source, extract(source, text), customers)) == [2, 6, 8]


def test_a_client_must_be_known_from_this_load_or_from_staging(
    make_source: MakeSource, extract: Extract, customers: Extracted
) -> None:
    source = make_source("sessions", **PLAIN)
    text = "i,c,d,p\n1,a,2024-07-01,1\n2,z,2024-07-01,1\n2,old,2024-07-01,1\n3,old,2024-07-01,1\n3,z,2024-07-01,1\n"
    found = extract(source, text)
    done = validated(source, found, customers)
    assert kept(done) == [2]
    assert done.by_rule == {"client_unknown": 4}
    assert done.quarantined == 4
    assert [row["rules"] for row in quarantined("sessions")] == [["client_unknown"]] * 4

    first = make_source("sessions", **PLAIN, path="first.csv")
    old = make_source("customers", path="old.csv")
    old_customers = validated(old, extract(old, f"{CUSTOMERS}old,2024-01-01,,\n"))
    loaded = validated(first, extract(first, "i,c,d,p\n0,old,2024-07-01,1\n"), old_customers)
    merge(
        {"sessions": loaded.files, "customers": old_customers.files},
        run_key="first",
        time_zone="UTC",
        full_refresh=False,
    )
    customers = validated(
        make_source("customers"), extract(make_source("customers"), f"{CUSTOMERS}a,2024-01-01,,\nb,2024-01-01,,\n")
    )
    done = validated(source, extract(source, text), customers)
    # Of two sessions with the same id, the one of an unknown client does not stand in for the other.
    assert kept(done) == [2, 4, 5]
    assert done.by_rule == {"client_unknown": 2}


def test_validating_again_gives_the_same(make_source: MakeSource, extract: Extract, customers: Extracted) -> None:
    source = make_source("sessions", **PLAIN)
    found = extract(source, "i,c,d,p\n1,a,2024-07-01,1\n1,a,2024-07-01,1\n2,z,2024-07-01,1\n3,b,2024-07-01,x\n")
    once = validated(source, found, customers)
    before = rows_of(once.files), quarantined("sessions")
    folder = Path(configs.STAGING_URL) / "run" / "validated" / "sessions"
    (folder / "part-00099.parquet").write_bytes(b"")
    assert validated(source, found, customers) == once
    assert (rows_of(once.files), quarantined("sessions")) == before
    assert [file.name for file in folder.iterdir()] == ["part-00000.parquet"]
    assert len(before[1]) == once.quarantined == 3
    assert not list(leftovers(Path(configs.STAGING_URL)))


def test_customers_and_deliveries_have_keys_and_products_do_not(make_source: MakeSource, extract: Extract) -> None:
    texts = {
        "customers": f"{CUSTOMERS}ü,2024-01-01,,\nü,2024-01-02,,\n",
        "deliveries": "their_order_id,their_delivery_date,their_prepare_date,their_return_date,their_latitude,"
        "their_longitude\no,2024-01-01,,,,\no,2024-01-02,,,,\n",
        "products": "their_order_id,their_product,their_price,their_category,their_quantity\no,p,1,,\no,p,1,,\n",
    }
    counts = {}
    for kind, text in texts.items():
        source = make_source(kind)
        done = validated(source, extract(source, text))
        counts[kind] = (kept(done), done.by_rule)
    assert counts == {
        "customers": ([3], {"duplicate_client": 1}),
        "deliveries": ([3], {"duplicate_order_id": 1}),
        "products": ([2, 3], {}),
    }


def test_set_rules_count_towards_the_share(
    make_source: MakeSource, extract: Extract, customers: Extracted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "MAX_QUARANTINED_SHARE", 0.4)
    source = make_source("sessions", **PLAIN)
    found = extract(source, "i,c,d,p\n1,a,2024-07-01,1\n2,z,2024-07-01,1\n")
    with pytest.raises(TooManyBadRows, match=r"1 of 2 rows \(50.0%\) are bad.*1 × client_unknown \(such as .* line 3"):
        validated(source, found, customers)


def test_a_dimension_with_too_many_values_lets_in_the_most_frequent(
    make_source: MakeSource, extract: Extract, customers: Extracted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "DIMENSION_VALUES_MAX", 3)
    source = make_source("sessions", **{**PLAIN, "dimensions": {"region": "r"}})
    header = "i,c,d,p,r\n"
    first = validated(source, extract(source, f"{header}1,a,2024-07-01,1,n\n2,a,2024-07-01,1,s\n"), customers)
    assert first.by_rule == {}
    merge({"sessions": first.files, "customers": customers.files}, run_key="first", time_zone="UTC")
    # n and s are there; of the new ones w has most rows. No value is none too many.
    text = "3,a,2024-07-01,1,s\n4,a,2024-07-01,1,e\n5,a,2024-07-01,1,w\n6,b,2024-07-01,1,w\n7,b,2024-07-01,1,\n"
    done = validated(source, extract(source, header + text), customers)
    assert (kept(done), done.by_rule) == ([2, 4, 5, 6], {"dimension_region_too_many_values": 1})
    # With room for all, all come in.
    monkeypatch.setattr(configs, "DIMENSION_VALUES_MAX", 4)
    assert validated(source, extract(source, header + text), customers).by_rule == {}
