"""Source health: is what the reports are made of all there, as of the report date?

    sessions, customers, [basket], [deliveries], each with `source`  ->  rows per source and day against the usual
    number, and per source how old its newest row is

A row counts for its source on its own day: a session on the day it began, a customer on that of the download, a
delivery on its own date, a product line on the day of its order (so lines whose order is not there count nowhere). What
a source brings late counts on the day it is for; a day that was short is made good when its rows arrive. Product lines
and deliveries have the dimension values of their order, customers those of their first session.

The *expected* number of a day is the median of the same weekday in the SOURCE_HEALTH_WEEKS weeks before it, days
without a row counting as zero, from the first row of the source on. With fewer than SOURCE_HEALTH_WEEKS_MIN such days
nothing is expected. The expected range is

    median  +-  SOURCE_HEALTH_LIMIT x spread,    spread = max(1.4826 x MAD, sqrt(median), 1)

MAD being the median distance from the median. Both medians stand up to a few days that were themselves broken, and
1.4826 makes the MAD an estimate of the standard deviation of normal values [1]_. Counts scatter by at least the square
root of their mean (Poisson), which eight days that happen to be alike would hide. Where the median is at least 5 and
none of the days compared with was empty, at least one row is expected. A number outside of the range is *unusual*, too
many rows as well as too few: a feed that is read twice is broken too. Of days that scatter as counts do (Poisson) fewer
than one in a hundred is unusual by chance; where they scatter by 20 % beyond that, some three to four, and then a day
of which half is lost is often within the range: with eight days to compare with, only more than half would stand out.
A holiday or a campaign is unusual as well; the report says that a day is unlike others, not why.

A source is *late* when it has been silent for more than twice as many days as ever in the SOURCE_HEALTH_WEEKS weeks
before its newest row; one that has a row every day is late after one day without. A source without any row in the days
looked at is late, however old its newest row is.

All of it is as of the report date. A run by hand reports as of the newest complete day of the sessions, and so cannot
tell that all sources of sessions stopped at once; a scheduled run reports as of the last day of its period, and can.

.. [1] Rousseeuw & Croux (1993), "Alternatives to the median absolute deviation", JASA 88, 1273-1283.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from statistics import median
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd

import configs
from include.dashboards.panel import Panel
from include.measures.clocks import day_of
from include.measures.dimension import CODE, by_dimension
from include.measures.observed import Observed, definition, observed
from include.measures.periods import day_number
from include.measures.reporting import finished_report
from include.measures.results import records, result
from include.schemas.reports import Field, Report, ReportType

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

READS = ("sessions",)
SOURCE = "source"
# Staged table: the kind of its sources.
KINDS = {"sessions": "sessions", "customers": "customers", "basket": "products", "deliveries": "deliveries"}
NORMAL_CONSISTENCY = 1.4826  # 1 / the 75 % quantile of the normal distribution
NEVER_EMPTY_FROM = 5  # with this median and more an empty day is no accident: exp(-5) is less than one in a hundred
SILENCE_FACTOR = 2
RECENT_DAYS = 28

FIELDS: dict[str, Field] = {
    "source": Field("keyword", "the source, by its name in sources.yaml"),
    "source_kind": Field("keyword", "sessions, customers, products or deliveries"),
    "source_rows": Field("long", "good rows of the source on the day", "rows"),
    "expected_rows": Field("double", "median of the same weekday in the weeks before", "rows"),
    "expected_low": Field("double", "fewest rows that are not unusual", "rows"),
    "expected_high": Field("double", "most rows that are not unusual", "rows"),
    "deviation": Field(
        "double", "(source rows - expected rows) / spread; beyond +-SOURCE_HEALTH_LIMIT the day is unusual"
    ),
    "distance": Field("double", "deviation without its sign"),
    "is_unusual": Field("boolean", "whether the number of rows is outside of its expected range"),
    "newest_day": Field("date", "the newest day with a row"),
    "newest_change": Field("date", "the day of the newest `changed_at`, of the whole source"),
    "days_since_newest": Field("long", "days from the newest day with a row to the report date", "days"),
    "usual_silence_days": Field("long", "most days in a row without a row, in the weeks before the newest day", "days"),
    "is_late": Field("boolean", "silent for more than twice the usual silence"),
    "unusual_days": Field("long", f"unusual days among the last {RECENT_DAYS}", "days"),
}
EXPECTED = ("expected_rows", "expected_low", "expected_high", "is_unusual", "n")

REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "sources",
        "Sources",
        (
            "dimension",
            "source",
            "source_kind",
            "newest_day",
            "newest_change",
            "days_since_newest",
            "usual_silence_days",
            "is_late",
            "source_rows",
            *EXPECTED,
            "unusual_days",
        ),
        ("dimension", "source"),
        (
            Panel(
                title="Sources",
                mark="table",
                y="days_since_newest",
                columns=(
                    "source",
                    "source_kind",
                    "newest_day",
                    "newest_change",
                    "days_since_newest",
                    "is_late",
                    "source_rows",
                    "expected_low",
                    "expected_high",
                    "is_unusual",
                    "unusual_days",
                ),
                format="decimal",
                width=12,
                how_to_read="Rows are those of the report date. Where a source is late or unusual, look at it before "
                "believing the other dashboards.",
            ),
            Panel(
                title="Days since the newest row",
                mark="bar",
                x="source",
                y="days_since_newest",
                x_title="Source",
                y_title="Days",
                format="days",
                how_to_read="How old the newest data of each source are at the report date; zero is up to date.",
                when_zero="Every source that has rows has some of the report date.",
            ),
            Panel(
                title="Unusual days lately",
                mark="bar",
                x="source",
                y="unusual_days",
                x_title="Source",
                y_title=f"Unusual days of the last {RECENT_DAYS}",
                how_to_read="On how many of the last days a source brought more or fewer rows than expected.",
                when_zero=f"No source had an unusual day among the last {RECENT_DAYS}.",
            ),
        ),
    ),
    ReportType(
        "days",
        "Rows per day",
        ("dimension", "source", "source_kind", "period", "source_rows", *EXPECTED, "deviation", "distance"),
        ("dimension", "source", "period"),
        (
            Panel(
                title="Rows per day",
                mark="line",
                x="period",
                y="source_rows",
                breakdown="source",
                x_title="Day",
                y_title="Rows",
                width=12,
                how_to_read="The good rows that each source has for each day; a line that breaks off is a broken feed.",
            ),
            Panel(
                title="Unlike other days",
                mark="heatmap",
                x="period",
                y="deviation",
                breakdown="source",
                color="deviation",
                x_title="Day",
                y_title="Source",
                format="decimal",
                width=12,
                how_to_read="How far a day is from the same weekday of the weeks before, in units of the usual spread.",
            ),
            Panel(
                title="Most unusual days",
                mark="table",
                y="distance",
                columns=(
                    "period",
                    "source",
                    "source_rows",
                    "expected_rows",
                    "expected_low",
                    "expected_high",
                    "is_unusual",
                ),
                format="decimal",
                sort="descending",
                limit=20,
                width=12,
                how_to_read="The days on which a source was furthest from what was expected, the furthest first.",
            ),
        ),
    ),
)

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "weeks": configs.SOURCE_HEALTH_WEEKS,
    "weeks_min": configs.SOURCE_HEALTH_WEEKS_MIN,
    "limit": configs.SOURCE_HEALTH_LIMIT,
    "kept_days": configs.SOURCE_HEALTH_KEPT_DAYS,
}


@dataclass(frozen=True)
class Expectation:
    """What is expected of a day, from `n` days like it."""

    expected: float
    low: float
    high: float
    spread: float
    n: int


def source_health(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    weeks: int = 8,
    weeks_min: int = 4,
    limit: float = 4.0,
    kept_days: int = 56,
) -> dict[str, Report]:
    """Both reports of this module, from the rows up to the end of `as_of`."""
    tables = _with_sources(tables)
    seen = observed(tables, as_of=as_of, top_values=top_values, also=[SOURCE])
    today = day_number(as_of)
    first_day = today - kept_days + 1 - 7 * weeks
    counts = _counts(tables, seen, first_day, today)
    order = _ordered(tables, counts)
    changes = _newest_changes(tables, today)
    newest = _newest_of_silent(tables, seen, order, counts, first_day, today)
    days: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    for dimension, place, numbers in _series(counts, order, first_day, today):
        kind, source = order[place]
        named = {"dimension": dimension, "source_order": place, "source": source, "source_kind": kind}
        own = [
            {**named, "day": first_day + day, **_judged(numbers, day, weeks, weeks_min, limit)}
            for day in range(max(_begin(numbers), 7 * weeks), len(numbers))
        ]
        days += own
        freshness = _freshness(numbers, weeks, weeks_min, before=newest.get(order[place]))
        lately = {"unusual_days": sum(one["is_unusual"] is True for one in own[-RECENT_DAYS:])}
        change = {"newest_change": changes.get((kind, source)) if dimension == 0 else None}
        last = own[-1] if own else {"source_rows": 0, **dict.fromkeys(EXPECTED), "n": 0}
        sources.append(
            {**named, **{name: last[name] for name in ("source_rows", *EXPECTED)}, **freshness, **lately, **change}
        )
    frames = {
        "sources": _frame(sources, REPORTS[0], ("newest_day", "newest_change"), first_day),
        "days": _frame(days, REPORTS[1], ("period",), 0),
    }
    said = definition(
        tables,
        as_of=as_of,
        expected=f"median of the same weekday in the {weeks} weeks before, of at least {weeks_min}",
        unusual=f"more than {limit:g} x max(1.4826 x MAD, sqrt(median), 1) from it",
        late=f"silent for more than {SILENCE_FACTOR} x the longest silence of the {weeks} weeks before the newest row",
    )
    of_all = [one for one in sources if one["dimension"] == 0]
    kpis = {
        "sources": float(len(of_all)),
        "late_sources": float(sum(one["is_late"] is True for one in of_all)),
        "unusual_sources": float(sum(one["is_unusual"] is True for one in of_all)),
    }
    warnings = [sentence for one in of_all for sentence in _warnings(one, as_of, first_day)]
    return {
        report_type.type: finished_report(
            report_type,
            frames[report_type.type],
            seen.labels,
            ["dimension", "source_order", *(["period"] if "period" in report_type.key else [])],
            as_of=as_of,
            kpis=kpis,
            said=said,
            warnings=warnings,
        )
        for report_type in REPORTS
    }


def expectation(like: Sequence[int], limit: float) -> Expectation:
    """The expected number of rows of a day, and its range, from the numbers of the days `like` it."""
    middle = float(median(like))
    deviation = float(median(abs(number - middle) for number in like))
    spread = max(NORMAL_CONSISTENCY * deviation, math.sqrt(middle), 1.0)
    least = 1.0 if middle >= NEVER_EMPTY_FROM and min(like) > 0 else 0.0
    low, high = max(math.ceil(middle - limit * spread), least), math.floor(middle + limit * spread)
    return Expectation(middle, float(low), float(high), spread, len(like))


def _with_sources(tables: Tables) -> Tables:
    """Every table with the column `source`: the kind's name where nothing says more."""

    def named(table: ir.Table | None, kind: str) -> ir.Table | None:
        if table is None:
            return None
        known = ibis.coalesce(table[SOURCE], ibis.literal(kind)) if SOURCE in table.columns else ibis.literal(kind)
        return table.mutate(source=known)

    found: dict[str, Any] = {name: named(getattr(tables, name), kind) for name, kind in KINDS.items()}
    return replace(tables, **found)


