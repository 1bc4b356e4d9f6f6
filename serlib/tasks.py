"""What is to be told of an utterance or recording, how wrong an answer is, how good.

`CLASSES` is one label an item, the task of yoon2018, xu2019, shen2020 and krishna2020;
`CONTINUOUS` is three curves over time, that of tzirakis2021. Taught in chapter
`evaluation`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from serlib.corpora.corpus import EMOTIONS, Corpus, Item
from serlib.metrics import Measure, classification_measures, concordance_measures

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From output, target and, for curves, real steps of each item to the mean loss."""


@dataclass(frozen=True)
class Task(ABC):
    """What a model is asked.

    Attributes:
        outputs: names of what its last layer has: the classes in the order of their
            indices, or the dimensions of a curve.
        name: `classes` or `continuous`.
        losses: by name, see `Loss`; the first is the default.
    """

    outputs: tuple[str, ...]
    name: ClassVar[str]
    losses: ClassVar[Mapping[str, Loss]]

    def of(self, corpus: Corpus) -> Task:
        """Return the task with the corpus's own outputs."""
        return self

    @abstractmethod
    def select(self, corpus: Corpus) -> Corpus:
        """Return the items that have a target.

        Raises:
            ValueError: if there are none.
        """

    @abstractmethod
    def target(self, item: Item) -> int | np.ndarray:
        """Return a class index, or a (steps, 3) float32 curve."""

    @property
    @abstractmethod
    def measures(self) -> Mapping[str, Measure]:
        """How good answers are, by name; the one that tables lead with first."""

    def loss(self, name: str) -> Loss:
        """Return the loss of that name.

        Raises:
            ValueError: for another name.
        """
        if name not in self.losses:
            raise ValueError(
                f"settings.loss is {name!r}; expected {' or '.join(self.losses)}"
            )
        return self.losses[name]


def softmax_loss(output: Tensor, target: Tensor, lengths: Tensor | None = None):
    """Cross-entropy of equation (2) of yoon2018, in which a sum over the classes of y
    log ŷ was surely meant where a product of sums is printed; of equations (15) and
    (16) of xu2019; and of (13) of shen2020, whose minus is missing.

    Args:
        output: (batch, classes) logits.
        target: (batch,) class indices.
        lengths: not looked at.
    """
    return functional.cross_entropy(output, target)


def sigmoid_loss(output: Tensor, target: Tensor, lengths: Tensor | None = None):
    """One binary cross-entropy per class, mean over classes, which yoon2018's released
    code trains on; arguments as for `softmax_loss`.
    """
    hot = functional.one_hot(target, output.shape[1]).to(output.dtype)
    return functional.binary_cross_entropy_with_logits(output, hot)


def concordance_loss(output: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """1 - CCC, averaged over dimensions (tzirakis2021, equation 8 and section 5.2).

    The coefficient of a dimension is over all real steps of the batch together.

    Args:
        output, target: (batch, steps, dimensions).
        lengths: (batch,) real steps of each.
    """
    return _concordance_losses(output, target, lengths).mean()


def divided_loss(output: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """1 - CCC of the first dimension, plus a half of the second's, plus a third of the
    third's: what tzirakis2021's released code trains on, where the paper has the three
    "contributing equally". Arguments as for `concordance_loss`.
    """
    losses = _concordance_losses(output, target, lengths)
    number = torch.arange(len(losses), device=losses.device)
    return (losses / (number + 1)).sum()


def _concordance_losses(output: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """1 - CCC of each dimension, (dimensions,)."""
    steps = torch.arange(output.shape[1], device=output.device)
    inside = steps < lengths.to(output.device)[:, None]
    x, y = target[inside], output[inside]  # (all steps, dimensions)
    x_mean, y_mean = x.mean(0), y.mean(0)
    covariance = ((x - x_mean) * (y - y_mean)).mean(0)
    apart = x.var(0, correction=0) + y.var(0, correction=0)
    apart = apart + (x_mean - y_mean).square()
    return 1 - 2 * covariance / apart.clamp(min=1e-8)


class _Classes(Task):
    name = "classes"
    losses: ClassVar = {"softmax": softmax_loss, "sigmoid": sigmoid_loss}

    def of(self, corpus: Corpus) -> Task:
        return replace(self, outputs=corpus.classes)

    def select(self, corpus: Corpus) -> Corpus:
        told = [u.id for u in corpus.utterances if u.emotion in corpus.classes]
        if told and len(told) == len(corpus):
            return corpus
        if corpus.classes == EMOTIONS:
            chosen = corpus.four_class()
        else:
            chosen = corpus.select(told)
        if not chosen.utterances:
            also = " or excited" if corpus.classes == EMOTIONS else ""
            raise ValueError(
                f"{corpus.root}: none of {len(corpus.utterances)} utterances is"
                f" {', '.join(corpus.classes)}{also}"
            )
        return chosen

    def target(self, item: Item) -> int:
        return self.outputs.index(item.emotion)

    @property
    def measures(self) -> Mapping[str, Measure]:
        return classification_measures(len(self.outputs))


class _Continuous(Task):
    name = "continuous"
    losses: ClassVar = {"concordance": concordance_loss, "divided": divided_loss}

    def select(self, corpus: Corpus) -> Corpus:
        chosen = [one.id for one in corpus.recordings if one.labels is not None]
        if not chosen:
            raise ValueError(
                f"{corpus.root}: none of {len(corpus.recordings)} recordings has labels"
            )
        return corpus.select(chosen)

    def target(self, item: Item) -> np.ndarray:
        labels = np.asarray(item.labels, dtype=np.float32)
        if labels.ndim != 2 or labels.shape[1] != len(self.outputs) or not len(labels):
            raise ValueError(
                f"{item.id}: expected labels of shape (frames, {len(self.outputs)}),"
                f" at least one frame; found {labels.shape}"
            )
        return labels

    @property
    def measures(self) -> Mapping[str, Measure]:
        return concordance_measures(self.outputs)


CLASSES = _Classes(EMOTIONS)
"""One class an utterance: those of the corpus, four where it is as the papers have it.
"""

CONTINUOUS = _Continuous(("arousal", "valence", "liking"))
"""Three curves a recording, at the hop of its labels."""
