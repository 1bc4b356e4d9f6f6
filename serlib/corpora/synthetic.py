"""The synthetic corpus: generated on first use, read like IEMOCAP, and known to the
last cue.

It stands in for IEMOCAP, whose licence forbids to pass it on, in all four categorical
papers. Taught in chapter `corpora`.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from serlib import files
from serlib.corpora import iemocap
from serlib.corpora.corpus import Corpus

log = logging.getLogger(__name__)

UTTERANCES = 5531
"""Of the corpus in the cache folder: IEMOCAP's number, with its class counts."""

MARKER = "corpus.json"
"""Written last by the generator: a tree that has it is whole."""

CUES = ("id", "emotion", "item", "words", "voice", "stressed", "decoy", "line")
COMMAND = "python data_scripts/make_synthetic.py"


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
    """Generate the corpus unless it is there; of several processes that ask at once,
    one does it.

    Args:
        root: the folder to generate into.
        utterances: how many.
        seed: of the generator; the same seed gives the same bytes.
        progress: show a progress bar.

    Raises:
        RuntimeError: if the generator is not installed.
        ValueError: if `root` holds a corpus of another size, seed or version of the
            generator.
        OSError: if `root` cannot be written.
    """
    root = Path(root)
    if not (root / MARKER).is_file():
        with files.locked(root):
            if not (root / MARKER).is_file():
                _make(root, utterances, seed, progress)
    wanted = {"utterances": utterances, "seed": seed} | _generator()
    found = {name: value for name, value in about(root).items() if name in wanted}
    if found != wanted:
        described = [
            ", ".join(f"{name} {value}" for name, value in one.items())
            for one in (wanted, found)
        ]
        raise ValueError(
            "{}: expected {}, found {}; remove the folder or name another".format(
                root, *described
            )
        )


def about(root: str | Path) -> dict[str, Any]:
    """Return what the generator says of its tree: `utterances`, `seed`, `generator`
    (version), `counts` and so on.

    Raises:
        FileNotFoundError: if the tree is not whole.
        ValueError: if the file is damaged.
    """
    path = Path(root) / MARKER
    if not path.is_file():
        raise FileNotFoundError(
            f"{root} holds no complete synthetic corpus ({MARKER}, which is written"
            f" last, is missing); make or finish it: {COMMAND} --utterances"
            f" {UTTERANCES} --out {root}"
        )
    return _json(path, ("name", "utterances", "seed"))


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
    path = _generated(root, "cues.csv")
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
        raise ValueError(
            f"{path} is damaged: {error}; make the corpus again: {COMMAND}"
        ) from error


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
    return _json(_generated(root, "ceilings.json"), ("all",))


def _generator() -> dict[str, int]:
    """The version of the generator, if it is installed."""
    try:
        from data_scripts.make_synthetic import VERSION
    except ImportError:
        return {}
    return {"generator": VERSION}


def _make(root: Path, utterances: int, seed: int, progress: bool) -> None:
    try:
        from data_scripts import make_synthetic
    except ImportError as error:
        raise RuntimeError(
            f"cannot make the synthetic corpus in {root}: {error}; run this from a"
            f" clone of the project, or make the corpus there ({COMMAND} --utterances"
            f" {utterances} --out {root})"
        ) from error
    log.info("making a synthetic corpus of %d utterances in %s", utterances, root)
    make_synthetic.make(
        root, utterances=utterances, seed=seed, jobs=None, progress=progress
    )


def _generated(root: str | Path, name: str) -> Path:
    path = Path(root) / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: only a synthetic corpus has it; make one: {COMMAND}"
            " --out FOLDER"
        )
    return path


def _json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict) or not set(keys) <= value.keys():
            raise ValueError(f"expected an object with {', '.join(keys)}")
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged: {error}; make the corpus again: {COMMAND}"
        ) from error
    return value
