"""What systems eat of recordings: sound and vectors of every label, against loops over labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serlib import recordings
from serlib.corpora.corpus import Corpus, Recording, Segment
from serlib.embeddings import alignment, speech2vec
from serlib.embeddings.spoken import spoken_words
from serlib.embeddings.word2vec import train_word2vec
from serlib.features.waveform import read_waveform
from serlib.inputs import WORD2VEC, Fitted, Source, Vectored, digest
from serlib.recordings import Options, Sound, SpokenVectors, WordVectors, labels_of, spoken_at
from serlib.settings import Settings

OPTIONS = {"rate": 8_000, "dims": 4, "speech2vec": {"epochs": 1, "min_count": 1}, "alignment": "supervised"}
SETTINGS = Settings(inputs=OPTIONS, vectors="word2vec")
TRAIN = ["Train_00", "Train_01", "Train_02"]
SAID = "we never saw it so we never told him that we saw it"


def recording(folder: Path, number: int) -> Recording:
    """Five seconds of noise, words of 0.02 to 0.5 s with gaps between them, two turns."""
    random = np.random.default_rng(number)
    path = folder / f"{number}.wav"
    soundfile.write(path, random.uniform(-0.5, 0.5, 5 * 22_050), 22_050)
    words, now = [], 0.3
    for label in random.permutation(SAID.split() + (["zebra"] if number == 3 else [])):
        end = now + random.uniform(0.02, 0.5)
        words.append(Segment(str(label), round(now, 3), round(end, 3)))
        now = end + random.choice([0.0, 0.15])
    turns = (Segment("subject", 0.3, 1.87), Segment("subject", 2.5, 4.0))
    id = f"{'Train' if number < 3 else 'Test'}_{number:02}"
    labels = random.uniform(-1, 1, (50, 3)).astype("f4")
    kept = tuple(word for word in words if word.end < 4.9)
    return Recording(id, id, id[:-3].lower(), path, 5.0, labels, turns=turns, words=kept)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("recordings")
    return Corpus("toy", folder, [], recordings=[recording(folder, n) for n in range(4)])


@pytest.fixture(scope="module")
def source(corpus) -> Source:
    return Source(corpus)


def changed(corpus: Corpus, id: str = "Test_03", **facts) -> Source:
    return Source(replace(corpus, recordings=[replace(r, **facts) if r.id == id else r for r in corpus]))


def options(**more) -> Settings:
    return replace(SETTINGS, inputs=OPTIONS | more)


def literally(segments, rows, item: Recording) -> np.ndarray:
    """The row of what is spoken in the middle of each label."""
    found = np.zeros((len(item.labels), rows.shape[1]))
    for label in range(len(item.labels)):
        middle = 0.1 * label + 0.05
        for segment, row in zip(segments, rows, strict=True):
            if segment.start <= middle < segment.end:
                found[label] = row
    return found


# What is spoken when


def test_what_is_spoken_in_the_middle_of_each_label(corpus) -> None:
    for item in corpus:
        found = spoken_at(item.words, labels_of(item))
        expected = literally(item.words, np.arange(len(item.words))[:, None] + 1, item)[:, 0] - 1
        assert found.tolist() == expected.tolist()
        assert (found < 0).any() and len(set(found.tolist())) > 5


# Vectors of the transcript's words


@pytest.mark.parametrize("standardise", [True, False])
def test_word_vectors_are_those_of_the_words_spoken(corpus, source, standardise) -> None:
    fitted = WordVectors().fit(source, TRAIN, replace(SETTINGS, standardise=standardise))
    texts = [[word.label for word in corpus[id].words] for id in TRAIN]
    vectors = train_word2vec(texts, 4)
    heard = [word.label for id in TRAIN for word in corpus[id].words]
    often = np.stack([vectors[word] for word in heard if word in vectors])
    unknown = {word: np.random.default_rng([0, recordings.zlib.crc32(word.encode())]).normal(size=4) for word in
               {w.label for item in corpus for w in item.words} - set(vectors)}  # fmt: skip
    assert "zebra" in unknown or all(word.label != "zebra" for word in corpus["Test_03"].words)
    known = {word: often.mean(0) + often.std(0) * row for word, row in unknown.items()} | dict(vectors)
    every = np.stack([known[word] for word in heard])
    mean, scale = (every.mean(0), every.std(0)) if standardise else (0, 1)
    for item in corpus:
        rows = (np.stack([known[word.label] for word in item.words]) - mean) / scale
        array = fitted.encode(item)
        assert array.dtype == np.float32 and array.shape == (50, 4)
        np.testing.assert_allclose(array, literally(item.words, rows, item), rtol=1e-3, atol=1e-4)


def test_controls_know_less_and_less(corpus, source, tmp_path) -> None:
    said = {}
    for kind in ("phonetic", "identity", "zeros"):
        fitted = WordVectors().fit(source, TRAIN, replace(SETTINGS, vectors=kind))
        said[kind] = np.concatenate([fitted.encode(corpus[id]) for id in TRAIN])
    assert not said["zeros"].any()
    labels = [w.label for id in TRAIN for w in corpus[id].words]
    assert len(np.unique(said["identity"].round(5), axis=0)) <= len(set(labels)) + 1  # and silence
    dictionary = tmp_path / "dictionary"
    dictionary.write_text("we W IY1\nnever N EH1 V ER0\nsaw S AO1\nit IH1 T\nso S OW1\ntold T OW1 L D\nhim HH IH1 M\n")
    by_sound = WordVectors().fit(
        source, TRAIN, replace(options(pronunciations=dictionary), vectors="phonetic")
    )  # fmt: skip
    assert not np.allclose(by_sound.encode(corpus["Train_00"]), said["phonetic"][:50])


def test_vectors_may_be_given_and_must_have_the_size_that_is_told(source) -> None:
    given = {"we": np.full(4, 2, "f4"), "zebra": np.ones(4, "f4")}
    fitted = WordVectors(given).fit(source, TRAIN, replace(SETTINGS, standardise=False))
    item = source.corpus["Train_00"]
    number = next(
        n for n, w in enumerate(spoken_at(item.words, labels_of(item))) if w >= 0 and item.words[w].label == "we"
    )
    assert fitted.encode(item)[number].tolist() == [2, 2, 2, 2]
    with pytest.raises(ValueError, match=r"the vector of 'we': expected 4 numbers, found 3; set `dims`"):
        WordVectors({"we": np.ones(3)}).fit(source, TRAIN, SETTINGS)
    assert isinstance(WordVectors(), Vectored) and set(WordVectors().find(source, replace(SETTINGS, vectors=given)))


# Vectors of the words' sound


def trained(corpus: Corpus) -> tuple[speech2vec.Trained, np.ndarray]:
    text = spoken_words(corpus, TRAIN)
    how = speech2vec.Settings(dims=4, epochs=1, min_count=1)
    return speech2vec.train(text, how, 0, progress=False), text


def own(corpus: Corpus, item: Recording, segments) -> np.ndarray:
    """The encoder's vector of each segment of one recording, one after the other."""
    model, _ = trained(corpus)
    rows = []
    for segment in segments:
        alone = replace(corpus, recordings=[replace(item, words=(segment,))])
        text = spoken_words(alone).averaged(model.settings.stride)
        rows += list(speech2vec.segments(model.model, text))
    return np.concatenate(rows)


