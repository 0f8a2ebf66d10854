"""The report writer against a real node."""

import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from elasticsearch import Elasticsearch

import configs
from include.elastic.client import ElasticsearchProblem, index_name
from include.elastic.indexes import ensure_reports
from include.elastic.reports import (
    WrittenReport,
    json_rows,
    latest_header,
    publish_reports,
    read_rows,
    recover_reports,
    write_report,
    write_skipped,
)
from include.schemas.reports import SHARED_FIELDS, Field, Report, ReportType
from tests.servers import Answer, FaultyProxy

WEEKLY = ReportType("weekly", "Orders by week", ("dimension", "period", "orders", "rate"), ("dimension", "period"))
FIRST, SECOND = date(2024, 1, 31), date(2024, 2, 29)
WRITTEN_AT = datetime(2024, 3, 1, 12, 0, 0, 5, tzinfo=UTC)


def report(periods: int, *, orders: int = 1, **more: Any) -> Report:
    dimensions = ["all", "region: North"]
    rows = [
        {"dimension": name, "period": date(2024, 1, 1 + period), "orders": orders, "rate": 0.5 if period else np.nan}
        for name in dimensions
        for period in range(periods)
    ]
    return Report(pd.DataFrame(rows, columns=list(WEEKLY.fields)), **more)


def write(
    client: Elasticsearch, one: Report, day: date = FIRST, run: str = "run 1", *, name: str = "cohorts"
) -> WrittenReport:
    return write_report(
        client, name, WEEKLY, one, report_date=day, run_id=run, written_at=WRITTEN_AT, parameters={"days": 7}
    )


