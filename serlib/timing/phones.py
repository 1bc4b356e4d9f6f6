"""Which frames are a phoneme, which phonemes are a word, and which word of the sound is
which word of the text.

Shen et al. 2020 (WISE), sections 3.1 and 3.2. Taught in chapter `shen2020`.

What the paper leaves to the forced alignment is decided here:

- A frame belongs to a phoneme if its middle lies within it; a phoneme too short for
  that has the frame nearest to its own middle. Frames of silence, laughter and noise
  belong to none and are not heard.
- A phoneme belongs to the word that it overlaps longest, the earlier of two; one that
  overlaps none is left out.
- A word without phonemes is a single phoneme.
- Of a phoneme the first 64 frames count, of a word the first 14 phonemes, of an
  utterance the first 128 words.
- A token belongs to the word that `serlib.timing.words.token_words` finds for it.
  Tokens that nobody says, such as punctuation marks, and tokens without a word have no
  sound to go with and are left out. Two pieces of one word, such as `do` and `n't`,
  both go with the whole word.
- If no token at all has a word, tokens and words are paired in even steps.
- An utterance without aligned words is divided evenly among its spoken tokens, each of
  them a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from serlib.corpora.corpus import Segment, Utterance
from serlib.features.text import tokenize
from serlib.timing.grid import Grid
from serlib.timing.words import spoken, token_words

MAX_FRAMES, MAX_PHONES, MAX_WORDS = 64, 14, 128
"""Frames of a phoneme, phonemes of a word, words of an utterance (section 4.2); what
comes after is left out.
"""


@dataclass(frozen=True)
class Counts:
    """What became of the words, phonemes and tokens of a corpus.

    Attributes:
        utterances: how many.
        unaligned_utterances: those without an aligned word, divided evenly.
        words: of the alignment.
        wordless_tokens: spoken tokens that are not in the alignment, and so left out.
        unclaimed_words: words that no token belongs to: only a system without text
            hears them.
        phoneless_words: words that count as a single phoneme for want of any.
        lost_words: words after the 128th, or that begin after the last frame.
        phones: of the alignment.
        stray_phones: phonemes that overlap no word.
        divided_phones: phonemes that overlap more than one word.
        short_phones: phonemes that have no frame with its middle within, and so the
            nearest one.
        long_phones: phonemes of more than 64 frames.
        lost_phones: phonemes after the 14th of a word.
    """

    utterances: int = 0
    unaligned_utterances: int = 0
    words: int = 0
    wordless_tokens: int = 0
    unclaimed_words: int = 0
    phoneless_words: int = 0
    lost_words: int = 0
    phones: int = 0
    stray_phones: int = 0
    divided_phones: int = 0
    short_phones: int = 0
    long_phones: int = 0
    lost_phones: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            *(
                getattr(self, one.name) + getattr(other, one.name)
                for one in fields(self)
            )
        )


def phones(utterance: Utterance, grid: Grid) -> np.ndarray:
    """Find the steps of every phoneme and the word that it belongs to.

    Args:
        utterance: with its alignment, if it has one.
        grid: the steps of the feature that hears it.

    Returns:
        (phonemes, 3) int64, word after word: first step, number of steps (1 to 64,
        fewer with a stride), and number of the word; every word has at least one.
    """
    return _phones(utterance, _words(utterance, grid), grid)[0]


def pairs(
    utterance: Utterance, grid: Grid, max_tokens: int | None = None
) -> np.ndarray:
    """Find the pairs of a written and a spoken word, the steps of both LSTMs (section
    3.1).

    Args:
        utterance, grid: as for `phones`.
        max_tokens: tokens after this many are left out.

    Returns:
        (pairs, 2) int64: number of the token and number of the word, neither falling;
        at least one pair, at most 128.
    """
    tokens, words = tokenize(utterance.text)[:max_tokens], _words(utterance, grid)
    aligned = utterance.words
    places = token_words(tokens, aligned) if aligned else _evenly(tokens)
    found = np.flatnonzero((places >= 0) & (places < len(words)))
    if len(found):
        return np.stack([found, places[found]], axis=1)[:MAX_WORDS]
    count = min(MAX_WORDS, max(len(tokens), len(words)))
    numbers = [np.arange(count) * max(1, len(one)) // count for one in (tokens, words)]
    return np.stack(numbers, axis=1)


def spoken_words(utterance: Utterance, grid: Grid) -> np.ndarray:
    """Return the steps of an LSTM that only hears: as `pairs`, but every word once, all
    with token 0.
    """
    numbers = np.arange(len(_words(utterance, grid)))
    return np.stack([np.zeros_like(numbers), numbers], axis=1)


def count(
    utterances: Iterable[Utterance],
    grid_of: Callable[[Utterance], Grid],
    max_tokens: int | None = None,
) -> Counts:
    """Count how often each of the decisions at the top of this module was taken.

    Args:
        utterances: for instance a corpus.
        grid_of: the steps of an utterance.
        max_tokens: as for `pairs`.
    """
    total = Counts()
    for utterance in utterances:
        tokens = tokenize(utterance.text)[:max_tokens]
        places = token_words(tokens, utterance.words)
        grid = grid_of(utterance)
        words = _words(utterance, grid)
        said = np.array([bool(spoken(token)) for token in tokens], dtype=bool)
        aligned, claimed = bool(utterance.words), np.unique(places[places >= 0])
        total += _phones(utterance, words, grid)[1] + Counts(
            utterances=1,
            unaligned_utterances=not aligned,
            words=len(utterance.words),
            wordless_tokens=int((said & (places < 0)).sum()) if aligned else 0,
            unclaimed_words=len(utterance.words) - len(claimed),
            lost_words=len(utterance.words) - len(words) if aligned else 0,
            phones=len(utterance.phones),
        )
    return total


def _words(utterance: Utterance, grid: Grid) -> list[Segment]:
    """The words that are heard, in order; at least one."""
    words = [word for word in utterance.words[:MAX_WORDS] if word.start < grid.end]
    if words:
        return words
    parts = int(_evenly(tokenize(utterance.text)).max(initial=0)) + 1
    end = min(utterance.duration, grid.end)
    edges = np.linspace(0, end, min(parts, MAX_WORDS) + 1)
    return [Segment("", start, stop) for start, stop in pairwise(edges)]


def _evenly(tokens: list[str]) -> np.ndarray:
    """Number the tokens that are spoken; -1 for the others."""
    said = np.array([bool(spoken(token)) for token in tokens], dtype=bool)
    return np.where(said, said.cumsum() - 1, -1)


def _phones(
    utterance: Utterance, words: list[Segment], grid: Grid
) -> tuple[np.ndarray, Counts]:
    segments = [
        *utterance.phones,
        *words,
    ]  # a word stands in for its phonemes where it has none
    start, end = np.array([(one.start, one.end) for one in segments]).T
    starts, ends = start[-len(words) :], end[-len(words) :]
    heard = len(utterance.phones)
    overlap = np.minimum(end[:heard, None], ends) - np.maximum(
        start[:heard, None], starts
    )  # (phonemes, words)
    overlap = np.round(overlap, 6).clip(0)
    owner = np.where(overlap.any(axis=1), overlap.argmax(axis=1), -1)
    bare = np.setdiff1d(np.arange(len(words)), owner)

    spans, inside = grid.spans(segments)
    first, frames = spans[:, 0], inside.clip(1, max(1, MAX_FRAMES // grid.stride))
    kept = np.concatenate([np.flatnonzero(owner >= 0), heard + bare])
    word = np.concatenate([owner, np.arange(len(words))])[kept]
    order = word.argsort(kind="stable")
    kept, word = kept[order], word[order]
    fits = np.arange(len(word)) - np.searchsorted(word, word) < MAX_PHONES
    kept, word = kept[fits], word[fits]
    counts = Counts(
        phoneless_words=len(bare) if utterance.words else 0,
        stray_phones=int((owner < 0).sum()),
        divided_phones=int(((overlap > 0).sum(axis=1) > 1).sum()),
        short_phones=int((inside[:heard][owner >= 0] < 1).sum()),
        long_phones=int(
            (inside[:heard][owner >= 0] > frames[:heard][owner >= 0]).sum()
        ),
        lost_phones=int((~fits).sum()),
    )
    return np.stack([first[kept], frames[kept], word], axis=1), counts
