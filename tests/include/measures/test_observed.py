"""What counts up to a day: which sessions, which customers, in which order, in which calendar."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from include.measures.observed import Observed, definition, observed
from include.measures.periods import day_number
from include.measures.results import held, result
from include.staging.tables import Tables

AS_OF = date(2024, 3, 31)


def seen(tables: Tables) -> Observed:
    return observed(tables, as_of=AS_OF, top_values=25)


def test_days_are_those_of_the_business(tables: Tables) -> None:
    sessions = result(seen(tables).sessions).sort_values("id")
    # The fifth is at midnight in Berlin, and so on 1 April.
    assert sessions["id"].tolist() == ["1", "2", "3", "4"]
    days = [date(2024, 3, 30), date(2024, 3, 31), date(2024, 3, 31), date(2024, 3, 31)]
    assert sessions["day"].tolist() == [day_number(day) for day in days]
    assert sessions["hour"].tolist() == [23, 0, 12, 12]  # 10:00 UTC is noon after the clock change


def test_only_orders_have_an_amount(tables: Tables) -> None:
    sessions = result(seen(tables).sessions).sort_values("id")
    assert sessions["is_order"].tolist() == [True, True, True, False]
    assert sessions["amount"].tolist() == [Decimal(10), Decimal(0), Decimal(5), Decimal(0)]


def test_orders_are_numbered_by_instant_and_id(tables: Tables) -> None:
    orders = result(seen(tables).orders).sort_values(["client_code", "position"])
    assert orders[["client_code", "position"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 1]]
    assert orders["amount"].tolist() == [Decimal(10), Decimal(0), Decimal(5)]


def test_a_customer_counts_once_with_the_earliest_download(tables: Tables) -> None:
    customers = result(seen(tables).customers).sort_values("client_code")
    assert customers["client_code"].tolist() == [0, 1, 3]  # c downloads on 1 April
    assert customers["download_instant"].iloc[0] == datetime(2024, 3, 29)


def test_a_customer_belongs_to_the_value_of_the_first_session(tables: Tables) -> None:
    one = seen(tables)
    customers = result(one.customers_by_dimension)
    found = {(row.client_code, one.labels[row.dimension]) for row in customers.itertuples()}
    assert found == {
        (0, "all"), (0, "region: North"), (0, "device: app"),
        (1, "all"), (1, "region: East"), (1, "device: app"),
        (3, "all"), (3, "region: (unknown)"), (3, "device: (unknown)"),
    }  # fmt: skip


def test_held_rows_are_gone_afterwards(tables: Tables) -> None:
    sessions = seen(tables).sessions
    backend = sessions.get_backend()
    before = backend.con.execute("SELECT count(*) FROM duckdb_tables()").fetchall()
    with held(sessions) as table, held(table.filter(table.is_order)) as orders:
        assert result(orders.aggregate(n=orders.count()))["n"].tolist() == [3]
    assert backend.con.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == before


def test_the_definition_says_window_and_calendar(tables: Tables) -> None:
    said = definition(tables, as_of=AS_OF, more="1")
    assert said["window"] == "everything up to and including 2024-03-31"
    assert (said["time_zone"], said["week_start"], said["more"]) == ("Europe/Berlin", "monday", "1")
