"""Tables on disk: parallel, resumed, damaged, shared by two processes."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serlib.corpora.corpus import Corpus, Utterance
from serlib.features import FEATURES, cache, extract, mfcc, read_waveform
from serlib.features.feature import Feature

calls: list[int] = []


def count_samples(waveform: np.ndarray) -> np.ndarray:
    """A quick feature per frame that remembers that it was computed."""
    calls.append(len(waveform))
    return np.tile(np.array([len(waveform), waveform[0]], np.float32), (1 + len(waveform) // 100, 1))


COUNT = Feature("count", ("samples", "first"), per_frame=True, extract=count_samples, settings=dict)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    calls.clear()
    monkeypatch.setattr(cache, "SHARD", 4)


def corpus_of(folder: Path, utterances: int) -> Corpus:
    random = np.random.default_rng(0)
    made = []
    for number in range(utterances):
        path = folder / f"u{number:03}.wav"
        soundfile.write(path, random.normal(scale=0.1, size=1_000 + 37 * number), 16_000, subtype="PCM_16")
        made.append(Utterance(path.stem, "s", "1", "d", False, "sad", None, "", path, 0.1))
    return Corpus("test", folder, made)


def test_tables_equal_direct_computation_whatever_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PER_JOB", 1)
    corpus = corpus_of(tmp_path, 10)
    alone = extract(corpus, "mfcc", cache=tmp_path / "alone", jobs=1, progress=False)
    together = extract(corpus, "mfcc", cache=tmp_path / "together", jobs=2, progress=False)
    assert list(alone) == list(together) == [u.id for u in corpus] and alone.dims == 39
    for u in corpus:
        np.testing.assert_array_equal(alone[u.id], mfcc(read_waveform(u.audio)))
        np.testing.assert_array_equal(alone[u.id], together[u.id])
        assert alone[u.id].dtype == np.float32 and not alone[u.id].flags.writeable
    prosody = extract(corpus, "prosody", cache=tmp_path / "alone", jobs=1, progress=False)
    assert prosody["u003"].shape == (35,) and "nobody" not in prosody
    assert len(list((tmp_path / "alone").glob("mfcc-*/shard-*.npy"))) == 3
    with pytest.raises(ValueError, match=r"unknown feature 'mfc'; expected one of mfcc, .*prosody"):
        extract(corpus, "mfc")


def test_whatever_the_numbers_depend_on_is_in_the_key(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 3)
    tables = [
        cache.feature_table(one, feature, tmp_path / "cache", progress=False)
        for one, feature in [
            (corpus, COUNT),
            (corpus.select(["u000", "u001"]), COUNT),
            (corpus, replace(COUNT, version=2)),
            (corpus, replace(COUNT, columns=("samples", "start"))),
            (corpus, replace(COUNT, settings=lambda: {"hop": 1})),
        ]
    ]
    assert len({table.folder for table in tables}) == len(tables)
    calls.clear()
    moved = Corpus("elsewhere", tmp_path, [replace(u, text="other") for u in corpus])
    assert cache.feature_table(moved, COUNT, tmp_path / "cache", progress=False).folder == tables[0].folder
    assert not calls
    assert "nBands = 26" in FEATURES["mfcc"].settings()["configuration"]


def test_an_interrupted_extraction_goes_on_where_it_was(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 10)
    whole = cache.feature_table(corpus, COUNT, tmp_path / "whole", progress=False)
    calls.clear()

    def interrupted(waveform: np.ndarray) -> np.ndarray:
        if len(calls) == 6:
            raise KeyboardInterrupt
        return count_samples(waveform)

    with pytest.raises(KeyboardInterrupt):
        cache.feature_table(corpus, replace(COUNT, extract=interrupted), tmp_path / "cache", progress=False)
    folder = tmp_path / "cache" / whole.folder.name
    (folder / f".{32 * '0'}.part.npy").write_bytes(b"left by a killed process")
    calls.clear()
    table = cache.feature_table(corpus, COUNT, tmp_path / "cache", progress=False)
    assert len(calls) == 6  # the first shard of four was there
    for file in ("index.json", "shard-0000.npy", "shard-0001.npy", "shard-0002.npy"):
        assert (table.folder / file).read_bytes() == (whole.folder / file).read_bytes()
    assert not list(folder.glob(".*"))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _other_utterances(path: Path) -> None:
    index = json.loads(path.read_text())
    index["shards"][1]["ids"].reverse()
    path.write_text(json.dumps(index))


def _other_lengths(path: Path) -> None:
    index = json.loads(path.read_text())
    index["shards"][1]["lengths"][0] += 1
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("file", "damage", "again"),
    [
        ("shard-0001.npy", _flip, 4),
        ("shard-0001.npy", lambda path: path.write_bytes(path.read_bytes()[:200]), 4),
        ("shard-0002.npy", Path.unlink, 2),
        ("index.json", lambda path: path.write_text(path.read_text()[:100]), 10),
        ("index.json", lambda path: path.write_text("{}"), 10),
        ("index.json", lambda path: path.write_bytes(bytes(range(256))), 10),
        ("index.json", lambda path: path.write_text('{"shards": 7}'), 10),
        ("index.json", lambda path: path.write_text('{"shards": ["x"]}'), 10),
        (
            "index.json",
            lambda path: path.write_text('{"shards": [{"file": 3, "checksum": 1, "ids": [], "lengths": []}]}'),
            10,
        ),
        ("index.json", lambda path: path.write_text(path.read_text().replace('"lengths"', '"length"')), 10),
        ("index.json", _other_lengths, 4),
        ("shard-0000.npy", lambda path: path.write_bytes(b""), 4),
        ("shard-0000.npy", lambda path: path.write_bytes(path.read_bytes() + b"more"), 4),
        ("index.json", _other_utterances, 4),
    ],
)
def test_damage_is_found_and_mended(tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, damage, again) -> None:
    corpus = corpus_of(tmp_path, 10)
    table = cache.feature_table(corpus, COUNT, tmp_path / "cache", progress=False)
    before = {id: rows.copy() for id, rows in table.items()}
    damage(table.folder / file)
    calls.clear()
    with caplog.at_level(logging.WARNING):
        mended = cache.feature_table(corpus, COUNT, tmp_path / "cache", progress=False)
    assert len(calls) == again and f"{file} is damaged" in caplog.text
    assert before.keys() == mended.keys()
    for id, rows in mended.items():
        np.testing.assert_array_equal(rows, before[id])
    calls.clear()
    cache.feature_table(corpus, COUNT, tmp_path / "cache", progress=False)
    assert not calls


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_cannot_be_read_is_one_error_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    monkeypatch.setattr(cache, "PER_JOB", 1)
    corpus = corpus_of(tmp_path, 6)
    bad = corpus["u004"].audio
    bad.write_bytes(bad.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"u004\.wav: cut off"):
        extract(corpus, "mfcc", cache=tmp_path / "cache", jobs=jobs, progress=False)


def test_nan_and_wrong_shapes_never_leave(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 2)
    for values, message in (
        (np.full((3, 2), np.nan), r"u000\.wav: count is NaN or infinite in 6 places"),
        (np.ones((3, 5)), r"u000\.wav: expected count of 2 columns, found shape \(3, 5\)"),
        (np.ones((0, 2)), r"u000\.wav: expected count of 2 columns, found shape \(0, 2\)"),
    ):
        feature = replace(COUNT, extract=lambda _, values=values: values)
        with pytest.raises(ValueError, match=message):
            cache.feature_table(corpus, feature, tmp_path / "cache", progress=False)


def test_two_processes_make_one_table(tmp_path: Path) -> None:
    """Both start together, in scripts without a guarded main; one computes, and nothing here imports torch."""
    corpus_of(tmp_path, 70)
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import logging, sys
            from pathlib import Path
            from serlib import features
            from serlib.corpora.corpus import Corpus, Utterance
            from serlib.features import cache

            folder = Path({str(tmp_path)!r})
            paths = sorted(folder.glob("u*.wav"))
            corpus = Corpus("test", folder, [Utterance(p.stem, "", "", "", False, None, None, "", p, 1) for p in paths])
            computed = []
            original = cache._compute_all
            cache._compute_all = lambda f, paths, jobs: (computed.extend(paths), original(f, paths, jobs))[1]
            table = features.extract(corpus, "mfcc", cache=folder / "cache", jobs=2, progress=False)
            print(len(table), len(computed), sum(float(rows.sum()) for rows in table.values()), "torch" in sys.modules)
            """
        )
    )
    environment = os.environ | {"PYTHONPATH": str(Path(cache.__file__).parents[2])}
    both = [
        subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(int(output[1]) for output in outputs) == [0, 70]
    assert outputs[0][2] == outputs[1][2]
    assert all(output[0] == "70" and output[3] == "False" for output in outputs)


KILLED = """
import json, os, signal, sys, time
from pathlib import Path
import numpy as np
from serlib.corpora.corpus import Corpus, Utterance
from serlib.features import cache
from serlib.features.feature import Feature

folder, out, victim, jobs = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
computed, write = [], Path.write_bytes

def indexed():
    try:
        return sum(map(bool, json.loads(next(out.glob("*/index.json")).read_text())["shards"]))
    except (StopIteration, ValueError, OSError):
        return 0

def extract(waveform):
    computed.append(len(waveform))
    if victim == "extraction" and len(computed) == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    if victim in ("worker", "parent") and len(waveform) == 1_000 + 37 * 9:  # of the tenth utterance, in the third shard
        while indexed() < 2:
            time.sleep(0.01)
        os.kill(os.getppid() if victim == "parent" else os.getpid(), signal.SIGKILL)
        time.sleep(600)
    return np.tile(np.array([len(waveform), waveform[0]], np.float32), (1 + len(waveform) // 100, 1))

def killed_while_writing(path, content):
    if victim == "writing" and len(list(out.glob("*/shard-*"))) == 2:
        write(path, bytes(content)[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)

def killed_before_the_index(*arguments):
    if victim == "index" and len(list(out.glob("*/shard-*"))) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    index(*arguments)

Path.write_bytes, index, cache._write_index = killed_while_writing, cache._write_index, killed_before_the_index
cache.SHARD, cache.PER_JOB = 4, 1
feature = Feature("count", ("samples", "first"), per_frame=True, extract=extract, settings=dict)
paths = sorted(folder.glob("u*.wav"))
corpus = Corpus("test", folder, [Utterance(p.stem, "", "", "", False, None, None, "", p, 1) for p in paths])
try:
    cache.feature_table(corpus, feature, out, jobs=jobs, progress=False)
except RuntimeError as error:
    sys.exit(f"RuntimeError: {error}")
print(len(computed))
"""
"""Extract into the folder of the second argument; the third says who is killed, and when."""


@pytest.mark.parametrize(
    ("victim", "jobs", "status"),
    [
        ("extraction", 1, -signal.SIGKILL),
        ("writing", 1, -signal.SIGKILL),
        ("index", 1, -signal.SIGKILL),
        ("parent", 2, -signal.SIGKILL),
        ("worker", 2, 1),
    ],
)
def test_a_killed_extraction_goes_on_to_the_same_bytes(tmp_path: Path, victim: str, jobs: int, status: int) -> None:
    corpus = corpus_of(tmp_path, 14)
    environment = os.environ | {"PYTHONPATH": str(Path(cache.__file__).parents[2])}

    def extract_in_a_process(out: str, victim: str, jobs: int) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(tmp_path / out), victim, str(jobs)]
        # The limit is for orphans.
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)

    whole = cache.feature_table(corpus, COUNT, tmp_path / "whole", progress=False).folder
    folder = tmp_path / "out" / whole.name
    killed = extract_in_a_process("out", victim, jobs)
    assert killed.returncode == status, killed.stderr
    if victim == "worker":
        assert (  # joblib's own processes may say something after it
            "RuntimeError: a process that computed count died; it may have run out of memory. "
            "What was complete is kept; try again with jobs=1"
        ) in killed.stderr.splitlines()
    complete = [entry["file"] for entry in json.loads((folder / "index.json").read_text())["shards"] if entry]
    assert complete == ["shard-0000.npy", "shard-0001.npy"]
    assert len(list(folder.glob(".*.part*"))) == (victim == "writing")

    resumed = extract_in_a_process("out", "nobody", 1)
    assert (resumed.returncode, resumed.stdout) == (0, "6\n"), resumed.stderr  # the two whole shards were kept
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole.iterdir())
    for path in whole.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
