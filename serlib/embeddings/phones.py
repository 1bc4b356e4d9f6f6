"""Word vectors that know how a word is pronounced and nothing else: the control of
Speech2Vec.

After the acoustic control of Chen and Cao 2022; used for tzirakis2021, taught in
chapter `embeddings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from serlib.embeddings.space import Space

LONGEST = 3
"""Phones in a row that are counted; the two ends of a word count as phones."""


def phonetic_vectors(
    pronunciations: Mapping[str, Sequence[str]], dims: int, longest: int = LONGEST
) -> Space:
    """Make word vectors of the phones of each word, in ones, twos and threes.

    A word's counts of such pieces, each divided by the root of how many words have it,
    are scaled to unit length and reduced by a singular value decomposition. Words that
    sound the same have the same vector.

    Args:
        pronunciations: word to its phones, most frequent word first.
        dims: numbers per vector.
        longest: phones in the longest piece.

    Raises:
        ValueError: if a word has no phone, or there are too few words or pieces for
            `dims`.

    Sketch:
        phonetic_vectors({"night": ["n", "aI", "t"], ...}, dims=50)["night"].shape
        (50,)
    """
    pieces: dict[tuple[str, ...], int] = {}
    rows, columns, values = [], [], []
    for row, (word, phones) in enumerate(pronunciations.items()):
        if not phones:
            raise ValueError(f"{word!r}: expected its phones, found none")
        for piece, count in Counter(_pieces(phones, longest)).items():
            rows.append(row)
            columns.append(pieces.setdefault(piece, len(pieces)))
            values.append(count)
    shape = (len(pronunciations), len(pieces))
    if not 1 <= dims < min(shape):
        raise ValueError(
            f"expected between 1 and {max(min(shape) - 1, 0)} dimensions for"
            f" {shape[0]} words of {shape[1]} pieces, got {dims}"
        )
    counts = sparse.csr_array((np.array(values, float), (rows, columns)), shape)
    counts = counts / np.sqrt((counts > 0).sum(axis=0))
    counts = sparse.csr_array(counts)
    lengths = np.sqrt(counts.power(2).sum(axis=1))
    counts = sparse.diags_array(1 / lengths) @ counts
    left, strengths, _ = svds(counts, k=dims, v0=np.ones(min(shape)))
    order = np.argsort(-strengths)
    left, strengths = left[:, order], strengths[order]
    signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(dims)])
    return Space(tuple(pronunciations), (left * signs * strengths).astype(np.float32))


def _pieces(phones: Sequence[str], longest: int) -> list[tuple[str, ...]]:
    whole = ("#", *phones, "#")
    return [
        tuple(whole[first : first + size])
        for size in range(1, longest + 1)
        for first in range(len(whole) - size + 1)
        if whole[first : first + size] != ("#",)
    ]
