"""What is planted in the shop: every number that an analysis should find again.

Money is in cents here, time in weeks unless a name says otherwise. The calendar is fixed and holds whole weeks, from
Monday to Sunday, so that the weekly rhythm is the same at its beginning and its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta


@dataclass(frozen=True)
class Channel:
    """How customers came; `first_order_share` of those who sign up buy some day. Without a name: not recorded."""

    name: str | None
    share: float
    first_order_share: float


@dataclass(frozen=True)
class City:
    name: str
    latitude: float
    longitude: float


@dataclass(frozen=True)
class Region:
    """Where customers live. The gamma-gamma amounts of its orders are multiplied by `order_value_factor`."""

    name: str
    share: float
    order_value_factor: float
    cities: tuple[City, ...]


@dataclass(frozen=True)
class Device:
    """Drawn for each session by itself. Two devices' odds of an order differ by the ratio of orders to browsing."""

    name: str
    share_of_orders: float
    share_of_browsing: float


@dataclass(frozen=True)
class RepeatOrders:
    """BG/NBD [1]_: from the first order on, orders at rate lambda ~ Gamma(r, alpha); after each the customer leaves
    with probability p ~ Beta(a, b). Per week.

    .. [1] Fader, Hardie & Lee (2005), Marketing Science 24(2), 275-284.
    """

    r: float = 0.7
    alpha: float = 6.0
    a: float = 0.9
    b: float = 3.2


@dataclass(frozen=True)
class OrderValue:
    """Gamma-gamma [1]_: an order's amount ~ Gamma(p, nu), nu ~ Gamma(q, gamma), in units of currency, before discount
    and before the region's factor. The mean is p gamma / (q - 1).

    .. [1] Fader & Hardie (2013), The gamma-gamma model of monetary value.
    """

    p: float = 6.0
    q: float = 4.0
    gamma: float = 22.0
    smallest_cents: int = 200  # smaller ones are raised to this: about one in a hundred thousand


@dataclass(frozen=True)
class Browsing:
    """Sessions without an order: one at the download, and Poisson(mean_sessions x Gamma(1, 1)) more, each after an
    exponential delay; those beyond the calendar, and some out of season, do not happen.

    `steps` are the actions of the funnel with the share of sessions that do each, of those that did the one before.
    """

    mean_sessions: float = 14.0
    mean_delay_weeks: float = 20.0
    median_minutes: float = 6.0
    steps: tuple[tuple[str, float], ...] = (
        ("viewed_product", 0.62),
        ("added_to_basket", 0.34),
        ("began_checkout", 0.42),
    )


@dataclass(frozen=True)
class Product:
    """A small thing that is in a basket with probability `share`, whatever else is."""

    name: str
    category: str
    cents: int
    share: float


@dataclass(frozen=True)
class Pair:
    """Two products that are together `lift` times as often as their shares say. No product is in two pairs."""

    first: str
    second: str
    lift: float


@dataclass(frozen=True)
class Box:
    """The main thing of an order: each has exactly one, in the largest size that its amount allows."""

    name: str
    share: float
    size_factor: float


@dataclass(frozen=True)
class Promotion:
    """Whole weeks from a Monday. Of the orders that happen anyway `share_using` carry the code and `discount_share`
    off; each of all orders has with probability `uplift` an extra one by the same customer, with the code, later in
    the window.
    """

    name: str
    first_day: date
    weeks: int
    discount_share: float
    share_using: float
    uplift: float

    @property
    def last_day(self) -> date:
        return self.first_day + timedelta(weeks=self.weeks, days=-1)


@dataclass(frozen=True)
class Delivery:
    """Hours from order to prepared and from prepared to delivered are gamma with these means and shapes."""

    prepare_mean_hours: float = 3.0
    ride_mean_hours: float = 2.0
    shape: float = 4.0
    returned_share: float = 0.04
    return_mean_hours: float = 60.0
    scatter_degrees: float = 0.04  # standard deviation around the city


@dataclass(frozen=True)
class Delay:
    """Orders of a region on these weekdays (Monday is 0), from one hour to before another, ride `hours` longer."""

    region: str = "South"
    weekdays: tuple[int, ...] = (4, 5)
    from_hour: int = 17
    to_hour: int = 21
    hours: float = 5.0


@dataclass(frozen=True)
class Anomaly:
    """A day on which something went wrong.

    tracking_loss    `size` of the sessions without an order were not recorded
    checkout_failure `size` of the orders did not go through: they end at the last step of the funnel
    traffic_spike    there are `size` times as many sessions without an order
    """

    kind: str
    day: date
    size: float


CITIES = {
    "North": (City("Hamburg", 53.55, 9.99), City("Bremen", 53.08, 8.80)),
    "East": (City("Berlin", 52.52, 13.40), City("Leipzig", 51.34, 12.37)),
    "South": (City("Munich", 48.14, 11.58), City("Stuttgart", 48.78, 9.18)),
    "West": (City("Cologne", 50.94, 6.96), City("Dortmund", 51.51, 7.47)),
}
BOX_SIZES_CENTS = (390, 590, 890, 1290, 1890, 2690, 3890, 5490, 7890, 11900, 17900, 26900, 39900)
LOOSE_GOODS = ("Loose goods by weight", "Counter")  # what the amount leaves over
BOXES_CATEGORY = "Boxes"


