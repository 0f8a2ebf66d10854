"""From what an analysis measured to its reports: rows in order under their labels, and the header's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import pandas as pd

from include.measures.dimension import labelled
from include.measures.results import significant
from include.schemas.reports import Report, ReportType


def finished_report(
    report_type: ReportType,
    frame: pd.DataFrame,
    labels: Sequence[str],
    key: Sequence[str],
    *,
    as_of: date,
    kpis: Mapping[str, float],
    said: Mapping[str, Any],
    warnings: Iterable[str] = (),
    order: Mapping[str, Sequence[str]] | None = None,
) -> Report:
    """The report of a frame whose `dimension` holds codes: sorted by `key`, with the declared fields in their order.

    A column of the key that is in `order` sorts as its values stand there, the others by their values.
    Floating-point numbers are rounded to what can be relied on. `said` is the definition; a report without rows says so
    among its warnings.
    """
    places = {
        name: {value: place for place, value in enumerate(order[name])} for name in key if order and name in order
    }
    placed = frame.assign(**{f"{name}_place": [places[name][one] for one in frame[name]] for name in places})
    ordered = labelled(placed, labels, [f"{name}_place" if name in places else name for name in key])
    rows = pd.DataFrame({name: ordered[name] for name in report_type.fields}).reset_index(drop=True)
    for name in rows.select_dtypes("float").columns:
        rows[name] = significant(rows[name])
    nothing = [] if len(rows) else [f"There is nothing to report up to {as_of.isoformat()}."]
    return Report(rows, kpis=dict(kpis), definition=dict(said), warnings=[*nothing, *warnings])


def of_values(warnings: Mapping[int, Iterable[str]], labels: Sequence[str]) -> list[str]:
    """Warnings by dimension code as sentences; those of `all` stand without a label."""
    return [
        ("" if code == 0 else f"{labels[code]}: ") + warning
        for code, own in sorted(warnings.items())
        for warning in own
    ]


def without_rows(report_types: Iterable[ReportType], said: Mapping[str, Any], reason: str) -> dict[str, Report]:
    """Every report of an analysis whose data are not there, each with the reason."""
    return {
        one.type: Report(pd.DataFrame({name: [] for name in one.fields}), definition=dict(said), warnings=[reason])
        for one in report_types
    }
