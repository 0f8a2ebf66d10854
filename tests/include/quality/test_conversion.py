"""The engine's conversion against one written in plain Python, value by value."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.quality.conversion import column_types, prepared, select_list
from include.schemas.source_kinds import SOURCE_KINDS
from include.sources.csv_format import ISO_DATE, detect_date_format
from include.sources.definition import Action, ColumnMapping, Condition, CsvOptions, Source

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo")
TRUE, FALSE = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]
SPACES = ("\u00a0", "\u202f", "\u2009", "\u2007", " ")


def convert(kind: str, rows: pa.Table, options: CsvOptions, zone: str = "UTC", **source: Any) -> list[dict[str, Any]]:
    """The batch through the real SQL, on an engine set up as extraction sets it up."""
    made = Source(kind=SOURCE_KINDS[kind], connector="csv", base_dir=None, **source)  # type: ignore[arg-type]
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = '{zone}'")
        connection.register("raw", prepared(rows))
        found = connection.sql(f"SELECT {select_list(made, options, rows.schema)} FROM raw").to_arrow_table()
    converted: list[dict[str, Any]] = found.to_pylist()
    return converted


def one_column(kind: str, name: str, values: Sequence[Any], options: CsvOptions, zone: str = "UTC") -> list[Any]:
    table = pa.table({"theirs": pa.array(list(values))})
    mapping = {name: ColumnMapping(columns=("theirs",))}
    return [row[name] for row in convert(kind, table, options, zone, columns=mapping)]


def instants(values: Sequence[Any], form: str | None, zone: str = "UTC") -> list[datetime | None]:
    options = CsvOptions(date_format={"download_date": form})
    return one_column("customers", "download_date", values, options, zone)


def in_utc(local: datetime, zone: str) -> datetime:
    """As Python's own time zones have it: a skipped time moves on, a repeated one is the second."""
    aware = local.replace(tzinfo=ZoneInfo(zone))
    first, second = aware.replace(fold=0).astimezone(UTC), aware.replace(fold=1).astimezone(UTC)
    return max(first, second).replace(tzinfo=None)


def parsed_money(text: str, decimal: str) -> Decimal | None:
    text = text.strip(" \t\u00a0\u202f\u2009\u2007")
    whole, mark, fraction = text.partition(decimal)
    exponent = ""
    if mark:
        fraction, e, exponent = fraction.lower().partition("e")
    else:
        whole, e, exponent = whole.lower().partition("e")
    if e and not re.fullmatch(r"[+-]?[0-9]{1,3}", exponent):
        return None
    sign = "-" if whole.startswith("-") else ""
    whole = re.sub("^[+-]", "", whole)
    groups = re.split("[ '’\u00a0\u202f\u2009\u2007" + ("," if decimal == "." else ".") + "]", whole)
    if len(groups) > 1 and not (1 <= len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])):
        return None
    digits = "".join(groups)
    if not all(one in "0123456789" for one in digits + fraction) or not digits + fraction:
        return None
    try:
        exact = Decimal(f"{sign}{digits or 0}.{fraction or 0}e{exponent or 0}")
        found = exact.quantize(Decimal("0.0001"), ROUND_HALF_UP)
    except InvalidOperation:
        return None
    return found if abs(found) < 10**14 else None


amounts = st.builds(
    lambda sign, whole, grouping, mark, fraction, blank: (
        blank
        + sign
        + grouping.join([whole[max(0, end - 3) : end] for end in range(len(whole), 0, -3)][::-1])
        + mark
        + fraction
        + blank
    ),
    st.sampled_from(["", "-", "+"]),
    st.text("0123456789", max_size=11),
    st.sampled_from(["", ",", ".", "'", "’", *SPACES]),
    st.sampled_from(["", ".", ","]),
    st.text("0123456789", max_size=6),
    st.sampled_from(["", *SPACES, "\t"]),
)


@given(st.lists(amounts | st.text("0123456789.,eE+-' \u00a0x", max_size=8), min_size=1), st.sampled_from(".,"))
@settings(max_examples=150)
def test_money_is_what_plain_python_reads(texts: list[str], decimal: str) -> None:
    found = one_column("products", "price", texts, CsvOptions(decimal=decimal))
    assert found == [parsed_money(text, decimal) for text in texts]


