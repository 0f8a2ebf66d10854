"""Every dashboard in the four looks: wide and narrow, light and dark.

A look is taken on as by a person who turns a tablet or whose system goes dark: the open page follows.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from playwright.sync_api import Page

from tests.page_in_browser import NARROW, PAGE, WIDE, Scheme, serious, shown

Look = tuple[tuple[int, int], Scheme]
# From one to the next a single thing changes.
LOOKS: tuple[Look, ...] = ((WIDE, "light"), (NARROW, "light"), (NARROW, "dark"), (WIDE, "dark"))

# The charts are drawn again where the size of the window changes, by Vega itself and some time later.
AS_WIDE_AS_THEIR_CARDS = """async () => {
  const drawn = [...document.querySelectorAll(".panel")].filter(card => card.view);
  await Promise.all(drawn.map(card => card.view.runAsync()));
  return drawn.every(card => {
    const chart = card.querySelector(".chart");
    const picture = chart.querySelector("svg, canvas");
    const width = picture.localName === "svg" ? picture.width.baseVal.value : parseFloat(picture.style.width);
    return Math.abs(width - chart.clientWidth) <= 1;
  });
}"""

# Axes and legends whose letters are hard to read on their card. Axe knows no fill: it judges them by the page's colour.
FAINT = """cards => {
  const light = colour => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const found = [];
  for (const card of cards) {
    const behind = light(getComputedStyle(card).backgroundColor);
    for (const text of card.querySelectorAll("[class*=role-axis] text, [class*=role-legend] text")) {
      const { fill, fillOpacity, opacity, visibility } = getComputedStyle(text);
      if (!text.textContent || opacity === "0" || visibility === "hidden") continue;
      const [dark, bright] = [behind, light(fill)].sort((one, other) => one - other);
      if ((bright + 0.05) / (dark + 0.05) < 4.5 || fillOpacity !== "1" || opacity !== "1")
        found.push([card.dataset.panelId, text.textContent, fill, opacity]);
    }
  }
  return found;
}"""
# Letters of a chart that reach beyond its picture: a browser cuts them there.
CLIPPED = """cards => cards.flatMap(card => {
  const picture = card.querySelector(".chart > svg");
  if (!picture) return [];
  const { left, right, top, bottom } = picture.getBoundingClientRect();
  return [...picture.querySelectorAll("[class*=role-axis] text, [class*=role-legend] text")].filter(text => {
    const { opacity, visibility } = getComputedStyle(text);
    if (!text.textContent || opacity === "0" || visibility === "hidden") return false;
    const box = text.getBoundingClientRect();
    return box.left < left - 1 || box.right > right + 1 || box.top < top - 1 || box.bottom > bottom + 1;
  }).map(text => [card.dataset.panelId, text.textContent]);
})"""
# Cells of a few words that are broken into more than two lines, though their table could scroll.
SQUEEZED = """cells => cells.filter(cell => {
  const words = document.createRange();
  words.selectNodeContents(cell);
  const { lineHeight } = getComputedStyle(cell);
  return cell.textContent.length <= 30 && words.getBoundingClientRect().height > 2.5 * parseFloat(lineHeight);
}).map(cell => cell.textContent)"""


def walk(
    page: Page,
    url: str,
    folder: Path,
    *,
    looks: Sequence[Look] = LOOKS,
    empty: Collection[str] = (),
    judged: Collection[Look] = LOOKS,
) -> Iterator[str]:
    """Each dashboard's name while it is wide and light, after it was checked; it is checked in the other `looks` too.

    Every look leaves a picture in `folder`. Those in `empty` say why they have no panels. Axe judges the looks in
    `judged`. The page begins wide and light, the first of `looks`.
    """
    page.goto(f"{url}/{PAGE}")
    shown(page)
    for address in page.eval_on_selector_all('#tabs a[href^="#"]', "links => links.map(link => link.hash)"):
        name = address.removeprefix("#/")
        page.goto(f"{url}/{PAGE}{address}")
        page.wait_for_function("hash => document.querySelector('#tabs a[aria-current]')?.hash === hash", arg=address)
        for look in looks:
            take_on(page, look)
            check(page, look, name, folder, is_empty=name in empty, is_judged=look in judged)
            if look == LOOKS[0]:
                yield name
        looks = looks[::-1]  # the next one is opened in the look that this one has now


def take_on(page: Page, look: Look) -> None:
    """The page, once it is drawn in that look."""
    (width, height), scheme = look
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(
        "([width, scheme]) => innerWidth === width && document.documentElement.dataset.theme === scheme",
        arg=[width, scheme],
    )
    shown(page)
    page.wait_for_function(AS_WIDE_AS_THEIR_CARDS)


def check(page: Page, look: Look, name: str, folder: Path, *, is_empty: bool = False, is_judged: bool = True) -> None:
    """What has to hold of a dashboard in any look; its picture is `folder`/<name>-<width>-<scheme>.jpg."""
    (width, _), scheme = look
    page.screenshot(path=folder / f"{name}-{width}-{scheme}.jpg", type="jpeg", quality=85, full_page=True)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert (page.locator(".panel").count() == 0) == is_empty
    assert (page.locator("#message .message").count() == 1) == is_empty
    undrawn = "cards => cards.filter(card => card.querySelector('.chart') && !card.view).map(card => card.id)"
    assert page.eval_on_selector_all(".panel", undrawn) == []
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0, "the page scrolls sideways"
    squeezed = page.eval_on_selector_all(".panel td", SQUEEZED)
    assert squeezed == [], (name, look, squeezed)
    assert page.eval_on_selector_all(".panel", FAINT) == []
    clipped = page.eval_on_selector_all(".panel", CLIPPED)
    assert clipped == [], (name, look, clipped)
    if is_judged:
        # Inside a chart only colours and places differ from look to look, and these are judged above.
        assert serious(page, without="" if look == LOOKS[0] else ".chart > svg") == [], (name, look)
