"""Do the p-values of a test hold on these very data? Labels are permuted, so that there is no effect, and counted.

    values per customer  ->  p-values of thousands of random splits  ->  Calibration: rejections at 5 %, uniformity

Under no effect p-values are uniform: 5 % are below 0.05, 30 % below 0.3. A test that rejects more often finds effects
that are not there; one that rejects less often misses real ones. Reasons are few customers, amounts of which one is as
large as all others together, or a design that takes something else for the effect.

All splits are made at once: sums over the treated are a matrix of labels times a matrix of values. Where strata are
given, labels are permuted within them.

What it does not tell: whether *your* groups were drawn at random (see `assignment`), nor how large an effect is found
(see `power`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import kstwobign, rankdata

from include.experiments import difference_in_differences as differences
from include.experiments.comparisons import (
    Floats,
    Sample,
    bootstrap_p_value,
    estimate_of,
    mann_whitney_of,
    proportions_of,
    resampled_differences,
    tie_term,
    welch_of,
)
from include.experiments.ratios import ratio_difference_of, ratio_of
from include.experiments.sequential import FIRST_LOOK, always_valid_p_value
from include.measures.results import ratio

Labels = npt.NDArray[np.bool_]

TOLERANCE = 0.015  # how far the share of rejections may be from alpha
UNIFORM_ABOVE = 0.001  # p-value of the test of uniformity
STEPS = 0.1  # a distance from uniform up to this is let pass: p-values of counts go in steps
ENOUGH = 1_000  # p-values: with fewer, two standard errors of their number are added to the tolerance
CHUNK_CELLS = 2_000_000


@dataclass(frozen=True)
class Calibration:
    """How a test behaves without an effect. `holds` is the verdict."""

    method: str
    permutations: int
    rejections: int
    ks_distance: float
    ks_p_value: float
    n: int
    holds: bool


def calibration(method: str, p_values: Any, *, n: int, alpha: float = 0.05, at_most: bool = False) -> Calibration:
    """The verdict on p-values without an effect; missing ones (no variance in a split) are no rejections.

    It holds where the share below `alpha` is within TOLERANCE and the p-values are uniform (Kolmogorov and Smirnov, at
    UNIFORM_ABOVE or within STEPS). `at_most`: where fewer rejections are fine too, as for a test of many looks.
    """
    known = np.nan_to_num(np.asarray(p_values, dtype="float64"), nan=1.0)
    number = len(known)
    if not number:
        return Calibration(method, 0, 0, float("nan"), float("nan"), n, holds=False)
    rejections = int((known < alpha).sum())
    attained, counts = np.unique(known, return_counts=True)
    up_to = np.cumsum(counts) / number
    # Where p-values go in steps, the middle of a step is what is uniform.
    distance = float(np.abs(up_to - counts / number / 2 - attained).max())
    p_value = float(kstwobign.sf(distance * np.sqrt(number)))
    allowed = TOLERANCE + (2 * float(np.sqrt(alpha * (1 - alpha) / number)) if number < ENOUGH else 0.0)
    # Fewer rejections than alpha are the steps' doing where one step more would be too many.
    with_next_step = float(up_to[min(int(np.searchsorted(attained, alpha)), len(attained) - 1)])
    holds = rejections / number <= alpha + allowed
    if not at_most:
        holds = holds and with_next_step >= alpha - allowed and (p_value >= UNIFORM_ABOVE or distance <= STEPS)
    return Calibration(method, number, rejections, distance, p_value, n, holds=bool(holds))


def random_labels(n_treated: int, n: int, *, permutations: int, seed: int) -> Labels:
    """`permutations` random choices of `n_treated` out of `n` customers, one per row."""
    labels = np.zeros((permutations, n), dtype=bool)
    labels[:, :n_treated] = True
    return np.random.default_rng(seed).permuted(labels, axis=1, out=labels)


def random_labels_within(exposed: Any, strata: Any, *, permutations: int, seed: int) -> Labels:
    """The labels of `exposed`, permuted within each stratum, one choice per row."""
    is_exposed, place = np.asarray(exposed, dtype=bool), np.asarray(strata)
    by_stratum = np.argsort(place, kind="stable")
    random = np.random.default_rng(seed)
    shuffled = np.argsort(place[by_stratum] + random.random((permutations, len(place))), axis=1)
    labels = np.empty((permutations, len(place)), dtype=bool)
    labels[:, by_stratum] = is_exposed[by_stratum][shuffled]
    return labels


def _samples(values: Floats, labels: Labels) -> tuple[Sample, Sample]:
    """Treated and control of each split. Values are centred first, so that the sums of squares keep their digits."""
    shifted = values - values.mean()
    features = np.column_stack([shifted, shifted**2])
    own = labels.astype("float64") @ features
    n_own = labels.sum(axis=1)
    groups = []
    for sums, n in ((own, n_own), (features.sum(axis=0) - own, len(values) - n_own)):
        mean = ratio(sums[:, 0], n)
        groups.append(Sample(n, mean, ratio(np.maximum(sums[:, 1] - n * mean**2, 0), n - 1)))
    return groups[0], groups[1]


def welch_p_values(values: Any, labels: Labels) -> Floats:
    """Of the difference of means; pass values that are winsorised or adjusted for those tests."""
    return np.asarray(welch_of(*_samples(np.asarray(values, dtype="float64"), labels)).p_value)


def proportions_p_values(is_converted: Any, labels: Labels) -> Floats:
    """Of the difference of shares."""
    converted = np.asarray(is_converted, dtype="float64")
    own, n = labels @ converted, labels.sum(axis=1)
    return np.asarray(proportions_of(own, n, converted.sum() - own, len(converted) - n).p_value)


def mann_whitney_p_values(values: Any, labels: Labels) -> Floats:
    """Of the rank test."""
    known = np.asarray(values, dtype="float64")
    n = labels.sum(axis=1)
    sums = labels.astype("float64") @ rankdata(known)
    return np.asarray(mann_whitney_of(sums, n, len(known) - n, tie_term(known)).p_value)


def ratio_p_values(numerator: Any, denominator: Any, labels: Labels) -> Floats:
    """Of the difference of ratios of totals."""
    above, below = np.asarray(numerator, dtype="float64"), np.asarray(denominator, dtype="float64")
    # A numerator without the common ratio keeps the digits, and moves both ratios by the same.
    above = above - float(np.nan_to_num(ratio(above.sum(), below.sum()))) * below
    features = np.column_stack([above, below, above**2, below**2, above * below])
    own = labels.astype("float64") @ features
    n = labels.sum(axis=1)
    groups = [
        ratio_of(size, sums[:, 0], sums[:, 1], (sums[:, 2], sums[:, 3], sums[:, 4]))
        for sums, size in ((own, n), (features.sum(axis=0) - own, len(above) - n))
    ]
    return np.asarray(ratio_difference_of(groups[0], groups[1]).p_value)


def bootstrap_p_values(values: Any, labels: Labels, *, resamples: int, seed: int) -> Floats:
    """Of the bootstrap; all splits share the draws."""
    known = np.asarray(values, dtype="float64")
    ones = np.ones(len(known))
    return bootstrap_p_value(resampled_differences(known - known.mean(), ones, labels, resamples=resamples, seed=seed))


def always_valid_p_values(values: Any, labels: Labels, *, looks: int, scale: float) -> Floats:
    """The smallest p-value of `looks` looks, evenly spread over customers in the order in which they came."""
    known = np.asarray(values, dtype="float64")
    shifted = known - known.mean()
    features = np.column_stack([shifted, shifted**2])
    ends = np.linspace(0, len(known), looks + 1).astype(int)[1:]
    smallest = np.full(len(labels), np.nan)
    own, n_own, start = np.zeros((len(labels), 2)), np.zeros(len(labels)), 0
    for end in ends:
        own += labels[:, start:end].astype("float64") @ features[start:end]
        n_own += labels[:, start:end].sum(axis=1)
        start = end
        total = features[:end].sum(axis=0)
        groups = []
        for sums, n in ((own, n_own), (total - own, end - n_own)):
            mean = ratio(sums[:, 0], n)
            groups.append(Sample(n, mean, ratio(np.maximum(sums[:, 1] - n * mean**2, 0), n - 1)))
        found = welch_of(groups[0], groups[1])
        enough = np.minimum(n_own, end - n_own) >= FIRST_LOOK
        error = np.where(enough, found.standard_error, np.nan)
        smallest = np.fmin(smallest, always_valid_p_value(found.effect, error, scale))
    return smallest


def difference_in_differences_p_values(
    change: Any, exposed: Any, strata: Any, *, clusters: Any = None, permutations: int, seed: int
) -> tuple[Floats, Floats]:
    """Of the matched comparison, and of the plain before and after of the same exposed units, beside it.

    Labels are permuted among the units of a stratum: customers who might have been the exposed ones.
    """
    design = differences.design_of(exposed, strata, clusters)
    shifted, raw = differences.centred(change, design), np.asarray(change, dtype="float64")[design.order]
    own = np.asarray(exposed, dtype=bool)[design.order]
    parts: list[tuple[Floats, Floats]] = []
    if not len(own):
        return np.zeros(0), np.zeros(0)
    step = max(1, CHUNK_CELLS // len(own))
    for start in range(0, permutations, step):
        number = min(step, permutations - start)
        labels = random_labels_within(own, design.strata, permutations=number, seed=seed + start)
        matched_test = differences.estimated(shifted, design, labels)
        mean = labels @ raw / own.sum()
        variance = ratio(np.maximum(labels @ raw**2 - own.sum() * mean**2, 0), own.sum() - 1)
        plain = estimate_of(mean, np.sqrt(variance / own.sum()), own.sum() - 1 if own.sum() > 1 else np.nan)
        parts.append((matched_test.p_value, plain.p_value))
    return np.concatenate([one for one, _ in parts]), np.concatenate([two for _, two in parts])
