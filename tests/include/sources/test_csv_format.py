import csv
import io
from datetime import datetime, timedelta

import duckdb
import pytest

from include.sources.csv_format import (
    CLOCKS,
    DATE_FORMATS,
    DELIMITERS,
    Ambiguous,
    DateFormat,
    Unreadable,
    detect_date_format,
    detect_decimal,
    detect_delimiter,
    detect_encoding,
)


@pytest.mark.parametrize(
    ("values", "decimal"),
    [
        (["1.234,56"], ","),
        (["1,234.56"], "."),
        (["12,5"], ","),
        (["-12.50", "+3.1"], "."),
        (["1234"], None),
        (["", " "], None),
        (["0.123"], "."),
        ([".5"], "."),
        (["1234,567"], ","),
        (["€ 1.234.567"], ","),
        (["1,234,567 kr"], "."),
        (["1 234,50"], ","),
        (["1'234.50"], "."),
        (["1,234", "2,500", "7.5"], "."),
        (["1.234", "2.500", "7,5"], ","),
        (["n/a", "7,5"], ","),
        ([f"{number}.5" for number in range(50)] + ["12,5"], "."),
    ],
)
def test_decimal_sign(values: list[str], decimal: str | None) -> None:
    assert detect_decimal(values) == decimal


@pytest.mark.parametrize("values", [["1,234"], ["1.234", "999"], ["12.5", "12,5"]])
def test_no_decimal_sign_is_guessed(values: list[str]) -> None:
    with pytest.raises(Ambiguous):
        detect_decimal(values)


@pytest.mark.parametrize(
    ("values", "date_format", "has_zone"),
    [
        ([], None, False),
        (["2024-01-31"], None, False),
        (["2024-01-31 10:00", "2024-01-31T10:00:00.123"], None, False),
        (["2024-01-31T10:00:00Z"], None, True),
        (["2024-01-31 10:00:00.5+02", "2024-01-31 10:00:00 UTC"], None, True),
        (["31.12.2024"], "%d.%m.%Y", False),
        (["01.02.2024"], "%d.%m.%Y", False),
        (["1.2.2024 9:05"], "%d.%m.%Y %H:%M", False),
        (["31.12.24"], "%d.%m.%y", False),
        (["31/12/2024", "01/02/2024"], "%d/%m/%Y", False),
        (["12/31/2024", "01/02/2024"], "%m/%d/%Y", False),
        (["12/31/2024 10:05 PM"], "%m/%d/%Y %I:%M %p", False),
        (["31-12-2024 10:00:00"], "%d-%m-%Y %H:%M:%S", False),
        (["2024/01/31 10:00:00"], "%Y/%m/%d %H:%M:%S", False),
        (["31.12.2024 10:00:00+01:00"], "%d.%m.%Y %H:%M:%S%z", True),
        (["31-Jan-2024"], "%d-%b-%Y", False),
        (["Jan 31, 2024"], "%b %d, %Y", False),
        (["20240131"], "%Y%m%d", False),
        (["1700000000", "1700000000.5"], "epoch", False),
        (["1700000000123"], "epoch_ms", False),
        (["31/12/2024"] * 3 + ["n/a", "2024-13-45"] + ["30/11/2024", "29/11/2024"], "%d/%m/%Y", False),
    ],
)
def test_date_format(values: list[str], date_format: str | None, has_zone: bool) -> None:
    assert detect_date_format(values) == DateFormat(date_format, has_zone)


@pytest.mark.parametrize(
    "values", [["01/02/2024"], ["03-04-2024 10:00"], ["1/5/24"], ["31/01/2024", "01/31/2024"], ["24-01-30"]]
)
def test_no_date_format_is_guessed(values: list[str]) -> None:
    with pytest.raises(Ambiguous, match=r"may be %"):
        detect_date_format(values)


@pytest.mark.parametrize("values", [["yesterday"], ["99999999"], ["31.02.2024"]])
def test_no_date_at_all(values: list[str]) -> None:
    with pytest.raises(Unreadable, match=f"'{values[0]}' is no date"):
        detect_date_format(values)


