"""The report of a run: in staging, and through Airflow's own notifier to a mail server that is really there."""

from __future__ import annotations

import email
import email.policy
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from fastapi.testclient import TestClient

import configs
from include import catalogue
from include.dashboards.web import create_app
from include.elastic.client import connect
from include.elastic.indexes import ensure_reports
from include.elastic.reports import publish_reports
from include.elastic.reports import write_report as write_one
from include.pipeline.run import run_folder
from include.pipeline.sendable_report import SENT, latest_report, reports_folder, write_report
from tests.published_reports import AS_OF, RUN_ID, WRITTEN_AT, shop
from tests.runs import context_of
from tests.servers import free_port

ANALYSIS = "descriptive_statistics"
CONTEXT = context_of("write_report")
PUBLISHED = {"as_of": AS_OF.isoformat()}


@pytest.fixture(scope="module")
def elasticsearch_url(node_url: str) -> str:
    """A node that holds the reports of one analysis, whose key figures the overview shows."""
    tables = shop()
    with connect(node_url) as client:
        ensure_reports(client, {one.name: getattr(one.module, "FIELDS", {}) for one in catalogue.reporting()})
        module = catalogue.analysis(ANALYSIS).module
        reports = getattr(module, ANALYSIS)(tables, as_of=AS_OF, **module.SETTINGS)
        for report_type in module.REPORTS:
            write_one(
                client,
                ANALYSIS,
                report_type,
                reports[report_type.type],
                report_date=AS_OF,
                run_id=RUN_ID,
                written_at=WRITTEN_AT,
                parameters=module.SETTINGS,
                fields=getattr(module, "FIELDS", {}),
            )
        publish_reports(client)
    return node_url


