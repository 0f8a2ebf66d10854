"""sources.yaml: which data there is, where it lives, and which of its columns mean what.

Everything that can be wrong in the file is reported at once, each mistake with its place and, where one is near, a
suggestion. What only the data can tell (a file that is missing, a mapped column that it lacks) is `check_source`'s.
Light on purpose (standard library and yaml): the DAG file reads it while Airflow parses.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import yaml

from include.problem import Problem
from include.schemas.source_kinds import ACTION_PREFIX, DIMENSION_PREFIX, SOURCE_KINDS, Column, ColumnType, SourceKind

CONNECTORS = ("csv", "postgres", "bigquery", "redshift")
Operator = Literal["is", "greater_than", "not_empty", "contains"]
OPERATORS: tuple[Operator, ...] = ("is", "greater_than", "not_empty", "contains")
CHANGED_AT = "changed_at"
ISO = "iso"  # written in sources.yaml for dates like 2024-12-31 or 2024-12-31T23:59:59Z
EPOCHS = ("epoch", "epoch_ms")
URL_SCHEMES = ("s3", "gs", "file")
NAME = re.compile(r"[^\W_](?:[\w -]{0,62}[\w-])?")
DIRECTIVE = re.compile(r"%[dmyYbBjsHIMSpzZfcxX]")
SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# What the DAG calls its own tasks and groups, beside which the sources stand with their names.
RESERVED_NAMES = (
    "check",
    "stage",
    "index_orders",
    "index_downloads",
    "index_quarantine",
    "publish",
    "import_dashboards",
    "write_report",
    "exploratory",
    "machine_learning",
)
NAME_RULE = (
    "letters, digits, '_', '-' and spaces, at most 64, beginning with a letter or a digit and not ending in a space"
)


class SourcesError(Problem):
    """Every mistake of a sources.yaml; its text lists them, one a line, each with its place."""

    def __init__(self, path: Path, mistakes: Iterable[str]) -> None:
        self.mistakes = list(mistakes)
        count = "one mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__("\n  ".join([f"{path}: {count}.", *self.mistakes]))


@dataclass(frozen=True)
class Condition:
    """A boolean made from one column: `is` any of the texts, `greater_than` the number, `not_empty`, or a list that
    `contains` any of the texts."""

    column: str
    operator: Operator
    operand: tuple[str, ...] | float | bool


@dataclass(frozen=True)
class ColumnMapping:
    """What fills one of our columns: `columns` of theirs (several are joined with "-"), a constant, or a condition.

    `prefix` is a text that stands before the columns, joined as they are.
    """

    columns: tuple[str, ...] = ()
    constant: bool | float | None = None
    condition: Condition | None = None
    prefix: str | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.condition.column,) if self.condition else self.columns


@dataclass(frozen=True)
class Action:
    """A step of the funnel: `column` is theirs and holds a boolean or the instant at which it happened, or what the
    `condition` makes a boolean of."""

    name: str
    column: str
    type: ColumnType
    condition: Condition | None = None


class ValueFormat(Protocol):
    """How the texts of a source write numbers and instants, as `CsvOptions` has it."""

    @property
    def decimal(self) -> str | None: ...

    @property
    def date_format(self) -> Mapping[str, str | None]: ...

    @property
    def timezone(self) -> str | None: ...


@dataclass(frozen=True)
class CsvOptions:
    """How a CSV file writes things. None, or a column missing from `date_format`, means: to be detected.

    `date_format` maps one of our instant columns (`action_<name>` for an action) to its strptime format, to "epoch" or
    "epoch_ms" (seconds or milliseconds since 1970), or to None: ISO 8601. `timezone` is that of timestamps without one.
    """

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    date_format: Mapping[str, str | None] = field(default_factory=dict)
    timezone: str | None = None


@dataclass(frozen=True)
class DatabaseOptions:
    """Texts in a database have a decimal point and ISO 8601 dates; `timezone` is that of timestamps without one."""

    timezone: str | None = None
    decimal: str | None = "."
    date_format: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One source: exactly one of `path`, `table`, `query` is set. `dimensions` maps our names to their columns,
    `constants` those of the other dimensions to the value that every row has. Without a `name` it has its kind's."""

    kind: SourceKind
    connector: str
    columns: Mapping[str, ColumnMapping]
    base_dir: Path
    connection: str | None = None
    path: str | None = None
    table: str | None = None
    query: str | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()
    changed_at: str | None = None
    csv: CsvOptions = field(default_factory=CsvOptions)
    timezone: str | None = None  # databases: of timestamps that carry none
    name: str = ""
    constants: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.kind.name)

    @property
    def key(self) -> tuple[str, ...]:
        """Our columns that tell its rows apart; none where nothing does (lines of orders without a `line_id`)."""
        optional = self.kind.key_where_mapped
        return optional if optional and set(optional) <= set(self.columns) else self.kind.key

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """Their columns that the source must have, each once."""
        mapped = [column for mapping in self.columns.values() for column in mapping.needs]
        changed = [self.changed_at] if self.changed_at else []
        return tuple(
            dict.fromkeys([*mapped, *self.dimensions.values(), *(one.column for one in self.actions), *changed])
        )

    @property
    def typed_columns(self) -> dict[str, tuple[ColumnType, str]]:
        """Our landed names of columns read from exactly one column of theirs: the type, and that column."""
        single = {
            name: (self.kind.column(name).type, mapping.columns[0])
            for name, mapping in self.columns.items()
            if len(mapping.columns) == 1
        }
        dimensions: dict[str, tuple[ColumnType, str]] = {
            DIMENSION_PREFIX + name: ("text", column) for name, column in self.dimensions.items()
        }
        actions = {ACTION_PREFIX + one.name: (one.type, one.column) for one in self.actions if not one.condition}
        changed: dict[str, tuple[ColumnType, str]] = (
            {CHANGED_AT: ("instant", self.changed_at)} if self.changed_at else {}
        )
        return single | dimensions | actions | changed

    @property
    def conditions(self) -> dict[str, Condition]:
        """Our landed names of what a condition makes."""
        columns = {name: mapping.condition for name, mapping in self.columns.items() if mapping.condition}
        return columns | {ACTION_PREFIX + one.name: one.condition for one in self.actions if one.condition}

    @property
    def number_columns(self) -> tuple[str, ...]:
        """Their columns that hold amounts or numbers, those compared in a condition among them."""
        typed = [column for kind, column in self.typed_columns.values() if kind in ("money", "number")]
        compared = [one.column for one in self.conditions.values() if one.operator == "greater_than"]
        return tuple(dict.fromkeys([*typed, *compared]))


