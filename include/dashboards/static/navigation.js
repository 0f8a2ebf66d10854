// The list of all views in groups: beside the view on a wide window, behind a button on a narrow one.

import { at, element } from "./elements.js";

export function startNavigation() {
  const menu = at("menu");
  menu.addEventListener("click", () => open(menu.getAttribute("aria-expanded") === "false"));
  at("tabs").addEventListener("click", (event) => event.target.closest("a") && open(false));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || menu.getAttribute("aria-expanded") === "false") return;
    open(false);
    menu.focus();
  });
  at("skip").addEventListener("click", () => at("main").focus());
}

function open(wanted) {
  at("menu").setAttribute("aria-expanded", String(wanted));
  at("tabs").classList.toggle("open", wanted);
}

// groups: {title, links: [{href, title, summary}]}; `current` is the address of the view that is shown.
export function drawNavigation(groups, current) {
  const hadFocus = at("tabs").contains(document.activeElement);
  at("tabs").replaceChildren(
    ...groups.flatMap((group, place) => {
      const heading = element("h2", { id: `group-${place}` }, group.title);
      const list = element("ul", {}, ...group.links.map((one) => element("li", {}, linkOf(one, current))));
      list.setAttribute("aria-labelledby", heading.id);
      return [heading, list];
    }),
  );
  const shown = at("tabs").querySelector("[aria-current]");
  shown?.scrollIntoView({ block: "nearest" });
  if (hadFocus) shown?.focus(); // who goes through the list by keyboard goes on from there
}

function linkOf(one, current) {
  const link = element("a", { href: one.href, title: one.summary }, one.title);
  if (one.name === current) link.setAttribute("aria-current", "page");
  return link;
}
