"""Several sources of one kind in sources.yaml, and what they must agree on."""

import textwrap
from pathlib import Path

import pytest

from include.sources.definition import ColumnMapping, Sources, SourcesError, load_sources

ROOT = Path(__file__).parents[3]
CUSTOMERS = """
customers:
  connector: csv
  path: customers.csv
  columns: {client: client, download_date: created}
"""
SHOPS = """
sessions:
  - name: north
    connector: csv
    path: north.csv
    columns:
      id: [{constant: N}, order_no]
      client: client
      session_start_date: date
      has_purchased: bought
      payment_amount: amount
    dimensions: {region: region, shop: {constant: North}}
    actions: [viewed]
  - name: south
    connector: postgres
    connection: south
    table: orders
    columns: {id: id, client: client, session_start_date: date, has_purchased: {constant: true}, payment_amount: amount}
    dimensions: {device: device, shop: {constant: South}}
    changed_at: updated
"""


def load(folder: Path, text: str) -> Sources:
    (folder / "sources.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
    return load_sources(folder / "sources.yaml")


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(SourcesError) as caught:
        load(folder, text)
    return caught.value.mistakes


def test_a_list_gives_several_sources_of_one_kind(tmp_path: Path) -> None:
    sources = load(tmp_path, SHOPS + CUSTOMERS)
    assert [(one.name, one.kind.name) for one in sources.all] == [
        ("north", "sessions"),
        ("south", "sessions"),
        ("customers", "customers"),
    ]
    assert sources.dimensions == ("region", "shop", "device")
    north, south = sources.of_kind("sessions")
    assert north.columns["id"] == ColumnMapping(columns=("order_no",), prefix="N")
    assert (north.dimensions, north.constants) == ({"region": "region"}, {"shop": "North"})
    assert (south.connector, south.changed_at) == ("postgres", "updated")
    assert north.needed_columns == ("order_no", "client", "date", "bought", "amount", "region", "viewed")
    assert sources.named("south") is south


def test_the_documentation_s_example_is_valid(tmp_path: Path) -> None:
    blocks = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8").split("```yaml\n")[1:]
    (text,) = (block.partition("```")[0] for block in blocks if "name: north" in block)
    sources = load(tmp_path, text + CUSTOMERS)
    assert [one.name for one in sources.of_kind("sessions")] == ["north", "south"]


def test_a_single_source_may_have_a_name_too(tmp_path: Path) -> None:
    sources = load(tmp_path, SHOPS + CUSTOMERS.replace("connector", "name: people\n  connector"))
    assert sources.customers.name == "people"


def test_mistakes_say_which_source_of_the_list(tmp_path: Path) -> None:
    text = SHOPS.replace("      client: client\n", "").replace("table: orders", "tbl: orders")
    assert mistakes(tmp_path, text + CUSTOMERS) == [
        "sessions[1].columns.client: missing; required: who the session belongs to",
        "sessions[2].tbl: unknown key; did you mean table?",
        "sessions[2].table, sessions[2].query: one of them is missing",
    ]
    assert mistakes(tmp_path, "sessions: []" + CUSTOMERS) == ["sessions: the list is empty; give at least one source"]
    assert mistakes(tmp_path, "sessions: [5]" + CUSTOMERS) == [
        "sessions[1]: this must be a mapping (key: value), not 5"
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "missing; each source of a list has a name, such as sessions_north"),
        ("name: North", "North is already the name of sessions[1]; every source has a name of its own"),
        ("name: a b", "'a b' cannot name a source: only letters a to z, digits, '_' and '-', at most 64, beginning "),
        ("name: publish", "publish is the name of something else; use another, such as sessions_north"),
        ("name: products", "products is the name of something else; use another, such as sessions_north"),
        ("name: 7", "this must be a text; write it in quotes, because YAML reads it as 7"),
    ],
)
def test_names_tell_the_sources_apart(tmp_path: Path, name: str, said: str) -> None:
    text = SHOPS.replace("- name: south\n    connector", f"- {name}\n    connector" if name else "- connector")
    (found,) = mistakes(tmp_path, text + CUSTOMERS)
    assert found.startswith(f"sessions[2].name: {said}")


TIMESTAMP = "{name: viewed, type: timestamp}"
NOT_A_TEXT = "this must be a text; write it in quotes, because YAML reads it as 5"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("device: device,", "Region: area,", "sessions: south: the dimension Region is called region in north"),
        (
            "changed_at: updated",
            f"actions: [{TIMESTAMP}]",
            "sessions: south: the action viewed is a timestamp here and yes or no in north; give one of them another n",
        ),
        ("changed_at: updated", "actions: [Viewed]", "sessions: south: the action Viewed is called viewed in north"),
        ("constant: South", "constnt: South", "sessions[2].dimensions.shop.constnt: unknown key; did you mean "),
        ("constant: South", "constant: 5", f"sessions[2].dimensions.shop.constant: {NOT_A_TEXT}"),
        ("N}, order_no", "N}", "sessions[1].columns.id: the list is empty; name at least one of your columns"),
        ("N}, order_no", "N}, {constant: M}, x", "sessions[1].columns.id[2]: this must be a text, not a mapping"),
    ],
)
def test_what_is_called_alike_must_be_alike(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert any(one.startswith(said) for one in mistakes(tmp_path, SHOPS.replace(old, new) + CUSTOMERS))


def test_lines_have_a_key_in_all_sources_or_in_none(tmp_path: Path) -> None:
    text = SHOPS + CUSTOMERS + """
products:
  - name: till
    connector: csv
    path: till.csv
    columns: {order_id: order, product: product, price: price, line_id: line}
  - name: web
    connector: csv
    path: web.csv
    columns: {order_id: order, product: product, price: price}
"""  # fmt: skip
    assert mistakes(tmp_path, text) == ["products: line_id is missing in web; map it in all or in none"]
    till, web = load(tmp_path, text.replace("price: price}", "price: price, line_id: number}")).of_kind("products")
    assert till.key == web.key == ("order_id", "line_id")
