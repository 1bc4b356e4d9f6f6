"""Short-term features: 34 numbers every 10 ms of energy, spectrum, cepstrum and pitch
classes, as in pyAudioAnalysis.

Audio input of xu2019, whose "Python library" is Giannakopoulos (2015),
"pyAudioAnalysis: an open-source Python library for audio signal analysis", PLoS ONE
10(12); taught in chapter `xu2019`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from serlib.features.feature import Feature
from serlib.features.waveform import RATE

SHORT_TERM_NAMES = (
    "zero-crossing rate",
    "energy",
    "energy entropy",
    "spectral centroid",
    "spectral spread",
    "spectral entropy",
    "spectral flux",
    "spectral roll-off",
    *(f"MFCC {i}" for i in range(1, 14)),
    *(f"chroma {i}" for i in range(1, 13)),
    "chroma deviation",
)
"""The 34 columns of `short_term`, in pyAudioAnalysis's order."""


def short_term(waveform: np.ndarray) -> np.ndarray:
    """Compute pyAudioAnalysis's short-term features of an utterance (xu2019, section
    4.2).

    The numbers are those of its `feature_extraction` without deltas, for 16 kHz, frames
    of 320 and steps of 160 samples. `serlib.features.short_term_batch` computes them in
    double precision, and says what is peculiar; the result is rounded to single
    precision once, so that machines whose libraries differ in the last bits agree.

    Args:
        waveform: (samples,) at 16 kHz, in [-1, 1]; padded with zeros to 20 ms if
            shorter, where pyAudioAnalysis raises an error.

    Returns:
        (1 + (samples - 320) // 160, 34) float32, the columns of `SHORT_TERM_NAMES`.
        Silence, digital or of any other constant value, is zero throughout but for MFCC
        1.

    Raises:
        ValueError: if the waveform is empty, not one-dimensional or not finite.

    Example:
        >>> short_term(np.zeros(16_000, np.float32)).shape
        (99, 34)
    """
    import torch  # only here: openSMILE's processes do without its memory

    from serlib.features.short_term_torch import short_term_batch

    samples = np.asarray(waveform)
    if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
        raise ValueError(
            "expected a waveform of shape (samples,), finite and not empty, found"
            f" {samples.shape}"
        )
    double = torch.from_numpy(samples.astype(np.float64))[None]
    features, _ = short_term_batch(double, torch.tensor([len(samples)]))
    return features[0].float().numpy()


def settings() -> dict[str, Any]:
    """Return everything that the output of `short_term` depends on, for the key of a
    cache.
    """
    return {"pyAudioAnalysis": "0.3.14", "rate": RATE, "window": 320, "hop": 160}


SHORT_TERM = Feature(
    "short_term",
    SHORT_TERM_NAMES,
    per_frame=True,
    extract=short_term,
    settings=settings,
    version=2,
    hop=0.01,
    window=0.02,
    batch="serlib.features.short_term_torch:short_term_batch",
)
