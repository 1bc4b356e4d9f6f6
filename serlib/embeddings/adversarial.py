"""A mapping learnt in a game against a discriminator, for many seeds at once.

Tzirakis et al. 2021, equations 1 and 2, after Lample et al. 2018, "Word translation
without parallel data"; taught in chapter `alignment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu_, softplus

from serlib.determinism import single_thread
from serlib.embeddings.mapping import check_spaces, criterion
from serlib.progress import bar

DRAWN = 50
"""Steps whose words and dropout are drawn together."""


@dataclass(frozen=True)
class Adversarial:
    """How the game is played; the defaults are Lample et al.'s and their program's.

    Attributes:
        hidden: units in each of the discriminator's two hidden layers.
        slope: of the leaky ReLU.
        dropout: of the discriminator's input, while it learns.
        smoothing: labels are this far from 0 and 1.
        batch: words of each space in a step.
        discriminator_steps: before each step of the mapping.
        rate: of gradient descent, for both players.
        decay: of the mapping's rate after each epoch.
        shrink: of the mapping's rate, from the second fall of the criterion on.
        beta: how strongly the mapping is pulled back to an orthogonal one.
        epochs, epoch_steps: how long; steps are the mapping's.
        frequent: words are drawn among so many most frequent ones.
        judged: words that the criterion looks at after each epoch.
        scale: all vectors are multiplied by it in the game, which leaves what is sought
            as it is and makes every step larger.
    """

    hidden: int = 2_048
    slope: float = 0.2
    dropout: float = 0.1
    smoothing: float = 0.1
    batch: int = 32
    discriminator_steps: int = 5
    rate: float = 0.1
    decay: float = 0.98
    shrink: float = 0.5
    beta: float = 0.001
    epochs: int = 5
    epoch_steps: int = 31_250
    frequent: int = 75_000
    judged: int = 10_000
    scale: float = 1.0


QUICK = Adversarial(
    hidden=128, rate=0.5, beta=0.01, epochs=8, epoch_steps=200, judged=1_500, scale=7.0
)
"""For a few thousand words of about 50 dimensions and length 1, many seeds in seconds:
a small discriminator, long steps (7 is about the root of 50, so that a number of a
vector is about 1), and a stronger pull to make up for them. Most seeds fail.
"""


@dataclass(frozen=True)
class Game:
    """What one seed's game came to.

    Attributes:
        seed: of everything drawn.
        mapping: (target dims, source dims), the best by the criterion.
        criterion: of that mapping.
        discriminator_loss, mapping_loss: (epochs,) half of equations 1 and 2, the mean
            over all words of a step; ln 2 where the discriminator cannot tell.
        criteria: (epochs + 1,) before the game and after each epoch.
        mappings: (epochs + 1, target dims, source dims), likewise.
    """

    seed: int
    mapping: np.ndarray
    criterion: float
    discriminator_loss: np.ndarray
    mapping_loss: np.ndarray
    criteria: np.ndarray
    mappings: np.ndarray


@single_thread()
def play(
    source: np.ndarray,
    target: np.ndarray,
    settings: Adversarial = QUICK,
    seeds: Sequence[int] = range(10),
    *,
    device: str = "cpu",
    progress: bool = False,
) -> list[Game]:
    """Learn a mapping for every seed, all in one batch of matrices.

    A seed's game does not depend on which others are played beside it, but for
    rounding.

    Args:
        source, target: (words, dims) each, the most frequent word first, normalised.
        settings: see `Adversarial`.
        seeds: of words drawn, dropout and the discriminator's first weights.
        device: where to compute; what is drawn is the same on all.
        progress: show a bar.

    Returns:
        one Game a seed.

    Raises:
        ValueError: if the spaces do not fit (see `check_spaces`), or no seed is given.
    """
    check_spaces(source, target)
    if not len(seeds):
        raise ValueError("expected at least one seed")
    players = Players(source, target, settings, seeds, device)
    judged = min(settings.judged, len(source), len(target))

    def judge() -> list[float]:
        return [
            criterion(source[:judged] @ mapping.T, target, judged, device=device)
            if np.isfinite(mapping).all()
            else -1.0
            for mapping in mappings[-1]
        ]

    mappings = [players.mapping.cpu().numpy().copy()]  # each (seeds, dims, dims)
    criteria, losses = [judge()], []
    fallen = torch.zeros_like(players.rate, dtype=torch.bool)
    for _ in bar(progress, range(settings.epochs), "epochs"):
        losses.append(players.play(settings.epoch_steps))
        mappings.append(players.mapping.cpu().numpy().copy())
        criteria.append(judge())
        falls = torch.tensor(criteria[-1] < np.max(criteria[1:], axis=0))
        falls = falls.view_as(fallen).to(fallen.device)
        players.rate *= settings.decay
        players.rate[falls & fallen] *= settings.shrink
        fallen |= falls
    return _games(seeds, np.stack(mappings), np.array(criteria), np.array(losses))


def _games(
    seeds: Sequence[int], mappings: np.ndarray, criteria: np.ndarray, losses: np.ndarray
) -> list[Game]:
    best = criteria.argmax(axis=0)
    return [
        Game(
            seed=int(seed),
            mapping=mappings[best[number], number],
            criterion=float(criteria[best[number], number]),
            discriminator_loss=losses[:, 0, number],
            mapping_loss=losses[:, 1, number],
            criteria=criteria[:, number],
            mappings=mappings[:, number],
        )
        for number, seed in enumerate(seeds)
    ]


class Discriminators:
    """One small network a seed, side by side: from a vector to the logit of "this is a
    mapped source word". Gradients are written out, so that nothing need be recorded.
    """

    def __init__(
        self, dims: int, settings: Adversarial, generators: Sequence[torch.Generator]
    ):
        sizes = (dims, settings.hidden, settings.hidden, 1)
        self.slope = settings.slope
        self.weights, self.biases = [], []  # (seeds, fan in, fan out), (seeds, 1, out)
        for fan_in, fan_out in pairwise(sizes):
            drawn = torch.stack(
                [torch.rand(fan_in + 1, fan_out, generator=g) for g in generators]
            )
            drawn = (2 * drawn - 1) / fan_in**0.5  # as torch.nn.Linear
            self.weights.append(drawn[:, :-1].contiguous())
            self.biases.append(drawn[:, -1:].contiguous())

    def to(self, device: str) -> Discriminators:
        self.weights = [weight.to(device) for weight in self.weights]
        self.biases = [bias.to(device) for bias in self.biases]
        return self

    def logits(self, rows: Tensor) -> Tensor:
        """(seeds, words, dims) to (seeds, words, 1); the layers are kept for what
        follows.
        """
        self.layers = [rows]
        for bias, weight in zip(self.biases[:2], self.weights[:2], strict=True):
            rows = leaky_relu_(torch.baddbmm(bias, rows, weight), self.slope)
            self.layers.append(rows)
        return torch.baddbmm(self.biases[2], rows, self.weights[2])

    def errors(self, error: Tensor, words: int) -> list[Tensor]:
        """Gradients of the loss by what each of the three layers gives before its
        ReLU, for the first `words` words; `error` is that by the logits.
        """
        error = error[:, :words]
        second = self._through(error * self.weights[2].mT, self.layers[2][:, :words])
        first = torch.bmm(second, self.weights[1].mT)
        return [self._through(first, self.layers[1][:, :words]), second, error]

    def _through(self, error: Tensor, layer: Tensor) -> Tensor:
        return torch.ops.aten.leaky_relu_backward(error, layer, self.slope, True)

    def learn(self, error: Tensor) -> None:
        """A step of descent; `error` holds the rate."""
        errors = self.errors(error, error.shape[1])
        parts = zip(self.weights, self.biases, self.layers, errors, strict=True)
        for weight, bias, layer, change in parts:
            weight.baddbmm_(layer.mT, change, alpha=-1)
            bias -= change.sum(1, keepdim=True)

    def by_input(self, error: Tensor, words: int) -> Tensor:
        """Gradient by the first `words` vectors: (seeds, words, dims)."""
        return torch.bmm(self.errors(error, words)[0], self.weights[0].mT)


class Players:
    """The mappings of all seeds and their discriminators, in the middle of the game."""

    def __init__(
        self,
        source: np.ndarray,
        target: np.ndarray,
        settings: Adversarial,
        seeds: Sequence[int],
        device: str = "cpu",
    ):
        self.settings, self.device = settings, device
        self.source, self.target = (
            torch.tensor(rows[: settings.frequent], dtype=torch.float32, device=device)
            * settings.scale
            for rows in (source, target)
        )
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        dims = self.target.shape[1]
        self.discriminators = Discriminators(dims, settings, self.generators).to(device)
        start = torch.eye(dims, self.source.shape[1], device=device)
        self.mapping = start.repeat(len(seeds), 1, 1)  # (seeds, target, source dims)
        self.rate = torch.full((len(seeds), 1, 1), settings.rate, device=device)
        label = torch.full((2 * settings.batch, 1), settings.smoothing, device=device)
        label[: settings.batch] = 1 - settings.smoothing
        self.label = label  # of "this is a mapped source word"

    def draw(self, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """What chance decides in some steps, seed by seed.

        Returns:
            (steps, seeds, words) indices of source words and of target words, those of
            the discriminator's steps first, and the factors of dropout, (steps, seeds,
            discriminator steps, 2 batch, dims).
        """
        s = self.settings
        words = (s.discriminator_steps + 1) * s.batch
        shape = (s.discriminator_steps, 2 * s.batch, self.target.shape[1])
        drawn = [
            (
                torch.randint(len(self.source), (steps, words), generator=g),
                torch.randint(len(self.target), (steps, words), generator=g),
                torch.rand(steps, *shape, generator=g).ge_(s.dropout),
            )
            for g in self.generators
        ]
        source, target, kept = (
            torch.stack(part, 1) for part in zip(*drawn, strict=True)
        )
        kept *= 1 / (1 - s.dropout)
        return source.to(self.device), target.to(self.device), kept.to(self.device)

    def play(self, steps: int) -> np.ndarray:
        """Make some steps; return the mean losses, (2, seeds): discriminator's,
        mapping's.
        """
        sums = torch.zeros(2, len(self.rate), dtype=torch.float64, device=self.device)
        for start in range(0, steps, DRAWN):
            drawn = self.draw(min(DRAWN, steps - start))
            logits = torch.stack(
                [self.step(*step) for step in zip(*drawn, strict=True)]
            )
            sums[0] += self._loss(logits[:, :-1], self.label).mean(1).sum(0)
            sums[1] += self._loss(logits[:, -1], 1 - self.label).sum(0)
        return (sums / steps).cpu().numpy()

    def _loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy of (..., seeds, words, 1) logits, a mean over words."""
        return (softplus(logits) - label * logits).mean((-1, -2))

    def step(self, source: Tensor, target: Tensor, kept: Tensor) -> Tensor:
        """Some steps of the discriminators, then one of the mappings.

        Returns:
            (discriminator steps + 1, seeds, 2 batch, 1) logits.
        """
        s = self.settings
        sources = self.source[source]  # (seeds, words, source dims)
        targets = self.target[target].unflatten(1, (-1, s.batch))
        mapped = torch.bmm(sources, self.mapping.mT).unflatten(1, (-1, s.batch))
        rows = torch.cat([mapped, targets], 2)  # (seeds, steps + 1, 2 batch, dims)
        rows[:, :-1] *= kept
        every = []
        for turn in range(s.discriminator_steps):
            every.append(self.discriminators.logits(rows[:, turn]))
            error = torch.sigmoid(every[-1]).sub_(self.label)
            self.discriminators.learn(error.mul_(s.rate / len(self.label)))
        every.append(self.discriminators.logits(rows[:, -1]))
        error = torch.sigmoid(every[-1]).sub_(1 - self.label) / len(self.label)
        slope = self.discriminators.by_input(error, s.batch)  # (seeds, batch, dims)
        change = torch.bmm((slope * self.rate).mT, sources[:, -s.batch :])
        moved = self.mapping - change
        pull = torch.bmm(torch.bmm(moved, moved.mT), moved)
        self.mapping = (1 + s.beta) * moved - s.beta * pull
        return torch.stack(every)
