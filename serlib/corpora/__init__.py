"""Corpora of emotional speech: one call, one record, whatever lies on disk.

Used by all five papers; taught in chapter `corpora`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from serlib.corpora import conversations, iemocap, ravdess, sewa, synthetic, table
from serlib.corpora.alignments import with_alignments
from serlib.corpora.corpus import (
    EMOTIONS,
    Corpus,
    Recording,
    Segment,
    Skip,
    Utterance,
)
from serlib.corpora.generated import MARKER
from serlib.corpora.transcripts import (
    read_transcripts,
    with_transcripts,
    word_error_rate,
    word_error_rates,
)
from serlib.files import cache_folder

__all__ = [
    "EMOTIONS",
    "NAMES",
    "Corpus",
    "Recording",
    "Segment",
    "Skip",
    "Utterance",
    "cache_folder",
    "load",
    "read_transcripts",
    "with_alignments",
    "with_transcripts",
    "word_error_rate",
    "word_error_rates",
]

NAMES = ("iemocap", "ravdess", "sewa", "synthetic", "conversations", "table")

GENERATORS = {
    "synthetic": synthetic.GENERATOR,
    "conversations": conversations.GENERATOR,
}

HOW_TO_GET = {
    "iemocap": (
        "IEMOCAP is free for research: ask for it at"
        " https://sail.usc.edu/iemocap/iemocap_release.htm"
    ),
    "ravdess": (
        "RAVDESS is open: unpack Audio_Speech_Actors_01-24.zip from"
        " https://zenodo.org/records/1188976"
    ),
    "sewa": (
        "SEWA, as AVEC 2017 has it, is free for research: ask for it at"
        " https://db.sewaproject.eu"
    ),
    "table": (
        "Write one (CSV, TSV or Parquet): a row per utterance, the columns path and"
        " emotion"
    ),
    "synthetic": f"make it: {synthetic.GENERATOR.usage}",
    "conversations": f"make it: {conversations.GENERATOR.usage}",
}


def load(
    name: str,
    root: str | Path | None = None,
    *,
    transcripts: str | Path | None = None,
    alignments: str | Path | None = None,
    lag: float = 0.0,
    labels: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Corpus:
    """Read a corpus.

    Args:
        name: one of `NAMES`. A generated tree that is read as `iemocap` or `sewa` is
            still named `synthetic` or `conversations`, so that no result on it passes
            for one on human speech.
        root: folder of the corpus; of `table`, the table or its folder. Without it, the
            environment variable `SERLIB_IEMOCAP` and so on, else a folder in
            `cache_folder()`. There the synthetic corpus and that of conversations are
            made on first use.
        transcripts: other transcripts in place of the reference text, a name
            (`asr-5.53`) or a path.
        alignments: folder of other words and phones than the corpus's own, if it has
            any; see `with_alignments`.
        lag: seconds by which the labels of `sewa` or `conversations` are shifted back;
            see `sewa.read`.
        labels: label to class, for `table`; see `table.read`.
        progress: show progress bars.

    Returns:
        the corpus; `Corpus.skipped` says what could not be read.

    Raises:
        ValueError: for an unknown name, if the folder does not hold that corpus or is a
            file, for a lag of a corpus that has no curves, or for labels of one that is
            no table.
        FileNotFoundError: if the folder is not there; the message says how to get the
            corpus.

    Sketch:
        corpus = load("iemocap", "/data/IEMOCAP_full_release").four_class()
        len(corpus)
        5531
    """
    if name not in NAMES:
        raise ValueError(f"unknown corpus {name!r}; expected one of {', '.join(NAMES)}")
    if lag and name not in ("sewa", "conversations"):
        raise ValueError(f"lag is {lag}, but {name} has no labels over time to shift")
    if labels is not None and name != "table":
        raise ValueError(f"labels are for the corpus table; those of {name} are known")
    root, origin = _locate(name, root)
    generator = GENERATORS.get(name)
    if generator and origin == "cache":
        generator.make_if_absent(root, progress=progress, **generator.size)
    if root.is_file() and name != "table":
        raise ValueError(
            f"{root} is a file, expected the folder of {name}; unpack it and give the"
            " folder"
        )
    if not root.exists():
        raise FileNotFoundError(_absent(name, root, origin))
    generated = (root / MARKER).is_file()
    if name == "table":
        corpus = table.read(root, labels=labels, progress=progress)
    elif name == "ravdess":
        corpus = ravdess.read(root, progress=progress)
    elif name in ("sewa", "conversations"):
        whole = conversations if generated or name == "conversations" else sewa
        corpus = whole.read(root, lag=lag, progress=progress)
    else:
        whole = synthetic if generated or name == "synthetic" else iemocap
        corpus = whole.read(root, progress=progress)
    if transcripts is not None:
        corpus = with_transcripts(corpus, transcripts)
    return corpus if alignments is None else with_alignments(corpus, alignments)


def _locate(name: str, root: str | Path | None) -> tuple[Path, str]:
    """The folder, and who named it: `root`, the environment variable, or `cache`."""
    variable = f"SERLIB_{name.upper()}"
    if root is not None:
        if isinstance(root, bool) or not str(root).strip():
            raise ValueError(f"root is {root!r}; expected the corpus's folder, or None")
        bare = str(root).strip().strip("\"'")  # as copied with quotes, or a line's end
        return Path(bare).expanduser(), "root"
    if os.environ.get(variable):
        return Path(os.environ[variable]).expanduser(), variable
    return cache_folder() / name, "cache"


def _absent(name: str, root: Path, origin: str) -> str:
    named_by = {
        "root": "given as root",
        "cache": "the default, since neither root nor SERLIB_{} is set",
    }
    where = named_by.get(origin, f"from the environment variable {origin}").format(
        name.upper()
    )
    how = f"{HOW_TO_GET[name]} {root}" if name in GENERATORS else HOW_TO_GET[name]
    what, its = ("table", "it") if name == "table" else ("folder", "its folder")
    return (
        f"no {what} {root.absolute()} ({where}). {how}; then pass {its} as root or set"
        f" SERLIB_{name.upper()} to it"
    )
