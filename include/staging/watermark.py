"""How far each source was loaded: the newest change that is staged and indexed.

    STAGING_URL/watermarks.json: {source: {"definition": a hash, "newest": an instant in UTC}}

The hash is of the source's definition: who maps a column anew has not yet loaded anything of it, so the watermark no
longer holds and the next run reads everything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import configs
from include.sources.definition import CHANGED_AT, Source
from include.staging.merge import SOURCE, TABLE_OF_KIND
from include.staging.snapshot import Snapshot
from include.staging.sql import quoted
from include.staging.storage import storage, written_aside

FILE = "watermarks.json"


def read_watermark(source: Source) -> datetime | None:
    """The newest change of `source` that was loaded, UTC without a zone; None: nothing, or under another definition."""
    entry = _all().get(source.name, {})
    return datetime.fromisoformat(entry["newest"]) if entry.get("definition") == _definition(source) else None


def keep_watermarks(names: Iterable[str]) -> None:
    """Forget how far all sources but these were loaded: what is about to be staged no longer has their rows."""
    names = set(names)
    kept = {name: entry for name, entry in _all().items() if name in names}
    if kept != _all():
        _write(kept)


def move_watermarks(sources: Iterable[Source], snapshot: Snapshot) -> dict[str, datetime]:
    """Set the watermarks of `sources` to the newest change in `snapshot`, which is indexed; those that have one."""
    kept = _all()
    moved = {}
    with snapshot.connect() as connection:
        for source in sources:
            column = CHANGED_AT if source.changed_at else "session_start_date"
            table = TABLE_OF_KIND[source.kind.name]
            if column not in snapshot.tables[table].columns:
                continue
            query = f"SELECT max({quoted(column)}) FROM {table} WHERE {SOURCE} = ?"
            ((newest,),) = connection.execute(query, [source.name]).fetchall()
            if newest is not None:
                moved[source.name] = newest
                kept[source.name] = {"definition": _definition(source), "newest": newest.isoformat()}
    _write(kept)
    return moved


def _write(entries: dict[str, dict[str, str]]) -> None:
    with written_aside(storage(configs.STAGING_URL) / FILE) as file:
        file.write_text(json.dumps(entries, indent=2, sort_keys=True), encoding="utf-8")


def _all() -> dict[str, dict[str, str]]:
    path = storage(configs.STAGING_URL) / FILE
    found: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _definition(source: Source) -> str:
    # Where the same project lies on the disk does not matter.
    return hashlib.sha256(repr(replace(source, base_dir=Path())).encode()).hexdigest()[:16]
