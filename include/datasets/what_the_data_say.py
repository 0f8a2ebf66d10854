"""`docs/what-the-data-say.md`: what the analyses say about two real data sets, with pictures of their own panels.

    CDNOW, Complete Journey, a simulated shop  ->  reports  ->  docs/what-the-data-say.md, docs/images/<picture>

`make pictures` writes both, the pictures of other pages too. The figures are those of the reports; the sentences around
them are written by hand, so whoever changes an analysis reads the page again.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import vl_convert

import configs
from include import catalogue
from include.dashboards.vega import draw, theme
from include.datasets.cdnow import write_cdnow
from include.datasets.completejourney import SHOP_TIMEZONE, write_completejourney
from include.datasets.shop.block import simulate
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import Rhythm
from include.datasets.shop.staged import tables_of_block
from include.elastic.reports import json_rows
from include.pipeline.analyse import compute
from include.schemas.reports import SHARED_FIELDS, Report
from include.staging.tables import Tables, tables_from_frames

PAGE = "docs/what-the-data-say.md"
IMAGES = "docs/images"
WIDTH, LABEL_WIDTH = 760, 430  # pixels of a picture, and of the longest name in it
WRAP_AT = 120
CDNOW_END, COMPLETE_JOURNEY_END = date(1998, 6, 30), date(2017, 12, 31)
SHOP_SEED = 11
Reports = dict[str, dict[str, Report]]  # by analysis and type


@dataclass(frozen=True)
class Picture:
    """A panel of an analysis, by its title, and the file it is drawn into; lines of many days are smaller as PNG."""

    file: str
    analysis: str
    title: str
    form: Literal["svg", "png"] = "svg"

    @property
    def name(self) -> str:
        return f"{self.file}.{self.form}"


def cdnow_tables(folder: Path) -> Tables:
    """CDNOW as the pipeline would stage it; its files are written to `folder`."""
    write_cdnow(folder)
    orders = pd.read_csv(folder / "sessions.csv", dtype={"client": "str"})
    sessions = pd.DataFrame(
        {
            "id": orders["client"] + "-" + orders["date"],
            "client": orders["client"],
            "session_start_date": _instants(orders["date"]),
            "has_purchased": True,
            "payment_amount": orders["amount"],
        }
    )
    customers = pd.read_csv(folder / "customers.csv", dtype={"client": "str"})
    customers["download_date"] = _instants(customers.pop("first_order"))
    return tables_from_frames(sessions, customers)


def complete_journey_tables(folder: Path) -> Tables:
    """The Complete Journey as the pipeline would stage it, without dimensions; its files are written to `folder`."""
    write_completejourney(folder)
    baskets = pd.read_csv(folder / "sessions.csv", dtype={"basket": "str", "household": "str", "campaign": "str"})
    sessions = pd.DataFrame(
        {
            "id": baskets["basket"],
            "client": baskets["household"],
            "session_start_date": _instants(baskets["bought_at"]),
            "has_purchased": True,
            "payment_amount": baskets["sales_value"],
            "discount_amount": baskets["shop_discount"],
            "promotion_id": baskets["campaign"].astype("object"),
        }
    )
    customers = pd.read_csv(folder / "customers.csv", dtype={"household": "str"})
    customers = customers.rename(columns={"household": "client"})
    customers["download_date"] = _instants(customers.pop("first_bought_at"))
    lines = pd.read_csv(folder / "lines.csv", dtype={"basket": "str", "product": "str", "category": "str"})
    lines = lines[lines["quantity"] > 0]
    basket = pd.DataFrame(
        {
            "order_id": lines["basket"],
            "product": lines["product"],
            "category": lines["category"].astype("object"),
            "price": lines["unit_price"],
            "quantity": lines["quantity"],
        }
    )
    return tables_from_frames(sessions, customers, basket=basket, time_zone=SHOP_TIMEZONE)


def shop_tables() -> Tables:
    """The simulated shop: about 160,000 sessions."""
    shop = Shop()
    return tables_of_block(shop, simulate(shop, Rhythm(shop), seed=SHOP_SEED, number=0, most_sessions=10**9))


def _instants(texts: pd.Series) -> pd.Series:
    return pd.to_datetime(texts.str.removesuffix("Z")).astype("datetime64[us]")


def reports_of(tables: Tables, as_of: date, analyses: tuple[str, ...]) -> Reports:
    return {name: compute(name, tables, as_of=as_of) for name in analyses}


def drawn(picture: Picture, reports: Reports) -> str:
    """The panel as an SVG."""
    return str(vl_convert.vegalite_to_svg(_spec(picture, reports)))


def write_picture(picture: Picture, reports: Reports, folder: Path) -> None:
    file = folder / picture.name
    if picture.form == "svg":
        file.write_text(drawn(picture, reports), encoding="utf-8")
    else:
        file.write_bytes(vl_convert.vegalite_to_png(_spec(picture, reports)))


def _spec(picture: Picture, reports: Reports) -> dict[str, Any]:
    module = catalogue.analysis(picture.analysis).module
    fields = {**SHARED_FIELDS, **module.FIELDS}
    ((report_type, panel),) = (
        (report_type, panel)
        for report_type in module.REPORTS
        for panel in report_type.panels
        if panel.title == picture.title
    )
    rows = reports[picture.analysis][report_type.type].rows
    of_all = rows[rows["dimension"] == "all"]
    spec = draw(panel, json_rows(report_type, of_all, fields, picture.analysis), fields).spec
    if spec is None:
        raise ValueError(f"{picture.title} has nothing to show")
    look = theme(dark=False)
    axis = {**look["axis"], "labelLimit": LABEL_WIDTH, "maxExtent": LABEL_WIDTH + 40}
    look |= {"background": "white", "font": "sans-serif", "axis": axis}
    return {**spec, "width": WIDTH, "config": look}


class Found:
    """The figures of all customers in the reports of one data set."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports

    def rows(self, analysis: str, report: str, **where: Any) -> pd.DataFrame:
        rows = self.reports[analysis][report].rows
        for name, value in {"dimension": "all", **where}.items():
            rows = rows[rows[name] == value]
        return rows

    def row(self, analysis: str, report: str, **where: Any) -> Any:
        (found,) = self.rows(analysis, report, **where).itertuples(index=False)
        return found

    def kpi(self, analysis: str, name: str) -> float:
        return next(iter(self.reports[analysis].values())).kpis[name]


