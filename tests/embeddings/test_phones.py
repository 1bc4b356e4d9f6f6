"""Phonetic vectors: the same sound is the same vector, like sounds are near, and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from serlib.embeddings.phones import _pieces, phonetic_vectors

WORDS = {
    "night": ["n", "aI", "t"], "knight": ["n", "aI", "t"], "light": ["l", "aI", "t"], "boat": ["b", "oU", "t"],
    "bone": ["b", "oU", "n"], "summer": ["s", "V", "m", "3"], "hammer": ["h", "a", "m", "3"],
}  # fmt: skip


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_pieces_of_a_word() -> None:
    assert _pieces(["a", "b"], 2) == [("a",), ("b",), ("#", "a"), ("a", "b"), ("b", "#")]
    assert _pieces(["a"], 3)[-1] == ("#", "a", "#")


def test_vectors_follow_sound_alone() -> None:
    space = phonetic_vectors(WORDS, dims=5)
    assert space.words == tuple(WORDS) and space.rows.shape == (7, 5)
    np.testing.assert_allclose(space["night"], space["knight"], atol=1e-6)
    near = [cosine(space["night"], space[word]) for word in ("light", "boat", "summer")]
    assert near[0] > near[1] > near[2] - 1e-6
    assert cosine(space["summer"], space["hammer"]) > 0.2 > cosine(space["summer"], space["boat"]) + 0.1
    np.testing.assert_array_equal(space.rows, phonetic_vectors(WORDS, dims=5).rows)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="'hm': expected its phones, found none"):
        phonetic_vectors({**WORDS, "hm": []}, dims=2)
    with pytest.raises(ValueError, match="expected between 1 and 6 dimensions for 7 words of"):
        phonetic_vectors(WORDS, dims=7)
    with pytest.raises(ValueError, match="expected between 1 and 0 dimensions for 0 words of 0 pieces, got 1"):
        phonetic_vectors({}, dims=1)
