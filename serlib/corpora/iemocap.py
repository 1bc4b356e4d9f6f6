"""Reader of IEMOCAP's layout, with the irregularities of the release; the synthetic
corpus uses the same layout.

Source: Busso et al. 2008, "IEMOCAP: interactive emotional dyadic motion capture
database". Used by the four categorical papers; taught in chapter `corpora`.
"""

from __future__ import annotations

import html
import logging
import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from serlib.corpora import wav
from serlib.corpora.alignments import SUFFIXES, read_alignments
from serlib.corpora.corpus import Corpus, Skip, Utterance, printable
from serlib.corpora.lines import read_lines
from serlib.progress import bar

log = logging.getLogger(__name__)

EMOTION_NAMES = {
    "ang": "angry",
    "hap": "happy",
    "exc": "excited",
    "neu": "neutral",
    "sad": "sad",
    "fru": "frustrated",
    "fea": "fearful",
    "sur": "surprised",
    "dis": "disgusted",
    "oth": "other",
    "xxx": "undecided",
}
"""Labels of the release in full words; `undecided` is where the annotators had no
majority.
"""

LABELS, TEXTS, WAVES, ALIGNMENTS = (
    "dialog/EmoEvaluation",
    "dialog/transcriptions",
    "sentences/wav",
    "sentences/ForcedAlignment",
)
"""The folders of a session that are read; video and motion capture are never walked
into.
"""

RATINGS = (0.0, 6.0)
"""Mean ratings outside are damage. Annotators chose from 1 to 5, some means of the
release lie a little outside.
"""

UTTERANCE_NAME = re.compile(r"(Ses0([1-5])[FM]_(?:impro\d|script\d+_\d+)\w*)_([FM])\w*")
DIALOGUE_NAME = re.compile(r"Ses0[1-5][FM]_(impro\d+|script\d+_\d+)[a-z]?", re.I)
LABEL_LINE = re.compile(r"\[([^]]*)\]\s+(\S+)\s+(\S+)\s+\[([^]]*)\]\s*")
TEXT_LINE = re.compile(r"(Ses\w+)\b(\s*\[\s*[\d.]+\s*-\s*[\d.]+\s*\])?(.*)", re.DOTALL)
CUT_TIME = re.compile(r":?\s*\[\s*\d")
"""Where the text of a transcript should begin: its time is cut off."""

SCRIPT = re.compile(r"script\d+_\d+")
"""Without the letter of a second part: `script01_1b` is the same script as
`script01_1`.
"""


@dataclass(frozen=True, slots=True)
class Label:
    """One utterance of a label file.

    Attributes:
        id: name of the utterance, `Ses01F_impro01_F000`.
        emotion: full English word.
        dimensions: mean (valence, activation, dominance), or None where the numbers are
            damaged.
        where: label file and line.
    """

    id: str
    emotion: str
    dimensions: tuple[float, float, float] | None
    where: str


@dataclass(frozen=True, slots=True)
class Session:
    """What the four folders of a session hold, by utterance.

    Attributes:
        folder: for instance `IEMOCAP_full_release/Session1`.
        labels: utterance id to label.
        texts: utterance id to (file and line, transcript).
        waves: utterance id in lower case to waveform.
        alignments: `words` and `phones` to utterance id in lower case to file; empty if
            the session has no such folder.
    """

    folder: Path
    labels: dict[str, Label]
    texts: dict[str, tuple[str, str]]
    waves: dict[str, Path]
    alignments: dict[str, dict[str, Path]]

    @property
    def name(self) -> str:
        """`Session1`, in whatever case the folder is."""
        return self.folder.name.capitalize()

    @property
    def unlabelled(self) -> set[str]:
        """Dialogues that have sounds or transcripts, but no labels."""
        heard = {path.parent.name for path in self.waves.values()}
        return heard.union(map(_dialogue, self.texts)) - {*map(_dialogue, self.labels)}


