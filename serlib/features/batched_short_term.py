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
from torch.nn import functional

from serlib.features.batched import checked, power_spectrum
from serlib.features.short_term import HOP, SHORT_TERM_NAMES, WINDOW
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

    All is calculated in double precision: within 1e-9 of pyAudioAnalysis, alone or in any batch. What fills the batch
    behind an utterance changes nothing, as long as it is finite.

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
    inside = torch.arange(windows.shape[1], device=waveforms.device) < counts[:, None]
    utterance, frame = inside.nonzero(as_tuple=True)
    at_a_time = 256 if waveforms.device.type == "cpu" else 65_536
    previous = samples.new_zeros(1, BINS)
    rows = []
    for part in zip(utterance.split(at_a_time), frame.split(at_a_time), strict=True):
        row, previous = _frames(windows[part], part[1] == 0, previous)
        rows.append(row)
    features = samples.new_zeros(*inside.shape, len(SHORT_TERM_NAMES))
    features[..., 0] = _crossings(samples) / (WINDOW - 1) * inside
    features[..., 1:][inside] = torch.cat(rows)
    return features[:, : int(counts.max())].to(waveforms.dtype), counts


def _normalised(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Each utterance without its mean, over its largest magnitude, in double precision; zero behind its end."""
    behind = torch.arange(waveforms.shape[1], device=waveforms.device) >= lengths[:, None]
    samples = waveforms.double().masked_fill(behind, 0.0)
    samples = samples.sub_(samples.sum(1, keepdim=True) / lengths[:, None]).masked_fill_(behind, 0.0)
    low, high = samples.aminmax(dim=1, keepdim=True)
    return samples.div_(torch.maximum(-low, high) + 1e-10)


def _crossings(samples: Tensor) -> Tensor:
    """How often the sign changes within each frame, (batch, frames), of samples (batch, samples); to or from 0 half."""
    sign = samples.sign()
    changes = functional.pad((sign[:, 1:] - sign[:, :-1]).abs_().cumsum(1), (1, 0))  # (batch, samples): so far
    return (changes[:, WINDOW - 1 :: HOP] - changes[:, : 1 - WINDOW : HOP]) / 2


def _frames(frames: Tensor, first: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
    """Features of consecutive frames, all but the zero-crossing rate.

    Args:
        frames: (n, 320).
        first: (n,) whether a frame is its utterance's first.
        previous: (1, 160) spectrum of the frame before these, summing to one.

    Returns:
        (n, 33) features, and the last frame's spectrum for the next call.
    """
    tables = _tables(frames.device)
    power = power_spectrum(frames, WINDOW)[:, :BINS] / BINS**2  # (n, 160)
    magnitude = power.sqrt()
    in_bands, moments = (magnitude @ tables.bands).tensor_split([LINEAR + LOGARITHMIC], 1)
    classes, parts = (power @ tables.classes).tensor_split([12], 1)
    sum_of_magnitudes, total = moments[:, :1], power.sum(1, keepdim=True)

    share = torch.cat([previous, magnitude / (sum_of_magnitudes + BINS * EPSILON)])  # (1 + n, 160)
    flux = (share[1:] - share[:-1]).square_().sum(1, keepdim=True).masked_fill_(first[:, None], 0.0)
    centroid, square = (moments[:, 1:] / _or_epsilon(sum_of_magnitudes)).split(1, 1)
    chroma = classes / _or_epsilon(total)
    blocks = frames.square().unflatten(1, (BLOCKS, -1)).sum(2)
    energy = blocks.sum(1, keepdim=True)
    columns = [
        energy / WINDOW,
        _entropy(blocks, energy),
        centroid,
        (square - centroid.square()).clamp(min=0).sqrt(),
        _entropy(parts, total),
        flux,
        (power.cumsum(1) + EPSILON <= ROLL_OFF * total).sum(1, keepdim=True, dtype=frames.dtype) / BINS,
        (in_bands + EPSILON).log10() @ tables.cosines,
        chroma,
        chroma.std(1, correction=0, keepdim=True),
    ]
    return torch.cat(columns, 1), share[-1:]


def _entropy(parts: Tensor, total: Tensor) -> Tensor:
    """Entropy in bits, (n, 1), of how parts (n, 10) share their total (n, 1)."""
    share = parts / (total + EPSILON)
    return -(share * (share + EPSILON).log2()).sum(1, keepdim=True)


def _or_epsilon(total: Tensor) -> Tensor:
    """What to divide by: the total, or where it is zero, and so is all that is divided, the machine epsilon."""
    return torch.where(total == 0, EPSILON, total)


class Tables(NamedTuple):
    """What is the same for every frame.

    Attributes:
        bands: (160, 43) weights of the magnitudes in the 40 bands and in the moments 0, 1 and 2 of the spectrum, in
            which half the sampling rate is 1.
        classes: (160, 22) weights of the power in the 12 pitch classes and in ten parts of the spectrum.
        cosines: (40, 13) orthonormal cosine transform.
    """

    bands: Tensor
    classes: Tensor
    cosines: Tensor


@cache
def _tables(device: torch.device) -> Tables:
    moments = (np.arange(1, BINS + 1)[:, None] / BINS) ** np.arange(3)
    parts = np.repeat(np.eye(BLOCKS), BINS // BLOCKS, axis=0)
    number = LINEAR + LOGARITHMIC
    cosines = np.sqrt(2 / number) * np.cos(np.pi / number * np.outer(np.arange(number) + 0.5, np.arange(CEPSTRA)))
    cosines[:, 0] /= np.sqrt(2)
    tables = np.hstack([bands(), moments]), np.hstack([chroma_weights(), parts]), cosines
    return Tables(*(torch.from_numpy(table).to(device, torch.float64) for table in tables))


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
