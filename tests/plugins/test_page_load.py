"""The page's timings on a small shop's reports: each contender is opened, and each number says what it should.

No assertion about speed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import page, page_load
from benchmarks.measure import Outcome, apart, record
from benchmarks.page_load import AGAIN, AIRFLOW, OURS
from tests.airflow_server import AirflowServer

pytestmark = pytest.mark.browser

PAINTS = ("first_contentful_paint_ms", "largest_contentful_paint_ms")
CHARTS = ("first_chart_ms", "everything_drawn_ms")


Facts = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def facts(airflow: AirflowServer, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """What every contender told, each in a process of its own."""
    found = {}
    (case,) = page_load.cases(1_000)
    served = replace(case, detail={**case.detail, "url": airflow.url, "password": airflow.login[1]})
    for contender in case.contenders:
        outcome, peak_mb = apart(served, contender, tmp_path_factory.mktemp("page"))
        assert outcome.seconds == outcome.facts["largest_contentful_paint_ms"] / 1_000
        assert outcome.rows == outcome.facts["requests"]
        assert peak_mb > 50
        found[contender] = outcome.facts
    return found


def test_what_is_told_is_in_the_order_in_which_it_happens(facts: Facts) -> None:
    for contender, told in facts.items():
        first, largest = (told[name] for name in PAINTS)
        assert 0 < first <= largest
        assert told["blocking_ms"] >= 0
        assert (set(CHARTS) <= set(told)) == contender.startswith(OURS)
        if contender.startswith(OURS):
            assert first < told["first_chart_ms"] <= told["everything_drawn_ms"]


def test_a_cache_saves_bytes(facts: Facts) -> None:
    """The page comes with the library that draws its charts, which is most of it, once."""
    for contender in (OURS, AIRFLOW):
        cold, warm = facts[contender], facts[contender + AGAIN]
        assert cold["bytes"] > 5 * warm["bytes"]
        assert 0 < warm["requests"] <= cold["requests"]
    assert facts[OURS]["bytes"] > 200_000


def test_the_facts_of_both_are_shown_and_nothing_of_the_login() -> None:
    (case,) = page_load.cases(1_000)
    told: Facts = {name: {"bytes": 5_000} for name in case.contenders}
    told[OURS] = {"first_chart_ms": 12, "bytes": 3_000}
    runs = {name: [(Outcome(0.5, 1, told[name]), 90.0)] for name in case.contenders}
    found: dict[str, Any] = {**record(case, runs), "measured_at": "2026-01-02T03:04+00:00", "load_average": 0.1}
    assert found["detail"] == {"facts_of_all": True}
    machine = {"cores": 2, "processor": "p", "memory_gb": 1, "system": "s", "versions": {}, "settings": {}}
    text = page.render({"machine": machine, "measurements": [found], "scaling": []})
    assert "| | first chart ms | bytes |" in text
    assert f"| {OURS} | 12 | 3,000 |" in text
    assert f"| {AIRFLOW} |  | 5,000 |" in text
