"""From the snapshot to the indexes `orders` and `downloads`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.elastic.client import connect
from include.elastic.load import Loaded, load_downloads, load_orders
from include.pipeline.record import recorded
from include.pipeline.run import run_from_context
from include.pipeline.stage import staged_snapshot
from include.progress import Progress

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


def index_orders(context: Context, staged: dict[str, Any]) -> dict[str, Any]:
    """Bring `orders` to the staged snapshot; how many documents it holds, and what became of those sent."""
    with recorded(context) as record:
        run = run_from_context(context)
        snapshot = staged_snapshot(staged)
        with snapshot.connect() as connection, Progress("index_orders", unit="documents") as progress:
            loaded = load_orders(
                connect(),
                connection,
                snapshot=snapshot.version,
                changed_since=staged["previous_version"],
                months=staged["changed_months"],
                refresh_key=run.key if run.full_refresh else None,
                progress=progress.advance,
            )
        record.handled(loaded.sent)
        return _described("orders", loaded)


def index_downloads(context: Context, staged: dict[str, Any]) -> dict[str, Any]:
    """Bring `downloads` to the staged snapshot, keeping the scores that customers have."""
    with recorded(context) as record:
        run = run_from_context(context)
        snapshot = staged_snapshot(staged)
        total = snapshot.counts["customers"]
        with snapshot.connect() as connection, Progress("index_downloads", unit="documents", total=total) as progress:
            loaded = load_downloads(
                connect(),
                connection,
                snapshot=snapshot.version,
                refresh_key=run.key if run.full_refresh else None,
                progress=progress.advance,
            )
        record.handled(loaded.sent)
        return _described("downloads", loaded)


def _described(name: str, loaded: Loaded) -> dict[str, Any]:
    return {
        "name": name,
        "index": loaded.index,
        "documents": loaded.documents,
        "sent": loaded.sent,
        "stale": loaded.stale,
        "retries": loaded.retries,
    }
