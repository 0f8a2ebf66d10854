"""The search, on the names of a real index."""

from collections.abc import Iterator
from functools import cache

import pytest
from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import configs
from include.dashboards.search import (
    KINDS,
    LETTERS_AT_MOST,
    RESULTS_PER_KIND,
    QueryTooLong,
    best,
    search,
    slips_allowed,
)
from include.elastic.client import ElasticsearchProblem, connect
from include.elastic.load import load_downloads, load_orders
from tests.include.elastic.snapshot import customer, session, snapshot
from tests.published_reports import EVIL

PREFIX = "names-"
NAMES = (
    "Chocolate Cake",
    "chocolate bar",
    "Äpfel, rot",
    "ÉCLAIR",
    "iPhone Case 11",
    '50 % off / "today" <b>',
    "a.b*c?(d)|[e]{f}~@&#\\^$",
    "😀😀 party",
    "Straße",
    "line\nbreak",
    "Ω",
    "x",
    "(unknown)",
)


@pytest.fixture(scope="module")
def names_loaded(elasticsearch_url: str) -> Iterator[str]:
    """The prefix of indexes in which every kind has the same names, beside those of the shop."""
    sessions = [
        session(f"s{number}", client=name, client_code=number, promotion_id=name, dimension_kind=name)
        for number, name in enumerate(NAMES)
    ]
    customers = [customer(name, number) for number, name in enumerate(NAMES)]
    lines = [
        {"order_id": f"s{number}", "product": name, "category": name, "price": 1, "quantity": 1.0}
        for number, name in enumerate(NAMES)
    ]
    with connect(elasticsearch_url) as client:
        with pytest.MonkeyPatch.context() as changed, snapshot(sessions, customers, lines) as connection:
            changed.setattr(configs, "INDEX_PREFIX", PREFIX)
            load_orders(client, connection, snapshot="names")
            load_downloads(client, connection, snapshot="names")
        yield PREFIX
        for name in client.indices.get(index=f"{PREFIX}*"):
            client.indices.delete(index=name)


@pytest.fixture
def names(client: Elasticsearch, names_loaded: str, monkeypatch: pytest.MonkeyPatch) -> Elasticsearch:
    """A client that searches those names."""
    monkeypatch.setattr(configs, "INDEX_PREFIX", names_loaded)
    return client


