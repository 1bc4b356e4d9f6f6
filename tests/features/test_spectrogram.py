"""Spectra against a Fourier transform written as loops, whatever the batch."""

from __future__ import annotations

import math

import pytest
import torch

from serlib.features.spectrogram import BINS, spectra


def fourier(samples: list[float], k: int) -> float:
    """Power of bin k of a 512-point transform of a Hamming-windowed frame, sum by sum."""
    real = imaginary = 0.0
    for n, sample in enumerate(samples):
        value = round(sample * 32768) * (0.54 - 0.46 * math.cos(2 * math.pi * n / 399))
        real += value * math.cos(2 * math.pi * k * n / 512)
        imaginary -= value * math.sin(2 * math.pi * k * n / 512)
    return real**2 + imaginary**2


def waveforms(*lengths: int) -> torch.Tensor:
    """Noise, garbage behind each utterance included."""
    return torch.rand(len(lengths), max(lengths), generator=torch.manual_seed(0), dtype=torch.float64) - 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("scale", "take"), [("power", float), ("magnitude", math.sqrt), ("log", lambda power: math.log(max(power, 1)))]
)
def test_spectra_are_those_of_a_transform_written_as_loops(scale, take, dtype) -> None:
    sound = waveforms(1_100)
    sound[0, 480:880] = 0.0001 * sound[0, 480:880]  # a frame whose weakest bins the logarithm cuts off
    values, counts = spectra(sound.to(dtype), torch.tensor([1_100]), scale)
    assert values.shape == (1, 5, BINS) and counts.tolist() == [5] and values.dtype == dtype
    for frame, k in [(0, 0), (0, 1), (1, 100), (2, 255), (3, 17), (3, 18), (4, 256)]:
        expected = take(fourier(sound[0, 160 * frame : 160 * frame + 400].tolist(), k))
        strongest = values[0, frame].max().item()
        assert values[0, frame, k].item() == pytest.approx(expected, rel=1e-4, abs=1e-6 * strongest)


def test_what_lies_behind_an_utterance_and_beside_it_changes_nothing() -> None:
    lengths = torch.tensor([5_000, 400, 399, 1, 559, 560])
    sound = waveforms(*lengths.tolist())
    together, counts = spectra(sound, lengths)
    assert counts.tolist() == [29, 1, 1, 1, 1, 2]
    for row, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
        alone, _ = spectra(sound[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(together[row, :count], alone[0])
        assert not together[row, count:].any()


@pytest.mark.parametrize("scale", ["log", "magnitude", "power"])
def test_digital_silence_is_zero(scale) -> None:
    assert not spectra(torch.zeros(1, 1_000), torch.tensor([1_000]), scale)[0].any()


def test_a_tone_peaks_in_its_own_bin() -> None:
    time = torch.arange(4_000) / 16_000
    for k in (8, 40, 200):
        values, _ = spectra(0.3 * torch.sin(2 * math.pi * 31.25 * k * time)[None], torch.tensor([4_000]))
        assert (values[0].argmax(1) == k).all()


def test_errors_say_what_was_expected() -> None:
    with pytest.raises(ValueError, match="scale is 'mel'; expected one of log, magnitude, power"):
        spectra(torch.zeros(1, 500), torch.tensor([500]), "mel")
    with pytest.raises(ValueError, match="expected lengths from 1 to 500, found"):
        spectra(torch.zeros(1, 500), torch.tensor([501]))
    with pytest.raises(ValueError, match="expected float32 or float64 samples"):
        spectra(torch.zeros(1, 500, dtype=torch.int16), torch.tensor([500]))
