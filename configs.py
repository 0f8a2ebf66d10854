"""Every constant a user may turn: one line each, with what it changes.

Each can be set without editing this file, through an environment variable of the same name. Nothing here is a
secret (those live in Airflow connections) and nothing here touches a file, a network or the clock.
`docs/configuration.md` lists them all; a test keeps the two in step.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def env(name: str, default: T, cast: Callable[[str], T]) -> T:
    """The environment variable `name` through `cast`, or `default` where it is unset or empty."""
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        return cast(text)
    except ValueError:
        raise SystemExit(
            f"configs.py: the environment variable {name}={text!r} is not a valid {cast.__name__}."
        ) from None


def boolean(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(text)


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def days_by_name(text: str) -> dict[str, int]:
    """A comma-separated list of `name:days`."""
    pairs = (part.split(":") for part in names(text))
    return {name.strip(): int(days) for name, days in pairs}


PROJECT_ROOT = Path(__file__).resolve().parent

# ── Where things are ────────────────────────────────────────────────────────────────────────────────────────────────
SOURCES_FILE = env("SOURCES_FILE", str(PROJECT_ROOT / "sources.yaml"), str)  # which sources.yaml describes your data
VAR_DIR = env("VAR_DIR", str(PROJECT_ROOT / "var"), str)  # where `make run` keeps everything it writes
STAGING_URL = env(
    "STAGING_URL", f"{VAR_DIR}/staging", str
)  # where the Parquet snapshot lives: a folder, s3:// or gs://
TEMPORARY_DIR = env("TEMPORARY_DIR", f"{VAR_DIR}/tmp", str)  # local scratch space: engine spill, files in the making
DATA_DOCS_DIR = env("DATA_DOCS_DIR", f"{VAR_DIR}/data_docs", str)  # where the Great Expectations pages are built
PROGRESS_DIR = env("PROGRESS_DIR", "", str)  # tasks also write their progress here, for `make run`; empty: log only
STAGING_SNAPSHOTS_KEPT = env("STAGING_SNAPSHOTS_KEPT", 3, int)  # older snapshots' files are deleted by later runs
TEMPORARY_FREE_BYTES = env("TEMPORARY_FREE_BYTES", 1_000_000_000, int)  # `check` fails below this much free space

# ── Schedule ────────────────────────────────────────────────────────────────────────────────────────────────────────
SCHEDULE = env("SCHEDULE", "manual", str)  # manual, once, hourly, 12-hourly, daily, weekly, or a cron expression
START_DATE = env("START_DATE", "2024-01-01", str)  # the first day a schedule may cover; backfills may reach back to it
TASK_RETRIES = env("TASK_RETRIES", 2, int)  # how often Airflow tries a failed task again
TASK_RETRY_DELAY_SECONDS = env("TASK_RETRY_DELAY_SECONDS", 30, int)  # pause before a retry
TASKS_AT_ONCE = env("TASKS_AT_ONCE", 2, int)  # how many tasks of a run work side by side; each takes the memory below

# ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────────
BUSINESS_TIMEZONE = env("BUSINESS_TIMEZONE", "UTC", str)  # decides what a day is, and reads timestamps without a zone
WEEK_START = env("WEEK_START", "monday", str)  # the day a week begins on: monday … sunday

# ── Incremental loads ───────────────────────────────────────────────────────────────────────────────────────────────
LOOKBACK_DAYS = env("LOOKBACK_DAYS", 3, int)  # rows that changed this long before the newest loaded are read again

# ── Sources and quality ─────────────────────────────────────────────────────────────────────────────────────────────
EXTRACT_BATCH_ROWS = env("EXTRACT_BATCH_ROWS", 100_000, int)  # rows read at once; more is faster and takes more memory
CSV_BLOCK_BYTES = env("CSV_BLOCK_BYTES", 2_000_000, int)  # bytes of CSV parsed at once; no line may be longer
MAX_QUARANTINED_SHARE = env(
    "MAX_QUARANTINED_SHARE", 0.05, float
)  # a source with a larger share of bad rows fails the run
MAX_QUARANTINED_ROWS_LOGGED = env(
    "MAX_QUARANTINED_ROWS_LOGGED", 5, int
)  # examples of bad rows shown in the log per rule
GX_BATCH_ROWS = env("GX_BATCH_ROWS", 1_000_000, int)  # rows Great Expectations holds at once
EARLIEST_DATE = env("EARLIEST_DATE", "1970-01-01", str)  # a date before this is a placeholder, not a date
FUTURE_TOLERANCE_HOURS = env("FUTURE_TOLERANCE_HOURS", 24, int)  # a date this far past the run's start is `in_future`

# ── Engine ──────────────────────────────────────────────────────────────────────────────────────────────────────────
ENGINE_THREADS = env("ENGINE_THREADS", 2, int)  # threads of one task's DuckDB
ENGINE_MEMORY_MB = env("ENGINE_MEMORY_MB", 2_048, int)  # memory of one task's DuckDB before it spills to TEMPORARY_DIR

# ── Elasticsearch ───────────────────────────────────────────────────────────────────────────────────────────────────
ELASTICSEARCH_URL = env("ELASTICSEARCH_URL", "", str)  # a cluster to use; empty: the Airflow connection below
ELASTICSEARCH_CONN_ID = env(
    "ELASTICSEARCH_CONN_ID", "elasticsearch_default", str
)  # the connection with address and login
INDEX_PREFIX = env("INDEX_PREFIX", "", str)  # put before every index name, e.g. `staging-`
NUMBER_OF_SHARDS = env("NUMBER_OF_SHARDS", 2, int)  # shards of each index; about one per 50 GB
NUMBER_OF_REPLICAS = env("NUMBER_OF_REPLICAS", 0, int)  # copies of each shard; 1 or more on a cluster of several nodes
TOTAL_FIELDS_LIMIT = env(
    "TOTAL_FIELDS_LIMIT", 1_000, int
)  # fields one index may have; dimension and action columns count
MAX_RESULT_WINDOW = env("MAX_RESULT_WINDOW", 10_000, int)  # how deep a search may page
BULK_REQUEST_BYTES = env("BULK_REQUEST_BYTES", 2_000_000, int)  # size of one bulk request
BULK_REQUESTS_IN_FLIGHT = env("BULK_REQUESTS_IN_FLIGHT", 3, int)  # bulk requests sent side by side
BULK_RETRIES = env("BULK_RETRIES", 8, int)  # how often a refused (429), failed (5xx) or lost request is sent again
BULK_RETRY_DELAY_SECONDS = env("BULK_RETRY_DELAY_SECONDS", 0.5, float)  # first pause before that; doubles each time
REQUEST_TIMEOUT_SECONDS = env("REQUEST_TIMEOUT_SECONDS", 60.0, float)  # how long one request may take
EMBEDDED_ELASTICSEARCH_VERSION = env("EMBEDDED_ELASTICSEARCH_VERSION", "8.19.21", str)  # the node `make run` starts
EMBEDDED_ELASTICSEARCH_HEAP_MB = env("EMBEDDED_ELASTICSEARCH_HEAP_MB", 512, int)  # its Java heap

# ── Local run (`make run`) ──────────────────────────────────────────────────────────────────────────────────────────
AIRFLOW_PORT = env("AIRFLOW_PORT", 8080, int)  # the Airflow UI and the dashboards page
ELASTICSEARCH_PORT = env("ELASTICSEARCH_PORT", 9200, int)  # the embedded node

# ── Analyses: shared by all ─────────────────────────────────────────────────────────────────────────────────────────
DIMENSION_TOP_VALUES = env("DIMENSION_TOP_VALUES", 25, int)  # values kept per dimension column; the rest is `(other)`
CONFIDENCE_LEVEL = env("CONFIDENCE_LEVEL", 0.95, float)  # of every interval
REPORT_MAX_ROWS = env("REPORT_MAX_ROWS", 100_000, int)  # a report with long lists keeps the largest within these rows

# ── Analyses: cohorts ───────────────────────────────────────────────────────────────────────────────────────────────
COHORT_MAX_OFFSET_DAYS = env("COHORT_MAX_OFFSET_DAYS", 15, int)  # last column of the daily cohort tables
COHORT_MAX_OFFSET_WEEKS = env("COHORT_MAX_OFFSET_WEEKS", 15, int)  # last column of the weekly cohort tables
COHORT_MAX_OFFSET_MONTHS = env("COHORT_MAX_OFFSET_MONTHS", 24, int)  # last column of monthly retention and revenue
COHORTS_KEPT_DAYS = env("COHORTS_KEPT_DAYS", 30, int)  # newest daily cohorts in the tables; the averages use all
COHORTS_KEPT_WEEKS = env("COHORTS_KEPT_WEEKS", 26, int)  # newest weekly cohorts in the tables
COHORTS_KEPT_MONTHS = env("COHORTS_KEPT_MONTHS", 24, int)  # newest monthly cohorts in the tables

# ── Analyses: funnels ───────────────────────────────────────────────────────────────────────────────────────────────
FUNNEL_WINDOW_DAYS = env("FUNNEL_WINDOW_DAYS", 30, int)  # days after the download in which customers' steps count
FUNNEL_STEP_WINDOW_DAYS = env(
    "FUNNEL_STEP_WINDOW_DAYS", days_by_name(""), days_by_name
)  # days after the step before in which a customers' step counts, e.g. `signup:1,first_order:14`
FUNNEL_SESSION_ACTIONS = env("FUNNEL_SESSION_ACTIONS", names(""), names)  # sessions' actions that are steps; empty: all
FUNNEL_CUSTOMER_ACTIONS = env(
    "FUNNEL_CUSTOMER_ACTIONS", names(""), names
)  # customers' actions that are steps; empty: all
FUNNEL_KEPT_DAYS = env("FUNNEL_KEPT_DAYS", 180, int)  # newest days in the daily funnels; weeks and months are all kept

# ── Analyses: descriptive statistics ────────────────────────────────────────────────────────────────────────────────
PAYMENT_BINS_MIN = env("PAYMENT_BINS_MIN", 5, int)  # fewest bins of the payment distribution
PAYMENT_BINS_MAX = env("PAYMENT_BINS_MAX", 50, int)  # most bins; amounts past the last edge share an open bin
ORDER_COUNT_MAX = env("ORDER_COUNT_MAX", 20, int)  # customers with this many orders or more are counted together
ACTIVITY_KEPT_DAYS = env(
    "ACTIVITY_KEPT_DAYS", 730, int
)  # newest days in the daily tables; weeks and months are all kept
KPI_PERIOD_DAYS = env("KPI_PERIOD_DAYS", 7, int)  # length of the KPI period, compared with the one before it
ACTIVE_WINDOW_PERIODS = env("ACTIVE_WINDOW_PERIODS", 1, int)  # a customer away longer than this many periods is dormant
JOURNEY_MAX_ORDERS = env("JOURNEY_MAX_ORDERS", 10, int)  # steps of the customer journey

# ── Analyses: RFM ───────────────────────────────────────────────────────────────────────────────────────────────────
RFM_SCORES = env("RFM_SCORES", 5, int)  # scores run from 1 (worst) to this
RFM_MIGRATION_DAYS = env("RFM_MIGRATION_DAYS", 30, int)  # segments at `as_of` are compared with those this long before

# ── Analyses: promotions ──────────────────────────────────────────────────────────────────────────────────────────────
PROMOTIONS_KEPT = env("PROMOTIONS_KEPT", 50, int)  # promotions in the table, per dimension value; the rest is `(other)`
PROMOTION_SERIES_KEPT = env("PROMOTION_SERIES_KEPT", 8, int)  # promotions with a daily series
PROMOTION_SERIES_DAYS = env("PROMOTION_SERIES_DAYS", 90, int)  # newest days of the daily series
PROMOTION_REPEAT_DAYS = env("PROMOTION_REPEAT_DAYS", 30, int)  # who orders again within these days came back
PROMOTION_GROSS_MARGIN = env("PROMOTION_GROSS_MARGIN", 0.3, float)  # share of the price before discount that is margin

# ── Analyses: products ────────────────────────────────────────────────────────────────────────────────────────────────
PRODUCTS_KEPT = env("PRODUCTS_KEPT", 100, int)  # products and categories in the tables, per dimension value
PRODUCT_SERIES_KEPT = env("PRODUCT_SERIES_KEPT", 8, int)  # products and categories with hourly and daily series
PRODUCT_SERIES_DAYS = env("PRODUCT_SERIES_DAYS", 90, int)  # newest days of the daily series
ABC_A_SHARE = env("ABC_A_SHARE", 0.8, float)  # class A: the best sellers up to this share of the revenue
ABC_B_SHARE = env("ABC_B_SHARE", 0.95, float)  # class B: the following ones up to this share; class C is the rest
PAIR_PRODUCTS = env("PAIR_PRODUCTS", 200, int)  # products searched for pairs: those with most orders; bounds the work
PAIR_PRODUCT_MIN_ORDERS = env("PAIR_PRODUCT_MIN_ORDERS", 20, int)  # a product in fewer orders is in no pair
PAIR_MIN_ORDERS = env("PAIR_MIN_ORDERS", 5, int)  # a pair in fewer orders is left out
PAIRS_KEPT = env("PAIRS_KEPT", 100, int)  # pairs kept by lift, and as many by orders
PRICE_POINTS_KEPT = env("PRICE_POINTS_KEPT", 10, int)  # prices per product with a series: those with most orders
