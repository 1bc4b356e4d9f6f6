"""Vectors of spoken words: from a word's sound, predict the sound of its neighbours.

Source: Chung and Glass 2018, "Speech2Vec"; tzirakis2021, section 3.1. Taught in chapter
`embeddings`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as tensors
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from serlib.checkpoints import Checkpoint
from serlib.determinism import reproducible
from serlib.embeddings.space import Space
from serlib.embeddings.spoken import SpokenText, per_voice
from serlib.files import atomic
from serlib.progress import bar

log = logging.getLogger(__name__)

GROUP = 256
"""Sequences that run together: of nearly one length, so that little is padding, and few
enough to stay in a processor's cache.
"""

BLOCK = 1 << 16
"""Spoken words that are in memory at once while vectors are computed."""

OPENING = 4
"""Updates whose losses are kept one by one: what a replay compares."""

HELD_OUT_PAIRS = 20_000
"""Pairs that the losses on held-out sentences are computed from at most, those of
words next to each other first.
"""


@dataclass(frozen=True)
class Settings:
    """How Speech2Vec is trained, and how large.

    Attributes:
        dims: numbers of a vector, half of them from each direction of the encoder.
        objective: `skipgram`: predict the neighbours; `autoencoder`: predict the word
            itself; `random`: predict nothing, the encoder stays as it was drawn.
        window: neighbours to each side; for every word a number from 1 to it is drawn,
            as Word2Vec does.
        stride: frames of 10 ms that are averaged to one.
        forcing: share of the true frames that the decoder sees while it predicts the
            next ones. With 1 (teacher forcing) it knows all that came before; with 0 it
            has nothing but the vector.
        per_voice: scale frames by each voice's own mean and deviation, which leaves
            less of the voice in them.
        min_count: rarer words are left out, as Word2Vec does.
        sample: words more frequent than this share are left out at random, as Word2Vec
            does; None for none.
        epochs: passes over the text.
        batch_size: words whose neighbours are predicted in one update.
        learning_rate: of Adam; it falls to zero in a straight line, as Word2Vec's.
        held_out: share of sentences that nothing is learnt from.
    """

    dims: int = 50
    objective: str = "skipgram"
    window: int = 3
    stride: int = 3
    forcing: float = 1.0
    per_voice: bool = False
    min_count: int = 5
    sample: float | None = 1e-3
    epochs: int = 10
    batch_size: int = 512
    learning_rate: float = 1e-2
    held_out: float = 0.02

    def __post_init__(self) -> None:
        if self.objective not in ("skipgram", "autoencoder", "random"):
            raise ValueError(
                f"objective is {self.objective!r}; expected skipgram, autoencoder or"
                " random"
            )
        if self.dims < 2 or self.dims % 2:
            raise ValueError(f"dims is {self.dims}; expected an even number")


class Speech2Vec(nn.Module):
    """A bidirectional encoder whose last states are the word's vector, and a decoder
    that starts from it (Chung and Glass 2018, section 2).

    Args:
        features: numbers of a frame.
        dims: of a vector, even.
    """

    def __init__(self, features: int, dims: int):
        super().__init__()
        self.encoder = nn.LSTM(features, dims // 2, bidirectional=True)
        self.decoder = nn.LSTM(features, dims)
        self.output = nn.Linear(dims, features)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def standardise(self, frames: Tensor) -> Tensor:
        """Scale frames (..., features) by the training text's mean and deviation."""
        return (frames - self.mean) / self.scale

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Encode words.

        Args:
            frames: (frames, batch, features), standardised, padded at the end.
            lengths: (batch,) frames of each word.

        Returns:
            (batch, dims): last states of both directions.
        """
        packed = pack_padded_sequence(frames, lengths.cpu(), enforce_sorted=False)
        states, _ = self.encoder(packed)[1]  # (2, batch, dims / 2)
        return torch.cat([*states], dim=1)

    def decode(self, vectors: Tensor, targets: Tensor, forcing: float = 1.0) -> Tensor:
        """Predict words, each frame from the vector and the true frames before it.

        Args:
            vectors: (batch, dims) that the decoder starts from.
            targets: (frames, batch, features), standardised.
            forcing: share of the true frames that are shown, the others are zero.

        Returns:
            (frames, batch, features)
        """
        before = torch.cat([torch.zeros_like(targets[:1]), targets[:-1]])
        if forcing < 1:
            before = before * (torch.rand(before.shape[:2]) < forcing)[..., None]
        start = vectors[None], torch.zeros_like(vectors)[None]
        return self.output(self.decoder(before, start)[0])


def prepared(text: SpokenText, settings: Settings) -> SpokenText:
    """Return a text's frequent words with averaged frames, as training hears them.

    Raises:
        ValueError: if no word is frequent enough.
    """
    text = text.frequent(settings.min_count).averaged(settings.stride)
    return per_voice(text) if settings.per_voice else text


@dataclass
class Trained:
    """A Speech2Vec that was trained.

    Attributes:
        model: with the mean and the scale of its frames.
        settings, seed: what it was trained with.
        history: mean squared errors per epoch: `train` on the text; `held_out` on
            sentences that nothing was learnt from; `voice` and `other` there with the
            vector of another word in place of the right one, spoken by the same voice
            or by any. What `held_out` and `other` differ by is all that the vectors say
            about the frames to come, and beyond `voice` it is not about who speaks.
            Without a held-out pair only `train` is there.
        opening: losses of the first `OPENING` updates, one by one.
    """

    model: Speech2Vec
    settings: Settings
    seed: int
    history: list[dict[str, float]] = field(default_factory=list)
    opening: list[float] = field(default_factory=list)


def train(
    text: SpokenText,
    settings: Settings,
    seed: int,
    *,
    checkpoint: Checkpoint | None = None,
    updates: int | None = None,
    progress: bool = True,
) -> Trained:
    """Train Speech2Vec on a spoken text.

    Args:
        text: with frames as they were extracted; `settings` say how they are averaged
            and which words are left out.
        settings: how.
        seed: of weights, subsampling, windows and the order.
        checkpoint: where to keep all that the next epoch depends on; a training that
            was interrupted and goes on ends with the same weights.
        updates: stop within the first epoch, after so many; None to train to the end.
        progress: show a progress bar.

    Raises:
        ValueError: if no word is frequent enough, or no sentence has two of them.
        FloatingPointError: if the loss is not a number any more.
    """
    text = prepared(text, settings)
    model, words = _start(text, settings, seed)
    trained = Trained(model, settings, seed)
    if settings.objective == "random":
        return trained
    aside, voices = (
        _held_out(text, settings, seed),
        torch.from_numpy(text.voices).long(),
    )
    held_out = _pairs(text, aside, settings, np.random.default_rng([seed, 0]))
    held_out = held_out[:, :HELD_OUT_PAIRS]
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        trained.history, trained.opening = state["history"], state["opening"]
    for epoch in range(len(trained.history), settings.epochs):
        rng = np.random.default_rng([seed, epoch + 1])
        pairs = _pairs(text, ~aside, settings, rng)
        if not pairs.shape[1]:
            raise ValueError(
                "expected sentences with neighbours to learn from, found"
                f" {len(text)} spoken words and no pair of neighbours"
            )
        what = {"desc": f"epoch {epoch + 1}", "total": pairs.shape[1], "unit": "pair"}
        shown = bar(progress, unit_scale=True, **what)
        with reproducible(seed + epoch), shown as told:
            total = count = 0.0
            each = _updates(model, optimiser, words, pairs, settings, epoch, rng)
            for error, size, made in itertools.islice(each, updates):
                total, count = total + error, count + size
                if len(trained.opening) < OPENING:
                    trained.opening.append(error / size)
                told.update(made)
                told.set_postfix(loss=f"{total / count:.4f}")
            if updates is not None:
                return trained
            if not np.isfinite(total):
                raise FloatingPointError(f"epoch {epoch + 1}: the loss is {total}")
            look = _look(model, words, held_out, voices, settings.forcing)
        trained.history.append({"train": total / count, **look})
        log.info("speech2vec, epoch %d: %s", epoch + 1, trained.history[-1])
        if checkpoint is not None:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            told = {"history": trained.history, "opening": trained.opening}
            checkpoint.save(state | told)
    return trained


def _start(
    text: SpokenText, settings: Settings, seed: int
) -> tuple[Speech2Vec, _Words]:
    """The model as it is drawn, and the words as it hears them."""
    frames = torch.from_numpy(np.asarray(text.frames, dtype=np.float32))
    with reproducible(seed):
        model = Speech2Vec(frames.shape[1], settings.dims)
    deviation, mean = torch.std_mean(frames, dim=0, correction=0)
    model.mean.copy_(mean)
    model.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))
    return model, _Words(model.standardise(frames), torch.from_numpy(text.starts))


def _updates(
    model: Speech2Vec,
    optimiser: torch.optim.Optimizer,
    words: _Words,
    pairs: Tensor,
    settings: Settings,
    epoch: int,
    rng: np.random.Generator,
) -> Iterator[tuple[float, int, int]]:
    """Make one update after the other; give its squared error, over how many numbers it
    is, and of how many pairs.
    """
    seen = 0
    for batch in _batches(pairs, settings.batch_size, rng):
        done = (epoch + seen / pairs.shape[1]) / settings.epochs
        optimiser.param_groups[0]["lr"] = settings.learning_rate * (1 - done)
        optimiser.zero_grad(set_to_none=True)
        error, size = squared_error(model, words, batch, settings.forcing)
        (error / size).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        seen += batch.shape[1]
        yield error.item(), size, batch.shape[1]


@dataclass(frozen=True)
class _Words:
    """Frames of all words, (frames, features), and where each word starts."""

    frames: Tensor
    starts: Tensor

    def lengths(self, words: Tensor) -> Tensor:
        return self.starts[words + 1] - self.starts[words]

    def padded(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of some words, (frames, words, features), and the mask of those that
        are no padding, (frames, words).
        """
        lengths = self.lengths(words)
        steps = torch.arange(int(lengths.max()))[:, None]
        inside = steps < lengths
        rows = self.starts[words] + torch.minimum(steps, lengths - 1)
        return self.frames[rows], inside


