"""The index `quarantine` on a real node: what it shows of a run, again and again, and for how long; the page's view."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch

import configs
from include.dashboards.quarantine import UnknownRun, read_quarantine
from include.elastic.client import index_name
from include.pipeline.quarantine import forget, index_again, index_run
from include.quality.quarantine import Form, QuarantineWriter, Quarantining, quarantined_runs
from include.quality.replay import VERDICTS, mark
from include.staging.storage import storage, written_aside

pytestmark = pytest.mark.contract
BEGAN = datetime(2025, 6, 1, 12, 30)


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "STAGING_URL", str(tmp_path / "staging"))
    monkeypatch.setattr(configs, "TEMPORARY_DIR", str(tmp_path / "tmp"))


def set_aside(
    key: str,
    rows: Sequence[tuple[int, list[str], Form, str]],
    *,
    source: str = "sessions",
    began: datetime = BEGAN,
) -> None:
    shared = Quarantining(source, f"id of {key}", began, "mapping")
    file = storage(configs.STAGING_URL) / "runs" / key / "quarantine" / source / "rows.parquet"
    with QuarantineWriter(file) as quarantine:
        quarantine.write(shared.row("s.csv", row, f"s{row}", rules, form, raw) for row, rules, form, raw in rows)


def index(client: Elasticsearch, key: str, *, began: datetime = BEGAN, **read: int) -> int:
    return index_run(client, key, read=read, run_id=f"id of {key}", quarantined_at=began)


def documents(client: Elasticsearch) -> dict[str, dict[str, Any]]:
    hits = client.search(index=index_name("quarantine"), size=1_000)["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


def rows_shown(client: Elasticsearch) -> list[tuple[str, int]]:
    return sorted((one["run_key"], one["row"]) for one in documents(client).values() if not one["is_header"])


def test_a_run_is_shown_whatever_it_holds_and_however_often(client: Elasticsearch) -> None:
    users = {f"column {number}.a": "x" * (40_000 if number < 9 else 1) for number in range(1_100)}
    odd = {"": "no name", "a\0b": "c\0d", "n": 1.5, "yes": True, "none": None, "obj.key": "<b>"}
    set_aside(
        "a",
        [
            (2, ["client_unknown"], "typed", json.dumps({"id": "s2"})),
            (3, ["id_missing", "payment_amount_negative"], "raw", json.dumps(odd)),
            (4, ["id_missing"], "raw", json.dumps(users)),
            (5, ["wrong_number_of_columns"], "text", "a;b;c"),
        ],
    )
    assert index(client, "a", sessions=100, customers=50) == 4
    whole = documents(client)
    assert len(whole) == 4 + 2  # a header of each source
    assert index(client, "a", sessions=100, customers=50) == 4
    assert documents(client) == whole
    by_row = {one["row"]: one for one in whole.values() if not one["is_header"]}
    assert by_row[3] == {
        "source": "sessions",
        "run_id": "id of a",
        "run_key": "a",
        "quarantined_at": "2025-06-01T12:30:00Z",
        "is_header": False,
        "file": "s.csv",
        "row": 3,
        "key": "s3",
        "rules": ["id_missing", "payment_amount_negative"],
        "form": "raw",
        "raw": {"(no name)": "no name", "ab": "cd", "n": "1.5", "yes": "true", "obj.key": "<b>"},
        "is_replayed": False,
    }
    assert by_row[5]["raw"] == {"line": "a;b;c"}
    ((_, mapping),) = client.indices.get_mapping(index=index_name("quarantine")).body.items()
    assert mapping["mappings"]["properties"]["raw"]["type"] == "flattened"  # no field per column of the user's
    found = client.search(index=index_name("quarantine"), query={"term": {"raw.id": "s2"}})["hits"]["hits"]
    assert [hit["_source"]["row"] for hit in found] == [2]
    with pytest.raises(BadRequestError, match="strict_dynamic_mapping_exception"):
        client.index(index=index_name("quarantine"), document={"unknown": 1})
    # Another try of the run that rejects less leaves nothing behind.
    set_aside("a", [(2, ["client_unknown"], "typed", "{}")])
    assert index(client, "a", sessions=100) == 1
    assert rows_shown(client) == [("a", 2)]


def test_only_so_many_rows_are_shown_and_all_are_counted(
    client: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "QUARANTINE_INDEXED_ROWS_MAX", 2)
    rows = [(row, ["id_missing"] if row < 8 else ["id_missing", "id_too_long"], "raw", "{}") for row in range(2, 10)]
    set_aside("a", rows)  # type: ignore[arg-type]
    index(client, "a", sessions=10)
    assert rows_shown(client) == [("a", 2), ("a", 3), ("a", 8), ("a", 9)]
    (source,) = read_quarantine(client)["sources"]
    told = {one["rule"]: (one["rows"], one["indexed"], len(one["examples"])) for one in source["rules"]}
    assert told == {"id_missing": (8, 4, 4), "id_too_long": (2, 2, 2)}
    assert (source["read"], source["quarantined"]) == (10, 8)


def test_old_runs_go_from_the_index_and_from_staging_together(client: Elasticsearch) -> None:
    for days in (0, 10, 40):
        began = BEGAN - timedelta(days=days)
        set_aside(f"r{days}", [(2, ["id_missing"], "raw", "{}")], began=began)
        index(client, f"r{days}", began=began, sessions=1)
    forget(client, before=BEGAN - timedelta(days=30))
    assert [run.key for run in quarantined_runs()] == ["r0", "r10"]
    assert rows_shown(client) == [("r0", 2), ("r10", 2)]


def test_a_replay_is_seen_in_the_index(client: Elasticsearch, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    set_aside("a", [(row, ["client_unknown"], "typed", "{}") for row in (2, 3, 4)])
    index(client, "a", sessions=100)
    verdicts = [{"run": "a", "file": "s.csv", "row": row, "rules": rules} for row, rules in ((2, []), (3, ["other"]))]
    with written_aside(storage(tmp_path / "verdicts.parquet")) as file:
        pq.write_table(pa.Table.from_pylist(verdicts, schema=VERDICTS), file)
    (run,) = quarantined_runs()
    assert mark(run, "sessions", str(tmp_path / "verdicts.parquet")) == 2
    assert mark(run, "sessions", str(tmp_path / "verdicts.parquet")) == 0
    index_again(client, ["a"])
    found = {one["row"]: (one["rules"], one["is_replayed"]) for one in documents(client).values() if "row" in one}
    assert found == {2: (["client_unknown"], True), 3: (["other"], False), 4: (["client_unknown"], False)}
    (source,) = read_quarantine(client)["sources"]
    assert (source["read"], source["quarantined"], source["replayed"]) == (100, 3, 1)
    assert {one["rule"]: one["rows"] for one in source["rules"]} == {"other": 1, "client_unknown": 1}


def test_the_view_says_why_it_is_empty(client: Elasticsearch) -> None:
    nothing = read_quarantine(client)
    assert (nothing["runs"], nothing["sources"]) == ([], [])
    assert nothing["reason"].startswith("No run has looked for bad rows yet. In Airflow, open Dags")
    index(client, "clean", sessions=70, customers=30)
    assert read_quarantine(client)["reason"] == "This run read 100 rows and none of them broke a rule."
    index(client, "void", sessions=0, began=BEGAN + timedelta(hours=1))
    shown = read_quarantine(client)
    assert shown["run"]["key"] == "void"  # the newest
    assert shown["reason"] == "This run read no row, so there was none to judge."
    assert [run["key"] for run in shown["runs"]] == ["void", "clean"]
    assert read_quarantine(client, "clean")["run"]["run_id"] == "id of clean"
    with pytest.raises(UnknownRun, match="There is no quarantine of the run gone: rejected rows are kept for 30 days"):
        read_quarantine(client, "gone")
