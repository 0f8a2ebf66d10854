"""Files in staging, on a local disk or an object store, and the DuckDB that reads them.

Every file is finished in local scratch space before it appears under its final name in one step: a rename on a disk, a
single PUT on an object store. Whoever is killed in between leaves nothing that a reader could take for a whole file.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from airflow.sdk import ObjectStoragePath

import configs


def storage(url: str | Path) -> ObjectStoragePath:
    """A path in staging: `storage(configs.STAGING_URL) / "runs"`."""
    text = str(url)
    return ObjectStoragePath(text if "://" in text else f"file://{Path(text).resolve()}")


def is_local(path: ObjectStoragePath) -> bool:
    return path.protocol in ("", "file", "local")


def engine_url(path: ObjectStoragePath) -> str:
    """How DuckDB names this file: a plain path on a disk, else the URL (the file system must be registered)."""
    return path.path if is_local(path) else f"{path.protocol}://{path.path}"


def engine(
    *paths: ObjectStoragePath, threads: int | None = None, memory_mb: int | None = None
) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that spills to TEMPORARY_DIR and can read and write where `paths` are."""
    spill = Path(configs.TEMPORARY_DIR) / "engine"
    spill.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(
        config={
            "threads": threads or configs.ENGINE_THREADS,
            "memory_limit": f"{memory_mb or configs.ENGINE_MEMORY_MB}MB",
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    for path in paths:
        if not is_local(path):
            connection.register_filesystem(path.fs)
    return connection


@contextmanager
def written_aside(target: ObjectStoragePath) -> Iterator[Path]:
    """A scratch file to write; when the block ends well it becomes `target` in one step, else it is deleted."""
    if is_local(target):
        final = Path(target.path)
        final.parent.mkdir(parents=True, exist_ok=True)
        scratch = final.parent / f".{final.name}.{uuid.uuid4().hex}.part"
    else:
        folder = Path(configs.TEMPORARY_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f"{target.name}.{uuid.uuid4().hex}.part"
    try:
        yield scratch
        if is_local(target):
            scratch.replace(final)
        else:
            target.fs.put_file(str(scratch), target.path)
    finally:
        scratch.unlink(missing_ok=True)


def remove_tree(path: ObjectStoragePath) -> None:
    """Delete a folder and what is in it; nothing happens where there is none."""
    if is_local(path):
        shutil.rmtree(path.path, ignore_errors=True)
    elif path.exists():
        path.fs.rm(path.path, recursive=True)
