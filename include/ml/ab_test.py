"""A/B tests: what a promotion, a product or an experiment changed, with interval, p-value and the customers behind it.

    sessions [with promotion_id], [basket]  ->  promotions and products against matched controls; segments against
                                                earlier days, weeks and months; experiments; a check of the tests

**Promotions and products.** Users are compared with customers who ordered in the same calendar week without it and had
not used it until then, matched by orders and money in the days before, orders in the longer history, and whether it was
the first order: the change of orders and of revenue from the AB_TEST_WINDOW_DAYS before to as many after, less the
change of these controls (difference in differences). The day itself counts on neither side. Of a promotion the
customer's first order while it ran decides, with the code or without. Nobody is left out for what they did later: a
control that uses the promotion later stays one. Of a product the first use counts, and what was paid on that day is
matched too; as nobody assigns products, these rows are descriptive.

The plain *before and after* of the same customers stands beside it and is descriptive, never a finding: whoever
orders today was more active than usual or will be, and the season moves all. How wrong it is on these data is measured
in the self-check. Where the customers' orders before differ from what is usual for them, `has_regression_to_mean` says
so.

A promotion that moves everybody, also those who do not use its code, shows no difference between users and controls.
For that, orders per ordering customer *while it ran* are compared with up to four equally long periods before it
(shifted by whole weeks, without those in which another promotion ran); what differs between such periods anyway is
in the interval.

Each pair of promotions is compared by their effects against their own controls. P-values are corrected within each
family (comparison, outcome, dimension value) by Holm, for any false find, and by Benjamini and Hochberg, for their
share.

**Segments.** Orders per customer and mean payment in the current day, week and month up to the report date, against
the mean of the last four same weekdays, weeks and months, each up to the same day. The RFM segment is that of the day
before; customers who were in another one before the oldest of these periods are left out. It is a before and after of
the same customers, so it is descriptive.

**Experiments.** With AB_TEST_GROUP_COLUMN, customers belong to the group of their first session that has one, from that
session on; what they did later does not change it. First comes the test whether the groups have the intended sizes:
where it fails, everything below it is descriptive. Orders and revenue per customer are compared by Welch's test, after
winsorising, by ranks, by bootstrap, after CUPED with the same customers' AB_TEST_HISTORY_DAYS before, and by a p-value
that holds however often one looks; the share who ordered by proportions; revenue per order and orders per session by
the delta method. The minimum detectable effect stands beside each.

**Self-check.** Customers are split at random, so that there is no effect, AB_TEST_PERMUTATIONS times; uses of a
promotion are given to other customers of the same stratum; weeks without a promotion are compared with those before
them. A test with p-values that are not uniform, or that rejects more or less than 5 % ± 1.5, is descriptive in all
reports. It is made for `all` only.

Descriptive means: read the number, do not decide on the p-value. It is also said of groups with fewer than
AB_TEST_MIN_CUSTOMERS customers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from itertools import product as every_combination
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

import configs
from include.analytics.product_analytics import FIELDS as PRODUCT_FIELDS
from include.analytics.promotion_analytics import FIELDS as PROMOTION_FIELDS
from include.analytics.rfm import FIELDS as RFM_FIELDS
from include.analytics.rfm import SEGMENTS, segment
from include.dashboards.panel import Panel
from include.experiments import permutation
from include.experiments.assignment import MISMATCH_BELOW, sample_ratio_p_value
from include.experiments.comparisons import (
    Comparison,
    Estimate,
    Sample,
    bootstrap,
    difference_of,
    interval,
    mann_whitney,
    paired,
    proportions,
    sample,
    welch,
    winsor_limit,
    winsorised,
)
from include.experiments.corrections import benjamini_hochberg, holm
from include.experiments.cuped import adjusted, cuped
from include.experiments.difference_in_differences import changes_compared, design_of
from include.experiments.earlier_periods import change_from_earlier
from include.experiments.exposures import (
    DAY_SPAN,
    OrderHistory,
    Units,
    first_orders,
    first_uses,
    order_history,
    units_of,
)
from include.experiments.permutation import Calibration, calibration
from include.experiments.power import minimum_detectable_effect, power
from include.experiments.ratios import paired_ratio_change, ratio_difference
from include.experiments.sequential import FIRST_LOOK, always_valid
from include.measures.dimension import CODE, by_dimension
from include.measures.observed import Observed, definition, observed
from include.measures.periods import (
    GRANULARITIES,
    Granularity,
    are_complete,
    as_dates,
    day_number,
    first_days,
    period_of,
)
from include.measures.rates import wilson_interval
from include.measures.reporting import finished_report
from include.measures.results import held, ratio, result
from include.measures.row_limit import fitting
from include.schemas.reports import Field, Report, ReportType
from include.schemas.source_kinds import DIMENSION_PREFIX

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

READS = ("sessions",)

UNITS_OF_MONEY = 10_000  # amounts have four decimals
MATCHED, BEFORE_AFTER, EARLIER, BETWEEN = (
    "matched controls",
    "before and after",
    "earlier periods",
    "between promotions",
)
COMPARISONS = (MATCHED, EARLIER, BETWEEN, BEFORE_AFTER)
OUTCOMES = ("orders", "revenue")
METHODS = (
    "sample_ratio", "welch", "winsorised", "mann_whitney", "bootstrap", "cuped", "always_valid", "proportions",
    "delta_method",
)  # fmt: skip
EXPERIMENT_OUTCOMES = (
    "assignment", "orders per customer", "revenue per customer", "customers with an order", "revenue per order",
    "orders per session",
)  # fmt: skip
EARLIER_PERIODS = 4
LONGEST_PERIOD_DAYS = 28  # of a promotion compared with earlier periods; longer ones span a season
SCORES = 5
LOOKS = 20
CHECKED_CUSTOMERS = 2_000  # in the self-check; more would tell the same
CHECKED_RECENT_DAYS = 180
CHECKED_UNITS = 4_000
CHECKED_BOOTSTRAPS = 2_000  # random splits; each takes as long as a thousand of another test
ALPHA = 0.05
HOLDS, DOES_NOT, NOT_CHECKED = "holds", "does not hold: descriptive", "descriptive by its design"

FIELDS: dict[str, Field] = {
    "promotion_id": PROMOTION_FIELDS["promotion_id"],
    "product": PRODUCT_FIELDS["product"],
    "rfm_segment": RFM_FIELDS["rfm_segment"],
    "comparison": Field("keyword", f"what is compared: {', '.join(f'`{one}`' for one in COMPARISONS)}"),
    "against": Field("keyword", "what it is compared with"),
    "outcome": Field("keyword", "what is compared of each customer: orders, revenue, …"),
    "method": Field("keyword", "which test", in_words=True),
    "effect": Field("double", "the difference, in the unit of the outcome; of `earlier periods` a share"),
    **{
        f"{outcome}_effect{end}": Field("double", f"{told}the difference of {outcome} per customer", unit)
        for outcome, unit in (("orders", "orders"), ("revenue", "currency"))
        for end, told in (("", ""), ("_ci_low", "lower end of "), ("_ci_high", "upper end of "))
    },
    "relative_effect": Field("double", "effect / the value without it", "share"),
    "treated_value": Field("double", "the value of the users or of the group; against matched controls their change"),
    "control_value": Field("double", "the value compared with; against matched controls their change"),
    "n_treated": Field("long", "customers who used it, of the group, or in the period"),
    "n_control": Field("long", "customers (matched controls: customers and days) compared with"),
    "unmatched_customers": Field("long", "users without anybody to compare with", "customers"),
    "p_value_holm": Field("double", "p-value corrected for all comparisons of its family, by Holm"),
    "p_value_bh": Field("double", "the same by Benjamini and Hochberg (false-discovery rate)"),
    "is_descriptive": Field("boolean", "whether this only describes: the p-value is nothing to decide on"),
    "has_regression_to_mean": Field("boolean", "whether the orders before differ from what is usual for the users"),
    "experiment_group": Field("keyword", "the group, by AB_TEST_GROUP_COLUMN"),
    "variance_reduction": Field("double", "the part of the variance that CUPED really took away", "share"),
    "minimum_detectable_effect": Field("double", "the effect found with the probability AB_TEST_POWER"),
    "power": Field("double", "the probability to find a relative effect of AB_TEST_EXPECTED_LIFT", "share"),
    "ks_distance": Field("double", "largest distance of the p-values from uniform", "share"),
    "verdict": Field("keyword", f"`{HOLDS}`, `{DOES_NOT}` or `{NOT_CHECKED}`"),
}

ESTIMATE = (
    "effect", "ci_low", "ci_high", "p_value", "n_treated", "n_control", "treated_value", "control_value",
    "relative_effect", "is_descriptive",
)  # fmt: skip
CORRECTED = ("p_value_holm", "p_value_bh")
USED = (*ESTIMATE, *CORRECTED, "unmatched_customers", "has_regression_to_mean")
TABLE = ("effect", "ci_low", "ci_high", "p_value", "p_value_holm", "p_value_bh", "n_treated", "n_control")
BOTH = tuple(f"{outcome}_effect{end}" for outcome in OUTCOMES for end in ("", "_ci_low", "_ci_high"))
RATE = ("rate", "numerator", "denominator", "ci_low", "ci_high")


def _effect_panels(name: str, title: str) -> tuple[Panel, ...]:
    """For promotions and products alike: effects on both outcomes, the table, and the plain before and after."""
    units = {"orders": ("Orders per customer", "decimal"), "revenue": ("Amount per customer (currency)", "money")}
    lower = title.lower()
    # A product's are descriptive all the same, and the dashboard says so; of a few users of a promotion nothing is.
    decided = {"is_descriptive": False} if name == "promotion_id" else {}
    few = (
        f"No {lower} has a verdict here: fewer than AB_TEST_MIN_CUSTOMERS users with controls, or a test that found "
        "too much without an effect (self-check below). The table has them all."
    )
    return (
        *(
            Panel(
                title=f"Effect on {outcome} per {lower}",
                mark="bar",
                x=name,
                y="effect",
                x_title=title,
                y_title=units[outcome][0],
                format=units[outcome][1],  # type: ignore[arg-type]
                where={"comparison": MATCHED, "outcome": outcome, **decided},
                when_empty=few,
                whisker=("ci_low", "ci_high"),
                limit=20,
                how_to_read=f"How much more the users' {outcome} grew than those of matched controls; where the line, "
                "the interval, crosses zero (grey bars) nothing was found.",
            )
            for outcome in OUTCOMES
        ),
        Panel(
            title=f"{title}s against matched controls",
            mark="table",
            y="effect",
            columns=(name, "outcome", *TABLE, "unmatched_customers", "has_regression_to_mean", "is_descriptive"),
            where={"comparison": MATCHED},
            format="decimal",
            width=12,
            how_to_read="Decide on the corrected p-values (Holm: any false find; BH: share of false finds) and the "
            "interval; descriptive rows are nothing to decide on.",
        ),
        *(
            Panel(
                title=f"{outcome.capitalize()} before and after, per {lower}",
                mark="bar",
                x=name,
                y=("control_value", "treated_value"),
                x_title=title,
                y_title=units[outcome][0],
                format=units[outcome][1],  # type: ignore[arg-type]
                series_titles={"control_value": "Before", "treated_value": "After"},
                where={"comparison": BEFORE_AFTER, "outcome": outcome},
                limit=20,
                how_to_read="Only a description: the same customers before and after, with season and regression to "
                "the mean in it; what the use changed is in the panels above.",
            )
            for outcome in OUTCOMES
        ),
    )


REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "promotion",
        "What promotions changed",
        ("dimension", "comparison", "promotion_id", "against", "outcome", *USED),
        ("dimension", "comparison", "promotion_id", "against", "outcome"),
        (
            *_effect_panels("promotion_id", "Promotion"),
            Panel(
                title="Promotions against earlier periods",
                mark="table",
                y="effect",
                columns=("promotion_id", "relative_effect", *TABLE, "is_descriptive"),
                where={"comparison": EARLIER},
                format="decimal",
                width=12,
                how_to_read="Orders per ordering customer while it ran, against equally long periods before it (effect "
                "as a share), for all who ordered, with its code or without.",
            ),
            Panel(
                title="Promotions compared with each other",
                mark="table",
                y="effect",
                columns=("promotion_id", "against", "outcome", *TABLE, "is_descriptive"),
                where={"comparison": BETWEEN},
                format="decimal",
                limit=200,
                width=12,
                how_to_read="The effect of the first less that of the second, both against their own controls; decide "
                "on the corrected p-values, as there are many pairs.",
            ),
        ),
    ),
    ReportType(
        "promotion_effects",
        "Effects of promotions on orders and on amount",
        ("dimension", "promotion_id", *BOTH, "n_treated", "n_control", "is_descriptive"),
        ("dimension", "promotion_id"),
        (
            Panel(
                title="Effect on orders against effect on amount",
                mark="scatter",
                x="orders_effect",
                y="revenue_effect",
                breakdown="promotion_id",
                x_title="Orders per customer",
                y_title="Amount per customer (currency)",
                format="money",
                columns=("promotion_id", *BOTH, "n_treated", "n_control"),
                where={"is_descriptive": False},
                when_empty="No promotion has a verdict on both: fewer than AB_TEST_MIN_CUSTOMERS users with controls, "
                "or a test that found too much without an effect (self-check below). The tables have them all.",
                width=12,
                how_to_read="A point is a promotion, against matched controls: to the right its users ordered more, "
                "above they paid more; more orders for less money are below, to the right.",
            ),
        ),
    ),
    ReportType(
        "product",
        "What products changed",
        ("dimension", "comparison", "product", "outcome", *USED),
        ("dimension", "comparison", "product", "outcome"),
        _effect_panels("product", "Product"),
    ),
    ReportType(
        "segment_change",
        "Segments against earlier days, weeks and months",
        ("dimension", "granularity", "period", "is_complete", "rfm_segment", "outcome", *ESTIMATE),
        ("dimension", "granularity", "rfm_segment", "outcome"),
        tuple(
            Panel(
                title=f"{title}: current {granularity} per segment",
                mark="bar",
                x="rfm_segment",
                y=("control_value", "treated_value"),
                x_title="Segment",
                y_title=y_title,
                format=shape,  # type: ignore[arg-type]
                series_titles={"control_value": "Before", "treated_value": "Now"},
                where={"granularity": granularity, "outcome": outcome},
                how_to_read=f"{title} of customers who stayed in their segment, this {granularity} so far and in the "
                f"last four {'same weekdays' if granularity == 'day' else granularity + 's'} up to the same day; a "
                "description.",
            )
            for granularity, (outcome, title, y_title, shape) in every_combination(
                GRANULARITIES,
                (
                    ("orders", "Orders per customer", "Orders per customer", "decimal"),
                    ("payment", "Mean payment", "Amount per order (currency)", "money"),
                ),
            )
        ),
    ),
    ReportType(
        "experiment",
        "Experiments",
        (
            "dimension", "experiment_group", "against", "outcome", "method", *ESTIMATE, *CORRECTED,
            "variance_reduction", "minimum_detectable_effect", "power",
        ),
        ("dimension", "experiment_group", "outcome", "method"),
        (
            Panel(
                title="Experiment",
                mark="table",
                y="effect",
                columns=(
                    "experiment_group", "outcome", "method", *TABLE, "relative_effect", "minimum_detectable_effect",
                    "power", "variance_reduction", "is_descriptive",
                ),
                format="decimal",
                width=12,
                how_to_read="The sizes of the groups come first: where they are not as intended (p below 0.001), the "
                "rest is nothing to decide on; choose one test beforehand, and read its interval.",
            ),
            *(
                Panel(
                    title=f"Effect on {outcome}, by test",
                    mark="bar",
                    x="method",
                    y="effect",
                    breakdown="experiment_group",
                    x_title="Test",
                    y_title="Group less control",
                    format="decimal",
                    where={"outcome": outcome},
                    how_to_read="Tests that agree are good news; where the winsorised effect is far from Welch's, few "
                    "customers make the difference (ranks have a unit of their own).",
                )
                for outcome in ("orders per customer", "revenue per customer")
            ),
        ),
    ),
    ReportType(
        "self_check",
        "Do the tests hold on these data?",
        ("dimension", "method", "outcome", *RATE, "ks_distance", "p_value", "n", "verdict", "is_descriptive"),
        ("dimension", "method", "outcome"),
        (
            Panel(
                title="Rejections without an effect",
                mark="bar",
                x="method",
                y="rate",
                breakdown="outcome",
                x_title="Test",
                y_title="Share of random splits with p < 0.05 (%)",
                format="percent",
                width=12,
                how_to_read="Of random splits 5 % should have p below 0.05 (the test for many looks: at most); a test "
                "far above finds effects that are not there.",
            ),
            Panel(
                title="Self-check",
                mark="table",
                y="rate",
                columns=("method", "outcome", *RATE, "ks_distance", "p_value", "n", "verdict"),
                format="percent",
                width=12,
                how_to_read="The p-value here is that of uniformity (Kolmogorov-Smirnov): a small one says that the "
                "p-values of the test cannot be taken at their word.",
            ),
        ),
    ),
)  # fmt: skip

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "window_days": configs.AB_TEST_WINDOW_DAYS,
    "history_days": configs.AB_TEST_HISTORY_DAYS,
    "recent_days": configs.AB_TEST_RECENT_DAYS,
    "promotions_kept": configs.AB_TEST_PROMOTIONS_KEPT,
    "products_kept": configs.AB_TEST_PRODUCTS_KEPT,
    "min_customers": configs.AB_TEST_MIN_CUSTOMERS,
    "group_column": configs.AB_TEST_GROUP_COLUMN,
    "control_group": configs.AB_TEST_CONTROL_GROUP,
    "group_shares": configs.AB_TEST_GROUP_SHARES,
    "winsor_share": configs.AB_TEST_WINSOR_SHARE,
    "expected_lift": configs.AB_TEST_EXPECTED_LIFT,
    "wanted_power": configs.AB_TEST_POWER,
    "permutations": configs.AB_TEST_PERMUTATIONS,
    "resamples": configs.AB_TEST_RESAMPLES,
    "seed": configs.AB_TEST_SEED,
    "most_rows": configs.REPORT_MAX_ROWS,
}

Row = dict[str, Any]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Plan:
    """The settings, and the days of the data as numbers."""

    as_of: date
    first_day: int
    last_day: int
    week_start: str
    confidence_level: float
    window_days: int
    history_days: int
    recent_days: int
    min_customers: int
    control_group: str
    group_shares: Mapping[str, float]
    winsor_share: float
    expected_lift: float
    wanted_power: float
    permutations: int
    resamples: int
    seed: int

    @property
    def from_day(self) -> int:
        return self.last_day - self.recent_days + 1

    def is_small(self, *sizes: int) -> bool:
        return min(sizes) < self.min_customers


def ab_test(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    window_days: int = 7,
    history_days: int = 28,
    recent_days: int = 365,
    promotions_kept: int = 20,
    products_kept: int = 20,
    min_customers: int = 30,
    group_column: str = "",
    control_group: str = "control",
    group_shares: Mapping[str, float] | None = None,
    winsor_share: float = 0.01,
    expected_lift: float = 0.05,
    wanted_power: float = 0.8,
    permutations: int = 5_000,
    resamples: int = 999,
    seed: int = 1,
    most_rows: int = 100_000,
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`.

    A report that cannot be made (no promotion_id, no basket, no group column) has no rows and the reason as a warning.
    """
    has_promotions = "promotion_id" in tables.sessions.columns
    group = _group_of(tables, group_column)
    also = dict.fromkeys([*(["promotion_id"] if has_promotions else []), *([group] if group else [])])
    seen = observed(tables, as_of=as_of, top_values=top_values, also=tuple(also))
    # A pair of promotions has a row for each of two outcomes, a promotion five rows of its own.
    rows_each = len(seen.labels) * (promotions_kept + 4)
    promotions_kept = fitting(promotions_kept, rows_each=rows_each, most_rows=most_rows)
    with held(seen.orders) as orders:
        rows = _orders(orders, seen)
        plan = _Plan(
            as_of=as_of,
            first_day=day_number(as_of),
            last_day=day_number(as_of),
            week_start=tables.week_start,
            confidence_level=confidence_level,
            window_days=window_days,
            history_days=max(history_days, window_days),
            recent_days=recent_days,
            min_customers=min_customers,
            control_group=control_group,
            group_shares=group_shares or {},
            winsor_share=winsor_share,
            expected_lift=expected_lift,
            wanted_power=wanted_power,
            permutations=permutations,
            resamples=resamples,
            seed=seed,
        )
        promotion_uses = (
            _uses(orders, "promotion_id", seen, promotions_kept, by_order=True) if has_promotions else _no_uses()
        )
    product_uses = _product_uses(tables, seen, products_kept) if tables.basket is not None else _no_uses()
    assigned = _assigned(seen, group, plan) if group else _no_customers()

    found: dict[str, list[Row]] = {report_type.type: [] for report_type in REPORTS}
    checks: list[tuple[str, Calibration]] = []
    by_promotion = dict(iter(promotion_uses.groupby("dimension")))
    by_product = dict(iter(product_uses.groupby("dimension")))
    for dimension, part in _by_value(rows, seen):
        plan = replace(plan, first_day=int(seen.first_days[dimension]))
        history = order_history(part["client_code"], part["day"], part["amount_units"])
        units = units_of(
            history,
            window_days=window_days,
            history_days=plan.history_days,
            first_day=plan.first_day,
            last_day=plan.last_day,
        )
        promotions = _named_uses(by_promotion.get(dimension), "promotion_id", units)
        products = _named_uses(by_product.get(dimension), "product", units)
        if dimension == 0:
            checks += _checks(history, plan)
            kind = "promotion_id" if promotions else "product"
            checks += _design_checks(units, promotions or products, kind, plan)
            checks += _period_checks(history, promotions, plan)
        found["promotion"] += [{"dimension": dimension, **row} for row in _promotions(history, units, promotions, plan)]
        found["product"] += [{"dimension": dimension, **row} for row in _used(units, products, "product", plan)]
        found["segment_change"] += [{"dimension": dimension, **row} for row in _segments(history, plan)]
    mismatches: list[str] = []
    for code, customers in assigned.groupby("dimension"):
        dimension = int(str(code))
        made, mismatch = _experiment(customers, plan)
        found["experiment"] += [{"dimension": dimension, **row} for row in made]
        if mismatch and dimension == 0:
            mismatches.append(mismatch)
        if dimension == 0:
            designs = [one for one in checks if one[1].method in COMPARISONS]
            checks = [*_experiment_checks(customers, plan), *designs]
    found["self_check"] = _self_check(checks, confidence_level)
    _mark_descriptive(found, checks)
    found["promotion_effects"] = _effects_together(found["promotion"])

    warnings: dict[str, list[str]] = {name: [] for name in found}
    if not has_promotions:
        reason = "The report needs the column promotion_id of the sessions, which sources.yaml does not map."
        warnings["promotion"].append(reason)
        warnings["promotion_effects"].append(reason)
    if tables.basket is None:
        warnings["product"].append("The report needs the source products, which sources.yaml does not have.")
    warnings["experiment"] += mismatches + _experiment_warnings(tables, group_column, group, assigned, plan)
    for name in ("promotion", "product"):
        warnings[name] += _regression_warnings(found[name], name)
    if rows.shape[0] and not checks:
        warnings["self_check"].append(f"There are fewer than {2 * min_customers} customers to split: nothing checked.")
    return _reports(found, seen, tables, plan, warnings, group_column)


