"""Do the distances in a space of words follow people's judgements?

The test of Chung and Glass 2018 (word similarity), and what the other tests of spaces
share with it. Taught in chapter `embeddings`.
"""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from serlib.embeddings.space import Space
from serlib.metrics import Interval, Measure, bootstrap

logger = logging.getLogger(__name__)

SHIPPED = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
"""Judgements that come with gensim: Finkelstein et al. 2002, of relatedness; Hill et
al. 2015, of likeness.
"""

SAMPLES = 1_000
"""Resamples behind an interval of a correlation."""

TEST_SAMPLES = 10_000
"""Resamples behind a p-value, so that it can be small enough for one of many."""

CHUNK = 1 << 23
"""Most numbers that a table of cosines or weights has at a time."""

MEAN = Measure("mean", np.asarray, lambda sums: sums[..., 0] / sums[..., 1])
"""Of sums of values and of ones."""

UNDEFINED = Interval(math.nan, math.nan, math.nan)


class WordPair(NamedTuple):
    """How alike people find two words."""

    first: str
    second: str
    score: float


def word_pairs(source: str | Path) -> list[WordPair]:
    """Read people's judgements of word pairs.

    Args:
        source: `wordsim353`, `simlex999`, or a file of two words and a score per line,
            tabs or commas between; lines that begin with `#`, and a heading, are
            skipped.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line is something else; the message names it.
    """
    path = Path(source)
    if str(source) in SHIPPED:
        from gensim.test.utils import datapath

        path = Path(datapath(SHIPPED[str(source)]))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected {', '.join(SHIPPED)} or a file of word pairs, found no"
            " file"
        )
    found: list[WordPair] = []
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [one.strip() for one in line.split("\t" if "\t" in line else ",")]
        try:
            first, second, score = fields
            if not math.isfinite(value := float(score)):
                raise ValueError
        except ValueError as error:
            if number == 1 and len(fields) == 3:
                continue
            raise ValueError(
                f"{path}:{number}: expected two words and a score, tabs or commas"
                f" between, found {line[:60]!r}"
            ) from error
        found.append(WordPair(first, second, value))
    return found


def nearest(space: Space, word: str, k: int = 10) -> list[tuple[str, float]]:
    """Return the words with the highest cosine to one, and it, the highest first.

    Raises:
        ValueError: if the space does not have the word; the message names words that
            are spelt like it.
    """
    if word not in space:
        like = difflib.get_close_matches(word, space.words)
        hint = f"; did you mean {', '.join(like)}?" if like else ""
        raise ValueError(f"the space has no vector for {word!r}{hint}")
    unit = unit_rows(space)
    own = space.numbers([word])[0]
    cosines = unit @ unit[own]
    order = np.argsort(-cosines, kind="stable")
    return [(space.words[n], float(cosines[n])) for n in order if n != own][:k]


def unit_rows(space: Space) -> np.ndarray:
    """Return the vectors divided by their lengths, (words, dims), so that products are
    cosines; a vector of zeros stays as it is, and has cosine 0 with all.

    Raises:
        ValueError: if a number is not finite.
    """
    finite = np.isfinite(space.rows).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the vector of {space.words[finite.argmin()]!r}: expected finite numbers,"
            " found NaN or infinity"
        )
    lengths = np.linalg.norm(space.rows, axis=1, keepdims=True)
    return space.rows / np.where(lengths > 0, lengths, 1)


def check_apart(unit: np.ndarray) -> None:
    """Raise ValueError if all vectors are equal, so that none is near."""
    if len(unit) and (unit == unit[0]).all():
        raise ValueError("all vectors are equal: none is nearer than another")


class Similarity(NamedTuple):
    """Spearman's correlation of cosines and people's scores.

    Attributes:
        correlation: with its interval over pairs; nan where it is not defined.
        pairs: how many were used.
        unknown: those of which the space lacks a word.
    """

    correlation: Interval
    pairs: int
    unknown: tuple[WordPair, ...]


def similarity(space: Space, pairs: Sequence[WordPair], seed: int = 0) -> Similarity:
    """Ask whether words that people find alike are near each other, whatever the case
    of their letters.

    Fewer than three pairs have no correlation, nor have cosines that are all equal: it
    is nan, and the log says why.

    Args:
        space: whose cosines.
        pairs: from `word_pairs`.
        seed: of the resamples.
    """
    known, unknown = known_pairs([space], pairs)
    columns = np.stack([_scores(known), cosines(space, known)], axis=1)
    estimate, resampled = correlations(columns, np.arange(len(known))[:, None], seed)
    return Similarity(
        interval(estimate[0, 1], resampled[:, 0, 1]), len(known), tuple(unknown)
    )


class Difference(NamedTuple):
    """Of two spaces' correlations with people's scores.

    Attributes:
        difference: first minus second, with its interval over pairs.
        p: two-sided, from the resamples.
        pairs: how many both spaces know, and were used.
    """

    difference: Interval
    p: float
    pairs: int


