"""What a feature is: its columns, how to compute them from a waveform, and what they
depend on.

Used by all five papers; taught in chapter `features`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Feature:
    """Numbers computed from a waveform.

    Attributes:
        name: key in `serlib.features.FEATURES`.
        columns: a name for each number of a frame (or of an utterance), for figures and
            tables.
        per_frame: True for (frames, dims), False for (dims,).
        extract: takes a waveform, (samples,) float32 at 16 kHz, and returns the numbers
            as float32.
        settings: returns everything else that the numbers depend on; goes into the key
            of the cache, as do the columns and the version.
        version: raised whenever a change to the code changes the numbers.
        hop, window: of a frame, in seconds; None for a feature of the utterance.
        shortest: seconds that a shorter waveform is filled up to with zeros.
        batch: the same in torch for a padded batch of waveforms, on CPU or GPU, as
            `module:function`; it is only imported when it is asked for.
    """

    name: str
    columns: tuple[str, ...]
    per_frame: bool
    extract: Callable[[np.ndarray], np.ndarray]
    settings: Callable[[], Mapping[str, Any]]
    version: int = 1
    hop: float | None = None
    window: float | None = None
    shortest: float = 0.0
    batch: str | None = None

    @property
    def dims(self) -> int:
        """How many numbers a frame (or an utterance) has."""
        return len(self.columns)
