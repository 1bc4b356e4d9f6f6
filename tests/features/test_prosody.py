"""Pitch and loudness of sounds that are known, and functionals against NumPy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from serlib.features import CONTOUR_NAMES, PROSODY_NAMES, contours, prosody, read_waveform
from serlib.features.smile import run


def harmonic(hertz: float, level: float = 0.2, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(16_000 * seconds)) / 16_000
    return (level * sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 11)) / 2).astype(np.float32)


@pytest.mark.parametrize("hertz", [90.0, 200.0, 400.0])
def test_pitch_of_a_tone(hertz: float) -> None:
    result = contours(harmonic(hertz))
    assert result.shape == (2 + (16_000 - 880) // 160, 5)
    f0, semitones, voicing, hnr = result[:, 1:].T
    np.testing.assert_allclose(f0, hertz, rtol=0.01)
    np.testing.assert_allclose(semitones, 12 * np.log2(f0 / 27.5), rtol=1e-3)
    assert (voicing > 0.7).all() and (hnr > 4).all()


def test_noise_has_no_pitch_and_a_glide_rises() -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=16_000).astype(np.float32)
    assert not contours(noise)[:, 1].any()
    phase = np.cumsum(np.linspace(120, 240, 16_000)) / 16_000
    glide = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 11)) * 0.1
    slope = prosody(glide)[PROSODY_NAMES.index("F0 slope")]
    np.testing.assert_allclose(slope, 120 / 100, rtol=0.1)  # hertz per frame


def test_loudness_rises_with_level_as_its_cube_root() -> None:
    mean = PROSODY_NAMES.index("loudness mean")
    soft, middle, loud = (prosody(harmonic(200, level))[mean] for level in (0.02, 0.2, 0.8))
    assert soft < middle < loud
    np.testing.assert_allclose(middle / soft, 10 ** (2 * 0.33), rtol=0.02)  # compressed power


def functionals(contour: np.ndarray) -> list[float]:
    contour, frames = contour.astype(float), np.arange(len(contour))
    low, high = np.percentile(contour, [10, 90])
    slope = np.polyfit(frames, contour, 1)[0]
    centroid = (frames * contour).sum() / contour.sum() / len(contour)
    return [contour.std(), contour.mean(), slope, centroid, low, high, high - low]


def words() -> np.ndarray:
    """Voiced stretches of moving pitch and level between noise and silence."""
    parts = [harmonic(h, level, 0.3) for h, level in ((180, 0.1), (230, 0.3), (150, 0.05))]
    noise = np.random.default_rng(1).normal(scale=0.02, size=3_000)
    return np.concatenate([parts[0], noise, parts[1], np.zeros(3_000), parts[2]]).astype(np.float32)


def speech() -> np.ndarray:
    if "SERLIB_TEST_DATA" not in os.environ:
        pytest.skip("SERLIB_TEST_DATA is not set: no real speech to test on")
    return read_waveform(Path(os.environ["SERLIB_TEST_DATA"]) / "ravdess/Actor_02/03-01-05-01-01-01-02.wav")


@pytest.mark.parametrize("signal", [words, speech])
def test_functionals_equal_numpy(signal) -> None:
    waveform = signal()
    result = prosody(waveform)
    assert result.shape == (35,) == (len(PROSODY_NAMES),)
    seen = contours(waveform)
    assert len(CONTOUR_NAMES) == seen.shape[1] == 5
    loudness = run("prosody.conf", "loudness_contour", waveform)[:-1, 0]
    np.testing.assert_allclose(result[:7], functionals(loudness), rtol=1e-3, atol=2e-4)
    # openSMILE summarises when the sound ends, a few rows before the end of the pitch contours
    candidates = []
    for end in range(len(seen) - 4, len(seen)):
        voiced = [seen[:end, k][seen[:end, k] != 0] for k in range(1, 5)]
        candidates.append(np.concatenate([functionals(contour) for contour in voiced]))
    closest = min(candidates, key=lambda candidate: np.abs(candidate - result[7:]).max())
    np.testing.assert_allclose(result[7:], closest, rtol=1e-3, atol=2e-4)