def cdnow_text(reports: Reports) -> str:
    found = Found(reports)
    months = found.rows("descriptive_statistics", "activity", granularity="month")
    orders = dict(zip(months["period"], months["orders"], strict=True))
    once = found.row("descriptive_statistics", "customers_by_orders", order_count=1)
    gap = found.row("churn", "usual_gaps", acquisition="all")
    half_a_year = found.row("churn", "gap_survival", acquisition="all", days=182)
    overdue = found.row("churn", "overdue", status="overdue")
    highest = found.rows("churn", "probability_alive").sort_values("customers").iloc[-1]
    active, everybody = (found.kpi("churn", name) for name in ("expected_active_customers", "customers_with_orders"))
    first, last = (found.row("cohorts", "average_revenue", granularity="week", offset=week) for week in (0, 15))
    at_once, until_then = first.cumulative_revenue_per_customer, last.cumulative_revenue_per_customer
    return _wrapped(f"""\
## CDNOW: the first buyers of a quarter

Everybody who first bought at an online music shop in the first quarter of 1997, and all they bought until the end
of June 1998: {everybody:,.0f} customers, {months["orders"].sum():,} orders, {months["revenue"].sum():,.2f}
dollars.

{shown(CDNOW[0])}

**The fall in April 1997 is the data's, not the shop's.** From {orders[date(1997, 3, 1)]:,} orders in March to
{orders[date(1997, 4, 1)]:,} in April: nobody who first bought after March is in the data. What follows is what those
customers still order, and that falls slowly: {orders[date(1997, 5, 1)]:,} orders in May 1997,
{orders[date(1998, 6, 1)]:,} in June 1998.

{shown(CDNOW[1])}

**Half of the orders are followed by another within {gap.median_gap_days:.0f} days**
({gap.median_gap_low_days:.0f} to {gap.median_gap_high_days:.0f}), and {half_a_year.survival:.1%} are not within
half a year. Those that are followed at all are soon: half of them within {gap.usual_gap_days:.0f} days, the usual
gap. The distance between these two is the customers who left, whom a plain mean of the gaps would not see.
{once.customers:,} customers ({once.rate:.1%}) ordered once and never again.

{shown(CDNOW[2])}

**Some {active:,.0f} customers may still be active**: that is the sum of P(alive), and no list of names. The high
bar ({highest["alive_label"]}, {highest["customers"]:,} customers) are above all those with one order, of whom the model
knows only that it was more than a year ago; a model in which nobody leaves after the first order would call all of
them active. By their own rhythm {overdue.customers:,} ({overdue.rate:.1%}) are overdue.

{shown(CDNOW[3])}

**A customer paid {at_once:,.2f} dollars in the week of the first order, and {until_then:,.2f} by week 15.** So
{at_once / until_then:.0%} of it came at once. All {last.n} weekly cohorts are old enough, and all customers
count, also those who ordered once: that is the value to compare with what winning a customer cost.

What this data cannot say: visits without an order are not in it, so conversion is 100 %; orders have days and no
hours.
""")


