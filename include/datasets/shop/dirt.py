"""Rows that are wrong on purpose, in known numbers, beside the good ones: no good row is touched.

Each is a copy of a good row with some values changed. The kinds take turns, so that each occurs as often as every
other (and one once more), whatever the size of the shop.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv

from include.datasets.shop.tables import CLIENT_DIGITS, VISIT_DIGITS

Spoilt = Literal["values", "too_short", "no_text"]
PLAIN = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
BEFORE_ALL = "2024-01-01 00:00:00"  # before the calendar, and no placeholder
FUTURE = "2099-12-31 12:00:00"


@dataclass(frozen=True)
class Dirt:
    """One way to be wrong: the rules it breaks, and the values that do it.

    A row gets an id of its own unless it is `of_a_good_row`. `too_short` leaves out the last value, `no_text` puts a
    byte into the last value that is no UTF-8.
    """

    rules: tuple[str, ...]
    changes: Mapping[str, str] = field(default_factory=dict)
    spoilt: Spoilt = "values"
    of_a_good_row: bool = False


NO_ORDER = {"bought": "false", "total": "", "discount": "", "promotion": ""}
ORDER = {"bought": "true", "total": "25.00", "discount": "0.00"}

SESSIONS = (
    Dirt(("duplicate_id",), {**NO_ORDER, "updated_at": BEFORE_ALL}, of_a_good_row=True),  # an older version
    Dirt(("client_unknown",), {**NO_ORDER, "customer_no": "nobody"}),
    Dirt(("id_missing",), {**NO_ORDER, "session_id": ""}),
    Dirt(("client_missing",), {**NO_ORDER, "customer_no": ""}),
    Dirt(("payment_amount_negative",), {**ORDER, "total": "-12.50"}),
    Dirt(("purchase_without_amount",), {**ORDER, "total": ""}),
    Dirt(("payment_amount_not_a_number",), {**ORDER, "total": "free"}),
    Dirt(("discount_amount_negative",), {**ORDER, "discount": "-1.00"}),
    Dirt(("session_start_date_missing",), {**NO_ORDER, "started_at": ""}),
    Dirt(("session_start_date_not_a_date",), {**NO_ORDER, "started_at": "yesterday"}),
    Dirt(("session_start_date_in_future",), {**NO_ORDER, "started_at": FUTURE, "ended_at": ""}),
    Dirt(("end_date_before_session_start_date",), {**NO_ORDER, "ended_at": BEFORE_ALL}),
    Dirt(("has_purchased_missing",), {**NO_ORDER, "bought": ""}),
    Dirt(("has_purchased_not_a_boolean",), {**NO_ORDER, "bought": "perhaps"}),
    Dirt(("action_viewed_product_not_a_boolean",), {**NO_ORDER, "viewed_product": "seen"}),
    Dirt(("wrong_number_of_columns",), NO_ORDER, spoilt="too_short"),
    Dirt(("not_valid_text",), NO_ORDER, spoilt="no_text"),
    Dirt(
        ("end_date_before_session_start_date", "payment_amount_negative"),
        {**ORDER, "total": "-0.01", "ended_at": BEFORE_ALL},
    ),
)
CUSTOMERS = (
    Dirt(("duplicate_client",), {"downloaded_at": BEFORE_ALL}, of_a_good_row=True),
    Dirt(("client_missing",), {"customer_no": ""}),
    Dirt(("download_date_missing",), {"downloaded_at": ""}),
    Dirt(("download_date_not_a_date",), {"downloaded_at": "2025-02-30 10:00:00"}),
    Dirt(("download_date_in_future",), {"downloaded_at": FUTURE}),
    Dirt(("signup_date_not_a_date",), {"signed_up_at": "never"}),
    Dirt(("action_email_confirmed_not_a_date",), {"email_confirmed_at": "no"}),
    Dirt(("wrong_number_of_columns",), spoilt="too_short"),
)
PRODUCTS = (
    Dirt(("order_id_missing",), {"session_id": ""}),
    Dirt(("product_missing",), {"product": ""}),
    Dirt(("price_missing",), {"price": ""}),
    Dirt(("price_not_a_number",), {"price": "on request"}),
    Dirt(("price_negative",), {"price": "-3.00"}),
    Dirt(("quantity_not_a_number",), {"quantity": "a few"}),
    Dirt(("quantity_not_positive",), {"quantity": "0"}),
    Dirt(("wrong_number_of_columns",), spoilt="too_short"),
    Dirt(("price_negative", "product_missing"), {"product": "", "price": "-0.01"}),
)
DELIVERIES = (
    Dirt(
        ("duplicate_order_id",),
        {"prepared_at": "", "delivered_at": BEFORE_ALL, "returned_at": ""},
        of_a_good_row=True,
    ),
    Dirt(("order_id_missing",), {"session_id": ""}),
    Dirt(("delivery_date_missing",), {"delivered_at": ""}),
    Dirt(("delivery_date_not_a_date",), {"delivered_at": "soon"}),
    Dirt(("delivery_date_in_future",), {"delivered_at": FUTURE, "returned_at": ""}),
    Dirt(("delivery_date_before_prepare_date",), {"delivered_at": BEFORE_ALL, "returned_at": ""}),
    Dirt(("return_date_before_delivery_date",), {"returned_at": BEFORE_ALL}),
    Dirt(("latitude_out_of_range",), {"latitude": "91.5"}),
    Dirt(("longitude_not_a_number",), {"longitude": "east"}),
    Dirt(("wrong_number_of_columns",), spoilt="too_short"),
)
KINDS: dict[str, tuple[Dirt, ...]] = {
    "sessions": SESSIONS,
    "customers": CUSTOMERS,
    "products": PRODUCTS,
    "deliveries": DELIVERIES,
}
OWN_ID = {"sessions": "session_id", "customers": "customer_no"}  # a dirty row of these must not meet a good one


class Dirtying:
    """Makes the dirty rows of one source, block by block; `written` counts them by their place in its KINDS."""

    def __init__(self, source: str, share: float) -> None:
        self.source, self.share = source, share
        self.kinds = KINDS[source]
        self.rows = 0
        self.written = [0] * len(self.kinds)

    @property
    def by_rule(self) -> dict[str, int]:
        """How many rows break each rule. A row may break two."""
        found: dict[str, int] = {}
        for kind, count in zip(self.kinds, self.written, strict=True):
            for rule in kind.rules if count else ():
                found[rule] = found.get(rule, 0) + count
        return dict(sorted(found.items()))

    @property
    def quarantined(self) -> int:
        return sum(self.written)

    def rows_for(self, good: pa.Table, random: np.random.Generator) -> list[tuple[int, bytes]]:
        """The dirty lines that are due with these good rows, each with the place of the good row it resembles."""
        self.rows += good.num_rows
        due = min(int(self.rows * self.share) - self.quarantined, good.num_rows)
        if due <= 0:
            return []
        places = np.sort(random.choice(good.num_rows, due, replace=False))
        text = io.BytesIO()
        pyarrow.csv.write_csv(good.take(pa.array(places)), text, PLAIN)
        lines = text.getvalue().decode().splitlines()
        return [(int(place), self._spoil(line, good.column_names)) for place, line in zip(places, lines, strict=True)]

    def _spoil(self, line: str, names: list[str]) -> bytes:
        number = self.quarantined
        which = number % len(self.kinds)
        kind = self.kinds[which]
        self.written[which] += 1
        values = dict(zip(names, line.split(","), strict=True))
        if self.source in OWN_ID and not kind.of_a_good_row:
            values[OWN_ID[self.source]] = f"x{number:0{CLIENT_DIGITS + VISIT_DIGITS}d}"
        kept = [*{**values, **kind.changes}.values()]
        if kind.spoilt == "too_short":
            kept.pop()
        if kind.spoilt == "no_text":
            kept[-1] += "\udcff"
        return (",".join(kept) + "\n").encode(errors="surrogateescape")
