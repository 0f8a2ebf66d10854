"""Which rows of a source a run reads: its parameters decide, else the period of a backfill, else the watermark.

| run | sessions | other sources |
|---|---|---|
| full refresh, or nothing loaded yet | everything | everything |
| parameters *start*, *end* | the days asked for | everything |
| backfill | the days of its period | everything |
| otherwise, with `changed_at` | changed since the watermark less LOOKBACK_DAYS | the same; products with `line_id` |
| scheduled, without `changed_at` | days since the watermark's less LOOKBACK_DAYS | everything |
| by hand, without `changed_at` | everything | everything |

Only sessions are read by day: a period's orders need customers, baskets and deliveries from outside of it. Reading too
much is harmless, as rows are merged by key; reading too little would lose rows: so a watermark moves only after a run
that left nothing out behind it, and products without a `line_id`, of which an order's lines replace all that it had,
are read whole: of a line that changed the others must come along.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import configs
from include.pipeline.run import Run
from include.sources.definition import Source


@dataclass(frozen=True)
class Window:
    """Bounds of the rows read, None where there is none: days of sessions in the business time zone, both included,
    and the earliest change, an instant in UTC without a zone. `moves_watermark`: nothing was left out behind it."""

    first_day: date | None = None
    last_day: date | None = None
    changed_since: datetime | None = None
    moves_watermark: bool = True

    @property
    def bounds(self) -> dict[str, Any]:
        """As `read_source` and `extract_rows` take them."""
        return {"start": self.first_day, "end": self.last_day, "changed_since": self.changed_since}

    def __str__(self) -> str:
        if self.changed_since:
            return f"rows that changed since {self.changed_since} UTC"
        if self.first_day or self.last_day:
            return f"sessions from {self.first_day or 'the beginning'} to {self.last_day or 'the end'}"
        return "all rows"


def window(run: Run, source: Source, watermark: datetime | None) -> Window:
    """The window of `source` in `run`; `watermark` is the newest change (or session) loaded, UTC without a zone."""
    by_day = source.kind.name == "sessions"
    if run.start or run.end:
        return Window(run.start, run.end, moves_watermark=False) if by_day else Window()
    if run.full_refresh:
        return Window()
    if run.is_backfill and run.interval_start and run.interval_end:
        days = _business_day(run.interval_start), _business_day(run.interval_end - timedelta(microseconds=1))
        return Window(*days, moves_watermark=False) if by_day else Window()
    if watermark is None:
        return Window()
    since = watermark - timedelta(days=configs.LOOKBACK_DAYS)
    if source.changed_at and source.key:
        return Window(changed_since=since)
    if by_day and run.is_scheduled:
        return Window(first_day=_business_day(since.replace(tzinfo=UTC)))
    return Window()


def _business_day(instant: datetime) -> date:
    return instant.astimezone(ZoneInfo(configs.BUSINESS_TIMEZONE)).date()
