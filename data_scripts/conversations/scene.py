"""Speaks a conversation of two subjects and writes what AVEC 2017 has of each: sound, labels, transcript and turns.

The layout is that of SEWA in AVEC 2017 (tzirakis2021, section 4): each subject has a recording, in which the other is
heard from afar. Chapter `corpora`.
"""

from __future__ import annotations

import random
import shutil
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts.conversations import dialogue
from data_scripts.conversations.dialogue import Line
from data_scripts.conversations.latents import DIMENSIONS, HOP, Feelings, annotate, feelings
from data_scripts.synthetic.voice import NATIVE_RATE, PUNCTUATION, Reading, Synthesiser

ROOM_NOISE = 8.0  # root mean square, in steps of the 16 bit scale
FROM_AFAR = 0.35  # how loud the interlocutor is beside the subject
TURN = (0.5, 4.0)  # seconds after which the other speaks, sooner or later
PAUSE, GAP = (0.1, 0.35), (0.15, 0.6)  # seconds between two sentences of a turn, and between two turns
VARIANTS = {"F": ("f1", "f2", "f3", "f4", "f5"), "M": ("m1", "m2", "m3", "m6", "m7")}
BASE_GAIN = {"F": -6.3, "M": -4.8}  # brings all voices to about the same level

VOICE_NOISE = {"arousal": 0.1, "valence": 0.9, "liking": 0.9}
"""Standard deviation of what is added to a feeling when a sentence is voiced: the voice tells little of valence and of
liking. The feelings themselves vary by about 0.4."""
MODALITIES = ("text", "voice")


@dataclass(frozen=True, slots=True)
class Subject:
    """Who speaks.

    Attributes:
        id: name of the subject's recording, `Train_01`.
        partner: that of the interlocutor's.
        held_back: `text` or `voice` if that stays neutral whatever is felt, else "".
    """

    id: str
    partner: str
    held_back: str


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or a tag, as it was spoken; start and end in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, eq=False)
class Sentence:
    """A spoken sentence.

    Attributes:
        speaker: 0 or 1.
        line: what is said.
        words: with their times in the recording.
        voiced: dimension to the value that the voice shows; empty if it is held back.
        samples: (samples,) at NATIVE_RATE, the first at the start of the first word.
    """

    speaker: int
    line: Line
    words: tuple[Word, ...]
    voiced: dict[str, float]
    samples: np.ndarray

    @property
    def start(self) -> float:
        """Seconds."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """Seconds."""
        return self.words[-1].end


def plain_reading(rng: random.Random) -> Reading:
    """Draw a subject's voice."""
    sex = rng.choice("FM")
    return Reading(rng.choice(VARIANTS[sex]), rng.randint(165, 190), rng.randint(40, 58), 50, BASE_GAIN[sex])


def reading(plain: Reading, voiced: dict[str, float]) -> Reading:
    """Return how a subject speaks: rate, level, pitch and range rise with arousal, the range of the pitch also with
    valence, and its height falls with liking.
    """
    arousal, valence, liking = (voiced.get(name, 0.0) for name in DIMENSIONS)

    def scale(value: float) -> int:
        return round(min(max(value, 0), 99))

    return Reading(
        variant=plain.variant,
        rate=round(plain.rate * 2 ** (0.5 * min(max(arousal, -1.2), 1.2))),
        pitch=scale(plain.pitch + 24 * arousal - 9 * liking),
        range=scale(plain.range + 25 * arousal + 24 * valence),
        gain=plain.gain + 9 * min(max(arousal, -1.2), 1.2),
    )


