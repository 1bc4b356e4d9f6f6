"""Records of runs and their predictions: written, read, packed and found again.

A run that is being made has files of its own, so that a killed batch goes on where it
was; `pack` puts all folds and seeds of a system together. Used for all five papers; the
records in `results/` are what chapters read. Taught in chapter `evaluation`.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from serlib import files
from serlib.metrics import Measure, confusion

MARKER = "replayed.txt"
"""File in a corpus's folder of results that says that replay guards the records there:
they are used although other code made them, see `serlib.runs.make`.
"""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a system said about each item of a test set.

    Attributes:
        ids: of the utterances or recordings.
        targets: (items,) int64 class indices; or curves end to end, (steps of all,
            dimensions) float32.
        outputs: (items, classes) float32 logits; or curves, shaped as the targets.
        lengths: (items,) steps of each curve; None for classes.
    """

    ids: list[str]
    targets: np.ndarray
    outputs: np.ndarray
    lengths: np.ndarray | None = None

    def __post_init__(self) -> None:
        curves = self.lengths is not None
        kind = np.float32 if curves else np.int64
        lengths = np.asarray(self.lengths, dtype=np.int64) if curves else None
        targets = np.asarray(self.targets, dtype=kind)
        outputs = np.asarray(self.outputs, dtype=np.float32)
        rows = int(lengths.sum()) if curves else len(self.ids)
        fits = targets.ndim == (2 if curves else 1) and outputs.ndim == 2
        if not fits or len(targets) != rows or len(outputs) != rows:
            raise ValueError(
                f"{len(self.ids)} ids, {rows} rows: expected as many targets and"
                f" outputs, found {targets.shape} and {outputs.shape}"
            )
        object.__setattr__(self, "ids", [str(id) for id in self.ids])
        for name, value in (
            ("targets", targets),
            ("outputs", outputs),
            ("lengths", lengths),
        ):
            object.__setattr__(self, name, value)

    @property
    def predicted(self) -> np.ndarray:
        """(items,) the class with the highest logit."""
        return self.outputs.argmax(axis=1)

    def statistics(self, measure: Measure) -> np.ndarray:
        """(items, k) what the measure sums up."""
        if self.lengths is None:
            return measure.statistics(self.targets, self.outputs)
        ends = np.cumsum(self.lengths)[:-1]
        pairs = zip(
            np.split(self.targets, ends), np.split(self.outputs, ends), strict=True
        )
        return np.stack([measure.statistics(*pair) for pair in pairs])


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run that was made: one system, trained on one fold with one seed, and tested.

    Attributes:
        paper, system, variant, corpus, protocol, profile: their names; the variant is
            empty for the defaults.
        fold: index of the split; seed: of the weights and the order of training.
        key: hash of what determines the result, see `serlib.runs`.
        metrics: the task's measures and the loss on the test set; None where not
            finite.
        history: one `{"step", "train_loss", "dev_loss"}` per look at the development
            set.
        opening: losses of the first updates, one by one.
        synthetic: True if the corpus was made by a synthesiser.
        task: `classes` or `continuous`.
        outputs: names of the classes, or of the dimensions of a curve.
        sizes: items in `train`, `dev` and `test`.
        parameters: trainable numbers of the model.
        steps, best_step: updates made, and the update whose weights were tested.
        wall_time: seconds, training and testing.
        device: `cpu` or `cuda`; hardware: its name; arithmetic: digest of how it
            rounds, see `serlib.provenance.arithmetic`.
        versions: of Python and the libraries; commit: of serlib's own repository.
        code: digest of the code that made it, see `serlib.provenance.code`; empty if it
            was not noted.
        settings: everything the run was told.
        skipped: how many things the corpus reader could not use.
        predictions: on the test set; kept in an npz file, None if they were not read.
    """

    paper: str
    system: str
    corpus: str
    protocol: str
    profile: str
    fold: int
    seed: int
    key: str
    metrics: Mapping[str, float | None]
    history: Sequence[Mapping[str, float]]
    variant: str = ""
    synthetic: bool = False
    task: str = "classes"
    outputs: Sequence[str] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    parameters: int = 0
    steps: int = 0
    best_step: int = 0
    opening: Sequence[float] = ()
    wall_time: float = 0.0
    device: str = ""
    hardware: str = ""
    arithmetic: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    code: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    skipped: int = 0
    predictions: Predictions | None = field(default=None, compare=False, repr=False)

    @property
    def group(self) -> Path:
        """Where the folds and seeds of the system lie inside a folder of results."""
        return group(
            self.corpus,
            self.paper,
            self.protocol,
            self.profile,
            self.system,
            self.variant,
        )

    @property
    def place(self) -> str:
        """What tells the record from the others of its group."""
        return f"fold{self.fold}-seed{self.seed}"

    @property
    def path(self) -> Path:
        """Where the record lies while it is not packed."""
        return self.group / f"{self.place}.json"

    @property
    def confusion(self) -> np.ndarray:
        """(classes, classes) counts; rows are the true classes. Raises ValueError if
        the predictions were not read.
        """
        if (said := self.predictions) is None:
            raise ValueError(f"{self.path}: read without its predictions")
        return confusion(said.targets, said.predicted, said.outputs.shape[1])


DAMAGED = (OSError, EOFError, KeyError, TypeError, ValueError)
DAMAGED += (zipfile.BadZipFile, zlib.error)
"""What NumPy raises when it reads a damaged file of arrays."""

FIELDS = tuple(one.name for one in fields(Record) if one.name != "predictions")
"""What is written of a record."""

NEEDED = tuple(
    one.name
    for one in fields(Record)
    if one.default is MISSING and one.default_factory is MISSING
)
"""What a file must say to be a record; all else has a default."""

KINDS = (
    dict.fromkeys(("paper", "system", "corpus", "protocol", "profile", "key"), str)
    | dict.fromkeys(("fold", "seed"), int)
    | {"metrics": dict, "history": list, "variant": str, "synthetic": bool}
)
"""What JSON must hold for a record to be usable."""


def group(
    corpus: str, paper: str, protocol: str, profile: str, system: str, variant: str = ""
) -> Path:
    """Return where the runs of a system lie inside a folder of results.

    Raises:
        ValueError: if a name would lead elsewhere.
    """
    name = f"{system}+{variant}" if variant else system
    parts = [corpus, paper, protocol, profile, re.sub(r"[^\w.+=-]+", "-", name)]
    if not all(re.fullmatch(r"[\w.+=-]+", one) and one.strip(".") for one in parts):
        raise ValueError(f"{'/'.join(parts)} is no place for results; rename the run")
    return Path(*parts)


def write(record: Record, directory: str | Path) -> Path:
    """Write a record, and its predictions beside it, under the record's own name.

    Both are written before either gets its name, the predictions first: a record that
    is there is complete. An older record of that name is replaced; if something cannot
    be written, it stays with its own predictions.

    Args:
        record: the run; without predictions it is written alone.
        directory: folder of results.

    Returns:
        path of the JSON file, `corpus/paper/protocol/profile/system/fold0-seed0.json`
        in the folder.

    Raises:
        OSError: if the folder cannot be written.
        TypeError: if the record holds something that JSON does not have.
    """
    path = Path(directory) / record.path
    _write(path, _as_json(record), [record])
    return path


def pack(directory: str | Path) -> int:
    """Put all records of a system that lie by themselves into one JSON and one npz.

    Nothing is lost if it is interrupted: what lies by itself is removed last, and
    counts as long as it is there.

    Args:
        directory: folder of results.

    Returns:
        how many records were packed.

    Raises:
        ValueError: if a file is damaged or not a record.
        OSError: if the folder cannot be written.
    """
    folder = Path(directory).absolute()
    folders = {path.parent for path in _files(folder) if _alone(path)}
    packed = 0
    for folder in sorted(folders):
        together = folder.with_name(f"{folder.name}.json")
        with files.locked(together):
            own = [path for path in _files(folder) if path.parent == folder]
            records = _read_group(together, own, predictions=True)
            content = {"records": [_as_json(one) for one in records]}
            _write(together, content, records)
            for path in own:
                path.unlink()
                _beside(path).unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()
        packed += len(own)
    return packed


def read(
    directory: str | Path, *, predictions: bool = False, **filters: Any
) -> list[Record]:
    """Read the records in a folder.

    Args:
        directory: folder of results, looked through at every depth.
        predictions: read what each said of its test set too.
        filters: fields of Record with the value wanted, or a list of values:
            `paper="yoon2018", system=["are", "tre"]`.

    Returns:
        the records, sorted by corpus, paper, protocol, profile, system, variant, fold
        and seed.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if a file in it is damaged or not a record (the message names it),
            or for an unknown filter.
    """
    directory = Path(directory)
    if unknown := sorted(set(filters) - set(FIELDS)):
        raise ValueError(
            f"cannot filter by {', '.join(unknown)}; a record has {', '.join(FIELDS)}"
        )
    if not directory.is_dir():
        raise FileNotFoundError(
            f"{directory}: no such folder; expected the results of a run"
        )
    many = (list, tuple, set)
    wanted = {k: v if isinstance(v, many) else [v] for k, v in filters.items()}
    by_group: dict[Path, list[Path]] = {}
    for path in _files(directory.absolute()):
        whole = path.with_name(path.name.removesuffix(".json"))
        own = path.parent if _alone(path) else whole
        by_group.setdefault(own, []).append(path)
    chosen = []
    for own, paths in by_group.items():
        together = own.with_name(f"{own.name}.json")
        alone = [path for path in paths if _alone(path)]
        chosen += _read_group(together, alone, predictions=predictions, wanted=wanted)
    return sorted(chosen, key=_order)


def find(record: Record, directory: str | Path) -> Record | None:
    """Return the run that is already there under a record's name, if it is the same.

    Args:
        record: what is wanted; its key counts, and where it belongs.
        directory: folder of results.

    Returns:
        the record with its predictions; None if there is none, its key is another, or
        its predictions are missing.

    Raises:
        ValueError: if the record or its predictions are damaged.
    """
    directory = Path(directory).absolute()
    own = directory / record.group
    alone = [path] if (path := directory / record.path).is_file() else []
    together = own.with_name(f"{own.name}.json")
    wanted = {"fold": [record.fold], "seed": [record.seed], "key": [record.key]}
    try:
        found = _read_group(together, alone, predictions=True, wanted=wanted)
    except FileNotFoundError:
        return None
    return found[0] if found else None


def pooled(records: Iterable[Record]) -> Predictions:
    """Put the test sets of all folds of one seed together, as if they were one.

    Args:
        records: folds of one run, with their predictions: everything but the fold is
            the same.

    Returns:
        the predictions in the order of the folds.

    Raises:
        ValueError: if the records are not folds of one run, or an item is tested twice,
            or predictions were not read.
    """
    records = sorted(records, key=lambda one: one.fold)
    if len({(one.group, one.seed) for one in records}) != 1:
        raise ValueError(
            "expected the folds of one run, with one seed; got records of"
            f" {len({(one.group, one.seed) for one in records})} runs"
        )
    for record in records:
        if record.predictions is None:
            raise ValueError(f"{record.path}: read without its predictions")
    parts = [record.predictions for record in records]
    ids = [id for part in parts for id in part.ids]
    if len(set(ids)) != len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise ValueError(f"{twice} is tested in two folds; expected each item once")
    curves = parts[0].lengths is not None
    return Predictions(
        ids,
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.outputs for part in parts]),
        np.concatenate([part.lengths for part in parts]) if curves else None,
    )


def confusion_of(records: Iterable[Record]) -> np.ndarray:
    """Add up the confusion counts of several runs, read with their predictions.

    Returns:
        (classes, classes) counts; rows are the true classes. Divide by the row sums for
        shares.

    Raises:
        ValueError: if there are no records.
    """
    counts = [record.confusion for record in records]
    if not counts:
        raise ValueError("expected at least one record, got none")
    return np.sum(counts, axis=0)


def plain(value: Any) -> Any:
    """Return `value` in JSON's own types: arrays as lists, numbers that are not finite
    as None.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _order(one: Record) -> tuple:
    return (*one.group.parts[:4], one.system, one.variant, one.fold, one.seed)