every_query = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def found(client: Elasticsearch, query: str) -> dict[str, list[tuple[str, str]]]:
    """Per kind the names and how they match."""
    answer = search(client, query)
    return {one["kind"]: [(result["name"], result["way"]) for result in one["results"]] for one in answer["kinds"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_found_by_itself_in_any_case_and_first(names: Elasticsearch, name: str) -> None:
    for typed in {name, name.swapcase()} if len(name.swapcase()) == len(name) else {name}:
        results = found(names, typed)
        assert list(results) == [kind.name for kind in KINDS]
        for kind in ("client", "product", "category", "promotion"):
            assert results[kind][0] == (name, "whole")
        assert results["dimension"][0] == (f"kind: {name}", "word")


@pytest.mark.parametrize("name", [name for name in NAMES if len(name) > 3])
def test_a_name_is_found_by_its_beginning(names: Elasticsearch, name: str) -> None:
    results = found(names, name[:3])
    for kind in ("client", "product", "category", "promotion"):
        assert (name, "beginning") in results[kind]


@every_query
@given(data=st.data())
def test_a_name_is_found_with_a_letter_exchanged(names: Elasticsearch, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([name for name in NAMES if slips_allowed(name)]))
    place = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.characters(exclude_categories=("Cs",)))
    results = found(names, name[:place] + letter + name[place + 1 :])
    for kind in ("client", "product", "category", "promotion"):
        assert name in [one for one, _ in results[kind]]


@every_query
@given(query=st.text(max_size=LETTERS_AT_MOST))
def test_whatever_is_typed_has_an_answer(names: Elasticsearch, query: str) -> None:
    answer = search(names, query)
    assert answer["total"] == sum(len(one["results"]) for one in answer["kinds"])
    assert bool(answer["reason"]) == (answer["total"] == 0)


@pytest.mark.parametrize(
    ("typed", "name", "way"),
    [
        ("choc", "Chocolate Cake", "beginning"),
        ("cake", "Chocolate Cake", "word"),
        ("Choclate", "Chocolate Cake", "slip"),  # a letter is missing, of the beginning only
        ("CHCOOLATE", "Chocolate Cake", "slip"),  # two are exchanged
        ("caje", "Chocolate Cake", "slip"),  # in a later word
        ("iPhome Cese 11", "iPhone Case 11", "slip"),  # two, in a whole name
        ("äpfle, rot", "Äpfel, rot", "slip"),
        ("éclair", "ÉCLAIR", "whole"),
    ],
)
def test_how_tolerant_it_is(names: Elasticsearch, typed: str, name: str, way: str) -> None:
    assert (name, way) in found(names, typed)["product"]


@pytest.mark.parametrize("typed", ["chx", "Chxxolate", "iPxxxe Case 11", "ocolate"])
def test_what_is_too_far_is_not_found(names: Elasticsearch, typed: str) -> None:
    assert found(names, typed).get("product", []) == []


def test_counts_are_orders_and_results_are_few(client: Elasticsearch) -> None:
    answer = search(client, "c0")
    (clients,) = answer["kinds"]
    assert (clients["kind"], len(clients["results"]), clients["more"]) == ("client", RESULTS_PER_KIND, True)
    (promotions,) = search(client, "spring")["kinds"]
    stored = client.count(
        index="orders",
        query={"bool": {"filter": [{"term": {"promotion_id": "SPRING"}}, {"term": {"has_purchased": True}}]}},
    )["count"]
    assert [(one["name"], one["count"]) for one in promotions["results"]] == [("SPRING", stored)]
    assert stored > 100
    evil = found(client, EVIL[:20])
    assert {"product", "promotion"} <= evil.keys()


def test_nothing_typed_too_much_typed_nothing_found_nothing_loaded(
    client: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert search(client, " ")["reason"].startswith("Type the beginning of")
    with pytest.raises(QueryTooLong, match="at most 100 letters; type the beginning"):
        search(client, "x" * 101)
    assert search(client, "zzzzzzzz")["reason"].endswith("how they begin, with one letter wrong or two.")
    monkeypatch.setattr(configs, "INDEX_PREFIX", "none-")
    assert search(client, "zz")["reason"] == "No run has loaded sessions yet, so there is nothing to find."


def test_a_node_that_is_gone_is_a_sentence() -> None:
    with (
        connect("http://127.0.0.1:1") as nobody,
        pytest.raises(ElasticsearchProblem, match="did not answer while searching"),
    ):
        search(nobody, "zz")


@cache
def slips(left: str, right: str) -> int:
    """Damerau-Levenshtein distance without double editing, by its recursive definition."""
    if not left or not right:
        return len(left) + len(right)
    ways = [slips(left[1:], right) + 1, slips(left, right[1:]) + 1, slips(left[1:], right[1:]) + (left[0] != right[0])]
    if left[:2] == right[1::-1] and len(left) > 1:
        ways.append(slips(left[2:], right[2:]) + 1)
    return min(ways)


@settings(max_examples=200)
@given(query=st.text(alphabet="abc ", min_size=4, max_size=5), name=st.text(alphabet="abc", min_size=1, max_size=6))
def test_slips_are_counted_by_their_definition(query: str, name: str) -> None:
    expected = min(slips(query, name[:end]) for end in range(len(name) + 1)) <= 1
    assert bool(best(query, [name], has_words=False)) == expected


@settings(max_examples=50)
@given(query=st.text(alphabet="ab", min_size=8, max_size=8), name=st.text(alphabet="ab", min_size=7, max_size=9))
def test_two_slips_count_in_whole_names(query: str, name: str) -> None:
    beginnings = min(slips(query, name[:end]) for end in range(len(name) + 1))
    assert bool(best(query, [name], has_words=False)) == (slips(query, name) <= 2 or beginnings <= 1)
