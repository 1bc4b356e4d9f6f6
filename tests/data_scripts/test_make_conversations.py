"""The corpus of conversations: whole, repeatable, with voices and words that show what the cues say, and ceilings."""

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
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_scripts import make_conversations
from data_scripts.conversations import ceilings, dialogue, latents, scene
from data_scripts.conversations.latents import DIMENSIONS, HOP, LAGS, MOTIONS
from data_scripts.make_conversations import make, plan
from data_scripts.synthetic.lexicon import EMOTIONS, FEELINGS
from serlib.corpora import sewa
from serlib.metrics import concordance

SCRIPT = Path(make_conversations.__file__)
SMALL = {"subjects": 6, "seconds": 12.0, "seed": 5}
COMMAND = [sys.executable, SCRIPT, "--subjects", "6", "--seconds", "12", "--seed", "5"]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("small") / "corpus"
    make(root, **SMALL, jobs=1, progress=False)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rows(root: Path, folder: str, id: str) -> list[list[str]]:
    return [line.split(";", 2) for line in (root / folder / f"{id}.csv").read_text().splitlines()]


def test_killed_and_run_again_by_more_processes_gives_the_same(small, tmp_path):
    root = tmp_path / "killed"
    command = [*COMMAND, "--out", root]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    process = subprocess.Popen(
        [*command, "--jobs", "1"], stderr=subprocess.DEVNULL, start_new_session=True, env=environment
    )
    while not list(root.glob("latents/*.csv")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (root / "corpus.json").exists()
    (root / ".unfinished" / "Test_01" / "audio").mkdir(parents=True, exist_ok=True)
    last = max(root.glob("latents/*.csv"), key=lambda path: path.stat().st_mtime_ns)
    (root / "audio" / "Test_02.wav").write_bytes(b"half")
    subprocess.run([*command, "--jobs", "2"], check=True, capture_output=True)
    assert contents(root) == contents(small) and last.exists()


def test_without_alignment_all_else_is_the_same(small, tmp_path):
    make(tmp_path / "bare", **SMALL, alignment=False, jobs=1, progress=False)
    bare, whole = contents(tmp_path / "bare"), contents(small)
    assert json.loads(bare.pop("corpus.json"))["alignment"] is False
    assert bare == {name: content for name, content in whole.items() if not name.startswith(("words", "corpus.json"))}
    before = contents(small)
    make(small, **SMALL, progress=False)
    assert contents(small) == before
    with pytest.raises(FileExistsError, match=r"another corpus of conversations .*alignment True.*this one would have"):
        make(small, **SMALL, alignment=False, progress=False)


def test_reviews_say_what_their_writers_feel_in_words_that_are_spoken_too(small):
    texts = sewa.read_text(small)
    assert len(texts) == make_conversations.REVIEWS and min(map(len, texts)) > 8
    known = {row["word"].lower(): row for row in dialogue.lexicon()}
    assert {word for text in texts for word in text} <= known.keys()
    of_text = [[float(known[w]["value"]) for w in text if known[w]["dimension"] == "valence"] for text in texts]
    assert np.mean([np.ptp(values) < 0.71 for values in of_text if len(values) > 1]) > 0.95
    assert {value for values in of_text for value in values} == set(dialogue.LEVELS.values())


def test_layout(small):
    about = json.loads((small / "corpus.json").read_text())
    assert about["counts"] == {"partitions": {"Train": 2, "Devel": 2, "Test": 2}}
    with (small / "cues.csv").open(newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert ids == ["Devel_01", "Devel_02", "Test_01", "Test_02", "Train_01", "Train_02"]
    assert not list(small.rglob(".*"))
    for id in ids:
        sound = soundfile.info(small / "audio" / f"{id}.wav")
        assert (sound.samplerate, sound.channels, sound.subtype) == (22_050, 1, "PCM_16")
        labels = (small / "labels" / f"{id}.csv").read_text().splitlines()
        assert labels[0] == "name;time;arousal;valence;liking" and labels[2].startswith(f"{id};0.1;")
        assert len(labels) - 1 == pytest.approx(sound.duration / HOP)
        sentences, words = rows(small, "transcriptions", id), rows(small, "words", id)
        said = [token.strip(".,?!").lower() for _, _, text in sentences for token in text[1:-1].split()]
        assert said == [word for _, _, word in words]
        assert all(float(a[1]) <= float(b[0]) + 1e-3 for a, b in itertools.pairwise(words))
        spans = [(float(start), float(end)) for start, end in rows(small, "turns", id)]
        assert all(any(a <= float(s) <= float(e) <= b for a, b in spans) for s, e, _ in sentences)


def test_both_are_heard_in_turns_and_the_subject_is_louder(small):
    near, far = (soundfile.read(small / "audio" / f"Train_{n}.wav")[0] for n in ("01", "02"))
    assert len(near) == len(far)
    levels: dict[str, list[float]] = {"mine": [], "theirs": []}
    for own, id in (("mine", "Train_01"), ("theirs", "Train_02")):
        for start, end in rows(small, "turns", id):
            stretch = slice(round(float(start) * 22_050), round(float(end) * 22_050))
            levels[own].append(np.log2(near[stretch].std() / far[stretch].std()))
            assert near[stretch].std() > 10 * scene.ROOM_NOISE / 32_768
    assert min(levels["mine"]) > 1 and max(levels["theirs"]) < -1


def test_voice_and_words_show_what_the_cues_say():
    """Level and pace follow arousal, words stand for valence and liking; a voice that is held back shows nothing."""
    rng = np.random.default_rng(0)
    felt = [latents.feelings(200, rng) for _ in range(2)]
    subjects = [scene.Subject("Train_01", "Train_02", ""), scene.Subject("Train_02", "Train_01", "voice")]
    sentences = scene.converse(subjects, felt, 200, scene.Synthesiser(), random.Random(1))
    mine = [s for s in sentences if s.speaker == 0]
    arousal = [s.voiced["arousal"] for s in mine]
    assert np.corrcoef(arousal, [np.log(s.samples.std()) for s in mine])[0, 1] > 0.9
    tokens, plain = mine[0].line.spoken, scene.plain_reading(random.Random(2))
    readings = [scene.reading(plain, {"arousal": value}) for value in (-0.6, 0.0, 0.6)]
    lengths = [len(scene.Synthesiser().speak(tokens, how).samples) for how in readings]
    assert lengths[0] > 1.1 * lengths[1] > 1.2 * lengths[2]
    assert np.corrcoef(arousal, [felt[0].at((s.start + s.end) / 2)[0] for s in mine])[0, 1] > 0.8
    assert all(not s.voiced for s in sentences if s.speaker == 1)
    for index, name in enumerate(DIMENSIONS[1:], 1):
        pairs = [
            (values[name], felt[s.speaker].at(s.words[i].start)[index])
            for s in sentences
            for i, values in s.line.shown.items()
            if name in values
        ]
        assert len(pairs) > 20 and np.corrcoef(*zip(*pairs, strict=True))[0, 1] > 0.8


def test_words_held_back_are_neutral_and_words_of_feeling_are_those_of_the_synthetic_corpus():
    emotion_of = {word.split()[0]: e for e in EMOTIONS for word in FEELINGS[e].split(", ")}
    for level, words in dialogue.FEELINGS.items():
        for half, part in enumerate(words.split(" | ")):
            for word in part.split(", "):
                angry_or_sad = "angry" if half else "sad"
                assert emotion_of[word.split()[0]] == (angry_or_sad if level < 0 else "happy" if level else "neutral")
    lexicon = {row["word"]: row for row in dialogue.lexicon()}
    rng = random.Random(0)
    for _ in range(300):
        line = dialogue.write((0.9, 0.9, -0.9), rng, silent=True)
        assert not line.shown
        values = [lexicon[t.strip(".,?!").lower()] for t in line.tokens if t.strip(".,?!").lower() in lexicon]
        assert all(row["value"] in ("", "0.0") for row in values if row["class"] != "degree")
        shown = dialogue.write((0.9, 0.9, -0.9), rng)
        for index, value in shown.shown.items():
            row = lexicon[shown.tokens[index].strip(".,?!").lower()]
            assert row["dimension"] == "arousal" or value[row["dimension"]] == float(row["value"])
            assert {"valence": 0.7, "liking": -0.7}.get(row["dimension"]) in (None, value.get(row["dimension"]))


def test_feelings_move_as_motions_say_and_labels_are_late():
    rng = np.random.default_rng(0)
    felt = [latents.feelings(100, rng) for _ in range(200)]
    values = np.stack([one.values for one in felt])
    assert np.abs(values).max() <= 1
    for index, motion in enumerate(MOTIONS.values()):
        for seconds in (1.0, 3.0, 6.0):
            steps = round(seconds / HOP)
            pair = values[:, :-steps, index].ravel(), values[:, steps:, index].ravel()
            assert np.corrcoef(*pair)[0, 1] == pytest.approx(motion.correlation(seconds), abs=0.05)
    labels = np.stack([latents.annotate(one, 1000, rng) for one in felt])
    now = np.stack([one.at(HOP * np.arange(1000)) for one in felt])
    agreement = [np.corrcoef(labels[:, lag:].ravel(), now[:, : 1000 - lag].ravel())[0, 1] for lag in range(50)]
    assert HOP * np.argmax(agreement) == pytest.approx(np.mean(LAGS), abs=0.25)
    assert max(agreement) > 0.9


def test_plan_has_avecs_partitions_and_pairs():
    pairs = plan(64, 80.0, 0)
    subjects = [subject for both, _ in pairs for subject in both]
    assert len(pairs) == 32
    for name, count in (("Train", 34), ("Devel", 14), ("Test", 16)):
        own = [s for s in subjects if s.id.startswith(name)]
        assert sorted(s.id for s in own) == [f"{name}_{n:02}" for n in range(1, count + 1)]
        for kind in ("text", "voice"):
            assert sum(s.held_back == kind for s in own) == pytest.approx(count / 5, abs=1)
    assert all(a.partner == b.id and b.partner == a.id for (a, b), _ in pairs)
    assert all(64 <= seconds <= 96 for _, seconds in pairs)


def known(rng: np.random.Generator, frames: int = 600) -> ceilings.Known:
    """A recording without speech: signs as sentences and words would give them."""
    felt = latents.feelings(frames * HOP, rng)
    shown = {name: np.full((frames, 3), np.nan) for name in ("text", "voice")}
    noise = {"text": (0.6, 0.1, 0.1), "voice": (0.1, 0.9, 0.9)}
    for name, length in (("text", 4), ("voice", 30)):
        for start in range(rng.integers(40), frames - length, 60):
            middle = felt.at(HOP * (start + length / 2))
            shown[name][start : start + length] = middle + rng.normal(size=3) * noise[name]
    now = felt.at(HOP * np.arange(frames))
    return ceilings.Known(latents.annotate(felt, frames, rng), now, shown)


def test_ceilings_are_ordered_as_the_corpus_means_them():
    rng = np.random.default_rng(0)
    ids = [f"{part}_{n:02}" for part, count in (("Train", 60), ("Devel", 40), ("Test", 40)) for n in range(count)]
    recordings = {id: known(rng) for id in ids}
    table = ceilings.ceilings(recordings, dict.fromkeys(ids, ""))
    for part in ("devel", "test"):
        assert table[part]["recordings"] == 40
        for kind in ("ccc", "each"):
            text, voice, both, late = (table[part][name][kind] for name in ceilings.OBSERVERS)
            assert voice["arousal"] > text["arousal"] + 0.1
            for name in DIMENSIONS:
                assert both[name] >= max(text[name], voice[name]) - 0.01
                assert late[name] < both[name] - 0.03
            assert both["mean"] == pytest.approx(np.mean([both[name] for name in DIMENSIONS]), abs=1e-3)
    quiet = ceilings.ceilings(recordings, dict.fromkeys(ids[:80], "") | dict.fromkeys(ids[80:], "text"))
    assert quiet["test"]["text"]["ccc"]["valence"] == 0 < quiet["test"]["both"]["ccc"]["arousal"]


def test_the_conditional_mean_equals_that_of_many_draws():
    """Against a slow reference: the joint Gaussian written out, and no other prediction that is linear does better."""
    motion = MOTIONS["valence"]
    told = [
        ceilings.Signs(np.array([1.0, 4.0]), np.array([0.3, -0.2]), 0.9, 0.05, 0.02),
        ceilings.Signs(np.array([2.0]), np.array([0.5]), 1.1, 0.0, 0.3),
    ]
    times, mean, variance = np.array([0.0, 3.0, 9.0]), 0.1, 0.16
    moments = [(t, s.gain, s.offset, s.noise, v) for s in told for t, v in zip(s.times, s.values, strict=True)]

    def common(a: float, b: float) -> float:
        steady, scale = motion.steady, motion.scale
        return variance * (steady + (1 - steady) * np.exp(-((a - b) ** 2) / (2 * scale**2)))

    for time_, found in zip(times, ceilings.expected(told, motion, mean, variance, times, (1.0, 3.0)), strict=True):
        among, towards, surprise = np.zeros((3, 3)), np.zeros(3), np.zeros(3)
        for i, (t, gain, offset, noise, value) in enumerate(moments):
            surprise[i] = value - gain * mean - offset
            towards[i] = gain * (common(time_ - 1.0, t) + common(time_ - 3.0, t)) / 2
            for j, (other, other_gain, *_) in enumerate(moments):
                among[i, j] = gain * other_gain * common(t, other) + (noise if i == j else 0)
        assert found == pytest.approx(mean + towards @ np.linalg.inv(among) @ surprise)
    assert ceilings.expected([ceilings.Signs(np.empty(0), np.empty(0))], motion, 0.1, 0.2, times, (0.0,)) == (
        pytest.approx([0.1, 0.1, 0.1])
    )


def test_a_stretch_of_one_value_is_one_sign():
    shown = np.array([np.nan, 0.5, 0.5, 0.5, -0.2, -0.2, np.nan, 0.5])
    found = ceilings.signs(shown)
    assert found.times == pytest.approx([0.2, 0.45, 0.7]) and found.values == pytest.approx([0.5, -0.2, 0.5])


def test_written_ceilings_follow_from_the_files(small):
    table = json.loads((small / "ceilings.json").read_text())
    with (small / "cues.csv").open(newline="") as file:
        held_back = {row["id"]: row["held_back"] for row in csv.DictReader(file)}
    recordings = {
        id: ceilings.read(small / "labels" / f"{id}.csv", small / "latents" / f"{id}.csv") for id in held_back
    }
    assert ceilings.ceilings(recordings, held_back) == table
    late = np.concatenate([recordings[id].felt[:-22] for id in recordings])
    labels = np.concatenate([recordings[id].labels[22:] for id in recordings])
    assert min(concordance(labels[:, i], late[:, i]) for i in range(3)) > 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subjects": 4}, "4 subjects were asked for; they speak in pairs, and three pairs are needed"),
        ({"subjects": 7}, "7 subjects were asked for; they speak in pairs"),
        ({"seconds": 5}, "recordings of 5 s were asked for; expected 10 to 600"),
        ({"seconds": float("nan")}, "recordings of nan s were asked for; expected 10 to 600"),
        ({"jobs": 0}, "0 jobs were asked for; at least one process is needed"),
    ],
)
def test_absurd_numbers(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(tmp_path / "x", progress=False, **arguments)
    assert not (tmp_path / "x").exists()


def test_folders_that_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(FileExistsError, match="holds something that is no corpus of conversations"):
        make(tmp_path, progress=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(OSError, match=r"needs about \d+ MB, the disk has 0 MB; free some space"):
        make(tmp_path / "full", **SMALL, progress=False)
