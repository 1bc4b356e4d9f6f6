"""A mapping learnt from nothing but how similar words are within each space.

Artetxe, Labaka and Agirre 2018, "A robust self-learning method for fully unsupervised
cross-lingual mappings of word embeddings", with an orthogonal mapping: the second way
beside the game of tzirakis2021; taught in chapter `alignment`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from serlib.embeddings.mapping import check_pairs, check_spaces, normalise, procrustes

POOL = 1 << 22
"""Similarities at a time, and numbers that decide which of them are dropped."""


@dataclass(frozen=True)
class SelfLearning:
    """How a dictionary grows; the defaults are Artetxe et al.'s.

    Attributes:
        initial: most frequent words whose similarities are compared at the start.
        frequent: most frequent words that are paired afterwards.
        csls_k: neighbours that CSLS looks at.
        keep: share of the similarities that is not dropped at first.
        growth: of that share, whenever the objective has stalled, until it is 1.
        stall: iterations without a gain of `threshold`.
        threshold: in mean cosine.
    """

    initial: int = 4_000
    frequent: int = 20_000
    csls_k: int = 10
    keep: float = 0.1
    growth: float = 2.0
    stall: int = 50
    threshold: float = 1e-6


QUICK = SelfLearning(initial=2_000, frequent=2_000, stall=10, threshold=1e-4)
"""For a few thousand words, in seconds: fewer words, less patience."""


@dataclass(frozen=True)
class Growth:
    """What one seed's self-learning came to.

    Attributes:
        seed: of what was dropped.
        mapping: (target dims, source dims), the last.
        objective: (iterations,) mean cosine between words and their nearest, over both
            directions.
        kept: (iterations,) share of the similarities that was not dropped.
        mappings: (stages + 1, target dims, source dims): from the first dictionary, and
            at the end of each stage of `kept`.
    """

    seed: int
    mapping: np.ndarray
    objective: np.ndarray
    kept: np.ndarray
    mappings: np.ndarray


def first_dictionary(
    source: np.ndarray, target: np.ndarray, settings: SelfLearning = QUICK
) -> np.ndarray:
    """Pair words whose similarities to all words of their own space look alike.

    Row i of the square root of X X^T, sorted, says how similar word i is to others,
    whoever they are: it can be compared between spaces (Artetxe et al. 2018, 3.2).

    Returns:
        (2 words, 2) of a source and a target index: the best of each word, both ways.
    """
    words = min(settings.initial, len(source), len(target))
    source, target = (
        torch.from_numpy(_profile(rows[:words])) for rows in (source, target)
    )
    similar = source @ target.T
    k = min(settings.csls_k, words)
    there = similar.topk(k, dim=1).values.mean(1, keepdim=True)
    back = similar.topk(k, dim=0).values.mean(0)
    similar.sub_(there / 2).sub_(back / 2)
    return _both_ways(similar.argmax(1).numpy(), similar.argmax(0).numpy())


def _profile(rows: np.ndarray) -> np.ndarray:
    """Each word's sorted similarities: (words, words) unit rows."""
    covariance = rows.T.astype(np.float64) @ rows
    values, vectors = np.linalg.eigh(covariance)
    real = values > 1e-10 * values[-1]
    root = rows @ (vectors[:, real] / np.sqrt(values[real])).astype(np.float32)
    similar = root @ (vectors[:, real].T @ rows.T).astype(np.float32)
    return normalise(np.sort(similar, axis=1))


def _both_ways(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    forward = np.stack([np.arange(len(there)), there], axis=1)
    return np.concatenate([forward, np.stack([back, np.arange(len(back))], axis=1)])


def grow(
    source: np.ndarray,
    target: np.ndarray,
    pairs: np.ndarray,
    settings: SelfLearning = QUICK,
    seed: int = 0,
) -> Growth:
    """Fit a mapping to a dictionary, a dictionary to the mapping, and so on.

    At first most similarities are dropped by chance, so that poor pairs do not last
    (Artetxe et al. 2018, section 3.3).

    Args:
        source, target: (words, dims) each, the most frequent word first, normalised.
        pairs: of a source and a target index, to start from.
        settings: see `SelfLearning`.
        seed: of what is dropped.

    Raises:
        ValueError: if the spaces do not fit (see `check_spaces`), or a pair does not
            exist.
    """
    check_spaces(source, target)
    pairs = check_pairs(pairs, len(source), len(target))
    mapping = procrustes(source[pairs[:, 0]], target[pairs[:, 1]])
    source, target = (
        np.asarray(rows[: settings.frequent], dtype=np.float32)
        for rows in (source, target)
    )
    dropping = Dropping(settings.keep, seed)
    other = normalize(torch.from_numpy(target))
    objectives, kept, mappings = [], [], [mapping]
    best, gained = -1.0, 0
    while True:
        mapped = normalize(torch.from_numpy(source @ mapping.T))
        pairs, objective = _pair(mapped, other, settings.csls_k, dropping)
        objectives.append(objective)
        kept.append(dropping.keep)
        mapping = procrustes(source[pairs[:, 0]], target[pairs[:, 1]])
        if objective >= best + settings.threshold:
            best, gained = objective, len(kept)
        elif len(kept) - gained >= settings.stall:
            mappings.append(mapping)
            if dropping.keep == 1:
                break
            dropping.weaken(settings.growth)
            gained = len(kept)
    return Growth(
        seed, mapping, np.array(objectives), np.array(kept), np.stack(mappings)
    )


class Dropping:
    """Which similarities count: a large pool of penalties, 0 for a share `keep` of
    them, from which every block takes a stretch at random. Drawing anew for each
    similarity would cost more than all the rest.
    """

    def __init__(self, keep: float, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.chances = torch.rand(2 * POOL, generator=self.generator)
        self.keep = keep
        self.weaken(1.0)

    def weaken(self, growth: float) -> None:
        """Keep more, at most all."""
        self.keep = min(1.0, self.keep * growth)
        self.pool = (self.chances >= self.keep) * -9.0

    def add_to(self, block: Tensor) -> None:
        if self.keep < 1:
            room = len(self.pool) - block.numel()
            start = int(torch.randint(room, (), generator=self.generator))
            block += self.pool[start : start + block.numel()].view_as(block)


def _pair(
    mapped: Tensor, target: Tensor, csls_k: int, dropping: Dropping
) -> tuple[np.ndarray, float]:
    """Both directions' dictionaries by CSLS, and the mean of the largest cosines."""
    nearest = [
        torch.cat([block.topk(min(csls_k, block.shape[1])).values for block in blocks])
        for blocks in (_cosines(mapped, target), _cosines(target, mapped))
    ]  # (words, csls_k) each
    there, back = (
        np.concatenate([_choose(block, top.mean(1), dropping) for block in blocks])
        for blocks, top in (
            (_cosines(mapped, target), nearest[1]),
            (_cosines(target, mapped), nearest[0]),
        )
    )
    objective = sum(float(top[:, 0].mean()) for top in nearest) / 2
    return _both_ways(there, back), objective


def _cosines(queries: Tensor, keys: Tensor) -> Iterator[Tensor]:
    for rows in queries.split(max(1, POOL // len(keys))):
        yield rows @ keys.T


def _choose(cosines: Tensor, hubness: Tensor, dropping: Dropping) -> np.ndarray:
    """The best column of each row by CSLS, among those that were not dropped."""
    cosines.sub_(hubness / 2)
    dropping.add_to(cosines)
    return cosines.numpy().argmax(axis=1)