@dataclass(frozen=True)
class Sources:
    """What sources.yaml describes: the sources by kind, and those of one kind in the order of the file."""

    all: tuple[Source, ...]

    def of_kind(self, kind: str) -> tuple[Source, ...]:
        return tuple(source for source in self.all if source.kind.name == kind)

    def named(self, name: str) -> Source:
        return next(source for source in self.all if source.name == name)

    @property
    def sessions(self) -> Source:
        """Of several the first, as with the other kinds."""
        return self.of_kind("sessions")[0]

    @property
    def customers(self) -> Source:
        return self.of_kind("customers")[0]

    @property
    def products(self) -> Source | None:
        return next(iter(self.of_kind("products")), None)

    @property
    def deliveries(self) -> Source | None:
        return next(iter(self.of_kind("deliveries")), None)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Those that any of the sources of sessions has."""
        return tuple(
            dict.fromkeys(name for one in self.of_kind("sessions") for name in (*one.dimensions, *one.constants))
        )


def load_sources(path: str | Path) -> Sources:
    """The sources that the file at `path` describes; raises `SourcesError` with all of its mistakes."""
    path = Path(path)
    mistakes: list[str] = []
    content = _parsed(path, mistakes)
    found: list[Source] = []
    reader = _Reader(mistakes, path.resolve().parent)
    sections = reader.mapping("", content, tuple(SOURCE_KINDS), what="source")
    for kind in SOURCE_KINDS.values():
        if kind.name in sections:
            found += reader.sources(kind, sections[kind.name])
        elif kind.required and kind.name not in content:
            mistakes.append(f"{kind.name}: this source is required and is missing")
    if mistakes:
        raise SourcesError(path, mistakes)
    return Sources(tuple(found))


def nearest(word: str, choices: Iterable[str]) -> str:
    """The choice that `word` was most likely meant to be, or an empty text."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else ""


