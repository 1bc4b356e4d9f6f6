"""Lines of the text files of corpora, in whatever encoding people saved them.

Used by all five papers; taught in no chapter.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

STRAY = re.compile("[\udc80-\udcff]+")
"""Bytes that are no UTF-8, as Python's `surrogateescape` keeps them."""


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file without their ends, which may be of any kind.

    They are decoded as UTF-8, with or without a byte-order mark; bytes that are none
    are taken for Windows-1252.

    Raises:
        ValueError: if the file holds zero bytes; the message names file and line.
        OSError: if it cannot be read.
    """
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    if b"\0" in content:
        number = len(content[: content.index(b"\0") + 1].splitlines())
        raise ValueError(
            f"{path}:{number}: expected text in UTF-8 or Windows-1252, found zero bytes"
            " (UTF-16, an archive or a damaged file); unpack it or save it as UTF-8"
        )
    return [_decoded(line) for line in content.splitlines()]


def _decoded(line: bytes) -> str:
    text = line.decode(errors="surrogateescape")
    return STRAY.sub(_as_windows, text)


def _as_windows(stray: re.Match[str]) -> str:
    content = stray[0].encode(errors="surrogateescape")
    return content.decode("cp1252", errors="replace")
