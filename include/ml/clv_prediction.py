"""Customer lifetime value: who is still a customer, what each will order and spend, and what comes in per day.

    sessions  ->  candidates with their holdout errors, tenths and tracking; the parameters in use with their intervals;
                  value segments; daily revenue ahead
    (`customer_scores`: one row per customer)

Three models of when customers order compete: BG/NBD, modified BG/NBD and Pareto/NBD (Fader, Hardie & Lee 2005;
Batislam, Denizel & Filiztekin 2007; Schmittlein, Morrison & Colombo 1987). Each is fitted on the days up to the holdout
period, the newest CLV_HOLDOUT_DAYS (a third of all days, where there are fewer), and predicts the orders of these days.
The one with the lowest root mean square error is fitted again on all days and used; the others' errors stay in the
report, beside those of the naive forecast that everybody goes on at their own rate. The mean absolute error is there
twice: of the means, which add up, and of the medians, for which it is lowest. Several orders of a customer on one day
are one.

What an order brings follows the Gamma-Gamma model (Fader & Hardie 2013), fitted on the orders after the first whose
amount is above zero. Orders of nothing and refunds are taken off afterwards, by the share of revenue that they cost.

The models are compared with those of the report before (of the latest earlier report date): a parameter that has
changed by more than half, or another model that is used now, is a warning. The earlier parameters are also where
fitting starts when no start of its own ends well; otherwise the answer does not depend on what ran before.

Intervals of a customer hold what the customer may do, not what is unsure about the parameters: with many customers the
latter is small, with few it is not. Customer lifetime value is the expected revenue of the next CLV_VALUE_DAYS,
discounted by CLV_ANNUAL_DISCOUNT_RATE. It is revenue, not profit. Value segments are fifths of the customers by it;
equal values are in the same segment.

`daily_clv` adds up the expectations of known customers, adds what new ones bring at the pace of the newest
CLV_NEW_CUSTOMER_DAYS, and gives it the rhythm of the week. For the holdout period it shows what the same method, with
the data before, would have said.

Do not trust it where customers are bound by contracts or deliveries, where a season or a trend drives orders, or where
the holdout errors are no better than the naive ones; docs/customer-value.md says how to tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, pearsonr

import configs
from include.dashboards.panel import Panel
from include.measures.customer_value import (
    CHURN_RISK_DAYS,
    HORIZONS_DAYS,
    SEGMENTS,
    UNITS,
    CustomerModel,
    distinct,
    order_history,
    pattern,
    predicted,
)
from include.measures.dimension import by_dimension
from include.measures.drift import drifted, known, since
from include.measures.holdout import errors, tenths
from include.measures.lifetimes_models import (
    ORDER_KINDS,
    OrderFit,
    OrderKind,
    OrderModel,
    SpendFit,
    SpendModel,
    fit_orders,
    fit_spend,
)
from include.measures.observed import client_names, definition, observed
from include.measures.periods import as_dates, day_number
from include.measures.reporting import finished_report, of_values
from include.measures.results import held, ratio, records, result
from include.measures.revenue_forecast import band, daily, level_error, nodes, weekly_rhythm
from include.schemas.reports import Field, Report, ReportType

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from include.staging.tables import Tables

Floats = npt.NDArray[np.float64]

READS = ("sessions",)
USUAL_KIND: OrderKind = "modified_bg_nbd"  # where no holdout period can decide
NAIVE = "naive rate"
SPEND = "Gamma-Gamma"
BEFORE_HOLDOUT, ALL_DAYS = "before the holdout period", "all days"
SHORTEST_HOLDOUT_DAYS = 7
CORRELATION_LIMIT = 0.2  # beyond it, what customers spend is not independent of how often they order
MODEL_PARAMETERS = ("r", "alpha", "a", "b", "s", "beta", "p", "q", "v")
ERRORS = (
    "mean_absolute_error",
    "mean_absolute_error_of_medians",
    "root_mean_square_error",
    "bias",
    "poisson_deviance",
    "normalised_gini",
)
SCORES = (
    "probability_alive",
    "churn_risk",
    *(f"expected_{what}_{days}_days{end}" for days in HORIZONS_DAYS for what in ("orders", "revenue")
      for end in ("", "_low", "_high")),
    "clv",
    "clv_segment",
)  # fmt: skip

FIELDS: dict[str, Field] = {
    "model": Field("keyword", "the model"),
    "data_window": Field("keyword", "which days the model was fitted on"),
    "is_chosen": Field("boolean", "whether this model is used: it has the lowest root mean square error"),
    "window_start": Field("date", "first day of the data the model was fitted on"),
    "window_end": Field("date", "last day of the data the model was fitted on"),
    "log_likelihood": Field("double", "of all customers, times in weeks"),
    **{f"model_{name}": Field("double", f"the model's parameter {name}, times in weeks") for name in MODEL_PARAMETERS},
    "parameter": Field("keyword", "a parameter of the model"),
    "estimate": Field("double", "the parameter's value: most likely for these data, times in weeks"),
    "mean_absolute_error": Field("double", "mean of |predicted - actual| orders of a customer", "orders"),
    "mean_absolute_error_of_medians": Field(
        "double", "mean of |median predicted - actual| orders of a customer: the lowest that a model can have", "orders"
    ),
    "root_mean_square_error": Field("double", "root of the mean square of predicted - actual orders", "orders"),
    "bias": Field("double", "mean of predicted - actual orders of a customer in the holdout", "orders"),
    "poisson_deviance": Field("double", "mean Poisson deviance of a customer; lower is better"),
    "normalised_gini": Field("double", "ranking of customers by predicted orders: 1 perfect, 0 by chance"),
    "predicted_total": Field("double", "orders predicted for the holdout", "orders"),
    "actual_total": Field("long", "orders in the holdout, of the same customers", "orders"),
    "holdout_days": Field("long", "days predicted and compared", "days"),
    "decile": Field("long", "tenth of the customers by predicted orders, 1 the highest"),
    "predicted_mean": Field("double", "mean of the customers' predicted orders in the holdout", "orders"),
    "actual_mean": Field("double", "mean of the customers' actual orders in the holdout", "orders"),
    "cumulative_predicted": Field("double", "orders predicted from the begin of the holdout to this day", "orders"),
    "cumulative_actual": Field("long", "orders from the begin of the holdout to this day", "orders"),
    "clv_segment": Field("keyword", "fifth of the customers by lifetime value"),
    "clv": Field("double", "discounted expected revenue of the next CLV_VALUE_DAYS", "currency"),
    "clv_share": Field("double", "clv / clv of all segments", "share"),
    "mean_clv": Field("double", "mean customer lifetime value", "currency"),
    "mean_probability_alive": Field("double", "mean P(alive) of these customers", "share"),
    **{f"expected_orders_{days}_days": Field("double", f"orders expected in the next {days} days", "orders")
       for days in HORIZONS_DAYS},
    **{f"expected_revenue_{days}_days": Field("double", f"revenue expected in the next {days} days", "currency")
       for days in HORIZONS_DAYS},
    "is_forecast": Field("boolean", "whether the day comes after the report date"),
    "predicted_revenue": Field("double", "expected revenue of the day", "currency"),
    "predicted_existing_revenue": Field("double", "of it, from customers known when it was predicted", "currency"),
    "predicted_new_revenue": Field("double", "of it, from customers who were still to come", "currency"),
}  # fmt: skip

REPORTS: tuple[ReportType, ...] = (
    ReportType(
        "models",
        "Models of customers' orders",
        (
            "dimension",
            "model",
            "data_window",
            "is_chosen",
            *ERRORS,
            "predicted_total",
            "actual_total",
            "holdout_days",
            "n",
            "log_likelihood",
            "window_start",
            "window_end",
            *(f"model_{name}" for name in MODEL_PARAMETERS),
        ),
        ("dimension", "model", "data_window"),
        (
            Panel(
                title="Holdout errors",
                mark="table",
                y="root_mean_square_error",
                columns=("model", "is_chosen", *ERRORS, "predicted_total", "actual_total", "n"),
                where={"data_window": BEFORE_HOLDOUT},
                format="decimal",
                width=12,
                how_to_read="What each model said of days it had not seen; the lowest squared error is used, and one "
                "hardly better than the naive rate is not worth much. Medians have the lowest absolute error.",
            ),
            Panel(
                title="The models in use",
                mark="table",
                y="log_likelihood",
                columns=("model", "n", "log_likelihood", *(f"model_{name}" for name in MODEL_PARAMETERS)),
                where={"data_window": ALL_DAYS},
                format="decimal",
                width=12,
                how_to_read="The parameters behind all predictions, fitted on all days; times are in weeks.",
            ),
        ),
    ),
    ReportType(
        "model_parameters",
        "Parameters of the models in use",
        ("dimension", "model", "parameter", "estimate", "ci_low", "ci_high", "n"),
        ("dimension", "model", "parameter"),
        (
            Panel(
                title="How sure the parameters are",
                mark="table",
                y="estimate",
                columns=("model", "parameter", "estimate", "ci_low", "ci_high", "n"),
                format="decimal",
                width=12,
                how_to_read="Each parameter with its confidence interval, times in weeks; where there is no "
                "interval, the data do not determine it.",
            ),
        ),
    ),
    ReportType(
        "holdout_deciles",
        "Predicted and actual orders by tenth of the customers",
        (
            "dimension",
            "model",
            "is_chosen",
            "decile",
            "customers",
            "predicted_mean",
            "actual_mean",
            "ci_low",
            "ci_high",
        ),
        ("dimension", "model", "decile"),
        (
            Panel(
                title="Predicted and actual orders",
                mark="bar",
                x="decile",
                y=("predicted_mean", "actual_mean"),
                series_titles={"predicted_mean": "Predicted", "actual_mean": "Actual"},
                x_title="Tenth of the customers, 1 the highest prediction",
                y_title="Orders per customer",
                format="decimal",
                where={"is_chosen": True},
                how_to_read="Where the two bars of a tenth are equally high, the predictions mean what they say.",
            ),
        ),
    ),
    ReportType(
        "holdout_tracking",
        "Predicted and actual orders over the holdout",
        (
            "dimension",
            "model",
            "is_chosen",
            "period",
            "cumulative_predicted",
            "cumulative_actual",
        ),
        ("dimension", "model", "period"),
        (
            Panel(
                title="Orders since the begin of the holdout",
                mark="line",
                x="period",
                y=("cumulative_actual", "cumulative_predicted"),
                series_titles={"cumulative_actual": "Actual", "cumulative_predicted": "Predicted"},
                x_title="Day",
                y_title="Orders",
                where={"is_chosen": True},
                how_to_read="The prediction was made before these days; it should follow the actual curve.",
            ),
            Panel(
                title="Orders since the begin of the holdout, by model",
                mark="line",
                x="period",
                y="cumulative_predicted",
                breakdown="model",
                x_title="Day",
                y_title="Predicted orders",
                format="decimal",
                width=12,
                how_to_read="Where the models disagree, the choice between them matters.",
            ),
        ),
    ),
    ReportType(
        "clv_segments",
        "Customer lifetime value by segment",
        (
            "dimension",
            "clv_segment",
            "customers",
            "clv",
            "clv_share",
            "mean_clv",
            "mean_probability_alive",
            *(f"expected_orders_{days}_days" for days in HORIZONS_DAYS),
            *(f"expected_revenue_{days}_days" for days in HORIZONS_DAYS),
            "ci_low",
            "ci_high",
        ),
        ("dimension", "clv_segment"),
        (
            Panel(
                title="Lifetime value by segment",
                mark="bar",
                x="clv_segment",
                y="clv",
                x_title="Fifth of the customers",
                y_title="Customer lifetime value (currency)",
                format="money",
                how_to_read="What each fifth of the customers is expected to be worth; the first bar is the best.",
            ),
            Panel(
                title="Expected revenue by segment",
                mark="bar",
                x="clv_segment",
                y=tuple(f"expected_revenue_{days}_days" for days in HORIZONS_DAYS),
                series_titles={f"expected_revenue_{days}_days": f"{days} days" for days in HORIZONS_DAYS},
                x_title="Fifth of the customers",
                y_title="Expected revenue (currency)",
                format="money",
                how_to_read="What today's customers are expected to bring within so many days.",
            ),
            Panel(
                title="Value segments",
                mark="table",
                y="clv",
                columns=(
                    "clv_segment",
                    "customers",
                    "mean_probability_alive",
                    "clv",
                    "clv_share",
                    "mean_clv",
                    *(f"expected_revenue_{days}_days" for days in HORIZONS_DAYS),
                    "ci_low",
                    "ci_high",
                ),
                format="decimal",
                width=12,
                how_to_read=f"The interval is that of the revenue of the next {HORIZONS_DAYS[-1]} days.",
            ),
        ),
    ),
    ReportType(
        "daily_clv",
        "Daily revenue, actual and predicted",
        (
            "dimension",
            "period",
            "is_forecast",
            "revenue",
            "predicted_revenue",
            "ci_low",
            "ci_high",
            "predicted_existing_revenue",
            "predicted_new_revenue",
        ),
        ("dimension", "period"),
        (
            Panel(
                title="Daily revenue, actual and predicted",
                mark="line",
                x="period",
                y=("revenue", "predicted_revenue"),
                series_titles={"revenue": "Actual", "predicted_revenue": "Predicted"},
                x_title="Day",
                y_title="Revenue (currency)",
                format="money",
                width=12,
                how_to_read="Where both lines run side by side, the prediction was made before these days.",
            ),
            Panel(
                title="Daily revenue ahead",
                mark="line",
                x="period",
                y="predicted_revenue",
                band=("ci_low", "ci_high"),
                x_title="Day",
                y_title="Predicted revenue (currency)",
                format="money",
                where={"is_forecast": True},
                how_to_read="A day's revenue lies in the band with the confidence level, if nothing new happens.",
            ),
            Panel(
                title="Daily revenue ahead, from known and new customers",
                mark="line",
                x="period",
                y=("predicted_existing_revenue", "predicted_new_revenue"),
                series_titles={
                    "predicted_existing_revenue": "Known customers",
                    "predicted_new_revenue": "New customers",
                },
                x_title="Day",
                y_title="Predicted revenue (currency)",
                format="money",
                where={"is_forecast": True},
                how_to_read="The more of it comes from new customers, the more it hangs on going on to win them.",
            ),
        ),
    ),
)

SETTINGS: dict[str, object] = {
    "top_values": configs.DIMENSION_TOP_VALUES,
    "confidence_level": configs.CONFIDENCE_LEVEL,
    "holdout_days": configs.CLV_HOLDOUT_DAYS,
    "value_days": configs.CLV_VALUE_DAYS,
    "annual_discount_rate": configs.CLV_ANNUAL_DISCOUNT_RATE,
    "forecast_days": configs.CLV_FORECAST_DAYS,
    "history_days": configs.CLV_HISTORY_DAYS,
    "new_customer_days": configs.CLV_NEW_CUSTOMER_DAYS,
}

PREVIOUS = {"previous_models": "models"}  # argument: the report of the latest earlier date whose rows it takes


@dataclass(frozen=True)
class _Settings:
    confidence_level: float
    value_days: int
    annual_discount_rate: float
    forecast_days: int
    history_days: int
    new_customer_days: int


@dataclass(frozen=True)
class _Candidate:
    title: str
    kind: OrderKind
    fit: OrderFit
    predicted: Floats  # orders in the holdout, per cell; missing without a model
    errors: dict[str, float]


@dataclass
class _Study:
    """What was found for one dimension value."""

    kind: OrderKind
    orders: OrderFit
    spend: SpendFit
    paid_share: float
    frames: dict[str, pd.DataFrame]
    warnings: list[str] = field(default_factory=list)
    kpis: dict[str, float] = field(default_factory=dict)


def clv_prediction(
    tables: Tables,
    *,
    as_of: date,
    top_values: int = 25,
    confidence_level: float = 0.95,
    holdout_days: int = 90,
    value_days: int = 365,
    annual_discount_rate: float = 0.1,
    forecast_days: int = 182,
    history_days: int = 182,
    new_customer_days: int = 56,
    previous_models: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Report]:
    """Every report of this module, from what was known at the end of `as_of`.

    `previous_models` are the rows of an earlier `models` report: a parameter that has changed by more than half is a
    warning, and where no start of its own ends well, fitting starts from there.
    """
    settings = _Settings(
        confidence_level, value_days, annual_discount_rate, forecast_days, history_days, new_customer_days
    )
    seen = observed(tables, as_of=as_of, top_values=top_values)
    today = day_number(as_of)
    repeated = by_dimension(seen.sessions.filter(seen.sessions.is_order).drop("instant", "id", "hour"), seen.dimensions)
    customers, series, cuts = _customers_and_series(repeated, today, holdout_days)
    of_series = {int(str(code)): own for code, own in series.groupby("dimension")}
    studies: dict[int, _Study] = {}
    for code, own in customers.groupby("dimension"):
        number = int(str(code))
        before = {
            str(row["model"]): {
                name: value for name in MODEL_PARAMETERS if np.isfinite(value := known(row.get(f"model_{name}")))
            }
            for row in previous_models
            if row["dimension"] == seen.labels[number] and row["data_window"] == ALL_DAYS
        }
        studies[number] = _study(own, of_series[number], today, cuts[number], settings, before, since(previous_models))
    said = definition(
        tables,
        as_of=as_of,
        same_day_orders="count as one",
        spend="Gamma-Gamma on orders after the first with an amount above zero",
        times="parameters are for times in weeks",
        churn_risk=f"the probability of no order in the next {CHURN_RISK_DAYS} days",
        clv=f"expected revenue of the next {value_days} days, discounted by {annual_discount_rate:g} a year",
        chosen_by="lowest root mean square error in the holdout period",
        libraries={name: version(name) for name in ("lifetimes", "scipy", "numpy")},
        seed="none: fitting is not random",
    )
    headline: dict[str, float] = studies[0].kpis if 0 in studies else {}
    order = {
        "model": [*ORDER_KINDS.values(), SPEND, NAIVE],
        "parameter": list(MODEL_PARAMETERS),
        "data_window": [BEFORE_HOLDOUT, ALL_DAYS],
        "clv_segment": list(SEGMENTS),
    }
    reports = {}
    for report_type in REPORTS:
        parts = [one.frames[report_type.type].assign(dimension=code) for code, one in studies.items()]
        parts = [part for part in parts if len(part)]
        # Joined from records, because columns that are empty in one part have no type there.
        rows = [row for part in parts for row in part.to_dict("records")]
        names = dict.fromkeys([*report_type.fields, *(name for part in parts for name in part)])
        frame = pd.DataFrame(rows, columns=list(names)) if rows else _empty(report_type)
        told = {code: one.warnings for code, one in studies.items() if code == 0 or report_type.type == "models"}
        reports[report_type.type] = finished_report(
            report_type,
            frame,
            seen.labels,
            report_type.key,
            as_of=as_of,
            kpis=headline,
            said=said,
            warnings=of_values(told, seen.labels),
            order=order,
        )
    return reports


def customer_scores(
    tables: Tables,
    *,
    as_of: date,
    confidence_level: float = configs.CONFIDENCE_LEVEL,
    holdout_days: int = configs.CLV_HOLDOUT_DAYS,
    value_days: int = configs.CLV_VALUE_DAYS,
    annual_discount_rate: float = configs.CLV_ANNUAL_DISCOUNT_RATE,
) -> pd.DataFrame:
    """One row per customer with an order, sorted by `client`: `client` and the columns of SCORES.

    Where there is no model they are missing.
    """
    seen = observed(replace(tables, dimensions=()), as_of=as_of, top_values=0)
    today = day_number(as_of)
    repeated = by_dimension(seen.sessions.filter(seen.sessions.is_order).drop("instant", "id", "hour"), ())
    customers, _, cuts = _customers_and_series(repeated, today, holdout_days)
    sessions = tables.sessions.filter(tables.sessions.session_day <= as_of)
    names = result(client_names(sessions))
    if not len(customers):
        return pd.DataFrame({name: pd.Series(dtype="object") for name in ("client", *SCORES)})
    candidates, _ = _candidates(customers, cuts[0], today, {})
    kind = _best(candidates)
    order_fit, spend_fit = fit_orders(order_history(customers, today), kind), fit_spend(_spend(customers))
    if order_fit.model is None or spend_fit.model is None:
        found = pd.DataFrame({name: [None] * len(customers) for name in SCORES}, index=customers.index)
    else:
        model = CustomerModel(order_fit.model, spend_fit.model, _paid_share(customers))
        found = predicted(
            customers,
            today,
            model,
            value_days=value_days,
            annual_discount_rate=annual_discount_rate,
            confidence_level=confidence_level,
        )
    found["client"] = customers["client_code"].map(names.set_index("client_code")["client"])
    return found.sort_values("client", ignore_index=True)[["client", *SCORES]]


def _customers_and_series(
    orders: ir.Table, today: int, holdout_days: int
) -> tuple[pd.DataFrame, pd.DataFrame, dict[int, int]]:
    """Customers and days per dimension, and the last day before each dimension's holdout (its first day: none).

    customers: dimension, client_code, first, last, order_days, [spend_orders, spend_units: of orders after the first
    with an amount above zero], repeat_units (of all after the first), and the same up to the cut, with prefix `cut_`
    series:    dimension, day, units, new_customers, new_units, returning (orders in the holdout, of those known before)
    """
    summed = orders.group_by(["dimension", "client_code", "day"]).agg(units=(orders.amount.sum() * UNITS).cast("int64"))
    whole = ibis.window(group_by=["dimension", "client_code"])
    with held(summed.mutate(first=summed.day.min().over(whole))) as days:
        starts = result(days.group_by("dimension").agg(first=days.day.min())).astype("int64")
        cuts: dict[int, int] = {}
        for start in records(starts):
            holdout = min(holdout_days, (today - start.first + 1) // 3)
            cuts[start.dimension] = int(today - holdout if holdout >= SHORTEST_HOLDOUT_DAYS else today)
        cut_table = ibis.memtable(
            pd.DataFrame({"dimension": list(cuts), "cut": list(cuts.values())}).astype(
                {"dimension": "int32", "cut": "int32"}
            )
        )
        known = days.join(cut_table, "dimension")
        again = known.day > known["first"]
        paid = again & (known.units > 0)
        early = known.day <= known.cut
        customers = result(
            known.group_by(["dimension", "client_code"]).agg(
                first=known["first"].min(),
                last=known.day.max(),
                order_days=known.count(),
                spend_orders=paid.sum(),
                spend_units=ibis.ifelse(paid, known.units, 0).sum(),
                repeat_units=ibis.ifelse(again, known.units, 0).sum(),
                cut_last=ibis.ifelse(early, known.day, ibis.null()).max(),
                cut_order_days=early.sum(),
                cut_spend_orders=(paid & early).sum(),
                cut_spend_units=ibis.ifelse(paid & early, known.units, 0).sum(),
                cut_repeat_units=ibis.ifelse(again & early, known.units, 0).sum(),
            )
        )
        is_new = known.day == known["first"]
        series = result(
            known.group_by(["dimension", "day"]).agg(
                units=known.units.sum(),
                new_customers=is_new.sum(),
                new_units=ibis.ifelse(is_new, known.units, 0).sum(),
                returning=((known["first"] <= known.cut) & (known.day > known.cut)).sum(),
            )
        ).astype("int64")
    customers["cut_last"] = customers["cut_last"].fillna(-1)
    customers = customers.astype("int64")
    # Sorted by what is known of a customer, never by the code, so that sums do not depend on anybody's name.
    by = [str(name) for name in customers if name != "client_code"]
    return customers.sort_values(by, ignore_index=True), series.sort_values(["dimension", "day"]), cuts


def _before(customers: pd.DataFrame, cut: int) -> pd.DataFrame:
    """The customers of the days up to the cut, as they were then."""
    early = customers[customers["first"] <= cut]
    names = {f"cut_{name}": name for name in ("last", "order_days", "spend_orders", "spend_units", "repeat_units")}
    return early.drop(columns=list(names.values())).rename(columns=names)


def _spend(customers: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "spend_orders": customers["spend_orders"],
            "mean_amount": ratio(customers["spend_units"], customers["spend_orders"]) / UNITS,
            "number": 1,
        }
    )


def _paid_share(customers: pd.DataFrame) -> float:
    """Revenue per order after the first, over that of those with an amount above zero."""
    orders, paid = int((customers["order_days"] - 1).sum()), int(customers["spend_orders"].sum())
    if not paid:
        return 1.0
    units = int(customers["spend_units"].sum())
    return max(int(customers["repeat_units"].sum()) / orders / (units / paid), 0.0)


def _candidates(
    customers: pd.DataFrame, cut: int, today: int, starts: Mapping[str, Mapping[str, float]]
) -> tuple[list[_Candidate], pd.DataFrame]:
    """Every model fitted on the days up to the cut, and the cells that it was judged by: patterns and actual orders."""
    early = _before(customers, cut)
    actual = customers.loc[early.index, "order_days"] - early["order_days"]
    keys = ["further_orders", "recency_days", "age_days", "actual"]
    each = order_history(early, cut).assign(actual=actual)
    cells = each.groupby(keys)["number"].sum().reset_index()
    if cut >= today or not len(cells):
        return [], cells
    found = []
    for kind, title in ORDER_KINDS.items():
        fit = fit_orders(cells, kind, start=starts.get(title))
        expected = medians = np.full(len(cells), np.nan)
        if fit.model is not None:
            expected = fit.model.expected_orders(today - cut, *pattern(cells))
            medians = fit.model.median_orders(today - cut, *pattern(cells))
        found.append(_Candidate(title, kind, fit, expected, _judged(expected, cells, medians)))
    return found, cells


def _judged(expected: Floats, cells: pd.DataFrame, medians: Floats | None = None) -> dict[str, float]:
    """The errors of means, and the absolute one of medians where there are any."""
    found = dict.fromkeys(ERRORS, float("nan"))
    if np.isfinite(expected).all():
        found |= errors(expected, cells["actual"], cells["number"])
        if medians is not None:
            of_medians = errors(medians, cells["actual"], cells["number"])
            found["mean_absolute_error_of_medians"] = of_medians["mean_absolute_error"]
    return found


def _best(candidates: Sequence[_Candidate]) -> OrderKind:
    known = [one for one in candidates if np.isfinite(one.errors["root_mean_square_error"])]
    return min(known, key=lambda one: one.errors["root_mean_square_error"]).kind if known else USUAL_KIND


def _study(
    customers: pd.DataFrame,
    series: pd.DataFrame,
    today: int,
    cut: int,
    settings: _Settings,
    previous: Mapping[str, Mapping[str, float]],
    since_when: str,
) -> _Study:
    """Everything about one dimension value."""
    candidates, cells = _candidates(customers, cut, today, previous)
    kind = _best(candidates)
    chosen = ORDER_KINDS[kind]
    orders = fit_orders(order_history(customers, today), kind, start=previous.get(chosen))
    spend = fit_spend(_spend(customers), start=previous.get(SPEND))
    found = _Study(kind, orders, spend, _paid_share(customers), {})
    found.warnings = _warnings(customers, candidates, found)
    found.warnings += _changes(found, previous, since_when)
    first = int(customers["first"].min())
    found.frames["models"] = _models(candidates, cells, found, customers, (first, cut, today))
    found.frames["model_parameters"] = _model_parameters(found, len(customers), settings.confidence_level)
    judged = [one for one in candidates if one.fit.model is not None]
    z = float(norm.ppf((1 + settings.confidence_level) / 2))
    parts = []
    for one in judged:
        part = tenths(one.predicted, cells["actual"], cells["number"])
        half = z * part["standard_error"]
        ends = {"ci_low": (part["actual_mean"] - half).clip(lower=0), "ci_high": part["actual_mean"] + half}
        parts.append(part.assign(model=one.title, is_chosen=one.kind == kind, **ends))
    found.frames["holdout_deciles"] = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    found.frames["holdout_tracking"] = _tracking(judged, kind, cells, series, cut, today)
    found.frames["clv_segments"] = pd.DataFrame()
    level = next((one.predicted for one in judged if one.kind == kind), None)
    missed = 0.0
    if level is not None:
        expected, came = float((level * cells["number"]).sum()), float((cells["actual"] * cells["number"]).sum())
        missed = abs(came / expected - 1) if expected > 0 else 0.0
    if orders.model is not None and spend.model is not None:
        ahead = predicted(
            customers,
            today,
            CustomerModel(orders.model, spend.model, found.paid_share),
            value_days=settings.value_days,
            annual_discount_rate=settings.annual_discount_rate,
        )
        found.frames["clv_segments"] = _value_segments(ahead, missed, z)
        found.kpis = {
            "expected_active_customers": round(float(ahead["probability_alive"].sum()), 3),
            "expected_orders_30_days": round(float(ahead["expected_orders_30_days"].sum()), 3),
            "expected_revenue_30_days": round(float(ahead["expected_revenue_30_days"].sum()), 2),
            "expected_revenue_180_days": round(float(ahead["expected_revenue_180_days"].sum()), 2),
            "clv": round(float(ahead["clv"].sum()), 2),
        }
    found.kpis["customers"] = float(len(customers))
    for one in judged:
        if one.kind == kind:
            found.kpis["holdout_mean_absolute_error"] = round(one.errors["mean_absolute_error"], 6)
    found.frames["daily_clv"] = _daily(customers, series, found, judged, today, cut, settings)
    return found


def _warnings(
    customers: pd.DataFrame,
    candidates: Sequence[_Candidate],
    found: _Study,
) -> list[str]:
    """What a reader must know before believing the numbers."""
    said = [*found.orders.warnings, *found.spend.warnings]
    if not candidates:
        said.append(f"There are too few days to hold some out: {ORDER_KINDS[found.kind]} is used unexamined.")
    said += [f"{warning} (before the holdout)" for one in candidates for warning in one.fit.warnings]
    repeaters = customers[customers["spend_orders"] > 0]
    amounts = ratio(repeaters["spend_units"], repeaters["spend_orders"])
    numbers = repeaters["spend_orders"].to_numpy("float64")
    if len(repeaters) > 2 and np.ptp(amounts) > 0 and np.ptp(numbers) > 0:
        correlation = pearsonr(numbers, amounts)
        if abs(correlation.statistic) > CORRELATION_LIMIT and correlation.pvalue < 0.01:
            said.append(
                f"How often customers order and what they spend are correlated ({correlation.statistic:.2f}), which "
                "the Gamma-Gamma model rules out: expected revenue is too low at one end and too high at the other."
            )
    return list(dict.fromkeys(said))


def _in_use(found: _Study) -> dict[str, OrderFit | SpendFit]:
    """The fits on all days that have parameters, by the model's name."""
    fits: dict[str, OrderFit | SpendFit] = {ORDER_KINDS[found.kind]: found.orders, SPEND: found.spend}
    return {name: fit for name, fit in fits.items() if fit.model is not None and fit.model.parameters}


