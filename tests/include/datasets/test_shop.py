"""Writing a shop: the same bytes every time, what the files hold, and how little memory it takes."""

import hashlib
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from include.datasets.prepare import DEMO_SEED, DEMO_SESSIONS, prepare
from include.datasets.shop.block import BLOCK_CUSTOMERS, simulate
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import Rhythm
from include.datasets.shop.writing import LARGEST, SMALLEST, is_written, write_shop
from include.problem import Problem
from include.sources.definition import load_sources
from tests.include.datasets.conftest import WrittenShop, good_rows, rows_of

SESSIONS_PER_CUSTOMER = 11  # about


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_another_shop(tmp_path: Path) -> None:
    """Also where a machine has more processors."""
    sizes = {"once": (3000, 5), "again": (3000, 5), "other": (3000, 6)}
    processors = pa.cpu_count()
    try:
        for name, (sessions, seed) in sizes.items():
            pa.set_cpu_count(4 if name == "once" else 1)
            write_shop(tmp_path / name, sessions=sessions, seed=seed)
    finally:
        pa.set_cpu_count(processors)
    found = {name: bytes_of(tmp_path / name) for name in sizes}
    assert found["once"] == found["again"]
    assert len(found["once"]) == 24 + 3 + 2
    same = {name for name in found["once"] if found["once"][name] == found["other"][name]}
    assert same == {"sources.yaml"}


def test_a_block_does_not_depend_on_what_was_made_before_it() -> None:
    shop = Shop()
    rhythm = Rhythm(shop)
    simulate(shop, rhythm, seed=1, number=0, most_sessions=5000)
    after = simulate(shop, rhythm, seed=1, number=3, most_sessions=5000)
    alone = simulate(shop, Rhythm(shop), seed=1, number=3, most_sessions=5000)
    assert after.sessions.start.tobytes() == alone.sessions.start.tobytes()
    assert after.lines.cents.tobytes() == alone.lines.cents.tobytes()
    other = simulate(shop, rhythm, seed=1, number=4, most_sessions=5000)
    assert other.sessions.start.tobytes() != after.sessions.start.tobytes()


def test_the_block_decides_what_is_held_at_once() -> None:
    """A shop of a hundred million sessions is made of blocks no larger than this one."""
    shop = Shop()
    block = simulate(shop, Rhythm(shop), seed=2, number=400, most_sessions=LARGEST)
    assert len(block.customers) == BLOCK_CUSTOMERS
    assert len(block.sessions) < 1.2 * SESSIONS_PER_CUSTOMER * BLOCK_CUSTOMERS
    assert len(block.lines) < len(block.sessions)


def test_memory_does_not_grow_with_the_shop(tmp_path: Path) -> None:
    """The most bytes that are ever held, by numpy and by Arrow, in processes of their own: five blocks take hardly more
    than two. (What the system gives a process beside that depends on how busy the machine is.)
    """
    smaller, larger = (peak_bytes(tmp_path / str(sessions), sessions) for sessions in (350_000, 900_000))
    for few, many in zip(smaller, larger, strict=True):
        assert 1_000_000 < many < min(1.2 * few, 200_000_000)


def peak_bytes(folder: Path, sessions: int) -> list[int]:
    program = (
        "import sys, tracemalloc\n"
        "from pathlib import Path\n"
        "import pyarrow as pa\n"
        "from include.datasets.shop.writing import write_shop\n"
        "tracemalloc.start()\n"
        "write_shop(Path(sys.argv[1]), sessions=int(sys.argv[2]), seed=1)\n"
        "print(tracemalloc.get_traced_memory()[1], pa.default_memory_pool().max_memory())\n"
    )
    command = [sys.executable, "-c", program, str(folder), str(sessions)]
    return [int(number) for number in subprocess.run(command, check=True, capture_output=True).stdout.split()]


