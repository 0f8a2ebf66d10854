"""The harness on tiny sizes: what is measured, recorded, fitted and shown. No assertion about speed."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import configs
from benchmarks import __main__ as runner
from benchmarks import analyses, bulk, csv_to_parquet, extraction, machine, page, quality_gate, simulated_shop
from benchmarks.measure import Case, MeasurementFailed, MemorySampler, Outcome, apart, environment, measured, record
from benchmarks.pipeline import seconds_covered
from benchmarks.scaling import exponent, scaling
from benchmarks.staged_shop import keep_apart, shop
from include.elastic.node import EmbeddedNode

TINY = 2_000


def case_of(**more: object) -> Case:
    standard = {"family": "csv_to_parquet", "name": "n", "sessions": 10, "unit": "rows", "ours": "a"}
    return Case(**{**standard, "contenders": ("a", "b"), **more})  # type: ignore[arg-type]


def test_a_record_holds_medians_spread_ratios_and_the_largest_peak() -> None:
    runs = {
        "a": [(Outcome(2.0, 10), 5.0), (Outcome(1.0, 10), 9.0), (Outcome(4.0, 10), 6.0)],
        "b": [(Outcome(6.0, 10, {"x": 1.0}), 3.0)] * 3,
    }
    found = record(case_of(), runs)
    a, b = found["contenders"]["a"], found["contenders"]["b"]
    assert (a["median_seconds"], a["seconds"], a["peak_memory_mb"]) == (2.0, [2.0, 1.0, 4.0], 9)
    assert (a["rows_per_second"], b["rows_per_second"]) == (5, 2)
    assert (a["ours_is_times_as_fast"], b["ours_is_times_as_fast"], b["facts"]) == (1.0, 3.0, {"x": 1.0})


def test_a_record_holds_the_median_of_each_fact() -> None:
    runs = [(Outcome(1.0, 10, {"bytes": size, "x": 0.5}), 1.0) for size in (7, 900, 8)]
    found = record(case_of(), {"a": runs, "b": runs[:1]})["contenders"]
    assert (found["a"]["facts"], found["b"]["facts"]) == ({"bytes": 8, "x": 0.5}, {"bytes": 7, "x": 0.5})


def test_contenders_take_turns_each_in_a_process_of_its_own(place: Path) -> None:
    case = extraction_case(extraction.CSV)
    told: list[str] = []
    found = measured(case, place, repetitions=2, told=lambda name, *_: told.append(name), around=extraction.around)
    assert told == [*case.contenders] * 2
    ours, *peers = (found["contenders"][name] for name in case.contenders)
    assert len(peers) == 2
    assert all(ours["rows"] == one["rows"] > TINY for one in peers)  # every row, good or bad
    assert all(one["peak_memory_mb"] > 10 for one in (ours, *peers))


@pytest.mark.parametrize("name", [extraction.POSTGRES, extraction.WAYS])
def test_everyone_reads_the_same_rows_of_postgres(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = extraction_case(name)
    monkeypatch.setenv("AIRFLOW_CONN_BENCHMARK", "")  # so that it goes again
    with extraction.around(case, place) as shared:
        equipped = replace(case, detail=shared)
        rows = [extraction.run(equipped, contender, place).rows for contender in case.contenders]
    assert len(rows) >= 2
    assert min(rows) == max(rows) > TINY * 0.9


def extraction_case(name: str) -> Case:
    return next(case for case in extraction.cases(TINY) if case.name == name)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny shop, where all that is measured in this process finds its files."""
    for setting in ("STAGING_URL", "TEMPORARY_DIR", "DATA_DOCS_DIR"):
        monkeypatch.setattr(configs, setting, "")  # so that they come back
    keep_apart(tmp_path)
    shop(tmp_path, TINY)
    return tmp_path


def test_csv_to_parquet_accounts_for_every_row(place: Path) -> None:
    (case,) = csv_to_parquet.cases(TINY)
    ours, polars = (csv_to_parquet.run(case, name, place) for name in case.contenders)
    assert ours.rows == polars.rows > TINY
    assert set(ours.facts) == {"extract_seconds", "validate_seconds", "merge_seconds"}


def test_the_shop_that_is_written_has_the_bytes_that_are_copied(tmp_path: Path) -> None:
    (case,) = simulated_shop.cases(TINY)
    ours, copied = (apart(case, name, tmp_path)[0] for name in case.contenders)
    assert ours.facts == copied.facts
    assert ours.rows == copied.rows == TINY


def test_the_gate_and_great_expectations_alone_judge_the_same_rows(place: Path) -> None:
    (case,) = quality_gate.cases(TINY)
    rows = [quality_gate.run(case, name, place).rows for name in (quality_gate.OURS, quality_gate.ALONE)]
    assert rows[0] == rows[1] > TINY * 0.9


def test_a_contender_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(MeasurementFailed, match="KeyError: 'url'"):
        apart(case_of(family="bulk", name=bulk.PLAIN), "bulk_write", tmp_path)  # nobody told it of a node


def test_a_contender_never_sees_the_users_own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"STAGING_URL": "s3://own", "ELASTICSEARCH_URL": "http://own", "AIRFLOW_CONN_ELASTICSEARCH_DEFAULT": "own"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    seen = environment(tmp_path)
    assert not own.keys() & seen.keys()
    assert seen["VAR_DIR"] == str(tmp_path / "var")
    assert seen["PATH"] == os.environ["PATH"]


def test_memory_counts_the_whole_tree() -> None:
    child = "held = bytearray(80_000_000); input()"
    run_it = f"subprocess.run([sys.executable, '-c', {child!r}])"
    parent = f"import subprocess, sys; held = bytearray(60_000_000); {run_it}"
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE)
    with MemorySampler(process.pid) as sampler:
        try:
            while sampler.peak_bytes < 140_000_000:
                assert process.poll() is None
        finally:
            process.communicate(b"\n")
    assert sampler.peak_bytes >= 140_000_000


