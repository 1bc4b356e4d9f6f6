"""Forced alignments: when each word and each phone is spoken, as the Sphinx aligners
write it.

IEMOCAP comes with such files; for other corpora `data_scripts/align.py` makes them, and
`corpora.load(..., alignments=FOLDER)` reads them. Used by xu2019, shen2020,
krishna2020 and tzirakis2021; taught in chapter `corpora`.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from serlib.corpora.corpus import Corpus, Segment, Skip, printable
from serlib.corpora.lines import read_lines

log = logging.getLogger(__name__)

FRAMES_PER_SECOND = 100

LONGEST = 24 * 3600
"""Seconds. An alignment that goes on beyond is damaged, whatever it aligns."""

NO_WORD = ("SIL", "SP")
"""Silence, whatever the case; so is a label that begins with one of `NOISE`."""

NOISE = "<+[{!#("

SUFFIXES = {"words": ".wdseg", "phones": ".phseg"}
"""Of the files, by what they hold."""


def read_alignment(path: Path, duration: float = math.inf) -> tuple[Segment, ...]:
    """Read the words of a `.wdseg` file or the phones of a `.phseg` file.

    Frames count 10 ms and both ends are inclusive, so frames 5 to 9 are the time from
    0.05 to 0.10 s. Silence, noises and sentence marks are left out; `WHAT(2)`, a
    variant of pronunciation, is the word `what`.

    Args:
        path: the file.
        duration: seconds of the waveform, which the segments must not overrun by more
            than half a second.

    Raises:
        ValueError: if the file is empty, cut off or holds numbers that cannot be. The
            message names the line.
    """
    lines = [
        (number, line.split())
        for number, line in enumerate(read_lines(path), 1)
        if line.strip()
    ]
    if not lines or lines[0][1][:3] != ["SFrm", "EFrm", "SegAScr"]:
        found = repr(" ".join(lines[0][1])) if lines else "an empty file"
        raise ValueError(
            f"line 1: expected the header 'SFrm EFrm SegAScr ...', found {found}"
        )
    if lines[-1][1][0] != "Total":
        raise ValueError(
            f"line {lines[-1][0]}: expected 'Total score: ...' at the end, found"
            f" {' '.join(lines[-1][1])!r}"
        )
    words = path.suffix.lower() == ".wdseg"
    segments = []
    previous = -1
    for number, fields in lines[1:-1]:
        try:
            first, last, label = int(fields[0]), int(fields[1]), fields[3]
            if words and len(fields) > 4:
                raise ValueError
        except (ValueError, IndexError):
            expected = "expected start frame, end frame, score and label"
            raise ValueError(
                f"line {number}: {expected}, found {' '.join(fields)!r}"
            ) from None
        if (
            not previous
            < first
            <= last
            <= FRAMES_PER_SECOND * min(duration + 0.5, LONGEST)
        ):
            raise ValueError(
                f"line {number}: expected frames after {previous}, start before end,"
                f" within the waveform's {duration:.2f} s; found {first} to {last}"
            )
        previous = last
        if label[0] in NOISE or label.upper() in NO_WORD:
            continue
        if words:
            label = re.sub(r"(?<=.)\(\d+\)$", "", label).lower()
        segments.append(
            Segment(
                sys.intern(label),
                first / FRAMES_PER_SECOND,
                (last + 1) / FRAMES_PER_SECOND,
            )
        )
    return tuple(segments)


def read_alignments(
    files: Mapping[str, Path | None], duration: float, place: str
) -> tuple[dict[str, tuple[Segment, ...]], list[Skip]]:
    """Read the alignment of an utterance as far as it is there and whole.

    Args:
        files: `words` and `phones` to their files, None for one that is missing.
        duration: seconds of the waveform.
        place: where the files should be, for the entry that says that one is missing.

    Returns:
        `words` and `phones` to segments, none of what is missing or damaged, and an
        entry for each file that is missing, damaged or without a segment.
    """
    segments: dict[str, tuple[Segment, ...]] = {"words": (), "phones": ()}
    skips = []
    for kind, path in files.items():
        if path is None:
            continue
        try:
            segments[kind] = read_alignment(path, duration)
        except (ValueError, OSError) as error:
            why = f"alignment damaged, utterance kept without {kind}: {error}"
            skips.append(Skip(str(path), why))
        else:
            if not segments[kind]:
                skips.append(Skip(str(path), f"no {kind}, but silence or noise alone"))
    if missing := [kind for kind, path in files.items() if path is None]:
        why = f"alignment missing, utterance kept without {' and '.join(missing)}"
        skips.append(Skip(place, why))
    return segments, skips


def stem(name: str) -> str:
    """Return a name as that of a file: `happy/001` is `happy%2F001`.

    Example:
        >>> stem("Ses01F_impro01_F000"), stem("../100%")
        ('Ses01F_impro01_F000', '%2E.%2F100%25')
    """
    return re.sub(r"^\.|[/\\\0%]", lambda found: f"%{ord(found[0]):02X}", name)


def with_alignments(corpus: Corpus, folder: str | Path) -> Corpus:
    """Return the corpus with the alignments of a folder in place of its own.

    An utterance whose alignment is missing or damaged stays, without words or phones,
    and is listed in `Corpus.skipped`; so are files of no utterance, in one entry.

    Args:
        corpus: of utterances.
        folder: holds `ID.wdseg` and `ID.phseg` for each utterance, itself or in
            folders of any depth, as IEMOCAP's `ForcedAlignment/DIALOGUE` or as
            `data_scripts/align.py` writes them; see `stem` for an ID that cannot be a
            file's name.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the corpus has recordings, if the folder holds no alignment of
            any of its utterances, or two of one.
    """
    folder = Path(folder).expanduser().absolute()
    if corpus.recordings:
        raise ValueError(
            f"{corpus.name} has recordings, expected utterances: alignments of a folder"
            " are for those"
        )
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder} with alignments (ID.wdseg and ID.phseg);"
            " data_scripts/align.py makes one"
        )
    found = {kind: _by_stem(folder, suffix) for kind, suffix in SUFFIXES.items()}
    ids = {stem(u.id) for u in corpus.utterances}
    stems = set().union(*found.values())
    if not ids & stems:
        raise ValueError(
            f"{folder}: expected ID.wdseg and ID.phseg of the {len(ids)} utterances of"
            f" {corpus.name}, such as {min(ids, default='ID')}.wdseg; found alignments"
            f" of {len(stems)} others"
        )
    utterances, skipped = [], []
    for u in corpus.utterances:
        name = stem(u.id)
        files = {kind: paths.get(name) for kind, paths in found.items()}
        segments, skips = read_alignments(files, u.duration, str(folder / name))
        utterances.append(replace(u, **segments))
        skipped += skips
    if skipped:
        lacking = sum(not (u.words and u.phones) for u in utterances)
        log.warning(
            "%s: %d of %d utterances without words or phones, listed in Corpus.skipped;"
            " first %s: %s",
            *(printable(str(folder)), lacking, len(utterances)),
            *map(printable, skipped[0]),
        )
    if strays := sorted(stems - ids):
        why = f"alignments of {len(strays)} that are no utterance here, the first"
        skipped.append(Skip(str(folder), f"{why} {strays[0]}; left out"))
    return replace(corpus, utterances=utterances, skipped=corpus.skipped + skipped)


def _by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    """Files below a folder by name without suffix, but for hidden ones."""
    files: dict[str, Path] = {}
    for place, below, names in os.walk(folder):
        below.sort()
        for name in sorted(names):
            start, end = os.path.splitext(name)
            if end.lower() != suffix or name[0] == ".":
                continue
            path = Path(place, name)
            if start in files:
                raise ValueError(
                    f"{path}: a second alignment of {start}, the first is"
                    f" {files[start]}; keep one"
                )
            files[start] = path
    return files
