"""What systems eat: learnt from the training part alone, and then the same as a plain computation of each item."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from serlib import inputs, timing
from serlib.batching import Dataset
from serlib.corpora.corpus import Corpus, Segment, Utterance
from serlib.features import UNK, tokenize
from serlib.inputs import (
    Frames,
    Pairs,
    Phones,
    Source,
    Spans,
    SpokenWords,
    Vector,
    Waveform,
    Words,
    digest,
    features_of,
    grid_of,
    mean_frames,
)
from serlib.settings import Settings
from serlib.timing import Grid

SETTINGS = Settings(frame_stride=3, max_frames=40, max_tokens=6, model={"embedding": 4})
EVERY = {
    "frames": Frames("mfcc"),
    "vector": Vector("prosody"),
    "waveform": Waveform(0.5),
    "words": Words(),
    "spans": Spans("mfcc_15ms"),
    "phones": Phones("mfcc_15ms"),
    "pairs": Pairs("mfcc_15ms"),
    "spoken": SpokenWords("mfcc_15ms"),
}
TEXTS = ("So, don't cry now!", "Now cry.", "so so, it is", "", "We don't, she cries and cries and cries", "Is it now?")
TRAIN = ["u0", "u1", "u2", "u3"]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Six utterances with sound, text, words and phonemes."""
    made = []
    for number, text in enumerate(TEXTS):
        path, duration = tmp_path / f"u{number}.wav", 0.4 + 0.1 * number
        random = np.random.default_rng(number)
        samples = random.integers(-32768, 32768, round(duration * 16_000), dtype=np.int16)
        soundfile.write(path, samples, 16_000)
        words = [word.strip(",.!?").lower() for word in text.split()]
        edges = np.linspace(0.05, duration - 0.05, len(words) + 1).round(3).tolist()
        spoken = tuple(Segment(*one) for one in zip(words, edges[:-1], edges[1:], strict=True))
        halves = tuple(Segment("X", s.start, round((s.start + s.end) / 2, 3)) for s in spoken)
        more = {"words": spoken, "phones": halves}
        made.append(Utterance(f"u{number}", "s", "1", "d", False, "sad", None, text, path, round(duration, 3), **more))
    return Corpus("toy", tmp_path, made)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, np.ndarray]]:
    """Features at a glance, one of whose dimensions never varies; what is in the dictionary may be changed."""
    random = np.random.default_rng(0)
    made = {
        "mfcc": {f"u{n}": random.normal(5, 2, (20 + 7 * n, 3)).astype("f4") for n in range(len(TEXTS))},
        "prosody": {f"u{n}": random.normal(-3, 4, 3).astype("f4") for n in range(len(TEXTS))},
    }
    for table in made.values():
        for array in table.values():
            array[..., 2] = 7.7
    monkeypatch.setattr(inputs, "extract", lambda corpus, name, **_: made[name])
    return made


def encoded(eats, corpus: Corpus, settings: Settings = SETTINGS, train=TRAIN) -> dict[str, np.ndarray]:
    fitted = eats.fit(Source(corpus), train, settings)
    return {one.id: fitted.encode(one) for one in corpus}


def changed(corpus: Corpus, tables: dict, id: str) -> Corpus:
    """Everything about one item is another."""
    for table in tables.values():
        table[id] = table[id][::-1] * 30 + 100
    one = corpus[id]
    soundfile.write(one.audio.with_suffix(".flac"), np.linspace(-1, 1, 5_000), 16_000)
    word = (Segment("zebra", 0.1, 0.3),)
    other = replace(one, text="zebra zebra", words=word, phones=word, audio=one.audio.with_suffix(".flac"))
    return replace(corpus, utterances=[other if u.id == id else u for u in corpus])


# From the training part alone


@pytest.mark.parametrize("vectors", ["random", "word2vec"])
@pytest.mark.parametrize("name", list(EVERY))
def test_an_item_outside_the_training_part_changes_nothing_of_the_others(corpus, tables, name, vectors):
    settings = replace(SETTINGS, vectors=vectors)
    before = encoded(EVERY[name], corpus, settings)
    after = encoded(EVERY[name], changed(corpus, tables, "u5"), settings)
    assert not np.array_equal(before.pop("u5"), after.pop("u5")) or name == "words"  # unknown words are alike
    for id, array in before.items():
        np.testing.assert_array_equal(array, after[id])


