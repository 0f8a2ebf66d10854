"""Notes that people pin to charts: a day, a text, and who wrote it. Kept in the index `notes`, which no load touches.

    a note's id, its content, its author  ->  the stored note

A note belongs to one chart or to every chart over days, and to one dimension value or to every one. Its id is made by
who writes it, so that trying again writes nothing twice. Two changes at once do not overwrite each other: a change
names the version that it was made from.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from elasticsearch import ConflictError, Elasticsearch, NotFoundError

from include.elastic.client import index_name, plainly
from include.elastic.indexes import ensure
from include.problem import Problem
from include.schemas.indexes import notes_mapping

NOTES = "notes"
EVERY = "every"  # as a panel: every chart over days; as a dimension value: every one. Neither is ever called that.
TEXT_CHARACTERS = 500
DIMENSION_CHARACTERS = 1_000
NOTES_AT_MOST = 500  # of one dashboard
SECONDS_TO_ANSWER = 20.0
FIRST_YEAR, LAST_YEAR = 1900, 2200

ID = re.compile(r"[A-Za-z0-9-]{8,64}")
PANEL = re.compile(r"[A-Za-z0-9_.-]{1,200}")
VERSION = re.compile(r"(\d{1,18})\.(\d{1,18})")

UNSEEN = ("Cc", "Cf", "Cs")  # Unicode's categories: control, format, half of a pair

Document = dict[str, Any]


class NoteProblem(Problem):
    """A note that cannot be written as it was asked for; `status` is HTTP's."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Content:
    """What the author says. `day` is an ISO date; `panel` and `dimension` may be `every`."""

    panel: str
    dimension: str
    day: str
    text: str


@dataclass(frozen=True)
class Note:
    """A stored note. `version` is what a change or a deletion has to name."""

    id: str
    panel: str
    dimension: str
    day: str
    text: str
    author: str
    created_at: str
    changed_at: str
    version: str

    @property
    def content(self) -> Content:
        return Content(self.panel, self.dimension, self.day, self.text)


def ensure_notes(client: Elasticsearch) -> None:
    """The index `notes`, made where there is none. What is in it stays."""
    ensure(client, NOTES, notes_mapping())


def content_of(given: object) -> Content:
    """The content of a note from what a browser sent, tidied. Raises `NoteProblem` with what is wrong first."""
    if not isinstance(given, Mapping):
        raise NoteProblem("A note is a JSON object with `panel`, `dimension`, `day` and `text`; send one.")
    values = {}
    for name in ("panel", "dimension", "day", "text"):
        value = given.get(name)
        if not isinstance(value, str) or not value.strip():
            raise NoteProblem(f"A note needs a {name}; enter one.")
        values[name] = value
    if not PANEL.fullmatch(values["panel"]):
        raise NoteProblem("There is no such chart to pin a note to; reload the page.")
    if len(values["dimension"]) > DIMENSION_CHARACTERS:
        raise NoteProblem(f"A dimension value has at most {DIMENSION_CHARACTERS:,} characters; choose another.")
    text = _tidy(values["text"])
    if not text:
        raise NoteProblem("A note needs a text; enter one.")
    if len(text) > TEXT_CHARACTERS:
        raise NoteProblem(
            f"A note has at most {TEXT_CHARACTERS} characters, and this has {len(text):,}; make it shorter."
        )
    return Content(values["panel"], values["dimension"], _day(values["day"]), text)


def _tidy(text: str) -> str:
    """Plain text: lines end in one way, and what cannot be seen is out, but for what joins letters."""
    lines = "\n".join(text.splitlines())
    kept = "".join(
        letter for letter in lines if letter in "\n\u200c\u200d" or unicodedata.category(letter) not in UNSEEN
    )
    return kept.strip()


def _day(given: str) -> str:
    try:
        day = date.fromisoformat(given)
    except ValueError:
        day = None
    if day is None or day.isoformat() != given or not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise NoteProblem(f"The day of a note is a date like 2024-05-29 from {FIRST_YEAR} to {LAST_YEAR}; correct it.")
    return given