def _counts(tables: Tables, seen: Observed, first_day: int, today: int) -> pd.DataFrame:
    """dimension, kind, source, day, rows: of each day from `first_day` to `today` that has any."""
    codes = [CODE + name for name in seen.dimensions]
    sessions = seen.sessions.filter(seen.sessions.day >= first_day)
    parts = {"sessions": by_dimension(sessions.select(SOURCE, "day", *codes), seen.dimensions)}
    # One row per customer and dimension, under the value of the first session.
    whose = seen.customers_by_dimension.select("client_code", "dimension")
    downloads = tables.customers.group_by(["client_code", SOURCE]).agg(download=tables.customers.download_day.min())
    downloads = downloads.mutate(day=downloads.download.epoch_days().cast("int32"))
    downloads = downloads.filter((downloads.day >= first_day) & (downloads.day <= today))
    parts["customers"] = downloads.join(whose, "client_code")
    if tables.basket is not None:
        orders = sessions.select("id", "day", *codes)
        lines = tables.basket.select("order_id", SOURCE)
        joined = lines.join(orders, lines.order_id == orders.id).select(SOURCE, "day", *codes)
        parts["products"] = by_dimension(joined, seen.dimensions)
    if tables.deliveries is not None:
        deliveries = tables.deliveries.mutate(day=day_of(tables.deliveries.delivery_date, tables.time_zone))
        deliveries = deliveries.filter((deliveries.day >= first_day) & (deliveries.day <= today))
        deliveries = deliveries.select("order_id", SOURCE, "day")
        # Those of unknown orders too; they only have no dimension value.
        parts["deliveries"] = by_dimension(deliveries, ()).select("dimension", SOURCE, "day")
        if seen.dimensions:
            orders = seen.sessions.select("id", *codes)
            known = deliveries.join(orders, deliveries.order_id == orders.id).select(SOURCE, "day", *codes)
            repeated = by_dimension(known, seen.dimensions)
            valued = repeated.filter(repeated.dimension != 0).select("dimension", SOURCE, "day")
            parts["deliveries"] = ibis.union(parts["deliveries"], valued)
    frames = [
        result(part.group_by(["dimension", SOURCE, "day"]).agg(rows=part.count())).assign(kind=kind)
        for kind, part in parts.items()
    ]
    return pd.concat(frames, ignore_index=True)


