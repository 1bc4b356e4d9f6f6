"""Vectors of words: read from a file, or learnt.

Used by yoon2018, xu2019, shen2020 and krishna2020 (text) and tzirakis2021; taught in
chapter `yoon2018`.
"""

from __future__ import annotations

from serlib.embeddings.space import Space
from serlib.embeddings.vectors import read_vectors, rows_for, write_vectors
from serlib.embeddings.word2vec import train_word2vec

__all__ = ["Space", "read_vectors", "rows_for", "train_word2vec", "write_vectors"]
