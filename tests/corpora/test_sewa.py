"""Recordings in AVEC 2017's layout: as generated, as SEWA has them, and broken in every way that a file can be."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serlib import corpora
from serlib.corpora import conversations, sewa
from serlib.corpora.corpus import Segment, Skip
from serlib.protocols import PROTOCOLS

SENTENCES = [(0.2, 1.2, "Well, that's a song."), (1.5, 2.5, "Schöne Müllerin, <laughter> ja!")]
NAMES = ("Train_01", "Train_02", "Devel_01", "Test_01")


class Sewa:
    """A tree in AVEC 2017's layout, three seconds a recording; `change` what should be wrong."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in NAMES:
            self.path("audio", name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(self.path("audio", name), np.zeros(3 * 22_050), 22_050, subtype="PCM_16")
            rows = [f"{name};{i / 10:.1f};{i / 100:.2f};-0.5;{0.3 - i / 100:.2f}" for i in range(30)]
            self.write("labels", name, ["name;time;arousal;valence;liking", *rows])
            self.write("transcriptions", name, [f"{start};{end};'{text}'" for start, end, text in SENTENCES])
            self.write("turns", name, ["0.2;1.2", "1.5;2.5"])

    def path(self, folder: str, name: str) -> Path:
        return self.root / folder / f"{name}{'.wav' if folder == 'audio' else '.csv'}"

    def write(self, folder: str, name: str, lines: list[str], encoding: str = "utf-8") -> None:
        path = self.path(folder, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([*lines, ""]), encoding=encoding)

    def change(self, folder: str, name: str, old: str, new: str) -> None:
        """Replace a piece of a file that must be there once."""
        text = self.path(folder, name).read_text()
        assert text.count(old) == 1
        self.path(folder, name).write_text(text.replace(old, new))


@pytest.fixture
def tree(tmp_path) -> Sewa:
    return Sewa(tmp_path / "AVEC2017_SEWA")


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("conversations") / "corpus"
    conversations.make_if_absent(root, subjects=8, seconds=15.0, progress=False)
    return root


def read(tree: Sewa, **options: object) -> corpora.Corpus:
    return sewa.read(tree.root, progress=False, **options)


def message(tree: Sewa) -> str:
    with pytest.raises(ValueError) as caught:
        read(tree)
    return str(caught.value).replace(f"{tree.root}/", "")


def test_whole_tree(tree):
    corpus = read(tree)
    assert [one.id for one in corpus] == sorted(NAMES)
    assert (corpus.name, corpus.skipped, corpus.utterances, corpus.synthetic) == ("sewa", [], [], False)
    one = corpus["Train_02"]
    assert (one.speaker, one.partition, one.duration, one.hop) == ("Train_02", "train", 3.0, 0.1)
    assert one.audio.is_file() and one.labels.dtype == np.float32
    assert one.labels == pytest.approx(np.array([[i / 100, -0.5, 0.3 - i / 100] for i in range(30)]))
    assert one.turns == (Segment("subject", 0.2, 1.2), Segment("subject", 1.5, 2.5))
    assert one.text == "Well, that's a song. Schöne Müllerin, <laughter> ja!"
    assert corpus.info == {"words": {"aligned": 0, "spread": 4, "none": 0}, "tags": {"<laughter>": 4}, "lag": 0.0}


def test_words_share_a_sentence_by_letters_and_tags_take_time(tree):
    words = read(tree)["Train_01"].words
    letters = [("well", 4), ("that's", 5), ("a", 1), ("song", 4)]
    clock = 0.2
    for word, (text, count) in zip(words, letters, strict=False):
        assert word == (text, pytest.approx(clock), pytest.approx(clock + count / 14))
        clock += count / 14
    assert words[4:] == (
        Segment("schöne", 1.5, 1.75),
        Segment("müllerin", 1.75, round(1.5 + 14 / 24, 6)),
        Segment("ja", round(1.5 + 22 / 24, 6), 2.5),
    )


def test_an_alignment_tells_when_words_are_spoken(tree):
    for name in NAMES[:3]:
        tree.write("words", name, ["start;end;word", "0.25;0.5;Well,", "0.5;0.7;<filler>", "0.7;1.1;That's"])
    corpus = read(tree)
    assert corpus["Train_01"].words == (Segment("well", 0.25, 0.5), Segment("that's", 0.7, 1.1))
    assert corpus.info["words"] == {"aligned": 3, "spread": 1, "none": 0}
    assert corpus.skipped == [
        Skip("words/Test_01.csv", "missing; the words of Test_01 spread over their sentences by letters")
    ]


def test_a_lag_moves_labels_back_and_shortens_them(tree):
    whole, early = read(tree), read(tree, lag=0.52)
    assert np.array_equal(early["Devel_01"].labels, whole["Devel_01"].labels[5:])
    assert early.info["lag"] == 0.52 and early.content != whole.content
    with pytest.raises(ValueError, match=r"Devel_01\.csv: 3\.0 s of labels, too few for a lag of 2\.9 s"):
        read(tree, lag=2.9)
    for lag in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=f"lag is {lag}; expected seconds, 0 or more"):
            read(tree, lag=lag)


