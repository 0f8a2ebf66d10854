"""What tasks leave about themselves, and what the next run finds of it."""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

import configs
from include.pipeline import history
from include.pipeline.history import run_history
from include.pipeline.record import recorded
from include.pipeline.run import Run, run_folder, run_from_context
from include.problem import Problem
from include.schemas.run_facts import RunFacts, SourceFacts, TaskFacts
from tests.runs import context_of

SESSIONS = SourceFacts("sessions", "sessions", 10, 7, 2, 1)


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(configs, "STAGING_URL", str(tmp_path))
    return tmp_path


def done(task_id: str, run_id: str = "one", *, rows: int = 0, **params: Any) -> None:
    """The task runs and succeeds."""
    with recorded(context_of(task_id, run_id, **params)) as record:
        record.handled(rows)


def records(run_id: str = "one") -> dict[str, dict[str, Any]]:
    files = Path(run_folder(run_id).path).glob("tasks/*")
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def the_run(run_id: str) -> Run:
    return run_from_context(context_of("publish", run_id))


def found(run_id: str, *before: str) -> list[RunFacts]:
    return run_history(the_run(run_id), before or ("check",), {"reports": 1})


def test_a_record_tells_what_a_task_did(staging: Path) -> None:
    earliest = datetime.now(UTC)
    with recorded(context_of("sessions.extract", "manual__2024-05-01T00:00:00+00:00", dry_run=True)) as record:
        assert records("manual__2024-05-01T00:00:00+00:00")["sessions.extract"]["state"] == "running"
        record.handled(10, [SESSIONS])
    (file,) = (staging / "runs" / "manual__2024-05-01T00_00_00_00_00" / "tasks").iterdir()
    told = json.loads(file.read_text(encoding="utf-8"))
    of_run = {name: told.pop(name) for name in ("run", "pipeline", "kind", "is_dry_run")}
    assert of_run == {
        "run": "manual__2024-05-01T00:00:00+00:00", "pipeline": "customer_analytics", "kind": "manual",
        "is_dry_run": True,
    }  # fmt: skip
    facts = TaskFacts.from_json(told)
    assert (facts.task, facts.state, facts.rows, facts.sources) == ("sessions.extract", "success", 10, (SESSIONS,))
    assert facts.started_at is not None
    assert facts.ended_at is not None
    assert earliest <= facts.started_at <= facts.ended_at <= datetime.now(UTC)
    assert json.loads(json.dumps(facts.as_json())) == told


@pytest.mark.parametrize(
    ("raised", "seen", "state", "reason"),
    [
        (Problem("The shop is closed; come back."), AirflowFailException, "failed", "The shop is closed; come back."),
        (AirflowSkipException("Not chosen."), AirflowSkipException, "skipped", "Not chosen."),
        # Whatever else is raised may have a password in its text.
        (ValueError("login hunter2"), ValueError, "failed", "ValueError; the task's log says more."),
        (SystemExit(1), SystemExit, "failed", "SystemExit; the task's log says more."),
    ],
)
def test_how_a_task_ended(raised: BaseException, seen: type[BaseException], state: str, reason: str) -> None:
    with pytest.raises(seen), recorded(context_of("check")):
        raise raised
    told = records()["check"]
    assert (told["state"], told["reason"]) == (state, reason)
    assert told["seconds"] >= 0


def test_a_retry_takes_the_place_of_the_try_before() -> None:
    again = Problem("Elasticsearch does not answer.")
    again.retry = True
    with pytest.raises(AirflowException), recorded(context_of("check", try_number=1)):
        raise again
    with recorded(context_of("check", try_number=2)) as record:
        record.handled(3)
    told = records()
    assert set(told) == {"check"}
    assert (told["check"]["state"], told["check"]["try_number"], told["check"]["reason"]) == ("success", 2, "")


def test_of_a_task_that_is_killed_it_stays_known_that_it_began(staging: Path) -> None:
    code = (
        "import os, signal, sys, configs\nfrom include.pipeline.record import recorded\n"
        "from tests.runs import context_of\n"
        f"configs.STAGING_URL = {str(staging)!r}\n"
        "with recorded(context_of('index_orders')):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=configs.PROJECT_ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (records()["index_orders"]["state"], records()["index_orders"]["seconds"]) == ("running", None)


def test_a_place_that_cannot_be_written_to_fails_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(configs, "STAGING_URL", str(tmp_path / "file"))
    done("check")
    assert "The record of this task could not be written" in caplog.text


def test_a_run_that_failed_early_is_in_the_history_of_the_next() -> None:
    done("check", "first")
    with pytest.raises(AirflowFailException), recorded(context_of("sessions.extract", "first")):
        raise Problem("s.csv is not there; put it back.")
    done("check", "second")
    first, second = found("second", "check", "sessions.extract")
    assert [(one.task, one.state) for one in first.tasks] == [("check", "success"), ("sessions.extract", "failed")]
    # Of the run itself every task before its end counts, and those alone.
    assert [(one.task, one.state) for one in second.tasks] == [("check", "success"), ("sessions.extract", "not run")]
    assert (first.summary, second.summary) == (None, {"reports": 1})


def test_ending_a_run_again_finds_the_same(staging: Path) -> None:
    done("check", "first")
    done("check", "second")
    once = found("second")
    done("publish", "second")
    done("import_dashboards", "second")
    (staging / "runs" / "second" / "summary.json").write_text('{"reports": 5}')
    assert found("second") == once


def test_a_run_that_is_over_is_read_as_one_file_until_a_task_of_it_runs_again(staging: Path) -> None:
    done("check", "first")
    done("publish", "first", rows=4)
    (staging / "runs" / "first" / "summary.json").write_text('{"reports": 5}')
    done("check", "second")
    once = found("second")
    gathered = staging / "runs" / "first" / "tasks.json"
    assert json.loads(gathered.read_text())["summary"] == {"reports": 5}
    assert not (staging / "runs" / "second" / "tasks.json").exists()
    for file in (staging / "runs" / "first" / "tasks").iterdir():
        file.write_text("never read again")
    assert found("second") == once
    done("check", "first")
    done("publish", "first", rows=6)
    assert not gathered.exists()
    assert {task.rows for run in found("second") if run.run == "first" for task in run.tasks} == {0, 6}


def test_only_the_newest_runs_are_kept(staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "RUNS_KEPT", 3)
    (staging / "runs" / "from an earlier version").mkdir(parents=True)
    (staging / "runs" / "from an earlier version" / "summary.json").write_text("{}")
    for number in range(5):
        done("check", f"run {number}")
        (staging / "runs" / f"run_{number}" / "summary.json").write_text("{}")
    assert [one.run for one in found("run 4")] == ["run 2", "run 3", "run 4"]
    assert [one.run for one in found("run 4")] == ["run 2", "run 3", "run 4"]
    left = {str(file.relative_to(staging / "runs")) for file in (staging / "runs").rglob("*.json")}
    assert {name for name in left if not name.endswith("summary.json")} == {
        "run_2/tasks/check.json", "run_2/tasks.json", "run_3/tasks/check.json", "run_3/tasks.json",
        "run_4/tasks/check.json",
    }  # fmt: skip
    assert "run_0/summary.json" in left
