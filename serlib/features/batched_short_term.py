"""Short-term features in torch: many utterances at once, on CPU or GPU, equal to pyAudioAnalysis's.

Audio input of xu2019 as in `serlib.features.short_term`, whose numbers these are; taught in chapter `xu2019`.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from serlib.features.batched import checked
from serlib.features.short_term import HOP, WINDOW
from serlib.features.waveform import RATE

BINS = WINDOW // 2
"""Points of the spectrum that are kept: from 0 Hz, 50 Hz apart, without the one at half the sampling rate."""

BLOCKS = 10
"""Parts of a frame, or of its spectrum, whose energies an entropy is of."""

ROLL_OFF = 0.9
"""Share of the energy below the roll-off."""

LINEAR, LOGARITHMIC, CEPSTRA = 13, 27, 13
"""Bands of equal width, bands of equal ratio, coefficients kept."""

LOWEST, WIDTH, RATIO = 133.33, 200 / 3, 1.0711703
"""Where the first band begins (Hz), and how far each edge of a band is from the one before: a width (Hz), a ratio."""

A0 = 27.5
"""Frequency of the lowest A, in hertz; semitones are counted from it."""

EPSILON = sys.float_info.epsilon


def short_term_batch(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `serlib.features.short_term` of a padded batch of utterances at once (xu2019, section 4.2).

    Each utterance loses its mean and is divided by its largest magnitude first, so loudness is relative to the
    utterance. A frame has no window function; its spectrum is of magnitudes. Then, as in pyAudioAnalysis:

    - zero-crossing rate, energy (mean square), and entropy in bits of the energies of ten parts of the frame;
    - centroid and spread of the spectrum as shares of 8 kHz, each point counted as 50 Hz above where it is;
    - entropy of the energies of ten parts of the spectrum; squared distance to the spectrum of the frame before, both
      summing to one (flux, 0 in the first frame); share of the spectrum that holds 90 % of the energy (roll-off);
    - 13 cepstral coefficients, the zeroth included, of the decimal logarithm of 40 bands. The bands take the points
      for 100 Hz apart, so they reach from 67 Hz to 3.4 kHz and not, as meant, to 6.9 kHz; the first hold a
      single point;
    - 12 pitch classes from A and their standard deviation. Of the points that fall on the same semitone only the last
      counts, and it is divided by the number of points on another semitone.

    The Fourier transform is in double precision, what follows in that of the waveforms. Beside pyAudioAnalysis, alone
    or in any batch: within 1e-9 for double precision and 1e-6 for single, cepstra 1e-4 for single. Where points of
    the exact spectrum are 0, as in digital silence once the mean is gone, both have rounding errors in their place:
    there cepstra are within 1e-3 and the spread within 1e-7. What fills the batch behind an utterance changes nothing,
    as long as it is finite.

    Args:
        waveforms: (batch, samples) at 16 kHz, in [-1, 1]; float32 or float64.
        lengths: (batch,) integers: samples of each utterance.

    Returns:
        features, (batch, frames, 34) in the type of the waveforms, the columns of `SHORT_TERM_NAMES`, zero behind an
        utterance's last frame; and frames of each utterance, (batch,) int64: 1 + (samples - 320) // 160, an utterance
        of less than 20 ms counting as 20 ms.

    Raises:
        ValueError: if the shapes do not fit, a length is not in 1 to samples, or a sample is not finite.

    Example:
        >>> features, frames = short_term_batch(torch.zeros(2, 16_000), torch.tensor([16_000, 8_000]))
        >>> features.shape, frames
        (torch.Size([2, 99, 34]), tensor([99, 49]))
    """
    waveforms, lengths = checked(waveforms, lengths, WINDOW)
    counts = 1 + (lengths - WINDOW) // HOP
    samples = _normalised(waveforms, lengths)
    windows = samples.unfold(1, WINDOW, HOP)  # (batch, frames, 320), a view
    inside = torch.arange(int(counts.max()), device=waveforms.device) < counts[:, None]
    utterance, frame = inside.nonzero(as_tuple=True)
    at_a_time = 256 if waveforms.device.type == "cpu" else 65_536
    previous = waveforms.new_zeros(1, BINS)
    spectral = []
    for part in zip(utterance.split(at_a_time), frame.split(at_a_time), strict=True):
        numbers, previous = _frames(windows[part], part[1] == 0, previous)
        spectral.append(numbers)
    crossings = _crossings(samples)[utterance, frame, None].to(waveforms.dtype) / (2 * (WINDOW - 1))
    rows = torch.cat([crossings, torch.cat(spectral)], 1)
    return rows.new_zeros(*inside.shape, rows.shape[1]).index_put_((utterance, frame), rows), counts


