"""Which rows a run reads, for each way a run can come about."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import configs
from include.pipeline.run import Run
from include.pipeline.window import Window, window
from include.schemas.source_kinds import SOURCE_KINDS
from include.sources.definition import ColumnMapping, Source
from tests.runs import BY_HAND

PERIOD = {"interval_start": datetime(2024, 4, 1, tzinfo=UTC), "interval_end": datetime(2024, 5, 1, tzinfo=UTC)}
SCHEDULED = replace(BY_HAND, run_type="scheduled", **PERIOD)
BACKFILL = replace(BY_HAND, run_type="backfill", **PERIOD)
WATERMARK = datetime(2024, 4, 20, 12)
KINDS = tuple(SOURCE_KINDS)


def source(kind: str, changed_at: str | None = None) -> Source:
    return Source(SOURCE_KINDS[kind], "postgres", {}, Path(), changed_at=changed_at)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("run", [BY_HAND, SCHEDULED])
def test_the_first_load_reads_everything(run: Run, kind: str) -> None:
    assert window(run, source(kind, "changed"), None) == Window()
    assert window(run, source(kind), None) == Window()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("run", [BY_HAND, SCHEDULED, BACKFILL])
def test_a_full_refresh_reads_everything(run: Run, kind: str) -> None:
    assert window(replace(run, full_refresh=True), source(kind, "changed"), WATERMARK) == Window()


@pytest.mark.parametrize("run", [BY_HAND, SCHEDULED, BACKFILL, replace(BY_HAND, full_refresh=True)])
def test_parameters_come_first_and_are_for_sessions(run: Run) -> None:
    asked = replace(run, start=date(2024, 1, 1), end=date(2024, 1, 31))
    days = Window(date(2024, 1, 1), date(2024, 1, 31), moves_watermark=False)
    assert window(asked, source("sessions", "changed"), WATERMARK) == days
    assert window(asked, source("customers", "changed"), WATERMARK) == Window()
    assert window(replace(asked, end=None), source("sessions"), None) == replace(days, last_day=None)


def test_a_backfill_reads_the_days_of_its_period_and_leaves_the_watermark() -> None:
    days = Window(date(2024, 4, 1), date(2024, 4, 30), moves_watermark=False)
    assert window(BACKFILL, source("sessions"), WATERMARK) == days
    assert window(BACKFILL, source("sessions", "changed"), WATERMARK) == days
    assert window(BACKFILL, source("products", "changed"), WATERMARK) == Window()


def test_those_days_are_the_business_time_zone_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", "America/New_York")
    # Midnight UTC is 20:00 of the day before in New York, in summer.
    assert window(BACKFILL, source("sessions"), None).first_day == date(2024, 3, 31)
    assert window(BACKFILL, source("sessions"), None).last_day == date(2024, 4, 30)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "products"])
@pytest.mark.parametrize("run", [BY_HAND, SCHEDULED])
def test_with_a_change_time_it_goes_on_from_the_watermark(run: Run, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "LOOKBACK_DAYS", 2)
    assert window(run, source(kind, "changed"), WATERMARK) == Window(changed_since=datetime(2024, 4, 18, 12))


def test_without_one_a_scheduled_run_reads_the_newest_days_of_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "LOOKBACK_DAYS", 2)
    # Not the period's days: a run that did not take place must leave no gap.
    assert window(SCHEDULED, source("sessions"), WATERMARK) == Window(first_day=date(2024, 4, 18))
    assert window(SCHEDULED, source("deliveries"), WATERMARK) == Window()


def test_products_are_read_whole_unless_their_lines_have_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without one the lines of an order that come replace all that it had: a changed line must not come alone.
    assert window(SCHEDULED, source("products", "changed"), WATERMARK) == Window()
    monkeypatch.setattr(configs, "LOOKBACK_DAYS", 2)
    lines = {name: ColumnMapping(columns=(name,)) for name in ("order_id", "line_id")}
    keyed = replace(source("products", "changed"), columns=lines)
    assert window(SCHEDULED, keyed, WATERMARK) == Window(changed_since=datetime(2024, 4, 18, 12))


@pytest.mark.parametrize("kind", KINDS)
def test_by_hand_it_reads_everything(kind: str) -> None:
    assert window(BY_HAND, source(kind), WATERMARK) == Window()
