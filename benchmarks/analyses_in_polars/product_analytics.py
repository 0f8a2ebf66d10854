"""The reports of `product_analytics` in plain polars: products, categories, baskets, pairs, and price points."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from statistics import NormalDist

import pandas as pd
import polars as pl

from benchmarks.analyses_in_polars.breakdown import Files, collected, held, rate, ratio, repeated, sessions
from benchmarks.analyses_peers import UNKNOWN

CONFIDENCE_LEVEL = 0.95
PRODUCTS_KEPT = 100
SERIES_KEPT, SERIES_DAYS = 8, 90
A_SHARE, B_SHARE = 0.8, 0.95
PAIR_PRODUCTS, PAIR_PRODUCT_MIN_ORDERS, PAIR_MIN_ORDERS, PAIRS_KEPT = 200, 20, 5, 100
PRICE_POINTS_KEPT = 10
MONEY_DECIMALS = 4
CLASSES = ("A", "B", "C")
ITEM = ("dimension", "item")
NAMES = {"product": "products", "category": "categories"}


def reports(files: Files, dimensions: Sequence[str], as_of: date) -> dict[str, pd.DataFrame]:
    """Every report, without texts."""
    seen = sessions(files, as_of, dimensions)
    every = pl.concat(repeated(seen, dimensions))
    first_days, orders = held(
        every.group_by("dimension").agg(first_day=pl.col("session_day").min()),
        seen.filter("is_order").with_row_index("order"),
    )
    (lines,) = held(_lines(files, orders))
    found: dict[str, list[pl.LazyFrame]] = {}
    for item, plural in NAMES.items():
        (items,) = held(pl.concat(repeated(_items(lines, item), dimensions)))
        (totals,) = held(_totals(items))
        baskets = items.group_by("dimension").agg(baskets=pl.col("order").n_unique())
        leading = totals.filter(pl.col("place") < SERIES_KEPT).select(ITEM)
        own = {
            plural: _figures(totals, baskets),
            f"{item}_hours": _per_hour(items, leading, first_days, as_of),
            f"{item}_days": _per_day(items, leading, first_days, as_of),
        }
        found |= {name: [frame.rename({"item": item})] for name, frame in own.items()}
        if item == "product":
            category = lines.group_by("product").agg(pl.col("category").min())
            number = pl.concat(repeated(orders, dimensions)).group_by("dimension").agg(orders=pl.len())
            found |= {
                "products": [found["products"][0].join(category, on="product")],
                "abc_classes": [_classes(totals)],
                "baskets": [_baskets(items, number)],
                "product_pairs": [_pairs(items, totals, baskets)],
                "price_points": [_price_points(pl.concat(repeated(lines, dimensions)), totals)],
            }
    return collected(found)


def _lines(files: Files, orders: pl.LazyFrame) -> pl.LazyFrame:
    """The basket lines of orders, with units and amount (currency)."""
    named = {
        name: pl.when(pl.col(name) != "").then(pl.col(name)).fill_null(UNKNOWN) for name in ("product", "category")
    }
    lines = pl.scan_parquet(list(files["basket"])).select(
        "order_id",
        **named,
        price=pl.col("price").cast(pl.Float64).fill_null(0),
        units=pl.col("quantity").fill_null(1).round(MONEY_DECIMALS),
    )
    amount = (pl.col("price") * pl.col("units")).round(MONEY_DECIMALS)
    return lines.with_columns(amount=amount).join(
        orders.with_columns(
            discount=pl.col("discount_amount").cast(pl.Float64).fill_null(0),
            day=pl.col("session_day"),
            hour_of_day=pl.col("session_hour").cast(pl.Int64),
        ).drop("amount"),
        left_on="order_id",
        right_on="id",
    )


def _items(lines: pl.LazyFrame, item: str) -> pl.LazyFrame:
    """One row per order and product (or category): units, amount, and its part of the order's discount."""
    of_order = pl.col("client_code", "day", "hour_of_day", "discount", "^dimension_.*$").first()
    units, amount = pl.col("units").sum(), pl.col("amount").sum().round(MONEY_DECIMALS)
    items = lines.group_by("order", item=pl.col(item)).agg(units, amount, of_order)
    whole = pl.col("amount").sum().over("order").round(MONEY_DECIMALS)
    part = pl.when(whole > 0).then(pl.col("discount") * (pl.col("amount") / whole)).otherwise(0.0)
    return items.with_columns(allocated=part.round(MONEY_DECIMALS, mode="half_away_from_zero"))