def _files(directory: Path) -> Iterator[Path]:
    paths = directory.rglob("*.json")
    return (path for path in sorted(paths) if not path.name.startswith("."))


def _alone(path: Path) -> bool:
    """Whether a file is of a single run, not of a whole group."""
    return re.fullmatch(r"fold\d+-seed\d+\.json", path.name) is not None


def _beside(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".json") + ".npz")


def _as_json(record: Record) -> dict[str, Any]:
    return {name: plain(getattr(record, name)) for name in FIELDS}


def _write(path: Path, content: Any, records: Sequence[Record]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    arrays: dict[str, np.ndarray] = {}
    for record in records:
        if (said := record.predictions) is not None:
            parts = vars(said) | {"key": record.key}
            named = {k: np.asarray(v) for k, v in parts.items() if v is not None}
            arrays |= {f"{record.place}.{name}": one for name, one in named.items()}
    with files.atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        if arrays:
            content = io.BytesIO()  # NumPy's own way does not say why it cannot write
            np.savez_compressed(content, allow_pickle=False, **arrays)
            with files.atomic(_beside(path)) as beside:
                beside.write_bytes(content.getbuffer())


def _read_group(
    together: Path,
    alone: Sequence[Path],
    *,
    predictions: bool,
    wanted: Mapping[str, Sequence[Any]] | None = None,
) -> list[Record]:
    """Read the records of one system that lie in a packed file and by themselves; of
    two in one place the one by itself counts.
    """
    found: dict[str, tuple[Record, Path]] = {}
    for path in (together, *alone) if together.is_file() else alone:
        found |= {one.place: (one, path) for one in _load(path)}
    chosen = [
        (one, path)
        for one, path in found.values()
        if all(getattr(one, name) in values for name, values in (wanted or {}).items())
    ]
    if predictions:
        read = {path: _arrays(_beside(path)) for path in {path for _, path in chosen}}
        chosen = [
            (replace(one, predictions=_predictions(one, read[path], path)), path)
            for one, path in chosen
        ]
    return sorted((one for one, _ in chosen), key=_order)


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    """Open an npz file; its arrays are read when they are looked at."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected predictions: run again"
        )
    try:
        return np.load(path, allow_pickle=False)
    except DAMAGED as error:
        raise _damaged(path, error) from error


def _predictions(
    record: Record, arrays: Mapping[str, np.ndarray], path: Path
) -> Predictions:
    path, prefix = _beside(path), f"{record.place}."
    try:
        mine = {
            n.removeprefix(prefix): arrays[n] for n in arrays if n.startswith(prefix)
        }
        key = str(mine.pop("key"))
        said = Predictions(**mine | {"ids": mine["ids"].tolist()})
    except DAMAGED as error:
        raise _damaged(path, error) from error
    if key != record.key:
        raise ValueError(
            f"{path}: {record.place} are predictions of another run than the record"
            " beside it; delete both and run again"
        )
    return said


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path}: not the predictions of a run ({error}); delete it and run again"
    )


def _load(path: Path) -> list[Record]:
    """Read the records of one file; raise ValueError naming it if there are none."""
    advice = "delete it and run again, or move it out of the results"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, not JSON ({error}); {advice}") from error
    packed = isinstance(content, dict) and isinstance(content.get("records"), list)
    records = []
    for one in content["records"] if packed else [content]:
        if not isinstance(one, dict):
            raise ValueError(
                f"{path}: not the record of a run: expected an object, got a"
                f" {type(one).__name__}; {advice}"
            )
        if missing := [name for name in NEEDED if name not in one]:
            raise ValueError(
                f"{path}: not the record of a run: it has no {', '.join(missing)};"
                f" {advice}"
            )
        kinds = {name: kind for name, kind in KINDS.items() if name in one}
        wrong = [name for name, kind in kinds.items() if type(one[name]) is not kind]
        if wrong:
            raise ValueError(
                f"{path}: not the record of a run: {wrong[0]} is"
                f" {one[wrong[0]]!r:.60}; {advice}"
            )
        record = Record(**{name: one[name] for name in FIELDS if name in one})
        try:
            expected = record.path if _alone(path) else Path(f"{record.group}.json")
        except ValueError as error:
            raise ValueError(f"{path}: {error}; {advice}") from error
        if path.parts[-len(expected.parts) :] != expected.parts:
            raise ValueError(f"{path}: this record belongs to {expected}; {advice}")
        records.append(record)
    return records