def _ordered(tables: Tables, counts: pd.DataFrame) -> list[tuple[str, str]]:
    """(kind, source), in the order of the kinds and then as configured: those that were staged, with or without rows.

    Where it is not known which were configured, those with a row.
    """
    found = set(zip(counts["kind"], counts[SOURCE], strict=True))
    order = [(kind, source) for table, kind in KINDS.items() for source in tables.sources.get(table, ())]
    unknown = sorted(found - set(order), key=lambda one: (list(KINDS.values()).index(one[0]), one[1]))
    return order if order else unknown


def _series(
    counts: pd.DataFrame, order: list[tuple[str, str]], first_day: int, today: int
) -> Iterator[tuple[int, int, list[int]]]:
    """Dimension code, place in `order`, and the rows of each day; for `all` of every source, else of those with any."""
    places = {one: place for place, one in enumerate(order)}
    found: dict[tuple[int, int], list[int]] = {(0, place): [0] * (today - first_day + 1) for place in range(len(order))}
    for row in records(counts):
        place = places.get((str(row.kind), str(row.source)))
        if place is not None:
            numbers = found.setdefault((int(row.dimension), place), [0] * (today - first_day + 1))
            numbers[int(row.day) - first_day] = int(row.rows)
    for (dimension, place), numbers in sorted(found.items()):
        yield dimension, place, numbers


