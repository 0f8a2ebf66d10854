"""What must not fool the expectation of a day, and what it must find."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from include.measures.daily_expectation import ORDINARY, Expectation, daily_expectation
from include.measures.periods import day_number

MONDAY = day_number(date(2023, 1, 2))
WEEKDAYS = np.array([0.8, 0.9, 0.9, 1.0, 1.1, 1.3, 1.0])
SUSPICIOUS = 1e-5  # about what one of 5,000 days has to be below to be an anomaly

Floats = npt.NDArray[np.float64]


def days(length: int) -> npt.NDArray[np.int64]:
    return MONDAY + np.arange(length)


def rhythm(length: int, level: Any = 200.0) -> Floats:
    return np.broadcast_to(np.asarray(level, dtype="float64"), length) * np.resize(WEEKDAYS, length)


def counted(mean: Floats, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).poisson(mean).astype("float64")


def expectation(values: Floats, **options: Any) -> Expectation:
    return daily_expectation(values, days(values.shape[-1]), is_count=True, **options)


def odd_days(values: Floats, **options: Any) -> list[int]:
    found = expectation(values, **options)
    return [int(place) for place in np.flatnonzero(found.p_value[0] < SUSPICIOUS)]


def test_the_weekday_is_expected() -> None:
    found = expectation(rhythm(140))
    assert found.expected[0] == pytest.approx(rhythm(140), rel=1e-9)
    assert np.nanmin(found.p_value[0]) > 0.9


def test_one_odd_day_is_found_and_moves_nothing_else() -> None:
    values = rhythm(140)
    values[70] = 20
    found = expectation(values)
    assert found.expected[0] == pytest.approx(rhythm(140), rel=0.02)
    assert found.score[0][70] < -8
    assert np.flatnonzero(found.p_value[0] < 0.01).tolist() == [70]


@pytest.mark.parametrize("seed", range(3))
def test_a_lasting_jump_is_no_anomaly(seed: int) -> None:
    level = np.where(np.arange(400) < 200, 200.0, 320.0)
    assert odd_days(counted(rhythm(400, level), seed)) == []


@pytest.mark.parametrize("seed", range(3))
def test_trend_and_yearly_season_are_no_anomaly(seed: int) -> None:
    day = np.arange(730)
    level = 300 * 1.5 ** (day / 365) * (1 + 0.3 * np.cos(2 * np.pi * (day - 340) / 365.25))
    assert odd_days(counted(rhythm(730, level), seed)) == []


def test_the_newest_day_on_a_steep_trend_is_no_anomaly() -> None:
    level = 2_000 * 1.01 ** np.arange(120)
    assert odd_days(rhythm(120, level)) == []
    values = rhythm(120, level)
    values[-1] *= 0.7
    assert odd_days(values) == [119]


def test_a_jump_shows_on_its_first_day_as_long_as_that_is_the_newest() -> None:
    level = np.where(np.arange(141) < 140, 200.0, 320.0)
    assert odd_days(counted(rhythm(141, level))) == [140]


def test_missing_days_are_not_judged_and_do_not_matter() -> None:
    values = counted(rhythm(200))
    values[[30, 31, 90, 150]] = np.nan
    found = expectation(values)
    assert np.isnan(found.p_value[0][[30, 31, 90, 150]]).all()
    assert np.flatnonzero(found.p_value[0] < SUSPICIOUS).tolist() == []
    assert found.expected[0][[30, 31]] == pytest.approx(rhythm(200)[[30, 31]], rel=0.15)


def test_a_day_of_the_month_counts_where_it_shows() -> None:
    dates = days(400).astype("datetime64[D]")
    is_payday = (dates - dates.astype("datetime64[M]")).astype(int) == 24
    values = counted(rhythm(400) * np.where(is_payday, 1.6, 1.0))
    found = expectation(values)
    assert odd_days(values) == []
    assert found.expected[0][is_payday] == pytest.approx(1.6 * rhythm(400)[is_payday], rel=0.12)
    # One odd day on a 25th among ordinary ones is nothing that shows.
    plain = counted(rhythm(400))
    place = int(np.flatnonzero(is_payday)[3])
    plain[place] *= 2
    assert odd_days(plain) == [place]


def test_what_comes_every_year_is_expected_and_what_came_once_is_not() -> None:
    values = counted(rhythm(760, 400.0))
    dates = days(760).astype("datetime64[D]").astype(str)
    christmas = [place for place, day in enumerate(dates) if day in ("2023-12-24", "2024-12-24")]
    sale = [325, 325 + 364]  # the same Friday of two years
    values[[*christmas, *sale]] *= 2
    values[100] *= 2
    assert odd_days(values) == [100]


def test_days_of_an_event_share_a_level_and_few_of_them_are_not_judged() -> None:
    mean = rhythm(200)
    mean[100:107] *= 0.6
    values = counted(mean)
    values[60] *= 3
    values[103] = 30
    events = np.full(200, ORDINARY)
    events[100:107], events[60] = 1, 2
    found = expectation(values, events=events)
    assert np.flatnonzero(found.p_value[0] < SUSPICIOUS).tolist() == [103]
    assert np.isnan(found.p_value[0][60])
    assert np.isfinite(found.expected[0][60])


def test_p_values_of_ordinary_days_are_as_rare_as_they_say() -> None:
    level = 60 * 1.3 ** (np.arange(728) / 365)
    for noise in (1.0, 3.0):  # Poisson, and three times its variance
        random = np.random.default_rng(5)
        mean = np.tile(rhythm(728, level), (12, 1))
        size = mean / (noise - 1) if noise > 1 else None
        values = random.poisson(mean) if size is None else random.negative_binomial(size, 1 / noise)
        found = expectation(values.astype("float64"))
        assert found.dispersion == pytest.approx(noise, rel=0.25)
        # On one day in 21 the running median is the day's own value, with a p-value of 1; the tails are as they should.
        for level_of_test in (0.001, 0.01, 0.05, 0.2):
            error = 4 * np.sqrt(level_of_test / found.p_value.size)
            assert (found.p_value < level_of_test).mean() == pytest.approx(level_of_test, rel=0.15, abs=error)


def test_amounts_may_be_negative() -> None:
    random = np.random.default_rng(3)
    values = random.normal(rhythm(200), 15)
    values[50] = -40
    found = daily_expectation(values, days(200), is_count=False)
    assert np.flatnonzero(found.p_value[0] < SUSPICIOUS).tolist() == [50]
    assert (found.low[0] < found.expected[0]).all()


def test_too_short_and_too_sparse_series_are_not_judged() -> None:
    short = expectation(rhythm(40))
    assert short.is_short.all()
    assert np.isnan(short.expected).all()
    sparse = expectation(counted(rhythm(200, 1.0)))
    assert sparse.is_sparse.all()
    assert not sparse.is_judged.any()
    nothing = expectation(np.full(200, np.nan))
    assert nothing.is_short.all()
    assert not expectation(np.zeros(200)).is_judged.any()
    assert expectation(np.zeros((1, 0))).expected.shape == (1, 0)


def test_the_interval_holds_what_it_says() -> None:
    values = np.random.default_rng(2).poisson(np.tile(rhythm(364), (10, 1))).astype("float64")
    found = expectation(values, confidence_level=0.9)
    inside = (values >= found.low - 0.5) & (values <= found.high + 0.5)
    assert inside.mean() == pytest.approx(0.9, abs=0.02)


def test_series_do_not_influence_each_other() -> None:
    first, second = counted(rhythm(200), 1), counted(rhythm(200, 50.0), 2)
    both = expectation(np.array([first, second]))
    alone = expectation(second)
    assert both.p_value[1] == pytest.approx(alone.p_value[0], nan_ok=True)
