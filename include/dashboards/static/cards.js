// The cards of panels: tiles, charts, tables and the files behind them. Any view may show some.
//
// A panel is what `boards.py` gives: id, title, how_to_read, width, reason, tiles, spec, notes, columns, rows.

import { at, element, wantedTheme, written } from "./elements.js";

const ROWS_SHOWN = 500; // a longer table is for the CSV file
const MANY_ROWS = 4000; // above this, a canvas is faster than SVG

const charts = new Map(); // those that are drawn: card -> {panel, result, theme}
let themes = {};
let vega = null;

export function useThemes(given) {
  themes = given;
}

// Take away every card, and what its chart holds on to.
export function clearCards() {
  for (const { result } of charts.values()) result.finalize();
  charts.clear();
  at("panels").replaceChildren();
}

// Draw the charts in the theme that is wanted now. The cards stay, with the tables and the forms that are open in them.
export async function redrawCharts() {
  for (const [card, chart] of [...charts]) {
    if (charts.get(card) !== chart || chart.theme === wantedTheme()) continue; // another call was here meanwhile
    charts.delete(card);
    card.view = null;
    chart.result.finalize();
    await embed(chart.panel, card);
    await painted();
  }
}

// Append a card for each panel, then draw their charts from the top of the window down; done when all are drawn.
// `file` names the CSV files, `tools` gives what else belongs below a panel.
export async function drawCards(panels, { file = (panel) => panel.id, tools = () => [] } = {}) {
  const drawn = laidOut(panels).map((panel) => [panel, cardOf(panel, file(panel), tools(panel))]);
  at("panels").append(...drawn.map(([, card]) => card));
  const tops = new Map(drawn.map(([, card]) => [card, card.getBoundingClientRect().top]));
  drawn.sort(([, one], [, other]) => tops.get(one) - tops.get(other));
  for (const [panel, card] of drawn) {
    if (!card.isConnected) return; // another view was opened meanwhile
    if (!card.querySelector(".chart")) continue;
    await embed(panel, card);
    await painted();
  }
}

// ── Rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const COLUMNS = 12;

// The panels with the room that they get: an empty one needs a line, not the height of the chart beside it. So it is a
// line of its own below its row, and the others take its columns. Figures are hardly higher than a sentence: their rows
// stay as they are.
function laidOut(panels) {
  return rowsOf(panels).flatMap((row) => {
    if (row.some((panel) => panel.tiles.length)) return row;
    const lines = row.filter((panel) => panel.reason).map((panel) => ({ ...panel, width: widthOf(row), isLine: true }));
    return [...widened(row.filter((panel) => !panel.reason), widthOf(row)), ...lines];
  });
}

function rowsOf(panels) {
  const rows = [];
  let room = 0;
  for (const panel of panels) {
    if (panel.width > room) {
      rows.push([]);
      room = COLUMNS;
    }
    rows.at(-1).push(panel);
    room -= panel.width;
  }
  return rows;
}

const widthOf = (panels) => panels.reduce((sum, panel) => sum + panel.width, 0);

// The panels together so many columns wide, each in its proportion.
function widened(panels, columns) {
  const end = (place) => Math.round((columns * widthOf(panels.slice(0, place))) / widthOf(panels));
  return panels.map((panel, place) => ({ ...panel, width: end(place + 1) - end(place) }));
}

// ── A card ──────────────────────────────────────────────────────────────────────────────────────────────────────────

// One card, its chart not drawn yet.
function cardOf(panel, file, tools) {
  const shape = panel.isLine ? "panel line" : "panel";
  const made = element("section", { className: `${shape} w${panel.width}`, "data-panel-id": panel.id });
  const titleId = `title-${panel.id}`;
  made.setAttribute("aria-labelledby", titleId);
  made.append(element("h2", { id: titleId }, panel.title));
  if (!panel.isLine) made.append(element("p", { className: "reading" }, panel.how_to_read));
  if (panel.reason) {
    made.append(element("p", { className: "empty" }, panel.reason));
  } else if (panel.tiles.length) {
    made.append(tilesOf(panel));
  } else if (panel.spec) {
    made.append(element("div", { className: "chart", role: "img", "aria-label": `Chart: ${panel.title}` }));
  } else {
    made.append(tableOf(panel));
  }
  for (const note of panel.reason ? [] : panel.notes) made.append(element("p", { className: "note" }, note));
  made.append(toolsOf(panel, file, tools));
  return made;
}

// A value of a table's column: a name in words where the column has some for it.
function toldIn(column, value) {
  return Object.hasOwn(column.words, value) ? column.words[value] : written(value, column.format);
}

