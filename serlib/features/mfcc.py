"""Mel-frequency cepstral coefficients: what HTK calls MFCC_E_D_A, 39 numbers every 10
ms, or every 15 ms.

Audio input of yoon2018, whose openSMILE settings `opensmile/mfcc.conf` follows, and
every 15 ms of shen2020; taught in chapter `features`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from serlib.features import smile
from serlib.features.feature import Feature
from serlib.features.waveform import RATE

CONFIGURATION, CONFIGURATION_15MS = "mfcc.conf", "mfcc_15ms.conf"

SHORTEST_15MS = 1120
"""Samples (70 ms) that anything shorter is padded to: openSMILE needs four frames
before the deltas at the edges are right.
"""

STATIC_NAMES = (*(f"MFCC {i}" for i in range(1, 13)), "log energy")

MFCC_NAMES = (
    *STATIC_NAMES,
    *(f"delta {name}" for name in STATIC_NAMES),
    *(f"acceleration {name}" for name in STATIC_NAMES),
)
"""The 39 columns of `mfcc`, in order."""


def mfcc(waveform: np.ndarray) -> np.ndarray:
    """Compute MFCC 1 to 12 and log energy with their deltas and accelerations
    (yoon2018, section 4.2).

    A frame is 25 ms under a Hamming window, every 10 ms: pre-emphasis 0.97, power
    spectrum of 512 points, 26 triangles on the mel scale from 0 to 8 kHz, logarithm (at
    least 0), cosine transform, liftering 22. The energy is that of the untouched frame.
    Samples count as 16-bit integers, as in HTK.

    At the edges the first and the last frame are repeated for the deltas. The
    accelerations take deltas of the repeated frames at the end, where HTK would repeat
    the last delta: the last two frames differ a little from HTK's.

    Args:
        waveform: (samples,) float32 at 16 kHz, in [-1, 1]; padded with zeros to 55 ms
            if shorter.

    Returns:
        (1 + (samples - 400) // 160, 39) float32, the columns of `MFCC_NAMES`. Digital
        silence is zero throughout.

    Raises:
        ValueError: if the waveform is empty or not finite.

    Example:
        >>> mfcc(np.zeros(16_000, np.float32)).shape
        (98, 39)
    """
    return smile.run(CONFIGURATION, "lld", waveform)


MFCC = Feature(
    "mfcc",
    MFCC_NAMES,
    per_frame=True,
    extract=mfcc,
    settings=partial(smile.settings, CONFIGURATION),
    hop=0.01,
    window=0.025,
    shortest=smile.SHORTEST / RATE,
    batch="serlib.features.mfcc_torch:mfcc_batch",
)


def mfcc_15ms(waveform: np.ndarray) -> np.ndarray:
    """Compute the numbers of `mfcc` every 15 ms: frames of 25 ms that overlap by 40 %
    (shen2020, section 3.2).

    Every second frame starts with a third frame of `mfcc` and has its first 13 numbers.
    Deltas and accelerations are slopes over frames of 15 ms.

    Args:
        waveform: (samples,) float32 at 16 kHz, in [-1, 1]; padded with zeros to 70 ms
            if shorter.

    Returns:
        (1 + (samples - 400) // 240, 39) float32, the columns of `MFCC_NAMES`.

    Raises:
        ValueError: if the waveform is empty or not finite.
    """
    return smile.run(CONFIGURATION_15MS, "lld", waveform, SHORTEST_15MS)


def _settings_15ms() -> dict[str, str | int]:
    """Return `smile.settings` of both configurations: the one includes the other."""
    own, included = smile.settings(CONFIGURATION_15MS), smile.settings(CONFIGURATION)
    return own | {"included": included["configuration"], "shortest": SHORTEST_15MS}


MFCC_15MS = Feature(
    "mfcc_15ms",
    MFCC_NAMES,
    per_frame=True,
    extract=mfcc_15ms,
    settings=_settings_15ms,
    hop=0.015,
    window=0.025,
    shortest=SHORTEST_15MS / RATE,
)
