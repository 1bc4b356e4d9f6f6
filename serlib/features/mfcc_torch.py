"""Mel-frequency cepstral coefficients in torch: many utterances at once, on CPU or GPU,
equal to openSMILE's.

Audio input of yoon2018 as in `serlib.features.mfcc`, whose numbers these are; taught in
chapter `features`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from serlib.features.framing import (
    FFT,
    HOP,
    WINDOW,
    checked,
    every_frame,
    mel_filters,
    power_spectrum,
    sixteen_bit,
)
from serlib.features.waveform import RATE

BANDS, CEPSTRA, LIFTER = 26, 12, 22
"""Mel bands, coefficients kept, liftering."""

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