def complete_journey_text(reports: Reports) -> str:
    found = Found(reports)
    months = found.rows("descriptive_statistics", "activity", granularity="month")
    least, most = (months.sort_values("orders").iloc[place] for place in (0, -1))
    hours = found.rows("descriptive_statistics", "hour_of_day").sort_values("orders_per_day")
    gap = found.row("churn", "usual_gaps", acquisition="all")
    january = found.row("churn", "usual_gaps", acquisition="2017-01")
    a_week = found.row("churn", "gap_survival", acquisition="all", days=7)
    weekly = found.rows("churn", "window_churn", granularity="week", activity="order", is_complete=True)["rate"]
    monthly = found.rows("churn", "window_churn", granularity="month", activity="order", is_complete=True)["rate"]
    overdue = found.row("churn", "overdue", status="overdue")
    active, everybody = (found.kpi("churn", name) for name in ("expected_active_customers", "customers_with_orders"))
    pairs = found.rows("product_analytics", "product_pairs")
    strongest, commonest = pairs.iloc[0], pairs.sort_values("orders").iloc[-1]
    best = found.row("product_analytics", "abc_classes", abc_class="A")
    organic, promoted = (
        found.row("promotion_analytics", "order_kinds", order_kind=kind) for kind in ("organic", "promoted")
    )
    return _wrapped(f"""\
## The Complete Journey: a year of groceries

[Every basket](complete-journey.md) of {everybody:,.0f} households in 2017: {months["orders"].sum():,} baskets,
{months["revenue"].sum():,.2f} dollars. Most households were customers before, so their "first" basket is only the
first one in the data: {january.n:,} of the {gap.n:,} days with a basket are of those who "came" in January.
Cohorts and lifetime values by arrival mean little here.

{shown(COMPLETE_JOURNEY[0])}

**The day has one peak, and the year none.** {hours["orders_per_day"].iloc[-1]:.0f} baskets a day from
{hours["hour_of_day"].iloc[-1]} to {hours["hour_of_day"].iloc[-1] + 1} o'clock; between {least["orders"]:,}
({least["period"]:%B}, the shortest month) and {most["orders"]:,} ({most["period"]:%B}) a month.

{shown(COMPLETE_JOURNEY[1])}

**Nearly everybody is back within a week.** Only {a_week.survival:.1%} of the days with a basket are not followed
by another one within seven days; the usual gap is {gap.usual_gap_days:.0f} days.

{shown(COMPLETE_JOURNEY[2])}

**A churn of {weekly.median():.0%} a week that is none.** So many of those who shopped in a week stay away in the
next one, but {monthly.median():.0%} in a month, and by the model some {active:,.0f} of {everybody:,.0f}
households are still there. Who shops every other week counts as lost each time: a window says something when it is
longer than the usual gap of most customers.

**{overdue.customers:,} households ({overdue.rate:.1%}) are overdue, and probably most of them have not left**:
their mean P(alive) is {overdue.mean_probability_alive:.0%}. Overdue compares with the household's own mean gap of
{overdue.mean_expected_gap_days:.0f} days, and gaps vary: a holiday is enough. It says whom to look at, not who is
gone.

{shown(COMPLETE_JOURNEY[3])}

**What is bought together most is what is bought most.** The commonest pair, {commonest["product_pair"]}, is in
{commonest["orders"]:,} baskets with a lift of {commonest["lift"]:.1f}. The strongest,
{strongest["product_pair"]}, in {strongest["orders"]:,} with a lift of {strongest["lift"]:.0f}
({strongest["lift_ci_low"]:.0f} to {strongest["lift_ci_high"]:.0f}): two kinds of the same thing, as are most of
the pairs at the top. That they belong together is sure; that one sells the other does not follow, as a common offer
does the same. {best.products:,} of {best.denominator:,} products ({best.rate:.0%}) make
{best.product_revenue_share:.0%} of the revenue.

**Households with coupons spend more, and that does not show what coupons do.** The {promoted.orders:,} baskets in
which a campaign's coupon was redeemed paid {promoted.average_order_value:.2f} dollars on average, the others
{organic.average_order_value:.2f}. Of {promoted.denominator:,} households {promoted.rate:.1%} came back within 30
days of their first basket with a coupon, of {organic.denominator:,} households {organic.rate:.1%} of their first
basket without. But the shop chose whom to send coupons to, a large basket has more chances to hold one, and such
households came often before: without a group that got none by chance, nobody knows what the coupons did.
""")


