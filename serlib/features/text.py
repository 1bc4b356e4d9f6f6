"""From a transcript to tokens, and from tokens to numbers.

Text input of yoon2018 and of the three papers after it; taught in chapter `features`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nltk.tokenize import NLTKWordTokenizer, PunktSentenceTokenizer

PAD, UNK = 0, 1
"""Rows of the vocabulary for padding and for tokens that it does not have."""

SPECIAL = ("<pad>", "<unk>")

TYPED = str.maketrans({"\u2018": "'", "\u2019": "'", "\u2026": "..."})
"""Quotation marks and dots as a word processor sets them, to those that NLTK knows.
"""

ABBREVIATIONS = (
    "a.d a.m adm ave b.c blvd capt cf cmdr col corp dept dr e.g etc gen gov i.e inc jr"
    " lt ltd maj messrs mr mrs ms mt o.k p.m ph.d pres prof pvt rep rev sen sgt sr st"
    " supt u.k u.n u.s u.s.a vs"
)
"""Words that a full stop follows without ending the sentence, lower case, without that
full stop.

Those that also end sentences as words (`no`, `hon`) are left out.
"""


def tokenize(text: str) -> list[str]:
    """Split a transcript into words and punctuation marks (yoon2018, section 3.2),
    lower-cased as its code does.

    This is `nltk.word_tokenize` without a download: its rules for words, after a split
    into sentences. Where NLTK loads a sentence splitter that was trained on English,
    this one knows `ABBREVIATIONS` and no more: the full stop of any other abbreviation
    inside a text becomes a token of its own. Bracketed tags like `[LAUGHTER]` stay
    whole, where NLTK would make three tokens of them, and an apostrophe is one however
    it was typed (`TYPED`).

    Args:
        text: a transcript, as written.

    Returns:
        tokens without white space; none for an empty text.

    Example:
        >>> tokenize("Mr. Smith can't come. [LAUGHTER]")
        ['mr.', 'smith', 'ca', "n't", 'come', '.', '[laughter]']
    """
    sentences, words = _tokenizers()
    return _join_tags(
        [
            token.lower()
            for sentence in sentences.tokenize(text.translate(TYPED))
            for token in words.tokenize(sentence)
        ]
    )


@cache
def _tokenizers() -> tuple[PunktSentenceTokenizer, NLTKWordTokenizer]:
    from nltk.tokenize import (
        NLTKWordTokenizer,
        PunktSentenceTokenizer,
    )  # takes over a second to import
    from nltk.tokenize.punkt import PunktParameters

    parameters = PunktParameters()
    parameters.abbrev_types.update(ABBREVIATIONS.split())
    return PunktSentenceTokenizer(parameters), NLTKWordTokenizer()


def _join_tags(tokens: list[str]) -> list[str]:
    joined: list[str] = []
    for token in tokens:
        if token == "]" and len(joined) >= 2 and joined[-2] == "[":
            joined[-2:] = [f"[{joined[-1]}]"]
        else:
            joined.append(token)
    return joined


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a model knows, and the number of each.

    Attributes:
        tokens: `<pad>`, `<unk>`, then by falling frequency, those of equal frequency in
            alphabetical order.
    """

    tokens: tuple[str, ...]

    @classmethod
    def build(
        cls,
        texts: Iterable[Iterable[str]],
        min_count: int = 1,
        keep: Iterable[str] = (),
    ) -> Vocabulary:
        """Count tokens and number them.

        Args:
            texts: the tokens of each text. By default those of the training folds;
                yoon2018's code took the whole corpus, test texts too.
            min_count: rarer tokens are left out, and so encoded as `UNK`.
            keep: tokens that are known whether they occur or not, for instance those
                with a pretrained vector.
        """
        counts = Counter(
            token for tokens in texts for token in tokens if token not in SPECIAL
        )
        kept = {token for token, count in counts.items() if count >= min_count} | (
            set(keep) - set(SPECIAL)
        )
        return cls((*SPECIAL, *sorted(kept, key=lambda token: (-counts[token], token))))

    @cached_property
    def _number(self) -> dict[str, int]:
        return {
            token: number
            for number, token in enumerate(self.tokens)
            if number not in (PAD, UNK)
        }

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, tokens: Iterable[str]) -> np.ndarray:
        """Return the number of each token, (tokens,) int64; `UNK` for one that the
        vocabulary does not have.
        """
        return np.array(
            [self._number.get(token, UNK) for token in tokens], dtype=np.int64
        )
