"""Mel-frequency cepstral coefficients: what HTK calls MFCC_E_D_A, 39 numbers every 10 ms.

Audio input of yoon2018, whose openSMILE settings `opensmile/mfcc.conf` follows; taught in chapter `features`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from serlib.features import smile
from serlib.features.feature import Feature

CONFIGURATION = "mfcc.conf"

STATIC_NAMES = (*(f"MFCC {i}" for i in range(1, 13)), "log energy")

MFCC_NAMES = (
    *STATIC_NAMES,
    *(f"delta {name}" for name in STATIC_NAMES),
    *(f"acceleration {name}" for name in STATIC_NAMES),
)
"""The 39 columns of `mfcc`, in order."""


def mfcc(waveform: np.ndarray) -> np.ndarray:
    """Compute MFCC 1 to 12 and log energy with their deltas and accelerations (yoon2018, section 4.2).

    A frame is 25 ms under a Hamming window, every 10 ms: pre-emphasis 0.97, power spectrum of 512 points, 26 triangles
    on the mel scale from 0 to 8 kHz, logarithm (at least 0), cosine transform, liftering 22. The energy is that of the
    untouched frame. Samples count as 16-bit integers, as in HTK.

    At the edges the first and the last frame are repeated for the deltas. The accelerations take deltas of the
    repeated frames at the end, where HTK would repeat the last delta: the last two frames differ a little from HTK's.

    Args:
        waveform: (samples,) float32 at 16 kHz, in [-1, 1]; padded with zeros to 55 ms if shorter.

    Returns:
        (1 + (samples - 400) // 160, 39) float32, the columns of `MFCC_NAMES`. Digital silence is zero throughout.

    Raises:
        ValueError: if the waveform is empty or not finite.

    Example:
        >>> mfcc(np.zeros(16_000, np.float32)).shape
        (98, 39)
    """
    return smile.run(CONFIGURATION, "lld", waveform)


MFCC = Feature("mfcc", MFCC_NAMES, per_frame=True, extract=mfcc, settings=partial(smile.settings, CONFIGURATION))
