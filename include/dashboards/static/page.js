// The dashboards page. What comes from the data (names of values, warnings, reasons) only ever becomes text, never HTML.

import { cardsOf, hashOfRun, quarantine } from "./quarantine.js";

const ROWS_SHOWN = 500; // a longer table is for the CSV file
const DIGITS = { number: 2, decimal: 2, money: 2, percent: 1, hours: 1, days: 1 };
const UNITS = { hours: " h", days: " d" };
const MANY_ROWS = 4000; // above this, a canvas is faster than SVG

const at = (id) => document.getElementById(id);
const views = []; // of the dashboard that is shown
let themes = {};
let dashboards = [];
let shown = null; // the last answer of the API
let asked = 0; // counts requests: only the newest answer is drawn

// ── Small parts ─────────────────────────────────────────────────────────────────────────────────────────────────────

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function written(value, format) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (format === "date") return String(value).slice(0, 10);
  if (typeof value !== "number" || !format) return String(value);
  const digits = DIGITS[format] ?? 2;
  const trimmed = format === "number" || (format === "decimal" && Number.isInteger(value));
  const options = { minimumFractionDigits: trimmed ? 0 : digits, maximumFractionDigits: digits };
  if (format === "percent") options.style = "percent";
  return new Intl.NumberFormat("en-US", options).format(value) + (UNITS[format] ?? "");
}

function isDark() {
  // Inside the Airflow UI its own switch decides; alone, the system's.
  const outer = outside();
  if (outer) return outer.document.documentElement.classList.contains("dark");
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function outside() {
  if (window.parent === window) return null;
  try {
    return window.parent.document ? window.parent : null;
  } catch {
    return null; // framed by another origin
  }
}

// ── The address: #/cohorts?dimension=region:%20North ────────────────────────────────────────────────────────────────

function place() {
  const [name, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const known = name === quarantine.name || dashboards.some((one) => one.name === name);
  const asks = new URLSearchParams(query);
  return { name: known ? name : dashboards[0]?.name, dimension: asks.get("dimension") || "all", run: asks.get("run") };
}

function hashOf(name, dimension) {
  return `#/${name}` + (dimension === "all" ? "" : `?dimension=${encodeURIComponent(dimension)}`);
}

function tellAddress() {
  // Airflow shows its frame's address in its own when the frame loads, but does not see the part after `#` change.
  const outer = outside();
  const within = `${location.pathname}${location.search}`;
  if (!outer || !outer.location.pathname.endsWith(within)) return;
  outer.history.replaceState(outer.history.state, "", outer.location.pathname + outer.location.search + location.hash);
}

// ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

class Refused extends Error {}

async function read(path) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" } });
  } catch {
    throw new Refused("Airflow does not answer; is its API server running?");
  }
  if (answer.status === 401 || answer.status === 403) {
    throw new Refused("Your login has run out or may not see this page; log in to Airflow again and reload.");
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  const refused = new Refused(content.detail ?? `Airflow answered ${answer.status}.`);
  refused.dimensions = content.dimensions;
  throw refused;
}

async function open() {
  const { name, dimension, run } = place();
  if (!name) return say("There are no analyses yet: add one in include/analytics.");
  const request = ++asked;
  at("main").setAttribute("aria-busy", "true");
  tellAddress();
  drawTabs(name, dimension);
  const isQuarantine = name === quarantine.name;
  for (const one of document.querySelectorAll("#dimension, label[for=dimension]")) one.hidden = isQuarantine;
  if (isQuarantine) return openQuarantine(run, request);
  try {
    const content = await read(`api/dashboards/${encodeURIComponent(name)}?dimension=${encodeURIComponent(dimension)}`);
    if (request !== asked) return;
    shown = content;
    await drawDashboard();
  } catch (error) {
    if (request !== asked) return;
    shown = null;
    clear();
    at("run").textContent = "";
    at("about").hidden = true;
    drawDimensions(error.dimensions ?? ["all"], dimension);
    say(error.message, true);
    if (!(error instanceof Refused)) throw error;
  } finally {
    if (request === asked) at("main").setAttribute("aria-busy", "false");
  }
}

async function openQuarantine(run, request) {
  shown = null;
  try {
    const content = await read("api/quarantine" + (run ? `?run=${encodeURIComponent(run)}` : ""));
    if (request !== asked) return;
    clear();
    at("run").textContent = "";
    at("about").hidden = true;
    at("panels").append(...cardsOf(content, element, (key) => (location.hash = hashOfRun(key))));
  } catch (error) {
    if (request !== asked) return;
    clear();
    at("run").textContent = "";
    at("about").hidden = true;
    const rest = element("a", { href: hashOfRun(null) }, "Show the newest run");
    say(error.message, true);
    if (run) at("message").append(element("p", {}, rest));
    if (!(error instanceof Refused)) throw error;
  } finally {
    if (request === asked) at("main").setAttribute("aria-busy", "false");
  }
}

// ── Drawing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function say(text, isError = false) {
  at("message").replaceChildren(element("div", { className: isError ? "message error" : "message" }, text));
}

