"""What the `check` task found out about a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from include.sources.definition import ValueFormat


@dataclass(frozen=True)
class SourceCheck:
    """What a source turned out to be: its files or its table, its columns, and how it is read.

    `bytes` is the size as stored, where it is known. `columns` are those of the first file, or of the table;
    `unused_columns` are those among them that sources.yaml does not mention. `rows` are as a database estimates them,
    and of files as their beginning lets expect; `newest` is the newest change (or date), and of files when one was last
    written, as ISO text. `types` are those of the needed columns as a database calls them.
    """

    source: str
    files: tuple[str, ...]
    bytes: int | None
    columns: tuple[str, ...]
    unused_columns: tuple[str, ...]
    options: ValueFormat
    rows: int | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    newest: str | None = None

    def summary(self) -> dict[str, Any]:
        """The same in a form that JSON can hold, short enough for a task's result."""
        found: dict[str, Any] = {
            "files": len(self.files),
            "first_file": self.files[0],
            "bytes": self.bytes,
            "columns": list(self.columns),
            "unused_columns": list(self.unused_columns),
            "options": {**asdict(self.options), "date_format": dict(self.options.date_format)},  # type: ignore[call-overload]
            "rows": self.rows,
            "newest": self.newest,
        }
        return found | ({"types": dict(self.types)} if self.types else {})
