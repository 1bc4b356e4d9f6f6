"""Progress bars, and one over several runs of unknown length.

Used wherever something takes long; taught in no chapter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


def bar(shown: bool, *iterable: Any, **options: Any) -> tqdm:
    """Return a bar of tqdm; TQDM_DISABLE in the environment hides it, as it hides bars
    that nobody asked for.

    Args:
        shown: whether the caller wants it.
        iterable, options: arguments of tqdm.
    """
    hidden = not shown or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(*iterable, disable=hidden, **options)


class Progress:
    """One bar over the updates of several runs, whose total is corrected as runs stop
    early.
    """

    def __init__(self, runs: int, shown: bool):
        self._bar = bar(shown, unit="step", leave=False, smoothing=0)
        self._left, self._ended, self._budget, self._step = runs, [], 0, 0

    @classmethod
    @contextmanager
    def of(cls, progress: bool | Progress) -> Iterator[Progress]:
        """The caller's bar, which the caller closes, or one of its own."""
        if isinstance(progress, Progress):
            yield progress
        else:
            with cls(1, progress) as bar:
                yield bar

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin(self, what: str) -> None:
        """A run starts; say what it is."""
        self._bar.set_description(what)

    def expect(self, budget: int) -> None:
        """The run that starts now makes at most `budget` updates."""
        self._budget, self._step = budget, 0
        self._correct()

    def look(self, look: Mapping[str, float], best: float) -> None:
        """Show the losses."""
        self._bar.update(look["step"] - self._step)
        self._step = look["step"]
        self._bar.set_postfix(
            train=f"{look['train_loss']:.3f}",
            dev=f"{look['dev_loss']:.3f}",
            best=f"{best:.3f}",
        )

    def end(self) -> None:
        """The run has ended, after how many updates ever."""
        self._ended.append(self._step)
        self._left -= 1
        self._budget = self._step = 0
        self._correct()

    def _correct(self) -> None:
        usual = sum(self._ended) / len(self._ended) if self._ended else self._budget
        self._bar.total = max(self._bar.n, round(sum(self._ended) + usual * self._left))
        self._bar.refresh()
