"""From what a source holds to our columns and types: SQL over one batch of raw rows.

    raw columns (text, or already typed)  ->  our columns, and `given <column>`: whether the source had any value

| type | what counts as one |
|---|---|
| text | anything; blanks at both ends go |
| boolean | true/false, t/f, yes/no, y/n, 1/0, in any case |
| money, number | digits with the source's decimal mark; the other mark, a blank or an apostrophe may group thousands |
| instant | ISO 8601, or the source's `date_format`; without an offset it is read in the source's time zone |

Money is exact to four decimals, a fifth is rounded half away from zero. A local time that a clock change skips is moved
on by the hour that was skipped; one that occurs twice is the second.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from include.schemas.rules import given
from include.schemas.source_kinds import ColumnType
from include.sources.definition import EPOCHS, ColumnMapping, CsvOptions, Source

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "text": pa.string(),
    "instant": pa.timestamp("us"),
    "money": pa.decimal128(18, 4),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}
TRUE = ("true", "t", "yes", "y", "1")
FALSE = ("false", "f", "no", "n", "0")


def column_types(source: Source) -> dict[str, ColumnType]:
    """Our columns that this source fills, in the order in which they are landed. A quantity is 1 by default."""
    types: dict[str, ColumnType] = {one.name: one.type for one in source.kind.columns if one.name in source.columns}
    if source.kind.name == "products":
        types["quantity"] = "number"
    return types | {name: kind for name, (kind, _) in source.typed_columns.items() if name not in types}


def landing_schema(source: Source) -> pa.Schema:
    """The columns of landed rows: ours, then the place each row came from."""
    ours = [(name, ARROW_TYPES[kind]) for name, kind in column_types(source).items()]
    return pa.schema([*ours, ("_file", pa.string()), ("_row", pa.int64())])


def select_list(source: Source, options: CsvOptions, raw: pa.Schema) -> str:
    """SQL that gives each of our columns and `given` of it, over a batch with the columns `raw`."""
    parts = []
    for name, kind in column_types(source).items():
        mapping = source.columns.get(name)
        if mapping is None and name in source.typed_columns:
            mapping = ColumnMapping(columns=(source.typed_columns[name][1],))
        if mapping is None:
            value, has = "1.0", "true"
        else:
            value, has = _mapped(name, kind, mapping, options, raw)
        parts += [f"{value} AS {_quoted(name)}", f"{has} AS {given(name)}"]
    return ", ".join(parts)


def _mapped(
    name: str, kind: ColumnType, mapping: ColumnMapping, options: CsvOptions, raw: pa.Schema
) -> tuple[str, str]:
    """SQL of the value, and of whether the source has one."""
    if mapping.constant is not None:
        return f"{_constant(mapping.constant)}::{_sql_type(kind)}", "true"
    if mapping.condition is not None:
        column, operand = mapping.condition.column, mapping.condition.operand
        if mapping.condition.operator == "not_empty":
            return f"({_text(column)} IS NOT NULL) = {operand}", "true"
        if mapping.condition.operator == "is":
            texts = operand if isinstance(operand, tuple) else (str(operand),)
            listed = ", ".join(_literal(text) for text in texts)
            return f"coalesce({_text(column)} IN ({listed}), false)", "true"
        number = _converted(column, "number", options, raw, name)
        return f"CASE WHEN {_text(column)} IS NULL THEN false ELSE {number} > {operand} END", "true"
    if len(mapping.columns) == 1:
        (column,) = mapping.columns
        return _converted(column, kind, options, raw, name), f"{_text(column)} IS NOT NULL"
    joined = " || '-' || ".join(_text(column) for column in mapping.columns)  # empty where any part is
    return joined, f"({joined}) IS NOT NULL"


def _converted(column: str, kind: ColumnType, options: CsvOptions, raw: pa.Schema, name: str) -> str:
    is_text = pa.types.is_string(raw.field(column).type) or pa.types.is_large_string(raw.field(column).type)
    if kind == "text":
        return _text(column)
    if kind == "instant":
        value = (
            _instant(column, options.date_format, name) if is_text else f"TRY_CAST({_quoted(column)} AS TIMESTAMPTZ)"
        )
        return f"timezone('UTC', {value})"
    if kind == "boolean":
        if not is_text:
            return f"TRY_CAST({_quoted(column)} AS BOOLEAN)"
        lower = f"lower({_text(column)})"
        listed = {True: ", ".join(map(_literal, TRUE)), False: ", ".join(map(_literal, FALSE))}
        return f"CASE WHEN {lower} IN ({listed[True]}) THEN true WHEN {lower} IN ({listed[False]}) THEN false END"
    number = _number(column, options.decimal or ".") if is_text else _quoted(column)
    if kind == "money":
        return f"TRY_CAST({number} AS DECIMAL(18, 4))"
    return f"CASE WHEN isfinite(TRY_CAST({number} AS DOUBLE)) THEN TRY_CAST({number} AS DOUBLE) END"


def _number(column: str, decimal: str) -> str:
    """SQL: the text with a point as its decimal mark and without grouping; empty where it is no number."""
    group = "," if decimal == "." else "."
    point = "\\." if decimal == "." else ","
    marks = f"[{group}   '’]"
    digits = rf"(\d+|\d{{1,3}}({marks}\d{{3}})+)"
    pattern = rf"[+-]?({digits}({point}\d*)?|{point}\d+)([eE][+-]?\d{{1,3}})?"
    plain = f"regexp_replace({_text(column)}, {_literal(marks)}, '', 'g')"
    if decimal == ",":
        plain = f"replace({plain}, ',', '.')"
    return f"CASE WHEN regexp_full_match({_text(column)}, {_literal(pattern)}) THEN {plain} END"


def _instant(column: str, formats: Mapping[str, str | None], name: str) -> str:
    """SQL: the instant with a time zone; a text without one is read in the time zone of the connection."""
    text, form = _text(column), formats.get(name)
    if form in EPOCHS:
        seconds = f"TRY_CAST({text} AS DOUBLE)" if form == "epoch" else f"TRY_CAST({text} AS DOUBLE) / 1000"
        return f"CASE WHEN abs({seconds}) < 1e11 THEN to_timestamp({seconds}) END"
    if form is not None:
        return f"TRY_STRPTIME({text}, {_literal(form)})::TIMESTAMPTZ"
    # DuckDB would also take `infinity` and `epoch`.
    return f"CASE WHEN regexp_matches({text}, '^\\d{{4}}-\\d') THEN TRY_CAST({text} AS TIMESTAMPTZ) END"


def _constant(value: bool | float | str) -> str:
    return _literal(value) if isinstance(value, str) else str(value)


def _sql_type(kind: ColumnType) -> str:
    return {"text": "VARCHAR", "boolean": "BOOLEAN", "money": "DECIMAL(18, 4)", "number": "DOUBLE"}.get(
        kind, "TIMESTAMP"
    )


def _text(column: str) -> str:
    return f"nullif(trim({_quoted(column)}::VARCHAR), '')"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
