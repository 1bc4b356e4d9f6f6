"""Homophones, and what cosines follow, against literal loops and spaces made to follow one or the other."""

from __future__ import annotations

import logging
import random
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from serlib.embeddings import Space
from serlib.embeddings.pronunciation import edit_distance
from serlib.embeddings.sound import _draw_pairs, homophone_test, sound_and_meaning

RNG = np.random.default_rng(0)
WORDS = tuple(f"Word{n}" for n in range(30))
SPACE = Space(WORDS, RNG.normal(size=(30, 4)))
TEXT = Space(tuple(f"word{n}" for n in range(26)), RNG.normal(size=(26, 5)))
PAIRS = [("word1", "word5"), ("WORD2", "word20"), ("word7", "word8"), ("word3", "word29"), ("word3", "absent")]
DRAW = random.Random(0)
PHONES = {f"word{n}": [tuple(DRAW.choice(("AA1", "B", "K", "IY0")) for _ in range(4)), ("Z",)] for n in range(28)}


def table(space: Space) -> np.ndarray:
    rows = space.rows / np.linalg.norm(space.rows, axis=1, keepdims=True)
    return rows @ rows.T


def test_homophones() -> None:
    found = homophone_test(SPACE, PAIRS, TEXT, frequent=20)
    assert found.unknown == (("word3", "word29"), ("word3", "absent"))
    percentiles, ranks, references = {}, {}, {}
    for first, second in PAIRS[:3]:
        a, b = int(first[4:]), int(second[4:])
        for space, told in ((SPACE, percentiles), (TEXT, references)):
            cosines = table(space)
            every = [cosines[i, j] for i, j in combinations(range(20), 2)]
            less = sum(one < cosines[a, b] - 1e-6 for one in every)
            equal = sum(abs(one - cosines[a, b]) <= 1e-6 for one in every)
            told[first, second] = 100 * (less + equal / 2) / len(every)
        cosines = table(SPACE)
        both = [1 + sum(cosines[i, m] > cosines[i, j] + 1e-6 for m in range(30) if m != i) for i, j in ((a, b), (b, a))]
        ranks[first, second] = np.mean(both)
    assert [one[:2] for one in found.pairs] == sorted(percentiles, key=lambda pair: -percentiles[pair])
    for one in found.pairs:
        told = percentiles[one[:2]], ranks[one[:2]], references[one[:2]]
        assert one[2:] == pytest.approx(told, abs=0.3)  # one of 190 pairs more or less, by rounding
    assert found.percentile.estimate == pytest.approx(np.mean([one.percentile for one in found.pairs]))
    assert found.rank.estimate == np.median([one.rank for one in found.pairs])
    difference = np.mean([one.percentile - one.reference for one in found.pairs])
    assert found.difference.estimate == pytest.approx(difference)
    assert found.difference.low <= difference <= found.difference.high
    assert found.reference.estimate == pytest.approx(found.percentile.estimate - difference)


def test_homophones_that_are_one_vector() -> None:
    rows = RNG.normal(size=(30, 4))
    rows[5], rows[20], rows[8] = rows[1], rows[2], rows[7]
    found = homophone_test(Space(WORDS, rows), PAIRS[:3])
    assert found.percentile.estimate > 99 and found.rank.estimate == 1
    assert np.isnan([*found.reference, *found.difference, found.pairs[0].reference]).all()


def test_no_homophones(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = homophone_test(SPACE, PAIRS[4:], TEXT)
    assert "none of 1 pairs of homophones is known" in caplog.text
    assert found.pairs == () and np.isnan([found.percentile, found.rank, found.reference, found.difference]).all()
    for space in (Space((), np.zeros((0, 3))), SPACE.restricted(["Word1"])):
        with pytest.raises(ValueError, match=f"expected two words or more in common, found {len(space)}"):
            homophone_test(space, PAIRS, TEXT)
    with pytest.raises(ValueError, match="all vectors are equal: none is nearer than another"):
        homophone_test(Space(WORDS, np.ones((30, 2))), PAIRS)


def test_what_cosines_follow() -> None:
    found = sound_and_meaning(SPACE, PHONES, TEXT)
    assert found.words == 26 and found.pairs == 26 * 25 / 2
    columns = [
        (
            table(SPACE)[i, j],
            1 - edit_distance(*([phone.strip("01") for phone in PHONES[f"word{n}"][0]] for n in (i, j))),
            table(TEXT)[i, j],
        )
        for i, j in combinations(range(26), 2)
    ]
    r = stats.spearmanr(columns).statistic
    assert [one.estimate for one in found[:3]] == pytest.approx([r[0, 1], r[0, 2], r[1, 2]], abs=1e-5)
    ranks = stats.rankdata(columns, axis=0)

    def left(x: int, z: int) -> np.ndarray:
        return ranks[:, x] - np.polyval(np.polyfit(ranks[:, z], ranks[:, x], 1), ranks[:, z])

    assert found.sound_given_meaning.estimate == pytest.approx(np.corrcoef(left(0, 2), left(1, 2))[0, 1], abs=1e-5)
    assert found.meaning_given_sound.estimate == pytest.approx(np.corrcoef(left(0, 1), left(2, 1))[0, 1], abs=1e-5)
    assert all(one.low < one.estimate < one.high for one in found[:5])
    assert found == sound_and_meaning(SPACE, PHONES, TEXT)


def test_spaces_that_follow_meaning_or_sound() -> None:
    meaning = sound_and_meaning(Space(TEXT.words, TEXT.rows * 2), PHONES, TEXT, pairs=200)
    assert meaning.pairs == 200 and meaning.meaning.estimate == pytest.approx(1)
    letters = ("AA1", "B", "K", "IY0")
    rows = [np.concatenate([np.eye(4)[letters.index(one)] for one in PHONES[f"word{n}"][0]]) for n in range(26)]
    sound = sound_and_meaning(Space(TEXT.words, rows), PHONES, TEXT)
    assert sound.sound.low > 0.5 and sound.sound_given_meaning.low > 0.5 and sound.meaning.estimate < 0.2


def test_nothing_to_follow(caplog: pytest.LogCaptureFixture) -> None:
    for space, reference, phones in (
        (Space((), np.zeros((0, 3))), TEXT, PHONES),
        (SPACE, TEXT.restricted(["word1"]), PHONES),
        (SPACE, TEXT, {}),
        (Space(WORDS, np.ones((30, 2))), TEXT, PHONES),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = sound_and_meaning(space, phones, reference)
        assert "no correlation: " in caplog.text and np.isnan(found[:5]).all()
    with pytest.raises(ValueError, match="the vector of 'Word0': expected finite numbers"):
        sound_and_meaning(Space(WORDS, np.full((30, 2), np.nan)), PHONES, TEXT)


def test_pairs_are_drawn_once() -> None:
    every = sorted(combinations(range(9), 2))
    assert sorted(map(tuple, _draw_pairs(9, 36, RNG).tolist())) == every
    some = list(map(tuple, _draw_pairs(9, 20, RNG).tolist()))
    assert len(set(some)) == 20 and set(some) < set(every)
    assert _draw_pairs(0, 9, RNG).shape == _draw_pairs(1, 9, RNG).shape == (0, 2)