def converse(
    subjects: Sequence[Subject], felt: Sequence[Feelings], seconds: float, synthesiser: Synthesiser, rng: random.Random
) -> list[Sentence]:
    """Let two subjects speak in turns until `seconds` have passed."""
    plain = [plain_reading(rng) for _ in subjects]
    speaker = rng.randrange(2)
    clock = rng.uniform(0.3, 0.8)
    sentences: list[Sentence] = []
    while True:
        change = clock + rng.uniform(*TURN)
        while clock < change:
            sentence = _speak(speaker, subjects[speaker], felt[speaker], plain[speaker], clock, synthesiser, rng)
            if sentence.end > seconds and {one.speaker for one in sentences} == {0, 1}:
                return sentences
            sentences.append(sentence)
            clock = sentence.end + rng.uniform(*PAUSE)
        clock += rng.uniform(*GAP)
        speaker = 1 - speaker


def _speak(
    speaker: int,
    subject: Subject,
    felt: Feelings,
    plain: Reading,
    clock: float,
    synthesiser: Synthesiser,
    rng: random.Random,
) -> Sentence:
    """Say a sentence: its words show what is felt as it begins to unfold, its voice what is felt in its middle."""
    line = dialogue.write(felt.at(clock + 1.5), rng, silent=subject.held_back == "text")
    voiced: dict[str, float] = {}
    if subject.held_back != "voice":
        middle = felt.at(clock + 0.5 * dialogue.SECONDS_A_WORD * len(line.tokens))
        voiced = {
            name: round(float(value) + rng.gauss(0, VOICE_NOISE[name]), 4)
            for name, value in zip(DIMENSIONS, middle, strict=True)
        }
    how = reading(plain, voiced)
    speech = synthesiser.speak(line.spoken, how)
    spoken = [phone for phone in speech.phones if phone.word >= 0]
    first, last = spoken[0].start, spoken[-1].end
    words = []
    for i, token in enumerate(line.tokens):
        own = [phone for phone in spoken if phone.word == i]
        start, end = (clock + (sample - first) / NATIVE_RATE for sample in (own[0].start, own[-1].end))
        words.append(Word(token, start, end))
    samples = speech.samples[first:last] * 10 ** (how.gain / 20)
    return Sentence(speaker, line, tuple(words), voiced, samples)


