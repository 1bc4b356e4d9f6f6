"""Counting and decomposing, against literal loops."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from math import log

import numpy as np
import pytest
from scipy import sparse

from serlib.embeddings.counts import cooccurrences, ppmi, svd_vectors

DRAW = random.Random(0)
TEXTS = [[f"w{min(int(DRAW.expovariate(0.1)), 30)}" for _ in range(DRAW.randrange(12))] for _ in range(200)]


def literal_counts(texts: list[list[str]], window: int, min_count: int) -> dict[tuple[str, str], int]:
    total = Counter(word for text in texts for word in text)
    found: dict[tuple[str, str], int] = defaultdict(int)
    for text in texts:
        kept = [word for word in text if total[word] >= min_count]
        for i, word in enumerate(kept):
            for j, context in enumerate(kept):
                if i != j and abs(i - j) <= window:
                    found[word, context] += 1
    return found


@pytest.mark.parametrize(("window", "min_count"), [(1, 1), (3, 5), (50, 2)])
def test_counts(window: int, min_count: int) -> None:
    words, matrix = cooccurrences(TEXTS, window, min_count)
    total = Counter(word for text in TEXTS for word in text)
    assert words == tuple(sorted((w for w in total if total[w] >= min_count), key=lambda w: (-total[w], w)))
    expected = literal_counts(TEXTS, window, min_count)
    table = matrix.toarray()
    for i, word in enumerate(words):
        for j, context in enumerate(words):
            assert table[i, j] == expected.get((word, context), 0)


def test_ppmi() -> None:
    words, matrix = cooccurrences(TEXTS, 2, 3)
    counts = literal_counts(TEXTS, 2, 3)
    of_word = {w: sum(n for (one, _), n in counts.items() if one == w) for w in words}
    smooth = {w: of_word[w] ** 0.75 for w in words}
    for smoothing, shift in ((1.0, 1.0), (0.75, 1.0), (0.75, 3.0)):
        chance = smooth if smoothing < 1 else of_word
        found = ppmi(matrix, smoothing, shift)
        assert (found.data > 0).all()
        table = found.toarray()
        for i, w in enumerate(words):
            for j, c in enumerate(words):
                together = counts.get((w, c), 0)
                value = log(together / of_word[w] / (chance[c] / sum(chance.values())) / shift) if together else 0
                assert table[i, j] == pytest.approx(max(value, 0))
    rectangle = sparse.csr_array(np.array([[2.0, 0, 2], [0, 4, 0]]))
    np.testing.assert_allclose(ppmi(rectangle, 1).toarray(), np.log([[2, 1, 2], [1, 2, 1]]), atol=1e-12)


def test_vectors_are_those_of_a_whole_svd() -> None:
    for weighting in (0.0, 0.5, 1.0):
        space = svd_vectors(TEXTS, 6, window=4, min_count=3, shift=1.5, weighting=weighting)
        words, counts = cooccurrences(TEXTS, 4, 3)
        assert space.words == words and space.dims == 6
        left, values, _ = np.linalg.svd(ppmi(counts, 0.75, 1.5).toarray())
        expected = left[:, :6] * values[:6] ** weighting
        np.testing.assert_allclose(space.rows @ space.rows.T, expected @ expected.T, atol=1e-5)
        np.testing.assert_allclose(np.abs(space.rows), np.abs(expected), atol=1e-4)
        assert (space.rows[np.abs(space.rows).argmax(axis=0), range(6)] > 0).all()
        again = svd_vectors(iter(TEXTS), 6, window=4, min_count=3, shift=1.5, weighting=weighting)
        assert again.rows.tobytes() == space.rows.tobytes()


def test_what_cannot_be_decomposed() -> None:
    with pytest.raises(
        ValueError, match=r"expected between 1 and 1 dimensions, fewer than the 2 words .* 2 times; got 5"
    ):
        svd_vectors([["a", "b"], ["b", "a", "c"]], 5)
    with pytest.raises(ValueError, match="between 1 and 0 dimensions, fewer than the 0 words"):
        svd_vectors([], 5)
    with pytest.raises(ValueError, match="no two words occur together more often than by chance"):
        svd_vectors([["a"], ["a"], ["b"], ["b"], ["c"], ["c"]], 2)
    with pytest.raises(ValueError, match="a window of at least one word, got 0"):
        cooccurrences(TEXTS, 0)
    with pytest.raises(ValueError, match="a positive shift, got 0"):
        ppmi(cooccurrences(TEXTS).matrix, shift=0)
