"""What Chromium has drawn of a dashboard, held against the server's own reading of it.

Charts tell it in two ways: the rows that the view was given, and the rows that its marks stand for once every filter
and every scale has been applied. Tiles, tables and CSV files are read as a person reads them.
"""

import csv
import io
import json
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import quote

from elasticsearch import Elasticsearch
from playwright.sync_api import Frame, Page

from include.dashboards.boards import read_dashboard
from include.dashboards.dashboard import dashboard
from include.dashboards.sendable import in_column, written
from tests.page_in_browser import shown

LARGE = 100_000  # from here on a tile shows no hundredths
ROWS_SHOWN = 500  # a longer table is for the CSV file

# A table is behind a button on most cards, and a file behind another one: both are pressed, as a person would, but the
# file is read where it is made. All of it comes as one text: value by value it would take longer than to draw it.
READ = """async (cards, presses) => {
  const said = (within, what) => [...within.querySelectorAll(what)].map(one => one.textContent);
  const tableOf = card => {
    const table = card.querySelector("table");
    return table && { head: said(table, "th"), body: [...table.tBodies[0].rows].map(row => said(row, "td")) };
  };
  const row = datum => [datum.x instanceof Date ? datum.x.toISOString() : datum.x, datum.label, datum.value,
                        datum.series ?? null];
  const marksOf = view => {
    const found = [];
    const descend = mark => {
      for (const item of mark.items ?? []) {
        if (mark.marktype === "group") item.items.forEach(descend);
        else if (mark.role === "mark" && "label" in (item.datum ?? {})) found.push(row(item.datum));
      }
    };
    descend(view.scenegraph().root);
    return [...new Set(found.map(one => JSON.stringify(one.slice(1))))].map(JSON.parse);
  };
  const fileOf = async button => {
    const [make, press] = [URL.createObjectURL, HTMLAnchorElement.prototype.click];
    let file = null;
    URL.createObjectURL = blob => { file = blob; return "blob:"; };
    HTMLAnchorElement.prototype.click = () => {};
    try { button.click(); } finally { [URL.createObjectURL, HTMLAnchorElement.prototype.click] = [make, press]; }
    return file.text();
  };
  const all = cards.map(async card => {
    const [toggle, save] = [card.querySelector(".show-table"), card.querySelector(".save-csv")];
    const hadTable = Boolean(card.querySelector("table"));
    if (presses) toggle?.click();
    const found = {
      id: card.dataset.panelId,
      title: said(card, "h2")[0],
      reason: said(card, ".empty")[0] ?? "",
      tiles: [...card.querySelectorAll(".tile")].map(one =>
        [one.querySelector("dt").textContent, one.querySelector("dd").firstChild.data, said(one, "small")[0] ?? ""]),
      hasChart: Boolean(card.querySelector(".chart")),
      offersTable: hadTable || Boolean(toggle),
      hadTable,
      table: tableOf(card),
      offersFile: Boolean(save),
      file: presses && save ? await fileOf(save) : null,
      rows: card.view ? card.view.data("rows").map(row) : null,
      marks: card.view ? marksOf(card.view) : null,
    };
    if (presses) toggle?.click();
    return found;
  });
  return JSON.stringify(await Promise.all(all));
}"""


def check_drawn(frame: Page | Frame, read: Mapping[str, Any], *, presses: bool) -> int:
    """Every card shows what the dashboard has there, and nothing else is shown; how many charts were compared.

    `presses` the buttons of tables and files too; else they have to be there.
    """
    told = json.loads(frame.eval_on_selector_all("#panels > .panel", READ, presses))
    cards = {card["id"]: card for card in told}
    assert cards.keys() == {panel["id"] for panel in read["panels"]}
    charts = 0
    for panel in read["panels"]:
        card, where = cards[panel["id"]], (read["dimension"], panel["id"])
        assert (card["title"], card["reason"]) == (panel["title"], panel["reason"]), where
        is_chart = bool(panel["spec"]) and not panel["reason"]
        assert card["hasChart"] == is_chart, where
        if is_chart:
            charts += 1
            _check_chart(card, panel, where)
        tiles = [] if panel["reason"] else panel["tiles"]
        told = [[tile["label"] or panel["title"], _of_tile(tile), tile["note"]] for tile in tiles]
        assert card["tiles"] == told, where
        _check_table(card, panel, where)
        _check_file(card, panel, where)
    return charts


