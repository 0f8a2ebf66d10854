"""What a report is: its declaration beside the analysis, and what the analysis returns.

A report is a set of flat rows under shared field names (one concept, one name) and one header. The declaration is
data: the index mapping, the dashboards and the documentation are generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from include.dashboards.panel import Panel

if TYPE_CHECKING:
    import pandas as pd

FieldType = Literal["keyword", "date", "boolean", "long", "double", "geo_point"]


@dataclass(frozen=True)
class Field:
    """One field of report rows: its Elasticsearch type, its unit where it has one, and what it means.

    A `geo_point` is a text in the rows: latitude and longitude in degrees, with a comma between them. `in_words` says
    that the values are names such as `add_to_cart`, which a reader is shown as words; the rows keep the names.
    """

    type: FieldType
    description: str
    unit: str = ""
    in_words: bool = False


# Field names shared by all reports. An analysis that needs one more declares it in its own FIELDS; a test sees to it
# that a name means the same everywhere.
SHARED_FIELDS: dict[str, Field] = {
    "dimension": Field("keyword", "`all`, or the dimension value this row was computed for, as `column: value`"),
    "granularity": Field("keyword", "what a period is: hour, day, week or month"),
    "period": Field("date", "first day of the period, in the business time zone"),
    "hour_of_day": Field("long", "hour of the day in the business time zone", "0-23"),
    "is_complete": Field("boolean", "whether the period, or the cohort cell, was over at the report date"),
    "customers": Field("long", "distinct customers", "customers"),
    "sessions": Field("long", "sessions", "sessions"),
    "orders": Field("long", "sessions with a purchase", "orders"),
    "revenue": Field("double", "payment amount of orders", "currency"),
    "discount": Field("double", "discount amount of orders", "currency"),
    "rate": Field("double", "numerator / denominator", "share"),
    "numerator": Field("long", "what the rate counts"),
    "denominator": Field("long", "what the rate is out of"),
    "ci_low": Field("double", "lower end of the confidence interval"),
    "ci_high": Field("double", "upper end of the confidence interval"),
    "p_value": Field("double", "p-value"),
    "n": Field("long", "how many observations the estimate rests on"),
}


@dataclass(frozen=True)
class ReportType:
    """One report an analysis writes: `type` names it, `key` are the fields that tell its rows apart."""

    type: str
    title: str
    fields: tuple[str, ...]
    key: tuple[str, ...]
    panels: tuple[Panel, ...] = ()


@dataclass
class Report:
    """What an analysis found for one report type.

    `rows` has exactly the declared fields as columns. A missing value means unknown and is left out of the document;
    zero means zero. `kpis` are single numbers for `dimension = all`; `definition` says what was counted (window, time
    zone, what an order is) beside the settings, which the runner adds; `warnings` are sentences for the reader.
    """

    rows: pd.DataFrame
    kpis: dict[str, float] = field(default_factory=dict)
    definition: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
