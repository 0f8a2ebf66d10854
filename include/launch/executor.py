"""Airflow's LocalExecutor with the libraries of the tasks imported before its workers are forked.

Each task runs in a process of its own, forked from a worker, which is forked from the scheduler. What the scheduler has
imported, they all have; else each of some 25 tasks of a run spends three to seven seconds of processor time importing
pandas, Ibis or Great Expectations anew (docs/adr/0005-libraries-before-the-fork.md). Only libraries: code of this
project is imported by the task, so that a changed file counts from the next task on.
"""

from importlib import import_module

from airflow.executors import local_executor

LIBRARIES = (
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.elasticsearch.hooks.elasticsearch",
    "duckdb",
    "elasticsearch.helpers",
    "great_expectations",
    "ibis",
    "ibis.backends.duckdb",
    "lifetimes",
    "pandas",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "scipy.interpolate",
    "scipy.optimize",
    "scipy.special",
    "scipy.stats",
    "sklearn.cluster",
    "sklearn.metrics",
)


# The same name, because the login of the local Airflow tells a local executor by it.
class LocalExecutor(local_executor.LocalExecutor):
    """Imports `LIBRARIES` first, where workers are forked; where they are started anew (macOS) it would not help."""

    def start(self) -> None:
        if self.is_mp_using_fork:
            for name in LIBRARIES:
                import_module(name)
        super().start()