@pytest.mark.parametrize("name", ["frames", "vector", "words"])
def test_an_item_of_the_training_part_does(corpus, tables, name):
    before = encoded(EVERY[name], corpus)
    after = encoded(EVERY[name], changed(corpus, tables, "u1"))
    assert any(not np.array_equal(before[id], after[id]) for id in ("u0", "u4", "u5"))


@pytest.mark.parametrize("name", list(EVERY))
def test_what_is_encoded_fits_a_dataset(corpus, tables, name):
    data = Dataset.build(corpus._by_id, [0] * 6, {name: encoded(EVERY[name], corpus)})
    assert len(data) == 6 and (name == "vector") == (name in data.vectors)


# Frames and vectors


@examples(deadline=None, derandomize=True)
@given(st.integers(0, 40), st.integers(1, 50))
def test_mean_frames_is_the_mean_of_slices(count, stride):
    frames = np.random.default_rng(count).normal(size=(count, 4)).astype("f4")
    means = [frames[start : start + stride].mean(0) for start in range(0, count, stride)]
    found = mean_frames(frames, stride)
    assert found.dtype == np.float32 and found.shape == (-(-count // stride), 4)
    np.testing.assert_allclose(found, np.reshape(means, (-1, 4)), atol=1e-6)


@pytest.mark.parametrize(("stride", "cut"), [(1, 1000), (1, 25), (4, 1000), (4, 26), (50, 30)])
def test_frames_are_cut_then_averaged_then_standardised(corpus, tables, stride, cut):
    settings = replace(SETTINGS, frame_stride=stride, max_frames=cut)
    means = {
        id: np.stack([frames[:cut][start : start + stride].mean(0) for start in range(0, len(frames[:cut]), stride)])
        for id, frames in tables["mfcc"].items()
    }
    rows = np.concatenate([means[id] for id in TRAIN]).astype("f8")
    mean, deviation = rows.mean(0), rows.std(0)
    assert deviation[2] < 1e-5
    for id, array in encoded(Frames("mfcc"), corpus, settings).items():
        assert array.dtype == np.float32 and len(array) == -(-min(cut, len(tables["mfcc"][id])) // stride)
        expected = (means[id] - mean) / [*deviation[:2], 1]  # the last does not vary: it is only centred
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-4)
    for id, array in encoded(Frames("mfcc"), corpus, replace(settings, standardise=False)).items():
        np.testing.assert_allclose(array, means[id], rtol=1e-6)


def test_vectors_are_standardised_too(corpus, tables):
    rows = np.stack([tables["prosody"][id] for id in TRAIN])
    for id, array in encoded(Vector("prosody"), corpus).items():
        expected = (tables["prosody"][id] - rows.mean(0)) / [*rows.std(0)[:2], 1]
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-5)
        assert array.dtype == np.float32 and array.shape == (3,)
    plain = encoded(Vector("prosody"), corpus, replace(SETTINGS, standardise=False))
    assert all(np.array_equal(array, tables["prosody"][id]) for id, array in plain.items())


def test_nothing_heard_is_one_frame_of_the_mean(corpus, tables):
    tables["mfcc"]["u3"] = tables["mfcc"]["u3"][:0]
    found = encoded(Frames("mfcc"), corpus)
    assert found["u3"].shape == (0, 3)
    data = Dataset.build(["u3"], [0], {"mfcc": found})
    assert data.batch(data.lengths)["mfcc"].tolist() == [[[0, 0, 0]]]
    for id in TRAIN:
        tables["mfcc"][id] = tables["mfcc"][id][:0]
    assert encoded(Frames("mfcc"), corpus)["u5"].shape == (14, 3)  # nothing to learn from: as it comes


# Words


def test_words_are_numbered_by_those_that_occur_twice_in_the_training_part(corpus):
    fitted = Words().fit(Source(corpus), TRAIN, SETTINGS)
    assert fitted.vectors is None
    assert set(fitted.vocabulary.tokens[2:]) == {",", "cry", "now", "so"}  # `cries` is only in u4
    for one in corpus:
        tokens = tokenize(one.text)[:6]
        numbers = fitted.encode(one)
        assert numbers.dtype == np.int64
        known = [t if t in fitted.vocabulary.tokens else fitted.vocabulary.tokens[UNK] for t in tokens]
        assert [fitted.vocabulary.tokens[n] for n in numbers] == (known or [fitted.vocabulary.tokens[UNK]])
    assert fitted.encode(corpus["u3"]).tolist() == [UNK]  # an empty text
    assert len(fitted.encode(corpus["u4"])) == 6 < len(tokenize(TEXTS[4]))


def test_the_vocabulary_of_the_corpus_has_the_texts_of_all(corpus):
    fitted = Words().fit(Source(corpus), TRAIN, replace(SETTINGS, vocabulary="corpus"))
    assert {"cries", "she"} < set(fitted.vocabulary.tokens)
    with pytest.raises(ValueError, match=r"settings\.vocabulary is 'world'; expected train or corpus"):
        Words().fit(Source(corpus), TRAIN, replace(SETTINGS, vocabulary="world"))


def test_word2vec_reads_the_training_part_alone(corpus):
    settings = replace(SETTINGS, vectors="word2vec")
    assert Words().find(Source(corpus), settings) == "word2vec"
    fitted = Words().fit(Source(corpus), TRAIN, settings)
    assert set(fitted.vectors) == {",", "cry", "now", "so"}
    assert {vector.shape for vector in fitted.vectors.values()} == {(4,)}
    others = replace(corpus, utterances=[u if u.id in TRAIN else replace(u, text="so so cry cry") for u in corpus])
    again = Words().fit(Source(others), TRAIN, settings)
    assert digest(again.vectors) == digest(fitted.vectors)
    more = Words().fit(Source(corpus), [*TRAIN, "u4"], settings)
    assert "cries" in more.vectors and digest(more.vectors) != digest(fitted.vectors)


def test_words_with_a_pretrained_vector_are_known_wherever_they_are(corpus):
    given = {"cries": np.full(4, 2, "f4"), "we": np.zeros(4, "f4"), "zebra": np.ones(4, "f4")}
    for eats, vectors in ((Words(), given), (Words(given), "random")):  # what the input names counts first
        fitted = eats.fit(Source(corpus), TRAIN, replace(SETTINGS, vectors=vectors))
        assert set(fitted.vectors) == {"cries", "we"}  # nobody says zebra
        assert {"cries", "we"} < set(fitted.vocabulary.tokens) and "zebra" not in fitted.vocabulary.tokens


def test_glove_that_is_not_there_is_said_once_and_words_start_at_random(corpus, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path / "cache"))
    with caplog.at_level(logging.WARNING):
        fitted = Words().fit(Source(corpus), TRAIN, replace(SETTINGS, vectors="glove"))
    where = tmp_path / "cache" / "glove" / "glove.840B.300d.txt"
    assert caplog.messages == [f"words start at random: no GloVe vectors in {where}"]
    assert fitted.vectors is None
    where.parent.mkdir(parents=True)
    where.write_text("now 1 2 3 4\nzebra 1 1 1 1\nshe 0 0 0 -1\n")
    fitted = Words().fit(Source(corpus), TRAIN, replace(SETTINGS, vectors="glove"))
    assert {word: row.tolist() for word, row in fitted.vectors.items()} == {"now": [1, 2, 3, 4], "she": [0, 0, 0, -1]}
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("kind", [str, Path])
def test_vectors_may_come_from_a_file(corpus, tmp_path, kind):
    path = tmp_path / "vectors.txt"
    with pytest.raises(FileNotFoundError, match=r"vectors\.txt: expected word vectors, found no file"):
        Words().find(Source(corpus), replace(SETTINGS, vectors=kind(path)))
    path.write_text("cry 1 2 3 4\n")
    fitted = Words().fit(Source(corpus), TRAIN, replace(SETTINGS, vectors=kind(path)))
    assert fitted.vectors["cry"].tolist() == [1, 2, 3, 4]
    path.write_text("cry 1 2 3\n")
    with pytest.raises(ValueError, match=r"vectors\.txt:1: expected a token and 4 numbers, found 3"):
        Words().find(Source(corpus), replace(SETTINGS, vectors=kind(path)))