def test_every_clock_is_told_from_values_in_it() -> None:
    start = datetime(2024, 1, 1, 13, 5, 7, 250_000)
    for clock in CLOCKS:
        values = [(start + timedelta(days=day, minutes=7 * day)).strftime(f"%d/%m/%Y{clock}") for day in range(60)]
        assert detect_date_format(values).format == f"%d/%m/%Y{clock}"


def test_the_engine_reads_every_format_as_python_does() -> None:
    instant = datetime.fromisoformat("2024-11-23T22:05:07.25+00:00")
    for date_format in DATE_FORMATS:
        text = instant.strftime(date_format)
        with duckdb.connect() as connection:
            ((read,),) = connection.execute("SELECT strptime(?, ?)::TIMESTAMP::VARCHAR", [text, date_format]).fetchall()
        expected = datetime.strptime(text, date_format).replace(tzinfo=None)  # noqa: DTZ007 -- the zone is +00:00
        assert datetime.fromisoformat(read) == expected, date_format


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        ("id\n1\n", "ascii", "utf-8"),
        ("id;name\n1;Müller\n", "utf-8", "utf-8"),
        ("id;name\n1;Müller\n", "utf-8-sig", "utf-8"),
        ("id;name\n1;Müller\n", "utf-16", "utf-16"),
        ("id;name\n1;Müller\n", "utf-16-le", "utf-16-le"),
        ("id;name\n1;Müller\n", "utf-16-be", "utf-16-be"),
        ("id;name\n1;Müller\n2;Köln\n3;Straße\n", "cp1252", "cp1252"),
        ("id;ciudad\n1;Málaga\n2;Coruña\n3;España\n", "cp1252", "cp1252"),
        ("id;price\n1;5 €\n", "cp1252", "cp1252"),
        ("id;city\n1;Łódź\n2;Kraków zażółć\n3;żółw\n", "cp1250", "cp1250"),
        ("id;city\n1;Москва\n2;Санкт-Петербург\n3;новый\n", "cp1251", "cp1251"),
        ("id;şehir\n1;İstanbul\n2;Çankırı\n3;Iğdır\n4;Beyoğlu\n5;Şişli\n", "cp1254", "cp1254"),
        ("id;city\n1;東京\n2;大阪\n", "cp932", "cp932"),
    ],
)
def test_encoding(text: str, encoding: str, found: str) -> None:
    assert detect_encoding(text.encode(encoding)) == found


def test_a_letter_that_the_sample_cuts_in_half_is_still_utf_8() -> None:
    assert detect_encoding("Müller ü".encode()[:-1]) == "utf-8"


NASTY = {
    "quoted commas": ('id;amount;note\n1;"12,5";"a, b, c"\n2;"1,5";"d, e"\n', ";"),
    "decimal commas": ("id;amount;tax\n1;12,5;2,4\n2;13,5;2,6\n", ";"),
    "tabs with everything else in the values": ("id\tamount\tnote\n1\t1,2;3|4\ta;b;c\n2\t5,6;7|8\td;e;f\n", "\t"),
    "pipes with lists in the values": ("id|amount|note\n1|2|a,b,c,d\n2|3|a,b,c,d\n", "|"),
    "commas with semicolons in the values": ("id,amount,note\n1,2,a;b;c;d\n2,3,a;b;c;d\n", ","),
    "a quoted name with the other delimiter in it": ('id,amount,"net; gross; tax"\n1,2,3\n', ","),
    "a header of one column": ("amount\n1\n2\n", ","),
    "rows of different lengths": ("id;amount;note\n1\n2;3;4;5\n;;\n", ";"),
    "no rows": ("id|amount|note\n", "|"),
}


@pytest.mark.parametrize("name", NASTY)
def test_delimiter(name: str) -> None:
    text, delimiter = NASTY[name]
    assert detect_delimiter(text, ["id", "amount"]) == delimiter


def test_knowing_the_columns_beats_the_general_sniffers() -> None:
    def sniffed(text: str) -> str:
        try:
            return csv.Sniffer().sniff(text, delimiters="".join(DELIMITERS)).delimiter
        except csv.Error:
            return ""

    right = sum(sniffed(text) == delimiter for text, delimiter in NASTY.values())
    assert right < len(NASTY)
    for text, delimiter in NASTY.values():
        assert next(csv.reader(io.StringIO(text), delimiter=delimiter))[-1] in (
            "note",
            "tax",
            "amount",
            "net; gross; tax",
        )
