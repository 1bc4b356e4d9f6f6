"""Loudness, pitch, voicing and harmonicity in torch, many utterances at once:
openSMILE's algorithms as tensors.

The contours behind the prosody of yoon2018, as in `serlib.features.prosody`; taught in
chapter `features`. Sub-harmonic summation is of Hermes (1988), "Measurement of pitch by
subharmonic summation", JASA 83(1).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from serlib.features.framing import (
    HOP,
    checked,
    every_frame,
    mel,
    mel_filters,
    power_spectrum,
    sixteen_bit,
)
from serlib.features.waveform import RATE

FULL_SCALE = 32767
"""openSMILE's 1.0 in 16-bit samples."""

SHORT, SHORT_FFT = 320, 512
"""Samples of a loudness frame (20 ms) and points of its Fourier transform."""

LONG, LONG_FFT = 880, 1024
"""Samples of a pitch frame (55 ms) and points of its Fourier transform."""

LOWEST, HIGHEST = 52.0, 620.0
"""Range of F0 in hertz."""

BINS = LONG_FFT // 2 + 1
"""Points of the spectrum, on the linear scale and on that of octaves."""

BOTTOM = 25.0
"""Where the octave scale begins, in hertz; it ends at half the sampling rate."""

PER_OCTAVE = BINS / math.log2(RATE / 2 / BOTTOM)

HARMONICS, COMPRESSION = 15, 0.85
CANDIDATES = 4
VOICED = 0.7
"""Voicing at which a candidate counts as voiced."""

SILENT = 0.0008
"""Level (root mean square of the windowed frame) below which there is no pitch."""


def contours_batch(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `serlib.features.contours` of a padded batch of utterances at once.

    On speech the same frames are voiced as with openSMILE; F0 is within 0.01 Hz, log F0
    and voicing within 0.001, loudness within 1e-5, and HNR within 0.001 dB where there
    is F0. In frames all but silent, where F0 is 0, openSMILE still gives an HNR, which
    is of rounding errors; so is this one. Its Viterbi search is made for streams and
    decides after 90 frames at the latest; this one sees the whole utterance. What fills
    the batch behind an utterance changes nothing, as long as it is finite.

    Args:
        waveforms: (batch, samples) at 16 kHz, in [-1, 1]; float32 or float64, which is
            what is calculated in.
        lengths: (batch,) integers: samples of each utterance.

    Returns:
        contours, (batch, rows, 5), the columns of `CONTOUR_NAMES`, zero behind an
        utterance's last row; and rows of each utterance, (batch,) int64: 2 + (samples -
        880) // 160.

    Raises:
        ValueError: if the shapes do not fit, a length is not in 1 to samples, or a
            sample is not finite.
    """
    waveforms, lengths = checked(waveforms, lengths)
    counts = 1 + (lengths - LONG) // HOP
    measured = every_frame(
        waveforms, counts, LONG, _pitch_candidates
    )  # (batch, frames, 13)
    f0, voicing, hnr, level = measured.split(
        [CANDIDATES, CANDIDATES, CANDIDATES, 1], -1
    )
    path = _viterbi(f0, voicing, counts)[
        ..., None
    ]  # (batch, frames, 1), CANDIDATES for unvoiced
    voiced, choice = path < CANDIDATES, path % CANDIDATES
    f0, voicing, hnr = (
        f0.gather(2, choice) * voiced,
        voicing.gather(2, choice),
        hnr.gather(2, choice) * voiced,
    )
    semitones = torch.where(voiced, 12 * torch.log2(f0.clamp(min=LOWEST) / 27.5), 0.0)
    pitch = torch.cat(
        [torch.cat([f0, semitones, voicing], -1) * (level > SILENT), hnr], -1
    )
    loudness = every_frame(waveforms, counts + 2, SHORT, _loudness)
    rows = counts + 1
    inside = torch.arange(int(rows.max()), device=waveforms.device) < rows[:, None]
    smooth = torch.cat(
        [_smooth(loudness, counts + 2)[:, :-2], _smooth_voiced(pitch, counts)], -1
    )
    return smooth * inside[..., None], rows


def _loudness(frames: Tensor) -> Tensor:
    """Mean over mel bands of the compressed, equally loud power, (n, 1), of frames (n,
    320).
    """
    window, bands, weights = _loudness_tables(frames.dtype, frames.device)
    power = (
        power_spectrum(sixteen_bit(frames) / FULL_SCALE * window, SHORT_FFT) @ bands
    )  # (n, 26)
    return ((power.clamp(min=9.3e-10) * weights) ** 0.33).mean(-1, keepdim=True)


@cache
def _loudness_tables(
    dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Hamming window (320,), mel filters (257, 26), weight of each band by the
    equal-loudness curve (26,).
    """
    bands = mel_filters(26, 20, RATE / 2, SHORT_FFT)
    centres = np.linspace(mel(20), mel(RATE / 2), 28)[1:-1]
    w = 2 * np.pi * 700 * np.expm1(centres / 1127)
    # Hermansky (1990), "Perceptual linear predictive analysis of speech", as openSMILE
    # has it
    weights = (
        1e32
        * (w**2 + 56.8e6)
        * w**4
        / ((w**2 + 6.3e6) ** 2 * (w**2 + 0.38e9) * (w**7 + 1.7e31))
    )
    tables = np.hamming(SHORT), bands, weights
    return tuple(torch.from_numpy(table).to(device, dtype) for table in tables)


