"""The Quarantine view: what a run set aside, by source and rule, with examples and what to do about them.

the index `quarantine`, a run  ->  its rejected rows by source and rule, JSON-ready
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

import configs
from include.dashboards.boards import SECONDS_TO_ANSWER
from include.elastic.client import ElasticsearchProblem, index_name, plainly
from include.schemas.rules import remedy, sentence
from include.sources.raw_batch import MALFORMED_RULES

QUARANTINE = "quarantine"
RUNS_LISTED = 100
EXAMPLES_SHOWN = 10
NO_RUN = (
    "No run has looked for bad rows yet. In Airflow, open Dags, then customer_analytics, and press Trigger; "
    "with *dry run* it only reads and judges them."
)
Header = dict[str, Any]


class UnknownRun(LookupError):
    """A run whose quarantine is not in the index; its text is for people."""


def read_quarantine(client: Elasticsearch, run: str | None = None) -> dict[str, Any]:
    """The quarantine of a run (its key; None: the newest), and which runs there are.

    Raises `UnknownRun`, and `ElasticsearchProblem` when Elasticsearch does not answer.
    """
    patient = client.options(request_timeout=SECONDS_TO_ANSWER, max_retries=1)
    runs = _runs(patient)
    if not runs:
        return {"runs": [], "run": None, "sources": [], "reason": NO_RUN}
    chosen = next((one for one in runs if one["key"] == run), None) if run else runs[0]
    if chosen is None:
        raise UnknownRun(
            f"There is no quarantine of the run {run}: rejected rows are kept for "
            f"{configs.QUARANTINE_RETENTION_DAYS} days; choose another run."
        )
    headers = _headers(patient, {"term": {"run_key": chosen["key"]}})
    found = _examples(patient, chosen["key"], headers)
    sources = [_source(header, found[header["source"]]) for header in headers]
    return {"runs": runs, "run": chosen, "sources": sources, "reason": _reason(chosen, headers)}


def _runs(client: Elasticsearch) -> list[dict[str, Any]]:
    """The newest runs, with what was rejected in all of their sources together."""
    totals = {name: {"sum": {"field": name}} for name in ("read", "quarantined", "replayed")}
    newest = {"max": {"field": "quarantined_at"}}
    by_run = {
        "terms": {"field": "run_key", "size": RUNS_LISTED, "order": {"newest": "desc"}},
        "aggs": {**totals, "newest": newest, "run_id": {"terms": {"field": "run_id", "size": 1}}},
    }
    with plainly(client, "reading the quarantine"):
        try:
            answer = client.search(
                index=index_name(QUARANTINE), query={"term": {"is_header": True}}, size=0, aggs={"runs": by_run}
            )
        except NotFoundError:  # no run has made the index yet
            return []
    return [
        {
            "key": bucket["key"],
            "run_id": bucket["run_id"]["buckets"][0]["key"],
            "quarantined_at": bucket["newest"]["value_as_string"],
            **{name: int(bucket[name]["value"]) for name in totals},
        }
        for bucket in answer["aggregations"]["runs"]["buckets"]
    ]


def _headers(client: Elasticsearch, of_run: Mapping[str, Any]) -> list[Header]:
    """One per source, those with the most rejected rows first."""
    query = {"bool": {"filter": [of_run, {"term": {"is_header": True}}]}}
    with plainly(client, "reading the quarantine"):
        answer = client.search(index=index_name(QUARANTINE), query=query, size=1_000)
    found = [hit["_source"] for hit in answer["hits"]["hits"]]
    return sorted(found, key=lambda header: (-header["quarantined"], header["source"]))


def _examples(client: Elasticsearch, key: str, headers: Sequence[Header]) -> dict[str, dict[str, dict[str, Any]]]:
    """Of each source and rule how many rows are indexed, and the first of them that no replay has loaded."""
    asked = [(header["source"], rule) for header in headers for rule in header["counts"]]
    found: dict[str, dict[str, dict[str, Any]]] = {header["source"]: {} for header in headers}
    if not asked:
        return found
    bodies: list[dict[str, Any]] = []
    for source, rule in asked:
        wanted = {"run_key": key, "source": source, "rules": rule, "is_header": False, "is_replayed": False}
        query = {"bool": {"filter": [{"term": {name: value}} for name, value in wanted.items()]}}
        order = [{"file": "asc"}, {"row": "asc"}]
        bodies += [{}, {"query": query, "size": EXAMPLES_SHOWN, "sort": order, "track_total_hits": True}]
    with plainly(client, "reading the quarantine"):
        answers = client.msearch(index=index_name(QUARANTINE), searches=bodies)["responses"]
    for (source, rule), answer in zip(asked, answers, strict=True):
        if "error" in answer:
            reason = answer["error"].get("reason") or answer["error"].get("type")
            raise ElasticsearchProblem(f"Elasticsearch could not read the quarantine: {reason}.", retry=True)
        hits = answer["hits"]
        found[source][rule] = {
            "indexed": hits["total"]["value"],
            "examples": [_example(hit["_source"]) for hit in hits["hits"]],
        }
    return found


def _example(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) for name in ("file", "row", "key", "form", "raw", "rules")}


def _source(header: Header, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    rules = sorted(header["counts"].items(), key=lambda item: (-int(item[1]), item[0]))
    return {
        "source": header["source"],
        "read": header.get("read"),
        "quarantined": header["quarantined"],
        "replayed": header["replayed"],
        "rules": [
            {
                "rule": rule,
                "rows": int(rows),
                "sentence": MALFORMED_RULES.get(rule) or sentence(rule),
                "remedy": remedy(rule),
                **found[rule],
            }
            for rule, rows in rules
        ],
    }


def _reason(run: Mapping[str, Any], headers: Sequence[Header]) -> str:
    """Why there is nothing to show; empty when there is."""
    if any(header["quarantined"] > header["replayed"] for header in headers):
        return ""
    if run["quarantined"]:
        return "Every row that this run set aside is loaded now: a replay took them back."
    if not run["read"]:
        return "This run read no row, so there was none to judge."
    return f"This run read {run['read']:,} rows and none of them broke a rule."
