"""Products: what is ordered most, when, at which prices, and what is bought together.

    sessions, basket  ->  products and categories with orders, customers, revenue, share and ABC class; by hour and by
                          day; pairs bought together; price points; key figures of the baskets

A basket line belongs to the session whose id is its order_id. Only lines of orders count; those of unknown sessions, or
of sessions that did not end in an order, are counted in the header. Several lines of one product in an order are one
order of it, and their units add up. *Product revenue* is price x quantity of the lines, before any discount of the
order; it need not add up to the payments. The *allocated discount* is the order's discount, shared out over its lines
by their product revenue.

The *share of orders* of a product is out of the orders that have a basket. The *ABC class* follows the product revenue:
A are the best sellers up to ABC_A_SHARE of all of it (the one that crosses the limit included), B those up to
ABC_B_SHARE, C the rest; products of equal revenue are of the same class.

Of two products bought together the report gives

    support = orders with both / orders with a basket
    confidence of "product, then other" = orders with both / orders with the product, and the other way round
    lift = orders with both x orders with a basket / (orders with the product x orders with the other)

with Wilson's intervals for the first two, and for the lift that of its logarithm by the delta method (see
`include/measures/lift.py`). A lift whose interval includes 1 may be chance. So that the work stays bounded, pairs are
searched among the PAIR_PRODUCTS products with most orders that are in at least PAIR_PRODUCT_MIN_ORDERS orders, and kept
from PAIR_MIN_ORDERS orders on: the PAIRS_KEPT with the highest lower end of the lift, and the PAIRS_KEPT with most
orders. Many pairs are looked at, so a few intervals exclude 1 by chance alone.

A price point is a unit price at which a product was sold. More units at a lower price do not show what a lower price
would do: prices change with the season, with promotions and with who buys.
"""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

import configs
from include.dashboards.panel import Panel
from include.measures.dimension import CODE, UNKNOWN, by_dimension
from include.measures.lift import lift
from include.measures.observed import Observed, definition, observed
from include.measures.periods import as_dates, day_number, every_day, first_days
from include.measures.rates import wilson_interval, with_rate
from include.measures.reporting import finished_report, without_rows
from include.measures.results import held, ratio, result
from include.measures.row_limit import fitting
from include.schemas.reports import Field, Report, ReportType
from include.staging.tables import MONEY, Tables

if TYPE_CHECKING:
    import ibis.expr.types as ir

READS = ("sessions", "basket")
CLASSES = ("A", "B", "C")

FIELDS: dict[str, Field] = {
    "product": Field("keyword", "the product"),
    "category": Field("keyword", "the category; of a product with several the first by name"),
    "other_product": Field("keyword", "the other product of the pair"),
    "product_pair": Field("keyword", "both products of the pair"),
    "units": Field("double", "quantity of the basket lines", "units"),
    "product_revenue": Field("double", "price x quantity of the basket lines, before discounts", "currency"),
    "product_revenue_share": Field("double", "product revenue / product revenue of all products", "share"),
    "allocated_discount": Field("double", "the orders' discount, shared out by product revenue", "currency"),
    "abc_class": Field("keyword", "A, B or C by product revenue"),
    "units_per_order": Field("double", "units / orders with the product", "units"),
    "price_per_unit": Field("double", "product revenue / units", "currency"),
    "orders_per_product_customer": Field("double", "orders with the product / customers who bought it", "orders"),
    "repeat_buyers": Field("long", "customers with two or more orders of it", "customers"),
    "repeat_buyer_rate": Field("double", "repeat buyers / customers", "share"),
    "repeat_buyer_ci_low": Field("double", "lower end of the interval of the repeat buyer rate", "share"),
    "repeat_buyer_ci_high": Field("double", "upper end of the interval of the repeat buyer rate", "share"),
    "products": Field("long", "distinct products sold", "products"),
    "item_orders_per_day": Field("double", "mean orders with it in this hour of a day, over all days", "orders"),
    "basket_orders": Field("long", "orders with at least one basket line", "orders"),
    "products_per_basket": Field("double", "mean number of distinct products of a basket", "products"),
    "units_per_basket": Field("double", "units / baskets", "units"),
    "revenue_per_basket": Field("double", "product revenue / baskets", "currency"),
    "product_orders": Field("long", "orders with the product", "orders"),
    "other_product_orders": Field("long", "orders with the other product", "orders"),
    "confidence": Field("double", "orders with both / orders with the product", "share"),
    "confidence_ci_low": Field("double", "lower end of its interval", "share"),
    "confidence_ci_high": Field("double", "upper end of its interval", "share"),
    "reverse_confidence": Field("double", "orders with both / orders with the other product", "share"),
    "reverse_confidence_ci_low": Field("double", "lower end of its interval", "share"),
    "reverse_confidence_ci_high": Field("double", "upper end of its interval", "share"),
    "lift": Field("double", "how much more often together than if independent; 1 is independence"),
    "lift_ci_low": Field("double", "lower end of the interval of the lift"),
    "lift_ci_high": Field("double", "upper end of the interval of the lift"),
    "unit_price": Field("double", "price of one unit", "currency"),
    "first_sold": Field("date", "day of the first order at this price"),
    "last_sold": Field("date", "day of the last order at this price"),
}

