"""Downloads from a server that misbehaves, zip files that are broken or hostile, and what they leave behind."""

from __future__ import annotations

import hashlib
import itertools
import logging
import random
import shutil
import stat
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
    steps: list[Callable[[BaseHTTPRequestHandler], object]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for headers in self.requests]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(dict(self.headers))
            state.steps[min(len(state.requests), len(state.steps)) - 1](self)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads, http.over = True, threading.Event()
        state.url = f"http://127.0.0.1:{http.server_port}/data.zip"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.over.set()
        http.shutdown()
        thread.join()


def serve(
    handler: BaseHTTPRequestHandler,
    body: bytes = PAYLOAD,
    etag: str | None = ETAG,
    stop: int | None = None,
    **how: object,
) -> None:
    """Send `body`, or the part asked for, or only its first `stop` bytes.

    `how` says to be `careless` about If-Range, to `stall` in the end, to send no `ranges` or say another `start`,
    and what length to have `announced` (None: none).
    """
    start = 0
    wanted, ranges = handler.headers["Range"], how.get("ranges", True)
    if wanted and ranges and (how.get("careless") or handler.headers["If-Range"] in (None, etag)):
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {how.get('start', start)}-{len(body) - 1}/{len(body)}")
    else:
        handler.send_response(200)
    if etag:
        handler.send_header("ETag", etag)
    if (announced := how.get("announced", len(body) - start)) is not None:
        handler.send_header("Content-Length", str(announced))
    handler.end_headers()
    handler.wfile.write(body[start:stop])
    if how.get("stall"):
        handler.wfile.flush()
        handler.server.over.wait(10)


def fail(handler: BaseHTTPRequestHandler, status: int = 500) -> None:
    handler.send_error(status)


def get(server: Server, path: Path, body: bytes = PAYLOAD, **patience: float) -> bytes:
    """Download `body`, or what it really is, and return what is at `path` then."""
    download.download(remote(server, body, **patience), path, progress=False)
    return path.read_bytes()


def remote(server: Server, body: bytes = PAYLOAD, **patience: float) -> Remote:
    checksum = f"md5:{hashlib.md5(body).hexdigest()}"
    return Remote(server.url, len(body), checksum, **({"stall": 10, "attempts": 3, "pause": 0.01} | patience))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in members:
            made.writestr(name, content, compress_type=method)
    return path


def tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


# The server


@pytest.mark.parametrize("etag", [ETAG, 'W/"weak"', None])
def test_a_download_goes_on_where_it_was_cut_off_and_is_not_repeated(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, etag: str | None
) -> None:
    server.steps = [partial(serve, etag=etag, stop=stop) for stop in (1000, 60_000, None)]
    path = tmp_path / "new" / "data.zip"
    for _ in range(2):
        assert get(server, path) == PAYLOAD
    assert server.ranges() == [None, "bytes=1000-", "bytes=60000-"]
    assert server.requests[1].get("If-Range") == (ETAG if etag == ETAG else None)
    assert f"{server.url}: the connection ended after 1,000 of 102,400 bytes; trying again" in caplog.text
    assert names(path.parent) == ["data.zip"]


@pytest.mark.parametrize(
    ("second", "ranges"),
    [
        (partial(serve, body=OTHER, etag='"second"'), [None, "bytes=50000-"]),
        (partial(serve, body=OTHER, ranges=False), [None, "bytes=50000-"]),
        (partial(serve, body=OTHER, start=7), [None, "bytes=50000-", None]),
        (partial(fail, status=416), [None, "bytes=50000-", None]),
    ],
)
def test_a_file_that_changes_in_between_is_not_patched_together(
    server: Server, tmp_path: Path, second: Callable, ranges: list
) -> None:
    server.steps = [partial(serve, stop=50_000), second, partial(serve, body=OTHER)]
    assert get(server, tmp_path / "data.zip", OTHER) == OTHER
    assert server.ranges() == ranges


def test_a_patchwork_by_a_careless_server_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.steps = [partial(serve, stop=50_000), partial(serve, body=OTHER, etag='"second"', careless=True)]
    with pytest.raises(ValueError, match=r"not the published file: expected md5 .*\. It is removed; run the same"):
        get(server, tmp_path / "data.zip", OTHER)
    assert names(tmp_path) == ["data.zip.part.json"]
    assert get(server, tmp_path / "data.zip", OTHER) == OTHER and names(tmp_path) == ["data.zip"]


