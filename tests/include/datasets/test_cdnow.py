import csv
from decimal import Decimal
from pathlib import Path

import pytest

from include.datasets.cdnow import master_file, purchase_lines, write_cdnow
from include.datasets.prepare import prepare, require_same_data
from include.problem import Problem
from include.sources.definition import load_sources
from include.sources.read import check_source, read_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cdnow")
    write_cdnow(folder)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_the_file_is_the_published_one() -> None:
    lines = list(purchase_lines(master_file()))
    assert len(lines) == 69_659
    assert len({client for client, _, _ in lines}) == 23_570
    # Counted with: awk 'NR>1 {t+=$4} END {printf "%.2f", t}' CDNOW_master.txt
    assert sum(dollars for _, _, dollars in lines) == Decimal("2500315.63")


def test_a_customer_and_day_is_one_order_and_no_cent_is_lost(folder: Path) -> None:
    sessions = rows(folder / "sessions.csv")
    # Counted with: awk 'NR>1 {print $1,$2}' CDNOW_master.txt | sort -u | wc -l
    assert len(sessions) == len({(row["client"], row["date"]) for row in sessions}) == 67_591
    assert sum(Decimal(row["amount"]) for row in sessions) == Decimal("2500315.63")
    # Two lines on one day, 12.00 and 77.00, by hand from the file.
    assert {row["date"]: row["amount"] for row in sessions if row["client"] == "00002"} == {"1997-01-12": "89.00"}


def test_customers_arrive_with_their_first_order(folder: Path) -> None:
    customers = {row["client"]: row["first_order"] for row in rows(folder / "customers.csv")}
    assert len(customers) == 23_570
    days: dict[str, list[str]] = {}
    for row in rows(folder / "sessions.csv"):
        days.setdefault(row["client"], []).append(row["date"])
    assert customers == {client: min(its) for client, its in days.items()}
    assert max(customers.values()) <= "1997-03-31"  # the cohort of the first quarter


def test_the_sources_describe_the_files(folder: Path) -> None:
    sources = load_sources(folder / "sources.yaml")
    assert [check_source(source).files for source in sources.all] == [("sessions.csv",), ("customers.csv",)]
    batches = list(read_source(sources.sessions))
    assert sum(batch.rows.num_rows for batch in batches) == 67_591
    assert not any(batch.malformed or batch.blank_lines for batch in batches)


def test_writing_again_changes_nothing(folder: Path, tmp_path: Path) -> None:
    path = prepare("cdnow", tmp_path)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert prepare("cdnow", tmp_path) == path
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"copy sources.example.yaml there"):
        prepare(str(tmp_path), tmp_path / "var")
    with pytest.raises(Problem, match="no such folder"):
        prepare(str(tmp_path / "nothing"), tmp_path / "var")
    (tmp_path / "sources.yaml").write_text("sessions:\n")
    assert prepare(str(tmp_path), tmp_path / "var") == tmp_path / "sources.yaml"


def test_other_data_does_not_come_on_top(tmp_path: Path) -> None:
    own = tmp_path / "own" / "sources.yaml"
    require_same_data("demo", tmp_path / "data" / "demo" / "sources.yaml", tmp_path)
    require_same_data("demo", tmp_path / "moved" / "demo" / "sources.yaml", tmp_path)
    with pytest.raises(Problem, match=r"loaded from demo, and .*own/sources.yaml would be mixed .* `make clean`"):
        require_same_data(str(own.parent), own, tmp_path)
    require_same_data("demo", tmp_path / "data" / "demo" / "sources.yaml", tmp_path)
