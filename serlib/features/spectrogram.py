"""Spectra every 10 ms in torch, of many utterances at once, on CPU or GPU.

The hand-made input of krishna2020's `cma-spec`, beside which its raw waveform stands.
Taught in chapter `krishna2020`.
"""

from __future__ import annotations

from collections.abc import Callable
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
    power_spectrum,
    sixteen_bit,
)

BINS = FFT // 2 + 1
"""Frequencies of a spectrum: 257, from 0 to 8,000 Hz, 31.25 Hz apart."""

SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "log": lambda power: power.clamp(min=1).log(),
    "magnitude": torch.sqrt,
    "power": lambda power: power,
}
"""What may be taken of a power."""


def spectra(
    waveforms: Tensor, lengths: Tensor, scale: str = "log"
) -> tuple[Tensor, Tensor]:
    """Compute the short-time spectra of a padded batch of utterances (krishna2020,
    section 5).

    A frame is 25 ms long, frames are 10 ms apart, and a Fourier transform of 512 points
    gives the paper's 257 numbers. It says no more than "spectral feature": the Hamming
    window is chosen as for MFCC, there is no pre-emphasis, and the default is the
    natural logarithm of the power. Samples count in 16-bit steps, and for the logarithm
    a power below 1 counts as 1, so that digital silence, and padding with zeros, is
    exactly zero on every scale.

    Args:
        waveforms: (batch, samples) at 16 kHz, in [-1, 1]; float32 or float64, which is
            what is calculated in. What lies behind an utterance changes nothing, as
            long as it is finite.
        lengths: (batch,) integers: samples of each utterance.
        scale: `log`, `magnitude` or `power`.

    Returns:
        spectra, (batch, frames, 257), zero behind an utterance's last frame; and frames
        of each utterance, (batch,) int64: 1 + (samples - 400) // 160, an utterance of
        less than 25 ms counting as 25 ms.

    Raises:
        ValueError: for another scale; if the shapes do not fit, a length is not in 1 to
            samples, or a sample is not finite.

    Example:
        >>> waveforms, lengths = torch.zeros(2, 16_000), torch.tensor([16_000, 8_000])
        >>> values, frames = spectra(waveforms, lengths)
        >>> values.shape, frames
        (torch.Size([2, 98, 257]), tensor([98, 48]))
    """
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; expected one of {', '.join(SCALES)}")
    waveforms, lengths = checked(waveforms, lengths, shortest=WINDOW)
    counts = 1 + (lengths - WINDOW) // HOP
    window = _hamming(waveforms.dtype, waveforms.device)

    def of(frames: Tensor) -> Tensor:
        return SCALES[scale](power_spectrum(sixteen_bit(frames) * window, FFT))

    return every_frame(waveforms, counts, WINDOW, of), counts


@cache
def _hamming(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.from_numpy(np.hamming(WINDOW)).to(device, dtype)
