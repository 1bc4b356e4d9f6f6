from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serlib import corpora
from serlib.corpora import iemocap
from serlib.corpora.corpus import Segment, Skip
from serlib.features import read_waveform
from tests.corpora.conftest import write_wav

DIALOGUE, ID = "Ses01F_impro01", "Ses01F_impro01_M001"
LABELS = f"Session1/dialog/EmoEvaluation/{DIALOGUE}.txt"
TEXTS = f"Session1/dialog/transcriptions/{DIALOGUE}.txt"
LINE = f"[1.2901 - 1.9357]\t{ID}\tang\t[2.5000, 3.0000, 3.5000]"
TEXT_LINE = f"{ID} [001.2901-001.9357]: What now?"
ALIGNMENT = f"Session1/sentences/ForcedAlignment/{DIALOGUE}/{ID}"


def read(tree):
    return iemocap.read(tree.root, progress=False)


def error(tree) -> str:
    with pytest.raises(ValueError) as caught:
        read(tree)
    return str(caught.value).replace(f"{tree.root}/", "")


def test_whole_tree(iemocap_tree):
    corpus = read(iemocap_tree)
    assert corpus.skipped == []
    assert [u.id for u in corpus] == [
        "Ses01F_impro01_F000",
        "Ses01F_impro01_F002",
        "Ses01F_impro01_M001",
        "Ses02M_script02_2_F000",
        "Ses02M_script02_2_M001",
    ]
    improvised, scripted = corpus[ID], corpus["Ses02M_script02_2_F000"]
    assert (improvised.speaker, improvised.session, improvised.dialogue) == ("Ses01M", "Session1", DIALOGUE)
    assert (improvised.scripted, improvised.script) == (False, None)
    assert (scripted.speaker, scripted.session, scripted.dialogue) == ("Ses02F", "Session2", "Ses02M_script02_2")
    assert (scripted.scripted, scripted.script) == (True, "script02_2")
    assert [u.emotion for u in corpus] == ["neutral", "undecided", "angry", "excited", "sad"]
    assert [u.emotion for u in corpus.four_class()] == ["neutral", "angry", "happy", "sad"]
    assert improvised.dimensions == (2.5, 3.0, 3.5)
    assert improvised.text == "What now?"
    assert improvised.duration == 1.0
    assert improvised.audio.is_file()
    assert improvised.words == (Segment("what", 0.1, 0.3), Segment("now", 0.35, 0.7))
    assert [p.label for p in improvised.phones] == ["W", "AH", "N"]
    assert improvised.phones[1] == Segment("AH", 0.15, 0.3)


def test_second_part_of_a_script_has_the_script_of_the_first(iemocap_tree):
    corpus = read(iemocap_tree.add("Ses05M_script01_1b", ["fru"]))
    assert corpus["Ses05M_script01_1b_F000"].script == "script01_1"


def test_what_the_release_has_besides_is_ignored(iemocap_tree):
    session = iemocap_tree.root / "Session1"
    for folder in ("dialog/EmoEvaluation", "dialog/transcriptions", f"sentences/wav/{DIALOGUE}", "sentences/wav"):
        for name in (f"._{DIALOGUE}.txt", f"._{ID}.wav", ".DS_Store"):
            (session / folder / name).write_bytes(b"\0\5\26\7")
    (session / f"sentences/ForcedAlignment/{DIALOGUE}/._{ID}.wdseg").write_bytes(b"\0\5\26\7")
    for folder in ("Attribute", "Categorical", "Self-evaluation"):
        (session / "dialog/EmoEvaluation" / folder).mkdir()
        (session / "dialog/EmoEvaluation" / folder / f"{DIALOGUE}_e1.txt").write_text("not a label file")
    (session / "dialog/avi").symlink_to(session)
    assert read(iemocap_tree).skipped == []
    assert len(read(iemocap_tree)) == 5


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"{ID} [001.2901-001.9357] No colon.", "No colon."),
        (f"{ID}: No time.", "No time."),
        (f"{ID} [001.2901-001.9357]: [LAUGHTER] I said: no.", "[LAUGHTER] I said: no."),
        (f"{ID} [001.2901-001.9357]: Déjà vu.", "Déjà vu."),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_odd_transcripts_that_are_understood(iemocap_tree, line, text, encoding):
    iemocap_tree.change("text", DIALOGUE, TEXT_LINE, line.encode(encoding))
    corpus = read(iemocap_tree)
    assert corpus[ID].text == text
    assert corpus.skipped == []


