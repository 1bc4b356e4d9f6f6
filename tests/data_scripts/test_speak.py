"""Speaking a text: words where the synthesiser says, the same whatever the processes, resumed, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_scripts import speak
from data_scripts.synthetic.plan import SPEAKERS
from data_scripts.synthetic.voice import Synthesiser
from serlib.embeddings.spoken import read_spoken
from serlib.features import mfcc

SENTENCES = [
    "The jury praised the City, which had 2 mayors.",
    "I am out of breath!",
    "42",
    "They walked to the river in the rain - and swam.",
    "A night for a knight.",
]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("spoken") / "out"
    speak.speak(SENTENCES, out, voices=3, jobs=1, progress=False)
    return out


def test_words_of_letters_alone() -> None:
    words, others = speak.words_of('"Well," she said -- it\'s the 3rd co-op (of four) naïve…')
    assert words == ["well", "she", "said", "the", "of", "four", "naïve"] and others == ["it's", "3rd", "co-op"]


def test_each_word_with_its_voice_and_frames(spoken: Path) -> None:
    text = read_spoken(spoken)
    expected = [words for words, _ in map(speak.words_of, SENTENCES) if words]
    assert text.texts() == expected and text.vocabulary[0] == "the"
    assert text.sentences[0] == 0 and text.sentences[-1] == 4
    assert text.speakers == tuple(SPEAKERS)[:3] and (text.voices == text.sentences % 3).all()
    facts = json.loads((spoken / "speech.json").read_text())
    assert (facts["spoken"], facts["left out"], facts["refused"]) == (len(text), 2, 0)
    assert text.lengths.min() >= 1 and 10 < text.lengths.mean() < 60


def test_frames_are_those_of_the_sound_at_the_synthesisers_times(spoken: Path) -> None:
    text, words = read_spoken(spoken), speak.words_of(SENTENCES[3])[0]
    samples, phones = speak._say(Synthesiser(), words, next(iter(SPEAKERS.values())))
    features = np.asarray(mfcc(samples))[:, :13]
    first = int(np.flatnonzero(text.sentences == 3)[0])
    middles = 0.0125 + 0.01 * np.arange(len(features))
    for word in range(len(words)):
        own = [phone for phone in phones if phone.word == word]
        start, end = own[0].start / 22_050, own[-1].end / 22_050
        expected = features[(middles >= start - 1e-7) & (middles < end - 1e-7)]
        np.testing.assert_allclose(text.segment(first + word), expected, atol=0.06)  # half precision


def test_neither_processes_nor_a_kill_change_a_byte(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speak, "SENTENCES_A_PART", 2)
    speak.speak(SENTENCES, tmp_path / "two", voices=3, jobs=2, progress=False)
    assert contents(tmp_path / "two") == contents(spoken)
    made, whole = [], speak._speak_part

    def killed(*args: object) -> int:
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(1)
        return whole(*args)

    monkeypatch.setattr(speak, "_speak_part", killed)
    with pytest.raises(KeyboardInterrupt):
        speak.speak(SENTENCES, tmp_path / "one", voices=3, jobs=1, progress=False)
    monkeypatch.setattr(speak, "_speak_part", lambda *args: made.append(1) or whole(*args))
    speak.speak(SENTENCES, tmp_path / "one", voices=3, jobs=1, progress=False)
    assert len(made) == 3  # the first part was not made again
    assert contents(tmp_path / "one") == contents(spoken)
    speak.speak(SENTENCES, tmp_path / "one", voices=3, jobs=1, progress=False)
    assert len(made) == 3


def test_bad_input_is_refused(spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileExistsError, match=r"^\[Errno 17\] the folder holds another spoken text \(sentences 5, "):
        speak.speak(SENTENCES[:2], spoken, voices=3, progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something that is no spoken text; choose an empty one"):
        speak.speak(SENTENCES, tmp_path / "other", progress=False)
    with pytest.raises(ValueError, match="expected 1 to 10 voices and a job or more, found 11 and 1"):
        speak.speak(SENTENCES, tmp_path / "new", voices=11, jobs=1)
    with pytest.raises(ValueError, match="expected sentences with words in them, found none"):
        speak.speak(["1 2 3"], tmp_path / "new")
    with pytest.raises(FileNotFoundError, match=r"absent\.txt: expected a file of sentences, one a line, found none"):
        speak.read_sentences(tmp_path / "absent.txt")
    text = tmp_path / "text.txt"
    text.write_bytes(b"one\ntwo\nd\xe9j\xe0 vu\n")
    with pytest.raises(ValueError, match=r"text\.txt:3: expected UTF-8, found b'\\xe9'"):
        speak.read_sentences(text)
    text.write_text("\n 12 \n")
    with pytest.raises(ValueError, match=r"text\.txt: expected sentences, one a line, found no word"):
        speak.read_sentences(text)
    text.write_bytes(b"\xef\xbb\xbfHello there.\r\n\r\nBye.\r\n")
    assert speak.read_sentences(text) == ["Hello there.", "Bye."]
    with pytest.raises(SystemExit):
        speak.main([str(tmp_path / "absent.txt"), "--out", str(tmp_path / "new")])
    assert "absent.txt: expected a file of sentences" in capsys.readouterr().err
    speak.main([str(text), "--out", str(tmp_path / "new"), "--jobs", "1"])
    assert "3 words in 2 sentences" in capsys.readouterr().out
