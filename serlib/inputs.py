"""What a system eats: each input is fitted on the training part of a fold and then
encodes one item after the other.

Used by all five papers; taught in chapter `features`.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from serlib.corpora.corpus import Corpus, Item
from serlib.embeddings import word2vec
from serlib.embeddings.vectors import read_vectors
from serlib.features import FEATURES, RATE, extract, read_waveform
from serlib.features.text import UNK, Vocabulary, tokenize
from serlib.files import cache_folder
from serlib.settings import Settings
from serlib.timing import Grid, phones, words

WORD2VEC, TEXT = "word2vec", "text"
"""In place of vectors: train them on the texts of each fold's training part, or on a
text that the corpus has beside its recordings.
"""

GLOVE = Path("glove", "glove.840B.300d.txt")
"""Where `data_scripts.fetch_glove` puts the vectors, in the cache folder."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """An input that knows the training part.

    Attributes:
        encode: from an item to its array, (steps, ...) or (dims,).
        vocabulary: the words behind the token numbers; None but for `Words`.
        vectors: token to pretrained vector; None if words start at random.
    """

    encode: Callable[[Item], np.ndarray]
    vocabulary: Vocabulary | None = None
    vectors: Mapping[str, np.ndarray] | None = None


class Source:
    """What inputs read of a corpus: features from the cache, sound, tokens. What was
    read or averaged once is kept, so that the next fold or system finds it.

    Args:
        corpus: with the text that the system reads.
        cache: where features are kept; None for the cache folder.
        progress: show a progress bar while features are extracted.
    """

    def __init__(
        self, corpus: Corpus, cache: str | Path | None = None, progress: bool = False
    ):
        self.corpus, self.cache, self.progress = corpus, cache, progress
        self._kept: dict[str, tuple[Any, Any]] = {}

    def table(self, feature: str) -> Mapping[str, np.ndarray]:
        """Return a feature of every item."""
        where = {"cache": self.cache, "progress": self.progress}
        return self.keep(feature, None, lambda: extract(self.corpus, feature, **where))

    def tokens(self) -> Mapping[str, list[str]]:
        """Return the tokens of every item."""
        return self.each("tokens", None, lambda item: tokenize(item.text))

    def each(
        self, kind: str, settings: Any, make: Callable[[Item], Any]
    ) -> Mapping[str, Any]:
        """Return what `make` makes of every item; of each kind, what was made with the
        last settings is kept.
        """
        made = lambda: {item.id: make(item) for item in self.corpus}  # noqa: E731
        return self.keep(kind, settings, made)

    def keep(self, kind: str, settings: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` makes; of each kind, what was made with the last settings
        is kept.
        """
        if kind not in self._kept or self._kept[kind][0] != settings:
            self._kept[kind] = settings, make()
        return self._kept[kind][1]


class Joined(Source):
    """Two corpora as one: to learn from one and be tested on the other, by a split of
    items of both. Features come from the cache of each.

    Raises:
        ValueError: if both have an item of the same name.
    """

    def __init__(self, first: Source, second: Source):
        items = [*first.corpus, *second.corpus]
        if len({one.id for one in items}) < len(items):
            raise ValueError(
                f"{first.corpus.name} and {second.corpus.name} have items of the same"
                " name; expected different ones, to tell them apart"
            )
        name = f"{first.corpus.name} and {second.corpus.name}"
        super().__init__(replace(first.corpus, name=name, utterances=items))
        self.parts = first, second

    def table(self, feature: str) -> Mapping[str, np.ndarray]:
        """Return a feature of every item of both."""
        first, second = (dict(part.table(feature)) for part in self.parts)
        return first | second


class Input(ABC):
    """One input of a system."""

    @abstractmethod
    def fit(self, source: Source, train: Sequence[str], settings: Settings) -> Fitted:
        """Learn from the training part what encoding needs.

        Args:
            source: of all items.
            train: ids of the training part; of other items nothing is learnt.
            settings: how long, how averaged, whether standardised.

        Raises:
            ValueError: if a feature is not finite, or for a setting that does not
                exist.
        """


