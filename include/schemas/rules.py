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
from functools import cache

import configs
from include.schemas.source_kinds import ACTION_PREFIX, DIMENSION_PREFIX, SOURCE_KINDS, ColumnType, SourceKind

ID_BYTES = 512  # Elasticsearch takes no longer `_id`
NOT_A = {"instant": "date", "money": "number", "number": "number", "boolean": "boolean"}
RANGES: dict[str, tuple[float, float]] = {"latitude": (-90, 90), "longitude": (-180, 180)}
POSITIVE = ("quantity",)
# A currency sign, or two or three letters, before or after a number: `€ 5`, `12,50 EUR`, `US$1,200.00`, `90 kr.`.
# Every character beyond ASCII counts as a letter: the engine compiles the patterns anew for each batch, and the class
# of all letters alone takes it as long as judging the batch.
LETTER = r"[A-Za-z\x{80}-\x{10FFFF}]"
CURRENCY = rf"({LETTER}{{0,3}}\p{{Sc}}|{LETTER}{{2,3}}\.?)"
AMOUNT = r"[+-]?[0-9]([0-9.,'’\s]*[0-9])?"
WITH_CURRENCY = rf"[+-]?{CURRENCY}\s*{AMOUNT}|{AMOUNT}\s*{CURRENCY}"
DATE_ORDER = {  # a date and the one it cannot be before
    "sessions": (("end_date", "session_start_date"),),
    "deliveries": (("delivery_date", "prepare_date"), ("return_date", "delivery_date")),
}


# Why a replay leaves a row in quarantine that it cannot judge.
COLUMN_NOT_READ = "column_not_read"
MAPPING_CHANGED = "mapping_changed"
ORDER_CHANGED = "order_changed"
REPLAY_RULES = {
    COLUMN_NOT_READ: "the mapping uses a column now that was not read when the row was set aside",
    MAPPING_CHANGED: "the row was converted by another mapping, or with other formats, before it was set aside",
    ORDER_CHANGED: "the order does not have the other lines any more that were read together with this one",
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


# A condition as Great Expectations writes one down.
IS_PURCHASE = {"type": "comparison", "column": {"name": "has_purchased"}, "operator": "==", "parameter": True}


def given(column: str) -> str:
    """SQL: whether the source had any value in this column."""
    return f'"given {column}"'


def text_of(column: str) -> str:
    """SQL: what the source had in this column, as text; empty where it was typed. Of amounts of money alone."""
    return f'"text of {column}"'


def row_rules(kind: SourceKind, types: dict[str, ColumnType], latest: datetime) -> tuple[Rule, ...]:
    """The rules for a source of this kind whose columns are `types` (our name → type).

    `latest` is the last instant (UTC, without a zone) that is not in the future. A rule that needs a column which is
    not mapped does not exist.
    """
    # A session without a purchase has no amount: that is `purchase_without_amount`'s to judge.
    required = [column for column in kind.required_columns if column != "payment_amount" and column in types]
    required += [column for column in kind.key_where_mapped if column in types and column not in required]
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
                ("expect_column_values_to_not_be_null", {"column": "payment_amount", "row_condition": IS_PURCHASE}),
            )
        )
    found += [_too_long(column) for column in kind.key if column in types]
    return tuple(found)


def key_of(kind: SourceKind, columns: Iterable[str]) -> tuple[str, ...]:
    """The columns that tell the rows of a source with these columns apart; none where nothing does."""
    optional = kind.key_where_mapped
    return optional if optional and {*optional} <= {*columns} else kind.key


def set_rules(kind: SourceKind, columns: Iterable[str]) -> tuple[Rule, ...]:
    """The rules about the whole load, for a source of this kind with these columns (our names)."""
    columns = tuple(columns)
    found = []
    if key := key_of(kind, columns):
        unique: tuple[str, dict[str, object]] = ("expect_column_values_to_be_unique", {"column": key[0]})
        if len(key) > 1:
            unique = ("expect_compound_columns_to_be_unique", {"column_list": [*key]})
        found.append(
            Rule(
                f"duplicate_{key[-1]}",
                (key[-1], *key[:-1]),
                f"{' of '.join(reversed(key))} occurs again; of its rows the newest, or else the last, was kept",
                expectation=unique,
            )
        )
    if kind.key:
        found.append(_of_another_source(kind.key[0]))
    if kind.name == "sessions":
        found.append(Rule("client_unknown", ("client",), "client is not among the customers"))
    found += [_too_many_values(column) for column in columns if column.startswith(DIMENSION_PREFIX)]
    return tuple(found)


def of_another_source(column: str) -> str:
    """The name of the rule about a key that an earlier source of the same kind has."""
    return f"{column}_of_another_source"


def _of_another_source(column: str) -> Rule:
    return Rule(
        of_another_source(column),
        (column,),
        f"{column} is that of a row of another source, which comes before this one in sources.yaml",
    )


def too_many_values(column: str) -> str:
    """The name of the rule about the number of a dimension's values."""
    return f"{column}_too_many_values"


