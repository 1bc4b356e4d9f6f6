"""The built book in a browser: every page, wide and narrow, light and dark.

Run by `make pages`, after `make html`; `SERLIB_PAGES` names the folder of the built book. Each page is opened from the
disk, as a reader would, without a network.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

FOLDER = Path(os.environ.get("SERLIB_PAGES", ""))
PAGES = sorted(FOLDER.glob("book/*.html")) if os.environ.get("SERLIB_PAGES") else []
VIEWS = [(1400, 1000, "light"), (1400, 1000, "dark"), (390, 844, "light"), (390, 844, "dark")]
PATIENCE = 180_000
"""Milliseconds that a page may take before something is wrong with it, on a busy machine too."""

pytestmark = pytest.mark.skipif(not PAGES, reason="SERLIB_PAGES names no built book: make pages builds it")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)

THEIRS = {"region": "the theme: the logo in the sidebar is in no landmark"}
"""Rules of axe-core that others break, outside the text of a page, and where."""
BIBLIOGRAPHY = {"aria-allowed-role", "aria-deprecated-role", "aria-required-children"}
"""Rules that docutils breaks in the bibliography: it gives entries the role `doc-biblioentry`, which was withdrawn."""


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make env")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome")]
    with sync_api.sync_playwright() as playwright:
        program = next((one for one in found if one), playwright.chromium.executable_path)
        if not Path(program).is_file():
            pytest.skip("no Chromium here: install chromium, or run playwright install chromium")
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> Path:
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed: make env")
    return Path(package.__file__).parent / "axe.min.js"


class Anchors(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.names: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        known = dict(attributes)
        self.names |= {known[name] for name in ("id", "name") if known.get(name)}
        if tag == "a" and known.get("href"):
            self.links.add(known["href"])


@pytest.fixture(scope="session")
def anchors() -> dict[Path, Anchors]:
    return {page.resolve(): Anchors(page) for page in FOLDER.rglob("*.html") if "_static" not in page.parts}


@pages
def test_links_lead_somewhere(page: Path, anchors: dict[Path, Anchors]) -> None:
    dead = []
    for link in anchors[page.resolve()].links:
        parts = urlparse(link)
        if parts.scheme in {"http", "https", "mailto"}:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
        named = not parts.fragment or target not in anchors or unquote(parts.fragment) in anchors[target].names
        if not target.is_file() or not named:
            dead.append(link)
    assert not dead


LOOK = """
() => {
  const article = document.querySelector(".bd-article");
  const said = [...article.querySelectorAll("img")].map((one) => [one.complete && one.naturalWidth > 0, one.alt]);
  const players = [...article.querySelectorAll("audio")].map((one) => [
    one.readyState > 0 && one.duration > 0 && !one.error, one.getAttribute("aria-label") || ""]);
  const formulas = article.querySelectorAll(".math").length;
  const set = article.querySelectorAll("mjx-container").length;
  const wrong = [...article.querySelectorAll("mjx-merror, [data-mjx-error]")].map((one) => one.textContent);
  const width = document.documentElement.scrollWidth;
  return {said, players, formulas, set, wrong, width};
}
"""
READY = """
async () => {
  for (const one of document.querySelectorAll("img")) one.loading = "eager";
  if (document.querySelector(".math")) await MathJax.startup.promise;
  const waits = [...document.querySelectorAll("audio")].map((one) => one.readyState > 0 || one.error ||
    new Promise((done) => { one.onloadedmetadata = one.onerror = done; }));
  const enough = new Promise((done) => setTimeout(done, 30000));
  await Promise.race([Promise.all(waits), enough]);
}
"""
SETTLE = """
async (width) => {
  for (let turn = 0; turn < 60; turn += 1) {
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)));
    if (turn > 1 && document.documentElement.scrollWidth <= width) return;
  }
}
"""
"""Wait until a window of another size is laid out, and at most a few seconds for what stays too wide."""
LIGHTEN = """
() => {
  const seen = new Set();  // of a hundred keywords in one colour, one is looked at
  for (const one of document.querySelectorAll(".highlight span[class]")) {
    if (seen.has(one.className)) one.replaceWith(one.textContent);
    seen.add(one.className);
  }
  for (const one of document.querySelectorAll("mjx-container svg")) one.replaceChildren();
  for (const one of document.querySelectorAll("audio")) one.removeAttribute("src");
}
"""
"""Take out what makes axe-core slow and tells it nothing."""
AXE = """
async () => {
  const {violations} = await axe.run({preload: false, resultTypes: ["violations"]});
  return violations.flatMap((rule) => rule.nodes.map((node) => [
    rule.id, node.target.join(" "), !!document.querySelector(node.target[0])?.closest(".bd-article"), node.html]));
}
"""


def show(tab, view: tuple[int, int, str]) -> str:
    """Set the window and the theme, and return the view's name."""
    width, height, theme = view
    tab.set_viewport_size({"width": width, "height": height})
    tab.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    tab.evaluate(SETTLE, width)
    return f"{width} {theme}"


def looked_at(tab, width: int) -> list[str]:
    """What is wrong with formulas, pictures, players and the width of a page."""
    seen, faults = tab.evaluate(LOOK), []
    if seen["width"] > width:
        faults.append(f"the page is {seen['width'] - width} pixels wider than the window")
    if seen["formulas"] != seen["set"] or seen["wrong"]:
        faults.append(f"{seen['set']} of {seen['formulas']} formulas are set; wrong: {seen['wrong']}")
    for loaded, alt in seen["said"]:
        if not loaded or len(alt) < 10 or re.search(r"\.(png|svg|jpe?g)$", alt):
            faults.append(f"a picture {'says' if loaded else 'is not loaded; it says'} {alt!r}")
    for ready, name in seen["players"]:
        if not ready or not re.search(r"\d\ss$", name):
            faults.append(f"a player {'is called' if ready else 'is not ready:'} {name!r}")
    return faults


@pages
def test_page_is_whole_and_accessible_in_every_view(page: Path, browser, axe: Path) -> None:
    faults: list[str] = []
    broken: dict[tuple[str, str, str], list[str]] = {}
    context = browser.new_context(offline=True)
    context.set_default_timeout(PATIENCE)
    tab = context.new_page()
    tab.on("console", lambda said: faults.append(f"console: {said.text}") if said.type == "error" else None)
    tab.on("pageerror", lambda error: faults.append(f"error: {error}"))
    tab.on("requestfailed", lambda asked: faults.append(f"not found: {asked.url[:100]}"))
    outside = lambda url: not url.startswith(("file:", "data:", "blob:"))  # noqa: E731
    tab.on("request", lambda asked: faults.append(f"asked for {asked.url}") if outside(asked.url) else None)
    tab.goto(page.resolve().as_uri(), timeout=PATIENCE)
    tab.evaluate(READY)
    tab.add_style_tag(content="* { transition: none !important; }")
    for view in VIEWS:
        name = show(tab, view)
        faults += [f"{name}: {fault}" for fault in looked_at(tab, view[0])]
    tab.evaluate(LIGHTEN)
    tab.add_script_tag(path=axe)
    for view in VIEWS:
        name = show(tab, view)
        for rule, place, ours, html in tab.evaluate(AXE):
            docutils = rule in BIBLIOGRAPHY and "citation" in html
            if (ours or rule not in THEIRS) and not docutils:
                broken.setdefault((rule, place, html[:120]), []).append(name)
    context.close()
    faults += [f"{', '.join(views)}: axe {rule}: {place}: {html}" for (rule, place, html), views in broken.items()]
    assert not faults, "\n".join(dict.fromkeys(faults))
