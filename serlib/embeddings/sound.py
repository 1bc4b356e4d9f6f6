"""Do the distances in a space of words follow sound or meaning?

Vectors learnt from speech may know what words sound like: homophones are one sound with
two meanings, and phones have an edit distance. Taught in chapter `embeddings`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from serlib.embeddings.pronunciation import Phones, edit_distances, without_stress
from serlib.embeddings.similarity import (
    SAMPLES,
    UNDEFINED,
    check_apart,
    chunks,
    correlations,
    cosines,
    interval,
    known_pairs,
    lower_case,
    mean_of,
    numbers_of,
    unit_rows,
)
from serlib.embeddings.space import Space
from serlib.metrics import Interval

logger = logging.getLogger(__name__)


class Homophone(NamedTuple):
    """Two words that sound the same.

    Attributes:
        percentile: of their cosine among those of all pairs of frequent words.
        rank: of one among the neighbours of the other, 1 for the nearest; mean of both
            directions.
        reference: `percentile` in the reference space; nan without one.
    """

    first: str
    second: str
    percentile: float
    rank: float
    reference: float


class HomophoneTest(NamedTuple):
    """Whether words that sound the same are near. If vectors followed sound alone,
    percentiles were 100 and ranks 1; if meaning alone, percentiles were as in the
    reference, a space learnt from text.

    Attributes:
        pairs: one by one, by falling percentile.
        percentile: mean over pairs, with its interval over them.
        rank: median over pairs, with its interval over them.
        reference: as `percentile`, in the reference.
        difference: mean of percentile minus reference, pair by pair.
        unknown: pairs of which a space lacks a word.
    """

    pairs: tuple[Homophone, ...]
    percentile: Interval
    rank: Interval
    reference: Interval
    difference: Interval
    unknown: tuple[tuple[str, str], ...]


def homophone_test(
    space: Space,
    homophones: Sequence[tuple[str, str]],
    reference: Space | None = None,
    frequent: int = 2000,
    seed: int = 0,
) -> HomophoneTest:
    """Measure how near words are that sound the same.

    Args:
        space: whose cosines.
        homophones: pairs, from `pronunciation.homophones` for instance.
        reference: a space in which only meaning counts.
        frequent: the first so many words of `space` that `reference` has too; their
            pairs are what percentiles are among.
        seed: of the resamples.

    Returns:
        nan for all if no pair is known, which the log says.

    Raises:
        ValueError: if there are fewer than two frequent words, or all of them have the
            same vector.
    """
    spaces = [space] if reference is None else [space, reference]
    known, unknown = known_pairs(spaces, homophones)
    rows = [lower_case(one) for one in spaces]
    shared = [word for word in rows[0] if all(word in one for one in rows)][:frequent]
    if len(shared) < 2:
        raise ValueError(f"expected two words or more in common, found {len(shared)}")
    percentiles = [_percentiles(one, known, shared) for one in spaces]
    text = percentiles[-1] if reference is not None else np.full(len(known), math.nan)
    ranks = _ranks(space, known)
    told = zip(known, percentiles[0], ranks, text, strict=True)
    pairs = [Homophone(*pair[:2], *map(float, numbers)) for pair, *numbers in told]
    if not known:
        logger.warning("none of %d pairs of homophones is known", len(homophones))
    return HomophoneTest(
        tuple(sorted(pairs, key=lambda pair: -pair.percentile)),
        mean_of(percentiles[0], seed),
        _median(ranks, seed),
        mean_of(text, seed),
        mean_of(percentiles[0] - text, seed),
        tuple(unknown),
    )


class SoundAndMeaning(NamedTuple):
    """What cosines follow. All are Spearman's correlations over pairs of words, with
    intervals over words; nan where not defined.

    Attributes:
        sound: of cosine and likeness of sound, 1 minus the edit distance of phones.
        meaning: of cosine and cosine in the reference.
        between: of likeness of sound and cosine in the reference.
        sound_given_meaning, meaning_given_sound: the first two, each after what the
            other explains is taken out (partial correlation).
        words, pairs: how many.
    """

    sound: Interval
    meaning: Interval
    between: Interval
    sound_given_meaning: Interval
    meaning_given_sound: Interval
    words: int
    pairs: int


def sound_and_meaning(
    space: Space,
    pronunciations: Mapping[str, Sequence[Phones]],
    reference: Space,
    pairs: int = 20_000,
    seed: int = 0,
) -> SoundAndMeaning:
    """Ask whether words are near because they sound alike or because they mean the
    like.

    Args:
        space: whose cosines.
        pronunciations: of words in any case; the first of each counts, without stress.
        reference: a space in which only meaning counts.
        pairs: pairs to draw from the words that all three know; all of them if there
            are no more.
        seed: of that and of the resamples.
    """
    spoken = {word.lower(): several[0] for word, several in pronunciations.items()}
    ours, theirs = lower_case(space), lower_case(reference)
    words = [word for word in ours if word in theirs and word in spoken]
    members = _draw_pairs(len(words), pairs, np.random.default_rng(seed))
    phones = [without_stress(spoken[word]) for word in words]
    sides = [[phones[n] for n in side] for side in members.T]
    likeness = 1 - edit_distances(*sides)
    drawn = [(words[a], words[b]) for a, b in members]
    columns = [cosines(space, drawn), likeness, cosines(reference, drawn)]
    estimate, resampled = correlations(np.stack(columns, axis=1), members, seed)
    every = np.concatenate([estimate[None], resampled])
    sound, meaning, between = every[:, 0, 1], every[:, 0, 2], every[:, 1, 2]
    found = [
        sound,
        meaning,
        between,
        _partial(sound, meaning, between),
        _partial(meaning, sound, between),
    ]
    intervals = (interval(values[0], values[1:]) for values in found)
    return SoundAndMeaning(*intervals, len(words), len(members))


def _percentiles(
    space: Space, pairs: Sequence[tuple], frequent: Sequence[str]
) -> np.ndarray:
    """Of the pairs' cosines among those of all pairs of the frequent words, equal ones
    counting half; 0 to 100.
    """
    rows = lower_case(space)
    unit = unit_rows(space)[[rows[word] for word in frequent]]
    check_apart(unit)
    every = np.sort((unit @ unit.T)[np.triu_indices(len(unit), 1)])
    found = cosines(space, pairs).astype(np.float32)
    ends = [np.searchsorted(every, found, side) for side in ("left", "right")]
    return 100 * np.mean(ends, axis=0) / len(every)


def _ranks(space: Space, pairs: Sequence[tuple]) -> np.ndarray:
    """Of one word among the other's neighbours, mean of both directions."""
    unit, numbers = unit_rows(space), numbers_of(space, pairs)
    ranks = np.zeros(numbers.shape)
    for rows in chunks(len(numbers), 2 * len(unit)):
        for side in (0, 1):
            own, other = numbers[rows, side], numbers[rows, 1 - side]
            table = unit[own] @ unit.T
            picked = np.take_along_axis(table, other[:, None], axis=1)
            np.put_along_axis(table, own[:, None], -np.inf, axis=1)
            ranks[rows, side] = 1 + (table > picked).sum(axis=1)
    return ranks.mean(axis=1)


def _median(values: np.ndarray, seed: int) -> Interval:
    if not len(values):
        return UNDEFINED
    draws = np.random.default_rng(seed).integers(
        len(values), size=(SAMPLES, len(values))
    )
    return interval(float(np.median(values)), np.median(values[draws], axis=1))


def _draw_pairs(words: int, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """So many different pairs of different words, (pairs, 2), or all that there are."""
    total = words * (words - 1) // 2
    chosen = np.arange(total)
    if total > pairs:
        chosen = np.sort(rng.choice(total, pairs, replace=False))
    first = np.arange(words)
    starts = first * words - first * (first + 1) // 2  # of each first word's pairs
    a = np.searchsorted(starts, chosen, side="right") - 1 if total else chosen
    return np.stack([a, chosen - starts[a] + a + 1], axis=1)


def _partial(xy: np.ndarray, xz: np.ndarray, yz: np.ndarray) -> np.ndarray:
    """Correlation of x and y without what z explains of either."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
