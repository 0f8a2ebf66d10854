"""The dashboards of a run as one HTML file in staging, and by mail where somebody is named.

    the run's sum  ->  `reports/<report date>/customer-analytics.html`, one mail per recipient and run

The mail goes through Airflow's own notifier, whose connection has the server and the login. Whom it went to is noted in
the run's folder, so a task that is tried again sends nothing twice.
"""

from __future__ import annotations

import json
import logging
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import configs
from include.dashboards.sendable import NothingToSend, Report, mail_text, read_and_render
from include.elastic.client import connect
from include.pipeline.record import recorded
from include.pipeline.run import Run, run_from_context
from include.problem import Problem
from include.staging.storage import is_local, remove_tree, storage, written_aside

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)

FOLDER = "reports"
FILE_NAME = "customer-analytics.html"
SENT = "report-sent-to.json"  # in the run's folder


class MailProblem(Problem):
    """The mail server cannot be used, or takes no mail."""

    def __init__(self, sentence: str, *, retry: bool = False) -> None:
        super().__init__(sentence)
        self.retry = retry


def write_report(context: Context, published: dict[str, Any]) -> dict[str, Any]:
    """Write the report, send it, delete old ones; where it is, how large, what is in it, and whom it went to.

    Skipped, with the reason in the log, where WRITE_REPORT is off or no report is there yet. Raises `MailProblem` after
    the file is written.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    with recorded(context) as record:
        if not configs.WRITE_REPORT:
            raise AirflowSkipException("WRITE_REPORT is off: no report is written or sent.")
        run = run_from_context(context)
        try:
            with connect() as client:
                report = read_and_render(
                    client, configs.REPORT_DASHBOARDS, configs.REPORT_DIMENSION, bytes_at_most=configs.REPORT_MAX_BYTES
                )
        except NothingToSend as nothing:  # a run may have no analyses
            raise AirflowSkipException(str(nothing)) from None
        file = reports_folder() / published["as_of"] / FILE_NAME
        content = report.html.encode()
        with written_aside(file) as scratch:
            scratch.write_bytes(content)
        log.info("%s: %.1f MB, with %s", file, len(content) / 1e6, ", ".join(report.dashboards))
        for reason in report.left_out:
            log.info("Not in it: %s", reason)
        delete_old_reports()
        record.handled(len(report.dashboards))
        sent_to = _send_once(context, run, report, content, published["as_of"], str(file))
        return {
            "file": str(file),
            "bytes": len(content),
            "dashboards": list(report.dashboards),
            "left_out": list(report.left_out),
            "sent_to": len(sent_to),
        }


def reports_folder() -> ObjectStoragePath:
    return storage(configs.STAGING_URL) / FOLDER


def latest_report() -> bytes | None:
    """The file of the newest report date, or None where none has been written."""
    for folder in reversed(_folders()):
        file = folder / FILE_NAME
        if file.exists():
            return Path(file.path).read_bytes() if is_local(file) else bytes(file.fs.cat_file(file.path))
    return None


def delete_old_reports() -> None:
    """Keep those of the newest REPORTS_KEPT report dates."""
    for folder in _folders()[: -max(1, configs.REPORTS_KEPT)]:
        remove_tree(folder)


def _folders() -> list[ObjectStoragePath]:
    """One per report date, the oldest first."""
    root = reports_folder()
    if not root.exists():
        return []
    return sorted((folder for folder in root.iterdir() if folder.is_dir()), key=lambda folder: folder.name)


def _send_once(context: Context, run: Run, report: Report, content: bytes, as_of: str, file: str) -> list[str]:
    """Send to those recipients whom this run has not sent to before; all whom it has sent to.

    Each gets a mail of its own: who is refused keeps it from nobody else, and nobody is told who else gets it.
    """
    note = run.folder / SENT
    sent: list[str] = json.loads(note.read_text()) if note.exists() else []
    waiting = [one for one in configs.REPORT_RECIPIENTS if one not in sent]
    if not waiting:
        if sent:
            log.info("This run has sent the report already; delete %s and clear the task to send it again.", note)
        return sent
    refused: dict[str, tuple[int, bytes]] = {}
    with _attached(report, content, as_of) as told:
        for recipient in waiting:
            try:
                _send(cast("Context", {**context, **told}), recipient, file)
            except smtplib.SMTPRecipientsRefused as problem:
                refused |= problem.recipients
                continue
            sent.append(recipient)
            with written_aside(note) as scratch:
                scratch.write_text(json.dumps(sent), encoding="utf-8")
    log.info("Sent to %d of %d recipients", len(waiting) - len(refused), len(waiting))
    if refused:
        raise _mail_problem(smtplib.SMTPRecipientsRefused(refused), file)
    return sent


@contextmanager
def _attached(report: Report, content: bytes, as_of: str) -> Iterator[dict[str, str]]:
    """What the mails say and attach, for the context: there what comes from the data is no template."""
    with TemporaryDirectory(prefix="report-", dir=_temporary_folder()) as folder:
        attached = Path(folder) / f"customer-analytics-{as_of}.html"
        attached.write_bytes(content)
        yield {
            "report_subject": f"Customer analytics, {as_of}",
            "report_text": mail_text(report, attached.name),
            "report_file": str(attached),
        }


def _send(context: Context, recipient: str, file: str) -> None:
    """Mail what `_attached` put into the context. Raises `SMTPRecipientsRefused`, and `MailProblem` for all else."""
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    notifier = SmtpNotifier(
        to=recipient,
        subject="{{ report_subject }}",
        html_content="{{ report_text }}",
        files=["{{ report_file }}"],
        smtp_conn_id=configs.SMTP_CONN_ID,
    )
    try:
        notifier(context)
    except smtplib.SMTPRecipientsRefused:
        raise
    except Exception as problem:  # whatever the provider raises
        raise _mail_problem(problem, file) from None


def _temporary_folder() -> Path:
    folder = Path(configs.TEMPORARY_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _mail_problem(problem: Exception, file: str) -> MailProblem:
    """One sentence; never what a login was answered with."""
    connection = f"the Airflow connection `{configs.SMTP_CONN_ID}`"
    retry, to_some = False, ""
    match problem:
        case smtplib.SMTPAuthenticationError():
            reason = f"the server refused the login ({problem.smtp_code}); check login and password of {connection}"
        case smtplib.SMTPRecipientsRefused():
            refused = "; ".join(
                f"{one}: {code} {_one_line(text)}" for one, (code, text) in sorted(problem.recipients.items())
            )
            reason = f"the server refused {refused}; check REPORT_RECIPIENTS"
            retry = all(400 <= code < 500 for code, _ in problem.recipients.values())
            to_some = f" to {len(problem.recipients)} of {len(configs.REPORT_RECIPIENTS)} recipients"
        case smtplib.SMTPResponseException():
            reason = (
                f"the server answered {problem.smtp_code} {_one_line(problem.smtp_error)}; check {connection} and "
                "whether the server takes a mail of this size (REPORT_MAX_BYTES)"
            )
            retry = 400 <= problem.smtp_code < 500
        case OSError():  # also what smtplib raises when the server hangs up
            said = problem.strerror or type(problem).__name__
            reason = f"the server cannot be reached ({said}); check host, port and encryption of {connection}"
            retry = True
        case _:
            reason = f"{_one_line(str(problem)).rstrip('.')}; check {connection}"
    return MailProblem(
        f"The report is written, but could not be mailed{to_some}: {reason}, then clear this task. The file is {file}.",
        retry=retry,
    )


def _one_line(text: str | bytes) -> str:
    return " ".join((text.decode(errors="replace") if isinstance(text, bytes) else text).split())
