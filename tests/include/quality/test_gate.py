"""The Great Expectations gate: it says what the masks say, and its pages can be read."""

import hashlib
import html
import json
import logging
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import great_expectations as gx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import configs
from include.quality.conversion import ARROW_TYPES, column_types, prepared, select_list
from include.quality.gate import GateFailed, expectations, frames, require_expectations
from include.schemas.rules import row_rules, set_rules
from include.schemas.source_kinds import SOURCE_KINDS, ColumnType
from include.sources.csv import read_csv
from tests.include.quality.conftest import LATEST, MakeSource
from tests.include.quality.test_dirt import DIRT, dirty_file

SESSION_TYPES: dict[str, ColumnType] = {
    "id": "text",
    "client": "text",
    "session_start_date": "instant",
    "has_purchased": "boolean",
    "payment_amount": "money",
    "dimension_region": "text",
    "action_viewed": "boolean",
    "action_paid": "instant",
    "changed_at": "instant",
}


def sessions(count: int, **more: list[Any]) -> pa.Table:
    """Good rows, but for the columns in `more`."""
    values: dict[str, list[Any]] = {
        "id": [f"s{one}" for one in range(count)],
        "client": ["c"] * count,
        "session_start_date": [datetime(2024, 7, 1) + timedelta(hours=one) for one in range(count)],
        "has_purchased": [True] * count,
        "payment_amount": [1] * count,
        "dimension_region": [None] * count,
        "action_viewed": [None] * count,
        "action_paid": [datetime(2024, 7, 1)] * count,
        "changed_at": [None] * count,
        **more,
    }
    return pa.table({name: pa.array(values[name], ARROW_TYPES[kind]) for name, kind in SESSION_TYPES.items()})


def gate(tmp_path: Path, *tables: pa.Table, run_id: str = "manual__2025-01-01T00:00:00+00:00") -> Path:
    """Pass the tables, one a file, through the gate; where the pages are."""
    files = [str(tmp_path / f"part-{number}.parquet") for number in range(len(tables))]
    for file, table in zip(files, tables, strict=True):
        pq.write_table(table, file)
    require_expectations(SOURCE_KINDS["sessions"], SESSION_TYPES, files, run_id=run_id, latest=LATEST)
    return Path(configs.DATA_DOCS_DIR)


def pages(docs: Path) -> set[str]:
    return {str(page.relative_to(docs)) for page in docs.rglob("*.html")}


def validations(docs: Path) -> list[str]:
    return sorted(page.stem for page in docs.rglob("validations/**/*.html"))


@pytest.mark.parametrize("kind", DIRT)
def test_the_suite_finds_the_rows_that_the_masks_find(kind: str, make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source(kind)
    # Python has no date before the year 1, in which this one begins in UTC.
    lines = [line for line in dirty_file(kind).splitlines() if b"0001-01-01" not in line]
    (tmp_path / f"{kind}.csv").write_bytes(b"\n".join([*lines, lines[1], lines[1]]))
    raw = pa.Table.from_batches(
        [batch.rows for batch in read_csv(source, batch_rows=1000, block_bytes=100_000, options=source.csv)]
    )
    rules = row_rules(source.kind, column_types(source), LATEST)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Europe/Berlin'")
        connection.register("raw", prepared(raw))
        connection.execute(f"CREATE TABLE converted AS SELECT {select_list(source, source.csv, raw.schema)} FROM raw")
        found_by = [f"SELECT rowid FROM converted WHERE {rule.condition} ORDER BY 1" for rule in rules]
        masks = {
            rule.name: [row for (row,) in connection.execute(query).fetchall()]
            for rule, query in zip(rules, found_by, strict=True)
        }
        columns = ", ".join(f'"{name}"' for name in column_types(source))
        table = connection.sql(f"SELECT {columns} FROM converted ORDER BY rowid").to_arrow_table()
    empty = {one: one.removesuffix("_missing") for one in masks if one.endswith("_missing")}
    if kind == "sessions":
        empty["purchase_without_amount"] = "payment_amount"
    for name, column in empty.items():  # a value of no type is empty by then
        no_value = (f"{column}_not_a_", f"{column}_with_currency")
        rows = {row for one, found in masks.items() if one == name or one.startswith(no_value) for row in found}
        if name == "purchase_without_amount":
            rows = {row for row in rows if table["has_purchased"][row].as_py()}
        masks[name] = sorted(rows)
    if source.key:
        keys = list(zip(*(table[column].to_pylist() for column in source.key), strict=True))
        repeated = {key for key, count in Counter(keys).items() if count > 1 and None not in key}
        masks[f"duplicate_{source.key[-1]}"] = [row for row, key in enumerate(keys) if key in repeated]

    pq.write_table(table, tmp_path / "converted.parquet")
    (frame,) = frames(column_types(source), [str(tmp_path / "converted.parquet")])
    batch = gx.get_context(mode="ephemeral").data_sources.pandas_default.read_dataframe(frame)
    suite = gx.ExpectationSuite(name=kind, expectations=expectations(source.kind, column_types(source)))
    parameters = {"earliest": datetime(1970, 1, 1), "latest": LATEST}
    found = batch.validate(suite, result_format="COMPLETE", expectation_parameters=parameters)
    suite_rows = {one.expectation_config.meta["rule"]: one.result["unexpected_index_list"] for one in found.results}
    every_rule = (*rules, *set_rules(source.kind, column_types(source)))
    with_expectation = [rule.name for rule in every_rule if rule.expectation is not None]
    assert sorted(suite_rows) == sorted(with_expectation)
    assert suite_rows == {name: masks[name] for name in with_expectation}
    assert all(suite_rows.values())  # each was put to the test


def test_good_rows_pass_in_chunks_that_each_have_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "GX_BATCH_ROWS", 4)
    docs = gate(tmp_path, sessions(7), sessions(3, id=["a", "b", "c"]))
    chunks = ["sessions-rows 1 to 4", "sessions-rows 5 to 8", "sessions-rows 9 to 10"]
    assert validations(docs) == chunks
    first = pages(docs)
    gate(tmp_path, sessions(7), sessions(3, id=["a", "b", "c"]))
    assert pages(docs) == first
    gate(tmp_path, sessions(4), run_id="another")
    assert validations(docs) == sorted([*chunks, "sessions-rows 1 to 4"])


