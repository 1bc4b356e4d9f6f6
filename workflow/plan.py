"""How a study is made: its jobs, and what measures each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serlib.metrics import Interval

Job = Mapping[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How a study is made.

    Attributes:
        jobs: what to measure; each is the first columns of the rows that it gives.
        measure: from a job to its rows' other columns.
        replayed: whether a job is measured again in `make replay`: it takes seconds, and needs nothing but what is
            committed.
        modules: of serlib, that the numbers depend on.
    """

    jobs: Callable[[], list[Job]]
    measure: Callable[[Job], list[Row]]
    replayed: Callable[[Job], bool]
    modules: tuple[str, ...]


def as_columns(name: str, one: Interval) -> Row:
    """An interval as three columns."""
    values = {name: one.estimate, f"{name} low": one.low, f"{name} high": one.high}
    return {key: None if math.isnan(value) else float(value) for key, value in values.items()}
