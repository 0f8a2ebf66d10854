"""One number for all that an index holds, so that two runs can be compared."""

import hashlib
import json
from typing import Any

import httpx

PAGE = 5_000


def documents(url: str, index: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every document of the index, `_id` → source, read page by page at one point in time."""
    found: dict[str, Any] = {}
    point = httpx.post(f"{url}/{index}/_pit?keep_alive=1m", timeout=60).json()["id"]
    search: dict[str, Any] = {
        "size": PAGE,
        "sort": ["_shard_doc"],
        "pit": {"id": point},
        "query": query or {"match_all": {}},
    }
    while True:
        hits = httpx.post(f"{url}/_search", json=search, timeout=60).json()["hits"]["hits"]
        if not hits:
            httpx.request("DELETE", f"{url}/_pit", json={"id": point}, timeout=60)
            return found
        found.update({hit["_id"]: hit["_source"] for hit in hits})
        search["search_after"] = hits[-1]["sort"]


def checksum(url: str, *indexes: str) -> str:
    """Of ids and sources, in any order of writing."""
    digest = hashlib.sha256()
    for index in indexes:
        for identifier, source in sorted(documents(url, index).items()):
            digest.update(json.dumps([index, identifier, source], sort_keys=True).encode())
    return digest.hexdigest()