CDNOW = (
    Picture("cdnow-orders", "descriptive_statistics", "Weekly orders"),
    Picture("cdnow-gaps", "churn", "Orders not followed by another yet"),
    Picture("cdnow-alive", "churn", "Customers by the probability that they are still active"),
    Picture("cdnow-lifetime-value", "cohorts", "Observed lifetime value, on average"),
)
COMPLETE_JOURNEY = (
    Picture("groceries-hours", "descriptive_statistics", "Hourly orders"),
    Picture("groceries-gaps", "churn", "Orders not followed by another yet"),
    Picture("groceries-churn", "churn", "Weekly churn, by orders"),
    Picture("groceries-pairs", "product_analytics", "Strongest pairs"),
)
# Shown on the pages of the analyses.
DECILES, DAILY = "Predicted and actual orders", "Daily revenue, actual and predicted"
MORE_OF_CDNOW = (
    Picture("ab-tests-segments-cdnow", "ab_test", "Orders per customer: current month per segment"),
    Picture("anomalies-cdnow", "anomaly_detection", "Orders", "png"),
    Picture("customer-value-daily-cdnow", "clv_prediction", DAILY, "png"),
    Picture("customer-value-deciles-cdnow", "clv_prediction", DECILES),
    Picture("segmentation-cdnow", "customer_segmentation", "Customers per segment"),
)
MORE_OF_COMPLETE_JOURNEY = (
    Picture("ab-tests-effect-groceries", "ab_test", "Effect on orders per promotion"),
    Picture("ab-tests-before-after-groceries", "ab_test", "Orders before and after, per promotion"),
    Picture("ab-tests-self-check-groceries", "ab_test", "Rejections without an effect"),
    Picture("anomalies-groceries", "anomaly_detection", "Orders", "png"),
    Picture("customer-value-daily-complete-journey", "clv_prediction", DAILY, "png"),
    Picture("customer-value-deciles-complete-journey", "clv_prediction", DECILES),
    Picture("segmentation-complete-journey", "customer_segmentation", "Customers per segment"),
)
SHOP = (
    Picture("anomalies-shop", "anomaly_detection", "Sessions", "png"),
    Picture("deliveries-ride", "delivery_analytics", "Ride: median hours by weekday and hour", "png"),
    Picture("deliveries-waiting", "delivery_analytics", "Orders not yet delivered", "png"),
)
PICTURES = (*CDNOW, *MORE_OF_CDNOW, *COMPLETE_JOURNEY, *MORE_OF_COMPLETE_JOURNEY, *SHOP)
CDNOW_ANALYSES = ("descriptive_statistics", "cohorts", "churn")
COMPLETE_JOURNEY_ANALYSES = ("descriptive_statistics", "churn", "product_analytics", "promotion_analytics")
HEAD = """\
<!-- Written by `make pictures` from the reports. -->

# What the data say

The analyses on two real data sets: what they show, and what not to read into it. `make run DATA=cdnow` and
`make run DATA=completejourney` show all of it; [metrics.md](metrics.md) says how each figure is defined.
"""


def _wrapped(text: str) -> str:
    """Each paragraph in lines of like length, whatever the figures took."""
    lines = (textwrap.fill(one, WRAP_AT, break_long_words=False, break_on_hyphens=False) for one in text.split("\n\n"))
    return "\n\n".join(lines) + "\n"


def shown(picture: Picture) -> str:
    return f"![{picture.title}](images/{picture.name})"


def reports_for(tables: Tables, as_of: date, pictures: Sequence[Picture], told: tuple[str, ...] = ()) -> Reports:
    """The reports of the analyses that are told of, and those of the pictures, which are drawn."""
    reports = reports_of(tables, as_of, tuple(dict.fromkeys([*told, *(picture.analysis for picture in pictures)])))
    for picture in pictures:
        write_picture(picture, reports, configs.PROJECT_ROOT / IMAGES)
    return reports


def main() -> int:
    data = Path(configs.VAR_DIR) / "data"
    cdnow = reports_for(cdnow_tables(data / "cdnow"), CDNOW_END, (*CDNOW, *MORE_OF_CDNOW), CDNOW_ANALYSES)
    tables = complete_journey_tables(data / "completejourney")
    of_groceries = (*COMPLETE_JOURNEY, *MORE_OF_COMPLETE_JOURNEY)
    complete_journey = reports_for(tables, COMPLETE_JOURNEY_END, of_groceries, COMPLETE_JOURNEY_ANALYSES)
    reports_for(shop_tables(), Shop().last_day, SHOP)
    text = "\n".join([HEAD, cdnow_text(cdnow), complete_journey_text(complete_journey)])
    (configs.PROJECT_ROOT / PAGE).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
