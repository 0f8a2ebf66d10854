"""Staged tables of a simulated shop, without the way through files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pytest

from include.datasets.shop.block import simulate
from include.datasets.shop.parameters import Shop
from include.datasets.shop.rhythm import Rhythm
from include.datasets.shop.staged import tables_of_block
from include.staging.tables import Tables


@dataclass(frozen=True)
class SimulatedShop:
    shop: Shop
    tables: Tables

    @property
    def as_of(self) -> date:
        return self.shop.last_day


@pytest.fixture(scope="session")
def simulated_shop() -> SimulatedShop:
    """A shop of one block: about 160,000 sessions."""
    shop = Shop()
    block = simulate(shop, Rhythm(shop), seed=11, number=0, most_sessions=10**9)
    return SimulatedShop(shop, tables_of_block(shop, block))
