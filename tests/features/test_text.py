"""Tokens as NLTK makes them, and a vocabulary that gives them back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serlib.features import PAD, UNK, Vocabulary, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Mr. Smith can't come. Why not?", ["mr.", "smith", "ca", "n't", "come", ".", "why", "not", "?"]),
        ("[LAUGHTER] I know. [BREATHING]", ["[laughter]", "i", "know", ".", "[breathing]"]),
        ("No. I won't go.", ["no", ".", "i", "wo", "n't", "go", "."]),
        (
            'Wait... "yes," he said--O.K. now.',
            ["wait", "...", "``", "yes", ",", "''", "he", "said", "--", "o.k.", "now", "."],
        ),
        ("Don\u2019t cry\u2026 it\u2018s late", ["do", "n't", "cry", "...", "it", "'s", "late"]),
        ("", []),
        (" \n", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_becomes_lower_case_tokens_without_white_space(text: str) -> None:
    tokens = tokenize(text)
    assert all(token and token == token.lower() and not any(c.isspace() for c in token) for token in tokens)
    plain = "".join(text.lower().split())
    if not {'"', "`", "'", "\u201c", "\u201d", "\u00ab", "\u00bb", "\u2018", "\u2019", "\u2026"} & set(
        plain
    ):  # quotes are rewritten
        assert "".join(tokens) == plain


@settings(deadline=None)
@given(st.lists(st.lists(st.text(min_size=1, max_size=5), max_size=8), max_size=8), st.integers(1, 3))
def test_vocabulary_gives_tokens_back(texts: list[list[str]], min_count: int) -> None:
    vocabulary = Vocabulary.build(texts, min_count)
    assert vocabulary == Vocabulary.build(texts[::-1], min_count)
    assert len(set(vocabulary.tokens)) == len(vocabulary)
    counts = {token: sum(text.count(token) for text in texts) for text in texts for token in text}
    for text in texts:
        numbers = vocabulary.encode(text)
        assert numbers.dtype == np.int64 and numbers.shape == (len(text),) and (numbers != PAD).all()
        for token, number in zip(text, numbers, strict=True):
            known = counts[token] >= min_count and token not in ("<pad>", "<unk>")
            assert vocabulary.tokens[number] == (token if known else "<unk>")


def test_vocabulary_is_ordered_by_frequency_then_alphabet() -> None:
    assert Vocabulary.build([["b", "a", "a"]], 2, keep=["z", "a", "<unk>"]).tokens == ("<pad>", "<unk>", "a", "z")
    vocabulary = Vocabulary.build([["b", "a", "c"], ["c", "<pad>"]])
    assert vocabulary.tokens == ("<pad>", "<unk>", "c", "a", "b")
    assert vocabulary.encode(["c", "d", "<pad>"]).tolist() == [2, UNK, UNK]
    assert vocabulary.encode([]).shape == (0,)
