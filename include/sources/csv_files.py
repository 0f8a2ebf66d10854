"""The CSV files of a source on a disk or an object store: which there are, and their bytes."""

import gzip
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from airflow.sdk import ObjectStoragePath
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from fsspec import AbstractFileSystem

from include.sources.definition import Source
from include.sources.problems import SourceError, said_plainly

GZIP_MAGIC = b"\x1f\x8b"
WILDCARDS = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class CsvFile:
    """One file: `name` is for people and holds no credentials; `size` is in bytes, as stored, and `written` in UTC."""

    files: AbstractFileSystem
    path: str
    name: str
    size: int
    written: datetime | None = None

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """The bytes, unzipped where they are gzipped, whatever the file is called."""
        with self.files.open(self.path, "rb") as raw:
            zipped = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            raw.seek(0)
            if not zipped:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw, mode="rb") as unzipped:
                yield cast("IO[bytes]", unzipped)


def csv_files(source: Source) -> list[CsvFile]:
    """The files that the source's path means (a file, a folder's CSV files, or a pattern's), ordered by name."""
    assert source.path is not None
    scheme, separator, rest = source.path.partition("://")
    local = not separator or scheme == "file"
    path = rest if separator else str(source.base_dir / source.path)
    _refuse_unknown_connection(source)
    with said_plainly(source.name, source.path):
        # The bucket is enough for a file system; a whole path would be parsed as a URL, and file names may hold # or ?.
        root = "file:///" if local else f"{scheme}://{path.split('/')[0]}"
        files = ObjectStoragePath(root, conn_id=source.connection).fs
        files.invalidate_cache()
        found = [info for info in _matches(files, path, source) if info["type"] == "file"]
        if not found:
            raise SourceError(f"{source.name}: no CSV file is at {source.path}; correct `path` in sources.yaml.")
    return [
        CsvFile(
            files, info["name"], _name(info["name"], scheme, local, source.base_dir), int(info["size"]), _written(info)
        )
        for info in sorted(found, key=lambda info: str(info["name"]))
    ]


def _matches(files: AbstractFileSystem, path: str, source: Source) -> list[dict[str, Any]]:
    if files.isfile(path):
        return [files.info(path)]
    if WILDCARDS.search(source.path or ""):
        if "://" not in (source.path or "") and not Path(source.path or "").is_absolute():
            # A folder above may have a name with brackets in it; only what the user wrote is a pattern.
            folder = WILDCARDS.sub(r"[\g<0>]", str(source.base_dir))
            path = f"{folder}/{source.path}"
        return list(files.glob(path, detail=True).values())
    inside: list[dict[str, Any]] = files.ls(path, detail=True)
    return [info for info in inside if str(info["name"]).lower().endswith((".csv", ".csv.gz"))]


def _written(info: Mapping[str, Any]) -> datetime | None:
    """When a file was last written, by the name that its file system has for that."""
    found = next((info[name] for name in ("mtime", "LastModified", "updated") if info.get(name)), None)
    if isinstance(found, int | float):
        return datetime.fromtimestamp(found, UTC)
    return datetime.fromisoformat(found) if isinstance(found, str) else found


def _name(path: str, scheme: str, local: bool, base_dir: Path) -> str:
    if not local:
        return f"{scheme}://{path}"
    return str(Path(path).relative_to(base_dir)) if Path(path).is_relative_to(base_dir) else path


def _refuse_unknown_connection(source: Source) -> None:
    if source.connection is None:
        return
    try:
        BaseHook.get_connection(source.connection)
    except AirflowNotFoundException:
        remedy = "add it, or correct `connection` in sources.yaml"
        raise SourceError(f"{source.name}: Airflow has no connection {source.connection!r}; {remedy}.") from None
