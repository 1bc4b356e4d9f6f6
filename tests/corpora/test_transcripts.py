from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from serlib import corpora
from serlib.corpora.corpus import Corpus, Utterance
from serlib.corpora.transcripts import (
    normalise,
    read_transcripts,
    with_transcripts,
    word_error_rate,
    word_error_rates,
)

GOOD = "id\ttext\nSes01F_impro01_F000\twhat now\nSes01F_impro01_M001\t\nSes01F_impro01_F002\tdéjà vu\n"


@pytest.mark.parametrize("content", [GOOD, GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD])
def test_read(tmp_path, content):
    path = tmp_path / "asr.tsv"
    path.write_bytes(content.encode())
    assert read_transcripts(path) == {
        "Ses01F_impro01_F000": "what now",
        "Ses01F_impro01_M001": "",
        "Ses01F_impro01_F002": "déjà vu",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "1: expected the header 'id<TAB>text', found ''"),
        (b"a\tone\n", r"1: expected the header 'id<TAB>text', found 'a\tone'"),
        (b"id\ttext\na one\n", "2: expected 'id<TAB>text' with exactly one tab, found 'a one'"),
        (b"id\ttext\na\tone\n\nb\ttwo\n", "3: expected 'id<TAB>text' with exactly one tab, found ''"),
        (b"id\ttext\na\tone\ttwo\n", r"2: expected 'id<TAB>text' with exactly one tab, found 'a\tone\ttwo'"),
        (b"id\ttext\na\tone\nb\ttwo\na\tone\n", "4: a second transcript of a, the first is in line 2; keep one"),
        (
            "id\ttext\n".encode("utf-16"),
            "1: expected text in UTF-8 or Windows-1252, found zero bytes (UTF-16, an archive or a damaged file); "
            "unpack it or save it as UTF-8",
        ),
    ],
)
def test_damaged_table(tmp_path, content, message):
    path = tmp_path / "asr.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_transcripts(path)
    assert str(caught.value) == f"{path}:{message}"


def test_table_in_windows_1252(tmp_path):
    path = tmp_path / "asr.tsv"
    path.write_bytes(b"id\ttext\na\tdon\x92t\n")
    assert read_transcripts(path) == {"a": "don’t"}


@pytest.fixture
def corpus(empty_iemocap_tree):
    empty_iemocap_tree.add("Ses01F_impro01", ["neu", "ang", "sad"])
    folder = empty_iemocap_tree.root / "transcripts"
    folder.mkdir()
    (folder / "asr-5.53.tsv").write_text(GOOD, encoding="utf-8")
    (folder / "asr-14.7.tsv").write_text("id\ttext\nSes01F_impro01_M001\tno\n")
    return corpora.load("iemocap", empty_iemocap_tree.root, progress=False)


def test_by_name_and_by_path(corpus):
    path = corpus.root / "transcripts" / "asr-5.53.tsv"
    expected = ["what now", "déjà vu", ""]
    assert [u.text for u in with_transcripts(corpus, "asr-5.53")] == expected
    assert [u.text for u in with_transcripts(corpus, str(path))] == expected
    assert [u.text for u in corpora.load("iemocap", corpus.root, transcripts=path, progress=False)] == expected
    assert [u.text for u in corpus] == ["What now?"] * 3


def test_unknown_name_lists_the_names(corpus):
    named = corpus.root / "transcripts" / "asr-9.tsv"
    with pytest.raises(FileNotFoundError) as caught:
        with_transcripts(corpus, "asr-9")
    assert str(caught.value) == (
        f"no transcripts 'asr-9': looked for {named} and asr-9; names available: asr-14.7, asr-5.53"
    )


def test_table_that_lacks_an_utterance(corpus):
    with pytest.raises(ValueError) as caught:
        with_transcripts(corpus, "asr-14.7")
    assert str(caught.value) == (
        f"{corpus.root / 'transcripts' / 'asr-14.7.tsv'}: 2 of 3 utterances have no transcript, the first is "
        "Ses01F_impro01_F000; expected one for every utterance (an empty one is allowed)"
    )


def test_words_as_recognisers_write_them() -> None:
    assert normalise("Well, I -- I can't. [BREATHING]") == ["well", "i", "i", "can't"]
    assert normalise("'Cause it’s a so-called _déjà_ vu; 'fine'") == [
        *("cause", "it's", "a", "so", "called"),
        *("déjà", "vu", "fine"),
    ]
    assert normalise("...") == []


def utterance(id: str, text: str, emotion: str | None, script: str | None = None) -> Utterance:
    return Utterance(id, id[:6], id[3:5], "d", False, emotion, None, text, Path("a.wav"), 1.0, script=script)


def test_error_rates_by_every_group() -> None:
    own = [
        utterance("Ses01F_0", "Can not!", "sad"),
        utterance("Ses01M_1", "[LAUGHTER] I", "sad", "script01"),
        utterance("Ses02F_2", "Oh.", "angry"),
        utterance("Ses02F_3", "b b", None),
        utterance("Ses03F_4", "[BREATHING]", None),
    ]
    heard = {"Ses01F_0": "can not", "Ses01M_1": "i ss", "Ses02F_2": "", "Ses02F_3": "b", "Ses03F_4": "huh"}
    found = word_error_rates(Corpus("iemocap", Path("."), own), heard)
    # "i" was heard as "i ss", "oh" not at all, "b b" as "b", a breath as "huh"
    assert found["all"] == {
        **{"wer": 4 / 6, "words": 6, "substitutions": 0, "deletions": 2, "insertions": 2},
        **{"utterances": 5, "empty": 1},
    }
    rates = {group: {name: of["wer"] for name, of in found[group].items()} for group in found if group != "all"}
    assert rates == {
        "emotions": {"angry": 1, "sad": 1 / 3},
        "speakers": {"Ses01F": 0, "Ses01M": 1, "Ses02F": 2 / 3, "Ses03F": None},
        "sessions": {"01": 1 / 3, "02": 2 / 3, "03": None},
        "scripts": {"script01": 1},
    }


def test_error_rates_of_speakers_whom_nobody_knows() -> None:
    own = [replace(utterance(f"{n}", "no", "sad"), speaker="", session="") for n in range(2)]
    found = word_error_rates(Corpus("table-my-0", Path("."), own), {"0": "no", "1": "oh"})
    assert (found["all"]["wer"], found["speakers"], found["sessions"]) == (0.5, {}, {})


def test_error_rates_of_ravdess_by_intensity() -> None:
    ids = ("03-01-05-01-01-01-01", "03-01-05-02-01-01-01")
    own = [utterance(id, "Kids are talking by the door", "angry", "statement01") for id in ids]
    heard = {ids[0]: "kids are talking by the door", ids[1]: "kids are by the floor"}
    found = word_error_rates(Corpus("ravdess", Path("."), own), heard)
    assert {name: of["wer"] for name, of in found["intensities"].items()} == {"normal": 0, "strong": 2 / 6}


def test_error_rate_of_a_table(empty_iemocap_tree):
    corpus = corpora.load("iemocap", empty_iemocap_tree.add("Ses01F_impro01", ["neu", "sad"]).root, progress=False)
    path = corpus.root / "heard.tsv"
    path.write_text("id\ttext\nSes01F_impro01_F000\twhat now\nSes01F_impro01_M001\twhat\n")
    assert word_error_rate(corpus, path) == 1 / 4
    silent = corpus.with_texts({u.id: "" for u in corpus})
    assert word_error_rate(silent, path) is None
