"""Neighbours of a class, of other voices, of a relation; each against literal loops."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from serlib.embeddings import Space, similarity
from serlib.embeddings.neighbours import probes, purity, voices

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True, params=[100, 1 << 23])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "CHUNK", request.param)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_neighbours_of_the_same_class() -> None:
    rows = RNG.normal(size=(40, 4)).astype(np.float32)
    words = [f"Word{n}" for n in range(40)]
    classes = {f"word{n}": "abc"[n % 7 // 3] for n in range(33)} | {"elsewhere": "a"}
    found = purity(Space(tuple(words), rows), classes, k=5)
    table = unit(rows[:33]) @ unit(rows[:33]).T
    labels = [classes[f"word{n}"] for n in range(33)]
    shares, chance = [], []
    for n, label in enumerate(labels):
        others = sorted(set(range(33)) - {n}, key=lambda m: -table[n, m])
        shares.append(np.mean([labels[m] == label for m in others[:5]]))
        chance.append(np.mean([labels[m] == label for m in others]))
    assert found.words.share.estimate == pytest.approx(np.mean(shares))
    assert found.words.chance == pytest.approx(np.mean(chance)) and found.words.count == 33
    assert found.words.share.low < np.mean(shares) < found.words.share.high
    assert list(found.classes) == ["a", "b", "c"]
    for label, share in found.classes.items():
        own = [n for n in range(33) if labels[n] == label]
        assert share.share.estimate == pytest.approx(np.mean([shares[n] for n in own]))
        assert share.chance == pytest.approx(np.mean([chance[n] for n in own])) and share.count == len(own)


def test_no_neighbours() -> None:
    space = Space(tuple("abcdef"), RNG.normal(size=(6, 3)))
    with pytest.raises(ValueError, match="more than k=10 possible neighbours of each of 6, found 5"):
        purity(space, dict.fromkeys("abcdef", "x"))
    with pytest.raises(ValueError, match="more than k=1 possible neighbours of each of 0, found 0"):
        purity(space, {}, k=1)
    with pytest.raises(ValueError, match="expected 1 <= k"):
        purity(space, dict.fromkeys("abcdef", "x"), k=0)
    with pytest.raises(ValueError, match="all vectors are equal: none is nearer than another"):
        purity(Space(tuple("abcdef"), np.ones((6, 3))), dict.fromkeys("abcdef", "x"), k=2)
    with pytest.raises(ValueError, match="expected a label and a voice for each row, got 6, 5 and 6"):
        voices(space.rows, list("abcde"), list("abcdef"))
    with pytest.raises(ValueError, match="more than k=2 possible neighbours of each of 6, found 0"):
        voices(space.rows, list("abcabc"), ["x"] * 6, k=2)


def test_the_same_word_by_other_voices() -> None:
    rows = RNG.normal(size=(60, 4)).astype(np.float32)
    labels = [f"w{n}" for n in RNG.integers(0, 5, 57)] + ["own", "own", "once"]
    speakers = [f"v{n}" for n in RNG.integers(0, 3, 57)] + ["v0", "v0", "v1"]
    found = voices(rows, labels, speakers, k=6)
    table = unit(rows) @ unit(rows).T
    shares, chance, ceiling = [], [], []
    for n in range(57):  # no other voice says the last three
        others = sorted((m for m in range(60) if speakers[m] != speakers[n]), key=lambda m: -table[n, m])
        same = [labels[m] == labels[n] for m in others]
        shares.append(np.mean(same[:6]))
        chance.append(np.mean(same))
        ceiling.append(min(sum(same), 6) / 6)
    assert found.words.share.estimate == pytest.approx(np.mean(shares))
    assert found.words.chance == pytest.approx(np.mean(chance)) and found.words.count == 57
    assert found.ceiling == pytest.approx(np.mean(ceiling))
    centres = np.eye(5)[[int(label[1]) for label in labels[:57]]]
    assert voices(centres, labels[:57], speakers[:57], k=3).words.share == (1, 1, 1)
    alone = voices(rows, [f"w{n}" for n in range(60)], speakers)
    assert alone.words.count == 0 and np.isnan([*alone.words.share, alone.words.chance, alone.ceiling]).all()


def literal_analogies(table: np.ndarray, pairs: list[tuple[int, int]]) -> list[float]:
    found = []
    for j, (a, b) in enumerate(pairs):
        right = []
        for i, (c, d) in enumerate(pairs):
            if i != j and b not in (c, d):
                scores = table @ (table[d] - table[c] + table[a])
                scores[[a, c, d]] = -np.inf
                right.append(scores.argmax() == b)
        found.append(np.mean(right))
    return found


def test_analogies() -> None:
    base, offset = RNG.normal(size=(12, 6)), RNG.normal(size=6)
    rows = np.concatenate([base, base + 1.2 * offset + RNG.normal(scale=0.5, size=(12, 6)), RNG.normal(size=(20, 6))])
    space = Space(tuple(f"w{n}" for n in range(44)), rows)
    pairs = [(n, n + 12) for n in range(12)] + [(0, 30)]
    named = [(f"W{a}", f"w{b}") for a, b in pairs]
    found = probes(space, [*named, ("w1", "W1"), ("w1", "absent")])
    table = unit(space.rows)
    accuracy = literal_analogies(table, pairs)
    assert 0 < np.mean(accuracy) < 1
    assert found.accuracy.estimate == pytest.approx(np.mean(accuracy))
    assert found.accuracy.low < np.mean(accuracy) < found.accuracy.high
    likeness = table @ table.T - 2 * np.eye(44)
    assert found.without_offset == pytest.approx(np.mean([likeness[a].argmax() == b for a, b in pairs]))
    offsets = [table[b] - table[a] for a, b in pairs]
    cosines = [
        x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        for i, x in enumerate(offsets)
        for j, y in enumerate(offsets)
        if i != j
    ]
    assert found.consistency.estimate == pytest.approx(np.mean(cosines), rel=1e-4)
    assert found.shuffled < found.consistency.low
    assert found.pairs == 13 and found.unknown == (("w1", "absent"),)
    drawn = probes(space, named, questions=60)
    assert drawn == probes(space, named, questions=60) and drawn.consistency == found.consistency
    exact = Space(("a", "b", "c", "A1", "B1", "C1"), [[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]])
    assert probes(exact, [("a", "a1"), ("b", "b1"), ("c", "c1")]).accuracy.estimate == 1


def test_too_few_pairs_for_analogies(caplog: pytest.LogCaptureFixture) -> None:
    space = Space(tuple("abcd"), RNG.normal(size=(4, 3)))
    with caplog.at_level(logging.WARNING):
        found = probes(space, [("a", "b"), ("c", "d"), ("a", "z"), ("a", "A")])
    assert "analogies: the space has 2 of the pairs, under 3" in caplog.text
    assert np.isnan([*found.accuracy, found.without_offset, *found.consistency, found.shuffled]).all()
    assert found.pairs == 2 and found.unknown == (("a", "z"),)
