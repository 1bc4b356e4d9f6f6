"""Records of runs and their predictions: written, read, packed and found again.

A run that is being made has files of its own, so that a killed batch goes on where it
was; `pack` puts all folds and seeds of a system together. Used for all five papers; the
records in `results/` are what chapters read. Taught in chapter `evaluation`.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from serlib import files
from serlib.metrics import (
    Measure,
    classification_measures,
    concordance_measures,
    confusion,
)

MARKER = "replayed.txt"
"""File in a corpus's folder of results that says that replay guards the records there:
they are used although other code made them, see `serlib.runs.make`.
"""

OTHERS = {"spaces", "studies", "transcripts"}
"""Folders of results that hold no records of runs."""

SEAL = "digest"
"""What tells in a file that nothing of a record has changed; older ones have none."""

SHARED = ("ids", "targets", "lengths")
"""Arrays that a file of predictions holds once for all seeds of a fold, if they are
the same.
"""

CLOSE = 1e-6
"""How near a record's measures are to those of its predictions."""


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
        kinds = {"targets": np.float32 if curves else np.int64, "outputs": np.float32}
        for name, kind in (kinds | ({"lengths": np.int64} if curves else {})).items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        object.__setattr__(self, "ids", [str(id) for id in self.ids])
        rows = int(self.lengths.sum()) if curves else len(self.ids)
        targets, outputs = self.targets.shape, self.outputs.shape
        fits = len(targets) == 1 + curves and len(outputs) == 2
        if not fits or targets[0] != rows or outputs[0] != rows:
            raise ValueError(
                f"{len(self.ids)} ids, {rows} rows: expected as many targets and"
                f" outputs, found {targets} and {outputs}"
            )
        if wrong := int(np.isnan(self.outputs).any(axis=1).sum()):
            raise ValueError(f"outputs are not numbers (NaN) in {wrong} of {rows} rows")

    @property
    def predicted(self) -> np.ndarray:
        """(items,) the class with the highest logit."""
        return self.outputs.argmax(axis=1)

    def statistics(self, measure: Measure) -> np.ndarray:
        """(items, k) what the measure sums up."""
        if self.lengths is None:
            return measure.statistics(self.targets, self.outputs)
        ends = np.cumsum(self.lengths)[:-1]
        curves = (np.split(rows, ends) for rows in (self.targets, self.outputs))
        return np.stack(list(map(measure.statistics, *curves)))


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
        word_errors: word error rate of recognised text that was read, against the
            corpus's own; None for the corpus's own, or where that is unknown.
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
    word_errors: float | None = None
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
        above = (self.corpus, self.paper, self.protocol, self.profile)
        return group(*above, self.system, self.variant)

    @property
    def place(self) -> str:
        """What tells the record from the others of its group."""
        return f"fold{self.fold:d}-seed{self.seed:d}"

    @property
    def path(self) -> Path:
        """Where the record lies while it is not packed."""
        return self.group / f"{self.place}.json"

    @property
    def said(self) -> Predictions:
        """The predictions; raises ValueError if they were not read."""
        if self.predictions is None:
            raise ValueError(f"{self.path}: read without its predictions")
        return self.predictions

    @property
    def confusion(self) -> np.ndarray:
        """(classes, classes) counts; rows are the true classes."""
        said = self.said
        return confusion(said.targets, said.predicted, said.outputs.shape[1])


DAMAGED = (OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError)
DAMAGED += (zipfile.BadZipFile, zlib.error)
"""What NumPy raises when it reads a damaged file of arrays."""

FIELDS = tuple(one.name for one in fields(Record) if one.name != "predictions")
"""What is written of a record."""

PARTS = ("corpus", "paper", "protocol", "profile")
"""Folders above a system's, from the folder of results down."""

NEEDED = dict.fromkeys((*PARTS, "system"), str)
NEEDED |= {"fold": int, "seed": int, "key": str, "metrics": dict, "history": list}
"""What a file must say to be a record, and in which type; all else has a default."""

