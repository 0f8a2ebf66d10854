"""How far visits and customers get, step by step, and how long each step takes.

    sessions, customers  ->  per period and step: sessions or customers, rates; per step: time to convert

`session_funnel` follows each session from its start through the action columns of the sessions, in the order given, to
the purchase. `customer_funnel` follows each customer from the download through signup and the action columns of the
customers to the first session and the first order after them. A step without a column is left out.

A step counts only after the step before it, so no step has more than the one before. Each step is made once, at the
first time it happens at or after the step before; repeating or revisiting a step changes nothing. Events of the same
instant count in the order of the funnel, so a later step at the same instant counts. A boolean column has no time and
counts whenever it is true. A column that holds days without hours counts for any time of its day.
`in_any_order` counts those who did the step, whatever else they did: much above the count of the funnel, it says that
steps are skipped, or not recorded.

Customers are counted in the period in which they *entered*, whenever they made the later steps: on a day at most
FUNNEL_WINDOW_DAYS days after that of the download and, where FUNNEL_STEP_WINDOW_DAYS names the step, at most so many
days after that of the step before. Whoever has not made a step but still can is `in_progress` at that step, not lost.
A period of the customer funnel is complete, and has rates, when its last day's window is over. The table by hour of
day holds sessions of all days, and customers of all days whose window is over, divided by the number of those days.

`conversion` takes all customers together: rates of those whose window is over, and the time from the step before. That
time's Kaplan-Meier curve also uses the customers in progress, for as long as they are known not to have made the step.
`km_median_hours` is the time by which half of those at the step before had made this one: absent when fewer than half
do. `converted_median_hours` is the time by which half of those had made it who make it at all within their window, and
`entry_median_hours` the same, counted from the download.

For a dimension value a session counts by its own value. A customer, counted from the download on, belongs as a whole
to the value of the first session (`(unknown)` where there is none): all of their sessions count there, whatever value
these carry, and nowhere else. Cut into the sessions of each value, a way that begins on one device and ends on another
would be lost on both; like this, the values of a column add up to `all` at each step.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import ibis
import numpy as np
import pandas as pd

import configs
from include.dashboards.panel import Panel
from include.measures.clocks import are_dates_only, date_of, day_of, hour_of, start_of_day
from include.measures.dimension import CODE, by_dimension
from include.measures.observed import Observed, definition, observed
from include.measures.periods import (
    GRANULARITIES,
    are_complete,
    as_dates,
    calendar,
    day_number,
    first_days,
    numbered,
    period_of,
)
from include.measures.rates import wilson_interval, with_rate
from include.measures.reporting import finished_report
from include.measures.results import held, ratio, result
from include.measures.survival import UNKNOWN, Interval, Survival, kaplan_meier
from include.schemas.reports import Field, Report, ReportType
from include.schemas.source_kinds import ACTION_PREFIX

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

READS = ("sessions", "customers")
MINUTE = 60_000_000  # microseconds
ORDER_OF_GRANULARITIES = ("hour", *GRANULARITIES)

FIELDS: dict[str, Field] = {
    "step_number": Field("long", "position of the step in its funnel, from 1"),
    "funnel_step": Field("keyword", "name of the step", in_words=True),
    "in_any_order": Field("long", "sessions or customers that did this step, whatever they did before it"),
    "in_progress": Field("long", "at the step before, without this one, and still within their window", "customers"),
    "overall_rate": Field("double", "share of those who entered that got to this step", "share"),
    "overall_denominator": Field("long", "those who entered"),
    "overall_ci_low": Field("double", "lower end of the confidence interval of the overall rate", "share"),
    "overall_ci_high": Field("double", "upper end of the confidence interval of the overall rate", "share"),
    "mean_per_day": Field("double", "at this step in this hour of a day, mean over the days", "per day"),
    "km_median_hours": Field("double", "time since the step before by which half had made the step", "hours"),
    "km_median_low_hours": Field("double", "lower end of the confidence interval of that median", "hours"),
    "km_median_high_hours": Field("double", "upper end of the confidence interval of that median", "hours"),
    "converted_median_hours": Field(
        "double", "time since the step before by which half of those had made it who make it within the window", "hours"
    ),
    "converted_median_low_hours": Field("double", "lower end of the confidence interval of that median", "hours"),
    "converted_median_high_hours": Field("double", "upper end of the confidence interval of that median", "hours"),
    "entry_median_hours": Field("double", "the same median, counted from the entry on", "hours"),
    "entry_median_low_hours": Field("double", "lower end of the confidence interval of that median", "hours"),
    "entry_median_high_hours": Field("double", "upper end of the confidence interval of that median", "hours"),
    "mean_hours": Field(
        "double", "mean time since the step before, of those who made it and whose window is over", "hours"
    ),
}

RATE = ("rate", "numerator", "denominator", "ci_low", "ci_high")
OVERALL = ("overall_rate", "overall_denominator", "overall_ci_low", "overall_ci_high")
ADJECTIVES = {"day": "Daily", "week": "Weekly", "month": "Monthly"}


def _panels(whose: str, counted: str) -> tuple[Panel, ...]:
    """The charts of one funnel; `counted` are sessions or customers."""
    entered = "began" if counted == "sessions" else "downloaded"
    return (
        *(
            Panel(
                title=f"{name} {whose} funnel",
                mark="line",
                x="period",
                y=counted,
                breakdown="funnel_step",
                x_title=granularity.capitalize(),
                y_title=counted.capitalize(),
                where={"granularity": granularity},
                how_to_read=f"Of the {counted} that {entered} in each {granularity}, how many got to each step; "
                + ("the last one may not be over." if counted == "sessions" else "the newest are still on their way."),
            )
            for granularity, name in ADJECTIVES.items()
        ),
        Panel(
            title=f"Hourly {whose} funnel",
            mark="line",
            x="hour_of_day",
            y="mean_per_day",
            breakdown="funnel_step",
            x_title="Hour of day (0-23)",
            y_title=f"Mean {counted} per day",
            format="decimal",
            where={"granularity": "hour"},
            how_to_read=f"On a usual day, the {counted} that {entered} in each hour, and how many got to each step.",
        ),
        *(
            Panel(
                title=f"Weekly {whose} funnel, {title}",
                mark="line",
                x="period",
                y=rate,
                breakdown="funnel_step",
                x_title="Week",
                y_title=unit,
                format="percent",
                where={"granularity": "week", "is_complete": True},
                how_to_read=text,
            )
            for title, rate, unit, text in (
                (
                    "step to step",
                    "rate",
                    "Share of the step before (%)",
                    "Of those at the step before, the share that made each step; a line that falls is where it leaks.",
                ),
                (
                    "from the start",
                    "overall_rate",
                    "Share of all who entered (%)",
                    f"Of all {counted} that {entered} in the week, the share that got to each step.",
                ),
            )
        ),
    )


_bars = partial(Panel, mark="bar", x="funnel_step", x_title="Step")

REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "session_funnel",
        "Session funnel",
        (
            "dimension", "granularity", "period", "hour_of_day", "step_number", "funnel_step", "is_complete",
            "sessions", "in_any_order", "mean_per_day", *RATE, *OVERALL, "n",
        ),
        ("dimension", "granularity", "period", "hour_of_day", "step_number"),
        _panels("session", "sessions"),
    ),
    ReportType(
        "customer_funnel",
        "Customer funnel",
        (
            "dimension", "granularity", "period", "hour_of_day", "step_number", "funnel_step", "is_complete",
            "customers", "in_progress", "in_any_order", "mean_per_day", *RATE, *OVERALL, "n",
        ),
        ("dimension", "granularity", "period", "hour_of_day", "step_number"),
        _panels("customer", "customers"),
    ),
    ReportType(
        "conversion",
        "Conversion and time to convert",
        (
            "dimension", "step_number", "funnel_step", "customers", "in_progress", *RATE, *OVERALL,
            "km_median_hours", "km_median_low_hours", "km_median_high_hours",
            "converted_median_hours", "converted_median_low_hours", "converted_median_high_hours",
            "entry_median_hours", "entry_median_low_hours", "entry_median_high_hours", "mean_hours", "n",
        ),
        ("dimension", "step_number"),
        (
            _bars(
                "Customers at each step",
                y=("customers", "in_progress"),
                y_title="Customers",
                how_to_read="How many made each step, and how many at the step before may still make it.",
                series_titles={"customers": "Made the step", "in_progress": "May still make it"},
            ),
            _bars(
                "Conversion from download",
                y="overall_rate",
                y_title="Share of downloads (%)",
                format="percent",
                how_to_read="The share of the customers whose window is over that got to each step.",
            ),
            _bars(
                "Conversion step to step",
                y="rate",
                y_title="Share of the step before (%)",
                format="percent",
                how_to_read="Of the customers at the step before whose window is over, the share that made the step.",
            ),
            _bars(
                "Time to convert",
                y=("converted_median_hours", "mean_hours"),
                y_title="Hours since the step before",
                format="hours",
                how_to_read="Half of those who make it have by the median; a mean far above it has a slow tail.",
                series_titles={"converted_median_hours": "Median", "mean_hours": "Mean"},
            ),
            Panel(
                title="Conversion and its uncertainty",
                mark="table",
                y="rate",
                columns=(
                    "funnel_step", "customers", "in_progress", "rate", "ci_low", "ci_high", "km_median_hours",
                    "converted_median_hours", "converted_median_low_hours", "converted_median_high_hours", "mean_hours",
                ),
                format="decimal",
                width=12,
                how_to_read="The ends of each interval say how far the figure before them may be off by chance alone.",
            ),
        ),
    ),
)  # fmt: skip

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "window_days": configs.FUNNEL_WINDOW_DAYS,
    "step_window_days": configs.FUNNEL_STEP_WINDOW_DAYS,
    "session_actions": configs.FUNNEL_SESSION_ACTIONS,
    "customer_actions": configs.FUNNEL_CUSTOMER_ACTIONS,
    "kept_days": configs.FUNNEL_KEPT_DAYS,
}


@dataclass(frozen=True)
class Windows:
    """Until when a customer may make a step: days after that of the download, and of the step before."""

    as_of_day: int
    entry_days: int
    step_days: dict[str, int]

    def deadline(self, step: str, entry_day: Any, previous_day: Any) -> Any:
        """The last day on which `step` counts."""
        last = entry_day + self.entry_days
        return ibis.least(last, previous_day + self.step_days[step]) if step in self.step_days else last


def funnels(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    window_days: int = 30,
    step_window_days: dict[str, int] | None = None,
    session_actions: tuple[str, ...] = (),
    customer_actions: tuple[str, ...] = (),
    kept_days: int = 180,
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`.

    The actions are those named, in that order; all of them, in the order of the columns, where none is named.
    """
    warnings: dict[str, list[str]] = {report_type.type: [] for report_type in REPORTS}
    of_customers = ("customer_funnel", "conversion")

    actions, unknown = _chosen(tables.actions, session_actions)
    if unknown:
        warnings["session_funnel"].append(_unknown("FUNNEL_SESSION_ACTIONS", unknown, "sessions", tables.actions))
    session_steps = ("session", *actions, "purchase")
    columns = [ACTION_PREFIX + action for action in actions]
    seen = observed(tables, as_of=as_of, top_values=top_values, also=columns)
    visits = _sessions(seen, columns, tables.time_zone)
    session_rows = _per_period(visits, session_steps, tables, as_of, as_of_day=day_number(as_of))
    sessions_at = session_rows.rename(columns={"reached": "sessions"})

    there = [str(name) for name in tables.customers.columns]
    found = tuple(name.removeprefix(ACTION_PREFIX) for name in there if name.startswith(ACTION_PREFIX))
    actions, unknown = _chosen(found, customer_actions)
    if unknown:
        for name in of_customers:
            warnings[name].append(_unknown("FUNNEL_CUSTOMER_ACTIONS", unknown, "customers", found))
    windows = Windows(day_number(as_of), window_days, dict(step_window_days or {}))
    with ExitStack() as stack:
        journey = Journey(tables, seen, windows, actions, stack)
        until = day_number(as_of) - window_days
        customers_at = _per_period(journey.table, journey.steps, tables, as_of, as_of_day=until)
        customers_at = customers_at.rename(columns={"reached": "customers"})
        conversion = _conversion(by_dimension(journey.table, tables.dimensions), journey, confidence_level)
        for name in of_customers:
            warnings[name] += journey.warnings()
    misnamed = [name for name in windows.step_days if name not in journey.steps[1:]]
    if misnamed:
        for name in of_customers:
            warnings[name].append(_unknown("FUNNEL_STEP_WINDOW_DAYS", misnamed, "customer funnel", journey.steps[1:]))
    closed = conversion.loc[(conversion["dimension"] == 0) & (conversion["step_number"] == 1), "overall_denominator"]
    if len(closed) and not closed.iloc[0]:
        days = "day" if window_days == 1 else "days"
        for name in of_customers:
            warnings[name].append(f"No customer's window of {window_days} {days} is over yet, so there are no rates.")

    frames = {
        "session_funnel": _with_rates(sessions_at, "sessions", confidence_level, kept_days, as_of),
        "customer_funnel": _with_rates(customers_at, "customers", confidence_level, kept_days, as_of),
        "conversion": conversion,
    }
    said = definition(
        tables,
        as_of=as_of,
        session_steps=list(session_steps),
        customer_steps=list(journey.steps),
        customer_window=f"up to the day {window_days} days after that of the download",
        step_windows_days=dict(windows.step_days),
        ties="by instant, then by the order of the steps, then by id; a later step at the same instant counts",
        dimension_values="a session by its own; a customer, with all sessions, by that of the first session",
        newest_days_kept=kept_days,
    )
    headline = _headline(frames, len(session_steps), len(journey.steps))
    reports = {}
    for report_type in REPORTS:
        in_time = ("granularity", "place") if "granularity" in report_type.key else ()
        key = ["dimension", *in_time, "step_number"]
        reports[report_type.type] = finished_report(
            report_type,
            frames[report_type.type],
            seen.labels,
            key,
            as_of=as_of,
            kpis=headline,
            said=said,
            warnings=warnings[report_type.type],
            order={"granularity": ORDER_OF_GRANULARITIES},
        )
    return reports


