"""Whatever csv.writer writes comes back, with the line numbers a plain second count gives."""

import csv
import gzip
import io
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from include.schemas.source_kinds import SOURCE_KINDS
from include.sources.csv import read_csv
from include.sources.definition import ColumnMapping, CsvOptions, Source
from include.sources.raw_batch import ROW_COLUMN, WRONG_NUMBER_OF_COLUMNS

CHARACTERS = st.sampled_from(list("abz019 äßğ€Жß,;|\t'\"\n\r.-"))
VALUES = st.one_of(st.text(CHARACTERS, max_size=6), st.sampled_from(["", " ", "x", "\r\n", "a\nb\n", '"', '""']))
ENCODINGS = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16", "utf-16-be": "utf-16-be", "cp1251": "cp1251"}


def table(width: int) -> st.SearchStrategy[list[list[str]]]:
    return st.lists(st.lists(VALUES, min_size=width, max_size=width), max_size=12)


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    width = draw(st.integers(1, 4))
    names = [f"column {number}" for number in range(width)]
    if draw(st.booleans()):
        names[-1] += draw(st.sampled_from(["\nbelow", "\r\nbelow"]))
    rows = draw(table(width))
    # Rows of another width, put among the others.
    misshapen = draw(st.lists(st.tuples(st.integers(0, len(rows)), st.booleans()), max_size=3))
    for place, longer in misshapen:
        rows.insert(place, ["bad", *["x\ny"] * width] if longer or width == 1 else ["bad"] * (width - 1))
    return {
        "names": names,
        "rows": rows,
        "needed": draw(st.sets(st.sampled_from(names), min_size=1)),
        "dialect": {
            "delimiter": draw(st.sampled_from([",", ";", "\t", "|"])),
            "lineterminator": draw(st.sampled_from(["\n", "\r\n"])),
            "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        },
        "encoding": draw(st.sampled_from(sorted(ENCODINGS))),
        "zipped": draw(st.booleans()),
        "blank_lines_before": draw(st.integers(0, 2)),
        "end_the_last_line": draw(st.booleans()),
        "batch_rows": draw(st.integers(1, 20)),
        "block_bytes": draw(st.sampled_from([500, 1_000, 1_000_000])),
    }


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(files())
def test_what_is_written_is_read(file: dict[str, Any]) -> None:
    end, codec = file["dialect"]["lineterminator"], file["encoding"]

    def writable(value: str) -> str:
        # Python 3.11's writer leaves a lone carriage return unquoted where it quotes only what it must.
        if file["dialect"]["quoting"] == csv.QUOTE_MINIMAL:
            value = value.replace("\r", "")
        return value.encode(codec, errors="ignore").decode(codec)

    def lines_of(row: list[str]) -> str:
        written = io.StringIO(newline="")
        csv.writer(written, **file["dialect"]).writerow(row)
        return written.getvalue()

    names = [writable(name) for name in file["names"]]
    # The independent count: write row by row, and count line breaks in what was written so far.
    text = end * file["blank_lines_before"] + lines_of(names)
    expected, malformed, blank_lines = [], [], 0
    for row in file["rows"]:
        line = len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
        kept = [writable(value) for value in row]
        text += lines_of(kept)
        if len(row) != len(names):
            malformed.append(line)
        elif not any(value.strip() for value in kept):
            blank_lines += 1
        else:
            values = dict(zip(names, kept, strict=True))
            expected.append({name: values[name] if values[name].strip() else None for name in names} | {"line": line})
    if not file["end_the_last_line"]:
        text = text.removesuffix(end)
    content = text.encode(codec)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sessions.csv"
        path.write_bytes(gzip.compress(content) if file["zipped"] else content)
        source = Source(
            kind=SOURCE_KINDS["sessions"],
            connector="csv",
            columns={"id": ColumnMapping(columns=tuple(sorted(map(writable, file["needed"]))))},
            base_dir=Path(folder),
            path="sessions.csv",
            csv=CsvOptions(delimiter=file["dialect"]["delimiter"], encoding=ENCODINGS[codec], decimal="."),
        )
        batches = list(read_csv(source, batch_rows=file["batch_rows"], block_bytes=file["block_bytes"]))

    read = [row for batch in batches for row in batch.rows.to_pylist()]
    assert [row[ROW_COLUMN] for row in read] == [row["line"] for row in expected]
    for name in source.needed_columns:
        assert [row[name] for row in read] == [row[name] for row in expected]
    found = [one for batch in batches for one in batch.malformed]
    assert sorted(one.row for one in found) == malformed
    assert {one.rule for one in found} <= {WRONG_NUMBER_OF_COLUMNS}
    assert sum(batch.blank_lines for batch in batches) == blank_lines
    assert all(batch.rows.num_rows <= file["batch_rows"] for batch in batches)
