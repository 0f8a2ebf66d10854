"""A simulated shop through the real extraction, validation, staging and analyses: they find what is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import configs
from include.analytics.cohorts import cohorts
from include.analytics.descriptive_statistics import ALL_TIME, descriptive_statistics
from include.analytics.rfm import customer_scores, rfm
from include.datasets.shop.dirt import KINDS
from include.datasets.shop.writing import write_shop
from include.quality.extract import Extracted, extract_rows
from include.quality.validate import validate_rows
from include.schemas.reports import Report
from include.sources.definition import load_sources
from include.sources.read import check_source, read_source
from include.staging.merge import Merged, merge
from include.staging.storage import storage
from include.staging.tables import Tables

SESSIONS = 20_000  # enough for each kind of dirt in each source
LAST_DAY = date(2026, 6, 28)
LATEST = datetime(2026, 7, 1)
WITHIN = 4.0  # standard errors


@dataclass(frozen=True)
class Loaded:
    """A shop that went through the pipeline up to its staged tables."""

    folder: Path
    truth: dict[str, Any]
    validated: dict[str, Extracted]
    merged: Merged
    tables: Tables


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("shop-pipeline")
    truth = write_shop(folder / "data", sessions=SESSIONS, seed=7)
    with pytest.MonkeyPatch.context() as settings:
        settings.setattr(configs, "STAGING_URL", str(folder / "staging"))
        settings.setattr(configs, "TEMPORARY_DIR", str(folder / "tmp"))
        settings.setattr(configs, "DATA_DOCS_DIR", str(folder / "data_docs"))
        found: dict[str, Extracted] = {}
        target = storage(configs.STAGING_URL) / "runs" / "first"
        sources = {source.name: source for source in load_sources(str(folder / "data" / "sources.yaml")).all}
        for name in ("customers", "sessions", "products", "deliveries"):
            source = sources[name]
            options = check_source(source).options
            batches = read_source(source, options)
            extracted = extract_rows(source, batches, options, target=target, run_id="first", latest=LATEST)
            found[name] = validate_rows(
                source,
                extracted,
                customer_files=found["customers"].files if name == "sessions" else (),
                snapshot=None,
                target=target,
                run_id="first",
                latest=LATEST,
            )
        merged = merge({name: one.files for name, one in found.items()}, run_key="first", time_zone="UTC")
        tables = merged.snapshot.analysis_tables(dimensions=("region", "device", "channel"), week_start="monday")
        yield Loaded(folder, truth, found, merged, tables)


@pytest.mark.parametrize("kind", KINDS)
def test_the_planted_dirt_is_quarantined_and_nothing_else(kind: str, loaded: Loaded) -> None:
    found, planted = loaded.validated[kind], loaded.truth["sources"][kind]
    assert {name: getattr(found, name) for name in planted} == planted
    assert set(planted["by_rule"]) == {rule for dirt in KINDS[kind] for rule in dirt.rules}
    assert found.read == found.good + found.quarantined
    files = (loaded.folder / "staging" / "runs" / "first" / "quarantine" / kind).glob("*.parquet")
    assert sum(pq.read_metadata(file).num_rows for file in files) == planted["quarantined"]


def test_what_is_staged_are_the_good_rows(loaded: Loaded) -> None:
    totals = loaded.truth["totals"]
    assert loaded.merged.orders_unknown == {"basket": 0, "deliveries": 0}
    assert loaded.merged.snapshot.counts == {
        "sessions": totals["sessions"],
        "customers": totals["customers"],
        "basket": totals["lines"],
        "deliveries": totals["deliveries"],
    }
    tables = loaded.tables
    assert tables.basket is not None
    orders = tables.sessions.filter(tables.sessions.has_purchased)
    ((revenue, discount, spent),) = (
        orders.aggregate(
            revenue=orders.payment_amount.sum(),
            discount=orders.discount_amount.sum(),
            spent=(tables.basket.price * tables.basket.quantity.cast("decimal(18, 0)")).sum().as_scalar(),
        )
        .execute()
        .itertuples(index=False)
    )
    assert (revenue, discount) == (Decimal(totals["revenue"]), Decimal(totals["discount"]))
    assert spent == revenue + discount


@pytest.fixture(scope="module")
def described(loaded: Loaded) -> dict[str, Report]:
    return descriptive_statistics(loaded.tables, as_of=LAST_DAY)


def test_descriptive_statistics_find_the_totals(loaded: Loaded, described: dict[str, Report]) -> None:
    totals, truth = loaded.truth["totals"], loaded.truth
    kpis = described["kpis"].rows
    mine = kpis[(kpis["dimension"] == "all") & (kpis["window"] == ALL_TIME)].set_index("metric")["value"]
    assert mine["orders"] == totals["orders"]
    assert mine["revenue"] == pytest.approx(float(totals["revenue"]), abs=0.005)
    assert mine["discount"] == pytest.approx(float(totals["discount"]), abs=0.005)
    activity = described["activity"].rows
    for granularity in ("day", "week", "month"):
        rows = activity[activity["granularity"] == granularity]
        summed = rows.groupby("dimension")[["sessions", "orders", "revenue", "discount"]].sum()
        assert (summed.loc["all", "sessions"], summed.loc["all", "orders"]) == (totals["sessions"], totals["orders"])
        for dimension, values in truth["dimensions"].items():
            for value, counts in values.items():
                found = summed.loc[f"{dimension}: {value or '(unknown)'}"]
                assert (found["sessions"], found["orders"]) == (counts["sessions"], counts["orders"])
                assert found["revenue"] == pytest.approx(float(counts["revenue"]), abs=0.005)
                assert found["discount"] == pytest.approx(float(counts["discount"]), abs=0.005)
    orders = described["customers_by_orders"].rows
    ordered = orders[(orders["dimension"] == "all") & (orders["order_count"] > 0)].set_index("order_count")["customers"]
    assert ordered.sum() == totals["buyers"]
    assert ordered[ordered.index > 1].sum() == totals["repeat_buyers"]


def test_descriptive_statistics_find_the_anomalies(loaded: Loaded, described: dict[str, Report]) -> None:
    activity = described["activity"].rows
    daily = activity[(activity["dimension"] == "all") & (activity["granularity"] == "day")].set_index("period")
    daily.index = pd.to_datetime(daily.index)
    for one in loaded.truth["anomalies"]:
        found = daily.loc[pd.Timestamp(one["day"])]
        assert (found["sessions"], found["orders"]) == (one["sessions"], one["orders"])
    for one in loaded.truth["promotions"]:
        assert daily.loc[one["first_day"] : one["last_day"], "orders"].sum() == one["orders_in_window"]


def test_the_hours_have_the_planted_rhythm(loaded: Loaded, described: dict[str, Report]) -> None:
    hours = described["hour_of_day"].rows
    found = hours[hours["dimension"] == "all"].set_index("hour_of_day")["sessions_per_day"].sort_index() * 728
    weights = np.array(loaded.truth["made_from"]["shop"]["hour_weights"])
    expected = weights / weights.sum() * found.sum()
    assert (np.abs(found.to_numpy() - expected) < WITHIN * np.sqrt(expected) + 0.02 * expected).all()


def test_conversion_by_device_is_the_planted_one(loaded: Loaded, described: dict[str, Report]) -> None:
    """The odds of two devices differ by a known factor; the rates beside them come with their intervals."""
    activity = described["activity"].rows
    rows = activity[activity["granularity"] == "month"].groupby("dimension")[["sessions", "orders"]].sum()
    devices = {one["name"]: one for one in loaded.truth["made_from"]["shop"]["devices"]}

    def log_odds(name: str) -> tuple[float, float]:
        sessions, orders = rows.loc[f"device: {name}"]
        return float(np.log(orders / (sessions - orders))), 1 / orders + 1 / (sessions - orders)

    def planted(name: str) -> float:
        return float(np.log(devices[name]["share_of_orders"] / devices[name]["share_of_browsing"]))

    for name in ("desktop", "tablet"):
        difference = log_odds(name)[0] - log_odds("phone")[0]
        error = np.sqrt(log_odds(name)[1] + log_odds("phone")[1])
        assert abs(difference - (planted(name) - planted("phone"))) < WITHIN * error


def test_cohorts_find_the_way_to_the_first_order(loaded: Loaded) -> None:
    """Of the customers of a week, those with a first order by the fifteenth week after: signed up, and of a channel
    that buys, and not too slow. The mean over the cohorts whose time is over.
    """
    shop = loaded.truth["made_from"]["shop"]
    reports = cohorts(loaded.tables, as_of=LAST_DAY, kept_weeks=1000)
    rows = reports["download_to_first_order"].rows
    weekly = rows[(rows["dimension"] == "all") & (rows["granularity"] == "week") & rows["is_complete"]]
    complete = weekly.groupby("period").filter(lambda cohort: len(cohort) == 16)
    customers = complete.groupby("period")["cohort_customers"].first().sum()
    found = complete["customers"].sum() / customers
    share = sum(one["share"] * one["first_order_share"] for one in shop["channels"]) * shop["signup_share"]
    in_time = 1 - np.exp(-15 / shop["first_order_delay_weeks"])
    planted = share * in_time
    assert abs(found - planted) < WITHIN * np.sqrt(planted * (1 - planted) / customers)

    # The second order: as many as the closed form of BG/NBD says, P(none within t) = (alpha / (alpha + t))^r.
    repeat = shop["repeat"]
    rows = reports["first_to_second"].rows
    weekly = rows[(rows["dimension"] == "all") & (rows["granularity"] == "week") & rows["is_complete"]]
    complete = weekly.groupby("period").filter(lambda cohort: len(cohort) == 16)
    buyers = complete.groupby("period")["cohort_customers"].first().sum()
    second = complete["customers"].sum() / buyers
    # Offsets 0 to 15 end between 15 and 16 weeks after the first order.
    within = [1 - (repeat["alpha"] / (repeat["alpha"] + weeks)) ** repeat["r"] for weeks in (15, 16)]
    error = WITHIN * np.sqrt(within[0] * (1 - within[0]) / buyers)
    assert within[0] - error < second < within[1] + error + loaded.truth["totals"]["extra_orders"] / buyers

    revenue = reports["revenue"].rows
    monthly = revenue[(revenue["dimension"] == "all") & (revenue["granularity"] == "month")]
    assert monthly["revenue"].sum() == pytest.approx(float(loaded.truth["totals"]["revenue"]), abs=0.01)


def test_rfm_finds_the_buyers(loaded: Loaded) -> None:
    totals = loaded.truth["totals"]
    scores = customer_scores(loaded.tables, as_of=LAST_DAY)
    assert len(scores) == totals["buyers"]
    assert scores["frequency"].sum() == totals["orders"]
    assert (scores["frequency"] > 1).sum() == totals["repeat_buyers"]
    assert scores["monetary_total"].sum() == pytest.approx(float(totals["revenue"]), abs=0.005)
    segments = rfm(loaded.tables, as_of=LAST_DAY)["segments"].rows
    mine = segments[segments["dimension"] == "all"]
    assert (mine["customers"].sum(), mine["orders"].sum()) == (totals["buyers"], totals["orders"])
    assert mine["revenue"].sum() == pytest.approx(float(totals["revenue"]), abs=0.005)
