"""Files of word vectors, and the rows that an embedding layer starts from.

yoon2018, xu2019, shen2020 and krishna2020 use GloVe (Pennington et al. 2014),
tzirakis2021 learns its own; taught in chapter `yoon2018`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import zipfile
import zlib
from array import array
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serlib.embeddings.space import Space
from serlib.features.text import PAD, Vocabulary
from serlib.files import atomic, cache_folder, locked
from serlib.progress import bar

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

DEVIATION = 0.25 / 3**0.5
"""Of the vectors drawn for tokens without one: as wide as the uniform (-0.25, 0.25) of
yoon2018's code.
"""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PACKED = {b"PK\x03\x04": "a zip file", b"\x1f\x8b": "a gzip file"}


def read_vectors(
    path: str | Path,
    tokens: Collection[str] | None = None,
    dims: int | None = None,
    *,
    cache: str | Path | None = None,
    progress: bool = True,
) -> Space:
    """Read word vectors from a text file of GloVe's or word2vec's format, or from npz.

    A text is read line by line, whatever its size, and only the rows asked for are
    kept. They are also kept in the cache, for this file (by size and time of change)
    and these tokens, so the next call takes no time; a reading of all rows is not. A
    token may hold spaces: the last `dims` fields of a line are the numbers, unless the
    one before them reads as a number too: then the line counts as malformed. Of two
    rows for one token the first counts.

    Args:
        path: a text with, on each line, a token and its numbers, a space between
            (`glove.840B.300d.txt`); or such a text after a line with the number of
            rows and of dimensions (word2vec's); or a `.npz` file of `words`, text, and
            `rows`, (words, dims) float16 or float32.
        tokens: whose vectors to keep; None for all.
        dims: numbers per vector; None for whatever the first line has.
        cache: folder to keep the rows in; None for `cache_folder() / "vectors"`.
        progress: show a progress bar.

    Returns:
        the vectors of those of `tokens` that the file has, in the file's order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is something else, is cut off, or holds a line that is
            not a token and `dims` numbers; the message names the line. The numbers of
            rows that were not asked for are counted, not read.

    Sketch:
        vectors = read_vectors("glove.840B.300d.txt", vocabulary.tokens, 300)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected word vectors, found no file; data_scripts/fetch_glove.py"
            " gets GloVe's"
        )
    if path.suffix == ".npz":
        space = _read_npz(path)
        if dims not in (None, space.dims):
            raise ValueError(
                f"{path}: expected {dims} numbers per vector, found {space.dims}"
            )
        space = space if tokens is None else space.restricted(tokens)
    elif tokens is None:
        space = _read_text(path, None, dims, progress)
    else:
        wanted = {token.encode() for token in tokens}
        folder = cache_folder() / "vectors" if cache is None else Path(cache)
        kept = folder / f"{_key(path, wanted, dims)}.npz"
        if (space := _read_kept(kept)) is None:
            space = _read_text(path, wanted, dims, progress)
            _write_npz(kept, space, half=False)
    asked = None if tokens is None else len(set(tokens))
    if asked and not space:
        logger.warning(
            "%s has no vector for any of the %d tokens asked for, such as %r; are they"
            " of its language and in its spelling?",
            *(path, asked, min(tokens)),
        )
    else:
        logger.info("%s: %d vectors, %s tokens asked for", path, len(space), asked)
    return space