def save_note(
    client: Elasticsearch, id_: str, content: Content, *, author: str, now: datetime, version: str | None = None
) -> Note:
    """Write a new note, or with `version` change that version of one. Trying again after success changes nothing.

    Raises `NoteProblem` where the note is somebody else's, is gone or was changed meanwhile; and `ElasticsearchProblem`
    where that does not answer.
    """
    if not ID.fullmatch(id_):
        raise NoteProblem("The id of a note has 8 to 64 letters, digits and hyphens; reload the page.")
    at = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with plainly(client, "writing a note"):
        if version is None:
            document = {**asdict(content), "author": author, "created_at": at, "changed_at": at}
            try:
                return _write(client, id_, document, {"op_type": "create"})
            except ConflictError:
                return _written_before(client, id_, content, author)
        stored = _own(client, id_, author)
        if stored is None:
            raise NoteProblem("This note was deleted meanwhile; add a new one.", 404)
        if stored.content == content:
            return stored
        document = {**asdict(content), "author": author, "created_at": stored.created_at, "changed_at": at}
        try:
            return _write(client, id_, document, _expecting(version))
        except (ConflictError, NotFoundError):
            return _written_before(client, id_, content, author)


def delete_note(client: Elasticsearch, id_: str, *, author: str, version: str) -> None:
    """Delete that version of a note; fine where there is none any more. Raises as `save_note` does."""
    with plainly(client, "deleting a note"):
        if not ID.fullmatch(id_) or _own(client, id_, author) is None:
            return
        try:
            _patient(client).delete(index=index_name(NOTES), id=id_, refresh=True, **_expecting(version))
        except NotFoundError:
            return
        except ConflictError:
            raise _conflict() from None


def search_for_notes(panels: Collection[str], dimension: str) -> list[Document]:
    """Header and body of a multi-search for the notes of some panels and one dimension value, by day."""
    wanted = [{"terms": {"panel": [*panels, EVERY]}}, {"terms": {"dimension": [dimension, EVERY]}}]
    header = {"index": index_name(NOTES), "ignore_unavailable": True}  # no index yet: no note yet
    body = {
        "query": {"bool": {"filter": wanted}},
        "size": NOTES_AT_MOST,
        "sort": [{"day": "desc"}, {"created_at": "desc"}],
        "seq_no_primary_term": True,
        "track_total_hits": True,
    }
    return [header, body]


def notes_found(answer: Mapping[str, Any]) -> tuple[list[Note], int]:
    """The notes in the answer to such a search, the earliest day first, and how many older ones were left out."""
    hits = answer["hits"]["hits"]
    found = [_note(hit["_id"], hit["_source"], hit) for hit in reversed(hits)]
    return found, int(answer["hits"]["total"]["value"]) - len(found)


def list_notes(client: Elasticsearch, panels: Collection[str], dimension: str) -> list[Note]:
    """The notes of some panels and one dimension value, the earliest day first."""
    with plainly(client, "reading the notes"):
        (answer,) = _patient(client).msearch(searches=search_for_notes(panels, dimension))["responses"]
        return notes_found(answer)[0]


def _write(client: Elasticsearch, id_: str, document: Document, condition: Mapping[str, Any]) -> Note:
    def write() -> Note:
        # An index of that name may only be made by `ensure`: with its mapping, behind an alias.
        written = _patient(client).index(
            index=index_name(NOTES), id=id_, document=document, require_alias=True, refresh=True, **condition
        )
        return _note(id_, document, written.body)

    try:
        return write()
    except NotFoundError as error:
        if error.error != "index_not_found_exception":
            raise
        ensure_notes(client)
        return write()


def _written_before(client: Elasticsearch, id_: str, content: Content, author: str) -> Note:
    """The note that an earlier try of the same writing left; else the writing was too late."""
    stored = _own(client, id_, author)
    if stored is None or stored.content != content:
        raise _conflict()
    return stored


def _own(client: Elasticsearch, id_: str, author: str) -> Note | None:
    """The stored note, None where there is none. Raises `NoteProblem` where it is somebody else's."""
    try:
        found = _patient(client).get(index=index_name(NOTES), id=id_)
    except NotFoundError:
        return None
    note = _note(id_, found["_source"], found.body)
    if note.author != author:
        raise NoteProblem(f"This note is by {note.author}; only its author can change or delete it.", 403)
    return note


def _expecting(version: str) -> dict[str, Any]:
    match = VERSION.fullmatch(version)
    if match is None:
        raise NoteProblem("That is no version of a note; reload the page.")
    return {"if_seq_no": int(match[1]), "if_primary_term": max(1, int(match[2]))}


def _conflict() -> NoteProblem:
    return NoteProblem("This note was changed meanwhile, in another window; reload the page and try again.", 409)


def _note(id_: str, document: Mapping[str, Any], told: Mapping[str, Any]) -> Note:
    return Note(id=id_, version=f"{told['_seq_no']}.{told['_primary_term']}", **document)


def _patient(client: Elasticsearch) -> Elasticsearch:
    patient: Elasticsearch = client.options(request_timeout=SECONDS_TO_ANSWER, max_retries=1)
    return patient