def test_spoken_vectors_are_the_encoders_of_each_words_own_sound(corpus, source) -> None:
    fitted = SpokenVectors().fit(source, TRAIN, replace(SETTINGS, standardise=False))
    for item in (corpus["Train_01"], corpus["Test_03"]):
        rows = own(corpus, item, item.words)
        np.testing.assert_allclose(fitted.encode(item), literally(item.words, rows, item), atol=1e-5)
    scaled = SpokenVectors().fit(source, TRAIN, SETTINGS)
    each = np.concatenate([own(corpus, corpus[id], corpus[id].words) for id in TRAIN])
    rows = (rows - each.mean(0)) / each.std(0)
    np.testing.assert_allclose(scaled.encode(item), literally(item.words, rows, item), atol=1e-3)


def test_aligned_vectors_are_mapped_as_the_words_of_training_are(corpus, source) -> None:
    settings = replace(SETTINGS, standardise=False)
    fitted = SpokenVectors(aligned=True).fit(source, TRAIN, settings)
    model, text = trained(corpus)
    speech = speech2vec.vectors(model, text)
    words = train_word2vec([[w.label for w in corpus[id].words] for id in TRAIN], 4)
    both = [word for word in speech.words if word in words]
    pairs = np.stack([speech.numbers(both), words.numbers(both)], axis=1)
    unit = speech.rows / np.linalg.norm(speech.rows, axis=1, keepdims=True)
    mapping = alignment.supervised(alignment.normalise(speech.rows), alignment.normalise(words.rows), pairs)
    item = corpus["Test_03"]
    rows = []
    for row in own(corpus, item, item.words):
        centred = row / np.linalg.norm(row) - unit.mean(axis=0)
        rows.append(mapping @ (centred / np.linalg.norm(centred)))
    expected = literally(item.words, np.stack(rows), item)
    np.testing.assert_allclose(fitted.encode(item), expected, atol=1e-4)
    by_word = SpokenVectors(aligned=True).fit(
        source, TRAIN, replace(options(boundaries="transcript"), standardise=False)
    )  # fmt: skip
    mapped = alignment.normalise(speech.rows) @ mapping.T
    item = corpus["Train_00"]
    rows = np.stack([mapped[speech.numbers([w.label])[0]] for w in item.words])
    np.testing.assert_allclose(by_word.encode(item), literally(item.words, rows, item), atol=1e-4)


