"""What holds for every analysis in the folder."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from include import catalogue
from include.elastic.reports import json_rows
from include.schemas.reports import SHARED_FIELDS, Report
from include.staging.tables import Tables

AS_OF = date(2024, 5, 5)
AFTER = datetime(2024, 5, 5, 22, 0)  # midnight in Berlin: the first moment of 6 May
ANALYSES = [one for one in catalogue.analyses() if one.group == "exploratory"]
PRODUCTS = (("Milk", "Dairy", 1.25), ("Bread", "Bakery", 3), ("Butter", "Dairy", 2.5), ("Jam", "Bakery", 3))


def shop(
    clients: int = 25, prefix: str = "c", seed: int = 1
) -> tuple[list[dict[str, Any]], list[tuple[str, datetime]]]:
    """Ten weeks of a small shop in Berlin time, over the clock change, with ties and missing dimension values."""
    chance = random.Random(seed)
    berlin = ZoneInfo("Europe/Berlin")
    sessions, customers = [], []
    for number in range(clients):
        name = f"c{number:02}"
        start = datetime(2024, 3, 1, 23, 30, tzinfo=berlin) + timedelta(days=chance.randrange(50))
        customers.append((name, start.astimezone(UTC).replace(tzinfo=None)))
        for visit in range(chance.randrange(9)):
            at = start + timedelta(days=chance.choice([-1, 0, 0, 1, 7, 14, 21, 30]), hours=chance.randrange(3))
            sessions.append(
                {
                    "id": f"{name}-{visit}",
                    "client": name,
                    "at": at.astimezone(UTC).replace(tzinfo=None),
                    "bought": chance.random() < 0.6,
                    "amount": chance.choice([0, 9.99, 20, 20, 35.5, 120]),
                    "region": chance.choice(["North", "South", None]),
                    "device": chance.choice(["app", "web"]),
                    "promotion": (None, "SPRING", "VIP")[visit % 3],
                    "lines": [(*one, chance.choice([1, 2])) for one in PRODUCTS if chance.random() < 0.6],
                }
            )
    return sessions, customers


SHOP = shop()
COUNTS = {
    *("sessions", "orders", "customers", "revenue", "cohort_customers", "unbounded_customers", "in_any_order"),
    *("promoted_orders", "first_orders", "censored_customers", "units", "product_revenue", "repeat_buyers"),
    *("previous_customers", "retained_customers", "at_risk"),
}
RATES = {
    *("rate", "unbounded_rate", "overall_rate", "average_order_value", "cumulative_revenue_per_customer", "lift"),
    *("discount_depth", "first_order_rate", "price_per_unit", "product_revenue_share", "products_per_basket"),
    *("survival", "usual_gap_days", "converted_median_hours", "mean_hours", "mean_expected_gap_days"),
}
IN_BERLIN = {"dimensions": ("region", "device"), "time_zone": "Europe/Berlin", "week_start": "sunday"}


def run(analysis: catalogue.Analysis, tables: Tables) -> dict[str, Report]:
    reports: dict[str, Report] = getattr(analysis.module, analysis.name)(tables, as_of=AS_OF)
    return reports


def fields_of(module: ModuleType) -> dict[str, Any]:
    return {**SHARED_FIELDS, **module.FIELDS}


def as_written(analysis: catalogue.Analysis, reports: dict[str, Report]) -> dict[str, list[dict[str, Any]]]:
    module = analysis.module
    return {
        one.type: json_rows(one, reports[one.type].rows, fields_of(module), analysis.name) for one in module.REPORTS
    }


@pytest.fixture(params=ANALYSES, ids=lambda one: one.name)
def analysis(request: pytest.FixtureRequest) -> catalogue.Analysis:
    one: catalogue.Analysis = request.param
    return one


@pytest.fixture
def reports(analysis: catalogue.Analysis, tables_of: Any) -> dict[str, Report]:
    return run(analysis, tables_of(*SHOP, **IN_BERLIN))


def test_reports_are_as_declared(analysis: catalogue.Analysis, reports: dict[str, Report]) -> None:
    declared = {one.type: one for one in analysis.module.REPORTS}
    assert set(reports) == set(declared)
    for name, report in reports.items():
        assert tuple(report.rows.columns) == declared[name].fields
        assert len(report.rows) > 0
        assert {"window", "time_zone", "week_start", "order"} <= set(report.definition)
        assert report.kpis
    for rows in as_written(analysis, reports).values():
        assert all(value is not None and value == value for row in rows for value in row.values())


def test_a_name_means_the_same_everywhere() -> None:
    meaning: dict[str, Any] = dict(SHARED_FIELDS)
    for one in catalogue.analyses():
        for name, field in one.module.FIELDS.items():
            assert meaning.setdefault(name, field) == field


def test_every_report_has_panels_over_its_own_fields(analysis: catalogue.Analysis, reports: dict[str, Report]) -> None:
    for report_type in analysis.module.REPORTS:
        assert report_type.panels
        rows = reports[report_type.type].rows
        for panel in report_type.panels:
            used = {*panel.series, panel.x, panel.breakdown, panel.color, *(panel.band or ()), *panel.columns}
            assert {name for name in used if name} | set(panel.where) <= set(report_type.fields)
            assert panel.how_to_read.endswith(".")
            assert not panel.x or panel.x_title
            shown = rows[rows["dimension"] == "all"]
            for name, value in panel.where.items():
                shown = shown[shown[name] == value]
            unknown_here = panel.where.get("metric") == "discount"  # the shop has no discounts
            assert unknown_here or 0 < len(shown) <= 1_000


def test_order_of_rows_files_extra_columns_and_repeated_customers_do_not_matter(
    analysis: catalogue.Analysis, reports: dict[str, Report], tables_of: Any
) -> None:
    sessions, customers = SHOP
    backwards = [{**one, "lines": one["lines"][::-1]} for one in sessions[::-1]]
    tables = tables_of(backwards, [*customers[::-1], *customers[:3]], **IN_BERLIN)
    more = tables.sessions.mutate(colour=tables.sessions.id)
    parts = (more.filter(more.client >= "c11"), more.filter(more.client < "c11"))
    again = run(analysis, replace(tables, sessions=ibis.union(*parts)))
    assert as_written(analysis, again) == as_written(analysis, reports)


def test_names_of_clients_do_not_matter(
    analysis: catalogue.Analysis, reports: dict[str, Report], tables_of: Any
) -> None:
    sessions, customers = SHOP
    renamed = {client: f"x{99 - number}" for number, (client, _) in enumerate(customers)}
    tables = tables_of(
        [{**one, "client": renamed[one["client"]]} for one in sessions],
        [(renamed[client], at) for client, at in customers],
        **IN_BERLIN,
    )
    assert as_written(analysis, run(analysis, tables)) == as_written(analysis, reports)


def test_every_customer_twice_doubles_counts_and_leaves_rates(
    analysis: catalogue.Analysis, reports: dict[str, Report], tables_of: Any
) -> None:
    sessions, customers = SHOP
    twins = [{**one, "id": "t" + one["id"], "client": "t" + one["client"]} for one in sessions]
    both = tables_of([*sessions, *twins], [*customers, *(("t" + client, at) for client, at in customers)], **IN_BERLIN)
    doubled = run(analysis, both)
    # Bins follow the number of orders, quantiles between two values shift with it, more pairs are in enough orders.
    differ = {"payment_distribution", "cut_points", "score_pairs", "score_cells", "migration", "segments"}
    for report_type in analysis.module.REPORTS:
        if report_type.type in differ | {"product_pairs"}:
            continue
        once, twice = reports[report_type.type].rows, doubled[report_type.type].rows
        assert_frame_equal(once[list(report_type.key)], twice[list(report_type.key)])
        for name in COUNTS & set(report_type.fields):
            assert (2 * once[name]).round(6).tolist() == twice[name].round(6).tolist()
        for name in RATES & set(report_type.fields):
            assert once[name].to_numpy() == pytest.approx(twice[name].to_numpy(), nan_ok=True)


def test_a_dimension_value_is_as_though_only_its_sessions_existed(
    analysis: catalogue.Analysis, reports: dict[str, Report], tables_of: Any
) -> None:
    sessions, customers = SHOP
    for column, value, label in (("region", "North", "North"), ("region", None, "(unknown)"), ("device", "app", "app")):
        own = [one for one in sessions if one[column] == value]
        seen = [one for one in sessions if one["at"] < AFTER]
        ordered = sorted(seen, key=lambda one: (one["at"], one["id"]), reverse=True)
        first = {one["client"]: one[column] for one in ordered}
        members = [(client, at) for client, at in customers if first.get(client) == value]
        if analysis.name in ("cohorts", "funnels", "source_health"):
            customers_here = members if value is not None else [c for c in customers if first.get(c[0]) is None]
        else:
            customers_here = customers
        alone = run(analysis, tables_of(own, customers_here, time_zone="Europe/Berlin", week_start="sunday"))
        # The way of a customer through the funnel is not cut into pieces: it counts whole where the customer belongs.
        whole = alone
        if analysis.name == "funnels":
            ways = [one for one in sessions if one["client"] in dict(customers_here)]
            whole = run(analysis, tables_of(ways, customers_here, time_zone="Europe/Berlin", week_start="sunday"))
        for report_type in analysis.module.REPORTS:
            rows = reports[report_type.type].rows
            part = rows[rows["dimension"] == f"{column}: {label}"].drop(columns="dimension").reset_index(drop=True)
            is_whole = report_type.type in ("customer_funnel", "conversion")
            expected = (whole if is_whole else alone)[report_type.type].rows.drop(columns="dimension")
            assert_frame_equal(part, expected, check_dtype=False)


def test_parts_add_up(analysis: catalogue.Analysis, reports: dict[str, Report]) -> None:
    for type_, names in (
        ("activity", ("sessions", "orders", "revenue")),
        ("segments", ("orders", "revenue")),
        ("session_funnel", ("sessions", "in_any_order")),
        ("customer_funnel", ("customers", "in_progress")),
        ("conversion", ("customers", "in_progress")),
        ("promoted_share", ("orders", "promoted_orders", "revenue")),
        ("order_kinds", ("orders", "revenue")),
        ("baskets", ("orders", "basket_orders", "units", "product_revenue")),
        ("products", ("orders", "units", "product_revenue")),
    ):
        if type_ not in reports:
            continue
        rows = reports[type_].rows
        for name in names:
            whole = rows.loc[rows["dimension"] == "all", name].sum()
            assert whole > 0
            for column in ("region", "device"):
                parts = rows.loc[rows["dimension"].str.startswith(f"{column}: "), name].sum()
                assert parts == pytest.approx(whole)


def test_steps_are_monotone(analysis: catalogue.Analysis, reports: dict[str, Report]) -> None:
    """Of what goes step by step, or on and on, no later value is larger (or smaller) than the one before it."""
    for type_, step, name, sign in (
        ("session_funnel", "step_number", "sessions", -1),
        ("customer_funnel", "step_number", "customers", -1),
        ("conversion", "step_number", "customers", -1),
        ("retention", "offset", "unbounded_customers", -1),
        ("revenue", "offset", "cumulative_revenue", 1),
        ("gap_survival", "days", "survival", -1),
        ("gap_survival", "days", "at_risk", -1),
    ):
        if type_ in reports:
            rows = reports[type_].rows
            (report_type,) = (one for one in analysis.module.REPORTS if one.type == type_)
            others = [key for key in report_type.key if key != step]
            steps = sign * rows.groupby(others, dropna=False)[name].diff().dropna()
            assert len(steps)
            assert (steps >= -1e-9).all()


def test_nothing_gives_no_rows_and_a_header(analysis: catalogue.Analysis, tables_of: Any) -> None:
    for dimensions in ((), ("region",)):
        for report in run(analysis, tables_of([], [], dimensions=dimensions)).values():
            assert len(report.rows) == 0
            assert report.definition["window"].endswith("2024-05-05")
            assert "There is nothing to report up to 2024-05-05." in report.warnings


def test_one_customer_works(analysis: catalogue.Analysis, tables_of: Any) -> None:
    at = datetime(2024, 5, 1, 12)
    one = {"id": "1", "client": "a", "at": at, "bought": True, "amount": 10}
    written = as_written(analysis, run(analysis, tables_of([one], [("a", at)])))
    assert any(written.values())


def test_what_comes_after_the_report_date_does_not_count(
    analysis: catalogue.Analysis, reports: dict[str, Report], tables_of: Any
) -> None:
    sessions, customers = SHOP
    more = [{"id": "z", "client": "c01", "at": AFTER, "bought": True, "amount": 5, "region": "South", "device": "app"}]
    again = run(analysis, tables_of([*sessions, *more], [*customers, ("zz", AFTER)], **IN_BERLIN))
    assert as_written(analysis, again) == as_written(analysis, reports)


def test_only_the_largest_values_are_kept(tables_of: Any, analysis: catalogue.Analysis) -> None:
    at = datetime(2024, 5, 1)
    sizes = {"b": 2, "a": 2, "c": 1, "d": 3, None: 1}
    values = [value for value, size in sizes.items() for _ in range(size)]
    sessions = [
        {"id": str(n), "client": str(n), "at": at, "bought": True, "amount": 1, "region": value}
        for n, value in enumerate(values)
    ]
    tables = tables_of(sessions, [(str(n), at) for n in range(len(values))], dimensions=("region",))
    reports = getattr(analysis.module, analysis.name)(tables, as_of=AS_OF, top_values=2)
    first = next(report.rows for report in reports.values() if len(report.rows))
    # d has most sessions; a and b tie, and a comes first by name.
    assert list(pd.unique(first["dimension"])) == [
        "all", "region: d", "region: a", "region: (other)", "region: (unknown)",
    ]  # fmt: skip
