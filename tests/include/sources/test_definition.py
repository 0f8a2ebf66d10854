import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from include.sources.definition import (
    Action,
    ColumnMapping,
    Condition,
    CsvOptions,
    Sources,
    SourcesError,
    load_sources,
    nearest,
)

ROOT = Path(__file__).parents[3]
CUSTOMERS = """
customers:
  connector: csv
  path: customers.csv
  columns: {client: client, download_date: created}
"""
SESSIONS = """
sessions:
  connector: csv
  path: sessions.csv
  columns: {id: id, client: client, session_start_date: date, has_purchased: bought, payment_amount: amount}
"""


def load(folder: Path, text: str) -> Sources:
    (folder / "sources.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
    return load_sources(folder / "sources.yaml")


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(SourcesError) as caught:
        load(folder, text)
    return caught.value.mistakes


def test_the_example_is_valid_and_shows_every_form() -> None:
    sources = load_sources(ROOT / "sources.example.yaml")
    assert [source.name for source in sources.all] == ["sessions", "customers", "products", "deliveries"]
    sessions = sources.sessions
    assert sessions.columns["id"] == ColumnMapping(columns=("order_no", "visit_no"))
    assert sessions.columns["has_purchased"].condition == Condition("status", "is", ("paid", "shipped"))
    assert sources.dimensions == ("region", "device")
    assert sessions.actions == (
        Action("viewed_product", "viewed_product", "boolean"),
        Action("added_to_basket", "basket_at", "instant"),
    )
    assert sources.customers.actions == (Action("first_login", "first_login", "instant"),)
    assert sessions.base_dir == ROOT


def test_needed_columns_are_all_that_is_mentioned_each_once(tmp_path: Path) -> None:
    sessions = load(
        tmp_path,
        """
        sessions:
          connector: csv
          path: sessions.csv
          columns:
            id: [client, date]
            client: client
            session_start_date: date
            has_purchased: {column: total, greater_than: 0}
            payment_amount: total
          dimensions: {area: region, device: device}
          actions: [viewed, {name: paid at, column: paid_on, type: timestamp}]
          changed_at: updated
          csv: {delimiter: "\\t", decimal: ",", date_format: "%d.%m.%Y", timezone: Europe/Berlin, encoding: cp1252}
        """
        + textwrap.dedent(CUSTOMERS).replace("\n", "\n        "),
    ).sessions
    assert sessions.needed_columns == ("client", "date", "total", "region", "device", "viewed", "paid_on", "updated")
    assert sessions.typed_columns == {
        "client": ("text", "client"),
        "session_start_date": ("instant", "date"),
        "payment_amount": ("money", "total"),
        "dimension_area": ("text", "region"),
        "dimension_device": ("text", "device"),
        "action_viewed": ("boolean", "viewed"),
        "action_paid at": ("instant", "paid_on"),
        "changed_at": ("instant", "updated"),
    }
    formats = {"session_start_date": "%d.%m.%Y", "action_paid at": "%d.%m.%Y", "changed_at": "%d.%m.%Y"}
    assert sessions.csv == CsvOptions("\t", "cp1252", ",", formats, "Europe/Berlin")


def test_date_formats_by_column(tmp_path: Path) -> None:
    text = SESSIONS.replace("path: sessions.csv", "path: s.csv\n  changed_at: u\n  csv: {date_format: {FORMATS}}")
    both = "{session_start_date: iso, changed_at: epoch_ms}"
    sources = load(tmp_path, text.replace("{FORMATS}", both) + CUSTOMERS)
    assert sources.sessions.csv.date_format == {"session_start_date": None, "changed_at": "epoch_ms"}
    wrong = "{session_start_date: dd.mm.yyyy, chnged_at: iso}"
    assert mistakes(tmp_path, text.replace("{FORMATS}", wrong) + CUSTOMERS) == [
        "sessions.csv.date_format.chnged_at: unknown date column; did you mean changed_at?",
        (
            "sessions.csv.date_format.session_start_date: 'dd.mm.yyyy' is no date format; write iso, epoch, "
            "epoch_ms or one like %d.%m.%Y %H:%M"
        ),
    ]


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        """
        sesions: {}
        sessions:
          connector: cvs
          pth: sessions.csv
          columns:
            id: [a, a]
            client: 12
            session_start_date: [day, hour]
            has_purchased: {column: status, is: []}
            paymnt_amount: amount
            end_date: {constant: 2024-01-01}
            promotion_id: voucher
          dimensions: [region, Region, "a.b", 2024]
          actions: [viewed, {name: viewed, column: other}, {column: x}, {name: paid, type: date}]
        products:
          connector: postgres
          path: products.csv
          columns: {order_id: order, product: order, price: price}
          dimensions: [category]
          actions: [x]
        deliveries: nothing
        """,
    )
    assert found == [
        "sesions: unknown source; did you mean sessions?",
        "sessions.pth: unknown key; did you mean path?",
        "sessions.connector: unknown connector cvs; did you mean csv?",
        "sessions.columns.paymnt_amount: unknown column; did you mean payment_amount?",
        "sessions.columns.id: the list names a column twice",
        "sessions.columns.client: this must be a text; write it in quotes, because YAML reads it as 12",
        (
            "sessions.columns.session_start_date: several columns can be joined for text only; "
            "session_start_date needs one column"
        ),
        "sessions.columns.has_purchased.is: the list is empty",
        "sessions.columns.payment_amount: missing; required: what was paid; may be empty where nothing was bought",
        "sessions.columns.end_date: end_date cannot be the same in every row; name one of your columns",
        "sessions.dimensions[2]: the dimension Region is there twice (upper and lower case are the same)",
        (
            "sessions.dimensions[3]: 'a.b' cannot name the dimension: only letters, digits, '_', '-' and spaces, at "
            "most 64, beginning with a letter or a digit and not ending in a space; write a mapping (our name: "
            "your column) to give it another name"
        ),
        "sessions.dimensions[4]: this must be a text; write it in quotes, because YAML reads it as 2024",
        "sessions.actions[2]: the action viewed is there twice (upper and lower case are the same)",
        "sessions.actions[3]: an action needs a name",
        "sessions.actions[4].type: unknown type; one of boolean, timestamp",
        "customers: this source is required and is missing",
        "products.path: the connector postgres reads a database; give a table or a query instead",
        "products.connection: missing; the Airflow connection of the postgres database",
        "products.table, products.query: one of them is missing",
        "products.columns.product: your column order is already mapped to order_id",
        "products.dimensions: only sessions have dimensions; remove it here",
        "products.actions: products have no actions; remove it here",
        "deliveries: this must be a mapping (key: value), not 'nothing'",
    ]


