"""A run's place in time, and its parameters."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRun, DagRunType
from airflow.sdk.exceptions import AirflowException, AirflowFailException

import configs
from include.pipeline.run import run_from_context, said_plainly
from include.problem import Problem
from tests.runs import BY_HAND

RUN = replace(
    BY_HAND,
    run_id="scheduled__2024-05-02T00:00:00+00:00",
    run_type="scheduled",
    started_at=datetime(2024, 5, 2, tzinfo=UTC),
)
NEWEST = date(2024, 4, 20)


def test_the_report_date_is_the_parameter_first() -> None:
    run = replace(RUN, as_of=date(2024, 1, 1), interval_end=datetime(2024, 5, 2, tzinfo=UTC))
    assert run.report_date(NEWEST) == date(2024, 1, 1)


def test_a_scheduled_run_reports_the_last_day_of_its_period() -> None:
    assert replace(RUN, interval_end=datetime(2024, 5, 2, tzinfo=UTC)).report_date(NEWEST) == date(2024, 5, 1)


def test_that_day_is_one_of_the_business_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", "America/New_York")
    # Midnight UTC is still the evening of the first in New York.
    assert replace(RUN, interval_end=datetime(2024, 5, 2, tzinfo=UTC)).report_date(NEWEST) == date(2024, 5, 1)
    assert replace(RUN, interval_end=datetime(2024, 5, 2, 4, tzinfo=UTC)).report_date(NEWEST) == date(2024, 5, 1)
    assert replace(RUN, interval_end=datetime(2024, 5, 2, 5, tzinfo=UTC)).report_date(NEWEST) == date(2024, 5, 2)


def test_a_run_by_hand_reports_the_newest_complete_day() -> None:
    assert RUN.report_date(NEWEST) == NEWEST


def test_the_key_is_a_safe_folder_name() -> None:
    assert RUN.key == "scheduled__2024-05-02T00_00_00_00_00"


@pytest.mark.parametrize(("retry", "kind"), [(True, AirflowException), (False, AirflowFailException)])
def test_a_problem_fails_the_task_with_its_sentence(retry: bool, kind: type[Exception]) -> None:
    problem = Problem("The shop is closed; come back tomorrow.")
    problem.retry = retry
    with pytest.raises(AirflowException) as raised, said_plainly():
        raise problem
    assert type(raised.value) is kind
    assert str(raised.value) == "The shop is closed; come back tomorrow."


@pytest.mark.parametrize("kind", DagRunType)
def test_only_scheduled_runs_and_backfills_are_for_a_period(kind: DagRunType) -> None:
    begin, end = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 2, tzinfo=UTC)
    dag_run = DagRun.model_construct(
        run_id="one", run_type=kind, run_after=end, start_date=end, data_interval_start=begin, data_interval_end=end
    )
    context: Any = {
        "dag_run": dag_run,
        "params": {"dimensions": [], "analyses": [], "full_refresh": False, "dry_run": False},
    }
    run = run_from_context(context)
    has_period = kind in (DagRunType.SCHEDULED, DagRunType.BACKFILL)
    assert (run.interval_start, run.interval_end) == ((begin, end) if has_period else (None, None))
    assert (run.is_scheduled, run.is_backfill) == (kind is DagRunType.SCHEDULED, kind is DagRunType.BACKFILL)