function clear() {
  for (const view of views.splice(0)) view.finalize();
  at("panels").replaceChildren();
  at("message").replaceChildren();
}

function drawTabs(name, dimension) {
  at("tabs").replaceChildren(
    ...[...dashboards, quarantine].map((one) => {
      const href = one === quarantine ? hashOfRun(null) : hashOf(one.name, dimension);
      const link = element("a", { href, title: one.summary }, one.title);
      if (one.name === name) {
        link.setAttribute("aria-current", "page");
        document.title = `${one.title} · Customer Analytics`;
      }
      return link;
    }),
  );
}

function drawDimensions(values, chosen) {
  const select = at("dimension");
  const groups = new Map();
  const options = [];
  for (const value of new Set([...values, chosen])) {
    if (value === "all") {
      options.push(element("option", { value }, "All"));
      continue;
    }
    const column = value.slice(0, Math.max(0, value.indexOf(": ")));
    if (!groups.has(column)) {
      groups.set(column, element("optgroup", { label: column }));
      options.push(groups.get(column));
    }
    groups.get(column).append(element("option", { value }, value));
  }
  select.replaceChildren(...options);
  select.value = chosen;
}

async function drawDashboard() {
  clear();
  drawDimensions(shown.dimensions, shown.dimension);
  const reports = Object.values(shown.reports);
  const dates = [...new Set(reports.map((report) => report.report_date))].sort();
  const runs = [...new Set(reports.map((report) => report.run_id))];
  at("run").textContent = reports.length
    ? `As of ${dates.length > 1 ? `${dates[0]} to ` : ""}${dates.at(-1)} · ${runs.length > 1 ? "runs" : "run"} ${runs.join(", ")}`
    : "";
  drawAbout();
  if (!shown.has_reports) {
    say(
      `No run has written ${shown.title} yet. In Airflow, open Dags, then customer_analytics, press Trigger, ` +
        "and reload this page when the run is done.",
    );
    return;
  }
  const skipped = new Set(reports.map((report) => report.skipped ?? ""));
  if (skipped.size === 1 && !skipped.has("")) {
    say(`${shown.title} was skipped: ${[...skipped][0]}`);
    return;
  }
  drawWarnings();
  const drawn = shown.panels.map((panel) => [panel, card(panel)]);
  at("panels").append(...drawn.map(([, made]) => made));
  for (const [panel, made] of drawn) await embed(panel, made);
}

function card(panel) {
  const report = shown.reports[panel.type] ?? {};
  const made = element("section", { className: `panel w${panel.width}`, "data-panel-id": panel.id });
  const titleId = `title-${panel.id}`;
  made.setAttribute("aria-labelledby", titleId);
  made.append(element("h2", { id: titleId }, panel.title), element("p", { className: "reading" }, panel.how_to_read));
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
  made.append(toolsOf(panel, report));
  return made;
}

