"""Orders: sessions with a purchase, numbered per client.

A client's orders are in the order of (session_start_date, id), so that two at the same instant have a fixed order.
For a dimension value they are numbered anew, as though only its sessions existed.

    sessions (of a Breakdown)  ->  orders, with `sequence`: the client's 1st, 2nd, … order of all
    orders per dimension value ->  with `order_number`: the client's 1st, 2nd, … order within the value
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

if TYPE_CHECKING:
    import ibis.expr.types as ir


def orders_of(sessions: ir.Table) -> ir.Table:
    """The sessions with a purchase, with `sequence` (1 is the client's first)."""
    orders = sessions.filter(sessions.has_purchased)
    window = ibis.window(group_by=orders.client_code, order_by=[orders.session_start_date, orders.id])
    return orders.mutate(sequence=ibis.row_number().over(window) + 1)


def numbered(orders: ir.Table) -> ir.Table:
    """Orders with `dimension_code` and `sequence` (see Breakdown.each_value), with `order_number` from 1."""
    # `sequence` was made from instants and ids once; ordering by it spares comparing ids for every dimension value.
    window = ibis.window(group_by=[orders.dimension_code, orders.client_code], order_by=orders.sequence)
    return orders.mutate(order_number=ibis.row_number().over(window) + 1)
