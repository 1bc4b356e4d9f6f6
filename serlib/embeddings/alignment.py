"""Aligning two spaces of word vectors without being told which words belong together.

Tzirakis et al. 2021, section 3.1: a linear mapping from speech to text, learnt in a
game (equations 1 and 2) and refined on frequent words (equation 3); beside it a second
way, self-learning. Taught in chapter `alignment`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serlib.embeddings import adversarial, self_learning
from serlib.embeddings.adversarial import Adversarial
from serlib.embeddings.mapping import (
    check_pairs,
    check_spaces,
    criterion,
    dictionary,
    neighbours,
    normalise,
    precision,
    procrustes,
    refine,
)
from serlib.embeddings.self_learning import SelfLearning
from serlib.progress import bar

__all__ = [
    "WAYS",
    "Adversarial",
    "Alignment",
    "SelfLearning",
    "align",
    "best",
    "criterion",
    "dictionary",
    "neighbours",
    "normalise",
    "precision",
    "procrustes",
    "refine",
    "supervised",
]


@dataclass(frozen=True)
class Alignment:
    """A mapping from one space to another, and how it came about.

    Attributes:
        way: `adversarial` or `self-learning`.
        seed: of everything drawn.
        proxy: (target dims, source dims), W before refinement.
        mapping: likewise, after it. Source words go to the target's space by
            `rows @ mapping.T`.
        criterion: of `mapping`, without a dictionary; see `mapping.criterion`.
        history: one number an epoch or iteration: `discriminator_loss`, `mapping_loss`
            and `criterion` of the game, `objective` and `kept` of self-learning.
        mappings: (moments, target dims, source dims): W on its way, the start first.
    """

    way: str
    seed: int
    proxy: np.ndarray
    mapping: np.ndarray
    criterion: float
    history: Mapping[str, np.ndarray]
    mappings: np.ndarray


Proxy = tuple[int, np.ndarray, dict[str, np.ndarray], np.ndarray]
"""Seed, W before refinement, history, W on its way."""


def align(
    source: np.ndarray,
    target: np.ndarray,
    way: str = "adversarial",
    seeds: Sequence[int] = range(10),
    settings: Adversarial | SelfLearning | None = None,
    *,
    rounds: int = 5,
    frequent: int = 15_000,
    device: str = "cpu",
    progress: bool = True,
) -> list[Alignment]:
    """Learn a mapping for every seed, and refine it.

    Args:
        source, target: (words, dims) each, the most frequent word first, both brought
            to one form by `normalise`.
        way: one of `WAYS`.
        seeds: any of them may fail; run several and take the `best`.
        settings: of that way; None for those of its paper. `adversarial.QUICK` and
            `self_learning.QUICK` are for a few thousand words.
        rounds, frequent: of `refine`.
        device: where to compute the game and the refinement.
        progress: show a bar.

    Returns:
        one Alignment a seed, in their order.

    Raises:
        ValueError: for another way, settings of the other one, or spaces that no
            mapping can join (see `mapping.check_spaces`).

    Sketch:
        alignments = align(normalise(speech), normalise(text), "self-learning")
        mapped = normalise(speech) @ best(alignments).mapping.T
    """
    if way not in WAYS:
        raise ValueError(f"no way is called {way!r}; expected one of {', '.join(WAYS)}")
    kind, learn = WAYS[way]
    settings = kind() if settings is None else settings
    if not isinstance(settings, kind):
        raise ValueError(
            f"the way {way} takes {kind.__name__} as settings, got {settings!r}"
        )
    check_spaces(source, target)
    if not len(seeds):
        raise ValueError("expected at least one seed")
    limit = min(frequent, len(source), len(target))
    made = []
    for seed, proxy, history, mappings in learn(
        source, target, settings, seeds, device, progress
    ):
        mapping = refine(source, target, proxy, rounds, limit, device=device)
        value = criterion(source @ mapping.T, target, limit, device=device)
        made.append(Alignment(way, seed, proxy, mapping, value, history, mappings))
    return made


def _play(
    source: np.ndarray,
    target: np.ndarray,
    settings: Adversarial,
    seeds: Sequence[int],
    device: str,
    progress: bool,
) -> Iterable[Proxy]:
    for game in adversarial.play(
        source, target, settings, seeds, device=device, progress=progress
    ):
        history = {
            "discriminator_loss": game.discriminator_loss,
            "mapping_loss": game.mapping_loss,
            "criterion": game.criteria,
        }
        yield game.seed, game.mapping, history, game.mappings


def _grow(
    source: np.ndarray,
    target: np.ndarray,
    settings: SelfLearning,
    seeds: Sequence[int],
    device: str,
    progress: bool,
) -> Iterable[Proxy]:
    pairs = self_learning.first_dictionary(source, target, settings)
    for seed in bar(progress, seeds, "seeds"):
        grown = self_learning.grow(source, target, pairs, settings, seed)
        history = {"objective": grown.objective, "kept": grown.kept}
        yield grown.seed, grown.mapping, history, grown.mappings


WAYS: Mapping[str, tuple[type, Callable[..., Iterable[Proxy]]]] = {
    "adversarial": (Adversarial, _play),
    "self-learning": (SelfLearning, _grow),
}
"""Name of a way to its settings and to what learns a proxy for every seed."""


def best(alignments: Sequence[Alignment]) -> Alignment:
    """The alignment with the highest criterion, which knows no dictionary.

    Raises:
        ValueError: if there is none.
    """
    if not alignments:
        raise ValueError("expected at least one alignment")
    return max(alignments, key=lambda alignment: alignment.criterion)


def supervised(source: np.ndarray, target: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The mapping of someone who knows pairs: what no other way should beat by far.

    Args:
        source, target: (words, dims) each.
        pairs: (pairs, 2) of a source and a target index.

    Returns:
        (target dims, source dims) float32, see `procrustes`.
    """
    pairs = check_pairs(pairs, len(source), len(target))
    return procrustes(source[pairs[:, 0]], target[pairs[:, 1]])