@dataclass(frozen=True)
class Shop:
    """All of it. `first_day` is a Monday."""

    first_day: date = date(2024, 7, 1)
    weeks: int = 104
    weekday_weights: tuple[float, ...] = (0.92, 0.88, 0.90, 0.96, 1.08, 1.20, 1.06)  # from Monday
    hour_weights: tuple[float, ...] = (
        *(0.30, 0.18, 0.12, 0.10, 0.12, 0.25, 0.50, 0.80, 0.95, 1.05, 1.10, 1.15),
        *(1.25, 1.20, 1.05, 1.05, 1.15, 1.35, 1.65, 1.95, 2.05, 1.85, 1.30, 0.70),
    )
    growth_per_year: float = 0.35  # of downloads
    season_amplitude: float = 0.25  # of downloads and browsing: 1 + amplitude x cos(day of year - peak)
    season_peak_day: int = 340
    channels: tuple[Channel, ...] = (
        Channel("organic", 0.40, 0.50),
        Channel("search", 0.28, 0.42),
        Channel("social", 0.20, 0.25),
        Channel("partner", 0.10, 0.60),
        Channel(None, 0.02, 0.40),
    )
    regions: tuple[Region, ...] = (
        Region("North", 0.30, 1.0, CITIES["North"]),
        Region("East", 0.20, 0.8, CITIES["East"]),
        Region("South", 0.30, 1.1, CITIES["South"]),
        Region("West", 0.20, 1.3, CITIES["West"]),
    )
    devices: tuple[Device, ...] = (
        Device("phone", 0.48, 0.64),
        Device("desktop", 0.43, 0.27),
        Device("tablet", 0.09, 0.09),
    )
    signup_share: float = 0.80
    signup_delay_weeks: float = 0.15
    confirmed_share: float = 0.70  # of those who sign up, their e-mail address
    confirmed_delay_weeks: float = 0.1
    first_order_delay_weeks: float = 2.0
    repeat: RepeatOrders = field(default_factory=RepeatOrders)
    value: OrderValue = field(default_factory=OrderValue)
    browsing: Browsing = field(default_factory=Browsing)
    boxes: tuple[Box, ...] = (
        Box("Fruit box", 0.22, 1.0),
        Box("Vegetable box", 0.20, 0.9),
        Box("Breakfast box", 0.16, 1.1),
        Box("Cheese box", 0.12, 1.3),
        Box("Vegan box", 0.12, 1.0),
        Box("Family box", 0.10, 1.2),
        Box("Wine box", 0.08, 1.5),
    )
    products: tuple[Product, ...] = (
        Product("Whole milk", "Dairy", 129, 0.12),
        Product("Oat drink", "Dairy", 199, 0.06),
        Product("Butter", "Dairy", 249, 0.08),
        Product("Yoghurt", "Dairy", 89, 0.07),
        Product("Rye bread", "Bakery", 349, 0.08),
        Product("Croissant", "Bakery", 119, 0.06),
        Product("Jam", "Bakery", 279, 0.05),
        Product("Honey", "Bakery", 399, 0.04),
        Product("Ground coffee", "Drinks", 499, 0.07),
        Product("Green tea", "Drinks", 299, 0.04),
        Product("Orange juice", "Drinks", 229, 0.07),
        Product("Mineral water", "Drinks", 79, 0.10),
        Product("Lemonade", "Drinks", 149, 0.05),
        Product("Dark chocolate", "Sweets", 189, 0.08),
        Product("Wine gums", "Sweets", 139, 0.04),
        Product("Ice cream", "Sweets", 329, 0.05),
        Product("Pasta", "Pantry", 159, 0.08),
        Product("Tomato sauce", "Pantry", 219, 0.07),
        Product("Olive oil", "Pantry", 599, 0.04),
        Product("Rice", "Pantry", 179, 0.05),
        Product("Toothpaste", "Household", 169, 0.04),
        Product("Candles", "Household", 449, 0.03),
    )
    two_units_share: float = 0.2  # of a product's lines
    pairs: tuple[Pair, ...] = (
        Pair("Pasta", "Tomato sauce", 5.0),
        Pair("Croissant", "Jam", 4.0),
        Pair("Butter", "Rye bread", 2.5),
        Pair("Oat drink", "Whole milk", 0.3),
    )
    promotions: tuple[Promotion, ...] = (
        Promotion("AUTUMN10", date(2024, 10, 7), 2, 0.10, 0.35, 0.0),
        Promotion("SPRING15", date(2025, 4, 7), 2, 0.15, 0.30, 0.40),
        Promotion("SUMMER5", date(2025, 7, 14), 3, 0.05, 0.45, 0.0),
        Promotion("BLACK20", date(2025, 11, 24), 1, 0.20, 0.50, 0.60),
        Promotion("EASTER12", date(2026, 3, 30), 2, 0.12, 0.30, 0.15),
    )
    delivery: Delivery = field(default_factory=Delivery)
    delay: Delay = field(default_factory=Delay)
    anomalies: tuple[Anomaly, ...] = (
        Anomaly("tracking_loss", date(2025, 9, 17), 0.85),
        Anomaly("traffic_spike", date(2026, 2, 11), 3.0),
        Anomaly("checkout_failure", date(2026, 5, 20), 0.80),
    )
    dirty_share: float = 0.01  # of the rows of each source, rounded down

    @property
    def last_day(self) -> date:
        return self.first_day + timedelta(weeks=self.weeks, days=-1)

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.browsing.steps)

    def week_of(self, day: date) -> float:
        """Weeks from the beginning of the calendar to the beginning of a day."""
        return (day - self.first_day).days / 7
