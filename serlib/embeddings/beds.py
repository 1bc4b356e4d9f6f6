"""Pairs of spaces of which it is known which words belong together, to try alignments
on.

Used for tzirakis2021; taught in chapter `alignment`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from serlib.embeddings.mapping import check_pairs, check_rows, precision, procrustes

Sentence = TypeVar("Sentence")
FINDABLE = 0.05
"""Share of words that a supervised mapping must find before another can fail to."""

Bed = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Source rows, target rows, and pairs of a source and a target index."""


def rotated(
    rows: np.ndarray,
    noise: float,
    seed: int,
    shuffle: int = 100,
    mirrored: bool | None = None,
) -> Bed:
    """Make a target of the same words: rotated, disturbed, in a slightly other order.

    The rotation is drawn from all orthogonal matrices: alignments start from the
    identity, which must be worth nothing. The order changes as frequencies do between
    two corpora: a word moves by at most `shuffle` ranks, so its place tells no more
    than its frequency; with 0 none moves, and equal places mean equal words.

    Args:
        rows: (words, dims), the most frequent word first; they become the source.
        noise: normal, its deviation in units of the rows' root mean square.
        seed: of rotation, noise and order.
        shuffle: ranks that a word may move.
        mirrored: whether the rotation is a mirror image too (its determinant is -1);
            None leaves it to chance.

    Returns:
        source and target rows, (words, dims) float32 each, and (words, 2) pairs.
    """
    check_rows(rows, "rows")
    draw = np.random.default_rng(seed)
    rotation, triangle = np.linalg.qr(draw.standard_normal((rows.shape[1],) * 2))
    rotation *= np.sign(np.diag(triangle))  # uniform over orthogonal matrices
    if mirrored is not None and mirrored != (np.linalg.det(rotation) < 0):
        rotation[0] *= -1
    spread = noise * np.sqrt(np.mean(np.square(rows)))
    target = rows @ rotation.T + spread * draw.standard_normal(rows.shape)
    order = np.argsort(np.arange(len(rows)) + draw.uniform(0, shuffle, len(rows)))
    pairs = np.stack([order, np.arange(len(rows))], axis=1)
    return (
        rows.astype(np.float32),
        target[order].astype(np.float32),
        pairs[np.argsort(order)],
    )


def split_halves(
    sentences: Sequence[Sentence], seed: int
) -> tuple[list[Sentence], list[Sentence]]:
    """Deal sentences to two halves by chance, to learn a space from each."""
    order = np.random.default_rng(seed).permutation(len(sentences))
    half = len(sentences) // 2
    first, second = sorted(order[:half]), sorted(order[half:])
    return [sentences[i] for i in first], [sentences[i] for i in second]


def common(space_a: Mapping[str, np.ndarray], space_b: Mapping[str, np.ndarray]) -> Bed:
    """Pair the words that two spaces share.

    Args:
        space_a, space_b: word to vector, the most frequent word first.

    Returns:
        all rows of both, in the order given, and (shared words, 2) pairs.

    Raises:
        ValueError: if no word is shared, or a space is empty.
    """
    place = {word: number for number, word in enumerate(space_b)}
    pairs = [(i, place[word]) for i, word in enumerate(space_a) if word in place]
    if not pairs:
        raise ValueError(
            f"none of {len(space_a)} words is among the other space's {len(space_b)}"
        )
    source, target = (
        np.stack(list(space.values())).astype(np.float32)
        for space in (space_a, space_b)
    )
    return source, target, np.array(pairs)


@dataclass(frozen=True)
class Success:
    """Precision at 1 of a mapping on words held out, beside that of Procrustes
    fitted to the pairs of all other words.
    """

    precision: float
    supervised: float

    @property
    def succeeded(self) -> bool | None:
        """Above half of what supervision reaches; None where supervision itself finds
        fewer than `FINDABLE`, so that there is no mapping to be found.
        """
        findable = self.supervised >= FINDABLE
        return self.precision > self.supervised / 2 if findable else None


def success(
    mapping: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    pairs: np.ndarray,
    held_out: float = 0.3,
    seed: int = 0,
) -> Success:
    """Tell whether a mapping was found, which is far from failure or hardly better.

    Args:
        mapping: (target dims, source dims), learnt without pairs.
        source, target, pairs: a bed.
        held_out: share of the source words to test on.
        seed: of the choice of words.

    Raises:
        ValueError: if no word is left to test or to fit on.
    """
    pairs = check_pairs(pairs, len(source), len(target))
    words = np.random.default_rng(seed).permutation(np.unique(pairs[:, 0]))
    count = round(held_out * len(words))
    if not 0 < count < len(words):
        raise ValueError(
            f"{held_out} of {len(words)} words to test on leaves no word on one side"
        )
    test = np.isin(pairs[:, 0], words[:count])
    fitted = procrustes(source[pairs[~test, 0]], target[pairs[~test, 1]])
    scores = [
        precision(source @ w.T, target, pairs[test], at=(1,))[0][1]
        for w in (mapping, fitted)
    ]
    return Success(*scores)
