"""The mappings and settings as data; that Elasticsearch takes them is tested beside the indexes."""

import json
import subprocess
import sys

import pytest

import configs
from include.schemas.indexes import (
    DOCUMENT_FIELDS,
    HEADER_FIELDS,
    SCORE_FIELDS,
    downloads_mapping,
    orders_mapping,
    reports_mapping,
    reports_settings,
    settings,
)
from include.schemas.reports import SHARED_FIELDS, Field
from include.schemas.source_kinds import CUSTOMERS, SESSIONS


def test_actions_become_properties() -> None:
    mapping = orders_mapping({"viewed": "boolean", "added to cart": "date"})
    assert mapping["properties"]["actions"]["properties"] == {
        "viewed": {"type": "boolean"},
        "added to cart": {"type": "date"},
    }
    assert downloads_mapping({})["properties"]["actions"]["properties"] == {}


def test_every_column_of_a_source_has_its_field() -> None:
    orders, downloads = orders_mapping({})["properties"], downloads_mapping({})["properties"]
    assert {column.name for column in SESSIONS.columns} - {"id"} <= orders.keys()
    assert {column.name for column in CUSTOMERS.columns} - {"client"} <= downloads.keys()
    assert downloads["scores"]["properties"].keys() == SCORE_FIELDS.keys()


@pytest.mark.parametrize("mapping", [orders_mapping({}), downloads_mapping({}), reports_mapping({})])
def test_unknown_fields_are_refused_and_the_index_is_marked_as_ours(mapping: dict[str, object]) -> None:
    assert mapping["dynamic"] == "strict"
    assert mapping["_meta"] == {"made_by": "customer-analytics"}
    for missing_in_the_embedded_node in ("scaled_float", "wildcard", "constant_keyword", "search_as_you_type"):
        assert missing_in_the_embedded_node not in json.dumps(mapping)


def test_reports_have_the_fields_of_all_analyses() -> None:
    mapping = reports_mapping({"one": {"score": Field("double", "a")}, "two": {"score": Field("double", "b")}})
    expected = {*DOCUMENT_FIELDS, *HEADER_FIELDS, *SHARED_FIELDS, "score"}
    assert mapping["properties"].keys() == expected
    assert mapping["properties"]["period"] == {"type": "date"}


def test_one_name_of_two_types_is_refused() -> None:
    with pytest.raises(ValueError, match="two: the field `score` is keyword here and double elsewhere"):
        reports_mapping({"one": {"score": Field("double", "a")}, "two": {"score": Field("keyword", "b")}})
    with pytest.raises(ValueError, match="one: the field `rows` is keyword here and long elsewhere"):
        reports_mapping({"one": {"rows": Field("keyword", "a")}})


def test_settings_come_from_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "NUMBER_OF_SHARDS", 7)
    monkeypatch.setattr(configs, "MAX_RESULT_WINDOW", 123)
    assert settings()["number_of_shards"] == 7
    assert settings()["max_result_window"] == 123
    assert "refresh_interval" not in settings()
    assert reports_settings()["refresh_interval"] == "-1"


def test_importing_it_is_light() -> None:
    """Airflow's DAG files may import it."""
    code = (
        "import sys, include.schemas.indexes;"
        "sys.exit(', '.join({'pandas', 'duckdb', 'elasticsearch', 'airflow'} & sys.modules.keys()) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