def _chosen(found: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """The actions that make steps, and those asked for that there are not."""
    if not wanted:
        return found, []
    return tuple(name for name in wanted if name in found), [name for name in wanted if name not in found]


def _unknown(setting: str, names: list[str], where: str, known: tuple[str, ...]) -> str:
    there_are = f"there are {', '.join(known)}" if known else "there are none"
    return f"{setting} names {', '.join(names)}, unknown to the {where}; {there_are}."


def _sessions(seen: Observed, columns: list[str], zone: str) -> ir.Table:
    """Sessions with day, hour, `depth` (the steps made in order), and `did_<step number>` from the second step on."""
    sessions = seen.sessions
    did: list[Any] = []
    in_order: list[Any] = [ibis.literal(True)]
    latest = sessions.instant
    for name in columns:
        column = sessions[name]
        if column.type().is_boolean():
            did.append(column.fill_null(False))
            in_order.append(did[-1])
            continue
        did.append(column.notnull())
        follows = column >= latest
        if are_dates_only(column, zone):
            follows = follows | (day_of(column, zone) >= day_of(latest, zone))
        in_order.append(follows.fill_null(False))
        latest = ibis.greatest(latest, column)
    did.append(sessions.is_order)
    in_order.append(sessions.is_order)
    return sessions.select(
        "day",
        *(CODE + name for name in seen.dimensions),
        hour=sessions.hour.cast("int32"),
        depth=_depth(in_order),
        in_progress=ibis.literal(False),
        **{f"did_{number}": one for number, one in enumerate(did, start=2)},
    )


def _counted(table: ir.Table, period: str, steps: tuple[str, ...], dimensions: tuple[str, ...]) -> ir.Table:
    """How many rows differ in nothing but what they did, as `entered`, and how many of them did each later step.

    `period` is the column of the days or that of the hours.
    """
    did = {f"did_{number}": table[f"did_{number}"].sum().cast("int64") for number in range(2, len(steps) + 1)}
    belongs = [*(CODE + name for name in dimensions), period, "depth", "in_progress"]
    return table.group_by(belongs).agg(entered=table.count(), **did)


def _depth(in_order: list[Any]) -> Any:
    """How many of the conditions hold before the first that does not."""
    cases = [(~condition, number) for number, condition in enumerate(in_order) if number]
    return ibis.cases(*cases, else_=len(in_order)).cast("int32") if cases else ibis.literal(1, "int32")


class Journey:
    """Every customer's way through the funnel, as a table of the engine that lives as long as `stack`.

    Columns: client_code, day and hour (of the download), reached_<n> (the instant of step n, missing where
    not made in order and in time), did_<n> from the second step on, depth, deadline, in_progress, is_early, and the
    dimension codes of the first session.
    """

    def __init__(
        self, tables: Tables, seen: Observed, windows: Windows, actions: tuple[str, ...], stack: ExitStack
    ) -> None:
        self.seen, self.windows, self.zone = seen, windows, tables.time_zone
        self.left_out: list[str] = []
        self.untimed: list[str] = []
        known = tables.customers.filter(tables.customers.download_day <= ibis.literal(_date(windows.as_of_day)))
        columns = {"signup": "signup_date"} if "signup_date" in known.columns else {}
        columns |= {action: ACTION_PREFIX + action for action in actions}
        events: dict[str, Any] = {}
        for number, column in enumerate(columns.values()):
            boolean = known[column].type().is_boolean()
            events[f"event_{number}"] = known[column].any() if boolean else known[column].min()
        arrived = stack.enter_context(
            held(
                known.group_by("client_code").agg(
                    entered=known.download_date.min(), entry=known.download_day.min(), **events
                )
            )
        )
        if "signup" in columns and not arrived.event_0.notnull().any().to_pyarrow().as_py():
            self.left_out.append("signup")
        table = arrived.mutate(
            day=arrived.entry.epoch_days().cast("int32"),
            hour=hour_of(arrived.entered, self.zone),
            reached_1=arrived.entered,
        ).drop("entry")
        table = table.mutate(reached_day_1=table.day)
        self.steps: tuple[str, ...] = ("download",)
        for number, step in enumerate(columns):
            if step in self.left_out:
                continue
            column = table[f"event_{number}"]
            if column.type().is_boolean():
                self.untimed.append(step)
                table = self._made(table, step, None, None, column.fill_null(False), dates_only=False)
            else:
                dates_only = are_dates_only(arrived[f"event_{number}"], self.zone)
                day = day_of(column, self.zone)
                did = (day <= windows.as_of_day).fill_null(False)
                table = self._made(table, step, column, day, did, dates_only=dates_only)
        table = table.drop(*(name for name in table.columns if name.startswith("event_")))
        table = self._with_sessions(stack.enter_context(held(table)))
        for step, prefix in (("first_session", "session"), ("first_order", "order")):
            table = self._made(
                table, step, table[f"{prefix}_at"], table[f"{prefix}_day"], table[f"has_{prefix}"], dates_only=True
            )
        table = self._with_first_values(self._with_progress(table))
        passing = [name for name in table.columns if name.startswith(("reached_day_", "session_", "order_", "has_"))]
        self.table = stack.enter_context(held(table.drop("entered", *passing)))

    def _made(self, table: ir.Table, step: str, at: Any, day: Any, did: Any, *, dates_only: bool) -> ir.Table:
        """`table` with the next step: made on time, at or after the step before. Without `at` it has no time."""
        number = len(self.steps) + 1
        before, before_day = table[f"reached_{number - 1}"], table[f"reached_day_{number - 1}"]
        deadline = self.windows.deadline(step, table.day, before_day)
        if at is None:
            made = did
            at, day = before, before_day
        else:
            made = did & ((day >= before_day) if dates_only else (at >= before)) & (day <= deadline)
        made = made.fill_null(False) & before.notnull()
        self.steps += (step,)
        return table.mutate(
            **{
                f"reached_{number}": ibis.ifelse(made, ibis.greatest(at, before), ibis.null("timestamp(6)")),
                f"reached_day_{number}": ibis.ifelse(made, ibis.greatest(day, before_day), ibis.null("int32")),
                f"did_{number}": did,
            }
        )

    def _with_sessions(self, table: ir.Table) -> ir.Table:
        """With the first session and the first order at or after the last step so far, and whether there are any."""
        number = len(self.steps)
        since = table.select("client_code", since=table[f"reached_{number}"], since_day=table[f"reached_day_{number}"])
        sessions = self.seen.sessions.select("client_code", "instant", "day", "is_order")
        are_days = are_dates_only(sessions.instant, self.zone)
        joined = sessions.join(since, "client_code")
        after = joined.day >= joined.since_day if are_days else joined.instant >= joined.since
        found = joined.group_by("client_code").agg(
            session_at=joined.instant.min(where=after),
            order_at=joined.instant.min(where=after & joined.is_order),
            order_ever_at=joined.instant.min(where=joined.is_order),
            has_session=True,
        )
        together = table.left_join(found, "client_code").drop("client_code_right")
        days = {name: day_of(together[f"{name}_at"], self.zone) for name in ("session", "order", "order_ever")}
        # `entered` of a source without hours is midnight, so nothing of its day lies before it.
        early = days["order_ever"] < together.day if are_days else together.order_ever_at < together.entered
        return together.mutate(
            session_day=days["session"],
            order_day=days["order"],
            has_session=together.has_session.fill_null(False),
            has_order=together.order_ever_at.notnull(),
            is_early=early.fill_null(False),
        )

    def _with_progress(self, table: ir.Table) -> ir.Table:
        steps = len(self.steps)
        depth = _depth([table[f"reached_{number}"].notnull() for number in range(1, steps + 1)])
        deadlines = [
            (
                depth == number,
                self.windows.deadline(self.steps[number], table.day, table[f"reached_day_{number}"]),
            )
            for number in range(1, steps)
        ]
        deadline = ibis.cases(*deadlines, else_=ibis.null("int32"))
        return table.mutate(
            depth=depth, deadline=deadline, in_progress=(deadline > self.windows.as_of_day).fill_null(False)
        )

    def _with_first_values(self, table: ir.Table) -> ir.Table:
        """With the dimension codes of the first session."""
        if not self.seen.dimensions:
            return table
        codes = [CODE + name for name in self.seen.dimensions]
        first = self.seen.customers_with_first_values.select("client_code", *codes)
        return table.join(first, "client_code")

    def warnings(self) -> list[str]:
        """What a reader must know about the customers' columns and events."""
        said = []
        if self.left_out:
            said.append("No customer has a signup date, so the step is left out.")
        if self.untimed:
            said.append(
                f"The columns {', '.join(self.untimed)} say whether and not when: such a step counts as made "
                "together with the step before it, and has no time to convert."
            )
        early = int(self.table.is_early.sum().to_pyarrow().as_py() or 0)
        if early:
            said.append(
                f"{early:,} {'customer has' if early == 1 else 'customers have'} an order before the download; "
                "only sessions and orders after it count."
            )
        return said


def _date(day: int) -> date:
    found: date = np.datetime64(day, "D").astype(object)
    return found


def _per_period(
    table: ir.Table, steps: tuple[str, ...], tables: Tables, as_of: date, *, as_of_day: int
) -> pd.DataFrame:
    """One row per dimension, granularity, period (or hour) and step: reached, entered, previous, in_progress, ….

    A row of `table` is a session or a customer. Periods that end by the day `as_of_day` are complete. `place` orders
    the periods.
    """
    summed = _summed(table, steps, tables, as_of_day)

    def found_by(period: str) -> pd.DataFrame:
        return summed[summed["granularity"] == period].drop(columns="granularity").astype("int64")

    parts: list[pd.DataFrame] = []
    for granularity in GRANULARITIES:
        found = found_by(granularity)
        first = found.groupby("dimension")["period"].min()
        full = calendar(first, period_of(as_of, granularity, tables.week_start)).astype("int64")
        full = full.merge(found, how="left", on=["dimension", "period"]).fillna(0).astype("int64")
        days = first_days(full["period"], granularity, tables.week_start)
        parts.append(
            full.assign(
                granularity=granularity,
                place=full["period"],
                is_complete=are_complete(full["period"], granularity, tables.week_start, _date(as_of_day)),
                period=as_dates(days),
            )
        )
        if granularity == "day":
            lengths = (as_of_day + 1 - first[first <= as_of_day]).astype("int64")
    hours = pd.MultiIndex.from_product([lengths.index, range(24)], names=["dimension", "period"])
    full = hours.to_frame(index=False).merge(found_by("hour"), how="left", on=["dimension", "period"]).fillna(0)
    full = full.astype("int64")
    parts.append(
        full.assign(
            granularity="hour",
            place=full["period"],
            hour_of_day=full["period"],
            is_complete=True,
            n=full["dimension"].map(lengths),
            period=pd.Series(None, index=full.index, dtype=object),
        )
    )
    wide_rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    for name in ("hour_of_day", "n"):
        known = wide_rows[name] if name in wide_rows else pd.Series(np.nan, index=wide_rows.index)
        wide_rows[name] = known.astype("Int64")
    kept = ["dimension", "granularity", "period", "place", "hour_of_day", "is_complete", "n"]
    return pd.concat(
        [
            wide_rows[kept].assign(
                step_number=number,
                funnel_step=steps[number - 1],
                reached=wide_rows[f"reached_{number}"],
                in_progress=wide_rows[f"in_progress_{number}"],
                in_any_order=wide_rows[f"in_any_order_{number}"],
                previous=wide_rows[f"reached_{number - 1}"].astype("Int64")
                if number > 1
                else pd.Series(pd.NA, index=wide_rows.index, dtype="Int64"),
                entered=wide_rows["reached_1"],
            )
            for number in range(1, len(steps) + 1)
        ],
        ignore_index=True,
    )


def _summed(table: ir.Table, steps: tuple[str, ...], tables: Tables, as_of_day: int) -> pd.DataFrame:
    """dimension, granularity, period, and of each step by its number reached_…, in_progress_… and in_any_order_….

    Hours, whose granularity is `hour`, are those of the days up to `as_of_day`.
    """
    until = table.filter(table.day <= as_of_day)
    # They are counted before they are repeated for each dimension column. Days and hours at once would be too many.
    with (
        held(_counted(table, "day", steps, tables.dimensions)) as of_days,
        held(_counted(until, "hour", steps, tables.dimensions)) as of_hours,
    ):
        of_each: dict[str, tuple[ir.Table, Any]] = {
            **{name: (of_days, number) for name, number in numbered(date_of(of_days.day), tables.week_start).items()},
            "hour": (of_hours, of_hours.hour),
        }
        kept = [name for name in of_days.columns if name != "day"]
        # One statement for all of them: building a statement takes longer than summing these few rows.
        few = ibis.union(
            *(
                rows.select(*kept, granularity=ibis.literal(name), period=period.cast("int32"))
                for name, (rows, period) in of_each.items()
            )
        )
        wide = by_dimension(few, tables.dimensions)
        sums: dict[str, Any] = {}
        for number in range(1, len(steps) + 1):
            waits = wide.in_progress & (wide.depth == number - 1)
            sums[f"reached_{number}"] = ibis.ifelse(wide.depth >= number, wide.entered, 0).sum().cast("int64")
            sums[f"in_progress_{number}"] = ibis.ifelse(waits, wide.entered, 0).sum().cast("int64")
            did = wide.entered if number == 1 else wide[f"did_{number}"]
            sums[f"in_any_order_{number}"] = did.sum().cast("int64")
        return result(wide.group_by(["dimension", "granularity", "period"]).agg(**sums))


def _with_rates(
    frame: pd.DataFrame, counted: str, confidence_level: float, kept_days: int, as_of: date
) -> pd.DataFrame:
    """With step-to-step and overall rates of complete periods, daily rows only of the newest days."""
    last = day_number(as_of)
    is_old = (frame["granularity"] == "day") & (frame["place"] <= last - kept_days)
    frame = frame[~is_old].reset_index(drop=True)
    over = frame["is_complete"].to_numpy(bool)
    previous = frame["previous"].astype("Float64").to_numpy("float64", na_value=np.nan)
    frame["mean_per_day"] = ratio(frame[counted], frame["n"].astype("Float64").to_numpy("float64", na_value=np.nan))
    return _rated(frame.assign(previous_count=previous), counted, confidence_level, over)


def _rated(frame: pd.DataFrame, counted: str, confidence_level: float, known: Any) -> pd.DataFrame:
    """From `counted`, `previous_count` (missing at the first step) and `entered` to both rates."""
    is_first = frame["previous_count"].isna().to_numpy(bool)
    rated = with_rate(frame, counted, "previous_count", confidence_level, known=known)
    low, high = wilson_interval(rated[counted], rated["entered"], confidence_level)
    return rated.assign(
        numerator=rated["numerator"].astype("Int64").mask(is_first),
        denominator=rated["denominator"].astype("Int64"),
        overall_rate=np.where(known, ratio(rated[counted], rated["entered"]), np.nan),
        overall_denominator=rated["entered"],
        # Everybody who entered is at the first step: nothing is estimated there.
        overall_ci_low=np.where(known & ~is_first, low, np.nan),
        overall_ci_high=np.where(known & ~is_first, high, np.nan),
    )


def _conversion(table: ir.Table, journey: Journey, confidence_level: float) -> pd.DataFrame:
    """One row per dimension and step: customers, rates of those whose window is over, and time from the step before."""
    windows, steps = journey.windows, journey.steps
    over = table.day + windows.entry_days <= windows.as_of_day
    sums: dict[str, Any] = {}
    for number in range(1, len(steps) + 1):
        reached = table.depth >= number
        sums[f"customers_{number}"] = reached.sum().cast("int64")
        sums[f"over_{number}"] = (reached & over).sum().cast("int64")
        sums[f"waiting_{number}"] = (table.in_progress & (table.depth == number - 1)).sum().cast("int64")
    totals = result(table.group_by("dimension").agg(**sums)).astype("int64").sort_values("dimension", ignore_index=True)
    durations = _durations(table, journey)
    parts = []
    for number, step in enumerate(steps, start=1):
        before = totals[f"over_{number - 1}"].astype("float64") if number > 1 else np.nan
        part = pd.DataFrame(
            {
                "dimension": totals["dimension"],
                "step_number": number,
                "funnel_step": step,
                "customers": totals[f"customers_{number}"],
                "in_progress": totals[f"waiting_{number}"],
                "over": totals[f"over_{number}"],
                "previous_count": before,
                "entered": totals["over_1"],
            }
        )
        part["n"] = totals[f"customers_{number - 1}"].astype("Int64") if number > 1 else pd.NA
        times = _times(durations, number, confidence_level)
        nothing = Times(UNKNOWN, UNKNOWN, UNKNOWN, float("nan"))
        known = [times.get(int(code), nothing) for code in part["dimension"]]
        for place, end in enumerate(("", "_low", "_high")):
            part[f"km_median{end}_hours"] = np.array([one.of_all[place] for one in known], "float64")
            part[f"converted_median{end}_hours"] = np.array([one.of_converted[place] for one in known], "float64")
            part[f"entry_median{end}_hours"] = np.array([one.from_entry[place] for one in known], "float64")
        part["mean_hours"] = np.array([one.mean for one in known], "float64")
        parts.append(part)
    together = pd.concat(parts, ignore_index=True).astype({"n": "Int64"})
    return _rated(together, "over", confidence_level, True)


class Times(NamedTuple):
    """Hours to make a step: the median of all, of those who make it, of those counted from the entry, and the mean."""

    of_all: Interval
    of_converted: Interval
    from_entry: Interval
    mean: float


def _times(durations: pd.DataFrame, number: int, confidence_level: float) -> dict[int, Times]:
    """Per dimension, of step `number`; nothing for a step that has no time."""
    found = {}
    of_step = durations[durations["step_number"] == number]
    of_entry = dict(list(of_step[of_step["since"] == 1].groupby("dimension")))
    for code, own in of_step[of_step["since"] == number - 1].groupby("dimension"):
        curve = _curve(own, confidence_level)
        from_entry = curve if number == 2 else _curve(of_entry[code], confidence_level)
        events = own[own["is_event"]]
        mean = ratio(events["microseconds"].sum() / MINUTE / 60, events["number_over"].sum())
        found[int(str(code))] = Times(
            curve.median(), curve.median_of_events(), from_entry.median_of_events(), float(mean)
        )
    return found


def _curve(durations: pd.DataFrame, confidence_level: float) -> Survival:
    return kaplan_meier(durations["minutes"] / 60, durations["is_event"], durations["number"], confidence_level)


def _durations(table: ir.Table, journey: Journey) -> pd.DataFrame:
    """Per dimension, timed step and step `since` (the one before, the first) the customers who got to `since`.

    They are counted by the whole minutes from there to the step, or to when it was last not made.
    """
    windows = journey.windows
    last_day = ibis.least(table.deadline, windows.as_of_day)
    known = table.mutate(
        last_not_made=start_of_day(last_day + 1, journey.zone),
        is_over=table.day + windows.entry_days <= windows.as_of_day,
    )
    later = [number for number, step in enumerate(journey.steps[1:], start=2) if step not in journey.untimed]
    pairs = [(number, since) for number in later for since in sorted({1, number - 1})]
    parts = []
    for number, since in pairs:
        is_event = known.depth >= number
        until = ibis.ifelse(is_event, known[f"reached_{number}"], known.last_not_made)
        parts.append(
            known.filter(known.depth >= since).select(
                "dimension",
                "is_over",
                step_number=ibis.literal(number, "int32"),
                since=ibis.literal(since, "int32"),
                is_event=is_event,
                microseconds=until.delta(known[f"reached_{since}"], unit="microsecond"),
            )
        )
    took = ibis.union(*parts)
    return result(
        took.group_by("dimension", "step_number", "since", "is_event", minutes=took.microseconds // MINUTE).agg(
            number=took.count(),
            number_over=took.is_over.sum(),
            microseconds=ibis.ifelse(took.is_over, took.microseconds, 0).sum().cast("float64"),
        )
    )


def _headline(frames: dict[str, pd.DataFrame], session_steps: int, customer_steps: int) -> dict[str, float]:
    """Of all: the share of sessions and of customers that got to the end, and the median time to the first order."""
    known: dict[str, float] = {}
    sessions = frames["session_funnel"]
    weekly = sessions[(sessions["dimension"] == 0) & (sessions["granularity"] == "month")]
    ends = weekly.groupby("step_number")["sessions"].sum()
    if len(ends) and ends.loc[1]:
        known["sessions"] = float(ends.loc[1])
        known["session_conversion"] = round(float(ends.loc[session_steps] / ends.loc[1]), 6)
    conversion = frames["conversion"]
    last = conversion[(conversion["dimension"] == 0) & (conversion["step_number"] == customer_steps)]
    for name, column in (
        ("customer_conversion", "overall_rate"),
        ("median_hours_download_to_first_order", "entry_median_hours"),
    ):
        for value in last[column].dropna():
            known[name] = round(float(value), 6)
    return known
