"""From a sound file to samples: one channel, one rate, numbers between -1 and 1.

Used by all five papers; taught in chapter `features`.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
"""Samples per second of everything that features are computed from, as in IEMOCAP."""

CUT_OFF = re.compile(r"^data\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""What libsndfile notes of a wav file whose header promises more than the file holds.
"""


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
        ValueError: if the file is not sound, is cut off, holds no sample, or holds NaN
            or infinity.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a sound file, found none; is the corpus complete?"
        )
    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(dtype="float32", always_2d=True)  # (samples, channels)
            found, promised, notes = file.samplerate, file.frames, file.extra_info
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path}: expected a sound file, found none: {error.error_string} Fetch it"
            " again."
        ) from error
    if cut := CUT_OFF.search(notes):
        raise ValueError(
            f"{path}: cut off: expected {cut[1]} bytes of samples, found {cut[2]};"
            " fetch it again"
        )
    if len(samples) < promised:
        raise ValueError(
            f"{path}: cut off: expected {promised} samples, found {len(samples)}; fetch"
            " it again"
        )
    if not len(samples):
        raise ValueError(
            f"{path}: expected sound, found no sample; fetch it again or leave it out"
        )
    if not np.isfinite(samples).all():
        raise ValueError(
            f"{path}: expected finite samples, found NaN or infinity; fetch it again or"
            " leave it out"
        )
    return np.clip(_resample(samples.mean(axis=1), found, rate), -1.0, 1.0)


def _resample(samples: np.ndarray, found: int, rate: int) -> np.ndarray:
    if found == rate:
        return samples
    from scipy.signal import resample_poly  # only here: most corpora need no conversion

    common = math.gcd(found, rate)
    return resample_poly(samples, rate // common, found // common).astype(np.float32)