const LARGE = 100_000; // from here on a tile shows no hundredths
const LONG = 30; // letters of a cell that needs room for its lines
const SHORT = 15; // letters of a cell that stays on its line

function tilesOf(panel) {
  return element(
    "dl",
    { className: "tiles" },
    ...panel.tiles.map((tile) => {
      const isLarge = tile.format !== "percent" && Math.abs(tile.value) >= LARGE;
      const value = element("dd", {}, written(tile.value, isLarge ? "whole" : tile.format));
      if (tile.note) value.append(element("small", {}, tile.note));
      const label = element("dt", { className: tile.label ? "" : "unseen" }, tile.label || panel.title);
      return element("div", { className: "tile" }, label, value);
    }),
  );
}

function tableOf(panel) {
  const isTime = (column) => column.format === "date" || column.format === "instant";
  const kind = (column) => (isTime(column) ? "when" : column.format ? "number" : "");
  const lengthOf = (text) => (text.length > SHORT ? "middling" : "short");
  const kindOf = (text, column) => (text.length > LONG ? "long" : kind(column) || lengthOf(text));
  const head = panel.columns.map((column) => element("th", { scope: "col", className: kind(column) }, column.title));
  const body = panel.rows.slice(0, ROWS_SHOWN).map((row) =>
    element(
      "tr",
      {},
      ...panel.columns.map((column) => {
        const text = toldIn(column, row[column.name]);
        return element("td", { className: kindOf(text, column) }, text);
      }),
    ),
  );
  const table = element(
    "table",
    {},
    element("caption", {}, panel.title),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...body),
  );
  const scroll = element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `Table: ${panel.title}` }, table);
  if (panel.rows.length <= ROWS_SHOWN) return scroll;
  const rest = `The first ${ROWS_SHOWN} of ${panel.rows.length.toLocaleString("en-US")} rows; the CSV file has all.`;
  return element("div", {}, scroll, element("p", { className: "note" }, rest));
}

function toolsOf(panel, file, more) {
  const tools = element("div", { className: "tools" });
  if (panel.rows.length && panel.mark !== "table" && panel.tiles.length !== 1) {
    const toggle = element("button", { type: "button", className: "show-table" }, "Table");
    toggle.setAttribute("aria-expanded", "false");
    toggle.setAttribute("aria-label", `Table of ${panel.title}`);
    let table = null;
    toggle.addEventListener("click", () => {
      if (table) table.remove();
      table = table ? null : tableOf(panel);
      if (table) tools.before(table);
      toggle.setAttribute("aria-expanded", String(Boolean(table)));
    });
    tools.append(toggle);
  }
  if (panel.rows.length) {
    const save = element("button", { type: "button", className: "save-csv" }, "CSV");
    save.setAttribute("aria-label", `Save ${panel.title} as a CSV file`);
    save.addEventListener("click", () => download(`${file}.csv`, csvOf(panel)));
    tools.append(save);
  }
  tools.append(...more);
  return tools;
}

// ── Charts ──────────────────────────────────────────────────────────────────────────────────────────────────────────

// vega-embed is fetched while the panels are read, and is awaited where the first chart needs it.
function vegaEmbed() {
  vega ??= import(at("vega").href).then(() => window.vegaEmbed);
  return vega;
}

async function embed(panel, card) {
  const target = card.querySelector(".chart");
  const draw = await vegaEmbed();
  const theme = wantedTheme();
  const result = await draw(target, structuredClone(panel.spec), {
    mode: "vega-lite",
    ast: true, // expressions are interpreted, so the page needs no `unsafe-eval`
    config: themes[theme],
    renderer: panel.rows.length > MANY_ROWS ? "canvas" : "svg",
    actions: false,
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  });
  // Legends follow the width, which Vega knows only once it has drawn: else it keeps the room of the first guess.
  await result.view.resize().runAsync();
  if (!card.isConnected) {
    result.finalize();
    return;
  }
  if (theme !== wantedTheme()) {
    result.finalize();
    await embed(panel, card);
    return;
  }
  charts.set(card, { panel, result, theme });
  card.view = result.view; // what is drawn, for tests and for the curious: card.view.data("rows")
}

// Lets the browser show what is drawn and answer keys before the next chart; a hidden window paints nothing.
function painted() {
  return new Promise((resolve) => setTimeout(resolve));
}

// ── CSV ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function csvOf(panel) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    let text = String(value);
    // A spreadsheet would run a text that begins like this as a formula.
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const names = [...new Set(panel.rows.flatMap((row) => Object.keys(row)))];
  return [names, ...panel.rows.map((row) => names.map((name) => row[name]))].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function download(name, text) {
  const link = element("a", {
    href: URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" })),
    download: name.replaceAll(/[^\w.-]+/g, "_"),
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
