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


def numbers_by_name(text: str) -> dict[str, float]:
    """A comma-separated list of `name:number`."""
    pairs = (part.rpartition(":") for part in names(text))
    return {name.strip(): float(number) for name, _, number in pairs}


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
ANALYSES = env("ANALYSES", names(""), names)  # which analyses run unless the form says otherwise, as a,b; empty: all
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
REDSHIFT_FETCH_ROWS = env("REDSHIFT_FETCH_ROWS", 1_000, int)  # rows per FETCH; a single-node cluster allows no more
REDSHIFT_UNLOAD_URL = env("REDSHIFT_UNLOAD_URL", "", str)  # s3:// folder to read Redshift through; empty: a cursor
REDSHIFT_UNLOAD_IAM_ROLE = env("REDSHIFT_UNLOAD_IAM_ROLE", "default", str)  # ARN of the role that may write there
MAX_QUARANTINED_SHARE = env(
    "MAX_QUARANTINED_SHARE", 0.05, float
)  # a source with a larger share of bad rows fails the run
MAX_QUARANTINED_ROWS_LOGGED = env(
    "MAX_QUARANTINED_ROWS_LOGGED", 5, int
)  # examples of bad rows shown in the log per rule
DIMENSION_VALUES_MAX = env(
    "DIMENSION_VALUES_MAX", 1_000, int
)  # a dimension with more values is none: rows with the rarest new ones are bad
QUARANTINE_INDEXED_ROWS_MAX = env(
    "QUARANTINE_INDEXED_ROWS_MAX", 1_000, int
)  # rejected rows per run, source and rule that the page and `quarantine` show; the Parquet files have all
QUARANTINE_RETENTION_DAYS = env("QUARANTINE_RETENTION_DAYS", 30, int)  # rejected rows are kept this long
GX_BATCH_ROWS = env("GX_BATCH_ROWS", 1_000_000, int)  # rows Great Expectations holds at once
EARLIEST_DATE = env("EARLIEST_DATE", "1970-01-01", str)  # a date before this is a placeholder, not a date
FUTURE_TOLERANCE_HOURS = env("FUTURE_TOLERANCE_HOURS", 24, int)  # a date this far past the run's start is `in_future`

# ── BigQuery sources ────────────────────────────────────────────────────────────────────────────────────────────────
BIGQUERY_LOCATION = env("BIGQUERY_LOCATION", "", str)  # where queries run, such as EU; the connection's `location` wins
BIGQUERY_MAX_BYTES_BILLED = env(
    "BIGQUERY_MAX_BYTES_BILLED", 100_000_000_000, int
)  # a query that would read more bytes is refused before it costs anything
BIGQUERY_PRICE_PER_TIB = env("BIGQUERY_PRICE_PER_TIB", 0.0, float)  # your price, for the cost in the log; 0: left out
BIGQUERY_STORAGE_API = env("BIGQUERY_STORAGE_API", True, boolean)  # results come through the faster Storage Read API
BIGQUERY_QUERY_SECONDS = env("BIGQUERY_QUERY_SECONDS", 3_600, int)  # a query that takes longer is cancelled
BIGQUERY_REQUEST_SECONDS = env("BIGQUERY_REQUEST_SECONDS", 60.0, float)  # how long one request may take
BIGQUERY_RETRY_SECONDS = env("BIGQUERY_RETRY_SECONDS", 120.0, float)  # a refused or lost request is sent again so long

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

# ── Kibana ──────────────────────────────────────────────────────────────────────────────────────────────────────────
KIBANA_URL = env("KIBANA_URL", "", str)  # a Kibana that runs bring the dashboards to; empty: none
KIBANA_SPACE = env("KIBANA_SPACE", "", str)  # the space they go to, which must exist; empty: the default one
KIBANA_CONN_ID = env("KIBANA_CONN_ID", "kibana_default", str)  # the connection with Kibana's login; its host is unused
KIBANA_SET_TIME_ZONE = env("KIBANA_SET_TIME_ZONE", False, boolean)  # the space shows UTC, unless someone set its zone

# ── The report that can be sent ─────────────────────────────────────────────────────────────────────────────────────
WRITE_REPORT = env("WRITE_REPORT", True, boolean)  # each run writes its dashboards as one HTML file to staging
REPORT_DASHBOARDS = env("REPORT_DASHBOARDS", names(""), names)  # in this order; empty: those with something to say
REPORT_DIMENSION = env("REPORT_DIMENSION", "all", str)  # the dimension value it shows, e.g. `region: North`
REPORT_MAX_BYTES = env("REPORT_MAX_BYTES", 8_000_000, int)  # dashboards that would make it larger are left out
REPORTS_KEPT = env("REPORTS_KEPT", 30, int)  # files of older report dates are deleted
REPORT_RECIPIENTS = env("REPORT_RECIPIENTS", names(""), names)  # addresses each run mails it to; empty: no mail
SMTP_CONN_ID = env("SMTP_CONN_ID", "smtp_default", str)  # the connection with mail server, login and sender

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

