"""How far a source was loaded, and what a run therefore reads."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import configs
from include.staging.snapshot import load_snapshot
from include.staging.watermark import read_watermark
from tests.incremental_shop import BEGIN, SOURCES, line, place, row
from tests.runs import BY_HAND


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
    shop.load(replace(BY_HAND, run_id="one"), index=lambda _: False)
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
    shop.load(replace(BY_HAND, run_id="two", full_refresh=True), index=lambda _: False)
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
