"""The synthetic corpus: generated on first use, read like IEMOCAP, and known to the
last cue.

It stands in for IEMOCAP, whose licence forbids to pass it on, in all four categorical
papers. Taught in chapter `corpora`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from serlib.corpora import iemocap
from serlib.corpora.corpus import EMOTIONS, Corpus
from serlib.corpora.generated import Generator

if TYPE_CHECKING:
    import pandas as pd

UTTERANCES = 5531
"""Of the corpus in the cache folder: IEMOCAP's number, with its class counts."""

GENERATOR = Generator("synthetic corpus", "make_synthetic", {"utterances": UTTERANCES})

CUES = ("id", "emotion", "item", "words", "voice", "stressed", "decoy", "line")

LEXICON = ("word", "class", "emotion", "homophone_of", "lemma")

MOST_WORDS = 1000
"""No utterance has so many; the index of a word that is not below is damage."""

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
    import pandas as pd  # only here, as in `Generator.table`

    cues = GENERATOR.cues(root, CUES)
    path = GENERATOR.file(root, "cues.csv")
    known = {"emotion": EMOTIONS, "voice": EMOTIONS, "item": ("plain", "emphasis")}
    try:
        for column, values in known.items():
            if (wrong := cues.index[~cues[column].isin(values)]).size:
                raise ValueError(
                    f"expected {column} of {wrong[0]} among {', '.join(values)}, found"
                    f" {cues.loc[wrong[0], column]!r}"
                )
        for column in ("stressed", "decoy"):
            words = pd.to_numeric(cues[column].replace("", None)).astype("Int64")
            if (
                wrong := words.index[~words.between(0, MOST_WORDS - 1).fillna(True)]
            ).size:
                raise ValueError(
                    f"expected the index of a word as {column} of {wrong[0]}, found"
                    f" {cues.loc[wrong[0], column]}"
                )
            cues[column] = words
    except (ValueError, TypeError, OverflowError) as error:
        raise GENERATOR.damaged(path, error) from error
    return cues


def read_lexicon(root: str | Path) -> pd.DataFrame:
    """Read the words of the corpus (`lexicon.csv`).

    Returns:
        a row per word with the columns `word`, `class`, `emotion` (of a word that shows
        one, else the empty string), `homophone_of` and `lemma`; all strings.

    Raises:
        FileNotFoundError: if the corpus has no such file.
        ValueError: if the table is damaged.
    """
    path = GENERATOR.file(root, "lexicon.csv")
    return GENERATOR.table(path, LEXICON, about(root).get("lexicon"))


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
    return GENERATOR.scores(root, ("all",))
