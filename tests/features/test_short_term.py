"""Short-term features against pyAudioAnalysis itself, and against their definitions one frame at a time."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from serlib.features import SHORT_TERM_NAMES, read_waveform, short_term, short_term_batch

if TYPE_CHECKING:
    from serlib.corpora.corpus import Corpus

CEPSTRA = np.array([name.startswith("MFCC") for name in SHORT_TERM_NAMES])
SPREAD = SHORT_TERM_NAMES.index("spectral spread")


def pyaudioanalysis(waveform: np.ndarray) -> np.ndarray:
    """What it computes from these samples, as 16-bit numbers are scaled: (frames, 34)."""
    module = pytest.importorskip(
        "pyAudioAnalysis.ShortTermFeatures",
        reason="pyAudioAnalysis is not installed: pip install --no-deps pyAudioAnalysis==0.3.14",
    )
    features, names = module.feature_extraction(waveform.astype(float) * 32768, 16_000, 320, 160, deltas=False)
    assert len(names) == len(SHORT_TERM_NAMES) == 34
    return features.T


def padded(waveforms: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch with loud noise behind each utterance."""
    batch = pad_sequence([torch.from_numpy(waveform) for waveform in waveforms], batch_first=True)
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    behind = torch.arange(batch.shape[1]) >= lengths[:, None]
    return torch.where(behind, 9 * torch.rand(batch.shape, generator=torch.manual_seed(0)), batch), lengths


def tone_in_noise(samples: int) -> np.ndarray:
    time = np.arange(samples) / 16_000
    noise = np.random.default_rng(samples).normal(scale=0.02, size=samples)
    tone = sum(0.3 / k * np.sin(2 * np.pi * 150 * k * time) for k in range(1, 20))
    return ((tone * np.sin(2 * np.pi * 2 * time) ** 2 + noise) * 0.5 + 0.01).astype(np.float32)


def between_silence(inside: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(2_000), inside, np.zeros(3_000)]).astype(np.float32)


