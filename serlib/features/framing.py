"""Frames of padded batches of waveforms in torch, and what is computed of every frame.

Shared by the torch versions of the features, on CPU or GPU. Used by all five papers;
taught in chapter `features`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from serlib.features.smile import SHORTEST
from serlib.features.waveform import RATE

HOP = 160
"""Samples from one frame to the next: 10 ms."""

WINDOW, FFT = 400, 512
"""Samples of a frame (25 ms), points of its Fourier transform."""


def checked(
    waveforms: Tensor, lengths: Tensor, shortest: int = SHORTEST
) -> tuple[Tensor, Tensor]:
    """Check a padded batch and fill what is too short with zeros.

    Args:
        waveforms, lengths: as for `mfcc_batch`.
        shortest: samples that every utterance shall have; 55 ms by default.

    Returns:
        the same waveforms, at least `shortest` samples of each, and lengths of at least
        that on the same device.

    Raises:
        ValueError: as `mfcc_batch`.
    """
    if (
        waveforms.ndim != 2
        or not waveforms.numel()
        or lengths.shape != waveforms.shape[:1]
    ):
        raise ValueError(
            "expected waveforms (batch, samples) and lengths (batch,), not empty,"
            f" found {tuple(waveforms.shape)} and {tuple(lengths.shape)}"
        )
    if waveforms.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"expected float32 or float64 samples in [-1, 1], found {waveforms.dtype}"
        )
    lengths = lengths.to(waveforms.device, torch.int64)
    least, most = lengths.aminmax()
    if least < 1 or most > waveforms.shape[1]:
        raise ValueError(
            f"expected lengths from 1 to {waveforms.shape[1]}, found {lengths.tolist()}"
        )
    if not all(map(torch.isfinite, waveforms.aminmax())):
        raise ValueError("expected finite samples, found NaN or infinity")
    if least < shortest:
        padded = functional.pad(waveforms, (0, max(0, shortest - waveforms.shape[1])))
        behind = torch.arange(shortest, device=waveforms.device) >= lengths[:, None]
        waveforms = torch.cat(
            [padded[:, :shortest].masked_fill(behind, 0.0), padded[:, shortest:]], 1
        )
    return waveforms, lengths.clamp(min=shortest)


def sixteen_bit(samples: Tensor) -> Tensor:
    """Round samples in [-1, 1] to 16 bits: whole numbers from -32768 to 32767, as
    floats.
    """
    return (samples * 32768).round_().clamp_(-32768, 32767)


def every_frame(
    waveforms: Tensor, counts: Tensor, size: int, compute: Callable[[Tensor], Tensor]
) -> Tensor:
    """Compute numbers of every frame of a padded batch, none of the padding.

    A CPU takes few frames at a time: they stay in its cache, which is three times as
    fast as all at once.

    Args:
        waveforms: (batch, samples).
        counts: (batch,) frames of each utterance.
        size: samples of a frame.
        compute: takes frames, (n, size), and returns (n, columns).

    Returns:
        (batch, most frames, columns), zero behind an utterance's last frame.
    """
    utterance, frame = torch.nonzero(
        torch.arange(counts.max(), device=waveforms.device) < counts[:, None],
        as_tuple=True,
    )
    windows = waveforms.unfold(1, size, HOP)  # (batch, frames, size), a view
    at_a_time = 512 if waveforms.device.type == "cpu" else 65_536
    results = [
        compute(windows[part])
        for part in zip(utterance.split(at_a_time), frame.split(at_a_time), strict=True)
    ]
    rows = torch.cat(results)
    return rows.new_zeros(len(waveforms), int(counts.max()), rows.shape[1]).index_put(
        (utterance, frame), rows
    )


def power_spectrum(frames: Tensor, points: int) -> Tensor:
    """Return the squared magnitudes of the Fourier transform, (n, points // 2 + 1), of
    frames (n, samples).
    """
    spectrum = torch.fft.rfft(frames, points)
    return spectrum.real.square() + spectrum.imag.square()


def mel_filters(bands: int, low: float, high: float, points: int) -> np.ndarray:
    """Build triangles that are as wide on the mel scale and overlap by half, as HTK's.

    Args:
        bands: how many.
        low, high: where the first begins and the last ends, in hertz; the spectrum's
            bins next to both are left out.
        points: length of the Fourier transform.

    Returns:
        (points // 2 + 1, bands) float64 weights of a spectrum's bins.
    """
    bins = np.arange(points // 2 + 1)
    edges = np.linspace(mel(low), mel(high), bands + 2)
    place = (mel(bins * RATE / points)[:, None] - edges[0]) / (
        edges[1] - edges[0]
    )  # in half widths
    weights = np.clip(1 - np.abs(place - np.arange(1, bands + 1)), 0, None)
    weights[
        (bins <= round(low * points / RATE)) | (bins >= round(high * points / RATE))
    ] = 0
    return weights


def mel(hertz: float | np.ndarray) -> np.ndarray:
    """Return a frequency on the mel scale."""
    return 1127 * np.log1p(np.asarray(hertz) / 700)
