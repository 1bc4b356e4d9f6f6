"""Files that are either whole or absent, and the folder where made things are kept.

Everything that serlib writes goes through here. Used by all five papers; taught in no
chapter.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

UNWRITABLE = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "your disk quota is used up; free some space",
    errno.EFBIG: (
        "the file is larger than this disk or your limits allow; choose another folder"
    ),
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "you have no permission to write there; choose another folder",
    errno.EPERM: "you have no permission to write there; choose another folder",
    errno.ENOTDIR: "part of the path is a file, not a folder; choose another folder",
    errno.EEXIST: "part of the path is a file, not a folder; choose another folder",
    errno.EISDIR: "a folder of that name is in the way; move it or choose another name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}

STALE = 24 * 3600
"""Seconds after which half a file is of a process that was killed."""


def cache_folder() -> Path:
    """Return the folder for generated corpora and features: `$SERLIB_CACHE`, or
    `~/.cache/serlib`.

    The folder is not made; whoever writes there makes it.

    Raises:
        FileNotFoundError: if neither is known, as for a container's user without a
            name.
    """
    try:
        return Path(os.environ.get("SERLIB_CACHE") or "~/.cache/serlib").expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(
            f"{error} Set SERLIB_CACHE to a folder for generated corpora and features"
        ) from error


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Write a file so that others see it whole or not at all.

    Args:
        path: the file to make or replace; missing folders above it are made.

    Yields:
        a temporary path in the same folder and with the same suffix, for the caller to
        write. It becomes `path`
        when the block ends well, and is removed when the block raises.

    Raises:
        OSError: if `path` cannot be written (no permission, disk full); the message
            names it and says what to do.

    Sketch:
        with atomic("results/table.csv") as temporary:
            frame.to_csv(temporary)
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent.absolute())
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        named = {
            str(name) for name in (error.filename, error.filename2) if name is not None
        }
        ours = not named or named & {str(temporary), *map(str, path.parents)}
        if ours and error.errno in UNWRITABLE:
            raise _unwritable(path, error) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def halves(folder: Path) -> list[Path]:
    """Return the files in a folder that `atomic` has not finished, or never will."""
    name = re.compile(r"\.[0-9a-f]{32}\.part(\..*)?")
    return [one for one in folder.iterdir() if name.fullmatch(one.name)]


@cache
def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; once a process."""
    with suppress(OSError):  # somebody else removed it, or may alone
        for one in halves(folder):
            if time.time() - one.stat().st_mtime > STALE:
                one.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` in UTF-8 with `\\n` line ends, through `atomic`.

    Raises:
        OSError: if `path` cannot be written.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, through `atomic`.

    Raises:
        OSError: if `path` cannot be written.
        ValueError: if `value` holds NaN or infinity, which JSON does not have.
        TypeError: if `value` holds something that JSON does not have.
    """
    write_text(
        path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold a lock while making `path`, so that two processes do not make it twice.

    The lock is a file beside `path` with `.lock` appended. Inside the block, look again
    whether `path` is there.

    Raises:
        OSError: if the lock file cannot be written.
    """
    path = Path(path)
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


def _unwritable(path: Path, error: OSError) -> OSError:
    advice = UNWRITABLE.get(error.errno, "choose another folder")
    return OSError(error.errno, f"cannot write: {error.strerror}; {advice}", str(path))