@pytest.mark.parametrize(
    ("text", "decimal", "amount"),
    [
        ("1,234.56", ".", "1234.56"),
        ("1.234,56", ",", "1234.56"),
        ("1\u202f234\u202f567,8", ",", "1234567.8"),
        ("1\u00a0234,5\u00a0", ",", "1234.5"),
        ("1’234.5", ".", "1234.5"),
        ("1.00005", ".", "1.0001"),
        ("-1.00005", ".", "-1.0001"),
        ("1e3", ".", "1000"),
        ("99999999999999.9999", ".", "99999999999999.9999"),
        ("99999999999999.99995", ".", None),
        ("1,5", ".", None),
        ("12.34", ",", None),
        ("1,234,56", ".", None),
        ("1e400", ".", None),
        ("NaN", ".", None),
        ("Infinity", ".", None),
        ("-inf", ".", None),
        ("0x10", ".", None),
        ("1_000", ".", None),
        ("٣", ".", None),
        ("", ".", None),
    ],
)
def test_money(text: str, decimal: str, amount: str | None) -> None:
    (found,) = one_column("products", "price", [text], CsvOptions(decimal=decimal))
    assert found == (None if amount is None else Decimal(amount))


def test_a_number_is_finite() -> None:
    texts = ["48,2", "-0,5", "1e3", "1e308", "1e400", "nan", "inf", "x", None]
    found = one_column("deliveries", "latitude", texts, CsvOptions(decimal=","))
    assert found == [48.2, -0.5, 1000.0, 1e308, None, None, None, None, None]


@given(st.lists(st.sampled_from([*TRUE, *FALSE, "ja", "2", "on"]), min_size=1), st.randoms())
@settings(max_examples=30)
def test_booleans(words: list[str], random: Any) -> None:
    texts = ["".join(random.choice([one.upper(), one]) for one in word) for word in words]
    meaning = dict.fromkeys(TRUE, True) | dict.fromkeys(FALSE, False)
    assert one_column("sessions", "has_purchased", texts, CsvOptions()) == [meaning.get(word) for word in words]


naive = st.datetimes(datetime(1970, 1, 2), datetime(2037, 1, 1))
offsets = st.integers(-14 * 60, 14 * 60)