# ── What is read ────────────────────────────────────────────────────────────────────────────────────────────────────


def _group_of(tables: Tables, group_column: str) -> str:
    """The sessions' column that assigns, by the user's name for it; empty where there is none."""
    columns = tables.sessions.columns
    if group_column == "promotion_id":
        return group_column if group_column in columns else ""
    return DIMENSION_PREFIX + group_column if group_column and DIMENSION_PREFIX + group_column in columns else ""


def _orders(orders: ir.Table, seen: Observed) -> pd.DataFrame:
    """client_code, day, amount_units and a code per dimension column: one row per order."""
    codes = [CODE + name for name in seen.dimensions]
    units = (orders.amount * UNITS_OF_MONEY).cast("int64")
    return result(orders.select("client_code", "day", *codes, amount_units=units)).astype("int64")


def _by_value(rows: pd.DataFrame, seen: Observed) -> Iterator[tuple[int, pd.DataFrame]]:
    """The orders of `all`, then those of each dimension value that has any, by code."""
    if len(rows):
        yield 0, rows
    for name in seen.dimensions:
        for code, part in rows.groupby(CODE + name):
            yield int(str(code)), part


def _no_uses() -> pd.DataFrame:
    return pd.DataFrame({"dimension": [], "client_code": [], "day": [], "place": []}, dtype="int64")


