"""Saved objects into a Kibana space, with what became of each of them.

    saved objects  ->  what was imported, or a problem that names what was not

Kibana's own import: POST /api/saved_objects/_import. What is there already is overwritten, so it can be repeated.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

import configs
from include.dashboards.kibana import SavedObject, ndjson
from include.problem import Problem

TIME_ZONE = "dateFormat:tz"
OBJECTS_NAMED = 5  # of those that failed, in a message
PLACES = {"index-pattern": "data view", "search": "saved search", "dashboard": "dashboard"}


class KibanaProblem(Problem):
    """Kibana does not do what it is asked to."""

    def __init__(self, sentence: str, *, retry: bool = False) -> None:
        super().__init__(sentence)
        self.retry = retry


@dataclass(frozen=True)
class Imported:
    """How many objects Kibana took, and how many of them were there before."""

    objects: int
    overwritten: int


@dataclass(frozen=True)
class Kibana:
    """A space of a Kibana: where it is, and how to log in."""

    client: httpx.Client
    place: str
    space: str

    def close(self) -> None:
        self.client.close()

    def import_objects(self, objects: Sequence[SavedObject]) -> Imported:
        """Import the objects. Raises `KibanaProblem` unless Kibana says of every one that it has it."""
        files = {"file": ("customer-analytics.ndjson", ndjson(objects).encode(), "application/ndjson")}
        answer = self._ask("POST", "/api/saved_objects/_import?overwrite=true", "importing the dashboards", files=files)
        titles = {(one["type"], one["id"]): str(one["attributes"]["title"]) for one in objects}
        failed = {(one["type"], one["id"]): _reason(one.get("error", {}), titles) for one in answer.get("errors", ())}
        taken = {(one["type"], one["id"]): one for one in answer.get("successResults", ())}
        unsaid = dict.fromkeys((key for key in titles if key not in taken and key not in failed), "Kibana left it out")
        if failed or unsaid or not answer.get("success"):
            raise KibanaProblem(self._what_failed({**failed, **unsaid}, titles, taken=len(taken)))
        if answer.get("successCount") != len(titles):
            raise KibanaProblem(
                f"{self.place} counts {answer.get('successCount')} imported objects where {len(titles)} were sent; "
                "import them by hand to see why (docs/kibana.md)."
            )
        return Imported(len(titles), sum(bool(one.get("overwrite")) for one in taken.values()))

    def time_zone(self) -> str:
        """The time zone that the space shows instants in; `Browser` where nobody set one."""
        settings = self._ask("GET", "/api/kibana/settings", "reading the time zone of the space").get("settings", {})
        return str(settings.get(TIME_ZONE, {}).get("userValue", "Browser"))

    def set_time_zone(self, zone: str) -> None:
        """Show instants in `zone`, to everyone who uses the space."""
        changes = {"changes": {TIME_ZONE: zone}}
        self._ask("POST", "/api/kibana/settings", "setting the time zone of the space", json=changes)

    def _ask(self, method: str, path: str, doing: str, **what: Any) -> dict[str, Any]:
        prefix = f"/s/{quote(self.space, safe='')}" if self.space else ""
        try:
            answer = self.client.request(method, f"{prefix}{path}", **what)
        except httpx.HTTPError as error:
            reason = re.sub(r"\s+", " ", str(error)).rstrip(".") or type(error).__name__
            raise KibanaProblem(
                f"{self.place} did not answer while {doing} ({reason}); start it, or correct KIBANA_URL.", retry=True
            ) from None
        if answer.status_code != httpx.codes.OK:
            raise self._refusal(answer, doing)
        try:
            said = answer.json()
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise KibanaProblem(
                f"{self.place} answered {doing} with something that is not Kibana's; correct KIBANA_URL."
            )
        return said

    def _refusal(self, answer: httpx.Response, doing: str) -> KibanaProblem:
        status, space = answer.status_code, self.space or "default"
        match status:
            case 401 | 301 | 302 | 303 | 307 | 308:
                return KibanaProblem(
                    f"{self.place} asks for a login while {doing}; enter user name and password, or an api_key in the "
                    f"extra, in the Airflow connection `{configs.KIBANA_CONN_ID}`."
                )
            case 403:
                return KibanaProblem(
                    f"{self.place} does not allow this user {doing}; give it a role with the Kibana privilege "
                    f"*Saved Objects Management: All* in the space `{space}` (and *Advanced Settings* for the time "
                    "zone)."
                )
            case 404 if self.space:
                return KibanaProblem(
                    f"{self.place} has no space `{self.space}`; create it under Stack Management → Spaces, or correct "
                    "KIBANA_SPACE."
                )
            case 404:
                return KibanaProblem(f"{self.place} has no saved objects; correct KIBANA_URL, its base path included.")
            case 413:
                return KibanaProblem(
                    f"{self.place} takes no file of this size; raise savedObjects.maxImportPayloadBytes in kibana.yml, "
                    "and the limit of the proxy before it."
                )
        busy = status == 429 or status >= 500
        advice = "; it may still be starting: try again" if busy else ""
        return KibanaProblem(f"{self.place} answered {status} while {doing}: {_said(answer)}{advice}.", retry=busy)

    def _what_failed(
        self, failed: dict[tuple[str, str], str], titles: dict[tuple[str, str], str], *, taken: int
    ) -> str:
        named = [
            f"the {PLACES.get(key[0], key[0])} {titles.get(key, key[1])!r} ({reason})"
            for key, reason in list(failed.items())[:OBJECTS_NAMED]
        ]
        more = f" and {len(failed) - OBJECTS_NAMED} more" if len(failed) > OBJECTS_NAMED else ""
        whom = f"{', '.join(named)}{more}" if named else "and does not say which"
        return (
            f"{self.place} imported {taken} of {len(titles)} objects into the space `{self.space or 'default'}`, not "
            f"{whom}; mend that and run this task again."
        )


def connect_kibana(url: str, space: str) -> Kibana:
    """The space `space` of the Kibana at `url`, with the login of the Airflow connection where there is one.

    Raises `KibanaProblem` where the address is none.
    """
    # The address may hold a password: no message may repeat it as it stands.
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise KibanaProblem("KIBANA_URL is not an address like https://kibana.example.com:5601; correct it.")
    if parts.username or parts.password:
        raise KibanaProblem(
            f"KIBANA_URL holds a login; move it to the Airflow connection `{configs.KIBANA_CONN_ID}` and leave only "
            "the address."
        )
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    try:
        login, verify = _from_connection()
        client = httpx.Client(
            base_url=base, timeout=configs.REQUEST_TIMEOUT_SECONDS, verify=verify, follow_redirects=False, **login
        )
    except (OSError, ValueError) as error:
        raise KibanaProblem(
            f"The certificates that the Airflow connection `{configs.KIBANA_CONN_ID}` names cannot be read: {error}."
        ) from None
    # Kibana refuses whatever does not say that it is no form of another site.
    client.headers["kbn-xsrf"] = "customer-analytics"
    return Kibana(client, f"Kibana at {base}", space)


def _from_connection() -> tuple[dict[str, Any], Any]:
    """How to log in, and whose certificates to trust."""
    try:
        connection = BaseHook.get_connection(configs.KIBANA_CONN_ID)
    except AirflowNotFoundException:
        return {}, True  # a Kibana without security
    extra = connection.extra_dejson
    verify: Any = True
    if extra.get("verify_certs") is False:
        verify = False
    elif extra.get("ca_certs"):
        verify = ssl.create_default_context(cafile=str(extra["ca_certs"]))
    if extra.get("api_key"):
        return {"headers": {"Authorization": f"ApiKey {extra['api_key']}"}}, verify
    if connection.login:
        return {"auth": (connection.login, connection.password or "")}, verify
    return {}, verify


def _reason(error: dict[str, Any], titles: dict[tuple[str, str], str]) -> str:
    """Why Kibana did not take an object."""
    match error.get("type"):
        case "conflict":
            return "another object has its id"
        case "ambiguous_conflict":
            return "several objects could be the one to replace: delete those that are not needed"
        case "missing_references":
            missing = [
                f"{PLACES.get(one['type'], one['type'])} {titles.get((one['type'], one['id']), one['id'])!r}"
                for one in error.get("references", ())
            ]
            return f"it needs {', '.join(missing) or 'something'} that is not there"
        case "unsupported_type":
            return "this Kibana has no objects of its type"
        case kind:
            return str(error.get("message") or kind or "no reason given").rstrip(".")


def _said(answer: httpx.Response) -> str:
    try:
        body = answer.json()
        text = str(body.get("message") or body.get("error"))
    except (ValueError, AttributeError):
        text = answer.text
    return re.sub(r"\s+", " ", text).strip()[:300].rstrip(".") or "no reason given"