def _normalised(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Each utterance without its mean, over its largest magnitude, in double precision; zero behind its end."""
    samples, shortest = waveforms.to(torch.float64, copy=True), int(lengths.min())
    padding = samples[:, shortest:]  # all of it, and ends of the longer utterances
    behind = torch.arange(shortest, samples.shape[1], device=samples.device) >= lengths[:, None]
    padding.masked_fill_(behind, 0.0)
    samples.sub_(samples.sum(1, keepdim=True) / lengths[:, None])
    padding.masked_fill_(behind, 0.0)
    return samples.div_(samples.abs().amax(1, keepdim=True) + 1e-10)


def _crossings(samples: Tensor) -> Tensor:
    """Twice how often the sign changes in each frame, (batch, frames), of (batch, samples); to or from 0 is half."""
    sign = (samples > 0).to(torch.int8) - (samples < 0).to(torch.int8)  # faster than sign()
    return (sign[:, 1:] - sign[:, :-1]).abs_().unfold(1, WINDOW - 1, HOP).sum(2)


def _frames(frames: Tensor, first: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
    """Features of consecutive frames, all but the zero-crossing rate.

    Args:
        frames: (n, 320), double precision.
        first: (n,) whether a frame is its utterance's first.
        previous: (1, 160) spectrum of the frame before these, summing to one, in the precision that shall be
            calculated in once the Fourier transform is done.

    Returns:
        (n, 33) features, and the last frame's spectrum for the next call.
    """
    tables = _tables(previous.dtype, frames.device)
    squares = frames.square()
    energy = squares.sum(1, keepdim=True)
    spectrum = torch.fft.rfft(frames)[:, :BINS]
    power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).div_(BINS**2)  # (n, 160)
    total = power.sum(1, keepdim=True)
    roll_off = torch.searchsorted(power.cumsum(1), ROLL_OFF * total - EPSILON, right=True).double() / BINS

    power, total = power.to(previous.dtype), total.to(previous.dtype)
    magnitude = power.sqrt()
    whole = magnitude.sum(1, keepdim=True)
    share = torch.cat([previous, magnitude / (whole + BINS * EPSILON)])  # (1 + n, 160)
    flux = (share[1:] - share[:-1]).square_().sum(1, keepdim=True).masked_fill_(first[:, None], 0.0)
    share = share[1:]
    centroid = share @ tables.place
    spread = (tables.place[:, 0] - centroid).square_().mul_(share).sum(1, keepdim=True).sqrt_()
    chroma = power @ tables.chroma / torch.where(total == 0, EPSILON, total)
    columns = [
        energy / WINDOW,
        _entropy(squares, energy),
        centroid,
        spread,
        _entropy(power, total),
        flux,
        roll_off,
        (magnitude @ tables.bands).add_(EPSILON).log10_() @ tables.cosines,
        chroma,
        (chroma - chroma.mean(1, keepdim=True)).square_().mean(1, keepdim=True).sqrt_(),
    ]
    return torch.cat([column.to(previous.dtype) for column in columns], 1), share[-1:]


def _entropy(squares: Tensor, total: Tensor) -> Tensor:
    """Entropy in bits, (n, 1), of how ten parts of equal length share the total, (n, 1), of squares (n, points)."""
    share = squares.unflatten(1, (BLOCKS, -1)).sum(2) / (total + EPSILON)
    return -(share * (share + EPSILON).log2()).sum(1, keepdim=True)


class Tables(NamedTuple):
    """What is the same for every frame.

    Attributes:
        place: (160, 1) of a point in the spectrum, as a share of half the sampling rate.
        bands: (160, 40) weights of the magnitudes in each band.
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
    cosines = np.sqrt(2 / number) * np.cos(np.pi / number * np.outer(np.arange(number) + 0.5, np.arange(CEPSTRA)))
    cosines[:, 0] /= np.sqrt(2)
    tables = place, bands(), cosines, chroma_weights()
    return Tables(*(torch.from_numpy(table).to(device, dtype) for table in tables))


def bands() -> np.ndarray:
    """Build triangles of equal area: 13 of equal width, then 27 whose edges are in equal ratio.

    The spectrum's points are taken for 100 Hz apart although they are 50 Hz apart, as in pyAudioAnalysis.

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
    """Build the sums over semitones of the same name, with pyAudioAnalysis's two peculiarities.

    The last point of the spectrum on a semitone stands for all of them. It is divided by a number of points that was
    looked up in the wrong place: that on the semitone of the point whose number is the semitone of the point whose
    number is this semitone.

    Returns:
        (160, 12) weights of the spectrum's points; the first class is A.
    """
    point = np.arange(BINS)
    semitone = np.rint(12 * np.log2((point + 1) * RATE / WINDOW / A0)).astype(int)  # rising, all below 160
    points_on = np.bincount(semitone, minlength=BINS)
    weights = np.zeros((BINS, 12))
    for number in np.unique(semitone):
        weights[point[semitone == number][-1], number % 12] = 1 / points_on[semitone[semitone[number]]]
    return weights
