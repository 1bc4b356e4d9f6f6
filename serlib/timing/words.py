"""Which spoken word a token belongs to, and which steps of a feature that word takes.

Joins the tokens of a transcript with the words of a forced alignment (xu2019, section
4.3; shen2020). Taught in chapter `xu2019`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from serlib.features.text import tokenize
from serlib.timing.grid import Grid

if TYPE_CHECKING:
    from serlib.corpora.corpus import Segment, Utterance

ENOUGH = 0.5
"""Share of its letters that a token and a word must each find in the other, so that
`their` may be `there`.
"""


@dataclass(frozen=True)
class SpanCounts:
    """What became of the tokens of a corpus.

    Attributes:
        utterances: how many.
        unaligned_utterances: those that have tokens but no aligned word.
        tokens: of all utterances; the four below add up to it.
        spans: tokens that have a span.
        punctuation: marks and bracketed tags, which nobody speaks as a word.
        unaligned: tokens of words that the alignment does not have.
        outside: tokens of words that begin after the last frame, or after the cut at
            `max_frames` or `max_tokens`.
        unclaimed: words of the alignment that no token belongs to.
    """

    utterances: int = 0
    unaligned_utterances: int = 0
    tokens: int = 0
    spans: int = 0
    punctuation: int = 0
    unaligned: int = 0
    outside: int = 0
    unclaimed: int = 0


def spoken(token: str) -> str:
    """Return the letters and digits of a token, lower case: nothing for a punctuation
    mark or a `[LAUGHTER]`.
    """
    return (
        ""
        if token.startswith("[")
        else "".join(letter for letter in token.lower() if letter.isalnum())
    )


def token_words(tokens: Sequence[str], words: Sequence[Segment]) -> np.ndarray:
    """Find the aligned word that each token belongs to.

    Tokens and words are compared letter by letter, so that the pieces `do` and `n't`
    both belong to `don't`. Where transcript and alignment differ, the longest common
    stretches are matched, and a token belongs to the word that has most of its letters,
    if these are at least half of the token's and half of the word's letters are
    matched.

    Args:
        tokens: of a transcript, as `tokenize` gives them.
        words: of the alignment, in order of time.

    Returns:
        (tokens,) int64 indices into `words`, never falling; -1 for a token without a
        word.

    Example:
        >>> from serlib.corpora.corpus import Segment
        >>> words = [Segment("i", 0.0, 0.1), Segment("don't", 0.1, 0.3)]
        >>> token_words(["i", "do", "n't", "."], words)
        array([ 0,  1,  1, -1])
    """
    theirs, ours = (
        [spoken(token) for token in tokens],
        [spoken(word.label) for word in words],
    )
    token_of = [index for index, letters in enumerate(theirs) for _ in letters]
    word_of = [index for index, letters in enumerate(ours) for _ in letters]
    shared = np.zeros(
        (len(tokens), len(words)), dtype=np.int64
    )  # letters that a token has in common with a word
    for start, other, size in _common("".join(theirs), "".join(ours)):
        np.add.at(
            shared, (token_of[start : start + size], word_of[other : other + size]), 1
        )
    places = np.full(len(tokens), -1, dtype=np.int64)
    if not shared.any():
        return places
    known = shared.sum(axis=0) >= ENOUGH * np.array([len(letters) for letters in ours])
    best = shared.argmax(axis=1)
    most = shared.max(axis=1)
    found = (
        (most > 0)
        & (most >= ENOUGH * np.array([len(letters) for letters in theirs]))
        & known[best]
    )
    places[found] = best[found]
    return places


def token_spans(
    utterance: Utterance, grid: Grid, max_tokens: int | None = None
) -> np.ndarray:
    """Find the steps of a feature during which each token is spoken.

    A step belongs to a word if its middle lies within the word; a word too short for
    that has the step nearest to its own middle. The tokens are those of the utterance's
    text, so replace recognised text by the reference text first.

    Args:
        utterance: with its text and its aligned words.
        grid: the steps of the feature.
        max_tokens: tokens after this many are cut.

    Returns:
        (tokens, 2) int64: the first step and the one after the last, within the audio;
        (0, 0) for a token without a span.
    """
    tokens = tokenize(utterance.text)[:max_tokens]
    return _spans(utterance, token_words(tokens, utterance.words), grid)


def count_spans(
    utterances: Iterable[Utterance],
    grid_of: Callable[[Utterance], Grid],
    max_tokens: int | None = None,
) -> SpanCounts:
    """Count the tokens that `token_spans` gives a span, and those it does not, by
    reason.

    Args:
        utterances: for instance a corpus.
        grid_of: the steps of an utterance.
        max_tokens: see `token_spans`.
    """
    counts = dict.fromkeys(SpanCounts.__dataclass_fields__, 0)
    for utterance in utterances:
        tokens = tokenize(utterance.text)
        places = token_words(tokens, utterance.words)
        spans = _spans(utterance, places, grid_of(utterance))
        spans[len(tokens[:max_tokens]) :] = 0
        silent = np.array([not spoken(token) for token in tokens], dtype=bool)
        spanned = spans[:, 1] > spans[:, 0]
        counts["utterances"] += 1
        counts["unaligned_utterances"] += bool(tokens) and not utterance.words
        counts["tokens"] += len(tokens)
        counts["spans"] += int(spanned.sum())
        counts["punctuation"] += int(silent.sum())
        counts["unaligned"] += int(((places < 0) & ~silent).sum())
        counts["outside"] += int(((places >= 0) & ~spanned).sum())
        claimed = len(set(places[places >= 0].tolist()))
        counts["unclaimed"] += len(utterance.words) - claimed
    return SpanCounts(**counts)


def found_by(weights: np.ndarray, spans: np.ndarray) -> dict[str, float]:
    """Say how far an attention finds the words of an utterance.

    Args:
        weights: (heads, words, steps), of each word over the steps; rows add up to 1.
        spans: (words, 2) the first step of each word and the one after its last, all
            with at least one step; two words or more.

    Returns:
        means over heads and words, shares of a word's attention: `chance`, what even
        weights would leave in its own span; `within own span`; `the same for all
        words`, what its span gets of the mean attention of all; `more than that`; and
        `most as printed`, the bound m e² / (m e² + N - m) of a score within ±1. Further
        `follows`, the rank correlation of the words' middles with the centres of their
        attention, a mean over heads.
    """
    steps = np.arange(weights.shape[2])
    own = (spans[:, :1] <= steps) & (steps < spans[:, 1:])  # (words, steps)
    chance = own.mean(axis=1)
    alike = weights.mean(axis=1, keepdims=True)  # one attention for all words
    within, blind = ((w * own).sum(axis=2).mean() for w in (weights, alike))
    most = chance * np.e**2 / (chance * np.e**2 + 1 - chance)
    centres = (weights * steps).sum(axis=2)  # (heads, words)
    ranks = stats.spearmanr([spans.mean(axis=1), *centres], axis=1).statistic
    follows = np.atleast_2d(ranks)[0, 1:].mean() if np.ndim(ranks) else ranks
    found = {"chance": chance.mean(), "within own span": within}
    found |= {"the same for all words": blind, "more than that": within - blind}
    return found | {"most as printed": most.mean(), "follows": float(follows)}


def _common(a: str, b: str) -> list[tuple[int, int, int]]:
    """Stretches that two strings share, in order: (place in a, place in b, letters)."""
    if a == b:
        return [(0, 0, len(a))]
    return SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()


def _spans(utterance: Utterance, places: np.ndarray, grid: Grid) -> np.ndarray:
    spans = np.zeros((len(places), 2), dtype=np.int64)
    heard = [
        token
        for token, place in enumerate(places.tolist())
        if place >= 0 and utterance.words[place].start < grid.end
    ]
    if heard:
        spans[heard], _ = grid.spans([utterance.words[places[one]] for one in heard])
    return spans