def _uses(lines: ir.Table, name: str, seen: Observed, most: int, *, by_order: bool) -> pd.DataFrame:
    """dimension, client_code, day, place, the name and is_first: one row per customer, day and item.

    Kept are the items with most customers, ties by name; `place` counts from 0. `is_first`: the customer's first order
    of the day has it. That needs lines which are orders (`by_order`), those without the item too.
    """
    codes = [CODE + one for one in seen.dimensions]
    keys = ["dimension", "client_code", "day"]
    # Numbers by name instead of long names: a basket has many lines, and each is there once per dimension.
    names = sorted(result(lines.filter(lines[name].notnull()).select(name).distinct())[name])
    numbers = pa.table({name: pa.array(names, pa.string()), "item": pa.array(range(len(names)), pa.int32())})
    numbered = lines.left_join(ibis.memtable(numbers), name)
    position = numbered.position if by_order else ibis.literal(0, "int32")
    columns = numbered.select("client_code", "day", "item", *codes, position=position).distinct()
    with held(by_dimension(columns, seen.dimensions)) as repeated:
        known = repeated.filter(repeated.item.notnull())
        sizes = known.group_by(["dimension", "item"]).agg(size=known.client_code.nunique())
        by_size = ibis.window(group_by="dimension", order_by=[ibis.desc("size"), ibis.asc("item")])
        placed = sizes.mutate(place=ibis.row_number().over(by_size)).filter(lambda one: one.place < most).drop("size")
        joined = known.join(placed, ["dimension", "item"])
        if by_order:
            firsts = repeated.group_by(keys).agg(first_position=repeated.position.min())
            joined = joined.join(firsts, keys)
        is_first = joined.position == joined.first_position if by_order else ibis.literal(True)
        flagged = joined.mutate(is_first=is_first)
        uses = result(flagged.group_by([*keys, "place", "item"]).agg(is_first=flagged.is_first.any()))
    found = uses.astype({**dict.fromkeys([*keys, "place", "item"], "int64"), "is_first": "bool"})
    return found.assign(**{name: np.array(names, dtype=object)[found["item"]]})


