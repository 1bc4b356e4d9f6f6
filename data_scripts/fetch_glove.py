"""Get GloVe's word vectors: `python data_scripts/fetch_glove.py`, or with `--from` a text or zip file that you have.

Source: Pennington, Socher and Manning 2014, "GloVe: Global Vectors for Word Representation". The vectors (840 billion
words, 300 numbers each) that yoon2018, xu2019, shen2020 and krishna2020 start from; taught in chapter `yoon2018`.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
from pathlib import Path, PurePosixPath

from data_scripts.download import BLOCK, Remote, bar, command, download, put, unpack, vacant, workshop, writing
from serlib import files

log = logging.getLogger(__name__)

PUBLISHED = Remote(
    url="https://nlp.stanford.edu/data/glove.840B.300d.zip",
    size=2_176_768_927,
    checksum="sha256:c06db255e65095393609f19a4cfca20bf3a71e20cc53e892aafa490347e3849f",
)
NAME = "glove.840B.300d.txt"
DIMENSIONS = 300
LINES = 2_196_017
LONGEST = 64 << 10
"""Bytes that the last line may have; real lines have under 4,000."""

MOST_FILES, MOST_BYTES = 100, 8 << 30


def fetch(
    out: str | Path | None = None,
    source: str | Path | None = None,
    progress: bool = True,
    *,
    remote: Remote = PUBLISHED,
    lines: int = LINES,
) -> Path:
    """Put `glove.840B.300d.txt` (5.6 GB) into a folder.

    A download (2.2 GB) is checked by length and SHA-256, the text by its CRC, its first and last line (a token and 300
    numbers) and its number of lines. The file appears when all is right; until then, everything is in a folder
    `.NAME.fetch` beside it, from which the next call goes on. A file that is there already is checked by its two lines
    and never replaced.

    Args:
        out: the folder; None for `cache_folder() / "glove"`.
        source: instead of a download, the zip file or the text file (to which a link is made, or a copy where there are
            no links), or a folder that holds one of them.
        progress: show progress bars.
        remote: the published zip file.
        lines: expected number of lines, within one in a thousand.

    Returns:
        the text file.

    Raises:
        OSError: if the download fails, `source` is not there, or the file cannot be written or is there already.
        ValueError: if the zip or the text is damaged, cut off or something else.
    """
    out = Path(out or files.cache_folder() / "glove").expanduser().absolute() / NAME
    with workshop(out, "glove.840B.300d.zip") as (archive, new):
        if source is None and out.is_file():
            _check_ends(out)
            log.info("GloVe is there: %s, nothing to do", out)
            return out
        found = _find(Path(source).expanduser().absolute()) if source else None
        if found and found.suffix != ".zip":
            _link(found, out, new, lines, progress)
        else:
            vacant(out)
            found = found or download(remote, archive, progress=progress)
            texts = unpack(found, new, _place, most_files=MOST_FILES, most_bytes=MOST_BYTES, progress=progress)
            if not texts:
                raise ValueError(f"{found}: expected {NAME} in it, found none")
            _check(texts[0], lines, progress)
            put(texts[0], out)
    log.info("GloVe is complete: %s", out)
    return out


def _find(source: Path) -> Path:
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file; give --from the text or zip file that you have")
    if not source.is_dir():
        return source
    for name in (NAME, "glove.840B.300d.zip"):
        if (source / name).is_file():
            return source / name
    raise FileNotFoundError(f"{source}: expected {NAME} or glove.840B.300d.zip in it, found neither")


def _link(text: Path, out: Path, new: Path, lines: int, progress: bool) -> None:
    """Make `out` a link to `text`, or a copy where there are no links."""
    _check(text, lines, progress)
    if out.exists() and out.samefile(text):
        return
    vacant(out)
    with writing(out):
        new.parent.mkdir(exist_ok=True)
        try:
            new.symlink_to(text.resolve())
        except OSError:
            shutil.copyfile(text, new)
    put(new, out)


def _place(name: PurePosixPath) -> PurePosixPath | None:
    return PurePosixPath(NAME) if name.name == NAME else None


def _check(text: Path, lines: int, progress: bool) -> None:
    """Raise unless the text holds about `lines` vectors."""
    _check_ends(text)
    found = 0
    with text.open("rb") as file, bar(f"Checking {NAME}", text.stat().st_size, progress) as shown:
        while block := file.read(BLOCK):
            found += block.count(b"\n")
            shown.update(len(block))
    if abs(found - lines) > lines / 1000:
        raise ValueError(f"{text}: expected about {lines:,} lines, found {found:,}; it is cut off or another file")


def _check_ends(text: Path) -> None:
    """Raise unless the first and the last line are a token and 300 numbers."""
    with text.open("rb") as file:
        first = file.readline(LONGEST)
        file.seek(max(file.seek(0, os.SEEK_END) - LONGEST, 0))
        end = file.read()
    last = end[end.rfind(b"\n", 0, -1) + 1 :]
    for where, line in (("first", first), ("last", last)):
        fields = line.rstrip(b"\n").rsplit(b" ", DIMENSIONS)
        try:
            numbers = [float(field) for field in fields[1:]]
        except ValueError:
            numbers = []
        if len(numbers) != DIMENSIONS or not line.endswith(b"\n"):
            raise ValueError(
                f"{text}: expected a token and {DIMENSIONS} numbers in the {where} line, found {line[:40]!r}; it is "
                "cut off or another file"
            )


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Get GloVe's word vectors: 2.2 GB to download, 5.6 GB unpacked.")
    parser.add_argument("--out", metavar="FOLDER", help="folder to put them in (default: glove in the cache folder)")
    parser.add_argument(
        "--from", dest="source", metavar="FILE", help=f"take this {NAME}, or zip file or folder that holds it, instead"
    )
    return command(parser, fetch, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