def suggestion(word: str, choices: Iterable[str]) -> str:
    """`; did you mean X?`, or `; one of X, Y, Z` where nothing is near."""
    choices = tuple(choices)
    near = nearest(word, choices)
    return f"; did you mean {near}?" if near else f"; one of {', '.join(choices)}"


class _Loader(yaml.SafeLoader):
    """YAML that notices a key written twice, of which the plain loader silently keeps the last."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.duplicates: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                first = seen.setdefault(key.value, key.start_mark)
                if first is not key.start_mark:
                    line = f"line {key.start_mark.line + 1}"
                    self.duplicates.append(f"{line}: {key.value} is already on line {first.line + 1}; keep one of them")
        return super().construct_mapping(node, deep=deep)


def _parsed(path: Path, mistakes: list[str]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SourcesError(path, ["there is no such file; copy sources.example.yaml there and adapt it"]) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SourcesError(path, [f"the file cannot be read: {reason}"]) from None
    try:
        loader = _Loader(text)
        content = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise SourcesError(path, [f"{line}this is not valid YAML: {error.problem or error.context}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise SourcesError(path, [f"this is not valid YAML: {' '.join(str(error).split())}"]) from None
    mistakes.extend(loader.duplicates)
    if content is None:
        raise SourcesError(path, ["the file is empty; sources.example.yaml shows what belongs in it"])
    if not isinstance(content, dict):
        raise SourcesError(path, [f"the file must map the sources ({', '.join(SOURCE_KINDS)}) to their definitions"])
    return content


class _Reader:
    """Turns parsed YAML into definitions and collects what is wrong; each `place` is a dotted path into the file."""

    def __init__(self, mistakes: list[str], base_dir: Path) -> None:
        self.mistakes, self.base_dir = mistakes, base_dir
        self.names: dict[str, str] = {}  # of sources, without regard to case: where each was given

    def wrong(self, place: str, text: str) -> None:
        self.mistakes.append(f"{place}: {text}")

    def mapping(self, place: str, value: object, keys: Iterable[str], *, what: str = "key") -> dict[str, Any]:
        """The known keys of a mapping; says what is unknown."""
        if not isinstance(value, dict):
            self.wrong(place, f"this must be a mapping (key: value), not {_described(value)}")
            return {}
        keys = tuple(keys)
        for key in value:
            if key not in keys:
                where = f"{place}.{key}" if place else str(key)
                self.wrong(where, f"unknown {what}{suggestion(str(key), keys)}")
        return {key: one for key, one in value.items() if key in keys}

    def text(self, place: str, value: object) -> str | None:
        if isinstance(value, str) and value.strip():
            return value
        if value is None or isinstance(value, (str, dict, list)):
            self.wrong(place, f"this must be a text, not {_described(value)}")
        else:
            self.wrong(place, f"this must be a text; write it in quotes, because YAML reads it as {_described(value)}")
        return None

    def sources(self, kind: SourceKind, value: object) -> list[Source]:
        """The one source of a kind, or a list of several."""
        if not isinstance(value, list):
            one = self.source(kind, value, kind.name, named=False)
            return [one] if one else []
        if not value:
            self.wrong(kind.name, "the list is empty; give at least one source")
        each = [
            self.source(kind, one, f"{kind.name}[{number}]", named=True) for number, one in enumerate(value, start=1)
        ]
        found = [one for one in each if one is not None]
        self.agree(kind, found)
        return found

    def agree(self, kind: SourceKind, sources: list[Source]) -> None:
        """Whether what several sources call alike is the same: they share the staged table's columns."""
        dimensions: dict[str, tuple[str, str]] = {}
        actions: dict[str, tuple[Action, str]] = {}
        for source in sources:
            for name in (*source.dimensions, *source.constants):
                first, owner = dimensions.setdefault(name.casefold(), (name, source.name))
                if first != name:
                    self.wrong(f"{kind.name}: {source.name}", f"the dimension {name} is called {first} in {owner}")
            for action in source.actions:
                known, owner = actions.setdefault(action.name.casefold(), (action, source.name))
                if known.name != action.name:
                    self.wrong(
                        f"{kind.name}: {source.name}", f"the action {action.name} is called {known.name} in {owner}"
                    )
                elif known.type != action.type:
                    types = {"boolean": "yes or no", "instant": "a timestamp"}
                    self.wrong(
                        f"{kind.name}: {source.name}",
                        f"the action {action.name} is {types[action.type]} here and {types[known.type]} in {owner}; "
                        "give one of them another name, or both the same type",
                    )
        if kind.key_where_mapped and len({source.key for source in sources}) > 1:
            missing = " and ".join(source.name for source in sources if source.key != kind.key_where_mapped)
            self.wrong(f"{kind.name}", f"{kind.key_where_mapped[-1]} is missing in {missing}; map it in all or in none")

    def name(self, place: str, kind: SourceKind, entries: dict[str, Any], *, needed: bool) -> str:
        """The source's name: given, or the kind's where there is one source of it."""
        if "name" not in entries:
            if needed:
                self.wrong(f"{place}.name", f"missing; each source of a list has a name, such as {kind.name}_north")
                return ""
            name = kind.name
        else:
            name = self.text(f"{place}.name", entries["name"]) or ""
            if not name:
                return ""
        taken = [*RESERVED_NAMES, *(other for other in SOURCE_KINDS if other != kind.name)]
        if not SOURCE_NAME.fullmatch(name):
            self.wrong(
                f"{place}.name",
                f"{name!r} cannot name a source: only letters a to z, digits, '_' and '-', at most 64, "
                "beginning with a letter or a digit",
            )
        elif name.casefold() in taken:
            self.wrong(f"{place}.name", f"{name} is the name of something else; use another, such as {kind.name}_north")
        elif (first := self.names.setdefault(name.casefold(), place)) != place:
            self.wrong(f"{place}.name", f"{name} is already the name of {first}; every source has a name of its own")
        return name

    def source(self, kind: SourceKind, value: object, place: str, *, named: bool) -> Source | None:
        known = (
            "name",
            "connector",
            "connection",
            "path",
            "table",
            "query",
            "columns",
            "dimensions",
            "actions",
            CHANGED_AT,
            "csv",
            "timezone",
        )
        before = len(self.mistakes)
        entries = self.mapping(place, value, known)
        if not isinstance(value, dict):
            return None
        name = self.name(place, kind, entries, needed=named)
        connector = self.connector(place, entries)
        located = self.located(place, connector, entries)
        columns = self.columns(kind, entries.get("columns"), f"{place}.columns")
        dimensions, constants = self.dimensions(kind, entries.get("dimensions"), f"{place}.dimensions")
        actions = self.actions(kind, entries.get("actions"), f"{place}.actions")
        changed_at = self.text(f"{place}.{CHANGED_AT}", entries[CHANGED_AT]) if CHANGED_AT in entries else None
        instants = [name for name in columns if kind.column(name).type == "instant"]
        instants += [ACTION_PREFIX + action.name for action in actions if action.type == "instant"]
        instants += [CHANGED_AT] if changed_at else []
        csv = self.csv(f"{place}.csv", entries["csv"], instants) if "csv" in entries else CsvOptions()
        if "csv" in entries and connector not in ("csv", None):
            self.wrong(f"{place}.csv", f"these options are for the connector csv, not for {connector}")
        timezone = self.text(f"{place}.timezone", entries["timezone"]) if "timezone" in entries else None
        if timezone is not None and connector == "csv":
            self.wrong(f"{place}.timezone", "for the connector csv this belongs below csv")
        elif timezone is not None and (mistake := _time_zone(timezone)):
            self.wrong(f"{place}.timezone", mistake)
        if len(self.mistakes) > before or connector is None:
            return None
        return Source(
            kind=kind,
            connector=connector,
            columns=columns,
            base_dir=self.base_dir,
            dimensions=dimensions,
            actions=actions,
            changed_at=changed_at,
            csv=csv,
            timezone=timezone,
            name=name,
            constants=constants,
            **located,
        )

    def connector(self, place: str, entries: dict[str, Any]) -> str | None:
        if "connector" not in entries:
            self.wrong(f"{place}.connector", f"missing; one of {', '.join(CONNECTORS)}")
            return None
        connector = self.text(f"{place}.connector", entries["connector"])
        if connector is not None and connector not in CONNECTORS:
            self.wrong(f"{place}.connector", f"unknown connector {connector}{suggestion(connector, CONNECTORS)}")
            return None
        return connector

    def located(self, place: str, connector: str | None, entries: dict[str, Any]) -> dict[str, str | None]:
        """Connection, path, table and query, and whether they suit the connector."""
        names = ("connection", "path", "table", "query")
        given = {name: self.text(f"{place}.{name}", entries[name]) for name in names if name in entries}
        if connector == "csv":
            for name in ("table", "query"):
                if name in given:
                    self.wrong(f"{place}.{name}", "the connector csv reads files; give their path instead")
            if "path" not in given:
                self.wrong(f"{place}.path", "missing; a file, a folder or a pattern like sessions/*.csv.gz")
            elif given["path"]:
                self.path(f"{place}.path", given["path"])
        elif connector is not None:
            if "path" in given:
                self.wrong(
                    f"{place}.path", f"the connector {connector} reads a database; give a table or a query instead"
                )
            if "connection" not in given:
                self.wrong(f"{place}.connection", f"missing; the Airflow connection of the {connector} database")
            if ("table" in given) == ("query" in given):
                both = "both are given; keep one" if "table" in given else "one of them is missing"
                self.wrong(f"{place}.table, {place}.query", both)
        return given

    def path(self, place: str, path: str) -> None:
        scheme, separator, rest = path.partition("://")
        if not separator:
            return
        if scheme not in URL_SCHEMES:
            self.wrong(place, f"{scheme}:// cannot be read; use a path on this machine, s3:// or gs://")
        if "@" in rest.split("/")[0]:
            self.wrong(place, "no credentials or connection in the path; put them in an Airflow connection and name it")

    def columns(self, kind: SourceKind, value: object, place: str) -> dict[str, ColumnMapping]:
        if value is None:
            self.wrong(place, f"missing; it maps our columns ({', '.join(kind.required_columns)}, …) to yours")
            return {}
        names = [column.name for column in kind.columns]
        entries = self.mapping(place, value, names, what="column")
        if not isinstance(value, dict):
            return {}
        mappings: dict[str, ColumnMapping] = {}
        for column in kind.columns:
            if column.name in entries:
                mapping = self.column(f"{place}.{column.name}", column, kind, entries[column.name])
                if mapping is not None:
                    mappings[column.name] = mapping
            elif column.required:
                self.wrong(f"{place}.{column.name}", f"missing; required: {column.description}")
        used: dict[str, str] = {}
        for name, mapping in mappings.items():
            if (
                len(mapping.columns) == 1
                and not mapping.prefix
                and (first := used.setdefault(mapping.columns[0], name)) != name
            ):
                self.wrong(f"{place}.{name}", f"your column {mapping.columns[0]} is already mapped to {first}")
        return mappings

    def column(self, place: str, column: Column, kind: SourceKind, value: object) -> ColumnMapping | None:
        if isinstance(value, dict):
            return self.derived(place, column, value)
        if isinstance(value, list):
            if column.type != "text":
                self.wrong(place, f"several columns can be joined for text only; {column.name} needs one column")
                return None
            prefix, named = self.prefixed(place, value)
            parts = [self.text(f"{place}[{number}]", part) for number, part in named]
            if not parts:
                self.wrong(place, "the list is empty; name at least one of your columns")
            if len(set(parts)) < len(parts):
                self.wrong(place, "the list names a column twice")
            joined = tuple(part for part in parts if part)
            return ColumnMapping(columns=joined, prefix=prefix) if all(parts) and parts else None
        text = self.text(place, value)
        return ColumnMapping(columns=(text,)) if text else None

    def prefixed(self, place: str, parts: list[Any]) -> tuple[str | None, list[tuple[int, Any]]]:
        """The constant that a list of columns begins with, if it does, and the columns with their numbers."""
        numbered = list(enumerate(parts, start=1))
        if not parts or not isinstance(parts[0], dict):
            return None, numbered
        entries = self.mapping(f"{place}[1]", parts[0], ("constant",))
        if "constant" not in entries:
            self.wrong(f"{place}[1]", "a text to put before the columns is written {constant: text}")
        return self.constant(f"{place}[1]", entries), numbered[1:]

    def constant(self, place: str, entries: dict[str, Any]) -> str | None:
        """A text that is the same in every row."""
        text = self.text(f"{place}.constant", entries["constant"]) if "constant" in entries else None
        return text.strip() if text else None

    def derived(self, place: str, column: Column, value: dict[str, Any]) -> ColumnMapping | None:
        """A constant or a condition."""
        before = len(self.mistakes)
        entries = self.mapping(place, value, ("constant", "column", *OPERATORS))
        if "constant" in entries:
            constant = entries["constant"]
            number = isinstance(constant, (int, float)) and not isinstance(constant, bool)
            if len(entries) > 1:
                self.wrong(place, "a constant stands alone; remove the other keys")
            if column.type not in ("boolean", "money", "number"):
                self.wrong(place, f"{column.name} cannot be the same in every row; name one of your columns")
            elif column.type == "boolean" and not isinstance(constant, bool):
                self.wrong(f"{place}.constant", f"this must be true or false, not {_described(constant)}")
            elif column.type != "boolean" and not number:
                self.wrong(f"{place}.constant", f"this must be a number, not {_described(constant)}")
            return ColumnMapping(constant=constant) if len(self.mistakes) == before else None
        if column.type != "boolean":
            self.wrong(
                place, f"{column.name} is no yes-or-no column, so no condition can make it; name one of your columns"
            )
            return None
        condition = self.condition(place, entries)
        return ColumnMapping(condition=condition) if condition and len(self.mistakes) == before else None

    def condition(self, place: str, entries: dict[str, Any]) -> Condition | None:
        before = len(self.mistakes)
        operators = [operator for operator in OPERATORS if operator in entries]
        if "column" not in entries or len(operators) != 1:
            self.wrong(place, f"a condition has a column and exactly one of {', '.join(OPERATORS)}")
            return None
        name = self.text(f"{place}.column", entries["column"])
        operand = self.operand(f"{place}.{operators[0]}", operators[0], entries[operators[0]])
        if name is None or operand is None or len(self.mistakes) > before:
            return None
        return Condition(name, operators[0], operand)

    def operand(self, place: str, operator: Operator, value: object) -> tuple[str, ...] | float | bool | None:
        if operator in ("is", "contains"):
            values = value if isinstance(value, list) else [value]
            texts = [self.text(f"{place}[{number}]", one) for number, one in enumerate(values, start=1)]
            if not texts:
                self.wrong(place, "the list is empty")
            return tuple(text for text in texts if text is not None) or None
        if operator == "greater_than":
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return value
            self.wrong(place, f"this must be a number, not {_described(value)}")
            return None
        if value is not True:
            self.wrong(place, f"this can only be true, not {_described(value)}")
        return True

    def dimensions(self, kind: SourceKind, value: object, place: str) -> tuple[dict[str, str], dict[str, str]]:
        """Our names → their columns, and our names → the value of every row."""
        if value is None:
            return {}, {}
        if not kind.has_dimensions:
            self.wrong(place, "only sessions have dimensions; remove it here")
            return {}, {}
        if not isinstance(value, (list, dict)):
            self.wrong(
                place,
                f"this must be a list of your columns, or a mapping (our name: your column), not {_described(value)}",
            )
            return {}, {}
        items = list(value.items()) if isinstance(value, dict) else [(name, name) for name in value]
        found: dict[str, str] = {}
        constants: dict[str, str] = {}
        for number, (name, column) in enumerate(items, start=1):
            where = f"{place}[{number}]" if isinstance(value, list) else f"{place}.{name}"
            our = self.text(where, name)
            if isinstance(value, dict) and isinstance(column, dict):
                text = self.constant(where, self.mapping(where, column, ("constant",)))
                if "constant" not in column:
                    self.wrong(where, "the same value in every row is written {constant: value}")
                if our and text and self.named(where, our, (*found, *constants), "dimension"):
                    constants[our] = text
                continue
            theirs = our if isinstance(value, list) else self.text(where, column)
            if our and theirs and self.named(where, our, (*found, *constants), "dimension"):
                if theirs in found.values():
                    self.wrong(where, f"your column {theirs} already makes another dimension")
                found[our] = theirs
        return found, constants

    def named(self, place: str, name: str, taken: Iterable[str], what: str) -> bool:
        """Whether the name of a dimension or an action may be part of column and field names, and is new."""
        if not NAME.fullmatch(name):
            remedy = "write {name: …, column: …}" if what == "action" else "write a mapping (our name: your column)"
            self.wrong(place, f"{name!r} cannot name the {what}: only {NAME_RULE}; {remedy} to give it another name")
            return False
        if name.casefold() in {one.casefold() for one in taken}:
            self.wrong(place, f"the {what} {name} is there twice (upper and lower case are the same)")
            return False
        return True

    def actions(self, kind: SourceKind, value: object, place: str) -> tuple[Action, ...]:
        if value is None:
            return ()
        if kind.action_type is None:
            self.wrong(place, f"{kind.name} have no actions; remove it here")
            return ()
        if not isinstance(value, list):
            self.wrong(place, f"this must be a list, in the order of the funnel, not {_described(value)}")
            return ()
        found: dict[str, Action] = {}
        for number, item in enumerate(value, start=1):
            action = self.action(f"{place}[{number}]", item, kind.action_type)
            if action and self.named(f"{place}[{number}]", action.name, found, "action"):
                made_of = (action.column, action.condition)
                if made_of in ((other.column, other.condition) for other in found.values()):
                    self.wrong(f"{place}[{number}]", f"your column {action.column} already makes another action")
                found[action.name] = action
        return tuple(found.values())

    def action(self, place: str, value: object, default: ColumnType) -> Action | None:
        if not isinstance(value, dict):
            name = self.text(place, value)
            return Action(name, name, default) if name else None
        entries = self.mapping(place, value, ("name", "column", "type", *OPERATORS))
        if "name" not in entries:
            self.wrong(place, "an action needs a name")
            return None
        name = self.text(f"{place}.name", entries["name"])
        if not {*OPERATORS}.isdisjoint(entries):
            if "type" in entries:
                self.wrong(f"{place}.type", "a condition makes a yes or no; remove the type")
                return None
            condition = self.condition(place, entries)
            return Action(name, condition.column, "boolean", condition) if name and condition else None
        column = self.text(f"{place}.column", entries.get("column", name)) if name or "column" in entries else None
        types: dict[object, ColumnType] = {"boolean": "boolean", "timestamp": "instant"}
        wanted = entries.get("type")
        if wanted is not None and (not isinstance(wanted, str) or wanted not in types):
            self.wrong(f"{place}.type", f"unknown type{suggestion(str(wanted), ('boolean', 'timestamp'))}")
            return None
        return Action(name, column, types.get(wanted, default)) if name and column else None

    def csv(self, place: str, value: object, instants: list[str]) -> CsvOptions:
        entries = self.mapping(place, value, ("delimiter", "encoding", "decimal", "date_format", "timezone"))
        checks = {"delimiter": _delimiter, "encoding": _encoding, "decimal": _decimal, "timezone": _time_zone}
        options: dict[str, str] = {}
        for name, check in checks.items():
            # A blank is a text too: the tab is a delimiter.
            text = entries.get(name) if name == "delimiter" else None
            text = (
                text
                if isinstance(text, str)
                else self.text(f"{place}.{name}", entries[name])
                if name in entries
                else None
            )
            if text is not None:
                mistake = check(text)
                if mistake:
                    self.wrong(f"{place}.{name}", mistake)
                options[name] = text
        formats = (
            self.date_formats(f"{place}.date_format", entries["date_format"], instants)
            if "date_format" in entries
            else {}
        )
        return CsvOptions(date_format=formats, **options)

    def date_formats(self, place: str, value: object, instants: list[str]) -> dict[str, str | None]:
        if not isinstance(value, dict):
            one = self.date_format(place, value)
            return dict.fromkeys(instants, None if one == ISO else one) if one else {}
        entries = self.mapping(place, value, instants, what="date column")
        found = {name: self.date_format(f"{place}.{name}", entries[name]) for name in entries}
        return {name: None if one == ISO else one for name, one in found.items() if one}

    def date_format(self, place: str, value: object) -> str | None:
        text = self.text(place, value)
        if text is None or text in (ISO, *EPOCHS) or DIRECTIVE.search(text):
            return text
        self.wrong(place, f"{text!r} is no date format; write iso, epoch, epoch_ms or one like %d.%m.%Y %H:%M")
        return None


