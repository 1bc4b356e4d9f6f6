"""Spoken texts: what is numbered, averaged, chosen, written and refused; and those of a corpus with alignments."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from serlib.corpora import Corpus, Segment, Utterance
from serlib.embeddings import spoken
from serlib.embeddings.spoken import gather, read_spoken, spoken_words, write_spoken


def make(frames: np.ndarray | None = None) -> spoken.SpokenText:
    rows = np.arange(18, dtype=np.float32).reshape(9, 2) if frames is None else frames
    return gather(["b", "a", "c", "a"], [0, 0, 1, 1], [1, 1, 0, 0], [3, 1, 4, 1], rows, ["F", "M"])


def test_the_most_frequent_word_is_row_0() -> None:
    text = make()
    assert text.vocabulary == ("a", "b", "c") and text.labels.tolist() == [1, 0, 2, 0]
    assert text.counts.tolist() == [2, 1, 1] and text.lengths.tolist() == [3, 1, 4, 1]
    assert text.texts() == [["b", "a"], ["c", "a"]]
    np.testing.assert_array_equal(text.segment(1), [[6, 7]])


def test_some_words() -> None:
    text = make()
    some = text.chosen(np.array([1, 2]))
    assert some.texts() == [["a"], ["c"]] and some.starts.tolist() == [0, 1, 5]
    np.testing.assert_array_equal(some.frames, text.frames[3:8])
    often = text.frequent(2)
    assert often.vocabulary == ("a",) and often.sentences.tolist() == [0, 1]
    np.testing.assert_array_equal(often.frames, text.frames[[3, 8]])
    with pytest.raises(ValueError, match="no word is spoken 3 times or more; the most frequent of 3 is spoken 2 times"):
        text.frequent(3)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_means_stay_within_words(stride: int) -> None:
    text = make(np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32))
    mean = text.averaged(stride)
    assert mean.hop == pytest.approx(0.01 * stride)
    for word in range(4):
        frames = text.segment(word)
        expected = [frames[i : i + stride].mean(axis=0) for i in range(0, len(frames), stride)]
        np.testing.assert_allclose(mean.segment(word), expected, rtol=1e-5)


def test_each_voice_by_its_own_mean_and_deviation() -> None:
    text = make(np.random.default_rng(0).normal(3, 2, (9, 2)).astype(np.float32))
    scaled = spoken.per_voice(text)
    for first, after in ((0, 4), (4, 9)):  # the second voice speaks the first sentence
        own = text.frames[first:after]
        np.testing.assert_allclose(scaled.frames[first:after], (own - own.mean(0)) / own.std(0), rtol=1e-4)
    assert scaled.starts is text.starts and np.isfinite(spoken.per_voice(make(np.ones((9, 2)))).frames).all()


def test_files_come_back_and_damage_is_named(tmp_path: Path) -> None:
    write_spoken(tmp_path / "x", make(), {"name": "made"})
    again = read_spoken(tmp_path / "x")
    assert again.vocabulary == make().vocabulary and again.speakers == ("F", "M") and again.hop == 0.01
    assert again.frames.dtype == np.float16
    np.testing.assert_array_equal(again.frames, make().frames)
    np.testing.assert_array_equal(again.labels, make().labels)
    with pytest.raises(FileNotFoundError, match=r"absent: expected a spoken text \(speech\.json\)"):
        read_spoken(tmp_path / "absent")
    np.save(tmp_path / "x" / spoken.FRAMES, np.zeros((8, 2), np.float16))
    with pytest.raises(ValueError, match=r"and 9 frames, found \[4\] and 8; make the spoken text again"):
        read_spoken(tmp_path / "x")
    words = tmp_path / "x" / spoken.WORDS
    words.write_bytes(words.read_bytes()[:100])
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'x'}: the spoken text is damaged")):
        read_spoken(tmp_path / "x")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame a word and 9 in all, found 9 in all and 0 in the"):
        gather(["a", "b"], [0, 0], [0, 0], [9, 0], np.zeros((9, 2)), ["F"])
    with pytest.raises(ValueError, match="and 9 in all, found 8 in all"):
        gather(["a", "b"], [0, 0], [0, 0], [4, 4], np.zeros((9, 2)), ["F"])
    frames = np.zeros((9, 2))
    frames[6, 1] = np.nan
    with pytest.raises(ValueError, match=r"spoken word 2 \('c'\): expected finite frames"):
        make(frames)


def utterance(number: int, words: tuple[Segment, ...]) -> Utterance:
    return Utterance(
        id=f"u{number}", speaker=f"S{number % 2}", session="1", dialogue="d", scripted=False, emotion="happy",
        dimensions=None, text="", audio=Path("none.wav"), duration=1.0, words=words,
    )  # fmt: skip


def test_the_spoken_words_of_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {f"u{n}": np.arange(98 * 39, dtype=np.float32).reshape(98, 39) + n for n in range(3)}
    monkeypatch.setattr(spoken, "extract", lambda *_, **__: table)
    words = (Segment("oh", 0.0, 0.2), Segment("no", 0.2, 0.21), Segment("oh", 0.9, 1.0))
    corpus = Corpus("made", tmp_path, (utterance(0, words), utterance(1, ()), utterance(2, words[:1])))
    text = spoken_words(corpus)
    assert text.texts() == [["oh", "no", "oh"], ["oh"]] and text.speakers == ("S0",)
    assert text.frames.shape[1] == spoken.CEPSTRA
    np.testing.assert_array_equal(text.segment(0), table["u0"][:19, :13])  # middles from 12.5 ms on, every 10 ms
    assert len(text.segment(1)) == 1 and len(text.segment(2)) >= 8
    assert spoken_words(corpus, ["u2"]).texts() == [["oh"]]
    with pytest.raises(ValueError, match="expected word alignments, found none"):
        spoken_words(corpus, ["u1"])
