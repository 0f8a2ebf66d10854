"""What a day should have been: the expectation of daily series, and how far each day departs from it.

    values (series x days), days, event days  ->  Expectation: expected, interval, score and p-value of each day

The expectation is a product: level x weekday x day of the month x event x what recurs every year.

level          the running median of `trend_days` days. It follows a trend and a yearly season, and jumps where the
               level jumps, so neither is an anomaly. At both ends, where the window is cut off, it is carried on with
               the typical slope (the median of those of a quarter of a year, which one jump does not bend).
weekday        the median ratio to the rest of the expectation, of a year around each day
day of month   the same for each day of the month and the last one, where its z-values say it is there (at 1 %,
               Bonferroni over the days of the month, on at least six months)
event          days of one group (a campaign, a holiday) share one ratio, once there are five of them. With fewer
               nothing is known of them and they are not judged.
yearly         where two years are there: a departure of more than 2.5 deviations that recurs in the same direction in
               every year, on the same date or the same weekday of the year, is expected; the smallest of them, that is

Everything is a median, so an odd day changes neither its own expectation nor its neighbours'.

A count is judged by the negative binomial distribution with the expected mean and `dispersion` x mean as its variance.
The dispersion is measured on the scale of the square root, on which the noise is about the same at every level, on the
days within 2.5 deviations, corrected for the cut and for the noise that the level follows. It is at least 1, which is a
Poisson process. Any other amount is judged on the same scale (as it is, where there are negative values) by Student's t
distribution: a few large orders give daily sums longer tails than the normal distribution has. Its degrees of freedom
follow from how far out the outermost hundredth of the days lies, and are at most ten. `p_value` has two sides (mid-p),
`score` is the normal deviate that has it, with the sign of the departure.

With `exposure` the expectation is a share of it: what is counted out of something that is known for each day. The level
then is a level of the share.

Assumes that days are independent given their expectation and that the dispersion is the same all over a series.
Not judged: days without a value, the first `trend_days` days of a series (nothing before says what they should be),
series with fewer than `fewest_days` values, and series with an expected value below `fewest_per_day` on half of the
days, where medians of small counts say little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import gamma, nbinom, norm, t

from include.measures.running_median import median_of, running_median
from include.measures.seasonal_esd import MAD_TO_DEVIATION

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

ORDINARY = -1  # the event group of a day without an event
EVENT_DAYS = 5
DAYS_PER_WEEK, WEEKS_PER_YEAR = 7, 52
YEAR_OF_WEEKS = DAYS_PER_WEEK * WEEKS_PER_YEAR
SLOPE_DAYS = 91
MONTHS_NEEDED = 6
MONTH_LEVEL = 0.01
MONTH_DAYS = 32  # 31 and the last one
ORDINARY_DEVIATIONS = 2.5
# The variance of a standard normal that is cut off there.
CUT_VARIANCE = float(
    1 - 2 * ORDINARY_DEVIATIONS * norm.pdf(ORDINARY_DEVIATIONS) / (2 * norm.cdf(ORDINARY_DEVIATIONS) - 1)
)
# The share of the variance that is left in the residuals: measured on normal noise, 728 days, windows of 15 to 31 days.
LEFT_OVER, LEFT_OVER_BY_LEVEL = 0.96, 1.2
SMALLEST_EXCESS = 1e-3  # of the dispersion over that of a Poisson process: with it one formula serves both
MOST_FREEDOM = 10
FREEDOM = np.arange(3, MOST_FREEDOM + 1)
# How much further out the outermost hundredth is than the outer quarter, falling with the degrees of freedom.
OUTERMOST = t.isf(0.005, FREEDOM) / t.isf(0.125, FREEDOM)
LARGEST_SCORE = 38.0  # beyond it a p-value is below the smallest number


@dataclass(frozen=True)
class Expectation:
    """Arrays of series x days; missing where there is no expectation. `is_judged` says where `p_value` means something.

    `is_short` and `is_sparse`, one per series, say why a series was not judged.
    """

    expected: Floats
    low: Floats
    high: Floats
    score: Floats
    p_value: Floats
    is_judged: Booleans
    dispersion: Floats
    is_short: Booleans
    is_sparse: Booleans


def daily_expectation(
    values: Any,
    days: Any,
    *,
    is_count: Any,
    events: Any = None,
    exposure: Any = 1.0,
    trend_days: int = 21,
    fewest_days: int = 56,
    fewest_per_day: float = 5.0,
    confidence_level: float = 0.95,
) -> Expectation:
    """`values` are series x days, every day of the calendar (NaN: unknown), `days` their numbers from 1970-01-01.

    `is_count` says of each series whether it counts something; `events` is the group of each day (ORDINARY: none), for
    all series or per series.
    """
    actual = np.atleast_2d(np.asarray(values, dtype="float64"))
    day = np.asarray(days, dtype="int64")
    counts = np.broadcast_to(np.asarray(is_count, dtype=bool), len(actual))
    groups = np.full(actual.shape, ORDINARY) if events is None else np.broadcast_to(np.asarray(events), actual.shape)
    model = _Model(
        actual, day, groups, trend_days, np.broadcast_to(np.asarray(exposure, dtype="float64"), actual.shape)
    )
    expected = model.expected()
    usable = expected > 0
    expected = np.where(usable, expected, np.nan)
    dispersion, low, high, below, above = (np.full(shape, np.nan) for shape in (len(actual), *[actual.shape] * 4))
    tail = (1 - confidence_level) / 2
    left_over = LEFT_OVER * (1 - LEFT_OVER_BY_LEVEL / trend_days)
    for row, mean in enumerate(expected):
        if np.isfinite(mean).any():
            judge = _judged_count if counts[row] else _judged_amount
            dispersion[row], below[row], above[row], low[row], high[row] = judge(actual[row], mean, left_over, tail)
    smaller = np.fmin(below, above)
    p_value = np.minimum(2 * smaller, 1.0)
    score = np.where(below < above, -1, 1) * np.clip(norm.isf(smaller), 0, LARGEST_SCORE)
    known = np.isfinite(actual)
    is_short = known.sum(axis=1) < fewest_days
    is_low = ~(np.nan_to_num(median_of(np.where(known, expected, np.nan))) >= fewest_per_day)
    is_sparse = ~is_short & np.where(counts, is_low, np.isnan(dispersion))
    has_past = np.cumsum(known, axis=1) > trend_days
    unknown_event = (groups != ORDINARY) & ~model.event_known
    is_judged = known & usable & has_past & ~unknown_event & ~(is_short | is_sparse)[:, None] & np.isfinite(p_value)
    hidden = ~is_judged
    told = is_short[:, None] | ~usable
    return Expectation(
        expected=np.where(told, np.nan, expected),
        low=np.where(told | unknown_event, np.nan, low),
        high=np.where(told | unknown_event, np.nan, high),
        score=np.where(hidden, np.nan, score),
        p_value=np.where(hidden, np.nan, p_value),
        is_judged=is_judged,
        dispersion=dispersion,
        is_short=is_short,
        is_sparse=is_sparse,
    )


class _Model:
    """The factors of the expectation, each found with the others held."""

    def __init__(
        self, actual: Floats, day: Integers, groups: npt.NDArray[Any], trend_days: int, exposure: Floats
    ) -> None:
        self.actual, self.day, self.groups, self.exposure = actual, day, groups, exposure
        self.window = trend_days
        ones = np.ones(actual.shape)
        self.level, self.weekday, self.month_day, self.event, self.yearly = ones, ones, ones, ones, ones
        self.event_known = groups == ORDINARY

    def expected(self) -> Floats:
        hidden = self.groups != ORDINARY
        self._fit_level(hidden)
        for _ in range(2):
            self._fit_weekday(hidden)
            self._fit_level(hidden)
        self._fit_events()
        hidden = ~self.event_known
        self._fit_weekday(hidden)
        self._fit_level(hidden)
        self._fit_month_days(hidden)
        self._fit_yearly(hidden)
        self._fit_level(hidden)
        self._fit_weekday(hidden)
        found: Floats = self._product() * self._calibration(hidden)
        return found

    def _product(self, without: str = "") -> Floats:
        found: Floats = self.exposure
        for name in ("level", "weekday", "month_day", "event", "yearly"):
            if name != without:
                found = found * getattr(self, name)
        return found

    def _ratio(self, without: str, hidden: Booleans) -> Floats:
        """The values over the rest of the expectation; missing on hidden days."""
        rest = self._product(without)
        usable = (rest > 0) & ~hidden
        found: Floats = np.divide(self.actual, rest, out=np.full(rest.shape, np.nan), where=usable)
        return found

    def _scores(self, hidden: Booleans) -> Floats:
        """Residuals in units of their own spread, roughly."""
        expected = self._product()
        usable = (expected > 0) & ~hidden
        root = np.sqrt(np.where(usable, expected, 1))
        residual = np.where(usable, (self.actual - expected) / root, np.nan)
        spread = MAD_TO_DEVIATION * median_of(np.abs(residual))[:, None]
        found: Floats = np.divide(residual, spread, out=np.full(residual.shape, np.nan), where=spread > 0)
        return found

    def _fit_level(self, hidden: Booleans) -> None:
        rest = self._product("level")
        adjusted = np.divide(self.actual, rest, out=np.full(rest.shape, np.nan), where=(rest > 0) & ~hidden)
        half = self.window // 2
        level = running_median(adjusted, self.window, fewest=max(2, half // 2))
        length = level.shape[1]
        place = np.arange(length)
        for row in level:
            known = np.isfinite(row)
            if known.any():
                row[:] = np.interp(place, place[known], row[known])
        if length > 2 * self.window:
            level = self._with_slope(level, half)
        self.level = np.maximum(level, 0)

    def _with_slope(self, level: Floats, half: int) -> Floats:
        """With the ends, whose windows lie to one side, carried on by the typical slope."""
        step = self.window
        slopes = (level[:, step:] - level[:, :-step]) / step
        inner = slopes[:, half : slopes.shape[1] - half]
        if inner.shape[1] == 0:
            return level
        # A window cut off by k days has its middle k / 2 days further in.
        missing = (half - np.arange(half)) / 2
        carried = level.copy()
        carried[:, :half] -= median_of(inner[:, :SLOPE_DAYS])[:, None] * missing
        carried[:, -half:] += median_of(inner[:, -SLOPE_DAYS:])[:, None] * missing[::-1]
        return carried

    def _fit_weekday(self, hidden: Booleans) -> None:
        ratio = self._ratio("weekday", hidden)
        series, length = ratio.shape
        weeks = -(-length // DAYS_PER_WEEK)
        padded = np.full((series, weeks * DAYS_PER_WEEK), np.nan)
        padded[:, :length] = ratio
        by_phase = padded.reshape(series, weeks, DAYS_PER_WEEK).transpose(0, 2, 1)
        if weeks <= WEEKS_PER_YEAR + 1:
            factor = np.broadcast_to(median_of(by_phase)[..., None], by_phase.shape)
        else:
            factor = running_median(by_phase, WEEKS_PER_YEAR + 1)
        factor = np.nan_to_num(factor, nan=1.0)
        mean = factor.mean(axis=1, keepdims=True)
        factor = np.divide(factor, mean, out=np.ones(factor.shape), where=mean > 0)
        self.weekday = factor.transpose(0, 2, 1).reshape(series, -1)[:, :length]

    def _fit_events(self) -> None:
        ratio = self._ratio("event", np.zeros(self.actual.shape, dtype=bool))
        event = np.ones(self.actual.shape)
        known = self.groups == ORDINARY
        for group in np.unique(self.groups[self.groups != ORDINARY]):
            mine = self.groups == group
            values = np.where(mine, ratio, np.nan)
            enough = np.isfinite(values).sum(axis=1) >= EVENT_DAYS
            factor = np.where(enough, median_of(values, fewest=EVENT_DAYS), 1.0)
            known |= mine & enough[:, None] & (factor > 0)[:, None]
            event = np.where(mine & (factor > 0)[:, None], factor[:, None], event)
        self.event, self.event_known = event, known

    def _fit_month_days(self, hidden: Booleans) -> None:
        if self.actual.shape[1] < MONTHS_NEEDED * 28:
            return
        score, ratio = self._scores(hidden), self._ratio("month_day", hidden)
        dates = self.day.astype("datetime64[D]")
        month_day = (dates - dates.astype("datetime64[M]")).astype("int64") + 1
        following = (dates + np.timedelta64(1, "D")).astype("datetime64[M]")
        month_day[following > dates.astype("datetime64[M]")] = MONTH_DAYS
        factor = np.ones(self.actual.shape)
        limit = float(norm.isf(MONTH_LEVEL / MONTH_DAYS / 2)) * np.sqrt(np.pi / 2)
        for number in range(1, MONTH_DAYS + 1):
            mine = month_day == number
            own = score[:, mine]
            months = np.isfinite(own).sum(axis=1)
            shows = (months >= MONTHS_NEEDED) & (np.abs(median_of(own)) * np.sqrt(np.maximum(months, 1)) > limit)
            factor[:, mine] = np.where(shows, median_of(ratio[:, mine]), 1.0)[:, None]
        self.month_day = np.where(factor > 0, factor, 1.0)

    def _fit_yearly(self, hidden: Booleans) -> None:
        length = len(self.day)
        if length < 2 * YEAR_OF_WEEKS:
            return
        score, ratio = self._scores(hidden), self._ratio("yearly", hidden)
        dates = self.day.astype("datetime64[D]")
        months = dates.astype("datetime64[M]")
        by_date = months.astype("int64") % 12 * 32 + (dates - months).astype("int64")
        by_week = np.arange(length) % YEAR_OF_WEEKS
        factor = np.ones(self.actual.shape)
        is_odd: Booleans = np.any(np.abs(score) > ORDINARY_DEVIATIONS, axis=0)
        for key in (by_date, by_week):
            for own in _years(key, is_odd):
                values, ratios = score[:, own], ratio[:, own]
                above: Booleans = np.all(values > ORDINARY_DEVIATIONS, axis=1)
                below: Booleans = np.all(values < -ORDINARY_DEVIATIONS, axis=1)
                smallest = np.where(above, ratios.min(axis=1), np.where(below, ratios.max(axis=1), 1.0))
                factor[:, own] = np.where((above | below)[:, None], smallest[:, None], factor[:, own])
        self.yearly = np.where(factor > 0, factor, 1.0)

    def _calibration(self, hidden: Booleans) -> Floats:
        """Ordinary days' sum over their expected sum: the median of a skewed quantity is not its mean."""
        ordinary = np.abs(self._scores(hidden)) <= ORDINARY_DEVIATIONS
        expected = np.where(ordinary, self._product(), 0).sum(axis=1)
        found = np.where(ordinary, self.actual, 0).sum(axis=1)
        share: Floats = np.divide(found, expected, out=np.ones(len(found)), where=expected > 0)[:, None]
        return share