def test_a_server_that_cuts_off_stalls_or_fails_is_given_up(server: Server, tmp_path: Path) -> None:
    cut, stalled = partial(serve, stop=40_000, ranges=False), partial(serve, stop=40_000, stall=True)
    for step, trouble in (
        (cut, "the connection ended after 40,000 of 102,400 bytes"),
        (stalled, "nothing came for 0.5 s"),
        (lambda handler: handler.server.over.wait(10), "nothing came for 0.5 s"),
        (lambda handler: handler.wfile.write(b"what?\r\n"), "the connection failed (what?\r\n)"),
        (partial(fail, status=500), "the server answers 500 Internal Server Error"),
        (partial(fail, status=503), "the server answers 503 Service Unavailable"),
    ):
        server.requests.clear()
        server.steps = [step]
        with pytest.raises(OSError) as raised:
            get(server, tmp_path / "data.zip", stall=0.5 if "0.5 s" in trouble else 30, attempts=2)
        assert str(raised.value) == (
            f"{server.url}: {trouble}, 2 times. Run the same command again to go on from there"
        )
        assert len(server.requests) == 2 and not (tmp_path / "data.zip").exists()
    server.steps = [serve]
    assert get(server, tmp_path / "data.zip") == PAYLOAD and server.ranges()[-1] == "bytes=40000-"
    server.url = "http://127.0.0.1:1/data.zip"
    with pytest.raises(OSError, match=r"127.0.0.1:1/data.zip: the connection failed \(.*refused.*\), 3 times\. Run"):
        get(server, tmp_path / "again.zip")


def test_another_file_than_the_published_one_is_refused(server: Server, tmp_path: Path) -> None:
    advice = r"\. If the network asks you to log in, do so; else download it in a browser and name it with --from$"
    for step, kind, message in (
        (partial(serve, announced=90_000), ValueError, "expected 102,400 bytes, the server announces 90,000" + advice),
        (
            partial(serve, announced=10**6),
            ValueError,
            "expected 102,400 bytes, the server announces 1,000,000" + advice,
        ),
        (partial(serve, body=PAYLOAD + b"more", announced=None), ValueError, "expected md5 .*, found .* It is removed"),
        (partial(serve, body=OTHER), ValueError, r"expected md5 [0-9a-f]{32}, found [0-9a-f]{32}\. It is removed; run"),
        (partial(fail, status=404), OSError, "the server answers 404 Not Found" + advice),
    ):
        server.requests.clear()
        server.steps = [step]
        with pytest.raises(kind, match=f"{server.url}: .*{message}"):
            get(server, tmp_path / "data.zip")
        assert len(server.requests) == 1 and not list(tmp_path.glob("*.zip*t"))


# Zip files


def unpack_all(archive: Path, folder: Path, most_files: int = 10, most_bytes: int = 10 << 20) -> list[Path]:
    return unpack(archive, folder, lambda name: name, most_files=most_files, most_bytes=most_bytes, progress=False)


def test_what_is_chosen_is_unpacked(tmp_path: Path) -> None:
    members = ("a/one.txt", b"1"), ("a/", b""), ("./a\\b/two.txt", PAYLOAD), ("a/no.txt", b""), ("c/one.txt", b"1")
    archive = zipped(tmp_path / "a.zip", *members)
    tree(tmp_path / "new", {"deep/stale": b""})
    chosen = unpack(
        archive,
        tmp_path / "new",
        lambda name: None if name.name == "no.txt" else PurePosixPath(name.name),
        most_files=2,
        most_bytes=len(PAYLOAD) + 1,
        progress=False,
    )
    assert [path.relative_to(tmp_path).as_posix() for path in chosen] == ["new/one.txt", "new/two.txt"]
    assert names(tmp_path / "new") == ["one.txt", "two.txt"]
    assert (tmp_path / "new" / "two.txt").read_bytes() == PAYLOAD


OUTSIDE = ("../evil", "a/../../evil", "/tmp/evil", "C:\\evil", "c:evil", "..\\evil", "\\\\host\\share\\evil")


