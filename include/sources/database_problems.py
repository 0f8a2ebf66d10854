"""What a database answers instead of rows, in one sentence each; PostgreSQL and Redshift share the codes (SQLSTATE)."""

from __future__ import annotations

from include.sources.definition import Source
from include.sources.problems import SourceError, SourceUnreachable
from include.sources.relation import display_name

LOGIN_REFUSED = "28000"
CONNECTION_LOST = "08006"
QUERY_CANCELLED = "57014"
REFUSALS = (LOGIN_REFUSED, "28P01", "3D000")  # no such user, wrong password, no such database
PASSING = ("08", "40", "53", "55", "57", "58")  # connection, conflict, resources, state, operator, system
REASON_CHARACTERS = 200


def database_problem(source: Source, state: str, reason: str) -> SourceError:
    """The problem for an SQLSTATE and the server's own words; one of class `PASSING` may be tried again."""
    where, connection = display_name(source), source.connection
    reason = plain_reason(reason)
    if state in ("42P01", "3F000"):
        return SourceError(f"{source.name}: {reason}; correct it in sources.yaml.")
    if state == "42501":
        return SourceError(
            f"{source.name}: {reason}; grant SELECT on it (and USAGE on its schema) to the user of the "
            f"connection {connection!r}."
        )
    if state == QUERY_CANCELLED:
        return SourceUnreachable(
            f"{source.name}: reading {where} was stopped by the database ({reason}); run it again, or raise "
            "its statement_timeout."
        )
    if state in REFUSALS:
        return SourceError(
            f"{source.name}: the database refused the login ({reason}); correct the connection {connection!r}."
        )
    if state[:2] in PASSING:
        return SourceUnreachable(
            f"{source.name}: the database of the connection {connection!r} does not answer, or no longer ({reason}); "
            "check the network and the connection."
        )
    return SourceError(f"{source.name}: {where} cannot be read ({reason}); correct it there.")


def no_connection(source: Source) -> SourceError:
    """Airflow knows no connection of this name."""
    return SourceError(
        f"{source.name}: there is no Airflow connection {source.connection!r}; create it, or correct `connection` "
        "in sources.yaml."
    )


def plain_reason(reason: str) -> str:
    """A message as part of a sentence: one line, not too long, no full stop."""
    return " ".join(reason.split())[:REASON_CHARACTERS].rstrip(".")
