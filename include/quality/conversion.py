"""From what a source holds to our columns and types: SQL over one batch of raw rows.

    raw columns (text, or already typed)  ->  our columns, and `given <column>`: whether the source had any value

docs/quality.md says what counts as a value of each type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from include.schemas.rules import given, text_of
from include.schemas.source_kinds import ACTION_PREFIX, DIMENSION_PREFIX, ColumnType
from include.sources.blanks import empty, may_begin_blank, may_end_blank, null_where
from include.sources.csv_format import ISO_DATE
from include.sources.definition import EPOCHS, ColumnMapping, Source, ValueFormat
from include.staging.sql import literal, quoted

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "text": pa.string(),
    "instant": pa.timestamp("us"),
    "money": pa.decimal128(18, 4),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}
SQL_TYPES: dict[ColumnType, str] = {
    "text": "VARCHAR",
    "instant": "TIMESTAMP",
    "money": "DECIMAL(18, 4)",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
}
# What the engine reads as a boolean, in lower or upper case.
TRUE = ("true", "t", "yes", "y", "1")
FALSE = ("false", "f", "no", "n", "0")
GROUPING = " '’\u00a0\u2007\u2009\u202f"  # blanks of several widths; and the mark that is not the decimal one
# What the engine reads as it is; other forms of ISO 8601 are rewritten first.
PLAIN_ISO = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?)?"


def column_types(source: Source) -> dict[str, ColumnType]:
    """Our columns that this source fills, in the order in which they are landed. A quantity is 1 by default."""
    types: dict[str, ColumnType] = {one.name: one.type for one in source.kind.columns if one.name in source.columns}
    if source.kind.name == "products":
        types["quantity"] = "number"
    single = {name: kind for name, (kind, _) in source.typed_columns.items() if name not in types}
    types |= {name: kind for name, kind in single.items() if name.startswith(DIMENSION_PREFIX)}
    types |= {ACTION_PREFIX + one.name: one.type for one in source.actions}
    types |= single
    return types | {DIMENSION_PREFIX + name: "text" for name in source.constants}


def landing_schema(source: Source) -> pa.Schema:
    """The columns of landed rows: ours, then the place each row came from."""
    ours = [(name, ARROW_TYPES[kind]) for name, kind in column_types(source).items()]
    return pa.schema([*ours, ("_file", pa.string()), ("_row", pa.int64())])


def prepared(raw: pa.Table) -> pa.Table:
    """A batch as `select_list` reads it: texts without blanks at their ends, null where nothing is left.

    Columns are named by position, as `ID` and `id` would be one column in SQL.
    """
    columns = []
    for column in raw.columns:
        if _is_text(column.type):
            column = pa.chunked_array([_trimmed(chunk) for chunk in column.chunks], column.type)
        columns.append(column)
    return pa.table(columns, names=_places(raw.schema))


def _trimmed(column: pa.StringArray) -> pa.StringArray:
    if may_begin_blank(column).any() or may_end_blank(column).any():
        column = pc.utf8_trim_whitespace(column)
    return null_where(column, empty(column))


def _places(raw: pa.Schema) -> list[str]:
    return [f"raw_{number}" for number in range(len(raw))]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def select_list(source: Source, options: ValueFormat, raw: pa.Schema) -> str:
    """SQL that gives each of our columns, `given` of it, and `text_of` it where it is an amount of money.

    It is for a batch of the schema `raw` that was `prepared`.
    """
    places = dict(zip(raw.names, _places(raw), strict=True))
    schema = pa.schema([raw.field(column).with_name(place) for column, place in places.items()])
    constants = {DIMENSION_PREFIX + name: literal(text) for name, text in source.constants.items()}
    parts = []
    for name, kind in column_types(source).items():
        mapping = source.columns.get(name)
        if mapping is None and name in source.typed_columns:
            mapping = ColumnMapping(columns=(source.typed_columns[name][1],))
        if mapping is None and name in source.conditions:
            mapping = ColumnMapping(condition=source.conditions[name])
        if mapping is None:
            value, has = constants.get(name, "1.0"), "true"
        else:
            value, has = _mapped(name, kind, _placed(mapping, places), options, schema)
        parts += [f"{value} AS {quoted(name)}", f"{has} AS {given(name)}"]
        if kind == "money":
            column = places[mapping.columns[0]] if mapping and mapping.columns else ""
            text = quoted(column) if column and _is_text(schema.field(column).type) else "NULL::VARCHAR"
            parts.append(f"{text} AS {text_of(name)}")
    return ", ".join(parts)


def _placed(mapping: ColumnMapping, places: Mapping[str, str]) -> ColumnMapping:
    condition = mapping.condition and replace(mapping.condition, column=places[mapping.condition.column])
    return replace(mapping, columns=tuple(places[column] for column in mapping.columns), condition=condition)


def _mapped(
    name: str, kind: ColumnType, mapping: ColumnMapping, options: ValueFormat, raw: pa.Schema
) -> tuple[str, str]:
    """SQL of the value, and of whether the source has one."""
    if mapping.constant is not None:
        return f"TRY_CAST({literal(str(mapping.constant))} AS {SQL_TYPES[kind]})", "true"
    if mapping.condition is not None:
        column, operand = mapping.condition.column, mapping.condition.operand
        if mapping.condition.operator == "not_empty":
            return f"{_text(column)} IS NOT NULL", "true"
        texts = operand if isinstance(operand, tuple) else (str(operand),)
        if mapping.condition.operator == "contains":
            return _contains(column, texts), "true"
        if mapping.condition.operator == "is":
            listed = ", ".join(literal(text) for text in texts)
            return f"coalesce({_text(column)} IN ({listed}), false)", "true"
        number = _converted(column, "number", options, raw, name)
        return f"CASE WHEN {_text(column)} IS NULL THEN false ELSE {number} > '{operand}'::DOUBLE END", "true"
    if len(mapping.columns) == 1 and mapping.prefix is None:
        (column,) = mapping.columns
        return _converted(column, kind, options, raw, name), f"{quoted(column)} IS NOT NULL"
    prefix = [] if mapping.prefix is None else [literal(mapping.prefix)]
    joined = " || '-' || ".join([*prefix, *map(_text, mapping.columns)])  # empty where any part is
    return joined, f"({joined}) IS NOT NULL"


def _contains(column: str, texts: tuple[str, ...]) -> str:
    """SQL: whether a JSON list holds one of the texts, or a JSON object says of one of them that it is true.

    Empty where the text is neither a list nor an object. JSON's own null is an empty value.
    """
    text = _text(column)
    parsed = f"TRY_CAST({text} AS JSON)"
    listed = ", ".join(literal(one) for one in texts)
    is_listed = f"list_has_any(json_extract_string({parsed}, '$[*]'), [{listed}])"
    pointers = [literal("/" + one.replace("~", "~0").replace("/", "~1")) for one in texts]  # RFC 6901
    is_true = [f"coalesce(TRY_CAST(json_extract_string({parsed}, {one}) AS BOOLEAN), false)" for one in pointers]
    return (
        f"CASE WHEN {text} IS NULL THEN false ELSE CASE json_type({parsed}) WHEN 'ARRAY' THEN {is_listed} "
        f"WHEN 'OBJECT' THEN {' OR '.join(is_true)} WHEN 'NULL' THEN false END END"
    )


def _converted(column: str, kind: ColumnType, options: ValueFormat, raw: pa.Schema, name: str) -> str:
    is_text = _is_text(raw.field(column).type)
    if kind == "text":
        return _text(column)
    if kind == "instant":
        if not is_text:
            return f"timezone('UTC', TRY_CAST({quoted(column)} AS TIMESTAMPTZ))"
        value = f"timezone('UTC', {_instant(column, options.date_format, name)})"
        if options.date_format.get(name) is None:
            # Most texts by far, and half the work where no time zone has to be asked. In 19 bytes there is room for
            # just this; a blank in the format would stand for any number and kind of blanks, so it is a letter.
            text = _text(column)
            plain = f"current_setting('TimeZone') = 'UTC' AND strlen({text}) = 19"
            seconds = f"try_strptime(replace({text}, ' ', 'T'), '%Y-%m-%dT%H:%M:%S')"
            value = f"coalesce(CASE WHEN {plain} THEN {seconds} END, {value})"
        return value
    if kind == "boolean":
        return f"TRY_CAST({quoted(column)} AS BOOLEAN)"
    number = _number(column, options.decimal or ".") if is_text else quoted(column)
    if kind == "money":
        return f"TRY_CAST({number} AS DECIMAL(18, 4))"
    return f"CASE WHEN isfinite(TRY_CAST({number} AS DOUBLE)) THEN TRY_CAST({number} AS DOUBLE) END"


def _number(column: str, decimal: str) -> str:
    """SQL: the text with a point as its decimal mark and without grouping; empty where it is no number."""
    marks = f"[{GROUPING}{',' if decimal == '.' else '.'}]"
    digits = rf"(\d+|\d{{1,3}}({marks}\d{{3}})+)"
    pattern = rf"[+-]?({digits}([{decimal}]\d*)?|[{decimal}]\d+)([eE][+-]?\d{{1,3}})?"
    text = _text(column)
    point = f"replace({text}, ',', '.')" if decimal == "," else text
    ungrouped = f"regexp_replace({text}, {literal(marks)}, '', 'g')"
    if decimal == ",":
        ungrouped = f"replace({ungrouped}, ',', '.')"
    return (
        f"CASE WHEN regexp_full_match({text}, '[+-]?\\d+([{decimal}]\\d*)?') THEN {point} "  # most, and quick
        f"WHEN regexp_full_match({text}, {literal(pattern)}) THEN {ungrouped} END"
    )


def _instant(column: str, formats: Mapping[str, str | None], name: str) -> str:
    """SQL: the instant with a time zone; a text without one is read in the time zone of the connection."""
    text, form = _text(column), formats.get(name)
    if form in EPOCHS:
        seconds = f"TRY_CAST({_number(column, '.')} AS DOUBLE) / {1 if form == 'epoch' else 1000}"
        return f"CASE WHEN abs({seconds}) < 1e11 THEN to_timestamp({seconds}) END"
    if form is not None:
        if form.endswith("%z"):
            text = f"regexp_replace({text}, 'Z$', '+0000')"
        return f"TRY_STRPTIME({text}, {literal(form)})::TIMESTAMPTZ"
    # A point before fractions, the zone directly behind the time, and a time where there is only a zone.
    rewritten = f"replace(replace({text}, ',', '.'), 'UTC', 'Z')"
    rewritten = f"regexp_replace({rewritten}, ' ?(Z|[+-][0-9:]+)$', '\\1')"
    rewritten = f"regexp_replace({rewritten}, '^([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(Z|[+-].*)$', '\\1 00:00\\2')"
    return (
        f"CASE WHEN regexp_full_match({text}, {literal(PLAIN_ISO)}) THEN TRY_CAST({text} AS TIMESTAMPTZ) "
        f"WHEN regexp_full_match({text}, {literal(ISO_DATE.pattern)}) THEN TRY_CAST({rewritten} AS TIMESTAMPTZ) END"
    )


def _text(column: str) -> str:
    return f"{quoted(column)}::VARCHAR"
