"""How good predicted counts were, once the days they were for had passed.

    predicted, actual, number of customers who have both  ->  errors, tenths of the customers

Customers who are alike are one row with their number. A prediction is a mean, and the scores that are lowest for a true
mean are the root mean square error and the Poisson deviance: models should be compared by these. The mean absolute
error, which the literature reports, is lowest for medians, and so prefers a model that says "nobody comes back" [1]_.

.. [1] Gneiting (2011), Making and evaluating point forecasts, JASA 106, 746-762.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import xlogy

from include.measures.results import ratio

Floats = npt.NDArray[np.float64]
TENTHS = 10
DIGITS = 10  # predictions that agree to so many decimals are the same


def errors(predicted: Any, actual: Any, number: Any) -> dict[str, float]:
    """mean_absolute_error, root_mean_square_error, bias, poisson_deviance (per customer) and normalised_gini.

    `bias` is predicted less actual, in a customer's mean. The deviance is missing (NaN) where nothing was predicted for
    somebody of whom something came, the Gini coefficient where all customers are equal; all are, without customers.
    """
    expected, found, weights = (np.asarray(one, "float64") for one in (predicted, actual, number))
    customers = float(weights.sum())
    names = ("mean_absolute_error", "root_mean_square_error", "bias", "poisson_deviance", "normalised_gini")
    if customers == 0:
        return dict.fromkeys(names, float("nan"))
    difference = expected - found
    impossible = bool(((expected <= 0) & (found > 0)).any())
    safe = np.where(expected > 0, expected, 1.0)
    each = 2 * (xlogy(found, found / safe) - found + expected)
    values = (
        (np.abs(difference) * weights).sum() / customers,
        np.sqrt((difference**2 * weights).sum() / customers),
        (difference * weights).sum() / customers,
        float("nan") if impossible else (each * weights).sum() / customers,
        normalised_gini(expected, found, weights),
    )
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def normalised_gini(predicted: Floats, actual: Floats, number: Floats) -> float:
    """How well the prediction ranks customers: 1 as well as possible, 0 not at all, negative the wrong way round.

    The area between the curve of what those with the highest predictions brought and the diagonal, as a share of that
    of a perfect ranking. Customers with equal predictions share their place.
    """
    best = _area(actual, actual, number)
    return _area(predicted, actual, number) / best if best > 0 else float("nan")


def tenths(predicted: Any, actual: Any, number: Any) -> pd.DataFrame:
    """decile (1: the highest predictions), customers, predicted and actual mean, standard error of the actual mean.

    Customers with equal predictions are in the same tenth, so that tenths differ in size, and some may not be there.
    """
    frame = pd.DataFrame(
        {
            "expected": np.asarray(predicted, "float64"),
            "found": np.asarray(actual, "float64"),
            "number": np.asarray(number, "float64"),
        }
    )
    frame["place"] = frame["expected"].round(DIGITS)
    sizes = frame.groupby("place")["number"].sum().sort_index(ascending=False)
    middle = (sizes.cumsum() - sizes / 2) / max(float(sizes.sum()), 1.0)
    decile = ((middle * TENTHS).astype("int64") + 1).clip(upper=TENTHS)
    frame["decile"] = decile.reindex(frame["place"]).to_numpy("int64")
    for name, values in (("expected", frame["expected"]), ("found", frame["found"]), ("square", frame["found"] ** 2)):
        frame[f"{name}_total"] = values * frame["number"]
    sums = frame.groupby("decile", as_index=False)[["number", "expected_total", "found_total", "square_total"]].sum()
    mean = ratio(sums["found_total"], sums["number"])
    variance = np.maximum(ratio(sums["square_total"], sums["number"]) - mean**2, 0)
    return pd.DataFrame(
        {
            "decile": sums["decile"],
            "customers": sums["number"].astype("int64"),
            "predicted_mean": ratio(sums["expected_total"], sums["number"]),
            "actual_mean": mean,
            "standard_error": np.sqrt(ratio(variance, np.maximum(sums["number"] - 1, 1))),
        }
    )


def _area(order: Floats, values: Floats, number: Floats) -> float:
    """Between the curve of summed `values` (highest `order` first) and the diagonal."""
    total = float((values * number).sum())
    if total <= 0:
        return 0.0
    _, place = np.unique(-np.round(order, DIGITS), return_inverse=True)
    customers = np.bincount(place, weights=number) / number.sum()
    brought = np.bincount(place, weights=values * number) / total
    curve = np.concatenate([[0.0], np.cumsum(brought)])
    return float((customers * (curve[1:] + curve[:-1]) / 2).sum() - 0.5)
