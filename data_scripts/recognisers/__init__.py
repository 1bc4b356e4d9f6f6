"""Engines that recognise speech, all of one kind: `data_scripts/transcribe.py` calls them; chapter `corpora`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from serlib.corpora.corpus import Utterance


@dataclass(frozen=True)
class Heard:
    """What became of a batch.

    Attributes:
        batch: its utterances.
        texts: utterance id to what was heard; empty for silence.
        failures: utterance id to why it could not be read.
    """

    batch: Sequence[Utterance]
    texts: Mapping[str, str]
    failures: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """A recogniser.

    Attributes:
        settings: all that its texts depend on, in JSON's types.
    """

    settings: Mapping[str, Any]

    def hear(self, batches: Sequence[Sequence[Utterance]]) -> Iterator[Heard]:
        """Recognise batches of utterances, and give each back as soon as it is done, in any order."""
        ...