@pytest.mark.parametrize("content", [None, "NaN", "?", ""])
def test_withheld_test_labels(tree, content):
    if content is None:
        tree.path("labels", "Test_01").unlink()
    else:
        tree.write("labels", "Test_01", [f"Test_01;{i / 10};{content};{content};{content}" for i in range(30)])
    corpus = read(tree)
    assert corpus["Test_01"].labels is None and corpus.skipped == []
    (split,) = PROTOCOLS["partitions"](corpus)
    assert (split.train, split.dev, split.test) == (["Train_01"], ["Train_02"], ["Devel_01"])


def test_what_a_recording_does_without_is_counted(tree, caplog):
    for folder in ("labels", "transcriptions", "turns"):
        tree.path(folder, "Train_02").unlink()
    tree.path("audio", "Devel_01").unlink()
    corpus = read(tree)
    one = corpus["Train_02"]
    assert (one.labels, one.text, one.words, one.turns) == (None, "", (), ())
    no_sound = "Devel_01 has no sound file audio/Devel_01.wav; left out"
    assert corpus.skipped == [
        Skip("transcriptions/Train_02.csv", "missing; Train_02 kept without text"),
        Skip("turns/Train_02.csv", "missing; Train_02 kept without turns"),
        Skip("labels/Train_02.csv", "missing; Train_02 kept without labels"),
        *(Skip(f"{folder}/Devel_01.csv", no_sound) for folder in ("labels", "transcriptions", "turns")),
    ]
    assert corpus.info["words"] == {"aligned": 0, "spread": 2, "none": 1}
    assert "only part of the corpus, no recordings of devel" in caplog.text
    assert (
        "6 things are missing or left out, listed in Corpus.skipped; first transcriptions/Train_02.csv" in caplog.text
    )


def test_odd_files_are_ignored_or_counted(tree):
    for folder in ("audio", "labels", "turns"):
        (tree.root / folder / f"._Train_01{tree.path(folder, '').suffix}").write_bytes(b"\0\5\26\7")
    (tree.root / "labels" / "README.txt").touch()
    (tree.root / "labels" / "Trial_01.csv").touch()
    tree.path("audio", "Train_02").write_bytes(b"")
    corpus = read(tree)
    assert len(corpus) == 3
    assert corpus.skipped == [
        Skip("labels/Trial_01.csv", "expected a name like Train_01.csv; left out"),
        Skip("audio/Train_02.wav", "expected a sound file, found an empty one; Train_02 left out"),
    ]


def test_names_in_another_case(tree):
    tree.path("audio", "Train_01").rename(tree.root / "audio" / "train_01.WAV")
    tree.path("turns", "Train_01").rename(tree.root / "turns" / "TRAIN_01.CSV")
    corpus = read(tree)
    assert corpus.skipped == [] and len(corpus["Train_01"].turns) == 2
    shutil.copy(tree.path("audio", "Train_02"), tree.path("audio", "Train_01"))
    assert message(tree) == "audio/train_01.WAV: a second file of Train_01, beside Train_01.wav"


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2)])
def test_other_sampling_rates_are_accepted(tree, rate, channels):
    soundfile.write(tree.path("audio", "Train_01"), np.zeros((3 * rate, channels)), rate, subtype="PCM_16")
    assert read(tree)["Train_01"].duration == 3.0


