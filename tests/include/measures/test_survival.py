"""Kaplan-Meier against scipy, by hand, and its intervals against chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf

from include.measures.survival import kaplan_meier

OBSERVATIONS = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40)


# scipy warns where a band has no formula: at survival 0 and 1.
@pytest.mark.filterwarnings("ignore:The confidence interval is undefined:RuntimeWarning")
@settings(max_examples=60)
@given(OBSERVATIONS)
def test_equals_scipy(observations: list[tuple[int, bool]]) -> None:
    times = np.array([time for time, _ in observations], float)
    events = np.array([event for _, event in observations])
    curve = kaplan_meier(times, events, np.ones(len(times)), 0.95)
    theirs = ecdf(CensoredData(uncensored=times[events], right=times[~events])).sf
    places = np.searchsorted(theirs.quantiles, curve.times)
    assert curve.survival == pytest.approx(theirs.probabilities[places])
    assert curve.at(theirs.quantiles).tolist() == (np.searchsorted(curve.times, theirs.quantiles, "right") - 1).tolist()
    if not events.any():
        return
    with np.errstate(all="ignore"):
        band = theirs.confidence_interval(0.95, method="log-log")
        low, high = band.low.probabilities[places], band.high.probabilities[places]
    inside = (curve.survival > 0) & (curve.survival < 1)
    assert curve.ci_low[inside] == pytest.approx(low[inside])
    assert curve.ci_high[inside] == pytest.approx(high[inside])


def test_counts_are_repeated_observations() -> None:
    once = kaplan_meier([3, 1, 2, 2], [True, True, False, True], [3, 2, 1, 4], 0.9)
    spread = kaplan_meier([1, 1, 2, 2, 2, 2, 2, 3, 3, 3], [True] * 2 + [False] + [True] * 7, np.ones(10), 0.9)
    assert once.survival.tolist() == spread.survival.tolist()
    assert once.median() == spread.median()


def test_by_hand() -> None:
    # Ten observed: 2 events at 1, 1 censored at 2, 3 events at 4, 4 censored at 5.
    # S(1) = 8/10; at 4 seven are at risk: S(4) = 0.8 * 4/7 = 16/35 = 0.457.
    curve = kaplan_meier([1, 2, 4, 5], [True, False, True, False], [2, 1, 3, 4], 0.95)
    assert curve.at_risk.tolist() == [10, 7]
    assert curve.survival == pytest.approx([0.8, 16 / 35])
    # Below one half at 4. Of those who have the event by then (19/35) 7/35 have it by 1, which is 0.37 of them: at 4.
    assert curve.median()[0] == 4
    assert curve.median_of_events()[0] == 4
    # 2 of 20 at hour 1, 3 at hour 2, the others never: no median of all, and hour 2 of those who do.
    few = kaplan_meier([1, 2, 9], [True, True, False], [2, 3, 15], 0.95)
    assert np.isnan(few.median()[0])
    assert few.median_of_events()[0] == 2


def test_nothing_and_nobody() -> None:
    for nothing in (kaplan_meier([], [], [], 0.95), kaplan_meier([3], [False], [5], 0.95)):
        assert len(nothing.times) == 0
        assert np.isnan(nothing.median()).all()
        assert np.isnan(nothing.median_of_events()).all()
    one = kaplan_meier([3], [True], [1], 0.95)
    assert one.median() == (3, 3, 3)
    assert one.median_of_events()[0] == 3


def test_intervals_hold_the_truth_as_often_as_they_claim() -> None:
    # 40 % have the event after exponential times of median 10 within a window of 60; watched for 5 to 70.
    held, held_of_all, runs = 0, 0, 300
    rng = np.random.default_rng(5)
    lasting = 1 - 0.5 ** (60 / 10)  # the share of exponential times within the window
    truth = -10 / np.log(2) * np.log(1 - 0.5 * lasting)
    for _ in range(runs):
        times = rng.exponential(10 / np.log(2), 400)
        watched = np.minimum(60, rng.uniform(5, 70, 400))
        event = (rng.random(400) < 0.4) & (times <= watched)
        _, low, high = kaplan_meier(np.where(event, times, watched), event, np.ones(400), 0.95).median_of_events()
        held += low <= truth <= high
        event = times <= watched
        _, low, high = kaplan_meier(np.where(event, times, watched), event, np.ones(400), 0.95).median()
        held_of_all += low <= 10 <= high
    # 95 % of 300 are 285, with a standard deviation of 3.8.
    assert 273 <= held <= 297
    assert 273 <= held_of_all <= 297
