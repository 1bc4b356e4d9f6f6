"""Loudness, pitch, voicing and HNR in torch against openSMILE; the Viterbi search against all paths."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from serlib.features import CONTOUR_NAMES, contours, contours_batch, read_waveform
from serlib.features.contours_torch import _viterbi

if TYPE_CHECKING:
    from serlib.corpora.corpus import Corpus

TOLERANCE = dict(zip(CONTOUR_NAMES, (1e-5, 1e-2, 1e-3, 1e-3, 1e-3), strict=True))


def padded(waveforms: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch with noise behind each utterance."""
    batch = pad_sequence([torch.from_numpy(waveform).float() for waveform in waveforms], batch_first=True)
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    behind = torch.arange(batch.shape[1]) >= lengths[:, None]
    return torch.where(behind, torch.rand(batch.shape, generator=torch.manual_seed(0)) - 0.5, batch), lengths


def glide(samples: int) -> np.ndarray:
    """A voice that rises from 120 to 240 Hz, after noise and before silence."""
    phase = np.cumsum(np.linspace(120, 240, samples)) / 16_000
    voice = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 11)) * 0.1
    noise = np.random.default_rng(samples).normal(scale=0.02, size=samples)
    return np.concatenate([noise, voice + noise / 10, np.zeros(samples)]).astype(np.float32)


def assert_equals_opensmile(waveforms: list[np.ndarray], dtype: torch.dtype = torch.float32) -> None:
    batch, lengths = padded(waveforms)
    values, counts = contours_batch(batch.to(dtype), lengths)
    for waveform, rows, count in zip(waveforms, values.numpy(), counts.tolist(), strict=True):
        expected = contours(waveform)
        assert count == len(expected) and not rows[count:].any()
        ours = rows[:count]
        np.testing.assert_array_equal(ours[:, 1] > 0, expected[:, 1] > 0)
        for column, (name, tolerance) in enumerate(TOLERANCE.items()):
            # without F0 the HNR of a frame that is all but silent is made of rounding errors
            compared = expected[:, 1] > 0 if name == "log HNR" else slice(None)
            np.testing.assert_allclose(
                ours[compared, column], expected[compared, column], atol=tolerance, rtol=0, err_msg=name
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_opensmile_for_short_silent_and_gliding_sounds(dtype: torch.dtype) -> None:
    waveforms = [glide(samples)[:length] for samples, length in ((400, 100), (500, 880), (700, 1_039), (800, 1_041))]
    assert_equals_opensmile([*waveforms, glide(4_000), np.zeros(3_000, np.float32)], dtype)


def test_equals_opensmile_on_the_synthetic_corpus(synthetic: Corpus) -> None:
    assert_equals_opensmile([read_waveform(utterance.audio) for utterance in synthetic.utterances[::25]])


def test_equals_opensmile_on_ravdess() -> None:
    if "SERLIB_TEST_DATA" not in os.environ:
        pytest.skip("SERLIB_TEST_DATA is not set: no real speech to test on")
    paths = sorted((Path(os.environ["SERLIB_TEST_DATA"]) / "ravdess").glob("Actor_*/*.wav"))
    assert_equals_opensmile([read_waveform(path) for path in paths[::80]])


def path_cost(states: tuple[int, ...], f0: np.ndarray, voicing: np.ndarray) -> float:
    """Cost of one path, step by step; the last state is "unvoiced"."""
    unvoiced = f0.shape[1]
    cost = 0.0
    for t, state in enumerate(states):
        if state == unvoiced:
            cost += 8.0 if (voicing[t] >= 0.7).any() else 0.0
        else:
            hertz, v = f0[t, state], voicing[t, state]
            cost += 2 * (-math.log(min(max(v, 0.01), 1)) + (4 if v < 0.7 else 0))
            if hertz <= 0:
                cost += 2
            elif hertz < 100:
                cost += 1 - hertz / 100
            elif hertz >= 350:
                cost += (hertz - 350) / 250
        if t == 0:
            continue
        before = states[t - 1]
        if state == unvoiced and before == unvoiced:
            cost += 1
        elif state == unvoiced or before == unvoiced:
            cost += 10
        elif f0[t, state] == 0 or f0[t - 1, before] == 0:
            cost += 999
        else:
            step = math.log(f0[t, state] / f0[t - 1, before])
            listed_before = math.log(f0[t, state] / f0[t - 1, before - 1]) if before else 0.0
            if (t, state, before) == (1, 0, 0):
                listed_before = 1.0
            cost += 10 * abs(step) + 10 * abs(step - listed_before)
    return cost


@pytest.mark.parametrize("seed", range(5))
def test_viterbi_finds_the_cheapest_of_all_paths(seed: int) -> None:
    random = np.random.default_rng(seed)
    frames, candidates = 5, 3
    f0 = random.uniform(60, 590, (2, frames, candidates))
    f0[0, 1, 0] = f0[0, 0, 0]  # a first step that only its special cost makes dear
    f0[:, :, -1] *= random.integers(0, 2, (2, frames))  # a candidate fewer in some frames
    voicing = random.uniform(0.5, 1.0, f0.shape) * (f0 > 0)
    counts = torch.tensor([frames, 3])
    found = _viterbi(torch.from_numpy(f0), torch.from_numpy(voicing), counts)
    for path, count, hertz, v in zip(found.tolist(), counts.tolist(), f0, voicing, strict=True):
        every = itertools.product(range(candidates + 1), repeat=count)
        assert tuple(path[:count]) == min(every, key=lambda states, h=hertz, v=v: path_cost(states, h, v))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu() -> None:
    batch, lengths = padded([glide(1_000), glide(4_000)])
    on_gpu, _ = contours_batch(batch.cuda(), lengths)
    expected, _ = contours_batch(batch, lengths)
    torch.testing.assert_close(on_gpu.cpu()[..., :4], expected[..., :4], atol=1e-2, rtol=0)
