"""A space of words: a vector for each, in an order.

What every kind of word vectors becomes, read, counted or learnt from text or speech;
taught in chapter `embeddings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Space(Mapping[str, np.ndarray]):
    """Words and their vectors, in an order: a mapping of word to vector.

    Attributes:
        words: each once, the most frequent first where that is known: in the order of
            the file that they were read from, or of training.
        rows: (words, dims) float32.

    Raises:
        ValueError: if there is not one row for each word, or a word comes twice.
    """

    words: tuple[str, ...]
    rows: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))
        object.__setattr__(self, "rows", np.asarray(self.rows, dtype=np.float32))
        if self.rows.ndim != 2 or len(self.rows) != len(self.words):
            raise ValueError(
                f"expected a row for each of {len(self.words)} words, found an array of"
                f" shape {self.rows.shape}"
            )
        if len(self._number) < len(self.words):
            twice = (w for n, w in enumerate(self.words) if self._number[w] != n)
            raise ValueError(f"expected each word once, found {next(twice)!r} again")

    @classmethod
    def from_vectors(
        cls, vectors: Mapping[str, np.ndarray], order: Iterable[str] | None = None
    ) -> Space:
        """Make a space of a mapping.

        Args:
            vectors: word to (dims,).
            order: words in the order to put them in, such as a vocabulary's tokens;
                those without a vector are left out. None for the mapping's own.

        Raises:
            ValueError: if the vectors are not all of one length.
        """
        words = [w for w in (vectors if order is None else order) if w in vectors]
        rows = [np.asarray(vectors[word], dtype=np.float32) for word in words]
        for word, row in zip(words, rows, strict=True):
            if row.shape != rows[0].shape or row.ndim != 1:
                raise ValueError(
                    f"the vector of {word!r}: expected shape ({rows[0].size},), found"
                    f" {row.shape}"
                )
        return cls(tuple(words), np.stack(rows) if rows else np.zeros((0, 0)))

    @property
    def dims(self) -> int:
        """Numbers per vector."""
        return self.rows.shape[1]

    def restricted(self, words: Iterable[str]) -> Space:
        """Return the space of those of `words` that this one has, in its order."""
        numbers = sorted({self._number[word] for word in words if word in self._number})
        return Space(tuple(self.words[n] for n in numbers), self.rows[numbers])

    def numbers(self, words: Iterable[str]) -> np.ndarray:
        """Return which row each of some words has, (words,) int64.

        Raises:
            KeyError: for a word that the space does not have.
        """
        return np.array([self._number[word] for word in words], dtype=np.int64)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def __getitem__(self, word: str) -> np.ndarray:
        return self.rows[self._number[word]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._number
