"""The trigger form of `replay_quarantine`. Light: read while Airflow parses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.pipeline.parameters import configured_sources, parameters

if TYPE_CHECKING:
    from airflow.sdk import Param


def replay_parameters() -> dict[str, Param]:
    """Which quarantined rows to judge again, and for which reports."""
    from airflow.sdk import Param

    sources = list(configured_sources())
    every = parameters()
    return {
        "sources": Param(
            sources,
            type="array",
            items={"type": "string", "enum": sources},
            examples=sources,
            title="Sources",
            description_md="Whose rows to judge again.",
            uniqueItems=True,
        ),
        "rules": Param(
            [],
            type=["null", "array"],
            items={"type": "string"},
            title="Rules",
            description_md="Only rows that broke one of these rules, such as `client_unknown`; one a line. "
            "Empty: whatever they broke.",
            uniqueItems=True,
        ),
        "runs": Param(
            [],
            type=["null", "array"],
            items={"type": "string"},
            title="Runs",
            description_md="Only rows that these runs set aside: run ids, one a line. Empty: all that are kept.",
            uniqueItems=True,
        ),
        "as_of": every["as_of"],
        "dimensions": every["dimensions"],
        "analyses": every["analyses"],
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description_md="Judge the rows and say what would pass, and change nothing.",
        ),
    }
