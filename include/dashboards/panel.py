"""The declaration of one chart: data, not code, beside the analysis whose report it shows."""

from dataclasses import dataclass, field
from typing import Literal

Mark = Literal["metric", "line", "bar", "area", "heatmap", "table", "scatter", "map"]
Format = Literal["number", "decimal", "money", "percent", "hours", "days"]
Tone = Literal["good", "bad", "plain", "faint"]


@dataclass(frozen=True)
class Panel:
    """One chart on a dashboard.

    `how_to_read` is one sentence shown under the title. `x`, `y`, `breakdown` and `color` name fields of the report;
    `y` may be several, drawn as one series each. `where` keeps only the rows that have these values. Rows are shown in
    the report's own order unless `sort` says otherwise; `limit` keeps the first ones. `width` is out of 12 columns. A
    map has a longitude as `x` and a latitude as `y`, both in degrees, and the same place as a geo_point as `location`.
    """

    title: str
    mark: Mark
    y: str | tuple[str, ...]
    how_to_read: str
    x: str | None = None
    x_title: str = ""
    y_title: str = ""
    breakdown: str | None = None  # line, bar, area, scatter, map: one colour per value; heatmap: the rows
    color: str | None = None  # heatmap: the field shown as colour
    where: dict[str, str | int | bool] = field(default_factory=dict)
    format: Format = "number"
    sort: Literal["report", "ascending", "descending"] = "report"
    limit: int | None = None
    width: int = 6
    band: tuple[str, str] | None = None  # line: fields of the lower and the upper end of its interval
    whisker: tuple[str, str] | None = None  # bar: fields of the lower and the upper end of its interval
    series_titles: dict[str, str] = field(default_factory=dict)  # several `y`: what each is called in the legend
    columns: tuple[str, ...] = ()  # the fields that the table shows, in order, and that a chart's points tell
    location: str | None = None  # map: the geo_point by which Kibana's Maps find the place
    marked: str | None = None  # line: a field that is true where the point is to stand out
    when_empty: str = ""  # the sentence to show where the report has no such rows
    when_zero: str = ""  # chart: the sentence to show where all of its values are zero
    tones: dict[str, Tone] = field(default_factory=dict)  # values of the breakdown, or series: what their colour says

    @property
    def series(self) -> tuple[str, ...]:
        return (self.y,) if isinstance(self.y, str) else self.y