def assert_equals_pyaudioanalysis(waveforms: list[np.ndarray], dtype: torch.dtype) -> None:
    """Compare within what `short_term_batch` promises."""
    near, cepstra = (1e-9, 1e-9) if dtype == torch.float64 else (1e-6, 1e-4)
    batch, lengths = padded(waveforms)
    features, counts = short_term_batch(batch.to(dtype), lengths)
    assert features.dtype == dtype
    for waveform, rows, count in zip(waveforms, features.numpy(), counts.tolist(), strict=True):
        expected = pyaudioanalysis(waveform)
        assert count == len(expected)
        centred = waveform - waveform.astype(float).mean()
        frames = np.lib.stride_tricks.sliding_window_view(centred / np.abs(centred + 1e-10).max(), 320)[::160]
        empty = np.abs(np.fft.rfft(frames)[:, 1:]).min(axis=1) / 160 < 1e-8  # points that are rounding errors
        tolerance = np.where(CEPSTRA, np.where(empty, 1e-3, cepstra)[:, None], near)
        tolerance[empty, SPREAD] = max(1e-7, near)
        excess = np.abs(rows[:count] - expected) - tolerance
        frame, column = np.unravel_index(excess.argmax(), excess.shape)
        assert excess.max() <= 0, (SHORT_TERM_NAMES[column], frame, rows[frame, column], expected[frame, column])
        assert not rows[count:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_pyaudioanalysis_on_made_sounds(dtype: torch.dtype) -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=5_000)
    exact = np.sin(2 * np.pi * 1_000 * np.arange(4_000) / 16_000)  # falls on a point of the spectrum
    lengths = [320, 321, 479, 480, 640, 9_000, 90_000]  # around one frame, several; over 512 frames
    assert_equals_pyaudioanalysis(
        [
            *map(tone_in_noise, lengths),
            np.zeros(2_000, np.float32),
            np.full(2_000, 0.1, np.float32),
            between_silence(noise),  # digital silence that is not once the mean is gone
            between_silence(np.full(3_000, 0.9)),
            np.eye(1, 2_000, 700, dtype=np.float32)[0],  # one sample
            exact.astype(np.float32),
            (np.sign(exact) * 0.5).astype(np.float32),
            (8 * noise).clip(-1, 1).astype(np.float32),
            (np.rint(noise * 10) / 32768).astype(np.float32),  # a sample or two around 0
        ],
        dtype,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_pyaudioanalysis_on_the_synthetic_corpus(synthetic: Corpus, dtype: torch.dtype) -> None:
    assert_equals_pyaudioanalysis([read_waveform(utterance.audio) for utterance in synthetic.utterances[::40]], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_pyaudioanalysis_on_ravdess(dtype: torch.dtype) -> None:
    if "SERLIB_TEST_DATA" not in os.environ:
        pytest.skip("SERLIB_TEST_DATA is not set: no real speech to test on")
    paths = sorted((Path(os.environ["SERLIB_TEST_DATA"]) / "ravdess").glob("Actor_*/*.wav"))
    assert_equals_pyaudioanalysis([read_waveform(path) for path in paths[::120]], dtype)


def spectrum(frame: np.ndarray) -> list[float]:
    """Magnitudes of the Fourier transform over 160, by its definition."""
    time = np.arange(320)
    return [abs(sum(frame * np.exp(-2j * math.pi * k * time / 320))) / 160 for k in range(160)]


def test_definitions() -> None:
    waveform = tone_in_noise(1_200)
    samples = waveform.astype(float) - waveform.astype(float).mean()
    samples /= max(abs(samples))
    features, _ = short_term_batch(torch.from_numpy(waveform).double()[None], torch.tensor([1_200]))
    found = [dict(zip(SHORT_TERM_NAMES, row, strict=True)) for row in features[0].tolist()]
    assert len(found) == 1 + (1_200 - 320) // 160

    before = spectrum(samples[:320])
    for t, row in enumerate(found):
        frame = samples[160 * t : 160 * t + 320]
        magnitude = spectrum(frame)
        power = [m**2 for m in magnitude]
        crossings = sum((frame[n] > 0) != (frame[n - 1] > 0) for n in range(1, 320))
        assert row["zero-crossing rate"] == pytest.approx(crossings / 319)
        assert row["energy"] == pytest.approx(sum(x**2 for x in frame) / 320)
        shares = [sum(x**2 for x in frame[n : n + 32]) / sum(x**2 for x in frame) for n in range(0, 320, 32)]
        assert row["energy entropy"] == pytest.approx(-sum(s * math.log2(s) for s in shares))

        place = [(k + 1) / 160 for k in range(160)]
        centroid = sum(p * m for p, m in zip(place, magnitude, strict=True)) / sum(magnitude)
        variance = sum((p - centroid) ** 2 * m for p, m in zip(place, magnitude, strict=True)) / sum(magnitude)
        assert row["spectral centroid"] == pytest.approx(centroid)
        assert row["spectral spread"] == pytest.approx(math.sqrt(variance))
        flux = sum((a / sum(magnitude) - b / sum(before)) ** 2 for a, b in zip(magnitude, before, strict=True))
        assert row["spectral flux"] == pytest.approx(flux)
        passed = next(k for k in range(160) if sum(power[: k + 1]) > 0.9 * sum(power))
        assert row["spectral roll-off"] == pytest.approx(passed / 160)
        before = magnitude

        edges = [133.33 + 200 / 3 * i if i < 13 else (133.33 + 800) * 1.0711703 ** (i - 12) for i in range(42)]
        logs = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            band = 0.0
            for k in range(160):
                hertz = 100 * k  # twice where the point is
                if low < hertz <= centre:
                    band += magnitude[k] * 2 / (high - low) * (hertz - low) / (centre - low)
                elif centre < hertz < high:
                    band += magnitude[k] * 2 / (high - low) * (high - hertz) / (high - centre)
            logs.append(math.log10(band))
        for i in range(13):
            cosine = sum(log * math.cos(math.pi * i * (j + 0.5) / 40) for j, log in enumerate(logs))
            assert row[f"MFCC {i + 1}"] == pytest.approx(math.sqrt((1 if i == 0 else 2) / 40) * cosine)

        semitone = [round(12 * math.log2(50 * (k + 1) / 27.5)) for k in range(160)]
        last = {semitone[k]: k for k in range(160)}
        classes = [0.0] * 12
        for number, k in last.items():
            classes[number % 12] += power[k] / semitone.count(semitone[semitone[number]]) / sum(power)
        assert [row[f"chroma {i}"] for i in range(1, 13)] == pytest.approx(classes)
        assert row["chroma deviation"] == pytest.approx(np.std(classes))


def test_alone_and_in_a_batch_are_the_same() -> None:
    waveforms = [tone_in_noise(samples) for samples in (1, 200, 500, 3_000, 20_000)]
    together, counts = short_term_batch(*padded(waveforms))
    assert counts.tolist() == [1, 1, 2, 17, 124]
    for waveform, rows in zip(waveforms, together, strict=True):
        alone = short_term(waveform)
        np.testing.assert_allclose(rows[: len(alone)], alone, atol=2e-5, rtol=0)
        assert not rows[len(alone) :].any()


@pytest.mark.parametrize("samples", [1, 319])
def test_a_clip_shorter_than_a_frame_is_filled_with_zeros(samples: int) -> None:
    waveform = tone_in_noise(samples)
    np.testing.assert_array_equal(short_term(waveform), short_term(np.pad(waveform, (0, 320 - samples))))


def test_silence_is_zero_but_for_the_first_cepstrum() -> None:
    for level in (0.0, 0.3):
        rows = short_term(np.full(1_000, level, np.float32))
        first = SHORT_TERM_NAMES.index("MFCC 1")
        np.testing.assert_allclose(rows[:, first], math.sqrt(40) * math.log10(sys.float_info.epsilon), rtol=1e-6)
        rows[:, first] = 0
        np.testing.assert_allclose(rows, 0, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_gpu_equals_cpu(dtype: torch.dtype, near: float) -> None:
    batch, lengths = padded([tone_in_noise(samples) for samples in (200, 500, 3_000, 90_000)])
    on_gpu, counts = short_term_batch(batch.to("cuda", dtype), lengths)
    expected, _ = short_term_batch(batch.to(dtype), lengths)
    assert on_gpu.is_cuda and counts.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), expected, atol=near, rtol=0)


def test_a_process_that_needs_no_torch_does_not_load_it() -> None:
    code = (
        "import sys; from serlib.features import FEATURES; print(FEATURES['short_term'].dims, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "34 False\n"


@pytest.mark.parametrize(
    ("waveforms", "lengths", "message"),
    [
        (torch.zeros(2, 100), torch.tensor([100]), r"lengths \(batch,\), not empty"),
        (torch.zeros(2, 100), torch.tensor([100, 0]), r"expected lengths from 1 to 100, found \[100, 0\]"),
        (torch.full((1, 100), torch.nan), torch.tensor([100]), "expected finite samples"),
    ],
)
def test_bad_batches_are_refused(waveforms: torch.Tensor, lengths: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        short_term_batch(waveforms, lengths)
