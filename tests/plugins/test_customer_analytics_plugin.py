"""The page behind Airflow's login, over HTTP, as the real API server serves it."""

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from include.dashboards.dashboard import dashboards
from tests.airflow_server import ROOT, AirflowServer
from tests.plugins.conftest import CLEAN_RUN, NEWEST_RUN
from tests.published_reports import AS_OF, EVIL

PLUGIN = ROOT / "plugins" / "customer_analytics_plugin.py"
HEAVY = ("pandas", "numpy", "elasticsearch", "vl_convert", "ibis", "duckdb", "fastapi")
PATHS = (
    "",
    "static/page.js",
    "static/vega-embed.js",
    "static/no-such-file",
    "api/dashboards",
    "api/dashboards/no_such_dashboard",
    "api/quarantine",
    "api/search",
    "api/profiles/client",
    "data-docs",
    "data-docs/",
    "data-docs/index.html",
)


@pytest.fixture(scope="module")
def visitor(airflow: AirflowServer) -> Iterator[httpx.Client]:
    """Somebody who is not logged in."""
    with httpx.Client(base_url=f"{airflow.url}/customer-analytics/", timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def user(airflow: AirflowServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {airflow.token()}"}
    with httpx.Client(base_url=f"{airflow.url}/customer-analytics/", headers=headers, timeout=60) as client:
        yield client


def test_the_plugin_imports_nothing_heavy() -> None:
    """Airflow loads it in every process, also in every task."""
    code = (
        "import sys, runpy, airflow.plugins_manager, airflow.configuration; before = set(sys.modules); "
        f"runpy.run_path({str(PLUGIN)!r}); print(*sorted({{m.partition('.')[0] for m in set(sys.modules) - before}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(HEAVY) & set(done.stdout.split()) == set()


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_shown_without_a_login(visitor: httpx.Client, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 401
    assert "Not authenticated" in answer.text


def test_a_forged_token_is_refused(visitor: httpx.Client) -> None:
    assert visitor.get("", headers={"Authorization": "Bearer forged"}).status_code in (401, 403)


@pytest.mark.parametrize("path", ["openapi.json", "docs", "redoc"])
def test_the_api_describes_itself_to_nobody(visitor: httpx.Client, path: str) -> None:
    assert visitor.get(path).status_code == 404


def test_the_page_loads_nothing_from_elsewhere(user: httpx.Client) -> None:
    page = user.get("")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy


def test_vega_is_kept_by_the_browser(user: httpx.Client) -> None:
    first = user.get("static/vega-embed.js")
    assert "window.vegaEmbed=" in first.text
    assert "max-age=31536000" in first.headers["cache-control"]
    again = user.get("static/vega-embed.js", headers={"If-None-Match": first.headers["etag"].removeprefix("W/")})
    assert (again.status_code, again.content) == (304, b"")


def test_every_dashboard_is_served(user: httpx.Client) -> None:
    listed = user.get("api/dashboards").json()["dashboards"]
    assert [one["name"] for one in listed] == [one.name for one in dashboards()]
    for one in listed:
        found = user.get(f"api/dashboards/{one['name']}")
        assert found.status_code == 200
        assert found.json()["has_reports"]


def test_an_unknown_dashboard_is_named(user: httpx.Client) -> None:
    answer = user.get("api/dashboards/no_such_dashboard")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("There is no dashboard 'no_such_dashboard'")


def test_a_date_without_reports_is_named(user: httpx.Client) -> None:
    answer = user.get("api/dashboards/overview", params={"date": "2020-01-01"})
    assert answer.status_code == 404
    assert answer.json() == {
        "detail": "Overview has no reports of 2020-01-01.",
        "dimensions": ["all"],
        "dates": [AS_OF.isoformat()],
    }
    wrong = user.get("api/dashboards/overview", params={"date": "yesterday"})
    assert (wrong.status_code, wrong.json()["detail"][:22]) == (400, "'yesterday' is no date")


def test_an_unknown_dimension_value_is_named(user: httpx.Client) -> None:
    answer = user.get("api/dashboards/descriptive_statistics", params={"dimension": "region: Atlantis"})
    assert answer.status_code == 404
    assert "'region: Atlantis'" in answer.json()["detail"]
    assert "region: North" in answer.json()["dimensions"]


def test_the_quarantine_of_any_run_and_of_none(user: httpx.Client) -> None:
    newest = user.get("api/quarantine").json()
    assert [run["key"] for run in newest["runs"]] == [NEWEST_RUN, CLEAN_RUN]
    (source,) = newest["sources"]
    assert [(rule["rule"], rule["rows"], len(rule["examples"])) for rule in source["rules"]] == [
        ("client_unknown", 12, 10),
        ("wrong_number_of_columns", 1, 1),
    ]
    assert user.get("api/quarantine", params={"run": CLEAN_RUN}).json()["reason"].startswith("This run read 100 rows")
    gone = user.get("api/quarantine", params={"run": "gone"})
    assert (gone.status_code, gone.json()["detail"][:40]) == (404, "There is no quarantine of the run gone: ")


def test_names_may_hold_anything(user: httpx.Client) -> None:
    products = user.get("api/search", params={"q": f"{EVIL}3"}).json()["kinds"][0]
    assert [(one["name"], one["way"]) for one in products["results"]] == [(f"{EVIL}3", "whole")]
    profile = user.get("api/profiles/product", params={"name": f"{EVIL}3"})
    assert profile.json()["name"] == f"{EVIL}3"
    for name in ("a/b%2f../?#&=", "\x00", "😀", ""):
        gone = user.get("api/profiles/promotion", params={"name": name})
        assert gone.status_code == 404
        assert gone.json()["detail"].startswith(f"Nothing that is loaded has the promotion {name!r} ")
        assert user.get("api/search", params={"q": name}).status_code == 200
    assert user.get("api/profiles/shop", params={"name": "x"}).status_code == 404
    long = user.get("api/search", params={"q": "x" * 101})
    assert (long.status_code, long.json()["detail"][:44]) == (400, "A search takes at most 100 letters; type the")


@pytest.mark.parametrize(
    "path",
    ["data-docs/../secret.txt", "data-docs/%2e%2e/secret.txt", "data-docs/..%2fsecret.txt", "data-docs/link.txt"],
)
def test_data_docs_serve_their_own_folder_only(user: httpx.Client, path: str) -> None:
    answer = user.get(path)
    assert answer.status_code == 404
    assert "not for the page" not in answer.text


def test_data_docs_run_no_scripts(user: httpx.Client) -> None:
    answer = user.get("data-docs", follow_redirects=True)
    assert "<title>Data docs</title>" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "script-src" not in answer.headers["content-security-policy"]


def test_airflow_links_to_the_page(airflow: AirflowServer) -> None:
    headers = {"Authorization": f"Bearer {airflow.token()}"}
    plugins = httpx.get(f"{airflow.url}/api/v2/plugins", headers=headers, timeout=60).json()["plugins"]
    view = next(plugin for plugin in plugins if plugin["name"] == "customer_analytics")["external_views"][0]
    assert view["href"] == "/customer-analytics/"
    assert httpx.get(f"{airflow.url}{view['icon']}", headers=headers, timeout=60).status_code == 200
