"""Speaks a file of sentences with espeak-ng and keeps of each word its label, place, voice and MFCC, never the sound.

A million words whose boundaries are exact, for Speech2Vec (Chung and Glass 2018; tzirakis2021, section 3.1); chapter
`embeddings`. Word boundaries come from the synthesiser's own events.

    python -m data_scripts.speak sentences.txt --out spoken/      one sentence a line
    python -m data_scripts.speak brown --out spoken-brown/        the Brown corpus, where NLTK finds it
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from joblib import delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from scipy.signal import resample_poly
from tqdm import tqdm

if __name__ == "__main__" and __package__ in (None, ""):  # python data_scripts/speak.py
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_scripts.synthetic.plan import SPEAKERS
from data_scripts.synthetic.voice import NATIVE_RATE, Phone, Reading, Synthesiser, library
from serlib import files, parallel
from serlib.corpora.corpus import Segment
from serlib.embeddings import spoken
from serlib.features import FEATURES, RATE
from serlib.features.mfcc_torch import mfcc_batch
from serlib.timing import Grid

VERSION = 1
"""Goes up with every change of what is made."""

SENTENCES_A_PART = 400
BATCH = 16  # sentences whose MFCC are computed at once
WORKSHOP = ".unfinished"
BYTES_PER_WORD = 2 * 13 * 40  # a little more than they take


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
    workshop = out / WORKSHOP
    if _complete(out, request):
        return
    with files.locked(out / WORKSHOP / "work"):
        if _complete(out, request):
            return
        if not (workshop / "request.json").exists():
            files.write_json(workshop / "request.json", request)
        parts = [slice(first, first + SENTENCES_A_PART) for first in range(0, len(words), SENTENCES_A_PART)]
        missing = [part for part in parts if not _path(workshop, part).exists()]
        _check_space(out, sum(len(own) for part in missing for own in words[part]))
        done = request["words"] - sum(len(own) for part in missing for own in words[part])
        with tqdm(
            total=request["words"], initial=done, unit="word", unit_scale=True, desc="Speaking", disable=not progress
        ) as bar:
            for count in _spoken(workshop, words, missing, voices, jobs):
                bar.update(count)
        _join(out, [_path(workshop, part) for part in parts], request)
        shutil.rmtree(workshop)


def _complete(out: Path, request: dict) -> bool:
    """Return whether the spoken text is already there; raise FileExistsError if something else is."""
    for path in (out / spoken.FACTS, out / WORKSHOP / "request.json"):
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            different = [key for key, value in request.items() if found.get(key) != value]
            if different:
                raise FileExistsError(
                    errno.EEXIST,
                    f"the folder holds another spoken text (another {', '.join(different)}); choose another folder",
                    str(out),
                )
            return path.name == spoken.FACTS
    ours = {WORKSHOP, spoken.FRAMES, spoken.WORDS}
    if out.is_dir() and any(path.name not in ours for path in out.iterdir()):
        raise FileExistsError(
            errno.EEXIST, "the folder holds something that is no spoken text; choose an empty one", str(out)
        )
    return False


def _path(workshop: Path, part: slice) -> Path:
    return workshop / f"part-{part.start:07d}.npz"


def _check_space(out: Path, words: int) -> None:
    needed, free = 2 * words * BYTES_PER_WORD, shutil.disk_usage(out).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"speaking needs about {needed / 1e6:,.0f} MB, the disk has {free / 1e6:,.0f} MB; free some space",
            str(out),
        )


def _spoken(
    workshop: Path, words: Sequence[Sequence[str]], parts: Sequence[slice], voices: int, jobs: int
) -> Iterator[int]:
    """Speak parts in parallel; yield the number of words of each that is done."""
    tasks = (delayed(_speak_part)(words[part], part.start, voices, _path(workshop, part)) for part in parts)
    if jobs == 1:
        yield from (_speak_part(words[part], part.start, voices, _path(workshop, part)) for part in parts)
        return
    try:
        yield from parallel.run(tasks, jobs, ordered=False, batch_size=1)
    except TerminatedWorkerError as error:
        raise RuntimeError(
            "a process that speaks was killed, perhaps for want of memory; run again to go on, with fewer --jobs"
        ) from error


def _speak_part(sentences: Sequence[Sequence[str]], first: int, voices: int, path: Path) -> int:
    """Speak some sentences and write their words; return how many words there were."""
    torch.set_num_threads(1)
    synthesiser, readings = Synthesiser(), list(SPEAKERS.values())[:voices]
    heard: dict[int, tuple[np.ndarray, tuple[Phone, ...]]] = {}
    refused = []
    for number, words in enumerate(sentences, start=first):
        if words:
            try:
                heard[number] = _say(synthesiser, words, readings[number % voices])
            except RuntimeError as error:
                refused.append(f"sentence {number + 1}: {error}")
    static = _static({number: samples for number, (samples, _) in heard.items()})
    labels, numbers, lengths, frames = [], [], [], []
    for number, (samples, phones) in heard.items():
        words = sentences[number - first]
        for word, (start, after) in zip(words, _spans(len(samples), phones, len(words)), strict=True):
            labels.append(word)
            numbers.append(number)
            lengths.append(after - start)
            frames.append(static[number][start:after])
    with files.atomic(path) as temporary:
        np.savez(
            temporary,
            words=np.array(labels, dtype=np.str_),
            sentences=np.array(numbers, dtype=np.int32),
            lengths=np.array(lengths, dtype=np.int64),
            frames=np.concatenate([*frames, np.empty((0, spoken.CEPSTRA), np.float16)]),
            refused=np.array(refused, dtype=np.str_),
        )
    return sum(map(len, sentences))


def _say(synthesiser: Synthesiser, words: Sequence[str], reading: Reading) -> tuple[np.ndarray, tuple[Phone, ...]]:
    """Return the samples of a sentence at RATE, in [-1, 1], and its phones."""
    speech = synthesiser.speak([*words[:-1], words[-1] + "."], reading)
    if {phone.word for phone in speech.phones} - {-1} != set(range(len(words))):
        raise RuntimeError(f"espeak-ng left a word out of {' '.join(words)!r}")
    samples = resample_poly(speech.samples.astype(np.float32), 320, 441) * np.float32(10 ** (reading.gain / 20) / 32768)
    return np.clip(samples, -1, 1).astype(np.float32), speech.phones


def _static(sounds: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Return the 13 static MFCC of each sound, (frames, 13) float16."""
    found = {}
    order = sorted(sounds, key=lambda number: (len(sounds[number]), number))
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        lengths = torch.tensor([len(sounds[number]) for number in batch])
        waveforms = torch.zeros(len(batch), int(lengths.max()))
        for row, number in zip(waveforms, batch, strict=True):
            row[: len(sounds[number])] = torch.from_numpy(sounds[number])
        features, counts = mfcc_batch(waveforms, lengths)
        for number, rows, count in zip(batch, features, counts.tolist(), strict=True):
            found[number] = rows[:count, : spoken.CEPSTRA].numpy().astype(np.float16)
    return found


