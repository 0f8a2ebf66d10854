"""What the result of the `check` task says of a mapping, for every form that sources.yaml knows."""

import json
from pathlib import Path

import yaml

from include.sources.definition import CsvOptions, DatabaseOptions, load_sources
from include.sources.source_check import SourceCheck, mapped

WRITTEN = """
sessions:
  connector: csv
  path: sessions.csv
  columns:
    id: [{constant: north}, order_no, visit_no]
    client: customer_no
    session_start_date: started_at
    has_purchased: {column: status, is: [paid, shipped]}
    payment_amount: total
    discount_amount: {constant: 0}
  dimensions: {area: region, shop: {constant: North}}
  actions:
    - viewed
    - {name: added, column: events, contains: [added, added_again]}
    - {name: large, column: total, greater_than: 100}
  changed_at: updated_at
customers: {connector: csv, path: customers.csv, columns: {client: customer_no, download_date: created_at}}
"""


def test_each_of_our_columns_stands_beside_what_fills_it(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(WRITTEN)
    sources = load_sources(tmp_path / "sources.yaml")
    expected = {
        "id": [{"constant": "north"}, "order_no", "visit_no"],
        "client": "customer_no",
        "session_start_date": "started_at",
        "has_purchased": {"column": "status", "is": ["paid", "shipped"]},
        "payment_amount": "total",
        "discount_amount": {"constant": 0},
        "dimension_area": "region",
        "dimension_shop": {"constant": "North"},
        "action_viewed": "viewed",
        "action_added": {"column": "events", "contains": ["added", "added_again"]},
        "action_large": {"column": "total", "greater_than": 100},
        "changed_at": "updated_at",
    }
    assert json.loads(json.dumps(mapped(sources.sessions))) == expected
    assert mapped(sources.sessions)["id"] == yaml.safe_load(WRITTEN)["sessions"]["columns"]["id"]
    assert mapped(sources.customers) == {"client": "customer_no", "download_date": "created_at"}


def test_a_database_is_quoted_as_it_spells_its_columns(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(WRITTEN)
    found = mapped(load_sources(tmp_path / "sources.yaml").sessions, {"customer_no": "CUSTOMER_NO", "total": "Total"})
    assert (found["client"], found["payment_amount"]) == ("CUSTOMER_NO", "Total")
    assert found["action_large"] == {"column": "Total", "greater_than": 100}
    assert found["session_start_date"] == "started_at"


def test_it_is_told_in_the_words_of_the_sources_file(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(WRITTEN)
    mapping = mapped(load_sources(tmp_path / "sources.yaml").sessions)
    theirs = (
        "id = [{constant: north}, order_no, visit_no], client = customer_no%s, session_start_date = started_at, "
        "has_purchased = {column: status, is: [paid, shipped]}, payment_amount = total%s, "
        "discount_amount = {constant: 0}, dimension_area = region, dimension_shop = {constant: North}, "
        "action_viewed = viewed, action_added = {column: events, contains: [added, added_again]}, "
        "action_large = {column: total, greater_than: 100}, changed_at = updated_at"
    )
    dates = {"session_start_date": "%d.%m.%Y", "end_date": "%d.%m.%Y", "changed_at": None}
    options = CsvOptions(delimiter="\t", encoding="utf-8", decimal=",", date_format=dates, timezone="Europe/Berlin")
    files = SourceCheck(
        "sessions",
        ("1.csv", "2.csv"),
        1_234_567,
        (),
        ("note",),
        options,
        12_345,
        {},
        "2024-05-01 12:00:00+0000",
        mapping,
    )
    assert files.sentences() == [
        "2 files, 1.csv the first, 1.2 MB, about 12,345 rows, last written 2024-05-01 12:00:00+0000",
        "ours = yours: " + theirs % ("", ""),
        "columns that nothing uses: note",
        (
            'read with delimiter "\\t", encoding utf-8, times without a zone as of Europe/Berlin, decimal ",", '
            "dates %d.%m.%Y (session_start_date, end_date), dates iso (changed_at)"
        ),
    ]
    types = {"customer_no": "text", "total": "numeric"}
    table = SourceCheck(
        "sessions", ("public.orders",), None, (), (), DatabaseOptions(), 7, types, "2024-05-01 12:00:00+00", mapping
    )
    assert table.sentences() == [
        "public.orders, about 7 rows, newest change 2024-05-01 12:00:00+00",
        "ours = yours: " + theirs % (" (text)", " (numeric)"),
    ]
