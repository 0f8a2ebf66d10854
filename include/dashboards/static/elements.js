// Elements and written values, for every view. What comes from the data only ever becomes text, never HTML.

const DIGITS = { number: 2, whole: 0, decimal: 2, money: 2, percent: 1, hours: 1, days: 1 };
const UNITS = { hours: " h", days: " d" };

export const at = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function written(value, format) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (format === "date") return String(value).slice(0, 10);
  if (format === "instant") return new Date(value).toISOString().slice(0, 16).replace("T", " "); // in UTC, to the minute
  if (typeof value !== "number" || !format) return String(value);
  if (format === "p_value") return value < 0.001 ? "< 0.001" : value.toPrecision(2);
  // Two digits after the point would make nothing of a small effect.
  if (format === "decimal" && value !== 0 && Math.abs(value) < 0.1) return value.toPrecision(2);
  const digits = DIGITS[format] ?? 2;
  const trimmed = format === "number" || (format === "decimal" && Number.isInteger(value));
  const options = { minimumFractionDigits: trimmed ? 0 : digits, maximumFractionDigits: digits };
  if (format === "percent") options.style = "percent";
  return new Intl.NumberFormat("en-US", options).format(value) + (UNITS[format] ?? "");
}

// A message above the panels: nothing to show, or what went wrong.
export function say(text, isError = false) {
  at("message").replaceChildren(element("div", { className: isError ? "message error" : "message" }, text));
}

// The page around this one, where this one is inside the Airflow UI.
export function outside() {
  if (window.parent === window) return null;
  try {
    return window.parent.document ? window.parent : null;
  } catch {
    return null; // framed by another origin
  }
}

// "light" or "dark". Inside the Airflow UI its own switch decides; alone, the system's.
export function wantedTheme() {
  const outer = outside();
  const isDark = outer
    ? outer.document.documentElement.classList.contains("dark")
    : matchMedia("(prefers-color-scheme: dark)").matches;
  return isDark ? "dark" : "light";
}