RATE = ("rate", "numerator", "denominator", "ci_low", "ci_high")
ITEM = (
    "abc_class", "orders", "customers", "units", "product_revenue", "product_revenue_share", "allocated_discount",
    "units_per_order", "price_per_unit", "orders_per_product_customer", "repeat_buyers", "repeat_buyer_rate",
    "repeat_buyer_ci_low", "repeat_buyer_ci_high", *RATE,
)  # fmt: skip
PLURALS = {"product": "products", "category": "categories"}


def _item_reports(item: str) -> tuple[ReportType, ...]:
    """Of products or of categories: the table, the hours, the days."""
    plural = PLURALS[item]
    bar = partial(Panel, mark="bar", x=item, x_title=item.capitalize(), sort="descending", limit=20)
    names = (item, "category") if item == "product" else (item,)
    return (
        ReportType(
            plural,
            f"Most ordered {plural}",
            ("dimension", *names, *ITEM),
            ("dimension", item),
            (
                bar(f"Most ordered {plural}", y="orders", y_title="Orders", how_to_read=f"Orders with the {item}."),
                bar(
                    f"Revenue per {item}",
                    y="product_revenue",
                    y_title="Amount (currency)",
                    format="money",
                    how_to_read=f"Price x quantity of the {item}, before discounts.",
                ),
                Panel(
                    title=f"All figures per {item}",
                    mark="table",
                    y="orders",
                    columns=(
                        item, "abc_class", "orders", "customers", "units", "product_revenue", "product_revenue_share",
                        "price_per_unit", "rate", "repeat_buyer_rate",
                    ),
                    limit=50,
                    width=12,
                    how_to_read=f"The {plural} with most orders; the rate is the share of baskets with the {item}.",
                ),
            ),
        ),
        ReportType(
            f"{item}_hours",
            f"{plural.capitalize()} per hour of a day",
            ("dimension", item, "hour_of_day", "orders", "units", "product_revenue", "item_orders_per_day", *RATE, "n"),
            ("dimension", item, "hour_of_day"),
            (
                Panel(
                    title=f"When {plural} are ordered",
                    mark="heatmap",
                    x="hour_of_day",
                    y="rate",
                    breakdown=item,
                    color="rate",
                    x_title="Hour of day (0-23)",
                    y_title=item.capitalize(),
                    format="percent",
                    width=12,
                    how_to_read=f"The share of the baskets of an hour (column) that have the {item} (row).",
                ),
            ),
        ),
        ReportType(
            f"{item}_days",
            f"{plural.capitalize()} per day",
            (
                "dimension", item, "granularity", "period", "is_complete", "orders", "units", "product_revenue", *RATE,
            ),
            ("dimension", item, "granularity", "period"),
            tuple(
                Panel(
                    title=f"{name} per {item}",
                    mark="line",
                    x="period",
                    y=y,
                    breakdown=item,
                    x_title="Day",
                    y_title=y_title,
                    format=shape,  # type: ignore[arg-type]
                    how_to_read=f"{text}, for the {plural} with most orders.",
                )
                for name, y, y_title, shape, text in (
                    ("Daily orders", "orders", "Orders", "number", f"Orders of a day with the {item}"),
                    ("Daily revenue", "product_revenue", "Amount (currency)", "money", "Product revenue of a day"),
                )
            ),
        ),
    )  # fmt: skip


REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "baskets",
        "Key figures of the baskets",
        (
            "dimension", "orders", "basket_orders", "customers", "products", "units", "product_revenue",
            "products_per_basket", "units_per_basket", "revenue_per_basket", *RATE,
        ),
        ("dimension",),
        tuple(
            Panel(title=title, mark="metric", y=y, format=shape, width=2, how_to_read=text)  # type: ignore[arg-type]
            for title, y, shape, text in (
                ("Products sold", "products", "number", "How many different products were ordered."),
                ("Units sold", "units", "number", "The quantity of all basket lines."),
                ("Product revenue", "product_revenue", "money", "Price x quantity of all lines, before discounts."),
                ("Products per basket", "products_per_basket", "decimal", "Different products of a mean basket."),
                ("Product revenue per basket", "revenue_per_basket", "money", "What a mean basket is worth."),
                ("Orders with a basket", "rate", "percent", "The share of orders for which basket lines are known."),
            )
        ),
    ),
    *_item_reports("product"),
    *_item_reports("category"),
    ReportType(
        "abc_classes",
        "ABC classes",
        ("dimension", "abc_class", "products", "product_revenue", "product_revenue_share", *RATE),
        ("dimension", "abc_class"),
        (
            Panel(
                title="ABC classes",
                mark="table",
                y="product_revenue",
                columns=("abc_class", "products", "rate", "product_revenue", "product_revenue_share"),
                width=12,
                how_to_read="How few products make most of the revenue; the rate is the class's share of the products.",
            ),
        ),
    ),
    ReportType(
        "product_pairs",
        "Products bought together",
        (
            "dimension", "product", "other_product", "product_pair", "orders", "product_orders",
            "other_product_orders", *RATE, "confidence", "confidence_ci_low", "confidence_ci_high",
            "reverse_confidence", "reverse_confidence_ci_low", "reverse_confidence_ci_high", "lift", "lift_ci_low",
            "lift_ci_high",
        ),
        ("dimension", "product", "other_product"),
        (
            Panel(
                title="Most combined products",
                mark="bar",
                x="product_pair",
                y="orders",
                x_title="Products",
                y_title="Orders with both",
                sort="descending",
                limit=20,
                how_to_read="The pairs in most orders; popular products are among them even where nothing ties them.",
            ),
            Panel(
                title="Strongest pairs",
                mark="bar",
                x="product_pair",
                y="lift_ci_low",
                x_title="Products",
                y_title="Lift, lower end of its interval",
                format="decimal",
                limit=20,
                how_to_read="At least so many times more often together than by chance; above 1 they belong together.",
            ),
            Panel(
                title="All figures per pair",
                mark="table",
                y="lift",
                columns=(
                    "product", "other_product", "orders", "rate", "confidence", "reverse_confidence", "lift",
                    "lift_ci_low", "lift_ci_high",
                ),
                limit=50,
                width=12,
                how_to_read="The confidence is the share of one product's orders that have the other, both ways.",
            ),
        ),
    ),
    ReportType(
        "price_points",
        "Price points",
        (
            "dimension", "product", "unit_price", "orders", "customers", "units", "product_revenue", *RATE,
            "first_sold", "last_sold",
        ),
        ("dimension", "product", "unit_price"),
        (
            Panel(
                title="Price points",
                mark="table",
                y="units",
                columns=(
                    "product", "unit_price", "orders", "units", "product_revenue", "rate", "first_sold", "last_sold",
                ),
                width=12,
                how_to_read="At which prices the most ordered products were sold; the rate is out of their orders.",
            ),
        ),
    ),
)  # fmt: skip

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "products_kept": configs.PRODUCTS_KEPT,
    "series_kept": configs.PRODUCT_SERIES_KEPT,
    "series_days": configs.PRODUCT_SERIES_DAYS,
    "a_share": configs.ABC_A_SHARE,
    "b_share": configs.ABC_B_SHARE,
    "pair_products": configs.PAIR_PRODUCTS,
    "pair_product_min_orders": configs.PAIR_PRODUCT_MIN_ORDERS,
    "pair_min_orders": configs.PAIR_MIN_ORDERS,
    "pairs_kept": configs.PAIRS_KEPT,
    "price_points_kept": configs.PRICE_POINTS_KEPT,
    "most_rows": configs.REPORT_MAX_ROWS,
}