KINDS = NEEDED | {"variant": str, "synthetic": bool}
"""What is looked at before a record is made."""


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
    packed, all_files = 0, _files(Path(directory).absolute())
    for folder in sorted({path.parent for path in all_files if _alone(path)}):
        with files.locked(together := _together(folder)):
            own = [path for path in _files(folder) if path.parent == folder]
            records = _read_group(folder, own, predictions=True)
            _write(together, {"records": [_as_json(one) for one in records]}, records)
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
        ValueError: if a file in it is damaged or not a record, a record differs from
            its digest or its predictions, or the folder holds a copy of results (the
            message names the file); or for an unknown filter.
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
    groups: dict[Path, list[Path]] = {}
    for path in _files(directory.absolute()):
        if _alone(path):
            groups.setdefault(path.parent, []).append(path)
        else:
            groups.setdefault(path.with_name(path.name.removesuffix(".json")), [])
    every = (_read_group(*one, predictions, wanted) for one in groups.items())
    found = sorted(itertools.chain.from_iterable(every), key=_order)
    _check_root(groups)
    return found


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
    alone = [path] if (path := directory / record.path).is_file() else []
    wanted = {name: [getattr(record, name)] for name in ("fold", "seed", "key")}
    try:
        found = _read_group(directory / record.group, alone, True, wanted)
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
    if (runs := len({(one.group, one.seed) for one in records})) != 1:
        raise ValueError(
            f"expected the folds of one run, with one seed; got records of {runs} runs"
        )
    parts = [record.said for record in records]
    ids = [id for part in parts for id in part.ids]
    if len(set(ids)) != len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise ValueError(f"{twice} is tested in two folds; expected each item once")
    names = [name for name, one in vars(parts[0]).items() if one is not None]
    arrays = {n: np.concatenate([getattr(part, n) for part in parts]) for n in names}
    return Predictions(**arrays | {"ids": ids})


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
    paths = (path.relative_to(directory) for path in sorted(directory.rglob("*.json")))
    ours = (one for one in paths if one.parts[0] not in OTHERS)
    hidden = lambda one: any(part.startswith(".") for part in one.parts)  # noqa: E731
    return (directory / one for one in ours if not hidden(one))


def _check_root(groups: Iterable[Path]) -> None:
    """Raise ValueError if some groups lie in another folder of results than others."""
    roots = {one.parents[len(PARTS)]: one for one in groups}
    if len(roots) > 1:
        first, second, *_ = roots.values()
        raise ValueError(
            f"{second}: not in the same folder of results as {first}; one may be a copy"
            " of the other: move it away"
        )


def _alone(path: Path) -> bool:
    """Whether a file is of a single run, not of a whole group."""
    return re.fullmatch(r"fold\d+-seed\d+\.json", path.name) is not None


def _together(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _beside(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".json") + ".npz")


def _as_json(record: Record) -> dict[str, Any]:
    content = {name: plain(getattr(record, name)) for name in FIELDS}
    return content | {SEAL: _digest(content)}


