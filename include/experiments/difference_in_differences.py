"""An effect on customers who were not drawn at random: their change against the change of customers like them.

    before, after, exposed or not, stratum (per unit)  ->  Comparison of the changes, exposed - not exposed

A unit is a customer at one date: exposed then, or not exposed until then. Its stratum says what it is like, from what
was known at that date: the calendar week and the activity before. Within strata the change (after - before) of the
exposed is compared with that of the others, by least squares with a mean per stratum. Strata with both kinds count,
those with more of both count more; the others say nothing and are left out (`matched`).

The variance is heteroskedasticity-consistent (HC2) with Welch's degrees of freedom: with one stratum this is Welch's
test of the changes, to the last digit. A customer who is a control at several dates is one cluster.

What it takes away: everything that exposed and controls of a stratum share, the season, the weekday, the usual
decline after an active week (regression to the mean). What it cannot take away: what sets the exposed apart *beyond*
their activity before. Who looks for a coupon may have meant to buy. Nor does it see an effect on everybody: where a
promotion also moves those who do not use its code, both sides rise and the difference stays zero.

When not to use it: never choose or match units by what they did *after* the date; a control that is exposed later
stays a control. Not with fewer than about thirty exposed customers; not where nearly everybody is exposed at once.

References: MacKinnon and White (1985), Journal of Econometrics 29, 305-325; Hernan and Robins (2016), American Journal
of Epidemiology 183, 758-764 (exposed and not yet exposed at the same date).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from include.experiments.comparisons import Comparison, Estimate, Floats, Sample, compared, estimate_of
from include.measures.results import ratio

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


def strata_of(*columns: Any) -> Integers:
    """One number per combination of values; equal combinations have equal numbers."""
    code: Integers = np.zeros(len(columns[0]), dtype="int64")
    for column in columns:
        values, places = np.unique(np.asarray(column), return_inverse=True)
        code = np.unique(code * max(len(values), 1) + places, return_inverse=True)[1].astype("int64")
    return code


def _numbered(strata: Any) -> Integers:
    """Strata as numbers from 0 without gaps; without sorting where they are whole numbers already."""
    known = np.asarray(strata)
    if known.dtype.kind not in "iu" or (len(known) and known.min() < 0):
        return strata_of(known)
    found: Integers = (np.cumsum(np.bincount(known, minlength=1) > 0) - 1)[known].astype("int64")
    return found


def matched(exposed: Any, strata: Any) -> Booleans:
    """Which units are in a stratum that has both exposed and others."""
    is_exposed, place = np.asarray(exposed, dtype=bool), _numbered(strata)
    number = int(place.max(initial=-1)) + 1
    both = (np.bincount(place[is_exposed], minlength=number) > 0) & (
        np.bincount(place[~is_exposed], minlength=number) > 0
    )
    found: Booleans = both[place] if number else np.zeros(0, dtype=bool)
    return found


@dataclass(frozen=True)
class Design:
    """Matched units, sorted by cluster: what does not depend on which of them are exposed."""

    order: Integers  # of the matched units, as places in what was given
    strata: Integers
    share: Floats  # of exposed in the unit's stratum
    inverse_size: Floats  # 1 / units in the stratum
    cluster_starts: Integers
    strata_number: int

    @property
    def is_clustered(self) -> bool:
        return len(self.cluster_starts) < len(self.order)


def design_of(exposed: Any, strata: Any, clusters: Any = None) -> Design:
    """The matched units and their strata; `clusters` are the customers (by default each unit is another one)."""
    is_exposed, stratum = np.asarray(exposed, dtype=bool), np.asarray(strata)
    cluster = np.arange(len(is_exposed)) if clusters is None else np.asarray(clusters)
    order = np.flatnonzero(matched(is_exposed, stratum))
    order = order[np.argsort(cluster[order], kind="stable")]
    place = _numbered(stratum[order])
    size = np.bincount(place)
    share = np.bincount(place, weights=is_exposed[order]) / np.maximum(size, 1)
    starts = np.flatnonzero(np.diff(cluster[order], prepend=cluster[order][:1] - 1)) if len(order) else order
    return Design(order, place, share[place], 1 / size[place], starts, len(size))


def centred(values: Any, design: Design) -> Floats:
    """Values of the matched units without the mean of their stratum."""
    known = np.asarray(values, dtype="float64")[design.order]
    size = np.bincount(design.strata, minlength=design.strata_number)
    mean = np.bincount(design.strata, weights=known, minlength=design.strata_number) / np.maximum(size, 1)
    result: Floats = known - mean[design.strata]
    return result


def estimated(change: Floats, design: Design, labels: Any) -> Estimate:
    """The test of each row of `labels` (exposed or not, of the matched units) against `change` (see `centred`)."""
    exposed = np.atleast_2d(np.asarray(labels, dtype=bool))
    deviation = exposed - design.share
    total = (design.share * (1 - design.share)).sum()
    if not len(design.order) or len(design.order) <= design.strata_number + 1:
        nothing = np.full(len(exposed), np.nan)
        effect = ratio(deviation @ change, total) if len(design.order) else nothing
        return Estimate(effect, nothing, nothing, nothing)
    squared = deviation**2
    effect = deviation @ change / total
    free = 1 - design.inverse_size - squared / total  # one less the leverage
    residual = change - effect[:, None] * deviation
    usable = free > 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(usable, deviation * residual / np.sqrt(np.where(usable, free, 1)), 0) / total
    own = np.where(exposed, part**2, 0).sum(axis=1)
    other = (part**2).sum(axis=1) - own
    clustered = np.add.reduceat(part, design.cluster_starts, axis=1) if design.is_clustered else part
    variance = (clustered**2).sum(axis=1)
    # As many customers as would tell as much if all counted the same: Kish's effective number, less the mean.
    spread: Any = 0.0
    for one, chosen in ((own, exposed), (other, ~exposed)):
        weight = np.where(chosen, squared, 0)
        effective = weight.sum(axis=1) ** 2 / (weight**2).sum(axis=1)
        spread = spread + ratio(one**2, effective - 1)
    return estimate_of(effect, np.sqrt(variance), ratio((own + other) ** 2, spread))


def difference_in_differences(
    before: Any, after: Any, exposed: Any, strata: Any, *, clusters: Any = None, confidence_level: float = 0.95
) -> Comparison:
    """The effect on the exposed, with `n` counted in matched units.

    `treated_value` is the mean change of the matched exposed, `control_value` what it would have been without the
    effect: treated value - effect.
    """
    design = design_of(exposed, strata, clusters)
    return changes_compared(np.subtract(after, before), exposed, design, confidence_level=confidence_level)


def changes_compared(change: Any, exposed: Any, design: Design, *, confidence_level: float = 0.95) -> Comparison:
    """The same for a design at hand, to compare several outcomes of the same units."""
    labels = np.asarray(exposed, dtype=bool)[design.order]
    found = estimated(centred(change, design), design, labels)
    one = Estimate(*(float(np.asarray(value).reshape(-1)[0]) for value in found))
    n = int(labels.sum())
    mean = float(np.asarray(change, dtype="float64")[design.order][labels].mean()) if n else float("nan")
    treated, control = Sample(n, mean, np.nan), Sample(len(labels) - n, mean - one.effect, np.nan)
    return compared("difference_in_differences", one, treated, control, confidence_level)
