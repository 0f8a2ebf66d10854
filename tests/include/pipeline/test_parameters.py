"""Schedules and the trigger form follow configs.py and sources.yaml."""

from pathlib import Path

import pytest

import configs
from include import catalogue
from include.pipeline.parameters import configured_sources, cron, parameters
from include.problem import Problem

SOURCES = """
sessions:
  connector: csv
  path: s.csv
  columns: {id: i, client: c, session_start_date: d, has_purchased: {constant: true}, payment_amount: a}
  dimensions: [region, device]
customers: {connector: csv, path: c.csv, columns: {client: c, download_date: d}}
deliveries:
  - {name: parcels, connector: csv, path: d.csv, columns: {order_id: o, delivery_date: d}}
  - {name: pickups, connector: csv, path: p.csv, columns: {order_id: o, delivery_date: d}}
"""


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("manual", None),
        ("once", "once"),
        ("hourly", "0 * * * *"),
        ("12-hourly", "0 */12 * * *"),
        ("daily", "0 0 * * *"),
        ("weekly", "0 0 * * 1"),
        ("30 6 * * 1-5", "30 6 * * 1-5"),
    ],
)
def test_schedules(monkeypatch: pytest.MonkeyPatch, schedule: str, expected: str | None) -> None:
    monkeypatch.setattr(configs, "SCHEDULE", schedule)
    assert cron() == expected


def test_an_unknown_schedule_names_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "SCHEDULE", "fortnightly")
    with pytest.raises(Problem, match="SCHEDULE is 'fortnightly'; use manual, once, hourly, 12-hourly, daily, weekly"):
        cron()


def test_the_form_offers_what_is_mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(SOURCES)
    monkeypatch.setattr(configs, "SOURCES_FILE", str(tmp_path / "sources.yaml"))
    assert configured_sources() == {
        "sessions": "sessions",
        "customers": "customers",
        "parcels": "deliveries",
        "pickups": "deliveries",
    }
    form = {name: parameter.resolve() for name, parameter in parameters().items()}
    assert form == {
        "as_of": None,
        "start": None,
        "end": None,
        "dimensions": ["region", "device"],
        "analyses": [one.name for one in catalogue.analyses()],
        "full_refresh": False,
        "dry_run": False,
    }


def test_a_broken_sources_file_still_leaves_a_dag_whose_check_can_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(configs, "SOURCES_FILE", str(tmp_path / "none.yaml"))
    assert configured_sources() == {"sessions": "sessions", "customers": "customers"}
    assert parameters()["dimensions"].resolve() == []


def test_the_analyses_that_are_chosen_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = parameters()["analyses"]
    monkeypatch.setattr(configs, "ANALYSES", ("rfm", "cohorts"))
    chosen = parameters()["analyses"]
    assert (chosen.value, set(everything.value)) == (["cohorts", "rfm"], {one.name for one in catalogue.analyses()})
    assert chosen.schema["items"] == everything.schema["items"]
