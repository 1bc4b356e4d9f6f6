"""Words of a small LibriSpeech: where the acoustic model heard them, resumed without a change, and bad input."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from data_scripts import librispeech
from data_scripts.librispeech import Refusal, Utterance, align, find_words, read_subset
from data_scripts.recognisers.wav2vec import Recogniser
from serlib.embeddings.spoken import read_spoken
from serlib.features import mfcc, read_waveform

LABELS = "-|ABCDEFGHIJKLMNOPQRSTUVWXYZ'"

SPELT = {
    "84-7-0000": "--TTH-E-|-BO-OK||--",
    "84-7-0001": "A|-DDOG-G'S|--TTO-OOYY|-",
    "84-7-0002": "TH-E|",
    "103-1-0000": "---II||-SA-W-|TTHHEE|-EE-G-GG|-",
    "103-1-0001": "B-OOK|-",
    "103-1-0002": "EGG|",
    "9-2-0000": "TOY|TOY|",
    "9-2-0001": "TO-Y|",
}
"""What a made acoustic model hears in each file: a character per emission."""

TRANSCRIPTS = {
    "84-7-0000": "THE BOOK",
    "84-7-0001": "A DOGG'S TOOY",
    "103-1-0000": "I SAW THE EGG",
    "103-1-0001": "BOOK 2",
    "103-1-0002": "EGG",
    "9-2-0000": "TOY TOY",
    "9-2-0001": "",
}
"""84-7-0002 has none."""


def hear(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, None]:
    """The speech of these files is a constant per emission: a hundredth of the number of the label."""
    emissions = 1 + (waveforms.shape[1] - 400) // 320
    spoken = (waveforms[:, : emissions * 320].unflatten(1, (-1, 320)).mean(2) * 100).round().long()
    return 9.0 * torch.nn.functional.one_hot(spoken, len(LABELS)), None


RECOGNISER = Recogniser(hear, LABELS, 16_000)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a test wants the network")

    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A LibriSpeech of eight files, of which 103-1-0002 is cut off."""
    chapters: dict[Path, str] = {}
    for name, spelt in SPELT.items():
        speaker, chapter, _ = name.split("-")
        folder = tmp_path / "LibriSpeech" / "dev-clean" / speaker / chapter
        folder.mkdir(parents=True, exist_ok=True)
        samples = np.repeat([LABELS.index(letter) / 100 for letter in spelt], 320)
        soundfile.write(folder / f"{name}.flac", np.append(samples, np.zeros(80)), 16_000, subtype="PCM_16")
        if name in TRANSCRIPTS:
            table = folder / f"{speaker}-{chapter}.trans.txt"
            chapters[table] = chapters.get(table, "") + f"{name} {TRANSCRIPTS[name]}\n"
    for table, text in chapters.items():
        table.write_text(text, encoding="utf-8")
    cut = tmp_path / "LibriSpeech" / "dev-clean" / "103" / "1" / "103-1-0002.flac"
    cut.write_bytes(cut.read_bytes()[:30])
    return tmp_path


def heard(name: str) -> list[tuple[str, float, float]]:
    """Words with the seconds of their characters, read off SPELT: an emission begins 40 samples after 320 times its
    number."""
    spelt, words, first = SPELT[name], TRANSCRIPTS[name].lower().split(), None
    found = []
    for place, letter in enumerate(spelt):
        if letter not in "-|":
            first, last = place if first is None else first, place
        elif letter == "|" and first is not None:
            found.append((words[len(found)], (320 * first + 40) / 16_000, (320 * (last + 1) + 40) / 16_000))
            first = None
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_words_lie_where_their_characters_were_heard(root: Path) -> None:
    utterances = {one.id: one for one in read_subset(root, "dev-clean")}
    assert list(utterances) == sorted(SPELT)
    for name in ("84-7-0000", "84-7-0001", "103-1-0000"):
        found = find_words(utterances[name], read_waveform(utterances[name].path), RECOGNISER)
        assert [word.label for word in found] == TRANSCRIPTS[name].lower().split()
        assert [tuple(word) for word in found] == [
            (word, pytest.approx(a), pytest.approx(b)) for word, a, b in heard(name)
        ]


def test_frames_are_those_within_a_word_and_what_cannot_be_aligned_is_counted(root: Path, tmp_path: Path) -> None:
    align(read_subset(root, "dev-clean"), RECOGNISER, tmp_path / "out", progress=False)
    text = read_spoken(tmp_path / "out")
    names = sorted(SPELT)
    assert [names[number] for number in np.unique(text.sentences)] == [
        "103-1-0000",
        "84-7-0000",
        "84-7-0001",
        "9-2-0000",
    ]
    assert text.speakers == ("103", "84", "9") and text.vocabulary[:2] == ("the", "toy")
    for word in range(len(text)):
        name = names[text.sentences[word]]
        assert text.speakers[text.voices[word]] == name.split("-")[0]
        label, start, end = heard(name)[word - int(np.searchsorted(text.sentences, text.sentences[word]))]
        assert text.vocabulary[text.labels[word]] == label
        features = np.asarray(mfcc(read_waveform(path_of(root, name))))[:, :13]
        middles = 0.0125 + 0.01 * np.arange(len(features))
        expected = features[(middles >= start - 1e-7) & (middles < end - 1e-7)]
        np.testing.assert_allclose(text.segment(word), expected, atol=0.06)  # half precision
    facts = json.loads((tmp_path / "out" / "speech.json").read_text())
    assert facts["reasons"] == {"no transcript": 2, "unknown characters": 1, "unreadable": 1}
    assert facts["refused"] == 4 and facts["spoken"] == len(text) == 11
    messages = dict(zip(["103-1-0001", "103-1-0002", "84-7-0002", "9-2-0001"], facts["refusals"], strict=True))
    assert messages["103-1-0001"] == "unknown characters: 103-1-0001: the recogniser lacks 2"
    assert messages["84-7-0002"].startswith("no transcript: 84-7-0002: expected a line with its id and words")
    assert messages["103-1-0002"].startswith(f"unreadable: 103-1-0002: {path_of(root, '103-1-0002')}: expected a sound")


