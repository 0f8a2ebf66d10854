"""Two groups of customers compared.

    values of the treated, values of the control  ->  Comparison: effect (treated - control), interval, p-value, n

One value per randomised unit, which is the customer as a rule. Never pass sessions or orders where customers were
assigned: those of one customer are alike, and the p-values come out far too small. None of these tests knows whether
the groups were drawn at random; where customers chose their group, a small p-value says that the groups differ, not
why.

`n`, `mean` and `variance` may be arrays: then as many comparisons are made at once, which is how `permutation` makes
thousands of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from include.measures.rates import wilson_interval
from include.measures.results import ratio

Floats = npt.NDArray[np.float64]
Number = float | Floats

RESAMPLES = 999
MOST_RESAMPLED_UNITS = 1_000  # of a group; more customers than that are dealt into so many bunches
CHUNK_CELLS = 4_000_000  # cells of a matrix of weights held at once


@dataclass(frozen=True)
class Comparison:
    """Treated against control. Missing (NaN) is what the data do not tell.

    `effect` is treated minus control in the unit of the values, `ci_low` and `ci_high` are its interval. The interval
    and the p-value rest on `standard_error` and `degrees_of_freedom` where the method has them.
    """

    method: str
    effect: float
    ci_low: float
    ci_high: float
    p_value: float
    n_treated: int
    n_control: int
    treated_value: float
    control_value: float
    standard_error: float = float("nan")
    degrees_of_freedom: float = float("nan")

    @property
    def relative_effect(self) -> float:
        """effect / control value; missing where that is zero or the two are of different kinds."""
        return float(ratio(self.effect, self.control_value))


class Sample(NamedTuple):
    """What is known of one group: its size, mean and variance (n - 1 in the denominator; missing for n < 2)."""

    n: Any
    mean: Any
    variance: Any


def sample(values: Any) -> Sample:
    """The size, mean and variance of one group's values."""
    known = np.asarray(values, dtype="float64")
    return Sample(
        len(known),
        float(known.mean()) if len(known) else float("nan"),
        float(known.var(ddof=1)) if len(known) > 1 else float("nan"),
    )


class Estimate(NamedTuple):
    """An estimate with its test; arrays where several are made at once."""

    effect: Any
    standard_error: Any
    degrees_of_freedom: Any
    p_value: Any


def estimate_of(effect: Any, standard_error: Any, degrees_of_freedom: Any = np.inf) -> Estimate:
    """The two-sided test of effect = 0 with Student's t, or the normal where the degrees of freedom are infinite.

    Where the standard error is zero or missing there is no test.
    """
    statistic = np.abs(ratio(effect, standard_error))
    degrees = np.asarray(degrees_of_freedom, dtype="float64")
    with np.errstate(invalid="ignore"):
        p_value = np.where(np.isinf(degrees), 2 * norm.sf(statistic), 2 * student.sf(statistic, degrees))
    return Estimate(effect, standard_error, degrees_of_freedom, p_value)


def difference_of(first: Estimate, second: Estimate) -> Estimate:
    """The test of two independent estimates being equal, degrees of freedom after Welch and Satterthwaite.

    Not for estimates that share most of their customers: what they share takes part in both.
    """
    own, other = np.square(first.standard_error), np.square(second.standard_error)
    spread = ratio(own**2, first.degrees_of_freedom) + ratio(other**2, second.degrees_of_freedom)
    error = np.sqrt(own + other)
    return estimate_of(np.subtract(first.effect, second.effect), error, ratio((own + other) ** 2, spread))


def interval(found: Estimate, confidence_level: float) -> tuple[float, float]:
    """Both ends of the interval of an estimate; missing where there is no standard error."""
    level = (1 + confidence_level) / 2
    degrees = float(found.degrees_of_freedom)
    quantile = float(norm.ppf(level)) if np.isinf(degrees) else float(student.ppf(level, degrees))
    if not float(found.standard_error) > 0:
        return float("nan"), float("nan")
    half = quantile * float(found.standard_error)
    return float(found.effect) - half, float(found.effect) + half


