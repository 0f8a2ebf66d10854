"""The page of metrics tells of every report and every field, and is up to date."""

import configs
from include import catalogue
from include.measures.documentation import render


def test_the_page_is_fresh() -> None:
    page = configs.PROJECT_ROOT / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == render(), "docs/metrics.md is stale: run `make generate`"


def test_every_report_and_field_is_explained() -> None:
    text = render()
    for analysis in catalogue.reporting():
        assert f"\n## {analysis.title}\n" in text
        for report_type in analysis.module.REPORTS:
            assert f"(`{report_type.type}`)" in text
            assert all(f"| `{name}` |" in text for name in report_type.fields)
            assert all(panel.how_to_read in text for panel in report_type.panels)