def test_harmful_zips_are_refused(tmp_path: Path) -> None:
    cut = zipped(tmp_path / "a.zip", ("long", PAYLOAD)).read_bytes()
    cut = cut.replace(struct.pack("<I", len(PAYLOAD)), struct.pack("<I", 10))
    harmful = {name: [("fine", b"fine"), (name, b"evil")] for name in OUTSIDE}
    harmful |= {"more": [(str(n), b"") for n in range(11)], "zeros": [("zeros", bytes(11 << 20))]}
    for name, members in harmful.items():
        message = (
            "would be written outside the folder" if name in OUTSIDE else "expected at most 10 files of 10,485,760"
        )
        with pytest.raises(ValueError, match=rf"a\.zip: expected a whole and harmless zip file: .*{message}"):
            unpack_all(zipped(tmp_path / "a.zip", *members), tmp_path / "new")
        assert names(tmp_path) == ["a.zip"]
    (tmp_path / "a.zip").write_bytes(cut)
    with pytest.raises(ValueError, match="whole and harmless zip file: Bad CRC-32 for file 'long'"):
        unpack_all(tmp_path / "a.zip", tmp_path / "new")
    archive = zipped(tmp_path / "a.zip", ("a/one", b"1"), ("b/one", b"2"))
    with pytest.raises(ValueError, match="'a/one' and 'b/one' differ and are both one"):
        unpack(archive, tmp_path / "new", lambda n: PurePosixPath(n.name), most_files=9, most_bytes=9, progress=False)
    assert names(tmp_path) == ["a.zip"]


def test_a_link_becomes_a_file(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    (found,) = unpack_all(zipped(tmp_path / "a.zip", (link, b"/etc/passwd")), tmp_path / "new")
    assert not found.is_symlink() and found.read_bytes() == b"/etc/passwd"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_cut_off_or_with_any_byte_changed_is_refused_or_unpacked_unchanged(tmp_path: Path, method: int) -> None:
    contents = {bytes(range(64)), b"2"}
    good = zipped(tmp_path / "a.zip", ("a/one", bytes(range(64))), ("a/two", b"2"), method=method).read_bytes()
    changed = [good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :] for place in range(len(good))]
    archive = tmp_path / "bad.zip"
    refused = 0
    for bad in [b"<html>log in</html>", *(good[:end] for end in range(len(good))), *changed]:
        archive.write_bytes(bad)
        try:
            found = unpack_all(archive, tmp_path / "new")
        except ValueError as error:
            assert str(error).startswith(f"{archive}: expected a whole and harmless zip file: ")
            assert not (tmp_path / "new").exists()
            refused += 1
        else:
            assert {path.read_bytes() for path in found} <= contents
    assert refused > 1.5 * len(good)


# RAVDESS


def wave(number: int) -> bytes:
    samples = number.to_bytes(2, "little") * 50
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 136, b"WAVE", b"fmt ", 16, 1, 1, 48000, 96000, 2, 16, b"data", 100
    )
    return head + samples


def ravdess_files() -> dict[str, bytes]:
    ways = [way for way in itertools.product(range(1, 9), (1, 2), (1, 2), (1, 2)) if way[:2] != (1, 2)]
    return {
        f"{actor}/03-01-{'-'.join(f'{part:02}' for part in way)}-{actor[-2:]}.wav": wave(n)
        for n, (actor, way) in enumerate(itertools.product(ACTORS, ways))
    }


@pytest.fixture(scope="module")
def ravdess_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zipped(tmp_path_factory.mktemp("zip") / "ravdess.zip", *ravdess_files().items())