def welch_of(treated: Sample, control: Sample) -> Estimate:
    """Welch's test of samples that are known by their size, mean and variance."""
    own, other = ratio(treated.variance, treated.n), ratio(control.variance, control.n)
    error = np.sqrt(np.maximum(own + other, 0))
    spread = ratio(own**2, np.asarray(treated.n) - 1) + ratio(other**2, np.asarray(control.n) - 1)
    return estimate_of(np.subtract(treated.mean, control.mean), error, ratio((own + other) ** 2, spread))


def welch(treated: Any, control: Any, *, confidence_level: float = 0.95, method: str = "welch") -> Comparison:
    """The difference of means, variances not assumed equal [1]_.

    Not for: fewer than about thirty customers a group with amounts as skewed as money is (look at `mann_whitney`, or
    `winsorised`), repeated looks (`sequential`), or means of a ratio (`ratios`).

    .. [1] Welch (1947), Biometrika 34, 28-35.
    """
    first, second = sample(treated), sample(control)
    return compared(method, welch_of(first, second), first, second, confidence_level)


def compared(method: str, found: Estimate, treated: Sample, control: Sample, confidence_level: float) -> Comparison:
    """A tested difference with its interval, as a `Comparison`."""
    low, high = interval(found, confidence_level)
    return Comparison(
        method=method,
        effect=float(found.effect),
        ci_low=low,
        ci_high=high,
        p_value=float(found.p_value),
        n_treated=int(treated.n),
        n_control=int(control.n),
        treated_value=float(treated.mean),
        control_value=float(control.mean),
        standard_error=float(found.standard_error),
        degrees_of_freedom=float(found.degrees_of_freedom),
    )


def winsor_limit(values: Any, share: float) -> float:
    """The value above which the largest `share` of all values lies; infinite where nothing is to be cut."""
    known = np.asarray(values, dtype="float64")
    return float(np.quantile(known, 1 - share)) if len(known) and share > 0 else float("inf")


def winsorised(treated: Any, control: Any, *, share: float = 0.01, confidence_level: float = 0.95) -> Comparison:
    """Welch's test after the largest `share` of all values was lowered to the value at that quantile.

    A few huge amounts no longer decide. The effect is one of the cut values: usually smaller than the true one. Not
    for deciding on a total of money in which the huge amounts count. The limit is one for both groups together, so
    that the groups stay comparable.
    """
    limit = winsor_limit(np.concatenate([np.asarray(treated), np.asarray(control)]), share)
    return welch(
        np.minimum(treated, limit), np.minimum(control, limit), confidence_level=confidence_level, method="winsorised"
    )


def paired(before: Any, after: Any, *, confidence_level: float = 0.95) -> Comparison:
    """The mean change of the same customers, by the paired t-test.

    Only a description: whoever is chosen for being active is less active later, promotion or not, and the season moves
    everybody. Where that is what is asked, take `difference_in_differences`.
    """
    change = sample(np.subtract(after, before))
    error = np.sqrt(ratio(change.variance, change.n))
    found = estimate_of(change.mean, error, change.n - 1 if change.n > 1 else np.nan)
    return compared("before_after", found, sample(after), sample(before), confidence_level)


def proportions_of(treated_count: Any, treated_n: Any, control_count: Any, control_n: Any) -> Estimate:
    """The score test of two counts: the standard error is the one under no difference."""
    both = ratio(np.add(treated_count, control_count), np.add(treated_n, control_n))
    error = np.sqrt(np.maximum(both * (1 - both), 0) * (ratio(1, treated_n) + ratio(1, control_n)))
    return estimate_of(ratio(treated_count, treated_n) - ratio(control_count, control_n), error)


