"""The Great Expectations suites as data: one JSON file per source kind, made from the rules.

The masks decide which row is good; a suite says the same of the rows that were let through, in the words of a tool that
others read too. Both come from `include/schemas/rules.py`.
"""

import json
import uuid
from datetime import datetime
from typing import Any

from include.schemas.rules import Rule, row_rules, set_rules
from include.schemas.source_kinds import SOURCE_KINDS, ColumnType, SourceKind

FOLDER = "great_expectations/expectations"


def rendered() -> dict[str, str]:
    """Path below the project's root → the suite of a source kind, with every column the kind can have."""
    return {f"{FOLDER}/{kind.name}.json": _suite(kind) for kind in SOURCE_KINDS.values()}


def expected(kind: SourceKind, types: dict[str, ColumnType]) -> list[dict[str, Any]]:
    """The expectations for a source whose columns are `types`, in the form of a suite file."""
    any_instant = datetime(2000, 1, 1)  # noqa: DTZ001 - the real one is a parameter of the suite
    rules = [*row_rules(kind, types, any_instant), *set_rules(kind, types)]
    return [_expectation(kind, rule) for rule in rules if rule.expectation is not None]


def _suite(kind: SourceKind) -> str:
    types: dict[str, ColumnType] = {column.name: column.type for column in kind.columns}
    content = {
        "name": kind.name,
        "id": _identifier(kind.name),
        "meta": {"written_by": "make generate"},
        "notes": None,
        "expectations": expected(kind, types),
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _expectation(kind: SourceKind, rule: Rule) -> dict[str, Any]:
    assert rule.expectation is not None
    name, arguments = rule.expectation
    return {
        "id": _identifier(f"{kind.name}.{rule.name}"),
        "type": name,
        "kwargs": arguments,
        "meta": {"rule": rule.name, "broken_when": rule.sentence},
        "severity": "critical",
    }


def _identifier(name: str) -> str:
    """Great Expectations wants a UUID; one that does not change from one generation to the next."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"customer-analytics.{name}"))
