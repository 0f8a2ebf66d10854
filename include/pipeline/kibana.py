"""The dashboards into Kibana, where there is one."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Any

import configs
from include.pipeline.record import recorded
from include.problem import Problem

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from include.dashboards.kibana_import import Kibana

log = logging.getLogger(__name__)

UTC = "UTC"
UTC_ZONES = (UTC, "Etc/UTC", "GMT", "Etc/GMT")


def import_dashboards(context: Context) -> dict[str, Any]:
    """Import data views, saved searches and dashboards into KIBANA_SPACE; how many, and how many were replaced.

    Skipped, with the reason in the log, where KIBANA_URL is empty.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    with recorded(context) as record:
        if not configs.KIBANA_URL:
            raise AirflowSkipException("KIBANA_URL is empty: there is no Kibana to bring the dashboards to.")
        done = bring_dashboards()
        record.handled(done["objects"])
        return done


def bring_dashboards() -> dict[str, Any]:
    """The import itself, of a task or of the stack's start. Raises `KibanaProblem` unless all objects are there."""
    from include.dashboards.kibana import saved_objects
    from include.dashboards.kibana_import import connect_kibana

    with closing(connect_kibana(configs.KIBANA_URL, configs.KIBANA_SPACE)) as kibana:
        imported = kibana.import_objects(saved_objects(_names()))
        space = configs.KIBANA_SPACE or "default"
        log.info(
            "%s: %d objects imported into the space `%s`, %d of them replaced",
            kibana.place,
            imported.objects,
            space,
            imported.overwritten,
        )
        zone = _time_zone(kibana)
    return {"space": space, "objects": imported.objects, "replaced": imported.overwritten, "time_zone": zone}


def _names() -> dict[str, list[str]]:
    """The names that Kibana shows in words, as the reports have them; before the first run there are none."""
    from include.dashboards.kibana import worded_fields
    from include.elastic.client import connect
    from include.elastic.reports import values_in_reports

    try:
        return values_in_reports(connect(), worded_fields())
    except Problem as problem:
        log.warning("Kibana shows steps, series and tests by their names in the data: %s", problem)
        return {}


def _time_zone(kibana: Kibana) -> str:
    """The time zone that the space shows days in, set to UTC where KIBANA_SET_TIME_ZONE allows that.

    The days of reports begin at midnight UTC, whatever the business time zone. A browser west of it would show the day
    before. The dashboards are there already, so nothing here fails the task.
    """
    from include.dashboards.kibana_import import KibanaProblem

    try:
        zone = kibana.time_zone()
        if zone in UTC_ZONES:
            return zone
        if configs.KIBANA_SET_TIME_ZONE and zone == "Browser":
            kibana.set_time_zone(UTC)
            log.info("%s: the space now shows times in UTC", kibana.place)
            return UTC
    except KibanaProblem as problem:
        log.warning("%s", problem)
        zone = "unknown"
    log.warning(
        "%s shows times in the time zone %r: west of UTC, the charts name the day before. Set *Time zone* to UTC under "
        "Stack Management → Advanced Settings, or KIBANA_SET_TIME_ZONE=true.",
        kibana.place,
        zone,
    )
    return zone
