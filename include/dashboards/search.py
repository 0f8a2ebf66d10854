"""The search box: clients, products, categories, promotions and dimension values by their names.

    what a person typed  ->  the names of each kind that match, best first, with their orders, JSON-ready

A name matches in one of four ways, and in this order: it is what was typed; it begins with it; one of its later words
does (not of clients, who are many and have ids rather than words); or it does with a slip of the keyboard. Upper and
lower case are the same. A slip is a letter that is wrong, missing, too many, or exchanged with its neighbour: one from
`ONE_SLIP_FROM` letters on, and two in a whole name from `TWO_SLIPS_FROM` letters on.

The names come from the term dictionaries of the indexes themselves, by regular expressions and the term suggester: both
are there on the core-only node as on any other, and neither needs an index of its own. What they bring is judged again
here, so a result is what this text says, whatever brought it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from elasticsearch import Elasticsearch

from include.dashboards.boards import SECONDS_TO_ANSWER
from include.elastic.client import ElasticsearchProblem, explained, index_name, plainly
from include.elastic.documents import ALL
from include.elastic.load import DOWNLOADS, ORDERS

LETTERS_AT_MOST = 100
ONE_SLIP_FROM = 4
TWO_SLIPS_FROM = 8
RESULTS_PER_KIND = 8
CANDIDATES = 60  # names that one search brings, those in most sessions first
SLIP_LETTERS = 12  # a regular expression for a slip in more letters than these would be too long for Elasticsearch
RESERVED = set('.?+*|{}[]()"\\#@&<>~^-$')  # letters that mean something in Lucene's regular expressions

WORD = re.compile(r"(?<=\s)\S|(?<=[\W_])[^\W_]")  # the first letter of each word but the first

KindName = Literal["client", "product", "category", "promotion", "dimension"]
Way = Literal["whole", "beginning", "word", "slip"]
WAYS: tuple[Way, ...] = ("whole", "beginning", "word", "slip")
Search = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of thing that can be found: where its names are, and in `orders` what counts its orders."""

    name: KindName
    title: str
    index: str
    field: str

    @property
    def has_words(self) -> bool:
        return self.name != "client"


KINDS: tuple[Kind, ...] = (
    Kind("client", "Clients", DOWNLOADS, "client"),
    Kind("product", "Products", ORDERS, "basket.product"),
    Kind("category", "Categories", ORDERS, "basket.category"),
    Kind("promotion", "Promotions", ORDERS, "promotion_id"),
    Kind("dimension", "Dimension values", ORDERS, "dimension"),
)


class QueryTooLong(ValueError):
    """More was typed than a search takes; its text is for people."""


def search(client: Elasticsearch, query: str) -> dict[str, Any]:
    """What matches `query`: per kind at most `RESULTS_PER_KIND` names, and whether there are more.

    Raises `QueryTooLong`, and `ElasticsearchProblem` when Elasticsearch does not answer.
    """
    query = query.encode("utf-8", "replace").decode()  # half a character pair is nobody's name
    if len(query) > LETTERS_AT_MOST:
        raise QueryTooLong(f"A search takes at most {LETTERS_AT_MOST} letters; type the beginning of the name only.")
    if not query.strip():
        return _answer(query, [], "Type the beginning of a client, product, promotion or dimension value.")
    patient = client.options(request_timeout=SECONDS_TO_ANSWER, max_retries=1)
    found, is_loaded = _candidates(patient, query)
    if not is_loaded:
        return _answer(query, [], "No run has loaded sessions yet, so there is nothing to find.")
    chosen = {kind: best(query, names, has_words=kind.has_words) for kind, names in found.items()}
    shown = {kind: ranked[:RESULTS_PER_KIND] for kind, ranked in chosen.items()}
    orders = _orders(patient, {kind: [name for name, _ in ranked] for kind, ranked in shown.items()})
    groups = [
        {
            "kind": kind.name,
            "title": kind.title,
            "results": [
                {"name": name, "label": name, "way": way, "count": orders[kind].get(name, 0), "counted": "orders"}
                for name, way in ranked
            ],
            "more": len(chosen[kind]) > len(ranked),
        }
        for kind, ranked in shown.items()
        if ranked
    ]
    reason = "" if groups else f"Nothing is called anything like this: {_tolerance(query)}."
    return _answer(query, groups, reason)


