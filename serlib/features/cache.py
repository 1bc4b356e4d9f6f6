"""Features of a whole corpus, computed once by all cores, kept on disk and read without
loading.

Used by all five papers; taught in chapter `cache`.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serlib import files, parallel
from serlib.features.feature import Feature
from serlib.features.waveform import read_waveform
from serlib.files import atomic, locked, write_json
from serlib.progress import bar

if TYPE_CHECKING:
    from serlib.corpora.corpus import Corpus, Item

logger = logging.getLogger(__name__)

SHARD = 256
"""Utterances per file. What an interruption costs, and what is in memory at a time: 20
MB of MFCC.
"""

PER_JOB = 32
"""Fewer utterances than this are not worth another process, which takes a second to
start.
"""


@dataclass(frozen=True)
class Shard:
    """One file of a table: the rows of consecutive utterances, one after the other.

    Attributes:
        file: name inside the table's folder.
        checksum: CRC-32 of the whole file.
        ids: utterances, in the order of their rows.
        lengths: rows of each.
    """

    file: str
    checksum: int
    ids: list[str]
    lengths: list[int]


class FeatureTable(Mapping[str, np.ndarray]):
    """The features of every utterance of a corpus, memory-mapped: a row is read when it
    is looked at.

    `table[id]` is float32 and read-only: (frames, dims) of a feature per frame, (dims,)
    of one per utterance.

    Attributes:
        feature: what the numbers are.
        folder: where they lie.
        dims: how many there are per frame (or per utterance).
    """

    def __init__(self, feature: Feature, folder: Path, shards: Sequence[Shard]) -> None:
        self.feature = feature
        self.folder = folder
        self.dims = feature.dims
        self._where: dict[str, tuple[np.ndarray, int, int]] = {}
        for shard in shards:
            rows = np.load(folder / shard.file, mmap_mode="r", allow_pickle=False).view(
                np.ndarray
            )
            stops = accumulate(shard.lengths)
            for id, length, stop in zip(shard.ids, shard.lengths, stops, strict=True):
                self._where[id] = rows, stop - length, stop

    def __getitem__(self, id: str) -> np.ndarray:
        rows, start, stop = self._where[id]
        return rows[start:stop] if self.feature.per_frame else rows[start]

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def __repr__(self) -> str:
        return (
            f"FeatureTable({self.feature.name}, {len(self)} utterances,"
            f" dims={self.dims}, {self.folder})"
        )


def feature_table(
    corpus: Corpus,
    feature: Feature,
    cache: Path,
    *,
    jobs: int | None = None,
    progress: bool = True,
) -> FeatureTable:
    """Return the features of a corpus, computing what is not in the cache.

    A table is a folder of shards and an `index.json`, which is rewritten after each
    shard, so it only ever names whole ones: after an interruption the work goes on with
    the first shard that is missing. The folder's name is a hash of everything that the
    numbers depend on: the corpus's ids and waveforms, the feature's settings, columns
    and version. Each shard is checked against its checksum whenever the table is opened
    (CRC-32: 4 GB a second once the file is in memory), and a damaged one is computed
    again. Two processes that want the same table at once: one makes it, the other
    waits.

    Args:
        corpus: whose utterances.
        feature: which numbers.
        cache: folder of all tables.
        jobs: processes; None for as many as there are cores. 1 computes in this
            process.
        progress: show a progress bar.

    Raises:
        ValueError: if an utterance cannot be read, or its features are not finite; the
            message names the file. Nothing is left out silently; shards that were
            complete are kept.
        RuntimeError: if a process dies.
        OSError: if the cache cannot be written.
    """
    folder = cache / f"{feature.name}-{_key(corpus, feature)}"
    parts = [
        corpus.items[start : start + SHARD] for start in range(0, len(corpus), SHARD)
    ]
    shards, _ = _whole_shards(folder, parts, feature)
    if None in shards or not (folder / "index.json").is_file():
        with locked(folder):
            shards, complaints = _whole_shards(folder, parts, feature)
            for complaint in complaints:
                logger.warning("%s; computing it again", complaint)
            _complete(folder, parts, shards, feature, jobs, progress)
    return FeatureTable(feature, folder, [shard for shard in shards if shard])


def _key(corpus: Corpus, feature: Feature) -> str:
    depends = [
        feature.name,
        feature.version,
        feature.columns,
        feature.settings(),
        corpus.fingerprint,
    ]
    return hashlib.blake2b(
        json.dumps(depends, sort_keys=True).encode(), digest_size=10
    ).hexdigest()


def _whole_shards(
    folder: Path, parts: list[list[Item]], feature: Feature
) -> tuple[list[Shard | None], list[str]]:
    """Read the index and check every shard: what is there (None where nothing usable
    is), and what is wrong with it.
    """
    shards: list[Shard | None] = [None] * len(parts)
    complaints: list[str] = []
    index = folder / "index.json"
    try:
        listed = [
            Shard(**entry) if entry else None
            for entry in json.loads(index.read_text("utf-8"))["shards"]
        ]
    except (FileNotFoundError, NotADirectoryError):
        return shards, complaints
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return shards, [f"{index} is damaged ({error})"]
    for number, (part, shard) in enumerate(zip(parts, listed, strict=False)):
        if shard is None:
            continue
        if shard.ids != [u.id for u in part] or shard.file != _file(number):
            complaints.append(
                f"{index} is damaged (shard {number} is of other utterances)"
            )
        elif (found := _checksum(folder / shard.file)) != shard.checksum:
            complaints.append(
                f"{folder / shard.file} is damaged (checksum {found}, expected"
                f" {shard.checksum})"
            )
        elif not _fits(
            shard,
            np.load(folder / shard.file, mmap_mode="r", allow_pickle=False).shape,
            feature,
        ):
            complaints.append(f"{index} is damaged (shard {number} has other lengths)")
        else:
            shards[number] = shard
    return shards, complaints


def _file(number: int) -> str:
    return f"shard-{number:04}.npy"


def _fits(shard: Shard, shape: tuple[int, ...], feature: Feature) -> bool:
    """Whether the lengths that an index gives are those of some utterances in an array
    of this shape.
    """
    plain = all(
        isinstance(length, int) and 0 < length <= (shape[0] if feature.per_frame else 1)
        for length in shard.lengths
    )
    return (
        plain
        and len(shard.lengths) == len(shard.ids)
        and (sum(shard.lengths), feature.dims) == shape
    )


def _checksum(path: Path) -> int | None:
    """CRC-32 of a file, None if it cannot be read."""
    checksum = 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                checksum = zlib.crc32(block, checksum)
    except OSError:
        return None
    return checksum


def _complete(
    folder: Path,
    parts: list[list[Item]],
    shards: list[Shard | None],
    feature: Feature,
    jobs: int | None,
    progress: bool,
) -> None:
    """Compute the shards that are None and write them, the index after each."""
    for stale in files.halves(folder) if folder.is_dir() else []:
        stale.unlink()  # of a process that was killed; nobody else writes here now
    missing = [number for number, shard in enumerate(shards) if shard is None]
    paths = [u.audio for number in missing for u in parts[number]]
    with bar(
        progress,
        desc=feature.name,
        total=sum(map(len, parts)),
        initial=sum(map(len, parts)) - len(paths),
        unit=" utterances",
    ) as shown:
        results = _compute_all(feature, paths, jobs)
        for number in missing:
            blocks = []
            for _ in parts[number]:
                blocks.append(next(results))
                shown.update()
            shards[number] = _write_shard(folder, number, parts[number], blocks)
            _write_index(folder, shards, feature)
    if not missing:
        _write_index(folder, shards, feature)


def _write_shard(
    folder: Path, number: int, part: list[Item], blocks: list[np.ndarray]
) -> Shard:
    path = folder / _file(number)
    content = io.BytesIO()  # NumPy's own way to a file does not say why it cannot write
    np.save(content, np.concatenate(blocks), allow_pickle=False)
    with atomic(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    checksum = zlib.crc32(content.getbuffer())
    return Shard(
        path.name, checksum, [u.id for u in part], [len(block) for block in blocks]
    )


def _write_index(folder: Path, shards: list[Shard | None], feature: Feature) -> None:
    write_json(
        folder / "index.json",
        {
            "feature": feature.name,
            "version": feature.version,
            "columns": feature.columns,
            "settings": dict(feature.settings()),
            "shards": [asdict(shard) if shard else None for shard in shards],
        },
    )


def _compute_all(
    feature: Feature, paths: list[Path], jobs: int | None
) -> Iterator[np.ndarray]:
    """The (rows, dims) of each file, in order, by several processes if there are enough
    files.
    """
    jobs = min(jobs or os.cpu_count() or 1, max(1, len(paths) // PER_JOB))
    if jobs == 1:
        yield from (_compute(feature, path) for path in paths)
        return
    from joblib import delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    tasks = (delayed(_compute)(feature, path) for path in paths)
    try:
        yield from parallel.run(tasks, jobs, batch_size=4, pre_dispatch=8 * jobs)
    except TerminatedWorkerError as error:
        raise RuntimeError(
            f"a process that computed {feature.name} died; it may have run out of"
            " memory. What was complete is kept; try again with jobs=1"
        ) from error


def _compute(feature: Feature, path: Path) -> np.ndarray:
    """Read a file and compute its (rows, dims); one row of a feature per utterance."""
    try:
        values = np.asarray(feature.extract(read_waveform(path)), dtype=np.float32)
    except RuntimeError as error:
        raise RuntimeError(f"{path}: {error}") from error
    rows = values if feature.per_frame else values[None]
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != feature.dims:
        raise ValueError(
            f"{path}: expected {feature.name} of {feature.dims} columns, found shape"
            f" {values.shape}"
        )
    if not np.isfinite(rows).all():
        raise ValueError(
            f"{path}: {feature.name} is NaN or infinite in {(~np.isfinite(rows)).sum()}"
            " places"
        )
    return rows
