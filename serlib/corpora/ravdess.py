"""Reader of RAVDESS: 24 actors say two sentences in eight emotions, so only the voice
tells.

Source: Livingstone and Russo 2018, "The Ryerson Audio-Visual Database of Emotional
Speech and Song (RAVDESS)", PLoS ONE 13(5): e0196391. Real speech for the systems of
yoon2018; taught in chapters `corpora` and `real_speech`.
"""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serlib.corpora import wav
from serlib.corpora.corpus import Corpus, Skip, Utterance, printable
from serlib.progress import bar

log = logging.getLogger(__name__)

ACTORS = tuple(f"Actor_{n:02}" for n in range(1, 25))
EMOTION_NAMES = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}
STATEMENTS = {
    "01": "Kids are talking by the door",
    "02": "Dogs are sitting by the door",
}

INTENSITIES = {"01": "normal", "02": "strong"}

FILE_NAME = re.compile(r"03-01-(0[1-8])-(0[12])-(0[12])-(0[12])-([0-9]{2})")
"""Audio (03), speech (01), emotion, intensity, statement, repetition, actor."""


def read(root: str | Path, *, progress: bool = True) -> Corpus:
    """Read RAVDESS's speech; the whole of it has 1,440 utterances, 672 of them in the
    four classes.

    Speaker, session and dialogue are all the actor (`Actor_01`); odd actors are men,
    even ones women. The script is the statement (`statement01`). Files whose name or
    content is wrong are listed in `Corpus.skipped`.

    Args:
        root: the folder that holds `Actor_01` to `Actor_24`; with fewer actors it is
            read with a warning.
        progress: show a progress bar.

    Raises:
        ValueError: if `root` holds no actor's folder, or no utterance that can be read.
    """
    root = Path(root).absolute()
    files = [
        path
        for actor in ACTORS
        for path in sorted((root / actor).glob("*"))
        if path.suffix.lower() in wav.SUFFIXES and path.name[0] != "."
    ]
    if not files:
        raise ValueError(
            f"{root} is not RAVDESS: expected Actor_01 to Actor_24 with files such as"
            " 03-01-05-01-02-01-12.wav, found none; give the folder into which"
            " Audio_Speech_Actors_01-24.zip was unpacked"
        )
    if absent := sorted(set(ACTORS) - {path.parent.name for path in files}):
        log.warning(
            "%s: only part of the corpus, no files of %s",
            printable(str(root)),
            ", ".join(absent),
        )
    utterances: list[Utterance] = []
    skipped: list[Skip] = []
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(_utterance, files)
        both = zip(files, results, strict=True)
        shown = {"unit": "utt", "leave": False}
        for path, result in bar(progress, both, "Reading ravdess", len(files), **shown):
            if isinstance(result, Utterance):
                utterances.append(result)
            else:
                skipped.append(Skip(path.relative_to(root).as_posix(), result))
    if not utterances:
        raise ValueError(
            f"{root}: expected utterances, found none; first {skipped[0].where}:"
            f" {skipped[0].why}"
        )
    if skipped:
        log.warning(
            "%s: %d of %d files left out, listed in Corpus.skipped; first %s: %s",
            *(
                printable(str(root)),
                len(skipped),
                len(files),
                *map(printable, skipped[0]),
            ),
        )
    return Corpus("ravdess", root, utterances, skipped)


def intensity(utterance: Utterance) -> str:
    """Return how strongly an actor was asked to play: `normal` or `strong`."""
    return INTENSITIES[FILE_NAME.fullmatch(utterance.id).group(2)]


def _utterance(path: Path) -> Utterance | str:
    """The utterance, or why there is none."""
    actor = path.parent.name
    match = FILE_NAME.fullmatch(path.stem)
    if match is None:
        return (
            "expected a name 03-01-EE-II-SS-RR-AA.wav (audio, speech, emotion 01 to 08,"
            " then 01 or 02 thrice, actor)"
        )
    emotion, intensity, statement, _, number = match.groups()
    if f"Actor_{number}" != actor:
        return f"expected a file of {actor}, the name says Actor_{number}"
    if EMOTION_NAMES[emotion] == "neutral" and intensity == "02":
        return "expected normal intensity (01), since neutral has no strong one"
    try:
        duration = wav.duration(path)
    except (ValueError, OSError) as error:
        return str(error)
    return Utterance(
        id=path.stem,
        speaker=actor,
        session=actor,
        dialogue=actor,
        scripted=True,
        emotion=EMOTION_NAMES[emotion],
        dimensions=None,
        text=STATEMENTS[statement],
        audio=path,
        duration=duration,
        script=f"statement{statement}",
    )
