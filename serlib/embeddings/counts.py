"""Word vectors without a net: what occurs near what, counted and decomposed.

Sources: Levy and Goldberg 2014, "Neural word embedding as implicit matrix
factorization", and Levy et al. 2015, "Improving distributional similarity with lessons
learned from word embeddings". What Word2Vec has to be better than; taught in chapter
`embeddings`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from serlib.embeddings.space import Space
from serlib.features.text import SPECIAL, Vocabulary

logger = logging.getLogger(__name__)


class Counts(NamedTuple):
    """How often words occur near each other.

    Attributes:
        words: the most frequent first, those of equal frequency in alphabetical order.
        matrix: (words, words), symmetric: how often the column's word lies within the
            window around the row's.
    """

    words: tuple[str, ...]
    matrix: sparse.csr_array


def cooccurrences(
    texts: Iterable[Iterable[str]], window: int = 5, min_count: int = 2
) -> Counts:
    """Count which words lie within a window of each other in the same text.

    Rarer words are taken out first, as Word2Vec does: windows reach across them.

    Args:
        texts: the tokens of each.
        window: most words that one lies to the left or right of the other.
        min_count: words that occur less often are left out.

    Raises:
        ValueError: if `window` is not positive.
    """
    if window < 1:
        raise ValueError(f"expected a window of at least one word, got {window}")
    texts = [list(tokens) for tokens in texts]
    vocabulary = Vocabulary.build(texts, min_count)
    words = vocabulary.tokens[len(SPECIAL) :]
    encoded = [vocabulary.encode(tokens) for tokens in texts]
    tokens = np.concatenate([np.zeros(0, dtype=np.int64), *encoded]) - len(SPECIAL)
    text = np.repeat(np.arange(len(texts)), [len(one) for one in encoded])
    text, tokens = text[tokens >= 0], tokens[tokens >= 0]
    shape = (len(words), len(words))
    matrix = sparse.csr_array(shape, dtype=np.float64)
    for distance in range(1, window + 1):
        near = text[:-distance] == text[distance:]
        pairs = tokens[:-distance][near], tokens[distance:][near]
        matrix += sparse.csr_array((np.ones(len(pairs[0])), pairs), shape=shape)
    return Counts(words, (matrix + matrix.T).tocsr())


def ppmi(
    counts: sparse.sparray, smoothing: float = 0.75, shift: float = 1.0
) -> sparse.csr_array:
    """Positive pointwise mutual information: how much more often than by chance two
    words occur together (Levy et al. 2015, section 3).

    max(log(#(w, c) / #(w) / P(c)) - log(shift), 0) with P(c) proportional to
    #(c)^smoothing.

    Args:
        counts: (words, contexts), how often each occurs near each.
        smoothing: below 1, rare contexts count for less; 1 for none.
        shift: k of the shifted PPMI, which Word2Vec with k negative samples comes close
            to; 1 for none.

    Returns:
        (words, contexts), no entry where it is zero.

    Raises:
        ValueError: if `shift` is not positive.
    """
    if shift <= 0:
        raise ValueError(f"expected a positive shift, got {shift}")
    found = counts.tocoo()
    totals = counts.sum(axis=1)
    contexts = counts.sum(axis=0) ** smoothing
    chance = totals[found.row] * contexts[found.col] / contexts.sum()
    values = np.log(found.data / chance) - np.log(shift)
    keep = values > 0
    entries = values[keep], (found.row[keep], found.col[keep])
    return sparse.csr_array(entries, shape=counts.shape)


def svd_vectors(
    texts: Iterable[Iterable[str]],
    dims: int,
    *,
    window: int = 5,
    min_count: int = 2,
    smoothing: float = 0.75,
    shift: float = 1.0,
    weighting: float = 0.5,
) -> Space:
    """Make word vectors of the largest singular values of the PPMI matrix.

    With the matrix U S V^T cut to `dims` dimensions, a word's vector is its row of
    U S^weighting (Levy et al. 2015, section 3.3). The same texts give the same vectors
    on one machine; the sign of each dimension is such that its largest entry is
    positive.

    Args:
        texts: the tokens of each.
        dims: numbers per vector.
        window, min_count: as in `cooccurrences`.
        smoothing, shift: as in `ppmi`.
        weighting: 0.5 does better than 1, by which the vectors' products come closest
            to the matrix.

    Returns:
        the vectors, the most frequent word first.

    Raises:
        ValueError: if there are not more words than `dims`, or no two of them occur
            together more often than by chance.
    """
    words, counts = cooccurrences(texts, window, min_count)
    if not 1 <= dims < len(words):
        raise ValueError(
            f"expected between 1 and {max(len(words) - 1, 0)} dimensions, fewer than"
            f" the {len(words)} words that occur at least {min_count} times; got {dims}"
        )
    matrix = ppmi(counts, smoothing, shift)
    if not matrix.nnz:
        raise ValueError(
            "no two words occur together more often than by chance; expected more text"
        )
    start = np.random.default_rng(0).normal(size=len(words))
    left, values, _ = svds(matrix, k=dims, v0=start)
    left, values = left[:, ::-1], np.maximum(values[::-1], 0.0)
    largest = np.abs(left).argmax(axis=0)
    left = left * np.where(left[largest, np.arange(dims)] < 0, -1.0, 1.0)
    logger.info("SVD: %d words, %d entries of the matrix", len(words), matrix.nnz)
    return Space(words, left * values**weighting)