def _changes(found: _Study, previous: Mapping[str, Mapping[str, float]], since_when: str) -> list[str]:
    """What is different from the report before, as sentences."""
    said = []
    used = [title for title in ORDER_KINDS.values() if title in previous]
    if used and found.orders.model is not None and ORDER_KINDS[found.kind] not in used:
        said.append(f"Another model is used {since_when}: {ORDER_KINDS[found.kind]} instead of {used[0]}.")
    for name, fit in _in_use(found).items():
        assert fit.model is not None
        moved = drifted(
            previous.get(name, {}), fit.model.parameters or {}, names={one: one for one in MODEL_PARAMETERS}
        )
        if moved:
            said.append(f"Parameters of the {name} model have drifted {since_when}: {', '.join(moved)}.")
    return said


def _model_parameters(found: _Study, customers: int, confidence_level: float) -> pd.DataFrame:
    """One row per parameter of the models in use, with its interval where there is one."""
    rows: list[dict[str, Any]] = []
    for name, fit in _in_use(found).items():
        assert fit.model is not None
        ends = fit.intervals(confidence_level)
        n = fit.model.n if isinstance(fit.model, SpendModel) else customers
        for one, value in (fit.model.parameters or {}).items():
            low, high = ends.get(one, (float("nan"), float("nan")))
            rows.append({"model": name, "parameter": one, "estimate": value, "ci_low": low, "ci_high": high, "n": n})
    return pd.DataFrame(rows)


