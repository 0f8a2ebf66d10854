// The address of a view: #/cohorts?dimension=region%3A%20North, #/profile/product/bread

import { outside } from "./elements.js";

// name: the view or dashboard; rest: what follows it; asks: what is asked for after `?`.
export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decoded);
  return { name, rest, asks: new URLSearchParams(query) };
}

// The address of a view; `parts` is its name, or a list of its name and what follows. Empty values are not asked for.
export function addressOf(parts, asks = {}) {
  const query = Object.entries(asks)
    .filter(([, value]) => value)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return `#/${[parts].flat().map(encodeURIComponent).join("/")}` + (query.length ? `?${query.join("&")}` : "");
}

export function tellAddress() {
  // Airflow shows its frame's address in its own when the frame loads, but does not see the part after `#` change.
  const outer = outside();
  const within = `${location.pathname}${location.search}`;
  if (!outer || !outer.location.pathname.endsWith(within)) return;
  outer.history.replaceState(outer.history.state, "", outer.location.pathname + outer.location.search + location.hash);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // an address that somebody cut short
  }
}
