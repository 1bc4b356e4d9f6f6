"""Tables that people make: read in every form, refused with the row that is wrong; four corpora by the lines of the
page.
"""

from __future__ import annotations

import gzip
import io
import itertools
import re
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile

from serlib import corpora, features, protocols, runs, tables
from serlib.corpora.corpus import Skip

ROOT = Path(__file__).resolve().parents[2]
RATE = 16_000
FORMATS = ("wav", "flac", "ogg", "mp3", "aiff", "au")
LOSSLESS = ("wav", "flac", "aiff", "au")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SERLIB_TABLE", raising=False)


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * rate))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.wav to f.wav, half a second each, and a table of them, `my.csv`."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for n, name in enumerate("abcdef"):
        soundfile.write(folder / f"{name}.wav", noise(0.5, n), RATE)
    rows = [f"{name}.wav,{'angry' if n % 2 else 'sad'},S{n % 3},Hello {name}." for n, name in enumerate("abcdef")]
    (folder / "my.csv").write_text("path,emotion,speaker,text\n" + "\n".join(rows) + "\n")
    return folder


def load(folder: Path, table: str | bytes | None = None, name: str = "my.csv", **options) -> corpora.Corpus:
    if table is not None:
        (folder / name).write_bytes(table if isinstance(table, bytes) else table.encode())
    return corpora.load("table", folder / name, progress=False, **options)


def test_defaults(folder):
    corpus = load(folder)
    assert re.fullmatch(r"table-my-[0-9a-f]{6}", corpus.name)
    assert (corpus.root, corpus.classes, corpus.skipped) == (folder, ("angry", "sad"), [])
    assert not corpus.synthetic
    u = corpus["b"]
    assert (u.speaker, u.session, u.dialogue, u.emotion, u.text) == ("S1", "S1", "S1", "angry", "Hello b.")
    assert (u.audio, u.duration, u.scripted, u.script, u.partition) == (folder / "b.wav", 0.5, False, None, None)
    assert corpora.load("table", folder, progress=False).name == corpus.name  # the folder that holds it
    bare = load(folder, "path,emotion\na.wav,x\nb.wav,y\nc.wav,x\nd.wav,y\n")
    assert {(u.speaker, u.session, u.text) for u in bare} == {("", "", "")}
    assert [u.dialogue for u in bare] == list("abcd")


def test_absent_table_says_how_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        corpora.load("table", tmp_path / "my.csv")
    assert str(caught.value) == (
        f"no table {tmp_path}/my.csv (given as root). Write one (CSV, TSV or Parquet): a row per utterance, the columns"
        " path and emotion; then pass it as root or set SERLIB_TABLE to it"
    )
    with pytest.raises(ValueError, match="labels are for the corpus table; those of ravdess are known"):
        corpora.load("ravdess", labels={"a": "b"})


FULL = pd.DataFrame(
    {
        "path": ["a.wav", "b.wav", "long/c.wav", "long/c.wav"],
        "emotion": ["angry", "sad", "angry", "sad"],
        "id": ["one", "two", "three", "four"],
        "text": ['She said: "No; never,"\nand left.', "Größe, Ärger", "nan", "tab\tin it"],
        "speaker": [1001, 1002, 1001, 1002],
        "session": ["1", "2", "1", "2"],
        "dialogue": ["d1", "d2", "d1", "d2"],
        "start": [None, None, 0.25, 1],
        "end": [None, 0.5, 0.75, None],
        "split": ["train", "Test", "val", None],
    }
)
WAYS = {
    "my.csv": lambda path: FULL.to_csv(path, index=False),
    "my.tsv": lambda path: FULL.to_csv(path, index=False, sep="\t"),
    "semicolons/my.csv": lambda path: FULL.to_csv(path, index=False, sep=";"),
    "bom/my.csv": lambda path: FULL.to_csv(path, index=False, encoding="utf-8-sig"),
    "windows/my.csv": lambda path: FULL.to_csv(path, index=False, encoding="cp1252", lineterminator="\r\n"),
    "capitals/my.csv": lambda path: FULL.rename(columns=str.title).to_csv(path, index=False, quoting=1),
    "index/my.csv": lambda path: FULL.to_csv(path),  # with a column of numbers that has no name
    "my.parquet": lambda path: FULL.to_parquet(path),
}