def _spans(samples: int, phones: Sequence[Phone], words: int) -> np.ndarray:
    """Return the first frame of each word and the one after its last, (words, 2)."""
    segments = []
    for word in range(words):
        own = [phone for phone in phones if phone.word == word]
        segments.append(Segment("", own[0].start / NATIVE_RATE, own[-1].end / NATIVE_RATE))
    mfcc = FEATURES["mfcc"]
    grid = Grid.of(samples / RATE, mfcc.hop, mfcc.window, shortest=mfcc.shortest)
    return grid.spans(segments)[0]


def _join(out: Path, parts: Sequence[Path], request: dict) -> None:
    """Write the parts as one spoken text, a part in memory at a time."""
    words, sentences, lengths, refused = [], [], [], []
    for path in parts:
        with np.load(path, allow_pickle=False) as part:
            words += part["words"].tolist()
            sentences.append(part["sentences"])
            lengths.append(part["lengths"])
            refused += part["refused"].tolist()
    sentences, lengths = np.concatenate(sentences), np.concatenate(lengths)
    shape = (int(lengths.sum()), spoken.CEPSTRA)
    with files.atomic(out / spoken.FRAMES) as temporary:
        frames = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        first = 0
        for path in parts:
            with np.load(path, allow_pickle=False) as part:
                rows = part["frames"]
            frames[first : first + len(rows)] = rows
            first += len(rows)
        frames.flush()
        del frames
    frames = np.load(out / spoken.FRAMES, mmap_mode="r", allow_pickle=False)
    voices = request["voices"]
    text = spoken.gather(words, sentences, sentences % len(voices), lengths, frames, voices)
    facts = {"spoken": len(words), "frames": len(frames), "refused": len(refused), "refusals": refused[:100]}
    spoken.write_words(out, text, {**request, **facts})


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