def _begin(numbers: Sequence[int]) -> int:
    """The place of the first day with a row; past the end where there is none."""
    return next((day for day, number in enumerate(numbers) if number), len(numbers))


def _judged(numbers: Sequence[int], day: int, weeks: int, weeks_min: int, limit: float) -> dict[str, Any]:
    """The rows of a day and what was expected; missing where too little is known."""
    rows, begin = numbers[day], _begin(numbers)
    like = [numbers[day - 7 * week] for week in range(1, weeks + 1) if day - 7 * week >= begin]
    unknown = dict.fromkeys(("expected_rows", "expected_low", "expected_high", "is_unusual", "deviation", "distance"))
    if len(like) < weeks_min:
        return {"source_rows": rows, **unknown, "n": len(like)}
    found = expectation(like, limit)
    deviation = (rows - found.expected) / found.spread
    return {
        "source_rows": rows,
        "expected_rows": found.expected,
        "expected_low": found.low,
        "expected_high": found.high,
        "is_unusual": not found.low <= rows <= found.high,
        "deviation": deviation,
        "distance": abs(deviation),
        "n": found.n,
    }


def _freshness(numbers: Sequence[int], weeks: int, weeks_min: int, before: int | None) -> dict[str, Any]:
    """How old the newest row is, and whether that is longer than this source is used to be silent.

    Days count from the first of `numbers`. Where none of them has a row, `before` is the newest day that has one.
    """
    newest = max((day for day, number in enumerate(numbers) if number), default=None)
    if newest is None:
        since = None if before is None else len(numbers) - 1 - before
        return {"newest_day": before, "days_since_newest": since, "usual_silence_days": None, "is_late": True}
    since = len(numbers) - 1 - newest
    begin = max(_begin(numbers), newest - 7 * weeks)
    found = {"newest_day": newest, "days_since_newest": since}
    if newest - begin < 7 * weeks_min:
        return {**found, "usual_silence_days": None, "is_late": None}
    silence = longest = 0
    for number in numbers[begin : newest + 1]:
        silence = 0 if number else silence + 1
        longest = max(longest, silence)
    return {**found, "usual_silence_days": longest, "is_late": since > SILENCE_FACTOR * longest}


