"""Short-term features in torch: many utterances at once, on CPU or GPU, equal to
pyAudioAnalysis's.

Audio input of xu2019 as in `serlib.features.short_term`, whose numbers these are;
taught in chapter `xu2019`.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from serlib.features.framing import HOP, checked
from serlib.features.waveform import RATE

WINDOW = 320
"""Samples of a frame: 20 ms."""

BINS = WINDOW // 2
"""Points of the spectrum that are kept: from 0 Hz, 50 Hz apart, without the one at half
the sampling rate.
"""

BLOCKS, PART = 10, WINDOW // 10
"""Parts of a frame, or of its spectrum, whose energies an entropy is of; samples of
such a part of a frame.
"""

ROLL_OFF = 0.9
"""Share of the energy below the roll-off."""

LINEAR, LOGARITHMIC, CEPSTRA = 13, 27, 13
"""Bands of equal width, bands of equal ratio, coefficients kept."""

LOWEST, WIDTH, RATIO = 133.33, 200 / 3, 1.0711703
"""Where the first band begins (Hz), and how far each edge of a band is from the one
before: a width (Hz), a ratio.
"""

A0 = 27.5
"""Frequency of the lowest A, in hertz; semitones are counted from it."""

EPSILON = sys.float_info.epsilon


def short_term_batch(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `serlib.features.short_term` of a padded batch of utterances at once
    (xu2019, section 4.2).

    Each utterance loses its mean and is divided by its largest magnitude first, so
    loudness is relative to the utterance. A frame has no window function; its spectrum
    is of magnitudes. Then, as in pyAudioAnalysis:

    - zero-crossing rate, energy (mean square), and entropy in bits of the energies of
      ten parts of the frame;
    - centroid and spread of the spectrum as shares of 8 kHz, each point counted as 50
      Hz above where it is;
    - entropy of the energies of ten parts of the spectrum; squared distance to the
      spectrum of the frame before, both summing to one (flux, 0 in the first frame);
      share of the spectrum that holds 90 % of the energy (roll-off);
    - 13 cepstral coefficients, the zeroth included, of the decimal logarithm of 40
      bands. The bands take the points for 100 Hz apart, so they reach from 67 Hz to 3.4
      kHz and not, as meant, to 6.9 kHz; the first hold a single point;
    - 12 pitch classes from A and their standard deviation. Of the points that fall on
      the same semitone only the last counts, and it is divided by the number of points
      on another semitone.

    The Fourier transform is in double precision, what follows in that of the waveforms.
    Beside pyAudioAnalysis, alone or in any batch: within 1e-9 for double precision and
    1e-6 for single, cepstra 1e-4 for single. Where points of the exact spectrum are 0,
    as in digital silence once the mean is gone, both have rounding errors in their
    place: there cepstra are within 1e-3 and the spread within 1e-7. What fills the
    batch behind an utterance changes nothing, as long as it is finite.

    Args:
        waveforms: (batch, samples) at 16 kHz, in [-1, 1]; float32 or float64.
        lengths: (batch,) integers: samples of each utterance.

    Returns:
        features, (batch, frames, 34) in the type of the waveforms, the columns of
        `SHORT_TERM_NAMES`, zero behind an utterance's last frame; and frames of each
        utterance, (batch,) int64: 1 + (samples - 320) // 160, an utterance of less than
        20 ms counting as 20 ms.

    Raises:
        ValueError: if the shapes do not fit, a length is not in 1 to samples, or a
            sample is not finite.

    Example:
        >>> waveforms, lengths = torch.zeros(2, 16_000), torch.tensor([16_000, 8_000])
        >>> features, frames = short_term_batch(waveforms, lengths)
        >>> features.shape, frames
        (torch.Size([2, 99, 34]), tensor([99, 49]))
    """
    waveforms, lengths = checked(waveforms, lengths, WINDOW)
    counts = 1 + (lengths - WINDOW) // HOP
    inside = torch.arange(int(counts.max()), device=waveforms.device) < counts[:, None]
    samples = _normalised(waveforms, lengths)[:, : HOP * (inside.shape[1] - 1) + WINDOW]
    frames = (
        512 if waveforms.device.type == "cpu" else 65_536
    )  # of all utterances, at a time: a CPU's cache is small
    spectral, previous = [], None
    for windows in samples.unfold(1, WINDOW, HOP).split(
        max(1, frames // len(samples)), 1
    ):  # views, no copies
        features, previous = _spectral(windows, waveforms.dtype, previous)
        spectral.append(features)
    temporal = _temporal(samples).to(waveforms.dtype)
    return (
        torch.cat([temporal, torch.cat(spectral, 1)], 2).mul_(inside[..., None]),
        counts,
    )


def _normalised(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Each utterance without its mean, over its largest magnitude, in double precision;
    zero behind its end.
    """
    samples, shortest = waveforms.to(torch.float64, copy=True), int(lengths.min())
    padding = samples[:, shortest:]  # all of it, and ends of the longer utterances
    behind = (
        torch.arange(shortest, samples.shape[1], device=samples.device)
        >= lengths[:, None]
    )
    padding.masked_fill_(behind, 0.0)
    samples.sub_(samples.sum(1, keepdim=True) / lengths[:, None])
    padding.masked_fill_(behind, 0.0)
    return samples.div_(samples.abs().amax(1, keepdim=True) + 1e-10)


def _temporal(samples: Tensor) -> Tensor:
    """Zero-crossing rate, energy and its entropy, (batch, frames, 3), of samples
    (batch, samples).
    """
    sign = samples.float().sign()
    changes = (
        (sign[:, 1:] - sign[:, :-1])
        .abs_()
        .unfold(1, WINDOW - 1, HOP)
        .sum(2, keepdim=True)
    )  # 2 for a crossing
    parts = (
        samples.square().unflatten(1, (-1, PART)).sum(2).unfold(1, BLOCKS, HOP // PART)
    )  # (batch, frames, 10)
    energy = parts.sum(2, keepdim=True)
    return torch.cat(
        [
            changes.double() / (2 * (WINDOW - 1)),
            energy / WINDOW,
            _entropy(parts, energy),
        ],
        2,
    )


def _spectral(
    windows: Tensor, dtype: torch.dtype, previous: Tensor | None
) -> tuple[Tensor, Tensor]:
    """All other features of consecutive frames.

    Args:
        windows: (batch, frames, 320), double precision.
        dtype: what to calculate in once the Fourier transform is done.
        previous: (batch, 1, 160) spectra of the frames before these, summing to one;
            None before the first.

    Returns:
        (batch, frames, 31) features, and the last spectra for the next call.
    """
    tables = _tables(dtype, windows.device)
    spectrum = torch.fft.rfft(windows)[..., :BINS]
    power = (
        spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).div_(BINS**2)
    )  # (batch, frames, 160)
    total = power.sum(2, keepdim=True)
    roll_off = (
        torch.searchsorted(
            power.cumsum(2), ROLL_OFF * total - EPSILON, right=True
        ).double()
        / BINS
    )

    power, total = power.to(dtype), total.to(dtype)
    magnitude = power.sqrt()
    share = magnitude / (magnitude.sum(2, keepdim=True) + BINS * EPSILON)
    change = torch.cat([share[:, :1] if previous is None else previous, share], 1).diff(
        dim=1
    )
    centroid = share @ tables.place
    spread = (
        (tables.place[:, 0] - centroid)
        .square_()
        .mul_(share)
        .sum(2, keepdim=True)
        .sqrt_()
    )
    chroma = power @ tables.chroma / torch.where(total == 0, EPSILON, total)
    columns = [
        centroid,
        spread,
        _entropy(power.unflatten(2, (BLOCKS, -1)).sum(3), total),
        change.square_().sum(2, keepdim=True),
        roll_off.to(dtype),
        (magnitude[..., : len(tables.bands)] @ tables.bands).add_(EPSILON).log10_()
        @ tables.cosines,
        chroma,
        (chroma - chroma.mean(2, keepdim=True)).square_().mean(2, keepdim=True).sqrt_(),
    ]
    return torch.cat(columns, 2), share[:, -1:]


def _entropy(parts: Tensor, total: Tensor) -> Tensor:
    """Entropy in bits, (..., 1), of how parts (..., 10) share their total (..., 1)."""
    share = parts / (total + EPSILON)
    return -(share * (share + EPSILON).log2()).sum(-1, keepdim=True)


class Tables(NamedTuple):
    """What is the same for every frame.

    Attributes:
        place: (160, 1) of a point in the spectrum, as a share of half the sampling
            rate.
        bands: (69, 40) weights of the magnitudes in each band; the points above are in
            none.
        cosines: (40, 13) orthonormal cosine transform.
        chroma: (160, 12) weights of the power in each pitch class.
    """

    place: Tensor
    bands: Tensor
    cosines: Tensor
    chroma: Tensor


@cache
def _tables(dtype: torch.dtype, device: torch.device) -> Tables:
    place = np.arange(1, BINS + 1)[:, None] / BINS
    number = LINEAR + LOGARITHMIC
    cosines = np.sqrt(2 / number) * np.cos(
        np.pi / number * np.outer(np.arange(number) + 0.5, np.arange(CEPSTRA))
    )
    cosines[:, 0] /= np.sqrt(2)
    weights = bands()
    weights = weights[: weights.any(axis=1).nonzero()[0][-1] + 1]
    tables = place, weights, cosines, chroma_weights()
    return Tables(*(torch.from_numpy(table).to(device, dtype) for table in tables))


def bands() -> np.ndarray:
    """Build triangles of equal area: 13 of equal width, then 27 whose edges are in
    equal ratio.

    The spectrum's points are taken for 100 Hz apart although they are 50 Hz apart, as
    in pyAudioAnalysis.

    Returns:
        (160, 40) weights of the spectrum's points.
    """
    steps = np.arange(LINEAR + LOGARITHMIC + 2)
    linear = LOWEST + WIDTH * np.minimum(steps, LINEAR - 1)
    edges = linear * RATIO ** np.maximum(steps - (LINEAR - 1), 0)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    hertz = (np.arange(BINS) * RATE / BINS)[:, None]
    rise, fall = (hertz - low) / (centre - low), (high - hertz) / (high - centre)
    return np.clip(np.minimum(rise, fall), 0, None) * 2 / (high - low)


def chroma_weights() -> np.ndarray:
    """Build the sums over semitones of the same name, with pyAudioAnalysis's two
    peculiarities.

    The last point of the spectrum on a semitone stands for all of them. It is divided
    by a number of points that was looked up in the wrong place: that on the semitone of
    the point whose number is the semitone of the point whose number is this semitone.

    Returns:
        (160, 12) weights of the spectrum's points; the first class is A.
    """
    point = np.arange(BINS)
    semitone = np.rint(12 * np.log2((point + 1) * RATE / WINDOW / A0)).astype(
        int
    )  # rising, all below 160
    points_on = np.bincount(semitone, minlength=BINS)
    weights = np.zeros((BINS, 12))
    for number in np.unique(semitone):
        weights[point[semitone == number][-1], number % 12] = (
            1 / points_on[semitone[semitone[number]]]
        )
    return weights
