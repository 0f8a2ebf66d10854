// The profile of a client, product, category, promotion or dimension value: #/profile/product?name=bread

import { addressOf } from "./address.js";
import { drawCards } from "./cards.js";
import { at, element } from "./elements.js";
import { notesOf } from "./notes.js";
import { read } from "./reading.js";

const nameOf = (here) => here.asks.get("name") ?? "";

export const profile = {
  title: nameOf,

  read(here) {
    const kind = encodeURIComponent(here.rest[0] ?? "");
    return read(`api/profiles/${kind}?name=${encodeURIComponent(nameOf(here))}`);
  },

  async draw(content) {
    at("run").textContent = `${content.kind_title}. ${content.summary}`;
    at("about").hidden = false;
    at("about-text").textContent = content.about;
    at("counted").replaceChildren();
    if (content.links.length) at("message").replaceChildren(linksOf(content));
    await drawCards(content.panels, {
      file: (panel) => `${panel.id}.${content.name}`,
      tools: (panel) => notesOf(panel, content.notes_about, panel.rows.at(-1)?.period, `every ${content.kind_title.toLowerCase()}`),
    });
  },

  refused() {
    at("message").append(element("p", {}, "Names are found by the search box above; the key / leads there."));
  },
};

function linksOf({ name, links }) {
  const items = links.map((one) =>
    element("li", {}, element("a", { href: addressOf(one.name, { dimension: name }) }, one.title)),
  );
  return element(
    "nav",
    { className: "message profile-links", "aria-label": `Dashboards of ${name}` },
    "Dashboards with this choice: ",
    element("ul", {}, ...items),
  );
}
