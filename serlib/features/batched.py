"""Mel-frequency cepstral coefficients in torch: many utterances at once, on CPU or GPU,
equal to openSMILE's.

Audio input of yoon2018 as in `serlib.features.mfcc`, whose numbers these are; taught in
chapter `features`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from serlib.features.smile import SHORTEST
from serlib.features.waveform import RATE

HOP = 160
"""Samples from one frame to the next: 10 ms."""

WINDOW, FFT, BANDS, CEPSTRA, LIFTER = 400, 512, 26, 12, 22
"""Samples of a frame (25 ms), points of its Fourier transform, mel bands, coefficients
kept, liftering.
"""

PRE_EMPHASIS = 0.97


def mfcc_batch(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `serlib.features.mfcc` of a padded batch of utterances at once (yoon2018,
    section 4.2).

    Every row equals what openSMILE gives for the utterance alone, deltas at the edges
    included: within 0.005 for MFCC and 1e-5 for log energy on speech. Both round in
    single precision, which shows in bands far weaker than the frame's strongest. What
    fills the batch behind an utterance changes nothing, as long as it is finite.

    Args:
        waveforms: (batch, samples) at 16 kHz, in [-1, 1]; float32 or float64, which is
            what is calculated in.
        lengths: (batch,) integers: samples of each utterance.

    Returns:
        features, (batch, frames, 39), the columns of `MFCC_NAMES`, zero behind an
        utterance's last frame; and frames of each utterance, (batch,) int64: 1 +
        (samples - 400) // 160, an utterance of less than 55 ms counting as 55 ms.

    Raises:
        ValueError: if the shapes do not fit, a length is not in 1 to samples, or a
            sample is not finite.

    Example:
        >>> waveforms, lengths = torch.zeros(2, 16_000), torch.tensor([16_000, 8_000])
        >>> features, frames = mfcc_batch(waveforms, lengths)
        >>> features.shape, frames
        (torch.Size([2, 98, 39]), tensor([98, 48]))
    """
    waveforms, lengths = checked(waveforms, lengths)
    counts = 1 + (lengths - WINDOW) // HOP
    static = every_frame(waveforms, counts, WINDOW, _static)  # (batch, frames, 13)
    inside = torch.arange(static.shape[1], device=static.device) < counts[:, None]
    return _with_deltas(static, counts) * inside[..., None], counts


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


def _static(frames: Tensor) -> Tensor:
    """MFCC 1 to 12 and log energy, (n, 13), of frames (n, 400)."""
    window, bands, cosines = _tables(frames.dtype, frames.device)
    frames = sixteen_bit(frames)
    energy = frames.square().sum(-1, keepdim=True)
    before = torch.cat(
        [frames[:, :1], frames[:, :-1]], 1
    )  # HTK emphasises inside each frame
    power = power_spectrum(
        torch.sub(frames, before, alpha=PRE_EMPHASIS) * window, FFT
    )  # (n, 257)
    return torch.cat(
        [_log_at_least_one(power @ bands) @ cosines, _log_at_least_one(energy)], -1
    )


def _log_at_least_one(power: Tensor) -> Tensor:
    return power.clamp(min=1).log()


@cache
def _tables(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Hamming window (400,), mel filters (257, 26), cosine transform with liftering
    (26, 12).
    """
    number = np.arange(1, CEPSTRA + 1)
    cosines = np.cos(np.pi / BANDS * np.outer(np.arange(BANDS) + 0.5, number))
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * number / LIFTER)
    tables = (
        np.hamming(WINDOW),
        mel_filters(BANDS, 0, RATE / 2, FFT),
        np.sqrt(2 / BANDS) * cosines * lifter,
    )
    return tuple(torch.from_numpy(table).to(device, dtype) for table in tables)


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


def _with_deltas(static: Tensor, counts: Tensor) -> Tensor:
    """Append deltas and accelerations, (batch, frames, 3 * columns), with openSMILE's
    edges.

    The first and the last frame of each utterance are repeated for the deltas; so is
    the first delta for the accelerations, but at the end they use the deltas of the
    repeated frames.
    """
    frames = torch.arange(-2, static.shape[1] + 4, device=static.device).clamp(min=0)
    frames = torch.minimum(frames, counts[:, None] - 1)  # (batch, frames + 6)
    repeated = static.gather(1, frames[..., None].expand(-1, -1, static.shape[2]))
    delta = _regression(repeated)  # (batch, frames + 2, columns)
    acceleration = _regression(torch.cat([delta[:, :1], delta[:, :1], delta], 1))
    return torch.cat([static, delta[:, :-2], acceleration], -1)


def _regression(rows: Tensor) -> Tensor:
    """Slope of the regression line through five frames, of all frames but the outer two
    on each side.
    """
    return (rows[:, 3:-1] - rows[:, 1:-3] + 2 * (rows[:, 4:] - rows[:, :-4])) / 10
