"""`docs/metrics.md`: what every metric means, from the analyses' own docstrings and declarations."""

from __future__ import annotations

from include import catalogue
from include.schemas.reports import SHARED_FIELDS, Field, ReportType

HEAD = """\
<!-- Written by `make generate` from the analyses themselves; do not edit. -->

# Metrics

What every report counts, and how. Days, weeks and months are those of `BUSINESS_TIMEZONE`, weeks begin on `WEEK_START`.
A field that is missing from a row is unknown; zero means zero. Every report is computed for `all` and for each value of
each dimension column, as though only the sessions with that value existed; those about the pipeline itself, which come
last, for `all` alone.
"""


def render() -> str:
    """The text of `docs/metrics.md`."""
    parts = [HEAD, "## Fields shared by all reports\n", _fields_table(SHARED_FIELDS)]
    for analysis in catalogue.reporting():
        module = analysis.module
        parts += [f"## {analysis.title}\n", _text(analysis.doc)]
        parts += [_report(report_type) for report_type in module.REPORTS]
        fields: dict[str, Field] = getattr(module, "FIELDS", {})
        if fields:
            parts += [f"### Fields of {analysis.title}\n", _fields_table(fields)]
    return "\n".join(parts)


def _text(doc: str) -> str:
    """A docstring as Markdown: its reference marks are reStructuredText."""
    return doc.strip().replace("]_", "]").replace(".. [", "[") + "\n"


def _report(report_type: ReportType) -> str:
    lines = [f"### {report_type.title} (`{report_type.type}`)\n"]
    lines += [f"One row per {', '.join(f'`{name}`' for name in report_type.key)}.\n"]
    lines += [f"- **{panel.title}**: {panel.how_to_read}" for panel in report_type.panels]
    return "\n".join(lines) + "\n"


def _fields_table(fields: dict[str, Field]) -> str:
    lines = ["| field | type | unit | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {field.type} | {field.unit} | {field.description.replace('|', '/')} |"
        for name, field in fields.items()
    ]
    return "\n".join(lines) + "\n"
