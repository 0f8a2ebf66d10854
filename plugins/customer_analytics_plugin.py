"""The page "Customer Analytics" in the Airflow UI: mounts the dashboards behind Airflow's login and links to them.

Airflow loads plugins in every process, also in every task, so the page is only built when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

URL_PREFIX = "/customer-analytics"
DAG_ID = "customer_analytics"
Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


@cache
def page() -> AsgiApp:
    """The page's app. A plugin's routes are open to everybody unless they ask for the login themselves."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
    from airflow.api_fastapi.core_api.security import get_user, requires_access_view
    from airflow.models.dag import DagModel
    from fastapi import Depends

    from include.dashboards.web import create_app

    def writer(user: Any = Depends(get_user)) -> str | None:  # noqa: B008 - how FastAPI is told
        """The name of who asks, where they may trigger the DAG: whoever may do that may write notes."""
        dag = DagDetails(id=DAG_ID, team_name=DagModel.get_team_name(DAG_ID))
        may = get_auth_manager().is_authorized_dag(
            method="POST", access_entity=DagAccessEntity.RUN, details=dag, user=user
        )
        return str(user.get_name()) if may else None

    return create_app([Depends(requires_access_view(AccessView.PLUGINS))], writer)


async def customer_analytics(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """The page as an ASGI app that costs nothing until it is called."""
    await page()(scope, receive, send)


def address(path: str) -> str:
    """Where a path of the page is in the browser: Airflow itself may be mounted below a path."""
    return f"{urlsplit(conf.get('api', 'base_url', fallback='/')).path.rstrip('/')}{URL_PREFIX}/{path}"


class CustomerAnalyticsPlugin(AirflowPlugin):
    name = "customer_analytics"
    fastapi_apps = [{"name": "Customer Analytics", "app": customer_analytics, "url_prefix": URL_PREFIX}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Customer Analytics",
            "href": address(""),
            "destination": "nav",
            "url_route": "customer-analytics",
            "nav_top_level": True,
            "icon": address("static/icon.svg"),
            "icon_dark_mode": address("static/icon-dark.svg"),
        }
    ]
