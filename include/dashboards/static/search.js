// The search box: a combobox with a list of results by kind. What comes from the data only ever becomes text.

import { addressOf } from "./address.js";
import { at, element } from "./elements.js";
import { read } from "./reading.js";

const MILLISECONDS_TO_WAIT = 150; // after a key, before what is typed is searched
const LETTERS_AT_MOST = 100;
const WAYS = { slip: "similar" }; // what a result's way of matching is called, where it needs to be
const whole = new Intl.NumberFormat("en-US");

let box, popup, list, message, count;
let options = []; // of the results that are shown: {made, kind, name}
let active = -1; // the option that the arrow keys chose
let answered = null; // the text that the results are of
let waiting = 0; // the timer of the next search
let request = null; // the search under way; a newer one takes its place

export function startSearch() {
  const hint = "Search clients, products, promotions, dimension values";
  box = element("input", { id: "search-box", type: "text", role: "combobox", placeholder: "Search  /", maxLength: LETTERS_AT_MOST });
  const states = { "aria-label": hint, "aria-autocomplete": "list", "aria-controls": "search-list", "aria-keyshortcuts": "/" };
  for (const [name, value] of Object.entries({ ...states, "aria-expanded": "false", autocomplete: "off", spellcheck: "false" })) {
    box.setAttribute(name, value);
  }
  message = element("p", { id: "search-message", hidden: true });
  list = element("div", { id: "search-list", role: "listbox", "aria-label": "Results" });
  popup = element("div", { id: "search-popup", hidden: true }, message, list);
  count = element("p", { id: "search-count", role: "status", className: "unseen" });
  at("search").replaceChildren(box, popup, count);
  box.addEventListener("input", later);
  box.addEventListener("focus", () => box.value.trim() && answered === box.value && show(true));
  box.addEventListener("blur", () => show(false));
  box.addEventListener("keydown", onKey);
  popup.addEventListener("mousedown", (event) => event.preventDefault()); // the box keeps the focus
  document.addEventListener("keydown", onShortcut);
}

function onShortcut(event) {
  const isTyping = event.target.closest?.("input, select, textarea, [contenteditable]");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  box.focus();
  box.select();
}

function onKey(event) {
  if (event.key === "Escape") {
    event.stopPropagation();
    if (popup.hidden) reset();
    show(false);
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    if (popup.hidden && answered === box.value) show(true);
    const step = event.key === "ArrowDown" ? 1 : -1;
    const from = active < 0 && step < 0 ? options.length : active;
    if (options.length && !popup.hidden) activate((from + step + options.length) % options.length);
  } else if (event.key === "Enter" && !event.isComposing) {
    // Results of an earlier text are not what is asked for.
    const chosen = options[active] ?? (answered === box.value ? options[0] : null);
    if (chosen && !popup.hidden) choose(chosen);
  }
}

function later() {
  clearTimeout(waiting);
  if (box.value.trim()) waiting = setTimeout(search, MILLISECONDS_TO_WAIT);
  else reset();
}

async function search() {
  request?.abort();
  const own = (request = new AbortController());
  const text = box.value;
  let answer;
  try {
    answer = await read(`api/search?q=${encodeURIComponent(text)}`, { signal: own.signal });
  } catch (error) {
    if (own !== request || error.name === "AbortError") return;
    answer = { kinds: [], total: 0, reason: error.message };
  }
  if (own !== request) return; // a newer search was begun, or the box was emptied
  answered = text;
  draw(answer);
}

function reset() {
  clearTimeout(waiting);
  request?.abort();
  request = answered = null;
  box.value = "";
  draw({ kinds: [], total: 0, reason: "" });
}

function draw({ kinds, total, reason }) {
  options = [];
  activate(-1);
  list.replaceChildren(...kinds.map(groupOf));
  message.textContent = reason;
  message.hidden = !reason;
  const found = total === 1 ? "1 result" : `${whole.format(total)} results`;
  count.textContent = reason || (total ? `${found}; choose with the arrow keys` : "");
  show(document.activeElement === box && Boolean(reason || total));
}

function groupOf({ kind, title, results, more }) {
  const heading = element("div", { id: `search-kind-${kind}`, className: "kind", role: "presentation" }, title);
  const made = results.map((result) => optionOf(kind, result));
  const group = element("div", { role: "group" }, heading, ...made);
  group.setAttribute("aria-labelledby", heading.id);
  if (more) group.append(element("div", { className: "kind more", role: "presentation" }, "More; type on to find them"));
  return group;
}

function optionOf(kind, { name, label, way, count: orders }) {
  const told = [`${whole.format(orders)} ${orders === 1 ? "order" : "orders"}`, ...(WAYS[way] ? [WAYS[way]] : [])];
  const made = element("div", { id: `search-option-${options.length}`, role: "option" });
  made.append(element("span", { className: "name" }, label), " ", element("small", {}, told.join(" · ")));
  made.setAttribute("aria-selected", "false");
  const option = { made, kind, name };
  made.addEventListener("click", () => choose(option));
  options.push(option);
  return made;
}

function activate(place) {
  options[active]?.made.setAttribute("aria-selected", "false");
  active = place;
  const chosen = options[place]?.made;
  if (!chosen) return box.removeAttribute("aria-activedescendant");
  chosen.setAttribute("aria-selected", "true");
  box.setAttribute("aria-activedescendant", chosen.id);
  chosen.scrollIntoView({ block: "nearest" });
}

function choose({ kind, name }) {
  show(false);
  reset();
  location.hash = addressOf(["profile", kind], { name });
  at("main").focus();
}

function show(wanted) {
  popup.hidden = !wanted;
  box.setAttribute("aria-expanded", String(wanted));
  if (!wanted) activate(-1);
}
