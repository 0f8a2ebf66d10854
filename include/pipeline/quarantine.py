"""The rejected rows of a run in the index `quarantine`, where the page reads them.

Run after every `validate`, whether it went well or not, and on a dry run too: a load that is stopped because too much
of it is bad is the one whose bad rows people want to see. The Parquet files have every row; the index has at most
QUARANTINE_INDEXED_ROWS_MAX per run, source and rule, and beside them a header per run and source with the true counts.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from elasticsearch import Elasticsearch

import configs
from include.elastic.bulk import bulk_write
from include.elastic.client import connect, index_name, plainly
from include.elastic.indexes import ensure
from include.pipeline.record import recorded
from include.pipeline.run import run_from_context
from include.quality.quarantine import QuarantinedRun, forget_old, quarantined_run, rows_of
from include.schemas.indexes import quarantine_mapping

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)

QUARANTINE = "quarantine"
LINE = "line"  # under which `raw` has a line that could not be split
VALUE_CHARACTERS = 1_000  # of one value in the index; the Parquet files have all of it
ID_CHARACTERS = 32
KEEP_OPEN = "5m"
Document = dict[str, Any]


def index_quarantine(context: Context, extracted: list[dict[str, Any] | None]) -> dict[str, Any]:
    """Index the rejected rows of this run, and let go of those that are older than QUARANTINE_RETENTION_DAYS.

    `extracted` is what the extractions returned, None of those that failed.
    """
    with recorded(context) as record:
        run = run_from_context(context)
        client = connect()
        read = {one["name"]: int(one["read"]) for one in extracted if one is not None}
        began = run.started_at.astimezone(UTC).replace(tzinfo=None)
        documents = index_run(client, run.key, read=read, run_id=run.run_id, quarantined_at=began)
        forget(client, before=began - timedelta(days=configs.QUARANTINE_RETENTION_DAYS))
        record.handled(documents)
        return {"name": QUARANTINE, "index": index_name(QUARANTINE), "documents": documents}


def index_run(client: Elasticsearch, key: str, *, read: dict[str, int], run_id: str, quarantined_at: datetime) -> int:
    """Make the index hold the quarantine of the run whose folder is `key`, and nothing else of it; its rows, indexed.

    `read` are the rows read by source: each of these sources gets a header, with or without rejected rows.
    """
    index = ensure(client, QUARANTINE, quarantine_mapping())
    written: set[str] = set()
    headers = 0

    def operations() -> Iterator[bytes]:
        nonlocal headers
        for id_, document in _documents(quarantined_run(key), key, read, run_id, quarantined_at):
            written.add(id_)
            headers += document["is_header"]
            yield orjson.dumps({"index": {"_id": id_}}) + b"\n" + orjson.dumps(document) + b"\n"

    bulk_write(client, operations(), index=index)
    # An earlier try of this run may have rejected other rows.
    _delete(client, index, {"term": {"run_key": key}}, but=written)
    return len(written) - headers


def index_again(client: Elasticsearch, runs: Iterable[str]) -> int:
    """Bring the documents of these runs up to date after a replay; the number of rows among them."""
    documents = 0
    for key in runs:
        run = quarantined_run(key)
        if run is not None:
            read = _headers_read(client, key)
            at = run.quarantined_at or datetime.min  # noqa: DTZ901 - UTC without a zone
            documents += index_run(client, key, read=read, run_id=run.run_id, quarantined_at=at)
    return documents


def forget(client: Elasticsearch, *, before: datetime) -> None:
    """Delete what runs rejected that began before that instant: the Parquet files and the documents alike."""
    forgotten = forget_old(before)
    if forgotten:
        log.info("quarantine: what %d runs before %s rejected is deleted", len(forgotten), before.date())
    index = ensure(client, QUARANTINE, quarantine_mapping())
    _delete(client, index, {"range": {"quarantined_at": {"lt": _instant(before)}}}, but=set())


def _documents(
    run: QuarantinedRun | None, key: str, read: dict[str, int], run_id: str, quarantined_at: datetime
) -> Iterator[tuple[str, Document]]:
    """`_id` and document of the rows that are shown, then of the header of each source."""
    files = run.files if run else {}
    shared = {"run_id": run_id, "run_key": key, "quarantined_at": _instant(quarantined_at)}
    for source in dict.fromkeys([*read, *files]):
        counts: Counter[str] = Counter()
        shown: Counter[str] = Counter()
        quarantined = replayed = 0
        for row in (row for file in files.get(source, ()) for row in rows_of(file)):
            quarantined += 1
            replayed += bool(row["is_replayed"])
            if not row["is_replayed"]:
                counts.update(row["rules"])
            if any(shown[rule] < configs.QUARANTINE_INDEXED_ROWS_MAX for rule in row["rules"]):
                shown.update(row["rules"])
                yield _id(key, source, row["file"], str(row["row"])), {**shared, **_row_document(row)}
        header = {"source": source, "is_header": True, "quarantined": quarantined, "replayed": replayed}
        header |= {"counts": dict(counts), **({"read": read[source]} if source in read else {})}
        yield _id(key, source), {**shared, **header}


def _row_document(row: dict[str, Any]) -> Document:
    return {
        "source": row["source"],
        "is_header": False,
        "file": row["file"],
        "row": row["row"],
        **({"key": row["key"][:VALUE_CHARACTERS]} if row["key"] is not None else {}),
        "rules": row["rules"],
        "form": row["form"],
        "raw": _values(row),
        "is_replayed": row["is_replayed"],
    }


def _values(row: dict[str, Any]) -> dict[str, str]:
    """The values as texts, shortened; empty ones are left out. An index takes no key without letters."""
    values = orjson.loads(row["raw"]) if row["form"] != "text" else {LINE: row["raw"]}
    return {
        (name.replace("\0", "") or "(no name)"): _text(value)[:VALUE_CHARACTERS].replace("\0", "")
        for name, value in values.items()
        if value is not None
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _id(*parts: str) -> str:
    """The same for the same row, so that whatever is repeated is written over."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:ID_CHARACTERS]


