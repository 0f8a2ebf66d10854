"""The rules every DAG of this project keeps."""

import subprocess
import sys
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowException

import configs
from include import catalogue

DAGS = Path(__file__).resolve().parents[2] / "dags"
TAGS = {"customer-analytics"}
HEAVY = (
    "pandas",
    "numpy",
    "sklearn",
    "scipy",
    "ibis",
    "duckdb",
    "great_expectations",
    "lifetimes",
    "elasticsearch",
    "pyarrow",
)


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(str(DAGS))


def test_dags_import(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == {path.stem for path in DAGS.glob("*.py")}


def test_every_task_is_documented_owned_and_retried(bag: DagBag) -> None:
    for dag in bag.dags.values():
        assert dag.doc_md
        assert set(dag.tags) <= TAGS
        assert dag.max_active_runs == 1
        for task in dag.tasks:
            assert task.doc_md, task.task_id
            assert task.owner == "customer-analytics"
            assert task.retries == configs.TASK_RETRIES


def test_one_task_per_analysis(bag: DagBag) -> None:
    tasks = {task.task_id for task in bag.dags["customer_analytics"].tasks}
    expected = {f"{one.group}.{one.name}" for one in catalogue.analyses()}
    assert {name for name in tasks if name.split(".")[0] in catalogue.GROUPS} == expected


def test_everything_waits_for_the_check(bag: DagBag) -> None:
    dag = bag.dags["customer_analytics"]
    assert {task.task_id for task in dag.roots} == {"check"}
    assert {task.task_id for task in dag.leaves} == {"import_dashboards", "write_report"}


def test_analyses_run_after_both_indexes(bag: DagBag) -> None:
    for task in bag.dags["customer_analytics"].tasks:
        if task.task_id.split(".")[0] in catalogue.GROUPS:
            assert {"index_orders", "index_downloads"} <= task.upstream_task_ids
            assert "publish" in task.downstream_task_ids


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("as_of", "yesterday"),
        ("as_of", "2024-13-01"),
        ("start", 5),
        ("dimensions", "region"),
        ("analyses", ["no_such_analysis"]),
        ("analyses", ["rfm", "rfm"]),
        ("full_refresh", "maybe"),
        ("dry_run", None),
    ],
)
def test_the_form_refuses_a_wrong_value(bag: DagBag, name: str, value: object) -> None:
    parameter = bag.dags["customer_analytics"].params.get_param(name)
    assert parameter.schema["description_md"]
    with pytest.raises(AirflowException):
        parameter.resolve(value)


@pytest.mark.parametrize("file", sorted(DAGS.glob("*.py")), ids=lambda path: path.stem)
def test_a_dag_file_imports_nothing_heavy(file: Path) -> None:
    """Airflow parses it every half minute, and again in every task."""
    code = (
        "import sys, runpy, airflow.sdk; before = set(sys.modules); "
        f"runpy.run_path({str(file)!r}); print(*sorted({{m.partition('.')[0] for m in set(sys.modules) - before}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=DAGS.parent)
    assert set(HEAVY) & set(done.stdout.split()) == set()
