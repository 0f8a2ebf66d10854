"""The parameters of a run, as the trigger form shows them, and the schedules. Light: read while Airflow parses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import configs
from include import catalogue
from include.problem import Problem
from include.sources.definition import SourcesError, load_sources

if TYPE_CHECKING:
    from airflow.sdk import Param

CRONS = {"hourly": "0 * * * *", "12-hourly": "0 */12 * * *", "daily": "0 0 * * *"}
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


def cron() -> str | None:
    """`configs.SCHEDULE` as a cron expression in the business time zone; None: nothing runs by itself."""
    if configs.SCHEDULE == "manual":
        return None
    if configs.SCHEDULE == "weekly":
        return f"0 0 * * {WEEKDAYS.index(configs.WEEK_START)}"
    expression = CRONS.get(configs.SCHEDULE, configs.SCHEDULE)
    if expression != "once" and len(expression.split()) != 5:
        choices = ", ".join(("manual", "once", *CRONS, "weekly"))
        raise Problem(f"SCHEDULE is {configs.SCHEDULE!r}; use {choices}, or a cron expression of five parts.")
    return expression


def configured_sources() -> dict[str, str]:
    """The sources that sources.yaml has, name → kind, in the order of the kinds and then of the file; one of each
    required kind while it cannot be read (`check` says why)."""
    try:
        return {source.name: source.kind.name for source in load_sources(configs.SOURCES_FILE).all}
    except SourcesError:
        return {"sessions": "sessions", "customers": "customers"}


def dimension_columns() -> tuple[str, ...]:
    """The dimension columns that sources.yaml has; none while it cannot be read."""
    try:
        return load_sources(configs.SOURCES_FILE).dimensions
    except SourcesError:
        return ()


def parameters() -> dict[str, Param]:
    """The trigger form: every field typed, explained and checked by the form itself."""
    from airflow.sdk import Param

    def day(title: str, text: str) -> Param:
        return Param(None, type=["null", "string"], format="date", title=title, description_md=text)

    def choice(title: str, text: str, values: tuple[str, ...], chosen: tuple[str, ...] = ()) -> Param:
        items = {"type": "string", **({"enum": list(values)} if values else {})}
        return Param(
            list(chosen or values),
            type="array",
            items=items,
            examples=list(values),
            title=title,
            description_md=text,
            uniqueItems=True,
        )

    known = tuple(one.name for one in catalogue.analyses())
    return {
        "as_of": day(
            "Report date",
            "The last day the reports include. Empty: the newest complete day in the data; "
            "for a scheduled run or a backfill, the last day of its period.",
        ),
        "start": day("Read from", "Read only sessions from this day on. Empty: from the beginning."),
        "end": day("Read up to", "Read only sessions up to and including this day. Empty: to the end."),
        "dimensions": choice(
            "Dimensions",
            "Which columns the reports are broken down by, beside `all`: the dimension columns of `sources.yaml`.",
            dimension_columns(),
        ),
        "analyses": choice(
            "Analyses",
            "Which analyses to run. The others keep their latest reports.",
            known,
            tuple(name for name in known if name in configs.ANALYSES),
        ),
        "full_refresh": Param(
            False,
            type="boolean",
            title="Full refresh",
            description_md="Replace everything that was loaded before with what the sources hold now. "
            "Otherwise rows are added and updated.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description_md="Check the connections, read and validate the sources, and stop: "
            "nothing is loaded, no report changes.",
        ),
    }
