"""Transcripts from emissions that are made up: decoding, writing, going on after an interruption."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data_scripts import transcribe
from data_scripts.transcribe import Recogniser, batches, beam_search, greedy, normalise, word_error_rates
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


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a test wants the network")

    monkeypatch.setattr(socket.socket, "connect", refused)


def say(path: Path, spelt: str) -> None:
    samples = np.repeat([LABELS.index(letter) / 100 for letter in spelt], FRAME)
    soundfile.write(path, samples, 16_000, subtype="PCM_16")


def corpus_of(folder: Path, spelt: dict[str, str], texts: dict[str, str] | None = None) -> Corpus:
    utterances = []
    for id, letters in spelt.items():
        path = folder / f"{id}.wav"
        say(path, letters)
        text = (texts or {}).get(id, "")
        utterances.append(
            Utterance(id, id[:5], id[3:4], "d", False, "sad", None, text, path, len(letters) * FRAME / 16_000)
        )
    return Corpus("iemocap", folder, utterances)


SPELT = {
    "Ses1F_0": "--cc-aa-nn---||-nn-o-tt-",
    "Ses1F_1": "i|s-s|-|",
    "Ses2M_2": "----",
    "Ses2M_3": "|no-oo|'t-is|",
    "Ses2M_4": "b",
}
HEARD = {"Ses1F_0": "can not", "Ses1F_1": "i ss", "Ses2M_2": "", "Ses2M_3": "noo 'tis", "Ses2M_4": "b"}
TEXTS = {"Ses1F_0": "Can not!", "Ses1F_1": "[LAUGHTER] I", "Ses2M_2": "Oh.", "Ses2M_3": "Noo, 'tis", "Ses2M_4": "b b"}


def logs(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()[None]


def test_greedy_by_hand() -> None:
    a, b, blank = [0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]
    for rows, expected in [
        ([a, a, b], [1, 2]),
        ([a, blank, a], [1, 1]),
        ([blank, a, a, blank, blank, b, b], [1, 2]),
        ([blank, blank], []),
        ([b, a, b, b, blank, b], [2, 1, 2, 2]),
    ]:
        assert greedy(logs(rows), torch.tensor([len(rows)])) == [expected]
    assert greedy(logs([a, b, a]).expand(3, 3, 3), torch.tensor([3, 1, 0])) == [[1, 2, 1], [1], []]


def test_beam_by_hand() -> None:
    # "-" and "-" is the likeliest path, 0.36; the three ways to spell "a" have 0.64 together
    rows = [[0.6, 0.4], [0.6, 0.4]]
    assert greedy(logs(rows), torch.tensor([2])) == [[]]
    assert beam_search(logs(rows), torch.tensor([2]), 2) == [[1]]


def exhaustive(scores: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Probability of every text, the sum over all paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        text = tuple(label for label, _ in itertools.groupby(path) if label)
        probability = math.exp(sum(scores[time, label].item() for time, label in enumerate(path)))
        found[text] = found.get(text, 0.0) + probability
    return found


@pytest.mark.parametrize(("frames", "labels"), [(1, 2), (2, 3), (5, 3), (6, 2), (4, 4)])
def test_wide_beam_finds_what_exhaustive_search_finds(frames: int, labels: int) -> None:
    scores = torch.randn(12, frames, labels, generator=torch.manual_seed(frames), dtype=torch.float64).log_softmax(2)
    lengths = torch.arange(12) % (frames + 1)
    for row, length, text in zip(scores, lengths, beam_search(scores, lengths, 400), strict=True):
        found = exhaustive(row[:length])
        assert tuple(text) == max(found, key=found.__getitem__)


def narrow(scores: torch.Tensor, beam: int) -> list[int]:
    """Prefix beam search as it is written down: a dictionary of prefixes."""
    kept = {(): (1.0, 0.0)}
    for row in scores.exp().tolist():
        new: dict[tuple[int, ...], list[float]] = {}
        for prefix, (blank, other) in kept.items():
            for label, probability in enumerate(row):
                if label == 0:
                    new.setdefault(prefix, [0.0, 0.0])[0] += (blank + other) * probability
                elif prefix and label == prefix[-1]:
                    new.setdefault(prefix, [0.0, 0.0])[1] += other * probability
                    new.setdefault((*prefix, label), [0.0, 0.0])[1] += blank * probability
                else:
                    new.setdefault((*prefix, label), [0.0, 0.0])[1] += (blank + other) * probability
        kept = {prefix: tuple(new[prefix]) for prefix in sorted(new, key=lambda prefix: -sum(new[prefix]))[:beam]}
    return list(max(kept, key=lambda prefix: sum(kept[prefix])))


@pytest.mark.parametrize("beam", [1, 2, 3, 8])
def test_narrow_beam_keeps_the_same_prefixes_as_a_dictionary(beam: int) -> None:
    scores = torch.randn(6, 40, 5, generator=torch.manual_seed(beam), dtype=torch.float64).mul(1.5).log_softmax(2)
    assert beam_search(scores, torch.full((6,), 40), beam) == [narrow(row, beam) for row in scores]


@pytest.mark.parametrize(("decoder", "seconds"), [("greedy", 60.0), ("greedy", 0.0), ("beam", 0.6)])
def test_table_and_error_rates(tmp_path: Path, decoder: str, seconds: float) -> None:
    corpus = corpus_of(tmp_path, SPELT, TEXTS)
    out = tmp_path / "transcripts" / "asr.tsv"
    report = transcribe.transcribe(corpus, RECOGNISER, out, decoder=decoder, batch_seconds=seconds, progress=False)
    assert out.read_text() == "id\ttext\n" + "".join(f"{id}\t{text}\n" for id, text in HEARD.items())
    assert corpora.with_transcripts(corpus, "asr")["Ses1F_0"].text == "can not"
    assert sorted(path.name for path in out.parent.iterdir()) == ["asr.tsv", "asr.tsv.lock", "asr.wer.json"]
    assert json.loads((out.parent / "asr.wer.json").read_text()) == report
    # "i" was heard as "i ss", "oh" not at all, "b b" as "b"
    assert report["all"] == {"wer": 3 / 8, "words": 8, "substitutions": 0, "deletions": 2, "insertions": 1}
    assert {name: found["wer"] for name, found in report["sessions"].items()} == {"1": 1 / 3, "2": 2 / 5}
    with pytest.raises(FileExistsError, match=r"asr\.tsv: there are such transcripts already"):
        transcribe.transcribe(corpus, RECOGNISER, out, progress=False)


def test_batches_are_of_like_length_and_not_too_long(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {f"u{n:02}": "a" * n for n in range(1, 30)})
    for seconds in (0.0, 0.3, 1.0, 100.0):
        found = list(batches(corpus.utterances, seconds))
        durations = [u.duration for batch in found for u in batch]
        assert durations == sorted(durations, reverse=True) and len(durations) == 29
        assert all(len(batch) == 1 or batch[0].duration * len(batch) <= seconds for batch in found)
    assert all(len(batch) == 1 for batch in batches(corpus.utterances, 0.0))


def test_words_as_recognisers_write_them() -> None:
    assert normalise("Well, I -- I can't. [BREATHING]") == ["well", "i", "i", "can't"]
    assert normalise("'Cause it’s a so-called _déjà_ vu; 'fine'") == [
        *("cause", "it's", "a", "so", "called"),
        *("déjà", "vu", "fine"),
    ]
    assert normalise("...") == []


def test_error_rate_without_a_reference(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"Ses1F_0": "a", "Ses2F_0": "a"}, {"Ses2F_0": "a"})
    found = word_error_rates(corpus, {"Ses1F_0": "", "Ses2F_0": "b"})
    assert found["sessions"]["1"]["wer"] is None and found["all"]["wer"] == 1


KILLED = (
    STUB
    + """
