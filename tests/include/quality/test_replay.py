"""Quarantined rows judged again: what comes in, what stays and why, and that repeating it changes nothing."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import configs
from include.quality.extract import Extracted, extract_rows
from include.quality.quarantine import forget_old, quarantined_runs
from include.quality.replay import Replayed, mark, revalidate
from include.quality.validate import validate_rows
from include.sources.csv import read_csv
from include.sources.definition import Action, ColumnMapping, CsvOptions, DatabaseOptions, Source
from include.sources.raw_batch import RawBatch
from include.staging.merge import merge
from include.staging.snapshot import Snapshot, Table, load_snapshot
from include.staging.storage import storage
from tests.include.quality.conftest import ISO_EVERYWHERE, LATEST, MakeSource, rows_of

SESSIONS = {
    "id": ColumnMapping(columns=("i",)),
    "client": ColumnMapping(columns=("c",)),
    "session_start_date": ColumnMapping(columns=("d",)),
    "has_purchased": ColumnMapping(constant=True),
    "payment_amount": ColumnMapping(columns=("p",)),
}
CUSTOMERS = {"client": ColumnMapping(columns=("c",)), "download_date": ColumnMapping(columns=("d",))}
PRODUCTS = {
    "order_id": ColumnMapping(columns=("o",)),
    "product": ColumnMapping(columns=("n",)),
    "price": ColumnMapping(columns=("p",)),
}
COMMA = CsvOptions(delimiter=";", encoding="utf-8", decimal=",", date_format=ISO_EVERYWHERE, timezone="Europe/Berlin")
POINT = CsvOptions(delimiter=";", encoding="utf-8", decimal=".", date_format=ISO_EVERYWHERE, timezone="Europe/Berlin")
DAY = "2024-07-01T12:00:00.123456"


@pytest.fixture(autouse=True)
def every_share_of_bad_rows_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "MAX_QUARANTINED_SHARE", 1.0)


class Shop:
    """Sources in a folder, loaded and replayed as the DAGs do it, without Airflow and Elasticsearch."""

    def __init__(self, folder: Path, make_source: MakeSource) -> None:
        self.folder, self.make_source, self.runs = folder, make_source, 0
        self.sources: dict[str, Source] = {}
        self.define("customers", CUSTOMERS)
        self.define("sessions", SESSIONS)

    def define(self, kind: str, columns: dict[str, ColumnMapping], csv: CsvOptions = COMMA, **more: Any) -> None:
        plain: dict[str, Any] = {"actions": (), "dimensions": {}, **more} if kind in ("sessions", "customers") else more
        self.sources[kind] = self.make_source(kind, columns=columns, csv=csv, **plain)

    def write(self, **texts: str) -> None:
        for kind, text in texts.items():
            (self.folder / f"{kind}.csv").write_text(text, encoding="utf-8")

    def load(self, *, stages: bool = True, **texts: str) -> str:
        """A run of customer_analytics, with rules about the whole load for the given sources alone; its key."""
        self.write(**texts)
        self.runs += 1
        key = f"run_{self.runs}"
        latest = LATEST + timedelta(hours=self.runs)
        validated: dict[str, Any] = {}
        for kind, source in self.sources.items():
            target = storage(configs.STAGING_URL) / "runs" / key
            batches = read_csv(source, batch_rows=2, block_bytes=1000, options=source.csv)
            found = extract_rows(source, batches, source.csv, target=target, run_id=key, latest=latest)
            validated[kind] = found
            if kind == "customers" or kind not in texts:
                continue
            validated[kind] = validate_rows(
                source,
                found,
                customer_files=validated["customers"].files if kind == "sessions" else (),
                snapshot=load_snapshot(),
                target=target,
                run_id=key,
                latest=latest,
            )
        if stages:
            merge({kind: one.files for kind, one in validated.items()}, run_key=key, time_zone="UTC")
        return key

    def replay(
        self, *, marks: bool = True, stages: bool = True, rules: tuple[str, ...] = ()
    ) -> dict[str, tuple[int, int, dict[str, int]]]:
        """A run of replay_quarantine; per kind the rows that pass, those that are new, why the rest stays."""
        self.runs += 1
        key = f"replay_{self.runs}"
        found: dict[str, Replayed] = {}
        runs = quarantined_runs()
        for kind, source in self.sources.items():
            snapshot = load_snapshot()
            assert snapshot is not None
            found[kind] = revalidate(
                source,
                source.csv,
                runs,
                rules=rules,
                customer_files=found["customers"].files if kind == "sessions" else (),
                earlier={},
                snapshot=snapshot,
                target=storage(configs.STAGING_URL) / "runs" / key,
                run_id=key,
                latest=LATEST + timedelta(hours=self.runs),
            )
        if stages:
            merge({kind: one.files for kind, one in found.items()}, run_key=key, time_zone="UTC")
        for kind, one in found.items() if marks else ():
            for run in runs:
                mark(run, kind, one.verdicts)
        return {kind: (one.loaded, one.staged, one.by_rule) for kind, one in found.items() if one.considered}


@pytest.fixture
def shop(tmp_path: Path, make_source: MakeSource) -> Shop:
    made = Shop(tmp_path, make_source)
    made.write(customers=f"c;d\nann;{DAY}\n", sessions="i;c;d;p\n")
    return made


def staged(query: str) -> list[tuple[Any, ...]]:
    snapshot = load_snapshot()
    assert snapshot is not None
    with snapshot.connect() as connection:
        return connection.execute(query).fetchall()


def amounts() -> dict[str, str]:
    return dict(staged("SELECT id, payment_amount::VARCHAR FROM sessions"))


def lines() -> list[tuple[Any, ...]]:
    return staged("SELECT order_id, product, price::VARCHAR FROM basket ORDER BY ALL")


def in_quarantine() -> list[tuple[str, int, list[str], bool]]:
    """Run, row, rules and whether it was replayed, of all rows."""
    files = str(Path(configs.STAGING_URL) / "runs" / "*" / "quarantine" / "*" / "*.parquet")
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT run_id, row, rules, is_replayed FROM '{files}' ORDER BY ALL").fetchall()


def state() -> tuple[Any, ...]:
    """All that a replay changes."""
    snapshot = load_snapshot()
    assert snapshot is not None
    return snapshot.version, in_quarantine()


def test_a_session_comes_in_once_its_client_is_known_with_exactly_its_values(shop: Shop) -> None:
    shop.load(sessions=f"i;c;d;p\n1;ann;{DAY};1\n2;bob;{DAY};12345678901234,5678\n3;cyd;{DAY};3\n")
    assert in_quarantine() == [("run_1", 3, ["client_unknown"], False), ("run_1", 4, ["client_unknown"], False)]
    shop.load(customers=f"c;d\nann;{DAY}\nbob;{DAY}\n", sessions="i;c;d;p\n")
    assert shop.replay() == {"sessions": (1, 1, {"client_unknown": 1})}
    assert amounts() == {"1": "1.0000", "2": "12345678901234.5678"}
    ((start,),) = staged("SELECT session_start_date FROM sessions WHERE id = '2'")
    assert start == datetime(2024, 7, 1, 10, 0, 0, 123456)
    assert in_quarantine() == [("run_1", 3, ["client_unknown"], True), ("run_1", 4, ["client_unknown"], False)]
    before = state()
    assert shop.replay() == {"sessions": (0, 0, {"client_unknown": 1})}
    assert state() == before


def test_a_quarantined_customer_brings_its_sessions_along(shop: Shop) -> None:
    shop.load(customers=f"c;d\nann;{DAY}\nbob;01.07.2024\n", sessions=f"i;c;d;p\n1;bob;{DAY};1\n")
    formats = {**ISO_EVERYWHERE, "download_date": "%d.%m.%Y"}
    shop.define("customers", CUSTOMERS, CsvOptions(";", "utf-8", ",", formats, "Europe/Berlin"))
    assert shop.replay() == {"customers": (1, 1, {}), "sessions": (1, 1, {})}
    assert amounts() == {"1": "1.0000"}


def test_rows_are_read_by_the_mapping_of_now(shop: Shop) -> None:
    text = f"i;c;d;p;net\n1;ann;{DAY};dear;5,5\n2;ann;{DAY};1.5;2\n3;ann;never;1;1\n4;ann;{DAY};1\n"
    shop.load(sessions=text)
    by_row = {row: rules for _, row, rules, _ in in_quarantine()}
    assert by_row == {
        2: ["payment_amount_not_a_number"],
        3: ["payment_amount_not_a_number"],
        4: ["session_start_date_not_a_date"],
        5: ["wrong_number_of_columns"],
    }
    # A decimal point is what row 3 wanted. A rule that is not asked for is left alone.
    shop.define("sessions", SESSIONS, POINT)
    assert shop.replay(rules=("payment_amount_not_a_number",)) == {
        "sessions": (1, 1, {"payment_amount_not_a_number": 1})
    }
    assert amounts() == {"2": "1.5000"}
    # Another column was not kept; and a line that could not be split can be, once its file has as many names.
    shop.define("sessions", {**SESSIONS, "discount_amount": ColumnMapping(columns=("net",))}, POINT)
    assert shop.replay() == {"sessions": (0, 0, {"column_not_read": 2, "wrong_number_of_columns": 1})}
    shop.write(sessions="i;c;d;p\n")
    shop.define("sessions", SESSIONS, POINT)
    assert shop.replay() == {"sessions": (1, 1, {"payment_amount_not_a_number": 1, "session_start_date_not_a_date": 1})}
    assert amounts() == {"2": "1.5000", "4": "1.0000"}


def test_a_converted_row_does_not_outlive_its_mapping(shop: Shop) -> None:
    shop.load(sessions=f"i;c;d;p\n1;bob;{DAY};1,5\n")
    shop.define("sessions", SESSIONS, POINT)
    shop.load(customers=f"c;d\nann;{DAY}\nbob;{DAY}\n", sessions="i;c;d;p\n")
    assert shop.replay() == {"sessions": (0, 0, {"mapping_changed": 1})}
    assert in_quarantine() == [("run_1", 2, ["mapping_changed"], False)]
    shop.define("sessions", SESSIONS, COMMA)
    assert shop.replay() == {"sessions": (1, 1, {})}
    assert amounts() == {"1": "1.5000"}


def test_an_older_row_never_takes_the_place_of_a_newer_one(shop: Shop) -> None:
    shop.load(sessions=f"i;c;d;p\n1;ann;{DAY};x1\n2;ann;{DAY};x2\n2;ann;{DAY};2\n")
    shop.load(sessions=f"i;c;d;p\n1;ann;{DAY};9\n3;ann;{DAY};x3\n")
    shop.load(sessions=f"i;c;d;p\n3;ann;{DAY};33x\n")
    shop.sources["sessions"] = shop.make_source(
        "sessions",
        columns={**SESSIONS, "payment_amount": ColumnMapping(constant=7)},
        csv=COMMA,
        actions=(),
        dimensions={},
    )
    # 1 and 2 are staged; of the two versions of 3 the last run's comes in, the other is its equal now.
    assert shop.replay() == {"sessions": (2, 1, {"duplicate_id": 2})}
    assert amounts() == {"1": "9.0000", "2": "2.0000", "3": "7.0000"}
    before = state()
    assert shop.replay() == {"sessions": (0, 0, {"duplicate_id": 2})}
    assert state() == before


def test_the_newest_change_wins_wherever_it_is(shop: Shop) -> None:
    shop.define("sessions", SESSIONS, changed_at="u")
    header = "i;c;d;p;u\n"
    shop.load(sessions=f"{header}1;ann;{DAY};1;2024-08-02\n2;ann;{DAY};1;2024-08-02\n3;bob;{DAY};5;2024-08-05\n")
    shop.load(sessions=f"{header}1;bob;{DAY};2;2024-08-01\n2;bob;{DAY};2;2024-08-03\n3;bob;{DAY};4;2024-08-04\n")
    shop.load(customers=f"c;d\nann;{DAY}\nbob;{DAY}\n", sessions=header)
    assert shop.replay(marks=False) == {"sessions": (2, 2, {"duplicate_id": 2})}
    assert amounts() == {"1": "1.0000", "2": "2.0000", "3": "5.0000"}
    # Killed before the rows were marked: the same end.
    version, _ = state()
    assert shop.replay() == {"sessions": (2, 0, {"duplicate_id": 2})}
    assert state()[0] == version
    assert [row[3] for row in in_quarantine()].count(True) == 2


def test_killed_anywhere_and_repeated_it_ends_in_the_same_state(shop: Shop) -> None:
    text = "i;c;d;p\n" + "".join(f"{number};bob;{DAY};{number}\n" for number in range(5))
    shop.load(sessions=text)
    shop.load(sessions=text)  # the same rows, set aside twice
    shop.load(customers=f"c;d\nann;{DAY}\nbob;{DAY}\n")
    shop.replay(stages=False, marks=False)
    shop.replay(marks=False)
    shop.replay()
    ended = state()
    assert [row[3] for row in ended[1]] == [True] * 10
    assert len(amounts()) == 5
    assert shop.replay() == {}
    assert state() == ended


def test_values_of_a_database_come_back_as_they_were(
    tmp_path: Path, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", "Europe/Berlin")
    source = make_source(
        "sessions",
        columns={**SESSIONS, "has_purchased": ColumnMapping(columns=("h",)), "end_date": ColumnMapping(columns=("e",))},
        actions=(Action("seen", "a", "boolean"),),
        dimensions={"region": "r"},
        changed_at="u",
    )
    source = replace(source, connector="postgres", path=None, table="t", csv=CsvOptions())
    good = {
        "i": pa.array(["1"]),
        "c": pa.array(["ann"]),
        "d": pa.array([datetime(2024, 7, 1, 10, 0, 0, 5, tzinfo=UTC)], pa.timestamp("us", "UTC")),
        "h": pa.array([True]),
        "p": pa.array([Decimal("12345678901234.5678")], pa.decimal128(18, 4)),
        "e": pa.array([datetime(2024, 10, 27, 2, 30)], pa.timestamp("us")),  # twice on that day, in Berlin
        "a": pa.array([False]),
        "r": pa.array(['no "rth'], pa.string()),
        "u": pa.array([date(2024, 7, 2)]),
    }
    target = storage(configs.STAGING_URL) / "runs"

    def extract(key: str, columns: dict[str, pa.Array]) -> Extracted:
        rows = pa.RecordBatch.from_pydict({**columns, "_row": pa.array([1])})
        options = DatabaseOptions()
        return extract_rows(source, [RawBatch(rows, "t")], options, target=target / key, run_id=key, latest=LATEST)

    landed = extract("good", good)
    bad = extract("bad", {**good, "p": pa.array([Decimal(-1)], pa.decimal128(18, 4))})
    assert (landed.good, bad.by_rule) == (1, {"payment_amount_negative": 1})
    # The same row but for its amount, which the rules of now allow.
    (run,) = quarantined_runs()
    everything = replace(source, columns={**source.columns, "payment_amount": ColumnMapping(constant=1)})
    customers = str(tmp_path / "customers.parquet")
    pq.write_table(pa.table({"client": ["ann"]}), customers)
    found = revalidate(
        everything,
        DatabaseOptions(),
        [run],
        rules=(),
        customer_files=[customers],
        earlier={},
        snapshot=Snapshot("UTC", {"customers": Table({"client": "VARCHAR"})}),
        target=target / "replay",
        run_id="replay",
        latest=LATEST,
    )
    assert (found.loaded, found.staged) == (1, 1)
    (before,), (after,) = rows_of(landed.files), rows_of(found.files)
    unlike = {"payment_amount", "_file"}
    assert {name: value for name, value in after.items() if name not in unlike} == {
        name: value for name, value in before.items() if name not in unlike
    }
    assert after["payment_amount"] == Decimal("1.0000")


ORDERS = "o;n;p\n1;mug;x5\n1;tea;8\n2;mug;x5\n2;mug;x5\n3;cup;2\n"


def test_lines_are_added_to_their_order_once(shop: Shop) -> None:
    shop.define("products", PRODUCTS)
    shop.load(products=ORDERS)
    assert lines() == [("1", "tea", "8.0000"), ("3", "cup", "2.0000")]
    shop.define("products", {**PRODUCTS, "price": ColumnMapping(constant=5)})
    # Of order 2, all lines come in, two of them equal; those of order 3 are left alone.
    assert shop.replay(marks=False) == {"products": (3, 4, {})}
    whole = lines()
    assert whole == [
        ("1", "mug", "5.0000"),
        ("1", "tea", "8.0000"),
        ("2", "mug", "5.0000"),
        ("2", "mug", "5.0000"),
        ("3", "cup", "2.0000"),
    ]
    assert shop.replay() == {"products": (3, 0, {})}
    assert shop.replay() == {}
    assert lines() == whole
    assert all(is_replayed for *_, is_replayed in in_quarantine())


def test_a_line_is_not_added_to_an_order_that_was_read_again_since(shop: Shop) -> None:
    shop.define("products", PRODUCTS)
    shop.load(products="o;n;p\n1;mug;x5\n1;tea;8\n2;mug;x5\n2;tea;8\n")
    shop.load(products="o;n;p\n1;mug;4\n1;tea;8\n2;mug;5\n2;tea;8\n")
    shop.define("products", {**PRODUCTS, "price": ColumnMapping(constant=5)})
    before = lines()
    # Order 2 got the very line; order 1 got another in its place.
    assert shop.replay() == {"products": (1, 0, {"order_changed": 1})}
    assert lines() == before


def test_some_lines_of_an_order_today_and_the_others_tomorrow(shop: Shop) -> None:
    shop.define("products", PRODUCTS)
    shop.load(products="o;n;p\n1;mug;1.5\n1;pot;€ 2\n1;tea;8\n")
    shop.define("products", PRODUCTS, POINT)
    assert shop.replay() == {"products": (1, 2, {"price_with_currency": 1})}
    shop.define("products", {**PRODUCTS, "price": ColumnMapping(constant=2)}, POINT)
    # The line of before is read anew too, at its new price: the order is not the one it was added to.
    assert shop.replay() == {"products": (0, 0, {"order_changed": 1})}
    assert lines() == [("1", "mug", "1.5000"), ("1", "tea", "8.0000")]


def test_lines_of_a_load_that_was_never_staged_wait_for_the_others(shop: Shop) -> None:
    shop.define("products", PRODUCTS)
    shop.load(products="o;n;p\n")
    shop.load(products="o;n;p\n1;mug;x5\n1;tea;8\n2;pot;x3\n", stages=False)
    shop.define("products", {**PRODUCTS, "price": ColumnMapping(constant=5)})
    assert shop.replay() == {"products": (1, 1, {"order_changed": 1})}
    assert lines() == [("2", "pot", "5.0000")]


def test_old_quarantine_is_deleted_as_a_whole(shop: Shop) -> None:
    for _ in range(3):
        shop.load(sessions=f"i;c;d;p\n1;ann;{DAY};x\n")
    (newest, second, oldest) = quarantined_runs()
    assert [run.key for run in (newest, second, oldest)] == ["run_3", "run_2", "run_1"]
    assert newest.quarantined_at is not None
    assert forget_old(newest.quarantined_at) == ["run_2", "run_1"]
    assert [run.key for run in quarantined_runs()] == ["run_3"]
    assert not (Path(configs.STAGING_URL) / "runs" / "run_1" / "quarantine").exists()
    assert pq.read_table(newest.files["sessions"][0].path).num_rows == 1
