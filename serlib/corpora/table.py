"""Reader of anybody's recordings: a table with a row per utterance, its file and its
emotion.

Any folder of sounds becomes a corpus with one such table, for the systems of all papers
that tell classes. Taught in chapter `your_recordings`.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from serlib.corpora import wav
from serlib.corpora.corpus import Corpus, Skip, Utterance, printable
from serlib.corpora.rows import find, read_rows, refuse
from serlib.progress import bar

log = logging.getLogger(__name__)

NEEDED = ("path", "emotion")
OTHERS = ("id", "text", "speaker", "session", "dialogue", "start", "end", "split")
COLUMNS = (*NEEDED, *OTHERS)

PARTS = dict.fromkeys(("train", "training"), "train")
PARTS |= dict.fromkeys(("dev", "devel", "development"), "devel")
PARTS |= dict.fromkeys(("val", "valid", "validation"), "devel")
PARTS |= dict.fromkeys(("test", "testing"), "test")
"""What a split may be called, and which partition it is."""

MISSING = ("", "nan", "null", "<na>")
"""What stands where there is nothing, in small letters. In a text it is a word."""

SLACK = 0.1
"""Seconds by which a row may end after its sound, having been rounded."""

FOREIGN = (".mp4", ".m4a", ".aac", ".webm", ".wma", ".avi", ".mov", ".mkv", ".amr")
"""Of sounds and films that libsndfile does not read, but ffmpeg does."""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        where: file and line, for messages.
        cells: column to what stands there, without the spaces around it; every column
            of `COLUMNS`, empty where there is nothing.
        path: of the sound.
        start, end: seconds; None for the sound's own.
    """

    where: str
    cells: Mapping[str, str]
    path: Path
    start: float | None
    end: float | None


