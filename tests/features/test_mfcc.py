"""MFCC from openSMILE against a slow, literal transcription of HTK's definition."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import opensmile
import pytest

from serlib.features import FEATURES, MFCC_NAMES, mfcc, mfcc_15ms, read_waveform
from serlib.features.smile import CONFIGURATIONS


def tone_in_noise(samples: int = 9_000) -> np.ndarray:
    time = np.arange(samples) / 16_000
    noise = np.random.default_rng(0).normal(scale=0.02, size=samples)
    tone = sum(0.3 / k * np.sin(2 * np.pi * 150 * k * time) for k in range(1, 20))
    return ((tone * np.sin(2 * np.pi * 2 * time) ** 2 + noise) * 0.5).astype(np.float32)


def speech() -> np.ndarray:
    if "SERLIB_TEST_DATA" not in os.environ:
        pytest.skip("SERLIB_TEST_DATA is not set: no real speech to test on")
    path = Path(os.environ["SERLIB_TEST_DATA"]) / "ravdess/Actor_02/03-01-05-01-01-01-02.wav"
    return read_waveform(path)[10_000:42_000]


def htk_static(waveform: np.ndarray) -> np.ndarray:
    """MFCC_E of the HTK Book, chapter 5, one frame, band and coefficient at a time."""
    samples = np.rint(waveform.astype(float) * 32768)
    window = [0.54 - 0.46 * math.cos(2 * math.pi * n / 399) for n in range(400)]

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    edges = [mel(8000) * i / 27 for i in range(28)]  # band j rises from edge j to j + 1 and falls to j + 2
    weights = np.zeros((26, 257))
    for j in range(26):
        for k in range(1, 257):
            here = mel(k * 16_000 / 512)
            if edges[j] < here <= edges[j + 1]:
                weights[j, k] = (here - edges[j]) / (edges[j + 1] - edges[j])
            elif edges[j + 1] < here < edges[j + 2]:
                weights[j, k] = (edges[j + 2] - here) / (edges[j + 2] - edges[j + 1])

    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = samples[start : start + 400]
        energy = math.log(max(1.0, float(np.sum(frame**2))))
        emphasised = [frame[0] * (1 - 0.97)] + [frame[n] - 0.97 * frame[n - 1] for n in range(1, 400)]
        power = np.abs(np.fft.rfft(np.multiply(emphasised, window), 512)) ** 2
        bands = [math.log(max(1.0, float(weights[j] @ power))) for j in range(26)]
        row = []
        for i in range(1, 13):
            cepstrum = math.sqrt(2 / 26) * sum(bands[j] * math.cos(math.pi * i / 26 * (j + 0.5)) for j in range(26))
            row.append(cepstrum * (1 + 22 / 2 * math.sin(math.pi * i / 22)))
        rows.append([*row, energy])
    return np.array(rows)


def regression(padded: np.ndarray) -> np.ndarray:
    """Deltas with window 2 of rows that already have two more on each side."""
    rows = []
    for t in range(2, len(padded) - 2):
        rows.append(sum(k * (padded[t + k] - padded[t - k]) for k in (1, 2)) / 10)
    return np.array(rows)


@pytest.mark.parametrize("signal", [tone_in_noise, speech])
def test_mfcc_equals_htk(signal) -> None:
    waveform = signal()
    result = mfcc(waveform)
    assert result.shape == (1 + (len(waveform) - 400) // 160, 39) and result.dtype == np.float32
    static = htk_static(waveform)
    # openSMILE calculates in single precision and takes the largest sample as 32767 rather than 32768, which
    # moves a log energy by 6e-5
    np.testing.assert_allclose(result[:, :12], static[:, :12], atol=5e-3)
    np.testing.assert_allclose(result[:, 12], static[:, 12], atol=1e-4)

    first, last = result[:1, :13], result[-1:, :13]
    delta = regression(np.vstack([first, first, result[:, :13], *[last] * 4]))  # two more rows than frames
    np.testing.assert_allclose(result[:, 13:26], delta[:-2], atol=1e-5)
    np.testing.assert_allclose(result[:, 26:], regression(np.vstack([delta[:1], delta[:1], delta])), atol=1e-5)


@pytest.mark.parametrize("signal", [tone_in_noise, speech])
def test_every_15_ms_the_frames_are_those_of_10_ms_and_the_deltas_are_their_own(signal) -> None:
    waveform = signal()
    result = mfcc_15ms(waveform)
    assert result.shape == (1 + (len(waveform) - 400) // 240, 39) and result.dtype == np.float32
    even, odd = result[::2, :13], result[1::2, :13]  # frames at 0, 30, 60 ms and at 15, 45, 75 ms
    np.testing.assert_array_equal(even, mfcc(waveform)[::3, :13][: len(even)])
    np.testing.assert_array_equal(odd, mfcc(waveform[240:])[::3, :13][: len(odd)])

    first, last = result[:1, :13], result[-1:, :13]
    delta = regression(np.vstack([first, first, result[:, :13], *[last] * 4]))
    np.testing.assert_allclose(result[:, 13:26], delta[:-2], atol=1e-5)
    np.testing.assert_allclose(result[:, 26:], regression(np.vstack([delta[:1], delta[:1], delta])), atol=1e-5)
    shortest = mfcc_15ms(waveform[:1])  # four frames: the edges are right there too
    np.testing.assert_array_equal(shortest, mfcc_15ms(np.pad(waveform[:1], (0, 1119))))
    assert len(shortest) == 4


def test_the_cache_key_of_the_15_ms_configuration_holds_the_one_it_includes() -> None:
    settings = FEATURES["mfcc_15ms"].settings()
    texts = [(CONFIGURATIONS / name).read_text() for name in ("mfcc_15ms.conf", "mfcc.conf")]
    assert [settings["configuration"], settings["included"]] == texts


def test_the_configuration_serves_opensmile_too() -> None:
    waveform = tone_in_noise(4_000)
    smile = opensmile.Smile(str(CONFIGURATIONS / "mfcc.conf"), "lld")
    assert len(smile.feature_names) == len(MFCC_NAMES) == len(set(MFCC_NAMES)) == 39
    # opensmile.Smile cuts samples to 16 bits where serlib rounds: on 16-bit samples both are the same
    exact = np.rint(waveform * 32768).astype(np.float32) / 32768
    np.testing.assert_array_equal(smile.process_signal(exact, 16_000).to_numpy(), mfcc(exact))


@pytest.mark.parametrize("name", list(FEATURES))
def test_short_silent_and_loud_waveforms(name: str) -> None:
    feature = FEATURES[name]
    for waveform in (
        np.zeros(16_000, np.float32),  # logarithm of zero
        np.ones(16_000, np.float32),  # full scale does not wrap round
        np.array([0.1], np.float32),  # one sample
        tone_in_noise(399),
        tone_in_noise(879),
        tone_in_noise(881),
    ):
        values = feature.extract(waveform)
        assert np.isfinite(values).all()
        assert values.shape[-1] == feature.dims and values.ndim == (2 if feature.per_frame else 1)
    shortest = 320 if name == "short_term" else 880
    np.testing.assert_array_equal(
        feature.extract(tone_in_noise(300)), feature.extract(np.pad(tone_in_noise(300), (0, shortest - 300)))
    )
    assert not mfcc(np.zeros(16_000)).any()
    for bad in (np.zeros(0), np.zeros((2, 100)), np.array([np.nan])):
        with pytest.raises(ValueError, match=r"expected a waveform of shape \(samples,\)"):
            feature.extract(bad)
