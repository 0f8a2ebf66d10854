"""What a dashboard is: a name and the panels it shows, of one analysis or of several. Data, not code.

    a dashboard  ->  its panels, each with the report that it shows

Every analysis has a dashboard of all its panels; the others are declared in `compositions.py`. The list of dashboards
imports no analysis; their panels do, as they are declared there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from include import catalogue
from include.dashboards.panel import Panel
from include.schemas.reports import SHARED_FIELDS, Field, ReportType

GROUPS = {"exploratory": "Exploratory", "machine_learning": "Machine learning"}  # the catalogue's: for people


@dataclass(frozen=True)
class Shown:
    """Panels that a dashboard shows: those of an analysis, of one of its reports, or a single one.

    `report_type` empty: of every report. `panel` is the title of one of the report's own panels, or a panel of this
    dashboard's own on that report; empty: all of the report's. `title`, `how_to_read` and `width` stand in for the
    panel's.
    """

    report_name: str
    report_type: str = ""
    panel: str | Panel = ""
    title: str = ""
    how_to_read: str = ""
    width: int = 0


@dataclass(frozen=True)
class Dashboard:
    """A dashboard. `see_also` names views of the page that show what lies behind it."""

    name: str
    title: str
    group: str
    about: str
    shows: tuple[Shown, ...]
    see_also: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The first paragraph of what it is about, in one line."""
        return " ".join(self.about.strip().partition("\n\n")[0].split())

    @property
    def report_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(shown.report_name for shown in self.shows))


@dataclass(frozen=True)
class PlacedPanel:
    """A panel and the report it shows.

    `id` is stable: `<report name>.<type>.<number within the type>` for a panel of the report's own, wherever it is
    shown; `<dashboard>.<report name>.<type>.<number>` for a panel of a dashboard's own.
    """

    id: str
    report_name: str
    report_type: ReportType
    panel: Panel

    @property
    def report_id(self) -> str:
        return f"{self.report_name}.{self.report_type.type}"


class UnknownDashboard(LookupError):
    """A dashboard that there is not; its text is for people."""


@cache
def dashboards() -> tuple[Dashboard, ...]:
    """All dashboards: the composed ones, then one of each analysis."""
    from include.dashboards.compositions import COMPOSITIONS

    of_analyses = (
        Dashboard(one.name, one.title, GROUPS[one.group], one.doc, (Shown(one.name),)) for one in catalogue.analyses()
    )
    return (*COMPOSITIONS, *of_analyses)


def dashboard(name: str) -> Dashboard:
    """The dashboard of that name. Raises `UnknownDashboard`."""
    for one in dashboards():
        if one.name == name:
            return one
    raise UnknownDashboard(f"There is no dashboard {name!r}; there are {', '.join(one.name for one in dashboards())}.")


def placed_panels(shown: Dashboard) -> tuple[PlacedPanel, ...]:
    """All panels of a dashboard, in its order.

    Raises ValueError where it names a report or a panel that there is not, or the same panel twice.
    """
    placed = tuple(_placed(shown))
    twice = [one.id for place, one in enumerate(placed) if one.id in {before.id for before in placed[:place]}]
    if twice:
        raise ValueError(f"The dashboard {shown.name} shows {', '.join(twice)} twice.")
    return placed


def reports_of(report_name: str) -> tuple[ReportType, ...]:
    """The report types of an analysis, or of what the pipeline reports about itself."""
    types: tuple[ReportType, ...] = catalogue.analysis(report_name).module.REPORTS
    return types


def fields_of(report_name: str) -> dict[str, Field]:
    """Every field that the reports of that name may have."""
    return {**SHARED_FIELDS, **getattr(catalogue.analysis(report_name).module, "FIELDS", {})}


def report_names() -> tuple[str, ...]:
    """The names of all reports that dashboards may show."""
    return tuple(one.name for one in catalogue.reporting())


def load() -> None:
    """Import what the panels are declared in, so that the first reader does not wait for it."""
    for one in dashboards():
        placed_panels(one)


def _placed(shown: Dashboard) -> Iterator[PlacedPanel]:
    own = 0
    for one in shown.shows:
        if isinstance(one.panel, Panel):
            own += 1
            report_type = _report_type(one)
            yield PlacedPanel(
                f"{shown.name}.{one.report_name}.{report_type.type}.{own}", one.report_name, report_type, one.panel
            )
            continue
        found = list(_own_panels(one))
        if not found:
            raise ValueError(f"{one.report_name} {one.report_type} has no panel {one.panel!r} to show.")
        for report_type, number, panel in found:
            id_ = f"{one.report_name}.{report_type.type}.{number}"
            changed = replace(
                panel,
                title=one.title or panel.title,
                how_to_read=one.how_to_read or panel.how_to_read,
                width=one.width or panel.width,
            )
            yield PlacedPanel(id_, one.report_name, report_type, changed)


def _own_panels(one: Shown) -> Iterator[tuple[ReportType, int, Panel]]:
    types: Iterable[ReportType] = (_report_type(one),) if one.report_type else reports_of(one.report_name)
    for report_type in types:
        for number, panel in enumerate(report_type.panels, start=1):
            if not one.panel or panel.title == one.panel:
                yield report_type, number, panel


def _report_type(one: Shown) -> ReportType:
    for report_type in reports_of(one.report_name):
        if report_type.type == one.report_type:
            return report_type
    raise ValueError(f"{one.report_name} has no report {one.report_type!r}.")
