from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from serlib.corpora import EMOTIONS, load, ravdess
from serlib.corpora.corpus import Skip


def test_small_tree(ravdess_tree, caplog):
    corpus = ravdess.read(ravdess_tree, progress=False)
    assert corpus.skipped == []
    assert len(corpus) == 6
    u = corpus["03-01-02-02-02-01-02"]
    assert (u.speaker, u.session, u.dialogue) == ("Actor_02",) * 3
    assert (u.emotion, u.scripted, u.script) == ("calm", True, "statement02")
    assert (u.text, u.dimensions, u.words) == ("Dogs are sitting by the door", None, ())
    assert [u.duration for u in corpus][::2] == [1.0, 2.0, 3.0]
    assert [u.emotion for u in corpus.four_class()] == ["neutral", "neutral", "angry", "angry"]
    assert "only part of the corpus, no files of Actor_03, Actor_04" in caplog.text


def test_what_cannot_be_used_is_counted(ravdess_tree, caplog):
    folder = ravdess_tree / "Actor_01"
    whole = (folder / "03-01-05-01-02-02-01.wav").read_bytes()
    for name in ("._03-01-05-01-02-02-01.wav", "readme.txt"):
        (folder / name).write_bytes(b"\0\5\26\7")
    for name in (
        "03-01-09-01-01-01-01",
        "03-02-05-01-01-01-01",
        "angry",
        "03-01-01-02-01-01-01",
        "03-01-05-01-01-01-07",
    ):
        (folder / f"{name}.wav").write_bytes(whole)
    (folder / "03-01-03-01-01-01-01.wav").write_bytes(whole[:1044])
    (folder / "03-01-04-01-01-01-01.wav").write_bytes(b"")
    (folder / "03-01-01-01-01-01-01.wav").rename(folder / "03-01-01-01-01-01-01.WAV")
    corpus = ravdess.read(ravdess_tree, progress=False)
    name = "expected a name 03-01-EE-II-SS-RR-AA.wav (audio, speech, emotion 01 to 08, then 01 or 02 thrice, actor)"
    assert corpus.skipped == [
        Skip("Actor_01/03-01-01-02-01-01-01.wav", "expected normal intensity (01), since neutral has no strong one"),
        Skip(
            "Actor_01/03-01-03-01-01-01-01.wav",
            "cut off: the header promises 96000 bytes of samples, the file holds 1000",
        ),
        Skip("Actor_01/03-01-04-01-01-01-01.wav", "expected a sound file, found an empty one"),
        Skip("Actor_01/03-01-05-01-01-01-07.wav", "expected a file of Actor_01, the name says Actor_07"),
        Skip("Actor_01/03-01-09-01-01-01-01.wav", name),
        Skip("Actor_01/03-02-05-01-01-01-01.wav", name),
        Skip("Actor_01/angry.wav", name),
    ]
    assert len(corpus) == 6
    assert "7 of 13 files left out, listed in Corpus.skipped; first Actor_01/03-01-01-02-01-01-01.wav" in caplog.text


def test_tree_that_is_not_ravdess(tmp_path):
    with pytest.raises(ValueError) as caught:
        ravdess.read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not RAVDESS: expected Actor_01 to Actor_24 with files such as 03-01-05-01-02-01-12.wav, found "
        "none; give the folder into which Audio_Speech_Actors_01-24.zip was unpacked"
    )


def test_nothing_left(ravdess_tree):
    for path in ravdess_tree.glob("*/*.wav"):
        path.write_bytes(b"")
    message = r"found none; first Actor_01/03-01-01-01-01-01-01\.wav: expected a sound file, found an empty one"
    with pytest.raises(ValueError, match=message):
        ravdess.read(ravdess_tree, progress=False)


def test_real_recordings():
    if "SERLIB_TEST_DATA" not in os.environ:
        pytest.skip("wants RAVDESS: set SERLIB_TEST_DATA to the folder that holds it")
    corpus = load("ravdess", Path(os.environ["SERLIB_TEST_DATA"]) / "ravdess", progress=False).four_class()
    counts = Counter(u.emotion for u in corpus)
    assert corpus.skipped == []
    assert [counts[emotion] for emotion in EMOTIONS] == [192, 192, 96, 192]
    assert len({u.speaker for u in corpus}) == 24
    assert len({u.text for u in corpus}) == 2
    assert all(2.5 < u.duration < 6 for u in corpus)
