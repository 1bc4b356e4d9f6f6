"""Transcripts by both engines: writing, going on after an interruption, files that cannot be read, error rates.

torchaudio's recogniser is a stub whose speech is made up; PocketSphinx is the real one, on synthesised speech.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_scripts import transcribe
from data_scripts.recognisers import Engine, sphinx
from data_scripts.recognisers.wav2vec import Recogniser, Wav2Vec
from data_scripts.synthetic.voice import NATIVE_RATE, Reading, Synthesiser
from data_scripts.transcribe import batches
from serlib import corpora
from serlib.corpora.corpus import Corpus, Utterance

LABELS = "-|abcdefghijklmnopqrstuvwxyz'"
FRAME = 320

STUB = """
import torch
LABELS = "-|abcdefghijklmnopqrstuvwxyz'"

def model(waveforms, lengths):
    frames = lengths // 320
    spoken = (waveforms[:, : waveforms.shape[1] // 320 * 320].unflatten(1, (-1, 320)).mean(2) * 100).round().long()
    return 9.0 * torch.nn.functional.one_hot(spoken, len(LABELS)), frames
"""
"""An acoustic model whose speech is a constant per frame: a hundredth of the number of the label."""

namespace: dict = {}
exec(STUB, namespace)
RECOGNISER = Recogniser(namespace["model"], LABELS, 16_000)

SPELT = {
    "Ses1F_0": "--cc-aa-nn---||-nn-o-tt-",
    "Ses1F_1": "i|s-s|-|",
    "Ses2M_2": "----",
    "Ses2M_3": "|no-oo|'t-is|",
    "Ses2M_4": "b",
}
HEARD = {"Ses1F_0": "can not", "Ses1F_1": "i ss", "Ses2M_2": "", "Ses2M_3": "noo 'tis", "Ses2M_4": "b"}
TEXTS = {"Ses1F_0": "Can not!", "Ses1F_1": "[LAUGHTER] I", "Ses2M_2": "Oh.", "Ses2M_3": "Noo, 'tis", "Ses2M_4": "b b"}

SAID = {"Ses1F_0": "We are happy today.", "Ses1F_1": "Yes!", "Ses2M_2": "Oh.", "Ses2M_3": "Good morning."}
SPHINX = {"Ses1F_0": "we are happy today", "Ses1F_1": "yes", "Ses2M_2": "", "Ses2M_3": "good morning"}
"""What PocketSphinx hears of them; Ses2M_2 is half a second of zeros."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a test wants the network")

    monkeypatch.setattr(socket.socket, "connect", refused)


@dataclass(frozen=True)
class Case:
    """An engine, a corpus for it, and what it hears there."""

    engine: Engine
    corpus: Corpus
    heard: dict[str, str]

    @property
    def words(self) -> int:
        return len(" ".join(self.heard.values()).split())


def made_up(path: Path, spelt: str) -> None:
    samples = np.repeat([LABELS.index(letter) / 100 for letter in spelt], FRAME)
    soundfile.write(path, samples, 16_000, subtype="PCM_16")


def corpus_of(folder: Path, texts: dict[str, str]) -> Corpus:
    """A corpus of the sounds in a folder."""
    utterances = []
    for id, text in texts.items():
        path = folder / f"{id}.wav"
        seconds = soundfile.info(path).duration
        utterances.append(Utterance(id, id[:5], id[3:4], "d", False, "sad", None, text, path, seconds))
    return Corpus("iemocap", folder, utterances)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sounds of `SAID`, at another rate than the model's."""
    folder, synthesiser = tmp_path_factory.mktemp("spoken"), Synthesiser()
    for id, text in SAID.items():
        samples = synthesiser.speak(text.split(), Reading("f2", 140, 50, 50, 0.0)).samples
        soundfile.write(folder / f"{id}.wav", samples, NATIVE_RATE, subtype="PCM_16")
    soundfile.write(folder / "Ses2M_2.wav", np.zeros(8_000), 16_000, subtype="PCM_16")
    return folder


@pytest.fixture(params=["torchaudio", "pocketsphinx"])
def case(request: pytest.FixtureRequest, spoken: Path, tmp_path: Path) -> Case:
    if request.param == "pocketsphinx":
        shutil.copytree(spoken, tmp_path, dirs_exist_ok=True)
        return Case(sphinx.PocketSphinx(), corpus_of(tmp_path, SAID), SPHINX)
    for id, letters in SPELT.items():
        made_up(tmp_path / f"{id}.wav", letters)
    return Case(Wav2Vec(RECOGNISER), corpus_of(tmp_path, TEXTS), HEARD)


# The flow, with either engine


def test_table_and_error_rates(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "transcripts" / "asr.tsv"
    report = transcribe.transcribe(case.corpus, case.engine, out, progress=False)
    assert out.read_text() == "id\ttext\n" + "".join(f"{id}\t{text}\n" for id, text in case.heard.items())
    assert [u.text for u in corpora.with_transcripts(case.corpus, "asr")] == list(case.heard.values())
    assert sorted(path.name for path in out.parent.iterdir()) == ["asr.tsv", "asr.tsv.lock", "asr.wer.json"]
    assert json.loads((out.parent / "asr.wer.json").read_text()) == report
    assert report.items() >= case.engine.settings.items()
    assert report["all"] == corpora.word_error_rates(case.corpus, case.heard)["all"]
    with pytest.raises(FileExistsError, match=r"asr\.tsv: there are such transcripts already"):
        transcribe.transcribe(case.corpus, case.engine, out, progress=False)


def test_an_utterance_that_cannot_be_read_is_named_and_the_others_kept(case: Case, tmp_path: Path) -> None:
    out, corpus = tmp_path / "asr.tsv", case.corpus
    whole = {id: corpus[id].audio.read_bytes() for id in ("Ses1F_1", "Ses2M_3")}
    soundfile.write(corpus["Ses1F_1"].audio, np.zeros(0), 16_000, subtype="PCM_16")
    corpus["Ses2M_3"].audio.write_bytes(b"no sound")
    with pytest.raises(ValueError) as caught:
        transcribe.transcribe(corpus, case.engine, out, batch_seconds=0, progress=False)
    message, kept = str(caught.value), len(corpus) - 2
    assert message.startswith(f"2 of {len(corpus)} utterances cannot be read, the first is Ses1F_1: {tmp_path}")
    assert message.endswith(
        f" The other {kept} are kept in {tmp_path / '.asr.tsv.part.json'}; mend the files and run this again"
    )
    assert not out.exists()
    for id, content in whole.items():
        corpus[id].audio.write_bytes(content)
    transcribe.transcribe(corpus, case.engine, out, batch_seconds=0, progress=False)
    assert corpora.read_transcripts(out) == case.heard


def test_what_is_there_of_another_run_or_damaged_is_refused(case: Case, tmp_path: Path) -> None:
    part = tmp_path / ".asr.tsv.part.json"
    part.write_text('{"settings": ')
    with pytest.raises(ValueError, match=r"found a damaged file; remove it"):
        transcribe.transcribe(case.corpus, case.engine, tmp_path / "asr.tsv", progress=False)
    part.write_text('{"settings": {"corpus": "iemocap", "utterances": 9}, "texts": {}}')
    with pytest.raises(ValueError, match=r"begun with utterances 9, not [45]; run with that, remove the file, or"):
        transcribe.transcribe(case.corpus, case.engine, tmp_path / "asr.tsv", progress=False)


KILLED = """
import os, signal, sys
from data_scripts import transcribe
from data_scripts.recognisers import sphinx, wav2vec
from serlib import files

write, calls = files.write_json, []

def killed(*arguments):
    write(*arguments)
    calls.append(arguments)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

files.write_json = killed
wav2vec.load_recogniser = lambda *_: wav2vec.Recogniser(model, LABELS, 16_000)
transcribe.main(sys.argv[1:])
"""
"""The command, in a process that is killed when its second batch is kept."""


def test_a_killed_run_goes_on_to_the_same_file(
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture,
) -> None:
    batches_heard: list[int] = []

    def counting(hear: Callable) -> Callable:
        def counted(self: Engine, batches: list) -> object:
            batches_heard.append(len(batches))
            return hear(self, batches)

        return counted

    def run(*arguments: str) -> tuple[int, int]:
        batches_heard.clear()
        return transcribe.main([*given, *arguments]), sum(batches_heard)

    for engine in (sphinx.PocketSphinx, Wav2Vec):
        monkeypatch.setattr(engine, "hear", counting(engine.hear))
    monkeypatch.setattr(transcribe.wav2vec, "load_recogniser", lambda *_: RECOGNISER)
    caplog.set_level("INFO")
    root, name, number = in_iemocaps_layout(case, tmp_path / "iemocap"), case.engine.settings["engine"], len(case.heard)
    given = ["--corpus", "iemocap", "--root", str(root), "--engine", name, "--batch-seconds", "0", "--device", "cpu"]
    given += ["--jobs", "1"]
    assert run("--out", "whole") == (0, number)
    assert (
        f"all: word error rate 0.00 %, {case.words} words, nothing heard in 1 of {number} utterances" in caplog.messages
    )

    environment = os.environ | {"PYTHONPATH": str(Path(transcribe.__file__).parents[1])}
    command = [sys.executable, "-c", STUB + KILLED, *given, "--out", "killed"]
    assert subprocess.run(command, capture_output=True, env=environment).returncode == -signal.SIGKILL
    folder = root / "transcripts"
    assert not (folder / "killed.tsv").exists()
    other = ["--engine", "pocketsphinx" if name == "torchaudio" else "torchaudio"]
    assert run("--out", "killed", *other) == (1, 0)
    assert f"begun with engine '{name}', not '{other[1]}'; run with that" in capsys.readouterr().err
    assert run("--out", "killed") == (0, number - 2)  # the two finished batches were kept
    for kind in ("tsv", "wer.json"):
        assert (folder / f"killed.{kind}").read_bytes() == (folder / f"whole.{kind}").read_bytes()
    assert not list(folder.glob(".*"))


def in_iemocaps_layout(case: Case, root: Path) -> Path:
    """The sounds of a case as one dialogue, with what is heard there as their words."""
    folder = root / "Session1"
    wav = folder / "sentences" / "wav" / "Ses01F_impro01"
    for name in ("EmoEvaluation", "transcriptions"):
        (folder / "dialog" / name).mkdir(parents=True)
    wav.mkdir(parents=True)
    labels, texts = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n", ""
    for number, u in enumerate(case.corpus):
        id = f"Ses01F_impro01_F{number:03}"
        labels += f"[{number}.0 - {number}.5]\t{id}\tneu\t[2.5, 2.5, 2.5]\n"
        texts += f"{id} [{number}.0-{number}.5]: {case.heard[u.id] or '[BREATHING]'}\n"
        shutil.copy(u.audio, wav / f"{id}.wav")
    (folder / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt").write_text(labels)
    (folder / "dialog" / "transcriptions" / "Ses01F_impro01.txt").write_text(texts)
    return root


def test_batches_are_of_like_length_and_not_too_long(tmp_path: Path) -> None:
    for n in range(1, 30):
        made_up(tmp_path / f"u{n:02}.wav", "a" * n)
    corpus = corpus_of(tmp_path, {f"u{n:02}": "" for n in range(1, 30)})
    for seconds in (0.0, 0.3, 1.0, 100.0):
        found = list(batches(corpus.utterances, seconds))
        durations = [u.duration for batch in found for u in batch]
        assert durations == sorted(durations, reverse=True) and len(durations) == 29
        assert all(len(batch) == 1 or batch[0].duration * len(batch) <= seconds for batch in found)
    assert all(len(batch) == 1 for batch in batches(corpus.utterances, 0.0))


@pytest.mark.parametrize(("decoder", "seconds"), [("greedy", 0.0), ("beam", 0.6)])
def test_other_batches_and_decoders_of_torchaudio(tmp_path: Path, decoder: str, seconds: float) -> None:
    for id, letters in SPELT.items():
        made_up(tmp_path / f"{id}.wav", letters)
    engine = Wav2Vec(RECOGNISER, decoder=decoder, batch_seconds=seconds)
    how = {"batch_seconds": seconds, "progress": False}
    transcribe.transcribe(corpus_of(tmp_path, TEXTS), engine, tmp_path / "asr.tsv", **how)
    assert corpora.read_transcripts(tmp_path / "asr.tsv") == HEARD


def test_a_batch_with_a_broken_file_is_not_lost_silently(tmp_path: Path) -> None:
    for id, letters in SPELT.items():
        made_up(tmp_path / f"{id}.wav", letters)
    corpus = corpus_of(tmp_path, TEXTS)
    corpus["Ses2M_3"].audio.write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"1 of 5 .* 4 more are in batches with them\. The other 0 are kept"):
        transcribe.transcribe(corpus, Wav2Vec(RECOGNISER), tmp_path / "asr.tsv", progress=False)


def test_what_cannot_be_transcribed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transcribe.main(["--root", str(tmp_path / "nowhere")]) == 1
    assert f"error: no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err
    empty = Corpus("sewa", tmp_path, [])
    with pytest.raises(ValueError, match="expected a corpus of utterances, found 0 recordings"):
        transcribe.transcribe(empty, sphinx.PocketSphinx(), tmp_path / "asr.tsv", progress=False)


def test_each_group_is_told_once() -> None:
    one, two = {"wer": 0.5, "words": 1234, "utterances": 9, "empty": 0}, {"wer": None, "words": 0, "utterances": 2}
    report = {"corpus": "iemocap", "all": one, "emotions": {"sad": two | {"empty": 2}, "angry": one}}
    assert list(transcribe.told(report | {"speakers": {"x": one}, "sessions": {"x": one}, "scripts": {}})) == [
        "all: word error rate 50.00 %, 1,234 words",
        "emotions, sad: no reference words, 0 words, nothing heard in 2 of 2 utterances",
        "emotions, angry: word error rate 50.00 %, 1,234 words",
        "speakers, x: word error rate 50.00 %, 1,234 words",
    ]


# PocketSphinx


def test_an_utterance_is_heard_alike_alone_in_another_order_and_by_several_processes(spoken: Path) -> None:
    corpus = corpus_of(spoken, SAID)
    ids = ["Ses1F_1", "Ses2M_2", "Ses2M_3"]
    expected = {id: SPHINX[id] for id in ids}
    for order, jobs in ((ids, 2), (ids, 1), (ids[::-1], 1)):
        several = sphinx.PocketSphinx(jobs).hear([[corpus[id]] for id in order])
        assert {id: text for heard in several for id, text in heard.texts.items()} == expected
    for id in ids:
        sphinx._decoder.cache_clear()
        (heard,) = sphinx.PocketSphinx().hear([[corpus[id]]])
        assert heard.texts == {id: expected[id]}


@pytest.mark.parametrize("samples", [1, 3, 400, 16_000])
def test_neither_silence_nor_a_moment_of_sound_is_a_failure(samples: int) -> None:
    assert sphinx.recognise(np.zeros(samples, np.float32)) == ""


@pytest.mark.skipif("SERLIB_TEST_DATA" not in os.environ, reason="SERLIB_TEST_DATA names no folder with RAVDESS")
def test_an_actor_is_understood() -> None:
    root = Path(os.environ["SERLIB_TEST_DATA"], "ravdess")
    corpus = corpora.load("ravdess", root, progress=False).select(["03-01-01-01-01-01-03"])
    (heard,) = sphinx.PocketSphinx().hear([corpus.utterances])
    assert corpora.word_error_rates(corpus, heard.texts)["intensities"]["normal"]["wer"] == 0


def test_without_pocketsphinx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> str:
        raise ImportError("No package metadata was found for pocketsphinx")

    monkeypatch.setattr(sphinx, "version", absent)
    with pytest.raises(ImportError, match=r'not installed: pip install "serlib\[speech\]"'):
        _ = sphinx.PocketSphinx().settings
