"""What lies when: steps of features, words of an alignment, phonemes of words.

Used by xu2019, shen2020 and tzirakis2021; taught in chapters `xu2019` and `shen2020`.
"""

from __future__ import annotations

from serlib.timing.grid import Grid

__all__ = ["Grid"]