def _product_uses(tables: Tables, seen: Observed, most: int) -> pd.DataFrame:
    assert tables.basket is not None
    basket = tables.basket.select("order_id", "product")
    orders = seen.sessions.filter(seen.sessions.is_order)
    return _uses(basket.join(orders, basket.order_id == orders.id), "product", seen, most, by_order=False)


@dataclass(frozen=True)
class _Uses:
    """One promotion or product: on which units it was used, and on which already in the first order of the day."""

    name: str
    used: npt.NDArray[np.bool_]
    used_first: npt.NDArray[np.bool_]
    first_day: int
    last_day: int


def _named_uses(uses: pd.DataFrame | None, name: str, units: Units) -> list[_Uses]:
    """In the order of their places."""
    if uses is None:
        return []
    found = []
    for _, part in uses.groupby("place"):
        key = part["client_code"].to_numpy() * DAY_SPAN + part["day"].to_numpy()
        at = np.searchsorted(units.key, key)
        used, used_first = np.zeros((2, len(units.client)), dtype=bool)
        used[at] = True
        used_first[at] = part["is_first"].to_numpy()
        days = int(part["day"].min()), int(part["day"].max())
        found.append(_Uses(str(part[name].iloc[0]), used, used_first, *days))
    return found


def _no_customers() -> pd.DataFrame:
    return pd.DataFrame({"dimension": []}, dtype="int64")


def _assigned(seen: Observed, group: str, plan: _Plan) -> pd.DataFrame:
    """One row per dimension value and customer with a group, in the order of assignment: what each did from then on.

    dimension, experiment_group, groups (how many the customer's sessions name), sessions, orders, revenue,
    orders_before, revenue_before.
    """
    codes = [CODE + name for name in seen.dimensions]
    sessions = seen.sessions.select(
        "client_code", "instant", "id", "day", "is_order", "amount", *codes, experiment_group=seen.sessions[group]
    )
    keys = ["dimension", "client_code"]
    with held(by_dimension(sessions, seen.dimensions)) as repeated:
        named = repeated.filter(repeated.experiment_group.notnull())
        first = named.group_by(keys).agg(
            since=named.instant.min(), since_day=named.day.min(), groups=named.experiment_group.nunique()
        )
        joined = repeated.join(first, keys)
        is_first = (joined.instant == joined.since) & joined.experiment_group.notnull()
        is_after = joined.instant >= joined.since
        is_before = ~is_after & (joined.day >= joined.since_day - plan.history_days)
        units = (joined.amount * UNITS_OF_MONEY).cast("int64")

        def total(condition: Any, value: Any) -> Any:
            return ibis.ifelse(condition, value, 0).sum().cast("int64")

        found = result(
            joined.group_by(keys).agg(
                experiment_group=joined.experiment_group.argmin(joined.id, where=is_first),
                since_day=joined.since_day.min(),
                groups=joined.groups.min(),
                sessions=total(is_after, 1),
                orders=total(is_after & joined.is_order, 1),
                revenue=total(is_after & joined.is_order, units),
                orders_before=total(is_before & joined.is_order, 1),
                revenue_before=total(is_before & joined.is_order, units),
            )
        )
    whole = [str(name) for name in found if name != "experiment_group"]
    found = found.astype(dict.fromkeys(whole, "int64"))
    # Whoever came on the same day is put in order by values, so that names of clients do not matter.
    found = found.sort_values(
        ["dimension", "since_day", "experiment_group", "orders", "revenue", "sessions", "orders_before",
         "revenue_before"], ignore_index=True
    )  # fmt: skip
    money = {name: found[name] / UNITS_OF_MONEY for name in ("revenue", "revenue_before")}
    return found.assign(**money).drop(columns=["client_code"])


# ── Promotions and products ─────────────────────────────────────────────────────────────────────────────────────────