@pytest.mark.parametrize(("seconds", "frames"), [(2.0, 20), (2.95, 30), (3.9, 30)])
def test_sound_a_little_shorter_or_longer_than_its_labels(tree, seconds, frames):
    tree.write("turns", "Train_01", ["0.2;1.2"])
    soundfile.write(tree.path("audio", "Train_01"), np.zeros(round(seconds * 22_050)), 22_050, subtype="PCM_16")
    assert len(read(tree)["Train_01"].labels) == frames


@pytest.mark.parametrize("seconds", [1.8, 4.2])
def test_sound_much_shorter_or_longer_than_its_labels(tree, seconds):
    soundfile.write(tree.path("audio", "Train_01"), np.zeros(round(seconds * 22_050)), 22_050, subtype="PCM_16")
    assert message(tree) == (
        f"labels/Train_01.csv: 3.0 s of labels, but the sound lasts {seconds} s; expected the same to within 1 s"
    )


ROW = "Train_01;1.0;0.10;-0.5;0.20\n"
LATE = "12: expected the time 1.0, since rows are 0.1 s apart; found"
FORM = {"labels": "name;time;arousal;valence;liking", "transcriptions": "start;end;text", "turns": "start;end"}


@pytest.mark.parametrize(
    ("folder", "old", "new", "expected"),
    [
        ("labels", ROW, "Train_01;1.0\n", "12: expected name;time;arousal;valence;liking, found 'Train_01;1.0'"),
        ("labels", ROW, ROW.replace("0.20", "0.2;1"), "12: expected a label, found '0.2;1'"),
        ("labels", ROW, ROW.replace("1.0;", "one;"), "12: expected a time, found 'one'"),
        ("labels", ROW, ROW.replace("1.0;", "nan;"), "12: expected a time, found 'nan'"),
        ("labels", ROW, "", f"{LATE} 1.1"),
        ("labels", ROW, ROW.replace("1.0;", "0.8;"), f"{LATE} 0.8"),
        ("labels", "01;0.0;", "01;5.0;", "2: expected the time 0 or 0.1, found 5.0"),
        ("labels", ROW, ROW.replace("_01", "_02"), "12: expected labels of Train_01, found 'Train_02'"),
        ("labels", ROW, ROW.replace("-0.5", "NaN"), "12: expected valence between -1 and 1, found 'NaN'"),
        ("labels", ROW, ROW.replace("-0.5", ""), "12: expected valence between -1 and 1, found ''"),
        ("labels", ROW, ROW.replace("0.20", "57"), "12: expected liking between -1 and 1, found '57'"),
        ("labels", ROW, ROW.replace("0.10", "-inf"), "12: expected arousal between -1 and 1, found '-inf'"),
        ("labels", "arousal;valence", "valence;arousal", f"1: expected {FORM['labels']} as header, or a row of "
         "numbers; found 'name;time;valence;arousal;liking'"),
        ("turns", "0.2;1.2", "0.2", "1: expected start;end, found '0.2'"),
        ("turns", "0.2;1.2", "0.2;", "1: expected a time, found ''"),
        ("turns", "1.5;2.5", "2.5;1.5", "2: expected a start after that of the row before (0.2 s) and an end after it, "
         "within the sound's 3.00 s; found 2.5 to 1.5"),
        ("turns", "0.2;1.2", "1.6;1.8", "2: expected a start after that of the row before (1.6 s) and an end after it, "
         "within the sound's 3.00 s; found 1.5 to 2.5"),
        ("turns", "1.5;2.5", "1.5;9", "2: expected a start after that of the row before (0.2 s) and an end after it, "
         "within the sound's 3.00 s; found 1.5 to 9"),
        ("transcriptions", ", <laughter> ja!'", "", "2: expected quotes around the text, found \"'Schöne Müllerin\"; "
         "the line is cut off"),
        ("transcriptions", "'Schöne", '"Schöne', "2: expected quotes around the text, found "
         "'\"Schöne Müllerin, <laughter> ja!\\''; the line is cut off"),
        ("transcriptions", "1.5;2.5;", "1.5;", "2: expected start;end;text, found "
         "\"1.5;'Schöne Müllerin, <laughter> ja!'\""),
    ],
)  # fmt: skip
def test_damaged_rows_stop_the_reader(tree, folder, old, new, expected):
    tree.change(folder, "Train_01", old, new)
    assert message(tree) == f"{folder}/Train_01.csv:{expected}"


