// The Quarantine view: what a run set aside and why. What comes from the data only ever becomes text, never HTML.

import { addressOf } from "./address.js";
import { at, element, written } from "./elements.js";
import { read } from "./reading.js";

const NAME = "quarantine";
const TITLE = "Quarantine";
const whole = new Intl.NumberFormat("en-US");

export const quarantine = {
  link: { title: TITLE, summary: "The rows that a run set aside, by reason." },
  title: () => TITLE,
  read({ asks }) {
    return read("api/quarantine" + (asks.get("run") ? `?run=${encodeURIComponent(asks.get("run"))}` : ""));
  },
  draw(content) {
    at("panels").append(
      overview(content, (run) => (location.hash = addressOf(NAME, { run }))),
      ...content.sources.map((source) => cardOf(source, content.run)),
    );
  },
  refused(error, { asks }) {
    const rest = element("a", { href: addressOf(NAME) }, "Show the newest run");
    if (asks.get("run")) at("message").append(element("p", {}, rest));
  },
};

function overview({ runs, run, reason }, choose) {
  const card = section(NAME, TITLE);
  card.append(
    element(
      "p",
      { className: "reading" },
      "Rows that break a rule are set aside with their place, their values and every rule they broke; the others are loaded.",
    ),
  );
  if (run) {
    const select = element("select", { id: "quarantine-run" }, ...runs.map((one) => optionOf(one)));
    select.value = run.key;
    select.addEventListener("change", () => choose(select.value));
    const label = element("label", { htmlFor: "quarantine-run" }, "Run");
    card.append(element("p", { className: "run-choice" }, label, " ", select));
  }
  if (reason) card.append(element("p", { className: "empty" }, reason));
  if (run && run.quarantined > run.replayed) card.append(howToReplay());
  return card;
}

function optionOf(run) {
  const when = written(run.quarantined_at, "instant");
  return element("option", { value: run.key }, `${when} UTC · ${run.run_id} · ${rows(run.quarantined)}`);
}

function howToReplay() {
  // Within Airflow's frame the link leads in the outer page.
  const link = element("a", { href: "../dags/replay_quarantine", target: "_top" }, "replay_quarantine");
  return element(
    "p",
    {},
    "Once the mapping, a rule or the data they refer to were changed: in Airflow, open Dags, then ",
    link,
    ", and press Trigger. It judges these rows again and loads those that pass.",
  );
}

function cardOf(source, run) {
  const card = section(`quarantine.${source.source}`, source.source);
  const of = source.read === null ? "" : ` of ${whole.format(source.read)}`;
  const share = source.read ? ` (${((100 * source.quarantined) / source.read).toFixed(2)} %)` : "";
  const since = source.replayed ? `; ${rows(source.replayed)} were loaded by a replay since` : "";
  const told = `${whole.format(source.quarantined)}${of} rows were set aside${share}${since}.`;
  card.append(element("p", { className: "reading" }, told));
  card.append(...source.rules.map((rule) => ruleOf(rule, source.source, run)));
  return card;
}

function ruleOf(rule, source, run) {
  const made = element("details", { className: "rule", "data-rule": rule.rule });
  const name = element("code", {}, rule.rule);
  made.append(
    element("summary", {}, element("strong", {}, whole.format(rule.rows)), " ", name, ` – ${rule.sentence}`),
    element("p", { className: "remedy" }, rule.remedy),
  );
  if (rule.examples.length) made.append(tableOf(rule, source));
  made.append(element("p", { className: "note" }, shownOf(rule, source, run)));
  return made;
}

function shownOf(rule, source, run) {
  const place = `runs/${run.key}/quarantine/${source}/*.parquet below STAGING_URL`;
  const searched = rule.indexed < rule.rows ? `, the index quarantine has ${whole.format(rule.indexed)}` : "";
  return rule.examples.length < rule.rows
    ? `Shown are ${whole.format(rule.examples.length)} of ${rows(rule.rows)}${searched}; all are in ${place}.`
    : `All of them are shown; they are also in ${place}.`;
}

function tableOf(rule, source) {
  const head = ["File", "Row", "Key", "Values", "Other rules"].map((title) => element("th", { scope: "col" }, title));
  const body = rule.examples.map((row) =>
    element(
      "tr",
      {},
      element("td", {}, row.file ?? "–"),
      element("td", { className: "number" }, String(row.row ?? "–")),
      element("td", {}, row.key ?? "–"),
      element("td", {}, valuesOf(row)),
      element("td", {}, row.rules.filter((other) => other !== rule.rule).join(", ") || "–"),
    ),
  );
  const title = `${source}: rows that broke ${rule.rule}`;
  const table = element("table", {}, element("caption", {}, title), element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
  return element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": title }, table);
}

function valuesOf(row) {
  const parts = Object.entries(row.raw ?? {}).map(([name, value]) =>
    element("div", {}, element("span", { className: "name" }, row.form === "text" ? "" : `${name}: `), String(value)),
  );
  return parts.length ? element("div", { className: "values" }, ...parts) : "–";
}

function section(id, title) {
  const made = element("section", { className: "panel w12", "data-panel-id": id });
  made.setAttribute("aria-labelledby", `title-${id}`);
  made.append(element("h2", { id: `title-${id}` }, title));
  return made;
}

function rows(count) {
  return `${whole.format(count)} ${count === 1 ? "row" : "rows"}`;
}