def test_the_error_lists_the_mistakes_one_a_line(tmp_path: Path) -> None:
    with pytest.raises(SourcesError) as caught:
        load(tmp_path, "sessions:\n")
    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'sources.yaml'}: 2 mistakes.",
        "  sessions: this must be a mapping (key: value), not nothing",
        "  customers: this source is required and is missing",
    ]


@pytest.mark.parametrize(
    ("written", "mistake"),
    [
        ("{}", "has_purchased: a condition has a column and exactly one of is, greater_than, not_empty"),
        ("{column: a}", "has_purchased: a condition has a column and exactly one of is, greater_than, not_empty"),
        ("{column: a, is: x, not_empty: true}", "has_purchased: a condition has a column and exactly one of is, "),
        ("{column: a, equals: x}", "has_purchased.equals: unknown key; one of constant, column, is, greater_than, "),
        ("{column: a, greater_than: x}", "has_purchased.greater_than: this must be a number, not 'x'"),
        ("{column: a, not_empty: false}", "has_purchased.not_empty: this can only be true, not false"),
        ("{column: a, contains: []}", "has_purchased.contains: the list is empty"),
        ("{column: a, contains: 5}", "has_purchased.contains[1]: this must be a text; write it in quotes, because"),
        ("{column: a, is: x, contains: x}", "has_purchased: a condition has a column and exactly one of is, "),
        ("{column: a, is: [yes]}", "has_purchased.is[1]: this must be a text; write it in quotes, because YAML reads"),
        ("{constant: 1}", "has_purchased.constant: this must be true or false, not 1"),
        ("{constant: true, column: a}", "has_purchased: a constant stands alone; remove the other keys"),
        ("[]", "has_purchased: several columns can be joined for text only"),
        ('""', "has_purchased: this must be a text, not an empty text"),
        ("~", "has_purchased: this must be a text, not nothing"),
    ],
)
def test_mistakes_in_conditions(tmp_path: Path, written: str, mistake: str) -> None:
    text = SESSIONS.replace("has_purchased: bought", f"has_purchased: {written}") + CUSTOMERS
    assert mistakes(tmp_path, text)[0].startswith(f"sessions.columns.{mistake}")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{constant: true}", ColumnMapping(constant=True)),
        ("{column: a, is: paid}", ColumnMapping(condition=Condition("a", "is", ("paid",)))),
        ("{column: a, greater_than: 0.5}", ColumnMapping(condition=Condition("a", "greater_than", 0.5))),
        ("{column: a, not_empty: true}", ColumnMapping(condition=Condition("a", "not_empty", True))),
        ("{column: a, contains: b}", ColumnMapping(condition=Condition("a", "contains", ("b",)))),
        ("{column: a, contains: [b, c]}", ColumnMapping(condition=Condition("a", "contains", ("b", "c")))),
    ],
)
def test_conditions(tmp_path: Path, written: str, expected: ColumnMapping) -> None:
    text = SESSIONS.replace("has_purchased: bought", f"has_purchased: {written}") + CUSTOMERS
    assert load(tmp_path, text).sessions.columns["has_purchased"] == expected