def test_text_in_windows_1252(iemocap_tree):
    iemocap_tree.change("text", DIALOGUE, TEXT_LINE, TEXT_LINE.encode() + b" Don\x92t\x85 caf\xe9")
    assert read(iemocap_tree)[ID].text == "What now? Don’t… café"
    iemocap_tree.change("text", DIALOGUE, b" Don\x92t", " Don&#39;t café".encode())  # three manners in a line
    assert read(iemocap_tree)[ID].text == "What now? Don't café… café"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (":: What now?", "What now?"),
        (": [3 people talk] What now?", "[3 people talk] What now?"),
    ],
)
def test_odd_beginnings_of_a_text(iemocap_tree, written, text):
    iemocap_tree.change("text", DIALOGUE, TEXT_LINE, f"{ID} [001.2901-001.9357]{written}")
    corpus = read(iemocap_tree)
    assert corpus[ID].text == text
    assert corpus.skipped == []


def test_names_in_another_case_are_found(iemocap_tree):
    for path in sorted(iemocap_tree.root.rglob("*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.swapcase()))
    (iemocap_tree.root / "sESSION1").rename(iemocap_tree.root / "session1")
    corpus = read(iemocap_tree)
    assert len(corpus) == 5
    assert corpus[ID].session == "Session1"
    assert len(corpus[ID].words) == 2
    assert [Path(skip.where).name for skip in corpus.skipped] == []


@pytest.mark.parametrize("copy", [f"{DIALOGUE} copy", "denoised", ".ipynb_checkpoints", "."])
@pytest.mark.parametrize(("kind", "count"), [("wav", 3), ("ForcedAlignment", 3)])
def test_copies_outside_the_dialogues_folder_are_listed_and_never_read(iemocap_tree, copy, kind, count):
    whole = read(iemocap_tree)
    folder = iemocap_tree.root / f"Session1/sentences/{kind}"
    (folder / copy).mkdir(exist_ok=True)
    for path in (folder / DIALOGUE).iterdir():
        if path.suffix == ".wav":
            write_wav(folder / copy / path.name, 0.25)
        else:
            (folder / copy / path.name).write_text(path.read_text().replace("NOW", "THEN").replace("AW", "OW"))
    corpus = read(iemocap_tree)
    assert corpus.utterances == whole.utterances
    suffixes = ["wav"] if kind == "wav" else ["wdseg", "phseg"]
    assert corpus.skipped == [
        Skip(
            f"Session1/sentences/{kind}" + ("" if copy == "." else f"/{copy}"),
            f"{count} files that are not in the folders of their dialogues, the first Ses01F_impro01_F000.{suffix}; "
            "left out",
        )
        for suffix in suffixes
    ]


def test_two_sounds_of_an_utterance_stop_the_reader(iemocap_tree):
    path = iemocap_tree.path("wav", ID)
    shutil.copy(path, path.with_suffix(".FLAC"))
    assert error(iemocap_tree) == (f"Session1/sentences/wav/{DIALOGUE}/{ID}.wav: beside {ID}.FLAC; keep one of them")


def test_flac_instead_of_wav(iemocap_tree):
    path = iemocap_tree.path("wav", ID)
    soundfile.write(path.with_suffix(".flac"), np.zeros(16000), 16000)
    path.unlink()
    assert read(iemocap_tree)[ID].duration == 1.0


@pytest.mark.parametrize("name", [f"{DIALOGUE} - Copy", f"{DIALOGUE}_old", "readme", f"{DIALOGUE}_e2_cat"])
@pytest.mark.parametrize("folder", ["EmoEvaluation", "transcriptions"])
def test_text_file_that_is_not_named_for_a_dialogue_is_listed(iemocap_tree, name, folder):
    file = iemocap_tree.root / f"Session1/dialog/{folder}/{DIALOGUE}.txt"
    (file.parent / f"{name}.txt").write_text(file.read_text().replace("ang", "hap").replace("now", "then"))
    corpus = read(iemocap_tree)
    assert (corpus[ID].emotion, corpus[ID].text) == ("angry", "What now?")
    assert corpus.skipped == [
        Skip(
            f"Session1/dialog/{folder}/{name}.txt",
            "expected a file named for a dialogue, like Ses01F_impro01.txt; left out",
        )
    ]


def test_session_that_is_not_read_is_listed(iemocap_tree):
    shutil.copytree(iemocap_tree.root / "Session1", iemocap_tree.root / "Session6")
    shutil.rmtree(iemocap_tree.root / "Session2/dialog/EmoEvaluation")
    why = "expected Session1 to Session5, with label files in dialog/EmoEvaluation; left out"
    assert read(iemocap_tree).skipped == [Skip("Session2", why), Skip("Session6", why)]


def test_waveform_that_is_no_file(iemocap_tree):
    path = iemocap_tree.path("wav", ID)
    path.unlink()
    path.symlink_to("nowhere")
    (skip,) = read(iemocap_tree).skipped
    assert skip.why == (
        f"{ID} has no waveform sentences/wav/{DIALOGUE}/{ID}.wav; what is there is a folder or a broken link; left out"
    )


def test_path_that_is_not_utf_8(iemocap_tree):
    """Such names come out of old archives; messages must be printable wherever they go."""
    root = iemocap_tree.root.with_name(os.fsdecode(b"caf\xe9"))
    iemocap_tree.root.rename(root)
    stray = root / "Session1/sentences/wav" / os.fsdecode(b"\xe9")
    shutil.copytree(root / f"Session1/sentences/wav/{DIALOGUE}", stray)
    corpus = iemocap.read(root, progress=False)
    assert len(corpus) == 5
    assert corpus.skipped[0].where == "Session1/sentences/wav/\N{REPLACEMENT CHARACTER}"
    assert len(read_waveform(corpus[ID].audio)) == 16000
    assert corpus.content


def test_transcript_lines_of_no_labelled_utterance_are_counted(iemocap_tree):
    iemocap_tree.change(
        "text",
        DIALOGUE,
        TEXT_LINE,
        f"{TEXT_LINE}\nM: And then?\nSes01F_impro01_M001X [001.2-001.3]: Well.\n{ID} [1.0-2.0]: Twice.",
    )
    corpus = read(iemocap_tree)
    assert corpus[ID].text == "What now?"
    assert corpus.skipped == [
        Skip(f"{TEXTS}:3", "expected 'Ses01F_impro01_F000 [start-end]: text', found 'M: And then?'; line left out"),
        Skip(f"{TEXTS}:4", "Ses01F_impro01_M001X is transcribed but not labelled; left out"),
        Skip(f"{TEXTS}:5", f"second transcript of {ID}, the first is in {TEXTS}:2; line left out"),
    ]


def test_transcript_cut_inside_its_times_is_no_text(iemocap_tree):
    iemocap_tree.change("text", DIALOGUE, TEXT_LINE, f"{ID} [001.29")
    corpus = read(iemocap_tree)
    assert len(corpus) == 4
    assert corpus.skipped == [
        Skip(f"{LABELS}:8", f"{ID} has no transcript in dialog/transcriptions; left out"),
        Skip(f"{TEXTS}:2", f"expected 'Ses01F_impro01_F000 [start-end]: text', found '{ID} [001.29'; line left out"),
    ]


def test_empty_transcript_is_kept_and_counted(iemocap_tree):
    iemocap_tree.change("text", DIALOGUE, TEXT_LINE, f"{ID} [001.2901-001.9357]:")
    corpus = read(iemocap_tree)
    assert corpus[ID].text == ""
    assert corpus.skipped == [Skip(f"{TEXTS}:2", f"the transcript of {ID} is empty; utterance kept without text")]


def test_utterance_without_transcript_or_waveform_is_counted_and_warned_of(iemocap_tree, caplog):
    iemocap_tree.path("wav", ID).unlink()
    iemocap_tree.path("text", "Ses02M_script02_2").unlink()
    corpus = read(iemocap_tree)
    labels = "Session2/dialog/EmoEvaluation/Ses02M_script02_2.txt"
    assert corpus.skipped == [
        Skip(f"{LABELS}:8", f"{ID} has no waveform sentences/wav/{DIALOGUE}/{ID}.wav; left out"),
        Skip(f"{labels}:3", "Ses02M_script02_2_F000 has no transcript in dialog/transcriptions; left out"),
        Skip(f"{labels}:8", "Ses02M_script02_2_M001 has no transcript in dialog/transcriptions; left out"),
    ]
    assert len(corpus) == 2
    assert f"3 of 5 labelled utterances left out, listed in Corpus.skipped; first {LABELS}:8: {ID} has" in caplog.text


def test_unlabelled_dialogue_is_counted_and_warned_of(iemocap_tree, caplog):
    iemocap_tree.add("Ses01M_impro02", ["hap", "fea"])
    iemocap_tree.path("labels", "Ses01M_impro02").unlink()
    iemocap_tree.path("text", "Ses01M_impro02").write_text("Ses01M_impro02_F000 [1.0-2.0]: Hello.\n")
    assert read(iemocap_tree).skipped == [
        Skip(
            "Session1/dialog/transcriptions/Ses01M_impro02.txt:1",
            "Ses01M_impro02_F000 is transcribed but not labelled; left out",
        ),
        Skip(
            "Session1/sentences/wav/Ses01M_impro02/Ses01M_impro02_M001.wav",
            "Ses01M_impro02_M001 has a waveform but neither label nor transcript; left out",
        ),
    ]
    assert "1 dialogues without labels left out, listed in Corpus.skipped: Ses01M_impro02" in caplog.text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "expected a sound file, found an empty one"),
        (b"<!DOCTYPE html>", "expected a sound file, found the bytes b'<!DOCTYPE ht' (Format not recognised)"),
        (slice(0, 44), "cut off: the header promises 32000 bytes of samples, the file holds 0"),
        (slice(0, 16044), "cut off: the header promises 32000 bytes of samples, the file holds 16000"),
    ],
)
def test_damaged_waveform_is_counted(iemocap_tree, content, why):
    path = iemocap_tree.path("wav", ID)
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[content] if isinstance(content, slice) else content)
    corpus = read(iemocap_tree)
    assert len(corpus) == 4
    assert corpus.skipped == [Skip(f"Session1/sentences/wav/{DIALOGUE}/{ID}.wav", f"{why}; {ID} left out")]


