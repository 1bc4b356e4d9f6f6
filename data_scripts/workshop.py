"""A corpus that is made in a folder of its own: resumed after an interruption, and whole or not there at all.

What all programs that make data share; taught in no chapter. Until a corpus or a spoken text is complete, a folder
inside it notes what is being made and holds the unfinished files; a marker, which says the same, is written last.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from joblib import delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from serlib import files, parallel
from serlib.corpora.generated import DIGESTS, MARKER, UNFINISHED, digest

KNOWN = ("cues.csv", "lexicon.csv", "ceilings.json")
"""Files beside the marker that only the maker of a corpus knows."""


def complete(root: Path, request: dict, kind: str, marker: str = MARKER, ours: Sequence[str] = ()) -> bool:
    """Return whether a corpus is already there.

    Args:
        root: its folder.
        request: what it shall be, as noted in its files.
        kind: what to call it in messages, for instance `synthetic corpus`.
        marker: the file that is written last.
        ours: other files that may be there before.

    Raises:
        FileExistsError: if something else is there.
    """
    for path in (root / marker, root / UNFINISHED / "request.json"):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise FileExistsError(
                errno.EEXIST, f"the file, which says what {kind} this is, is damaged; choose another folder, or "
                "delete that one", str(path)
            )  # fmt: skip
        if any(found.get(key) != value for key, value in request.items()):
            mine, theirs = (", ".join(f"{k} {d.get(k)}" for k in request if k != "name") for d in (request, found))
            raise FileExistsError(
                errno.EEXIST, f"the folder holds another {kind} ({theirs}); this one would have {mine}; "
                "choose another folder, or delete that one", str(root)
            )  # fmt: skip
        return path.name == marker
    if root.is_dir() and any(path.name not in (UNFINISHED, *ours) for path in root.iterdir()):
        if (root / marker).exists():  # another process has just finished it
            return complete(root, request, kind, marker, ours)
        raise FileExistsError(
            errno.EEXIST, f"the folder holds something that is no {kind}; choose an empty one", str(root)
        )
    return False


@contextmanager
def making(
    root: Path, request: dict, kind: str, marker: str = MARKER, ours: Sequence[str] = ()
) -> Iterator[Path | None]:
    """Hold the corpus alone while it is made; other processes that ask for it wait.

    Args:
        root, request, kind, marker, ours: as `complete`.

    Yields:
        the folder for unfinished files, which is gone afterwards; None if the corpus is already there.

    Raises:
        FileExistsError: if something else is there.
        OSError: if the folder cannot be written; the message says what to do.
    """
    workshop = root / UNFINISHED
    with _writing(root), ExitStack() as stack:
        while not complete(root, request, kind, marker, ours):
            try:
                stack.enter_context(files.locked(workshop / "work"))
            except FileNotFoundError:  # the process that held the lock is done, and its folder is gone
                continue
            there = complete(root, request, kind, marker, ours)
            if not there:
                _begin(workshop, request)
            yield None if there else workshop
            shutil.rmtree(workshop, ignore_errors=True)
            return
        yield None


def _begin(workshop: Path, request: dict) -> None:
    """Note what is being made, so that a later run can go on with it."""
    if (workshop / "request.json").exists():
        for half in workshop.iterdir():
            if half.is_dir():
                shutil.rmtree(half)
    else:
        files.write_json(workshop / "request.json", request)


def check_space(root: Path, needed: float) -> None:
    """Raise OSError if the disk has fewer than so many bytes left."""
    free = shutil.disk_usage(root).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"what is made needs about {needed / 1e6:,.0f} MB, the disk has {free / 1e6:,.0f} MB; free some space",
            str(root),
        )


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Say what to do when the folder cannot be written."""
    try:
        yield
    except OSError as error:
        advice = files.UNWRITABLE.get(error.errno)
        said = str(error.strerror)
        if advice is None or advice in said or "; choose a" in said or "free some space" in said:
            raise  # it says what to do already
        where = error.filename or root
        raise OSError(error.errno, f"cannot write: {error.strerror}; {advice}, then run again", str(where)) from error


def spread(work: Callable[..., int], tasks: Sequence[tuple[Any, ...]], jobs: int | None) -> Iterator[int]:
    """Call `work` with each tuple of arguments, in processes of their own; yield what it returns as it is ready.

    Args:
        work: a function that a fresh process can import.
        tasks: its arguments; the longest tasks first.
        jobs: processes; None for one per core. With one, no process is started.

    Raises:
        RuntimeError: if a process was killed.
    """
    jobs = min(jobs or os.cpu_count() or 1, len(tasks))
    if jobs <= 1:
        yield from (work(*task) for task in tasks)
        return
    try:
        yield from parallel.run((delayed(work)(*task) for task in tasks), jobs, ordered=False, batch_size=1)
    except TerminatedWorkerError as error:
        raise RuntimeError(
            "a process that speaks was killed, perhaps for want of memory; run again to go on, with fewer --jobs"
        ) from error


def same_settings(path: Path, begun: Mapping[str, Any], settings: Mapping[str, Any], advice: str) -> None:
    """Raise ValueError if a file tells that work was begun with other settings than it is to go on with.

    Args:
        path: of the file.
        begun: what it tells.
        settings: that are wanted now.
        advice: what to do about it.
    """
    for name, value in settings.items():
        if begun.get(name) != value:
            raise ValueError(f"{path}: begun with {name} {begun.get(name)!r}, not {value!r}; {advice}")


def describe(root: Path, about: dict[str, Any]) -> None:
    """Write the marker of a corpus, with digests of itself and of what only its maker knows: the corpus is complete."""
    digests = {MARKER: digest(about)} | {name: digest((root / name).read_bytes()) for name in KNOWN}
    files.write_json(root / MARKER, {**about, DIGESTS: digests})


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as the text of a CSV file."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
