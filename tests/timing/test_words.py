"""Tokens and aligned words: who belongs to whom, and during which frames."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serlib.corpora.corpus import Corpus, Segment, Utterance
from serlib.corpora.synthetic import read_cues
from serlib.features.text import tokenize
from serlib.timing import Grid
from serlib.timing.words import SpanCounts, count_spans, found_by, spoken, token_spans, token_words

PIECES = ["i", "don't", "we're", "cannot", "the", "dog", ",", ".", "[laughter]", "dogs", "a", "hot", "god"]


def aligned(text: str) -> tuple[Segment, ...]:
    """The words between white space, a fifth of a second each."""
    words = [word.strip(".,?!").lower() for word in text.split() if not word.startswith("[")]
    return tuple(Segment(word, round(0.2 * i, 2), round(0.2 * i + 0.2, 2)) for i, word in enumerate(words))


def utterance(text: str, words: tuple[Segment, ...], duration: float) -> Utterance:
    return Utterance("u", "Ses01F", "Session1", "d", False, "sad", None, text, Path("u.wav"), duration, words)


def grid(one: Utterance, stride: int = 1) -> Grid:
    return Grid.of(one.duration, 0.01, 0.02, stride=stride)


def places(text: str, words: str) -> list[int]:
    return token_words(tokenize(text), aligned(words)).tolist()


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("I don't know, we're late.", "i don't know we're late", [0, 1, 1, 2, -1, 3, 3, 4, -1]),
        (
            "I cannot. I'm gonna go [LAUGHTER] now.",
            "i cannot i'm gonna go now",
            [0, 1, 1, -1, 2, 2, 3, 3, 4, -1, 5, -1],
        ),
        ("At three o'clock.", "at three o'clock", [0, 1, 2, -1]),
        ("no no no", "no no", [0, 1, -1]),
        ("the cat the dog", "the dog", [-1, -1, 0, 1]),  # the aligner missed two words
        ("the dog", "the cat the dog", [2, 3]),  # or heard two more
        ("their dog is well", "there dog is well", [0, 1, 2, 3]),
        ("a dog", "and dog", [-1, 1]),  # one letter in three is no match
        ("fine", "dog", [-1]),
        ("fine", "", [-1]),
        ("", "fine", []),
        ("... [BREATHING]", "fine", [-1, -1]),
    ],
)
def test_tokens_find_their_words(text, words, expected):
    assert places(text, words) == expected


@given(
    st.lists(st.sampled_from(PIECES), max_size=12),
    st.data(),
)
def test_places_never_fall_and_only_similar_words_are_joined(pieces, data):
    text = " ".join(pieces)
    every = aligned(" ".join(piece for piece in pieces if piece not in ",."))
    words = tuple(word for word in every if data.draw(st.booleans()))
    tokens = tokenize(text)
    found = token_words(tokens, words)
    assert found.dtype == np.int64 and found.shape == (len(tokens),)
    known = found[found >= 0]
    assert (np.diff(known) >= 0).all()
    assert known.size == 0 or known.max() < len(words)
    for token, place in zip(tokens, found, strict=True):
        if place >= 0:
            assert set(spoken(token)) & set(spoken(words[place].label))
        else:
            assert not spoken(token) or words != every  # nothing is lost where nothing is missing


def test_a_step_belongs_to_the_word_that_its_middle_lies_in():
    """Against the definition, step by step."""
    rng = random.Random(0)
    for _ in range(200):
        times = np.cumsum([rng.uniform(0.005, 0.4) for _ in range(9)]).round(2).tolist()
        words = tuple(Segment("dog", s, e) for s, e in pairwise(times) if e > s)
        duration = max(0.05, times[-1] + rng.choice([-0.3, 0.0, 0.2]))
        hop, window, stride = rng.choice([(0.01, 0.02, 1), (0.01, 0.02, 5), (0.01, 0.025, 4), (0.015, 0.025, 1)])
        max_frames = rng.choice([None, 40])
        steps = Grid.of(duration, hop, window, stride=stride, cut=max_frames)
        spans = token_spans(utterance("dog " * len(words), words, duration), steps)
        frames = 1 + int((duration - window) / hop + 1e-6)
        frames = min(frames, max_frames or frames)
        middles = [
            np.mean([frame * hop + window / 2 for frame in range(step, min(step + stride, frames))])
            for step in range(0, frames, stride)
        ]
        assert (np.diff(spans[spans[:, 1] > 0, 0]) >= 0).all()
        for (_, start, end), (first, after) in zip(words, spans.tolist(), strict=True):
            inside = [k for k, middle in enumerate(middles) if start - 1e-7 <= middle < end - 1e-7]
            if start >= (frames - 1) * hop + window:
                assert (first, after) == (0, 0)
            elif inside:
                assert (first, after) == (inside[0], inside[-1] + 1)
            else:  # the nearest step, one of two at the same distance
                assert after == first + 1
                away = [abs(middle - (start + end) / 2) for middle in middles]
                assert away[first] == pytest.approx(min(away), abs=1e-6)


def test_spans_are_cut_and_counted():
    words = (*aligned("I don't know"), Segment("now", 5.0, 5.2), Segment("extra", 5.3, 5.4))
    one = utterance("I don't really know, now. [LAUGHTER]", words, 0.5)
    spans = token_spans(one, grid(one, 4))
    assert spans.tolist() == [[0, 5], [5, 10], [5, 10], [0, 0], [10, 13], [0, 0], [0, 0], [0, 0], [0, 0]]
    assert token_spans(one, grid(one, 4), 2).tolist() == [[0, 5], [5, 10]]
    silent = utterance("Yes.", (), 0.5)

    def by_four(one: Utterance) -> Grid:
        return grid(one, 4)

    corpus = Corpus("toy", Path(), [one, replace(silent, id="v"), replace(silent, id="w", text="")])
    assert count_spans(corpus, by_four) == SpanCounts(
        utterances=3, unaligned_utterances=1, tokens=11, spans=4, punctuation=4, unaligned=2, outside=1, unclaimed=1
    )
    assert count_spans(corpus, by_four, 2).outside == 3
    assert token_spans(replace(silent, text=""), grid(silent)).shape == (0, 2)


def test_every_word_of_the_synthetic_corpus_has_its_tokens(synthetic):
    counts = count_spans(synthetic, grid)
    assert counts.utterances == 200
    assert counts.unaligned == counts.outside == counts.unclaimed == counts.unaligned_utterances == 0
    assert counts.spans + counts.punctuation == counts.tokens
    assert counts.punctuation >= 200

    cues = read_cues(synthetic.root)
    stressed = cues.stressed.dropna()
    assert len(stressed) > 20
    for id, index in stressed.items():
        one = synthetic[id]
        word = one.text.split()[index]
        tokens = tokenize(one.text)
        found = token_words(tokens, one.words)
        mine = np.flatnonzero(found == index)
        assert "".join(spoken(tokens[token]) for token in mine) == spoken(word) == spoken(one.words[index].label)
        first, after = token_spans(one, grid(one))[mine[0]]
        assert abs(first * 0.01 - one.words[index].start) < 0.02
        assert abs(after * 0.01 - one.words[index].end) < 0.02


def test_how_far_an_attention_finds_the_words_against_loops() -> None:
    rng = np.random.default_rng(0)
    weights = rng.random((2, 3, 8))
    weights /= weights.sum(axis=2, keepdims=True)
    spans = np.array([[0, 2], [2, 5], [6, 8]])
    found = found_by(weights, spans)
    within = alike = chance = most = 0.0
    for head in range(2):
        for word, (first, after) in enumerate(spans):
            share = (after - first) / 8
            chance += share / 6
            most += share * np.e**2 / (share * np.e**2 + 1 - share) / 6
            within += sum(weights[head, word, step] for step in range(first, after)) / 6
            alike += sum(weights[head, other, step] / 3 for other in range(3) for step in range(first, after)) / 6
    values = {"chance": chance, "within own span": within, "the same for all words": alike, "most as printed": most}
    assert {name: found[name] for name in values} == pytest.approx(values)
    assert found["more than that"] == pytest.approx(within - alike)
    sharp = np.zeros((1, 3, 8))
    sharp[0, [0, 1, 2], [1, 3, 7]] = 1
    assert found_by(sharp, spans)["within own span"] == 1 and found_by(sharp, spans)["follows"] == pytest.approx(1)