def test_missing_alignment_keeps_the_utterance(iemocap_tree):
    iemocap_tree.path("wdseg", ID).unlink()
    corpus = read(iemocap_tree)
    assert corpus[ID].words == ()
    assert len(corpus[ID].phones) == 3
    iemocap_tree.path("phseg", ID).unlink()
    shutil.rmtree(iemocap_tree.root / "Session2/sentences/ForcedAlignment")
    both = read(iemocap_tree)
    assert len(both) == 5
    assert corpus.skipped == [Skip(ALIGNMENT, "alignment missing, utterance kept without words")]
    assert both.skipped == [
        Skip(
            "Session2/sentences/ForcedAlignment",
            "alignment missing, the session's 2 utterances kept without words and phones",
        ),
        Skip(ALIGNMENT, "alignment missing, utterance kept without words and phones"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Total score:     -298154\n", "", "line 7: expected 'Total score: ...' at the end, found '80 99 -61309 </s>'"),
        (
            "-91309 NOW",
            "-91309 NOW THEN",
            "line 5: expected start frame, end frame, score and label, found '35 69 -91309 NOW THEN'",
        ),
        ("-91309 NOW", "-9", "line 5: expected start frame, end frame, score and label, found '35 69 -9'"),
        (
            "  35    69",
            "  69    35",
            "line 5: expected frames after 34, start before end, within the waveform's 1.00 s; found 69 to 35",
        ),
        (
            "  35    69",
            "  20    69",
            "line 5: expected frames after 34, start before end, within the waveform's 1.00 s; found 20 to 69",
        ),
        (
            "  80    99",
            "  80  9999",
            "line 7: expected frames after 79, start before end, within the waveform's 1.00 s; found 80 to 9999",
        ),
        (
            "   0     9",
            "   0   nan",
            "line 2: expected start frame, end frame, score and label, found '0 nan -61309 <s>'",
        ),
        (
            "\tSFrm  EFrm    SegAScr Word\n",
            "",
            "line 1: expected the header 'SFrm EFrm SegAScr ...', found '0 9 -61309 <s>'",
        ),
    ],
)
def test_damaged_alignment_keeps_the_utterance(iemocap_tree, old, new, why):
    iemocap_tree.change("wdseg", ID, old, new)
    corpus = read(iemocap_tree)
    assert corpus[ID].words == ()
    assert len(corpus[ID].phones) == 3
    assert corpus.skipped == [Skip(f"{ALIGNMENT}.wdseg", f"alignment damaged, utterance kept without words: {why}")]