def best(query: str, names: Iterable[str], *, has_words: bool) -> list[tuple[str, Way]]:
    """Those of the names that match, best first, and how; ties are in the order that they come in."""
    judged = [(way, slips, name) for name in names for way, slips in [_match(query, name, has_words)] if way]
    ranked = sorted(judged, key=lambda one: (WAYS.index(one[0]), one[1]))
    return [(name, way) for way, _, name in ranked]


def slips_allowed(query: str) -> int:
    """How many slips a whole name may have."""
    return 2 if len(query) >= TWO_SLIPS_FROM else 1 if len(query) >= ONE_SLIP_FROM else 0


def _answer(query: str, groups: list[dict[str, Any]], reason: str) -> dict[str, Any]:
    return {"query": query, "kinds": groups, "total": sum(len(one["results"]) for one in groups), "reason": reason}


def _tolerance(query: str) -> str:
    allowed = slips_allowed(query)
    if not allowed:
        return f"names are searched by how they begin, from {ONE_SLIP_FROM} letters on with one of them wrong"
    return f"names are searched by how they begin, with one letter wrong{' or two' if allowed == 2 else ''}"


def _candidates(client: Elasticsearch, query: str) -> tuple[dict[Kind, list[str]], bool]:
    """The names that may match, each once, and whether there is any index to search."""
    asked = [(kind, body) for kind in KINDS for body in _searches(kind, query)]
    answers = ask(client, [(kind.index, body) for kind, body in asked], "searching")
    found: dict[Kind, dict[str, None]] = {kind: {} for kind in KINDS}
    for (kind, _), answer in zip(asked, answers, strict=True):
        found[kind].update(dict.fromkeys(_names(kind, answer)))
    found_names = {kind: [name for name in names if name != ALL] for kind, names in found.items()}
    return found_names, any(answer["_shards"]["total"] for answer in answers)


def _searches(kind: Kind, query: str) -> list[Search]:
    letters = [_letter(one) for one in query]
    whole = "".join(letters)
    patterns = [whole, f"{whole}.*"]
    before = r"(.*[^a-zA-Z0-9])?" if kind.has_words else ""
    if kind.has_words:
        patterns.append(f".*[^a-zA-Z0-9]{whole}.*")
    if slips_allowed(query):
        patterns.append(f"{before}{_with_a_slip(letters[:SLIP_LETTERS])}.*")
    searches = [_search(kind, pattern) for pattern in patterns]
    if slips_allowed(query):
        searches.append({"size": 0, "track_total_hits": False, "suggest": _suggesters(kind, query)})
    return searches


def _search(kind: Kind, pattern: str) -> Search:
    query = {"regexp": {kind.field: {"value": pattern, "flags": "NONE"}}}
    if kind.index == DOWNLOADS:  # a document is a name
        return {
            "query": query,
            "size": CANDIDATES,
            "_source": [kind.field],
            "sort": [{kind.field: "asc"}],
            "track_total_hits": False,
        }
    names = {"terms": {"field": kind.field, "include": pattern, "size": CANDIDATES}}
    return {"query": query, "size": 0, "track_total_hits": False, "aggs": {"names": names}}


def _suggesters(kind: Kind, query: str) -> Search:
    """Whole names with slips. A suggester minds the case, so it is asked for what was typed in each usual one."""
    spellings = dict.fromkeys([query, query.lower(), query.upper(), query.capitalize(), query.title()])
    terms = {
        "field": kind.field,
        "suggest_mode": "always",
        "max_edits": slips_allowed(query),
        "prefix_length": 0,
        "size": CANDIDATES,
    }
    return {str(number): {"text": text, "term": terms} for number, text in enumerate(spellings)}


def _letter(letter: str) -> str:
    """A letter in any case, as a regular expression."""
    cases = dict.fromkeys(one for one in (letter, letter.lower(), letter.upper()) if len(one) == 1)
    if len(cases) > 1:
        return f"[{''.join(cases)}]"
    return f"\\{letter}" if letter in RESERVED else letter


def _with_a_slip(letters: Sequence[str]) -> str:
    """The letters with at most one slip, as a regular expression."""
    if not letters:
        return ""
    first, *rest = letters
    ways = [first + _with_a_slip(rest), f"(.{first}?)?{''.join(rest)}"]  # none here yet; wrong, missing or too many
    if rest:
        ways.append(f"{rest[0]}{first}{''.join(rest[1:])}")
    return f"({'|'.join(ways)})"