def test_actions_that_a_condition_makes(tmp_path: Path) -> None:
    text = (
        SESSIONS.rstrip()
        + """
  actions:
    - {name: viewed, column: events, contains: viewed}
    - {name: bought, column: events, contains: [paid, sent]}
    - {name: used voucher, column: voucher, not_empty: true}
    - {name: large, column: amount, greater_than: 100}
    - {name: seen, column: events}
"""
    )
    sessions = load(tmp_path, text + CUSTOMERS).sessions
    assert sessions.actions == (
        Action("viewed", "events", "boolean", Condition("events", "contains", ("viewed",))),
        Action("bought", "events", "boolean", Condition("events", "contains", ("paid", "sent"))),
        Action("used voucher", "voucher", "boolean", Condition("voucher", "not_empty", True)),
        Action("large", "amount", "boolean", Condition("amount", "greater_than", 100)),
        Action("seen", "events", "boolean"),
    )
    assert sessions.needed_columns == ("id", "client", "date", "bought", "amount", "events", "voucher")
    assert [name for name in sessions.typed_columns if name.startswith("action_")] == ["action_seen"]
    assert sessions.number_columns == ("amount",)


def test_mistakes_in_actions_that_a_condition_makes(tmp_path: Path) -> None:
    text = (
        SESSIONS.rstrip()
        + """
  actions:
    - {column: events, contains: viewed}
    - {name: viewed, contains: viewed}
    - {name: viewed, column: events, contains: viewed, is: viewed}
    - {name: viewed, column: events, contains: viewed, type: boolean}
    - {name: viewed, column: events, contain: viewed}
    - {name: viewed, column: events, contains: 7}
    - {name: bought, column: events, contains: paid}
    - {name: paid, column: events, contains: paid}
"""
    )
    operators = "is, greater_than, not_empty, contains"
    assert mistakes(tmp_path, text + CUSTOMERS) == [
        "sessions.actions[1]: an action needs a name",
        f"sessions.actions[2]: a condition has a column and exactly one of {operators}",
        f"sessions.actions[3]: a condition has a column and exactly one of {operators}",
        "sessions.actions[4].type: a condition makes a yes or no; remove the type",
        "sessions.actions[5].contain: unknown key; did you mean contains?",
        ("sessions.actions[6].contains[1]: this must be a text; write it in quotes, because YAML reads it as 7"),
        "sessions.actions[8]: your column events already makes another action",
    ]