def _models(
    candidates: Sequence[_Candidate],
    cells: pd.DataFrame,
    found: _Study,
    customers: pd.DataFrame,
    days: tuple[int, int, int],
) -> pd.DataFrame:
    """One row per model and window it was fitted on."""
    first, cut, today = days
    early = {"data_window": BEFORE_HOLDOUT, "window_start": first, "window_end": cut, "n": int(cells["number"].sum())}
    came = {"actual_total": int((cells["actual"] * cells["number"]).sum()), "holdout_days": today - cut}
    rows: list[dict[str, Any]] = []
    for one in candidates:
        row: dict[str, Any] = {**early, **one.errors, "model": one.title, "is_chosen": one.kind == found.kind}
        if one.fit.model is not None:
            row |= {**came, "predicted_total": float((one.predicted * cells["number"]).sum())}
            row |= _parameters(one.fit.model)
        rows.append(row)
    if candidates:
        naive = ratio(cells["further_orders"], cells["age_days"]) * (today - cut)
        naive = np.where(np.isfinite(naive), naive, 0.0)
        total = float((naive * cells["number"]).sum())
        row = {**early, **came, **_judged(naive, cells), "model": NAIVE, "is_chosen": False, "predicted_total": total}
        rows.append(row)
    whole = {"data_window": ALL_DAYS, "window_start": first, "window_end": today, "is_chosen": True}
    rows.append({**whole, "model": ORDER_KINDS[found.kind], "n": len(customers), **_parameters(found.orders.model)})
    if found.spend.model is not None:
        rows.append({**whole, "model": SPEND, "n": found.spend.model.n, **_parameters(found.spend.model)})
    frame = pd.DataFrame(rows)
    for name in ("window_start", "window_end"):
        frame[name] = as_dates(frame[name].to_numpy("int64").astype("datetime64[D]"))
    return frame