def test_every_way_to_write_a_table_gives_the_same_corpus(folder):
    read = {}
    soundfile.write(folder / "c.wav", noise(2.0), RATE)
    for way, write in WAYS.items():
        path = folder / "ways" / way
        (path.parent / "long").mkdir(parents=True, exist_ok=True)
        for name, target in (("a.wav", "a.wav"), ("b.wav", "b.wav"), ("c.wav", "long/c.wav")):
            (path.parent / target).write_bytes((folder / name).read_bytes())
        write(path)
        read[way] = corpora.load("table", path, progress=False)
    one = read["my.csv"]
    u = one["one"]
    assert (u.text, u.speaker, u.session, u.dialogue, u.partition) == (FULL["text"][0], "1001", "1", "d1", "train")
    assert [u.partition for u in one] == [None, "train", "devel", "test"]
    assert [u.duration for u in one] == [1.0, 0.5, 0.5, 0.5]
    assert one["three"].text == "nan"
    for way, corpus in read.items():
        assert (corpus.name, corpus.content, corpus.info["ignored"]) == (one.name, one.content, []), way


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_reaches_the_features(folder, form):
    rows = ["path,emotion"]
    for n, name in enumerate("abcd"):
        sound, _ = soundfile.read(folder / f"{name}.wav")
        soundfile.write(folder / f"{name}.{form}", sound, RATE)
        rows.append(f"{name}.{form},{'xy'[n % 2]}")
    corpus = load(folder, "\n".join(rows))
    assert [u.duration for u in corpus] == pytest.approx([0.5] * 4, abs=0.05)
    for feature in ("mfcc", "prosody"):
        table = features.extract(corpus, feature, jobs=1, progress=False)
        if form in LOSSLESS:
            expected = features.FEATURES[feature].extract(features.read_waveform(folder / "a.wav"))
            np.testing.assert_array_equal(table["a"], expected)
        assert np.isfinite(table["a"]).all()


@pytest.mark.parametrize(("form", "subtype"), [("wav", "PCM_16"), ("flac", "PCM_24"), ("wav", "FLOAT"), ("ogg", None)])
def test_a_stretch_of_a_longer_file_is_cut_without_loss_and_always_alike(folder, monkeypatch, form, subtype):
    soundfile.write(folder / f"long.{form}", noise(3.0).reshape(-1, 1).repeat(2, axis=1), RATE, subtype)
    rows = "long,x,,1\nlong,y,1,2.5\nlong,x,2.5,3.04\nlong,y,0.1,2\n".replace("long", f"long.{form}")
    corpus = load(folder, f"path,emotion,start,end\n{rows}")
    assert [u.id for u in corpus] == [
        *("long_0.000-1.000", "long_0.100-2.000", "long_1.000-2.500", "long_2.500-3.040"),
    ]
    assert [u.duration for u in corpus] == pytest.approx([1.0, 1.9, 1.5, 0.5], abs=1e-3)  # the last is rounded up
    assert {u.dialogue for u in corpus} == {f"long.{form}"}
    whole = features.read_waveform(folder / f"long.{form}")
    for u, (start, end) in zip(corpus, [(0, 1), (0.1, 2), (1, 2.5), (2.5, 3)], strict=True):
        if (form, end) == ("ogg", 3):
            continue  # libsndfile is not exact at the end of Vorbis
        expected = whole[round(start * RATE) : round(end * RATE)]
        atol = 1e-3 if form == "ogg" else 0  # a decoder that starts in the middle
        np.testing.assert_allclose(features.read_waveform(u.audio), expected, atol=atol)
    cuts = sorted((folder.parent / "cache" / "cuts").rglob("*.au"))
    times = [path.stat().st_mtime_ns for path in cuts]
    assert load(folder).fingerprint == corpus.fingerprint and [p.stat().st_mtime_ns for p in cuts] == times
    monkeypatch.setenv("SERLIB_CACHE", str(folder / "another"))
    again = load(folder)
    assert again.fingerprint == corpus.fingerprint and again["long_0.000-1.000"].audio not in cuts


def archive(*names: str) -> bytes:
    with zipfile.ZipFile(content := io.BytesIO(), "w") as file:
        for name in names:
            file.writestr(name, "x")
    return content.getvalue()


