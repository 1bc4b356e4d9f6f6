"""Reader of SEWA as AVEC 2017 has it: conversations with arousal, valence and liking
every tenth of a second; the corpus of conversations uses the same layout.

Source: Ringeval et al. 2017, "AVEC 2017: real-life depression, and affect recognition
workshop and challenge". The corpus of tzirakis2021 (section 4); taught in chapter
`corpora`.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from serlib.corpora import wav
from serlib.corpora.corpus import Corpus, Recording, Segment, Skip, printable
from serlib.corpora.lines import read_lines
from serlib.progress import bar

log = logging.getLogger(__name__)

FOLDERS = ("audio", "labels", "transcriptions", "turns")
WORDS = "words"
"""Folder of word alignments. SEWA comes without."""

COLUMNS = {
    "labels": ("name", "time", "arousal", "valence", "liking"),
    "transcriptions": ("start", "end", "text"),
    "turns": ("start", "end"),
    WORDS: ("start", "end", "word"),
}
FREE = ("text", "word")
"""Columns that a header may call otherwise."""

HOP = 0.1
"""Seconds from one row of labels to the next."""

JITTER = 0.02
"""Seconds by which the time of a row may be off, being rounded."""

SLACK = 1.0
"""Seconds by which labels, turns and texts may miss the end of the sound."""

LARGEST = 1.5
"""Labels are between -1 and 1; one that is further than this from 0 is damage."""

FILE_NAME = re.compile(r"(train|devel|test)_(\d+)", re.IGNORECASE)
QUOTED = re.compile(r"\"[^\"]*\"|(?<![^;,])'.*?'(?![^;,])")
"""A field in quotes."""

TEXT = "text.txt"
TOKEN = re.compile(r"<[^<>]*>|[^\s<]+")
"""A tag such as `<laughter>`, or a word with its punctuation."""


def read(
    root: str | Path, *, name: str = "sewa", lag: float = 0.0, progress: bool = True
) -> Corpus:
    """Read a corpus in the layout of AVEC 2017; SEWA has 34, 14 and 16 recordings.

    A sound file makes a recording, whatever its sampling rate: features convert it.
    Labels of test recordings may be withheld (no file, or NaN throughout); any other
    recording that lacks labels, transcript or turns is kept without them and listed in
    `Corpus.skipped`, and so are files that belong to no recording. What is there but
    damaged stops the reader.

    Words get their times from the files in `words/`; where there are none, the words of
    a sentence share its span in proportion to their letters. `Corpus.info["words"]`
    says how many recordings have theirs `aligned`, `spread` by letters, or `none`.
    Tags such as `<laughter>` stay in the text and take time like a word of their
    letters, but are no words; `Corpus.info["tags"]` counts them.

    Args:
        root: the folder that holds `audio`, `labels`, `transcriptions`, `turns`.
        name: what `Corpus.name` shall be.
        lag: seconds by which annotators are late: row i of the labels becomes the one
            that was written `lag` seconds later, rounded to whole rows. Nobody knows
            what they would have said of the last `lag` seconds, so these have no labels
            then: the curve is that much shorter.
        progress: show a progress bar.

    Raises:
        ValueError: if a folder is missing, a file is damaged, two files are of the same
            recording, or the lag is negative or longer than a recording.
    """
    root = Path(root).absolute()
    if not (math.isfinite(lag) and lag >= 0):
        raise ValueError(f"lag is {lag}; expected seconds, 0 or more")
    if absent := [folder for folder in FOLDERS if not (root / folder).is_dir()]:
        raise ValueError(
            f"{root} is not in the layout of AVEC 2017: expected the folders"
            f" {', '.join(FOLDERS)}; missing {', '.join(absent)}; found"
            f" {_listing(root)}"
        )
    skipped: list[Skip] = []
    found = {
        folder: _files(root / folder, ".wav" if folder == "audio" else ".csv", skipped)
        for folder in (*FOLDERS, WORDS)
    }
    recordings: list[Recording] = []
    words, tags = Counter(aligned=0, spread=0, none=0), Counter()
    shown = {"unit": "rec", "leave": False}
    for id in bar(progress, sorted(found["audio"]), f"Reading {name}", **shown):
        try:
            duration = wav.duration(found["audio"][id])
        except (ValueError, OSError) as error:
            skipped.append(Skip(str(found["audio"][id]), f"{error}; {id} left out"))
            continue
        files = {folder: found[folder].get(id) for folder in COLUMNS}
        skipped += _absences(root, id, files, bool(found[WORDS]))
        recording, origin = _recording(id, found["audio"][id], duration, files, lag)
        recordings.append(recording)
        words[origin] += 1
        tags.update(tag.lower() for tag in re.findall(r"<[^<>]*>", recording.text))
    for folder in COLUMNS:
        for id in sorted(found[folder].keys() - found["audio"].keys()):
            why = f"{id} has no sound file audio/{id}.wav; left out"
            skipped.append(Skip(str(found[folder][id]), why))
    relative = [Skip(s.where.replace(f"{root}{os.sep}", ""), s.why) for s in skipped]
    if not recordings:
        first = f"; first {relative[0].where}: {relative[0].why}" if relative else ""
        raise ValueError(
            f"{root}: expected recordings such as audio/Train_01.wav, found none{first}"
        )
    parts = {recording.partition for recording in recordings}
    if few := [part for part in ("train", "devel", "test") if part not in parts]:
        log.warning(
            "%s: only part of the corpus, no recordings of %s",
            printable(str(root)),
            ", ".join(few),
        )
    if relative:
        log.warning(
            "%s: %d things are missing or left out, listed in Corpus.skipped; first %s:"
            " %s",
            *(printable(str(root)), len(relative), *map(printable, relative[0])),
        )
    info = {"words": dict(words), "tags": dict(sorted(tags.items())), "lag": lag}
    return Corpus(name, root, [], relative, recordings=recordings, info=info)


def _recording(
    id: str,
    audio: Path,
    duration: float,
    files: Mapping[str, Path | None],
    lag: float,
) -> tuple[Recording, str]:
    """A recording, and where the times of its words come from."""
    partition = id.partition("_")[0].lower()
    labels = None
    if files["labels"]:
        labels = read_labels(files["labels"], duration, withheld=partition == "test")
    if labels is not None:
        rows = round(lag / HOP)
        if rows >= len(labels) - 1:
            raise ValueError(
                f"{files['labels']}: {len(labels) * HOP:.1f} s of labels, too few for a"
                f" lag of {lag:g} s"
            )
        labels = labels[rows:]
    segments: dict[str, tuple[Segment, ...]] = {
        folder: read_segments(path, folder, duration) if path else ()
        for folder, path in files.items()
        if folder != "labels"
    }
    sentences = segments["transcriptions"]
    words, origin = segments[WORDS], "aligned"
    if not files[WORDS]:
        words = tuple(word for sentence in sentences for word in spread(sentence))
        origin = "spread" if words else "none"
    return Recording(
        id=id,
        speaker=id,
        partition=partition,
        audio=audio,
        duration=duration,
        labels=labels,
        hop=HOP,
        turns=segments["turns"],
        text=" ".join(sentence.label for sentence in sentences),
        words=words,
    ), origin


def read_labels(
    path: Path, duration: float, *, withheld: bool = False
) -> np.ndarray | None:
    """Read the labels of a recording: `name;time;arousal;valence;liking`.

    Args:
        path: the file, a row every 0.1 s, the first at 0 or 0.1.
        duration: seconds of the sound. Labels may end up to a second before or after
            it; rows after its end are cut off.
        withheld: whether NaN throughout is no damage.

    Returns:
        (frames, 3) float32, or None where they are withheld.

    Raises:
        ValueError: if a row is broken, names another recording, is not 0.1 s after the
            one before it, or holds a number that cannot be a label; or if the labels
            are much longer or shorter than the sound.
    """
    values, start = [], 0.0
    rows = _rows(path, COLUMNS["labels"])
    for i, (where, (name, time, *numbers)) in enumerate(rows):
        if name.lower() != path.stem.lower():
            raise ValueError(f"{where}: expected labels of {path.stem}, found {name!r}")
        time = _number(time, where, "a time")
        if i == 0:
            start = time
            if not 0 <= start <= HOP + JITTER:
                raise ValueError(f"{where}: expected the time 0 or {HOP}, found {time}")
        if abs(time - (due := start + i * HOP)) > JITTER:
            raise ValueError(
                f"{where}: expected the time {due:.1f}, since rows are {HOP} s apart;"
                f" found {time:g}"
            )
        values.append([_number(x, where, "a label", missing=True) for x in numbers])
    labels = np.array(values, dtype=np.float32)
    if withheld and np.isnan(labels).all():
        return None
    if (wrong := ~(np.abs(labels) <= LARGEST)).any():
        row, column = (int(index[0]) for index in np.nonzero(wrong))
        raise ValueError(
            f"{rows[row][0]}: expected {COLUMNS['labels'][2 + column]} between -1 and"
            f" 1, found {rows[row][1][2 + column]!r}"
        )
    if abs(len(labels) * HOP - duration) > SLACK:
        raise ValueError(
            f"{path}: {len(labels) * HOP:.1f} s of labels, but the sound lasts"
            f" {duration:.1f} s; expected the same to within {SLACK:g} s"
        )
    return labels[: math.ceil(round(duration / HOP, 6))]


def read_segments(path: Path, folder: str, duration: float) -> tuple[Segment, ...]:
    """Read rows that begin with `start;end`: sentences, turns or words.

    Args:
        path: the file.
        folder: `transcriptions`, `turns` or `words`.
        duration: seconds of the sound, which no row overruns by more than a second.

    Returns:
        segments in order of time. A turn is labelled `subject`; a word is in lower case
        and without punctuation, and tags among the words are left out.

    Raises:
        ValueError: if a row is broken or its times go backwards.
    """
    columns = COLUMNS[folder]
    segments, previous = [], 0.0
    for where, (start, end, *label) in _rows(path, columns):
        start, end = (_number(time, where, "a time") for time in (start, end))
        if not previous <= start <= end <= duration + SLACK:
            raise ValueError(
                f"{where}: expected a start after that of the row before"
                f" ({previous:g} s) and an end after it, within the sound's"
                f" {duration:.2f} s; found {start:g} to {end:g}"
            )
        previous = start
        text = label[0] if label else "subject"
        if folder == WORDS:
            text = "" if text.startswith("<") else spoken(text)
        if text or folder != WORDS:
            segments.append(Segment(sys.intern(text), start, end))
    return tuple(segments)


def spread(sentence: Segment) -> list[Segment]:
    """Spread the words of a sentence over its span in proportion to their letters.

    Example:
        >>> spread(Segment("Ja, gut! <laughter>", 1.0, 2.3))[1]
        Segment(label='gut', start=1.2, end=1.5)
    """
    tokens = TOKEN.findall(sentence.label)
    letters = np.array([sum(map(str.isalnum, token)) for token in tokens])
    ends = sentence.start + (sentence.end - sentence.start) * np.cumsum(
        letters / max(1, letters.sum())
    )
    starts = [sentence.start, *ends.tolist()]
    return [
        Segment(sys.intern(spoken(token)), round(start, 6), round(end, 6))
        for token, start, end in zip(tokens, starts, starts[1:], strict=False)
        if token[0] != "<" and spoken(token)
    ]


def read_text(root: str | Path) -> list[list[str]]:
    """Read more text of the kind that is spoken, where there is some: `text.txt` in the
    corpus's folder, a text a line, however long.

    Neither SEWA nor AVEC 2017 has such a file. Whoever puts one there can learn word
    vectors from it, since three hours of speech have few words.

    Returns:
        the words of each line in lower case, without punctuation and tags.

    Raises:
        OSError: if the file is not there or cannot be read.
        ValueError: if it holds zero bytes or no word; the message names it.
    """
    path = Path(root) / TEXT
    lines = [TOKEN.findall(line) for line in read_lines(path)]
    texts = [[spoken(t) for t in line if t[0] != "<" and spoken(t)] for line in lines]
    if not any(texts):
        raise ValueError(f"{path}: expected a text a line, found no word")
    return [words for words in texts if words]


def spoken(token: str) -> str:
    """Return a word without the punctuation around it, in lower case."""
    return re.sub(r"^\W+|\W+$", "", token).lower()


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[str, list[str]]]:
    """File and line, and fields, of each row but the header, if there is one.

    Fields are separated by semicolons or commas, whichever the first line has outside
    quotes; the last one is the rest of the line. Quotes around fields, single or
    double, are taken off.
    """
    form = ";".join(columns)
    lines = _lines(path, form)
    separator = ";" if ";" in QUOTED.sub("", lines[0][1]) else ","
    rows = []
    for where, line in lines:
        fields = [one.strip() for one in line.split(separator, len(columns) - 1)]
        if len(fields) != len(columns):
            raise ValueError(f"{where}: expected {form}, found {line!r}")
        rows.append((where, [*map(_unquoted, fields[:-1]), fields[-1]]))
    where, first = rows[0]
    if not _is_number(first[0 if columns[0] == "start" else 1]):
        known = zip(map(_unquoted, first), columns, strict=True)
        if not all(one.lower() == column or column in FREE for one, column in known):
            raise ValueError(
                f"{where}: expected {form} as header, or a row of numbers; found"
                f" {lines[0][1]!r}"
            )
        rows = rows[1:]
        if not rows:
            raise ValueError(f"{path}: expected {form}, found a header alone")
    single = columns[-1] in FREE and _wrapped(rows[0][1][-1], "'")
    for where, fields in rows:
        last = fields[-1]
        if last.startswith('"') != _wrapped(last, '"') or (
            single and not (_wrapped(last, "'") or _wrapped(last, '"'))
        ):
            raise ValueError(
                f"{where}: expected quotes around the {columns[-1]}, found {last!r};"
                " the line is cut off"
            )
        if single or columns[-1] not in FREE or _wrapped(last, '"'):
            fields[-1] = _unquoted(last)
    return rows


def _lines(path: Path, form: str) -> list[tuple[str, str]]:
    """File and line, and text, of each line that is not blank."""
    lines = [
        (f"{path}:{number}", line)
        for number, line in enumerate(read_lines(path), 1)
        if line.strip()
    ]
    if not lines:
        raise ValueError(f"{path}: expected {form}, found an empty file")
    return lines


def _wrapped(field: str, quote: str) -> bool:
    return len(field) >= 2 and field[0] == field[-1] == quote


def _unquoted(field: str) -> str:
    if _wrapped(field, '"'):
        return field[1:-1].replace('""', '"')
    return field[1:-1] if _wrapped(field, "'") else field


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, where: str, what: str, missing: bool = False) -> float:
    """The number written in `text`; NaN for none where it may be missing."""
    if missing and text in ("", "?"):
        return math.nan
    if not _is_number(text) or not (missing or math.isfinite(float(text))):
        raise ValueError(f"{where}: expected {what}, found {text!r}")
    return float(text)


def _absences(
    root: Path, id: str, files: Mapping[str, Path | None], alignment: bool
) -> list[Skip]:
    """What a recording does without."""
    without = {"transcriptions": "text", "turns": "turns"}
    if not id.startswith("Test"):
        without["labels"] = "labels"
    skips = [
        Skip(str(root / folder / f"{id}.csv"), f"missing; {id} kept without {what}")
        for folder, what in without.items()
        if files[folder] is None
    ]
    if alignment and files[WORDS] is None:
        why = f"missing; the words of {id} spread over their sentences by letters"
        skips.append(Skip(str(root / WORDS / f"{id}.csv"), why))
    return skips


def _files(folder: Path, suffix: str, skipped: list[Skip]) -> dict[str, Path]:
    """Files of a folder by recording, without the `._*` forks that macOS leaves."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name[0] == "." or path.suffix.lower() != suffix:
            continue
        match = FILE_NAME.fullmatch(path.stem)
        if match is None:
            why = f"expected a name like Train_01{suffix}; left out"
            skipped.append(Skip(str(path), why))
            continue
        id = f"{match[1].capitalize()}_{match[2]}"
        if id in files:
            raise ValueError(f"{path}: a second file of {id}, beside {files[id].name}")
        files[id] = path
    return files


def _listing(folder: Path) -> str:
    """The first few names in a folder, for a message."""
    names = sorted(p.name for p in folder.iterdir() if p.name[0] != ".")
    return (", ".join(names[:8]) + (" ..." if len(names) > 8 else "")) or "nothing"