function tilesOf(panel) {
  return element(
    "dl",
    { className: "tiles" },
    ...panel.tiles.map((tile) => {
      const value = element("dd", {}, written(tile.value, tile.format));
      if (tile.note) value.append(element("small", {}, tile.note));
      const label = element("dt", { className: tile.label ? "" : "unseen" }, tile.label || panel.title);
      return element("div", { className: "tile" }, label, value);
    }),
  );
}

function tableOf(panel) {
  const isNumber = (column) => column.format && column.format !== "date";
  const kind = (column) => (isNumber(column) ? "number" : "");
  const head = panel.columns.map((column) => element("th", { scope: "col", className: kind(column) }, column.title));
  const body = panel.rows.slice(0, ROWS_SHOWN).map((row) =>
    element(
      "tr",
      {},
      ...panel.columns.map((column) => element("td", { className: kind(column) }, written(row[column.name], column.format))),
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

function drawAbout() {
  at("about").hidden = false;
  at("about-text").textContent = shown.about;
  const counted = Object.entries(shown.reports).flatMap(([type, report]) => {
    const told = Object.entries({ ...report.definition, ...report.parameters });
    const list = told.flatMap(([name, value]) => [
      element("dt", {}, name.replaceAll("_", " ")),
      element("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value)),
    ]);
    return list.length ? [element("h3", {}, report.title ?? type), element("dl", {}, ...list)] : [];
  });
  at("counted").replaceChildren(...counted);
}

function drawWarnings() {
  const told = new Map(); // the same sentence of several reports is told once
  for (const report of Object.values(shown.reports)) {
    for (const warning of report.warnings ?? []) told.set(warning, [...(told.get(warning) ?? []), report.title]);
  }
  const all = Object.keys(shown.reports).length;
  at("message").replaceChildren(
    ...[...told].map(([warning, titles]) =>
      element("p", { className: "warning" }, titles.length === all ? warning : `${titles.join(", ")}: ${warning}`),
    ),
  );
}

function toolsOf(panel, report) {
  const tools = element("div", { className: "tools" });
  if (panel.rows.length && (panel.spec || panel.tiles.length > 1)) {
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
    save.addEventListener("click", () => download(`${panel.id}.${shown.dimension}.csv`, csvOf(panel)));
    tools.append(save);
  }
  const dates = new Set(Object.values(shown.reports).map((one) => one.report_date));
  if (dates.size > 1 && report.report_date) {
    tools.append(element("p", { className: "note" }, `as of ${report.report_date}, ${report.run_id}`));
  }
  return tools;
}

async function embed(panel, made) {
  const target = made.querySelector(".chart");
  if (!target) return;
  const result = await window.vegaEmbed(target, structuredClone(panel.spec), {
    mode: "vega-lite",
    ast: true, // expressions are interpreted, so the page needs no `unsafe-eval`
    config: themes[isDark() ? "dark" : "light"],
    renderer: panel.rows.length > MANY_ROWS ? "canvas" : "svg",
    actions: false,
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  });
  if (!made.isConnected) {
    result.finalize();
    return;
  }
  views.push(result);
  made.view = result.view; // what is drawn, for tests and for the curious: made.view.data("rows")
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

// ── Start ───────────────────────────────────────────────────────────────────────────────────────────────────────────

async function applyTheme() {
  const wanted = isDark() ? "dark" : "light";
  if (document.documentElement.dataset.theme === wanted) return;
  document.documentElement.dataset.theme = wanted;
  if (shown) await drawDashboard();
}

async function start() {
  const outer = outside();
  if (outer) {
    const observer = new MutationObserver(applyTheme);
    observer.observe(outer.document.documentElement, { attributes: true, attributeFilter: ["class"] });
    window.addEventListener("pagehide", () => observer.disconnect());
  } else {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
  }
  await applyTheme();
  try {
    const content = await read("api/dashboards");
    ({ dashboards, themes } = content);
    at("data-docs").hidden = !content.has_data_docs;
  } catch (error) {
    at("main").setAttribute("aria-busy", "false");
    say(error.message, true);
    return;
  }
  at("dimension").addEventListener("change", (event) => {
    location.hash = hashOf(place().name, event.target.value);
  });
  window.addEventListener("hashchange", open);
  await open();
}

await start();
