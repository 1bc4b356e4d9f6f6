"""What a subject feels from moment to moment, and what annotators make of it.

Stands in for the annotated curves of SEWA (tzirakis2021, section 4); chapter `corpora`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

DIMENSIONS = ("arousal", "valence", "liking")
HOP = 0.1  # seconds from a row of labels to the next
MARGIN = 20.0  # seconds before and after a recording for which the feelings are known
SPREAD = 0.5  # standard deviation before feelings are bent into [-1, 1]


@dataclass(frozen=True, slots=True)
class Motion:
    """How a dimension wanders: a level that each subject keeps, and a smooth change around it.

    Attributes:
        steady: share of the variance that is the subject's level.
        scale: seconds over which the change decays: two moments so far apart correlate by exp(-1/2).
    """

    steady: float
    scale: float

    def correlation(self, seconds: np.ndarray) -> np.ndarray:
        """Return how much two moments of a recording have in common, given how far apart they are."""
        return self.steady + (1 - self.steady) * np.exp(-0.5 * (seconds / self.scale) ** 2)


MOTIONS = {"arousal": Motion(0.1, 3.0), "valence": Motion(0.1, 3.2), "liking": Motion(0.1, 3.2)}
"""The three dimensions move independently of each other."""

LAGS = (1.3, 1.7, 2.0, 2.4, 2.7, 3.1)
"""Seconds by which each of six annotators is late."""
WAVERING = 0.15  # standard deviation over recordings of an annotator's lag
LEANING = 0.08  # ... of what an annotator adds to all labels of a recording
JITTER, JITTER_SCALE = 0.2, 0.8  # ... of an annotator's noise, and the seconds over which it changes


@dataclass(frozen=True, slots=True, eq=False)
class Feelings:
    """The three dimensions of one subject; `values` is (frames, 3), in [-1, 1], the first frame at -MARGIN."""

    values: np.ndarray

    def at(self, seconds: np.ndarray | float) -> np.ndarray:
        """Return (..., 3) values at given times."""
        times = HOP * np.arange(len(self.values)) - MARGIN
        return np.stack([np.interp(seconds, times, column) for column in self.values.T], axis=-1)


def feelings(seconds: float, rng: np.random.Generator) -> Feelings:
    """Draw what a subject feels over so many seconds and MARGIN before and after."""
    frames = round((seconds + 2 * MARGIN) / HOP)
    columns = []
    for motion in MOTIONS.values():
        change = _smooth(frames, motion.scale / np.sqrt(2), rng)
        level = np.sqrt(motion.steady) * rng.normal()
        columns.append(np.tanh(SPREAD * (level + np.sqrt(1 - motion.steady) * change)))
    return Feelings(np.stack(columns, axis=1))


def annotate(felt: Feelings, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return (frames, 3) labels: the mean of what the annotators say, each late and noisy in an own way."""
    times = HOP * np.arange(frames)
    opinions = []
    for lag in LAGS:
        late = felt.at(times - lag - rng.normal(0, WAVERING))
        noise = np.stack([_smooth(frames, JITTER_SCALE / np.sqrt(2), rng) for _ in DIMENSIONS], axis=1)
        opinions.append(late + rng.normal(0, LEANING, len(DIMENSIONS)) + JITTER * noise)
    return np.clip(np.mean(opinions, axis=0), -1, 1)


def _smooth(frames: int, width: float, rng: np.random.Generator) -> np.ndarray:
    """Return (frames,) noise of variance 1, smoothed by a Gaussian of so many seconds."""
    sigma = width / HOP
    margin = round(5 * sigma)
    noise = rng.normal(size=frames + 2 * margin)
    smooth = gaussian_filter1d(noise, sigma, truncate=5)[margin : margin + frames]
    return smooth * np.sqrt(2 * np.sqrt(np.pi) * sigma)
