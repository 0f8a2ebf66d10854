"""The rules a row must keep, per source kind: data from which the masks and the Great Expectations suites are made.

A rule is broken where its condition is true. Conditions are DuckDB SQL over a batch of converted rows: a column has its
converted value (empty where the source had none, or one that is no value of its type), and `given(column)` tells
whether the source had one at all. Set rules look at the whole load, so they have no condition here; `validate` finds
them. Light: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import configs
from include.schemas.source_kinds import ACTION_PREFIX, ColumnType, SourceKind

ID_BYTES = 512  # Elasticsearch takes no longer `_id`
NOT_A = {"instant": "date", "money": "number", "number": "number", "boolean": "boolean"}
RANGES: dict[str, tuple[float, float]] = {"latitude": (-90, 90), "longitude": (-180, 180)}
POSITIVE = ("quantity",)
DATE_ORDER = {  # a date and the one it cannot be before
    "sessions": (("end_date", "session_start_date"),),
    "deliveries": (("delivery_date", "prepare_date"), ("return_date", "delivery_date")),
}


@dataclass(frozen=True)
class Rule:
    """One rule. `columns` are those it looks at, the first being the one it blames; `sentence` says what is wrong.

    `expectation` is the Great Expectations type and arguments that say the same of converted rows, None where the
    masks alone can say it (only they know what the source had).
    """

    name: str
    columns: tuple[str, ...]
    sentence: str
    condition: str = ""
    expectation: tuple[str, dict[str, object]] | None = None


def given(column: str) -> str:
    """SQL: whether the source had any value in this column."""
    return f'"given {column}"'


def row_rules(kind: SourceKind, types: dict[str, ColumnType], latest: datetime) -> tuple[Rule, ...]:
    """The rules for a source of this kind whose columns are `types` (our name → type).

    `latest` is the last instant (UTC, without a zone) that is not in the future. A rule that needs a column which is
    not mapped does not exist.
    """
    # A session without a purchase has no amount: that is `purchase_without_amount`'s to judge.
    required = [column for column in kind.required_columns if column != "payment_amount" and column in types]
    found = [_missing(column) for column in required]
    for column, kind_of in types.items():
        found += _of_type(column, kind_of, latest)
    found += _ranges(types)
    found += [
        _before(later, earlier) for later, earlier in DATE_ORDER.get(kind.name, ()) if {later, earlier} <= {*types}
    ]
    if kind.name == "sessions":
        found.append(
            Rule(
                "purchase_without_amount",
                ("payment_amount", "has_purchased"),
                "a purchase without payment_amount",
                f"has_purchased AND NOT {given('payment_amount')}",
            )
        )
    found += [_too_long(column) for column in kind.key if column in types]
    return tuple(found)


def set_rules(kind: SourceKind) -> tuple[Rule, ...]:
    """The rules about the whole load."""
    found = []
    if kind.key:
        column = kind.key[0]
        found.append(
            Rule(
                f"duplicate_{column}",
                kind.key,
                f"{column} occurs again; of its rows the newest, or else the last, was kept",
                expectation=("expect_column_values_to_be_unique", {"column": column}),
            )
        )
    if kind.name == "sessions":
        found.append(Rule("client_unknown", ("client",), "client is not among the customers"))
    return tuple(found)


def _missing(column: str) -> Rule:
    return Rule(
        f"{column}_missing",
        (column,),
        f"{column} is empty",
        f"NOT {given(column)}",
        ("expect_column_values_to_not_be_null", {"column": column}),
    )


def _of_type(column: str, kind: ColumnType, latest: datetime) -> Iterable[Rule]:
    if kind == "text":
        return
    sentence = f"{column} is not a {NOT_A[kind]}"
    yield Rule(f"{column}_not_a_{NOT_A[kind]}", (column,), sentence, f'{given(column)} AND "{column}" IS NULL')
    if kind == "money":
        bounds: dict[str, object] = {"column": column, "min_value": 0}
        between = ("expect_column_values_to_be_between", bounds)
        yield Rule(f"{column}_negative", (column,), f"{column} is negative", f'"{column}" < 0', between)
    if kind == "instant" and not column.startswith(ACTION_PREFIX):
        earliest = datetime.fromisoformat(configs.EARLIEST_DATE)
        yield Rule(
            f"{column}_before_{earliest.year}",
            (column,),
            f"{column} is before {earliest:%Y-%m-%d}",
            f"\"{column}\" < TIMESTAMP '{earliest:%Y-%m-%d}'",
            ("expect_column_values_to_be_between", {"column": column, "min_value": {"$PARAMETER": "earliest"}}),
        )
        yield Rule(
            f"{column}_in_future",
            (column,),
            f"{column} is in the future",
            f"\"{column}\" > TIMESTAMP '{latest.isoformat(sep=' ')}'",
            ("expect_column_values_to_be_between", {"column": column, "max_value": {"$PARAMETER": "latest"}}),
        )


def _ranges(types: dict[str, ColumnType]) -> Iterable[Rule]:
    for column, (low, high) in RANGES.items():
        if column in types:
            yield Rule(
                f"{column}_out_of_range",
                (column,),
                f"{column} is not within {low:g} and {high:g}",
                f'"{column}" NOT BETWEEN {low} AND {high}',
                ("expect_column_values_to_be_between", {"column": column, "min_value": low, "max_value": high}),
            )
    for column in POSITIVE:
        if column in types:
            bounds: dict[str, object] = {"column": column, "min_value": 0, "strict_min": True}
            yield Rule(
                f"{column}_not_positive",
                (column,),
                f"{column} is not above zero",
                f'"{column}" <= 0',
                ("expect_column_values_to_be_between", bounds),
            )


def _before(later: str, earlier: str) -> Rule:
    arguments: dict[str, object] = {"column_A": later, "column_B": earlier, "or_equal": True}
    return Rule(
        f"{later}_before_{earlier}",
        (later, earlier),
        f"{later} is before {earlier}",
        f'"{later}" < "{earlier}"',
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            {**arguments, "ignore_row_if": "either_value_is_missing"},
        ),
    )


def _too_long(column: str) -> Rule:
    return Rule(
        f"{column}_too_long",
        (column,),
        f"{column} is longer than {ID_BYTES} bytes",
        f'strlen("{column}") > {ID_BYTES}',  # bytes, not characters
    )
