"""A block of the simulated shop as the pipeline would stage it, without the way through files.

shop, block  ->  tables
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from include.datasets.shop.block import Block
from include.datasets.shop.deliveries import NOT_RETURNED
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import WEEK_SECONDS
from include.staging.tables import Tables, tables_from_frames


def instants(shop: Shop, seconds: Any) -> pd.Series:
    return pd.Series(np.datetime64(shop.first_day, "us") + np.asarray(seconds).astype("timedelta64[s]"))


def tables_of_block(shop: Shop, block: Block) -> Tables:
    found, who, sent = block.sessions, block.customers, block.deliveries
    names = [one.name for one in shop.promotions]
    ids = np.array([f"s{place}" for place in range(len(found))])
    clients = np.array([f"c{number}" for number in range(len(who))])
    paid = np.where(found.bought, found.cents - found.discount_cents, 0) / 100
    sessions = pd.DataFrame(
        {
            "id": ids,
            "client": clients[found.customer],
            "session_start_date": instants(shop, found.start),
            "has_purchased": found.bought,
            "payment_amount": paid,
            "promotion_id": pd.Series([names[one] if one >= 0 else None for one in found.promotion], dtype="object"),
            "dimension_region": np.array([one.name for one in shop.regions])[who.region][found.customer],
            "dimension_device": np.array([one.name for one in shop.devices])[block.device],
            **{f"action_{name}": found.steps > number for number, name in enumerate(shop.steps)},
        }
    )
    downloaded = instants(shop, (who.download * WEEK_SECONDS).astype("int64"))
    customers = pd.DataFrame({"client": clients, "download_date": downloaded})
    returned = instants(shop, sent.returned).mask(sent.returned == NOT_RETURNED)
    deliveries = pd.DataFrame(
        {
            "order_id": ids[block.orders[sent.order]],
            "prepare_date": instants(shop, sent.prepared),
            "delivery_date": instants(shop, sent.delivered),
            "return_date": returned,
            "latitude": sent.latitude,
            "longitude": sent.longitude,
        }
    )
    return tables_from_frames(sessions, customers, deliveries=deliveries)
