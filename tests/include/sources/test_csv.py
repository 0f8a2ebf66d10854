"""CSV files with everything that real ones have wrong."""

import gzip
import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from include.sources.csv import SAMPLE_BYTES, read_csv, resolve_csv_options
from include.sources.csv_files import csv_files
from include.sources.definition import Action, ColumnMapping, Condition, CsvOptions, Source
from include.sources.problems import SourceError
from include.sources.raw_batch import (
    NOT_VALID_TEXT,
    QUOTE_NOT_CLOSED,
    ROW_COLUMN,
    WRONG_NUMBER_OF_COLUMNS,
    RawBatch,
)
from include.sources.read import check_source

MakeSource = Callable[..., Source]


def read(source: Source, *, batch_rows: int = 1_000, block_bytes: int = 100_000) -> list[RawBatch]:
    return list(read_csv(source, batch_rows=batch_rows, block_bytes=block_bytes))


def rows(batches: list[RawBatch]) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for batch in batches for row in batch.rows.to_pylist()]


def malformed(batches: list[RawBatch]) -> list[tuple[int, str, str]]:
    return [(one.row, one.text, one.rule) for batch in batches for one in batch.malformed]


def blank_lines(batches: list[RawBatch]) -> int:
    return sum(batch.blank_lines for batch in batches)


def test_needed_columns_come_in_the_order_of_the_mapping_with_their_line(
    tmp_path: Path, make_source: MakeSource
) -> None:
    (tmp_path / "s.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    assert rows(read(make_source("s.csv", "c", "a"))) == [("3", "1", 2), ("6", "4", 3)]


def test_malformed_and_blank_lines_leave_the_line_numbers_right(tmp_path: Path, make_source: MakeSource) -> None:
    text = 'a,b\n1,"x\ny"\n2\n\n3,4,5\n"6\n,7",8,9\n , \n7,8\n,,,\n9,10\n11\n'
    (tmp_path / "s.csv").write_text(text)
    batches = read(make_source("s.csv", "a", "b"))
    assert rows(batches) == [("1", "x\ny", 2), ("7", "8", 10), ("9", "10", 12)]
    rule = WRONG_NUMBER_OF_COLUMNS
    assert malformed(batches) == [(4, "2", rule), (6, "3,4,5", rule), (7, '"6\n,7",8,9', rule), (13, "11", rule)]
    assert blank_lines(batches) == 3


def test_empty_and_blank_values_are_null(tmp_path: Path, make_source: MakeSource) -> None:
    (tmp_path / "s.csv").write_text('a,b\n1,\n2,""\n3,"  "\n, x \n')
    assert rows(read(make_source("s.csv", "a", "b"))) == [
        ("1", None, 2),
        ("2", None, 3),
        ("3", None, 4),
        (None, " x ", 5),
    ]


def test_bytes_that_are_no_text_cost_their_row_only(tmp_path: Path, make_source: MakeSource) -> None:
    content = b"a,b,c\n1,\xfc,x\n2,ok,\xff\n\xfe\n3,\xc3\xbc,x\n4,\xed\xa0\x80,x\n"
    (tmp_path / "s.csv").write_bytes(content)
    batches = read(make_source("s.csv", "a", "b", csv=CsvOptions(encoding="utf-8")))
    # Column c is not needed, so what is wrong in it harms nobody.
    assert rows(batches) == [("2", "ok", 3), ("3", "ü", 5)]
    assert malformed(batches) == [
        (2, "1,\\xfc,x", NOT_VALID_TEXT),
        (4, "\\xfe", WRONG_NUMBER_OF_COLUMNS),
        (6, "4,\\xed\\xa0\\x80,x", NOT_VALID_TEXT),
    ]


def test_a_quote_that_nothing_closes_swallows_no_rows_silently(tmp_path: Path, make_source: MakeSource) -> None:
    (tmp_path / "s.csv").write_text('a,b\n1,x\n2,"y\n3,z\n4,z\n')
    batches = read(make_source("s.csv", "a", "b"))
    assert rows(batches) == [("1", "x", 2)]
    assert malformed(batches) == [(3, "2,y\n3,z\n4,z\n", QUOTE_NOT_CLOSED)]
    (tmp_path / "s.csv").write_text('a,b\n1,"x\n"\n')
    assert rows(read(make_source("s.csv", "a", "b"))) == [("1", "x\n", 2)]


@pytest.mark.parametrize("content", [b"a,b\n", b"a,b", b"\xef\xbb\xbfa,b\r\n", b"\r\n\r\na,b\r\n", b"a,b\n\n\n"])
def test_a_file_with_column_names_only_has_no_rows(tmp_path: Path, make_source: MakeSource, content: bytes) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    batches = read(make_source("s.csv", "a", "b"))
    assert rows(batches) == malformed(batches) == []


def test_files_of_one_source_are_read_by_name_whatever_their_column_order(
    tmp_path: Path, make_source: MakeSource
) -> None:
    folder = tmp_path / "with [brackets] # and ?"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "2.csv").write_text("b,a\n20,10\n")
    (folder / "in" / "1.csv").write_text("a,b\n1,2\n")
    (folder / "in" / "3.CSV.gz").write_bytes(gzip.compress(b"x,b,a\n0,200,100\n"))
    (folder / "in" / "notes.txt").write_text("no data")
    batches = read(make_source("in", "a", "b", base_dir=folder))
    assert rows(batches) == [("1", "2", 2), ("10", "20", 2), ("100", "200", 2)]
    assert [batch.file for batch in batches] == ["in/1.csv", "in/2.csv", "in/3.CSV.gz"]
    assert rows(read(make_source("in/[12].csv", "a", base_dir=folder))) == [("1", 2), ("10", 2)]
    assert rows(read(make_source("**/*.gz", "a", base_dir=folder))) == [("100", 2)]
    assert rows(read(make_source(str(folder / "in" / "2.csv"), "a"))) == [("10", 2)]
    assert rows(read(make_source(f"file://{folder}/in/2.csv", "a"))) == [("10", 2)]


