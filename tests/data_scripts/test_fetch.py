"""Downloads from a server that misbehaves, zip files that are broken or hostile, and what they leave behind."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest

from data_scripts import download, fetch_glove, fetch_ravdess
from data_scripts.download import Remote, unpack
from serlib import corpora
from serlib.corpora.ravdess import ACTORS

PAYLOAD = random.Random(0).randbytes(102_400)
OTHER = PAYLOAD[::-1]
ETAG = '"first"'


@dataclass
class Server:
    """Answers each request with the next of `steps`, and the last one for ever; keeps the requests' headers."""

    url: str = ""
    steps: list[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    requests: list[Message] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def ranges(self) -> list[str | None]:
        return [headers["Range"] for headers in self.requests]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.headers)
            state.steps[min(len(state.requests), len(state.steps)) - 1](self)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.over = state.over
        state.url = f"http://127.0.0.1:{http.server_port}/data.zip"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        state.over.set()
        http.shutdown()
        thread.join()


def serve(
    handler: BaseHTTPRequestHandler,
    *,
    body: bytes = PAYLOAD,
    etag: str | None = ETAG,
    stop: int | None = None,
    announced: int | None = -1,
    ranges: bool = True,
    stall: bool = False,
) -> None:
    """Send `body`, or the part asked for; only its first `stop` bytes; say it has `announced` (None: do not say)."""
    start = 0
    wanted = handler.headers["Range"]
    if wanted and ranges and handler.headers["If-Range"] in (None, etag):
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    else:
        handler.send_response(200)
    if etag:
        handler.send_header("ETag", etag)
    if announced is not None:
        handler.send_header("Content-Length", str(len(body) - start if announced == -1 else announced))
    handler.end_headers()
    handler.wfile.write(body[start:stop])
    if stall:
        handler.wfile.flush()
        handler.server.over.wait(10)


def fail(handler: BaseHTTPRequestHandler, status: int = 500) -> None:
    handler.send_error(status)


def remote(server: Server, body: bytes = PAYLOAD, **patience: float) -> Remote:
    checksum = f"md5:{hashlib.md5(body).hexdigest()}"
    return Remote(server.url, len(body), checksum, **({"stall": 10, "attempts": 3, "pause": 0.01} | patience))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The server


def test_whole_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    server.steps = [serve]
    path = tmp_path / "new" / "data.zip"
    for _ in range(2):
        assert download.download(remote(server), path, progress=False) == path
    assert path.read_bytes() == PAYLOAD
    assert names(path.parent) == ["data.zip"]
    assert server.ranges() == [None]


@pytest.mark.parametrize("etag", [ETAG, 'W/"weak"', None])
def test_cut_off_download_goes_on_where_it_ended(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, etag: str | None
) -> None:
    server.steps = [
        partial(serve, etag=etag, stop=1000),
        partial(serve, etag=etag, stop=60_000),
        partial(serve, etag=etag),
    ]
    path = download.download(remote(server), tmp_path / "data.zip", progress=False)
    assert path.read_bytes() == PAYLOAD
    assert server.ranges() == [None, "bytes=1000-", "bytes=60000-"]
    assert server.requests[1]["If-Range"] == (ETAG if etag == ETAG else None)
    assert "data.zip: the connection ended after 1,000 of 102,400 bytes; trying again in 0.01 s" in caplog.text


