"""When things happen: growth and season over the years, weekday and hour within a week.

Everything is drawn on an even clock (weeks from the beginning, without weekday or hour). `instants` then bends each
week so that its busy hours get their due. The bending is monotone and meets the even clock where weeks meet: events
keep their order, and a Poisson process stays one, with the week's rhythm in its rate. No event moves further than
about half a day.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from include.datasets.shop.parameters import Shop

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
HOUR_SECONDS = 3600
DAY_SECONDS = 24 * HOUR_SECONDS
WEEK_SECONDS = 7 * DAY_SECONDS
DAYS_PER_YEAR = 365.25


class Rhythm:
    """The clock of a shop. Instants are seconds from the beginning of its first day."""

    def __init__(self, shop: Shop) -> None:
        cells = np.outer(shop.weekday_weights, shop.hour_weights).ravel()
        self._even = np.concatenate([[0.0], np.cumsum(cells) / cells.sum()])
        self._hours = np.arange(len(self._even)) * float(HOUR_SECONDS)
        self.days = shop.weeks * 7
        self.season = self._season(shop)
        growth = (1 + shop.growth_per_year) ** (np.arange(self.days) / DAYS_PER_YEAR)
        self._downloads = np.concatenate([[0.0], np.cumsum(growth * self.season)])
        self._downloads /= self._downloads[-1]

    def _season(self, shop: Shop) -> Floats:
        """The season's factor on each day."""
        days = [(shop.first_day + timedelta(days=number)).timetuple().tm_yday for number in range(self.days)]
        angle = 2 * np.pi * (np.array(days) - shop.season_peak_day) / DAYS_PER_YEAR
        found: Floats = 1 + shop.season_amplitude * np.cos(angle)
        return found

    def download_weeks(self, random: np.random.Generator, count: int) -> Floats:
        """Downloads on the even clock, with growth and season."""
        days = np.interp(random.random(count), self._downloads, np.arange(self.days + 1))
        return np.minimum(days, np.nextafter(self.days, 0)) / 7

    def in_season(self, random: np.random.Generator, weeks: Floats) -> Booleans:
        """Keeps all at the height of the season and fewer at other times."""
        factor = self.season[(weeks * 7).astype(np.int64)]
        kept: Booleans = random.random(len(weeks)) * self.season.max() < factor
        return kept

    def instants(self, weeks: Floats) -> Integers:
        """From the even clock to seconds on the shop's."""
        whole = np.floor(weeks)
        seconds = np.interp(weeks - whole, self._even, self._hours)
        found: Integers = whole.astype(np.int64) * WEEK_SECONDS + np.minimum(seconds, WEEK_SECONDS - 1).astype(np.int64)
        return found


def day_number(shop: Shop, day: date) -> int:
    return (day - shop.first_day).days