def test_every_link_of_the_pages_leads_to_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "GX_BATCH_ROWS", 1_500)
    docs = gate(tmp_path, sessions(2_000))
    reached, waiting = set(), [docs / "index.html"]
    while waiting:
        page = waiting.pop().resolve()
        if page in reached:
            continue
        reached.add(page)
        for link in re.findall(r'href="([^"#]+)', page.read_text(encoding="utf-8")):
            target = page.parent / unquote(html.unescape(link))
            if "://" not in link and link.partition("?")[0].endswith(".html"):
                assert target.is_file(), f"{page}: {link}"
                waiting.append(target)
    # The index of Great Expectations links with a script; it is reached without one all the same.
    assert reached == {page.resolve() for page in docs.rglob("*.html")}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            {"payment_amount": [1, 1, -2, 1]},
            (
                "sessions: 1 of 4 rows that the rules let through do not meet the expectation against "
                "payment_amount_negative (payment_amount is negative)."
            ),
        ),
        (
            {"id": ["a", "a", None, "b"]},
            (
                "sessions: 1 of 4 rows that the rules let through do not meet the expectation against "
                "id_missing (id is empty)."
            ),
        ),
        (
            {"changed_at": [datetime(2026, 1, 1)] * 2 + [None] * 2},
            (
                "sessions: 2 of 4 rows that the rules let through do not meet the expectation against "
                "changed_at_in_future (changed_at is in the future)."
            ),
        ),
    ],
)
def test_bad_rows_fail_by_name(more: dict[str, list[Any]], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(GateFailed) as raised:
        gate(tmp_path, sessions(4, **more))
    docs = Path(configs.DATA_DOCS_DIR)
    page = docs.resolve() / "sessions" / "pages" / "index.html"
    assert str(raised.value) == f"{sentence} The data docs show more: {page}"
    assert page.is_file()
    assert (docs / "index.html").is_file()


def test_a_bad_chunk_fails_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "GX_BATCH_ROWS", 2)
    with pytest.raises(GateFailed, match="1 of 2 rows"):
        gate(tmp_path, sessions(6, payment_amount=[1, 1, 1, -1, 1, 1]))
    assert len(validations(Path(configs.DATA_DOCS_DIR))) == 3


def test_an_empty_source_passes(tmp_path: Path) -> None:
    docs = gate(tmp_path, sessions(0))
    assert (docs / "index.html").is_file()


def test_the_run_is_dated_when_it_started(tmp_path: Path) -> None:
    docs = gate(tmp_path, sessions(1))
    (results,) = docs.rglob("validation_results/**/*.json")
    time = json.loads(results.read_text())["meta"]["run_id"]["run_time"]
    started = LATEST - timedelta(hours=configs.FUTURE_TOLERANCE_HOURS)
    assert datetime.fromisoformat(time).replace(tzinfo=None) == started


def test_the_project_folder_is_only_read(tmp_path: Path) -> None:
    folder = configs.PROJECT_ROOT / "great_expectations"

    def content() -> dict[str, str]:
        return {str(one): hashlib.sha256(one.read_bytes()).hexdigest() for one in folder.rglob("*") if one.is_file()}

    before = content()
    gate(tmp_path, sessions(2))
    assert content() == before
    assert len(before) == 5


def test_its_import_does_not_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        gate(tmp_path, sessions(1))
    assert {record.name for record in caplog.records} == {"include.quality.gate"}


AT_ONCE = """
import sys
from datetime import datetime
from include.quality.gate import require_expectations
from include.schemas.source_kinds import SOURCE_KINDS
kind, file = sys.argv[1:]
types = {"client": "text", "download_date": "instant"} if kind == "customers" else {"order_id": "text"}
require_expectations(SOURCE_KINDS[kind], types, [file], run_id="r", latest=datetime(2025, 6, 1))
"""


def test_sources_validated_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(
        pa.table({"client": ["a", "b"], "download_date": [datetime(2024, 1, 1)] * 2, "order_id": ["1", "2"]}), file
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE, kind, str(file)],
            cwd=configs.PROJECT_ROOT,
            env={"DATA_DOCS_DIR": configs.DATA_DOCS_DIR, "VAR_DIR": str(tmp_path / "var"), "PYTHONPATH": "."},
            stderr=subprocess.PIPE,
        )
        for kind in ("customers", "deliveries")
    ]
    for process in started:
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
    docs = Path(configs.DATA_DOCS_DIR)
    assert validations(docs) == ["customers-rows 1 to 2", "deliveries-rows 1 to 2"]
    index = (docs / "index.html").read_text()
    assert ">r: customers-rows 1 to 2</a>" in index
    assert ">r: deliveries-rows 1 to 2</a>" in index
    assert not list(docs.glob(".index*"))