def proportions(
    treated_count: int, treated_n: int, control_count: int, control_n: int, *, confidence_level: float = 0.95
) -> Comparison:
    """The difference of two shares: the pooled z-test (chi-squared without correction) and Newcombe's interval [1]_.

    Not for: fewer than about five expected customers in a cell, shares of something other than the assigned customers
    (orders per session: `ratios`).

    .. [1] Newcombe (1998), Statistics in Medicine 17, 873-890, method 10.
    """
    found = proportions_of(treated_count, treated_n, control_count, control_n)
    counts, totals = np.array([treated_count, control_count]), np.array([treated_n, control_n])
    shares = ratio(counts, totals)
    low, high = wilson_interval(counts, totals, confidence_level)
    effect = float(shares[0] - shares[1])
    return Comparison(
        method="proportions",
        effect=effect,
        ci_low=effect - float(np.hypot(shares[0] - low[0], high[1] - shares[1])),
        ci_high=effect + float(np.hypot(high[0] - shares[0], shares[1] - low[1])),
        p_value=float(found.p_value),
        n_treated=int(treated_n),
        n_control=int(control_n),
        treated_value=float(shares[0]),
        control_value=float(shares[1]),
        standard_error=float(found.standard_error),
        degrees_of_freedom=float("inf"),
    )


def mann_whitney_of(rank_sum: Any, treated_n: Any, control_n: Any, ties: float) -> Estimate:
    """The rank test from the sum of the treated's ranks; `ties` is the sum of t^3 - t over groups of equal values."""
    n1, n2 = np.asarray(treated_n, dtype="float64"), np.asarray(control_n, dtype="float64")
    n = n1 + n2
    centred = rank_sum - n1 * (n1 + 1) / 2 - n1 * n2 / 2
    error = np.sqrt(np.maximum(n1 * n2 / 12 * (n + 1 - ratio(ties, n * (n - 1))), 0))
    # The continuity correction of a statistic that goes in steps of one.
    shown = estimate_of(np.maximum(np.abs(centred) - 0.5, 0), error)
    return Estimate(ratio(centred, n1 * n2), ratio(error, n1 * n2), np.inf, shown.p_value)


def tie_term(values: Floats) -> float:
    """The sum of t^3 - t over groups of t equal values."""
    counts = np.unique(values, return_counts=True)[1].astype("float64")
    return float((counts**3 - counts).sum())


def mann_whitney(treated: Any, control: Any, *, confidence_level: float = 0.95) -> Comparison:
    """Whether values of one group tend to be larger, by ranks, ties corrected for (large-sample test).

    The effect is P(a treated customer has more than a control customer), equal values counting half, less one half:
    0 is no difference, 0.5 is all larger. Its interval is DeLong's [1]_. The p-value is for "the two distributions
    are the same": it may be small with equal means. Not for deciding on money, where the mean is what counts.

    .. [1] DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44, 837-845.
    """
    own, other = np.asarray(treated, dtype="float64"), np.asarray(control, dtype="float64")
    both = np.concatenate([own, other])
    if not len(own) or not len(other):
        return compared("mann_whitney", Estimate(*[float("nan")] * 4), sample(own), sample(other), confidence_level)
    ranks = rankdata(both)
    found = mann_whitney_of(ranks[: len(own)].sum(), len(own), len(other), tie_term(both))
    # Each customer's share of the other group below it: from its rank among all less its rank among its own.
    above = (ranks[: len(own)] - rankdata(own)) / len(other)
    below = 1 - (ranks[len(own) :] - rankdata(other)) / len(own)
    error = np.sqrt(ratio(sample(above).variance, len(own)) + ratio(sample(below).variance, len(other)))
    low, high = interval(Estimate(found.effect, error, np.inf, np.nan), confidence_level)
    return Comparison(
        method="mann_whitney",
        effect=float(found.effect),
        ci_low=max(low, -0.5),
        ci_high=min(high, 0.5),
        p_value=float(found.p_value),
        n_treated=len(own),
        n_control=len(other),
        treated_value=float(np.median(own)),
        control_value=float(np.median(other)),
        standard_error=float(found.standard_error),
        degrees_of_freedom=float("inf"),
    )


