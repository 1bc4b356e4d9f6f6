"""The synthetic corpus on disk: whole, repeatable, aligned, and honest about its ceilings."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jiwer
import numpy as np
import pytest

from data_scripts import make_synthetic, workshop
from data_scripts.make_synthetic import make
from data_scripts.synthetic import asr, ceilings, grammar
from data_scripts.synthetic.lexicon import EMOTIONS
from data_scripts.synthetic.plan import SPEAKERS, plan
from data_scripts.synthetic.voice import NATIVE_RATE, Reading, Speech, Synthesiser, arpabet
from serlib import files

SCRIPT = Path(make_synthetic.__file__)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("small") / "corpus"
    make(root, utterances=50, seed=5, jobs=1, progress=False)
    return root


@pytest.fixture(scope="module")
def cues(synthetic_root) -> list[dict[str, str]]:
    with (synthetic_root / "cues.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rows(path: Path) -> list[tuple[int, int, str]]:
    lines = path.read_text().splitlines()
    assert lines[-1].startswith(" Total score:")
    return [(int(a), int(b), label) for a, b, _, label in (line.split(maxsplit=3) for line in lines[1:-1])]


def test_same_bytes_whatever_the_number_of_processes(small, tmp_path):
    make(tmp_path / "again", utterances=50, seed=5, jobs=2, progress=False)
    assert contents(tmp_path / "again") == contents(small)


def test_killed_and_run_again_gives_the_same(small, tmp_path):
    root = tmp_path / "killed"
    command = [sys.executable, SCRIPT, "--utterances", "50", "--seed", "5", "--jobs", "2", "--out", root]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while not list(root.glob("Session*/dialog/transcriptions/*.txt")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (root / "corpus.json").exists()
    done = {path: path.stat().st_mtime_ns for path in root.glob("Session*/sentences/wav/*/*.wav")}
    finished = {path.stem for path in root.glob("Session*/dialog/transcriptions/*.txt")}
    (root / ".unfinished" / "Ses01F_impro01").mkdir(exist_ok=True)

    subprocess.run(command, check=True, capture_output=True)
    assert contents(root) == contents(small)
    kept = [path for path in done if path.parent.name in finished]
    assert kept and all(path.stat().st_mtime_ns == done[path] for path in kept)


def test_a_half_written_dialogue_is_replaced(small, tmp_path):
    """Waveforms are in place, labels are not: as after a kill between two renames."""
    root = tmp_path / "half"
    shutil.copytree(small, root)
    request = json.loads((root / "corpus.json").read_text())
    del request["counts"], request["lexicon"], request["digests"]
    (root / "corpus.json").unlink()
    (root / ".unfinished").mkdir()
    (root / ".unfinished" / "request.json").write_text(json.dumps(request))
    transcript = next(root.glob("Session2/dialog/transcriptions/*.txt"))
    transcript.unlink()
    next((root / "Session2/sentences/wav" / transcript.stem).iterdir()).write_bytes(b"half")
    make(root, utterances=50, seed=5, jobs=1, progress=False)
    assert contents(root) == contents(small)


def test_layout(synthetic_root, cues):
    marker = json.loads((synthetic_root / "corpus.json").read_text())
    assert (marker["utterances"], marker["seed"], sum(marker["counts"]["labels"].values())) == (200, 0, 200)
    assert not list(synthetic_root.rglob(".*"))
    assert len(cues) == 200
    for cue in cues:
        dialogue = cue["id"].rsplit("_", 1)[0]
        session = synthetic_root / f"Session{cue['id'][4]}"
        for kind, suffix in (("wav", "wav"), ("ForcedAlignment", "wdseg"), ("ForcedAlignment", "phseg")):
            assert (session / "sentences" / kind / dialogue / f"{cue['id']}.{suffix}").is_file()
        labels = (session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt").read_text()
        assert labels.startswith("% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n[")


def test_annotators_agree_with_label_and_ratings(synthetic_root):
    names = {"ang": "Anger", "hap": "Happiness", "exc": "Excited", "neu": "Neutral", "sad": "Sadness"}
    blocks = "".join(path.read_text() for path in synthetic_root.glob("Session*/dialog/EmoEvaluation/*.txt"))
    found = re.findall(r"^\[[\d.]+ - [\d.]+\]\t\S+\t(\w+)\t\[(.*)\]\n((?:[CA]-E.*\n)+)", blocks, flags=re.MULTILINE)
    assert len(found) == 200
    for label, mean, annotators in found:
        assert annotators.count(names[label]) >= 2
        ratings = re.findall(r"val (\d); act (\d); dom +(\d)", annotators)
        assert [float(x) for x in mean.split(", ")] == list(np.mean(np.array(ratings, float), axis=0))


def test_alignments_hold_the_transcript_and_cover_the_sound(synthetic_root):
    texts = {}
    for path in synthetic_root.glob("Session*/dialog/transcriptions/*.txt"):
        for line in path.read_text().splitlines():
            name, start, end, text = re.fullmatch(r"(\S+) \[([\d.]+)-([\d.]+)\]: (.*)", line).groups()
            texts[name] = float(end) - float(start), text
    assert len(texts) == 200
    for path in synthetic_root.glob("Session*/sentences/ForcedAlignment/*/*.wdseg"):
        duration, text = texts[path.stem]
        with wave.open(str(path.parents[2] / "wav" / path.parent.name / f"{path.stem}.wav")) as sound:
            assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
            frames = sound.getnframes() / 160
        assert duration == pytest.approx(frames / 100, abs=1e-3)
        words, phones = rows(path), rows(path.with_suffix(".phseg"))
        for table in (words, phones):
            assert table[0][0] == 0 and table[-1][1] == frames - 1
            assert all(a <= b for a, b, _ in table)
            assert all(x[1] + 1 == y[0] for x, y in itertools.pairwise(table))
        spoken = [re.sub(r"\(\d\)$", "", label) for _, _, label in words if label[0] not in "<+"]
        assert spoken == [token.strip(".,?!").upper() for token in text.split() if token[0] != "["]
        tags = [label for _, _, label in words if label.startswith("++")]
        assert tags == [f"++{tag}++" for tag in re.findall(r"\[(\w+)\]", text)]
        begins = {a for a, _, label in phones if label[-1] in "bs" and " " in label}
        assert begins == {a for a, _, label in words if label[0] not in "<+"}


def test_ceilings_equal_a_search_over_all_rules(synthetic_root, cues):
    table = json.loads((synthetic_root / "ceilings.json").read_text())
    assert {s: t["size"] for s, t in table.items()} == {
        "all": 200,
        "improvised": sum(not c["line"] for c in cues),
        "scripted": sum(bool(c["line"]) for c in cues),
        "plain": sum(c["item"] == "plain" for c in cues),
        "emphasis": sum(c["item"] == "emphasis" for c in cues),
    }
    labels = np.array([EMOTIONS.index(c["emotion"]) for c in cues])
    heard = np.array([EMOTIONS.index(c["voice"]) for c in cues])
    guesses = [np.array(rule)[heard] for rule in itertools.product(range(4), repeat=4)]
    assert table["all"]["voice"]["accuracy"] == pytest.approx(max((g == labels).mean() for g in guesses))
    recalls = [np.mean([(g[labels == c] == c).mean() for c in range(4)]) for g in guesses]
    assert table["all"]["voice"]["ua"] == pytest.approx(max(recalls), abs=1e-6)
    for subset in table.values():
        for score in ("accuracy", "ua"):
            text, voice, both, aligned, memory = (
                subset[o][score] for o in ("text", "voice", "both", "aligned", "memory")
            )
            assert max(text, voice) <= both <= aligned and text <= memory
    assert table["emphasis"]["aligned"]["accuracy"] == 1


def test_memory_counts_other_sessions_only():
    def cue(name: str, emotion: str, line: str = "script01_1:00") -> dict[str, str]:
        return {"id": name, "emotion": emotion, "line": line}

    cues = [cue("Ses01F_a", "sad"), cue("Ses01M_b", "sad"), cue("Ses02F_c", "angry"), cue("Ses02F_d", "happy", "")]
    assert ceilings.recalled(cues) == {"Ses01F_a": "angry", "Ses01M_b": "angry", "Ses02F_c": "sad", "Ses02F_d": ""}


def test_word_error_rates():
    turns = [u for dialogue in plan(600).values() for u in dialogue]
    texts = {u.id: [grammar.bare(token) for token in u.tokens] for u in turns}
    words = [entry.word for entry in grammar.vocabulary()]
    spoken = Synthesiser().pronounce(words)
    similar = asr.confusions({word.lower(): tuple(map(arpabet, spoken[word])) for word in words})
    assert similar["flour"][0] == ("flower", 0.0) and similar["week"][0] == ("weak", 0.0)
    for rate in (0.0553, 0.147):
        heard = asr.misheard(texts, rate, similar, random.Random(1))
        score = jiwer.process_words([" ".join(t) for t in texts.values()], [" ".join(heard[k]) for k in texts])
        assert score.wer == pytest.approx(rate, abs=0.0005)
        assert score.substitutions > score.deletions > 0 and score.insertions > 0


def test_recognised_transcripts_look_like_an_engines(synthetic_root):
    for name in ("asr-5.53", "asr-14.7"):
        lines = (synthetic_root / "transcripts" / f"{name}.tsv").read_text().splitlines()
        assert lines[0] == "id\ttext" and len(lines) == 201
        assert all(re.fullmatch(r"Ses0\d[FM]_\w+\t[a-z' ]*", line) for line in lines[1:])


def spans(speech: Speech, word: int) -> np.ndarray:
    phones = [phone for phone in speech.phones if phone.word == word]
    return speech.samples[phones[0].start : phones[-1].end].astype(float)


def pitch(samples: np.ndarray) -> float:
    """Median fundamental frequency by autocorrelation, over 40 ms windows."""
    size, found = int(0.04 * NATIVE_RATE), []
    for start in range(0, len(samples) - size, size // 2):
        window = samples[start : start + size] - samples[start : start + size].mean()
        product = np.fft.irfft(np.abs(np.fft.rfft(window, 4 * size)) ** 2)[: size // 2]
        lags = np.arange(int(NATIVE_RATE / 500), size // 2)
        best = product[lags].max()
        peaks = [k for k in lags[1:-1] if product[k] >= max(product[k - 1], product[k + 1], 0.8 * best)]
        if peaks and best > 0.4 * product[0]:
            found.append(NATIVE_RATE / peaks[0])
    return float(np.median(found))


@pytest.mark.parametrize("speaker", ["Ses01F", "Ses04M"])
def test_emphasis_is_longer_louder_and_higher(speaker):
    text = "I was furious about the letter from my landlord but thrilled about the concert in Denver."
    tokens = text.split()
    synthesiser = Synthesiser()
    plain = synthesiser.speak(tokens, SPEAKERS[speaker])
    for word, other in ((2, 12), (10, 8)):
        stressed = synthesiser.speak(tokens, SPEAKERS[speaker], (word, other))
        before, after = spans(plain, word), spans(stressed, word)
        assert len(after) > 1.2 * len(before)
        assert (after**2).mean() > 1.5 * (before**2).mean()
        assert pitch(after) > 1.1 * pitch(before)


def test_what_was_spoken_before_does_not_matter():
    turns = [
        (("The", "bus", "is", "late."), Reading("f3", 170, 60, 70, 0.0)),
        (("Out", "of", "the", "way,", "I", "am", "in", "a", "hurry."), Reading("m1", 220, 30, 20, 0.0)),
    ]
    first, second = Synthesiser(), Synthesiser()
    forwards = [first.speak(*turn, [1]) for turn in turns]
    backwards = [second.speak(*turn, [1]) for turn in turns[::-1]]
    for one, other in zip(forwards, backwards[::-1], strict=True):
        assert np.array_equal(one.samples, other.samples) and one.phones == other.phones


def test_words_that_espeak_speaks_as_one_are_told_apart():
    text = "What a day that was. I am out of it."
    tokens = text.split()
    speech = Synthesiser().speak(tokens, SPEAKERS["Ses01F"])
    symbols = ["".join(phone.symbol for phone in speech.phones if phone.word == i) for i in range(len(tokens))]
    assert symbols[3:7] == ["Da#t", "wVz", "aI", "a#m"] and symbols[7:9] == ["aUt#", "@v"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"utterances": 0}, "0 utterances were asked for; the corpus needs at least 50"),
        ({"utterances": 60, "jobs": 0}, "0 jobs were asked for; at least one process is needed"),
    ],
)
def test_absurd_numbers(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "x", progress=False, **arguments)
    assert not (tmp_path / "x").exists()


def test_folders_that_cannot_be_used(small, tmp_path, monkeypatch):
    with pytest.raises(FileExistsError, match=r"another synthetic corpus .*seed 5.*this one would have .*seed 6"):
        make(small, utterances=50, seed=6, progress=False)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(FileExistsError, match="no synthetic corpus"):
        make(tmp_path, utterances=60, progress=False)
    with pytest.raises(OSError, match=r"part of the path is a file"):
        make(tmp_path / "photo.jpg" / "x", utterances=60, progress=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(OSError, match="needs about 11 MB, the disk has 0 MB; free some space"):
        make(tmp_path / "full", utterances=60, progress=False)


def test_processes_that_want_the_same_corpus_wait_for_one_that_makes_it(tmp_path):
    request, made = {"name": "toy", "utterances": 1}, []

    def attempt(root: Path) -> bool:
        with workshop.making(root, request, "toy corpus") as unfinished:
            if unfinished is None:
                return False
            assert json.loads((unfinished / "request.json").read_text()) == request
            (unfinished / "half").mkdir()
            time.sleep(0.1)  # long enough for the others to wait for the lock
            files.write_json(root / "corpus.json", request)
            made.append(root)
            return True

    for number in range(3):
        root = tmp_path / f"corpus-{number}"
        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(attempt, [root] * 4)) == [False, False, False, True]
        assert [path.name for path in root.iterdir()] == ["corpus.json"]
    assert len(made) == 3


@pytest.mark.parametrize("content", ["[]", "{", "[" * 100_000])
@pytest.mark.parametrize("name", ["corpus.json", ".unfinished/request.json"])
def test_damaged_note_of_what_a_folder_holds(tmp_path, content, name):
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / name).write_text(content)
    with pytest.raises(FileExistsError, match="the file, which says what synthetic corpus this is, is damaged"):
        make(tmp_path, utterances=60, progress=False)


def test_missing_synthesiser(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(RuntimeError, match="pip install espeakng-loader"):
        make(tmp_path / "x", utterances=60, progress=False)


def test_a_finished_corpus_is_left_alone(small):
    before = contents(small)
    make(small, utterances=50, seed=5, progress=False)
    assert contents(small) == before
