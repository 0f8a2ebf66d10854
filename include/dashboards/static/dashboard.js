// The dashboards: every address that is no other view's.

import { addressOf, place } from "./address.js";
import { drawCards } from "./cards.js";
import { at, element, say } from "./elements.js";
import { notesOf } from "./notes.js";
import { Refused, read } from "./reading.js";

const WARNINGS_TOLD = 2; // more of them open on demand, or they would push the panels out of the window
const SEE_ALSO = { quarantine: "Rejected rows" }; // views that a dashboard leads to

let dashboards = [];

export function useDashboards(given) {
  dashboards = given;
  at("dimension").addEventListener("change", () => choose());
  at("date").addEventListener("change", () => choose());
}

// A dashboard's address with the choice that the page has now.
export function dashboardAddress(name) {
  return addressOf(name, asked(place().asks));
}

export const dashboard = {
  title: (here) => known(here)?.title ?? "",

  read(here) {
    const one = known(here);
    if (!one) throw new Refused("There are no analyses yet: add one in include/analytics.");
    const asks = new URLSearchParams(asked(here.asks));
    return read(`api/dashboards/${encodeURIComponent(one.name)}?${asks}`);
  },

  async draw(shown, here) {
    drawBar(shown, here);
    const reports = Object.values(shown.reports);
    drawAbout(shown);
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
    drawWarnings(shown);
    await drawCards(shown.panels, {
      file: (panel) => `${panel.id}.${shown.dimension}`,
      tools: (panel) => toolsOf(panel, shown),
    });
  },

  // The choice stays, with what there is to choose from instead.
  refused(error, here) {
    const { dimensions = ["all"], dates = [] } = error.content ?? {};
    drawBar({ dimensions, dates, reports: {}, name: known(here)?.name }, here);
  },
};

// What an address names, and the first dashboard where it names none.
export function known(here) {
  return dashboards.find((one) => one.name === here.name) ?? dashboards[0];
}

function asked(asks) {
  const dimension = asks.get("dimension");
  const chosen = {};
  if (dimension && dimension !== "all") chosen.dimension = dimension;
  if (asks.get("date")) chosen.date = asks.get("date");
  return chosen;
}

function choose() {
  const dimension = at("dimension").value;
  location.hash = addressOf(known(place()).name, { dimension: dimension === "all" ? "" : dimension, date: at("date").value });
}

// ── The bar ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// A run's name without the fractions of a second that would break the line.
const toTheSecond = (run) => run.replace(/\.\d+\+00:00$/, "");

function drawBar(shown, here) {
  for (const one of document.querySelectorAll("#bar .choice")) one.hidden = false;
  drawDimensions(shown.dimensions, here.asks.get("dimension") || "all");
  drawDates(shown.dates, here.asks.get("date") || "");
  const reports = Object.values(shown.reports);
  const dates = [...new Set(reports.map((report) => report.report_date))].sort();
  const runs = [...new Set(reports.map((report) => report.run_id))];
  at("run").textContent = reports.length
    ? `As of ${dates.length > 1 ? `${dates[0]} to ` : ""}${dates.at(-1)} · ${runs.length > 1 ? "runs" : "run"} ${runs.map(toTheSecond).join(", ")}`
    : "";
  at("run").title = runs.join(", ");
  const inKibana = dashboards.find((one) => one.name === shown.name)?.kibana ?? "";
  const behind = (shown.see_also ?? []).map((name) => element("a", { href: addressOf(name) }, SEE_ALSO[name]));
  at("see-also").replaceChildren(...behind);
  at("kibana").hidden = !inKibana;
  at("kibana").href = inKibana;
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

function drawDates(dates, chosen) {
  const select = at("date");
  const listed = [...new Set([...dates, ...(chosen ? [chosen] : [])])].sort().reverse();
  select.replaceChildren(
    element("option", { value: "" }, "Latest"),
    ...listed.map((date) => element("option", { value: date }, date)),
  );
  select.value = chosen;
}

// ── Around the panels ───────────────────────────────────────────────────────────────────────────────────────────────

function drawAbout(shown) {
  at("about").hidden = false;
  at("about-text").textContent = shown.about;
  const counted = Object.entries(shown.reports).flatMap(([id, report]) => {
    const told = Object.entries({ ...report.definition, ...report.parameters });
    const list = told.flatMap(([name, value]) => [
      element("dt", {}, name.replaceAll("_", " ")),
      element("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value)),
    ]);
    return list.length ? [element("h3", {}, report.title ?? id), element("dl", {}, ...list)] : [];
  });
  at("counted").replaceChildren(...counted);
}

function drawWarnings(shown) {
  const told = new Map(); // the same sentence of several reports is told once
  for (const report of Object.values(shown.reports)) {
    for (const warning of report.warnings ?? []) told.set(warning, [...(told.get(warning) ?? []), report.title]);
  }
  const all = Object.keys(shown.reports).length;
  const lines = [...told].map(([warning, titles]) =>
    element("p", { className: "warning" }, titles.length === all ? warning : `${titles.join(", ")}: ${warning}`),
  );
  if (lines.length <= WARNINGS_TOLD) {
    at("message").replaceChildren(...lines);
    return;
  }
  const summary = element("summary", {}, `${lines.length} warnings about these reports`);
  at("message").replaceChildren(element("details", { className: "warnings" }, summary, ...lines));
}

// The notes on a panel; where it comes from, with the choice kept; and the date of its report, where the dates differ.
function toolsOf(panel, shown) {
  const report = shown.reports[panel.report_id] ?? {};
  const tools = notesOf(panel, shown.dimension, report.report_date);
  if (panel.from) {
    const link = element("a", { href: dashboardAddress(panel.from.name), className: "from" }, panel.from.title);
    link.setAttribute("aria-label", `${panel.from.title}, where ${panel.title} comes from`);
    tools.push(link);
  }
  const dates = new Set(Object.values(shown.reports).map((one) => one.report_date));
  if (dates.size > 1 && report.report_date) {
    tools.push(element("p", { className: "note" }, `as of ${report.report_date}, ${toTheSecond(report.run_id)}`));
  }
  return tools;
}