@dataclass(frozen=True)
class Frames(Input):
    """A feature of frames: cut, averaged, standardised; (steps, dims) float32.

    Attributes:
        feature: a key of `serlib.features.FEATURES`.
    """

    feature: str

    def fit(self, source: Source, train: Sequence[str], settings: Settings) -> Fitted:
        table, cut = source.table(self.feature), settings.max_frames
        stride = settings.frame_stride

        def mean(item: Item) -> np.ndarray:
            return mean_frames(table[item.id][:cut], stride)

        steps = source.each(f"steps of {self.feature}", (cut, stride), mean)
        return _standardised(steps, train, settings, np.concatenate)


@dataclass(frozen=True)
class Vector(Input):
    """A feature of the whole item, standardised; (dims,) float32.

    Attributes:
        feature: a key of `serlib.features.FEATURES`.
    """

    feature: str

    def fit(self, source: Source, train: Sequence[str], settings: Settings) -> Fitted:
        return _standardised(source.table(self.feature), train, settings, np.stack)


@dataclass(frozen=True)
class Waveform(Input):
    """The sound itself; (samples,) 16-bit integers (krishna2020, section 4).

    Attributes:
        seconds: what comes after is cut.
    """

    seconds: float

    def fit(self, source: Source, train: Sequence[str], settings: Settings) -> Fitted:
        samples = round(self.seconds * RATE)

        def read(item: Item) -> np.ndarray:
            sound = read_waveform(item.audio)[:samples]
            return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)

        waveforms = source.each("waveform", samples, read)
        return Fitted(lambda item: waveforms[item.id])


@dataclass(frozen=True)
class Vectored(Input):
    """An input of words that have vectors, or may have.

    Attributes:
        vectors: of words, see `Settings.vectors`; None for what the settings say.
    """

    vectors: str | Path | Mapping[str, np.ndarray] | None = None

    def find(
        self, source: Source, settings: Settings
    ) -> Mapping[str, np.ndarray] | str | None:
        """Return the vectors that there are for the corpus's words: token to vector, or
        `word2vec` where each fold has its own, or None where words start at random.

        Raises:
            FileNotFoundError, ValueError: as `read_vectors`.
        """
        wanted = settings.vectors if self.vectors is None else self.vectors
        if isinstance(wanted, str) and wanted == "glove":
            wanted = cache_folder() / GLOVE
            if not wanted.is_file():
                log.warning("words start at random: no GloVe vectors in %s", wanted)
                return None
        if isinstance(wanted, str) and wanted in ("random", WORD2VEC):
            return None if wanted == "random" else WORD2VEC
        words = self.words(source)
        if isinstance(wanted, Mapping):
            return {word: wanted[word] for word in sorted(words) if word in wanted}
        return read_vectors(wanted, words, self.dims(settings))

    def words(self, source: Source) -> set[str]:
        """Return the words of the corpus that vectors are looked up for."""
        return {word for tokens in source.tokens().values() for word in tokens}

    def dims(self, settings: Settings) -> int:
        """Return how many numbers a vector has."""
        return settings.model["embedding"]


@dataclass(frozen=True)
class Words(Vectored):
    """The tokens of the text, numbered; (tokens,) int64.

    The vocabulary is that of the training part, unless `settings.vocabulary` is
    `corpus`. A text without a token is a single unknown word. Its vectors are what
    words start from.
    """

    def fit(self, source: Source, train: Sequence[str], settings: Settings) -> Fitted:
        if settings.vocabulary not in ("train", "corpus"):
            raise ValueError(
                f"settings.vocabulary is {settings.vocabulary!r}; expected train or"
                " corpus"
            )
        tokens, vectors = source.tokens(), self.find(source, settings)
        if not any(tokens.values()):
            raise ValueError(
                f"{source.corpus.root}: this system reads, but no utterance has a text;"
                " give transcripts, or take a system that listens only"
            )
        known = [tokens[id] for id in train]
        if vectors == WORD2VEC:
            vectors = word2vec.train_word2vec(known, settings.model["embedding"])
        if settings.vocabulary == "train":
            vocabulary = Vocabulary.build(known, min_count=2, keep=vectors or ())
        else:
            vocabulary = Vocabulary.build(tokens.values())
        unknown = np.array([UNK], dtype=np.int64)

        def encode(item: Item) -> np.ndarray:
            numbers = vocabulary.encode(tokens[item.id])
            return numbers[: settings.max_tokens] if len(numbers) else unknown

        return Fitted(encode, vocabulary, vectors)


