"""How far a source was loaded, and histories of incremental loads that end where one load of everything does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import configs
from include.pipeline.run import Run
from include.pipeline.window import window
from include.quality.extract import Extracted, extract_rows
from include.sources.definition import Source, load_sources
from include.sources.read import read_source, value_format
from include.staging.merge import merge
from include.staging.snapshot import load_snapshot
from include.staging.storage import storage
from include.staging.watermark import keep_watermarks, move_watermarks, read_watermark
from tests.runs import BY_HAND

SOURCES = """
sessions:
  connector: csv
  path: sessions.csv
  columns: {id: id, client: client, session_start_date: began, has_purchased: {constant: true}, payment_amount: paid}
  changed_at: changed
  csv: {delimiter: ",", date_format: iso, timezone: UTC}
customers:
  connector: csv
  path: customers.csv
  columns: {client: client, download_date: came}
  csv: {delimiter: ",", date_format: iso, timezone: UTC}
products:
  connector: csv
  path: lines.csv
  columns: {order_id: order, line_id: line, product: product, price: price}
  changed_at: changed
  csv: {delimiter: ",", date_format: iso, timezone: UTC}
"""
BEGIN = datetime(2024, 1, 1)


NONE: dict[tuple[str, int], dict[str, Any]] = {}


class Shop:
    """A folder with sources.yaml and the CSV files of its sources, and a staging of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.landed: dict[str, Extracted] = {}
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "sources.yaml").write_text(SOURCES, encoding="utf-8")

    def write(self, sessions: dict[str, dict[str, Any]], lines: dict[tuple[str, int], dict[str, Any]] = NONE) -> None:
        began = [
            f"{id_},{row['client']},{row['began']},{row['paid']},{row['changed']}" for id_, row in sessions.items()
        ]
        text = "\n".join(["id,client,began,paid,changed", *began]) + "\n"
        (self.folder / "data" / "sessions.csv").write_text(text, encoding="utf-8")
        clients = "".join(f"c{number},2024-01-01\n" for number in range(4))
        (self.folder / "data" / "customers.csv").write_text(f"client,came\n{clients}", encoding="utf-8")
        sold = "".join(f"{order},{line},tea,{one['price']},{one['changed']}\n" for (order, line), one in lines.items())
        (self.folder / "data" / "lines.csv").write_text(f"order,line,product,price,changed\n{sold}", encoding="utf-8")

    def sources(self) -> tuple[Source, ...]:
        return load_sources(self.folder / "data" / "sources.yaml").all

    def load(self, run: Run, *, killed_before_indexing: bool = False) -> int:
        """What a run of the DAG does with the sources up to the watermark; the sessions landed."""
        landed = self.landed = {}
        windows = {}
        for source in self.sources():
            wanted = windows[source.name] = window(run, source, read_watermark(source))
            options = value_format(source)
            landed[source.name] = extract_rows(
                source,
                read_source(source, options, **wanted.bounds),
                options,
                target=storage(configs.STAGING_URL) / "runs" / run.key,
                run_id=run.run_id,
                latest=datetime(2025, 1, 1),
                **wanted.bounds,
            )
        keep_watermarks([] if run.full_refresh else landed)
        files = {name: one.files for name, one in landed.items()}
        merged = merge(files, run_key=run.key, time_zone="UTC", full_refresh=run.full_refresh)
        if not killed_before_indexing:
            moving = [source for source in self.sources() if windows[source.name].moves_watermark]
            move_watermarks(moving, merged.snapshot)
        return landed["sessions"].good

    def staged(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT * EXCLUDE (client_code) FROM sessions ORDER BY id")

    def lines(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT * FROM basket ORDER BY order_id, line_id")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        snapshot = load_snapshot()
        assert snapshot is not None
        with snapshot.connect() as connection:
            return connection.execute(query).fetchall()


def place(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Shop:
    monkeypatch.setattr(configs, "STAGING_URL", str(folder / "staging"))
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(folder / "tmp"))
    return Shop(folder)


def row(day: int, paid: int, changed_day: int, client: str = "c0") -> dict[str, Any]:
    return {
        "client": client,
        "began": (BEGIN + timedelta(days=day)).isoformat(),
        "paid": paid,
        "changed": (BEGIN + timedelta(days=changed_day)).isoformat(),
    }


def line(price: int, changed_day: int) -> dict[str, Any]:
    return {"price": price, "changed": (BEGIN + timedelta(days=changed_day)).isoformat()}


def test_only_what_changed_is_loaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "LOOKBACK_DAYS", 2)
    shop = place(monkeypatch, tmp_path)
    rows = {f"s{day}": row(day, 10, day) for day in range(10)}
    shop.write(rows)
    assert shop.load(replace(BY_HAND, run_id="one")) == 10
    sessions, customers, _ = shop.sources()
    assert read_watermark(sessions) == BEGIN + timedelta(days=9)
    assert read_watermark(customers) is None  # nothing says when it changed
    # A correction of an old order, and one that came late but within the look-back: the newest is of day 9.
    rows["s1"] = row(1, 99, 10)
    rows["late"] = row(3, 5, 8)
    shop.write(rows)
    assert shop.load(replace(BY_HAND, run_id="two")) == 5  # s7, s8, s9; the correction; the late one
    assert {line[0]: int(line[4]) for line in shop.staged()} == {
        **{f"s{day}": 10 for day in range(10)},
        "s1": 99,
        "late": 5,
    }


def test_it_moves_only_when_what_was_staged_is_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = place(monkeypatch, tmp_path)
    shop.write({"s1": row(1, 10, 1)})
    shop.load(replace(BY_HAND, run_id="one"), killed_before_indexing=True)
    assert read_watermark(shop.sources()[0]) is None
    shop.load(replace(BY_HAND, run_id="two"))
    assert read_watermark(shop.sources()[0]) == BEGIN + timedelta(days=1)


def test_a_run_for_a_period_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next run would take everything before for loaded."""
    shop = place(monkeypatch, tmp_path)
    shop.write({"s1": row(1, 10, 1), "s5": row(5, 10, 5)})
    shop.load(replace(BY_HAND, run_id="one", start=(BEGIN + timedelta(days=5)).date()))
    assert [line[0] for line in shop.staged()] == ["s5"]
    assert read_watermark(shop.sources()[0]) is None
    shop.load(replace(BY_HAND, run_id="two"))
    assert [line[0] for line in shop.staged()] == ["s1", "s5"]


def test_another_mapping_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = place(monkeypatch, tmp_path)
    shop.write({"s1": row(1, 10, 1), "s30": row(30, 10, 30)})
    shop.load(replace(BY_HAND, run_id="one"))
    source = shop.sources()[0]
    assert read_watermark(source) is not None
    assert read_watermark(replace(source, dimensions={"region": "region"})) is None
    assert read_watermark(replace(source, base_dir=Path("/elsewhere"))) is not None


def test_a_full_refresh_of_a_period_forgets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It drops what is outside of the period, so the next run has to fetch that, although it is not new."""
    shop = place(monkeypatch, tmp_path)
    shop.write({"s1": row(1, 10, 1), "s90": row(90, 10, 90)}, {("s1", 1): line(5, 1), ("s90", 1): line(5, 90)})
    shop.load(replace(BY_HAND, run_id="one"))
    period = replace(BY_HAND, run_id="two", full_refresh=True, start=(BEGIN + timedelta(days=80)).date())
    shop.load(period)
    assert [found[0] for found in shop.staged()] == ["s90"]
    assert read_watermark(shop.sources()[0]) is None
    assert read_watermark(shop.sources()[2]) == BEGIN + timedelta(days=90)  # products were read whole
    shop.load(replace(BY_HAND, run_id="three"))
    assert [found[0] for found in shop.staged()] == ["s1", "s90"]


def test_a_full_refresh_killed_before_indexing_forgets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = place(monkeypatch, tmp_path)
    shop.write({"s1": row(1, 10, 1)})
    shop.load(replace(BY_HAND, run_id="one"))
    shop.load(replace(BY_HAND, run_id="two", full_refresh=True), killed_before_indexing=True)
    assert read_watermark(shop.sources()[0]) is None


def test_a_source_that_went_and_came_back_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = place(monkeypatch, tmp_path)
    shop.write({"s1": row(1, 10, 1)}, {("s1", 1): line(5, 1), ("s1", 2): line(6, 30)})
    shop.load(replace(BY_HAND, run_id="one"))
    file = shop.folder / "data" / "sources.yaml"
    file.write_text(SOURCES.partition("products:")[0], encoding="utf-8")
    shop.load(replace(BY_HAND, run_id="two"))
    snapshot = load_snapshot()
    assert snapshot is not None
    assert "basket" not in snapshot.tables
    file.write_text(SOURCES, encoding="utf-8")
    shop.load(replace(BY_HAND, run_id="three"))
    assert len(shop.lines()) == 2


def test_of_a_basket_only_the_lines_that_changed_are_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of an order that is not there yet are kept, and joined when it arrives."""
    monkeypatch.setattr(configs, "LOOKBACK_DAYS", 2)
    shop = place(monkeypatch, tmp_path)
    lines = {("s1", 1): line(5, 1), ("s1", 2): line(6, 1), ("late", 1): line(7, 20)}
    shop.write({"s1": row(1, 10, 1)}, lines)
    shop.load(replace(BY_HAND, run_id="one"))
    lines[("s1", 2)] = line(9, 21)
    shop.write({"s1": row(1, 10, 1), "late": row(15, 10, 22)}, lines)
    shop.load(replace(BY_HAND, run_id="two"))
    assert shop.landed["products"].good == 2  # the changed line, and the one within the look-back
    prices = {(found[0], found[3]): int(found[2]) for found in shop.lines()}
    assert prices == {("s1", "1"): 5, ("s1", "2"): 9, ("late", "1"): 7}
    joined = "SELECT id, sum(price)::INT FROM sessions JOIN basket ON id = order_id GROUP BY id ORDER BY id"
    assert shop.rows(joined) == [("late", 7), ("s1", 14)]


def test_what_was_deleted_stays_until_a_full_refresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/data-model.md has it: marked as a change it is seen at once."""
    shop = place(monkeypatch, tmp_path)
    both = {"s1": row(1, 10, 1), "s2": row(2, 10, 2)}
    lines = {("s1", 1): line(5, 1), ("s1", 2): line(6, 1), ("s2", 1): line(7, 2)}
    shop.write(both, lines)
    shop.load(replace(BY_HAND, run_id="one"))
    shop.write({"s2": row(2, 0, 3)}, {("s1", 1): line(5, 1)})
    for run in ("two", "three"):
        shop.load(replace(BY_HAND, run_id=run))
        assert [(found[0], int(found[4])) for found in shop.staged()] == [("s1", 10), ("s2", 0)]
        assert len(shop.lines()) == 3
    shop.load(replace(BY_HAND, run_id="four", full_refresh=True))
    assert [found[0] for found in shop.staged()] == ["s2"]
    assert len(shop.lines()) == 1


# A history: per step, orders that are written or corrected (which, on which day it began, what was paid), lines of
# baskets likewise, and the run that follows. Changes are stamped with the step's day, but for late ones, which are
# within the look-back.
CHANGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 40), st.integers(1, 99), st.integers(0, 2)), max_size=5)
RUNS = st.sampled_from(
    ["run", "run", "killed", "backfill", "period", "twice", "refresh", "refresh of a period", "killed refresh"]
)
HISTORY = st.lists(st.tuples(CHANGES, RUNS, st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=5)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORY)
def test_any_history_ends_where_one_load_of_everything_does(
    history: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(configs, "LOOKBACK_DAYS", 3)
        shop = place(monkeypatch, tmp_path_factory.mktemp("history") / "incremental")
        rows: dict[str, dict[str, Any]] = {}
        lines: dict[tuple[str, int], dict[str, Any]] = {}
        for step, (changes, kind, first, length) in enumerate(history, start=1):
            for which, day, paid, late_days in changes:
                changed = 50 + step - late_days
                sold = (f"s{which}", day % 3)
                if sold not in lines or lines[sold]["changed"] <= line(paid, changed)["changed"]:
                    lines[sold] = line(paid, changed)
                known = rows.get(f"s{which}")
                if known and known["changed"] > row(day, paid, changed)["changed"]:
                    continue  # the source itself holds the newest version
                rows[f"s{which}"] = row(day, paid, changed, f"c{which % 4}")
            shop.write(rows, lines)
            run = replace(BY_HAND, run_id=f"step {step}", full_refresh="refresh" in kind)
            start = BEGIN.replace(tzinfo=UTC) + timedelta(days=first)
            end = start + timedelta(days=length)
            if kind == "backfill":
                run = replace(run, run_type="backfill", interval_start=start, interval_end=end)
            if kind in ("period", "refresh of a period"):
                run = replace(run, start=start.date(), end=end.date())
            shop.load(run, killed_before_indexing=kind.startswith("killed"))
            if kind == "twice":
                shop.load(run)
        shop.load(replace(BY_HAND, run_id="last"))
        found = shop.staged(), shop.lines()
        monkeypatch.setattr(configs, "STAGING_URL", str(shop.folder / "at once"))
        shop.load(replace(BY_HAND, run_id="at once", full_refresh=True))
        assert found == (shop.staged(), shop.lines())
