"""Files with one row for every way to be wrong: which rule finds it, on which line, and what is kept of it."""

import json
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

import configs
from include.quality.conversion import column_types
from include.quality.gate import GateFailed
from include.quality.validate import TooManyBadRows, validate_rows
from include.schemas.rules import row_rules, set_rules
from include.sources.definition import ColumnMapping
from include.sources.raw_batch import MALFORMED_RULES
from include.staging.storage import storage
from tests.include.quality.conftest import LATEST, Extract, MakeSource, quarantined, rows_of

HEADERS = {
    "sessions": "their_id,their_client,their_session_start_date,their_has_purchased,their_payment_amount,"
    "their_end_date,their_discount_amount,their_promotion_id,their_region,their_viewed",
    "customers": "their_client,their_download_date,their_signup_date,their_joined",
    "products": "their_order_id,their_product,their_price,their_category,their_quantity",
    "deliveries": "their_order_id,their_delivery_date,their_prepare_date,their_return_date,their_latitude,"
    "their_longitude",
}
LONG = "é" * 257  # 514 bytes
GOOD = {
    "sessions": "s1,c1,2024-07-01T12:00:00,yes,19.99,2024-07-01T12:30:00,0,,north,true",
    "customers": "c1,2024-01-01,2024-01-02,2024-01-03",
    "products": "s1,shirt,9.99,tops,2",
    "deliveries": "s1,2024-07-03,2024-07-02,2024-07-05,52.5,13.4",
}
# Each row, with the rules it breaks.
DIRT: dict[str, list[tuple[str, list[str]]]] = {
    "sessions": [
        (",c1,2024-07-01,no,,,,,,", ["id_missing"]),
        ("d1,,2024-07-01,no,,,,,,", ["client_missing"]),
        ("d2,c1,,no,,,,,,", ["session_start_date_missing"]),
        ("d3,c1,2024-07-01,,,,,,,", ["has_purchased_missing"]),
        ("d4,c1,yesterday,no,,,,,,", ["session_start_date_not_a_date"]),
        ("d5,c1,1969-12-31,no,,,,,,", ["session_start_date_before_1970"]),
        ("d6,c1,2025-06-02,no,,,,,,", ["session_start_date_in_future"]),
        ("d7,c1,2024-07-01,perhaps,,,,,,", ["has_purchased_not_a_boolean"]),
        ("d8,c1,2024-07-01,yes,dear,,,,,", ["payment_amount_not_a_number"]),
        ("d9,c1,2024-07-01,yes,-0.01,,,,,", ["payment_amount_negative"]),
        ("d21,c1,2024-07-01,yes,€ 5,,,,,", ["payment_amount_with_currency"]),
        ("d22,c1,2024-07-01,no,,,5.00 EUR,,,", ["discount_amount_with_currency"]),
        ("d10,c1,2024-07-01,no,,soon,,,,", ["end_date_not_a_date"]),
        ("d11,c1,2024-07-01,no,,1900-01-01,,,,", ["end_date_before_1970", "end_date_before_session_start_date"]),
        ("d12,c1,2024-07-01,no,,2030-01-01,,,,", ["end_date_in_future"]),
        ("d13,c1,2024-07-01,no,,,NaN,,,", ["discount_amount_not_a_number"]),
        ("d14,c1,2024-07-01,no,,,-5,,,", ["discount_amount_negative"]),
        ("d15,c1,2024-07-01,no,,,,,,maybe", ["action_viewed_not_a_boolean"]),
        ("d16,c1,2024-07-01T12:00:00,no,,2024-07-01T11:59:59,,,,", ["end_date_before_session_start_date"]),
        ("d17,c1,2024-07-01,yes,,,,,,", ["purchase_without_amount"]),
        (f"{LONG},c1,2024-07-01,no,,,,,,", ["id_too_long"]),
        ("d18,c1,2024-07-01,yes,Infinity,,1e400,,,", ["payment_amount_not_a_number", "discount_amount_not_a_number"]),
        ("d19,c1,2024-07-01,no,,,,,", ["wrong_number_of_columns"]),
        ("d20,c1,2024-07-01,no,,,,,\x80,", ["not_valid_text"]),
    ],
    "customers": [
        (",2024-01-01,,", ["client_missing"]),
        ("d1,,,", ["download_date_missing"]),
        ("d2,01.02.2024,,", ["download_date_not_a_date"]),
        ("d3,1969-12-31,,", ["download_date_before_1970"]),
        ("d4,2026-01-01,,", ["download_date_in_future"]),
        ("d5,2024-01-01,never,", ["signup_date_not_a_date"]),
        ("d6,2024-01-01,1969-12-31,", ["signup_date_before_1970"]),
        ("d11,2024-01-01,0001-01-01,", ["signup_date_before_1970"]),
        ("d7,2024-01-01,2025-06-01T02:00:01,", ["signup_date_in_future"]),
        ("d8,2024-01-01,,someday", ["action_joined_not_a_date"]),
        (f"{LONG},2024-01-01,,", ["client_too_long"]),
        ("d9,2024-01-01", ["wrong_number_of_columns"]),
        ("d10,2024-01-01,,\x80", ["not_valid_text"]),
    ],
    "products": [
        (",shirt,1,,1", ["order_id_missing"]),
        ("s1,,1,,1", ["product_missing"]),
        ("s1,shirt,,,1", ["price_missing"]),
        ("s1,shirt,free,,1", ["price_not_a_number"]),
        ("s1,shirt,US$9.99,,1", ["price_with_currency"]),
        ("s1,shirt,-1,,1", ["price_negative"]),
        ("s1,shirt,1,,some", ["quantity_not_a_number"]),
        ("s1,shirt,1,,0", ["quantity_not_positive"]),
        ("s1,shirt,1,,-2", ["quantity_not_positive"]),
        ("s1,shirt,1,,1e400", ["quantity_not_a_number"]),
        ("s1,,-1,,0", ["product_missing", "price_negative", "quantity_not_positive"]),
        ("s1,shirt,1,,1,1", ["wrong_number_of_columns"]),
        ("s1,\x80,1,,1", ["not_valid_text"]),
    ],
    "deliveries": [
        (",2024-07-03,,,,", ["order_id_missing"]),
        ("d1,,,,,", ["delivery_date_missing"]),
        ("d2,x,,,,", ["delivery_date_not_a_date"]),
        ("d3,1969-01-01,,,,", ["delivery_date_before_1970"]),
        ("d4,2025-06-02,,,,", ["delivery_date_in_future"]),
        ("d5,2024-07-03,x,,,", ["prepare_date_not_a_date"]),
        ("d6,2024-07-03,1969-01-01,,,", ["prepare_date_before_1970"]),
        ("d7,2024-07-03,2025-06-02,,,", ["prepare_date_in_future", "delivery_date_before_prepare_date"]),
        ("d8,2024-07-03,,x,,", ["return_date_not_a_date"]),
        ("d9,2024-07-03,,1969-01-01,,", ["return_date_before_1970", "return_date_before_delivery_date"]),
        ("d10,2024-07-03,,2025-06-02,,", ["return_date_in_future"]),
        ("d11,2024-07-03,,,north,", ["latitude_not_a_number"]),
        ("d12,2024-07-03,,,90.1,", ["latitude_out_of_range"]),
        ("d13,2024-07-03,,,,east", ["longitude_not_a_number"]),
        ("d14,2024-07-03,,,,-180.1", ["longitude_out_of_range"]),
        ("d15,2024-07-03,2024-07-04,,,", ["delivery_date_before_prepare_date"]),
        ("d16,2024-07-03,,2024-07-02,,", ["return_date_before_delivery_date"]),
        (f"{LONG},2024-07-03,,,,", ["order_id_too_long"]),
        ("d17", ["wrong_number_of_columns"]),
        ("d18,2024-07-03,,,\x80,", ["not_valid_text"]),
    ],
}