def read(root: str | Path, *, name: str = "iemocap", progress: bool = True) -> Corpus:
    """Read a corpus in IEMOCAP's layout; the release gives 10,039 utterances.

    An utterance needs a label, a transcript and a waveform. One that lacks any of them
    is left out and listed in `Corpus.skipped`, and so is every line that belongs to no
    utterance. An utterance whose alignment is missing or damaged stays, without words
    or phones, and is listed too. A damaged label file stops the reader, since nothing
    tells how many utterances it has lost.

    Args:
        root: the folder that holds `Session1` to `Session5`; a tree with fewer sessions
            is read with a warning.
        name: what `Corpus.name` shall be.
        progress: show a progress bar.

    Raises:
        ValueError: if `root` is not in IEMOCAP's layout, a label file is damaged, or no
            utterance is left.
        FileNotFoundError: if a session lacks its transcriptions or its waveforms.
    """
    root = Path(root).absolute()
    folders = {f"Session{n}": _inside(root, f"Session{n}") for n in range(1, 6)}
    present = [
        folder
        for folder in folders.values()
        if _files(_inside(folder, LABELS), (".txt",))
    ]
    if not present:
        raise ValueError(
            f"{root} is not in IEMOCAP's layout: expected Session1 to Session5 with"
            f" label files in {LABELS}, found {_listing(root)}; give the folder that"
            " holds Session1"
        )
    if absent := [
        session for session, folder in folders.items() if folder not in present
    ]:
        log.warning(
            "%s: only part of the corpus, no label files in %s",
            *(printable(str(root)), ", ".join(absent)),
        )
    why = f"expected Session1 to Session5, with label files in {LABELS}; left out"
    skipped = [
        Skip(str(folder), why)
        for folder in sorted(root.glob("[Ss]ession*"))
        if folder not in present
    ]
    sessions = [read_session(folder, skipped) for folder in present]
    tasks = [(label, one) for one in sessions for label in one.labels.values()]
    if unlabelled := sorted(set().union(*(one.unlabelled for one in sessions))):
        log.warning(
            "%s: %d dialogues without labels left out, listed in Corpus.skipped: %s",
            *(printable(str(root)), len(unlabelled), _shortened(unlabelled)),
        )

    utterances: list[Utterance] = []
    lost: list[Skip] = []
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda task: _utterance(*task), tasks)
        shown = {"unit": "utt", "leave": False}
        for utterance, skips in bar(
            progress, results, f"Reading {name}", len(tasks), **shown
        ):
            if utterance is None:
                lost += skips
            else:
                utterances.append(utterance)
                skipped += skips
    relative = [
        Skip(*(part.replace(f"{root}{os.sep}", "") for part in skip))
        for skip in lost + skipped
    ]
    if not utterances:
        first = f"; first {relative[0].where}: {relative[0].why}" if relative else ""
        raise ValueError(
            f"{root}: expected utterances with label, transcript and waveform, found"
            f" none{first}"
        )
    if lost:
        log.warning(
            "%s: %d of %d labelled utterances left out, listed in Corpus.skipped; first"
            " %s: %s",
            *(printable(str(root)), len(lost), len(tasks)),
            *map(printable, relative[0]),
        )
    return Corpus(name, root, utterances, relative)


def read_session(folder: Path, skipped: list[Skip]) -> Session:
    """Read the labels and transcripts of a session and list its waveforms and
    alignments.

    A waveform or an alignment counts in the folder of its own dialogue only: copies
    elsewhere are listed, never taken.

    Args:
        folder: for instance `IEMOCAP_full_release/Session1`.
        skipped: gets an entry for whatever belongs to no labelled utterance.

    Raises:
        ValueError: if a label file is damaged, or if an utterance is labelled twice or
            has two waveforms or alignments in the folder of its dialogue.
        FileNotFoundError: if the session lacks its transcriptions or its waveforms.
    """
    places = {
        kind: _inside(folder, kind) for kind in (LABELS, TEXTS, WAVES, ALIGNMENTS)
    }
    for needed in (TEXTS, WAVES):
        if not places[needed].is_dir():
            raise FileNotFoundError(
                f"{places[needed]} is missing: only part of the release is there;"
                " unpack it whole"
            )
    labels: dict[str, Label] = {}
    for path in _files_of_dialogues(places[LABELS], skipped):
        for label in read_labels(path, skipped):
            if label.id in labels:
                raise ValueError(
                    f"{label.where}: {label.id} is labelled a second time, first in"
                    f" {labels[label.id].where}"
                )
            labels[label.id] = label
    texts: dict[str, tuple[str, str]] = {}
    for path in _files_of_dialogues(places[TEXTS], skipped):
        for id, where, text in read_transcription(path, skipped):
            why = None
            if id in texts:
                why = f"second transcript of {id}, the first is in {texts[id][0]}; line"
                why += " left out"
            elif id not in labels:
                why = f"{id} is transcribed but not labelled; left out"
            elif not text:
                why = f"the transcript of {id} is empty; utterance kept without text"
            if why:
                skipped.append(Skip(where, why))
            texts.setdefault(id, (where, text))
    waves = _files_of_utterances(places[WAVES], wav.SUFFIXES, skipped)
    for id in sorted(waves.keys() - {id.lower() for id in (*labels, *texts)}):
        why = "has a waveform but neither label nor transcript; left out"
        skipped.append(Skip(str(waves[id]), f"{waves[id].stem} {why}"))
    alignments = {}
    if places[ALIGNMENTS].is_dir():
        alignments = {
            kind: _files_of_utterances(places[ALIGNMENTS], (suffix,), skipped)
            for kind, suffix in SUFFIXES.items()
        }
    else:
        why = (
            f"alignment missing, the session's {len(labels)} utterances kept without"
            " words and phones"
        )
        skipped.append(Skip(str(places[ALIGNMENTS]), why))
    return Session(folder, labels, texts, waves, alignments)


