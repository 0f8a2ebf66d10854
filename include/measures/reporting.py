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
) -> Report:
    """The report of a frame whose `dimension` holds codes: sorted by `key`, with the declared fields in their order.

    Floating-point numbers are rounded to what can be relied on. `said` is the definition; a report without rows says so
    among its warnings.
    """
    ordered = labelled(frame, labels, key)
    rows = pd.DataFrame({name: ordered[name] for name in report_type.fields}).reset_index(drop=True)
    for name in rows.select_dtypes("float").columns:
        rows[name] = significant(rows[name])
    nothing = [] if len(rows) else [f"There is nothing to report up to {as_of.isoformat()}."]
    return Report(rows, kpis=dict(kpis), definition=dict(said), warnings=[*nothing, *warnings])


def without_rows(report_types: Iterable[ReportType], said: Mapping[str, Any], reason: str) -> dict[str, Report]:
    """Every report of an analysis whose data are not there, each with the reason."""
    return {
        one.type: Report(pd.DataFrame({name: [] for name in one.fields}), definition=dict(said), warnings=[reason])
        for one in report_types
    }
