"""What a corpus holds, in which order, under which names; and what its hashes are of."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serlib import corpora
from serlib.corpora.corpus import EMOTIONS, Corpus, Recording, Segment, Utterance


@pytest.fixture
def corpus(iemocap_tree) -> Corpus:
    return corpora.load("iemocap", iemocap_tree.root, progress=False)


def test_ids_are_unique(corpus):
    with pytest.raises(ValueError, match="two utterances are named Ses01F_impro01_F000; ids must be unique"):
        replace(corpus, utterances=[corpus.utterances[0], *corpus.utterances])


def test_select_keeps_the_order_of_ids(corpus):
    ids = ["Ses02M_script02_2_F000", "Ses01F_impro01_M001"]
    assert [u.id for u in corpus.select(ids)] == sorted(ids)
    with pytest.raises(KeyError, match="Ses09"):
        corpus.select(["Ses09"])


def test_fingerprint_is_of_the_content_not_of_the_place(corpus, tmp_path):
    copy = corpora.load("iemocap", shutil.copytree(corpus.root, tmp_path / "copy"), progress=False)
    assert copy.fingerprint == corpus.fingerprint
    assert corpus.select([corpus.utterances[0].id]).fingerprint != corpus.fingerprint
    audio = copy.utterances[0].audio
    audio.write_bytes(audio.read_bytes()[:-1] + b"\1")
    assert corpora.load("iemocap", copy.root, progress=False).fingerprint != corpus.fingerprint


def said(folder: Path, number: int, emotion: str | None = None, **changes) -> Utterance:
    audio = folder / f"{number}.wav"
    audio.write_bytes(bytes([number]))
    known = {"id": f"u{number}", "speaker": "s", "session": "1", "dialogue": "d", "scripted": False, "emotion": emotion}
    known |= {"dimensions": None, "text": "oh no", "audio": audio, "duration": 1.0}
    return Utterance(**known | changes)


def recorded(folder: Path, number: int, **changes) -> Recording:
    audio = folder / f"{number}.wav"
    audio.write_bytes(bytes([number]))
    known = {"id": f"Train_{number:02}", "speaker": f"Train_{number:02}", "partition": "train", "audio": audio}
    known |= {"duration": 0.5, "labels": np.full((5, 3), number / 10, "f4")}
    return Recording(**known | changes)


def test_four_classes_with_and_without_the_excited(tmp_path):
    labels = ["sad", "excited", None, "happy", "frustrated", "angry", "neutral"]
    corpus = Corpus("toy", tmp_path, [said(tmp_path, n, label) for n, label in enumerate(labels)], classes=("other",))
    four, apart = corpus.four_class(), corpus.four_class(merge=False)
    assert four.classes == apart.classes == EMOTIONS
    assert [(u.id, u.emotion) for u in four] == [
        ("u0", "sad"), ("u1", "happy"), ("u3", "happy"), ("u5", "angry"), ("u6", "neutral"),
    ]  # fmt: skip
    assert [u.id for u in apart] == ["u0", "u3", "u5", "u6"]
    assert [u.emotion for u in corpus] == labels


def test_a_corpus_of_recordings(tmp_path):
    corpus = Corpus("sewa", tmp_path, [], recordings=[recorded(tmp_path, n) for n in (3, 1, 2)])
    assert [one.id for one in corpus] == ["Train_01", "Train_02", "Train_03"]
    assert len(corpus) == 3 and corpus.items is corpus.recordings and corpus["Train_02"].labels[0, 0] == np.float32(0.2)
    assert [one.id for one in corpus.select(["Train_03", "Train_01"]).recordings] == ["Train_01", "Train_03"]
    with pytest.raises(ValueError, match="two recordings are named Train_01; ids must be unique"):
        replace(corpus, recordings=[corpus["Train_01"]] * 2)
    with pytest.raises(ValueError, match="expected utterances or recordings, not both"):
        replace(corpus, utterances=[said(tmp_path, 9, "sad")])


def test_content_is_of_all_that_training_may_look_at_not_of_the_place(tmp_path):
    folders = iter(range(100))

    def content(make, **changes) -> str:
        (folder := tmp_path / str(next(folders))).mkdir()
        one = make(folder, **changes)
        parts = {"recordings": [one]} if isinstance(one, Recording) else {}
        return Corpus("toy", folder, [] if parts else [one], **parts).content

    def utterance(folder: Path, sound: int = 1, **changes) -> Utterance:
        return said(folder, sound, **{"id": "a", "emotion": "sad"} | changes)

    def recording(folder: Path, sound: int = 1, **changes) -> Recording:
        return recorded(folder, sound, **{"id": "a", "labels": np.zeros((5, 3), "f4")} | changes)

    later = np.zeros((5, 3), "f4")
    later[4, 2] = 0.001
    for make, departures in (
        (utterance, [{"text": "oh"}, {"emotion": "angry"}, {"words": (Segment("oh", 0, 0.5),)}, {"scripted": True}]),
        (recording, [{"labels": later}, {"labels": None}, {"hop": 0.04}, {"turns": (Segment("s", 0, 0.5),)}]),
    ):
        same = content(make)
        assert content(make) == same  # in another folder
        others = [content(make, **change) for change in [*departures, {"sound": 2}, {"id": "b"}]]
        assert len({same, *others}) == 1 + len(others)
