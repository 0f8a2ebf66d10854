"""Airflow's own backfill: the periods that it makes of a schedule, as the runs read them."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

import configs
from include.pipeline.window import window
from include.schemas.source_kinds import SOURCE_KINDS
from include.sources.definition import Source
from tests.runs import BY_HAND

DAGS = Path(__file__).resolve().parents[2] / "dags"
SESSIONS = Source(SOURCE_KINDS["sessions"], "postgres", {}, Path())
FIRST, LAST = date(2024, 3, 4), date(2024, 4, 28)  # a Monday, a Sunday; clocks changed on 31 March
RUNS = {"daily": 56, "weekly": 8, "hourly": 56 * 24 - 1, "12-hourly": 112, "0 6 * * 1-5": 40}


@pytest.mark.parametrize("schedule", RUNS)
def test_the_runs_of_a_backfill_read_every_day_and_report_on_their_last(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "SCHEDULE", schedule)
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", "Europe/Berlin")
    dag = DagSerialization.from_dict(DagSerialization.to_dict(DagBag(str(DAGS)).dags["customer_analytics"]))
    begin = datetime.combine(FIRST, datetime.min.time(), ZoneInfo("Europe/Berlin"))
    until = datetime.combine(LAST, datetime.max.time(), ZoneInfo("Europe/Berlin"))
    # As `airflow backfill create --from-date --to-date` asks for them.
    periods = [info.data_interval for info in dag.iter_dagrun_infos_between(begin, until)]
    assert len(periods) == RUNS[schedule]
    days: list[date] = []
    for period in periods:
        run = replace(BY_HAND, run_type="backfill", interval_start=period.start, interval_end=period.end)
        read = window(run, SESSIONS, None)
        assert read.first_day is not None
        assert read.last_day is not None
        assert read.first_day <= read.last_day
        days += [read.first_day + timedelta(days=number) for number in range((read.last_day - read.first_day).days + 1)]
        assert run.report_date(LAST) == read.last_day
    every_day = {FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)}
    assert every_day <= set(days)
    if schedule in ("daily", "weekly"):
        assert days == sorted(every_day)  # none is read twice
