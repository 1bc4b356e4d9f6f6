"""Records of runs: written and read as JSON, with predictions beside them, and
tabulated beside the papers' numbers.

Used for all five papers; the records in `results/` are what the scoreboard reads.
Taught in chapter `evaluation`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import serlib
from serlib import files
from serlib.corpora.records import Corpus
from serlib.metrics import Interval, mean_interval
from serlib.papers import PAPERS, published
from serlib.protocols import Split

METRICS = {"accuracy": "accuracy", "wa": "WA", "ua": "UA", "wap": "WAP"}
"""Measures that a table shows: name in a record to name in a heading."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a system said about each utterance of a test set.

    Attributes:
        ids: utterance ids.
        labels: (utterances,) int64 class indices.
        logits: (utterances, classes) float32.
    """

    ids: list[str]
    labels: np.ndarray
    logits: np.ndarray

    def __post_init__(self) -> None:
        labels, logits = (
            np.asarray(self.labels, dtype=np.int64),
            np.asarray(self.logits, dtype=np.float32),
        )
        if (
            labels.shape != (len(self.ids),)
            or logits.ndim != 2
            or len(logits) != len(self.ids)
        ):
            raise ValueError(
                f"{len(self.ids)} ids need labels of shape ({len(self.ids)},) and"
                f" logits of shape ({len(self.ids)}, classes); got {labels.shape} and"
                f" {logits.shape}"
            )
        object.__setattr__(self, "ids", [str(id) for id in self.ids])
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "logits", logits)

    @property
    def predicted(self) -> np.ndarray:
        """(utterances,) the class with the highest logit."""
        return self.logits.argmax(axis=1)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run: one system, trained on one fold with one seed, and tested.

    Attributes:
        paper, system, corpus, protocol, profile: their keys.
        synthetic: True if the corpus was made by a synthesiser.
        fold: index of the split; seed: of the weights and the order of training.
        metrics: `accuracy`, `wa`, `ua`, `wap` and `loss` on the test set; None where
            not finite.
        confusion: counts, a list of rows; rows are the true classes.
        sizes: utterances in `train`, `dev` and `test`.
        parameters: trainable numbers of the model.
        steps, best_step: updates made, and the update whose weights were tested.
        history: one `{"step", "train_loss", "dev_loss"}` per look at the development
            set.
        wall_time: seconds, training and testing.
        device: `cpu` or `cuda`; hardware: its name, see `hardware`.
        versions: of Python and the libraries, see `versions`.
        commit: of serlib's own repository, see `commit`.
        settings: everything the run was told.
        key: hash of what determines the result, see `run_key`.
        skipped: how many things the corpus reader could not use.
        predictions: on the test set; kept in an npz file of their own, None if they
            were not read.
    """

    paper: str
    system: str
    corpus: str
    synthetic: bool
    protocol: str
    profile: str
    fold: int
    seed: int
    metrics: Mapping[str, float | None]
    confusion: Sequence[Sequence[int]]
    sizes: Mapping[str, int]
    parameters: int
    steps: int
    best_step: int
    history: Sequence[Mapping[str, float]]
    wall_time: float
    device: str
    hardware: str
    versions: Mapping[str, str]
    commit: str | None
    settings: Mapping[str, Any]
    key: str
    skipped: int = 0
    predictions: Predictions | None = field(default=None, compare=False, repr=False)

    @property
    def path(self) -> Path:
        """Where the record lies inside a folder of results."""
        name = f"{self.system}-fold{self.fold}-seed{self.seed}.json"
        return Path(self.paper, self.corpus, self.protocol, self.profile, name)


FIELDS = tuple(one.name for one in fields(Record) if one.name != "predictions")
"""What is written of a record."""

TYPES = (
    dict.fromkeys(
        (
            "paper",
            "system",
            "corpus",
            "protocol",
            "profile",
            "device",
            "hardware",
            "key",
        ),
        str,
    )
    | dict.fromkeys(
        ("fold", "seed", "parameters", "steps", "best_step", "skipped"), int
    )
    | dict.fromkeys(("metrics", "sizes", "versions", "settings"), dict)
    | dict.fromkeys(("confusion", "history"), list)
    | {"synthetic": bool, "wall_time": (int, float)}
)
"""What JSON must hold for a record to be usable."""