def _described(value: object) -> str:
    """A YAML value in words."""
    if value is None:
        return "nothing"
    if value == "" or (isinstance(value, str) and not value.strip()):
        return "an empty text"
    kinds: dict[type, str] = {dict: "a mapping", list: "a list"}
    if type(value) in kinds:
        return kinds[type(value)]
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)


def _delimiter(text: str) -> str:
    if len(text) == 1 and text.isascii() and not text.isalnum() and text not in "\"'\r\n":
        return ""
    return f'{text!r} is no delimiter; it is one character, like ";" or "\\t" in double quotes'


def _encoding(text: str) -> str:
    try:
        codec = codecs.lookup(text)
    except LookupError:
        return f"unknown encoding {text!r}; common ones are utf-8, cp1252, iso-8859-9, cp1254, utf-16"
    # Codecs such as base64 or zip turn bytes into bytes, not into text.
    return "" if getattr(codec, "_is_text_encoding", True) else f"{text!r} is not an encoding of text"


def _decimal(text: str) -> str:
    return "" if text in (".", ",") else f'{text!r} is no decimal sign; it is "." or ","'


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(text, available_timezones())
        return f"unknown time zone {text!r}" + (
            f"; did you mean {near}?" if near else "; one like Europe/Berlin or UTC"
        )
    return ""
