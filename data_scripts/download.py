"""Downloads that survive interruption and are checked, and zip files that are unpacked without trusting them.

For `fetch_ravdess` and `fetch_glove`, which get real speech and word vectors for yoon2018; taught in chapter `corpora`.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import ssl
import stat
import struct
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from serlib import files

log = logging.getLogger(__name__)

BLOCK = 1 << 20
RATIO = 100
"""A zip file that promises to grow more than this is a bomb: speech and numbers grow threefold."""

PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Answers of a server that may be different next time."""

UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    OSError,
)
"""What `zipfile` raises for files that are not, or not quite, zip files."""


@dataclass(frozen=True)
class Remote:
    """A published file, and how patiently to ask for it.

    Attributes:
        url: its address.
        size: its length in bytes.
        checksum: algorithm and hexadecimal digest, for instance `md5:bc69...`.
        stall: seconds without a byte after which a connection counts as dead.
        attempts: connections in a row that bring less than a hundredth of the file before giving up.
        pause: seconds before the second attempt; doubled before each further one.
    """

    url: str
    size: int
    checksum: str
    stall: float = 30.0
    attempts: int = 5
    pause: float = 2.0


def download(remote: Remote, path: str | Path, *, progress: bool = True) -> Path:
    """Download a file, going on where an earlier attempt ended.

    What has arrived lies beside `path` as `NAME.part`, with a note `NAME.part.json` on which version of the file it is
    the start of. A part is continued (HTTP Range) only if the server still has that version; else, or if the server
    cannot send a part, the download starts again. `path` itself appears when length and checksum are right. A file that
    is there and right is not downloaded again.

    Args:
        remote: what to download.
        path: where to.
        progress: show a progress bar.

    Returns:
        `path`.

    Raises:
        OSError: if the server refuses or stays silent, or if `path` cannot be written. Only what a later call can go on
            with is left, and nothing after a write that failed.
        ValueError: if the server has another file than the published one.
    """
    path = Path(path)
    part, _ = _part(path)
    if path.is_file():
        if _fault(path, remote) is None:
            return path
        path.unlink()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    best = _length(part)
    make_room(path, remote.size - best)
    failures = 0
    while (trouble := _receive(remote, path, progress)) is not None:
        arrived = _length(part)
        failures = 0 if arrived - best > remote.size / 100 else failures + 1
        best = max(best, arrived)
        if failures == remote.attempts:
            raise OSError(
                f"{remote.url}: {trouble}; gave up after {remote.attempts} attempts in a row without progress, with "
                f"{arrived:,} of {remote.size:,} bytes here. Run the same command again to go on from there"
            )
        wait = remote.pause * 2 ** max(failures - 1, 0)
        log.warning("%s: %s; trying again in %g s", path.name, trouble, wait)
        time.sleep(wait)
    if fault := _fault(part, remote):
        _discard(path)
        raise ValueError(f"{remote.url}: not the published file: {fault}. It is removed; run the same command again")
    with writing(path):
        os.replace(part, path)
    _discard(path)
    return path


def unpack(
    archive: str | Path,
    folder: str | Path,
    choose: Callable[[PurePosixPath], PurePosixPath | None],
    *,
    most_files: int,
    most_bytes: int,
    progress: bool = True,
) -> list[Path]:
    """Unpack some files of a zip file that may be damaged or hostile.

    All names, kinds and lengths in it are looked at before anything is written, those of files not asked for too. The
    contents are compared with their checksums while they are unpacked.

    Args:
        archive: the zip file.
        folder: a new folder to unpack into. One of that name, from an interrupted call, is removed first.
        choose: from a file's name in the archive to its name below `folder`, or None to leave it out.
        most_files, most_bytes: an archive with more files, or longer ones in all, is refused.
        progress: show a progress bar.

    Returns:
        the files that were unpacked.

    Raises:
        ValueError: if it is not a zip file, is damaged or cut off, or is built to do harm (names outside the folder,
            links, bombs). `folder` is then not there.
        OSError: if `folder` cannot be written; it is then not there either.
    """
    archive, folder = Path(archive), Path(folder)
    remove(folder)
    try:
        opened = zipfile.ZipFile(archive)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise ValueError(f"{archive}: expected a zip file, found a damaged or other one ({error})") from error
    with opened:
        members = _choose(opened, choose, most_files, most_bytes)
        total = sum(member.file_size for member in members.values())
        make_room(folder, total)
        try:
            with writing(folder):
                folder.mkdir(parents=True)
            with bar(f"Unpacking {archive.name}", total, progress) as shown:
                for name, member in members.items():
                    target = folder / name
                    with writing(target):
                        target.parent.mkdir(parents=True, exist_ok=True)
                        with target.open("xb") as file:
                            for block in _contents(opened, member):
                                file.write(block)
                                shown.update(len(block))
        except BaseException:
            remove(folder)
            raise
    return [folder / name for name in members]