def run_key(
    corpus: Corpus, split: Split, settings: Mapping[str, Any], seed: int, **facts: Any
) -> str:
    """Hash what determines the result of a run, so that a run is not made twice.

    Args:
        corpus: what is trained and tested on. Its waveforms, transcripts, labels and
            alignments count, not its folder.
        split: who is trained on, tuned on and tested on.
        settings: everything the run is told.
        seed: of the run.
        facts: whatever else matters, for instance paper and system.

    Returns:
        32 hexadecimal digits. Another version of serlib gives another key.

    Raises:
        TypeError: if `settings` or `facts` hold something that JSON does not have.
    """
    texts = hashlib.blake2b(digest_size=16)
    for u in corpus:
        texts.update(
            repr(
                (u.id, u.speaker, u.emotion, u.dimensions, u.text, u.words, u.phones)
            ).encode()
        )
    everything = {
        "serlib": serlib.__version__,
        "audio": corpus.fingerprint,
        "labels and texts": texts.hexdigest(),
        "split": [split.train, split.dev, split.test],
        "settings": _plain(settings),
        "seed": seed,
        "facts": _plain(facts),
    }
    return hashlib.blake2b(
        json.dumps(everything, sort_keys=True).encode(), digest_size=16
    ).hexdigest()


def write(
    record: Record, predictions: Predictions | None, directory: str | Path
) -> Path:
    """Write a record, and its predictions beside it, under the record's own name.

    Both are written before either gets its name, the predictions first: a record that
    is there is complete. An older record of that name is replaced; if something cannot
    be written, it stays with its own predictions.

    Args:
        record: the run.
        predictions: what it said about the test set, or None to write the record alone.
        directory: folder of results.

    Returns:
        path of the JSON file:
        `directory/paper/corpus/protocol/profile/system-fold0-seed0.json`.

    Raises:
        OSError: if the folder cannot be written.
        TypeError: if the record holds something that JSON does not have.
    """
    path = Path(directory) / record.path
    content = {name: _plain(getattr(record, name)) for name in FIELDS}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if predictions is None:
        files.write_text(path, text)
        return path
    with files.atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        with files.atomic(path.with_suffix(".npz")) as beside:
            np.savez_compressed(
                beside,
                ids=np.asarray(predictions.ids, dtype=np.str_),
                labels=predictions.labels,
                logits=predictions.logits,
                key=np.asarray(record.key, dtype=np.str_),
            )
    return path


def read(
    directory: str | Path, *, predictions: bool = False, **filters: Any
) -> list[Record]:
    """Read the records in a folder.

    Args:
        directory: folder of results, looked through at every depth.
        predictions: read what each said of its test set too; then the folder must be
            the one that was written to.
        filters: fields of Record with the value wanted, or a list of values:
            `paper="yoon2018", system=["are", "tre"]`.

    Returns:
        the records, sorted by paper, corpus, protocol, profile, system, fold and seed.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if a JSON file in it is damaged or not a record (the message names
            it), or for an unknown filter.
    """
    directory = Path(directory)
    unknown = sorted(set(filters) - set(FIELDS))
    if unknown:
        raise ValueError(
            f"cannot filter by {', '.join(unknown)}; a record has {', '.join(FIELDS)}"
        )
    if not directory.is_dir():
        raise FileNotFoundError(
            f"{directory}: no such folder; expected the results of a run"
        )
    paths = [
        path for path in directory.rglob("*.json") if not path.name.startswith(".")
    ]
    wanted = {
        name: value if isinstance(value, list | tuple | set) else [value]
        for name, value in filters.items()
    }
    records = [_load(path) for path in sorted(paths)]
    chosen = [
        one
        for one in records
        if all(getattr(one, name) in values for name, values in wanted.items())
    ]
    chosen.sort(
        key=lambda one: (
            one.paper,
            one.corpus,
            one.protocol,
            one.profile,
            one.system,
            one.fold,
            one.seed,
        )
    )
    return (
        [replace(one, predictions=read_predictions(one, directory)) for one in chosen]
        if predictions
        else chosen
    )


def read_predictions(record: Record, directory: str | Path) -> Predictions:
    """Read the predictions that were written with a record.

    Raises:
        FileNotFoundError: if they are not in `directory`.
        ValueError: if their file is damaged, or belongs to another run of that name.
    """
    path = (Path(directory) / record.path).with_suffix(".npz")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected the predictions of {record.system}: run it"
            " again"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            predictions = Predictions(
                arrays["ids"].tolist(), arrays["labels"], arrays["logits"]
            )
            key = str(arrays["key"])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not the predictions of a run ({error}); delete it and run again"
        ) from error
    if key != record.key:
        raise ValueError(
            f"{path}: the predictions of another run than the record beside it; delete"
            " both and run again"
        )
    return predictions


