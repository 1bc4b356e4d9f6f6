"""From a sound file to samples: one channel, one rate, numbers between -1 and 1.

Used by all five papers; taught in chapter `features`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import soundfile

from serlib.corpora import wav

RATE = 16_000
"""Samples per second of everything that features are computed from, as in IEMOCAP."""

LOUDEST = 4.0
"""A sample further than this from 0 is on another scale than -1 to 1; what is closer
and beyond 1 was made too loud, and is clipped.
"""

ALIKE = 0.01
"""Share of the channels' peak that their mean must keep, or they cancel out."""


def read_waveform(path: str | Path, rate: int = RATE) -> np.ndarray:
    """Read a sound file as one channel at one rate.

    Channels are averaged; another rate is converted by SciPy's polyphase filter, which
    the processes that extract features can load without torch and its memory.

    Args:
        path: wav, flac or whatever else libsndfile reads.
        rate: samples per second to return.

    Returns:
        (samples,) float32 in [-1, 1].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not sound, is cut off, holds no sample, holds NaN or
            infinity or floats on the scale of integers, or if its channels cancel out.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a sound file, found none; is the corpus complete?"
        )
    try:
        with wav.opened(path) as file:
            samples = file.read(dtype="float32", always_2d=True)  # (samples, channels)
            found, promised = file.samplerate, file.frames
    except (ValueError, soundfile.LibsndfileError) as error:
        raise ValueError(f"{path}: {error}; fetch it again or leave it out") from error
    if len(samples) < promised:
        raise ValueError(
            f"{path}: cut off: expected {promised} samples, found {len(samples)}; fetch"
            " it again"
        )
    if not np.isfinite(samples).all():
        raise ValueError(
            f"{path}: expected finite samples, found NaN or infinity; fetch it again or"
            " leave it out"
        )
    if (peak := np.abs(samples).max()) > LOUDEST:
        raise ValueError(
            f"{path}: expected samples between -1 and 1, found {peak:g}: floats on the"
            " scale of integers; divide them by the largest integer (32768 for 16 bits)"
            " and write the file again"
        )
    mono = samples.mean(axis=1)
    if np.abs(mono).max() < ALIKE * peak:
        raise ValueError(
            f"{path}: the channels cancel each other out: one is the other turned"
            " round; keep one of them"
        )
    return np.clip(_resample(mono, found, rate), -1.0, 1.0)


def _resample(samples: np.ndarray, found: int, rate: int) -> np.ndarray:
    if found == rate:
        return samples
    from scipy.signal import resample_poly  # only here: most corpora need no conversion

    common = math.gcd(found, rate)
    return resample_poly(samples, rate // common, found // common).astype(np.float32)
