"""The import against a server that behaves as Kibana documents: each object's result, and every refusal a sentence."""

import json
import logging
from collections.abc import Iterator
from contextlib import closing

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

import configs
from include.dashboards.kibana import render, saved_objects
from include.dashboards.kibana_import import KibanaProblem, connect_kibana
from include.pipeline.kibana import import_dashboards
from tests.kibana_server import KibanaServer, kibana_server
from tests.runs import context_of
from tests.servers import free_port

CONTEXT = context_of("import_dashboards")
OBJECTS = saved_objects()
DASHBOARD = next(one for one in OBJECTS if one["type"] == "dashboard")
LATEST = next(one for one in OBJECTS if one["attributes"]["title"] == "reports-latest")


@pytest.fixture
def kibana(monkeypatch: pytest.MonkeyPatch) -> Iterator[KibanaServer]:
    with kibana_server() as server:
        monkeypatch.setattr(configs, "KIBANA_URL", server.url)
        monkeypatch.setattr(configs, "KIBANA_SPACE", "")
        monkeypatch.delenv("AIRFLOW_CONN_KIBANA_DEFAULT", raising=False)
        yield server


def refused(*, retried: bool) -> str:
    """What a run of the task fails with."""
    with pytest.raises(AirflowException if retried else AirflowFailException) as caught:
        import_dashboards(CONTEXT)
    assert isinstance(caught.value, AirflowFailException) is not retried
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    return said


def test_without_a_kibana_it_is_skipped_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "KIBANA_URL", "")
    with pytest.raises(AirflowSkipException, match="KIBANA_URL is empty"):
        import_dashboards(CONTEXT)


def test_it_imports_everything_and_again_replaces_it(kibana: KibanaServer) -> None:
    done = import_dashboards(CONTEXT)
    assert (done["objects"], done["replaced"], done["space"]) == (len(OBJECTS), 0, "default")
    assert list(kibana.spaces["default"].values()) == [json.loads(line) for line in render().splitlines()] == OBJECTS
    again = import_dashboards(CONTEXT)
    assert (again["objects"], again["replaced"]) == (len(OBJECTS), len(OBJECTS))
    assert len(kibana.spaces["default"]) == len(OBJECTS)


def test_it_imports_into_the_configured_space(kibana: KibanaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kibana.spaces["team a"] = {}
    monkeypatch.setattr(configs, "KIBANA_SPACE", "team a")
    assert import_dashboards(CONTEXT)["space"] == "team a"
    assert (len(kibana.spaces["team a"]), len(kibana.spaces["default"])) == (len(OBJECTS), 0)
    monkeypatch.setattr(configs, "KIBANA_SPACE", "nowhere")
    assert "has no space `nowhere`; create it" in refused(retried=False)


@pytest.mark.parametrize(
    "extra", [{"login": "importer", "password": "right"}, {"extra": {"api_key": "a-key"}}], ids=["password", "api key"]
)
def test_it_logs_in_with_the_connection(
    kibana: KibanaServer, monkeypatch: pytest.MonkeyPatch, extra: dict[str, object]
) -> None:
    kibana.logins, kibana.api_keys = {"importer": "right"}, {"a-key"}
    assert "asks for a login" in refused(retried=False)
    monkeypatch.setenv("AIRFLOW_CONN_KIBANA_DEFAULT", json.dumps({"conn_type": "http", **extra}))
    assert import_dashboards(CONTEXT)["objects"] == len(OBJECTS)
    wrong = {"login": "importer", "password": "hidden-wrong-password"}
    monkeypatch.setenv("AIRFLOW_CONN_KIBANA_DEFAULT", json.dumps({"conn_type": "http", **wrong}))
    said = refused(retried=False)
    assert "the Airflow connection `kibana_default`" in said
    assert "hidden-wrong-password" not in said


@pytest.mark.parametrize(
    ("status", "retried", "said"),
    [
        (400, False, "answered 400 while importing the dashboards: because"),
        (302, False, "asks for a login"),
        (403, False, r"role with the Kibana privilege \*Saved Objects Management: All\* in the space `default`"),
        (404, False, "has no saved objects; correct KIBANA_URL"),
        (413, False, "raise savedObjects.maxImportPayloadBytes"),
        (429, True, "answered 429 .* try again"),
        (503, True, "answered 503 while importing the dashboards: because; it may still be starting: try again"),
    ],
)
def test_a_refusal_is_one_sentence(kibana: KibanaServer, status: int, retried: bool, said: str) -> None:
    kibana.faults.append((status, "because"))
    with closing(connect_kibana(kibana.url, "")) as connected, pytest.raises(KibanaProblem, match=said) as caught:
        connected.import_objects(OBJECTS)
    assert caught.value.retry is retried


def test_a_kibana_that_is_down_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "KIBANA_URL", f"http://127.0.0.1:{free_port()}")
    assert "did not answer while importing the dashboards" in refused(retried=True)


