"""Notes on a real node: written once however often it is tried, changed by their author only, never lost unseen."""

import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from elasticsearch import Elasticsearch
from hypothesis import given
from hypothesis import strategies as st

import configs
from include.dashboards.notes import (
    EVERY,
    NOTES,
    TEXT_CHARACTERS,
    Content,
    NoteProblem,
    content_of,
    delete_note,
    ensure_notes,
    list_notes,
    save_note,
)
from include.elastic.client import connect, index_name
from include.elastic.indexes import begin_refresh, finish_refresh
from include.schemas.indexes import orders_mapping
from tests.published_reports import Published

NOW = datetime(2024, 5, 30, 12, tzinfo=UTC)
WEEKLY = "descriptive_statistics.activity.2"
GIVEN = {"panel": WEEKLY, "dimension": "all", "day": "2024-05-21", "text": "Television spot"}
CONTENT = Content(**GIVEN)


@pytest.fixture(scope="module")
def elasticsearch_url(published: Published) -> Iterator[str]:
    """Names without reports: notes need none."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(configs, "INDEX_PREFIX", "without-reports-")
        yield published.url


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with connect(elasticsearch_url) as connected:
        connected.indices.delete(index=f"{index_name(NOTES)}-first", ignore_unavailable=True)
        ensure_notes(connected)
        yield connected


def save(client: Elasticsearch, text: str = "Television spot", *, id_: str = "note-0001", **more: Any) -> Any:
    content = Content(**{**GIVEN, "text": text, **{name: more.pop(name) for name in set(more) & set(GIVEN)}})
    return save_note(client, id_, content, **{"author": "ada", "now": NOW, **more})


def texts(client: Elasticsearch, dimension: str = "all", panel: str = WEEKLY) -> list[str]:
    return [note.text for note in list_notes(client, [panel], dimension)]


# ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_note_is_written_changed_and_deleted(client: Elasticsearch) -> None:
    written = save(client)
    assert list_notes(client, [WEEKLY], "all") == [written]
    assert (written.author, written.created_at, written.changed_at) == (
        "ada",
        "2024-05-30T12:00:00.000Z",
        "2024-05-30T12:00:00.000Z",
    )
    changed = save(client, "Radio spot", version=written.version, now=NOW + timedelta(hours=1))
    assert list_notes(client, [WEEKLY], "all") == [changed]
    assert (changed.created_at, changed.changed_at) == (written.created_at, "2024-05-30T13:00:00.000Z")
    delete_note(client, written.id, author="ada", version=changed.version)
    assert texts(client) == []


def test_trying_again_writes_nothing_twice(client: Elasticsearch) -> None:
    first = save(client)
    assert save(client, now=NOW + timedelta(seconds=5)) == first
    changed = save(client, "Radio spot", version=first.version)
    assert save(client, "Radio spot", version=first.version) == changed
    delete_note(client, first.id, author="ada", version=changed.version)
    delete_note(client, first.id, author="ada", version=changed.version)


def test_the_index_is_made_by_the_first_note(client: Elasticsearch) -> None:
    client.indices.delete(index=f"{index_name(NOTES)}-first")
    assert texts(client) == []
    delete_note(client, "note-0001", author="ada", version="1.1")
    save(client)
    assert texts(client) == ["Television spot"]
    assert client.indices.get_mapping(index=index_name(NOTES)).body.popitem()[1]["mappings"]["dynamic"] == "strict"


def test_of_two_changes_at_once_one_is_told(client: Elasticsearch, elasticsearch_url: str) -> None:
    first = save(client)

    def change(number: int) -> str:
        with connect(elasticsearch_url) as own:
            try:
                return str(save(own, f"change {number}", version=first.version).text)
            except NoteProblem as problem:
                return f"{problem.status}: {problem}"

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(change, range(6)))
    refused = "409: This note was changed meanwhile, in another window; reload the page and try again."
    assert sorted(told)[:5] == [refused] * 5
    assert texts(client) == [max(told, key=lambda one: one.startswith("change"))]


def test_of_two_first_writings_with_one_id_one_is_told(client: Elasticsearch) -> None:
    save(client)
    with pytest.raises(NoteProblem, match="changed meanwhile"):
        save(client, "Radio spot")
    assert texts(client) == ["Television spot"]


def test_an_old_version_is_not_deleted(client: Elasticsearch) -> None:
    first = save(client)
    save(client, "Radio spot", version=first.version)
    with pytest.raises(NoteProblem, match="changed meanwhile"):
        delete_note(client, first.id, author="ada", version=first.version)
    assert texts(client) == ["Radio spot"]


def test_a_note_is_its_authors(client: Elasticsearch) -> None:
    first = save(client)
    for attempt in (
        lambda: save(client, "mine", author="bob", version=first.version),
        lambda: save(client, author="bob"),
        lambda: delete_note(client, first.id, author="bob", version=first.version),
    ):
        with pytest.raises(NoteProblem, match="This note is by ada; only its author") as caught:
            attempt()
        assert caught.value.status == 403
    assert texts(client) == ["Television spot"]


def test_a_note_that_was_deleted_is_not_changed(client: Elasticsearch) -> None:
    first = save(client)
    delete_note(client, first.id, author="ada", version=first.version)
    with pytest.raises(NoteProblem, match="deleted meanwhile") as caught:
        save(client, "Radio spot", version=first.version)
    assert caught.value.status == 404


@pytest.mark.parametrize("version", ["", "1", "1.x", "-1.1", "1.1.1", "9" * 30 + ".1"])
def test_a_version_is_one_of_ours(client: Elasticsearch, version: str) -> None:
    save(client)
    with pytest.raises(NoteProblem, match="no version of a note"):
        save(client, "Radio spot", version=version)
    with pytest.raises(NoteProblem, match="no version of a note"):
        delete_note(client, "note-0001", author="ada", version=version)


@pytest.mark.parametrize("id_", ["", "short", "a" * 65, "../../etc", "note 0001", "note_0001"])
def test_an_id_is_plain(client: Elasticsearch, id_: str) -> None:
    with pytest.raises(NoteProblem, match="id of a note"):
        save(client, id_=id_)


def test_a_full_refresh_leaves_notes_alone(client: Elasticsearch) -> None:
    save(client)
    fresh = begin_refresh(client, "orders", orders_mapping({}), key="refresh")
    finish_refresh(client, "orders", fresh)
    ensure_notes(client)
    assert texts(client) == ["Television spot"]


# ── What is shown where ─────────────────────────────────────────────────────────────────────────────────────────────


def test_notes_are_of_their_chart_and_their_dimension_value(client: Elasticsearch) -> None:
    north, south = "region: North", "region: South"
    save(client, "one chart, all", id_="note-0001", day="2024-05-22")
    save(client, "one chart, north", id_="note-0002", dimension=north, day="2024-05-21")
    save(client, "one chart, every value", id_="note-0003", dimension=EVERY, day="2024-05-20")
    save(client, "every chart and value", id_="note-0004", panel=EVERY, dimension=EVERY, day="2024-05-23")
    save(client, "another chart", id_="note-0005", panel="rfm.segments.1")
    assert texts(client) == ["one chart, every value", "one chart, all", "every chart and value"]
    assert texts(client, north) == ["one chart, every value", "one chart, north", "every chart and value"]
    assert texts(client, south) == ["one chart, every value", "every chart and value"]
    assert texts(client, panel="rfm.segments.1") == ["another chart", "every chart and value"]


# ── What a browser sends ────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(max_size=TEXT_CHARACTERS + 20))
def test_any_text_is_kept_as_it_reads_or_refused(text: str) -> None:
    """Whatever was kept is bounded, visible, sent as JSON, and stays the same when it is saved again."""
    letters = [one for one in text if one.isalnum()]
    try:
        kept = content_of({**GIVEN, "text": text}).text
    except NoteProblem:
        assert not letters or len(text) > TEXT_CHARACTERS
        return
    assert 0 < len(kept) <= TEXT_CHARACTERS
    assert not {one for one in kept if unicodedata.category(one) in ("Cc", "Cs")} - {"\n"}
    assert orjson.loads(orjson.dumps(kept)) == kept
    assert content_of({**GIVEN, "text": kept}).text == kept
    assert [one for one in kept if one.isalnum()] == letters


@pytest.mark.parametrize(
    "text", ["a\r\nb\u2028c", "<b>x</b>", "=1+1", 'say "hi" \\', "naïve 日本語 👩‍👩‍👧", "x" * TEXT_CHARACTERS]
)
def test_texts_come_back_from_the_node(client: Elasticsearch, text: str) -> None:
    content = content_of({**GIVEN, "text": text})
    save_note(client, "note-0001", content, author="ada", now=NOW)
    assert texts(client) == [content.text]


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ([], "is a JSON object"),
        ({**GIVEN, "text": ""}, "needs a text"),
        ({**GIVEN, "text": "\u0000\u200b"}, "needs a text"),
        ({**GIVEN, "text": 5}, "needs a text"),
        ({**GIVEN, "text": "x" * (TEXT_CHARACTERS + 1)}, "at most 500 characters, and this has 501"),
        ({**GIVEN, "day": "29.05.2024"}, "a date like 2024-05-29"),
        ({**GIVEN, "day": "2024-W22-3"}, "a date like 2024-05-29"),
        ({**GIVEN, "day": "2024-02-30"}, "a date like 2024-05-29"),
        ({**GIVEN, "day": "0001-01-01"}, "from 1900 to 2200"),
        ({**GIVEN, "panel": "a/b"}, "no such chart"),
        ({**GIVEN, "dimension": "x" * 1_001}, "at most 1,000 characters"),
        ({"panel": WEEKLY}, "needs a dimension"),
    ],
)
def test_what_is_wrong_is_said(given_: Any, said: str) -> None:
    with pytest.raises(NoteProblem, match=said):
        content_of(given_)