def write_vectors(
    path: str | Path,
    vectors: Mapping[str, np.ndarray],
    *,
    header: bool = True,
    half: bool = False,
) -> None:
    """Write word vectors, so that `read_vectors` gives the same float32 numbers back.

    Args:
        path: the file; with the suffix `.npz` it is binary, otherwise text.
        vectors: word to (dims,), written in this order.
        header: begin a text with its numbers of rows and dimensions, as word2vec does;
            GloVe does not.
        half: round to half precision, which halves a binary file.

    Raises:
        OSError: if the file cannot be written.
        ValueError: if there is no vector, one has other dimensions or a number that is
            not finite, or a word could not be told from what is around it.
    """
    path = Path(path)
    space = vectors if isinstance(vectors, Space) else Space.from_vectors(vectors)
    if not space or not space.dims:
        raise ValueError(f"{path}: expected vectors to write, got none")
    _check_writable(space)
    if path.suffix == ".npz":
        _write_npz(path, space, half)
        return
    with (
        atomic(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        if header:
            file.write(f"{len(space)} {space.dims}\n")
        for word, row in zip(space.words, space.rows, strict=True):
            file.write(f"{word} {' '.join([str(number) for number in row])}\n")


def _check_writable(space: Space) -> None:
    finite = np.isfinite(space.rows).all(axis=1)
    for word, fine in zip(space.words, finite, strict=True):
        if not fine:
            raise ValueError(
                f"the vector of {word!r}: expected finite numbers, found NaN or"
                " infinity"
            )
        if not word or re.search("[\n\r\0\ufeff]", word):
            raise ValueError(
                f"expected words without line breaks to write, found {word!r}"
            )
        if " " in word and _is_number(word.rpartition(" ")[2]):
            raise ValueError(
                f"expected words that do not end in a number, found {word!r}"
            )


def _write_npz(path: Path, space: Space, half: bool) -> None:
    with atomic(path) as temporary:
        words = np.array(space.words, dtype=np.str_)
        rows = space.rows.astype(np.float16 if half else np.float32)
        np.savez_compressed(temporary, words=words, rows=rows)


def _read_npz(path: Path) -> Space:
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path}: expected an npz file, found something else or a part"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            words, rows = arrays["words"], arrays["rows"]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected arrays `words` (text) and `rows` (numbers): {error}"
        ) from error
    if words.dtype.kind != "U" or rows.dtype not in (np.float16, np.float32):
        raise ValueError(
            f"{path}: expected `words` of text and `rows` of float16 or float32, found"
            f" {words.dtype} and {rows.dtype}"
        )
    if rows.ndim != 2 or words.shape != rows.shape[:1]:
        raise ValueError(
            f"{path}: expected (words,) and (words, dims), found {words.shape} and"
            f" {rows.shape}"
        )
    if not (finite := np.isfinite(rows).all(axis=1)).all():
        word = str(words[finite.argmin()])
        raise ValueError(
            f"{path}: the vector of {word!r}: expected finite numbers, found NaN or"
            " infinity"
        )
    first: dict[str, int] = {}
    for number, word in enumerate(words.tolist()):
        first.setdefault(word, number)
    return Space(tuple(first), rows[list(first.values())])


def _key(path: Path, wanted: Collection[bytes], dims: int | None) -> str:
    status = path.stat()
    told = f"words and rows {status.st_size} {status.st_mtime_ns} {dims}"
    digest = hashlib.blake2b(told.encode(), digest_size=10)
    for token in sorted(wanted):
        digest.update(len(token).to_bytes(8, "little") + token)
    return digest.hexdigest()


def kept_vectors(told: str, learn: Callable[[], Space]) -> Space:
    """Return word vectors that take long to learn: those of an earlier call, from the
    cache, or `learn`'s.

    Args:
        told: says all that they depend on.
        learn: gives the vectors; of several processes at once, one calls it.

    Raises:
        OSError: if the cache cannot be written; and whatever `learn` raises.
    """
    name = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
    kept = cache_folder() / "vectors" / f"{name}.npz"
    with locked(kept):
        if (space := _read_kept(kept)) is None:
            space = learn()
            _write_npz(kept, space, half=False)
    return space


def _read_kept(kept: Path) -> Space | None:
    """The rows of an earlier call, None if there are none or they are damaged."""
    try:
        return _read_npz(kept) if kept.is_file() else None
    except (OSError, ValueError) as error:
        logger.warning("%s is damaged (%s); reading the vectors again", kept, error)
        return None