def _newest_of_silent(
    tables: Tables, seen: Observed, order: list[tuple[str, str]], counts: pd.DataFrame, first_day: int, today: int
) -> dict[tuple[str, str], int]:
    """The newest day with a row of the sources that have none in the days looked at, as days from `first_day`."""
    silent = set(order) - set(zip(counts["kind"], counts[SOURCE], strict=True))
    if not silent:
        return {}
    earlier = _counts(tables, replace(seen, dimensions=()), day_number(date.min), today)
    days = earlier.groupby(["kind", SOURCE])["day"].max()
    return {one: int(days[one]) - first_day for one in silent if one in days.index}


def _newest_changes(tables: Tables, today: int) -> dict[tuple[str, str], int]:
    """The day of the newest change up to the report date, of the sources that say when a row changed."""
    found = {}
    for name, kind in KINDS.items():
        table: ir.Table | None = getattr(tables, name)
        if table is None or "changed_at" not in table.columns:
            continue
        days = table.mutate(change_day=day_of(table.changed_at, tables.time_zone))
        days = days.filter(days.change_day <= today)
        for row in records(result(days.group_by(SOURCE).agg(newest=days.change_day.max()))):
            found[kind, str(row.source)] = int(row.newest)
    return found


def _frame(rows: list[dict[str, Any]], report_type: ReportType, dates: Sequence[str], first_day: int) -> pd.DataFrame:
    """The rows with numbers of days as dates; what is missing stays so, whole numbers too."""
    names = ["dimension", "source_order", *report_type.fields[1:]]
    frame = pd.DataFrame(
        [{**row, "period": row.get("day"), "newest_day": _later(row.get("newest_day"), first_day)} for row in rows],
        columns=names,
    )
    for name in names:
        if name in dates:
            frame[name] = [
                None if pd.isna(number) else np.datetime64(int(number), "D").item() for number in frame[name]
            ]
        elif name in FIELDS or name == "n":
            types: dict[str, Any] = {"long": "Int64", "double": "float64", "boolean": "boolean", "keyword": "str"}
            frame[name] = frame[name].astype(types[FIELDS[name].type if name in FIELDS else "long"])
    return frame


def _later(day: int | None, first_day: int) -> int | None:
    return None if day is None else first_day + day


def _warnings(one: dict[str, Any], as_of: date, first_day: int) -> Iterator[str]:
    """What to be careful about, in sentences."""
    if one["newest_day"] is None:
        yield f"{one['source']}: no row up to {as_of.isoformat()}."
    elif one["is_late"] and one["usual_silence_days"] is None:
        newest = np.datetime64(_later(one["newest_day"], first_day), "D")
        yield f"{one['source']}: no row since {newest}, for {one['days_since_newest']:,} days."
    elif one["is_late"]:
        yield (
            f"{one['source']}: no row for {one['days_since_newest']} days; in the weeks before it was never silent for "
            f"more than {one['usual_silence_days']}."
        )
    if one["is_unusual"]:
        yield (
            f"{one['source']}: {one['source_rows']:,} rows on {as_of.isoformat()}, and {one['expected_low']:,.0f} to "
            f"{one['expected_high']:,.0f} were to be expected."
        )