@pytest.mark.parametrize("folder", ["labels", "transcriptions", "turns"])
def test_files_without_rows_stop_the_reader(tree, folder):
    tree.path(folder, "Train_01").write_bytes(b"\n \n")
    assert message(tree) == f"{folder}/Train_01.csv: expected {FORM[folder]}, found an empty file"
    tree.write(folder, "Train_01", [FORM[folder]])
    assert message(tree) == f"{folder}/Train_01.csv: expected {FORM[folder]}, found a header alone"
    tree.write(folder, "Train_01", [FORM[folder]], encoding="utf-16")
    assert message(tree) == (
        f"{folder}/Train_01.csv:1: expected text in UTF-8 or Windows-1252, found zero bytes (UTF-16, an "
        "archive or a damaged file); unpack it or save it as UTF-8"
    )


def test_a_tree_of_another_layout_is_refused(tree, tmp_path):
    (tree.root / "labels").rename(tree.root / "label")
    with pytest.raises(ValueError) as caught:
        read(tree)
    assert str(caught.value) == (
        f"{tree.root} is not in the layout of AVEC 2017: expected the folders audio, labels, transcriptions, turns; "
        "missing labels; found audio, label, transcriptions, turns"
    )
    for folder in sewa.FOLDERS:
        (tmp_path / "empty" / folder).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"empty: expected recordings such as audio/Train_01\.wav, found none$"):
        sewa.read(tmp_path / "empty")


def rewrite(root: Path, folder: str, change: Callable[[list[list[str]]], str], encoding: str = "utf-8") -> None:
    """Write all files of a folder anew, given their rows of fields without a header."""
    for path in sorted((root / folder).iterdir()):
        columns = len(sewa.COLUMNS[folder])
        rows = [line.split(";", columns - 1) for line in path.read_text().splitlines()]
        path.write_bytes(change([row for row in rows if row[0] != "name"]).encode(encoding))


def test_the_same_corpus_written_otherwise(generated, tmp_path):
    """Commas, quotes, headers, line ends, encodings, case: all that another program might have chosen."""
    root = tmp_path / "other"
    shutil.copytree(generated, root, ignore=shutil.ignore_patterns("*.json", "latents", "words", "c*.csv", "lex*.csv"))
    rewrite(root, "labels", lambda rows: "\r\n".join(f'"{row[0]}",{",".join(row[1:])}' for row in rows))
    rewrite(root, "turns", lambda rows: "Start,End\n" + "\n".join(",".join(row) for row in rows), "utf-8-sig")

    def quoted(rows: list[list[str]]) -> str:
        texts = [text[1:-1].replace('"', '""') for _, _, text in rows]
        lines = [f'{start},{end},"Grüße; {text}"' for (start, end, _), text in zip(rows, texts, strict=True)]
        return "\n\n".join(lines) + "\n"

    rewrite(root, "transcriptions", quoted, "cp1252")
    for path in (root / "labels").glob("Test_*"):
        path.unlink()
    for path in sorted((root / "audio").iterdir()):
        path.rename(path.with_name(path.name.lower().replace(".wav", ".WAV")))

    ours, other = (corpora.load("sewa", folder, progress=False) for folder in (generated, root))
    assert (ours.name, ours.synthetic, other.name, other.synthetic) == ("conversations", True, "sewa", False)
    assert ours.skipped == other.skipped == []
    assert ours.info["tags"] == other.info["tags"]
    for one, two in zip(ours, other, strict=True):
        assert (one.id, one.partition, one.duration, one.turns) == (two.id, two.partition, two.duration, two.turns)
        assert two.labels is None if one.partition == "test" else np.array_equal(one.labels, two.labels)
        assert two.text.replace("Grüße; ", "") == one.text
        spread = [word.label for word in two.words if word.label != "grüße"]
        assert spread == [word.label for word in one.words]
        assert [s.end for s in two.words][-1] <= two.duration


def test_words_that_are_spread_lie_near_those_that_are_aligned(generated, tmp_path):
    root = tmp_path / "bare"
    shutil.copytree(generated, root, ignore=shutil.ignore_patterns("words"))
    aligned, spread = (conversations.read(folder, progress=False) for folder in (generated, root))
    assert spread.info["words"] == {"aligned": 0, "spread": 8, "none": 0}
    apart = [
        a.start - b.start for x, y in zip(aligned, spread, strict=True) for a, b in zip(x.words, y.words, strict=True)
    ]
    assert np.abs(apart).mean() < 0.15


