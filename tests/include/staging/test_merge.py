"""Merging loads: the newest version of a row wins, nothing is lost, and the same data gives the same files."""

import hashlib
import os
import random
import signal
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import configs
from include.staging.merge import Merged, StagingProblem, merge
from include.staging.snapshot import Snapshot, all_snapshots, load_snapshot
from tests.include.staging.conftest import customer, session, write_load


def stage(folder: Path, run: str, *, full_refresh: bool = False, **kinds: list[dict[str, Any]]) -> Merged:
    return merge(write_load(folder / run, **kinds), run_key=run, time_zone="UTC", full_refresh=full_refresh)


def rows(snapshot: Snapshot, query: str) -> list[tuple[Any, ...]]:
    with snapshot.connect() as connection:
        return connection.execute(query).fetchall()


def files(staging: Path) -> dict[str, str]:
    found = sorted((staging / "tables").rglob("*.parquet"))
    return {str(path.relative_to(staging)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_the_first_load(staging: Path, tmp_path: Path) -> None:
    merged = stage(
        tmp_path,
        "one",
        sessions=[session("s2", "b", "2024-02-01 10:30"), session("s1", "a", "2024-01-31 23:00", "2.5")],
        customers=[customer("b"), customer("a")],
    )
    assert merged.previous_version is None
    assert merged.changed_months == ("2024-01", "2024-02")
    assert merged.snapshot.counts == {"sessions": 2, "customers": 2}
    assert rows(
        merged.snapshot, "SELECT id, client_code, session_day, session_hour, payment_amount FROM sessions ORDER BY id"
    ) == [
        ("s1", 0, date(2024, 1, 31), 23, Decimal("2.5000")),
        ("s2", 1, date(2024, 2, 1), 10, Decimal("1.0000")),
    ]
    assert load_snapshot() == merged.snapshot


def test_days_and_hours_are_those_of_the_business_time_zone(staging: Path, tmp_path: Path) -> None:
    # 23:30 UTC on 31 March 2024 is half past one in Berlin, on the next day and in summer time.
    load = write_load(
        tmp_path / "one",
        sessions=[session("s", "a", "2024-03-31 23:30"), session("t", "a", "2024-03-30 23:30")],
        customers=[customer("a", "2024-12-31 23:00")],
    )
    snapshot = merge(load, run_key="one", time_zone="Europe/Berlin").snapshot
    assert rows(snapshot, "SELECT id, session_day, session_hour FROM sessions ORDER BY id") == [
        ("s", date(2024, 4, 1), 1),
        ("t", date(2024, 3, 31), 0),
    ]
    assert rows(snapshot, "SELECT download_day FROM customers") == [(date(2025, 1, 1),)]


def test_a_second_load_updates_adds_and_touches_only_its_months(staging: Path, tmp_path: Path) -> None:
    first = stage(
        tmp_path,
        "one",
        sessions=[session("s1", "a", "2024-01-05"), session("s2", "a", "2024-02-05"), session("s3", "a", "2024-03-05")],
        customers=[customer("a")],
    )
    second = stage(
        tmp_path,
        "two",
        sessions=[session("s2", "a", "2024-02-05", "9"), session("s4", "b", "2024-02-06")],
        customers=[customer("b")],
    )
    assert second.previous_version == first.snapshot.version
    assert second.changed_months == ("2024-02",)
    assert rows(second.snapshot, "SELECT id, client_code, payment_amount FROM sessions ORDER BY id") == [
        ("s1", 0, 1),
        ("s2", 0, 9),
        ("s3", 0, 1),
        ("s4", 1, 1),
    ]
    assert second.snapshot.counts["customers"] == 2
    unchanged = {file.path for file in first.snapshot.tables["sessions"].files if file.month != "2024-02"}
    assert unchanged < {file.path for file in second.snapshot.tables["sessions"].files}


def test_a_session_that_moved_leaves_its_old_month(staging: Path, tmp_path: Path) -> None:
    stage(tmp_path, "one", sessions=[session("s1", "a", "2024-01-05")], customers=[customer("a")])
    moved = stage(tmp_path, "two", sessions=[session("s1", "a", "2024-03-05")], customers=[customer("a")])
    assert rows(moved.snapshot, "SELECT id, session_day FROM sessions") == [("s1", date(2024, 3, 5))]
    assert [file.month for file in moved.snapshot.tables["sessions"].files] == ["2024-03"]


def test_the_newer_change_wins_whichever_comes_last(staging: Path, tmp_path: Path) -> None:
    def change(day: int | None, amount: str) -> dict[str, Any]:
        changed_at = datetime(2024, 6, day) if day else None
        return session("s1", "a", "2024-01-05", amount, changed_at=changed_at)

    stage(tmp_path, "one", sessions=[change(5, "5")], customers=[customer("a")])
    for run, (late, expected) in enumerate(
        [(change(3, "3"), 5), (change(None, "0"), 5), (change(5, "6"), 6), (change(7, "7"), 7)]
    ):
        merged = stage(tmp_path, f"late{run}", sessions=[late], customers=[customer("a")])
        assert rows(merged.snapshot, "SELECT payment_amount FROM sessions") == [(expected,)]


def test_a_change_without_a_time_is_the_oldest_and_is_replaced_not_doubled(staging: Path, tmp_path: Path) -> None:
    def change(day: int | None, month: int) -> dict[str, Any]:
        changed_at = datetime(2024, 6, day) if day else None
        return session("s1", "a", f"2024-0{month}-05", str(month), changed_at=changed_at)

    for run, (load, expected) in enumerate([(change(None, 1), 1), (change(None, 2), 2), (change(4, 3), 3)]):
        customers = [customer("a", f"2024-01-0{run + 1}", changed_at=load["changed_at"])]
        merged = stage(tmp_path, f"run{run}", sessions=[load], customers=customers)
        assert rows(merged.snapshot, "SELECT payment_amount FROM sessions") == [(expected,)]
        assert rows(merged.snapshot, "SELECT download_day FROM customers") == [(date(2024, 1, run + 1),)]


def test_the_same_load_again_changes_nothing(staging: Path, tmp_path: Path) -> None:
    load = {"sessions": [session("s1", "a", "2024-01-05")], "customers": [customer("a")]}
    first = stage(tmp_path, "one", **load)
    before = files(staging)
    second = stage(tmp_path, "two", **load)
    assert second.snapshot == first.snapshot
    assert second.changed_months == ()
    assert files(staging) == before


def test_a_basket_is_replaced_as_a_whole_and_equal_lines_are_kept(staging: Path, tmp_path: Path) -> None:
    def line(order: str, product: str) -> dict[str, Any]:
        return {"order_id": order, "product": product, "price": Decimal(2), "quantity": 1.0}

    known = {
        "sessions": [session("s1", "a", "2024-01-05"), session("s2", "a", "2024-02-05")],
        "customers": [customer("a")],
    }
    first = stage(
        tmp_path, "one", **known, products=[line("s1", "tea"), line("s1", "tea"), line("s2", "jam"), line("s9", "rye")]
    )
    assert first.snapshot.counts["basket"] == 4
    assert first.orders_unknown == {"basket": 1}
    second = stage(tmp_path, "two", **known, products=[line("s1", "milk")])
    query = "SELECT order_id, product FROM basket ORDER BY ALL"
    assert rows(second.snapshot, query) == [("s1", "milk"), ("s2", "jam"), ("s9", "rye")]
    assert second.changed_months == ("2024-01",)
    # The order that the line was for arrives.
    third = stage(
        tmp_path,
        "three",
        sessions=[session("s9", "a", "2024-05-01")],
        customers=[customer("a")],
        products=[line("s1", "milk")],
    )
    assert third.orders_unknown == {"basket": 0}


def line(order: str, product: str, number: str | None = None, **more: Any) -> dict[str, Any]:
    return {"order_id": order, "product": product, "price": Decimal(2), "quantity": 1.0, "line_id": number, **more}


def test_lines_with_a_key_are_replaced_one_by_one(staging: Path, tmp_path: Path) -> None:
    def changed(day: int) -> dict[str, Any]:
        return {"changed_at": datetime(2024, 6, day)}

    known: dict[str, Any] = {"sessions": [session("s1", "a", "2024-01-05")], "customers": [customer("a")]}
    first = [line("s1", "tea", "1", **changed(5)), line("s1", "jam", "2", **changed(5)), line("s2", "rye", "1")]
    stage(tmp_path, "one", **known, products=[{**changed(1), **one} for one in first])
    second = stage(
        tmp_path,
        "two",
        **known,
        products=[
            line("s1", "milk", "1", **changed(7)),
            line("s1", "old", "2", **changed(3)),
            line("s1", "bun", "3", **changed(7)),
        ],
    )
    query = "SELECT order_id, line_id, product FROM basket ORDER BY ALL"
    assert rows(second.snapshot, query) == [
        ("s1", "1", "milk"),
        ("s1", "2", "jam"),  # the staged line is newer
        ("s1", "3", "bun"),
        ("s2", "1", "rye"),
    ]
    assert second.changed_months == ("2024-01",)
    assert second.orders_unknown == {"basket": 1}


def test_lines_that_get_a_key_replace_those_staged_without_one(staging: Path, tmp_path: Path) -> None:
    known: dict[str, Any] = {"sessions": [session("s1", "a", "2024-01-05")], "customers": [customer("a")]}
    without = [{name: value for name, value in line("s1", "tea").items() if name != "line_id"}] * 2
    stage(tmp_path, "one", **known, products=without)
    merged = stage(tmp_path, "two", **known, products=[line("s1", "tea", "1"), line("s1", "tea", "2")])
    assert rows(merged.snapshot, "SELECT line_id FROM basket ORDER BY ALL") == [("1",), ("2",)]


# ── Several sources of a kind ────────────────────────────────────────────────────────────────────────────────────────


def stage_several(folder: Path, run: str, **sources: tuple[str, list[dict[str, Any]]]) -> Merged:
    """Each source's name with its kind and rows."""
    parts = {}
    for name, (kind, one) in sources.items():
        (parts[name],) = write_load(folder / run / name, **{kind: one}).values()
    kinds = {name: kind for name, (kind, _) in sources.items()}
    return merge(parts, run_key=run, time_zone="UTC", kinds=kinds)


def test_sources_of_one_kind_share_a_table(staging: Path, tmp_path: Path) -> None:
    merged = stage_several(
        tmp_path,
        "one",
        north=("sessions", [session("n1", "a", "2024-01-05", dimension_region="N")]),
        south=("sessions", [session("s1", "b", "2024-01-06", action_viewed=True)]),
        empty=("sessions", []),
        customers=("customers", [customer("a"), customer("b")]),
    )
    query = "SELECT id, source, dimension_region, action_viewed FROM sessions ORDER BY id"
    assert rows(merged.snapshot, query) == [("n1", "north", "N", None), ("s1", "south", None, True)]
    tables = merged.snapshot.analysis_tables(dimensions=(), week_start="monday")
    assert tables.sources == {"sessions": ("north", "south", "empty"), "customers": ("customers",)}


def test_a_source_leaves_the_lines_that_another_has_of_the_order(staging: Path, tmp_path: Path) -> None:
    known: dict[str, Any] = {
        "sessions": ("sessions", [session("s1", "a", "2024-01-05")]),
        "customers": ("customers", [customer("a")]),
    }
    keyless = [{name: value for name, value in line("s1", product).items() if name != "line_id"} for product in "abc"]
    stage_several(tmp_path, "one", **known, till=("products", keyless[:1]), web=("products", keyless[1:]))
    second = stage_several(tmp_path, "two", **known, till=("products", keyless[2:]), web=("products", []))
    query = "SELECT source, product FROM basket ORDER BY ALL"
    assert rows(second.snapshot, query) == [("till", "c"), ("web", "b"), ("web", "c")]
    # Under a new name a source takes over what it brought under the old one.
    third = stage_several(tmp_path, "three", **known, shop=("products", keyless[:1]), web=("products", []))
    assert rows(third.snapshot, query) == [("shop", "a"), ("web", "b"), ("web", "c")]


def test_a_key_that_validation_gave_to_another_source_is_that_source_s(staging: Path, tmp_path: Path) -> None:
    """Although the row staged before changed later: which of two sources is right does not depend on who came first."""

    def change(day: int, amount: str) -> list[dict[str, Any]]:
        return [session("s1", "a", "2024-01-05", amount, changed_at=datetime(2024, 6, day))]

    customers = ("customers", [customer("a")])
    stage_several(tmp_path, "one", north=("sessions", []), south=("sessions", change(9, "9")), customers=customers)
    merged = stage_several(
        tmp_path, "two", north=("sessions", change(1, "1")), south=("sessions", []), customers=customers
    )
    assert rows(merged.snapshot, "SELECT source, payment_amount FROM sessions") == [("north", 1)]
    # Within one source, and from one that has only changed its name, the newer stays.
    for run, name in (("three", "north"), ("four", "west")):
        merged = stage_several(
            tmp_path, run, **{name: ("sessions", [{**change(1, "0")[0], "changed_at": None}])}, customers=customers
        )
        assert rows(merged.snapshot, "SELECT source, payment_amount FROM sessions") == [("north", 1)]


def test_deliveries_of_unknown_orders_are_kept_and_joined_when_the_order_arrives(staging: Path, tmp_path: Path) -> None:
    known = [session("s1", "a", "2024-01-05")]
    delivery = {"order_id": "s9", "delivery_date": datetime(2024, 5, 4)}
    first = stage(tmp_path, "one", sessions=known, customers=[customer("a")], deliveries=[delivery])
    assert first.orders_unknown == {"deliveries": 1}
    empty = write_load(tmp_path / "none", deliveries=[delivery])["deliveries"][0]
    pq.write_table(pq.read_table(empty).slice(0, 0), empty)  # nothing changed in deliveries since
    parts = write_load(tmp_path / "two", sessions=[session("s9", "a", "2024-05-01")], customers=[customer("a")])
    second = merge({**parts, "deliveries": [empty]}, run_key="two", time_zone="UTC")
    assert second.orders_unknown == {"deliveries": 0}
    assert second.changed_months == ("2024-05",)
    joined = "SELECT delivery_date FROM sessions JOIN deliveries ON id = order_id"
    assert rows(second.snapshot, joined) == [(datetime(2024, 5, 4),)]


def test_deliveries_change_the_month_of_their_order(staging: Path, tmp_path: Path) -> None:
    known = {
        "sessions": [session("s1", "a", "2024-01-05"), session("s2", "a", "2024-02-05")],
        "customers": [customer("a")],
    }
    stage(tmp_path, "one", **known, deliveries=[{"order_id": "s2", "delivery_date": datetime(2024, 2, 7)}])
    second = stage(tmp_path, "two", **known, deliveries=[{"order_id": "s2", "delivery_date": datetime(2024, 2, 9)}])
    assert second.changed_months == ("2024-02",)
    assert rows(second.snapshot, "SELECT order_id, delivery_date FROM deliveries") == [("s2", datetime(2024, 2, 9))]


def test_a_column_of_baskets_changes_every_order_that_has_one(staging: Path, tmp_path: Path) -> None:
    known = {
        "sessions": [session("s1", "a", "2024-01-05"), session("s2", "a", "2024-02-05")],
        "customers": [customer("a")],
    }
    line = {"product": "tea", "price": Decimal(2), "quantity": 1.0}
    stage(tmp_path, "one", **known, products=[{"order_id": order, **line, "category": "hot"} for order in ("s1", "s2")])
    second = stage(tmp_path, "two", **known, products=[{"order_id": "s1", **line}])
    assert second.changed_months == ("2024-01", "2024-02")
    assert list(second.snapshot.tables["basket"].columns) == ["order_id", "product", "price", "quantity", "source"]
    third = stage(tmp_path, "three", **known)
    assert third.snapshot.table_names == ("sessions", "customers")
    assert third.changed_months == ("2024-01", "2024-02")


def test_columns_may_come_and_go(staging: Path, tmp_path: Path) -> None:
    stage(tmp_path, "one", sessions=[session("s1", "a", "2024-01-05")], customers=[customer("a")])
    wider = stage(
        tmp_path,
        "two",
        sessions=[session("s2", "a", "2024-02-05", dimension_region="North")],
        customers=[customer("a")],
    )
    assert wider.snapshot.dimensions == ("region",)
    assert rows(wider.snapshot, "SELECT id, dimension_region FROM sessions ORDER BY id") == [
        ("s1", None),
        ("s2", "North"),
    ]
    narrower = stage(tmp_path, "three", sessions=[session("s3", "a", "2024-03-05")], customers=[customer("a")])
    assert narrower.snapshot.dimensions == ()
    assert rows(narrower.snapshot, "SELECT id FROM sessions ORDER BY id") == [("s1",), ("s2",), ("s3",)]


def test_what_does_not_fit_asks_for_a_full_refresh(staging: Path, tmp_path: Path) -> None:
    stage(tmp_path, "one", sessions=[session("s1", "a", "2024-01-05", action_viewed=True)], customers=[customer("a")])
    with pytest.raises(StagingProblem, match="BUSINESS_TIMEZONE is now Asia/Tokyo; run with full_refresh"):
        merge(write_load(tmp_path / "x", sessions=[], customers=[]), run_key="x", time_zone="Asia/Tokyo")
    viewed_at = session("s2", "a", "2024-01-06", action_viewed=datetime(2024, 1, 6))
    with pytest.raises(
        StagingProblem, match="action_viewed was staged as BOOLEAN and is now TIMESTAMP; run with full_"
    ):
        stage(tmp_path, "y", sessions=[viewed_at], customers=[customer("a")])
    replaced = stage(
        tmp_path, "two", full_refresh=True, sessions=[session("s9", "z", "2024-01-05")], customers=[customer("z")]
    )
    assert rows(replaced.snapshot, "SELECT id, client_code FROM sessions") == [("s9", 0)]
    assert replaced.previous_version is None


def test_an_empty_load_gives_empty_tables(staging: Path, tmp_path: Path) -> None:
    merged = stage(tmp_path, "one", sessions=[], customers=[])
    assert merged.snapshot.counts == {"sessions": 0, "customers": 0}
    assert merged.snapshot.newest_complete_day() is None
    tables = merged.snapshot.analysis_tables(dimensions=(), week_start="monday")
    assert tables.sessions.count().execute() == 0


def test_old_versions_and_their_files_are_deleted(
    staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "STAGING_SNAPSHOTS_KEPT", 2)
    for run in range(4):
        (staging / "runs" / f"run{run}" / "landing").mkdir(parents=True)
        merged = stage(
            tmp_path, f"run{run}", sessions=[session("s1", "a", "2024-01-05", str(run))], customers=[customer("a")]
        )
    assert [one.sequence for one in all_snapshots()] == [4, 3]
    named = {file.path for one in all_snapshots() for table in one.tables.values() for file in table.files}
    assert set(files(staging)) == named
    assert load_snapshot() == merged.snapshot
    assert [run for run in range(4) if (staging / "runs" / f"run{run}" / "landing").exists()] == [2, 3]


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        (["2024-01-05", "2024-01-07"], date(2024, 1, 7)),  # dates only: the newest is complete
        (["2024-01-05", "2024-01-07 10:00"], date(2024, 1, 6)),  # the seventh may go on
        (["2024-01-07 09:00", "2024-01-07 10:00"], date(2024, 1, 7)),  # nothing before it
    ],
)
def test_the_newest_complete_day(staging: Path, tmp_path: Path, starts: list[str], expected: date) -> None:
    sessions = [session(f"s{number}", "a", start) for number, start in enumerate(starts)]
    assert (
        stage(tmp_path, "one", sessions=sessions, customers=[customer("a")]).snapshot.newest_complete_day() == expected
    )