def _pitch_candidates(frames: Tensor) -> Tensor:
    """Four candidates of each frame, best first: F0, voicing, HNR of each, then the
    frame's level; (n, 13).
    """
    window, octaves, weights = _pitch_tables(frames.dtype, frames.device)
    frames = sixteen_bit(frames) / FULL_SCALE * window
    level = frames.square().mean(-1, keepdim=True).sqrt()
    power = power_spectrum(frames, LONG_FFT)  # (n, 513)
    octave = (_peaks_alone(power.sqrt()) @ octaves).clamp(min=0) * weights  # (n, 513)
    score = octave / HARMONICS
    for harmonic in range(2, HARMONICS + 1):
        shift = math.floor(
            PER_OCTAVE * math.log2(harmonic)
        )  # moves the harmonic onto its fundamental
        score[:, :-shift].add_(
            octave[:, shift:], alpha=COMPRESSION ** (harmonic - 1) / HARMONICS
        )
    f0, voicing = _best_peaks(score)
    return torch.cat([f0, voicing, _harmonics_to_noise(power, f0), level], -1)


@cache
def _pitch_tables(
    dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian window (880,), smoothing and resampling to an octave scale (513, 513),
    auditory weights (513,).

    Smoothing and interpolation by splines are linear: together they are one matrix.
    """
    from scipy.interpolate import CubicSpline

    centre = (LONG - 1) / 2
    window = np.exp(-0.5 * ((np.arange(LONG) - centre) / (0.4 * centre)) ** 2)

    smoothing = (2 * np.eye(BINS) + np.eye(BINS, k=1) + np.eye(BINS, k=-1)) / 4
    smoothing[-1] = np.eye(BINS)[-1]  # openSMILE leaves the last one out
    place = np.log2(np.arange(1, BINS) * RATE / LONG_FFT)
    place = np.concatenate(
        [[2 * place[0] - place[1]], place]
    )  # zero hertz has no logarithm
    target = np.linspace(math.log2(BOTTOM), math.log2(RATE / 2), BINS)
    octaves = (
        smoothing.T @ CubicSpline(place, np.eye(BINS), bc_type="natural")(target).T
    )

    rise = PER_OCTAVE * math.log2(65 / 50) - 1
    weights = 0.5 + np.arctan(3 * (np.arange(1, BINS + 1) - rise) / PER_OCTAVE) / np.pi
    tables = window, octaves, weights
    return tuple(torch.from_numpy(table).to(device, dtype) for table in tables)


def _peaks_alone(magnitudes: Tensor) -> Tensor:
    """Set to zero what is between two peaks and over two bins away from both."""
    padded = functional.pad(magnitudes, (1, 1), value=-1.0)
    peaks = (magnitudes > padded[:, :-2]) & (magnitudes >= padded[:, 2:])
    near = functional.max_pool1d(peaks.to(magnitudes.dtype), 5, stride=1, padding=2) > 0
    before = peaks.cumsum(1) == 0
    after = peaks.flip(1).cumsum(1).flip(1) == 0
    return magnitudes * (near | before | after)


def _best_peaks(score: Tensor) -> tuple[Tensor, Tensor]:
    """F0 (hertz) and voicing, (n, 4) each, at the highest peaks of the sub-harmonic
    sum; 0 where there are fewer.
    """
    middle = score[:, 1:-1]
    peaks = (middle > score[:, :-2]) & (middle > score[:, 2:])
    place = torch.where(peaks, middle, -1.0).topk(CANDIDATES).indices  # (n, 4)
    left, top, right = (score.gather(1, place + offset) for offset in range(3))
    shift = (
        (left - right) / 2 / (left - 2 * top + right)
    )  # of the parabola through three points
    height = top - (left - right) * shift / 4
    step = math.log2(RATE / 2 / BOTTOM) / (BINS - 1)
    f0 = BOTTOM * torch.exp2((place + 1 + shift) * step)
    usable = peaks.gather(1, place) & (f0 >= LOWEST) & (f0 <= HIGHEST)
    height = torch.where(usable, height, 0.0)
    # as they were picked, the usable ones first; then the highest, now between bins,
    # changes places with the first
    order = usable.sort(dim=1, descending=True, stable=True).indices
    best = height.gather(1, order).argmax(1, keepdim=True)
    seat = torch.arange(CANDIDATES, device=score.device).expand_as(order)
    order = order.gather(
        1, torch.where(seat == 0, best, torch.where(seat == best, 0, seat))
    )
    height = height.gather(1, order)
    voicing = (1 - score.mean(1, keepdim=True) / height).clamp(min=0)
    return torch.where(usable, f0, 0.0).gather(1, order), torch.where(
        height > 0, voicing, 0.0
    )


def _harmonics_to_noise(power: Tensor, f0: Tensor) -> Tensor:
    """HNR in decibels, (n, candidates), from the autocorrelation's peak next to one
    period; 0 without a peak.
    """
    correlation = torch.fft.irfft(power).abs()[:, :BINS]
    middle = correlation[:, 1:-1]
    peaks = functional.pad(
        (middle > correlation[:, :-2]) & (middle > correlation[:, 2:]), (1, 1)
    )
    lags = torch.arange(BINS, device=power.device, dtype=torch.int32)
    far = 2 * BINS
    earlier = torch.where(peaks, lags, -far).cummax(1).values
    later = torch.where(peaks, lags, far).flip(1).cummin(1).values.flip(1)
    period = (RATE / f0.clamp(min=LOWEST)).floor().long()
    earlier, later = earlier.gather(1, period), later.gather(1, period)
    lag = torch.where(period - earlier <= later - period, earlier, later)
    found = (lag > 0) & (lag < far)
    height = correlation.gather(1, torch.where(found, lag, 0).long())
    ratio = height / (correlation[:, :1] - height)
    return torch.where(found & (f0 > 0), 10 * torch.log10(ratio.clamp(1e-9, 1e11)), 0.0)


def _viterbi(f0: Tensor, voicing: Tensor, counts: Tensor) -> Tensor:
    """Cheapest path through the candidates and the state "unvoiced" (openSMILE's costs,
    as they are in its code).

    A candidate costs by its voicing and its distance from 100 to 350 Hz. A step between
    two candidates costs by the logarithm of their ratio, and by how far that is from
    the same for the origin listed before (meant was the step taken before). A change
    between voiced and unvoiced costs 10, staying unvoiced 1.

    Args:
        f0, voicing: (batch, frames, candidates); f0 is 0 for no candidate.
        counts: (batch,) frames of each utterance.

    Returns:
        (batch, frames) int64: a candidate's index, or the number of candidates for
        unvoiced.
    """
    low, high = 1 - f0 / 100, (f0 - 350) / 250
    unusual = (
        torch.where(f0 < 100, low, high.clamp(min=0))
        .masked_fill(f0 >= 600, 1.2)
        .masked_fill(f0 <= 0, 2.0)
    )
    local = 2 * (4 * (voicing < VOICED) - voicing.clamp(0.01, 1).log()) + unusual
    unvoiced = 2 * 4 * (voicing >= VOICED).any(-1, keepdim=True)
    local = torch.cat([local, unvoiced.to(local.dtype)], -1)  # (batch, frames, states)

    earlier, later = f0[:, :-1, None, :], f0[:, 1:, :, None]
    ratio = torch.log(
        later.clamp(min=1) / earlier.clamp(min=1)
    )  # (batch, frames - 1, to, from)
    change = ratio - functional.pad(ratio, (1, 0))[..., :-1]
    change[:, :1, 0, 0] -= 1  # openSMILE begins as if a step of 1 had gone before
    voiced = (10 * ratio.abs() + 10 * change.abs()).masked_fill(
        (earlier == 0) | (later == 0), 999.0
    )
    transition = functional.pad(voiced, (0, 1, 0, 1), value=10.0)
    transition[..., -1, -1] = 1.0

    states = local.shape[-1]
    stay = torch.full(
        (states, states), torch.inf, dtype=local.dtype, device=local.device
    ).fill_diagonal_(0.0)
    past = (
        torch.arange(f0.shape[1], device=f0.device) >= counts[:, None]
    )  # (batch, frames)
    transition = torch.where(past[:, 1:, None, None], stay, transition)
    local = local.masked_fill(past[..., None], 0.0)

    cost, origins = local[:, 0], []
    for step, here in zip(transition.unbind(1), local.unbind(1)[1:], strict=True):
        cost, origin = (cost[:, None, :] + step).min(-1)  # (batch, states)
        cost = cost + here
        origins.append(origin)
    path = [cost.argmin(-1, keepdim=True)]
    for origin in reversed(origins):
        path.append(origin.gather(1, path[-1]))
    return torch.cat(path[::-1], 1)


def _neighbours(contour: Tensor, counts: Tensor) -> Tensor:
    """Each row between the one before and the one after, and one row more: (batch,
    frames + 1, columns, 3).
    """
    rows = torch.arange(-1, contour.shape[1] + 2, device=contour.device).clamp(min=0)
    rows = torch.minimum(rows, counts[:, None] - 1)
    return contour.gather(1, rows[..., None].expand(-1, -1, contour.shape[2])).unfold(
        1, 3, 1
    )


def _smooth(contour: Tensor, counts: Tensor) -> Tensor:
    return _neighbours(contour, counts).mean(-1)


def _smooth_voiced(contour: Tensor, counts: Tensor) -> Tensor:
    """Moving average of three frames that leaves zeros alone and out."""
    three = _neighbours(contour, counts)
    return three.sum(-1) / (three != 0).sum(-1).clamp(min=1) * (three[..., 1] != 0)