def test_ravdess_is_fetched_where_it_is_looked_for(
    server: Server, ravdess_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And it goes on after a cut, an interrupted unpacking and a power failure."""
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path))
    monkeypatch.delenv("SERLIB_RAVDESS", raising=False)
    body = ravdess_zip.read_bytes()
    server.steps = [partial(serve, body=body, stop=1000), partial(serve, body=body)]
    out, work = tmp_path / "ravdess", tmp_path / ".ravdess.fetch"
    real = fetch_ravdess._place

    def interrupted(name: PurePosixPath) -> PurePosixPath | None:
        if name.parent.name == "Actor_02":
            raise KeyboardInterrupt
        return real(name)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fetch_ravdess, "_place", interrupted)
        fetch_ravdess.fetch(progress=False, remote=remote(server, body))
    assert not out.exists() and names(work) == ["Audio_Speech_Actors_01-24.zip"]
    tree(work / "new", {"Actor_01/03-01-01-01-01-01-01.wav": b"cut off when the power went"})
    for note in ("", ", nothing to do"):
        assert fetch_ravdess.fetch(progress=False, remote=remote(server, body)) == out
        assert f"RAVDESS is complete in {out}: 1,440 files{note}" in caplog.messages
    assert len(server.requests) == 2 and names(tmp_path) == ["ravdess", "ravdess.lock"]
    corpus = corpora.load("ravdess", progress=False)
    assert (len(corpus.utterances), corpus.skipped) == (1440, [])


def test_ravdess_with_files_missing_or_damaged(server: Server, tmp_path: Path) -> None:
    files = ravdess_files()
    del files["Actor_03/03-01-05-01-02-01-03.wav"]
    body = zipped(tmp_path / "a.zip", *files.items()).read_bytes()
    server.steps = [partial(serve, body=body)]
    out = tmp_path / "ravdess"
    with pytest.raises(ValueError, match=r"expected 1,440 files of RAVDESS, found 1,439"):
        fetch_ravdess.fetch(out, progress=False, remote=remote(server, body))
    files["Actor_03/03-01-05-01-02-01-03.wav"] = wave(3)[:90]
    damaged = zipped(tmp_path / "b.zip", *files.items())
    with pytest.raises(ValueError, match=r"b\.zip: 1 of 1,440 files are damaged, first Actor_03/.*: cut off: the head"):
        fetch_ravdess.fetch(out, damaged, progress=False)
    assert not out.exists()


def test_ravdess_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    four = {name: content for name, content in ravdess_files().items() if name[15:17] in ("01", "03", "04", "05")}
    have = tree(tmp_path / "have" / "Audio_Speech_Actors_01-24", four)
    out = tmp_path / "ravdess"
    out.symlink_to("where it was before")
    for source in (have.parent, have):
        assert fetch_ravdess.fetch(out, source, progress=False) == out
        assert out.is_symlink() and out.resolve() == have.resolve()
    note = f"{out} holds 672 of RAVDESS's 1,440 files: angry 192, happy 192, neutral 96, sad 192"
    assert caplog.messages.count(note) == 2 and names(tmp_path) == ["have", "ravdess", "ravdess.lock"]
    (tmp_path / "empty").mkdir()
    assert fetch_ravdess.fetch(tmp_path / "empty", have, progress=False).resolve() == have.resolve()

    def no_links(*arguments: object, **named: object) -> None:
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    copy = fetch_ravdess.fetch(tmp_path / "copy", have, progress=False)
    assert not copy.is_symlink() and {p.relative_to(copy).as_posix() for p in copy.rglob("*.wav")} == four.keys()


def test_nothing_that_is_there_is_replaced_or_deleted(server: Server, ravdess_zip: Path, tmp_path: Path) -> None:
    have = tree(tmp_path / "have", {"Actor_05/03-01-01-01-01-01-05.wav": wave(1), fetch_glove.NAME: glove_text()})
    tree(tmp_path, {".out.fetch/mine": b"mine"})
    out = tmp_path / "out"
    actor = "Actor_01/03-01-01-01-01-01-01.wav"
    for name in (".env", "Actor_01/.DS_Store", "thesis.tex", actor):
        tree(out, {name: b"mine"})
        for source in (None, ravdess_zip, have):
            with pytest.raises(
                FileExistsError, match="is there, and nothing is replaced; move it or name another fold"
            ):
                fetch_ravdess.fetch(out, source, progress=False, remote=remote(server))
            assert (out / name).read_bytes() == b"mine" and server.requests == []
        shutil.rmtree(out)
    tree(out, {fetch_glove.NAME: b"mine"})
    for source in (have, zipped(tmp_path / "a.zip", (fetch_glove.NAME, glove_text()))):
        with pytest.raises(FileExistsError, match=r"glove\.840B\.300d\.txt is there, and nothing is replaced"):
            fetch_glove.fetch(out, source, progress=False, lines=50)
    assert (out / fetch_glove.NAME).read_bytes() == b"mine"
    (out / fetch_glove.NAME).unlink()
    (out / f"{fetch_glove.NAME}.lock").unlink()
    fetch_ravdess.fetch(out, ravdess_zip, progress=False)
    assert len(list(out.glob("Actor_*/*.wav"))) == 1440 and names(tmp_path / ".out.fetch") == ["mine"]


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
    body = zipped(tmp_path / "a.zip", (fetch_glove.NAME, glove_text())).read_bytes()
    server.steps = [partial(serve, body=body, stop=1000), fail, partial(serve, body=body)]
    out = tmp_path / "glove" / "glove.840B.300d.txt"
    with pytest.raises(OSError, match=r"ended after 1,000 of [0-9,]+ bytes, 1 times\. Run the same command again"):
        fetch_glove.fetch(progress=False, remote=remote(server, body, attempts=1), lines=50)
    assert not out.exists()
    for _ in range(2):
        assert fetch_glove.fetch(progress=False, remote=remote(server, body), lines=50) == out
    assert out.read_bytes() == glove_text()
    assert server.ranges() == [None, "bytes=1000-", "bytes=1000-"]
    assert names(out.parent) == [out.name, f"{out.name}.lock"]


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
def test_glove_that_is_not(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
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