def _years(key: Integers, is_odd: Booleans) -> list[Integers]:
    """The places of each value of `key` that occurs more than once, and is odd each time."""
    number, odd = np.bincount(key), np.bincount(key, weights=is_odd)
    return [np.flatnonzero(key == one) for one in np.flatnonzero((number > 1) & (odd == number))]


def _spread(residual: Floats, left_over: float) -> float:
    """The standard deviation of the days within 2.5 deviations, corrected for the cut and for what the fit absorbs."""
    known = residual[np.isfinite(residual)]
    rough = MAD_TO_DEVIATION * float(median_of(np.abs(known)))
    ordinary = known[np.abs(known) <= ORDINARY_DEVIATIONS * rough]
    return float(np.sqrt(np.mean(ordinary**2) / CUT_VARIANCE / left_over)) if len(ordinary) else float("nan")


def _judged_count(
    actual: Floats, mean: Floats, left_over: float, tail: float
) -> tuple[float, Floats, Floats, Floats, Floats]:
    """Dispersion; the probabilities of fewer and of more (half of that of as many is in each); the interval."""
    residual = 2 * (np.sqrt(actual + 3 / 8) - np.sqrt(mean + 3 / 8))
    dispersion = max(_spread(residual - float(median_of(residual)), left_over) ** 2, 1 + SMALLEST_EXCESS)
    size, chance = mean / (dispersion - 1), 1 / dispersion
    half = nbinom.pmf(actual, size, chance) / 2
    below = nbinom.cdf(actual - 1, size, chance) + half
    above = nbinom.sf(actual, size, chance) + half
    shape = mean / dispersion
    return dispersion, below, above, gamma.ppf(tail, shape, scale=dispersion), gamma.isf(tail, shape, scale=dispersion)


def _judged_amount(
    actual: Floats, mean: Floats, left_over: float, tail: float
) -> tuple[float, Floats, Floats, Floats, Floats]:
    """The same of a quantity that is no count."""
    is_signed = bool((actual < 0).any())
    root = np.sqrt(mean)
    residual = (actual - mean) / root if is_signed else 2 * (np.sqrt(np.maximum(actual, 0)) - root)
    centre = float(median_of(residual))
    spread = _spread(residual - centre, left_over)
    if not spread > 0:
        nothing = np.full(mean.shape, np.nan)
        return float("nan"), nothing, nothing, nothing, nothing
    deviate = (residual - centre) / spread
    outer, outermost = np.nanquantile(np.abs(deviate), [0.75, 0.99])
    # np.interp wants rising numbers.
    freedom = float(np.interp(outermost / outer if outer > 0 else np.inf, OUTERMOST[::-1], FREEDOM[::-1]))
    ends = [centre + sign * spread * float(t.isf(tail, freedom)) for sign in (-1, 1)]
    low, high = (mean + end * root if is_signed else np.maximum(root + end / 2, 0) ** 2 for end in ends)
    return spread**2, t.cdf(deviate, freedom), t.sf(deviate, freedom), low, high
