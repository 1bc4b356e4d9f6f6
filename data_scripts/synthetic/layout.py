"""Speaks a dialogue and writes it as IEMOCAP's release does: waveforms, alignments, labels and transcripts.

The layout is that of IEMOCAP (Busso et al. 2008); chapters `intro` and `corpora`.
"""

from __future__ import annotations

import random
import shutil
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from data_scripts.synthetic.plan import Planned
from data_scripts.synthetic.voice import NATIVE_RATE, PUNCTUATION, Synthesiser, arpabet

RATE = 16_000
FRAME = 160  # samples of an alignment's 10 ms
ROOM_NOISE = 8.0  # root mean square, in steps of the 16 bit scale
CEILING = 31_000  # no sample is larger: an utterance that would be is made quieter

RATINGS = {  # mean valence, activation and dominance on IEMOCAP's scale of 1 to 5
    "ang": (1.9, 3.6, 3.9),
    "hap": (3.9, 3.1, 3.1),
    "exc": (4.1, 3.7, 3.4),
    "neu": (3.0, 2.6, 2.8),
    "sad": (2.2, 2.2, 2.4),
}
ANNOTATIONS = {"ang": "Anger", "hap": "Happiness", "exc": "Excited", "neu": "Neutral", "sad": "Sadness"}
OTHER_VIEWS = {"ang": "Frustration", "hap": "Excited", "exc": "Happiness", "neu": "Frustration", "sad": "Neutral"}


@dataclass(frozen=True, slots=True)
class Row:
    """A stretch of an alignment: a phone of a word, or something that is no word.

    Attributes:
        phone: symbol, `SIL` or the like of `+BREATH+`.
        word: index of the word; -1 for what is no word.
        start, end: frames of 10 ms, both inclusive.
    """

    phone: str
    word: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Recording:
    """A spoken utterance: (samples,) int16 at RATE, and its phones from the first frame to the last."""

    samples: np.ndarray
    rows: tuple[Row, ...]

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / RATE


def record(utterance: Planned, synthesiser: Synthesiser, seed: int) -> Recording:
    """Speak an utterance, put it into a quiet room and align it.

    Args:
        utterance: what to say and how.
        synthesiser: who says it.
        seed: the corpus's; with the utterance's name it decides the room noise and the silences.
    """
    rng = np.random.default_rng([seed, *utterance.id.encode()])
    stressed = [i for i in (utterance.stressed, utterance.decoy) if i is not None]
    speech = synthesiser.speak(utterance.tokens, utterance.reading, stressed)
    phones = list(speech.phones)
    while not phones[-1].symbol:
        phones.pop()

    lead, tail = rng.uniform(0.06, 0.25), rng.uniform(0.1, 0.3)
    parts = [_silence(lead), speech.samples[: phones[-1].end].astype(np.float64)]
    marks = [("SIL", -1, 0.0)]  # symbol, word, start in seconds
    marks += [(arpabet(p.symbol) if p.symbol else "SIL", p.word, lead + p.start / NATIVE_RATE) for p in phones]
    if utterance.tag:
        marks.append(("SIL", -1, _length(parts)))
        parts.append(_silence(0.15))
        marks.append((f"+{utterance.tag[1:-1]}+", -1, _length(parts)))
        parts.append(_vocalisation(utterance, synthesiser, rng))
    marks.append(("SIL", -1, _length(parts)))
    parts.append(_silence(tail))

    rows = _frames(marks, _length(parts))
    samples = resample_poly(np.concatenate(parts), 320, 441) * 10 ** (utterance.reading.gain / 20)
    total = (rows[-1].end + 1) * FRAME
    samples = np.pad(samples[:total], (0, max(0, total - len(samples))))
    samples += rng.normal(0, ROOM_NOISE, total)
    samples *= min(1.0, CEILING / np.abs(samples).max())
    return Recording(np.rint(samples).astype("<i2"), rows)


def _silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * NATIVE_RATE))


def _length(parts: Sequence[np.ndarray]) -> float:
    return sum(map(len, parts)) / NATIVE_RATE


def _vocalisation(utterance: Planned, synthesiser: Synthesiser, rng: np.random.Generator) -> np.ndarray:
    """Return a laugh, or a breath of noise that swells and fades."""
    if utterance.tag == "[LAUGHTER]":
        return synthesiser.speak(("ha", "ha", "ha."), utterance.reading).samples.astype(np.float64)
    length = round(rng.uniform(0.25, 0.45) * NATIVE_RATE)
    noise = np.convolve(rng.normal(0, 1, length), [0.25, 0.5, 0.25], "same")
    return 400 * noise * np.hanning(length)


def _frames(marks: list[tuple[str, int, float]], seconds: float) -> tuple[Row, ...]:
    """Round times to frames of 10 ms, each row at least one frame."""
    starts: list[int] = []
    for _, _, start in marks:
        starts.append(max(round(start * 100), starts[-1] + 1 if starts else 0))
    ends = [*(start - 1 for start in starts[1:]), max(round(seconds * 100) - 1, starts[-1])]
    rows = zip(marks, starts, ends, strict=True)
    return tuple(Row(phone, word, start, end) for (phone, word, _), start, end in rows)


def word_alignment(tokens: Sequence[str], rows: Sequence[Row], rng: random.Random) -> str:
    """Return the text of a .wdseg file."""
    spans: list[tuple[str, int, int]] = []
    for i, row in enumerate(rows):
        if row.word >= 0 and rows[i - 1].word == row.word:
            spans[-1] = (spans[-1][0], spans[-1][1], row.end)
            continue
        if row.word >= 0:
            label = tokens[row.word].strip(PUNCTUATION).upper()
            if label == "THE" and rows[i + 1].phone == "IY":
                label = "THE(2)"
        elif row.phone != "SIL":
            label = f"+{row.phone}+"
        else:
            label = "<s>" if i == 0 else "</s>" if i == len(rows) - 1 else "<sil>"
        spans.append((label, row.start, row.end))
    return _segments("Word", spans, rng)


