"""Files broken at random: a reader reads them or says, naming file and line, what is wrong; nothing is lost unsaid."""

from __future__ import annotations

import csv
import io
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serlib.corpora import alignments, iemocap, ravdess, synthetic, table, wav
from serlib.corpora.corpus import Corpus, Segment
from serlib.corpora.transcripts import read_transcripts

FUZZ = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""Each example puts right again what it breaks, so that examples can share a folder."""

NUMBER = re.compile(rb"\d+(?:\.\d+)?")
ABSURD = [
    *(b"nan", b"inf", b"-1", b"1e999", b"9" * 400, b"9" * 5000, b"1_0", b"0x10", b"", b"--1", b"99999999", b"0", b"5"),
    *("٣".encode(), "½".encode(), "²".encode()),
]
STRAYS = [
    *(b"\0", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\xe9", b"\x85", b"\xc3", b"\x1c", b"\x0b", b"\t", b" " * 3000),
    *(b"[", b"]", b":", b"-", b",", b"%", b"C-", b"Total", b"(2)", b"Ses01F_impro01_F000", "\u2028".encode()),
]


def lines(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True) or [b""]


def flip(content: bytes, at: int, value: int) -> bytes:
    at %= len(content) or 1
    return content[:at] + bytes([value % 256]) + content[at + 1 :]


def cut_line(content: bytes, at: int, value: int) -> bytes:
    kept = lines(content)
    del kept[at % len(kept)]
    return b"".join(kept)


def cut_within_line(content: bytes, at: int, value: int) -> bytes:
    kept = lines(content)
    row = at % len(kept)
    kept[row] = kept[row][: value % (len(kept[row]) + 1)] + b"\n"
    return b"".join(kept)


def double_line(content: bytes, at: int, value: int) -> bytes:
    kept = lines(content)
    return b"".join([*kept[: value % len(kept)], kept[at % len(kept)], *kept[value % len(kept) :]])


def swap_lines(content: bytes, at: int, value: int) -> bytes:
    kept = lines(content)
    a, b = at % len(kept), value % len(kept)
    kept[a], kept[b] = kept[b], kept[a]
    return b"".join(kept)


def make_absurd(content: bytes, at: int, value: int) -> bytes:
    found = list(NUMBER.finditer(content))
    if not found:
        return content
    start, end = found[at % len(found)].span()
    return content[:start] + ABSURD[value % len(ABSURD)] + content[end:]


def insert(content: bytes, at: int, value: int) -> bytes:
    at %= len(content) + 1
    return content[:at] + STRAYS[value % len(STRAYS)] + content[at:]


def truncate(content: bytes, at: int, value: int) -> bytes:
    return content[: at % (len(content) + 1)]


def recode(content: bytes, at: int, value: int) -> bytes:
    ways = [
        lambda: content.replace(b"\n", b"\r\n"),
        lambda: content.replace(b"\n", b"\r"),
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.replace(b"e", b"\xe9"),
        lambda: content.replace(b"e", "é".encode()),
        lambda: content.decode("latin-1").encode("utf-16"),
        lambda: content.replace(b" ", b"\t"),
        lambda: content.upper(),
    ]
    return ways[value % len(ways)]()


OPERATIONS = [
    *(flip, cut_line, cut_within_line, double_line, swap_lines, make_absurd, make_absurd),
    *(insert, insert, truncate, recode),
]
DAMAGE = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=4)
Damage = list[tuple[Callable[[bytes, int, int], bytes], int, int]]


def damaged(content: bytes, damage: Damage) -> bytes:
    for operation, at, value in damage:
        content = operation(content, at, value)
    return content


@pytest.fixture
def tree(empty_iemocap_tree: Any) -> Any:
    empty_iemocap_tree.add("Ses01F_impro01", ["neu", "ang", "xxx", "hap"]).add("Ses01F_script01_1", ["sad"])
    return empty_iemocap_tree.add("Ses02M_script02_2", ["exc", "sad"])


IDS = {
    *(f"Ses01F_impro01_{turn}" for turn in ("F000", "M001", "F002", "M003")),
    *("Ses01F_script01_1_F000", "Ses02M_script02_2_F000", "Ses02M_script02_2_M001"),
}


def read_broken(tree: Any, kind: str, name: str, content: bytes) -> Corpus | ValueError:
    """Read the tree with other bytes in one file, and put the file right again."""
    path = tree.path(kind, name)
    whole = path.read_bytes()
    path.unlink()  # waveforms are links to one file
    path.write_bytes(content)
    try:
        return iemocap.read(tree.root, progress=False)
    except ValueError as error:
        return error
    finally:
        path.write_bytes(whole)


def check_conserved(corpus: Corpus) -> None:
    """Every labelled utterance is read or its loss is said; what is read makes sense."""
    said = "\n".join(f"{skip.where} {skip.why}" for skip in corpus.skipped)
    for id in IDS - {u.id for u in corpus}:
        assert id in said, f"{id} lost without a word"
    for skip in corpus.skipped:
        assert skip.where.startswith("Session") and skip.why
    for u in corpus:
        assert iemocap.UTTERANCE_NAME.fullmatch(u.id) and u.session == f"Session{u.id[4]}" and u.id[:5] == u.speaker[:5]
        assert u.emotion in iemocap.EMOTION_NAMES.values() and u.duration > 0 and u.audio.is_file()
        assert u.dimensions is None or all(0 <= value <= 6 for value in u.dimensions)
        assert "\n" not in u.text and "\0" not in u.text
        check_alignment(u.words, u.duration)
        check_alignment(u.phones, u.duration)
        if not (u.words and u.phones):
            assert u.id in said  # an alignment that is empty or lost is said, too


def check_alignment(segments: tuple[Segment, ...], duration: float) -> None:
    """Frames in order and within the sound; the tolerance is half a second, and the last frame is inclusive."""
    times = [time for segment in segments for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert all(segment.label and 0 <= segment.start < segment.end <= duration + 0.51 for segment in segments)
    for time in times:
        assert time == round(time * 100) / 100


@FUZZ
@given(DAMAGE)
@example([(make_absurd, 5, 5)])
@example([(insert, 300, 14)])
def test_label_files(tree: Any, damage: Damage) -> None:
    name = "Ses01F_impro01"
    content = damaged(tree.path("labels", name).read_bytes(), damage)
    outcome = read_broken(tree, "labels", name, content)
    if isinstance(outcome, ValueError):
        assert re.search(rf"{name}\.txt:\d+: ", str(outcome)), outcome
    else:
        check_conserved(outcome)
        if not damage:
            assert len(outcome) == len(IDS) and not outcome.skipped


@FUZZ
@given(DAMAGE)
@example([(insert, 19, 11)])
def test_transcriptions(tree: Any, damage: Damage) -> None:
    name = "Ses01F_impro01"
    content = damaged(tree.path("text", name).read_bytes(), damage)
    outcome = read_broken(tree, "text", name, content)
    if isinstance(outcome, ValueError):
        assert re.search(rf"{name}\.txt:\d+: ", str(outcome)), outcome
    else:
        check_conserved(outcome)


def test_a_gap_of_many_spaces_is_read_as_fast_as_any(tmp_path: Path) -> None:
    path = tmp_path / "Ses01F_impro01.txt"
    gap = " " * 100_000
    path.write_text(
        f"Ses01F_impro01_F000{gap}[1.0{gap}-{gap}2.0]{gap}:{gap}Well{gap}now.\nSes01F_impro01_F001{gap}[1.0"
    )
    skipped: list = []
    ((id, _, text),) = iemocap.read_transcription(path, skipped)
    assert (id, text) == ("Ses01F_impro01_F000", f"Well{gap}now.")
    assert len(skipped) == 1 and skipped[0].where == f"{path}:2"


@pytest.mark.parametrize("kind", ["wdseg", "phseg"])
@FUZZ
@given(DAMAGE)
@example([(make_absurd, 3, 4)])
@example([(insert, 70, 24)])
def test_alignments_in_a_tree(tree: Any, kind: str, damage: Damage) -> None:
    id = "Ses01F_impro01_M001"
    content = damaged(tree.path(kind, id).read_bytes(), damage)
    outcome = read_broken(tree, kind, id, content)
    assert isinstance(outcome, Corpus) and len(outcome) == len(IDS)
    check_conserved(outcome)


@FUZZ
@given(DAMAGE, st.booleans(), st.sampled_from([0.01, 0.5, 1.0, 3.0, math.inf]))
def test_alignments_alone(tree: Any, tmp_path: Path, damage: Damage, words: bool, duration: float) -> None:
    path = tmp_path / ("a.wdseg" if words else "a.phseg")
    whole = tree.path("wdseg" if words else "phseg", "Ses01F_impro01_M001").read_bytes()
    path.write_bytes(damaged(whole, damage))
    try:
        segments = alignments.read_alignment(path, duration)
    except ValueError as error:
        assert re.search(r"(line |a\.\w+:)\d+: ", str(error)), error
    else:
        check_alignment(segments, duration)


@FUZZ
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 40), st.sampled_from(["WORD", "<sil>", "WHAT(2)", "++NOISE++"])),
        min_size=1,
        max_size=30,
    )
)
def test_frames_are_inclusive_hundredths(tmp_path: Path, rows: list[tuple[int, int, str]]) -> None:
    """Whatever the gaps and lengths: the seconds are those of the frames, both ends counted."""
    path, frame, text, expected = tmp_path / "a.wdseg", 0, "SFrm EFrm SegAScr Word\n", []
    for gap, length, label in rows:
        first, last = frame + gap, frame + gap + length - 1
        text += f"{first} {last} -1 {label}\n"
        frame = last + 1
        if label[0] not in "<+":
            expected.append((label.lower().removesuffix("(2)"), first, last))
    path.write_text(f"{text}Total score: -1\n")
    segments = alignments.read_alignment(path, frame / 100)
    assert [segment.label for segment in segments] == [label for label, _, _ in expected]
    for segment, (_, first, last) in zip(segments, expected, strict=True):
        assert [round(100 * segment.start), round(100 * segment.end)] == [first, last + 1]
        assert segment.end - segment.start == pytest.approx((last - first + 1) / 100)
    check_alignment(segments, frame / 100)
    if frame > 51:
        with pytest.raises(ValueError, match=r"within the waveform's 0\.00 s"):
            alignments.read_alignment(path, 0.0)


WAVE_FIELDS = {"riff": (4, "I"), "fmt": (16, "I"), "coding": (20, "H"), "channels": (22, "H"), "rate": (24, "I")} | {
    "frame": (32, "H"),
    "bits": (34, "H"),
    "data": (40, "I"),
}
SIZES = st.sampled_from([0, 1, 2, 3, 15, 16, 17, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1])


@FUZZ
@given(
    st.lists(st.tuples(st.sampled_from(list(WAVE_FIELDS)), SIZES), max_size=2),
    st.lists(st.tuples(st.integers(0, 47), st.integers(0, 255)), max_size=2),
    st.integers(0, 400) | st.just(32_044),
)
def test_waveforms(tree: Any, tmp_path: Path, fields: list, flips: list, stop: int) -> None:
    path = tmp_path / "a.wav"
    content = bytearray(tree.wav.read_bytes())
    for name, value in fields:
        offset, kind = WAVE_FIELDS[name]
        struct.pack_into(f"<{kind}", content, offset, value % 2 ** (16 if kind == "H" else 32))
    for at, value in flips:
        content[at] = value
    path.write_bytes(content[:stop])
    try:
        seconds = wav.duration(path)
    except ValueError:
        return
    assert 0 < seconds < math.inf
    if not fields and not flips:
        assert seconds == 1.0


@FUZZ
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), max_size=20), st.integers(0, 25))
@example("03-01-05-01-02-01-01.WAV", 20)
@example("03-01-05-01-02-02-٠١.wav", 20)
@example(".wav", 0)
def test_ravdess_names(ravdess_tree: Path, text: str, keep: int) -> None:
    name = "03-01-06-01-02-02-01.wav"
    name = f"{name[:keep]}{text}{name[keep:]}" if not text.lower().endswith(".wav") else text
    if len(name.encode()) > 255 or name.startswith("."):
        return
    path = ravdess_tree / "Actor_01" / name
    path.write_bytes(next(ravdess_tree.glob("Actor_02/*.wav")).read_bytes())
    try:
        corpus = ravdess.read(ravdess_tree, progress=False)
    finally:
        path.unlink()
    if ravdess.FILE_NAME.fullmatch(path.stem) and path.suffix.lower() in wav.SUFFIXES:
        assert len(corpus) == 7 and not corpus.skipped
    else:
        assert len(corpus) == 6
        said = [skip.where for skip in corpus.skipped]
        assert said == ([f"Actor_01/{name}"] if path.suffix.lower() in wav.SUFFIXES else [])


TABLE = "id\ttext\n" + "".join(f"Ses01F_impro01_F{n:03}\tdéjà {n} vu\n" for n in range(5))


@FUZZ
@given(DAMAGE)
def test_tables_of_transcripts(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "asr.tsv"
    content = damaged(TABLE.encode(), damage)
    path.write_bytes(content)
    try:
        texts = read_transcripts(path)
    except ValueError as error:
        assert re.match(rf"{re.escape(str(path))}:\d+: ", str(error)), error
    else:
        assert len(texts) == len(content.splitlines()) - 1  # a line each, or an error
        assert all(id and not re.search(r"[\t\r\n]", id + text) for id, text in texts.items())


def cues() -> bytes:
    rows = [[f"Ses01F_impro01_F{n:03}", "sad", "plain", "sad", "sad", "", str(n), ""] for n in range(4)]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([synthetic.CUES, *rows])
    return buffer.getvalue().encode()


@FUZZ
@given(DAMAGE)
@example([(make_absurd, 5, 13)])
def test_tables_of_cues(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "cues.csv"
    path.write_bytes(damaged(cues(), damage))
    (tmp_path / "corpus.json").write_text('{"name": "synthetic", "utterances": 4, "seed": 0}')
    try:
        table = synthetic.read_cues(tmp_path)
    except ValueError as error:
        assert str(error).startswith(f"{path} is damaged: ")
    else:
        assert len(table) == 4 and table.stressed.dropna().between(0, 999).all()
        assert table.index.is_unique and table.index.notna().all() and tuple(table.columns) == synthetic.CUES[1:]
        assert table[[*set(synthetic.CUES[1:]) - {"stressed", "decoy"}]].notna().all(axis=None)


@FUZZ
@given(DAMAGE)
def test_what_the_generator_says_of_its_tree(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "corpus.json"
    path.write_bytes(damaged(b'{"name": "synthetic",\n "utterances": 50,\n "seed": 0,\n "generator": 1}\n', damage))
    try:
        found: dict[str, Any] = synthetic.about(tmp_path)
    except ValueError as error:
        assert str(error).startswith(f"{path} is damaged: ")
    else:
        assert {"name", "utterances", "seed"} <= found.keys()


def test_the_damage_does_damage(tree: Any) -> None:
    """The fuzz is worth something: most of what it makes differs, and readers refuse some of it and read some."""
    rng = np.random.default_rng(0)
    whole = tree.path("labels", "Ses01F_impro01").read_bytes()
    outcomes = []
    for number in range(200):
        operation = OPERATIONS[number % len(OPERATIONS)]
        content = operation(whole, *rng.integers(0, 10**6, 2).tolist())
        if content != whole:
            outcomes.append(type(read_broken(tree, "labels", "Ses01F_impro01", content)).__name__)
    assert len(outcomes) > 150
    assert 30 < outcomes.count("ValueError") < len(outcomes) - 30


MINE = '''path,emotion,id,text,speaker,session,dialogue,start,end,split
a.wav,angry,u1,"Oh, no",Ann,s1,d1,,,train
a.wav,sad,u2,Well,Ann,s1,d1,0.25,0.75,dev
b.wav,angry,u3,"He said ""no""",Bob,s2,d2,,1.0,test
c.wav,sad,u4,Hm,Bob,s2,d2,0,,train
d.wav,sad,u5,Fine,Cay,s3,d3,,,
'''


@FUZZ
@given(DAMAGE)
@example([(insert, 70, 11)])
@example([(make_absurd, 16, 4)])
@example([(insert, 63, 11)])
def test_tables_of_anybody(tmp_path: Path, damage: Damage) -> None:
    for name in "abcd":
        if not (tmp_path / f"{name}.wav").is_file():
            soundfile.write(tmp_path / f"{name}.wav", np.full(1600, 0.1), 1600)
    content = damaged(MINE.encode(), damage)
    (tmp_path / "my.csv").write_bytes(content)
    try:
        corpus = table.read(tmp_path / "my.csv", progress=False)
    except ValueError as error:
        assert str(error).startswith(f"{tmp_path}/my.csv"), error
        return
    lost = sum("left out" in skip.why for skip in corpus.skipped)
    told = [line for line in content.splitlines() if line.strip(b" ,\t\x0b\x1c\xef\xbb\xbf")]
    assert len(corpus) + lost <= len(told) - 1
    assert all(skip.where.startswith("my.csv") and skip.why for skip in corpus.skipped)
    for u in corpus:
        assert u.id and 0 < u.duration <= 1 and u.partition in (None, "train", "devel", "test")
        assert u.emotion is None or u.emotion in corpus.classes
    if not damage:
        assert len(corpus) == 5 and not corpus.skipped