def test_later_run_goes_on_where_a_killed_one_ended(server: Server, tmp_path: Path) -> None:
    server.steps = [partial(serve, stop=50_000, stall=True), serve]
    path = tmp_path / "data.zip"
    program = (
        "import sys; from pathlib import Path; from data_scripts.download import Remote, download\n"
        "download(Remote(sys.argv[1], int(sys.argv[2]), sys.argv[3], stall=60), Path(sys.argv[4]), progress=False)"
    )
    wanted = remote(server)
    command = [sys.executable, "-c", program, wanted.url, str(wanted.size), wanted.checksum, str(path)]
    root = Path(download.__file__).parents[1]
    process = subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    part = tmp_path / "data.zip.part"
    clock = threading.Event()
    for _ in range(3000):
        if process.poll() is not None or (part.is_file() and part.stat().st_size > 0):
            break
        clock.wait(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    arrived = part.stat().st_size
    assert 0 < arrived <= 50_000
    assert download.download(wanted, path, progress=False).read_bytes() == PAYLOAD
    assert server.ranges() == [None, f"bytes={arrived}-"]
    assert names(tmp_path) == ["data.zip"]


def test_stalling_server_is_left_and_then_given_up(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.steps = [partial(serve, stop=40_000, stall=True), partial(serve, stop=40_000, stall=True)]
    path = tmp_path / "data.zip"
    with pytest.raises(OSError) as raised:
        download.download(remote(server, stall=0.5, attempts=1), path, progress=False)
    assert str(raised.value) == (
        f"{server.url}: nothing came for 0.5 s; gave up after 1 attempts in a row without progress, with 40,000 of "
        "102,400 bytes here. Run the same command again to go on from there"
    )
    assert server.ranges() == [None, "bytes=40000-"]
    server.steps = [serve]
    assert download.download(remote(server), path, progress=False).read_bytes() == PAYLOAD


def test_server_that_never_answers_is_given_up(server: Server, tmp_path: Path) -> None:
    server.steps = [lambda handler: handler.server.over.wait(10)]
    with pytest.raises(OSError, match=r"nothing came for 0\.1 s; gave up after 2 attempts in a row"):
        download.download(remote(server, stall=0.1, attempts=2), tmp_path / "data.zip", progress=False)
    assert names(tmp_path) == []


def test_server_without_ranges_starts_again(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.steps = [partial(serve, stop=50_000), partial(serve, ranges=False)]
    path = download.download(remote(server), tmp_path / "data.zip", progress=False)
    assert path.read_bytes() == PAYLOAD
    assert "data.zip: the server cannot send a part; starting again" in caplog.text


def test_server_without_ranges_that_always_cuts_off_is_given_up(server: Server, tmp_path: Path) -> None:
    server.steps = [partial(serve, stop=50_000, ranges=False)]
    with pytest.raises(
        OSError, match="the connection ended after 50,000 of 102,400 bytes; gave up after 3 attempts in a row"
    ):
        download.download(remote(server), tmp_path / "data.zip", progress=False)
    assert len(server.requests) == 4


@pytest.mark.parametrize("ranges", [True, False])
def test_file_that_changes_in_between_is_not_patched_together(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, ranges: bool
) -> None:
    server.steps = [partial(serve, stop=50_000), partial(serve, body=OTHER, etag='"second"', ranges=ranges)]
    path = download.download(remote(server, OTHER), tmp_path / "data.zip", progress=False)
    assert path.read_bytes() == OTHER
    assert "data.zip: the server has another version now; starting again" in caplog.text


def test_part_of_another_version_is_thrown_away(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def careless(handler: BaseHTTPRequestHandler) -> None:
        del handler.headers["If-Range"]
        serve(handler, body=OTHER, etag='"second"')

    server.steps = [partial(serve, stop=50_000), careless]
    path = download.download(remote(server, OTHER), tmp_path / "data.zip", progress=False)
    assert path.read_bytes() == OTHER
    assert server.ranges() == [None, "bytes=50000-", None]
    assert "data.zip: the file on the server has changed; starting again" in caplog.text


@pytest.mark.parametrize("announced", [90_000, 200_000])
def test_wrong_length_announced(server: Server, tmp_path: Path, announced: int) -> None:
    server.steps = [partial(serve, announced=announced)]
    with pytest.raises(ValueError) as raised:
        download.download(remote(server), tmp_path / "data.zip", progress=False)
    assert str(raised.value) == (
        f"{server.url}: not the published file: expected 102,400 bytes, the server announces {announced}. If the "
        "network asks you to log in, do so; else download it in a browser and name it with --from"
    )
    assert names(tmp_path) == []


def test_length_announced_right_but_less_sent(server: Server, tmp_path: Path) -> None:
    server.steps = [partial(serve, stop=102_000)]
    with pytest.raises(
        OSError, match="the connection ended after 102,000 of 102,400 bytes; gave up after 3 attempts in a row"
    ):
        download.download(remote(server), tmp_path / "data.zip", progress=False)
    assert names(tmp_path) == ["data.zip.part", "data.zip.part.json"]


def test_no_length_announced_and_more_sent(server: Server, tmp_path: Path) -> None:
    server.steps = [partial(serve, body=PAYLOAD + b"more", announced=None)]
    with pytest.raises(ValueError, match="not the published file: expected 102,400 bytes, the server sends more"):
        download.download(remote(server), tmp_path / "data.zip", progress=False)
    assert names(tmp_path) == []


def test_right_length_but_other_content(server: Server, tmp_path: Path) -> None:
    server.steps = [partial(serve, body=OTHER)]
    with pytest.raises(
        ValueError, match=r"not the published file: expected md5 [0-9a-f]{32}, found [0-9a-f]{32}. It is"
    ):
        download.download(remote(server), tmp_path / "data.zip", progress=False)
    assert names(tmp_path) == []


def test_404_is_final(server: Server, tmp_path: Path) -> None:
    server.steps = [partial(fail, status=404)]
    with pytest.raises(OSError) as raised:
        download.download(remote(server), tmp_path / "data.zip", progress=False)
    assert str(raised.value) == (
        f"{server.url}: the server answers 404 Not Found. If the file has moved, download it in a browser and name it "
        "with --from"
    )
    assert len(server.requests) == 1


def test_500_is_tried_again(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.steps = [fail, partial(fail, status=503), serve]
    assert download.download(remote(server), tmp_path / "data.zip", progress=False).read_bytes() == PAYLOAD
    assert "data.zip: the server answers 503 Service Unavailable; trying again in 0.02 s" in caplog.text
    server.steps = [fail]
    with pytest.raises(
        OSError, match="the server answers 500 Internal Server Error; gave up after 3 attempts in a row"
    ):
        download.download(remote(server), tmp_path / "again.zip", progress=False)


def test_no_server_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    nowhere = Remote("http://127.0.0.1:1/data.zip", 10, "md5:0", stall=0.3, attempts=2, pause=0.01)
    with pytest.raises(OSError, match=r"the connection failed \(.*refused.*\); gave up after 2 attempts in a row"):
        download.download(nowhere, tmp_path / "data.zip", progress=False)


# The disk


def test_unwritable_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write: .*; part of the path is a file, not a folder; choose another"):
        download.download(remote(server), tmp_path / "file" / "data.zip", progress=False)
    with pytest.raises(OSError, match=r"cannot write: .*; part of the path is a file, not a folder; choose another"):
        fetch_ravdess.fetch(tmp_path / "file" / "ravdess", progress=False, remote=remote(server))
    assert server.requests == []


def test_disk_too_small(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="disk is full: 102,400 bytes are needed, 1,000 are free; free some space"):
        download.download(remote(server), tmp_path / "data.zip", progress=False)
    assert server.requests == [] and names(tmp_path) == []


class FullDisk(io.BytesIO):
    """A file on a disk with room for 50,000 bytes."""

    def write(self, block: bytes) -> int:
        if self.tell() + len(block) > 50_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(block)


def test_disk_that_fills_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def opened(path: Path, mode: str = "r", *rest: object, **named: object) -> object:
        if path.is_relative_to(tmp_path) and mode in ("ab", "xb"):
            real(path, mode).close()
            return FullDisk()
        return real(path, mode, *rest, **named)

    with zipfile.ZipFile(tmp_path / "two.zip", "w") as made:
        made.writestr("big", os.urandom(2 * download.BLOCK))
    monkeypatch.setattr(Path, "open", opened)
    server.steps = [partial(serve, stop=1000), serve]
    with pytest.raises(OSError, match="cannot write: No space left on device; the disk is full; free some space"):
        download.download(remote(server), tmp_path / "data.zip", progress=False)
    assert names(tmp_path) == ["two.zip"]
    with pytest.raises(OSError, match="cannot write: No space left on device; the disk is full; free some space"):
        unpack_all(tmp_path / "two.zip", tmp_path / "folder")
    assert names(tmp_path) == ["two.zip"]


# Zip files


def unpack_all(archive: Path, folder: Path, most_files: int = 10, most_bytes: int = 10 << 20) -> list[Path]:
    return unpack(archive, folder, lambda name: name, most_files=most_files, most_bytes=most_bytes, progress=False)


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in members:
            made.writestr(name, content, compress_type=method)
    return path


def test_unpack(tmp_path: Path) -> None:
    archive = zipped(
        tmp_path / "a.zip", ("a/one.txt", b"1"), ("a/", b""), ("./a/b/two.txt", PAYLOAD), ("a/no.txt", b"")
    )
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "stale").touch()
    chosen = unpack(
        archive,
        tmp_path / "new",
        lambda name: None if name.name == "no.txt" else PurePosixPath(name.name),
        most_files=4,
        most_bytes=200_000,
        progress=False,
    )
    assert [path.relative_to(tmp_path).as_posix() for path in chosen] == ["new/one.txt", "new/two.txt"]
    assert names(tmp_path / "new") == ["one.txt", "two.txt"]
    assert (tmp_path / "new" / "two.txt").read_bytes() == PAYLOAD


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/tmp/evil", "C:\\evil", "c:evil", "..\\evil", "\\\\host\\share\\evil"]
)
def test_name_outside_the_folder(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a.zip", ("fine", b"fine"), (name, b"evil"))
    with pytest.raises(ValueError, match=r"refused: '.*evil' would be written outside the folder"):
        unpack_all(archive, tmp_path / "new")
    assert names(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_link_or_device(tmp_path: Path, kind: int) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (kind | 0o777) << 16
    archive = zipped(tmp_path / "a.zip", (link, b"/etc/passwd"))
    with pytest.raises(ValueError, match="refused: 'link' is a link or device, expected files and folders"):
        unpack_all(archive, tmp_path / "new")
    assert names(tmp_path) == ["a.zip"]


def test_bombs(tmp_path: Path) -> None:
    zeros = zipped(tmp_path / "a.zip", ("zeros", bytes(2 << 20)))
    with pytest.raises(ValueError, match=r"refused as a zip bomb: .* bytes that unpack to 2,097,152; expected at most"):
        unpack_all(zeros, tmp_path / "new")
    long = zipped(tmp_path / "b.zip", ("long", PAYLOAD), method=zipfile.ZIP_STORED)
    with pytest.raises(
        ValueError, match="unpack to 102,400; expected at most 102,399, and at most 100 times the packed"
    ):
        unpack_all(long, tmp_path / "new", most_bytes=102_399)
    many = zipped(tmp_path / "c.zip", *((str(n), b"") for n in range(11)))
    with pytest.raises(ValueError, match="refused: expected at most 10 files, found 11"):
        unpack_all(many, tmp_path / "new")
    assert names(tmp_path) == ["a.zip", "b.zip", "c.zip"]


def test_member_longer_than_it_says_is_cut_and_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("long", PAYLOAD))
    content = archive.read_bytes()
    assert content.count(struct.pack("<I", len(PAYLOAD))) == 2
    archive.write_bytes(content.replace(struct.pack("<I", len(PAYLOAD)), struct.pack("<I", 10)))
    with pytest.raises(ValueError, match="'long' is damaged or cut off"):
        unpack_all(archive, tmp_path / "new")
    assert names(tmp_path) == ["a.zip"]


def test_two_members_of_one_name(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("a/one", b"1"), ("b/one", b"2"))
    with pytest.raises(ValueError, match="'a/one' and 'b/one' differ and are both one"):
        unpack(archive, tmp_path / "new", lambda n: PurePosixPath(n.name), most_files=9, most_bytes=9, progress=False)


def test_unusual_packing(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("one", PAYLOAD), method=zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match="'one' is encrypted or not packed by deflate"):
        unpack_all(archive, tmp_path / "new")


def test_broken_zips(tmp_path: Path) -> None:
    good = zipped(tmp_path / "good.zip", ("one", PAYLOAD), method=zipfile.ZIP_STORED).read_bytes()
    for content in (b"", b"<html>log in</html>", good[:50_000], good[:-1]):
        (tmp_path / "bad.zip").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.zip: expected a zip file, found a damaged or other one"):
            unpack_all(tmp_path / "bad.zip", tmp_path / "new")
    (tmp_path / "bad.zip").write_bytes(good[:60_000] + bytes([good[60_000] ^ 1]) + good[60_001:])
    with pytest.raises(ValueError, match=r"'one' is damaged or cut off \(Bad CRC-32 for file 'one'\)"):
        unpack_all(tmp_path / "bad.zip", tmp_path / "new")
    assert names(tmp_path) == ["bad.zip", "good.zip"]


def test_zip_with_any_byte_changed_is_refused_or_unpacked_unchanged(tmp_path: Path) -> None:
    good = zipped(tmp_path / "a.zip", ("a/one", bytes(range(64))), ("a/two", b"2")).read_bytes()
    archive = tmp_path / "bad.zip"
    refused = 0
    for place in range(len(good)):
        archive.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            found = unpack_all(archive, tmp_path / "new")
        except ValueError as error:
            assert "bad.zip: " in str(error)
            assert not (tmp_path / "new").exists()
            refused += 1
        else:
            assert {path.read_bytes() for path in found} <= {bytes(range(64)), b"2"}
    assert refused > len(good) / 2


# RAVDESS


def wave(number: int) -> bytes:
    samples = number.to_bytes(2, "little") * 50
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 136, b"WAVE", b"fmt ", 16, 1, 1, 48000, 96000, 2, 16, b"data", 100
    )
    return head + samples


def ravdess_files() -> dict[str, bytes]:
    ways = [
        (emotion, intensity, statement, repetition)
        for emotion in range(1, 9)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for statement in (1, 2)
        for repetition in (1, 2)
    ]
    stems = [
        (actor, f"03-01-{'-'.join(f'{part:02}' for part in way)}-{actor[-2:]}.wav") for actor in ACTORS for way in ways
    ]
    return {f"{actor}/{stem}": wave(n) for n, (actor, stem) in enumerate(stems)}


@pytest.fixture(scope="module")
def ravdess_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zipped(tmp_path_factory.mktemp("zip") / "ravdess.zip", *ravdess_files().items())


def tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_ravdess_is_fetched_where_it_is_looked_for(
    server: Server,
    ravdess_zip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path))
    monkeypatch.delenv("SERLIB_RAVDESS", raising=False)
    body = ravdess_zip.read_bytes()
    server.steps = [partial(serve, body=body, stop=1000), partial(serve, body=body)]
    assert fetch_ravdess.fetch(progress=False, remote=remote(server, body)) == tmp_path / "ravdess"
    assert f"RAVDESS is complete in {tmp_path / 'ravdess'}: 1,440 files" in caplog.messages
    assert names(tmp_path) == ["ravdess", "ravdess.lock"]
    corpus = corpora.load("ravdess", progress=False)
    assert (len(corpus.utterances), corpus.skipped) == (1440, [])
    fetch_ravdess.fetch(progress=False, remote=remote(server, body))
    assert f"RAVDESS is complete in {tmp_path / 'ravdess'}: 1,440 files, nothing to do" in caplog.messages
    assert len(server.requests) == 2


def test_ravdess_goes_on_after_an_interrupted_unpacking(
    server: Server, ravdess_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = ravdess_zip.read_bytes()
    server.steps = [partial(serve, body=body)]
    out = tmp_path / "ravdess"
    real = download._contents

    def interrupted(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
        if member.filename.startswith("Actor_02"):
            raise KeyboardInterrupt
        return real(opened, member)

    with monkeypatch.context() as patch:
        patch.setattr(download, "_contents", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch_ravdess.fetch(out, progress=False, remote=remote(server, body))
    work = tmp_path / ".ravdess.fetch"
    assert not out.exists() and names(work) == ["Audio_Speech_Actors_01-24.zip"]
    tree(work / "new", {"Actor_01/03-01-01-01-01-01-01.wav": b"cut off when the power went"})
    fetch_ravdess.fetch(out, progress=False, remote=remote(server, body))
    assert len(server.requests) == 1
    assert len(list(out.glob("Actor_*/*.wav"))) == 1440 and not work.exists()


def test_ravdess_with_files_missing_or_damaged(server: Server, tmp_path: Path) -> None:
    files = ravdess_files()
    del files["Actor_03/03-01-05-01-02-01-03.wav"]
    body = zipped(tmp_path / "a.zip", *files.items()).read_bytes()
    server.steps = [partial(serve, body=body)]
    out = tmp_path / "ravdess"
    with pytest.raises(ValueError, match=r"expected 1,440 files of RAVDESS, found 1,439"):
        fetch_ravdess.fetch(out, progress=False, remote=remote(server, body))
    assert not out.exists()
    files["Actor_03/03-01-05-01-02-01-03.wav"] = wave(3)[:90]
    damaged = zipped(tmp_path / "b.zip", *files.items())
    with pytest.raises(
        ValueError, match=r"b\.zip: 1 of 1,440 files are damaged, first Actor_03/.*: cut off: the header"
    ):
        fetch_ravdess.fetch(out, damaged, progress=False)
    assert not out.exists()


def test_ravdess_from_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    four = {name: content for name, content in ravdess_files().items() if name[15:17] in ("01", "03", "04", "05")}
    have = tree(tmp_path / "have" / "Audio_Speech_Actors_01-24", four)
    out = fetch_ravdess.fetch(tmp_path / "ravdess", tmp_path / "have", progress=False)
    assert out.is_symlink() and out.resolve() == have.resolve()
    note = f"{out} holds 672 of RAVDESS's 1,440 files: angry 192, happy 192, neutral 96, sad 192"
    assert caplog.messages.count(note) == 1
    fetch_ravdess.fetch(out, have, progress=False)
    assert caplog.messages.count(note) == 2
    assert names(tmp_path) == ["have", "ravdess", "ravdess.lock"]


def test_ravdess_is_copied_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have = tree(tmp_path / "have", {f"Actor_05/03-01-0{n}-01-01-01-05.wav": wave(n) for n in range(1, 9)})

    def no_links(*arguments: object, **named: object) -> None:
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    out = fetch_ravdess.fetch(tmp_path / "ravdess", have, progress=False)
    assert not out.is_symlink() and names(out / "Actor_05") == names(have / "Actor_05")


def test_ravdess_replaces_a_part_of_itself_and_nothing_else(
    server: Server, ravdess_zip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = ravdess_zip.read_bytes()
    server.steps = [partial(serve, body=body)]
    out = tree(tmp_path / "ravdess", {"Actor_01/03-01-01-01-01-01-01.wav": wave(1), "Actor_01/thesis.tex": b"mine"})
    for source in (None, ravdess_zip):
        with pytest.raises(
            FileExistsError, match=r"holds other files \(Actor_01/thesis\.tex\); name another folder with"
        ):
            fetch_ravdess.fetch(out, source, progress=False, remote=remote(server, body))
    assert (out / "Actor_01" / "thesis.tex").read_bytes() == b"mine" and server.requests == []
    (out / "Actor_01" / "thesis.tex").unlink()
    fetch_ravdess.fetch(out, progress=False, remote=remote(server, body))
    assert len(list(out.glob("Actor_*/*.wav"))) == 1440
    assert names(tmp_path) == ["ravdess", "ravdess.lock"]


def test_ravdess_from_what_it_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ravdess"
    (tmp_path / "empty").mkdir()
    tree(tmp_path / "other", {"Actor_01/song.wav": wave(1)})
    zipped(tmp_path / "other.zip", ("readme.txt", b"hello"))
    zipped(tmp_path / "hostile.zip", ("../Actor_01/03-01-01-01-01-01-01.wav", wave(1)))
    for source, message in {
        "absent": "no such folder or zip file; give --from the one that you have",
        "empty": "expected folders Actor_01 to Actor_24 in it, found none",
        "other": "expected files such as Actor_12/03-01-05-01-02-01-12.wav, found none",
        "other.zip": "expected files such as Actor_12/03-01-05-01-02-01-12.wav, found none",
        "hostile.zip": "would be written outside the folder",
    }.items():
        assert fetch_ravdess.main(["--out", str(out), "--from", str(tmp_path / source)]) == 1
        printed = capsys.readouterr().err
        assert f"error: {tmp_path / source}: " in printed and message in printed and "Traceback" not in printed
        assert not out.exists() and not (tmp_path / ".ravdess.fetch").exists()


# GloVe


def glove_text(lines: int = 50) -> bytes:
    numbers = " ".join(f"{n / 100:.2f}" for n in range(300))
    return "".join(f"{'. . .' if n == 7 else f'word{n}'} {numbers}\n" for n in range(lines)).encode()


def test_glove_is_fetched(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(download, "RATIO", 1000)
    body = zipped(tmp_path / "a.zip", (fetch_glove.NAME, glove_text())).read_bytes()
    server.steps = [partial(serve, body=body, stop=1000), partial(serve, body=body)]
    for _ in range(2):
        found = fetch_glove.fetch(progress=False, remote=remote(server, body), lines=50)
    assert found == tmp_path / "glove" / "glove.840B.300d.txt"
    assert found.read_bytes() == glove_text()
    assert server.ranges() == [None, "bytes=1000-"]
    assert names(found.parent) == [found.name, f"{found.name}.lock"]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (glove_text(40), "expected about 50 lines, found 40; it is cut off or another file"),
        (glove_text()[:-9], "expected a token and 300 numbers in the last line, found b'word49 0.00"),
        (b"50 300\n" + glove_text(), "expected a token and 300 numbers in the first line, found b'50 300"),
        (b"", "expected a token and 300 numbers in the first line, found b''"),
    ],
)
def test_glove_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str, packed: bool
) -> None:
    monkeypatch.setattr(download, "RATIO", 1000)
    source = tree(tmp_path / "have", {fetch_glove.NAME: content}) / fetch_glove.NAME
    if packed:
        source = zipped(tmp_path / "have" / "glove.zip", (fetch_glove.NAME, content))
    with pytest.raises(ValueError) as raised:
        fetch_glove.fetch(tmp_path / "glove", source, progress=False, lines=50)
    assert message in str(raised.value)
    assert names(tmp_path / "glove") == [f"{fetch_glove.NAME}.lock"]


def test_glove_from_text_or_folder(tmp_path: Path) -> None:
    have = tree(tmp_path / "have", {fetch_glove.NAME: glove_text()})
    for source in (have, have / fetch_glove.NAME):
        found = fetch_glove.fetch(tmp_path / "glove", source, progress=False, lines=50)
        assert found.is_symlink() and found.read_bytes() == glove_text()
    with pytest.raises(FileNotFoundError, match=r"expected glove\.840B\.300d\.txt or glove\.840B\.300d\.zip in it"):
        fetch_glove.fetch(tmp_path / "glove", tmp_path, progress=False)