def read(
    root: str | Path,
    *,
    labels: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Corpus:
    """Read a table of recordings.

    The table is text with a header, in UTF-8 or Windows-1252, its columns separated by
    commas, semicolons or tabs; or it is Parquet. `path` and `emotion` must be there.
    What else is there is read, what is not has a default:

    | column | says | without it |
    | --- | --- | --- |
    | `path` | the sound file, from the table's folder: wav, flac, ogg, mp3 ... | |
    | `emotion` | the label, any word | |
    | `id` | a unique name | the file's, with its folders or ending if it must be |
    | `text` | the transcript | empty: no system can read |
    | `speaker` | who speaks | unknown: protocols that part speakers refuse |
    | `session` | what leave-one-session-out leaves out | each speaker is one |
    | `dialogue` | what is tuned on as a whole | a file with several rows; the speaker |
    | `start`, `end` | seconds: the utterance is this stretch of the file | all of it |
    | `split` | train, dev or test, for the protocol `partitions` | no partition |

    Other columns are ignored and named in `Corpus.info["ignored"]`. Stretches of longer
    files are cut out once, without loss, into the folder `cuts` in the cache.

    A sound that cannot be used costs its row; a row without an emotion is kept without
    a label, and so is one whose label no other row has, since nothing can be learnt and
    tested from it. Both are listed in `Corpus.skipped`. A table that contradicts itself
    is refused, with the first row that is wrong and how many there are.

    Args:
        root: the table, or the folder that holds it and no other.
        labels: label in the table to class, for instance `{"ANG": "angry", "HAP":
            "happy"}`; what it does not name has no class. None for the labels as they
            are.
        progress: show a progress bar.

    Returns:
        the corpus, named after the table and a hash of what it says, so that the
        results of two tables, or of two choices of labels, never pass for each other.
        Its classes are the labels in the order of the alphabet.

    Raises:
        ValueError: if the table is damaged, contradicts itself, or has fewer than two
            classes; the message names the row and what was expected.
        OSError: if the table cannot be read, or the cache not written.
    """
    table = find(Path(root).absolute())
    rows, ignored = _read_rows(table)
    ids = _ids(table, rows)
    skipped: list[Skip] = []
    sounds = _sounds(rows, skipped, progress)
    if not sounds:
        raise ValueError(
            f"{table}: none of {len(rows)} recordings can be used; first"
            f" {skipped[0].where}: {skipped[0].why}. Paths are looked for from the"
            f" table's folder, {table.parent}"
        )
    used = [row for row in rows if row.where in sounds]
    classes = _classes(table, used, labels, skipped)
    told = {row.cells["text"] for row in rows} != {""}
    skipped += [
        Skip(row.where, "expected a text, found none; kept without one")
        for row in used
        if told and not row.cells["text"]
    ]
    shared = Counter(row.path for row in rows)
    utterances = [
        _utterance(row, id, *sounds[row.where], classes.get(row.where), shared)
        for row, id in zip(rows, ids, strict=True)
        if row.where in sounds
    ]
    prefix = f"{table.parent}{os.sep}"
    skipped = [Skip(where.removeprefix(prefix), why) for where, why in skipped]
    if skipped:
        log.warning(
            "%s: %d remarks, listed in Corpus.skipped, %d of %d rows left out; first"
            " %s: %s",
            *(printable(str(table)), len(skipped), len(rows) - len(used), len(rows)),
            *map(printable, skipped[0]),
        )
    info = {
        "table": table.name,
        "columns": [n for n in COLUMNS if any(row.cells[n] for row in rows)],
        "ignored": ignored,
    }
    names = tuple(sorted(set(classes.values())))
    return Corpus(
        _name(table, utterances), table.parent, utterances, skipped, names, info=info
    )


def _read_rows(table: Path) -> tuple[list[Row], list[str]]:
    """The rows of a table whose cells are what they should be, and the columns that
    nothing is made of.
    """
    header, found = read_rows(table, NEEDED)
    names = [name.strip().lower() for name in header]
    known = [name for name in names if name in COLUMNS]
    if twice := next((name for name in known if known.count(name) > 1), None):
        raise ValueError(f"{table}: expected one column {twice}, found two")
    faults: list[Skip] = []
    rows = [_row(table, where, names, cells, faults) for where, cells in found]
    for name in ("id", "speaker", "session", "dialogue"):
        if any(row.cells[name] for row in rows):
            faults += [
                Skip(row.where, f"expected a {name} as in other rows, found none")
                for row in rows
                if not row.cells[name]
            ]
    refuse(faults)
    ignored = [
        one for one, name in zip(header, names, strict=True) if name not in known
    ]
    ignored = [name.strip() for name in ignored if name.strip()]
    if ignored:
        log.warning(
            "%s: columns that are not read: %s",
            printable(str(table)),
            ", ".join(map(_meant, ignored)),
        )
    return rows, ignored


def _row(
    table: Path, where: str, names: list[str], cells: list[str], faults: list[Skip]
) -> Row:
    """A row, and what is wrong with it added to `faults`."""
    told = dict.fromkeys(COLUMNS, "")
    told |= {n: c.strip() for n, c in zip(names, cells, strict=True) if n in told}
    told |= {
        name: ""
        for name in set(COLUMNS) - {"path", "text"}
        if told[name].lower() in MISSING
    }
    times: dict[str, float | None] = {"start": None, "end": None}
    for name in times:
        if told[name]:
            times[name] = _seconds(told[name])
            if times[name] is None:
                faults.append(Skip(where, _expected(name, told[name])))
    start, end = times["start"] or 0.0, times["end"]
    if end is not None and not start < end:
        why = f"expected a start before the end, found {start:g} to {end:g} s"
        faults.append(Skip(where, why))
    if not told["path"]:
        faults.append(Skip(where, "expected the path of a sound file, found none"))
    if told["split"] and told["split"].lower() not in PARTS:
        why = f"expected a split train, dev or test, found {told['split']!r}"
        faults.append(Skip(where, why))
    path = told["path"]
    if "\\" in path:  # written on Windows
        path = PureWindowsPath(path).as_posix()
    return Row(where, told, Path(os.path.normpath(table.parent / path)), **times)


def _seconds(text: str) -> float | None:
    """The number that a text is, None if it is not one that can be a time."""
    if not re.fullmatch(r"[+]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.I | re.A):
        return None
    return float(text) if math.isfinite(float(text)) else None


def _expected(name: str, found: str) -> str:
    return f"expected the {name} in seconds, such as 1.25, found {found!r}"


def _meant(column: str) -> str:
    near = difflib.get_close_matches(column.lower(), COLUMNS, 1)
    return f"{column} (is it {near[0]}?)" if near else column


def _ids(table: Path, rows: list[Row]) -> list[str]:
    """The id of each row, all different."""
    seen: dict[tuple, str] = {}
    faults = []
    for row in rows:
        same = (row.path, row.start or 0.0, row.end)
        if same in seen:
            why = f"the same recording as in {_line(seen[same])}; keep one row of it"
            faults.append(Skip(row.where, why))
        seen.setdefault(same, row.where)
    ids = [row.cells["id"] for row in rows]
    if not any(ids):
        shared = os.path.commonpath([row.path.parent for row in rows])
        whole = [row.path.relative_to(shared) for row in rows]
        ways = (
            [path.stem for path in whole],
            ["_".join(path.with_suffix("").parts) for path in whole],
            ["_".join(path.parts) for path in whole],
        )
        ids = next((one for one in ways if len(set(one)) == len(set(whole))), ways[-1])
        ids = [id + _stretch(row) for id, row in zip(ids, rows, strict=True)]
    places: dict[str, str] = {}
    for row, id in zip(rows, ids, strict=True):
        if id in places:
            why = (
                f"a second utterance is named {id}, the first is in"
                f" {_line(places[id])}; ids must be unique: give each its own in a"
                " column id"
            )
            faults.append(Skip(row.where, why))
        places.setdefault(id, row.where)
    refuse(faults)
    return ids


def _stretch(row: Row) -> str:
    """What tells the rows of one file apart."""
    if row.start is None and row.end is None:
        return ""
    end = "" if row.end is None else f"{row.end:.3f}"
    return f"_{row.start or 0.0:.3f}-{end}"


def _line(where: str) -> str:
    """`line 3` or `row 3`, of the place of a row."""
    place = re.search(r"(:|, row )(\d+)$", where)
    return f"{'line' if place[1] == ':' else 'row'} {place[2]}"


def _sounds(
    rows: list[Row], skipped: list[Skip], progress: bool
) -> dict[str, tuple[Path, float]]:
    """Place of a row to its file and seconds; what cannot be used is added to
    `skipped`.
    """
    paths = list(dict.fromkeys(row.path for row in rows))
    shown = {"unit": "file", "leave": False}
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(_length, paths)
        found = bar(progress, found, "Reading", len(paths), **shown)
        lengths = dict(zip(paths, found, strict=True))
        sounds = pool.map(lambda row: _sound(row, lengths[row.path]), rows)
        told = list(bar(progress, sounds, "Cutting", len(rows), **shown))
    for row, one in zip(rows, told, strict=True):
        if isinstance(one, str):
            skipped.append(Skip(row.where, f"{row.cells['path']}: {one}; left out"))
    return {
        row.where: one
        for row, one in zip(rows, told, strict=True)
        if not isinstance(one, str)
    }


def _length(path: Path) -> float | str:
    """Seconds of a sound that is there to its end, or what is wrong with it."""
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "none"
            return f"expected a sound file, found {found}"
        return wav.duration(path, whole=True)
    except (ValueError, OSError) as error:
        if path.suffix.lower() in FOREIGN:
            new = path.with_suffix(".wav").name
            return f"{error}; convert it: ffmpeg -i {path.name} {new}"
        return str(error)


def _sound(row: Row, length: float | str) -> tuple[Path, float] | str:
    """File and seconds of a row's sound, or why there is none."""
    if isinstance(length, str) or (row.start is None and row.end is None):
        return length if isinstance(length, str) else (row.path, length)
    start, end = row.start or 0.0, length if row.end is None else row.end
    if end > length + SLACK or start >= length:
        return (
            f"expected a stretch within the sound's {length:.2f} s, found {start:g} to"
            f" {end:g} s"
        )
    return wav.cut(row.path, start, min(end, length))


def _classes(
    table: Path,
    rows: list[Row],
    labels: Mapping[str, str] | None,
    skipped: list[Skip],
) -> dict[str, str]:
    """Place of a row to its class; what has none is added to `skipped`."""
    left_out = [*skipped]
    counts = Counter(row.cells["emotion"] for row in rows)
    unlabelled = counts.pop("", 0)
    listed = ", ".join(f"{name} ({n})" for name, n in sorted(counts.items()))
    if labels is None:
        _refuse_twins(table, rows, counts)
        labels = {name: name for name in counts}
    else:
        labels = _as_text(labels)
    if unknown := [name for name in labels if name not in counts]:
        raise ValueError(
            f"{table}: labels names {', '.join(map(repr, unknown))}, which no row has;"
            f" the table has {listed or 'no emotion at all'}"
        )
    total: Counter = Counter()
    for name, n in counts.items():
        total[labels.get(name)] += n
    classes = {}
    for row in rows:
        name = row.cells["emotion"]
        if not name:
            skipped.append(
                Skip(row.where, "expected an emotion, found none; kept without a label")
            )
        elif name in labels and total[labels[name]] == 1:
            near = difflib.get_close_matches(name, set(counts) - {name}, 1)
            meant = f" (is it {near[0]}?)" if near else ""
            skipped.append(
                Skip(
                    row.where,
                    f"expected a class of two utterances or more, found a single"
                    f" {name}{meant}; kept without a label",
                )
            )
        elif name in labels:
            classes[row.where] = labels[name]
    skipped += [
        Skip(str(table), f"labels names no class for {name}: {n} rows without one")
        for name, n in sorted(counts.items())
        if name not in labels
    ]
    if len(set(classes.values())) < 2:
        raise ValueError(
            f"{table}: expected at least two classes of two utterances or more, found"
            f" {listed or 'no emotion'} in {len(rows)} rows that can be used"
            + (f", {unlabelled} of them without an emotion" if unlabelled else "")
            + "".join(
                f"; {len(left_out)} more cannot be used, first {where}: {why}"
                for where, why in left_out[:1]
            )
        )
    return classes


def _as_text(labels: Mapping[Any, Any]) -> dict[str, str]:
    """Labels and classes that are numbers as the text that they are in a table; raise
    ValueError for what is no label to class.
    """
    if not isinstance(labels, Mapping):
        raise ValueError(
            'expected labels such as {"ANG": "angry"}, label in the table to class;'
            f" found {labels!r}"
        )
    if wrong := [one for one in labels.values() if one is None or not str(one).strip()]:
        raise ValueError(
            f"labels gives {wrong[0]!r}; expected the name of a class, and nothing of"
            " labels that have none"
        )
    return {str(name): str(one) for name, one in labels.items()}


def _refuse_twins(table: Path, rows: Iterable[Row], counts: Mapping[str, int]) -> None:
    """Raise ValueError for two labels that differ in capitals or spaces alone."""
    first = {row.cells["emotion"]: row.where for row in reversed([*rows])}
    seen: dict[str, str] = {}
    for name in counts:
        other = seen.setdefault(" ".join(name.lower().split()), name)
        if other != name:
            raise ValueError(
                f"{first[name]}: expected one spelling of a label, found {name!r} here"
                f" and {other!r} in {_line(first[other])}; write them alike, or say"
                " what they are in labels"
            )


def _utterance(
    row: Row,
    id: str,
    audio: Path,
    duration: float,
    emotion: str | None,
    shared: Mapping[Path, int],
) -> Utterance:
    """The utterance of a row, with defaults for what the table does not say."""
    cells = row.cells
    dialogue = cells["speaker"] or id
    if shared[row.path] > 1:
        dialogue = cells["path"]
    return Utterance(
        id=id,
        speaker=cells["speaker"],
        session=cells["session"] or cells["speaker"],
        dialogue=cells["dialogue"] or dialogue,
        scripted=False,
        emotion=emotion,
        dimensions=None,
        text=cells["text"],
        audio=audio,
        duration=duration,
        partition=PARTS.get(cells["split"].lower()),
    )


def _name(table: Path, utterances: Iterable[Utterance]) -> str:
    """`table`, the file's name, and a hash of all that the table says."""
    told = [
        (u.id, u.emotion, u.speaker, u.session, u.dialogue, u.text, u.partition)
        for u in sorted(utterances, key=lambda u: u.id)
    ]
    digest = hashlib.blake2b(repr(told).encode(), digest_size=3).hexdigest()
    stem = re.sub(r"\W+", "-", table.stem).strip("-")[:40]
    return f"table-{stem}-{digest}" if stem else f"table-{digest}"