def _utterance(label: Label, session: Session) -> tuple[Utterance | None, list[Skip]]:
    """The utterance and what its alignment lacks; or None and the one reason."""
    id = label.id
    match = UTTERANCE_NAME.fullmatch(id)
    if match is None or session.name != f"Session{match[2]}":
        expected = (
            f"expected the name of an utterance of {session.name}, like"
            " Ses01F_impro01_F000"
        )
        return None, [Skip(label.where, f"{expected}, found {id!r}; left out")]
    dialogue, number, letter = match.groups()
    if id not in session.texts:
        return None, [Skip(label.where, f"{id} has no transcript in {TEXTS}; left out")]
    wave = session.waves.get(id.lower())
    if wave is None:
        place = session.folder / WAVES / dialogue / f"{id}.wav"
        there = "; what is there is a folder or a broken link" * os.path.lexists(place)
        why = f"{id} has no waveform {WAVES}/{dialogue}/{id}.wav{there}; left out"
        return None, [Skip(label.where, why)]
    try:
        duration = wav.duration(wave)
    except (ValueError, OSError) as error:
        return None, [Skip(str(wave), f"{error}; {id} left out")]
    segments, skips = read_alignments(
        {kind: files.get(id.lower()) for kind, files in session.alignments.items()},
        duration,
        str(session.folder / ALIGNMENTS / dialogue / id),
    )
    script = SCRIPT.search(dialogue)
    return (
        Utterance(
            id=id,
            speaker=f"Ses0{number}{letter}",
            session=session.name,
            dialogue=dialogue,
            scripted=script is not None,
            emotion=label.emotion,
            dimensions=label.dimensions,
            text=session.texts[id][1],
            audio=wave,
            duration=duration,
            script=script[0] if script else None,
            **segments,
        ),
        skips,
    )


def read_labels(path: Path, skipped: list[Skip]) -> list[Label]:
    """Read one file of `dialog/EmoEvaluation`.

    Args:
        path: the file; its first line is a header, annotators' lines are ignored.
        skipped: gets an entry for every line of another kind and for numbers that make
            no sense.

    Raises:
        ValueError: if the header is missing, an utterance's line is cut off, or its
            label is unknown.
    """
    lines = read_lines(path)
    first = next((line for line in lines if line.strip()), "an empty file")
    if not first.startswith("% [START_TIME"):
        found = repr(first[:60]) if lines else first
        raise ValueError(
            f"{path}:1: expected the header '% [START_TIME - END_TIME] TURN_NAME"
            f" EMOTION [V, A, D]', found {found}; unpack the file again from the"
            " release"
        )
    labels = []
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if line.startswith("["):
            match = LABEL_LINE.fullmatch(line)
            if match is None:
                raise ValueError(
                    f"{where}: expected '[start - end]<TAB>name<TAB>emotion<TAB>[V, A,"
                    f" D]', found {line!r}; the file is cut off or damaged: unpack it"
                    " again from the release"
                )
            times, id, emotion, ratings = match.groups()
            start, _, end = map(str.strip, times.rpartition("-"))
            if emotion.lower() not in EMOTION_NAMES:
                known = ", ".join(EMOTION_NAMES)
                raise ValueError(
                    f"{where}: expected an emotion among {known}, found {emotion!r}"
                )
            if not 0 <= _number(start) < _number(end) < math.inf:
                found = (
                    f"expected a start time before the end time, found {start} and"
                    f" {end}"
                )
                skipped.append(
                    Skip(where, f"{found}; {id} kept, its times are not used")
                )
            dimensions = tuple(map(_number, ratings.split(",")))
            if len(dimensions) != 3 or not all(
                RATINGS[0] <= value <= RATINGS[1] for value in dimensions
            ):
                skipped.append(
                    Skip(
                        where,
                        f"expected ratings from 1 to 5, found [{ratings}]; {id} kept"
                        " without dimensions",
                    )
                )
                dimensions = None
            labels.append(Label(id, EMOTION_NAMES[emotion.lower()], dimensions, where))
        elif line.strip() and not line.startswith(("%", "C-", "A-")):
            skipped.append(
                Skip(
                    where,
                    f"expected an utterance or an annotator's line, found {line!r};"
                    " line left out",
                )
            )
    return labels