def test_a_digest_stands_for_vectors():
    one, other = {"a": np.ones(2), "b": np.zeros(2)}, {"a": np.zeros(2), "b": np.ones(2)}
    assert digest(one) == digest(dict(reversed(one.items()))) != digest(other)
    assert digest(None) is None and digest("word2vec")["word2vec"]["window"] == 5
    assert digest("zeros") == "zeros"


# Sound


def test_a_waveform_is_cut_and_is_what_the_file_holds(corpus):
    found = encoded(Waveform(0.5), corpus)
    for one in corpus:
        samples, _ = soundfile.read(one.audio, dtype="int16")
        assert found[one.id].dtype == np.int16
        np.testing.assert_array_equal(found[one.id], samples[:8_000])
    assert [len(found[id]) for id in ("u0", "u5")] == [6_400, 8_000]


def test_full_scale_does_not_wrap_around(corpus):
    soundfile.write(corpus["u0"].audio, np.array([1.0, -1.0, 2.0, 0.25]), 16_000, subtype="FLOAT")
    assert encoded(Waveform(0.5), corpus)["u0"].tolist() == [32767, -32768, 32767, 8192]


def test_a_damaged_sound_is_named(corpus):
    path = corpus["u2"].audio
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"u2\.wav: cut off: the header promises 19200 bytes of samples"):
        Waveform(0.5).fit(Source(corpus), TRAIN, SETTINGS)