def dirty_file(kind: str) -> bytes:
    lines = [HEADERS[kind], GOOD[kind], *(line for line, _ in DIRT[kind])]
    return ("\n".join(lines) + "\n").encode().replace("\x80".encode(), b"\x80")


def all_row_rules(kind: str, make_source: MakeSource) -> set[str]:
    source = make_source(kind)
    return {rule.name for rule in row_rules(source.kind, column_types(source), LATEST)}


@pytest.mark.parametrize("kind", DIRT)
def test_every_row_rule_has_its_dirt(kind: str, make_source: MakeSource) -> None:
    known = all_row_rules(kind, make_source) | MALFORMED_RULES.keys() - {"quote_not_closed"}
    assert {rule for _, rules in DIRT[kind] for rule in rules} == known


@pytest.mark.parametrize("kind", DIRT)
@pytest.mark.parametrize("batch_rows", [1, 1000])
def test_dirt_is_quarantined_with_its_line_its_rules_and_its_values(
    kind: str, batch_rows: int, make_source: MakeSource, extract: Extract
) -> None:
    source = make_source(kind)
    found = extract(source, dirty_file(kind), batch_rows=batch_rows)
    dirt = DIRT[kind]
    assert (found.read, found.good, found.quarantined, found.outside_window) == (len(dirt) + 1, 1, len(dirt), 0)
    assert found.by_rule == dict(sorted(Counter(rule for _, rules in dirt for rule in rules).items()))
    rows = quarantined(kind)
    assert [(row["row"], sorted(row["rules"])) for row in rows] == [
        (number, sorted(rules)) for number, (_, rules) in enumerate(dirt, start=3)
    ]
    assert {(row["source"], row["run_id"]) for row in rows} == {(kind, "manual__1")}
    assert {row["file"] for row in rows} == {row["_file"] for row in rows_of(found.files)}
    assert {row["quarantined_at"] for row in rows} == {LATEST - timedelta(hours=configs.FUTURE_TOLERANCE_HOURS)}
    assert not any(row["is_replayed"] for row in rows)
    names = HEADERS[kind].split(",")
    for row, (line, rules) in zip(rows, dirt, strict=True):
        is_text = rules in (["wrong_number_of_columns"], ["not_valid_text"])
        assert (row["form"], row["key"]) == (("text", None) if is_text else ("raw", line.split(",")[0] or None))
        if rules == ["wrong_number_of_columns"]:
            assert row["raw"] == line
        elif rules == ["not_valid_text"]:
            assert row["raw"] == line.replace("\x80", "\\x80")
        else:
            values = dict(zip(names, line.split(","), strict=True))
            assert json.loads(row["raw"]) == {name: value or None for name, value in values.items()}
    for rule in found.by_rule:
        assert f"line {next(row['row'] for row in rows if rule in row['rules'])}: " in found.examples[rule][0]


