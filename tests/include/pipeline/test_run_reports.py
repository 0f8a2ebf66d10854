"""The reports of the runs in a real Elasticsearch, from records on staging: ending a run again changes nothing."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

import configs
from include import catalogue
from include.elastic.client import connect, index_name
from include.elastic.indexes import ensure_reports
from include.elastic.reports import publish_reports, read_rows
from include.pipeline.record import recorded
from include.pipeline.run import run_from_context
from include.pipeline.run_reports import write_run_reports
from include.problem import Problem
from tests.checksums import documents
from tests.runs import context_of

SUMMARY = {
    "as_of": "2024-12-31",
    "newest_day": "2024-12-31",
    "indexed": {"orders": 2},
    "reports": 1,
    "report_rows": 7,
}


def end_the_run(run_id: str) -> None:
    context = context_of("publish", run_id)
    before = {"check", "exploratory.rfm"}
    context["task"] = SimpleNamespace(get_flat_relative_ids=lambda upstream: before if upstream else set())
    with recorded(context) as record:
        write_run_reports(context, run_from_context(context), SUMMARY)
        record.handled(7)
    publish_reports(connect())


def test_the_history_is_told_and_told_again_the_same(
    node_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "STAGING_URL", str(tmp_path))
    client = connect()
    ensure_reports(client, {one.name: one.module.FIELDS for one in catalogue.reporting()})
    with pytest.raises(AirflowFailException), recorded(context_of("check", "broken")):
        raise Problem("The shop is closed; come back tomorrow.")
    for name in ("check", "exploratory.rfm"):
        with recorded(context_of(name, "good")) as record:
            record.handled(7)
    end_the_run("good")
    told = [(one["run"], one["run_state"], one.get("failure")) for one in read_rows(client, "runs", "runs")]
    assert told == [("broken", "failed", "The shop is closed; come back tomorrow."), ("good", "complete", None)]
    fresh = {one["analysis"] for one in read_rows(client, "runs", "freshness") if one["freshness_state"] == "fresh"}
    assert fresh == {"rfm"}
    assert {one["task"] for one in read_rows(client, "runs", "tasks") if one["is_newest_run"]} == {
        "check", "exploratory.rfm",
    }  # fmt: skip
    once = documents(node_url, index_name("reports"))
    end_the_run("good")
    assert documents(node_url, index_name("reports")) == once