def test_the_number_of_threads_does_not_change_the_files(
    staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = random.Random(7)
    sessions = [
        session(
            f"s{number}",
            f"c{numbers.randrange(5_000)}",
            "2024-01-11 10:00",
            str(numbers.randrange(99)),
            changed_at=None if number % 5_000 else datetime(2024, 2, 1),
            dimension_region=None if number % 3_000 == 0 else "North",
        )
        for number in range(130_000)
    ]
    load = write_load(
        tmp_path / "one", sessions=sessions, customers=[customer(f"c{number}") for number in range(5_000)]
    )
    found = []
    for threads in (1, 4):
        monkeypatch.setattr(configs, "ENGINE_THREADS", threads)
        monkeypatch.setattr(configs, "STAGING_URL", str(tmp_path / f"staging{threads}"))
        merge(load, run_key="one", time_zone="UTC")
        found.append(files(tmp_path / f"staging{threads}"))
    assert found[0] == found[1]


# ── Any history of loads ends where a plain dictionary and one full load of the final data end ───────────────────────

CLIENTS = [customer(client) for client in "abc"]
Rows = list[dict[str, Any]]
rows_of_sessions = st.builds(
    lambda number, client, month, amount, changed: session(
        f"s{number}",
        client,
        f"2024-0{month}-10 12:00",
        str(amount),
        changed_at=datetime(2024, 7, changed) if changed else None,
    ),
    st.integers(0, 7),
    st.sampled_from("abc"),
    st.integers(1, 4),
    st.integers(0, 9),
    st.integers(0, 5),
)
rows_of_products = st.builds(
    lambda number, product, price: {"order_id": f"s{number}", "product": product, "price": Decimal(price)},
    st.integers(0, 9),
    st.sampled_from(["tea", "jam"]),
    st.integers(1, 2),
)
loads = st.tuples(
    st.lists(rows_of_sessions, min_size=1, max_size=6, unique_by=lambda one: one["id"]),
    st.lists(rows_of_products, min_size=1, max_size=6),
)


class Model:
    """What is staged, as a dictionary knows it."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.baskets: dict[str, Rows] = {}

    def load(self, sessions: Rows, products: Rows) -> None:
        for one in sessions:
            held = self.sessions.get(one["id"], {}).get("changed_at")
            stays = held is not None and (one["changed_at"] is None or held > one["changed_at"])
            if not stays:
                self.sessions[one["id"]] = one
        for order in {one["order_id"] for one in products}:
            self.baskets[order] = [one for one in products if one["order_id"] == order]

    @property
    def final(self) -> dict[str, Rows]:
        lines = [line for lines in self.baskets.values() for line in lines]
        return {"sessions": list(self.sessions.values()), "products": lines}


def staged_rows(snapshot: Snapshot, table: str, names: list[str]) -> list[tuple[Any, ...]]:
    found = rows(snapshot, f"SELECT {', '.join(names)} FROM {table}")
    return sorted(found, key=str)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(loads, min_size=1, max_size=4), says_when_changed=st.booleans(), repeated=st.booleans())
def test_any_history_equals_one_full_load(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[Rows, Rows]],
    says_when_changed: bool,
    repeated: bool,
) -> None:
    folder = tmp_path_factory.mktemp("history")
    model = Model()
    names = ["id", "client", "session_start_date", "payment_amount", *(["changed_at"] if says_when_changed else [])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configs, "TEMPORARY_DIR", str(folder / "tmp"))
        patch.setattr(configs, "STAGING_URL", str(folder / "bit-by-bit"))
        for number, (sessions, products) in enumerate(history):
            dropped = set() if says_when_changed else {"changed_at"}
            sessions = [{name: value for name, value in one.items() if name not in dropped} for one in sessions]
            model.load(sessions, products)
            for _ in range(2 if repeated else 1):
                merged = stage(folder, f"run{number}", sessions=sessions, products=products, customers=CLIENTS)
        for table, kind, columns in (("sessions", "sessions", names), ("basket", "products", [*products[0]])):
            expected = sorted((tuple(one[name] for name in columns) for one in model.final[kind]), key=str)
            assert staged_rows(merged.snapshot, table, columns) == expected
        patch.setattr(configs, "STAGING_URL", str(folder / "at-once"))
        at_once = stage(folder, "final", **model.final, customers=CLIENTS)
        # The version follows from the names of the files, and those from their bytes.
        assert at_once.snapshot.version == merged.snapshot.version


# ── Killed at any moment ─────────────────────────────────────────────────────────────────────────────────────────────

# Forks a process for each step that a merge takes on the file system; it dies by SIGKILL right before that step.
KILLED_AT_EVERY_STEP = """
import os, signal, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # Airflow logs to the standard output
from include.staging.merge import merge

def die_before(step):
    taken = 0
    def count(event, _):
        nonlocal taken
        if event in ("os.rename", "os.remove", "os.mkdir", "shutil.copyfile", "shutil.rmtree"):
            taken += 1
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)

