"""Correlations with people's judgements, against SciPy's and literal resamples."""

from __future__ import annotations

import logging
import math
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from serlib.embeddings import Space, similarity
from serlib.embeddings.counts import svd_vectors
from serlib.embeddings.similarity import WordPair, chunks, compare, nearest, unit_rows, word_pairs

RNG = np.random.default_rng(0)
WORDS = tuple(f"Word{n}" for n in range(40))
SPACE = Space(WORDS, RNG.normal(size=(40, 5)))
PAIRS = [WordPair(f"word{a}", f"WORD{b}", float(score)) for a, b, score in RNG.integers(0, 44, size=(60, 3)) if a != b]


def cosine(space: Space, a: str, b: str) -> float:
    rows = {word.lower(): space[word].astype(float) for word in reversed(space.words)}
    x, y = rows[a.lower()], rows[b.lower()]
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


def known(space: Space) -> list[WordPair]:
    words = {word.lower() for word in space}
    return [pair for pair in PAIRS if pair.first.lower() in words and pair.second.lower() in words]


def test_people_and_cosines() -> None:
    found = similarity.similarity(SPACE, PAIRS)
    pairs = known(SPACE)
    cosines = [cosine(SPACE, *pair[:2]) for pair in pairs]
    expected = stats.spearmanr(cosines, [pair.score for pair in pairs]).statistic
    assert found.correlation.estimate == pytest.approx(expected)
    assert found.correlation.low < expected < found.correlation.high
    assert found.pairs == len(pairs) < len(PAIRS)
    assert [*found.unknown] == [pair for pair in PAIRS if pair not in pairs]
    assert similarity.similarity(SPACE, PAIRS) == found != similarity.similarity(SPACE, PAIRS, seed=1)
    perfect = [pair._replace(score=one) for pair, one in zip(pairs, cosines, strict=True)]
    assert similarity.similarity(SPACE, perfect).correlation == pytest.approx((1, 1, 1))


def test_weighted_ranks_are_those_of_repeated_rows() -> None:
    columns = RNG.integers(0, 6, size=(25, 3)).astype(float)  # with many ties
    weights = RNG.integers(0, 4, size=(7, 25))
    found = similarity._spearman(columns, weights)
    for one, weight in zip(found, weights, strict=True):
        expected = stats.spearmanr(np.repeat(columns, weight, axis=0)).statistic
        np.testing.assert_allclose(one, expected, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 500, 1 << 23])