def documents(client: Elasticsearch) -> dict[str, dict[str, Any]]:
    hits = client.search(index=index_name("reports"), size=1_000)["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


@pytest.fixture
def reports(client: Elasticsearch) -> Elasticsearch:
    ensure_reports(client, {})
    return client


@pytest.mark.contract
def test_a_report_is_read_as_it_was_written(reports: Elasticsearch) -> None:
    written = write(
        reports,
        report(2, kpis={"orders": 4.0, "none": np.nan}, definition={"order": "paid"}, warnings=["few rows"]),
    )
    assert read_rows(reports, "cohorts", "weekly") == []  # not yet published
    publish_reports(reports)
    rows = read_rows(reports, "cohorts", "weekly")
    common = {
        "report_name": "cohorts",
        "type": "weekly",
        "report_date": "2024-01-31",
        "version": written.version,
        "run_id": "run 1",
        "written_at": "2024-03-01T12:00:00+00:00",
        "is_latest": True,
    }
    assert rows == [
        {**common, "is_header": False, "row": 0, "dimension": "all", "period": "2024-01-01", "orders": 1},
        {**common, "is_header": False, "row": 1, "dimension": "all", "period": "2024-01-02", "orders": 1, "rate": 0.5},
        {**common, "is_header": False, "row": 2, "dimension": "region: North", "period": "2024-01-01", "orders": 1},
        {**common, "is_header": False, "row": 3, "dimension": "region: North", "period": "2024-01-02", "orders": 1,
         "rate": 0.5},
    ]  # fmt: skip
    assert latest_header(reports, "cohorts", "weekly") == {
        **common,
        "is_header": True,
        "title": "Orders by week",
        "dimension": ["all", "region: North"],
        "rows": 4,
        "kpis": {"orders": 4.0},
        "definition": {"order": "paid"},
        "parameters": {"days": 7},
        "warnings": ["few rows"],
    }
    assert len(written.version) == 12
    assert (written.rows, written.is_latest) == (4, True)


@pytest.mark.contract
def test_rows_are_chosen_by_dimension_and_value(reports: Elasticsearch) -> None:
    write(reports, report(3))
    publish_reports(reports)
    assert [row["row"] for row in read_rows(reports, "cohorts", "weekly", "region: North")] == [3, 4, 5]
    assert [row["row"] for row in read_rows(reports, "cohorts", "weekly", "all", {"period": "2024-01-02"})] == [1]
    assert read_rows(reports, "cohorts", "weekly", "region: South") == []
    assert latest_header(reports, "cohorts", "daily") is None


@pytest.mark.contract
def test_a_report_longer_than_a_page_is_read_whole_and_in_order(
    reports: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "MAX_RESULT_WINDOW", 7)
    write(reports, report(14))
    publish_reports(reports)
    assert [row["row"] for row in read_rows(reports, "cohorts", "weekly")] == list(range(28))


@pytest.mark.contract
def test_writing_again_doubles_nothing(reports: Elasticsearch) -> None:
    first = write(reports, report(2))
    publish_reports(reports)
    before = documents(reports)
    assert write(reports, report(2), run="run 2") == first
    publish_reports(reports)
    assert documents(reports) == {id_: {**source, "run_id": "run 2"} for id_, source in before.items()}


@pytest.mark.contract
@pytest.mark.parametrize("published_between", [True, False])
def test_another_version_of_the_same_date_replaces_it(reports: Elasticsearch, published_between: bool) -> None:
    """Whether or not the first one has been seen: a task that is retried computes before anything is published."""
    first = write(reports, report(3))
    if published_between:
        publish_reports(reports)
    second = write(reports, report(2, orders=9))
    assert second.version != first.version
    publish_reports(reports)
    found = documents(reports)
    assert {source["version"] for source in found.values()} == {second.version}
    assert len(found) == 5
    assert all(source["is_latest"] for source in found.values())


@pytest.mark.contract
def test_history_stays_and_only_the_latest_date_is_latest(reports: Elasticsearch) -> None:
    old = write(reports, report(2), FIRST)
    publish_reports(reports)
    new = write(reports, report(3), SECOND)
    publish_reports(reports)
    assert {row["version"] for row in read_rows(reports, "cohorts", "weekly")} == {new.version}
    found = documents(reports).values()
    assert sum(source["version"] == old.version for source in found) == 5
    assert {(source["report_date"], source["is_latest"]) for source in found} == {
        ("2024-01-31", False),
        ("2024-02-29", True),
    }


@pytest.mark.contract
def test_a_backfill_of_an_earlier_date_does_not_become_latest(reports: Elasticsearch) -> None:
    new = write(reports, report(3), SECOND)
    publish_reports(reports)
    for orders in (1, 2):  # the second time it replaces itself
        backfilled = write(reports, report(2, orders=orders), FIRST)
        assert not backfilled.is_latest
        publish_reports(reports)
        assert {row["version"] for row in read_rows(reports, "cohorts", "weekly")} == {new.version}
        assert len(documents(reports)) == 7 + 5
        header = latest_header(reports, "cohorts", "weekly")
        assert header is not None
        assert header["report_date"] == "2024-02-29"


@pytest.mark.contract
def test_a_skipped_report_says_why_and_takes_the_place_of_the_last(reports: Elasticsearch) -> None:
    write(reports, report(2), FIRST)
    publish_reports(reports)
    written = write_skipped(
        reports, "cohorts", WEEKLY, reason="no deliveries", report_date=SECOND, run_id="r", written_at=WRITTEN_AT,
        parameters={},
    )  # fmt: skip
    publish_reports(reports)
    header = latest_header(reports, "cohorts", "weekly")
    assert header is not None
    assert (header["skipped"], header["rows"], header["dimension"]) == ("no deliveries", 0, ["all"])
    assert read_rows(reports, "cohorts", "weekly") == []
    assert (written.rows, written.is_latest) == (0, True)
    write(reports, report(2), SECOND)
    publish_reports(reports)
    header = latest_header(reports, "cohorts", "weekly")
    assert header is not None
    assert "skipped" not in header


@pytest.mark.contract
def test_a_reader_sees_one_whole_version_at_any_moment(reports: Elasticsearch) -> None:
    """While a writer replaces the report again and again, on changing dates and within one date."""
    sizes = {write(reports, report(20)).version: 40}
    publish_reports(reports)
    seen: list[tuple[set[str], int]] = []
    finished = threading.Event()

    def read() -> None:
        while not finished.is_set():
            rows = read_rows(reports, "cohorts", "weekly")
            seen.append(({row["version"] for row in rows}, len(rows)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(12):
            day = date(2024, 2, 1 + turn // 2)
            written = write(reports, report(5 + turn, orders=turn), day)
            sizes[written.version] = written.rows
            publish_reports(reports)
    finally:
        finished.set()
        reader.join()
    assert len(sizes) == 13
    assert len({next(iter(versions)) for versions, _ in seen}) > 1
    assert {(len(versions), count == sizes[min(versions)]) for versions, count in seen} == {(1, True)}


@pytest.mark.contract
def test_a_report_too_long_for_one_request_has_its_header_written_last(
    reports: Elasticsearch, through_proxy: Elasticsearch, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.elastic.reports.STEP_BYTES", 1_000)
    write(reports, report(20), FIRST)
    publish_reports(reports)
    bodies: list[bytes] = []

    def noted(body: bytes) -> None:
        bodies.append(body)

    proxy.only = "_bulk"
    proxy.rule = noted
    new = write(through_proxy, report(30), SECOND)
    publish_reports(reports)
    assert len(bodies) > 5
    assert [b'"is_header":true' in body for body in bodies] == [False] * (len(bodies) - 1) + [True]
    assert {row["version"] for row in read_rows(reports, "cohorts", "weekly")} == {new.version}
    assert len(read_rows(reports, "cohorts", "weekly")) == 60
    assert recover_reports(reports) == 0


@pytest.mark.contract
def test_two_analyses_write_at_once(reports: Elasticsearch) -> None:
    def several(name: str) -> None:
        for orders in range(5):
            write(reports, report(4, orders=orders), name=name)

    threads = [threading.Thread(target=several, args=[name]) for name in ("cohorts", "rfm")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    publish_reports(reports)
    for name in ("cohorts", "rfm"):
        assert [row["orders"] for row in read_rows(reports, name, "weekly")] == [4] * 8
    assert recover_reports(reports) == 0


@pytest.mark.contract
def test_a_crash_between_the_steps_is_carried_through_by_the_retry(
    reports: Elasticsearch, through_proxy: Elasticsearch, proxy: FaultyProxy
) -> None:
    old = write(reports, report(2), FIRST)
    publish_reports(reports)
    proxy.only = "_bulk"
    proxy.rule = lambda body: Answer(403) if b'"update"' in body else None  # the second step only
    with pytest.raises(ElasticsearchProblem):
        write(through_proxy, report(3), SECOND)
    publish_reports(reports)
    assert {row["version"] for row in read_rows(reports, "cohorts", "weekly")} == {old.version}
    proxy.rule = None
    new = write(through_proxy, report(3), SECOND)
    publish_reports(reports)
    assert {row["version"] for row in read_rows(reports, "cohorts", "weekly")} == {new.version}
    assert len(documents(reports)) == 5 + 7


@pytest.mark.contract
def test_what_a_crash_left_half_done_is_put_right(reports: Elasticsearch) -> None:
    write(reports, report(2), FIRST)
    publish_reports(reports)
    write(reports, report(3), SECOND)
    write(reports, report(1), FIRST, name="rfm")
    publish_reports(reports)
    whole = documents(reports)
    index = index_name("reports")
    # A flip that stopped half-way, a report whose header was never written, and a first report ever without header.
    for id_, source in whole.items():
        if source["report_name"] == "cohorts" and source.get("row") in (0, 1):
            client_update(reports, index, id_, {"is_latest": not source["is_latest"]})
    for name in ("cohorts", "churn"):
        orphan = {**next(iter(whole.values())), "report_name": name, "version": "unfinished", "is_header": False}
        reports.index(index=index, id=f"{name}:orphan", routing=name, document={**orphan, "row": 0})
    assert recover_reports(reports) == 2
    assert documents(reports) == whole
    assert recover_reports(reports) == 0


def client_update(client: Elasticsearch, index: str, id_: str, change: dict[str, Any]) -> None:
    client.update(index=index, id=id_, routing=id_.split(":")[0], doc=change)


@pytest.mark.contract
def test_two_dates_written_by_runs_that_never_published_leave_one_latest(reports: Elasticsearch) -> None:
    write(reports, report(2), FIRST)
    new = write(reports, report(3), SECOND)  # no search shows the first one yet
    assert recover_reports(reports) == 1
    assert {row["version"] for row in read_rows(reports, "cohorts", "weekly")} == {new.version}
    assert len(documents(reports)) == 5 + 7


@pytest.mark.contract
def test_recovering_an_empty_index_does_nothing(reports: Elasticsearch) -> None:
    assert recover_reports(reports) == 0


def rows_of(frame: pd.DataFrame, *fields: str, key: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    more = {"segment": Field("keyword", ""), "at": Field("date", "")}
    return json_rows(ReportType("t", "T", fields, key), frame, {**SHARED_FIELDS, **more}, "rfm")


def test_values_become_plain_json_and_missing_ones_are_left_out() -> None:
    frame = pd.DataFrame(
        {
            "segment": pd.Categorical(["a", None]),
            "orders": pd.array([3, None], dtype="Int64"),
            "customers": [3.0, np.nan],
            "revenue": [Decimal("1.25"), None],
            "rate": np.array([0.5, np.nan], dtype="float32"),
            "is_complete": pd.array([True, pd.NA], dtype="boolean"),
            "period": pd.to_datetime(["2024-01-01", None]),
            "at": [datetime(2024, 1, 1, 5, tzinfo=UTC), pd.NaT],
            "n": np.array([1, 0], dtype="int64"),
        }
    )
    rows = rows_of(frame, *frame.columns)
    assert rows == [
        {
            "segment": "a", "orders": 3, "customers": 3, "revenue": 1.25, "rate": 0.5, "is_complete": True,
            "period": "2024-01-01", "at": "2024-01-01T05:00:00+00:00", "n": 1,
        },
        {"n": 0},
    ]  # fmt: skip
    assert {name: type(value) for name, value in rows[0].items() if name in ("customers", "n", "is_complete")} == {
        "customers": int,
        "n": int,
        "is_complete": bool,
    }


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"orders": [1]}, r"rfm: the report `t` lacks the fields \['rate'\]"),
        ({"orders": [1], "rate": [1.0], "luck": [1]}, r"undeclared or repeated fields \['luck'\]"),
        ({"orders": [1.5], "rate": [1.0]}, r"field `orders`: 1.5 is not whole"),
        ({"orders": [1], "rate": [np.inf]}, r"field `rate`: inf is not a finite number"),
        ({"orders": ["x"], "rate": [1.0]}, r"field `orders`: 'x' invalid literal"),
        ({"orders": [1, 1], "rate": [1.0, 2.0]}, r"several rows with the same orders"),
    ],
)
def test_a_frame_that_is_not_what_was_declared_is_refused(columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rows_of(pd.DataFrame(columns), "orders", "rate", key=("orders",))


def test_a_field_nobody_describes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"neither SHARED_FIELDS nor FIELDS describes: \['luck'\]"):
        rows_of(pd.DataFrame({"luck": [1]}), "luck")
