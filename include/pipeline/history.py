"""The facts of this run and of those before it, from the records that their tasks left on staging.

    STAGING_URL/runs/<run>/tasks/<task>.json     a task's record, see record.py
    STAGING_URL/runs/<run>/tasks.json            all records of a run that is over, gathered with its sum

One listing of the folder `runs` says what there is. The records of a run are read once: after that the gathered file is
there, until a task of the run is cleared and writes again. So a run reads RUNS_KEPT small files, and the records of the
runs since the last that published. Records of runs older than the newest RUNS_KEPT are deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import configs
from include.pipeline.record import GATHERED, TASKS
from include.pipeline.run import Run
from include.schemas.run_facts import RunFacts, TaskFacts
from include.staging.storage import remove_tree, storage, written_aside

RUNS_KEPT = 100
SUMMARY = "summary.json"
FILES_AT_ONCE = 8  # an object store answers each in some 50 ms, and many at once in the same
OF_RUN = ("run", "pipeline", "kind", "is_dry_run")


def run_history(run: Run, before: Iterable[str], summary: Mapping[str, Any]) -> list[RunFacts]:
    """The newest RUNS_KEPT runs, the newest last.

    Of `run`, at whose end this is called, only the tasks `before` its end count, each of them, and `summary` is its
    sum: so whoever ends it again finds the same. It is not there where none of them could leave a record.
    """
    files = _files_by_run()
    with ThreadPoolExecutor(FILES_AT_ONCE) as readers:
        read = list(readers.map(lambda one: (one[0], _run_facts(*one)), files.items()))
    found = {key: facts for key, facts in read if facts is not None}
    if run.key in found:
        found[run.key] = _until(found[run.key], before, summary)
        if not any(task.started_at for task in found[run.key].tasks):
            del found[run.key]
    keys = sorted(found, key=lambda key: (found[key].began_at, key))
    for key in keys[:-RUNS_KEPT]:
        _forget(key)
    kept = keys[-RUNS_KEPT:]
    for key in kept:
        # A run that began later may be at work.
        is_over = run.key in found and found[key].began_at < found[run.key].began_at
        if is_over and GATHERED not in files[key]:
            _gather(key, found[key])
    return [found[key] for key in kept]


def _files_by_run() -> dict[str, set[str]]:
    """Run key → its records by name, `tasks.json` and `summary.json` where they are."""
    runs = storage(configs.STAGING_URL) / "runs"
    runs.fs.invalidate_cache()
    found: dict[str, set[str]] = {}
    for path in runs.fs.find(runs.path) if runs.exists() else ():
        *_, third, second, name = ("", "", *str(path).split("/"))
        if second == TASKS and name.endswith(".json") and not name.startswith("."):
            found.setdefault(third, set()).add(f"{TASKS}/{name}")
        elif name in (GATHERED, SUMMARY):
            found.setdefault(second, set()).add(name)
    return found


def _run_facts(key: str, files: set[str]) -> RunFacts | None:
    """None where the run's tasks left no records."""
    gathered = _read(key, GATHERED) if GATHERED in files else None
    if gathered is None:
        records = [_read(key, name) for name in sorted(files) if name.startswith(f"{TASKS}/")]
        tasks = [one for one in records if one is not None]
        if not tasks:
            return None
        of_run = {name: tasks[0][name] for name in OF_RUN}
        summary = _read(key, SUMMARY) if SUMMARY in files else None
        gathered = {**of_run, "tasks": [_without_run(one) for one in tasks], "summary": summary}
    return RunFacts(**{**gathered, "tasks": tuple(TaskFacts.from_json(one) for one in gathered["tasks"])})


def _without_run(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in OF_RUN}


def _until(facts: RunFacts, before: Iterable[str], summary: Mapping[str, Any]) -> RunFacts:
    there = {task.task: task for task in facts.tasks}
    tasks = tuple(there.get(name, TaskFacts(name, "not run")) for name in sorted(before))
    return replace(facts, tasks=tasks, summary=summary)


def _gather(key: str, facts: RunFacts) -> None:
    file = storage(configs.STAGING_URL) / "runs" / key / GATHERED
    content = {name: getattr(facts, name) for name in OF_RUN}
    content |= {"tasks": [task.as_json() for task in facts.tasks], "summary": facts.summary}
    with written_aside(file) as scratch:
        scratch.write_text(json.dumps(content), encoding="utf-8")


def _forget(key: str) -> None:
    folder = storage(configs.STAGING_URL) / "runs" / key
    remove_tree(folder / TASKS)
    (folder / GATHERED).unlink(missing_ok=True)


def _read(key: str, name: str) -> dict[str, Any] | None:
    """None where a task has taken the file away since it was listed."""
    try:
        text = (storage(configs.STAGING_URL) / "runs" / key / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    found: dict[str, Any] = json.loads(text)
    return found
