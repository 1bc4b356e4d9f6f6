"""Downloads that survive interruption and are checked, and zip files that are unpacked without trusting them.

For `fetch_ravdess` and `fetch_glove`, which get real speech and word vectors for yoon2018; taught in chapter `corpora`.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import logging
import shutil
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tqdm import tqdm

from serlib import files
from serlib import progress as bars

log = logging.getLogger(__name__)

BLOCK = 1 << 20
Choice = Callable[[PurePosixPath], PurePosixPath | None]
ADVICE = "If the network asks you to log in, do so; else download it in a browser and name it with --from"


@dataclass(frozen=True)
class Remote:
    """A published file, its bytes and checksum (`md5:bc69...`), and how patiently to ask for it, in seconds: `stall`
    without a byte ends a connection, `pause` follows the first of `attempts`, twice that the second, and so on.
    """

    url: str
    size: int
    checksum: str
    stall: float = 30.0
    attempts: int = 6
    pause: float = 2.0


def download(remote: Remote, path: Path, *, progress: bool = True) -> Path:
    """Download a file to `path`, going on where an earlier call ended; one that is there and right is left as it is.

    What has arrived lies in `NAME.part`, the server's mark of that version (ETag or date) in `NAME.part.json`. The
    server sends the rest if it still has that version (HTTP Range with If-Range), else all anew.

    Raises:
        OSError: if the server refuses or stays silent, or `path` cannot be written. The next call goes on from there.
        ValueError: if the server has another file than the published one.
    """
    if path.is_file() and not _fault(path, remote):
        return path
    part, note = (path.with_name(path.name + ending) for ending in (".part", ".part.json"))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, remote.attempts + 1):
        try:
            _receive(remote, part, note, progress)
            break
        except ConnectionError as error:
            if attempt == remote.attempts:
                raise OSError(f"{error}, {attempt} times. Run the same command again to go on from there") from error
            log.warning("%s; trying again", error)
            time.sleep(remote.pause * 2 ** (attempt - 1))
    if fault := _fault(part, remote):
        remove(part)
        raise ValueError(f"{remote.url}: not the published file: {fault}. It is removed; run the same command again")
    with writing(path):
        part.replace(path)
    remove(note)
    return path


def _receive(remote: Remote, part: Path, note: Path, progress: bool) -> None:
    """Append to the part what one connection brings; raises ConnectionError if that is not all."""
    have = part.stat().st_size if part.is_file() else 0
    if have >= remote.size:
        return
    request = urllib.request.Request(remote.url, headers={"User-Agent": "serlib"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if note.is_file() and (version := json.loads(note.read_text(encoding="utf-8"))):
            request.add_header("If-Range", version)
    with _network(remote, urllib.request.urlopen, request, timeout=remote.stall) as response:
        status, sent = response.status, response.headers
        if status == 416 or (status == 206 and not (sent["Content-Range"] or "").startswith(f"bytes {have}-")):
            remove(part)
            raise ConnectionError(f"{remote.url}: the server has no rest to what is here")
        if status not in (200, 206):
            passing = status in (408, 429) or status >= 500
            answer = f"{remote.url}: the server answers {status} {response.reason}"
            raise ConnectionError(answer) if passing else OSError(f"{answer}. {ADVICE}")
        have = have if status == 206 else 0
        if response.length not in (None, remote.size - have):
            sizes = f"expected {remote.size:,} bytes, the server announces {have + response.length:,}"
            raise ValueError(f"{remote.url}: not the published file: {sizes}. {ADVICE}")
        if not have:
            etag = sent["ETag"]
            files.write_json(note, sent["Last-Modified"] if not etag or etag.startswith("W/") else etag)
        with writing(part), part.open("ab" if have else "wb") as file, bar(part.stem, remote.size, progress) as shown:
            shown.update(have)
            while have <= remote.size and (block := _network(remote, response.read1, BLOCK)):
                have += file.write(block)
                shown.update(len(block))
    if have < remote.size:
        raise ConnectionError(f"{remote.url}: the connection ended after {have:,} of {remote.size:,} bytes")


def _network(remote: Remote, call: Callable, *arguments: object, **named: object) -> Any:
    """What a call to the network returns; whatever goes wrong there becomes a ConnectionError with the address."""
    try:
        return call(*arguments, **named)
    except urllib.error.HTTPError as error:
        return error  # an answer like others
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        silent = isinstance(reason, TimeoutError)
        trouble = f"nothing came for {remote.stall:g} s" if silent else f"the connection failed ({reason})"
        raise ConnectionError(f"{remote.url}: {trouble}") from error


def _fault(path: Path, remote: Remote) -> str:
    """What is wrong with a whole file; empty if nothing."""
    algorithm, expected = remote.checksum.split(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    return "" if found == expected else f"expected {algorithm} {expected}, found {found}"


def unpack(
    archive: Path, folder: Path, choose: Choice, *, most_files: int, most_bytes: int, progress: bool = True
) -> list[Path]:
    """Unpack files of a zip file, which may be damaged or hostile, into a new folder, and return their paths.

    `choose` maps a name in the archive to one below `folder`, or to None to leave it out. A folder left by an
    interrupted call is removed first. Links and devices become ordinary files; contents are compared with their
    checksums, and cut at the lengths that the archive states.

    Raises:
        ValueError: if it is no zip file, is damaged, unpacks to more than it may, or has names outside the folder.
        OSError: if `folder` cannot be written. After either, `folder` is not there.
    """
    remove(folder)
    chosen: dict[PurePosixPath, zipfile.ZipInfo] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                name = PureWindowsPath(member.filename)  # takes / and \ alike, and knows drives
                if name.anchor or ".." in name.parts:
                    raise ValueError(f"{member.filename!r} would be written outside the folder")
                if member.is_dir() or (new := choose(PurePosixPath(name.as_posix()))) is None:
                    continue
                if chosen.setdefault(new, member).CRC != member.CRC:
                    raise ValueError(f"{chosen[new].filename!r} and {member.filename!r} differ and are both {new}")
            total = sum(member.file_size for member in chosen.values())
            if len(chosen) > most_files or total > most_bytes:
                found = f"found {len(chosen):,} of {total:,}"
                raise ValueError(f"expected at most {most_files:,} files of {most_bytes:,} bytes, {found}")
            with bar(f"Unpacking {archive.name}", total, progress) as shown:
                for path, member in ((folder / new, member) for new, member in chosen.items()):
                    with writing(path):
                        path.parent.mkdir(parents=True, exist_ok=True)
                        with path.open("xb") as file:
                            for block in _contents(opened, member):
                                shown.update(file.write(block))
    except BaseException as error:
        remove(folder)
        if not isinstance(error, Exception) or getattr(error, "filename", None):
            raise
        # zipfile has a dozen kinds of error for what is not quite a zip file, none with a file's name
        raise ValueError(f"{archive}: expected a whole and harmless zip file: {error}") from error
    return [folder / new for new in chosen]


def _contents(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with opened.open(member) as source:
            while block := source.read(BLOCK):
                yield block
    except OSError as error:  # so that it does not count as one of the file that is written
        raise ValueError(error) from error


@contextmanager
def workshop(out: Path, archive: str) -> Iterator[tuple[Path, Path]]:
    """Hold the lock on `out`; yield where to download `archive`, and where to make what `put` then moves to `out`.

    Both lie in a folder beside `out`. After an error the archive, or its part, stays for the next call to go on with.
    """
    work = out.with_name(f".{out.name}.fetch")
    with files.locked(out):
        try:
            yield work / archive, work / "new"
            for ending in ("", ".part", ".part.json"):
                remove(work / f"{archive}{ending}")
        finally:
            remove(work / "new")
            with suppress(OSError):
                work.rmdir()


def vacant(out: Path) -> None:
    """Raise FileExistsError if anything but a link or an empty folder is at `out`: only those may be replaced."""
    found = next(out.iterdir(), None) if out.is_dir() else out
    if out.exists() and not out.is_symlink() and found:
        raise FileExistsError(f"{found} is there, and nothing is replaced; move it or name another folder with --out")


def put(new: Path, out: Path) -> None:
    """Move `new` to `out`, which is `vacant`."""
    with writing(out):
        if out.is_symlink():
            out.unlink()
        elif out.exists():
            out.rmdir()
        new.rename(out)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there and as far as that is allowed."""
    shutil.rmtree(path, ignore_errors=True)  # leaves files and links alone
    with suppress(OSError):
        path.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError in the block, except from the network, into one that names `path` and says what to do."""
    try:
        yield
    except ConnectionError:
        raise
    except OSError as error:
        advice = files.UNWRITABLE.get(error.errno, "choose another folder")
        raise OSError(error.errno, f"cannot write: {error.strerror}; {advice}", str(path)) from error


def bar(title: str, total: int, progress: bool) -> tqdm:
    """Return a progress bar in bytes, with speed and time left."""
    return bars.bar(progress, desc=title, total=total, unit="B", unit_scale=True, leave=False)


def command(parser: argparse.ArgumentParser, fetch: Callable[..., Path], arguments: list[str] | None = None) -> int:
    """Run a fetcher with `--out` and `--from`, one line per error; returns 0, 1 after an error, 130 if stopped."""
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        fetch(options.out, options.source)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0
