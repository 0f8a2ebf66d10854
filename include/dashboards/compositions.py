"""The dashboards whose panels come from several analyses."""

from __future__ import annotations

import configs
from include.dashboards.dashboard import Dashboard, Shown
from include.dashboards.panel import Panel
from include.measures.kpi_window import kpi_window

GROUP = "Dashboards"
LATEST = kpi_window(configs.KPI_PERIOD_DAYS)


def _top(what: str, plural: str, field: str) -> Panel:
    return Panel(
        title=f"Top {plural}",
        mark="bar",
        x=field,
        y="orders",
        x_title=what,
        y_title="Orders",
        sort="descending",
        limit=10,
        how_to_read=f"The ten {plural} in most orders, of all time.",
    )


# A table: bars of no days at all, which is how it should be, would be an empty chart.
FRESHNESS = Panel(
    title="Data freshness",
    mark="table",
    y="days_since_newest",
    columns=("source", "newest_day", "days_since_newest", "is_late"),
    how_to_read="How many days before the report date the newest row of each source is; zero is up to date.",
)

OVERVIEW = Dashboard(
    "overview",
    "Overview",
    GROUP,
    f"""How the business is doing: what the {LATEST} brought, what is unusual, what sells, who stays.

Each panel comes from an analysis, which its link leads to; the analysis's page tells how it is computed.""",
    (
        *(
            Shown("descriptive_statistics", "kpis", f"{title}, {LATEST}", width=3)
            for title in ("Orders", "Revenue", "Visitors", "Discount")
        ),
        Shown(
            "anomaly_detection",
            "daily_series",
            "Orders",
            title="Daily orders",
            width=12,
        ),
        Shown("anomaly_detection", "newest_period", "Alerts of the newest day", width=6),
        Shown("source_health", "sources", FRESHNESS),
        Shown("descriptive_statistics", "customer_journey", "Customer journey: time"),
        Shown("descriptive_statistics", "customer_journey", "Customer journey: amount"),
        Shown("churn", "window_churn", "Weekly churn, by sessions"),
        Shown("churn", "overdue", "Customers overdue"),
        Shown("product_analytics", "products", _top("Product", "products", "product")),
        Shown("product_analytics", "categories", _top("Category", "categories", "category")),
    ),
)

CUSTOMERS = Dashboard(
    "customers",
    "Customers",
    GROUP,
    """Who the customers are: what they pay, how often they order, their segments, and what they will bring.

Each panel comes from an analysis, which its link leads to; the analysis's page tells how it is computed.""",
    (
        Shown("descriptive_statistics", "payment_distribution"),
        Shown("descriptive_statistics", "customers_by_orders"),
        Shown("rfm", "segments", "Customers per segment", title="RFM segments"),
        Shown("rfm", "score_cells", "Frequency and recency", title="RFM: frequency and recency", width=6),
        Shown("customer_segmentation", "segments", "Customers per segment", title="Customer segments"),
        Shown("customer_segmentation", "segments", "Where the segments lie", title="Where the customer segments lie"),
        Shown("cohorts", "download_to_first_order", "Download to 1st order, weekly cohorts"),
        Shown("funnels", "customer_funnel", "Daily customer funnel"),
        Shown("clv_prediction", "clv_segments", "Lifetime value by segment"),
        Shown("clv_prediction", "clv_segments", "Expected revenue by segment"),
        Shown("clv_prediction", "daily_clv", "Daily revenue, actual and predicted", width=12),
    ),
)

DATA_QUALITY = Dashboard(
    "data_quality",
    "Data quality",
    GROUP,
    """Whether the data can be relied on: are all sources there and as large as usual, how many rows were set aside.

The *Quarantine* page shows the rows that were set aside, with the rules they broke and what to do about them.""",
    (
        Shown("source_health"),
        Shown("runs", "runs", "Share quarantined", width=6),
        Shown("runs", "sources", "Rows quarantined per run"),
        Shown("runs", "sources", "Sources of the newest run"),
    ),
    see_also=("quarantine",),
)

RUNS = Dashboard(
    "runs",
    "Runs",
    GROUP,
    """How the pipeline does its work: how long it took, what it read and set aside, how fresh the reports are.""",
    (Shown("runs"),),
)

COMPOSITIONS = (OVERVIEW, CUSTOMERS, DATA_QUALITY, RUNS)
