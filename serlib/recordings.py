"""What systems eat of recordings, label by label: the sound, and what stands for the
word that is being spoken.

Tzirakis et al. 2021, sections 3.1 and 3.2. Taught in chapter `tzirakis2021`.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from serlib.corpora import sewa
from serlib.corpora.corpus import Recording, Segment
from serlib.embeddings import alignment, speech2vec
from serlib.embeddings.phones import phonetic_vectors
from serlib.embeddings.pronunciation import read_cmudict, without_stress
from serlib.embeddings.space import Space
from serlib.embeddings.spoken import per_voice, spoken_words
from serlib.embeddings.vectors import kept_vectors
from serlib.embeddings.word2vec import train_word2vec
from serlib.features.waveform import read_waveform
from serlib.inputs import TEXT, WORD2VEC, Fitted, Input, Source, Vectored, digest
from serlib.settings import Settings
from serlib.timing import Grid

log = logging.getLogger(__name__)

SEED = 0
"""Of everything that an input learns. Inputs know no seed: all seeds of a fold eat the
same, and what differs between them is the net.
"""

CONTROLS = ("identity", "phonetic", "zeros")
"""Vectors of words that know nothing of their meaning, see `WordVectors`."""

CHOICES = {
    "channels": ("one", "two"),
    "boundaries": ("words", "windows", "transcript"),
    "alignment": (*alignment.WAYS, "supervised", "given"),
}


@dataclass(frozen=True)
class Options:
    """Options of the inputs here, `Settings.inputs`.

    Attributes:
        rate: samples per second of the sound.
        channels: `one`, the sound as it is; `two`, the subject's and after it the
            interlocutor's, of which the one who does not speak is zero, as in
            tzirakis2021's released code.
        dims: numbers of a word's vector.
        pronunciations: CMU's dictionary, for `phonetic` vectors; None spells words by
            their letters.
        objective: of Speech2Vec, see `speech2vec.Settings`: `skipgram`, or a control.
        speech2vec: other fields of its settings to replace.
        boundaries: where a spoken vector's word begins and ends: `words`, the times
            that the corpus has, whoever found them; `windows`, every `window` seconds
            of the subject's turns, which needs no alignment; `transcript` looks up the
            mean vector of the word that the transcript has there, as the released code
            does, for which a test recording must have one.
        window: seconds.
        alignment: how the mapping from speech to text is learnt: a way of
            `alignment.WAYS` without being told which words belong together, or
            `supervised`, which is told; or `given`: none is learnt, and in place of
            what is heard stands the text's vector of the word that the transcript has
            there, as if recognition and mapping were perfect.
        way: fields of that way's settings to replace.
        seeds: of the alignment, of which the best by its criterion is taken.
        lag: seconds that annotators need: a label is told from what was heard so long
            before it, and the first ones from nothing.
    """

    rate: int = 22_050
    channels: str = "one"
    dims: int = 100
    pronunciations: str | Path | None = None
    objective: str = "skipgram"
    speech2vec: Mapping[str, Any] = field(default_factory=dict)
    boundaries: str = "words"
    window: float = 0.4
    alignment: str = "adversarial"
    way: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 10
    lag: float = 0.0

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(
                    f"settings.inputs: {name} is {value!r}; expected one of"
                    f" {', '.join(known)}"
                )
        if not 0 <= self.lag < float("inf"):
            raise ValueError(
                f"settings.inputs: lag is {self.lag}; expected seconds, 0 or more"
            )

    @classmethod
    def of(cls, settings: Settings) -> Options:
        """Read the options of some settings.

        Raises:
            ValueError: for an option or a value that does not exist.
        """
        known = [one.name for one in fields(cls)]
        if unknown := sorted(settings.inputs.keys() - set(known)):
            raise ValueError(
                f"settings.inputs has no option {', '.join(unknown)}; expected some of"
                f" {', '.join(known)}"
            )
        return cls(**settings.inputs)


def labels_of(item: Recording) -> Grid:
    """Return the steps of a recording's labels: label i is of the time from i to i + 1
    hops.
    """
    return Grid(item.hop, item.hop, len(item.labels))


def spoken_at(segments: Sequence[Segment], grid: Grid) -> np.ndarray:
    """Find what is being spoken in the middle of each label.

    Returns:
        (labels,) int64: which segment, the last one of several; -1 in silence.
    """
    found = np.full(grid.steps, -1, dtype=np.int64)
    spans, inside = grid.spans(segments)
    for number in np.flatnonzero(inside):
        found[slice(*spans[number])] = number
    return found


@dataclass(frozen=True)
class Sound(Input):
    """The sound of each label, (labels, samples) 16-bit integers; of a second channel
    behind it, if there are two.

    A label is the subject's if its middle lies in one of the subject's turns.
    """

    def fit(self, source: Source, train: Sequence[str], settings: Settings) -> Fitted:
        options = Options.of(settings)

        def cut(item: Recording) -> np.ndarray:
            sound = _per_label(item, options.rate)
            return sound if options.channels == "one" else _two_channels(item, sound)

        wanted = options.rate, options.channels
        sounds = source.each("sound of labels", wanted, cut)
        return Fitted(lambda item: _late(sounds[item.id], item, options))


def _per_label(item: Recording, rate: int) -> np.ndarray:
    samples, labels = round(rate * item.hop, 6), len(item.labels)
    if samples != int(samples):
        raise ValueError(
            f"{item.id}: a label of {item.hop} s has {samples} samples at {rate} Hz;"
            " expected a whole number"
        )
    sound = read_waveform(item.audio, rate)
    missing = labels * int(samples) - len(sound)
    if missing >= samples:
        raise ValueError(
            f"{item.id}: {labels * item.hop:.1f} s of labels, but {item.audio} lasts"
            f" {len(sound) / rate:.1f} s; expected sound for every label"
        )
    sound = np.pad(sound, (0, max(0, missing)))[: labels * int(samples)]
    whole = np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)
    return whole.reshape(labels, int(samples))


def _two_channels(item: Recording, sound: np.ndarray) -> np.ndarray:
    if not item.turns:
        raise ValueError(
            f"{item.id} has no turns; expected them, to tell the subject's sound from"
            " the interlocutor's, or one channel"
        )
    subject = (spoken_at(item.turns, labels_of(item)) >= 0)[:, None]
    return np.concatenate([sound * subject, sound * ~subject], axis=1)


@dataclass(frozen=True)
class WordVectors(Vectored):
    """The vector of the word that is being spoken at each label, looked up by the
    transcript, (labels, dims) float32; zeros in silence.

    Vectors are those of `Settings.vectors`: of a file or a mapping; `word2vec`, learnt
    from the spoken words of the training part; `text`, learnt from the corpus's
    `text.txt`, see `sewa.read_text`, or, after a warning, as `word2vec` where there is
    none; or a control: `phonetic`, which knows
    how the words of the training part are pronounced and nothing else; `identity`,
    which only tells words apart; `zeros`. A word without a vector gets one drawn from
    its letters, always the same, with the mean and the deviation of others.

    With `settings.standardise` vectors are scaled to mean 0 and deviation 1, per
    dimension, over the words spoken in the training part; silence stays zero.
    """

    def find(
        self, source: Source, settings: Settings
    ) -> Mapping[str, np.ndarray] | str | None:
        wanted = settings.vectors if self.vectors is None else self.vectors
        if isinstance(wanted, str) and wanted in CONTROLS:
            return wanted
        if isinstance(wanted, str) and wanted.startswith(f"{TEXT} "):
            return wanted  # found before
        if isinstance(wanted, str) and wanted == TEXT:
            path = source.corpus.root / sewa.TEXT
            if not path.is_file():
                log.warning("no %s: vectors are learnt from the training part", path)
                return WORD2VEC
            return _text(source.corpus.root)
        return super().find(source, settings)

    def words(self, source: Source) -> set[str]:
        return {word.label for item in source.corpus for word in item.words}

    def dims(self, settings: Settings) -> int:
        return Options.of(settings).dims

    def fit(self, source: Source, train: Sequence[str], settings: Settings) -> Fitted:
        options, wanted = Options.of(settings), self.find(source, settings)
        _need_words(source.corpus)
        if wanted == "zeros":
            shape = options.dims
            return Fitted(lambda item: np.zeros((len(item.labels), shape), np.float32))
        space = _space(wanted, source, train, options)
        return _looked_up(space, source, train, settings)


@dataclass(frozen=True)
class SpokenVectors(WordVectors):
    """What Speech2Vec makes of the sound of the word that is being spoken at each
    label, (labels, dims) float32; zeros in silence.

    The encoder, and the mapping to a space of text, are learnt from the training part;
    other recordings are encoded from their sound alone, at the boundaries that
    `Options.boundaries` says; but for `transcript` and `Options.alignment` `given`,
    which look words up.

    Attributes:
        aligned: whether vectors are mapped to the space of `Settings.vectors`, which
            may be all but a control (section 3.1, equations 1 to 3). Before that each
            is brought to unit length, the mean of the training part's words is taken
            off, and again to unit length, as `alignment` wants them.
        feature: what the encoder hears.
    """

    aligned: bool = False
    feature: str = "mfcc"

    def find(
        self, source: Source, settings: Settings
    ) -> Mapping[str, np.ndarray] | str | None:
        return super().find(source, settings) if self.aligned else None

    def fit(self, source: Source, train: Sequence[str], settings: Settings) -> Fitted:
        options = Options.of(settings)
        if self.aligned and options.alignment == "given":
            _need_words(source.corpus)
            text = _space(self._wanted(source, settings), source, train, options)
            return _looked_up(text, source, train, settings)
        windows = options.boundaries == "windows"
        _need_words(map(source.corpus.__getitem__, train) if windows else source.corpus)
        trained, space = _speech2vec(source, train, options)
        mapped = np.asarray  # as they are
        if self.aligned:
            text = self._text(source, train, settings)
            wanted = (options.alignment, dict(options.way), options.seeds)
            wanted += (space.rows.tobytes(), text.words, text.rows.tobytes())
            learn = lambda: _towards(space, text, options)  # noqa: E731
            mapped = source.keep("mapping of speech to text", wanted, learn)
        if options.boundaries == "transcript":
            by_word = Space(space.words, mapped(space.rows))
            return _looked_up(by_word, source, train, settings)
        segments = {item.id: _segments(item, options) for item in source.corpus}
        rows = _encoded(source, trained, segments, train, options)
        rows = {id: mapped(one) for id, one in rows.items()}
        mean, scale = _scale(np.concatenate([rows[id] for id in train]), settings)

        def encode(item: Recording) -> np.ndarray:
            own = (rows[item.id] - mean) / scale
            return _late(_on_labels(own, segments[item.id], item), item, options)

        return Fitted(encode)

    def _text(self, source: Source, train: Sequence[str], settings: Settings) -> Space:
        """The vectors of the training part's words that speech is mapped to."""
        found = self._wanted(source, settings)
        words = {word.label for id in train for word in source.corpus[id].words}
        options = Options.of(settings)
        return _space(found, source, train, options).restricted(words)

    def _wanted(
        self, source: Source, settings: Settings
    ) -> Mapping[str, np.ndarray] | str:
        found = self.find(source, settings)
        if found is None or found in CONTROLS:
            raise ValueError(
                f"vectors are {found or 'random'}; expected those of a text to map"
                " speech to: text, word2vec, a file or a mapping"
            )
        return found


