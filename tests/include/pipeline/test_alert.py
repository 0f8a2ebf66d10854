"""Alerts reach a notifier of Airflow's, and what is wrong with its settings is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import configs
from include.pipeline.alert import send_alerts
from include.problem import Problem

NOTIFIER = """
from pathlib import Path

from airflow.sdk import BaseNotifier


class ToFile(BaseNotifier):
    template_fields = ("text",)

    def __init__(self, path, text):
        super().__init__()
        self.path, self.text = path, text

    def notify(self, context):
        with Path(self.path).open("a") as file:
            file.write(self.text)


class Broken(ToFile):
    def notify(self, context):
        raise OSError("the network is away")
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the notifier `notifiers_of_a_test.ToFile` writes to."""
    (tmp_path / "notifiers_of_a_test.py").write_text(NOTIFIER)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "told.txt"
    monkeypatch.setattr(configs, "ALERT_NOTIFIER", "notifiers_of_a_test.ToFile")
    arguments = {"path": str(path), "text": "Odd:\n{{ alerts }}"}
    monkeypatch.setattr(configs, "ALERT_NOTIFIER_ARGUMENTS", json.dumps(arguments))
    return path


def test_a_notifier_is_told_once_with_all_sentences(written: Path) -> None:
    context: Any = {"run_id": "a"}
    send_alerts(context, ["orders are low", "sessions are high"])
    assert written.read_text() == "Odd:\norders are low\nsessions are high"
    assert context == {"run_id": "a"}


def test_nothing_odd_and_no_notifier_send_nothing(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send_alerts({}, [])
    monkeypatch.setattr(configs, "ALERT_NOTIFIER", "")
    send_alerts({}, ["orders are low"])
    assert not written.exists()


def test_a_message_that_cannot_be_sent_fails_no_run(
    written: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(configs, "ALERT_NOTIFIER", "notifiers_of_a_test.Broken")
    send_alerts({}, ["orders are low"])
    assert not written.exists()
    assert "notifiers_of_a_test.Broken could not send the alerts: OSError" in caplog.messages


@pytest.mark.parametrize(
    ("notifier", "arguments", "said"),
    [
        ("nowhere.Notifier", "{}", "ALERT_NOTIFIER is nowhere.Notifier, which cannot be imported: "),
        ("Notifier", "{}", "ALERT_NOTIFIER is Notifier, which cannot be imported: "),
        ("pathlib.Path", "{}", "ALERT_NOTIFIER is pathlib.Path, which is no notifier of Airflow."),
        ("notifiers_of_a_test.ToFile", "{", "ALERT_NOTIFIER_ARGUMENTS do not fit notifiers_of_a_test.ToFile: "),
        ("notifiers_of_a_test.ToFile", "{}", "ALERT_NOTIFIER_ARGUMENTS do not fit notifiers_of_a_test.ToFile: "),
    ],
)
def test_wrong_settings_are_named(
    written: Path, monkeypatch: pytest.MonkeyPatch, notifier: str, arguments: str, said: str
) -> None:
    monkeypatch.setattr(configs, "ALERT_NOTIFIER", notifier)
    monkeypatch.setattr(configs, "ALERT_NOTIFIER_ARGUMENTS", arguments)
    with pytest.raises(Problem, match=f"^{said}"):
        send_alerts({}, ["orders are low"])
    assert not written.exists()
