"""Word vectors from GloVe's text files, and the rows that an embedding layer starts
from.

yoon2018, xu2019, shen2020 and krishna2020 use GloVe; taught in chapter `yoon2018`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from serlib.features.text import PAD, Vocabulary
from serlib.files import atomic, cache_folder

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

DEVIATION = 0.25 / 3**0.5
"""Of the vectors drawn for tokens without one: as wide as the uniform (-0.25, 0.25) of
yoon2018's code.
"""


def read_glove(
    path: str | Path,
    tokens: Collection[str],
    dims: int = 300,
    *,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Read the vectors of some tokens from a GloVe text file.

    The file is read line by line, whatever its size, and only the rows asked for are
    kept. They are also kept in the cache, for this file (by size and time of change)
    and these tokens, so the next call takes no time. A token may hold spaces: the last
    `dims` fields of a line are the numbers, unless the one before them reads as a
    number too: then the line counts as malformed. Of two lines for one token the first
    counts.

    Args:
        path: for instance `glove.840B.300d.txt`: lines of a token and its numbers, a
            space between.
        tokens: whose vectors to keep.
        dims: numbers per line.
        cache: folder to keep the rows in; None for `cache_folder() / "vectors"`.
        progress: show a progress bar.

    Returns:
        token to (dims,) float32, for those of `tokens` that the file has.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line is not a token and `dims` numbers; the message names the
            line. The numbers of rows that were not asked for are counted, not read.

    Example:
        >>> vectors = read_glove("glove.840B.300d.txt", vocabulary.tokens)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected GloVe vectors, found no file; fetch it from"
            " nlp.stanford.edu/data"
        )
    wanted = {token.encode(): token for token in tokens}
    folder = cache_folder() / "vectors" if cache is None else Path(cache)
    kept = folder / f"{_key(path, wanted, dims)}.npz"
    if (vectors := _read_kept(kept)) is None:
        vectors = _stream(path, wanted, dims, progress)
        names = np.array(list(vectors), dtype=np.str_)
        rows = np.array(list(vectors.values()), dtype=np.float32).reshape(-1, dims)
        with atomic(kept) as temporary:
            np.savez(temporary, tokens=names, rows=rows)
    logger.info("%s has vectors for %d of %d tokens", path, len(vectors), len(wanted))
    return vectors


def _key(path: Path, wanted: Collection[bytes], dims: int) -> str:
    status = path.stat()
    digest = hashlib.blake2b(
        f"{status.st_size} {status.st_mtime_ns} {dims}".encode(), digest_size=10
    )
    for token in sorted(wanted):
        digest.update(len(token).to_bytes(8, "little") + token)
    return digest.hexdigest()


def _read_kept(kept: Path) -> dict[str, np.ndarray] | None:
    """The rows of an earlier call, None if there are none or they are damaged."""
    try:
        with np.load(kept, allow_pickle=False) as arrays:
            return dict(zip(arrays["tokens"].tolist(), arrays["rows"], strict=True))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s); reading the vectors again", kept, error)
        return None


def _stream(
    path: Path, wanted: Mapping[bytes, str], dims: int, progress: bool
) -> dict[str, np.ndarray]:
    vectors: dict[str, np.ndarray] = {}
    bar = tqdm(
        desc=path.name,
        total=os.path.getsize(path),
        unit="B",
        unit_scale=True,
        disable=not progress,
    )
    with path.open("rb", buffering=1 << 20) as file, bar:
        unseen = 0
        for number, line in enumerate(file, start=1):
            unseen += len(line)
            if unseen > 1 << 22:
                bar.update(unseen)
                unseen = 0
            line = line.rstrip(b"\r\n ")
            spaces = line.count(b" ")
            end = (
                line.find(b" ") if spaces == dims else len(line.rsplit(b" ", dims)[0])
            )  # of the token
            if spaces < dims or (
                spaces > dims and _is_number(line[:end].rpartition(b" ")[2])
            ):
                raise ValueError(
                    f"{path}:{number}: expected a token and {dims} numbers, found"
                    f" {spaces} numbers"
                )
            token = wanted.get(line[:end])
            if token is not None and token not in vectors:
                vectors[token] = _numbers(line[end:], path, number)
        bar.update(unseen)
    return vectors


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _numbers(fields: bytes, path: Path, number: int) -> np.ndarray:
    try:
        vector = np.array([float(field) for field in fields.split()], dtype=np.float32)
    except ValueError as error:
        raise ValueError(
            f"{path}:{number}: expected numbers after the token: {error}"
        ) from error
    if not np.isfinite(vector).all():
        raise ValueError(
            f"{path}:{number}: expected finite numbers, found NaN or infinity"
        )
    return vector


def rows_for(
    vocabulary: Vocabulary, vectors: Mapping[str, np.ndarray], dims: int, seed: int
) -> tuple[torch.Tensor, int]:
    """Make the rows that an embedding layer starts from.

    Args:
        vocabulary: whose tokens, in order.
        vectors: token to (dims,), from `read_glove` or from training.
        dims: size of a vector.
        seed: of the normal distribution (mean 0, deviation `DEVIATION`) that tokens
            without a vector are drawn from.

    Returns:
        (len(vocabulary), dims) float32 with zeros for `PAD`, and how many tokens have a
        vector.

    Raises:
        ValueError: if a vector is not (dims,).
    """
    import torch

    rows = (
        torch.randn(
            len(vocabulary), dims, generator=torch.Generator().manual_seed(seed)
        )
        * DEVIATION
    )
    rows[PAD] = 0.0
    found = 0
    for number, token in enumerate(vocabulary.tokens):
        if number != PAD and token in vectors:
            vector = np.asarray(vectors[token], dtype=np.float32)
            if vector.shape != (dims,):
                raise ValueError(
                    f"the vector of {token!r}: expected shape ({dims},), found"
                    f" {vector.shape}"
                )
            rows[number] = torch.from_numpy(vector.copy())
            found += 1
    logger.info(
        "%d of %d tokens have a vector (%.1f %%)",
        found,
        len(vocabulary),
        100 * found / len(vocabulary),
    )
    return rows, found