def test_good_rows_have_exact_types(make_source: MakeSource, extract: Extract) -> None:
    landed = {}
    for kind, line in GOOD.items():
        (landed[kind],) = rows_of(extract(make_source(kind), f"{HEADERS[kind]}\n{line}\n").files)
        file = landed[kind].pop("_file")
        assert str(file).endswith(f"{kind}.csv")
        assert landed[kind].pop("_row") == 2
    assert landed["sessions"] == {
        "id": "s1",
        "client": "c1",
        "session_start_date": datetime(2024, 7, 1, 10),
        "has_purchased": True,
        "payment_amount": Decimal("19.9900"),
        "end_date": datetime(2024, 7, 1, 10, 30),
        "discount_amount": Decimal("0.0000"),
        "promotion_id": None,
        "dimension_region": "north",
        "action_viewed": True,
    }
    assert landed["customers"] == {
        "client": "c1",
        "download_date": datetime(2023, 12, 31, 23),
        "signup_date": datetime(2024, 1, 1, 23),
        "action_joined": datetime(2024, 1, 2, 23),
    }
    assert landed["products"] == {
        "order_id": "s1",
        "product": "shirt",
        "price": Decimal("9.9900"),
        "category": "tops",
        "quantity": 2.0,
    }
    assert landed["deliveries"] == {
        "order_id": "s1",
        "delivery_date": datetime(2024, 7, 2, 22),
        "prepare_date": datetime(2024, 7, 1, 22),
        "return_date": datetime(2024, 7, 4, 22),
        "latitude": 52.5,
        "longitude": 13.4,
    }


