"""Word vectors learnt from the texts that a system trains on, with Word2Vec.

Source: Mikolov et al. 2013, "Efficient estimation of word representations in vector
space" (skip-gram, CBOW) and "Distributed representations of words and phrases and their
compositionality" (negative samples). An alternative to GloVe for the systems that read
text.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from serlib.embeddings.space import Space

logger = logging.getLogger(__name__)

SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "sg": 1,
        "window": 5,
        "negative": 5,
        "min_count": 2,
        "sample": 1e-3,
        "epochs": 30,
        "alpha": 0.025,
        "seed": 0,
    }
)
"""Of gensim's Word2Vec: skip-gram, five words to each side, five negative samples;
words that occur once get no vector, as they get no row of their own in the vocabulary.
A few thousand utterances are little to learn from: 30 epochs.
"""


def train_word2vec(texts: Iterable[Iterable[str]], dims: int, **changes: Any) -> Space:
    """Learn a vector for every word of some texts that occurs at least twice.

    The same texts in the same order give the same vectors, whatever the process: a
    single thread computes, and nothing depends on Python's hash of strings.

    Args:
        texts: the tokens of each, of training utterances only: a word of a test text
            must not get a vector from it.
        dims: numbers per vector.
        changes: other values for some of `SETTINGS`, such as `sg=0` for CBOW.

    Returns:
        the vectors, the most frequent word first and those of equal frequency in
        alphabetical order; empty if no word occurs often enough.

    Raises:
        ValueError: for a setting that is not one of `SETTINGS`, or if `dims` is not
            positive.

    Sketch:
        vectors = train_word2vec((tokens[id] for id in split.train), dims=100)
    """
    from gensim.models import Word2Vec  # takes a second to import

    if unknown := sorted(changes.keys() - SETTINGS.keys()):
        raise ValueError(
            f"no setting of Word2Vec is called {', '.join(unknown)}; expected some of"
            f" {', '.join(SETTINGS)}"
        )
    if dims < 1:
        raise ValueError(f"expected at least one number per vector, got dims={dims}")
    texts = [list(tokens) for tokens in texts]
    model = Word2Vec(
        vector_size=dims, workers=1, hashfxn=_hash, **{**SETTINGS, **changes}
    )
    model.build_vocab(texts)
    logger.info("word2vec: %d texts, %d words with a vector", len(texts), len(model.wv))
    if not len(model.wv):
        return Space((), np.zeros((0, dims)))
    model.train(texts, total_examples=model.corpus_count, epochs=model.epochs)
    counts = {
        word: model.wv.get_vecattr(word, "count") for word in model.wv.key_to_index
    }
    words = sorted(counts, key=lambda word: (-counts[word], word))
    return Space(tuple(words), model.wv[words])


def settings() -> dict[str, Any]:
    """Return everything but texts and size that the vectors depend on, for the key of a
    run.
    """
    import gensim

    return {"word2vec": dict(SETTINGS), "gensim": gensim.__version__}


def _hash(text: str) -> int:
    """The same in every process, where `hash` is not."""
    return zlib.crc32(text.encode())
