"""The synthetic corpus: generated on first use, read like IEMOCAP, and known to the
last cue.

It stands in for IEMOCAP, whose licence forbids to pass it on, in all four categorical
papers. Taught in chapter `corpora`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from serlib.corpora import iemocap
from serlib.corpora.corpus import Corpus
from serlib.corpora.generated import Generator

UTTERANCES = 5531
"""Of the corpus in the cache folder: IEMOCAP's number, with its class counts."""

GENERATOR = Generator("synthetic corpus", "make_synthetic", {"utterances": UTTERANCES})

CUES = ("id", "emotion", "item", "words", "voice", "stressed", "decoy", "line")

about = GENERATOR.about


def read(root: str | Path, *, progress: bool = True) -> Corpus:
    """Read a generated tree.

    Args:
        root: the folder that the generator wrote.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: if the tree is not whole.
        ValueError: if the tree is damaged.
    """
    about(root)
    return iemocap.read(root, name="synthetic", progress=progress)


def make_if_absent(
    root: str | Path, utterances: int, seed: int = 0, progress: bool = True
) -> None:
    """Generate a corpus of so many utterances unless it is there; see
    `Generator.make_if_absent`.
    """
    GENERATOR.make_if_absent(root, seed, progress, utterances=utterances)


def read_cues(root: str | Path) -> pd.DataFrame:
    """Read what carries the emotion of every utterance (`cues.csv`).

    Returns:
        a row per utterance, indexed by `id`, with columns `emotion`, `item`, `words`,
        `voice`, `stressed`, `decoy`, `line`; `stressed` and `decoy` are word indices
        (Int64, missing where there is none), the others are strings.

    Raises:
        FileNotFoundError: if the corpus has no such file.
        ValueError: if the table is damaged.
    """
    path = GENERATOR.file(root, "cues.csv")
    try:
        cues = pd.read_csv(path, dtype=str, keep_default_na=False)
        if tuple(cues.columns) != CUES:
            raise ValueError(
                f"expected the columns {', '.join(CUES)}, found"
                f" {', '.join(cues.columns)}"
            )
        if (short := cues.isna().any(axis=1)).any():
            raise ValueError(
                f"row {1 + int(short.argmax())} has fewer than {len(CUES)} fields"
            )
        for column in ("stressed", "decoy"):
            cues[column] = pd.to_numeric(cues[column].replace("", None)).astype("Int64")
        if (twice := cues.id[cues.id.duplicated()]).size:
            raise ValueError(f"two rows for {twice.iloc[0]}")
        return cues.set_index("id")
    except (ValueError, TypeError, OverflowError) as error:
        raise GENERATOR.damaged(path, error) from error


def read_ceilings(root: str | Path) -> dict[str, Any]:
    """Read the best results that anyone could reach (`ceilings.json`).

    Returns:
        subset (`all`, `improvised`, `scripted`, `plain`, `emphasis`) to observer
        (`text`, `voice`, `both`, `aligned`, `memory`) to `{"accuracy": ..., "ua":
        ...}`.

    Raises:
        FileNotFoundError: if the corpus has no such file.
        ValueError: if the file is damaged.
    """
    return GENERATOR.json(GENERATOR.file(root, "ceilings.json"), ("all",))
