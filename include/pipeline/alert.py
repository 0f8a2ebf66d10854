"""Tell somebody about the alerts of a run, through an Airflow notifier.

    the task's context, sentences  ->  one notification, where ALERT_NOTIFIER names a notifier and there are sentences

A notifier is a class after Airflow's `BaseNotifier`: Slack, e-mail, PagerDuty, … come with their providers. Its
arguments (ALERT_NOTIFIER_ARGUMENTS) are templates that know `alerts`, the sentences, one a line. They name a
connection, where its login belongs. A message that cannot be sent is an error in the log; the run does not fail for it.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import configs
from include.problem import Problem

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)


def send_alerts(context: Context, sentences: Sequence[str]) -> None:
    """Log the sentences, and send them where a notifier is set."""
    for sentence in sentences:
        log.warning("Alert: %s", sentence)
    if configs.ALERT_NOTIFIER and sentences:
        notifier = _notifier()
        try:
            notifier(cast("Context", {**context, "alerts": "\n".join(sentences)}))
        except Exception as problem:  # whatever a provider raises: the reports are out, and the log has the sentences
            log.error("%s could not send the alerts: %s", configs.ALERT_NOTIFIER, type(problem).__name__)


def _notifier() -> Any:
    from airflow.sdk import BaseNotifier

    module, _, name = configs.ALERT_NOTIFIER.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as problem:
        raise Problem(f"ALERT_NOTIFIER is {configs.ALERT_NOTIFIER}, which cannot be imported: {problem}.") from problem
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise Problem(f"ALERT_NOTIFIER is {configs.ALERT_NOTIFIER}, which is no notifier of Airflow.")
    try:
        return found(**json.loads(configs.ALERT_NOTIFIER_ARGUMENTS))
    except (ValueError, TypeError) as problem:
        raise Problem(f"ALERT_NOTIFIER_ARGUMENTS do not fit {configs.ALERT_NOTIFIER}: {problem}.") from problem