def check_dimension_value(page: Page, client: Elasticsearch, name: str, dimension: str) -> int:
    """As `check_drawn` of that dashboard for that value, which is chosen on the page; it shows another one before.

    Tables and files that are behind a button stay there.
    """
    with page.expect_response(lambda answer: "dimension=" in answer.url):
        page.evaluate("hash => { location.hash = hash; }", f"#/{name}?dimension={quote(dimension)}")
    shown(page)
    return check_drawn(page, read_dashboard(client, dashboard(name), dimension), presses=False)


def _check_chart(card: Mapping[str, Any], panel: Mapping[str, Any], where: object) -> None:
    values = panel["spec"]["data"]["values"]
    given = [[row["x"], row["label"], row["value"], row.get("series")] for row in values]
    _check_same(card["rows"], given, where)
    seen = {tuple(row[1:]) for row in given if row[2] is not None}
    found = {tuple(row) for row in card["marks"] if row[1] is not None}
    assert found == seen, (where, found - seen, seen - found)


def _check_table(card: Mapping[str, Any], panel: Mapping[str, Any], where: object) -> None:
    """A chart with rows has its table behind a button; tiles too, unless there is one: it says all."""
    assert card["hadTable"] == (panel["mark"] == "table" and not panel["reason"]), where
    assert card["offersTable"] == (bool(panel["rows"]) and len(panel["tiles"]) != 1), where
    if card["table"]:
        columns = panel["columns"]
        assert card["table"]["head"] == [column["title"] for column in columns], where
        expected = [
            [in_column(row.get(column["name"]), column) for column in columns] for row in panel["rows"][:ROWS_SHOWN]
        ]
        _check_same(card["table"]["body"], expected, where)


def _check_file(card: Mapping[str, Any], panel: Mapping[str, Any], where: object) -> None:
    assert card["offersFile"] == bool(panel["rows"]), where
    if card["file"]:
        found = csv.DictReader(io.StringIO(card["file"].removeprefix("\ufeff"), newline=""))
        told = [{name: text for name, text in row.items() if text} for row in found]
        expected = [{name: text for name, value in row.items() if (text := _of_file(value))} for row in panel["rows"]]
        _check_same(told, expected, where)


def _check_same(found: list[Any], expected: list[Any], where: object) -> None:
    """Two lists; only what differs is told, as they are long."""
    assert len(found) == len(expected), where
    different = [pair for pair in zip(found, expected, strict=True) if pair[0] != pair[1]]
    assert not different, (where, different[:3])


def _of_tile(tile: Mapping[str, Any]) -> str:
    value, shape = tile["value"], tile["format"]
    if value is not None and shape != "percent" and abs(value) >= LARGE:
        return f"{Decimal(str(value)).quantize(Decimal(1), ROUND_HALF_UP):,}"
    return written(value, shape)


def _of_file(value: Any) -> str:
    """A value as the file has it: a number as JavaScript writes it, a text that a spreadsheet runs no formula of."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case float() if abs(value) < 1e-4:
            return _small(value)
        case str() if value[:1] in ("=", "+", "-", "@", "\t", "\r"):
            return f"'{value}"
        case _:
            return str(value)


def _small(value: float) -> str:
    """Python writes a power of ten below a ten-thousandth, JavaScript below a millionth, and without a zero in it."""
    if abs(value) < 1e-6:
        digits, _, power = repr(value).partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    return f"{Decimal(repr(value)):f}"