def _need_words(items: Iterable[Recording]) -> None:
    for item in items:
        if not item.words:
            raise ValueError(
                f"{item.id} has no words; expected a transcript of it, with or without"
                " the times of its words"
            )


def _space(
    wanted: Mapping[str, np.ndarray] | str | None,
    source: Source,
    train: Sequence[str],
    options: Options,
) -> Space:
    """Vectors of words, the most frequent of the training part first."""
    texts = [[word.label for word in source.corpus[id].words] for id in train]
    counts = Counter(word for text in texts for word in text)
    order = sorted(counts, key=lambda word: (-counts[word], word))
    if wanted == WORD2VEC:
        key = tuple(train), options.dims
        learn = lambda: train_word2vec(texts, options.dims)  # noqa: E731
        return source.keep("word2vec of spoken words", key, learn)
    if isinstance(wanted, str) and wanted.startswith(f"{TEXT} "):
        where = source.corpus.root, options.dims
        learn = lambda: vectors_of_text(*where)  # noqa: E731
        return source.keep("word2vec of a text", (wanted, *where), learn)
    if wanted == "phonetic":
        return phonetic_vectors(_pronounced(order, options), options.dims)
    if wanted is None or wanted == "identity":
        return Space((), np.zeros((0, options.dims)))
    space = Space.from_vectors(wanted, [*order, *sorted(wanted.keys() - counts.keys())])
    if len(space) and space.dims != options.dims:
        raise ValueError(
            f"the vector of {space.words[0]!r}: expected {options.dims} numbers, found"
            f" {space.dims}; set `dims` of settings.inputs to the size of the vectors"
        )
    return space if len(space) else Space((), np.zeros((0, options.dims)))


