"""The sessions and customers of two shops, from their files through validation into one snapshot."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import AirflowFailException

import configs
from include.elastic.documents import order_documents
from include.pipeline.extract import extract
from include.pipeline.parameters import configured_sources
from include.pipeline.stage import stage, staged_snapshot
from include.pipeline.validate import validate
from include.staging.snapshot import Snapshot
from tests.runs import context_of

SOURCES = """
sessions:
  - name: north
    connector: csv
    path: north.csv
    columns: {id: NORTH_ID, client: c, session_start_date: d, has_purchased: {constant: true}, payment_amount: p}
    dimensions: {shop: {constant: North}, region: region}
    csv: {delimiter: ",", date_format: iso}
  - name: south
    connector: csv
    path: south.csv
    columns: {id: SOUTH_ID, client: c, session_start_date: d, has_purchased: bought, payment_amount: p}
    dimensions: {shop: {constant: South}, device: device}
    actions: [viewed]
    csv: {delimiter: ",", date_format: iso}
customers:
  - name: north_customers
    connector: csv
    path: north_customers.csv
    columns: {client: c, download_date: d}
    csv: {delimiter: ",", date_format: iso}
  - name: south_customers
    connector: csv
    path: south_customers.csv
    columns: {client: c, download_date: d, signup_date: s}
    csv: {delimiter: ",", date_format: iso}
"""
FILES = {
    "north": "nr,c,d,p,region\n1,a,2024-07-01,10,east\n2,b,2024-07-02,20,\n",
    "south": "nr,c,d,p,bought,device,viewed\n1,a,2024-07-03,30,yes,app,yes\n3,c,2024-07-04,0,no,,no\n",
    "north_customers": "c,d\na,2024-01-01\nb,2024-01-02\n",
    "south_customers": "c,d,s\na,2024-05-01,2024-05-02\nc,2024-05-03,\n",
}


class Shops:
    """A folder with sources.yaml and the files of its sources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, dict[str, Any]] = {}
        self.context: Any = context_of("a task")

    def load(
        self,
        files: Mapping[str, str] = FILES,
        *,
        prefixed: bool = True,
        kinds: tuple[str, ...] = ("customers", "sessions"),
    ) -> Snapshot:
        """The tasks up to `stage`, as the DAG arranges them; of kinds left out what the load before gave."""
        text = SOURCES.replace("NORTH_ID", "[{constant: N}, nr]" if prefixed else "nr")
        text = text.replace("SOUTH_ID", "[{constant: S}, nr]" if prefixed else "nr")
        (self.folder / "sources.yaml").write_text(text, encoding="utf-8")
        for name, content in files.items():
            (self.folder / f"{name}.csv").write_text(content, encoding="utf-8")
        self.found = {name: one for name, one in self.found.items() if one["kind"] not in kinds}
        for kind in kinds:
            for name in [name for name, of_kind in configured_sources().items() if of_kind == kind]:
                before = list(self.found.values())
                customers = [one for one in before if kind == "sessions" and one["kind"] == "customers"]
                earlier = [one for one in before if one["kind"] == kind]
                self.found[name] = validate(self.context, name, extract(self.context, name), customers, earlier)
        return staged_snapshot(stage(self.context, list(self.found.values())))

    def quarantined(self, name: str) -> list[tuple[str, int, list[str]]]:
        files = (Path(configs.STAGING_URL) / "runs" / "one" / "quarantine" / name).glob("*.parquet")
        return [(row["source"], row["row"], row["rules"]) for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shops:
    for name in ("STAGING_URL", "TEMPORARY_DIR", "DATA_DOCS_DIR"):
        monkeypatch.setattr(configs, name, str(tmp_path / name.lower()))
    monkeypatch.setattr(configs, "SOURCES_FILE", str(tmp_path / "shops" / "sources.yaml"))
    (tmp_path / "shops").mkdir()
    return Shops(tmp_path / "shops")


def rows(snapshot: Snapshot, query: str) -> list[tuple[Any, ...]]:
    with snapshot.connect() as connection:
        return connection.execute(query).fetchall()


def test_two_shops_load_into_one(shops: Shops) -> None:
    snapshot = shops.load()
    query = "SELECT id, source, dimension_shop, dimension_region, dimension_device, action_viewed FROM sessions"
    assert rows(snapshot, f"{query} ORDER BY id") == [
        ("N-1", "north", "North", "east", None, None),
        ("N-2", "north", "North", None, None, None),
        ("S-1", "south", "South", None, "app", True),
        ("S-3", "south", "South", None, None, False),
    ]
    # A customer of both shops is one, that of the shop which comes first; its sessions in the other are good all the
    # same, and so many shared customers stop no run, as they are not bad rows.
    assert rows(snapshot, "SELECT client, source, signup_date FROM customers ORDER BY client") == [
        ("a", "north_customers", None),
        ("b", "north_customers", None),
        ("c", "south_customers", None),
    ]
    assert shops.quarantined("south_customers") == [("south_customers", 2, ["client_of_another_source"])]
    assert shops.found["south_customers"]["quarantined"] == 1
    with snapshot.connect() as connection:
        lines = [json.loads(line) for part in order_documents(connection) for line in part.splitlines()]
    dimensions = {lines[n]["index"]["_id"]: lines[n + 1]["dimension"] for n in range(0, len(lines), 2)}
    assert dimensions["N-2"] == ["all", "region: (unknown)", "shop: North", "device: (unknown)"]
    assert dimensions["S-1"] == ["all", "region: (unknown)", "shop: South", "device: app"]


def test_ids_that_two_shops_give_stop_the_run_with_the_name_of_the_second(shops: Shops) -> None:
    with pytest.raises(
        AirflowFailException,
        match=r"^south: 1 of 2 rows \(50\.0%\) are bad.* 1 × id_of_another_source .*id is that of a row of another "
        "source, which comes before this one in sources.yaml",
    ):
        shops.load(prefixed=False)


def test_the_shop_that_comes_first_keeps_an_id_whichever_row_came_first(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "MAX_QUARANTINED_SHARE", 1.0)
    without_1 = {**FILES, "north": "nr,c,d,p,region\n2,b,2024-07-02,20,\n"}
    query = "SELECT id, source FROM sessions ORDER BY id"
    first = shops.load(without_1, prefixed=False)
    assert rows(first, query) == [("1", "south"), ("2", "north"), ("3", "south")]
    second = shops.load(prefixed=False, kinds=("sessions",))
    assert rows(second, query) == [("1", "north"), ("2", "north"), ("3", "south")]
    # Staged by north, and not in its file now, as when only changes are read.
    third = shops.load(without_1, prefixed=False, kinds=("sessions",))
    assert rows(third, query) == rows(second, query)
    assert shops.quarantined("south") == [("south", 2, ["id_of_another_source"])]
