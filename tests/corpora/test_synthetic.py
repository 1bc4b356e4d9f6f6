from __future__ import annotations

import json
import re
import shutil
import sys

import pytest

from data_scripts.make_synthetic import VERSION
from serlib import corpora
from serlib.corpora import synthetic as reader

CUES = """id,emotion,item,words,voice,stressed,decoy,line
a,angry,plain,shared,angry,,,script01_1:12
b,sad,emphasis,sad|happy,neutral,4,9,
"""


def test_generated_tree_is_read_whole(synthetic_root):
    corpus = corpora.load("synthetic", synthetic_root, progress=False)
    cues = reader.read_cues(synthetic_root)
    ceilings = reader.read_ceilings(synthetic_root)
    assert corpus.name == "synthetic"
    assert corpus.skipped == []
    assert len(corpus) == reader.about(synthetic_root)["utterances"] == 200
    four = corpus.four_class()
    assert dict(zip(cues.index, cues.emotion, strict=True)) == {u.id: u.emotion for u in four}
    for u in corpus:
        assert u.words
        assert u.phones
        assert u.words[-1].end <= u.duration + 0.02
    assert ceilings["emphasis"]["aligned"]["accuracy"] > ceilings["emphasis"]["both"]["accuracy"]


def test_transcripts_come_with_it(synthetic_root):
    corpus = corpora.load("synthetic", synthetic_root, progress=False)
    heard = corpora.load("synthetic", synthetic_root, transcripts="asr-14.7", progress=False)
    assert [u.id for u in heard] == [u.id for u in corpus]
    assert [u.text for u in heard] != [u.text for u in corpus]


MARKER = '{"name": "synthetic", "utterances": 2, "seed": 0, "lexicon": 1}'


def test_cues(tmp_path):
    (tmp_path / "cues.csv").write_text(CUES)
    (tmp_path / "corpus.json").write_text(MARKER)
    cues = reader.read_cues(tmp_path)
    assert cues.loc["b", "stressed"] == 4
    assert cues.decoy.isna().tolist() == [True, False]
    assert cues.loc["a"].drop(["stressed", "decoy"]).tolist() == ["angry", "plain", "shared", "angry", "script01_1:12"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", f"expected the columns {', '.join(reader.CUES)}, found none"),
        ("id,emotion\na,sad\n", f"expected the columns {', '.join(reader.CUES)}, found id, emotion"),
        (CUES.splitlines()[0], "expected 2 rows, found 0"),
        (CUES[: CUES.index("b,")], "expected 2 rows, found 1"),
        (CUES[:-5], "row 2 has 6 fields, expected 8"),
        (CUES.replace(",4,9,", ",four,9,"), "Unable to parse string "),
        (CUES.replace(",4,9,", ",-7,9,"), "expected the index of a word as stressed of b, found -7"),
        (CUES.replace(",4,9,", ",4,1000,"), "expected the index of a word as decoy of b, found 1000"),
        (CUES.replace("a,angry", "a,anfry"), "expected emotion of a among angry, happy, neutral, sad, found 'anfry'"),
        (CUES.replace("\nb,", "\na,"), "two rows for a"),
    ],
)
def test_damaged_cues(tmp_path, content, message):
    path = tmp_path / "cues.csv"
    path.write_text(content)
    (tmp_path / "corpus.json").write_text(MARKER)
    with pytest.raises(
        ValueError, match=f"{re.escape(str(path))} is damaged: {re.escape(message)}.*make the corpus again"
    ):
        reader.read_cues(tmp_path)


@pytest.mark.parametrize("name", ["cues.csv", "lexicon.csv", "ceilings.json"])
def test_what_only_the_generator_knows_cannot_be_changed(tmp_path, synthetic_root, name):
    """One letter or digit, for another that might stand there."""
    for file in ("corpus.json", name):
        shutil.copy(synthetic_root / file, tmp_path / file)
    read = {"cues.csv": reader.read_cues, "lexicon.csv": reader.read_lexicon, "ceilings.json": reader.read_ceilings}
    assert len(read[name](tmp_path)) > 1
    path, whole = tmp_path / name, (tmp_path / name).read_text()
    letters = {"cues.csv": ("script01_1", "script01_2"), "lexicon.csv": ("a", "e"), "ceilings.json": ("7", "3")}
    path.write_text(whole.replace(*letters[name], 1))
    assert path.read_text() != whole
    said = rf"{re.escape(str(path))} is damaged: it was changed since it was made \(corpus\.json tells\); make the"
    with pytest.raises(ValueError, match=said):
        read[name](tmp_path)


def test_lexicon(tmp_path, synthetic_root):
    assert len(reader.read_lexicon(synthetic_root)) == reader.about(synthetic_root)["lexicon"]
    (tmp_path / "corpus.json").write_text(MARKER)
    (tmp_path / "lexicon.csv").write_text(",".join(reader.LEXICON))
    with pytest.raises(ValueError, match=r"lexicon\.csv is damaged: expected 1 rows, found 0; make the corpus again"):
        reader.read_lexicon(tmp_path)


@pytest.mark.parametrize("score", ["17.68", "NaN", '"0.9"', "null"])
def test_damaged_ceilings(tmp_path, score):
    path = tmp_path / "ceilings.json"
    path.write_text(f'{{"all": {{"size": 200, "text": {{"accuracy": 0.5, "ua": {score}}}}}}}')
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is damaged: expected ua from -1 to 1, found "):
        reader.read_ceilings(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting property name"),
        ("[1]", "expected an object with name, utterances, seed"),
        ("{}", "expected an object with"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_damaged_marker(tmp_path, content, message):
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(ValueError, match=f"corpus.json is damaged: {message}"):
        reader.about(tmp_path)


def test_human_corpus_has_no_cues(iemocap_tree):
    message = "cues.csv is missing: only a synthetic corpus has it"
    with pytest.raises(FileNotFoundError, match=message):
        reader.read_cues(iemocap_tree.root)


@pytest.mark.parametrize(
    ("there", "described"),
    [
        ({"utterances": 100, "seed": 7, "generator": VERSION}, f"utterances 100, seed 7, generator {VERSION}"),
        ({"utterances": 2000, "seed": 0, "generator": -1}, "utterances 2000, seed 0, generator -1"),
    ],
)
def test_folder_with_another_corpus_is_not_overwritten(tmp_path, there, described):
    (tmp_path / "corpus.json").write_text(json.dumps({"name": "synthetic"} | there))
    with pytest.raises(ValueError) as caught:
        reader.make_if_absent(tmp_path, 2000)
    assert str(caught.value) == (
        f"{tmp_path}: expected utterances 2000, seed 0, generator {VERSION}, found {described}; "
        "remove the folder or name another"
    )


def test_generator_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "data_scripts", None)
    root = tmp_path / "synthetic"
    with pytest.raises(RuntimeError) as caught:
        reader.make_if_absent(root, 50)
    assert str(caught.value) == (
        f"cannot make the synthetic corpus in {root}: import of data_scripts halted; None in sys.modules; run this "
        "from a clone of the project, or make the corpus there (python data_scripts/make_synthetic.py --utterances 50 "
        f"--out {root})"
    )
