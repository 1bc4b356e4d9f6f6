"""What lies near a word: others of its class, the same word by another voice, the
other end of a relation.

Taught in chapter `embeddings`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from serlib.embeddings.similarity import (
    UNDEFINED,
    check_apart,
    chunks,
    known_pairs,
    mean_of,
    numbers_of,
    unit_rows,
)
from serlib.embeddings.space import Space
from serlib.metrics import Interval

logger = logging.getLogger(__name__)


class Share(NamedTuple):
    """Of nearest neighbours that have something in common with a word.

    Attributes:
        share: mean over words, with its interval.
        chance: what neighbours drawn at random would give.
        count: words, or spoken segments, that it is a mean of.
    """

    share: Interval
    chance: float
    count: int


class Purity(NamedTuple):
    """Whether the neighbours of words are of their class.

    Attributes:
        words: of all words with a class.
        classes: of the words of each class.
    """

    words: Share
    classes: dict[str, Share]


def purity(
    space: Space, classes: Mapping[str, str], k: int = 10, seed: int = 0
) -> Purity:
    """Measure the share of a word's `k` nearest neighbours, by cosine and among words
    with a class, that are of its own class. Intervals are over words.

    Args:
        space: whose cosines.
        classes: word, in any case, to its class.
        k: neighbours to look at; in a class of fewer others no word can reach 1.
        seed: of the resamples.

    Raises:
        ValueError: if not more than `k` words have a class and a vector, or all have
            the same vector.
    """
    known = {word.lower(): label for word, label in reversed(list(classes.items()))}
    part = space.restricted(word for word in space if word.lower() in known)
    labels = np.array([known[word.lower()] for word in part], dtype=np.str_)
    shares, chance = _agreement(unit_rows(part), labels, np.arange(len(part)), k)
    each = {
        str(label): _share(shares[labels == label], chance[labels == label], seed)
        for label in np.unique(labels)
    }
    return Purity(_share(shares, chance, seed), each)


class VoiceShare(NamedTuple):
    """Whether a word spoken by other voices is near.

    Attributes:
        words: share of the neighbours that are the same word; interval over words.
        ceiling: the most that it could be, as some words are spoken by few others.
    """

    words: Share
    ceiling: float


def voices(
    rows: np.ndarray,
    labels: Sequence[str],
    speakers: Sequence[str],
    k: int = 10,
    seed: int = 0,
) -> VoiceShare:
    """Measure whether vectors of spoken words tell the word whoever speaks: the share
    of a segment's `k` nearest neighbours from other voices that are the same word.

    Segments whose word no other voice says are neighbours, but are not asked for.

    Args:
        rows: (segments, dims)
        labels: (segments,) the word of each.
        speakers: (segments,) the voice of each.
        k: neighbours to look at.
        seed: of the resamples.

    Raises:
        ValueError: if the lengths differ, there are fewer than two voices or words, a
            voice leaves not more than `k` segments of others, or all vectors are equal.
    """
    labels, speakers = np.asarray(labels), np.asarray(speakers)
    if not len(rows) == len(labels) == len(speakers):
        raise ValueError(
            "expected a label and a voice for each row, got"
            f" {len(rows)}, {len(labels)} and {len(speakers)}"
        )
    unit = unit_rows(Space(tuple(map(str, range(len(rows)))), rows))
    shares, chance = _agreement(unit, labels, speakers, k)
    asked = chance > 0
    shares, chance, labels = shares[asked], chance[asked], labels[asked]
    _, spoken, counts = np.unique(speakers, return_inverse=True, return_counts=True)
    same = chance * (len(rows) - counts[spoken][asked])  # by other voices
    ceiling = np.minimum(np.rint(same) / k, 1).mean() if asked.any() else math.nan
    return VoiceShare(_share(shares, chance, seed, labels), float(ceiling))


class Probes(NamedTuple):
    """Whether pairs of words in the same relation differ in the same way.

    Attributes:
        accuracy: of analogies by 3CosAdd; its interval is over pairs.
        without_offset: share of the pairs whose second word simply is the nearest
            neighbour of the first; accuracy below this owes nothing to the relation.
        consistency: mean cosine of the differences of two pairs; interval over pairs.
        shuffled: the same after the second words changed places.
        pairs: how many were used.
        unknown: those of which the space lacks a word.
    """

    accuracy: Interval
    without_offset: float
    consistency: Interval
    shuffled: float
    pairs: int
    unknown: tuple[tuple[str, str], ...]


def probes(
    space: Space,
    pairs: Iterable[tuple[str, str]],
    questions: int = 20_000,
    seed: int = 0,
) -> Probes:
    """Ask analogies: if walk becomes walked, what does cook become?

    3CosAdd (Mikolov et al. 2013, "Linguistic regularities"): the word whose vector is
    nearest to b_i - a_i + a_j, these three left out, should be b_j. Vectors have
    length 1.

    Args:
        space: whose vectors.
        pairs: (a, b) in one relation, such as a lemma and its past tense; a pair of one
            word is left out.
        questions: most to ask; if there are more, they are drawn.
        seed: of that and of the resamples.

    Returns:
        nan for all if the space has fewer than three of the pairs, which the log says.
    """
    pairs = [pair for pair in pairs if pair[0].lower() != pair[1].lower()]
    known, unknown = known_pairs([space], pairs)
    if len(known) < 3:
        logger.warning("analogies: the space has %d of the pairs, under 3", len(known))
        none = (UNDEFINED, math.nan, UNDEFINED, math.nan)
        return Probes(*none, len(known), tuple(unknown))
    rng = np.random.default_rng(seed)
    unit = unit_rows(space)
    a, b = numbers_of(space, known).T
    cycle = rng.permutation(len(known))
    other = np.empty_like(cycle)
    other[cycle] = np.roll(cycle, 1)  # another pair for each
    return Probes(
        mean_of(_analogies(unit, a, b, questions, rng), seed),
        float(np.mean(_best(unit, unit[a], a[:, None]) == b)),
        mean_of(_consistency(unit[b] - unit[a]), seed),
        float(_consistency(unit[b[other]] - unit[a]).mean()),
        len(known),
        tuple(unknown),
    )


def _agreement(
    unit: np.ndarray, labels: np.ndarray, apart: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Share of the k nearest rows that have the same label, and what rows drawn at
    random would give; rows that are equal in `apart` are no neighbours.
    """
    _, label, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    _, group, counts = np.unique(apart, return_inverse=True, return_counts=True)
    others = len(unit) - counts[group]
    if k < 1 or others.min(initial=len(unit)) <= k:
        raise ValueError(
            f"expected 1 <= k and more than k={k} possible neighbours of each of"
            f" {len(unit)}, found {others.min(initial=len(unit))}"
        )
    check_apart(unit)
    both = label * len(counts) + group
    _, cell, own = np.unique(both, return_inverse=True, return_counts=True)
    chance = (sizes[label] - own[cell]) / others
    shares = np.empty(len(unit))
    for rows in chunks(len(unit), len(unit)):
        table = unit[rows] @ unit.T
        table[group[rows, None] == group] = -np.inf
        near = np.argpartition(table, -k, axis=1)[:, -k:]
        shares[rows] = (label[near] == label[rows, None]).mean(axis=1)
    return shares, chance