def test_generated_tree_is_read_whole(generated):
    corpus = corpora.load("conversations", generated, progress=False)
    assert corpus.skipped == [] and corpus.info["words"]["aligned"] == 8
    cues = conversations.read_cues(generated)
    assert list(cues.index) == [one.id for one in corpus] and set(cues.held_back) <= {"", "text", "voice"}
    for one in corpus:
        latents = conversations.read_latents(generated, one.id)
        assert len(latents) == len(one.labels) and abs(len(one.labels) * one.hop - one.duration) < 0.1
        assert latents.filter(like="text").notna().any(axis=None) == (cues.held_back[one.id] != "text")
        assert latents.filter(like="voice").notna().any(axis=None) == (cues.held_back[one.id] != "voice")
        assert cues.partner[cues.partner[one.id]] == one.id
    words = conversations.read_lexicon(generated)
    assert words.loc["wonderful"].tolist() == ["quality", "valence", 0.7] and np.isnan(words.loc["a", "value"])
    assert conversations.read_ceilings(generated)["devel"]["recordings"] == 2


def test_damaged_or_absent_extras(generated, tree, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"cues\.csv is missing: only a corpus of conversations has it; make one"
    ):
        conversations.read_cues(tree.root)
    with pytest.raises(FileNotFoundError, match="holds no complete corpus of conversations") as caught:
        corpora.load("conversations", tree.root)
    assert str(caught.value).endswith(
        "python data_scripts/make_conversations.py --subjects 64 --seconds 80.0 --out FOLDER"
    )
    root = tmp_path / "damaged"
    shutil.copytree(generated, root, ignore=shutil.ignore_patterns("audio"))
    about = json.loads((root / "corpus.json").read_text())
    assert about.pop("digests").keys() == {"corpus.json", "cues.csv", "lexicon.csv", "ceilings.json"}
    (root / "corpus.json").write_text(json.dumps(about))  # as in corpora of earlier versions
    for name, content, how in (
        ("cues.csv", "id,held_back\n", lambda: conversations.read_cues(root)),
        ("lexicon.csv", "word,class,dimension,value\na,b,valence,high\n", lambda: conversations.read_lexicon(root)),
        ("latents/Train_01.csv", "time;arousal\n0.0;1\n", lambda: conversations.read_latents(root, "Train_01")),
        ("latents/Train_02.csv", 0.5, lambda: conversations.read_latents(root, "Train_02")),
        ("ceilings.json", "[]", lambda: conversations.read_ceilings(root)),
    ):
        whole = (root / name).read_text().splitlines(keepends=True)
        half = "".join(whole[: len(whole) // 2])
        (root / name).write_text(half if content == 0.5 else content)
        with pytest.raises(ValueError, match=rf"{re.escape(name)} is damaged: expected .*make the corpus again"):
            how()


def test_conversations_are_made_on_first_use(generated, monkeypatch, tmp_path):
    from data_scripts import make_conversations

    calls = []

    def make(root, *, subjects, seconds, seed, jobs, progress):
        calls.append((root, subjects, seconds, seed))
        shutil.copytree(generated, root, dirs_exist_ok=True)
        about = json.loads((root / "corpus.json").read_text()) | {"subjects": subjects, "seconds": seconds}
        del about["digests"]  # which are those of the smaller one
        (root / "corpus.json").write_text(json.dumps(about))

    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path))
    monkeypatch.delenv("SERLIB_CONVERSATIONS", raising=False)
    monkeypatch.setattr(make_conversations, "make", make)
    for _ in range(2):
        assert len(corpora.load("conversations", lag=2.0, progress=False)) == 8
    assert calls == [(tmp_path / "conversations", 64, 80.0, 0)]


def test_other_corpora_have_no_lag(tmp_path):
    with pytest.raises(ValueError, match=r"lag is 2\.0, but ravdess has no labels over time to shift"):
        corpora.load("ravdess", tmp_path, lag=2.0)


def test_absent_sewa_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SERLIB_SEWA", str(tmp_path / "nowhere"))
    with pytest.raises(
        FileNotFoundError, match=r"from the environment variable SERLIB_SEWA\)\. SEWA, as AVEC 2017 has it"
    ):
        corpora.load("sewa")