def _totals(items: pl.LazyFrame) -> pl.LazyFrame:
    """Per dimension value and item: sums, customers, ABC class, and `place`: 0 for most orders."""
    per_customer = items.group_by(*ITEM, "client_code").agg(
        pl.col("units", "amount", "allocated").sum(), orders=pl.len()
    )
    totals = per_customer.group_by(ITEM).agg(
        pl.col("orders", "units", "allocated").sum(),
        amount=pl.col("amount").sum().round(MONEY_DECIMALS),
        customers=pl.len(),
        repeat_buyers=(pl.col("orders") > 1).sum(),
    )
    sold = pl.col("amount").clip(lower_bound=0)
    before = ((sold.cum_sum() - sold) / sold.sum()).over("dimension")
    return (
        totals.sort("amount", descending=True)
        .with_columns(before=before)
        .with_columns(before=pl.col("before").min().over("dimension", "amount"))
        .with_columns(
            abc_class=pl.when((pl.col("amount") > 0) & (pl.col("before") < A_SHARE))
            .then(pl.lit("A"))
            .when((pl.col("amount") > 0) & (pl.col("before") < B_SHARE))
            .then(pl.lit("B"))
            .otherwise(pl.lit("C"))
        )
        .sort("orders", "amount", "item", descending=[True, True, False])
        .with_columns(place=pl.int_range(pl.len()).over("dimension"))
    )


def _figures(totals: pl.LazyFrame, baskets: pl.LazyFrame) -> pl.LazyFrame:
    """The items with most orders."""
    orders, customers, units, amount = (pl.col(name) for name in ("orders", "customers", "units", "amount"))
    _, _, repeat_rate, repeat_low, repeat_high = rate("repeat_buyers", "customers", CONFIDENCE_LEVEL)
    return (
        totals.with_columns(whole=amount.sum().over("dimension"))
        .filter(pl.col("place") < PRODUCTS_KEPT)
        .join(baskets, on="dimension")
        .with_columns(
            *rate("orders", "baskets", CONFIDENCE_LEVEL),
            product_revenue=amount,
            product_revenue_share=ratio(amount, pl.col("whole")),
            allocated_discount=pl.col("allocated"),
            units_per_order=ratio(units, orders),
            price_per_unit=ratio(amount, units),
            orders_per_product_customer=ratio(orders, customers),
            repeat_buyer_rate=repeat_rate,
            repeat_buyer_ci_low=repeat_low,
            repeat_buyer_ci_high=repeat_high,
        )
    )


def _classes(totals: pl.LazyFrame) -> pl.LazyFrame:
    """One row per dimension value and class, empty ones too."""
    revenue, products = pl.col("product_revenue"), pl.col("products")
    counted = totals.group_by("dimension", "abc_class").agg(products=pl.len(), product_revenue=pl.col("amount").sum())
    return (
        totals.select("dimension")
        .unique()
        .join(pl.LazyFrame({"abc_class": CLASSES}), how="cross")
        .join(counted, on=["dimension", "abc_class"], how="left")
        .with_columns(products.fill_null(0), revenue.fill_null(0))
        .with_columns(
            product_revenue_share=ratio(revenue, revenue.sum().over("dimension")),
            all_products=products.sum().over("dimension"),
        )
        .with_columns(rate("products", "all_products", CONFIDENCE_LEVEL))
    )


def _baskets(items: pl.LazyFrame, every: pl.LazyFrame) -> pl.LazyFrame:
    """One row per dimension value with an order."""
    counted = items.group_by("dimension").agg(
        basket_orders=pl.col("order").n_unique(),
        customers=pl.col("client_code").n_unique(),
        products=pl.col("item").n_unique(),
        basket_items=pl.len(),
        units=pl.col("units").sum(),
        product_revenue=pl.col("amount").sum(),
    )
    baskets = pl.col("basket_orders")
    return (
        every.join(counted, on="dimension", how="left")
        .fill_null(0)
        .with_columns(
            *rate("basket_orders", "orders", CONFIDENCE_LEVEL),
            products_per_basket=ratio(pl.col("basket_items"), baskets),
            units_per_basket=ratio(pl.col("units"), baskets),
            revenue_per_basket=ratio(pl.col("product_revenue"), baskets),
        )
    )


def _counted(items: pl.LazyFrame, grid: pl.LazyFrame, by: str) -> pl.LazyFrame:
    """The grid of leading items and hours or days with what was counted there, zero where nothing was."""
    counted = items.group_by(*ITEM, by).agg(
        orders=pl.len(), units=pl.col("units").sum(), product_revenue=pl.col("amount").sum()
    )
    every = items.group_by("dimension", by).agg(baskets=pl.col("order").n_unique())
    return (
        grid.join(counted, on=[*ITEM, by], how="left")
        .join(every, on=["dimension", by], how="left")
        .with_columns(pl.col("orders", "units", "product_revenue", "baskets").fill_null(0))
        .with_columns(rate("orders", "baskets", CONFIDENCE_LEVEL))
    )


