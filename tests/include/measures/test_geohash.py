"""Geohashes against their definition, halving by halving."""

from __future__ import annotations

import ibis
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.measures.geohash import ALPHABET, cell_middle, cell_name, cell_number, grid


def by_halving(latitude: float, longitude: float, length: int) -> str:
    ranges = {"longitude": [-180.0, 180.0], "latitude": [-90.0, 90.0]}
    bits = ""
    for place in range(5 * length):
        name, value = ("longitude", longitude) if place % 2 == 0 else ("latitude", latitude)
        low, high = ranges[name]
        middle = (low + high) / 2
        bits += "1" if value >= middle else "0"
        ranges[name] = [middle, high] if value >= middle else [low, middle]
    return "".join(ALPHABET[int(bits[place : place + 5], 2)] for place in range(0, 5 * length, 5))


def numbers_of(places: list[tuple[float, float]], length: int) -> list[int]:
    table = ibis.memtable(pd.DataFrame(places, columns=["latitude", "longitude"]))
    # A connection of its own: the default one belongs to whoever asks first.
    connection = ibis.duckdb.connect()
    found = connection.to_pyarrow(table.select(cell=cell_number(table.latitude, table.longitude, length)))
    return [int(one) for one in found["cell"].to_pylist()]


# The example of geohash.org, and the one of the Wikipedia article.
@pytest.mark.parametrize(
    ("latitude", "longitude", "name"), [(57.64911, 10.40744, "u4pruydqqvj"), (42.605, -5.603, "ezs42")]
)
def test_published_examples(latitude: float, longitude: float, name: str) -> None:
    length = len(name)
    [cell] = numbers_of([(latitude, longitude)], length)
    assert cell_name(cell, length) == name
    middle = [float(one[0]) for one in cell_middle([cell], length)]
    rows, columns = grid(length)
    assert abs(middle[0] - latitude) <= 90 / rows
    assert abs(middle[1] - longitude) <= 180 / columns


@given(st.integers(0, 2**20 - 1))
def test_names_are_by_halving(cell: int) -> None:
    latitude, longitude = (float(one[0]) for one in cell_middle([cell], 4))
    assert cell_name(cell, 4) == by_halving(latitude, longitude, 4)


def test_edges_of_the_world_are_in_the_last_cells() -> None:
    places = [(-90.0, -180.0), (90.0, 180.0), (0.0, 0.0)]
    names = [cell_name(cell, 3) for cell in numbers_of(places, 3)]
    assert names == ["000", "zzz", by_halving(0, 0, 3)]
