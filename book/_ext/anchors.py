"""Anchors of bibliography and glossary that an ordinary Markdown link can name:
`[Yoon et al. 2018](bibliography.md#yoon2018)`, `[head](glossary.md#attention-head)`.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

GLOSSARY, BIBLIOGRAPHY = "book/glossary", "book/bibliography"
KEYS = re.compile(r"^@\w+{([^,\s]+),", re.MULTILINE)


def register(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Tell MyST's resolver of links about the anchors; no page is changed by it."""
    terms = {}
    glossary = env.get_doctree(GLOSSARY)
    for node in glossary.findall(lambda node: hasattr(node, "get") and node.get("ids")):
        for anchor in node["ids"]:
            terms[anchor.removeprefix("term-").lower()] = (0, anchor, node.astext())
    entries = Path(env.srcdir, "book", "references.bib").read_text(encoding="utf-8")
    keys = {key: (0, key, key) for key in KEYS.findall(entries)}
    for page, anchors in ((GLOSSARY, terms), (BIBLIOGRAPHY, keys)):
        known = env.metadata[page].get("myst_slugs", {})
        env.metadata[page]["myst_slugs"] = {**anchors, **known}
    return []


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("env-updated", register)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