@pytest.mark.parametrize("label", ["sil", "sp", "!SIL", "{LG}", "#NOISE#", "[LAUGHTER]", "(2)"])
def test_labels_of_silence_and_noise_are_no_words(iemocap_tree, label):
    iemocap_tree.change("wdseg", ID, "-91309 NOW", f"-91309 {label}")
    assert [word.label for word in read(iemocap_tree)[ID].words] == ["what"]


def test_alignment_without_a_word_is_listed(iemocap_tree):
    path = iemocap_tree.path("wdseg", ID)
    path.write_text(path.read_text().replace("WHAT(2)", "SIL").replace("NOW", "<s>"))
    assert read(iemocap_tree).skipped == [Skip(f"{ALIGNMENT}.wdseg", "no words, but silence or noise alone")]


def test_empty_alignment_keeps_the_utterance(iemocap_tree):
    iemocap_tree.path("phseg", ID).write_bytes(b"")
    why = "line 1: expected the header 'SFrm EFrm SegAScr ...', found an empty file"
    assert read(iemocap_tree).skipped == [
        Skip(f"{ALIGNMENT}.phseg", f"alignment damaged, utterance kept without phones: {why}")
    ]


@pytest.mark.parametrize("cut", [10, 25, 50, len(LINE) - 1])
def test_label_file_cut_in_half_stops_the_reader(iemocap_tree, cut):
    path = iemocap_tree.path("labels", DIALOGUE)
    text = path.read_text()
    path.write_text(text[: text.index(LINE) + cut])
    assert error(iemocap_tree) == (
        f"{LABELS}:8: expected '[start - end]<TAB>name<TAB>emotion<TAB>[V, A, D]', found {LINE[:cut]!r}; "
        "the file is cut off or damaged: unpack it again from the release"
    )