import os, signal, sys
from data_scripts import transcribe

calls = []

def killed(waveforms, lengths):
    calls.append(len(waveforms))
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return model(waveforms, lengths)

transcribe.load_recogniser = lambda *_: transcribe.Recogniser(killed, LABELS, 16_000)
transcribe.main(sys.argv[1:])
"""
)
"""The command, in a process that is killed in its third batch."""


def test_a_killed_run_goes_on_to_the_same_file(
    silent_iemocap: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture,
) -> None:
    calls: list[int] = []

    def counted(waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(len(waveforms))
        return RECOGNISER.model(waveforms, lengths)

    def run(*arguments: str) -> tuple[int, int]:
        calls.clear()
        return transcribe.main([*given, *arguments]), len(calls)

    monkeypatch.setattr(transcribe, "load_recogniser", lambda *_: Recogniser(counted, LABELS, 16_000))
    caplog.set_level("INFO")
    given = ["--corpus", "iemocap", "--root", str(silent_iemocap), "--device", "cpu", "--batch-seconds", "0"]
    assert run("--out", "whole") == (0, 4)
    assert "all: word error rate 100.00 %, 8 words" in caplog.messages

    environment = os.environ | {"PYTHONPATH": str(Path(transcribe.__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, *given, "--out", "killed"]
    assert subprocess.run(command, capture_output=True, env=environment).returncode == -signal.SIGKILL
    folder = silent_iemocap / "transcripts"
    assert not (folder / "killed.tsv").exists()
    assert run("--out", "killed", "--decoder", "beam") == (1, 0)
    assert "begun with decoder 'greedy', not 'beam'; run with that" in capsys.readouterr().err
    assert run("--out", "killed") == (0, 2)  # the two finished batches were kept
    for kind in ("tsv", "wer.json"):
        assert (folder / f"killed.{kind}").read_bytes() == (folder / f"whole.{kind}").read_bytes()
    assert run("--out", str(folder / "few.tsv"), "--limit", "1") == (0, 1)
    assert not list(folder.glob(".*"))


@pytest.fixture
def silent_iemocap(tmp_path: Path) -> Path:
    """IEMOCAP's layout, four utterances of silence: each says "What now?"."""
    folder = tmp_path / "iemocap" / "Session1"
    wav = folder / "sentences" / "wav" / "Ses01F_impro01"
    for name in ("EmoEvaluation", "transcriptions"):
        (folder / "dialog" / name).mkdir(parents=True)
    wav.mkdir(parents=True)
    labels, texts = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n", ""
    for number in range(4):
        id = f"Ses01F_impro01_F{number:03}"
        labels += f"[{number}.0 - {number}.5]\t{id}\tneu\t[2.5, 2.5, 2.5]\n"
        texts += f"{id} [{number}.0-{number}.5]: What now?\n"
        soundfile.write(wav / f"{id}.wav", np.zeros(8_000 + 320 * number), 16_000, subtype="PCM_16")
    (folder / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt").write_text(labels)
    (folder / "dialog" / "transcriptions" / "Ses01F_impro01.txt").write_text(texts)
    return tmp_path / "iemocap"


def test_an_utterance_that_cannot_be_read_is_named_and_the_others_kept(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, SPELT, TEXTS)
    out = tmp_path / "asr.tsv"
    soundfile.write(corpus["Ses1F_1"].audio, np.zeros(0), 16_000, subtype="PCM_16")
    corpus["Ses2M_3"].audio.write_bytes(b"no sound")
    with pytest.raises(ValueError) as caught:
        transcribe.transcribe(corpus, RECOGNISER, out, batch_seconds=0, progress=False)
    message = str(caught.value)
    assert message.startswith("2 of 5 utterances cannot be read, the first is Ses2M_3: ")
    assert f"the other 3 utterances kept in {tmp_path / '.asr.tsv.part.json'}; mend the files" in message
    assert not out.exists()
    for id in ("Ses1F_1", "Ses2M_3"):
        say(corpus[id].audio, SPELT[id])
    transcribe.transcribe(corpus, RECOGNISER, out, batch_seconds=0, progress=False)
    assert corpora.read_transcripts(out) == HEARD


def test_a_clip_shorter_than_a_frame_is_silence(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"Ses1F_0": "a"})
    soundfile.write(corpus["Ses1F_0"].audio, np.zeros(3), 16_000, subtype="PCM_16")
    transcribe.transcribe(corpus, RECOGNISER, tmp_path / "asr.tsv", progress=False)
    assert corpora.read_transcripts(tmp_path / "asr.tsv") == {"Ses1F_0": ""}