def _per_hour(items: pl.LazyFrame, leading: pl.LazyFrame, first_days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """24 rows per dimension value and leading item."""
    days = (pl.lit(as_of) - pl.col("first_day")).dt.total_days() + 1
    grid = leading.join(first_days, on="dimension").select(*ITEM, hour_of_day=pl.int_ranges(0, 24), n=days)
    full = _counted(items, grid.explode("hour_of_day"), "hour_of_day")
    return full.with_columns(item_orders_per_day=ratio(pl.col("orders"), pl.col("n")))


def _per_day(items: pl.LazyFrame, leading: pl.LazyFrame, first_days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """One row per dimension value, leading item and day of the newest."""
    oldest = as_of - timedelta(days=SERIES_DAYS - 1)
    days = pl.date_ranges(pl.max_horizontal("first_day", pl.lit(oldest)), pl.lit(as_of))
    grid = leading.join(first_days, on="dimension").select(*ITEM, day=days).explode("day")
    full = _counted(items.filter(pl.col("day") >= oldest), grid, "day")
    return full.with_columns(granularity=pl.lit("day"), period=pl.col("day"), is_complete=pl.lit(True))


def _pairs(items: pl.LazyFrame, totals: pl.LazyFrame, baskets: pl.LazyFrame) -> pl.LazyFrame:
    """The pairs with the highest lower end of the lift, and those with most orders."""
    is_searched = (pl.col("place") < PAIR_PRODUCTS) & (pl.col("orders") >= PAIR_PRODUCT_MIN_ORDERS)
    chosen = totals.filter(is_searched).select(*ITEM, alone="orders")
    left = items.select(*ITEM, "order").join(chosen, on=ITEM)
    pairs = (
        left.join(left, on=["dimension", "order"], suffix="_of_other")
        .filter(pl.col("item") < pl.col("item_of_other"))
        .group_by("dimension", product="item", other_product="item_of_other")
        .agg(
            orders=pl.len(),
            product_orders=pl.col("alone").first(),
            other_product_orders=pl.col("alone_of_other").first(),
        )
        .filter(pl.col("orders") >= PAIR_MIN_ORDERS)
        .join(baskets, on="dimension")
    )
    both, first, second, every = (
        pl.col(name).cast(pl.Float64) for name in ("orders", "product_orders", "other_product_orders", "baskets")
    )
    value = both * every / (first * second)
    variance = 1 / both - 1 / first - 1 / second + 2 * both / (first * second) - 1 / every
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    factor = (z * variance.clip(lower_bound=0).sqrt()).exp()
    by_lift = ["sure", "orders", "product", "other_product"]
    descending = [True, True, False, False]
    _, _, confidence, low, high = rate("orders", "product_orders", CONFIDENCE_LEVEL)
    _, _, reverse, reverse_low, reverse_high = rate("orders", "other_product_orders", CONFIDENCE_LEVEL)
    place = pl.int_range(pl.len()).over("dimension")
    return (
        pairs.with_columns(lift=value, lift_ci_low=value / factor, lift_ci_high=value * factor)
        .with_columns(sure=pl.col("lift_ci_low").round(9))
        .sort(by_lift, descending=descending)
        .with_columns(place=place)
        .sort("orders", "place", descending=[True, False])
        .with_columns(orders_place=place)
        .filter((pl.col("place") < PAIRS_KEPT) | (pl.col("orders_place") < PAIRS_KEPT))
        .with_columns(
            *rate("orders", "baskets", CONFIDENCE_LEVEL),
            product_pair=pl.format("{} + {}", "product", "other_product"),
            confidence=confidence,
            confidence_ci_low=low,
            confidence_ci_high=high,
            reverse_confidence=reverse,
            reverse_confidence_ci_low=reverse_low,
            reverse_confidence_ci_high=reverse_high,
        )
    )


def _price_points(lines: pl.LazyFrame, totals: pl.LazyFrame) -> pl.LazyFrame:
    """Of each leading product the prices with most orders, ties by the lower price."""
    leading = totals.filter(pl.col("place") < SERIES_KEPT).select("dimension", product="item", product_orders="orders")
    keys = ["dimension", "product"]
    return (
        lines.join(leading, on=keys)
        .group_by(*keys, unit_price="price")
        .agg(
            pl.col("product_orders").first(),
            orders=pl.col("order").n_unique(),
            customers=pl.col("client_code").n_unique(),
            units=pl.col("units").sum(),
            product_revenue=pl.col("amount").sum(),
            first_sold=pl.col("day").min(),
            last_sold=pl.col("day").max(),
        )
        .sort("orders", "unit_price", descending=[True, False])
        .group_by(keys)
        .head(PRICE_POINTS_KEPT)
        .with_columns(rate("orders", "product_orders", CONFIDENCE_LEVEL))
    )
