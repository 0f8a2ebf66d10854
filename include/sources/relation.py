"""What databases have in common: which columns of a table or a query are needed, as what, and from when on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import NoReturn

from include.schemas.source_kinds import ColumnType
from include.sources.definition import Operator, Source, nearest
from include.sources.problems import SourceError

MARGIN = timedelta(days=2)  # a day lasts from one zone's midnight to another's; the exact period is cut out later


def display_name(source: Source) -> str:
    """What the rows of this source are said to come from."""
    return source.table or f"query of {source.name}"


def uses(source: Source) -> dict[str, frozenset[ColumnType]]:
    """Their columns -> what each is needed as. A part of a joined key and what is compared with texts is a text;
    what need only be there (`not_empty`) is nothing in particular."""
    found: dict[str, set[ColumnType]] = {column: set() for column in source.needed_columns}
    for kind, column in source.typed_columns.values():
        found[column].add(kind)
    compared: dict[Operator, ColumnType | None] = {
        "is": "text",
        "greater_than": "number",
        "not_empty": None,
        "contains": "text",
    }
    for mapping in source.columns.values():
        if len(mapping.columns) > 1:
            for column in mapping.columns:
                found[column].add("text")
    for condition in source.conditions.values():
        if kind_of := compared[condition.operator]:
            found[condition.column].add(kind_of)
    return {column: frozenset(kinds) for column, kinds in found.items()}


def located_columns(source: Source, where: str, there: Iterable[str]) -> dict[str, str]:
    """Needed column -> its name in the database: as written, else the only one that differs in case alone."""
    there = list(there)
    found: dict[str, str] = {}
    for column in source.needed_columns:
        alike = [name for name in there if name.casefold() == column.casefold()]
        if there.count(column) == 1:
            found[column] = column
        elif len(alike) == 1:
            found[column] = alike[0]
        elif alike:
            raise SourceError(
                f"{source.name}: {where} has {len(alike)} columns called {column!r}, of which only one may stay; "
                "select them by other names in a query."
            )
    if len(found) < len(source.needed_columns):
        missing_columns(source, where, there)
    return found


def missing_columns(source: Source, where: str, there: Iterable[str]) -> NoReturn:
    """Say which needed columns are not among those that are there."""
    there = list(there)
    known = {name.casefold() for name in there}
    mistakes = []
    for column in source.needed_columns:
        if column.casefold() not in known:
            near = nearest(column, there)
            mistakes.append(f"no column {column!r}" + (f" (did you mean {near!r}?)" if near else ""))
    listed = ", ".join(repr(name) for name in there[:50])
    raise SourceError(
        f"{source.name}: {where} has {' and '.join(mistakes)}; its columns are {listed}. "
        f"Correct {source.name} in sources.yaml."
    )


def date_column(source: Source) -> str | None:
    """Their column of the kind's main date."""
    for column in source.kind.columns:
        if column.required and column.type == "instant":
            mapping = source.columns.get(column.name)
            return mapping.columns[0] if mapping and len(mapping.columns) == 1 else None
    return None


def bounds(
    source: Source,
    times: Mapping[str, bool],
    *,
    start: date | None = None,
    end: date | None = None,
    changed_since: datetime | None = None,
) -> list[tuple[str, str, datetime]]:
    """Wider than the period wanted: (their column, comparison, UTC without a zone), to be met by all rows with a value.

    `times` are the columns of a date or time type: whether each has a time zone. Without one the margin holds for
    changes too.
    """
    found: list[tuple[str, str, datetime]] = []
    day = date_column(source)
    if source.kind.name == "sessions" and day is not None and day in times:
        if start:
            found.append((day, ">=", datetime.combine(start, time()) - MARGIN))
        if end:
            found.append((day, "<", datetime.combine(end, time()) + timedelta(days=1) + MARGIN))
    if changed_since and source.changed_at is not None and source.changed_at in times:
        margin = timedelta() if times[source.changed_at] else MARGIN
        found.append((source.changed_at, ">=", changed_since - margin))
    return found
