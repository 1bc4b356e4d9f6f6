"""Numbers computed from an utterance's waveform, and tokens from its text.

Used by all five papers; taught in chapter `features`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from serlib.features.cache import FeatureTable, feature_table
from serlib.features.feature import Feature
from serlib.features.mfcc import MFCC, MFCC_15MS, MFCC_NAMES, mfcc, mfcc_15ms
from serlib.features.prosody import (
    CONTOUR_NAMES,
    PROSODY,
    PROSODY_NAMES,
    contours,
    prosody,
)
from serlib.features.short_term import SHORT_TERM, SHORT_TERM_NAMES, short_term
from serlib.features.text import PAD, UNK, Vocabulary, tokenize
from serlib.features.waveform import RATE, read_waveform
from serlib.files import cache_folder

if TYPE_CHECKING:
    from serlib.corpora.corpus import Corpus
    from serlib.features.contours_torch import contours_batch
    from serlib.features.mfcc_torch import mfcc_batch
    from serlib.features.short_term_torch import short_term_batch

__all__ = [
    "CONTOUR_NAMES",
    "FEATURES",
    "MFCC_NAMES",
    "PAD",
    "PROSODY_NAMES",
    "RATE",
    "SHORT_TERM_NAMES",
    "UNK",
    "Feature",
    "FeatureTable",
    "Vocabulary",
    "contours",
    "contours_batch",
    "extract",
    "mfcc",
    "mfcc_15ms",
    "mfcc_batch",
    "prosody",
    "read_waveform",
    "short_term",
    "short_term_batch",
    "tokenize",
]

FEATURES: dict[str, Feature] = {
    feature.name: feature for feature in (MFCC, MFCC_15MS, PROSODY, SHORT_TERM)
}
"""Every feature that `extract` knows."""

IN_TORCH = {
    "contours_batch": "contours_torch",
    "mfcc_batch": "mfcc_torch",
    "short_term_batch": "short_term_torch",
}
"""Torch versions, and the module that each is in."""


def extract(
    corpus: Corpus,
    name: str,
    *,
    cache: str | Path | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> FeatureTable:
    """Return a feature of every utterance of a corpus; what is not in the cache is
    computed first.

    Args:
        corpus: whose utterances.
        name: a key of `FEATURES`.
        cache: folder to keep features in; None for `cache_folder() / "features"`.
        jobs: processes; None for as many as there are cores.
        progress: show a progress bar.

    Returns:
        a mapping from utterance id to memory-mapped float32, (frames, dims) or (dims,),
        all finite.

    Raises:
        ValueError: for an unknown name; if an utterance cannot be read or its features
            are not finite.
        OSError: if a file is missing or the cache cannot be written.
        RuntimeError: if openSMILE fails or a process dies.

    Sketch:
        table = extract(corpus, "mfcc")
        table["Ses01F_impro01_F000"].shape
        (194, 39)
    """
    if name not in FEATURES:
        raise ValueError(
            f"unknown feature {name!r}; expected one of {', '.join(FEATURES)}"
        )
    folder = cache_folder() / "features" if cache is None else Path(cache)
    return feature_table(corpus, FEATURES[name], folder, jobs=jobs, progress=progress)


def __getattr__(name: str) -> object:
    """Import what needs torch when it is asked for: the processes that run openSMILE do
    without torch's memory.
    """
    if name in IN_TORCH:
        return getattr(import_module(f"serlib.features.{IN_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
