"""Profiles against a second computation, in pandas, on the frames that the index was loaded from."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from elasticsearch import Elasticsearch

import configs
from include.dashboards import profiles
from include.dashboards.boards import read_dashboard
from include.dashboards.dashboard import dashboard, dashboards
from include.dashboards.notes import EVERY, Content, save_note
from include.dashboards.profiles import UnknownProfile, read_profile
from include.elastic.client import ElasticsearchProblem, connect
from include.elastic.reports import read_rows
from tests.published_reports import AS_OF, EVIL, RUN_ID, customer_scores, shop

Profile = dict[str, Any]
NORTH = "region: North"


@pytest.fixture(scope="module")
def sessions() -> pd.DataFrame:
    return shop().sessions.to_pandas().astype({"payment_amount": float, "discount_amount": float})


@pytest.fixture(scope="module")
def basket() -> pd.DataFrame:
    return shop().basket.to_pandas().astype({"price": float})


@pytest.fixture(scope="module")
def orders(sessions: pd.DataFrame) -> pd.DataFrame:
    return sessions[sessions["has_purchased"]]


def panel(profile: Profile, title: str) -> dict[str, Any]:
    (found,) = [one for one in profile["panels"] if one["title"] == title]
    assert found["reason"] == ""
    return dict(found)


def figures(profile: Profile) -> dict[str, float]:
    return {tile["label"]: tile["value"] for tile in panel(profile, "Key figures")["tiles"]}


def series(profile: Profile, title: str, field: str) -> pd.Series:
    """The days of a chart; that it draws what its table has is seen in its specification."""
    shown = panel(profile, title)
    drawn = shown["spec"]["data"]["values"]
    assert [(row["x"], row["value"]) for row in drawn] == [(row["period"], row[field]) for row in shown["rows"]]
    found = pd.Series({row["period"]: float(row[field]) for row in shown["rows"]})
    days = pd.date_range(found.index[0], found.index[-1]).strftime("%Y-%m-%d")
    assert list(found.index) == list(days)  # none is left out
    return found[found != 0]


def days_of(rows: pd.DataFrame) -> pd.Series:
    local = rows["session_start_date"].dt.tz_localize("UTC").dt.tz_convert(configs.BUSINESS_TIMEZONE)
    return local.dt.strftime("%Y-%m-%d")


def by_day(rows: pd.DataFrame, amounts: pd.Series) -> pd.Series:
    found = amounts.groupby(days_of(rows)).sum().astype(float)
    return found[found != 0]


def equal(found: pd.Series, expected: pd.Series) -> None:
    pd.testing.assert_series_equal(found, expected, check_names=False, check_index_type=False)


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "BUSINESS_TIMEZONE", request.param)


@pytest.mark.usefixtures("_zone")
def test_a_dimension_value(client: Elasticsearch, sessions: pd.DataFrame) -> None:
    profile = read_profile(client, "dimension", NORTH)
    own = sessions[sessions["dimension_region"] == "North"]
    bought = own[own["has_purchased"]]
    assert figures(profile) == pytest.approx(
        {
            "Sessions": len(own),
            "Orders": len(bought),
            "Customers": own["client"].nunique(),
            "Revenue": bought["payment_amount"].sum(),
            "Discount": bought["discount_amount"].sum(),
            "Average order value": bought["payment_amount"].mean(),
        }
    )
    equal(series(profile, "Daily orders", "orders"), by_day(bought, bought["has_purchased"]))
    equal(series(profile, "Daily revenue", "revenue"), by_day(bought, bought["payment_amount"]))
    seen = own.assign(day=days_of(own)).drop_duplicates(["day", "client"])
    equal(series(profile, "Daily customers", "customers"), by_day(seen, seen["client"].notna()))


def test_the_dashboards_of_a_dimension_value(client: Elasticsearch) -> None:
    links = read_profile(client, "dimension", NORTH)["links"]
    names = [link["name"] for link in links]
    assert {"overview", "descriptive_statistics", "cohorts"} <= set(names)
    for one in dashboards():
        assert (NORTH in read_dashboard(client, one)["dimensions"]) == (one.name in names)


@pytest.mark.parametrize("page_size", [10_000, 7])
@pytest.mark.parametrize("product", ["product 1", f"{EVIL}3"])
def test_a_product(
    client: Elasticsearch,
    orders: pd.DataFrame,
    basket: pd.DataFrame,
    product: str,
    page_size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(configs, "MAX_RESULT_WINDOW", page_size)
    profile = read_profile(client, "product", product)
    lines = basket[basket["product"] == product].merge(orders, left_on="order_id", right_on="id")
    amounts = lines["price"] * lines["quantity"]
    with_it = orders[orders["id"].isin(lines["order_id"])]
    assert figures(profile) == pytest.approx(
        {
            "Orders": len(with_it),
            "Customers": with_it["client"].nunique(),
            "Units": lines["quantity"].sum(),
            "Product revenue": amounts.sum(),
            "Discount of whole orders": with_it["discount_amount"].sum(),
            "Share of orders": len(with_it) / orders["id"].isin(basket["order_id"]).sum(),
        }
    )
    equal(series(profile, "Daily orders", "orders"), by_day(with_it, with_it["has_purchased"]))
    equal(series(profile, "Daily product revenue", "product_revenue"), by_day(lines, amounts))
    equal(series(profile, "Daily units", "units"), by_day(lines, lines["quantity"]))
    promotions = with_it["promotion_id"].value_counts()
    found = panel(profile, "Promotions it was sold with")["rows"]
    assert {row["promotion_id"]: row["orders"] for row in found} == promotions.to_dict()
    assert all(row["rate"] == pytest.approx(row["orders"] / len(with_it)) for row in found)
    together = panel(profile, "Bought together")
    assert together["notes"] == [f"From the report of {AS_OF}, run {RUN_ID}."]
    others = basket[basket["order_id"].isin(with_it["id"]) & (basket["product"] != product)]
    expected = others.groupby("product")["order_id"].nunique()
    for row in together["rows"]:
        assert row["orders"] == expected[row["other_product"]]
        assert row["product_orders"] == len(with_it)
        assert row["confidence"] == pytest.approx(row["orders"] / len(with_it))
    assert len(together["rows"]) == len(expected)


def test_of_many_orders_the_newest_are_read_and_the_profile_says_so(
    client: Elasticsearch, orders: pd.DataFrame, basket: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "BASKETS_READ", 100)
    profile = read_profile(client, "product", "product 1")
    lines = basket[basket["product"] == "product 1"].merge(orders, left_on="order_id", right_on="id")
    newest = lines.sort_values("session_start_date")["order_id"].iloc[-100:]
    read = lines[lines["order_id"].isin(newest)]
    assert figures(profile)["Orders"] == len(lines)
    assert figures(profile)["Units"] == read["quantity"].sum()
    shown = panel(profile, "Daily units")
    assert shown["notes"] == [f"Units and product revenue count the newest 100 of {len(lines)} orders."]
    # Only days of which every order was read.
    first = shown["rows"][0]["period"]
    whole = lines[lines["session_start_date"] >= first]
    equal(series(profile, "Daily units", "units"), by_day(whole, whole["quantity"]))
    assert len(panel(profile, "Daily orders")["rows"]) > len(shown["rows"])


def test_a_category(client: Elasticsearch, orders: pd.DataFrame, basket: pd.DataFrame) -> None:
    profile = read_profile(client, "category", "category 1")
    lines = basket[basket["category"] == "category 1"].merge(orders, left_on="order_id", right_on="id")
    lines["amount"] = lines["price"] * lines["quantity"]
    assert figures(profile)["Orders"] == lines["order_id"].nunique()
    assert figures(profile)["Product revenue"] == pytest.approx(lines["amount"].sum())
    expected = lines.groupby("product").agg(orders=("order_id", "nunique"), amount=("amount", "sum"))
    found = panel(profile, "Products of the category")["rows"]
    assert {row["product"]: row["orders"] for row in found} == expected["orders"].to_dict()
    assert {row["product"]: row["product_revenue"] for row in found} == pytest.approx(expected["amount"].to_dict())
    assert found == sorted(found, key=lambda row: -row["product_revenue"])


@pytest.mark.parametrize("promotion", ["SPRING", EVIL])
def test_a_promotion(client: Elasticsearch, orders: pd.DataFrame, basket: pd.DataFrame, promotion: str) -> None:
    profile = read_profile(client, "promotion", promotion)
    own = orders[orders["promotion_id"] == promotion]
    revenue, discount = own["payment_amount"].sum(), own["discount_amount"].sum()
    assert figures(profile) == pytest.approx(
        {
            "Orders": len(own),
            "Customers": own["client"].nunique(),
            "Revenue": revenue,
            "Discount": discount,
            "Discount depth": discount / (revenue + discount),
            "Average order value": revenue / len(own),
        }
    )
    equal(series(profile, "Daily orders", "orders"), by_day(own, own["has_purchased"]))
    equal(series(profile, "Daily revenue", "revenue"), by_day(own, own["payment_amount"]))
    equal(series(profile, "Daily discount", "discount"), by_day(own, own["discount_amount"]))
    says = panel(profile, "What the analysis of promotions says")
    assert says["rows"] == read_rows(client, "promotion_analytics", "promotions", "all", {"promotion_id": promotion})
    lines = basket[basket["order_id"].isin(own["id"])]
    found = panel(profile, "Products in its orders")["rows"]
    assert {row["product"]: row["orders"] for row in found} == lines.groupby("product")["order_id"].nunique().to_dict()


def test_a_client(client: Elasticsearch, sessions: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = customer_scores(shop(), AS_OF).set_index("client")
    name = sessions[sessions["has_purchased"]]["client"].value_counts().index[0]
    own = sessions[sessions["client"] == name].sort_values("session_start_date", ascending=False)
    bought = own[own["has_purchased"]]
    profile = read_profile(client, "client", name)
    assert figures(profile) == pytest.approx(
        {
            "Sessions": len(own),
            "Orders": len(bought),
            "Revenue": bought["payment_amount"].sum(),
            "Discount": bought["discount_amount"].sum(),
            "Average order value": bought["payment_amount"].mean(),
        }
    )
    equal(series(profile, "Daily orders", "orders"), by_day(bought, bought["has_purchased"]))
    timeline = panel(profile, "Timeline")["rows"]
    visits = [row for row in timeline if row["event"] in ("Order", "Session")]
    assert [(row["moment"], row["payment_amount"]) for row in visits] == [
        (moment.strftime("%Y-%m-%d %H:%M"), amount if is_order else None)
        for moment, amount, is_order in own[["session_start_date", "payment_amount", "has_purchased"]].itertuples(
            index=False
        )
    ]
    assert [row["event"] for row in timeline].count("Download") == 1
    scored = next(row for row in timeline if row["event"] == "Scored")
    ahead = [row for row in timeline if row["event"] == "Expected"]
    assert (scored["moment"], scored == timeline[len(ahead)]) == (AS_OF.isoformat(), True)
    told = {row["score"]: row for row in panel(profile, "Scores")["rows"]}
    expected = scores.loc[name]
    assert told["P(alive)"]["value"] == f"{expected['probability_alive']:.1%}"
    assert told["Lifetime value"]["number"] == pytest.approx(expected["clv"])
    assert told["RFM segment"]["value"] == expected["rfm_segment"]
    assert told["Frequency"] | {"meaning": ""} == {
        "score": "Frequency",
        "value": str(len(bought)),
        "unit": "orders",
        "as_of": AS_OF.isoformat(),
        "meaning": "",
        "number": len(bought),
    }
    assert {row["as_of"] for row in told.values()} == {AS_OF.isoformat()}
    for row in panel(profile, "Expected orders")["rows"]:
        for end in ("", "_low", "_high"):
            stored = expected[f"expected_orders_{row['horizon_days']}_days{end}"]
            assert row[f"expected_orders{end}"] == pytest.approx(stored)

    def written(what: str, days: int, digits: int) -> str:
        value, low, high = (expected[f"expected_{what}_{days}_days{end}"] for end in ("", "_low", "_high"))
        unit = " orders" if what == "orders" else ""
        return f"{value:,.{digits}f}{unit} ({low:,.{digits}f}–{high:,.{digits}f})"

    assert timeline[: len(ahead)] == ahead
    assert [(row["moment"], row["details"]) for row in ahead] == [
        (
            (AS_OF + timedelta(days)).isoformat(),
            f"in {days} days: {written('orders', days, 1)}, revenue {written('revenue', days, 0)}",
        )
        for days in (180, 90, 30, 7)
    ]
    monkeypatch.setattr(profiles, "SESSIONS_SHOWN", 2)
    few = panel(read_profile(client, "client", name), "Timeline")
    assert few["notes"] == [f"Shown are the newest 2 of {len(own)} sessions."]
    assert len([row for row in few["rows"] if row["event"] in ("Order", "Session")]) == 2


def test_a_client_who_never_came(client: Elasticsearch, sessions: pd.DataFrame) -> None:
    name = next(name for name in (f"c{number:03}" for number in range(300)) if name not in set(sessions["client"]))
    profile = read_profile(client, "client", name)
    assert profile["summary"].endswith("No order yet.")
    assert figures(profile)["Sessions"] == 0
    reasons = {one["title"]: one["reason"] for one in profile["panels"]}
    assert reasons["Scores"].startswith("No run has scored this client: only clients who ordered")
    assert reasons["Expected orders"].startswith("No run has predicted for this client")
    assert reasons["Daily orders"] == "There are no orders of this client."
    assert [row["event"] for row in panel(profile, "Timeline")["rows"]] == ["Download"]


def test_only_the_newest_days_are_drawn(client: Elasticsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "ACTIVITY_KEPT_DAYS", 30)
    shown = panel(read_profile(client, "dimension", NORTH), "Daily orders")
    assert (len(shown["rows"]), shown["rows"][-1]["period"]) == (30, "2024-05-29")
    assert shown["notes"][0].startswith("Shown are the newest 30 of ")


@pytest.mark.parametrize("kind", ["client", "product", "category", "promotion", "dimension"])
@pytest.mark.parametrize("name", ["gone", "", '../%2f"<b>😀', "x" * 40_000])
def test_what_is_gone_is_one_sentence(client: Elasticsearch, kind: str, name: str) -> None:
    with pytest.raises(
        UnknownProfile, match=r"^Nothing that is loaded has the .* \(any more\); search for it again\.$"
    ):
        read_profile(client, kind, name)


def test_a_kind_that_there_is_not(client: Elasticsearch) -> None:
    with pytest.raises(UnknownProfile, match="There are no profiles of the kind 'shop'; there are those of client,"):
        read_profile(client, "shop", "x")


def test_nothing_loaded_and_no_reports(client: Elasticsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "REPORTS_LATEST", "no-reports")
    reasons = {one["title"]: one["reason"] for one in read_profile(client, "product", "product 1")["panels"]}
    assert reasons["Bought together"] == "No run has written a report of product_analytics yet."
    monkeypatch.setattr(configs, "INDEX_PREFIX", "none-")
    for kind in ("client", "product", "dimension"):
        with pytest.raises(UnknownProfile):
            read_profile(client, kind, "product 1")


def test_a_node_that_is_gone_is_a_sentence() -> None:
    with (
        connect("http://127.0.0.1:1") as nobody,
        pytest.raises(ElasticsearchProblem, match="did not answer while reading the profile of a client"),
    ):
        read_profile(nobody, "client", "c001")


# ── Notes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def pinned(shown: Profile) -> dict[str, list[str]]:
    """The notes of each chart over days, in the list; those drawn are the same, as all are on days of the chart."""
    found = {}
    for one in shown["panels"]:
        assert one["takes_notes"] == one["title"].startswith("Daily"), one["title"]
        if one["takes_notes"]:
            layers = [layer["data"] for layer in one["spec"]["layer"] if layer.get("data", {}).get("name") == "notes"]
            drawn = [id_ for data in layers for mark in data["values"] for id_ in mark["ids"]]
            assert sorted(drawn) == sorted(note["id"] for note in one["pinned"])
            found[one["title"]] = [note["text"] for note in one["pinned"]]
    return found


def pin(client: Elasticsearch, text: str, panel: str, about: str, day: str = "2024-05-14") -> None:
    content = Content(panel, about, day, text)
    id_ = text.replace(" ", "-").ljust(8, "-")
    save_note(client, id_, content, author="ada", now=datetime(2024, 5, 30, tzinfo=UTC))


@pytest.mark.usefixtures("no_notes")
def test_notes_on_a_products_charts(client: Elasticsearch) -> None:
    profile = read_profile(client, "product", "product 1")
    (daily,) = (one for one in profile["panels"] if one["title"] == "Daily units")
    pin(client, "of this product", daily["notes_panel"], profile["notes_about"])
    pin(client, "of every product", daily["notes_panel"], EVERY)
    pin(client, "of everything", EVERY, EVERY)
    pin(client, "of the whole shop", EVERY, "all")
    pin(client, "of another", daily["notes_panel"], "product: product 2")
    everywhere = {"of everything"}
    found = {title: set(texts) for title, texts in pinned(read_profile(client, "product", "product 1")).items()}
    assert found == {
        "Daily orders": everywhere,
        "Daily product revenue": everywhere,
        "Daily units": everywhere | {"of this product", "of every product"},
    }
    other = pinned(read_profile(client, "product", "product 2"))
    assert set(other["Daily units"]) == everywhere | {"of every product", "of another"}
    # Another kind's charts are others, also where the name is the same.
    assert set(pinned(read_profile(client, "category", "category 1"))["Daily units"]) == everywhere


@pytest.mark.usefixtures("no_notes")
def test_a_dimension_value_has_the_same_notes_on_its_profile_and_on_dashboards(client: Elasticsearch) -> None:
    profile = read_profile(client, "dimension", NORTH)
    panels = {one["title"]: one for one in profile["panels"]}
    pin(client, "from the profile", panels["Daily orders"]["notes_panel"], profile["notes_about"])
    pin(client, "from a dashboard", "descriptive_statistics.activity.1", NORTH)
    pin(client, "on every chart", EVERY, NORTH)
    pin(client, "of the total", "descriptive_statistics.activity.1", "all")
    pin(client, "of revenue", panels["Daily revenue"]["notes_panel"], NORTH)
    shown = read_dashboard(client, dashboard("descriptive_statistics"), NORTH)["panels"]
    on_dashboard = {one["id"]: {note["text"] for note in one["pinned"]} for one in shown}
    of_orders = {"from the profile", "from a dashboard", "on every chart"}
    assert on_dashboard["descriptive_statistics.activity.1"] == of_orders
    found = {title: set(texts) for title, texts in pinned(read_profile(client, "dimension", NORTH)).items()}
    assert found == {
        "Daily orders": of_orders,
        "Daily revenue": {"on every chart", "of revenue"},
        "Daily customers": {"on every chart"},
    }
    # Both draw the same numbers, on the days that both have.
    (daily,) = (one for one in shown if one["id"] == "descriptive_statistics.activity.1")
    of_dashboard = {row["period"]: row["orders"] for row in daily["rows"]}
    of_profile = {row["period"]: row["orders"] for row in panels["Daily orders"]["rows"]}
    assert {day: of_profile[day] for day in of_dashboard if day in of_profile} == {
        day: orders for day, orders in of_dashboard.items() if day in of_profile
    }


@pytest.mark.usefixtures("no_notes")
def test_a_profile_says_how_many_notes_it_left_out(client: Elasticsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.dashboards.notes.NOTES_AT_MOST", 1)
    pin(client, "the older", EVERY, EVERY, "2024-05-13")
    pin(client, "the newer", EVERY, EVERY, "2024-05-14")
    shown = panel(read_profile(client, "client", "c012"), "Daily orders")
    assert [note["text"] for note in shown["pinned"]] == ["the newer"]
    assert shown["notes"] == ["Older notes on the charts of this profile are left out: 1."]