def test_resamples_draw_words_with_all_their_pairs(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(similarity, "SAMPLES", 20)
    monkeypatch.setattr(similarity, "CHUNK", chunk)
    members = np.array([(a, b) for a in range(6) for b in range(a)])
    columns = RNG.normal(size=(15, 2))
    _, found = similarity.correlations(columns, members, seed=3)
    rng = np.random.default_rng(3)
    for one in found:
        (counts,) = rng.multinomial(6, np.full(6, 1 / 6), size=1)
        rows = [row for row, (a, b) in zip(columns, members, strict=True) for _ in range(counts[a] * counts[b])]
        expected = stats.spearmanr(rows).statistic if len(rows) > 2 else math.nan
        np.testing.assert_allclose(one[0, 1], expected, atol=1e-12)


def test_two_spaces_on_the_pairs_that_both_know() -> None:
    other = Space(tuple(word.upper() for word in WORDS[:35]), SPACE.rows[:35] + RNG.normal(size=(35, 5)))
    pairs = known(other)
    found = compare(SPACE, other, PAIRS)
    scores = [pair.score for pair in pairs]
    one, two = (
        stats.spearmanr(scores, [cosine(space, *pair[:2]) for pair in pairs]).statistic for space in (SPACE, other)
    )
    assert found.difference.estimate == pytest.approx(one - two)
    assert found.pairs == len(pairs) and 0 < found.p <= 1
    assert found.difference.low < one - two < found.difference.high
    same = compare(SPACE, SPACE, PAIRS)
    assert same.difference == (0, 0, 0) and same.p == 1
    true = [pair._replace(score=cosine(SPACE, *pair[:2])) for pair in pairs]
    assert compare(SPACE, other, true).p == pytest.approx(2 / 10_001)


@pytest.mark.parametrize(
    ("space", "pairs", "found"),
    [
        (Space((), np.zeros((0, 3))), PAIRS, "no correlation: only 0 pairs of words are known"),
        (SPACE.restricted(["Word1"]), PAIRS, "no correlation: only 0 pairs"),
        (SPACE, known(SPACE)[:2], "no correlation: only 2 pairs of words are known"),
        (Space(WORDS, np.ones((40, 3))), PAIRS, "cosines, or scores, are equal"),
        (SPACE, [pair._replace(score=1.0) for pair in PAIRS], "cosines, or scores, are equal"),
    ],
)
def test_no_correlation(space: Space, pairs: list[WordPair], found: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = similarity.similarity(space, pairs)
    assert found in caplog.text
    assert np.isnan(result.correlation).all() and result.pairs + len(result.unknown) == len(pairs)
    compared = compare(space, SPACE, pairs)
    assert np.isnan([*compared.difference, compared.p]).all()


def test_judgements(tmp_path: Path) -> None:
    pairs = word_pairs("wordsim353")
    assert len(pairs) == 353 and pairs[1] == ("tiger", "cat", 7.35)
    assert len(word_pairs("simlex999")) == 999
    path = tmp_path / "made.csv"
    path.write_text("\ufeffWord 1,Word 2,Human (mean)\n# old\n\nlove, sex ,6.77\n", encoding="utf-8")
    assert word_pairs(path) == [("love", "sex", 6.77)]
    for line in ("love,sex", "love\tsex\thigh", "love,sex,nan", "love,sex,1,2"):
        path.write_text(f"love\tsex\t6.77\n{line}\n")
        with pytest.raises(ValueError, match=r"made\.csv:2: expected two words and a score"):
            word_pairs(path)
    path.write_text("love,sex\n")
    with pytest.raises(ValueError, match=r"made\.csv:1: expected two words and a score"):
        word_pairs(path)
    with pytest.raises(FileNotFoundError, match="wordsim: expected wordsim353, simlex999 or a file of word pairs"):
        word_pairs("wordsim")


def test_nearest() -> None:
    others = sorted(set(WORDS) - {"Word7"}, key=lambda word: -cosine(SPACE, "Word7", word))
    found = nearest(SPACE, "Word7", 5)
    assert [word for word, _ in found] == others[:5]
    np.testing.assert_allclose([one for _, one in found], [cosine(SPACE, "Word7", word) for word in others[:5]], 1e-5)
    assert len(nearest(SPACE, "Word7", 100)) == 39 and nearest(SPACE.restricted(["Word7"]), "Word7") == []
    with pytest.raises(ValueError, match=r"the space has no vector for 'Word1O'; did you mean Word1, "):
        nearest(SPACE, "Word1O")
    with pytest.raises(ValueError, match=r"no vector for 'zzz'$"):
        nearest(SPACE, "zzz")


def test_lengths() -> None:
    space = Space(("a", "b"), np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(unit_rows(space), [[0.6, 0.8], [0, 0]])
    with pytest.raises(ValueError, match="the vector of 'b': expected finite numbers, found NaN"):
        unit_rows(Space(("a", "b"), np.array([[3.0, 4.0], [0.0, np.nan]])))
    assert [*chunks(5, 1 << 22)] == [slice(0, 2), slice(2, 4), slice(4, 6)]


def test_counted_vectors_follow_people(monkeypatch: pytest.MonkeyPatch) -> None:
    if "SERLIB_TEST_DATA" not in os.environ:
        pytest.skip("SERLIB_TEST_DATA is not set: no English text to test on")
    monkeypatch.setattr("nltk.data.path", [str(Path(os.environ["SERLIB_TEST_DATA"]) / "nltk_data")])
    from nltk.corpus import brown

    sentences = islice(brown.sents(), 20_000)
    texts = [[word.lower() for word in sentence if word.isalpha()] for sentence in sentences]
    space = svd_vectors(texts, 50, min_count=5)
    assert len(space) == 7_221 and space.words[:3] == ("the", "of", "and")
    found = similarity.similarity(space, word_pairs("wordsim353"))
    assert found.pairs == 201 and found.correlation.low > 0.1
