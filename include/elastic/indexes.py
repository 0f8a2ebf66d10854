"""The life of the indexes: templates, aliases, new fields, full refresh.

`orders` and `downloads` are aliases of one concrete index each (`orders-<key>`), so that a full refresh can fill
another one aside and swap. `reports` is one index, read through the filtered alias `reports-latest`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch

from include.elastic.client import ElasticsearchProblem, index_name, plainly, reason_of
from include.schemas.indexes import MADE_BY, changeable_settings, reports_mapping, reports_settings, settings
from include.schemas.reports import Field

REPORTS = "reports"
REPORTS_LATEST = "reports-latest"
FIRST_KEY = "first"
TEMPLATE_PRIORITY = 300  # above the templates that Elasticsearch brings along


def ensure(client: Elasticsearch, name: str, mapping: Mapping[str, Any]) -> str:
    """The concrete index behind the alias `name`, made where there is none, with every field of `mapping`."""
    _template(client, name, f"{name}-*", mapping, settings())
    alias = index_name(name)
    with plainly(client, f"preparing the index `{alias}`"):
        concrete = concrete_index(client, name)
        if concrete is None:
            concrete = f"{alias}-{FIRST_KEY}"
            _create(client, concrete, mapping, settings(), {alias: {}})
            if concrete_index(client, name) is None:  # left without its alias, by a refresh that was killed
                client.indices.update_aliases(actions=[{"add": {"index": concrete, "alias": alias}}])
        _adapt(client, concrete, mapping)
    return concrete


def concrete_index(client: Elasticsearch, name: str) -> str | None:
    """The index behind the alias `name`, None where there is none yet."""
    alias = index_name(name)
    with plainly(client, f"looking for the index `{alias}`"):
        if client.indices.exists_alias(name=alias):
            behind = sorted(client.indices.get_alias(name=alias))
            if len(behind) > 1:
                raise ElasticsearchProblem(
                    f"The alias `{alias}` stands for several indexes ({', '.join(behind)}); remove it from all but one."
                )
            return behind[0]
        if client.indices.exists(index=alias):
            raise ElasticsearchProblem(
                f"There is an index `{alias}` that is not from here; set INDEX_PREFIX so that ours get other names."
            )
    return None


def begin_refresh(client: Elasticsearch, name: str, mapping: Mapping[str, Any], *, key: str) -> str:
    """A fresh index to load everything into, unseen until `finish_refresh`. The same `key` begins the same one anew."""
    _template(client, name, f"{name}-*", mapping, settings())
    concrete = f"{index_name(name)}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    with plainly(client, f"preparing the index `{concrete}`"):
        if concrete == concrete_index(client, name):
            return concrete  # this very refresh was finished before: its documents are written over
        client.indices.delete(index=concrete, ignore_unavailable=True)
        _create(client, concrete, mapping, settings(), {})
    return concrete


def finish_refresh(client: Elasticsearch, name: str, concrete: str) -> None:
    """Let the alias `name` stand for `concrete` from one moment to the next, then delete what it replaces."""
    alias = index_name(name)
    with plainly(client, f"swapping the index behind `{alias}`"):
        before = concrete_index(client, name)
        if before != concrete:
            actions: list[dict[str, Any]] = [{"add": {"index": concrete, "alias": alias}}]
            if before is not None:
                actions.append({"remove": {"index": before, "alias": alias}})
            client.indices.update_aliases(actions=actions)
        for index, found in client.indices.get(index=f"{alias}-*", expand_wildcards="all").items():
            # Refreshes that were killed leave theirs; an index of the user's that happens to match has no such mark.
            ours = found["mappings"].get("_meta", {}).get("made_by") == MADE_BY["made_by"]
            if ours and index != concrete and not found["aliases"]:
                client.indices.delete(index=index)


def note(client: Elasticsearch, concrete: str, notes: Mapping[str, str]) -> None:
    """Keep something about an index with it."""
    with plainly(client, f"noting what `{concrete}` holds"):
        client.indices.put_mapping(index=concrete, meta={**MADE_BY, **notes})


def notes(client: Elasticsearch, concrete: str) -> dict[str, str]:
    """What was noted about an index."""
    with plainly(client, f"reading what `{concrete}` holds"):
        found = client.indices.get_mapping(index=concrete, filter_path="*.mappings._meta").body
    return {**found.get(concrete, {}).get("mappings", {}).get("_meta", {})}


def ensure_reports(client: Elasticsearch, analyses: Mapping[str, Mapping[str, Field]]) -> None:
    """The index `reports` and its alias `reports-latest`, with every field of every analysis."""
    mapping = reports_mapping(analyses)
    index, latest = index_name(REPORTS), index_name(REPORTS_LATEST)
    alias = {latest: {"filter": {"term": {"is_latest": True}}}}
    _template(client, REPORTS, REPORTS, mapping, reports_settings())
    with plainly(client, f"preparing the index `{index}`"):
        if not client.indices.exists(index=index):
            _create(client, index, mapping, reports_settings(), alias)
        elif not client.indices.exists_alias(name=latest, index=index):
            client.indices.put_alias(index=index, name=latest, filter=alias[latest]["filter"])
        _adapt(client, index, mapping)


def verify_counts(client: Elasticsearch, index: str, expected: int, *, what: str) -> int:
    """Refresh, count, and compare with what was staged. Raises `ElasticsearchProblem` with both numbers."""
    with plainly(client, f"counting the documents of `{index}`"):
        client.indices.refresh(index=index)
        found = int(client.count(index=index)["count"])
    if found != expected:
        raise ElasticsearchProblem(
            f"`{index}` holds {found:,} documents, but {expected:,} {what} are staged; run once with full_refresh."
        )
    return found


def _template(
    client: Elasticsearch, name: str, pattern: str, mapping: Mapping[str, Any], index_settings: Mapping[str, Any]
) -> None:
    # Our own creations state everything; the template is for an index that somebody makes by hand or by writing to it.
    with plainly(client, f"storing the index template of `{index_name(name)}`"):
        try:
            client.indices.put_index_template(
                name=f"customer-analytics-{index_name(name)}",
                index_patterns=[index_name(pattern)],
                priority=TEMPLATE_PRIORITY,
                template={"settings": {"index": dict(index_settings)}, "mappings": dict(mapping)},
                meta=MADE_BY,
            )
        except BadRequestError as error:
            _refuse_too_many_fields(error, index_name(name))
            raise


def _create(
    client: Elasticsearch,
    index: str,
    mapping: Mapping[str, Any],
    index_settings: Mapping[str, Any],
    aliases: dict[str, Any],
) -> None:
    try:
        client.indices.create(
            index=index, mappings=dict(mapping), settings={"index": dict(index_settings)}, aliases=aliases
        )
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":  # else another task was faster, with the same index
            raise


def _adapt(client: Elasticsearch, index: str, mapping: Mapping[str, Any]) -> None:
    """Give an existing index the settings that may change and the fields that are new."""
    client.indices.put_settings(index=index, settings={"index": changeable_settings()})
    try:
        client.indices.put_mapping(index=index, dynamic="strict", properties=mapping["properties"])
    except BadRequestError as error:
        _refuse_too_many_fields(error, index)
        reason = reason_of(error)
        conflict = re.search(r"mapper \[(.+?)\] cannot be changed from type \[(\w+)\] to \[(\w+)\]", reason)
        if conflict is None:
            raise
        field, before, now = conflict.groups()
        raise ElasticsearchProblem(
            f"`{index}` holds `{field}` as {before}, but it is {now} now; "
            "run once with full_refresh, or give the column another name."
        ) from None


def _refuse_too_many_fields(error: BadRequestError, index: str) -> None:
    if "Limit of total fields" in reason_of(error):
        raise ElasticsearchProblem(f"`{index}` would have too many fields; raise TOTAL_FIELDS_LIMIT.") from None
