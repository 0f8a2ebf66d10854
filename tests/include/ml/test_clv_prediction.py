"""Lifetime value on CDNOW, on a simulated shop whose truth is known, and on shops with next to nothing in them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.datasets.cdnow import master_file, purchase_lines
from include.elastic.reports import json_rows
from include.ml import clv_prediction as module
from include.ml.clv_prediction import (
    ALL_DAYS,
    BEFORE_HOLDOUT,
    HORIZONS_DAYS,
    NAIVE,
    ORDER_KINDS,
    SCORES,
    SEGMENTS,
    SPEND,
    clv_prediction,
    customer_scores,
)
from include.schemas.indexes import SCORE_FIELDS
from include.schemas.reports import SHARED_FIELDS, Report
from include.staging.tables import Tables, tables_from_frames

AS_OF = date(2024, 5, 5)


def tables_of(orders: pd.DataFrame, **calendar: Any) -> Tables:
    """Tables from client, day, amount and columns of dimensions."""
    sessions = pd.DataFrame(
        {
            "id": [f"o{number}" for number in range(len(orders))],
            "client": orders["client"].astype("str"),
            "session_start_date": pd.to_datetime(orders["day"]).astype("datetime64[us]"),
            "has_purchased": True,
            "payment_amount": orders["amount"].astype("float64"),
        }
    )
    for name in orders:
        if str(name).startswith("dimension_"):
            sessions[name] = orders[name].astype("object")
    customers = sessions.groupby("client", as_index=False)["session_start_date"].min()
    return tables_from_frames(sessions, customers.rename(columns={"session_start_date": "download_date"}), **calendar)


def shop(customers: int = 400, seed: int = 3) -> pd.DataFrame:
    """Customers of BG/NBD and Gamma-Gamma over 300 days; on Saturdays they come twice as often."""
    chance = np.random.default_rng(seed)
    rows = []
    for number in range(customers):
        first = int(chance.integers(0, 290))
        rate, leaves = chance.gamma(1.0, 1 / 25), chance.beta(0.6, 3)
        spending = chance.gamma(3, 1)
        at = float(first)
        while at < 301:
            day = AS_OF - timedelta(days=300 - int(at))
            if day.weekday() == 6 and chance.random() < 0.5:
                day -= timedelta(days=1)
            amount = round(float(chance.gamma(6, 1 / 6) * 10 * spending), 2)
            region = ("North", "South", None)[number % 3]
            rows.append((f"c{number:03}", day, amount, region))
            if chance.random() < leaves:
                break
            at += chance.exponential(1 / rate)
    return pd.DataFrame(rows, columns=["client", "day", "amount", "dimension_region"])


@pytest.fixture(scope="module")
def orders() -> pd.DataFrame:
    return shop()


@pytest.fixture(scope="module")
def reports(orders: pd.DataFrame) -> dict[str, Report]:
    return clv_prediction(tables_of(orders), as_of=AS_OF)


def of_all(report: Report) -> pd.DataFrame:
    rows = report.rows
    return rows[rows["dimension"] == "all"]


def written(reports: dict[str, Report]) -> dict[str, Any]:
    fields = {**SHARED_FIELDS, **module.FIELDS}
    return {one.type: json_rows(one, reports[one.type].rows, fields, "clv_prediction") for one in module.REPORTS}


def test_reports_are_as_declared(reports: dict[str, Report]) -> None:
    assert set(module.SETTINGS) <= set(clv_prediction.__kwdefaults__)
    for report_type in module.REPORTS:
        rows = reports[report_type.type].rows
        assert tuple(rows.columns) == report_type.fields
        assert len(rows)
        assert not rows[list(report_type.key)].duplicated().any()
        assert set(rows["dimension"]) == {"all", "region: North", "region: South", "region: (unknown)"}
        for panel in report_type.panels:
            shown = of_all(reports[report_type.type])
            for name, value in panel.where.items():
                shown = shown[shown[name] == value]
            assert 0 < len(shown) <= 1_000
    assert all(written(reports).values())


def test_every_candidate_has_its_errors_and_the_best_is_used(reports: dict[str, Report]) -> None:
    rows = of_all(reports["models"])
    before = rows[rows["data_window"] == BEFORE_HOLDOUT].set_index("model")
    assert list(before.index) == ["BG/NBD", "modified BG/NBD", "Pareto/NBD", NAIVE]
    assert before["mean_absolute_error"].notna().all()
    of_medians = before.loc[before.index != NAIVE, "mean_absolute_error_of_medians"]
    assert (of_medians < before.loc[of_medians.index, "mean_absolute_error"]).all()
    assert np.isnan(before.loc[NAIVE, "mean_absolute_error_of_medians"])  # it says nothing of medians
    assert before["actual_total"].nunique() == 1
    chosen = before[before["is_chosen"]]
    assert chosen["root_mean_square_error"].tolist() == [before["root_mean_square_error"].min()]
    assert before.loc[NAIVE, "root_mean_square_error"] > chosen["root_mean_square_error"].iloc[0]
    after = rows[rows["data_window"] == ALL_DAYS]
    assert after["model"].tolist() == [chosen.index[0], SPEND]
    assert after["log_likelihood"].notna().all()
    assert after["n"].iloc[0] == reports["models"].kpis["customers"]
    said = reports["models"].definition
    assert set(said["libraries"]) == {"lifetimes", "scipy", "numpy"}
    assert chosen["predicted_total"].iloc[0] == pytest.approx(chosen["actual_total"].iloc[0], rel=0.15)


def test_parts_agree_with_each_other(reports: dict[str, Report], orders: pd.DataFrame) -> None:
    models = of_all(reports["models"])
    chosen = models[(models["data_window"] == BEFORE_HOLDOUT) & models["is_chosen"]].iloc[0]
    tenths = of_all(reports["holdout_deciles"])
    tenths = tenths[tenths["is_chosen"]]
    assert tenths["customers"].sum() == chosen["n"]
    assert (tenths["predicted_mean"] * tenths["customers"]).sum() == pytest.approx(chosen["predicted_total"])
    assert (tenths["actual_mean"] * tenths["customers"]).sum() == pytest.approx(chosen["actual_total"])
    assert (tenths["predicted_mean"].diff().dropna() < 0).all()
    track = of_all(reports["holdout_tracking"])
    last = track[track["is_chosen"]].iloc[-1]
    assert last["cumulative_predicted"] == pytest.approx(chosen["predicted_total"], rel=1e-6)
    assert last["cumulative_actual"] == chosen["actual_total"]
    assert last["period"] == AS_OF
    # Order days of customers who had one up to the cut, counted a second way.
    cut = AS_OF - timedelta(days=int(chosen["holdout_days"]))
    days = orders.drop_duplicates(["client", "day"])
    known = set(days.loc[days["day"] <= cut, "client"])
    assert ((days["day"] > cut) & days["client"].isin(known)).sum() == chosen["actual_total"]
    segments = of_all(reports["clv_segments"])
    assert segments["clv_segment"].tolist() == list(SEGMENTS)
    assert segments["customers"].sum() == days["client"].nunique()
    assert segments["clv_share"].sum() == pytest.approx(1)
    assert (segments["mean_clv"].diff().dropna() < 0).all()
    assert reports["clv_segments"].kpis["clv"] == pytest.approx(segments["clv"].sum(), abs=0.01)
    daily = of_all(reports["daily_clv"])
    known_days = daily[~daily["is_forecast"].astype(bool)]
    assert len(known_days) == 182
    expected = orders[orders["day"] > AS_OF - timedelta(days=182)]["amount"].sum()
    assert known_days["revenue"].sum() == pytest.approx(expected)
    ahead = daily[daily["is_forecast"].astype(bool)]
    assert len(ahead) == 182
    assert ahead["revenue"].isna().all()
    # The first 180 days of known customers are what the segments expect (their weeks add up to about the whole).
    known_share = ahead["predicted_existing_revenue"].iloc[:180].sum()
    assert known_share == pytest.approx(segments["expected_revenue_180_days"].sum(), rel=0.02)
    both = ahead["predicted_existing_revenue"] + ahead["predicted_new_revenue"]
    assert both.to_numpy() == pytest.approx(ahead["predicted_revenue"].to_numpy())
    assert (ahead["ci_low"] <= ahead["predicted_revenue"]).all()
    assert (ahead["ci_high"] >= ahead["predicted_revenue"]).all()


def test_the_forecast_has_the_rhythm_of_the_week(reports: dict[str, Report]) -> None:
    daily = of_all(reports["daily_clv"])
    ahead = daily[daily["is_forecast"].astype(bool)]
    by_weekday = ahead["predicted_revenue"].groupby([day.weekday() for day in ahead["period"]]).mean()
    assert by_weekday.idxmax() == 5
    assert by_weekday.idxmin() == 6


def test_the_band_holds_days_that_were_still_to_come() -> None:
    """A shop of 480 days, forecast from its 300th: the days after are known here and not there."""
    whole = shop(1_500, seed=8)
    origin = AS_OF - timedelta(days=100)
    daily = of_all(clv_prediction(tables_of(whole), as_of=origin, forecast_days=100)["daily_clv"])
    ahead = daily[daily["is_forecast"].astype(bool)].set_index("period")
    came = whole.groupby("day")["amount"].sum().reindex(ahead.index, fill_value=0.0)
    held = (came >= ahead["ci_low"]) & (came <= ahead["ci_high"])
    assert held.mean() >= 0.88
    assert ahead["predicted_revenue"].sum() == pytest.approx(came.sum(), rel=0.15)
    # Better than the same weekday of the last four weeks.
    before = whole[whole["day"] > origin - timedelta(days=28)]
    before = before[before["day"] <= origin]
    by_weekday = before["amount"].groupby([day.weekday() for day in before["day"]]).sum() / 4
    naive = np.array([by_weekday.get(day.weekday(), 0.0) for day in ahead.index])
    assert np.abs(ahead["predicted_revenue"] - came).mean() < np.abs(naive - came).mean()


def test_scores(orders: pd.DataFrame, reports: dict[str, Report]) -> None:
    tables = tables_of(orders)
    scores = customer_scores(tables, as_of=AS_OF)
    assert list(scores) == ["client", *SCORES]
    assert set(SCORES) <= set(SCORE_FIELDS)
    assert scores["client"].tolist() == sorted(set(orders["client"]))
    assert scores["probability_alive"].between(0, 1).all()
    assert scores["churn_risk"].between(0, 1).all()
    segments = of_all(reports["clv_segments"])
    assert scores["clv"].sum() == pytest.approx(segments["clv"].sum())
    for days in HORIZONS_DAYS:
        for what in ("orders", "revenue"):
            name = f"expected_{what}_{days}_days"
            assert scores[name].sum() == pytest.approx(segments[name].sum())
            assert (scores[f"{name}_low"] <= scores[name] + 1e-9).all()
            assert (scores[f"{name}_high"] >= scores[f"{name}_low"]).all()
    assert (scores["expected_orders_180_days"] >= scores["expected_orders_30_days"]).all()
    counted = scores["clv_segment"].value_counts().to_dict()
    assert counted == dict(zip(segments["clv_segment"], segments["customers"], strict=True))
    # Somebody who leaves no trace for long is most likely gone.
    last = orders.groupby("client")["day"].max()
    quiet = scores["client"].map(last) < AS_OF - timedelta(days=200)
    assert scores.loc[quiet, "churn_risk"].mean() > scores.loc[~quiet, "churn_risk"].mean()


def test_order_names_and_columns_do_not_matter(orders: pd.DataFrame, reports: dict[str, Report]) -> None:
    renamed = {client: f"x{999 - number}" for number, client in enumerate(sorted(set(orders["client"])))}
    shuffled = orders.sample(frac=1, random_state=1).assign(client=orders["client"].map(renamed))
    assert written(clv_prediction(tables_of(shuffled), as_of=AS_OF)) == written(reports)


def test_a_dimension_value_is_as_though_only_its_orders_existed(
    orders: pd.DataFrame, reports: dict[str, Report]
) -> None:
    own = orders[orders["dimension_region"] == "North"].drop(columns="dimension_region")
    alone = clv_prediction(tables_of(own), as_of=AS_OF)
    for name, report in reports.items():
        part = report.rows[report.rows["dimension"] == "region: North"].drop(columns="dimension")
        expected = alone[name].rows.drop(columns="dimension")
        pd.testing.assert_frame_equal(part.reset_index(drop=True), expected, check_dtype=False)


def test_what_comes_after_the_report_date_does_not_count(orders: pd.DataFrame, reports: dict[str, Report]) -> None:
    later = pd.DataFrame(
        [("c001", AS_OF + timedelta(days=1), 5.0, "North")], columns=["client", "day", "amount", "dimension_region"]
    )
    assert written(clv_prediction(tables_of(pd.concat([orders, later])), as_of=AS_OF)) == written(reports)


def test_orders_of_one_day_are_one(orders: pd.DataFrame, reports: dict[str, Report]) -> None:
    halves = pd.concat([orders.assign(amount=orders["amount"] / 2)] * 2)
    again = clv_prediction(tables_of(halves), as_of=AS_OF)
    pd.testing.assert_frame_equal(again["models"].rows, reports["models"].rows, rtol=1e-4)


def test_refunds_and_free_orders_stay_out_of_the_spend_model(orders: pd.DataFrame) -> None:
    days = orders.groupby("client")["day"].max()
    repeat = orders[orders["client"].duplicated()].head(40)
    free = repeat.assign(day=repeat["client"].map(days) + pd.Timedelta(days=0), amount=-3.0)
    assert len(free)
    moved = orders.copy()
    chosen = moved.index.isin(repeat.index)
    moved.loc[chosen, "amount"] = 0.0
    found = clv_prediction(tables_of(moved), as_of=AS_OF)
    models = of_all(found["models"])
    spend = models[models["model"] == SPEND].iloc[0]
    everyone = of_all(clv_prediction(tables_of(orders), as_of=AS_OF)["models"])
    whole = everyone[everyone["model"] == SPEND].iloc[0]
    assert spend["n"] <= whole["n"]
    assert np.isfinite(spend["model_q"])


def test_drift_is_a_warning_and_changes_no_number(orders: pd.DataFrame) -> None:
    tables = tables_of(orders.drop(columns="dimension_region"))
    fresh = clv_prediction(tables, as_of=AS_OF)
    before = [{**row, "report_date": "2024-05-04"} for row in fresh["models"].rows.to_dict("records")]
    same = clv_prediction(tables, as_of=AS_OF, previous_models=before)
    assert [one.warnings for one in same.values()] == [one.warnings for one in fresh.values()]
    chosen = next(row for row in before if row["data_window"] == ALL_DAYS and row["model"] != SPEND)
    for row in before:
        row["model_q"] = row["model_q"] * 3
        if row["data_window"] == ALL_DAYS and row is chosen:
            row["model"] = next(title for title in ORDER_KINDS.values() if title != row["model"])
    changed = clv_prediction(tables, as_of=AS_OF, previous_models=before)
    spend = next(row for row in before if row["model"] == SPEND)
    since = "since the report of 2024-05-04"
    moved = f"q from {spend['model_q']:.4g} to {spend['model_q'] / 3:.4g}"
    assert [one for one in changed["models"].warnings if since in one] == [
        f"Another model is used {since}: {fresh_title(fresh)} instead of {chosen['model']}.",
        f"Parameters of the Gamma-Gamma model have drifted {since}: {moved}.",
    ]
    assert written(same) == written(changed) == written(fresh)


def fresh_title(reports: dict[str, Report]) -> str:
    rows = of_all(reports["models"])
    return str(rows[(rows["data_window"] == ALL_DAYS) & (rows["model"] != SPEND)]["model"].iloc[0])


def test_parameters_in_use_have_intervals_around_them(reports: dict[str, Report]) -> None:
    models = of_all(reports["models"])
    for own in models[models["data_window"] == ALL_DAYS].to_dict("records"):
        rows = of_all(reports["model_parameters"])
        rows = rows[rows["model"] == own["model"]]
        assert rows["estimate"].tolist() == [own[f"model_{name}"] for name in rows["parameter"]]
        assert (rows["n"] == own["n"]).all()
        assert (rows["ci_low"] > 0).all()
        assert ((rows["ci_low"] < rows["estimate"]) & (rows["estimate"] < rows["ci_high"])).all()


def test_correlated_spend_is_a_warning() -> None:
    orders = shop(300, seed=4)
    number = orders.groupby("client")["day"].transform("size")
    found = clv_prediction(tables_of(orders.assign(amount=5.0 * number)), as_of=AS_OF)
    assert any("are correlated" in warning for warning in found["models"].warnings)


def test_nothing() -> None:
    nobody = pd.DataFrame({"client": [], "day": [], "amount": []})
    for report in clv_prediction(tables_of(nobody), as_of=AS_OF).values():
        assert len(report.rows) == 0
        assert "There is nothing to report up to 2024-05-05." in report.warnings
        assert report.definition["window"].endswith("2024-05-05")
    assert len(customer_scores(tables_of(nobody), as_of=AS_OF)) == 0


@pytest.mark.parametrize(
    "events",
    [
        [("a", 0, 10.0)],
        [("a", 300, 10.0)],
        [(f"c{n}", n, 20.0) for n in range(30)],
        [("a", n, 0.0) for n in range(30)],
        [("a", n, -5.0) for n in range(0, 90, 3)],
        [("a", 40, 10.0), ("a", 0, 10.0)],
        [(f"c{n % 4}", n, 1e9) for n in range(60)],
        [(f"c{n % 20}", n // 20, 5.0 + n) for n in range(60)],
    ],
)
def test_shops_with_next_to_nothing_in_them(events: list[tuple[str, int, float]]) -> None:
    rows = [(client, AS_OF - timedelta(days=ago), amount) for client, ago, amount in events]
    orders = pd.DataFrame(rows, columns=["client", "day", "amount"])
    tables = tables_of(orders)
    found = clv_prediction(tables, as_of=AS_OF)
    assert len(found["daily_clv"].rows)
    assert found["models"].warnings
    written(found)
    scores = customer_scores(tables, as_of=AS_OF)
    assert len(scores) == orders["client"].nunique()
    if orders.drop_duplicates(["client", "day"])["client"].is_unique:
        assert scores["clv"].isna().all()
        assert "No customer ordered on a second day" in " ".join(found["models"].warnings)


@pytest.fixture(scope="module")
def cdnow() -> Tables:
    lines = pd.DataFrame(purchase_lines(master_file()), columns=["client", "day", "amount"])
    lines["amount"] = lines["amount"].astype(float)
    return tables_of(lines.groupby(["client", "day"], as_index=False)["amount"].sum())


def test_cdnow(cdnow: Tables) -> None:
    """The whole file, of which the holdout may have a third: 182 days."""
    found = clv_prediction(cdnow, as_of=date(1998, 6, 30), holdout_days=182, history_days=10, forecast_days=30)
    models = of_all(found["models"])
    before = models[models["data_window"] == BEFORE_HOLDOUT].set_index("model")
    chosen = before[before["is_chosen"]].iloc[0]
    assert chosen["n"] == 23_570
    assert chosen["mean_absolute_error"] <= 0.80
    of_medians = before["mean_absolute_error_of_medians"].drop(NAIVE)
    assert of_medians.tolist() == pytest.approx([0.4422, 0.4416, 0.4470], abs=5e-4)
    assert (of_medians < 0.95 * before["mean_absolute_error"].drop(NAIVE)).all()
    assert chosen["root_mean_square_error"] < before.loc[NAIVE, "root_mean_square_error"]
    assert chosen["normalised_gini"] > 0.5
    tenths = of_all(found["holdout_deciles"])
    tenths = tenths[tenths["is_chosen"]]
    assert (tenths["predicted_mean"] - tenths["actual_mean"]).abs().max() < 0.6
    # Nobody new came after March 1997.
    ahead = of_all(found["daily_clv"])
    ahead = ahead[ahead["is_forecast"].astype(bool)]
    assert (ahead["predicted_new_revenue"] == 0).all()
    assert ahead["predicted_revenue"].sum() > 0


def test_instants_are_days_of_the_business_time_zone() -> None:
    late = datetime(2024, 5, 5, 22, 30)  # half past midnight on 6 May in Berlin
    sessions = pd.DataFrame(
        {
            "id": ["1", "2"],
            "client": ["a", "a"],
            "session_start_date": pd.Series([datetime(2024, 5, 1), late], dtype="datetime64[us]"),
            "has_purchased": [True, True],
            "payment_amount": [1.0, 1.0],
        }
    )
    customers = pd.DataFrame(
        {"client": ["a"], "download_date": pd.Series([datetime(2024, 5, 1)], dtype="datetime64[us]")}
    )
    tables = tables_from_frames(sessions, customers, time_zone="Europe/Berlin")
    found = clv_prediction(tables, as_of=AS_OF)
    assert "No customer ordered on a second day" in " ".join(found["models"].warnings)