def check_invariants(folder: Path, sessions: int) -> None:
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    rows = good_rows(folder)
    assert truth["totals"]["sessions"] == len(rows["sessions"])
    assert sessions <= len(rows["sessions"]) < sessions + 400  # at most one customer's more
    downloads = {row["customer_no"]: row for row in rows["customers"]}
    orders = {row["session_id"]: row for row in rows["sessions"] if row["bought"] == "true"}
    for row in rows["sessions"]:
        customer = downloads[row["customer_no"]]
        assert customer["downloaded_at"] <= row["started_at"] <= row["ended_at"] <= row["updated_at"] < "2026-06-29 06"
        steps = [row["viewed_product"], row["added_to_basket"], row["began_checkout"], row["bought"]]
        assert steps == sorted(steps, reverse=True)  # "true" > "false": none without the one before
        assert (row["total"] != "") == (row["discount"] != "") == (row["bought"] == "true")
        if row["bought"] == "true":
            assert customer["signed_up_at"]
            assert customer["signed_up_at"] <= row["started_at"]
        else:
            assert not row["promotion"]
    for customer in rows["customers"]:
        for earlier, later in (("downloaded_at", "signed_up_at"), ("signed_up_at", "email_confirmed_at")):
            assert not customer[later] or customer[earlier] <= customer[later]
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for line in rows["products"]:
        sums[line["session_id"]] += Decimal(line["price"]) * int(line["quantity"])
        assert Decimal(line["price"]) > 0
    assert sums == {name: Decimal(row["total"]) + Decimal(row["discount"]) for name, row in orders.items()}
    for row in rows["deliveries"]:
        assert orders[row["session_id"]]["started_at"] <= row["prepared_at"] <= row["delivered_at"]
        assert row["returned_at"] == "" or row["delivered_at"] <= row["returned_at"]
    for kind, counts in truth["sources"].items():
        assert counts["good"] == len(rows[kind])
        assert counts["read"] == counts["good"] + counts["quarantined"]
        assert counts["quarantined"] <= 0.01 * counts["good"]