def vectors_of_text(root: str | Path, dims: int) -> Space:
    """Learn word vectors from a corpus's `text.txt`, or take them from the cache.

    Args:
        root: the corpus's folder; see `sewa.read_text`.
        dims: numbers per vector.

    Returns:
        a vector for every word that occurs at least twice.

    Raises:
        OSError, ValueError: as `sewa.read_text`.
    """
    learn = lambda: train_word2vec(sewa.read_text(root), dims)  # noqa: E731
    return kept_vectors(f"{digest(_text(Path(root)))} {dims}", learn)


def _text(root: Path) -> str:
    """What stands for vectors of the corpus's text, as long as it is the same."""
    content = (root / sewa.TEXT).read_bytes()
    return f"{TEXT} {hashlib.blake2b(content).hexdigest()[:32]}"


def _pronounced(words: Sequence[str], options: Options) -> dict[str, Sequence[str]]:
    if options.pronunciations is None:
        return {word: tuple(word) for word in words}
    known = read_cmudict(options.pronunciations)
    return {word: without_stress(known[word][0]) for word in words if word in known}


def _looked_up(
    space: Space, source: Source, train: Sequence[str], settings: Settings
) -> Fitted:
    """Give each label the vector of its word."""
    heard = [w.label for id in train for w in source.corpus[id].words]
    known = [space[word] for word in heard if word in space]
    middle, spread = _moments(np.stack(known)) if known else (0.0, 1.0)

    def vector(word: str) -> np.ndarray:
        if word in space:
            return space[word]
        random = np.random.default_rng([SEED, zlib.crc32(word.encode())])
        return middle + spread * random.normal(size=space.dims)

    words = sorted({w.label for item in source.corpus for w in item.words})
    vectors = {word: vector(word) for word in words}
    mean, scale = _scale(np.stack([vectors[word] for word in heard]), settings)

    def encode(item: Recording) -> np.ndarray:
        rows = np.stack([vectors[word.label] for word in item.words])
        spread = _on_labels((rows - mean) / scale, item.words, item)
        return _late(spread, item, Options.of(settings))

    return Fitted(encode)


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each dimension; 1 for one that does not vary."""
    mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0)
    return mean, np.where(deviation > 1e-6 * (1 + np.abs(mean)), deviation, 1.0)


def _scale(
    rows: np.ndarray, settings: Settings
) -> tuple[np.ndarray | float, np.ndarray | float]:
    """What is taken off all vectors, and what they are divided by."""
    return _moments(rows) if settings.standardise else (0.0, 1.0)


def _on_labels(
    rows: np.ndarray, segments: Sequence[Segment], item: Recording
) -> np.ndarray:
    """Spread a row per segment over the labels, zeros where nothing is spoken."""
    silence = np.zeros((1, rows.shape[1]), dtype=np.float32)
    places = spoken_at(segments, labels_of(item))  # -1 is the row after the last
    return np.concatenate([rows, silence])[places].astype(np.float32)


def _late(rows: np.ndarray, item: Recording, options: Options) -> np.ndarray:
    """Delay what labels are told from by the annotators' lag."""
    late = round(options.lag / item.hop)
    rest = rows[: max(0, len(rows) - late)]
    return np.concatenate([np.zeros_like(rows[:late]), rest]) if late else rows