def phone_alignment(rows: Sequence[Row], rng: random.Random) -> str:
    """Return the text of a .phseg file: phones with their neighbours and their place in the word."""
    spans = []
    for i, row in enumerate(rows):
        label = row.phone
        if row.word >= 0:
            before, after = rows[i - 1], rows[i + 1]
            begins, ends = before.word != row.word, after.word != row.word
            place = "s" if begins and ends else "b" if begins else "e" if ends else "i"
            label += f" {_context(before)} {_context(after)} {place}"
        spans.append((label, row.start, row.end))
    return _segments("Phone", spans, rng)


def _context(row: Row) -> str:
    return row.phone if row.word >= 0 else "SIL"


def _segments(heading: str, spans: Sequence[tuple[str, int, int]], rng: random.Random) -> str:
    lines = [f"\t SFrm  EFrm    SegAScr {heading}"]
    total = 0
    for label, start, end in spans:
        score = -round((end - start + 1) * rng.uniform(4_000, 16_000))
        total += score
        lines.append(f"\t{start:5d} {end:5d} {score:10d} {label}")
    return "\n".join([*lines, f" Total score:   {total:10d}", ""])


def annotations(label: str, voice: str, rng: random.Random) -> tuple[tuple[float, float, float], list[str]]:
    """Return the mean ratings of an utterance and the lines of its annotators, which agree with them and its label."""
    votes = [ANNOTATIONS[label]] * 3
    if rng.random() < 0.4:
        votes[rng.randrange(3)] = OTHER_VIEWS[label]
    lines = [f"C-E{i}:\t{vote};\t()" for i, vote in zip((2, 3, 4), votes, strict=True)]
    lift = {"angry": 0.4, "happy": 0.3, "neutral": 0.0, "sad": -0.4}[voice]
    centre = [mean + (lift if i == 1 else 0) for i, mean in enumerate(RATINGS[label])]
    ratings = [[min(5, max(1, round(mean + rng.gauss(0, 0.5)))) for mean in centre] for _ in range(2)]
    lines += [f"A-E{i}:\tval {v}; act {a}; dom  {d};\t()" for i, (v, a, d) in zip((3, 4), ratings, strict=True)]
    valence, activation, dominance = (sum(pair) / 2 for pair in zip(*ratings, strict=True))
    return (valence, activation, dominance), lines


def write_dialogue(
    root: Path, workshop: Path, utterances: Sequence[Planned], synthesiser: Synthesiser, seed: int
) -> None:
    """Speak a dialogue and put its files into the tree, the transcript last.

    Args:
        root: the corpus.
        workshop: folder on the same disk for unfinished files.
        utterances: the dialogue.
        synthesiser: who speaks.
        seed: the corpus's.

    Raises:
        OSError: if something cannot be written.
    """
    made = workshop / utterances[0].dialogue
    shutil.rmtree(made, ignore_errors=True)
    try:
        _write_dialogue(root, made, utterances, synthesiser, seed)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _write_dialogue(root: Path, made: Path, utterances: Sequence[Planned], synthesiser: Synthesiser, seed: int) -> None:
    waveforms, alignments = made / "wav", made / "ForcedAlignment"
    waveforms.mkdir(parents=True)
    alignments.mkdir()
    labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    transcripts = []
    clock = 0.5
    for utterance in utterances:
        recording = record(utterance, synthesiser, seed)
        rng = random.Random(f"{seed}/{utterance.id}/layout")
        with (waveforms / f"{utterance.id}.wav").open("wb") as sound, wave.open(sound, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(recording.samples.tobytes())
        _write(alignments / f"{utterance.id}.wdseg", word_alignment(utterance.tokens, recording.rows, rng))
        _write(alignments / f"{utterance.id}.phseg", phone_alignment(recording.rows, rng))
        start = clock + utterance.pause
        clock = start + recording.duration
        (v, a, d), lines = annotations(utterance.label, utterance.voice, rng)
        head = f"[{start:.4f} - {clock:.4f}]\t{utterance.id}\t{utterance.label}\t[{v:.4f}, {a:.4f}, {d:.4f}]"
        labels += [head, *lines, ""]
        transcripts.append(f"{utterance.id} [{start:08.4f}-{clock:08.4f}]: {utterance.text}")
    _write(made / "labels.txt", "\n".join([*labels, ""]))
    _write(made / "transcripts.txt", "\n".join([*transcripts, ""]))

    waves, segments, emotions, text = places(root, utterances[0])
    for source, target in (
        (waveforms, waves),
        (alignments, segments),
        (made / "labels.txt", emotions),
        (made / "transcripts.txt", text),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)  # left by a run that was interrupted here
        source.replace(target)
    made.rmdir()


def places(root: Path, utterance: Planned) -> tuple[Path, Path, Path, Path]:
    """Return where a dialogue's waveforms, alignments, labels and transcripts lie; the last is written last."""
    session, name = root / f"Session{utterance.session}", utterance.dialogue
    return (
        session / "sentences" / "wav" / name,
        session / "sentences" / "ForcedAlignment" / name,
        session / "dialog" / "EmoEvaluation" / f"{name}.txt",
        session / "dialog" / "transcriptions" / f"{name}.txt",
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