# ── Analyses: churn ─────────────────────────────────────────────────────────────────────────────────────────────────
CHURN_GAP_MAX_DAYS = env("CHURN_GAP_MAX_DAYS", 182, int)  # end of the curve of the gap between orders
CHURN_GAP_STEP_DAYS = env("CHURN_GAP_STEP_DAYS", 7, int)  # days between two points of that curve
CHURN_COHORTS_KEPT = env("CHURN_COHORTS_KEPT", 12, int)  # newest months of acquisition that have a curve of their own
CHURN_OVERDUE_FACTOR = env("CHURN_OVERDUE_FACTOR", 2.0, float)  # away longer than so many expected gaps is overdue

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

# ── Analyses: source health ─────────────────────────────────────────────────────────────────────────────────────────
SOURCE_HEALTH_WEEKS = env("SOURCE_HEALTH_WEEKS", 8, int)  # a day is compared with its weekday in this many weeks before
SOURCE_HEALTH_WEEKS_MIN = env("SOURCE_HEALTH_WEEKS_MIN", 4, int)  # with fewer of them nothing is expected of a day
SOURCE_HEALTH_LIMIT = env("SOURCE_HEALTH_LIMIT", 4.0, float)  # further from the median, in spreads, a day is unusual
SOURCE_HEALTH_KEPT_DAYS = env("SOURCE_HEALTH_KEPT_DAYS", 56, int)  # newest days in the report

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

# ── Machine learning: anomaly detection ─────────────────────────────────────────────────────────────────────────────
ANOMALY_FALSE_DISCOVERY_RATE = env("ANOMALY_FALSE_DISCOVERY_RATE", 0.02, float)  # share of false ones among anomalies
ANOMALY_MAX_SHARE = env("ANOMALY_MAX_SHARE", 0.1, float)  # at most this share of a series' days can be anomalies
ANOMALY_TREND_DAYS = env("ANOMALY_TREND_DAYS", 21, int)  # window of the level, odd: shorter follows changes faster
ANOMALY_MIN_DAYS = env("ANOMALY_MIN_DAYS", 56, int)  # shorter series are shown and not judged
ANOMALY_MIN_PER_DAY = env("ANOMALY_MIN_PER_DAY", 5.0, float)  # series with fewer a day on most days are not judged
ANOMALY_HOLIDAYS = env("ANOMALY_HOLIDAYS", names(""), names)  # days known to be odd: 2025-04-18, or 12-25 (every year)
ANOMALY_COHORT_DAYS = env("ANOMALY_COHORT_DAYS", 7, int)  # days after a download in which the first order counts
ANOMALY_CAMPAIGN_MAX_DAYS = env("ANOMALY_CAMPAIGN_MAX_DAYS", 28, int)  # longer promotions are not odd days but normal
ANOMALY_CUSTOMER_DAYS = env("ANOMALY_CUSTOMER_DAYS", 90, int)  # newest days in which customers are held to a forecast
ANOMALY_CUSTOMERS_KEPT = env("ANOMALY_CUSTOMERS_KEPT", 100, int)  # customers listed who depart from it
ANOMALY_KEPT_DAYS = env("ANOMALY_KEPT_DAYS", 180, int)  # newest days in the daily tables; anomalies are all kept
ALERT_NOTIFIER = env("ALERT_NOTIFIER", "", str)  # Airflow notifier class told of alerts, by its path; empty: log only
ALERT_NOTIFIER_ARGUMENTS = env(
    "ALERT_NOTIFIER_ARGUMENTS", '{"text": "{{ alerts }}"}', str
)  # its arguments as JSON, logins by connection id

# ── Machine learning: deliveries ────────────────────────────────────────────────────────────────────────────────────
DELIVERY_PROMISE_HOURS = env("DELIVERY_PROMISE_HOURS", 0.0, float)  # promised hours from order to door; 0: no promise
DELIVERY_OPEN_DAYS = env("DELIVERY_OPEN_DAYS", 14, int)  # an order without a delivery is under way no longer than this
DELIVERY_GEOHASH_LENGTH = env("DELIVERY_GEOHASH_LENGTH", 4, int)  # size of a place: 3 is 156 km, 4 is 39 km, 5 is 5 km
DELIVERY_MIN_SLOWDOWN = env("DELIVERY_MIN_SLOWDOWN", 1.2, float)  # slower by less than this factor is not abnormal
DELIVERY_FALSE_DISCOVERY_RATE = env("DELIVERY_FALSE_DISCOVERY_RATE", 0.05, float)  # share of false ones among abnormal
DELIVERY_MIN_DELIVERIES = env("DELIVERY_MIN_DELIVERIES", 5, int)  # a place, customer or hour with fewer is not judged
DELIVERY_KEPT = env("DELIVERY_KEPT", 100, int)  # places, slow groups and slow deliveries kept, per dimension value

