"""What a system is: how to build it, what it eats, what it is asked, its settings.

Every paper's module lists its systems in a dictionary `SYSTEMS` and what its paper
leaves open in `VARIANTS`, which `serlib.runs` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from serlib.inputs import Input
from serlib.settings import Settings
from serlib.tasks import Task


@dataclass(frozen=True)
class System:
    """One row of a paper's table.

    Attributes:
        name: key of the system, for instance `mdre`.
        summary: one line for tables and progress bars.
        inputs: what the model eats: name in a batch to how it is made.
        task: `serlib.tasks.CLASSES` or `CONTINUOUS`.
        build: `build(sizes, **settings.model)` returns the model.
        settings: profile (`quick`, `paper`) to Settings.
        protocol: the paper's own protocol, a key of `serlib.protocols.PROTOCOLS`.
    """

    name: str
    summary: str
    inputs: Mapping[str, Input]
    task: Task
    build: Callable[..., nn.Module]
    settings: Mapping[str, Settings]
    protocol: str

    def on_transcripts(self, name: str) -> System:
        """Return the system that reads recognised text, `-asr` to its name.

        Args:
            name: of the transcripts, see `Settings.transcripts`.
        """
        settings = {k: replace(s, transcripts=name) for k, s in self.settings.items()}
        summary = f"{self.summary}, recognised text"
        return replace(
            self, name=f"{self.name}-asr", summary=summary, settings=settings
        )


@dataclass(frozen=True)
class Variant:
    """A departure from a system's defaults, with a name that its results carry.

    Attributes:
        system: key of the system.
        overrides: fields of Settings to replace; of `model`, only the options named.
    """

    system: str
    overrides: Mapping[str, Any]

    @property
    def reads_otherwise(self) -> bool:
        """Whether only the transcripts differ: no choice that the paper leaves open."""
        return set(self.overrides) == {"transcripts"}
