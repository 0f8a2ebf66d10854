"""What the indexes `orders`, `downloads`, `reports`, `quarantine` and `notes` hold: their mappings and settings.

All are `dynamic: strict`: a field nobody declared is an error, not a guess. Only types and features that the core-only
embedded node has too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import configs
from include.schemas.reports import SHARED_FIELDS, Field

ActionKind = Literal["boolean", "date"]
Properties = dict[str, dict[str, Any]]

# Lucene takes terms of up to 32,766 bytes; a character has up to four. A longer text is kept, but not searchable.
KEYWORD: dict[str, Any] = {"type": "keyword", "ignore_above": 8_191}
DATE: dict[str, Any] = {"type": "date"}
DOUBLE: dict[str, Any] = {"type": "double"}
LONG: dict[str, Any] = {"type": "long"}
BOOLEAN: dict[str, Any] = {"type": "boolean"}
NOT_SEARCHED: dict[str, Any] = {"type": "keyword", "index": False, "doc_values": False}
FREE: dict[str, Any] = {"type": "flattened", "ignore_above": 8_191}  # for keys that are not ours

MADE_BY = {"made_by": "customer-analytics"}  # in `_meta`: indexes without it are not ours to touch


def _expected(what: str, unit: str) -> dict[str, Field]:
    """What a customer is expected to bring in so many days, and its interval."""
    return {
        f"expected_{what}_{days}_days{end}": Field("double", f"{meaning} {what} in the next {days} days", unit)
        for days in (7, 30, 90, 180)
        for end, meaning in (
            ("", "expected"),
            ("_low", "lower end of the interval of"),
            ("_high", "upper end of it for"),
        )
    }


# The customer's latest scores in `downloads`. A later analysis adds its own here.
SCORE_FIELDS: dict[str, Field] = {
    "recency_days": Field("long", "days since the last order", "days"),
    "frequency": Field("long", "orders", "orders"),
    "monetary_mean": Field("double", "mean payment amount of an order", "currency"),
    "monetary_total": Field("double", "payment amount of all orders", "currency"),
    "recency_score": Field("long", "1 (worst) to RFM_SCORES"),
    "frequency_score": Field("long", "1 (worst) to RFM_SCORES"),
    "monetary_score": Field("long", "1 (worst) to RFM_SCORES"),
    "rfm_segment": Field("keyword", "the customer's RFM segment"),
    "rfm_as_of": Field("date", "the day the RFM scores are for"),
    "expected_gap_days": Field("double", "expected days from one order to the next", "days"),
    "is_overdue": Field("boolean", "away longer than CHURN_OVERDUE_FACTOR expected gaps"),
    "probability_alive": Field("double", "probability of still being a customer", "share"),
    "churn_as_of": Field("date", "the day those three are for"),
    "customer_segment": Field("keyword", "the customer's segment by k-means; segment 1 is the most valuable"),
    "recency_cluster": Field("long", "1 (most recent) to SEGMENTATION_METRIC_CLUSTERS"),
    "frequency_cluster": Field("long", "1 (most orders) to SEGMENTATION_METRIC_CLUSTERS"),
    "monetary_cluster": Field("long", "1 (highest amounts) to SEGMENTATION_METRIC_CLUSTERS"),
    "customer_segmentation_as_of": Field("date", "the day the segment is for"),
    "churn_risk": Field("double", "probability of no order in the next 90 days", "share"),
    **_expected("orders", "orders"),
    **_expected("revenue", "currency"),
    "clv": Field("double", "discounted expected revenue of the next CLV_VALUE_DAYS", "currency"),
    "clv_segment": Field("keyword", "fifth of the customers by lifetime value"),
    "clv_prediction_as_of": Field("date", "the day the predictions, P(alive) among them, are for"),
}

# What every report document has beside the report's own fields.
DOCUMENT_FIELDS: Properties = {
    "report_name": KEYWORD,
    "type": KEYWORD,
    "report_date": DATE,
    "dimension": KEYWORD,
    "run_id": KEYWORD,
    "is_latest": BOOLEAN,
    "is_header": BOOLEAN,
    "version": KEYWORD,
    "row": LONG,
    "written_at": DATE,
}
HEADER_FIELDS: Properties = {
    "title": KEYWORD,
    "rows": LONG,
    "kpis": FREE,
    "parameters": FREE,
    "definition": FREE,
    "warnings": NOT_SEARCHED,
    "skipped": KEYWORD,
}


def settings() -> dict[str, Any]:
    """Index settings, from `configs.py`."""
    return {"number_of_shards": configs.NUMBER_OF_SHARDS, **changeable_settings()}


def changeable_settings() -> dict[str, Any]:
    """Those of the settings that an existing index takes too."""
    return {
        "number_of_replicas": configs.NUMBER_OF_REPLICAS,
        "mapping.total_fields.limit": configs.TOTAL_FIELDS_LIMIT,
        "max_result_window": configs.MAX_RESULT_WINDOW,
    }


def reports_settings() -> dict[str, Any]:
    """A search sees nothing new until `publish` refreshes: all reports of a run appear at once."""
    return {**settings(), "refresh_interval": "-1"}


def orders_mapping(actions: Mapping[str, ActionKind]) -> dict[str, Any]:
    """The mapping of `orders`; `actions` are the action columns of sessions and what they hold."""
    return _strict(
        {
            "client": KEYWORD,
            "session_start_date": DATE,
            "end_date": DATE,
            "has_purchased": BOOLEAN,
            "payment_amount": DOUBLE,
            "discount_amount": DOUBLE,
            "promotion_id": KEYWORD,
            "dimension": KEYWORD,
            "actions": _actions(actions),
            "basket": {"properties": {"product": KEYWORD, "category": KEYWORD, "price": DOUBLE, "quantity": DOUBLE}},
            "total_products": DOUBLE,
            "delivery": {
                "properties": {
                    "delivery_date": DATE,
                    "prepare_date": DATE,
                    "return_date": DATE,
                    "location": {"type": "geo_point"},
                    "prepare_hours": DOUBLE,
                    "ride_hours": DOUBLE,
                    "delivery_hours": DOUBLE,
                    "return_hours": DOUBLE,
                }
            },
        }
    )


def downloads_mapping(actions: Mapping[str, ActionKind]) -> dict[str, Any]:
    """The mapping of `downloads`; `actions` are the action columns of customers and what they hold."""
    return _strict(
        {
            "client": KEYWORD,
            "download_date": DATE,
            "signup_date": DATE,
            "dimension": KEYWORD,
            "actions": _actions(actions),
            "scores": {"properties": {name: _property(field) for name, field in SCORE_FIELDS.items()}},
        }
    )


def reports_mapping(analyses: Mapping[str, Mapping[str, Field]]) -> dict[str, Any]:
    """The mapping of `reports`; `analyses` are the FIELDS of every analysis by its name.

    Raises ValueError where two of them give one name two types.
    """
    properties: Properties = {**DOCUMENT_FIELDS, **HEADER_FIELDS}
    for analysis, fields in {"every report": SHARED_FIELDS, **analyses}.items():
        for name, field in fields.items():
            mapped = _property(field)
            if properties.setdefault(name, mapped) != mapped:
                known = properties[name]["type"]
                raise ValueError(
                    f"{analysis}: the field `{name}` is {field.type} here and {known} elsewhere; rename it."
                )
    return _strict(properties)


def quarantine_mapping() -> dict[str, Any]:
    """The mapping of `quarantine`: a document per rejected row, and a header per run and source.

    `raw` has the user's own columns, `counts` the rules by name: neither adds fields.
    """
    return _strict(
        {
            "source": KEYWORD,
            "run_id": KEYWORD,
            "run_key": KEYWORD,
            "quarantined_at": DATE,
            "is_header": BOOLEAN,
            "file": KEYWORD,
            "row": LONG,
            "key": KEYWORD,
            "rules": KEYWORD,
            "form": KEYWORD,
            "raw": FREE,
            "is_replayed": BOOLEAN,
            "read": LONG,
            "quarantined": LONG,
            "replayed": LONG,
            "counts": FREE,
        }
    )


def notes_mapping() -> dict[str, Any]:
    """The mapping of `notes`: what people pinned to charts."""
    return _strict(
        {
            "panel": KEYWORD,
            "dimension": KEYWORD,
            "day": DATE,
            "text": KEYWORD,
            "author": KEYWORD,
            "created_at": DATE,
            "changed_at": DATE,
        }
    )


def _strict(properties: Properties) -> dict[str, Any]:
    return {"dynamic": "strict", "_meta": MADE_BY, "properties": properties}


def _actions(actions: Mapping[str, ActionKind]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in actions.items()}}


def _property(field: Field) -> dict[str, Any]:
    return KEYWORD if field.type == "keyword" else {"type": field.type}