def compare(
    first: Space, second: Space, pairs: Sequence[WordPair], seed: int = 0
) -> Difference:
    """Compare the `similarity` of two spaces on the pairs that both know, by a paired
    bootstrap: each resample draws the same pairs for both.
    """
    known, _ = known_pairs([first, second], pairs)
    columns = [_scores(known), cosines(first, known), cosines(second, known)]
    members = np.arange(len(known))[:, None]
    estimate, resampled = correlations(
        np.stack(columns, axis=1), members, seed, TEST_SAMPLES
    )
    values = resampled[:, 0, 1] - resampled[:, 0, 2]
    difference = interval(estimate[0, 1] - estimate[0, 2], values)
    tail = min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0))
    p = min(1.0, 2 * (tail + 1) / (TEST_SAMPLES + 1))
    p = math.nan if math.isnan(difference.estimate) else float(p)
    return Difference(difference, p, len(known))


def lower_case(space: Space) -> dict[str, int]:
    """Return words in lower case to their rows; of two the more frequent counts."""
    rows: dict[str, int] = {}
    for number, word in enumerate(space):
        rows.setdefault(word.lower(), number)
    return rows


def known_pairs(
    spaces: Sequence[Space], pairs: Iterable[tuple]
) -> tuple[list[tuple], list[tuple]]:
    """Return those of some pairs of words that all spaces know, whatever the case of
    their letters, and the others.
    """
    rows = [lower_case(space) for space in spaces]
    known, unknown = [], []
    for pair in pairs:
        there = all(word.lower() in one for one in rows for word in pair[:2])
        (known if there else unknown).append(pair)
    return known, unknown


def numbers_of(space: Space, pairs: Sequence[tuple]) -> np.ndarray:
    """Return the rows of pairs of words, in any case, (pairs, 2)."""
    rows = lower_case(space)
    found = [(rows[pair[0].lower()], rows[pair[1].lower()]) for pair in pairs]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def cosines(space: Space, pairs: Sequence[tuple]) -> np.ndarray:
    """Return the cosine of each pair of words, in any case, (pairs,) float64."""
    first, second = unit_rows(space)[numbers_of(space, pairs)].swapaxes(0, 1)
    return np.einsum("pd,pd->p", first, second, dtype=np.float64)


def mean_of(
    values: np.ndarray, seed: int, groups: Sequence[str] | None = None
) -> Interval:
    """Return the mean with its interval over the items, or over groups of them; nan if
    there is none.
    """
    if not len(values) or np.isnan(values).any():
        return UNDEFINED
    statistics = np.stack([values, np.ones(len(values))], axis=1)
    return bootstrap(MEAN, statistics, groups=groups, seed=seed)


def chunks(count: int, width: int) -> Iterator[slice]:
    """Cut so many rows of a table, `width` wide, into pieces of at most `CHUNK`
    numbers.
    """
    step = max(1, CHUNK // max(width, 1))
    return (slice(start, start + step) for start in range(0, count, step))


def interval(estimate: float, values: np.ndarray) -> Interval:
    """Return the interval of resampled values, those left out that are not defined;
    nan if the estimate is not.
    """
    values = values[np.isfinite(values)]
    if not math.isfinite(estimate) or not len(values):
        return UNDEFINED
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high), float(estimate))


def correlations(
    columns: np.ndarray, members: np.ndarray, seed: int, samples: int = SAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """Return Spearman's correlations between columns, and those of resamples.

    Args:
        columns: (pairs, k)
        members: (pairs, m), numbers of what is drawn with replacement: the pair's own,
            or those of its two words; it counts as often as the product of theirs.

    Returns:
        (k, k) and (samples, k, k); nan for under three pairs or a constant column.
    """
    pairs, k = columns.shape
    reason = f"only {pairs} pairs of words are known" if pairs < 3 else ""
    if pairs and (columns == columns[0]).all(axis=0).any():
        reason = reason or f"all {pairs} cosines, or scores, are equal"
    if reason:
        logger.warning("no correlation: %s", reason)
        return np.full((k, k), math.nan), np.full((samples, k, k), math.nan)
    rng, drawn = np.random.default_rng(seed), int(members.max()) + 1
    resampled = np.empty((samples, k, k))
    for rows in chunks(samples, 2 * k * pairs + drawn):
        size = len(resampled[rows])
        counts = rng.multinomial(drawn, np.full(drawn, 1 / drawn), size=size)
        resampled[rows] = _spearman(columns, counts[:, members].prod(axis=2))
    return _spearman(columns, np.ones((1, pairs)))[0], resampled


def _scores(pairs: Sequence[WordPair]) -> np.ndarray:
    return np.array([pair.score for pair in pairs], dtype=np.float64)


def _spearman(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's correlations where each row counts as often as its weight says.

    Args:
        columns: (pairs, k)
        weights: (samples, pairs), whole numbers.

    Returns:
        (samples, k, k)
    """
    ranks = np.empty((*weights.shape, columns.shape[1]))
    for number, column in enumerate(columns.T):
        order = np.argsort(column, kind="stable")
        starts = np.flatnonzero(np.diff(column[order], prepend=-np.inf))
        tied = np.add.reduceat(weights[:, order], starts, axis=1)
        middle = np.cumsum(tied, axis=1) - tied / 2  # rank of those that are equal
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(column)))
        ranks[:, order, number] = middle[:, group]
    total = weights.sum(axis=1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ranks -= (np.einsum("sp,spk->sk", weights, ranks) / total)[:, None]
        products = np.einsum("spi,spj->sij", ranks * weights[..., None], ranks)
        scale = np.sqrt(np.einsum("sii->si", products))
        return products / (scale[:, :, None] * scale[:, None, :])