def test_a_zipped_file_is_known_by_its_content(tmp_path: Path, make_source: MakeSource) -> None:
    # Two members on end, as `cat a.gz b.gz` makes them.
    (tmp_path / "s.csv").write_bytes(gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n"))
    assert rows(read(make_source("s.csv", "a"))) == [("1", 2), ("3", 3)]
    (tmp_path / "plain.csv.gz").write_text("a,b\n1,2\n")
    assert rows(read(make_source("plain.csv.gz", "a"))) == [("1", 2)]


def test_batch_and_block_sizes_do_not_matter(tmp_path: Path, make_source: MakeSource) -> None:
    chance = random.Random(7)
    lines = ["id,text"]
    for number in range(3_000):
        kinds = (f'{number},"two\nlines"', f"{number}", f"{number},ü,3", "", f"{number},\xff", f"{number},plain")
        lines.append(chance.choices(kinds, weights=(2, 1, 1, 1, 1, 20))[0])
    (tmp_path / "s.csv").write_bytes("\n".join(lines).encode("utf-8").replace("\xff".encode(), b"\xff"))
    source = make_source("s.csv", "id", "text", csv=CsvOptions(encoding="utf-8"))
    whole = read(source, batch_rows=1_000_000, block_bytes=10_000_000)
    for batch_rows, block_bytes in ((1, 100), (7, 1_001), (500, 4_096), (100_000, 65_536)):
        pieces = read(source, batch_rows=batch_rows, block_bytes=block_bytes)
        assert rows(pieces) == rows(whole)
        assert malformed(pieces) == malformed(whole)
        assert blank_lines(pieces) == blank_lines(whole)
        assert max(batch.rows.num_rows for batch in pieces) <= batch_rows
        assert {batch.rows.schema.field(ROW_COLUMN).type.bit_width for batch in pieces} == {64}


def test_values_that_the_encoding_cannot_decode(tmp_path: Path, make_source: MakeSource) -> None:
    (tmp_path / "s.csv").write_bytes("id,name\n1,Łódź\n".encode("cp1250") + b"2,\x81\n3,x\n")
    batches = read(make_source("s.csv", "id", "name", csv=CsvOptions(encoding="cp1250")))
    assert rows(batches) == [("1", "Łódź", 2), ("3", "x", 4)]
    assert malformed(batches) == [(3, "2,\\x81", NOT_VALID_TEXT)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"s\.csv is empty: it has not even a line with column names\."),
        (b"\n\n", r"s\.csv is empty"),
        (
            b"order,amout\n1,2\n",
            r"s\.csv has no column 'amount' \(did you mean 'amout'\?\).* its columns are 'order', 'am",
        ),
        (b"amount,amount\n1,2\n", r"s\.csv has 2 columns called 'amount', of which only one may stay"),
        (b'amount,"x\n' + b"1\n" * 100_000, r"s\.csv: the column names cannot be read; is a quote not closed there\?"),
        (
            b"amount,b\n1,2\n" + b'3,"' + b"x" * 300_000 + b"\n",
            r"a row at or after line 3 is longer than 100,000 bytes",
        ),
        (
            gzip.compress(b"amount\n" + random.Random(1).randbytes(5_000))[:2_000],
            r"s\.csv is damaged, it is not a whole gz",
        ),
        (b"\x1f\x8bno gzip at all", r"s\.csv is damaged, it is not a whole gzip file; copy it again"),
        (b"\x1f\x8b\x08\x00" + b"\x07" * 300, r"s\.csv is damaged"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(
    tmp_path: Path, make_source: MakeSource, content: bytes, sentence: str
) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(SourceError, match=sentence) as caught:
        read(make_source("s.csv", "amount"))
    assert "\n" not in str(caught.value)


def test_rows_before_one_that_is_too_long_are_read(tmp_path: Path, make_source: MakeSource) -> None:
    (tmp_path / "s.csv").write_text("a\n" + "1\n" * 3_000 + "x" * 5_000 + "\n")
    seen: list[RawBatch] = []
    with pytest.raises(SourceError, match=r"at or after line (2\d{3}|3001|3002) is longer than 1,000 bytes") as caught:
        seen.extend(read_csv(make_source("s.csv", "a"), batch_rows=100, block_bytes=1_000))
    assert "\n" not in str(caught.value)
    assert len(rows(seen)) > 2_000


def test_a_file_that_begins_with_endless_malformed_rows_is_given_up(
    tmp_path: Path, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.sources.csv.MALFORMED_IN_A_ROW_CHARACTERS", 10_000)
    (tmp_path / "s.csv").write_text("a,b\n" + "1,2,\n" * 10_000)
    sentence = (
        r"s.csv: from line 2 on, no row has as many values as there are column names \(2, with the delimiter ','\)"
    )
    with pytest.raises(SourceError, match=sentence) as caught:
        read(make_source("s.csv", "a"), block_bytes=1_000)
    assert "\n" not in str(caught.value)


def test_where_there_is_no_file(tmp_path: Path, make_source: MakeSource) -> None:
    for path in ("nothing.csv", "no/folder/x.csv"):
        with pytest.raises(
            SourceError, match=rf"sessions: there is no {path}; correct `path` in sources.yaml"
        ) as caught:
            csv_files(make_source(path, "a"))
        assert "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    for path in ("empty", "*.csv", "nothing/*.csv"):
        with pytest.raises(SourceError, match=r"sessions: no CSV file is at .*; correct `path`") as caught:
            csv_files(make_source(path, "a"))
        assert "\n" not in str(caught.value)
    with pytest.raises(SourceError, match="Airflow has no connection 'nobody'; add it, or correct") as caught:
        csv_files(make_source("*.csv", "a", connection="nobody"))
    assert "\n" not in str(caught.value)


def typed_source(make_source: MakeSource, csv: CsvOptions | None = None) -> Source:
    columns = {
        "id": ColumnMapping(columns=("id",)),
        "session_start_date": ColumnMapping(columns=("day",)),
        "payment_amount": ColumnMapping(columns=("amount",)),
    }
    actions = (Action("viewed", "viewed", "instant"),)
    return make_source("s.csv", columns=columns, actions=actions, csv=csv)


def test_what_is_not_set_is_told_from_the_file(tmp_path: Path, make_source: MakeSource) -> None:
    text = "id;day;amount;viewed;name\n1;31.01.2024;1.234,50;2024-01-31T10:00:00Z;Müller\n2;01.02.2024;5;;Jörg\n"
    (tmp_path / "s.csv").write_bytes(text.encode("cp1252"))
    formats = {"session_start_date": "%d.%m.%Y", "action_viewed": None}
    assert resolve_csv_options(typed_source(make_source)) == CsvOptions(";", "cp1252", ",", formats, "UTC")
    given = CsvOptions(";", "iso-8859-1", ".", {"session_start_date": "%m.%d.%Y"}, "Europe/Berlin")
    resolved = resolve_csv_options(typed_source(make_source, given))
    formats = {"session_start_date": "%m.%d.%Y", "action_viewed": None}
    assert resolved == CsvOptions(";", "iso-8859-1", ".", formats, "Europe/Berlin")


def test_a_first_file_without_rows_leaves_it_to_the_next(tmp_path: Path, make_source: MakeSource) -> None:
    (tmp_path / "1.csv").write_text("id;day;amount;viewed\n")
    (tmp_path / "2.csv").write_text("\n")
    (tmp_path / "3.csv").write_bytes("amount;id;day;viewed\n1.234,50;ü;31/12/2024;\n".encode("cp1252"))
    source = replace(typed_source(make_source), path="*.csv")
    formats = {"session_start_date": "%d/%m/%Y", "action_viewed": None}
    assert resolve_csv_options(source) == CsvOptions(";", "cp1252", ",", formats, "UTC")


def test_numbers_in_a_condition_tell_the_decimal_sign_too(tmp_path: Path, make_source: MakeSource) -> None:
    (tmp_path / "s.csv").write_text("id;total\n1;1.234\n2;0,5\n")
    bought = ColumnMapping(condition=Condition("total", "greater_than", 0))
    columns = {"id": ColumnMapping(columns=("id",)), "has_purchased": bought}
    assert resolve_csv_options(make_source("s.csv", columns=columns)).decimal == ","


def test_a_row_that_the_sample_cuts_off_says_nothing(tmp_path: Path, make_source: MakeSource) -> None:
    line = "1,31/12/2024,1.5,\n"
    (tmp_path / "s.csv").write_text("id,day,amount,viewed\n" + line * (2 * SAMPLE_BYTES // len(line)))
    options = resolve_csv_options(typed_source(make_source))
    assert options.date_format["session_start_date"] == "%d/%m/%Y"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            "1,01/02/2024,5,",
            r"s.csv, column 'day': '01/02/2024' may be %d/%m/%Y or %m/%d/%Y; set sessions.csv.date_format",
        ),
        (
            "1,yesterday,5,",
            r"s.csv, column 'day': 'yesterday' is no date in a format known here; set sessions.csv.date_f",
        ),
        (
            '1,2024-01-01,"1,234",',
            r"column 'amount': '1,234' may be in the thousands or .*; set sessions.csv.decimal in",
        ),
    ],
)
def test_what_has_two_readings_is_asked(tmp_path: Path, make_source: MakeSource, row: str, sentence: str) -> None:
    (tmp_path / "s.csv").write_text(f"id,day,amount,viewed\n{row}\n")
    with pytest.raises(SourceError, match=sentence) as caught:
        resolve_csv_options(typed_source(make_source))
    assert "\n" not in str(caught.value)


def test_check_source_reports_what_is_there(tmp_path: Path, make_source: MakeSource) -> None:
    (tmp_path / "1.csv").write_text("a;b;c\n1;2;3\n")
    (tmp_path / "2.csv").write_text("c;a;b\n1;2;3\n")
    for number in (1, 2):
        os.utime(tmp_path / f"{number}.csv", (1_700_000_000 + number,) * 2)
    check = check_source(make_source("*.csv", "a", "b"))
    assert (check.files, check.bytes, check.columns) == (("1.csv", "2.csv"), 24, ("a", "b", "c"))
    assert check.unused_columns == ("c",)
    assert check.options.delimiter == ";"
    assert json.loads(json.dumps(check.summary())) == {
        "files": 2,
        "first_file": "1.csv",
        "bytes": 24,
        "columns": ["a", "b", "c"],
        "unused_columns": ["c"],
        "mapping": {"id": ["a", "b"]},
        "options": {"delimiter": ";", "encoding": "utf-8", "decimal": ".", "date_format": {}, "timezone": "UTC"},
        "rows": 2,
        "newest": "2023-11-14 22:13:22+0000",
    }
    (tmp_path / "2.csv").write_text("c;a\n1;2\n")
    with pytest.raises(SourceError, match=r"2.csv has no column 'b'") as caught:
        check_source(make_source("*.csv", "a", "b"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [False, True])
def test_rows_are_estimated_from_the_beginning(tmp_path: Path, make_source: MakeSource, zipped: bool) -> None:
    lines = random.Random(1)
    text = "a,b\n" + "".join(f'{number},"{lines.randbytes(20).hex()}\n"\n' for number in range(60_000))
    assert len(text) > 2 * SAMPLE_BYTES
    (tmp_path / "s.csv").write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    check = check_source(make_source("s.csv", "a", "b"))
    assert check.rows == pytest.approx(60_000, rel=0.1)
