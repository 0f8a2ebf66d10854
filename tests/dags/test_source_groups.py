"""The groups of the DAG that stand for sources."""

import os
import subprocess
import sys

import pytest

import configs
from include.sources.definition import RESERVED_NAMES

SOURCES = """
sessions:
  - &shop
    name: north
    connector: csv
    path: s.csv
    columns: {id: i, client: c, session_start_date: d, has_purchased: {constant: true}, payment_amount: a}
  - {<<: *shop, name: south}
customers:
  - &people {name: north_customers, connector: csv, path: c.csv, columns: {client: c, download_date: d}}
  - {<<: *people, name: south_customers}
deliveries: {connector: csv, path: d.csv, columns: {order_id: o, delivery_date: d}}
"""
# The DAG's shape follows sources.yaml when it is parsed: once in a process of its own.
SHAPE = """
from dags.customer_analytics import customer_analytics
for task in customer_analytics().tasks:
    print(task.task_id, *sorted(task.upstream_task_ids))
"""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "sources.yaml").write_text(SOURCES, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SHAPE],
        env={**os.environ, "SOURCES_FILE": str(folder / "sources.yaml")},
        cwd=configs.PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    return {task: set(before) for task, *before in lines}


def test_each_source_has_a_group_with_its_name(upstream: dict[str, set[str]]) -> None:
    names = ("north", "south", "north_customers", "south_customers", "deliveries")
    for name in names:
        assert upstream[f"{name}.extract"] == {"check"}
    both = {"north_customers.validate", "south_customers.validate"}
    assert upstream["north_customers.validate"] == {"north_customers.extract"}
    assert upstream["south_customers.validate"] == {"south_customers.extract", "north_customers.validate"}
    assert upstream["north.validate"] == {"north.extract", *both}
    assert upstream["south.validate"] == {"south.extract", "north.validate", *both}
    assert upstream["deliveries.validate"] == {"deliveries.extract"}
    assert upstream["stage"] == {f"{name}.validate" for name in names}


def test_no_source_can_be_called_like_a_task_or_a_group_beside_it(upstream: dict[str, set[str]]) -> None:
    sources = {task.removesuffix(".extract") for task in upstream if task.endswith(".extract")}
    others = {task.partition(".")[0] for task in upstream} - sources
    assert others <= set(RESERVED_NAMES)
