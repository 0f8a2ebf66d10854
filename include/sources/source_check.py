"""What the `check` task found out about a source."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from include.schemas.source_kinds import ACTION_PREFIX, DIMENSION_PREFIX
from include.sources.definition import CHANGED_AT, ColumnMapping, Condition, CsvOptions, Source, ValueFormat


@dataclass(frozen=True)
class SourceCheck:
    """What a source turned out to be: its files or its table, its columns, and how it is read.

    `bytes` is the size as stored, where it is known. `columns` are those of the first file, or of the table;
    `unused_columns` are those among them that sources.yaml does not mention. `rows` are as a database estimates them,
    and of files as their beginning lets expect; `newest` is the newest change (or date), and of files when one was last
    written, as ISO text. `types` are those of the needed columns as a database calls them, and `mapping` says what
    fills each of our columns.
    """

    source: str
    files: tuple[str, ...]
    bytes: int | None
    columns: tuple[str, ...]
    unused_columns: tuple[str, ...]
    options: ValueFormat
    rows: int | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    newest: str | None = None
    mapping: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """The same in a form that JSON can hold, short enough for a task's result."""
        found: dict[str, Any] = {
            "files": len(self.files),
            "first_file": self.files[0],
            "bytes": self.bytes,
            "columns": list(self.columns),
            "unused_columns": list(self.unused_columns),
            "mapping": dict(self.mapping),
            "options": {**asdict(self.options), "date_format": dict(self.options.date_format)},  # type: ignore[call-overload]
            "rows": self.rows,
            "newest": self.newest,
        }
        return found | ({"types": dict(self.types)} if self.types else {})

    def sentences(self) -> list[str]:
        """The same for a person who reads the log: what it is, what fills our columns, what is left, how it is read."""
        is_database = not isinstance(self.options, CsvOptions)
        about = [self.files[0] if len(self.files) == 1 else f"{len(self.files):,} files, {self.files[0]} the first"]
        if self.bytes is not None:
            about.append(f"{self.bytes / 1e6:,.1f} MB")
        if self.rows is not None:
            about.append(f"about {self.rows:,} rows")
        if self.newest is not None:
            newest = "newest change" if CHANGED_AT in self.mapping else "newest date"
            about.append(f"{newest if is_database else 'last written'} {self.newest}")
        told = [
            ", ".join(about),
            "ours = yours: " + ", ".join(f"{ours} = {self._theirs(ours)}" for ours in self.mapping),
        ]
        if self.unused_columns:
            told.append("columns that nothing uses: " + ", ".join(self.unused_columns))
        reading = self._reading()
        return [*told, "read with " + ", ".join(reading)] if reading else told

    def _reading(self) -> list[str]:
        options = self.options
        zone = [f"times without a zone as of {options.timezone}"] if options.timezone else []
        if not isinstance(options, CsvOptions):
            return zone
        told = [f"delimiter {json.dumps(options.delimiter)}", f"encoding {options.encoding}", *zone]
        if options.decimal:
            told.append(f"decimal {json.dumps(options.decimal)}")
        by_format: dict[str, list[str]] = {}
        for column, pattern in options.date_format.items():
            by_format.setdefault(pattern or "iso", []).append(column)
        return [*told, *(f"dates {pattern} ({', '.join(columns)})" for pattern, columns in by_format.items())]

    def _theirs(self, ours: str) -> str:
        filled = self.mapping[ours]
        kind = self.types.get(filled) if isinstance(filled, str) else None
        return _plain(filled) + (f" ({kind})" if kind else "")


def _plain(value: Any) -> str:
    """A value as sources.yaml has it, on one line."""
    if isinstance(value, str) and value.isidentifier():
        return value
    return (
        str(yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False))
        .removesuffix("...\n")
        .strip()
    )


def mapped(source: Source, found: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Our landed columns -> theirs, in the forms of sources.yaml; `found` has their names as a database spells them."""
    names = found or {}

    def theirs(column: str) -> str:
        return names.get(column, column)

    def condition(one: Condition) -> dict[str, Any]:
        operand = list(one.operand) if isinstance(one.operand, tuple) else one.operand
        return {"column": theirs(one.column), one.operator: operand}

    def filled(one: ColumnMapping) -> Any:
        if one.condition:
            return condition(one.condition)
        if one.constant is not None:
            return {"constant": one.constant}
        if one.prefix is None and len(one.columns) == 1:
            return theirs(one.columns[0])
        prefix = [] if one.prefix is None else [{"constant": one.prefix}]
        return [*prefix, *map(theirs, one.columns)]

    return {
        **{name: filled(one) for name, one in source.columns.items()},
        **{DIMENSION_PREFIX + name: theirs(column) for name, column in source.dimensions.items()},
        **{DIMENSION_PREFIX + name: {"constant": text} for name, text in source.constants.items()},
        **{
            ACTION_PREFIX + one.name: condition(one.condition) if one.condition else theirs(one.column)
            for one in source.actions
        },
        **({CHANGED_AT: theirs(source.changed_at)} if source.changed_at else {}),
    }