def _line(found: Comparison, *, relative_to: float | None = None, is_descriptive: bool = False) -> Row:
    """A comparison as fields of a row. What is nothing but rounding is rounded away."""
    base = found.control_value if relative_to is None else relative_to
    return {
        "effect": round(found.effect, 9),
        "ci_low": round(found.ci_low, 9),
        "ci_high": round(found.ci_high, 9),
        "p_value": found.p_value,
        "n_treated": found.n_treated,
        "n_control": found.n_control,
        "treated_value": round(found.treated_value, 9),
        "control_value": round(found.control_value, 9),
        "relative_effect": float(ratio(round(found.effect, 9), base)) if base > 0 else np.nan,
        "is_descriptive": is_descriptive,
    }


def _outcomes(units: Units) -> dict[str, tuple[Any, Any]]:
    """Before and after of each outcome."""
    return {
        "orders": (units.before_orders, units.after_orders),
        "revenue": (units.before_amount / UNITS_OF_MONEY, units.after_amount / UNITS_OF_MONEY),
    }


def _chosen(units: Units, one: _Uses, name: str, plan: _Plan) -> tuple[Any, Any, Integers]:
    """Whom to compare: of a promotion everybody's first order while it ran, of a product everybody's first use.

    Places among the units, which of them are exposed, and their strata.
    """
    if name == "product":
        chosen, exposed = first_uses(units, one.used, from_day=plan.from_day)
        return chosen, exposed, units.stratum_by_amount[chosen]
    begin = max(one.first_day, plan.from_day)
    chosen, exposed = first_orders(units, one.used, used_first=one.used_first, from_day=begin, until_day=one.last_day)
    return chosen, exposed, units.stratum[chosen]


def _used(units: Units, uses: list[_Uses], name: str, plan: _Plan) -> list[Row]:
    """Each promotion or product against matched controls, and plainly before and after; corrected."""
    rows: list[Row] = []
    outcomes = _outcomes(units)
    for place, one in enumerate(uses):
        chosen, exposed, strata = _chosen(units, one, name, plan)
        mine = chosen[exposed]
        if not len(mine):
            continue
        design = design_of(exposed, strata, units.client[chosen])
        usual = paired(units.usual_orders[mine], units.before_orders[mine])
        for outcome, (before, after) in outcomes.items():
            found = changes_compared((after - before)[chosen], exposed, design, confidence_level=plan.confidence_level)
            plain = paired(before[mine], after[mine], confidence_level=plan.confidence_level)
            common = {
                name: one.name,
                "place": place,
                "outcome": outcome,
                "unmatched_customers": len(mine) - found.n_treated,
                "has_regression_to_mean": bool(usual.p_value < ALPHA),
            }
            matched_before = before[chosen][design.order][exposed[design.order]]
            level = float(matched_before.mean()) + found.control_value if len(matched_before) else np.nan
            # Nobody assigns products: what sets their buyers apart is more than what can be matched.
            descriptive = name == "product" or plan.is_small(found.n_treated, found.n_control)
            rows.append(
                {"comparison": MATCHED, "against": MATCHED, **common}
                | _line(found, relative_to=level, is_descriptive=descriptive)
                | {"standard_error": found.standard_error, "degrees": found.degrees_of_freedom}
            )
            rows.append({"comparison": BEFORE_AFTER, "against": "before", **common} | _line(plain, is_descriptive=True))
    return _corrected(rows, ("comparison", "outcome"))


def _corrected(rows: list[Row], family: tuple[str, ...]) -> list[Row]:
    """With the corrected p-values of each family; plain before and after has none, as it is no test."""
    families: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        families.setdefault(tuple(row[name] for name in family), []).append(row)
    for members in families.values():
        p_values = [np.nan if row.get("comparison") == BEFORE_AFTER else row["p_value"] for row in members]
        for row, by_holm, by_bh in zip(members, holm(p_values), benjamini_hochberg(p_values), strict=True):
            row["p_value_holm"], row["p_value_bh"] = float(by_holm), float(by_bh)
    return rows


def _promotions(history: OrderHistory, units: Units, uses: list[_Uses], plan: _Plan) -> list[Row]:
    rows = _used(units, uses, "promotion_id", plan)
    matched_rows = [row for row in rows if row["comparison"] == MATCHED]
    return rows + _earlier(history, uses, plan) + _pairs(matched_rows, plan)


def _pairs(rows: list[Row], plan: _Plan) -> list[Row]:
    """Each pair of promotions by the difference of their effects against their own controls."""
    made: list[Row] = []
    for outcome in OUTCOMES:
        own = [row for row in rows if row["outcome"] == outcome]
        effect, error, degrees = (
            np.array([row[name] for row in own], dtype="float64") for name in ("effect", "standard_error", "degrees")
        )
        first, second = np.triu_indices(len(own), 1)
        tests = difference_of(*(Estimate(effect[side], error[side], degrees[side], np.nan) for side in (first, second)))
        for number, (one, two) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
            estimate = type(tests)(*(value[number] for value in tests))
            low, high = interval(estimate, plan.confidence_level)
            sizes = [row["n_treated"] for row in (own[one], own[two])]
            made.append(
                {
                    "comparison": BETWEEN,
                    "promotion_id": own[one]["promotion_id"],
                    "place": own[one]["place"],
                    "against": own[two]["promotion_id"],
                    "other_place": own[two]["place"],
                    "outcome": outcome,
                    "effect": round(float(estimate.effect), 9),
                    "ci_low": round(low, 9),
                    "ci_high": round(high, 9),
                    "p_value": float(estimate.p_value),
                    "n_treated": sizes[0],
                    "n_control": sizes[1],
                    "treated_value": own[one]["effect"],
                    "control_value": own[two]["effect"],
                    "relative_effect": np.nan,
                    "is_descriptive": own[one]["is_descriptive"] or own[two]["is_descriptive"],
                }
            )
    return _corrected(made, ("outcome",))


def _orders_per_customer(history: OrderHistory, first_day: int, last_day: int) -> Sample:
    """Orders per customer with an order in these days."""
    inside = (history.day >= first_day) & (history.day <= last_day)
    return sample(np.sort(np.unique(history.client[inside], return_counts=True)[1]))


def _earlier(history: OrderHistory, uses: list[_Uses], plan: _Plan) -> list[Row]:
    """Orders per ordering customer while a promotion ran, against periods before it."""
    rows: list[Row] = []
    for place, one in enumerate(uses):
        days = one.last_day - one.first_day + 1
        if days > LONGEST_PERIOD_DAYS or one.first_day < plan.from_day or one.last_day >= plan.last_day:
            continue
        others = [(other.first_day, other.last_day) for other in uses if other is not one]
        periods = _free_periods(one.first_day, days, others, plan.first_day)
        if len(periods) < 2:
            continue
        now = _orders_per_customer(history, one.first_day, one.last_day)
        change = change_from_earlier(
            now,
            [_orders_per_customer(history, first, last) for first, last in periods],
            confidence_level=plan.confidence_level,
        )
        rows.append(
            {
                "comparison": EARLIER,
                "promotion_id": one.name,
                "place": place,
                "against": f"{len(periods)} earlier periods of {days} days",
                "outcome": "orders",
                "effect": round(change.effect, 9),
                "ci_low": round(change.ci_low, 9),
                "ci_high": round(change.ci_high, 9),
                "p_value": change.p_value,
                "n_treated": change.n_period,
                "n_control": change.n_earlier,
                "treated_value": change.period_value,
                "control_value": change.earlier_value,
                "relative_effect": round(change.effect, 9),
                "is_descriptive": len(periods) < EARLIER_PERIODS - 1
                or change.heterogeneity_p_value < ALPHA
                or any(first <= one.last_day and one.first_day <= last for first, last in others)
                or plan.is_small(change.n_period, change.n_earlier),
            }
        )
    return _corrected(rows, ("outcome",))


