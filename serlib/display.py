"""How tables and figures leave a notebook: the book's one style for every DataFrame,
and a description for whoever cannot see a figure.

`plots.use_style` registers both, so that a chapter shows a DataFrame or a figure as
usual. Used by all chapters.
"""

from __future__ import annotations

import base64
import re
import struct
from xml.etree import ElementTree

import pandas as pd
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure

SCALE = 0.8
"""Pixels of the page to one of a picture: at 150 dots an inch it is sharp, not huge."""

NUMBER = re.compile(r"all$|\(?[<>≥≤~≈]? ?[+\-−–]?(\d|–$|nan$|NaN$)")
"""How a cell begins that is read as a number, with its interval or unit, or as a few
numbers in brackets; `all` stands among numbers too.
"""

LESS_THAN_NOTHING = re.compile(r"(?<![\w.\-−–])[-−](0(?:\.0+)?)(?![\d.])")
"""Zero with a minus: what rounding leaves of a small number below."""


def table(frame: pd.DataFrame) -> str:
    """Return a table as HTML: numbers right-aligned under their heading, text
    left-aligned, no number broken, nothing cut off, no heading without a text, no zero
    with a minus.

    Args:
        frame: any table; a column counts as numbers if each of its cells, unless empty,
            begins like one.
    """
    with pd.option_context("display.max_colwidth", None):
        tree = ElementTree.fromstring(frame.to_html(border=0))
    head, body = tree.findall("thead/tr"), tree.findall("tbody/tr")
    if len(head) > frame.columns.nlevels:  # the names of the index have a row
        _join(head[-2], head[-1], frame)
        tree.find("thead").remove(head.pop())
    columns = list(zip(*(row.findall("td") for row in body), strict=True))
    numbers = [_are_numbers([cell.text or "" for cell in column]) for column in columns]
    for row in head:
        row.attrib.clear()
        cells = row.findall("th")
        for place, cell in enumerate(cells, len(numbers) - len(cells)):
            spans = "colspan" in cell.attrib
            right = place >= 0 and numbers[place] and not spans
            _align(cell, "center" if spans else "right" if right else "left")
            cell.attrib.pop("halign", None)
            if cell.text:
                cell.set("scope", "colgroup" if spans else "col")
            else:
                cell.tag = "td"
    for row in body:
        for cell in row.findall("th"):
            cell.set("scope", "row")
            _align(cell, "left")
        for cell, right in zip(row.findall("td"), numbers, strict=True):
            cell.text = cell.text and plain_zeros(cell.text)
            _align(cell, "right; white-space: nowrap" if right else "left")
    return ElementTree.tostring(tree, encoding="unicode", method="html")


def plain_zeros(text: str) -> str:
    """Return a text without the minus before a zero: `-0.0 [-1.4, 1.3]` is
    `0.0 [-1.4, 1.3]`.
    """
    return LESS_THAN_NOTHING.sub(r"\1", text)


def _join(row: ElementTree.Element, names: ElementTree.Element, frame) -> None:
    """Write the names of the index, which pandas puts into a row of their own, into the
    row of the columns' names, which is empty there.
    """
    for cell, name in zip(row, list(names)[: frame.index.nlevels], strict=False):
        across, down = cell.text, name.text
        cell.text = f"{down} ↓, {across} →" if across and down else across or down


def _are_numbers(texts: list[str]) -> bool:
    said = [text for text in texts if text]
    return bool(said) and all(NUMBER.match(text) for text in said)


def _align(cell: ElementTree.Element, side: str) -> None:
    cell.set("style", f"text-align: {side}")


def description(figure: Figure) -> str:
    """Return what a figure says, for its `alt` text: its label if it was given one
    (`figure.set_label`); else its titles, which state the message, and its axes, but of
    a panel with a label of its own (`axes.set_label`, as `plots` gives it) that alone.
    """
    if figure.get_label():
        return figure.get_label()
    plain = [one for one in figure.axes if one.get_label()[:1] in ("", "<", "_")]
    told = [one.get_label() for one in figure.axes if one not in plain]
    titles = [figure.get_suptitle()]
    titles += [one.get_title(side) for one in plain for side in _SIDES]
    axes = [figure.get_supxlabel(), figure.get_supylabel()] if plain else []
    axes += [one.get_xlabel() for one in plain] + [one.get_ylabel() for one in plain]
    said, drawn = ("; ".join(_each_once(texts)) for texts in (titles, axes))
    head = f"{said}. Axes: {drawn}." if said and drawn else said or drawn
    return " ".join(
        [head.removesuffix(".") + ".", *told] if head and told else told or [head]
    )


_SIDES = ("left", "center", "right")


def _each_once(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(" ".join(text.split()) for text in texts if text.strip()))


def picture(figure: Figure) -> tuple[str, dict[str, object]] | None:
    """Return a figure as PNG in base64, and what a notebook keeps beside it: the width
    and height to show it with, in pixels of the page, and its description.
    """
    data = print_figure(figure, fmt="png")
    if data is None:  # nothing is drawn
        return None
    width, height = (round(SCALE * side) for side in struct.unpack(">II", data[16:24]))
    beside = {"width": width, "height": height, "alt": description(figure)}
    return base64.b64encode(data).decode("ascii"), beside


def register() -> None:
    """Show every DataFrame and figure that follows in the book's style; outside a
    notebook nothing happens.
    """
    shell = get_ipython()
    if shell is None:
        return
    import matplotlib_inline.backend_inline  # noqa: F401 it registers its own first

    shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, table)
    shell.display_formatter.formatters["image/png"].for_type(Figure, picture)