def test_label_file_cut_between_utterances_is_counted(iemocap_tree):
    path = iemocap_tree.path("labels", DIALOGUE)
    text = path.read_text()
    path.write_text(text[: text.index(LINE)])
    assert [skip.why for skip in read(iemocap_tree).skipped] == [
        f"{ID} is transcribed but not labelled; left out",
        "Ses01F_impro01_F002 is transcribed but not labelled; left out",
    ]


@pytest.mark.parametrize(("content", "found"), [(b"", "an empty file"), (LINE.encode(), f"{LINE[:60]!r}")])
def test_label_file_without_header_stops_the_reader(iemocap_tree, content, found):
    iemocap_tree.path("labels", DIALOGUE).write_bytes(content)
    assert error(iemocap_tree) == (
        f"{LABELS}:1: expected the header '% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]', found {found}; "
        "unpack the file again from the release"
    )


def test_label_file_in_utf_16_stops_the_reader(iemocap_tree):
    path = iemocap_tree.path("labels", DIALOGUE)
    path.write_text(path.read_text(), encoding="utf-16")
    assert error(iemocap_tree) == (
        f"{LABELS}:1: expected text in UTF-8 or Windows-1252, found zero bytes (UTF-16, an archive or a damaged file); "
        "unpack it or save it as UTF-8"
    )


@pytest.mark.parametrize("line", ["[" + "1," * 40_000, "[1 - 2] a b [" + "," * 40_000 + "x"])
def test_a_label_line_of_many_commas_is_refused_as_fast_as_any(iemocap_tree, line):
    iemocap_tree.change("labels", DIALOGUE, LINE, line)
    assert error(iemocap_tree).startswith(f"{LABELS}:8: expected '[start - end]<TAB>name<TAB>emotion<TAB>[V, A, D]'")


def test_labels_in_capitals_and_a_blank_first_line(iemocap_tree):
    iemocap_tree.change("labels", DIALOGUE, f"{ID}\tang", f"{ID}\tANG")
    iemocap_tree.change("labels", DIALOGUE, "% [START_TIME", "\n% [START_TIME")
    assert read(iemocap_tree)[ID].emotion == "angry"


def test_unknown_label_stops_the_reader(iemocap_tree):
    iemocap_tree.change("labels", DIALOGUE, f"{ID}\tang", f"{ID}\tanger")
    assert error(iemocap_tree) == (
        f"{LABELS}:8: expected an emotion among ang, hap, exc, neu, sad, fru, fea, sur, dis, oth, xxx, found 'anger'"
    )


def test_utterance_labelled_twice_stops_the_reader(iemocap_tree):
    iemocap_tree.change("labels", DIALOGUE, f"\t{ID}", "\tSes01F_impro01_F000")
    assert error(iemocap_tree) == (f"{LABELS}:8: Ses01F_impro01_F000 is labelled a second time, first in {LABELS}:3")