def _instant(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"


def _headers_read(client: Elasticsearch, key: str) -> dict[str, int]:
    """The rows read by source, as the run's headers have them."""
    index = index_name(QUARANTINE)
    ours = {"bool": {"filter": [{"term": {"run_key": key}}, {"term": {"is_header": True}}]}}
    with plainly(client, f"reading `{index}`"):
        client.indices.refresh(index=index)
        hits = client.search(index=index, query=ours, size=configs.MAX_RESULT_WINDOW)["hits"]["hits"]
    return {hit["_source"]["source"]: hit["_source"]["read"] for hit in hits if "read" in hit["_source"]}


def _delete(client: Elasticsearch, index: str, query: Document, *, but: set[str]) -> None:
    """Delete the documents of `query` whose ids are not in `but`, without the deletion by query that needs a module."""
    with plainly(client, f"tidying `{index}`"):
        client.indices.refresh(index=index)
    bulk_write(client, _deletions(client, index, query, but), index=index)
    with plainly(client, f"refreshing `{index}`"):
        client.indices.refresh(index=index)


def _deletions(client: Elasticsearch, index: str, query: Document, but: set[str]) -> Iterator[bytes]:
    with plainly(client, f"reading `{index}`"):
        opened = client.open_point_in_time(index=index, keep_alive=KEEP_OPEN)["id"]
        after: list[Any] | None = None
        try:
            while True:
                hits = client.search(
                    pit={"id": opened, "keep_alive": KEEP_OPEN},
                    query=query,
                    source=False,
                    size=min(configs.MAX_RESULT_WINDOW, 10_000),
                    sort=[{"_shard_doc": "asc"}],
                    search_after=after,
                    track_total_hits=False,
                )["hits"]["hits"]
                for hit in hits:
                    if hit["_id"] not in but:
                        yield orjson.dumps({"delete": {"_id": hit["_id"]}}) + b"\n"
                if not hits:
                    return
                after = hits[-1]["sort"]
        finally:
            client.close_point_in_time(id=opened)
