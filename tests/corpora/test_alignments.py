"""Alignments from a folder: flat or in folders, and what is missing, damaged or too much."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from serlib import corpora
from serlib.corpora.alignments import with_alignments
from serlib.corpora.corpus import Corpus, Recording, Segment

WORDS = (Segment("what", 0.1, 0.3), Segment("now", 0.35, 0.7))
PHONES = (Segment("W", 0.1, 0.15), Segment("AH", 0.15, 0.3), Segment("N", 0.35, 0.7))
IDS = [f"Ses01F_impro01_{end}" for end in ("F000", "M001", "F002")]


@pytest.fixture
def tree(empty_iemocap_tree: Any) -> Any:
    return empty_iemocap_tree.add("Ses01F_impro01", ["neu", "ang", "sad"])


@pytest.fixture
def folder(tree: Any, tmp_path: Path) -> Path:
    """The tree's alignments elsewhere; in the tree there are none."""
    place = tmp_path / "aligned"
    shutil.move(tree.path("wdseg", IDS[0]).parent.parent, place)
    return place


def test_a_folder_gives_words_and_phones(tree: Any, folder: Path) -> None:
    bare = corpora.load("iemocap", tree.root, progress=False)
    assert not any(u.words or u.phones for u in bare.utterances)
    corpus = corpora.load("iemocap", tree.root, alignments=folder, progress=False)
    assert [(u.words, u.phones) for u in corpus.utterances] == 3 * [(WORDS, PHONES)]
    assert corpus.skipped == bare.skipped and corpus.content != bare.content and corpus.fingerprint == bare.fingerprint
    for path in [*folder.glob("*/*seg")]:  # flat, as well
        path.rename(folder / path.with_suffix(path.suffix.upper()).name)
    (folder / ".half.part.wdseg").write_text("")
    assert with_alignments(bare, str(folder)).content == corpus.content


def test_what_is_wrong_is_listed(tree: Any, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = corpora.load("iemocap", tree.root, progress=False)
    before = len(corpus.skipped)
    place = folder / "Ses01F_impro01"
    (place / f"{IDS[0]}.phseg").unlink()
    (place / f"{IDS[1]}.wdseg").write_text("no alignment\n")
    shutil.copy(place / f"{IDS[2]}.wdseg", place / "stranger.wdseg")
    caplog.clear()
    found = with_alignments(corpus, folder)
    by_id = {u.id: (u.words, u.phones) for u in found.utterances}
    assert by_id == {IDS[0]: (WORDS, ()), IDS[1]: ((), PHONES), IDS[2]: (WORDS, PHONES)}
    damaged = (
        "alignment damaged, utterance kept without words: line 1: expected the header 'SFrm EFrm SegAScr ...', found"
    )
    assert found.skipped[before:] == [
        (str(folder / IDS[0]), "alignment missing, utterance kept without phones"),
        (str(place / f"{IDS[1]}.wdseg"), f"{damaged} 'no alignment'"),
        (str(folder), "alignments of 1 that are no utterance here, the first stranger; left out"),
    ]
    assert caplog.messages == [
        f"{folder}: 2 of 3 utterances without words or phones, listed in Corpus.skipped; first {folder / IDS[0]}:"
        " alignment missing, utterance kept without phones"
    ]
    part = corpus.select(IDS[2:])  # whoever asks for a part is not told of the rest twice
    assert with_alignments(part, folder).skipped[before:] == [
        (str(folder), f"alignments of 3 that are no utterance here, the first {IDS[0]}; left out")
    ]


def test_own_alignments_are_replaced(tree: Any, tmp_path: Path) -> None:
    corpus = corpora.load("iemocap", tree.root, progress=False)
    place = tmp_path / "other"
    place.mkdir()
    shutil.copy(tree.path("wdseg", IDS[1]), place)
    found = with_alignments(corpus, place)
    assert corpus[IDS[0]].words == found[IDS[1]].words == WORDS
    assert not (found[IDS[0]].words or found[IDS[0]].phones or found[IDS[1]].phones)


def test_folders_that_are_none(tree: Any, folder: Path, tmp_path: Path) -> None:
    corpus = corpora.load("iemocap", tree.root, progress=False)
    nowhere = tmp_path / "nowhere"
    with pytest.raises(FileNotFoundError) as caught:
        with_alignments(corpus, nowhere)
    told = "with alignments (ID.wdseg and ID.phseg); data_scripts/align.py makes one"
    assert str(caught.value) == f"no folder {nowhere} {told}"
    nowhere.mkdir()
    (nowhere / "a.wdseg").touch()
    with pytest.raises(ValueError) as caught:
        with_alignments(corpus, nowhere)
    assert str(caught.value) == (
        f"{nowhere}: expected ID.wdseg and ID.phseg of the 3 utterances of iemocap, such as {min(IDS)}.wdseg; found "
        "alignments of 1 others"
    )
    twice = folder / "again" / f"{IDS[0]}.wdseg"
    twice.parent.mkdir()
    twice.touch()
    with pytest.raises(ValueError) as caught:
        with_alignments(corpus, folder)
    first, second = folder / "Ses01F_impro01" / twice.name, twice
    assert str(caught.value) == f"{second}: a second alignment of {IDS[0]}, the first is {first}; keep one"
    recordings = Corpus("sewa", tmp_path, [], recordings=[Recording("a", "a", "train", tmp_path / "a.wav", 1.0, None)])
    with pytest.raises(ValueError, match="sewa has recordings, expected utterances: alignments of a folder are for"):
        with_alignments(recordings, folder)
