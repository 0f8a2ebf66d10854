"""What the documents of `orders` and `downloads` look like; the engine builds them, Python's json reads them back."""

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.elastic import documents
from include.elastic.documents import (
    action_kinds,
    download_documents,
    order_documents,
    score_documents,
    session_months,
)
from tests.include.elastic.snapshot import customer, session, snapshot


def parsed(operations: Iterable[bytes]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Action and source of each operation. Every operation is exactly two lines."""
    pairs = []
    for operation in operations:
        assert operation.endswith(b"\n")
        action, source = operation[:-1].split(b"\n")
        pairs.append((json.loads(action), json.loads(source)))
    return pairs


def one_order(*rows: dict[str, Any], **tables: Any) -> dict[str, Any]:
    ((_, source),) = parsed(order_documents(snapshot(list(rows) or [session()], **tables)))
    return source


def test_a_bare_session() -> None:
    ((action, source),) = parsed(order_documents(snapshot([session()])))
    assert action == {"index": {"_id": "s1"}}
    assert source == {
        "client": "c1",
        "session_start_date": "2024-01-02T10:30:00Z",
        "has_purchased": True,
        "payment_amount": 12.5,
        "dimension": ["all"],
    }


def test_a_session_with_everything() -> None:
    row = session(
        end_date=datetime(2024, 1, 2, 10, 45, 0, 250_000),
        discount_amount=Decimal("-0.2500"),
        promotion_id="SPRING",
        dimension_region="North",
        **{"dimension_sales channel": None, "action_viewed": True, "action_added": datetime(2024, 1, 2, 10, 31)},
    )
    basket = [
        {"order_id": "s1", "product": "tea", "price": Decimal("3.1000"), "quantity": 2.0, "category": None},
        {"order_id": "s1", "product": "cup", "price": Decimal("7.0000"), "quantity": 1.5, "category": "kitchen"},
        {"order_id": "other", "product": "no", "price": Decimal("7.0000"), "quantity": 1.0, "category": "x"},
    ]
    delivery = {
        "order_id": "s1",
        "prepare_date": datetime(2024, 1, 2, 12),
        "delivery_date": datetime(2024, 1, 3, 12),
        "return_date": None,
        "latitude": 52.5,
        "longitude": 13.4,
    }
    assert one_order(row, basket=basket, deliveries=[delivery]) == {
        "client": "c1",
        "session_start_date": "2024-01-02T10:30:00Z",
        "end_date": "2024-01-02T10:45:00.25Z",
        "has_purchased": True,
        "payment_amount": 12.5,
        "discount_amount": -0.25,
        "promotion_id": "SPRING",
        "dimension": ["all", "region: North", "sales channel: (unknown)"],
        "actions": {"viewed": True, "added": "2024-01-02T10:31:00Z"},
        "basket": [
            {"product": "cup", "category": "kitchen", "price": 7.0, "quantity": 1.5},
            {"product": "tea", "price": 3.1, "quantity": 2.0},
        ],
        "total_products": 3.5,
        # 10:30 to 12:00; 12:00 to 12:00 the day after; 10:30 to 12:00 the day after
        "delivery": {
            "delivery_date": "2024-01-03T12:00:00Z",
            "prepare_date": "2024-01-02T12:00:00Z",
            "location": {"lat": 52.5, "lon": 13.4},
            "prepare_hours": 1.5,
            "ride_hours": 24.0,
            "delivery_hours": 25.5,
        },
    }


def test_a_session_without_basket_and_delivery_beside_ones_that_have_them() -> None:
    basket = [{"order_id": "s2", "product": "tea", "price": Decimal(3), "quantity": 1.0}]
    deliveries = [{"order_id": "s2", "delivery_date": datetime(2024, 1, 3)}]
    source = one_order(session(), basket=basket, deliveries=deliveries)
    assert {"basket", "total_products", "delivery"} & source.keys() == set()


def test_actions_that_did_not_happen_are_left_out_and_an_empty_object_too() -> None:
    first, second = parsed(
        order_documents(snapshot([session("s1", action_a=False, action_b=None), session("s2", action_a=None)]))
    )
    assert first[1]["actions"] == {"a": False}
    assert "actions" not in second[1]


@pytest.mark.parametrize("missing", ["latitude", "longitude"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_place_needs_both_coordinates(missing: str, value: float | None) -> None:
    delivery = {"order_id": "s1", "delivery_date": datetime(2024, 1, 3), "latitude": 1.0, "longitude": 2.0}
    assert "location" not in one_order(session(), deliveries=[{**delivery, missing: value}])["delivery"]


def test_the_basket_is_the_same_in_any_order_of_rows() -> None:
    lines = [{"order_id": "s1", "product": f"p{i % 7}", "price": Decimal(i), "quantity": 0.1} for i in range(50)]
    forward, backward = (
        list(order_documents(snapshot([session()], basket=rows))) for rows in (lines, list(reversed(lines)))
    )
    assert forward == backward
    assert json.loads(forward[0].split(b"\n")[1])["total_products"] == 5.0  # 50 × 0.1, not 4.999…


def test_the_change_time_is_the_version() -> None:
    rows = [
        session("s1", changed_at=datetime(2024, 5, 1, 0, 0, 0, 123_000)),
        session("s2", changed_at=None),
        session("s3", changed_at=datetime(1960, 1, 1)),
    ]
    actions = {action["index"]["_id"]: action["index"] for action, _ in parsed(order_documents(snapshot(rows)))}
    milliseconds = int(datetime(2024, 5, 1, tzinfo=UTC).timestamp()) * 1_000 + 123
    assert actions == {
        "s1": {"_id": "s1", "version": milliseconds, "version_type": "external_gte"},
        "s2": {"_id": "s2"},
        "s3": {"_id": "s3", "version": 0, "version_type": "external_gte"},
    }


def test_only_the_months_asked_for() -> None:
    days = {
        "a": datetime(2024, 1, 31, 23, 59),
        "b": datetime(2024, 2, 1),
        "c": datetime(2024, 2, 29),
        "d": datetime(2024, 3, 1),
    }
    connection = snapshot([session(id_, session_start_date=day) for id_, day in days.items()])
    assert session_months(connection) == ["2024-01", "2024-02", "2024-03"]
    found = [action["index"]["_id"] for action, _ in parsed(order_documents(connection, months=["2024-02"]))]
    assert sorted(found) == ["b", "c"]
    assert len(list(order_documents(connection))) == 4
    assert list(order_documents(connection, months=[])) == []


def test_reading_in_small_batches_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = snapshot(
        [session(f"s{i}") for i in range(5_000)], [customer(f"c{i}", client_code=i * 3) for i in range(100)]
    )
    assert sorted(order_documents(connection, batch_rows=100)) == sorted(order_documents(connection))
    whole = sorted(download_documents(connection))
    monkeypatch.setattr(documents, "CUSTOMERS_AT_ONCE", 7)
    assert sorted(download_documents(connection)) == whole
    assert len(whole) == 100


def test_a_reader_that_stops_early_leaves_the_connection_usable() -> None:
    connection = snapshot([session(f"s{i}") for i in range(5_000)])
    reading = order_documents(connection, batch_rows=10)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert session_months(connection) == ["2024-01"]


def test_a_customer_has_the_dimensions_of_the_first_session() -> None:
    sessions = [
        session("s2", session_start_date=datetime(2024, 2, 1), dimension_region="South", dimension_device="web"),
        session("s1", session_start_date=datetime(2024, 1, 1), dimension_region="North", dimension_device=None),
    ]
    customers = [
        customer(signup_date=datetime(2023, 6, 1), action_opened=None),
        customer("c2", client_code=2, signup_date=None, action_opened=datetime(2024, 1, 1)),
    ]
    found = {
        action["update"]["_id"]: source for action, source in parsed(download_documents(snapshot(sessions, customers)))
    }
    assert found["c1"] == {
        "doc": {
            "client": "c1",
            "download_date": "2023-05-01T00:00:00Z",
            "signup_date": "2023-06-01T00:00:00Z",
            "dimension": ["all", "region: North", "device: (unknown)"],
            "actions": {"opened": None},
        },
        "doc_as_upsert": True,
    }
    assert found["c2"]["doc"]["dimension"] == ["all", "region: (unknown)", "device: (unknown)"]
    assert found["c2"]["doc"]["signup_date"] is None
    assert found["c2"]["doc"]["actions"] == {"opened": "2024-01-01T00:00:00Z"}


def test_customers_without_any_dimension_and_no_customers() -> None:
    ((_, source),) = parsed(download_documents(snapshot([session()])))
    assert source["doc"] == {
        "client": "c1",
        "download_date": "2023-05-01T00:00:00Z",
        "signup_date": None,
        "dimension": ["all"],
    }
    assert list(download_documents(snapshot([session()], []))) == []


def test_what_the_action_columns_hold() -> None:
    connection = snapshot([session(action_a=True, action_b=datetime(2024, 1, 1))])
    assert action_kinds(connection, "sessions") == {"a": "boolean", "b": "date"}
    assert action_kinds(connection, "customers") == {}


def test_scores_are_partial_updates() -> None:
    frame = pd.DataFrame(
        {
            "client": ["c1", "ü\n"],
            "recency_days": [3.0, math.nan],
            "monetary_mean": [Decimal("1.5"), None],
            "rfm_segment": ["best", None],
            "is_overdue": pd.array([True, None], "boolean"),
            "rfm_as_of": pd.to_datetime(["2024-01-31", "2024-01-31"]),
        }
    )
    (first, second) = parsed(score_documents(frame))
    assert first[0] == {"update": {"_id": "c1", "retry_on_conflict": 3}}
    scores = {
        "recency_days": 3,
        "monetary_mean": 1.5,
        "rfm_segment": "best",
        "is_overdue": True,
        "rfm_as_of": "2024-01-31",
    }
    assert first[1] == {"doc": {"scores": scores}}
    assert isinstance(first[1]["doc"]["scores"]["recency_days"], int)
    assert second[0]["update"]["_id"] == "ü\n"
    assert second[1]["doc"]["scores"] == {**dict.fromkeys(scores), "rfm_as_of": "2024-01-31"}


def test_an_undeclared_score_is_refused() -> None:
    with pytest.raises(ValueError, match="not declared in SCORE_FIELDS: luck"):
        list(score_documents(pd.DataFrame({"client": ["c1"], "luck": [1]})))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40) | st.sampled_from(
    ['"', "\\", "a\nb", "\u2028", "😀", "'; DROP TABLE sessions; --", "{}", "\x00", "null", "\r\n", "\t"]
)
MONEY = st.decimals(min_value=-(10**13), max_value=10**13, places=4)
INSTANT = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1))


@given(
    id_=TEXT, client=TEXT, promotion=st.none() | TEXT, region=st.none() | TEXT, product=TEXT,
    amount=MONEY, discount=st.none() | MONEY, price=MONEY, started=INSTANT, ended=st.none() | INSTANT,
    quantity=st.floats(0, 10**9), purchased=st.booleans(),
)  # fmt: skip
def test_every_value_survives_the_way_to_json(
    id_: str, client: str, promotion: str | None, region: str | None, product: str, amount: Decimal,
    discount: Decimal | None, price: Decimal, started: datetime, ended: datetime | None, quantity: float,
    purchased: bool,
) -> None:  # fmt: skip
    row = session(
        id_, client=client, promotion_id=promotion, dimension_region=region, payment_amount=amount,
        discount_amount=discount, session_start_date=started, end_date=ended, has_purchased=purchased,
    )  # fmt: skip
    lines = [{"order_id": id_, "product": product, "price": price, "quantity": quantity}]
    (operation,) = order_documents(snapshot([row], basket=lines))
    action, text = operation[:-1].split(b"\n")
    assert json.loads(action) == {"index": {"_id": id_}}
    source = json.loads(text, parse_float=Decimal)
    assert source["client"] == client
    assert source.get("promotion_id") == promotion
    assert source["dimension"] == ["all", f"region: {'(unknown)' if region is None else region}"]
    assert source["payment_amount"] == amount
    assert source.get("discount_amount") == discount
    assert source["has_purchased"] is purchased
    assert datetime.fromisoformat(source["session_start_date"]) == started.replace(tzinfo=UTC)
    assert (datetime.fromisoformat(source["end_date"]) if ended else None) == (ended and ended.replace(tzinfo=UTC))
    (line,) = source["basket"]
    assert (line["product"], line["price"], float(line["quantity"])) == (product, price, quantity)
    assert float(source["total_products"]) == pytest.approx(quantity, abs=1e-4)