def test_an_id_of_512_bytes_in_any_script_is_fine(make_source: MakeSource, extract: Extract) -> None:
    identifier = "ü\\x" + "é" * 254
    found = extract(make_source("customers"), f"{HEADERS['customers']}\n{identifier},2024-01-01,,\n")
    assert len(identifier.encode()) == 512
    assert [row["client"] for row in rows_of(found.files)] == [identifier]


@pytest.mark.parametrize("kind", DIRT)
def test_a_file_with_column_names_only_lands_an_empty_file(
    kind: str, make_source: MakeSource, extract: Extract
) -> None:
    found = extract(make_source(kind), HEADERS[kind] + "\n")
    assert (found.read, found.good, found.quarantined) == (0, 0, 0)
    (file,) = found.files
    names = pq.read_schema(storage(file).path).names
    assert names == [*column_types(make_source(kind)), "_file", "_row"]
    assert quarantined(kind) == []


def test_a_file_of_bad_rows_only_stops_the_run(make_source: MakeSource, extract: Extract) -> None:
    source = make_source("products")
    found = extract(source, f"{HEADERS['products']}\n" + "s1,shirt,dear,,1\n" * 3 + "s1,,1,,0\n")
    assert (found.read, found.good, found.quarantined) == (4, 0, 4)
    target = storage(configs.STAGING_URL) / "run"
    with pytest.raises(TooManyBadRows) as raised:
        validate_rows(source, found, customer_files=(), snapshot=None, target=target, run_id="manual__1", latest=LATEST)
    file = quarantined("products")[0]["file"]
    assert str(raised.value) == (
        "products: 4 of 4 rows (100.0%) are bad, more than MAX_QUARANTINED_SHARE (5.0%): "
        f"3 × price_not_a_number (such as {file} line 2: price is not a number (it holds 'dear')); "
        f"1 × product_missing (such as {file} line 5: product is empty); "
        f"1 × quantity_not_positive (such as {file} line 5: quantity is not above zero (it holds '0')). "
        "Correct the data or its mapping in sources.yaml, or raise that setting."
    )
    assert not isinstance(raised.value, GateFailed)


def test_a_bad_row_of_joined_columns_shows_them(make_source: MakeSource, extract: Extract) -> None:
    source = make_source(
        "customers",
        columns={"client": ColumnMapping(columns=("a", "b")), "download_date": ColumnMapping(columns=("d",))},
        actions=(),
    )
    found = extract(source, "a,b,d\n1,,2024-01-01\n1,2,2024-01-01\n")
    assert found.by_rule == {"client_missing": 1}
    assert json.loads(quarantined("customers")[0]["raw"]) == {"a": "1", "b": None, "d": "2024-01-01"}


def test_set_rules_are_known(make_source: MakeSource) -> None:
    sources = {kind: make_source(kind) for kind in DIRT}
    names = {
        kind: [rule.name for rule in set_rules(source.kind, column_types(source))] for kind, source in sources.items()
    }
    assert names == {
        "sessions": ["duplicate_id", "id_of_another_source", "client_unknown", "dimension_region_too_many_values"],
        "customers": ["duplicate_client", "client_of_another_source"],
        "products": [],
        "deliveries": ["duplicate_order_id", "order_id_of_another_source"],
    }