@pytest.mark.parametrize("times", ["9.5 - 1.9", "nan - 1.9", "-3 - 1.9"])
def test_absurd_times_of_a_label_are_counted(iemocap_tree, times):
    iemocap_tree.change("labels", DIALOGUE, "1.2901 - 1.9357", times)
    corpus = read(iemocap_tree)
    start, end = times.split(" - ")
    why = f"expected a start time before the end time, found {start} and {end}; {ID} kept, its times are not used"
    assert corpus[ID].dimensions == (2.5, 3.0, 3.5)
    assert corpus.skipped == [Skip(f"{LABELS}:8", why)]


@pytest.mark.parametrize("ratings", ["2.5, 3.5", "2,5, 3,5, 3,5", "2.5, nan, 3.5", "2.5, 1e9, 3.5", "2.5, high, 3.5"])
def test_absurd_ratings_of_a_label_are_counted(iemocap_tree, ratings):
    iemocap_tree.change("labels", DIALOGUE, LINE, LINE.replace("2.5000, 3.0000, 3.5000", ratings))
    corpus = read(iemocap_tree)
    assert corpus[ID].dimensions is None
    why = f"expected ratings from 1 to 5, found [{ratings}]; {ID} kept without dimensions"
    assert corpus.skipped == [Skip(f"{LABELS}:8", why)]


def test_odd_line_of_a_label_file_is_counted(iemocap_tree):
    iemocap_tree.change("labels", DIALOGUE, LINE, f"Hello\n{LINE}")
    assert read(iemocap_tree).skipped == [
        Skip(f"{LABELS}:8", "expected an utterance or an annotator's line, found 'Hello'; line left out")
    ]


@pytest.mark.parametrize("name", ["Ses02F_impro01_M001", "Ses01F_impro01_X001", "impro01"])
def test_label_of_no_utterance_of_the_session_is_counted(iemocap_tree, name):
    iemocap_tree.change("labels", DIALOGUE, f"\t{ID}\t", f"\t{name}\t")
    assert read(iemocap_tree).skipped[0] == Skip(
        f"{LABELS}:8",
        f"expected the name of an utterance of Session1, like Ses01F_impro01_F000, found {name!r}; left out",
    )


def test_tree_that_is_not_iemocap(tmp_path):
    (tmp_path / "IEMOCAP_full_release").mkdir()
    with pytest.raises(ValueError) as caught:
        iemocap.read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not in IEMOCAP's layout: expected Session1 to Session5 with label files in "
        "dialog/EmoEvaluation, found IEMOCAP_full_release; give the folder that holds Session1"
    )


def test_sessions_that_are_missing_are_warned_of(iemocap_tree, caplog):
    caplog.set_level(logging.WARNING)
    assert len(read(iemocap_tree)) == 5
    assert "only part of the corpus, no label files in Session3, Session4, Session5" in caplog.text


@pytest.mark.parametrize("folder", ["dialog/transcriptions", "sentences/wav"])
def test_session_without_texts_or_waveforms_stops_the_reader(iemocap_tree, folder):
    shutil.rmtree(iemocap_tree.root / "Session2" / folder)
    message = f"Session2/{folder} is missing: only part of the release is there; unpack it whole"
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        read(iemocap_tree)


def test_nothing_left(iemocap_tree):
    shutil.rmtree(iemocap_tree.root / "Session2")
    for path in (iemocap_tree.root / "Session1/sentences/wav").glob("*/*"):
        path.unlink()
    assert error(iemocap_tree).endswith(
        f"expected utterances with label, transcript and waveform, found none; first {LABELS}:3: Ses01F_impro01_F000 "
        f"has no waveform sentences/wav/{DIALOGUE}/Ses01F_impro01_F000.wav; left out"
    )


def test_as_large_as_the_release(empty_iemocap_tree):
    counts = {
        **{"ang": 1103, "hap": 595, "exc": 1041, "neu": 1708, "sad": 1084, "fru": 1849},
        **{"sur": 107, "fea": 40, "dis": 2, "oth": 3, "xxx": 2507},
    }
    emotions = [emotion for emotion, count in counts.items() for _ in range(count)]
    for i in range(0, len(emotions), 1000):
        empty_iemocap_tree.add(f"Ses0{i // 1000 % 5 + 1}F_impro{i // 5000:02}", emotions[i : i + 1000], alignment=False)
    corpus = corpora.load("iemocap", empty_iemocap_tree.root, progress=False)
    four = corpus.four_class()
    assert len(corpus) == 10039
    assert len(four) == 5531
    assert [sum(u.emotion == e for u in four) for e in corpora.EMOTIONS] == [1103, 1636, 1708, 1084]
    assert len({u.speaker for u in corpus}) == 10