def resampled_differences(
    sums: Floats, sizes: Floats, labels: npt.NDArray[Any], *, resamples: int, seed: int
) -> Floats:
    """Differences of means in `resamples` Poisson bootstraps, one column per row of `labels` (1 treated, 0 control).

    Each unit (a customer, or a bunch of `sizes` customers with `sums`) is drawn Poisson(1) times [1]_. All rows of
    labels share the draws, so that thousands of them are a product of matrices.

    .. [1] Chamandy, Muralidharan, Najmi and Naidu (2012), Estimating uncertainty for massive data streams, Google.
    """
    random = np.random.default_rng(seed)
    rows = np.asarray(labels)
    # Of thousands of splits only the share of p-values is of interest: half the digits are twice as fast.
    digits = "float64" if len(rows) == 1 else "float32"
    sums, sizes = np.asarray(sums, dtype=digits), np.asarray(sizes, dtype=digits)
    own_sums, own_sizes = (rows * sums).T, (rows * sizes).T
    parts = []
    for start in range(0, resamples, chunk := max(1, CHUNK_CELLS // max(len(sums), 1))):
        weights = random.poisson(1.0, (min(chunk, resamples - start), len(sums))).astype(digits)
        treated, treated_n = weights @ own_sums, weights @ own_sizes
        control = (weights @ sums)[:, None] - treated
        control_n = (weights @ sizes)[:, None] - treated_n
        parts.append(ratio(treated, treated_n) - ratio(control, control_n))
    return np.concatenate(parts)


def bootstrap_p_value(differences: Floats) -> Floats:
    """Twice the share of resampled differences on the other side of zero, per column; it agrees with the interval."""
    number = len(differences)
    below, above = (differences <= 0).sum(axis=0), (differences >= 0).sum(axis=0)
    p_value: Floats = np.minimum((2 * np.minimum(below, above) + 1) / (number + 1), 1.0)
    return np.where(np.isfinite(differences).all(axis=0), p_value, np.nan)


def bootstrap(
    treated: Any, control: Any, *, resamples: int = RESAMPLES, seed: int = 0, confidence_level: float = 0.95
) -> Comparison:
    """The difference of means with the percentile interval of a seeded Poisson bootstrap.

    It needs no formula for the variance, and its interval need not be symmetric. Not for fewer than about fifty
    customers a group: then it is too narrow. The same customers in another order give the same answer.
    """
    first, second = sample(treated), sample(control)
    nothing = Estimate(np.subtract(first.mean, second.mean), np.nan, np.nan, np.nan)
    if min(first.n, second.n) < 2 or not first.variance + second.variance > 0:
        return compared("bootstrap", nothing, first, second, confidence_level)
    random = np.random.default_rng(seed)
    bunches = [_bunched(np.sort(np.asarray(one, dtype="float64")), random) for one in (treated, control)]
    sums, sizes = (np.concatenate([bunches[0][part], bunches[1][part]]) for part in (0, 1))
    labels = np.repeat([1.0, 0.0], [len(bunches[0][0]), len(bunches[1][0])])[None, :]
    differences = resampled_differences(sums, sizes, labels, resamples=resamples, seed=seed + 1)
    tail = (1 - confidence_level) / 2
    low, high = np.nanquantile(differences, [tail, 1 - tail]).tolist()
    found = Estimate(nothing.effect, float(np.nanstd(differences, ddof=1)), np.inf, bootstrap_p_value(differences)[0])
    return Comparison(
        **{**vars(compared("bootstrap", found, first, second, confidence_level)), "ci_low": low, "ci_high": high}
    )


def _bunched(values: Floats, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Sums and sizes of the units that are drawn: customers, or where they are many, equal bunches dealt at random."""
    bunches = min(len(values), MOST_RESAMPLED_UNITS)
    place = random.permutation(len(values)) % max(bunches, 1)
    sizes = np.bincount(place, minlength=bunches).astype("float64")
    sums: Floats = np.bincount(place, weights=values, minlength=bunches).astype("float64")
    return sums, sizes
