"""The types of PostgreSQL and of Redshift, which descends from it: their names, and what they become in Arrow."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from include.schemas.source_kinds import ColumnType
from include.sources.definition import Source
from include.sources.problems import SourceError

TIMES = {"timestamptz": True, "timestamp": False, "date": False}  # whether it has a time zone
NEWEST_TIMEOUT_SECONDS = 10  # `check` gives up asking for the newest change then: without an index it reads all rows
UNKNOWN_TYPE = "type {}"  # with its number
INTEGERS = ("int2", "int4", "int8")
TEXTS = ("text", "varchar", "bpchar")  # sent as they are, a char(n) with its blanks


def type_name(code: int) -> str:
    """What PostgreSQL calls the type of a column of a result, by its number."""
    from psycopg import adapters

    known = adapters.types.get(code)
    if known is None:
        return UNKNOWN_TYPE.format(code)
    return f"{known.name}[]" if known.array_oid == code else known.name


def arrow_type(
    name: str, kinds: frozenset[ColumnType], *, precision: int | None = None, scale: int | None = None
) -> pa.DataType:
    """The type a column is read as: its own where it is needed as that alone, else text.

    `kinds` is what it is needed as (`relation.uses`), `precision` and `scale` are those of a numeric that has them.
    """
    text = pa.string()
    if kinds == {"instant"}:
        instants = {"timestamptz": pa.timestamp("us", tz="UTC"), "timestamp": pa.timestamp("us"), "date": pa.date32()}
        return instants.get(name, text)
    if kinds == {"boolean"}:
        return pa.bool_() if name == "bool" else text
    if kinds and kinds <= {"money", "number"} and name in INTEGERS:
        return pa.int64()
    if kinds == {"number"} and name in ("float4", "float8"):
        return pa.float64()
    # A numeric as a number stays text: its way through a decimal may round the last digit otherwise.
    if "money" in kinds and kinds <= {"money", "number"} and name == "numeric" and precision:
        scale = scale or 0
        if precision <= 38 and 0 <= scale <= precision:
            return pa.decimal128(precision, scale)
    return text


def refuse_same_names(source: Source, names: Sequence[str]) -> None:
    """Refuse a result with two columns of the same name: nobody could say which one is meant."""
    if len(set(names)) < len(names):
        raise SourceError(f"{source.name}: the query gives two columns the same name; rename one of them with AS.")