HEAD = "path,emotion,id,speaker,start,end,split\n"
REFUSED = {
    "empty": ("", "my.csv: expected a table, found an empty file"),
    "header alone": ("path,emotion\n\n", "my.csv: expected rows, found a header alone"),
    "no header": (
        "a.wav,angry\nb.wav,sad\n",
        "my.csv:1: expected a header with the columns path and emotion, separated by commas, semicolons or tabs; found "
        "'a.wav,angry'",
    ),
    "bars": ("path|emotion\na.wav|sad\n", "my.csv:1: expected a header with the columns path and emotion, "),
    "no emotion": (
        "path;label;age\na.wav;sad;3\n",
        "my.csv: expected the columns path and emotion, found no emotion among path, label, age; rename yours",
    ),
    "two paths": ("path,Path,emotion\na.wav,b.wav,sad\n", "my.csv: expected one column path, found two"),
    "comma in a text": (
        "path,emotion,text\na.wav,sad,Oh no\n\nb.wav,sad,Oh, no\nc.wav,sad,Oh, no\n",
        "my.csv:4: expected 3 cells separated by commas, found 4; put quotes around a text with commas; 1 more row is "
        "wrong",
    ),
    "short row": ("path,emotion\na.wav\n", "my.csv:2: expected 2 cells separated by commas, found 1"),
    "open quote": (
        'path,emotion,text\na.wav,sad,"Oh\nb.wav,sad,No\n',
        "my.csv:2: expected quotes that are closed, and doubled within a text; unexpected end of data",
    ),
    "same id": (
        "path,emotion,id\na.wav,sad,u1\nb.wav,sad,u2\nc.wav,sad,u1\n",
        "my.csv:4: a second utterance is named u1, the first is in line 2; ids must be unique",
    ),
    "same recording": (
        "path,emotion,id\na.wav,sad,u1\n./a.wav,angry,u2\n",
        "my.csv:3: the same recording as in line 2; keep one row of it",
    ),
    "no id in a row": ("path,emotion,id\na.wav,sad,u1\nb.wav,sad,\n", "my.csv:3: expected a id as in other rows"),
    "no speaker in a row": (
        "path,emotion,speaker\na.wav,sad,\nb.wav,sad,Ann\nc.wav,sad,NaN\n",
        "my.csv:2: expected a speaker as in other rows, found none; 1 more row is wrong",
    ),
    "no path": ("path,emotion\n ,sad\n", "my.csv:2: expected the path of a sound file, found none"),
    "end before start": (
        f"{HEAD}a.wav,sad,1,S,0.4,0.2,\n",
        "my.csv:2: expected a start before the end, found 0.4 to 0.2 s",
    ),
    "end at start": (f"{HEAD}a.wav,sad,1,S,,0,\n", "my.csv:2: expected a start before the end, found 0 to 0 s"),
    "decimal comma": (
        "path;emotion;start\na.wav;sad;0,25\n",
        "my.csv:2: expected the start in seconds, such as 1.25, found '0,25'",
    ),
    "clock": (f"{HEAD}a.wav,sad,1,S,00:01,,\n", "my.csv:2: expected the start in seconds, such as 1.25, found '00:01'"),
    "negative": (f"{HEAD}a.wav,sad,1,S,-1,,\n", "my.csv:2: expected the start in seconds, such as 1.25, found '-1'"),
    "endless": (f"{HEAD}a.wav,sad,1,S,,1e999,\n", "my.csv:2: expected the end in seconds, such as 1.25, found '1e999'"),
    "other split": (
        f"{HEAD}a.wav,sad,1,S,,,train\nb.wav,sad,2,S,,,holdout\n",
        "my.csv:3: expected a split train, dev or test, found 'holdout'",
    ),
    "capitals": (
        "path,emotion\na.wav,sad\nb.wav,Sad\n",
        "my.csv:3: expected one spelling of a label, found 'Sad' here and 'sad' in line 2; write them alike",
    ),
    "one class": (
        "path,emotion\na.wav,sad\nb.wav,sad\n",
        "my.csv: expected at least two classes of two utterances or more, found sad (2) in 2 rows that can be used",
    ),
    "spaces": (
        "path,emotion\na.wav,very sad\nb.wav,very  sad\n",
        "my.csv:3: expected one spelling of a label, found 'very  sad' here and 'very sad' in line 2; write them alike",
    ),
    "one class, since a sound is missing": (
        "path,emotion\na.wav,sad\nb.wav,sad\nx.wav,angry\ny.wav,angry\n",
        "found sad (2) in 2 rows that can be used; 2 more cannot be used, first {folder}/my.csv:4: x.wav: expected a "
        "sound file, found none; left out",
    ),
    "no labels": (
        "path,emotion\na.wav,\nb.wav,nan\n",
        "found no emotion in 2 rows that can be used, 2 of them without an emotion",
    ),
    "one of each": ("path,emotion\na.wav,sad\nb.wav,angry\n", "found angry (1), sad (1) in 2 rows"),
    "UTF-16": ("path,emotion\na.wav,sad\n".encode("utf-16"), "my.csv:1: expected text in UTF-8 or Windows-1252"),
    "Excel": (
        archive("[Content_Types].xml", "xl/workbook.xml"),
        "my.csv: expected CSV, TSV or Parquet, found an Excel workbook; save the sheet as CSV",
    ),
    "LibreOffice": (archive("mimetype", "content.xml"), "found a LibreOffice document; save the sheet as CSV"),
    "zip": (archive("my.csv", "a.wav"), "found a zip file of 2 files; unpack it and give the table in it"),
    "damaged zip": (archive("my.csv")[:30], "found a damaged archive"),
    "old Excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "found an old Excel workbook; save it as CSV"),
    "gzip": (gzip.compress(b"path,emotion", mtime=0), "found a compressed file; unpack it"),
    "HTML": ("\n<!DOCTYPE html><html>", "found a web page; download the table itself"),
    "damaged Parquet": (b"PAR1 and nothing more", "my.csv: a damaged Parquet file ("),
    "wrong folder": (
        "path,emotion\nclips/a.wav,sad\nclips/b.wav,sad\n",
        "my.csv: none of 2 recordings can be used; first {folder}/my.csv:2: clips/a.wav: expected a sound file, found "
        "none; left out. Paths are looked for from the table's folder, {folder}",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_table_is_refused_with_its_row(folder, case):
    table, message = REFUSED[case]
    with pytest.raises(ValueError) as caught:
        load(folder, table)
    assert message.format(folder=folder) in str(caught.value)
    assert str(caught.value).startswith(str(folder))


def test_folder_with_another_number_of_tables(folder):
    (folder / "other.TSV").write_text("path\temotion\n")
    (folder / ".hidden.csv").write_text("")
    with pytest.raises(ValueError, match=r"expected one table .*, found my\.csv, other\.TSV; give the table itself"):
        corpora.load("table", folder)
    with pytest.raises(ValueError, match="found none; give the table itself"):
        (folder / "empty").mkdir()
        corpora.load("table", folder / "empty")


def test_what_cannot_be_used_is_counted_with_its_row(folder, caplog):
    sound = noise(1.0)
    for name in ("cut.wav", "cut.flac", "cut.mp3"):
        soundfile.write(folder / name, sound, RATE)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    (folder / "empty.wav").touch()
    (folder / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    (folder / "notes.txt").write_text("no sound at all")
    (folder / "folder").mkdir()
    text = """path,emotion,text,start,end,Speaker_ID,
        a.wav,angry,Hello,,,1,
        b.wav,angry,,,,1,
        c.wav,sad,Hello,,,1,
        d.wav,sad,Hello,0.1,0.55,1,
        e.wav,agry,Hello,,,1,
        f.wav,,Hello,,,1,
        gone.wav,sad,Hello,,,1,
        empty.wav,sad,Hello,,,1,
        cut.wav,sad,Hello,,,1,
        cut.flac,sad,Hello,,,1,
        cut.mp3,sad,Hello,,,1,
        film.mp4,sad,Hello,,,1,
        notes.txt,sad,Hello,,,1,
        folder,sad,Hello,,,1,
        a.wav,sad,Hello,0.2,0.8,1,
        a.wav,sad,Hello,0.6,,1,
        """
    corpus = load(folder, re.sub("^ +", "", text, flags=re.MULTILINE))
    assert len(corpus) == 6 and [u.emotion for u in corpus] == ["angry", "angry", "sad", "sad", None, None]
    assert corpus.skipped == [
        Skip("my.csv:8", "gone.wav: expected a sound file, found none; left out"),
        Skip("my.csv:9", "empty.wav: expected a sound file, found an empty one; left out"),
        Skip("my.csv:10", corpus.skipped[2].why),
        Skip("my.csv:11", "cut.flac: cut off before the last of 16000 samples; left out"),
        Skip("my.csv:12", "cut.mp3: cut off before the last of 16000 samples; left out"),
        Skip("my.csv:13", corpus.skipped[5].why),
        Skip("my.csv:14", corpus.skipped[6].why),
        Skip("my.csv:15", "folder: expected a sound file, found a folder; left out"),
        Skip("my.csv:16", "a.wav: expected a stretch within the sound's 0.50 s, found 0.2 to 0.8 s; left out"),
        Skip("my.csv:17", "a.wav: expected a stretch within the sound's 0.50 s, found 0.6 to 0.5 s; left out"),
        Skip(
            "my.csv:6",
            "expected a class of two utterances or more, found a single agry (is it angry?); kept without a label",
        ),
        Skip("my.csv:7", "expected an emotion, found none; kept without a label"),
        Skip("my.csv:3", "expected a text, found none; kept without one"),
    ]
    assert "cut.wav: cut off: the header promises 32000 bytes of samples" in corpus.skipped[2].why
    assert corpus.skipped[5].why.endswith("(Format not recognised); convert it: ffmpeg -i film.mp4 film.wav; left out")
    assert corpus.skipped[6].why.startswith("notes.txt: expected a sound file, found the bytes b'no sound at ")
    assert "columns that are not read: Speaker_ID (is it speaker?)" in caplog.text
    assert "13 remarks, listed in Corpus.skipped, 10 of 16 rows left out; first my.csv:8: gone.wav" in caplog.text
    assert corpus.info == {
        **{"table": "my.csv", "columns": ["path", "emotion", "text", "start", "end"], "ignored": ["Speaker_ID"]}
    }


def test_names_of_utterances_take_in_folders_where_two_files_are_called_alike(folder):
    for name in ("x", "y"):
        (folder / "in" / name).mkdir(parents=True)
        for number in "12":
            (folder / f"{number}.wav").write_bytes((folder / "a.wav").read_bytes())
            soundfile.write(folder / "in" / name / f"{number}.wav", noise(0.2), RATE)
    rows = "in/x/1.wav,x\nin\\x\\2.wav,x\nin/y/1.wav,y\nin\\y\\2.wav,y\n"  # two of them as Windows writes them
    assert [u.id for u in load(folder, f"path,emotion\n{rows}")] == ["x_1", "x_2", "y_1", "y_2"]


def test_labels_choose_the_classes(folder):
    text = "path,emotion\na.wav,ANG\nb.wav,ANG\nc.wav,Hap\nd.wav,hap\ne.wav,DIS\nf.wav,FEA\n"
    corpus = load(folder, text, labels={"ANG": "angry", "Hap": "happy", "hap": "happy"})
    assert corpus.classes == ("angry", "happy")
    assert [u.emotion for u in corpus] == ["angry", "angry", "happy", "happy", None, None]
    assert corpus.skipped == [
        Skip("my.csv", f"labels names no class for {name}: 1 rows without one") for name in ("DIS", "FEA")
    ]
    with pytest.raises(ValueError, match=r"labels names 'SAD', which no row has; the table has ANG \(2\), DIS \(1\)"):
        load(folder, labels={"ANG": "angry", "SAD": "sad"})
    with pytest.raises(ValueError, match="labels gives ' '; expected the name of a class"):
        load(folder, labels={"ANG": " "})
    with pytest.raises(ValueError, match="labels gives None; expected the name of a class, and nothing of labels that"):
        load(folder, labels={"ANG": "angry", "DIS": None})
    with pytest.raises(ValueError, match=r"expected labels such as .*, label in the table to class; found \['ANG'\]"):
        load(folder, labels=["ANG"])


def test_labels_that_are_numbers_are_found_as_they_stand_in_the_table(folder):
    corpus = load(folder, "path,emotion\na.wav,1\nb.wav,1\nc.wav,2\nd.wav,2\n", labels={1: "angry", 2: 7})
    assert corpus.classes == ("7", "angry")


def test_two_tables_and_two_choices_of_labels_have_records_of_their_own(folder, tmp_path):
    text = (folder / "my.csv").read_text()
    more = text + "".join(f"{n}.wav,{'calm' if n % 2 else 'sad'},S{n},Oh {n}\n" for n in range(10))
    for n in range(10):
        soundfile.write(folder / f"{n}.wav", noise(0.3, n), RATE)
    how = {"folds": [0], "seeds": [0], "results_dir": tmp_path / "results", "progress": False, "jobs": 1}
    how["overrides"] = {"epochs": 1, "model": {"hidden": 4}}
    made = {}
    for labels in (None, {"sad": "low", "calm": "low", "angry": "high"}):
        corpus = load(folder, more, labels=labels)
        (made[corpus.name],) = runs.run("yoon2018", "are", corpus, **how)
        assert made[corpus.name].outputs == list(corpus.classes)
        assert 0 <= tables.scores([made[corpus.name]])["estimate"].iloc[0] <= 1
    assert len(made) == 2 and len([*(tmp_path / "results").iterdir()]) == 2
    with pytest.raises(ValueError, match="this system reads, but no utterance has a text; give transcripts"):
        bare = load(folder, "\n".join(line.rpartition(",")[0] for line in more.splitlines()))
        runs.run("yoon2018", "mdre", bare, **how | {"overrides": {"epochs": 1}})


def blocks() -> dict[str, str]:
    """Name of a corpus to the lines of the page that make its table."""
    page = nbformat.read(ROOT / "book" / "your_recordings.ipynb", as_version=4)
    prose = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    return dict(re.findall(r"^\*\*([\w-]+)\*\*.*?\n```python\n(.*?)^```", prose, re.MULTILINE | re.DOTALL))


MELD = """Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime
1,"Oh, that\u2019s great!",Joey,joy,positive,0,0,8,21,"00:16:16,059","00:16:21,731"
2,My duties?  All right.,Ross,neutral,neutral,0,1,8,21,"00:16:21,940","00:16:23,442"
3,No!,Joey,joy,positive,1,0,8,21,"00:16:16,059","00:16:21,731"
4,Why?,Ross,neutral,neutral,1,1,8,21,"00:16:21,940","00:16:23,442"
"""
NAMES = {
    "CREMA-D": ("AudioWAV/{}_{}_{}_XX.wav", (1001, 1002), ("DFA", "IEO"), ("ANG", "HAP", "NEU", "SAD", "DIS")),
    "TESS": ("{0}_{2}/{0}_{1}_{2}.wav", ("OAF", "YAF"), ("back", "bar"), ("angry", "happy", "neutral", "sad", "ps")),
    "EmoDB": ("wav/{}{}{}a.wav", ("03", "08"), ("a01", "b10"), "WFNTL"),
    "MELD": ("{}/dia{}_utt{}.wav", ("train", "dev", "test"), (0, 1), (0, 1)),
}
CORPORA = {name: [form.format(*one) for one in itertools.product(*parts)] for name, (form, *parts) in NAMES.items()}
FIRST = {
    "CREMA-D": ("1001_DFA_ANG_XX", "1001", "1001", "angry", "", None),
    "TESS": ("OAF_back_angry", "OA", "OA back", "angry", "back", None),
    "EmoDB": ("03a01Fa", "03", "03", "happy", "", None),
    "MELD": ("dev_dia0_utt0", "Joey", "dev/dia0", "joy", "Oh, that\u2019s great!", "devel"),
}


@pytest.mark.parametrize("name", CORPORA)
def test_the_lines_of_the_page_make_the_table(name, tmp_path, monkeypatch):
    for n, path in enumerate(CORPORA[name]):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / path, noise(0.2, n), RATE)
        if name == "MELD":
            (tmp_path / f"{Path(path).parts[0]}_sent_emo.csv").write_text(MELD, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec("import pandas as pd\nfrom pathlib import Path\nfrom serlib import corpora\n" + blocks()[name], names)
    speech = names["speech"]
    u = speech.utterances[0]
    assert len(speech) == len(CORPORA[name])
    assert (u.id, u.speaker, u.dialogue, u.emotion, u.text, u.partition) == FIRST[name]
    if name == "MELD":
        assert speech.classes == ("joy", "neutral")
        assert [one.partition for one in speech] == ["devel"] * 4 + ["test"] * 4 + ["train"] * 4
    else:
        assert speech.classes == corpora.EMOTIONS
        assert len(speech.four_class()) == 16
    if name == "TESS":  # two speakers, whose dialogues make it possible to leave one out
        assert [split.name for split in protocols.leave_one_speaker_out(speech)] == ["OA", "YA"]