@given(st.lists(naive, min_size=1), st.sampled_from(ZONES), st.sampled_from("T "), st.sampled_from([0, 3, 6]))
@settings(max_examples=60)
def test_iso_without_an_offset_is_read_in_the_zone(times: list[datetime], zone: str, t: str, digits: int) -> None:
    scale = 10 ** (6 - digits)
    times = [one.replace(microsecond=one.microsecond // scale * scale) for one in times]
    spec = {0: "seconds", 3: "milliseconds", 6: "microseconds"}[digits]
    found = instants([one.isoformat(sep=t, timespec=spec) for one in times], None, zone)
    assert found == [in_utc(one.replace(microsecond=one.microsecond if digits else 0), zone) for one in times]


@given(naive, offsets, st.sampled_from(ZONES), st.sampled_from(["", " "]), st.booleans())
@settings(max_examples=100)
def test_iso_with_an_offset_is_read_by_it(local: datetime, minutes: int, zone: str, blank: str, colon: bool) -> None:
    offset = timezone(timedelta(minutes=minutes))
    text = f"{local.isoformat()}{blank}{local.replace(tzinfo=offset):%z}"
    text = text if not colon else f"{text[:-2]}:{text[-2:]}"
    assert instants([text], None, zone) == [local.replace(tzinfo=offset).astimezone(UTC).replace(tzinfo=None)]


def nearly_a_date() -> st.SearchStrategy[str]:
    """Texts such as `2024-01-05 10:20:30` in which a few characters are others."""
    places = st.lists(st.tuples(st.integers(0, 18), st.sampled_from("0123456789 -:T+.Z\t\n")), max_size=3)

    def altered(local: datetime, changes: list[tuple[int, str]]) -> str:
        characters = list(local.isoformat(" ", "seconds"))
        for place, character in changes:
            characters[place] = character
        return "".join(characters)

    return st.builds(altered, naive, places).filter(lambda text: text.strip() == text)


@given(st.lists(nearly_a_date(), min_size=1, max_size=50))
@settings(max_examples=150)
def test_what_is_nearly_a_date_is_one_only_as_it_is_written(texts: list[str]) -> None:
    def read(text: str) -> datetime | None:
        midnight = re.fullmatch(r"(\d{4}-\d{2}-\d{2})[T ]24:00:00", text)
        try:
            if midnight:
                return datetime.fromisoformat(midnight[1]) + timedelta(days=1)
            is_date = re.fullmatch(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}", text)
            return datetime.fromisoformat(text) if is_date else None
        except ValueError:
            return None

    plain = [text for text in texts if not text.startswith("0000") and not re.search(r"[+Z.]|-\d\d:|-\d\d$", text)]
    assert instants(plain, None) == [read(text) for text in plain]


@pytest.mark.parametrize("zone", ZONES)
def test_every_half_hour_around_the_clock_changes_of_a_year(zone: str) -> None:
    info = ZoneInfo(zone)
    days = [date(2018, 1, 1) + timedelta(days=one) for one in range(365)]
    midnights = [datetime.combine(day, datetime.min.time()) for day in days]
    changes = [one for one in midnights if info.utcoffset(one) != info.utcoffset(one + timedelta(days=1))] or midnights[
        :1
    ]
    times = [one + timedelta(minutes=30 * step) for one in changes for step in range(-24, 72)]
    assert instants([one.isoformat() for one in times], None, zone) == [in_utc(one, zone) for one in times]


def test_a_skipped_time_moves_on_and_a_repeated_one_is_the_second() -> None:
    found = instants(["2024-03-31T02:30:00", "2024-10-27T02:30:00"], None, "Europe/Berlin")
    assert found == [datetime(2024, 3, 31, 1, 30), datetime(2024, 10, 27, 1, 30)]


# Every form that the detection calls ISO 8601.
TIMES = ["", "T09:08", " 09:08", "T09:08:07", " 09:08:07.6", "T09:08:07,6", " 09:08:07.123456789"]
ZONE_TEXTS = ["", "Z", " Z", "UTC", " UTC", "+02", " +02", "-0330", " -0330", "+05:45", " +05:45"]


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("zone", ZONE_TEXTS)
def test_what_detection_calls_iso_is_read(time: str, zone: str) -> None:
    text = f"2024-07-01{time}{zone}"
    assert ISO_DATE.fullmatch(text)
    assert detect_date_format([text]).format is None
    plain = re.sub(r"(\.\d{6})\d+", r"\1", time.replace(",", ".")) or "T00:00"
    local = datetime.fromisoformat(f"2024-07-01{plain}" + ("00000" if plain.endswith(".6") else ""))
    shift = {"Z": "+00:00", "UTC": "+00:00", "+02": "+02:00", "-0330": "-03:30", "+05:45": "+05:45"}
    if zone:
        expected = datetime.fromisoformat(f"{local.isoformat()}{shift[zone.strip()]}").astimezone(UTC)
    else:
        expected = in_utc(local, "Europe/Berlin").replace(tzinfo=UTC)
    assert instants([text], None, "Europe/Berlin") == [expected.replace(tzinfo=None)]


@pytest.mark.parametrize(
    "text",
    [
        *("2024-02-30", "2024-13-01", "infinity", "epoch", "now", "2024", "2024-01", "2024-1-1", "01.02.2024"),
        *("2024-01-01 (BC)", "2024-01-01T25:00:00", "2024-01-01 10:00:00 America/New_York", "2024-01-01T10:00:00.", ""),
        *("20240-01-01", "2024-01-01T10:00:00+2", "2024-01-01x"),
    ],
)
def test_no_date(text: str) -> None:
    assert instants([text], None) == [None]


FORMATS = ["%d.%m.%Y", "%m/%d/%Y %H:%M", "%d/%m/%Y %I:%M:%S %p", "%Y%m%d%H%M%S", "%b %d, %Y", "%d %B %Y %H:%M"]
FORMATS += ["%d.%m.%y %H:%M:%S.%f", "%d-%b-%Y", "%Y/%m/%dT%H:%M:%S"]


@given(naive, st.sampled_from(FORMATS), st.sampled_from(ZONES))
@settings(max_examples=150)
def test_formats(local: datetime, form: str, zone: str) -> None:
    text = local.strftime(form)
    assert instants([text], form, zone) == [in_utc(datetime.strptime(text, form), zone)]  # noqa: DTZ007 - the zone is added


@given(naive, offsets, st.sampled_from(["%d.%m.%Y %H:%M:%S%z", "%d/%m/%Y %H:%M:%S %z"]), st.booleans())
@settings(max_examples=60)
def test_formats_with_a_zone(local: datetime, minutes: int, form: str, is_utc: bool) -> None:
    aware = local.replace(microsecond=0, tzinfo=UTC if is_utc else timezone(timedelta(minutes=minutes)))
    text = aware.strftime(form).replace("+0000", "Z")
    assert instants([text], form, "Europe/Berlin") == [aware.astimezone(UTC).replace(tzinfo=None)]


@given(st.integers(0, 4_000_000_000_000), st.sampled_from(ZONES))
@settings(max_examples=60)
def test_epochs(milliseconds: int, zone: str) -> None:
    expected = datetime(1970, 1, 1) + timedelta(milliseconds=milliseconds)
    seconds = f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
    assert instants([str(milliseconds)], "epoch_ms", zone) == [expected]
    assert instants([seconds], "epoch", zone) == [expected]


@pytest.mark.parametrize("text", ["nan", "inf", "1e300", "x", "1_000", "2024-01-01"])
def test_no_epoch(text: str) -> None:
    assert instants([text], "epoch") == [None]


def test_a_joined_id_is_empty_where_any_part_is() -> None:
    table = pa.table({"a": ["1", " x ", None, "  "], "b": ["2", "y", "z", "w"]})
    mapping = {"id": ColumnMapping(columns=("a", "b"))}
    found = convert("sessions", table, CsvOptions(), columns=mapping)
    assert [(row["id"], row["given id"]) for row in found] == [
        ("1-2", True),
        ("x-y", True),
        (None, False),
        (None, False),
    ]


def test_constants_and_conditions() -> None:
    table = pa.table({"status": ["paid", " sent ", "PAID", None, ""], "total": ["1,5", "0", "x", None, "-1"]})
    cases: dict[ColumnMapping, list[bool | None]] = {
        ColumnMapping(constant=True): [True] * 5,
        ColumnMapping(constant=False): [False] * 5,
        ColumnMapping(condition=Condition("status", "is", ("paid", "sent"))): [True, True, False, False, False],
        ColumnMapping(condition=Condition("status", "not_empty", True)): [True, True, True, False, False],
        ColumnMapping(condition=Condition("total", "greater_than", 0)): [True, False, None, False, False],
        ColumnMapping(condition=Condition("total", "greater_than", -1.5)): [True, True, None, False, True],
    }
    for mapping, expected in cases.items():
        found = convert("sessions", table, CsvOptions(decimal=","), columns={"has_purchased": mapping})
        assert [row["has_purchased"] for row in found] == expected, mapping
        assert all(row["given has_purchased"] for row in found)


LISTS: dict[str | None, bool | None] = {
    '["viewed", "paid"]': True,
    ' ["paid","viewed"] ': True,
    r'["\u0076iewed"]': True,
    '["Viewed", "viewed ", "view", ["viewed"], {"viewed": true}, null, 5]': False,
    "[]": False,
    "null": False,
    None: False,
    "": False,
    '{"viewed": true, "paid": false}': True,
    '{"viewed": "Yes"}': True,
    '{"viewed": 1}': True,
    '{"viewed": false, "paid": true}': False,
    '{"viewed": "2024-05-01"}': False,
    '{"viewed": null}': False,
    '{"a": {"viewed": true}}': False,
    "{}": False,
    "viewed": None,
    '"viewed"': None,
    "{viewed,paid}": None,
    "['viewed']": None,
    '["viewed"': None,
    '["viewed"] and more': None,
    "true": None,
    "7": None,
}


def test_what_contains_reads() -> None:
    action = Action("viewed", "events", "boolean", Condition("events", "contains", ("viewed",)))
    table = pa.table({"events": pa.array([*LISTS], pa.string())})
    found = convert("sessions", table, CsvOptions(), columns={}, actions=(action,))
    assert {text: row["action_viewed"] for text, row in zip(LISTS, found, strict=True)} == LISTS
    assert all(row["given action_viewed"] for row in found)


@pytest.mark.parametrize("text", ["viewed", "a/b~1", "it's", 'a "b"', "$", "*", "5", "ünï – 客", "true", "a.b", "\\"])
def test_any_text_can_be_contained(text: str) -> None:
    lists = [[text], {text: True}, [text + "x"], {text: False}, {}, ["x", text]]
    table = pa.table({"events": [json.dumps(one) for one in lists]})
    for texts in ((text,), ("another", text)):
        mapping = {"has_purchased": ColumnMapping(condition=Condition("events", "contains", texts))}
        found = convert("sessions", table, CsvOptions(), columns=mapping)
        assert [row["has_purchased"] for row in found] == [True, True, False, False, False, True]


def test_columns_are_landed_in_the_order_of_the_mapping() -> None:
    contains = Condition("a", "contains", ("x",))
    actions = (Action("first", "a", "boolean", contains), Action("second", "b", "instant"))
    source = Source(SOURCE_KINDS["sessions"], "csv", {}, Path(), dimensions={"c": "c"}, actions=actions, changed_at="d")
    assert [*column_types(source)] == ["dimension_c", "action_first", "action_second", "changed_at"]


def test_a_constant_amount_is_exact_and_one_too_large_is_no_number() -> None:
    table = pa.table({"x": ["1"]})
    for constant, expected in ((9.99, Decimal("9.9900")), (3, Decimal(3)), (1e22, None)):
        (row,) = convert("products", table, CsvOptions(), columns={"price": ColumnMapping(constant=constant)})
        assert row["price"] == expected


def test_a_quantity_is_one_unless_mapped() -> None:
    table = pa.table({"q": ["2.5", None]})
    assert [row["quantity"] for row in convert("products", table, CsvOptions(), columns={})] == [1.0, 1.0]
    mapped = {"quantity": ColumnMapping(columns=("q",))}
    assert [row["quantity"] for row in convert("products", table, CsvOptions(), columns=mapped)] == [2.5, None]


def test_columns_that_already_have_a_type() -> None:
    table = pa.table(
        {
            "number": pa.array([7, None, 8]),
            "aware": pa.array([datetime(2024, 7, 1, 12, tzinfo=UTC), None, None], pa.timestamp("us", "Asia/Tokyo")),
            "naive": pa.array([datetime(2024, 7, 1, 12), None, None], pa.timestamp("ns")),
            "flag": pa.array([True, False, None]),
            "amount": pa.array([Decimal("1.23456"), None, Decimal(-1)], pa.decimal128(20, 5)),
            "double": pa.array([0.1, float("nan"), float("inf")]),
            "day": pa.array([date(2024, 7, 1), None, None]),
        }
    )
    single = {
        "id": "number",
        "session_start_date": "aware",
        "end_date": "naive",
        "has_purchased": "flag",
        "payment_amount": "amount",
        "discount_amount": "double",
    }
    found = convert(
        "sessions",
        table,
        CsvOptions(),
        "Europe/Berlin",
        columns={name: ColumnMapping(columns=(column,)) for name, column in single.items()},
        actions=(Action("seen", "day", "instant"),),
        changed_at="aware",
    )
    assert {name: found[0][name] for name in [*single, "action_seen", "changed_at"]} == {
        "id": "7",
        "session_start_date": datetime(2024, 7, 1, 12),
        "end_date": datetime(2024, 7, 1, 10),
        "has_purchased": True,
        "payment_amount": Decimal("1.2346"),
        "discount_amount": Decimal("0.1"),
        "action_seen": datetime(2024, 6, 30, 22),
        "changed_at": datetime(2024, 7, 1, 12),
    }
    assert [row["discount_amount"] for row in found[1:]] == [None, None]
    assert [row["given discount_amount"] for row in found] == [True, True, True]
    assert [row["given end_date"] for row in found] == [True, False, False]


def test_names_that_differ_only_in_case_and_names_that_are_swapped() -> None:
    table = pa.table({"ID": ["upper"], "id": ["lower"], "client": ["a"], 'a "quoted" name': ["q"]})
    mapping = {"id": ColumnMapping(columns=("client",)), "client": ColumnMapping(columns=("id",))}
    dimensions = {"upper": "ID", "quoted": 'a "quoted" name'}
    (row,) = convert("sessions", table, CsvOptions(), columns=mapping, dimensions=dimensions)
    found = [row[name] for name in ("id", "client", "dimension_upper", "dimension_quoted")]
    assert found == ["a", "lower", "upper", "q"]