def _read_text(
    path: Path, wanted: Collection[bytes] | None, dims: int | None, progress: bool
) -> Space:
    dims, promised = _layout(path, dims)
    words: dict[bytes, str] = {}
    numbers = array("f")
    size = {"total": os.path.getsize(path), "unit": "B", "unit_scale": True}
    told = bar(progress, desc=path.name, **size)
    with path.open("rb", buffering=1 << 20) as file, told:
        if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            file.seek(0)
        unseen = file.tell()
        number = skipped = 0 if promised is None else 1
        unseen += sum(len(file.readline()) for _ in range(skipped))
        strange = 0  # tokens that are not UTF-8
        for number, line in enumerate(file, start=skipped + 1):
            unseen += len(line)
            if unseen > 1 << 22:
                told.update(unseen)
                unseen = 0
            line = line.rstrip(b"\r\n ")
            end = _end_of_token(line, dims, path, number)
            token = line[:end]
            if wanted is not None and token not in wanted:
                strange += not (token.isascii() or _is_utf8(token))
            elif token not in words:
                words[token] = _decoded(token, path, number)
                vector = _numbers(line[end + 1 :], path, number)
                numbers.frombytes(vector.tobytes())
        told.update(unseen)
    if promised not in (None, number - skipped):
        raise ValueError(
            f"{path}: expected {promised} rows, as its first line says, found"
            f" {number - skipped}; the file is cut off or was added to"
        )
    if strange:
        logger.warning("%s: %d tokens are not UTF-8; passed over", path, strange)
    return Space(tuple(words.values()), np.asarray(numbers).reshape(-1, dims))


def _layout(path: Path, dims: int | None) -> tuple[int, int | None]:
    """How many numbers a row has, and how many rows word2vec's first line promises;
    None for GloVe's format, which has no such line.
    """
    with path.open("rb") as file:
        head = file.read(1 << 16)
        file.seek(0)
        first = file.readline().removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n ")
    if not head:
        raise ValueError(f"{path}: expected word vectors, found an empty file")
    for magic, kind in PACKED.items():
        if head.startswith(magic):
            raise ValueError(f"{path}: expected a text, found {kind}; unpack it first")
    header = re.fullmatch(rb"(\d{1,18})[ \t]+(\d{1,9})", first)
    if b"\0" in head:
        raise ValueError(
            f"{path}: expected a text, found word2vec's binary format; convert it with"
            " gensim: KeyedVectors.load_word2vec_format(path, binary=True)"
            ".save_word2vec_format(new_path)"
            if header
            else f"{path}: expected a text in UTF-8 or an npz file, found binary data"
        )
    found = int(header[2]) if header else _count_numbers(first)
    if not found:
        raise ValueError(
            f"{path}:1: expected a token and numbers, a space between, found"
            f" {first[:40].decode(errors='replace')!r}"
        )
    if header and dims not in (None, found):
        raise ValueError(
            f"{path}:1: expected {dims} numbers per vector, found {found} promised"
        )
    return dims or found, int(header[1]) if header else None


def _count_numbers(line: bytes) -> int:
    """How many fields at the end of a line are numbers, the first field left out."""
    fields = line.split(b" ")[1:]
    words = [n for n, field in enumerate(fields, start=1) if not _is_number(field)]
    return len(fields) - max(words, default=0)


def _end_of_token(line: bytes, dims: int, path: Path, number: int) -> int:
    """Where the token of a line ends, which has `dims` numbers after it."""
    spaces = line.count(b" ")
    end = line.find(b" ") if spaces == dims else len(line.rsplit(b" ", dims)[0])
    many = spaces > dims and _is_number(line[:end].rpartition(b" ")[2])
    if spaces < dims or many:
        raise ValueError(
            f"{path}:{number}: expected a token and {dims} numbers, found"
            f" {spaces} numbers"
        )
    return end


def _is_number(field: bytes | str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _is_utf8(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(token: bytes, path: Path, number: int) -> str:
    try:
        return token.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}:{number}: expected a token in UTF-8, found {token!r}; convert the"
            " file, or ask for the tokens that you want"
        ) from error


def _numbers(fields: bytes, path: Path, number: int) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # of float32: becomes infinite, see below
            vector = np.array([float(one) for one in fields.split(b" ")], np.float32)
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
        vectors: token to (dims,), from `read_vectors` or from training.
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
