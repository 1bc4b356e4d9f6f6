"""A disk that is full, and folders that cannot be written: for every writer one clear error, and nothing half done.

Here a disk is full because no file may grow beyond a limit, or because from some operation on the system refuses to
make, open or rename. `SERLIB_SMALL_DISK=/mnt/small` runs the first kind on a real small disk instead, such as one made
with `mount -t tmpfs -o size=32m tmpfs /mnt/small`: it is filled up until the limit is all that is left.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import resource
import shutil
import sys
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
import soundfile
import torch

from data_scripts import download, fetch_glove, fetch_ravdess, make_synthetic
from serlib import files, results
from serlib.checkpoints import Checkpoint
from serlib.corpora.corpus import Corpus, Utterance
from serlib.embeddings import read_vectors
from serlib.features import cache
from serlib.features.feature import Feature
from workflow import run_chapters

SMALL_DISK = os.environ.get("SERLIB_SMALL_DISK")
FULL = (
    "the disk is full; free some space" if SMALL_DISK else "larger than this disk or your limits allow; choose another"
)
BELOW_A_FILE = "part of the path is a file, not a folder; choose another folder"


def spread(waveform: np.ndarray) -> np.ndarray:
    return np.repeat(waveform[:300, None], 4, axis=1)


SPREAD = Feature("spread", tuple("abcd"), per_frame=True, extract=spread, settings=dict)


@dataclass(frozen=True)
class Writer:
    """Something that writes into a folder.

    Attributes:
        write: does it, and goes on where it failed when called again.
        limits: bytes that a file may have for it to fail: at its first file, and later.
        grows: files that may be shorter than in the end, though whole: they name what is there.
        resumes: files for the next call to go on with, gone in the end.
    """

    write: Callable[[Path], object]
    limits: tuple[int, ...]
    grows: tuple[str, ...] = ()
    resumes: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the writers read."""
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    for number in range(10):
        path = folder / "Actor_01" / f"03-01-0{number % 8 + 1}-01-01-0{number // 8 + 1}-01.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, rng.normal(scale=0.1, size=2_000), 16_000, subtype="PCM_16")
    lines = [" ".join([f"word{n}", *(f"{x:.5f}" for x in rng.normal(size=300))]) for n in range(40)]
    (folder / fetch_glove.NAME).write_text("\n".join([*lines, ""]))
    with zipfile.ZipFile(folder / "glove.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.write(folder / fetch_glove.NAME, fetch_glove.NAME)
    (folder / "data.zip").write_bytes(rng.bytes(50_000))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("word " * 5_000, id="one")])
    nbformat.write(notebook, folder / "chapter.ipynb")
    return folder


@pytest.fixture(scope="module")
def url(sources: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=sources)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/data.zip"
        server.shutdown()
        thread.join()


def record(**changes: object) -> results.Record:
    known = dict.fromkeys(("paper", "system", "corpus", "protocol", "profile", "device", "hardware", "key"), "x")
    history = [{"step": step, "train_loss": 0.5, "dev_loss": 0.5} for step in range(200)]
    outputs = np.random.default_rng(0).random((500, 4))
    predictions = results.Predictions([f"u{n}" for n in range(500)], np.zeros(500), outputs)
    one = results.Record(**known, fold=0, seed=0, metrics={}, history=history, predictions=predictions)
    return replace(one, **changes)


def write_chapter(source: Path, folder: Path) -> None:
    """`workflow.run_chapters.execute` with a papermill that runs nothing and writes as it does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papermill, "execute_notebook", lambda source, target, **_: shutil.copyfile(source, target))
        run_chapters.execute(source, folder / "new" / "chapter.ipynb")


@pytest.fixture
def writers(sources: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Writer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(cache, "SHARD", 4)
    waves = sorted((sources / "Actor_01").glob("*.wav"))
    corpus = Corpus("test", sources, [Utterance(p.stem, "s", "1", "d", False, "sad", None, "", p, 0.1) for p in waves])
    checksum = f"md5:{hashlib.md5((sources / 'data.zip').read_bytes()).hexdigest()}"
    remote = download.Remote(url, 50_000, checksum, pause=0.01)
    weights = {"weights": torch.arange(5_000.0)}
    vectors, words = sources / fetch_glove.NAME, [f"word{n}" for n in range(30)]
    everything = {"most_files": 5, "most_bytes": 10**6, "progress": False}
    quiet = {"progress": False}
    part = ("data.zip.part", "data.zip.part.json")
    return {
        "corpus": Writer(lambda f: make_synthetic.make(f / "made", utterances=50, jobs=1, **quiet), (0, 5_000, 90_000)),
        "features": Writer(
            lambda f: cache.feature_table(corpus, SPREAD, f, jobs=1, **quiet), (0, 15_000), grows=("index.json",)
        ),
        "results": Writer(lambda f: results.write(record(), f), (0, 5_000)),
        "checkpoint": Writer(lambda f: Checkpoint(f / "run.pt", "key").save(weights), (0, 1, 5_000), grows=("run.pt",)),
        "word vectors": Writer(lambda f: read_vectors(vectors, words, cache=f / "new", **quiet), (0, 5_000)),
        "download": Writer(lambda f: download.download(remote, f / "data.zip", **quiet), (0, 5_000), resumes=part),
        "unpacking": Writer(
            lambda f: download.unpack(sources / "glove.zip", f / "new", lambda name: name, **everything), (0, 5_000)
        ),
        "GloVe": Writer(lambda f: fetch_glove.fetch(f / "new", sources / "glove.zip", lines=40, **quiet), (0, 5_000)),
        "RAVDESS": Writer(lambda f: fetch_ravdess.fetch(f / "new", sources, **quiet), ()),
        "chapter": Writer(lambda f: write_chapter(sources / "chapter.ipynb", f), (0, 5_000)),
        "JSON": Writer(lambda f: files.write_json(f / "deep" / "a.json", list(range(5_000))), (0, 5_000)),
    }


NAMES = (
    "corpus", "features", "results", "checkpoint", "word vectors", "download", "unpacking", "GloVe", "RAVDESS",
    "chapter", "JSON",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, on the small disk if there is one."""
    made = Path(SMALL_DISK or tmp_path, f"folder-{uuid.uuid4().hex}")
    made.mkdir()
    yield made
    shutil.rmtree(made)