def _free_periods(
    first_day: int, days: int, others: list[tuple[int, int]], first_of_data: int
) -> list[tuple[int, int]]:
    """Up to EARLIER_PERIODS equally long periods before, shifted by whole weeks, in which no other promotion ran."""
    shift = -(-days // 7) * 7
    found = []
    for number in range(1, EARLIER_PERIODS + 1):
        begin = first_day - number * shift
        end = begin + days - 1
        if begin >= first_of_data and not any(first <= end and begin <= last for first, last in others):
            found.append((begin, end))
    return found


# ── Segments ────────────────────────────────────────────────────────────────────────────────────────────────────────

_NAMES = list(SEGMENTS)
_SEGMENT_OF = np.array(
    [
        [
            [_NAMES.index(segment(recency, frequency, money, SCORES)) for money in range(1, SCORES + 1)]
            for frequency in range(1, SCORES + 1)
        ]
        for recency in range(1, SCORES + 1)
    ]
)


def _segments_until(history: OrderHistory, clients: Integers, day: int) -> Integers:
    """The place of each client's RFM segment in the report of a day; -1 without an order until then."""
    orders, amount, last = history.until(clients, day)
    has = orders > 0
    mean = np.floor(ratio(amount, orders) + 0.5)
    above = []
    for values in ((day - last).astype("float64"), orders.astype("float64"), mean):
        cuts = np.quantile(values[has], np.arange(1, SCORES) / SCORES).round(3) if has.any() else np.zeros(SCORES - 1)
        above.append((values[:, None] > cuts).sum(axis=1))
    return np.where(has, _SEGMENT_OF[SCORES - 1 - above[0], above[1], above[2]], -1)


def _segments(history: OrderHistory, plan: _Plan) -> list[Row]:
    """Per granularity and segment: orders per customer and mean payment, now and in the four periods before."""
    rows: list[Row] = []
    clients = np.unique(history.client)
    for granularity in GRANULARITIES:
        begins = _begins(granularity, plan)
        days = plan.last_day - begins[0] + 1
        before = _segments_until(history, clients, begins[-1] - 1)
        after = _segments_until(history, clients, begins[0] - 1)
        stayed = (before == after) & (before >= 0)
        now = history.between(clients, begins[0], plan.last_day)
        earlier_orders, earlier_amount = np.zeros(len(clients)), np.zeros(len(clients))
        for number, begin in enumerate(begins[1:], start=1):
            end = min(begin + days, begins[number - 1]) - 1
            weight = days / (end - begin + 1) / EARLIER_PERIODS
            orders, amount = history.between(clients, begin, end)
            earlier_orders += orders * weight
            earlier_amount += amount * weight / UNITS_OF_MONEY
        number_of_period = period_of(plan.as_of, granularity, plan.week_start)
        first_of_period = as_dates(first_days([number_of_period], granularity, plan.week_start))[0]
        is_complete = bool(are_complete([number_of_period], granularity, plan.week_start, plan.as_of)[0])
        for place, name in enumerate(_NAMES):
            mine = np.flatnonzero(stayed & (before == place))
            if not len(mine):
                continue
            mine = mine[np.lexsort((now[1][mine], now[0][mine], earlier_amount[mine], earlier_orders[mine]))]
            current, money = now[0][mine].astype("float64"), now[1][mine] / UNITS_OF_MONEY
            found = {
                "orders": paired(earlier_orders[mine], current, confidence_level=plan.confidence_level),
                "payment": paired_ratio_change(
                    earlier_amount[mine],
                    earlier_orders[mine],
                    money,
                    current,
                    confidence_level=plan.confidence_level,
                ),
            }
            rows += [
                {
                    "granularity": granularity,
                    "period": first_of_period,
                    "is_complete": is_complete,
                    "rfm_segment": name,
                    "place": place,
                    "outcome": outcome,
                    **_line(one, is_descriptive=True),
                }
                for outcome, one in found.items()
            ]
    return rows


def _begins(granularity: Granularity, plan: _Plan) -> list[int]:
    """The first days of the current period and of the four before it, as numbers."""
    number = period_of(plan.as_of, granularity, plan.week_start)
    step = 7 if granularity == "day" else 1
    numbers = [number - step * back for back in range(EARLIER_PERIODS + 1)]
    return [int(day) for day in first_days(numbers, granularity, plan.week_start).astype("int64")]


# ── Experiments ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _experiment(customers: pd.DataFrame, plan: _Plan) -> tuple[list[Row], str]:
    """The rows of one dimension value, and what to say where the groups have not the intended sizes."""
    sizes = customers["experiment_group"].value_counts().sort_index()
    names = [str(name) for name in sizes.index]
    if len(names) < 2:
        return [], ""
    control = plan.control_group if plan.control_group in names else names[0]
    shares = [plan.group_shares.get(name, 1.0 if not plan.group_shares else 0.0) for name in names]
    known = all(share > 0 for share in shares)
    p_value = sample_ratio_p_value(sizes.to_numpy(), shares) if known else float("nan")
    is_mismatch = bool(p_value < MISMATCH_BELOW)
    rows: list[Row] = []
    own = {str(name): part for name, part in customers.groupby("experiment_group")}
    limit_scale = {outcome: float(customers[outcome].mean()) * plan.expected_lift for outcome in ("orders", "revenue")}
    for place, name in enumerate(one for one in names if one != control):
        treated, other = own[name], own[control]
        base = {"experiment_group": name, "against": control, "place": place}
        intended = dict(zip(names, shares, strict=True))
        pair = intended[name] + intended[control]
        part = len(treated) / (len(treated) + len(other))
        rows.append(
            base
            | {
                "outcome": "assignment",
                "method": "sample_ratio",
                "effect": round(part - intended[name] / pair, 9) if pair > 0 else np.nan,
                "ci_low": np.nan,
                "ci_high": np.nan,
                "p_value": p_value,
                "n_treated": len(treated),
                "n_control": len(other),
                "treated_value": part,
                "control_value": intended[name] / pair if pair > 0 else np.nan,
                "relative_effect": np.nan,
                "is_descriptive": False,
            }
        )
        small = plan.is_small(len(treated), len(other)) or is_mismatch
        for outcome, method, found, reduction in _tests(treated, other, limit_scale, plan):
            error, degrees = found.standard_error, found.degrees_of_freedom
            detectable = minimum_detectable_effect(
                error, degrees, alpha=1 - plan.confidence_level, wanted_power=plan.wanted_power
            )
            lift = abs(found.control_value) * plan.expected_lift
            rows.append(
                base
                | {"outcome": outcome, "method": method, "variance_reduction": reduction}
                | _line(found, is_descriptive=small)
                | {"minimum_detectable_effect": detectable}
                # Ranks have no share of the control's value.
                | (
                    {"relative_effect": np.nan}
                    if method == "mann_whitney"
                    else {"power": power(lift, error, degrees, alpha=1 - plan.confidence_level)}
                )
            )
    tests = [row for row in rows if row["method"] != "sample_ratio"]
    _corrected(tests, ("method",))
    if not is_mismatch:
        return rows, ""
    told = ", ".join(f"{name}: {size:,}" for name, size in zip(names, sizes, strict=True))
    return rows, (
        f"Sample-ratio mismatch: the groups have not the intended sizes ({told}; p = {p_value:.2g}). Customers got "
        "lost or were added on the way, and nothing below can be believed until it is known why."
    )


def _tests(
    treated: pd.DataFrame, control: pd.DataFrame, scales: Mapping[str, float], plan: _Plan
) -> Iterator[tuple[str, str, Comparison, float]]:
    """outcome, method, what was found, and the part of the variance that CUPED took away."""
    level = plan.confidence_level
    for outcome in ("orders", "revenue"):
        own, other = (np.sort(one[outcome].to_numpy(dtype="float64")) for one in (treated, control))
        name = f"{outcome} per customer"
        yield name, "welch", welch(own, other, confidence_level=level), np.nan
        cut = winsorised(own, other, share=plan.winsor_share, confidence_level=level)
        yield name, "winsorised", cut, np.nan
        yield name, "mann_whitney", mann_whitney(own, other, confidence_level=level), np.nan
        drawn = bootstrap(own, other, resamples=plan.resamples, seed=plan.seed, confidence_level=level)
        yield name, "bootstrap", drawn, np.nan
        before = f"{outcome}_before"
        less_noise, reduction = cuped(
            treated[outcome], control[outcome], treated[before], control[before], confidence_level=level
        )
        yield name, "cuped", less_noise, reduction
        yield name, "always_valid", always_valid(own, other, scale=scales[outcome], confidence_level=level), np.nan
    counts = [(int((one["orders"] > 0).sum()), len(one)) for one in (treated, control)]
    yield "customers with an order", "proportions", proportions(*counts[0], *counts[1], confidence_level=level), np.nan
    for name, above, below in (
        ("revenue per order", "revenue", "orders"),
        ("orders per session", "orders", "sessions"),
    ):
        found = ratio_difference(treated[above], treated[below], control[above], control[below], confidence_level=level)
        yield name, "delta_method", found, np.nan


def _experiment_warnings(
    tables: Tables, group_column: str, group: str, assigned: pd.DataFrame, plan: _Plan
) -> list[str]:
    if not group_column:
        return ["Skipped: AB_TEST_GROUP_COLUMN names no column that assigns customers to groups."]
    if not group:
        columns = tables.sessions.columns
        known = [name.removeprefix(DIMENSION_PREFIX) for name in columns if name.startswith(DIMENSION_PREFIX)]
        there = ", ".join([*known, *(["promotion_id"] if "promotion_id" in columns else [])]) or "none"
        reason = f"Skipped: AB_TEST_GROUP_COLUMN is {group_column!r}, which is no dimension of the sessions nor "
        return [reason + f"promotion_id; there are: {there}."]
    of_all = assigned[assigned["dimension"] == 0]
    said = []
    names = sorted(set(of_all.get("experiment_group", ())))
    if len(names) == 1:
        said.append(f"All customers are in one group, {names[0]}: there is nothing to compare.")
    if len(names) > 1 and plan.control_group not in names:
        said.append(f"No group is called {plan.control_group!r} (AB_TEST_CONTROL_GROUP); {names[0]!r} is the control.")
    unknown = [name for name in names if plan.group_shares and not plan.group_shares.get(name, 0) > 0]
    if unknown:
        said.append(
            f"AB_TEST_GROUP_SHARES has no share for {', '.join(unknown)}: the sizes of the groups were not tested."
        )
    crossed = int((of_all["groups"] > 1).sum()) if len(of_all) else 0
    if crossed:
        said.append(f"{crossed:,} customers have sessions in several groups; each counts for the group of the first.")
    return said


# ── Self-check ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _checks(history: OrderHistory, plan: _Plan) -> list[tuple[str, Calibration]]:
    """The tests of experiments on customers of the shop, split at random."""
    # Customers known before, and what they did in the newest days and in those before.
    clients = np.unique(history.client)
    begin = plan.last_day - plan.history_days + 1
    known = history.between(clients, begin - CHECKED_RECENT_DAYS, begin - 1)[0] > 0
    clients = clients[known]
    orders, amount = history.between(clients, begin, plan.last_day)
    before, amount_before = history.between(clients, begin - plan.history_days, begin - 1)
    customers = pd.DataFrame(
        {
            "orders": orders,
            "revenue": amount / UNITS_OF_MONEY,
            "orders_before": before,
            "revenue_before": amount_before / UNITS_OF_MONEY,
        }
    ).sort_values(["orders", "revenue", "orders_before", "revenue_before"], ignore_index=True)
    # Nothing says in which order they came: any order will do, but not one by values.
    customers = customers.sample(frac=1, random_state=plan.seed, ignore_index=True)
    return _split_checks(customers, len(customers) // 2, plan)


def _experiment_checks(customers: pd.DataFrame, plan: _Plan) -> list[tuple[str, Calibration]]:
    """The tests on the customers of the experiment, split at random into groups as large as its own."""
    sizes = customers["experiment_group"].value_counts()
    control = plan.control_group if plan.control_group in sizes.index else min(sizes.index)
    others = [name for name in sorted(sizes.index) if name != control]
    if not others:
        return _split_checks(customers, len(customers) // 2, plan)
    own = customers[customers["experiment_group"].isin([control, others[0]])]
    return _split_checks(own, int(sizes[others[0]]), plan)


def _split_checks(customers: pd.DataFrame, n_treated: int, plan: _Plan) -> list[tuple[str, Calibration]]:
    if len(customers) < 2 * plan.min_customers or not plan.permutations:
        return []
    if len(customers) > CHECKED_CUSTOMERS:
        n_treated = max(1, round(n_treated * CHECKED_CUSTOMERS / len(customers)))
        customers = customers.sample(CHECKED_CUSTOMERS, random_state=plan.seed).sort_index()
    n = len(customers)
    labels = permutation.random_labels(n_treated, n, permutations=plan.permutations, seed=plan.seed)
    checks: list[tuple[str, Calibration]] = []

    def check(outcome: str, method: str, p_values: Any, *, at_most: bool = False) -> None:
        checks.append((outcome, calibration(method, p_values, n=n, at_most=at_most)))

    for outcome in ("orders", "revenue"):
        name, values = f"{outcome} per customer", customers[outcome].to_numpy(dtype="float64")
        if not values.std() > 0:
            continue
        check(name, "welch", permutation.welch_p_values(values, labels))
        cut = np.minimum(values, winsor_limit(values, plan.winsor_share))
        check(name, "winsorised", permutation.welch_p_values(cut, labels))
        check(name, "mann_whitney", permutation.mann_whitney_p_values(values, labels))
        drawn = permutation.bootstrap_p_values(
            values, labels[:CHECKED_BOOTSTRAPS], resamples=plan.resamples, seed=plan.seed
        )
        check(name, "bootstrap", drawn)
        less_noise = adjusted(values, customers[f"{outcome}_before"])
        check(name, "cuped", permutation.welch_p_values(less_noise, labels))
        if min(n_treated, n - n_treated) >= 2 * FIRST_LOOK:
            scale = float(values.mean()) * plan.expected_lift
            looked = permutation.always_valid_p_values(values, labels, looks=LOOKS, scale=scale)
            check(name, "always_valid", looked, at_most=True)
    has_ordered = (customers["orders"] > 0).to_numpy()
    if has_ordered.any() and not has_ordered.all():
        check("customers with an order", "proportions", permutation.proportions_p_values(has_ordered, labels))
    if has_ordered.any():
        per_order = permutation.ratio_p_values(customers["revenue"], customers["orders"], labels)
        check("revenue per order", "delta_method", per_order)
    if "sessions" in customers and has_ordered.any():
        per_session = permutation.ratio_p_values(customers["orders"], customers["sessions"], labels)
        check("orders per session", "delta_method", per_session)
    return checks


def _design_checks(units: Units, uses: list[_Uses], name: str, plan: _Plan) -> list[tuple[str, Calibration]]:
    """The matched comparison and the plain one, of the promotion or product with most users, given to others."""
    candidates = [_chosen(units, one, name, plan) for one in uses]
    if not candidates or not plan.permutations:
        return []
    chosen, exposed, strata = max(candidates, key=lambda one: int(one[1].sum()))
    # In an order by values, so that names of clients do not matter.
    values = (units.after_amount, units.after_orders, units.before_amount, units.before_orders)
    order = np.lexsort((*(one[chosen] for one in values), exposed, strata))
    if len(order) > CHECKED_UNITS:
        kept = np.random.default_rng(plan.seed).choice(len(order), CHECKED_UNITS, replace=False)
        order = order[np.sort(kept)]
    chosen, exposed, strata = chosen[order], exposed[order], strata[order]
    clusters = pd.factorize(units.client[chosen])[0]
    if plan.is_small(int(exposed.sum()), int((~exposed).sum())):
        return []
    checks: list[tuple[str, Calibration]] = []
    for outcome, (before, after) in _outcomes(units).items():
        own, plain = permutation.difference_in_differences_p_values(
            (after - before)[chosen],
            exposed,
            strata,
            clusters=clusters,
            permutations=plan.permutations,
            seed=plan.seed,
        )
        checks.append((outcome, calibration(MATCHED, own, n=len(chosen))))
        checks.append((outcome, calibration(BEFORE_AFTER, plain, n=int(exposed.sum()))))
    return checks


def _period_checks(history: OrderHistory, uses: list[_Uses], plan: _Plan) -> list[tuple[str, Calibration]]:
    """Weeks without a promotion against the weeks before them."""
    ran = [(one.first_day, one.last_day) for one in uses if one.last_day - one.first_day < LONGEST_PERIOD_DAYS]
    p_values, customers = [], 0
    weeks: dict[int, Sample] = {}
    for begin in range(plan.last_day - 6, plan.first_day - 1, -7):
        if not any(first <= begin + 6 and begin <= last for first, last in ran):
            weeks[begin] = _orders_per_customer(history, begin, begin + 6)
    for begin, now in weeks.items():
        earlier = [weeks[begin - 7 * back] for back in range(1, EARLIER_PERIODS + 1) if begin - 7 * back in weeks]
        if len(earlier) == EARLIER_PERIODS and min(one.n for one in (now, *earlier)) >= plan.min_customers:
            p_values.append(change_from_earlier(now, earlier).p_value)
            customers += now.n
    if len(p_values) < LOOKS:
        return []
    # The intervals are wide on purpose, so fewer rejections than 5 % are as they should be.
    return [("orders", calibration(EARLIER, p_values, n=customers, at_most=True))]


def _self_check(checks: list[tuple[str, Calibration]], confidence_level: float) -> list[Row]:
    rows: list[Row] = []
    for outcome, found in checks:
        low, high = wilson_interval(found.rejections, found.permutations, confidence_level)
        plain = found.method == BEFORE_AFTER
        rows.append(
            {
                "dimension": 0,
                "method": found.method,
                "outcome": outcome,
                "rate": found.rejections / found.permutations,
                "numerator": found.rejections,
                "denominator": found.permutations,
                "ci_low": float(low),
                "ci_high": float(high),
                "ks_distance": found.ks_distance,
                "p_value": found.ks_p_value,
                "n": found.n,
                "verdict": NOT_CHECKED if plain else HOLDS if found.holds else DOES_NOT,
                "is_descriptive": plain or not found.holds,
            }
        )
    return rows


def _mark_descriptive(found: dict[str, list[Row]], checks: list[tuple[str, Calibration]]) -> None:
    """A test that does not hold on these data is descriptive in every report."""
    broken = {(outcome, one.method) for outcome, one in checks if not one.holds}
    checked = {one.method for _, one in checks}
    for row in [*found["promotion"], *found["product"]]:
        basis = MATCHED if row["comparison"] == BETWEEN else row["comparison"]
        if (row["outcome"], basis) in broken or (basis == EARLIER and EARLIER not in checked):
            row["is_descriptive"] = True
    for row in found["experiment"]:
        if (row["outcome"], row["method"]) in broken:
            row["is_descriptive"] = True


def _effects_together(rows: list[Row]) -> list[Row]:
    """One row per promotion and dimension value, of its two against matched controls; descriptive where either is."""
    found: dict[tuple[int, str], Row] = {}
    for row in (one for one in rows if one["comparison"] == MATCHED):
        shared = {name: row[name] for name in ("dimension", "promotion_id", "place", "n_treated", "n_control")}
        both = found.setdefault((row["dimension"], row["promotion_id"]), {**shared, "is_descriptive": False})
        ends = (("", "effect"), ("_ci_low", "ci_low"), ("_ci_high", "ci_high"))
        both |= {f"{row['outcome']}_effect{end}": row[name] for end, name in ends}
        both["is_descriptive"] = both["is_descriptive"] or row["is_descriptive"]
    return list(found.values())


def _regression_warnings(rows: list[Row], name: str) -> list[str]:
    own = [row for row in rows if row["dimension"] == 0 and row["comparison"] == MATCHED and row["outcome"] == "orders"]
    flagged = sum(row["has_regression_to_mean"] for row in own)
    if not flagged:
        return []
    said = (
        f"Regression to the mean: the users of {flagged} of {len(own)} {name}s ordered more or less than usual in the "
        "days before, and go back to their usual by themselves. Their plain before and after says nothing about it."
    )
    return [said]


# ── Reports ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _reports(
    found: dict[str, list[Row]],
    seen: Observed,
    tables: Tables,
    plan: _Plan,
    warnings: Mapping[str, list[str]],
    group_column: str,
) -> dict[str, Report]:
    said = definition(
        tables,
        as_of=plan.as_of,
        before_and_after=f"{plan.window_days} days each; the day of the first use belongs to neither",
        matched_by=f"calendar week, first order or not, orders and money in the {plan.window_days} days before, "
        f"orders in the {plan.history_days} days before",
        experiment=f"group of the first session with a value of {group_column}" if group_column else "none",
        descriptive="read the number, do not decide on its p-value",
    )
    orders: dict[str, Callable[[Row], tuple[int, ...]]] = {
        "promotion": lambda row: (
            COMPARISONS.index(row["comparison"]), row["place"], row.get("other_place", 0),
            OUTCOMES.index(row["outcome"]),
        ),
        "promotion_effects": lambda row: (row["place"],),
        "product": lambda row: (
            COMPARISONS.index(row["comparison"]), row["place"], OUTCOMES.index(row["outcome"]),
        ),
        "segment_change": lambda row: (
            GRANULARITIES.index(row["granularity"]), row["place"], int(row["outcome"] != "orders"),
        ),
        # The sizes of the groups first, whatever the group.
        "experiment": lambda row: (
            int(row["method"] != "sample_ratio"), row["place"], EXPERIMENT_OUTCOMES.index(row["outcome"]),
            METHODS.index(row["method"]),
        ),
        "self_check": lambda row: (0,),
    }  # fmt: skip
    kpis = _headline(found)
    made = {}
    for report_type in REPORTS:
        rows = sorted(found[report_type.type], key=lambda row: (row["dimension"], *orders[report_type.type](row)))
        frame = pd.DataFrame(rows, columns=[*report_type.fields])
        frame["position"] = np.arange(len(frame))
        frame = frame.astype({"dimension": "int64"})
        made[report_type.type] = finished_report(
            report_type,
            frame,
            seen.labels,
            ["dimension", "position"],
            as_of=plan.as_of,
            kpis=kpis,
            said=said,
            warnings=warnings[report_type.type],
        )
    return made


def _headline(found: dict[str, list[Row]]) -> dict[str, float]:
    """How many were compared, and for how many an effect was found."""
    known: dict[str, float] = {}
    own = {
        name: [row for row in found[name] if row["dimension"] == 0 and row["comparison"] == MATCHED]
        for name in ("promotion", "product")
    }
    with_effect = [row for row in own["promotion"] if not row["is_descriptive"] and row["p_value_holm"] < ALPHA]
    known["promotions_compared"] = float(len({row["promotion_id"] for row in own["promotion"]}))
    known["promotions_with_effect"] = float(len({row["promotion_id"] for row in with_effect}))
    known["products_compared"] = float(len({row["product"] for row in own["product"]}))
    checks = found["self_check"]
    known["tests_checked"] = float(len(checks))
    known["tests_that_hold"] = float(sum(row["verdict"] == HOLDS for row in checks))
    return known