def _digest(content: Mapping[str, Any]) -> str:
    """Of all that a file says of a record, in whatever order."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _write(path: Path, content: Any, records: Sequence[Record]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    arrays: dict[str, np.ndarray] = {}
    for record in records:
        if (said := record.predictions) is not None:
            parts = vars(said) | {"key": record.key}
            named = {k: np.asarray(v) for k, v in parts.items() if v is not None}
            for name, one in named.items():  # what all seeds of a fold have, once
                place = f"fold{record.fold}" if name in SHARED else record.place
                if not np.array_equal(arrays.setdefault(f"{place}.{name}", one), one):
                    arrays[f"{record.place}.{name}"] = one
    with files.atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        if arrays:
            content = io.BytesIO()  # NumPy's own way does not say why it cannot write
            np.savez_compressed(content, allow_pickle=False, **arrays)
            with files.atomic(_beside(path)) as beside:
                beside.write_bytes(content.getbuffer())


def _read_group(
    folder: Path,
    alone: Sequence[Path],
    predictions: bool,
    wanted: Mapping[str, Sequence[Any]] = MappingProxyType({}),
) -> list[Record]:
    """Read the records of one system that lie packed beside its folder and by
    themselves; of two in one place the one by itself counts.
    """
    found: dict[str, tuple[Record, Path]] = {}
    packed = [path] if (path := _together(folder)).is_file() else []
    for path in (*packed, *alone):
        found |= {one.place: (one, path) for one in _load(path)}
    own: dict[Path, list[Record]] = {}
    for one, path in found.values():
        if all(getattr(one, name) in values for name, values in wanted.items()):
            own.setdefault(_beside(path), []).append(one)
    told = (
        itertools.starmap(_with_predictions, own.items())
        if predictions
        else own.values()
    )
    return sorted(itertools.chain.from_iterable(told), key=_order)


def _with_predictions(path: Path, records: Sequence[Record]) -> list[Record]:
    """The records with what an npz file says."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected predictions: run again"
        )
    told = []
    try:
        arrays = np.load(path, allow_pickle=False)
        for record in records:
            mine = {}
            for start in (f"fold{record.fold}.", f"{record.place}."):
                own = (name for name in arrays if name.startswith(start))
                mine |= {name.removeprefix(start): arrays[name] for name in own}
            mine["ids"], key = mine["ids"].tolist(), str(mine.pop("key"))
            told.append((replace(record, predictions=Predictions(**mine)), key))
    except DAMAGED as error:
        raise ValueError(
            f"{path}: not the predictions of a run ({error}); delete it and run again"
        ) from error
    for record, key in told:
        if key != record.key:
            raise ValueError(
                f"{path}: {record.place} are predictions of another run than the record"
                " beside it; delete both and run again"
            )
        _check_measures(record, path)
    return [record for record, _ in told]


def _check_measures(record: Record, path: Path) -> None:
    """Raise ValueError if a record does not say how good its predictions are."""
    said = record.said
    if said.lengths is None:
        measures = classification_measures(said.outputs.shape[1])
    else:
        measures = concordance_measures(tuple(record.outputs))
    for name in measures.keys() & record.metrics.keys():
        sums = said.statistics(measures[name]).sum(axis=0)
        own, told = plain(float(measures[name].value(sums))), record.metrics[name]
        near = isinstance(own, float) and isinstance(told, float)
        if own != told and not (near and abs(own - told) <= CLOSE):
            raise ValueError(
                f"{path}: its {record.place} have {name} {own}, the record beside it"
                f" says {told}; one was changed: delete both and run again"
            )


def _load(path: Path) -> list[Record]:
    """Read the records of one file; raise ValueError naming it if there are none."""
    try:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"damaged, not JSON ({error})") from error
        packed = isinstance(content, dict) and isinstance(content.get("records"), list)
        each = content["records"] if packed else [content]
        return [_record(one, path) for one in each]
    except ValueError as error:
        advice = "delete it and run again, or move it out of the results"
        raise ValueError(f"{path}: {error}; {advice}") from error


def _record(content: Any, path: Path) -> Record:
    """Make a record of what a file says; raise ValueError if it is none, or of another
    place.
    """
    if not isinstance(content, dict):
        wrong = [f"expected an object, got a {type(content).__name__}"]
    elif missing := [name for name in NEEDED if name not in content]:
        wrong = [f"it has no {', '.join(missing)}"]
    else:
        told = ((name, content.get(name, kind()), kind) for name, kind in KINDS.items())
        wrong = [f"{k} is {v!r:.60}" for k, v, kind in told if type(v) is not kind]
    if wrong:
        raise ValueError(f"not the record of a run: {wrong[0]}")
    record = Record(**{name: content[name] for name in FIELDS if name in content})
    expected = record.path if _alone(path) else _together(record.group)
    if path.parts[-len(expected.parts) :] != expected.parts:
        raise ValueError(f"this record belongs to {expected}")
    told = {name: value for name, value in content.items() if name != SEAL}
    if content.get(SEAL, found := _digest(told)) != found:
        raise ValueError("it was changed since it was written (its digest is another)")
    return record
