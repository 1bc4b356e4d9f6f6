"""Forced alignment, with the real model: synthesised speech whose times are known, people's, and broken sounds."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_scripts import align as program
from data_scripts.align import Unaligned, align, align_corpus, main, outside, spoken_words
from serlib import corpora, files
from serlib.corpora.alignments import read_alignment, with_alignments
from serlib.corpora.corpus import Corpus, Recording
from serlib.features.waveform import read_waveform

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def few(synthetic: Corpus) -> Corpus:
    """The shortest synthesised utterances of at least five words."""
    long_enough = [u for u in synthetic.utterances if len(u.words) >= 5]
    return synthetic.select([u.id for u in sorted(long_enough, key=lambda u: u.duration)[:4]])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("*/*seg"))}


def test_times_are_those_of_the_synthesiser(few: Corpus, tmp_path: Path) -> None:
    report = align_corpus(few, tmp_path / "out", progress=False)
    assert (report["aligned"], report["utterances"], report["failures"]) == (4, 4, {})
    found = with_alignments(few, tmp_path / "out")
    assert found.skipped == few.skipped
    errors = []
    for u in found.utterances:
        assert [w.label for w in u.words] == spoken_words(u.text)
        errors += [[a.start - b.start, a.end - b.end] for a, b in zip(u.words, few[u.id].words, strict=True)]
        for word in u.words:  # phones fill their word
            own = [p for p in u.phones if word.start <= p.start and p.end <= word.end]
            assert (own[0].start, own[-1].end) == (word.start, word.end)
            assert all(a.end == b.start for a, b in pairwise(own))
    assert np.median(np.abs(errors)) < 0.025 and np.mean(np.abs(errors) < 0.1) > 0.9


def test_files_are_like_iemocaps(few: Corpus, tmp_path: Path) -> None:
    u = few.utterances[0]
    align_corpus(few.select([u.id]), tmp_path, progress=False)
    for suffix, heading in ((".wdseg", "Word"), (".phseg", "Phone")):
        lines = (tmp_path / u.dialogue / f"{u.id}{suffix}").read_text().splitlines()
        head, rows, total = lines[0].split(), [line.split() for line in lines[1:-1]], lines[-1].split()
        assert head == ["SFrm", "EFrm", "SegAScr", heading] and total[:2] == ["Total", "score:"]
        assert sum(int(row[2]) for row in rows) == int(total[2]) < 0
        spans = [(int(row[0]), int(row[1])) for row in rows]
        assert spans[0][0] == 0 and all(a[1] + 1 == b[0] for a, b in pairwise(spans))
        assert 0 <= 100 * u.duration - (spans[-1][1] + 1) < 4  # the last window is not filled up
        silent = [row for row in rows if row[3][0] in "<+" or row[3] == "SIL"]
        assert all(row in silent or (len(row) == 4) == (heading == "Word") for row in rows)
        if heading == "Phone":
            spoken = [row for row in rows if row not in silent]
            starts = [row for row in spoken if row[6] in "bs"]
            assert len(starts) == len([row for row in spoken if row[6] in "es"]) == len(u.words)
            assert starts[0][4] == "SIL" and spoken[1][4] == spoken[0][3] and spoken[0][5] == spoken[1][3]
        else:
            assert [row[3] for row in (rows[0], rows[-1])] == ["<s>", "</s>"]


def test_level_rate_and_channels_change_nothing(few: Corpus, tmp_path: Path) -> None:
    u = few.utterances[0]
    waveform, words = read_waveform(u.audio), spoken_words(u.text)
    found, _ = align(waveform, words)
    assert align(0.001 * waveform, words)[0] == found  # 60 dB down: whole numbers would have five bits left
    path = tmp_path / "float.wav"
    soundfile.write(path, np.stack([waveform, 0.5 * waveform], 1) / 100, 16_000, subtype="FLOAT")
    assert [(w.label, w.first) for w in align(read_waveform(path), words)[0]] == [(w.label, w.first) for w in found]
    clipped, _ = align(np.clip(10 * waveform, -1, 1), words)
    starts = [[w.first for w in one if w.spoken] for one in (found, clipped)]
    assert len(starts[1]) == len(words) and np.abs(np.subtract(*starts)).mean() < 5


def test_nothing_is_left_of_what_came_before(few: Corpus) -> None:
    sounds = [(read_waveform(u.audio), spoken_words(u.text)) for u in few.utterances[:2]]
    once, other, again = align(*sounds[0]), align(*sounds[1]), align(*sounds[0])
    assert once == again and other == align(*sounds[1])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("03-01-01-01-01-01-01", (0, False)),
        ("03-01-03-02-02-02-20", (1, False)),  # shouted: a pruned search gives up the one path that ends
        ("03-01-05-01-01-01-02", (0, True)),  # its first word is taken for silence, and the last for what comes after
    ],
)
def test_people(name: str, expected: tuple[int, bool]) -> None:
    if "SERLIB_TEST_DATA" not in os.environ:
        pytest.skip("SERLIB_TEST_DATA is not set: no real speech to test on")
    path = Path(os.environ["SERLIB_TEST_DATA"]) / f"ravdess/Actor_{name[-2:]}/{name}.wav"
    statement = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}[name[12:14]]
    waveform = read_waveform(path)
    found, beams = align(waveform, statement.split())
    words = [w for w in found if w.spoken]
    assert [w.label.partition("(")[0] for w in words] == statement.upper().split()
    assert (beams, outside(waveform, found) > 0.2) == expected
    assert 30 < words[0].first < words[-1].last < 100 * len(waveform) / 16_000 - 30  # the actors wait for a second


def test_failures_are_counted_with_their_reasons(few: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    good = few.utterances[0]
    names = ["silence", "short", "empty", "cut", "bits"]
    broken = [replace(good, id=name, audio=tmp_path / f"{name}.wav") for name in names]
    soundfile.write(broken[0].audio, np.full(16_000, 0.25), 16_000)
    soundfile.write(broken[1].audio, read_waveform(good.audio)[:4800], 16_000)
    broken[2] = replace(broken[2], text="[LAUGHTER] -- <breath> ...", audio=good.audio)
    broken[3].audio.write_bytes(good.audio.read_bytes()[:-4000])
    broken[4].audio.write_bytes(b"no sound")
    corpus = Corpus("synthetic", few.root, [good, *broken])
    report = align_corpus(corpus, tmp_path / "out", progress=False)
    phones = 3 * sum(min(map(len, program._pronunciations(program._decoder(0), w))) for w in spoken_words(good.text))
    assert list(report["failures"]) == sorted(names) and report["aligned"] == 1
    expected = {
        "silence": "silence: all samples are the same",
        "short": f"too short: {phones // 3} phones take {phones / 100:.2f} s at least, the sound has 0.30 s",
        "empty": "no word to align: the text is empty, or tags and punctuation alone",
    }
    assert {name: report["failures"][name] for name in expected} == expected
    assert report["failures"]["cut"].startswith(f"{broken[3].audio}: cut off: the header promises")
    assert report["failures"]["bits"].startswith(
        f"{broken[4].audio}: expected a sound file, found the bytes b'no sound'"
    )
    assert json.loads((tmp_path / "out" / "alignment.json").read_text()) == report
    program._tell(report, tmp_path / "out")
    assert "not aligned: silence: silence: all samples are the same" in caplog.messages
    with pytest.raises(ValueError, match="none of the 5 utterances can be aligned; the first, bits: "):
        align_corpus(replace(corpus, utterances=broken), tmp_path / "none", progress=False)
    with pytest.raises(Unaligned, match="silence: all samples are the same"):
        align(np.zeros(0, np.float32), ["hello"])


def test_words_that_the_dictionary_lacks(
    few: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    u = few.utterances[0]
    corpus = Corpus("synthetic", few.root, [replace(u, text=f"{u.text} Bewail bewail 42")])
    heard = [*spoken_words(u.text), "bewail", "bewail", "42"]
    sound = tmp_path / "long.wav"
    soundfile.write(sound, np.tile(read_waveform(u.audio), 2), 16_000)
    corpus = replace(corpus, utterances=[replace(corpus.utterances[0], audio=sound, duration=2 * u.duration)])
    report = align_corpus(corpus, tmp_path / "all", progress=False)
    assert report["pronounced"]["bewail"] == {"phones": "B IH W EY L", "times": 2} and report["left_out"] == {}
    assert report["pronounced"]["42"] == {"phones": "F AO R T IY T UW", "times": 1}
    assert [w.label for w in with_alignments(corpus, tmp_path / "all")[u.id].words] == heard
    monkeypatch.setattr(program, "_synthesiser", lambda: None)
    caplog.clear()
    report = align_corpus(corpus, tmp_path / "less", progress=False)  # a decoder that knows them by now
    assert report["pronounced"] == {} and report["left_out"] == {"42": 1, "bewail": 2}
    assert caplog.messages == [
        "2 words that the dictionary lacks are left out, 3 times, most often 'bewail': pip install espeakng-loader to"
        " pronounce them"
    ]
    assert [w.label for w in with_alignments(corpus, tmp_path / "less")[u.id].words] == heard[:-3]
    with pytest.raises(ValueError, match="expected words of the dictionary or with a pronunciation, found 'qwrt'"):
        align(read_waveform(sound), ["qwrt"])


def test_interrupted_it_goes_on(few: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    align_corpus(few, tmp_path / "whole", progress=False)
    whole, written, write = contents(tmp_path / "whole"), [], files.write_text

    def interrupted(path: Path, text: str) -> None:
        written.append(path)
        if len(written) == 4:  # the phones of the second are there, its words are not
            raise KeyboardInterrupt
        write(path, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "write_text", interrupted)
        patch.setattr(files, "write_json", lambda path, value: write(path, json.dumps(value)))
        align_corpus(few, tmp_path / "out", progress=False)
    first = {path: path.stat().st_mtime_ns for path in written[:2]}
    report = align_corpus(few, tmp_path / "out", progress=False)
    assert (report["aligned"], report["of these before"]) == (4, 1)
    assert contents(tmp_path / "out") == whole and first == {path: path.stat().st_mtime_ns for path in first}


def test_killed_in_processes_it_goes_on(synthetic: Corpus, synthetic_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "data_scripts/align.py", "--corpus", "synthetic", "--root", str(synthetic_root)]
    command += ["--out", str(tmp_path), "--jobs", "2"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=-3) as process:
        while process.poll() is None and not any(tmp_path.glob("*/*.wdseg")):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    there = None
    while there != (there := contents(tmp_path)):  # its own processes end within a second, or the machine's next
        time.sleep(1.5)
    some = synthetic.select(sorted({Path(name).stem for name in there}))
    assert 0 < len(some) < len(synthetic)
    report = align_corpus(some, tmp_path, progress=False)
    assert report["aligned"] == len(some) and report["of these before"] >= len(some) - 2
    again = contents(tmp_path)
    assert {name: again[name] for name in there} == there and not files.halves(tmp_path / some.utterances[0].dialogue)


def test_what_was_begun_otherwise_is_refused(few: Corpus, tmp_path: Path) -> None:
    one = few.select([few.utterances[0].id])
    u, out = one.utterances[0], tmp_path / "out"
    align_corpus(one, out, progress=False)
    path, report = out / u.dialogue / f"{u.id}.wdseg", out / "alignment.json"

    def refused(kind: type[Exception], corpus: Corpus = one) -> str:
        with pytest.raises(kind) as caught:
            align_corpus(corpus, out, progress=False)
        return str(caught.value)

    text = " ".join(spoken_words(u.text))
    assert refused(ValueError, one.with_texts({u.id: "Hello!"})) == (
        f"{path}: aligned with other words, {text!r}, not 'hello'; remove {out}, or choose another --out"
    )
    assert refused(ValueError, replace(one, name="iemocap")) == (
        f"{report}: begun with corpus 'synthetic', not 'iemocap'; remove {out}, or choose another --out"
    )
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    assert refused(ValueError).startswith(f"{path}: damaged, line ")
    path.write_text(whole)
    report.write_text("{")
    assert refused(ValueError) == f"{report}: expected what an earlier run has done, found a damaged file; remove {out}"
    report.unlink()
    strange = refused(FileExistsError)
    assert strange.endswith(f": an alignment of another program, there is no {report}; choose another --out")
    assert read_alignment(path)  # and nothing was touched


def test_the_command(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "align_corpus", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    arguments = ["--corpus", "synthetic", "--root", str(synthetic_root), "--out", str(tmp_path / "out")]
    assert main(arguments) == 130
    assert capsys.readouterr().err.endswith("stopped; run the same command again to go on\n")
    assert main([*arguments, "--transcripts", "none"]) == 1
    assert "error: no transcripts 'none': looked for " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--jobs", "0"])
    assert "--jobs must be at least 1" in capsys.readouterr().err


def test_recordings_are_not_utterances(tmp_path: Path) -> None:
    corpus = Corpus("sewa", tmp_path, [], recordings=[Recording("a", "a", "train", tmp_path / "a.wav", 1.0, None)])
    with pytest.raises(ValueError, match="sewa has recordings, expected utterances: only those are aligned"):
        align_corpus(corpus, tmp_path / "out")


def test_names_that_no_file_can_have_stay_in_the_folder(few: Corpus, tmp_path: Path) -> None:
    odd = replace(few.utterances[0], id="../happy/100% glad.wav", dialogue="/.././x")
    corpus = Corpus("table", few.root, [odd])
    align_corpus(corpus, tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [w.label for w in with_alignments(corpus, tmp_path / "out")[odd.id].words] == spoken_words(odd.text)
    assert align_corpus(corpus, tmp_path / "out", progress=False)["of these before"] == 1


def test_a_corpus_that_comes_with_text_is_loaded_with_what_was_made(few: Corpus, tmp_path: Path) -> None:
    one = few.select([few.utterances[0].id])
    align_corpus(one, tmp_path, progress=False)
    corpus = corpora.load("synthetic", few.root, alignments=tmp_path, progress=False)
    assert [u.id for u in corpus.utterances if u.words] == [one.utterances[0].id]
