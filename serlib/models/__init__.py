"""The systems of each paper, one module per paper.

`systems("yoon2018")` gives that paper's rows, `variants("yoon2018")` what the paper
leaves open; the module is imported only then. Each paper's own chapter teaches its
module.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from serlib.models.system import System, Variant

PAPERS = ("yoon2018", "xu2019", "shen2020", "krishna2020", "tzirakis2021")
"""Papers whose systems are here; each is the name of a module."""


def systems(paper: str) -> dict[str, System]:
    """Return the systems of a paper by name.

    Args:
        paper: key of the paper, for instance `yoon2018`.

    Raises:
        ValueError: if there is no such paper; the message lists those that there are.
    """
    return _module(paper).SYSTEMS


def variants(paper: str) -> Mapping[str, Variant]:
    """Return what departs from a paper's defaults, by name; see `systems`."""
    return _module(paper).VARIANTS


def _module(paper: str) -> ModuleType:
    if paper not in PAPERS:
        raise ValueError(
            f"no paper is called {paper!r}; expected one of {', '.join(PAPERS)}"
        )
    return import_module(f"serlib.models.{paper}")