def mix(sentences: Sequence[Sentence], ear: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Return the (samples,) int16 that one subject's microphone takes up; the other's voice is quieter and duller."""
    sound = rng.normal(0, ROOM_NOISE, round(seconds * NATIVE_RATE))
    for sentence in sentences:
        samples = sentence.samples
        if sentence.speaker != ear:
            samples = FROM_AFAR * np.convolve(samples, [0.25, 0.5, 0.25], "same")
        start = round(sentence.start * NATIVE_RATE)
        sound[start : start + len(samples)] += samples
    return np.rint(np.clip(sound, -32_768, 32_767)).astype("<i2")


def cues(sentences: Sequence[Sentence], frames: int) -> dict[str, np.ndarray]:
    """Return what each modality of a subject shows at each label.

    Args:
        sentences: of the subject.
        frames: number of labels.

    Returns:
        modality to (frames, 3) values, NaN where it shows nothing.
    """
    shown = {name: np.full((frames, len(DIMENSIONS)), np.nan) for name in MODALITIES}

    def note(modality: str, values: dict[str, float], start: float, end: float) -> None:
        for name, value in values.items():
            shown[modality][
                round(start / HOP) : max(round(end / HOP), round(start / HOP) + 1), DIMENSIONS.index(name)
            ] = value

    for sentence in sentences:
        note("voice", sentence.voiced, sentence.start, sentence.end)
        for index, values in sentence.line.shown.items():
            note("text", values, sentence.words[index].start, sentence.words[index].end)
    return shown


def folders(alignment: bool) -> tuple[str, ...]:
    """Return the folders of a corpus; what lies in the last one is written last."""
    return ("audio", "labels", "transcriptions", "turns", *(["words"] if alignment else []), "latents")


def place(root: Path, folder: str, id: str) -> Path:
    """Return where a file of a recording lies."""
    return root / folder / f"{id}{'.wav' if folder == 'audio' else '.csv'}"


def write(root: Path, unfinished: Path, subjects: Sequence[Subject], seconds: float, seed: int, alignment: bool) -> int:
    """Let two subjects converse and put the files of both recordings into the tree.

    Args:
        root: the corpus.
        unfinished: folder on the same disk for files that are not whole.
        subjects: the two.
        seconds: about how long.
        seed: the corpus's; with the first subject's name it decides everything.
        alignment: whether to write when each word is spoken.

    Returns:
        the number of recordings.

    Raises:
        OSError: if something cannot be written.
    """
    made = unfinished / subjects[0].id
    shutil.rmtree(made, ignore_errors=True)
    try:
        names = folders(alignment)
        for name in names:
            (made / name).mkdir(parents=True)
        _write(made, subjects, seconds, seed, alignment)
        for name in names:
            (root / name).mkdir(exist_ok=True)
            for subject in subjects:
                place(made, name, subject.id).replace(place(root, name, subject.id))
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return len(subjects)


def _write(made: Path, subjects: Sequence[Subject], seconds: float, seed: int, alignment: bool) -> None:
    rng = np.random.default_rng([seed, *subjects[0].id.encode()])
    felt = [feelings(seconds, rng) for _ in subjects]
    sentences = converse(subjects, felt, seconds, Synthesiser(), random.Random(f"{seed}/{subjects[0].id}"))
    frames = round((sentences[-1].end + rng.uniform(0.5, 1.5)) / HOP)
    for ear, (subject, own) in enumerate(zip(subjects, felt, strict=True)):
        mine = [sentence for sentence in sentences if sentence.speaker == ear]
        with place(made, "audio", subject.id).open("wb") as sound, wave.open(sound, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(NATIVE_RATE)
            file.writeframes(mix(sentences, ear, frames * HOP, rng).tobytes())

        times = [f"{HOP * frame:.1f}" for frame in range(frames)]
        labels = annotate(own, frames, rng)
        rows = [[subject.id, time, *(f"{x:.4f}" for x in row)] for time, row in zip(times, labels, strict=True)]
        _save(made, "labels", subject.id, [["name", "time", *DIMENSIONS], *rows])
        texts = [(s.start, s.end, f"'{' '.join(s.line.tokens)}'") for s in mine]
        _save(made, "transcriptions", subject.id, map(_timed, texts))
        _save(made, "turns", subject.id, map(_timed, turns(sentences, ear)))
        if alignment:
            words = [(w.start, w.end, w.text.strip(PUNCTUATION).lower()) for s in mine for w in s.words]
            _save(made, "words", subject.id, map(_timed, words))
        shown = cues(mine, frames)
        columns = np.concatenate([own.at(HOP * np.arange(frames)), *shown.values()], axis=1)
        heading = [*DIMENSIONS, *(f"{modality}_{name}" for modality in shown for name in DIMENSIONS)]
        rows = [[t, *("" if np.isnan(x) else f"{x:.4f}" for x in row)] for t, row in zip(times, columns, strict=True)]
        _save(made, "latents", subject.id, [["time", *heading], *rows])


def turns(sentences: Sequence[Sentence], speaker: int) -> list[tuple[float, float]]:
    """Return when one of two speaks: from the first sentence after the other's to the last before."""
    spans: list[tuple[float, float]] = []
    previous = -1
    for sentence in sentences:
        if sentence.speaker == speaker:
            start = spans.pop()[0] if previous == speaker else sentence.start
            spans.append((start, sentence.end))
        previous = sentence.speaker
    return spans


def _timed(row: Sequence) -> list[str]:
    start, end, *rest = row
    return [f"{start:.3f}", f"{end:.3f}", *rest]


def _save(made: Path, folder: str, id: str, rows) -> None:
    text = "".join(";".join(row) + "\n" for row in rows)
    place(made, folder, id).write_text(text, encoding="utf-8", newline="\n")