def _share(
    shares: np.ndarray,
    chance: np.ndarray,
    seed: int,
    groups: np.ndarray | None = None,
) -> Share:
    mean = mean_of(shares, seed, groups)
    return Share(mean, float(chance.mean()) if len(chance) else math.nan, len(shares))


def _analogies(
    unit: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    questions: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Accuracy of the questions after each pair's second word; pairs that were not
    asked for are left out.
    """
    n = len(a)
    total = n * (n - 1)
    chosen = np.arange(total)
    if total > questions:
        chosen = np.sort(rng.choice(total, questions, replace=False))
    j, i = chosen // (n - 1), chosen % (n - 1)
    i += i >= j
    fair = (b[j] != a[i]) & (b[j] != b[i])
    i, j = i[fair], j[fair]
    targets = unit[b[i]] - unit[a[i]] + unit[a[j]]
    right = _best(unit, targets, np.stack([a[i], b[i], a[j]], axis=1)) == b[j]
    asked = np.bincount(j, minlength=n)
    return np.bincount(j, right, minlength=n)[asked > 0] / asked[asked > 0]


def _best(unit: np.ndarray, targets: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """The row with the largest product with each target, some rows left out."""
    found = np.empty(len(targets), dtype=np.int64)
    for rows in chunks(len(targets), len(unit)):
        table = targets[rows] @ unit.T
        np.put_along_axis(table, left_out[rows], -np.inf, axis=1)
        found[rows] = table.argmax(axis=1)
    return found


def _consistency(offsets: np.ndarray) -> np.ndarray:
    """Mean cosine of each offset with the others."""
    lengths = np.linalg.norm(offsets, axis=1, keepdims=True)
    unit = offsets / np.where(lengths > 0, lengths, 1)
    own = np.einsum("nd,nd->n", unit, unit)
    return (unit @ unit.sum(axis=0) - own) / (len(unit) - 1)