def _parameters(model: OrderModel | SpendModel | None) -> dict[str, Any]:
    if model is None or model.parameters is None:
        return {}
    return {
        "log_likelihood": model.log_likelihood,
        **{f"model_{name}": value for name, value in model.parameters.items()},
    }


def _tracking(
    judged: Sequence[_Candidate], kind: OrderKind, cells: pd.DataFrame, series: pd.DataFrame, cut: int, today: int
) -> pd.DataFrame:
    """One row per model and week of the holdout (and its last day): orders so far, predicted and actual."""
    if not judged:
        return pd.DataFrame()
    ahead = nodes(today - cut)
    shown = [*range(7, today - cut, 7), today - cut]
    returning = series.set_index("day")["returning"]
    came = [int(returning[(returning.index > cut) & (returning.index <= cut + day)].sum()) for day in shown]
    parts = []
    for one in judged:
        assert one.fit.model is not None
        totals = [float((one.fit.model.expected_orders(day, *pattern(cells)) * cells["number"]).sum()) for day in ahead]
        so_far = np.cumsum(daily(ahead, totals))
        parts.append(
            pd.DataFrame(
                {
                    "model": one.title,
                    "is_chosen": one.kind == kind,
                    "period": as_dates(np.array([cut + day for day in shown]).astype("datetime64[D]")),
                    "cumulative_predicted": [float(so_far[day - 1]) for day in shown],
                    "cumulative_actual": came,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _value_segments(ahead: pd.DataFrame, missed: float, z: float) -> pd.DataFrame:
    """One row per segment that occurs.

    The interval is of the revenue of the longest horizon: the customers' own chance, and an error of the level as large
    as that of the holdout (`missed`, a share).
    """
    amounts = [f"expected_{what}_{days}_days" for what in ("orders", "revenue") for days in HORIZONS_DAYS]
    sums = ahead.groupby("clv_segment", as_index=False).agg(
        customers=("clv", "size"),
        clv=("clv", "sum"),
        mean_clv=("clv", "mean"),
        mean_probability_alive=("probability_alive", "mean"),
        variance=("revenue_variance", "sum"),
        **{name: (name, "sum") for name in amounts},
    )
    revenue = sums[f"expected_revenue_{HORIZONS_DAYS[-1]}_days"]
    half = z * np.sqrt(sums["variance"] + (missed * revenue) ** 2)
    return sums.assign(
        clv_share=ratio(sums["clv"], sums["clv"].sum()),
        ci_low=np.maximum(revenue - half, 0),
        ci_high=revenue + half,
    )


def _daily(
    customers: pd.DataFrame,
    series: pd.DataFrame,
    found: _Study,
    judged: Sequence[_Candidate],
    today: int,
    cut: int,
    settings: _Settings,
) -> pd.DataFrame:
    """Days of the history and the forecast, with actual revenue, and predicted revenue with its band."""
    first = int(series["day"].min())
    calendar = np.arange(first, today + 1)
    by_day = series.set_index("day").reindex(calendar, fill_value=0)
    revenue = by_day["units"].to_numpy("float64") / UNITS
    level, known_horizon = 0.0, today - cut
    earlier = np.zeros((0, 2))
    model = next((one.fit.model for one in judged if one.kind == found.kind), None)
    if cut < today:
        early = _before(customers, cut)
        spend = fit_spend(_spend(early)).model
        upto = by_day[calendar <= cut]
        then = CustomerModel(model, spend, _paid_share(early)) if model and spend else None
        earlier = _ahead(early, upto, cut, known_horizon, then, settings)
        noise = weekly_rhythm(revenue[calendar <= cut], cut).noise
        level = level_error(earlier.sum(axis=1), revenue[calendar > cut], noise)
    fitted = found.orders.model, found.spend.model
    ahead = CustomerModel(fitted[0], fitted[1], found.paid_share) if fitted[0] and fitted[1] else None
    later = _ahead(customers, by_day, today, settings.forecast_days, ahead, settings)
    rows = []
    for begin, parts in ((cut, earlier), (today, later)):
        total = parts.sum(axis=1)
        noise = weekly_rhythm(revenue[calendar <= begin], begin).noise
        low, high = band(
            total, noise, level, known_horizon_days=known_horizon, confidence_level=settings.confidence_level
        )
        rows.append(
            pd.DataFrame(
                {
                    "day": np.arange(begin + 1, begin + 1 + len(parts)),
                    "predicted_revenue": total,
                    "predicted_existing_revenue": parts[:, 0],
                    "predicted_new_revenue": parts[:, 1],
                    "ci_low": low,
                    "ci_high": high,
                }
            )
        )
    known = pd.DataFrame({"day": calendar, "revenue": revenue})[calendar > today - settings.history_days]
    both = known.merge(pd.concat(rows, ignore_index=True), how="outer", on="day").sort_values("day", ignore_index=True)
    both = both[both["day"] > today - settings.history_days]
    return both.assign(
        period=as_dates(both["day"].to_numpy("int64").astype("datetime64[D]")), is_forecast=both["day"] > today
    ).drop(columns="day")


def _ahead(
    customers: pd.DataFrame,
    by_day: pd.DataFrame,
    today: int,
    days: int,
    model: CustomerModel | None,
    settings: _Settings,
) -> Floats:
    """Expected revenue of each of the `days` days after today: from known customers, from new ones.

    Without a model nobody is expected to come back.
    """
    if days <= 0:
        return np.zeros((0, 2))
    existing, again = np.zeros(days), np.zeros(days)
    newest = by_day.iloc[-settings.new_customer_days :]
    arrivals = float(newest["new_customers"].mean())
    some = newest if newest["new_customers"].sum() else by_day
    first_amount = float(some["new_units"].sum()) / max(float(some["new_customers"].sum()), 1.0) / UNITS
    if model is not None:
        orders, spend, paid_share = model.orders, model.spend, model.paid_share
        patterns, place = distinct(order_history(customers, today))
        mean_amount = ratio(customers["spend_units"], customers["spend_orders"]) / UNITS
        amounts = spend.expected_amount(customers["spend_orders"], mean_amount)
        weights = np.bincount(place, weights=amounts, minlength=len(patterns)) * paid_share
        ahead = nodes(days)
        totals = [float((orders.expected_orders(day, *pattern(patterns)) * weights).sum()) for day in ahead]
        existing = daily(ahead, totals)
        # Those who come at a steady pace have, on day d, together the orders of one customer's first d - 1 days.
        typical = float(spend.expected_amount(0, 0)) * paid_share
        again = orders.expected_orders_of_new(np.arange(days)) * arrivals * typical
    rhythm = weekly_rhythm(by_day["units"].to_numpy("float64"), today).of(np.arange(today + 1, today + 1 + days))
    new = arrivals * max(first_amount, 0.0) + again
    return np.column_stack([existing * rhythm, new * rhythm])


def _empty(report_type: ReportType) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="float64") for name in report_type.fields}).astype(
        {"dimension": "int64"}
    )
