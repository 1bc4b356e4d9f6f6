"""A text as it was spoken: of each word its label, place, voice and frames.

What Speech2Vec learns from (Chung and Glass 2018; tzirakis2021, section 3.1); taught in
chapter `embeddings`.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from serlib.corpora.corpus import Corpus, Item
from serlib.features import FEATURES, extract
from serlib.files import atomic, write_json
from serlib.timing import Grid

CEPSTRA = 13
"""Numbers of a frame: MFCC 1 to 12 and log energy, the static ones of `mfcc`."""

DAMAGE = OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error
"""What numpy raises for files that are cut off or changed."""

WORDS, FRAMES, FACTS = "words.npz", "frames.npy", "speech.json"
"""Files of a spoken text."""


@dataclass(frozen=True)
class SpokenText:
    """Spoken words in the order of the text. The frames of word i are
    `frames[starts[i]:starts[i + 1]]`, at least one.

    Attributes:
        vocabulary: the words, most frequent first.
        labels: (n,) int32: row of each spoken word in `vocabulary`.
        sentences: (n,) int32: its sentence; a word's neighbours are of the same one.
        voices: (n,) int16: who speaks, rows of `speakers`.
        starts: (n + 1,) int64.
        frames: (frames, dims) float16 or float32; may lie on disk.
        speakers: names of the voices.
        hop: seconds from one frame to the next.
    """

    vocabulary: tuple[str, ...]
    labels: np.ndarray
    sentences: np.ndarray
    voices: np.ndarray
    starts: np.ndarray
    frames: np.ndarray
    speakers: tuple[str, ...]
    hop: float = 0.01

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) frames of each word."""
        return np.diff(self.starts)

    @property
    def counts(self) -> np.ndarray:
        """(vocabulary,) how often each word was spoken."""
        return np.bincount(self.labels, minlength=len(self.vocabulary))

    def segment(self, word: int) -> np.ndarray:
        """Return the frames of a spoken word, (frames, dims)."""
        return self.frames[self.starts[word] : self.starts[word + 1]]

    def texts(self) -> list[list[str]]:
        """Return the words of each sentence, for Word2Vec on the same text."""
        names = [self.vocabulary[label] for label in self.labels]
        ends = np.flatnonzero(np.diff(self.sentences)) + 1
        parts = zip([0, *ends], [*ends, len(names)], strict=True)
        return [names[first:after] for first, after in parts]

    def chosen(self, words: np.ndarray) -> SpokenText:
        """Return some of the spoken words, with their frames in memory.

        Args:
            words: their numbers, rising, or a mask over all.
        """
        words = np.arange(len(self))[words]
        lengths = self.lengths[words]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.arange(starts[-1]) + np.repeat(
            self.starts[words] - starts[:-1], lengths
        )
        return replace(
            self,
            labels=self.labels[words],
            sentences=self.sentences[words],
            voices=self.voices[words],
            starts=starts,
            frames=self.frames[rows],
        )

    def frequent(self, least: int) -> SpokenText:
        """Return the words that are spoken `least` times or more; the neighbours of
        others move together, as in Word2Vec.

        Raises:
            ValueError: if there is none.
        """
        kept = int((self.counts >= least).sum())
        if not kept:
            raise ValueError(
                f"no word is spoken {least} times or more; the most frequent of"
                f" {len(self.vocabulary)} is spoken {max(self.counts, default=0)} times"
            )
        chosen = self.chosen(self.labels < kept)
        return replace(chosen, vocabulary=self.vocabulary[:kept])

    def averaged(self, stride: int) -> SpokenText:
        """Return the same words with the mean of every `stride` frames of a word in
        place of these; the last mean of a word may be of fewer.
        """
        if stride == 1:
            return self
        lengths = -(-self.lengths // stride)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        first = np.repeat(self.starts[:-1], lengths) + within * stride
        sizes = np.diff(np.append(first, self.starts[-1]))
        frames = np.empty((len(first), self.frames.shape[1]), dtype=np.float32)
        for part in range(0, len(first), 1 << 20):
            rows = slice(part, min(part + (1 << 20), len(first)))
            begin, end = first[rows.start], first[rows.stop - 1] + sizes[rows.stop - 1]
            block = np.asarray(self.frames[begin:end], dtype=np.float32)
            sums = np.add.reduceat(block, first[rows] - begin, axis=0)
            frames[rows] = sums / sizes[rows, None]
        return replace(self, starts=starts, frames=frames, hop=self.hop * stride)


def per_voice(text: SpokenText) -> SpokenText:
    """Scale the frames of each voice to mean 0 and deviation 1, per dimension.

    Returns:
        the same words with float32 frames in memory.
    """
    frames = np.array(text.frames, dtype=np.float32)
    speaks = np.repeat(text.voices, text.lengths)
    for voice in np.unique(text.voices):
        own = frames[speaks == voice]
        deviation = own.std(axis=0)
        scale = np.where(deviation > 1e-6, deviation, 1)
        frames[speaks == voice] = (own - own.mean(axis=0)) / scale
    return replace(text, frames=frames)


def gather(
    words: Sequence[str],
    sentences: Sequence[int],
    voices: Sequence[int],
    lengths: Sequence[int],
    frames: np.ndarray,
    speakers: Iterable[str],
    hop: float = 0.01,
) -> SpokenText:
    """Number spoken words: the most frequent word is row 0, of equals the first in the
    alphabet.

    Args:
        words, sentences, voices, lengths: of each spoken word, in the order of the
            text.
        frames: (sum of lengths, dims).
        speakers: names of the voices.
        hop: seconds.

    Raises:
        ValueError: if the lengths do not fit the frames, a word has no frame, or a
            frame is not finite.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    if starts[-1] != len(frames) or (len(lengths) and lengths.min() < 1):
        raise ValueError(
            f"expected at least one frame a word and {len(frames)} in all, found"
            f" {starts[-1]} in all and {lengths.min(initial=1)} in the shortest word"
        )
    for first in range(0, len(frames), 1 << 20):
        finite = np.isfinite(frames[first : first + (1 << 20)]).all(axis=1)
        if not finite.all():
            where = first + int(np.argmin(finite))
            word = int(np.searchsorted(starts, where, side="right")) - 1
            raise ValueError(
                f"spoken word {word} ({words[word]!r}): expected finite frames, found"
                " NaN or infinity"
            )
    order = sorted(Counter(words).items(), key=lambda one: (-one[1], one[0]))
    row = {word: number for number, (word, _) in enumerate(order)}
    return SpokenText(
        tuple(row),
        np.array([row[word] for word in words], dtype=np.int32),
        np.asarray(sentences, dtype=np.int32),
        np.asarray(voices, dtype=np.int16),
        starts,
        frames,
        tuple(speakers),
        hop,
    )


def spoken_words(
    corpus: Corpus,
    items: Iterable[str] | None = None,
    *,
    cache: str | Path | None = None,
    progress: bool = False,
) -> SpokenText:
    """Collect the spoken words of a corpus with word alignments.

    Args:
        corpus: utterances or recordings; each is one sentence.
        items: ids to collect from, for instance a training part; None for all.
        cache, progress: as for `serlib.features.extract`.

    Raises:
        ValueError: if no item has a word alignment.
    """
    table = extract(corpus, "mfcc", cache=cache, progress=progress)
    wanted = set(table) if items is None else set(items)
    aligned = [one for one in corpus if one.id in wanted and one.words]
    if not aligned:
        raise ValueError(f"{corpus.root}: expected word alignments, found none")
    speakers = sorted({one.speaker for one in aligned})
    words, sentences, voices, lengths, frames = [], [], [], [], []
    for number, item in enumerate(aligned):
        rows = np.asarray(table[item.id])[:, :CEPSTRA]
        for segment, (first, after) in zip(item.words, _spans(item), strict=True):
            words.append(segment.label)
            sentences.append(number)
            voices.append(speakers.index(item.speaker))
            lengths.append(after - first)
            frames.append(rows[first:after])
    return gather(words, sentences, voices, lengths, np.concatenate(frames), speakers)


def _spans(item: Item) -> np.ndarray:
    mfcc = FEATURES["mfcc"]
    grid = Grid.of(item.duration, mfcc.hop, mfcc.window, shortest=mfcc.shortest)
    return grid.spans(item.words)[0]


def write_spoken(folder: str | Path, text: SpokenText, facts: dict) -> None:
    """Write a spoken text into a folder; `facts` say how it was made.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder = Path(folder)
    with atomic(folder / FRAMES) as temporary:
        np.save(temporary, np.asarray(text.frames, dtype=np.float16))
    write_words(folder, text, facts)


def write_words(folder: str | Path, text: SpokenText, facts: dict) -> None:
    """Write all of a spoken text but its frames, which lie in the folder already."""
    arrays = {name: getattr(text, name) for name in ("labels", "sentences", "voices")}
    names = {"vocabulary": text.vocabulary, "speakers": text.speakers}
    with atomic(Path(folder) / WORDS) as temporary:
        np.savez(
            temporary,
            lengths=text.lengths,
            **arrays,
            **{name: np.array(value, dtype=np.str_) for name, value in names.items()},
        )
    write_json(Path(folder) / FACTS, {**facts, "hop": text.hop})


def read_spoken(folder: str | Path) -> SpokenText:
    """Read a spoken text; its frames stay on disk until they are used.

    Raises:
        FileNotFoundError: if the folder does not hold one.
        ValueError: if a file is damaged or they do not fit one another.
    """
    folder = Path(folder)
    if not (folder / FACTS).is_file():
        raise FileNotFoundError(
            f"{folder}: expected a spoken text ({FACTS}); data_scripts.speak makes one"
        )
    try:
        hop = float(json.loads((folder / FACTS).read_text(encoding="utf-8"))["hop"])
        frames = np.load(folder / FRAMES, mmap_mode="r", allow_pickle=False)
        with np.load(folder / WORDS, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        starts = np.concatenate([[0], np.cumsum(arrays.pop("lengths"))])
        names = {name: tuple(arrays.pop(name).tolist()) for name in _NAMES}
        text = SpokenText(**arrays, **names, starts=starts, frames=frames, hop=hop)
    except (*DAMAGE, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder}: the spoken text is damaged ({error}); make it again"
        ) from error
    sizes = {len(text.labels), len(text.sentences), len(text.voices), len(starts) - 1}
    if len(sizes) != 1 or starts[-1] != len(frames):
        raise ValueError(
            f"{folder}: expected as many labels as words and {starts[-1]} frames, found"
            f" {sorted(sizes)} and {len(frames)}; make the spoken text again"
        )
    return text


_NAMES = ("vocabulary", "speakers")