def test_windows_need_no_transcript_of_a_test_recording(corpus, source) -> None:
    settings = replace(options(boundaries="windows"), standardise=False)
    silent = changed(corpus, words=())
    fitted = SpokenVectors().fit(silent, TRAIN, settings)
    item = corpus["Test_03"]
    windows = [Segment("", 0.3 + n * 1.57 / 4, 0.3 + (n + 1) * 1.57 / 4) for n in range(4)]
    windows += [Segment("", 2.5 + n * 1.5 / 4, 2.5 + (n + 1) * 1.5 / 4) for n in range(4)]
    np.testing.assert_allclose(
        fitted.encode(item), literally(windows, own(corpus, item, windows), item), atol=1e-5
    )  # fmt: skip
    everywhere = SpokenVectors().fit(changed(corpus, turns=()), TRAIN, settings).encode(item)
    assert everywhere.any(axis=1).all()  # without turns nobody knows when the subject is silent
    with pytest.raises(ValueError, match="Test_03 has no words; expected a transcript"):
        SpokenVectors().fit(silent, TRAIN, SETTINGS)


@pytest.mark.parametrize("eats", [WordVectors(), SpokenVectors(), SpokenVectors(aligned=True)])
def test_an_item_outside_the_training_part_changes_nothing_of_the_others(corpus, source, eats) -> None:
    before = eats.fit(source, TRAIN, SETTINGS)
    other = changed(corpus, words=(Segment("zebra", 0.0, 5.0),))
    after = eats.fit(other, TRAIN, SETTINGS)
    for id in TRAIN:
        np.testing.assert_array_equal(before.encode(corpus[id]), after.encode(other.corpus[id]))
    assert not np.array_equal(before.encode(corpus["Test_03"]), after.encode(other.corpus["Test_03"]))


def test_what_was_learnt_is_learnt_once(corpus, monkeypatch) -> None:
    learnt = []
    train = speech2vec.train
    monkeypatch.setattr(speech2vec, "train", lambda *a, **k: learnt.append(1) or train(*a, **k))
    source = Source(corpus)
    for eats in (SpokenVectors(), SpokenVectors(aligned=True), SpokenVectors()):
        eats.fit(source, TRAIN, SETTINGS)
    assert len(learnt) == 1
    SpokenVectors().fit(source, TRAIN[:2], SETTINGS)
    assert len(learnt) == 2
    SpokenVectors().fit(source, TRAIN[:2], options(objective="random"))
    assert len(learnt) == 3


def test_speech_is_mapped_to_vectors_of_a_text_and_to_no_control(source) -> None:
    for vectors in ("zeros", "random"):
        with pytest.raises(ValueError, match=f"vectors are {vectors}; expected those of a text to map speech to"):
            SpokenVectors(aligned=True).fit(source, TRAIN, replace(SETTINGS, vectors=vectors))
    assert SpokenVectors().find(source, SETTINGS) is None


def test_vectors_of_a_text_that_lies_beside_the_recordings(corpus, source, monkeypatch, tmp_path, caplog) -> None:
    """They are learnt from it once and kept; without it, from the training part; `given` needs no ear."""
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path / "cache"))
    wanted = replace(options(alignment="given"), vectors="text")
    own = WordVectors().fit(source, TRAIN, SETTINGS).encode(corpus["Test_03"])
    np.testing.assert_array_equal(WordVectors().fit(source, TRAIN, wanted).encode(corpus["Test_03"]), own)
    assert f"no {corpus.root / 'text.txt'}: vectors are learnt from the training part" in caplog.text
    beside = Source(replace(corpus, root=tmp_path))
    (tmp_path / "text.txt").write_text("We saw it, <laughter> so... \nNever told him!\n\nso we saw it, never him\n" * 9)
    text = train_word2vec(
        [["we", "saw", "it", "so"], ["never", "told", "him"], ["so", "we", "saw", "it", "never", "him"]] * 9, 4
    )
    told = WordVectors().find(beside, wanted)
    assert told != WORD2VEC and WordVectors().find(beside, replace(wanted, vectors=told)) == told
    assert digest(told)["text"] == told and digest(WORD2VEC) == {k: v for k, v in digest(told).items() if k != "text"}
    learnt = []
    monkeypatch.setattr(recordings, "train_word2vec", lambda *a: learnt.append(a) or train_word2vec(*a))
    of_text = WordVectors(text).fit(source, TRAIN, SETTINGS)
    for eats in (WordVectors(), SpokenVectors(aligned=True), WordVectors()):
        fitted = eats.fit(Source(beside.corpus), TRAIN, wanted)
        for item in corpus:
            np.testing.assert_allclose(fitted.encode(item), of_text.encode(item), rtol=1e-5, atol=1e-6)
    assert len(learnt) == 1
    (tmp_path / "text.txt").write_text(" ... \n")
    with pytest.raises(ValueError, match=r"text.txt: expected a text a line, found no word"):
        WordVectors().fit(Source(beside.corpus), TRAIN, wanted)