@pytest.mark.parametrize("contender", bulk.CONTENDERS)
def test_every_writer_indexes_every_document(contender: str, shared_node: EmbeddedNode, tmp_path: Path) -> None:
    plain, _ = bulk.cases(500)
    case = Case(**{**vars(plain), "detail": {"url": shared_node.url}})
    assert bulk.run(case, contender, tmp_path).rows == 500


def test_the_documents_are_of_the_size_they_say() -> None:
    sizes = [len(bulk.plain_operation(number)) for number in range(1000)]
    assert 290 < np.mean(sizes) < 330
    taken = bulk.action(b'{"index":{"_id":"a","version":3,"version_type":"external_gte"}}\n{"x":1}\n')
    assert taken == {"_op_type": "index", "_id": "a", "version": 3, "version_type": "external_gte", "_source": {"x": 1}}


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_the_exponent_of_known_growth(power: float) -> None:
    sizes = [100_000, 1_000_000, 10_000_000]
    assert exponent(sizes, [3e-6 * size**power for size in sizes]) == pytest.approx(power)


def test_n_log_n_has_the_exponent_the_page_says() -> None:
    sizes = [100_000, 1_000_000, 10_000_000]
    assert exponent(sizes, [size * np.log(size) for size in sizes]) == pytest.approx(1.07, abs=0.005)


def test_all_analyses_together_are_timed_one_by_one(place: Path) -> None:
    (case,) = (one for one in analyses.cases(TINY) if one.ours == analyses.EVERY)
    found = analyses.run(case, analyses.EVERY, place)
    assert found.rows > TINY * 0.9
    assert set(found.facts) == set(analyses.PEERS)
    assert sum(found.facts.values()) == pytest.approx(found.seconds, abs=0.1)


def test_growth_is_fitted_per_case_with_several_sizes() -> None:
    def one(name: str, sessions: int, seconds: float) -> dict[str, object]:
        runs = {"a": [(Outcome(seconds, sessions), 1.0)]}
        return record(case_of(name=name, sessions=sessions, contenders=("a",)), runs)

    (grown,) = scaling([one("grows", 1000, 20.0), one("alone", 100, 1.0), one("grows", 100, 2.0)])
    assert grown == {
        "family": "csv_to_parquet", "name": "grows", "sizes": [100, 1000], "seconds": [2.0, 20.0], "exponent": 1.0,
    }  # fmt: skip


def test_time_in_which_a_task_is_at_work() -> None:
    begin = datetime(2024, 1, 1)

    def span(first: int, last: int) -> tuple[datetime, datetime]:
        return begin + timedelta(seconds=first), begin + timedelta(seconds=last)

    assert seconds_covered([span(0, 4), span(2, 3), span(3, 6), span(10, 11)]) == 7


def test_sizes_and_families_of_the_command() -> None:
    assert runner.sizes("100k, 1m,10M,2000") == (100_000, 1_000_000, 10_000_000, 2_000)
    assert runner.families("bulk,analyses") == ("bulk", "analyses")
    for wrong in (runner.sizes, runner.families):
        with pytest.raises(argparse.ArgumentTypeError):
            wrong("large")


def test_the_page_is_fresh() -> None:
    written = (configs.PROJECT_ROOT / page.PAGE).read_text(encoding="utf-8")
    assert written == page.render_file(), "stale: run `.venv/bin/python -m benchmarks.page`"


def test_the_page_shows_every_measurement() -> None:
    results = json.loads(page.RESULTS.read_text(encoding="utf-8"))
    text = page.render(results)
    for one in results["measurements"]:
        for name, found in one["contenders"].items():
            assert f"| {one['sessions']:,} | {name}" in text
            assert f"{found['rows_per_second']:,}" in text
    assert f"{results['machine']['cores']} cores" in text
    assert {one["family"] for one in results["measurements"]} <= set(page.TITLES)


def test_make_bench_passes_its_options_on() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "bench", "SIZES=10k", "ONLY=bulk"],
        capture_output=True, text=True, check=True, cwd=configs.PROJECT_ROOT, env=os.environ,
    ).stdout  # fmt: skip
    assert '-m benchmarks --sizes "10k" --only "bulk"' in shown


def test_results_are_kept_one_by_one_and_measuring_anew_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(configs, "PROJECT_ROOT", tmp_path)
    (tmp_path / "docs").mkdir()

    def one(name: str, seconds: float) -> dict[str, Any]:
        runs = {"a": [(Outcome(seconds, 10), 1.0)], "b": [(Outcome(3.0, 10), 1.0)]}
        return {**record(case_of(name=name), runs), "measured_at": "2026-01-02T03:04+00:00", "load_average": 0.1}

    described = machine.described()
    runner.write(described, [one("first", 1.0)])
    runner.write(described, [one("second", 1.0), one("first", 2.0)])
    found = json.loads(page.RESULTS.read_text(encoding="utf-8"))["measurements"]
    assert {each["name"]: each["contenders"]["a"]["seconds"] for each in found} == {"second": [1.0], "first": [2.0]}
    assert "### First\n\n| sessions |" in (written := (tmp_path / page.PAGE).read_text(encoding="utf-8"))
    assert "| 10 | a (ours) | 2.00 |" in written
    runner.write({**described, "cores": 1_000}, [one("third", 1.0)])
    found = json.loads(page.RESULTS.read_text(encoding="utf-8"))["measurements"]
    assert [each["name"] for each in found] == ["third"]  # another machine's are no comparison
