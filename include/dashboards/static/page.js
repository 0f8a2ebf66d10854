// The page: which view an address names, and one view at a time read and drawn.
//
// A view has
//   title(here)           what the page is called
//   read(here)            → its content, from the API
//   draw(content, here)   draws into #panels, and into the bar what it needs of it; may be asynchronous
//   refused(error, here)  what else to show where the API refuses; may be left out
// where `here` is the address: {name, rest, asks}. Its name in `views` is the first part of its address.

import { addressOf, place, tellAddress } from "./address.js";
import { clearCards, redrawCharts, useThemes } from "./cards.js";
import { dashboard, dashboardAddress, known, useDashboards } from "./dashboard.js";
import { at, element, outside, say, wantedTheme } from "./elements.js";
import { drawNavigation, startNavigation } from "./navigation.js";
import { useNotes } from "./notes.js";
import { profile } from "./profile.js";
import { quarantine } from "./quarantine.js";
import { Refused, read } from "./reading.js";
import { startSearch } from "./search.js";

const views = { profile, quarantine }; // an address of no view is a dashboard's
const viewOf = (here) => views[here.name] ?? dashboard;

let groups = []; // {title, dashboards}
let hasDataDocs = false;
let asked = 0; // counts requests: only the newest answer is drawn
let isOpening = true; // until the first view is drawn
let redrawing = 0; // how many changes of the theme are being followed

async function open() {
  const here = place();
  const view = viewOf(here);
  const request = ++asked;
  isOpening = true;
  tellBusy();
  tellAddress();
  drawLinks(here);
  try {
    const content = await view.read(here);
    if (request !== asked) return;
    clear();
    entitle(view.title(here, content));
    await view.draw(content, here);
  } catch (error) {
    if (request !== asked) return;
    clear();
    say(error.message, true);
    view.refused?.(error, here);
    if (!(error instanceof Refused)) throw error;
  } finally {
    if (request === asked) {
      isOpening = false;
      tellBusy();
    }
  }
}

function tellBusy() {
  at("main").setAttribute("aria-busy", String(isOpening || redrawing > 0));
}

function clear() {
  clearCards();
  at("message").replaceChildren();
  at("run").textContent = "";
  for (const one of document.querySelectorAll("#bar .choice, #kibana, #about")) one.hidden = true;
}

function entitle(title) {
  at("title").textContent = title;
  document.title = title ? `${title} · Customer Analytics` : "Customer Analytics";
}

function drawLinks(here) {
  entitle(viewOf(here).title(here));
  const ofData = [{ name: "quarantine", href: addressOf("quarantine"), ...quarantine.link }];
  if (hasDataDocs) {
    const summary = "The checks of each source, as Great Expectations writes them.";
    ofData.push({ name: "", href: "data-docs/index.html", title: "Data docs", summary });
  }
  const links = groups.map(({ title, dashboards }) => ({
    title,
    links: dashboards.map((one) => ({ ...one, href: dashboardAddress(one.name) })),
  }));
  const current = here.name in views ? here.name : known(here)?.name;
  drawNavigation([...links, { title: "Data", links: ofData }], current);
}

// Only the charts know their colours; all else follows the style sheet.
async function applyTheme() {
  const wanted = wantedTheme();
  if (document.documentElement.dataset.theme === wanted) return;
  redrawing += 1;
  tellBusy();
  document.documentElement.dataset.theme = wanted;
  try {
    await redrawCharts();
  } finally {
    redrawing -= 1;
    tellBusy();
  }
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
  startNavigation();
  startSearch();
  try {
    const content = await read("api/dashboards");
    useThemes(content.themes);
    useNotes(content.writer);
    useDashboards(content.dashboards);
    hasDataDocs = content.has_data_docs;
    groups = [...new Set(content.dashboards.map((one) => one.group))].map((title) => ({
      title,
      dashboards: content.dashboards.filter((one) => one.group === title),
    }));
  } catch (error) {
    isOpening = false;
    tellBusy();
    say(error.message, true);
    return;
  }
  window.addEventListener("hashchange", open);
  await open();
}

await start();
