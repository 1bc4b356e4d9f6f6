"""Lines of the text files of corpora, in whatever encoding people saved them.

Used by all five papers; taught in no chapter.
"""

from __future__ import annotations

import codecs
from pathlib import Path


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file without their ends, which may be of any kind.

    Each line is decoded as UTF-8, with or without a byte-order mark, or as Windows-1252
    where that fails.

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
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")
