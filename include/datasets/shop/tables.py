"""A block as the rows of the four files: Arrow tables with the shop's own column names."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa

from include.datasets.shop.baskets import Lines
from include.datasets.shop.block import Block
from include.datasets.shop.customers import NEVER
from include.datasets.shop.deliveries import NOT_RETURNED
from include.datasets.shop.parameters import BOXES_CATEGORY, LOOSE_GOODS, Shop
from include.datasets.shop.rhythm import DAY_SECONDS, Booleans, Floats, Integers, Rhythm

CLIENT_DIGITS, VISIT_DIGITS = 9, 4
VISITS = 10**VISIT_DIGITS

SESSION_COLUMNS = (
    *("session_id", "customer_no", "started_at", "ended_at", "bought", "total", "discount", "promotion"),
    *("region", "device", "channel"),
)  # the actions and updated_at follow
CUSTOMER_COLUMNS = ("customer_no", "downloaded_at", "signed_up_at", "email_confirmed_at")
LINE_COLUMNS = ("session_id", "product", "category", "price", "quantity")
DELIVERY_COLUMNS = ("session_id", "prepared_at", "delivered_at", "returned_at", "latitude", "longitude")


def session_columns(shop: Shop) -> tuple[str, ...]:
    return (*SESSION_COLUMNS, *shop.steps, "updated_at")


def months(shop: Shop) -> list[date]:
    """The first days of the months that the calendar touches."""
    found = [shop.first_day.replace(day=1)]
    while (following := (found[-1] + timedelta(days=32)).replace(day=1)) <= shop.last_day:
        found.append(following)
    return found


def session_months(shop: Shop, block: Block) -> Integers:
    """The place in `months` of each session."""
    starts = np.array([(one - shop.first_day).days for one in months(shop)]) * DAY_SECONDS
    return np.searchsorted(starts, block.sessions.start, side="right") - 1


def sessions_table(shop: Shop, block: Block) -> pa.Table:
    found, who = block.sessions, block.customers
    channels = [one.name for one in shop.channels]
    named = [name is not None for name in channels]
    channel = who.channel[found.customer]
    columns = [
        session_ids(block),
        client_ids(block.first_customer + found.customer),
        instants(shop, found.start),
        instants(shop, block.end),
        pa.array(found.bought),
        money(found.cents - found.discount_cents, found.bought),
        money(found.discount_cents, found.bought),
        chosen([one.name for one in shop.promotions], found.promotion, found.promotion >= 0),
        chosen([one.name for one in shop.regions], who.region[found.customer]),
        chosen([one.name for one in shop.devices], block.device),
        chosen([name or "" for name in channels], channel, np.array(named)[channel]),
        *(pa.array(found.steps > number) for number in range(len(shop.steps))),
        instants(shop, block.updated),
    ]
    return pa.table(columns, names=list(session_columns(shop)))


def customers_table(shop: Shop, rhythm: Rhythm, block: Block) -> pa.Table:
    who = block.customers

    def when(weeks: Floats) -> pa.Array:
        happened = weeks < NEVER
        return instants(shop, rhythm.instants(np.where(happened, weeks, 0)), happened)

    clients = client_ids(block.first_customer + np.arange(len(who)))
    return pa.table([clients, *map(when, (who.download, who.signup, who.confirmed))], names=list(CUSTOMER_COLUMNS))


def lines_table(shop: Shop, block: Block, identifiers: pa.Array) -> pa.Table:
    lines: Lines = block.lines
    products = product_names(shop)
    columns = [
        identifiers.take(pa.array(block.orders[lines.order])),
        chosen(list(products), lines.product),
        chosen(list(products.values()), lines.product),
        money(lines.cents),
        pa.array(lines.quantity),
    ]
    return pa.table(columns, names=list(LINE_COLUMNS))


def deliveries_table(shop: Shop, block: Block, identifiers: pa.Array) -> pa.Table:
    found = block.deliveries
    columns = [
        identifiers.take(pa.array(block.orders[found.order])),
        instants(shop, found.prepared),
        instants(shop, found.delivered),
        instants(shop, found.returned, found.returned != NOT_RETURNED),
        pa.array(found.latitude),
        pa.array(found.longitude),
    ]
    return pa.table(columns, names=list(DELIVERY_COLUMNS))


def product_names(shop: Shop) -> dict[str, str]:
    """Product to category, in the order of the codes in Lines."""
    return {
        **{one.name: one.category for one in shop.products},
        **{one.name: BOXES_CATEGORY for one in shop.boxes},
        LOOSE_GOODS[0]: LOOSE_GOODS[1],
    }


def session_ids(block: Block) -> pa.Array:
    """The customer's number and which of the customer's visits it is."""
    numbers = (block.first_customer + block.sessions.customer) * VISITS + block.sessions.visit
    return numbered("s", numbers, CLIENT_DIGITS + VISIT_DIGITS)


def client_ids(numbers: Integers) -> pa.Array:
    return numbered("c", numbers, CLIENT_DIGITS)


def numbered(letter: str, numbers: Integers, digits: int) -> pa.Array:
    """Texts of a letter and a number of so many digits: made digit by digit, far faster than formatting each."""
    width = digits + 1
    characters = np.empty((len(numbers), width), np.uint8)
    characters[:, 0] = ord(letter)
    left = numbers
    for place in range(digits, 0, -1):
        left, digit = np.divmod(left, 10)
        characters[:, place] = digit + ord("0")
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * width
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(characters))


def money(cents: Integers, there: Booleans | None = None) -> pa.Array:
    """Amounts with two decimals, empty where not `there`."""
    whole = pa.array(cents, mask=None if there is None else ~there)
    return pa.Array.from_buffers(pa.decimal64(18, 2), len(whole), whole.buffers())


def instants(shop: Shop, seconds: Integers, there: Booleans | None = None) -> pa.Array:
    begin = int(datetime.combine(shop.first_day, time(), UTC).timestamp())
    return pa.array(begin + seconds, mask=None if there is None else ~there).cast(pa.timestamp("s"))


def chosen(names: list[str], places: Integers, there: Booleans | None = None) -> pa.Array:
    """The names at these places, empty where not `there`."""
    mask = None if there is None else ~there
    codes = pa.array(np.maximum(places, 0).astype(np.int8), mask=mask)
    return pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string()))