def _segments(item: Recording, options: Options) -> tuple[Segment, ...]:
    """What is encoded: words, or windows within the subject's turns, or within the
    whole recording if it has none.
    """
    if options.boundaries == "words":
        return item.words
    turns = item.turns or (Segment("", 0.0, item.duration),)
    windows = []
    for _, start, end in turns:
        count = max(1, round((end - start) / options.window))
        edges = np.linspace(start, end, count + 1).tolist()
        windows += [Segment("", *one) for one in itertools.pairwise(edges)]
    return tuple(windows)


def _how(options: Options) -> speech2vec.Settings:
    own = {"dims": options.dims, "objective": options.objective}
    return speech2vec.Settings(**own | options.speech2vec)


def _key(train: Sequence[str], options: Options) -> tuple:
    return tuple(train), _how(options)


def _speech2vec(
    source: Source, train: Sequence[str], options: Options
) -> tuple[speech2vec.Trained, Space]:
    """A Speech2Vec of the training part, and its vector of each word."""

    def learn() -> tuple[speech2vec.Trained, Space]:
        text = spoken_words(source.corpus, train, cache=source.cache)
        trained = speech2vec.train(text, _how(options), SEED, progress=source.progress)
        return trained, speech2vec.vectors(trained, text)

    return source.keep("speech2vec", _key(train, options), learn)


