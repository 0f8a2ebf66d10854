"""Which values are kept, and what becomes of the others."""

from __future__ import annotations

import pandas as pd
import pytest

from include.measures.dimension import by_dimension, coded, labelled
from include.measures.results import result
from include.staging.tables import Tables


def counts(tables: Tables, top_values: int) -> dict[str, int]:
    sessions, labels = coded(tables.sessions, tables.dimensions, top_values=top_values)
    repeated = by_dimension(sessions, tables.dimensions)
    frame = labelled(result(repeated.group_by("dimension").agg(n=repeated.count())), labels, ["dimension"])
    return dict(zip(frame["dimension"], frame["n"], strict=True))


def test_largest_first_then_the_rest_then_the_unknown(tables: Tables) -> None:
    # North has two sessions; East and South have one each, and E comes before S.
    assert list(counts(tables, 2).items()) == [
        ("all", 5),
        ("region: North", 2),
        ("region: East", 1),
        ("region: (other)", 1),
        ("region: (unknown)", 1),
        ("device: app", 5),
    ]
    assert counts(tables, 0) == {"all": 5, "region: (other)": 4, "region: (unknown)": 1, "device: (other)": 5}


def test_every_column_adds_up_to_all(tables: Tables) -> None:
    found = counts(tables, 25)
    for column in ("region", "device"):
        assert sum(n for label, n in found.items() if label.startswith(f"{column}: ")) == found["all"]


@pytest.mark.parametrize("name", ["(other)", "(unknown)"])
def test_a_value_of_that_name_counts_with_its_namesakes(tables: Tables, name: str) -> None:
    renamed = tables.sessions.mutate(
        dimension_region=tables.sessions.dimension_region.substitute({"North": name, "East": name})
    )
    found = counts(Tables(renamed, tables.customers, dimensions=("region",)), 1)
    unknown = 1 + (3 if name == "(unknown)" else 0)
    assert found.get("region: (unknown)") == unknown
    assert found["region: South"] == 1  # it takes the only place; the namesakes take none
    assert sum(found.values()) == 2 * found["all"]


def test_rows_are_in_the_order_of_the_columns() -> None:
    frame = pd.DataFrame({"dimension": [2, 0, 1], "n": [1, 2, 3]})
    assert labelled(frame, ["all", "b: x", "a: y"], ["dimension"])["dimension"].tolist() == ["all", "b: x", "a: y"]
