"""The four kinds of source and their columns: the right-hand names of a user's mapping.

Light on purpose (standard library only): the DAG file reads it while Airflow parses.
"""

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["text", "instant", "money", "number", "boolean"]


@dataclass(frozen=True)
class Column:
    """One column of a source kind. `money` is exact to four decimals; an `instant` is stored in UTC."""

    name: str
    type: ColumnType
    required: bool
    description: str


@dataclass(frozen=True)
class SourceKind:
    """A kind of source: its columns, and `key`, the columns that tell its rows apart (none: every line is kept).

    `key_where_mapped` are columns that do so where a source has all of them.
    """

    name: str
    required: bool
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    has_dimensions: bool = False
    action_type: ColumnType | None = (
        None  # what an action column holds unless the user says otherwise; None: no actions
    )
    key_where_mapped: tuple[str, ...] = ()

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def required_columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.required)


SESSIONS = SourceKind(
    name="sessions",
    required=True,
    key=("id",),
    columns=(
        Column("id", "text", True, "identifies the session; the `_id` of its document in `orders`"),
        Column("client", "text", True, "who the session belongs to"),
        Column("session_start_date", "instant", True, "when the session began"),
        Column("has_purchased", "boolean", True, "whether the session ended in an order"),
        Column("payment_amount", "money", True, "what was paid; may be empty where nothing was bought"),
        Column("end_date", "instant", False, "when the session ended"),
        Column("discount_amount", "money", False, "what the customer was let off"),
        Column("promotion_id", "text", False, "the promotion the order used"),
    ),
    has_dimensions=True,
    action_type="boolean",
)
CUSTOMERS = SourceKind(
    name="customers",
    required=True,
    key=("client",),
    columns=(
        Column("client", "text", True, "identifies the customer; the `_id` of its document in `downloads`"),
        Column("download_date", "instant", True, "when the customer arrived (downloaded, registered, was first seen)"),
        Column("signup_date", "instant", False, "when the customer signed up"),
    ),
    action_type="instant",
)
PRODUCTS = SourceKind(
    name="products",
    required=False,
    key=(),
    columns=(
        Column("order_id", "text", True, "the session in which the product was bought"),
        Column("product", "text", True, "the product's name or number"),
        Column("price", "money", True, "price of one unit"),
        Column("category", "text", False, "the product's category"),
        Column("quantity", "number", False, "units bought; 1 where the column is not mapped"),
        Column("line_id", "text", False, "tells the lines of an order apart; needed to read only lines that changed"),
    ),
    key_where_mapped=("order_id", "line_id"),
)
DELIVERIES = SourceKind(
    name="deliveries",
    required=False,
    key=("order_id",),
    columns=(
        Column("order_id", "text", True, "the session whose order was delivered"),
        Column("delivery_date", "instant", True, "when it arrived"),
        Column("prepare_date", "instant", False, "when it was ready to leave"),
        Column("return_date", "instant", False, "when it came back"),
        Column("latitude", "number", False, "where to, degrees north"),
        Column("longitude", "number", False, "where to, degrees east"),
    ),
)

SOURCE_KINDS: dict[str, SourceKind] = {kind.name: kind for kind in (SESSIONS, CUSTOMERS, PRODUCTS, DELIVERIES)}

DIMENSION_PREFIX = "dimension_"  # a dimension column `region` is `dimension_region` in the staged tables
ACTION_PREFIX = "action_"  # an action column `viewed_product` is `action_viewed_product`