@pytest.mark.parametrize("url", ["kibana:5601", "http://", "http://a:b", "https://user:hidden@kibana:5601"])
def test_a_wrong_address_is_named_without_what_it_holds(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(configs, "KIBANA_URL", url)
    said = refused(retried=False)
    assert "KIBANA_URL" in said
    assert "hidden" not in said


def test_objects_that_need_what_is_not_there_are_named(kibana: KibanaServer) -> None:
    kibana.unknown = {(LATEST["type"], LATEST["id"])}
    said = refused(retried=False)
    dashboards = sum(one["type"] == "dashboard" for one in OBJECTS) - 1  # that of orders and customers does without
    assert f"imported {len(OBJECTS) - dashboards} of {len(OBJECTS)} objects" in said
    assert f"the dashboard {DASHBOARD['attributes']['title']!r} (it needs data view 'reports-latest'" in said
    assert f"and {dashboards - 5} more" in said


def test_a_type_that_this_kibana_has_not_is_named(kibana: KibanaServer) -> None:
    del kibana.types["search"]
    said = refused(retried=False)
    assert "imported 0 of" in said
    assert "the saved search '[Customer analytics] Customers' (this Kibana has no objects of its type)" in said


def test_an_object_that_is_not_reported_is_missed(kibana: KibanaServer) -> None:
    kibana.lost = {(DASHBOARD["type"], DASHBOARD["id"])}
    said = refused(retried=False)
    assert f"not the dashboard {DASHBOARD['attributes']['title']!r} (Kibana left it out)" in said


def test_a_conflict_is_named(kibana: KibanaServer) -> None:
    """Kibana reports one where another object of the space stands in the way; overwriting settles all others."""
    import_dashboards(CONTEXT)
    conflict = {"type": "dashboard", "id": DASHBOARD["id"], "error": {"type": "ambiguous_conflict"}}
    kibana.answers.append({"success": False, "successCount": 0, "errors": [conflict]})
    said = refused(retried=False)
    assert "several objects could be the one to replace" in said


def test_an_older_kibana_says_that_it_is(kibana: KibanaServer) -> None:
    kibana.types["dashboard"] = "8.9.0"
    assert "belongs to a more recent version of Kibana" in refused(retried=False)


def test_something_else_that_answers_is_not_taken_for_kibana(kibana: KibanaServer) -> None:
    kibana.answers.append(["no", "object"])
    assert "something that is not Kibana's" in refused(retried=False)


def test_the_time_zone_is_set_only_where_that_is_wanted_and_nobody_chose(
    kibana: KibanaServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert import_dashboards(CONTEXT)["time_zone"] == "Browser"
    assert "Set *Time zone* to UTC" in caplog.text
    assert kibana.settings == {}
    monkeypatch.setattr(configs, "KIBANA_SET_TIME_ZONE", True)
    assert import_dashboards(CONTEXT)["time_zone"] == "UTC"
    assert kibana.settings == {"default": {"dateFormat:tz": {"userValue": "UTC"}}}
    kibana.settings["default"]["dateFormat:tz"] = {"userValue": "America/New_York"}
    assert import_dashboards(CONTEXT)["time_zone"] == "America/New_York"
    assert kibana.settings["default"]["dateFormat:tz"] == {"userValue": "America/New_York"}


def test_settings_that_may_not_be_read_do_not_fail_the_task(
    kibana: KibanaServer, caplog: pytest.LogCaptureFixture
) -> None:
    kibana.forbidden = "/api/kibana/settings"
    with caplog.at_level(logging.WARNING):
        assert import_dashboards(CONTEXT)["time_zone"] == "unknown"
    assert "does not allow this user reading the time zone of the space" in caplog.text
