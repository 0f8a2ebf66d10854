"""Accounting, periods, killed tasks and set rules, over what extraction and validation write."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import configs
from include.quality import extract
from include.quality.extract import Extracted, extract_rows
from include.quality.quarantine import place_of
from include.quality.validate import TooManyBadRows, require_few_bad_rows
from include.schemas.source_kinds import SOURCE_KINDS
from include.sources.csv import read_csv
from include.sources.definition import ColumnMapping, CsvOptions, Source
from include.sources.raw_batch import RawBatch
from include.staging.storage import storage
from tests.include.quality.conftest import LATEST, Extract, MakeSource, leftovers, rows_of

OPTIONS = CsvOptions(",", "utf-8", ".", {"session_start_date": None}, "Europe/Berlin")
COLUMNS = {
    "id": ColumnMapping(columns=("i",)),
    "client": ColumnMapping(columns=("c",)),
    "session_start_date": ColumnMapping(columns=("d",)),
    "has_purchased": ColumnMapping(constant=True),
    "payment_amount": ColumnMapping(columns=("p",)),
}
HEADER = "i,c,d,p\n"


def sessions(folder: Path) -> Source:
    return Source(SOURCE_KINDS["sessions"], "csv", COLUMNS, folder, path="s.csv", csv=OPTIONS)


def extracted(folder: Path, text: str, *, batch_rows: int = 100, **more: Any) -> Extracted:
    source = sessions(folder)
    (folder / "s.csv").write_text(text)
    batches = read_csv(source, batch_rows=batch_rows, block_bytes=100, options=OPTIONS)
    return extract_rows(source, batches, OPTIONS, target=storage(folder / "run"), run_id="r", latest=LATEST, **more)


def set_aside(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted((folder / "run" / "quarantine").rglob("*.parquet")) for row in rows_of([str(file)])]


value = st.sampled_from(["", "a", "é", "2024-07-01", "2024-07-01T22:30:00Z", "2024-07-02T21:59:59Z", "9", "-1", "x,y"])
line = st.lists(value, min_size=4, max_size=4).map(",".join) | st.sampled_from(
    ["1,a,2024-07-02,5", "1,b,2024-06-30,1", ""]
)


@given(st.lists(line, max_size=40), st.integers(1, 50), st.booleans())
@settings(max_examples=40)
def test_every_row_is_somewhere_whatever_the_batches(lines: list[str], batch_rows: int, with_period: bool) -> None:
    period = {"start": date(2024, 7, 1), "end": date(2024, 7, 2)} if with_period else {}
    text = HEADER + "".join(one + "\n" for one in lines)
    with TemporaryDirectory() as name:
        folder = Path(name)
        once = extracted(folder, text, batch_rows=1000, **period)
        whole = rows_of(once.files), set_aside(folder)
        again = extracted(folder, text, batch_rows=batch_rows, **period)
        assert asdict(again) == asdict(once)
        assert (rows_of(again.files), set_aside(folder)) == whole
        assert once.read == once.good + once.quarantined + once.outside_window
        assert once.read + once.blank_lines == len(lines)
        assert (once.good, once.quarantined) == (len(whole[0]), len(whole[1]))
        assert not list(leftovers(folder))


@pytest.mark.parametrize("business", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_the_period_is_of_days_in_the_business_time_zone(
    business: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", business)
    times = [datetime(2024, 6, 30, hour, tzinfo=UTC) for hour in range(24)]
    times += [datetime(2024, 7, day, hour, 59, 59, tzinfo=UTC) for day in (1, 2, 3) for hour in range(24)]
    text = HEADER + "".join(f"{one:%d%H},a,{one:%Y-%m-%dT%H:%M:%SZ},1\n" for one in times)
    days = {f"{one:%d%H}": one.astimezone(ZoneInfo(business)).date() for one in times}
    for start, end in ((date(2024, 7, 1), date(2024, 7, 2)), (date(2024, 7, 2), None), (None, date(2024, 6, 30))):
        found = extracted(tmp_path, text, start=start, end=end)
        wanted = [name for name, day in days.items() if (start or day) <= day <= (end or day)]
        assert [row["id"] for row in rows_of(found.files)] == wanted
        assert found.outside_window == len(times) - len(wanted)


def test_a_bad_row_outside_the_period_is_bad(tmp_path: Path) -> None:
    found = extracted(tmp_path, HEADER + "1,a,2024-01-01,-5\n", start=date(2024, 7, 1))
    assert (found.quarantined, found.outside_window) == (1, 0)


def test_customers_have_no_period(make_source: MakeSource, extract: Extract) -> None:
    text = "their_client,their_download_date,their_signup_date,their_joined\nc,2020-01-01,,\n"
    assert extract(make_source("customers"), text, start=date(2024, 7, 1)).good == 1


class Killed(BaseException):
    """What ends a task from outside."""


def test_a_task_killed_midway_leaves_nothing_and_a_retry_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.quality.extract.PART_ROWS", 20)
    monkeypatch.setattr(configs, "EXTRACT_BATCH_ROWS", 10)
    text = HEADER + "".join(f"{one},a,2024-07-01,{one % 7 - 1}\n" for one in range(200))
    whole = extracted(tmp_path, text, batch_rows=10)
    expected = rows_of(whole.files), set_aside(tmp_path)
    assert len(whole.files) > 5
    assert len({row["id"] for row in expected[0]}) == whole.good
    assert len(expected[1]) == whole.quarantined > 0

    def cut_off(batches: Iterator[RawBatch]) -> Iterator[RawBatch]:
        for _ in range(7):
            yield next(batches)
        raise Killed

    source = sessions(tmp_path)
    run = tmp_path / "run"
    with suppress(Killed):
        batches = cut_off(read_csv(source, batch_rows=10, block_bytes=100, options=OPTIONS))
        extract_rows(source, batches, OPTIONS, target=storage(run), run_id="r", latest=LATEST)
        pytest.fail("it was not killed")
    assert not list(leftovers(tmp_path))
    assert not list((run / "quarantine").rglob("*.parquet"))
    assert all(len(rows_of([str(part)])) >= 20 for part in (run / "landing").rglob("*.parquet"))  # whole ones only

    # Nor does what a longer first try left stay.
    stray = run / "landing" / "sessions" / "part-00099.parquet"
    stray.write_bytes(b"")
    again = extracted(tmp_path, text, batch_rows=10)
    assert asdict(again) == asdict(whole)
    assert (rows_of(again.files), set_aside(tmp_path)) == expected
    assert sorted(map(str, (run / "landing").rglob("*.parquet"))) == sorted(storage(file).path for file in whole.files)


def test_what_extraction_returns_can_be_handed_on_as_json(tmp_path: Path) -> None:
    found = extracted(tmp_path, HEADER + "1,a,2024-07-01,1\n2,a,2024-07-01,x\n")
    assert Extracted(**json.loads(json.dumps(found.as_reference()))) == found


def test_the_share_of_bad_rows_that_is_still_fine(make_source: MakeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_source("sessions")
    require_few_bad_rows(source, Extracted("sessions", read=100, quarantined=5, by_rule={"id_missing": 5}))
    require_few_bad_rows(source, Extracted("sessions"))
    with pytest.raises(TooManyBadRows, match=r"6 of 100 rows \(6.0%\) are bad, more than MAX_QUARANTINED_SHARE"):
        require_few_bad_rows(source, Extracted("sessions", read=100, quarantined=6, by_rule={"id_missing": 6}))
    monkeypatch.setattr(configs, "MAX_QUARANTINED_SHARE", 0.06)
    require_few_bad_rows(source, Extracted("sessions", read=100, quarantined=6, by_rule={"id_missing": 6}))


def test_only_so_many_examples_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "MAX_QUARANTINED_ROWS_LOGGED", 2)
    found = extracted(tmp_path, HEADER + "1,a,2024-07-01,x\n" * 5)
    assert found.by_rule == {"payment_amount_not_a_number": 5}
    assert len(found.examples["payment_amount_not_a_number"]) == 2


def test_batches_of_large_values_are_not_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "GATHERED_BYTES", 1_000)
    batches = [RawBatch(pa.RecordBatch.from_pydict({"a": ["x" * size]}), "f") for size in (300, 300, 600, 5_000, 300)]
    sizes = [[len(text) for text in one.rows["a"].to_pylist()] for one in extract._gathered(batches)]
    assert sizes == [[300, 300], [600], [5_000], [300]]


def test_a_row_is_found_by_its_line_in_a_file_and_by_its_key_in_a_table(make_source: MakeSource) -> None:
    file = make_source("sessions")
    table = replace(file, connector="postgres", path=None, table="visits")
    assert place_of(file, "a.csv", 7, "s1") == "a.csv line 7"
    assert place_of(table, "visits", 7, "s1") == "visits row 7, key s1"
    assert place_of(table, "visits", 7, None) == "visits row 7"