# Where words and phonemes lie


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, frame_stride=1, max_frames=20, max_tokens=3)])
def test_steps_are_those_of_timing_on_the_grid_of_the_feature(corpus, settings):
    for one in corpus:
        shape = {"stride": settings.frame_stride, "cut": settings.max_frames, "shortest": 0.07}
        grid, limit = Grid.of(one.duration, 0.015, 0.025, **shape), settings.max_tokens
        assert grid_of("mfcc_15ms", settings)(one) == grid
        expected = {
            "spans": timing.words.token_spans(one, grid, limit),
            "phones": timing.phones.phones(one, grid),
            "pairs": timing.phones.pairs(one, grid, limit),
            "spoken": timing.phones.spoken_words(one, grid),
        }
        for name, rows in expected.items():
            array = encoded(EVERY[name], corpus, settings)[one.id]
            assert array.dtype == np.int64 and np.array_equal(array, rows)


def test_spans_are_one_for_every_token(corpus):
    words, spans = (encoded(EVERY[name], corpus) for name in ("words", "spans"))
    for one in corpus:
        assert len(spans[one.id]) == (len(words[one.id]) if one.text else 0)


# What is read is kept


def test_a_source_reads_once_and_again_for_other_settings(corpus, tables, monkeypatch):
    asked = []
    monkeypatch.setattr(inputs, "extract", lambda corpus, name, **_: asked.append(name) or tables[name])
    means = []
    monkeypatch.setattr(inputs, "mean_frames", lambda *a: means.append(1) or mean_frames(*a))
    source = Source(corpus)
    first = Frames("mfcc").fit(source, TRAIN, SETTINGS)
    second = Frames("mfcc").fit(source, ["u4", "u5"], SETTINGS)
    assert (asked, len(means)) == (["mfcc"], 6)
    assert not np.array_equal(first.encode(corpus["u0"]), second.encode(corpus["u0"]))
    shorter = Frames("mfcc").fit(source, TRAIN, replace(SETTINGS, max_frames=9)).encode(corpus["u0"])
    assert (asked, len(means), len(shorter)) == (["mfcc"], 12, 3)
    assert len(first.encode(corpus["u5"])) == 14  # what was fitted before is as it was


def test_features_are_named_once():
    assert features_of(EVERY.values()) == ["mfcc", "prosody", "mfcc_15ms"]
    assert features_of([Words(), Waveform(1.0)]) == []
