"""Speaks a file of sentences with espeak-ng and keeps of each word its label, place, voice and MFCC, never the sound.

A million words whose boundaries are exact, for Speech2Vec (Chung and Glass 2018; tzirakis2021, section 3.1); chapter
`embeddings`. Word boundaries come from the synthesiser's own events.

    python -m data_scripts.speak sentences.txt --out spoken/      one sentence a line
    python -m data_scripts.speak brown --out spoken-brown/        the Brown corpus, where NLTK finds it
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample_poly

if __name__ == "__main__" and __package__ in (None, ""):  # python data_scripts/speak.py
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_scripts import spoken_parts, workshop
from data_scripts.synthetic.plan import SPEAKERS
from data_scripts.synthetic.voice import NATIVE_RATE, Phone, Reading, Synthesiser, library
from serlib.corpora.corpus import Segment
from serlib.embeddings import spoken
from serlib.progress import bar

VERSION = 1
"""Goes up with every change of what is made."""

SENTENCES_A_PART = 400


def words_of(sentence: str) -> tuple[list[str], list[str]]:
    """Return the words of a sentence, lower-cased, and its other tokens (numbers, punctuation, hyphenated words).

    A word is a token of letters only, once the punctuation around it is gone.
    """
    tokens = [token.strip(".,;:?!\"'`()[]{}*-–—…“”‘’") for token in sentence.split()]
    words = [token.lower() for token in tokens if token.isalpha()]
    return words, [token for token in tokens if token and not token.isalpha()]


def read_sentences(text: str | Path) -> list[str]:
    """Return the lines of a text file that are not empty, or the sentences of NLTK's Brown corpus for `brown`.

    Raises:
        FileNotFoundError: if there is no such file, or NLTK does not find its corpus.
        ValueError: if the file is not UTF-8, or holds no word.
    """
    if str(text) == "brown":
        from nltk.corpus import brown

        try:
            return [" ".join(sentence) for sentence in brown.sents()]
        except LookupError as error:
            raise FileNotFoundError(
                "NLTK does not find the Brown corpus: python -m nltk.downloader brown, or name its folder in NLTK_DATA"
            ) from error
    path = Path(text)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of sentences, one a line, found none")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}:{line}: expected UTF-8, found {error.object[error.start : error.end]!r}") from error
    sentences = [line for line in lines if line.strip()]
    if not any(words_of(sentence)[0] for sentence in sentences):
        raise ValueError(f"{path}: expected sentences, one a line, found no word")
    return sentences


def speak(
    sentences: Sequence[str],
    out: str | Path,
    *,
    name: str = "sentences",
    voices: int = len(SPEAKERS),
    jobs: int | None = None,
    progress: bool = True,
) -> None:
    """Speak sentences, each by the next voice, and write a spoken text (`serlib.embeddings.spoken.read_spoken`).

    Args:
        sentences: to speak; tokens that are no words are left out and counted.
        out: folder; absent, empty, or holding the same spoken text, complete or not.
        name: of the text, for the record.
        voices: how many of the synthetic corpus's speakers.
        jobs: processes; None for one per core. The result does not depend on it.
        progress: whether to show a progress bar.

    Raises:
        ValueError: for numbers that make no sense, or sentences without a word.
        FileExistsError: if the folder holds something else.
        OSError: if it cannot be written, or the disk is too small.
        RuntimeError: if the synthesiser is missing.
    """
    out, jobs = Path(out).resolve(), jobs or os.cpu_count() or 1
    if not 1 <= voices <= len(SPEAKERS) or jobs < 1:
        raise ValueError(f"expected 1 to {len(SPEAKERS)} voices and a job or more, found {voices} and {jobs}")
    library()
    tokens = [words_of(sentence) for sentence in sentences]
    words = [own for own, _ in tokens]
    if not any(words):
        raise ValueError("expected sentences with words in them, found none")
    request = {
        "name": name,
        "sentences": len(words),
        "words": sum(map(len, words)),
        "left out": sum(len(others) for _, others in tokens),
        "voices": [*itertools.islice(SPEAKERS, voices)],
        "generator": VERSION,
        "synthesiser": f"espeak-ng {Synthesiser().version()}",
        "text": hashlib.blake2b("\n".join(map(" ".join, words)).encode(), digest_size=8).hexdigest(),
    }
    with spoken_parts.making(out, request) as unfinished:
        if unfinished is None:
            return
        parts = spoken_parts.parts(unfinished, len(words), SENTENCES_A_PART)
        missing = [part for part in parts if not part.path.exists()]
        left = sum(len(own) for part in missing for own in words[part.sentences])
        spoken_parts.check_space(out, left)
        whole = request["words"]
        shown = {"total": whole, "initial": whole - left, "unit": "word", "unit_scale": True}
        with bar(progress, desc="Speaking", **shown) as told:
            tasks = [(words[part.sentences], part.sentences.start, voices, part.path) for part in missing]
            for count in workshop.spread(_speak_part, tasks, jobs):
                told.update(count)
        spoken_parts.join(out, parts, np.arange(len(words)) % voices, request["voices"], request)


def _speak_part(sentences: Sequence[Sequence[str]], first: int, voices: int, path: Path) -> int:
    """Speak some sentences and write their words; return how many words there were."""
    torch.set_num_threads(1)
    synthesiser, readings = Synthesiser(), list(SPEAKERS.values())[:voices]
    heard, refused = {}, []
    for number, words in enumerate(sentences, start=first):
        if words:
            try:
                samples, phones = _say(synthesiser, words, readings[number % voices])
                heard[number] = samples, _segments(words, phones)
            except RuntimeError as error:
                refused.append(f"sentence {number + 1}: {error}")
    spoken_parts.write_part(path, heard, refused)
    return sum(map(len, sentences))


def _say(synthesiser: Synthesiser, words: Sequence[str], reading: Reading) -> tuple[np.ndarray, tuple[Phone, ...]]:
    """Return the samples of a sentence at RATE, in [-1, 1], and its phones."""
    speech = synthesiser.speak([*words[:-1], words[-1] + "."], reading)
    if {phone.word for phone in speech.phones} - {-1} != set(range(len(words))):
        raise RuntimeError(f"espeak-ng left a word out of {' '.join(words)!r}")
    samples = resample_poly(speech.samples.astype(np.float32), 320, 441) * np.float32(10 ** (reading.gain / 20) / 32768)
    return np.clip(samples, -1, 1).astype(np.float32), speech.phones


def _segments(words: Sequence[str], phones: Sequence[Phone]) -> list[Segment]:
    """Return where each word lies, in seconds."""
    segments = []
    for number, word in enumerate(words):
        own = [phone for phone in phones if phone.word == number]
        segments.append(Segment(word, own[0].start / NATIVE_RATE, own[-1].end / NATIVE_RATE))
    return segments


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", help="file of sentences, one a line; or brown")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the spoken text into")
    parser.add_argument("--voices", type=int, default=len(SPEAKERS), help=f"how many (default: {len(SPEAKERS)})")
    parser.add_argument("--jobs", type=int, help="processes (default: one per core)")
    options = parser.parse_args(arguments)
    try:
        sentences = read_sentences(options.text)
        name = "brown" if options.text == "brown" else Path(options.text).name
        speak(sentences, options.out, name=name, voices=options.voices, jobs=options.jobs)
    except (ValueError, OSError, RuntimeError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    facts = json.loads((options.out / spoken.FACTS).read_text(encoding="utf-8"))
    hours = facts["frames"] * facts["hop"] / 3600
    print(f"{options.out}: {facts['spoken']:,} words in {facts['sentences']:,} sentences, {hours:.1f} h")
    print(f"{facts['left out']:,} tokens that are no words were left out, {facts['refused']:,} sentences refused")


if __name__ == "__main__":
    main()
