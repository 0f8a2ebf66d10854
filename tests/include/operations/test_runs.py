"""The reports of the runs: by hand, and against a second count."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from include import catalogue
from include.elastic.reports import json_rows
from include.operations.runs import FIELDS, REPORTS, busy_seconds
from include.schemas.reports import SHARED_FIELDS
from include.schemas.run_facts import RunFacts, StandingReport, TaskFacts
from tests.run_facts import AS_OF, GOOD, HISTORY, NEWEST, STANDING, WRITTEN_AT, run_of, sample_reports, sessions

Row = dict[str, Any]


def rows(report_type: str, history: tuple[RunFacts, ...] = HISTORY, current: str = "newest") -> list[Row]:
    """The rows as they are written: what is unknown is left out."""
    declared = next(one for one in REPORTS if one.type == report_type)
    return json_rows(declared, sample_reports(history, current)[report_type].rows, {**SHARED_FIELDS, **FIELDS}, "runs")


def test_each_way_to_end_is_told_as_it_was() -> None:
    told = [(one["run"], one["run_state"], one.get("failed_task")) for one in rows("runs")]
    assert told == [
        ("good", "complete", None),
        ("dry", "dry run", None),
        ("failed", "failed", "sessions.extract"),
        ("killed", "interrupted", "sessions.extract"),
        ("incomplete", "incomplete", "machine_learning.churn"),
        ("newest", "incomplete", "machine_learning.churn"),
    ]
    assert rows("runs")[2]["failure"] == "sessions: s.csv is not there; put it back."


def test_a_run_in_numbers() -> None:
    good = rows("runs")[0]
    # 1 + 10 + 2 + 1 + 4 + 3 seconds, one task after the other. Sessions: as `validate` counted them, 25 of 1,000 bad;
    # with the customers 35 of 1,100.
    assert good == {
        "dimension": "all", "run": "good", "run_label": "20 May 06:30", "pipeline": "customer_analytics",
        "run_kind": "manual", "run_state": "complete", "started_at": "2024-05-20T06:30:00+00:00",
        "ended_at": "2024-05-20T06:30:21+00:00", "run_seconds": 21.0, "busy_seconds": 21.0, "tasks_done": 6,
        "tasks_failed": 0, "tasks_skipped": 0, "tasks_retried": 0, "rows_read": 1_100, "rows_quarantined": 35,
        "rate": 35 / 1_100, "numerator": 35, "denominator": 1_100, "documents_indexed": 1_000, "reports_written": 3,
        "report_rows": 40, "reports_as_of": "2024-05-29", "data_until": "2024-05-29",
    }  # fmt: skip
    (newest,) = rows("newest")
    assert (newest["run"], newest["rows_read"], newest["runs_failed"], newest["runs_listed"]) == ("newest", 2_000, 4, 6)


def test_a_sum_from_before_the_run_failed_again_does_not_count() -> None:
    again = replace(HISTORY[2], summary=GOOD.summary)  # cleared and run again, after it had published once
    assert "reports_written" not in rows("runs", (again, NEWEST))[0]


def test_a_run_that_began_later_is_in_progress_not_interrupted() -> None:
    at_work = run_of(31, "later", ("check", 1.0, {}), ("sessions.extract", None, {"state": "running"}))
    between_tasks = run_of(31, "between", ("check", 1.0, {}))
    told = {one["run"]: one["run_state"] for one in rows("runs", (*HISTORY, at_work, between_tasks))}
    assert (told["later"], told["between"], told["killed"]) == ("in progress", "in progress", "interrupted")
    states = {(one["run"], one["task"]): one["task_state"] for one in rows("tasks", (*HISTORY, at_work))}
    assert states["later", "sessions.extract"] == "in progress"
    assert states["killed", "sessions.extract"] == "interrupted"


def test_a_task_beside_what_is_usual() -> None:
    newest = {one["task"]: one for one in rows("tasks") if one["is_newest_run"]}
    extract = newest["sessions.extract"]
    # Earlier successes took 10 and 20 seconds; the failed and the killed one do not count. 2,000 rows in 8 seconds.
    assert (extract["task_seconds"], extract["usual_seconds"], extract["n"]) == (8.0, 15.0, 2)
    assert (extract["task_rows"], extract["rows_per_second"]) == (2_000, 250.0)
    assert newest["exploratory.rfm"]["n"] == 0
    assert "usual_seconds" not in newest["exploratory.rfm"]
    assert set(newest) == {one.task for one in NEWEST.tasks}


def test_another_dag_is_not_what_is_usual() -> None:
    replay = replace(GOOD, run="replay", pipeline="replay_quarantine")
    newest = [one for one in rows("tasks", (replay, NEWEST)) if one["is_newest_run"]]
    assert {one["n"] for one in newest} == {0}


def test_the_sources_of_a_run() -> None:
    told = {(one["run"], one["source"]): one for one in rows("sources")}
    assert set(told) == {
        ("good", "sessions"), ("good", "customers"), ("incomplete", "sessions"), ("newest", "sessions"),
    }  # fmt: skip
    found = told["newest", "sessions"]
    assert (found["rows_read"], found["rows_accepted"], found["rows_quarantined"], found["rows_outside"]) == (
        2_000, 1_895, 100, 5,
    )  # fmt: skip
    assert found["rate"] == 0.05


def test_the_age_of_each_report_and_why() -> None:
    told = {(one["analysis"], one["report"]): one for one in rows("freshness")}
    brief = {
        key: (one["freshness_state"], one.get("report_day"), one.get("report_age_days"), one.get("failure"))
        for key, one in told.items()
    }
    assert brief == {
        ("rfm", "segments"): ("fresh", "2024-05-29", 0, None),
        # Its analysis failed: of the one report an earlier one stands, of the other there never was any.
        ("churn", "curve"): ("failed", "2024-05-20", 9, "The model does not converge; use more data."),
        ("churn", "gaps"): ("failed", None, None, "The model does not converge; use more data."),
        ("delivery_analytics", "hours"): ("skipped", None, None, "It needs a source."),
        ("cohorts", "months"): ("older", "2024-05-19", 10, "cohorts was not chosen for this run."),
    }
    assert told["rfm", "segments"]["report_written_at"] == "2024-05-30T06:29:59+00:00"


def test_ending_the_same_run_again_gives_the_same_rows() -> None:
    """Then the index shows the reports of this very run: that it wrote one, and that it skipped one."""
    own = StandingReport("rfm", "segments", AS_OF.isoformat(), WRITTEN_AT.isoformat())
    shown = tuple(own if one.analysis == "rfm" else one for one in STANDING)
    once, again = sample_reports(), sample_reports(standing=shown)
    for name, report in once.items():
        pd.testing.assert_frame_equal(report.rows, again[name].rows)


def test_a_run_for_an_earlier_day_does_not_make_a_report_older() -> None:
    later = StandingReport("rfm", "segments", "2024-06-01", "2024-06-02T00:00:00+00:00")
    found = sample_reports(standing=(later,))["freshness"].rows.set_index("analysis").loc["rfm"]
    assert (found["freshness_state"], found["report_day"], found["report_age_days"]) == ("fresh", date(2024, 6, 1), -3)


def test_reports_are_as_declared() -> None:
    module = catalogue.analysis("runs").module
    reports = sample_reports()
    assert tuple(reports) == tuple(one.type for one in module.REPORTS)
    for report_type in module.REPORTS:
        found = rows(report_type.type)
        assert found
        assert {one["dimension"] for one in found} == {"all"}
        for panel in report_type.panels:
            used = {*panel.series, panel.x, panel.breakdown, *panel.columns, *panel.where} - {None}
            assert used <= set(report_type.fields)
            assert panel.how_to_read.endswith(".")
            assert [one for one in found if all(one.get(name) == value for name, value in panel.where.items())]
    meaning: dict[str, Any] = dict(SHARED_FIELDS)
    for one in catalogue.reporting():
        for name, field in one.module.FIELDS.items():
            assert meaning.setdefault(name, field) == field


def test_the_first_run_of_all() -> None:
    alone = run_of(1, "first", ("check", 0.5, {}), summary={"as_of": "2024-05-29", "indexed": {}})
    (told,) = rows("runs", (alone,), "first")
    assert (told["run_state"], told["busy_seconds"], "rows_read" in told) == ("complete", 0.5, False)
    assert sample_reports((alone,), "first")["sources"].rows.empty


BEGAN = datetime(2024, 5, 20, tzinfo=UTC)
TIMES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=8)


@given(TIMES)
def test_busy_seconds_are_those_with_a_task_at_work(times: list[tuple[int, int]]) -> None:
    """Counted second by second."""
    tasks = [
        TaskFacts(str(number), "success", BEGAN + timedelta(seconds=begin), float(seconds))
        for number, (begin, seconds) in enumerate(times)
    ]
    busy = {second for begin, seconds in times for second in range(begin, begin + seconds)}
    assert busy_seconds(tasks) == len(busy)


@given(st.lists(st.tuples(st.integers(5, 500), st.sampled_from([*HISTORY[:5]])), min_size=1, max_size=6))
def test_rows_add_up_over_runs_and_sources(found: list[tuple[int, RunFacts]]) -> None:
    history = []
    for number, (read, like) in enumerate(found):
        extracted = ("sessions.extract", 1.0, {"rows": read, "sources": (sessions(read, read // 5),)})
        history.append(replace(run_of(1 + number, f"run {number}", extracted), is_dry_run=like.is_dry_run))
    last = history[-1].run
    per_run, per_source = rows("runs", tuple(history), last), rows("sources", tuple(history), last)
    assert [one["run"] for one in per_run] == [one.run for one in history]
    for one in per_source:
        assert one["rows_read"] == one["rows_accepted"] + one["rows_quarantined"] + one["rows_outside"]
    for name in ("rows_read", "rows_quarantined"):
        assert sum(one[name] for one in per_run) == sum(one[name] for one in per_source)
    assert sum(one["rows_read"] for one in per_run) == sum(read for read, _ in found)


@given(st.lists(st.sampled_from(["success", "failed", "running", "skipped"]), min_size=1, max_size=6), st.booleans())
def test_nothing_but_a_published_run_is_told_as_complete(states: list[Any], published: bool) -> None:
    tasks = [(f"task {number}", 1.0, {"state": state}) for number, state in enumerate(states)]
    if published:
        tasks.append(("publish", 1.0, {"rows": 3}))
    (told, _) = rows("runs", (run_of(1, "one", *tasks), NEWEST))
    well = published and set(states) <= {"success", "skipped"}
    assert (told["run_state"] == "complete") == well
    assert ("failed_task" in told) == bool({"failed", "running"} & set(states))