def squared_error(
    model: Speech2Vec, words: _Words, pairs: Tensor, forcing: float
) -> tuple[Tensor, int]:
    """Sum the squared errors of predicting each pair's second word from its first.

    Args:
        model: encodes every first word once.
        words: frames of all words.
        pairs: (2, pairs) numbers of words.
        forcing: see `Settings`.

    Returns:
        the sum, and over how many numbers it is.
    """
    firsts, which = torch.unique(pairs[0], return_inverse=True)
    vectors = _encode(model, words, firsts)[which]
    lengths = words.lengths(pairs[1])
    error, size = vectors.new_zeros(()), 0
    for group in torch.argsort(lengths, stable=True).split(GROUP):
        targets, inside = words.padded(pairs[1, group])
        predicted = model.decode(vectors[group], targets, forcing)
        squares = (predicted - targets).square().sum(dim=-1)
        error = error + (squares * inside).sum()
        size += int(inside.sum()) * targets.shape[-1]
    return error, size


def _encode(model: Speech2Vec, words: _Words, chosen: Tensor) -> Tensor:
    lengths = words.lengths(chosen)
    order = torch.argsort(lengths, stable=True)
    parts = []
    for group in order.split(GROUP):
        frames, inside = words.padded(chosen[group])
        parts.append(model(frames, inside.sum(dim=0)))
    return torch.cat(parts)[torch.argsort(order)]