@given(sessions=st.integers(SMALLEST, 4000), seed=st.integers(0, 2**63))
@example(sessions=SMALLEST, seed=0)
@settings(max_examples=8)
def test_what_holds_for_every_shop(sessions: int, seed: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "shop"
        write_shop(folder, sessions=sessions, seed=seed)
        check_invariants(folder, sessions)


def test_a_shop_with_nothing_special(tmp_path: Path) -> None:
    plain = replace(Shop(), promotions=(), anomalies=(), pairs=(), dirty_share=0.0)
    truth = write_shop(tmp_path / "plain", sessions=2000, seed=1, shop=plain)
    check_invariants(tmp_path / "plain", 2000)
    assert {counts["quarantined"] for counts in truth["sources"].values()} == {0}
    assert (truth["totals"]["extra_orders"], truth["totals"]["discount"]) == (0, "0.00")


def test_rows_are_in_the_file_of_their_month(tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", sessions=2000, seed=1)
    files = sorted((tmp_path / "shop" / "sessions").iterdir())
    assert [files[0].name, files[-1].name, len(files)] == ["2024-07.csv", "2026-06.csv", 24]
    for file in files:
        rows = [row for row in rows_of(file) if row["session_id"].startswith("s")]
        assert {row["started_at"][:7] for row in rows} <= {file.stem}


def test_totals_equal_a_count_of_the_files(written_shop: WrittenShop) -> None:
    totals, sessions = written_shop.truth["totals"], written_shop.sessions
    orders = sessions[sessions["bought"]]
    per_buyer = orders.groupby("customer_no").size()

    def cents(amounts: list[float]) -> int:
        return sum(round(amount * 100) for amount in amounts)

    assert totals == {
        "sessions": len(sessions),
        "orders": len(orders),
        "customers": len(written_shop.customers),
        "signed_up": int(written_shop.customers["signed_up_at"].notna().sum()),
        "buyers": len(per_buyer),
        "repeat_buyers": int((per_buyer > 1).sum()),
        "extra_orders": int((orders["session_id"].str[-4:].astype(int) > 9000).sum()),
        "lines": len(written_shop.lines),
        "units": int(written_shop.lines["quantity"].sum()),
        "deliveries": len(written_shop.deliveries),
        "revenue": f"{Decimal(cents(orders['total'].tolist())) / 100:.2f}",
        "discount": f"{Decimal(cents(orders['discount'].tolist())) / 100:.2f}",
    }
    funnel = written_shop.truth["funnel"]
    for step in ("viewed_product", "added_to_basket", "began_checkout"):
        assert funnel[step] == sessions[step].sum()
    for dimension, values in written_shop.truth["dimensions"].items():
        by_value = sessions.fillna({dimension: ""}).groupby(dimension)
        assert {value: counts["sessions"] for value, counts in values.items()} == by_value.size().to_dict()
        assert {value: counts["orders"] for value, counts in values.items()} == by_value["bought"].sum().to_dict()
    products = written_shop.lines.groupby("product")["session_id"].nunique()
    assert written_shop.truth["orders_with_product"] == products.to_dict()


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("")
    for folder, said in (("mine", "other than a simulated shop"), ("file", "is a file")):
        with pytest.raises(Problem, match=said):
            write_shop(tmp_path / folder, sessions=1000, seed=1)
    for sessions, seed, said in ((999, 1, "between 1,000 and 100,000,000"), (1000, -1, "from 0 on")):
        with pytest.raises(Problem, match=said):
            write_shop(tmp_path / "new", sessions=sessions, seed=seed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]


def test_a_shop_is_written_over_another_and_known_again(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    write_shop(folder, sessions=2000, seed=1)
    (folder / "note.txt").write_text("kept")
    write_shop(folder, sessions=1000, seed=2)
    assert is_written(folder, sessions=1000, seed=2)
    assert not is_written(folder, sessions=2000, seed=1)
    assert not is_written(folder, sessions=1000, seed=2, shop=replace(Shop(), dirty_share=0.02))
    assert (folder / "note.txt").exists()
    write_shop(tmp_path / "fresh", sessions=1000, seed=2)
    (folder / "note.txt").unlink()
    assert bytes_of(folder) == bytes_of(tmp_path / "fresh")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (folder / "sources.yaml").unlink()
    assert not is_written(folder, sessions=1000, seed=2)
    (tmp_path / "fresh" / "truth.json").write_text("{")
    assert not is_written(tmp_path / "fresh", sessions=1000, seed=2)


def test_the_demo_is_written_once(tmp_path: Path) -> None:
    sources = prepare("demo", tmp_path)
    assert [source.name for source in load_sources(str(sources)).all] == [
        "sessions",
        "customers",
        "products",
        "deliveries",
    ]
    assert is_written(sources.parent, sessions=DEMO_SESSIONS, seed=DEMO_SEED)
    written_at = (sources.parent / "customers.csv").stat().st_mtime_ns
    assert prepare("demo", tmp_path) == sources
    assert (sources.parent / "customers.csv").stat().st_mtime_ns == written_at
    sources.unlink()  # as though it had been stopped in the middle
    prepare("demo", tmp_path)
    assert (sources.parent / "customers.csv").stat().st_mtime_ns > written_at


def test_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "include.datasets.shop", "--folder", str(tmp_path / "shop"), "--seed", "3"]
    done = subprocess.run([*command, "--sessions", "1000"], check=True, capture_output=True, text=True)
    assert ": 1,0" in done.stdout
    assert "demo-data: 1,0" in done.stderr
    assert (tmp_path / "shop" / "sources.yaml").exists()
    failed = subprocess.run([*command, "--sessions", "10"], check=False, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr == "A shop has between 1,000 and 100,000,000 sessions, not 10.\n"