for step in range(1, 1_000):
    child = os.fork()
    if child == 0:
        die_before(step)
        merge(LOAD, run_key="two", time_zone="UTC")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.WTERMSIG(status), os.WEXITSTATUS(status), file=answers, flush=True)
    if not os.WIFSIGNALED(status):
        break
    sys.stdin.readline()  # go on when the test has looked
"""


def test_a_merge_killed_before_any_of_its_steps_leaves_the_version_before_and_can_be_repeated(
    staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "STAGING_SNAPSHOTS_KEPT", 1)
    before = stage(tmp_path, "one", sessions=[session("s1", "a", "2024-01-05")], customers=[customer("a")]).snapshot
    sessions = [session(f"s{month}", "b", f"2024-0{month}-05", "3") for month in (1, 2, 3)]
    load = write_load(tmp_path / "two", sessions=sessions, customers=[customer("b")])
    environment = {
        **os.environ,
        "STAGING_URL": configs.STAGING_URL,
        "TEMPORARY_DIR": configs.TEMPORARY_DIR,
        "STAGING_SNAPSHOTS_KEPT": "1",
    }
    seen = []
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_AT_EVERY_STEP.replace("LOAD", repr(load))],
        env=environment,
        cwd=configs.PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            killed_by, exit_code = map(int, line.split())
            current = load_snapshot()
            assert current is not None
            total = rows(current, "SELECT count(*), sum(payment_amount) FROM sessions")
            assert total == ([(1, 1)] if current.version == before.version else [(3, 9)])
            seen.append((killed_by, current.version == before.version))
            if killed_by == 0:
                assert exit_code == 0
                break
            process.stdin.write("\n")
            process.stdin.flush()
    # Steps before and after the new version became the current one were both killed, and then one came through.
    assert {(signal.SIGKILL, True), (signal.SIGKILL, False), (0, False)} == set(seen)
    assert len(seen) > 10
    # Nothing that the killed ones left is there any more.
    (kept,) = all_snapshots()
    assert set(files(staging)) == {file.path for table in kept.tables.values() for file in table.files}
    assert list((staging / "tables").rglob("*.part")) == []
    assert list(Path(configs.TEMPORARY_DIR).glob("merge-*")) == []
