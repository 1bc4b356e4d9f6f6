from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from serlib import corpora
from serlib.corpora.corpus import Corpus


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
