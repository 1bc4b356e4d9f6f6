"""MFCC in torch against openSMILE: same frames, same edges, whatever the batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from serlib.features import MFCC_NAMES, mfcc, mfcc_batch, read_waveform

if TYPE_CHECKING:
    from serlib.corpora.corpus import Corpus

ENERGY = ["log energy" in name for name in MFCC_NAMES]


def padded(waveforms: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch with noise behind each utterance."""
    batch = pad_sequence([torch.from_numpy(waveform).float() for waveform in waveforms], batch_first=True)
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    behind = torch.arange(batch.shape[1]) >= lengths[:, None]
    return torch.where(behind, torch.rand(batch.shape, generator=torch.manual_seed(0)) - 0.5, batch), lengths


def tone_in_noise(samples: int) -> np.ndarray:
    time = np.arange(samples) / 16_000
    noise = np.random.default_rng(samples).normal(scale=0.02, size=samples)
    tone = sum(0.3 / k * np.sin(2 * np.pi * 150 * k * time) for k in range(1, 20))
    return ((tone * np.sin(2 * np.pi * 2 * time) ** 2 + noise) * 0.5).astype(np.float32)


def assert_equals_opensmile(waveforms: list[np.ndarray], dtype: torch.dtype = torch.float32) -> None:
    batch, lengths = padded(waveforms)
    features, counts = mfcc_batch(batch.to(dtype), lengths)
    assert features.dtype == dtype
    for waveform, rows, count in zip(waveforms, features.numpy(), counts.tolist(), strict=True):
        expected = mfcc(waveform)
        assert count == len(expected)
        np.testing.assert_allclose(rows[:count, ENERGY], expected[:, ENERGY], atol=1e-5, rtol=0)
        np.testing.assert_allclose(rows[:count], expected, atol=5e-3, rtol=0)
        assert not rows[count:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_opensmile_for_every_length_that_has_an_edge_of_its_own(dtype: torch.dtype) -> None:
    lengths = [1, 399, 400, 879, 880, 881, 1_039, 1_040, 1_200, 1_360, 9_000, 90_000]  # the last: over 512 frames
    too_loud = 8 * tone_in_noise(2_000)  # cut off at full scale
    assert_equals_opensmile([*map(tone_in_noise, lengths), np.zeros(5_000, np.float32), too_loud], dtype)


def test_equals_opensmile_on_the_synthetic_corpus(synthetic: Corpus) -> None:
    assert_equals_opensmile([read_waveform(utterance.audio) for utterance in synthetic.utterances[::25]])


def test_equals_opensmile_on_ravdess() -> None:
    if "SERLIB_TEST_DATA" not in os.environ:
        pytest.skip("SERLIB_TEST_DATA is not set: no real speech to test on")
    paths = sorted((Path(os.environ["SERLIB_TEST_DATA"]) / "ravdess").glob("Actor_*/*.wav"))
    assert_equals_opensmile([read_waveform(path) for path in paths[::80]])


def test_alone_and_in_a_batch_are_the_same() -> None:
    waveforms = [tone_in_noise(samples) for samples in (500, 3_000, 20_000)]
    together, _ = mfcc_batch(*padded(waveforms))
    for waveform, rows in zip(waveforms, together, strict=True):
        alone, _ = mfcc_batch(*padded([waveform]))
        torch.testing.assert_close(rows[: alone.shape[1]], alone[0], atol=1e-4, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu() -> None:
    batch, lengths = padded([tone_in_noise(samples) for samples in (500, 3_000, 20_000)])
    on_gpu, counts = mfcc_batch(batch.cuda(), lengths)
    expected, _ = mfcc_batch(batch, lengths)
    assert on_gpu.is_cuda and counts.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize(
    ("waveforms", "lengths", "message"),
    [
        (torch.zeros(100), torch.tensor([100]), r"expected waveforms \(batch, samples\)"),
        (torch.zeros(2, 100), torch.tensor([100]), r"lengths \(batch,\), not empty"),
        (torch.zeros(2, 0), torch.tensor([0, 0]), "not empty"),
        (torch.zeros(1, 100, dtype=torch.int16), torch.tensor([100]), "float32 or float64 samples"),
        (torch.zeros(2, 100), torch.tensor([100, 0]), r"expected lengths from 1 to 100, found \[100, 0\]"),
        (torch.zeros(2, 100), torch.tensor([100, 101]), r"found \[100, 101\]"),
        (torch.full((1, 100), torch.nan), torch.tensor([100]), "expected finite samples"),
        (torch.full((1, 100), torch.inf), torch.tensor([100]), "expected finite samples"),
    ],
)
def test_bad_batches_are_refused(waveforms: torch.Tensor, lengths: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mfcc_batch(waveforms, lengths)
