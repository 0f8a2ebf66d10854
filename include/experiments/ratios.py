"""Ratios of totals, as revenue per order or orders per session, between groups of customers: the delta method.

    numerator and denominator per customer, of both groups  ->  Comparison of sum(numerator) / sum(denominator)

The customer was assigned, not the order: a mean over orders with the variance of independent orders is wrong, because
the orders of one customer are alike. Instead each customer counts by

    (numerator - ratio x denominator) / mean denominator

whose variance over customers is that of the ratio in large samples [1]_. Not for: groups in which few customers have
a denominator (below about thirty), or where the treatment changes the denominator itself: more small orders lower the
mean order while revenue rises. Look at the numerator per customer too.

.. [1] Deng, Knoblich and Lu (2018), Applying the delta method in metric analytics, KDD.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from include.experiments.comparisons import Comparison, Estimate, Sample, compared, estimate_of, sample
from include.measures.results import ratio


def ratio_of(n: Any, numerator: Any, denominator: Any, squares: tuple[Any, Any, Any]) -> Sample:
    """A ratio and the variance of a customer's part in it, as `Sample`, from sums over the customers.

    `squares` are the sums of numerator^2, denominator^2 and numerator x denominator. Arrays make several at once.
    """
    value = ratio(numerator, denominator)
    of_numerator, of_denominator, of_both = squares
    # Customers' deviations numerator - value x denominator add up to zero.
    squared = of_numerator - 2 * value * of_both + value**2 * of_denominator
    return Sample(n, value, ratio(np.maximum(squared, 0), (np.asarray(n) - 1) * ratio(denominator, n) ** 2))


def _summed(numerator: Any, denominator: Any) -> Sample:
    above, below = np.asarray(numerator, dtype="float64"), np.asarray(denominator, dtype="float64")
    value = float(ratio(above.sum(), below.sum()))
    # From the deviations themselves: sums of squares lose digits.
    parts = (above - value * below) / (below.mean() if len(below) else np.nan)
    return Sample(len(above), value, sample(parts).variance)


def ratio_difference_of(treated: Sample, control: Sample) -> Estimate:
    """The normal test of two ratios that are known as `Sample`."""
    error = np.sqrt(ratio(treated.variance, treated.n) + ratio(control.variance, control.n))
    return estimate_of(np.subtract(treated.mean, control.mean), error)


def ratio_difference(
    treated_numerator: Any,
    treated_denominator: Any,
    control_numerator: Any,
    control_denominator: Any,
    *,
    confidence_level: float = 0.95,
) -> Comparison:
    """The difference of two ratios of totals, one entry per customer (those without a denominator too)."""
    treated = _summed(treated_numerator, treated_denominator)
    control = _summed(control_numerator, control_denominator)
    found = ratio_difference_of(treated, control)
    return compared("delta_method", found, treated, control, confidence_level)


def paired_ratio_change(
    before_numerator: Any,
    before_denominator: Any,
    after_numerator: Any,
    after_denominator: Any,
    *,
    confidence_level: float = 0.95,
) -> Comparison:
    """The change of a ratio of totals of the same customers (same order in all four). A description: see `paired`."""
    parts, values = [], []
    for above, below in ((before_numerator, before_denominator), (after_numerator, after_denominator)):
        numerator, denominator = np.asarray(above, dtype="float64"), np.asarray(below, dtype="float64")
        value = float(ratio(numerator.sum(), denominator.sum()))
        mean = float(denominator.mean()) if len(denominator) else float("nan")
        parts.append(ratio(numerator - value * denominator, mean))
        values.append(value)
    change = sample(parts[1] - parts[0])
    found = estimate_of(values[1] - values[0], np.sqrt(ratio(change.variance, change.n)))
    before, after = (Sample(change.n, value, np.nan) for value in values)
    return compared("before_after", found, after, before, confidence_level)