def find(record_path: Path, key: str, directory: str | Path) -> Record | None:
    """Return the run that is already there under a name, if it is the same run.

    Args:
        record_path: `Record.path` of the run.
        key: `run_key` of the run.
        directory: folder of results.

    Returns:
        the record with its predictions; None if there is none, its key is another, or
        its predictions are missing.

    Raises:
        ValueError: if the record or its predictions are damaged.
    """
    path = Path(directory) / record_path
    if not path.is_file() or not path.with_suffix(".npz").is_file():
        return None
    record = _load(path)
    return (
        replace(record, predictions=read_predictions(record, directory))
        if record.key == key
        else None
    )


def pooled(
    records: Iterable[Record], directory: str | Path | None = None
) -> Predictions:
    """Put the test sets of all folds of one seed together, as if they were one.

    With them `metrics.bootstrap` gives the interval of UA over utterances, and
    `metrics.wilson` that of accuracy.

    Args:
        records: folds of one run: everything but the fold is the same.
        directory: folder of results, for records without predictions.

    Returns:
        the predictions in the order of the folds.

    Raises:
        ValueError: if the records are not folds of one run, or an utterance is tested
            twice, or predictions are missing and no folder is given.
    """
    records = sorted(records, key=lambda one: one.fold)
    runs = {
        (one.paper, one.system, one.corpus, one.protocol, one.profile, one.seed)
        for one in records
    }
    if len(runs) != 1:
        raise ValueError(
            f"expected the folds of one run, with one seed; got records of {len(runs)}"
            " runs"
        )
    parts = []
    for record in records:
        if record.predictions is None and directory is None:
            raise ValueError(
                f"{record.path}: read without its predictions; name the folder of"
                " results"
            )
        parts.append(record.predictions or read_predictions(record, directory))
    ids = [id for part in parts for id in part.ids]
    if len(set(ids)) != len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise ValueError(
            f"{twice} is tested in two folds; expected each utterance once"
        )
    return Predictions(
        ids,
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.logits for part in parts]),
    )


def confusion_of(records: Iterable[Record]) -> np.ndarray:
    """Add up the confusion counts of several runs.

    Returns:
        (classes, classes) counts; rows are the true classes. Divide by the row sums for
        shares.

    Raises:
        ValueError: if there are no records.
    """
    counts = [np.asarray(record.confusion) for record in records]
    if not counts:
        raise ValueError("expected at least one record, got none")
    return np.sum(counts, axis=0)


def table(
    records: Iterable[Record],
    paper: str | None = None,
    interval: Callable[[Sequence[float]], Interval] = mean_interval,
) -> pd.DataFrame:
    """Tabulate runs beside the numbers that the paper prints.

    Args:
        records: runs on one corpus.
        paper: the paper to compare with; by default the one that all records are of.
        interval: from the values of a system's runs, over folds and seeds, to their
            mean and its interval.

    Returns:
        a row per system in the order in which the records name them, preceded in the
        index by paper, protocol or profile where these vary. Columns in two levels: own
        results under `ours (synthetic corpus)`, or for instance `ours (IEMOCAP)`:
        `runs`, then for each of accuracy, WA, UA and WAP its mean and, as `UA low` and
        `UA high`, its interval; the paper's numbers under `published (IEMOCAP)`, only
        for the metrics that it prints, nan where it prints none. All are fractions;
        `formatted` makes them readable.

    Raises:
        ValueError: if there are no records, or they are of more than one corpus.
    """
    records = list(records)
    corpora = sorted({(one.corpus, one.synthetic) for one in records})
    if len(corpora) != 1:
        raise ValueError(
            "expected records of one corpus, got"
            f" {', '.join(name for name, _ in corpora) or 'none'}"
        )
    ours = (
        "ours (synthetic corpus)"
        if corpora[0][1]
        else f"ours ({corpora[0][0].upper()})"
    )
    index = [
        name
        for name in ("paper", "protocol", "profile")
        if len({getattr(one, name) for one in records}) > 1
    ]
    index.append("system")
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(getattr(record, name) for name in index), []).append(
            record
        )
    own, theirs = [], []
    for runs in groups.values():
        row: dict[str, float] = {"runs": len(runs)}
        for metric, heading in METRICS.items():
            values = [one.metrics[metric] for one in runs]
            low, high, mean = interval(
                [math.nan if value is None else value for value in values]
            )
            row |= {heading: mean, f"{heading} low": low, f"{heading} high": high}
        own.append(row)
        printed = {
            METRICS[metric]: published(paper or runs[0].paper, runs[0].system, metric)
            for metric in METRICS
        }
        theirs.append(
            {heading: one.value for heading, one in printed.items() if one is not None}
        )
    rows = (
        pd.MultiIndex.from_tuples(groups, names=index)
        if len(index) > 1
        else pd.Index([k for (k,) in groups], name="system")
    )
    headings = [
        heading for heading in METRICS.values() if any(heading in row for row in theirs)
    ]
    source = PAPERS[paper or records[0].paper].corpus
    parts = {ours: pd.DataFrame(own, index=rows)}
    if headings:
        parts[f"published ({source})"] = pd.DataFrame(
            theirs, index=rows, columns=headings
        )
    return pd.concat(parts, axis=1)


