"""Twenty looks: the usual test finds too much, this one does not; and what it costs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from include.experiments.comparisons import Sample, welch, welch_of
from include.experiments.permutation import always_valid_p_values, random_labels
from include.experiments.sequential import always_valid, always_valid_half_width, always_valid_p_value

LOOKS = np.arange(1, 21) * 100


@pytest.fixture(scope="module")
def looks() -> Sample:
    """2,000 experiments without an effect, 2,000 customers a group with skewed amounts, seen every 100: differences."""
    random = np.random.default_rng(11)
    amounts = random.exponential(20, (2, 2000, LOOKS[-1]))
    sums, squares = (np.cumsum(one, axis=2)[:, :, LOOKS - 1] for one in (amounts, amounts**2))
    own, other = (
        Sample(LOOKS, sums[group] / LOOKS, (squares[group] - sums[group] ** 2 / LOOKS) / (LOOKS - 1))
        for group in (0, 1)
    )
    found = welch_of(own, other)
    return Sample(found.p_value, found.effect, found.standard_error)


def test_twenty_looks_keep_five_per_cent(looks: Sample) -> None:
    usual, effect, error = looks
    assert 0.20 < (usual < 0.05).any(axis=1).mean() < 0.30  # 24.5 % in theory
    for scale in (0.5, 2.0, 8.0):
        valid = always_valid_p_value(effect, error, scale)
        assert (valid < 0.05).any(axis=1).mean() <= 0.05


def test_the_interval_covers_at_all_looks_and_is_that_of_the_p_value(looks: Sample) -> None:
    _, effect, error = looks
    half = always_valid_half_width(error, 2.0, 0.95)
    assert (np.abs(effect) <= half).all(axis=1).mean() >= 0.95
    outside = np.abs(effect) > half
    assert (outside == (always_valid_p_value(effect, error, 2.0) < 0.05)).all()


def test_an_effect_of_the_scale_is_found_in_the_end() -> None:
    random = np.random.default_rng(12)
    found = [
        always_valid(random.exponential(22, 20_000), random.exponential(20, 20_000), scale=2.0).p_value < 0.05
        for _ in range(30)
    ]
    assert np.mean(found) > 0.9
    one = always_valid(random.exponential(22, 20_000), random.exponential(20, 20_000), scale=2.0)
    usual = welch(random.exponential(22, 20_000), random.exponential(20, 20_000))
    assert one.ci_high - one.ci_low > usual.ci_high - usual.ci_low


def test_too_few_customers_say_nothing() -> None:
    few = always_valid(np.arange(99.0), np.arange(99.0) + 50, scale=1.0)
    assert math.isnan(few.p_value)
    assert math.isnan(few.ci_low)
    assert few.effect == -50
    assert math.isnan(always_valid(np.ones(500), np.ones(500), scale=1.0).p_value)


def test_the_vectorised_looks_are_those_of_single_tests() -> None:
    random = np.random.default_rng(13)
    values = random.exponential(10, 1200)
    labels = random_labels(600, 1200, permutations=3, seed=2)
    found = always_valid_p_values(values, labels, looks=4, scale=1.5)
    for row, p_value in zip(labels, found, strict=True):
        each = [
            always_valid(values[:end][row[:end]], values[:end][~row[:end]], scale=1.5).p_value
            for end in (300, 600, 900, 1200)
        ]
        assert p_value == pytest.approx(np.nanmin(each), rel=1e-9)
