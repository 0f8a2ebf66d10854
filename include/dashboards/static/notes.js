// Notes pinned to charts over days: the numbered list below a chart, and the form to add and change one.
//
// The server draws the notes into the chart; what is here says the same in words. A written note reads the view again.

import { element } from "./elements.js";

const EVERY = "every"; // every chart over days, every dimension value
const TEXT_CHARACTERS = 500;
const HEADERS = { Accept: "application/json", "Content-Type": "application/json", "X-Customer-Analytics": "write" };

let writer = null; // who reads the page, where they may write notes
let toFocus = null; // {panel, note}: where to go on after the view was read again

export function useNotes(name) {
  writer = name;
}

// What belongs below a panel: its notes, and the button that opens the form. `day` is what the form begins with, `all`
// what a note may be about instead of `dimension`.
export function notesOf(panel, dimension, day, all = "every dimension value") {
  if (!panel.takes_notes) return [];
  const box = element("div", { className: "notes" });
  if (panel.pinned.length) box.append(listOf(panel, dimension, box, all));
  const parts = [box];
  if (writer !== null) {
    const button = element("button", { type: "button", className: "add-note" }, "Note");
    button.setAttribute("aria-label", `Add a note to ${panel.title}`);
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      const isOpen = button.getAttribute("aria-expanded") === "true";
      box.querySelector("form")?.remove();
      button.setAttribute("aria-expanded", String(!isOpen));
      if (isOpen) return;
      const empty = { id: newId(), panel: pinnedTo(panel), dimension, day, text: "", version: null };
      openForm(box, panel, dimension, all, empty, button);
    });
    parts.push(button);
  }
  if (toFocus?.panel === panel.id) setTimeout(() => goOn(box, parts.at(-1)));
  return parts;
}

// The id that notes on a panel have: on a profile it may be that of the same chart of a dashboard.
function pinnedTo(panel) {
  return panel.notes_panel ?? panel.id;
}

function goOn(box, button) {
  const note = box.querySelector(`[data-note-id="${CSS.escape(toFocus?.note ?? "")}"]`);
  toFocus = null;
  (note ?? button).focus();
}

function listOf(panel, dimension, box, all) {
  const items = panel.pinned.map((note, place) => {
    const told = element("span", { className: "note-text" }, note.text);
    const of = [note.author];
    if (note.dimension !== EVERY && note.dimension !== "all") of.push(note.dimension);
    if (note.panel === EVERY) of.push("on every chart over days");
    const item = element(
      "li",
      { tabIndex: -1, "data-note-id": note.id, value: place + 1 },
      element("time", { dateTime: note.day }, note.day),
      " ",
      told,
      " ",
      element("span", { className: "note-about" }, `(${of.join(", ")})`),
    );
    if (note.author === writer) item.append(" ", ...ownTools(note, panel, dimension, all, box, item));
    return item;
  });
  return element("ol", { "aria-label": `Notes on ${panel.title}` }, ...items);
}

function ownTools(note, panel, dimension, all, box, item) {
  const change = element("button", { type: "button", className: "change-note" }, "Change");
  change.setAttribute("aria-label", `Change the note of ${note.day}`);
  change.addEventListener("click", () => {
    box.querySelector("form")?.remove();
    openForm(box, panel, dimension, all, note, change);
  });
  const remove = element("button", { type: "button", className: "delete-note" }, "Delete");
  remove.setAttribute("aria-label", `Delete the note of ${note.day}`);
  let isSure = false;
  remove.addEventListener("click", async () => {
    if (!isSure) {
      // Inside Airflow's frame the browser shows no dialogue.
      isSure = true;
      remove.textContent = "Delete for good";
      remove.setAttribute("aria-label", `Delete the note of ${note.day} for good`);
      return;
    }
    const path = `api/notes/${encodeURIComponent(note.id)}?version=${encodeURIComponent(note.version)}`;
    const refused = await write(path, { method: "DELETE" });
    if (refused) return complain(item, refused);
    readAgain(panel.id, null);
  });
  return [change, " ", remove];
}

function openForm(box, panel, dimension, all, note, opener) {
  const id = `note-${panel.id}`;
  const day = element("input", { type: "date", id: `${id}-day`, value: note.day, required: true });
  const text = element("textarea", { id: `${id}-text`, maxLength: TEXT_CHARACTERS, rows: 2, required: true });
  text.value = note.text;
  const charts = choice(`${id}-chart`, note.panel, [
    [pinnedTo(panel), "this chart"],
    [EVERY, "every chart over days"],
  ]);
  const values = choice(`${id}-dimension`, note.dimension, [
    [dimension, dimension === "all" ? "the total" : dimension],
    [EVERY, all],
  ]);
  const form = element(
    "form",
    { className: "note-form", "aria-label": note.version ? "Change a note" : `A note on ${panel.title}` },
    element("label", { htmlFor: day.id }, "Day"),
    day,
    element("label", { htmlFor: text.id }, "Text"),
    text,
    element("label", { htmlFor: charts.id }, "On"),
    charts,
    element("label", { htmlFor: values.id }, "About"),
    values,
    element("div", { className: "note-buttons" }, element("button", { type: "submit" }, "Save"), cancelOf(opener, () => form.remove())),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const content = { panel: charts.value, dimension: values.value, day: day.value, text: text.value };
    if (note.version) content.version = note.version;
    const save = form.querySelector("[type=submit]");
    save.disabled = true;
    const refused = await write(`api/notes/${note.id}`, { method: "PUT", body: JSON.stringify(content) });
    save.disabled = false;
    if (refused) return complain(form, refused);
    readAgain(panel.id, note.id);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") form.querySelector(".cancel").click();
  });
  box.append(form);
  day.focus();
}

function choice(id, chosen, options) {
  const select = element("select", { id });
  select.append(...options.map(([value, title]) => element("option", { value }, title)));
  select.value = chosen;
  return select;
}

function cancelOf(opener, close) {
  const cancel = element("button", { type: "button", className: "cancel" }, "Cancel");
  cancel.addEventListener("click", () => {
    close();
    if (opener.hasAttribute("aria-expanded")) opener.setAttribute("aria-expanded", "false");
    opener.focus();
  });
  return cancel;
}

// Made here, so that a second try writes no second note. `randomUUID` is for pages over HTTPS only.
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Writes; empty where that went well, else the sentence why not.
async function write(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: HEADERS });
  } catch {
    return "Airflow does not answer; is its API server running?";
  }
  if (answer.ok) return "";
  if (answer.status === 401) return "Your login has run out; log in to Airflow again and reload.";
  const content = await answer.json().catch(() => ({}));
  return content.detail ?? `Airflow answered ${answer.status}.`;
}

function complain(where, sentence) {
  where.querySelector(".note-refused")?.remove();
  where.append(element("p", { className: "note-refused", role: "alert" }, sentence));
}

function readAgain(panel, note) {
  toFocus = { panel, note };
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}