@pytest.mark.parametrize(
    ("option", "mistake"),
    [
        ('delimiter: ";;"', "delimiter: ';;' is no delimiter; it is one character"),
        ("delimiter: a", "delimiter: 'a' is no delimiter"),
        ("delimiter: ,", "delimiter: this must be a text, not nothing"),
        ("encoding: latin-99", "encoding: unknown encoding 'latin-99'"),
        ("encoding: base64", "encoding: 'base64' is not an encoding of text"),
        ('decimal: "-"', "decimal: '-' is no decimal sign"),
        ("timezone: Europe/Berln", "timezone: unknown time zone 'Europe/Berln'; did you mean Europe/Berlin?"),
        ("timezone: /etc/passwd", "timezone: unknown time zone '/etc/passwd'"),
        (
            "date_format: 20240131",
            "date_format: this must be a text; write it in quotes, because YAML reads it as 2024",
        ),
        ("date_format: dd.mm.yyyy", "date_format: 'dd.mm.yyyy' is no date format"),
        ("delimeter: x", "delimeter: unknown key; did you mean delimiter?"),
    ],
)
def test_mistakes_in_csv_options(tmp_path: Path, option: str, mistake: str) -> None:
    found = mistakes(tmp_path, SESSIONS + f"  csv: {{{option}}}\n" + CUSTOMERS)
    assert len(found) == 1
    assert found[0].startswith(f"sessions.csv.{mistake}")


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        (
            "path: http://shop/sessions.csv",
            "sessions.path: http:// cannot be read; use a path on this machine, s3:// or",
        ),
        (
            "path: s3://key:secret@bucket/x.csv",
            "sessions.path: no credentials or connection in the path; put them in an",
        ),
        ("path: x.csv\n  table: x", "sessions.table: the connector csv reads files; give their path instead"),
        ("connection: x", "sessions.path: missing; a file, a folder or a pattern"),
        ("path: [a.csv, b.csv]", "sessions.path: this must be a text, not a list"),
    ],
)
def test_mistakes_in_where_files_are(tmp_path: Path, line: str, mistake: str) -> None:
    found = mistakes(tmp_path, SESSIONS.replace("path: sessions.csv", line) + CUSTOMERS)
    assert len(found) == 1
    assert found[0].startswith(mistake)
    assert "secret" not in found[0]


@pytest.mark.parametrize("connector", ["postgres", "bigquery", "redshift"])
def test_databases_need_a_connection_and_a_table_or_a_query(tmp_path: Path, connector: str) -> None:
    def with_(keys: str) -> str:
        return SESSIONS.replace("connector: csv\n  path: sessions.csv", f"connector: {connector}{keys}") + CUSTOMERS

    sessions = load(tmp_path, with_("\n  connection: shop\n  table: public.sessions")).sessions
    assert (sessions.connection, sessions.table, sessions.query) == ("shop", "public.sessions", None)
    assert load(tmp_path, with_("\n  connection: shop\n  query: SELECT 1")).sessions.query == "SELECT 1"
    assert mistakes(tmp_path, with_("\n  connection: shop\n  query: SELECT 1\n  table: x")) == [
        "sessions.table, sessions.query: both are given; keep one"
    ]
    assert mistakes(tmp_path, with_("\n  connection: shop\n  table: x\n  csv: {}")) == [
        f"sessions.csv: these options are for the connector csv, not for {connector}"
    ]


def test_a_key_written_twice_is_found_with_its_lines(tmp_path: Path) -> None:
    assert mistakes(tmp_path, SESSIONS + "  path: other.csv\n" + CUSTOMERS) == [
        "line 6: path is already on line 4; keep one of them"
    ]
    twice = SESSIONS.replace("{id: id, ", "{id: id, id: other, ")
    assert mistakes(tmp_path, twice + CUSTOMERS) == ["line 5: id is already on line 5; keep one of them"]


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"", "the file is empty; sources.example.yaml shows what belongs in it"),
        (b"# only a comment\n", "the file is empty; sources.example.yaml shows what belongs in it"),
        (b"- sessions\n", "the file must map the sources (sessions, customers, products, deliveries) to their"),
        (b"sessions:\n  path: x\n connector: csv\n", "line 3: this is not valid YAML: "),
        (
            b"sessions: !!python/object:os.system x\n",
            "line 1: this is not valid YAML: could not determine a constructor",
        ),
        (b"sessions: \x07\n", "this is not valid YAML: "),
        (b"sessions: \xff\n", "the file cannot be read: it is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_definition(tmp_path: Path, content: bytes, mistake: str) -> None:
    path = tmp_path / "sources.yaml"
    path.write_bytes(content)
    with pytest.raises(SourcesError) as caught:
        load_sources(path)
    assert caught.value.mistakes[0].startswith(mistake)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourcesError, match=r"there is no such file; copy sources.example.yaml there and adapt it"):
        load_sources(tmp_path / "sources.yaml")


def test_nearest() -> None:
    assert nearest("Amout", ["date", "amount"]) == "amount"
    assert nearest("xyz", ["date", "amount"]) == ""


def test_reading_it_is_light() -> None:
    code = f"""
import sys
from include.sources.definition import load_sources
load_sources({str(ROOT / "sources.example.yaml")!r})
heavy = {{"pandas", "pyarrow", "duckdb", "airflow", "numpy", "fsspec"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