def formatted(frame: pd.DataFrame) -> pd.DataFrame:
    """Make a `table` readable: percentages as text, each mean with its interval.

    Args:
        frame: what `table` returns.

    Returns:
        the same rows, with a column `UA` such as `61.2 [59.0, 63.4]` for the three
        columns of UA; empty where there is no number, and without brackets where a
        single run gives no interval.
    """
    columns = {}
    for source, heading in frame.columns:
        if heading.endswith((" low", " high")):
            continue
        if heading == "runs":
            columns[source, heading] = frame[source, heading].map(str)
        elif (source, f"{heading} low") in frame.columns:
            ends = zip(
                *(frame[source, f"{heading}{end}"] for end in ("", " low", " high")),
                strict=True,
            )
            columns[source, heading] = [_percent(*one) for one in ends]
        else:
            columns[source, heading] = [
                _percent(value) for value in frame[source, heading]
            ]
    return pd.DataFrame(columns, index=frame.index)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a result depends on.

    Nothing is imported for it; a library that is not installed is left out.
    """
    found = {"python": platform.python_version(), "serlib": serlib.__version__}
    for name in ("torch", "torchaudio", "numpy", "opensmile"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: str = "cpu") -> str:
    """Name what a run is computed on: the GPU, or the processor with the number of its
    cores.

    Args:
        device: `cpu`, `cuda` or `cuda:1`; another device is named by its type.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    if device != "cpu":
        return device
    model = platform.processor() or platform.machine()
    try:
        lines = (
            Path("/proc/cpuinfo")
            .read_text(encoding="utf-8", errors="replace")
            .splitlines()
        )
        model = next(
            line.partition(":")[2].strip()
            for line in lines
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} cores"


def commit(folder: Path | None = None) -> str | None:
    """Return the commit of the repository that serlib lies in, with `+` if serlib was
    changed since.

    Args:
        folder: of the package; by default serlib's own.

    Returns:
        a short hash; None if the package is not part of a repository (installed by
        pip), or there is no git.
    """
    folder = folder or Path(serlib.__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "--short", "HEAD") + (
            "+" if git("status", "--porcelain", "--", ".") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _percent(mean: float, low: float = math.nan, high: float = math.nan) -> str:
    if math.isnan(mean):
        return ""
    return (
        f"{100 * mean:.1f}"
        if math.isnan(low)
        else f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    )


def _plain(value: Any) -> Any:
    """Return `value` in JSON's own types: arrays as lists, numbers that are not finite
    as None.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _load(path: Path) -> Record:
    """Read one record; raise ValueError naming the file if it is not one."""
    advice = "delete it and run again, or move it out of the results"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged, not JSON ({error}); {advice}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: not the record of a run: expected an object, got a"
            f" {type(content).__name__}; {advice}"
        )
    if set(content) != set(FIELDS):
        missing, foreign = set(FIELDS) - set(content), set(content) - set(FIELDS)
        what = " and ".join(
            f"{kind} {', '.join(sorted(names))}"
            for kind, names in (("no", missing), ("unknown", foreign))
            if names
        )
        raise ValueError(f"{path}: not the record of a run: it has {what}; {advice}")
    wrong = [
        name for name, kind in TYPES.items() if not isinstance(content[name], kind)
    ]
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{path}: not the record of a run: {name} is {content[name]!r:.60};"
            f" {advice}"
        )
    return Record(**content)