@dataclass(frozen=True)
class Steps(Input):
    """Where words or phonemes lie on the steps of a feature; integers, a row each.

    Attributes:
        feature: on whose steps.
        find: from an item, its grid and, where it `reads`, the most tokens to the rows.
        reads: whether `find` looks at tokens.
    """

    feature: str
    find: Callable[..., np.ndarray]
    reads: bool = False

    def fit(self, source: Source, train: Sequence[str], settings: Settings) -> Fitted:
        grid = grid_of(self.feature, settings)
        limit = (settings.max_tokens,) if self.reads else ()
        shape = (self.find, settings.frame_stride, settings.max_frames, *limit)

        def rows(item: Item) -> np.ndarray:
            return self.find(item, grid(item), *limit)

        found = source.each(f"{self.find.__name__} on {self.feature}", shape, rows)
        return Fitted(lambda item: found[item.id])


Spans = partial(Steps, find=words.token_spans, reads=True)
"""The frames of each token, (tokens, 2): see `serlib.timing.words.token_spans`."""

Phones = partial(Steps, find=phones.phones)
"""The frames of each phoneme and its word, (phonemes, 3)."""

Pairs = partial(Steps, find=phones.pairs, reads=True)
"""Pairs of a written and a spoken word, (pairs, 2)."""

SpokenWords = partial(Steps, find=phones.spoken_words)
"""The spoken words alone, (words, 2)."""


def features_of(eats: Iterable[Input]) -> list[str]:
    """Return the features that some inputs are made of, each once."""
    names = (getattr(one, "feature", None) for one in eats)
    return list(dict.fromkeys(name for name in names if name is not None))


def grid_of(feature: str, settings: Settings) -> Callable[[Item], Grid]:
    """Return what gives the steps of a feature over an item, cut and averaged as the
    settings say.
    """
    one = FEATURES[feature]
    shape = {"stride": settings.frame_stride, "cut": settings.max_frames}
    shape["shortest"] = one.shortest
    return lambda item: Grid.of(item.duration, one.hop, one.window, **shape)


def mean_frames(frames: np.ndarray, stride: int) -> np.ndarray:
    """Mean over `stride` consecutive frames.

    Args:
        frames: (frames, dims)
        stride: frames in one mean; the last mean may be of fewer.

    Returns:
        (ceil(frames / stride), dims) float32
    """
    if stride == 1 or not len(frames):
        return np.asarray(frames, dtype=np.float32)
    starts = np.arange(0, len(frames), stride)
    counts = np.diff([*starts, len(frames)])[:, None]
    sums = np.add.reduceat(frames, starts, axis=0, dtype=np.float64)
    return (sums / counts).astype(np.float32)


def digest(vectors: Mapping[str, np.ndarray] | str | None) -> Any:
    """Return what stands for word vectors in the key of a run: their hash, how they are
    trained, or None.
    """
    if vectors is None:
        return None
    if isinstance(vectors, str):
        learnt = vectors.split()[0] in (WORD2VEC, TEXT)
        told = word2vec.settings() if learnt else vectors
        return told | {"text": vectors} if vectors.startswith(f"{TEXT} ") else told
    total = hashlib.blake2b(digest_size=16)
    for word in sorted(vectors):
        row = np.asarray(vectors[word], dtype=np.float32)
        total.update(f"{word}\n".encode() + row.tobytes())
    return total.hexdigest()


def _standardised(
    table: Mapping[str, np.ndarray],
    train: Sequence[str],
    settings: Settings,
    join: Callable[[list[np.ndarray]], np.ndarray],
) -> Fitted:
    """Scale to mean 0 and deviation 1 over the training part, per dimension; a
    dimension that does not vary is only centred.
    """
    rows = join([table[id] for id in train])
    if not settings.standardise or not len(rows):
        return Fitted(lambda item: np.asarray(table[item.id], dtype=np.float32))
    deviation, mean = torch.std_mean(torch.from_numpy(rows), dim=0, correction=0)
    varies = deviation > 1e-6 * (1 + mean.abs())
    mean, scale = mean.numpy(), torch.where(varies, deviation, 1.0).numpy()
    return Fitted(lambda item: (table[item.id] - mean) / scale)