@contextmanager
def full(folder: Path, limit: int) -> Iterator[None]:
    """Let no file grow beyond `limit` bytes; or, on a real small disk, leave that many free, about."""
    if SMALL_DISK:
        ballast = Path(SMALL_DISK, "ballast")
        with ballast.open("wb", buffering=0) as file:
            file.write(bytes(max(0, shutil.disk_usage(folder).free - limit)))
        try:
            with pytest.MonkeyPatch.context() as patch:  # who looks first shall not see it, as if others filled it
                patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, 10**12))
                yield
        finally:
            ballast.unlink()
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class System:
    """Sees, and from operation `first` on refuses, what makes, opens for writing or renames something in a folder."""

    def __init__(self) -> None:
        self.inside = ""
        self.first, self.code, self.seen = sys.maxsize, 0, 0

    def hook(self, event: str, arguments: tuple) -> None:
        if not self.inside or event not in ("open", "os.mkdir", "os.rename", "os.symlink"):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        paths = [str(path) for path in arguments[: 2 if event in ("os.rename", "os.symlink") else 1]]
        if paths[-1].startswith(self.inside):
            self.seen += 1
            if self.seen > self.first:
                raise OSError(self.code, os.strerror(self.code), paths[0], None, *paths[1:])

    @contextmanager
    def watched(self, folder: Path, first: int = sys.maxsize, code: int = errno.ENOSPC) -> Iterator[None]:
        self.inside, self.first, self.code, self.seen = str(folder), first, code, 0
        try:
            yield
        finally:
            self.inside = ""


SYSTEM = System()
sys.addaudithook(SYSTEM.hook)  # cannot be taken away again, and does nothing unless a folder is watched


def contents(folder: Path) -> dict[str, bytes]:
    """What lies in a folder; locks, and what the corpus's generator notes of its work, do not count."""
    own = ("work.lock", "request.json")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name not in own
    }


def check_nothing_is_half_done(folder: Path, writer: Writer, whole: dict[str, bytes]) -> None:
    for name, content in contents(folder).items():
        if name in writer.resumes:
            continue
        assert name in whole
        if Path(name).name not in writer.grows:
            assert content == whole[name], name
    for index in folder.rglob("index.json"):
        _, complaints = cache._whole_shards(index.parent, [], SPREAD)
        assert not complaints
        named = {entry["file"] for entry in json.loads(index.read_text())["shards"] if entry}
        assert named <= {path.name for path in index.parent.iterdir()}


def check_whole(folder: Path, writer: Writer, whole: dict[str, bytes]) -> None:
    found = contents(folder)
    assert found.keys() == whole.keys()
    for name in found:
        assert found[name] == whole[name] or name == "run.pt", name  # a checkpoint holds the seconds taken


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, tuple[dict[str, bytes], int]]:
    """Name of a writer to what it leaves, and how many operations it takes."""
    return {}


def once(name: str, writer: Writer, tmp_path: Path, undisturbed: dict) -> tuple[dict[str, bytes], int]:
    if name not in undisturbed:
        folder = tmp_path / "undisturbed"
        folder.mkdir()
        with SYSTEM.watched(folder):
            writer.write(folder)
        undisturbed[name] = contents(folder), SYSTEM.seen
    return undisturbed[name]


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_disk_without_room(name: str, writers: dict, undisturbed: dict, tmp_path: Path, folder: Path) -> None:
    writer = writers[name]
    whole, _ = once(name, writer, tmp_path, undisturbed)
    for limit in writer.limits:
        with pytest.raises(OSError) as caught, full(folder, limit):
            writer.write(folder)
        assert FULL in str(caught.value) and str(folder) in str(caught.value)
        check_nothing_is_half_done(folder, writer, whole)
    writer.write(folder)
    check_whole(folder, writer, whole)


