"""Groups of alike rows: k-means that gives the same answer every day, and says how much it would give another.

    rows of numbers  ->  Clusters: centres, in an order of their own, and the group of any row

Rows are standardised first, so that every column weighs the same. Nothing depends on the order of the rows: they are
sorted by their values before any is drawn. Fitting looks at no more than so many rows, drawn evenly; the others go to
the nearest centre.

The number of groups is the one with the best silhouette [1]_ on a smaller draw. `stability` is the mean adjusted Rand
index [2]_ between the groups and those found in bootstrap resamples: 1 where resampling changes nothing; below about
0.8 the borders are a matter of chance, whatever the silhouette says. k-means finds round groups of like width, and it
always finds some, in a single heap too: a silhouette below about 0.5 means that groups are a cut through one heap.

.. [1] Rousseeuw (1987), Journal of Computational and Applied Mathematics 20, 53-65.
.. [2] Hubert & Arabie (1985), Journal of Classification 2, 193-218; as stability: Hennig (2007), CSDA 52, 258-271.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
STARTS = 4  # of k-means; the best is kept
RESAMPLE_STARTS = 2
ROWS_AT_ONCE = 200_000  # whose distances to all centres are held at once
DIGITS = 12


@dataclass(frozen=True)
class Clusters:
    """`centres` in standardised units; groups are numbered from 0 in their order."""

    means: Floats
    deviations: Floats
    centres: Floats

    def of(self, rows: Any) -> Integers:
        """The group of each row: that of the nearest centre, the first of those equally near."""
        values = np.asarray(rows, "float64")
        found = np.zeros(len(values), "int64")
        for begin in range(0, len(values), ROWS_AT_ONCE):
            part = (values[begin : begin + ROWS_AT_ONCE] - self.means) / self.deviations
            distance = ((part[:, None, :] - self.centres[None, :, :]) ** 2).sum(axis=2)
            found[begin : begin + len(part)] = np.argmin(distance.round(DIGITS), axis=1)
        return found

    def ordered(self, order: Any) -> Clusters:
        """The same groups, numbered in another order."""
        return Clusters(self.means, self.deviations, self.centres[np.asarray(order, "int64")])


@dataclass(frozen=True)
class Choice:
    """One number of groups that was tried. `stability` is the mean over resamples, `least_stability` the lowest."""

    groups: int
    silhouette: float
    stability: float
    least_stability: float


def choose(
    rows: Any,
    *,
    fewest: int,
    most: int,
    fit_rows: int,
    sample_rows: int,
    resamples: int,
    random_state: int,
) -> tuple[Clusters, list[Choice]]:
    """Clusters with the best number of groups, and what was tried; there are no more groups than different rows.

    Where the rows do not allow of `fewest` groups, there are as many as different rows, and nothing was tried.
    """
    drawn = _drawn(rows, fit_rows, random_state)
    different = len(np.unique(drawn, axis=0))
    if different <= fewest:
        return clusters(drawn, different, fit_rows=fit_rows, random_state=random_state), []
    means, deviations = _scale(drawn)
    sample = _drawn((drawn - means) / deviations, sample_rows, random_state)
    tried = _tried(sample, range(fewest, min(most, different - 1) + 1), resamples, random_state)
    best = max(tried, key=lambda one: (round(one.silhouette, 6), -one.groups)).groups if tried else fewest
    return clusters(drawn, best, fit_rows=fit_rows, random_state=random_state), tried


def clusters(rows: Any, groups: int, *, fit_rows: int, random_state: int) -> Clusters:
    """So many groups, or as many as there are different rows; numbered by the first column, then the next."""
    drawn = _drawn(rows, fit_rows, random_state)
    means, deviations = _scale(drawn)
    scaled = (drawn - means) / deviations
    centres = _centres(scaled, min(groups, len(np.unique(drawn, axis=0))), random_state)
    return Clusters(means, deviations, centres)


def _tried(sample: Floats, numbers: range, resamples: int, random_state: int) -> list[Choice]:
    from sklearn.metrics import adjusted_rand_score, pairwise_distances, silhouette_score

    if len(np.unique(sample, axis=0)) <= numbers.stop:
        numbers = range(numbers.start, min(numbers.stop, len(np.unique(sample, axis=0))))
    chance = np.random.default_rng(random_state)
    again = [sample[np.sort(chance.integers(0, len(sample), len(sample)))] for _ in range(resamples)]
    found = []
    with _threads().limit(limits=1):
        distances = pairwise_distances(sample)
    for number in numbers:
        own = _nearest(sample, _centres(sample, number, random_state))
        others = [_nearest(sample, _centres(one, number, random_state, RESAMPLE_STARTS)) for one in again]
        agreement = [float(adjusted_rand_score(own, other)) for other in others]
        with _threads().limit(limits=1):
            silhouette = float(silhouette_score(distances, own, metric="precomputed")) if len(set(own)) > 1 else 0.0
        mean, least = (float(np.mean(agreement)), min(agreement)) if agreement else (float("nan"), float("nan"))
        found.append(Choice(number, silhouette, mean, least))
    return found


def _centres(scaled: Floats, groups: int, random_state: int, starts: int = STARTS) -> Floats:
    """Centres sorted by their values."""
    from sklearn.cluster import KMeans

    groups = min(groups, len(np.unique(scaled, axis=0)))
    # One thread: with several, the order of addition and so the last digits depend on the machine.
    with _threads().limit(limits=1):
        found = KMeans(groups, n_init=starts, random_state=random_state).fit(scaled).cluster_centers_
    centres: Floats = np.asarray(found, "float64")
    return centres[np.lexsort(centres.round(DIGITS).T[::-1])]


@cache
def _threads() -> ThreadpoolController:
    """Looked up once, when scikit-learn is there: finding the libraries that have threads takes longer than a fit."""
    import sklearn.cluster  # noqa: F401

    return ThreadpoolController()


def _nearest(scaled: Floats, centres: Floats) -> Integers:
    return Clusters(np.zeros(scaled.shape[1]), np.ones(scaled.shape[1]), centres).of(scaled)


def _scale(rows: Floats) -> tuple[Floats, Floats]:
    deviations = rows.std(axis=0)
    return rows.mean(axis=0), np.where(deviations > 1e-9, deviations, 1.0)


def _drawn(rows: Any, most: int, random_state: int) -> Floats:
    """At most so many rows, sorted by their values."""
    values = np.asarray(rows, "float64")
    ordered = values[np.lexsort(values.T[::-1])]
    if len(ordered) <= most:
        return ordered
    chosen = np.random.default_rng(random_state).choice(len(ordered), most, replace=False)
    return ordered[np.sort(chosen)]