def _held_out(text: SpokenText, settings: Settings, seed: int) -> np.ndarray:
    """(words,) whether a word's sentence is held out."""
    rng = np.random.default_rng([seed, 2**31])
    aside = rng.random(int(text.sentences.max()) + 1) < settings.held_out
    return aside[text.sentences]


def _pairs(
    text: SpokenText,
    chosen: np.ndarray,
    settings: Settings,
    rng: np.random.Generator,
) -> Tensor:
    """Draw an epoch's pairs of a word and one that it predicts, (2, pairs)."""
    kept = np.flatnonzero(chosen & _sampled(text, settings, rng))
    if settings.objective == "autoencoder":
        return torch.from_numpy(np.stack([kept, kept]))
    reach = rng.integers(1, settings.window, len(kept), endpoint=True)
    sentences, pairs = text.sentences[kept], []
    for offset in range(1, settings.window + 1):
        together = sentences[:-offset] == sentences[offset:]
        for first, second in ((0, offset), (offset, 0)):
            size = len(kept) - offset
            near = reach[first : first + max(0, size)] >= offset
            rows = np.flatnonzero(together & near)
            pairs.append(np.stack([kept[rows + first], kept[rows + second]]))
    return torch.from_numpy(np.concatenate(pairs, axis=1))


def _sampled(
    text: SpokenText, settings: Settings, rng: np.random.Generator
) -> np.ndarray:
    """(words,) which are not left out for being frequent (Mikolov et al. 2013)."""
    if settings.sample is None:
        return np.ones(len(text), dtype=bool)
    ratio = settings.sample * len(text) / text.counts.clip(min=1)
    return rng.random(len(text)) < (np.sqrt(ratio) + ratio)[text.labels]