def _names(kind: Kind, answer: Mapping[str, Any]) -> Iterable[str]:
    if kind.index == DOWNLOADS:
        yield from (hit["_source"][kind.field] for hit in answer["hits"]["hits"])
    for bucket in answer.get("aggregations", {}).get("names", {}).get("buckets", []):
        yield bucket["key"]
    for suggested in answer.get("suggest", {}).values():
        yield from (option["text"] for entry in suggested for option in entry["options"])


def _match(query: str, name: str, has_words: bool) -> tuple[Way | None, int]:
    """How a name matches, and with how many slips."""
    asked, own = query.lower(), name.lower()
    if asked == own:
        return "whole", 0
    if own.startswith(asked):
        return "beginning", 0
    starts = [found.start() for found in WORD.finditer(own)] if has_words else []
    if any(own.startswith(asked, start) for start in starts):
        return "word", 0
    allowed = slips_allowed(query)
    if not allowed:
        return None, 0
    whole = _slips(asked, own, allowed, to_the_end=True)
    begun = min(_slips(asked, own[start:], 1, to_the_end=False) for start in (0, *starts))
    slips = min(whole, begun if begun <= 1 else allowed + 1)
    return ("slip", slips) if slips <= allowed else (None, 0)


def _slips(asked: str, name: str, allowed: int, *, to_the_end: bool) -> int:
    """The slips between what was asked and a name (or its nearest beginning), counted up to `allowed` + 1.

    Restricted Damerau-Levenshtein distance, only as far from the diagonal as still matters.
    """
    too_many = allowed + 1
    if to_the_end and abs(len(asked) - len(name)) > allowed:
        return too_many
    name = name[: len(asked) + allowed]
    before: dict[int, int] = {}
    row = {j: j for j in range(min(len(name), allowed) + 1)}
    for i, letter in enumerate(asked, start=1):
        after: dict[int, int] = {}
        for j in range(max(0, i - allowed), min(len(name), i + allowed) + 1):
            fewest = row.get(j, too_many) + 1
            if j:
                other = name[j - 1]
                fewest = min(fewest, row.get(j - 1, too_many) + (letter != other), after.get(j - 1, too_many) + 1)
                if i > 1 and j > 1 and letter == name[j - 2] and asked[i - 2] == other:
                    fewest = min(fewest, before.get(j - 2, too_many) + 1)
            after[j] = min(fewest, too_many)
        before, row = row, after
    return row.get(len(name), too_many) if to_the_end else min(row.values(), default=too_many)


def _orders(client: Elasticsearch, names: Mapping[Kind, Sequence[str]]) -> dict[Kind, dict[str, int]]:
    """How many orders each name has."""
    asked = [kind for kind, found in names.items() if found]
    found: dict[Kind, dict[str, int]] = {kind: {} for kind in names}
    bodies = []
    for kind in asked:
        chosen = list(names[kind])
        query = {"bool": {"filter": [{"term": {"has_purchased": True}}, {"terms": {kind.field: chosen}}]}}
        counts = {"terms": {"field": kind.field, "include": chosen, "size": len(chosen)}}
        body = {"query": query, "size": 0, "track_total_hits": False, "aggs": {"names": counts}}
        bodies.append((ORDERS, body))
    for kind, answer in zip(asked, ask(client, bodies, "searching"), strict=True):
        buckets = answer.get("aggregations", {}).get("names", {}).get("buckets", [])
        found[kind] = {bucket["key"]: bucket["doc_count"] for bucket in buckets}
    return found


def ask(client: Elasticsearch, searches: Sequence[tuple[str, Search]], doing: str) -> list[dict[str, Any]]:
    """The answers to searches of indexes that may not be there yet, in one request.

    Raises `ElasticsearchProblem` when one of them fails; `doing` says what it was for.
    """
    if not searches:
        return []
    bodies: list[dict[str, Any]] = []
    for index, body in searches:
        bodies += [{"index": index_name(index), "ignore_unavailable": True}, body]
    with plainly(client, doing):
        answers: list[dict[str, Any]] = client.msearch(searches=bodies)["responses"]
    for answer in answers:
        if "error" in answer:
            reason = explained(answer["error"])
            raise ElasticsearchProblem(f"Elasticsearch failed while {doing}: {reason}.", retry=True)
    return answers
