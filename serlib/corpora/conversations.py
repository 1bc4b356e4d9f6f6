"""The corpus of conversations: generated on first use, read like SEWA, and known to the
last cue.

It stands in for SEWA, whose licence forbids to pass it on, in tzirakis2021. Taught in
chapter `corpora`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from serlib.corpora import sewa
from serlib.corpora.corpus import Corpus
from serlib.corpora.generated import Generator
from serlib.corpora.lines import read_lines

if TYPE_CHECKING:
    import pandas as pd

GENERATOR = Generator(
    "corpus of conversations", "make_conversations", {"subjects": 64, "seconds": 80.0}
)
"""In the cache folder: as many subjects as SEWA has, 80 s each."""

about = GENERATOR.about
make_if_absent = GENERATOR.make_if_absent


def read(root: str | Path, *, lag: float = 0.0, progress: bool = True) -> Corpus:
    """Read a generated tree.

    Args:
        root: the folder that the generator wrote.
        lag: see `sewa.read`.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: if the tree is not whole.
        ValueError: if the tree is damaged.
    """
    about(root)
    return sewa.read(root, name="conversations", lag=lag, progress=progress)


def read_cues(root: str | Path) -> pd.DataFrame:
    """Read who speaks with whom and what each holds back (`cues.csv`).

    Returns:
        a row per recording, indexed by `id`, with the columns `partner` and
        `held_back`: `text` or `voice` if that stays neutral whatever the subject feels,
        else the empty string.

    Raises:
        FileNotFoundError: if the corpus has no such file.
        ValueError: if the table is damaged.
    """
    return GENERATOR.cues(root, ("id", "partner", "held_back"))


def read_lexicon(root: str | Path) -> pd.DataFrame:
    """Read what words stand for (`lexicon.csv`).

    Returns:
        a row per word that can be said, indexed by `word`, with the columns `class`;
        and `dimension` and `value`, the latter a number: of a word of sentiment
        `arousal`, `valence` or `liking` and what it stands for, of another the empty
        string and NaN.

    Raises:
        FileNotFoundError: if the corpus has no such file.
        ValueError: if the table is damaged.
    """
    path = GENERATOR.file(root, "lexicon.csv")
    words = GENERATOR.table(path, ("word", "class", "dimension", "value"))
    try:
        words["value"] = words["value"].replace("", "nan").astype(float)
    except ValueError as error:
        told = ValueError(f"expected numbers or nothing in `value`: {error}")
        raise GENERATOR.damaged(path, told) from error
    return words.set_index("word")


def read_latents(root: str | Path, id: str) -> pd.DataFrame:
    """Read what a subject feels and shows (`latents/*.csv`).

    Returns:
        a row per label, indexed by `time` in seconds: `arousal`, `valence` and `liking`
        as felt, without lag and noise of the annotators, then what the words and the
        voice show of each at that moment (`text_arousal` to `voice_liking`), NaN where
        they show nothing.

    Raises:
        FileNotFoundError: if the corpus has no such file.
        ValueError: if the table is damaged.
    """
    path = GENERATOR.file(root, f"latents/{id}.csv")
    kinds = ("", "text_", "voice_")
    dimensions = ("arousal", "valence", "liking")
    columns = ("time", *(f"{kind}{name}" for kind in kinds for name in dimensions))
    try:
        rows = len(read_lines(Path(root) / "labels" / f"{id}.csv")) - 1
        table = GENERATOR.table(path, columns, rows, separator=";")
        return table.replace("", "nan").astype(float).set_index("time")
    except ValueError as error:
        raise GENERATOR.damaged(path, error) from error


def read_ceilings(root: str | Path) -> dict[str, Any]:
    """Read the best concordance that anyone could reach (`ceilings.json`).

    Returns:
        partition (`devel`, `test`) to observer (`text`, `voice`, `both`, `both, not
        shifted`, which does not allow for the annotators' lag) to `{"ccc": ..., "each":
        ...}`, over all frames and as the mean over recordings; each has a value for
        `arousal`, `valence`, `liking` and their `mean`. `definition` says in words what
        the best is.

    Raises:
        FileNotFoundError: if the corpus has no such file.
        ValueError: if the file is damaged.
    """
    return GENERATOR.scores(root, ("definition", "devel", "test"))
