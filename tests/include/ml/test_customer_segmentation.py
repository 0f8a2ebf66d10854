"""Segments that were planted, segments that were not, and movements by hand."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from include.elastic.reports import json_rows
from include.ml import customer_segmentation as module
from include.ml.customer_segmentation import NOT_YET, SCORES, customer_scores, customer_segmentation
from include.schemas.indexes import SCORE_FIELDS
from include.schemas.reports import SHARED_FIELDS, Report
from include.staging.tables import tables_from_frames
from tests.tables_of_orders import tables_of

AS_OF = date(2024, 5, 5)
# Days since the last order, orders, mean amount; the most valuable first.
PLANTED = ((5, 40, 80.0), (6, 12, 15.0), (150, 6, 60.0), (200, 1, 9.0))


def planted(customers: int = 400, seed: int = 1) -> tuple[pd.DataFrame, list[int]]:
    """Orders of customers who belong to one of four kinds, and the kind of each customer."""
    chance = np.random.default_rng(seed)
    rows, kinds = [], []
    for number in range(customers):
        kind = int(chance.integers(0, 4))
        recency, frequency, amount = PLANTED[kind]
        last = max(int(recency * chance.lognormal(0, 0.1)), 1)
        count = max(int(frequency * chance.lognormal(0, 0.1)), 1)
        kinds.append(kind)
        for order in range(count):
            spent = round(float(amount * chance.lognormal(0, 0.1)), 2)
            region = ("North", "South", None)[number % 3]
            rows.append((f"c{number:04}", AS_OF - timedelta(days=last + 3 * order), spent, region))
    return pd.DataFrame(rows, columns=["client", "day", "amount", "dimension_region"]), kinds


@pytest.fixture(scope="module")
def shop() -> tuple[pd.DataFrame, list[int]]:
    return planted()


@pytest.fixture(scope="module")
def reports(shop: tuple[pd.DataFrame, list[int]]) -> dict[str, Report]:
    return customer_segmentation(tables_of(shop[0]), as_of=AS_OF, resamples=3)


def of_all(report: Report) -> pd.DataFrame:
    return report.rows[report.rows["dimension"] == "all"]


def written(reports: dict[str, Report]) -> dict[str, Any]:
    fields = {**SHARED_FIELDS, **module.FIELDS}
    return {one.type: json_rows(one, reports[one.type].rows, fields, "customer_segmentation") for one in module.REPORTS}


def test_reports_are_as_declared(reports: dict[str, Report]) -> None:
    assert set(module.SETTINGS) <= set(customer_segmentation.__kwdefaults__)
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
    said = reports["segments"].definition
    assert set(said["libraries"]) == {"scikit-learn", "numpy"}
    assert said["seed"] == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_segments_are_found_and_numbered_by_value(seed: int) -> None:
    orders, kinds = planted(seed=seed)
    scores = customer_scores(tables_of(orders), as_of=AS_OF)
    assert list(scores) == ["client", *SCORES]
    assert set(SCORES) <= set(SCORE_FIELDS)
    assert adjusted_rand_score(kinds, scores["customer_segment"]) > 0.9
    revenue = orders.groupby("client")["amount"].sum()
    worth = scores["client"].map(revenue).groupby(scores["customer_segment"]).mean()
    assert worth.index.tolist() == [f"segment {number}" for number in range(1, len(worth) + 1)]
    assert (worth.diff().dropna() < 0).all()
    # Clusters of single metrics: 1 is the best.
    recency = (AS_OF - scores["client"].map(orders.groupby("client")["day"].max())).map(lambda gap: gap.days)
    assert (recency.groupby(scores["recency_cluster"]).mean().diff().dropna() > 0).all()
    frequency = scores["client"].map(orders.groupby("client").size())
    assert (frequency.groupby(scores["frequency_cluster"]).mean().diff().dropna() < 0).all()


def test_the_profile_is_that_of_the_customers(shop: tuple[pd.DataFrame, list[int]], reports: dict[str, Report]) -> None:
    orders = shop[0]
    scores = customer_scores(tables_of(orders), as_of=AS_OF).set_index("client")["customer_segment"]
    segment = orders["client"].map(scores)
    profile = of_all(reports["segments"]).set_index("customer_segment")
    assert profile["customers"].to_dict() == scores.value_counts().to_dict()
    assert profile["orders"].to_dict() == segment.value_counts().to_dict()
    assert profile["revenue"].to_dict() == pytest.approx(orders["amount"].groupby(segment).sum().to_dict())
    assert profile["rate"].sum() == pytest.approx(1)
    assert profile["revenue_share"].sum() == pytest.approx(1)
    tried = of_all(reports["segments_tried"])
    assert tried["segments_tried"].tolist() == list(range(3, 9))
    used = tried[tried["is_in_use"]]
    assert used["segments_tried"].tolist() == [len(profile)] == [4]
    assert used["silhouette"].iloc[0] == tried["silhouette"].max()
    assert used["stability"].iloc[0] > 0.95
    singles = of_all(reports["metric_clusters"])
    assert (singles.groupby("measure")["customers"].sum() == len(scores)).all()
    for _, own in singles.groupby("measure"):
        assert (own["highest"].to_numpy() >= own["lowest"].to_numpy()).all()
        ends = own.sort_values("lowest")
        assert (ends["lowest"].to_numpy()[1:] > ends["highest"].to_numpy()[:-1]).all()


def test_order_and_names_do_not_matter(shop: tuple[pd.DataFrame, list[int]], reports: dict[str, Report]) -> None:
    orders = shop[0]
    renamed = {client: f"x{9_999 - number}" for number, client in enumerate(sorted(set(orders["client"])))}
    shuffled = orders.sample(frac=1, random_state=1).assign(client=orders["client"].map(renamed))
    assert written(customer_segmentation(tables_of(shuffled), as_of=AS_OF, resamples=3)) == written(reports)
    ours = customer_scores(tables_of(orders), as_of=AS_OF).set_index("client")
    theirs = customer_scores(tables_of(shuffled), as_of=AS_OF).set_index("client")
    assert all(theirs.loc[renamed[client]].equals(ours.loc[client]) for client in ours.index)


def test_a_draw_groups_all(shop: tuple[pd.DataFrame, list[int]]) -> None:
    """Fitted on fewer customers than there are: the others go to the nearest centre."""
    orders, kinds = shop
    scores = customer_scores(tables_of(orders), as_of=AS_OF, fit_customers=100, sample_customers=80)
    assert adjusted_rand_score(kinds, scores["customer_segment"]) > 0.9


def test_a_dimension_value_is_as_though_only_its_orders_existed(
    shop: tuple[pd.DataFrame, list[int]], reports: dict[str, Report]
) -> None:
    own = shop[0][shop[0]["dimension_region"] == "North"].drop(columns="dimension_region")
    alone = customer_segmentation(tables_of(own), as_of=AS_OF, resamples=3)
    for name, report in reports.items():
        part = report.rows[report.rows["dimension"] == "region: North"].drop(columns="dimension")
        expected = alone[name].rows.drop(columns="dimension")
        pd.testing.assert_frame_equal(part.reset_index(drop=True), expected, check_dtype=False)


def test_movements(shop: tuple[pd.DataFrame, list[int]]) -> None:
    """A customer who went quiet, one who is new, and all others as they were."""
    orders = shop[0].drop(columns="dimension_region")
    for client in ("quiet", "fresh"):
        assert client not in set(orders["client"])
    quiet = pd.DataFrame(
        [("quiet", AS_OF - timedelta(days=35 + 3 * number), 80.0) for number in range(40)],
        columns=["client", "day", "amount"],
    )
    fresh = pd.DataFrame([("fresh", AS_OF - timedelta(days=2), 9.0)], columns=["client", "day", "amount"])
    tables = tables_of(pd.concat([orders, quiet, fresh], ignore_index=True))
    moves = customer_segmentation(tables, as_of=AS_OF, migration_days=30, resamples=0)["migration"].rows
    assert moves["customers"].sum() == 402
    assert moves.groupby("previous_customer_segment")["rate"].sum().round(9).eq(1).all()
    begun = orders.groupby("client")["day"].min() > AS_OF - timedelta(days=30)
    newcomers = moves[moves["previous_customer_segment"] == NOT_YET]
    assert newcomers["customers"].sum() == begun.sum() + 1
    now = customer_scores(tables, as_of=AS_OF).set_index("client")["customer_segment"]
    assert now["quiet"] != "segment 1" or moves["previous_customer_segment"].nunique() > 1


def test_segments_that_are_no_longer_the_same_are_a_warning(shop: tuple[pd.DataFrame, list[int]]) -> None:
    tables = tables_of(shop[0].drop(columns="dimension_region"))
    fresh = customer_segmentation(tables, as_of=AS_OF, resamples=0)
    before = [{**row, "report_date": "2024-05-04"} for row in fresh["segments"].rows.to_dict("records")]

    since = "since the report of 2024-05-04"

    def told(previous: list[dict[str, Any]]) -> list[str]:
        found = customer_segmentation(tables, as_of=AS_OF, resamples=0, previous_segments=previous)
        assert written(found) == written(fresh)
        return [one for one in found["segments"].warnings if since in one]

    assert told(before) == []
    frequency = before[1]["mean_frequency"]
    before[1]["mean_frequency"] = 2 * frequency
    moved = f"mean frequency from {2 * frequency:.4g} to {frequency:.4g}"
    assert told(before) == [f"Means of segment 2 have drifted {since}: {moved}."]
    other = f"There are 4 segments instead of 3 {since}: segments of one number are not the same customers."
    assert told(before[:3]) == [other]


def test_one_heap_says_so() -> None:
    chance = np.random.default_rng(4)
    rows = [
        (f"c{number}", AS_OF - timedelta(days=int(chance.integers(0, 300))), float(chance.lognormal(3, 1)))
        for number in range(300)
        for _ in range(chance.integers(1, 12))
    ]
    found = customer_segmentation(tables_of(pd.DataFrame(rows, columns=["client", "day", "amount"])), as_of=AS_OF)
    used = found["segments_tried"].rows
    used = used[used["is_in_use"]]
    assert used["silhouette"].iloc[0] < 0.6
    assert used["least_stability"].iloc[0] <= used["stability"].iloc[0] < 1


def test_nothing() -> None:
    nobody = tables_of(pd.DataFrame({"client": [], "day": [], "amount": []}))
    for report in customer_segmentation(nobody, as_of=AS_OF).values():
        assert len(report.rows) == 0
        assert "There is nothing to report up to 2024-05-05." in report.warnings
    assert len(customer_scores(nobody, as_of=AS_OF)) == 0


@pytest.mark.parametrize(
    "events",
    [
        [("a", 0, 10.0)],
        [("a", 3, 10.0), ("b", 3, 10.0)],
        [(f"c{n}", 5, 20.0) for n in range(30)],
        [(f"c{n}", 5 + n % 2, -20.0) for n in range(30)],
        [(f"c{n}", n, 0.0) for n in range(5)],
        [(f"c{n}", n % 4, 1.0) for n in range(40)],
    ],
)
def test_customers_who_are_all_alike(events: list[tuple[str, int, float]]) -> None:
    rows = [(client, AS_OF - timedelta(days=ago), amount) for client, ago, amount in events]
    tables = tables_of(pd.DataFrame(rows, columns=["client", "day", "amount"]))
    found = customer_segmentation(tables, as_of=AS_OF, resamples=2)
    assert found["segments"].rows["customers"].sum() == len(events)
    written(found)
    scores = customer_scores(tables, as_of=AS_OF)
    assert len(scores) == len(events)
    kinds = len({event[1:] for event in events})
    assert scores["customer_segment"].nunique() <= kinds


def test_sessions_without_an_order_do_not_count() -> None:
    sessions = pd.DataFrame(
        {
            "id": ["1", "2"],
            "client": ["a", "b"],
            "session_start_date": pd.Series([datetime(2024, 5, 1)] * 2, dtype="datetime64[us]"),
            "has_purchased": [True, False],
            "payment_amount": [1.0, 0.0],
        }
    )
    downloads = pd.DataFrame(
        {"client": ["a", "b"], "download_date": pd.Series([datetime(2024, 5, 1)] * 2, dtype="datetime64[us]")}
    )
    scores = customer_scores(tables_from_frames(sessions, downloads), as_of=AS_OF)
    assert scores["client"].tolist() == ["a"]