@contextmanager
def workshop(out: Path) -> Iterator[Path]:
    """Hold the lock on `out` and yield the name of the folder beside it for what is not finished.

    The block downloads into this folder, and makes `new` in it, which it renames to `out`. The folder is removed when
    the block ends well. After an error `new` is removed; a download stays for the next call to go on with.
    """
    work = out.with_name(f".{out.name}.fetch")
    with files.locked(out):
        try:
            yield work
        except BaseException:
            remove(work / "new")
            with suppress(OSError):
                work.rmdir()
            raise
        remove(work)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there and as far as that is allowed."""
    if path.is_symlink() or path.is_file():
        with suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError in the block, which must only touch files, into one that names `path` and says what to do."""
    try:
        yield
    except OSError as error:
        advice = files.UNWRITABLE.get(error.errno, "choose another folder")
        raise OSError(error.errno, f"cannot write: {error.strerror}; {advice}", str(path)) from error


def make_room(path: Path, size: int) -> None:
    """Raise an OSError if the disk that `path` is or will be on has fewer than `size` bytes free."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < size:
        needs = f"the disk is full: {size:,} bytes are needed, {free:,} are free; free some space"
        raise OSError(errno.ENOSPC, f"cannot write: {needs}", str(path))


def bar(title: str, total: int, progress: bool, initial: int = 0) -> tqdm:
    """Return a progress bar in bytes, with speed and time left."""
    return tqdm(desc=title, total=total, initial=initial, unit="B", unit_scale=True, disable=not progress, leave=False)


def command(parser: argparse.ArgumentParser, fetch: Callable[..., Path], arguments: list[str] | None = None) -> int:
    """Run a fetcher from the command line with `--out` and `--from`; one line per error, no traceback.

    Returns:
        the exit status: 0, 1 after an error, 130 if stopped by the user.
    """
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


def _part(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")


def _discard(path: Path) -> None:
    for beside in _part(path):
        beside.unlink(missing_ok=True)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _fault(path: Path, remote: Remote) -> str | None:
    """What is wrong with a whole file, or None."""
    if (length := path.stat().st_size) != remote.size:
        return f"expected {remote.size:,} bytes, found {length:,}"
    algorithm, expected = remote.checksum.split(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    return None if found == expected else f"expected {algorithm} {expected}, found {found}"


def _receive(remote: Remote, path: Path, progress: bool) -> str | None:
    """Ask once for what is missing; None when all of it has arrived, else what was in the way and may pass."""
    part, note = _part(path)
    known = _read_note(note)
    have = _length(part) if known.get("url") == remote.url else 0
    if have == remote.size:
        return None
    request = urllib.request.Request(remote.url, headers={"User-Agent": "serlib"})
    if 0 < have < remote.size:
        request.add_header("Range", f"bytes={have}-")
        if validator := _validator(known):
            request.add_header("If-Range", validator)
    try:
        response = urllib.request.urlopen(request, timeout=remote.stall)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            _discard(path)
            return "the server does not have the rest of what has arrived; starting again"
        if error.code in PASSING:
            return f"the server answers {error.code} {error.reason}"
        raise OSError(
            f"{remote.url}: the server answers {error.code} {error.reason}. If the file has moved, download it in a "
            "browser and name it with --from"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise OSError(f"{remote.url}: this Python does not trust the server's certificate ({reason})") from error
        return _unreachable(reason, remote)
    with response:
        answer = {"url": remote.url, "etag": response.headers["ETag"], "modified": response.headers["Last-Modified"]}
        length = response.headers["Content-Length"]
        if response.status == 206:
            sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
            changed = any(answer[key] and known.get(key) and answer[key] != known[key] for key in answer)
            if changed or not sent or int(sent[1]) != have or sent[2] not in ("*", str(remote.size)):
                _discard(path)
                return "the file on the server has changed; starting again"
        elif response.status != 200:
            return f"the server answers {response.status} {response.reason}"
        else:
            if length is not None and length != str(remote.size):
                raise ValueError(
                    f"{remote.url}: not the published file: expected {remote.size:,} bytes, the server announces "
                    f"{length}. If the network asks you to log in, do so; else download it in a browser and name it "
                    "with --from"
                )
            if have:
                why = "cannot send a part" if answer == known else "has another version now"
                log.warning("%s: the server %s; starting again", path.name, why)
            have = 0
            _discard(path)
            files.write_json(note, answer)
        return _store(response, path, have, remote, progress)


def _store(response: http.client.HTTPResponse, path: Path, have: int, remote: Remote, progress: bool) -> str | None:
    """Append the answer to the part; None when it is complete, else why the connection ended."""
    title = f"Downloading {path.name}"
    part, _ = _part(path)
    trouble = None
    try:
        with writing(path), part.open("ab") as file, bar(title, remote.size, progress, have) as shown:
            while trouble is None and have <= remote.size:
                try:
                    block = response.read1(BLOCK)
                except (OSError, http.client.HTTPException) as error:
                    trouble = _unreachable(error, remote)
                    break
                if not block:
                    break
                have += len(block)
                file.write(block)
                shown.update(len(block))
    except OSError:
        _discard(path)
        raise
    if have > remote.size:
        _discard(path)
        raise ValueError(
            f"{remote.url}: not the published file: expected {remote.size:,} bytes, the server sends more. "
            "It is removed; run the same command again"
        )
    if have < remote.size:
        return trouble or f"the connection ended after {have:,} of {remote.size:,} bytes"
    return None


def _unreachable(reason: object, remote: Remote) -> str:
    if isinstance(reason, TimeoutError):
        return f"nothing came for {remote.stall:g} s"
    return f"the connection failed ({reason})"


def _read_note(note: Path) -> dict[str, str | None]:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _validator(known: dict[str, str | None]) -> str | None:
    """What If-Range may hold: a strong ETag, else the date of change (RFC 9110, section 13.1.5)."""
    etag = known.get("etag")
    return etag if etag and not etag.startswith("W/") else known.get("modified")


def _choose(
    opened: zipfile.ZipFile,
    choose: Callable[[PurePosixPath], PurePosixPath | None],
    most_files: int,
    most_bytes: int,
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The members to unpack by their new names, if every member of the archive is harmless."""
    archive = opened.filename
    members = opened.infolist()
    if len(members) > most_files:
        raise ValueError(f"{archive}: refused: expected at most {most_files:,} files, found {len(members):,}")
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if size > most_bytes or size > RATIO * max(packed, 1):
        raise ValueError(
            f"{archive}: refused as a zip bomb: {packed:,} bytes that unpack to {size:,}; expected at most "
            f"{most_bytes:,}, and at most {RATIO} times the packed length"
        )
    chosen: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        kind = stat.S_IFMT(member.external_attr >> 16)
        if name.is_absolute() or ".." in name.parts or re.match("[A-Za-z]:", member.filename):
            raise ValueError(f"{archive}: refused: {member.filename!r} would be written outside the folder")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{archive}: refused: {member.filename!r} is a link or device, expected files and folders")
        if member.is_dir() or (new := choose(name)) is None:
            continue
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{archive}: {member.filename!r} is encrypted or not packed by deflate, the usual method")
        if (first := chosen.setdefault(new, member)).CRC != member.CRC:
            raise ValueError(f"{archive}: {first.filename!r} and {member.filename!r} differ and are both {new}")
    return chosen


def _contents(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The blocks of a member; zipfile compares length and CRC at their end."""
    length = 0
    try:
        with opened.open(member) as source:
            while block := source.read(BLOCK):
                length += len(block)
                yield block
        if length != member.file_size:
            raise EOFError(f"{length:,} of {member.file_size:,} bytes")
    except UNREADABLE as error:
        raise ValueError(f"{opened.filename}: {member.filename!r} is damaged or cut off ({error})") from error
