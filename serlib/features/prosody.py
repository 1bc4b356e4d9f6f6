"""Prosody: loudness, pitch and voicing over time, and 35 numbers that summarise them
for an utterance.

Second audio input of yoon2018, whose openSMILE settings `opensmile/prosody.conf`
follows; taught in chapter `prosody`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from serlib.features import smile
from serlib.features.feature import Feature

CONFIGURATION = "prosody.conf"

CONTOUR_NAMES = ("loudness", "F0", "log F0", "voicing", "log HNR")
"""The five columns of `contours`, in order."""

FUNCTIONAL_NAMES = (
    "deviation",
    "mean",
    "slope",
    "centroid",
    "10th percentile",
    "90th percentile",
    "percentile range",
)

PROSODY_NAMES = tuple(
    f"{contour} {functional}"
    for contour in CONTOUR_NAMES
    for functional in FUNCTIONAL_NAMES
)
"""The 35 columns of `prosody`, in order."""


def contours(waveform: np.ndarray) -> np.ndarray:
    """Compute the five contours that `prosody` summarises, smoothed by a moving average
    of three frames.

    A row every 10 ms. Loudness is read from the 20 ms that start there, the other four
    from the 55 ms that start there. F0 and HNR are 0 where Viterbi found no pitch, and
    the pitch contours are 0 where the frame is all but silent; such zeros are not
    averaged with their neighbours.

    Args:
        waveform: (samples,) float32 at 16 kHz, in [-1, 1]; padded with zeros to 55 ms
            if shorter.

    Returns:
        (2 + (samples - 880) // 160, 5) float32, the columns of `CONTOUR_NAMES`:
        loudness (no unit), F0 (Hz), log F0 (semitones above 27.5 Hz), voicing (0 to 1),
        log HNR (dB). openSMILE's smoothing adds the last row.

    Raises:
        ValueError: if the waveform is empty or not finite.
    """
    loudness = smile.run(CONFIGURATION, "loudness_contour", waveform)
    pitch = smile.run(CONFIGURATION, "pitch_contours", waveform)
    return np.hstack([loudness[: len(pitch)], pitch])


def prosody(waveform: np.ndarray) -> np.ndarray:
    """Compute seven functionals of each of the five contours (yoon2018, section 4.2).

    Deviation, mean, slope of the regression line (per frame), centroid (as a share of
    the frames), 10th and 90th percentile, and the difference of the two. Those of
    loudness are over all its frames, of which it has up to four more than the others;
    those of the other contours are over the frames that are not 0, counted without
    gaps. openSMILE summarises when the sound ends, before the last one to four rows of
    the contours have come through.

    Args:
        waveform: (samples,) float32 at 16 kHz, in [-1, 1]; padded with zeros to 55 ms
            if shorter.

    Returns:
        (35,) float32, the columns of `PROSODY_NAMES`; 0 for the pitch of an utterance
        without any voiced frame.

    Raises:
        ValueError: if the waveform is empty or not finite.
    """
    return smile.run(CONFIGURATION, "func", waveform)[0]


PROSODY = Feature(
    "prosody",
    PROSODY_NAMES,
    per_frame=False,
    extract=prosody,
    settings=partial(smile.settings, CONFIGURATION),
)