def _encoded(
    source: Source,
    trained: speech2vec.Trained,
    segments: Mapping[str, tuple[Segment, ...]],
    train: Sequence[str],
    options: Options,
) -> Mapping[str, np.ndarray]:
    """The encoder's vector of each segment of each recording."""

    def encode() -> Mapping[str, np.ndarray]:
        items = [replace(one, words=segments[one.id]) for one in source.corpus]
        corpus = replace(source.corpus, recordings=items)
        text = spoken_words(corpus, cache=source.cache)
        text = text.averaged(trained.settings.stride)
        text = per_voice(text) if trained.settings.per_voice else text
        alone = (text.chosen(text.sentences == n) for n in range(len(items)))
        parts = (list(speech2vec.segments(trained.model, one)) for one in alone)
        return dict(zip(segments, map(np.concatenate, parts), strict=True))

    wanted = _key(train, options), options.boundaries, options.window
    return source.keep("spoken segments", wanted, encode)


def _towards(
    speech: Space, text: Space, options: Options
) -> Callable[[np.ndarray], np.ndarray]:
    """Learn the mapping from speech to text, and how it is applied."""
    source, target = alignment.normalise(speech.rows), alignment.normalise(text.rows)
    if options.alignment == "supervised":
        both = [word for word in speech.words if word in text]
        pairs = np.stack([speech.numbers(both), text.numbers(both)], axis=1)
        mapping = alignment.supervised(source, target, pairs)
    else:
        kind, _ = alignment.WAYS[options.alignment]
        how = (options.alignment, range(options.seeds), kind(**options.way))
        tried = alignment.align(source, target, *how, progress=False)
        mapping = alignment.best(tried).mapping
    centre = _unit(speech.rows).mean(axis=0)
    return lambda rows: _unit(_unit(rows) - centre) @ mapping.T


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-8)).astype(np.float32)
