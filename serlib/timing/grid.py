"""From seconds to steps of a feature and back: the one place where the two meet.

Used by all five papers; taught in chapter `xu2019`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from serlib.corpora.corpus import Segment

TOLERANCE = 1e-7
"""Seconds by which a boundary may miss the middle of a step: floats are not exact."""


@dataclass(frozen=True)
class Grid:
    """The steps of a feature over one utterance or recording.

    A frame lasts `window` and begins `hop` after the one before it; a step is the mean
    of `stride` frames, of which the last may have fewer.

    Attributes:
        hop, window: seconds.
        frames: how many there are, after the cut.
        stride: frames in a step.
    """

    hop: float
    window: float
    frames: int
    stride: int = 1

    @classmethod
    def of(
        cls,
        duration: float,
        hop: float,
        window: float,
        *,
        stride: int = 1,
        cut: int | None = None,
        shortest: float = 0.0,
    ) -> Grid:
        """Lay the grid of a sound.

        Args:
            duration: seconds of the sound.
            hop, window: seconds; only frames that lie wholly within the sound exist,
                but always one.
            stride: frames that are averaged to a step.
            cut: frames that are kept at most.
            shortest: seconds that a shorter sound is filled up to.

        Raises:
            ValueError: if hop, window, stride or cut is not positive.
        """
        if not (hop > 0 and window > 0 and stride >= 1 and (cut is None or cut >= 1)):
            raise ValueError(
                "hop, window, stride and cut are positive; found"
                f" {hop}, {window}, {stride} and {cut}"
            )
        whole = math.floor(round((max(duration, shortest) - window) / hop, 6))
        frames = max(1, 1 + whole)
        return cls(hop, window, frames if cut is None else min(frames, cut), stride)

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return -(-self.frames // self.stride)

    @property
    def end(self) -> float:
        """Seconds after which nothing is heard any more."""
        return (self.frames - 1) * self.hop + self.window

    @cached_property
    def middles(self) -> np.ndarray:
        """(steps,) seconds: the middle of each step."""
        first = self.stride * np.arange(self.steps)
        last = np.minimum(first + self.stride, self.frames) - 1
        return (first + last) / 2 * self.hop + self.window / 2

    def spans(self, segments: Iterable[Segment]) -> tuple[np.ndarray, np.ndarray]:
        """Find the steps of segments: those whose middle lies within.

        A segment too short for that has the step nearest to its own middle, the even
        one of two at the same distance.

        Args:
            segments: stretches of time in seconds.

        Returns:
            (n, 2) int64: the first step and the one after the last; and (n,) how many
            middles lie within, which may be none.
        """
        times = np.array([one[1:] for one in segments], dtype=float).reshape(-1, 2)
        first, after = np.searchsorted(self.middles, times.T - TOLERANCE)
        inside = after - first
        place = np.interp(times.mean(axis=1), self.middles, np.arange(self.steps))
        nearest = np.rint(place.round(6)).astype(np.int64)
        first = np.where(inside > 0, first, nearest)
        return np.stack([first, first + inside.clip(min=1)], axis=1), inside
