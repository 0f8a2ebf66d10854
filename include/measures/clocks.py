"""Instants (UTC, without a zone) and the days of the business time zone, in the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import ibis

if TYPE_CHECKING:
    import ibis.expr.types as ir

DAYS_FROM_EPOCH = "1970-01-01"
UTC = "UTC"


def _instant_of(zone: str, clock: Any) -> Any:
    """The instant at which the clocks of a zone show a time."""


def _clock_at(zone: str, instant: Any) -> Any:
    """What the clocks of a zone show at an instant."""


_builtin: Any = ibis.udf.scalar.builtin
_instant_of = _builtin(name="timezone", signature=(("string", "timestamp"), "timestamp('UTC')"))(_instant_of)
_clock_at = _builtin(name="timezone", signature=(("string", "timestamp('UTC')"), "timestamp"))(_clock_at)


def _local(instant: ir.TimestampColumn, zone: str) -> ir.TimestampColumn:
    """What the clocks of the zone show. Those of UTC show the instant itself, which spares the engine the calendar."""
    clock = instant.cast("timestamp")
    return clock if zone == UTC else cast("ir.TimestampColumn", _clock_at(zone, _instant_of(UTC, clock)))


def day_of(instant: ir.TimestampColumn, zone: str) -> ir.IntegerColumn:
    """The number of the day (from 1970-01-01) that an instant lies in."""
    return cast("ir.IntegerColumn", _local(instant, zone).date().epoch_days().cast("int32"))


def hour_of(instant: ir.TimestampColumn, zone: str) -> ir.IntegerColumn:
    """The hour that the clocks show at an instant, 0-23."""
    return cast("ir.IntegerColumn", _local(instant, zone).hour().cast("int32"))


def date_of(day: ir.IntegerColumn) -> ir.DateColumn:
    """The date of a day, by its number."""
    return cast("ir.DateColumn", (ibis.date(DAYS_FROM_EPOCH) + day.cast("int32").as_interval("D")).cast("date"))


def start_of_day(day: ir.IntegerColumn, zone: str) -> ir.TimestampColumn:
    """The instant at which a day begins, by its number."""
    clock = date_of(day).cast("timestamp")
    return clock if zone == UTC else cast("ir.TimestampColumn", _clock_at(UTC, _instant_of(zone, clock)))


def are_dates_only(instants: ir.TimestampColumn, zone: str) -> bool:
    """Whether every instant is the beginning of a day: the source knows the day and not the hour. Not without rows."""
    table = instants.name("instant").as_table()
    has_hour = table.filter(table.instant != start_of_day(day_of(table.instant, zone), zone))
    # With a limit the engine stops at the first it finds.
    return not len(has_hour.limit(1).to_pyarrow()) and bool(len(table.limit(1).to_pyarrow()))