def test_damaged_part_and_too_little_memory(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, SPELT)
    part = tmp_path / ".asr.tsv.part.json"
    part.write_text('{"settings": ')
    with pytest.raises(ValueError, match=r"found a damaged file; remove it"):
        transcribe.transcribe(corpus, RECOGNISER, tmp_path / "asr.tsv", progress=False)
    part.unlink()

    def full(*_: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(
        RuntimeError, match=r"5 utterances of up to 0\.5 s do not fit into the memory of cpu; give a sm"
    ):
        transcribe.transcribe(corpus, Recogniser(full, LABELS, 16_000), tmp_path / "asr.tsv", progress=False)


def test_unknown_recogniser_and_absent_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"no recogniser 'GOOGLE'; expected one of .*WAV2VEC2_ASR_BASE_960H"):
        transcribe.load_recogniser("GOOGLE", torch.device("cpu"))
    assert transcribe.main(["--root", str(tmp_path / "nowhere")]) == 1
    assert f"error: no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err


class Crafted:
    """What runs code when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_weights_are_those_published_and_nothing_in_them_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from torchaudio import pipelines

    class Small(pipelines.Wav2Vec2ASRBundle):
        def get_model(self, *, dl_kwargs: dict) -> torch.nn.Module:
            model = torch.nn.Linear(2, 2)
            model.load_state_dict(
                torch.hub.load_state_dict_from_url(f"https://nowhere.invalid/{self._path}", **dl_kwargs)
            )
            return model

    monkeypatch.setattr(pipelines, "HUBERT_ASR_LARGE", Small("small.pth", {}, 16_000, False, "", tuple(LABELS[1:])))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path, cpu = tmp_path / "checkpoints" / "small.pth", torch.device("cpu")
    path.parent.mkdir()
    state = torch.nn.Linear(2, 2).state_dict()
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for checksum in (None, digest, digest.upper()):
        assert transcribe.load_recogniser("HUBERT_ASR_LARGE", cpu, checksum).weights == digest
    assert [record.getMessage() for record in caplog.records] == 2 * [
        f"{path}: no checksum to compare its SHA-256 with, {digest}"
    ]
    torch.save(state | {"more": Crafted(tmp_path / "ran")}, path)
    monkeypatch.setitem(transcribe.WEIGHTS, "HUBERT_ASR_LARGE", digest)
    with pytest.raises(ValueError, match=rf"small\.pth: expected weights with SHA-256 {digest}, found .*; remove it"):
        transcribe.load_recogniser("HUBERT_ASR_LARGE", cpu)
    crafted = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=r"small\.pth: expected the weights of HUBERT_ASR_LARGE, found something else"):
        transcribe.load_recogniser("HUBERT_ASR_LARGE", cpu, crafted)
    assert not (tmp_path / "ran").exists()


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchaudio import pipelines

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("<urlopen error no route>")

    monkeypatch.setattr(pipelines.Wav2Vec2ASRBundle, "get_model", unreachable)
    with pytest.raises(OSError, match="cannot get the weights of WAV2VEC2_ASR_BASE_960H: <urlopen error no route>; is"):
        transcribe.load_recogniser("WAV2VEC2_ASR_BASE_960H", torch.device("cpu"))
