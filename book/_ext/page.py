"""What the built page has beyond what a notebook says: each figure's description as its
`alt` text, and no Thebe, which would be loaded from elsewhere and which the book does
not use.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config


def describe(app: Sphinx, doctree: nodes.document) -> None:
    """Give each figure of a notebook the description that its output came with."""
    source = Path(app.env.doc2path(app.env.docname))
    if source.suffix != ".ipynb":
        return
    said = {}
    for cell in nbformat.read(source, as_version=4).cells:
        for output in cell.get("outputs", ()):
            beside = output.get("metadata", {}).get("image/png", {})
            if "alt" in beside:  # a figure's file is named by its digest
                picture = b64decode(output.data["image/png"])
                said[hashlib.sha256(picture).hexdigest()] = beside["alt"]
    for image in doctree.findall(nodes.image):
        name = Path(image["uri"]).stem
        if name in said:
            image["alt"] = said[name]


def without_thebe(app: Sphinx, config: Config) -> None:
    """Take back what sphinx_thebe, which Jupyter Book always loads, has registered."""
    for listeners in app.events.listeners.values():
        for listener in list(listeners):
            if listener.handler.__module__.startswith("sphinx_thebe"):
                app.disconnect(listener.id)
    kept = [one for one in app.registry.css_files if "thebe" not in one[0]]
    app.registry.css_files[:] = kept


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", without_thebe)
    app.connect("doctree-read", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