def path_of(root: Path, name: str) -> Path:
    speaker, chapter, _ = name.split("-")
    return root / "LibriSpeech" / "dev-clean" / speaker / chapter / f"{name}.flac"


def test_a_transcript_needs_an_emission_for_each_character_and_one_between_equal_ones() -> None:
    def samples(emissions: int) -> np.ndarray:
        return np.zeros(400 + 320 * (emissions - 1), dtype=np.float32)

    utterance = Utterance("1-2-0003", Path("1-2-0003.flac"), ("egg", "a"))  # e, g, blank, g, |, a, |
    assert [word.label for word in find_words(utterance, samples(7), RECOGNISER)] == ["egg", "a"]
    with pytest.raises(Refusal, match="too long: 1-2-0003: 7 characters and blanks, 6 emissions to put them in"):
        find_words(utterance, samples(6), RECOGNISER)
    with pytest.raises(Refusal, match="7 characters and blanks, 0 emissions"):
        find_words(utterance, np.zeros(100, dtype=np.float32), RECOGNISER)
    for label in "-|":  # neither the blank nor the end of a word is a character
        with pytest.raises(Refusal, match=rf"unknown characters: 1-2-0003: the recogniser lacks \{label}"):
            find_words(Utterance("1-2-0003", Path("x"), (f"a{label}b",)), samples(9), RECOGNISER)


def test_a_kill_does_not_change_a_byte(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = read_subset(root, "dev-clean")
    align(utterances, RECOGNISER, tmp_path / "whole", progress=False)
    monkeypatch.setattr(librispeech, "UTTERANCES_A_PART", 3)
    made, whole = [], librispeech._align_part

    def killed(*args: object) -> None:
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(1)
        whole(*args)

    monkeypatch.setattr(librispeech, "_align_part", killed)
    with pytest.raises(KeyboardInterrupt):
        align(utterances, RECOGNISER, tmp_path / "again", progress=False)
    monkeypatch.setattr(librispeech, "_align_part", lambda *args: made.append(1) or whole(*args))
    align(utterances, RECOGNISER, tmp_path / "again", progress=False)
    assert len(made) == 3  # the first part was not made again
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
    align(utterances, RECOGNISER, tmp_path / "again", progress=False)
    assert len(made) == 3


def test_bad_input_is_refused(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="LibriSpeech has no subset 'clean'; expected one of dev-clean, dev-other"):
        read_subset(root, "clean")
    with pytest.raises(
        FileNotFoundError, match=r"test-clean: expected a subset of LibriSpeech, found no folder; --down"
    ):
        read_subset(root, "test-clean")
    (root / "LibriSpeech" / "dev-other").mkdir()
    with pytest.raises(ValueError, match="dev-other: expected sound with transcripts, found 0 files and no transcript"):
        read_subset(root, "dev-other")
    utterances = read_subset(root, "dev-clean")
    assert caplog.messages == [f"{root / 'LibriSpeech' / 'dev-clean'} holds 8 of 2703 utterances"]
    (root / "LibriSpeech" / "dev-clean" / "84" / "7" / "84-7.trans.txt").write_bytes(b"84-7-0000 \xff\xfe\n")
    assert [one.id for one in read_subset(root, "dev-clean") if one.words] == [
        "103-1-0000", "103-1-0001", "103-1-0002", "9-2-0000"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="expected a recogniser of 16000 samples a second, found one of 8000"):
        align(utterances, Recogniser(hear, LABELS, 8_000), tmp_path / "out")
    slow = Recogniser(lambda waveforms, lengths: (hear(waveforms, lengths)[0][:, ::2], None), LABELS, 16_000)
    with pytest.raises(ValueError, match=r"103-1-0000\.flac: expected 31 emissions of 10000 samples, .* found 16"):
        align(utterances, slow, tmp_path / "out", progress=False)
    with pytest.raises(FileExistsError, match=r"^\[Errno 17\] the folder holds another spoken text \(sentences 8, "):
        align(utterances[:3], RECOGNISER, tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match=r"none of 1 utterances can be aligned, .* the first: no transcript: 9-2-0001"):
        align(utterances[-1:], RECOGNISER, tmp_path / "none", progress=False)


def test_the_command(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(librispeech, "load_recogniser", lambda pipeline, device: RECOGNISER)
    arguments = ["--root", str(root), "--out", str(tmp_path / "out"), "--device", "cpu", "--subset"]
    librispeech.main([*arguments, "dev-clean"])
    printed = capsys.readouterr().out
    assert "11 words in 8 utterances" in printed and "no transcript: 2 utterances left out" in printed
    with pytest.raises(SystemExit):
        librispeech.main([*arguments, "test-clean"])
    assert "expected a subset of LibriSpeech, found no folder" in capsys.readouterr().err