# ── Machine learning: customer lifetime value ───────────────────────────────────────────────────────────────────────
CLV_HOLDOUT_DAYS = env("CLV_HOLDOUT_DAYS", 90, int)  # newest days that the models predict and are judged by
CLV_VALUE_DAYS = env("CLV_VALUE_DAYS", 365, int)  # how far ahead the lifetime value looks
CLV_ANNUAL_DISCOUNT_RATE = env("CLV_ANNUAL_DISCOUNT_RATE", 0.1, float)  # what later revenue is worth less, per year
CLV_FORECAST_DAYS = env("CLV_FORECAST_DAYS", 182, int)  # days of revenue ahead
CLV_HISTORY_DAYS = env("CLV_HISTORY_DAYS", 182, int)  # days of revenue before the report date, shown beside
CLV_NEW_CUSTOMER_DAYS = env(
    "CLV_NEW_CUSTOMER_DAYS", 56, int
)  # newest days that the pace of new customers is taken from

# ── Machine learning: customer segmentation ─────────────────────────────────────────────────────────────────────────
SEGMENTATION_SEGMENTS_MIN = env("SEGMENTATION_SEGMENTS_MIN", 3, int)  # fewest segments
SEGMENTATION_SEGMENTS_MAX = env("SEGMENTATION_SEGMENTS_MAX", 8, int)  # most segments
SEGMENTATION_METRIC_CLUSTERS = env("SEGMENTATION_METRIC_CLUSTERS", 5, int)  # clusters of each single metric
SEGMENTATION_FIT_CUSTOMERS = env("SEGMENTATION_FIT_CUSTOMERS", 20_000, int)  # customers drawn to find the segments by
SEGMENTATION_SAMPLE_CUSTOMERS = env(
    "SEGMENTATION_SAMPLE_CUSTOMERS", 1_000, int
)  # of these, customers drawn to choose the number of segments by
SEGMENTATION_RESAMPLES = env("SEGMENTATION_RESAMPLES", 10, int)  # resamples that the stability is measured on
SEGMENTATION_MIGRATION_DAYS = env("SEGMENTATION_MIGRATION_DAYS", 30, int)  # movements are those since so long before
SEGMENTATION_RANDOM_STATE = env("SEGMENTATION_RANDOM_STATE", 0, int)  # seed of everything that is drawn

# ── Machine learning: A/B tests ─────────────────────────────────────────────────────────────────────────────────────
AB_TEST_WINDOW_DAYS = env("AB_TEST_WINDOW_DAYS", 7, int)  # days before and after a use of a promotion or product
AB_TEST_HISTORY_DAYS = env("AB_TEST_HISTORY_DAYS", 28, int)  # days before it that decide who is a customer's match
AB_TEST_RECENT_DAYS = env("AB_TEST_RECENT_DAYS", 365, int)  # uses of promotions and products as old as this count
AB_TEST_PROMOTIONS_KEPT = env("AB_TEST_PROMOTIONS_KEPT", 20, int)  # promotions compared: those with most customers
AB_TEST_PRODUCTS_KEPT = env("AB_TEST_PRODUCTS_KEPT", 20, int)  # products compared: those with most customers
AB_TEST_MIN_CUSTOMERS = env("AB_TEST_MIN_CUSTOMERS", 30, int)  # with fewer in a group, a result is descriptive only
AB_TEST_GROUP_COLUMN = env("AB_TEST_GROUP_COLUMN", "", str)  # an experiment's group: a dimension, or promotion_id
AB_TEST_CONTROL_GROUP = env("AB_TEST_CONTROL_GROUP", "control", str)  # the group the others are compared with
AB_TEST_GROUP_SHARES = env(
    "AB_TEST_GROUP_SHARES", numbers_by_name(""), numbers_by_name
)  # intended sizes of the groups, e.g. `control:50,new:50`; empty: equal
AB_TEST_WINSOR_SHARE = env("AB_TEST_WINSOR_SHARE", 0.01, float)  # largest values that are cut in the winsorised test
AB_TEST_EXPECTED_LIFT = env("AB_TEST_EXPECTED_LIFT", 0.05, float)  # relative effect worth finding: power, sequential
AB_TEST_POWER = env("AB_TEST_POWER", 0.8, float)  # the minimum detectable effect is found this often
AB_TEST_PERMUTATIONS = env("AB_TEST_PERMUTATIONS", 5_000, int)  # random splits in the self-check
AB_TEST_RESAMPLES = env("AB_TEST_RESAMPLES", 999, int)  # of the bootstrap
AB_TEST_SEED = env("AB_TEST_SEED", 1, int)  # of everything random in the A/B tests
