"""The contract tests' side of CSV files: writes what an export would, on a disk or into a bucket, and names it."""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

FORMAT = {"timezone": "Europe/Berlin", "decimal": ".", "date_format": "iso"}


def csv_text(columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> str:
    """Rows as an export to CSV has them: nothing for NULL, ISO dates, true and false."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_written(value) for value in row] for row in rows)
    return text.getvalue()


def _written(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class CsvConnector:
    """`put` writes a file below `root`: a folder, or the URL of a bucket that the Airflow connection reaches."""

    root: str
    connection: str | None
    put: Callable[[str, bytes], object]

    def load(self, table: str, columns: dict[str, str], rows: list[tuple[Any, ...]]) -> None:
        self.put(f"contract/{table}.csv", csv_text(columns, rows).encode())

    def place(self, table: str) -> dict[str, object]:
        path = f"{self.root}/contract/{table}.csv"
        login = {"connection": self.connection} if self.connection else {}
        return {"connector": "csv", **login, "path": path, "csv": FORMAT}

    def place_query(self, table: str) -> dict[str, object]:
        """A pattern is what comes nearest to a query."""
        return {**self.place(table), "path": f"{self.root}/contract/{table}*.csv"}