@dataclass
class Mailbox:
    """What a mail server does: it keeps the mails, unless it is told to refuse."""

    refuses_recipients: dict[str, str] = field(default_factory=dict)
    refuses_mails: str = ""
    refuses_mails_after: int | None = None
    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self.refuses_recipients:
            return self.refuses_recipients[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.refuses_mails:
            return self.refuses_mails
        if self.refuses_mails_after == len(self.mails):
            return "451 busy"
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((list(envelope.rcpt_tos), mail))
        return "250 OK"


def connection(port: int, **extra: Any) -> str:
    told = {"disable_ssl": True, "disable_tls": True, "retry_limit": 0, "timeout": 10, "from_email": "shop@example.org"}
    return json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": {**told, **extra}})


@pytest.fixture
def settings(elasticsearch_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "ELASTICSEARCH_URL", elasticsearch_url)
    monkeypatch.setattr(configs, "STAGING_URL", str(tmp_path / "staging"))
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(configs, "REPORT_RECIPIENTS", ())
    monkeypatch.setattr(configs, "REPORT_DASHBOARDS", ("overview",))


@pytest.fixture
def mailbox(settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    box = Mailbox()
    port = free_port()
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection(port))
    monkeypatch.setattr(configs, "REPORT_RECIPIENTS", ("ann@example.org", "bob@example.org"))
    yield box
    server.stop()


def refused(*, retried: bool) -> str:
    with pytest.raises(AirflowException if retried else AirflowFailException) as caught:
        write_report(CONTEXT, PUBLISHED)
    assert isinstance(caught.value, AirflowFailException) is not retried
    said = str(caught.value)
    assert said.startswith("The report is written, but could not be mailed")
    assert "\n" not in said
    assert latest_report() is not None
    return said


def test_it_is_written_and_a_repeat_writes_the_same(settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "REPORT_DASHBOARDS", ())
    done = write_report(CONTEXT, PUBLISHED)
    file = Path(configs.STAGING_URL) / "reports" / AS_OF.isoformat() / "customer-analytics.html"
    first = file.read_bytes()
    assert done["file"].endswith(str(file))
    assert done["bytes"] == len(first)
    assert done["sent_to"] == 0
    assert done["dashboards"] == ["Overview", "Descriptive statistics"]
    assert any("No run has written this report yet." in reason for reason in done["left_out"])
    assert write_report(CONTEXT, PUBLISHED) == done
    assert file.read_bytes() == first == latest_report()
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_it_reaches_the_recipients_once(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_report(CONTEXT, PUBLISHED)["sent_to"] == 2
    (recipients, mail), (others, _) = mailbox.mails
    assert (recipients, others) == (["ann@example.org"], ["bob@example.org"])
    assert mail["To"] == "ann@example.org"
    assert (mail["Subject"], mail["From"]) == (f"Customer analytics, {AS_OF}", "shop@example.org")
    [attached] = mail.iter_attachments()
    assert attached.get_filename() == f"customer-analytics-{AS_OF}.html"
    assert attached.get_content() == latest_report()
    body = mail.get_body(("html",))
    assert body is not None
    assert "Orders, last 7 days: 93 (+97.9% on the period before)" in body.get_content()

    write_report(context_of("write_report", try_number=2), PUBLISHED)
    assert len(mailbox.mails) == 2
    monkeypatch.setattr(configs, "REPORT_RECIPIENTS", ("bob@example.org", "eve@example.org"))
    assert write_report(CONTEXT, PUBLISHED)["sent_to"] == 3
    assert mailbox.mails[2][0] == ["eve@example.org"]
    write_report(context_of("write_report", "another run"), PUBLISHED)
    assert [recipients for recipients, _ in mailbox.mails[3:]] == [["bob@example.org"], ["eve@example.org"]]
    assert not list(Path(configs.TEMPORARY_DIR).glob("report-*"))


def test_names_from_the_data_are_no_templates(
    mailbox: Mailbox, elasticsearch_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.pipeline.sendable_report.mail_text", lambda *_: "<p>{{ ti.task_id }} {% if %}</p>")
    write_report(CONTEXT, PUBLISHED)
    (_, mail), _ = mailbox.mails
    body = mail.get_body(("html",))
    assert body is not None
    assert body.get_content().strip() == "<p>{{ ti.task_id }} {% if %}</p>"


def test_a_mail_that_is_refused_is_said_and_sent_by_the_next_try(mailbox: Mailbox) -> None:
    mailbox.refuses_mails = "552 message exceeds fixed maximum message size"
    said = refused(retried=False)
    assert "the server answered 552 message exceeds fixed maximum message size" in said
    assert "REPORT_MAX_BYTES" in said
    assert not (run_folder("one") / SENT).exists()
    mailbox.refuses_mails = "451 busy"
    assert "the server answered 451 busy" in refused(retried=True)
    mailbox.refuses_mails = ""
    mailbox.refuses_recipients = dict.fromkeys(("ann@example.org", "bob@example.org"), "550 no such mailbox")
    said = refused(retried=False)
    assert "could not be mailed to 2 of 2 recipients: the server refused " in said
    assert "ann@example.org: 550 no such mailbox; bob@example.org: 550 no such mailbox" in said
    assert mailbox.mails == []
    mailbox.refuses_recipients = {}
    assert write_report(CONTEXT, PUBLISHED)["sent_to"] == 2


def test_who_is_refused_is_named_and_the_others_have_it_once(mailbox: Mailbox) -> None:
    mailbox.refuses_recipients = {"ann@example.org": "450 mailbox is full"}
    said = refused(retried=True)
    assert "could not be mailed to 1 of 2 recipients: the server refused ann@example.org: 450 mailbox is full;" in said
    assert [recipients for recipients, _ in mailbox.mails] == [["bob@example.org"]]
    mailbox.refuses_recipients = {}
    assert write_report(context_of("write_report", try_number=2), PUBLISHED)["sent_to"] == 2
    assert [recipients for recipients, _ in mailbox.mails] == [["bob@example.org"], ["ann@example.org"]]


def test_a_try_that_ends_between_two_mails_sends_none_twice(mailbox: Mailbox) -> None:
    mailbox.refuses_mails_after = 1
    assert "the server answered 451 busy" in refused(retried=True)
    mailbox.refuses_mails_after = None
    assert write_report(context_of("write_report", try_number=2), PUBLISHED)["sent_to"] == 2
    assert [recipients for recipients, _ in mailbox.mails] == [["ann@example.org"], ["bob@example.org"]]


def test_a_server_or_connection_that_is_not_there(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection(free_port()))
    said = refused(retried=True)
    assert "the server cannot be reached (Connection refused); check host, port and encryption" in said
    assert "the Airflow connection `smtp_default`" in said
    monkeypatch.setattr(configs, "SMTP_CONN_ID", "nowhere")
    assert "SMTP connection is not found; check the Airflow connection `nowhere`" in refused(retried=False)


def test_without_a_sender_it_says_what_to_give(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    port = json.loads(os.environ["AIRFLOW_CONN_SMTP_DEFAULT"])["port"]
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection(port, from_email=None))
    assert "You should provide `from_email` or define it in the connection" in refused(retried=False)


def test_it_can_be_switched_off(settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "WRITE_REPORT", False)
    with pytest.raises(AirflowSkipException, match="WRITE_REPORT is off"):
        write_report(CONTEXT, PUBLISHED)
    assert latest_report() is None


def test_old_files_go_and_the_newest_report_date_is_the_latest(settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "REPORTS_KEPT", 2)
    for day in ("2024-05-27", "2024-05-29", "2024-05-28"):
        write_report(CONTEXT, {"as_of": day})
    assert sorted(folder.name for folder in reports_folder().iterdir()) == ["2024-05-28", "2024-05-29"]
    (reports_folder() / "2024-05-29" / "customer-analytics.html").write_text("the newest")
    assert latest_report() == b"the newest"


def test_before_the_first_reports_it_says_so(settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "INDEX_PREFIX", "another-")
    with connect() as client:
        ensure_reports(client, {})
        publish_reports(client)
    with pytest.raises(AirflowSkipException, match="There is no report to send: no run has written"):
        write_report(CONTEXT, PUBLISHED)


def test_the_page_serves_the_latest_and_lets_nothing_in_it_run(settings: None) -> None:
    page = TestClient(create_app([], lambda: None))
    assert page.get("/report.html").status_code == 404
    assert "the next run writes one" in page.get("/report.html").json()["detail"]
    write_report(CONTEXT, PUBLISHED)
    answer = page.get("/report.html")
    assert answer.content == latest_report()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:;" in policy
    assert "script-src" not in policy
    assert page.get("/report.html", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
