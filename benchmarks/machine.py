"""What the measurements ran on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

import configs

PACKAGES = (
    "apache-airflow",
    "duckdb",
    "elasticsearch",
    "great-expectations",
    "ibis-framework",
    "pandas",
    "polars",
    "pyarrow",
)


def described() -> dict[str, Any]:
    """Processor, memory, versions and the settings that matter: what makes results comparable."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "versions": {
            "python": platform.python_version(),
            "elasticsearch node": configs.EMBEDDED_ELASTICSEARCH_VERSION,
            **{name: version(name) for name in PACKAGES},
        },
        "settings": {
            name: getattr(configs, name)
            for name in (
                "ENGINE_THREADS",
                "ENGINE_MEMORY_MB",
                "TASKS_AT_ONCE",
                "BULK_REQUEST_BYTES",
                "BULK_REQUESTS_IN_FLIGHT",
                "NUMBER_OF_SHARDS",
                "EMBEDDED_ELASTICSEARCH_HEAP_MB",
            )
        },
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