def read_transcription(path: Path, skipped: list[Skip]) -> list[tuple[str, str, str]]:
    """Read one file of `dialog/transcriptions`.

    Args:
        path: the file, a line `Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.` per
            utterance; times and colon may be missing.
        skipped: gets an entry for every line without an utterance's name.

    Returns:
        (name of the utterance, file and line, text) of every other line.
    """
    texts = []
    for number, line in enumerate(read_lines(path), 1):
        where = f"{path}:{number}"
        match = TEXT_LINE.fullmatch(line.strip())
        text = match[3].lstrip().lstrip(":").lstrip() if match else ""
        if match and (match[2] or not CUT_TIME.match(text)):
            texts.append((match[1], where, html.unescape(text)))
        elif line.strip():
            expected = "expected 'Ses01F_impro01_F000 [start-end]: text'"
            skipped.append(
                Skip(where, f"{expected}, found {line.strip()!r}; line left out")
            )
    return texts


def _number(text: str) -> float:
    """The number written in `text`, NaN where there is none; NaN compares false with
    everything.
    """
    try:
        return float(text)
    except ValueError:
        return math.nan


def _dialogue(id: str) -> str:
    return id.rpartition("_")[0]


def _inside(folder: Path, place: str) -> Path:
    """A folder in a folder, in any case of its names; as named if there is none."""
    for name in place.split("/"):
        if not (folder / name).is_dir() and folder.is_dir():
            like = (
                path for path in folder.iterdir() if path.name.lower() == name.lower()
            )
            folder = min(like, default=folder / name)
        else:
            folder = folder / name
    return folder


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of a folder by suffix in either case, sorted, without the `._*` forks that
    macOS leaves; none if there is no folder.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = sorted(
            e.name
            for e in entries
            if e.name.lower().endswith(suffixes) and e.name[0] != "." and e.is_file()
        )
    return [folder / name for name in names]


def _files_of_dialogues(folder: Path, skipped: list[Skip]) -> list[Path]:
    """Text files that are named for a dialogue; others, such as copies, are listed."""
    files = _files(folder, (".txt",))
    named = [path for path in files if DIALOGUE_NAME.fullmatch(path.stem)]
    why = "expected a file named for a dialogue, like Ses01F_impro01.txt; left out"
    skipped += [Skip(str(path), why) for path in files if path not in named]
    return named


def _files_of_utterances(
    folder: Path, suffixes: tuple[str, ...], skipped: list[Skip]
) -> dict[str, Path]:
    """Files by utterance in lower case, each from the folder of its own dialogue;
    others that lie in the folder or one level down are listed, folder by folder.
    """
    files: dict[str, Path] = {}
    for place in (folder, *sorted(filter(Path.is_dir, folder.iterdir()))):
        dialogue, strays = place.name.lower(), []
        for path in _files(place, suffixes):
            id = path.stem.lower()
            if _dialogue(id) != dialogue:
                strays.append(path.name)
            elif id in files:
                raise ValueError(f"{path}: beside {files[id].name}; keep one of them")
            else:
                files[id] = path
        if strays:
            why = (
                f"{len(strays)} files that are not in the folders of their dialogues,"
                f" the first {strays[0]}; left out"
            )
            skipped.append(Skip(str(place), why))
    return files


def _listing(folder: Path) -> str:
    """The first few names in a folder, for a message."""
    names = (
        sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
        if folder.is_dir()
        else []
    )
    return _shortened(names) or "nothing"


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