def _too_many_values(column: str) -> Rule:
    return Rule(
        too_many_values(column),
        (column,),
        f"{column} has a value that was not seen before, and more than DIMENSION_VALUES_MAX of them",
    )


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
    no_value = f'{given(column)} AND "{column}" IS NULL'
    if kind == "money":
        # Within CASE the pattern is looked for in the few rows that have no number.
        matches = f"regexp_full_match({text_of(column)}, '{_escaped(WITH_CURRENCY)}')"
        currency = f"CASE WHEN {no_value} THEN {matches} END"
        beside = f"{column} has a currency or a unit beside the number"
        yield Rule(f"{column}_with_currency", (column,), beside, currency)
        no_value += f" AND NOT coalesce({currency}, false)"
    yield Rule(f"{column}_not_a_{NOT_A[kind]}", (column,), sentence, no_value)
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


def _escaped(pattern: str) -> str:
    return pattern.replace("'", "''")


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


# What to do about a rule, by the end of its name; the first that fits.
_REMEDIES = (
    ("client_unknown", "Nothing is wrong with the row: once its customer is loaded, replay_quarantine takes it back."),
    ("purchase_without_amount", "Map payment_amount to a column that every purchase has, or has_purchased to another."),
    ("wrong_number_of_columns", "Quote the values that hold the delimiter, or set csv.delimiter in sources.yaml."),
    ("not_valid_text", "Set csv.encoding in sources.yaml to how the file was written, and run customer_analytics."),
    ("quote_not_closed", "Close the quote in the file, and run customer_analytics."),
    (COLUMN_NOT_READ, "Run customer_analytics, which reads the source with the mapping of now."),
    (MAPPING_CHANGED, "Run customer_analytics, which reads the source with the mapping of now."),
    (ORDER_CHANGED, "Run customer_analytics, which reads all lines of an order together."),
    ("_of_another_source", "Give the sources ids of their own, or put the one that is to win first in sources.yaml."),
    ("_too_many_values", "Leave the column out of the dimensions if it is none, or raise DIMENSION_VALUES_MAX."),
    ("_with_currency", "Map a column of plain numbers, or have the source write the currency in another column."),
    ("_not_a_date", "Set the date format of the column in sources.yaml, or correct the values in the source."),
    ("_not_a_number", "Set the decimal mark of the source in sources.yaml, or correct the values in the source."),
    ("_not_a_boolean", "Map the column with `is: [...]` and the texts that mean yes, or correct the values."),
    ("_missing", "Map the column that has it, or have the source fill it."),
    ("_negative", "Correct the values in the source; refunds do not belong into this column."),
    ("_out_of_range", "Correct the values in the source; are latitude and longitude swapped in sources.yaml?"),
    ("_not_positive", "Correct the values in the source; returned goods do not belong into the basket."),
    ("_in_future", "Set the time zone of the source in sources.yaml, or raise FUTURE_TOLERANCE_HOURS."),
    ("_too_long", "Have the source give shorter ids: Elasticsearch takes none that is longer."),
)
_DUPLICATE = "Nothing to do where the rows are versions of one: map changed_at, and the newest is kept."
_BEFORE_EARLIEST = "Have the source leave unknown dates empty, or lower EARLIEST_DATE."
_SWAPPED = "Correct the values in the source; are the two columns swapped in sources.yaml?"


def remedy(rule: str) -> str:
    """What to do about the rows that break a rule, in a sentence."""
    if rule.startswith("duplicate_"):
        return _DUPLICATE
    for end, sentence in _REMEDIES:
        if rule.endswith(end):
            return sentence
    return _BEFORE_EARLIEST if rule.rpartition("_")[2].isdigit() else _SWAPPED


def sentence(rule: str) -> str:
    """What is wrong with the rows that break a rule: also of one about a column of the user's own, or of before."""
    return REPLAY_RULES.get(rule) or _known_sentences().get(rule) or _sentence_of_the_users_own(rule)


@cache
def _known_sentences() -> dict[str, str]:
    any_instant = datetime(2000, 1, 1)  # noqa: DTZ001 - it is in no sentence
    found: dict[str, str] = {}
    for kind in SOURCE_KINDS.values():
        types: dict[str, ColumnType] = {column.name: column.type for column in kind.columns}
        types["changed_at"] = "instant"
        for keyed in (types, {name: type_ for name, type_ in types.items() if name not in kind.key_where_mapped}):
            rules = [*row_rules(kind, types, any_instant), *set_rules(kind, keyed)]
            found |= {rule.name: rule.sentence for rule in rules}
    return found


def _sentence_of_the_users_own(rule: str) -> str:
    for type_ in ("boolean", "instant"):
        column = rule.removesuffix(f"_not_a_{NOT_A[type_]}")
        if column != rule:
            return f"{column} is not a {NOT_A[type_]}"
    column = rule.removesuffix("_too_many_values")
    return _too_many_values(column).sentence if column != rule else rule.replace("_", " ")