@pytest.mark.parametrize("eats", [WordVectors(), SpokenVectors(), Sound()])
def test_what_is_eaten_may_be_as_late_as_annotators_are(corpus, source, eats) -> None:
    now, late = (eats.fit(source, TRAIN, options(lag=lag)).encode(corpus["Test_03"]) for lag in (0.0, 2.0))
    assert not late[:20].any() and late[20:].any()
    np.testing.assert_array_equal(late[20:], now[:-20])
    assert not eats.fit(source, TRAIN, options(lag=9.0)).encode(corpus["Test_03"]).any()
    with pytest.raises(ValueError, match=r"lag is -1\.0; expected seconds, 0 or more"):
        eats.fit(source, TRAIN, options(lag=-1.0))


# Sound


def fitted_sound(source: Source, **more) -> Fitted:
    return Sound().fit(source, TRAIN, options(**more))


def test_the_sound_of_a_label_is_a_tenth_of_a_second_of_the_file(corpus, source) -> None:
    one, two = fitted_sound(source, rate=22_050), fitted_sound(source, rate=22_050, channels="two")
    for item in corpus:
        samples, _ = soundfile.read(item.audio, dtype="int16")
        sound, both = one.encode(item), two.encode(item)
        assert sound.dtype == np.int16
        np.testing.assert_array_equal(sound, samples.reshape(50, 2_205))
        for label in range(50):
            speaks = any(turn.start <= 0.1 * label + 0.05 < turn.end for turn in item.turns)
            halves = both[label, :2_205], both[label, 2_205:]
            np.testing.assert_array_equal(halves[not speaks], sound[label])
            assert not halves[speaks].any()
    other = fitted_sound(source).encode(corpus["Train_00"])
    expected = np.rint(read_waveform(corpus["Train_00"].audio, 8_000) * 32768)
    np.testing.assert_array_equal(other.flatten(), expected)


def test_the_last_label_may_lack_a_part_of_its_sound_and_no_more(corpus) -> None:
    item = corpus["Test_03"]
    longer = changed(corpus, labels=np.zeros((51, 3), "f4"))
    with pytest.raises(ValueError, match=r"Test_03: 5\.1 s of labels, but .*3\.wav lasts 5\.0 s; expected sound"):
        fitted_sound(longer)
    short = item.audio.with_name("short.wav")
    soundfile.write(short, read_waveform(item.audio, 8_000)[:39_500], 8_000)
    sound = fitted_sound(changed(corpus, audio=short)).encode(item)
    assert sound.shape == (50, 800) and not sound[-1, 300:].any() and sound[-1, :300].any()


def test_two_channels_need_turns(corpus) -> None:
    silent = changed(corpus, turns=())
    assert fitted_sound(silent).encode(corpus["Test_03"]).shape == (50, 800)
    with pytest.raises(ValueError, match="Test_03 has no turns; expected them, to tell the subject's sound"):
        fitted_sound(silent, channels="two")


def test_a_rate_that_does_not_divide_is_refused(source) -> None:
    with pytest.raises(ValueError, match=r"a label of 0\.1 s has 1102\.5 samples at 11025 Hz; expected a whole"):
        fitted_sound(source, rate=11_025)


def test_options_that_do_not_exist_are_named(source) -> None:
    for name, value in (("channels", "three"), ("boundaries", "round"), ("alignment", "luck")):
        with pytest.raises(ValueError, match=rf"settings\.inputs: {name} is '{value}'; expected one of"):
            Options.of(options(**{name: value}))
    with pytest.raises(ValueError, match=r"settings\.inputs has no option size; expected some of rate, channels"):
        fitted_sound(source, size=3)
