"""The table that a run ends with."""

from __future__ import annotations

from rich.console import Console

from include.launch.watch import summary_table


def told(quarantined: int, indexed: int) -> str:
    counts = {"read": 20_000, "quarantined": quarantined, "outside_window": 7, "good": 20_000 - 7 - quarantined}
    summary = {"sources": {"sessions": counts}, "indexed": {"orders": 12_000, "quarantine": indexed}, "reports": 75}
    console = Console(width=120)
    with console.capture() as printed:
        console.print(summary_table(summary, 93.46))
    return " ".join(printed.get().split())


def test_every_row_is_accounted_for() -> None:
    text = told(quarantined=3_000, indexed=3_000)
    for number in ("20,000", "3,000", "16,993", "12,000", "75", "93.5"):
        assert number in text
    assert "Not wanted" in text
    assert "Parquet" not in text


def test_rows_that_are_not_indexed_are_told() -> None:
    assert "Of each reason 1,000 quarantined rows are indexed; the Parquet files have them all." in told(8_869, 1_000)
