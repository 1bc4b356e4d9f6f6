"""A recogniser of torchaudio on emissions that are made up: batches, silence, memory, and which weights it takes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data_scripts.recognisers import wav2vec
from data_scripts.recognisers.wav2vec import Recogniser, Wav2Vec
from serlib.corpora.corpus import Utterance

LABELS = "-|abcdefghijklmnopqrstuvwxyz'"
CPU = torch.device("cpu")


def utterance(folder: Path, name: str, samples: int) -> Utterance:
    path = folder / f"{name}.wav"
    soundfile.write(path, np.zeros(samples), 16_000, subtype="PCM_16")
    return Utterance(name, "s", "1", "d", False, "sad", None, "", path, samples / 16_000)


def deaf(waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Hears an `a` in every frame."""
    frames = lengths // 320
    return torch.nn.functional.one_hot(torch.full((len(lengths), int(frames.max())), 2), len(LABELS)), frames


def test_a_clip_shorter_than_a_frame_is_filled_up(tmp_path: Path) -> None:
    batch = [utterance(tmp_path, "short", 3), utterance(tmp_path, "long", 2_000)]
    (heard,) = Wav2Vec(Recogniser(deaf, LABELS, 16_000)).hear([batch])
    assert heard.texts == {"short": "a", "long": "a"} and not heard.failures


def test_too_little_memory(tmp_path: Path) -> None:
    def full(*_: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine = Wav2Vec(Recogniser(full, LABELS, 16_000))
    with pytest.raises(
        RuntimeError, match=r"1 utterances of up to 0\.5 s do not fit into the memory of cpu; give a smaller"
    ):
        list(engine.hear([[utterance(tmp_path, "u", 8_000)]]))


def test_an_unknown_recogniser() -> None:
    with pytest.raises(ValueError, match=r"no recogniser 'GOOGLE'; expected one of .*WAV2VEC2_ASR_BASE_960H"):
        wav2vec.load_recogniser("GOOGLE", CPU)


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
        assert wav2vec.load_recogniser("HUBERT_ASR_LARGE", cpu, checksum).weights == digest
    assert [record.getMessage() for record in caplog.records] == 2 * [
        f"{path}: no checksum to compare its SHA-256 with, {digest}"
    ]
    torch.save(state | {"more": Crafted(tmp_path / "ran")}, path)
    monkeypatch.setitem(wav2vec.WEIGHTS, "HUBERT_ASR_LARGE", digest)
    with pytest.raises(ValueError, match=rf"small\.pth: expected weights with SHA-256 {digest}, found .*; remove it"):
        wav2vec.load_recogniser("HUBERT_ASR_LARGE", cpu)
    crafted = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=r"small\.pth: expected the weights of HUBERT_ASR_LARGE, found something else"):
        wav2vec.load_recogniser("HUBERT_ASR_LARGE", cpu, crafted)
    assert not (tmp_path / "ran").exists()


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchaudio import pipelines

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("<urlopen error no route>")

    monkeypatch.setattr(pipelines.Wav2Vec2ASRBundle, "get_model", unreachable)
    with pytest.raises(OSError, match="cannot get the weights of WAV2VEC2_ASR_BASE_960H: <urlopen error no route>; is"):
        wav2vec.load_recogniser("WAV2VEC2_ASR_BASE_960H", torch.device("cpu"))
