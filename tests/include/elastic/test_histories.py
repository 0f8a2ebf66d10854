"""Histories of loads, with kills, repeats and backfills: the indexes end as after one load of everything."""

import uuid
from dataclasses import replace
from datetime import UTC, timedelta
from functools import partial
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import configs
from include.elastic.client import index_name
from include.elastic.load import load_downloads, load_orders
from include.elastic.node import EmbeddedNode
from include.pipeline.run import Run
from include.staging.merge import Merged
from tests.checksums import documents
from tests.incremental_shop import BEGIN, line, place, row
from tests.runs import BY_HAND

# A history: per step, orders that are written or corrected (which, on which day it began, what was paid), lines of
# baskets likewise, and the run that follows. Changes are stamped with the step's day, but for late ones, which are
# within the look-back.
CHANGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 40), st.integers(1, 99), st.integers(0, 2)), max_size=5)
RUNS = st.sampled_from(
    [
        "run",
        "run",
        "killed",
        "killed while indexing",
        "backfill",
        "period",
        "twice",
        "refresh",
        "refresh of a period",
        "killed refresh",
        "killed refresh while indexing",
    ]
)
HISTORY = st.lists(st.tuples(CHANGES, RUNS, st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=5)


@pytest.mark.contract
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORY)
def test_any_history_ends_where_one_load_of_everything_does(
    history: list[Any], tmp_path_factory: pytest.TempPathFactory, shared_node: EmbeddedNode, client: Elasticsearch
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(configs, "LOOKBACK_DAYS", 3)
        monkeypatch.setattr(configs, "INDEX_PREFIX", own := f"{configs.INDEX_PREFIX}{uuid.uuid4().hex[:8]}-")
        shop = place(monkeypatch, tmp_path_factory.mktemp("history") / "incremental")
        rows: dict[str, dict[str, Any]] = {}
        lines: dict[tuple[str, int], dict[str, Any]] = {}
        for step, (changes, kind, first, length) in enumerate(history, start=1):
            for which, day, paid, late_days in changes:
                changed = 50 + step - late_days
                sold = (f"s{which}", day % 3)
                if sold not in lines or lines[sold]["changed"] <= line(paid, changed)["changed"]:
                    lines[sold] = line(paid, changed)
                known = rows.get(f"s{which}")
                if known and known["changed"] > row(day, paid, changed)["changed"]:
                    continue  # the source itself holds the newest version
                rows[f"s{which}"] = row(day, paid, changed, f"c{which % 4}")
            shop.write(rows, lines)
            run = replace(BY_HAND, run_id=f"step {step}", full_refresh="refresh" in kind)
            start = BEGIN.replace(tzinfo=UTC) + timedelta(days=first)
            end = start + timedelta(days=length)
            if kind == "backfill":
                run = replace(run, run_type="backfill", interval_start=start, interval_end=end)
            if kind in ("period", "refresh of a period"):
                run = replace(run, start=start.date(), end=end.date())
            shop.load(run, partial(indexed, client, run, kind))
            if kind == "twice":
                shop.load(run, partial(indexed, client, run, kind))
        last = replace(BY_HAND, run_id="last")
        shop.load(last, partial(indexed, client, last, "run"))
        found = shop.staged(), shop.lines(), held(shared_node)
        monkeypatch.setattr(configs, "STAGING_URL", str(shop.folder / "at once"))
        monkeypatch.setattr(configs, "INDEX_PREFIX", f"{configs.INDEX_PREFIX}at-once-")
        whole = replace(BY_HAND, run_id="at once", full_refresh=True)
        shop.load(whole, partial(indexed, client, whole, "run"))
        assert found == (shop.staged(), shop.lines(), held(shared_node))
        assert len(found[2][0]) == len(rows)
        client.indices.delete(index=[*client.indices.get(index=f"{own}*")])


def indexed(client: Elasticsearch, run: Run, kind: str, merged: Merged) -> bool:
    """What the tasks that index do; whether they came to their end."""

    class Killed(Exception):
        pass

    def kill(_: int) -> None:
        if "while indexing" in kind:
            raise Killed

    if kind.startswith("killed") and "while indexing" not in kind:
        return False
    refresh = run.key if run.full_refresh else None
    version = merged.snapshot.version
    with merged.snapshot.connect() as connection:
        try:
            load_orders(
                client,
                connection,
                snapshot=version,
                changed_since=merged.previous_version,
                months=merged.changed_months,
                refresh_key=refresh,
                progress=kill,
            )
        except Killed:
            return False
        load_downloads(client, connection, snapshot=version, refresh_key=refresh)
    return not kind.startswith("killed")


def held(node: EmbeddedNode) -> tuple[dict[str, Any], dict[str, Any]]:
    """The documents of both indexes."""
    return documents(node.url, index_name("orders")), documents(node.url, index_name("downloads"))
