"""The peers of all reports compute what the analyses report: every number of every row, on a small shop."""

from __future__ import annotations

from datetime import date
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import analyses
from benchmarks.analyses import DIMENSIONS
from benchmarks.analyses_in_polars import PEERS_OF_ALL, breakdown
from benchmarks.analyses_in_polars.breakdown import OTHER
from include import catalogue
from include.pipeline.analyse import compute
from include.schemas.reports import SHARED_FIELDS, ReportType
from include.staging.snapshot import Snapshot

# The rows of a report are fewer in the shop, so the peers do not look.
NO_CONSTANT = {"top_values", "most_rows"}
# Nothing is set, so they have none.
NOTHING_SET = {"step_window_days", "session_actions", "customer_actions"}
# They need a model to be fitted.
REPORTS_LEFT_OUT = {"churn": {"probability_alive"}}
FIELDS_LEFT_OUT = {("churn", "overdue"): {"mean_probability_alive"}}


def numbers(frame: pd.DataFrame, analysis: str, report_type: ReportType) -> pd.DataFrame:
    """The rows by their key, with every field that is a number."""
    fields = {**SHARED_FIELDS, **catalogue.analysis(analysis).module.FIELDS}
    left_out = {*report_type.key, *FIELDS_LEFT_OUT.get((analysis, report_type.type), ())}
    values = [name for name in report_type.fields if fields[name].type in ("long", "double") and name not in left_out]
    shown = frame[[*report_type.key, *values]].astype(dict.fromkeys(values, "float64"))
    for name in report_type.key:
        kind = fields[name].type
        days = pd.to_datetime(shown[name]).dt.date if kind == "date" else shown[name]
        shown[name] = days.astype("float64") if kind in ("long", "double") else days.astype(str)
    return shown.set_index(list(report_type.key)).sort_index()


@pytest.mark.parametrize(
    ("dimensions", "top_values"), [((), 25), (DIMENSIONS, 25), (DIMENSIONS, 2)], ids=["none", "two", "two with a rest"]
)
@pytest.mark.parametrize("analysis", sorted(PEERS_OF_ALL))
def test_equal_numbers(
    small: tuple[Path, Snapshot],
    analysis: str,
    dimensions: tuple[str, ...],
    top_values: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breakdown, "TOP_VALUES", top_values)
    monkeypatch.setitem(catalogue.analysis(analysis).module.SETTINGS, "top_values", top_values)
    folder, snapshot = small
    as_of = snapshot.newest_complete_day()
    assert isinstance(as_of, date)
    tables = snapshot.analysis_tables(dimensions=dimensions, week_start="monday")
    ours = compute(analysis, tables, as_of=as_of)
    files = {
        name: [f"{folder}/var/staging/{file.path}" for file in table.files] for name, table in snapshot.tables.items()
    }
    theirs = PEERS_OF_ALL[analysis](files, dimensions, as_of)
    assert set(theirs) == set(ours) - REPORTS_LEFT_OUT.get(analysis, set())
    rest = {f"{name}: {OTHER}" for name in dimensions} if top_values == 2 else set()
    assert rest <= {value for frame in theirs.values() for value in frame["dimension"]}
    for report_type in catalogue.analysis(analysis).module.REPORTS:
        if report_type.type not in theirs:
            continue
        expected = numbers(ours[report_type.type].rows, analysis, report_type)
        found = numbers(theirs[report_type.type], analysis, report_type)
        assert expected.notna().any(axis=None), report_type.type
        assert expected.index.is_unique, report_type.type
        pd.testing.assert_frame_equal(found, expected, rtol=1e-9, atol=1e-12, obj=report_type.type)


@pytest.mark.parametrize("analysis", sorted(PEERS_OF_ALL))
def test_equal_settings(analysis: str) -> None:
    peer = import_module(PEERS_OF_ALL[analysis].__module__)
    settings = catalogue.analysis(analysis).module.SETTINGS
    assert not any(settings[name] for name in NOTHING_SET & set(settings))
    assert settings["top_values"] == breakdown.TOP_VALUES
    named = [name for name in settings if name not in NO_CONSTANT | NOTHING_SET]
    assert {name: getattr(peer, name.upper(), None) for name in named} == {name: settings[name] for name in named}


def test_a_peer_of_all_reports_is_measured_beside_the_analysis(small: tuple[Path, Snapshot]) -> None:
    case = next(one for one in analyses.cases(3_000) if one.name == "rfm, 2 dimension columns")
    found = {name: analyses.run(case, name, small[0]) for name in case.contenders}
    assert set(found) == {"the analysis", "polars, all reports", "polars, one report", "pandas, one report"}
    assert {one.rows for one in found.values()} == {small[1].counts["sessions"]}