def _batches(pairs: Tensor, size: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Give all pairs of `size` random first words after the other."""
    firsts, number = np.unique(pairs[0].numpy(), return_inverse=True)
    place = rng.permutation(len(firsts))[number]
    order = torch.from_numpy(np.argsort(place, kind="stable"))
    ends = np.searchsorted(np.sort(place), np.arange(size, len(firsts), size))
    for part in np.split(order.numpy(), ends):
        yield pairs[:, torch.from_numpy(part)]


@torch.no_grad()
def _look(
    model: Speech2Vec, words: _Words, pairs: Tensor, voices: Tensor, forcing: float
) -> dict[str, float]:
    """Errors on held-out pairs, with the right vectors and with other words'."""
    if not pairs.shape[1]:
        return {}
    firsts = {
        "held_out": pairs[0],
        "voice": _next_of_voice(pairs[0], voices),
        "other": pairs[0].roll(pairs.shape[1] // 2),
    }
    found = {}
    for name, first in firsts.items():
        parts = [
            squared_error(model, words, part, forcing)
            for part in torch.stack([first, pairs[1]]).split(4096, dim=1)
        ]
        found[name] = float(sum(e for e, _ in parts)) / sum(n for _, n in parts)
    return found


def _next_of_voice(firsts: Tensor, voices: Tensor) -> Tensor:
    """Put in each word's place one of the same voice from another part of the text."""
    others = firsts.clone()
    for voice in voices[firsts].unique():
        own = voices[firsts] == voice
        others[own] = firsts[own].roll(int(own.sum()) // 2)
    return others


@torch.no_grad()
def segments(model: Speech2Vec, text: SpokenText) -> Iterator[np.ndarray]:
    """Encode spoken words one by one, a block of them at a time.

    Args:
        model: of training.
        text: averaged as the training text was.

    Yields:
        (words, dims) float32, in the order of the text.
    """
    for first in range(0, len(text), BLOCK):
        starts = text.starts[first : first + BLOCK + 1]
        rows = np.asarray(text.frames[starts[0] : starts[-1]], dtype=np.float32)
        frames = model.standardise(torch.from_numpy(rows))
        words = _Words(frames, torch.from_numpy(starts - starts[0]))
        yield _encode(model, words, torch.arange(len(starts) - 1)).numpy()


def vectors(trained: Trained, text: SpokenText, centred: bool = False) -> Space:
    """Return the vector of each word: the mean over all its spoken segments.

    Args:
        trained: what `train` returned.
        text: as `train` took it.
        centred: take from each segment the mean of its voice before. Without that, the
            mean of a rare word is for the most part that of the voices which happened
            to say it.

    Raises:
        ValueError: as `train`.
    """
    settings, text = trained.settings, prepared(text, trained.settings)
    words, voices = len(text.vocabulary), len(text.speakers)
    sums, of_voices = (
        np.zeros((words, settings.dims)),
        np.zeros((voices, settings.dims)),
    )
    first = 0
    with reproducible(trained.seed):
        for block in segments(trained.model, text):
            rows = slice(first, first + len(block))
            np.add.at(sums, text.labels[rows], block)
            np.add.at(of_voices, text.voices[rows], block)
            first += len(block)
    counts = np.zeros((words, voices))
    np.add.at(counts, (text.labels, text.voices), 1)
    if centred:
        sums -= counts @ (of_voices / counts.sum(axis=0).clip(min=1)[:, None])
    rows = (sums / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return Space(text.vocabulary, rows)


def told(trained: Trained, text: SpokenText) -> dict[str, float]:
    """Return what a trained model's history would say of one more epoch without
    learning: `held_out`, `voice` and `other` (see `Trained`).
    """
    settings, text = trained.settings, prepared(text, trained.settings)
    frames = torch.from_numpy(np.asarray(text.frames, dtype=np.float32))
    words = _Words(trained.model.standardise(frames), torch.from_numpy(text.starts))
    aside = _held_out(text, settings, trained.seed)
    pairs = _pairs(text, aside, settings, np.random.default_rng([trained.seed, 0]))
    pairs, voices = pairs[:, :HELD_OUT_PAIRS], torch.from_numpy(text.voices).long()
    with reproducible(trained.seed):
        return _look(trained.model, words, pairs, voices, settings.forcing)


def save(path: str | Path, trained: Trained) -> None:
    """Write a model's weights as safetensors.

    Raises:
        OSError: if the file cannot be written.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(tensors(trained.model.state_dict()))


def load(path: str | Path, settings: Settings, seed: int = 0) -> Trained:
    """Read weights that `save` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else than these settings need.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected weights of Speech2Vec, found none")
    try:
        state = load_file(path)
        model = Speech2Vec(len(state["mean"]), settings.dims)
        model.load_state_dict(state)
    except Exception as error:
        raise ValueError(
            f"{path}: expected weights of a Speech2Vec of {settings.dims} numbers:"
            f" {error}"
        ) from error
    return Trained(model, settings, seed)
