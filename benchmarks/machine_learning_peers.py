"""What one would write with lifetimes, scikit-learn and statsmodels; it imports nothing of ours."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.stats import t
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler
from statsmodels.tsa.seasonal import STL

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it sets an option of pandas that is going away
    import lifetimes

SEGMENTS = range(3, 9)
STARTS = 4
SILHOUETTE_CUSTOMERS = 1_000
FITTERS = {"bg_nbd": "BetaGeoFitter", "modified_bg_nbd": "ModifiedBetaGeoFitter", "pareto_nbd": "ParetoNBDFitter"}


def lifetimes_parameters(customers: pd.DataFrame, kind: str) -> dict[str, float]:
    """Of plain lifetimes with its own tolerance, times in weeks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter = getattr(lifetimes, FITTERS[kind])()
        fitter.fit(customers["further_orders"], customers["recency_days"] / 7, customers["age_days"] / 7)
    return {str(name): float(value) for name, value in fitter.params_.items()}


def segment_sizes(files: Sequence[str], as_of: date) -> list[int]:
    """Customers per segment, by the number of segments with the best silhouette."""
    columns = ["client_code", "session_day", "has_purchased", "payment_amount"]
    sessions = pq.read_table(list(files), columns=columns).to_pandas(date_as_object=False)
    orders = sessions[sessions["has_purchased"] & (sessions["session_day"] <= pd.Timestamp(as_of))]
    of_customers = orders.assign(amount=orders["payment_amount"].astype("float64")).groupby("client_code")
    last, count, amount = (of_customers["session_day"].max(), of_customers.size(), of_customers["amount"].mean())
    days = (pd.Timestamp(as_of) - last).dt.days
    rows = StandardScaler().fit_transform(np.log1p(np.column_stack([days, count, amount.clip(lower=0)])))
    best: tuple[float, Any] = (-2.0, None)
    for number in SEGMENTS:
        labels = KMeans(number, n_init=STARTS, random_state=0).fit_predict(rows)
        score = silhouette_score(rows, labels, sample_size=min(SILHOUETTE_CUSTOMERS, len(rows)), random_state=0)
        best = max(best, (float(score), labels), key=lambda one: one[0])
    return np.bincount(best[1]).tolist()


def esd_after_stl(values: Any, *, period: int, most: int, alpha: float = 0.05) -> list[int]:
    """S-H-ESD with the seasonal component of statsmodels' robust STL; the test straight from its paper.

    The window is periodic and the jumps between fitted points are those of R's stl, as in the authors' package; with
    statsmodels' own jumps of one point it takes ten times as long.
    """
    numbers = np.asarray(values, dtype="float64")
    periodic = {"seasonal": 10 * len(numbers) + 1, "seasonal_deg": 0, "seasonal_jump": len(numbers)}
    fitted = STL(numbers, period=period, robust=True, trend_jump=5, low_pass_jump=3, **periodic).fit()
    left = numbers - fitted.seasonal - np.median(numbers)
    places, found, taken = np.arange(len(left)), 0, []
    for step in range(1, most + 1):
        centre = np.median(left)
        spread = 1.4826 * np.median(np.abs(left - centre))
        farthest = int(np.argmax(np.abs(left - centre)))
        n = len(left)
        quantile = t.ppf(1 - alpha / (2 * n), n - 2)
        critical = (n - 1) * quantile / np.sqrt((n - 2 + quantile**2) * n)
        taken.append(int(places[farthest]))
        if abs(left[farthest] - centre) / spread > critical:
            found = step
        left, places = np.delete(left, farthest), np.delete(places, farthest)
    return taken[:found]
