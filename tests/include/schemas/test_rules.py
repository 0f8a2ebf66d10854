"""The rules as data: which there are for the columns of a source, and what each says."""

import json
import re
import subprocess
import sys
from datetime import datetime
from typing import get_args

import duckdb
import pytest

import configs
from include.quality.suites import expected, rendered
from include.schemas.rules import REPLAY_RULES, WITH_CURRENCY, remedy, row_rules, sentence, set_rules
from include.schemas.source_kinds import SOURCE_KINDS, ColumnType

LATEST = datetime(2025, 6, 1, 12)


def types_of(kind: str) -> dict[str, ColumnType]:
    return {column.name: column.type for column in SOURCE_KINDS[kind].columns}


@pytest.mark.parametrize("kind", SOURCE_KINDS)
def test_names_are_unique_and_every_rule_explains_itself(kind: str) -> None:
    rules = [*row_rules(SOURCE_KINDS[kind], types_of(kind), LATEST), *set_rules(SOURCE_KINDS[kind], types_of(kind))]
    names = [rule.name for rule in rules]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in names)
    assert all(rule.columns[0] in rule.sentence for rule in rules)
    assert all(rule.columns[0] in types_of(kind) for rule in rules)


@pytest.mark.parametrize("kind", SOURCE_KINDS)
def test_a_rule_needs_its_columns(kind: str) -> None:
    required = {name: one for name, one in types_of(kind).items() if name in SOURCE_KINDS[kind].required_columns}
    rules = row_rules(SOURCE_KINDS[kind], required, LATEST)
    assert {column for rule in rules for column in rule.columns} <= set(required)
    every = {rule.name for rule in row_rules(SOURCE_KINDS[kind], types_of(kind), LATEST)}
    assert {rule.name for rule in rules} < every


@pytest.mark.parametrize("type_", get_args(ColumnType))
def test_a_column_of_the_users_own_has_only_the_rule_of_its_type(type_: ColumnType) -> None:
    kind = SOURCE_KINDS["sessions"]
    without = {rule.name for rule in row_rules(kind, types_of("sessions"), LATEST)}
    added = {rule.name for rule in row_rules(kind, types_of("sessions") | {"action_seen": type_}, LATEST)} - without
    expected_names = {
        "text": set(),
        "instant": {"action_seen_not_a_date"},
        "boolean": {"action_seen_not_a_boolean"},
        "number": {"action_seen_not_a_number"},
        "money": {"action_seen_not_a_number", "action_seen_negative", "action_seen_with_currency"},
    }
    assert added == expected_names[type_]


def test_changed_at_is_a_date_like_others() -> None:
    kind = SOURCE_KINDS["products"]
    names = {rule.name for rule in row_rules(kind, types_of("products") | {"changed_at": "instant"}, LATEST)}
    assert {"changed_at_not_a_date", "changed_at_before_1970", "changed_at_in_future"} <= names


def test_the_earliest_date_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "EARLIEST_DATE", "2010-05-01")
    rules = {rule.name: rule for rule in row_rules(SOURCE_KINDS["customers"], types_of("customers"), LATEST)}
    assert rules["download_date_before_2010"].sentence == "download_date is before 2010-05-01"
    assert "download_date_before_1970" not in rules


@pytest.mark.parametrize("kind", SOURCE_KINDS)
def test_a_suite_holds_every_expectation_and_none_that_reads_the_clock(kind: str) -> None:
    suite = json.loads(rendered()[f"great_expectations/expectations/{kind}.json"])
    assert suite["expectations"] == expected(SOURCE_KINDS[kind], types_of(kind))
    bounds = [one["kwargs"].get("max_value") for one in suite["expectations"] if one["meta"]["rule"].endswith("future")]
    assert set(map(str, bounds)) <= {"{'$PARAMETER': 'latest'}"}
    assert len({one["id"] for one in suite["expectations"]}) == len(suite["expectations"])


@pytest.mark.parametrize(
    ("text", "has_currency"),
    [
        *((text, True) for text in ("€5", "€ 5", "-$1,200.50", "12,50 EUR", "US$ 9.99", "90 kr.", "5 zł", "₺1.234,56")),
        *(
            (text, False)
            for text in ("5", "1e400", "NaN", "dear", "5 €/h", "EUR", "12.5.2024", "", "5a", "s5", "5 items")
        ),
    ],
)
def test_a_currency_is_told_from_what_is_no_number_at_all(text: str, has_currency: bool) -> None:
    with duckdb.connect() as connection:
        ((found,),) = connection.execute("SELECT regexp_full_match(?, ?)", [text, WITH_CURRENCY]).fetchall()
    assert found is has_currency


def test_every_rule_has_a_sentence_and_a_remedy_by_its_name() -> None:
    for kind in SOURCE_KINDS.values():
        types: dict[str, ColumnType] = {**types_of(kind.name), "changed_at": "instant", "action_seen": "boolean"}
        types |= {"action_at": "instant", "dimension_region": "text"}
        for rule in (*row_rules(kind, types, LATEST), *set_rules(kind, types)):
            assert sentence(rule.name) == rule.sentence
            assert remedy(rule.name).endswith((".", "?"))
    remedies = {remedy(rule.name) for rule in row_rules(SOURCE_KINDS["sessions"], types_of("sessions"), LATEST)}
    assert len(remedies) > 8
    assert all(remedy(rule).startswith("Run customer_analytics") for rule in REPLAY_RULES)
    assert sentence("rule_of_another_version") == "rule of another version"


def test_the_rules_are_light() -> None:
    """The DAG file may read them while Airflow parses."""
    heavy = "{'duckdb', 'pyarrow', 'pandas', 'ibis', 'great_expectations', 'airflow'}"
    code = (
        f"import sys, include.schemas.rules; found = {heavy} & sys.modules.keys(); sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=configs.PROJECT_ROOT, check=True)
