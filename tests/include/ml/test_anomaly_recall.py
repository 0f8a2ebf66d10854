"""Recall, precision and false discoveries over 100 shops' daily series, made by the shop's own clock and anomalies."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import numpy.typing as npt

from include.datasets.shop.anomalies import Traffic, disturbed
from include.datasets.shop.parameters import Anomaly, Shop
from include.datasets.shop.rhythm import DAY_SECONDS, DAYS_PER_YEAR, Rhythm
from include.measures.daily_expectation import ORDINARY
from include.measures.periods import day_number
from include.ml.anomaly_detection import STEP, THROUGH, DailySeries, Rules, judged

SHOP = Shop()
RHYTHM = Rhythm(SHOP)
SEEDS = 100
RATE = 0.02


def planted(random: np.random.Generator) -> tuple[Anomaly, ...]:
    """The shop's anomalies, on other days: no two within three weeks, the first two months left alone."""
    weeks = random.choice(np.arange(3, SHOP.weeks // 3), len(SHOP.anomalies), replace=False) * 3
    days = day_number(SHOP.first_day) + weeks * 7 + random.integers(0, 7, len(weeks))
    return tuple(
        replace(one, day=date.fromordinal(date(1970, 1, 1).toordinal() + int(day)))
        for one, day in zip(SHOP.anomalies, days, strict=True)
    )


def daily_series(seed: int, *, sessions: int, with_anomalies: bool) -> tuple[DailySeries, set[date]]:
    """The daily series of a shop: browsing and orders as Poisson processes with growth, season, weekday and hour."""
    random = np.random.default_rng(seed)
    growth = (1 + SHOP.growth_per_year) ** (np.arange(RHYTHM.days) / DAYS_PER_YEAR)
    density = growth * RHYTHM.season
    edges = np.concatenate([[0], np.cumsum(density)])

    def weeks(mean: float) -> npt.NDArray[np.float64]:
        drawn = np.interp(random.random(random.poisson(mean)) * edges[-1], edges, np.arange(RHYTHM.days + 1)) / 7
        return np.minimum(drawn, np.nextafter(SHOP.weeks, 0))

    start, order_start = RHYTHM.instants(weeks(0.88 * sessions)), RHYTHM.instants(weeks(0.12 * sessions))
    nobody = np.zeros(len(order_start), np.int64)
    traffic = Traffic(np.zeros(len(start), np.int64), start, order_start, np.ones(len(order_start), np.bool_))
    anomalies = planted(random) if with_anomalies else ()
    for one in anomalies:
        traffic, _ = disturbed(SHOP, random, traffic, nobody, one)

    def per_day(
        instants: npt.NDArray[np.int64], weights: npt.NDArray[np.float64] | None = None
    ) -> npt.NDArray[np.float64]:
        return np.bincount(instants // DAY_SECONDS, weights, minlength=RHYTHM.days).astype("float64")

    browsing, placed = per_day(traffic.start), per_day(traffic.order_start)
    bought = traffic.order_start[traffic.went_through]
    value = SHOP.value
    amounts = random.gamma(value.p, 1, len(bought)) / random.gamma(value.q, 1 / value.gamma, len(bought))
    rows, names, left = [browsing + placed], ["sessions"], browsing
    for name, share in SHOP.browsing.steps:
        left = random.binomial(left.astype("int64"), share).astype("float64")
        rows.append(left + placed)
        names.append(STEP + name)
    orders = per_day(bought)
    downloads = random.poisson(sessions / 15 * density / density.sum()).astype("float64")
    rows += [orders, per_day(bought, amounts), orders, downloads]
    names += ["orders", "revenue", THROUGH, "downloads"]
    values = np.array(rows)
    series = DailySeries(
        names=tuple(names),
        days=day_number(SHOP.first_day) + np.arange(RHYTHM.days),
        values=values,
        known=np.ones(values.shape, dtype=bool),
        events=np.full(values.shape, ORDINARY),
        funnel=(0, 1, 2, 3, names.index(THROUGH)),
    )
    return series, {one.day for one in anomalies}


def odd_days(series: DailySeries) -> set[date]:
    found = judged(series, Rules(false_discovery_rate=RATE))
    places = np.flatnonzero(found.is_anomaly.any(axis=0) | found.is_funnel_anomaly)
    return {date.fromordinal(date(1970, 1, 1).toordinal() + int(series.days[place])) for place in places}


def test_planted_anomalies_are_found_and_hardly_anything_else() -> None:
    hits, named, there = 0, 0, 0
    for seed in range(SEEDS):
        series, truth = daily_series(seed, sessions=150_000, with_anomalies=True)
        days = odd_days(series)
        hits, named, there = hits + len(days & truth), named + len(days), there + len(truth)
    assert hits / there >= 0.9
    assert hits / named >= 0.9


def test_no_more_shops_without_anomalies_show_one_than_the_rate_says() -> None:
    alarms = sum(
        bool(odd_days(daily_series(1_000 + seed, sessions=60_000, with_anomalies=False)[0])) for seed in range(SEEDS)
    )
    assert alarms <= RATE * SEEDS