def product_analytics(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    products_kept: int = 100,
    series_kept: int = 8,
    series_days: int = 90,
    a_share: float = 0.8,
    b_share: float = 0.95,
    pair_products: int = 200,
    pair_product_min_orders: int = 20,
    pair_min_orders: int = 5,
    pairs_kept: int = 100,
    price_points_kept: int = 10,
    most_rows: int = 100_000,
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`.

    Without a basket there are no rows, and a warning that says so.
    """
    today = day_number(as_of)
    said = definition(
        tables,
        as_of=as_of,
        product_revenue="price x quantity of the basket lines, before discounts",
        share_of_orders="out of the orders with a basket",
        abc_limits={"A": a_share, "B": b_share},
        lift_interval="of the logarithm, by the delta method, orders taken as independent",
    )
    if tables.basket is None:
        reason = "product_analytics needs the source products, which sources.yaml does not have."
        return without_rows(REPORTS, said, reason)
    seen = observed(tables, as_of=as_of, top_values=top_values)
    dimensions = len(seen.labels)
    products_kept = fitting(products_kept, rows_each=dimensions, most_rows=most_rows)
    series_kept = fitting(series_kept, rows_each=dimensions * 24, most_rows=most_rows)
    series_days = fitting(series_days, rows_each=dimensions * series_kept, most_rows=most_rows)
    pairs_kept = fitting(pairs_kept, rows_each=2 * dimensions, most_rows=most_rows)
    price_points_kept = fitting(price_points_kept, rows_each=dimensions * series_kept, most_rows=most_rows)
    first_day = seen.first_days
    frames: dict[str, pd.DataFrame] = {}
    with held(_orders(seen)) as orders:
        lines_left_out = _lines_left_out(tables, orders, as_of)
        every = by_dimension(orders, seen.dimensions)
        number_of_orders = result(every.group_by("dimension").agg(orders=every.count()))
        with held(_lines(tables.basket, orders)) as lines, held(_orders_with_basket(lines)) as baskets_of_all:
            with_basket = by_dimension(baskets_of_all, seen.dimensions)
            for item in ("product", "category"):
                names = _names(lines, item)
                with held(names) as named, held(_items(lines, baskets_of_all, named, item)) as items:
                    repeated = by_dimension(items, seen.dimensions)
                    baskets = _baskets(with_basket, repeated)
                    with held(_totals(repeated, a_share, b_share)) as totals:
                        kept = _named(totals.filter(totals.place < products_kept), named)
                        frames[PLURALS[item]] = _finished(kept, baskets, confidence_level)
                        largest = totals.filter(totals.place < series_kept)
                        leading = kept[kept["place"] < series_kept].reset_index(drop=True)
                        by_hour = _counted(repeated, with_basket, largest, "hour")
                        frames[f"{item}_hours"] = _per_hour(by_hour, leading, first_day, today)
                        newest = repeated.filter(repeated.day > today - series_days)
                        their_baskets = with_basket.filter(with_basket.day > today - series_days)
                        by_day = _counted(newest, their_baskets, largest, "day")
                        frames[f"{item}_days"] = _per_day(by_day, leading, first_day, today, series_days)
                        of_all = totals.filter(totals.dimension == 0)
                        said[PLURALS[item]] = number = int(of_all.count().to_pyarrow().as_py())
                        said[f"{PLURALS[item]}_left_out"] = max(0, number - products_kept)
                        if item == "product":
                            classes = _classes(totals)
                            frames["abc_classes"] = classes
                            frames["baskets"] = baskets.merge(number_of_orders, how="right", on="dimension").merge(
                                classes.groupby("dimension", as_index=False)["products"].sum(), how="left"
                            )
                            searched = (totals.place < pair_products) & (totals.orders >= pair_product_min_orders)
                            chosen = totals.filter(searched)
                            pairs = _pairs(repeated, chosen, pair_min_orders)
                            frames["product_pairs"], of_pairs = _strongest(
                                pairs, baskets, named, confidence_level, pairs_kept
                            )
                            said["products_searched_for_pairs"] = int(
                                chosen.filter(chosen.dimension == 0).count().to_pyarrow().as_py()
                            )
                            said["pairs_left_out"] = of_pairs
                            prices = _price_points(by_dimension(lines, seen.dimensions), named, largest)
                            frames["price_points"] = _cheapest_first(prices, leading, price_points_kept)
    frames["baskets"] = _basket_figures(frames["baskets"])
    rates = {
        "baskets": ("basket_orders", "orders"),
        **dict.fromkeys(PLURALS.values(), ("orders", "baskets")),
        **{f"{item}_{kind}": ("orders", "baskets") for item in PLURALS for kind in ("hours", "days")},
        "abc_classes": ("products", "all_products"),
        "product_pairs": ("orders", "baskets"),
        "price_points": ("orders", "product_orders"),
    }
    said |= {
        **{f"lines_of_{name}": count for name, count in lines_left_out.items()},
        "series": f"the {series_kept} with most orders; days: the newest {series_days}",
        "pairs_searched_among": f"the {pair_products} products with most orders, if {pair_product_min_orders} or more",
        "pair_min_orders": pair_min_orders,
        "pairs_kept": f"{pairs_kept} by the lower end of the lift, and {pairs_kept} by orders",
        "price_points_kept": price_points_kept,
    }
    places = {"baskets": ["dimension"], "abc_classes": ["dimension", "abc_class"]}
    places |= {f"{item}_hours": ["dimension", "place", "hour_of_day"] for item in PLURALS}
    places |= {f"{item}_days": ["dimension", "place", "period"] for item in PLURALS}
    places["price_points"] = ["dimension", "place", "unit_price"]
    warnings = _said_of_lines(lines_left_out)
    if "category" not in tables.basket.columns:
        warnings.append(f"The products have no column category: all of them are in {UNKNOWN}.")
    headline = _headline(frames["baskets"])
    reports = {}
    for report_type in REPORTS:
        frame = frames[report_type.type]
        frame = with_rate(frame, *rates[report_type.type], confidence_level)
        if not seen.has_discount and "allocated_discount" in report_type.fields:
            frame["allocated_discount"] = np.nan
        key = places.get(report_type.type, ["dimension", "place"])
        reports[report_type.type] = finished_report(
            report_type, frame, seen.labels, key, as_of=as_of, kpis=headline, said=said, warnings=warnings
        )
    for plural in PLURALS.values():
        left_out = said[f"{plural}_left_out"]
        if left_out:
            reports[plural].warnings.append(
                f"Of {said[plural]:,} {plural} the {products_kept} with most orders are shown."
            )
    return reports


def _lines_left_out(tables: Tables, orders: ir.Table, as_of: date) -> dict[str, int]:
    """Basket lines whose order_id is no session's, and those of sessions up to `as_of` without an order."""
    assert tables.basket is not None
    sessions = tables.sessions.select("id", "session_day", "has_purchased")
    of_no_order = tables.basket.select("order_id").anti_join(orders, tables.basket.order_id == orders.id)
    with held(of_no_order) as others:
        joined = others.left_join(sessions, others.order_id == sessions.id)
        is_idle = joined.id.notnull() & (joined.session_day <= as_of) & ~joined.has_purchased.fill_null(False)
        counted = result(joined.aggregate(unknown=joined.id.isnull().sum(), idle=is_idle.sum())).fillna(0)
    return {
        "unknown_orders": int(counted["unknown"].iloc[0]),
        "sessions_without_order": int(counted["idle"].iloc[0]),
    }


def _said_of_lines(left_out: dict[str, int]) -> list[str]:
    texts = {
        "unknown_orders": "an order_id that no session has",
        "sessions_without_order": "the order_id of a session without a purchase",
    }
    return [
        f"{count:,} basket {'line has' if count == 1 else 'lines have'} {texts[name]}, and "
        f"{'is' if count == 1 else 'are'} left out."
        for name, count in left_out.items()
        if count
    ]


def _orders(seen: Observed) -> ir.Table:
    orders = seen.sessions.filter(seen.sessions.is_order)
    if not seen.has_discount:
        orders = orders.mutate(discount=ibis.literal(0, MONEY))
    # A number is cheaper to join and group by than the id; which number it is shows nowhere.
    return orders.mutate(order_code=ibis.row_number()).drop("instant", "week", "month", "is_order", "amount")


def _lines(basket: ir.Table, orders: ir.Table) -> ir.Table:
    """The basket lines of orders: what the order has, product, category, price, units, amount."""
    category = basket.category if "category" in basket.columns else ibis.null("string")
    own = basket.select(
        "order_id",
        product=ibis.coalesce(basket["product"].cast("string").nullif(""), UNKNOWN),
        category=ibis.coalesce(category.cast("string").nullif(""), UNKNOWN),
        price=ibis.coalesce(basket.price.cast(MONEY), ibis.literal(0, MONEY)),
        units=ibis.coalesce(basket.quantity.cast(MONEY), ibis.literal(1, MONEY)),
    )
    own = own.mutate(amount=(own.price * own.units).cast(MONEY))
    return own.join(orders, own.order_id == orders.id).drop("order_id", "id")


def _names(lines: ir.Table, item: str) -> ir.Table:
    """item_code (in the order of the names), name, category."""
    named = lines.group_by(name=lines[item]).agg(category=lines.category.min())
    return named.mutate(item_code=ibis.row_number().over(ibis.window(order_by="name")).cast("int32"))


def _orders_with_basket(lines: ir.Table) -> ir.Table:
    """One row per order with a basket: what the order has, units and amount."""
    codes = [name for name in lines.columns if name.startswith(CODE)]
    return lines.group_by("order_code").agg(
        units=lines.units.sum(),
        amount=lines.amount.sum(),
        **{name: lines[name].min() for name in ("client_code", "day", "hour", "discount", *codes)},
    )


def _items(lines: ir.Table, with_basket: ir.Table, names: ir.Table, item: str) -> ir.Table:
    """One row per order and product (or category): units, amount, and its part of the order's discount."""
    coded = lines.join(names.select("name", "item_code"), lines[item] == names.name)
    items = coded.group_by(["order_code", "item_code"]).agg(
        units=coded.units.sum(), amount=coded.amount.sum().cast(MONEY)
    )
    of_order = with_basket.mutate(whole=with_basket.amount.cast("float64")).drop("units", "amount")
    items = items.join(of_order, "order_code")
    part = items.discount.cast("float64") * (items.amount.cast("float64") / items.whole)
    return items.mutate(allocated=ibis.ifelse(items.whole > 0, part, 0).cast(MONEY)).drop("discount", "whole")


def _baskets(with_basket: ir.Table, items: ir.Table) -> pd.DataFrame:
    """Per dimension: orders with a basket, their customers, distinct products of all baskets, units, revenue."""
    orders = result(
        with_basket.group_by("dimension").agg(
            baskets=with_basket.count(),
            customers=with_basket.client_code.nunique(),
            units=with_basket.units.sum().cast("float64"),
            product_revenue=with_basket.amount.sum().cast("float64"),
        )
    )
    return orders.merge(result(items.group_by("dimension").agg(basket_items=items.count())), on="dimension")


def _basket_figures(frame: pd.DataFrame) -> pd.DataFrame:
    counts = ["baskets", "customers", "basket_items", "products"]
    full = frame.fillna(dict.fromkeys([*counts, "units", "product_revenue"], 0)).astype(dict.fromkeys(counts, "int64"))
    return full.assign(
        basket_orders=full["baskets"],
        products_per_basket=ratio(full["basket_items"], full["baskets"]),
        units_per_basket=ratio(full["units"], full["baskets"]),
        revenue_per_basket=ratio(full["product_revenue"], full["baskets"]),
    )


def _totals(items: ir.Table, a_share: float, b_share: float) -> ir.Table:
    """Per dimension and item: sums, customers, ABC class, and `place`: 0 for most orders, ties by revenue and name."""
    per_customer = items.group_by(["dimension", "item_code", "client_code"]).agg(
        orders=items.count(), units=items.units.sum(), amount=items.amount.sum(), allocated=items.allocated.sum()
    )
    totals = per_customer.group_by(["dimension", "item_code"]).agg(
        orders=per_customer.orders.sum().cast("int64"),
        customers=per_customer.count(),
        repeat_buyers=(per_customer.orders > 1).sum(),
        units=per_customer.units.sum(),
        amount=per_customer.amount.sum(),
        allocated=per_customer.allocated.sum(),
    )
    totals = totals.mutate(positive=ibis.greatest(totals.amount, 0))
    by_amount = ibis.range_window(group_by="dimension", order_by=ibis.desc("positive"), preceding=None, following=0)
    of_all = ibis.window(group_by="dimension")
    by_size = ibis.window(group_by="dimension", order_by=[ibis.desc("orders"), ibis.desc("amount"), "item_code"])
    totals = totals.mutate(
        place=ibis.row_number().over(by_size),
        up_to=totals.positive.sum().over(by_amount),
        equal=totals.positive.sum().over(ibis.window(group_by=["dimension", "positive"])),
        every=totals.positive.sum().over(of_all),
        whole=totals.amount.sum().over(of_all).cast("float64"),
    )
    # In whole ten-thousandths, so that a share of exactly 0.8 is 0.8.
    before, every = ((one.cast("float64") * 10_000).round() for one in (totals.up_to - totals.equal, totals.every))
    share = before.cast("float64") / every.cast("float64").nullif(0)
    is_sold = (totals.amount > 0).fill_null(False)
    abc = ibis.cases((is_sold & (share < a_share), "A"), (is_sold & (share < b_share), "B"), else_="C")
    return totals.mutate(abc_class=abc).drop("up_to", "equal", "every", "positive")


def _named(totals: ir.Table, names: ir.Table) -> pd.DataFrame:
    joined = totals.join(names, "item_code")
    amounts = {name: joined[name].cast("float64") for name in ("units", "amount", "allocated")}
    frame = result(joined.mutate(**amounts))
    whole = ["dimension", "item_code", "orders", "customers", "repeat_buyers", "place"]
    return frame.astype(dict.fromkeys(whole, "int64")).sort_values(["dimension", "place"], ignore_index=True)


def _finished(kept: pd.DataFrame, baskets: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    low, high = wilson_interval(kept["repeat_buyers"], kept["customers"], confidence_level)
    full = kept.merge(baskets[["dimension", "baskets"]], how="left", on="dimension")
    return full.assign(
        product=full["name"],
        category=full["category"],
        product_revenue=full["amount"],
        product_revenue_share=ratio(full["amount"], full["whole"]),
        allocated_discount=full["allocated"],
        units_per_order=ratio(full["units"], full["orders"]),
        price_per_unit=ratio(full["amount"], full["units"]),
        orders_per_product_customer=ratio(full["orders"], full["customers"]),
        repeat_buyer_rate=ratio(full["repeat_buyers"], full["customers"]),
        repeat_buyer_ci_low=low,
        repeat_buyer_ci_high=high,
    )


def _classes(totals: ir.Table) -> pd.DataFrame:
    """One row per dimension and class, empty ones too."""
    counted = result(
        totals.group_by(["dimension", "abc_class"]).agg(
            products=totals.count(), product_revenue=totals.amount.sum().cast("float64")
        )
    )
    every = pd.MultiIndex.from_product([sorted(set(counted["dimension"])), CLASSES], names=["dimension", "abc_class"])
    full = every.to_frame(index=False).merge(counted, how="left", on=["dimension", "abc_class"])
    full = full.fillna({"products": 0, "product_revenue": 0}).astype({"dimension": "int64", "products": "int64"})
    by_value = full.groupby("dimension")
    full["product_revenue_share"] = ratio(full["product_revenue"], by_value["product_revenue"].transform("sum"))
    return full.assign(all_products=by_value["products"].transform("sum"))


def _counted(items: ir.Table, with_basket: ir.Table, largest: ir.Table, by: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of the largest items per hour or day: orders, units, revenue; and all baskets per hour or day."""
    joined = items.join(largest.select("dimension", "item_code", "place"), ["dimension", "item_code"])
    counted = result(
        joined.group_by(["dimension", "place", by]).agg(
            orders=joined.count(),
            units=joined.units.sum().cast("float64"),
            product_revenue=joined.amount.sum().cast("float64"),
        )
    )
    return counted, result(with_basket.group_by(["dimension", by]).agg(baskets=with_basket.count()))


def _series(grid: pd.DataFrame, counted: tuple[pd.DataFrame, pd.DataFrame], by: str) -> pd.DataFrame:
    """The grid with what was counted, zero where nothing was."""
    of_item, of_all = counted
    full = grid.merge(of_item, how="left", on=["dimension", "place", by]).merge(
        of_all, how="left", on=["dimension", by]
    )
    measures = ["orders", "units", "product_revenue", "baskets"]
    full = full.fillna(dict.fromkeys(measures, 0)).astype({"orders": "int64", "baskets": "int64"})
    return full.assign(product=full["name"], category=full["name"])


def _per_hour(
    counted: tuple[pd.DataFrame, pd.DataFrame], leading: pd.DataFrame, first_day: pd.Series, today: int
) -> pd.DataFrame:
    """24 rows per dimension and leading item."""
    grid = leading[["dimension", "place", "name"]].merge(pd.DataFrame({"hour": range(24)}), how="cross")
    full = _series(grid, counted, "hour")
    days = today + 1 - full["dimension"].map(first_day).astype("int64")
    return full.assign(hour_of_day=full["hour"], n=days, item_orders_per_day=ratio(full["orders"], days))


def _per_day(
    counted: tuple[pd.DataFrame, pd.DataFrame], leading: pd.DataFrame, first_day: pd.Series, today: int, days: int
) -> pd.DataFrame:
    """One row per dimension, leading item and day of the newest `days`."""
    starts = leading["dimension"].map(first_day).astype("int64").clip(lower=today - days + 1)
    grid = every_day(leading[["dimension", "place", "name"]], starts, today)
    full = _series(grid, counted, "day")
    return full.assign(
        granularity="day",
        is_complete=True,  # the report date is the last day, and over
        period=as_dates(first_days(full["day"], "day", "monday")),
    )


def _pairs(items: ir.Table, chosen: ir.Table, min_orders: int) -> pd.DataFrame:
    """Orders with both, of every pair of the chosen products: dimension, first, second, orders, and of each alone."""
    own = chosen.select("dimension", "item_code", alone=chosen.orders)
    with held(items.join(own, ["dimension", "item_code"]).select("dimension", "order_code", "item_code")) as left:
        right = left.view()
        joined = left.join(
            right,
            [
                left.dimension == right.dimension,
                left.order_code == right.order_code,
                left.item_code < right.item_code,
            ],
        ).select(left.dimension, first=left.item_code, second=right.item_code)
        counted = joined.group_by(["dimension", "first", "second"]).agg(orders=joined.count())
        frame = result(counted.filter(counted.orders >= min_orders)).astype("int64")
    alone = result(own).astype("int64")
    for place in ("first", "second"):
        names = {"item_code": place, "alone": f"{place}_alone"}
        frame = frame.merge(alone.rename(columns=names), how="left", on=["dimension", place])
    return frame


def _strongest(
    pairs: pd.DataFrame, baskets: pd.DataFrame, names: ir.Table, confidence_level: float, kept: int
) -> tuple[pd.DataFrame, int]:
    """The pairs with the highest lower end of the lift, and those with most orders; and how many of `all` are not."""
    pairs = pairs.merge(baskets[["dimension", "baskets"]], how="left", on="dimension")
    value, low, high = lift(
        pairs["orders"], pairs["first_alone"], pairs["second_alone"], pairs["baskets"], confidence_level
    )
    pairs = pairs.assign(lift=value, lift_ci_low=low, lift_ci_high=high, sure=np.round(low, 9))
    by_lift = pairs.sort_values(
        ["dimension", "sure", "orders", "first", "second"], ascending=[True, False, False, True, True]
    )
    by_lift["place"] = by_lift.groupby("dimension").cumcount()
    by_orders = by_lift.sort_values(["dimension", "orders", "place"], ascending=[True, False, True])
    by_orders["orders_place"] = by_orders.groupby("dimension").cumcount()
    shown = by_orders[(by_orders["place"] < kept) | (by_orders["orders_place"] < kept)].reset_index(drop=True)
    left_out = int((pairs["dimension"] == 0).sum() - (shown["dimension"] == 0).sum())
    wanted = sorted({*shown["first"], *shown["second"]})
    if wanted:
        found = result(names.filter(names.item_code.isin(wanted)))
        label = dict(zip(found["item_code"], found["name"], strict=True))
    else:
        label = {}
    shown["product"] = pd.Series([label[code] for code in shown["first"]], dtype="str")
    shown["other_product"] = pd.Series([label[code] for code in shown["second"]], dtype="str")
    shown["product_pair"] = shown["product"] + " + " + shown["other_product"]
    shown["product_orders"], shown["other_product_orders"] = shown["first_alone"], shown["second_alone"]
    for name, alone in (("confidence", "first_alone"), ("reverse_confidence", "second_alone")):
        shown[name] = ratio(shown["orders"], shown[alone])
        ends = wilson_interval(shown["orders"], shown[alone], confidence_level)
        shown[f"{name}_ci_low"], shown[f"{name}_ci_high"] = ends
    return shown, left_out


def _price_points(lines: ir.Table, names: ir.Table, largest: ir.Table) -> pd.DataFrame:
    """Per dimension, leading product and unit price: orders, customers, units, revenue, first and last day."""
    own = largest.join(names.select("item_code", "name"), "item_code").select("dimension", "place", "name")
    joined = lines.join(own, [lines.dimension == own.dimension, lines["product"] == own.name])
    joined = joined.select("dimension", "place", "price", "order_code", "client_code", "units", "amount", "day")
    found = result(
        joined.group_by(["dimension", "place", "price"]).agg(
            orders=joined.order_code.nunique(),
            customers=joined.client_code.nunique(),
            units=joined.units.sum().cast("float64"),
            product_revenue=joined.amount.sum().cast("float64"),
            first_day=joined.day.min(),
            last_day=joined.day.max(),
        )
    )
    whole = ["dimension", "place", "orders", "customers", "first_day", "last_day"]
    return found.astype(dict.fromkeys(whole, "int64")).assign(unit_price=found["price"].astype("float64"))


def _cheapest_first(prices: pd.DataFrame, leading: pd.DataFrame, kept: int) -> pd.DataFrame:
    """Of each product the `kept` prices with most orders (ties: the lower price), with its name and its orders."""
    ordered = prices.sort_values(["dimension", "place", "orders", "unit_price"], ascending=[True, True, False, True])
    shown = ordered[ordered.groupby(["dimension", "place"]).cumcount() < kept]
    products = leading.rename(columns={"name": "product", "orders": "product_orders"})
    full = shown.merge(products[["dimension", "place", "product", "product_orders"]], on=["dimension", "place"])
    return full.assign(
        first_sold=as_dates(first_days(full["first_day"], "day", "monday")),
        last_sold=as_dates(first_days(full["last_day"], "day", "monday")),
    )


def _headline(baskets: pd.DataFrame) -> dict[str, float]:
    of_all = baskets[baskets["dimension"] == 0]
    names = ("basket_orders", "products", "units", "product_revenue", "products_per_basket", "revenue_per_basket")
    return {name: round(float(of_all[name].sum()), 6) for name in names}