def refused(writer: Writer, folder: Path, first: int, whole: dict[str, bytes]) -> bool:
    """Whether the writer fails, and as it should, if operations are refused from `first` on."""
    try:
        with SYSTEM.watched(folder, first):
            writer.write(folder)
    except OSError as error:
        assert "cannot write: No space left on device; the disk is full; free some space" in str(error), first
        assert str(folder) in str(error)
        check_nothing_is_half_done(folder, writer, whole)
        return True
    return False


@pytest.mark.skipif(bool(SMALL_DISK), reason="is about no real disk")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", NAMES[1:])
def test_a_disk_that_is_full_from_some_moment_on(
    name: str, writers: dict, undisturbed: dict, tmp_path: Path, folder: Path
) -> None:
    writer = writers[name]
    whole, operations = once(name, writer, tmp_path, undisturbed)
    assert operations > 1
    for first in range(operations):
        assert refused(writer, folder, first, whole)
        writer.write(folder)
        check_whole(folder, writer, whole)
        shutil.rmtree(folder)
        folder.mkdir()


@pytest.mark.skipif(bool(SMALL_DISK), reason="is about no real disk")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_corpus_on_a_disk_that_fills_up(writers: dict, undisturbed: dict, tmp_path: Path, folder: Path) -> None:
    """Each call goes on where the one before ended."""
    writer = writers["corpus"]
    whole, operations = once("corpus", writer, tmp_path, undisturbed)
    for first in (0, 1, 2, 3, 5, 11, 60, operations // 2):
        assert refused(writer, folder, first, whole)
    request = (folder / "made" / ".unfinished" / "request.json").read_bytes()
    writer.write(folder)
    check_whole(folder, writer, whole)
    for last in ("corpus.json", "cues.csv"):
        (folder / "made" / last).unlink()
    (folder / "made" / ".unfinished").mkdir()
    (folder / "made" / ".unfinished" / "request.json").write_bytes(request)
    assert next(first for first in itertools.count(0, 4) if not refused(writer, folder, first, whole)) > 10
    check_whole(folder, writer, whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_cannot_be_written(name: str, writers: dict, folder: Path) -> None:
    (folder / "file").write_text("in the way")
    with pytest.raises(OSError) as caught:
        writers[name].write(folder / "file")
    assert "cannot write: " in str(caught.value) and BELOW_A_FILE in str(caught.value)
    assert str(folder / "file") in str(caught.value)
    assert contents(folder) == {"file": b"in the way"}
    for code, advice in (
        (errno.EROFS, "the file system is read-only; choose another folder"),
        (errno.EACCES, "you have no permission to write there; choose another folder"),
    ):
        with pytest.raises(OSError) as caught, SYSTEM.watched(folder, 0, code):
            writers[name].write(folder)
        assert f"cannot write: {os.strerror(code)}; {advice}" in str(caught.value)
    assert contents(folder) == {"file": b"in the way"}


def test_a_book_that_cannot_be_copied_is_not_there(tmp_path: Path) -> None:
    for first in (0, 1, 4):
        with pytest.raises(SystemExit) as caught, SYSTEM.watched(tmp_path / "stage", first):
            run_chapters.stage(tmp_path / "stage", run=False, results=None)
        expected = f"{tmp_path / 'stage'}: cannot write a copy of the book: [Errno 28] No space left on device"
        assert str(caught.value).startswith(expected)
        assert not (tmp_path / "stage").exists()


def test_a_result_that_cannot_be_written_leaves_the_old_one_whole(tmp_path: Path) -> None:
    results.write(record(), tmp_path)
    before = contents(tmp_path)
    for first in range(4):
        with pytest.raises(OSError), SYSTEM.watched(tmp_path, first):
            results.write(record(key="new"), tmp_path)
        if first < 3:
            assert contents(tmp_path) == before
            assert results.find(record(), tmp_path) is not None


def test_results_that_cannot_be_packed_stay_as_they_are(tmp_path: Path) -> None:
    for seed in (0, 1):
        results.write(record(seed=seed), tmp_path)
    before = contents(tmp_path)
    for first in itertools.count():
        try:
            with SYSTEM.watched(tmp_path, first):
                results.pack(tmp_path)
            break
        except OSError as error:
            assert "cannot write: No space left on device; the disk is full; free some space" in str(error)
        after = contents(tmp_path)  # the predictions may lie there already, packed, which nobody looks at
        assert {name: after[name] for name in before} == before and len(after) <= len(before) + 1
        assert [one.seed for one in results.read(tmp_path, predictions=True)] == [0, 1]
    assert first > 2
    assert [Path(name).name for name in contents(tmp_path)] == ["x.json", "x.npz"]
    assert [one.seed for one in results.read(tmp_path, predictions=True)] == [0, 1]
